/* vn-classify - scores vectors with a classifier head; a row per record, in input order.
 *
 * A vectors stream comes in, permuted inside a bounded window. Each batch is scored as it
 * comes and its vectors are dropped; the small rows that are left wait in vn_order for
 * their turn. What goes out is a table, or the same rows as a scores stream. */
#include <math.h>
#include <stdlib.h>

#include "export.h"
#include "order.h"
#include "scorer.h"
#include "stream.h"
#include "tool.h"

#define OUT_ROWS 4096 /* rows put out at once */

enum format { FORMAT_TSV, FORMAT_STREAM };
static const char *const formats[] = {"tsv", "stream", NULL};

struct classify {
    struct vn_tool *tool;
    enum format format;
    float threshold; /* NaN: none */
    int64_t max_waiting;
    struct vn_head *head;
    struct vn_reader *reader;
    struct vn_scorer scorer;
    struct vn_order *order;
    struct vn_batch in, scored, ready; /* as read, as scored, those whose turn has come */
    struct vn_export *table;  /* FORMAT_TSV */
    struct vn_writer *writer; /* FORMAT_STREAM */
    uint64_t rows;
};

static int open_head(struct classify *c, const char *name, struct vn_error *err) {
    int rc = vn_head_open(name, &c->head, err);
    if (rc != VN_OK || isnan(c->threshold))
        return rc;
    int n = c->head->width[c->head->n_layers];
    if (n != 2)
        return vn_fail(err, VN_EUSAGE,
                       "--threshold needs a head with 2 classes, '%s' has %d", c->head->name,
                       n);
    return VN_OK;
}

static int open_input(struct classify *c, struct vn_error *err) {
    struct vn_source *source;
    int rc = vn_source_open(c->tool->n_files ? c->tool->files[0] : NULL, &source, err);
    return rc == VN_OK ? vn_reader_open(source, NULL, &c->reader, err) : rc;
}

static int start_scoring(struct classify *c, struct vn_error *err) {
    char *program = vn_tool_provenance(c->tool);
    if (!program)
        return vn_fail(err, VN_EFAIL, "cannot allocate provenance");
    int rc = vn_scorer_init(&c->scorer, c->head, vn_reader_schema(c->reader),
                            c->threshold, c->tool->threads, program, err);
    free(program);
    if (rc != VN_OK)
        return vn_prefix(err, "'%s'", vn_reader_name(c->reader));
    return vn_order_new(&c->scorer.schema, vn_schema_find(&c->scorer.schema, "record"),
                        c->max_waiting, &c->order, err);
}

static int open_output(struct classify *c, struct vn_error *err) {
    struct vn_sink *sink;
    int rc = vn_sink_open(c->tool->output, &sink, err);
    if (rc != VN_OK)
        return rc;
    if (c->format == FORMAT_STREAM)
        return vn_writer_open(sink, &c->scorer.schema, &c->writer, err);
    return vn_export_tsv(&c->scorer.schema, sink, &c->table, err);
}

/* Puts out all rows whose turn has come. */
static int put_out(struct classify *c, struct vn_error *err) {
    int rc;
    while ((rc = vn_order_next(c->order, OUT_ROWS, &c->ready, err)) > 0) {
        rc = c->table ? c->table->put(c->table, &c->ready, err)
                      : vn_writer_put(c->writer, &c->ready, err);
        if (rc != VN_OK)
            return rc;
        c->rows += (uint64_t)c->ready.n_rows;
    }
    return rc;
}

static int score_batch(struct classify *c, struct vn_error *err) {
    int64_t row = 0;
    int rc;
    while ((rc = vn_scorer_next(&c->scorer, &c->in, &row, &c->scored, err)) > 0) {
        rc = vn_order_put(c->order, &c->scored, err);
        if (rc == VN_OK)
            rc = put_out(c, err);
        if (rc != VN_OK)
            break;
    }
    if (rc == VN_EDATA)
        vn_prefix(err, "'%s': batch %llu", vn_reader_name(c->reader),
                  (unsigned long long)c->in.number);
    return rc;
}

static int run(struct classify *c, struct vn_error *err) {
    int rc;
    while ((rc = vn_reader_next(c->reader, &c->in, err)) > 0)
        if ((rc = score_batch(c, err)) != VN_OK)
            break;
    if (rc == VN_OK)
        rc = vn_order_finish(c->order, err);
    uint64_t records = vn_reader_totals(c->reader).records;
    if (rc == VN_OK && c->rows != records)
        rc = vn_fail(err, VN_EINTERNAL, "%llu rows written for %llu records read",
                     (unsigned long long)c->rows, (unsigned long long)records);
    return rc;
}

