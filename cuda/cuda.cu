/* cuda.cu - one device: opening it, its errors, its memory; the table of its entries. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cuda_int.h"
#include "maps.h"

#define TILE_ROWS 128 /* of a matrix product: a multiprocessor's in a wave */

/* A slice's tokens, doubled until there is so much scratch: with fewer, launching shows. With
 * more than that 640 wide and wider are 1 % slower on an H200 (two waves against the 65,536
 * tokens that --max-tokens allows by itself), for a reason that is not known. */
#define SLICE_WAVES 2
#define SLICE_SCRATCH ((size_t)256 << 20)

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

int vn_cuda_failed(cudaError_t e, const char *what, struct vn_error *err) {
    return vn_fail(err, vn_cuda_status(e), "cuda: %s: %s", what, cudaGetErrorString(e));
}

int vn_cuda_enter(struct vn_backend *b, struct vn_cuda **c, struct vn_error *err) {
    *c = (struct vn_cuda *)b;
    cudaError_t e = cudaSetDevice((*c)->index);
    return e ? vn_cuda_failed(e, "cannot use the device", err) : VN_OK;
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
    return e ? vn_cuda_failed(e, "cannot ask for the free memory", err) : VN_OK;
}

/* ---- opening and closing --------------------------------------------------------- */

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
    vn_staging_close(c);
    vn_maps_close(c);
    if (c->handoff)
        cudaEventDestroy(c->handoff);
    if (c->out)
        cudaStreamDestroy(c->out);
    if (c->compute)
        cudaStreamDestroy(c->compute);
    free(c);
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
        return vn_cuda_failed(e, "cannot start the device", err);
    int rc = vn_staging_open(c, err);
    if (!rc && c->sm == 90)
        rc = vn_maps_open(c, err);
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
    vn_cuda_copy_in, vn_cuda_copy_out,   vn_cuda_expect,
    vn_cuda_mark,    vn_cuda_wait,
    vn_cuda_stamp,   vn_cuda_between,
    vn_cuda_matrix_new, vn_cuda_matrix_free,
    vn_cuda_embed,   vn_cuda_norm,       vn_cuda_linear,
    vn_cuda_rows,    vn_cuda_together,
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
        return vn_cuda_failed(e, "no usable device", err);
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
        return vn_cuda_failed(e, "cannot use the device", err);
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
        c->processors = p.multiProcessorCount;
        if (o->attention == VN_ATTN_STANDARD || c->sm < VN_CUDA_MIN_SM)
            vn_cuda_standard_overlay(c);
        c->base.wave = (int64_t)TILE_ROWS * p.multiProcessorCount;
        c->base.slice_tokens = SLICE_WAVES * c->base.wave;
        c->base.slice_bytes = SLICE_SCRATCH;
        rc = start(c, &p, o->threads, err);
    }
    c->times.start = seconds() - began;
    if (rc)
        close_cuda(&c->base);
    else
        *out = &c->base;
    return rc;
}
