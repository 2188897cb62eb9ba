#include "mlp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"

struct layer {
    struct vn_buf panels; /* as the kernels' gemm takes them */
    struct vn_buf bias;   /* [n_out] */
};

struct vn_mlp {
    const struct vn_head *head;
    const struct vn_cpu_kernels *k;
    struct layer *layers;
    int n_workers;
    struct vn_buf *work;  /* [n_workers] a block of x, and two of the widest layer */
    size_t widest;
};

/* W' in panels of columns, [n_in, cols] each, the last one filled up with zeros. */
static int pack(const struct vn_mlp *m, int i, struct vn_error *err) {
    const struct vn_head *h = m->head;
    const size_t n_in = (size_t)h->width[i], n_out = (size_t)h->width[i + 1];
    const size_t cols = (size_t)m->k->gemm_cols, padded = (n_out + cols - 1) / cols * cols;
    struct layer *l = &m->layers[i];
    size_t floats, bytes;
    if (!vn_mul(n_in, padded, &floats) || !vn_mul(floats, sizeof(float), &bytes))
        return vn_fail(err, VN_EFAIL, "layer %d of head '%s' is too large", i, h->name);
    int rc = vn_buf_zeros(&l->panels, bytes, err);
    if (rc == VN_OK)
        rc = vn_buf_append(&l->bias, h->bias[i], n_out * sizeof(float), err);
    if (rc != VN_OK)
        return rc;
    float *to = (float *)(void *)l->panels.data;
    for (size_t r = 0; r < n_out; r++)
        for (size_t k = 0; k < n_in; k++)
            to[(r / cols * n_in + k) * cols + r % cols] = h->weight[i][r * n_in + k];
    return VN_OK;
}

static int init(struct vn_mlp *m, struct vn_error *err) {
    const struct vn_head *h = m->head;
    m->layers = vn_calloc((size_t)h->n_layers, sizeof *m->layers, err);
    m->work = vn_calloc((size_t)m->n_workers, sizeof *m->work, err);
    if (!m->layers || !m->work)
        return VN_EFAIL;
    int rc = VN_OK;
    for (int i = 0; i < h->n_layers && rc == VN_OK; i++) {
        const size_t width = (size_t)h->width[i + 1];
        m->widest = width > m->widest ? width : m->widest;
        rc = pack(m, i, err);
    }
    const size_t floats = VN_CPU_ROWS * ((size_t)h->width[0] + 2 * m->widest);
    for (int w = 0; w < m->n_workers && rc == VN_OK; w++)
        rc = vn_buf_zeros(&m->work[w], floats * sizeof(float), err);
    return rc;
}

int vn_mlp_new(const struct vn_head *head, int workers, struct vn_mlp **out,
               struct vn_error *err) {
    struct vn_mlp *m = *out = vn_calloc(1, sizeof *m, err);
    if (!m)
        return VN_EFAIL;
    m->head = head;
    m->k = vn_cpu_kernels_at(0);
    m->n_workers = workers;
    int rc = init(m, err);
    if (rc != VN_OK) {
        vn_mlp_free(m);
        *out = NULL;
    }
    return rc;
}

void vn_mlp_free(struct vn_mlp *m) {
    if (!m)
        return;
    for (int i = 0; m->layers && i < m->head->n_layers; i++) {
        vn_buf_release(&m->layers[i].panels);
        vn_buf_release(&m->layers[i].bias);
    }
    for (int w = 0; m->work && w < m->n_workers; w++)
        vn_buf_release(&m->work[w]);
    free(m->layers);
    free(m->work);
    free(m);
}

static void relu(float *y, size_t n) {
    for (size_t i = 0; i < n; i++)
        y[i] = y[i] < 0 ? 0 : y[i]; /* NaN stays */
}

static void softmax(const float *y, int n, float *p) {
    float max = y[0], sum = 0;
    for (int i = 1; i < n; i++)
        max = y[i] > max ? y[i] : max;
    for (int i = 0; i < n; i++)
        sum += p[i] = expf(y[i] - max);
    for (int i = 0; i < n; i++)
        p[i] /= sum;
}

/* The n <= VN_CPU_ROWS rows at x. */
static void block(const struct vn_mlp *m, const struct vn_buf *work, const float *x, int64_t n,
                  float *probabilities) {
    const struct vn_head *h = m->head;
    const size_t D = (size_t)h->width[0], N = (size_t)n;
    const int C = h->width[h->n_layers];
    float *own = (float *)(void *)work->data, *hidden = own + VN_CPU_ROWS * D;
    if (n < VN_CPU_ROWS) {
        memcpy(own, x, N * D * sizeof *own);
        memset(own + N * D, 0, (VN_CPU_ROWS - N) * D * sizeof *own);
        x = own;
    }
    for (int i = 0; i < h->n_layers; i++) {
        float *out = hidden + (size_t)(i & 1) * VN_CPU_ROWS * m->widest;
        const bool last = i == h->n_layers - 1;
        const struct vn_cpu_gemm g = {
            .x = x,
            .panels = m->layers[i].panels.data,
            .bias = (const float *)(void *)m->layers[i].bias.data,
            .y = out,
            .epilogue = h->gelu && !last ? VN_EPI_GELU : VN_EPI_BIAS,
            .act = VN_F32,
            .y_type = VN_F32,
            .rows = n,
            .n_in = h->width[i],
            .n_out = h->width[i + 1]};
        m->k->gemm(&g);
        if (!h->gelu && !last)
            relu(out, N * (size_t)h->width[i + 1]);
        x = out;
    }
    for (int64_t r = 0; r < n; r++)
        softmax(x + r * C, C, probabilities + r * C);
}

void vn_mlp_apply(const struct vn_mlp *m, int worker, const float *x, int64_t n,
                  float *probabilities) {
    const int64_t D = m->head->width[0], C = m->head->width[m->head->n_layers];
    for (int64_t at = 0; at < n; at += VN_CPU_ROWS)
        block(m, &m->work[worker], x + at * D, n - at < VN_CPU_ROWS ? n - at : VN_CPU_ROWS,
              probabilities + at * C);
}
