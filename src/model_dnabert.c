/* DNABERT-S as it is published: its config.json, its tokenizer, its tensors. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bpe_json.h"
#include "mem.h"
#include "model_int.h"

/* ---- config.json ----------------------------------------------------------------- */

int vn_model_dnabert_config(const json_t *o, struct vn_model_config *c,
                            struct vn_error *err) {
    const struct vn_model_int numbers[] = {
        {"num_hidden_layers", 1, 1024, &c->n_layers}, {"hidden_size", 1, 1 << 16, &c->d_model},
        {"num_attention_heads", 1, 1 << 12, &c->n_heads},
        {"intermediate_size", 1, 1 << 20, &c->d_ffn}, {"vocab_size", 5, 1 << 16, &c->n_vocab},
        {"type_vocab_size", 1, 1 << 16, &c->n_types}};
    int rc = vn_json_want_string(o, "model_type", "bert", err);
    /* other models of this type have learned positions, and are not DNABERT-S */
    if (rc == VN_OK && !vn_json_has(o, "alibi_starting_size"))
        rc = vn_json_wrong(o, "alibi_starting_size", "an integer, as DNABERT-S has it", err);
    if (rc == VN_OK && vn_json_has(o, "hidden_act"))
        rc = vn_json_want_string(o, "hidden_act", "gelu", err);
    if (rc == VN_OK)
        rc = vn_json_want_false(o, "is_decoder", err);
    if (rc == VN_OK)
        rc = vn_model_numbers(o, numbers, sizeof numbers / sizeof *numbers, c, err);
    c->family = VN_DNABERT;
    c->mask_token = c->pad_token = -1;
    return rc;
}

/* vn-pack cannot do without tokenizer.json; who only runs the model can. */
int vn_model_dnabert_vocabulary(struct vn_model *m, struct vn_error *err) {
    struct vn_buf path = {0};
    struct vn_bpe *bpe = NULL;
    int rc = vn_buf_printf(&path, err, "%s/tokenizer.json", m->dir);
    const char *name = (const char *)path.data;
    m->config.vocabulary = "dnabert-s";
    if (rc != VN_OK || access(name, F_OK) != 0)
        goto out;
    rc = vn_bpe_load(name, &bpe, m->config.tokenizer, err);
    if (rc == VN_OK && vn_bpe_vocab(bpe) != m->config.n_vocab)
        rc = vn_fail(err, VN_EDATA, "'%s' has %d pieces, vocab_size of config.json is %d", name,
                     vn_bpe_vocab(bpe), m->config.n_vocab);
out:
    vn_bpe_free(bpe);
    vn_buf_release(&path);
    return rc;
}

/* ---- tensors --------------------------------------------------------------------- */

static int bind_layer(const struct vn_lookup *l, struct vn_dnabert_layer *y) {
    const int64_t D = l->m->config.d_model, F = l->m->config.d_ffn;
    const struct {
        const char *stem;
        int64_t rows, cols;
        const struct vn_tensor **w, **b;
    } parts[] = {{"attention.self.Wqkv", 3 * D, D, &y->qkv_w, &y->qkv_b},
                 {"attention.output.dense", D, D, &y->out_w, &y->out_b},
                 {"attention.output.LayerNorm", D, 0, &y->norm1_w, &y->norm1_b},
                 {"mlp.wo", D, F, &y->down_w, &y->down_b},
                 {"mlp.layernorm", D, 0, &y->norm2_w, &y->norm2_b}};
    int rc = vn_model_bind(l, "mlp.gated_layers.weight", 2 * F, D, &y->gate_w);
    for (size_t i = 0; rc == VN_OK && i < sizeof parts / sizeof *parts; i++)
        rc = vn_model_bind_pair(l, parts[i].stem, parts[i].rows, parts[i].cols, parts[i].w,
                                parts[i].b);
    return rc;
}

/* Slopes as Press et al. give them: for n heads, n a power of two, 2^(-8 k / n), k = 1..n;
 * else those of the next lower power, then every second one of the next higher. */
static int alibi_slopes(struct vn_model *m, struct vn_error *err) {
    const int n = m->config.n_heads;
    int power = 1;
    while (2 * power <= n)
        power *= 2;
    m->alibi = vn_calloc((size_t)n, sizeof *m->alibi, err);
    if (!m->alibi)
        return VN_EFAIL;
    for (int i = 0; i < n; i++)
        m->alibi[i] = i < power ? (float)exp2(-8.0 * (i + 1) / power)
                                : (float)exp2(-4.0 * (2 * (i - power) + 1) / power);
    return VN_OK;
}

int vn_model_dnabert_bind(struct vn_model *m, struct vn_error *err) {
    static const char word[] = "embeddings.word_embeddings.weight";
    const struct vn_model_config *c = &m->config;
    struct vn_lookup l = {.m = m,
                          .prefix = vn_model_prefix(m, "bert.", word),
                          .layer = -1,
                          .elements = &m->parameters,
                          .err = err};
    int rc = vn_model_bind(&l, word, c->n_vocab, c->d_model, &m->word_embeddings);
    if (rc == VN_OK)
        rc = vn_model_bind(&l, "embeddings.token_type_embeddings.weight", c->n_types,
                           c->d_model, &m->type_embeddings);
    if (rc == VN_OK)
        rc = vn_model_bind_pair(&l, "embeddings.LayerNorm", c->d_model, 0, &m->norm_w,
                                &m->norm_b);
    if (rc == VN_OK) {
        m->dnabert = vn_calloc((size_t)c->n_layers, sizeof *m->dnabert, err);
        rc = m->dnabert ? VN_OK : VN_EFAIL;
    }
    for (l.layer = 0; rc == VN_OK && l.layer < c->n_layers; l.layer++)
        rc = bind_layer(&l, &m->dnabert[l.layer]);
    if (rc == VN_OK)
        rc = alibi_slopes(m, err);
    return rc == VN_OK ? vn_model_check_depth(&l) : rc;
}
