#include "packrows.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "rowstore.h"

/* Columns that are made here. */
enum { ID, RECORD, TOKENS, STATUS, N_MADE };

struct vn_packrows {
    struct vn_schema schema;         /* of what comes out */
    int made[N_MADE];                /* where in it; ID: -1 when ids are carried */
    struct vn_builder ids, statuses; /* of the batch that goes out */
    struct vn_schema input;          /* of the records, if there is one */
    bool records;
    int id, record, payload, status; /* columns of the input; status may be -1 */
    bool *kept;                      /* [input.n_fields] carried along */
    int *place;                      /* [input.n_fields] where in the schema */
    struct vn_builder *carried;      /* [input.n_fields] of the batch that goes out */
    struct vn_rowstore *rows;
    uint64_t next; /* record */
};

/* ---- schema ---------------------------------------------------------------------- */

static int add_made(struct vn_packrows *p, int column, struct vn_error *err) {
    static const char *const names[] = {"id", "record", "tokens", "status"};
    static const enum vn_type types[] = {VN_UTF8, VN_UINT64, VN_LIST, VN_UTF8};
    const enum vn_type chain[] = {types[column], VN_UINT16};
    p->made[column] = p->schema.n_fields;
    return vn_schema_add(&p->schema, names[column], chain, NULL, column == TOKENS ? 2 : 1,
                         false, err);
}

static int plain_schema(struct vn_packrows *p, struct vn_error *err) {
    int rc = VN_OK;
    for (int i = 0; i < N_MADE && rc == VN_OK; i++)
        rc = add_made(p, i, err);
    return rc;
}

static int find_columns(struct vn_packrows *p, const char *column, struct vn_error *err) {
    static const enum vn_type text[] = {VN_UTF8}, number[] = {VN_UINT64};
    const struct vn_schema *in = &p->input;
    int rc = vn_schema_require_kind(in, VN_KIND_RECORDS, err);
    if (rc >= 0)
        rc = p->id = vn_schema_require(in, "id", text, 1, err);
    if (rc >= 0)
        rc = p->record = vn_schema_require(in, "record", number, 1, err);
    if (rc >= 0)
        rc = p->payload = vn_schema_require(in, column, text, 1, err);
    p->status = vn_schema_find(in, "status");
    if (rc >= 0 && p->status >= 0)
        rc = vn_schema_require(in, "status", text, 1, err);
    if (rc >= 0 && (!strcmp(column, "id") || !strcmp(column, "status")))
        rc = vn_fail(err, VN_EINCOMPAT, "column '%s' is not one of sequences", column);
    return rc < 0 ? rc : VN_OK;
}

static int records_schema(struct vn_packrows *p, struct vn_error *err) {
    const struct vn_schema *in = &p->input;
    int rc = VN_OK;
    for (int i = 0; i < in->n_meta && rc == VN_OK; i++)
        rc = vn_schema_set_meta(&p->schema, in->meta[i].key, in->meta[i].value, err);
    p->made[ID] = -1;
    for (int i = 0; i < in->n_fields && rc == VN_OK; i++) {
        const char *name = in->fields[i].level[0].name;
        if (i == p->payload) {
            rc = add_made(p, TOKENS, err);
        } else if (i == p->record) {
            rc = add_made(p, RECORD, err);
        } else if (i == p->status) {
            rc = add_made(p, STATUS, err);
            p->kept[i] = true; /* a reason why there is no sequence goes along */
        } else if (strcmp(name, "protein") && strcmp(name, "nucleotide")) {
            p->place[i] = p->schema.n_fields;
            p->kept[i] = true;
            rc = vn_schema_add_field(&p->schema, &in->fields[i], err);
        }
    }
    return rc == VN_OK && p->status < 0 ? add_made(p, STATUS, err) : rc;
}

static int start_records(struct vn_packrows *p, const struct vn_schema *records,
                         const char *column, struct vn_error *err) {
    const size_t n = (size_t)records->n_fields;
    int rc = vn_schema_copy(&p->input, records, err);
    if (rc != VN_OK)
        return rc;
    p->records = true;
    p->kept = vn_calloc(n, sizeof *p->kept, err);
    p->place = vn_calloc(n, sizeof *p->place, err);
    p->carried = vn_calloc(n, sizeof *p->carried, err);
    if (!p->kept || !p->place || !p->carried)
        return VN_EFAIL;
    for (size_t i = 0; i < n; i++)
        vn_builder_init(&p->carried[i], &p->input.fields[i]);
    rc = find_columns(p, column, err);
    if (rc == VN_OK)
        rc = records_schema(p, err);
    return rc == VN_OK ? vn_rowstore_new(&p->input, p->kept, &p->rows, err) : rc;
}

int vn_packrows_new(const struct vn_schema *records, const char *column,
                    struct vn_packrows **out, struct vn_error *err) {
    struct vn_packrows *p = *out = vn_calloc(1, sizeof *p, err);
    if (!p)
        return VN_EFAIL;
    vn_schema_init(&p->schema, VN_KIND_TOKENS);
    vn_schema_init(&p->input, VN_KIND_RECORDS);
    int rc = records ? start_records(p, records, column, err) : plain_schema(p, err);
    if (rc != VN_OK) {
        vn_packrows_free(p);
        *out = NULL;
        return rc;
    }
    if (!records)
        vn_builder_init(&p->ids, &p->schema.fields[p->made[ID]]);
    vn_builder_init(&p->statuses, &p->schema.fields[p->made[STATUS]]);
    return VN_OK;
}

