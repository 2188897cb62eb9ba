#include "table.h"

#include <inttypes.h>
#include <string.h>

#include "text.h"

#define STEP ((size_t)64 << 10)

void vn_table_init(struct vn_table *t, struct vn_source *source) {
    memset(t, 0, sizeof *t);
    t->source = source;
}

void vn_table_release(struct vn_table *t) {
    vn_buf_release(&t->buf);
    vn_buf_release(&t->fields);
}

static int damaged(const struct vn_table *t, const char *what, struct vn_error *err) {
    return vn_fail(err, VN_EDATA, "'%s', line %" PRIu64 ": %s", t->source->name, t->line + 1,
                   what);
}

/* More bytes behind those that are there; the line that they belong to goes to the front. */
static int fill(struct vn_table *t, struct vn_error *err) {
    memmove(t->buf.data, t->buf.data + t->at, t->buf.len - t->at);
    t->buf.len -= t->at;
    t->at = 0;
    int rc = vn_buf_reserve(&t->buf, t->buf.len + STEP, err);
    if (rc != VN_OK)
        return rc;
    const int64_t got = t->source->read(t->source, t->buf.data + t->buf.len,
                                        t->buf.cap - t->buf.len, err);
    if (got < 0)
        return (int)got;
    t->buf.len += (size_t)got;
    t->ended = got == 0;
    return VN_OK;
}

/* Finds the end of the line that begins at t->at: 1, or 0 at the end of the table. */
static int find_line(struct vn_table *t, size_t *n, struct vn_error *err) {
    size_t seen = 0;
    for (;;) {
        const size_t have = t->buf.len - t->at;
        const uint8_t *end =
            have > seen ? memchr(t->buf.data + t->at + seen, '\n', have - seen) : NULL;
        *n = end ? (size_t)(end - t->buf.data) - t->at : have;
        if (*n > VN_TABLE_LINE)
            return damaged(t, "the line is longer than 1 MiB", err);
        if (end)
            return 1;
        if (t->ended && have)
            return damaged(t, "the table is cut: it ends without a line feed", err);
        if (t->ended)
            return 0;
        seen = have;
        int rc = t->buf.cap ? VN_OK : vn_buf_reserve(&t->buf, STEP, err);
        if (rc == VN_OK)
            rc = fill(t, err);
        if (rc != VN_OK)
            return rc;
    }
}

int vn_table_next(struct vn_table *t, struct vn_word **fields, size_t *n,
                  struct vn_error *err) {
    size_t length;
    int rc = find_line(t, &length, err);
    if (rc <= 0)
        return rc;
    char *p = (char *)t->buf.data + t->at, *end = p + length;
    t->at += length + 1;
    if (!vn_utf8_valid(p, length))
        return damaged(t, "is not UTF-8", err);
    if (length && end[-1] == '\r')
        end--;
    t->fields.len = 0;
    for (;;) {
        char *tab = end > p ? memchr(p, '\t', (size_t)(end - p)) : NULL;
        const struct vn_word w = {p, (size_t)((tab ? tab : end) - p)};
        rc = vn_buf_append(&t->fields, &w, sizeof w, err);
        if (rc != VN_OK)
            return rc;
        if (!tab)
            break;
        p = tab + 1;
    }
    *fields = (struct vn_word *)(void *)t->fields.data;
    *n = t->fields.len / sizeof **fields;
    t->line++;
    return 1;
}
