/* inflate.h - decompressing sources: gzip, bgzf and zstd behind struct vn_source. */
#ifndef VN_INFLATE_H
#define VN_INFLATE_H

#include "io.h"

/* Looks at the first bytes of `inner` and returns a source of the plain bytes, which owns
 * `inner` (taken over, also on failure). Truncated or damaged compressed data is VN_EDATA
 * with the byte of the compressed file; so is anything but a further member or frame
 * behind the last one. */
int vn_source_decompress(struct vn_source *inner, struct vn_source **out,
                         struct vn_error *err) VN_NODISCARD;

#endif
