// warpgroup.cuh - tiles in shared memory as products of a warpgroup see them.
#ifndef VN_WARPGROUP_CUH
#define VN_WARPGROUP_CUH

#include "hopper.cuh"

#if VN_HOPPER

// Describes a tile: rows of 64 16-bit values, swizzled in units of 8 rows of 128 bytes as the
// TMA leaves it.
static __device__ __forceinline__ uint64_t wgmma_operand(const void *tile) {
    return (uint64_t)(smem_address(tile) >> 4 & 0x3fff) | (uint64_t)1 << 16 |
           (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}
// The same, `n` times 16 bytes on: 2 are 16 values along the rows, 128 are 16 rows. To add n is
// the same, too, but takes 64 bits.
static __device__ __forceinline__ uint64_t wgmma_ahead(uint64_t operand, int n) {
    return operand >> 32 << 32 | ((uint32_t)operand + (uint32_t)n);
}

// Where row r, value j of a tile with BLOCK values in a row lies, in values: swizzled in
// pieces of 16 bytes as the TMA has it, over 128 bytes or, with 32 values, 64.
template <int BLOCK> static __device__ __forceinline__ int tile_at(int r, int j) {
    int x = BLOCK == 64 ? r & 7 : r >> 1 & 3;
    return r * BLOCK + (((j / 8) ^ x) * 8 | j % 8);
}

#endif
#endif
