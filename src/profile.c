#include "profile.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "mem.h"

enum op { COPY_IN, EMBED, NORM, QKV, ATTN, OUT, GELU, FINITE, POOL, CONVERT, COPY_OUT, N_OPS };

/* The two products that are added to the residual stream look alike from here. */
static const char *const names[N_OPS] = {
    "copy in", "embed", "norm", "linear (qkv)", "attn", "linear (out, fc2)",
    "linear (fc1, gelu)", "finite", "pool", "convert", "copy out"};

struct profile {
    struct vn_backend base; /* first: a struct vn_backend * points here */
    struct vn_backend *inner;
    uint64_t calls[N_OPS];
    double seconds[N_OPS];
};

static double now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static int done(struct vn_backend *b, enum op op, double started, int rc) {
    struct profile *p = (struct profile *)b;
    p->calls[op]++;
    p->seconds[op] += now() - started;
    return rc;
}

static struct vn_backend *inner(struct vn_backend *b) {
    return ((struct profile *)b)->inner;
}

/* ---- forwarded as they are ------------------------------------------------------- */

static int p_alloc(struct vn_backend *b, size_t bytes, void **out, struct vn_error *err) {
    return inner(b)->ops.alloc(inner(b), bytes, out, err);
}
static void p_release(struct vn_backend *b, void *p) {
    inner(b)->ops.release(inner(b), p);
}
static int p_mark(struct vn_backend *b, int slot, struct vn_error *err) {
    return inner(b)->ops.mark(inner(b), slot, err);
}
static int p_wait(struct vn_backend *b, int slot, struct vn_error *err) {
    return inner(b)->ops.wait(inner(b), slot, err);
}
static int p_matrix_new(struct vn_backend *b, const struct vn_matrix_spec *spec,
                        struct vn_matrix **out, struct vn_error *err) {
    return inner(b)->ops.matrix_new(inner(b), spec, out, err);
}
static void p_matrix_free(struct vn_backend *b, struct vn_matrix *m) {
    inner(b)->ops.matrix_free(inner(b), m);
}
static void p_close(struct vn_backend *b) {
    inner(b)->ops.close(inner(b));
    free(b);
}

/* ---- forwarded and timed --------------------------------------------------------- */

static int p_copy_in(struct vn_backend *b, void *device, const void *host, size_t bytes,
                     struct vn_error *err) {
    double t = now();
    return done(b, COPY_IN, t, inner(b)->ops.copy_in(inner(b), device, host, bytes, err));
}
static int p_copy_out(struct vn_backend *b, void *host, const void *device, size_t bytes,
                      struct vn_error *err) {
    double t = now();
    return done(b, COPY_OUT, t, inner(b)->ops.copy_out(inner(b), host, device, bytes, err));
}
static int p_embed(struct vn_backend *b, const struct vn_seqs *s,
                   const struct vn_embed_args *a, struct vn_error *err) {
    double t = now();
    return done(b, EMBED, t, inner(b)->ops.embed(inner(b), s, a, err));
}
static int p_norm(struct vn_backend *b, const struct vn_norm_args *a, struct vn_error *err) {
    double t = now();
    return done(b, NORM, t, inner(b)->ops.norm(inner(b), a, err));
}
static int p_linear(struct vn_backend *b, const struct vn_linear_args *a,
                    struct vn_error *err) {
    enum op op = a->epilogue == VN_EPI_BIAS ? QKV : a->epilogue == VN_EPI_GELU ? GELU : OUT;
    double t = now();
    return done(b, op, t, inner(b)->ops.linear(inner(b), a, err));
}
static int p_attn(struct vn_backend *b, const struct vn_seqs *s, const struct vn_attn_args *a,
                  struct vn_error *err) {
    double t = now();
    return done(b, ATTN, t, inner(b)->ops.attn(inner(b), s, a, err));
}
static int p_pool(struct vn_backend *b, const struct vn_seqs *s, const struct vn_pool_args *a,
                  struct vn_error *err) {
    double t = now();
    return done(b, POOL, t, inner(b)->ops.pool(inner(b), s, a, err));
}
static int p_finite(struct vn_backend *b, const struct vn_seqs *s, const float *x, int64_t d,
                    uint8_t *bad, struct vn_error *err) {
    double t = now();
    return done(b, FINITE, t, inner(b)->ops.finite(inner(b), s, x, d, bad, err));
}
static int p_convert(struct vn_backend *b, const float *x, void *y, enum vn_dtype y_type,
                     int64_t n, struct vn_error *err) {
    double t = now();
    return done(b, CONVERT, t, inner(b)->ops.convert(inner(b), x, y, y_type, n, err));
}

int vn_profile_open(struct vn_backend *b, struct vn_backend **out, struct vn_error *err) {
    struct profile *p = vn_calloc(1, sizeof *p, err);
    if (!p) {
        b->ops.close(b);
        return VN_EFAIL;
    }
    p->base.ops = (struct vn_backend_ops){
        .name = b->ops.name,
        .alloc = p_alloc,
        .release = p_release,
        .copy_in = p_copy_in,
        .copy_out = p_copy_out,
        .mark = p_mark,
        .wait = p_wait,
        .matrix_new = p_matrix_new,
        .matrix_free = p_matrix_free,
        .embed = p_embed,
        .norm = p_norm,
        .linear = p_linear,
        .attn = p_attn,
        .pool = p_pool,
        .finite = p_finite,
        .convert = p_convert,
        .close = p_close,
    };
    p->base.act = b->act;
    p->base.attention = b->attention;
    p->base.slice_tokens = b->slice_tokens;
    memcpy(p->base.device, b->device, sizeof p->base.device);
    p->inner = b;
    *out = &p->base;
    return VN_OK;
}

int vn_profile_at(const struct vn_backend *b, int i, struct vn_profile_op *out) {
    const struct profile *p = (const struct profile *)b;
    if (i >= N_OPS)
        return 0;
    *out = (struct vn_profile_op){names[i], p->calls[i], p->seconds[i]};
    return 1;
}
