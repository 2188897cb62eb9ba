/* Readers of language models: fair-esm's checkpoints and Hugging Face directories. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "import_job.h"
#include "io.h"
#include "tok.h"

#define MAX_TEXT ((size_t)16 << 20)

/* What is in b as a string, malloc'ed. */
static int terminated(struct vn_buf *b, char **out, struct vn_error *err) {
    int rc = vn_buf_zeros(b, 1, err);
    *out = rc == VN_OK ? strdup((const char *)b->data) : NULL;
    return rc != VN_OK || *out ? rc : vn_fail(err, VN_EFAIL, "cannot allocate a text");
}

/* ---- fair-esm -------------------------------------------------------------------- */

/* Parts of a layer, then parts outside the layers: fair-esm's name, ours. A name matches
 * with ".weight" or ".bias" behind it, or whole. */
static const char *const layer_parts[][2] = {
    {"self_attn.q_proj", "attention.self.query"},
    {"self_attn.k_proj", "attention.self.key"},
    {"self_attn.v_proj", "attention.self.value"},
    {"self_attn.out_proj", "attention.output.dense"},
    {"self_attn.rot_emb.inv_freq", "attention.self.rotary_embeddings.inv_freq"},
    {"self_attn_layer_norm", "attention.LayerNorm"},
    {"fc1", "intermediate.dense"},
    {"fc2", "output.dense"},
    {"final_layer_norm", "LayerNorm"},
    {NULL, NULL}};

static const char *const other_parts[][2] = {
    {"embed_tokens", "esm.embeddings.word_embeddings"},
    {"emb_layer_norm_after", "esm.encoder.emb_layer_norm_after"},
    {"contact_head.regression", "esm.contact_head.regression"},
    {"lm_head.dense", "lm_head.dense"},
    {"lm_head.layer_norm", "lm_head.layer_norm"},
    {"lm_head.weight", "lm_head.decoder.weight"},
    {"lm_head.bias", "lm_head.bias"},
    {NULL, NULL}};

static bool translate(const char *const parts[][2], const char *prefix, const char *name,
                      char *out, size_t size) {
    for (int i = 0; parts[i][0]; i++) {
        size_t n = strlen(parts[i][0]);
        if (strncmp(name, parts[i][0], n))
            continue;
        const char *end = name + n;
        if (!*end || !strcmp(end, ".weight") || !strcmp(end, ".bias"))
            return snprintf(out, size, "%s%s%s", prefix, parts[i][1], end) < (int)size;
    }
    return false;
}

/* "encoder.sentence_encoder.layers.3.fc1.bias" to "esm.encoder.layer.3.intermediate..."
 */
static bool translate_name(const char *name, char *out, size_t size) {
    static const char *const prefixes[] = {"encoder.sentence_encoder.", "encoder."};
    char prefix[64];
    for (int i = 0; i < 2; i++)
        if (!strncmp(name, prefixes[i], strlen(prefixes[i]))) {
            name += strlen(prefixes[i]);
            break;
        }
    if (strncmp(name, "layers.", 7))
        return translate(other_parts, "", name, out, size);
    name += 7;
    size_t digits = strspn(name, "0123456789");
    if (digits < 1 || digits > 4 || name[digits] != '.')
        return false;
    snprintf(prefix, sizeof prefix, "esm.encoder.layer.%.*s.", (int)digits, name);
    return translate(layer_parts, prefix, name + digits + 1, out, size);
}

static int fact(const struct vn_py *cfg, const char *key, json_int_t *out,
                struct vn_error *err) {
    const struct vn_py *v = vn_py_get(cfg, key);
    if (!v || v->type != VN_PY_INT || v->i < 1 || v->i > 1 << 20)
        return vn_fail(err, VN_EDATA, "cfg.model has no sensible '%s'", key);
    *out = v->i;
    return VN_OK;
}

/* What fair-esm's cfg says, in the words of config.json; the rest is the same for all
 * ESM-2 models. The inner width is that of the first layer's tensor. */
