// hgemm_norm.cuh - the kernel behind hgemm_norm.cu: a product that is added to the residual,
// and the norm of that, in one: x += A W' + b, y = LayerNorm(x), D wide on all sides.
//
// A block keeps N rows of W in shared memory for as long as it lives, as in hgemm_kept.cuh;
// the D / N blocks of a cluster have a whole row of x among them. They compute tiles of 64
// rows, all the same ones: 64 x BK of A at a time comes to all of them in one copy. Two
// warpgroups of a block take turns: the one multiplies a tile while the other works off its
// epilogue, which is where the time goes: memory is what this is short of. What a tile adds
// to is read into registers before the tile's turn.
//
// A thread has of each 16 columns four that lie together: W's rows lie permuted in shared
// memory (describe in hgemm_norm.cu). Each block sums its columns of a row and the squares of
// their differences to its own mean, and sends both to all of the cluster; of these each
// makes the sum of squares about the row's mean.
//
// One row of x and of y is the same sums in the same order wherever it lies.
#ifndef VN_HGEMM_NORM_CUH
#define VN_HGEMM_NORM_CUH

#include "hgemm_kept.cuh"

struct hgemm_norm_args {
    const float *bias, *gamma, *beta; /* [D] */
    float *x;                         /* [rows, D] */
    void *y;                          /* [rows, D]; may be A: its row was read before */
    int rows, tiles;
    float eps;
};

// Shapes, all constants.
template <int D, int N> struct norm_shape {
    static constexpr int blocks = D / N; /* of a cluster */
    static constexpr int steps = (D + BK - 1) / BK, rows = 64;
    static constexpr int weights = steps * N * BK * 2, stage = rows * BK * 2;
    static constexpr int sums = blocks * rows * 8; /* bytes, of a tile */
    static constexpr int columns = 3 * N * 4, barriers = 512;
    static constexpr int rest = HGEMM_SHARED - weights - 4 * sums - columns - barriers;
    static constexpr int stages = rest / stage < 12 ? rest / stage : 12;
    static constexpr int bytes = weights + stages * stage + 4 * sums + columns + barriers;
    static_assert(D % N == 0 && N % 16 == 0 && blocks <= 4, "whole blocks");
    static_assert(stages >= 4, "too much is kept");
    static_assert((2 * stages + steps + 6) * 8 <= barriers, "barriers");
};

#if VN_HOPPER

struct norm_barriers {
    uint64_t *full;    /* [stages] */
    uint64_t *empty;   /* [stages] in block s % blocks, which copies to stage s of all */
    uint64_t *weights; /* [steps] */
    uint64_t *turn;    /* [2]: all of the other warpgroup's products have begun */
    uint64_t *sums;    /* [2][2] of a warpgroup, which take turns: all have come */
};

// Where a block keeps what.
struct norm_shared {
    char *weights, *ring;
    float *sums;    /* [2][2][blocks][64][2]: for a warpgroup and turn */
    float *columns; /* bias, gamma, beta [N] */
};

template <class S, int N>
static __device__ __forceinline__ void norm_produce(const CUtensorMap *ma,
                                                    const CUtensorMap *mw,
                                                    const hgemm_norm_args &g,
                                                    const norm_shared &m,
                                                    const norm_barriers &b) {
    const int rank = (int)cluster_rank(), lanes = (int)gridDim.x / S::blocks;
    const int first = (int)blockIdx.x / S::blocks;
    constexpr uint16_t all = (uint16_t)((1 << S::blocks) - 1);
    ring_place<S::stages> p = {0, 1};
    for (int t = first; t < g.tiles; t += lanes)
        for (int k = 0; k < S::steps; k++) {
            if (t == first) {
                barrier_expect(&b.weights[k], N * BK * 2 + (k ? 0 : S::columns));
                if (!k) {
                    bulk_copy(m.columns, g.bias + rank * N, N * 4, &b.weights[0]);
                    bulk_copy(m.columns + N, g.gamma + rank * N, N * 4, &b.weights[0]);
                    bulk_copy(m.columns + 2 * N, g.beta + rank * N, N * 4, &b.weights[0]);
                }
                tma_tile5(m.weights + k * N * BK * 2, mw, &b.weights[k], k * BK, rank * N / 16);
            }
            if (p.s % S::blocks == rank) {
                barrier_wait(&b.empty[p.s], p.parity);
                tma_tile_multicast(m.ring + p.s * S::stage, ma, &b.full[p.s], k * BK,
                                   t * S::rows, all);
            }
            p.template advance<1>();
        }
}

