/* order.h - puts rows back into the order of the input, and proves that none is missing.
 *
 * Column "record" (uint64) numbers the input's records from 0; packing permutes rows inside
 * a bounded window. Batches go in as they come; batches come out whose rows carry the
 * numbers 0, 1, 2 ... A number that comes twice is damage (VN_EDATA), as is one that is
 * still missing at the end. Memory is bounded: rows that would have to wait for a missing
 * one beyond `max_waiting` rows are VN_EDATA too. */
#ifndef VN_ORDER_H
#define VN_ORDER_H

#include "batch.h"

struct vn_order;

/* record_column: index of the column "record"; the schema must outlive the object. */
int vn_order_new(const struct vn_schema *schema, int record_column, int64_t max_waiting,
                 struct vn_order **out, struct vn_error *err) VN_NODISCARD;

/* Takes the contents of b, which must own them, and leaves it without rows, perhaps with
 * memory to be used again. After a failure the object is good for vn_order_free only. */
int vn_order_put(struct vn_order *o, struct vn_batch *b, struct vn_error *err) VN_NODISCARD;

/* The next rows in order, at most max_rows: 1, or 0 when they have not come yet. out's
 * columns are views, valid until the next call. */
int vn_order_next(struct vn_order *o, int64_t max_rows, struct vn_batch *out,
                  struct vn_error *err) VN_NODISCARD;

/* After the end of the stream: VN_EDATA naming the first missing record, if any waits. */
int vn_order_finish(struct vn_order *o, struct vn_error *err) VN_NODISCARD;

void vn_order_free(struct vn_order *o); /* NULL is legal */

#endif
