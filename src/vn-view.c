/* vn-view - looks at streams: as text, checked, counted, or turned into other formats. */
#include <stdlib.h>
#include <string.h>

#include "export.h"
#include "order.h"
#include "report.h"
#include "stream.h"
#include "tool.h"

#define WINDOW ((int64_t)1 << 24) /* rows that may wait: twice vn-pack's largest window */
#define ROWS_AT_ONCE 4096         /* of rows put into order */

static const char *const format_words[] = {"tsv", "json", "npy", "safetensors", "arrow", NULL};
static const struct {
    int (*open)(const struct vn_schema *, struct vn_sink *, struct vn_export **,
                struct vn_error *);
    bool binary, ordered;
} formats[] = {{vn_export_tsv, false, false},
               {vn_export_json, false, false},
               {vn_export_npy, true, true},
               {vn_export_safetensors, true, true},
               {vn_export_arrow, true, false}};

struct options {
    const char *to, *columns;
    int check, header, stats, lax;
    int format; /* index of `to` */
};

struct view {
    struct vn_tool *tool;
    const struct options *opts;
    struct vn_reader *reader;
    struct vn_schema schema; /* of the columns shown */
    int *columns;            /* their places in the stream */
    struct vn_export *out;
    struct vn_order *order; /* or NULL */
    struct vn_batch in, sorted, shown;
};

/* ---- input ----------------------------------------------------------------------- */

/* Several files as one input, one after the other; the name is the current file's. Each
 * is a stream: one without a byte would else go by unseen between two others. */
struct chain {
    struct vn_source base;
    struct vn_source *now;
    bool begun;        /* a byte of it has come */
    const char **next; /* NULL-terminated */
};

static int empty_input(struct vn_error *err) {
    return vn_fail(err, VN_EDATA, "the input is empty, expected an Arrow stream");
}

static int64_t chain_read(struct vn_source *s, void *buf, size_t n, struct vn_error *err) {
    struct chain *c = (struct chain *)s;
    int64_t got;
    while ((got = c->now->read(c->now, buf, n, err)) == 0 && *c->next) {
        struct vn_source *next;
        int rc = c->begun ? vn_source_open(*c->next, &next, err) : empty_input(err);
        if (rc != VN_OK)
            return rc;
        vn_source_close(c->now);
        c->now = next;
        c->begun = false;
        c->base.name = next->name;
        c->next++;
    }
    if (got == 0 && !c->begun)
        return empty_input(err);
    c->begun = true;
    return got;
}

static void chain_close(struct vn_source *s) {
    struct chain *c = (struct chain *)s;
    vn_source_close(c->now);
    free(c);
}

static int open_chain(const char **files, struct vn_source **out, struct vn_error *err) {
    struct chain *c = vn_calloc(1, sizeof *c, err);
    if (!c)
        return VN_EFAIL;
    int rc = vn_source_open(files[0], &c->now, err);
    if (rc != VN_OK) {
        free(c);
        return rc;
    }
    c->base = (struct vn_source){chain_read, chain_close, c->now->name};
    c->next = files + (files[0] != NULL);
    *out = &c->base;
    return VN_OK;
}

static int open_reader(struct view *v, const char **files, struct vn_error *err) {
    const struct vn_reader_options ro = {.lax = v->opts->lax};
    struct vn_source *source;
    int rc = open_chain(files, &source, err);
    return rc == VN_OK ? vn_reader_open(source, &ro, &v->reader, err) : rc;
}

/* ---- conversion ------------------------------------------------------------------ */

static int add_column(struct view *v, int at, struct vn_error *err) {
    const struct vn_schema *s = vn_reader_schema(v->reader);
    int rc = vn_schema_add_field(&v->schema, &s->fields[at], err);
    if (rc == VN_OK)
        v->columns[v->schema.n_fields - 1] = at;
    return rc;
}

static int add_named_columns(struct view *v, struct vn_error *err) {
    const struct vn_schema *s = vn_reader_schema(v->reader);
    char *names = strdup(v->opts->columns), *rest = NULL, *name = NULL;
    int rc = VN_OK;
    if (!names)
        return vn_fail(err, VN_EFAIL, "cannot allocate the names of columns");
    for (name = strtok_r(names, ",", &rest); name && rc == VN_OK;
         name = strtok_r(NULL, ",", &rest)) {
        int at = vn_schema_find(s, name);
        rc = at < 0 ? vn_fail(err, VN_EUSAGE, "--columns: '%s' has no column '%s'",
                              vn_reader_name(v->reader), name)
                    : add_column(v, at, err);
    }
    free(names);
    return rc;
}

