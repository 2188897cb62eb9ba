/* cpu_ref.c - every operation as plain loops: the specification of backend.h.
 *
 * Values are read in their storage type, computed in double, and rounded once when they
 * are stored. Nothing here is fast; nothing here may be clever. */
#include "cpu.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct vn_matrix {
    int64_t n_out, n_in;
    float *weight; /* [n_out, n_in], rounded to the activation type */
    float *bias;   /* [n_out] */
};

/* ---- memory and order ------------------------------------------------------------ */

static int ref_available(struct vn_backend *b, size_t *bytes, struct vn_error *err) {
    (void)b;
    (void)err;
    *bytes = SIZE_MAX;
    return VN_OK;
}

static int ref_alloc(struct vn_backend *b, size_t bytes, void **out,
                     struct vn_error *err) {
    (void)b;
    *out = NULL;
    if (bytes <= SIZE_MAX - VN_ALIGN)
        *out = aligned_alloc(VN_ALIGN, vn_round_up(bytes ? bytes : 1, VN_ALIGN));
    if (!*out)
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu bytes", bytes);
    return VN_OK;
}

static void ref_release(struct vn_backend *b, void *p) {
    (void)b;
    free(p);
}

/* Either direction: everything has run when a call returns. */
static int ref_copy(struct vn_backend *b, void *to, const void *from, size_t bytes,
                    struct vn_error *err) {
    (void)b;
    (void)err;
    if (bytes)
        memcpy(to, from, bytes);
    return VN_OK;
}

static int ref_mark(struct vn_backend *b, int slot, struct vn_error *err) {
    (void)b;
    if (slot < 0 || slot >= VN_SLOTS)
        return vn_fail(err, VN_EINTERNAL, "mark %d of %d", slot, VN_SLOTS);
    return VN_OK;
}

