#include "engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "net.h"
#include "num.h"

#define ROPE_TOKENS_MIN 1024

/* What a job needs on the host while it is in flight. */
struct slot {
    struct vn_job *job;
    struct vn_buf cu;  /* i32: cu_seqlens of each slice, from 0, one after the other */
    struct vn_buf bad; /* [B] u8 from ops.finite */
};

struct vn_engine {
    struct vn_model_config config;
    const float *inv_freq; /* [K / 2], the model's; NULL: no rotary positions */
    struct vn_engine_options opts;
    struct vn_backend *b;
    const struct vn_net_ops *family;
    struct vn_net *net;
    size_t row_bytes; /* of a row of the output */
    struct vn_memplan plan;

    void *arena; /* on the device, one allocation; its parts, as planned: */
    uint16_t *tokens;
    int32_t *cu;
    uint8_t *bad;
    void *out, *scratch;
    float *rope_cos, *rope_sin; /* filled for positions [0, rope_len) */
    struct vn_buf rope_host;    /* what was filled in last */
    int64_t rope_len;

    struct slot slots[VN_SLOTS];
    int first, in_flight; /* the oldest job, and how many there are */
};

static const char *const outcome_names[] = {"ok", "empty", "too long", "not finite"};

const char *vn_outcome_name(enum vn_outcome o) {
    return outcome_names[o];
}

const struct vn_memplan *vn_engine_plan(const struct vn_engine *e) {
    return &e->plan;
}

int vn_engine_depth(const struct vn_engine *e) {
    return e->b->queues ? VN_SLOTS : 1;
}

/* ---- start and end --------------------------------------------------------------- */

/* The plan, held against what the device has left once the weights are there; `had` is what
 * was free before them. */
static int check_room(const struct vn_engine *e, const struct vn_memplan_options *po,
                      size_t had, struct vn_error *err) {
    size_t left;
    int rc = e->b->ops.available(e->b, &left, err);
    if (rc < 0 || e->plan.total <= left)
        return rc;
    size_t weights = had > left ? had - left : 0;
    int64_t fit = vn_memplan_fit(&e->config, e->inv_freq, e->b, po, left);
    char advice[64] = "not even one of a single token fits";
    if (fit)
        snprintf(advice, sizeof advice, "--max-tokens %lld would fit", (long long)fit);
    return vn_fail(err, VN_EBUSY,
                   "records of %lld tokens take %.0f MiB of device memory, %.0f MiB of them "
                   "for the weights, and %.0f MiB are free: %s",
                   (long long)e->plan.max_tokens,
                   (double)(weights + e->plan.total) / 1048576, (double)weights / 1048576,
                   (double)had / 1048576, advice);
}

static int arena_new(struct vn_engine *e, size_t had, struct vn_error *err) {
    const struct vn_memplan_options po = {
        e->opts.pool, e->opts.out_type,
        e->opts.max_tokens ? e->opts.max_tokens : VN_ENGINE_MAX_TOKENS};
    int rc = vn_memplan_make(&e->config, e->inv_freq, e->b, &po, &e->plan, err);
    if (rc == VN_OK)
        rc = check_room(e, &po, had, err);
    if (rc == VN_OK && (rc = e->b->ops.alloc(e->b, e->plan.arena, &e->arena, err)) < 0)
        vn_prefix(err, "no room for records of %lld tokens (--max-tokens takes fewer)",
                  (long long)e->plan.max_tokens);
    if (rc < 0)
        return rc;
    uint8_t *base = e->arena;
    e->tokens = (uint16_t *)(void *)(base + e->plan.tokens);
    e->cu = (int32_t *)(void *)(base + e->plan.cu);
    e->bad = base + e->plan.bad;
    e->out = base + e->plan.output;
    e->scratch = base + e->plan.scratch;
    if (e->inv_freq) {
        e->rope_cos = (float *)(void *)(base + e->plan.cos);
        e->rope_sin = (float *)(void *)(base + e->plan.sin);
    }
    return VN_OK;
}

