/* cuda_int.h - what the files of the CUDA backend share.
 *
 * One struct vn_cuda is one device, driven from one thread at a time. Operations are
 * queued on the stream `compute`; only large results leave by a second stream, `out`, so
 * that they travel while the next batch is computed (staging.cu). Every entry begins with
 * vn_cuda_enter and ends with vn_cuda_launched; nothing in between waits for the device.
 */
#ifndef VN_CUDA_INT_H
#define VN_CUDA_INT_H

#include <cuda_runtime.h>

#include "backend.h"

#define VN_CUDA_MIN_SM 80          /* mma m16n8k16, cp.async, bf16 */
#define VN_CUDA_MIN_SM_STANDARD 75 /* the oldest that CUDA 13 knows */

struct vn_lt; /* cuBLASLt as loaded at run time, and the algorithms chosen: lt.cu */
struct vn_staging; /* host memory on its way: staging.cu */
struct vn_load;    /* weights on their way: load.cu */
struct vn_maps;    /* descriptions of matrices: maps.h */

struct vn_cuda {
    struct vn_backend base;
    int index; /* of the device */
    int sm;    /* 90 for compute capability 9.0 */
    int processors; /* multiprocessors, of the device or of the slice that is lent */
    cudaStream_t compute, out;
    cudaEvent_t handoff; /* compute -> out */
    struct vn_lt *lt;
    struct vn_staging *staging;
    void *product;        /* of standard attention: rows before they are added */
    size_t product_bytes; /* grown at need, then kept */
    struct vn_load *load;
    struct vn_loading times;
    struct vn_maps *maps; /* of compute capability 9.0 */
    cudaEvent_t *stamps; /* [VN_STAMPS], from the first stamp on; made at need */
};

/* Status of a CUDA error: what the device has not got is VN_EBUSY, no device
 * VN_ENODEVICE. A GPU that is there and does not work is VN_EFAIL: "auto" may not take the
 * CPU instead without being told. */
int vn_cuda_status(cudaError_t e);

/* That status, with the error's name behind `what`. */
int vn_cuda_failed(cudaError_t e, const char *what, struct vn_error *err);

/* Makes the backend's device the current one of this thread. */
int vn_cuda_enter(struct vn_backend *b, struct vn_cuda **c, struct vn_error *err);

/* VN_OK, or the failure of the kernel of `op` just launched over rows x width. */
int vn_cuda_launched(const char *op, int64_t rows, int64_t width, struct vn_error *err);

/* staging.cu: copies. NULL is legal to close. */
int vn_staging_open(struct vn_cuda *c, struct vn_error *err);
void vn_staging_close(struct vn_cuda *c);

/* load.cu: weights. An arrival stands for the weights that belong together; all zero
 * before the first vn_load_add. */
struct vn_arrival {
    int64_t missing; /* pieces that are not queued yet; under the loader's lock */
    bool dropped;    /* nobody needs them any more; likewise */
    bool passed;     /* the compute stream waits for them */
};

/* Device memory for weights, in few large blocks; released together, block by block. */
int vn_load_alloc(struct vn_cuda *c, size_t bytes, void **out, struct vn_error *err);
void vn_load_release(struct vn_cuda *c, void *p);

/* Will copy n values from the host and convert them. `host` must stay until vn_load_need
 * or vn_load_drop has returned. */
int vn_load_add(struct vn_cuda *c, const void *host, enum vn_dtype from, void *device,
                enum vn_dtype to, int64_t n, struct vn_arrival *a, struct vn_error *err);

/* What is queued for computing after this sees the weights. */
int vn_load_need(struct vn_cuda *c, struct vn_arrival *a, struct vn_error *err);

/* Before an arrival is freed: waits until nobody will write to it. */
void vn_load_drop(struct vn_cuda *c, struct vn_arrival *a);

int vn_load_open(struct vn_cuda *c, int threads, struct vn_loading *times,
                 struct vn_error *err);
void vn_load_close(struct vn_cuda *c); /* nothing may be on its way */

