#include "batch.h"

#include <stdlib.h>
#include <string.h>

#include "bits.h"

bool vn_status_has_result(const char *text, size_t n) {
    static const char *const texts[] = {"ok", "truncated", "windowed"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (n == strlen(texts[i]) && !memcmp(text, texts[i], n))
            return true;
    return false;
}

void vn_batch_init(struct vn_batch *b) {
    memset(b, 0, sizeof *b);
}

void vn_batch_release(struct vn_batch *b) {
    for (int i = 0; i < b->n_storage; i++)
        vn_buf_release(&b->storage[i]);
    free(b->storage);
    free(b->columns);
    vn_batch_init(b);
}

int vn_batch_set_columns(struct vn_batch *b, int n, struct vn_error *err) {
    if (n > b->columns_cap) {
        struct vn_column *c = vn_calloc((size_t)n, sizeof *c, err);
        if (!c)
            return VN_EFAIL;
        free(b->columns);
        b->columns = c;
        b->columns_cap = n;
    }
    if (n)
        memset(b->columns, 0, (size_t)n * sizeof *b->columns);
    b->n_columns = n;
    return VN_OK;
}

/* Where a row lies in the values, in bytes; of a list, in rows of the next level. */
static void extent(const struct vn_level *v, const struct vn_array *a, int64_t row,
                   int64_t *from, int64_t *to) {
    if (vn_type_offset_width(v->type)) {
        vn_span(a, v->type, row, from, to);
        return;
    }
    const int64_t width = (int64_t)vn_type_width(v->type), each = width ? width : v->size;
    *from = row * each;
    *to = *from + each;
}

static bool same_at(const struct vn_field *f, int l, const struct vn_column *a, int64_t i,
                    const struct vn_column *b, int64_t k) {
    const struct vn_level *v = &f->level[l];
    const struct vn_array *x = &a->level[l], *y = &b->level[l];
    int64_t p, p_end, q, q_end;
    if (vn_is_null(x, i) || vn_is_null(y, k))
        return vn_is_null(x, i) && vn_is_null(y, k);
    if (v->type == VN_BOOL)
        return vn_bit(x->values, i) == vn_bit(y->values, k);
    extent(v, x, i, &p, &p_end);
    extent(v, y, k, &q, &q_end);
    const int64_t n = p_end - p;
    bool same = n == q_end - q;
    if (vn_type_is_list(v->type)) {
        for (int64_t m = 0; same && m < n; m++)
            same = same_at(f, l + 1, a, p + m, b, q + m);
        return same;
    }
    return same && (!n || !memcmp((const uint8_t *)x->values + p,
                                  (const uint8_t *)y->values + q, (size_t)n));
}

bool vn_row_same(const struct vn_field *f, const struct vn_column *a, int64_t i,
                 const struct vn_column *b, int64_t k) {
    return same_at(f, 0, a, i, b, k);
}

uint64_t vn_level_bytes(const struct vn_level *v, const struct vn_array *a) {
    uint64_t n = (uint64_t)a->length, bytes = a->validity ? vn_bits_bytes(a->length) : 0;
    size_t offsets = vn_type_offset_width(v->type);
    int64_t from = 0, to = 0, between;
    if (offsets) {
        bytes += (n + 1) * offsets;
        if (n && !vn_type_is_list(v->type)) {
            vn_span(a, v->type, 0, &from, &between);
            vn_span(a, v->type, a->length - 1, &between, &to);
        }
        return bytes + (uint64_t)(to - from);
    }
    if (v->type == VN_BOOL)
        return bytes + vn_bits_bytes(a->length);
    return bytes +
           n * (v->type == VN_FIXED_BINARY ? (uint64_t)v->size : vn_type_width(v->type));
}

void vn_column_vectors(struct vn_column *c, int64_t n, int32_t d, const void *values,
                       const uint8_t *validity, int64_t null_count) {
    memset(c, 0, sizeof *c);
    c->level[0].length = n;
    c->level[0].null_count = null_count;
    c->level[0].validity = null_count ? validity : NULL;
    c->level[1].length = n * d;
    c->level[1].values = values;
}
