/* fault.c - makes calls of the C library fail: an LD_PRELOAD library for tests.
 *
 *   VN_FAULT=RULE[,RULE...]      a RULE is one of
 *     CALL:N[:ERRNO]             the N-th CALL fails (ERRNO a number; ENOMEM or EIO else)
 *     CALL:N+[:ERRNO]            the N-th and all that follow
 *     CALL:N:term                before the N-th, the process gets SIGTERM
 *     read:one, write:short      one byte a call; half of what was asked, at least one
 *     read:eintr, write:eintr    every second call fails with EINTR
 *     read:eagain, write:eagain  every second call fails with EAGAIN, but on plain files
 *   CALL: alloc (malloc, calloc, realloc, aligned_alloc, posix_memalign), popt (those
 *   from within popt), read, write (writev and pwrite too), open, close, rename, mmap.
 *   VN_FAULT_FIRED=FILE          made when a rule of the first two forms has fired
 *
 * Counted are the calls after main has begun, in all threads; not those on descriptor 2,
 * so that a message can be seen. Allocations asked for by the C++ run time, oneDNN, OpenMP
 * and the dynamic loader are left alone, as those end the process themselves when one
 * fails; and jansson's, which (2.14) drops what it cannot store and then runs past the end
 * of the text. popt's count as "popt": it ends the process, crashes, or forgets the option. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum call { ALLOC, POPT, READ, WRITE, OPEN, CLOSE, RENAME, MMAP, N_CALLS };
static const char *const names[N_CALLS] = {"alloc", "popt",  "read",   "write",
                                           "open",  "close", "rename", "mmap"};
static struct rule {
    long at;      /* the call that fails, from 1; 0: none */
    bool onwards; /* and all after it */
    int errnum;
    bool cut;     /* short counts */
    int sprinkle; /* errno of every second call, or 0 */
} rules[N_CALLS];
static long counts[N_CALLS];
static volatile int armed;
static const char *fired_path;

/* glibc's own allocators: no dlsym, which would allocate */
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static ssize_t (*real_read)(int, void *, size_t);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static int (*real_open)(const char *, int, ...);
static int (*real_close)(int);
static int (*real_rename)(const char *, const char *);
static void *(*real_mmap)(void *, size_t, int, int, int, off_t);

#define MAX_RANGES 32
static struct {
    uintptr_t from, to;
    bool popt;
} special[MAX_RANGES]; /* code whose allocations are not counted as ours */
static int n_special;

static int find_special(struct dl_phdr_info *info, size_t size, void *ctx) {
    static const char *const libraries[] = {"libstdc++", "libdnnl", "libgomp", "libtbb",
                                            "ld-linux", "libpopt", "libjansson"};
    (void)size;
    (void)ctx;
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++) {
        if (!strstr(info->dlpi_name, libraries[i]))
            continue;
        for (int p = 0; p < info->dlpi_phnum && n_special < MAX_RANGES; p++) {
            if (info->dlpi_phdr[p].p_type != PT_LOAD)
                continue;
            special[n_special].from = info->dlpi_addr + info->dlpi_phdr[p].p_vaddr;
            special[n_special].popt = !strcmp(libraries[i], "libpopt");
            special[n_special].to = special[n_special].from + info->dlpi_phdr[p].p_memsz;
            n_special++;
        }
    }
    return 0;
}

/* What an allocation asked for by `caller` counts as; N_CALLS: nothing. */
static enum call kind_of(const void *caller) {
    for (int i = 0; i < n_special; i++)
        if ((uintptr_t)caller >= special[i].from && (uintptr_t)caller < special[i].to)
            return special[i].popt ? POPT : N_CALLS;
    return ALLOC;
}

static void die(const char *what) {
    fprintf(stderr, "fault.so: bad rule '%s' in VN_FAULT\n", what);
    _exit(99);
}

static void parse_rule(const char *text) {
    char word[16];
    int call = 0, at = 0;
    if (sscanf(text, "%15[a-z]:%n", word, &at) != 1 || !at)
        die(text);
    while (call < N_CALLS && strcmp(word, names[call]))
        call++;
    if (call == N_CALLS)
        die(text);
    struct rule *r = &rules[call];
    const char *arg = text + at;
    if (!strcmp(arg, "one") || !strcmp(arg, "short")) {
        r->cut = true;
    } else if (!strcmp(arg, "eintr") || !strcmp(arg, "eagain")) {
        r->sprinkle = *(arg + 1) == 'i' ? EINTR : EAGAIN;
    } else {
        char *end;
        r->at = strtol(arg, &end, 10);
        r->onwards = *end == '+';
        end += r->onwards;
        r->errnum = call <= POPT ? ENOMEM : EIO;
        if (!strcmp(end, ":term")) {
            r->errnum = -SIGTERM;
            end += 5;
        } else if (*end == ':') {
            r->errnum = (int)strtol(end + 1, &end, 10);
        }
        if (*end || r->at < 1 || !r->errnum)
            die(text);
    }
}

