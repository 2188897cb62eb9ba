#include "model_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "mem.h"

#define MAX_CONFIG ((size_t)16 << 20)

/* ---- families -------------------------------------------------------------------- */

static const struct {
    int (*vocabulary)(struct vn_model *m, struct vn_error *err);
    int (*bind)(struct vn_model *m, struct vn_error *err);
    const char *name;
} families[] = {
    [VN_ESM2] = {vn_model_esm2_vocabulary, vn_model_esm2_bind, "ESM-2"},
    [VN_DNABERT] = {vn_model_dnabert_vocabulary, vn_model_dnabert_bind, "DNABERT-S"}};

const char *vn_family_name(enum vn_family family) {
    return families[family].name;
}

static int read_config(const json_t *o, struct vn_model_config *c, struct vn_error *err) {
    const char *type = json_string_value(json_object_get(o, "model_type"));
    return type && !strcmp(type, "bert") ? vn_model_dnabert_config(o, c, err)
                                         : vn_model_esm2_config(o, c, err);
}

static int load_config(struct vn_model *m, struct vn_error *err) {
    struct vn_buf path = {0};
    json_t *o = NULL;
    int rc = vn_buf_printf(&path, err, "%s/config.json", m->dir);
    if (rc == VN_OK)
        rc = vn_json_load((const char *)path.data, MAX_CONFIG, &o, err);
    if (rc == VN_OK && (rc = read_config(o, &m->config, err)) != VN_OK)
        vn_prefix(err, "'%s'", (const char *)path.data);
    json_decref(o);
    vn_buf_release(&path);
    return rc;
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
    return rc == VN_OK ? families[m->config.family].vocabulary(m, err) : rc;
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
    if (rc == VN_OK && (rc = families[m->config.family].bind(m, err)) != VN_OK)
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
    free(m->alibi);
    free(m->dnabert);
    free(m->name);
    free(m->dir);
    free(m);
}
