/* attn.cu - attention inside every sequence of a packed batch, in fp16 or bf16.
 *
 * A warp owns 16 query rows of one to four heads (48 to 128 columns) and walks over the
 * keys of its sequence in steps of VN_ATTN_KEYS with a running maximum and sum in f32.
 * The warps of a block share the keys and values of a step in shared memory; q and k are
 * rotated on their way in. Short sequences waste at most 15 rows, and keys in steps
 * of 16. A row is computed the same way whatever the number of warps and whoever its
 * neighbours are.
 *
 * Fragments are those of mma.m16n8k16: in an accumulator [16, 8] lane l holds columns
 * 2 (l % 4) and the next one of rows l / 4 and l / 4 + 8. */
#include "cuda_int.h"
#include "tile.h"
#include "util.cuh"

#define KEYS VN_ATTN_KEYS

template <int HD> struct shape {
    static constexpr int heads = HD == 16 ? 4 : HD <= 32 ? 2 : 1;
    static constexpr int width = heads * HD;
    static constexpr int stride = width + 8; /* an odd multiple of 16 bytes */
    static constexpr int k16 = HD / 16; /* steps of 16 along the head, and one of 8 */
    static constexpr int k8 = HD % 16 / 8;
    static constexpr int tiles = HD / 8;
    static_assert(HD % 8 == 0 && stride % 16 == 8,
                  "tiles of 8, rows without bank conflicts");
    static constexpr int warps = HD == 128 ? 8 : 16; /* of a multiprocessor, at least */
    /* for one step of keys and values, or for two: one in use, one on its way */
    static size_t shared(int rows, int steps) {
        return (size_t)(rows + 2 * KEYS * steps) * stride * 2;
    }
};

/* Where the values of one sequence and head group are. */
template <class T> struct source {
    const T *first; /* of the sequence's first token, q part, first head of the group */
    int64_t row;    /* values from token to token */
    int64_t part;   /* from q to k to v */
    int n;          /* tokens */
    int heads;      /* of the group that exist */
};

/* ---- loading --------------------------------------------------------------------- */

/* Starts the copy of rows [r0, r0 + rows); zeros where there is no token or no head. */
template <class T, int HD, int THREADS>
static __device__ __forceinline__ void load(T *to, const T *from, const source<T> &s,
                                            int r0, int rows) {
    using S = shape<HD>;
    constexpr int vecs = S::width / 8;
    for (int i = threadIdx.x; i < rows * vecs; i += THREADS) {
        int r = i / vecs, j = i % vecs * 8;
        bool there = r0 + r < s.n && j < s.heads * HD;
        copy16(to + r * S::stride + j, there ? from + (r0 + r) * s.row + j : s.first,
               there);
    }
}

[[maybe_unused]] static __device__ __forceinline__ int round16(int n) {
    return (n + 15) / 16 * 16;
}

/* Keys and values of one step, one after the other. */
template <class T, int HD, int THREADS>
static __device__ __forceinline__ void load_keys(T *to, const source<T> &s, int k0) {
    int rows = round16(min(KEYS, s.n - k0));
    load<T, HD, THREADS>(to, s.first + s.part, s, k0, rows);
    load<T, HD, THREADS>(to + KEYS * shape<HD>::stride, s.first + 2 * s.part, s, k0,
                         rows);
}

/* Four pairs: x, y of the two halves of a head, c and s of the angles. */
template <class T>
static __device__ __forceinline__ void rotate4(uint2 &x, uint2 &y, float4 c, float4 s) {
    float2 x0 = unpack2<T>(x.x), x1 = unpack2<T>(x.y);
    float2 y0 = unpack2<T>(y.x), y1 = unpack2<T>(y.y);
    x.x = pack2<T>(x0.x * c.x - y0.x * s.x, x0.y * c.y - y0.y * s.y);
    x.y = pack2<T>(x1.x * c.z - y1.x * s.z, x1.y * c.w - y1.y * s.w);
    y.x = pack2<T>(y0.x * c.x + x0.x * s.x, y0.y * c.y + x0.y * s.y);
    y.y = pack2<T>(y1.x * c.z + x1.x * s.z, y1.y * c.w + x1.y * s.w);
}

