/* gemm.cu - matrix products on cuBLASLt, which is loaded when a device is opened:
 * programs start where it is missing.
 *
 * The column-major view: y' [n_out, T] = W [n_out, n_in] x' [n_in, T], so that the bias
 * runs along the rows of the result. For each (n_out, n_in, epilogue) one algorithm is
 * chosen without asking how many tokens will come, and none that splits the inner
 * dimension: a row of y is summed in the same order whatever stands beside it. Of the
 * library's proposals the fastest one is taken that gives the same bits as its first, so
 * that a result does not depend on what the clock said either. The choice is kept for the
 * next run (plans.h); as it is one of those algorithms, whose bits are equal, nothing
 * depends on whether it was kept, or by whom. */
#include <cublasLt.h>
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cuda_int.h"
#include "plans.h"

#define STR_(x) #x
#define STR(x) STR_(x)
#define LIBRARY "libcublasLt.so." STR(CUBLAS_VER_MAJOR)

#define WORKSPACE ((size_t)32 << 20)
#define REFERENCE_TOKENS 16896 /* whole waves of 128-row tiles on 132 multiprocessors */
#define TRIAL_TOKENS_F32 2112  /* products in f32 take ten times as long */
#define TRIAL_TOKENS_SMALL (4 * REFERENCE_TOKENS) /* longer than it takes to launch */
#define CANDIDATES 8

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

struct vn_matrix {
    int64_t n_out, n_in;
    enum vn_epilogue epilogue;
    void *weight; /* [n_out, n_in] act type */
    void *bias;   /* [n_out] act type; f32 when the result is, or for own products */
    mutable struct vn_arrival arrival;
    struct vn_hgemm *hopper; /* NULL where that is not for this matrix */
    bool own;     /* sizes that cuBLASLt has no fast path for: gemm_any.cu */
    cublasLtMatmulDesc_t desc;
    cublasLtMatrixLayout_t w, x, y; /* x and y get their columns at each call */
    cublasLtMatmulAlgo_t algo;
};

/* ---- the library ----------------------------------------------------------------- */

