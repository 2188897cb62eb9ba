#include "timer.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define SECOND ((int64_t)1000000000)

struct vn_timer {
    int64_t ns;
    int (*due)(void *arg, struct vn_error *err);
    void *arg;
    pthread_t thread;
    bool started, stop;
    pthread_mutex_t lock; /* the program's, but while it waits for input */
    pthread_cond_t armed; /* or stop */
    int64_t at;           /* when it is due; 0: nothing is collected */
    struct vn_source *source;
    int status; /* of the failure of `due` on the thread */
    struct vn_error error;
};

static int64_t now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * SECOND + ts.tv_nsec;
}

/* With the lock, which the program lets go only to wait for input. */
static void fire(struct vn_timer *t) {
    t->at = 0;
    t->status = t->due(t->arg, &t->error);
    if (t->status != VN_OK && t->source)
        vn_source_interrupt(t->source);
}

static void *run(void *arg) {
    struct vn_timer *t = arg;
    pthread_mutex_lock(&t->lock);
    while (!t->stop && t->status == VN_OK) {
        const struct timespec until = {t->at / SECOND, t->at % SECOND};
        if (!t->at)
            pthread_cond_wait(&t->armed, &t->lock);
        else if (now() < t->at)
            pthread_cond_timedwait(&t->armed, &t->lock, &until);
        else
            fire(t);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

int vn_timer_new(int64_t ms, int (*due)(void *arg, struct vn_error *err), void *arg,
                 struct vn_timer **out, struct vn_error *err) {
    struct vn_timer *t = *out = vn_calloc(1, sizeof *t, err);
    pthread_condattr_t attr;
    if (!t)
        return VN_EFAIL;
    t->ns = ms * (SECOND / 1000);
    t->due = due;
    t->arg = arg;
    pthread_mutex_init(&t->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&t->armed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_lock(&t->lock);
    const int failed = pthread_create(&t->thread, NULL, run, t);
    t->started = !failed;
    if (!failed)
        return VN_OK;
    vn_timer_free(t);
    *out = NULL;
    return vn_fail_errno(err, VN_EFAIL, failed, "cannot start a thread");
}

int vn_timer_source(struct vn_timer *t, struct vn_source *source, struct vn_error *err) {
    if (!t)
        return VN_OK;
    t->source = source;
    return source ? vn_source_interruptible(source, err) : VN_OK;
}

/* Where the program never waits for long, the thread may not get the lock: so it looks at the
 * clock as well. */
int vn_timer_wait(struct vn_timer *t, bool collected, struct vn_error *err) {
    if (!t)
        return VN_OK;
    if (!collected) {
        t->at = 0;
    } else if (!t->at) {
        t->at = now() + t->ns;
        pthread_cond_signal(&t->armed);
    } else if (now() >= t->at) {
        t->at = 0;
        const int rc = t->due(t->arg, err);
        if (rc != VN_OK)
            return rc;
    }
    pthread_mutex_unlock(&t->lock);
    return VN_OK;
}

int vn_timer_go_on(struct vn_timer *t, int rc, struct vn_error *err) {
    if (!t)
        return rc;
    pthread_mutex_lock(&t->lock);
    if (t->status == VN_OK)
        return rc;
    if (err)
        *err = t->error;
    return t->status;
}

void vn_timer_free(struct vn_timer *t) {
    if (!t)
        return;
    t->stop = true;
    pthread_cond_signal(&t->armed);
    pthread_mutex_unlock(&t->lock);
    if (t->started)
        pthread_join(t->thread, NULL);
    pthread_cond_destroy(&t->armed);
    pthread_mutex_destroy(&t->lock);
    free(t);
}
