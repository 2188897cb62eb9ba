/* agreement.h - how far two columns of scores, or two sets of vectors, lie apart.
 *
 * Rows go in one by one, a and b being the same record's. The first set is the reference:
 * differences are b - a, and a relative distance is |b - a| / |a|. */
#ifndef VN_AGREEMENT_H
#define VN_AGREEMENT_H

#include "facts.h"

/* ---- scores of one class: 8 bytes a pair are kept, 48 while the figures are made ---- */

struct vn_score_pairs {
    struct vn_buf a, b;         /* float, of pairs that are finite on both sides */
    uint64_t n, none, one_sided; /* such pairs; without a score; finite on one side only */
    uint64_t within_3, within_2; /* pairs that differ by at most 1e-3, 1e-2 */
    double sum, sum_abs, max;    /* of the differences */
};

/* *difference: |b - a|; 0 when neither is a number or both are the same infinity, infinity
 * when only one is a number. */
int vn_score_pairs_add(struct vn_score_pairs *s, float a, float b, double *difference,
                       struct vn_error *err) VN_NODISCARD;

/* Figures into the group that is open. */
int vn_score_pairs_report(const struct vn_score_pairs *s, struct vn_facts *f,
                          struct vn_error *err) VN_NODISCARD;
void vn_score_pairs_release(struct vn_score_pairs *s);

/* ---- vectors: 8 bytes a pair are kept ----------------------------------------------- */

#define VN_LENGTH_CLASSES 63

struct vn_vector_figures {
    uint64_t n;
    double sum_cosine, min_cosine, sum_distance, max_distance;
};

struct vn_vector_pairs {
    int32_t width;
    struct vn_buf cosines, distances; /* float, of pairs where both are defined */
    uint64_t undefined; /* pairs with a vector that is zero, or has infinities or NaN */
    double max_abs;     /* of the differences of single elements */
    struct vn_vector_figures all;
    struct vn_vector_figures by_length[VN_LENGTH_CLASSES]; /* class k: 2^k to 2^(k+1) - 1 */
};

/* *distance: relative, 0 for equal vectors of any kind, infinity where it is not defined.
 * length < 0: unknown. */
int vn_vector_pairs_add(struct vn_vector_pairs *v, const float *a, const float *b,
                        int64_t length, double *distance, struct vn_error *err) VN_NODISCARD;

/* length: what it counts, or NULL. Puts what is kept in order. */
void vn_vector_pairs_report(struct vn_vector_pairs *v, const char *length,
                            struct vn_facts *f);
void vn_vector_pairs_release(struct vn_vector_pairs *v);

#endif
