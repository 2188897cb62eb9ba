#include "embedder.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "carry.h"
#include "mem.h"
#include "windows.h"

/* The sequences of a batch whose long records are there in windows. */
struct sequences {
    struct vn_buf offsets; /* [n + 1] i32: what the payload's are where rows are sequences */
    struct vn_buf first;   /* [B + 1] i32: the one that a row begins with */
};

struct vn_embedder {
    struct vn_reader *reader;
    struct vn_fleet *fleet;
    bool pooled;
    enum vn_pooling pool;
    int64_t window; /* tokens of a window; 0: all rows are sequences */
    int32_t d;
    int64_t row_bytes; /* of a row of the engine's output */
    int64_t job_bytes; /* as planned, likewise: */
    bool full_jobs;
    int payload;       /* column "tokens" */
    int status;        /* which may be one more than the input has */
    bool status_added;

    /* the thread that reads */
    pthread_t feeder;
    bool started, ended;
    struct vn_batch *batches; /* [n_batches]: one may be at work for each job, one is held by */
    struct vn_batch **spare;  /* the caller, one is being read; [n_spare] are neither */
    struct sequences *sequences; /* [n_batches] */
    int n_batches, n_spare;
    pthread_mutex_t lock; /* over spare, n_spare, stop */
    pthread_cond_t given; /* a batch is spare again */
    bool stop;
    int feed_rc; /* how reading ended; set before the fleet is told that no more comes */
    struct vn_error feed_err;

    /* the caller's */
    struct vn_carry carry;
    struct vn_batch *held;  /* to be given back at the next call */
    struct vn_buf offsets;  /* [B + 1] i32 of the lists */
    struct vn_buf validity; /* [B] bits of the vectors */
    uint64_t count[VN_REC_NOT_FINITE + 1];
};

/* ---- schema ---------------------------------------------------------------------- */

static int find_columns(struct vn_embedder *e, const struct vn_schema *in,
                        struct vn_error *err) {
    static const enum vn_type tokens[] = {VN_LIST, VN_UINT16}, status[] = {VN_UTF8};
    e->payload = vn_schema_require(in, "tokens", tokens, 2, err);
    if (e->payload < 0)
        return e->payload;
    e->status = vn_schema_find(in, "status");
    e->status_added = e->status < 0;
    if (e->status_added) {
        e->status = in->n_fields;
        return VN_OK;
    }
    int rc = vn_schema_require(in, "status", status, 1, err);
    return rc < 0 ? rc : VN_OK;
}

static int fill_schema(const struct vn_embedder *e, const struct vn_schema *in,
                       enum vn_dtype type, struct vn_schema *out, struct vn_error *err) {
    const enum vn_type rows[] = {VN_LIST, VN_FIXED_LIST,
                                 type == VN_F16 ? VN_FLOAT16 : VN_FLOAT32};
    const int32_t sizes[] = {0, e->d, 0};
    const struct vn_carry_payload vectors = {rows + 1, sizes + 1, 2, true};
    const struct vn_carry_payload lists = {rows, sizes, 3, false};
    int rc = vn_carry_schema(in, e->payload, e->pooled ? &vectors : &lists, out, err);
    if (rc == VN_OK && e->status_added)
        rc = vn_schema_add_flat(out, "status", VN_UTF8, err);
    return rc;
}

/* Are there windows, and can they be put together? */
static int find_windows(struct vn_embedder *e, const struct vn_schema *in,
                        struct vn_error *err) {
    char text[32], *end = text;
    if (!vn_schema_provenance(in, "window", text, sizeof text))
        return VN_OK;
    e->window = strtoll(text, &end, 10);
    if (*end || e->window <= VN_WINDOW_SPECIALS || e->window > INT32_MAX)
        return vn_fail(err, VN_EINCOMPAT, "windows of '%s' tokens", text);
    if (!e->pooled)
        return vn_fail(err, VN_EINCOMPAT, "long records are there in windows, which have no "
                       "token rows in common: pool them");
    return VN_OK;
}