/* Ends the output, or, after a failure, drops it without an end. */
static int close_output(struct classify *c, int rc, struct vn_error *err) {
    struct vn_error ignored;
    if (rc != VN_OK) {
        vn_writer_abort(c->writer);
        if (c->table)
            c->table->close(c->table, false, &ignored);
        return rc;
    }
    return c->table ? c->table->close(c->table, true, err)
                    : vn_writer_close(c->writer, err);
}

static int list(struct vn_buf *b, const struct vn_tally *t, int n) {
    int rc = VN_OK;
    for (int i = 0; i < n && rc == VN_OK; i++)
        if (t[i].rows)
            rc = vn_buf_printf(b, NULL, "%s%s %llu", b->len ? ", " : "", t[i].text,
                               (unsigned long long)t[i].rows);
    return rc == VN_OK ? vn_buf_append(b, "", 1, NULL) : rc;
}

static void summary(const struct classify *c) {
    const struct vn_scorer *s = &c->scorer;
    struct vn_buf labels = {0}, statuses = {0};
    double seconds = vn_tool_seconds(c->tool);
    if (list(&labels, s->per_label, s->n_classes + 1) == VN_OK &&
        list(&statuses, s->per_status, VN_MAX_STATUSES + 1) == VN_OK)
        vn_tool_note(c->tool,
                     "%llu records; labels: %s; status: %s; %.2f s, %.0f records/s, "
                     "peak %.0f MiB",
                     (unsigned long long)c->rows, (const char *)labels.data,
                     (const char *)statuses.data, seconds, (double)c->rows / seconds,
                     vn_tool_peak_mib());
    vn_buf_release(&labels);
    vn_buf_release(&statuses);
}

static int classify(struct classify *c, const char *head, struct vn_error *err) {
    int rc = vn_tool_refuse_terminal(c->tool, true, c->format == FORMAT_STREAM, err);
    if (rc == VN_OK)
        rc = open_head(c, head, err);
    if (rc == VN_OK)
        rc = open_input(c, err);
    if (rc == VN_OK)
        rc = start_scoring(c, err);
    if (rc == VN_OK)
        rc = open_output(c, err);
    if (rc == VN_OK)
        rc = run(c, err);
    rc = close_output(c, rc, err);
    if (rc == VN_OK)
        summary(c);
    vn_batch_release(&c->in);
    vn_batch_release(&c->scored);
    vn_batch_release(&c->ready);
    vn_order_free(c->order);
    vn_scorer_release(&c->scorer);
    vn_reader_close(c->reader);
    vn_head_close(c->head);
    return rc;
}

int main(int argc, char **argv) {
    struct vn_tool tool = {
        .name = "vn-classify",
        .usage = "-m HEAD [OPTION...] [FILE]",
        .summary = "Scores vectors with a classifier head: a row per record, in input "
                   "order.",
        .notes = "Reads a vectors stream. The table has the columns id, record, label, a\n"
                 "score per class, status, and what the stream carries along; '.' means no\n"
                 "value.",
        .max_files = 1,
        .has_output = true};
    const char *head = NULL, *format = "tsv", *threshold = NULL, *max_waiting = "1M";
    struct poptOption options[] = {
        {"model", 'm', POPT_ARG_STRING, &head, 0,
         "the head: a directory, or a name in $VN_MODELS", "HEAD"},
        {"threshold", 0, POPT_ARG_STRING, &threshold, 0,
         "of two classes call the second from this score up (default: the higher score, "
         "of equals the first)", "X"},
        {"format", 0, POPT_ARG_STRING, &format, 0, "tsv or stream", "WORD"},
        {"max-waiting", 0, POPT_ARG_STRING, &max_waiting, 0,
         "rows that may wait for an earlier one: twice vn-pack's window is enough", "N"},
        POPT_TABLEEND};
    struct classify c = {.tool = &tool, .threshold = NAN};
    struct vn_error err = {0};
    vn_tool_begin(&tool, argc, argv, options);
    if (!head)
        vn_tool_usage(&tool, "no head given: use -m");
    c.format = (enum format)vn_tool_choice(&tool, "format", format, formats);
    c.max_waiting = vn_tool_int(&tool, "max-waiting", max_waiting, 1, INT32_MAX);
    if (threshold)
        c.threshold = (float)vn_tool_float(&tool, "threshold", threshold, 0, 1);
    return vn_tool_finish(&tool, classify(&c, head, &err), &err);
}
