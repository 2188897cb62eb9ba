#include <stdlib.h>
#include <string.h>

#include "encoder.h"
#include "export.h"
#include "num.h"

/* A file is its magic (padded to 8 bytes), a stream, and a footer that says where the
 * stream's batches begin. */
#define MAGIC "ARROW1"
#define MAGIC_BYTES 6

/* Small batches are joined into blocks, so that the footer's list of blocks, which is kept
 * until the end, takes next to nothing beside the rows. A larger batch is a block itself. */
#define BLOCK_BYTES ((uint64_t)8 << 20)
#define BLOCK_ROWS ((int64_t)1 << 20)

struct arrow_export {
    struct vn_export base;
    const struct vn_schema *schema;
    struct vn_sink *sink;
    struct vn_encoder *encoder;
    struct vn_buf blocks; /* struct vn_arrow_block */
    int64_t at;           /* bytes written */
    struct vn_builder *columns; /* rows that wait for a block */
    struct vn_batch waiting;    /* the view of them; n_rows is kept */
    uint64_t bytes;             /* of theirs, as block_bytes counts */
    bool reserved;              /* their memory, for a whole block */
};

static int send(struct arrow_export *x, struct vn_error *err) {
    const struct vn_buf *m = vn_encoder_message(x->encoder), *b = vn_encoder_body(x->encoder);
    struct iovec iov[2] = {{m->data, m->len}, {b->data, b->len}};
    x->at += (int64_t)(m->len + b->len);
    return vn_sink_writev(x->sink, iov, b->len ? 2 : 1, err);
}

/* ---- blocks ---------------------------------------------------------------------- */

static int send_block(struct arrow_export *x, const struct vn_batch *b, struct vn_error *err) {
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

/* No row takes less than a bit, so that no offset of a joined block passes 2^31. */
static uint64_t block_bytes(const struct vn_schema *s, const struct vn_batch *b) {
    uint64_t bytes = 0;
    for (int i = 0; i < s->n_fields; i++)
        for (int l = 0; l < s->fields[i].depth; l++)
            bytes += vn_level_bytes(&s->fields[i].level[l], &b->columns[i].level[l]);
    return bytes;
}

static int send_waiting(struct arrow_export *x, struct vn_error *err) {
    int rc = VN_OK;
    if (!x->waiting.n_rows)
        return VN_OK;
    for (int i = 0; i < x->schema->n_fields; i++)
        vn_builder_view(&x->columns[i], &x->waiting.columns[i]);
    rc = send_block(x, &x->waiting, err);
    for (int i = 0; i < x->schema->n_fields; i++)
        vn_builder_clear(&x->columns[i]);
    x->waiting.n_rows = 0;
    x->bytes = 0;
    return rc;
}

/* Room for a block of rows like those of the first batch, at once: memory that grew later
 * would be copied, and be there twice. Twice BLOCK_BYTES at most. */
static int reserve_block(struct arrow_export *x, const struct vn_batch *b, uint64_t bytes,
                         struct vn_error *err) {
    size_t times = (size_t)(BLOCK_BYTES / bytes) + 1;
    int rc = VN_OK;
    for (int i = 0; i < x->schema->n_fields; i++)
        for (int l = 0; l < x->schema->fields[i].depth && rc == VN_OK; l++) {
            const struct vn_level *v = &x->schema->fields[i].level[l];
            const struct vn_array *a = &b->columns[i].level[l];
            size_t offsets = vn_type_offset_width(v->type) * ((size_t)a->length + 1);
            size_t values = (size_t)vn_level_bytes(v, a) - offsets;
            rc = vn_buf_reserve(&x->columns[i].level[l].offsets, times * offsets, err);
            if (rc == VN_OK)
                rc = vn_buf_reserve(&x->columns[i].level[l].values, times * values, err);
        }
    x->reserved = true;
    return rc;
}

static int arrow_put(struct vn_export *base, const struct vn_batch *b, struct vn_error *err) {
    struct arrow_export *x = (struct arrow_export *)base;
    uint64_t bytes = block_bytes(x->schema, b);
    int rc = VN_OK;
    if (x->bytes + bytes > BLOCK_BYTES || x->waiting.n_rows + b->n_rows > BLOCK_ROWS)
        rc = send_waiting(x, err);
    if (rc == VN_OK && (bytes > BLOCK_BYTES || b->n_rows > BLOCK_ROWS))
        return send_block(x, b, err);
    if (rc == VN_OK && !x->reserved && bytes)
        rc = reserve_block(x, b, bytes, err);
    for (int i = 0; i < x->schema->n_fields && rc == VN_OK; i++)
        rc = vn_builder_append(&x->columns[i], &b->columns[i], 0, b->n_rows, err);
    if (rc == VN_OK) {
        x->waiting.n_rows += b->n_rows;
        x->bytes += bytes;
    }
    return rc;
}

/* ---- end ------------------------------------------------------------------------- */

static int write_end(struct arrow_export *x, struct vn_error *err) {
    struct vn_buf end = {0};
    uint8_t size[4];
    int rc = vn_buf_append(&end, "\xff\xff\xff\xff\0\0\0\0", 8, err);
    if (rc == VN_OK)
        rc = vn_arrow_write_footer(x->schema,
                                   (const struct vn_arrow_block *)(void *)x->blocks.data,
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
    int rc = whole ? send_waiting(x, err) : VN_OK;
    if (whole && rc == VN_OK)
        rc = write_end(x, err);
    if (whole && rc == VN_OK)
        rc = vn_sink_close(x->sink, err);
    else
        vn_sink_abort(x->sink);
    vn_encoder_free(x->encoder);
    vn_buf_release(&x->blocks);
    for (int i = 0; x->columns && i < x->schema->n_fields; i++)
        vn_builder_release(&x->columns[i]);
    free(x->columns);
    vn_batch_release(&x->waiting);
    free(x);
    return rc;
}

static int make_columns(struct arrow_export *x, struct vn_error *err) {
    x->columns = vn_calloc((size_t)x->schema->n_fields, sizeof *x->columns, err);
    if (!x->columns)
        return VN_EFAIL;
    for (int i = 0; i < x->schema->n_fields; i++)
        vn_builder_init(&x->columns[i], &x->schema->fields[i]);
    return vn_batch_set_columns(&x->waiting, x->schema->n_fields, err);
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
    int rc = make_columns(x, err);
    if (rc == VN_OK)
        rc = vn_encoder_new(s, &x->encoder, err);
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
