/* cpu_linear.c - matrix products of our own, for builds and processors without oneDNN.
 *
 * Weights are packed into panels of a few vectors of columns, [n_in, gemm_cols] each, in
 * the activation type. A block of VN_CPU_ROWS rows, filled up with zero rows, is
 * multiplied at a time, every sum running once over n_in in order, in parts. */
#include "cpu.h"

#include <stdlib.h>
#include <string.h>

struct vn_matrix {
    int64_t n_out, n_in;
    struct vn_buf panels;
    struct vn_buf bias; /* [n_out] f32 */
};

static void own_matrix_free(struct vn_backend *b, struct vn_matrix *m) {
    (void)b;
    if (!m)
        return;
    vn_buf_release(&m->panels);
    vn_buf_release(&m->bias);
    free(m);
}

static int pack(const struct vn_cpu *c, struct vn_matrix *m,
                const struct vn_matrix_spec *s, struct vn_error *err) {
    enum vn_dtype act = c->ref.base.act;
    size_t cols = (size_t)c->k->gemm_cols, width = vn_round_up((size_t)m->n_out, cols),
           bytes;
    if (!vn_mul(width, (size_t)m->n_in, &bytes) ||
        !vn_mul(bytes, vn_dtype_size(act), &bytes))
        return vn_fail(err, VN_EFAIL, "cannot allocate a matrix of %lld x %lld",
                       (long long)m->n_out, (long long)m->n_in);
    int rc = vn_buf_zeros(&m->panels, bytes, err);
    if (rc == VN_OK)
        rc = vn_buf_resize(&m->bias, (size_t)m->n_out * sizeof(float), err);
    float *row = vn_calloc((size_t)m->n_in, sizeof *row, err);
    if (rc || !row) {
        free(row);
        return VN_EFAIL;
    }
    for (int64_t r = 0; r < m->n_out; r++) {
        int64_t panel = r / c->k->gemm_cols * m->n_in, col = r % c->k->gemm_cols;
        vn_cpu_weight_row(s, act, r, row);
        for (int64_t i = 0; i < m->n_in; i++)
            vn_cpu_store(m->panels.data, act, (panel + i) * c->k->gemm_cols + col,
                         row[i]);
        ((float *)(void *)m->bias.data)[r] = vn_cpu_bias(s, r);
    }
    free(row);
    return VN_OK;
}

static int own_matrix_new(struct vn_backend *b, const struct vn_matrix_spec *s,
                          struct vn_matrix **out, struct vn_error *err) {
    *out = NULL;
    struct vn_matrix *m = vn_calloc(1, sizeof *m, err);
    if (!m)
        return VN_EFAIL;
    m->n_out = s->n_out;
    m->n_in = s->n_in;
    int rc = pack((struct vn_cpu *)b, m, s, err);
    if (rc) {
        own_matrix_free(b, m);
        return rc;
    }
    *out = m;
    return VN_OK;
}

struct job {
    const struct vn_cpu *c;
    const struct vn_linear_args *a;
};

/* Rows from t0 on. */
static void epilogue(const struct job *j, const float *sums, int64_t t0, int64_t rows) {
    enum vn_dtype act = j->c->ref.base.act;
    bool glu = j->a->epilogue == VN_EPI_GLU;
    int64_t width = glu ? j->a->w->n_out / 2 : j->a->w->n_out;
    int64_t at = t0 * width, n = rows * width;
    void *y = (char *)j->a->y + (size_t)at * vn_dtype_size(act);
    if (glu) {
        j->c->k->glu(sums, y, act, rows, width);
    } else if (j->a->epilogue == VN_EPI_GELU) {
        j->c->k->gelu(sums, y, act, n);
    } else if (j->a->epilogue == VN_EPI_BIAS) {
        j->c->k->convert(sums, y, act, n);
    } else {
        float *sum = (float *)j->a->y + at;
        for (int64_t i = 0; i < n; i++)
            sum[i] += sums[i];
    }
}

static void linear_item(void *ctx, int worker, int64_t item) {
    const struct job *j = ctx;
    const struct vn_matrix *m = j->a->w;
    enum vn_dtype act = j->c->ref.base.act;
    int64_t t0 = item * VN_CPU_ROWS, rows = j->a->n_tok - t0;
    rows = rows < VN_CPU_ROWS ? rows : VN_CPU_ROWS;
    float *x = (float *)(void *)j->c->work[worker].data, *y = x + VN_CPU_ROWS * m->n_in;
    for (int64_t i = 0; i < rows * m->n_in; i++)
        x[i] = vn_cpu_load(j->a->x, act, t0 * m->n_in + i);
    memset(x + rows * m->n_in, 0, (size_t)((VN_CPU_ROWS - rows) * m->n_in) * sizeof *x);
    j->c->k->gemm(x, m->panels.data, act, (const float *)(const void *)m->bias.data, y,
                  m->n_in, m->n_out);
    epilogue(j, y, t0, rows);
}

static int own_linear(struct vn_backend *b, const struct vn_linear_args *a,
                      struct vn_error *err) {
    struct vn_cpu *c = (struct vn_cpu *)b;
    struct job j = {c, a};
    size_t floats = VN_CPU_ROWS * (size_t)(a->w->n_in + a->w->n_out);
    int rc = vn_cpu_reserve(c, floats * sizeof(float), err);
    if (rc == VN_OK)
        vn_team_run(c->team, linear_item, &j, (a->n_tok + VN_CPU_ROWS - 1) / VN_CPU_ROWS);
    return rc;
}

void vn_cpu_linear_overlay(struct vn_cpu *c) {
    c->ref.base.ops.matrix_new = own_matrix_new;
    c->ref.base.ops.matrix_free = own_matrix_free;
    c->ref.base.ops.linear = own_linear;
}
