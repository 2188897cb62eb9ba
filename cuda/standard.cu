/* standard.cu - standard attention: what fair-esm's ESM2 computes after .half(), rounding
 * by rounding. cpu_standard.c says what that is; h() here is its h().
 *
 * It is also what devices below sm_80 get, so it uses ordinary instructions alone, and the
 * products of linear.cu, all with a plain bias: the residual and GELU are kernels here, that
 * round what the product has rounded before. Attention is not materialised, nor padded:
 * probabilities are rounded after the division by their sum, so the keys are gone through
 * twice, first for the maximum and the sum of each row. */
#include "cuda_int.h"
#include "tile.h"
#include "util.cuh"

#define THREADS 256
#define MAX_BLOCKS 16384 /* the rest by striding */

static __device__ __forceinline__ float h(float x) {
    return __half2float(__float2half_rn(x));
}

/* ---- embed ----------------------------------------------------------------------- */

#define EMBED_ROWS 64

/* Block (b * blocks + i): rows [i * EMBED_ROWS, ...) of sequence b, a warp per row. */
__global__ void __launch_bounds__(THREADS)
    standard_embed_kernel(const int32_t *cu, unsigned blocks, struct vn_embed_args a) {
    int b = (int)(blockIdx.x / blocks), r0 = (int)(blockIdx.x % blocks) * EMBED_ROWS;
    int n = cu[b + 1] - cu[b], masks = 0;
    if (r0 >= n)
        return;
    const uint16_t *tokens = a.tokens + cu[b];
    for (int i = 0; i < n; i += THREADS) {
        int t = i + (int)threadIdx.x;
        masks += __syncthreads_count(t < n && tokens[t] == a.mask_token);
    }
    const float train = (float)(1 - 0.15 * 0.8);
    float kept = h(1 - h(h((float)masks) / h((float)n)));
    int end = r0 + EMBED_ROWS < n ? r0 + EMBED_ROWS : n;
    for (int r = r0 + (int)threadIdx.x / 32; r < end; r += THREADS / 32) {
        const float *row = a.table + tokens[r] * a.d;
        float *x = a.x + ((int64_t)cu[b] + r) * a.d;
        for (int64_t j = threadIdx.x % 32; j < a.d; j += 32) {
            float v = h(row[j]);
            if (a.mask_token >= 0)
                v = tokens[r] == a.mask_token ? 0 : h(h(v * train) / kept);
            x[j] = v;
        }
    }
}

static int embed(struct vn_backend *be, const struct vn_seqs *s,
                 const struct vn_embed_args *a, struct vn_error *err) {
    struct vn_cuda *c;
    int rc = vn_cuda_enter(be, &c, err);
    if (rc || !s->n_tok)
        return rc;
    unsigned blocks = (unsigned)vn_tile_blocks(s->max_len, EMBED_ROWS);
    standard_embed_kernel<<<(unsigned)s->n_seq * blocks, THREADS, 0, c->compute>>>(
        s->device, blocks, *a);
    return vn_cuda_launched("embed", s->n_tok, a->d, err);
}

/* ---- norm ------------------------------------------------------------------------ */

/* A block per row, which is read three times. Each thread writes only what it alone reads
 * after the sums, so y may be x. */
template <class Y>
__global__ void __launch_bounds__(THREADS) standard_norm_kernel(struct vn_norm_args a) {
    __shared__ float scratch[2][THREADS / 32];
    const float *x = a.x + (int64_t)blockIdx.x * a.d;
    Y *y = static_cast<Y *>(a.y) + (int64_t)blockIdx.x * a.d;
    float sum = 0, squares = 0;
    for (int64_t j = threadIdx.x; j < a.d; j += THREADS)
        sum += x[j];
    float mean = block_sum<THREADS>(sum, scratch[0]) / (float)a.d;
    for (int64_t j = threadIdx.x; j < a.d; j += THREADS)
        squares += (x[j] - mean) * (x[j] - mean);
    float var = block_sum<THREADS>(squares, scratch[1]) / (float)a.d;
    float scale = 1 / sqrtf(var + a.eps);
    for (int64_t j = threadIdx.x; j < a.d; j += THREADS)
        y[j] = from_f32<Y>(h((x[j] - mean) * scale * h(a.gamma[j]) + h(a.beta[j])));
}

