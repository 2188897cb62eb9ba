#include <stdio.h>
#include <string.h>

#include "arrow.h"
#include "crc.h"
#include "flatbuf.h"
#include "num.h"

/* Slots of Arrow's tables, in the order of its schema files. Slots that are last and not
 * used by us are left out of the vtable. */
static const uint8_t message_widths[] = {2, 1, 4, 8, 4}; /* version, type, header, body, kv */
static const uint8_t schema_widths[] = {2, 4, 4};        /* endianness, fields, metadata */
static const uint8_t field_widths[] = {4, 1, 1, 4, 0, 4}; /* name, nullable, tag, type,
                                                             dictionary, children */
static const uint8_t batch_widths[] = {8, 4, 4, 4};       /* length, nodes, buffers, codec */
static const uint8_t pair_widths[] = {4, 4};
static const uint8_t footer_widths[] = {2, 4, 0, 4}; /* version, schema, dictionaries,
                                                        record batches */
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

#define VERSION_5 4
#define CODEC_ZSTD 1

int vn_arrow_payload(const struct vn_schema *s) {
    const char *name = s->kind == VN_KIND_TOKENS       ? "tokens"
                       : s->kind == VN_KIND_EMBEDDINGS ? "embedding"
                                                       : NULL;
    int at = name ? vn_schema_find(s, name) : -1;
    bool list = at >= 0 && (s->fields[at].level[0].type == VN_LIST ||
                            s->fields[at].level[0].type == VN_LARGE_LIST);
    return list ? at : -1;
}

uint64_t vn_arrow_tokens(const struct vn_schema *s, int payload, const struct vn_batch *b) {
    int64_t from, to, between;
    if (payload < 0 || !b->n_rows)
        return 0;
    const struct vn_array *a = &b->columns[payload].level[0];
    enum vn_type t = s->fields[payload].level[0].type;
    vn_span(a, t, 0, &from, &between);
    vn_span(a, t, b->n_rows - 1, &between, &to);
    return (uint64_t)(to - from);
}

/* ---- custom metadata ------------------------------------------------------------- */

/* Fills element i of a vector of pairs; returns the position of the value's text. */
static size_t write_pair(struct vn_fb_out *o, size_t vector, size_t i, const char *key,
                         const char *value) {
    size_t t = vn_fb_table(o, pair_widths, COUNT(pair_widths));
    vn_fb_refer_at(o, vector + 4 + 4 * i, t);
    vn_fb_refer(o, t, 0, vn_fb_string(o, key));
    size_t text = vn_fb_string(o, value);
    vn_fb_refer(o, t, 1, text);
    return text + 4;
}

/* The message table with its custom metadata; returns the table, and the position of the
 * checksum's text in *crc. */
static size_t write_message(struct vn_fb_out *o, enum vn_arrow_header type, int64_t body,
                            const struct vn_arrow_marks *m, size_t *crc) {
    const struct {
        const char *key, *value;
    } marks[] = {{"vn.batch", m->batch},
                 {"vn.records", m->records},
                 {"vn.body.crc32c", m->body_crc},
                 {"vn.totals", m->totals}};
    size_t n = 1, table = vn_fb_table(o, message_widths, COUNT(message_widths));
    vn_fb_refer_at(o, 0, table);
    vn_fb_set(o, table, 0, VERSION_5, 2);
    vn_fb_set(o, table, 1, type, 1);
    vn_fb_set(o, table, 3, body, 8);
    for (int i = 0; i < COUNT(marks); i++)
        n += marks[i].value != NULL;
    size_t vector = vn_fb_vector(o, n, 4, 4);
    vn_fb_refer(o, table, 4, vector);
    *crc = write_pair(o, vector, 0, "vn.crc32c", "00000000");
    n = 1;
    for (int i = 0; i < COUNT(marks); i++)
        if (marks[i].value)
            write_pair(o, vector, n++, marks[i].key, marks[i].value);
    return table;
}