/* Rotates rows in shared memory by their positions r0, r0 + 1, ... A thread takes four
 * dimensions and the four that they are paired with, of every head of the group, so that
 * it reads the angles once. */
template <class T, int HD, int THREADS>
static __device__ __forceinline__ void rotate(T *at, int r0, int rows,
                                              const struct vn_attn_args &a) {
    using S = shape<HD>;
    constexpr int half = HD / 2, units = half / 4;
#pragma unroll 4
    for (int i = threadIdx.x; i < rows * units; i += THREADS) {
        int r = i / units, j = i % units * 4;
        int64_t angle = (int64_t)(r0 + r) * half + j;
        float4 c = __ldg(reinterpret_cast<const float4 *>(a.rope_cos + angle));
        float4 s = __ldg(reinterpret_cast<const float4 *>(a.rope_sin + angle));
#pragma unroll
        for (int h = 0; h < S::heads; h++) {
            uint2 *x = reinterpret_cast<uint2 *>(at + r * S::stride + h * HD + j);
            uint2 *y = reinterpret_cast<uint2 *>(at + r * S::stride + h * HD + j + half);
            uint2 u = *x, v = *y;
            rotate4<T>(u, v, c, s);
            *x = u;
            *y = v;
        }
    }
}

/* ---- one step of 64 keys --------------------------------------------------------- */

/* Query fragments of one head, [16, HD]. */
template <int HD> struct query {
    uint32_t k16[shape<HD>::k16][4];
    uint32_t k8[2];
};

template <class T, int HD>
static __device__ __forceinline__ void load_query(query<HD> &q, const T *rows, int lane) {
    using S = shape<HD>;
    const T *at = rows + (lane % 16) * S::stride;
#pragma unroll
    for (int k = 0; k < S::k16; k++)
        ldmatrix4(q.k16[k], at + k * 16 + lane / 16 * 8);
    if (S::k8)
        ldmatrix2(q.k8, at + S::k16 * 16);
}

/* s [16, 64] = q k', for `keys` keys; minus infinity beyond them. */
template <class T, int HD>
static __device__ __forceinline__ void scores(float s[KEYS / 8][4], const query<HD> &q,
                                              const T *k, int keys, int lane) {
    using S = shape<HD>;
#pragma unroll
    for (int j = 0; j < KEYS / 16; j++) {
        float *s0 = s[2 * j], *s1 = s[2 * j + 1];
#pragma unroll
        for (int i = 0; i < 4; i++)
            s0[i] = s1[i] = 0;
        if (j * 16 < keys) {
            const T *at =
                k + (j * 16 + lane / 16 * 8 + lane % 8) * S::stride + lane / 8 % 2 * 8;
            uint32_t f[4];
#pragma unroll
            for (int i = 0; i < S::k16; i++) {
                ldmatrix4(f, at + i * 16);
                mma16<T>(s0, q.k16[i], f[0], f[1]);
                mma16<T>(s1, q.k16[i], f[2], f[3]);
            }
            if (S::k8) {
                ldmatrix2(f, k + (j * 16 + lane % 16) * S::stride + S::k16 * 16);
                mma8<T>(s0, q.k8, f[0]);
                mma8<T>(s1, q.k8, f[1]);
            }
        }
        if (j * 16 + 16 > keys) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int key = j * 16 + lane % 4 * 2 + i % 2;
                s0[i] = key < keys ? s0[i] : -INFINITY;
                s1[i] = key + 8 < keys ? s1[i] : -INFINITY;
            }
        }
    }
}

/* Takes slope |i - j| from the scores of the lane's rows, the first of which is `ahead` keys
 * beyond the step's first. The slope is in units of unscaled scores. */
