/* hgemm.cu - own matrix products on Hopper, in fp16 and bf16, with their epilogues inside:
 * which kernel for which shape, and how it is launched. hgemm.cuh has the one for all shapes
 * (`any` here), hgemm_kept.cuh the one for short inner dimensions (`kept`).
 *
 * TFLOP/s in whole models (vn-embed --profile, fp16, 50 to 52 tokens a record) on an H200 at
 * its power limit, GELU included; cuBLASLt (lt), which has it from a kernel of its own, was
 * measured as the product alone and is here for comparison:
 *
 *   model, width          q, k, v             up, with GELU
 *                        lt  any  kept        lt  any  kept
 *   ESM-2 8M,    320    420         567      280        432
 *   ESM-2 35M,   480    419         594      348        544
 *   ESM-2 150M,  640    641  596             422  517
 *   ESM-2 650M, 1280         644             503  625
 *   ESM-2 3B,   2560    646  657             581  644
 *
 * Three warpgroups take turns for 480 with GELU (two: 523; the whole model 1 % slower); for 320
 * and 640 they gained nothing for whole models. There the card's power limit decides: an own
 * product that adds to the residual was as fast as cuBLASLt's or 3 % faster, and 650M and 3B
 * were 1 % slower with it, as what ran beside it had less power.
 *
 * DNABERT-S's (768) were 11 % faster than cuBLASLt's for q, k, v and 18 % for up with GLU. Sums
 * that are added to the residual are cuBLASLt's; but hgemm_norm.cu has those of 320 x 320 and
 * 480 x 480, with the norm behind them. */
#include <stdlib.h>

#include "cuda_int.h"
#include "hgemm_kept.cuh"
#include "launch.h"
#include "maps.h"

#define MIN_STEPS 4 /* of BK: the ring's length, see produce in hgemm.cuh */

typedef void (*kernel_fn)(CUtensorMap, CUtensorMap, CUtensorMap, hgemm_args);

/* An instance of a kernel. */
struct instance {
    kernel_fn kernel;
    int bm, bn, cm; /* tiles, and how many of a cluster share their columns */
    int columns;    /* of y in a tile */
    int block;      /* of those, stored at once */
    int threads;    /* of a block */
    int bytes;      /* of shared memory */
    bool kept;      /* a block has the same columns throughout */
};

struct vn_hgemm {
    struct instance k;
    int n, in, clusters; /* that fit the device at once */
    const float *bias;
    CUtensorMap w;
    struct vn_kept_map x, y;
};

template <class T, enum vn_epilogue EPI> static struct instance any_of() {
    using S = hgemm_shape<EPI>;
    static_assert(S::stages <= MIN_STEPS, "bias would be overwritten");
    return {hgemm_kernel<T, EPI>, BM, BN, CM, S::columns, S::block, HGEMM_THREADS, S::bytes,
            false};
}

template <class T, int N, int K, enum vn_epilogue EPI, int GROUPS>
static struct instance kept_of() {
    using S = kept_shape<N, K, GROUPS>;
    return {hgemm_kept_kernel<T, N, K, EPI, GROUPS>, S::rows, N, 1, N, S::block, S::threads,
            S::bytes, true};
}

/* ---- the choice ------------------------------------------------------------------ */

/* Whether blocks that keep n columns each leave at most one multiprocessor in eight idle: a
 * slice of a GPU may have few. */
static bool even(int64_t n_out, int n, int processors) {
    int64_t tiles = n_out / n;
    return n_out % n == 0 && processors / tiles * tiles * 8 >= (int64_t)processors * 7;
}

/* The instance for a shape; false where none is worth it. */
template <class T>
static bool choose(const struct vn_matrix_spec *s, int processors, struct instance *k) {
    switch (s->epilogue) {
    case VN_EPI_BIAS:
        if (s->n_in == 320 && even(s->n_out, 192, processors))
            *k = kept_of<T, 192, 320, VN_EPI_BIAS, 2>();
        else if (s->n_in == 480 && even(s->n_out, 160, processors))
            *k = kept_of<T, 160, 480, VN_EPI_BIAS, 2>();
        else if (s->n_out % BN == 0)
            *k = any_of<T, VN_EPI_BIAS>();
        else
            return false;
        return true;
    case VN_EPI_GELU:
        if (s->n_in == 320 && even(s->n_out, 256, processors))
            *k = kept_of<T, 256, 320, VN_EPI_GELU, 2>();
        else if (s->n_in == 480 && even(s->n_out, 160, processors))
            *k = kept_of<T, 160, 480, VN_EPI_GELU, 3>();
        else
            *k = any_of<T, VN_EPI_GELU>();
        return true;
    case VN_EPI_GLU:
        *k = any_of<T, VN_EPI_GLU>();
        return s->n_out % 16 == 0;
    case VN_EPI_RESIDUAL:
        break;
    }
    return false;
}

static bool pick(const struct vn_cuda *c, const struct vn_matrix_spec *s, struct instance *k) {
    if (c->sm != 90 || s->n_out % 8 || s->n_in % 8 || s->n_in <= (MIN_STEPS - 1) * BK ||
        s->n_out > INT32_MAX || s->n_in > INT32_MAX)
        return false;
    if (s->epilogue == VN_EPI_GLU && s->bias[0])
        return false;
    if (c->base.act == VN_F16)
        return choose<__half>(s, c->processors, k);
    return c->base.act == VN_BF16 && choose<__nv_bfloat16>(s, c->processors, k);
}

bool vn_hgemm_fits(const struct vn_cuda *c, const struct vn_matrix_spec *s) {
    struct instance k;
    return pick(c, s, &k);
}