static int write_config(struct vn_import_job *j, const struct vn_py *cfg, int64_t d_ffn,
                        struct vn_error *err) {
    json_int_t layers = 0, width = 0, heads = 0;
    const struct vn_py *dropout = vn_py_get(cfg, "token_dropout");
    int rc = fact(cfg, "encoder_layers", &layers, err);
    if (rc == VN_OK)
        rc = fact(cfg, "encoder_embed_dim", &width, err);
    if (rc == VN_OK)
        rc = fact(cfg, "encoder_attention_heads", &heads, err);
    if (rc == VN_OK && (!dropout || dropout->type != VN_PY_BOOL))
        rc = vn_fail(err, VN_EDATA, "cfg.model has no sensible 'token_dropout'");
    if (rc != VN_OK)
        return rc;
    json_t *o = json_pack(
        "{s:[s], s:s, s:s, s:b, s:b, s:s, s:f, s:I, "
        "s:I, s:I, s:I, s:b, s:i, s:i, s:i, s:i}",
        "architectures", "EsmForMaskedLM", "model_type", "esm", "hidden_act", "gelu",
        "emb_layer_norm_before", 0, "is_folding_model", 0, "position_embedding_type",
        "rotary", "layer_norm_eps", 1e-5, "num_hidden_layers", layers, "hidden_size",
        width, "num_attention_heads", heads, "intermediate_size", (json_int_t)d_ffn,
        "token_dropout", (int)dropout->i, "vocab_size", 33, "mask_token_id", 32,
        "pad_token_id", 1, "max_position_embeddings", 1026);
    j->config = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
    json_decref(o);
    vn_import_note(j, "source: fair-esm, %lld layers, width %lld, %lld heads",
                   (long long)layers, (long long)width, (long long)heads);
    return j->config ? VN_OK : vn_fail(err, VN_EFAIL, "cannot allocate a configuration");
}

static int add_fair_esm(struct vn_import_job *j, struct vn_ptfile *f, const char *name,
                        const struct vn_py *value, struct vn_error *err) {
    char ours[256];
    j->n_read++;
    if (!translate_name(name, ours, sizeof ours))
        return vn_import_drop(j, name, err);
    j->n_renamed++;
    return vn_import_add(j, ours, f, value, err);
}

int vn_import_fair_esm(struct vn_import_job *j, struct vn_ptfile *f,
                       struct vn_error *err) {
    const struct vn_py *root = vn_ptfile_root(f), *state = vn_py_get(root, "model");
    const struct vn_py *cfg = vn_py_get(vn_py_get(root, "cfg"), "model");
    int64_t d_ffn = 0, n = vn_import_tensors(state, "'model'", err);
    if (n < 0)
        return (int)n;
    if (!cfg)
        return vn_fail(err, VN_EDATA,
                       "has a model without cfg.model: "
                       "not an ESM-2 checkpoint of fair-esm");
    if (vn_py_is(cfg, "argparse.Namespace"))
        cfg = cfg->state;
    for (int64_t i = 0; i < n; i++) {
        int rc =
            add_fair_esm(j, f, state->items[2 * i]->text, state->items[2 * i + 1], err);
        if (rc != VN_OK)
            return rc;
    }
    for (size_t i = 0; i < j->n_items; i++)
        if (!strcmp(j->items[i].t.name, "esm.encoder.layer.0.intermediate.dense.weight"))
            d_ffn = j->items[i].t.shape[0];
    struct vn_buf vocabulary = {0};
    int rc = vn_tok_esm2_vocabulary(&vocabulary, err);
    if (rc == VN_OK)
        rc = terminated(&vocabulary, &j->vocabulary, err);
    vn_buf_release(&vocabulary);
    return rc == VN_OK ? write_config(j, cfg, d_ffn, err) : rc;
}

/* ---- Hugging Face directories ---------------------------------------------------- */

/* A small file, terminated, malloc'ed; *out is NULL when there is none and it may miss.
 */
static int read_text(const char *dir, const char *name, bool may_miss, char **out,
                     struct vn_error *err) {
    struct vn_buf path = {0}, text = {0};
    *out = NULL;
    int rc = vn_buf_printf(&path, err, "%s/%s", dir, name);
    if (rc != VN_OK || (may_miss && access((const char *)path.data, F_OK) != 0))
        goto out;
    rc = vn_read_file((const char *)path.data, MAX_TEXT, &text, err);
    if (rc == VN_OK)
        rc = terminated(&text, out, err);
out:
    vn_buf_release(&path);
    vn_buf_release(&text);
    return rc;
}

/* All tensors of a state dict under their own names. `only` is the shard they must be in
 * according to the map, or NULL. */
