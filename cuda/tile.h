/* tile.h - from shapes to launch configurations: plain C, tested without a GPU.
 *
 * No choice made here may change a result: a configuration moves work between threads and
 * blocks, never the order in which one row is computed. */
#ifndef VN_TILE_H
#define VN_TILE_H

#include <stdbool.h>
#include <stdint.h>

#define VN_ATTN_KEYS 64 /* keys per step of the softmax, whatever the configuration */

/* Heads of a block of attention: 64 to 128 values of a row, so that narrow heads too are read
 * in long pieces. (Four heads of 24 rather than two, and 8 blocks as in attn_short.cu, took
 * 35M from 113.7 ms to 108.8 on an H200.) And values from row to row in shared memory: an odd
 * multiple of 16 bytes. */
#define VN_TILE_ATTN_HEADS(d) ((d) <= 24 ? 4 : (d) == 32 ? 2 : 1)
#define VN_TILE_ATTN_STRIDE(d) (VN_TILE_ATTN_HEADS(d) * (d) + 8)

/* Attention with a whole sequence in shared memory: bytes of 16 rows of q, k and v, which a
 * warp owns, and the most warps that the smallest of supported devices, with 99 KiB, holds;
 * at most 12, so that large ones hold two blocks. */
#define VN_TILE_ATTN_WARP_BYTES(d) (3 * 16 * VN_TILE_ATTN_STRIDE(d) * 2)
#define VN_TILE_ATTN_FIT(d) (99 * 1024 / VN_TILE_ATTN_WARP_BYTES(d))
#define VN_TILE_ATTN_SHORT_MAX(d) (VN_TILE_ATTN_FIT(d) < 12 ? VN_TILE_ATTN_FIT(d) : 12)

/* The most tokens that a block takes in whatever batch: on Hopper, where heads are of 64,
 * attn_hopper.cu has those that have more. */
#define VN_TILE_ATTN_LONG (16 * VN_TILE_ATTN_SHORT_MAX(64))

/* Warps of a block that takes a whole sequence; 0: the longest is too long for that, or so
 * much longer than others that most warps would have nothing to do. */
static inline int vn_tile_attn_short(int64_t n_seq, int64_t n_tok, int32_t max_len,
                                     int d_head) {
    int warps = (max_len + 15) / 16;
    bool fits = warps <= VN_TILE_ATTN_SHORT_MAX(d_head);
    return fits && (warps <= 4 || n_tok >= n_seq * max_len / 2) ? warps : 0;
}

/* Warps of a block that walks over the keys, 16 query rows each: 8, which share each load of
 * keys among more rows, unless 4 leave fewer without work. The widest heads would not fit the
 * shared memory of every device with 8. */
static inline int vn_tile_attn_warps(int32_t max_len, int d_head) {
    int last = (max_len + 15) / 16 - 1; /* the longest sequence's last 16 rows */
    return d_head < 128 && last % 8 >= 4 ? 8 : 4;
}

/* Blocks along one sequence when each takes `rows` rows; at least one. */
static inline int64_t vn_tile_blocks(int64_t n, int64_t rows) {
    return n > rows ? (n + rows - 1) / rows : 1;
}

/* How norm holds a row in registers: `threads` per row, `vecs` float4 per thread; vecs 0:
 * not at all, the row is read three times. */
struct vn_tile_norm {
    int threads, vecs;
};
static inline struct vn_tile_norm vn_tile_norm(int64_t d) {
    struct vn_tile_norm t = {128, 0};
    if (d % 4 == 0 && d <= 5120) {
        t.threads = d <= 1280 ? 32 : 128;
        t.vecs = d <= 640 ? 5 : d <= 1280 ? 10 : d <= 2560 ? 5 : 10;
    }
    return t;
}

#endif
