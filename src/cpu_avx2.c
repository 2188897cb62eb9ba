/* cpu_avx2.c - the kernels for AVX2, FMA and F16C; the Makefile gives the flags. */
#if defined(__x86_64__)
#if !defined(__AVX2__)
#error "cpu_avx2.c needs the flags of the Makefile"
#endif

#include "cpu_kernels.h"

const struct vn_cpu_kernels vn_cpu_avx2 = CPU_KERNELS("avx2");

#endif
