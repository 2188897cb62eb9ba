/* barrier.cc - barriers in shared memory that count arrivals and bytes. */
#include "barrier.h"

#include "hopper.cuh"

#define MAGIC 0x5b

/* What lies in the eight bytes of a barrier. */
struct mbarrier {
    int32_t bytes; /* still to come in this phase; less than 0 before they are expected */
    uint32_t phase : 1, expected : 11, missing : 12, magic : 8; /* arrivals */
};
static_assert(sizeof(mbarrier) == sizeof(uint64_t), "a barrier's size");

static mbarrier *barrier_at(uint32_t offset, unsigned rank, emu_at at) {
    mbarrier *b = (mbarrier *)emu_shared_at(offset, rank, sizeof *b, at);
    if (offset % 8 || b->magic != MAGIC)
        emu_fail(at, "a barrier that nobody has made");
    return b;
}

static void advance(mbarrier *b) {
    if (b->missing || b->bytes)
        return;
    b->phase ^= 1;
    b->missing = b->expected;
    emu_wake();
}

void emu_mbarrier_init(uint64_t *bar, int arrivals, emu_at at) {
    uint32_t offset = emu_shared_offset(bar, at);
    mbarrier *b = (mbarrier *)emu_shared_at(offset, emu_cluster_rank(), sizeof *b, at);
    if (offset % 8 || b->magic == MAGIC || arrivals < 1 || arrivals > 1024)
        emu_fail(at, "a barrier for %d arrivals, or made twice", arrivals);
    *b = mbarrier();
    b->magic = MAGIC;
    b->expected = b->missing = (unsigned)arrivals & 0x7ff;
}

void emu_mbarrier_arrive(uint64_t *bar, unsigned rank, uint32_t bytes, emu_at at) {
    mbarrier *b = barrier_at(emu_shared_offset(bar, at), rank, at);
    if (!b->missing)
        emu_fail(at, "more arrivals than a barrier expects");
    b->bytes += (int32_t)bytes;
    b->missing--;
    advance(b);
}

void emu_mbarrier_bytes(uint32_t offset, unsigned rank, uint32_t bytes, emu_at at) {
    mbarrier *b = barrier_at(offset, rank, at);
    b->bytes -= (int32_t)bytes;
    advance(b);
}

struct phase {
    const mbarrier *b;
    uint32_t parity;
};

void emu_mbarrier_wait(uint64_t *bar, uint32_t parity, emu_at at) {
    if (parity > 1)
        emu_fail(at, "parity %u", parity);
    phase p = {barrier_at(emu_shared_offset(bar, at), emu_cluster_rank(), at), parity};
    emu_wait(
        [](const void *arg) {
            const phase *q = (const phase *)arg;
            return q->b->phase != q->parity;
        },
        &p, parity ? "waits for phase 1 of a barrier" : "waits for phase 0 of a barrier", at);
}

void emu_send(float *to, float4 v, uint64_t *bar, unsigned rank, emu_at at) {
    const uint32_t offset = emu_shared_offset(to, at), barrier = emu_shared_offset(bar, at);
    void *p = emu_shared_at(offset, rank, sizeof v, at);
    if (offset % sizeof v)
        emu_fail(at, "16 bytes sent to an address that is no multiple of 16");
    memset(p, 0xff, sizeof v);
    emu_later([=] {
        memcpy(emu_shared_at(offset, rank, sizeof v, at), &v, sizeof v);
        emu_mbarrier_bytes(barrier, rank, sizeof v, at);
    });
}
