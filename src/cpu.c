/* cpu.c - the fast CPU backend: the reference's table, overlaid with operations that cut
 * their rows, sequences or heads into items for a team of threads and hand them to the
 * vector kernels of this processor. */
#include "cpu.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONVERT_ITEM 16384 /* elements */
#define ALL_HEADS 8        /* with so many sequences per worker, it takes all heads of one */

/* What an item function sees: the operation's own arguments beside the rest. */
struct job {
    struct vn_cpu *c;
    const struct vn_seqs *s;
    const void *args;
    const float *x; /* finite, convert */
    void *y;
    enum vn_dtype type;
    int64_t n; /* convert: elements; finite: d; attn: heads of an item */
    size_t rope_stride;
};

int vn_cpu_reserve(struct vn_cpu *c, size_t bytes, struct vn_error *err) {
    int rc = VN_OK;
    for (int i = 0; i < c->n_workers && rc == VN_OK; i++)
        rc = vn_buf_reserve(&c->work[i], bytes, err);
    return rc;
}

/* ---- rows ------------------------------------------------------------------------ */

static void embed_item(void *ctx, int worker, int64_t b) {
    (void)worker;
    const struct job *j = ctx;
    const struct vn_embed_args *a = j->args;
    float scale = (float)vn_cpu_embed_scale(j->s, a, b);
    for (int64_t t = j->s->host[b]; t < j->s->host[b + 1]; t++)
        j->c->k->scale(a->table + a->tokens[t] * a->d,
                       a->tokens[t] == a->mask_token ? 0 : scale, a->x + t * a->d, a->d);
}

static int cpu_embed(struct vn_backend *b, const struct vn_seqs *s,
                     const struct vn_embed_args *a, struct vn_error *err) {
    (void)err;
    struct vn_cpu *c = (struct vn_cpu *)b;
    struct job j = {.c = c, .s = s, .args = a};
    vn_team_run(c->team, embed_item, &j, s->n_seq);
    return VN_OK;
}

static void convert_item(void *ctx, int worker, int64_t item) {
    (void)worker;
    const struct job *j = ctx;
    int64_t at = item * CONVERT_ITEM, n = j->n - at;
    j->c->k->convert(j->x + at, (char *)j->y + (size_t)at * vn_dtype_size(j->type),
                     j->type, n < CONVERT_ITEM ? n : CONVERT_ITEM);
}

static int cpu_convert(struct vn_backend *b, const float *x, void *y,
                       enum vn_dtype y_type, int64_t n, struct vn_error *err) {
    (void)err;
    struct vn_cpu *c = (struct vn_cpu *)b;
    struct job j = {.c = c, .x = x, .y = y, .type = y_type, .n = n};
    vn_team_run(c->team, convert_item, &j, (n + CONVERT_ITEM - 1) / CONVERT_ITEM);
    return VN_OK;
}

/* ---- sequences ------------------------------------------------------------------- */

static void pool_item(void *ctx, int worker, int64_t b) {
    (void)worker;
    const struct job *j = ctx;
    const struct vn_pool_args *a = j->args;
    int64_t t0 = j->s->host[b], n = j->s->host[b + 1] - t0;
    if (n > 0)
        vn_pool_rows(a->pool, a->x + t0 * a->d, n, a->d, a->out + b * a->d);
    else
        memset(a->out + b * a->d, 0, (size_t)a->d * sizeof(float));
}

static int cpu_pool(struct vn_backend *b, const struct vn_seqs *s,
                    const struct vn_pool_args *a, struct vn_error *err) {
    (void)err;
    struct vn_cpu *c = (struct vn_cpu *)b;
    struct job j = {.c = c, .s = s, .args = a};
    vn_team_run(c->team, pool_item, &j, s->n_seq);
    return VN_OK;
}

static void finite_item(void *ctx, int worker, int64_t b) {
    (void)worker;
    const struct job *j = ctx;
    int64_t from = j->s->host[b] * j->n, to = j->s->host[b + 1] * j->n;
    ((uint8_t *)j->y)[b] = !j->c->k->finite(j->x + from, to - from);
}

static int cpu_finite(struct vn_backend *b, const struct vn_seqs *s, const float *x,
                      int64_t d, uint8_t *bad, struct vn_error *err) {
    (void)err;
    struct vn_cpu *c = (struct vn_cpu *)b;
    struct job j = {.c = c, .s = s, .x = x, .y = bad, .n = d};
    vn_team_run(c->team, finite_item, &j, s->n_seq);
    return VN_OK;
}

static void attn_head(const struct job *j, int worker, int64_t b, int64_t head, bool last) {
    const struct vn_attn_args *a = j->args;
    enum vn_dtype act = j->c->ref.base.act;
    int64_t t0 = j->s->host[b], hk = (int64_t)a->n_heads * a->d_head;
    size_t size = vn_dtype_size(act);
    const char *q =
        (const char *)a->qkv + (size_t)(t0 * 3 * hk + head * a->d_head) * size;
    const float *rope = (const float *)(const void *)j->c->rope.data;
    const struct vn_cpu_head h = {
        .q = q,
        .k = q + (size_t)hk * size,
        .v = q + (size_t)(2 * hk) * size,
        .out = (char *)a->out + (size_t)(t0 * hk + head * a->d_head) * size,
        .n = j->s->host[b + 1] - t0,
        .in_stride = 3 * hk,
        .out_stride = hk,
        .next = last ? 0 : a->d_head,
        .d_head = a->d_head,
        .rope_cos = a->rope_cos ? rope : NULL,
        .rope_sin = a->rope_cos ? rope + (size_t)a->d_head / 2 * j->rope_stride : NULL,
        .rope_stride = (int64_t)j->rope_stride,
        .slope = a->alibi ? a->alibi[head] : 0,
        .act = act,
        .scratch = (float *)(void *)j->c->work[worker].data,
    };
    if (h.n > 0)
        j->c->k->attn(&h);
}

