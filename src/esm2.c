#include "esm2.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

struct layer {
    float *norm1_w, *norm1_b, *norm2_w, *norm2_b; /* [D] on the device */
    struct vn_matrix *qkv;                        /* [3D, D] */
    struct vn_matrix *out;                        /* [D, D] */
    struct vn_matrix *fc1, *fc2;                  /* [F, D], [D, F] */
};

struct vn_esm2 {
    struct vn_model_config config;
    float *table;           /* [V, D] on the device */
    float *norm_w, *norm_b; /* [D] on the device; NULL unless all layers are here */
    int n_layers;           /* that are here */
    struct layer *layers;
};

/* ---- weights --------------------------------------------------------------------- */

/* A tensor of any float type as f32 on the device. `stage` is host memory of the caller. */
static int upload(struct vn_backend *b, const struct vn_tensor *t, struct vn_buf *stage,
                  float **out, struct vn_error *err) {
    size_t n = 1, bytes;
    void *device = NULL;
    for (int i = 0; i < t->n_dims; i++)
        n *= (size_t)t->shape[i]; /* cannot overflow: safetensors.c checked the file */
    if (!vn_mul(n, sizeof(float), &bytes))
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu x 4 bytes", n);
    int rc = vn_buf_resize(stage, bytes, err);
    if (rc < 0)
        return rc;
    float *host = (float *)(void *)stage->data;
    for (size_t i = 0; i < n; i++)
        host[i] = vn_tensor_at(t, (int64_t)i);
    rc = b->ops.alloc(b, bytes, &device, err);
    if (rc < 0)
        return rc;
    *out = device;
    rc = b->ops.copy_in(b, device, host, bytes, err);
    /* the staging memory is used again for the next tensor */
    if (rc == VN_OK)
        rc = b->ops.mark(b, 0, err);
    return rc < 0 ? rc : b->ops.wait(b, 0, err);
}

struct part {
    const struct vn_tensor *w, *b;
};

/* A tensor's data where its elements are aligned: in the mapping, or copied behind what is
 * in `stage`, which has room. Only files with an odd header need the copy. */
static const void *aligned(const struct vn_tensor *t, struct vn_buf *stage) {
    if ((uintptr_t)t->data % vn_dtype_size(t->type) == 0)
        return t->data;
    uint8_t *copy = stage->data + stage->len;
    memcpy(copy, t->data, t->bytes);
    stage->len += vn_round_up(t->bytes, VN_ALIGN);
    return copy;
}

/* Stacks n_parts linear layers of shape [n_out / n_parts, n_in] into one matrix. */
static int prepare(struct vn_backend *b, const struct part *parts, int n_parts,
                   enum vn_epilogue epilogue, struct vn_buf *stage, struct vn_matrix **out,
                   struct vn_error *err) {
    const struct vn_tensor *first = parts[0].w;
    struct vn_matrix_spec spec = {.type = first->type,
                                  .n_parts = n_parts,
                                  .n_out = n_parts * first->shape[0],
                                  .n_in = first->shape[1],
                                  .epilogue = epilogue};
    size_t room = 0;
    for (int i = 0; i < n_parts; i++) {
        const struct vn_tensor *both[2] = {parts[i].w, parts[i].b};
        for (int k = 0; k < 2; k++) {
            if (both[k]->type != first->type)
                return vn_fail(err, VN_EDATA,
                               "tensor '%s' has another element type than '%s'",
                               both[k]->name, first->name);
            if ((uintptr_t)both[k]->data % vn_dtype_size(first->type))
                room += vn_round_up(both[k]->bytes, VN_ALIGN); /* of a file: no overflow */
        }
    }
    int rc = vn_buf_reserve(stage, room, err);
    if (rc < 0)
        return rc;
    stage->len = 0;
    for (int i = 0; i < n_parts; i++) {
        spec.weight[i] = aligned(parts[i].w, stage);
        spec.bias[i] = aligned(parts[i].b, stage);
    }
    return b->ops.matrix_new(b, &spec, out, err);
}

