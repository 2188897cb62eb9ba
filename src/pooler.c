#include "pooler.h"

#include <stdlib.h>

#include "bits.h"
#include "carry.h"
#include "num.h"

/* Vectors of one part: a row without token rows costs its reader little and us a vector, so
 * what a small batch can ask for has to be bounded. Also the most that one vector may take. */
#define PART_BYTES ((int64_t)16 << 20)

struct vn_pooler {
    enum vn_pooling rule;
    int payload;
    bool half; /* rows are f16 */
    int64_t d;
    struct vn_carry carry;
    struct vn_buf vectors;     /* [B, D] f32 */
    struct vn_buf rows;        /* [n, D] f32: a record's half rows, widened */
    struct vn_buf validity;    /* [B] bits */
    const struct vn_batch *in; /* the batch at work, and its first row to come */
    int64_t row;
};

/* ---- schema ---------------------------------------------------------------------- */

static int find_payload(struct vn_pooler *p, const struct vn_schema *in,
                        struct vn_error *err) {
    static const enum vn_type single[] = {VN_LIST, VN_FIXED_LIST, VN_FLOAT32};
    static const enum vn_type half[] = {VN_LIST, VN_FIXED_LIST, VN_FLOAT16};
    p->payload = vn_schema_require(in, "embedding", half, 3, NULL);
    p->half = p->payload >= 0;
    if (!p->half)
        p->payload = vn_schema_require(in, "embedding", single, 3, err);
    if (p->payload < 0)
        return p->payload;
    p->d = in->fields[p->payload].level[1].size;
    if (p->d > PART_BYTES / (int64_t)sizeof(float))
        return vn_fail(err, VN_EINCOMPAT, "vectors of %lld values, expected at most %lld",
                       (long long)p->d, (long long)(PART_BYTES / (int64_t)sizeof(float)));
    return VN_OK;
}

int vn_pooler_new(const struct vn_schema *in, enum vn_pooling rule, struct vn_schema *out,
                  struct vn_pooler **pooler, struct vn_error *err) {
    static const enum vn_type vector[] = {VN_FIXED_LIST, VN_FLOAT32};
    vn_schema_init(out, VN_KIND_VECTORS);
    struct vn_pooler *p = vn_calloc(1, sizeof *p, err);
    if (!p)
        return VN_EFAIL;
    p->rule = rule;
    int rc = find_payload(p, in, err);
    const int32_t sizes[] = {(int32_t)p->d, 0};
    const struct vn_carry_payload instead = {vector, sizes, 2, true};
    if (rc == VN_OK)
        rc = vn_carry_schema(in, p->payload, &instead, out, err);
    if (rc == VN_OK)
        rc = vn_carry_new(&p->carry, p->payload, out, err);
    if (rc < 0) {
        vn_pooler_free(p);
        return rc;
    }
    *pooler = p;
    return VN_OK;
}

void vn_pooler_free(struct vn_pooler *p) {
    if (!p)
        return;
    vn_carry_release(&p->carry);
    vn_buf_release(&p->vectors);
    vn_buf_release(&p->rows);
    vn_buf_release(&p->validity);
    free(p);
}

/* ---- columns of a part ----------------------------------------------------------- */

/* Rows [from, to) of the payload as f32. */
static int widen(struct vn_pooler *p, int64_t from, int64_t to, const float **x,
                 struct vn_error *err) {
    const void *values = p->in->columns[p->payload].level[2].values;
    if (!p->half) {
        *x = (const float *)values + from * p->d;
        return VN_OK;
    }
    const uint16_t *h = (const uint16_t *)values + from * p->d;
    size_t n = (size_t)((to - from) * p->d);
    int rc = vn_buf_resize(&p->rows, n * sizeof(float), err);
    if (rc < 0)
        return rc;
    float *rows = (float *)(void *)p->rows.data;
    for (size_t i = 0; i < n; i++)
        rows[i] = vn_f16_to_f32(h[i]);
    *x = rows;
    return VN_OK;
}

/* Vectors of n rows from p->row on. A record without rows has none: null, and its status
 * says why. */
static int vectors_column(struct vn_pooler *p, int64_t n, struct vn_column *c,
                          struct vn_error *err) {
    const struct vn_array *list = &p->in->columns[p->payload].level[0];
    int64_t nulls = 0;
    p->vectors.len = p->validity.len = 0;
    int rc = vn_buf_zeros(&p->vectors, (size_t)(n * p->d) * sizeof(float), err);
    if (rc == VN_OK)
        rc = vn_buf_zeros(&p->validity, vn_bits_bytes(n), err);
    for (int64_t i = 0; i < n && rc == VN_OK; i++) {
        int64_t from, to;
        const float *x;
        vn_span(list, VN_LIST, p->row + i, &from, &to);
        if (from == to || vn_is_null(list, p->row + i)) {
            nulls++;
            continue;
        }
        rc = widen(p, from, to, &x, err);
        if (rc < 0)
            break;
        vn_pool_rows(p->rule, x, to - from, p->d,
                     (float *)(void *)p->vectors.data + i * p->d);
        vn_bit_set(p->validity.data, i);
    }
    if (rc == VN_OK)
        vn_column_vectors(c, n, (int32_t)p->d, p->vectors.data,
                          nulls ? p->validity.data : NULL, nulls);
    return rc;
}

/* ---- batches --------------------------------------------------------------------- */

int vn_pooler_put(struct vn_pooler *p, const struct vn_batch *in, struct vn_error *err) {
    const struct vn_column *c = &in->columns[p->payload];
    if (c->level[1].null_count || c->level[2].null_count)
        return vn_fail(err, VN_EDATA, "column 'embedding' has nulls inside its rows");
    p->in = in;
    p->row = 0;
    return VN_OK;
}

int vn_pooler_next(struct vn_pooler *p, struct vn_batch *out, struct vn_error *err) {
    const int64_t most = PART_BYTES / (p->d * (int64_t)sizeof(float));
    const int64_t left = p->in->n_rows - p->row, n = left < most ? left : most;
    if (!n)
        return 0;
    int rc = vn_carry_rows(&p->carry, p->in, p->row, n, -1, out, err);
    if (rc == VN_OK)
        rc = vectors_column(p, n, &out->columns[p->payload], err);
    p->row += n;
    return rc < 0 ? rc : 1;
}
