// util.cuh - element types, reductions, and the machine instructions that kernels are
// made of.
#ifndef VN_UTIL_CUH
#define VN_UTIL_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

// ---- element types --------------------------------------------------------------------

static __device__ __forceinline__ float to_f32(float x) {
    return x;
}
static __device__ __forceinline__ float to_f32(__half x) {
    return __half2float(x);
}
static __device__ __forceinline__ float to_f32(__nv_bfloat16 x) {
    return __bfloat162float(x);
}

// Rounds to nearest even; the bits of NaN are those of num.h, which keeps sign and
// payload where CUDA's conversions give one fixed pattern.
template <class T> static __device__ __forceinline__ T from_f32(float x);
template <> __device__ __forceinline__ float from_f32<float>(float x) {
    return x;
}
template <> __device__ __forceinline__ __half from_f32<__half>(float x) {
    uint32_t u = __float_as_uint(x);
    return isnan(x) ? __ushort_as_half((unsigned short)((u >> 16 & 0x8000) | 0x7e00))
                    : __float2half_rn(x);
}
template <> __device__ __forceinline__ __nv_bfloat16 from_f32<__nv_bfloat16>(float x) {
    uint32_t u = __float_as_uint(x);
    return isnan(x) ? __ushort_as_bfloat16((unsigned short)(u >> 16 | 0x40))
                    : __float2bfloat16_rn(x);
}

// Two values in one register, `a` in the lower half.
template <class T> static __device__ __forceinline__ uint32_t pack2(float a, float b);
template <> __device__ __forceinline__ uint32_t pack2<__half>(float a, float b) {
    __half2 h = __floats2half2_rn(a, b);
    return *reinterpret_cast<uint32_t *>(&h);
}
template <> __device__ __forceinline__ uint32_t pack2<__nv_bfloat16>(float a, float b) {
    __nv_bfloat162 h = __floats2bfloat162_rn(a, b);
    return *reinterpret_cast<uint32_t *>(&h);
}

template <class T> static __device__ __forceinline__ float2 unpack2(uint32_t u);
template <> __device__ __forceinline__ float2 unpack2<__half>(uint32_t u) {
    return __half22float2(*reinterpret_cast<__half2 *>(&u));
}
template <> __device__ __forceinline__ float2 unpack2<__nv_bfloat16>(uint32_t u) {
    return __bfloat1622float2(*reinterpret_cast<__nv_bfloat162 *>(&u));
}

// Four values from registers to memory, 16 or 8 bytes at once.
static __device__ __forceinline__ void store4(float *p, float4 v) {
    *reinterpret_cast<float4 *>(p) = v;
}
template <class T> static __device__ __forceinline__ void store4(T *p, float4 v) {
    *reinterpret_cast<uint2 *>(p) = make_uint2(pack2<T>(v.x, v.y), pack2<T>(v.z, v.w));
}

// 2^x to two units in the last place; what would be subnormal is 0.
static __device__ __forceinline__ float exp2_fast(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// 1 / x to one unit in the last place, for x that is not subnormal. (A division that is
// only said to be fast takes four instructions more, for those that are.)
static __device__ __forceinline__ float reciprocal_fast(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// gelu(x) = max(x, 0) - |x| erfc(|x| / sqrt 2) / 2, with erfc(z) exp(z^2) as a polynomial
// in 1 / (1 + 0.31 |x|) that was fitted for relative error: 4.7e-6 up to |x| = 14, a
// hundredth of half a unit of fp16, in the tail as well. Beyond 14 the exponential is 0,
// and |x| is held there, so that infinity gives infinity or 0; NaN stays.
static __device__ __forceinline__ float gelu_short(float x) {
    float a = fminf(fabsf(x), 14.0f), t = reciprocal_fast(fmaf(0.31f, a, 1.0f));
    float p = fmaf(t, -7.3924625e-2f, 1.8043703e-1f);
    p = fmaf(t, p, 1.5759864e-2f);
    p = fmaf(t, p, 1.3342148e-1f);
    p = fmaf(t, p, 1.2044347e-1f);
    p = fmaf(t, p, 1.2386048e-1f) * t;
    return fmaf(-a * p, exp2_fast(-0.72134752f * x * x), fmaxf(x, 0.0f));
}

static __device__ __forceinline__ float gelu_exact(float x) {
    return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
}

// ---- reductions -----------------------------------------------------------------------

static __device__ __forceinline__ float warp_sum(float v) {
    for (int o = 16; o; o >>= 1)
        v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
}

// Sum over a block of THREADS; every thread gets it. `scratch` holds THREADS / 32 floats
// and may be used again after the next barrier.
template <int THREADS>
static __device__ __forceinline__ float block_sum(float v, float *scratch) {
    v = warp_sum(v);
    if (THREADS == 32)
        return v;
    if (threadIdx.x % 32 == 0)
        scratch[threadIdx.x / 32] = v;
    __syncthreads();
    v = 0;
    for (int i = 0; i < THREADS / 32; i++)
        v += scratch[i];
    return v;
}

// ---- tensor cores ---------------------------------------------------------------------

static __device__ __forceinline__ uint32_t smem_address(const void *p) {
    return (uint32_t)__cvta_generic_to_shared(p);
}

// 8 x 8 tiles of 16-bit values; each lane names one row of 16 bytes.
static __device__ __forceinline__ void ldmatrix4(uint32_t r[4], const void *p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];\n"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(smem_address(p)));
}
static __device__ __forceinline__ void ldmatrix2(uint32_t r[2], const void *p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];\n"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(smem_address(p)));
}
static __device__ __forceinline__ void ldmatrix4t(uint32_t r[4], const void *p) {
    asm volatile(
        "ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];\n"
        : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
        : "r"(smem_address(p)));
}
static __device__ __forceinline__ void ldmatrix2t(uint32_t r[2], const void *p) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];\n"
                 : "=r"(r[0]), "=r"(r[1])
                 : "r"(smem_address(p)));
}

// c [16, 8] += a [16, 16] b [16, 8], accumulated in f32.
template <class T>
static __device__ __forceinline__ void mma16(float c[4], const uint32_t a[4], uint32_t b0,
                                             uint32_t b1);
template <>
__device__ __forceinline__ void mma16<__half>(float c[4], const uint32_t a[4],
                                              uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ __forceinline__ void mma16<__nv_bfloat16>(float c[4], const uint32_t a[4],
                                                     uint32_t b0, uint32_t b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};\n"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// c [16, 8] += a [16, 8] b [8, 8].
template <class T>
static __device__ __forceinline__ void mma8(float c[4], const uint32_t a[2], uint32_t b);
template <>
__device__ __forceinline__ void mma8<__half>(float c[4], const uint32_t a[2],
                                             uint32_t b) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5}, {%6}, {%0, %1, %2, %3};\n"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(b));
}
template <>
__device__ __forceinline__ void mma8<__nv_bfloat16>(float c[4], const uint32_t a[2],
                                                    uint32_t b) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5}, {%6}, {%0, %1, %2, %3};\n"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a[0]), "r"(a[1]), "r"(b));
}

// ---- asynchronous copies --------------------------------------------------------------

// 16 bytes from device to shared memory, or zeros; `from` is a legal address either way.
static __device__ __forceinline__ void copy16(void *to, const void *from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n"
                 :
                 : "r"(smem_address(to)), "l"(from), "r"(there ? 16 : 0)
                 : "memory");
}
static __device__ __forceinline__ void copy_wait() {
    asm volatile("cp.async.commit_group;\ncp.async.wait_group 0;\n" ::: "memory");
}

#endif
