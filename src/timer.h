/* timer.h - what a program has collected is sent on while it waits for more.
 *
 * A program that collects records before it sends them (a window, a batch) may wait for the
 * next one for hours. A timer calls `due` once something has been collected for `ms`
 * milliseconds: on a thread of its own while the program waits for input, so whoever
 * reads need not know of it; on the program's where it does not wait. Never otherwise:
 *
 *     rc = vn_timer_wait(t, n_collected > 0, err);
 *     if (rc == VN_OK) {
 *         rc = ... read, which may take its time, and touches nothing that `due` touches
 *         rc = vn_timer_go_on(t, rc, err);
 *     }
 *
 * Without a limit on latency there is no timer: NULL is legal everywhere, and does nothing. */
#ifndef VN_TIMER_H
#define VN_TIMER_H

#include "io.h"

#define VN_MAX_LATENCY ((int64_t)24 * 3600 * 1000) /* ms: what programs take for an option */

struct vn_timer;

/* `due` sends everything that was collected, or fails. */
int vn_timer_new(int64_t ms, int (*due)(void *arg, struct vn_error *err), void *arg,
                 struct vn_timer **out, struct vn_error *err) VN_NODISCARD;

/* Where the program reads from, until the next such call: a read that waits ends when `due`
 * fails. The source must be one of vn_source_open's own, with nothing put in front of it,
 * and live while the program waits; NULL: none. */
int vn_timer_source(struct vn_timer *t, struct vn_source *source,
                    struct vn_error *err) VN_NODISCARD;

/* The program is about to read; is anything collected? The time counts from the first such
 * call that says so. Fails as `due` does, and then the program must not read. */
int vn_timer_wait(struct vn_timer *t, bool collected, struct vn_error *err) VN_NODISCARD;

/* The program has read, which returned rc: so does this, but for a failure of `due` meanwhile.
 * Of a read that was ended by it, it is the reason. */
int vn_timer_go_on(struct vn_timer *t, int rc, struct vn_error *err) VN_NODISCARD;

void vn_timer_free(struct vn_timer *t); /* not while the program waits */

#endif
