/* cuda.cu - one device: opening it, its memory, its queues, the copies in and out.
 *
 * Host memory that comes and goes is not pinned, so a copy from or to it would wait for
 * the queue. Both directions pass through pinned memory of ours: copy_in fills it at
 * once, copy_out leaves the last step, pinned to the caller's, to `wait`. Large results
 * also pass through device memory of ours, so that the caller may overwrite the source
 * while they travel on the stream `out`. What is staged between two marks is one struct
 * stage; stages go round, and their memory is kept. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cuda_int.h"

#define N_STAGES (VN_SLOTS + 1) /* one per outstanding mark, and the one being filled */
#define LARGE ((size_t)1 << 20) /* bytes from which results leave by the second stream \
                                 */
#define CHUNK ((size_t)1 << 20)
#define WAVE_ROWS 1024 /* rows per multiprocessor and slice: eight waves of 128-row tiles */

/* Memory handed out piece by piece and taken back all at once. */
struct chunk {
    struct chunk *next;
    char *p;
    size_t cap, used;
};
struct chunks {
    struct chunk *first;
    bool on_device;
};

struct landing { /* a copy_out on its way */
    void *host;
    const void *pinned;
    size_t bytes;
};

struct stage {
    struct chunks pinned, device;
    struct landing *landings;
    size_t n_landings, cap_landings;
    cudaEvent_t done;
    int slot; /* -1 when free or being filled */
};

struct vn_staging {
    struct stage
        stages[N_STAGES]; /* a ring: [oldest, oldest + n_marked) wait, then `now` */
    int oldest, n_marked;
};

/* ---- errors ---------------------------------------------------------------------- */

int vn_cuda_status(cudaError_t e) {
    switch (e) {
    case cudaSuccess: return VN_OK;
    case cudaErrorMemoryAllocation:
    case cudaErrorDevicesUnavailable: return VN_EBUSY;
    case cudaErrorNoDevice:
    case cudaErrorInvalidDevice: return VN_ENODEVICE;
    default: return VN_EFAIL;
    }
}

static int failed(cudaError_t e, const char *what, struct vn_error *err) {
    return vn_fail(err, vn_cuda_status(e), "cuda: %s: %s", what, cudaGetErrorString(e));
}

int vn_cuda_enter(struct vn_backend *b, struct vn_cuda **c, struct vn_error *err) {
    *c = (struct vn_cuda *)b;
    cudaError_t e = cudaSetDevice((*c)->index);
    return e ? failed(e, "cannot use the device", err) : VN_OK;
}

int vn_cuda_launched(const char *op, int64_t rows, int64_t width, struct vn_error *err) {
    cudaError_t e = cudaGetLastError();
    if (e)
        return vn_fail(err, vn_cuda_status(e), "cuda: %s of %lld x %lld: %s", op,
                       (long long)rows, (long long)width, cudaGetErrorString(e));
    return VN_OK;
}

/* ---- memory ---------------------------------------------------------------------- */

int vn_cuda_alloc(struct vn_backend *b, size_t bytes, void **out, struct vn_error *err) {
    struct vn_cuda *c;
    *out = NULL;
    int rc = vn_cuda_enter(b, &c, err);
    if (rc)
        return rc;
    cudaError_t e = cudaMalloc(out, bytes ? bytes : 1);
    if (!e)
        return VN_OK;
    size_t free_bytes = 0, total = 0;
    (void)cudaGetLastError(); /* running out of memory is no lasting state */
    cudaMemGetInfo(&free_bytes, &total);
    *out = NULL;
    return vn_fail(err, vn_cuda_status(e),
                   "cuda: cannot allocate %zu bytes, %zu of %zu free: %s", bytes,
                   free_bytes, total, cudaGetErrorString(e));
}

void vn_cuda_release(struct vn_backend *b, void *p) {
    if (p) {
        cudaSetDevice(((struct vn_cuda *)b)->index);
        cudaFree(p);
    }
}