static int load(struct vn_lt *lt, struct vn_error *err) {
    lt->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!lt->library) {
        const char *why = dlerror();
        lt->library = dlopen("/usr/local/cuda/lib64/" LIBRARY, RTLD_NOW | RTLD_LOCAL);
        if (!lt->library)
            return vn_fail(err, VN_EFAIL, "cuda: cannot load '%s' (--device cpu does without): %s",
                           LIBRARY, why);
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

static double seconds(void) {
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
    snprintf(lt->key, sizeof lt->key, "%s, cuBLASLt %zu", key, lt->api.version());
    lt->n_plans = vn_plans_read(lt->key, lt->plans);
    cublasStatus_t st = lt->api.create(&lt->handle);
    if (st)
        return vn_fail(err, VN_EBUSY, "cuda: cannot start cuBLASLt: %s",
                       lt->api.status(st));
    return vn_cuda_alloc(&c->base, WORKSPACE, &lt->workspace, err);
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

static cublasStatus_t multiply(struct vn_cuda *c, const struct vn_matrix *m,
                               const cublasLtMatmulAlgo_t *algo, const void *x, void *y,
                               int64_t n_tok) {
    const struct vn_lt *lt = c->lt;
    float one = 1, keep = m->epilogue == VN_EPI_RESIDUAL ? 1 : 0;
    uint64_t n = (uint64_t)n_tok;
    cublasStatus_t st =
        lt->api.layout_set(m->x, CUBLASLT_MATRIX_LAYOUT_COLS, &n, sizeof n);
    if (!st)
        st = lt->api.layout_set(m->y, CUBLASLT_MATRIX_LAYOUT_COLS, &n, sizeof n);
    if (!st)
        st = lt->api.matmul(lt->handle, m->desc, &one, m->weight, m->w, x, m->x, &keep, y,
                            m->y, y, m->y, algo, lt->workspace, WORKSPACE, c->compute);
    return st;
}

/* ---- trials ---------------------------------------------------------------------- */

/* Something like a normal distribution: the speed of tensor cores depends on the data. */
__global__ void noise_kernel(float *x, int64_t n) {
    int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step) {
        uint32_t h = (uint32_t)i * 2654435761u;
        h = (h ^ h >> 15) * 2246822519u;
        h = (h ^ h >> 13) * 3266489917u;
        h ^= h >> 16;
        x[i] =
            ((float)((h & 0xff) + (h >> 8 & 0xff) + (h >> 16 & 0xff) + (h >> 24)) - 510) *
            (1 / 148.0f);
    }
}

__global__ void differ_kernel(const uint32_t *a, const uint32_t *b, int64_t n,
                              int *differ) {
    int64_t step = (int64_t)gridDim.x * blockDim.x;
    for (int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x; i < n; i += step)
        if (a[i] != b[i])
            *differ = 1;
}

struct trial {
    int64_t n_tok;
    size_t bytes; /* of y */
    void *noise, *x, *y, *first;
    int *differ;
    cudaEvent_t begin, end;
};

static void trial_release(struct vn_cuda *c, struct trial *t) {
    vn_cuda_release(&c->base, t->noise);
    vn_cuda_release(&c->base, t->x);
    vn_cuda_release(&c->base, t->y);
    vn_cuda_release(&c->base, t->first);
    vn_cuda_release(&c->base, t->differ);
    if (t->begin)
        cudaEventDestroy(t->begin);
    if (t->end)
        cudaEventDestroy(t->end);
}

static int trial_new(struct vn_cuda *c, const struct vn_matrix *m, struct trial *t) {
    enum vn_dtype act = c->base.act, out = m->epilogue == VN_EPI_RESIDUAL ? VN_F32 : act;
    memset(t, 0, sizeof *t);
    t->n_tok = act == VN_F32                   ? TRIAL_TOKENS_F32
               : m->n_out * m->n_in >= 1 << 20 ? REFERENCE_TOKENS
                                               : TRIAL_TOKENS_SMALL;
    t->bytes = (size_t)(t->n_tok * m->n_out) * vn_dtype_size(out);
    int64_t n = t->n_tok * m->n_in;
    void *differ = NULL;
    int rc = vn_cuda_alloc(&c->base, (size_t)n * 4, &t->noise, NULL);
    if (!rc)
        rc = vn_cuda_alloc(&c->base, (size_t)n * vn_dtype_size(act), &t->x, NULL);
    if (!rc)
        rc = vn_cuda_alloc(&c->base, t->bytes, &t->y, NULL);
    if (!rc)
        rc = vn_cuda_alloc(&c->base, t->bytes, &t->first, NULL);
    if (!rc)
        rc = vn_cuda_alloc(&c->base, sizeof *t->differ, &differ, NULL);
    t->differ = (int *)differ;
    if (!rc && (cudaEventCreate(&t->begin) || cudaEventCreate(&t->end)))
        rc = VN_EFAIL;
    if (rc)
        return rc;
    noise_kernel<<<1024, 256, 0, c->compute>>>((float *)t->noise, n);
    return vn_cuda_cast(c, t->noise, VN_F32, t->x, act, n, NULL);
}

/* Whether the algorithm runs and gives the bits of the first one. */
static bool trial_agrees(struct vn_cuda *c, const struct vn_matrix *m, struct trial *t,
                         const cublasLtMatmulAlgo_t *algo, bool first) {
    int differ = 0;
    cudaMemsetAsync(t->y, 0, t->bytes, c->compute);
    cudaMemsetAsync(t->differ, 0, sizeof differ, c->compute);
    if (multiply(c, m, algo, t->x, t->y, t->n_tok))
        return false;
    if (first)
        cudaMemcpyAsync(t->first, t->y, t->bytes, cudaMemcpyDeviceToDevice, c->compute);
    else
        differ_kernel<<<1024, 256, 0, c->compute>>>((const uint32_t *)t->y,
                                                    (const uint32_t *)t->first,
                                                    (int64_t)(t->bytes / 4), t->differ);
    return !cudaStreamSynchronize(c->compute) &&
           !cudaMemcpy(&differ, t->differ, sizeof differ, cudaMemcpyDeviceToHost) &&
           !differ;
}

/* Milliseconds of a few products, or infinity where they fail. */
static float trial_time(struct vn_cuda *c, const struct vn_matrix *m, struct trial *t,
                        const cublasLtMatmulAlgo_t *algo) {
    float ms;
    cudaEventRecord(t->begin, c->compute);
    for (int i = 0; i < 3; i++)
        if (multiply(c, m, algo, t->x, t->y, t->n_tok))
            return INFINITY;
    cudaEventRecord(t->end, c->compute);
    if (cudaEventSynchronize(t->end) || cudaEventElapsedTime(&ms, t->begin, t->end))
        return INFINITY;
    return ms;
}

/* The fastest of n candidates; the first where there is no memory to try them (*tried says
 * whether there was), and where no other is clearly faster. All take turns, so that clocks and heat treat them alike.
 */
static int fastest(struct vn_cuda *c, const struct vn_matrix *m,
                   const cublasLtMatmulHeuristicResult_t *found, int n, bool *tried) {
    struct trial t;
    float best[CANDIDATES];
    int chosen = 0;
    bool ready = trial_new(c, m, &t) == VN_OK;
    for (int i = 0; i < n && ready; i++) {
        best[i] = trial_agrees(c, m, &t, &found[i].algo, i == 0) ? 1e30f : INFINITY;
        ready = best[0] < INFINITY; /* else there is nothing to agree with */
    }
    for (int round = 0; round < 3 && ready; round++)
        for (int i = 0; i < n; i++)
            if (best[i] < INFINITY)
                best[i] = fminf(best[i], trial_time(c, m, &t, &found[i].algo));
    for (int i = 1; i < n && ready; i++)
        if (best[i] < best[chosen] * (chosen ? 1 : 0.98f))
            chosen = i;
    trial_release(c, &t);
    *tried = ready;
    return chosen;
}

/* ---- the choice of an algorithm -------------------------------------------------- */

/* Whether the inner dimension is summed by one thread block from one end to the other. */
static bool in_one_piece(const struct vn_lt *lt, const cublasLtMatmulAlgo_t *algo) {
    int32_t split = 0;
    uint32_t scheme = 0;
    size_t got;
    if (lt->api.algo_get(algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &split, sizeof split,
                         &got) ||
        lt->api.algo_get(algo, CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME, &scheme,
                         sizeof scheme, &got))
        return false;
    return split >= 0 && split <= 1 && scheme == CUBLASLT_REDUCTION_SCHEME_NONE;
}

static cublasStatus_t ask(const struct vn_lt *lt, const struct vn_matrix *m,
                          cublasLtMatmulHeuristicResult_t found[CANDIDATES], int *n) {
    cublasLtMatmulPreference_t pref;
    uint32_t none = CUBLASLT_REDUCTION_SCHEME_NONE, align = VN_ALIGN;
    size_t workspace = WORKSPACE;
    cublasStatus_t st = lt->api.pref_create(&pref);
    if (st)
        return st;
    const struct {
        cublasLtMatmulPreferenceAttributes_t what;
        const void *value;
        size_t size;
    } wishes[] = {
        {CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace},
        {CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &none, sizeof none},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, &align, sizeof align},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, &align, sizeof align},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, &align, sizeof align},
        {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, &align, sizeof align},
    };
    for (size_t i = 0; i < sizeof wishes / sizeof *wishes && !st; i++)
        st = lt->api.pref_set(pref, wishes[i].what, wishes[i].value, wishes[i].size);
    if (!st)
        st = lt->api.heuristic(lt->handle, m->desc, m->w, m->x, m->y, m->y, pref,
                               CANDIDATES, found, n);
    lt->api.pref_destroy(pref);
    return st;
}