static int norm(struct vn_backend *be, const struct vn_norm_args *a,
                struct vn_error *err) {
    struct vn_cuda *c;
    int rc = vn_cuda_enter(be, &c, err);
    if (rc || !a->n_tok)
        return rc;
    if (a->y_type == VN_F16)
        standard_norm_kernel<__half><<<(unsigned)a->n_tok, THREADS, 0, c->compute>>>(*a);
    else
        standard_norm_kernel<float><<<(unsigned)a->n_tok, THREADS, 0, c->compute>>>(*a);
    return vn_cuda_launched("norm", a->n_tok, a->d, err);
}

/* ---- linear ---------------------------------------------------------------------- */

static unsigned blocks_for(int64_t n) {
    int64_t b = (n + THREADS - 1) / THREADS;
    return (unsigned)(b < 1 ? 1 : b < MAX_BLOCKS ? b : MAX_BLOCKS);
}

/* As fair-esm writes it: x * 0.5 * (1.0 + erf(x / sqrt 2)); PyTorch multiplies by the
 * inverse of a number that it divides by. */
static __device__ __forceinline__ float gelu_standard(float x) {
    return h(h(x * 0.5f) * h(1 + h(erff(h(x * (1.0f / 1.41421356f))))));
}

__global__ void __launch_bounds__(THREADS) standard_gelu_kernel(__half *y, int64_t n) {
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int64_t step = (int64_t)gridDim.x * THREADS;
    __half2 *v = reinterpret_cast<__half2 *>(y);
    for (int64_t j = i; j < n / 2; j += step) {
        float2 f = __half22float2(v[j]);
        v[j] = __floats2half2_rn(gelu_standard(f.x), gelu_standard(f.y));
    }
    if (i == 0 && n % 2)
        y[n - 1] = __float2half_rn(gelu_standard(__half2float(y[n - 1])));
}

/* x = h(x + p) */
__global__ void __launch_bounds__(THREADS)
    standard_add_kernel(float *x, const __half *p, int64_t n) {
    int64_t i = (int64_t)blockIdx.x * THREADS + threadIdx.x;
    int64_t step = (int64_t)gridDim.x * THREADS;
    float2 *v = reinterpret_cast<float2 *>(x);
    const __half2 *q = reinterpret_cast<const __half2 *>(p);
    for (int64_t j = i; j < n / 2; j += step) {
        float2 f = v[j], g = __half22float2(q[j]);
        v[j] = make_float2(h(f.x + g.x), h(f.y + g.y));
    }
    if (i == 0 && n % 2)
        x[n - 1] = h(x[n - 1] + __half2float(p[n - 1]));
}

static int matrix_new(struct vn_backend *be, const struct vn_matrix_spec *s,
                      struct vn_matrix **out, struct vn_error *err) {
    struct vn_matrix_spec product = *s;
    *out = NULL;
    if (s->epilogue == VN_EPI_GLU || !s->bias[0])
        return vn_fail(err, VN_EINCOMPAT, "standard attention is that of ESM-2 alone");
    product.epilogue = VN_EPI_BIAS;
    return vn_cuda_matrix_new(be, &product, out, err);
}

/* Room for the rows of a product before they are added: grown at need, then kept. */
static int product_room(struct vn_cuda *c, size_t bytes, struct vn_error *err) {
    if (bytes <= c->product_bytes)
        return VN_OK;
    vn_cuda_release(&c->base, c->product); /* waits for what uses it */
    c->product_bytes = 0;
    int rc = vn_cuda_alloc(&c->base, bytes, &c->product, err);
    if (!rc)
        c->product_bytes = bytes;
    return rc;
}

static int linear(struct vn_backend *be, const struct vn_linear_args *a,
                  struct vn_error *err) {
    struct vn_cuda *c;
    struct vn_linear_args product = *a;
    int64_t n = a->n_tok * vn_cuda_matrix_rows(a->w);
    int rc = vn_cuda_enter(be, &c, err);
    product.epilogue = VN_EPI_BIAS;
    if (!rc && a->epilogue == VN_EPI_RESIDUAL) {
        rc = product_room(c, (size_t)n * sizeof(__half), err);
        product.y = c->product;
    }
    if (!rc)
        rc = vn_cuda_linear(be, &product, err);
    if (rc || !n)
        return rc;
    if (a->epilogue == VN_EPI_GELU)
        standard_gelu_kernel<<<blocks_for(n / 2), THREADS, 0, c->compute>>>(
            static_cast<__half *>(a->y), n);
    if (a->epilogue == VN_EPI_RESIDUAL)
        standard_add_kernel<<<blocks_for(n / 2), THREADS, 0, c->compute>>>(
            static_cast<float *>(a->y), static_cast<const __half *>(c->product), n);
    return vn_cuda_launched("linear", a->n_tok, n / a->n_tok, err);
}

