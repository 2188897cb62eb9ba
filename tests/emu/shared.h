/* shared.h - the shared memory of a block: emu.cc runs blocks, shared.cc keeps their memory. */
#ifndef VN_EMU_SHARED_H
#define VN_EMU_SHARED_H

#include <vector>

#include "emu.h"

#define EMU_CLUSTER 8 /* blocks in a cluster, at most */

/* In shared memory, not dynamic. */
struct emu_variable {
    const char *name;
    void *at;
    size_t bytes;
};

struct emu_shared {
    char *at; /* EMU_SHARED bytes */
    size_t used;
    std::vector<emu_variable> variables;
};

/* The memory of block `rank` as it is when the block begins, with `dynamic` bytes. */
void emu_shared_begin(emu_shared *, unsigned rank, size_t dynamic);

/* emu.cc: that of the block whose thread runs; that of block `rank` of its cluster, which must
 * not have ended. */
emu_shared *emu_shared_own();
emu_shared *emu_shared_of(unsigned rank, emu_at at);

/* Bytes of zeros, in pages of their own, that stay. */
void *emu_pages(size_t bytes);

#endif
