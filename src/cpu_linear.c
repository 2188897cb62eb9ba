/* cpu_linear.c - matrix products of our own: all where there is no oneDNN, and small ones
 * in f32 on AVX-512 where there is (cpu_dnnl.c chooses).
 *
 * Weights are packed into panels of a few vectors of columns, [n_in, gemm_cols] each, in
 * the activation type. A block of VN_CPU_ROWS rows, the last one filled up with zero rows to
 * a multiple of 8, is multiplied at a time, every sum running once over n_in in order, in
 * parts. */
#include "cpu.h"

#include <stdlib.h>
#include <string.h>

struct vn_matrix {
    struct vn_cpu_matrix base; /* first */
    struct vn_buf panels;
    struct vn_buf bias; /* [n_out] f32 */
};

static void matrix_free(struct vn_matrix *m) {
    vn_buf_release(&m->panels);
    vn_buf_release(&m->bias);
    free(m);
}

static int pack(const struct vn_cpu *c, struct vn_matrix *m,
                const struct vn_matrix_spec *s, struct vn_error *err) {
    enum vn_dtype act = c->ref.base.act;
    size_t cols = (size_t)c->k->gemm_cols, width = vn_round_up((size_t)m->base.n_out, cols),
           bytes;
    if (!vn_mul(width, (size_t)m->base.n_in, &bytes) ||
        !vn_mul(bytes, vn_dtype_size(act), &bytes))
        return vn_fail(err, VN_EFAIL, "cannot allocate a matrix of %lld x %lld",
                       (long long)m->base.n_out, (long long)m->base.n_in);
    int rc = vn_buf_zeros(&m->panels, bytes, err);
    if (rc == VN_OK)
        rc = vn_buf_resize(&m->bias, (size_t)m->base.n_out * sizeof(float), err);
    float *row = vn_calloc((size_t)m->base.n_in, sizeof *row, err);
    if (rc || !row) {
        free(row);
        return VN_EFAIL;
    }
    for (int64_t r = 0; r < m->base.n_out; r++) {
        int64_t panel = r / c->k->gemm_cols * m->base.n_in, col = r % c->k->gemm_cols;
        vn_cpu_weight_row(s, act, r, row);
        for (int64_t i = 0; i < m->base.n_in; i++)
            vn_cpu_store(m->panels.data, act, (panel + i) * c->k->gemm_cols + col,
                         row[i]);
        ((float *)(void *)m->bias.data)[r] = vn_cpu_bias(s, r);
    }
    free(row);
    return VN_OK;
}

/* A block. Its rows are multiplied where they are if they are f32 and whole. */
static int multiply(const struct vn_cpu *c, const struct vn_matrix *m,
                    const struct vn_cpu_block *k) {
    const enum vn_epilogue e = m->base.epilogue;
    const enum vn_dtype act = c->ref.base.act;
    const int64_t n = k->rows * m->base.n_in, padded = VN_CPU_ROWS * m->base.n_in;
    float *sums = (float *)(void *)k->room, *x = sums + VN_CPU_ROWS * m->base.n_out;
    bool whole = act == VN_F32 && k->rows == VN_CPU_ROWS, glu = e == VN_EPI_GLU;
    if (!whole) {
        c->k->widen(k->x, act, x, n);
        memset(x + n, 0, (size_t)(padded - n) * sizeof *x);
    }
    const struct vn_cpu_gemm g = {.x = whole ? k->x : x,
                                  .panels = m->panels.data,
                                  .bias = (const float *)(const void *)m->bias.data,
                                  .y = glu ? sums : k->y,
                                  .epilogue = e,
                                  .act = act,
                                  .y_type = glu || e == VN_EPI_RESIDUAL ? VN_F32 : act,
                                  .rows = k->rows,
                                  .n_in = m->base.n_in,
                                  .n_out = m->base.n_out};
    c->k->gemm(&g);
    if (glu)
        c->k->glu(sums, k->y, act, k->rows, m->base.n_out / 2);
    return 0;
}

int vn_cpu_matrix_new(struct vn_backend *b, const struct vn_matrix_spec *s,
                      struct vn_matrix **out, struct vn_error *err) {
    *out = NULL;
    struct vn_matrix *m = vn_calloc(1, sizeof *m, err);
    if (!m)
        return VN_EFAIL;
    m->base = (struct vn_cpu_matrix){
        .n_out = s->n_out,
        .n_in = s->n_in,
        .epilogue = s->epilogue,
        .room = VN_CPU_ROWS * sizeof(float) * (size_t)(s->n_in + s->n_out),
        .multiply = multiply,
        .free = matrix_free};
    int rc = pack((struct vn_cpu *)b, m, s, err);
    if (rc) {
        matrix_free(m);
        return rc;
    }
    *out = m;
    return VN_OK;
}