static int available(struct vn_backend *b, size_t *bytes, struct vn_error *err) {
    struct vn_cuda *c;
    size_t total;
    int rc = vn_cuda_enter(b, &c, err);
    if (rc)
        return rc;
    cudaError_t e = cudaMemGetInfo(bytes, &total);
    return e ? failed(e, "cannot ask for the free memory", err) : VN_OK;
}

static void chunk_free(const struct chunks *s, struct chunk *k) {
    if (s->on_device)
        cudaFree(k->p);
    else
        cudaFreeHost(k->p);
    free(k);
}

static int chunk_new(struct chunks *s, size_t cap, struct vn_error *err) {
    struct chunk *k = (struct chunk *)calloc(1, sizeof *k);
    if (!k)
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu bytes", sizeof *k);
    void *p = NULL;
    cudaError_t e = s->on_device ? cudaMalloc(&p, cap) : cudaHostAlloc(&p, cap, 0);
    if (e) {
        (void)cudaGetLastError();
        free(k);
        return vn_fail(err, s->on_device ? VN_EBUSY : VN_EFAIL,
                       "cuda: cannot allocate %zu bytes of %s memory: %s", cap,
                       s->on_device ? "device" : "pinned", cudaGetErrorString(e));
    }
    k->p = (char *)p;
    k->cap = cap;
    k->next = s->first;
    s->first = k;
    return VN_OK;
}

static int chunks_take(struct chunks *s, size_t bytes, void **out, struct vn_error *err) {
    size_t need = (bytes + VN_ALIGN - 1) & ~(size_t)(VN_ALIGN - 1);
    if (!s->first || s->first->cap - s->first->used < need) {
        int rc = chunk_new(s, need > CHUNK ? need : CHUNK, err);
        if (rc)
            return rc;
    }
    *out = s->first->p + s->first->used;
    s->first->used += need;
    return VN_OK;
}

/* Takes everything back. What took several chunks gets one for all next time, so that
 * after a few batches nothing is allocated. */
static int chunks_reset(struct chunks *s, struct vn_error *err) {
    if (!s->first)
        return VN_OK;
    s->first->used = 0;
    if (!s->first->next)
        return VN_OK;
    size_t cap = 0;
    for (struct chunk *k = s->first, *next; k; k = next) {
        next = k->next;
        cap += k->cap;
        chunk_free(s, k);
    }
    s->first = NULL;
    return chunk_new(s, cap, err);
}

static void chunks_release(struct chunks *s) {
    for (struct chunk *k = s->first, *next; k; k = next) {
        next = k->next;
        chunk_free(s, k);
    }
    s->first = NULL;
}

/* ---- copies and marks ------------------------------------------------------------ */

static struct stage *now(struct vn_cuda *c) {
    struct vn_staging *g = c->staging;
    return &g->stages[(g->oldest + g->n_marked) % N_STAGES];
}

static int copy_in(struct vn_backend *b, void *device, const void *host, size_t bytes,
                   struct vn_error *err) {
    struct vn_cuda *c;
    void *pinned = NULL;
    int rc = vn_cuda_enter(b, &c, err);
    if (!rc)
        rc = chunks_take(&now(c)->pinned, bytes, &pinned, err);
    if (rc || !bytes)
        return rc;
    memcpy(pinned, host, bytes);
    cudaError_t e =
        cudaMemcpyAsync(device, pinned, bytes, cudaMemcpyHostToDevice, c->compute);
    return e ? failed(e, "copy to the device", err) : VN_OK;
}

/* Room for one more landing. */
static int landing_new(struct stage *s, struct landing **out, struct vn_error *err) {
    if (s->n_landings == s->cap_landings) {
        size_t cap = s->cap_landings ? 2 * s->cap_landings : 16;
        void *p = realloc(s->landings, cap * sizeof *s->landings);
        if (!p)
            return vn_fail(err, VN_EFAIL, "cannot allocate %zu bytes",
                           cap * sizeof *s->landings);
        s->landings = (struct landing *)p;
        s->cap_landings = cap;
    }
    *out = &s->landings[s->n_landings];
    return VN_OK;
}

