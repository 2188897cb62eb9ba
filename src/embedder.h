/* embedder.h - a tokens stream becomes a stream of embeddings or vectors.
 *
 * The payload column "tokens" is replaced by "embedding"; every other column is carried
 * along. A record that is not ok keeps its row, with an empty list or a null vector, and its
 * outcome in the column "status" (added where there is none) in place of "ok", "truncated" or
 * "windowed"; another reason that stood there before stays. Rows keep their order; a batch
 * whose output would be large leaves in parts. Memory is reused from batch to batch.
 *
 * Where the provenance says that long records are there in windows (windows.h), each of these
 * is a sequence of its own, and the record's vector is made of theirs: it has none unless
 * all of them have one.
 *
 * Three kinds of threads work at once: one of the embedder's reads batches ahead and hands
 * them to the fleet, the fleet's run them, the caller's takes what is done. What waits
 * between them is bounded: by the fleet's window, and one batch more. */
#ifndef VN_EMBEDDER_H
#define VN_EMBEDDER_H

#include "fleet.h"
#include "stream.h"

struct vn_embedder;

/* For the stream of `reader`: fills `out` (uninitialised) with the schema of what comes out,
 * the input's metadata included. VN_EINCOMPAT when a column is missing or in the way, and for
 * token rows of windows: they are not those of one sequence. `out` must outlive the embedder;
 * the reader and the fleet stay the caller's, but nobody else may use them until the embedder
 * is freed, or vn_embedder_next has returned 0; opts are those the fleet was opened with, d
 * its model's width. */
int vn_embedder_new(struct vn_reader *reader, struct vn_fleet *fleet,
                    const struct vn_engine_options *opts, int d, struct vn_schema *out,
                    struct vn_embedder **embedder, struct vn_error *err) VN_NODISCARD;

/* The next batch of the output: 1, or 0 at the proper end of the input. The columns are
 * views, valid until the next call. What fails fails in its place: after all that came
 * before it. VN_EDATA for damage, and for tokens that the model does not have. */
int vn_embedder_next(struct vn_embedder *e, struct vn_batch *out,
                     struct vn_error *err) VN_NODISCARD;

/* Records so far that ended like this. */
uint64_t vn_embedder_count(const struct vn_embedder *e, enum vn_outcome outcome);

/* Before the end of the input: interrupts the reader and stops the fleet. NULL is legal. */
void vn_embedder_free(struct vn_embedder *e);

#endif
