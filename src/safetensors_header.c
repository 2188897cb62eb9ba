#include "safetensors_header.h"

#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "num.h"

#define MAX_HEADER ((uint64_t)100000000)

/* ---- types ----------------------------------------------------------------------- */

/* All types of the format; those that vn does not compute with are VN_OTHER. */
static const struct {
    const char *name;
    enum vn_dtype type;
    int bits;
} types[] = {{"F32", VN_F32, 32},      {"F16", VN_F16, 16},      {"BF16", VN_BF16, 16},
             {"F64", VN_F64, 64},      {"I64", VN_I64, 64},      {"I32", VN_I32, 32},
             {"U16", VN_U16, 16},      {"U8", VN_U8, 8},         {"BOOL", VN_OTHER, 8},
             {"I8", VN_OTHER, 8},      {"I16", VN_OTHER, 16},    {"U32", VN_OTHER, 32},
             {"U64", VN_OTHER, 64},    {"F8_E5M2", VN_OTHER, 8}, {"F8_E4M3", VN_OTHER, 8},
             {"F8_E8M0", VN_OTHER, 8}, {"F6_E2M3", VN_OTHER, 6}, {"F6_E3M2", VN_OTHER, 6},
             {"F4", VN_OTHER, 4},      {"C64", VN_OTHER, 64}};
#define N_TYPES ((int)(sizeof types / sizeof *types))

static int type_of_name(const char *name) {
    for (int i = 0; i < N_TYPES; i++)
        if (!strcmp(types[i].name, name))
            return i;
    return -1;
}

const char *vn_dtype_name(enum vn_dtype t) {
    for (int i = 0; i < N_TYPES; i++)
        if (types[i].type == t && t != VN_OTHER)
            return types[i].name;
    return "other";
}

/* ---- one tensor of the header ---------------------------------------------------- */

static int read_shape(const json_t *entry, struct vn_tensor *t, size_t *n_elements,
                      struct vn_error *err) {
    json_t *shape;
    int rc = vn_json_array(entry, "shape", &shape, err);
    if (rc != VN_OK)
        return rc;
    if (json_array_size(shape) > VN_MAX_DIMS)
        return vn_fail(err, VN_EDATA, "has %zu dimensions, at most %d are supported",
                       json_array_size(shape), VN_MAX_DIMS);
    t->n_dims = (int)json_array_size(shape);
    *n_elements = 1;
    for (int i = 0; i < t->n_dims; i++) {
        const json_t *v = json_array_get(shape, (size_t)i);
        if (!json_is_integer(v) || json_integer_value(v) < 0)
            return vn_fail(err, VN_EDATA, "dimension %d is not a non-negative integer", i);
        t->shape[i] = json_integer_value(v);
        if (!vn_mul(*n_elements, (size_t)t->shape[i], n_elements))
            return vn_fail(err, VN_EDATA, "the shape is too large");
    }
    return VN_OK;
}

static int read_range(const json_t *entry, size_t size, size_t *begin, size_t *end,
                      struct vn_error *err) {
    json_t *range;
    int rc = vn_json_array(entry, "data_offsets", &range, err);
    if (rc != VN_OK)
        return rc;
    const json_t *a = json_array_get(range, 0), *b = json_array_get(range, 1);
    if (json_array_size(range) != 2 || !json_is_integer(a) || !json_is_integer(b))
        return vn_fail(err, VN_EDATA, "data_offsets are not two integers");
    json_int_t from = json_integer_value(a), to = json_integer_value(b);
    if (from < 0 || to < from || (uint64_t)to > size)
        return vn_fail(err, VN_EDATA,
                       "data_offsets are [%lld, %lld], the file has %zu bytes of data",
                       (long long)from, (long long)to, size);
    *begin = (size_t)from;
    *end = (size_t)to;
    return VN_OK;
}

/* `data` are the `size` bytes behind the header. */
static int read_entry(const char *name, const json_t *entry, const uint8_t *data,
                      size_t size, struct vn_tensor *t, struct vn_error *err) {
    const char *type;
    size_t n = 0, bits, begin = 0, end = 0;
    if (!json_is_object(entry))
        return vn_fail(err, VN_EDATA, "is not described by an object");
    if (json_object_size(entry) != 3)
        return vn_fail(err, VN_EDATA,
                       "has %zu members, expected dtype, shape, data_offsets",
                       json_object_size(entry));
    int rc = vn_json_string(entry, "dtype", &type, err);
    if (rc == VN_OK)
        rc = read_shape(entry, t, &n, err);
    if (rc == VN_OK)
        rc = read_range(entry, size, &begin, &end, err);
    if (rc != VN_OK)
        return rc;
    int i = type_of_name(type);
    if (i < 0)
        return vn_fail(err, VN_EDATA, "has the unknown type '%.40s'", type);
    if (!vn_mul(n, (size_t)types[i].bits, &bits) || bits % 8 || bits / 8 != end - begin)
        return vn_fail(err, VN_EDATA,
                       "has %zu bytes, its shape and type %s mean %zu x %d bits",
                       end - begin, type, n, types[i].bits);
    t->type = types[i].type;
    t->data = data + begin;
    t->bytes = end - begin;
    t->name = strdup(name);
    return t->name ? VN_OK : vn_fail(err, VN_EFAIL, "cannot allocate a name");
}

