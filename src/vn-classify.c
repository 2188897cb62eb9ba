/* vn-classify - scores vectors with a classifier head; a row per record, in input order, or
 * per chunk, or per source.
 *
 * A vectors stream comes in, permuted inside a bounded window. Batches are read by the main
 * thread, scored by several, and then, one after the other, their vectors are dropped; the
 * small rows that are left wait in vn_order for their turn, and may then meet in
 * vn_consensus. What goes out is a table, or the same rows as a scores stream, or VirNucPro's
 * files. */
#include <math.h>
#include <stdlib.h>

#include "consensus.h"
#include "export.h"
#include "line.h"
#include "order.h"
#include "scorer.h"
#include "stream.h"
#include "tool.h"
#include "virnucpro.h"

#define OUT_ROWS 4096 /* rows put out at once */
#define MOST_THREADS 8 /* that score: reading, and writing, are a thread's work each */
#define SLOTS (MOST_THREADS + 2)

enum format { FORMAT_TSV, FORMAT_STREAM, FORMAT_VIRNUCPRO };
static const char *const formats[] = {"tsv", "stream", "virnucpro", NULL};
enum by { BY_FRAME, BY_CHUNK, BY_SOURCE };
static const char *const bys[] = {"frame", "chunk", "source", NULL};

/* A batch on its way, and the scores of its first rows. */
struct slot {
    struct vn_batch in;
    struct vn_buf scores;
};

struct classify {
    struct vn_tool *tool;
    enum format format;
    enum by by;
    float threshold; /* as vn_scorer_init takes it */
    int64_t max_waiting;
    struct vn_head *head; /* NULL: scores come in */
    bool chosen;          /* the head is the one that ships, as none was named */
    struct vn_reader *reader;
    struct vn_scorer scorer;
    struct slot slots[SLOTS];
    int threads; /* of the line; 0: none */
    /* of its last step, in order */
    struct vn_order *order;
    struct vn_consensus *consensus; /* NULL: by frame */
    struct vn_batch scored, ready; /* as scored, those whose turn has come */
    struct vn_batch calls;    /* of the consensus */
    struct vn_export *table;  /* FORMAT_TSV, FORMAT_VIRNUCPRO */
    struct vn_writer *writer; /* FORMAT_STREAM */
    uint64_t rows, written;
};

static int check_options(struct classify *c, struct vn_error *err) {
    if (c->format != FORMAT_VIRNUCPRO)
        return vn_tool_refuse_terminal(c->tool, true, c->format == FORMAT_STREAM, err);
    if (!c->tool->output)
        vn_tool_usage(c->tool, "--format virnucpro needs a directory: -o DIR");
    if (c->by != BY_FRAME || !isnan(c->threshold))
        vn_tool_usage(c->tool, "--format virnucpro has its own rules: leave out --%s",
                      c->by != BY_FRAME ? "by" : "threshold");
    c->threshold = -1;
    return vn_tool_refuse_terminal(c->tool, true, false, err);
}

static int open_input(struct classify *c, struct vn_error *err) {
    struct vn_source *source;
    int rc = vn_source_open(c->tool->n_files ? c->tool->files[0] : NULL, &source, err);
    return rc == VN_OK ? vn_reader_open(source, NULL, &c->reader, err) : rc;
}

/* For vectors, where no head was named, the one that ships; scores need none. */
static int choose_head(struct classify *c, struct vn_error *err) {
    const enum vn_kind kind = vn_reader_schema(c->reader)->kind;
    if (c->head || kind == VN_KIND_SCORES)
        return VN_OK;
    if (kind != VN_KIND_VECTORS)
        return vn_fail(err, VN_EINCOMPAT, "'%s': a stream of %s, expected vectors or scores",
                       vn_reader_name(c->reader), vn_kind_name(kind));
    int rc = vn_head_open(VN_SHIPPED_HEAD, &c->head, err);
    if (rc != VN_OK)
        return vn_prefix(err, "no head was named with -m");
    c->chosen = true;
    vn_tool_warn(c->tool, "no head was named: using '%s', sha256 %.12s", c->head->name,
                 c->head->sha256);
    return VN_OK;
}

