// attn.cuh - what attn.cu and attn_short.cu share: the arithmetic of 16 query rows of one head
// against a step of keys, so that both give the same bits. (attn_hopper.cu takes of it what is
// not that; which records are its own depends on nothing but their length.)
//
// Fragments are those of mma.m16n8k16: in an accumulator [16, 8] lane l holds columns
// 2 (l % 4) and the next one of rows l / 4 and l / 4 + 8.
//
// Rows of a step beyond the sequence's end cost no masks. Their keys are copies of the last
// one, so that they change no maximum; their values are zeros; and the sum of the weights,
// which a column of ones beside the values gives, has zeros there instead.
#ifndef VN_ATTN_CUH
#define VN_ATTN_CUH

#include "cuda_int.h"
#include "tile.h"
#include "util.cuh"

#define KEYS VN_ATTN_KEYS

template <int HD> struct shape {
    static constexpr int heads = VN_TILE_ATTN_HEADS(HD); /* of one block */
    static constexpr int width = heads * HD;
    static constexpr int stride = VN_TILE_ATTN_STRIDE(HD);
    static constexpr int k16 = HD / 16; /* steps of 16 along the head, and one of 8 */
    static constexpr int k8 = HD % 16 / 8;
    static constexpr int tiles = HD / 8;
    static_assert(HD % 8 == 0 && stride % 16 == 8,
                  "tiles of 8, rows without bank conflicts");
};

// ---- rotary positions -----------------------------------------------------------------

// Four pairs: x, y of the two halves of a head, c and s of the angles.
template <class T>
static __device__ __forceinline__ void rotate4(uint2 &x, uint2 &y, float4 c, float4 s) {
    float2 x0 = unpack2<T>(x.x), x1 = unpack2<T>(x.y);
    float2 y0 = unpack2<T>(y.x), y1 = unpack2<T>(y.y);
    x.x = pack2<T>(fmaf(x0.x, c.x, -y0.x * s.x), fmaf(x0.y, c.y, -y0.y * s.y));
    x.y = pack2<T>(fmaf(x1.x, c.z, -y1.x * s.z), fmaf(x1.y, c.w, -y1.y * s.w));
    y.x = pack2<T>(fmaf(y0.x, c.x, x0.x * s.x), fmaf(y0.y, c.y, x0.y * s.y));
    y.y = pack2<T>(fmaf(y1.x, c.z, x1.x * s.z), fmaf(y1.y, c.w, x1.y * s.w));
}

// The same of every head of a row in shared memory, dimensions [j, j + 4) of each and those
// that they are paired with. (Where a head is missing, nobody reads what is there.)
template <class T, int HD>
static __device__ __forceinline__ void rotate_row(T *row, int j, float4 c, float4 s) {
#pragma unroll
    for (int h = 0; h < shape<HD>::heads; h++) {
        uint2 *x = reinterpret_cast<uint2 *>(row + h * HD + j);
        uint2 *y = reinterpret_cast<uint2 *>(row + h * HD + j + HD / 2);
        uint2 u = *x, v = *y;
        rotate4<T>(u, v, c, s);
        *x = u;
        *y = v;
    }
}

// ---- one step of up to 64 keys --------------------------------------------------------

// Running softmax of one head, for rows l / 4 and l / 4 + 8: largest score, weighted sum of
// values, and, in every column of one tile more, the sum of the weights.
template <int HD> struct softmax {
    float max[2];
    float o[shape<HD>::tiles + 1][4];
};

template <int HD> static __device__ __forceinline__ void clear(softmax<HD> &m) {
#pragma unroll
    for (int t = 0; t <= shape<HD>::tiles; t++)
        m.o[t][0] = m.o[t][1] = m.o[t][2] = m.o[t][3] = 0;
}

// Tiles of 8 keys that a step of `keys` keys takes. What the number is changes no result;
// that it depends on nothing else keeps the results the same whoever asks.
[[maybe_unused]] static __device__ __forceinline__ int step_tiles(int keys, bool first) {
    int t = (keys + 7) / 8;
    return first && t == 7 ? 7 : (t + 1) / 2 * 2;
}

// One, of a type of 16 bits.
template <class T> static __device__ __forceinline__ uint32_t one();
template <> __device__ __forceinline__ uint32_t one<__half>() {
    return 0x3c00;
}
template <> __device__ __forceinline__ uint32_t one<__nv_bfloat16>() {
    return 0x3f80;
}

