// hgemm.cuh - the kernel behind hgemm.cu: y = epilogue(x W' + b) on Hopper's tensor cores.
//
// A block computes tiles of BM x BN, one after the other. One thread copies BM x BK of x
// and BN x BK of W at a time into a ring of stages; two warpgroups multiply, 64 rows of the
// tile each, and sum in registers in f32. The sums of a finished tile move to other
// registers, and the next tile begins: the epilogue of the one is worked off, a block of
// columns at a time, while the tensor cores are busy with the other.
//
// The CM blocks of a cluster work on tiles of the same columns at the same time: each copies
// a part of their W and multicasts it.
//
// One row of y is the same sum in the same order whatever the tile, the cluster or the
// number of rows; BN, the cluster and the order of tiles move work, never bits.
#ifndef VN_HGEMM_CUH
#define VN_HGEMM_CUH

#include "backend.h"
#include "hopper.cuh"
#include "util.cuh"

enum { BM = 128, BK = 64, HGEMM_THREADS = 384 };

struct hgemm_args {
    const float *bias;    /* [columns of all tiles] */
    int k;                /* inner dimension */
    int tiles_m, tiles_n; /* in units of clusters */
    int group;            /* clusters along m that take turns along n */
};

// Shapes for one epilogue.
template <int BN, enum vn_epilogue EPI> struct hgemm_shape {
    /* the sums of a finished tile wait in f32 where registers allow it, else in y's type */
    static constexpr bool exact = BN <= 192;
    static constexpr int columns = EPI == VN_EPI_GLU ? BN / 2 : BN; /* of y in a tile */
    /* columns stored at once, in rows of 128 bytes, or of 64 where that does not divide */
    static constexpr int block = columns % 64 ? 32 : 64;
    static constexpr int blocks = columns / block, out = 64 * block * 2;
    static constexpr int bias = 2 * BN * 4, barriers = 256;
    static constexpr int stage = (BM + BN) * BK * 2;
    static constexpr int stages = (232448 - 4 * out - bias - barriers) / stage;
    static constexpr int bytes = stages * stage + 4 * out + bias + barriers;
    static_assert(columns % block == 0, "whole blocks");
    static_assert(stages >= 4 && stages <= 8, "products would wait for copies");
};

#if VN_HOPPER

struct tile_of {
    int m, n; /* in units of blocks */
};

// Tile number i of the cluster's.
template <int CM>
static __device__ __forceinline__ tile_of tile_number(const hgemm_args &g, int i,
                                                      uint32_t rank) {
    int span = g.group * g.tiles_n, first = i / span * g.group;
    int size = min(g.tiles_m - first, g.group), j = i % span;
    return tile_of{(first + j % size) * CM + (int)rank, j / size};
}

// ---- copies ---------------------------------------------------------------------------

template <class S, int BN, int CM, enum vn_epilogue EPI>
static __device__ __forceinline__ void produce(const CUtensorMap *mx, const CUtensorMap *mw,
                                               const hgemm_args &g, char *ring, float *bias,
                                               uint64_t *full, uint64_t *empty, int clusters) {
    const uint32_t rank = cluster_rank();
    constexpr int cols = BN / CM; /* the block's share of W */
    constexpr uint16_t mask = (uint16_t)((1 << CM) - 1);
    int s = 0, parity = 1, turn = 0;
    for (int i = (int)blockIdx.x / CM; i < g.tiles_m * g.tiles_n; i += clusters) {
        tile_of t = tile_number<CM>(g, i, rank);
        for (int k = 0; k < g.k; k += BK) {
            char *x = ring + s * S::stage, *w = x + BM * BK * 2;
            barrier_wait(&empty[s], (uint32_t)parity);
            barrier_expect(&full[s], S::stage + (k ? 0 : BN * 4));
            if (!k) /* k >= stages * BK: nobody reads this half of bias any more */
                bulk_copy(bias + turn * BN, g.bias + t.n * BN, BN * 4, &full[s]);
            tma_tile(x, mx, &full[s], k, t.m * BM);
            int row = t.n * BN + (int)rank * cols;
            char *part = w + (int)rank * cols * BK * 2;
            if (EPI == VN_EPI_GLU && CM == 1)
                tma_tile4(part, mw, &full[s], k, row / 16);
            else if (EPI == VN_EPI_GLU)
                tma_tile4_multicast(part, mw, &full[s], k, row / 16, mask);
            else if (CM == 1)
                tma_tile(part, mw, &full[s], k, row);
            else
                tma_tile_multicast(part, mw, &full[s], k, row, mask);
            if (++s == S::stages)
                s = 0, parity ^= 1;
        }
        turn ^= 1;
    }
}

