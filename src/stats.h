/* stats.h - figures of one or two columns of numbers: correlation, ranks, AUROC, quantiles.
 *
 * Columns are float32, as scores are; sums are in double. Every value must be finite: what
 * is not belongs in a count of its own. Where a figure is not defined, it is NaN. Formulas:
 * Pearson's r is cov(a, b) / sqrt(var(a) var(b)); Spearman's rho is that of the ranks, equal
 * values sharing the mean of theirs; the AUROC is Mann and Whitney's U / (positives x
 * negatives), so that a tie counts one half. */
#ifndef VN_STATS_H
#define VN_STATS_H

#include "err.h"

/* r of a[0..n) and b[0..n); NaN for n < 2, or if a or b is constant. */
double vn_pearson(const float *a, const float *b, size_t n);

/* ranks[i] of values[i], from 1 up, the mean rank for each of equal values. Needs 16 bytes a
 * value for as long as it runs. */
int vn_ranks(const float *values, size_t n, double *ranks, struct vn_error *err) VN_NODISCARD;

/* rho; NaN as for r. Needs 32 bytes a pair while it runs. */
int vn_spearman(const float *a, const float *b, size_t n, double *rho,
                struct vn_error *err) VN_NODISCARD;

/* The probability that a record with is_positive[i] != 0 scores higher than one without;
 * NaN if there are none of one kind. Needs 24 bytes a value while it runs. */
int vn_auroc(const float *scores, const uint8_t *is_positive, size_t n, double *area,
             struct vn_error *err) VN_NODISCARD;

void vn_sort_floats(float *values, size_t n);

/* The q-th quantile, 0 <= q <= 1, of values in order: linear between the two nearest, at
 * (n - 1) q, as R's type 7 and numpy's default. NaN for n = 0. */
double vn_quantile(const float *sorted, size_t n, double q);

#endif
