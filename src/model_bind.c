/* What the families of models share: config.json and the lookup of tensors. */
#include "model_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- config.json ----------------------------------------------------------------- */

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

int vn_model_numbers(const json_t *o, const struct vn_model_int *numbers, size_t n,
                     struct vn_model_config *c, struct vn_error *err) {
    double eps = 0;
    int rc = VN_OK;
    for (size_t i = 0; rc == VN_OK && i < n; i++) {
        int64_t v = 0;
        rc = vn_json_int(o, numbers[i].key, numbers[i].lo, numbers[i].hi, &v, err);
        *numbers[i].out = (int)v;
    }
    if (rc == VN_OK)
        rc = vn_json_number(o, "layer_norm_eps", 0, 1, &eps, err);
    if (rc == VN_OK)
        rc = check_heads(c, err);
    c->norm_eps = (float)eps;
    c->d_head = rc == VN_OK ? c->d_model / c->n_heads : 0;
    return rc;
}

/* ---- tensors --------------------------------------------------------------------- */

void vn_model_tensor_name(const struct vn_lookup *l, const char *suffix, char *out,
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

const char *vn_model_prefix(const struct vn_model *m, const char *prefix,
                            const char *tensor) {
    const struct vn_lookup l = {.m = m, .prefix = prefix, .layer = -1};
    char name[160];
    vn_model_tensor_name(&l, tensor, name, sizeof name);
    return vn_tensors_find(m->tensors, name) ? prefix : "";
}

int vn_model_bind(const struct vn_lookup *l, const char *suffix, int64_t rows, int64_t cols,
                const struct vn_tensor **out) {
    char name[160], found[256], wanted[64];
    vn_model_tensor_name(l, suffix, name, sizeof name);
    const struct vn_tensor *t = *out = vn_tensors_find(l->m->tensors, name);
    if (!t)
        return vn_fail(l->err, VN_EDATA, "tensor '%s' is missing", name);
    if (!is_float(t))
        return vn_fail(l->err, VN_EDATA, "tensor '%s' is not of type F32, F16 or BF16",
                       name);
    if (t->n_dims == (cols ? 2 : 1) && t->shape[0] == rows &&
        (!cols || t->shape[1] == cols)) {
        if (l->elements)
            *l->elements += rows * (cols ? cols : 1);
        return VN_OK;
    }
    shape_text(t, found, sizeof found);
    snprintf(wanted, sizeof wanted, cols ? "[%lld, %lld]" : "[%lld]", (long long)rows,
             (long long)cols);
    return vn_fail(l->err, VN_EDATA, "tensor '%s' has shape %s, expected %s", name, found,
                   wanted);
}

int vn_model_bind_pair(const struct vn_lookup *l, const char *stem, int64_t rows, int64_t cols,
                     const struct vn_tensor **w, const struct vn_tensor **b) {
    char suffix[80], name[160];
    snprintf(suffix, sizeof suffix, "%s.gamma", stem);
    vn_model_tensor_name(l, suffix, name, sizeof name);
    bool gamma = !cols && vn_tensors_find(l->m->tensors, name);
    snprintf(suffix, sizeof suffix, "%s.%s", stem, gamma ? "gamma" : "weight");
    int rc = vn_model_bind(l, suffix, rows, cols, w);
    snprintf(suffix, sizeof suffix, "%s.%s", stem, gamma ? "beta" : "bias");
    return rc == VN_OK ? vn_model_bind(l, suffix, rows, 0, b) : rc;
}

int vn_model_check_depth(const struct vn_lookup *l) {
    static const char stem[] = "encoder.layer.";
    const struct vn_tensors *all = l->m->tensors;
    const size_t skip = strlen(l->prefix);
    const int n_layers = l->m->config.n_layers;
    for (int64_t i = 0; i < vn_tensors_count(all); i++) {
        const char *name = vn_tensors_at(all, i)->name;
        const char *at = strncmp(name, l->prefix, skip) ? name : name + skip;
        if (strncmp(at, stem, sizeof stem - 1))
            continue;
        at += sizeof stem - 1;
        size_t digits = strspn(at, "0123456789");
        if (digits && at[digits] == '.' &&
            strtoull(at, NULL, 10) >= (unsigned long long)n_layers)
            return vn_fail(l->err, VN_EDATA,
                           "tensor '%.200s' is of layer %.*s, counted from 0, "
                           "num_hidden_layers is %d",
                           name, digits < 20 ? (int)digits : 20, at, n_layers);
    }
    return VN_OK;
}
