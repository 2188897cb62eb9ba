/* decoder.h - turns the body of a record batch into rows, trusting nothing.
 *
 * Internal to the stream layer. */
#ifndef VN_DECODER_H
#define VN_DECODER_H

#include "arrow.h"
#include "batch.h"
#include "zbody.h"

/* Unpacks and checks a batch of the schema into out's own memory: counts, bounds, offsets,
 * UTF-8, null counts, padding. Nothing is allocated beyond what the bytes that have arrived
 * can unpack to, and no more than max_body. */
int vn_decode_batch(const struct vn_schema *schema, bool lax, int64_t max_body,
                    struct vn_zbody *z, const struct vn_arrow_batch *in, const uint8_t *body,
                    size_t n_body, struct vn_batch *out, struct vn_error *err) VN_NODISCARD;

#endif