static void set_up(void) {
    real_read = (ssize_t(*)(int, void *, size_t))dlsym(RTLD_NEXT, "read");
    real_write = (ssize_t(*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
    real_pwrite = (ssize_t(*)(int, const void *, size_t, off_t))dlsym(RTLD_NEXT, "pwrite");
    real_writev = (ssize_t(*)(int, const struct iovec *, int))dlsym(RTLD_NEXT, "writev");
    real_open = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    real_close = (int (*)(int))dlsym(RTLD_NEXT, "close");
    real_rename = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    real_mmap = (void *(*)(void *, size_t, int, int, int, off_t))dlsym(RTLD_NEXT, "mmap");
    char text[256] = "", *save = NULL;
    const char *given = getenv("VN_FAULT");
    if (given)
        snprintf(text, sizeof text, "%s", given);
    for (char *r = strtok_r(text, ",", &save); r; r = strtok_r(NULL, ",", &save))
        parse_rule(r);
    fired_path = getenv("VN_FAULT_FIRED");
    dl_iterate_phdr(find_special, NULL);
}

__attribute__((constructor)) static void begin(void) {
    if (!real_read)
        set_up();
}

static bool is_plain_file(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

/* Returns the errno to fail with, or 0. */
static int hit(enum call call) {
    if (!armed || call == N_CALLS)
        return 0;
    long n = __atomic_add_fetch(&counts[call], 1, __ATOMIC_SEQ_CST);
    const struct rule *r = &rules[call];
    if (r->at && (n == r->at || (r->onwards && n > r->at))) {
        const int flags = O_WRONLY | O_CREAT | O_CLOEXEC;
        int fd = fired_path ? real_open(fired_path, flags, 0666) : -1;
        if (fd >= 0)
            real_close(fd);
        if (r->errnum < 0)
            raise(-r->errnum);
        return r->errnum < 0 ? 0 : r->errnum;
    }
    return r->sprinkle && n % 2 ? r->sprinkle : 0;
}

#define FAIL_IF_HIT(call, result) \
    do { \
        int e_ = hit(call); \
        if (e_) { \
            errno = e_; \
            return result; \
        } \
    } while (0)
/* A plain file is always ready: EAGAIN cannot come from it. */
#define FAIL_IF_FD_HIT(call, fd) \
    do { \
        if (rules[call].sprinkle != EAGAIN || !is_plain_file(fd)) \
            FAIL_IF_HIT(call, -1); \
    } while (0)
#define FAIL_ALLOC_IF_HIT(result) \
    FAIL_IF_HIT(armed ? kind_of(__builtin_return_address(0)) : ALLOC, result)

void *malloc(size_t n) {
    FAIL_ALLOC_IF_HIT(NULL);
    return __libc_malloc(n);
}
void *calloc(size_t n, size_t size) {
    FAIL_ALLOC_IF_HIT(NULL);
    return __libc_calloc(n, size);
}
void *realloc(void *p, size_t n) {
    FAIL_ALLOC_IF_HIT(NULL);
    return __libc_realloc(p, n);
}
void *aligned_alloc(size_t align, size_t n) {
    FAIL_ALLOC_IF_HIT(NULL);
    return __libc_memalign(align, n);
}
int posix_memalign(void **out, size_t align, size_t n) {
    FAIL_ALLOC_IF_HIT(ENOMEM);
    *out = __libc_memalign(align, n);
    return *out ? 0 : ENOMEM;
}

ssize_t read(int fd, void *buf, size_t n) {
    begin();
    FAIL_IF_FD_HIT(READ, fd);
    return real_read(fd, buf, armed && rules[READ].cut && n > 1 ? 1 : n);
}

static size_t shorten(size_t n) {
    return armed && rules[WRITE].cut && n > 1 ? (n + 1) / 2 : n;
}
ssize_t write(int fd, const void *buf, size_t n) {
    begin();
    if (fd == STDERR_FILENO)
        return real_write(fd, buf, n);
    FAIL_IF_FD_HIT(WRITE, fd);
    return real_write(fd, buf, shorten(n));
}
ssize_t pwrite(int fd, const void *buf, size_t n, off_t at) {
    begin();
    FAIL_IF_FD_HIT(WRITE, fd);
    return real_pwrite(fd, buf, shorten(n), at);
}
ssize_t writev(int fd, const struct iovec *iov, int n) {
    begin();
    if (fd == STDERR_FILENO)
        return real_writev(fd, iov, n);
    FAIL_IF_FD_HIT(WRITE, fd);
    if (!rules[WRITE].cut)
        return real_writev(fd, iov, n);
    while (n > 1 && iov->iov_len == 0)
        iov++, n--;
    return real_write(fd, iov->iov_base, shorten(iov->iov_len));
}

int open(const char *path, int flags, ...) {
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    begin();
    FAIL_IF_HIT(OPEN, -1);
    return real_open(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    begin();
    FAIL_IF_HIT(OPEN, -1);
    return real_open(path, flags, mode);
}

/* Fails after having closed, as Linux does. */
int close(int fd) {
    begin();
    int e = hit(CLOSE), rc = real_close(fd);
    if (!e)
        return rc;
    errno = e;
    return -1;
}
int rename(const char *from, const char *to) {
    begin();
    FAIL_IF_HIT(RENAME, -1);
    return real_rename(from, to);
}
void *mmap(void *p, size_t n, int prot, int flags, int fd, off_t off) {
    begin();
    FAIL_IF_HIT(MMAP, MAP_FAILED);
    return real_mmap(p, n, prot, flags, fd, off);
}

static int (*real_main)(int, char **, char **);
static int counted_main(int argc, char **argv, char **envp) {
    armed = 1;
    return real_main(argc, argv, envp);
}
int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv,
                      void (*init)(void), void (*fini)(void), void (*rtld_fini)(void),
                      void *stack_end);
int __libc_start_main(int (*main)(int, char **, char **), int argc, char **argv,
                      void (*init)(void), void (*fini)(void), void (*rtld_fini)(void),
                      void *stack_end) {
    int (*next)(int (*)(int, char **, char **), int, char **, void (*)(void),
                void (*)(void), void (*)(void), void *);
    *(void **)&next = dlsym(RTLD_NEXT, "__libc_start_main");
    begin();
    real_main = main;
    return next(counted_main, argc, argv, init, fini, rtld_fini, stack_end);
}
