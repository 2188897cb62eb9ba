#include "order.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Rows are displaced by less than two windows. */
#define HINT ": it is lost, or vn-pack's --window was more than half of that"

#define FIRST_RING 1024
#define NOWHERE UINT32_MAX

/* Where the row of a record lies: in a held batch, or nowhere yet. */
struct place {
    uint32_t batch, row;
};

struct held {
    struct vn_batch batch;
    int64_t left; /* rows not yet given out; 0: free for another batch */
};

struct vn_order {
    const struct vn_schema *schema;
    int record;
    int64_t max_waiting;
    uint64_t next;    /* the record that comes out next */
    uint64_t missing; /* the first that has not come in; next <= missing */
    int64_t waiting;  /* rows in the ring from `missing` on */
    struct place *ring; /* record r is at r % size; size is a power of two */
    uint64_t size;
    struct held *held;
    uint32_t n_held;
    struct vn_builder *columns; /* of the rows given out last */
};

int vn_order_new(const struct vn_schema *schema, int record_column, int64_t max_waiting,
                 struct vn_order **out, struct vn_error *err) {
    const struct vn_field *f = &schema->fields[record_column];
    *out = NULL;
    if (f->depth != 1 || f->level[0].type != VN_UINT64)
        return vn_fail(err, VN_EINCOMPAT, "column '%s' is %s, expected uint64",
                       f->level[0].name, vn_type_name(f->level[0].type));
    struct vn_order *o = vn_calloc(1, sizeof *o, err);
    if (!o)
        return VN_EFAIL;
    o->schema = schema;
    o->record = record_column;
    o->max_waiting = max_waiting;
    o->columns = vn_calloc((size_t)schema->n_fields, sizeof *o->columns, err);
    if (!o->columns) {
        vn_order_free(o);
        return VN_EFAIL;
    }
    for (int i = 0; i < schema->n_fields; i++)
        vn_builder_init(&o->columns[i], &schema->fields[i]);
    *out = o;
    return VN_OK;
}

void vn_order_free(struct vn_order *o) {
    if (!o)
        return;
    for (uint32_t i = 0; i < o->n_held; i++)
        vn_batch_release(&o->held[i].batch);
    for (int i = 0; o->columns && i < o->schema->n_fields; i++)
        vn_builder_release(&o->columns[i]);
    free(o->columns);
    free(o->held);
    free(o->ring);
    free(o);
}

/* ---- in -------------------------------------------------------------------------- */

static int grow_ring(struct vn_order *o, uint64_t span, struct vn_error *err) {
    uint64_t size = o->size ? o->size : FIRST_RING;
    while (size < span)
        size *= 2;
    if (size == o->size)
        return VN_OK;
    struct place *ring = vn_calloc(size, sizeof *ring, err);
    if (!ring)
        return VN_EFAIL;
    memset(ring, 0xff, size * sizeof *ring);
    for (uint64_t i = 0; i < o->size; i++)
        ring[(o->next + i) & (size - 1)] = o->ring[(o->next + i) & (o->size - 1)];
    free(o->ring);
    o->ring = ring;
    o->size = size;
    return VN_OK;
}

/* A free place among the held batches. */
static int find_slot(struct vn_order *o, uint32_t *slot, struct vn_error *err) {
    for (*slot = 0; *slot < o->n_held; ++*slot)
        if (!o->held[*slot].left)
            return VN_OK;
    struct held *grown = realloc(o->held, ((size_t)o->n_held + 1) * sizeof *grown);
    if (!grown)
        return vn_fail(err, VN_EFAIL, "cannot allocate a place for a batch");
    o->held = grown;
    memset(&grown[o->n_held++], 0, sizeof *grown);
    return VN_OK;
}