int vn_engine_open(const struct vn_model *model, struct vn_backend *backend,
                   const struct vn_engine_options *opts, struct vn_engine **out,
                   struct vn_error *err) {
    struct vn_engine *e = vn_calloc(1, sizeof *e, err);
    if (!e) {
        backend->ops.close(backend);
        return VN_EFAIL;
    }
    size_t had;
    int rc = backend->ops.available(backend, &had, err);
    e->config = model->config;
    e->family = vn_net_of(model->config.family);
    e->inv_freq = model->inv_freq;
    e->opts = *opts;
    e->b = backend;
    if (opts->pool != VN_POOL_NONE)
        e->opts.out_type = VN_F32;
    e->row_bytes = (size_t)e->config.d_model * vn_dtype_size(e->opts.out_type);
    if (rc == VN_OK && (opts->layer < 0 || opts->layer > e->config.n_layers))
        rc = vn_fail(err, VN_EUSAGE, "layer %d: model '%s' has layers 0 to %d", opts->layer,
                     model->name, e->config.n_layers);
    if (rc == VN_OK)
        rc = e->family->create(model, backend, opts->layer, &e->net, err);
    if (rc == VN_EBUSY)
        vn_prefix(err, "no room for the weights of model '%s', %.0f MiB are free", model->name,
                  (double)had / 1048576);
    if (rc == VN_OK)
        rc = arena_new(e, had, err);
    if (rc < 0) {
        vn_engine_close(e);
        return rc;
    }
    *out = e;
    return VN_OK;
}

void vn_engine_close(struct vn_engine *e) {
    if (!e)
        return;
    e->family->free(e->net, e->b);
    if (e->arena)
        e->b->ops.release(e->b, e->arena);
    vn_buf_release(&e->rope_host);
    for (int i = 0; i < VN_SLOTS; i++) {
        vn_buf_release(&e->slots[i].cu);
        vn_buf_release(&e->slots[i].bad);
    }
    e->b->ops.close(e->b);
    free(e);
}

/* ---- rotary tables --------------------------------------------------------------- */

/* What is rounded to half where fair-esm was made half: .half() converts the frequencies,
 * and positions, angles and tables follow their type. Positions beyond 65519 become
 * infinite there, and so does the record's result become NaN. */
static float narrow(const struct vn_engine *e, float v) {
    return e->b->attention == VN_ATTN_STANDARD ? vn_f16_to_f32(vn_f32_to_f16(v)) : v;
}

/* Positions [from, to). Angles are rounded to f32 before the cosine is taken, as fair-esm
 * does; the cosine itself is the f32 nearest to the true one. */
static int rope_fill(struct vn_engine *e, int64_t from, int64_t to, struct vn_error *err) {
    const int64_t half = e->config.d_head / 2, n = (to - from) * half;
    int rc = vn_buf_resize(&e->rope_host, 2 * (size_t)n * sizeof(float), err);
    if (rc < 0)
        return rc;
    float *c = (float *)(void *)e->rope_host.data, *s = c + n;
    for (int64_t p = from; p < to; p++)
        for (int64_t i = 0; i < half; i++) {
            float angle = narrow(e, narrow(e, (float)p) * narrow(e, e->inv_freq[i]));
            *c++ = narrow(e, (float)cos((double)angle));
            *s++ = narrow(e, (float)sin((double)angle));
        }
    return VN_OK;
}

/* Fills in the tables for records of n tokens, twice as far each time that a longer one
 * comes: rarely, and what was there stays, so that nothing queued notices. `slot` has no job
 * yet, so its mark is free. */