static int start_scoring(struct classify *c, struct vn_error *err) {
    struct vn_buf members = {0};
    c->threads = vn_line_threads(c->tool->threads, MOST_THREADS);
    int rc = vn_tool_provenance(c->tool, &members, err);
    if (rc == VN_OK)
        rc = vn_scorer_init(&c->scorer, c->head, vn_reader_schema(c->reader), c->threshold,
                            c->threads + 1, (const char *)members.data, err);
    vn_buf_release(&members);
    if (rc == VN_EINCOMPAT && c->chosen)
        return vn_prefix(err, "'%s': no head was named with -m, and the one that ships does "
                              "not fit", vn_reader_name(c->reader));
    if (rc == VN_OK && c->by != BY_FRAME) {
        const struct vn_consensus_options o = {c->by == BY_SOURCE, c->scorer.threshold};
        rc = vn_consensus_new(&c->scorer.schema, &o, &c->consensus, err);
    }
    if (rc != VN_OK)
        return vn_prefix(err, "'%s'", vn_reader_name(c->reader));
    if (!isnan(c->scorer.threshold) && c->scorer.n_classes != 2)
        return vn_fail(err, VN_EUSAGE, "--threshold needs 2 classes, there are %d",
                       c->scorer.n_classes);
    return vn_order_new(&c->scorer.schema, vn_schema_find(&c->scorer.schema, "record"),
                        c->max_waiting, &c->order, err);
}

static int open_output(struct classify *c, struct vn_error *err) {
    const struct vn_schema *schema =
        c->consensus ? vn_consensus_schema(c->consensus) : &c->scorer.schema;
    struct vn_sink *sink;
    if (c->format == FORMAT_VIRNUCPRO)
        return vn_export_virnucpro(schema, c->tool->output, &c->table, err);
    int rc = vn_sink_open(c->tool->output, &sink, err);
    if (rc != VN_OK)
        return rc;
    if (c->format == FORMAT_STREAM)
        return vn_writer_open(sink, schema, &c->writer, err);
    return vn_export_tsv(schema, sink, &c->table, err);
}

static int write_rows(struct classify *c, const struct vn_batch *b, struct vn_error *err) {
    c->written += (uint64_t)b->n_rows;
    return c->table ? c->table->put(c->table, b, err) : vn_writer_put(c->writer, b, err);
}

/* The calls that the consensus has complete. */
static int write_calls(struct classify *c, struct vn_error *err) {
    int rc = vn_consensus_rows(c->consensus, &c->calls, err);
    return rc == VN_OK ? write_rows(c, &c->calls, err) : rc;
}

/* Puts out all rows whose turn has come. */
static int put_out(struct classify *c, struct vn_error *err) {
    int rc;
    while ((rc = vn_order_next(c->order, OUT_ROWS, &c->ready, err)) > 0) {
        if (!c->consensus)
            rc = write_rows(c, &c->ready, err);
        else if ((rc = vn_consensus_put(c->consensus, &c->ready, err)) == VN_OK)
            rc = write_calls(c, err);
        if (rc != VN_OK)
            return rc;
        c->rows += (uint64_t)c->ready.n_rows;
    }
    return rc;
}

static int at_batch(const struct classify *c, const struct vn_batch *b, int rc,
                    struct vn_error *err) {
    if (rc == VN_EDATA)
        vn_prefix(err, "'%s': batch %llu", vn_reader_name(c->reader),
                  (unsigned long long)b->number);
    return rc;
}

/* The scores of a batch: of several at a time. */
static int score(void *arg, int worker, int slot, struct vn_error *err) {
    struct classify *c = arg;
    struct slot *s = &c->slots[slot];
    return at_batch(c, &s->in,
                    vn_scorer_compute(&c->scorer, worker, &s->in, 0, &s->scores, err), err);
}

/* All else, batch by batch. Of a batch with very many rows, whose first ones have scores, the
 * others are scored here. */
static int finish(void *arg, int slot, struct vn_error *err) {
    struct classify *c = arg;
    struct slot *s = &c->slots[slot];
    int64_t row = 0, n = 0;
    int rc = VN_OK;
    for (; rc == VN_OK && row < s->in.n_rows; row += n) {
        if (row)
            rc = vn_scorer_compute(&c->scorer, c->threads, &s->in, row, &s->scores, err);
        if (rc == VN_OK)
            n = vn_scorer_rows(&c->scorer, &s->in, row, &s->scores, &c->scored, err);
        if (rc == VN_OK)
            rc = n < 0 ? (int)n : vn_order_put(c->order, &c->scored, err);
        if (rc == VN_OK)
            rc = put_out(c, err);
    }
    return at_batch(c, &s->in, rc, err);
}

static void stop_reading(void *arg) {
    vn_reader_interrupt(((struct classify *)arg)->reader);
}

static int read_batch(void *arg, int slot, struct vn_error *err) {
    struct classify *c = arg;
    return vn_reader_next(c->reader, &c->slots[slot].in, err);
}

static int score_all(struct classify *c, struct vn_error *err) {
    static const struct vn_line_steps steps = {score, finish, stop_reading};
    int rc = vn_reader_interruptible(c->reader, err);
    return rc == VN_OK ? vn_line_run(c->threads, c->threads + 2, &steps, read_batch, c, err)
                       : rc;
}

