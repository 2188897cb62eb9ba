/* attn_hopper.cu - attention of long records on Hopper's tensor cores: heads of 64, in fp16
 * or bf16. Which records are long is a matter of their own length alone, so that what a record
 * gives does not depend on its neighbours; the others are attn_short.cu's.
 *
 * A block takes one head and 128 query rows of a sequence, 64 for each of two warpgroups, and
 * walks over the keys in steps of 128, which the TMA copies into a ring of stages. (A warp of
 * its own to start the copies would leave the others 96 registers; they need 128.) Queries are
 * rotated on their way into shared memory; keys, which many blocks need, by a kernel that comes
 * before and writes them where they were. On an H200, 128 records of 512 tokens with 40 heads:
 * 1.22 ms, of which the rotations are 0.31 and weights 0.34; steps of 64 keys took 1.31 ms, and
 * one block of three warpgroups rather than two of two, 1.44. */
#include "attn.cuh"
#include "maps.h"
#include "warpgroup.cuh"

enum {
    ROWS = 128,          /* query rows of a block */
    STEP = 128,          /* keys; where no more than half of the last one's exist, half */
    STAGES = 2,          /* of the ring */
    THREADS = 256,       /* two warpgroups; 128 registers each, two blocks on a processor */
    TILE = STEP * 64 * 2 /* bytes of a step's keys, or values */
};

/* Shared memory: the ring, the queries and later the result, barriers. */
enum { SHARED = STAGES * 2 * TILE + ROWS * 64 * 2 + 256 };

/* ---- where a block is ------------------------------------------------------------ */

/* Tiles of ROWS rows: sequence i begins with tile cu[i] / ROWS + i, which leaves room for all
 * of its own; what lies between is nobody's. Blocks are those of the tiles of sequences
 * [from, to), which have the long ones: where a batch begins with its longest records, as
 * those of vn-pack do, few others. */
struct range {
    int from, to, tile; /* the first one's first tile */
};

struct place {
    int t0, n, r0; /* the sequence's first token and tokens; the tile's first row */
};

/* By all threads of the block: each round looks at THREADS sequences at once. */
static __device__ __forceinline__ place place_of(const int32_t *cu, const range &of, int i) {
    const int tile = of.tile + i;
    int lo = of.from, stride = 1; /* the last sequence that begins at or before the tile */
    while (stride * THREADS < of.to - of.from)
        stride *= THREADS;
    for (; stride; stride /= THREADS) {
        const int s = lo + (int)threadIdx.x * stride;
        lo += (__syncthreads_count(s < of.to && __ldg(cu + s) / ROWS + s <= tile) - 1) * stride;
    }
    const int t0 = __ldg(cu + lo);
    return place{t0, __ldg(cu + lo + 1) - t0, (tile - t0 / ROWS - lo) * ROWS};
}

static int first_tile(const struct vn_seqs *s, int i) {
    return s->host[i] / ROWS + i;
}

/* From the first long sequence to the last one: there is one. */
static range long_ones(const struct vn_seqs *s) {
    range r = {0, (int)s->n_seq, 0};
    while (s->host[r.from + 1] - s->host[r.from] <= VN_TILE_ATTN_LONG)
        r.from++;
    while (s->host[r.to] - s->host[r.to - 1] <= VN_TILE_ATTN_LONG)
        r.to--;
    r.tile = first_tile(s, r.from);
    return r;
}

/* ---- rotation -------------------------------------------------------------------- */

/* Eight pairs: x, y of the two halves of a head, angles c and s. */
template <class T>
static __device__ __forceinline__ void rotate8(uint4 &x, uint4 &y, const float4 c[2],
                                               const float4 s[2]) {
    uint2 x0 = make_uint2(x.x, x.y), x1 = make_uint2(x.z, x.w);
    uint2 y0 = make_uint2(y.x, y.y), y1 = make_uint2(y.z, y.w);
    rotate4<T>(x0, y0, c[0], s[0]);
    rotate4<T>(x1, y1, c[1], s[1]);
    x = make_uint4(x0.x, x0.y, x1.x, x1.y);
    y = make_uint4(y0.x, y0.y, y1.x, y1.y);
}

/* The keys of long records, where they are. A warp takes a row at a time, a lane a quarter of
 * every eighth head, whose angles it so reads once. */
