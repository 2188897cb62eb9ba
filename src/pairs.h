/* pairs.h - the rows of two sets that belong together.
 *
 * Two streams are matched by the number of the record, and the ids must agree. Otherwise rows
 * are matched by id, the n-th of an id in one set with the n-th in the other. A row without
 * a counterpart comes alone. By id, rows that wait for theirs are kept: none beside the one
 * that was read last while both sets have the same order, all of one set at worst. */
#ifndef VN_PAIRS_H
#define VN_PAIRS_H

#include "calls.h"

struct vn_pairs;

/* The sets stay the caller's and must outlive it. */
int vn_pairs_new(struct vn_calls *a, struct vn_calls *b, struct vn_pairs **out,
                 struct vn_error *err) VN_NODISCARD;

/* The next pair: 1; 0 at the end. *a or *b is NULL where that set has no such row. Valid
 * until the next call. VN_EINCOMPAT when a record has two ids. */
int vn_pairs_next(struct vn_pairs *p, const struct vn_call **a, const struct vn_call **b,
                  struct vn_error *err) VN_NODISCARD;

void vn_pairs_free(struct vn_pairs *p); /* NULL is legal */

#endif
