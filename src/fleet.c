#include "fleet.h"

#include <pthread.h>
#include <stdlib.h>

#include "mem.h"

/* A job on its way through the fleet. The collector gets &ticket->job. */
struct ticket {
    struct vn_job job; /* first: a struct vn_job * of an engine points here */
    int64_t tokens;
    bool done;
    int rc; /* of running it */
    struct vn_error err;
};

/* A device. Its jobs wait in a ring of `size` places: the oldest `running` of them are with
 * the engine, or have failed there. */
struct worker {
    struct vn_fleet *fleet;
    struct vn_backend *backend; /* the engine's */
    struct vn_engine *engine;
    pthread_t thread;
    bool started; /* there is a thread */
    pthread_cond_t work;
    struct ticket **ring;
    int size, first, running, queued; /* queued: running ones included */
    int64_t tokens;                   /* of them */
    bool opened, ended;
    int rc; /* of the failure that ended the engine */
    struct vn_error err;
};

struct vn_fleet {
    const struct vn_model *model;
    struct vn_engine_options opts;
    pthread_mutex_t lock;      /* over all that changes, but for what a running job holds */
    pthread_cond_t room, done; /* for the submitter; for the collector, and for opening */
    struct worker *workers;    /* [n] */
    int n;
    struct ticket *tickets; /* a ring, [window + 1]: one more is in the collector's hands */
    int window;
    uint64_t submitted, collected;
    bool finished, stopped;
};

int vn_fleet_window(const struct vn_fleet *f) {
    return f->window;
}

const struct vn_engine *vn_fleet_engine(const struct vn_fleet *f, int i) {
    return f->workers[i].engine;
}

/* ---- a device's thread ----------------------------------------------------------- */

/* Gives the oldest waiting job to the engine. One that it refuses keeps its place, so that
 * jobs are done in order. */
static void submit_next(struct worker *w) {
    struct vn_fleet *f = w->fleet;
    struct ticket *t = w->ring[(w->first + w->running) % w->size];
    t->rc = w->rc;
    if (t->rc < 0) {
        t->err = w->err;
    } else {
        pthread_mutex_unlock(&f->lock);
        t->rc = vn_engine_submit(w->engine, &t->job, &t->err);
        pthread_mutex_lock(&f->lock);
    }
    if (t->rc < 0 && t->rc != VN_EDATA && w->rc == VN_OK) { /* data: the job's own fault */
        w->rc = t->rc;
        w->err = t->err;
    }
    w->running++;
}

/* Waits for the oldest job of the engine, and says that it is done. */
static void collect_next(struct worker *w) {
    struct vn_fleet *f = w->fleet;
    struct ticket *t = w->ring[w->first];
    struct vn_job *job;
    if (t->rc == VN_OK) {
        pthread_mutex_unlock(&f->lock);
        int rc = vn_engine_collect(w->engine, &job, &t->err);
        pthread_mutex_lock(&f->lock);
        t->rc = rc < 0 ? rc : VN_OK;
        if (rc < 0 && w->rc == VN_OK) {
            w->rc = rc;
            w->err = t->err;
        }
    }
    w->first = (w->first + 1) % w->size;
    w->running--;
    w->queued--;
    w->tokens -= t->tokens;
    t->done = true;
    pthread_cond_broadcast(&f->done);
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    struct vn_fleet *f = w->fleet;
    int rc = vn_engine_open(f->model, w->backend, &f->opts, &w->engine, &w->err);
    const int depth = rc < 0 ? 0 : vn_engine_depth(w->engine);
    pthread_mutex_lock(&f->lock);
    w->rc = rc;
    w->opened = true;
    pthread_cond_broadcast(&f->done);
    while (rc == VN_OK && !f->stopped) {
        if (w->queued > w->running && w->running < depth)
            submit_next(w);
        else if (w->running)
            collect_next(w);
        else
            pthread_cond_wait(&w->work, &f->lock);
    }
    pthread_mutex_unlock(&f->lock);
    vn_engine_close(w->engine); /* which waits for what is queued */
    pthread_mutex_lock(&f->lock);
    w->engine = NULL;
    w->ended = true;
    pthread_cond_broadcast(&f->done);
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

/* ---- opening and closing --------------------------------------------------------- */

static int start(struct vn_fleet *f, struct vn_backend *const *backends,
                 struct vn_error *err) {
    int rc = VN_OK;
    for (int i = 0; i < f->n; i++) {
        struct worker *w = &f->workers[i];
        w->fleet = f;
        w->backend = backends[i];
        pthread_cond_init(&w->work, NULL);
        if (rc == VN_OK) {
            int e = pthread_create(&w->thread, NULL, worker_main, w);
            w->started = !e;
            if (e)
                rc = vn_fail_errno(err, VN_EFAIL, e, "cannot start thread %d of %d", i + 1,
                                   f->n);
        }
        if (!w->started)
            w->backend->ops.close(w->backend);
    }
    return rc;
}

/* Every device can have as many jobs as it takes, and one more that waits for its turn. */
static int make_window(struct vn_fleet *f, struct vn_error *err) {
    for (int i = 0; i < f->n; i++)
        f->window += vn_engine_depth(f->workers[i].engine) + 1;
    f->tickets = vn_calloc((size_t)f->window + 1, sizeof *f->tickets, err);
    for (int i = 0; i < f->n && f->tickets; i++) {
        struct worker *w = &f->workers[i];
        w->ring = vn_calloc((size_t)f->window, sizeof *w->ring, err);
        if (!w->ring)
            return VN_EFAIL;
        w->size = f->window;
    }
    return f->tickets ? VN_OK : VN_EFAIL;
}

int vn_fleet_open(const struct vn_model *model, struct vn_backend *const *backends, int n,
                  const struct vn_engine_options *opts, struct vn_fleet **out,
                  struct vn_error *err) {
    struct vn_fleet *f = vn_calloc(1, sizeof *f, err);
    struct worker *workers = vn_calloc((size_t)n, sizeof *workers, err);
    *out = NULL;
    if (!f || !workers) {
        for (int i = 0; i < n; i++)
            backends[i]->ops.close(backends[i]);
        free(workers);
        free(f);
        return VN_EFAIL;
    }
    f->model = model;
    f->opts = *opts;
    f->workers = workers;
    f->n = n;
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->room, NULL);
    pthread_cond_init(&f->done, NULL);
    int rc = start(f, backends, err);
    if (rc < 0) {
        vn_fleet_close(f);
        return rc;
    }
    *out = f;
    return VN_OK;
}