template <class T>
__global__ void __launch_bounds__(THREADS)
    rotate_keys_kernel(const int32_t *cu, range of, struct vn_attn_args a) {
    const place p = place_of(cu, of, (int)blockIdx.x);
    const int lane = threadIdx.x % 32, j = lane % 4 * 8;
    const int64_t width = (int64_t)a.n_heads * 64;
    if (p.n <= VN_TILE_ATTN_LONG)
        return;
    for (int r = p.r0 + threadIdx.x / 32; r < min(p.n, p.r0 + ROWS); r += THREADS / 32) {
        T *row = static_cast<T *>(a.qkv) + ((int64_t)(p.t0 + r) * 3 + 1) * width + j;
        const float4 *cos = reinterpret_cast<const float4 *>(a.rope_cos + r * 32 + j);
        const float4 *sin = reinterpret_cast<const float4 *>(a.rope_sin + r * 32 + j);
        const float4 c[2] = {__ldg(cos), __ldg(cos + 1)}, s[2] = {__ldg(sin), __ldg(sin + 1)};
#pragma unroll 5
        for (int h = lane / 4; h < a.n_heads; h += 8) {
            uint4 *x = reinterpret_cast<uint4 *>(row + h * 64), *y = x + 4;
            uint4 u = *x, v = *y;
            rotate8<T>(u, v, c, s);
            *x = u;
            *y = v;
        }
    }
}

#if VN_HOPPER

/* The warp's 16 queries as operand a of four products, [16, 64]: pairs that are rotated are 32
 * values apart, and so the same lane's. Beyond the last row: that one again. */
template <class T>
static __device__ __forceinline__ void load_queries(uint32_t q[4][4], const place &p, int row,
                                                    int head, const struct vn_attn_args &a,
                                                    int lane) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const int r = min(row + lane / 4 + 8 * i, p.n - 1), j = lane % 4 * 2;
        const T *at = static_cast<const T *>(a.qkv) +
                      ((int64_t)(p.t0 + r) * 3 * a.n_heads + head) * 64 + j;
#pragma unroll
        for (int k = 0; k < 8; k++)
            q[k / 2][k % 2 * 2 + i] = *reinterpret_cast<const uint32_t *>(at + 8 * k);
        if (!a.rope_cos)
            continue;
#pragma unroll
        for (int k = 0; k < 4; k++) {
            const float2 c = *reinterpret_cast<const float2 *>(a.rope_cos + r * 32 + j + 8 * k);
            const float2 s = *reinterpret_cast<const float2 *>(a.rope_sin + r * 32 + j + 8 * k);
            uint32_t &u = q[k / 2][k % 2 * 2 + i], &v = q[k / 2 + 2][k % 2 * 2 + i];
            const float2 x = unpack2<T>(u), y = unpack2<T>(v);
            u = pack2<T>(fmaf(x.x, c.x, -y.x * s.x), fmaf(x.y, c.y, -y.y * s.y));
            v = pack2<T>(fmaf(y.x, c.x, x.x * s.x), fmaf(y.y, c.y, x.y * s.y));
        }
    }
}

/* ---- copies ---------------------------------------------------------------------- */

/* What a block works on, and with. */
struct work {
    const CUtensorMap *map; /* q, k and v of all tokens */
    char *shared;
    place p;
    int head, heads;
    int steps, left; /* keys of the last step, 0: as many as of the others */
};

/* Barriers: the keys and the values of stage s are there; it is free; the last values are
 * there, where a step is not full. */
static __device__ __forceinline__ uint64_t *barrier(const work &w, int i) {
    return reinterpret_cast<uint64_t *>(w.shared + STAGES * 2 * TILE + ROWS * 64 * 2) + i;
}
static __device__ __forceinline__ uint64_t *keys_of(const work &w, int s) {
    return barrier(w, s);
}
static __device__ __forceinline__ uint64_t *values_of(const work &w, int s) {
    return barrier(w, STAGES + s);
}
static __device__ __forceinline__ uint64_t *empty_of(const work &w, int s) {
    return barrier(w, 2 * STAGES + s);
}
static __device__ __forceinline__ uint64_t *ready_of(const work &w) {
    return barrier(w, 3 * STAGES);
}

static __device__ __forceinline__ char *stage_of(const work &w, int step) {
    return w.shared + step % STAGES * 2 * TILE;
}
static __device__ __forceinline__ uint32_t parity_of(int step) {
    return (uint32_t)(step / STAGES & 1);
}

