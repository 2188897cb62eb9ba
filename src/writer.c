#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "encoder.h"
#include "line.h"
#include "stream.h"

#define MOST_THREADS 4 /* that encode: four times what a thread makes, and the disk, take */
#define SLOTS (MOST_THREADS + 2)

/* A batch on its way. */
struct slot {
    struct vn_builder *columns; /* [schema.n_fields], a copy */
    struct vn_batch batch;      /* views of them */
    uint64_t number;
    int worker;                 /* whose encoder holds the message */
};

struct vn_writer {
    struct vn_sink *sink;
    struct vn_schema schema;
    struct vn_encoder *encoder;
    struct vn_totals totals;
    int payload; /* column whose values are counted, or -1 */
    bool started;
    struct vn_line *line; /* NULL: the caller encodes, and sends */
    struct vn_encoder *encoders[MOST_THREADS];
    struct slot slots[SLOTS];
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
    vn_line_free(w->line);
    for (int i = 0; i < SLOTS; i++) {
        struct slot *s = &w->slots[i];
        for (int c = 0; s->columns && c < w->schema.n_fields; c++)
            vn_builder_release(&s->columns[c]);
        free(s->columns);
        vn_batch_release(&s->batch);
    }
    for (int i = 0; i < MOST_THREADS; i++)
        vn_encoder_free(w->encoders[i]);
    vn_encoder_free(w->encoder);
    vn_schema_release(&w->schema);
    free(w);
}

/* ---- messages -------------------------------------------------------------------- */

static int send(struct vn_writer *w, const struct vn_encoder *e, struct vn_error *err) {
    const struct vn_buf *m = vn_encoder_message(e), *b = vn_encoder_body(e);
    struct iovec iov[2] = {{m->data, m->len}, {b->data, b->len}};
    return vn_sink_writev(w->sink, iov, b->len ? 2 : 1, err);
}

static int start(struct vn_writer *w, struct vn_error *err) {
    if (w->started)
        return VN_OK;
    int rc = vn_encoder_schema(w->encoder, err);
    if (rc == VN_OK)
        rc = send(w, w->encoder, err);
    w->started = rc == VN_OK;
    return rc;
}

static int encode(const struct vn_writer *w, struct vn_encoder *e, const struct vn_batch *b,
                  uint64_t number, struct vn_error *err) {
    const int rc = vn_encoder_batch(e, b, number, NULL, err);
    if (rc != VN_OK)
        vn_prefix(err, "cannot write batch %" PRIu64 " to '%s'", number,
                  vn_sink_name(w->sink));
    return rc;
}

/* ---- threads --------------------------------------------------------------------- */

static int encode_slot(void *ctx, int worker, int slot, struct vn_error *err) {
    struct vn_writer *w = ctx;
    struct slot *s = &w->slots[slot];
    s->worker = worker;
    return encode(w, w->encoders[worker], &s->batch, s->number, err);
}

static int send_slot(void *ctx, int slot, struct vn_error *err) {
    struct vn_writer *w = ctx;
    int rc = start(w, err);
    return rc == VN_OK ? send(w, w->encoders[w->slots[slot].worker], err) : rc;
}

static int make_slot(struct vn_writer *w, struct slot *s, struct vn_error *err) {
    s->columns = vn_calloc((size_t)w->schema.n_fields, sizeof *s->columns, err);
    if (!s->columns)
        return VN_EFAIL;
    for (int c = 0; c < w->schema.n_fields; c++)
        vn_builder_init(&s->columns[c], &w->schema.fields[c]);
    return vn_batch_set_columns(&s->batch, w->schema.n_fields, err);
}

int vn_writer_parallel(struct vn_writer *w, int threads, struct vn_error *err) {
    static const struct vn_line_steps steps = {encode_slot, send_slot, NULL};
    const int n = vn_line_threads(threads, MOST_THREADS);
    int rc = VN_OK;
    for (int i = 0; n && i < n + 2 && rc == VN_OK; i++)
        rc = make_slot(w, &w->slots[i], err);
    for (int i = 0; i < n && rc == VN_OK; i++)
        rc = vn_encoder_new(&w->schema, &w->encoders[i], err);
    return n && rc == VN_OK ? vn_line_new(n, n + 2, &steps, w, &w->line, err) : rc;
}

/* Copies a batch, whether it fits the schema or not: the encoder looks at that. */
static int put_slot(struct vn_writer *w, const struct vn_batch *b, struct vn_error *err) {
    const int at = vn_line_slot(w->line, err);
    if (at < 0)
        return at;
    struct slot *s = &w->slots[at];
    s->batch.n_rows = b->n_rows;
    s->batch.n_columns = b->n_columns;
    s->number = w->totals.batches;
    for (int c = 0; c < b->n_columns && c < w->schema.n_fields; c++) {
        const struct vn_column *from = &b->columns[c];
        vn_builder_clear(&s->columns[c]);
        int rc = vn_builder_append(&s->columns[c], from, 0, from->level[0].length, err);
        if (rc != VN_OK)
            return rc;
        vn_builder_view(&s->columns[c], &s->batch.columns[c]);
    }
    return vn_line_put(w->line, err);
}

/* ---- batches --------------------------------------------------------------------- */

static int put_now(struct vn_writer *w, const struct vn_batch *b, struct vn_error *err) {
    int rc = start(w, err);
    if (rc == VN_OK)
        rc = encode(w, w->encoder, b, w->totals.batches, err);
    return rc == VN_OK ? send(w, w->encoder, err) : rc;
}

int vn_writer_put(struct vn_writer *w, const struct vn_batch *b, struct vn_error *err) {
    if (!b->n_rows)
        return VN_OK;
    const int rc = w->line ? put_slot(w, b, err) : put_now(w, b, err);
    if (rc == VN_OK) {
        w->totals.batches++;
        w->totals.records += (uint64_t)b->n_rows;
        w->totals.tokens += vn_arrow_tokens(&w->schema, w->payload, b);
    }
    return rc;
}

int vn_writer_sync(struct vn_writer *w, struct vn_error *err) {
    return w->line ? vn_line_drain(w->line, err) : VN_OK;
}

struct vn_totals vn_writer_totals(const struct vn_writer *w) {
    return w->totals;
}

int vn_writer_close(struct vn_writer *w, struct vn_error *err) {
    static const uint8_t end[8] = {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0};
    char totals[72];
    snprintf(totals, sizeof totals, "%" PRIu64 " %" PRIu64 " %" PRIu64, w->totals.batches,
             w->totals.records, w->totals.tokens);
    int rc = vn_writer_sync(w, err);
    if (rc == VN_OK)
        rc = start(w, err);
    if (rc == VN_OK)
        rc = vn_encoder_batch(w->encoder, NULL, w->totals.batches, totals, err);
    if (rc == VN_OK)
        rc = send(w, w->encoder, err);
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
    vn_line_free(w->line); /* which may be sending */
    w->line = NULL;
    vn_sink_abort(w->sink);
    writer_free(w);
}