/* Puts the candidates that sum in one piece to the front; how many those are. */
static int keep_whole(const struct vn_lt *lt, cublasLtMatmulHeuristicResult_t *found,
                      int n) {
    int kept = 0;
    for (int i = 0; i < n; i++)
        if (!found[i].state && in_one_piece(lt, &found[i].algo))
            found[kept++] = found[i];
    return kept;
}

/* Of an earlier run: it must still be an algorithm that this library runs here, and must
 * not split. What it chose among were algorithms that give the same bits on this kind of
 * device, so its choice changes no result, whichever of them it is. */
static bool usable(const struct vn_lt *lt, const struct vn_matrix *m,
                   const cublasLtMatmulAlgo_t *algo) {
    cublasLtMatmulHeuristicResult_t r = {};
    return in_one_piece(lt, algo) &&
           !lt->api.algo_check(lt->handle, m->desc, m->w, m->x, m->y, m->y, algo, &r) &&
           r.workspaceSize <= WORKSPACE;
}

/* The plan of a shape, or NULL; one that cannot be used is forgotten. */
static const struct vn_plan *known(struct vn_cuda *c, const struct vn_matrix *m) {
    struct vn_lt *lt = c->lt;
    const int residual = m->epilogue == VN_EPI_RESIDUAL;
    for (int i = 0; i < lt->n_plans; i++) {
        struct vn_plan *p = &lt->plans[i];
        if (p->n_out != m->n_out || p->n_in != m->n_in || p->type != (int)c->base.act ||
            p->variant != residual)
            continue;
        cublasLtMatmulAlgo_t algo;
        memcpy(&algo, p->algorithm, sizeof algo);
        if (lt->checked >> i & 1 || usable(lt, m, &algo)) {
            lt->checked |= (uint64_t)1 << i;
            return p;
        }
        *p = lt->plans[--lt->n_plans]; /* the others are checked again */
        lt->checked = 0;
        i--;
    }
    return NULL;
}

