#include "report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>


/* ---- the head -------------------------------------------------------------------- */

int vn_report_text(struct vn_buf *out, const char *s, struct vn_error *err) {
    int rc = VN_OK;
    for (; *s && rc == VN_OK; s++)
        rc = vn_buf_append(out, (unsigned char)*s < 32 || *s == 127 ? " " : s, 1, err);
    return rc;
}

/* The first two lines of a report. */
static int put_stream(struct vn_buf *out, const struct vn_reader *r, struct vn_error *err) {
    int rc = vn_buf_puts(out, "stream\t", err);
    if (rc == VN_OK)
        rc = vn_report_text(out, vn_reader_name(r), err);
    return rc == VN_OK ? vn_buf_printf(out, err, "\nkind\t%s\n",
                                       vn_kind_name(vn_reader_schema(r)->kind))
                       : rc;
}

int vn_report_header(struct vn_reader *r, struct vn_sink *sink, struct vn_error *err) {
    const struct vn_schema *s = vn_reader_schema(r);
    struct vn_buf out = {0};
    char type[128];
    int rc = put_stream(&out, r, err);
    for (int i = 0; i < s->n_fields && rc == VN_OK; i++) {
        const struct vn_field *f = &s->fields[i];
        rc = vn_buf_puts(&out, "column\t", err);
        if (rc == VN_OK)
            rc = vn_report_text(&out, f->level[0].name, err);
        if (rc == VN_OK)
            rc = vn_buf_printf(&out, err, "\t%s%s\n",
                               vn_field_type_text(f, type, sizeof type),
                               f->level[0].nullable ? "\tnullable" : "");
    }
    for (int i = 0; i < s->n_meta && rc == VN_OK; i++) {
        rc = vn_report_text(&out, s->meta[i].key, err);
        if (rc == VN_OK)
            rc = vn_buf_puts(&out, "\t", err);
        if (rc == VN_OK)
            rc = vn_report_text(&out, s->meta[i].value, err);
        if (rc == VN_OK)
            rc = vn_buf_puts(&out, "\n", err);
    }
    if (rc == VN_OK)
        rc = vn_sink_puts(sink, (const char *)out.data, out.len, err);
    vn_buf_release(&out);
    return rc;
}

/* ---- statistics ------------------------------------------------------------------ */

struct column_stats {
    uint64_t nulls, bytes;          /* at the column's level; of all of it, unpacked */
    uint64_t min, max, sum, counted; /* lengths of lists and texts */
};

static void count_column(struct column_stats *s, const struct vn_field *f,
                         const struct vn_column *c) {
    const struct vn_array *a = &c->level[0];
    for (int l = 0; l < f->depth; l++)
        s->bytes += vn_level_bytes(&f->level[l], &c->level[l]);
    s->nulls += (uint64_t)a->null_count;
    if (!vn_type_offset_width(f->level[0].type))
        return;
    for (int64_t i = 0; i < a->length; i++) {
        int64_t from, to;
        if (vn_is_null(a, i))
            continue;
        vn_span(a, f->level[0].type, i, &from, &to);
        uint64_t n = (uint64_t)(to - from);
        s->min = !s->counted || n < s->min ? n : s->min;
        s->max = n > s->max ? n : s->max;
        s->sum += n;
        s->counted++;
    }
}

static int put_stats(struct vn_reader *r, const struct column_stats *stats,
                     struct vn_sink *sink, struct vn_error *err) {
    const struct vn_schema *s = vn_reader_schema(r);
    struct vn_totals t = vn_reader_totals(r);
    struct vn_buf out = {0};
    int rc = put_stream(&out, r, err);
    if (rc == VN_OK)
        rc = vn_buf_printf(&out, err,
                           "batches\t%" PRIu64 "\nrecords\t%" PRIu64 "\ntokens\t%" PRIu64
                           "\nbytes\t%" PRIu64
                           "\n#column\tbytes\tnulls\tmin_length\tmean_length\tmax_length\n",
                           t.batches, t.records, t.tokens, vn_reader_bytes(r));
    for (int i = 0; i < s->n_fields && rc == VN_OK; i++) {
        const struct column_stats *c = &stats[i];
        rc = vn_report_text(&out, s->fields[i].level[0].name, err);
        if (rc == VN_OK)
            rc = vn_buf_printf(&out, err, "\t%" PRIu64 "\t%" PRIu64, c->bytes, c->nulls);
        if (rc == VN_OK && c->counted)
            rc = vn_buf_printf(&out, err, "\t%" PRIu64 "\t%.6g\t%" PRIu64 "\n", c->min,
                               (double)c->sum / (double)c->counted, c->max);
        else if (rc == VN_OK)
            rc = vn_buf_puts(&out, "\t.\t.\t.\n", err);
    }
    if (rc == VN_OK)
        rc = vn_sink_puts(sink, (const char *)out.data, out.len, err);
    vn_buf_release(&out);
    return rc;
}

