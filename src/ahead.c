#include "ahead.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CHUNK ((size_t)1 << 20)
#define LEAST 2    /* chunks of a pipe in memory: one is filled while the other is read */
#define PATIENCE 1 /* seconds without a byte before another pipe may go on */

/* Memory of a chunk that nobody needs now: any pipe may take it. */
struct spare {
    struct spare *next;
};

/* A piece of a pipe, in memory or, when it is full, in the file. The thread fills it behind
 * `len`, the reader takes it from `at`: neither touches what is the other's. */
struct chunk {
    struct chunk *next;
    uint8_t *data; /* [CHUNK], or NULL: in the file */
    size_t len, at;
    off_t slot;    /* in the file */
    bool moving;   /* to the file, at this moment */
};

struct vn_ahead {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* anything of any pipe */
    int64_t memory, n_in_memory; /* bytes that are allowed; chunks that there are */
    struct spare *spare;
    const struct pipe_source *waited_for; /* by the reader, or NULL */
    struct timespec since; /* it waits, or the last bytes of that pipe have come */
    int64_t spilled, most_spilled; /* bytes */
    int status; /* of the first thread that failed: whoever waits is told */
    struct vn_error error;
};

struct pipe_source {
    struct vn_source base; /* first */
    struct vn_ahead *group;
    int fd;
    int stop[2]; /* a pipe whose end that is written to is closed when the thread is to end */
    pthread_t thread;
    /* under the group's lock */
    struct chunk *head, *tail;
    int64_t n_in_memory, n_in_file; /* chunks */
    int64_t may_spill;     /* how many of them may be in the file */
    bool closing;          /* nobody reads: it is not to wait for room, but to end */
    bool ended;            /* no more chunks will come */
    off_t next_slot;
    struct chunk *spare;   /* whose slot may be used again */
    int file;              /* -1: none yet; opened and written by the thread */
    /* the reader's */
    uint8_t *fetched;      /* [CHUNK] a chunk from the file */
};

int vn_ahead_new(int64_t memory, struct vn_ahead **out, struct vn_error *err) {
    pthread_condattr_t attr;
    struct vn_ahead *a = *out = vn_calloc(1, sizeof *a, err);
    if (!a)
        return VN_EFAIL;
    a->memory = memory;
    pthread_mutex_init(&a->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&a->changed, &attr);
    pthread_condattr_destroy(&attr);
    return VN_OK;
}

void vn_ahead_free(struct vn_ahead *a) {
    if (!a)
        return;
    for (struct spare *s = a->spare, *next; s; s = next) {
        next = s->next;
        free(s);
    }
    pthread_cond_destroy(&a->changed);
    pthread_mutex_destroy(&a->lock);
    free(a);
}

int64_t vn_ahead_spilled(const struct vn_ahead *a) {
    return a->most_spilled;
}

/* ---- memory of chunks, with the lock ------------------------------------------------ */

static bool take_memory(struct pipe_source *p, struct chunk *c) {
    struct vn_ahead *a = p->group;
    c->data = (uint8_t *)a->spare;
    if (c->data)
        a->spare = a->spare->next;
    else if (!(c->data = malloc(CHUNK)))
        return false;
    p->n_in_memory++;
    a->n_in_memory++;
    return true;
}

static void give_memory(struct pipe_source *p, struct chunk *c) {
    struct vn_ahead *a = p->group;
    struct spare *s = (struct spare *)(void *)c->data;
    s->next = a->spare;
    a->spare = s;
    c->data = NULL;
    p->n_in_memory--;
    a->n_in_memory--;
}

/* ---- the file -------------------------------------------------------------------- */

static int write_chunk(struct pipe_source *p, const struct chunk *c, struct vn_error *err) {
    int rc = p->file >= 0 ? VN_OK : (p->file = vn_temp_open(err));
    if (rc >= 0)
        rc = vn_temp_write(p->file, c->data, c->len, (uint64_t)c->slot, err);
    return rc < 0 ? vn_prefix(err, "what '%s' is ahead", p->base.name) : VN_OK;
}

static int read_chunk(struct pipe_source *p, const struct chunk *c, struct vn_error *err) {
    int rc = vn_temp_read(p->file, p->fetched, c->len, (uint64_t)c->slot, err);
    return rc < 0 ? vn_prefix(err, "what '%s' was ahead", p->base.name) : VN_OK;
}

/* Moves the last chunk, which is full and not the one that is read, to the file. Called with
 * the lock, which is released meanwhile. */
