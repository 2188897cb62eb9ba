// hgemm.cuh - the kernel behind hgemm.cu: y = epilogue(x W' + b) on Hopper's tensor cores.
//
// A block computes tiles of BM x BN, one after the other. One thread copies BM x BK of x
// and BN x BK of W at a time into a ring of stages; two warpgroups multiply, 64 rows of the
// tile each, and sum in registers in f32. The sums of a finished tile move to other
// registers, and the next tile begins: the epilogue of the one is worked off, a block of
// columns at a time, while the tensor cores are busy with the other. Instructions beside
// products are what this kernel's time depends on: each takes the registers' ports from the
// tensor cores. Each warp stores its own rows: where a warpgroup waits for its slowest warp, so
// do the tensor cores.
//
// The CM blocks of a cluster work on tiles of the same columns at the same time: each copies
// a part of their W and multicasts it.
//
// One row of y is the same sum in the same order whatever the tile, the cluster or the
// number of rows; the order of tiles moves work, never bits.
#ifndef VN_HGEMM_CUH
#define VN_HGEMM_CUH

#include "backend.h"
#include "util.cuh"
#include "warpgroup.cuh"

enum { BM = 128, BN = 256, BK = 64, CM = 2, HGEMM_THREADS = 384, HGEMM_SHARED = 232448 };

struct hgemm_args {
    const float *bias;    /* [columns of all tiles] */
    int k;                /* inner dimension */
    int tiles_m, tiles_n; /* in units of clusters */
    int group;            /* clusters along m that take turns along n */
};

// Shapes for one epilogue.
template <enum vn_epilogue EPI> struct hgemm_shape {
    static constexpr int columns = EPI == VN_EPI_GLU ? BN / 2 : BN; /* of y in a tile */
    static constexpr int block = 64; /* columns that a warp stores at once */
    static constexpr int blocks = columns / block, out = 16 * block * 2;
    static constexpr int bias = 2 * BN * 4, barriers = 256;
    static constexpr int stage = (BM + BN) * BK * 2;
    static constexpr int stages = (HGEMM_SHARED - 16 * out - bias - barriers) / stage;
    static constexpr int bytes = stages * stage + 16 * out + bias + barriers;
    static_assert(stages == 4, "products would wait for copies, or bias be overwritten");
};

#if VN_HOPPER

struct tile_of {
    int m, n; /* in units of blocks */
};

// Tile number i of the cluster's.
static __device__ __forceinline__ tile_of tile_number(const hgemm_args &g, int i,
                                                      uint32_t rank) {
    int span = g.group * g.tiles_n, first = i / span * g.group;
    int size = min(g.tiles_m - first, g.group), j = i % span;
    return tile_of{(first + j % size) * CM + (int)rank, j / size};
}

// ---- copies ---------------------------------------------------------------------------

template <class S, enum vn_epilogue EPI>
static __device__ __forceinline__ void produce(const CUtensorMap *mx, const CUtensorMap *mw,
                                               const hgemm_args &g, char *ring, float *bias,
                                               uint64_t *full, uint64_t *empty, int clusters) {
    const uint32_t rank = cluster_rank();
    constexpr int cols = BN / CM; /* the block's share of W */
    constexpr uint16_t mask = (uint16_t)((1 << CM) - 1);
    int s = 0, parity = 1, turn = 0;
    for (int i = (int)blockIdx.x / CM; i < g.tiles_m * g.tiles_n; i += clusters) {
        tile_of t = tile_number(g, i, rank);
        for (int k = 0; k < g.k; k += BK) {
            char *x = ring + s * S::stage, *w = x + BM * BK * 2;
            barrier_wait(&empty[s], (uint32_t)parity);
            barrier_expect(&full[s], S::stage + (k ? 0 : BN * 4));
            if (!k) /* k >= stages * BK: nobody reads this half of bias any more */
                bulk_copy(bias + turn * BN, g.bias + t.n * BN, BN * 4, &full[s]);
            tma_tile(x, mx, &full[s], k, t.m * BM);
            int row = t.n * BN + (int)rank * cols;
            char *part = w + (int)rank * cols * BK * 2;
            if (EPI == VN_EPI_GLU)
                tma_tile4_multicast(part, mw, &full[s], k, row / 16, mask);
            else
                tma_tile_multicast(part, mw, &full[s], k, row, mask);
            if (++s == S::stages)
                s = 0, parity ^= 1;
        }
        turn ^= 1;
    }
}

