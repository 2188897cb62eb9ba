/* cpu.h - what the files of the CPU backends share; of others only mlp.c includes it.
 *
 * Two backends: the reference (cpu_ref.c), plain loops in double, the specification; and
 * the fast one (cpu.c), whose table starts as the reference's and is overlaid. */
#ifndef VN_CPU_H
#define VN_CPU_H

#include "backend.h"
#include "mem.h"
#include "num.h"
#include "par.h"

/* The reference backend, and the beginning of the fast one. */
struct vn_cpu_ref {
    struct vn_backend base;
    struct vn_buf scratch; /* of attn: grown at need, then kept */
    struct vn_buf stamps;  /* [VN_STAMPS] double, from the first stamp on */
};

/* Fills the table with the reference's operations. VN_EINCOMPAT for an unknown act. */
int vn_cpu_ref_init(struct vn_cpu_ref *c, enum vn_dtype act,
                    struct vn_error *err) VN_NODISCARD;

/* Standard attention over `inner`, a CPU backend in f32 that multiplies and is taken over
 * (also on failure): cpu_standard.c. */
int vn_cpu_standard_open(struct vn_backend *inner, struct vn_backend **out,
                         struct vn_error *err) VN_NODISCARD;

/* Element i of an array of VN_F32, VN_BF16 or VN_F16. */
static inline float vn_cpu_load(const void *p, enum vn_dtype type, int64_t i) {
    switch (type) {
    case VN_BF16: return vn_bf16_to_f32(((const uint16_t *)p)[i]);
    case VN_F16: return vn_f16_to_f32(((const uint16_t *)p)[i]);
    default: return ((const float *)p)[i];
    }
}
static inline void vn_cpu_store(void *p, enum vn_dtype type, int64_t i, float v) {
    switch (type) {
    case VN_BF16: ((uint16_t *)p)[i] = vn_f32_to_bf16(v); break;
    case VN_F16: ((uint16_t *)p)[i] = vn_f32_to_f16(v); break;
    default: ((float *)p)[i] = v; break;
    }
}

static inline float vn_cpu_round(enum vn_dtype type, float v) {
    switch (type) {
    case VN_BF16: return vn_bf16_to_f32(vn_f32_to_bf16(v));
    case VN_F16: return vn_f16_to_f32(vn_f32_to_f16(v));
    default: return v;
    }
}

/* Row r of the stacked weights, as f32 values rounded to `act`: what every CPU backend
 * multiplies with. And bias r, f32, not rounded. */
void vn_cpu_weight_row(const struct vn_matrix_spec *s, enum vn_dtype act, int64_t r,
                       float *row);
float vn_cpu_bias(const struct vn_matrix_spec *s, int64_t r);

/* What all embed entries scale sequence b by: see struct vn_embed_args. */
double vn_cpu_embed_scale(const struct vn_seqs *s, const struct vn_embed_args *a,
                          int64_t b);

/* ---- the fast backend ------------------------------------------------------------ */

/* One head of one sequence: rows of q, k, v are `stride` elements apart. */
struct vn_cpu_head {
    const void *q, *k, *v; /* [n, K] act */
    void *out;             /* [n, K] act */
    int64_t n;
    int64_t in_stride, out_stride; /* elements between rows */
    int64_t next; /* elements from here to the head that this worker takes next; 0: not known */
    int d_head;
    const float *rope_cos,
        *rope_sin; /* [K / 2, rope_stride], position fastest; or NULL */
    int64_t rope_stride;
    float slope; /* of ALiBi; 0: none */
    enum vn_dtype act;
    float *scratch; /* attn_scratch(n, K) floats, 64-byte aligned */
};

/* y [rows, n_out] = x W' + b, with an epilogue other than VN_EPI_GLU. */
struct vn_cpu_gemm {
    const float *x;     /* [rows up to the next multiple of 8, n_in] */
    const void *panels; /* packed W, act */
    const float *bias;
    void *y;
    enum vn_epilogue epilogue;
    enum vn_dtype act, y_type;
    int64_t rows, n_in, n_out;
};

