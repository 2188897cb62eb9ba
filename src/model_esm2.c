/* ESM-2 as Hugging Face publishes it: its config.json, its vocabulary, its tensors. */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "model_int.h"
#include "tok.h"

#define MAX_VOCABULARY ((size_t)1 << 20)

/* ---- config.json ----------------------------------------------------------------- */

/* What the forward pass does not do is refused by name. */
static int check_supported(const json_t *o, struct vn_error *err) {
    static const char *const off[] = {"emb_layer_norm_before", "is_folding_model",
                                      "is_decoder", "add_cross_attention"};
    double theta = 10000;
    int rc = vn_json_want_string(o, "model_type", "esm", err);
    if (rc == VN_OK)
        rc = vn_json_want_string(o, "position_embedding_type", "rotary", err);
    if (rc == VN_OK && vn_json_has(o, "hidden_act"))
        rc = vn_json_want_string(o, "hidden_act", "gelu", err);
    for (size_t i = 0; rc == VN_OK && i < sizeof off / sizeof *off; i++)
        rc = vn_json_want_false(o, off[i], err);
    if (rc == VN_OK && vn_json_has(o, "rope_theta"))
        rc = vn_json_number(o, "rope_theta", theta, theta, &theta, err);
    return rc;
}

int vn_model_esm2_config(const json_t *o, struct vn_model_config *c, struct vn_error *err) {
    const struct vn_model_int numbers[] = {{"num_hidden_layers", 1, 1024, &c->n_layers},
                   {"hidden_size", 1, 1 << 16, &c->d_model},
                   {"num_attention_heads", 1, 1 << 12, &c->n_heads},
                   {"intermediate_size", 1, 1 << 20, &c->d_ffn},
                   {"vocab_size", 33, 1 << 16, &c->n_vocab},
                   {"mask_token_id", 0, 65535, &c->mask_token},
                   {"pad_token_id", 0, 65535, &c->pad_token}};
    int rc = check_supported(o, err);
    if (rc == VN_OK)
        rc = vn_model_numbers(o, numbers, sizeof numbers / sizeof *numbers, c, err);
    if (rc == VN_OK)
        rc = vn_json_bool(o, "token_dropout", false, &c->token_dropout, err);
    if (rc == VN_OK && (c->mask_token >= c->n_vocab || c->pad_token >= c->n_vocab))
        rc = vn_fail(err, VN_EDATA,
                     "mask_token_id %d or pad_token_id %d is not below vocab_size %d",
                     c->mask_token, c->pad_token, c->n_vocab);
    c->family = VN_ESM2;
    return rc;
}

/* Bytes that both begin with; all of `wanted` where that is what the text is. (As published
 * it has no newline behind the last line.) */
static size_t same_bytes(const struct vn_buf *text, const struct vn_buf *wanted) {
    size_t same = 0;
    while (same < text->len && same < wanted->len && text->data[same] == wanted->data[same])
        same++;
    return same == wanted->len - 1 && same == text->len ? wanted->len : same;
}

static bool is_it(const struct vn_buf *text, const struct vn_buf *wanted) {
    return text->len <= wanted->len && same_bytes(text, wanted) == wanted->len;
}

static int use_codons(struct vn_model_config *c, struct vn_error *err) {
    c->vocabulary = "codon";
    return c->n_vocab >= VN_CODON_VOCAB
               ? VN_OK
               : vn_fail(err, VN_EDATA, "vocab_size %d, but the alphabet of codons has %d",
                         c->n_vocab, VN_CODON_VOCAB);
}

/* The alphabet that was taken must be the one that config.json speaks of: a model of codons
 * whose vocab.txt got lost would read residues, and nobody would know. */
static int check_mask(const struct vn_model *m, const char *why, struct vn_error *err) {
    const bool codons = !strcmp(m->config.vocabulary, "codon");
    const int mask = codons ? VN_CODON_MASK : VN_ESM2_MASK;
    if (m->config.mask_token == mask)
        return VN_OK;
    return vn_fail(err, VN_EDATA,
                   "'%s/config.json': mask_token_id is %d, but <mask> is %d in the vocabulary "
                   "of %s, %s", m->dir, m->config.mask_token, mask,
                   codons ? "codons" : "ESM-2", why);
}

/* Which of the two that are built into the tokenizers vocab.txt is; ESM-2's, if there is
 * none. */
int vn_model_esm2_vocabulary(struct vn_model *m, struct vn_error *err) {
    struct vn_buf path = {0}, residues = {0}, codons = {0}, text = {0};
    int rc = vn_buf_printf(&path, err, "%s/vocab.txt", m->dir);
    const char *name = (const char *)path.data;
    m->config.vocabulary = "esm2";
    if (rc != VN_OK)
        goto out;
    if (access(name, F_OK) != 0) {
        rc = check_mask(m, "which is taken where there is no vocab.txt", err);
        goto out;
    }
    rc = vn_read_file(name, MAX_VOCABULARY, &text, err);
    if (rc == VN_OK)
        rc = vn_tok_esm2_vocabulary(&residues, err);
    if (rc == VN_OK)
        rc = vn_tok_codon_vocabulary(&codons, err);
    if (rc == VN_OK && is_it(&text, &codons))
        rc = use_codons(&m->config, err);
    else if (rc == VN_OK && !is_it(&text, &residues))
        rc = vn_fail(err, VN_EDATA,
                     "'%s' is not the vocabulary of ESM-2, from which it differs at byte %zu, "
                     "nor that of codons, byte %zu", name, same_bytes(&text, &residues),
                     same_bytes(&text, &codons));
    if (rc == VN_OK)
        rc = check_mask(m, "which vocab.txt lists", err);
out:
    vn_buf_release(&path);
    vn_buf_release(&residues);
    vn_buf_release(&codons);
    vn_buf_release(&text);
    return rc;
}

