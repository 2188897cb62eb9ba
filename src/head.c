#include "head.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "model.h"

#define MAX_CONFIG ((size_t)1 << 20)
#define MAX_LAYERS 64

/* ---- config.json ----------------------------------------------------------------- */

static int read_labels(struct vn_head *h, const json_t *o, struct vn_error *err) {
    json_t *labels;
    const size_t wanted = (size_t)h->width[h->n_layers];
    int rc = vn_json_array(o, "labels", &labels, err);
    if (rc != VN_OK)
        return rc;
    if (json_array_size(labels) != wanted)
        return vn_fail(err, VN_EDATA, "has %zu labels, the last layer has %zu outputs",
                       json_array_size(labels), wanted);
    h->labels = vn_calloc(wanted + 1, sizeof *h->labels, err);
    if (!h->labels)
        return VN_EFAIL;
    for (size_t i = 0; i < wanted; i++) {
        const char *s = json_string_value(json_array_get(labels, i));
        if (!s || !*s || strpbrk(s, "\t\n\r"))
            return vn_fail(err, VN_EDATA, "label %zu is not a word", i);
        for (size_t k = 0; k < i; k++)
            if (!strcmp(h->labels[k], s))
                return vn_fail(err, VN_EDATA, "label '%s' occurs twice", s);
        if (!(h->labels[i] = strdup(s)))
            return vn_fail(err, VN_EFAIL, "cannot allocate a label");
    }
    return VN_OK;
}

static int check_input(const json_t *input, int64_t *width, struct vn_error *err) {
    static const char *const strings[] = {"model", "sha256", "pool"};
    int64_t layer;
    const char *text;
    if (!json_is_object(input))
        return vn_fail(err, VN_EDATA, "is not an object");
    int rc = vn_json_int(input, "width", 1, INT32_MAX, width, err);
    for (size_t i = 0; rc == VN_OK && i < sizeof strings / sizeof *strings; i++)
        if (json_object_get(input, strings[i]))
            rc = vn_json_string(input, strings[i], &text, err);
    if (rc == VN_OK && json_object_get(input, "layer"))
        rc = vn_json_int(input, "layer", 0, INT32_MAX, &layer, err);
    return rc;
}

static int check_inputs(const struct vn_head *h, const json_t *o, struct vn_error *err) {
    json_t *inputs;
    int64_t sum = 0;
    int rc = vn_json_array(o, "inputs", &inputs, err);
    for (size_t i = 0; rc == VN_OK && i < json_array_size(inputs); i++) {
        int64_t width = 0;
        rc = check_input(json_array_get(inputs, i), &width, err);
        if (rc != VN_OK)
            return vn_prefix(err, "input %zu", i);
        sum += width;
    }
    if (rc == VN_OK && sum != h->width[0])
        rc = vn_fail(err, VN_EDATA, "the inputs are %lld wide, the first layer takes %d",
                     (long long)sum, h->width[0]);
    return rc;
}

/* Before the weights are looked at: those of a model do not say that it is no head. */
static int check_type(const json_t *o, struct vn_error *err) {
    return vn_json_want_string(o, "model_type", "vn-head", err);
}

static int read_threshold(struct vn_head *h, const json_t *o, struct vn_error *err) {
    double v = 0;
    if (!json_object_get(o, "threshold"))
        return VN_OK;
    int rc = vn_json_number(o, "threshold", 0, 1, &v, err);
    if (rc == VN_OK && (h->width[h->n_layers] != 2 || (float)v == 0))
        return vn_fail(err, VN_EDATA, "'threshold' is %g of %d classes, expected one above 0 "
                       "of 2 classes", v, h->width[h->n_layers]);
    h->threshold = (float)v;
    return rc;
}

static int read_config(struct vn_head *h, struct vn_error *err) {
    const json_t *o = h->config;
    const char *activation;
    int64_t chunk, shortest;
    int rc = vn_json_string(o, "activation", &activation, err);
    if (rc == VN_OK && strcmp(activation, "relu") && strcmp(activation, "gelu"))
        rc = vn_json_wrong(o, "activation", "\"relu\" or \"gelu\"", err);
    if (rc == VN_OK) {
        h->gelu = !strcmp(activation, "gelu");
        rc = read_labels(h, o, err);
    }
    if (rc == VN_OK && json_object_get(o, "chunk"))
        rc = vn_json_int(o, "chunk", 1, INT32_MAX, &chunk, err);
    if (rc == VN_OK && json_object_get(o, "shortest"))
        rc = vn_json_int(o, "shortest", 1, INT32_MAX, &shortest, err);
    if (rc == VN_OK)
        rc = read_threshold(h, o, err);
    return rc == VN_OK ? check_inputs(h, o, err) : rc;
}

/* ---- tensors --------------------------------------------------------------------- */

/* The tensor as f32, malloc'ed; its values must be finite. */
static float *to_floats(const struct vn_tensor *t, size_t n, struct vn_error *err) {
    float *out = vn_calloc(n, sizeof *out, err);
    for (size_t i = 0; out && i < n; i++) {
        out[i] = vn_tensor_at(t, (int64_t)i);
        if (!isfinite(out[i])) {
            vn_fail(err, VN_EDATA, "tensor '%s' has a value that is not finite", t->name);
            free(out);
            return NULL;
        }
    }
    return out;
}

