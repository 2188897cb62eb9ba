/* vn-model - looks at, checks and imports models and heads. */
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "head.h"
#include "import.h"
#include "json.h"
#include "mem.h"
#include "model.h"
#include "num.h"
#include "tool.h"

static struct {
    const char *output, *to, *type, *labels, *chunk, *sha256;
    int force, json;
} opt = {.type = "keep"};

/* ---- facts ----------------------------------------------------------------------- */

/* A model or a head, whichever the directory holds. */
struct thing {
    struct vn_model *model;
    struct vn_head *head;
};

static int open_thing(const char *name, struct thing *x, struct vn_error *err) {
    char *dir = vn_model_find(name, "config.json", err), path[4096];
    json_t *config = NULL;
    int rc = VN_ENOINPUT;
    if (!dir)
        return rc;
    snprintf(path, sizeof path, "%s/config.json", dir);
    rc = vn_json_load(path, (size_t)16 << 20, &config, err);
    const char *type = json_string_value(json_object_get(config, "model_type"));
    if (rc == VN_OK && type && !strcmp(type, "vn-head"))
        rc = vn_head_open(name, &x->head, err);
    else if (rc == VN_OK)
        rc = vn_model_open(name, &x->model, err);
    json_decref(config);
    free(dir);
    return rc;
}

static void close_thing(struct thing *x) {
    vn_model_close(x->model);
    vn_head_close(x->head);
}

/* What one family has and the other has not. */
static void family_facts(const struct vn_model *m, json_t *facts) {
    const struct vn_model_config *c = &m->config;
    const float *numbers = c->family == VN_DNABERT ? m->alibi : m->inv_freq;
    const int n = c->family == VN_DNABERT ? c->n_heads : c->d_head / 2;
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, json_real(numbers[i]));
    if (c->family == VN_DNABERT) {
        json_object_set_new(facts, "alibi", list);
        json_object_set_new(facts, "tokenizer",
                            c->tokenizer[0] ? json_string(c->tokenizer) : json_null());
        return;
    }
    json_object_set_new(facts, "token dropout", json_boolean(c->token_dropout));
    json_object_set_new(facts, "inv_freq", list);
    json_object_set_new(facts, "inv_freq from",
                        json_string(m->inv_freq_stored ? "checkpoint" : "formula"));
}

static json_t *model_facts(struct vn_model *m, struct vn_error *err) {
    const struct vn_model_config *c = &m->config;
    const char *sha256 = vn_model_sha256(m, false, err);
    json_t *facts = json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:s}", "kind",
        vn_family_name(c->family), "name", m->name, "directory", m->dir, "sha256", sha256,
        "parameters", (json_int_t)m->parameters, "layers", c->n_layers, "width", c->d_model,
        "heads", c->n_heads, "head size", c->d_head, "inner width", c->d_ffn, "vocabulary",
        c->n_vocab, "norm eps", c->norm_eps, "type",
        vn_dtype_name(m->word_embeddings->type));
    if (facts)
        family_facts(m, facts);
    return facts;
}

static json_t *head_facts(const struct vn_head *h) {
    json_t *widths = json_array(), *config = h->config;
    for (int i = 0; i <= h->n_layers; i++)
        json_array_append_new(widths, json_integer(h->width[i]));
    json_t *facts = json_pack("{s:s, s:s, s:s, s:s, s:o, s:s, s:O, s:O}", "kind", "head",
                              "name", h->name, "directory", h->dir, "sha256", h->sha256,
                              "widths", widths, "activation", h->gelu ? "gelu" : "relu",
                              "labels", json_object_get(config, "labels"), "inputs",
                              json_object_get(config, "inputs"));
    static const char *const more[] = {"chunk", "shortest", "trained_on", "calibration",
                                       "threshold", "thresholds"};
    for (size_t i = 0; facts && i < sizeof more / sizeof *more; i++)
        if (json_object_get(config, more[i]))
            json_object_set(facts, more[i], json_object_get(config, more[i]));
    return facts;
}

