// util.cuh - element types, GELU and reductions.
#ifndef VN_UTIL_CUH
#define VN_UTIL_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

#include "ptx.cuh"

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

// gelu(x) = max(x, 0) - |x| Q(|x|), Q(a) = erfc(a / sqrt 2) / 2 = 2^p(a), with p a polynomial
// that was fitted for errors of gelu in units of its last place in fp16: a third of half a unit
// at most (one more power: a thirtieth; each is a tenth of what an epilogue does). Relative to
// gelu that is 9e-5 from -4 on, 4e-3 at -5 and 4e-2 at -6, where gelu is -6e-9: from there down
// what bf16 still tells apart is not right. Beyond 13 the power is below 1e-46, and |x| is held
// there, so that infinity gives infinity or next to nothing; NaN stays.
static __device__ __forceinline__ float gelu_short(float x) {
    float a = fminf(fabsf(x), 13.0f);
    float p = fmaf(a, -3.29590733e-04f, 5.91249975e-03f);
    p = fmaf(a, p, -4.85126137e-02f);
    p = fmaf(a, p, -4.63760989e-01f);
    p = fmaf(a, p, -1.14934207f);
    p = fmaf(a, p, -1.00011856f);
    return fmaf(-a, exp2_fast(p), max_or_nan(x, 0.0f));
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

#endif
