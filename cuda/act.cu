/* act.cu - value by value: GELU, conversions between types, the search for what is not
 * finite. All bound by memory: 16 bytes per thread and access where the sizes allow it.
 */
#include "cuda_int.h"
#include "util.cuh"

#define THREADS 256
#define MAX_BLOCKS 16384 /* the rest by striding */

static unsigned blocks_for(int64_t n) {
    int64_t b = (n + THREADS - 1) / THREADS;
    return (unsigned)(b < MAX_BLOCKS ? b : MAX_BLOCKS);
}

/* ---- gelu ------------------------------------------------------------------------ */

template <class T> static __device__ __forceinline__ uint32_t gelu_pair(uint32_t u) {
    float2 f = unpack2<T>(u);
    return pack2<T>(gelu_short(f.x), gelu_short(f.y));
}

template <class T>
__global__ void __launch_bounds__(THREADS) gelu_kernel(T *y, int64_t n) {
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int64_t step = (int64_t)gridDim.x * THREADS;
    uint4 *v = reinterpret_cast<uint4 *>(y);
    for (int64_t j = i; j < n / 8; j += step) {
        uint4 u = v[j];
        v[j] = make_uint4(gelu_pair<T>(u.x), gelu_pair<T>(u.y), gelu_pair<T>(u.z),
                          gelu_pair<T>(u.w));
    }
    if (i < n % 8)
        y[n / 8 * 8 + i] = from_f32<T>(gelu_short(to_f32(y[n / 8 * 8 + i])));
}

__global__ void __launch_bounds__(THREADS) gelu_f32_kernel(float *y, int64_t n) {
    int64_t step = (int64_t)gridDim.x * THREADS;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += step)
        y[i] = gelu_exact(y[i]);
}

int vn_cuda_gelu(struct vn_cuda *c, void *y, int64_t n, struct vn_error *err) {
    unsigned grid = blocks_for(c->base.act == VN_F32 ? n : n / 8 + 8);
    if (c->base.act == VN_F16)
        gelu_kernel<<<grid, THREADS, 0, c->compute>>>(static_cast<__half *>(y), n);
    else if (c->base.act == VN_BF16)
        gelu_kernel<<<grid, THREADS, 0, c->compute>>>(static_cast<__nv_bfloat16 *>(y), n);
    else
        gelu_f32_kernel<<<grid, THREADS, 0, c->compute>>>(static_cast<float *>(y), n);
    return vn_cuda_launched("gelu", n, 1, err);
}

/* ---- glu ------------------------------------------------------------------------- */

template <class T>
static __device__ __forceinline__ uint32_t glu_pair(uint32_t gated, uint32_t factor) {
    float2 g = unpack2<T>(gated), f = unpack2<T>(factor);
    return pack2<T>(gelu_short(g.x) * f.x, gelu_short(g.y) * f.y);
}

/* A block per row; n a multiple of 8, so that rows begin at 16 bytes. */
template <class T>
__global__ void __launch_bounds__(THREADS) glu_kernel(const T *g, T *y, int64_t n) {
    const uint4 *gated = reinterpret_cast<const uint4 *>(g + (int64_t)blockIdx.x * 2 * n);
    const uint4 *factor = gated + n / 8;
    uint4 *out = reinterpret_cast<uint4 *>(y + (int64_t)blockIdx.x * n);
    for (int64_t i = threadIdx.x; i < n / 8; i += THREADS) {
        uint4 u = gated[i], v = factor[i];
        out[i] = make_uint4(glu_pair<T>(u.x, v.x), glu_pair<T>(u.y, v.y),
                            glu_pair<T>(u.z, v.z), glu_pair<T>(u.w, v.w));
    }
}

static __device__ __forceinline__ float gelu_of(float x, float) {
    return gelu_exact(x);
}
template <class T> static __device__ __forceinline__ float gelu_of(float x, T) {
    return gelu_short(x);
}

/* Any n, value by value. */
template <class T>
__global__ void __launch_bounds__(THREADS) glu_any_kernel(const T *g, T *y, int64_t n) {
    const T *row = g + (int64_t)blockIdx.x * 2 * n;
    for (int64_t i = threadIdx.x; i < n; i += THREADS)
        y[(int64_t)blockIdx.x * n + i] =
            from_f32<T>(gelu_of(to_f32(row[i]), T()) * to_f32(row[n + i]));
}

