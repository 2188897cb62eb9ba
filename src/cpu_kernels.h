/* cpu_kernels.h - the vector kernels of the CPU, written once on cpu_vec.h.
 *
 * Included by cpu_generic.c, cpu_avx2.c and cpu_avx512.c, which are compiled with their
 * own flags and fill a table with CPU_KERNELS. */
#ifndef VN_CPU_KERNELS_H
#define VN_CPU_KERNELS_H

#include "cpu.h"
#include "cpu_vec.h"

/* ---- rows ------------------------------------------------------------------------ */

#define NORM_ROWS 4 /* at once */

/* Rows [t, t + rows), side by side: the steps of one row wait for each other. */
INLINE void norm_rows(const struct vn_norm_args *a, enum vn_dtype act, int64_t t,
                      const int rows) {
    const float *x = a->x + t * a->d;
    int64_t d = a->d;
    vf sum[NORM_ROWS] = {{0}}, sq[NORM_ROWS] = {{0}}, mean[NORM_ROWS], scale[NORM_ROWS];
    for (int64_t j = 0; j < d; j += LANES)
        for (int r = 0; r < rows; r++)
            sum[r] += v_load_act(x + r * d, VN_F32, j, d - j);
    for (int r = 0; r < rows; r++)
        mean[r] = v_set1(v_hsum(sum[r]) / (float)d);
    for (int64_t j = 0; j < d; j += LANES)
        for (int r = 0; r < rows; r++) {
            vf c = v_load_act(x + r * d, VN_F32, j, d - j) - mean[r];
            c = d - j >= LANES ? c : v_keep(c, d - j);
            sq[r] = v_fma(c, c, sq[r]);
        }
    for (int r = 0; r < rows; r++)
        scale[r] = v_set1(1.0f / __builtin_sqrtf(v_hsum(sq[r]) / (float)d + a->eps));
    for (int64_t j = 0; j < d; j += LANES) {
        int64_t n = d - j;
        vf gamma = v_load_act(a->gamma, VN_F32, j, n), beta = v_load_act(a->beta, VN_F32, j, n);
        for (int r = 0; r < rows; r++) {
            vf y = (v_load_act(x + r * d, VN_F32, j, n) - mean[r]) * scale[r];
            y = v_fma(y, gamma, beta);
            v_store_act(a->y, a->y_type, (t + r) * d + j, n, y);
            if (a->also)
                v_store_act(a->also, act, (t + r) * d + j, n, y);
        }
    }
}