static int rope_grow(struct vn_engine *e, int64_t n, int slot, struct vn_error *err) {
    struct vn_backend *b = e->b;
    const int64_t from = e->rope_len, half = e->config.d_head / 2;
    int64_t to = from ? from : ROPE_TOKENS_MIN;
    if (!e->inv_freq || n <= from)
        return VN_OK;
    while (to < n)
        to *= 2;
    to = to < e->plan.max_tokens ? to : e->plan.max_tokens;
    int rc = rope_fill(e, from, to, err);
    const size_t bytes = (size_t)((to - from) * half) * sizeof(float);
    if (rc == VN_OK)
        rc = b->ops.copy_in(b, e->rope_cos + from * half, e->rope_host.data, bytes, err);
    if (rc == VN_OK)
        rc = b->ops.copy_in(b, e->rope_sin + from * half, e->rope_host.data + bytes, bytes,
                            err);
    if (rc == VN_OK)
        rc = b->ops.mark(b, slot, err);
    if (rc == VN_OK)
        rc = b->ops.wait(b, slot, err); /* the host's copy is filled anew the next time */
    if (rc == VN_OK)
        e->rope_len = to;
    return rc;
}

/* ---- submit ---------------------------------------------------------------------- */

static int64_t length(const struct vn_job *job, int64_t i) {
    return (int64_t)job->cu_seqlens[i + 1] - job->cu_seqlens[i];
}

/* Checks the tokens, and says of each record what is known before it has run. */
static int look(const struct vn_engine *e, struct vn_job *job, int64_t *longest,
                struct vn_error *err) {
    *longest = 0;
    for (int64_t i = 0; i < job->n_seq; i++) {
        int64_t n = length(job, i);
        for (int64_t t = job->cu_seqlens[i]; t < job->cu_seqlens[i + 1]; t++)
            if (job->tokens[t] >= e->config.n_vocab)
                return vn_fail(err, VN_EDATA,
                               "token %d at position %lld of sequence %lld, expected 0 to %d",
                               job->tokens[t], (long long)(t - job->cu_seqlens[i]),
                               (long long)i, e->config.n_vocab - 1);
        job->outcome.data[i] = n == 0               ? VN_REC_EMPTY
                               : n > e->plan.max_tokens ? VN_REC_TOO_LONG
                                                   : VN_REC_OK;
        if (n <= e->plan.max_tokens && n > *longest)
            *longest = n;
    }
    return VN_OK;
}

/* The end of the slice that begins with record `from`, which fits. */
static int64_t slice_end(const struct vn_engine *e, const struct vn_job *job, int64_t from) {
    int64_t to = from + 1;
    while (to < job->n_seq && to - from < e->plan.slice_records &&
           job->cu_seqlens[to + 1] - job->cu_seqlens[from] <= e->plan.slice_tokens)
        to++;
    return to;
}

/* Queues what turns the hidden state x of a slice into its rows of the output. */
static int queue_output(struct vn_engine *e, const struct vn_seqs *seqs, const float *x,
                        uint8_t *host, struct vn_error *err) {
    struct vn_backend *b = e->b;
    const int64_t d = e->config.d_model;
    int64_t rows = seqs->n_tok;
    const void *from = x;
    int rc = VN_OK;
    if (e->opts.pool != VN_POOL_NONE) {
        struct vn_pool_args a = {x, e->out, d, e->opts.pool};
        rc = b->ops.pool(b, seqs, &a, err);
        rows = seqs->n_seq;
        from = e->out;
    } else if (e->opts.out_type != VN_F32) {
        rc = b->ops.convert(b, x, e->out, e->opts.out_type, rows * d, err);
        from = e->out;
    }
    return rc < 0 ? rc : b->ops.copy_out(b, host, from, (size_t)rows * e->row_bytes, err);
}

