/* lt.cu - matrix products on cuBLASLt, which is loaded when a device is opened: programs
 * start where it is missing.
 *
 * The column-major view: y' [n_out, T] = W [n_out, n_in] x' [n_in, T], so that the bias
 * runs along the rows of the result. lt_plan.cu chooses the algorithm of each product, one
 * for any number of tokens. */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lt.h"

#define STR_(x) #x
#define STR(x) STR_(x)
#define LIBRARY "libcublasLt.so." STR(CUBLAS_VER_MAJOR)
#define PART 256 /* at most, of a sum in f32 without an intermediate one (cpu_kernels.h) */

static const struct {
    const char *name;
    size_t at;
} symbols[] = {
    {"cublasLtCreate", offsetof(struct lt_api, create)},
    {"cublasLtDestroy", offsetof(struct lt_api, destroy)},
    {"cublasLtGetVersion", offsetof(struct lt_api, version)},
    {"cublasLtGetStatusString", offsetof(struct lt_api, status)},
    {"cublasLtMatmul", offsetof(struct lt_api, matmul)},
    {"cublasLtMatmulDescCreate", offsetof(struct lt_api, desc_create)},
    {"cublasLtMatmulDescDestroy", offsetof(struct lt_api, desc_destroy)},
    {"cublasLtMatmulDescSetAttribute", offsetof(struct lt_api, desc_set)},
    {"cublasLtMatrixLayoutCreate", offsetof(struct lt_api, layout_create)},
    {"cublasLtMatrixLayoutDestroy", offsetof(struct lt_api, layout_destroy)},
    {"cublasLtMatrixLayoutSetAttribute", offsetof(struct lt_api, layout_set)},
    {"cublasLtMatmulPreferenceCreate", offsetof(struct lt_api, pref_create)},
    {"cublasLtMatmulPreferenceDestroy", offsetof(struct lt_api, pref_destroy)},
    {"cublasLtMatmulPreferenceSetAttribute", offsetof(struct lt_api, pref_set)},
    {"cublasLtMatmulAlgoGetHeuristic", offsetof(struct lt_api, heuristic)},
    {"cublasLtMatmulAlgoConfigGetAttribute", offsetof(struct lt_api, algo_get)},
    {"cublasLtMatmulAlgoCheck", offsetof(struct lt_api, algo_check)},
};

/* ---- the library ----------------------------------------------------------------- */

static int load(struct vn_lt *lt, struct vn_error *err) {
    lt->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!lt->library) {
        char why[200]; /* dlerror's own goes with the next call */
        snprintf(why, sizeof why, "%s", dlerror());
        lt->library = dlopen("/usr/local/cuda/lib64/" LIBRARY, RTLD_NOW | RTLD_LOCAL);
        if (!lt->library)
            return vn_fail(err, VN_EFAIL,
                           "cuda: cannot load '%s' (--device cpu does without): %s", LIBRARY,
                           why);
    }
    for (size_t i = 0; i < sizeof symbols / sizeof *symbols; i++) {
        void *f = dlsym(lt->library, symbols[i].name);
        if (!f)
            return vn_fail(err, VN_EFAIL, "cuda: '%s' has no function '%s'", LIBRARY,
                           symbols[i].name);
        memcpy((char *)&lt->api + symbols[i].at, &f, sizeof f);
    }
    return VN_OK;
}

