/* cpu_standard.c - standard attention on the CPU, and its specification as plain loops.
 *
 * What fair-esm's ESM2 computes after .half() on a GPU, rounding by rounding (fair-esm
 * esm2.py, modules.py, multihead_attention.py, rotary_embedding.py): a tensor operation of
 * PyTorch takes halves, works in f32, numbers of Python as f32 among them, and rounds its
 * result to half. h() below is that rounding, so that each h() is one operation there:
 *   embed     h(h(h(row) 0.88) / h(1 - h(m / n))), m of n tokens being masks
 *   norm      one operation: h(LayerNorm), gamma and beta in half
 *   linear    one operation: h(x W' + b), W and b in half. Then GELU as written there,
 *             h(h(0.5 y) h(1 + h(erf(h(y / sqrt 2))))), or the residual, h(x + y)
 *   attn      q = h(q K^-1/2); rope h(h(x cos) + h(x' sin)); scores h(q k'); softmax in
 *             f32 over these, its probabilities h(p); h(p v)
 * Padding only masks there: its scores are minus infinity and their weights exactly 0, so
 * that packed sequences give the same. Pooling is in f32, as everywhere.
 *
 * The products are those of another CPU backend, in f32, over weights that were rounded. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"

struct standard {
    struct vn_backend base;   /* first: a struct vn_backend * points here */
    struct vn_backend *inner; /* in f32 */
    struct vn_buf x, y;       /* rows of a product in f32: grown at need, then kept */
    struct vn_buf scratch;    /* of attn: the same */
};

struct vn_matrix {
    int64_t n_out, n_in;
    struct vn_matrix *inner; /* the other backend's */
};

static struct vn_backend *inner(struct vn_backend *b) {
    return ((struct standard *)b)->inner;
}

static double h(double v) {
    return vn_cpu_round(VN_F16, (float)v);
}

static double half_at(const void *p, int64_t i) {
    return vn_cpu_load(p, VN_F16, i);
}

/* ---- embed, norm ----------------------------------------------------------------- */

static int s_embed(struct vn_backend *b, const struct vn_seqs *s,
                   const struct vn_embed_args *a, struct vn_error *err) {
    (void)b;
    (void)err;
    const float train = 1 - 0.15 * 0.8;
    for (int64_t i = 0; i < s->n_seq; i++) {
        int64_t from = s->host[i], to = s->host[i + 1], masks = 0;
        for (int64_t t = from; t < to; t++)
            masks += a->tokens[t] == a->mask_token;
        double kept = h(1 - h(h((double)masks) / h((double)(to - from))));
        for (int64_t t = from; t < to; t++) {
            const float *row = a->table + a->tokens[t] * a->d;
            for (int64_t j = 0; j < a->d; j++) {
                double v = h(row[j]);
                if (a->mask_token >= 0)
                    v = a->tokens[t] == a->mask_token ? 0
                                                      : h(h(v * (double)train) / kept);
                a->x[t * a->d + j] = (float)v;
            }
        }
    }
    return VN_OK;
}

static int s_norm(struct vn_backend *b, const struct vn_norm_args *a,
                  struct vn_error *err) {
    (void)b;
    (void)err;
    for (int64_t t = 0; t < a->n_tok; t++) {
        const float *x = a->x + t * a->d;
        double mean = 0, var = 0;
        for (int64_t j = 0; j < a->d; j++)
            mean += x[j];
        mean /= (double)a->d;
        for (int64_t j = 0; j < a->d; j++)
            var += (x[j] - mean) * (x[j] - mean);
        double scale = 1 / sqrt(var / (double)a->d + a->eps);
        for (int64_t j = 0; j < a->d; j++) {
            double y = (x[j] - mean) * scale * h(a->gamma[j]) + h(a->beta[j]);
            vn_cpu_store(a->y, a->y_type, t * a->d + j, (float)h(y));
        }
    }
    return VN_OK;
}