/* Starts the copies of a step, by one thread, once its stage is free. */
static __device__ __forceinline__ void fetch(const work &w, int step) {
    const int s = step % STAGES, y = w.p.t0 + step * STEP;
    char *at = stage_of(w, step);
    barrier_wait(empty_of(w, s), parity_of(step) ^ 1);
    barrier_expect(keys_of(w, s), TILE);
    tma_tile(at, w.map, keys_of(w, s), (w.heads + w.head) * 64, y);
    barrier_expect(values_of(w, s), TILE);
    tma_tile(at + TILE, w.map, values_of(w, s), (2 * w.heads + w.head) * 64, y);
}

/* The last step's values from row `left` on, by one warp. Beyond the sequence's end come rows
 * of the next one, or zeros: scores of such keys are masked, but a weight of 0 times such a
 * value may be NaN. */
static __device__ __forceinline__ void clear_rest(const work &w, int lane) {
    const int step = w.steps - 1;
    barrier_wait(values_of(w, step % STAGES), parity_of(step));
    uint4 *values = reinterpret_cast<uint4 *>(stage_of(w, step) + TILE);
    for (int i = w.left * 8 + lane; i < STEP * 8; i += 32)
        values[i] = make_uint4(0, 0, 0, 0);
    store_ready(); /* for products, which read as the TMA does */
    __syncwarp();
    if (lane == 0)
        barrier_arrive(ready_of(w));
}

/* ---- a step ---------------------------------------------------------------------- */

/* Running softmax of a warp's rows l / 4 and l / 4 + 8. */
struct state {
    float max[2], sum[2]; /* sum: of the lane's columns */
    float o[8][4];
};

/* Where there is no key, no weight: columns from `left` on. */
template <int TILES>
static __device__ __forceinline__ void mask(float s[TILES][4], int left, int lane) {
#pragma unroll
    for (int t = 0; t < TILES; t++)
#pragma unroll
        for (int i = 0; i < 4; i++)
            if (t * 8 + lane % 4 * 2 + i % 2 >= left)
                s[t][i] = -INFINITY;
}

/* Scores become weights, in place; `again` is what takes what was summed before to the new
 * maximum. `scale` includes log2 e. */
template <int TILES>
static __device__ __forceinline__ void weigh_step(state &m, float s[TILES][4], float again[2],
                                                  float scale, bool first) {
#pragma unroll
    for (int row = 0; row < 2; row++) {
        float max = fmaxf(s[0][2 * row], s[0][2 * row + 1]), sum = 0;
#pragma unroll
        for (int t = 1; t < TILES; t++)
            max = fmaxf(max, fmaxf(s[t][2 * row], s[t][2 * row + 1]));
        max = fmaxf(max, __shfl_xor_sync(0xffffffffu, max, 1));
        max = fmaxf(max, __shfl_xor_sync(0xffffffffu, max, 2));
        if (!first)
            max = fmaxf(max, m.max[row]);
        const float shift = max * scale;
#pragma unroll
        for (int t = 0; t < TILES; t++) {
            s[t][2 * row] = exp2_fast(fmaf(s[t][2 * row], scale, -shift));
            s[t][2 * row + 1] = exp2_fast(fmaf(s[t][2 * row + 1], scale, -shift));
            sum += s[t][2 * row] + s[t][2 * row + 1];
        }
        again[row] = first ? 0 : exp2_fast((m.max[row] - max) * scale);
        m.sum[row] = first ? sum : fmaf(m.sum[row], again[row], sum);
        m.max[row] = max;
    }
}

/* Step i, with 8 TILES keys; q: the warpgroup's queries; `ahead`: from the step's first key to
 * the warp's first row. */
