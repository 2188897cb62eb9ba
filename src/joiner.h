/* joiner.h - vectors of the same record from several streams, side by side.
 *
 * Every stream is permuted in its own way inside a bounded window: each gets a vn_order, and
 * rows come out in the order of the input as soon as all streams have them. Columns: those
 * of the first stream, whose embedding becomes as wide as all together, then columns that
 * only others have. What several streams have must be equal, row by row: id and whatever
 * else was carried along. A record without a vector in one of them has none here; its
 * status is that stream's reason, with the number of the stream where not all have the same
 * one: "not finite (stream 2)". Metadata: each chain of programs, marked with its place. */
#ifndef VN_JOINER_H
#define VN_JOINER_H

#include "batch.h"

struct vn_joiner;

/* n streams with these schemas, which must outlive the object, as must the names, for
 * messages. max_waiting: rows of a stream that may wait for an earlier one; memory: bytes
 * that the vectors of all these may take, divided among the streams by their widths, before
 * they go to a temporary file. VN_EINCOMPAT when the streams do not fit together. */
int vn_joiner_new(const struct vn_schema *const *in, const char *const *names, int n,
                  int64_t max_waiting, int64_t memory, struct vn_joiner **out,
                  struct vn_error *err) VN_NODISCARD;

/* Adds the program's entry, with the widths of what stands side by side, and gives the
 * schema of what comes out; `members` as vn_tool_provenance makes them. */
int vn_joiner_schema(struct vn_joiner *j, const char *members, const struct vn_schema **out,
                     struct vn_error *err) VN_NODISCARD;

/* Is a batch of that stream needed before more can come out? */
bool vn_joiner_wants(const struct vn_joiner *j, int stream);

/* Copies the rows of b. VN_EDATA for rows that come twice. */
int vn_joiner_put(struct vn_joiner *j, int stream, const struct vn_batch *b,
                  struct vn_error *err) VN_NODISCARD;

/* That stream has ended. VN_EDATA if a record of it is missing. */
int vn_joiner_end(struct vn_joiner *j, int stream, struct vn_error *err) VN_NODISCARD;

/* The next rows: 1, or 0 when a stream must be read first, or all have ended. The columns
 * are views, valid until the next call. VN_EDATA when a stream has ended and another has
 * more; VN_EINCOMPAT when a record is not the same in all. */
int vn_joiner_next(struct vn_joiner *j, struct vn_batch *out,
                   struct vn_error *err) VN_NODISCARD;

/* The most bytes of vectors that waited in temporary files, of each stream, in all. */
int64_t vn_joiner_spilled(const struct vn_joiner *j);

/* Rows that have come out; those of them without a vector. */
uint64_t vn_joiner_rows(const struct vn_joiner *j, uint64_t *nulls);

void vn_joiner_free(struct vn_joiner *j); /* NULL is legal */

#endif
