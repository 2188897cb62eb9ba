/* linear.cu - the entry `linear`: weights, and who computes the product. Own kernels where
 * they are the better choice (hgemm.cu), cuBLASLt elsewhere (lt.cu), and plain loops for
 * sides that neither takes (gemm_any.cu). What of an epilogue is not in the product follows
 * it as a kernel of its own (act.cu). */
#include <stdlib.h>

#include "cuda_int.h"

struct vn_matrix {
    int64_t n_out, n_in;
    enum vn_epilogue epilogue;
    void *weight; /* [n_out, n_in] act type */
    void *bias;   /* [n_out]; f32, but for cuBLASLt's products of act type */
    mutable struct vn_arrival arrival;
    struct vn_hgemm *hopper;  /* who computes it; if neither: */
    struct vn_lt_product *lt; /* gemm_any.cu */
    struct vn_hgemm_norm *norm; /* with the norm behind it, or NULL */
};

/* ---- matrices -------------------------------------------------------------------- */

void vn_cuda_matrix_free(struct vn_backend *be, struct vn_matrix *m) {
    struct vn_cuda *c = (struct vn_cuda *)be;
    if (!m)
        return;
    vn_hgemm_free(m->hopper);
    vn_hgemm_norm_free(m->norm);
    vn_lt_free(c, m->lt);
    vn_load_drop(c, &m->arrival);
    vn_load_release(c, m->weight);
    vn_load_release(c, m->bias);
    free(m);
}

/* Asks for the parts of the weights and biases, one after the other. */
static int upload(struct vn_cuda *c, struct vn_matrix *m, const struct vn_matrix_spec *s,
                  enum vn_dtype bias_type, struct vn_error *err) {
    int64_t rows = s->n_out / s->n_parts, n = rows * s->n_in;
    size_t size = vn_dtype_size(c->base.act), bias_size = vn_dtype_size(bias_type);
    int rc = vn_load_alloc(c, (size_t)s->n_out * (size_t)s->n_in * size, &m->weight, err);
    if (!rc)
        rc = vn_load_alloc(c,
                           bias_type == VN_F32 ? vn_hgemm_bias_bytes(s->n_out)
                                               : (size_t)s->n_out * bias_size,
                           &m->bias, err);
    for (int i = 0; i < s->n_parts && !rc; i++) {
        rc = vn_load_add(c, s->weight[i], s->type,
                         (char *)m->weight + (size_t)i * (size_t)n * size, c->base.act, n,
                         &m->arrival, err);
        if (!rc && s->bias[i])
            rc = vn_load_add(c, s->bias[i], s->type,
                             (char *)m->bias + (size_t)i * (size_t)rows * bias_size,
                             bias_type, rows, &m->arrival, err);
    }
    if (!rc && !s->bias[0]) {
        cudaError_t e =
            cudaMemsetAsync(m->bias, 0, (size_t)s->n_out * bias_size, c->compute);
        if (e)
            rc = vn_fail(err, vn_cuda_status(e), "cuda: cannot clear a bias: %s",
                         cudaGetErrorString(e));
    }
    if (!rc && !s->stays)
        rc = vn_load_need(c, &m->arrival, err);
    return rc;
}

/* Weights and bias on their way, and a plan for the product. Standard attention has biases
 * in half, which ours do not. */
static int prepare(struct vn_cuda *c, struct vn_matrix *m, const struct vn_matrix_spec *s,
                   struct vn_error *err) {
    const bool any = s->n_out % 8 || s->n_in % 8, flash = c->base.attention == VN_ATTN_FLASH;
    const bool hopper = flash && vn_hgemm_fits(c, s);
    const bool residual = s->epilogue == VN_EPI_RESIDUAL;
    int rc = upload(c, m, s, any || hopper || residual ? VN_F32 : c->base.act, err);
    if (rc || any)
        return rc;
    if (hopper)
        return vn_hgemm_new(c, s, m->weight, (const float *)m->bias, &m->hopper, err);
    if (flash && residual)
        rc = vn_hgemm_norm_new(c, s, m->weight, (const float *)m->bias, &m->norm, err);
    if (rc)
        return rc;
    return vn_lt_new(c, s->n_out, s->n_in, residual, m->weight, m->bias, &m->arrival, &m->lt,
                     err);
}

int vn_cuda_matrix_new(struct vn_backend *be, const struct vn_matrix_spec *s,
                       struct vn_matrix **out, struct vn_error *err) {
    struct vn_cuda *c;
    *out = NULL;
    int rc = vn_cuda_enter(be, &c, err);
    if (rc)
        return rc;
    struct vn_matrix *m = (struct vn_matrix *)calloc(1, sizeof *m);
    if (!m)
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu bytes", sizeof *m);
    m->n_out = s->n_out;
    m->n_in = s->n_in;
    m->epilogue = s->epilogue;
    rc = prepare(c, m, s, err);
    if (rc)
        vn_cuda_matrix_free(be, m);
    else
        *out = m;
    return rc;
}

int64_t vn_cuda_matrix_rows(const struct vn_matrix *m) {
    return m->n_out;
}

bool vn_cuda_matrix_norm(const struct vn_matrix *m) {
    return m->norm;
}

/* ---- linear ---------------------------------------------------------------------- */

/* The product as it is without its epilogue, but for the residual: a gate's operands wait
 * in `wide`. */
static int multiply(struct vn_cuda *c, const struct vn_linear_args *a, struct vn_error *err) {
    const struct vn_matrix *m = a->w;
    struct vn_linear_args product = *a;
    if (a->epilogue == VN_EPI_GLU) {
        product.y = a->wide;
        product.epilogue = VN_EPI_BIAS;
    }
    if (m->lt)
        return vn_lt_run(c, m->lt, product.x, product.y, product.n_tok, err);
    return vn_cuda_gemm_any(c, &product, m->weight, (const float *)m->bias, m->n_out, m->n_in,
                            err);
}

int vn_cuda_linear(struct vn_backend *be, const struct vn_linear_args *a,
                   struct vn_error *err) {
    struct vn_cuda *c;
    const struct vn_matrix *m = a->w;
    int rc = vn_cuda_enter(be, &c, err);
    if (rc || !a->n_tok)
        return rc;
    if (a->epilogue != m->epilogue)
        return vn_fail(err, VN_EINTERNAL, "cuda: epilogue %d on a matrix made for %d",
                       (int)a->epilogue, (int)m->epilogue);
    rc = vn_load_need(c, &m->arrival, err);
    if (rc)
        return rc;
    if (m->hopper)
        return vn_hgemm_run(c, m->hopper, a->x, a->y, a->n_tok, err);
    rc = multiply(c, a, err);
    if (!rc && a->epilogue == VN_EPI_GLU)
        return vn_cuda_glu(c, a->wide, a->y, a->n_tok, m->n_out / 2, err);
    if (!rc && a->epilogue == VN_EPI_GELU && m->lt) /* gemm_any.cu has it inside */
        return vn_cuda_gelu(c, a->y, a->n_tok * m->n_out, err);
    return rc;
}

int vn_cuda_linear_norm(struct vn_backend *be, const struct vn_linear_args *a,
                        const struct vn_norm_args *norm, struct vn_error *err) {
    struct vn_cuda *c;
    int rc = vn_cuda_enter(be, &c, err);
    if (rc || !a->n_tok)
        return rc;
    rc = vn_load_need(c, &a->w->arrival, err);
    return rc ? rc : vn_hgemm_norm_run(c, a->w->norm, a->x, norm, err);
}