static int make_batches(struct vn_embedder *e, struct vn_error *err) {
    const int n = vn_fleet_window(e->fleet) + 2;
    e->batches = vn_calloc((size_t)n, sizeof *e->batches, err);
    e->spare = vn_calloc((size_t)n, sizeof *e->spare, err);
    e->sequences = vn_calloc((size_t)n, sizeof *e->sequences, err);
    if (!e->batches || !e->spare || !e->sequences)
        return VN_EFAIL;
    e->n_batches = e->n_spare = n;
    for (int i = 0; i < n; i++) {
        vn_batch_init(&e->batches[i]);
        e->spare[i] = &e->batches[n - 1 - i];
    }
    return VN_OK;
}

int vn_embedder_new(struct vn_reader *reader, struct vn_fleet *fleet,
                    const struct vn_engine_options *opts, int d, struct vn_schema *out,
                    struct vn_embedder **embedder, struct vn_error *err) {
    const bool pooled = opts->pool != VN_POOL_NONE;
    const struct vn_schema *in = vn_reader_schema(reader);
    vn_schema_init(out, pooled ? VN_KIND_VECTORS : VN_KIND_EMBEDDINGS);
    struct vn_embedder *e = vn_calloc(1, sizeof *e, err);
    if (!e)
        return VN_EFAIL;
    e->reader = reader;
    e->fleet = fleet;
    e->pooled = pooled;
    e->pool = opts->pool;
    e->d = d;
    e->row_bytes = d * (int64_t)vn_dtype_size(pooled ? VN_F32 : opts->out_type);
    e->job_bytes = vn_engine_plan(vn_fleet_engine(fleet, 0))->job_bytes;
    e->full_jobs = vn_engine_plan(vn_fleet_engine(fleet, 0))->full_jobs;
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->given, NULL);
    int rc = find_columns(e, in, err);
    if (rc == VN_OK)
        rc = find_windows(e, in, err);
    if (rc == VN_OK)
        rc = fill_schema(e, in, pooled ? VN_F32 : opts->out_type, out, err);
    if (rc == VN_OK)
        rc = vn_carry_new(&e->carry, e->payload, out, err);
    if (rc == VN_OK)
        rc = make_batches(e, err);
    if (rc == VN_OK)
        rc = vn_reader_interruptible(reader, err);
    if (rc < 0) {
        vn_embedder_free(e);
        return rc;
    }
    *embedder = e;
    return VN_OK;
}

void vn_embedder_free(struct vn_embedder *e) {
    if (!e)
        return;
    if (e->started && !e->ended) {
        pthread_mutex_lock(&e->lock);
        e->stop = true;
        pthread_cond_signal(&e->given);
        pthread_mutex_unlock(&e->lock);
        vn_reader_interrupt(e->reader);
        vn_fleet_stop(e->fleet); /* also ends all use of the batches */
    }
    if (e->started)
        pthread_join(e->feeder, NULL);
    for (int i = 0; i < e->n_batches; i++) {
        vn_batch_release(&e->batches[i]);
        vn_buf_release(&e->sequences[i].offsets);
        vn_buf_release(&e->sequences[i].first);
    }
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->given);
    vn_carry_release(&e->carry);
    vn_buf_release(&e->offsets);
    vn_buf_release(&e->validity);
    free(e->batches);
    free(e->sequences);
    free(e->spare);
    free(e);
}

uint64_t vn_embedder_count(const struct vn_embedder *e, enum vn_outcome outcome) {
    return e->count[outcome];
}

/* ---- the thread that reads ------------------------------------------------------- */

/* The batch that was given back last is taken first: what is large is split into parts, and
 * then only few batches ever hold memory. NULL when it is time to stop. */
