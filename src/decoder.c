#include "decoder.h"

#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "text.h"

#define SLACK 64 /* bytes that every buffer has at least: pointers are never NULL */

struct decoder {
    bool lax;
    int64_t room; /* bytes that may still be unpacked */
    int64_t max_rows; /* of a level: what a body can hold, so that products do not wrap */
    struct vn_zbody *z;
    const struct vn_arrow_batch *in;
    const uint8_t *body;
    size_t n_body, at;   /* at: end of the last buffer in the body */
    size_t node, buffer; /* next ones */
    struct vn_buf *storage; /* next one */
    struct vn_error *err;
};

/* ---- buffers --------------------------------------------------------------------- */

static bool all_zero(const uint8_t *p, size_t n) {
    while (n && !*p)
        p++, n--;
    return n == 0;
}

/* The next buffer's bytes as they lie in the body. */
static int locate(struct decoder *d, const uint8_t **p, size_t *n) {
    if (d->buffer >= d->in->n_buffers)
        return vn_fail(d->err, VN_EDATA, "%zu buffers are too few", d->in->n_buffers);
    struct vn_arrow_buffer b = vn_arrow_buffer(d->in, d->buffer++);
    *p = d->body;
    *n = 0;
    if (b.length == 0 && d->lax) /* nothing lies there, wherever that is */
        return VN_OK;
    if (b.offset < 0 || b.length < 0 || (uint64_t)b.offset > d->n_body ||
        (uint64_t)b.length > d->n_body - (size_t)b.offset)
        return vn_fail(d->err, VN_EDATA, "buffer %zu (%lld bytes at %lld) leaves the body",
                       d->buffer - 1, (long long)b.length, (long long)b.offset);
    if ((size_t)b.offset < d->at)
        return vn_fail(d->err, VN_EDATA, "buffer %zu overlaps the one before",
                       d->buffer - 1);
    if (b.offset % (d->lax ? 8 : VN_ALIGN))
        return vn_fail(d->err, VN_EDATA, "buffer %zu at %lld is not aligned", d->buffer - 1,
                       (long long)b.offset);
    if (!d->lax && !all_zero(d->body + d->at, (size_t)b.offset - d->at))
        return vn_fail(d->err, VN_EDATA, "the padding before buffer %zu is not zero",
                       d->buffer - 1);
    *p = d->body + b.offset;
    *n = (size_t)b.length;
    d->at = (size_t)b.offset + *n;
    return VN_OK;
}

/* Unpacks the next buffer, which must hold `need` bytes (lax: or more), into the next
 * storage. *size: the bytes it held; an empty buffer is for the caller to judge. */
static int take(struct decoder *d, size_t need, size_t *size, uint8_t **out) {
    const uint8_t *p = NULL; /* gcc cannot see that locate sets it, under TSan */
    size_t n;
    struct vn_buf *to = d->storage++;
    *size = 0;
    int rc = locate(d, &p, &n);
    if (rc == VN_OK)
        rc = vn_buf_reserve(to, SLACK, d->err);
    if (rc != VN_OK)
        return rc;
    *out = to->data;
    to->len = 0;
    if (!n)
        return VN_OK;
    int64_t held = (int64_t)n;
    if (d->in->compressed && (held = vn_zbody_size(p, n, d->lax, d->err)) < 0)
        return (int)held;
    if (d->lax ? (size_t)held < need : (size_t)held != need)
        return vn_fail(d->err, VN_EDATA, "buffer %zu holds %lld bytes, expected %zu",
                       d->buffer - 1, (long long)held, need);
    if (held > d->room)
        return vn_fail(d->err, VN_EDATA, "a batch unpacks to more bytes than allowed");
    d->room -= held;
    rc = vn_buf_resize(to, (size_t)held, d->err);
    if (rc != VN_OK)
        return rc;
    *out = to->data;
    *size = (size_t)held;
    if (d->in->compressed)
        return vn_zbody_unpack(d->z, p, n, to->data, (size_t)held, d->err);
    memcpy(to->data, p, n);
    return VN_OK;
}

/* A buffer that may not be missing, unless nothing is needed. */
static int take_whole(struct decoder *d, size_t need, size_t *size, uint8_t **out) {
    int rc = take(d, need, size, out);
    if (rc == VN_OK && *size < need)
        rc = vn_fail(d->err, VN_EDATA, "buffer %zu holds no bytes, expected %zu",
                     d->buffer - 1, need);
    return rc;
}

