#include "batch.h"
#include "bits.h"

#include <stdlib.h>

/* Every function takes a level and appends rows to it and to the levels below. Validity
 * stays empty until the first null comes. */

void vn_builder_init(struct vn_builder *b, const struct vn_field *field) {
    memset(b, 0, sizeof *b);
    b->field = field;
}

void vn_builder_clear(struct vn_builder *b) {
    for (int l = 0; l < VN_MAX_DEPTH; l++) {
        b->level[l].length = b->level[l].null_count = 0;
        b->level[l].validity.len = b->level[l].offsets.len = b->level[l].values.len = 0;
    }
}

void vn_builder_release(struct vn_builder *b) {
    for (int l = 0; l < VN_MAX_DEPTH; l++) {
        vn_buf_release(&b->level[l].validity);
        vn_buf_release(&b->level[l].offsets);
        vn_buf_release(&b->level[l].values);
    }
}

static size_t row_width(const struct vn_level *v) {
    return v->type == VN_FIXED_BINARY ? (size_t)v->size : vn_type_width(v->type);
}

/* ---- bits ------------------------------------------------------------------------ */

/* Appends n bits to the `have` bits of buf: those of src from `from` on, or, without src,
 * all `value`. Bits past the last are zero. */
static int append_bits(struct vn_buf *buf, int64_t have, const uint8_t *src, int64_t from,
                       int64_t n, bool value, struct vn_error *err) {
    size_t old = buf->len, want = vn_bits_bytes(have + n);
    int rc = want > old ? vn_buf_zeros(buf, want - old, err) : VN_OK;
    if (rc != VN_OK)
        return rc;
    if (src)
        vn_bits_copy(buf->data, have, src, from, n);
    else if (value)
        vn_bits_fill(buf->data, have, n);
    return VN_OK;
}

static int append_validity(struct vn_builder *b, int l, const uint8_t *src, int64_t from,
                           int64_t n, struct vn_error *err) {
    int64_t nulls = src ? n - vn_bits_count(src, from, n) : 0;
    if (!nulls && !b->level[l].null_count)
        return VN_OK;
    if (nulls && !b->field->level[l].nullable)
        return vn_fail(err, VN_EINTERNAL, "column '%s' may not hold nulls",
                       b->field->level[0].name);
    int64_t have = b->level[l].length;
    int rc = VN_OK;
    if (!b->level[l].null_count) /* the first null: the rows before it are present */
        rc = append_bits(&b->level[l].validity, 0, NULL, 0, have, true, err);
    if (rc == VN_OK)
        rc = append_bits(&b->level[l].validity, have, src, from, n, true, err);
    if (rc == VN_OK)
        b->level[l].null_count += nulls;
    return rc;
}

/* ---- offsets --------------------------------------------------------------------- */

static int64_t last_offset(const struct vn_builder *b, int l) {
    const struct vn_buf *o = &b->level[l].offsets;
    if (!o->len)
        return 0;
    return vn_type_offset_width(b->field->level[l].type) == 4
               ? (int64_t)(int32_t)vn_load32(o->data + o->len - 4)
               : (int64_t)vn_load64(o->data + o->len - 8);
}

static int too_many(const struct vn_builder *b, struct vn_error *err) {
    return vn_fail(err, VN_EFAIL, "column '%s' passes 2^31 values in one batch",
                   b->field->level[0].name);
}

/* Appends the end of a row; the first one is preceded by a zero. */
static int add_offset(struct vn_builder *b, int l, int64_t end, struct vn_error *err) {
    struct vn_buf *o = &b->level[l].offsets;
    size_t w = vn_type_offset_width(b->field->level[l].type);
    int rc = o->len ? VN_OK : vn_buf_zeros(o, w, err);
    if (rc != VN_OK)
        return rc;
    if (w == 4 && end > INT32_MAX)
        return too_many(b, err);
    return vn_buf_append(o, &end, w, err); /* little-endian: the low half comes first */
}