// Stage s may be written again: by the block that does it, and what comes is what this waits
// for.
template <class S>
static __device__ __forceinline__ void kept_give_back(const norm_barriers &b, int s) {
    if (threadIdx.x % 128 == 0) {
        barrier_expect(&b.full[s], S::stage);
        barrier_arrive_at(&b.empty[s], (uint32_t)(s % S::blocks));
    }
}

// ---- the epilogue ---------------------------------------------------------------------

// The thread's part of a tile: rows `row` and 8 more, columns `column` and on, four of each
// 16. Of sums c those are c[2 j][2 i], c[2 j][2 i + 1], c[2 j + 1][2 i], c[2 j + 1][2 i + 1]
// for row 8 i, columns 16 j.
struct norm_place {
    int row, column;
};

template <int D, int N>
static __device__ __forceinline__ void norm_read(float4 x[N / 16][2], const hgemm_norm_args &g,
                                                 norm_place p) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
        const float *at = g.x + (int64_t)(p.row + 8 * i) * D + p.column;
        if (p.row + 8 * i < g.rows) {
#pragma unroll
            for (int j = 0; j < N / 16; j++)
                x[j][i] = read_ahead(at + 16 * j);
        } else {
#pragma unroll
            for (int j = 0; j < N / 16; j++)
                x[j][i] = make_float4(0, 0, 0, 0);
        }
    }
}

// c + bias + x to c and to memory.
template <int D, int N>
static __device__ __forceinline__ void norm_add(float c[N / 8][4], const float4 x[N / 16][2],
                                                const float *columns, const hgemm_norm_args &g,
                                                norm_place p) {
#pragma unroll
    for (int j = 0; j < N / 16; j++) {
        const float4 b = *reinterpret_cast<const float4 *>(columns + 16 * j);
        float *u = c[2 * j], *v = c[2 * j + 1];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            u[2 * i] = u[2 * i] + b.x + x[j][i].x;
            u[2 * i + 1] = u[2 * i + 1] + b.y + x[j][i].y;
            v[2 * i] = v[2 * i] + b.z + x[j][i].z;
            v[2 * i + 1] = v[2 * i + 1] + b.w + x[j][i].w;
        }
    }
#pragma unroll
    for (int i = 0; i < 2; i++) {
        float *at = g.x + (int64_t)(p.row + 8 * i) * D + p.column;
        if (p.row + 8 * i < g.rows) {
#pragma unroll
            for (int j = 0; j < N / 16; j++)
                store4(at + 16 * j, make_float4(c[2 * j][2 * i], c[2 * j][2 * i + 1],
                                                c[2 * j + 1][2 * i], c[2 * j + 1][2 * i + 1]));
        }
    }
}

// Over the four threads that have a row.
static __device__ __forceinline__ float norm_quad(float v) {
    v += __shfl_xor_sync(0xffffffffu, v, 1);
    return v + __shfl_xor_sync(0xffffffffu, v, 2);
}

