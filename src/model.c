#include "model.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "json.h"
#include "tok.h"

#define MAX_VOCABULARY ((size_t)1 << 20)
#define MAX_CONFIG ((size_t)16 << 20)

/* ---- finding --------------------------------------------------------------------- */

/* "dir/name<suffix>", malloc'ed, if `file` is in it, else NULL. */
static char *directory_with(const char *dir, size_t n_dir, const char *name,
                            const char *suffix, const char *file) {
    size_t n = n_dir + strlen(name) + strlen(suffix) + strlen(file) + 3;
    char *path = malloc(n);
    if (!path)
        return NULL;
    snprintf(path, n, "%.*s%s%s%s", (int)n_dir, dir, n_dir ? "/" : "", name, suffix);
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        path[--end] = 0;
    snprintf(path + end, n - end, "/%s", file);
    bool found = access(path, F_OK) == 0;
    path[end] = 0;
    if (!found) {
        free(path);
        path = NULL;
    }
    return path;
}

char *vn_model_find(const char *name, const char *file, struct vn_error *err) {
    const char *places = getenv("VN_MODELS");
    char *found = *name ? directory_with("", 0, name, "", file) : NULL;
    for (const char *p = places; *name && *name != '/' && p && !found;) {
        size_t n = strcspn(p, ":");
        if (n)
            found = directory_with(p, n, name, "", file);
        if (n && !found)
            found = directory_with(p, n, name, "_UR50D", file);
        p = p[n] ? p + n + 1 : NULL;
    }
    if (!found && places && *places)
        vn_fail(err, VN_ENOINPUT,
                "cannot find '%s': no directory of that "
                "name with a %s here or in $VN_MODELS (%s)",
                name, file, places);
    else if (!found)
        vn_fail(err, VN_ENOINPUT,
                "cannot find '%s': no directory of that "
                "name with a %s, and $VN_MODELS is %s",
                name, file, places ? "empty" : "not set");
    return found;
}

/* ---- config.json ----------------------------------------------------------------- */

static int check_string(const json_t *o, const char *key, const char *wanted,
                        struct vn_error *err) {
    const char *s = json_string_value(json_object_get(o, key));
    char expected[64];
    snprintf(expected, sizeof expected, "\"%s\"", wanted);
    return s && !strcmp(s, wanted) ? VN_OK : vn_json_wrong(o, key, expected, err);
}

static int check_false(const json_t *o, const char *key, struct vn_error *err) {
    bool set;
    int rc = vn_json_bool(o, key, false, &set, err);
    return rc == VN_OK && set ? vn_json_wrong(o, key, "false", err) : rc;
}

/* What the forward pass does not do is refused by name. */
static int check_supported(const json_t *o, struct vn_error *err) {
    static const char *const off[] = {"emb_layer_norm_before", "is_folding_model",
                                      "is_decoder", "add_cross_attention"};
    double theta = 10000;
    int rc = check_string(o, "model_type", "esm", err);
    if (rc == VN_OK)
        rc = check_string(o, "position_embedding_type", "rotary", err);
    if (rc == VN_OK && vn_json_has(o, "hidden_act"))
        rc = check_string(o, "hidden_act", "gelu", err);
    for (size_t i = 0; rc == VN_OK && i < sizeof off / sizeof *off; i++)
        rc = check_false(o, off[i], err);
    if (rc == VN_OK && vn_json_has(o, "rope_theta"))
        rc = vn_json_number(o, "rope_theta", theta, theta, &theta, err);
    return rc;
}

static int check_heads(const struct vn_model_config *c, struct vn_error *err) {
    static const int known[] = {16, 24, 32, 64, 128};
    if (c->d_model % c->n_heads)
        return vn_fail(err, VN_EDATA,
                       "hidden_size %d is not a multiple of num_attention_heads %d",
                       c->d_model, c->n_heads);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (c->d_model / c->n_heads == known[i])
            return VN_OK;
    return vn_fail(err, VN_EDATA,
                   "hidden_size / num_attention_heads "
                   "is %d, expected 16, 24, 32, 64 or 128",
                   c->d_model / c->n_heads);
}