template <class T>
static void glu(struct vn_cuda *c, const void *g, void *y, int64_t rows, int64_t n) {
    const T *from = static_cast<const T *>(g);
    T *to = static_cast<T *>(y);
    if (n % 8 == 0)
        glu_kernel<<<(unsigned)rows, THREADS, 0, c->compute>>>(from, to, n);
    else
        glu_any_kernel<<<(unsigned)rows, THREADS, 0, c->compute>>>(from, to, n);
}

int vn_cuda_glu(struct vn_cuda *c, const void *g, void *y, int64_t rows, int64_t n,
                struct vn_error *err) {
    if (c->base.act == VN_F16)
        glu<__half>(c, g, y, rows, n);
    else if (c->base.act == VN_BF16)
        glu<__nv_bfloat16>(c, g, y, rows, n);
    else
        glu_any_kernel<<<(unsigned)rows, THREADS, 0, c->compute>>>(
            static_cast<const float *>(g), static_cast<float *>(y), n);
    return vn_cuda_launched("glu", rows, n, err);
}

/* ---- conversion ------------------------------------------------------------------ */

template <class X, class Y>
__global__ void __launch_bounds__(THREADS) cast_kernel(const X *x, Y *y, int64_t n) {
    int64_t step = (int64_t)gridDim.x * THREADS;
    for (int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x; i < n; i += step)
        y[i] = from_f32<Y>(to_f32(x[i]));
}

template <class X>
static void cast_from(cudaStream_t stream, const void *x, void *y, enum vn_dtype to,
                      int64_t n) {
    const X *from = static_cast<const X *>(x);
    unsigned grid = blocks_for(n);
    if (to == VN_F16)
        cast_kernel<<<grid, THREADS, 0, stream>>>(from, static_cast<__half *>(y), n);
    else if (to == VN_BF16)
        cast_kernel<<<grid, THREADS, 0, stream>>>(from, static_cast<__nv_bfloat16 *>(y), n);
    else
        cast_kernel<<<grid, THREADS, 0, stream>>>(from, static_cast<float *>(y), n);
}

int vn_cuda_cast_on(cudaStream_t stream, const void *x, enum vn_dtype from, void *y,
                    enum vn_dtype to, int64_t n, struct vn_error *err) {
    if (!n)
        return VN_OK;
    if (from == VN_F16)
        cast_from<__half>(stream, x, y, to, n);
    else if (from == VN_BF16)
        cast_from<__nv_bfloat16>(stream, x, y, to, n);
    else
        cast_from<float>(stream, x, y, to, n);
    return vn_cuda_launched("convert", n, 1, err);
}

int vn_cuda_cast(struct vn_cuda *c, const void *x, enum vn_dtype from, void *y,
                 enum vn_dtype to, int64_t n, struct vn_error *err) {
    return vn_cuda_cast_on(c->compute, x, from, y, to, n, err);
}

int vn_cuda_convert(struct vn_backend *be, const float *x, void *y, enum vn_dtype y_type,
                    int64_t n, struct vn_error *err) {
    struct vn_cuda *c;
    int rc = vn_cuda_enter(be, &c, err);
    return rc ? rc : vn_cuda_cast(c, x, VN_F32, y, y_type, n, err);
}

/* ---- finite ---------------------------------------------------------------------- */

/* A block per sequence. */
__global__ void __launch_bounds__(THREADS)
    finite_kernel(const int32_t *cu, const float *x, int64_t d, uint8_t *bad) {
    int64_t b = blockIdx.x, end = cu[b + 1] * d;
    int found = 0;
#pragma unroll 4
    for (int64_t i = cu[b] * d + threadIdx.x; i < end; i += THREADS)
        found |= !isfinite(x[i]);
    found = __syncthreads_or(found);
    if (threadIdx.x == 0)
        bad[b] = found ? 1 : 0;
}

int vn_cuda_finite(struct vn_backend *be, const struct vn_seqs *s, const float *x,
                   int64_t d, uint8_t *bad, struct vn_error *err) {
    struct vn_cuda *c;
    int rc = vn_cuda_enter(be, &c, err);
    if (rc || !s->n_seq)
        return rc;
    finite_kernel<<<(unsigned)s->n_seq, THREADS, 0, c->compute>>>(s->device, x, d, bad);
    return vn_cuda_launched("finite", s->n_tok, d, err);
}
