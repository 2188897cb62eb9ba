/* ops.h - running the operations of any backend: device buffers with guard bands, and one
 * function per operation that takes and gives host arrays (inline: not all use all). */
#ifndef VN_TEST_OPS_H
#define VN_TEST_OPS_H

#include <math.h>
#include <stdbool.h>

#include "check.h"
#include "cpu.h"

/* ---- things that must not fail in a test ----------------------------------------- */

static void must(int rc, const struct vn_error *err) {
    if (rc) {
        printf("not ok setup # status %d: %s\n", rc, err->msg);
        exit(1);
    }
}

static void *need(size_t n, size_t size) {
    struct vn_error err;
    void *p = vn_calloc(n, size, &err);
    if (!p)
        must(VN_EFAIL, &err);
    return p;
}

/* Numbers in (-1, 1), the same on every machine. */
static uint64_t seed = 1;
static float rnd(void) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)((int64_t)(seed >> 40) - (1 << 23)) / (1 << 23);
}
static float *rnd_array(int64_t n, float scale) {
    float *p = need((size_t)n, sizeof *p);
    for (int64_t i = 0; i < n; i++)
        p[i] = scale * rnd();
    return p;
}

/* ---- device buffers with guard bands --------------------------------------------- */

#define GUARD 256 /* bytes on either side: a multiple of VN_ALIGN */

struct dbuf {
    uint8_t *base; /* on the device: guard, data, guard */
    size_t bytes;  /* of data */
};

static void *dptr(const struct dbuf *d) {
    return d->base + GUARD;
}

/* data NULL: everything is 0xa5, NaN-free in f32 and the 16-bit types */
static struct dbuf dnew(struct vn_backend *b, const void *data, size_t bytes) {
    struct vn_error err;
    struct dbuf d = {NULL, bytes};
    void *p;
    must(b->ops.alloc(b, bytes + 2 * GUARD, &p, &err), &err);
    d.base = p;
    uint8_t *host = need(bytes + 2 * GUARD, 1);
    memset(host, 0xa5, bytes + 2 * GUARD);
    if (data)
        memcpy(host + GUARD, data, bytes);
    must(b->ops.copy_in(b, d.base, host, bytes + 2 * GUARD, &err), &err);
    must(b->ops.mark(b, 0, &err), &err);
    must(b->ops.wait(b, 0, &err), &err);
    free(host);
    return d;
}

/* Copies the data out (if wanted), frees. False: a guard was touched. */
static bool dend(struct vn_backend *b, struct dbuf d, void *data) {
    struct vn_error err;
    uint8_t *host = need(d.bytes + 2 * GUARD, 1);
    bool clean = true;
    must(b->ops.copy_out(b, host, d.base, d.bytes + 2 * GUARD, &err), &err);
    must(b->ops.mark(b, 1, &err), &err);
    must(b->ops.wait(b, 1, &err), &err);
    for (int i = 0; i < GUARD; i++)
        clean = clean && host[i] == 0xa5 && host[GUARD + d.bytes + (size_t)i] == 0xa5;
    if (data)
        memcpy(data, host + GUARD, d.bytes);
    free(host);
    b->ops.release(b, d.base);
    return clean;
}

/* f32 values as the type stores them, and back; the caller frees. */
static void *to_type(const float *x, enum vn_dtype type, int64_t n) {
    void *p = need((size_t)n, vn_dtype_size(type));
    for (int64_t i = 0; i < n; i++)
        vn_cpu_store(p, type, i, x[i]);
    return p;
}
static struct dbuf dnew_act(struct vn_backend *b, const float *x, enum vn_dtype type,
                            int64_t n) {
    void *p = to_type(x, type, n);
    struct dbuf d = dnew(b, p, (size_t)n * vn_dtype_size(type));
    free(p);
    return d;
}
static bool dend_act(struct vn_backend *b, struct dbuf d, enum vn_dtype type,
                     float *out) {
    void *p = need(d.bytes, 1);
    bool clean = dend(b, d, p);
    for (size_t i = 0; i < d.bytes / vn_dtype_size(type); i++)
        out[i] = vn_cpu_load(p, type, (int64_t)i);
    free(p);
    return clean;
}

/* ---- packed batches -------------------------------------------------------------- */

#define MAX_SEQ 64

struct layout {
    int n_seq;
    int len[MAX_SEQ];
};

static inline int64_t layout_tokens(const struct layout *l) {
    int64_t n = 0;
    for (int i = 0; i < l->n_seq; i++)
        n += l->len[i];
    return n;
}

struct batch {
    struct vn_seqs seqs;
    int32_t cu[MAX_SEQ + 1];
    struct dbuf device;
};

static void batch_begin(struct vn_backend *b, const struct layout *l, struct batch *out) {
    out->cu[0] = 0;
    out->seqs.max_len = 0;
    for (int i = 0; i < l->n_seq; i++) {
        out->cu[i + 1] = out->cu[i] + l->len[i];
        if (l->len[i] > out->seqs.max_len)
            out->seqs.max_len = l->len[i];
    }
    out->seqs.n_seq = l->n_seq;
    out->seqs.n_tok = out->cu[l->n_seq];
    out->device = dnew(b, out->cu, sizeof out->cu);
    out->seqs.host = out->cu;
    out->seqs.device = dptr(&out->device);
}
static bool batch_end(struct vn_backend *b, struct batch *l) {
    return dend(b, l->device, NULL);
}

