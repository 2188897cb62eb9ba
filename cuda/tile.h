/* tile.h - from shapes to launch configurations: plain C, tested without a GPU.
 *
 * No choice made here may change a result: a configuration moves work between threads and
 * blocks, never the order in which one row is computed. */
#ifndef VN_TILE_H
#define VN_TILE_H

#include <stdint.h>

#define VN_ATTN_KEYS 64 /* keys per step of the softmax, whatever the configuration */

/* Warps of a block of attention, 16 query rows each: 8, which share each load of keys
 * among more rows, unless 4 leave fewer without work. The widest heads would not fit the
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
