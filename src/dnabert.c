/* dnabert.c - the forward pass of DNABERT-S: see vn_net_dnabert in net.h. */
#include "net.h"

#include <stdlib.h>

#include "num.h"

struct layer {
    struct vn_matrix *qkv, *out;     /* [3D, D], [D, D] */
    struct vn_matrix *gate, *down;   /* [2F, D], [D, F] */
    struct vn_net_norm norm1, norm2; /* after attention, after the feed-forward */
};

struct vn_net {
    struct vn_model_config config;
    float *table;            /* [V, D] on the device: words, with the type of all of them */
    struct vn_net_norm norm; /* of the embeddings */
    float *alibi;            /* [H] on the device */
    int n_layers;            /* that are here */
    struct layer *layers;
};

/* ---- weights --------------------------------------------------------------------- */

static int layer_new(struct vn_backend *b, const struct vn_dnabert_layer *m, struct layer *l,
                     struct vn_buf *stage, struct vn_error *err) {
    const struct vn_net_part qkv = {m->qkv_w, m->qkv_b}, out = {m->out_w, m->out_b};
    const struct vn_net_part gate = {m->gate_w, NULL}, down = {m->down_w, m->down_b};
    int rc = vn_net_matrix(b, &qkv, 1, VN_EPI_BIAS, stage, &l->qkv, err);
    if (rc == VN_OK)
        rc = vn_net_matrix(b, &out, 1, VN_EPI_RESIDUAL, stage, &l->out, err);
    if (rc == VN_OK)
        rc = vn_net_matrix(b, &gate, 1, VN_EPI_GLU, stage, &l->gate, err);
    if (rc == VN_OK)
        rc = vn_net_matrix(b, &down, 1, VN_EPI_RESIDUAL, stage, &l->down, err);
    if (rc == VN_OK)
        rc = vn_net_norm_upload(b, m->norm1_w, m->norm1_b, stage, &l->norm1, err);
    if (rc == VN_OK)
        rc = vn_net_norm_upload(b, m->norm2_w, m->norm2_b, stage, &l->norm2, err);
    return rc;
}

/* Every token has type 0: its row goes into the table, with the one rounding that adding it
 * to each token would have. */
static int make_table(const struct vn_model *m, struct vn_backend *b, struct vn_buf *stage,
                      float **out, struct vn_error *err) {
    const int64_t d = m->config.d_model, v = m->config.n_vocab;
    int rc = vn_buf_resize(stage, (size_t)(v * d) * sizeof(float), err);
    if (rc < 0)
        return rc;
    float *host = (float *)(void *)stage->data;
    for (int64_t i = 0; i < v * d; i++)
        host[i] = vn_tensor_at(m->word_embeddings, i) + vn_tensor_at(m->type_embeddings, i % d);
    return vn_net_upload_f32(b, host, (size_t)(v * d), out, err);
}

static void dnabert_free(struct vn_net *e, struct vn_backend *b) {
    if (!e)
        return;
    for (int i = 0; e->layers && i < e->n_layers; i++) {
        struct layer *l = &e->layers[i];
        vn_net_matrix_free(b, l->qkv);
        vn_net_matrix_free(b, l->out);
        vn_net_matrix_free(b, l->gate);
        vn_net_matrix_free(b, l->down);
        vn_net_norm_release(b, &l->norm1);
        vn_net_norm_release(b, &l->norm2);
    }
    vn_net_release(b, e->table);
    vn_net_norm_release(b, &e->norm);
    vn_net_release(b, e->alibi);
    free(e->layers);
    free(e);
}

static int dnabert_create(const struct vn_model *m, struct vn_backend *b, int n_layers,
                          struct vn_net **out, struct vn_error *err) {
    struct vn_buf stage = {0};
    if (b->attention == VN_ATTN_STANDARD)
        return vn_fail(err, VN_EINCOMPAT,
                       "--attention standard is what fair-esm computes: model '%s' is %s",
                       m->name, vn_family_name(m->config.family));
    struct vn_net *e = vn_calloc(1, sizeof *e, err);
    if (!e)
        return VN_EFAIL;
    e->config = m->config;
    e->n_layers = n_layers;
    e->layers = vn_calloc((size_t)n_layers, sizeof *e->layers, err);
    int rc = e->layers ? make_table(m, b, &stage, &e->table, err) : VN_EFAIL;
    if (rc == VN_OK)
        rc = vn_net_norm_upload(b, m->norm_w, m->norm_b, &stage, &e->norm, err);
    if (rc == VN_OK)
        rc = vn_net_upload_f32(b, m->alibi, (size_t)m->config.n_heads, &e->alibi, err);
    for (int i = 0; i < n_layers && rc == VN_OK; i++)
        rc = layer_new(b, &m->dnabert[i], &e->layers[i], &stage, err);
    vn_buf_release(&stage);
    if (rc < 0) {
        dnabert_free(e, b);
        return rc;
    }
    *out = e;
    return VN_OK;
}

