/* num.h - exact number formats: half, bfloat16, little-endian loads and stores.
 *
 * Inline, no state, no rounding mode but round to nearest even. Half and bfloat16 values are
 * carried as uint16_t. NaN stays NaN (quiet, payload cut); overflow goes to infinity.
 * Compiles as C11 and as C++17. vn runs on little-endian machines only. */
#ifndef VN_NUM_H
#define VN_NUM_H

#include <stdint.h>
#include <string.h>

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "vn needs a little-endian machine"
#endif

static inline uint32_t vn_f32_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, 4);
    return u;
}
static inline float vn_bits_f32(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static inline float vn_bf16_to_f32(uint16_t h) {
    return vn_bits_f32((uint32_t)h << 16);
}
static inline uint16_t vn_f32_to_bf16(float f) {
    uint32_t u = vn_f32_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)((u >> 16) | 0x40);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}

static inline float vn_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, mag = h & 0x7fff;
    if (mag >= 0x7c00) /* infinity, NaN */
        return vn_bits_f32(sign | 0x7f800000u | (mag & 0x3ff) << 13);
    if (mag >= 0x0400) /* normal: rebias the exponent from 15 to 127 */
        return vn_bits_f32(sign | ((mag << 13) + (112u << 23)));
    float f = (float)mag * (1.0f / 16777216.0f); /* subnormal: mag * 2^-24, exact */
    return sign ? -f : f;
}
static inline uint16_t vn_f32_to_f16(float f) {
    uint32_t u = vn_f32_bits(f), sign = (u >> 16) & 0x8000, mag = u & 0x7fffffffu;
    if (mag > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00);
    if (mag >= 0x477ff000u) /* 65520 and up round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (mag < 0x38800000u) { /* below 2^-14: let the FPU round at 2^-24 */
        float r = vn_bits_f32(mag) + 0.5f;
        return (uint16_t)(sign | (vn_f32_bits(r) - 0x3f000000u));
    }
    mag += 0xfffu + ((mag >> 13) & 1);
    return (uint16_t)(sign | ((mag - (112u << 23)) >> 13));
}

static inline uint16_t vn_load16(const void *p) {
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}
static inline uint32_t vn_load32(const void *p) {
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
static inline uint64_t vn_load64(const void *p) {
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}
static inline void vn_store16(void *p, uint16_t v) {
    memcpy(p, &v, 2);
}
static inline void vn_store32(void *p, uint32_t v) {
    memcpy(p, &v, 4);
}
static inline void vn_store64(void *p, uint64_t v) {
    memcpy(p, &v, 8);
}

#endif
