#include "facts.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "text.h"

/* ---- pieces ---------------------------------------------------------------------- */

static void put(struct vn_facts *f, const char *s) {
    if (f->rc == VN_OK)
        f->rc = vn_buf_puts(&f->out, s, &f->err);
}

static void put_json_text(struct vn_facts *f, const char *p, size_t n) {
    if (f->rc == VN_OK)
        f->rc = vn_json_text(&f->out, p, n, &f->err);
}

static void new_line(struct vn_facts *f) {
    put(f, "\n");
    for (int i = 0; i <= f->depth; i++)
        put(f, "  ");
}

static void put_path(struct vn_facts *f) {
    if (f->rc == VN_OK)
        f->rc = vn_buf_append(&f->out, f->path.data, f->path.len, &f->err);
}

/* What comes before a value: its name, and what parts it from the one before. */
static void put_name(struct vn_facts *f, const char *name) {
    const bool first = f->is_first[f->depth];
    f->is_first[f->depth] = false;
    if (!f->json && f->in_row) {
        if (f->rc == VN_OK)
            f->rc = vn_buf_printf(&f->heads, &f->err, "\t%s", name);
        put(f, "\t");
        return;
    }
    if (!f->json) {
        put_path(f);
        put(f, name);
        put(f, "\t");
        return;
    }
    put(f, first ? "" : ",");
    if (f->in_row)
        put(f, first ? "" : " ");
    else
        new_line(f);
    put_json_text(f, name, strlen(name));
    put(f, ": ");
}

static void put_value(struct vn_facts *f, const char *name, const char *text) {
    put_name(f, name);
    put(f, text);
    put(f, f->json || f->in_row ? "" : "\n");
}

/* ---- groups ---------------------------------------------------------------------- */

void vn_facts_init(struct vn_facts *f, bool json) {
    memset(f, 0, sizeof *f);
    f->json = json;
    f->is_first[0] = true;
    put(f, json ? "{" : "");
}

static void deeper(struct vn_facts *f, const char *name) {
    if (f->rc == VN_OK && f->depth + 1 >= VN_FACTS_DEPTH)
        f->rc = vn_fail(&f->err, VN_EINTERNAL, "group '%s' is too deep in its report", name);
    if (f->rc != VN_OK)
        return;
    f->path_len[f->depth++] = f->path.len;
    f->is_first[f->depth] = true;
}

void vn_facts_begin(struct vn_facts *f, const char *name) {
    if (f->json) {
        put_name(f, name);
        put(f, "{");
    }
    deeper(f, name);
    if (f->rc == VN_OK)
        f->rc = vn_buf_printf(&f->path, &f->err, "%s.", name);
}

static void shallower(struct vn_facts *f, const char *bracket) {
    if (f->rc != VN_OK)
        return;
    const bool empty = f->is_first[f->depth];
    f->path.len = f->path_len[--f->depth];
    if (!f->json)
        return;
    if (!empty)
        new_line(f);
    put(f, bracket);
}

void vn_facts_end(struct vn_facts *f) {
    shallower(f, "}");
}

/* The path of a table is the whole beginning of its lines. */
void vn_facts_begin_table(struct vn_facts *f, const char *name) {
    if (f->json) {
        put_name(f, name);
        put(f, "[");
    }
    deeper(f, name);
    if (f->rc == VN_OK)
        f->rc = vn_buf_puts(&f->path, name, &f->err);
}

void vn_facts_end_table(struct vn_facts *f) {
    shallower(f, "]");
}

/* Puts the names of the columns above the first row. */
static void put_heads(struct vn_facts *f) {
    const size_t old = f->out.len, n = f->path.len + f->heads.len + 1;
    f->rc = vn_buf_resize(&f->out, old + n, &f->err);
    if (f->rc != VN_OK)
        return;
    uint8_t *at = f->out.data + f->row;
    memmove(at + n, at, old - f->row);
    memcpy(at, f->path.data, f->path.len);
    memcpy(at + f->path.len, f->heads.data, f->heads.len);
    at[n - 1] = '\n';
}

