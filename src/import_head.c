/* Reader of classifier heads: a pickled torch module, or a state dict. Linear layers are
 * taken in the order of their definition; a batch norm is folded into the layer before
 * it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "import_job.h"
#include "num.h"

#define MAX_PARTS 128
#define MAX_DEPTH 8
#define MAX_MODULES 1024 /* visits: a pickle can hold one module a thousand times */
#define DEFAULT_EPS 1e-5

struct part {
    bool is_norm;
    const char *name;          /* for messages */
    const struct vn_py *w, *b; /* NULL or None where there is none */
    const struct vn_py *mean, *var;
    double eps;
};

struct parts {
    struct vn_import_job *j;
    struct vn_ptfile *f;
    struct part all[MAX_PARTS];
    int n, n_modules;
    bool gelu, relu;
    bool activated; /* an activation came after the last linear layer */
    struct vn_error *err;
};

static struct part *add_part(struct parts *p, const char *name, bool is_norm) {
    if (p->n == MAX_PARTS) {
        vn_fail(p->err, VN_EDATA, "has more than %d layers", MAX_PARTS);
        return NULL;
    }
    struct part *part = &p->all[p->n++];
    part->name = name;
    part->is_norm = is_norm;
    part->eps = DEFAULT_EPS;
    return part;
}

static bool there(const struct vn_py *v) {
    return v && v->type != VN_PY_NONE;
}

static bool is_dict(const struct vn_py *v) {
    return v && (v->type == VN_PY_DICT || v->type == VN_PY_OBJECT);
}

/* ---- modules --------------------------------------------------------------------- */

static int walk_module(struct parts *p, const char *name, const struct vn_py *v,
                       int depth);

static int walk_children(struct parts *p, const struct vn_py *modules, int depth) {
    char text[160];
    int rc = VN_OK;
    for (size_t i = 0; rc == VN_OK && i < vn_py_pairs(modules); i++) {
        const struct vn_py *key = modules->items[2 * i], *child = modules->items[2 * i + 1];
        if (key->type != VN_PY_STRING || child->type != VN_PY_OBJECT)
            return vn_fail(p->err, VN_EDATA,
                           "a module holds %s, expected modules by name",
                           vn_py_describe(child, text, sizeof text));
        rc = walk_module(p, key->text, child, depth + 1);
    }
    return rc;
}

static int take_linear(struct parts *p, const char *name,
                       const struct vn_py *parameters) {
    struct part *part = add_part(p, name, false);
    if (!part)
        return VN_EDATA;
    part->w = vn_py_get(parameters, "weight");
    part->b = vn_py_get(parameters, "bias");
    p->activated = false;
    return VN_OK;
}

static int take_norm(struct parts *p, const char *name, const struct vn_py *parameters,
                     const struct vn_py *state) {
    const struct vn_py *buffers = vn_py_get(state, "_buffers"),
                       *eps = vn_py_get(state, "eps");
    if (p->activated)
        return vn_fail(p->err, VN_EDATA,
                       "batch norm '%s' comes after an activation "
                       "and cannot be folded into a linear layer",
                       name);
    struct part *part = add_part(p, name, true);
    if (!part)
        return VN_EDATA;
    part->w = vn_py_get(parameters, "weight");
    part->b = vn_py_get(parameters, "bias");
    part->mean = vn_py_get(buffers, "running_mean");
    part->var = vn_py_get(buffers, "running_var");
    if (!eps || eps->type != VN_PY_FLOAT || !(eps->f >= 0 && eps->f < 1))
        return vn_fail(p->err, VN_EDATA, "batch norm '%s' has no sensible eps", name);
    part->eps = eps->f;
    return VN_OK;
}

static int walk_module(struct parts *p, const char *name, const struct vn_py *v,
                       int depth) {
    const struct vn_py *state = v->state, *parameters = vn_py_get(state, "_parameters");
    const struct vn_py *modules = vn_py_get(state, "_modules");
    if (depth > MAX_DEPTH)
        return vn_fail(p->err, VN_EDATA, "modules are nested deeper than %d", MAX_DEPTH);
    if (++p->n_modules > MAX_MODULES)
        return vn_fail(p->err, VN_EDATA, "has more than %d modules", MAX_MODULES);
    if (!is_dict(parameters) || !is_dict(modules))
        return vn_fail(p->err, VN_EDATA, "module '%s' has no parameters and modules",
                       name);
    if (vn_py_is(v, "torch.nn.modules.linear.Linear"))
        return take_linear(p, name, parameters);
    if (vn_py_is(v, "torch.nn.modules.batchnorm.BatchNorm1d"))
        return take_norm(p, name, parameters, state);
    if (vn_py_is(v, "torch.nn.modules.activation.ReLU"))
        p->relu = p->activated = true;
    else if (vn_py_is(v, "torch.nn.modules.activation.GELU"))
        p->gelu = p->activated = true;
    else if (vn_py_pairs(parameters))
        return vn_fail(p->err, VN_EDATA,
                       "module '%s' of class '%.100s' has parameters of its own", name,
                       v->cls->text);
    const struct vn_py *approximate = vn_py_get(state, "approximate");
    if (approximate &&
        (approximate->type != VN_PY_STRING || strcmp(approximate->text, "none")))
        return vn_fail(p->err, VN_EDATA,
                       "module '%s' is an approximate GELU, which heads do not have",
                       name);
    return walk_children(p, modules, depth);
}