/* ---- parts of a column ----------------------------------------------------------- */

static int take_validity(struct decoder *d, const struct vn_level *v, struct vn_array *a) {
    size_t bytes = vn_bits_bytes(a->length), size;
    uint8_t *bits;
    int rc = take(d, bytes, &size, &bits);
    if (rc != VN_OK)
        return rc;
    if (a->null_count && (!v->nullable || !size))
        return vn_fail(d->err, VN_EDATA, "%lld nulls %s", (long long)a->null_count,
                       v->nullable ? "without a bitmap" : "where none may be");
    if (!size)
        return VN_OK;
    if (a->length - vn_bits_count(bits, 0, a->length) != a->null_count)
        return vn_fail(d->err, VN_EDATA, "the count of nulls is %lld, %lld found",
                       (long long)a->null_count,
                       (long long)(a->length - vn_bits_count(bits, 0, a->length)));
    if (!d->lax && (a->length & 7) && bits[bytes - 1] >> (a->length & 7))
        return vn_fail(d->err, VN_EDATA, "the padding of a bitmap is not zero");
    a->validity = a->null_count ? bits : NULL;
    return VN_OK;
}

/* Offsets that never decrease, from 0 (lax: from anywhere). Ends in first and last. */
static int take_offsets(struct decoder *d, enum vn_type type, struct vn_array *a,
                        int64_t *first, int64_t *last) {
    size_t width = vn_type_offset_width(type), size;
    uint8_t *o;
    bool falls = false;
    *first = *last = 0;
    int rc = take(d, ((size_t)a->length + 1) * width, &size, &o);
    if (rc != VN_OK)
        return rc;
    if (!size && a->length)
        return vn_fail(d->err, VN_EDATA, "the offsets are missing");
    if (!size)
        memset(o, 0, width);
    a->offsets = o;
    if (width == 4) {
        const int32_t *at = a->offsets;
        for (int64_t i = 0; i < a->length; i++)
            falls |= at[i + 1] < at[i];
        *first = at[0], *last = at[a->length];
    } else {
        const int64_t *at = a->offsets;
        for (int64_t i = 0; i < a->length; i++)
            falls |= at[i + 1] < at[i];
        *first = at[0], *last = at[a->length];
    }
    if (falls || (d->lax ? *first < 0 : *first != 0))
        return vn_fail(d->err, VN_EDATA, "the offsets decrease or do not begin at 0");
    if (*last > d->max_rows)
        return vn_fail(d->err, VN_EDATA, "the offsets end at %lld", (long long)*last);
    return VN_OK;
}

/* Every row is UTF-8: the whole is, and no row begins within a character. */
static int check_utf8(struct decoder *d, enum vn_type type, const struct vn_array *a,
                      int64_t first, int64_t last) {
    const uint8_t *p = a->values;
    if (!vn_utf8_valid(p + first, (size_t)(last - first)))
        return vn_fail(d->err, VN_EDATA, "a text is not UTF-8");
    for (int64_t i = 0; i < a->length; i++) {
        int64_t from, to;
        vn_span(a, type, i, &from, &to);
        if (from < last && (p[from] & 0xc0) == 0x80)
            return vn_fail(d->err, VN_EDATA, "the text of row %lld is not UTF-8",
                           (long long)i);
    }
    return VN_OK;
}

static int take_values(struct decoder *d, const struct vn_level *v, struct vn_array *a) {
    size_t width = v->type == VN_FIXED_BINARY ? (size_t)v->size : vn_type_width(v->type);
    size_t need = v->type == VN_BOOL ? vn_bits_bytes(a->length) : (size_t)a->length * width;
    size_t size;
    uint8_t *p;
    int rc = take_whole(d, need, &size, &p);
    a->values = p;
    return rc;
}

static int take_text(struct decoder *d, const struct vn_level *v, struct vn_array *a) {
    int64_t first, last;
    size_t size;
    uint8_t *p;
    int rc = take_offsets(d, v->type, a, &first, &last);
    if (rc == VN_OK)
        rc = take_whole(d, (size_t)last, &size, &p);
    if (rc != VN_OK)
        return rc;
    a->values = p;
    if (v->type == VN_UTF8 || v->type == VN_LARGE_UTF8)
        rc = check_utf8(d, v->type, a, first, last);
    return rc;
}

