#include "memplan.h"

#include "mem.h"
#include "net.h"

/* A slice is what runs at once. It is large enough to fill the matrix products and small
 * enough for its activations to stay in the caches of a CPU; a longer record is a slice of
 * its own. */
#define SLICE_BYTES ((size_t)16 << 20) /* of scratch */
#define SLICE_TOKENS_MIN 512
#define SLICE_TOKENS_MAX 4096

/* Slices of many short records are cut by their number: to have room for as many vectors
 * as there are tokens would take more than the activations of a small slice. */
#define RECORD_TOKENS 16 /* on average; shorter ones end a slice early */
#define SLICE_RECORDS_MIN 1024

static int64_t smaller(int64_t a, int64_t b) {
    return a < b ? a : b;
}
static int64_t larger(int64_t a, int64_t b) {
    return a > b ? a : b;
}

static int64_t slice_tokens(const struct vn_backend *b, size_t per_token,
                            int64_t max_tokens) {
    int64_t n = b->slice_tokens;
    if (!n)
        n = smaller(larger((int64_t)(SLICE_BYTES / per_token), SLICE_TOKENS_MIN),
                    SLICE_TOKENS_MAX);
    while (n < max_tokens && (size_t)n * per_token < b->slice_bytes)
        n *= 2;
    return smaller(n, max_tokens);
}

/* Appends n items of `size` bytes; where they begin. */
static bool reserve(size_t *total, int64_t n, size_t size, size_t *offset) {
    size_t bytes;
    *offset = *total;
    if (!vn_mul((size_t)n, size, &bytes) || bytes > SIZE_MAX - VN_ALIGN)
        return false;
    return vn_add(*total, vn_round_up(bytes, VN_ALIGN), total);
}

static void plan_jobs(struct vn_memplan *p, const struct vn_backend *b, bool pooled,
                      int64_t row) {
    const int64_t tokens = VN_MEMPLAN_ROWS_BYTES / row;
    const int64_t unit = tokens < b->wave ? b->wave / 2 : b->wave;
    p->full_jobs = !pooled && unit && tokens >= unit;
    p->job_bytes = pooled         ? VN_MEMPLAN_POOLED_BYTES
                   : p->full_jobs ? tokens / unit * unit * row
                                  : VN_MEMPLAN_ROWS_BYTES;
}

int vn_memplan_make(const struct vn_model_config *c, bool rope, const struct vn_backend *b,
                 const struct vn_memplan_options *opts, struct vn_memplan *p,
                 struct vn_error *err) {
    const size_t per_token = vn_net_of(c->family)->scratch(c, b->act);
    const bool pooled = opts->pool != VN_POOL_NONE;
    const size_t row =
        (size_t)c->d_model * vn_dtype_size(pooled ? VN_F32 : opts->out_type);
    const int64_t n = p->max_tokens = opts->max_tokens;
    const size_t half = (size_t)(c->d_head / 2) * sizeof(float);
    size_t longest;
    p->slice_tokens = slice_tokens(b, per_token, n);
    p->slice_records =
        smaller(p->slice_tokens, larger(p->slice_tokens / RECORD_TOKENS, SLICE_RECORDS_MIN));
    p->arena = 0;
    int64_t rows = pooled ? p->slice_records : opts->out_type != VN_F32 ? n : 0;
    if (!reserve(&p->arena, n, sizeof(uint16_t), &p->tokens) ||
        !reserve(&p->arena, p->slice_records + 1, sizeof(int32_t), &p->cu) ||
        !reserve(&p->arena, p->slice_records, 1, &p->bad) ||
        !reserve(&p->arena, rope ? n : 0, half, &p->cos) ||
        !reserve(&p->arena, rope ? n : 0, half, &p->sin) ||
        !reserve(&p->arena, rows, row, &p->output) ||
        !reserve(&p->arena, n, per_token, &p->scratch) ||
        !vn_mul(pooled ? 1 : (size_t)n, row, &longest))
        return vn_fail(err, VN_EFAIL, "cannot allocate %lld x %zu bytes", (long long)n,
                       per_token);
    plan_jobs(p, b, pooled, (int64_t)row);
    const size_t job = (size_t)p->job_bytes;
    longest = longest > job ? longest : job;
    longest += longest / VN_COPY_SPARE;
    p->staging = p->product = 0;
    if (b->queues && b->attention == VN_ATTN_STANDARD)
        p->product = (size_t)n * (size_t)c->d_model * sizeof(uint16_t); /* < the scratch */
    if ((b->queues && !vn_mul(longest, VN_SLOTS + 1, &p->staging)) ||
        !vn_add(p->arena, p->staging, &p->total) ||
        !vn_add(p->total, p->product, &p->total))
        return vn_fail(err, VN_EFAIL, "cannot allocate %d x %zu bytes", VN_SLOTS + 1,
                       longest);
    return VN_OK;
}

int64_t vn_memplan_fit(const struct vn_model_config *c, bool rope, const struct vn_backend *b,
                    const struct vn_memplan_options *opts, size_t bytes) {
    struct vn_memplan_options o = *opts;
    struct vn_memplan p;
    int64_t lo = 0, hi = INT32_MAX;
    while (lo < hi) {
        o.max_tokens = hi - (hi - lo) / 2;
        if (vn_memplan_make(c, rope, b, &o, &p, NULL) == VN_OK && p.total <= bytes)
            lo = o.max_tokens;
        else
            hi = o.max_tokens - 1;
    }
    return lo;
}