static struct vn_batch *take_batch(struct vn_embedder *e) {
    pthread_mutex_lock(&e->lock);
    while (!e->n_spare && !e->stop)
        pthread_cond_wait(&e->given, &e->lock);
    struct vn_batch *b = e->stop ? NULL : e->spare[--e->n_spare];
    pthread_mutex_unlock(&e->lock);
    return b;
}

static void give_batch(struct vn_embedder *e, struct vn_batch *b) {
    pthread_mutex_lock(&e->lock);
    e->spare[e->n_spare++] = b;
    pthread_cond_signal(&e->given);
    pthread_mutex_unlock(&e->lock);
}

static int at_batch(const struct vn_embedder *e, const struct vn_batch *b,
                    struct vn_error *err) {
    return vn_prefix(err, "'%s': batch %llu", vn_reader_name(e->reader),
                     (unsigned long long)b->number);
}

/* Finds the sequences in the rows of a batch. */
static int find_sequences(struct vn_embedder *e, const struct vn_batch *b,
                          struct vn_error *err) {
    struct sequences *s = &e->sequences[b - e->batches];
    const int32_t *offsets = b->columns[e->payload].level[0].offsets;
    int32_t n = 0;
    s->offsets.len = s->first.len = 0;
    int rc = vn_buf_append(&s->first, &n, sizeof n, err);
    for (int64_t i = 0; i < b->n_rows && rc == VN_OK; i++) {
        const int32_t tokens = offsets[i + 1] - offsets[i];
        const int32_t count = (int32_t)vn_windows_count(tokens, e->window);
        for (int32_t k = 0; k < count && rc == VN_OK; k++) {
            const int32_t from = offsets[i] + k * (int32_t)e->window;
            rc = vn_buf_append(&s->offsets, &from, sizeof from, err);
        }
        n += count;
        if (rc == VN_OK)
            rc = vn_buf_append(&s->first, &n, sizeof n, err);
    }
    return rc == VN_OK ? vn_buf_append(&s->offsets, &offsets[b->n_rows], sizeof *offsets, err)
                       : rc;
}

/* Where the sequences of a batch begin, and which one a row begins with; NULL: row i is
 * sequence i. */
static const int32_t *sequences_of(const struct vn_embedder *e, const struct vn_batch *b,
                                   const int32_t **first) {
    const struct sequences *s = &e->sequences[b - e->batches];
    *first = e->window ? (const int32_t *)(const void *)s->first.data : NULL;
    return e->window ? (const int32_t *)(const void *)s->offsets.data
                     : b->columns[e->payload].level[0].offsets;
}

/* Bytes that rows [from, to) make. */
static int64_t output_bytes(const struct vn_embedder *e, const int32_t *offsets,
                            const int32_t *first, int64_t from, int64_t to) {
    const int64_t rows = !e->pooled ? offsets[to] - offsets[from]
                         : first    ? first[to] - first[from]
                                    : to - from;
    return rows * e->row_bytes;
}

/* Hands over a batch, part by part: 1, or 0 when it is time to stop. */
static int feed_batch(struct vn_embedder *e, struct vn_batch *b, struct vn_error *err) {
    const struct vn_column *c = &b->columns[e->payload];
    const int64_t most = e->job_bytes;
    int rc = 1;
    if (c->level[0].null_count || c->level[1].null_count) {
        vn_fail(err, VN_EDATA, "column 'tokens' has nulls");
        return at_batch(e, b, err);
    }
    if (e->window && (rc = find_sequences(e, b, err)) < 0)
        return rc;
    const int32_t *first, *offsets = sequences_of(e, b, &first);
    const int64_t n = b->n_rows, all = output_bytes(e, offsets, first, 0, n);
    const int64_t full = most - most / 10; /* on average: a record is in one part */
    const int64_t enough = /* parts of about one size, rather than a small one at the end */
        all > most && !e->full_jobs ? all / ((all + full - 1) / full) + 1 : most;
    rc = 1;
    for (int64_t from = 0, to; from < n && rc > 0; from = to) {
        to = from + 1;
        while (to < n && output_bytes(e, offsets, first, from, to) < enough &&
               output_bytes(e, offsets, first, from, to + 1) <= most)
            to++;
        const int64_t begin = first ? first[from] : from, end = first ? first[to] : to;
        rc = vn_fleet_submit(e->fleet, c->level[1].values, offsets + begin, end - begin, b);
    }
    return rc;
}