/* ---- linear ---------------------------------------------------------------------- */

/* `n` values of any float type as halves, appended to `to`, which has room. */
static const void *halves(struct vn_buf *to, const void *from, enum vn_dtype type,
                          int64_t n) {
    void *at = to->data + to->len;
    for (int64_t i = 0; i < n; i++)
        vn_cpu_store(at, VN_F16, i, vn_cpu_load(from, type, i));
    to->len += (size_t)n * sizeof(uint16_t);
    return at;
}

static void s_matrix_free(struct vn_backend *b, struct vn_matrix *m) {
    if (m && m->inner)
        inner(b)->ops.matrix_free(inner(b), m->inner);
    free(m);
}

/* Weights and biases of the spec in half, in memory of `all`. */
static int spec_in_half(const struct vn_matrix_spec *s, struct vn_buf *all,
                        struct vn_matrix_spec *out, struct vn_error *err) {
    size_t n;
    int64_t rows = s->n_out / s->n_parts;
    if (!vn_mul((size_t)s->n_out, (size_t)s->n_in + 1, &n) ||
        !vn_mul(n, sizeof(uint16_t), &n))
        return vn_fail(err, VN_EFAIL, "cannot allocate a matrix of %lld x %lld",
                       (long long)s->n_out, (long long)s->n_in);
    int rc = vn_buf_reserve(all, n, err);
    *out = *s;
    out->type = VN_F16;
    out->epilogue = VN_EPI_BIAS;
    for (int i = 0; i < s->n_parts && rc == VN_OK; i++) {
        out->weight[i] = halves(all, s->weight[i], s->type, rows * s->n_in);
        out->bias[i] = halves(all, s->bias[i], s->type, rows);
    }
    return rc;
}

static int s_matrix_new(struct vn_backend *b, const struct vn_matrix_spec *s,
                        struct vn_matrix **out, struct vn_error *err) {
    struct vn_matrix_spec spec;
    struct vn_buf all = {0};
    *out = NULL;
    if (s->epilogue == VN_EPI_GLU || !s->bias[0])
        return vn_fail(err, VN_EINCOMPAT, "standard attention is that of ESM-2 alone");
    struct vn_matrix *m = vn_calloc(1, sizeof *m, err);
    if (!m)
        return VN_EFAIL;
    m->n_out = s->n_out;
    m->n_in = s->n_in;
    int rc = spec_in_half(s, &all, &spec, err);
    if (rc == VN_OK)
        rc = inner(b)->ops.matrix_new(inner(b), &spec, &m->inner, err);
    vn_buf_release(&all);
    if (rc == VN_OK)
        *out = m;
    else
        s_matrix_free(b, m);
    return rc;
}

static double gelu(double x) {
    return h(h(0.5 * x) * h(1 + h(erf(h(x / (double)(float)sqrt(2))))));
}

static int s_linear(struct vn_backend *b, const struct vn_linear_args *a,
                    struct vn_error *err) {
    struct standard *s = (struct standard *)b;
    const struct vn_matrix *m = a->w;
    const int64_t n_x = a->n_tok * m->n_in, n_y = a->n_tok * m->n_out;
    int rc = vn_buf_resize(&s->x, (size_t)n_x * sizeof(float), err);
    if (rc == VN_OK)
        rc = vn_buf_resize(&s->y, (size_t)n_y * sizeof(float), err);
    if (rc < 0)
        return rc;
    float *x = (float *)(void *)s->x.data, *y = (float *)(void *)s->y.data;
    for (int64_t i = 0; i < n_x; i++)
        x[i] = vn_cpu_load(a->x, VN_F16, i);
    const struct vn_linear_args product = {
        .x = x, .w = m->inner, .y = y, .n_tok = a->n_tok, .epilogue = VN_EPI_BIAS};
    rc = s->inner->ops.linear(s->inner, &product, err);
    for (int64_t i = 0; i < n_y && rc == VN_OK; i++) {
        double v = h(y[i]);
        if (a->epilogue == VN_EPI_RESIDUAL)
            ((float *)a->y)[i] = (float)h(v + (double)((float *)a->y)[i]);
        else
            vn_cpu_store(a->y, VN_F16, i,
                         (float)(a->epilogue == VN_EPI_GELU ? gelu(v) : v));
    }
    return rc;
}

