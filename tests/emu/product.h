/* product.h - c [m, n] += a [m, k] b [k, n], rows ldc, lda, ldb values apart: one after the
 * other along k, in f32. */
#ifndef VN_EMU_PRODUCT_H
#define VN_EMU_PRODUCT_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
void emu_product(float *c, int64_t ldc, const float *a, int64_t lda, const float *b,
                 int64_t ldb, int64_t m, int64_t n, int64_t k);
#ifdef __cplusplus
}
#endif
#endif