static void *feed(void *arg) {
    struct vn_embedder *e = arg;
    struct vn_batch *b;
    int rc = 1;
    while (rc > 0 && (b = take_batch(e)) != NULL) {
        rc = vn_reader_next(e->reader, b, &e->feed_err);
        if (rc > 0)
            rc = feed_batch(e, b, &e->feed_err);
    }
    e->feed_rc = rc < 0 ? rc : VN_OK;
    vn_fleet_finish(e->fleet);
    return NULL;
}

/* ---- windows --------------------------------------------------------------------- */

/* The row that begins with sequence `at`, one of those that rows begin with. */
static int64_t row_of(const int32_t *first, int64_t n_rows, int64_t at) {
    int64_t lo = 0, hi = n_rows;
    while (lo < hi) {
        const int64_t mid = lo + (hi - lo) / 2;
        if (first[mid] < at)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

/* Makes a job of sequences, from `at` on, one of rows, from `row` on. */
static void put_together(const struct vn_embedder *e, struct vn_job *job, int64_t at,
                         int64_t row, const int32_t *first) {
    const struct vn_batch *in = job->user;
    const int32_t *offsets = in->columns[e->payload].level[0].offsets;
    float *vectors = (float *)(void *)job->out.data;
    int64_t n = 0;
    for (; first[row + n] < at + job->n_seq; n++) {
        const int64_t k = first[row + n] - at, count = first[row + n + 1] - first[row + n];
        uint8_t outcome = VN_REC_OK; /* of all windows; else, of the last that is not */
        for (int64_t i = k; i < k + count; i++)
            if (job->outcome.data[i] != VN_REC_OK)
                outcome = job->outcome.data[i];
        job->outcome.data[n] = outcome;
        if (outcome != VN_REC_OK)
            memset(vectors + n * e->d, 0, (size_t)e->d * sizeof *vectors);
        else if (count > 1 || n != k)
            vn_windows_merge(e->pool, vectors + k * e->d,
                             offsets[row + n + 1] - offsets[row + n], e->window, e->d,
                             vectors + n * e->d);
    }
    job->cu_seqlens = offsets + row;
    job->n_seq = n;
}

/* ---- columns of a part ----------------------------------------------------------- */

/* Token rows of the records that are ok, moved together, and their offsets. */
static int rows_column(struct vn_embedder *e, const struct vn_job *job, struct vn_column *c,
                       struct vn_error *err) {
    int rc = vn_buf_resize(&e->offsets, (size_t)(job->n_seq + 1) * sizeof(int32_t), err);
    if (rc < 0)
        return rc;
    int32_t *offsets = (int32_t *)(void *)e->offsets.data, n = 0;
    for (int64_t i = 0; i < job->n_seq; i++) {
        int32_t from = job->cu_seqlens[i] - job->cu_seqlens[0];
        int32_t rows = job->cu_seqlens[i + 1] - job->cu_seqlens[i];
        offsets[i] = n;
        if (job->outcome.data[i] != VN_REC_OK)
            continue;
        if (n != from)
            memmove(job->out.data + n * e->row_bytes, job->out.data + from * e->row_bytes,
                    (size_t)(rows * e->row_bytes));
        n += rows;
    }
    offsets[job->n_seq] = n;
    memset(c, 0, sizeof *c);
    c->level[0] = (struct vn_array){.length = job->n_seq, .offsets = offsets};
    c->level[1] = (struct vn_array){.length = n};
    c->level[2] = (struct vn_array){.length = (int64_t)n * e->d, .values = job->out.data};
    return VN_OK;
}

static int vectors_column(struct vn_embedder *e, const struct vn_job *job, struct vn_column *c,
                          struct vn_error *err) {
    int64_t nulls = 0;
    e->validity.len = 0;
    int rc = vn_buf_zeros(&e->validity, vn_bits_bytes(job->n_seq), err);
    if (rc < 0)
        return rc;
    for (int64_t i = 0; i < job->n_seq; i++) {
        if (job->outcome.data[i] == VN_REC_OK)
            vn_bit_set(e->validity.data, i);
        else
            nulls++;
    }
    vn_column_vectors(c, job->n_seq, e->d, job->out.data, nulls ? e->validity.data : NULL,
                      nulls);
    return VN_OK;
}

/* A status stays as it came, unless there was none, or the model cannot keep its promise. */
static int status_column(struct vn_embedder *e, const struct vn_job *job, int64_t from,
                         struct vn_column *out, struct vn_error *err) {
    const struct vn_batch *in = job->user;
    const struct vn_column *c = e->status_added ? NULL : &in->columns[e->status];
    struct vn_builder *b = &e->carry.columns[e->status];
    int rc = VN_OK;
    vn_builder_clear(b);
    for (int64_t i = 0; i < job->n_seq && rc == VN_OK; i++) {
        const enum vn_outcome outcome = job->outcome.data[i];
        const char *text = vn_outcome_name(outcome), *old = NULL;
        size_t n = strlen(text), n_old = 0;
        if (c && !vn_is_null(&c->level[0], from + i))
            old = vn_utf8_row(c, from + i, &n_old);
        if (old && (outcome == VN_REC_OK || !vn_status_has_result(old, n_old))) {
            text = old;
            n = n_old;
        }
        rc = vn_builder_add_bytes(b, text, n, err);
        e->count[outcome]++;
    }
    vn_builder_view(b, out);
    return rc;
}

/* ---- batches --------------------------------------------------------------------- */

static int build(struct vn_embedder *e, const struct vn_job *job, int64_t from,
                 struct vn_batch *out, struct vn_error *err) {
    int rc = vn_carry_rows(&e->carry, job->user, from, job->n_seq, e->status, out, err);
    if (rc == VN_OK)
        rc = status_column(e, job, from, &out->columns[e->status], err);
    if (rc < 0)
        return rc;
    struct vn_column *c = &out->columns[e->payload];
    return e->pooled ? vectors_column(e, job, c, err) : rows_column(e, job, c, err);
}

static int start(struct vn_embedder *e, struct vn_error *err) {
    int failed = pthread_create(&e->feeder, NULL, feed, e);
    e->started = !failed;
    return failed ? vn_fail_errno(err, VN_EFAIL, failed, "cannot start a thread") : VN_OK;
}

int vn_embedder_next(struct vn_embedder *e, struct vn_batch *out, struct vn_error *err) {
    struct vn_job *job;
    int rc = e->started ? VN_OK : start(e, err);
    if (rc < 0)
        return rc;
    if (e->held)
        give_batch(e, e->held);
    e->held = NULL;
    rc = vn_fleet_collect(e->fleet, &job, err);
    if (rc == 0) {
        e->ended = true;
        if (e->feed_rc < 0 && err)
            *err = e->feed_err;
        return e->feed_rc;
    }
    struct vn_batch *in = job->user;
    const int32_t *first, *offsets = sequences_of(e, in, &first);
    const int64_t at = job->cu_seqlens - offsets;
    const int64_t from = first ? row_of(first, in->n_rows, at) : at;
    if (rc == VN_EDATA) {
        vn_prefix(err, "from row %lld on", (long long)from);
        at_batch(e, in, err);
    }
    if (rc < 0)
        return rc;
    if (first)
        put_together(e, job, at, from, first);
    if (from + job->n_seq == in->n_rows)
        e->held = in;
    rc = build(e, job, from, out, err);
    return rc < 0 ? rc : 1;
}
