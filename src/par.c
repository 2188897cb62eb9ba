#include "par.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "mem.h"

struct worker {
    struct vn_team *team;
    int index;
    pthread_t thread;
};

struct vn_team {
    int size;
    struct worker *workers; /* [size]; element 0 stands for the calling thread */
    pthread_mutex_t lock;
    pthread_cond_t start, done;
    uint64_t round; /* counts loops: a change wakes the workers */
    int busy;       /* workers still in the current loop */
    bool stop;
    void (*fn)(void *, int, int64_t);
    void *ctx;
    int64_t n_items;
    int64_t next; /* atomic: next item to hand out */
};

static void take_items(struct vn_team *t, int worker) {
    for (;;) {
        int64_t i = __atomic_fetch_add(&t->next, 1, __ATOMIC_RELAXED);
        if (i >= t->n_items)
            return;
        t->fn(t->ctx, worker, i);
    }
}

static void *worker_main(void *arg) {
    struct worker *w = arg;
    struct vn_team *t = w->team;
    uint64_t seen = 0;
    pthread_mutex_lock(&t->lock);
    for (;;) {
        while (t->round == seen && !t->stop)
            pthread_cond_wait(&t->start, &t->lock);
        if (t->stop)
            break;
        seen = t->round;
        pthread_mutex_unlock(&t->lock);
        take_items(t, w->index);
        pthread_mutex_lock(&t->lock);
        if (--t->busy == 0)
            pthread_cond_signal(&t->done);
    }
    pthread_mutex_unlock(&t->lock);
    return NULL;
}

int vn_team_new(int n, struct vn_team **out, struct vn_error *err) {
    *out = NULL;
    struct vn_team *t = vn_calloc(1, sizeof *t, err);
    if (!t)
        return VN_EFAIL;
    t->size = 1;
    t->workers = vn_calloc((size_t)n, sizeof *t->workers, err);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->start, NULL);
    pthread_cond_init(&t->done, NULL);
    for (int i = 1; t->workers && i < n; i++) {
        t->workers[i] = (struct worker){.team = t, .index = i};
        int e = pthread_create(&t->workers[i].thread, NULL, worker_main, &t->workers[i]);
        if (e) {
            vn_team_free(t);
            return vn_fail_errno(err, VN_EFAIL, e, "cannot start thread %d of %d", i + 1, n);
        }
        t->size = i + 1;
    }
    if (!t->workers) {
        vn_team_free(t);
        return VN_EFAIL;
    }
    *out = t;
    return VN_OK;
}

void vn_team_run(struct vn_team *t, void (*fn)(void *ctx, int worker, int64_t item),
                 void *ctx, int64_t n_items) {
    t->fn = fn;
    t->ctx = ctx;
    t->n_items = n_items;
    __atomic_store_n(&t->next, 0, __ATOMIC_RELAXED);
    bool alone = t->size == 1 || n_items <= 1;
    if (!alone) {
        pthread_mutex_lock(&t->lock);
        t->busy = t->size - 1;
        t->round++;
        pthread_cond_broadcast(&t->start);
        pthread_mutex_unlock(&t->lock);
    }
    take_items(t, 0);
    if (!alone) {
        pthread_mutex_lock(&t->lock);
        while (t->busy)
            pthread_cond_wait(&t->done, &t->lock);
        pthread_mutex_unlock(&t->lock);
    }
}

void vn_team_free(struct vn_team *t) {
    if (!t)
        return;
    pthread_mutex_lock(&t->lock);
    t->stop = true;
    pthread_cond_broadcast(&t->start);
    pthread_mutex_unlock(&t->lock);
    for (int i = 1; i < t->size; i++)
        pthread_join(t->workers[i].thread, NULL);
    pthread_cond_destroy(&t->start);
    pthread_cond_destroy(&t->done);
    pthread_mutex_destroy(&t->lock);
    free(t->workers);
    free(t);
}

int vn_cpu_count(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0
                ? CPU_COUNT(&set)
                : (int)sysconf(_SC_NPROCESSORS_ONLN); /* more than a cpu_set_t has */
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    if (f) {
        long quota, period;
        if (fscanf(f, "%ld %ld", &quota, &period) == 2 && quota > 0 && period > 0) {
            int limit = (int)((quota + period - 1) / period);
            n = limit < n ? limit : n;
        }
        fclose(f);
    }
    return n > 0 ? n : 1;
}
