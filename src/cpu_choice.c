/* cpu_choice.c - the kernels that this processor can run. */
#include "cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#if defined(__x86_64__)
/* clang's __builtin_cpu_supports does not know f16c. */
static bool has_f16c(void) {
    unsigned a, b, c, d;
    return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_F16C);
}
#endif

const struct vn_cpu_kernels *vn_cpu_kernels_at(int i) {
    const struct vn_cpu_kernels *list[4] = {NULL};
    int n = 0;
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"))
        list[n++] = &vn_cpu_avx512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && has_f16c())
        list[n++] = &vn_cpu_avx2;
#endif
    list[n++] = &vn_cpu_generic;
    return i < n ? list[i] : NULL;
}
