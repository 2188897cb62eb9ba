/* table.h - rows of a batch as tab separated text: what vn-classify and vn-view print.
 *
 * One header line with the columns' names, then a line per row. No value: ".". Numbers in
 * the shortest form that reads back equal. Strings as they are, but for backslash, tab, line
 * feed, carriage return and other control characters: \\ \t \n \r \xHH. Bytes in
 * hexadecimal, bool as true and false, lists as [1,2,3], nested where the type is. Lines are
 * appended to `out`; nothing else is allocated. */
#ifndef VN_TABLE_H
#define VN_TABLE_H

#include "batch.h"

int vn_table_header(const struct vn_schema *s, struct vn_buf *out, struct vn_error *err)
    VN_NODISCARD;
int vn_table_row(const struct vn_schema *s, const struct vn_batch *b, int64_t row,
                 struct vn_buf *out, struct vn_error *err) VN_NODISCARD;

/* One value, without the tab. */
int vn_table_cell(const struct vn_field *f, const struct vn_column *c, int64_t row,
                  struct vn_buf *out, struct vn_error *err) VN_NODISCARD;

#endif