static int read_config(const json_t *o, struct vn_model_config *c, struct vn_error *err) {
    const struct {
        const char *key;
        int64_t lo, hi;
        int *out;
    } numbers[] = {{"num_hidden_layers", 1, 1024, &c->n_layers},
                   {"hidden_size", 1, 1 << 16, &c->d_model},
                   {"num_attention_heads", 1, 1 << 12, &c->n_heads},
                   {"intermediate_size", 1, 1 << 20, &c->d_ffn},
                   {"vocab_size", 33, 1 << 16, &c->n_vocab},
                   {"mask_token_id", 0, 65535, &c->mask_token},
                   {"pad_token_id", 0, 65535, &c->pad_token}};
    double eps = 0;
    int rc = check_supported(o, err);
    for (size_t i = 0; rc == VN_OK && i < sizeof numbers / sizeof *numbers; i++) {
        int64_t v = 0;
        rc = vn_json_int(o, numbers[i].key, numbers[i].lo, numbers[i].hi, &v, err);
        *numbers[i].out = (int)v;
    }
    if (rc == VN_OK)
        rc = vn_json_number(o, "layer_norm_eps", 0, 1, &eps, err);
    if (rc == VN_OK)
        rc = vn_json_bool(o, "token_dropout", false, &c->token_dropout, err);
    if (rc == VN_OK)
        rc = check_heads(c, err);
    if (rc == VN_OK && (c->mask_token >= c->n_vocab || c->pad_token >= c->n_vocab))
        rc = vn_fail(err, VN_EDATA,
                     "mask_token_id %d or pad_token_id %d is not below vocab_size %d",
                     c->mask_token, c->pad_token, c->n_vocab);
    c->family = VN_ESM2;
    c->norm_eps = (float)eps;
    c->d_head = rc == VN_OK ? c->d_model / c->n_heads : 0;
    return rc;
}

static int load_config(struct vn_model *m, struct vn_error *err) {
    struct vn_buf path = {0};
    json_t *o = NULL;
    int rc = vn_buf_printf(&path, err, "%s/config.json%c", m->dir, 0);
    if (rc == VN_OK)
        rc = vn_json_load((const char *)path.data, MAX_CONFIG, &o, err);
    if (rc == VN_OK && (rc = read_config(o, &m->config, err)) != VN_OK)
        vn_prefix(err, "'%s'", (const char *)path.data);
    json_decref(o);
    vn_buf_release(&path);
    return rc;
}

/* The token ids are built into the tokenizer: a vocabulary that is there must be ESM-2's.
 */
static int check_vocabulary(const struct vn_model *m, struct vn_error *err) {
    struct vn_buf path = {0}, wanted = {0}, text = {0};
    int rc = vn_buf_printf(&path, err, "%s/vocab.txt%c", m->dir, 0);
    const char *name = (const char *)path.data;
    if (rc != VN_OK || access(name, F_OK) != 0)
        goto out;
    rc = vn_tok_esm2_vocabulary(&wanted, err);
    if (rc == VN_OK)
        rc = vn_read_file(name, MAX_VOCABULARY, &text, err);
    if (rc == VN_OK && text.len == wanted.len - 1) /* as published: the last line's */
        rc = vn_buf_puts(&text, "\n", err);        /* newline is not there */
    if (rc == VN_OK && (text.len != wanted.len ||
                        memcmp(text.data, wanted.data, wanted.len))) {
        size_t same = 0;
        while (same < text.len && same < wanted.len &&
               text.data[same] == wanted.data[same])
            same++;
        rc = vn_fail(err, VN_EDATA,
                     "'%s' is not the vocabulary of ESM-2: it differs at byte %zu", name,
                     same);
    }
out:
    vn_buf_release(&path);
    vn_buf_release(&wanted);
    vn_buf_release(&text);
    return rc;
}

/* ---- tensors --------------------------------------------------------------------- */

struct lookup {
    const struct vn_model *m;
    const char *prefix; /* "esm." or "" */
    int layer;          /* -1 outside the layers */
    struct vn_error *err;
};

static void tensor_name(const struct lookup *l, const char *suffix, char *out,
                        size_t size) {
    if (l->layer >= 0)
        snprintf(out, size, "%sencoder.layer.%d.%s", l->prefix, l->layer, suffix);
    else
        snprintf(out, size, "%s%s", l->prefix, suffix);
}

static bool is_float(const struct vn_tensor *t) {
    return t->type == VN_F32 || t->type == VN_F16 || t->type == VN_BF16;
}

static void shape_text(const struct vn_tensor *t, char *out, size_t size) {
    size_t at = (size_t)snprintf(out, size, "[");
    for (int i = 0; i < t->n_dims && at < size; i++)
        at += (size_t)snprintf(out + at, size - at, "%s%lld", i ? ", " : "",
                               (long long)t->shape[i]);
    if (at < size)
        snprintf(out + at, size - at, "]");
}