static void k_norm(const struct vn_norm_args *a, enum vn_dtype act, int64_t t0, int64_t t1) {
    for (; t0 + NORM_ROWS <= t1; t0 += NORM_ROWS)
        norm_rows(a, act, t0, NORM_ROWS);
    for (; t0 < t1; t0++)
        norm_rows(a, act, t0, 1);
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

static void k_widen(const void *x, enum vn_dtype type, float *y, int64_t n) {
    const uint16_t *h = x;
    int64_t i = 0;
    if (type == VN_F32) {
        memcpy(y, x, (size_t)n * sizeof *y);
        return;
    }
    for (; i + LANES <= n; i += LANES) {
        vh v = *(const vhu *)(h + i);
        v_store(y + i, type == VN_F16 ? v_from_f16(v) : v_from_bf16(v));
    }
    for (; i < n; i++)
        y[i] = type == VN_F16 ? vn_f16_to_f32(h[i]) : vn_bf16_to_f32(h[i]);
}

static void k_glu(const float *x, void *y, enum vn_dtype type, int64_t rows, int64_t n) {
    for (int64_t r = 0; r < rows; r++, x += 2 * n)
        for (int64_t i = 0; i < n; i += LANES)
            v_store_act(y, type, r * n + i, n - i,
                        v_gelu(v_load_act(x, VN_F32, i, n - i)) *
                            v_load_act(x + n, VN_F32, i, n - i));
}

/* ---- attention ------------------------------------------------------------------- */
/* q and k of a head are transposed into scratch, [K, np], np positions filled up to whole
 * vectors, so that positions lie along the lanes: neither rotation, nor scores, nor
 * softmax, nor the product with v needs a sum across lanes. WIDE vectors of queries at a
 * time get their scores with all keys, s [np, WIDE vectors], and from them their output. */

#define BLOCK (WIDE * LANES) /* queries */

INLINE int64_t round_up(int64_t n, int64_t to) {
    return (n + to - 1) / to * to;
}

static size_t k_attn_scratch(int64_t n, int d_head) {
    int64_t np = round_up(n, LANES);
    return (size_t)(2 * np * d_head + n * d_head + np * BLOCK + d_head * BLOCK);
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

/* What is summed up before it is added to what came before: keys, columns of a matrix, and
 * products of a score, whose error weighs more the larger it is. A sum of thousands in one
 * go would lose a bit of every four. */
#define SUM_PART 256
#define SUM_SCORE 64

/* to [ROWS] rows of nv vectors = sum over i < n of a_i[0..ROWS) b_i[nv vectors], times
 * scale; row r, vector v takes i in order, in parts that start from 0, so that neither ROWS
 * nor nv matter. */
INLINE void outer_products(const float *a, int64_t a_step, const float *b, int64_t b_step,
                           int64_t n, const int64_t part, const vf *scale, float *to,
                           int64_t to_step, const int nv) {
    for (int64_t from = 0; from < n; from += part) {
        const int64_t end = n - from < part ? n : from + part;
        vf acc[ROWS][WIDE] = {{{0}}};
        for (int64_t i = from; i < end; i++) {
            vf bv[WIDE];
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++)
                bv[v] = v_load(b + i * b_step + v * LANES);
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++) {
                vf x = v_set1(a[i * a_step + r]);
#pragma GCC unroll 4
                for (int v = 0; v < nv; v++)
                    acc[r][v] = v_fma(x, bv[v], acc[r][v]);
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++) {
#pragma GCC unroll 4
            for (int v = 0; v < nv; v++) {
                float *at = to + r * to_step + v * LANES;
                vf sum = from ? v_load(at) + acc[r][v] : acc[r][v];
                v_store(at, end == n ? sum * scale[v] : sum);
            }
        }
    }
}

/* Asks for what of rows [j, j + ROWS) the next head reads: few bytes of far rows each, which
 * no processor foresees. */
INLINE void fetch_next(const struct vn_cpu_head *h, int64_t j) {
    const size_t size = vn_dtype_size(h->act), bytes = (size_t)h->d_head * size;
    const char *const from[3] = {h->q, h->k, h->v};
    for (int64_t end = j + ROWS < h->n ? j + ROWS : h->n; j < end; j++)
        for (int i = 0; i < 3; i++)
            for (size_t b = 0; b < bytes; b += 64)
                __builtin_prefetch(from[i] + (size_t)(j * h->in_stride + h->next) * size + b,
                                   0, 2);
}

/* s [np, nv vectors] = scores of nv vectors of queries with all keys, units of log 2. */
INLINE void scores(const struct vn_cpu_head *h, const float *q, const float *k,
                   int64_t np, float *s, bool first, const int nv) {
    vf one[WIDE];
    for (int v = 0; v < nv; v++)
        one[v] = v_set1(1);
    for (int64_t j = 0; j < h->n; j += ROWS) {
        if (first && h->next)
            fetch_next(h, j);
        outer_products(k + j, np, q, np, h->d_head, SUM_SCORE, one, s + j * nv * LANES,
                       nv * LANES, nv);
    }
}

/* Takes slope |i - j| from the scores of queries i from q0 on, with all keys j. */
static void add_alibi(const struct vn_cpu_head *h, int64_t q0, float *s, int nv) {
    const vf slope = v_set1((float)(-1.4426950408889634 * h->slope));
    for (int v = 0; v < nv; v++) {
        vf query;
        for (int i = 0; i < LANES; i++)
            query[i] = (float)(q0 + v * LANES + i);
        for (int64_t j = 0; j < h->n; j++) {
            float *at = s + (j * nv + v) * LANES;
            vf distance = (vf)((vu)(query - (float)j) & 0x7fffffffu);
            v_store(at, v_fma(slope, distance, v_load(at)));
        }
    }
}

/* Turns scores into exponentials of their distance to the query's largest; inverse [nv] =
 * 1 / their sums. */
INLINE void softmax(int64_t n, float *s, vf *inverse, const int nv) {
    vf max[WIDE], sum[WIDE] = {{0}}, part[WIDE] = {{0}};
    for (int v = 0; v < nv; v++)
        max[v] = v_load(s + v * LANES);
    for (int64_t j = 1; j < n; j++)
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++)
            max[v] = v_max(max[v], v_load(s + (j * nv + v) * LANES));
    for (int64_t j = 0; j < n; j++) {
#pragma GCC unroll 4
        for (int v = 0; v < nv; v++) {
            vf p = v_exp2(v_load(s + (j * nv + v) * LANES) - max[v]);
            v_store(s + (j * nv + v) * LANES, p);
            part[v] += p;
        }
        if ((j + 1) % SUM_PART == 0 || j + 1 == n)
            for (int v = 0; v < nv; v++) {
                sum[v] += part[v];
                part[v] = (vf){0};
            }
    }
    for (int v = 0; v < nv; v++)
        inverse[v] = 1.0f / sum[v];
}