void vn_facts_begin_row(struct vn_facts *f) {
    if (f->rc != VN_OK)
        return;
    f->row = f->out.len;
    f->heads.len = 0;
    if (f->json) {
        put(f, f->is_first[f->depth] ? "" : ",");
        new_line(f);
        put(f, "{");
    } else {
        put_path(f);
    }
    deeper(f, "row");
    f->in_row = true;
}

void vn_facts_end_row(struct vn_facts *f) {
    if (f->rc != VN_OK)
        return;
    f->in_row = false;
    const bool first = f->is_first[--f->depth];
    f->is_first[f->depth] = false;
    put(f, f->json ? "}" : "\n");
    if (!f->json && first && f->rc == VN_OK)
        put_heads(f);
}

/* ---- values ---------------------------------------------------------------------- */

/* A text without what is not UTF-8, and without what a terminal obeys if it is printed. */
static void clean(struct vn_facts *f, const char *p, size_t n) {
    f->text.len = 0;
    for (size_t at = 0; at < n && f->rc == VN_OK;) {
        const int length = vn_utf8_length((const uint8_t *)p + at, n - at);
        const bool control = length == 1 && ((unsigned char)p[at] < 0x20 || p[at] == 0x7f);
        if (length < 0)
            f->rc = vn_buf_puts(&f->text, "\xef\xbf\xbd", &f->err);
        else if (control && !f->json)
            f->rc = vn_buf_puts(&f->text, " ", &f->err);
        else
            f->rc = vn_buf_append(&f->text, p + at, (size_t)length, &f->err);
        at += (size_t)(length < 0 ? -length : length);
    }
}

void vn_facts_text(struct vn_facts *f, const char *name, const char *p, size_t n) {
    clean(f, p, n);
    put_name(f, name);
    if (f->json) {
        put_json_text(f, (const char *)f->text.data, f->text.len);
        return;
    }
    if (f->rc == VN_OK)
        f->rc = vn_buf_append(&f->out, f->text.data, f->text.len, &f->err);
    put(f, f->in_row ? "" : "\n");
}

void vn_facts_word(struct vn_facts *f, const char *name, const char *word) {
    if (word)
        vn_facts_text(f, name, word, strlen(word));
    else
        put_value(f, name, f->json ? "null" : ".");
}

void vn_facts_bool(struct vn_facts *f, const char *name, bool v) {
    put_value(f, name, f->json ? (v ? "true" : "false") : v ? "yes" : "no");
}

void vn_facts_count(struct vn_facts *f, const char *name, uint64_t v) {
    char text[VN_NUMBER_TEXT];
    snprintf(text, sizeof text, "%" PRIu64, v);
    put_value(f, name, text);
}

/* JSON has no word for what is not finite. */
static void put_number(struct vn_facts *f, const char *name, double v, const char *text) {
    if (isnan(v) || (f->json && isinf(v)))
        put_value(f, name, f->json ? "null" : ".");
    else
        put_value(f, name, text);
}

void vn_facts_number(struct vn_facts *f, const char *name, double v) {
    char text[VN_NUMBER_TEXT];
    vn_format_double(text, v);
    put_number(f, name, v, text);
}

void vn_facts_float(struct vn_facts *f, const char *name, double v) {
    char text[VN_NUMBER_TEXT];
    vn_format_float(text, (float)v);
    put_number(f, name, v, text);
}

int vn_facts_write(struct vn_facts *f, struct vn_sink *sink, struct vn_error *err) {
    put(f, f->json ? "\n}\n" : "");
    if (f->rc != VN_OK) {
        if (err)
            *err = f->err;
        return f->rc;
    }
    int rc = vn_sink_puts(sink, (const char *)f->out.data, f->out.len, err);
    f->out.len = 0;
    return rc;
}

void vn_facts_release(struct vn_facts *f) {
    vn_buf_release(&f->out);
    vn_buf_release(&f->path);
    vn_buf_release(&f->heads);
    vn_buf_release(&f->text);
}