/* Looks up a tensor of shape [rows, cols], or [rows] where cols is 0. */
static int bind(const struct lookup *l, const char *suffix, int64_t rows, int64_t cols,
                const struct vn_tensor **out) {
    char name[160], found[256], wanted[64];
    tensor_name(l, suffix, name, sizeof name);
    const struct vn_tensor *t = *out = vn_tensors_find(l->m->tensors, name);
    if (!t)
        return vn_fail(l->err, VN_EDATA, "tensor '%s' is missing", name);
    if (!is_float(t))
        return vn_fail(l->err, VN_EDATA, "tensor '%s' is not of type F32, F16 or BF16",
                       name);
    if (t->n_dims == (cols ? 2 : 1) && t->shape[0] == rows &&
        (!cols || t->shape[1] == cols))
        return VN_OK;
    shape_text(t, found, sizeof found);
    snprintf(wanted, sizeof wanted, cols ? "[%lld, %lld]" : "[%lld]", (long long)rows,
             (long long)cols);
    return vn_fail(l->err, VN_EDATA, "tensor '%s' has shape %s, expected %s", name, found,
                   wanted);
}

/* `stem`.weight [rows, cols] ([rows] for a norm, cols 0) and `stem`.bias [rows]. Some
 * writers call those of a norm gamma and beta. */
static int bind_pair(const struct lookup *l, const char *stem, int64_t rows, int64_t cols,
                     const struct vn_tensor **w, const struct vn_tensor **b) {
    char suffix[80], name[160];
    snprintf(suffix, sizeof suffix, "%s.gamma", stem);
    tensor_name(l, suffix, name, sizeof name);
    bool gamma = !cols && vn_tensors_find(l->m->tensors, name);
    snprintf(suffix, sizeof suffix, "%s.%s", stem, gamma ? "gamma" : "weight");
    int rc = bind(l, suffix, rows, cols, w);
    snprintf(suffix, sizeof suffix, "%s.%s", stem, gamma ? "beta" : "bias");
    return rc == VN_OK ? bind(l, suffix, rows, 0, b) : rc;
}

static int bind_layer(const struct lookup *l, struct vn_esm2_layer *y) {
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
        rc = bind_pair(l, parts[i].stem, parts[i].rows, parts[i].cols, parts[i].w,
                       parts[i].b);
    return rc;
}

