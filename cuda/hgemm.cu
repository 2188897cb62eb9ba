/* hgemm.cu - own matrix products on Hopper, in fp16 and bf16, with their epilogues inside:
 * which kernel for which shape, and how it is launched. hgemm.cuh has the kernel.
 *
 * The choice rests on the time that a product takes in a whole model, on an H200 at its
 * power limit (fp16, 65,536 tokens at once in records of 50 to 110), against cuBLASLt and
 * the kernels that it needs besides:
 *
 *   model, width       q, k, v   up, with GELU or GLU
 *   ESM-2 3B,   2560      0 %          +7 %
 *   ESM-2 650M, 1280     +5 %         +17 %
 *   DNABERT-S,   768    +11 %         +18 %
 *   ESM-2 150M,  640   cuBLASLt       +17 %
 *   ESM-2 35M,   480    +16 %         +16 %
 *   ESM-2 8M,    320    +12 %         +20 %
 *
 * Sums that are added to the residual are cuBLASLt's: ours took 2 to 20 % longer. */
#include <stdlib.h>
#include <string.h>

#include "cuda_int.h"
#include "hgemm.cuh"

#define MIN_STEPS 5 /* of BK: the ring's length, see produce in hgemm.cuh */

typedef CUresult (*encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                              const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                              const cuuint32_t *, CUtensorMapInterleave, CUtensorMapSwizzle,
                              CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

typedef void (*kernel_fn)(CUtensorMap, CUtensorMap, CUtensorMap, hgemm_args);

/* An instance of the kernel. */
struct instance {
    kernel_fn kernel;
    int bn, cm, columns, block, stages, bytes;
};

struct vn_hgemm {
    struct instance k;
    encode_fn encode;
    enum vn_dtype act;
    int n, in, clusters; /* that fit the device at once */
    const float *bias;
    CUtensorMap w;
    /* the last call's: a pass of the same model has few addresses */
    const void *x_at;
    void *y_at;
    int64_t rows;
    CUtensorMap x, y;
};

template <class T, int BN, int CM, enum vn_epilogue EPI> static struct instance instance_of() {
    using S = hgemm_shape<BN, EPI>;
    struct instance k = {hgemm_kernel<T, BN, CM, EPI>,
                         BN,
                         CM,
                         S::columns,
                         S::block,
                         S::stages,
                         S::bytes};
    static_assert(S::stages <= MIN_STEPS, "bias would be overwritten");
    return k;
}

/* ---- the choice ------------------------------------------------------------------ */

/* The instance for a shape; false where none is worth it. */
template <class T>
static bool choose(int64_t n_out, int64_t n_in, enum vn_epilogue e, struct instance *k) {
    bool wide = n_out % 256 == 0, three = n_out % 192 == 0;
    switch (e) {
    case VN_EPI_BIAS:
        if (!wide && n_in >= 512)
            return false;
        *k = wide ? instance_of<T, 256, 2, VN_EPI_BIAS>()
                  : instance_of<T, 192, 1, VN_EPI_BIAS>();
        return true;
    case VN_EPI_GELU:
        *k = !wide && three ? instance_of<T, 192, 2, VN_EPI_GELU>()
                            : instance_of<T, 256, 2, VN_EPI_GELU>();
        return true;
    case VN_EPI_GLU:
        *k = instance_of<T, 256, 2, VN_EPI_GLU>();
        return n_out % 16 == 0;
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
        return choose<__half>(s->n_out, s->n_in, s->epilogue, k);
    return c->base.act == VN_BF16 &&
           choose<__nv_bfloat16>(s->n_out, s->n_in, s->epilogue, k);
}

bool vn_hgemm_fits(const struct vn_cuda *c, const struct vn_matrix_spec *s) {
    struct instance k;
    return pick(c, s, &k);
}

size_t vn_hgemm_bias_bytes(int64_t n_out) {
    return ((size_t)n_out + 511) / 512 * 512 * sizeof(float);
}

/* ---- descriptions of matrices ---------------------------------------------------- */

static CUtensorMapDataType type_of(enum vn_dtype t) {
    return t == VN_F16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
}

/* A row-major matrix [rows, columns] that is copied in boxes of box_rows x box_columns,
 * swizzled over the whole row of a box. */
static CUresult describe(const struct vn_hgemm *h, CUtensorMap *map, const void *at,
                         int64_t rows, int64_t columns, int box_rows, int box_columns) {
    const cuuint64_t dims[2] = {(cuuint64_t)columns, (cuuint64_t)rows};
    const cuuint64_t strides[1] = {(cuuint64_t)columns * 2};
    const cuuint32_t box[2] = {(cuuint32_t)box_columns, (cuuint32_t)box_rows};
    const cuuint32_t ones[2] = {1, 1};
    return h->encode(map, type_of(h->act), 2, (void *)at, dims, strides, box, ones,
                     CU_TENSOR_MAP_INTERLEAVE_NONE,
                     box_columns == 64 ? CU_TENSOR_MAP_SWIZZLE_128B
                                       : CU_TENSOR_MAP_SWIZZLE_64B,
                     CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

/* The weights of a gated product, gates [n / 2, in] before values [n / 2, in], as groups of
 * eight rows that take turns: gate, value. */
static CUresult describe_gated(struct vn_hgemm *h, const void *weight) {
    const cuuint64_t row = (cuuint64_t)h->in * 2, half = (cuuint64_t)h->n / 2;
    const cuuint64_t dims[4] = {(cuuint64_t)h->in, 8, 2, half / 8};
    const cuuint64_t strides[3] = {row, half * row, 8 * row};
    const cuuint32_t box[4] = {BK, 8, 2, (cuuint32_t)(h->k.bn / 16 / h->k.cm)};
    const cuuint32_t ones[4] = {1, 1, 1, 1};
    return h->encode(&h->w, type_of(h->act), 4, (void *)weight, dims, strides, box, ones,
                     CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                     CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

/* ---- launching ------------------------------------------------------------------- */

static cudaLaunchConfig_t config(const struct vn_hgemm *h, cudaLaunchAttribute *cluster,
                                 int clusters, cudaStream_t stream) {
    cudaLaunchConfig_t c = {};
    c.gridDim = dim3((unsigned)(clusters * h->k.cm));
    c.blockDim = dim3(HGEMM_THREADS);
    c.dynamicSmemBytes = (size_t)h->k.bytes;
    c.stream = stream;
    cluster->id = cudaLaunchAttributeClusterDimension;
    cluster->val.clusterDim.x = (unsigned)h->k.cm;
    cluster->val.clusterDim.y = cluster->val.clusterDim.z = 1;
    c.attrs = cluster;
    c.numAttrs = 1;
    return c;
}

static cudaError_t prepare(struct vn_hgemm *h) {
    cudaDriverEntryPointQueryResult found;
    void *encode = NULL;
    cudaError_t e = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, 12000,
                                                     cudaEnableDefault, &found);
    if (!e && (!encode || found != cudaDriverEntryPointSuccess))
        e = cudaErrorSymbolNotFound;
    if (!e)
        e = cudaFuncSetAttribute((const void *)h->k.kernel,
                                 cudaFuncAttributeMaxDynamicSharedMemorySize, h->k.bytes);
    memcpy(&h->encode, &encode, sizeof encode);
    cudaLaunchAttribute cluster;
    cudaLaunchConfig_t c = config(h, &cluster, 1, 0);
    if (!e)
        e = cudaOccupancyMaxActiveClusters(&h->clusters, (const void *)h->k.kernel, &c);
    return !e && h->clusters < 1 ? cudaErrorLaunchOutOfResources : e;
}

int vn_hgemm_new(struct vn_cuda *c, const struct vn_matrix_spec *s, const void *weight,
                 const float *bias, struct vn_hgemm **out, struct vn_error *err) {
    struct vn_hgemm *h = (struct vn_hgemm *)calloc(1, sizeof *h);
    *out = NULL;
    if (!h)
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu bytes", sizeof *h);
    if (!pick(c, s, &h->k)) {
        free(h);
        return vn_fail(err, VN_EINTERNAL, "cuda: no own product of %lld x %lld",
                       (long long)s->n_out, (long long)s->n_in);
    }
    h->act = c->base.act;
    h->n = (int)s->n_out;
    h->in = (int)s->n_in;
    h->bias = bias;
    cudaError_t e = prepare(h);
    CUresult r = CUDA_SUCCESS;
    if (!e)
        r = s->epilogue == VN_EPI_GLU
                ? describe_gated(h, weight)
                : describe(h, &h->w, weight, h->n, h->in, h->k.bn / h->k.cm, BK);
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

/* The descriptions of x and y, unless they are those of the last call. */
static CUresult look(struct vn_hgemm *h, const void *x, void *y, int64_t rows) {
    if (x == h->x_at && y == h->y_at && rows == h->rows)
        return CUDA_SUCCESS;
    int width = h->n / (h->k.bn / h->k.columns); /* half of them where gates go */
    CUresult r = describe(h, &h->x, x, rows, h->in, BM, BK);
    if (!r)
        r = describe(h, &h->y, y, rows, width, 64, h->k.block);
    h->x_at = r ? NULL : x;
    h->y_at = y;
    h->rows = rows;
    return r;
}

int vn_hgemm_run(struct vn_cuda *c, struct vn_hgemm *h, const void *x, void *y, int64_t rows,
                 struct vn_error *err) {
    CUresult r = look(h, x, y, rows);
    if (r)
        return vn_fail(err, VN_EFAIL, "cuda: cannot describe %lld rows of %d: %d",
                       (long long)rows, h->in, (int)r);
    hgemm_args a;
    a.bias = h->bias;
    a.k = h->in;
    a.tiles_m = (int)((rows + BM * h->k.cm - 1) / (BM * h->k.cm));
    a.tiles_n = (h->n + h->k.bn - 1) / h->k.bn;
    a.group = h->in >= 2048 ? 16 : 8; /* their rows of x stay in the L2 cache */
    int64_t tiles = (int64_t)a.tiles_m * a.tiles_n;
    cudaLaunchAttribute cluster;
    cudaLaunchConfig_t launch =
        config(h, &cluster, tiles < h->clusters ? (int)tiles : h->clusters, c->compute);
    cudaError_t e = cudaLaunchKernelEx(&launch, h->k.kernel, h->x, h->w, h->y, a);
    if (e)
        return vn_fail(err, vn_cuda_status(e), "cuda: product of %lld rows with %d x %d: %s",
                       (long long)rows, h->n, h->in, cudaGetErrorString(e));
    return VN_OK;
}