/* The columns named by --columns, or all; the metadata as it is. */
static int choose_columns(struct view *v, struct vn_error *err) {
    const struct vn_schema *s = vn_reader_schema(v->reader);
    v->schema.kind = s->kind;
    v->columns = vn_calloc(VN_MAX_COLUMNS, sizeof *v->columns, err);
    int rc = v->columns ? VN_OK : VN_EFAIL;
    for (int i = 0; i < s->n_meta && rc == VN_OK; i++)
        rc = vn_schema_set_meta(&v->schema, s->meta[i].key, s->meta[i].value, err);
    if (rc == VN_OK && v->opts->columns)
        return add_named_columns(v, err);
    for (int i = 0; i < s->n_fields && rc == VN_OK; i++)
        rc = add_column(v, i, err);
    return rc;
}

static int open_conversion(struct view *v, struct vn_error *err) {
    const struct vn_schema *s = vn_reader_schema(v->reader);
    struct vn_sink *sink;
    int record = vn_schema_find(s, "record");
    int rc = choose_columns(v, err);
    if (rc == VN_OK)
        rc = vn_batch_set_columns(&v->shown, v->schema.n_fields, err);
    /* a stream of a kind is put into order; one without a kind stays as it is */
    if (rc == VN_OK && formats[v->opts->format].ordered && s->kind != VN_KIND_OTHER &&
        record >= 0)
        rc = vn_order_new(s, record, WINDOW, &v->order, err);
    if (rc == VN_OK)
        rc = vn_sink_open(v->tool->output, &sink, err);
    if (rc == VN_OK)
        rc = formats[v->opts->format].open(&v->schema, sink, &v->out, err);
    return rc;
}

static int show(struct view *v, const struct vn_batch *b, struct vn_error *err) {
    for (int i = 0; i < v->schema.n_fields; i++)
        v->shown.columns[i] = b->columns[v->columns[i]];
    v->shown.n_rows = b->n_rows;
    return v->out->put(v->out, &v->shown, err);
}

static int show_in_order(struct view *v, struct vn_error *err) {
    int rc = vn_order_put(v->order, &v->in, err);
    if (rc < 0)
        return vn_prefix(err, "'%s'", vn_reader_name(v->reader));
    while ((rc = vn_order_next(v->order, ROWS_AT_ONCE, &v->sorted, err)) > 0)
        if ((rc = show(v, &v->sorted, err)) < 0)
            break;
    return rc;
}

static int convert(struct view *v, struct vn_error *err) {
    int rc = open_reader(v, v->tool->files, err), closed = VN_OK;
    if (rc == VN_OK)
        rc = open_conversion(v, err);
    if (rc != VN_OK)
        return rc;
    while ((rc = vn_reader_next(v->reader, &v->in, err)) > 0)
        if ((rc = v->order ? show_in_order(v, err) : show(v, &v->in, err)) < 0)
            break;
    if (rc == VN_OK && v->order && (rc = vn_order_finish(v->order, err)) < 0)
        vn_prefix(err, "'%s'", vn_reader_name(v->reader));
    closed = v->out->close(v->out, rc == VN_OK, err);
    struct vn_totals t = vn_reader_totals(v->reader);
    double seconds = vn_tool_seconds(v->tool);
    if (rc == VN_OK && closed == VN_OK)
        vn_tool_note(v->tool, "%llu records, %llu tokens, %.1f s, %.0f records/s, "
                     "peak %.0f MiB",
                     (unsigned long long)t.records, (unsigned long long)t.tokens, seconds,
                     (double)t.records / seconds, vn_tool_peak_mib());
    return rc == VN_OK ? closed : rc;
}

/* ---- reports --------------------------------------------------------------------- */

static int check_line(struct view *v, struct vn_sink *sink, const char *name, int rc,
                      struct vn_error *err) {
    struct vn_error ignored, *e = rc == VN_OK ? err : &ignored;
    struct vn_buf line = {0};
    struct vn_totals t = {0};
    if (v->reader)
        t = vn_reader_totals(v->reader);
    int said = vn_report_text(&line, name, e);
    if (said == VN_OK && rc == VN_OK)
        said = vn_buf_printf(&line, e, "\tok\t%s\t%llu batches\t%llu records\t%llu tokens\n",
                             vn_kind_name(vn_reader_schema(v->reader)->kind),
                             (unsigned long long)t.batches, (unsigned long long)t.records,
                             (unsigned long long)t.tokens);
    else if (said == VN_OK)
        said = vn_buf_puts(&line, "\tnot ok\n", e);
    if (said == VN_OK)
        said = vn_sink_puts(sink, (const char *)line.data, line.len, e);
    vn_buf_release(&line);
    return rc == VN_OK ? said : rc;
}

