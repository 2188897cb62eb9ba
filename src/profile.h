/* profile.h - a backend that forwards every operation to another one and times it.
 *
 * The time of an operation is the time until it returns: on the CPU, where operations have
 * run by then, that is what it costs. Nothing else changes, results included. */
#ifndef VN_PROFILE_H
#define VN_PROFILE_H

#include "backend.h"

struct vn_profile_op {
    const char *name; /* "attn" */
    uint64_t calls;
    double seconds;
};

/* Takes over `inner` (also on failure): closing the new backend closes it. */
int vn_profile_open(struct vn_backend *inner, struct vn_backend **out,
                    struct vn_error *err) VN_NODISCARD;

/* Operation i of a backend made by vn_profile_open, in the order of the pass: 1, or 0 when
 * there are no more. */
int vn_profile_at(const struct vn_backend *profile, int i, struct vn_profile_op *out);

#endif
