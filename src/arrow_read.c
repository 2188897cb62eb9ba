#include <stdlib.h>
#include <string.h>

#include "arrow.h"
#include "crc.h"
#include "flatbuf.h"
#include "num.h"

#define VERSION_4 3
#define VERSION_5 4
#define MAX_PAIRS 1024 /* entries of a custom metadata: more are no work of a program */

static int damaged(const struct vn_fb_in *in, struct vn_error *err) {
    return vn_fail(err, VN_EDATA, "the metadata is damaged: %s",
                   in->bad ? in->bad : "a part is missing");
}

/* ---- messages -------------------------------------------------------------------- */

/* The vector of pairs in a slot, of a number that can be worked off. */
static size_t pairs_of(struct vn_fb_in *in, const struct vn_fb_table *t, int slot,
                       size_t *n) {
    size_t pairs = vn_fb_elements(in, t, slot, 4, 4, n);
    if (*n > MAX_PAIRS && !in->bad)
        in->bad = "more than 1024 entries of custom metadata";
    return pairs;
}

static void read_marks(struct vn_fb_in *in, const struct vn_fb_table *message,
                       struct vn_arrow_marks *out) {
    const struct {
        const char *key;
        const char **value;
    } known[] = {{"vn.crc32c", &out->crc},
                 {"vn.batch", &out->batch},
                 {"vn.records", &out->records},
                 {"vn.body.crc32c", &out->body_crc},
                 {"vn.totals", &out->totals}};
    size_t n, pairs = pairs_of(in, message, 4, &n);
    for (size_t i = 0; i < n && !in->bad; i++) {
        struct vn_fb_table pair = vn_fb_element(in, pairs, i);
        size_t key_len, value_len;
        size_t key = vn_fb_text(in, &pair, 0, &key_len);
        size_t value = vn_fb_text(in, &pair, 1, &value_len);
        for (size_t k = 0; k < sizeof known / sizeof *known && key && value; k++)
            if (!strcmp((const char *)in->data + key, known[k].key))
                *known[k].value = (const char *)in->data + value;
    }
}

/* The checksum was computed with zeros in its own place. */
static int check_crc(const struct vn_arrow_message *m, struct vn_error *err) {
    const uint8_t *text = (const uint8_t *)m->marks.crc;
    if (strlen(m->marks.crc) != 8)
        return vn_fail(err, VN_EDATA, "the checksum of the metadata has no 8 digits");
    uint32_t crc = vn_crc32c(0, m->meta, (size_t)(text - m->meta));
    crc = vn_crc32c(crc, "00000000", 8);
    crc = vn_crc32c(crc, text + 8, (size_t)(m->meta + m->n - text) - 8);
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 8; i++)
        if (text[i] != digits[crc >> (28 - 4 * i) & 15])
            return vn_fail(err, VN_EDATA,
                           "the checksum of the metadata is '%s', computed %08x",
                           m->marks.crc, (unsigned)crc);
    return VN_OK;
}

int vn_arrow_parse(const uint8_t *meta, size_t n, struct vn_arrow_message *out,
                   struct vn_error *err) {
    struct vn_fb_in in = {.data = meta, .n = n};
    struct vn_fb_table t = vn_fb_root(&in);
    *out = (struct vn_arrow_message){.meta = meta, .n = n};
    read_marks(&in, &t, &out->marks);
    if (in.bad)
        return damaged(&in, err);
    int rc = out->marks.crc ? check_crc(out, err) : VN_OK;
    if (rc != VN_OK)
        return rc;
    int64_t version = vn_fb_int(&in, &t, 0, 2, 0), type = vn_fb_int(&in, &t, 1, 1, 0);
    out->body = vn_fb_int(&in, &t, 3, 8, 0);
    if (in.bad)
        return damaged(&in, err);
    if (version != VERSION_4 && version != VERSION_5)
        return vn_fail(err, VN_EINCOMPAT, "Arrow metadata version V%lld is not supported",
                       (long long)version + 1);
    out->version_5 = version == VERSION_5;
    if (type == VN_ARROW_DICTIONARY)
        return vn_fail(err, VN_EINCOMPAT, "dictionaries are not supported");
    if (type == 4 || type == 5)
        return vn_fail(err, VN_EINCOMPAT, "tensors are not supported");
    if (type != VN_ARROW_SCHEMA && type != VN_ARROW_BATCH)
        return vn_fail(err, VN_EDATA, "a message of unknown type %lld", (long long)type);
    if (out->body < 0 || out->body % 8)
        return vn_fail(err, VN_EDATA, "a body of %lld bytes", (long long)out->body);
    out->type = (enum vn_arrow_header)type;
    return VN_OK;
}

