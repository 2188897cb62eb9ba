/* emu.cc - fibres, and the order in which they run. */
#include "emu.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include <deque>
#include <vector>

#include "shared.h"
#include "state.h"

#define STACK ((size_t)256 << 10) /* of a fibre; its lowest page is not mapped */
#define MAX_THREADS 1024          /* of a block */
#define BARRIERS 16

/* ---- who is who ------------------------------------------------------------------ */

/* A meeting of threads that all bring something. */
struct gathering {
    int here;
    const void *op; /* of the first one, with which all must agree */
    emu_at at;
};

struct barrier {
    int here, wanted, sum, result;
};

struct emu_warp_state {
    uint32_t ready; /* lanes that can run */
    int lanes;
    gathering meeting;
    void *brought[EMU_LANES];
};

struct emu_group_state {
    gathering meeting;
    void *brought[4 * EMU_LANES];
};

struct emu_thread {
    emu_index index;
    emu_block *block;
    emu_warp_state *warp;
    int number, lane;
    void *sp;
    char *stack;
    const void *waits; /* a gathering, a barrier, or what `done` is asked about */
    bool (*done)(const void *);
    const char *what;
    emu_at at;
    bool ended;
    emu_state own;
};

struct emu_block {
    emu_index index;
    unsigned rank; /* in the cluster */
    emu_shared shared;
    int threads, live;
    emu_thread *all;
    std::vector<emu_warp_state> warps;
    std::vector<emu_group_state> groups;
    barrier barriers[BARRIERS];
};

emu_thread *emu_self;
emu_index emu_thread_index, emu_block_index, emu_block_size, emu_grid_size;

static struct {
    emu_launch launch;
    const std::function<void()> *body;
    emu_block blocks[EMU_CLUSTER];
    unsigned n_blocks; /* that run now */
    int live;
    barrier cluster;
    std::deque<std::function<void()>> later;
    void *main_sp;
} now;

/* ---- chance ---------------------------------------------------------------------- */

static uint64_t drawn;

unsigned emu_seed() {
    static int seed = -1;
    if (seed < 0) {
        const char *s = getenv("VN_EMU_SEED");
        seed = s ? atoi(s) & 0x7fffffff : 0;
        drawn = (uint64_t)seed;
    }
    return (unsigned)seed;
}

unsigned emu_random() {
    if (emu_seed() < 2)
        return 0;
    drawn = drawn * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(drawn >> 33);
}

/* Which of n comes at turn i; `chance` is the same for all turns. */
static int order(int i, int n, unsigned chance) {
    if (emu_seed() == 1 || chance & 1)
        i = n - 1 - i;
    return (int)((chance / 2 + (unsigned)i) % (unsigned)n);
}

/* Which of the lanes that can run does. */
static int lane_of(uint32_t ready) {
    if (emu_seed() == 0)
        return __builtin_ctz(ready);
    if (emu_seed() == 1)
        return 31 - __builtin_clz(ready);
    unsigned from = emu_random() % EMU_LANES;
    uint32_t ahead = ready >> from << from;
    return __builtin_ctz(ahead ? ahead : ready);
}

/* ---- what is wrong --------------------------------------------------------------- */

void emu_fail(emu_at at, const char *format, ...) {
    va_list ap;
    fflush(stdout);
    fprintf(stderr, "emulated CUDA: ");
    if (at.file)
        fprintf(stderr, "%s:%d: ", at.file, at.line);
    va_start(ap, format);
    vfprintf(stderr, format, ap);
    va_end(ap);
    if (emu_self)
        fprintf(stderr, ", in thread (%u, %u, %u) of block (%u, %u, %u) of %s",
                emu_thread_index.x, emu_thread_index.y, emu_thread_index.z,
                emu_block_index.x, emu_block_index.y, emu_block_index.z, now.launch.kernel);
    fprintf(stderr, "\n");
    abort();
}

[[noreturn]] static void deadlock() {
    int shown = 0;
    fflush(stdout);
    fprintf(stderr, "emulated CUDA: no thread of %s can go on\n", now.launch.kernel);
    for (unsigned b = 0; b < now.n_blocks; b++) {
        emu_block *k = &now.blocks[b];
        for (int i = 0; i < k->threads && shown < 40; i++) {
            emu_thread *t = &k->all[i], *before = i ? t - 1 : NULL;
            if (t->ended || (before && !before->ended && before->waits == t->waits &&
                             before->at.line == t->at.line))
                continue; /* one of each kind */
            fprintf(stderr, "  block (%u, %u, %u), from thread %d on: %s:%d: %s\n", k->index.x,
                    k->index.y, k->index.z, i, t->at.file, t->at.line, t->what);
            shown++;
        }
    }
    abort();
}