static int load_layer(struct vn_head *h, const struct vn_tensor *w,
                      const struct vn_tensor *b, int i, struct vn_error *err) {
    bool floats = w && b &&
                  (w->type == VN_F32 || w->type == VN_F16 || w->type == VN_BF16) &&
                  (b->type == VN_F32 || b->type == VN_F16 || b->type == VN_BF16);
    if (!floats)
        return vn_fail(err, VN_EDATA,
                       "tensor 'layers.%d.%s' is missing or not of type F32, F16 or BF16",
                       i, w ? "bias" : "weight");
    if (w->n_dims != 2 || b->n_dims != 1 || w->shape[0] != b->shape[0] ||
        w->shape[0] < 1 || w->shape[1] < 1 || w->shape[0] > INT32_MAX ||
        w->shape[1] > INT32_MAX)
        return vn_fail(err, VN_EDATA,
                       "tensors 'layers.%d.weight' and '.bias' "
                       "do not have shapes [out, in] and [out]",
                       i);
    if (i && w->shape[1] != h->width[i])
        return vn_fail(err, VN_EDATA,
                       "tensor 'layers.%d.weight' has shape [%lld, "
                       "%lld], the layer before has %d outputs",
                       i, (long long)w->shape[0], (long long)w->shape[1], h->width[i]);
    h->width[i] = (int)w->shape[1];
    h->width[i + 1] = (int)w->shape[0];
    h->weight[i] = to_floats(w, (size_t)w->shape[0] * (size_t)w->shape[1], err);
    h->bias[i] = h->weight[i] ? to_floats(b, (size_t)b->shape[0], err) : NULL;
    return h->bias[i] ? VN_OK : err ? err->status : VN_EFAIL;
}

static int load_layers(struct vn_head *h, const struct vn_tensors *t,
                       struct vn_error *err) {
    char name[40];
    const int64_t n = vn_tensors_count(t) / 2;
    if (n < 1 || n > MAX_LAYERS || vn_tensors_count(t) % 2)
        return vn_fail(err, VN_EDATA,
                       "has %lld tensors, expected a weight "
                       "and a bias for each of 1 to %d layers",
                       (long long)vn_tensors_count(t), MAX_LAYERS);
    h->width = vn_calloc((size_t)n + 1, sizeof *h->width, err);
    h->weight = vn_calloc((size_t)n, sizeof *h->weight, err);
    h->bias = vn_calloc((size_t)n, sizeof *h->bias, err);
    int rc = h->width && h->weight && h->bias ? VN_OK : VN_EFAIL;
    h->n_layers = rc == VN_OK ? (int)n : 0;
    for (int i = 0; rc == VN_OK && i < n; i++) {
        snprintf(name, sizeof name, "layers.%d.weight", i);
        const struct vn_tensor *w = vn_tensors_find(t, name);
        snprintf(name, sizeof name, "layers.%d.bias", i);
        rc = load_layer(h, w, vn_tensors_find(t, name), i, err);
    }
    if (rc == VN_OK && h->width[n] < 2)
        rc = vn_fail(err, VN_EDATA, "has %d class, expected 2 or more", h->width[n]);
    return rc;
}

/* ---- open and close -------------------------------------------------------------- */

static int load(struct vn_head *h, struct vn_error *err) {
    struct vn_buf path = {0};
    struct vn_tensors *t = NULL;
    json_t *config = NULL;
    int rc = vn_buf_printf(&path, err, "%s/config.json", h->dir);
    if (rc == VN_OK)
        rc = vn_json_load((const char *)path.data, MAX_CONFIG, &config, err);
    h->config = config;
    if (rc == VN_OK && (rc = check_type(config, err)) != VN_OK)
        vn_prefix(err, "'%s'", (const char *)path.data);
    if (rc == VN_OK)
        rc = vn_tensors_open_dir(h->dir, &t, err);
    if (rc == VN_OK && (rc = load_layers(h, t, err)) != VN_OK)
        vn_prefix(err, "head '%s'", h->dir);
    if (rc == VN_OK)
        rc = vn_tensors_sha256(t, h->sha256, err);
    if (rc == VN_OK && (rc = read_config(h, err)) != VN_OK)
        vn_prefix(err, "'%s'", (const char *)path.data);
    vn_tensors_close(t);
    vn_buf_release(&path);
    return rc;
}

int vn_head_open(const char *name, struct vn_head **out, struct vn_error *err) {
    struct vn_head *h = vn_calloc(1, sizeof *h, err);
    *out = NULL;
    if (!h)
        return VN_EFAIL;
    h->dir = vn_model_find(name, "config.json", err);
    int rc = h->dir ? VN_OK : VN_ENOINPUT;
    if (rc == VN_OK)
        rc = (h->name = vn_model_name(h->dir, err)) ? VN_OK : VN_EFAIL;
    if (rc == VN_OK)
        rc = load(h, err);
    if (rc != VN_OK) {
        vn_head_close(h);
        h = NULL;
    }
    *out = h;
    return rc;
}