/* ---- attn ------------------------------------------------------------------------ */

/* Row of a head at position p times `scale`, rotated if there are tables. */
static void rope(const struct vn_attn_args *a, int64_t at, int64_t p, double scale,
                 double *out) {
    int k = a->d_head, half = k / 2;
    for (int i = 0; i < k; i++)
        out[i] = h(half_at(a->qkv, at + i) * scale);
    if (!a->rope_cos)
        return;
    for (int i = 0; i < half; i++) {
        double c = (double)a->rope_cos[p * half + i], s = (double)a->rope_sin[p * half + i];
        double x = out[i], y = out[i + half];
        out[i] = h(h(x * c) + h(-y * s));
        out[i + half] = h(h(y * c) + h(x * s));
    }
}

/* p [n]: the weights of the keys k [n, K] for one query. */
static void softmax(const double *q, const double *k, int64_t n, int d_head, double *p) {
    double max = -INFINITY, sum = 0;
    for (int64_t j = 0; j < n; j++) {
        double dot = 0;
        for (int c = 0; c < d_head; c++)
            dot += q[c] * k[j * d_head + c];
        p[j] = h(dot);
        max = p[j] > max ? p[j] : max;
    }
    for (int64_t j = 0; j < n; j++) {
        p[j] = exp(p[j] - max);
        sum += p[j];
    }
    for (int64_t j = 0; j < n; j++)
        p[j] = h(p[j] / sum);
}

/* One head of the sequence of n tokens that starts at row t0; q [K], k and v [n, K],
 * p [n]. */
static void attn_head(const struct vn_attn_args *a, int64_t t0, int64_t n, int head,
                      double *q, double *k, double *v, double *p) {
    const int64_t hk = (int64_t)a->n_heads * a->d_head;
    const int64_t at = t0 * 3 * hk + (int64_t)head * a->d_head;
    const float scale = (float)(1 / sqrt(a->d_head));
    for (int64_t j = 0; j < n; j++)
        rope(a, at + hk + j * 3 * hk, j, 1, k + j * a->d_head);
    for (int64_t j = 0; j < n * a->d_head; j++)
        v[j] = half_at(a->qkv, at + 2 * hk + j / a->d_head * 3 * hk + j % a->d_head);
    for (int64_t i = 0; i < n; i++) {
        rope(a, at + i * 3 * hk, i, (double)scale, q);
        softmax(q, k, n, a->d_head, p);
        for (int c = 0; c < a->d_head; c++) {
            double y = 0;
            for (int64_t j = 0; j < n; j++)
                y += p[j] * v[j * a->d_head + c];
            vn_cpu_store(a->out, VN_F16, (t0 + i) * hk + head * a->d_head + c, (float)y);
        }
    }
}

static int s_attn(struct vn_backend *b, const struct vn_seqs *s,
                  const struct vn_attn_args *a, struct vn_error *err) {
    struct standard *c = (struct standard *)b;
    size_t k = (size_t)a->d_head, n = (size_t)s->max_len;
    int rc = vn_buf_reserve(&c->scratch, (k + 2 * n * k + n) * sizeof(double), err);
    if (rc < 0)
        return rc;
    double *q = (double *)(void *)c->scratch.data;
    for (int64_t i = 0; i < s->n_seq; i++)
        for (int head = 0; head < a->n_heads; head++)
            attn_head(a, s->host[i], s->host[i + 1] - s->host[i], head, q, q + k,
                      q + k + n * k, q + k + 2 * n * k);
    return VN_OK;
}

