#include "encoder.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bits.h"
#include "crc.h"
#include "zbody.h"

struct vn_encoder {
    const struct vn_schema *schema;
    struct vn_zbody *z;
    struct vn_column *empty; /* columns without rows */
    struct vn_arrow_node *nodes;
    struct vn_arrow_buffer *buffers;
    size_t n_nodes, n_buffers; /* of the batch being encoded */
    int64_t unpacked;          /* its bytes before compression */
    struct vn_buf message, body, scratch;
};

static const int64_t zero; /* the offsets of no rows */

int vn_encoder_new(const struct vn_schema *schema, struct vn_encoder **out,
                   struct vn_error *err) {
    struct vn_encoder *e = *out = vn_calloc(1, sizeof *e, err);
    size_t n = 1; /* levels */
    if (!e)
        return VN_EFAIL;
    for (int i = 0; i < schema->n_fields; i++)
        n += (size_t)schema->fields[i].depth;
    e->schema = schema;
    e->empty = vn_calloc((size_t)schema->n_fields, sizeof *e->empty, err);
    e->nodes = vn_calloc(n, sizeof *e->nodes, err);
    e->buffers = vn_calloc(3 * n, sizeof *e->buffers, err);
    if (e->empty && e->nodes && e->buffers && vn_zbody_new(&e->z, err) == VN_OK) {
        for (int i = 0; i < schema->n_fields; i++)
            for (int l = 0; l < VN_MAX_DEPTH; l++)
                e->empty[i].level[l].offsets = &zero;
        return VN_OK;
    }
    vn_encoder_free(e);
    *out = NULL;
    return VN_EFAIL;
}

void vn_encoder_free(struct vn_encoder *e) {
    if (!e)
        return;
    vn_zbody_free(e->z);
    free(e->empty);
    free(e->nodes);
    free(e->buffers);
    vn_buf_release(&e->message);
    vn_buf_release(&e->body);
    vn_buf_release(&e->scratch);
    free(e);
}

const struct vn_buf *vn_encoder_message(const struct vn_encoder *e) {
    return &e->message;
}

const struct vn_buf *vn_encoder_body(const struct vn_encoder *e) {
    return &e->body;
}

/* ---- buffers --------------------------------------------------------------------- */

/* Adds a buffer to the body; none of n = 0 bytes is compressed. */
static int put_buffer(struct vn_encoder *e, enum vn_zbody_content content, const void *p,
                      size_t n, struct vn_error *err) {
    size_t start = vn_round_up(e->body.len, VN_ALIGN);
    if (n > (size_t)(VN_MAX_BODY - e->unpacked))
        return vn_fail(err, VN_EFAIL, "a batch takes more than %lld bytes: make it smaller",
                       (long long)VN_MAX_BODY);
    e->unpacked += (int64_t)n;
    int rc = vn_buf_zeros(&e->body, start - e->body.len, err);
    if (rc == VN_OK && n)
        rc = vn_zbody_pack(e->z, content, p, n, &e->body, err);
    e->buffers[e->n_buffers++] =
        (struct vn_arrow_buffer){(int64_t)start, (int64_t)(e->body.len - start)};
    return rc;
}

/* Bits [from, from + n), moved to the front, with zeros after the last. */
static int put_bits(struct vn_encoder *e, const uint8_t *bits, int64_t from, int64_t n,
                    struct vn_error *err) {
    size_t bytes = vn_bits_bytes(n);
    e->scratch.len = 0;
    int rc = vn_buf_zeros(&e->scratch, bytes, err);
    if (rc != VN_OK)
        return rc;
    if (n)
        vn_bits_copy(e->scratch.data, 0, bits, from, n);
    return put_buffer(e, VN_ZBODY_REST, e->scratch.data, bytes, err);
}

/* Offsets of rows [from, from + n), which begin at `first`, as offsets that begin at 0. */
static int put_offsets(struct vn_encoder *e, const struct vn_array *a, size_t width,
                       int64_t from, int64_t n, int64_t first, struct vn_error *err) {
    const uint8_t *o = (const uint8_t *)a->offsets + (size_t)from * width;
    size_t bytes = ((size_t)n + 1) * width;
    if (!first)
        return put_buffer(e, VN_ZBODY_REST, o, bytes, err);
    int rc = vn_buf_resize(&e->scratch, bytes, err);
    if (rc != VN_OK)
        return rc;
    for (size_t i = 0; i <= (size_t)n; i++) {
        if (width == 4)
            vn_store32(e->scratch.data + 4 * i, vn_load32(o + 4 * i) - (uint32_t)first);
        else
            vn_store64(e->scratch.data + 8 * i, vn_load64(o + 8 * i) - (uint64_t)first);
    }
    return put_buffer(e, VN_ZBODY_REST, e->scratch.data, bytes, err);
}

