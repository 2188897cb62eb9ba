/* tensor.cc - the tensor memory accelerator: boxes of tensors to and from shared memory.
 *
 * Constraints and layouts are those of the driver's manual (cuTensorMapEncodeTiled) and of
 * the PTX manual: boxes are dense in shared memory, the first dimension first, in pieces of
 * 16 bytes that are swizzled by the bits of their address. */
#include <stdlib.h>

#include "barrier.h"
#include "hopper.cuh"
#include "num.h"

#define SIZE 2 /* of an element, in bytes */
#define RANKS 5
#define MAGIC 0x70616d

struct tensor {
    uint32_t magic, rank, swizzle;
    char *at;
    uint64_t dims[RANKS], strides[RANKS]; /* in bytes; the first is SIZE */
    uint32_t box[RANKS];
};
static_assert(sizeof(tensor) <= sizeof(CUtensorMap), "a description's size");

/* ---- descriptions ---------------------------------------------------------------- */

/* Whether the driver would take it. Strides may come in any order: the manual's example has
 * them grow, its list of what is required does not say so. */
static bool valid(const tensor &t) {
    const uint64_t inner = t.box[0] * SIZE;
    if ((uintptr_t)t.at % 16 || inner % 16 ||
        inner > (t.swizzle == CU_TENSOR_MAP_SWIZZLE_128B ? 128 : 64))
        return false;
    for (uint32_t i = 0; i < t.rank; i++)
        if (!t.dims[i] || t.dims[i] > (uint64_t)1 << 32 || !t.box[i] || t.box[i] > 256 ||
            (i && (t.strides[i] % 16 || t.strides[i] >= (uint64_t)1 << 40)))
            return false;
    return true;
}

static CUresult encode(CUtensorMap *map, CUtensorMapDataType, cuuint32_t rank, void *at,
                       const cuuint64_t *dims, const cuuint64_t *strides,
                       const cuuint32_t *box, const cuuint32_t *steps, CUtensorMapInterleave,
                       CUtensorMapSwizzle swizzle, CUtensorMapL2promotion,
                       CUtensorMapFloatOOBfill) {
    tensor t = tensor();
    if (rank < 1 || rank > RANKS)
        return CUDA_ERROR_INVALID_VALUE;
    t.magic = MAGIC;
    t.rank = rank;
    t.swizzle = swizzle;
    t.at = (char *)at;
    for (uint32_t i = 0; i < rank; i++) {
        t.dims[i] = dims[i];
        t.strides[i] = i ? strides[i - 1] : SIZE;
        t.box[i] = box[i];
        if (steps[i] != 1)
            return CUDA_ERROR_INVALID_VALUE;
    }
    if ((uintptr_t)map % 64 || !valid(t))
        return CUDA_ERROR_INVALID_VALUE;
    memcpy(map->opaque, &t, sizeof t);
    return CUDA_SUCCESS;
}

void *emu_encode_tiled() {
    return (void *)encode;
}

static tensor tensor_of(const CUtensorMap *map, uint32_t rank, emu_at at) {
    tensor t;
    memcpy(&t, map->opaque, sizeof t);
    if ((uintptr_t)map % 64 || t.magic != MAGIC || t.rank != rank)
        emu_fail(at, "no description of a tensor of %u dimensions", rank);
    return t;
}

static uint32_t box_bytes(const tensor &t) {
    uint32_t bytes = SIZE;
    for (uint32_t i = 0; i < t.rank; i++)
        bytes *= t.box[i];
    return bytes;
}

/* ---- boxes ----------------------------------------------------------------------- */

/* An offset in shared memory as it is swizzled. */
static uint32_t swizzled(const tensor &t, uint32_t offset) {
    uint32_t mask = t.swizzle == CU_TENSOR_MAP_SWIZZLE_128B ? 7 : 3;
    return offset ^ (offset >> 7 & mask) << 4;
}

/* Calls f(shared, tensor or NULL where there is none, bytes) for the pieces of a box, in
 * which both lie in one piece. */