[[maybe_unused]] static __device__ __forceinline__ void
add_alibi(float s[KEYS / 8][4], float slope, int ahead, int lane) {
    float first = (float)(ahead + lane / 4 - lane % 4 * 2);
#pragma unroll
    for (int t = 0; t < KEYS / 8; t++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            s[t][i] = fmaf(-slope, fabsf(first + (float)(i / 2 * 8 - t * 8 - i % 2)), s[t][i]);
}

/* Largest value of each of the lane's two rows, over the four lanes that share them. */
[[maybe_unused]] static __device__ __forceinline__ float
row_max(const float s[KEYS / 8][4], int row) {
    float m = s[0][2 * row];
#pragma unroll
    for (int t = 0; t < KEYS / 8; t++)
        m = fmaxf(m, fmaxf(s[t][2 * row], s[t][2 * row + 1]));
    m = fmaxf(m, __shfl_xor_sync(0xffffffffu, m, 1));
    return fmaxf(m, __shfl_xor_sync(0xffffffffu, m, 2));
}

/* Running softmax of one head: largest score, this lane's part of the sum, and the
 * weighted sum of values, for rows l / 4 and l / 4 + 8. */
template <int HD> struct softmax {
    float max[2], sum[2];
    float o[shape<HD>::tiles][4];
};

/* s becomes exp(scale (s - max)), in place; what was summed before is brought to the new
 * maximum. `scale` includes log2 e. */
template <int HD>
static __device__ __forceinline__ void weigh(softmax<HD> &m, float s[KEYS / 8][4],
                                             float scale) {
#pragma unroll
    for (int row = 0; row < 2; row++) {
        float max = fmaxf(m.max[row], row_max(s, row)), shift = max * scale;
        float again = exp2_fast((m.max[row] - max) * scale), sum = 0;
#pragma unroll
        for (int t = 0; t < KEYS / 8; t++) {
            s[t][2 * row] = exp2_fast(fmaf(s[t][2 * row], scale, -shift));
            s[t][2 * row + 1] = exp2_fast(fmaf(s[t][2 * row + 1], scale, -shift));
            sum += s[t][2 * row] + s[t][2 * row + 1];
        }
        m.max[row] = max;
        m.sum[row] = m.sum[row] * again + sum;
#pragma unroll
        for (int t = 0; t < shape<HD>::tiles; t++) {
            m.o[t][2 * row] *= again;
            m.o[t][2 * row + 1] *= again;
        }
    }
}

/* o += p v for the keys that exist. */
template <class T, int HD>
static __device__ __forceinline__ void
add_values(softmax<HD> &m, const float p[KEYS / 8][4], const T *v, int keys, int lane) {
    using S = shape<HD>;
#pragma unroll
    for (int j = 0; j < KEYS / 16; j++) {
        if (j * 16 >= keys)
            break;
        const float *p0 = p[2 * j], *p1 = p[2 * j + 1];
        uint32_t f[4], w[4] = {pack2<T>(p0[0], p0[1]), pack2<T>(p0[2], p0[3]),
                               pack2<T>(p1[0], p1[1]), pack2<T>(p1[2], p1[3])};
        const T *at = v + (j * 16 + lane % 16) * S::stride;
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

/* ---- the kernel ------------------------------------------------------------------ */

/* The warp's 16 rows, normalised, through its own part of shared memory to the device. */
template <class T, int HD>
static __device__ __forceinline__ void store_rows(softmax<HD> m[], T *rows, T *out, int n,
                                                  int heads, int64_t out_row, int lane) {
    using S = shape<HD>;
#pragma unroll
    for (int h = 0; h < S::heads; h++) {
#pragma unroll
        for (int row = 0; row < 2; row++) {
            float sum = m[h].sum[row];
            sum += __shfl_xor_sync(0xffffffffu, sum, 1);
            sum += __shfl_xor_sync(0xffffffffu, sum, 2);
            float inv = 1 / sum;
            T *to = rows + (lane / 4 + row * 8) * S::stride + h * HD + lane % 4 * 2;
#pragma unroll
            for (int t = 0; t < S::tiles; t++)
                *reinterpret_cast<uint32_t *>(to + t * 8) =
                    pack2<T>(m[h].o[t][2 * row] * inv, m[h].o[t][2 * row + 1] * inv);
        }
    }
    __syncwarp();
    constexpr int vecs = S::width / 8;
    for (int i = lane; i < 16 * vecs; i += 32) {
        int r = i / vecs, j = i % vecs * 8;
        if (r < n && j < heads * HD)
            *reinterpret_cast<uint4 *>(out + r * out_row + j) =
                *reinterpret_cast<const uint4 *>(rows + r * S::stride + j);
    }
}

/* Block (b * blocks + i, g): rows [i * WARPS * 16, ...) of sequence b, head group g. */
template <class T, int HD, int WARPS, bool ALIBI>
__global__ void __launch_bounds__(WARPS * 32, shape<HD>::warps / WARPS)
    attn_kernel(const int32_t *cu, unsigned blocks, struct vn_attn_args a, float scale) {
#if __CUDA_ARCH__ >= 800 /* older ones take standard.cu */
    using S = shape<HD>;
    extern __shared__ uint4 shared[];
    constexpr int threads = WARPS * 32, rows = WARPS * 16;
    int b = (int)(blockIdx.x / blocks), r0 = (int)(blockIdx.x % blocks) * rows;
    int head = (int)blockIdx.y * S::heads, lane = threadIdx.x % 32;
    int64_t width = (int64_t)a.n_heads * HD, t0 = cu[b];
    source<T> s = {static_cast<const T *>(a.qkv) + t0 * 3 * width + head * HD, 3 * width,
                   width, (int)(cu[b + 1] - t0), min(S::heads, a.n_heads - head)};
    if (r0 >= s.n)
        return;
    T *q = reinterpret_cast<T *>(shared), *ring = q + rows * S::stride;
    int mine = threadIdx.x / 32 * 16; /* the warp's first row in the block */
    int left = s.n - r0 - mine;       /* rows of the sequence from there on */
    softmax<HD> m[S::heads];
#pragma unroll
    for (int h = 0; h < S::heads; h++) {
        m[h].max[0] = m[h].max[1] = -INFINITY;
        m[h].sum[0] = m[h].sum[1] = 0;
#pragma unroll
        for (int t = 0; t < S::tiles; t++)
            m[h].o[t][0] = m[h].o[t][1] = m[h].o[t][2] = m[h].o[t][3] = 0;
    }
    int q_rows = min(rows, round16(s.n - r0));
    load<T, HD, threads>(q, s.first, s, r0, q_rows);
    load_keys<T, HD, threads>(ring, s, 0);
    for (int k0 = 0; k0 < s.n; k0 += KEYS) {
        int keys = min(KEYS, s.n - k0);
        T *k = ring + k0 / KEYS % 2 * 2 * KEYS * S::stride, *v = k + KEYS * S::stride;
        copy_wait();
        __syncthreads(); /* these keys are here, and nobody needs those before any more */
        if (k0 + KEYS < s.n)
            load_keys<T, HD, threads>(ring + (k0 / KEYS + 1) % 2 * 2 * KEYS * S::stride,
                                      s, k0 + KEYS);
        if (a.rope_cos) {
            rotate<T, HD, threads>(k, k0, keys, a);
            if (k0 == 0)
                rotate<T, HD, threads>(q, r0, min(rows, s.n - r0), a);
            __syncthreads();
        }
        if (left > 0) {
#pragma unroll
            for (int h = 0; h < S::heads; h++) {
                float p[KEYS / 8][4];
                query<HD> fq; /* read again at every step: registers are what is scarce */
                load_query<T, HD>(fq, q + mine * S::stride + h * HD, lane);
                scores<T, HD>(p, fq, k + h * HD, keys, lane);
                if (ALIBI && h < s.heads)
                    add_alibi(p, a.alibi[head + h] * sqrtf((float)HD), r0 + mine - k0, lane);
                weigh<HD>(m[h], p, scale);
                add_values<T, HD>(m[h], p, v + h * HD, keys, lane);
            }
        }
    }
    if (left > 0)
        store_rows<T, HD>(m, q + mine * S::stride,
                          static_cast<T *>(a.out) + (t0 + r0 + mine) * width + head * HD,
                          min(left, 16), s.heads, width, lane);
#endif
}

/* ---- launching ------------------------------------------------------------------- */

template <class T, int HD, int WARPS, bool ALIBI>
static int launch_as(struct vn_cuda *c, const struct vn_seqs *s,
                  const struct vn_attn_args *a, struct vn_error *err) {
    constexpr int rows = WARPS * 16;
    size_t shared = shape<HD>::shared(rows, s->max_len > KEYS ? 2 : 1);
    if (shared > 48 * 1024) {
        cudaError_t e = cudaFuncSetAttribute(attn_kernel<T, HD, WARPS, ALIBI>,
                                             cudaFuncAttributeMaxDynamicSharedMemorySize,
                                             (int)shared);
        if (e)
            return vn_fail(err, vn_cuda_status(e), "cuda: %zu bytes of shared memory: %s",
                           shared, cudaGetErrorString(e));
    }
    unsigned blocks = (unsigned)vn_tile_blocks(s->max_len, rows);
    dim3 grid((unsigned)s->n_seq * blocks,
              (unsigned)((a->n_heads + shape<HD>::heads - 1) / shape<HD>::heads));
    float scale = 1.4426950408889634f / sqrtf((float)HD);
    attn_kernel<T, HD, WARPS, ALIBI>
        <<<grid, WARPS * 32, shared, c->compute>>>(s->device, blocks, *a, scale);
    return vn_cuda_launched("attn", s->n_tok, (int64_t)a->n_heads * HD, err);
}

/* ALiBi is compiled apart: rotary models do not pay for it. */
template <class T, int HD, int WARPS>
static int launch(struct vn_cuda *c, const struct vn_seqs *s,
                  const struct vn_attn_args *a, struct vn_error *err) {
    if (a->alibi)
        return launch_as<T, HD, WARPS, true>(c, s, a, err);
    return launch_as<T, HD, WARPS, false>(c, s, a, err);
}

template <class T, int HD>
static int for_warps(struct vn_cuda *c, const struct vn_seqs *s,
                     const struct vn_attn_args *a, struct vn_error *err) {
    constexpr int many = HD < 128 ? 8 : 4; /* what is never asked for is not compiled */
    if (vn_tile_attn_warps(s->max_len, HD) == 8)
        return launch<T, HD, many>(c, s, a, err);
    return launch<T, HD, 4>(c, s, a, err);
}

template <class T>
static int for_head(struct vn_cuda *c, const struct vn_seqs *s,
                    const struct vn_attn_args *a, struct vn_error *err) {
    switch (a->d_head) {
    case 16: return for_warps<T, 16>(c, s, a, err);
    case 24: return for_warps<T, 24>(c, s, a, err);
    case 32: return for_warps<T, 32>(c, s, a, err);
    case 64: return for_warps<T, 64>(c, s, a, err);
    case 128: return for_warps<T, 128>(c, s, a, err);
    default:
        return vn_fail(err, VN_EINTERNAL, "cuda: attention with heads of %d", a->d_head);
    }
}

int vn_cuda_attn(struct vn_backend *be, const struct vn_seqs *s,
                 const struct vn_attn_args *a, struct vn_error *err) {
    struct vn_cuda *c;
    int rc = vn_cuda_enter(be, &c, err);
    if (rc || !s->n_tok)
        return rc;
    if (c->base.act == VN_F16)
        return for_head<__half>(c, s, a, err);
    if (c->base.act == VN_BF16)
        return for_head<__nv_bfloat16>(c, s, a, err);
    return vn_cuda_attn_f32(c, s, a, err);
}