/* y[i] = x[i] rounded to nearest even, among f32, f16 and bf16; both on the device. */
int vn_cuda_cast(struct vn_cuda *c, const void *x, enum vn_dtype from, void *y,
                 enum vn_dtype to, int64_t n, struct vn_error *err);

int vn_cuda_cast_on(cudaStream_t stream, const void *x, enum vn_dtype from, void *y,
                    enum vn_dtype to, int64_t n, struct vn_error *err);

/* y[i] = gelu_erf(y[i]), n values of the activation type. */
int vn_cuda_gelu(struct vn_cuda *c, void *y, int64_t n, struct vn_error *err);

/* y [rows, n] = gelu_erf(g[:, :n]) * g[:, n:], g [rows, 2 n]; both of the activation type. */
int vn_cuda_glu(struct vn_cuda *c, const void *g, void *y, int64_t rows, int64_t n,
                struct vn_error *err);

/* attn with activations in f32. */
int vn_cuda_attn_f32(struct vn_cuda *c, const struct vn_seqs *s,
                     const struct vn_attn_args *a, struct vn_error *err);

/* attn with activations in 16 bits, a sequence in each block of `warps` warps; of longer
 * sequences, of more than 16 tokens a warp, nothing. */
int vn_cuda_attn_short(struct vn_cuda *c, int warps, const struct vn_seqs *s,
                       const struct vn_attn_args *a, struct vn_error *err);

/* attn of the records of more than VN_TILE_ATTN_LONG tokens, with heads of 64 in 16 bits, on
 * compute capability 9.0. */
int vn_cuda_attn_hopper(struct vn_cuda *c, const struct vn_seqs *s,
                        const struct vn_attn_args *a, struct vn_error *err);

/* linear with sides of any size: weight [n_out, n_in] act type, bias [n_out] f32. */
int vn_cuda_gemm_any(struct vn_cuda *c, const struct vn_linear_args *a,
                     const void *weight, const float *bias, int64_t n_out, int64_t n_in,
                     struct vn_error *err);

/* hgemm.cu: own products on Hopper, their epilogues inside. Whether one is to be used for
 * this matrix; the bytes that its bias, f32, must have room for (the rest is not read into
 * any result). Weight and bias stay the caller's, and must stay; NULL is legal to free. */
struct vn_hgemm;
bool vn_hgemm_fits(const struct vn_cuda *c, const struct vn_matrix_spec *s);
size_t vn_hgemm_bias_bytes(int64_t n_out);
int vn_hgemm_new(struct vn_cuda *c, const struct vn_matrix_spec *s, const void *weight,
                 const float *bias, struct vn_hgemm **out, struct vn_error *err);
void vn_hgemm_free(struct vn_hgemm *h);
int vn_hgemm_run(struct vn_cuda *c, struct vn_hgemm *h, const void *x, void *y, int64_t rows,
                 struct vn_error *err);

/* hgemm_norm.cu: a product that is added to the residual and the norm of that, in one, on
 * Hopper. *out is NULL where there is none for this matrix. Weight and bias stay the caller's,
 * and must stay; NULL is legal to free. a [rows, d] act type; norm->x is added to, norm->y
 * may be a. */
struct vn_hgemm_norm;
int vn_hgemm_norm_new(struct vn_cuda *c, const struct vn_matrix_spec *s, const void *weight,
                      const float *bias, struct vn_hgemm_norm **out, struct vn_error *err);
void vn_hgemm_norm_free(struct vn_hgemm_norm *h);
int vn_hgemm_norm_run(struct vn_cuda *c, struct vn_hgemm_norm *h, const void *a,
                      const struct vn_norm_args *norm, struct vn_error *err);

/* linear.cu: both in one, for a matrix that has a kernel for it. */
bool vn_cuda_matrix_norm(const struct vn_matrix *m);
int vn_cuda_linear_norm(struct vn_backend *b, const struct vn_linear_args *a,
                        const struct vn_norm_args *norm, struct vn_error *err);

/* lt.cu: begins to load cuBLASLt, which is large, beside whatever comes next. */
int vn_lt_begin(struct vn_cuda *c, struct vn_error *err);