static int add_state(struct vn_import_job *j, struct vn_ptfile *f, const json_t *map,
                     const char *shard, struct vn_error *err) {
    const struct vn_py *state = vn_ptfile_root(f);
    char what[300];
    snprintf(what, sizeof what, "'%.255s'", shard);
    const int64_t n = vn_import_tensors(state, what, err);
    if (n < 0)
        return (int)n;
    for (int64_t i = 0; i < n; i++) {
        const char *name = state->items[2 * i]->text, *where = NULL;
        if (map &&
            ((where = json_string_value(json_object_get(map, name))) == NULL ||
             strcmp(where, shard)))
            return vn_fail(err, VN_EDATA, "tensor '%.200s' of '%s' is '%s' in the index",
                           name, shard, where ? where : "missing");
        j->n_read++;
        int rc = vn_import_add(j, name, f, state->items[2 * i + 1], err);
        if (rc != VN_OK)
            return rc;
    }
    return VN_OK;
}

static int add_bin(struct vn_import_job *j, const char *dir, const char *name,
                   const json_t *map, struct vn_error *err) {
    struct vn_buf path = {0};
    struct vn_ptfile *f;
    int rc = vn_buf_printf(&path, err, "%s/%s", dir, name);
    if (rc == VN_OK)
        rc = vn_import_file(j, (const char *)path.data, &f, err);
    if (rc == VN_OK)
        rc = add_state(j, f, map, name, err);
    vn_buf_release(&path);
    return rc;
}

/* The shards of pytorch_model.bin.index.json, each once, and that all of the map came. */
static int add_shards(struct vn_import_job *j, const char *dir, const char *index_path,
                      struct vn_error *err) {
    json_t *index, *value, *seen = json_object();
    const char *key;
    int rc = vn_json_load(index_path, MAX_TEXT, &index, err);
    json_t *map = rc == VN_OK ? json_object_get(index, "weight_map") : NULL;
    if (rc == VN_OK && (!json_is_object(map) || !seen))
        rc = vn_json_wrong(index, "weight_map", "an object", err);
    if (rc == VN_OK)
        json_object_foreach(map, key, value) {
            const char *name = json_string_value(value);
            if (rc != VN_OK)
                break;
            if (!name || !*name || strchr(name, '/'))
                rc = vn_fail(err, VN_EDATA,
                             "tensor '%s' is not in a file of the directory", key);
            else if (!json_object_get(seen, name)) {
                json_object_set_new(seen, name, json_true());
                rc = add_bin(j, dir, name, map, err);
            }
        }
    if (rc == VN_OK && j->n_items != json_object_size(map))
        rc = vn_fail(err, VN_EDATA, "the index names %zu tensors, the shards have %zu",
                     json_object_size(map), j->n_items);
    json_decref(seen);
    json_decref(index);
    return rc;
}

static int add_safetensors(struct vn_import_job *j, const char *dir,
                           struct vn_error *err) {
    int rc = vn_tensors_open_dir(dir, &j->tensors, err);
    for (int64_t i = 0; rc == VN_OK && i < vn_tensors_count(j->tensors); i++) {
        const struct vn_tensor *t = vn_tensors_at(j->tensors, i);
        j->n_read++;
        rc = vn_import_add_tensor(j, t->name, t, NULL, err);
    }
    return rc;
}

int vn_import_huggingface(struct vn_import_job *j, const char *dir,
                          struct vn_error *err) {
    static const char *const names[] = {
        "model.safetensors", "model.safetensors.index.json",
        "pytorch_model.bin.index.json", "pytorch_model.bin"};
    const char *found = NULL;
    struct vn_buf path = {0};
    int rc = read_text(dir, "config.json", false, &j->config, err);
    if (rc == VN_OK)
        rc = read_text(dir, "vocab.txt", true, &j->vocabulary, err);
    if (rc == VN_OK) /* vn-pack reads it for DNABERT-S */
        rc = read_text(dir, "tokenizer.json", true, &j->tokenizer, err);
    for (size_t i = 0; rc == VN_OK && !found && i < 4; i++) {
        path.len = 0;
        rc = vn_buf_printf(&path, err, "%s/%s", dir, names[i]);
        if (rc == VN_OK && access((const char *)path.data, F_OK) == 0)
            found = names[i];
    }
    if (rc == VN_OK && !found)
        rc = vn_fail(err, VN_ENOINPUT,
                     "no model.safetensors and no pytorch_model.bin in '%s'", dir);
    if (rc == VN_OK) {
        vn_import_note(j, "source: Hugging Face, %s", found);
        rc = found == names[3]   ? add_bin(j, dir, found, NULL, err)
             : found == names[2] ? add_shards(j, dir, (const char *)path.data, err)
                                 : add_safetensors(j, dir, err);
    }
    vn_buf_release(&path);
    return rc;
}
