/* pool.h - from token rows to one vector: the rule that vn-embed and vn-pool share.
 *
 * The order of summation is part of the contract, so that every backend gives the same bits:
 * rows are summed in order in blocks of VN_POOL_BLOCK rows (f32, starting from 0), block sums
 * are added in order (f32, starting from 0), and the sum is divided by the number of rows.
 * C11 and C++17. */
#ifndef VN_POOL_H
#define VN_POOL_H

#include <stdbool.h>

#include "err.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VN_POOL_BLOCK 32

enum vn_pooling {
    VN_POOL_NONE,     /* token rows as they are */
    VN_POOL_MEAN,     /* mean over residues: first and last row (specials) left out */
    VN_POOL_MEAN_ALL, /* mean over all rows */
    VN_POOL_CLS,      /* the first row */
    VN_POOL_MAX       /* largest value over residues, column by column */
};

/* Rows [from, to) of a sequence of n tokens that the rule uses. A sequence whose specials
 * are all it has (n <= 2) uses all its rows. */
void vn_pool_range(enum vn_pooling pool, int64_t n, int64_t *from, int64_t *to);

/* Pools x [n, D] f32 into out [D] f32; n >= 1; out must not overlap x; pool is not
 * VN_POOL_NONE. */
void vn_pool_rows(enum vn_pooling pool, const float *x, int64_t n, int64_t d, float *out);

const char *vn_pool_name(enum vn_pooling pool); /* "mean-all" */
/* The rule that a model's authors use, by the vocabulary that its tokens are of, as the
 * provenance names it ("esm2", "codon": without specials,
 * "dnabert-s": over all); false: not known. */
bool vn_pool_of_vocabulary(const char *vocabulary, enum vn_pooling *pool);
/* The rule of that name, "none" included; false: there is none. */
bool vn_pool_of(const char *word, enum vn_pooling *pool);

#ifdef __cplusplus
}
#endif
#endif