// Of the block's columns of two rows: sum and squares of differences to the mean, both rows'
// one after the other.
template <int N> static __device__ __forceinline__ float4 norm_sums(const float c[N / 8][4]) {
    float sum[2] = {0, 0}, squares[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < 2; i++) {
#pragma unroll
        for (int j = 0; j < N / 8; j++)
            sum[i] += c[j][2 * i] + c[j][2 * i + 1];
        sum[i] = norm_quad(sum[i]);
        const float mean = sum[i] * (1.0f / N);
#pragma unroll
        for (int j = 0; j < N / 8; j++) {
            const float d = c[j][2 * i] - mean, e = c[j][2 * i + 1] - mean;
            squares[i] += d * d + e * e;
        }
        squares[i] = norm_quad(squares[i]);
    }
    return make_float4(sum[0], squares[0], sum[1], squares[1]);
}

struct norm_of {
    float mean, scale;
};

// Of a row, from the sums of its parts.
template <int D, int N>
static __device__ __forceinline__ norm_of norm_combine(const float2 part[D / N], float eps) {
    float sum = 0, squares = 0;
#pragma unroll
    for (int r = 0; r < D / N; r++)
        sum += part[r].x;
    const float mean = sum / (float)D;
#pragma unroll
    for (int r = 0; r < D / N; r++) {
        const float far = part[r].x * (1.0f / N) - mean;
        squares += part[r].y + (float)N * (far * far);
    }
    return norm_of{mean, 1 / sqrtf(squares / (float)D + eps)};
}

// The mean and scale of two rows, by way of all blocks of the cluster.
template <class S, int D, int N>
static __device__ __forceinline__ void norm_exchange(norm_of of[2], float4 mine, float *sums,
                                                     uint64_t *bar, uint32_t parity,
                                                     float eps) {
    const int lane = (int)threadIdx.x % 32, pair = (int)threadIdx.x % 128 / 32 * 8 + lane / 4;
    const int rank = (int)cluster_rank();
    float *at = sums + pair * 4; /* of block 0's */
    if (threadIdx.x % 128 == 0)
        barrier_expect(bar, S::sums);
    if (lane % 4 < S::blocks) /* the four that have a row send it to one block each */
        send(at + rank * S::rows * 2, mine, bar, (uint32_t)(lane % 4));
    barrier_wait(bar, parity);
    float2 part[2][S::blocks];
#pragma unroll
    for (int r = 0; r < S::blocks; r++) {
        const float4 v = *reinterpret_cast<const float4 *>(at + r * S::rows * 2);
        part[0][r] = make_float2(v.x, v.y);
        part[1][r] = make_float2(v.z, v.w);
    }
    of[0] = norm_combine<D, N>(part[0], eps);
    of[1] = norm_combine<D, N>(part[1], eps);
}

template <class T, int D, int N>
static __device__ __forceinline__ void norm_write(const float c[N / 8][4], const norm_of of[2],
                                                  const float *columns,
                                                  const hgemm_norm_args &g, norm_place p) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
        T *at = static_cast<T *>(g.y) + (int64_t)(p.row + 8 * i) * D + p.column;
        if (p.row + 8 * i >= g.rows)
            continue;
#pragma unroll
        for (int j = 0; j < N / 16; j++) {
            const float4 m = *reinterpret_cast<const float4 *>(columns + N + 16 * j);
            const float4 b = *reinterpret_cast<const float4 *>(columns + 2 * N + 16 * j);
            const float *u = c[2 * j] + 2 * i, *v = c[2 * j + 1] + 2 * i;
            store4(at + 16 * j, make_float4((u[0] - of[i].mean) * of[i].scale * m.x + b.x,
                                            (u[1] - of[i].mean) * of[i].scale * m.y + b.y,
                                            (v[0] - of[i].mean) * of[i].scale * m.z + b.z,
                                            (v[1] - of[i].mean) * of[i].scale * m.w + b.w));
        }
    }
}