/* Writes t [k, nv vectors] as rows of queries q0 and up, those below n. */
static void store_transposed(const struct vn_cpu_head *h, const float *t, int64_t q0,
                             int nv) {
    for (int v = 0; v < nv; v++) {
        int64_t left = h->n - q0 - v * LANES;
        for (int c = 0; c < h->d_head; c += LANES) {
            vf r[LANES];
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                r[i] =
                    c + i < h->d_head ? v_load(t + ((c + i) * nv + v) * LANES) : (vf){0};
            v_transpose(r);
#pragma GCC unroll 16
            for (int i = 0; i < LANES; i++)
                if (i < left)
                    v_store_act(h->out, h->act, (q0 + v * LANES + i) * h->out_stride + c,
                                h->d_head - c, r[i]);
        }
    }
}

struct attn_scratch {
    float *q, *k, *v, *s, *o;
    int64_t np;
};

/* nv vectors of queries from q0 on. */
INLINE void attn_block(const struct vn_cpu_head *h, const struct attn_scratch *m,
                       int64_t q0, const int nv) {
    vf inverse[WIDE];
    scores(h, m->q + q0, m->k, m->np, m->s, q0 == 0, nv);
    if (h->slope != 0)
        add_alibi(h, q0, m->s, nv);
    softmax(h->n, m->s, inverse, nv);
    for (int c = 0; c < h->d_head; c += ROWS)
        outer_products(m->v + c, h->d_head, m->s, nv * LANES, h->n, SUM_PART, inverse,
                       m->o + c * nv * LANES, nv * LANES, nv);
    store_transposed(h, m->o, q0, nv);
}
static __attribute__((noinline)) void
attn_block_wide(const struct vn_cpu_head *h, const struct attn_scratch *m, int64_t q0) {
    attn_block(h, m, q0, WIDE);
}
static __attribute__((noinline)) void
attn_block_one(const struct vn_cpu_head *h, const struct attn_scratch *m, int64_t q0) {
    attn_block(h, m, q0, 1);
}

static void k_attn(const struct vn_cpu_head *h) {
    struct attn_scratch m = {.q = h->scratch, .np = round_up(h->n, LANES)};
    m.k = m.q + m.np * h->d_head;
    m.v = m.k + m.np * h->d_head;
    m.s = m.v + h->n * h->d_head;
    m.o = m.s + m.np * BLOCK;
    load_transposed(h->q, h, m.np, m.q);
    load_transposed(h->k, h, m.np, m.k);
    /* log2 e in the scale turns exp into exp2 */
    rotate(h, m.np, (float)(1.4426950408889634 / __builtin_sqrt(h->d_head)), m.q);
    rotate(h, m.np, 1, m.k);
    for (int64_t j = 0; j < h->n; j++)
        for (int c = 0; c < h->d_head; c += LANES)
            v_store_act(m.v, VN_F32, j * h->d_head + c, h->d_head - c,
                        v_load_act(h->v, h->act, j * h->in_stride + c, h->d_head - c));
    int64_t q0 = 0;
    for (; q0 + BLOCK <= m.np; q0 += BLOCK)
        attn_block_wide(h, &m, q0);
    for (; q0 < m.np; q0 += LANES)
        attn_block_one(h, &m, q0);
}

/* ---- matrix product -------------------------------------------------------------- */