/* Device to pinned by way of staging memory on the device and the stream `out`. */
static int leave(struct vn_cuda *c, void *pinned, void *staged, const void *device,
                 size_t bytes, struct vn_error *err) {
    const int stamp = c->base.copy_stamp;
    int rc = VN_OK;
    cudaError_t e =
        cudaMemcpyAsync(staged, device, bytes, cudaMemcpyDeviceToDevice, c->compute);
    if (!e)
        e = cudaEventRecord(c->handoff, c->compute);
    if (!e)
        e = cudaStreamWaitEvent(c->out, c->handoff, 0);
    if (!e && stamp)
        rc = vn_cuda_stamp_on(c, c->out, stamp, err);
    if (!e && !rc)
        e = cudaMemcpyAsync(pinned, staged, bytes, cudaMemcpyDeviceToHost, c->out);
    if (!e && !rc && stamp)
        rc = vn_cuda_stamp_on(c, c->out, stamp + 1, err);
    c->base.copy_stamp = 0;
    return e ? failed(e, "copy from the device", err) : rc;
}

static int copy_out(struct vn_backend *b, void *host, const void *device, size_t bytes,
                    struct vn_error *err) {
    struct vn_cuda *c;
    struct landing *l = NULL;
    void *pinned = NULL, *staged = NULL;
    int rc = vn_cuda_enter(b, &c, err);
    if (rc || !bytes)
        return rc;
    struct stage *s = now(c);
    rc = landing_new(s, &l, err);
    if (!rc)
        rc = chunks_take(&s->pinned, bytes, &pinned, err);
    if (!rc && bytes >= LARGE)
        rc = chunks_take(&s->device, bytes, &staged, err);
    if (rc)
        return rc;
    if (bytes >= LARGE) {
        rc = leave(c, pinned, staged, device, bytes, err);
    } else {
        cudaError_t e =
            cudaMemcpyAsync(pinned, device, bytes, cudaMemcpyDeviceToHost, c->compute);
        rc = e ? failed(e, "copy from the device", err) : VN_OK;
    }
    if (rc)
        return rc;
    l->host = host;
    l->pinned = pinned;
    l->bytes = bytes;
    s->n_landings++;
    return VN_OK;
}

/* Waits for the oldest marked stage, hands its results over and frees it. */
static int finish_oldest(struct vn_cuda *c, struct vn_error *err) {
    struct vn_staging *g = c->staging;
    struct stage *s = &g->stages[g->oldest];
    cudaError_t e = cudaEventSynchronize(s->done);
    if (e)
        return failed(e, "the device stopped", err);
    for (size_t i = 0; i < s->n_landings; i++)
        memcpy(s->landings[i].host, s->landings[i].pinned, s->landings[i].bytes);
    s->n_landings = 0;
    s->slot = -1;
    g->oldest = (g->oldest + 1) % N_STAGES;
    g->n_marked--;
    int rc = chunks_reset(&s->pinned, err);
    return rc ? rc : chunks_reset(&s->device, err);
}

/* Finishes stages up to the one marked `slot`, if there is one. */
static int finish_slot(struct vn_cuda *c, int slot, struct vn_error *err) {
    struct vn_staging *g = c->staging;
    int last = -1, rc = VN_OK;
    for (int i = 0; i < g->n_marked; i++)
        if (g->stages[(g->oldest + i) % N_STAGES].slot == slot)
            last = i;
    for (; last >= 0 && !rc; last--)
        rc = finish_oldest(c, err);
    return rc;
}

static int wait_slot(struct vn_backend *b, int slot, struct vn_error *err) {
    struct vn_cuda *c;
    int rc = vn_cuda_enter(b, &c, err);
    if (!rc && (slot < 0 || slot >= VN_SLOTS))
        rc = vn_fail(err, VN_EINTERNAL, "mark %d of %d", slot, VN_SLOTS);
    return rc ? rc : finish_slot(c, slot, err);
}