// Tells every block that copies into this one that stage s may be written again.
template <int CM> static __device__ __forceinline__ void give_back(uint64_t *empty, int s) {
    int i = (int)threadIdx.x % 128;
    if (CM == 1) {
        if (i == 0)
            barrier_arrive(&empty[s]);
    } else if (i < CM) {
        barrier_arrive_at(&empty[s], (uint32_t)i);
    }
}

// ---- the epilogue ---------------------------------------------------------------------

// Where row r, column j of a block lies, in values: swizzled in pieces of 16 bytes as the
// TMA wants it.
template <class S> static __device__ __forceinline__ int out_at(int r, int j) {
    int x = S::block == 64 ? r & 7 : r >> 1 & 3;
    return r * S::block + (((j / 8) ^ x) * 8 | j % 8);
}

// Sums of a finished tile with their bias, N times eight columns: lane l has columns
// 8 j + 2 (l % 4) and the next one, of rows l / 4 and l / 4 + 8 of the warp's 16.
template <class T, int N, bool EXACT> struct sums;
template <class T, int N> struct sums<T, N, true> {
    float v[N][4];
    __device__ __forceinline__ void take(int j, const float c[4], float2 b) {
        v[j][0] = c[0] + b.x, v[j][1] = c[1] + b.y;
        v[j][2] = c[2] + b.x, v[j][3] = c[3] + b.y;
    }
    __device__ __forceinline__ void get(int j, float u[4]) const {
#pragma unroll
        for (int i = 0; i < 4; i++)
            u[i] = v[j][i];
    }
};
template <class T, int N> struct sums<T, N, false> {
    uint32_t v[N][2];
    __device__ __forceinline__ void take(int j, const float c[4], float2 b) {
        v[j][0] = pack2<T>(c[0] + b.x, c[1] + b.y);
        v[j][1] = pack2<T>(c[2] + b.x, c[3] + b.y);
    }
    __device__ __forceinline__ void get(int j, float u[4]) const {
        float2 a = unpack2<T>(v[j][0]), b = unpack2<T>(v[j][1]);
        u[0] = a.x, u[1] = a.y, u[2] = b.x, u[3] = b.y;
    }
};

// Eight columns of y, packed, for stmatrix: gated ones are made of 16 sums, gate and value
// taking turns by eight.
template <class T, enum vn_epilogue EPI, class H>
static __device__ __forceinline__ void values(uint32_t y[2], const H &h, int j) {
    float u[4], v[4];
    h.get(EPI == VN_EPI_GLU ? 2 * j : j, u);
    if (EPI == VN_EPI_GLU)
        h.get(2 * j + 1, v);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        if (EPI != VN_EPI_BIAS)
            u[i] = gelu_short(u[i]);
        if (EPI == VN_EPI_GLU)
            u[i] *= v[i];
    }
    y[0] = pack2<T>(u[0], u[1]);
    y[1] = pack2<T>(u[2], u[3]);
}

// What a warpgroup needs to store its rows: two buffers of a block each.
struct outlet {
    const CUtensorMap *map;
    char *buffer;
    int group; /* of two */
};

// Block b of tile t, whose sums are h, to device memory. `turn` counts blocks and says which
// buffer is next.
template <class S, class T, enum vn_epilogue EPI, class H>
static __device__ __forceinline__ void store_block(const H &h, const outlet &o, tile_of t,
                                                   int b, int turn) {
    char *buffer = o.buffer + (turn & 1) * S::out;
    int lane = (int)threadIdx.x % 32, row = (int)threadIdx.x % 128 / 32 * 16;
    bool first = threadIdx.x % 128 == 0;
    if (first)
        store_wait_read<1>(); /* the block before the last one has left the buffer */
    warpgroup_sync(1 + o.group);
    T *out = reinterpret_cast<T *>(buffer);
    int r = row + lane % 16;
#pragma unroll
    for (int j = 0; j < S::block / 8; j += 2) {
        uint32_t y[2][2];
        values<T, EPI>(y[0], h, b * (S::block / 8) + j);
        values<T, EPI>(y[1], h, b * (S::block / 8) + j + 1);
        stmatrix4(out + out_at<S>(r, 8 * j + lane / 16 * 8), y[0][0], y[0][1], y[1][0],
                  y[1][1]);
    }
    store_ready();
    warpgroup_sync(1 + o.group);
    if (first) {
        int x = t.n * S::columns + b * S::block, y = t.m * BM + o.group * 64;
        tma_store(o.map, buffer, x, y);
        store_commit();
    }
}

// ---- products -------------------------------------------------------------------------

