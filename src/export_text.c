#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bits.h"
#include "export.h"
#include "text.h"

struct text_export {
    struct vn_export base;
    const struct vn_schema *schema;
    struct vn_sink *sink;
    struct vn_buf line;
    bool json;
    struct vn_error *err; /* of the call in progress */
    int rc;               /* the first failure of a line: the rest does nothing */
};

/* ---- pieces of a line ------------------------------------------------------------ */

static void put(struct text_export *x, const char *p, size_t n) {
    if (x->rc == VN_OK)
        x->rc = vn_buf_append(&x->line, p, n, x->err);
}

static void put_text(struct text_export *x, const char *s) {
    put(x, s, strlen(s));
}

/* No letter that may have to be escaped. */
static bool is_plain(unsigned char c) {
    return c >= 0x20 && c != 0x7f && c != '\\' && c != ',' && c != ';';
}

static void put_escaped(struct text_export *x, const char *p, size_t n, bool in_list) {
    static const char escaped[] = "\t\n\r\\,;", letters[] = "tnr\\,;";
    for (size_t i = 0, end; i < n; i = end + 1) {
        for (end = i; end < n && is_plain((unsigned char)p[end]); end++)
            ;
        put(x, p + i, end - i);
        if (end == n)
            return;
        const unsigned char c = (unsigned char)p[end];
        const char *at = c ? strchr(escaped, c) : NULL;
        if (!at) { /* nothing that a terminal obeys */
            char hex[5];
            put(x, hex, (size_t)snprintf(hex, sizeof hex, "\\x%02x", c));
        } else if (at - escaped >= 4 && !in_list) {
            put(x, &p[end], 1);
        } else {
            put(x, "\\", 1);
            put(x, letters + (at - escaped), 1);
        }
    }
}

static void put_hex(struct text_export *x, const uint8_t *p, size_t n) {
    static const char digits[] = "0123456789abcdef";
    put(x, "\"", x->json);
    for (size_t i = 0; i < n; i++) {
        char pair[2] = {digits[p[i] >> 4], digits[p[i] & 15]};
        put(x, pair, 2);
    }
    put(x, "\"", x->json);
}

static void put_float(struct text_export *x, double v, bool single) {
    char text[VN_NUMBER_TEXT];
    if (x->json && !isfinite(v))
        put_text(x, "null");
    else if (single)
        put(x, text, (size_t)vn_format_float(text, (float)v));
    else
        put(x, text, (size_t)vn_format_double(text, v));
}

static void put_int(struct text_export *x, int64_t v) {
    char text[VN_NUMBER_TEXT];
    put(x, text, (size_t)vn_format_int(text, v));
}

static void put_number(struct text_export *x, enum vn_type t, const uint8_t *values,
                       int64_t row) {
    const uint8_t *p = values + (size_t)row * vn_type_width(t);
    char text[VN_NUMBER_TEXT];
    double d;
    switch (t) {
    case VN_INT8: put_int(x, (int8_t)*p); break;
    case VN_INT16: put_int(x, (int16_t)vn_load16(p)); break;
    case VN_INT32: put_int(x, (int32_t)vn_load32(p)); break;
    case VN_INT64: put_int(x, (int64_t)vn_load64(p)); break;
    case VN_UINT8: put_int(x, *p); break;
    case VN_UINT16: put_int(x, vn_load16(p)); break;
    case VN_UINT32: put_int(x, vn_load32(p)); break;
    case VN_UINT64:
        put(x, text, (size_t)vn_format_uint(text, vn_load64(p)));
        break;
    case VN_FLOAT16: put_float(x, (double)vn_f16_to_f32(vn_load16(p)), true); break;
    case VN_FLOAT32: put_float(x, (double)vn_bits_f32(vn_load32(p)), true); break;
    case VN_FLOAT64:
        memcpy(&d, p, sizeof d);
        put_float(x, d, false);
        break;
    default: /* VN_BOOL: the caller has dealt with everything else */
        put_text(x, vn_bit(values, row) ? "true" : "false");
    }
}

