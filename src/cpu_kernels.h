/* cpu_kernels.h - the vector kernels of the CPU, written once on cpu_vec.h.
 *
 * Included by cpu_generic.c, cpu_avx2.c and cpu_avx512.c, which are compiled with their own
 * flags and fill a table with CPU_KERNELS. */
#ifndef VN_CPU_KERNELS_H
#define VN_CPU_KERNELS_H

#include "cpu.h"
#include "cpu_vec.h"

/* ---- rows ----------------------------------------------------------------------------- */

INLINE void norm_row(const struct vn_norm_args *a, int64_t t) {
    const float *x = a->x + t * a->d;
    int64_t d = a->d;
    vf sum = {0}, sq = {0};
    for (int64_t j = 0; j < d; j += LANES)
        sum += v_load_act(x, VN_F32, j, d - j);
    vf mean = v_set1(v_hsum(sum) / (float)d);
    for (int64_t j = 0; j < d; j += LANES) {
        vf c = v_load_act(x, VN_F32, j, d - j) - mean;
        c = d - j >= LANES ? c : v_keep(c, d - j);
        sq = v_fma(c, c, sq);
    }
    vf scale = v_set1(1.0f / __builtin_sqrtf(v_hsum(sq) / (float)d + a->eps));
    for (int64_t j = 0; j < d; j += LANES) {
        int64_t n = d - j;
        vf y = (v_load_act(x, VN_F32, j, n) - mean) * scale;
        y = v_fma(y, v_load_act(a->gamma, VN_F32, j, n), v_load_act(a->beta, VN_F32, j, n));
        v_store_act(a->y, a->y_type, t * d + j, n, y);
    }
}

static void k_norm(const struct vn_norm_args *a, int64_t t0, int64_t t1) {
    for (int64_t t = t0; t < t1; t++)
        norm_row(a, t);
}

static void k_scale(const float *x, float k, float *y, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES)
        v_store_act(y, VN_F32, i, n - i, v_load_act(x, VN_F32, i, n - i) * k);
}

/* 0 * x is 0 for finite x and NaN else. */
static bool k_finite(const float *x, int64_t n) {
    vf sum = {0};
    for (int64_t i = 0; i < n; i += LANES)
        sum = v_fma(v_load_act(x, VN_F32, i, n - i), (vf){0}, sum);
    return v_hsum(sum) == 0;
}

static void k_convert(const float *x, void *y, enum vn_dtype type, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES)
        v_store_act(y, type, i, n - i, v_load_act(x, VN_F32, i, n - i));
}

static void k_gelu(const float *x, void *y, enum vn_dtype type, int64_t n) {
    for (int64_t i = 0; i < n; i += LANES)
        v_store_act(y, type, i, n - i, v_gelu(v_load_act(x, VN_F32, i, n - i)));
}

/* ---- attention ------------------------------------------------------------------------ */
/* q and k of a head are transposed into scratch [K, np], so that positions lie along the
 * vectors: rotation and scores need no sums across lanes. ROWS queries at a time get their
 * whole row of scores [ROWS, np], then softmax, then the product with v [n, kp]. */

INLINE int64_t round_up(int64_t n, int64_t to) {
    return (n + to - 1) / to * to;
}

static size_t k_attn_scratch(int64_t n, int d_head) {
    int64_t np = round_up(n, LANES), kp = round_up(d_head, LANES);
    return (size_t)(2 * np * d_head + n * kp + ROWS * np);
}

/* t [k, np] = transpose of rows [n, k], zeros from position n on. */
static void load_transposed(const void *rows, const struct vn_cpu_head *h, int64_t np,
                            float *t) {
    for (int64_t j = 0; j < np; j += LANES) {
        for (int c = 0; c < h->d_head; c += LANES) {
            vf r[LANES];
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                r[i] = j + i < h->n ? v_load_act(rows, h->act, (j + i) * h->in_stride + c,
                                                 h->d_head - c)
                                    : (vf){0};
            v_transpose(r);
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                if (c + i < h->d_head)
                    v_store(t + (c + i) * np + j, r[i]);
        }
    }
}

/* Rotates and scales t [k, np] in place. */
static void rotate(const struct vn_cpu_head *h, int64_t np, float scale, float *t) {
    int half = h->d_head / 2;
    for (int i = 0; i < half; i++) {
        float *a = t + i * np, *b = t + (i + half) * np;
        for (int64_t j = 0; j < np; j += LANES) {
            vf x = v_load(a + j) * scale, y = v_load(b + j) * scale;
            if (h->rope_cos) {
                vf c = v_load(h->rope_cos + i * h->rope_stride + j);
                vf s = v_load(h->rope_sin + i * h->rope_stride + j);
                vf u = v_fma(x, c, -(y * s));
                y = v_fma(y, c, x * s);
                x = u;
            }
            v_store(a + j, x);
            v_store(b + j, y);
        }
    }
}

/* s [ROWS, np] at key j, nv vectors of keys: the products of ROWS queries with them. */
INLINE void score_block(const float *q, const float *k, int d, int64_t np, float *s,
                        const int nv) {
    vf acc[ROWS][KEYS] = {{{0}}};
    for (int c = 0; c < d; c++) {
        vf kv[KEYS];
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++)
            kv[v] = v_load(k + c * np + v * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            vf b = v_set1(q[c * np + r]);
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++)
                acc[r][v] = v_fma(b, kv[v], acc[r][v]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++)
            v_store(s + r * np + v * LANES, acc[r][v]);
}