/* ---- columns --------------------------------------------------------------------- */

/* A level of the number of rows that the one above implies; lax: or more. */
static int take_level(struct decoder *d, const struct vn_field *f, int l,
                      struct vn_column *c, int64_t rows) {
    const struct vn_level *v = &f->level[l];
    struct vn_array *a = &c->level[l];
    int64_t first, last;
    if (d->node >= d->in->n_nodes)
        return vn_fail(d->err, VN_EDATA, "%zu nodes are too few", d->in->n_nodes);
    struct vn_arrow_node n = vn_arrow_node(d->in, d->node++);
    if ((l && d->lax ? n.length < rows : n.length != rows) || n.length > d->max_rows)
        return vn_fail(d->err, VN_EDATA, "%lld rows, expected %lld", (long long)n.length,
                       (long long)rows);
    if (n.null_count < 0 || n.null_count > n.length)
        return vn_fail(d->err, VN_EDATA, "%lld nulls in %lld rows", (long long)n.null_count,
                       (long long)n.length);
    a->length = n.length;
    a->null_count = n.null_count;
    int rc = take_validity(d, v, a);
    if (rc != VN_OK)
        return rc;
    if (v->type == VN_FIXED_LIST) {
        d->storage += 2;
        return take_level(d, f, l + 1, c, n.length * v->size);
    }
    if (vn_type_is_list(v->type)) {
        rc = take_offsets(d, v->type, a, &first, &last);
        d->storage++;
        return rc == VN_OK ? take_level(d, f, l + 1, c, last) : rc;
    }
    if (vn_type_offset_width(v->type))
        return take_text(d, v, a);
    d->storage++;
    return take_values(d, v, a);
}

static int ensure_storage(struct vn_batch *b, const struct vn_schema *s,
                          struct vn_error *err) {
    int n = 0;
    for (int i = 0; i < s->n_fields; i++)
        n += 3 * s->fields[i].depth; /* validity, offsets, values of each level */
    if (n <= b->n_storage)
        return VN_OK;
    struct vn_buf *grown = realloc(b->storage, (size_t)n * sizeof *grown);
    if (!grown)
        return vn_fail(err, VN_EFAIL, "cannot allocate a batch");
    memset(grown + b->n_storage, 0, (size_t)(n - b->n_storage) * sizeof *grown);
    b->storage = grown;
    b->n_storage = n;
    return VN_OK;
}

int vn_decode_batch(const struct vn_schema *schema, bool lax, int64_t max_body,
                    struct vn_zbody *z, const struct vn_arrow_batch *in, const uint8_t *body,
                    size_t n_body, struct vn_batch *out, struct vn_error *err) {
    struct decoder d = {.lax = lax, .room = max_body, .max_rows = VN_MAX_BODY, .z = z,
                        .in = in, .body = body, .n_body = n_body, .err = err};
    int rc = vn_batch_set_columns(out, schema->n_fields, err);
    out->n_rows = 0;
    if (rc == VN_OK)
        rc = ensure_storage(out, schema, err);
    if (rc != VN_OK)
        return rc;
    if (!in->compressed && !lax)
        return vn_fail(err, VN_EDATA, "the body is not compressed");
    if (in->rows < 0 || in->rows > d.max_rows)
        return vn_fail(err, VN_EDATA, "a batch of %lld rows", (long long)in->rows);
    if (in->rows && !schema->n_fields) /* which nothing that has come would bound */
        return vn_fail(err, VN_EDATA, "%lld rows without columns", (long long)in->rows);
    d.storage = out->storage;
    for (int i = 0; i < schema->n_fields; i++) {
        rc = take_level(&d, &schema->fields[i], 0, &out->columns[i], in->rows);
        if (rc != VN_OK) {
            vn_prefix(err, "column '%s'", schema->fields[i].level[0].name);
            return rc;
        }
    }
    if (d.node != in->n_nodes || d.buffer != in->n_buffers)
        return vn_fail(err, VN_EDATA, "%zu nodes and %zu buffers, expected %zu and %zu",
                       in->n_nodes, in->n_buffers, d.node, d.buffer);
    if (!lax && (n_body - d.at >= VN_ALIGN || !all_zero(body + d.at, n_body - d.at)))
        return vn_fail(err, VN_EDATA, "the padding after the last buffer is not zero");
    out->n_rows = in->rows;
    return VN_OK;
}
