#include "bpe_json.h"

#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "sha256.h"

#define MAX_FILE ((size_t)64 << 20)

/* What is read before vn_bpe_new takes it over. */
struct parts {
    const json_t *vocab; /* piece to id, of the file */
    const char **piece;  /* [n_vocab] by id, of the file */
    struct vn_bpe_merge *merges;
    struct vn_bpe_spec spec;
};

/* ---- what is refused ------------------------------------------------------------- */

static int want_null(const json_t *o, const char *key, struct vn_error *err) {
    return vn_json_has(o, key) ? vn_json_wrong(o, key, "null", err) : VN_OK;
}

static int want_type(const json_t *o, const char *key, const char *type,
                     struct vn_error *err) {
    const json_t *part = json_object_get(o, key);
    if (!json_is_object(part))
        return vn_json_wrong(o, key, "an object", err);
    int rc = vn_json_want_string(part, "type", type, err);
    return rc == VN_OK ? rc : vn_prefix(err, "'%s'", key);
}

static int check_model(const json_t *model, struct vn_error *err) {
    static const char *const nothing[] = {"dropout", "continuing_subword_prefix",
                                          "end_of_word_suffix"};
    static const char *const off[] = {"fuse_unk", "byte_fallback", "ignore_merges"};
    int rc = VN_OK;
    for (size_t i = 0; rc == VN_OK && i < 3; i++)
        rc = want_null(model, nothing[i], err);
    for (size_t i = 0; rc == VN_OK && i < 3; i++)
        rc = vn_json_want_false(model, off[i], err);
    return rc;
}

/* Added tokens are cut out of the text before anything else: they may not look like
 * sequence. */
static int check_added(const json_t *root, struct vn_error *err) {
    const json_t *added = json_object_get(root, "added_tokens"), *one;
    size_t i;
    if (!vn_json_has(root, "added_tokens"))
        return VN_OK;
    if (!json_is_array(added))
        return vn_json_wrong(root, "added_tokens", "an array", err);
    json_array_foreach(added, i, one) {
        const char *text = json_string_value(json_object_get(one, "content"));
        if (!text || strpbrk(text, "[]") == NULL)
            return vn_fail(err, VN_EDATA,
                           "added token %zu is '%.80s', expected a name in brackets", i,
                           text ? text : "");
    }
    return VN_OK;
}

/* ---- pieces and merges ----------------------------------------------------------- */

static int read_vocab(const json_t *model, struct parts *p, struct vn_error *err) {
    const char *text;
    json_t *id;
    json_t *vocab = json_object_get(model, "vocab");
    if (!json_is_object(vocab))
        return vn_json_wrong(model, "vocab", "an object", err);
    p->vocab = vocab;
    const size_t n = json_object_size(vocab);
    if (n < 1 || n > VN_BPE_NONE)
        return vn_fail(err, VN_EDATA, "'vocab' has %zu pieces, expected 1 to %d", n,
                       VN_BPE_NONE);
    p->spec.n_vocab = (int)n;
    p->piece = vn_calloc(n, sizeof *p->piece, err);
    if (!p->piece)
        return VN_EFAIL;
    memset(p->spec.letter, 0xff, sizeof p->spec.letter);
    json_object_foreach(vocab, text, id) {
        const json_int_t v = json_integer_value(id);
        if (!json_is_integer(id) || v < 0 || v >= (json_int_t)n || p->piece[v])
            return vn_fail(err, VN_EDATA,
                           "piece '%.80s' of 'vocab' has no id of its own from 0 to %zu", text,
                           n - 1);
        p->piece[v] = text;
        if (text[0] && !text[1] && (uint8_t)text[0] < 128)
            p->spec.letter[(uint8_t)text[0]] = (uint16_t)v;
    }
    return VN_OK;
}

/* The id of n bytes of text. */
static int find_piece(const struct parts *p, const char *text, size_t n, size_t merge,
                      uint16_t *out, struct vn_error *err) {
    char copy[2 * VN_BPE_MAX_PIECE + 1];
    const json_t *id = NULL;
    if (n < sizeof copy) {
        memcpy(copy, text, n);
        copy[n] = 0;
        id = json_object_get(p->vocab, copy);
    }
    if (!id)
        return vn_fail(err, VN_EDATA, "merge %zu: '%.*s' is not in 'vocab'", merge,
                       n < 80 ? (int)n : 80, text);
    *out = (uint16_t)json_integer_value(id);
    return VN_OK;
}

/* "A C", or in newer files ["A", "C"]. */
static int read_merge(const struct parts *p, const json_t *item, size_t i,
                      struct vn_bpe_merge *out, struct vn_error *err) {
    const char *left = json_string_value(item), *right = left ? strchr(left, ' ') : NULL;
    size_t n = right ? (size_t)(right++ - left) : 0;
    char both[2 * VN_BPE_MAX_PIECE + 1];
    if (json_is_array(item) && json_array_size(item) == 2) {
        left = json_string_value(json_array_get(item, 0));
        right = json_string_value(json_array_get(item, 1));
        n = left ? strlen(left) : 0;
    }
    if (!left || !right || !n || !*right || strchr(right, ' '))
        return vn_fail(err, VN_EDATA, "merge %zu is not two pieces", i);
    size_t m = strlen(right);
    if (n + m > 2 * VN_BPE_MAX_PIECE)
        return vn_fail(err, VN_EDATA,
                       "merge %zu makes a piece of %zu letters, expected at most %d", i, n + m,
                       VN_BPE_MAX_PIECE);
    memcpy(both, left, n);
    memcpy(both + n, right, m);
    int rc = find_piece(p, left, n, i, &out->left, err);
    if (rc == VN_OK)
        rc = find_piece(p, right, m, i, &out->right, err);
    return rc == VN_OK ? find_piece(p, both, n + m, i, &out->result, err) : rc;
}