/* Reserves the prefix, in front of the flatbuffer. */
static int begin_message(struct vn_fb_out *o, struct vn_buf *out, struct vn_error *err) {
    int rc = vn_buf_zeros(out, VN_ARROW_PREFIX, err);
    if (rc == VN_OK)
        vn_fb_begin(o, out, err);
    return rc;
}

/* Pads the flatbuffer to 8 bytes, fills in prefix and checksum. */
static int end_message(struct vn_fb_out *o, size_t crc) {
    size_t n = o->buf->len - o->base;
    if (o->rc == VN_OK)
        o->rc = vn_buf_zeros(o->buf, vn_round_up(n, 8) - n, o->err);
    if (o->rc != VN_OK)
        return o->rc;
    n = vn_round_up(n, 8);
    if (n > VN_MAX_METADATA)
        return vn_fail(o->err, VN_EFAIL, "the metadata of a message takes %zu of %u bytes", n,
                       VN_MAX_METADATA);
    uint8_t *meta = o->buf->data + o->base;
    char hex[9];
    vn_store32(meta - VN_ARROW_PREFIX, VN_ARROW_CONTINUATION);
    vn_store32(meta - VN_ARROW_PREFIX + 4, (uint32_t)n);
    snprintf(hex, sizeof hex, "%08x", (unsigned)vn_crc32c(0, meta, n));
    memcpy(meta + crc, hex, 8);
    return VN_OK;
}

/* ---- schema ---------------------------------------------------------------------- */

/* Tag, table and parameters of a type. */
static size_t write_type(struct vn_fb_out *o, const struct vn_level *v, uint8_t *tag) {
    static const uint8_t int_widths[] = {4, 1}, short_width[] = {2}, size_width[] = {4};
    static const uint8_t plain[] = {[VN_BOOL] = 6,         [VN_UTF8] = 5,
                                    [VN_BINARY] = 4,       [VN_LARGE_UTF8] = 20,
                                    [VN_LARGE_BINARY] = 19, [VN_FIXED_BINARY] = 15,
                                    [VN_LIST] = 12,        [VN_LARGE_LIST] = 21,
                                    [VN_FIXED_LIST] = 16};
    size_t t;
    if (v->type >= VN_INT8 && v->type <= VN_UINT64) {
        *tag = 2;
        t = vn_fb_table(o, int_widths, 2);
        vn_fb_set(o, t, 0, 8 * (int64_t)vn_type_width(v->type), 4);
        vn_fb_set(o, t, 1, v->type < VN_UINT8, 1);
    } else if (v->type >= VN_FLOAT16 && v->type <= VN_FLOAT64) {
        *tag = 3;
        t = vn_fb_table(o, short_width, 1);
        vn_fb_set(o, t, 0, v->type - VN_FLOAT16, 2);
    } else {
        bool sized = v->type == VN_FIXED_LIST || v->type == VN_FIXED_BINARY;
        *tag = plain[v->type];
        t = vn_fb_table(o, size_width, sized);
        if (sized)
            vn_fb_set(o, t, 0, v->size, 4);
    }
    return t;
}

static size_t write_field(struct vn_fb_out *o, const struct vn_field *f, int l) {
    const struct vn_level *v = &f->level[l];
    uint8_t tag = 0;
    size_t t = vn_fb_table(o, field_widths, COUNT(field_widths));
    vn_fb_refer(o, t, 0, vn_fb_string(o, v->name));
    vn_fb_set(o, t, 1, v->nullable, 1);
    vn_fb_refer(o, t, 3, write_type(o, v, &tag));
    vn_fb_set(o, t, 2, tag, 1);
    bool list = vn_type_is_list(v->type);
    size_t children = vn_fb_vector(o, list, 4, 4);
    vn_fb_refer(o, t, 5, children);
    if (list)
        vn_fb_refer_at(o, children + 4, write_field(o, f, l + 1));
    return t;
}

