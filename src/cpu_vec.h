/* cpu_vec.h - vectors of floats of the instruction set that a file is compiled for.
 *
 * AVX-512, AVX2 with FMA and F16C, or GCC's vector types on anything; VN_CPU_GENERIC asks
 * for the last. A set gives
 *   LANES   floats in a vector
 *   ROWS    scalars that are multiplied with
 *   WIDE    vectors: ROWS x WIDE sums are kept in registers
 *   v_fma, v_max (the second operand if one is NaN), v_hsum, v_to_f16
 *   v_round to nearest, v_ldexp: p 2^n, or 0 where n < -126
 *   v_load_n, v_store_n: the first n lanes, n < LANES
 * and the rest is written on them. A value is always computed by the same instructions
 * whatever stands beside it: loops have no separate tails, vectors are filled up. */
#ifndef VN_CPU_VEC_H
#define VN_CPU_VEC_H

#include <string.h>

#include "dtype.h"
#include "num.h"

#define INLINE static inline __attribute__((always_inline, unused))

#if defined(__AVX512F__) && !defined(VN_CPU_GENERIC)

#include <immintrin.h>

#define LANES 16
#define ROWS 8
#define WIDE 3

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef uint16_t vh __attribute__((vector_size(2 * LANES)));

INLINE vf v_fma(vf a, vf b, vf c) {
    return _mm512_fmadd_ps(a, b, c);
}
INLINE vf v_max(vf a, vf b) {
    return _mm512_max_ps(a, b);
}
INLINE float v_hsum(vf v) {
    return _mm512_reduce_add_ps(v);
}
INLINE vf v_round(vf x) {
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT);
}
INLINE vf v_ldexp(vf p, vf n) {
    return _mm512_scalef_ps(p, n);
}
INLINE vf v_load_n(const float *p, int64_t n) {
    return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}
INLINE void v_store_n(float *p, vf v, int64_t n) {
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), v);
}
INLINE vh v_to_f16(vf v) {
    return (vh)_mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT);
}

#elif defined(__AVX2__) && !defined(VN_CPU_GENERIC)

#include <immintrin.h>

#define LANES 8
#define ROWS 4
#define WIDE 3

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef uint16_t vh __attribute__((vector_size(2 * LANES)));

INLINE vf v_fma(vf a, vf b, vf c) {
    return _mm256_fmadd_ps(a, b, c);
}
INLINE vf v_max(vf a, vf b) {
    return _mm256_max_ps(a, b);
}
INLINE float v_hsum(vf v) {
    __m128 a = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)));
}
INLINE vf v_round(vf x) {
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
INLINE vf v_ldexp(vf p, vf n) {
    __m256i power = _mm256_slli_epi32(
        _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23);
    vf low = _mm256_cmp_ps(n, _mm256_set1_ps(-126), _CMP_LT_OQ);
    return _mm256_andnot_ps(low, p * (vf)power);
}
INLINE __m256i v_first(int64_t n) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), lane);
}
INLINE vf v_load_n(const float *p, int64_t n) {
    return _mm256_maskload_ps(p, v_first(n));
}
INLINE void v_store_n(float *p, vf v, int64_t n) {
    _mm256_maskstore_ps(p, v_first(n), v);
}
INLINE vh v_to_f16(vf v) {
    return (vh)_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT);
}

#else

#define LANES 4
#define ROWS 4
#define WIDE 3

typedef float vf __attribute__((vector_size(4 * LANES)));
typedef uint16_t vh __attribute__((vector_size(2 * LANES)));

INLINE vf v_fma(vf a, vf b, vf c) {
    return a * b + c;
}
INLINE vf v_max(vf a, vf b) {
    vf m;
    for (int i = 0; i < LANES; i++)
        m[i] = a[i] > b[i] ? a[i] : b[i];
    return m;
}
INLINE float v_hsum(vf v) {
    return (v[0] + v[1]) + (v[2] + v[3]);
}
INLINE vf v_round(vf x) {            /* for |x| < 2^22 */
    const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds */
    return x + magic - magic;
}
INLINE vf v_ldexp(vf p, vf n) {
    typedef int32_t vint __attribute__((vector_size(4 * LANES)));
    vint power = (__builtin_convertvector(n, vint) + 127) << 23, low = n < -126.0f;
    return (vf)((vint)(p * (vf)power) & ~low);
}
INLINE vf v_load_n(const float *p, int64_t n) {
    float t[LANES] = {0};
    vf v;
    memcpy(t, p, (size_t)n * sizeof *t);
    memcpy(&v, t, sizeof v);
    return v;
}
INLINE void v_store_n(float *p, vf v, int64_t n) {
    memcpy(p, &v, (size_t)n * sizeof *p);
}
INLINE vh v_to_f16(vf v) {
    vh h;
    for (int i = 0; i < LANES; i++)
        h[i] = vn_f32_to_f16(v[i]);
    return h;
}

#endif

typedef float vfu __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
typedef uint32_t vu __attribute__((vector_size(4 * LANES)));
typedef int32_t vi __attribute__((vector_size(4 * LANES)));
typedef uint16_t vhu __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

/* ---- loads and stores; `n` of LANES elements where there is one ------------------ */

INLINE vf v_set1(float x) {
    return x - (vf){0};
}
INLINE vf v_load(const float *p) {
    return *(const vfu *)p;
}
INLINE void v_store(float *p, vf v) {
    *(vfu *)p = v;
}
INLINE vf v_from_bf16(vh h) {
    return (vf)(__builtin_convertvector(h, vu) << 16);
}
/* Exact: the exponent is moved by a multiplication, which makes subnormals normal; of
 * infinity and NaN it becomes the largest. */