/* ---- state dicts ----------------------------------------------------------------- */

/* "<stem>.<leaf>" of the dict. */
static const struct vn_py *leaf(const struct vn_py *state, const char *stem,
                                size_t n_stem, const char *name) {
    char key[256];
    int n = snprintf(key, sizeof key, "%.*s%s", (int)n_stem, stem, name);
    return n > 0 && (size_t)n < sizeof key ? vn_py_get(state, key) : NULL;
}

static int walk_state(struct parts *p, const struct vn_py *state) {
    const int64_t n_tensors = vn_import_tensors(state, "the dict", p->err);
    if (n_tensors < 0)
        return (int)n_tensors;
    for (int64_t i = 0; i < n_tensors; i++) {
        const struct vn_py *key = state->items[2 * i], *value = state->items[2 * i + 1];
        const char *dot = strrchr(key->text, '.');
        size_t n = dot ? (size_t)(dot - key->text) + 1 : 0;
        if (strstr(key->text, "word_embeddings"))
            return vn_fail(p->err, VN_EDATA,
                           "holds a language model: name its "
                           "directory, with the config.json in it");
        if (strcmp(key->text + n, "weight"))
            continue;
        const struct vn_py *mean = leaf(state, key->text, n, "running_mean");
        struct part *part = add_part(p, key->text, mean != NULL);
        if (!part)
            return VN_EDATA;
        part->w = value;
        part->b = leaf(state, key->text, n, "bias");
        part->mean = mean;
        part->var = leaf(state, key->text, n, "running_var");
    }
    return VN_OK;
}

/* ---- values ---------------------------------------------------------------------- */

/* Reads a float tensor [rows, cols], or [rows] where cols is 0; its data are in b. */
static int read_floats(struct parts *p, const struct part *part, const struct vn_py *v,
                       int64_t rows, int64_t cols, struct vn_tensor *t,
                       struct vn_buf *b) {
    if (!vn_ptfile_is_tensor(v))
        return vn_fail(p->err, VN_EDATA, "'%s' has a value that is no tensor",
                       part->name);
    int rc = vn_ptfile_tensor(p->f, v, t, p->err);
    if (rc == VN_OK)
        rc = vn_ptfile_read(p->f, v, b, p->err);
    if (rc != VN_OK)
        return rc;
    p->j->n_read++;
    t->data = b->data;
    bool floats =
        t->type == VN_F32 || t->type == VN_F16 || t->type == VN_BF16 || t->type == VN_F64;
    if (!floats || t->n_dims != (cols ? 2 : 1) || t->shape[0] != rows ||
        (cols && t->shape[1] != cols))
        return vn_fail(p->err, VN_EDATA,
                       cols ? "'%s' has no weight of %lld x %lld floats"
                            : "'%s' has a tensor other than %lld floats",
                       part->name, (long long)rows, (long long)cols);
    return VN_OK;
}

/* The values of such a tensor as doubles; where there is none, `otherwise` everywhere.
 * malloc'ed. */
static double *values(struct parts *p, const struct part *part, const struct vn_py *v,
                      int64_t rows, int64_t cols, double otherwise) {
    struct vn_tensor t = {0};
    struct vn_buf b = {0};
    const size_t n = (size_t)rows * (size_t)(cols ? cols : 1);
    double *out = NULL;
    if (!there(v) || read_floats(p, part, v, rows, cols, &t, &b) == VN_OK)
        out = vn_calloc(n, sizeof *out, p->err);
    for (size_t i = 0; out && i < n; i++)
        out[i] = there(v) ? (double)vn_tensor_at(&t, (int64_t)i) : otherwise;
    vn_buf_release(&b);
    return out;
}

