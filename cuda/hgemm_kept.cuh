// hgemm_kept.cuh - the kernel for short inner dimensions: y = epilogue(x W' + b), with the
// rows of W that a block needs kept in shared memory for as long as it lives.
//
// A block computes tiles of 64 x N, all of the same columns. One thread copies its part of
// W once, and 64 x BK of x at a time into a ring of stages. GROUPS warpgroups take turns: one
// multiplies a tile while the others work off their epilogues, out of the registers that
// hold the sums, in f32. Only x comes through the L2 cache, once for each N columns. (To have
// it copied once for the blocks of a cluster took 5 to 25 % longer, and to store rows without
// the TMA, 1 to 4 %, but for 480 with GELU, 3 % shorter; both with two warpgroups.)
//
// With products of P cycles and epilogues of E a tile takes no less than P and no less than
// (P + E) / GROUPS. 64 x 160 of 480 with GELU: P is 2,400, E about 5,000, 1,600 instructions
// that wait for one another, with one warp on each scheduler. With two warpgroups a tile took
// 3,700 cycles on an H200; with three E may be 4,800. But three have 160 registers a thread
// instead of 240, and sums take N / 2 of them.
//
// One row of y is the same sum in the same order wherever it lies.
#ifndef VN_HGEMM_KEPT_CUH
#define VN_HGEMM_KEPT_CUH

#include "hgemm.cuh"

// Shapes, all constants: the loop over K is unrolled.
template <int N, int K, int GROUPS> struct kept_shape {
    static constexpr int warps = 4 * GROUPS, threads = 128 + 32 * warps;
    static constexpr int registers = GROUPS == 2 ? 240 : 160; /* of a thread that multiplies */
    static constexpr int steps = (K + BK - 1) / BK, rows = 64;
    static constexpr int weights = steps * N * BK * 2, stage = rows * BK * 2;
    static constexpr int bias = N * 4, barriers = 256;
    static constexpr int block = N % 64 ? 32 : 64; /* columns that a warp stores at once */
    static constexpr int blocks = N / block, out = 16 * block * 2, outlets = 2 * warps * out;
    static constexpr int rest = HGEMM_SHARED - weights - outlets - bias - barriers;
    static constexpr int stages = rest / stage < 8 ? rest / stage : 8;
    static constexpr int bytes = weights + stages * stage + outlets + bias + barriers;
    static_assert(GROUPS == 2 || GROUPS == 3, "registers");
    static_assert(24 * 128 + registers * 32 * warps <= 65536, "registers");
    static_assert(N % 16 == 0 && N <= (GROUPS == 2 ? 256 : 160), "sums");
    static_assert(N % block == 0, "whole blocks");
    static_assert(stages >= 4, "too much is kept");
    static_assert((2 * stages + steps + GROUPS) * 8 <= barriers, "barriers");
};

#if VN_HOPPER

struct kept_barriers {
    uint64_t *full, *empty; /* [stages] */
    uint64_t *weights;      /* [steps] */
    uint64_t *turn;         /* [GROUPS]: all products of the one before have begun */
};

// A place in the ring.
template <int STAGES> struct ring_place {
    int s;
    uint32_t parity;
    template <int STEPS> __device__ __forceinline__ void advance() {
        s += STEPS % STAGES;
        parity ^= STEPS / STAGES & 1;
        if (s >= STAGES)
            s -= STAGES, parity ^= 1;
    }
};

