/* warp.cc - tiles and products of a warp, as the PTX manual describes their registers. */
#include "num.h"
#include "ptx.cuh"

/* ---- 8 x 8 tiles ----------------------------------------------------------------- */

struct tiles {
    const void *row;
    uint32_t *r;
    int n;
    bool transposed;
};

/* Lane l gets columns 2 (l % 4) and the next one of row l / 4 of each tile, or of its
 * transpose; the rows of tile i are those that lanes 8 i ... brought. */
static void load(void *const *brought) {
    tiles *const *lanes = (tiles *const *)brought;
    for (int i = 0; i < lanes[0]->n; i++) {
        uint16_t tile[8][8];
        for (int r = 0; r < 8; r++)
            memcpy(tile[r], lanes[8 * i + r]->row, 16);
        for (int l = 0; l < EMU_LANES; l++) {
            int row = l / 4, column = l % 4 * 2;
            bool t = lanes[l]->transposed;
            uint16_t lower = t ? tile[column][row] : tile[row][column];
            uint16_t upper = t ? tile[column + 1][row] : tile[row][column + 1];
            lanes[l]->r[i] = lower | (uint32_t)upper << 16;
        }
    }
}

void emu_ldmatrix(uint32_t *r, const void *p, int n, bool transposed, emu_at at) {
    tiles mine = {p, r, n, transposed};
    if (emu_shared_offset(p, at) % 16)
        emu_fail(at, "a row of a tile at an address that is no multiple of 16");
    emu_warp(load, &mine, "ldmatrix", at);
}

/* ---- products -------------------------------------------------------------------- */

struct product {
    float *c;
    const uint32_t *a, *b;
    int n;
    bool bf16;
};

static float half_of(uint32_t u, int upper, bool bf16) {
    uint16_t h = (uint16_t)(upper ? u >> 16 : u);
    return bf16 ? vn_bf16_to_f32(h) : vn_f16_to_f32(h);
}

/* Register i of a of lane l: row l / 4, and 8 more for odd i; columns 2 (l % 4) and the
 * next one, and 8 more for i >= 2. Register i of b: the same of column l / 4 and rows. c:
 * row l / 4, and 8 more for i >= 2; column 2 (l % 4), and one more for odd i. */
static void multiply(void *const *brought) {
    product *const *lanes = (product *const *)brought;
    const int n = lanes[0]->n;
    const bool bf16 = lanes[0]->bf16;
    float a[16][16], b[16][8], c[16][8];
    for (int l = 0; l < EMU_LANES; l++) {
        int row = l / 4, column = l % 4 * 2;
        for (int i = 0; i < 2 * n; i++)
            for (int h = 0; h < 2; h++)
                a[row + i % 2 * 8][column + i / 2 * 8 + h] = half_of(lanes[l]->a[i], h, bf16);
        for (int i = 0; i < n; i++)
            for (int h = 0; h < 2; h++)
                b[column + i * 8 + h][row] = half_of(lanes[l]->b[i], h, bf16);
        for (int i = 0; i < 4; i++)
            c[row + i / 2 * 8][column + i % 2] = lanes[l]->c[i];
    }
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 8 * n; k++)
            for (int j = 0; j < 8; j++)
                c[i][j] += a[i][k] * b[k][j];
    for (int l = 0; l < EMU_LANES; l++)
        for (int i = 0; i < 4; i++)
            lanes[l]->c[i] = c[l / 4 + i / 2 * 8][l % 4 * 2 + i % 2];
}

void emu_mma(float c[4], const uint32_t *a, const uint32_t *b, int n, bool bf16, emu_at at) {
    product mine = {c, a, b, n, bf16};
    emu_warp(multiply, &mine, "mma", at);
}