static int layer_new(struct vn_backend *b, const struct vn_esm2_layer *m, struct layer *l,
                     struct vn_buf *stage, struct vn_error *err) {
    const struct part qkv[3] = {{m->q_w, m->q_b}, {m->k_w, m->k_b}, {m->v_w, m->v_b}};
    const struct part out = {m->out_w, m->out_b};
    const struct part fc1 = {m->fc1_w, m->fc1_b}, fc2 = {m->fc2_w, m->fc2_b};
    int rc = prepare(b, qkv, 3, VN_EPI_BIAS, stage, &l->qkv, err);
    if (rc == VN_OK)
        rc = prepare(b, &out, 1, VN_EPI_RESIDUAL, stage, &l->out, err);
    if (rc == VN_OK)
        rc = prepare(b, &fc1, 1, VN_EPI_GELU, stage, &l->fc1, err);
    if (rc == VN_OK)
        rc = prepare(b, &fc2, 1, VN_EPI_RESIDUAL, stage, &l->fc2, err);
    if (rc == VN_OK)
        rc = upload(b, m->norm1_w, stage, &l->norm1_w, err);
    if (rc == VN_OK)
        rc = upload(b, m->norm1_b, stage, &l->norm1_b, err);
    if (rc == VN_OK)
        rc = upload(b, m->norm2_w, stage, &l->norm2_w, err);
    return rc < 0 ? rc : upload(b, m->norm2_b, stage, &l->norm2_b, err);
}

int vn_esm2_new(const struct vn_model *m, struct vn_backend *b, int n_layers,
                struct vn_esm2 **out, struct vn_error *err) {
    struct vn_buf stage = {0};
    struct vn_esm2 *e = vn_calloc(1, sizeof *e, err);
    if (!e)
        return VN_EFAIL;
    int rc = VN_EFAIL;
    e->config = m->config;
    e->n_layers = n_layers;
    e->layers = vn_calloc((size_t)n_layers, sizeof *e->layers, err);
    if (!e->layers)
        goto out;
    rc = upload(b, m->word_embeddings, &stage, &e->table, err);
    for (int i = 0; i < n_layers && rc == VN_OK; i++)
        rc = layer_new(b, &m->esm2[i], &e->layers[i], &stage, err);
    if (rc == VN_OK && n_layers == m->config.n_layers) {
        rc = upload(b, m->norm_w, &stage, &e->norm_w, err);
        if (rc == VN_OK)
            rc = upload(b, m->norm_b, &stage, &e->norm_b, err);
    }
out:
    vn_buf_release(&stage);
    if (rc < 0) {
        vn_esm2_free(e, b);
        return rc;
    }
    *out = e;
    return VN_OK;
}

/* The entries of the table need not take NULL: what was never made is skipped. */
static void release(struct vn_backend *b, float *p) {
    if (p)
        b->ops.release(b, p);
}
static void matrix_free(struct vn_backend *b, struct vn_matrix *m) {
    if (m)
        b->ops.matrix_free(b, m);
}

void vn_esm2_free(struct vn_esm2 *e, struct vn_backend *b) {
    if (!e)
        return;
    for (int i = 0; e->layers && i < e->n_layers; i++) {
        struct layer *l = &e->layers[i];
        matrix_free(b, l->qkv);
        matrix_free(b, l->out);
        matrix_free(b, l->fc1);
        matrix_free(b, l->fc2);
        release(b, l->norm1_w);
        release(b, l->norm1_b);
        release(b, l->norm2_w);
        release(b, l->norm2_b);
    }
    release(b, e->table);
    release(b, e->norm_w);
    release(b, e->norm_b);
    free(e->layers);
    free(e);
}

/* ---- the pass -------------------------------------------------------------------- */

/* Scratch is three blocks, each of n_tok rows padded to VN_ALIGN bytes so that the blocks
 * are aligned for any n_tok (the rows inside a block lie dense, as the operations want):
 *   x      [T, D] f32       the residual stream
 *   narrow [T, D] act       norm's output, then attention's
 *   wide   [T, 3D or F] act q, k, v; then the inner row of the feed-forward */
struct layout {
    size_t x, narrow, wide; /* bytes per token */
};