/* ---- attn ------------------------------------------------------------------------ */

#define KEYS VN_ATTN_KEYS
#define ROWS 32
#define ATTN_THREADS 128
#define P_STRIDE (KEYS + 2)

/* A row of shared memory is an odd number of words, so that rows lie in other banks. */
template <int HD> struct shape {
    static constexpr int stride = HD + 2;
    static constexpr int columns = (HD + 15) / 16; /* of one thread */
};

/* Rows [r0, r0 + rows) of n to shared memory: times scale, rotated if there are tables,
 * zeros beyond. */
template <int HD>
static __device__ void load(__half *to, const __half *from, int64_t row, int n, int r0,
                            int rows, float scale, const float *cosines,
                            const float *sines) {
    constexpr int half = HD / 2;
#pragma unroll 2 /* it is there four times, and small code matters more here */
    for (int i = threadIdx.x; i < rows * half; i += ATTN_THREADS) {
        int r = i / half, j = i % half;
        float x = 0, y = 0;
        if (r0 + r < n) {
            x = h(__half2float(from[(r0 + r) * row + j]) * scale);
            y = h(__half2float(from[(r0 + r) * row + j + half]) * scale);
            if (cosines) {
                float c = cosines[(int64_t)(r0 + r) * half + j];
                float s = sines[(int64_t)(r0 + r) * half + j];
                float z = h(x * c) + h(-y * s);
                y = h(y * c) + h(x * s);
                x = z;
            }
        }
        to[r * shape<HD>::stride + j] = __float2half_rn(x);
        to[r * shape<HD>::stride + j + half] = __float2half_rn(y);
    }
}