/* An item is some heads of one sequence. */
static void attn_item(void *ctx, int worker, int64_t item) {
    const struct job *j = ctx;
    const struct vn_attn_args *a = j->args;
    int64_t items = a->n_heads / j->n, b = item / items, head = item % items * j->n;
    for (int64_t i = 0; i < j->n; i++)
        attn_head(j, worker, b, head + i, i + 1 == j->n);
}

/* Both tables with the position fastest, [K / 2, stride], zeros behind max_len. */
static int transpose_rope(struct vn_cpu *c, const struct vn_attn_args *a, int64_t max_len,
                          size_t stride, struct vn_error *err) {
    size_t half = (size_t)a->d_head / 2, n = (size_t)max_len;
    int rc = vn_buf_reserve(&c->rope, 2 * half * stride * sizeof(float), err);
    if (rc)
        return rc;
    const float *const tables[2] = {a->rope_cos, a->rope_sin};
    float *to = (float *)(void *)c->rope.data;
    for (int k = 0; k < 2; k++) {
        for (size_t i = 0; i < half; i++, to += stride) {
            for (size_t p = 0; p < n; p++)
                to[p] = tables[k][p * half + i];
            memset(to + n, 0, (stride - n) * sizeof *to);
        }
    }
    return VN_OK;
}

static int cpu_attn(struct vn_backend *b, const struct vn_seqs *s,
                    const struct vn_attn_args *a, struct vn_error *err) {
    struct vn_cpu *c = (struct vn_cpu *)b;
    struct job j = {.c = c, .s = s, .args = a};
    j.n = s->n_seq >= ALL_HEADS * c->n_workers ? a->n_heads : 1;
    j.rope_stride = vn_round_up((size_t)s->max_len, 16);
    size_t floats = c->k->attn_scratch(s->max_len, a->d_head);
    int rc = vn_cpu_reserve(c, floats * sizeof(float), err);
    if (rc == VN_OK && a->rope_cos)
        rc = transpose_rope(c, a, s->max_len, j.rope_stride, err);
    if (rc == VN_OK)
        vn_team_run(c->team, attn_item, &j, s->n_seq * (a->n_heads / j.n));
    return rc;
}

/* ---- opening --------------------------------------------------------------------- */

static void cpu_close(struct vn_backend *b) {
    struct vn_cpu *c = (struct vn_cpu *)b;
    vn_cpu_dnnl_close(c);
    vn_team_free(c->team);
    for (int i = 0; c->work && i < c->n_workers; i++)
        vn_buf_release(&c->work[i]);
    free(c->work);
    vn_buf_release(&c->rope);
    vn_buf_release(&c->ref.scratch);
    vn_buf_release(&c->ref.stamps);
    free(c);
}

static void overlay(struct vn_backend_ops *ops) {
    ops->name = "cpu";
    ops->embed = cpu_embed;
    ops->attn = cpu_attn;
    ops->pool = cpu_pool;
    ops->finite = cpu_finite;
    ops->convert = cpu_convert;
    ops->close = cpu_close;
}

int vn_cpu_open_with(const struct vn_backend_options *o, const struct vn_cpu_kernels *k,
                     bool dnnl, struct vn_backend **out, struct vn_error *err) {
    char product[32] = "own matrix products";
    *out = NULL;
    if (o->act == VN_F16)
        return vn_fail(err, VN_EINCOMPAT,
                       "the cpu computes in fp32 or bf16, in fp16 with --attention "
                       "standard only");
    struct vn_cpu *c = vn_calloc(1, sizeof *c, err);
    if (!c)
        return VN_EFAIL;
    c->k = k;
    c->n_workers = o->threads > 0 ? o->threads : 1;
    c->work = vn_calloc((size_t)c->n_workers, sizeof *c->work, err);
    int rc = c->work ? vn_cpu_ref_init(&c->ref, o->act, err) : VN_EFAIL;
    if (rc == VN_OK)
        rc = vn_team_new(c->n_workers, &c->team, err);
    if (rc == VN_OK) {
        overlay(&c->ref.base.ops);
        vn_cpu_rows_overlay(&c->ref.base.ops);
        c->ref.base.ops.matrix_new = vn_cpu_matrix_new;
        rc = dnnl ? vn_cpu_dnnl_overlay(c, product, err) : VN_OK;
    }
    if (rc) {
        cpu_close(&c->ref.base);
        return rc;
    }
    snprintf(c->ref.base.device, sizeof c->ref.base.device, "cpu (%s, %s)", k->name,
             product);
    *out = &c->ref.base;
    return VN_OK;
}

int vn_cpu_open(const struct vn_backend_options *o, struct vn_backend **out,
                struct vn_error *err) {
    const bool standard = o->attention == VN_ATTN_STANDARD;
    struct vn_backend_options inner = *o;
    struct vn_backend *b;
    *out = NULL;
    if (standard)
        inner.act = VN_F32;
    int rc = vn_cpu_open_with(&inner, vn_cpu_kernels_at(0), true, &b, err);
    if (rc == VN_ENODEVICE) /* oneDNN cannot: the device's text says so */
        rc = vn_cpu_open_with(&inner, vn_cpu_kernels_at(0), false, &b, err);
    if (rc == VN_OK && standard)
        return vn_cpu_standard_open(b, out, err);
    if (rc == VN_OK)
        *out = b;
    return rc;
}
