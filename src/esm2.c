#include "net.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

struct layer {
    struct vn_net_norm norm1, norm2; /* before attention, before the feed-forward */
    struct vn_matrix *qkv, *out;     /* [3D, D], [D, D] */
    struct vn_matrix *fc1, *fc2;     /* [F, D], [D, F] */
};

struct vn_net {
    struct vn_model_config config;
    float *table;            /* [V, D] on the device */
    struct vn_net_norm norm; /* after the last layer; NULL unless all layers are here */
    int n_layers;            /* that are here */
    struct layer *layers;
};

/* ---- weights --------------------------------------------------------------------- */

static int layer_new(struct vn_backend *b, const struct vn_esm2_layer *m, struct layer *l,
                     struct vn_buf *stage, struct vn_error *err) {
    const struct vn_net_part qkv[3] = {{m->q_w, m->q_b}, {m->k_w, m->k_b}, {m->v_w, m->v_b}};
    const struct vn_net_part out = {m->out_w, m->out_b};
    const struct vn_net_part fc1 = {m->fc1_w, m->fc1_b}, fc2 = {m->fc2_w, m->fc2_b};
    int rc = vn_net_matrix(b, qkv, 3, VN_EPI_BIAS, stage, &l->qkv, err);
    if (rc == VN_OK)
        rc = vn_net_matrix(b, &out, 1, VN_EPI_RESIDUAL, stage, &l->out, err);
    if (rc == VN_OK)
        rc = vn_net_matrix(b, &fc1, 1, VN_EPI_GELU, stage, &l->fc1, err);
    if (rc == VN_OK)
        rc = vn_net_matrix(b, &fc2, 1, VN_EPI_RESIDUAL, stage, &l->fc2, err);
    if (rc == VN_OK)
        rc = vn_net_norm_upload(b, m->norm1_w, m->norm1_b, stage, &l->norm1, err);
    if (rc == VN_OK)
        rc = vn_net_norm_upload(b, m->norm2_w, m->norm2_b, stage, &l->norm2, err);
    return rc;
}

static void esm2_free(struct vn_net *e, struct vn_backend *b) {
    if (!e)
        return;
    for (int i = 0; e->layers && i < e->n_layers; i++) {
        struct layer *l = &e->layers[i];
        vn_net_matrix_free(b, l->qkv);
        vn_net_matrix_free(b, l->out);
        vn_net_matrix_free(b, l->fc1);
        vn_net_matrix_free(b, l->fc2);
        vn_net_norm_release(b, &l->norm1);
        vn_net_norm_release(b, &l->norm2);
    }
    vn_net_release(b, e->table);
    vn_net_norm_release(b, &e->norm);
    free(e->layers);
    free(e);
}