static int spill(struct pipe_source *p, struct vn_error *err) {
    struct vn_ahead *a = p->group;
    struct chunk *c = p->tail;
    if (c->slot < 0) {
        c->slot = p->next_slot;
        p->next_slot += (off_t)CHUNK;
    }
    c->moving = true;
    pthread_mutex_unlock(&a->lock);
    int rc = write_chunk(p, c, err);
    pthread_mutex_lock(&a->lock);
    c->moving = false;
    if (rc == VN_OK) {
        give_memory(p, c);
        p->n_in_file++;
        a->spilled += (int64_t)CHUNK;
        if (a->spilled > a->most_spilled)
            a->most_spilled = a->spilled;
    }
    pthread_cond_broadcast(&a->changed);
    return rc;
}

/* ---- the thread ------------------------------------------------------------------ */

static double seconds_since(const struct timespec *then) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - then->tv_sec) + 1e-9 * (double)(now.tv_nsec - then->tv_nsec);
}

static bool has_room(const struct pipe_source *p) {
    const struct vn_ahead *a = p->group;
    return p->n_in_memory < LEAST || a->n_in_memory < a->memory / (int64_t)CHUNK || p->closing;
}

/* Waits until another chunk may be in memory, or moves one out of it. With the lock. */
static int make_room(struct pipe_source *p, struct vn_error *err) {
    struct vn_ahead *a = p->group;
    struct timespec begun;
    clock_gettime(CLOCK_MONOTONIC, &begun);
    while (!has_room(p)) {
        if (p->n_in_file < p->may_spill)
            return spill(p, err); /* whose room this pipe has then, whatever others take */
        struct timespec until = begun;
        until.tv_sec += PATIENCE;
        pthread_cond_timedwait(&a->changed, &a->lock, &until);
        if (seconds_since(&begun) < PATIENCE)
            continue;
        clock_gettime(CLOCK_MONOTONIC, &begun);
        if (a->waited_for && a->waited_for != p && seconds_since(&a->since) >= PATIENCE)
            p->may_spill += VN_AHEAD_STEP / (int64_t)CHUNK;
    }
    return VN_OK;
}

/* Appends an empty chunk. With the lock. */
static int add_chunk(struct pipe_source *p, struct vn_error *err) {
    struct chunk *c = p->spare;
    if (c)
        p->spare = c->next;
    else if ((c = vn_calloc(1, sizeof *c, err)))
        c->slot = -1;
    if (c && !take_memory(p, c)) {
        free(c);
        c = NULL;
    }
    if (!c)
        return vn_fail(err, VN_EFAIL, "cannot allocate memory to read '%s' ahead",
                       p->base.name);
    c->next = NULL;
    c->len = c->at = 0;
    if (p->tail)
        p->tail->next = c;
    else
        p->head = c;
    p->tail = c;
    return VN_OK;
}

/* What is there; 0 at the end, or when the thread is to end. Of a FIFO that nobody has
 * opened to write there is neither bytes nor an end. */
static int64_t read_some(struct pipe_source *p, uint8_t *to, size_t n, struct vn_error *err) {
    for (;;) {
        struct pollfd f[2] = {{.fd = p->fd, .events = POLLIN}, {.fd = p->stop[0]}};
        if (poll(f, 2, -1) < 0 && errno != EINTR)
            break;
        if (f[1].revents)
            return 0;
        ssize_t got = f[0].revents ? read(p->fd, to, n) : -1;
        if (got >= 0)
            return got;
        if (f[0].revents && errno != EINTR && errno != EAGAIN)
            break;
    }
    return vn_fail_errno(err, VN_ENOINPUT, errno, "cannot read '%s'", p->base.name);
}

/* Reads into the last chunk; > 0, 0 at the end. With the lock, released meanwhile. */
static int64_t fill(struct pipe_source *p, struct vn_error *err) {
    struct vn_ahead *a = p->group;
    int rc = VN_OK;
    if (!p->tail || p->tail->len == CHUNK) {
        rc = make_room(p, err);
        if (rc == VN_OK)
            rc = add_chunk(p, err);
    }
    if (rc != VN_OK)
        return rc;
    struct chunk *c = p->tail;
    const size_t len = c->len;
    pthread_mutex_unlock(&a->lock);
    int64_t got = read_some(p, c->data + len, CHUNK - len, err);
    pthread_mutex_lock(&a->lock);
    if (got > 0)
        c->len += (size_t)got;
    if (a->waited_for == p)
        clock_gettime(CLOCK_MONOTONIC, &a->since);
    pthread_cond_broadcast(&a->changed);
    return got;
}

static void *run(void *arg) {
    struct pipe_source *p = arg;
    struct vn_error err = {0};
    int64_t rc;
    pthread_mutex_lock(&p->group->lock);
    while ((rc = fill(p, &err)) > 0)
        ;
    p->ended = true;
    if (rc < 0 && !p->group->status) {
        p->group->status = (int)rc;
        p->group->error = err;
    }
    pthread_cond_broadcast(&p->group->changed);
    pthread_mutex_unlock(&p->group->lock);
    return NULL;
}

/* ---- the reader ------------------------------------------------------------------ */