/* ---- tensors --------------------------------------------------------------------- */

static int bind_layer(const struct vn_lookup *l, struct vn_esm2_layer *y) {
    const int64_t D = l->m->config.d_model, F = l->m->config.d_ffn;
    const struct {
        const char *stem;
        int64_t rows, cols;
        const struct vn_tensor **w, **b;
    } parts[] = {{"attention.LayerNorm", D, 0, &y->norm1_w, &y->norm1_b},
                 {"attention.self.query", D, D, &y->q_w, &y->q_b},
                 {"attention.self.key", D, D, &y->k_w, &y->k_b},
                 {"attention.self.value", D, D, &y->v_w, &y->v_b},
                 {"attention.output.dense", D, D, &y->out_w, &y->out_b},
                 {"LayerNorm", D, 0, &y->norm2_w, &y->norm2_b},
                 {"intermediate.dense", F, D, &y->fc1_w, &y->fc1_b},
                 {"output.dense", D, F, &y->fc2_w, &y->fc2_b}};
    int rc = VN_OK;
    for (size_t i = 0; rc == VN_OK && i < sizeof parts / sizeof *parts; i++)
        rc = vn_model_bind_pair(l, parts[i].stem, parts[i].rows, parts[i].cols, parts[i].w,
                       parts[i].b);
    return rc;
}

/* Frequencies of one stored tensor; all layers must have the same ones. */
static int take_frequencies(const struct vn_lookup *l, const char *suffix,
                            struct vn_model *m) {
    char name[160];
    const struct vn_tensor *t;
    int64_t half = m->config.d_head / 2;
    vn_model_tensor_name(l, suffix, name, sizeof name);
    if (!vn_tensors_find(m->tensors, name))
        return VN_OK;
    int rc = vn_model_bind(l, suffix, half, 0, &t);
    for (int64_t i = 0; rc == VN_OK && i < half; i++) {
        float f = vn_tensor_at(t, i);
        if (!isfinite(f))
            rc = vn_fail(l->err, VN_EDATA, "tensor '%s' has a value that is not finite",
                         name);
        else if (m->inv_freq_stored && f != m->inv_freq[i])
            rc = vn_fail(l->err, VN_EDATA,
                         "tensor '%s' differs from that of "
                         "another layer: %g and %g at %lld",
                         name, f, m->inv_freq[i], (long long)i);
        m->inv_freq[i] = f;
    }
    m->inv_freq_stored = rc == VN_OK;
    return rc;
}

/* Checkpoints carry the frequencies per layer; newer writers once, some of them under the
 * name of a layer '*'. They were rounded to half precision in training, so they are
 * computed only where none is stored, and then in float steps, as the reference does. */
static int bind_frequencies(struct vn_lookup *l, struct vn_model *m) {
    const int half = m->config.d_head / 2;
    m->inv_freq = vn_calloc((size_t)half, sizeof *m->inv_freq, l->err);
    int rc = m->inv_freq ? VN_OK : VN_EFAIL;
    l->layer = -1;
    if (rc == VN_OK)
        rc = take_frequencies(l, "rotary_embeddings.inv_freq", m);
    if (rc == VN_OK)
        rc = take_frequencies(
            l, "encoder.layer.*.attention.self.rotary_embeddings.inv_freq", m);
    for (l->layer = 0; rc == VN_OK && l->layer < m->config.n_layers; l->layer++)
        rc = take_frequencies(l, "attention.self.rotary_embeddings.inv_freq", m);
    for (int i = 0; rc == VN_OK && !m->inv_freq_stored && i < half; i++)
        m->inv_freq[i] = 1.0f / powf(10000.0f, (float)(2 * i) / (float)m->config.d_head);
    return rc;
}

int vn_model_esm2_bind(struct vn_model *m, struct vn_error *err) {
    static const char word[] = "embeddings.word_embeddings.weight";
    const struct vn_model_config *c = &m->config;
    struct vn_lookup l = {.m = m,
                          .prefix = vn_model_prefix(m, "esm.", word),
                          .layer = -1,
                          .elements = &m->parameters,
                          .err = err};
    int rc = vn_model_bind(&l, word, c->n_vocab, c->d_model, &m->word_embeddings);
    if (rc == VN_OK)
        rc = vn_model_bind_pair(&l, "encoder.emb_layer_norm_after", c->d_model, 0, &m->norm_w,
                       &m->norm_b);
    if (rc == VN_OK) {
        m->esm2 = vn_calloc((size_t)c->n_layers, sizeof *m->esm2, err);
        rc = m->esm2 ? VN_OK : VN_EFAIL;
    }
    for (l.layer = 0; rc == VN_OK && l.layer < c->n_layers; l.layer++)
        rc = bind_layer(&l, &m->esm2[l.layer]);
    l.elements = NULL; /* frequencies are no parameters */
    if (rc == VN_OK)
        rc = bind_frequencies(&l, m);
    return rc == VN_OK ? vn_model_check_depth(&l) : rc;
}
