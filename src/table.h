/* table.h - reads text in lines, of fields between tabs.
 *
 * A line ends with a line feed, a carriage return before it is dropped; the last line has
 * one too, or the table was cut (VN_EDATA). Lines are UTF-8, and at most VN_TABLE_LINE
 * bytes. Memory is that of the longest line. */
#ifndef VN_TABLE_H
#define VN_TABLE_H

#include "io.h"

#define VN_TABLE_LINE ((size_t)1 << 20)

struct vn_word {
    char *text; /* n bytes, not terminated; never NULL */
    size_t n;
};

struct vn_table {
    struct vn_source *source; /* not owned */
    struct vn_buf buf, fields;
    size_t at;     /* in buf: where the next line begins */
    uint64_t line; /* number of the last line, from 1 */
    bool ended;
};

void vn_table_init(struct vn_table *t, struct vn_source *source);
void vn_table_release(struct vn_table *t);

/* The fields of the next line: 1, or 0 at the end. They may be written to, and are valid
 * until the next call. VN_EDATA names the line. */
int vn_table_next(struct vn_table *t, struct vn_word **fields, size_t *n,
                  struct vn_error *err) VN_NODISCARD;

#endif