/* ---- operations on host arrays: true when no guard was touched ------------------- */

static inline bool run_embed(struct vn_backend *b, const struct layout *l,
                             const uint16_t *tokens, const float *table, int64_t v, int64_t d,
                             int mask, float *out) {
    struct vn_error err;
    struct batch s;
    batch_begin(b, l, &s);
    struct dbuf dt = dnew(b, tokens, (size_t)s.seqs.n_tok * sizeof *tokens);
    struct dbuf dw = dnew(b, table, (size_t)(v * d) * sizeof *table);
    struct dbuf dx = dnew(b, NULL, (size_t)(s.seqs.n_tok * d) * sizeof *out);
    const struct vn_embed_args a = {dptr(&dt), dptr(&dw), dptr(&dx), d, mask};
    must(b->ops.embed(b, &s.seqs, &a, &err), &err);
    bool clean = dend(b, dt, NULL) & dend(b, dw, NULL);
    return clean & dend(b, dx, out) & batch_end(b, &s);
}

/* also [n, d], or NULL: not asked for */
static inline bool run_norm(struct vn_backend *b, const float *x, const float *gamma,
                            const float *beta, int64_t n, int64_t d, enum vn_dtype type,
                            bool in_place, float *out, float *also) {
    struct vn_error err;
    struct dbuf dx = dnew(b, x, (size_t)(n * d) * sizeof *x);
    struct dbuf dg = dnew(b, gamma, (size_t)d * sizeof *gamma);
    struct dbuf db = dnew(b, beta, (size_t)d * sizeof *beta);
    struct dbuf dy = dnew(b, NULL, (size_t)(n * d) * vn_dtype_size(type));
    struct dbuf da = dnew(b, NULL, (size_t)(n * d) * vn_dtype_size(b->act));
    const struct vn_norm_args a = {.x = dptr(&dx),
                                   .gamma = dptr(&dg),
                                   .beta = dptr(&db),
                                   .y = in_place ? dptr(&dx) : dptr(&dy),
                                   .y_type = type,
                                   .n_tok = n,
                                   .d = d,
                                   .eps = 1e-5f,
                                   .also = also ? dptr(&da) : NULL};
    must(b->ops.norm(b, &a, &err), &err);
    bool clean = dend(b, dg, NULL) & dend(b, db, NULL);
    clean &= also ? dend_act(b, da, b->act, also) : dend(b, da, NULL);
    return clean & dend_act(b, in_place ? dx : dy, type, out) &
           dend(b, in_place ? dy : dx, NULL);
}

struct weights {
    float *weight, *bias; /* [n_out, n_in]; [n_out], or NULL */
    int64_t n_out, n_in;
    int n_parts;
    enum vn_dtype type;
    enum vn_epilogue epilogue;
};

/* Such that sums are about as large as what is summed. */
static inline struct weights make_weights(int64_t n_out, int64_t n_in, int n_parts,
                                          enum vn_dtype type, enum vn_epilogue epilogue) {
    struct weights w = {.n_out = n_out,
                        .n_in = n_in,
                        .n_parts = n_parts,
                        .type = type,
                        .epilogue = epilogue};
    w.weight = rnd_array(n_out * n_in, 3.0f / sqrtf((float)n_in));
    w.bias = rnd_array(n_out, 0.5f);
    return w;
}
static inline void free_weights(struct weights *w) {
    free(w->weight);
    free(w->bias);
}

static inline struct vn_matrix *make_matrix(struct vn_backend *b, const struct weights *w) {
    struct vn_error err;
    struct vn_matrix *m;
    struct vn_matrix_spec s = {.type = w->type,
                               .n_parts = w->n_parts,
                               .n_out = w->n_out,
                               .n_in = w->n_in,
                               .epilogue = w->epilogue};
    int64_t rows = w->n_out / w->n_parts;
    void *parts[6] = {NULL};
    for (int i = 0; i < w->n_parts; i++) {
        s.weight[i] = parts[i] =
            to_type(w->weight + i * rows * w->n_in, w->type, rows * w->n_in);
        if (w->bias)
            s.bias[i] = parts[3 + i] = to_type(w->bias + i * rows, w->type, rows);
    }
    must(b->ops.matrix_new(b, &s, &m, &err), &err);
    for (int i = 0; i < 6; i++)
        free(parts[i]);
    return m;
}

/* Columns of y. */
static inline int64_t out_width(const struct weights *w) {
    return w->epilogue == VN_EPI_GLU ? w->n_out / 2 : w->n_out;
}

