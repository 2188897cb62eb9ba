/* pooler.h - batches of token embeddings become batches of vectors.
 *
 * The column "embedding", list<fixed_size_list<float16 or float32>>, is replaced by one
 * vector a row; every other column is carried along. A row without token rows keeps its
 * place, with a null vector. Rows keep their order; a batch whose vectors would be large
 * leaves in parts, whose number of rows depends on nothing but the width. Memory is reused
 * from batch to batch. */
#ifndef VN_POOLER_H
#define VN_POOLER_H

#include "batch.h"
#include "pool.h"

struct vn_pooler;

/* For streams of the schema `in`: fills `out` (uninitialised) with the schema of what comes
 * out, in's metadata included. VN_EINCOMPAT when the column is missing, has another type or
 * is wider than any model's. `out` must outlive the pooler. rule is not VN_POOL_NONE. */
int vn_pooler_new(const struct vn_schema *in, enum vn_pooling rule, struct vn_schema *out,
                  struct vn_pooler **pooler, struct vn_error *err) VN_NODISCARD;

/* Begins a batch, which must stay until vn_pooler_next has returned 0. VN_EDATA for nulls
 * inside the rows. */
int vn_pooler_put(struct vn_pooler *p, const struct vn_batch *in,
                  struct vn_error *err) VN_NODISCARD;

/* The next part of its output: 1, or 0 when there is no more. The columns are views, valid
 * until the next call. */
int vn_pooler_next(struct vn_pooler *p, struct vn_batch *out,
                   struct vn_error *err) VN_NODISCARD;

void vn_pooler_free(struct vn_pooler *p); /* NULL is legal */

#endif
