/* attn_short.cu - attention inside sequences that fit into shared memory as a whole.
 *
 * These are batches of up to 192 tokens a record, 160 with heads of 24, 112 with heads of 128
 * (vn_tile_attn_short), and, with heads of 64 on Hopper, such records of any batch. attn.cu
 * takes longer ones; its blocks wait at a barrier in every step of keys. Here each waits once:
 * a block takes one sequence and one to four heads (64 to 128 columns), a warp 16 of the
 * sequence's rows; it loads their queries, keys and values, rotates them and, when all have
 * done so, computes its rows head after head. What hides the wait for the device's memory is
 * the other blocks of the multiprocessor. */
#include "attn.cuh"

/* ONE: all sequences have one step of keys. Then registers, 64 a thread or, with heads of 128,
 * 128, are for as many warps as hide the wait: on an H200, 8 blocks rather than 6 took 150M
 * from 103.9 ms to 98.6, and 650M, which spills a little, from 87.1 to 86.1. Otherwise two
 * blocks of the largest size must fit. */
template <int HD> struct short_config {
    static constexpr int warps = VN_TILE_ATTN_SHORT_MAX(HD);
    static constexpr int threads(bool one) {
        return (one ? KEYS / 16 : warps) * 32;
    }
    static constexpr int blocks(bool one) {
        return one ? (HD == 128 ? 4 : 8) : 2;
    }
    static constexpr int units = HD / 8; /* threads that rotate a row, 4 pairs each */
    static constexpr int turns = (16 * units + 31) / 32;
};

/* ---- loading --------------------------------------------------------------------- */

/* Starts the copies of the warp's rows; n: of the sequence from the first of them on. Beyond
 * the last row: zeros as queries and values; as keys that one again, and zeros from `keys` on,
 * of which nothing comes: that is the last tile of 49 to 56 tokens. */
template <class T, int HD>
static __device__ __forceinline__ void load(T *to, int part_to, const T *from, int row,
                                            int part, int n, int keys, int heads, int lane) {
    using S = shape<HD>;
    constexpr int vecs = S::width / 8, at_once = 32 / vecs;
    int r = lane / vecs, j = lane % vecs * 8;
    if (r >= at_once || j >= heads * HD)
        return;
#pragma unroll
    for (int i = 0; i < 16; i += at_once) {
        if (16 % at_once && i + r >= 16)
            break;
        const T *f = from + min(i + r, n - 1) * row + j;
        T *t = to + (i + r) * S::stride + j;
        copy16(t, f, i + r < n);
        copy16(t + part_to, f + part, i + r < keys);
        copy16(t + 2 * part_to, f + 2 * part, i + r < n);
    }
}

/* What a lane rotates in turn i: of which row of the warp's 16, beginning where. Lanes that
 * follow each other have rows that are `turns` apart, so that their 8 bytes each lie in
 * different banks. (Three lanes to a row, for heads of 24, cannot have that.) */
struct unit {
    int row, j;
};
template <int HD> static __device__ __forceinline__ struct unit unit_at(int i, int lane) {
    constexpr int units = short_config<HD>::units, turns = short_config<HD>::turns;
    if (32 % units == 0)
        return {lane / units * turns + i, lane % units * 4};
    return {(i * 32 + lane) / units, (i * 32 + lane) % units * 4};
}

/* The angles that a lane needs, on their way while the rows are. */
template <int HD> struct angles {
    float4 c[short_config<HD>::turns], s[short_config<HD>::turns];
};
template <int HD>
static __device__ __forceinline__ void load_angles(angles<HD> &g,
                                                   const struct vn_attn_args &a, int first,
                                                   int n, int lane) {
#pragma unroll
    for (int i = 0; i < short_config<HD>::turns; i++) {
        const struct unit u = unit_at<HD>(i, lane);
        int at = (first + min(u.row, n - 1)) * (HD / 2) + u.j;
        g.c[i] = read_ahead(a.rope_cos + at);
        g.s[i] = read_ahead(a.rope_sin + at);
    }
}