/* Keeps the plan, in this process and for the next. */
static void keep(struct vn_cuda *c, const struct vn_matrix *m) {
    struct vn_lt *lt = c->lt;
    if (lt->n_plans == VN_MAX_PLANS)
        return;
    lt->checked |= (uint64_t)1 << lt->n_plans;
    struct vn_plan *p = &lt->plans[lt->n_plans++];
    p->n_out = m->n_out;
    p->n_in = m->n_in;
    p->type = (int)c->base.act;
    p->variant = m->epilogue == VN_EPI_RESIDUAL;
    memcpy(p->algorithm, &m->algo, sizeof p->algorithm);
    vn_plans_write(lt->key, lt->plans, lt->n_plans);
}

/* Asks the library and tries what it proposes, with the weights themselves. */
static int search(struct vn_cuda *c, struct vn_matrix *m, struct vn_error *err) {
    struct vn_lt *lt = c->lt;
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    int n = 0, rc = vn_load_need(c, &m->arrival, err);
    bool tried = false;
    if (rc)
        return rc;
    const double began = seconds();
    cublasStatus_t st = ask(lt, m, found, &n);
    if (!st)
        n = keep_whole(lt, found, n);
    if (st || !n)
        return vn_fail(err, VN_EFAIL,
                       "cuda: no algorithm for a product of %lld x %lld: %s",
                       (long long)m->n_out, (long long)m->n_in,
                       st ? lt->api.status(st) : "all split the inner dimension");
    m->algo = found[fastest(c, m, found, n, &tried)].algo;
    if (tried)
        keep(c, m);
    c->times.plans += seconds() - began;
    c->times.plans_tried++;
    return VN_OK;
}

static int choose(struct vn_cuda *c, struct vn_matrix *m, struct vn_error *err) {
    const struct vn_plan *p = known(c, m);
    if (!p)
        return search(c, m, err);
    memcpy(&m->algo, p->algorithm, sizeof m->algo);
    c->times.plans_known++;
    return VN_OK;
}

