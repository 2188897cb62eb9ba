/* lt_plan.cu - which of cuBLASLt's algorithms computes a product.
 *
 * For each (n_out, n_in, residual) one algorithm is chosen without asking how many tokens
 * will come, and none that splits the inner dimension: a row of y is summed in the same
 * order whatever stands beside it. Of the library's proposals the fastest one is taken that
 * gives the same bits as its first, so that a result does not depend on what the clock said
 * either. The choice is kept for the next run (plans.h); as it is one of those algorithms,
 * whose bits are equal, nothing depends on whether it was kept, or by whom. */
#include <math.h>
#include <string.h>

#include "lt.h"

#define TRIAL_TOKENS_F32 2112  /* products in f32 take ten times as long */
#define TRIAL_TOKENS_SMALL (4 * VN_LT_REFERENCE_TOKENS) /* longer than it takes to launch */
#define CANDIDATES 8

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

static int trial_new(struct vn_cuda *c, const struct vn_lt_product *m, struct trial *t) {
    enum vn_dtype act = c->base.act, out = m->residual ? VN_F32 : act;
    memset(t, 0, sizeof *t);
    t->n_tok = act == VN_F32                   ? TRIAL_TOKENS_F32
               : m->n_out * m->n_in >= 1 << 20 ? VN_LT_REFERENCE_TOKENS
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
static bool trial_agrees(struct vn_cuda *c, const struct vn_lt_product *m, struct trial *t,
                         const cublasLtMatmulAlgo_t *algo, bool first) {
    int differ = 0;
    cudaMemsetAsync(t->y, 0, t->bytes, c->compute);
    cudaMemsetAsync(t->differ, 0, sizeof differ, c->compute);
    if (vn_lt_multiply(c, m, algo, t->x, t->y, t->n_tok))
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
static float trial_time(struct vn_cuda *c, const struct vn_lt_product *m, struct trial *t,
                        const cublasLtMatmulAlgo_t *algo) {
    float ms;
    cudaEventRecord(t->begin, c->compute);
    for (int i = 0; i < 3; i++)
        if (vn_lt_multiply(c, m, algo, t->x, t->y, t->n_tok))
            return INFINITY;
    cudaEventRecord(t->end, c->compute);
    if (cudaEventSynchronize(t->end) || cudaEventElapsedTime(&ms, t->begin, t->end))
        return INFINITY;
    return ms;
}

/* The fastest of n candidates; the first where there is no memory to try them (*tried says
 * whether there was), and where no other is clearly faster. All take turns, so that clocks
 * and heat treat them alike. */
static int fastest(struct vn_cuda *c, const struct vn_lt_product *m,
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

static cublasStatus_t ask(const struct vn_lt *lt, const struct vn_lt_product *m,
                          cublasLtMatmulHeuristicResult_t found[CANDIDATES], int *n) {
    cublasLtMatmulPreference_t pref;
    uint32_t none = CUBLASLT_REDUCTION_SCHEME_NONE, align = VN_ALIGN;
    size_t workspace = VN_LT_WORKSPACE;
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
static bool usable(const struct vn_lt *lt, const struct vn_lt_product *m,
                   const cublasLtMatmulAlgo_t *algo) {
    cublasLtMatmulHeuristicResult_t r = {};
    return in_one_piece(lt, algo) &&
           !lt->api.algo_check(lt->handle, m->desc, m->w, m->x, m->y, m->y, algo, &r) &&
           r.workspaceSize <= VN_LT_WORKSPACE;
}

/* The plan of a shape, or NULL; one that cannot be used is forgotten. */
static const struct vn_plan *known(struct vn_cuda *c, const struct vn_lt_product *m) {
    struct vn_lt *lt = c->lt;
    const int residual = m->residual;
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

/* Keeps the plan, in this process and for the next; where there is no room, instead of the
 * oldest. */
static void keep(struct vn_cuda *c, const struct vn_lt_product *m) {
    struct vn_lt *lt = c->lt;
    if (lt->n_plans == VN_MAX_PLANS) {
        memmove(lt->plans, lt->plans + 1, sizeof lt->plans - sizeof *lt->plans);
        lt->n_plans--;
        lt->checked >>= 1;
    }
    lt->checked |= (uint64_t)1 << lt->n_plans;
    struct vn_plan *p = &lt->plans[lt->n_plans++];
    p->n_out = m->n_out;
    p->n_in = m->n_in;
    p->type = (int)c->base.act;
    p->variant = m->residual;
    memcpy(p->algorithm, &m->algo, sizeof p->algorithm);
    vn_plans_write(lt->key, lt->plans, lt->n_plans);
}

/* Asks the library and tries what it proposes, with the weights themselves. */
static int search(struct vn_cuda *c, struct vn_lt_product *m, struct vn_arrival *arrival,
                  struct vn_error *err) {
    struct vn_lt *lt = c->lt;
    cublasLtMatmulHeuristicResult_t found[CANDIDATES];
    int n = 0, rc = vn_load_need(c, arrival, err);
    bool tried = false;
    if (rc)
        return rc;
    const double began = vn_lt_seconds();
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
    c->times.plans += vn_lt_seconds() - began;
    c->times.plans_tried++;
    return VN_OK;
}

int vn_lt_choose(struct vn_cuda *c, struct vn_lt_product *m, struct vn_arrival *arrival,
                 struct vn_error *err) {
    const struct vn_plan *p = known(c, m);
    if (!p)
        return search(c, m, arrival, err);
    memcpy(&m->algo, p->algorithm, sizeof m->algo);
    c->times.plans_known++;
    return VN_OK;
}
