/* load.cu - weights on their way to the device, while the first layers compute.
 *
 * Weights lie in a mapped file, and a copy from memory that is not pinned would pass
 * through the driver's own staging, one thread at a time. Instead a few reader threads
 * take pieces of what was asked for, in that order, copy them into pinned memory of their
 * own and queue the rest on a stream of their own: the copy to the device, and the
 * conversion where the types differ. Who needs a weight first waits until all of its
 * pieces are queued, and then has the compute stream wait for the readers' streams: the
 * host does not wait for the device. As pieces go in order of asking, layer 0 computes
 * while layer 20 is read.
 *
 * Weights live in blocks, each one cudaMalloc: a model has hundreds. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "cuda_int.h"

#define MAX_READERS 8
#define MIN_READERS 2
#define PIECE ((size_t)8 << 20)       /* bytes; two pinned buffers of it per reader */
#define RAW_SMALL ((size_t)64 << 10)
#define BLOCK_MIN ((size_t)32 << 20)  /* the first block; others are larger */
#define BLOCK_MAX ((size_t)256 << 20)
#define WEIGHT_ALIGN 256

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22 /* Linux 5.14; others refuse it */
#endif

struct job {
    const char *host;
    char *device;
    enum vn_dtype from, to;
    int64_t n, next; /* elements, and the first that nobody has taken */
    struct vn_arrival *arrival;
};

struct block {
    char *p;
    size_t cap, used;
    int live; /* pieces of it that have not been released */
};

struct reader {
    struct vn_load *load;
    pthread_t thread;
    cudaStream_t stream;
    cudaEvent_t passed;  /* for who waits for this stream */
    cudaEvent_t sent[2]; /* the buffer may be filled again */
    char *pinned[2];
    void *raw[2]; /* on the device, before conversion; made at need, */
    size_t raw_bytes[2]; /* small or PIECE */
    int turn;
};

struct vn_load {
    int index; /* of the device */
    pthread_mutex_t lock;
    pthread_cond_t work, progress;
    struct job *jobs; /* [first, n) are to be done */
    size_t first, n, cap;
    bool stop;
    struct vn_error err; /* the first failure; err.status is VN_OK before */
    struct vn_loading *times;
    double began; /* when the first job came */
    int n_readers;
    struct reader readers[MAX_READERS];
    struct block *blocks;
    size_t n_blocks;
};

static double now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static int failed(cudaError_t e, const char *what, struct vn_error *err) {
    return vn_fail(err, vn_cuda_status(e), "cuda: %s: %s", what, cudaGetErrorString(e));
}

/* ---- memory ---------------------------------------------------------------------- */

/* Waits for everything that may still use released weights. */
static void settle(struct vn_cuda *c) {
    for (int i = 0; i < c->load->n_readers; i++)
        cudaStreamSynchronize(c->load->readers[i].stream);
    cudaStreamSynchronize(c->compute);
}

static int block_new(struct vn_cuda *c, size_t need, struct vn_error *err) {
    struct vn_load *l = c->load;
    size_t cap = l->n_blocks < 4 ? BLOCK_MIN << l->n_blocks : BLOCK_MAX;
    cap = cap > BLOCK_MAX ? BLOCK_MAX : cap;
    void *p = realloc(l->blocks, (l->n_blocks + 1) * sizeof *l->blocks), *memory;
    if (!p)
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu bytes",
                       (l->n_blocks + 1) * sizeof *l->blocks);
    l->blocks = (struct block *)p;
    /* a device that is nearly full may have room for this one alone */
    int rc = vn_cuda_alloc(&c->base, need > cap ? need : cap, &memory, err);
    if (rc && need < cap)
        rc = vn_cuda_alloc(&c->base, cap = need, &memory, err);
    if (rc)
        return rc;
    struct block b = {(char *)memory, need > cap ? need : cap, 0, 0};
    l->blocks[l->n_blocks++] = b;
    return VN_OK;
}

int vn_load_alloc(struct vn_cuda *c, size_t bytes, void **out, struct vn_error *err) {
    struct vn_load *l = c->load;
    size_t need = (bytes + WEIGHT_ALIGN - 1) & ~(size_t)(WEIGHT_ALIGN - 1), i = 0;
    *out = NULL;
    while (i < l->n_blocks && l->blocks[i].cap - l->blocks[i].used < need)
        i++;
    if (i == l->n_blocks) {
        int rc = block_new(c, need, err);
        if (rc)
            return rc;
    }
    struct block *b = &l->blocks[i];
    *out = b->p + b->used;
    b->used += need;
    b->live++;
    return VN_OK;
}

void vn_load_release(struct vn_cuda *c, void *p) {
    struct vn_load *l = c->load;
    for (size_t i = 0; p && i < l->n_blocks; i++) {
        struct block *b = &l->blocks[i];
        if ((char *)p < b->p || (char *)p >= b->p + b->cap)
            continue;
        if (--b->live == 0) {
            settle(c);
            b->used = 0;
        }
        return;
    }
}