/* Rotates the warp's queries and keys. */
template <class T, int HD>
static __device__ __forceinline__ void rotate(T *q, T *k, const angles<HD> &g, int lane) {
#pragma unroll
    for (int i = 0; i < short_config<HD>::turns; i++) {
        const struct unit u = unit_at<HD>(i, lane);
        if (16 * short_config<HD>::units % 32 && u.row >= 16)
            break;
        rotate_row<T, HD>(q + u.row * shape<HD>::stride, u.j, g.c[i], g.s[i]);
        rotate_row<T, HD>(k + u.row * shape<HD>::stride, u.j, g.c[i], g.s[i]);
    }
}

/* ---- the kernel ------------------------------------------------------------------ */

/* One step, compiled for each number of tiles that it may have. */
template <class T, int HD, bool ALIBI, bool FIRST>
static __device__ __forceinline__ void attend_step(softmax<HD> &m, const T *q, const T *k,
                                                   const T *v, const struct step &s,
                                                   float scale, float slope, int lane) {
    const int t = s.tiles;
    if (t == 8)
        attend<T, HD, ALIBI, 8>(m, q, k, v, s, 8, FIRST, scale, slope, lane);
    else if (FIRST && t == 7)
        attend<T, HD, ALIBI, 7>(m, q, k, v, s, 7, FIRST, scale, slope, lane);
    else if (t == 6)
        attend<T, HD, ALIBI, 6>(m, q, k, v, s, 6, FIRST, scale, slope, lane);
    else if (t == 4)
        attend<T, HD, ALIBI, 4>(m, q, k, v, s, 4, FIRST, scale, slope, lane);
    else
        attend<T, HD, ALIBI, 2>(m, q, k, v, s, 2, FIRST, scale, slope, lane);
}

/* Block b * groups + g: sequence b, head group g. Blocks that run at the same time so read
 * whole rows of qkv between them; attn.cu's kernel gained 0 to 4 % from that order alone. */
template <class T, int HD, bool ALIBI, bool ONE>
__global__ void __launch_bounds__(short_config<HD>::threads(ONE), short_config<HD>::blocks(ONE))
    attn_short_kernel(const int32_t *cu, unsigned groups, struct vn_attn_args a,
                      float scale) {
#if __CUDA_ARCH__ >= 800 /* older ones take standard.cu */
    using S = shape<HD>;
    extern __shared__ uint4 shared[];
    unsigned b = blockIdx.x / groups;
    int head = (int)(blockIdx.x % groups) * S::heads, heads = min(S::heads, a.n_heads - head);
    int lane = threadIdx.x % 32, mine = threadIdx.x / 32 * 16;
    int t0 = cu[b], n = cu[b + 1] - t0;
    if (mine >= n || n > (int)blockDim.x / 2)
        return;
    int width = a.n_heads * HD;
    int part = (int)blockDim.x / 2 * S::stride; /* from queries to keys to values */
    T *q = reinterpret_cast<T *>(shared), *k = q + part, *v = k + part;
    const T *from = static_cast<const T *>(a.qkv) + (int64_t)(t0 + mine) * (3 * width) +
                    head * HD;
    angles<HD> g = {};
    if (a.rope_cos)
        load_angles<HD>(g, a, mine, n - mine, lane);
    const int keys = ONE ? 8 * step_tiles(n, true) : (n + 15) / 16 * 16;
    load<T, HD>(q + mine * S::stride, part, from, 3 * width, width, n - mine, keys - mine,
                heads, lane);
    copy_wait();
    if (a.rope_cos) {
        __syncwarp(); /* the rows have come, for all lanes */
        rotate<T, HD>(q + mine * S::stride, k + mine * S::stride, g, lane);
    }
    __syncthreads();
    q += mine * S::stride;
    const struct step first = step_at<T>(0, n, mine, lane);
#pragma unroll 1
    for (int h = 0; h < heads; h++) {
        float slope = ALIBI ? a.alibi[head + h] * sqrtf((float)HD) : 0;
        softmax<HD> m;
        attend_step<T, HD, ALIBI, true>(m, q + h * HD, k + h * HD, v + h * HD, first, scale,
                                        slope, lane);
#pragma unroll 1
        for (int k0 = KEYS; !ONE && k0 < n; k0 += KEYS) {
            const struct step s = step_at<T>(k0, n, mine, lane);
            int at = k0 * S::stride + h * HD;
            attend_step<T, HD, ALIBI, false>(m, q + h * HD, k + at, v + at, s, scale, slope,
                                             lane);
        }
        __syncwarp(); /* the result is written over the queries, which all lanes have read */
        put_head<T, HD>(m, q + h * HD, lane);
    }
    __syncwarp();
    T *out = static_cast<T *>(a.out) + (int64_t)(t0 + mine) * width + head * HD;
    store_rows<T, HD>(q, out, n - mine, heads, width, lane);
#endif
}

