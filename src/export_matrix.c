#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "export.h"
#include "num.h"
#include "text.h"

#define SPOOL_BUFFER ((size_t)256 << 10)

/* ---- a temporary file ------------------------------------------------------------ */

/* Bytes that wait until their number is known, in a file without a name. */
struct spool {
    int fd; /* -1: not made yet */
    struct vn_buf buf;
    uint64_t bytes;
};

static int spool_flush(struct spool *s, struct vn_error *err) {
    const uint64_t at = s->bytes - s->buf.len;
    int rc = s->fd >= 0 ? VN_OK : (s->fd = vn_temp_open(err));
    if (rc >= 0)
        rc = vn_temp_write(s->fd, s->buf.data, s->buf.len, at, err);
    s->buf.len = 0;
    return rc < 0 ? rc : VN_OK;
}

static int spool_put(struct spool *s, const void *p, size_t n, struct vn_error *err) {
    int rc = vn_buf_append(&s->buf, p, n, err);
    s->bytes += n;
    if (rc == VN_OK && s->buf.len >= SPOOL_BUFFER)
        rc = spool_flush(s, err);
    return rc;
}

/* Sends everything that was put. */
static int spool_copy(struct spool *s, struct vn_sink *sink, struct vn_error *err) {
    int rc = spool_flush(s, err);
    if (rc == VN_OK)
        rc = vn_buf_resize(&s->buf, SPOOL_BUFFER, err);
    for (uint64_t at = 0; at < s->bytes && rc == VN_OK;) {
        const uint64_t left = s->bytes - at, n = left < s->buf.len ? left : s->buf.len;
        rc = vn_temp_read(s->fd, s->buf.data, n, at, err);
        if (rc == VN_OK)
            rc = vn_sink_write(sink, s->buf.data, n, err);
        at += n;
    }
    return rc;
}

static void spool_release(struct spool *s) {
    if (s->fd >= 0)
        close(s->fd);
    vn_buf_release(&s->buf);
}

/* ---- rows ------------------------------------------------------------------------ */

struct matrix_export {
    struct vn_export base;
    const struct vn_schema *schema;
    struct vn_sink *sink;
    bool safetensors;
    int column;
    uint64_t rows;
    struct vn_buf floats; /* one row */
    struct spool values, valid;
};

static int32_t width_of(const struct matrix_export *x) {
    return x->schema->fields[x->column].level[0].size;
}

/* One row as float32; what is null is NaN. */
static void row_floats(struct matrix_export *x, const struct vn_column *c, int64_t row) {
    float *out = (float *)(void *)x->floats.data;
    enum vn_type t = x->schema->fields[x->column].level[1].type;
    int64_t from = row * width_of(x);
    const uint8_t *p = (const uint8_t *)c->level[1].values + (size_t)from * vn_type_width(t);
    for (int32_t i = 0; i < width_of(x); i++, p += vn_type_width(t)) {
        double d;
        if (vn_is_null(&c->level[0], row) || vn_is_null(&c->level[1], from + i)) {
            out[i] = NAN;
        } else if (t == VN_FLOAT16) {
            out[i] = vn_f16_to_f32(vn_load16(p));
        } else if (t == VN_FLOAT32) {
            out[i] = vn_bits_f32(vn_load32(p));
        } else {
            memcpy(&d, p, sizeof d);
            out[i] = (float)d;
        }
    }
}

static int matrix_put(struct vn_export *base, const struct vn_batch *b,
                      struct vn_error *err) {
    struct matrix_export *x = (struct matrix_export *)base;
    const struct vn_column *c = &b->columns[x->column];
    int rc = VN_OK;
    for (int64_t i = 0; i < b->n_rows && rc == VN_OK; i++, x->rows++) {
        uint8_t valid = !vn_is_null(&c->level[0], i);
        row_floats(x, c, i);
        rc = spool_put(&x->values, x->floats.data, x->floats.len, err);
        if (rc == VN_OK && x->safetensors)
            rc = spool_put(&x->valid, &valid, 1, err);
    }
    return rc;
}

/* ---- heads ----------------------------------------------------------------------- */

/* numpy's format 1.0: the head ends with a newline at a multiple of 64 bytes. */
static int npy_head(struct matrix_export *x, struct vn_buf *out, struct vn_error *err) {
    int rc = vn_buf_append(out, "\x93NUMPY\x01\x00\x00\x00", 10, err);
    if (rc == VN_OK)
        rc = vn_buf_printf(out, err,
                           "{'descr': '<f4', 'fortran_order': False, 'shape': (%" PRIu64
                           ", %d), }",
                           x->rows, (int)width_of(x));
    while (rc == VN_OK && (out->len + 1) % 64)
        rc = vn_buf_puts(out, " ", err);
    if (rc == VN_OK)
        rc = vn_buf_puts(out, "\n", err);
    if (rc == VN_OK)
        vn_store16(out->data + 8, (uint16_t)(out->len - 10));
    return rc;
}

/* The metadata of the stream, as far as a map of texts holds it. */
static int safetensors_metadata(const struct vn_schema *s, struct vn_buf *out,
                                struct vn_error *err) {
    int rc = vn_buf_printf(out, err, "\"__metadata__\":{\"vn.kind\":\"%s\"",
                           vn_kind_name(s->kind));
    for (int i = 0; i < s->n_meta && rc == VN_OK; i++) {
        rc = vn_buf_puts(out, ",", err);
        if (rc == VN_OK)
            rc = vn_json_text(out, s->meta[i].key, strlen(s->meta[i].key), err);
        if (rc == VN_OK)
            rc = vn_buf_puts(out, ":", err);
        if (rc == VN_OK)
            rc = vn_json_text(out, s->meta[i].value, strlen(s->meta[i].value), err);
    }
    return rc == VN_OK ? vn_buf_puts(out, "}", err) : rc;
}