INLINE vf v_from_f16(vh h) {
    vu u = __builtin_convertvector(h, vu), bits = (u & 0x7fffu) << 13;
    vu special = (vu)(bits >= 0x0f800000u) & 0x7f800000u;
    return (vf)((vu)((vf)bits * 0x1p112f) | special | (u & 0x8000u) << 16);
}
INLINE vh v_to_bf16(vf v) {
    vu u = (vu)v, nan = (vu)((u & 0x7fffffffu) > 0x7f800000u);
    vu r = (u + 0x7fffu + ((u >> 16) & 1)) >> 16;
    return __builtin_convertvector((nan & (u >> 16 | 0x40)) | (~nan & r), vh);
}

/* Lanes of an array of VN_F32 or VN_BF16 from element i on. */
INLINE vf v_load_act(const void *p, enum vn_dtype act, int64_t i, int64_t n) {
    if (act == VN_F32) {
        const float *f = (const float *)p + i;
        return n >= LANES ? v_load(f) : v_load_n(f, n);
    }
    const uint16_t *h = (const uint16_t *)p + i;
    if (n >= LANES)
        return v_from_bf16(*(const vhu *)h);
    vh t = {0};
    memcpy(&t, h, (size_t)n * sizeof *h);
    return v_from_bf16(t);
}
INLINE void v_store_act(void *p, enum vn_dtype type, int64_t i, int64_t n, vf v) {
    if (type == VN_F32) {
        float *f = (float *)p + i;
        if (n >= LANES)
            v_store(f, v);
        else
            v_store_n(f, v, n);
        return;
    }
    uint16_t *h = (uint16_t *)p + i;
    vh t = type == VN_BF16 ? v_to_bf16(v) : v_to_f16(v);
    if (n >= LANES)
        *(vhu *)h = t;
    else
        memcpy(h, &t, (size_t)n * sizeof *h);
}

/* Zero in the lanes from n on. */
INLINE vf v_keep(vf v, int64_t n) {
    vi lane;
    for (int i = 0; i < LANES; i++)
        lane[i] = i;
    return (vf)((vi)v & (lane < (int32_t)n));
}

/* ---- functions ------------------------------------------------------------------- */

/* 2^x for x <= 0, relative error below 1e-7; 0 where it is below 2^-126 or nearly; NaN
 * stays NaN. */
INLINE vf v_exp2(vf x) {
    vf n = v_round(x), f = x - n;
    vf p = v_set1(1.5353598e-4f);
    p = v_fma(p, f, v_set1(1.3398853e-3f));
    p = v_fma(p, f, v_set1(9.618436e-3f));
    p = v_fma(p, f, v_set1(5.5503324e-2f));
    p = v_fma(p, f, v_set1(2.4022648e-1f));
    p = v_fma(p, f, v_set1(6.9314718e-1f));
    return v_ldexp(v_fma(p, f, v_set1(1.0f)), n);
}

/* x Phi(x), Phi(-a) = exp(-a^2 / 2) R(a) with R a polynomial in 1 / (1 + 0.225 a);
 * absolute error below 3e-7, and below 1e-6 of the value where x > -3. NaN for NaN and
 * infinity. */
INLINE vf v_gelu(vf x) {
    vf a = (vf)((vu)x & 0x7fffffffu);
    vf t = 1.0f / v_fma(a, v_set1(0.225f), v_set1(1.0f));
    vf p = v_set1(-0.07931853f);
    p = v_fma(p, t, v_set1(0.31650624f));
    p = v_fma(p, t, v_set1(-0.3107029f));
    p = v_fma(p, t, v_set1(0.31667417f));
    p = v_fma(p, t, v_set1(-0.03164125f));
    p = v_fma(p, t, v_set1(0.11253333f));
    p = v_fma(p, t, v_set1(0.08596475f));
    p = v_fma(p, t, v_set1(0.08998436f));
    vf tail = a * (v_exp2(a * a * -0.72134752f) * (p * t));
    return v_max((vf){0}, x) - tail;
}

/* Transposes LANES x LANES: step s exchanges the off-diagonal blocks of side s. The lanes
 * to pick are constants, so that they are not put together at run time. */
#if LANES == 16
#define EACH_LANE(f, s) \
    f(0, s), f(1, s), f(2, s), f(3, s), f(4, s), f(5, s), f(6, s), f(7, s), f(8, s), \
        f(9, s), f(10, s), f(11, s), f(12, s), f(13, s), f(14, s), f(15, s)
#elif LANES == 8
#define EACH_LANE(f, s) \
    f(0, s), f(1, s), f(2, s), f(3, s), f(4, s), f(5, s), f(6, s), f(7, s)
#else
#define EACH_LANE(f, s) f(0, s), f(1, s), f(2, s), f(3, s)
#endif
#define PICK_LOW(l, s) ((l) & (s) ? LANES + (l) - (s) : (l))
#define PICK_HIGH(l, s) ((l) & (s) ? LANES + (l) : (l) + (s))
#define EXCHANGE(r, s) \
    do { \
        _Pragma("GCC unroll 16") for (int i = 0; i < LANES; i++) { \
            if (i & (s)) \
                continue; \
            vf a = (r)[i], b = (r)[i + (s)]; \
            (r)[i] = __builtin_shufflevector(a, b, EACH_LANE(PICK_LOW, s)); \
            (r)[i + (s)] = __builtin_shufflevector(a, b, EACH_LANE(PICK_HIGH, s)); \
        } \
    } while (0)

INLINE void v_transpose(vf *r) {
    EXCHANGE(r, 1);
    EXCHANGE(r, 2);
#if LANES > 4
    EXCHANGE(r, 4);
#endif
#if LANES > 8
    EXCHANGE(r, 8);
#endif
}

#endif
