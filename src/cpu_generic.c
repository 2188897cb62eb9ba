/* cpu_generic.c - the kernels for any processor, on vectors of four. */
#define VN_CPU_GENERIC
#include "cpu_kernels.h"

const struct vn_cpu_kernels vn_cpu_generic = CPU_KERNELS("generic");