// Tells every block that copies into this one that stage s may be written again.
static __device__ __forceinline__ void give_back(uint64_t *empty, int s) {
    int i = (int)threadIdx.x % 128;
    if (i < CM)
        barrier_arrive_at(&empty[s], (uint32_t)i);
}

// ---- the epilogue ---------------------------------------------------------------------

// A finished tile's sums with their bias, eight columns: lane l has columns 2 (l % 4) and
// the next one, of rows l / 4 and l / 4 + 8 of the warp's 16. They wait in T: in f32 they and
// the sums of the next tile would be 256 registers, of 240. So what GELU is applied to is
// rounded, and y differs by 3.1e-4 (relative L2, fp16) instead of 2.1e-4.
template <class T>
static __device__ __forceinline__ void wait_in(uint32_t h[2], const float c[4], float2 b) {
    h[0] = pack2<T>(c[0] + b.x, c[1] + b.y);
    h[1] = pack2<T>(c[2] + b.x, c[3] + b.y);
}

// Columns 8 j and on of y: gated ones are made of 16 sums, gate and value taking turns by
// eight.
template <class T, enum vn_epilogue EPI>
static __device__ __forceinline__ void values(uint32_t y[2], const uint32_t h[BN / 8][2],
                                              int j) {
#pragma unroll
    for (int i = 0; i < 2; i++) {
        if (EPI == VN_EPI_BIAS) {
            y[i] = h[j][i];
            continue;
        }
        float2 u = unpack2<T>(h[EPI == VN_EPI_GLU ? 2 * j : j][i]);
        u.x = gelu_short(u.x), u.y = gelu_short(u.y);
        if (EPI == VN_EPI_GLU) {
            float2 v = unpack2<T>(h[2 * j + 1][i]);
            u.x *= v.x, u.y *= v.y;
        }
        y[i] = pack2<T>(u.x, u.y);
    }
}

// What a warp stores its rows with: two buffers of a block each that take turns. What was put
// into one is sent when the next block is there: until the TMA may see it takes a while.
struct outlet {
    const CUtensorMap *map;
    char *buffers;
    int turn;
    bool waits; /* the buffer whose turn it is holds a block, of row y, columns x and on */
    int x, y;
};

template <class T, int BLOCK> static __device__ __forceinline__ void send_block(outlet &o) {
    if (!o.waits)
        return;
    store_ready();
    __syncwarp();
    if (threadIdx.x % 32 == 0) {
        tma_store(o.map, reinterpret_cast<T *>(o.buffers) + o.turn * 16 * BLOCK, o.x, o.y);
        store_commit();
    }
    o.turn ^= 1;
    o.waits = false;
}

// The buffer for the next block, of row y, columns x and on.
template <class T, int BLOCK>
static __device__ __forceinline__ T *next_block(outlet &o, int x, int y) {
    send_block<T, BLOCK>(o);
    if (threadIdx.x % 32 == 0)
        store_wait_read<1>(); /* the block before the last one has left it */
    __syncwarp();
    o.waits = true;
    o.x = x, o.y = y;
    return reinterpret_cast<T *>(o.buffers) + o.turn * 16 * BLOCK;
}

// Columns 8 j to 8 j + 15 of a warp's 16 rows, packed by eight columns, to a block.
template <class T, int BLOCK>
static __device__ __forceinline__ void put_columns(T *to, int j, const uint32_t v[2][2]) {
    const int lane = (int)threadIdx.x % 32;
    stmatrix4(to + tile_at<BLOCK>(lane % 16, 8 * j + lane / 16 * 8), v[0][0], v[0][1],
              v[1][0], v[1][1]);
}

// Block b of tile t, whose sums are h.
template <class S, class T, enum vn_epilogue EPI>
static __device__ __forceinline__ void finish_block(const uint32_t h[BN / 8][2], outlet &o,
                                                    tile_of t, int b) {
    const int warp = uniform((int)threadIdx.x / 32) - 4; /* of eight */
    T *to = next_block<T, S::block>(o, t.n * S::columns + b * S::block, t.m * BM + warp * 16);
#pragma unroll
    for (int j = 0; j < S::block / 8; j += 2) {
        uint32_t v[2][2];
        values<T, EPI>(v[0], h, b * (S::block / 8) + j);
        values<T, EPI>(v[1], h, b * (S::block / 8) + j + 1);
        put_columns<T, S::block>(to, j, v);
    }
}

// ---- products -------------------------------------------------------------------------

// A stage's w times its 64 rows of x, added to c; `first` starts anew.
template <class T>
static __device__ __forceinline__ void multiply(float c[BN / 8][4], uint64_t x, uint64_t w,
                                                bool first) {
    wgmma_begin();
#pragma unroll
    for (int j = 0; j < BK / 16; j++)
        wgmma<T, BN>::add(c, wgmma_ahead(x, 2 * j), wgmma_ahead(w, 2 * j), !first || j);
    wgmma_commit();
}

