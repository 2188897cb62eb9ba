/* profile.h - a backend that forwards every operation to another one and times it.
 *
 * Each operation stands between two stamps of the queue it is in. They are read when the job
 * is waited for, so that nothing waits more often than without; results are the same. The
 * stages of `rows` have a line each, but for a product and the norm of its y where the device
 * runs them as one operation (`together`); without `together` there are no `rows`. An
 * operation's time runs from its turn in the queue to its end, and what it waits for being
 * launched belongs to it; what lies between the end of one and the turn of the next is idle
 * time. Bytes are those that must be moved if nothing is kept in caches, operations those of
 * the formula, T tokens, B sequences, D wide, E bytes of an activation:
 *
 *   copies    the bytes copied
 *   embed     T (8 D + 2): table rows, x, tokens
 *   norm      T D (4 + bytes of y)
 *   linear    2 T n_out n_in operations; E (T n_in + n_out n_in + T n_out), but for
 *             residuals T n_out is read and written in f32: 8 bytes
 *   linear+norm  those of the product, and T n_out (bytes of the norm's y)
 *   attn      4 H K sum of len^2 operations; 4 T H K E: q, k, v, out
 *   pool      4 D (T + B)
 *   finite    4 T D + B
 *   convert   n (4 + bytes of y)
 *
 * A copy that runs beside the queue is seen twice: what it holds up in the queue is a line of
 * the table, and its own time counts among the copies. */
#ifndef VN_PROFILE_H
#define VN_PROFILE_H

#include "backend.h"
#include "mem.h"

struct vn_profile_op {
    const char *name; /* "attn", "linear 960x320": n_out x n_in */
    uint64_t calls;
    double seconds, flop, bytes;
};

struct vn_profile_totals {
    uint64_t tokens, untimed; /* untimed: operations that found no stamps left */
    double seconds;           /* from the first operation's turn to the last one's end */
    double idle_inside, idle_between; /* of them: between operations, between jobs */
    double copy_in_bytes, copy_out_bytes;
    double copying, beside; /* seconds of all copies; of them, beside other operations */
};

/* Takes over `inner` (also on failure): closing the new backend closes it. */
int vn_profile_open(struct vn_backend *inner, struct vn_backend **out,
                    struct vn_error *err) VN_NODISCARD;

/* From here on operations are timed: what came before, the weights, is not the pass. */
void vn_profile_start(struct vn_backend *profile);

/* Operation i of what has been waited for, in the order of the pass: 1, or 0 when there are
 * no more. */
int vn_profile_at(const struct vn_backend *profile, int i, struct vn_profile_op *out);

void vn_profile_totals(struct vn_backend *profile, struct vn_profile_totals *out);

/* Appends all of it as lines of text for people. */
int vn_profile_text(struct vn_backend *profile, struct vn_buf *out,
                    struct vn_error *err) VN_NODISCARD;

#endif
