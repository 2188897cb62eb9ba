#include "import.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "head.h"
#include "import_job.h"
#include "io.h"
#include "model.h"
#include "num.h"

#define MAX_NAME 255
#define MAX_LISTED 512 /* bytes of names of dropped tensors in a note, and one more name */

/* ---- the job --------------------------------------------------------------------- */

void vn_import_note(struct vn_import_job *j, const char *fmt, ...) {
    char text[1024];
    va_list ap;
    if (!j->o->note)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    j->o->note(j->o->ctx, text);
}

int vn_import_file(struct vn_import_job *j, const char *path, struct vn_ptfile **out,
                   struct vn_error *err) {
    int rc = vn_ptfile_open(path, out, err);
    if (rc != VN_OK)
        return rc;
    struct vn_ptfile **files = realloc(j->files, (j->n_files + 1) * sizeof *files);
    if (!files) {
        vn_ptfile_close(*out);
        return vn_fail(err, VN_EFAIL, "cannot allocate a file");
    }
    j->files = files;
    j->files[j->n_files++] = *out;
    return VN_OK;
}

int64_t vn_import_tensors(const struct vn_py *state, const char *what,
                          struct vn_error *err) {
    char text[160];
    const size_t n = vn_py_pairs(state);
    if (state->type != VN_PY_DICT && state->type != VN_PY_OBJECT)
        return vn_fail(err, VN_EDATA, "%s is %s, expected tensors by name", what,
                       vn_py_describe(state, text, sizeof text));
    for (size_t i = 0; i < n; i++) {
        const struct vn_py *key = state->items[2 * i], *value = state->items[2 * i + 1];
        if (key->type != VN_PY_STRING || !vn_ptfile_is_tensor(value))
            return vn_fail(err, VN_EDATA, "%s holds %s, expected tensors by name", what,
                           vn_py_describe(value, text, sizeof text));
        if (key->n > MAX_NAME)
            return vn_fail(err, VN_EDATA, "%s has a name of %zu bytes, expected at most %d",
                           what, key->n, MAX_NAME);
    }
    return (int64_t)n;
}

static struct vn_import_item *new_item(struct vn_import_job *j, const char *name,
                                       struct vn_error *err) {
    if (j->n_items == j->cap_items) {
        size_t want = j->cap_items ? 2 * j->cap_items : 256;
        struct vn_import_item *items = realloc(j->items, want * sizeof *items);
        if (!items) {
            vn_fail(err, VN_EFAIL, "cannot allocate %zu tensors", want);
            return NULL;
        }
        j->items = items;
        j->cap_items = want;
    }
    struct vn_import_item *item = &j->items[j->n_items];
    memset(item, 0, sizeof *item);
    item->t.name = strdup(name);
    if (!item->t.name) {
        vn_fail(err, VN_EFAIL, "cannot allocate a name");
        return NULL;
    }
    j->n_items++;
    return item;
}

int vn_import_add(struct vn_import_job *j, const char *name, struct vn_ptfile *f,
                  const struct vn_py *value, struct vn_error *err) {
    struct vn_tensor t;
    int rc = vn_ptfile_tensor(f, value, &t, err);
    if (rc != VN_OK)
        return vn_prefix(err, "tensor '%.200s'", name);
    struct vn_import_item *item = new_item(j, name, err);
    if (!item)
        return VN_EFAIL;
    t.name = item->t.name;
    item->t = t;
    item->file = f;
    item->value = value;
    return VN_OK;
}

int vn_import_add_tensor(struct vn_import_job *j, const char *name,
                         const struct vn_tensor *t, struct vn_buf *made,
                         struct vn_error *err) {
    if (made) {
        struct vn_buf *all = realloc(j->made, (j->n_made + 1) * sizeof *all);
        if (!all)
            return vn_fail(err, VN_EFAIL, "cannot allocate a tensor");
        j->made = all;
        j->made[j->n_made++] = *made;
        *made = (struct vn_buf){0};
    }
    struct vn_import_item *item = new_item(j, name, err);
    if (!item)
        return VN_EFAIL;
    const char *own = item->t.name;
    item->t = *t;
    item->t.name = own;
    return VN_OK;
}

int vn_import_drop(struct vn_import_job *j, const char *name, struct vn_error *err) {
    if (j->dropped.len > MAX_LISTED) {
        j->n_unlisted++;
        return VN_OK;
    }
    j->n_dropped++;
    return vn_buf_printf(&j->dropped, err, "%s%.*s%s", j->dropped.len ? ", " : ": ",
                         MAX_NAME, name, strlen(name) > MAX_NAME ? "..." : "");
}

static void release(struct vn_import_job *j) {
    for (size_t i = 0; i < j->n_items; i++)
        free((char *)j->items[i].t.name);
    for (size_t i = 0; i < j->n_files; i++)
        vn_ptfile_close(j->files[i]);
    for (size_t i = 0; i < j->n_made; i++)
        vn_buf_release(&j->made[i]);
    vn_tensors_close(j->tensors);
    vn_buf_release(&j->dropped);
    free(j->items);
    free(j->files);
    free(j->made);
    free(j->config);
    free(j->vocabulary);
    free(j->tokenizer);
    json_decref(j->labels);
    vn_import_dir_close(&j->dir);
}