/* One value of level l: a list puts its rows between separators, outer lists ";". */
static void put_value(struct text_export *x, const struct vn_field *f, int l,
                      const struct vn_column *c, int64_t row) {
    const struct vn_level *v = &f->level[l];
    const struct vn_array *a = &c->level[l];
    int64_t from = row * v->size, to = from + v->size;
    if (vn_is_null(a, row)) {
        put_text(x, x->json ? "null" : ".");
        return;
    }
    if (vn_type_offset_width(v->type))
        vn_span(a, v->type, row, &from, &to);
    const char *bytes = (const char *)a->values;
    if (vn_type_is_list(v->type)) {
        const char *between = x->json || l == f->depth - 2 ? "," : ";";
        put(x, "[", x->json);
        for (int64_t i = from; i < to; i++) {
            put(x, between, i > from);
            put_value(x, f, l + 1, c, i);
        }
        put(x, "]", x->json);
    } else if (v->type == VN_UTF8 || v->type == VN_LARGE_UTF8) {
        if (!x->json)
            put_escaped(x, bytes + from, (size_t)(to - from), l > 0);
        else if (x->rc == VN_OK)
            x->rc = vn_json_text(&x->line, bytes + from, (size_t)(to - from), x->err);
    } else if (v->type == VN_BINARY || v->type == VN_LARGE_BINARY ||
               v->type == VN_FIXED_BINARY) {
        put_hex(x, (const uint8_t *)bytes + from, (size_t)(to - from));
    } else {
        put_number(x, v->type, a->values, row);
    }
}

/* ---- lines ----------------------------------------------------------------------- */

static int send_line(struct text_export *x) {
    put(x, "\n", 1);
    if (x->rc == VN_OK)
        x->rc = vn_sink_puts(x->sink, (const char *)x->line.data, x->line.len, x->err);
    x->line.len = 0;
    return x->rc;
}

static void put_name(struct text_export *x, int column) {
    const char *name = x->schema->fields[column].level[0].name;
    if (!x->json) {
        put(x, "\t", column > 0);
        put_escaped(x, name, strlen(name), false);
        return;
    }
    put_text(x, column ? "," : "{");
    if (x->rc == VN_OK)
        x->rc = vn_json_text(&x->line, name, strlen(name), x->err);
    put(x, ":", 1);
}

static int text_put(struct vn_export *base, const struct vn_batch *b, struct vn_error *err) {
    struct text_export *x = (struct text_export *)base;
    x->err = err;
    x->rc = VN_OK;
    for (int64_t row = 0; row < b->n_rows && x->rc == VN_OK; row++) {
        for (int i = 0; i < x->schema->n_fields; i++) {
            if (x->json)
                put_name(x, i);
            else
                put(x, "\t", i > 0);
            put_value(x, &x->schema->fields[i], 0, &b->columns[i], row);
        }
        if (x->json)
            put_text(x, x->schema->n_fields ? "}" : "{}");
        send_line(x);
    }
    return x->rc == VN_OK ? vn_sink_flush(x->sink, err) : x->rc;
}

static int text_close(struct vn_export *base, bool whole, struct vn_error *err) {
    struct text_export *x = (struct text_export *)base;
    int rc = VN_OK;
    if (whole)
        rc = vn_sink_close(x->sink, err);
    else
        vn_sink_abort(x->sink);
    vn_buf_release(&x->line);
    free(x);
    return rc;
}

static int text_open(const struct vn_schema *s, struct vn_sink *sink, bool json,
                     struct vn_export **out, struct vn_error *err) {
    struct text_export *x = vn_calloc(1, sizeof *x, err);
    *out = NULL;
    if (!x) {
        vn_sink_abort(sink);
        return VN_EFAIL;
    }
    x->base.put = text_put;
    x->base.close = text_close;
    x->schema = s;
    x->sink = sink;
    x->json = json;
    x->err = err;
    if (!json) {
        for (int i = 0; i < s->n_fields; i++)
            put_name(x, i);
        int rc = send_line(x);
        if (rc != VN_OK) {
            text_close(&x->base, false, err);
            return rc;
        }
    }
    *out = &x->base;
    return VN_OK;
}

int vn_export_tsv(const struct vn_schema *s, struct vn_sink *sink, struct vn_export **out,
                  struct vn_error *err) {
    return text_open(s, sink, false, out, err);
}

int vn_export_json(const struct vn_schema *s, struct vn_sink *sink, struct vn_export **out,
                   struct vn_error *err) {
    return text_open(s, sink, true, out, err);
}
