#include "table.h"

#include <inttypes.h>
#include <stdio.h>

#include "num.h"
#include "text.h"

/* Runs without anything to escape are appended whole. */
static int put_string(struct vn_buf *out, const char *s, size_t n, struct vn_error *err) {
    static const char hex[] = "0123456789abcdef";
    size_t from = 0;
    int rc = VN_OK;
    for (size_t i = 0; i < n && rc == VN_OK; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c >= 0x20 && c != 0x7f && c != '\\')
            continue;
        char escape[5] = {'\\', 'x', hex[c >> 4], hex[c & 15], 0};
        const char *known = c == '\\' ? "\\\\"
                            : c == '\t' ? "\\t"
                            : c == '\n' ? "\\n"
                            : c == '\r' ? "\\r"
                                        : escape;
        rc = vn_buf_append(out, s + from, i - from, err);
        if (rc == VN_OK)
            rc = vn_buf_puts(out, known, err);
        from = i + 1;
    }
    return rc == VN_OK ? vn_buf_append(out, s + from, n - from, err) : rc;
}

static int put_hex(struct vn_buf *out, const uint8_t *p, size_t n, struct vn_error *err) {
    int rc = VN_OK;
    for (size_t i = 0; i < n && rc == VN_OK; i++)
        rc = vn_buf_printf(out, err, "%02x", p[i]);
    return rc;
}

static int put_number(struct vn_buf *out, enum vn_type type, const uint8_t *p,
                      struct vn_error *err) {
    char text[VN_NUMBER_TEXT];
    float f;
    double d;
    switch (type) {
    case VN_INT8: snprintf(text, sizeof text, "%d", (int8_t)*p); break;
    case VN_INT16: snprintf(text, sizeof text, "%d", (int16_t)vn_load16(p)); break;
    case VN_INT32: snprintf(text, sizeof text, "%" PRId32, (int32_t)vn_load32(p)); break;
    case VN_INT64: snprintf(text, sizeof text, "%" PRId64, (int64_t)vn_load64(p)); break;
    case VN_UINT8: snprintf(text, sizeof text, "%u", *p); break;
    case VN_UINT16: snprintf(text, sizeof text, "%u", vn_load16(p)); break;
    case VN_UINT32: snprintf(text, sizeof text, "%" PRIu32, vn_load32(p)); break;
    case VN_UINT64: snprintf(text, sizeof text, "%" PRIu64, vn_load64(p)); break;
    case VN_FLOAT16: vn_format_float(text, vn_f16_to_f32(vn_load16(p))); break;
    case VN_FLOAT32: memcpy(&f, p, 4), vn_format_float(text, f); break;
    case VN_FLOAT64: memcpy(&d, p, 8), vn_format_double(text, d); break;
    default: return vn_fail(err, VN_EINTERNAL, "a column of type %s is no number",
                            vn_type_name(type));
    }
    return vn_buf_puts(out, text, err);
}

static int put_value(const struct vn_field *f, const struct vn_column *c, int level,
                     int64_t row, struct vn_buf *out, struct vn_error *err);

static int put_list(const struct vn_field *f, const struct vn_column *c, int level,
                    int64_t row, struct vn_buf *out, struct vn_error *err) {
    const struct vn_level *l = &f->level[level];
    int64_t from = row * l->size, to = from + l->size;
    if (l->type != VN_FIXED_LIST)
        vn_span(&c->level[level], l->type, row, &from, &to);
    int rc = vn_buf_puts(out, "[", err);
    for (int64_t i = from; i < to && rc == VN_OK; i++) {
        if (i > from)
            rc = vn_buf_puts(out, ",", err);
        if (rc == VN_OK)
            rc = put_value(f, c, level + 1, i, out, err);
    }
    return rc == VN_OK ? vn_buf_puts(out, "]", err) : rc;
}

static int put_value(const struct vn_field *f, const struct vn_column *c, int level,
                     int64_t row, struct vn_buf *out, struct vn_error *err) {
    const struct vn_level *l = &f->level[level];
    const struct vn_array *a = &c->level[level];
    const uint8_t *values = a->values;
    int64_t from, to;
    if (vn_is_null(a, row))
        return vn_buf_puts(out, ".", err);
    switch (l->type) {
    case VN_LIST:
    case VN_LARGE_LIST:
    case VN_FIXED_LIST: return put_list(f, c, level, row, out, err);
    case VN_UTF8:
    case VN_LARGE_UTF8:
        vn_span(a, l->type, row, &from, &to);
        return to > from ? put_string(out, (const char *)values + from, (size_t)(to - from), err)
                         : VN_OK;
    case VN_BINARY:
    case VN_LARGE_BINARY:
        vn_span(a, l->type, row, &from, &to);
        return to > from ? put_hex(out, values + from, (size_t)(to - from), err) : VN_OK;
    case VN_FIXED_BINARY:
        return put_hex(out, values + row * l->size, (size_t)l->size, err);
    case VN_BOOL:
        return vn_buf_puts(out, values[row >> 3] >> (row & 7) & 1 ? "true" : "false", err);
    default:
        return put_number(out, l->type, values + (size_t)row * vn_type_width(l->type), err);
    }
}

int vn_table_cell(const struct vn_field *f, const struct vn_column *c, int64_t row,
                  struct vn_buf *out, struct vn_error *err) {
    return put_value(f, c, 0, row, out, err);
}

int vn_table_header(const struct vn_schema *s, struct vn_buf *out, struct vn_error *err) {
    int rc = VN_OK;
    for (int i = 0; i < s->n_fields && rc == VN_OK; i++) {
        const char *name = s->fields[i].level[0].name;
        if (i)
            rc = vn_buf_puts(out, "\t", err);
        if (rc == VN_OK)
            rc = put_string(out, name, strlen(name), err);
    }
    return rc == VN_OK ? vn_buf_puts(out, "\n", err) : rc;
}

int vn_table_row(const struct vn_schema *s, const struct vn_batch *b, int64_t row,
                 struct vn_buf *out, struct vn_error *err) {
    int rc = VN_OK;
    for (int i = 0; i < s->n_fields && rc == VN_OK; i++) {
        if (i)
            rc = vn_buf_puts(out, "\t", err);
        if (rc == VN_OK)
            rc = vn_table_cell(&s->fields[i], &b->columns[i], row, out, err);
    }
    return rc == VN_OK ? vn_buf_puts(out, "\n", err) : rc;
}