// s [16, 8 TILES] = q k', of which `tiles` are wanted. Queries are read again at every step:
// registers are what is scarce.
template <class T, int HD, int TILES>
static __device__ __forceinline__ void scores(float s[TILES][4], const T *q, const T *k,
                                              int tiles, int lane) {
    using S = shape<HD>;
    uint32_t a[4], f[4];
#pragma unroll
    for (int j = 0; j < TILES; j++)
        s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0;
    q += lane % 16 * S::stride;
#pragma unroll
    for (int i = 0; i < S::k16; i++) {
        ldmatrix4(a, q + i * 16 + lane / 16 * 8);
        const T *at = k + (lane / 16 * 8 + lane % 8) * S::stride + i * 16 + lane / 8 % 2 * 8;
#pragma unroll
        for (int j = 0; j < TILES; j += 2, at += 16 * S::stride) {
            if (j >= tiles)
                break;
            ldmatrix4(f, at);
            mma16<T>(s[j], a, f[0], f[1]);
            if (j + 1 < TILES)
                mma16<T>(s[j + 1 < TILES ? j + 1 : j], a, f[2], f[3]);
        }
    }
    if (!S::k8)
        return;
    ldmatrix2(a, q + S::k16 * 16);
    k += lane % 16 * S::stride + S::k16 * 16;
#pragma unroll
    for (int j = 0; j < TILES; j += 2, k += 16 * S::stride) {
        if (j >= tiles)
            break;
        ldmatrix2(f, k);
        mma8<T>(s[j], a, f[0]);
        if (j + 1 < TILES)
            mma8<T>(s[j + 1 < TILES ? j + 1 : j], a, f[1]);
    }
}

