#include "io.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- sources --------------------------------------------------------------------- */

struct fd_source {
    struct vn_source base;
    int fd;
    int wake; /* readable once reading has been interrupted; -1: it cannot be */
    bool unread_fifo; /* opened without waiting for its writer: the first read does */
};

struct memory_source {
    struct vn_source base;
    const uint8_t *data;
    size_t n, at;
};

/* Waits until fd is ready: descriptors inherited from a parent may be non-blocking. */
static void wait_for(int fd, short events) {
    struct pollfd p = {.fd = fd, .events = events};
    while (poll(&p, 1, -1) < 0 && errno == EINTR)
        ;
}

/* Waits until there is something to read; false when that was interrupted. */
static bool wait_to_read(const struct fd_source *s) {
    struct pollfd p[2] = {{.fd = s->fd, .events = POLLIN}, {.fd = s->wake, .events = POLLIN}};
    while (poll(p, 2, -1) < 0 && errno == EINTR)
        ;
    return !p[1].revents;
}

static void make_blocking(int fd) {
    (void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
}

static int64_t fd_read(struct vn_source *s, void *buf, size_t n, struct vn_error *err) {
    struct fd_source *f = (struct fd_source *)s;
    int fd = f->fd;
    if (n > (size_t)1 << 30)
        n = (size_t)1 << 30;
    for (;;) {
        if ((f->wake >= 0 || f->unread_fifo) && !wait_to_read(f))
            return vn_fail(err, VN_EINTERNAL, "reading '%s' was interrupted", s->name);
        if (f->unread_fifo)
            make_blocking(fd);
        f->unread_fifo = false;
        ssize_t got = read(fd, buf, n);
        if (got >= 0)
            return got;
        if (errno == EAGAIN)
            wait_for(fd, POLLIN);
        else if (errno != EINTR)
            return vn_fail_errno(err, VN_ENOINPUT, errno, "cannot read '%s'", s->name);
    }
}

static void fd_close(struct vn_source *s) {
    struct fd_source *f = (struct fd_source *)s;
    if (f->fd != STDIN_FILENO)
        close(f->fd);
    if (f->wake >= 0)
        close(f->wake);
    free(s->name);
    free(s);
}

int vn_source_open(const char *path, struct vn_source **out, struct vn_error *err) {
    bool is_stdin = !path || !strcmp(path, "-");
    int fd = STDIN_FILENO;
    struct stat st;
    *out = NULL;
    if (!is_stdin && (fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)) < 0)
        return vn_fail_errno(err, VN_ENOINPUT, errno, "cannot open '%s'", path);
    const bool known = fstat(fd, &st) == 0, is_fifo = known && S_ISFIFO(st.st_mode);
    if (known && S_ISDIR(st.st_mode)) {
        if (!is_stdin)
            close(fd);
        return vn_fail(err, VN_ENOINPUT, "cannot read '%s': is a directory", path);
    }
    if (!is_stdin && !is_fifo)
        make_blocking(fd);
    struct fd_source *s = vn_calloc(1, sizeof *s, err);
    if (s)
        s->base.name = strdup(is_stdin ? "standard input" : path);
    if (!s || !s->base.name) {
        free(s);
        if (!is_stdin)
            close(fd);
        return vn_fail(err, VN_EFAIL, "cannot allocate a source");
    }
    s->base.read = fd_read;
    s->base.close = fd_close;
    s->fd = fd;
    s->wake = -1;
    s->unread_fifo = !is_stdin && is_fifo;
    *out = &s->base;
    return VN_OK;
}

int vn_source_interruptible(struct vn_source *s, struct vn_error *err) {
    struct fd_source *f = (struct fd_source *)s;
    if (s->read != fd_read || f->wake >= 0)
        return VN_OK;
    f->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    return f->wake >= 0 ? VN_OK : vn_fail_errno(err, VN_EFAIL, errno, "eventfd");
}

void vn_source_interrupt(struct vn_source *s) {
    const struct fd_source *f = (const struct fd_source *)s;
    const uint64_t one = 1;
    if (s->read != fd_read || f->wake < 0)
        return;
    ssize_t done = write(f->wake, &one, sizeof one); /* a counter: fails after 2^64 times */
    (void)done;
}