static int info(const char *name, struct vn_error *err) {
    struct thing x = {0};
    const char *key;
    json_t *value;
    int rc = open_thing(name, &x, err);
    json_t *facts = rc != VN_OK ? NULL
                    : x.model   ? model_facts(x.model, err)
                                : head_facts(x.head);
    if (rc == VN_OK && !facts)
        rc = vn_fail(err, VN_EFAIL, "cannot allocate the facts of '%s'", name);
    const size_t flags = JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9);
    if (rc == VN_OK && opt.json) {
        json_dumpf(facts, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
        putchar('\n');
    } else if (rc == VN_OK) {
        json_object_foreach(facts, key, value) {
            printf("%s: ", key);
            if (json_is_string(value))
                fputs(json_string_value(value), stdout);
            else
                json_dumpf(value, stdout, flags);
            putchar('\n');
        }
    }
    json_decref(facts);
    close_thing(&x);
    return rc;
}

/* ---- verify ---------------------------------------------------------------------- */

static int check_finite(const struct vn_tensors *t, struct vn_error *err) {
    for (int64_t i = 0; i < vn_tensors_count(t); i++) {
        const struct vn_tensor *x = vn_tensors_at(t, i);
        if (x->type != VN_F32 && x->type != VN_F16 && x->type != VN_BF16 &&
            x->type != VN_F64)
            continue;
        const int64_t n = (int64_t)(x->bytes / vn_dtype_size(x->type));
        for (int64_t k = 0; k < n; k++)
            if (!isfinite(vn_tensor_at(x, k)))
                return vn_fail(err, VN_EDATA,
                               "tensor '%s' has the value %g at element %lld", x->name,
                               vn_tensor_at(x, k), (long long)k);
    }
    return VN_OK;
}

static int verify(const char *name, struct vn_error *err) {
    struct thing x = {0};
    int rc = open_thing(name, &x, err);
    if (rc == VN_OK && x.model) /* a head's values were checked when it was opened */
        rc = check_finite(x.model->tensors, err);
    const char *found = rc != VN_OK ? NULL
                        : x.model   ? vn_model_sha256(x.model, true, err)
                                    : x.head->sha256;
    if (rc == VN_OK && !found)
        rc = err->status;
    if (rc == VN_OK && opt.sha256 && strcasecmp(opt.sha256, found))
        rc = vn_fail(err, VN_EINCOMPAT, "'%s' has sha256 %s, expected %s", name, found,
                     opt.sha256);
    if (rc == VN_OK)
        printf("%s  %s\n", found, x.model ? x.model->name : x.head->name);
    close_thing(&x);
    return rc;
}

/* ---- import ---------------------------------------------------------------------- */

static void note(void *ctx, const char *line) {
    vn_tool_warn(ctx, "%s", line);
}

/* "parent/<last component of source without its ending>", malloc'ed. */
static char *name_in(const char *parent, const char *source, struct vn_error *err) {
    static const char *const endings[] = {".pt", ".pth", ".bin"};
    char *base = vn_model_name(source, err), *dot = base ? strrchr(base, '.') : NULL;
    for (size_t i = 0; dot && dot != base && i < 3; i++)
        if (!strcmp(dot, endings[i]))
            *dot = 0;
    size_t n = base ? strlen(parent) + strlen(base) + 2 : 0;
    char *dir = base ? vn_calloc(n, 1, err) : NULL;
    if (dir)
        snprintf(dir, n, "%s/%s", parent, base);
    free(base);
    return dir;
}

static int import(struct vn_tool *tool, const char *source, struct vn_error *err) {
    static const char *const words[] = {"keep", "f32", "f16", NULL};
    static const enum vn_dtype types[] = {VN_OTHER, VN_F32, VN_F16};
    struct vn_import_options o = {
        .labels = opt.labels, .force = opt.force, .note = note, .ctx = tool};
    o.type = types[vn_tool_choice(tool, "type", opt.type, words)];
    if (opt.chunk)
        o.chunk = vn_tool_int(tool, "chunk", opt.chunk, 1, 1000000000);
    if (!opt.output == !opt.to)
        vn_tool_usage(tool,
                      "import: name the new directory with -o, or its parent with --to");
    if (opt.output)
        return vn_import(source, opt.output, &o, err);
    char *dir = name_in(opt.to, source, err);
    int rc = dir ? vn_import(source, dir, &o, err) : err->status;
    free(dir);
    return rc;
}