/* ---- all of them ----------------------------------------------------------------- */

static int grow(struct vn_tensor_list *list, size_t more, struct vn_error *err) {
    size_t want, bytes;
    if (!vn_add((size_t)list->n, more, &want) || !vn_mul(want, sizeof *list->at, &bytes))
        return vn_fail(err, VN_EFAIL, "too many tensors");
    struct vn_tensor *p = realloc(list->at, bytes ? bytes : 1);
    if (!p)
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu bytes", bytes);
    list->at = p;
    return VN_OK;
}

static int by_place(const void *a, const void *b) {
    const struct vn_tensor *x = a, *y = b;
    if (x->data != y->data)
        return (const uint8_t *)x->data < (const uint8_t *)y->data ? -1 : 1;
    return (x->bytes > y->bytes) - (x->bytes < y->bytes); /* empty ones first */
}

/* The data must be one run of tensors: no overlap, no hole, up to the end. */
static int check_cover(const struct vn_tensor *t, int64_t n, const uint8_t *data,
                       size_t size, struct vn_error *err) {
    size_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        size_t begin = (size_t)((const uint8_t *)t[i].data - data);
        if (begin != at)
            return vn_fail(err, VN_EDATA,
                           "tensor '%s' begins at byte %zu of the data, %s", t[i].name,
                           begin, begin < at ? "inside another tensor" : "after a hole");
        at += t[i].bytes;
    }
    if (at != size)
        return vn_fail(err, VN_EDATA,
                       "the tensors end at byte %zu of the data, the file has %zu",
                       at, size);
    return VN_OK;
}

static int check_metadata(const json_t *metadata, struct vn_error *err) {
    const char *key;
    json_t *value;
    if (!json_is_object(metadata))
        return vn_fail(err, VN_EDATA, "__metadata__ is not an object");
    json_object_foreach((json_t *)metadata, key, value)
        if (!json_is_string(value))
            return vn_fail(err, VN_EDATA, "__metadata__ '%s' is not a string", key);
    return VN_OK;
}

/* Adds the tensors of a parsed header. */
static int read_entries(struct vn_tensor_list *list, const json_t *header,
                        const uint8_t *data, size_t size, struct vn_error *err) {
    const char *name;
    json_t *entry;
    const int64_t first = list->n;
    int rc = grow(list, json_object_size(header), err);
    if (rc != VN_OK)
        return rc;
    json_object_foreach((json_t *)header, name, entry) {
        struct vn_tensor *t = &list->at[list->n];
        if (!strcmp(name, "__metadata__")) {
            if ((rc = check_metadata(entry, err)) != VN_OK)
                return rc;
            continue;
        }
        memset(t, 0, sizeof *t);
        rc = read_entry(name, entry, data, size, t, err);
        if (rc != VN_OK)
            return vn_prefix(err, "tensor '%.200s'", name);
        list->n++;
    }
    qsort(list->at + first, (size_t)(list->n - first), sizeof *list->at, by_place);
    return check_cover(list->at + first, list->n - first, data, size, err);
}

int vn_safetensors_header(const uint8_t *file, size_t size, const char *path,
                          struct vn_tensor_list *list, struct vn_error *err) {
    const uint64_t length = vn_load64(file);
    json_t *header;
    if (length > MAX_HEADER)
        return vn_fail(err, VN_EDATA,
                       "'%s': the header has %llu bytes, at most %llu are allowed", path,
                       (unsigned long long)length, (unsigned long long)MAX_HEADER);
    if (length > size - 8)
        return vn_fail(err, VN_EDATA,
                       "'%s' ends inside its header: %zu bytes, the header has %llu", path,
                       size, (unsigned long long)length);
    if (!length || file[8] != '{')
        return vn_fail(err, VN_EDATA, "'%s' is not a safetensors file: no '{' at byte 8",
                       path);
    int rc = vn_json_parse((const char *)file + 8, (size_t)length, path, &header, err);
    if (rc != VN_OK)
        return rc;
    rc = read_entries(list, header, file + 8 + length, size - 8 - (size_t)length, err);
    if (rc != VN_OK)
        vn_prefix(err, "'%s'", path);
    json_decref(header);
    return rc;
}

void vn_tensor_list_release(struct vn_tensor_list *list) {
    for (int64_t i = 0; i < list->n; i++)
        free((char *)list->at[i].name);
    free(list->at);
    list->at = NULL;
    list->n = 0;
}
