/* emu.h - CUDA's threads on a processor: what the emulated headers of this directory are
 * made of. Test code: slow, and as unkind to a kernel as the programming model allows.
 *
 * A CUDA thread is a fibre, with a stack of its own. The blocks of a cluster run together,
 * all others one after the other, everything in one thread of the host at a time. A fibre
 * runs until it waits; then the next one does, warp by warp. So a kernel that lacks a
 * barrier reads what is not there yet, or what has been overwritten: which of both depends
 * on the order, and there are several.
 *
 *   VN_EMU_SEED=0    threads and blocks in ascending order (the default)
 *   VN_EMU_SEED=1    in descending order
 *   VN_EMU_SEED=N    in an order drawn from N, another one at each turn
 *
 * Memory that was allocated, or is shared, holds 0xff (NaN in every type) until written.
 * What goes on beside the threads (copies to shared memory, streams) happens as late as it
 * may, or with N > 1 at times drawn from N; its destination is 0xff in between, and its
 * source must not change.
 *
 * A rule that was broken ends the process, with the kernel, the thread and the line. */
#ifndef VN_EMU_H
#define VN_EMU_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <functional>

#define EMU_LANES 32
#define EMU_SHARED (256 * 1024)     /* of a block's address space */
#define EMU_DYNAMIC_MAX (227 * 1024) /* that a kernel may ask for */

/* The line that calls a function whose last parameter this is. */
struct emu_at {
    const char *file;
    int line;
};
#define EMU_HERE emu_at at = {__builtin_FILE(), __builtin_LINE()}

struct emu_index {
    unsigned x, y, z;
};

struct emu_thread;
struct emu_block;

/* ---- where a thread is ----------------------------------------------------------- */

extern emu_thread *emu_self;
extern emu_index emu_thread_index, emu_block_index, emu_block_size, emu_grid_size;

#define threadIdx emu_thread_index
#define blockIdx emu_block_index
#define blockDim emu_block_size
#define gridDim emu_grid_size

/* Ends the process with a sentence. */
[[noreturn]] void emu_fail(emu_at at, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Numbers that depend on VN_EMU_SEED alone; 0 below 2. */
unsigned emu_seed();
unsigned emu_random();

/* ---- running kernels ------------------------------------------------------------- */

struct emu_launch {
    const char *kernel; /* for messages */
    emu_index grid, block;
    unsigned cluster; /* blocks, along x */
    size_t shared;    /* dynamic, bytes */
};

/* Runs `thread` for every thread of the grid; returns when all have ended. */
void emu_run(const emu_launch &, const std::function<void()> &thread);

/* ---- shared memory --------------------------------------------------------------- */

/* Dynamic shared memory of this block. */
void *emu_dynamic();

/* The block's variable of that name: made by the thread that asks first. Another one of the
 * same name is found out if its size is another. */
void *emu_static(const char *name, size_t bytes);

/* Offset of what lies in the block's shared memory: an address in the shared window. */
uint32_t emu_shared_offset(const void *p, emu_at at);

/* Where offset `at` of the block `rank` of the cluster is; all `bytes` must be in it. */
void *emu_shared_at(uint32_t offset, unsigned rank, size_t bytes, emu_at at);

unsigned emu_cluster_rank();
unsigned emu_cluster_size();

/* ---- meeting --------------------------------------------------------------------- */

/* Waits for all lanes of the warp to come here; then `op` is called, once, with what each
 * of them brought. */
typedef void emu_op(void *const brought[EMU_LANES]);
void emu_warp(emu_op *op, void *mine, const char *what, emu_at at);

/* The same for the four warps of a warpgroup. */
typedef void emu_group_op(void *const brought[4 * EMU_LANES]);
void emu_warpgroup(emu_group_op *op, void *mine, const char *what, emu_at at);

/* Barrier `id` of `threads` threads of the block, 0: of all that have not ended; how many
 * of them came with value != 0. Warps come as a whole. */
int emu_barrier(int id, int threads, int value, const char *what, emu_at at);

/* Barrier of all threads of the cluster. */
void emu_cluster_barrier(emu_at at);

/* Waits until done(arg). Who may have made that true calls emu_wake. */
void emu_wait(bool (*done)(const void *arg), const void *arg, const char *what, emu_at at);
void emu_wake();

/* Something that will happen beside the threads of this cluster: at some time before
 * nobody can go on without it. */
void emu_later(std::function<void()> f);

/* Number of this thread in its block; what it, or another one, has begun: state.h. */
struct emu_state;
int emu_number();
emu_state *emu_own();
emu_state *emu_own_of(int number);

/* All bytes are those of something that was allocated. */
void emu_check(const void *p, size_t bytes, emu_at at);

#endif