// The second warpgroup finishes blocks half a block later than the first, so that there are
// always products of one of them to be made. What counts stages is known to be the same in all
// lanes (uniform), so that the loop over K is short.
template <class S, class T, enum vn_epilogue EPI>
static __device__ __forceinline__ void consume(const hgemm_args &g, const char *ring,
                                               const float *bias, outlet o, uint64_t *full,
                                               uint64_t *empty, int clusters) {
    const uint32_t rank = cluster_rank();
    const int steps = (g.k + BK - 1) / BK, group = uniform((int)threadIdx.x / 128 - 1);
    const uint64_t x = wgmma_operand(ring + group * 64 * BK * 2);
    const uint64_t w = wgmma_operand(ring + BM * BK * 2);
    float c[BN / 8][4] = {};
    uint32_t h[BN / 8][2];
    tile_of t = {-1, 0}; /* the finished tile */
    int s = 0, parity = 0, half = 0;
    for (int i = (int)blockIdx.x / CM; i < g.tiles_m * g.tiles_n; i += clusters) {
        int last = 0, k = 0;
#pragma unroll
        for (int b = 0; b <= S::blocks; b++) {
            const int end =
                b < S::blocks ? steps * (2 * b + 1 + group) / (2 * S::blocks) : steps;
#pragma unroll 1
            for (; k < end; k++) {
                barrier_wait(&full[s], (uint32_t)parity);
                multiply<T>(c, wgmma_ahead(x, s * (S::stage / 16)),
                            wgmma_ahead(w, s * (S::stage / 16)), !k);
                if (k) {
                    wgmma_wait<1>();
                    give_back(empty, last);
                }
                last = s;
                if (++s == S::stages)
                    s = 0, parity ^= 1;
            }
            if (b < S::blocks && t.m >= 0)
                finish_block<S, T, EPI>(h, o, t, b);
        }
        wgmma_wait<0>();
        give_back(empty, last);
        const float *at = bias + half * BN + threadIdx.x % 4 * 2;
        t = tile_number(g, i, rank);
#pragma unroll
        for (int j = 0; j < BN / 8; j++)
            wait_in<T>(h[j], c[j], *reinterpret_cast<const float2 *>(at + 8 * j));
        warpgroup_sync(); /* all have read bias, before one of them gives stages back */
        half ^= 1;
    }
    if (t.m < 0)
        return;
#pragma unroll
    for (int b = 0; b < S::blocks; b++)
        finish_block<S, T, EPI>(h, o, t, b);
    send_block<T, S::block>(o);
    if (threadIdx.x % 32 == 0)
        store_wait();
}

template <class T, enum vn_epilogue EPI>
__global__ void __launch_bounds__(HGEMM_THREADS, 1)
    hgemm_kernel(const __grid_constant__ CUtensorMap mx, const __grid_constant__ CUtensorMap mw,
                 const __grid_constant__ CUtensorMap my, const hgemm_args g) {
    using S = hgemm_shape<EPI>;
    extern __shared__ __align__(1024) char shared[];
    char *out = shared + S::stages * S::stage;
    float *bias = reinterpret_cast<float *>(out + 16 * S::out);
    uint64_t *full = reinterpret_cast<uint64_t *>(bias + 2 * BN), *empty = full + S::stages;
    const int clusters = (int)gridDim.x / CM, warp = uniform((int)threadIdx.x / 32) - 4;
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
    cluster_sync();
    if (warp < 0) {
        registers_fewer<24>();
        if (threadIdx.x == 0)
            produce<S, EPI>(&mx, &mw, g, shared, bias, full, empty, clusters);
    } else {
        registers_more<240>();
        outlet o = {&my, out + warp * 2 * S::out, 0, false, 0, 0};
        consume<S, T, EPI>(g, shared, bias, o, full, empty, clusters);
    }
    cluster_sync(); /* the other may still write here, or arrive at our barriers */
}

#else // !VN_HOPPER

template <class T, enum vn_epilogue EPI>
__global__ void __launch_bounds__(HGEMM_THREADS, 1)
    hgemm_kernel(const __grid_constant__ CUtensorMap, const __grid_constant__ CUtensorMap,
                 const __grid_constant__ CUtensorMap, const hgemm_args) {
    __trap(); /* never launched: hgemm.cu asks for compute capability 9.0 */
}

#endif
#endif
