#include "safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "json.h"
#include "num.h"

struct vn_safetensors_writer {
    struct vn_sink *sink;
    size_t left; /* announced bytes that have not come */
};

static json_t *entry_of(const struct vn_tensor *t, size_t begin, size_t end) {
    json_t *shape = json_array();
    for (int i = 0; i < t->n_dims; i++)
        json_array_append_new(shape, json_integer(t->shape[i]));
    return json_pack("{s:s, s:o, s:[I,I]}", "dtype", vn_dtype_name(t->type), "shape",
                     shape, "data_offsets", (json_int_t)begin, (json_int_t)end);
}

/* The header's text, padded so that the data begin at a multiple of 8; malloc'ed. `bytes`
 * becomes the size of the data. */
static char *header_text(const struct vn_tensor *tensors, int64_t n, size_t *length,
                         size_t *bytes, struct vn_error *err) {
    json_t *header = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
    bool ok = header != NULL;
    *bytes = 0;
    for (int64_t i = 0; ok && i < n; i++) {
        size_t begin = *bytes;
        ok = tensors[i].type != VN_OTHER && vn_add(begin, tensors[i].bytes, bytes) &&
             json_object_set_new(header, tensors[i].name,
                                 entry_of(&tensors[i], begin, *bytes)) == 0;
        if (!ok)
            vn_fail(err, VN_EDATA,
                    "cannot write tensor '%.200s': its type or name cannot be stored",
                    tensors[i].name);
    }
    char *text = ok ? json_dumps(header, JSON_COMPACT) : NULL;
    json_decref(header);
    if (!ok)
        return NULL;
    size_t have = text ? strlen(text) : 0;
    *length = vn_round_up(have, 8);
    char *padded = text ? realloc(text, *length + 1) : NULL;
    if (!padded) {
        free(text);
        vn_fail(err, VN_EFAIL, "cannot allocate the header of %lld tensors",
                (long long)n);
        return NULL;
    }
    memset(padded + have, ' ', *length - have);
    return padded;
}

int vn_safetensors_create(const char *path, const struct vn_tensor *tensors, int64_t n,
                          struct vn_safetensors_writer **out, struct vn_error *err) {
    struct vn_error local;
    size_t length = 0;
    uint8_t prefix[8];
    err = err ? err : &local;
    struct vn_safetensors_writer *w = *out = vn_calloc(1, sizeof *w, err);
    if (!w)
        return VN_EFAIL;
    char *text = header_text(tensors, n, &length, &w->left, err);
    int rc = text ? vn_sink_open(path, &w->sink, err) : err->status;
    if (rc == VN_OK) {
        vn_store64(prefix, length);
        rc = vn_sink_write(w->sink, prefix, 8, err);
    }
    if (rc == VN_OK)
        rc = vn_sink_write(w->sink, text, length, err);
    if (rc != VN_OK) {
        vn_safetensors_abort(w);
        *out = NULL;
    }
    free(text);
    return rc;
}

int vn_safetensors_put(struct vn_safetensors_writer *w, const void *data, size_t bytes,
                       struct vn_error *err) {
    if (bytes > w->left)
        return vn_fail(err, VN_EINTERNAL, "%zu bytes of tensors too many for '%s'",
                       bytes - w->left, vn_sink_name(w->sink));
    w->left -= bytes;
    return vn_sink_write(w->sink, data, bytes, err);
}

int vn_safetensors_close(struct vn_safetensors_writer *w, struct vn_error *err) {
    int rc;
    if (w->left) {
        rc = vn_fail(err, VN_EINTERNAL, "%zu bytes of tensors are missing for '%s'",
                     w->left, vn_sink_name(w->sink));
        vn_sink_abort(w->sink);
    } else {
        rc = vn_sink_close(w->sink, err);
    }
    free(w);
    return rc;
}

void vn_safetensors_abort(struct vn_safetensors_writer *w) {
    if (w)
        vn_sink_abort(w->sink);
    free(w);
}

int vn_safetensors_write(const char *path, const struct vn_tensor *tensors, int64_t n,
                         struct vn_error *err) {
    struct vn_safetensors_writer *w;
    int rc = vn_safetensors_create(path, tensors, n, &w, err);
    if (rc != VN_OK)
        return rc;
    for (int64_t i = 0; rc == VN_OK && i < n; i++)
        rc = vn_safetensors_put(w, tensors[i].data, tensors[i].bytes, err);
    if (rc == VN_OK)
        return vn_safetensors_close(w, err);
    vn_safetensors_abort(w);
    return rc;
}
