/* drip.h - a source that hands out at most `step` bytes at a time, for tests: whatever a
 * reader does at the end of a buffer is then done at every byte. With `fail_at` >= 0 the
 * read that reaches this byte fails. */
#ifndef VN_DRIP_H
#define VN_DRIP_H

#include <errno.h>

#include "io.h"

struct drip {
    struct vn_source base;
    const uint8_t *data;
    size_t n, at, step;
    int64_t fail_at;
};

static int64_t drip_read(struct vn_source *s, void *buf, size_t n, struct vn_error *err) {
    struct drip *d = (struct drip *)s;
    if (n > d->step)
        n = d->step;
    if (n > d->n - d->at)
        n = d->n - d->at;
    if (d->fail_at >= 0 && (int64_t)(d->at + n) > d->fail_at)
        return vn_fail_errno(err, VN_ENOINPUT, EIO, "cannot read '%s'", s->name);
    if (n)
        memcpy(buf, d->data + d->at, n);
    d->at += n;
    return (int64_t)n;
}

static void drip_close(struct vn_source *s) {
    free(s->name);
    free(s);
}

static struct vn_source *drip(const void *data, size_t n, size_t step) {
    struct drip *d = calloc(1, sizeof *d);
    if (!d)
        abort();
    d->base.read = drip_read;
    d->base.close = drip_close;
    d->base.name = strdup("x.fa");
    d->data = data;
    d->n = n;
    d->step = step;
    d->fail_at = -1;
    return &d->base;
}

#endif