static struct layout layout_of(const struct vn_model_config *c, enum vn_dtype act) {
    size_t d = (size_t)c->d_model, f = (size_t)c->d_ffn, size = vn_dtype_size(act);
    return (struct layout){vn_round_up(d * sizeof(float), VN_ALIGN),
                           vn_round_up(d * size, VN_ALIGN),
                           vn_round_up((3 * d > f ? 3 * d : f) * size, VN_ALIGN)};
}

size_t vn_esm2_scratch(const struct vn_model_config *c, enum vn_dtype act) {
    struct layout l = layout_of(c, act);
    return l.x + l.narrow + l.wide;
}

struct pass {
    const struct vn_esm2 *e;
    struct vn_backend *b;
    const struct vn_seqs *seqs;
    const float *rope_cos, *rope_sin;
    float *x;
    void *narrow, *wide;
    struct vn_error *err;
};

static int norm(const struct pass *p, const float *gamma, const float *beta, void *y,
                enum vn_dtype y_type) {
    const struct vn_model_config *c = &p->e->config;
    struct vn_norm_args a = {.x = p->x,
                             .gamma = gamma,
                             .beta = beta,
                             .y = y,
                             .y_type = y_type,
                             .n_tok = p->seqs->n_tok,
                             .d = c->d_model,
                             .eps = c->norm_eps};
    return p->b->ops.norm(p->b, &a, p->err);
}

static int linear(const struct pass *p, const void *x, const struct vn_matrix *w, void *y,
                  enum vn_epilogue epilogue) {
    struct vn_linear_args a = {x, w, y, p->seqs->n_tok, epilogue};
    return p->b->ops.linear(p->b, &a, p->err);
}

static int attn(const struct pass *p) {
    const struct vn_model_config *c = &p->e->config;
    struct vn_attn_args a = {.qkv = p->wide,
                             .out = p->narrow,
                             .rope_cos = p->rope_cos,
                             .rope_sin = p->rope_sin,
                             .n_heads = c->n_heads,
                             .d_head = c->d_head};
    return p->b->ops.attn(p->b, p->seqs, &a, p->err);
}

static int run_layer(const struct pass *p, const struct layer *l) {
    int rc = norm(p, l->norm1_w, l->norm1_b, p->narrow, p->b->act);
    if (rc == VN_OK)
        rc = linear(p, p->narrow, l->qkv, p->wide, VN_EPI_BIAS);
    if (rc == VN_OK)
        rc = attn(p);
    if (rc == VN_OK)
        rc = linear(p, p->narrow, l->out, p->x, VN_EPI_RESIDUAL);
    if (rc == VN_OK)
        rc = norm(p, l->norm2_w, l->norm2_b, p->narrow, p->b->act);
    if (rc == VN_OK)
        rc = linear(p, p->narrow, l->fc1, p->wide, VN_EPI_GELU);
    return rc < 0 ? rc : linear(p, p->wide, l->fc2, p->x, VN_EPI_RESIDUAL);
}

int vn_esm2_forward(const struct vn_esm2 *e, struct vn_backend *b, const struct vn_seqs *seqs,
                    const uint16_t *tokens, const float *rope_cos, const float *rope_sin,
                    int layer, void *scratch, const float **x, struct vn_error *err) {
    const struct vn_model_config *c = &e->config;
    struct layout l = layout_of(c, b->act);
    uint8_t *at = scratch;
    size_t n = (size_t)seqs->n_tok;
    struct pass p = {.e = e,
                     .b = b,
                     .seqs = seqs,
                     .rope_cos = rope_cos,
                     .rope_sin = rope_sin,
                     .x = (float *)(void *)at,
                     .narrow = at + n * l.x,
                     .wide = at + n * (l.x + l.narrow),
                     .err = err};
    struct vn_embed_args embed = {.tokens = tokens,
                                  .table = e->table,
                                  .x = p.x,
                                  .d = c->d_model,
                                  .mask_token = c->token_dropout ? c->mask_token : -1};
    int rc = b->ops.embed(b, seqs, &embed, err);
    for (int i = 0; i < layer && rc == VN_OK; i++)
        rc = run_layer(&p, &e->layers[i]);
    if (rc == VN_OK && layer == c->n_layers)
        rc = norm(&p, e->norm_w, e->norm_b, p.x, VN_F32);
    *x = p.x;
    return rc;
}
