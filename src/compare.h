/* compare.h - two sets of calls, or of vectors, against each other: counts, figures, a
 * verdict.
 *
 * Two rows of a record are the same when label and status are equal and every score is
 * within the tolerance, or the vectors' relative distance |b - a| / |a| is. Statuses are
 * compared where both sets have them; scores where both sets have them. A record that only
 * one set has is a difference, and, if it has a label there, a disagreement.
 *
 * The verdict is VirNucPro's decision rule on the share of labels that agree: above 99 %
 * "accept", from 95 % "validate", below "standard": use the standard path.
 *
 * Of a set of calls 8 bytes a record and class are kept in memory, for Spearman's rho and
 * the quantiles; of vectors 8 bytes a record. */
#ifndef VN_COMPARE_H
#define VN_COMPARE_H

#include "calls.h"
#include "facts.h"
#include "truth.h"

struct vn_compare;

struct vn_compare_options {
    double tolerance;
    int64_t show;         /* differences that are listed, the first ones */
    const char *positive; /* label: its scores are reported first */
};

/* For rows of sets with these facts, which must outlive the object, as must the names.
 * VN_EINCOMPAT when they cannot be compared. */
int vn_compare_new(const struct vn_calls_facts *a, const char *name_a,
                   const struct vn_calls_facts *b, const char *name_b,
                   const struct vn_compare_options *o, struct vn_compare **out,
                   struct vn_error *err) VN_NODISCARD;

/* Takes in a record; a or b is NULL where that set lacks it. */
int vn_compare_put(struct vn_compare *c, const struct vn_call *a, const struct vn_call *b,
                   struct vn_error *err) VN_NODISCARD;

/* Records so far; those that differ. */
uint64_t vn_compare_records(const struct vn_compare *c, uint64_t *different);

/* Everything, but for what truth says, which is asked for that if it is not NULL. */
int vn_compare_report(struct vn_compare *c, const struct vn_truth *truth, struct vn_facts *f,
                      struct vn_error *err) VN_NODISCARD;

void vn_compare_free(struct vn_compare *c); /* NULL is legal */

#endif