void vn_packrows_free(struct vn_packrows *p) {
    if (!p)
        return;
    for (int i = 0; p->carried && i < p->input.n_fields; i++)
        vn_builder_release(&p->carried[i]);
    vn_rowstore_free(p->rows);
    vn_builder_release(&p->ids);
    vn_builder_release(&p->statuses);
    vn_schema_release(&p->schema);
    vn_schema_release(&p->input);
    free(p->carried);
    free(p->kept);
    free(p->place);
    free(p);
}

struct vn_schema *vn_packrows_schema(struct vn_packrows *p) {
    return &p->schema;
}

const struct vn_schema *vn_packrows_input(const struct vn_packrows *p) {
    return p->records ? &p->input : NULL;
}

/* ---- in -------------------------------------------------------------------------- */

int vn_packrows_take(struct vn_packrows *p, const struct vn_batch *b, int64_t row,
                     struct vn_record *out, struct vn_error *err) {
    const struct vn_column *c = b->columns, *payload = &c[p->payload];
    const uint64_t record = ((const uint64_t *)c[p->record].level[0].values)[row];
    if (record != p->next)
        return vn_fail(err, VN_EDATA,
                       "record %" PRIu64 " comes where %" PRIu64 " was expected", record,
                       p->next);
    *out = (struct vn_record){.number = p->next++};
    out->id = vn_utf8_row(&c[p->id], row, &out->id_len);
    out->seq = vn_utf8_row(payload, row, &out->seq_len);
    if (vn_is_null(&payload->level[0], row))
        out->seq = NULL;
    if (p->status >= 0 && !vn_is_null(&c[p->status].level[0], row)) {
        size_t n;
        const char *status = vn_utf8_row(&c[p->status], row, &n);
        if (!vn_status_has_result(status, n))
            out->seq = NULL;
    }
    return vn_rowstore_put(p->rows, b, row, err);
}

/* ---- out ------------------------------------------------------------------------- */

static const char *const texts[VN_PACK_STATUSES] = {
    [VN_PACK_OK] = "ok",
    [VN_PACK_EMPTY] = "empty",
    [VN_PACK_TRUNCATED] = "truncated",
    [VN_PACK_WINDOWED] = "windowed",
    [VN_PACK_TOO_LONG] = "too long",
    [VN_PACK_AS_IT_CAME] = "empty"};

/* The status that a row brought; NULL when it brought none. */
static const char *own_status(const struct vn_packrows *p, const struct vn_column *from,
                              int64_t row, size_t *n) {
    if (p->status < 0 || vn_is_null(&from[p->status].level[0], row))
        return NULL;
    const char *text = vn_utf8_row(&from[p->status], row, n);
    return *n ? text : NULL;
}

/* What a row brought. Its status stays, but for one that promised too much. */
static int fetch_row(struct vn_packrows *p, uint64_t record, enum vn_pack_status status,
                     struct vn_error *err) {
    int64_t row = 0;
    size_t n = 0;
    int rc = VN_OK;
    const struct vn_column *from = vn_rowstore_row(p->rows, record, &row);
    if (!from)
        return vn_fail(err, VN_EINTERNAL, "record %" PRIu64 " was packed twice", record);
    for (int c = 0; rc == VN_OK && c < p->input.n_fields; c++)
        if (p->kept[c] && c != p->status)
            rc = vn_builder_append(&p->carried[c], &from[c], row, 1, err);
    const char *own = own_status(p, from, row, &n), *text = texts[status];
    if (own && (status == VN_PACK_OK ||
                (status == VN_PACK_AS_IT_CAME && !vn_status_has_result(own, n))))
        text = own;
    else
        n = strlen(text);
    if (rc == VN_OK)
        rc = vn_builder_add_bytes(&p->statuses, text, n, err);
    vn_rowstore_drop(p->rows, record);
    return rc;
}

static int plain_row(struct vn_packrows *p, const struct vn_packed *in, int64_t i,
                     struct vn_error *err) {
    const char *text = texts[in->status[i]];
    int rc = vn_builder_add_bytes(&p->ids, in->id[i], (size_t)in->id_len[i], err);
    return rc == VN_OK ? vn_builder_add_bytes(&p->statuses, text, strlen(text), err) : rc;
}

int vn_packrows_batch(struct vn_packrows *p, const struct vn_packed *in,
                      struct vn_batch *out, struct vn_error *err) {
    int rc = vn_batch_set_columns(out, p->schema.n_fields, err);
    vn_builder_clear(&p->ids);
    vn_builder_clear(&p->statuses);
    for (int i = 0; i < p->input.n_fields; i++)
        vn_builder_clear(&p->carried[i]);
    for (int64_t i = 0; rc == VN_OK && i < in->n; i++)
        rc = p->records ? fetch_row(p, in->record[i], in->status[i], err)
                        : plain_row(p, in, i, err);
    if (rc != VN_OK)
        return rc;
    struct vn_column *c = out->columns, *tokens = &c[p->made[TOKENS]];
    for (int i = 0; i < p->input.n_fields; i++)
        if (p->kept[i] && i != p->status)
            vn_builder_view(&p->carried[i], &c[p->place[i]]);
    if (!p->records)
        vn_builder_view(&p->ids, &c[p->made[ID]]);
    vn_builder_view(&p->statuses, &c[p->made[STATUS]]);
    c[p->made[RECORD]].level[0] = (struct vn_array){.length = in->n, .values = in->record};
    tokens->level[0] = (struct vn_array){.length = in->n, .offsets = in->cu_seqlens};
    tokens->level[1] =
        (struct vn_array){.length = in->cu_seqlens[in->n], .values = in->tokens};
    out->n_rows = in->n;
    return VN_OK;
}