static enum vn_zbody_content content_of(const struct vn_level *v, int l) {
    if (v->type >= VN_FLOAT16 && v->type <= VN_FLOAT64)
        return VN_ZBODY_FLOATS;
    return v->type == VN_UINT16 && l > 0 ? VN_ZBODY_TOKENS : VN_ZBODY_REST;
}

/* Rows [from, from + n) of level l and what lies below: node, then validity, offsets,
 * values, as far as the type has them. */
static int put_level(struct vn_encoder *e, const struct vn_field *f, int l,
                     const struct vn_column *c, int64_t from, int64_t n,
                     struct vn_error *err) {
    const struct vn_level *v = &f->level[l];
    const struct vn_array *a = &c->level[l];
    size_t offset_width = vn_type_offset_width(v->type);
    size_t width = v->type == VN_FIXED_BINARY ? (size_t)v->size : vn_type_width(v->type);
    int64_t nulls = a->validity ? n - vn_bits_count(a->validity, from, n) : 0;
    int64_t start = 0, end = 0, between;
    if (nulls && !v->nullable)
        return vn_fail(err, VN_EINTERNAL, "column '%s' may not hold nulls",
                       f->level[0].name);
    e->nodes[e->n_nodes++] = (struct vn_arrow_node){n, nulls};
    int rc = nulls ? put_bits(e, a->validity, from, n, err)
                   : put_buffer(e, VN_ZBODY_REST, NULL, 0, err);
    if (rc == VN_OK && offset_width) {
        if (n) {
            vn_span(a, v->type, from, &start, &between);
            vn_span(a, v->type, from + n - 1, &between, &end);
            rc = put_offsets(e, a, offset_width, from, n, start, err);
        } else {
            rc = put_buffer(e, VN_ZBODY_REST, &zero, offset_width, err);
        }
    }
    if (rc != VN_OK)
        return rc;
    if (v->type == VN_FIXED_LIST)
        return put_level(e, f, l + 1, c, from * v->size, n * v->size, err);
    if (vn_type_is_list(v->type))
        return put_level(e, f, l + 1, c, start, end - start, err);
    if (v->type == VN_BOOL)
        return put_bits(e, a->values, from, n, err);
    if (!offset_width)
        start = from * (int64_t)width, end = start + n * (int64_t)width;
    return put_buffer(e, content_of(v, l),
                      end > start ? (const uint8_t *)a->values + start : NULL,
                      (size_t)(end - start), err);
}

/* ---- messages -------------------------------------------------------------------- */

int vn_encoder_schema(struct vn_encoder *e, struct vn_error *err) {
    e->message.len = e->body.len = 0;
    return vn_arrow_write_schema(e->schema, &e->message, err);
}

int vn_encoder_batch(struct vn_encoder *e, const struct vn_batch *b, uint64_t number,
                     const char *totals, struct vn_error *err) {
    const struct vn_column *columns = b ? b->columns : e->empty;
    int64_t rows = b ? b->n_rows : 0;
    char number_text[24], rows_text[24], crc_text[9];
    int rc = VN_OK;
    e->message.len = e->body.len = e->n_nodes = e->n_buffers = 0;
    e->unpacked = 0;
    if (b && b->n_columns != e->schema->n_fields)
        return vn_fail(err, VN_EINTERNAL, "a batch of %d columns for a schema of %d",
                       b->n_columns, e->schema->n_fields);
    for (int i = 0; i < e->schema->n_fields && rc == VN_OK; i++) {
        const struct vn_array *a = &columns[i].level[0];
        if (a->length != rows)
            return vn_fail(err, VN_EINTERNAL, "column '%s' has %lld rows of %lld",
                           e->schema->fields[i].level[0].name, (long long)a->length,
                           (long long)rows);
        rc = put_level(e, &e->schema->fields[i], 0, &columns[i], 0, rows, err);
    }
    if (rc == VN_OK)
        rc = vn_buf_zeros(&e->body, vn_round_up(e->body.len, VN_ALIGN) - e->body.len, err);
    if (rc != VN_OK)
        return rc;
    snprintf(number_text, sizeof number_text, "%" PRIu64, number);
    snprintf(rows_text, sizeof rows_text, "%" PRId64, rows);
    snprintf(crc_text, sizeof crc_text, "%08x",
             (unsigned)vn_crc32c(0, e->body.data, e->body.len));
    struct vn_arrow_outgoing o = {
        .rows = rows,
        .body = (int64_t)e->body.len,
        .nodes = e->nodes,
        .buffers = e->buffers,
        .n_nodes = e->n_nodes,
        .n_buffers = e->n_buffers,
        .marks = {NULL, number_text, rows_text, crc_text, totals}};
    return vn_arrow_write_batch(&o, &e->message, err);
}