/* ---- writing --------------------------------------------------------------------- */

static bool is_float(enum vn_dtype t) {
    return t == VN_F32 || t == VN_F16 || t == VN_BF16 || t == VN_F64;
}

static int64_t elements(const struct vn_tensor *t) {
    return (int64_t)(t->bytes / vn_dtype_size(t->type));
}

/* Frequencies are not narrowed: rounding them would change every angle. */
static enum vn_dtype final_type(const struct vn_import_job *j,
                                const struct vn_tensor *t) {
    const char *end = strrchr(t->name, '.');
    bool frequencies = end && !strcmp(end, ".inv_freq");
    return j->o->type == VN_OTHER || (j->o->type == VN_F16 && frequencies) ? t->type
                                                                           : j->o->type;
}

static int convert(const struct vn_tensor *from, enum vn_dtype type, struct vn_buf *out,
                   struct vn_error *err) {
    const size_t n = (size_t)elements(from), width = vn_dtype_size(type);
    int rc = vn_buf_resize(out, n * width, err);
    for (size_t i = 0; rc == VN_OK && i < n; i++) {
        float v = vn_tensor_at(from, (int64_t)i);
        uint16_t h = vn_f32_to_f16(v);
        if (width == 4)
            vn_store32(out->data + 4 * i, vn_f32_bits(v));
        else if (isfinite(v) && !isfinite(vn_f16_to_f32(h)))
            rc = vn_fail(err, VN_EDATA,
                         "tensor '%s' has the value %g, which half precision cannot hold",
                         from->name, v);
        else
            vn_store16(out->data + 2 * i, h);
    }
    return rc;
}

/* The data of one item, converted, to the writer. */
static int write_item(struct vn_import_job *j, const struct vn_import_item *item,
                      struct vn_safetensors_writer *w, struct vn_buf scratch[2],
                      struct vn_error *err) {
    struct vn_tensor t = item->t;
    enum vn_dtype type = final_type(j, &t);
    if (item->file) {
        int rc = vn_ptfile_read(item->file, item->value, &scratch[0], err);
        if (rc != VN_OK)
            return vn_prefix(err, "tensor '%s' of '%s'", t.name,
                             vn_ptfile_path(item->file));
        t.data = scratch[0].data;
    }
    if (type == t.type)
        return vn_safetensors_put(w, t.data, t.bytes, err);
    int rc = convert(&t, type, &scratch[1], err);
    return rc == VN_OK ? vn_safetensors_put(w, scratch[1].data, scratch[1].len, err) : rc;
}

static int write_weights(struct vn_import_job *j, const char *path,
                         struct vn_error *err) {
    struct vn_buf scratch[2] = {{0}, {0}};
    struct vn_safetensors_writer *w = NULL;
    struct vn_tensor *all = vn_calloc(j->n_items, sizeof *all, err);
    if (!all)
        return VN_EFAIL;
    for (size_t i = 0; i < j->n_items; i++) {
        all[i] = j->items[i].t;
        all[i].type = final_type(j, &all[i]);
        all[i].bytes = (size_t)elements(&j->items[i].t) * vn_dtype_size(all[i].type);
    }
    int rc = vn_safetensors_create(path, all, (int64_t)j->n_items, &w, err);
    for (size_t i = 0; rc == VN_OK && i < j->n_items; i++)
        rc = write_item(j, &j->items[i], w, scratch, err);
    if (rc == VN_OK)
        rc = vn_safetensors_close(w, err);
    else
        vn_safetensors_abort(w);
    vn_buf_release(&scratch[0]);
    vn_buf_release(&scratch[1]);
    free(all);
    return rc;
}

static int write_text(const char *path, const char *text, struct vn_error *err) {
    struct vn_sink *s;
    int rc = vn_sink_open(path, &s, err);
    if (rc != VN_OK)
        return rc;
    rc = vn_sink_puts(s, text, strlen(text), err);
    if (rc == VN_OK)
        return vn_sink_close(s, err);
    vn_sink_abort(s);
    return rc;
}

static int write_files(struct vn_import_job *j, struct vn_error *err) {
    char *const *file = j->dir.file;
    int rc = write_text(file[VN_IMPORT_CONFIG], j->config, err);
    if (rc == VN_OK && j->vocabulary)
        rc = write_text(file[VN_IMPORT_VOCABULARY], j->vocabulary, err);
    if (rc == VN_OK && j->tokenizer)
        rc = write_text(file[VN_IMPORT_TOKENIZER], j->tokenizer, err);
    return rc == VN_OK ? write_weights(j, file[VN_IMPORT_WEIGHTS], err) : rc;
}

