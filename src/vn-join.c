/* vn-join - vectors of the same record from several streams, side by side. */
#include <stdlib.h>
#include <string.h>

#include "ahead.h"
#include "joiner.h"
#include "stream.h"
#include "tool.h"

#define MAX_STREAMS 64

static const char notes[] =
    "Reads vectors streams of the same input (files, FIFOs, '-' for standard input) and\n"
    "writes one whose vectors are theirs one behind the other, in the order of the\n"
    "arguments; rows come in the order of the input. The columns of all streams go along;\n"
    "those that several have must agree. A record without a vector in one stream has none,\n"
    "and its status says why. A record that is missing, or comes twice, in any stream is\n"
    "an error (65), as are streams of different lengths; ids that differ are one, too (76).";

struct join {
    struct vn_tool *tool;
    int64_t max_waiting, memory;
    int n;
    struct vn_ahead *ahead;
    struct vn_reader *reader[MAX_STREAMS];
    struct vn_joiner *joiner;
    struct vn_writer *writer;
    struct vn_batch in, out;
};

static void check_options(struct join *j, const char *max_waiting, const char *buffer) {
    const struct vn_tool *t = j->tool;
    int inputs = 0;
    j->n = t->n_files;
    j->max_waiting = vn_tool_int(t, "max-waiting", max_waiting, 1, INT32_MAX);
    j->memory = vn_tool_int(t, "buffer", buffer, 1, (int64_t)1 << 40);
    if (j->n < 2)
        vn_tool_usage(t, "expected two streams or more, found %d", j->n);
    if (j->n > MAX_STREAMS)
        vn_tool_usage(t, "expected at most %d streams, found %d", MAX_STREAMS, j->n);
    for (int k = 0; k < j->n; k++)
        inputs += !strcmp(t->files[k], "-");
    if (inputs > 1)
        vn_tool_usage(t, "standard input can be one of the streams, not %d", inputs);
}

/* All are open, and read by their threads, before the first is waited for. */
static int open_inputs(struct join *j, struct vn_error *err) {
    struct vn_source *sources[MAX_STREAMS] = {0};
    int rc = vn_ahead_new(j->memory / 2, &j->ahead, err);
    for (int k = 0; k < j->n && rc == VN_OK; k++)
        rc = vn_ahead_open(j->ahead, j->tool->files[k], &sources[k], err);
    for (int k = 0; k < j->n; k++) {
        if (rc == VN_OK)
            rc = vn_reader_open(sources[k], NULL, &j->reader[k], err);
        else
            vn_source_close(sources[k]);
    }
    return rc;
}

static int open_output(struct join *j, struct vn_error *err) {
    const struct vn_schema *schemas[MAX_STREAMS], *out;
    const char *names[MAX_STREAMS];
    struct vn_sink *sink;
    for (int k = 0; k < j->n; k++) {
        schemas[k] = vn_reader_schema(j->reader[k]);
        names[k] = vn_reader_name(j->reader[k]);
    }
    int rc = vn_joiner_new(schemas, names, j->n, j->max_waiting, j->memory / 2, &j->joiner,
                           err);
    if (rc != VN_OK)
        return rc;
    struct vn_buf members = {0};
    rc = vn_tool_provenance(j->tool, &members, err);
    if (rc == VN_OK)
        rc = vn_joiner_schema(j->joiner, (const char *)members.data, &out, err);
    vn_buf_release(&members);
    if (rc == VN_OK)
        rc = vn_sink_open(j->tool->output, &sink, err);
    return rc == VN_OK ? vn_writer_open(sink, out, &j->writer, err) : rc;
}

/* Reads a batch of every stream that is needed; the number of those that went on. */
static int read_batches(struct join *j, struct vn_error *err) {
    int n = 0;
    for (int k = 0; k < j->n; k++) {
        if (!vn_joiner_wants(j->joiner, k))
            continue;
        int rc = vn_reader_next(j->reader[k], &j->in, err);
        if (rc == 0)
            rc = vn_joiner_end(j->joiner, k, err);
        else if (rc > 0)
            rc = vn_joiner_put(j->joiner, k, &j->in, err);
        if (rc < 0)
            return rc;
        n++;
    }
    return n;
}

static int run(struct join *j, struct vn_error *err) {
    int rc;
    do {
        while ((rc = vn_joiner_next(j->joiner, &j->out, err)) > 0)
            if ((rc = vn_writer_put(j->writer, &j->out, err)) != VN_OK)
                break;
        if (rc == VN_OK)
            rc = read_batches(j, err);
    } while (rc > 0);
    return rc;
}

static void summary(const struct join *j) {
    uint64_t nulls, rows = vn_joiner_rows(j->joiner, &nulls);
    const double seconds = vn_tool_seconds(j->tool);
    vn_tool_note(j->tool,
                 "%llu records of %d streams, %llu without a vector; %.0f MiB in temporary "
                 "files; %.2f s, %.0f records/s, peak %.0f MiB",
                 (unsigned long long)rows, j->n, (unsigned long long)nulls,
                 (double)(vn_ahead_spilled(j->ahead) + vn_joiner_spilled(j->joiner)) / 1048576,
                 seconds,
                 (double)rows / seconds, vn_tool_peak_mib());
}

static int join(struct join *j, struct vn_error *err) {
    bool from_stdin = false;
    for (int k = 0; k < j->n; k++)
        from_stdin = from_stdin || !strcmp(j->tool->files[k], "-");
    int rc = vn_tool_refuse_terminal(j->tool, from_stdin, true, err);
    if (rc == VN_OK)
        rc = open_inputs(j, err);
    if (rc == VN_OK)
        rc = open_output(j, err);
    if (rc == VN_OK)
        rc = run(j, err);
    if (rc == VN_OK) {
        rc = vn_writer_close(j->writer, err);
        j->writer = NULL;
    }
    if (rc == VN_OK)
        summary(j);
    vn_writer_abort(j->writer);
    vn_batch_release(&j->in);
    vn_batch_release(&j->out);
    vn_joiner_free(j->joiner);
    for (int k = 0; k < j->n; k++)
        vn_reader_close(j->reader[k]);
    vn_ahead_free(j->ahead);
    return rc;
}

int main(int argc, char **argv) {
    struct vn_tool tool = {
        .name = "vn-join",
        .usage = "[OPTION...] STREAM STREAM...",
        .summary = "Puts the vectors of the same record from several streams side by side.",
        .notes = notes,
        .max_files = -1,
        .has_output = true};
    const char *max_waiting = "64Ki", *buffer = "512Mi";
    struct poptOption options[] = {
        {"max-waiting", 0, POPT_ARG_STRING, &max_waiting, 0,
         "rows of a stream that may wait for an earlier one: twice vn-pack's window is "
         "enough", "N"},
        {"buffer", 0, POPT_ARG_STRING, &buffer, 0,
         "bytes of memory for what waits, of all streams together: half for rows, half for "
         "what pipes are ahead; more goes to $TMPDIR", "SIZE"},
        POPT_TABLEEND};
    struct join j = {.tool = &tool};
    struct vn_error err = {0};
    vn_tool_begin(&tool, argc, argv, options);
    check_options(&j, max_waiting, buffer);
    return vn_tool_finish(&tool, join(&j, &err), &err);
}