/* ---- matrices -------------------------------------------------------------------- */

static cudaDataType_t cuda_type(enum vn_dtype t) {
    return t == VN_F16 ? CUDA_R_16F : t == VN_BF16 ? CUDA_R_16BF : CUDA_R_32F;
}

static cublasStatus_t describe(const struct vn_cuda *c, struct vn_matrix *m) {
    const struct lt_api *api = &c->lt->api;
    cublasOperation_t transposed = CUBLAS_OP_T;
    cublasLtEpilogue_t bias = CUBLASLT_EPILOGUE_BIAS;
    cudaDataType_t act = cuda_type(c->base.act);
    cudaDataType_t out = m->epilogue == VN_EPI_RESIDUAL ? CUDA_R_32F : act;
    uint64_t n_out = (uint64_t)m->n_out, n_in = (uint64_t)m->n_in;
    cublasStatus_t st = api->desc_create(&m->desc, CUBLAS_COMPUTE_32F, CUDA_R_32F);
    if (!st)
        st = api->desc_set(m->desc, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                           sizeof transposed);
    if (!st)
        st = api->desc_set(m->desc, CUBLASLT_MATMUL_DESC_EPILOGUE, &bias, sizeof bias);
    if (!st)
        st = api->desc_set(m->desc, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &m->bias,
                           sizeof m->bias);
    if (!st)
        st =
            api->desc_set(m->desc, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &out, sizeof out);
    if (!st)
        st = api->layout_create(&m->w, act, n_in, n_out, m->n_in);
    if (!st)
        st = api->layout_create(&m->x, act, n_in, REFERENCE_TOKENS, m->n_in);
    if (!st)
        st = api->layout_create(&m->y, out, n_out, REFERENCE_TOKENS, m->n_out);
    return st;
}

void vn_cuda_matrix_free(struct vn_backend *be, struct vn_matrix *m) {
    struct vn_cuda *c = (struct vn_cuda *)be;
    if (!m)
        return;
    const struct lt_api *api = &c->lt->api;
    if (m->desc)
        api->desc_destroy(m->desc);
    if (m->w)
        api->layout_destroy(m->w);
    if (m->x)
        api->layout_destroy(m->x);
    if (m->y)
        api->layout_destroy(m->y);
    vn_hgemm_free(m->hopper);
    vn_load_drop(c, &m->arrival);
    vn_load_release(c, m->weight);
    vn_load_release(c, m->bias);
    free(m);
}

/* Asks for the parts of the weights and biases, one after the other. */
static int upload(struct vn_cuda *c, struct vn_matrix *m, const struct vn_matrix_spec *s,
                  enum vn_dtype bias_type, struct vn_error *err) {
    int64_t rows = s->n_out / s->n_parts, n = rows * s->n_in;
    size_t size = vn_dtype_size(c->base.act), bias_size = vn_dtype_size(bias_type);
    int rc = vn_load_alloc(c, (size_t)s->n_out * (size_t)s->n_in * size, &m->weight, err);
    if (!rc)
        rc = vn_load_alloc(c,
                           bias_type == VN_F32 ? vn_hgemm_bias_bytes(s->n_out)
                                               : (size_t)s->n_out * bias_size,
                           &m->bias, err);
    for (int i = 0; i < s->n_parts && !rc; i++) {
        rc = vn_load_add(c, s->weight[i], s->type,
                         (char *)m->weight + (size_t)i * (size_t)n * size, c->base.act, n,
                         &m->arrival, err);
        if (!rc && s->bias[i])
            rc = vn_load_add(c, s->bias[i], s->type,
                             (char *)m->bias + (size_t)i * (size_t)rows * bias_size,
                             bias_type, rows, &m->arrival, err);
    }
    if (!rc && !s->bias[0]) {
        cudaError_t e =
            cudaMemsetAsync(m->bias, 0, (size_t)s->n_out * bias_size, c->compute);
        if (e)
            rc = vn_fail(err, vn_cuda_status(e), "cuda: cannot clear a bias: %s",
                         cudaGetErrorString(e));
    }
    if (!rc && !s->stays)
        rc = vn_load_need(c, &m->arrival, err);
    return rc;
}