/* s[i][j] = h(row 4 ty + i . key tx + 16 j); minus infinity beyond `keys`. */
template <int HD>
static __device__ void scores(float s[4][4], const __half *q, const __half *k, int keys) {
    constexpr int stride = shape<HD>::stride;
    int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
#pragma unroll
    for (int i = 0; i < 16; i++)
        s[i / 4][i % 4] = 0;
#pragma unroll 4
    for (int d = 0; d < HD; d += 2) {
        float2 x[4], y[4];
#pragma unroll
        for (int i = 0; i < 4; i++) {
            x[i] = __half22float2(
                *reinterpret_cast<const __half2 *>(q + (ty * 4 + i) * stride + d));
            y[i] = __half22float2(
                *reinterpret_cast<const __half2 *>(k + (tx + 16 * i) * stride + d));
        }
#pragma unroll
        for (int i = 0; i < 16; i++)
            s[i / 4][i % 4] += x[i / 4].x * y[i % 4].x + x[i / 4].y * y[i % 4].y;
    }
#pragma unroll
    for (int i = 0; i < 16; i++)
        s[i / 4][i % 4] = tx + 16 * (i % 4) < keys ? h(s[i / 4][i % 4]) : -INFINITY;
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

/* Takes one step of keys into the maximum and the sum of each row. */
static __device__ void gather(float max[4], float sum[4], const float s[4][4]) {
#pragma unroll
    for (int i = 0; i < 4; i++) {
        float top = row_max(fmaxf(fmaxf(s[i][0], s[i][1]), fmaxf(s[i][2], s[i][3])));
        top = fmaxf(top, max[i]);
        float part = 0;
#pragma unroll
        for (int j = 0; j < 4; j++)
            part += expf(s[i][j] - top);
        sum[i] = sum[i] * expf(max[i] - top) + row_sum(part);
        max[i] = top;
    }
}

/* Block (b * blocks + i, head): rows [i * ROWS, ...) of sequence b. Thread (ty, tx) of 8 x
 * 16 has the scores of rows 4 ty .. 4 ty + 3 with keys tx, tx + 16, tx + 32, tx + 48, and
 * later the columns tx, tx + 16, ... of the same rows. */
template <int HD>
__global__ void __launch_bounds__(ATTN_THREADS)
    standard_attn_kernel(const int32_t *cu, unsigned blocks, struct vn_attn_args a,
                         float scale) {
    constexpr int stride = shape<HD>::stride, columns = shape<HD>::columns;
    __shared__ __align__(16) __half q[ROWS * stride], kv[KEYS * stride],
        p[ROWS * P_STRIDE];
    int b = (int)(blockIdx.x / blocks), r0 = (int)(blockIdx.x % blocks) * ROWS;
    int n = cu[b + 1] - cu[b], ty = threadIdx.x / 16, tx = threadIdx.x % 16;
    int64_t width = (int64_t)a.n_heads * HD;
    const __half *at =
        static_cast<const __half *>(a.qkv) + cu[b] * 3 * width + blockIdx.y * HD;
    if (r0 >= n)
        return;
    float max[4], sum[4], o[4][columns], s[4][4];
    for (int i = 0; i < 4; i++) {
        max[i] = -INFINITY;
        sum[i] = 0;
        for (int j = 0; j < columns; j++)
            o[i][j] = 0;
    }
    load<HD>(q, at, 3 * width, n, r0, ROWS, scale, a.rope_cos, a.rope_sin);
    for (int k0 = 0; k0 < n; k0 += KEYS) {
        load<HD>(kv, at + width, 3 * width, n, k0, KEYS, 1, a.rope_cos, a.rope_sin);
        __syncthreads();
        scores<HD>(s, q, kv, min(KEYS, n - k0));
        gather(max, sum, s);
        __syncthreads();
    }
    for (int k0 = 0; k0 < n; k0 += KEYS) {
        int keys = min(KEYS, n - k0);
        if (n > KEYS) { /* else the scores of the only step are still there */
            load<HD>(kv, at + width, 3 * width, n, k0, KEYS, 1, a.rope_cos, a.rope_sin);
            __syncthreads();
            scores<HD>(s, q, kv, keys);
            __syncthreads();
        }
        load<HD>(kv, at + 2 * width, 3 * width, n, k0, KEYS, 1, NULL, NULL);
#pragma unroll
        for (int i = 0; i < 16; i++)
            p[(ty * 4 + i / 4) * P_STRIDE + tx + 16 * (i % 4)] =
                __float2half_rn(expf(s[i / 4][i % 4] - max[i / 4]) / sum[i / 4]);
        __syncthreads();
#pragma unroll 2
        for (int k = 0; k < keys; k++) {
            float w[4];
#pragma unroll
            for (int i = 0; i < 4; i++)
                w[i] = __half2float(p[(ty * 4 + i) * P_STRIDE + k]);
#pragma unroll
            for (int j = 0; j < columns; j++) {
                float v = tx + 16 * j < HD ? __half2float(kv[k * stride + tx + 16 * j]) : 0;
#pragma unroll
                for (int i = 0; i < 4; i++)
                    o[i][j] += w[i] * v;
            }
        }
        __syncthreads();
    }
    __half *out =
        static_cast<__half *>(a.out) + (cu[b] + (int64_t)r0) * width + blockIdx.y * HD;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < columns; j++)
            if (r0 + ty * 4 + i < n && tx + 16 * j < HD)
                out[(ty * 4 + i) * width + tx + 16 * j] = from_f32<__half>(o[i][j]);
}

template <int HD>
static int launch(struct vn_cuda *c, const struct vn_seqs *s,
                  const struct vn_attn_args *a, struct vn_error *err) {
    unsigned blocks = (unsigned)vn_tile_blocks(s->max_len, ROWS);
    dim3 grid((unsigned)s->n_seq * blocks, (unsigned)a->n_heads);
    standard_attn_kernel<HD><<<grid, ATTN_THREADS, 0, c->compute>>>(
        s->device, blocks, *a, (float)(1 / sqrt((double)HD)));
    return vn_cuda_launched("attn", s->n_tok, (int64_t)a->n_heads * HD, err);
}

static int attn(struct vn_backend *be, const struct vn_seqs *s,
                const struct vn_attn_args *a, struct vn_error *err) {
    struct vn_cuda *c;
    int rc = vn_cuda_enter(be, &c, err);
    if (rc || !s->n_tok)
        return rc;
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

void vn_cuda_standard_overlay(struct vn_cuda *c) {
    c->base.attention = VN_ATTN_STANDARD;
    c->base.ops.matrix_new = matrix_new;
    c->base.ops.embed = embed;
    c->base.ops.norm = norm;
    c->base.ops.linear = linear;
    c->base.ops.attn = attn;
}