// Takes slope |i - j| from the scores of the lane's rows, the first of which is `ahead` keys
// beyond the step's first. The slope is in units of unscaled scores.
template <int TILES>
static __device__ __forceinline__ void add_alibi(float s[TILES][4], float slope, int ahead,
                                                 int lane) {
    float first = (float)(ahead + lane / 4 - lane % 4 * 2);
#pragma unroll
    for (int t = 0; t < TILES; t++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            s[t][i] = fmaf(-slope, fabsf(first + (float)(i / 2 * 8 - t * 8 - i % 2)), s[t][i]);
}

// s becomes exp(scale (s - max)), in place, and 0 beyond `tiles`; what was summed before is
// brought to the new maximum. `scale` includes log2 e.
template <int HD, int TILES>
static __device__ __forceinline__ void weigh(softmax<HD> &m, float s[TILES][4], int tiles,
                                             float scale, bool first) {
    float max[2];
#pragma unroll
    for (int row = 0; row < 2; row++) {
        max[row] = fmaxf(s[0][2 * row], s[0][2 * row + 1]);
        if (!first)
            max[row] = fmaxf(max[row], m.max[row]);
    }
#pragma unroll
    for (int t = 1; t < TILES; t++)
        if (t < tiles)
#pragma unroll
            for (int row = 0; row < 2; row++)
                max[row] = fmaxf(max[row], fmaxf(s[t][2 * row], s[t][2 * row + 1]));
#pragma unroll
    for (int row = 0; row < 2; row++) {
        max[row] = fmaxf(max[row], __shfl_xor_sync(0xffffffffu, max[row], 1));
        max[row] = fmaxf(max[row], __shfl_xor_sync(0xffffffffu, max[row], 2));
        float shift = max[row] * scale;
#pragma unroll
        for (int t = 0; t < TILES; t++)
#pragma unroll
            for (int i = 2 * row; i < 2 * row + 2; i++)
                s[t][i] = t < tiles ? exp2_fast(fmaf(s[t][i], scale, -shift)) : 0;
        if (!first) {
            float again = exp2_fast((m.max[row] - max[row]) * scale);
#pragma unroll
            for (int t = 0; t <= shape<HD>::tiles; t++) {
                m.o[t][2 * row] *= again;
                m.o[t][2 * row + 1] *= again;
            }
        }
        m.max[row] = max[row];
    }
}

// o += p v, and the sum of p, for the keys that exist.
template <class T, int HD, int TILES>
static __device__ __forceinline__ void add_values(softmax<HD> &m, const float p[TILES][4],
                                                  const T *v, int tiles,
                                                  const uint32_t last[2], int lane) {
    using S = shape<HD>;
    const uint32_t ones = one<T>() * 0x10001u;
    const T *at = v + (lane % 16) * S::stride;
#pragma unroll
    for (int j = 0; j < TILES; j += 2, at += 16 * S::stride) {
        if (j >= tiles)
            break;
        bool two = j + 1 < TILES, end = j + 2 >= tiles;
        const float *p0 = p[j], *p1 = p[two ? j + 1 : j];
        uint32_t f[4], w[4] = {pack2<T>(p0[0], p0[1]), pack2<T>(p0[2], p0[3]),
                               two ? pack2<T>(p1[0], p1[1]) : 0,
                               two ? pack2<T>(p1[2], p1[3]) : 0};
        mma16<T>(m.o[S::tiles], w, end ? last[0] : ones, end ? last[1] : ones);
#pragma unroll
        for (int i = 0; i < S::k16; i++) {
            ldmatrix4t(f, at + i * 16 + lane / 16 * 8);
            mma16<T>(m.o[2 * i], w, f[0], f[1]);
            mma16<T>(m.o[2 * i + 1], w, f[2], f[3]);
        }
        if (S::k8) {
            ldmatrix2t(f, at + S::k16 * 16);
            mma16<T>(m.o[2 * S::k16], w, f[0], f[1]);
        }
    }
}

// What a step needs that is the same for all heads.
struct step {
    int keys, tiles;  // of the step
    int ahead;        // from its first key to the warp's first row
    uint32_t last[2]; // ones beside its last 16 keys, as b of mma16
};

// The step from key k0 on of a sequence of n tokens, for rows from `row` on.
template <class T>
static __device__ __forceinline__ struct step step_at(int k0, int n, int row, int lane) {
    int keys = min(KEYS, n - k0);
    struct step s = {keys, step_tiles(keys, k0 == 0), row - k0, {}};
    int left = keys - (keys - 1) / 16 * 16 - lane % 4 * 2; /* of the lane's in the last 16 */
    s.last[0] = (left > 0 ? one<T>() : 0) | (left > 1 ? one<T>() << 16 : 0);
    s.last[1] = (left > 8 ? one<T>() : 0) | (left > 9 ? one<T>() << 16 : 0);
    return s;
}

// Queries, keys and values of one head; `slope` of ALiBi. At most TILES tiles of keys.
template <class T, int HD, bool ALIBI, int TILES>
static __device__ __forceinline__ void attend(softmax<HD> &m, const T *q, const T *k,
                                              const T *v, const struct step &s, int tiles,
                                              bool first, float scale, float slope,
                                              int lane) {
    float p[TILES][4];
    scores<T, HD, TILES>(p, q, k, tiles, lane);
    if (ALIBI)
        add_alibi<TILES>(p, slope, s.ahead, lane);
    if (first)
        clear(m);
    weigh<HD, TILES>(m, p, tiles, scale, first);
    add_values<T, HD, TILES>(m, p, v, tiles, s.last, lane);
}

// ---- the result -----------------------------------------------------------------------

// One head of the warp's 16 rows, normalised, to shared memory.
template <class T, int HD>
static __device__ __forceinline__ void put_head(const softmax<HD> &m, T *rows, int lane) {
    using S = shape<HD>;
#pragma unroll
    for (int row = 0; row < 2; row++) {
        float inv = reciprocal_fast(m.o[S::tiles][2 * row]); /* of a sum of at least 1 */
        T *to = rows + (lane / 4 + row * 8) * S::stride + lane % 4 * 2;
#pragma unroll
        for (int t = 0; t < S::tiles; t++)
            *reinterpret_cast<uint32_t *>(to + t * 8) =
                pack2<T>(m.o[t][2 * row] * inv, m.o[t][2 * row + 1] * inv);
    }
}

// The warp's rows, at most 16, from shared memory to the device.
template <class T, int HD>
static __device__ __forceinline__ void store_rows(const T *rows, T *out, int n, int heads,
                                                  int64_t out_row, int lane) {
    using S = shape<HD>;
    constexpr int vecs = S::width / 8, at_once = 32 / vecs;
    int r = lane / vecs, j = lane % vecs * 8;
    if (r >= at_once || j >= heads * HD)
        return;
#pragma unroll
    for (int i = 0; i < 16; i += at_once)
        if (i + r < n && i + r < 16)
            *reinterpret_cast<uint4 *>(out + (i + r) * out_row + j) =
                *reinterpret_cast<const uint4 *>(rows + (i + r) * S::stride + j);
}

#endif
