/* mem.h - checked sizes and growable, aligned memory.
 *
 * struct vn_buf is the only growable array of the project: bytes, 64-byte aligned (VN_ALIGN),
 * never shrinking, so that a warm loop allocates nothing. All zero is a valid empty buffer.
 * The bytes between `len` and `cap` are undefined. Not thread-safe. */
#ifndef VN_MEM_H
#define VN_MEM_H

#include <stdbool.h>

#include "err.h"

struct vn_buf {
    uint8_t *data; /* VN_ALIGN-aligned; NULL only while cap is 0 */
    size_t len;    /* bytes in use */
    size_t cap;    /* bytes owned */
};

/* Makes room for `cap` bytes in all; keeps the first `len`. Grows at least by half. */
int vn_buf_reserve(struct vn_buf *b, size_t cap, struct vn_error *err) VN_NODISCARD;

/* Sets `len`; new bytes are undefined. */
int vn_buf_resize(struct vn_buf *b, size_t len, struct vn_error *err) VN_NODISCARD;

int vn_buf_append(struct vn_buf *b, const void *p, size_t n, struct vn_error *err)
    VN_NODISCARD;
int vn_buf_zeros(struct vn_buf *b, size_t n, struct vn_error *err) VN_NODISCARD;

/* Append text, and behind it a 0 that does not count: `data` is a C string afterwards, of
 * what was put this way since the buffer was empty. */
int vn_buf_puts(struct vn_buf *b, const char *s, struct vn_error *err) VN_NODISCARD;
int vn_buf_printf(struct vn_buf *b, struct vn_error *err, const char *fmt, ...)
    VN_NODISCARD VN_PRINTF(3, 4);

/* Frees what the buffer holds and empties it; the struct is the caller's. */
void vn_buf_release(struct vn_buf *b);

/* Array of n zeroed elements of `size` bytes: release with free(). NULL with err set
 * (VN_EFAIL) when there is no memory; never NULL because n is 0. */
void *vn_calloc(size_t n, size_t size, struct vn_error *err) VN_NODISCARD;

/* a * b and a + b; false on overflow. */
static inline bool vn_mul(size_t a, size_t b, size_t *out) {
    return !__builtin_mul_overflow(a, b, out);
}
static inline bool vn_add(size_t a, size_t b, size_t *out) {
    return !__builtin_add_overflow(a, b, out);
}

/* n rounded up to a multiple of `to`, a power of two. The caller knows that it fits. */
static inline size_t vn_round_up(size_t n, size_t to) {
    return (n + to - 1) & ~(to - 1);
}

#endif
