/* product.cc - where the emulation spends its time: compiled to be fast. */
#include "product.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define FOR_THIS_PROCESSOR __attribute__((target_clones("arch=x86-64-v3", "default")))
#else
#define FOR_THIS_PROCESSOR
#endif

#define ROWS 4
#define COLUMNS 64

/* Whether there is nothing but zeros. */
static bool is_zero(const float *a, int64_t lda, int64_t m, int64_t k) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t l = 0; l < k; l++)
            if (a[i * lda + l] != 0)
                return false;
    return true;
}

FOR_THIS_PROCESSOR
static void block(float *c, int64_t ldc, const float *a, int64_t lda, const float *b,
                  int64_t ldb, int64_t m, int64_t n, int64_t k) {
    float sum[ROWS][COLUMNS];
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            sum[i][j] = c[i * ldc + j];
    if (m == ROWS && n == COLUMNS) {
        for (int64_t l = 0; l < k; l++)
            for (int i = 0; i < ROWS; i++)
                for (int j = 0; j < COLUMNS; j++)
                    sum[i][j] += a[i * lda + l] * b[l * ldb + j];
    } else {
        for (int64_t l = 0; l < k; l++)
            for (int64_t i = 0; i < m; i++)
                for (int64_t j = 0; j < n; j++)
                    sum[i][j] += a[i * lda + l] * b[l * ldb + j];
    }
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            c[i * ldc + j] = sum[i][j];
}

void emu_product(float *c, int64_t ldc, const float *a, int64_t lda, const float *b,
                 int64_t ldb, int64_t m, int64_t n, int64_t k) {
    for (int64_t i = 0; i < m; i += ROWS) {
        int64_t rows = m - i < ROWS ? m - i : ROWS;
        if (is_zero(a + i * lda, lda, rows, k)) /* rows that are not there; b is finite */
            continue;
        for (int64_t j = 0; j < n; j += COLUMNS)
            block(c + i * ldc + j, ldc, a + i * lda, lda, b + j, ldb, rows,
                  n - j < COLUMNS ? n - j : COLUMNS, k);
    }
}