/* The ends of n >= 1 rows of src, whose values follow those that are there. */
static int append_offsets(struct vn_builder *b, int l, const struct vn_array *src,
                          int64_t from, int64_t n, struct vn_error *err) {
    struct vn_buf *o = &b->level[l].offsets;
    const enum vn_type t = b->field->level[l].type;
    const size_t w = vn_type_offset_width(t);
    int64_t first, last, unused;
    vn_span(src, t, from, &first, &unused);
    vn_span(src, t, from + n - 1, &unused, &last);
    const int64_t more = last_offset(b, l) - first;
    if (w == 4 && last + more > INT32_MAX)
        return too_many(b, err);
    int rc = o->len ? VN_OK : vn_buf_zeros(o, w, err);
    size_t at = o->len;
    if (rc == VN_OK)
        rc = vn_buf_resize(o, at + (size_t)n * w, err);
    if (rc != VN_OK)
        return rc;
    const uint8_t *ends = (const uint8_t *)src->offsets + (size_t)(from + 1) * w;
    for (; at < o->len; at += w, ends += w) {
        if (w == 4)
            vn_store32(o->data + at, vn_load32(ends) + (uint32_t)more);
        else
            vn_store64(o->data + at, vn_load64(ends) + (uint64_t)more);
    }
    return VN_OK;
}

/* ---- rows of a column ------------------------------------------------------------ */

static int append_level(struct vn_builder *b, int l, const struct vn_column *src,
                        int64_t from, int64_t n, struct vn_error *err) {
    const struct vn_array *a = &src->level[l];
    const struct vn_level *v = &b->field->level[l];
    int64_t start = 0, end = 0, unused;
    int rc = append_validity(b, l, a->validity, from, n, err);
    if (rc == VN_OK && vn_type_offset_width(v->type) && n) {
        vn_span(a, v->type, from, &start, &unused);
        vn_span(a, v->type, from + n - 1, &unused, &end);
        rc = append_offsets(b, l, a, from, n, err);
    }
    if (rc != VN_OK)
        return rc;
    if (v->type == VN_FIXED_LIST)
        rc = append_level(b, l + 1, src, from * v->size, n * v->size, err);
    else if (vn_type_is_list(v->type))
        rc = append_level(b, l + 1, src, start, end - start, err);
    else if (vn_type_offset_width(v->type))
        rc = vn_buf_append(&b->level[l].values, (const uint8_t *)a->values + start,
                           (size_t)(end - start), err);
    else if (v->type == VN_BOOL)
        rc = append_bits(&b->level[l].values, b->level[l].length, a->values, from, n, false,
                         err);
    else if (n)
        rc = vn_buf_append(&b->level[l].values,
                           (const uint8_t *)a->values + (size_t)from * row_width(v),
                           (size_t)n * row_width(v), err);
    if (rc == VN_OK)
        b->level[l].length += n;
    return rc;
}

int vn_builder_append(struct vn_builder *b, const struct vn_column *src, int64_t from,
                      int64_t n, struct vn_error *err) {
    return append_level(b, 0, src, from, n, err);
}

/* ---- single rows ----------------------------------------------------------------- */

/* n present rows of a fixed width level, or of fixed lists of such, from dense values;
 * zeros when values is NULL. */
static int append_dense(struct vn_builder *b, int l, const void *values, int64_t n,
                        struct vn_error *err) {
    const struct vn_level *v = &b->field->level[l];
    size_t bytes;
    int rc = append_validity(b, l, NULL, 0, n, err);
    if (rc != VN_OK)
        return rc;
    if (v->type == VN_FIXED_LIST) {
        rc = append_dense(b, l + 1, values, n * v->size, err);
    } else if (v->type == VN_BOOL) {
        rc = append_bits(&b->level[l].values, b->level[l].length, values, 0, n, false, err);
    } else if (vn_type_offset_width(v->type)) {
        if (values)
            return vn_fail(err, VN_EINTERNAL, "column '%s' does not take dense values",
                           b->field->level[0].name);
        for (int64_t i = 0; i < n && rc == VN_OK; i++)
            rc = add_offset(b, l, last_offset(b, l), err);
    } else if (!vn_mul((size_t)n, row_width(v), &bytes)) {
        rc = vn_fail(err, VN_EFAIL, "column '%s' is too large", b->field->level[0].name);
    } else {
        rc = values ? vn_buf_append(&b->level[l].values, values, bytes, err)
                    : vn_buf_zeros(&b->level[l].values, bytes, err);
    }
    if (rc == VN_OK)
        b->level[l].length += n;
    return rc;
}