/* One report, of a file or of standard input. */
static int report(struct view *v, const char *file, struct vn_sink *sink,
                  struct vn_error *err) {
    const char *files[] = {file, NULL};
    int rc = open_reader(v, files, err);
    if (rc == VN_OK && v->opts->header)
        rc = vn_report_header(v->reader, sink, err);
    else if (rc == VN_OK && v->opts->stats)
        rc = vn_report_stats(v->reader, sink, err);
    else if (rc == VN_OK)
        rc = vn_report_check(v->reader, v->opts->lax, err);
    if (v->opts->check)
        rc = check_line(v, sink, file ? file : "standard input", rc, err);
    vn_reader_close(v->reader);
    v->reader = NULL;
    return rc;
}

/* All files are looked at, also after one has failed; the first failure is the status. */
static int report_all(struct view *v, struct vn_error *err) {
    struct vn_sink *sink;
    struct vn_error later;
    int first = VN_OK, rc = vn_sink_open(v->tool->output, &sink, err);
    if (rc != VN_OK)
        return rc;
    for (int i = 0; i == 0 || i < v->tool->n_files; i++) {
        rc = report(v, v->tool->files[i], sink, first == VN_OK ? err : &later);
        if (rc != VN_OK && first != VN_OK)
            vn_tool_error(v->tool, "%s", later.msg);
        first = first == VN_OK ? rc : first;
        if (first == VN_EWRITE || first == VN_EPIPE)
            break;
    }
    /* what the checks found is said even when one has failed */
    rc = vn_sink_close(sink, first == VN_OK ? err : &later);
    return first == VN_OK ? rc : first;
}

/* ---- the program ----------------------------------------------------------------- */

static bool reports(const struct options *o) {
    return o->check || o->header || o->stats;
}

static void check_options(const struct view *v, bool to_given) {
    const struct options *o = v->opts;
    const char *names = o->columns; /* between commas */
    size_t n = names ? strlen(names) : 1;
    if (!n)
        vn_tool_usage(v->tool, "--columns names no column");
    if (names && (names[0] == ',' || names[n - 1] == ',' || strstr(names, ",,")))
        vn_tool_usage(v->tool, "--columns '%s': a name is empty", names);
    if (o->check + o->header + o->stats > 1)
        vn_tool_usage(v->tool, "--check, --header and --stats exclude each other");
    if (reports(o) && (to_given || names))
        vn_tool_usage(v->tool, "--to and --columns do not go with --check, --header, --stats");
}

static void release(struct view *v) {
    vn_order_free(v->order);
    vn_reader_close(v->reader); /* whose schema the order uses */
    vn_batch_release(&v->in);
    vn_batch_release(&v->sorted);
    vn_batch_release(&v->shown);
    vn_schema_release(&v->schema);
    free(v->columns);
}

int main(int argc, char **argv) {
    struct vn_tool tool = {
        .name = "vn-view",
        .usage = "[OPTION...] [FILE...]",
        .summary = "Show, check, count or convert streams. Without FILE, or for -, read "
                   "standard input.",
        .notes = "Several files are converted as one stream, and checked one by one.",
        .max_files = -1,
        .has_output = true};
    struct options o = {.to = "tsv"};
    struct poptOption table[] = {
        {"to", 0, POPT_ARG_STRING, &o.to, 0,
         "write tsv, json, npy, safetensors or arrow (Arrow's file format)", "FORMAT"},
        {"columns", 0, POPT_ARG_STRING, &o.columns, 0, "only these, in this order", "A,B..."},
        {"check", 0, POPT_ARG_NONE, &o.check, 0,
         "read everything, verify it, print a line per file", NULL},
        {"header", 0, POPT_ARG_NONE, &o.header, 0, "print kind, columns, provenance", NULL},
        {"stats", 0, POPT_ARG_NONE, &o.stats, 0,
         "print counts, lengths and sizes, column by column", NULL},
        {"lax", 0, POPT_ARG_NONE, &o.lax, 0,
         "accept Arrow streams of other producers, which can be cut without notice", NULL},
        POPT_TABLEEND};
    struct view v = {.tool = &tool, .opts = &o};
    struct vn_error err = {0};
    const char *asked = o.to;
    vn_tool_begin(&tool, argc, argv, table);
    o.format = vn_tool_choice(&tool, "to", o.to, format_words);
    check_options(&v, o.to != asked);
    const bool report = reports(&o);
    int rc = vn_tool_refuse_terminal(&tool, true, !report && formats[o.format].binary, &err);
    if (rc == VN_OK)
        rc = report ? report_all(&v, &err) : convert(&v, &err);
    release(&v);
    return vn_tool_finish(&tool, rc, &err);
}