/* Queues records [from, to) of the job; cu is room for their cu_seqlens on the host. */
static int queue_slice(struct vn_engine *e, struct slot *s, int64_t from, int64_t to,
                       int32_t *cu, struct vn_error *err) {
    struct vn_backend *b = e->b;
    struct vn_job *job = s->job;
    const int32_t start = job->cu_seqlens[from];
    struct vn_seqs seqs = {.n_seq = to - from,
                           .n_tok = (int64_t)job->cu_seqlens[to] - start,
                           .host = cu,
                           .device = e->cu};
    for (int64_t i = from; i <= to; i++)
        cu[i - from] = job->cu_seqlens[i] - start;
    for (int64_t i = from; i < to; i++)
        if (length(job, i) > seqs.max_len)
            seqs.max_len = (int32_t)length(job, i);
    if (!seqs.n_tok)
        return VN_OK;
    int64_t row = e->opts.pool != VN_POOL_NONE ? from : start - job->cu_seqlens[0];
    const float *x;
    int rc = b->ops.copy_in(b, e->tokens, job->tokens + start,
                            (size_t)seqs.n_tok * sizeof(uint16_t), err);
    if (rc == VN_OK)
        rc = b->ops.copy_in(b, e->cu, cu, (size_t)(seqs.n_seq + 1) * sizeof(int32_t), err);
    const struct vn_net_input in = {&seqs, e->tokens, e->rope_cos, e->rope_sin};
    if (rc == VN_OK)
        rc = e->family->forward(e->net, b, &in, e->opts.layer, e->scratch, &x, err);
    if (rc == VN_OK)
        rc = b->ops.finite(b, &seqs, x, e->config.d_model, e->bad, err);
    if (rc == VN_OK)
        rc = b->ops.copy_out(b, s->bad.data + from, e->bad, (size_t)seqs.n_seq, err);
    return rc < 0 ? rc
                  : queue_output(e, &seqs, x, job->out.data + (size_t)row * e->row_bytes, err);
}

/* Room for everything that the job gives back, and for what it needs on the way. */
static int make_room(const struct vn_engine *e, struct slot *s, struct vn_error *err) {
    struct vn_job *job = s->job;
    size_t n = (size_t)job->n_seq, bytes;
    size_t rows = e->opts.pool != VN_POOL_NONE
                      ? n
                      : (size_t)(job->cu_seqlens[job->n_seq] - job->cu_seqlens[0]);
    if (!vn_mul(rows, e->row_bytes, &bytes))
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu x %zu bytes", rows, e->row_bytes);
    int rc = vn_buf_resize(&job->out, bytes, err);
    if (rc == VN_OK)
        rc = vn_buf_resize(&job->outcome, n, err);
    if (rc == VN_OK)
        rc = vn_buf_resize(&s->cu, 2 * n * sizeof(int32_t), err); /* each slice: n + 1 */
    if (rc == VN_OK)
        rc = vn_buf_resize(&s->bad, n, err);
    if (rc == VN_OK && n)
        memset(s->bad.data, 0, n);
    return rc;
}

/* The end of the next slice, which begins with record *from or, where that is too long, behind
 * it; 0: there is none. */
static int64_t next_slice(const struct vn_engine *e, const struct vn_job *job, int64_t *from) {
    while (*from < job->n_seq && job->outcome.data[*from] == VN_REC_TOO_LONG)
        ++*from;
    return *from < job->n_seq ? slice_end(e, job, *from) : 0;
}

/* Says what the copies of a job come to; each piece begins at a multiple of VN_ALIGN, and a
 * slice has two in and two out. */
static int expect_copies(const struct vn_engine *e, const struct slot *s,
                         struct vn_error *err) {
    const struct vn_job *job = s->job;
    const size_t tokens = (size_t)(job->cu_seqlens[job->n_seq] - job->cu_seqlens[0]);
    size_t pieces = 0;
    if (!e->b->ops.expect)
        return VN_OK;
    for (int64_t from = 0, to; (to = next_slice(e, job, &from)) != 0; from = to)
        pieces += 2 * VN_ALIGN;
    return e->b->ops.expect(e->b, tokens * sizeof(uint16_t) + s->cu.len + pieces,
                            job->out.len + s->bad.len + pieces, err);
}