/* Gives the first chunk, which has been taken, back. With the lock. */
static void drop_head(struct pipe_source *p) {
    struct chunk *c = p->head;
    p->head = c->next;
    if (!p->head)
        p->tail = NULL;
    if (c->data) {
        give_memory(p, c);
    } else {
        p->n_in_file--;
        p->group->spilled -= (int64_t)CHUNK;
    }
    c->next = p->spare;
    p->spare = c;
    pthread_cond_broadcast(&p->group->changed);
}

/* The chunk to take from next, NULL at the end or if any pipe has failed. With the lock,
 * released while waiting. */
static struct chunk *wait_for_bytes(struct pipe_source *p) {
    struct vn_ahead *a = p->group;
    for (;;) {
        if (p->head && p->head->at == CHUNK)
            drop_head(p);
        struct chunk *c = p->head;
        if (c && !c->moving && c->at < c->len)
            return c;
        if (a->status || (p->ended && (!c || c->at == c->len)))
            return NULL;
        if (a->waited_for != p) {
            a->waited_for = p;
            clock_gettime(CLOCK_MONOTONIC, &a->since);
        }
        pthread_cond_wait(&a->changed, &a->lock);
    }
}

static int64_t pipe_read(struct vn_source *s, void *buf, size_t n, struct vn_error *err) {
    struct pipe_source *p = (struct pipe_source *)s;
    pthread_mutex_lock(&p->group->lock);
    struct chunk *c = wait_for_bytes(p);
    p->group->waited_for = NULL;
    const size_t have = c ? c->len - c->at : 0;
    const bool in_file = c && !c->data;
    const int status = c ? VN_OK : p->group->status;
    if (status && err)
        *err = p->group->error;
    pthread_mutex_unlock(&p->group->lock);
    if (!c)
        return status;
    if (in_file && !p->fetched && !(p->fetched = malloc(CHUNK)))
        return vn_fail(err, VN_EFAIL, "cannot allocate memory to read '%s'", s->name);
    if (in_file && c->at == 0) {
        int rc = read_chunk(p, c, err);
        if (rc != VN_OK)
            return rc;
    }
    n = n < have ? n : have;
    memcpy(buf, (in_file ? p->fetched : c->data) + c->at, n);
    c->at += n;
    return (int64_t)n;
}

static void free_chunks(struct chunk *c) {
    while (c) {
        struct chunk *next = c->next;
        free(c->data);
        free(c);
        c = next;
    }
}

static void free_pipe(struct pipe_source *p) {
    const int fds[] = {p->fd != STDIN_FILENO ? p->fd : -1, p->file, p->stop[0], p->stop[1]};
    for (int i = 0; i < 4; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    free_chunks(p->head);
    free_chunks(p->spare);
    free(p->fetched);
    free(p->base.name);
    free(p);
}

static void pipe_close(struct vn_source *s) {
    struct pipe_source *p = (struct pipe_source *)s;
    pthread_mutex_lock(&p->group->lock);
    p->closing = true;
    pthread_cond_broadcast(&p->group->changed);
    pthread_mutex_unlock(&p->group->lock);
    close(p->stop[1]);
    p->stop[1] = -1;
    pthread_join(p->thread, NULL);
    free_pipe(p);
}

/* ---- open ------------------------------------------------------------------------ */

static bool is_regular(const char *path) {
    struct stat st;
    return (path ? stat(path, &st) : fstat(STDIN_FILENO, &st)) != 0 || S_ISREG(st.st_mode) ||
           S_ISDIR(st.st_mode);
}

int vn_ahead_open(struct vn_ahead *a, const char *path, struct vn_source **out,
                  struct vn_error *err) {
    const bool is_stdin = !path || !strcmp(path, "-");
    *out = NULL;
    if (is_regular(is_stdin ? NULL : path)) /* or not there: vn_source_open says so */
        return vn_source_open(path, out, err);
    struct pipe_source *p = vn_calloc(1, sizeof *p, err);
    if (!p)
        return VN_EFAIL;
    p->group = a;
    p->file = p->stop[0] = p->stop[1] = -1;
    p->base = (struct vn_source){pipe_read, pipe_close,
                                 strdup(is_stdin ? "standard input" : path)};
    /* does not wait for the writer of a FIFO, which may wait for another to be opened */
    p->fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (p->fd < 0) {
        const int rc = vn_fail_errno(err, VN_ENOINPUT, errno, "cannot open '%s'", path);
        free_pipe(p);
        return rc;
    }
    if (!p->base.name || pipe2(p->stop, O_CLOEXEC) < 0 ||
        pthread_create(&p->thread, NULL, run, p) != 0) {
        free_pipe(p);
        return vn_fail(err, VN_EFAIL, "cannot start a thread to read '%s'",
                       is_stdin ? "standard input" : path);
    }
    *out = &p->base;
    return VN_OK;
}
