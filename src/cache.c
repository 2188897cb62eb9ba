#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crc.h"

/* The last line of an entry: "crc32c 01234567\n" over all before it. */
#define TRAILER 16
#define MAX_PATH 4096

/* "<cache>/vn/<prefix><name>", false where there is no such directory or no room. */
static bool path_of(const char *prefix, const char *name, char out[MAX_PATH]) {
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n = -1;
    if (xdg && xdg[0] == '/')
        n = snprintf(out, MAX_PATH, "%s/vn/%s%s", xdg, prefix, name);
    else if (home && home[0] == '/')
        n = snprintf(out, MAX_PATH, "%s/.cache/vn/%s%s", home, prefix, name);
    return n > 0 && n < MAX_PATH;
}

/* Makes the two directories above a file, the user's alone, as the specification asks. */
static void make_directories(char *path) {
    char *last = strrchr(path, '/'), *above;
    *last = 0;
    above = strrchr(path, '/');
    *above = 0;
    mkdir(path, 0700); /* what goes wrong shows when the file is opened */
    *above = '/';
    mkdir(path, 0700);
    *last = '/';
}

static void trailer_of(const char *data, size_t n, char out[TRAILER + 1]) {
    snprintf(out, TRAILER + 1, "crc32c %08x\n", (unsigned)vn_crc32c(0, data, n));
}

/* Reads up to n bytes; how many, or -1. */
static int64_t read_all(int fd, char *out, size_t n) {
    size_t at = 0;
    while (at < n) {
        ssize_t got = read(fd, out + at, n - at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (!got)
            break;
        at += (size_t)got;
    }
    return (int64_t)at;
}

int64_t vn_cache_read(const char *name, char *out, size_t cap) {
    char path[MAX_PATH], trailer[TRAILER + 1];
    struct stat st;
    int64_t n = -1;
    if (!path_of("", name, path))
        return -1;
    /* O_NONBLOCK: a FIFO of that name would wait for its writer */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
        st.st_size >= TRAILER && (uint64_t)st.st_size < cap)
        n = read_all(fd, out, (size_t)st.st_size);
    close(fd);
    if (n < TRAILER)
        return -1;
    n -= TRAILER;
    trailer_of(out, (size_t)n, trailer);
    if (memcmp(out + n, trailer, TRAILER))
        return -1;
    out[n] = 0;
    return n;
}

static bool write_all(int fd, const char *data, size_t n) {
    while (n) {
        ssize_t put = write(fd, data, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return false;
        data += put;
        n -= (size_t)put;
    }
    return true;
}

void vn_cache_write(const char *name, const char *data, size_t n) {
    char path[MAX_PATH], temporary[MAX_PATH], trailer[TRAILER + 1];
    if (n > VN_CACHE_MAX || !path_of("", name, path) ||
        !path_of(".", "XXXXXX", temporary))
        return;
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        path_of(".", "XXXXXX", temporary); /* mkostemp may have spoilt it */
        make_directories(temporary);
        fd = mkostemp(temporary, O_CLOEXEC);
    }
    if (fd < 0)
        return;
    trailer_of(data, n, trailer);
    bool whole = write_all(fd, data, n) && write_all(fd, trailer, TRAILER);
    whole = close(fd) == 0 && whole;
    if (!whole || rename(temporary, path))
        unlink(temporary);
}