/* Waits for that (VN_EFAIL when it is not there: a GPU is) and starts it; `key` is what
 * plans are kept for. NULL is legal to close. */
int vn_lt_open(struct vn_cuda *c, const char *key, struct vn_error *err);
void vn_lt_close(struct vn_cuda *c);
size_t vn_lt_version(const struct vn_lt *lt);

/* A product y = x W' + b, or y += it, with both sides multiples of 8: weight [n_out, n_in]
 * act type, bias [n_out] of y's type, which stay the caller's. May wait for the weights.
 * NULL is legal to free. */
struct vn_lt_product;
int vn_lt_new(struct vn_cuda *c, int64_t n_out, int64_t n_in, bool residual,
              const void *weight, const void *bias, struct vn_arrival *arrival,
              struct vn_lt_product **out, struct vn_error *err);
void vn_lt_free(struct vn_cuda *c, struct vn_lt_product *m);
int vn_lt_run(struct vn_cuda *c, const struct vn_lt_product *m, const void *x, void *y,
              int64_t n_tok, struct vn_error *err);

/* stamp.cu: time i as the stream gets there. */
int vn_cuda_stamp_on(struct vn_cuda *c, cudaStream_t stream, int i, struct vn_error *err);
void vn_cuda_stamps_release(struct vn_cuda *c);

/* n_out. */
int64_t vn_cuda_matrix_rows(const struct vn_matrix *m);

/* standard.cu: makes the table that of standard attention. */
void vn_cuda_standard_overlay(struct vn_cuda *c);

/* Entries of the table, one file each. */
int vn_cuda_stamp(struct vn_backend *b, int i, struct vn_error *err);
int vn_cuda_between(struct vn_backend *b, int i, int j, double *seconds,
                    struct vn_error *err);
int vn_cuda_alloc(struct vn_backend *b, size_t bytes, void **out, struct vn_error *err);
void vn_cuda_release(struct vn_backend *b, void *p);
int vn_cuda_copy_in(struct vn_backend *b, void *device, const void *host, size_t bytes,
                    struct vn_error *err);
int vn_cuda_copy_out(struct vn_backend *b, void *host, const void *device, size_t bytes,
                     struct vn_error *err);
int vn_cuda_expect(struct vn_backend *b, size_t in, size_t out, struct vn_error *err);
int vn_cuda_mark(struct vn_backend *b, int slot, struct vn_error *err);
int vn_cuda_wait(struct vn_backend *b, int slot, struct vn_error *err);
int vn_cuda_matrix_new(struct vn_backend *b, const struct vn_matrix_spec *s,
                       struct vn_matrix **out, struct vn_error *err);
void vn_cuda_matrix_free(struct vn_backend *b, struct vn_matrix *m);
int vn_cuda_embed(struct vn_backend *b, const struct vn_seqs *s,
                  const struct vn_embed_args *a, struct vn_error *err);
int vn_cuda_norm(struct vn_backend *b, const struct vn_norm_args *a,
                 struct vn_error *err);
int vn_cuda_linear(struct vn_backend *b, const struct vn_linear_args *a,
                   struct vn_error *err);
int vn_cuda_rows(struct vn_backend *b, const struct vn_row_stage *stages, int n,
                 struct vn_error *err);
int vn_cuda_together(struct vn_backend *b, const struct vn_row_stage *stages, int n);
int vn_cuda_attn(struct vn_backend *b, const struct vn_seqs *s,
                 const struct vn_attn_args *a, struct vn_error *err);
int vn_cuda_pool(struct vn_backend *b, const struct vn_seqs *s,
                 const struct vn_pool_args *a, struct vn_error *err);
int vn_cuda_finite(struct vn_backend *b, const struct vn_seqs *s, const float *x,
                   int64_t d, uint8_t *bad, struct vn_error *err);
int vn_cuda_convert(struct vn_backend *b, const float *x, void *y, enum vn_dtype y_type,
                    int64_t n, struct vn_error *err);

#endif