static struct vn_fb_table header_of(struct vn_fb_in *in) {
    struct vn_fb_table t = vn_fb_root(in);
    return vn_fb_sub(in, &t, 2);
}

/* ---- types ----------------------------------------------------------------------- */

static int read_int_type(struct vn_fb_in *in, const struct vn_fb_table *t,
                         struct vn_level *v, struct vn_error *err) {
    int64_t bits = vn_fb_int(in, t, 0, 4, 0);
    bool is_signed = vn_fb_int(in, t, 1, 1, 0) != 0;
    switch (bits) {
    case 8: v->type = is_signed ? VN_INT8 : VN_UINT8; break;
    case 16: v->type = is_signed ? VN_INT16 : VN_UINT16; break;
    case 32: v->type = is_signed ? VN_INT32 : VN_UINT32; break;
    case 64: v->type = is_signed ? VN_INT64 : VN_UINT64; break;
    default:
        return vn_fail(err, VN_EDATA, "column '%s' has integers of %lld bits", v->name,
                       (long long)bits);
    }
    return VN_OK;
}

static int read_sized_type(struct vn_fb_in *in, const struct vn_fb_table *t,
                           struct vn_level *v, struct vn_error *err) {
    int64_t size = vn_fb_int(in, t, 0, 4, 0);
    if (size <= 0)
        return vn_fail(err, VN_EDATA, "column '%s' has rows of fixed size %lld", v->name,
                       (long long)size);
    v->size = (int32_t)size;
    return VN_OK;
}

static int unsupported(int64_t tag, const char *name, struct vn_error *err) {
    static const char *const names[] = {
        NULL,       "null",     "int",      "float",    "binary",  "utf8",
        "bool",     "decimal",  "date",     "time",     "timestamp", "interval",
        "list",     "struct",   "union",    "fixed_size_binary", "fixed_size_list", "map",
        "duration", "large_binary", "large_utf8", "large_list", "run_end_encoded",
        "binary_view", "utf8_view", "list_view", "large_list_view"};
    if (tag < 1 || tag >= (int64_t)(sizeof names / sizeof *names))
        return vn_fail(err, VN_EDATA, "column '%s' has a type of unknown number %lld", name,
                       (long long)tag);
    return vn_fail(err, VN_EINCOMPAT, "column '%s' is of type %s, which is not supported",
                   name, names[tag]);
}

static int read_type(struct vn_fb_in *in, const struct vn_fb_table *field,
                     struct vn_level *v, struct vn_error *err) {
    static const enum vn_type floats[] = {VN_FLOAT16, VN_FLOAT32, VN_FLOAT64};
    int64_t tag = vn_fb_int(in, field, 2, 1, 0), precision;
    struct vn_fb_table t = vn_fb_sub(in, field, 3);
    if (in->bad || !t.pos)
        return damaged(in, err);
    switch (tag) {
    case 2: return read_int_type(in, &t, v, err);
    case 3:
        precision = vn_fb_int(in, &t, 0, 2, 0);
        if (precision < 0 || precision > 2)
            return vn_fail(err, VN_EDATA, "column '%s' has floats of precision %lld", v->name,
                           (long long)precision);
        v->type = floats[precision];
        return VN_OK;
    case 4: v->type = VN_BINARY; return VN_OK;
    case 5: v->type = VN_UTF8; return VN_OK;
    case 6: v->type = VN_BOOL; return VN_OK;
    case 12: v->type = VN_LIST; return VN_OK;
    case 15: v->type = VN_FIXED_BINARY; return read_sized_type(in, &t, v, err);
    case 16: v->type = VN_FIXED_LIST; return read_sized_type(in, &t, v, err);
    case 19: v->type = VN_LARGE_BINARY; return VN_OK;
    case 20: v->type = VN_LARGE_UTF8; return VN_OK;
    case 21: v->type = VN_LARGE_LIST; return VN_OK;
    default: return unsupported(tag, v->name, err);
    }
}

