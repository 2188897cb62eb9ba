/* pool.cu - rows of a sequence to one vector: the sums of pool.h in the order of pool.h.
 */
#include "cuda_int.h"

#define THREADS 128

/* Mean of n rows that are d floats apart, as pool.h orders it: a thread has one column.
 * The loads of a block of rows do not depend on each other and run ahead of the
 * additions. */
static __device__ float mean_column(const float *x, int64_t n, int64_t d) {
    float total = 0;
    for (int64_t r0 = 0; r0 < n; r0 += VN_POOL_BLOCK) {
        float sum = 0;
        int rows = n - r0 < VN_POOL_BLOCK ? (int)(n - r0) : VN_POOL_BLOCK;
#pragma unroll 8
        for (int r = 0; r < rows; r++)
            sum = __fadd_rn(sum, x[(r0 + r) * d]);
        total = __fadd_rn(total, sum);
    }
    return __fdiv_rn(total, (float)n);
}

/* Block (b, i): columns [i * THREADS, ...) of sequence b. */
__global__ void __launch_bounds__(THREADS)
    pool_kernel(const int32_t *cu, struct vn_pool_args a) {
    int64_t b = blockIdx.x, j = (int64_t)blockIdx.y * THREADS + threadIdx.x;
    int64_t n = cu[b + 1] - cu[b], from = 0, to = n;
    if (j >= a.d)
        return;
    if (a.pool == VN_POOL_CLS) {
        to = n > 0 ? 1 : 0;
    } else if ((a.pool == VN_POOL_MEAN || a.pool == VN_POOL_MAX) && n > 2) {
        from = 1;
        to = n - 1;
    }
    const float *x = a.x + (cu[b] + from) * a.d + j;
    float y = 0;
    if (n > 0 && (a.pool == VN_POOL_MEAN || a.pool == VN_POOL_MEAN_ALL)) {
        y = mean_column(x, to - from, a.d);
    } else if (n > 0) {
        y = x[0];
        for (int64_t r = 1; r < to - from; r++)
            y = x[r * a.d] > y ? x[r * a.d] : y;
    }
    a.out[b * a.d + j] = y;
}

int vn_cuda_pool(struct vn_backend *be, const struct vn_seqs *s,
                 const struct vn_pool_args *a, struct vn_error *err) {
    struct vn_cuda *c;
    int rc = vn_cuda_enter(be, &c, err);
    if (rc || !s->n_seq)
        return rc;
    dim3 grid((unsigned)s->n_seq, (unsigned)((a->d + THREADS - 1) / THREADS));
    pool_kernel<<<grid, THREADS, 0, c->compute>>>(s->device, *a);
    return vn_cuda_launched("pool", s->n_seq, a->d, err);
}
