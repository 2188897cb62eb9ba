/* barrier.h - what copies do to a barrier of hopper.cuh. */
#ifndef VN_EMU_BARRIER_H
#define VN_EMU_BARRIER_H

#include "emu.h"

/* `bytes` have come to where block `rank` waits for them. Not of a thread: `offset` is
 * that of the barrier in shared memory. */
void emu_mbarrier_bytes(uint32_t offset, unsigned rank, uint32_t bytes, emu_at at);

#endif