#define COLS (2 * LANES) /* of a panel: [n_in, COLS] */

/* ROWS rows of x with one panel. */
INLINE void gemm_sums(const float *x, const void *panel, enum vn_dtype act, int64_t n_in,
                      vf sum[ROWS][2]) {
    for (int64_t from = 0; from < n_in; from += SUM_PART) {
        int64_t to = n_in - from < SUM_PART ? n_in : from + SUM_PART;
        vf acc[ROWS][2] = {{{0}}};
#pragma GCC unroll 4
        for (int64_t i = from; i < to; i++) {
            vf w0 = v_load_act(panel, act, i * COLS, LANES);
            vf w1 = v_load_act(panel, act, i * COLS + LANES, LANES);
#pragma GCC unroll 8
            for (int r = 0; r < ROWS; r++) {
                vf b = v_set1(x[r * n_in + i]);
                acc[r][0] = v_fma(b, w0, acc[r][0]);
                acc[r][1] = v_fma(b, w1, acc[r][1]);
            }
        }
#pragma GCC unroll 8
        for (int r = 0; r < ROWS; r++)
            for (int v = 0; v < 2; v++)
                sum[r][v] += acc[r][v];
    }
}

/* Rows [r0, r0 + ROWS) of g, columns from c on: as far as there are such, unless `whole`. */
INLINE void gemm_block(const struct vn_cpu_gemm *g, const void *panel, enum vn_dtype act,
                       enum vn_epilogue e, int64_t r0, int64_t c, const bool whole) {
    const int rows = whole || g->rows - r0 >= ROWS ? ROWS : (int)(g->rows - r0);
    vf sum[ROWS][2] = {{{0}}};
    gemm_sums(g->x + r0 * g->n_in, panel, act, g->n_in, sum);
    for (int i = 0; i < 2 && (whole || c + i * LANES < g->n_out); i++) {
        int64_t at = c + i * LANES, n = whole ? LANES : g->n_out - at;
        vf b = v_load_act(g->bias, VN_F32, at, n);
        for (int r = 0; r < rows; r++) {
            int64_t to = (r0 + r) * g->n_out + at;
            vf v = sum[r][i] + b;
            if (e == VN_EPI_GELU)
                v = v_gelu(v);
            else if (e == VN_EPI_RESIDUAL)
                v += v_load_act(g->y, VN_F32, to, n);
            v_store_act(g->y, whole ? VN_F32 : g->y_type, to, n, v);
        }
    }
}

/* f32 from whole vectors to whole vectors: most of what there is, without a question. */
INLINE void gemm_whole(const struct vn_cpu_gemm *g, const void *panel, enum vn_epilogue e,
                       int64_t r0, int64_t c) {
    gemm_block(g, panel, VN_F32, e, r0, c, true);
}

static void k_gemm(const struct vn_cpu_gemm *g) {
    size_t panel = (size_t)g->n_in * COLS * vn_dtype_size(g->act);
    for (int64_t c = 0; c < g->n_out; c += COLS) {
        const char *p = (const char *)g->panels + (size_t)(c / COLS) * panel;
        for (int64_t r = 0; r < g->rows; r += ROWS) {
            bool whole = g->y_type == VN_F32 && r + ROWS <= g->rows && c + COLS <= g->n_out;
            if (g->act == VN_BF16)
                gemm_block(g, p, VN_BF16, g->epilogue, r, c, false);
            else if (!whole)
                gemm_block(g, p, VN_F32, g->epilogue, r, c, false);
            else if (g->epilogue == VN_EPI_GELU)
                gemm_whole(g, p, VN_EPI_GELU, r, c);
            else if (g->epilogue == VN_EPI_RESIDUAL)
                gemm_whole(g, p, VN_EPI_RESIDUAL, r, c);
            else
                gemm_whole(g, p, VN_EPI_BIAS, r, c);
        }
    }
}

#define CPU_KERNELS(set) \
    { \
        .name = (set), .gemm_cols = COLS, .norm = k_norm, .scale = k_scale, \
        .attn = k_attn, .attn_scratch = k_attn_scratch, .finite = k_finite, \
        .convert = k_convert, .widen = k_widen, .glu = k_glu, .gemm = k_gemm \
    }

#endif