template <class S, class T, int D, int N>
static __device__ __forceinline__ void norm_consume(const hgemm_norm_args &g,
                                                    const norm_shared &m,
                                                    const norm_barriers &b) {
    const int lanes = (int)gridDim.x / S::blocks, group = uniform((int)threadIdx.x / 128 - 1);
    const int first = (int)blockIdx.x / S::blocks + group * lanes;
    const int quad = (int)threadIdx.x % 4 * 4; /* columns of 16 */
    const float *columns = m.columns + quad;
    const uint64_t w = wgmma_operand(m.weights), a = wgmma_operand(m.ring);
    norm_place at = {first * S::rows + (int)threadIdx.x % 128 / 32 * 16 +
                         (int)threadIdx.x % 32 / 4,
                     (int)cluster_rank() * N + quad};
    float c[N / 8][4] = {};
    float4 x[N / 16][2];
    ring_place<S::stages> p = {0, 0};
    if (group)
        p.template advance<S::steps>();
    uint32_t parity = group ? 0 : 1; /* of turns: the first group has the first one */
    uint32_t turn = 0;               /* of sums; its higher bits count */
    norm_read<D, N>(x, g, at);
    for (int t = first; t < g.tiles; t += 2 * lanes) {
        norm_of of[2];
        barrier_wait(&b.turn[group], parity);
        parity ^= 1;
        if (t == first)
            kept_multiply<S, T, N, D, true>(c, w, a, b, p);
        else
            kept_multiply<S, T, N, D, false>(c, w, a, b, p);
        if (threadIdx.x % 128 == 0)
            barrier_arrive(&b.turn[1 - group]);
        int last = p.s ? p.s - 1 : S::stages - 1;
        p.template advance<S::steps>();
        wgmma_wait<0>();
        kept_give_back<S>(b, last);
        norm_add<D, N>(c, x, columns, g, at);
        norm_place next = {at.row + 2 * lanes * S::rows, at.column};
        norm_read<D, N>(x, g, next);
        const int i = group * 2 + (int)(turn & 1);
        norm_exchange<S, D, N>(of, norm_sums<N>(c), m.sums + i * S::sums / 4, &b.sums[i],
                               turn >> 1 & 1, g.eps);
        turn++;
        norm_write<T, D, N>(c, of, columns, g, at);
        at = next;
    }
}

template <class T, int D, int N>
__global__ void __launch_bounds__(HGEMM_THREADS, 1)
    hgemm_norm_kernel(const __grid_constant__ CUtensorMap ma,
                      const __grid_constant__ CUtensorMap mw, const hgemm_norm_args g) {
    using S = norm_shape<D, N>;
    extern __shared__ __align__(1024) char shared[];
    char *ring = shared + S::weights;
    float *sums = reinterpret_cast<float *>(ring + S::stages * S::stage);
    float *columns = sums + S::sums;
    uint64_t *bars = reinterpret_cast<uint64_t *>(columns + 3 * N);
    uint64_t *turns = bars + 2 * S::stages + S::steps;
    const norm_shared m = {shared, ring, sums, columns};
    const norm_barriers b = {bars, bars + S::stages, bars + 2 * S::stages, turns, turns + 2};
    if (threadIdx.x == 0) {
        tma_prefetch(&ma);
        tma_prefetch(&mw);
        for (int i = 0; i < 2 * S::stages + S::steps + 6; i++)
            barrier_init(&bars[i], i >= S::stages && i < 2 * S::stages ? S::blocks : 1);
        barriers_ready();
        for (int s = 0; s < S::stages; s++)
            barrier_expect(&b.full[s], S::stage);
    }
    cluster_sync();
    if (threadIdx.x < 128) {
        registers_fewer<24>();
        if (threadIdx.x == 0)
            norm_produce<S, N>(&ma, &mw, g, m, b);
    } else {
        registers_more<240>();
        norm_consume<S, T, D, N>(g, m, b);
    }
    cluster_sync(); /* the others may still arrive at our barriers */
}

#else // !VN_HOPPER

template <class T, int D, int N>
__global__ void __launch_bounds__(HGEMM_THREADS, 1)
    hgemm_norm_kernel(const __grid_constant__ CUtensorMap, const __grid_constant__ CUtensorMap,
                      const hgemm_norm_args) {
    __trap(); /* never launched: hgemm_norm.cu asks for compute capability 9.0 */
}

#endif
#endif