template <class S, int N, int K>
static __device__ __forceinline__ void kept_produce(const CUtensorMap *mx,
                                                    const CUtensorMap *mw, const hgemm_args &g,
                                                    char *weights, char *ring, float *bias,
                                                    const kept_barriers &b) {
    const int n = (int)blockIdx.x % g.tiles_n, lanes = (int)gridDim.x / g.tiles_n;
    const int first = (int)blockIdx.x / g.tiles_n;
    ring_place<S::stages> p = {0, 1};
    for (int m = first; m < g.tiles_m; m += lanes)
        for (int k = 0; k < S::steps; k++) {
            if (m == first) {
                barrier_expect(&b.weights[k], N * BK * 2 + (k ? 0 : S::bias));
                if (!k)
                    bulk_copy(bias, g.bias + n * N, S::bias, &b.weights[k]);
                tma_tile(weights + k * N * BK * 2, mw, &b.weights[k], k * BK, n * N);
            }
            barrier_wait(&b.empty[p.s], p.parity);
            barrier_expect(&b.full[p.s], S::stage);
            tma_tile(ring + p.s * S::stage, mx, &b.full[p.s], k * BK, m * S::rows);
            p.template advance<1>();
        }
}

// Stage s may be written again.
template <class S>
static __device__ __forceinline__ void kept_give_back(const kept_barriers &b, int s) {
    if (threadIdx.x % 128 == 0)
        barrier_arrive(&b.empty[s]);
}

// One tile of sums of the operands w and those in the ring. FRESH: W may not be there yet. B:
// barriers, which say how a stage is given back.
template <class S, class T, int N, int K, bool FRESH, class B>
static __device__ __forceinline__ void kept_multiply(float c[N / 8][4], uint64_t w,
                                                     uint64_t ring, const B &b,
                                                     ring_place<S::stages> &p) {
    int last = 0;
#pragma unroll
    for (int k = 0; k < S::steps; k++) {
        if (FRESH)
            barrier_wait(&b.weights[k], 0);
        barrier_wait(&b.full[p.s], p.parity);
        const uint64_t x = wgmma_ahead(ring, p.s * (S::stage / 16));
        wgmma_begin();
#pragma unroll
        for (int j = 0; j < BK / 16; j++)
            if (k * BK + j * 16 < K)
                wgmma<T, N>::add(c, wgmma_ahead(x, 2 * j),
                                 wgmma_ahead(w, k * (N * BK * 2 / 16) + 2 * j), k || j);
        wgmma_commit();
        if (k) {
            wgmma_wait<1>();
            kept_give_back<S>(b, last);
        }
        last = p.s;
        p.template advance<1>();
    }
}

// Block b of a tile's sums, packed.
template <class T, int BLOCK, enum vn_epilogue EPI>
static __device__ __forceinline__ void kept_values(uint32_t v[BLOCK / 8][2],
                                                   const float (*c)[4], const float *bias) {
#pragma unroll
    for (int j = 0; j < BLOCK / 8; j++) {
        const float *u = c[j];
        const float2 add =
            *reinterpret_cast<const float2 *>(bias + 8 * j + threadIdx.x % 4 * 2);
        float r[4] = {u[0] + add.x, u[1] + add.y, u[2] + add.x, u[3] + add.y};
#pragma unroll
        for (int e = 0; e < 4; e++)
            if (EPI == VN_EPI_GELU)
                r[e] = gelu_short(r[e]);
        v[j][0] = pack2<T>(r[0], r[1]);
        v[j][1] = pack2<T>(r[2], r[3]);
    }
}

// A tile's sums to row y, column x and on.
template <class S, class T, int N, enum vn_epilogue EPI>
static __device__ __forceinline__ void kept_finish(const float c[N / 8][4], const float *bias,
                                                   outlet &o, int x, int y) {
#pragma unroll
    for (int b = 0; b < S::blocks; b++) {
        uint32_t v[S::block / 8][2];
        kept_values<T, S::block, EPI>(v, c + b * (S::block / 8), bias + b * S::block);
        T *to = next_block<T, S::block>(o, x + b * S::block, y);
#pragma unroll
        for (int j = 0; j < S::block / 8; j += 2)
            put_columns<T, S::block>(to, j, v + j);
    }
    send_block<T, S::block>(o);
}

