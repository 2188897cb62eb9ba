/* sha256.h - SHA-256 of memory, in pieces.
 *
 * Uses the processor's SHA instructions where it has them (asked at run time), else plain
 * C; both give the same digest. */
#ifndef VN_SHA256_H
#define VN_SHA256_H

#include <stdbool.h>

#include "vn.h"

struct vn_sha256 {
    uint32_t state[8];
    uint64_t bytes;   /* hashed so far */
    uint8_t part[64]; /* the unfinished block: bytes % 64 of it are in use */
    void (*blocks)(uint32_t state[8], const uint8_t *p, size_t n_blocks);
};

void vn_sha256_init(struct vn_sha256 *s);
void vn_sha256_init_portable(struct vn_sha256 *s); /* never the instructions: for tests */
void vn_sha256_update(struct vn_sha256 *s, const void *p, size_t n);

/* Lower case hexadecimal, terminated. The state is used up. */
void vn_sha256_final(struct vn_sha256 *s, char out[65]);

/* Does vn_sha256_init choose the instructions here? */
bool vn_sha256_accelerated(void);

#endif