double vn_lt_seconds(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static void *load_main(void *arg) {
    struct vn_lt *lt = (struct vn_lt *)arg;
    (void)load(lt, &lt->loaded);
    return NULL;
}

static void load_end(struct vn_lt *lt) {
    if (lt->loading)
        pthread_join(lt->thread, NULL);
    lt->loading = false;
}

int vn_lt_begin(struct vn_cuda *c, struct vn_error *err) {
    struct vn_lt *lt = c->lt = (struct vn_lt *)calloc(1, sizeof *lt);
    if (!lt)
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu bytes", sizeof *lt);
    lt->loading = !pthread_create(&lt->thread, NULL, load_main, lt);
    if (!lt->loading)
        load_main(lt);
    return VN_OK;
}

int vn_lt_open(struct vn_cuda *c, const char *key, struct vn_error *err) {
    struct vn_lt *lt = c->lt;
    load_end(lt);
    if (lt->loaded.status)
        return vn_fail(err, lt->loaded.status, "%s", lt->loaded.msg);
    snprintf(lt->key, sizeof lt->key, "%s, cuBLASLt %zu, parts of %d", key, lt->api.version(),
             PART);
    lt->n_plans = vn_plans_read(lt->key, lt->plans);
    cublasStatus_t st = lt->api.create(&lt->handle);
    if (st)
        return vn_fail(err, VN_EBUSY, "cuda: cannot start cuBLASLt: %s",
                       lt->api.status(st));
    return vn_cuda_alloc(&c->base, VN_LT_WORKSPACE, &lt->workspace, err);
}

void vn_lt_close(struct vn_cuda *c) {
    struct vn_lt *lt = c->lt;
    if (!lt)
        return;
    load_end(lt);
    vn_cuda_release(&c->base, lt->workspace);
    if (lt->handle)
        lt->api.destroy(lt->handle);
    if (lt->library)
        dlclose(lt->library);
    free(lt);
    c->lt = NULL;
}

size_t vn_lt_version(const struct vn_lt *lt) {
    return lt->api.version();
}

/* ---- products -------------------------------------------------------------------- */

cublasStatus_t vn_lt_multiply(struct vn_cuda *c, const struct vn_lt_product *m,
                              const cublasLtMatmulAlgo_t *algo, const void *x, void *y,
                              int64_t n_tok) {
    const struct vn_lt *lt = c->lt;
    const float one = 1, keep = m->residual ? 1 : 0;
    const size_t part = (size_t)(m->n_in / m->parts) * vn_dtype_size(c->base.act);
    uint64_t n = (uint64_t)n_tok;
    cublasStatus_t st =
        lt->api.layout_set(m->x, CUBLASLT_MATRIX_LAYOUT_COLS, &n, sizeof n);
    if (!st)
        st = lt->api.layout_set(m->y, CUBLASLT_MATRIX_LAYOUT_COLS, &n, sizeof n);
    for (int64_t i = 0; i < m->parts && !st; i++)
        st = lt->api.matmul(lt->handle, i ? m->more : m->desc, &one,
                            (const char *)m->weight + (size_t)i * part, m->w,
                            (const char *)x + (size_t)i * part, m->x, i ? &one : &keep, y, m->y,
                            y, m->y, algo, lt->workspace, VN_LT_WORKSPACE, c->compute);
    return st;
}

static cudaDataType_t cuda_type(enum vn_dtype t) {
    return t == VN_F16 ? CUDA_R_16F : t == VN_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

static cublasStatus_t describe_bias(const struct lt_api *api, const void *bias,
                                    cudaDataType_t type, cublasLtMatmulDesc_t *desc) {
    const cublasOperation_t transposed = CUBLAS_OP_T;
    const cublasLtEpilogue_t add = CUBLASLT_EPILOGUE_BIAS;
    cublasStatus_t st = api->desc_create(desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (!st)
        st = api->desc_set(*desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof transposed);
    if (!st)
        st = api->desc_set(*desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &add, sizeof add);
    if (!st)
        st = api->desc_set(*desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias, sizeof bias);
    if (!st)
        st = api->desc_set(*desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type, sizeof type);
    return st;
}

static cublasStatus_t describe(const struct vn_cuda *c, struct vn_lt_product *m) {
    const struct lt_api *api = &c->lt->api;
    cudaDataType_t act = cuda_type(c->base.act);
    cudaDataType_t out = m->residual ? CUDA_R_32F : act;
    uint64_t n_out = (uint64_t)m->n_out, part = (uint64_t)(m->n_in / m->parts);
    cublasStatus_t st = describe_bias(api, m->bias, out, &m->desc);
    if (!st && m->zeros)
        st = describe_bias(api, m->zeros, out, &m->more);
    if (!st)
        st = api->layout_create(&m->w, act, part, n_out, m->n_in);
    if (!st)
        st = api->layout_create(&m->x, act, part, VN_LT_REFERENCE_TOKENS, m->n_in);
    if (!st)
        st = api->layout_create(&m->y, out, n_out, VN_LT_REFERENCE_TOKENS, m->n_out);
    return st;
}

/* As few equal parts of at most PART, each aligned, as there can be; one if there cannot. */
static int64_t parts_of(const struct vn_cuda *c, int64_t n_in) {
    if (c->base.act != VN_F32)
        return 1;
    for (int64_t parts = (n_in + PART - 1) / PART; parts <= n_in / 64; parts++)
        if (n_in % (parts * (VN_ALIGN / 4)) == 0)
            return parts;
    return 1;
}

static int make_zeros(struct vn_cuda *c, struct vn_lt_product *m, struct vn_error *err) {
    const size_t size = (size_t)m->n_out * sizeof(float);
    int rc = m->parts > 1 ? vn_load_alloc(c, size, &m->zeros, err) : VN_OK;
    cudaError_t e = !rc && m->zeros ? cudaMemsetAsync(m->zeros, 0, size, c->compute)
                                    : cudaSuccess;
    if (e)
        return vn_fail(err, vn_cuda_status(e), "cuda: cannot clear a bias: %s",
                       cudaGetErrorString(e));
    return rc;
}

int vn_lt_new(struct vn_cuda *c, int64_t n_out, int64_t n_in, bool residual,
              const void *weight, const void *bias, struct vn_arrival *arrival,
              struct vn_lt_product **out, struct vn_error *err) {
    struct vn_lt_product *m = (struct vn_lt_product *)calloc(1, sizeof *m);
    *out = NULL;
    if (!m)
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu bytes", sizeof *m);
    m->n_out = n_out;
    m->n_in = n_in;
    m->parts = parts_of(c, n_in);
    m->residual = residual;
    m->weight = weight;
    m->bias = bias;
    int rc = make_zeros(c, m, err);
    cublasStatus_t st = rc ? CUBLAS_STATUS_SUCCESS : describe(c, m);
    if (st)
        rc = vn_fail(err, VN_EFAIL, "cuda: cannot describe a product of %lld x %lld: %s",
                     (long long)n_out, (long long)n_in, c->lt->api.status(st));
    if (!rc)
        rc = vn_lt_choose(c, m, arrival, err);
    if (rc)
        vn_lt_free(c, m);
    else
        *out = m;
    return rc;
}

void vn_lt_free(struct vn_cuda *c, struct vn_lt_product *m) {
    if (!m)
        return;
    const struct lt_api *api = &c->lt->api;
    vn_load_release(c, m->zeros);
    if (m->desc)
        api->desc_destroy(m->desc);
    if (m->more)
        api->desc_destroy(m->more);
    if (m->w)
        api->layout_destroy(m->w);
    if (m->x)
        api->layout_destroy(m->x);
    if (m->y)
        api->layout_destroy(m->y);
    free(m);
}

int vn_lt_run(struct vn_cuda *c, const struct vn_lt_product *m, const void *x, void *y,
              int64_t n_tok, struct vn_error *err) {
    cublasStatus_t st = vn_lt_multiply(c, m, &m->algo, x, y, n_tok);
    if (st)
        return vn_fail(err, VN_EFAIL, "cuda: product of %lld rows with %lld x %lld: %s",
                       (long long)n_tok, (long long)m->n_out, (long long)m->n_in,
                       c->lt->api.status(st));
    return VN_OK;
}
