/* par.h - a team of threads for loops with independent items.
 *
 * The team is made once and reused; between loops its threads sleep. Items are handed out
 * one by one in order, so their results must not depend on which worker computes them. */
#ifndef VN_PAR_H
#define VN_PAR_H

#include "err.h"

struct vn_team;

/* n workers, the calling thread being worker 0; n >= 1. */
int vn_team_new(int n, struct vn_team **out, struct vn_error *err) VN_NODISCARD;

/* Calls fn(ctx, worker, item) for every item in [0, n_items) and returns when all are done.
 * worker is in [0, size): use it to index scratch memory. Not reentrant. */
void vn_team_run(struct vn_team *t, void (*fn)(void *ctx, int worker, int64_t item),
                 void *ctx, int64_t n_items);

void vn_team_free(struct vn_team *t); /* NULL is legal */

/* Processors this process may use: its affinity mask, cut to the cgroup's quota. */
int vn_cpu_count(void);

#endif
