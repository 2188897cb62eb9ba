#include "agreement.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "stats.h"

static const float *floats(const struct vn_buf *b) {
    return (const float *)(const void *)b->data;
}

static void report_quantiles(struct vn_facts *f, const float *sorted, size_t n,
                             const char *const names[], const double q[], int n_quantiles) {
    for (int i = 0; i < n_quantiles; i++)
        vn_facts_float(f, names[i], vn_quantile(sorted, n, q[i]));
}

static double share(uint64_t part, uint64_t all) {
    return (double)part / (double)all; /* 0 / 0: not defined, NaN */
}

/* ---- scores ------------------------------------------------------------------------ */

int vn_score_pairs_add(struct vn_score_pairs *s, float a, float b, double *difference,
                       struct vn_error *err) {
    const double d = (double)b - (double)a;
    if (!isfinite(a) || !isfinite(b)) {
        const bool same = a == b || (isnan(a) && isnan(b));
        *difference = same ? 0 : (double)INFINITY;
        s->none += !isfinite(a) && !isfinite(b);
        s->one_sided += isfinite(a) != isfinite(b);
        return VN_OK;
    }
    *difference = fabs(d);
    s->n++;
    s->sum += d;
    s->sum_abs += fabs(d);
    s->max = fabs(d) > s->max ? fabs(d) : s->max;
    s->within_3 += fabs(d) <= 1e-3;
    s->within_2 += fabs(d) <= 1e-2;
    int rc = vn_buf_append(&s->a, &a, sizeof a, err);
    return rc == VN_OK ? vn_buf_append(&s->b, &b, sizeof b, err) : rc;
}

static int report_differences(const struct vn_score_pairs *s, struct vn_facts *f,
                              struct vn_error *err) {
    static const char *const names[] = {"median", "p90", "p99", "p999"};
    static const double q[] = {0.5, 0.9, 0.99, 0.999};
    const float *a = floats(&s->a), *b = floats(&s->b);
    float *d = vn_calloc(s->n, sizeof *d, err);
    if (!d)
        return VN_EFAIL;
    for (size_t i = 0; i < s->n; i++)
        d[i] = fabsf(b[i] - a[i]);
    vn_sort_floats(d, s->n);
    vn_facts_begin(f, "difference");
    vn_facts_number(f, "signed_mean", s->sum / (double)s->n);
    vn_facts_number(f, "mean", s->sum_abs / (double)s->n);
    report_quantiles(f, d, s->n, names, q, 4);
    vn_facts_float(f, "max", s->n ? s->max : (double)NAN);
    vn_facts_number(f, "within_1e-3", share(s->within_3, s->n));
    vn_facts_number(f, "within_1e-2", share(s->within_2, s->n));
    vn_facts_end(f);
    free(d);
    return VN_OK;
}

int vn_score_pairs_report(const struct vn_score_pairs *s, struct vn_facts *f,
                          struct vn_error *err) {
    double rho = NAN;
    int rc = vn_spearman(floats(&s->a), floats(&s->b), s->n, &rho, err);
    if (rc != VN_OK)
        return rc;
    vn_facts_count(f, "pairs", s->n);
    vn_facts_count(f, "none", s->none);
    vn_facts_count(f, "one_sided", s->one_sided);
    vn_facts_number(f, "pearson", vn_pearson(floats(&s->a), floats(&s->b), s->n));
    vn_facts_number(f, "spearman", rho);
    return report_differences(s, f, err);
}

void vn_score_pairs_release(struct vn_score_pairs *s) {
    vn_buf_release(&s->a);
    vn_buf_release(&s->b);
}

/* ---- vectors ----------------------------------------------------------------------- */

static void count(struct vn_vector_figures *g, double cosine, double distance) {
    g->min_cosine = g->n && g->min_cosine < cosine ? g->min_cosine : cosine;
    g->max_distance = g->n && g->max_distance > distance ? g->max_distance : distance;
    g->sum_cosine += cosine;
    g->sum_distance += distance;
    g->n++;
}

static int length_class(int64_t length) {
    return length < 1 ? 0 : 63 - __builtin_clzll((unsigned long long)length);
}

