/* staging.cu - copies in and out, and the marks that say when they are there.
 *
 * Host memory that comes and goes is not pinned, so a copy from or to it would wait for
 * the queue. Both directions pass through pinned memory of ours: copy_in fills it at
 * once, copy_out leaves the last step, pinned to the caller's, to `wait`. Large results
 * also pass through device memory of ours, so that the caller may overwrite the source
 * while they travel on the stream `out`. What is staged between two marks is one struct
 * stage; stages go round, and their memory is kept. */
#include <stdlib.h>
#include <string.h>

#include "cuda_int.h"

#define N_STAGES (VN_SLOTS + 1) /* one per outstanding mark, and the one being filled */
#define LARGE ((size_t)1 << 20) /* bytes from which results leave by the second stream */
#define CHUNK ((size_t)1 << 20)

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

/* ---- memory ---------------------------------------------------------------------- */

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

static void chunks_release(struct chunks *s) {
    for (struct chunk *k = s->first, *next; k; k = next) {
        next = k->next;
        chunk_free(s, k);
    }
    s->first = NULL;
}

/* Makes sure of so many bytes in one chunk, unless something is in use. */
static int chunks_ready(struct chunks *s, size_t bytes, struct vn_error *err) {
    if (!bytes || (s->first && (s->first->used || s->first->cap >= bytes)))
        return VN_OK;
    chunks_release(s);
    return chunk_new(s, bytes + bytes / VN_COPY_SPARE, err);
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
    for (const struct chunk *k = s->first; k; k = k->next)
        cap += k->cap;
    chunks_release(s);
    return chunk_new(s, cap, err);
}

/* ---- copies and marks ------------------------------------------------------------ */

static struct stage *now(struct vn_cuda *c) {
    struct vn_staging *g = c->staging;
    return &g->stages[(g->oldest + g->n_marked) % N_STAGES];
}

/* Memory is not to be had without waiting for what runs, so that all stages that are free
 * get theirs before the first job is queued. */
int vn_cuda_expect(struct vn_backend *b, size_t in, size_t out, struct vn_error *err) {
    struct vn_cuda *c;
    int rc = vn_cuda_enter(b, &c, err);
    if (rc)
        return rc;
    struct vn_staging *g = c->staging;
    for (int i = g->n_marked; i < N_STAGES && !rc; i++) {
        struct stage *s = &g->stages[(g->oldest + i) % N_STAGES];
        rc = chunks_ready(&s->pinned, in + out, err);
        if (!rc)
            rc = chunks_ready(&s->device, out >= LARGE ? out : 0, err);
    }
    return rc;
}

int vn_cuda_copy_in(struct vn_backend *b, void *device, const void *host, size_t bytes,
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
    return e ? vn_cuda_failed(e, "copy to the device", err) : VN_OK;
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
    return e ? vn_cuda_failed(e, "copy from the device", err) : rc;
}

int vn_cuda_copy_out(struct vn_backend *b, void *host, const void *device, size_t bytes,
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
        rc = e ? vn_cuda_failed(e, "copy from the device", err) : VN_OK;
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
        return vn_cuda_failed(e, "the device stopped", err);
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

int vn_cuda_wait(struct vn_backend *b, int slot, struct vn_error *err) {
    struct vn_cuda *c;
    int rc = vn_cuda_enter(b, &c, err);
    if (!rc && (slot < 0 || slot >= VN_SLOTS))
        rc = vn_fail(err, VN_EINTERNAL, "mark %d of %d", slot, VN_SLOTS);
    return rc ? rc : finish_slot(c, slot, err);
}

/* A slot that is marked again is waited for first: the ring is as long as the slots. */
int vn_cuda_mark(struct vn_backend *b, int slot, struct vn_error *err) {
    struct vn_cuda *c;
    int rc = vn_cuda_wait(b, slot, err);
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
        return vn_cuda_failed(e, "mark", err);
    s->slot = slot;
    c->staging->n_marked++;
    return VN_OK;
}

/* ---- opening and closing --------------------------------------------------------- */

int vn_staging_open(struct vn_cuda *c, struct vn_error *err) {
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
            return vn_cuda_failed(e, "cannot create an event", err);
    }
    return VN_OK;
}

void vn_staging_close(struct vn_cuda *c) {
    struct vn_staging *g = c->staging;
    if (!g)
        return;
    for (int i = 0; i < N_STAGES; i++) {
        struct stage *s = &g->stages[i];
        chunks_release(&s->pinned);
        chunks_release(&s->device);
        free(s->landings);
        if (s->done)
            cudaEventDestroy(s->done);
    }
    free(g);
    c->staging = NULL;
}