template <class F>
static void for_pieces(const tensor &t, uint32_t offset, unsigned rank, const int *first,
                       emu_at at, F f) {
    const uint32_t per = 16 / SIZE;
    const uint32_t n = box_bytes(t) / 16;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t across = t.box[0] / per;
        uint32_t rest = i / across;
        int64_t x = (int64_t)first[0] + i % across * per;
        char *p = t.at + x * SIZE;
        for (uint32_t d = 1; d < t.rank; d++) {
            int64_t y = (int64_t)first[d] + rest % t.box[d];
            rest /= t.box[d];
            p = !p || y < 0 || y >= (int64_t)t.dims[d] ? NULL : p + y * (int64_t)t.strides[d];
        }
        char *s = (char *)emu_shared_at(swizzled(t, offset + i * 16), rank, 16, at);
        if (p && x >= 0 && x + per <= (int64_t)t.dims[0]) {
            emu_check(p, 16, at);
            f(s, p, 16u);
            continue;
        }
        for (uint32_t j = 0; j < per; j++) { /* the edge */
            bool there = p && x + j >= 0 && x + j < (int64_t)t.dims[0];
            if (there)
                emu_check(p + j * SIZE, SIZE, at);
            f(s + j * SIZE, there ? p + j * SIZE : NULL, SIZE);
        }
    }
}

static void check_box(const tensor &t, uint32_t offset, emu_at at) {
    if (offset % (t.swizzle == CU_TENSOR_MAP_SWIZZLE_128B ? 1024 : 512))
        emu_fail(at, "a box at offset %u: its swizzle begins elsewhere", offset);
    if (offset % 128)
        emu_fail(at, "a box at offset %u of shared memory", offset);
}

void emu_tile(void *to, const CUtensorMap *map, uint64_t *bar, int rank, const int *first,
              unsigned mask, emu_at at) {
    const tensor t = tensor_of(map, (uint32_t)rank, at);
    const uint32_t offset = emu_shared_offset(to, at), bytes = box_bytes(t);
    const uint32_t barrier = emu_shared_offset(bar, at);
    int from[RANKS] = {};
    check_box(t, offset, at);
    memcpy(from, first, (size_t)rank * sizeof *first);
    if (!mask || mask >> emu_cluster_size())
        emu_fail(at, "blocks %#x of a cluster of %u", mask, emu_cluster_size());
    for (unsigned b = 0; b < emu_cluster_size(); b++) {
        if (!(mask >> b & 1))
            continue;
        memset(emu_shared_at(offset, b, bytes, at), 0xff, bytes);
        emu_later([=] {
            for_pieces(t, offset, b, from, at, [](char *p, const char *x, uint32_t n) {
                if (x)
                    memcpy(p, x, n);
                else
                    memset(p, 0, n);
            });
            emu_mbarrier_bytes(barrier, b, bytes, at);
        });
    }
}

void emu_bulk_copy(void *to, const void *from, uint32_t bytes, uint64_t *bar, emu_at at) {
    const uint32_t offset = emu_shared_offset(to, at), barrier = emu_shared_offset(bar, at);
    const unsigned rank = emu_cluster_rank();
    void *p = emu_shared_at(offset, rank, bytes, at);
    if (offset % 16 || (uintptr_t)from % 16 || bytes % 16)
        emu_fail(at, "a copy of %u bytes, or from or to an address, that is no multiple of 16",
                 bytes);
    memset(p, 0xff, bytes);
    emu_later([=] {
        memcpy(p, from, bytes);
        emu_mbarrier_bytes(barrier, rank, bytes, at);
    });
}

/* ---- stores ---------------------------------------------------------------------- */

/* The threads of the warp, which wrote the box, have said so since the last store. */
static void check_fences(emu_at at) {
    for (int i = 0; i < EMU_LANES; i++) {
        emu_state *s = emu_own_of(emu_number() / EMU_LANES * EMU_LANES + i);
        if (!s->fences)
            emu_fail(at, "a store without fence.proxy.async of thread %d", i);
        s->fences = 0;
    }
}

void emu_tile_store(const CUtensorMap *map, const void *from, int x, int y, emu_at at) {
    const tensor t = tensor_of(map, 2, at);
    const uint32_t offset = emu_shared_offset(from, at), bytes = box_bytes(t);
    const int first[2] = {x, y};
    check_box(t, offset, at);
    check_fences(at);
    emu_remember(emu_own()->stores, emu_own()->store_groups, from, bytes);
    for_pieces(t, offset, emu_cluster_rank(), first, at,
               [](const char *p, char *to, uint32_t n) {
                   if (to)
                       memcpy(to, p, n);
               });
}

void emu_store_wait(int groups, emu_at at) {
    emu_state *own = emu_own();
    emu_settle(own->stores, own->store_groups - groups, "a store", at);
}
