#include "stats.h"

#include <math.h>
#include <stdlib.h>

#include "mem.h"

/* ---- correlation ----------------------------------------------------------------- */

struct sums {
    double aa, bb, ab; /* of products of deviations from the means */
};

/* The product cannot overflow, as they are sums of squares of floats, and its root is exact
 * where both are the same. Rounding may leave a little more than 1. */
static double correlation(struct sums s) {
    const double r = s.ab / sqrt(s.aa * s.bb);
    return r > 1 ? 1 : r < -1 ? -1 : r;
}

/* Fewer than two different values: deviations from a rounded mean would not show it. */
static bool is_constant(const float *v, size_t n) {
    for (size_t i = 1; i < n; i++)
        if (v[i] != v[0])
            return false;
    return true;
}

double vn_pearson(const float *a, const float *b, size_t n) {
    double mean_a = 0, mean_b = 0;
    struct sums s = {0, 0, 0};
    if (is_constant(a, n) || is_constant(b, n))
        return NAN;
    for (size_t i = 0; i < n; i++) {
        mean_a += (double)a[i];
        mean_b += (double)b[i];
    }
    mean_a /= (double)n;
    mean_b /= (double)n;
    for (size_t i = 0; i < n; i++) {
        const double x = (double)a[i] - mean_a, y = (double)b[i] - mean_b;
        s.aa += x * x;
        s.bb += y * y;
        s.ab += x * y;
    }
    return correlation(s);
}

/* ---- ranks ----------------------------------------------------------------------- */

struct keyed {
    float value;
    size_t at;
};

static int by_value(const void *x, const void *y) {
    const float a = ((const struct keyed *)x)->value, b = ((const struct keyed *)y)->value;
    return (a > b) - (a < b);
}

int vn_ranks(const float *values, size_t n, double *ranks, struct vn_error *err) {
    struct keyed *order = vn_calloc(n, sizeof *order, err);
    if (!order)
        return VN_EFAIL;
    for (size_t i = 0; i < n; i++)
        order[i] = (struct keyed){values[i], i};
    qsort(order, n, sizeof *order, by_value);
    for (size_t from = 0, to; from < n; from = to) {
        for (to = from + 1; to < n && order[to].value == order[from].value;)
            to++;
        for (size_t i = from; i < to; i++) /* ranks from + 1 to to */
            ranks[order[i].at] = ((double)from + 1 + (double)to) / 2;
    }
    free(order);
    return VN_OK;
}

int vn_spearman(const float *a, const float *b, size_t n, double *rho, struct vn_error *err) {
    double *ranks_a = vn_calloc(n, sizeof *ranks_a, err);
    double *ranks_b = vn_calloc(n, sizeof *ranks_b, err);
    int rc = ranks_a && ranks_b ? VN_OK : VN_EFAIL;
    if (rc == VN_OK)
        rc = vn_ranks(a, n, ranks_a, err);
    if (rc == VN_OK)
        rc = vn_ranks(b, n, ranks_b, err);
    if (rc == VN_OK) {
        const double mean = ((double)n + 1) / 2; /* exact, as are the ranks */
        struct sums s = {0, 0, 0};
        for (size_t i = 0; i < n; i++) {
            const double x = ranks_a[i] - mean, y = ranks_b[i] - mean;
            s.aa += x * x;
            s.bb += y * y;
            s.ab += x * y;
        }
        *rho = correlation(s); /* 0 / 0 if one is constant: NaN */
    }
    free(ranks_a);
    free(ranks_b);
    return rc;
}

int vn_auroc(const float *scores, const uint8_t *is_positive, size_t n, double *area,
             struct vn_error *err) {
    double *ranks = vn_calloc(n, sizeof *ranks, err), sum = 0, positives = 0;
    if (!ranks)
        return VN_EFAIL;
    int rc = vn_ranks(scores, n, ranks, err);
    if (rc == VN_OK) {
        for (size_t i = 0; i < n; i++) {
            if (!is_positive[i])
                continue;
            sum += ranks[i];
            positives++;
        }
        const double negatives = (double)n - positives;
        *area = (sum - positives * (positives + 1) / 2) / (positives * negatives);
    }
    free(ranks);
    return rc;
}

/* ---- quantiles ------------------------------------------------------------------- */

static int ascending(const void *x, const void *y) {
    const float a = *(const float *)x, b = *(const float *)y;
    return (a > b) - (a < b);
}

void vn_sort_floats(float *values, size_t n) {
    if (n > 1)
        qsort(values, n, sizeof *values, ascending);
}

double vn_quantile(const float *sorted, size_t n, double q) {
    if (n == 0)
        return NAN;
    const double at = (double)(n - 1) * q, whole = floor(at);
    const size_t i = (size_t)whole;
    const double lower = (double)sorted[i];
    return i + 1 < n ? lower + (at - whole) * ((double)sorted[i + 1] - lower) : lower;
}