template <class T, bool ALIBI, int TILES>
static __device__ __forceinline__ void attend_step(const work &w, state &m, uint64_t q, int i,
                                                   float scale, float slope, int ahead,
                                                   int lane) {
    const bool cut = w.left && i == w.steps - 1;
    const int s = i % STAGES;
    const uint64_t k = wgmma_operand(stage_of(w, i)), v = k + TILE / 16;
    float c[TILES][4], again[2];
    uint32_t p[TILES / 2][4];
    barrier_wait(keys_of(w, s), parity_of(i));
    wgmma_begin();
#pragma unroll
    for (int j = 0; j < 4; j++)
        wgmma<T, 8 * TILES>::add(c, q + 2 * j, k + 2 * j, j);
    wgmma_commit();
    wgmma_wait<0>();
    if (ALIBI)
        add_alibi<TILES>(c, slope, ahead, lane);
    if (cut)
        mask<TILES>(c, w.left, lane);
    weigh_step<TILES>(m, c, again, scale, !i);
#pragma unroll
    for (int t = 0; t < TILES; t++) {
        p[t / 2][t % 2 * 2] = pack2<T>(c[t][0], c[t][1]);
        p[t / 2][t % 2 * 2 + 1] = pack2<T>(c[t][2], c[t][3]);
    }
    if (i)
#pragma unroll
        for (int t = 0; t < 8; t++) {
            m.o[t][0] *= again[0], m.o[t][1] *= again[0];
            m.o[t][2] *= again[1], m.o[t][3] *= again[1];
        }
    if (cut && threadIdx.x < 32)
        clear_rest(w, lane);
    barrier_wait(cut ? ready_of(w) : values_of(w, s), cut ? 0 : parity_of(i));
    wgmma_begin();
#pragma unroll
    for (int j = 0; j < TILES / 2; j++)
        wgmma_turned<T>::add(m.o, p[j], v + 128 * j);
    wgmma_commit();
    wgmma_wait<0>();
    if (threadIdx.x % 128 == 0)
        barrier_arrive(empty_of(w, s));
    if (threadIdx.x == 0 && i && i - 1 + STAGES < w.steps) /* the others are done, or near */
        fetch(w, i - 1 + STAGES);
    __syncwarp();
}

/* ---- rows ------------------------------------------------------------------------ */

/* The warp's 16 queries, rotated, to `rows`; the warpgroup's are an operand then. */
template <class T>
static __device__ __forceinline__ void put_queries(const work &w, T *rows, int row,
                                                   const struct vn_attn_args &a, int lane) {
    uint32_t q[4][4];
    load_queries<T>(q, w.p, row, w.head, a, lane);
#pragma unroll
    for (int k = 0; k < 4; k++)
        stmatrix4(rows + tile_at<64>(lane % 16, 16 * k + lane / 16 * 8), q[k][0], q[k][1],
                  q[k][2], q[k][3]);
    store_ready();
    warpgroup_sync();
}

/* One head of the warp's rows, normalised, to the device by way of shared memory. */
template <class T>
static __device__ __forceinline__ void put_rows(const state &m, T *rows, T *out, int n,
                                                int64_t width, int lane) {
    uint32_t v[8][2];
#pragma unroll
    for (int row = 0; row < 2; row++) {
        float sum = m.sum[row];
        sum += __shfl_xor_sync(0xffffffffu, sum, 1);
        sum += __shfl_xor_sync(0xffffffffu, sum, 2);
        const float inv = reciprocal_fast(sum); /* of at least 1 */
#pragma unroll
        for (int t = 0; t < 8; t++)
            v[t][row] = pack2<T>(m.o[t][2 * row] * inv, m.o[t][2 * row + 1] * inv);
    }
#pragma unroll
    for (int j = 0; j < 8; j += 2)
        stmatrix4(rows + tile_at<64>(lane % 16, 8 * j + lane / 16 * 8), v[j][0], v[j][1],
                  v[j + 1][0], v[j + 1][1]);
    __syncwarp();
#pragma unroll
    for (int i = 0; i < 4; i++) {
        const int r = i * 4 + lane / 8, j = lane % 8 * 8;
        if (r < n)
            *reinterpret_cast<uint4 *>(out + r * width + j) =
                *reinterpret_cast<const uint4 *>(rows + tile_at<64>(r, j));
    }
}

/* The warp's rows. */
template <class T, bool ALIBI>
static __device__ __forceinline__ void attend_rows(const work &w, const struct vn_attn_args &a,
                                                   float scale) {
    T *rows = reinterpret_cast<T *>(w.shared + STAGES * 2 * TILE); /* of all warps */
    const int lane = threadIdx.x % 32, mine = threadIdx.x / 32 * 16, row = w.p.r0 + mine;
    const float slope = ALIBI ? a.alibi[w.head] * 8 : 0; /* of scores that are not yet scaled */
    const int64_t width = (int64_t)w.heads * 64;
    for (int i = 0; threadIdx.x == 0 && i < STAGES && i < w.steps; i++)
        fetch(w, i);
    __syncwarp();
    put_queries<T>(w, rows + mine * 64, row, a, lane);
    const uint64_t q = wgmma_operand(rows + mine / 64 * 64 * 64);
    const int last = w.steps - 1;
    state m = {};
#pragma unroll 1
    for (int i = 0; i < last; i++)
        attend_step<T, ALIBI, 16>(w, m, q, i, scale, slope, row - i * STEP, lane);
    if (w.left && w.left <= STEP / 2)
        attend_step<T, ALIBI, 8>(w, m, q, last, scale, slope, row - last * STEP, lane);
    else
        attend_step<T, ALIBI, 16>(w, m, q, last, scale, slope, row - last * STEP, lane);
    warpgroup_sync(); /* the result is written over the queries, which all warps have read */
    put_rows<T>(m, rows + mine * 64,
                static_cast<T *>(a.out) + (w.p.t0 + row) * width + w.head * 64, w.p.n - row,
                width, lane);
}

