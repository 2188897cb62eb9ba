/* cpu_generic.c - the kernels for any processor, on vectors of four. */
#define KERNELS vn_cpu_generic
#define KERNELS_NAME "generic"
#define LANES 4
#define ROWS 4
#define KEYS 2

#include "num.h"

typedef float vf __attribute__((vector_size(4 * LANES)));

static inline vf v_fma(vf a, vf b, vf c) {
    return a * b + c;
}
static inline vf v_max(vf a, vf b) {
    vf m;
    for (int i = 0; i < LANES; i++)
        m[i] = a[i] > b[i] ? a[i] : b[i];
    return m;
}
static inline float v_hmax(vf v) {
    float a = v[0] > v[1] ? v[0] : v[1], b = v[2] > v[3] ? v[2] : v[3];
    return a > b ? a : b;
}
static inline float v_hsum(vf v) {
    return (v[0] + v[1]) + (v[2] + v[3]);
}
static inline void v_store_f16(void *p, vf v) {
    for (int i = 0; i < LANES; i++)
        vn_store16((char *)p + 2 * i, vn_f32_to_f16(v[i]));
}

#include "cpu_kernels.h"
