/* encoder.h - turns batches into Arrow messages with compressed bodies.
 *
 * Internal to the stream layer: the writer of streams and the export of Arrow files share
 * it. Memory is kept from batch to batch. */
#ifndef VN_ENCODER_H
#define VN_ENCODER_H

#include "arrow.h"
#include "batch.h"

struct vn_encoder;

/* The schema must outlive the encoder. */
int vn_encoder_new(const struct vn_schema *schema, struct vn_encoder **out,
                   struct vn_error *err) VN_NODISCARD;
void vn_encoder_free(struct vn_encoder *e); /* NULL is legal */

/* The message of the schema, or of a batch with its number; b NULL: of a batch without
 * rows that carries `totals`. The results are the encoder's until the next call. */
int vn_encoder_schema(struct vn_encoder *e, struct vn_error *err) VN_NODISCARD;
int vn_encoder_batch(struct vn_encoder *e, const struct vn_batch *b, uint64_t number,
                     const char *totals, struct vn_error *err) VN_NODISCARD;
const struct vn_buf *vn_encoder_message(const struct vn_encoder *e);
const struct vn_buf *vn_encoder_body(const struct vn_encoder *e);

#endif