/* ---- fibres ---------------------------------------------------------------------- */

#if defined(__x86_64__)
/* Saves what a call preserves, leaves the stack in *from and goes on with the other. */
extern "C" void emu_switch(void **from, void *to);
asm(".text\n"
    ".type emu_switch, @function\n"
    "emu_switch:\n"
    "pushq %rbp\npushq %rbx\npushq %r12\npushq %r13\npushq %r14\npushq %r15\n"
    "movq %rsp, (%rdi)\n"
    "movq %rsi, %rsp\n"
    "popq %r15\npopq %r14\npopq %r13\npopq %r12\npopq %rbx\npopq %rbp\n"
    "ret\n"
    ".size emu_switch, .-emu_switch\n");

static void fibre_begin(emu_thread *t, void (*f)()) {
    void **sp = (void **)(t->stack + STACK);
    *--sp = NULL;      /* f does not return; aligned as behind a call */
    *--sp = (void *)f; /* where emu_switch returns to */
    for (int i = 0; i < 6; i++)
        *--sp = NULL;
    t->sp = sp;
}
#elif defined(__aarch64__)
extern "C" void emu_switch(void **from, void *to);
asm(".text\n"
    ".type emu_switch, %function\n"
    "emu_switch:\n"
    "sub sp, sp, #176\n"
    "stp x19, x20, [sp]\nstp x21, x22, [sp, #16]\nstp x23, x24, [sp, #32]\n"
    "stp x25, x26, [sp, #48]\nstp x27, x28, [sp, #64]\nstp x29, x30, [sp, #80]\n"
    "stp d8, d9, [sp, #96]\nstp d10, d11, [sp, #112]\nstp d12, d13, [sp, #128]\n"
    "stp d14, d15, [sp, #144]\n"
    "mov x2, sp\nstr x2, [x0]\nmov sp, x1\n"
    "ldp x19, x20, [sp]\nldp x21, x22, [sp, #16]\nldp x23, x24, [sp, #32]\n"
    "ldp x25, x26, [sp, #48]\nldp x27, x28, [sp, #64]\nldp x29, x30, [sp, #80]\n"
    "ldp d8, d9, [sp, #96]\nldp d10, d11, [sp, #112]\nldp d12, d13, [sp, #128]\n"
    "ldp d14, d15, [sp, #144]\n"
    "add sp, sp, #176\nret\n"
    ".size emu_switch, .-emu_switch\n");

static void fibre_begin(emu_thread *t, void (*f)()) {
    void **sp = (void **)(t->stack + STACK) - 22;
    memset(sp, 0, 176);
    sp[11] = (void *)f;
    t->sp = sp;
}
#else
#error "emulated CUDA threads: x86-64 and aarch64 alone"
#endif

static void resume(emu_thread *t) {
    emu_self = t;
    emu_thread_index = t->index;
    emu_block_index = t->block->index;
    emu_switch(&now.main_sp, t->sp);
    emu_self = NULL;
}

/* Leaves the processor; whoever sets the lane's bit in `ready` gives it back. */
static void leave(const void *waits, const char *what, emu_at at) {
    emu_thread *t = emu_self;
    t->waits = waits;
    t->what = what;
    t->at = at;
    t->warp->ready &= ~(1u << t->lane);
    emu_switch(&t->sp, now.main_sp);
    t->waits = NULL;
}

static void release(emu_block *b, const void *waits) {
    for (int i = 0; i < b->threads; i++)
        if (b->all[i].waits == waits) {
            b->all[i].waits = NULL;
            b->all[i].warp->ready |= 1u << b->all[i].lane;
        }
}

/* ---- meeting --------------------------------------------------------------------- */

/* True for the last one of n. */
static bool arrive(gathering *g, int n, const void *op, const char *what, emu_at at) {
    if (!g->here++) {
        g->op = op;
        g->at = at;
    } else if (g->op != op || g->at.line != at.line || strcmp(g->at.file, at.file) != 0) {
        emu_fail(at, "%s, while others of the warp are at %s:%d", what, g->at.file, g->at.line);
    }
    if (g->here < n)
        return false;
    g->here = 0;
    return true;
}

void emu_warp(emu_op *op, void *mine, const char *what, emu_at at) {
    emu_thread *t = emu_self;
    emu_warp_state *w = t->warp;
    w->brought[t->lane] = mine;
    if (!arrive(&w->meeting, w->lanes, (const void *)op, what, at)) {
        leave(&w->meeting, what, at);
        return;
    }
    op(w->brought);
    emu_thread *first = t - t->lane;
    for (int i = 0; i < w->lanes; i++)
        first[i].waits = NULL;
    w->ready = w->lanes == 32 ? 0xffffffffu : (1u << w->lanes) - 1;
}

