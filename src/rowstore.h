/* rowstore.h - rows that wait beside a packer, to go along with what it makes of them.
 *
 * Rows go in in order and are numbered from 0; they are fetched by number, each once, in
 * any order. Memory is that of the rows that wait, in steps of VN_ROWSTORE_CHUNK, and
 * is used again: a warm one allocates nothing. */
#ifndef VN_ROWSTORE_H
#define VN_ROWSTORE_H

#include "batch.h"

#define VN_ROWSTORE_CHUNK 4096

struct vn_rowstore;

/* For rows of this schema, of which only the columns with kept[i] are stored. Both must
 * outlive the object. */
int vn_rowstore_new(const struct vn_schema *schema, const bool *kept,
                    struct vn_rowstore **out, struct vn_error *err) VN_NODISCARD;

/* Copies row `row` of b behind the rows that are there. */
int vn_rowstore_put(struct vn_rowstore *c, const struct vn_batch *b, int64_t row,
                    struct vn_error *err) VN_NODISCARD;

/* The row of that number: a batch whose columns, in the schema's order, are views valid
 * until the next call, and the row in it; columns that are not kept are empty. NULL when it
 * is not there: it has not come, or was fetched before. */
const struct vn_column *vn_rowstore_row(struct vn_rowstore *c, uint64_t number,
                                        int64_t *row);

/* The row is not needed any more. It must be there. */
void vn_rowstore_drop(struct vn_rowstore *c, uint64_t number);

void vn_rowstore_free(struct vn_rowstore *c); /* NULL is legal */

#endif