static int ref_stamp(struct vn_backend *b, int i, struct vn_error *err) {
    struct vn_cpu_ref *c = (struct vn_cpu_ref *)b;
    struct timespec t;
    if (i < 0 || i >= VN_STAMPS)
        return vn_fail(err, VN_EINTERNAL, "time %d of %d", i, VN_STAMPS);
    int rc = vn_buf_resize(&c->stamps, VN_STAMPS * sizeof(double), err);
    if (rc < 0)
        return rc;
    clock_gettime(CLOCK_MONOTONIC, &t);
    ((double *)(void *)c->stamps.data)[i] = (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
    return VN_OK;
}

static int ref_between(struct vn_backend *b, int i, int j, double *seconds,
                       struct vn_error *err) {
    const struct vn_cpu_ref *c = (struct vn_cpu_ref *)b;
    const double *times = (const double *)(const void *)c->stamps.data;
    if (!times || i < 0 || j < 0 || i >= VN_STAMPS || j >= VN_STAMPS)
        return vn_fail(err, VN_EINTERNAL, "no time from %d to %d", i, j);
    *seconds = times[j] - times[i];
    return VN_OK;
}

static void ref_close(struct vn_backend *b) {
    struct vn_cpu_ref *c = (struct vn_cpu_ref *)b;
    vn_buf_release(&c->stamps);
    vn_buf_release(&c->scratch);
    free(c);
}

/* ---- embed ----------------------------------------------------------------------- */

double vn_cpu_embed_scale(const struct vn_seqs *s, const struct vn_embed_args *a,
                          int64_t b) {
    if (a->mask_token < 0)
        return 1;
    int64_t masks = 0, n = s->host[b + 1] - s->host[b];
    for (int64_t t = s->host[b]; t < s->host[b + 1]; t++)
        masks += a->tokens[t] == a->mask_token;
    return (1 - 0.15 * 0.8) / (1 - (double)masks / (double)n);
}

static int ref_embed(struct vn_backend *be, const struct vn_seqs *s,
                     const struct vn_embed_args *a, struct vn_error *err) {
    (void)be;
    (void)err;
    for (int64_t b = 0; b < s->n_seq; b++) {
        double scale = vn_cpu_embed_scale(s, a, b);
        for (int64_t t = s->host[b]; t < s->host[b + 1]; t++) {
            const float *row = a->table + a->tokens[t] * a->d;
            double k = a->tokens[t] == a->mask_token ? 0 : scale;
            for (int64_t j = 0; j < a->d; j++)
                a->x[t * a->d + j] = (float)(row[j] * k);
        }
    }
    return VN_OK;
}

/* ---- norm ------------------------------------------------------------------------ */

static int ref_norm(struct vn_backend *be, const struct vn_norm_args *a,
                    struct vn_error *err) {
    (void)err;
    for (int64_t t = 0; t < a->n_tok; t++) {
        const float *x = a->x + t * a->d;
        double mean = 0, var = 0;
        for (int64_t j = 0; j < a->d; j++)
            mean += x[j];
        mean /= (double)a->d;
        for (int64_t j = 0; j < a->d; j++)
            var += (x[j] - mean) * (x[j] - mean);
        var /= (double)a->d;
        double scale = 1 / sqrt(var + a->eps);
        for (int64_t j = 0; j < a->d; j++) {
            double y = (x[j] - mean) * scale * a->gamma[j] + a->beta[j];
            vn_cpu_store(a->y, a->y_type, t * a->d + j, (float)y);
            if (a->also)
                vn_cpu_store(a->also, be->act, t * a->d + j, (float)y);
        }
    }
    return VN_OK;
}

/* ---- linear ---------------------------------------------------------------------- */

void vn_cpu_weight_row(const struct vn_matrix_spec *s, enum vn_dtype act, int64_t r,
                       float *row) {
    int64_t rows = s->n_out / s->n_parts;
    const void *part = s->weight[r / rows];
    for (int64_t i = 0; i < s->n_in; i++)
        row[i] = vn_cpu_round(act, vn_cpu_load(part, s->type, r % rows * s->n_in + i));
}

float vn_cpu_bias(const struct vn_matrix_spec *s, int64_t r) {
    int64_t rows = s->n_out / s->n_parts;
    const void *part = s->bias[r / rows];
    return part ? vn_cpu_load(part, s->type, r % rows) : 0;
}

static void ref_matrix_free(struct vn_backend *b, struct vn_matrix *m) {
    (void)b;
    if (m) {
        free(m->weight);
        free(m->bias);
        free(m);
    }
}

static int ref_matrix_new(struct vn_backend *b, const struct vn_matrix_spec *s,
                          struct vn_matrix **out, struct vn_error *err) {
    size_t n;
    *out = NULL;
    if (!vn_mul((size_t)s->n_out, (size_t)s->n_in, &n))
        return vn_fail(err, VN_EFAIL, "cannot allocate a matrix of %lld x %lld",
                       (long long)s->n_out, (long long)s->n_in);
    struct vn_matrix *m = vn_calloc(1, sizeof *m, err);
    if (!m)
        return VN_EFAIL;
    m->n_out = s->n_out;
    m->n_in = s->n_in;
    m->weight = vn_calloc(n, sizeof(float), err);
    m->bias = vn_calloc((size_t)s->n_out, sizeof(float), err);
    if (!m->weight || !m->bias) {
        ref_matrix_free(b, m);
        return VN_EFAIL;
    }
    for (int64_t r = 0; r < s->n_out; r++) {
        vn_cpu_weight_row(s, b->act, r, m->weight + r * s->n_in);
        m->bias[r] = vn_cpu_bias(s, r);
    }
    *out = m;
    return VN_OK;
}

/* Column o of x W' + b of row t. */
static double ref_product(const struct vn_linear_args *a, enum vn_dtype act, int64_t t,
                          int64_t o) {
    const struct vn_matrix *m = a->w;
    const float *w = m->weight + o * m->n_in;
    double y = 0;
    for (int64_t j = 0; j < m->n_in; j++)
        y += (double)vn_cpu_load(a->x, act, t * m->n_in + j) * w[j];
    return y + m->bias[o];
}

static double ref_gelu(double x) {
    return 0.5 * x * (1 + erf(x * sqrt(0.5)));
}

static int ref_linear(struct vn_backend *b, const struct vn_linear_args *a,
                      struct vn_error *err) {
    (void)err;
    const int64_t n = a->epilogue == VN_EPI_GLU ? a->w->n_out / 2 : a->w->n_out;
    for (int64_t t = 0; t < a->n_tok; t++) {
        for (int64_t o = 0; o < n; o++) {
            int64_t i = t * n + o;
            double y = ref_product(a, b->act, t, o);
            if (a->epilogue == VN_EPI_GELU)
                y = ref_gelu(y);
            if (a->epilogue == VN_EPI_GLU)
                y = ref_gelu(y) * ref_product(a, b->act, t, n + o);
            if (a->epilogue == VN_EPI_RESIDUAL)
                ((float *)a->y)[i] = (float)(y + ((const float *)a->y)[i]);
            else
                vn_cpu_store(a->y, b->act, i, (float)y);
        }
    }
    return VN_OK;
}

/* ---- attn ------------------------------------------------------------------------ */

/* Row of a head at position p, rotated if there are tables, in double. */
static void ref_rope(const struct vn_attn_args *a, enum vn_dtype act, int64_t at,
                     int64_t p, double *out) {
    int k = a->d_head, half = k / 2;
    for (int i = 0; i < k; i++)
        out[i] = vn_cpu_load(a->qkv, act, at + i);
    if (!a->rope_cos)
        return;
    for (int i = 0; i < half; i++) {
        double c = a->rope_cos[p * half + i], s = a->rope_sin[p * half + i];
        double x = out[i], y = out[i + half];
        out[i] = x * c - y * s;
        out[i + half] = y * c + x * s;
    }
}

/* One head of the sequence of n tokens that starts at row t0; q [K], k [n, K], p [n]. */
static void ref_attn_head(const struct vn_attn_args *a, enum vn_dtype act, int64_t t0,
                          int64_t n, int head, double *q, double *k, double *p) {
    int64_t hk = (int64_t)a->n_heads * a->d_head, at = t0 * 3 * hk + head * a->d_head;
    for (int64_t j = 0; j < n; j++)
        ref_rope(a, act, at + hk + j * 3 * hk, j, k + j * a->d_head);
    for (int64_t i = 0; i < n; i++) {
        double max = -INFINITY, sum = 0;
        ref_rope(a, act, at + i * 3 * hk, i, q);
        for (int64_t j = 0; j < n; j++) {
            double dot = 0;
            for (int c = 0; c < a->d_head; c++)
                dot += q[c] * k[j * a->d_head + c];
            p[j] = dot / sqrt(a->d_head);
            if (a->alibi)
                p[j] -= a->alibi[head] * (double)llabs(i - j);
            max = p[j] > max ? p[j] : max;
        }
        for (int64_t j = 0; j < n; j++) {
            p[j] = exp(p[j] - max);
            sum += p[j];
        }
        for (int c = 0; c < a->d_head; c++) {
            double y = 0;
            for (int64_t j = 0; j < n; j++)
                y += p[j] * vn_cpu_load(a->qkv, act, at + 2 * hk + j * 3 * hk + c);
            vn_cpu_store(a->out, act, (t0 + i) * hk + head * a->d_head + c,
                         (float)(y / sum));
        }
    }
}

static int ref_attn(struct vn_backend *be, const struct vn_seqs *s,
                    const struct vn_attn_args *a, struct vn_error *err) {
    struct vn_cpu_ref *c = (struct vn_cpu_ref *)be;
    size_t k = (size_t)a->d_head, n = (size_t)s->max_len;
    int rc = vn_buf_reserve(&c->scratch, (k + n * k + n) * sizeof(double), err);
    if (rc)
        return rc;
    double *q = (double *)(void *)c->scratch.data;
    for (int64_t b = 0; b < s->n_seq; b++)
        for (int h = 0; h < a->n_heads; h++)
            ref_attn_head(a, be->act, s->host[b], s->host[b + 1] - s->host[b], h, q,
                          q + k, q + k + n * k);
    return VN_OK;
}

/* ---- pool, finite, convert ------------------------------------------------------- */

static int ref_pool(struct vn_backend *be, const struct vn_seqs *s,
                    const struct vn_pool_args *a, struct vn_error *err) {
    (void)be;
    (void)err;
    for (int64_t b = 0; b < s->n_seq; b++) {
        int64_t n = s->host[b + 1] - s->host[b];
        if (n > 0)
            vn_pool_rows(a->pool, a->x + s->host[b] * a->d, n, a->d, a->out + b * a->d);
        else
            memset(a->out + b * a->d, 0, (size_t)a->d * sizeof(float));
    }
    return VN_OK;
}

static int ref_finite(struct vn_backend *be, const struct vn_seqs *s, const float *x,
                      int64_t d, uint8_t *bad, struct vn_error *err) {
    (void)be;
    (void)err;
    for (int64_t b = 0; b < s->n_seq; b++) {
        bad[b] = 0;
        for (int64_t i = s->host[b] * d; i < s->host[b + 1] * d; i++)
            if (!isfinite(x[i]))
                bad[b] = 1;
    }
    return VN_OK;
}

static int ref_convert(struct vn_backend *be, const float *x, void *y,
                       enum vn_dtype y_type, int64_t n, struct vn_error *err) {
    (void)be;
    (void)err;
    for (int64_t i = 0; i < n; i++)
        vn_cpu_store(y, y_type, i, x[i]);
    return VN_OK;
}

/* ---- the table ------------------------------------------------------------------- */

static const struct vn_backend_ops ref_ops = {
    .name = "cpu-reference",
    .alloc = ref_alloc,
    .available = ref_available,
    .release = ref_release,
    .copy_in = ref_copy,
    .copy_out = ref_copy,
    .mark = ref_mark,
    .wait = ref_mark,
    .stamp = ref_stamp,
    .between = ref_between,
    .matrix_new = ref_matrix_new,
    .matrix_free = ref_matrix_free,
    .embed = ref_embed,
    .norm = ref_norm,
    .linear = ref_linear,
    .attn = ref_attn,
    .pool = ref_pool,
    .finite = ref_finite,
    .convert = ref_convert,
    .close = ref_close,
};

int vn_cpu_ref_init(struct vn_cpu_ref *c, enum vn_dtype act, struct vn_error *err) {
    if (act != VN_F32 && act != VN_BF16 && act != VN_F16)
        return vn_fail(err, VN_EINCOMPAT,
                       "activations of type %d: expected f32, bf16 or f16", (int)act);
    c->base.ops = ref_ops;
    c->base.act = act;
    c->base.attention = VN_ATTN_FLASH;
    strcpy(c->base.device, "cpu (reference)");
    return VN_OK;
}

int vn_cpu_reference_open(const struct vn_backend_options *o, struct vn_backend **out,
                          struct vn_error *err) {
    *out = NULL;
    const bool standard = o->attention == VN_ATTN_STANDARD;
    struct vn_cpu_ref *c = vn_calloc(1, sizeof *c, err);
    if (!c)
        return VN_EFAIL;
    int rc = vn_cpu_ref_init(c, standard ? VN_F32 : o->act, err);
    if (rc)
        free(c);
    else if (standard)
        rc = vn_cpu_standard_open(&c->base, out, err);
    else
        *out = &c->base;
    return rc;
}