void emu_warpgroup(emu_group_op *op, void *mine, const char *what, emu_at at) {
    emu_thread *t = emu_self;
    emu_group_state *g = &t->block->groups[(size_t)t->number / 128];
    g->brought[t->number % 128] = mine;
    if (!arrive(&g->meeting, 128, (const void *)op, what, at)) {
        leave(&g->meeting, what, at);
        return;
    }
    op(g->brought);
    release(t->block, &g->meeting);
}

/* Ends the barrier if all are there. */
static bool complete(barrier *b, int live) {
    if (!b->here || b->here < (b->wanted ? b->wanted : live))
        return false;
    b->result = b->sum;
    b->here = b->sum = 0;
    return true;
}

/* Lanes of a warp come to a barrier together, by the same line. */
static void check_warps(const emu_block *k, const barrier *b) {
    for (int i = 0; i < k->threads; i += EMU_LANES) {
        const emu_thread *first = NULL;
        for (int j = i; j < k->threads && j < i + EMU_LANES; j++) {
            const emu_thread *t = &k->all[j];
            if (t->ended)
                continue;
            if (!first)
                first = t;
            if ((t->waits == b) != (first->waits == b) ||
                (t->waits == b && t->at.line != first->at.line))
                emu_fail(t->waits == b ? t->at : first->at,
                         "lane %d comes to a barrier without lane %d", t->lane, first->lane);
        }
    }
}

int emu_barrier(int id, int threads, int value, const char *what, emu_at at) {
    emu_thread *t = emu_self;
    emu_block *k = t->block;
    if (id < 0 || id >= BARRIERS || threads % EMU_LANES)
        emu_fail(at, "barrier %d of %d threads", id, threads);
    barrier *b = &k->barriers[id];
    if (b->here && b->wanted != threads)
        emu_fail(at, "barrier %d of %d threads and of %d", id, threads, b->wanted);
    b->here++;
    b->wanted = threads;
    b->sum += value != 0;
    t->waits = b;
    t->at = at;
    if (complete(b, k->live)) {
        check_warps(k, b);
        release(k, b);
    } else {
        leave(b, what, at);
    }
    return b->result;
}

void emu_cluster_barrier(emu_at at) {
    barrier *b = &now.cluster;
    b->here++;
    if (!complete(b, now.live)) {
        leave(b, "waits for the cluster", at);
        return;
    }
    for (unsigned i = 0; i < now.n_blocks; i++)
        release(&now.blocks[i], b);
}

void emu_wait(bool (*done)(const void *), const void *arg, const char *what, emu_at at) {
    while (!done(arg)) {
        emu_self->done = done;
        leave(arg, what, at);
        emu_self->done = NULL;
    }
}

void emu_wake() {
    for (unsigned i = 0; i < now.n_blocks; i++) {
        emu_block *k = &now.blocks[i];
        for (int j = 0; j < k->threads; j++) {
            emu_thread *t = &k->all[j];
            if (t->done && t->waits && t->done(t->waits)) {
                t->waits = NULL;
                t->warp->ready |= 1u << t->lane;
            }
        }
    }
}

/* A thread has ended: the others may be all that a barrier waits for. */
static void left(emu_block *k) {
    for (int i = 0; i < BARRIERS; i++)
        if (k->barriers[i].here && complete(&k->barriers[i], k->live)) {
            check_warps(k, &k->barriers[i]);
            release(k, &k->barriers[i]);
        }
    if (now.cluster.here && complete(&now.cluster, now.live))
        for (unsigned i = 0; i < now.n_blocks; i++)
            release(&now.blocks[i], &now.cluster);
}

/* ---- what happens beside --------------------------------------------------------- */

void emu_later(std::function<void()> f) {
    now.later.push_back(std::move(f));
}

static void happen() {
    size_t i = emu_random() % now.later.size();
    std::function<void()> f = std::move(now.later[i]);
    now.later.erase(now.later.begin() + (long)i);
    f();
}

/* ---- for the other files --------------------------------------------------------- */

emu_shared *emu_shared_own() {
    return &emu_self->block->shared;
}

emu_shared *emu_shared_of(unsigned rank, emu_at at) {
    if (rank >= now.n_blocks)
        emu_fail(at, "block %u of a cluster of %u", rank, now.n_blocks);
    if (!now.blocks[rank].live)
        emu_fail(at, "shared memory of block %u of the cluster, which has ended", rank);
    return &now.blocks[rank].shared;
}

