/* zbody.h - the buffers of a batch's body, as zstd frames.
 *
 * A buffer travels as its length (int64, little-endian), then one zstd frame with content
 * size and content checksum. Contexts are kept and reused: nothing is allocated once warm.
 * One thread at a time. */
#ifndef VN_ZBODY_H
#define VN_ZBODY_H

#include <stdbool.h>

#include "mem.h"

struct vn_zbody;

/* What a buffer holds, which decides how hard zstd looks for repeats: `tokens` are drawn
 * from a few symbols without any. */
enum vn_zbody_content { VN_ZBODY_REST, VN_ZBODY_FLOATS, VN_ZBODY_TOKENS };

int vn_zbody_new(struct vn_zbody **out, struct vn_error *err) VN_NODISCARD;
void vn_zbody_free(struct vn_zbody *z); /* NULL is legal */

/* Appends length and frame of p[0..n), n > 0, to out. Floats are packed at the level that
 * costs little more than a copy. */
int vn_zbody_pack(struct vn_zbody *z, enum vn_zbody_content content, const void *p, size_t n,
                  struct vn_buf *out, struct vn_error *err) VN_NODISCARD;

/* Bytes that a packed buffer unpacks to, told from its head alone and within what so many
 * bytes can hold; or VN_EDATA. A buffer stored raw (length -1), a frame without content
 * size or without checksum are accepted only if `lax`. */
int64_t vn_zbody_size(const uint8_t *p, size_t n, bool lax, struct vn_error *err)
    VN_NODISCARD;

/* Unpacks to dst, which has room for the size that vn_zbody_size told. */
int vn_zbody_unpack(struct vn_zbody *z, const uint8_t *p, size_t n, void *dst, size_t size,
                    struct vn_error *err) VN_NODISCARD;

#endif