/* ---- launching ------------------------------------------------------------------- */

template <class T, int HD, bool ALIBI, bool ONE>
static int launch(struct vn_cuda *c, int warps, const struct vn_seqs *s,
                  const struct vn_attn_args *a, struct vn_error *err) {
    size_t shared = (size_t)warps * VN_TILE_ATTN_WARP_BYTES(HD);
    if (shared > 48 * 1024) {
        cudaError_t e = cudaFuncSetAttribute(attn_short_kernel<T, HD, ALIBI, ONE>,
                                             cudaFuncAttributeMaxDynamicSharedMemorySize,
                                             (int)shared);
        if (e)
            return vn_fail(err, vn_cuda_status(e), "cuda: %zu bytes of shared memory: %s",
                           shared, cudaGetErrorString(e));
    }
    unsigned groups = (unsigned)((a->n_heads + shape<HD>::heads - 1) / shape<HD>::heads);
    float scale = 1.4426950408889634f / sqrtf((float)HD);
    attn_short_kernel<T, HD, ALIBI, ONE>
        <<<(unsigned)s->n_seq * groups, warps * 32, shared, c->compute>>>(s->device, groups,
                                                                          *a, scale);
    return vn_cuda_launched("attn", s->n_tok, (int64_t)a->n_heads * HD, err);
}

template <class T, int HD, bool ALIBI>
static int for_steps(struct vn_cuda *c, int warps, const struct vn_seqs *s,
                     const struct vn_attn_args *a, struct vn_error *err) {
    if (warps <= KEYS / 16)
        return launch<T, HD, ALIBI, true>(c, warps, s, a, err);
    return launch<T, HD, ALIBI, false>(c, warps, s, a, err);
}

template <class T, int HD>
static int with_alibi(struct vn_cuda *c, int warps, const struct vn_seqs *s,
                      const struct vn_attn_args *a, struct vn_error *err) {
    if (a->alibi)
        return for_steps<T, HD, true>(c, warps, s, a, err);
    return for_steps<T, HD, false>(c, warps, s, a, err);
}

template <class T>
static int for_head(struct vn_cuda *c, int warps, const struct vn_seqs *s,
                    const struct vn_attn_args *a, struct vn_error *err) {
    switch (a->d_head) {
    case 16: return with_alibi<T, 16>(c, warps, s, a, err);
    case 24: return with_alibi<T, 24>(c, warps, s, a, err);
    case 32: return with_alibi<T, 32>(c, warps, s, a, err);
    case 64: return with_alibi<T, 64>(c, warps, s, a, err);
    case 128: return with_alibi<T, 128>(c, warps, s, a, err);
    default:
        return vn_fail(err, VN_EINTERNAL, "cuda: attention with heads of %d", a->d_head);
    }
}

int vn_cuda_attn_short(struct vn_cuda *c, int warps, const struct vn_seqs *s,
                       const struct vn_attn_args *a, struct vn_error *err) {
    if (c->base.act == VN_F16)
        return for_head<__half>(c, warps, s, a, err);
    return for_head<__nv_bfloat16>(c, warps, s, a, err);
}
