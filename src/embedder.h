/* embedder.h - batches of a tokens stream become batches of embeddings or vectors.
 *
 * The payload column "tokens" is replaced by "embedding"; every other column is carried
 * along. A record that is not ok keeps its row, with an empty list or a null vector, and its
 * outcome in the column "status" (added where there is none) in place of "ok" or
 * "truncated"; another reason that stood there before stays. Rows keep their order; a batch
 * whose output would be large leaves in parts. Memory is reused from batch to batch. */
#ifndef VN_EMBEDDER_H
#define VN_EMBEDDER_H

#include "batch.h"
#include "engine.h"

struct vn_embedder;

/* For streams of the schema `in`: fills `out` (uninitialised) with the schema of what comes
 * out, in's metadata included. VN_EINCOMPAT when a column is missing or in the way. `out`
 * must outlive the embedder; the engine stays the caller's, but its jobs are the embedder's;
 * opts are those the engine was opened with, d its model's width. */
int vn_embedder_new(const struct vn_schema *in, struct vn_engine *engine,
                    const struct vn_engine_options *opts, int d, struct vn_schema *out,
                    struct vn_embedder **embedder, struct vn_error *err) VN_NODISCARD;

/* Begins a batch, which must stay until vn_embedder_next has returned 0. */
int vn_embedder_put(struct vn_embedder *e, const struct vn_batch *in,
                    struct vn_error *err) VN_NODISCARD;

/* The next part of its output: 1, or 0 when there is no more. The columns are views, valid
 * until the next call. VN_EDATA for tokens the model does not have, with the row. */
int vn_embedder_next(struct vn_embedder *e, struct vn_batch *out,
                     struct vn_error *err) VN_NODISCARD;

/* Records so far that ended like this. */
uint64_t vn_embedder_count(const struct vn_embedder *e, enum vn_outcome outcome);

void vn_embedder_free(struct vn_embedder *e); /* NULL is legal */

#endif
