#include <stdlib.h>
#include <string.h>

#include "encoder.h"
#include "export.h"
#include "num.h"

/* A file is its magic (padded to 8 bytes), a stream, and a footer that says where the
 * stream's batches begin. */
#define MAGIC "ARROW1"
#define MAGIC_BYTES 6

struct arrow_export {
    struct vn_export base;
    const struct vn_schema *schema;
    struct vn_sink *sink;
    struct vn_encoder *encoder;
    struct vn_buf blocks; /* struct vn_arrow_block */
    int64_t at;           /* bytes written */
};

static int send(struct arrow_export *x, struct vn_error *err) {
    const struct vn_buf *m = vn_encoder_message(x->encoder), *b = vn_encoder_body(x->encoder);
    struct iovec iov[2] = {{m->data, m->len}, {b->data, b->len}};
    x->at += (int64_t)(m->len + b->len);
    return vn_sink_writev(x->sink, iov, b->len ? 2 : 1, err);
}

static int arrow_put(struct vn_export *base, const struct vn_batch *b, struct vn_error *err) {
    struct arrow_export *x = (struct arrow_export *)base;
    int rc = vn_encoder_batch(x->encoder, b, x->blocks.len / sizeof(struct vn_arrow_block),
                              NULL, err);
    if (rc != VN_OK)
        return rc;
    struct vn_arrow_block block = {.offset = x->at,
                                   .body = (int64_t)vn_encoder_body(x->encoder)->len,
                                   .meta = (int32_t)vn_encoder_message(x->encoder)->len};
    rc = vn_buf_append(&x->blocks, &block, sizeof block, err);
    return rc == VN_OK ? send(x, err) : rc;
}

static int write_end(struct arrow_export *x, struct vn_error *err) {
    struct vn_buf end = {0};
    uint8_t size[4];
    int rc = vn_buf_append(&end, "\xff\xff\xff\xff\0\0\0\0", 8, err);
    if (rc == VN_OK)
        rc = vn_arrow_write_footer(x->schema, (const struct vn_arrow_block *)(void *)x->blocks.data,
                                   x->blocks.len / sizeof(struct vn_arrow_block), &end, err);
    vn_store32(size, (uint32_t)(end.len - 8));
    if (rc == VN_OK)
        rc = vn_buf_append(&end, size, 4, err);
    if (rc == VN_OK)
        rc = vn_buf_append(&end, MAGIC, MAGIC_BYTES, err);
    if (rc == VN_OK)
        rc = vn_sink_write(x->sink, end.data, end.len, err);
    vn_buf_release(&end);
    return rc;
}

static int arrow_close(struct vn_export *base, bool whole, struct vn_error *err) {
    struct arrow_export *x = (struct arrow_export *)base;
    int rc = whole ? write_end(x, err) : VN_OK;
    if (whole && rc == VN_OK)
        rc = vn_sink_close(x->sink, err);
    else
        vn_sink_abort(x->sink);
    vn_encoder_free(x->encoder);
    vn_buf_release(&x->blocks);
    free(x);
    return rc;
}

int vn_export_arrow(const struct vn_schema *s, struct vn_sink *sink, struct vn_export **out,
                    struct vn_error *err) {
    struct arrow_export *x = vn_calloc(1, sizeof *x, err);
    *out = NULL;
    if (!x) {
        vn_sink_abort(sink);
        return VN_EFAIL;
    }
    x->base.put = arrow_put;
    x->base.close = arrow_close;
    x->schema = s;
    x->sink = sink;
    x->at = 8;
    int rc = vn_encoder_new(s, &x->encoder, err);
    if (rc == VN_OK)
        rc = vn_sink_write(sink, MAGIC "\0\0", 8, err);
    if (rc == VN_OK)
        rc = vn_encoder_schema(x->encoder, err);
    if (rc == VN_OK)
        rc = send(x, err);
    if (rc != VN_OK) {
        arrow_close(&x->base, false, err);
        return rc;
    }
    *out = &x->base;
    return VN_OK;
}