/* Queues the whole job, slice by slice. */
static int queue_job(struct vn_engine *e, struct slot *s, struct vn_error *err) {
    int32_t *cu = (int32_t *)(void *)s->cu.data;
    int rc = VN_OK;
    for (int64_t from = 0, to; rc == VN_OK && (to = next_slice(e, s->job, &from)) != 0;
         from = to) {
        rc = queue_slice(e, s, from, to, cu, err);
        cu += to - from + 1;
    }
    return rc;
}

int vn_engine_submit(struct vn_engine *e, struct vn_job *job, struct vn_error *err) {
    if (e->in_flight == VN_SLOTS)
        return vn_fail(err, VN_EINTERNAL, "a job too many: %d are in flight", VN_SLOTS);
    int slot = (e->first + e->in_flight) % VN_SLOTS;
    struct slot *s = &e->slots[slot];
    int64_t longest = 0;
    s->job = job;
    int rc = make_room(e, s, err);
    if (rc == VN_OK)
        rc = look(e, job, &longest, err);
    if (rc == VN_OK)
        rc = rope_grow(e, longest, slot, err);
    if (rc == VN_OK)
        rc = expect_copies(e, s, err);
    if (rc < 0)
        return rc;
    rc = queue_job(e, s, err);
    int marked = e->b->ops.mark(e->b, slot, rc < 0 ? NULL : err);
    if (rc < 0 && marked == VN_OK) /* the job's memory is the caller's again: nothing may */
        marked = e->b->ops.wait(e->b, slot, NULL); /* write to it any more */
    rc = rc < 0 ? rc : marked;
    if (rc == VN_OK)
        e->in_flight++;
    return rc;
}

/* ---- collect --------------------------------------------------------------------- */

/* A finite number beyond the range of half becomes an infinity there: its exponent is all
 * ones, and one more carries into the sign's place. Four at a time. */
static bool overflowed(const uint8_t *half, int64_t n) {
    const uint64_t exponents = 0x7c007c007c007c00, one = 0x0400040004000400;
    uint64_t any = 0;
    int64_t i = 0;
    for (; i + 4 <= n; i += 4)
        any |= (vn_load64(half + 2 * i) & exponents) + one;
    for (; i < n; i++)
        any |= (vn_load16(half + 2 * i) & 0x7c00u) + 0x0400u;
    return any & 0x8000800080008000;
}

/* Settles the outcome of every record, and clears the rows of those that are not ok. */
static void settle(const struct vn_engine *e, const struct slot *s) {
    struct vn_job *job = s->job;
    const bool pooled = e->opts.pool != VN_POOL_NONE;
    for (int64_t i = 0; i < job->n_seq; i++) {
        uint8_t *outcome = &job->outcome.data[i];
        int64_t row = pooled ? i : job->cu_seqlens[i] - job->cu_seqlens[0];
        int64_t rows = pooled ? 1 : length(job, i);
        uint8_t *out = job->out.data + (size_t)row * e->row_bytes;
        if (*outcome == VN_REC_OK &&
            (s->bad.data[i] ||
             (e->opts.out_type == VN_F16 && overflowed(out, rows * e->config.d_model))))
            *outcome = VN_REC_NOT_FINITE;
        if (*outcome != VN_REC_OK && rows)
            memset(out, 0, (size_t)rows * e->row_bytes);
    }
}

int vn_engine_collect(struct vn_engine *e, struct vn_job **job, struct vn_error *err) {
    if (!e->in_flight)
        return 0;
    struct slot *s = &e->slots[e->first];
    int rc = e->b->ops.wait(e->b, e->first, err);
    if (rc < 0)
        return rc;
    settle(e, s);
    *job = s->job;
    e->first = (e->first + 1) % VN_SLOTS;
    e->in_flight--;
    return 1;
}
