/* norm.cu - LayerNorm over rows of f32, written in the type that comes next.
 *
 * One group of threads has one row, in registers where it fits: one pass over memory,
 * mean first, then the squares of the differences. */
#include "cuda_int.h"
#include "tile.h"
#include "util.cuh"

#define BLOCK 128 /* threads of a block; BLOCK / THREADS rows */

/* A: the activation type, of the second copy */
template <int THREADS, int VECS, class Y, class A>
__global__ void __launch_bounds__(BLOCK) norm_kernel(struct vn_norm_args a) {
    __shared__ float scratch[2][BLOCK / 32];
    int64_t row = (int64_t)blockIdx.x * (BLOCK / THREADS) + threadIdx.x / THREADS;
    int lane = (int)threadIdx.x % THREADS, d4 = (int)(a.d / 4);
    if (row >= a.n_tok) /* whole warps; with THREADS = BLOCK there is no such row */
        return;
    const float4 *x = reinterpret_cast<const float4 *>(a.x + row * a.d);
    float4 v[VECS];
    float sum = 0, squares = 0;
#pragma unroll
    for (int i = 0; i < VECS; i++) {
        int j = lane + i * THREADS;
        v[i] = j < d4 ? x[j] : make_float4(0, 0, 0, 0);
        sum += (v[i].x + v[i].y) + (v[i].z + v[i].w);
    }
    float mean = block_sum<THREADS>(sum, scratch[0]) / (float)a.d;
#pragma unroll
    for (int i = 0; i < VECS; i++) {
        if (lane + i * THREADS < d4) {
            v[i].x -= mean, v[i].y -= mean, v[i].z -= mean, v[i].w -= mean;
            squares +=
                (v[i].x * v[i].x + v[i].y * v[i].y) + (v[i].z * v[i].z + v[i].w * v[i].w);
        }
    }
    float var = block_sum<THREADS>(squares, scratch[1]) / (float)a.d;
    float scale = 1 / sqrtf(var + a.eps);
    const float4 *gamma = reinterpret_cast<const float4 *>(a.gamma);
    const float4 *beta = reinterpret_cast<const float4 *>(a.beta);
    Y *y = static_cast<Y *>(a.y) + row * a.d;
#pragma unroll
    for (int i = 0; i < VECS; i++) {
        int j = lane + i * THREADS;
        if (j < d4) {
            float4 g = gamma[j], b = beta[j];
            float4 u =
                make_float4(v[i].x * scale * g.x + b.x, v[i].y * scale * g.y + b.y,
                            v[i].z * scale * g.z + b.z, v[i].w * scale * g.w + b.w);
            store4(y + 4 * j, u);
            if (a.also)
                store4(static_cast<A *>(a.also) + row * a.d + 4 * j, u);
        }
    }
}

/* Any width: a block per row, which is read three times. Each thread writes only what it
 * alone reads, so y may be x. */
template <class Y, class A>
__global__ void __launch_bounds__(BLOCK) norm_any_kernel(struct vn_norm_args a) {
    __shared__ float scratch[2][BLOCK / 32];
    const float *x = a.x + (int64_t)blockIdx.x * a.d;
    Y *y = static_cast<Y *>(a.y) + (int64_t)blockIdx.x * a.d;
    float sum = 0, squares = 0;
    for (int64_t j = threadIdx.x; j < a.d; j += BLOCK)
        sum += x[j];
    float mean = block_sum<BLOCK>(sum, scratch[0]) / (float)a.d;
    for (int64_t j = threadIdx.x; j < a.d; j += BLOCK)
        squares += (x[j] - mean) * (x[j] - mean);
    float var = block_sum<BLOCK>(squares, scratch[1]) / (float)a.d;
    float scale = 1 / sqrtf(var + a.eps);
    for (int64_t j = threadIdx.x; j < a.d; j += BLOCK) {
        float u = (x[j] - mean) * scale * a.gamma[j] + a.beta[j];
        y[j] = from_f32<Y>(u);
        if (a.also)
            static_cast<A *>(a.also)[(int64_t)blockIdx.x * a.d + j] = from_f32<A>(u);
    }
}

template <class Y, class A>
static void launch(struct vn_cuda *c, const struct vn_norm_args *a) {
    struct vn_tile_norm t = vn_tile_norm(a->d);
    unsigned per = BLOCK / (unsigned)t.threads;
    unsigned grid = (unsigned)((a->n_tok + per - 1) / per);
    if (t.vecs == 5 && t.threads == 32)
        norm_kernel<32, 5, Y, A><<<grid, BLOCK, 0, c->compute>>>(*a);
    else if (t.vecs == 10 && t.threads == 32)
        norm_kernel<32, 10, Y, A><<<grid, BLOCK, 0, c->compute>>>(*a);
    else if (t.vecs == 5)
        norm_kernel<128, 5, Y, A><<<grid, BLOCK, 0, c->compute>>>(*a);
    else if (t.vecs == 10)
        norm_kernel<128, 10, Y, A><<<grid, BLOCK, 0, c->compute>>>(*a);
    else
        norm_any_kernel<Y, A><<<grid, BLOCK, 0, c->compute>>>(*a);
}

int vn_cuda_norm(struct vn_backend *be, const struct vn_norm_args *a,
                 struct vn_error *err) {
    struct vn_cuda *c;
    int rc = vn_cuda_enter(be, &c, err);
    if (rc || !a->n_tok)
        return rc;
    if (a->y_type == VN_F16)
        launch<__half, __half>(c, a);
    else if (a->y_type == VN_BF16)
        launch<__nv_bfloat16, __nv_bfloat16>(c, a);
    else if (c->base.act == VN_F16)
        launch<float, __half>(c, a);
    else if (c->base.act == VN_BF16)
        launch<float, __nv_bfloat16>(c, a);
    else
        launch<float, float>(c, a);
    return vn_cuda_launched("norm", a->n_tok, a->d, err);
}