static int run(struct classify *c, struct vn_error *err) {
    int rc = score_all(c, err);
    if (rc == VN_OK)
        rc = vn_order_finish(c->order, err);
    if (rc == VN_OK && c->consensus)
        rc = vn_consensus_end(c->consensus, err);
    if (rc == VN_OK && c->consensus)
        rc = write_calls(c, err);
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
    return rc == VN_OK && !b->len ? vn_buf_puts(b, "", NULL) : rc;
}

static void summary(const struct classify *c) {
    const struct vn_scorer *s = &c->scorer;
    struct vn_buf labels = {0}, statuses = {0};
    char calls[64] = "";
    if (c->consensus)
        snprintf(calls, sizeof calls, ", %llu %ss", (unsigned long long)c->written,
                 bys[c->by]);
    double seconds = vn_tool_seconds(c->tool);
    if (list(&labels, s->per_label, s->n_classes + 1) == VN_OK &&
        list(&statuses, s->per_status, VN_MAX_STATUSES + 1) == VN_OK)
        vn_tool_note(c->tool,
                     "%llu records%s; labels: %s; status: %s; %.2f s, %.0f records/s, "
                     "peak %.0f MiB",
                     (unsigned long long)c->rows, calls, (const char *)labels.data,
                     (const char *)statuses.data, seconds, (double)c->rows / seconds,
                     vn_tool_peak_mib());
    vn_buf_release(&labels);
    vn_buf_release(&statuses);
}

static int classify(struct classify *c, const char *head, struct vn_error *err) {
    int rc = check_options(c, err);
    if (rc == VN_OK && head)
        rc = vn_head_open(head, &c->head, err);
    if (rc == VN_OK)
        rc = open_input(c, err);
    if (rc == VN_OK)
        rc = choose_head(c, err);
    if (rc == VN_OK)
        rc = start_scoring(c, err);
    if (rc == VN_OK)
        rc = open_output(c, err);
    if (rc == VN_OK)
        rc = run(c, err);
    rc = close_output(c, rc, err);
    if (rc == VN_OK)
        summary(c);
    for (int i = 0; i < SLOTS; i++) {
        vn_batch_release(&c->slots[i].in);
        vn_buf_release(&c->slots[i].scores);
    }
    vn_batch_release(&c->scored);
    vn_batch_release(&c->ready);
    vn_batch_release(&c->calls);
    vn_order_free(c->order);
    vn_consensus_free(c->consensus);
    vn_scorer_release(&c->scorer);
    vn_reader_close(c->reader);
    vn_head_close(c->head);
    return rc;
}

int main(int argc, char **argv) {
    struct vn_tool tool = {
        .name = "vn-classify",
        .usage = "[-m HEAD] [OPTION...] [FILE]",
        .summary = "Scores vectors with a classifier head: a row per record, in input "
                   "order.",
        .notes = "Reads a vectors stream, or, without -m, one of scores. The table has the\n"
                 "columns id, record, label, a score per class, status, and what the stream\n"
                 "carries along; '.' means no value. --by needs what vn-orf's streams carry.",
        .max_files = 1,
        .has_output = true};
    const char *head = NULL, *format = "tsv", *threshold = NULL, *max_waiting = "1M";
    const char *by = "frame";
    struct poptOption options[] = {
        {"model", 'm', POPT_ARG_STRING, &head, 0,
         "the head: a directory, or the name of one (default: the one that ships)", "HEAD"},
        {"by", 0, POPT_ARG_STRING, &by, 0,
         "a call for each frame (record), or the consensus of each chunk or source", "WORD"},
        {"threshold", 0, POPT_ARG_STRING, &threshold, 0,
         "of two classes call the second from this score up (default: the higher score)",
         "X"},
        {"format", 0, POPT_ARG_STRING, &format, 0,
         "tsv, stream, or virnucpro (its two files, into the directory -o)", "WORD"},
        {"max-waiting", 0, POPT_ARG_STRING, &max_waiting, 0,
         "rows that may wait for an earlier one: twice vn-pack's window is enough", "N"},
        POPT_TABLEEND};
    struct classify c = {.tool = &tool, .threshold = NAN};
    struct vn_error err = {0};
    vn_tool_begin(&tool, argc, argv, options);
    c.by = (enum by)vn_tool_choice(&tool, "by", by, bys);
    c.format = (enum format)vn_tool_choice(&tool, "format", format, formats);
    c.max_waiting = vn_tool_int(&tool, "max-waiting", max_waiting, 1, INT32_MAX);
    if (threshold)
        c.threshold = (float)vn_tool_float(&tool, "threshold", threshold, 0, 1);
    return vn_tool_finish(&tool, classify(&c, head, &err), &err);
}