/* ---- readers --------------------------------------------------------------------- */

/* Device memory for what is converted: often just a bias, seldom whole pieces. */
static cudaError_t raw_room(struct reader *r, int turn, size_t bytes) {
    if (bytes <= r->raw_bytes[turn])
        return cudaSuccess;
    size_t want = bytes <= RAW_SMALL ? RAW_SMALL : PIECE;
    cudaFree(r->raw[turn]);
    r->raw[turn] = NULL;
    r->raw_bytes[turn] = 0;
    cudaError_t e = cudaMalloc(&r->raw[turn], want);
    if (!e)
        r->raw_bytes[turn] = want;
    return e;
}

/* Copies and converts m elements from element `at` on. */
static int carry(struct reader *r, const struct job *j, int64_t at, int64_t m,
                 struct vn_error *err) {
    size_t size = vn_dtype_size(j->from), bytes = (size_t)m * size;
    const char *host = j->host + (size_t)at * size;
    char *device = j->device + (size_t)at * vn_dtype_size(j->to);
    const int turn = r->turn;
    r->turn ^= 1;
    cudaError_t e = cudaEventSynchronize(r->sent[turn]);
    if (!e && j->from != j->to)
        e = raw_room(r, turn, bytes);
    if (e)
        return failed(e, "weights", err);
    /* the pages of a mapped file one by one would be a fault each */
    size_t page = (uintptr_t)host & (size_t)(sysconf(_SC_PAGESIZE) - 1);
    (void)madvise((void *)(host - page), bytes + page, MADV_POPULATE_READ);
    memcpy(r->pinned[turn], host, bytes);
    e = cudaMemcpyAsync(j->from == j->to ? device : r->raw[turn], r->pinned[turn], bytes,
                        cudaMemcpyHostToDevice, r->stream);
    if (e)
        return failed(e, "weights", err);
    if (j->from != j->to) {
        int rc = vn_cuda_cast_on(r->stream, r->raw[turn], j->from, device, j->to, m, err);
        if (rc)
            return rc;
    }
    e = cudaEventRecord(r->sent[turn], r->stream);
    return e ? failed(e, "weights", err) : VN_OK;
}

/* Pinned memory is made by the thread that fills it: it takes time, and several at once
 * take less. */
static int reader_start(struct reader *r, struct vn_error *err) {
    cudaError_t e = cudaSetDevice(r->load->index);
    for (int i = 0; i < 2 && !e; i++)
        e = cudaHostAlloc((void **)&r->pinned[i], PIECE, 0);
    return e ? failed(e, "cannot allocate memory for weights", err) : VN_OK;
}

/* Takes a piece of the first job; its elements, 0 when the end has come. */
static int64_t take(struct vn_load *l, struct job *j, int64_t *at) {
    while (l->first == l->n && !l->stop)
        pthread_cond_wait(&l->work, &l->lock);
    if (l->stop)
        return 0;
    struct job *first = &l->jobs[l->first];
    int64_t step = (int64_t)(PIECE / vn_dtype_size(first->from));
    int64_t m = first->n - first->next < step ? first->n - first->next : step;
    *at = first->next;
    *j = *first;
    first->next += m;
    if (first->next == first->n)
        l->first++;
    return m;
}