/* Opens what was written, as its user will, and says what it is. */
static int check_result(struct vn_import_job *j, struct vn_error *err) {
    struct vn_model *m = NULL;
    struct vn_head *h = NULL;
    int rc = j->is_head ? vn_head_open(j->dir.path, &h, err)
                        : vn_model_open(j->dir.path, &m, err);
    const char *sha256 = m ? vn_model_sha256(m, true, err) : NULL;
    if (m && !sha256)
        rc = err->status;
    if (rc != VN_OK)
        vn_prefix(err, "'%s' does not make a usable directory", j->source);
    if (h) {
        vn_import_note(j, "head: %d layers, %d inputs, %d classes, sha256 %s",
                       h->n_layers, h->width[0], h->width[h->n_layers], h->sha256);
    } else if (sha256) {
        bool half = true;
        for (int i = 0; m->inv_freq && i < m->config.d_head / 2; i++)
            half &= vn_f16_to_f32(vn_f32_to_f16(m->inv_freq[i])) == m->inv_freq[i];
        if (m->inv_freq)
            vn_import_note(j, "inv_freq: %s, %s representable in half precision",
                           m->inv_freq_stored ? "stored" : "not stored, computed",
                           half ? "all values" : "not all values");
        vn_import_note(j,
                       "model: %d layers, width %d, %d heads, %lld parameters, sha256 %s",
                       m->config.n_layers, m->config.d_model, m->config.n_heads,
                       (long long)m->parameters, sha256);
    }
    vn_head_close(h);
    vn_model_close(m);
    return rc;
}

/* ---- all together ---------------------------------------------------------------- */

static int read_source(struct vn_import_job *j, struct vn_error *err) {
    struct stat st;
    struct vn_ptfile *f;
    if (stat(j->source, &st) != 0)
        return vn_fail_errno(err, VN_ENOINPUT, errno, "cannot open '%s'", j->source);
    if (S_ISDIR(st.st_mode))
        return vn_import_huggingface(j, j->source, err);
    int rc = vn_import_file(j, j->source, &f, err);
    if (rc != VN_OK)
        return rc;
    rc = vn_py_get(vn_ptfile_root(f), "model") ? vn_import_fair_esm(j, f, err)
                                               : vn_import_head(j, f, err);
    return rc == VN_OK ? rc : vn_prefix(err, "'%s'", j->source);
}

/* Integer tensors (positions, counters) are nothing the forward pass takes. */
static int drop_integers(struct vn_import_job *j, struct vn_error *err) {
    size_t kept = 0;
    int rc = VN_OK;
    for (size_t i = 0; i < j->n_items; i++) {
        if (is_float(j->items[i].t.type)) {
            j->items[kept++] = j->items[i];
            continue;
        }
        if (rc == VN_OK)
            rc = vn_import_drop(j, j->items[i].t.name, err);
        free((char *)j->items[i].t.name);
    }
    j->n_items = kept;
    return rc;
}

static int check_classes(const struct vn_import_job *j, struct vn_error *err) {
    const size_t n = json_array_size(j->labels);
    if (j->n_classes < 2)
        return vn_fail(err, VN_EDATA, "'%s': has %lld class, expected 2 or more",
                       j->source, (long long)j->n_classes);
    if (!j->labels && j->n_classes != 2)
        return vn_fail(err, VN_EUSAGE, "'%s': has %lld classes: name them with --labels",
                       j->source, (long long)j->n_classes);
    if (j->labels && n != (size_t)j->n_classes)
        return vn_fail(err, VN_EUSAGE, "--labels: %zu given, '%s' has %lld classes", n,
                       j->source, (long long)j->n_classes);
    return VN_OK;
}

/* What says something of a head is not dropped in silence where there is none. */
static int check_no_head_options(const struct vn_import_job *j, struct vn_error *err) {
    if (j->o->labels || j->o->chunk)
        return vn_fail(err, VN_EUSAGE, "%s: '%s' is a language model, expected a head",
                       j->o->labels ? "--labels" : "--chunk", j->source);
    return VN_OK;
}

int vn_import(const char *source, const char *dir, const struct vn_import_options *o,
              struct vn_error *err) {
    struct vn_import_job j = {.o = o, .source = source};
    char more[40] = "";
    bool exists;
    int rc = vn_import_dir_check(dir, o->force, &exists, err);
    if (rc == VN_OK && o->labels)
        rc = vn_import_labels(o->labels, &j.labels, err);
    if (rc == VN_OK)
        rc = read_source(&j, err);
    if (rc == VN_OK)
        rc = j.is_head ? check_classes(&j, err) : check_no_head_options(&j, err);
    if (rc == VN_OK)
        rc = drop_integers(&j, err);
    if (rc == VN_OK) {
        if (j.n_unlisted)
            snprintf(more, sizeof more, ", ... (%zu more)", j.n_unlisted);
        vn_import_note(
            &j, "tensors: %zu read, %zu renamed, %zu folded, %zu dropped%.*s%s", j.n_read,
            j.n_renamed, j.n_folded, j.n_dropped + j.n_unlisted, (int)j.dropped.len,
            j.dropped.len ? (const char *)j.dropped.data : "", more);
        rc = vn_import_dir_make(&j.dir, dir, err);
    }
    if (rc == VN_OK)
        rc = write_files(&j, err);
    if (rc == VN_OK)
        rc = check_result(&j, err);
    if (rc == VN_OK)
        rc = vn_import_dir_commit(&j.dir, dir, exists, err);
    release(&j);
    return rc;
}
