/* attn.cu - attention inside every sequence of a packed batch, in fp16 or bf16.
 *
 * Batches of short sequences are attn_short.cu's. Others with heads of 64, on Hopper, are
 * shared by length: attn_hopper.cu has the long sequences, attn_short.cu the rest. This kernel
 * takes any length, and batches where few sequences are not quite so short. A
 * warp owns 16 query rows of one to four heads (64 to 128 columns) and walks over the keys of
 * its sequence in steps of VN_ATTN_KEYS with a running maximum and sum in f32. The warps of a
 * block share the keys and values of a step in shared memory; q and k are rotated on their way
 * in. A row is computed the same way whatever the number of warps and whoever its neighbours
 * are. */
#include "attn.cuh"

/* Warps of a multiprocessor, at least; shared memory for one step of keys and values, or
 * for two: one in use, one on its way. */
template <int HD> struct long_config {
    static constexpr int warps = HD == 128 ? 8 : 16;
    static size_t shared(int rows, int steps) {
        return (size_t)(rows + 2 * KEYS * steps) * shape<HD>::stride * 2;
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

/* Starts the copy of rows [r0, r0 + rows); zeros where there is no head. Beyond the last
 * token: `again`, the last one again, or zeros. */
template <class T, int HD, int THREADS>
static __device__ __forceinline__ void load(T *to, const T *from, const source<T> &s,
                                            int r0, int rows, bool again) {
    using S = shape<HD>;
    constexpr int vecs = S::width / 8;
    for (int i = threadIdx.x; i < rows * vecs; i += THREADS) {
        int r = i / vecs, j = i % vecs * 8, row = again ? min(r0 + r, s.n - 1) : r0 + r;
        bool there = row < s.n && j < s.heads * HD;
        copy16(to + r * S::stride + j, there ? from + row * s.row + j : s.first, there);
    }
}

[[maybe_unused]] static __device__ __forceinline__ int round16(int n) {
    return (n + 15) / 16 * 16;
}

/* Keys and values of one step, one after the other. */
template <class T, int HD, int THREADS>
static __device__ __forceinline__ void load_keys(T *to, const source<T> &s, int k0) {
    int rows = round16(min(KEYS, s.n - k0));
    load<T, HD, THREADS>(to, s.first + s.part, s, k0, rows, true);
    load<T, HD, THREADS>(to + KEYS * shape<HD>::stride, s.first + 2 * s.part, s, k0, rows,
                         false);
}

/* Rotates rows in shared memory by their positions r0, r0 + 1, ..., at most `end`. A thread
 * takes four dimensions and the four that they are paired with, of every head of the group,
 * so that it reads the angles once. */
template <class T, int HD, int THREADS>
static __device__ __forceinline__ void rotate(T *at, int r0, int rows, int end,
                                              const struct vn_attn_args &a) {
    constexpr int half = HD / 2, units = half / 4;
#pragma unroll 4
    for (int i = threadIdx.x; i < rows * units; i += THREADS) {
        int r = i / units, j = i % units * 4;
        int64_t angle = (int64_t)min(r0 + r, end) * half + j;
        float4 c = __ldg(reinterpret_cast<const float4 *>(a.rope_cos + angle));
        float4 s = __ldg(reinterpret_cast<const float4 *>(a.rope_sin + angle));
        rotate_row<T, HD>(at + r * shape<HD>::stride, j, c, s);
    }
}

/* ---- the kernel ------------------------------------------------------------------ */

/* Block (b * blocks + i, g): rows [i * WARPS * 16, ...) of sequence b, head group g. */
template <class T, int HD, int WARPS, bool ALIBI>
__global__ void __launch_bounds__(WARPS * 32, long_config<HD>::warps / WARPS)
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
    int q_rows = min(rows, round16(s.n - r0));
    load<T, HD, threads>(q, s.first, s, r0, q_rows, false);
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
            rotate<T, HD, threads>(k, k0, round16(keys), s.n - 1, a);
            if (k0 == 0)
                rotate<T, HD, threads>(q, r0, q_rows, s.n - 1, a);
            __syncthreads();
        }
        if (left > 0) {
            struct step t = step_at<T>(k0, s.n, r0 + mine, lane);
#pragma unroll
            for (int h = 0; h < S::heads; h++) {
                float slope = ALIBI && h < s.heads ? a.alibi[head + h] * sqrtf((float)HD) : 0;
                attend<T, HD, ALIBI, KEYS / 8>(m[h], q + mine * S::stride + h * HD,
                                               k + h * HD, v + h * HD, t, t.tiles, k0 == 0,
                                               scale, slope, lane);
            }
        }
    }
    if (left <= 0)
        return;
    q += mine * S::stride;
    __syncwarp(); /* the result is written over the queries, which all lanes have read */
#pragma unroll
    for (int h = 0; h < S::heads; h++)
        put_head<T, HD>(m[h], q + h * HD, lane);
    __syncwarp();
    store_rows<T, HD>(q, static_cast<T *>(a.out) + (t0 + r0 + mine) * width + head * HD, left,
                      s.heads, width, lane);
#endif
}

/* ---- launching ------------------------------------------------------------------- */

template <class T, int HD, int WARPS, bool ALIBI>
static int launch_as(struct vn_cuda *c, const struct vn_seqs *s,
                     const struct vn_attn_args *a, struct vn_error *err) {
    constexpr int rows = WARPS * 16;
    size_t shared = long_config<HD>::shared(rows, s->max_len > KEYS ? 2 : 1);
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
    constexpr int most = HD < 128 ? 8 : 4; /* what is never asked for is not compiled */
    if (vn_tile_attn_warps(s->max_len, HD) == 8)
        return launch<T, HD, most>(c, s, a, err);
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

/* Long records by the one kernel, the others, if there are any, by the other. */
static int by_length(struct vn_cuda *c, const struct vn_seqs *s, const struct vn_attn_args *a,
                     struct vn_error *err) {
    int32_t longest = 0; /* of those that are not long */
    for (int64_t i = 0; i < s->n_seq; i++) {
        const int32_t n = s->host[i + 1] - s->host[i];
        if (n > longest && n <= VN_TILE_ATTN_LONG)
            longest = n;
    }
    int rc = VN_OK;
    if (longest)
        rc = vn_cuda_attn_short(c, (longest + 15) / 16, s, a, err);
    return rc ? rc : vn_cuda_attn_hopper(c, s, a, err);
}

int vn_cuda_attn(struct vn_backend *be, const struct vn_seqs *s,
                 const struct vn_attn_args *a, struct vn_error *err) {
    struct vn_cuda *c;
    int rc = vn_cuda_enter(be, &c, err);
    if (rc || !s->n_tok)
        return rc;
    if (c->sm == 90 && c->base.act != VN_F32 && a->d_head == 64 &&
        s->max_len > VN_TILE_ATTN_LONG)
        return by_length(c, s, a, err);
    int warps = c->base.act != VN_F32
                  ? vn_tile_attn_short(s->n_seq, s->n_tok, s->max_len, a->d_head)
                  : 0;
    if (warps)
        return vn_cuda_attn_short(c, warps, s, a, err);
    if (c->base.act == VN_F16)
        return for_head<__half>(c, s, a, err);
    if (c->base.act == VN_BF16)
        return for_head<__nv_bfloat16>(c, s, a, err);
    return vn_cuda_attn_f32(c, s, a, err);
}
