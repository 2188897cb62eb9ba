/* hopper.cuh - the functions of cuda/hopper.cuh, emulated by barrier.cc and tensor.cc. */
#ifndef VN_HOPPER_CUH
#define VN_HOPPER_CUH

#include "cuda.h"
#include "ptx.cuh"

#define VN_HOPPER 1

/* ---- barriers -------------------------------------------------------------------- */

void emu_mbarrier_init(uint64_t *bar, int arrivals, emu_at at);
/* Adds `bytes` to what is to come, then arrives; at that of block `rank`. */
void emu_mbarrier_arrive(uint64_t *bar, unsigned rank, uint32_t bytes, emu_at at);
void emu_mbarrier_wait(uint64_t *bar, uint32_t parity, emu_at at);

static inline void barrier_init(uint64_t *bar, int arrivals, EMU_HERE) {
    emu_mbarrier_init(bar, arrivals, at);
}
static inline void barriers_ready() {
}
static inline void barrier_arrive(uint64_t *bar, EMU_HERE) {
    emu_mbarrier_arrive(bar, emu_cluster_rank(), 0, at);
}
static inline void barrier_arrive_at(uint64_t *bar, uint32_t rank, EMU_HERE) {
    emu_mbarrier_arrive(bar, rank, 0, at);
}
static inline void barrier_expect(uint64_t *bar, uint32_t bytes, EMU_HERE) {
    emu_mbarrier_arrive(bar, emu_cluster_rank(), bytes, at);
}
static inline void barrier_wait(uint64_t *bar, uint32_t parity, EMU_HERE) {
    emu_mbarrier_wait(bar, parity, at);
}
/* v to the same place of block `rank`, 16 bytes, and to its barrier. */
void emu_send(float *to, float4 v, uint64_t *bar, unsigned rank, emu_at at);
static inline void send(float *to, float4 v, uint64_t *bar, uint32_t rank, EMU_HERE) {
    emu_send(to, v, bar, rank, at);
}
static inline uint32_t cluster_rank() {
    return emu_cluster_rank();
}
static inline void cluster_sync(EMU_HERE) {
    emu_cluster_barrier(at);
}

/* ---- copies ---------------------------------------------------------------------- */

/* The box at `first`, to the same place of all blocks in `mask` and to their barriers. */
void emu_tile(void *to, const CUtensorMap *map, uint64_t *bar, int rank, const int *first,
              unsigned mask, emu_at at);
void emu_bulk_copy(void *to, const void *from, uint32_t bytes, uint64_t *bar, emu_at at);
void emu_tile_store(const CUtensorMap *map, const void *from, int x, int y, emu_at at);
void emu_store_wait(int groups, emu_at at);

static inline void tma_prefetch(const CUtensorMap *) {
}
static inline void tma_tile(void *to, const CUtensorMap *map, uint64_t *bar, int x, int y,
                            EMU_HERE) {
    const int first[2] = {x, y};
    emu_tile(to, map, bar, 2, first, 1u << emu_cluster_rank(), at);
}
static inline void tma_tile_multicast(void *to, const CUtensorMap *map, uint64_t *bar, int x,
                                      int y, uint16_t mask, EMU_HERE) {
    const int first[2] = {x, y};
    emu_tile(to, map, bar, 2, first, mask, at);
}
static inline void tma_tile4_multicast(void *to, const CUtensorMap *map, uint64_t *bar, int x,
                                       int y, uint16_t mask, EMU_HERE) {
    const int first[4] = {x, 0, 0, y};
    emu_tile(to, map, bar, 4, first, mask, at);
}
static inline void tma_tile5(void *to, const CUtensorMap *map, uint64_t *bar, int x, int y,
                             EMU_HERE) {
    const int first[5] = {x, 0, 0, 0, y};
    emu_tile(to, map, bar, 5, first, 1u << emu_cluster_rank(), at);
}
static inline void bulk_copy(void *to, const void *from, uint32_t bytes, uint64_t *bar,
                             EMU_HERE) {
    emu_bulk_copy(to, from, bytes, bar, at);
}
static inline void store_ready() {
    emu_own()->fences++;
}
static inline void tma_store(const CUtensorMap *map, const void *from, int x, int y,
                             EMU_HERE) {
    emu_tile_store(map, from, x, y, at);
}
static inline void store_commit() {
    emu_own()->store_groups++;
}
template <int N> static inline void store_wait_read(EMU_HERE) {
    emu_store_wait(N, at);
}
static inline void store_wait(EMU_HERE) {
    emu_store_wait(0, at);
}

/* ---- registers ------------------------------------------------------------------- */

/* What a warp may use is no part of the emulation. */
template <int N> static inline void registers_fewer() {
    static_assert(N >= 24 && N <= 256 && N % 8 == 0, "setmaxnreg");
}
template <int N> static inline void registers_more() {
    static_assert(N >= 24 && N <= 256 && N % 8 == 0, "setmaxnreg");
}

void emu_stmatrix(void *p, const uint32_t r[4], emu_at at);
static inline void stmatrix4(void *p, uint32_t a, uint32_t b, uint32_t c, uint32_t d,
                             EMU_HERE) {
    const uint32_t r[4] = {a, b, c, d};
    emu_stmatrix(p, r, at);
}

static inline int uniform(int v) {
    return v;
}
static inline void warpgroup_sync(EMU_HERE) {
    emu_barrier(1 + (int)threadIdx.x / 128, 128, 0, "warpgroup_sync", at);
}

/* ---- products of a warpgroup ----------------------------------------------------- */

/* c [64, n] += a [64, 16] b' [n, 16], or =; both in shared memory. */
void emu_wgmma(float (*c)[4], uint64_t a, uint64_t b, int n, bool add, bool bf16, emu_at at);
/* Until all products but those of the last `groups` commits have been made. */
void emu_wgmma_wait(int groups, emu_at at);

static inline void wgmma_begin() {
}
static inline void wgmma_commit() {
    emu_own()->product_groups++;
}
template <int N> static inline void wgmma_wait(EMU_HERE) {
    emu_wgmma_wait(N, at);
}
template <class T, int N> struct wgmma {
    static void add(float c[N / 8][4], uint64_t a, uint64_t b, int add, EMU_HERE) {
        emu_wgmma(c, a, b, N, add != 0, emu_is_bf16<T>, at);
    }
};
/* c [64, 64] += a b, a in registers, b [16, 64]. */
void emu_wgmma_turned(float (*c)[4], const uint32_t *a, uint64_t b, bool bf16, emu_at at);
template <class T> struct wgmma_turned {
    static void add(float c[8][4], const uint32_t a[4], uint64_t b, EMU_HERE) {
        emu_wgmma_turned(c, a, b, emu_is_bf16<T>, at);
    }
};

#endif