static int esm2_create(const struct vn_model *m, struct vn_backend *b, int n_layers,
                       struct vn_net **out, struct vn_error *err) {
    struct vn_buf stage = {0};
    struct vn_net *e = vn_calloc(1, sizeof *e, err);
    if (!e)
        return VN_EFAIL;
    int rc = VN_EFAIL;
    e->config = m->config;
    e->n_layers = n_layers;
    e->layers = vn_calloc((size_t)n_layers, sizeof *e->layers, err);
    if (!e->layers)
        goto out;
    rc = vn_net_upload(b, m->word_embeddings, &stage, &e->table, err);
    for (int i = 0; i < n_layers && rc == VN_OK; i++)
        rc = layer_new(b, &m->esm2[i], &e->layers[i], &stage, err);
    if (rc == VN_OK && n_layers == m->config.n_layers)
        rc = vn_net_norm_upload(b, m->norm_w, m->norm_b, &stage, &e->norm, err);
out:
    vn_buf_release(&stage);
    if (rc < 0) {
        esm2_free(e, b);
        return rc;
    }
    *out = e;
    return VN_OK;
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

static size_t esm2_scratch(const struct vn_model_config *c, enum vn_dtype act) {
    struct layout l = layout_of(c, act);
    return l.x + l.narrow + l.wide;
}

struct pass {
    const struct vn_net *e;
    struct vn_backend *b;
    const struct vn_net_input *in;
    float *x;
    void *narrow, *wide;
    struct vn_error *err;
};

/* Into `narrow`, for the next product, or into x, after the last layer. */
static struct vn_row_stage norm(const struct pass *p, const struct vn_net_norm *n, void *y) {
    const struct vn_model_config *c = &p->e->config;
    return (struct vn_row_stage){.is_norm = true,
                                 .passed = y == p->narrow,
                                 .norm = {.x = p->x,
                                          .gamma = n->gamma,
                                          .beta = n->beta,
                                          .y = y,
                                          .y_type = y == p->narrow ? p->b->act : VN_F32,
                                          .n_tok = p->in->seqs->n_tok,
                                          .d = c->d_model,
                                          .eps = c->norm_eps}};
}

static struct vn_row_stage linear(const struct pass *p, const void *x,
                                  const struct vn_matrix *w, void *y,
                                  enum vn_epilogue epilogue) {
    return (struct vn_row_stage){.passed = epilogue == VN_EPI_GELU,
                                 .linear = {.x = x,
                                            .w = w,
                                            .y = y,
                                            .n_tok = p->in->seqs->n_tok,
                                            .epilogue = epilogue}};
}

static int attn(const struct pass *p) {
    const struct vn_model_config *c = &p->e->config;
    struct vn_attn_args a = {.qkv = p->wide,
                             .out = p->narrow,
                             .rope_cos = p->in->rope_cos,
                             .rope_sin = p->in->rope_sin,
                             .n_heads = c->n_heads,
                             .d_head = c->d_head};
    return p->b->ops.attn(p->b, p->in->seqs, &a, p->err);
}

/* Before the first attention, or between that of layer i - 1 and that of layer i; `last` is
 * how many layers there are. */
static int run_rows(const struct pass *p, int i, int last) {
    const struct vn_net *e = p->e;
    struct vn_row_stage s[6];
    int n = 0;
    if (i > 0) {
        const struct layer *l = &e->layers[i - 1];
        s[n++] = linear(p, p->narrow, l->out, p->x, VN_EPI_RESIDUAL);
        s[n++] = norm(p, &l->norm2, p->narrow);
        s[n++] = linear(p, p->narrow, l->fc1, p->wide, VN_EPI_GELU);
        s[n++] = linear(p, p->wide, l->fc2, p->x, VN_EPI_RESIDUAL);
    }
    if (i < last) {
        s[n++] = norm(p, &e->layers[i].norm1, p->narrow);
        s[n++] = linear(p, p->narrow, e->layers[i].qkv, p->wide, VN_EPI_BIAS);
    } else if (i == e->config.n_layers) {
        s[n++] = norm(p, &e->norm, p->x);
    }
    return vn_net_rows(p->b, s, n, p->err);
}

static int esm2_forward(const struct vn_net *e, struct vn_backend *b,
                        const struct vn_net_input *in, int layer, void *scratch,
                        const float **x, struct vn_error *err) {
    const struct vn_model_config *c = &e->config;
    struct layout l = layout_of(c, b->act);
    uint8_t *at = scratch;
    size_t n = (size_t)in->seqs->n_tok;
    struct pass p = {.e = e,
                     .b = b,
                     .in = in,
                     .x = (float *)(void *)at,
                     .narrow = at + n * l.x,
                     .wide = at + n * (l.x + l.narrow),
                     .err = err};
    struct vn_embed_args embed = {.tokens = in->tokens,
                                  .table = e->table,
                                  .x = p.x,
                                  .d = c->d_model,
                                  .mask_token = c->token_dropout ? c->mask_token : -1};
    int rc = b->ops.embed(b, in->seqs, &embed, err);
    if (rc == VN_OK)
        rc = run_rows(&p, 0, layer);
    for (int i = 1; i <= layer && rc == VN_OK; i++)
        if ((rc = attn(&p)) == VN_OK)
            rc = run_rows(&p, i, layer);
    *x = p.x;
    return rc;
}

const struct vn_net_ops vn_net_esm2 = {.create = esm2_create,
                                       .scratch = esm2_scratch,
                                       .forward = esm2_forward,
                                       .free = esm2_free};
