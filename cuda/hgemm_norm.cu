/* hgemm_norm.cu - a product that is added to the residual together with the norm behind it,
 * on Hopper: for which shapes, and how it is launched. hgemm_norm.cuh has the kernel.
 *
 * Both are bound by memory: apart they move 10 and 6 bytes for each value of x, together 12.
 * The inner dimension is short enough for a cluster to keep all of W. Measured on an H200,
 * fp16, 65,536 rows, and whole models of records of 50 tokens, million tokens/s:
 *
 *   width   columns of a block   us alone   TB/s    model   apart   together
 *    320           160              80      3.14     8M     18.4     19.3
 *    320            80              74      3.40
 *    480           160             128      2.96     35M     5.43     5.56
 *    640            80             208      2.42
 *    640           128             190      2.65    150M     1.452    1.433
 *
 * So there is none for 640. Copying A once for a whole cluster saves traffic, not time: 320
 * and 480 with 160 columns take as long when each block copies its own. */
#include <stdlib.h>

#include "hgemm_norm.cuh"
#include "launch.h"
#include "maps.h"

typedef void (*kernel_fn)(CUtensorMap, CUtensorMap, hgemm_norm_args);

struct instance {
    kernel_fn kernel;
    int columns, bytes; /* that a block keeps; of its shared memory */
};

struct vn_hgemm_norm {
    struct instance k;
    int d, clusters; /* that fit the device at once */
    const float *bias;
    CUtensorMap w;
    struct vn_kept_map a;
};

template <class T, int D, int N> static struct instance instance_of() {
    return {hgemm_norm_kernel<T, D, N>, N, norm_shape<D, N>::bytes};
}

template <class T> static bool choose(int64_t d, struct instance *k) {
    if (d == 320)
        *k = instance_of<T, 320, 80>();
    else if (d == 480)
        *k = instance_of<T, 480, 160>();
    else
        return false;
    return true;
}

static bool pick(const struct vn_cuda *c, const struct vn_matrix_spec *s, struct instance *k) {
    if (c->sm != 90 || s->epilogue != VN_EPI_RESIDUAL || s->n_out != s->n_in)
        return false;
    if (c->base.act == VN_F16)
        return choose<__half>(s->n_in, k);
    return c->base.act == VN_BF16 && choose<__nv_bfloat16>(s->n_in, k);
}

static cudaLaunchConfig_t config(const struct vn_hgemm_norm *h, cudaLaunchAttribute *cluster,
                                 int clusters, cudaStream_t stream) {
    const int blocks = h->d / h->k.columns;
    return vn_cluster_launch(cluster, clusters * blocks, blocks, HGEMM_THREADS, h->k.bytes,
                             stream);
}

static cudaError_t prepare(struct vn_hgemm_norm *h) {
    cudaLaunchAttribute cluster;
    cudaLaunchConfig_t c = config(h, &cluster, 1, 0);
    cudaError_t e =
        cudaFuncSetAttribute((const void *)h->k.kernel,
                             cudaFuncAttributeMaxDynamicSharedMemorySize, h->k.bytes);
    if (!e)
        e = cudaOccupancyMaxActiveClusters(&h->clusters, (const void *)h->k.kernel, &c);
    return e;
}

/* W's rows, of each 16 in the order 0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15: so
 * the four columns of a sum that a thread has of 16 are neighbours in y. */
static CUresult describe(const struct vn_cuda *c, struct vn_hgemm_norm *h,
                         const void *weight) {
    const cuuint64_t row = (cuuint64_t)h->d * 2, d = (cuuint64_t)h->d;
    const cuuint64_t dims[5] = {d, 2, 4, 2, d / 16};
    const cuuint64_t strides[4] = {row, 4 * row, 2 * row, 16 * row};
    const cuuint32_t box[5] = {BK, 2, 4, 2, (cuuint32_t)h->k.columns / 16};
    return vn_map(c, &h->w, weight, 5, dims, strides, box);
}

int vn_hgemm_norm_new(struct vn_cuda *c, const struct vn_matrix_spec *s, const void *weight,
                      const float *bias, struct vn_hgemm_norm **out, struct vn_error *err) {
    struct instance k;
    *out = NULL;
    if (!pick(c, s, &k))
        return VN_OK;
    struct vn_hgemm_norm *h = (struct vn_hgemm_norm *)vn_maps_alloc(sizeof *h);
    if (!h)
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu bytes", sizeof *h);
    h->k = k;
    h->d = (int)s->n_in;
    h->bias = bias;
    cudaError_t e = prepare(h);
    CUresult r = e ? CUDA_SUCCESS : describe(c, h, weight);
    if (e || r || h->clusters < 1) /* a slice of a GPU may have no room for one */
        free(h);
    else
        *out = h;
    if (e || r)
        return vn_fail(err, VN_EFAIL, "cuda: cannot prepare a product of %d x %d: %s (%d)",
                       (int)s->n_out, (int)s->n_in, cudaGetErrorString(e), (int)r);
    return VN_OK;
}

void vn_hgemm_norm_free(struct vn_hgemm_norm *h) {
    free(h);
}

int vn_hgemm_norm_run(struct vn_cuda *c, struct vn_hgemm_norm *h, const void *a,
                      const struct vn_norm_args *norm, struct vn_error *err) {
    CUresult r = vn_map_again(c, &h->a, a, norm->n_tok, h->d, 64, BK);
    if (r)
        return vn_fail(err, VN_EFAIL, "cuda: cannot describe %lld rows of %d: %d",
                       (long long)norm->n_tok, h->d, (int)r);
    hgemm_norm_args g;
    g.bias = h->bias;
    g.gamma = norm->gamma;
    g.beta = norm->beta;
    g.x = (float *)norm->x; /* what the product is added to */
    g.y = norm->y;
    g.rows = (int)norm->n_tok;
    g.tiles = (int)((norm->n_tok + 63) / 64);
    g.eps = norm->eps;
    cudaLaunchAttribute cluster;
    cudaLaunchConfig_t launch =
        config(h, &cluster, g.tiles < h->clusters ? g.tiles : h->clusters, c->compute);
    cudaError_t e = cudaLaunchKernelEx(&launch, h->k.kernel, h->a.map, h->w, g);
    if (e)
        return vn_fail(err, vn_cuda_status(e),
                       "cuda: product and norm of %lld rows with %d x %d: %s",
                       (long long)norm->n_tok, h->d, h->d, cudaGetErrorString(e));
    return VN_OK;
}