/* ---- main ------------------------------------------------------------------------ */

/* Options belong to one command each. */
static void check_options(const struct vn_tool *t, const char *command) {
    const bool imports = !strcmp(command, "import");
    if (!imports && (opt.output || opt.to || opt.labels || opt.chunk || opt.force ||
                     strcmp(opt.type, "keep")))
        vn_tool_usage(t,
                      "-o, --to, --type, --labels, --chunk and --force go with import");
    if (opt.sha256 && strcmp(command, "verify"))
        vn_tool_usage(t, "--sha256 goes with verify");
    if (opt.sha256 &&
        (strlen(opt.sha256) != 64 || strspn(opt.sha256, "0123456789abcdefABCDEF") != 64))
        vn_tool_usage(t, "--sha256 '%s': expected 64 hexadecimal digits", opt.sha256);
    if (opt.json && strcmp(command, "info"))
        vn_tool_usage(t, "--json goes with info");
}

static int run(struct vn_tool *t, const char *command, const char *subject,
               struct vn_error *err) {
    if (!strcmp(command, "info"))
        return info(subject, err);
    if (!strcmp(command, "verify"))
        return verify(subject, err);
    if (!strcmp(command, "import"))
        return import(t, subject, err);
    vn_tool_usage(t, "unknown command '%s': expected info, verify or import", command);
}

int main(int argc, char **argv) {
    struct poptOption options[] = {
        {"json", 0, POPT_ARG_NONE, &opt.json, 0, "info: print JSON", NULL},
        {"sha256", 0, POPT_ARG_STRING, &opt.sha256, 0,
         "verify: the weights must have this", "HEX"},
        {"output", 'o', POPT_ARG_STRING, &opt.output, 0, "import: the new directory",
         "DIR"},
        {"to", 0, POPT_ARG_STRING, &opt.to, 0, "import: make DIR/<name of the source>",
         "DIR"},
        {"type", 0, POPT_ARG_STRING, &opt.type, 0, "import: keep, f32 or f16", "TYPE"},
        {"labels", 0, POPT_ARG_STRING, &opt.labels, 0,
         "import: classes of a head (others,virus if there are two)", "A,B,..."},
        {"chunk", 0, POPT_ARG_STRING, &opt.chunk, 0,
         "import: length of the chunks that a head was trained on", "N"},
        {"force", 'f', POPT_ARG_NONE, &opt.force, 0,
         "import: replace the model in an existing directory", NULL},
        POPT_TABLEEND};
    struct vn_tool tool = {
        .name = "vn-model",
        .usage = "info MODEL | verify MODEL | import FILE|DIR",
        .summary = "Shows, checks and imports models and classifier heads.",
        .notes =
            "MODEL is a directory, or a name: of one that ships, or in a directory of\n"
            "$VN_MODELS. import reads fair-esm's .pt, Hugging Face directories and\n"
            "VirNucPro's .pth; it never executes what is in them.",
        .max_files = 2};
    struct vn_error err = {0};
    vn_tool_begin(&tool, argc, argv, options);
    if (tool.n_files != 2)
        vn_tool_usage(&tool,
                      "expected a command (info, verify or import) and what to look at");
    check_options(&tool, tool.files[0]);
    int rc = run(&tool, tool.files[0], tool.files[1], &err);
    if (rc == VN_OK)
        vn_tool_note(&tool, "%.1f s, peak %.0f MiB", vn_tool_seconds(&tool),
                     vn_tool_peak_mib());
    return vn_tool_finish(&tool, rc, &err);
}
