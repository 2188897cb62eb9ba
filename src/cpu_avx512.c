/* cpu_avx512.c - the kernels for AVX-512; the Makefile gives the flags. */
#if defined(__x86_64__)
#if !defined(__AVX512F__)
#error "cpu_avx512.c needs the flags of the Makefile"
#endif

#include "cpu_kernels.h"

const struct vn_cpu_kernels vn_cpu_avx512 = CPU_KERNELS("avx512");

#endif