/* y = gamma (W x + b - mean) / sqrt(var + eps) + beta is linear in x. */
static int fold(struct parts *p, const struct part *norm, double *w, double *b,
                int64_t rows, int64_t cols) {
    if (!there(norm->mean) || !there(norm->var))
        return vn_fail(p->err, VN_EDATA, "batch norm '%s' has no running statistics",
                       norm->name);
    double *gamma = values(p, norm, norm->w, rows, 0, 1);
    double *beta = gamma ? values(p, norm, norm->b, rows, 0, 0) : NULL;
    double *mean = beta ? values(p, norm, norm->mean, rows, 0, 0) : NULL;
    double *var = mean ? values(p, norm, norm->var, rows, 0, 0) : NULL;
    for (int64_t r = 0; var && r < rows; r++) {
        double scale = gamma[r] / sqrt(var[r] + norm->eps);
        b[r] = scale * (b[r] - mean[r]) + beta[r];
        for (int64_t c = 0; c < cols; c++)
            w[r * cols + c] *= scale;
    }
    int rc = var ? VN_OK : p->err->status;
    free(gamma);
    free(beta);
    free(mean);
    free(var);
    p->j->n_folded += 4;
    return rc;
}

static int add_values(struct parts *p, int layer, const char *what, const double *v,
                      int64_t rows, int64_t cols) {
    char name[40];
    struct vn_buf b = {0};
    size_t n = (size_t)rows * (size_t)(cols ? cols : 1);
    struct vn_tensor t = {.type = VN_F32, .n_dims = cols ? 2 : 1, .shape = {rows, cols}};
    int rc = vn_buf_resize(&b, 4 * n, p->err);
    for (size_t i = 0; rc == VN_OK && i < n; i++)
        vn_store32(b.data + 4 * i, vn_f32_bits((float)v[i]));
    t.data = b.data;
    t.bytes = b.len;
    snprintf(name, sizeof name, "layers.%d.%s", layer, what);
    if (rc == VN_OK)
        rc = vn_import_add_tensor(p->j, name, &t, &b, p->err);
    vn_buf_release(&b);
    return rc;
}

static int add_layer(struct parts *p, int layer, const struct part *linear,
                     const struct part *norm, int64_t shape[2]) {
    struct vn_tensor t;
    if (!linear->w || !vn_ptfile_is_tensor(linear->w))
        return vn_fail(p->err, VN_EDATA, "'%s' has no weight", linear->name);
    int rc = vn_ptfile_tensor(p->f, linear->w, &t, p->err);
    if (rc != VN_OK)
        return rc;
    if (t.n_dims != 2 || t.shape[0] < 1 || t.shape[1] < 1)
        return vn_fail(p->err, VN_EDATA,
                       "'%s' is not a matrix: only linear "
                       "layers and batch norms can be imported",
                       linear->name);
    shape[0] = t.shape[0];
    shape[1] = t.shape[1];
    double *w = values(p, linear, linear->w, shape[0], shape[1], 0);
    double *b = w ? values(p, linear, linear->b, shape[0], 0, 0) : NULL;
    rc = b ? VN_OK : p->err->status;
    if (rc == VN_OK && norm)
        rc = fold(p, norm, w, b, shape[0], shape[1]);
    if (rc == VN_OK)
        rc = add_values(p, layer, "weight", w, shape[0], shape[1]);
    if (rc == VN_OK)
        rc = add_values(p, layer, "bias", b, shape[0], 0);
    free(w);
    free(b);
    return rc;
}

/* ---- config.json ----------------------------------------------------------------- */

/* VirNucPro's heads take DNABERT-S and ESM-2 3B side by side. */
static json_t *inputs_of(int64_t width) {
    if (width == 768 + 2560)
        return json_pack("[{s:s, s:s, s:i}, {s:s, s:i, s:s, s:i}]", "model", "DNABERT-S",
                         "pool", "mean-all", "width", 768, "model", "esm2_t36_3B_UR50D",
                         "layer", 36, "pool", "mean", "width", 2560);
    return json_pack("[{s:I}]", "width", (json_int_t)width);
}

/* One of n bytes behind those that are in the array. */
static int add_label(json_t *labels, const char *text, size_t n, struct vn_error *err) {
    const size_t number = json_array_size(labels) + 1;
    json_t *label = json_stringn(text, n);
    const char *s = json_string_value(label);
    int rc = VN_OK;
    if (!s)
        rc = vn_fail(err, VN_EUSAGE, "--labels: label %zu is not UTF-8", number);
    else if (!*s)
        rc = vn_fail(err, VN_EUSAGE, "--labels: label %zu is empty", number);
    else if (strpbrk(s, "\t\n\r"))
        rc = vn_fail(err, VN_EUSAGE,
                     "--labels: label %zu has a tab or the end of a line in it", number);
    for (size_t i = 0; rc == VN_OK && i + 1 < number; i++)
        if (json_equal(label, json_array_get(labels, i)))
            rc = vn_fail(err, VN_EUSAGE, "--labels: '%s' is given twice", s);
    if (rc == VN_OK && json_array_append(labels, label) != 0)
        rc = vn_fail(err, VN_EFAIL, "cannot allocate a label");
    json_decref(label);
    return rc;
}