int vn_fleet_wait(struct vn_fleet *f, struct vn_error *err) {
    struct worker *failed = NULL;
    pthread_mutex_lock(&f->lock);
    for (int i = 0; i < f->n; i++) {
        struct worker *w = &f->workers[i];
        while (!w->opened)
            pthread_cond_wait(&f->done, &f->lock);
        if (w->rc < 0 && !failed)
            failed = w;
    }
    pthread_mutex_unlock(&f->lock);
    if (!failed)
        return make_window(f, err);
    if (err)
        *err = failed->err;
    if (err && f->n > 1)
        vn_prefix(err, "device %d of %d", (int)(failed - f->workers) + 1, f->n);
    return failed->rc;
}

void vn_fleet_close(struct vn_fleet *f) {
    if (!f)
        return;
    vn_fleet_stop(f);
    for (int i = 0; i < f->n; i++) {
        if (f->workers[i].started)
            pthread_join(f->workers[i].thread, NULL);
        pthread_cond_destroy(&f->workers[i].work);
        free(f->workers[i].ring);
    }
    for (int i = 0; f->tickets && i <= f->window; i++) {
        vn_buf_release(&f->tickets[i].job.out);
        vn_buf_release(&f->tickets[i].job.outcome);
    }
    pthread_mutex_destroy(&f->lock);
    pthread_cond_destroy(&f->room);
    pthread_cond_destroy(&f->done);
    free(f->tickets);
    free(f->workers);
    free(f);
}

/* ---- jobs ------------------------------------------------------------------------ */

static struct worker *least_loaded(const struct vn_fleet *f) {
    struct worker *w = &f->workers[0];
    for (int i = 1; i < f->n; i++)
        if (f->workers[i].tokens < w->tokens)
            w = &f->workers[i];
    return w;
}

int vn_fleet_submit(struct vn_fleet *f, const uint16_t *tokens, const int32_t *cu_seqlens,
                    int64_t n_seq, void *user) {
    pthread_mutex_lock(&f->lock);
    while (!f->stopped && f->submitted - f->collected == (uint64_t)f->window)
        pthread_cond_wait(&f->room, &f->lock);
    const bool taken = !f->stopped;
    if (taken) {
        struct ticket *t = &f->tickets[f->submitted % ((uint64_t)f->window + 1)];
        struct worker *w = least_loaded(f);
        t->job.tokens = tokens;
        t->job.cu_seqlens = cu_seqlens;
        t->job.n_seq = n_seq;
        t->job.user = user;
        t->tokens = cu_seqlens[n_seq] - cu_seqlens[0];
        t->done = false;
        t->rc = VN_OK;
        f->submitted++;
        w->tokens += t->tokens;
        w->ring[(w->first + w->queued++) % w->size] = t;
        pthread_cond_signal(&w->work);
    }
    pthread_mutex_unlock(&f->lock);
    return taken;
}

void vn_fleet_finish(struct vn_fleet *f) {
    pthread_mutex_lock(&f->lock);
    f->finished = true;
    pthread_cond_broadcast(&f->done);
    pthread_mutex_unlock(&f->lock);
}

void vn_fleet_stop(struct vn_fleet *f) {
    pthread_mutex_lock(&f->lock);
    f->stopped = true;
    pthread_cond_broadcast(&f->room);
    pthread_cond_broadcast(&f->done);
    for (int i = 0; i < f->n; i++)
        pthread_cond_signal(&f->workers[i].work);
    for (int i = 0; i < f->n; i++)
        while (f->workers[i].started && !f->workers[i].ended)
            pthread_cond_wait(&f->done, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

int vn_fleet_collect(struct vn_fleet *f, struct vn_job **job, struct vn_error *err) {
    int rc = 0;
    pthread_mutex_lock(&f->lock);
    struct ticket *t = &f->tickets[f->collected % ((uint64_t)f->window + 1)];
    while (!f->stopped && !(f->collected < f->submitted && t->done) &&
           !(f->collected == f->submitted && f->finished))
        pthread_cond_wait(&f->done, &f->lock);
    if (!f->stopped && f->collected < f->submitted) {
        f->collected++;
        *job = &t->job;
        rc = t->rc < 0 ? t->rc : 1;
        if (rc < 0 && err)
            *err = t->err;
        pthread_cond_signal(&f->room);
    }
    pthread_mutex_unlock(&f->lock);
    return rc;
}
