#include "line.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "mem.h"

struct worker {
    struct vn_line *line;
    int index;
    pthread_t thread;
};

/* Slots are numbered by turns, which count on: turn t is slot t % slots. */
struct vn_line {
    struct vn_line_steps steps;
    void *ctx;
    int slots, n_workers;
    struct worker *workers;
    pthread_mutex_t lock;
    pthread_cond_t come;             /* a turn was put, or stop */
    pthread_cond_t gone;             /* a turn was finished */
    uint64_t put, taken, finished;   /* turns so far; finished <= taken <= put */
    bool stop;
    int status;                      /* of the first failure */
    struct vn_error error;
};

/* Keeps the first failure. With the lock. */
static void fail(struct vn_line *l, int rc, const struct vn_error *err) {
    l->status = rc;
    l->error = *err;
    if (l->steps.failed)
        l->steps.failed(l->ctx);
}

static int work(struct vn_line *l, int worker, int slot, struct vn_error *err) {
    return l->steps.work ? l->steps.work(l->ctx, worker, slot, err) : VN_OK;
}

/* Works on a turn and finishes it when it is the next one. With the lock, released
 * meanwhile. */
static void take_turn(struct vn_line *l, int worker) {
    const uint64_t turn = l->taken++;
    const int slot = (int)(turn % (uint64_t)l->slots);
    struct vn_error err = {0};
    pthread_mutex_unlock(&l->lock);
    int rc = work(l, worker, slot, &err);
    pthread_mutex_lock(&l->lock);
    while (l->finished != turn)
        pthread_cond_wait(&l->gone, &l->lock);
    if (rc == VN_OK && l->status == VN_OK) {
        pthread_mutex_unlock(&l->lock);
        rc = l->steps.finish(l->ctx, slot, &err);
        pthread_mutex_lock(&l->lock);
    }
    if (rc != VN_OK && l->status == VN_OK)
        fail(l, rc, &err);
    l->finished++;
    pthread_cond_broadcast(&l->gone);
}

static void *run(void *arg) {
    struct worker *w = arg;
    struct vn_line *l = w->line;
    pthread_mutex_lock(&l->lock);
    for (;;) {
        while (l->taken == l->put && !l->stop)
            pthread_cond_wait(&l->come, &l->lock);
        if (l->taken == l->put)
            break;
        take_turn(l, w->index);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

int vn_line_new(int threads, int slots, const struct vn_line_steps *steps, void *ctx,
                struct vn_line **out, struct vn_error *err) {
    struct vn_line *l = *out = vn_calloc(1, sizeof *l, err);
    if (!l)
        return VN_EFAIL;
    l->steps = *steps;
    l->ctx = ctx;
    l->slots = slots;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->come, NULL);
    pthread_cond_init(&l->gone, NULL);
    l->workers = vn_calloc((size_t)threads, sizeof *l->workers, err);
    int rc = l->workers ? VN_OK : VN_EFAIL;
    for (int i = 0; i < threads && rc == VN_OK; i++) {
        l->workers[i] = (struct worker){.line = l, .index = i};
        const int e = pthread_create(&l->workers[i].thread, NULL, run, &l->workers[i]);
        if (e)
            rc = vn_fail_errno(err, VN_EFAIL, e, "cannot start thread %d of %d", i + 1,
                               threads);
        else
            l->n_workers = i + 1;
    }
    if (rc == VN_OK)
        return VN_OK;
    vn_line_free(l);
    *out = NULL;
    return rc;
}

/* The failure so far. With the lock. */
static int status(const struct vn_line *l, struct vn_error *err) {
    if (l->status != VN_OK && err)
        *err = l->error;
    return l->status;
}

int vn_line_slot(struct vn_line *l, struct vn_error *err) {
    pthread_mutex_lock(&l->lock);
    while (l->put - l->finished == (uint64_t)l->slots)
        pthread_cond_wait(&l->gone, &l->lock);
    const int rc = status(l, err), slot = (int)(l->put % (uint64_t)l->slots);
    pthread_mutex_unlock(&l->lock);
    return rc == VN_OK ? slot : rc;
}

int vn_line_put(struct vn_line *l, struct vn_error *err) {
    pthread_mutex_lock(&l->lock);
    l->put++;
    if (l->n_workers)
        pthread_cond_signal(&l->come);
    else
        take_turn(l, 0);
    const int rc = status(l, err);
    pthread_mutex_unlock(&l->lock);
    return rc;
}

int vn_line_drain(struct vn_line *l, struct vn_error *err) {
    pthread_mutex_lock(&l->lock);
    while (l->finished != l->put)
        pthread_cond_wait(&l->gone, &l->lock);
    const int rc = status(l, err);
    pthread_mutex_unlock(&l->lock);
    return rc;
}

void vn_line_free(struct vn_line *l) {
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_broadcast(&l->come);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_workers; i++)
        pthread_join(l->workers[i].thread, NULL);
    pthread_mutex_destroy(&l->lock);
    pthread_cond_destroy(&l->come);
    pthread_cond_destroy(&l->gone);
    free(l->workers);
    free(l);
}

static int fill_all(struct vn_line *l, int (*fill)(void *, int, struct vn_error *), void *ctx,
                    struct vn_error *err) {
    int rc;
    do {
        const int slot = vn_line_slot(l, err);
        rc = slot < 0 ? slot : fill(ctx, slot, err);
    } while (rc > 0 && (rc = vn_line_put(l, err)) == VN_OK);
    return rc;
}

int vn_line_run(int threads, int slots, const struct vn_line_steps *steps,
                int (*fill)(void *ctx, int slot, struct vn_error *err), void *ctx,
                struct vn_error *err) {
    struct vn_line *l;
    struct vn_error first;
    int rc = vn_line_new(threads, slots, steps, ctx, &l, err);
    if (rc != VN_OK)
        return rc;
    rc = fill_all(l, fill, ctx, err);
    const int failed = vn_line_drain(l, &first);
    vn_line_free(l);
    if (failed == VN_OK)
        return rc;
    *err = first;
    return failed;
}
