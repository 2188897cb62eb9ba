#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "encoder.h"
#include "stream.h"

struct vn_writer {
    struct vn_sink *sink;
    struct vn_schema schema;
    struct vn_encoder *encoder;
    struct vn_totals totals;
    int payload; /* column whose values are counted, or -1 */
    bool started;
};

int vn_writer_open(struct vn_sink *sink, const struct vn_schema *schema,
                   struct vn_writer **out, struct vn_error *err) {
    struct vn_writer *w = *out = vn_calloc(1, sizeof *w, err);
    if (!w) {
        vn_sink_abort(sink);
        return VN_EFAIL;
    }
    w->sink = sink;
    vn_schema_init(&w->schema, schema->kind);
    int rc = vn_schema_copy(&w->schema, schema, err);
    if (rc == VN_OK)
        rc = vn_encoder_new(&w->schema, &w->encoder, err);
    if (rc != VN_OK) {
        vn_writer_abort(w);
        *out = NULL;
        return rc;
    }
    w->payload = vn_arrow_payload(&w->schema);
    return VN_OK;
}

static void writer_free(struct vn_writer *w) {
    vn_encoder_free(w->encoder);
    vn_schema_release(&w->schema);
    free(w);
}

static int send(struct vn_writer *w, struct vn_error *err) {
    const struct vn_buf *m = vn_encoder_message(w->encoder), *b = vn_encoder_body(w->encoder);
    struct iovec iov[2] = {{m->data, m->len}, {b->data, b->len}};
    return vn_sink_writev(w->sink, iov, b->len ? 2 : 1, err);
}

static int start(struct vn_writer *w, struct vn_error *err) {
    if (w->started)
        return VN_OK;
    int rc = vn_encoder_schema(w->encoder, err);
    if (rc == VN_OK)
        rc = send(w, err);
    w->started = rc == VN_OK;
    return rc;
}

int vn_writer_put(struct vn_writer *w, const struct vn_batch *b, struct vn_error *err) {
    if (!b->n_rows)
        return VN_OK;
    int rc = start(w, err);
    if (rc == VN_OK && (rc = vn_encoder_batch(w->encoder, b, w->totals.batches, NULL, err)))
        return vn_prefix(err, "cannot write batch %" PRIu64 " to '%s'", w->totals.batches,
                         vn_sink_name(w->sink));
    if (rc == VN_OK)
        rc = send(w, err);
    if (rc == VN_OK) {
        w->totals.batches++;
        w->totals.records += (uint64_t)b->n_rows;
        w->totals.tokens += vn_arrow_tokens(&w->schema, w->payload, b);
    }
    return rc;
}

struct vn_totals vn_writer_totals(const struct vn_writer *w) {
    return w->totals;
}

int vn_writer_close(struct vn_writer *w, struct vn_error *err) {
    static const uint8_t end[8] = {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0};
    char totals[72];
    snprintf(totals, sizeof totals, "%" PRIu64 " %" PRIu64 " %" PRIu64, w->totals.batches,
             w->totals.records, w->totals.tokens);
    int rc = start(w, err);
    if (rc == VN_OK)
        rc = vn_encoder_batch(w->encoder, NULL, w->totals.batches, totals, err);
    if (rc == VN_OK)
        rc = send(w, err);
    if (rc == VN_OK)
        rc = vn_sink_write(w->sink, end, sizeof end, err);
    if (rc == VN_OK)
        rc = vn_sink_close(w->sink, err);
    else
        vn_sink_abort(w->sink);
    writer_free(w);
    return rc;
}

void vn_writer_abort(struct vn_writer *w) {
    if (!w)
        return;
    vn_sink_abort(w->sink);
    writer_free(w);
}
