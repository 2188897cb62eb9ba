/* vn-compare - two sets of calls, or of vectors, against each other and against the truth. */
#include <stdlib.h>
#include <string.h>

#include "ahead.h"
#include "compare.h"
#include "pairs.h"
#include "tool.h"

static const char notes[] =
    "A set of calls is a table of vn-classify, a scores stream, or one of VirNucPro's\n"
    "files; vectors are streams. '-' is standard input. Streams are matched by the number\n"
    "of the record, tables by id. Exit status: 0 same within the tolerance, 1 different, 2\n"
    "and more trouble.";

enum format { FORMAT_TEXT, FORMAT_JSON };
static const char *const formats[] = {"text", "json", NULL};

struct comparison {
    struct vn_tool *tool;
    const char *truth_file;
    enum format format;
    int64_t memory;
    struct vn_calls_options calls;
    struct vn_compare_options compare;
    struct vn_ahead *ahead;
    struct vn_calls *set[2];
    struct vn_pairs *pairs;
    struct vn_truth *truth;
    struct vn_compare *result;
    struct vn_sink *sink;
};

static void check_options(const struct comparison *c) {
    const struct vn_tool *t = c->tool;
    int inputs = c->truth_file && !strcmp(c->truth_file, "-");
    if (t->n_files != 2)
        vn_tool_usage(t, "expected two files, found %d", t->n_files);
    for (int s = 0; s < 2; s++)
        inputs += !strcmp(t->files[s], "-");
    if (inputs > 1)
        vn_tool_usage(t, "standard input can be one of the files, not %d", inputs);
}

/* Both are open, and pipes read by their threads, before the first is waited for. */
static int open_sets(struct comparison *c, struct vn_error *err) {
    struct vn_source *sources[2] = {0};
    int rc = vn_ahead_new(c->memory, &c->ahead, err);
    for (int s = 0; s < 2 && rc == VN_OK; s++)
        rc = vn_ahead_open(c->ahead, c->tool->files[s], &sources[s], err);
    for (int s = 0; s < 2; s++) {
        if (rc == VN_OK)
            rc = vn_calls_open(sources[s], &c->calls, &c->set[s], err);
        else
            vn_source_close(sources[s]);
    }
    return rc;
}

static int read_truth(struct comparison *c, struct vn_error *err) {
    const struct vn_calls_options o = {.plain = true, .max_waiting = c->calls.max_waiting};
    struct vn_source *source;
    struct vn_calls *calls;
    int class_of[2];
    for (int s = 0; s < 2; s++)
        class_of[s] = vn_calls_class(vn_calls_facts(c->set[s]), c->compare.positive);
    if (vn_calls_facts(c->set[0])->is_vectors)
        return vn_fail(err, VN_EUSAGE, "--truth is for calls, '%s' holds vectors",
                       vn_calls_name(c->set[0]));
    int rc = vn_source_open(c->truth_file, &source, err);
    if (rc == VN_OK)
        rc = vn_calls_open(source, &o, &calls, err);
    if (rc != VN_OK)
        return rc;
    rc = vn_truth_read(calls, c->compare.positive, class_of, &c->truth, err);
    vn_calls_close(calls);
    if (rc == VN_OK && vn_truth_size(c->truth, false) && !vn_truth_size(c->truth, true))
        vn_tool_warn(c->tool, "no record of '%s' has the label '%s'", c->truth_file,
                     c->compare.positive);
    return rc;
}

static int start(struct comparison *c, struct vn_error *err) {
    int rc = vn_compare_new(vn_calls_facts(c->set[0]), vn_calls_name(c->set[0]),
                            vn_calls_facts(c->set[1]), vn_calls_name(c->set[1]), &c->compare,
                            &c->result, err);
    if (rc == VN_OK && c->truth_file)
        rc = read_truth(c, err);
    if (rc == VN_OK)
        rc = vn_pairs_new(c->set[0], c->set[1], &c->pairs, err);
    return rc == VN_OK ? vn_sink_open(c->tool->output, &c->sink, err) : rc;
}

static int run(struct comparison *c, struct vn_error *err) {
    const struct vn_call *a, *b;
    int rc;
    while ((rc = vn_pairs_next(c->pairs, &a, &b, err)) > 0) {
        rc = vn_compare_put(c->result, a, b, err);
        if (rc == VN_OK && c->truth)
            rc = vn_truth_judge(c->truth, a, b, err);
        if (rc != VN_OK)
            return rc;
    }
    return rc;
}

