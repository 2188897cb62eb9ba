/* attn_f32.cu - attention in true f32 on the ordinary cores: the precise path.
 *
 * A block has 32 query rows of one head and walks over the keys in steps of VN_ATTN_KEYS.
 * Thread (ty, tx) of 8 x 16 computes the scores of rows 4 ty .. 4 ty + 3 with keys tx, tx
 * + 16, tx + 32, tx + 48, and later the columns tx, tx + 16, ... of the same rows. */
#include "cuda_int.h"
#include "tile.h"
#include "util.cuh"

#define KEYS VN_ATTN_KEYS
#define ROWS 32
#define THREADS 128
#define P_STRIDE (KEYS + 4)

template <int HD> struct shape {
    static constexpr int stride =
        HD + 4; /* rows of shared memory without bank conflicts */
    static constexpr int columns = (HD + 15) / 16; /* of one thread */
    static constexpr size_t shared =
        ((ROWS + KEYS) * stride + ROWS * P_STRIDE) * sizeof(float);
};

/* Rows [r0, r0 + rows) of n to shared memory, rotated if there are tables, zeros beyond.
 */
template <int HD>
static __device__ void load(float *to, const float *from, int64_t row, int n, int r0,
                            int rows, const float *cosines, const float *sines) {
    constexpr int half = HD / 2;
    for (int i = threadIdx.x; i < rows * half; i += THREADS) {
        int r = i / half, j = i % half;
        float x = 0, y = 0;
        if (r0 + r < n) {
            x = from[(r0 + r) * row + j];
            y = from[(r0 + r) * row + j + half];
            if (cosines) {
                float c = cosines[(int64_t)(r0 + r) * half + j];
                float s = sines[(int64_t)(r0 + r) * half + j];
                float z = x * c - y * s;
                y = y * c + x * s;
                x = z;
            }
        }
        to[r * shape<HD>::stride + j] = x;
        to[r * shape<HD>::stride + j + half] = y;
    }
}

/* s[i][j] = scale * (row 4 ty + i) . (key tx + 16 j); minus infinity beyond `keys`. */
template <int HD>
static __device__ void scores(float s[4][4], const float *q, const float *k, int keys,
                              float scale) {
    constexpr int stride = shape<HD>::stride;
    int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
#pragma unroll
    for (int i = 0; i < 16; i++)
        s[i / 4][i % 4] = 0;
#pragma unroll 2
    for (int d = 0; d < HD; d += 4) {
        float4 x[4], y[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            x[i] = *reinterpret_cast<const float4 *>(q + (ty * 4 + i) * stride + d);
            y[i] = *reinterpret_cast<const float4 *>(k + (tx + 16 * i) * stride + d);
        }
#pragma unroll
        for (int i = 0; i < 16; i++) {
            float4 u = x[i / 4], w = y[i % 4];
            s[i / 4][i % 4] += u.x * w.x + u.y * w.y + u.z * w.z + u.w * w.w;
        }
    }
#pragma unroll
    for (int i = 0; i < 16; i++)
        s[i / 4][i % 4] = tx + 16 * (i % 4) < keys ? s[i / 4][i % 4] * scale : -INFINITY;
}

/* Takes slope |i - j| from the scores of queries i with keys j, `ahead` keys apart where the
 * block begins. */
static __device__ void add_alibi(float s[4][4], float slope, int ahead) {
    int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
#pragma unroll
    for (int i = 0; i < 16; i++) {
        int distance = ahead + ty * 4 + i / 4 - tx - 16 * (i % 4);
        s[i / 4][i % 4] = fmaf(-slope, fabsf((float)distance), s[i / 4][i % 4]);
    }
}

/* Over the 16 threads of a row. */
static __device__ float row_max(float v) {
    for (int o = 8; o; o >>= 1)
        v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, o));
    return v;
}
static __device__ float row_sum(float v) {
    for (int o = 8; o; o >>= 1)
        v += __shfl_xor_sync(0xffffffffu, v, o);
    return v;
}