/* Enters a row, unless it is too far ahead of the rows that are missing. */
static int place_row(struct vn_order *o, uint64_t record, uint64_t farthest, uint32_t slot,
                     int64_t row, struct vn_error *err) {
    if (record < o->next)
        return vn_fail(err, VN_EDATA, "record %" PRIu64 " comes twice", record);
    if (record > farthest)
        return vn_fail(err, VN_EDATA,
                       "record %" PRIu64 " comes while record %" PRIu64
                       " is missing and more than %lld rows would wait" HINT,
                       record, o->missing, (long long)o->max_waiting);
    int rc = grow_ring(o, record - o->next + 1, err);
    if (rc != VN_OK)
        return rc;
    struct place *p = &o->ring[record & (o->size - 1)];
    if (p->batch != NOWHERE)
        return vn_fail(err, VN_EDATA, "record %" PRIu64 " comes twice", record);
    *p = (struct place){slot, (uint32_t)row};
    return VN_OK;
}

int vn_order_put(struct vn_order *o, struct vn_batch *b, struct vn_error *err) {
    const struct vn_array *a = &b->columns[o->record].level[0];
    const uint64_t *record = a->values;
    int64_t n = b->n_rows;
    uint32_t slot;
    if (!n)
        return VN_OK;
    if (a->null_count)
        return vn_fail(err, VN_EDATA, "column 'record' has nulls");
    int rc = find_slot(o, &slot, err);
    /* between a row and the first missing one are rows that wait, rows of this batch and
     * rows that come later inside the same window */
    uint64_t farthest = o->missing + 2 * (uint64_t)o->max_waiting + (uint64_t)n;
    for (int64_t i = 0; i < n && rc == VN_OK; i++)
        rc = place_row(o, record[i], farthest, slot, i, err);
    if (rc != VN_OK)
        return rc;
    /* what the slot held before is given back, so that its memory is used again */
    struct vn_batch spare = o->held[slot].batch;
    o->held[slot].batch = *b;
    o->held[slot].left = n;
    *b = spare;
    b->n_rows = 0;
    b->n_columns = 0;
    for (o->waiting += n; o->missing - o->next < o->size; o->missing++, o->waiting--)
        if (o->ring[o->missing & (o->size - 1)].batch == NOWHERE)
            break;
    if (o->waiting > o->max_waiting)
        return vn_fail(err, VN_EDATA,
                       "record %" PRIu64 " is missing and more than %lld rows wait for it" HINT,
                       o->missing, (long long)o->max_waiting);
    return VN_OK;
}

/* ---- out ------------------------------------------------------------------------- */

/* Appends rows that lie side by side in one batch. */
static int give(struct vn_order *o, struct place p, int64_t n, struct vn_error *err) {
    struct held *h = &o->held[p.batch];
    int rc = VN_OK;
    for (int c = 0; c < o->schema->n_fields && rc == VN_OK; c++)
        rc = vn_builder_append(&o->columns[c], &h->batch.columns[c], p.row, n, err);
    h->left -= n;
    return rc;
}

int vn_order_next(struct vn_order *o, int64_t max_rows, struct vn_batch *out,
                  struct vn_error *err) {
    int64_t rows = 0, n;
    int rc = vn_batch_set_columns(out, o->schema->n_fields, err);
    for (int c = 0; c < o->schema->n_fields; c++)
        vn_builder_clear(&o->columns[c]);
    while (rc == VN_OK && o->next < o->missing && rows < max_rows) {
        struct place p = o->ring[o->next & (o->size - 1)];
        for (n = 0; o->next < o->missing && rows < max_rows; n++, rows++, o->next++) {
            struct place *at = &o->ring[o->next & (o->size - 1)];
            if (at->batch != p.batch || at->row != p.row + n)
                break;
            at->batch = at->row = NOWHERE;
        }
        rc = give(o, p, n, err);
    }
    if (rc != VN_OK)
        return rc;
    for (int c = 0; c < o->schema->n_fields; c++)
        vn_builder_view(&o->columns[c], &out->columns[c]);
    out->n_rows = rows;
    return rows > 0;
}

int vn_order_finish(struct vn_order *o, struct vn_error *err) {
    if (o->waiting)
        return vn_fail(err, VN_EDATA, "record %" PRIu64 " is missing, %lld rows wait for it",
                       o->missing, (long long)o->waiting);
    return VN_OK;
}
