/* state.h - what a thread has begun and not yet waited for. */
#ifndef VN_EMU_STATE_H
#define VN_EMU_STATE_H

#include <vector>

#include "emu.h"

struct emu_copy { /* of 16 bytes */
    void *to;
    const void *from; /* NULL: zeros */
};

/* Shared memory as it was when something began to read it. */
struct emu_snapshot {
    int group; /* number of the commit that it belongs to */
    const void *at;
    std::vector<char> bytes;
};

struct emu_state {
    std::vector<emu_copy> copies;      /* of 16 bytes, asynchronous */
    std::vector<emu_snapshot> products, stores; /* that still read */
    int product_groups, store_groups;  /* committed so far */
    int fences;                        /* since the last store of the warpgroup */
    void clear() {
        copies.clear();
        products.clear();
        stores.clear();
        product_groups = store_groups = fences = 0;
    }
};

/* Keeps memory that something of a commit begins to read. */
void emu_remember(std::vector<emu_snapshot> &, int group, const void *p, size_t bytes);

/* What belongs to the commits before `groups` has been read: was it left alone? */
void emu_settle(std::vector<emu_snapshot> &, int groups, const char *what, emu_at at);

#endif