static int64_t memory_read(struct vn_source *s, void *buf, size_t n, struct vn_error *err) {
    struct memory_source *m = (struct memory_source *)s;
    (void)err;
    if (n > m->n - m->at)
        n = m->n - m->at;
    if (n)
        memcpy(buf, m->data + m->at, n);
    m->at += n;
    return (int64_t)n;
}

static void memory_close(struct vn_source *s) {
    free(s->name);
    free(s);
}

int vn_source_memory(const void *data, size_t n, const char *name, struct vn_source **out,
                     struct vn_error *err) {
    *out = NULL;
    struct memory_source *m = vn_calloc(1, sizeof *m, err);
    if (!m)
        return VN_EFAIL;
    m->base.name = strdup(name);
    if (!m->base.name) {
        free(m);
        return vn_fail(err, VN_EFAIL, "cannot allocate a source");
    }
    m->base.read = memory_read;
    m->base.close = memory_close;
    m->data = data;
    m->n = n;
    *out = &m->base;
    return VN_OK;
}

int64_t vn_read_full(struct vn_source *s, void *buf, size_t n, struct vn_error *err) {
    size_t have = 0;
    while (have < n) {
        int64_t got = s->read(s, (uint8_t *)buf + have, n - have, err);
        if (got < 0)
            return got;
        if (got == 0)
            break;
        have += (size_t)got;
    }
    return (int64_t)have;
}

/* A source in front of another, with bytes that were read from that one before. */
struct peeked_source {
    struct vn_source base;
    struct vn_source *inner;
    uint8_t head[VN_PEEK];
    size_t n, at;
};

static int64_t peeked_read(struct vn_source *s, void *buf, size_t n, struct vn_error *err) {
    struct peeked_source *p = (struct peeked_source *)s;
    if (p->at == p->n)
        return p->inner->read(p->inner, buf, n, err);
    if (n > p->n - p->at)
        n = p->n - p->at;
    memcpy(buf, p->head + p->at, n);
    p->at += n;
    return (int64_t)n;
}

static void peeked_close(struct vn_source *s) {
    vn_source_close(((struct peeked_source *)s)->inner);
    free(s);
}

int vn_source_peek(struct vn_source **s, void *head, size_t n, size_t *got,
                   struct vn_error *err) {
    struct peeked_source *p = vn_calloc(1, sizeof *p, err);
    if (!p)
        return VN_EFAIL;
    int64_t have = vn_read_full(*s, p->head, n, err);
    if (have < 0) {
        free(p);
        return (int)have;
    }
    p->base = (struct vn_source){peeked_read, peeked_close, (*s)->name};
    p->inner = *s;
    p->n = *got = (size_t)have;
    memcpy(head, p->head, p->n);
    *s = &p->base;
    return VN_OK;
}

int vn_read_file(const char *path, size_t max, struct vn_buf *out, struct vn_error *err) {
    enum { STEP = 65536 };
    struct vn_source *s;
    out->len = 0;
    int rc = vn_source_open(path, &s, err);
    if (rc != VN_OK)
        return rc;
    for (int64_t got = STEP; rc == VN_OK && got == STEP;) {
        rc = vn_buf_reserve(out, out->len + STEP, err);
        got = rc == VN_OK ? vn_read_full(s, out->data + out->len, STEP, err) : 0;
        if (got < 0)
            rc = (int)got;
        else if ((out->len += (size_t)got) > max)
            rc = vn_fail(err, VN_EDATA, "'%s' is larger than %zu bytes", path, max);
    }
    vn_source_close(s);
    return rc;
}

void vn_source_close(struct vn_source *s) {
    if (s)
        s->close(s);
}

/* ---- sinks ----------------------------------------------------------------------- */

#define TEXT_BUFFER ((size_t)64 << 10)
#define PIPE_BUFFER (1 << 20)
#define MAX_PENDING 16
#define MAX_TEMP_NAMES 100

struct vn_sink {
    int fd;
    char *name;
    char *temp;            /* name of the unfinished file, or NULL */
    int slot;              /* in pending[], or -1 */
    struct vn_buf text;    /* buffered text */
    struct vn_buf *memory; /* collects instead of fd, or NULL */
};

/* What to remove when a signal ends the process. Slots are claimed and freed by pointer
 * stores, which the signal handler reads. */
static char *volatile pending[MAX_PENDING];

