#include "digest.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cache.h"
#include "mem.h"
#include "par.h"
#include "sha256.h"

#define MAX_THREADS 8
#define STEP ((size_t)16 << 20) /* bytes between two looks at `cancelled` */
#define RACY_SECONDS 2          /* the coarsest times of a file system, FAT's */
#define ENTRY 512

struct vn_digest {
    struct vn_digest_file *files;
    int64_t n;
    int64_t next;   /* atomic: file to hash next */
    bool cancelled; /* atomic */
    int n_threads;
    pthread_t threads[MAX_THREADS];
};

/* ---- what is kept ---------------------------------------------------------------- */

/* One entry per inode, so that a file that is replaced in place leaves nothing behind. */
static void entry_name(const struct stat *s, char out[64]) {
    snprintf(out, 64, "sha256-%llx-%llx", (unsigned long long)s->st_dev,
             (unsigned long long)s->st_ino);
}

/* All of the entry but the digest, which follows it. */
static int entry_head(const struct stat *s, char *out, size_t cap) {
    return snprintf(out, cap,
                    "vn sha256 1\ndevice %llx inode %llx size %lld\n"
                    "mtime %lld.%09ld ctime %lld.%09ld\n",
                    (unsigned long long)s->st_dev, (unsigned long long)s->st_ino,
                    (long long)s->st_size, (long long)s->st_mtim.tv_sec,
                    s->st_mtim.tv_nsec, (long long)s->st_ctim.tv_sec, s->st_ctim.tv_nsec);
}

static bool look_up(struct vn_digest_file *f) {
    char name[64], head[ENTRY], entry[ENTRY];
    if (f->size < VN_DIGEST_SMALL)
        return false;
    entry_name(&f->identity, name);
    size_t at = (size_t)entry_head(&f->identity, head, sizeof head);
    int64_t n = vn_cache_read(name, entry, sizeof entry);
    if (n != (int64_t)(at + 65) || memcmp(entry, head, at) || entry[at + 64] != '\n' ||
        strspn(entry + at, "0123456789abcdef") != 64)
        return false;
    memcpy(f->hex, entry + at, 64);
    f->hex[64] = 0;
    return f->cached = true;
}

static bool same_time(const struct timespec *a, const struct timespec *b) {
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

/* Is the file that was read the one of that name, unchanged while it was read, and has it
 * been at rest before? `began` is when reading it began. */
static bool at_rest(const struct vn_digest_file *f, const struct timespec *began) {
    const struct stat *s = &f->identity;
    struct stat now;
    return stat(f->path, &now) == 0 && now.st_dev == s->st_dev &&
           now.st_ino == s->st_ino && now.st_size == s->st_size &&
           same_time(&now.st_mtim, &s->st_mtim) && same_time(&now.st_ctim, &s->st_ctim) &&
           s->st_mtim.tv_sec < began->tv_sec - RACY_SECONDS &&
           s->st_ctim.tv_sec < began->tv_sec - RACY_SECONDS;
}

static void keep(const struct vn_digest_file *f, const struct timespec *began) {
    char name[64], entry[ENTRY];
    if (f->size < VN_DIGEST_SMALL || !at_rest(f, began))
        return;
    entry_name(&f->identity, name);
    int at = entry_head(&f->identity, entry, sizeof entry);
    int n = snprintf(entry + at, sizeof entry - (size_t)at, "%s\n", f->hex);
    vn_cache_write(name, entry, (size_t)at + (size_t)n);
}

/* ---- hashing --------------------------------------------------------------------- */

static bool cancelled(const struct vn_digest *d) {
    return __atomic_load_n(&d->cancelled, __ATOMIC_RELAXED);
}

static void hash(const struct vn_digest *d, struct vn_digest_file *f) {
    struct vn_sha256 s;
    struct timespec began;
    clock_gettime(CLOCK_REALTIME, &began);
    vn_sha256_init(&s);
    for (size_t at = 0; at < f->size && !cancelled(d); at += STEP)
        vn_sha256_update(&s, (const uint8_t *)f->data + at,
                         f->size - at < STEP ? f->size - at : STEP);
    if (cancelled(d))
        return;
    vn_sha256_final(&s, f->hex);
    keep(f, &began);
}

static void *take_files(void *arg) {
    struct vn_digest *d = arg;
    while (!cancelled(d)) {
        int64_t i = __atomic_fetch_add(&d->next, 1, __ATOMIC_RELAXED);
        if (i >= d->n)
            break;
        if (!d->files[i].hex[0])
            hash(d, &d->files[i]);
    }
    return NULL;
}

int vn_digest_begin(struct vn_digest_file *files, int64_t n, bool use_cache,
                    struct vn_digest **out, struct vn_error *err) {
    struct vn_digest *d = *out = vn_calloc(1, sizeof *d, err);
    if (!d)
        return VN_EFAIL;
    d->files = files;
    d->n = n;
    int64_t left = 0;
    for (int64_t i = 0; i < n; i++) {
        files[i].hex[0] = 0;
        files[i].cached = false;
        left += !use_cache || !look_up(&files[i]);
    }
    int most = vn_cpu_count() < MAX_THREADS ? vn_cpu_count() : MAX_THREADS;
    /* where no thread can be had, vn_digest_end does the work */
    while (d->n_threads < most && d->n_threads < left &&
           !pthread_create(&d->threads[d->n_threads], NULL, take_files, d))
        d->n_threads++;
    return VN_OK;
}

static void join(struct vn_digest *d) {
    for (int i = 0; i < d->n_threads; i++)
        pthread_join(d->threads[i], NULL);
    free(d);
}

void vn_digest_end(struct vn_digest *d) {
    take_files(d);
    join(d);
}

void vn_digest_cancel(struct vn_digest *d) {
    if (!d)
        return;
    __atomic_store_n(&d->cancelled, true, __ATOMIC_RELAXED);
    join(d);
}
