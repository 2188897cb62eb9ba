#include "pool.h"

#include <string.h>

#define COLUMNS 64 /* summed side by side: the order within a column is the contract's \
                    */

static const char *const names[] = {"none", "mean", "mean-all", "cls", "max"};

const char *vn_pool_name(enum vn_pooling pool) {
    return names[pool];
}

bool vn_pool_of(const char *word, enum vn_pooling *pool) {
    for (int p = VN_POOL_NONE; p <= VN_POOL_MAX; p++)
        if (!strcmp(word, names[p])) {
            *pool = (enum vn_pooling)p;
            return true;
        }
    return false;
}

void vn_pool_range(enum vn_pooling pool, int64_t n, int64_t *from, int64_t *to) {
    *from = 0;
    *to = n;
    if (pool == VN_POOL_CLS) {
        *to = n > 0 ? 1 : 0;
    } else if ((pool == VN_POOL_MEAN || pool == VN_POOL_MAX) && n > 2) {
        *from = 1;
        *to = n - 1;
    }
}

/* Means of `w` columns over `n` rows that are `d` floats apart. */
static void mean_columns(const float *x, int64_t n, int64_t d, int w, float *out) {
    float total[COLUMNS] = {0};
    for (int64_t r0 = 0; r0 < n; r0 += VN_POOL_BLOCK) {
        float sum[COLUMNS] = {0};
        int64_t r1 = r0 + VN_POOL_BLOCK < n ? r0 + VN_POOL_BLOCK : n;
        for (int64_t r = r0; r < r1; r++)
            for (int j = 0; j < w; j++)
                sum[j] += x[r * d + j];
        for (int j = 0; j < w; j++)
            total[j] += sum[j];
    }
    for (int j = 0; j < w; j++)
        out[j] = total[j] / (float)n;
}

void vn_pool_rows(enum vn_pooling pool, const float *x, int64_t n, int64_t d,
                  float *out) {
    int64_t from, to;
    vn_pool_range(pool, n, &from, &to);
    x += from * d;
    if (pool == VN_POOL_MEAN || pool == VN_POOL_MEAN_ALL) {
        for (int64_t j = 0; j < d; j += COLUMNS) {
            int w = d - j < COLUMNS ? (int)(d - j) : COLUMNS;
            mean_columns(x + j, to - from, d, w, out + j);
        }
        return;
    }
    for (int64_t j = 0; j < d; j++)
        out[j] = x[j];
    for (int64_t r = 1; r < to - from; r++)
        for (int64_t j = 0; j < d; j++)
            out[j] = x[r * d + j] > out[j] ? x[r * d + j] : out[j];
}

bool vn_pool_of_vocabulary(const char *vocabulary, enum vn_pooling *pool) {
    if (!strcmp(vocabulary, "esm2") || !strcmp(vocabulary, "codon"))
        *pool = VN_POOL_MEAN;
    else if (!strcmp(vocabulary, "dnabert-s"))
        *pool = VN_POOL_MEAN_ALL;
    else
        return false;
    return true;
}