/* ---- the kernel ------------------------------------------------------------------ */

/* Block tile * heads + head. */
template <class T, bool ALIBI>
__global__ void __launch_bounds__(THREADS, 2)
    attn_hopper_kernel(const __grid_constant__ CUtensorMap map, const int32_t *cu, range of,
                       struct vn_attn_args a, float scale) {
    extern __shared__ __align__(1024) char shared[];
    const place p = place_of(cu, of, (int)blockIdx.x / a.n_heads);
    if (p.n <= VN_TILE_ATTN_LONG || p.r0 >= p.n)
        return;
    const int groups = p.n - p.r0 > 64 ? 2 : 1; /* that have rows */
    const work w = {&map, shared, p, (int)blockIdx.x % a.n_heads, a.n_heads,
                    (p.n + STEP - 1) / STEP, p.n % STEP};
    if (threadIdx.x == 0) {
        tma_prefetch(&map);
        for (int s = 0; s < STAGES; s++) {
            barrier_init(keys_of(w, s), 1);
            barrier_init(values_of(w, s), 1);
            barrier_init(empty_of(w, s), groups);
        }
        barrier_init(ready_of(w), 1);
        barriers_ready();
    }
    __syncthreads();
    if ((int)threadIdx.x / 128 < groups)
        attend_rows<T, ALIBI>(w, a, scale);
}

#else /* !VN_HOPPER */

template <class T, bool ALIBI>
__global__ void __launch_bounds__(THREADS, 2)
    attn_hopper_kernel(const __grid_constant__ CUtensorMap, const int32_t *, range,
                       struct vn_attn_args, float) {
    __trap(); /* never launched: vn_cuda_attn asks for compute capability 9.0 */
}

#endif

/* ---- launching ------------------------------------------------------------------- */

template <class T, bool ALIBI>
static int launch(struct vn_cuda *c, const struct vn_seqs *s, const struct vn_attn_args *a,
                  struct vn_error *err) {
    cudaError_t e = cudaFuncSetAttribute(attn_hopper_kernel<T, ALIBI>,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED);
    if (e)
        return vn_fail(err, vn_cuda_status(e), "cuda: %d bytes of shared memory: %s",
                       (int)SHARED, cudaGetErrorString(e));
    const range of = long_ones(s);
    const int64_t tiles = first_tile(s, of.to) - of.tile;
    if (a->rope_cos)
        rotate_keys_kernel<T>
            <<<(unsigned)tiles, THREADS, 0, c->compute>>>(s->device, of, *a);
    const unsigned blocks = (unsigned)(tiles * a->n_heads);
    attn_hopper_kernel<T, ALIBI><<<blocks, THREADS, SHARED, c->compute>>>(
        c->maps->qkv.map, s->device, of, *a, 1.4426950408889634f / 8);
    return vn_cuda_launched("attn", s->n_tok, (int64_t)a->n_heads * 64, err);
}

int vn_cuda_attn_hopper(struct vn_cuda *c, const struct vn_seqs *s,
                        const struct vn_attn_args *a, struct vn_error *err) {
    const int64_t width = (int64_t)a->n_heads * 64;
    CUresult r =
        vn_map_again(c, &c->maps->qkv, a->qkv, s->n_tok, 3 * width, STEP, 64);
    if (r)
        return vn_fail(err, VN_EFAIL, "cuda: cannot describe %lld rows of %lld: %d",
                       (long long)s->n_tok, (long long)(3 * width), (int)r);
    if (c->base.act == VN_F16)
        return a->alibi ? launch<__half, true>(c, s, a, err)
                        : launch<__half, false>(c, s, a, err);
    return a->alibi ? launch<__nv_bfloat16, true>(c, s, a, err)
                    : launch<__nv_bfloat16, false>(c, s, a, err);
}
