/* cpu_avx2.c - the kernels for AVX2, FMA and F16C; the Makefile gives the flags. */
#if defined(__AVX2__)

#define KERNELS vn_cpu_avx2
#define KERNELS_NAME "avx2"
#define LANES 8
#define ROWS 4
#define KEYS 2

#include <immintrin.h>

typedef float vf __attribute__((vector_size(4 * LANES)));

static inline vf v_fma(vf a, vf b, vf c) {
    return _mm256_fmadd_ps(a, b, c);
}
static inline vf v_max(vf a, vf b) {
    return _mm256_max_ps(a, b);
}
static inline float v_hmax(vf v) {
    __m128 a = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    a = _mm_max_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_max_ss(a, _mm_movehdup_ps(a)));
}
static inline float v_hsum(vf v) {
    __m128 a = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_movehdup_ps(a)));
}
static inline void v_store_f16(void *p, vf v) {
    _mm_storeu_si128(p, _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

#include "cpu_kernels.h"

#endif
typedef int vn_cpu_avx2_is_not_empty;