int vn_import_labels(const char *text, json_t **out, struct vn_error *err) {
    *out = json_array();
    int rc = *out ? VN_OK : vn_fail(err, VN_EFAIL, "cannot allocate the labels");
    while (rc == VN_OK && text) {
        size_t n = strcspn(text, ",");
        rc = add_label(*out, text, n, err);
        text = text[n] ? text + n + 1 : NULL;
    }
    return rc;
}

static int write_config(struct parts *p, int64_t width) {
    json_t *labels =
        p->j->labels ? json_incref(p->j->labels) : json_pack("[s, s]", "others", "virus");
    json_t *o = json_pack("{s:s, s:s, s:o, s:o}", "model_type", "vn-head", "activation",
                          p->gelu ? "gelu" : "relu", "labels", labels, "inputs",
                          inputs_of(width));
    if (o && p->j->o->chunk)
        json_object_set_new(o, "chunk", json_integer(p->j->o->chunk));
    p->j->config = o ? json_dumps(o, JSON_INDENT(2)) : NULL;
    json_decref(o);
    return p->j->config ? VN_OK
                        : vn_fail(p->err, VN_EFAIL, "cannot allocate a configuration");
}

/* ---- all together ---------------------------------------------------------------- */

/* Norm number i belongs to linear layer i, and must be defined behind it. */
static const struct part *norm_of(const struct parts *p, int layer) {
    int linears = 0, norms = 0;
    for (int i = 0; i < p->n; i++) {
        if (!p->all[i].is_norm)
            linears++;
        else if (norms++ == layer)
            return linears > layer ? &p->all[i] : NULL;
    }
    return NULL;
}

static int add_layers(struct parts *p) {
    int64_t shape[2] = {0, 0}, width = 0, norms = 0;
    int layer = 0, rc = VN_OK;
    for (int i = 0; i < p->n; i++)
        norms += p->all[i].is_norm;
    if (norms && norms != p->n - norms - 1)
        return vn_fail(p->err, VN_EDATA,
                       "has %d linear layers and %d batch norms: expected "
                       "none, or one behind each layer but the last",
                       (int)(p->n - norms), (int)norms);
    for (int i = 0; rc == VN_OK && i < p->n; i++) {
        int64_t before = shape[0];
        if (p->all[i].is_norm)
            continue;
        const struct part *norm = norm_of(p, layer);
        if (layer < norms && !norm)
            return vn_fail(p->err, VN_EDATA,
                           "a batch norm comes before the linear layer '%s'",
                           p->all[i].name);
        rc = add_layer(p, layer, &p->all[i], norm, shape);
        if (rc == VN_OK && layer && shape[1] != before)
            rc = vn_fail(p->err, VN_EDATA,
                         "linear layer '%s' takes %lld values, the one before gives %lld",
                         p->all[i].name, (long long)shape[1], (long long)before);
        if (!layer++)
            width = shape[1];
    }
    p->j->n_renamed = 2 * (size_t)layer;
    if (rc == VN_OK && !layer)
        rc = vn_fail(p->err, VN_EDATA, "has no linear layer");
    p->j->n_classes = shape[0];
    return rc == VN_OK ? write_config(p, width) : rc;
}

int vn_import_head(struct vn_import_job *j, struct vn_ptfile *f, struct vn_error *err) {
    const struct vn_py *root = vn_ptfile_root(f);
    char text[160];
    struct vn_error local = {0};
    struct parts *p = vn_calloc(1, sizeof *p, err);
    if (!p)
        return VN_EFAIL;
    p->j = j;
    p->f = f;
    p->err = err ? err : &local;
    j->is_head = true;
    bool state = root->type == VN_PY_DICT || vn_py_is(root, "collections.OrderedDict");
    int rc =
        state ? walk_state(p, root)
        : root->type == VN_PY_OBJECT
            ? walk_module(p, "the module", root, 0)
            : vn_fail(p->err, VN_EDATA, "holds %s, expected a module or tensors by name",
                      vn_py_describe(root, text, sizeof text));
    if (rc == VN_OK && p->relu && p->gelu)
        rc = vn_fail(p->err, VN_EDATA, "has both ReLU and GELU activations");
    if (rc == VN_OK)
        vn_import_note(j, "source: %s, activation %s%s",
                       vn_py_describe(root, text, sizeof text), p->gelu ? "gelu" : "relu",
                       p->gelu || p->relu ? "" : " (assumed)");
    if (rc == VN_OK)
        rc = add_layers(p);
    free(p);
    return rc;
}
