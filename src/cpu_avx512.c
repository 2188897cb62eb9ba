/* cpu_avx512.c - the kernels for AVX-512; the Makefile gives the flags. */
#if defined(__AVX512F__)

#define KERNELS vn_cpu_avx512
#define KERNELS_NAME "avx512"
#define LANES 16
#define ROWS 8
#define KEYS 3

#include <immintrin.h>

typedef float vf __attribute__((vector_size(4 * LANES)));

static inline vf v_fma(vf a, vf b, vf c) {
    return _mm512_fmadd_ps(a, b, c);
}
static inline vf v_max(vf a, vf b) {
    return _mm512_max_ps(a, b);
}
static inline float v_hmax(vf v) {
    return _mm512_reduce_max_ps(v);
}
static inline float v_hsum(vf v) {
    return _mm512_reduce_add_ps(v);
}
static inline void v_store_f16(void *p, vf v) {
    _mm256_storeu_si256(p, _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
}

#include "cpu_kernels.h"

#endif
typedef int vn_cpu_avx512_is_not_empty;