int vn_vector_pairs_add(struct vn_vector_pairs *v, const float *a, const float *b,
                        int64_t length, double *distance, struct vn_error *err) {
    double aa = 0, bb = 0, ab = 0, dd = 0, most = 0;
    bool same = true;
    for (int32_t i = 0; i < v->width; i++) {
        const double x = (double)a[i], y = (double)b[i], d = y - x;
        aa += x * x;
        bb += y * y;
        ab += x * y;
        dd += d * d;
        most = fabs(d) > most ? fabs(d) : most;
        same = same && (x == y || (isnan(x) && isnan(y)));
    }
    if (!isfinite(aa + bb) || aa == 0 || bb == 0) {
        v->undefined++;
        *distance = same ? 0 : (double)INFINITY;
        return VN_OK;
    }
    const double cosine = ab / sqrt(aa * bb);
    const float kept[2] = {(float)(cosine > 1 ? 1 : cosine), (float)sqrt(dd / aa)};
    *distance = sqrt(dd / aa);
    v->max_abs = most > v->max_abs ? most : v->max_abs;
    count(&v->all, cosine > 1 ? 1 : cosine, *distance);
    if (length >= 0)
        count(&v->by_length[length_class(length)], cosine > 1 ? 1 : cosine, *distance);
    int rc = vn_buf_append(&v->cosines, &kept[0], sizeof *kept, err);
    return rc == VN_OK ? vn_buf_append(&v->distances, &kept[1], sizeof *kept, err) : rc;
}

static void report_lengths(const struct vn_vector_pairs *v, const char *length,
                           struct vn_facts *f) {
    vn_facts_word(f, "length_in", length);
    vn_facts_begin_table(f, "by_length");
    for (int k = 0; k < VN_LENGTH_CLASSES; k++) {
        const struct vn_vector_figures *g = &v->by_length[k];
        if (!g->n)
            continue;
        vn_facts_begin_row(f);
        vn_facts_count(f, "from", k ? (uint64_t)1 << k : 0);
        vn_facts_count(f, "to", ((uint64_t)2 << k) - 1);
        vn_facts_count(f, "pairs", g->n);
        vn_facts_number(f, "cosine_mean", g->sum_cosine / (double)g->n);
        vn_facts_number(f, "cosine_min", g->min_cosine);
        vn_facts_number(f, "relative_l2_mean", g->sum_distance / (double)g->n);
        vn_facts_number(f, "relative_l2_max", g->max_distance);
        vn_facts_end_row(f);
    }
    vn_facts_end_table(f);
}

void vn_vector_pairs_report(struct vn_vector_pairs *v, const char *length,
                            struct vn_facts *f) {
    static const char *const low[] = {"p001", "p01", "p10", "median"};
    static const char *const high[] = {"median", "p90", "p99", "p999"};
    static const double q_low[] = {0.001, 0.01, 0.1, 0.5}, q_high[] = {0.5, 0.9, 0.99, 0.999};
    const struct vn_vector_figures *g = &v->all;
    const size_t n = g->n;
    const double none = NAN;
    vn_sort_floats((float *)(void *)v->cosines.data, n);
    vn_sort_floats((float *)(void *)v->distances.data, n);
    vn_facts_count(f, "width", (uint64_t)v->width);
    vn_facts_count(f, "pairs", g->n);
    vn_facts_count(f, "undefined", v->undefined);
    vn_facts_number(f, "max_difference", n ? v->max_abs : none);
    vn_facts_begin(f, "cosine");
    vn_facts_number(f, "mean", g->sum_cosine / (double)n);
    report_quantiles(f, floats(&v->cosines), n, low, q_low, 4);
    vn_facts_number(f, "min", n ? g->min_cosine : none);
    vn_facts_end(f);
    vn_facts_begin(f, "relative_l2");
    vn_facts_number(f, "mean", g->sum_distance / (double)n);
    report_quantiles(f, floats(&v->distances), n, high, q_high, 4);
    vn_facts_number(f, "max", n ? g->max_distance : none);
    vn_facts_end(f);
    report_lengths(v, length, f);
}

void vn_vector_pairs_release(struct vn_vector_pairs *v) {
    vn_buf_release(&v->cosines);
    vn_buf_release(&v->distances);
}