size_t vn_hgemm_bias_bytes(int64_t n_out) {
    return ((size_t)n_out + 511) / 512 * 512 * sizeof(float);
}

/* ---- descriptions of matrices ---------------------------------------------------- */

/* The weights of a gated product, gates [n / 2, in] before values [n / 2, in], as groups of
 * eight rows that take turns: gate, value. */
static CUresult describe_gated(const struct vn_cuda *c, struct vn_hgemm *h,
                               const void *weight) {
    const cuuint64_t row = (cuuint64_t)h->in * 2, half = (cuuint64_t)h->n / 2;
    const cuuint64_t dims[4] = {(cuuint64_t)h->in, 8, 2, half / 8};
    const cuuint64_t strides[3] = {row, half * row, 8 * row};
    const cuuint32_t box[4] = {BK, 8, 2, (cuuint32_t)(h->k.bn / 16 / h->k.cm)};
    return vn_map(c, &h->w, weight, 4, dims, strides, box);
}

/* ---- launching ------------------------------------------------------------------- */

static cudaLaunchConfig_t config(const struct vn_hgemm *h, cudaLaunchAttribute *cluster,
                                 int clusters, cudaStream_t stream) {
    return vn_cluster_launch(cluster, clusters * h->k.cm, h->k.cm, h->k.threads, h->k.bytes,
                             stream);
}

/* How many clusters run at once: of those that keep their columns, as many for each. */
static cudaError_t count(struct vn_hgemm *h, int processors) {
    if (h->k.kept) {
        int tiles = h->n / h->k.bn;
        h->clusters = processors / tiles * tiles;
        return cudaSuccess;
    }
    cudaLaunchAttribute cluster;
    cudaLaunchConfig_t c = config(h, &cluster, 1, 0);
    cudaError_t e =
        cudaOccupancyMaxActiveClusters(&h->clusters, (const void *)h->k.kernel, &c);
    return !e && h->clusters < 1 ? cudaErrorLaunchOutOfResources : e;
}

static cudaError_t prepare(struct vn_hgemm *h, int processors) {
    cudaError_t e =
        cudaFuncSetAttribute((const void *)h->k.kernel,
                             cudaFuncAttributeMaxDynamicSharedMemorySize, h->k.bytes);
    return e ? e : count(h, processors);
}

int vn_hgemm_new(struct vn_cuda *c, const struct vn_matrix_spec *s, const void *weight,
                 const float *bias, struct vn_hgemm **out, struct vn_error *err) {
    struct vn_hgemm *h = (struct vn_hgemm *)vn_maps_alloc(sizeof *h);
    *out = NULL;
    if (!h)
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu bytes", sizeof *h);
    if (!pick(c, s, &h->k)) {
        free(h);
        return vn_fail(err, VN_EINTERNAL, "cuda: no own product of %lld x %lld",
                       (long long)s->n_out, (long long)s->n_in);
    }
    h->n = (int)s->n_out;
    h->in = (int)s->n_in;
    h->bias = bias;
    cudaError_t e = prepare(h, c->processors);
    CUresult r = CUDA_SUCCESS;
    if (!e)
        r = s->epilogue == VN_EPI_GLU
                ? describe_gated(c, h, weight)
                : vn_map_matrix(c, &h->w, weight, h->n, h->in, h->k.bn / h->k.cm, BK);
    if (e || r) {
        free(h);
        return vn_fail(err, VN_EFAIL, "cuda: cannot prepare a product of %lld x %lld: %s (%d)",
                       (long long)s->n_out, (long long)s->n_in, cudaGetErrorString(e), (int)r);
    }
    *out = h;
    return VN_OK;
}

void vn_hgemm_free(struct vn_hgemm *h) {
    free(h);
}

static CUresult look(const struct vn_cuda *c, struct vn_hgemm *h, const void *x, void *y,
                     int64_t rows) {
    const int width = h->n / (h->k.bn / h->k.columns); /* half of them where gates go */
    CUresult r = vn_map_again(c, &h->x, x, rows, h->in, h->k.bm, BK);
    return r ? r : vn_map_again(c, &h->y, y, rows, width, 16, h->k.block);
}

int vn_hgemm_run(struct vn_cuda *c, struct vn_hgemm *h, const void *x, void *y, int64_t rows,
                 struct vn_error *err) {
    CUresult r = look(c, h, x, y, rows);
    if (r)
        return vn_fail(err, VN_EFAIL, "cuda: cannot describe %lld rows of %d: %d",
                       (long long)rows, h->in, (int)r);
    hgemm_args a;
    a.bias = h->bias;
    a.k = h->in;
    a.tiles_m = (int)((rows + h->k.bm * h->k.cm - 1) / (h->k.bm * h->k.cm));
    a.tiles_n = (h->n + h->k.bn - 1) / h->k.bn;
    a.group = h->in >= 2048 ? 16 : 8; /* their rows of x stay in the L2 cache */
    int64_t tiles = (int64_t)a.tiles_m * a.tiles_n;
    cudaLaunchAttribute cluster;
    cudaLaunchConfig_t launch =
        config(h, &cluster, tiles < h->clusters ? (int)tiles : h->clusters, c->compute);
    cudaError_t e = cudaLaunchKernelEx(&launch, h->k.kernel, h->x.map, h->w, h->y.map, a);
    if (e)
        return vn_fail(err, vn_cuda_status(e), "cuda: product of %lld rows with %d x %d: %s",
                       (long long)rows, h->n, h->in, cudaGetErrorString(e));
    return VN_OK;
}