/* ---- fields ---------------------------------------------------------------------- */

/* Reads the chain of levels that starts at `field`. Names point into the metadata. */
static int read_field(struct vn_fb_in *in, struct vn_fb_table field, struct vn_field *f,
                      struct vn_error *err) {
    static char item[] = "item";
    for (f->depth = 0; f->depth < VN_MAX_DEPTH; f->depth++) {
        struct vn_level *v = &f->level[f->depth];
        size_t len, n_children, name = vn_fb_text(in, &field, 0, &len);
        v->name = name ? (char *)in->data + name : f->depth ? item : (char *)"";
        v->nullable = vn_fb_int(in, &field, 1, 1, 0) != 0;
        if (vn_fb_present(in, &field, 4))
            return vn_fail(err, VN_EINCOMPAT,
                           "column '%s' is a dictionary, which is not supported", v->name);
        int rc = read_type(in, &field, v, err);
        size_t children = vn_fb_elements(in, &field, 5, 4, 4, &n_children);
        if (rc != VN_OK)
            return rc;
        if (in->bad)
            return damaged(in, err);
        if (n_children != vn_type_is_list(v->type))
            return vn_fail(err, VN_EDATA, "column '%s' of type %s has %zu children", v->name,
                           vn_type_name(v->type), n_children);
        if (!n_children) {
            f->depth++;
            return VN_OK;
        }
        field = vn_fb_element(in, children, 0);
    }
    return vn_fail(err, VN_EINCOMPAT, "column '%s' has more than %d levels",
                   f->level[0].name, VN_MAX_DEPTH);
}

static int read_fields(struct vn_fb_in *in, const struct vn_fb_table *schema,
                       struct vn_schema *out, struct vn_error *err) {
    size_t n, fields = vn_fb_elements(in, schema, 1, 4, 4, &n);
    int rc = VN_OK;
    if (in->bad)
        return damaged(in, err);
    if (n > VN_MAX_COLUMNS)
        return vn_fail(err, VN_EINCOMPAT, "%zu columns, more than the %d supported", n,
                       VN_MAX_COLUMNS);
    for (size_t i = 0; i < n && rc == VN_OK; i++) {
        struct vn_field f = {0};
        rc = read_field(in, vn_fb_element(in, fields, i), &f, err);
        if (rc == VN_OK)
            rc = vn_schema_add_field(out, &f, err);
    }
    return rc;
}

/* ---- metadata -------------------------------------------------------------------- */

static int set_format(const char *value, struct vn_error *err) {
    char *end;
    unsigned long major = strtoul(value, &end, 10);
    if (end == value || major < 1 || (*end && *end != '.'))
        return vn_fail(err, VN_EDATA, "vn.format is '%s'", value);
    if (major > 1)
        return vn_fail(err, VN_EINCOMPAT,
                       "the stream has format %s, this program reads format 1", value);
    return VN_OK;
}