static int read_merges(const json_t *model, struct parts *p, struct vn_error *err) {
    json_t *merges, *item;
    size_t i;
    int rc = vn_json_array(model, "merges", &merges, err);
    if (rc != VN_OK)
        return rc;
    if (json_array_size(merges) > (size_t)p->spec.n_vocab)
        return vn_fail(err, VN_EDATA, "'merges' has %zu entries, more than the %d pieces",
                       json_array_size(merges), p->spec.n_vocab);
    p->spec.n_merges = (int)json_array_size(merges);
    p->merges = vn_calloc((size_t)p->spec.n_merges, sizeof *p->merges, err);
    if (!p->merges)
        return VN_EFAIL;
    json_array_foreach(merges, i, item)
        if ((rc = read_merge(p, item, i, &p->merges[i], err)) != VN_OK)
            return rc;
    p->spec.merges = p->merges;
    return VN_OK;
}

/* ---- specials -------------------------------------------------------------------- */

static int special(const struct parts *p, const char *name, uint16_t *out,
                   struct vn_error *err) {
    const json_t *id = json_object_get(p->vocab, name);
    if (!id)
        return vn_fail(err, VN_EDATA, "special token '%.80s' is not in 'vocab'", name);
    *out = (uint16_t)json_integer_value(id);
    return VN_OK;
}

/* Entry i of the template for one sequence: a special token's name. */
static const char *template_name(const json_t *single, size_t i) {
    const json_t *s = json_object_get(json_array_get(single, i), "SpecialToken");
    return json_string_value(json_object_get(s, "id"));
}

static int read_specials(const json_t *root, const json_t *model, struct parts *p,
                         struct vn_error *err) {
    const char *unk;
    int rc = vn_json_string(model, "unk_token", &unk, err);
    if (rc == VN_OK)
        rc = special(p, unk, &p->spec.unk, err);
    if (rc == VN_OK)
        rc = want_type(root, "post_processor", "TemplateProcessing", err);
    if (rc != VN_OK)
        return rc;
    const json_t *single = json_object_get(json_object_get(root, "post_processor"), "single");
    const char *cls = template_name(single, 0), *sep = template_name(single, 2);
    if (json_array_size(single) != 3 || !cls || !sep ||
        !json_object_get(json_array_get(single, 1), "Sequence"))
        return vn_fail(err, VN_EDATA,
                       "'post_processor' is not a special token, the sequence, a special "
                       "token");
    rc = special(p, cls, &p->spec.cls, err);
    return rc == VN_OK ? special(p, sep, &p->spec.sep, err) : rc;
}

/* ---- the file -------------------------------------------------------------------- */

static void make_digest(const struct parts *p, char digest[65]) {
    const uint16_t specials[3] = {p->spec.unk, p->spec.cls, p->spec.sep};
    struct vn_sha256 s;
    vn_sha256_init(&s);
    for (int i = 0; i < p->spec.n_vocab; i++)
        vn_sha256_update(&s, p->piece[i], strlen(p->piece[i]) + 1);
    vn_sha256_update(&s, p->merges, (size_t)p->spec.n_merges * sizeof *p->merges);
    vn_sha256_update(&s, specials, sizeof specials);
    vn_sha256_final(&s, digest);
}

static int read_root(const json_t *root, struct parts *p, struct vn_error *err) {
    const json_t *model = json_object_get(root, "model");
    int rc = want_null(root, "normalizer", err);
    if (rc == VN_OK)
        rc = want_type(root, "pre_tokenizer", "Whitespace", err);
    if (rc == VN_OK)
        rc = want_type(root, "model", "BPE", err);
    if (rc == VN_OK)
        rc = check_model(model, err);
    if (rc == VN_OK)
        rc = check_added(root, err);
    if (rc == VN_OK)
        rc = read_vocab(model, p, err);
    if (rc == VN_OK)
        rc = read_merges(model, p, err);
    return rc == VN_OK ? read_specials(root, model, p, err) : rc;
}

int vn_bpe_load(const char *path, struct vn_bpe **out, char digest[65], struct vn_error *err) {
    struct parts p = {0};
    json_t *root = NULL;
    *out = NULL;
    int rc = vn_json_load(path, MAX_FILE, &root, err);
    if (rc != VN_OK)
        return rc;
    rc = read_root(root, &p, err);
    if (rc == VN_OK)
        rc = vn_bpe_new(&p.spec, out, err);
    if (rc == VN_OK && digest)
        make_digest(&p, digest);
    if (rc != VN_OK)
        vn_prefix(err, "'%s'", path);
    free(p.piece);
    free(p.merges);
    json_decref(root);
    return rc;
}