/* The length of the head (8 bytes) and the head, JSON padded with blanks to 8 bytes. */
static int safetensors_head(struct matrix_export *x, struct vn_buf *out,
                            struct vn_error *err) {
    uint64_t n = x->rows, values = x->values.bytes, records = 8 * n;
    int rc = vn_buf_append(out, "\0\0\0\0\0\0\0\0{", 9, err);
    if (rc == VN_OK)
        rc = safetensors_metadata(x->schema, out, err);
    if (rc == VN_OK)
        rc = vn_buf_printf(out, err,
                           ",\"embedding\":{\"dtype\":\"F32\",\"shape\":[%" PRIu64
                           ",%d],\"data_offsets\":[0,%" PRIu64 "]},"
                           "\"record\":{\"dtype\":\"I64\",\"shape\":[%" PRIu64
                           "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]},"
                           "\"valid\":{\"dtype\":\"BOOL\",\"shape\":[%" PRIu64
                           "],\"data_offsets\":[%" PRIu64 ",%" PRIu64 "]}}",
                           n, (int)width_of(x), values, n, values, values + records, n,
                           values + records, values + records + n);
    while (rc == VN_OK && out->len % 8)
        rc = vn_buf_puts(out, " ", err);
    if (rc == VN_OK)
        vn_store64(out->data, out->len - 8);
    return rc;
}

/* ---- end ------------------------------------------------------------------------- */

/* Rows are in the order of the input, so a record's number is its row's. */
static int send_records(struct matrix_export *x, struct vn_error *err) {
    int rc = VN_OK;
    for (uint64_t i = 0; i < x->rows && rc == VN_OK; i++)
        rc = vn_sink_puts(x->sink, (const char *)&i, sizeof i, err);
    return rc;
}

static int send_all(struct matrix_export *x, struct vn_error *err) {
    struct vn_buf head = {0};
    int rc = x->safetensors ? safetensors_head(x, &head, err) : npy_head(x, &head, err);
    if (rc == VN_OK)
        rc = vn_sink_write(x->sink, head.data, head.len, err);
    if (rc == VN_OK)
        rc = spool_copy(&x->values, x->sink, err);
    if (rc == VN_OK && x->safetensors)
        rc = send_records(x, err);
    if (rc == VN_OK && x->safetensors)
        rc = spool_copy(&x->valid, x->sink, err);
    vn_buf_release(&head);
    return rc;
}

static int matrix_close(struct vn_export *base, bool whole, struct vn_error *err) {
    struct matrix_export *x = (struct matrix_export *)base;
    int rc = whole ? send_all(x, err) : VN_OK;
    if (whole && rc == VN_OK)
        rc = vn_sink_close(x->sink, err);
    else
        vn_sink_abort(x->sink);
    vn_buf_release(&x->floats);
    spool_release(&x->values);
    spool_release(&x->valid);
    free(x);
    return rc;
}

/* ---- open ------------------------------------------------------------------------ */

static bool is_matrix(const struct vn_field *f) {
    return f->depth == 2 && f->level[0].type == VN_FIXED_LIST &&
           f->level[1].type >= VN_FLOAT16 && f->level[1].type <= VN_FLOAT64;
}

/* "embedding", or the only matrix there is. */
static int find_matrix(const struct vn_schema *s, struct vn_error *err) {
    int at = vn_schema_find(s, "embedding"), n = 0;
    if (at >= 0 && is_matrix(&s->fields[at]))
        return at;
    for (int i = 0; i < s->n_fields; i++)
        if (is_matrix(&s->fields[i]))
            at = i, n++;
    if (n != 1)
        return vn_fail(err, VN_EINCOMPAT,
                       "a stream of %s with %d columns of vectors, expected one: pool it "
                       "first, or name one with --columns",
                       vn_kind_name(s->kind), n);
    return at;
}

static int matrix_open(const struct vn_schema *s, struct vn_sink *sink, bool safetensors,
                       struct vn_export **out, struct vn_error *err) {
    struct matrix_export *x = vn_calloc(1, sizeof *x, err);
    *out = NULL;
    if (!x) {
        vn_sink_abort(sink);
        return VN_EFAIL;
    }
    x->base.put = matrix_put;
    x->base.close = matrix_close;
    x->schema = s;
    x->sink = sink;
    x->safetensors = safetensors;
    x->values.fd = x->valid.fd = -1;
    int rc = x->column = find_matrix(s, err);
    if (rc >= 0)
        rc = vn_buf_resize(&x->floats, (size_t)width_of(x) * sizeof(float), err);
    if (rc < 0) {
        matrix_close(&x->base, false, err);
        return rc;
    }
    *out = &x->base;
    return VN_OK;
}

int vn_export_npy(const struct vn_schema *s, struct vn_sink *sink, struct vn_export **out,
                  struct vn_error *err) {
    return matrix_open(s, sink, false, out, err);
}

int vn_export_safetensors(const struct vn_schema *s, struct vn_sink *sink,
                          struct vn_export **out, struct vn_error *err) {
    return matrix_open(s, sink, true, out, err);
}
