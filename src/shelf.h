/* shelf.h - rows of one size that wait for their turn: in memory as far as that is allowed,
 * beyond it in a temporary file (io.h).
 *
 * A row is put, and its place is what it is taken with, once, in any order. Places are used
 * again, those in memory first, so that memory and file are as large as what waited at most,
 * and a warm one allocates nothing. */
#ifndef VN_SHELF_H
#define VN_SHELF_H

#include "mem.h"

struct vn_shelf;

/* Rows of row_bytes > 0 bytes, of which as many stay in memory as fit `memory` bytes. */
int vn_shelf_new(size_t row_bytes, int64_t memory, struct vn_shelf **out,
                 struct vn_error *err) VN_NODISCARD;

/* Copies a row. VN_EWRITE when the file cannot be written. */
int vn_shelf_put(struct vn_shelf *s, const void *row, uint64_t *place,
                 struct vn_error *err) VN_NODISCARD;

/* Copies it out, and gives up its place. VN_EFAIL when the file cannot be read. */
int vn_shelf_take(struct vn_shelf *s, uint64_t place, void *row,
                  struct vn_error *err) VN_NODISCARD;

/* Bytes of the file, which is the most that lay in it at a time. */
int64_t vn_shelf_spilled(const struct vn_shelf *s);

void vn_shelf_free(struct vn_shelf *s); /* NULL is legal */

#endif