/* y [n, out_width] is read too: the residual. */
static inline bool run_linear(struct vn_backend *b, const struct vn_matrix *m,
                              const struct weights *w, const float *x, int64_t n, float *y) {
    struct vn_error err;
    enum vn_dtype type = w->epilogue == VN_EPI_RESIDUAL ? VN_F32 : b->act;
    struct dbuf dx = dnew_act(b, x, b->act, n * w->n_in);
    struct dbuf dy = dnew_act(b, y, type, n * out_width(w));
    bool glu = w->epilogue == VN_EPI_GLU;
    struct dbuf wide = dnew(b, NULL, glu ? (size_t)(n * w->n_out) * vn_dtype_size(type) : 0);
    const struct vn_linear_args a = {.x = dptr(&dx),
                                     .w = m,
                                     .y = dptr(&dy),
                                     .n_tok = n,
                                     .epilogue = w->epilogue,
                                     .wide = glu ? dptr(&wide) : NULL};
    must(b->ops.linear(b, &a, &err), &err);
    bool clean = dend(b, dx, NULL) & dend(b, wide, NULL);
    return clean & dend_act(b, dy, type, y);
}

#define ALIBI -1 /* in place of theta: no rope, and slopes of 2^-1, 2^-2.5, 2^-4, ... */

/* qkv [T, 3, H, K]; theta 0: no rope. out [T, H, K] */
static inline bool run_attn(struct vn_backend *b, const struct layout *l, const float *qkv,
                            int heads, int k, float theta, float *out) {
    struct vn_error err;
    struct batch s;
    batch_begin(b, l, &s);
    int64_t n = s.seqs.n_tok, half = k / 2, rows = s.seqs.max_len ? s.seqs.max_len : 1;
    float *c = need((size_t)(rows * half), sizeof *c),
          *sn = need((size_t)(rows * half), 4);
    float slopes[MAX_SEQ];
    for (int h = 0; h < heads; h++)
        slopes[h] = (float)pow(2, -1 - 1.5 * h);
    for (int64_t i = 0; i < rows * half; i++) {
        double angle = (double)(i / half) * pow(fabs(theta), -2.0 * (double)(i % half) / k);
        c[i] = (float)cos(angle);
        sn[i] = (float)sin(angle);
    }
    struct dbuf dq = dnew_act(b, qkv, b->act, n * 3 * heads * k);
    struct dbuf dout = dnew(b, NULL, (size_t)(n * heads * k) * vn_dtype_size(b->act));
    struct dbuf dc = dnew(b, c, (size_t)(rows * half) * sizeof *c);
    struct dbuf ds = dnew(b, sn, (size_t)(rows * half) * sizeof *sn);
    struct dbuf dl = dnew(b, slopes, (size_t)heads * sizeof *slopes);
    const struct vn_attn_args a = {.qkv = dptr(&dq),
                                   .out = dptr(&dout),
                                   .rope_cos = theta > 0 ? dptr(&dc) : NULL,
                                   .rope_sin = theta > 0 ? dptr(&ds) : NULL,
                                   .n_heads = heads,
                                   .d_head = k,
                                   .alibi = theta < 0 ? dptr(&dl) : NULL};
    must(b->ops.attn(b, &s.seqs, &a, &err), &err);
    free(c);
    free(sn);
    bool clean = dend(b, dq, NULL) & dend(b, dc, NULL) & dend(b, ds, NULL) &
                 dend(b, dl, NULL);
    return clean & dend_act(b, dout, b->act, out) & batch_end(b, &s);
}

static inline bool run_pool(struct vn_backend *b, const struct layout *l, const float *x,
                            int64_t d, enum vn_pooling pool, float *out) {
    struct vn_error err;
    struct batch s;
    batch_begin(b, l, &s);
    struct dbuf dx = dnew(b, x, (size_t)(s.seqs.n_tok * d) * sizeof *x);
    struct dbuf dout = dnew(b, NULL, (size_t)(l->n_seq * d) * sizeof *x);
    const struct vn_pool_args a = {dptr(&dx), dptr(&dout), d, pool};
    must(b->ops.pool(b, &s.seqs, &a, &err), &err);
    return dend(b, dx, NULL) & dend(b, dout, out) & batch_end(b, &s);
}

static inline bool run_finite(struct vn_backend *b, const struct layout *l, const float *x,
                              int64_t d, uint8_t *out) {
    struct vn_error err;
    struct batch s;
    batch_begin(b, l, &s);
    struct dbuf dx = dnew(b, x, (size_t)(s.seqs.n_tok * d) * sizeof *x);
    struct dbuf dout = dnew(b, NULL, (size_t)l->n_seq);
    must(b->ops.finite(b, &s.seqs, dptr(&dx), d, dptr(&dout), &err), &err);
    return dend(b, dx, NULL) & dend(b, dout, out) & batch_end(b, &s);
}

static inline bool run_convert(struct vn_backend *b, const float *x, int64_t n,
                               enum vn_dtype type, void *out) {
    struct vn_error err;
    struct dbuf dx = dnew(b, x, (size_t)n * sizeof *x);
    struct dbuf dy = dnew(b, NULL, (size_t)n * vn_dtype_size(type));
    must(b->ops.convert(b, dptr(&dx), dptr(&dy), type, n, &err), &err);
    return dend(b, dx, NULL) & dend(b, dy, out);
}

#endif
