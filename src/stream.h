/* stream.h - readers and writers of our streams: the one stream header a program includes.
 *
 * The format is Apache Arrow's IPC stream with the stricter profile of vn-stream(5). A stream
 * that ends without its totals and its end marker is truncated: VN_EDATA, never fewer rows.
 * Readers and writers are used by one thread at a time; several may be open. */
#ifndef VN_STREAM_H
#define VN_STREAM_H

#include "batch.h"
#include "io.h"
#include "schema.h"

struct vn_totals {
    uint64_t batches; /* that have rows */
    uint64_t records; /* rows */
    uint64_t tokens;  /* values of the payload list (tokens, embeddings kinds), else 0 */
};

/* ---- reading --------------------------------------------------------------------- */

struct vn_reader;

struct vn_reader_options {
    bool lax;         /* accept a foreign producer's plain Arrow stream */
    int64_t max_body; /* bytes of one body, sent or unpacked; 0: VN_MAX_BODY */
    uint64_t records, sources; /* that came before, in other files: see vn_reader_next */
};

/* Takes over the source (closes it, also on failure) and reads the schema. Messages carry
 * the source's name, the number of the batch and the byte in the stream. opts may be NULL. */
int vn_reader_open(struct vn_source *source, const struct vn_reader_options *opts,
                   struct vn_reader **out, struct vn_error *err) VN_NODISCARD;

/* Schema of the stream; the reader's, valid until it is closed. */
const struct vn_schema *vn_reader_schema(const struct vn_reader *r);

/* Reads the next batch with rows into b, whose old contents are overwritten: 1; 0 at the
 * proper end of the stream; negative on damage. Values are checked: offsets in bounds and
 * increasing, UTF-8 valid, null counts true, padding zero, checksums. A second stream of
 * the same schema may follow the first; its column "record" (uint64) is then raised by
 * the records that came before, and "source" (uint64) by the sources, so that numbers stay
 * unique and contiguous: but for streams of VN_KIND_OTHER, where the names may mean
 * anything. */
int vn_reader_next(struct vn_reader *r, struct vn_batch *b, struct vn_error *err) VN_NODISCARD;

/* What has been read so far, all concatenated streams together. */
struct vn_totals vn_reader_totals(const struct vn_reader *r);
/* One more than the largest number in the column "source" so far, those before included. */
uint64_t vn_reader_sources(const struct vn_reader *r);
uint64_t vn_reader_bytes(const struct vn_reader *r);   /* of the input, so far */
const char *vn_reader_name(const struct vn_reader *r); /* of the source, for messages */
void vn_reader_close(struct vn_reader *r);             /* NULL is legal */

/* For reading on a thread: vn_reader_interrupt, which any thread may call, ends a
 * vn_reader_next that waits for its input (io.h). */
int vn_reader_interruptible(struct vn_reader *r, struct vn_error *err) VN_NODISCARD;
void vn_reader_interrupt(struct vn_reader *r);

/* ---- writing --------------------------------------------------------------------- */

struct vn_writer;

/* Takes over the sink (also on failure) and copies the schema, which is sent with the
 * first batch or at close, so that a failing program has written nothing. */
int vn_writer_open(struct vn_sink *sink, const struct vn_schema *schema,
                   struct vn_writer **out, struct vn_error *err) VN_NODISCARD;

/* Has batches encoded on threads, where `threads`, as the user gave it, is at least 2: a few
 * of them, for what comes out is the same. To be called before the first batch. */
int vn_writer_parallel(struct vn_writer *w, int threads, struct vn_error *err) VN_NODISCARD;

/* Sends a batch; its columns must fit the schema. A batch of no rows is not sent. Returns
 * when the bytes have been handed to the kernel, or, with threads, copied: the batch may be
 * reused. With threads a failure shows at a later call. */
int vn_writer_put(struct vn_writer *w, const struct vn_batch *b, struct vn_error *err)
    VN_NODISCARD;

/* Returns when all has been handed to the kernel. */
int vn_writer_sync(struct vn_writer *w, struct vn_error *err) VN_NODISCARD;

struct vn_totals vn_writer_totals(const struct vn_writer *w); /* of what was put */

/* Sends the totals and the end marker, closes the sink, frees the writer: on failure too. */
int vn_writer_close(struct vn_writer *w, struct vn_error *err) VN_NODISCARD;

/* Frees without an end marker: readers see a truncated stream. NULL is legal. */
void vn_writer_abort(struct vn_writer *w);

#endif
