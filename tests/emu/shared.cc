/* shared.cc - shared memory: dynamic, variables, and what of it something still reads. */
#include "shared.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "state.h"

#ifdef EMU_ASAN /* kernels are compiled with the address sanitizer; this file is not */
#include <sanitizer/asan_interface.h>
#define POISON(p, n) __asan_poison_memory_region(p, n)
#define UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#define IS_POISONED(p) __asan_address_is_poisoned(p)
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#define IS_POISONED(p) ((void)(p), 0)
#endif

#define REDZONE 128 /* between variables */

void *emu_pages(size_t bytes) {
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        fprintf(stderr, "emulated CUDA: cannot map %zu bytes\n", bytes);
        abort();
    }
    return p;
}

void emu_shared_begin(emu_shared *m, unsigned rank, size_t dynamic) {
    static char *arena;
    if (!arena) {
        char *p = (char *)emu_pages((EMU_CLUSTER + 1) * (size_t)EMU_SHARED);
        arena = (char *)(((uintptr_t)p + EMU_SHARED - 1) & ~(uintptr_t)(EMU_SHARED - 1));
    }
    m->at = arena + rank * (size_t)EMU_SHARED;
    m->used = dynamic;
    m->variables.clear();
    POISON(m->at, EMU_SHARED);
    UNPOISON(m->at, m->used);
    memset(m->at, 0xff, m->used);
}

void *emu_dynamic() {
    return emu_shared_own()->at;
}

void *emu_static(const char *name, size_t bytes) {
    emu_shared *m = emu_shared_own();
    for (const emu_variable &v : m->variables) {
        if (strcmp(v.name, name) != 0)
            continue;
        if (v.bytes != bytes)
            emu_fail({NULL, 0},
                     "two variables in shared memory are called '%s': of %zu bytes "
                     "and of %zu",
                     name, v.bytes, bytes);
        return v.at;
    }
    size_t begin = (m->used + REDZONE + 127) & ~(size_t)127;
    if (begin + bytes > EMU_DYNAMIC_MAX)
        emu_fail({NULL, 0}, "%zu bytes of shared memory", begin + bytes);
    m->used = begin + bytes;
    UNPOISON(m->at + begin, bytes);
    memset(m->at + begin, 0xff, bytes);
    m->variables.push_back({name, m->at + begin, bytes});
    return m->at + begin;
}

uint32_t emu_shared_offset(const void *p, emu_at at) {
    const emu_shared *m = emu_shared_own();
    ptrdiff_t d = (const char *)p - m->at;
    if (d < 0 || d >= (ptrdiff_t)m->used)
        emu_fail(at, "an address that is not in the block's shared memory");
    return (uint32_t)d;
}

void *emu_shared_at(uint32_t offset, unsigned rank, size_t bytes, emu_at at) {
    const emu_shared *m = emu_shared_of(rank, at);
    if (offset + bytes > m->used)
        emu_fail(at, "bytes %u to %zu of %zu of shared memory", offset, offset + bytes,
                 m->used);
    return m->at + offset;
}

void emu_remember(std::vector<emu_snapshot> &all, int group, const void *p, size_t bytes) {
    for (const emu_snapshot &s : all)
        if (s.at == p && s.group == group && s.bytes.size() == bytes)
            return;
    all.push_back({group, p, std::vector<char>((const char *)p, (const char *)p + bytes)});
}

void emu_settle(std::vector<emu_snapshot> &all, int groups, const char *what, emu_at at) {
    size_t kept = 0;
    for (emu_snapshot &s : all) {
        if (s.group >= groups)
            all[kept++] = std::move(s);
        else if (memcmp(s.at, s.bytes.data(), s.bytes.size()) != 0)
            emu_fail(at, "shared memory has changed while %s read it", what);
    }
    all.resize(kept);
}

void emu_check(const void *p, size_t bytes, emu_at at) {
    if (IS_POISONED(p) || IS_POISONED((const char *)p + bytes - 1))
        emu_fail(at, "%zu bytes at %p are not all of what was allocated", bytes, p);
}