template <class S, class T, int N, int K, enum vn_epilogue EPI, int GROUPS>
static __device__ __forceinline__ void
kept_consume(const hgemm_args &g, const char *weights, const char *ring, const float *bias,
             outlet o, const kept_barriers &b) {
    const int n = (int)blockIdx.x % g.tiles_n, lanes = (int)gridDim.x / g.tiles_n;
    const int warp = uniform((int)threadIdx.x / 32) - 4, group = warp / 4, row = warp % 4 * 16;
    const int first = (int)blockIdx.x / g.tiles_n + group * lanes;
    const uint64_t w = wgmma_operand(weights), x = wgmma_operand(ring);
    float c[N / 8][4] = {};
    ring_place<S::stages> p = {0, 0};
#pragma unroll
    for (int i = 1; i < GROUPS; i++)
        if (group >= i)
            p.template advance<S::steps>();
    uint32_t parity = group ? 0 : 1; /* of turns: the first group has the first one */
    for (int m = first; m < g.tiles_m; m += GROUPS * lanes) {
        barrier_wait(&b.turn[group], parity);
        parity ^= 1;
        if (m == first)
            kept_multiply<S, T, N, K, true>(c, w, x, b, p);
        else
            kept_multiply<S, T, N, K, false>(c, w, x, b, p);
        if (threadIdx.x % 128 == 0)
            barrier_arrive(&b.turn[group + 1 < GROUPS ? group + 1 : 0]);
        int last = p.s ? p.s - 1 : S::stages - 1;
        p.template advance<(GROUPS - 1) * S::steps>();
        wgmma_wait<0>();
        kept_give_back<S>(b, last);
        kept_finish<S, T, N, EPI>(c, bias, o, n * N, m * S::rows + row);
    }
    if (threadIdx.x % 32 == 0)
        store_wait();
}

template <class T, int N, int K, enum vn_epilogue EPI, int GROUPS>
__global__ void __launch_bounds__(kept_shape<N, K, GROUPS>::threads, 1)
    hgemm_kept_kernel(const __grid_constant__ CUtensorMap mx,
                      const __grid_constant__ CUtensorMap mw,
                      const __grid_constant__ CUtensorMap my, const hgemm_args g) {
    using S = kept_shape<N, K, GROUPS>;
    extern __shared__ __align__(1024) char shared[];
    char *ring = shared + S::weights, *out = ring + S::stages * S::stage;
    float *bias = reinterpret_cast<float *>(out + S::outlets);
    uint64_t *bars = reinterpret_cast<uint64_t *>(bias + N);
    const kept_barriers b = {bars, bars + S::stages, bars + 2 * S::stages,
                             bars + 2 * S::stages + S::steps};
    const int warp = uniform((int)threadIdx.x / 32) - 4;
    if (threadIdx.x == 0) {
        tma_prefetch(&mx);
        tma_prefetch(&mw);
        tma_prefetch(&my);
        for (int i = 0; i < 2 * S::stages + S::steps + GROUPS; i++)
            barrier_init(&bars[i], 1);
        barriers_ready();
    }
    __syncthreads();
    if (warp < 0) {
        registers_fewer<24>();
        if (threadIdx.x == 0)
            kept_produce<S, N, K>(&mx, &mw, g, shared, ring, bias, b);
    } else {
        registers_more<S::registers>();
        outlet o = {&my, out + warp * 2 * S::out, 0, false, 0, 0};
        kept_consume<S, T, N, K, EPI, GROUPS>(g, shared, ring, bias, o, b);
    }
}

#else // !VN_HOPPER

template <class T, int N, int K, enum vn_epilogue EPI, int GROUPS>
__global__ void __launch_bounds__(kept_shape<N, K, GROUPS>::threads, 1)
    hgemm_kept_kernel(const __grid_constant__ CUtensorMap, const __grid_constant__ CUtensorMap,
                      const __grid_constant__ CUtensorMap, const hgemm_args) {
    __trap(); /* never launched: hgemm.cu asks for compute capability 9.0 */
}

#endif
#endif
