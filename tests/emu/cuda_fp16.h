/* cuda_fp16.h - the part of CUDA's header that cuda/ uses, emulated. */
#ifndef VN_EMU_FP16_H
#define VN_EMU_FP16_H

#include "cuda_runtime.h"
#include "num.h"

struct __half {
    uint16_t bits;
};
struct __half2 {
    __half x, y;
};

static inline float __half2float(__half h) {
    return vn_f16_to_f32(h.bits);
}
static inline __half __float2half_rn(float f) {
    return __half{vn_f32_to_f16(f)};
}
static inline __half __ushort_as_half(unsigned short u) {
    return __half{u};
}
static inline float2 __half22float2(__half2 h) {
    return make_float2(__half2float(h.x), __half2float(h.y));
}
static inline __half2 __floats2half2_rn(float a, float b) {
    return __half2{__float2half_rn(a), __float2half_rn(b)};
}

#endif
