/* cuda_bf16.h - the part of CUDA's header that cuda/ uses, emulated. */
#ifndef VN_EMU_BF16_H
#define VN_EMU_BF16_H

#include "cuda_runtime.h"
#include "num.h"

struct __nv_bfloat16 {
    uint16_t bits;
};
struct __nv_bfloat162 {
    __nv_bfloat16 x, y;
};

static inline float __bfloat162float(__nv_bfloat16 h) {
    return vn_bf16_to_f32(h.bits);
}
static inline __nv_bfloat16 __float2bfloat16_rn(float f) {
    return __nv_bfloat16{vn_f32_to_bf16(f)};
}
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short u) {
    return __nv_bfloat16{u};
}
static inline float2 __bfloat1622float2(__nv_bfloat162 h) {
    return make_float2(__bfloat162float(h.x), __bfloat162float(h.y));
}
static inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) {
    return __nv_bfloat162{__float2bfloat16_rn(a), __float2bfloat16_rn(b)};
}

#endif