int vn_cuda_matrix_new(struct vn_backend *be, const struct vn_matrix_spec *s,
                       struct vn_matrix **out, struct vn_error *err) {
    struct vn_cuda *c;
    *out = NULL;
    int rc = vn_cuda_enter(be, &c, err);
    if (rc)
        return rc;
    struct vn_matrix *m = (struct vn_matrix *)calloc(1, sizeof *m);
    if (!m)
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu bytes", sizeof *m);
    m->n_out = s->n_out;
    m->n_in = s->n_in;
    m->epilogue = s->epilogue;
    m->own = s->n_out % 8 || s->n_in % 8;
    bool hopper = vn_hgemm_fits(c, s);
    rc = upload(c, m, s,
                m->own || hopper || m->epilogue == VN_EPI_RESIDUAL ? VN_F32 : c->base.act,
                err);
    if (!rc && hopper) {
        rc = vn_hgemm_new(c, s, m->weight, (const float *)m->bias, &m->hopper, err);
    } else if (!rc && !m->own) {
        cublasStatus_t st = describe(c, m);
        if (st)
            rc = vn_fail(err, VN_EFAIL,
                         "cuda: cannot describe a product of %lld x %lld: %s",
                         (long long)m->n_out, (long long)m->n_in, c->lt->api.status(st));
        else
            rc = choose(c, m, err);
    }
    if (rc)
        vn_cuda_matrix_free(be, m);
    else
        *out = m;
    return rc;
}

int64_t vn_cuda_matrix_rows(const struct vn_matrix *m) {
    return m->n_out;
}

/* ---- linear ---------------------------------------------------------------------- */

int vn_cuda_linear(struct vn_backend *be, const struct vn_linear_args *a,
                   struct vn_error *err) {
    struct vn_cuda *c;
    const struct vn_matrix *m = a->w;
    int rc = vn_cuda_enter(be, &c, err);
    if (rc || !a->n_tok)
        return rc;
    if (a->epilogue != m->epilogue)
        return vn_fail(err, VN_EINTERNAL, "cuda: epilogue %d on a matrix made for %d",
                       (int)a->epilogue, (int)m->epilogue);
    rc = vn_load_need(c, &m->arrival, err);
    if (rc)
        return rc;
    if (m->hopper)
        return vn_hgemm_run(c, m->hopper, a->x, a->y, a->n_tok, err);
    const bool glu = a->epilogue == VN_EPI_GLU;
    struct vn_linear_args product = *a; /* a gate's operands wait in `wide` */
    if (glu) {
        product.y = a->wide;
        product.epilogue = VN_EPI_BIAS;
    }
    if (m->own) {
        rc = vn_cuda_gemm_any(c, &product, m->weight, (const float *)m->bias, m->n_out,
                              m->n_in, err);
        return rc || !glu ? rc : vn_cuda_glu(c, a->wide, a->y, a->n_tok, m->n_out / 2, err);
    }
    cublasStatus_t st = multiply(c, m, &m->algo, a->x, product.y, a->n_tok);
    if (st)
        return vn_fail(err, VN_EFAIL, "cuda: product of %lld rows with %lld x %lld: %s",
                       (long long)a->n_tok, (long long)m->n_out, (long long)m->n_in,
                       c->lt->api.status(st));
    if (a->epilogue == VN_EPI_GELU)
        return vn_cuda_gelu(c, a->y, a->n_tok * m->n_out, err);
    if (glu)
        return vn_cuda_glu(c, a->wide, a->y, a->n_tok, m->n_out / 2, err);
    return VN_OK;
}