static int read_metadata(struct vn_fb_in *in, const struct vn_fb_table *schema, bool lax,
                         struct vn_schema *out, struct vn_error *err) {
    size_t n, pairs = pairs_of(in, schema, 2, &n);
    const char *format = NULL, *kind = NULL;
    int rc = VN_OK;
    for (size_t i = 0; i < n && rc == VN_OK && !in->bad; i++) {
        struct vn_fb_table pair = vn_fb_element(in, pairs, i);
        size_t len, key_at = vn_fb_text(in, &pair, 0, &len);
        size_t value_at = vn_fb_text(in, &pair, 1, &len);
        const char *key = key_at ? (const char *)in->data + key_at : "";
        const char *value = value_at ? (const char *)in->data + value_at : "";
        if (!strcmp(key, "vn.format"))
            rc = set_format(format = value, err);
        else if (!strcmp(key, "vn.kind"))
            out->kind = vn_kind_of(kind = value);
        else if (!in->bad)
            rc = vn_schema_set_meta(out, key, value, err);
    }
    if (rc != VN_OK)
        return rc;
    if (in->bad)
        return damaged(in, err);
    if (!lax && !format)
        return vn_fail(err, VN_EINCOMPAT, "the stream does not say its vn.format");
    if (!lax && out->kind == VN_KIND_OTHER)
        return vn_fail(err, VN_EINCOMPAT, "the stream is of unknown kind '%s'",
                       kind ? kind : "");
    return VN_OK;
}

int vn_arrow_read_schema(const struct vn_arrow_message *m, bool lax, struct vn_schema *out,
                         struct vn_error *err) {
    struct vn_fb_in in = {.data = m->meta, .n = m->n};
    struct vn_fb_table t = header_of(&in);
    vn_schema_init(out, VN_KIND_OTHER);
    if (in.bad || !t.pos)
        return damaged(&in, err);
    if (m->body)
        return vn_fail(err, VN_EDATA, "a schema with a body of %lld bytes",
                       (long long)m->body);
    if (vn_fb_int(&in, &t, 0, 2, 0) != 0)
        return vn_fail(err, VN_EINCOMPAT, "big-endian streams are not supported");
    size_t n_features;
    vn_fb_elements(&in, &t, 3, 8, 8, &n_features);
    if (n_features && !lax)
        return vn_fail(err, VN_EINCOMPAT, "the stream has feature flags");
    int rc = read_metadata(&in, &t, lax, out, err);
    if (rc == VN_OK)
        rc = read_fields(&in, &t, out, err);
    if (rc != VN_OK)
        vn_schema_release(out);
    return rc;
}

/* ---- record batches -------------------------------------------------------------- */

int vn_arrow_read_batch(const struct vn_arrow_message *m, struct vn_arrow_batch *out,
                        struct vn_error *err) {
    struct vn_fb_in in = {.data = m->meta, .n = m->n};
    struct vn_fb_table t = header_of(&in);
    memset(out, 0, sizeof *out);
    out->rows = vn_fb_int(&in, &t, 0, 8, 0);
    size_t nodes = vn_fb_elements(&in, &t, 1, 16, 8, &out->n_nodes);
    size_t buffers = vn_fb_elements(&in, &t, 2, 16, 8, &out->n_buffers);
    struct vn_fb_table codec = vn_fb_sub(&in, &t, 3);
    if (in.bad || !t.pos)
        return damaged(&in, err);
    if (codec.pos) {
        int64_t id = vn_fb_int(&in, &codec, 0, 1, 0), method = vn_fb_int(&in, &codec, 1, 1, 0);
        if (in.bad)
            return damaged(&in, err);
        if (id != 1 || method != 0)
            return vn_fail(err, VN_EINCOMPAT, "bodies compressed with %s are not supported",
                           id == 0 ? "LZ4" : "an unknown codec");
        out->compressed = true;
    }
    out->nodes = m->meta + nodes;
    out->buffers = m->meta + buffers;
    return VN_OK;
}

struct vn_arrow_node vn_arrow_node(const struct vn_arrow_batch *b, size_t i) {
    return (struct vn_arrow_node){(int64_t)vn_load64(b->nodes + 16 * i),
                                  (int64_t)vn_load64(b->nodes + 16 * i + 8)};
}

struct vn_arrow_buffer vn_arrow_buffer(const struct vn_arrow_batch *b, size_t i) {
    return (struct vn_arrow_buffer){(int64_t)vn_load64(b->buffers + 16 * i),
                                    (int64_t)vn_load64(b->buffers + 16 * i + 8)};
}