/* A slot that is marked again is waited for first: the ring is as long as the slots. */
static int mark(struct vn_backend *b, int slot, struct vn_error *err) {
    struct vn_cuda *c;
    int rc = wait_slot(b, slot, err);
    if (rc)
        return rc;
    c = (struct vn_cuda *)b;
    struct stage *s = now(c);
    cudaError_t e = cudaEventRecord(c->handoff, c->compute);
    if (!e)
        e = cudaStreamWaitEvent(c->out, c->handoff, 0);
    if (!e)
        e = cudaEventRecord(s->done, c->out);
    if (e)
        return failed(e, "mark", err);
    s->slot = slot;
    c->staging->n_marked++;
    return VN_OK;
}

/* ---- opening and closing --------------------------------------------------------- */

static void staging_release(struct vn_staging *g) {
    for (int i = 0; i < N_STAGES; i++) {
        struct stage *s = &g->stages[i];
        chunks_release(&s->pinned);
        chunks_release(&s->device);
        free(s->landings);
        if (s->done)
            cudaEventDestroy(s->done);
    }
    free(g);
}

static void close_cuda(struct vn_backend *b) {
    struct vn_cuda *c = (struct vn_cuda *)b;
    cudaSetDevice(c->index);
    if (c->compute)
        cudaStreamSynchronize(c->compute);
    if (c->out)
        cudaStreamSynchronize(c->out);
    vn_load_close(c);
    vn_lt_close(c);
    vn_cuda_stamps_release(c);
    vn_cuda_release(&c->base, c->product);
    if (c->staging)
        staging_release(c->staging);
    if (c->handoff)
        cudaEventDestroy(c->handoff);
    if (c->out)
        cudaStreamDestroy(c->out);
    if (c->compute)
        cudaStreamDestroy(c->compute);
    free(c);
}

static int staging_open(struct vn_cuda *c, struct vn_error *err) {
    c->staging = (struct vn_staging *)calloc(1, sizeof *c->staging);
    if (!c->staging)
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu bytes", sizeof *c->staging);
    for (int i = 0; i < N_STAGES; i++) {
        struct stage *s = &c->staging->stages[i];
        s->device.on_device = true;
        s->slot = -1;
        cudaError_t e = cudaEventCreateWithFlags(&s->done, cudaEventDisableTiming |
                                                               cudaEventBlockingSync);
        if (e)
            return failed(e, "cannot create an event", err);
    }
    return VN_OK;
}

/* Streams, events, readers of weights, cuBLASLt; fills in the device's name. */
static int start(struct vn_cuda *c, const struct cudaDeviceProp *p, int threads,
                 struct vn_error *err) {
    char key[256];
    int driver = 0;
    cudaError_t e = cudaStreamCreateWithFlags(&c->compute, cudaStreamNonBlocking);
    if (!e)
        e = cudaStreamCreateWithFlags(&c->out, cudaStreamNonBlocking);
    if (!e)
        e = cudaEventCreateWithFlags(&c->handoff, cudaEventDisableTiming);
    if (e)
        return failed(e, "cannot start the device", err);
    int rc = staging_open(c, err);
    if (!rc)
        rc = vn_load_open(c, threads, &c->times, err);
    (void)cudaDriverGetVersion(&driver);
    snprintf(key, sizeof key, "%.100s, sm_%d, %d multiprocessors, driver %d", p->name,
             c->sm, p->multiProcessorCount, driver);
    if (!rc)
        rc = vn_lt_open(c, key, err);
    if (rc)
        return rc;
    size_t v = vn_lt_version(c->lt);
    snprintf(c->base.device, sizeof c->base.device,
             "cuda:%d (%.60s, sm_%d, CUDA %d.%d, cuBLASLt %zu.%zu.%zu)", c->index,
             p->name, c->sm, CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10, v / 10000,
             v / 100 % 100, v % 100);
    return VN_OK;
}

