/* line.h - work in order: what one thread puts in is worked on by several threads at a time,
 * and finished one after the other, in the order of coming.
 *
 * The caller has an array of things, `slots` of them, that go round: it fills one, puts it,
 * and gets it again when it has been finished. Nothing is allocated once warm. The first
 * failure, in the order of coming, ends it: nothing after it is finished. */
#ifndef VN_LINE_H
#define VN_LINE_H

#include "err.h"

struct vn_line;

struct vn_line_steps {
    /* Several at a time; `worker` tells them apart, in [0, threads), and is 0 without
     * threads. NULL: there is nothing to do but to finish. */
    int (*work)(void *ctx, int worker, int slot, struct vn_error *err);
    /* One at a time, in order, on whichever thread. */
    int (*finish)(void *ctx, int slot, struct vn_error *err);
    /* After the first failure, on the thread that it happened on: whoever waits for more to
     * put in may be told. NULL: need not be. */
    void (*failed)(void *ctx);
};

/* How many threads a line gets where the user allows so many: none for 1, else at most
 * `most`, beyond which they would wait for one another. */
static inline int vn_line_threads(int allowed, int most) {
    return allowed < 2 ? 0 : allowed < most ? allowed : most;
}

/* threads 0: there are none, vn_line_put does everything itself. slots >= 1; more than
 * threads + 1 of them even out what takes longer now and then. */
int vn_line_new(int threads, int slots, const struct vn_line_steps *steps, void *ctx,
                struct vn_line **out, struct vn_error *err) VN_NODISCARD;

/* Waits for a slot to fill: its number, the same until it is put. Negative: what failed. */
int vn_line_slot(struct vn_line *l, struct vn_error *err) VN_NODISCARD;

/* Hands over that slot. Negative: what failed, earlier, or, without threads, now. */
int vn_line_put(struct vn_line *l, struct vn_error *err) VN_NODISCARD;

/* Waits until everything that was put is finished. Negative: what failed. */
int vn_line_drain(struct vn_line *l, struct vn_error *err) VN_NODISCARD;

/* The whole of it: a line whose slots `fill` fills, on this thread, until it returns 0, for no
 * more, or a status; 1 is for a slot that is full. Waits until all of them are finished. What
 * failed in the line came before what made filling fail, and is what is returned. */
int vn_line_run(int threads, int slots, const struct vn_line_steps *steps,
                int (*fill)(void *ctx, int slot, struct vn_error *err), void *ctx,
                struct vn_error *err) VN_NODISCARD;

/* After what was put is finished, as far as nothing has failed. NULL is legal. */
void vn_line_free(struct vn_line *l);

#endif