void vn_head_close(struct vn_head *h) {
    if (!h)
        return;
    for (int i = 0; i < h->n_layers; i++) {
        free(h->weight[i]);
        free(h->bias[i]);
    }
    for (int i = 0; h->labels && h->labels[i]; i++)
        free(h->labels[i]);
    json_decref(h->config);
    free(h->labels);
    free(h->weight);
    free(h->bias);
    free(h->width);
    free(h->name);
    free(h->dir);
    free(h);
}

/* ---- does the stream fit? -------------------------------------------------------- */

/* One fact of input k against what the stream says of it. */
static int check_fact(const struct vn_head *h, const struct vn_schema *s, int k,
                      const char *key, struct vn_error *err) {
    char number[32], found[256], which[32] = "";
    const json_t *inputs = json_object_get(h->config, "inputs");
    const json_t *v = json_object_get(json_array_get(inputs, (size_t)k), key);
    const char *wanted = json_string_value(v);
    if (!v)
        return VN_OK;
    if (!wanted) {
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(v));
        wanted = number;
    }
    if (json_array_size(inputs) > 1)
        snprintf(which, sizeof which, " in place %d", k + 1);
    if (!vn_schema_input_provenance(s, k, key, found, sizeof found))
        return vn_fail(err, VN_EINCOMPAT,
                       "head '%s' wants vectors of %s '%s'%s, the stream does not say its %s",
                       h->name, key, wanted, which, key);
    if (strlen(found) == sizeof found - 1) /* it may have been cut */
        return vn_fail(err, VN_EINCOMPAT,
                       "the %s of the stream, '%.60s...', is too long to be compared with "
                       "what head '%s' wants",
                       key, found, h->name);
    if (strcmp(wanted, found))
        return vn_fail(err, VN_EINCOMPAT,
                       "head '%s' wants vectors of %s '%s'%s, the stream has %s '%s'",
                       h->name, key, wanted, which, key, found);
    return VN_OK;
}

/* The widths of the vectors side by side, where there are several. */
static int check_widths(const struct vn_head *h, const struct vn_schema *s,
                        struct vn_error *err) {
    const json_t *inputs = json_object_get(h->config, "inputs");
    const size_t wanted = json_array_size(inputs), n = (size_t)vn_schema_inputs(s);
    char text[1024];
    if (n != wanted)
        return vn_fail(err, VN_EINCOMPAT,
                       "head '%s' wants %zu vector%s side by side, the stream has %zu: "
                       "see vn-join(1)",
                       h->name, wanted, wanted == 1 ? "" : "s", n);
    if (n == 1 || !vn_schema_provenance(s, "widths", text, sizeof text))
        return VN_OK;
    json_t *widths = json_loads(text, 0, NULL);
    int rc = VN_OK;
    for (size_t k = 0; k < n && rc == VN_OK; k++) {
        const json_t *w = json_object_get(json_array_get(inputs, k), "width");
        const json_int_t found = json_integer_value(json_array_get(widths, k));
        if (found != json_integer_value(w))
            rc = vn_fail(err, VN_EINCOMPAT,
                         "head '%s' wants a vector of width %lld in place %zu, the stream "
                         "has one of width %lld there",
                         h->name, (long long)json_integer_value(w), k + 1, (long long)found);
    }
    json_decref(widths);
    return rc;
}

/* The letters in a chunk, of a stream that says how many there are: chunks may as well have
 * been cut before, and come as FASTA. */
static int check_chunk(const struct vn_head *h, const struct vn_schema *s,
                       struct vn_error *err) {
    const json_t *chunk = json_object_get(h->config, "chunk");
    char found[32], wanted[32];
    snprintf(wanted, sizeof wanted, "%lld", (long long)json_integer_value(chunk));
    for (int k = 0; chunk && k < vn_schema_inputs(s); k++)
        if (vn_schema_input_provenance(s, k, "chunk", found, sizeof found) &&
            strcmp(wanted, found))
            return vn_fail(err, VN_EINCOMPAT,
                           "head '%s' was trained on chunks of %s, the stream's have %s "
                           "(vn-orf --chunk)",
                           h->name, wanted, found);
    return VN_OK;
}

int vn_head_check(const struct vn_head *h, const struct vn_schema *s, int32_t d,
                  struct vn_error *err) {
    static const char *const facts[] = {"model", "sha256", "layer", "pool"};
    const size_t n = json_array_size(json_object_get(h->config, "inputs"));
    int rc = VN_OK;
    if (n) /* none is a head made in memory */
        rc = check_widths(h, s, err);
    if (rc == VN_OK && d != h->width[0])
        rc = vn_fail(err, VN_EINCOMPAT,
                     "head '%s' wants vectors of width %d, the stream has width %d", h->name,
                     h->width[0], d);
    for (size_t k = 0; k < n; k++)
        for (size_t i = 0; rc == VN_OK && i < sizeof facts / sizeof *facts; i++)
            rc = check_fact(h, s, (int)k, facts[i], err);
    return rc == VN_OK ? check_chunk(h, s, err) : rc;
}