int vn_report_stats(struct vn_reader *r, struct vn_sink *sink, struct vn_error *err) {
    const struct vn_schema *s = vn_reader_schema(r);
    struct column_stats *stats = vn_calloc((size_t)s->n_fields, sizeof *stats, err);
    struct vn_batch b;
    int rc;
    if (!stats)
        return VN_EFAIL;
    vn_batch_init(&b);
    while ((rc = vn_reader_next(r, &b, err)) > 0)
        for (int i = 0; i < s->n_fields; i++)
            count_column(&stats[i], &s->fields[i], &b.columns[i]);
    if (rc == VN_OK)
        rc = put_stats(r, stats, sink, err);
    vn_batch_release(&b);
    free(stats);
    return rc;
}

/* ---- soundness ------------------------------------------------------------------- */

/* Record numbers seen, from the first that has not been on: a ring of bits. */
#define SEEN_BITS ((uint64_t)1 << 26)

struct seen {
    uint64_t first;
    uint8_t *bits;
};

static int see(struct seen *s, uint64_t record, struct vn_error *err) {
    uint64_t at = record & (SEEN_BITS - 1);
    if (record >= s->first && record - s->first >= SEEN_BITS)
        return vn_fail(err, VN_EDATA,
                       "record %" PRIu64 " comes while record %" PRIu64 " is missing", record,
                       s->first);
    if (record < s->first || (s->bits[at / 8] >> at % 8 & 1))
        return vn_fail(err, VN_EDATA, "record %" PRIu64 " comes twice", record);
    s->bits[at / 8] |= (uint8_t)(1 << at % 8);
    for (;;) {
        at = s->first & (SEEN_BITS - 1);
        if (!(s->bits[at / 8] >> at % 8 & 1))
            return VN_OK;
        s->bits[at / 8] &= (uint8_t)~(1 << at % 8);
        s->first++;
    }
}

/* The columns that vn-stream(5) gives every stream of a kind. */
static int check_columns(const struct vn_schema *s, struct vn_error *err) {
    static const enum vn_type utf8[] = {VN_UTF8}, number[] = {VN_UINT64};
    static const enum vn_type tokens[] = {VN_LIST, VN_UINT16};
    static const enum vn_type vectors[] = {VN_FIXED_LIST, VN_FLOAT32};
    int rc = vn_schema_require(s, "id", utf8, 1, err);
    if (rc >= 0)
        rc = vn_schema_require(s, "record", number, 1, err);
    if (rc >= 0 && s->kind == VN_KIND_TOKENS)
        rc = vn_schema_require(s, "tokens", tokens, 2, err);
    if (rc >= 0 && s->kind == VN_KIND_VECTORS)
        rc = vn_schema_require(s, "embedding", vectors, 2, err);
    if (rc >= 0 && s->kind == VN_KIND_SCORES)
        rc = vn_schema_require(s, "label", utf8, 1, err);
    if (rc >= 0 && s->kind == VN_KIND_EMBEDDINGS && vn_schema_find(s, "embedding") < 0)
        rc = vn_fail(err, VN_EINCOMPAT, "a stream of embeddings without the column "
                                        "'embedding'");
    return rc < 0 ? rc : VN_OK;
}

static int check_records(struct vn_reader *r, int record, struct vn_error *err) {
    struct seen seen = {.bits = vn_calloc(SEEN_BITS / 8, 1, err)};
    struct vn_batch b;
    int rc;
    if (!seen.bits)
        return VN_EFAIL;
    vn_batch_init(&b);
    while ((rc = vn_reader_next(r, &b, err)) > 0) {
        const uint64_t *number = record < 0 ? NULL : b.columns[record].level[0].values;
        for (int64_t i = 0; number && i < b.n_rows && rc > 0; i++)
            if (see(&seen, number[i], err) != VN_OK)
                rc = vn_prefix(err, "'%s'", vn_reader_name(r));
        if (rc < 0)
            break;
    }
    if (rc == VN_OK && record >= 0 && seen.first != vn_reader_totals(r).records)
        rc = vn_fail(err, VN_EDATA, "'%s': record %" PRIu64 " of %" PRIu64 " is missing",
                     vn_reader_name(r), seen.first, vn_reader_totals(r).records);
    vn_batch_release(&b);
    free(seen.bits);
    return rc;
}

int vn_report_check(struct vn_reader *r, bool lax, struct vn_error *err) {
    const struct vn_schema *s = vn_reader_schema(r);
    bool ours = !lax || s->kind != VN_KIND_OTHER;
    int rc = ours ? check_columns(s, err) : VN_OK;
    if (rc != VN_OK)
        return vn_prefix(err, "'%s'", vn_reader_name(r));
    return check_records(r, ours ? vn_schema_find(s, "record") : -1, err);
}