/* ---- the pass -------------------------------------------------------------------- */

/* Scratch is four blocks, each of n_tok rows padded to VN_ALIGN bytes:
 *   x      [T, D] f32         the residual stream
 *   narrow [T, D] act         attention's output; norm's, where act is not f32
 *   inner  [T, F] act         the gated row
 *   wide   [T, 3D or 2F] act  q, k, v; what the gate needs */
struct layout {
    size_t x, narrow, inner, wide; /* bytes per token */
};

static struct layout layout_of(const struct vn_model_config *c, enum vn_dtype act) {
    size_t d = (size_t)c->d_model, f = (size_t)c->d_ffn, size = vn_dtype_size(act);
    return (struct layout){vn_round_up(d * sizeof(float), VN_ALIGN),
                           vn_round_up(d * size, VN_ALIGN), vn_round_up(f * size, VN_ALIGN),
                           vn_round_up((3 * d > 2 * f ? 3 * d : 2 * f) * size, VN_ALIGN)};
}

static size_t dnabert_scratch(const struct vn_model_config *c, enum vn_dtype act) {
    struct layout l = layout_of(c, act);
    return l.x + l.narrow + l.inner + l.wide;
}

struct pass {
    const struct vn_net *e;
    struct vn_backend *b;
    const struct vn_net_input *in;
    float *x;
    void *narrow, *inner, *wide;
    const void *operand; /* x as the products take it: x itself, or narrow */
    struct vn_error *err;
};

/* x = LN(x), and its copy for the next product. */
static struct vn_row_stage norm(const struct pass *p, const struct vn_net_norm *n) {
    const struct vn_model_config *c = &p->e->config;
    return (struct vn_row_stage){
        .is_norm = true,
        .norm = {.x = p->x,
                 .gamma = n->gamma,
                 .beta = n->beta,
                 .y = p->x,
                 .y_type = VN_F32,
                 .n_tok = p->in->seqs->n_tok,
                 .d = c->d_model,
                 .eps = c->norm_eps,
                 .also = p->operand == p->narrow ? p->narrow : NULL}};
}

static struct vn_row_stage linear(const struct pass *p, const void *x,
                                  const struct vn_matrix *w, void *y,
                                  enum vn_epilogue epilogue) {
    return (struct vn_row_stage){
        .passed = epilogue == VN_EPI_GLU,
        .linear = {.x = x,
                   .w = w,
                   .y = y,
                   .n_tok = p->in->seqs->n_tok,
                   .epilogue = epilogue,
                   .wide = epilogue == VN_EPI_GLU ? p->wide : NULL}};
}

static int attn(const struct pass *p) {
    const struct vn_model_config *c = &p->e->config;
    struct vn_attn_args a = {.qkv = p->wide,
                             .out = p->narrow,
                             .n_heads = c->n_heads,
                             .d_head = c->d_head,
                             .alibi = p->e->alibi};
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
        s[n++] = norm(p, &l->norm1);
        s[n++] = linear(p, p->operand, l->gate, p->inner, VN_EPI_GLU);
        s[n++] = linear(p, p->inner, l->down, p->x, VN_EPI_RESIDUAL);
        s[n++] = norm(p, &l->norm2);
    } else {
        s[n++] = norm(p, &e->norm);
    }
    if (i < last)
        s[n++] = linear(p, p->operand, e->layers[i].qkv, p->wide, VN_EPI_BIAS);
    return vn_net_rows(p->b, s, n, p->err);
}

static int dnabert_forward(const struct vn_net *e, struct vn_backend *b,
                           const struct vn_net_input *in, int layer, void *scratch,
                           const float **x, struct vn_error *err) {
    struct layout l = layout_of(&e->config, b->act);
    size_t n = (size_t)in->seqs->n_tok;
    uint8_t *at = scratch;
    struct pass p = {.e = e,
                     .b = b,
                     .in = in,
                     .x = (float *)(void *)at,
                     .narrow = at + n * l.x,
                     .inner = at + n * (l.x + l.narrow),
                     .wide = at + n * (l.x + l.narrow + l.inner),
                     .err = err};
    p.operand = b->act == VN_F32 ? (void *)p.x : p.narrow;
    struct vn_embed_args embed = {.tokens = in->tokens,
                                  .table = e->table,
                                  .x = p.x,
                                  .d = e->config.d_model,
                                  .mask_token = -1};
    int rc = b->ops.embed(b, in->seqs, &embed, err);
    if (rc == VN_OK)
        rc = run_rows(&p, 0, layer);
    for (int i = 1; i <= layer && rc == VN_OK; i++)
        if ((rc = attn(&p)) == VN_OK)
            rc = run_rows(&p, i, layer);
    *x = p.x;
    return rc;
}

const struct vn_net_ops vn_net_dnabert = {.create = dnabert_create,
                                          .scratch = dnabert_scratch,
                                          .forward = dnabert_forward,
                                          .free = dnabert_free};