/* Frequencies of one stored tensor; all layers must have the same ones. */
static int take_frequencies(const struct lookup *l, const char *suffix,
                            struct vn_model *m) {
    char name[160];
    const struct vn_tensor *t;
    int64_t half = m->config.d_head / 2;
    tensor_name(l, suffix, name, sizeof name);
    if (!vn_tensors_find(m->tensors, name))
        return VN_OK;
    int rc = bind(l, suffix, half, 0, &t);
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
static int bind_frequencies(struct lookup *l, struct vn_model *m) {
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

/* A layer that config.json does not count would be left out in silence. */
static int check_depth(const struct vn_model *m, struct vn_error *err) {
    static const char stem[] = "encoder.layer.";
    for (int64_t i = 0; i < vn_tensors_count(m->tensors); i++) {
        const char *name = vn_tensors_at(m->tensors, i)->name;
        const char *at = strncmp(name, "esm.", 4) ? name : name + 4;
        if (strncmp(at, stem, sizeof stem - 1))
            continue;
        at += sizeof stem - 1;
        size_t digits = strspn(at, "0123456789");
        if (digits && at[digits] == '.' &&
            strtoull(at, NULL, 10) >= (unsigned long long)m->config.n_layers)
            return vn_fail(err, VN_EDATA,
                           "tensor '%.200s' is of layer %.*s, counted from 0, "
                           "num_hidden_layers is %d",
                           name, digits < 20 ? (int)digits : 20, at, m->config.n_layers);
    }
    return VN_OK;
}

static int bind_tensors(struct vn_model *m, struct vn_error *err) {
    const struct vn_model_config *c = &m->config;
    const char *word = "embeddings.word_embeddings.weight";
    struct lookup l = {.m = m, .prefix = "esm.", .layer = -1, .err = err};
    char name[80];
    tensor_name(&l, word, name, sizeof name);
    if (!vn_tensors_find(m->tensors, name))
        l.prefix = "";
    int rc = bind(&l, word, c->n_vocab, c->d_model, &m->word_embeddings);
    if (rc == VN_OK)
        rc = bind_pair(&l, "encoder.emb_layer_norm_after", c->d_model, 0, &m->norm_w,
                       &m->norm_b);
    if (rc == VN_OK) {
        m->esm2 = vn_calloc((size_t)c->n_layers, sizeof *m->esm2, err);
        rc = m->esm2 ? VN_OK : VN_EFAIL;
    }
    for (l.layer = 0; rc == VN_OK && l.layer < c->n_layers; l.layer++)
        rc = bind_layer(&l, &m->esm2[l.layer]);
    if (rc == VN_OK)
        rc = bind_frequencies(&l, m);
    return rc == VN_OK ? check_depth(m, err) : rc;
}

/* ---- open and close -------------------------------------------------------------- */

static char *last_component(const char *dir) {
    const char *base = strrchr(dir, '/');
    base = base ? base + 1 : dir;
    if (strcmp(base, ".") && strcmp(base, "..") && *base)
        return strdup(base);
    char *real = realpath(dir, NULL), *name = NULL;
    if (real) {
        base = strrchr(real, '/') + 1;
        name = strdup(*base ? base : "root");
    }
    free(real);
    return name;
}

char *vn_model_name(const char *dir, struct vn_error *err) {
    char *name = last_component(dir);
    if (!name)
        vn_fail(err, VN_EFAIL, "cannot tell the name of '%s'", dir);
    return name;
}

/* Everything but the weights. */
static int identify(const char *name, struct vn_model *m, struct vn_error *err) {
    m->dir = vn_model_find(name, "config.json", err);
    int rc = m->dir ? VN_OK : VN_ENOINPUT;
    if (rc == VN_OK)
        rc = (m->name = vn_model_name(m->dir, err)) ? VN_OK : VN_EFAIL;
    if (rc == VN_OK)
        rc = load_config(m, err);
    return rc == VN_OK ? check_vocabulary(m, err) : rc;
}

int vn_model_describe(const char *name, struct vn_model_config *config, char **model_name,
                      struct vn_error *err) {
    struct vn_model m = {0};
    int rc = identify(name, &m, err);
    free(m.dir);
    if (rc != VN_OK) {
        free(m.name);
        return rc;
    }
    *config = m.config;
    *model_name = m.name;
    return VN_OK;
}

int vn_model_open(const char *name, struct vn_model **out, struct vn_error *err) {
    struct vn_model *m = vn_calloc(1, sizeof *m, err);
    *out = NULL;
    if (!m)
        return VN_EFAIL;
    int rc = identify(name, m, err);
    if (rc == VN_OK)
        rc = vn_tensors_open_dir(m->dir, &m->tensors, err);
    if (rc == VN_OK && (rc = bind_tensors(m, err)) != VN_OK)
        vn_prefix(err, "model '%s'", m->dir);
    if (rc == VN_OK)
        rc = vn_tensors_prepare(m->tensors, err);
    if (rc != VN_OK) {
        vn_model_close(m);
        m = NULL;
    }
    *out = m;
    return rc;
}

const char *vn_model_sha256(struct vn_model *m, bool read_all, struct vn_error *err) {
    int rc = read_all ? vn_tensors_rehash(m->tensors, m->sha256, err)
                      : vn_tensors_sha256(m->tensors, m->sha256, err);
    return rc == VN_OK ? m->sha256 : NULL;
}

void vn_model_close(struct vn_model *m) {
    if (!m)
        return;
    vn_tensors_close(m->tensors);
    free(m->inv_freq);
    free(m->esm2);
    free(m->name);
    free(m->dir);
    free(m);
}

static int64_t elements(const struct vn_tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->n_dims; i++)
        n *= t->shape[i];
    return n;
}

int64_t vn_model_parameters(const struct vn_model *m) {
    int64_t n = elements(m->word_embeddings) + elements(m->norm_w) + elements(m->norm_b);
    for (int l = 0; l < m->config.n_layers; l++) {
        const struct vn_esm2_layer *y = &m->esm2[l];
        const struct vn_tensor *all[] = {y->norm1_w, y->norm1_b, y->q_w,     y->q_b,
                                         y->k_w,     y->k_b,     y->v_w,     y->v_b,
                                         y->out_w,   y->out_b,   y->norm2_w, y->norm2_b,
                                         y->fc1_w,   y->fc1_b,   y->fc2_w,   y->fc2_b};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            n += elements(all[i]);
    }
    return n;
}
