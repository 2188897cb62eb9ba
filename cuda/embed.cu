/* embed.cu - token ids to rows of the residual stream. */
#include "cuda_int.h"

#define ROWS 64 /* rows of one block */
#define THREADS 256

/* Factor of a sequence: every thread of the block counts its part of the masks. In
 * double, as cpu_ref has it, so that x has the same bits. */
static __device__ double dropout_scale(const uint16_t *tokens, int n, int mask) {
    int masks = 0;
    for (int i = 0; i < n; i += THREADS) {
        int t = i + (int)threadIdx.x;
        masks += __syncthreads_count(t < n && tokens[t] == mask);
    }
    return (1 - 0.15 * 0.8) / (1 - (double)masks / (double)n);
}

/* Block (b * blocks + i): rows [i * ROWS, ...) of sequence b, a warp per row. */
__global__ void __launch_bounds__(THREADS)
    embed_kernel(const int32_t *cu, unsigned blocks, struct vn_embed_args a) {
    int b = (int)(blockIdx.x / blocks), r0 = (int)(blockIdx.x % blocks) * ROWS;
    int n = cu[b + 1] - cu[b];
    if (r0 >= n)
        return;
    const uint16_t *tokens = a.tokens + cu[b];
    double scale = a.mask_token < 0 ? 1 : dropout_scale(tokens, n, a.mask_token);
    int end = r0 + ROWS < n ? r0 + ROWS : n;
    for (int r = r0 + (int)threadIdx.x / 32; r < end; r += THREADS / 32) {
        const float *row = a.table + tokens[r] * a.d;
        float *x = a.x + ((int64_t)cu[b] + r) * a.d;
        double k = tokens[r] == a.mask_token ? 0 : scale;
        for (int64_t j = threadIdx.x % 32; j < a.d; j += 32)
            x[j] = (float)((double)row[j] * k);
    }
}

int vn_cuda_embed(struct vn_backend *be, const struct vn_seqs *s,
                  const struct vn_embed_args *a, struct vn_error *err) {
    struct vn_cuda *c;
    int rc = vn_cuda_enter(be, &c, err);
    if (rc || !s->n_tok)
        return rc;
    unsigned blocks = (unsigned)((s->max_len + ROWS - 1) / ROWS);
    embed_kernel<<<(unsigned)s->n_seq * blocks, THREADS, 0, c->compute>>>(s->device,
                                                                          blocks, *a);
    return vn_cuda_launched("embed", s->n_tok, a->d, err);
}