/* ---- as the other backend has it ------------------------------------------------- */

static int s_available(struct vn_backend *b, size_t *bytes, struct vn_error *err) {
    return inner(b)->ops.available(inner(b), bytes, err);
}
static int s_alloc(struct vn_backend *b, size_t bytes, void **out, struct vn_error *err) {
    return inner(b)->ops.alloc(inner(b), bytes, out, err);
}
static void s_release(struct vn_backend *b, void *p) {
    inner(b)->ops.release(inner(b), p);
}
static int s_copy_in(struct vn_backend *b, void *device, const void *host, size_t bytes,
                     struct vn_error *err) {
    return inner(b)->ops.copy_in(inner(b), device, host, bytes, err);
}
static int s_copy_out(struct vn_backend *b, void *host, const void *device, size_t bytes,
                      struct vn_error *err) {
    return inner(b)->ops.copy_out(inner(b), host, device, bytes, err);
}
static int s_mark(struct vn_backend *b, int slot, struct vn_error *err) {
    return inner(b)->ops.mark(inner(b), slot, err);
}
static int s_wait(struct vn_backend *b, int slot, struct vn_error *err) {
    return inner(b)->ops.wait(inner(b), slot, err);
}
static int s_pool(struct vn_backend *b, const struct vn_seqs *s,
                  const struct vn_pool_args *a, struct vn_error *err) {
    return inner(b)->ops.pool(inner(b), s, a, err);
}
static int s_finite(struct vn_backend *b, const struct vn_seqs *s, const float *x,
                    int64_t d, uint8_t *bad, struct vn_error *err) {
    return inner(b)->ops.finite(inner(b), s, x, d, bad, err);
}
static int s_convert(struct vn_backend *b, const float *x, void *y, enum vn_dtype y_type,
                     int64_t n, struct vn_error *err) {
    return inner(b)->ops.convert(inner(b), x, y, y_type, n, err);
}
static int s_stamp(struct vn_backend *b, int i, struct vn_error *err) {
    return inner(b)->ops.stamp(inner(b), i, err);
}
static int s_between(struct vn_backend *b, int i, int j, double *seconds,
                     struct vn_error *err) {
    return inner(b)->ops.between(inner(b), i, j, seconds, err);
}
static void s_close(struct vn_backend *b) {
    struct standard *s = (struct standard *)b;
    s->inner->ops.close(s->inner);
    vn_buf_release(&s->x);
    vn_buf_release(&s->y);
    vn_buf_release(&s->scratch);
    free(s);
}

/* ---- the table ------------------------------------------------------------------- */

int vn_cpu_standard_open(struct vn_backend *in, struct vn_backend **out,
                         struct vn_error *err) {
    *out = NULL;
    struct standard *s = vn_calloc(1, sizeof *s, err);
    if (!s) {
        in->ops.close(in);
        return VN_EFAIL;
    }
    s->base.ops = (struct vn_backend_ops){
        .name = in->ops.name,
        .alloc = s_alloc,
        .available = s_available,
        .release = s_release,
        .copy_in = s_copy_in,
        .copy_out = s_copy_out,
        .mark = s_mark,
        .wait = s_wait,
        .stamp = s_stamp,
        .between = s_between,
        .matrix_new = s_matrix_new,
        .matrix_free = s_matrix_free,
        .embed = s_embed,
        .norm = s_norm,
        .linear = s_linear,
        .attn = s_attn,
        .pool = s_pool,
        .finite = s_finite,
        .convert = s_convert,
        .close = s_close,
    };
    s->base.act = VN_F16;
    s->base.attention = VN_ATTN_STANDARD;
    s->base.slice_tokens = in->slice_tokens;
    s->base.slice_bytes = in->slice_bytes;
    memcpy(s->base.device, in->device, sizeof s->base.device);
    s->inner = in;
    *out = &s->base;
    return VN_OK;
}
