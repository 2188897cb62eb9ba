/* plans.h - which algorithm suits which matrix product, kept from run to run.
 *
 * An algorithm is 64 bytes that mean something to the library it came from. What is kept
 * belongs to one key: everything that must be the same for the bytes to mean the same and
 * for the choice to be as good (device, driver, library). They are in the cache (cache.h):
 * there may be none, and what there is has been written by an earlier run.
 *
 * Compiles as C11 and as C++17. */
#ifndef VN_PLANS_H
#define VN_PLANS_H

#include "vn.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VN_MAX_PLANS 64

struct vn_plan {
    int64_t n_out, n_in;
    int type, variant;     /* of the product: its caller's words */
    uint64_t algorithm[8];
};

/* The plans kept for a key (a line of text); how many, 0 where there are none. */
int vn_plans_read(const char *key, struct vn_plan plans[VN_MAX_PLANS]);

/* Keeps n plans for the key instead of those before. */
void vn_plans_write(const char *key, const struct vn_plan *plans, int n);

#ifdef __cplusplus
}
#endif
#endif