unsigned emu_cluster_rank() {
    return emu_self->block->rank;
}

unsigned emu_cluster_size() {
    return now.n_blocks;
}

int emu_number() {
    return emu_self->number;
}

emu_state *emu_own() {
    return &emu_self->own;
}

emu_state *emu_own_of(int number) {
    return &emu_self->block->all[number].own;
}

/* ---- blocks ---------------------------------------------------------------------- */

static void fibre_main() {
    (*now.body)();
    emu_thread *t = emu_self;
    if (!t->own.copies.empty() || !t->own.products.empty() || !t->own.stores.empty())
        emu_fail({NULL, 0}, "a thread ends before what it began");
    t->ended = true;
    t->warp->ready &= ~(1u << t->lane);
    t->block->live--;
    now.live--;
    left(t->block);
    emu_switch(&t->sp, now.main_sp);
    abort();
}

/* Threads of block `rank`, in one array that stays. */
static emu_thread *threads_of(unsigned rank) {
    static emu_thread *made[EMU_CLUSTER];
    if (!made[rank]) {
        made[rank] = new emu_thread[MAX_THREADS]();
        char *stacks = (char *)emu_pages(MAX_THREADS * STACK);
        for (int i = 0; i < MAX_THREADS; i++) {
            made[rank][i].stack = stacks + (size_t)i * STACK;
            mprotect(made[rank][i].stack, 4096, PROT_NONE);
        }
    }
    return made[rank];
}

static void block_begin(unsigned rank, emu_index index) {
    emu_block *k = &now.blocks[rank];
    const emu_index size = now.launch.block;
    k->index = index;
    k->rank = rank;
    k->threads = k->live = (int)(size.x * size.y * size.z);
    k->all = threads_of(rank);
    emu_shared_begin(&k->shared, rank, now.launch.shared);
    memset(k->barriers, 0, sizeof k->barriers);
    int warps = (k->threads + EMU_LANES - 1) / EMU_LANES;
    k->warps.assign((size_t)warps, emu_warp_state());
    k->groups.assign((size_t)(warps + 3) / 4, emu_group_state());
    for (int i = 0; i < k->threads; i++) {
        emu_thread *t = &k->all[i];
        t->index = {(unsigned)i % size.x, (unsigned)i / size.x % size.y,
                    (unsigned)i / size.x / size.y};
        t->block = k;
        t->number = i;
        t->lane = i % EMU_LANES;
        t->warp = &k->warps[(size_t)i / EMU_LANES];
        t->warp->lanes++;
        t->warp->ready |= 1u << t->lane;
        t->waits = NULL;
        t->done = NULL;
        t->ended = false;
        t->own.clear();
        fibre_begin(t, fibre_main);
    }
    now.live += k->threads;
}

/* Runs what can run, once around; false if nothing could. */
static bool around() {
    bool ran = false;
    unsigned first_block = emu_random(), first = emu_random();
    for (unsigned b = 0; b < now.n_blocks; b++) {
        emu_block *k = &now.blocks[order((int)b, (int)now.n_blocks, first_block)];
        int n = (int)k->warps.size();
        for (int i = 0; i < n; i++) {
            int at = order(i, n, first);
            emu_warp_state *w = &k->warps[(size_t)at];
            while (w->ready) {
                resume(&k->all[at * EMU_LANES + lane_of(w->ready)]);
                ran = true;
            }
        }
    }
    return ran;
}

static void cluster_run(emu_index first) {
    now.n_blocks = now.launch.cluster;
    now.live = 0;
    memset(&now.cluster, 0, sizeof now.cluster);
    for (unsigned i = 0; i < now.n_blocks; i++)
        block_begin(i, {first.x + i, first.y, first.z});
    while (now.live) {
        bool ran = around();
        if (!now.later.empty() && (!ran || emu_random() % 3 == 1))
            happen();
        else if (!ran && now.live)
            deadlock();
    }
    if (!now.later.empty())
        emu_fail({NULL, 0}, "%s has ended before a copy that it began", now.launch.kernel);
}

void emu_run(const emu_launch &l, const std::function<void()> &thread) {
    now.launch = l;
    now.body = &thread;
    emu_block_size = l.block;
    emu_grid_size = l.grid;
    int n = (int)(l.grid.x / l.cluster * l.grid.y * l.grid.z);
    unsigned first = emu_random();
    for (int i = 0; i < n; i++) {
        unsigned j = (unsigned)order(i, n, first), across = l.grid.x / l.cluster;
        cluster_run({j % across * l.cluster, j / across % l.grid.y, j / across / l.grid.y});
    }
}