/* The kernels of one instruction set: cpu_kernels.h compiled with its flags. */
struct vn_cpu_kernels {
    const char *name;
    int gemm_cols; /* columns of a packed weight panel */
    void (*norm)(const struct vn_norm_args *a, enum vn_dtype act, int64_t t0, int64_t t1);
    void (*scale)(const float *x, float k, float *y, int64_t n); /* y = k x */
    void (*attn)(const struct vn_cpu_head *h);
    size_t (*attn_scratch)(int64_t n, int d_head); /* floats */
    bool (*finite)(const float *x, int64_t n);     /* all of them */
    void (*convert)(const float *x, void *y, enum vn_dtype type, int64_t n);
    void (*widen)(const void *x, enum vn_dtype type, float *y, int64_t n); /* f32, f16, bf16 */
    /* y [rows, n] = gelu(x[:, :n]) * x[:, n:], x [rows, 2 n] */
    void (*glu)(const float *x, void *y, enum vn_dtype type, int64_t rows, int64_t n);
    void (*gemm)(const struct vn_cpu_gemm *g);
};

extern const struct vn_cpu_kernels vn_cpu_generic, vn_cpu_avx2, vn_cpu_avx512;

/* Rows of a block of `linear`. Every block is computed by the same code whatever its rows
 * are, the last one padded with zero rows to a multiple of 8: that is what makes rows
 * independent of the batch. */
#define VN_CPU_ROWS 64

struct vn_cpu {
    struct vn_cpu_ref ref; /* first */
    const struct vn_cpu_kernels *k;
    struct vn_team *team;
    int n_workers;
    struct vn_buf *work;      /* [n_workers] scratch: grown at need, then kept */
    struct vn_buf rope;       /* both rope tables of the current call, transposed */
    struct vn_cpu_dnnl *dnnl; /* NULL: own matrix products */
};

/* Makes `bytes` of scratch memory for every worker. */
int vn_cpu_reserve(struct vn_cpu *c, size_t bytes, struct vn_error *err) VN_NODISCARD;

/* Rows of one block, at most VN_CPU_ROWS. */
struct vn_cpu_block {
    const void *x;
    void *y;
    int64_t rows;
    int worker;
    uint8_t *room; /* scratch memory, 64-byte aligned */
};

/* What struct vn_matrix of the fast backend begins with. */
struct vn_cpu_matrix {
    int64_t n_out, n_in;
    enum vn_epilogue epilogue;
    size_t room; /* bytes of scratch memory for a block */
    /* linear for a block. 0, or oneDNN's status. */
    int (*multiply)(const struct vn_cpu *c, const struct vn_matrix *m,
                    const struct vn_cpu_block *k);
    void (*free)(struct vn_matrix *m);
};

/* norm, linear, rows, matrix_free: cpu_rows.c. */
void vn_cpu_rows_overlay(struct vn_backend_ops *ops);

/* matrix_new over the kernels' gemm. */
int vn_cpu_matrix_new(struct vn_backend *b, const struct vn_matrix_spec *s,
                      struct vn_matrix **out, struct vn_error *err) VN_NODISCARD;

/* matrix_new through oneDNN where that is faster; its name and version for people.
 * VN_ENODEVICE when it is not built in or has no fast code for the precision here. */
int vn_cpu_dnnl_overlay(struct vn_cpu *c, char name[32],
                        struct vn_error *err) VN_NODISCARD;
void vn_cpu_dnnl_close(struct vn_cpu *c);

/* vn_cpu_open with the choices made, so that tests can run all of them: kernels that this
 * processor has, and oneDNN, or own matrix products. */
int vn_cpu_open_with(const struct vn_backend_options *o, const struct vn_cpu_kernels *k,
                     bool dnnl, struct vn_backend **out,
                     struct vn_error *err) VN_NODISCARD;

/* The i-th best kernels that this processor can run; NULL after the last. */
const struct vn_cpu_kernels *vn_cpu_kernels_at(int i);

#endif
