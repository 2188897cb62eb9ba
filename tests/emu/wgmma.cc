/* wgmma.cc - products of a warpgroup, of operands in shared memory as the TMA leaves them
 * with a swizzle of 128 bytes; and tiles of a warp to shared memory. */
#include "hopper.cuh"
#include "num.h"
#include "product.h"

#define K 16
#define ROWS 64
#define MAX_N 256

/* ---- operands -------------------------------------------------------------------- */

/* The fields of a descriptor: address, leading and stride offset in units of 16 bytes,
 * base offset, swizzle (1: of 128 bytes). The leading offset means nothing here. */
struct descriptor {
    uint32_t offset, stride;
};

static descriptor descriptor_of(uint64_t d, emu_at at) {
    if (d >> 62 != 1 || (d >> 49 & 7) || (d & ~(uint64_t)0xc00e3fff3fff3fff))
        emu_fail(at, "an operand described as %#llx", (unsigned long long)d);
    return descriptor{(uint32_t)(d & 0x3fff) << 4, (uint32_t)(d >> 32 & 0x3fff) << 4};
}

/* Where the 16 bytes of row r and values 8 j ... are. */
static const uint16_t *piece(const descriptor &d, int r, int j, emu_at at) {
    uint32_t offset = d.offset + (uint32_t)r / 8 * d.stride + (uint32_t)r % 8 * 128 +
                      (uint32_t)j * 16;
    offset ^= (offset >> 7 & 7) << 4;
    return (const uint16_t *)emu_shared_at(offset, emu_cluster_rank(), 16, at);
}

static const float *halves(bool bf16) {
    static float table[2][65536];
    if (table[0][1] == 0)
        for (uint32_t i = 0; i < 65536; i++) {
            table[0][i] = vn_f16_to_f32((uint16_t)i);
            table[1][i] = vn_bf16_to_f32((uint16_t)i);
        }
    return table[bf16];
}

/* ---- products -------------------------------------------------------------------- */

struct product {
    float (*c)[4];
    uint64_t a, b;
    const uint32_t *rows; /* a as it is in registers, and b [16, n], or NULL */
    int n;
    bool add, bf16;
    emu_at at;
    emu_state *own;
};

/* Keeps what a product reads, and its neighbours in the same rows of 128 bytes. */
static void remember(const product *p, const descriptor &d, int rows) {
    const uint32_t first = d.offset & ~127u, bytes = (uint32_t)rows / 8 * d.stride;
    emu_remember(p->own->products, p->own->product_groups,
                 emu_shared_at(first, emu_cluster_rank(), bytes, p->at), bytes);
}

/* What lane l of warp w brings of a: rows 16 w + l / 4 and 8 more, columns 2 (l % 4), the next
 * one, and 8 more of both. */
static void unpack(float a[ROWS][K], product *const *threads, const float *value) {
    for (int t = 0; t < 128; t++)
        for (int i = 0; i < 8; i++)
            a[t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8][t % 4 * 2 + i % 2 + i / 4 * 8] =
                value[threads[t]->rows[i / 2] >> i % 2 * 16 & 0xffff];
}

/* Row 16 w + l / 4, and 8 more for i >= 2, of warp w; column 8 j + 2 (l % 4), and one more
 * for odd i: c[j][i] of lane l. */
static void multiply(void *const *brought) {
    static float a[ROWS][K], b[K][MAX_N], c[ROWS][MAX_N];
    product *const *threads = (product *const *)brought;
    const product *p = threads[0];
    const descriptor da = p->rows ? descriptor{0, 0} : descriptor_of(p->a, p->at);
    const descriptor db = descriptor_of(p->b, p->at);
    const float *value = halves(p->bf16);
    for (int i = 1; i < 128; i++)
        if (threads[i]->a != p->a || threads[i]->b != p->b || threads[i]->n != p->n ||
            threads[i]->add != p->add || !threads[i]->rows != !p->rows)
            emu_fail(p->at, "threads of a warpgroup disagree on a product");
    if (p->rows)
        unpack(a, threads, value);
    for (int k = 0; k < K; k++) {
        for (int i = 0; i < ROWS && !p->rows; i++)
            a[i][k] = value[piece(da, i, k / 8, p->at)[k % 8]];
        for (int i = 0; i < p->n; i++)
            b[k][i] = value[p->rows ? piece(db, k, i / 8, p->at)[i % 8]
                                      : piece(db, i, k / 8, p->at)[k % 8]];
    }
    for (int t = 0; t < 128; t++)
        for (int j = 0; j < p->n / 8; j++)
            for (int i = 0; i < 4; i++)
                c[t / 32 * 16 + t % 32 / 4 + i / 2 * 8][8 * j + t % 4 * 2 + i % 2] =
                    p->add ? threads[t]->c[j][i] : 0;
    emu_product(c[0], MAX_N, a[0], K, b[0], MAX_N, ROWS, p->n, K);
    for (int t = 0; t < 128; t++)
        for (int j = 0; j < p->n / 8; j++)
            for (int i = 0; i < 4; i++)
                threads[t]->c[j][i] =
                    c[t / 32 * 16 + t % 32 / 4 + i / 2 * 8][8 * j + t % 4 * 2 + i % 2];
    if (!p->rows)
        remember(p, da, ROWS);
    remember(p, db, p->rows ? K : p->n);
}

void emu_wgmma(float (*c)[4], uint64_t a, uint64_t b, int n, bool add, bool bf16, emu_at at) {
    product mine = {c, a, b, nullptr, n, add, bf16, at, emu_own()};
    emu_warpgroup(multiply, &mine, "wgmma", at);
}

void emu_wgmma_turned(float (*c)[4], const uint32_t *a, uint64_t b, bool bf16, emu_at at) {
    product mine = {c, 0, b, a, 64, true, bf16, at, emu_own()};
    emu_warpgroup(multiply, &mine, "wgmma", at);
}

struct wait {
    emu_state *own;
    int groups;
    emu_at at;
};

static void settle(void *const *brought) {
    for (int i = 0; i < 128; i++) {
        wait *w = (wait *)brought[i];
        emu_settle(w->own->products, w->own->product_groups - w->groups, "a product", w->at);
    }
}

void emu_wgmma_wait(int groups, emu_at at) {
    wait mine = {emu_own(), groups, at};
    emu_warpgroup(settle, &mine, "wgmma.wait_group", at);
}

/* ---- tiles ----------------------------------------------------------------------- */

struct tiles {
    void *row;
    const uint32_t *r;
};

/* The reverse of ldmatrix. */
static void store(void *const *brought) {
    tiles *const *lanes = (tiles *const *)brought;
    for (int i = 0; i < 4; i++)
        for (int l = 0; l < EMU_LANES; l++)
            memcpy((char *)lanes[8 * i + l / 4]->row + l % 4 * 4, &lanes[l]->r[i], 4);
}

void emu_stmatrix(void *p, const uint32_t r[4], emu_at at) {
    tiles mine = {p, r};
    if (emu_shared_offset(p, at) % 16)
        emu_fail(at, "a row of a tile at an address that is no multiple of 16");
    emu_warp(store, &mine, "stmatrix", at);
}
