/* bits.h - bitmaps as Arrow has them: bit i is bit i % 8 of byte i / 8. */
#ifndef VN_BITS_H
#define VN_BITS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "num.h"

static inline size_t vn_bits_bytes(int64_t n) {
    return (size_t)((n + 7) / 8);
}

static inline bool vn_bit(const uint8_t *bits, int64_t i) {
    return bits[i >> 3] >> (i & 7) & 1;
}

static inline void vn_bit_set(uint8_t *bits, int64_t i) {
    bits[i >> 3] |= (uint8_t)(1 << (i & 7));
}

/* Copies n bits; bits of dst at and after `at` are zero before. */
static inline void vn_bits_copy(uint8_t *dst, int64_t at, const uint8_t *src, int64_t from,
                                int64_t n) {
    if (n && !(at & 7) && !(from & 7)) {
        memcpy(dst + at / 8, src + from / 8, vn_bits_bytes(n));
        if (n & 7)
            dst[(at + n) / 8] &= (uint8_t)((1 << (n & 7)) - 1);
        return;
    }
    for (int64_t i = 0; i < n; i++)
        if (vn_bit(src, from + i))
            vn_bit_set(dst, at + i);
}

static inline void vn_bits_fill(uint8_t *dst, int64_t at, int64_t n) { /* [at, at + n) */
    for (int64_t i = at; i < at + n; i++)
        vn_bit_set(dst, i);
}

/* How many of n bits are set. */
static inline int64_t vn_bits_count(const uint8_t *bits, int64_t from, int64_t n) {
    int64_t set = 0, i = from, end = from + n;
    for (; i < end && (i & 7); i++)
        set += vn_bit(bits, i);
    for (; end - i >= 64; i += 64)
        set += __builtin_popcountll(vn_load64(bits + i / 8));
    for (; i < end; i++)
        set += vn_bit(bits, i);
    return set;
}

#endif