static void *reader_main(void *arg) {
    struct reader *r = (struct reader *)arg;
    struct vn_load *l = r->load;
    struct vn_error err = {};
    struct job j;
    int64_t at, m;
    int rc = reader_start(r, &err);
    pthread_mutex_lock(&l->lock);
    for (;;) {
        if (rc && !l->err.status)
            l->err = err;
        m = take(l, &j, &at);
        if (!m)
            break;
        bool wanted = !l->err.status && !j.arrival->dropped;
        pthread_mutex_unlock(&l->lock);
        if (wanted)
            rc = carry(r, &j, at, m, &err);
        double ended = now();
        pthread_mutex_lock(&l->lock);
        l->times->upload = ended - l->began;
        l->times->bytes += m * (int64_t)vn_dtype_size(j.from);
        if (rc && !l->err.status)
            l->err = err; /* before anybody learns that this piece is done with */
        if (--j.arrival->missing == 0)
            pthread_cond_broadcast(&l->progress);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

static int reader_new(struct vn_load *l, struct reader *r, struct vn_error *err) {
    r->load = l;
    cudaError_t e = cudaStreamCreateWithFlags(&r->stream, cudaStreamNonBlocking);
    if (!e)
        e = cudaEventCreateWithFlags(&r->passed, cudaEventDisableTiming);
    for (int i = 0; i < 2 && !e; i++)
        e = cudaEventCreateWithFlags(&r->sent[i],
                                     cudaEventDisableTiming | cudaEventBlockingSync);
    if (e)
        return failed(e, "cannot start a stream for weights", err);
    int why = pthread_create(&r->thread, NULL, reader_main, r);
    return why ? vn_fail_errno(err, VN_EFAIL, why, "cannot start a thread") : VN_OK;
}

static void reader_release(struct reader *r) {
    for (int i = 0; i < 2; i++) {
        if (r->sent[i])
            cudaEventDestroy(r->sent[i]);
        cudaFreeHost(r->pinned[i]);
        cudaFree(r->raw[i]);
    }
    if (r->passed)
        cudaEventDestroy(r->passed);
    if (r->stream)
        cudaStreamDestroy(r->stream);
}

/* ---- jobs ------------------------------------------------------------------------ */

/* Room for one more job. Those that were done stay in front until all are. */
static int job_room(struct vn_load *l, struct vn_error *err) {
    if (l->first == l->n)
        l->first = l->n = 0;
    if (l->n < l->cap)
        return VN_OK;
    size_t cap = l->cap ? 2 * l->cap : 256;
    void *p = realloc(l->jobs, cap * sizeof *l->jobs);
    if (!p)
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu bytes", cap * sizeof *l->jobs);
    l->jobs = (struct job *)p;
    l->cap = cap;
    return VN_OK;
}

int vn_load_add(struct vn_cuda *c, const void *host, enum vn_dtype from, void *device,
                enum vn_dtype to, int64_t n, struct vn_arrival *a, struct vn_error *err) {
    struct vn_load *l = c->load;
    int64_t step = (int64_t)(PIECE / vn_dtype_size(from));
    if (!n)
        return VN_OK;
    struct job j = {(const char *)host, (char *)device, from, to, n, 0, a};
    pthread_mutex_lock(&l->lock);
    int rc = job_room(l, err);
    if (!rc) {
        if (!l->began)
            l->began = now();
        l->jobs[l->n++] = j;
        a->missing += (n + step - 1) / step;
        a->passed = false;
        pthread_cond_broadcast(&l->work);
    }
    pthread_mutex_unlock(&l->lock);
    return rc;
}

/* Waits until nobody will touch the host memory of these jobs, or the arrival, again. */
static int arrived(struct vn_load *l, struct vn_arrival *a, bool drop,
                   struct vn_error *err) {
    pthread_mutex_lock(&l->lock);
    a->dropped |= drop;
    while (a->missing)
        pthread_cond_wait(&l->progress, &l->lock);
    int rc = l->err.status;
    if (rc)
        vn_fail(err, rc, "%s", l->err.msg);
    pthread_mutex_unlock(&l->lock);
    return rc;
}

int vn_load_need(struct vn_cuda *c, struct vn_arrival *a, struct vn_error *err) {
    struct vn_load *l = c->load;
    if (a->passed)
        return VN_OK;
    int rc = arrived(l, a, false, err);
    if (rc)
        return rc;
    for (int i = 0; i < l->n_readers; i++) {
        struct reader *r = &l->readers[i];
        cudaError_t e = cudaEventRecord(r->passed, r->stream);
        if (!e)
            e = cudaStreamWaitEvent(c->compute, r->passed, 0);
        if (e)
            return failed(e, "weights", err);
    }
    a->passed = true;
    return VN_OK;
}

void vn_load_drop(struct vn_cuda *c, struct vn_arrival *a) {
    if (!a->passed)
        (void)arrived(c->load, a, true, NULL);
}

/* ---- opening and closing --------------------------------------------------------- */

int vn_load_open(struct vn_cuda *c, int threads, struct vn_loading *times,
                 struct vn_error *err) {
    struct vn_load *l = c->load = (struct vn_load *)calloc(1, sizeof *l);
    int wanted = threads < MIN_READERS   ? MIN_READERS
                 : threads > MAX_READERS ? MAX_READERS
                                         : threads;
    if (!l)
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu bytes", sizeof *l);
    l->index = c->index;
    l->times = times;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->progress, NULL);
    while (l->n_readers < wanted) {
        int rc = reader_new(l, &l->readers[l->n_readers], err);
        if (rc) {
            reader_release(&l->readers[l->n_readers]);
            return rc;
        }
        l->n_readers++;
    }
    return VN_OK;
}

void vn_load_close(struct vn_cuda *c) {
    struct vn_load *l = c->load;
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_readers; i++)
        pthread_join(l->readers[i].thread, NULL);
    for (int i = 0; i < l->n_readers; i++)
        cudaStreamSynchronize(l->readers[i].stream);
    for (int i = 0; i < l->n_readers; i++)
        reader_release(&l->readers[i]);
    for (size_t i = 0; i < l->n_blocks; i++)
        cudaFree(l->blocks[i].p);
    pthread_cond_destroy(&l->progress);
    pthread_cond_destroy(&l->work);
    pthread_mutex_destroy(&l->lock);
    free(l->blocks);
    free(l->jobs);
    free(l);
    c->load = NULL;
}
