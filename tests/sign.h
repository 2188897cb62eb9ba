/* sign.h - makes the checksums of a damaged stream right again, so that tests get behind
 * them, where only the reader's own checks stand. */
#ifndef VN_TEST_SIGN_H
#define VN_TEST_SIGN_H

#include <stdio.h>
#include <string.h>

#include "arrow.h"
#include "crc.h"
#include "num.h"

static inline void sign_text(uint8_t *at, uint32_t crc) {
    char hex[9];
    snprintf(hex, sizeof hex, "%08x", (unsigned)crc);
    memcpy(at, hex, 8);
}

/* Of a message's metadata, as far as it still says where the checksum stands; true when
 * the message can be parsed then. */
static inline bool sign_metadata(uint8_t *meta, size_t n) {
    struct vn_arrow_message m;
    struct vn_error ignored;
    int rc = vn_arrow_parse(meta, n, &m, &ignored);
    if (rc != VN_OK && m.marks.crc && strlen(m.marks.crc) == 8) {
        uint8_t *at = meta + ((const uint8_t *)m.marks.crc - meta);
        memcpy(at, "00000000", 8);
        sign_text(at, vn_crc32c(0, meta, n));
        rc = vn_arrow_parse(meta, n, &m, &ignored);
    }
    return rc == VN_OK;
}

/* Of all messages of a stream, bodies included, as far as they can be followed. */
static inline void sign_stream(uint8_t *p, size_t n) {
    while (n > VN_ARROW_PREFIX) {
        struct vn_arrow_message m;
        struct vn_error ignored;
        size_t meta = vn_load32(p + 4);
        p += VN_ARROW_PREFIX;
        n -= VN_ARROW_PREFIX;
        if (!meta)
            continue;
        if (meta > n || !sign_metadata(p, meta) ||
            vn_arrow_parse(p, meta, &m, &ignored) != VN_OK || (size_t)m.body > n - meta)
            return;
        if (m.marks.body_crc && strlen(m.marks.body_crc) == 8) {
            sign_text(p + ((const uint8_t *)m.marks.body_crc - p),
                      vn_crc32c(0, p + meta, (size_t)m.body));
            sign_metadata(p, meta);
        }
        p += meta + (size_t)m.body;
        n -= meta + (size_t)m.body;
    }
}

#endif