void vn_sink_unlink_pending(void) {
    for (int i = 0; i < MAX_PENDING; i++) {
        const char *temp = pending[i];
        if (temp)
            unlink(temp);
    }
    for (int i = 0; i < MAX_PENDING; i++) { /* when they are empty */
        const char *dir = pending[i];
        if (dir)
            rmdir(dir);
    }
}

int vn_pending_add(char *temp) {
    for (int i = 0; i < MAX_PENDING; i++) {
        char *empty = NULL;
        if (__atomic_compare_exchange_n(&pending[i], &empty, temp, 0, __ATOMIC_SEQ_CST,
                                        __ATOMIC_SEQ_CST))
            return i;
    }
    return -1;
}

void vn_pending_drop(int slot) {
    if (slot >= 0)
        pending[slot] = NULL;
}

static void sink_free(struct vn_sink *s) {
    vn_pending_drop(s->slot);
    free(s->temp);
    free(s->name);
    vn_buf_release(&s->text);
    free(s);
}

/* A new file beside path, never one that is there: process numbers are not unique across
 * the machines that share a disk, and a link could have been planted under the name. */
static int open_temp(struct vn_sink *s, const char *path, struct vn_error *err) {
    size_t n = strlen(path) + 48;
    s->temp = vn_calloc(n, 1, err);
    if (!s->temp)
        return VN_EFAIL;
    for (int i = 0; i < MAX_TEMP_NAMES; i++) {
        snprintf(s->temp, n, "%s.%ld.%d.tmp", path, (long)getpid(), i);
        s->fd = open(s->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (s->fd >= 0 || errno != EEXIST)
            break;
    }
    if (s->fd >= 0)
        s->slot = vn_pending_add(s->temp);
    return VN_OK;
}

/* Opens the temporary file; anything that is not a regular file (a FIFO, /dev/full) has no
 * "complete" state and is written in place. A file that is replaced keeps its mode; behind
 * a link it is the file that is replaced. */
static int open_path(struct vn_sink *s, const char *path, struct vn_error *err) {
    struct stat st;
    bool there = stat(path, &st) == 0;
    int rc = VN_OK;
    if (there && !S_ISREG(st.st_mode)) {
        s->fd = open(path, O_WRONLY | O_CLOEXEC);
    } else {
        char *target = there ? realpath(path, NULL) : NULL;
        if (target) {
            free(s->name);
            s->name = target;
        }
        rc = open_temp(s, s->name, err);
        if (rc == VN_OK && s->fd >= 0 && there)
            fchmod(s->fd, st.st_mode & 0777); /* of another owner: as good as it gets */
    }
    if (rc != VN_OK)
        return rc;
    if (s->fd < 0)
        return vn_fail_errno(err, VN_EWRITE, errno, "cannot create '%s'", path);
    return VN_OK;
}

int vn_sink_open(const char *path, struct vn_sink **out, struct vn_error *err) {
    bool is_stdout = !path || !strcmp(path, "-");
    *out = NULL;
    struct vn_sink *s = vn_calloc(1, sizeof *s, err);
    if (!s)
        return VN_EFAIL;
    s->slot = -1;
    s->fd = STDOUT_FILENO;
    s->name = strdup(is_stdout ? "standard output" : path);
    int rc = s->name ? VN_OK : vn_fail(err, VN_EFAIL, "cannot allocate a sink");
    if (rc == VN_OK && !is_stdout)
        rc = open_path(s, path, err);
    if (rc != VN_OK) {
        sink_free(s);
        return rc;
    }
    fcntl(s->fd, F_SETPIPE_SZ, PIPE_BUFFER); /* fails harmlessly on anything but a pipe */
    *out = s;
    return VN_OK;
}

int vn_sink_memory(struct vn_buf *buf, struct vn_sink **out, struct vn_error *err) {
    *out = vn_calloc(1, sizeof **out, err);
    if (!*out)
        return VN_EFAIL;
    (*out)->fd = -1;
    (*out)->slot = -1;
    (*out)->memory = buf;
    (*out)->name = strdup("memory");
    return VN_OK;
}

static int write_failed(struct vn_sink *s, int errnum, struct vn_error *err) {
    return vn_fail_errno(err, errnum == EPIPE ? VN_EPIPE : VN_EWRITE, errnum,
                         "cannot write to '%s'", s->name);
}

static int write_vectors(struct vn_sink *s, struct iovec *iov, int n, struct vn_error *err) {
    while (n > 0) {
        if (s->memory) {
            int rc = vn_buf_append(s->memory, iov->iov_base, iov->iov_len, err);
            if (rc != VN_OK)
                return rc;
            iov++, n--;
            continue;
        }
        ssize_t done = writev(s->fd, iov, n);
        if (done < 0) {
            if (errno == EAGAIN)
                wait_for(s->fd, POLLOUT);
            else if (errno != EINTR)
                return write_failed(s, errno, err);
            continue;
        }
        while (n > 0 && (size_t)done >= iov->iov_len) {
            done -= (ssize_t)iov->iov_len;
            iov++, n--;
        }
        if (n > 0) {
            iov->iov_base = (uint8_t *)iov->iov_base + done;
            iov->iov_len -= (size_t)done;
        }
    }
    return VN_OK;
}

int vn_sink_flush(struct vn_sink *s, struct vn_error *err) {
    struct iovec iov = {s->text.data, s->text.len};
    s->text.len = 0;
    return iov.iov_len ? write_vectors(s, &iov, 1, err) : VN_OK;
}

int vn_sink_writev(struct vn_sink *s, struct iovec *iov, int n, struct vn_error *err) {
    int rc = vn_sink_flush(s, err);
    return rc == VN_OK ? write_vectors(s, iov, n, err) : rc;
}

int vn_sink_write(struct vn_sink *s, const void *p, size_t n, struct vn_error *err) {
    struct iovec iov = {(void *)p, n};
    return vn_sink_writev(s, &iov, 1, err);
}

int vn_sink_puts(struct vn_sink *s, const char *text, size_t n, struct vn_error *err) {
    int rc = vn_buf_append(&s->text, text, n, err);
    if (rc == VN_OK && s->text.len >= TEXT_BUFFER)
        rc = vn_sink_flush(s, err);
    return rc;
}

int vn_sink_close(struct vn_sink *s, struct vn_error *err) {
    int rc = vn_sink_flush(s, err);
    if (!s->memory && close(s->fd) != 0 && rc == VN_OK && errno != EINTR)
        rc = write_failed(s, errno, err);
    if (rc == VN_OK && s->temp && rename(s->temp, s->name) != 0)
        rc = vn_fail_errno(err, VN_EWRITE, errno, "cannot rename '%s' to '%s'", s->temp,
                           s->name);
    if (rc != VN_OK && s->temp)
        unlink(s->temp);
    sink_free(s);
    return rc;
}

void vn_sink_abort(struct vn_sink *s) {
    if (!s)
        return;
    if (s->temp)
        unlink(s->temp);
    if (!s->memory && s->fd != STDOUT_FILENO)
        close(s->fd);
    sink_free(s);
}

const char *vn_sink_name(const struct vn_sink *s) {
    return s->name;
}

/* ---- temporary files ------------------------------------------------------------- */

int vn_temp_open(struct vn_error *err) {
    char path[4096];
    const char *dir = getenv("TMPDIR");
    dir = dir && *dir ? dir : "/tmp";
    if ((size_t)snprintf(path, sizeof path, "%s/vn.XXXXXX", dir) >= sizeof path)
        return vn_fail(err, VN_EWRITE, "TMPDIR is too long");
    const int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return vn_fail_errno(err, VN_EWRITE, errno, "cannot make a temporary file in '%s'",
                             dir);
    unlink(path);
    return fd;
}

int vn_temp_write(int fd, const void *p, size_t n, uint64_t at, struct vn_error *err) {
    for (size_t done = 0; done < n;) {
        ssize_t put = pwrite(fd, (const uint8_t *)p + done, n - done, (off_t)(at + done));
        if (put > 0)
            done += (size_t)put;
        else if (put == 0 || errno != EINTR)
            return vn_fail_errno(err, VN_EWRITE, put ? errno : ENOSPC,
                                 "cannot write to a temporary file");
    }
    return VN_OK;
}

int vn_temp_read(int fd, void *p, size_t n, uint64_t at, struct vn_error *err) {
    for (size_t done = 0; done < n;) {
        ssize_t got = pread(fd, (uint8_t *)p + done, n - done, (off_t)(at + done));
        if (got > 0)
            done += (size_t)got;
        else if (got == 0 || errno != EINTR)
            return vn_fail_errno(err, VN_EFAIL, got ? errno : EIO,
                                 "cannot read a temporary file");
    }
    return VN_OK;
}
