/* gemm_any.cu - matrix products of any size on the ordinary cores: for the few whose
 * sides are not multiples of eight. No model has such; they are here so that nothing is
 * refused. */
#include "cuda_int.h"
#include "util.cuh"

#define TILE 16

/* A thread has one value of y; a block goes through x and W in tiles. */
template <class T, class Y>
__global__ void __launch_bounds__(TILE *TILE)
    gemm_any_kernel(const T *x, const T *w, const float *bias, Y *y, int64_t n_tok,
                    int64_t n_out, int64_t n_in, enum vn_epilogue epilogue) {
    __shared__ float xs[TILE][TILE + 1], ws[TILE][TILE + 1];
    int tx = threadIdx.x, ty = threadIdx.y;
    int64_t t = (int64_t)blockIdx.x * TILE + ty, o0 = (int64_t)blockIdx.y * TILE;
    float sum = 0;
    for (int64_t i = 0; i < n_in; i += TILE) {
        bool inside = i + tx < n_in;
        xs[ty][tx] = inside && t < n_tok ? to_f32(x[t * n_in + i + tx]) : 0;
        ws[ty][tx] = inside && o0 + ty < n_out ? to_f32(w[(o0 + ty) * n_in + i + tx]) : 0;
        __syncthreads();
        for (int j = 0; j < TILE; j++)
            sum += xs[ty][j] * ws[tx][j];
        __syncthreads();
    }
    if (t >= n_tok || o0 + tx >= n_out)
        return;
    Y *to = y + t * n_out + o0 + tx;
    /* of y's type, as elsewhere */
    sum += to_f32(from_f32<Y>(bias[o0 + tx]));
    if (epilogue == VN_EPI_GELU)
        sum = gelu_exact(sum);
    if (epilogue == VN_EPI_RESIDUAL)
        sum += to_f32(*to);
    *to = from_f32<Y>(sum);
}

template <class T>
static void launch(struct vn_cuda *c, const struct vn_linear_args *a, const void *weight,
                   const float *bias, int64_t n_out, int64_t n_in) {
    dim3 grid((unsigned)((a->n_tok + TILE - 1) / TILE),
              (unsigned)((n_out + TILE - 1) / TILE));
    dim3 block(TILE, TILE);
    const T *x = static_cast<const T *>(a->x), *w = static_cast<const T *>(weight);
    if (a->epilogue == VN_EPI_RESIDUAL)
        gemm_any_kernel<<<grid, block, 0, c->compute>>>(
            x, w, bias, static_cast<float *>(a->y), a->n_tok, n_out, n_in, a->epilogue);
    else
        gemm_any_kernel<<<grid, block, 0, c->compute>>>(
            x, w, bias, static_cast<T *>(a->y), a->n_tok, n_out, n_in, a->epilogue);
}

int vn_cuda_gemm_any(struct vn_cuda *c, const struct vn_linear_args *a,
                     const void *weight, const float *bias, int64_t n_out, int64_t n_in,
                     struct vn_error *err) {
    if (c->base.act == VN_F16)
        launch<__half>(c, a, weight, bias, n_out, n_in);
    else if (c->base.act == VN_BF16)
        launch<__nv_bfloat16>(c, a, weight, bias, n_out, n_in);
    else
        launch<float>(c, a, weight, bias, n_out, n_in);
    return vn_cuda_launched("linear", a->n_tok, n_out, err);
}