int vn_builder_add_bytes(struct vn_builder *b, const void *p, size_t n,
                         struct vn_error *err) {
    int64_t end = last_offset(b, 0) + (int64_t)n;
    int rc = append_validity(b, 0, NULL, 0, 1, err);
    if (rc == VN_OK)
        rc = add_offset(b, 0, end, err);
    if (rc == VN_OK)
        rc = vn_buf_append(&b->level[0].values, p, n, err);
    if (rc == VN_OK)
        b->level[0].length++;
    return rc;
}

int vn_builder_add_value(struct vn_builder *b, const void *value, struct vn_error *err) {
    return append_dense(b, 0, value, 1, err);
}

int vn_builder_add_list(struct vn_builder *b, const void *values, int64_t n,
                        struct vn_error *err) {
    const struct vn_level *v = &b->field->level[0];
    int rc = append_validity(b, 0, NULL, 0, 1, err);
    if (rc == VN_OK && v->type == VN_FIXED_LIST && n != v->size)
        rc = vn_fail(err, VN_EINTERNAL, "column '%s' takes lists of %d values, not %lld",
                     v->name, (int)v->size, (long long)n);
    if (rc == VN_OK && v->type != VN_FIXED_LIST)
        rc = add_offset(b, 0, last_offset(b, 0) + n, err);
    if (rc == VN_OK && n)
        rc = append_dense(b, 1, values, n, err);
    if (rc == VN_OK)
        b->level[0].length++;
    return rc;
}

int vn_builder_add_null(struct vn_builder *b, struct vn_error *err) {
    static const uint8_t absent = 0;
    const struct vn_level *v = &b->field->level[0];
    int rc = append_validity(b, 0, &absent, 0, 1, err);
    if (rc != VN_OK)
        return rc;
    if (vn_type_offset_width(v->type))
        rc = add_offset(b, 0, last_offset(b, 0), err);
    else if (v->type == VN_FIXED_LIST)
        rc = append_dense(b, 1, NULL, v->size, err);
    else if (v->type == VN_BOOL)
        rc = append_bits(&b->level[0].values, b->level[0].length, NULL, 0, 1, false, err);
    else
        rc = vn_buf_zeros(&b->level[0].values, row_width(v), err);
    if (rc == VN_OK)
        b->level[0].length++;
    return rc;
}

void vn_builder_view(const struct vn_builder *b, struct vn_column *out) {
    static const int64_t none[2]; /* the memory of no rows */
    memset(out, 0, sizeof *out);
    for (int l = 0; l < b->field->depth; l++) {
        struct vn_array *a = &out->level[l];
        a->length = b->level[l].length;
        a->null_count = b->level[l].null_count;
        a->validity = a->null_count ? b->level[l].validity.data : NULL;
        if (vn_type_offset_width(b->field->level[l].type))
            a->offsets = b->level[l].offsets.len ? (const void *)b->level[l].offsets.data
                                                 : (const void *)none;
        if (!vn_type_is_list(b->field->level[l].type))
            a->values = b->level[l].values.data ? (const void *)b->level[l].values.data
                                                : (const void *)none;
    }
}

static void swap(struct vn_buf *a, struct vn_buf *b) {
    struct vn_buf old = *a;
    *a = *b;
    *b = old;
}

int vn_builders_give(struct vn_builder *columns, int n, struct vn_batch *out,
                     struct vn_error *err) {
    int wanted = 3 * VN_MAX_DEPTH * n;
    int rc = vn_batch_set_columns(out, n, err);
    if (rc == VN_OK && out->n_storage < wanted) {
        struct vn_buf *more = vn_calloc((size_t)wanted, sizeof *more, err);
        if (!more)
            return VN_EFAIL;
        if (out->n_storage)
            memcpy(more, out->storage, (size_t)out->n_storage * sizeof *more);
        free(out->storage);
        out->storage = more;
        out->n_storage = wanted;
    }
    if (rc != VN_OK)
        return rc;
    out->n_rows = n ? columns[0].level[0].length : 0;
    struct vn_buf *storage = out->storage;
    for (int i = 0; i < n; i++) {
        vn_builder_view(&columns[i], &out->columns[i]);
        for (int l = 0; l < VN_MAX_DEPTH; l++) {
            swap(&columns[i].level[l].validity, storage++);
            swap(&columns[i].level[l].offsets, storage++);
            swap(&columns[i].level[l].values, storage++);
        }
        vn_builder_clear(&columns[i]);
    }
    return VN_OK;
}
