#include "crc.h"

#include <pthread.h>
#include <string.h>

#include "num.h"

#define POLYNOMIAL 0x82f63b78u /* bits reversed */
#define LANE ((size_t)1024)    /* bytes of each of the three interleaved lanes */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static uint32_t slice[8][256]; /* slice[k][b]: CRC register b followed by k zero bytes */

/* ---- tables ---------------------------------------------------------------------- */

static uint32_t table_update(uint32_t c, const uint8_t *p, size_t n) {
    for (; n >= 8; p += 8, n -= 8) {
        uint64_t v = vn_load64(p) ^ c;
        c = 0;
        for (int k = 0; k < 8; k++)
            c ^= slice[7 - k][v >> (8 * k) & 0xff];
    }
    while (n--)
        c = c >> 8 ^ slice[0][(c ^ *p++) & 0xff];
    return c;
}

static void make_slices(void) {
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t c = b;
        for (int bit = 0; bit < 8; bit++)
            c = c >> 1 ^ (c & 1 ? POLYNOMIAL : 0);
        slice[0][b] = c;
    }
    for (int k = 1; k < 8; k++)
        for (int b = 0; b < 256; b++)
            slice[k][b] = slice[k - 1][b] >> 8 ^ slice[0][slice[k - 1][b] & 0xff];
}

/* ---- the instruction ------------------------------------------------------------- */

#if defined(__x86_64__)
#include <nmmintrin.h>

static int have_instruction;
static uint32_t skip[4][256]; /* skip[k][b]: register b << 8k followed by LANE zero bytes */

static uint32_t skip_lane(uint32_t c) {
    return skip[0][c & 0xff] ^ skip[1][c >> 8 & 0xff] ^ skip[2][c >> 16 & 0xff] ^
           skip[3][c >> 24];
}

/* The instruction yields a result every cycle but takes three for it, so three lanes run
 * side by side; the register being linear, the lanes are joined by running the first two
 * over the zero bytes that the later ones stand for. */
__attribute__((target("sse4.2"))) static uint32_t fast_update(uint32_t c, const uint8_t *p,
                                                              size_t n) {
    for (; n >= 3 * LANE; p += 3 * LANE, n -= 3 * LANE) {
        uint64_t a = c, b = 0, d = 0;
        for (size_t i = 0; i < LANE; i += 8) {
            a = _mm_crc32_u64(a, vn_load64(p + i));
            b = _mm_crc32_u64(b, vn_load64(p + LANE + i));
            d = _mm_crc32_u64(d, vn_load64(p + 2 * LANE + i));
        }
        c = skip_lane(skip_lane((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)d;
    }
    for (; n >= 8; p += 8, n -= 8)
        c = (uint32_t)_mm_crc32_u64(c, vn_load64(p));
    while (n--)
        c = _mm_crc32_u8(c, *p++);
    return c;
}

static void make_skips(void) {
    uint32_t bit[32];
    for (int i = 0; i < 32; i++) {
        bit[i] = 1u << i;
        for (size_t at = 0; at < LANE; at++)
            bit[i] = bit[i] >> 8 ^ slice[0][bit[i] & 0xff];
    }
    for (int k = 0; k < 4; k++)
        for (int b = 0; b < 256; b++)
            for (int i = 0; i < 8; i++)
                skip[k][b] ^= b >> i & 1 ? bit[8 * k + i] : 0;
    have_instruction = __builtin_cpu_supports("sse4.2");
}
#endif

static void setup(void) {
    make_slices();
#if defined(__x86_64__)
    make_skips();
#endif
}

uint32_t vn_crc32c_portable(uint32_t crc, const void *p, size_t n) {
    pthread_once(&once, setup);
    return ~table_update(~crc, p, n);
}

uint32_t vn_crc32c(uint32_t crc, const void *p, size_t n) {
    pthread_once(&once, setup);
#if defined(__x86_64__)
    if (have_instruction)
        return ~fast_update(~crc, p, n);
#endif
    return ~table_update(~crc, p, n);
}
