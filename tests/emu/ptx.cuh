/* ptx.cuh - the functions of cuda/ptx.cuh, emulated: matrices by warp.cc. */
#ifndef VN_PTX_CUH
#define VN_PTX_CUH

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "state.h"

static inline float exp2_fast(float x) {
    float y = exp2f(x);
    return y < 1.17549435e-38f ? 0 : y;
}
static inline float reciprocal_fast(float x) {
    return 1 / x;
}

static inline float max_or_nan(float x, float y) {
    return x > y || x != x ? x : y;
}

static inline float4 read_ahead(const float *p, EMU_HERE) {
    if ((uintptr_t)p % 16)
        emu_fail(at, "a load of 16 bytes from an address that is no multiple of 16");
    emu_check(p, 16, at);
    return *(const float4 *)p;
}

static inline uint32_t smem_address(const void *p, EMU_HERE) {
    return emu_shared_offset(p, at);
}

/* ---- matrices -------------------------------------------------------------------- */

/* n 8 x 8 tiles; every lane brings the address of a row, of which the first 8 n count. */
void emu_ldmatrix(uint32_t *r, const void *p, int n, bool transposed, emu_at at);

/* c [16, 8] += a [16, 8 n] b [8 n, 8], of lanes that hold 4, 2 n and n registers. */
void emu_mma(float c[4], const uint32_t *a, const uint32_t *b, int n, bool bf16, emu_at at);

static inline void ldmatrix4(uint32_t r[4], const void *p, EMU_HERE) {
    emu_ldmatrix(r, p, 4, false, at);
}
static inline void ldmatrix2(uint32_t r[2], const void *p, EMU_HERE) {
    emu_ldmatrix(r, p, 2, false, at);
}
static inline void ldmatrix4t(uint32_t r[4], const void *p, EMU_HERE) {
    emu_ldmatrix(r, p, 4, true, at);
}
static inline void ldmatrix2t(uint32_t r[2], const void *p, EMU_HERE) {
    emu_ldmatrix(r, p, 2, true, at);
}

template <class T> static constexpr bool emu_is_bf16 = false;
template <> constexpr bool emu_is_bf16<__nv_bfloat16> = true;

template <class T>
static inline void mma16(float c[4], const uint32_t a[4], uint32_t b0, uint32_t b1, EMU_HERE) {
    const uint32_t b[2] = {b0, b1};
    emu_mma(c, a, b, 2, emu_is_bf16<T>, at);
}
template <class T>
static inline void mma8(float c[4], const uint32_t a[2], uint32_t b, EMU_HERE) {
    emu_mma(c, a, &b, 1, emu_is_bf16<T>, at);
}

/* ---- asynchronous copies --------------------------------------------------------- */

/* At the latest possible time, which is copy_wait; what was there before is lost at once. */
static inline void copy16(void *to, const void *from, bool there, EMU_HERE) {
    if (((uintptr_t)to | (uintptr_t)from) % 16)
        emu_fail(at, "a copy of 16 bytes from or to an address that is no multiple of 16");
    emu_shared_offset(to, at);
    memset(to, 0xff, 16);
    emu_own()->copies.push_back({to, there ? from : NULL});
}
static inline void copy_wait() {
    static const char zeros[16] = {};
    for (const emu_copy &c : emu_own()->copies)
        memcpy(c.to, c.from ? c.from : zeros, 16);
    emu_own()->copies.clear();
}

#endif