static size_t write_schema_table(struct vn_fb_out *o, const struct vn_schema *s) {
    bool ours = s->kind != VN_KIND_OTHER;
    size_t t = vn_fb_table(o, schema_widths, COUNT(schema_widths)), i = 0;
    size_t fields = vn_fb_vector(o, (size_t)s->n_fields, 4, 4);
    vn_fb_refer(o, t, 1, fields);
    for (int f = 0; f < s->n_fields; f++)
        vn_fb_refer_at(o, fields + 4 + 4 * (size_t)f, write_field(o, &s->fields[f], 0));
    size_t meta = vn_fb_vector(o, (size_t)s->n_meta + (ours ? 2 : 0), 4, 4);
    vn_fb_refer(o, t, 2, meta);
    if (ours) {
        write_pair(o, meta, i++, "vn.format", "1");
        write_pair(o, meta, i++, "vn.kind", vn_kind_name(s->kind));
    }
    for (int m = 0; m < s->n_meta; m++)
        write_pair(o, meta, i++, s->meta[m].key, s->meta[m].value);
    return t;
}

int vn_arrow_write_schema(const struct vn_schema *s, struct vn_buf *out,
                          struct vn_error *err) {
    const struct vn_arrow_marks none = {0};
    struct vn_fb_out o;
    size_t crc;
    int rc = begin_message(&o, out, err);
    if (rc != VN_OK)
        return rc;
    size_t m = write_message(&o, VN_ARROW_SCHEMA, 0, &none, &crc);
    vn_fb_refer(&o, m, 2, write_schema_table(&o, s));
    return end_message(&o, crc);
}

/* ---- record batches -------------------------------------------------------------- */

static size_t write_pairs_of_int64(struct vn_fb_out *o, const void *p, size_t n) {
    size_t at = vn_fb_vector(o, n, 16, 8);
    if (n && o->rc == VN_OK)
        memcpy(vn_fb_at(o, at + 4), p, n * 16);
    return at;
}

int vn_arrow_write_batch(const struct vn_arrow_outgoing *b, struct vn_buf *out,
                         struct vn_error *err) {
    static const uint8_t codec_width[] = {1};
    struct vn_fb_out o;
    size_t crc;
    int rc = begin_message(&o, out, err);
    if (rc != VN_OK)
        return rc;
    size_t m = write_message(&o, VN_ARROW_BATCH, b->body, &b->marks, &crc);
    size_t t = vn_fb_table(&o, batch_widths, COUNT(batch_widths));
    vn_fb_refer(&o, m, 2, t);
    vn_fb_set(&o, t, 0, b->rows, 8);
    vn_fb_refer(&o, t, 1, write_pairs_of_int64(&o, b->nodes, b->n_nodes));
    vn_fb_refer(&o, t, 2, write_pairs_of_int64(&o, b->buffers, b->n_buffers));
    size_t codec = vn_fb_table(&o, codec_width, 1);
    vn_fb_refer(&o, t, 3, codec);
    vn_fb_set(&o, codec, 0, CODEC_ZSTD, 1);
    return end_message(&o, crc);
}

int vn_arrow_write_footer(const struct vn_schema *s, const struct vn_arrow_block *blocks,
                          size_t n_blocks, struct vn_buf *out, struct vn_error *err) {
    struct vn_fb_out o;
    int rc = vn_buf_zeros(out, vn_round_up(out->len, 8) - out->len, err);
    if (rc != VN_OK)
        return rc;
    vn_fb_begin(&o, out, err);
    size_t t = vn_fb_table(&o, footer_widths, COUNT(footer_widths));
    vn_fb_refer_at(&o, 0, t);
    vn_fb_set(&o, t, 0, VERSION_5, 2);
    vn_fb_refer(&o, t, 1, write_schema_table(&o, s));
    size_t v = vn_fb_vector(&o, n_blocks, 24, 8);
    vn_fb_refer(&o, t, 3, v);
    for (size_t i = 0; i < n_blocks && o.rc == VN_OK; i++) {
        uint8_t *p = vn_fb_at(&o, v + 4 + 24 * i);
        vn_store64(p, (uint64_t)blocks[i].offset);
        vn_store32(p + 8, (uint32_t)blocks[i].meta);
        vn_store64(p + 16, (uint64_t)blocks[i].body);
    }
    return o.rc;
}