static int report(struct comparison *c, struct vn_error *err) {
    struct vn_facts facts;
    vn_facts_init(&facts, c->format == FORMAT_JSON);
    int rc = vn_compare_report(c->result, c->truth, &facts, err);
    if (rc == VN_OK)
        rc = vn_facts_write(&facts, c->sink, err);
    vn_facts_release(&facts);
    if (rc == VN_OK) {
        rc = vn_sink_close(c->sink, err);
        c->sink = NULL;
    }
    return rc;
}

static void summary(const struct comparison *c, uint64_t *different) {
    const uint64_t records = vn_compare_records(c->result, different);
    const double seconds = vn_tool_seconds(c->tool);
    vn_tool_note(c->tool, "%llu records, %llu different; %.2f s, %.0f records/s, peak %.0f MiB",
                 (unsigned long long)records, (unsigned long long)*different, seconds,
                 (double)records / seconds, vn_tool_peak_mib());
}

static int compare(struct comparison *c, uint64_t *different, struct vn_error *err) {
    const bool from_stdin = !strcmp(c->tool->files[0], "-") ||
                            !strcmp(c->tool->files[1], "-") ||
                            (c->truth_file && !strcmp(c->truth_file, "-"));
    int rc = from_stdin ? vn_tool_refuse_terminal(c->tool, false, false, err) : VN_OK;
    if (rc == VN_OK)
        rc = open_sets(c, err);
    if (rc == VN_OK)
        rc = start(c, err);
    if (rc == VN_OK)
        rc = run(c, err);
    if (rc == VN_OK)
        rc = report(c, err);
    if (rc == VN_OK)
        summary(c, different);
    vn_sink_abort(c->sink);
    vn_compare_free(c->result);
    vn_truth_free(c->truth);
    vn_pairs_free(c->pairs);
    vn_calls_close(c->set[0]);
    vn_calls_close(c->set[1]);
    vn_ahead_free(c->ahead);
    return rc;
}

int main(int argc, char **argv) {
    struct vn_tool tool = {
        .name = "vn-compare",
        .usage = "[OPTION...] A B",
        .summary = "Compares two sets of calls, or of vectors, with each other and with the "
                   "truth.",
        .notes = notes,
        .max_files = -1,
        .has_output = true,
        .failure = 2}; /* 1: they differ */
    struct comparison c = {.tool = &tool, .compare = {.positive = "virus"}};
    const char *format = "text", *tolerance = "1e-4", *show = "10", *max_waiting = "64Ki",
               *buffer = "64Mi";
    struct poptOption options[] = {
        {"truth", 0, POPT_ARG_STRING, &c.truth_file, 0,
         "what the records are: id and label, parted by a tab, or a table of calls", "FILE"},
        {"positive", 0, POPT_ARG_STRING, &c.compare.positive, 0,
         "the label that the truth and the order of scores are about", "LABEL"},
        {"tolerance", 0, POPT_ARG_STRING, &tolerance, 0,
         "same are scores that differ by no more, vectors whose relative distance is no more",
         "X"},
        {"format", 0, POPT_ARG_STRING, &format, 0, "text or json", "WORD"},
        {"show", 0, POPT_ARG_STRING, &show, 0, "list the first N records that differ", "N"},
        {"max-waiting", 0, POPT_ARG_STRING, &max_waiting, 0,
         "rows of a stream that may wait for an earlier one: twice vn-pack's window is "
         "enough", "N"},
        {"buffer", 0, POPT_ARG_STRING, &buffer, 0,
         "bytes that may be read ahead into memory, of both pipes together; more goes to "
         "$TMPDIR, and only when both would stand still", "SIZE"},
        POPT_TABLEEND};
    struct vn_error err = {0};
    uint64_t different = 0;
    vn_tool_begin(&tool, argc, argv, options);
    check_options(&c);
    c.format = (enum format)vn_tool_choice(&tool, "format", format, formats);
    c.compare.tolerance = vn_tool_float(&tool, "tolerance", tolerance, 0, 1e30);
    c.compare.show = vn_tool_int(&tool, "show", show, 0, INT32_MAX);
    c.calls.max_waiting = vn_tool_int(&tool, "max-waiting", max_waiting, 1, INT32_MAX);
    c.memory = vn_tool_int(&tool, "buffer", buffer, 1, (int64_t)1 << 40);
    const int status = vn_tool_finish(&tool, compare(&c, &different, &err), &err);
    return status ? status : different > 0;
}