/* Block (b * blocks + i, h): rows [i * ROWS, ...) of sequence b, head h. */
template <int HD>
__global__ void __launch_bounds__(THREADS)
    attn_f32_kernel(const int32_t *cu, unsigned blocks, struct vn_attn_args a,
                    float scale) {
    constexpr int stride = shape<HD>::stride, columns = shape<HD>::columns;
    extern __shared__ float4 shared[];
    float *q = reinterpret_cast<float *>(shared), *kv = q + ROWS * stride;
    float *p = kv + KEYS * stride;
    int b = (int)(blockIdx.x / blocks), r0 = (int)(blockIdx.x % blocks) * ROWS;
    int n = cu[b + 1] - cu[b], ty = threadIdx.x / 16, tx = threadIdx.x % 16;
    int64_t width = (int64_t)a.n_heads * HD;
    const float *at =
        static_cast<const float *>(a.qkv) + cu[b] * 3 * width + blockIdx.y * HD;
    if (r0 >= n)
        return;
    float max[4], sum[4], o[4][columns], s[4][4];
    for (int i = 0; i < 4; i++) {
        max[i] = -INFINITY;
        sum[i] = 0;
        for (int j = 0; j < columns; j++)
            o[i][j] = 0;
    }
    load<HD>(q, at, 3 * width, n, r0, ROWS, a.rope_cos, a.rope_sin);
    for (int k0 = 0; k0 < n; k0 += KEYS) {
        int keys = min(KEYS, n - k0);
        load<HD>(kv, at + width, 3 * width, n, k0, KEYS, a.rope_cos, a.rope_sin);
        __syncthreads();
        scores<HD>(s, q, kv, keys, scale);
        if (a.alibi)
            add_alibi(s, a.alibi[blockIdx.y], r0 - k0);
        __syncthreads();
        load<HD>(kv, at + 2 * width, 3 * width, n, k0, KEYS, NULL, NULL);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float top = row_max(fmaxf(fmaxf(s[i][0], s[i][1]), fmaxf(s[i][2], s[i][3])));
            top = fmaxf(top, max[i]);
            float again = expf(max[i] - top), weights = 0;
#pragma unroll
            for (int j = 0; j < 4; j++) {
                float e = expf(s[i][j] - top);
                p[(ty * 4 + i) * P_STRIDE + tx + 16 * j] = e;
                weights += e;
            }
            max[i] = top;
            sum[i] = sum[i] * again + row_sum(weights);
#pragma unroll
            for (int j = 0; j < columns; j++)
                o[i][j] *= again;
        }
        __syncthreads();
        /* the sums of these keys, and only these to all before: long records lose less */
        float part[4][columns] = {};
        for (int k = 0; k < keys; k++) {
            float w[4];
#pragma unroll
            for (int i = 0; i < 4; i++)
                w[i] = p[(ty * 4 + i) * P_STRIDE + k];
#pragma unroll
            for (int j = 0; j < columns; j++) {
                float v = tx + 16 * j < HD ? kv[k * stride + tx + 16 * j] : 0;
#pragma unroll
                for (int i = 0; i < 4; i++)
                    part[i][j] += w[i] * v;
            }
        }
#pragma unroll
        for (int i = 0; i < 4 * columns; i++)
            o[i / columns][i % columns] += part[i / columns][i % columns];
        __syncthreads();
    }
    float *out =
        static_cast<float *>(a.out) + (cu[b] + (int64_t)r0) * width + blockIdx.y * HD;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < columns; j++)
            if (r0 + ty * 4 + i < n && tx + 16 * j < HD)
                out[(ty * 4 + i) * width + tx + 16 * j] = o[i][j] / sum[i];
}

template <int HD>
static int launch(struct vn_cuda *c, const struct vn_seqs *s,
                  const struct vn_attn_args *a, struct vn_error *err) {
    constexpr size_t shared = shape<HD>::shared;
    cudaError_t e = cudaFuncSetAttribute(
        attn_f32_kernel<HD>, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)shared);
    if (e)
        return vn_fail(err, vn_cuda_status(e), "cuda: %zu bytes of shared memory: %s",
                       shared, cudaGetErrorString(e));
    unsigned blocks = (unsigned)vn_tile_blocks(s->max_len, ROWS);
    dim3 grid((unsigned)s->n_seq * blocks, (unsigned)a->n_heads);
    attn_f32_kernel<HD><<<grid, THREADS, shared, c->compute>>>(s->device, blocks, *a,
                                                               1 / sqrtf((float)HD));
    return vn_cuda_launched("attn", s->n_tok, (int64_t)a->n_heads * HD, err);
}

int vn_cuda_attn_f32(struct vn_cuda *c, const struct vn_seqs *s,
                     const struct vn_attn_args *a, struct vn_error *err) {
    switch (a->d_head) {
    case 16: return launch<16>(c, s, a, err);
    case 24: return launch<24>(c, s, a, err);
    case 32: return launch<32>(c, s, a, err);
    case 64: return launch<64>(c, s, a, err);
    case 128: return launch<128>(c, s, a, err);
    default:
        return vn_fail(err, VN_EINTERNAL, "cuda: attention with heads of %d", a->d_head);
    }
}