static void scores(const float *q, const float *k, int d, int64_t np, float *s) {
    int64_t j = 0;
    for (; j + KEYS * LANES <= np; j += KEYS * LANES)
        score_block(q, k + j, d, np, s + j, KEYS);
    for (; j < np; j += LANES)
        score_block(q, k + j, d, np, s + j, 1);
}

/* Turns a row of scores, in units of log 2, into exponentials; returns 1 / their sum. */
INLINE float softmax_row(float *s, int64_t n, int64_t np) {
    for (int64_t j = n; j < np; j++)
        s[j] = -3e38f; /* no key: becomes 0 */
    vf max = v_load(s), sum = {0};
    for (int64_t j = LANES; j < np; j += LANES)
        max = v_max(max, v_load(s + j));
    max = v_set1(v_hmax(max));
    for (int64_t j = 0; j < np; j += LANES) {
        vf p = v_exp2(v_load(s + j) - max);
        v_store(s + j, p);
        sum += p;
    }
    return 1.0f / v_hsum(sum);
}

/* Columns [c, c + nv vectors) of the outputs of ROWS queries, of which `rows` are stored. */
INLINE void value_block(const struct vn_cpu_head *h, const float *s, int64_t np,
                        const float *v, int64_t kp, const float *scale, int64_t q0,
                        int64_t rows, int c, const int nv) {
    vf acc[ROWS][2] = {{{0}}};
    for (int64_t j = 0; j < h->n; j++) {
        vf vv[2];
#pragma GCC unroll 2
        for (int i = 0; i < nv; i++)
            vv[i] = v_load(v + j * kp + c + i * LANES);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            vf p = v_set1(s[r * np + j]);
#pragma GCC unroll 2
            for (int i = 0; i < nv; i++)
                acc[r][i] = v_fma(p, vv[i], acc[r][i]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 2
        for (int i = 0; i < nv; i++)
            if (r < rows)
                v_store_act(h->out, h->act, (q0 + r) * h->out_stride + c + i * LANES,
                            h->d_head - c - i * LANES, acc[r][i] * scale[r]);
}

static void k_attn(const struct vn_cpu_head *h) {
    int64_t np = round_up(h->n, LANES), kp = round_up(h->d_head, LANES), size = np * h->d_head;
    float *q = h->scratch, *k = q + size, *v = k + size, *s = v + h->n * kp;
    /* log2 e in the scale turns exp into exp2 */
    float scale = (float)(1.4426950408889634 / __builtin_sqrt(h->d_head));
    load_transposed(h->q, h, np, q);
    load_transposed(h->k, h, np, k);
    rotate(h, np, scale, q);
    rotate(h, np, 1, k);
    for (int64_t j = 0; j < h->n; j++)
        for (int c = 0; c < kp; c += LANES)
            v_store(v + j * kp + c,
                    v_load_act(h->v, h->act, j * h->in_stride + c, h->d_head - c));
    for (int64_t q0 = 0; q0 < h->n; q0 += ROWS) {
        float inverse[ROWS];
        int c = 0;
        scores(q + q0, k, h->d_head, np, s);
        for (int r = 0; r < ROWS; r++)
            inverse[r] = softmax_row(s + r * np, h->n, np);
        for (; c + 2 * LANES <= kp; c += 2 * LANES)
            value_block(h, s, np, v, kp, inverse, q0, h->n - q0, c, 2);
        if (c < kp)
            value_block(h, s, np, v, kp, inverse, q0, h->n - q0, c, 1);
    }
}

/* ---- matrix product, where there is no oneDNN ------------------------------------------ */

#define COLS (2 * LANES) /* of a panel: [n_in, COLS] */

INLINE void gemm_block(const float *x, const void *panel, enum vn_dtype type,
                       const float *bias, float *y, int64_t n_in, int64_t n_out,
                       int64_t cols) {
    vf acc[ROWS][2] = {{{0}}};
    for (int64_t i = 0; i < n_in; i++) {
        vf w0 = v_load_act(panel, type, i * COLS, LANES);
        vf w1 = v_load_act(panel, type, i * COLS + LANES, LANES);
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
            vf b = v_set1(x[r * n_in + i]);
            acc[r][0] = v_fma(b, w0, acc[r][0]);
            acc[r][1] = v_fma(b, w1, acc[r][1]);
        }
    }
    for (int r = 0; r < ROWS; r++) {
        for (int i = 0; i < 2 && i * LANES < cols; i++) {
            int64_t n = cols - i * LANES;
            vf b = v_load_act(bias, VN_F32, i * LANES, n);
            v_store_act(y, VN_F32, r * n_out + i * LANES, n, acc[r][i] + b);
        }
    }
}

static void k_gemm(const float *x, const void *panels, enum vn_dtype type, const float *bias,
                   float *y, int64_t n_in, int64_t n_out) {
    size_t panel = (size_t)n_in * COLS * vn_dtype_size(type);
    for (int64_t c = 0; c < n_out; c += COLS) {
        const char *p = (const char *)panels + (size_t)(c / COLS) * panel;
        for (int r = 0; r < VN_CPU_ROWS; r += ROWS) {
            if (type == VN_F32)
                gemm_block(x + r * n_in, p, VN_F32, bias + c, y + r * n_out + c, n_in, n_out,
                           n_out - c);
            else
                gemm_block(x + r * n_in, p, VN_BF16, bias + c, y + r * n_out + c, n_in, n_out,
                           n_out - c);
        }
    }
}

#define CPU_KERNELS(set) \
    { \
        .name = (set), .gemm_cols = COLS, .norm = k_norm, .scale = k_scale, .attn = k_attn, \
        .attn_scratch = k_attn_scratch, .finite = k_finite, .convert = k_convert, \
        .gelu = k_gelu, .gemm = k_gemm \
    }

#endif