static const struct vn_backend_ops cuda_ops = {
    "cuda",          vn_cuda_alloc,      vn_cuda_release,
    available,
    copy_in,         copy_out,           mark,
    wait_slot,       vn_cuda_stamp,      vn_cuda_between,
    vn_cuda_matrix_new, vn_cuda_matrix_free,
    vn_cuda_embed,   vn_cuda_norm,       vn_cuda_linear,
    vn_cuda_attn,    vn_cuda_pool,       vn_cuda_finite,
    vn_cuda_convert, close_cuda,
};

/* Whether there is a driver and a device of that number. */
static int look_for(int index, struct vn_error *err) {
    int n = 0, driver = 0;
    cudaError_t e = cudaGetDeviceCount(&n);
    /* without any driver the runtime says that it is too old, and its version is 0 */
    if (e == cudaErrorInsufficientDriver && !cudaDriverGetVersion(&driver) && !driver)
        return vn_fail(err, VN_ENODEVICE, "cuda: no usable device: there is no driver");
    if (e)
        return failed(e, "no usable device", err);
    if (index >= n)
        return vn_fail(err, VN_ENODEVICE, "cuda: no device %d, there are %d", index, n);
    return VN_OK;
}

/* The device's properties, or the reason why it is of no use. */
static int examine(const struct vn_backend_options *o, int index, struct cudaDeviceProp *p,
                   struct vn_error *err) {
    cudaError_t e = cudaSetDevice(index);
    if (!e)
        e = cudaGetDeviceProperties(p, index);
    if (e)
        return failed(e, "cannot use the device", err);
    const int sm = p->major * 10 + p->minor;
    const bool standard = o->act == VN_F16 && o->attention != VN_ATTN_FLASH;
    if (sm < (standard ? VN_CUDA_MIN_SM_STANDARD : VN_CUDA_MIN_SM))
        return vn_fail(err, VN_ENODEVICE,
                       "cuda: device %d (%s) has compute capability %d.%d, expected %d.%d or "
                       "higher, %d.%d for standard attention in fp16",
                       index, p->name, p->major, p->minor, VN_CUDA_MIN_SM / 10,
                       VN_CUDA_MIN_SM % 10, VN_CUDA_MIN_SM_STANDARD / 10,
                       VN_CUDA_MIN_SM_STANDARD % 10);
    return VN_OK;
}

static double seconds(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

int vn_cuda_open(const struct vn_backend_options *o, int index, struct vn_backend **out,
                 struct vn_error *err) {
    struct cudaDeviceProp p;
    const double began = seconds();
    *out = NULL;
    int rc = look_for(index, err);
    if (rc)
        return rc;
    if (o->act != VN_F32 && o->act != VN_F16 && o->act != VN_BF16)
        return vn_fail(err, VN_EINCOMPAT,
                       "activations of type %d: expected f32, bf16 or f16", (int)o->act);
    struct vn_cuda *c = (struct vn_cuda *)calloc(1, sizeof *c);
    if (!c)
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu bytes", sizeof *c);
    c->base.ops = cuda_ops;
    c->base.act = o->act;
    c->base.attention = VN_ATTN_FLASH;
    c->base.queues = true;
    c->base.loading = &c->times;
    c->index = index;
    rc = vn_lt_begin(c, err); /* beside making the device's context */
    if (!rc)
        rc = examine(o, index, &p, err);
    if (!rc) {
        c->sm = p.major * 10 + p.minor;
        if (o->attention == VN_ATTN_STANDARD || c->sm < VN_CUDA_MIN_SM)
            vn_cuda_standard_overlay(c);
        c->base.slice_tokens = (int64_t)WAVE_ROWS * p.multiProcessorCount;
        rc = start(c, &p, o->threads, err);
    }
    c->times.start = seconds() - began;
    if (rc)
        close_cuda(&c->base);
    else
        *out = &c->base;
    return rc;
}
