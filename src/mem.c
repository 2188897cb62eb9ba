#include "mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int vn_buf_reserve(struct vn_buf *b, size_t cap, struct vn_error *err) {
    if (cap <= b->cap)
        return VN_OK;
    if (cap > SIZE_MAX / 2 - VN_ALIGN)
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu bytes", cap);
    size_t want = b->cap + b->cap / 2;
    want = vn_round_up(want > cap ? want : cap, VN_ALIGN);
    uint8_t *data = aligned_alloc(VN_ALIGN, want);
    if (!data)
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu bytes", want);
    if (b->len)
        memcpy(data, b->data, b->len);
    free(b->data);
    b->data = data;
    b->cap = want;
    return VN_OK;
}

int vn_buf_resize(struct vn_buf *b, size_t len, struct vn_error *err) {
    int rc = vn_buf_reserve(b, len, err);
    if (rc == VN_OK)
        b->len = len;
    return rc;
}

int vn_buf_append(struct vn_buf *b, const void *p, size_t n, struct vn_error *err) {
    size_t len;
    if (!n)
        return VN_OK;
    if (!vn_add(b->len, n, &len))
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu more bytes", n);
    int rc = vn_buf_reserve(b, len, err);
    if (rc == VN_OK) {
        memcpy(b->data + b->len, p, n);
        b->len = len;
    }
    return rc;
}

int vn_buf_zeros(struct vn_buf *b, size_t n, struct vn_error *err) {
    size_t old = b->len, len;
    if (!n)
        return VN_OK;
    if (!vn_add(old, n, &len))
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu more bytes", n);
    int rc = vn_buf_resize(b, len, err);
    if (rc == VN_OK)
        memset(b->data + old, 0, n);
    return rc;
}

int vn_buf_puts(struct vn_buf *b, const char *s, struct vn_error *err) {
    const size_t n = strlen(s);
    int rc = vn_buf_reserve(b, b->len + n + 1, err);
    if (rc == VN_OK) {
        memcpy(b->data + b->len, s, n + 1);
        b->len += n;
    }
    return rc;
}

int vn_buf_printf(struct vn_buf *b, struct vn_error *err, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    int rc = n < 0 ? vn_fail(err, VN_EINTERNAL, "cannot format '%s'", fmt)
                   : vn_buf_reserve(b, b->len + (size_t)n + 1, err);
    if (rc == VN_OK) {
        vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, again);
        b->len += (size_t)n;
    }
    va_end(again);
    return rc;
}

void vn_buf_release(struct vn_buf *b) {
    free(b->data);
    b->data = NULL;
    b->len = b->cap = 0;
}

void *vn_calloc(size_t n, size_t size, struct vn_error *err) {
    void *p = calloc(n ? n : 1, size ? size : 1);
    if (!p)
        vn_fail(err, VN_EFAIL, "cannot allocate %zu x %zu bytes", n, size);
    return p;
}
