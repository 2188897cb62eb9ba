/* lt.h - what lt.cu and lt_plan.cu share: cuBLASLt as it was loaded, and its products. */
#ifndef VN_LT_H
#define VN_LT_H

#include <cublasLt.h>
#include <pthread.h>

#include "cuda_int.h"
#include "plans.h"

#define VN_LT_WORKSPACE ((size_t)32 << 20)
#define VN_LT_REFERENCE_TOKENS 16896 /* whole waves of 128-row tiles on 132 multiprocessors */

/* The functions that are used, by their names without cublasLt. */
struct lt_api {
    decltype(&cublasLtCreate) create;
    decltype(&cublasLtDestroy) destroy;
    decltype(&cublasLtGetVersion) version;
    decltype(&cublasLtGetStatusString) status;
    decltype(&cublasLtMatmul) matmul;
    decltype(&cublasLtMatmulDescCreate) desc_create;
    decltype(&cublasLtMatmulDescDestroy) desc_destroy;
    decltype(&cublasLtMatmulDescSetAttribute) desc_set;
    decltype(&cublasLtMatrixLayoutCreate) layout_create;
    decltype(&cublasLtMatrixLayoutDestroy) layout_destroy;
    decltype(&cublasLtMatrixLayoutSetAttribute) layout_set;
    decltype(&cublasLtMatmulPreferenceCreate) pref_create;
    decltype(&cublasLtMatmulPreferenceDestroy) pref_destroy;
    decltype(&cublasLtMatmulPreferenceSetAttribute) pref_set;
    decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic;
    decltype(&cublasLtMatmulAlgoConfigGetAttribute) algo_get;
    decltype(&cublasLtMatmulAlgoCheck) algo_check;
};

struct vn_lt {
    pthread_t thread; /* loads the library */
    bool loading;
    struct vn_error loaded; /* how that ended */
    void *library;
    struct lt_api api;
    cublasLtHandle_t handle;
    void *workspace;
    char key[300]; /* of the plans */
    struct vn_plan plans[VN_MAX_PLANS];
    int n_plans;
    uint64_t checked; /* bit i: plan i was found to be usable in this process */
};
static_assert(VN_MAX_PLANS <= 64, "a bit for every plan");
static_assert(sizeof(cublasLtMatmulAlgo_t) == sizeof(((struct vn_plan *)0)->algorithm),
              "a plan holds an algorithm");

/* y = x W' + b, or y += it. In f32 the inner dimension is summed in `parts` of equal length,
 * and their sums are added: one long sum would lose more than all else in a model does. */
struct vn_lt_product {
    int64_t n_out, n_in, parts;
    bool residual;
    const void *weight; /* [n_out, n_in] act type */
    const void *bias;   /* [n_out] act type; f32 with residual */
    void *zeros;        /* [n_out]: the bias of all parts but the first; NULL if there is one */
    cublasLtMatmulDesc_t desc, more; /* more: that of all parts but the first */
    cublasLtMatrixLayout_t w, x, y; /* x and y get their columns at each call */
    cublasLtMatmulAlgo_t algo;
};

cublasStatus_t vn_lt_multiply(struct vn_cuda *c, const struct vn_lt_product *m,
                              const cublasLtMatmulAlgo_t *algo, const void *x, void *y,
                              int64_t n_tok);

/* Seconds since some time. */
double vn_lt_seconds(void);

/* lt_plan.cu: fills in the algorithm; the weights are those of `arrival`. */
int vn_lt_choose(struct vn_cuda *c, struct vn_lt_product *m, struct vn_arrival *arrival,
                 struct vn_error *err);

#endif