// Describes a tile in shared memory, rows of 64 16-bit values along the inner dimension,
// swizzled in units of 8 rows of 128 bytes as the TMA leaves it. Adding 2 advances by 16
// values of the inner dimension.
static __device__ __forceinline__ uint64_t wgmma_operand(const void *tile) {
    return (uint64_t)(smem_address(tile) >> 4 & 0x3fff) | (uint64_t)1 << 16 |
           (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

// Stage s times 64 rows of x, added to c; `first` starts anew.
template <class S, class T, int BN>
static __device__ __forceinline__ void multiply(float c[BN / 8][4], const char *stage,
                                                int group, bool first) {
    uint64_t x = wgmma_operand(stage + group * 64 * BK * 2);
    uint64_t w = wgmma_operand(stage + BM * BK * 2);
    wgmma_begin();
#pragma unroll
    for (int j = 0; j < BK / 16; j++)
        wgmma<T, BN>::add(c, x + 2 * j, w + 2 * j, !first || j);
    wgmma_commit();
}

template <class S, class T, int BN, int CM, enum vn_epilogue EPI>
static __device__ __forceinline__ void consume(const hgemm_args &g, const char *ring,
                                               const float *bias, const outlet &o,
                                               uint64_t *full, uint64_t *empty,
                                               int clusters) {
    const uint32_t rank = cluster_rank();
    const int steps = (g.k + BK - 1) / BK;
    float c[BN / 8][4] = {};
    sums<T, BN / 8, S::exact> h;
    tile_of t = {-1, 0}; /* the finished tile */
    int s = 0, parity = 0, half = 0, turn = 0;
    for (int i = (int)blockIdx.x / CM; i < g.tiles_m * g.tiles_n; i += clusters) {
        int last = 0, k = 0;
#pragma unroll
        for (int b = 0; b < S::blocks; b++) {
            for (int end = steps * (b + 1) / S::blocks; k < end; k++) {
                barrier_wait(&full[s], (uint32_t)parity);
                multiply<S, T, BN>(c, ring + s * S::stage, o.group, !k);
                if (k) {
                    wgmma_wait<1>();
                    give_back<CM>(empty, last);
                }
                last = s;
                if (++s == S::stages)
                    s = 0, parity ^= 1;
            }
            if (t.m >= 0)
                store_block<S, T, EPI>(h, o, t, b, turn++);
        }
        wgmma_wait<0>();
        give_back<CM>(empty, last);
        const float *at = bias + half * BN + threadIdx.x % 4 * 2;
        t = tile_number<CM>(g, i, rank);
#pragma unroll
        for (int j = 0; j < BN / 8; j++)
            h.take(j, c[j], *reinterpret_cast<const float2 *>(at + 8 * j));
        half ^= 1;
    }
    if (t.m < 0)
        return;
#pragma unroll
    for (int b = 0; b < S::blocks; b++)
        store_block<S, T, EPI>(h, o, t, b, turn++);
    if (threadIdx.x % 128 == 0)
        store_wait();
}

template <class T, int BN, int CM, enum vn_epilogue EPI>
__global__ void __launch_bounds__(HGEMM_THREADS, 1)
    hgemm_kernel(const __grid_constant__ CUtensorMap mx, const __grid_constant__ CUtensorMap mw,
                 const __grid_constant__ CUtensorMap my, const hgemm_args g) {
    using S = hgemm_shape<BN, EPI>;
    extern __shared__ __align__(1024) char shared[];
    char *out = shared + S::stages * S::stage;
    float *bias = reinterpret_cast<float *>(out + 4 * S::out);
    uint64_t *full = reinterpret_cast<uint64_t *>(bias + 2 * BN), *empty = full + S::stages;
    const int clusters = (int)gridDim.x / CM, group = (int)threadIdx.x / 128 - 1;
    if (threadIdx.x == 0) {
        tma_prefetch(&mx);
        tma_prefetch(&mw);
        tma_prefetch(&my);
        for (int s = 0; s < S::stages; s++) {
            barrier_init(&full[s], 1);
            barrier_init(&empty[s], 2 * CM);
        }
        barriers_ready();
    }
    if (CM > 1)
        cluster_sync();
    else
        __syncthreads();
    if (group < 0) {
        registers_fewer<24>();
        if (threadIdx.x == 0)
            produce<S, BN, CM, EPI>(&mx, &mw, g, shared, bias, full, empty, clusters);
    } else {
        registers_more<240>();
        outlet o = {&my, out + group * 2 * S::out, group};
        consume<S, T, BN, CM, EPI>(g, shared, bias, o, full, empty, clusters);
    }
    if (CM > 1)
        cluster_sync(); /* the others may still write here, or arrive at our barriers */
}

#else // !VN_HOPPER

template <class T, int BN, int CM, enum vn_epilogue EPI>
__global__ void __launch_bounds__(HGEMM_THREADS, 1)
    hgemm_kernel(const __grid_constant__ CUtensorMap, const __grid_constant__ CUtensorMap,
                 const __grid_constant__ CUtensorMap, const hgemm_args) {
    __trap(); /* never launched: hgemm.cu asks for compute capability 9.0 */
}

#endif
#endif
