#include "joiner.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bits.h"
#include "order.h"
#include "shelf.h"

#define PART_ROWS 4096
#define PART_BYTES ((int64_t)8 << 20) /* of vectors in a batch; a single one may have more */

/* A column that a stream before this one has as well: the first of those. */
struct shared {
    int stream, there, here;
};

struct stream {
    const struct vn_schema *schema;
    const char *name;
    int id, record, embedding, status; /* columns; status may be -1 */
    int32_t width;
    struct shared *shared; /* [n_shared] */
    int n_shared;
    /* what waits: the vectors on a shelf, and rows with the place of each instead of it */
    struct vn_shelf *shelf;
    struct vn_schema waiting;
    struct vn_builder *columns; /* [schema->n_fields] */
    struct vn_batch rows;
    struct vn_order *order;
    struct vn_batch ready; /* rows whose turn has come: views of the order */
    int64_t at;            /* the first that has not come out */
    bool ended;
};

struct vn_joiner {
    int n;
    struct stream *in;
    int64_t width; /* of all */
    struct vn_schema schema;
    int embedding, status; /* columns of the output */
    struct {
        int stream, column;
    } *source; /* [schema.n_fields] where a carried column comes from */
    struct vn_builder *columns;   /* [schema.n_fields] */
    struct vn_buf vectors;        /* [rows, width] f32 */
    struct vn_buf validity;       /* [rows] bits */
    struct vn_buf text;           /* of a status */
    uint64_t rows, nulls;
};

/* ---- schemas --------------------------------------------------------------------- */

static int find_columns(struct stream *s, struct vn_error *err) {
    static const enum vn_type utf8[] = {VN_UTF8}, number[] = {VN_UINT64},
                              vector[] = {VN_FIXED_LIST, VN_FLOAT32};
    int rc = vn_schema_require_kind(s->schema, VN_KIND_VECTORS, err);
    if (rc >= 0)
        rc = s->id = vn_schema_require(s->schema, "id", utf8, 1, err);
    if (rc >= 0)
        rc = s->record = vn_schema_require(s->schema, "record", number, 1, err);
    if (rc >= 0)
        rc = s->embedding = vn_schema_require(s->schema, "embedding", vector, 2, err);
    s->status = vn_schema_find(s->schema, "status");
    if (rc >= 0 && s->status >= 0)
        rc = vn_schema_require(s->schema, "status", utf8, 1, err);
    if (rc < 0)
        return vn_prefix(err, "'%s'", s->name);
    s->width = s->schema->fields[s->embedding].level[0].size;
    return VN_OK;
}

/* The first stream before k that has a column of that name; k: none. */
static int find_stream(const struct vn_joiner *j, int k, const char *name) {
    int from = 0;
    while (from < k && vn_schema_find(j->in[from].schema, name) < 0)
        from++;
    return from;
}

/* Finds what stream k has in common with those before it. */
static int find_shared(struct vn_joiner *j, int k, struct vn_error *err) {
    struct stream *s = &j->in[k];
    s->shared = vn_calloc((size_t)s->schema->n_fields, sizeof *s->shared, err);
    if (!s->shared)
        return VN_EFAIL;
    for (int i = 0; i < s->schema->n_fields; i++) {
        const struct vn_field *f = &s->schema->fields[i];
        const int from = find_stream(j, k, f->level[0].name);
        char x[128], y[128];
        if (i == s->embedding || i == s->status || i == s->record || from == k)
            continue;
        const struct stream *first = &j->in[from];
        const int at = vn_schema_find(first->schema, f->level[0].name);
        const struct vn_field *g = &first->schema->fields[at];
        if (!vn_field_same_type(f, g))
            return vn_fail(err, VN_EINCOMPAT, "column '%s' is %s in '%s', %s in '%s'",
                           f->level[0].name, vn_field_type_text(g, x, sizeof x), first->name,
                           vn_field_type_text(f, y, sizeof y), s->name);
        s->shared[s->n_shared++] = (struct shared){from, at, i};
    }
    return VN_OK;
}

/* Adds column i of stream k to the output, if it belongs there. */
static int add_column(struct vn_joiner *j, int k, int i, struct vn_error *err) {
    static const enum vn_type vector[] = {VN_FIXED_LIST, VN_FLOAT32};
    const int32_t sizes[] = {(int32_t)j->width, 0};
    const struct stream *s = &j->in[k];
    const struct vn_field *f = &s->schema->fields[i];
    const int at = j->schema.n_fields;
    if (k == 0 && i == s->embedding) {
        j->embedding = at;
        return vn_schema_add(&j->schema, "embedding", vector, sizes, 2, true, err);
    }
    if (i == s->status) {
        if (j->status >= 0)
            return VN_OK;
        j->status = at;
        return vn_schema_add_flat(&j->schema, "status", VN_UTF8, err);
    }
    if (vn_schema_find(&j->schema, f->level[0].name) >= 0)
        return VN_OK;
    j->source[at].stream = k;
    j->source[at].column = i;
    return vn_schema_add_field(&j->schema, f, err);
}

/* Metadata but for programs, of the first stream that has it; then every chain. */
static int join_metadata(struct vn_joiner *j, struct vn_error *err) {
    int rc = VN_OK, input = 0;
    for (int k = 0; k < j->n && rc == VN_OK; k++) {
        const struct vn_schema *s = j->in[k].schema;
        for (int i = 0; i < s->n_meta && rc == VN_OK; i++)
            if (strncmp(s->meta[i].key, "vn.pg.", 6) != 0 &&
                !vn_schema_meta(&j->schema, s->meta[i].key))
                rc = vn_schema_set_meta(&j->schema, s->meta[i].key, s->meta[i].value, err);
        if (rc == VN_OK)
            rc = vn_schema_add_input(&j->schema, s, input, err);
        input += vn_schema_inputs(s);
    }
    return rc;
}

static int make_schema(struct vn_joiner *j, struct vn_error *err) {
    size_t most = 1;
    int rc = VN_OK;
    vn_schema_init(&j->schema, VN_KIND_VECTORS);
    for (int k = 0; k < j->n; k++)
        most += (size_t)j->in[k].schema->n_fields;
    j->source = vn_calloc(most, sizeof *j->source, err);
    if (!j->source)
        return VN_EFAIL;
    j->embedding = j->status = -1;
    for (int k = 0; k < j->n && rc == VN_OK; k++)
        for (int i = 0; i < j->in[k].schema->n_fields && rc == VN_OK; i++)
            if (k == 0 || i != j->in[k].embedding)
                rc = add_column(j, k, i, err);
    if (rc == VN_OK && j->status < 0) {
        j->status = j->schema.n_fields;
        rc = vn_schema_add_flat(&j->schema, "status", VN_UTF8, err);
    }
    return rc == VN_OK ? join_metadata(j, err) : rc;
}

int vn_joiner_schema(struct vn_joiner *j, const char *members, const struct vn_schema **out,
                     struct vn_error *err) {
    struct vn_buf text = {0};
    int rc = vn_buf_printf(&text, err, "%s,\"widths\":[", members);
    for (int k = 0, n = 0; k < j->n && rc == VN_OK; k++) {
        char widths[4096];
        const struct stream *s = &j->in[k];
        if (vn_schema_inputs(s->schema) > 1 &&
            vn_schema_provenance(s->schema, "widths", widths, sizeof widths) &&
            strlen(widths) > 2) /* a joined stream: its own, without the brackets */
            rc = vn_buf_printf(&text, err, "%s%.*s", n++ ? "," : "",
                               (int)strlen(widths) - 2, widths + 1);
        else
            rc = vn_buf_printf(&text, err, "%s%d", n++ ? "," : "", (int)s->width);
    }
    if (rc == VN_OK)
        rc = vn_buf_puts(&text, "]", err);
    if (rc == VN_OK)
        rc = vn_schema_add_program(&j->schema, (const char *)text.data, err);
    vn_buf_release(&text);
    *out = &j->schema;
    return rc;
}

/* ---- life ------------------------------------------------------------------------ */

/* The rows of a stream as they wait. */
static int open_waiting(struct stream *s, int64_t max_waiting, struct vn_error *err) {
    static const enum vn_type place[] = {VN_UINT64};
    const struct vn_schema *from = s->schema;
    int rc = VN_OK;
    vn_schema_init(&s->waiting, from->kind);
    for (int i = 0; i < from->n_fields && rc == VN_OK; i++)
        rc = i == s->embedding
                 ? vn_schema_add(&s->waiting, "embedding", place, NULL, 1, true, err)
                 : vn_schema_add_field(&s->waiting, &from->fields[i], err);
    if (rc == VN_OK) {
        s->columns = vn_calloc((size_t)from->n_fields, sizeof *s->columns, err);
        rc = s->columns ? VN_OK : VN_EFAIL;
    }
    for (int i = 0; i < from->n_fields && rc == VN_OK; i++)
        vn_builder_init(&s->columns[i], &s->waiting.fields[i]);
    return rc == VN_OK ? vn_order_new(&s->waiting, s->record, max_waiting, &s->order, err) : rc;
}

/* Each stream gets of the memory what it has of the values, and so has room for as many rows
 * as any other. */
static int open_shelves(struct vn_joiner *j, int64_t memory, struct vn_error *err) {
    int rc = VN_OK;
    for (int k = 0; k < j->n && rc == VN_OK; k++) {
        struct stream *s = &j->in[k];
        rc = vn_shelf_new((size_t)s->width * sizeof(float), memory / j->width * s->width,
                          &s->shelf, err);
    }
    return rc;
}

static int open_streams(struct vn_joiner *j, const struct vn_schema *const *in,
                        const char *const *names, int64_t max_waiting, struct vn_error *err) {
    int rc = VN_OK;
    for (int k = 0; k < j->n && rc == VN_OK; k++) {
        struct stream *s = &j->in[k];
        s->schema = in[k];
        s->name = names[k];
        rc = find_columns(s, err);
        if (rc == VN_OK)
            rc = find_shared(j, k, err);
        if (rc == VN_OK)
            rc = open_waiting(s, max_waiting, err);
        j->width += s->width;
    }
    if (rc == VN_OK && j->width > VN_MAX_BODY / (int64_t)sizeof(float))
        rc = vn_fail(err, VN_EINCOMPAT, "vectors of %" PRId64 " values in all, at most %lld",
                     j->width, (long long)(VN_MAX_BODY / (int64_t)sizeof(float)));
    return rc;
}

int vn_joiner_new(const struct vn_schema *const *in, const char *const *names, int n,
                  int64_t max_waiting, int64_t memory, struct vn_joiner **out,
                  struct vn_error *err) {
    struct vn_joiner *j = *out = vn_calloc(1, sizeof *j, err);
    if (!j)
        return VN_EFAIL;
    j->n = n;
    j->in = vn_calloc((size_t)n, sizeof *j->in, err);
    int rc = j->in ? open_streams(j, in, names, max_waiting, err) : VN_EFAIL;
    if (rc == VN_OK)
        rc = open_shelves(j, memory, err);
    if (rc == VN_OK)
        rc = make_schema(j, err);
    if (rc == VN_OK) {
        j->columns = vn_calloc((size_t)j->schema.n_fields, sizeof *j->columns, err);
        rc = j->columns ? VN_OK : VN_EFAIL;
    }
    if (rc != VN_OK) {
        vn_joiner_free(j);
        *out = NULL;
        return rc;
    }
    for (int i = 0; i < j->schema.n_fields; i++)
        vn_builder_init(&j->columns[i], &j->schema.fields[i]);
    return VN_OK;
}

static void free_stream(struct stream *s) {
    for (int i = 0; s->columns && i < s->waiting.n_fields; i++)
        vn_builder_release(&s->columns[i]);
    free(s->columns);
    vn_batch_release(&s->rows);
    vn_order_free(s->order);
    vn_batch_release(&s->ready);
    vn_schema_release(&s->waiting);
    vn_shelf_free(s->shelf);
    free(s->shared);
}

void vn_joiner_free(struct vn_joiner *j) {
    if (!j)
        return;
    for (int k = 0; j->in && k < j->n; k++)
        free_stream(&j->in[k]);
    for (int i = 0; j->columns && i < j->schema.n_fields; i++)
        vn_builder_release(&j->columns[i]);
    vn_schema_release(&j->schema);
    vn_buf_release(&j->vectors);
    vn_buf_release(&j->validity);
    vn_buf_release(&j->text);
    free(j->columns);
    free(j->source);
    free(j->in);
    free(j);
}

int64_t vn_joiner_spilled(const struct vn_joiner *j) {
    int64_t bytes = 0;
    for (int k = 0; k < j->n; k++)
        bytes += vn_shelf_spilled(j->in[k].shelf);
    return bytes;
}

uint64_t vn_joiner_rows(const struct vn_joiner *j, uint64_t *nulls) {
    *nulls = j->nulls;
    return j->rows;
}

/* ---- in -------------------------------------------------------------------------- */

bool vn_joiner_wants(const struct vn_joiner *j, int stream) {
    return !j->in[stream].ended && j->in[stream].at == j->in[stream].ready.n_rows;
}

/* The next rows of a stream in order, if its last ones have come out. */
static int refill(struct stream *s, struct vn_error *err) {
    if (s->at < s->ready.n_rows)
        return VN_OK;
    s->at = s->ready.n_rows = 0;
    int rc = vn_order_next(s->order, PART_ROWS, &s->ready, err);
    return rc < 0 ? vn_prefix(err, "'%s'", s->name) : VN_OK;
}

/* Puts the vectors of a batch on the shelf, and their places into the column. */
static int shelve(struct stream *s, const struct vn_column *c, int64_t n,
                  struct vn_error *err) {
    struct vn_builder *places = &s->columns[s->embedding];
    const float *from = c->level[1].values;
    int rc = VN_OK;
    for (int64_t r = 0; r < n && rc == VN_OK; r++, from += s->width) {
        uint64_t place;
        if (vn_is_null(&c->level[0], r)) {
            rc = vn_builder_add_null(places, err);
            continue;
        }
        rc = vn_shelf_put(s->shelf, from, &place, err);
        if (rc == VN_OK)
            rc = vn_builder_add_value(places, &place, err);
    }
    return rc;
}

int vn_joiner_put(struct vn_joiner *j, int stream, const struct vn_batch *b,
                  struct vn_error *err) {
    struct stream *s = &j->in[stream];
    int rc = VN_OK;
    if (b->columns[s->embedding].level[1].null_count)
        rc = vn_fail(err, VN_EDATA, "column 'embedding' has nulls inside its rows");
    for (int i = 0; i < s->waiting.n_fields && rc == VN_OK; i++)
        rc = i == s->embedding
                 ? shelve(s, &b->columns[i], b->n_rows, err)
                 : vn_builder_append(&s->columns[i], &b->columns[i], 0, b->n_rows, err);
    if (rc == VN_OK)
        rc = vn_builders_give(s->columns, s->waiting.n_fields, &s->rows, err);
    if (rc == VN_OK)
        rc = vn_order_put(s->order, &s->rows, err);
    return rc == VN_OK ? refill(s, err) : vn_prefix(err, "'%s'", s->name);
}

int vn_joiner_end(struct vn_joiner *j, int stream, struct vn_error *err) {
    struct stream *s = &j->in[stream];
    s->ended = true;
    int rc = vn_order_finish(s->order, err);
    return rc == VN_OK ? rc : vn_prefix(err, "'%s'", s->name);
}

/* ---- are rows the same? ---------------------------------------------------------- */

/* Row r of what comes next, in stream k and in those before it. */
static int check_row(const struct vn_joiner *j, int k, int64_t r, struct vn_error *err) {
    const struct stream *s = &j->in[k];
    for (int i = 0; i < s->n_shared; i++) {
        const struct shared c = s->shared[i];
        const struct stream *first = &j->in[c.stream];
        const struct vn_field *f = &s->schema->fields[c.here];
        const struct vn_column *a = &first->ready.columns[c.there],
                               *b = &s->ready.columns[c.here];
        if (vn_row_same(f, a, first->at + r, b, s->at + r))
            continue;
        if (c.here != s->id)
            return vn_fail(err, VN_EINCOMPAT,
                           "record %" PRIu64 ": column '%s' differs in '%s' and '%s'",
                           j->rows + (uint64_t)r, f->level[0].name, first->name, s->name);
        size_t m, n;
        const char *x = vn_utf8_row(a, first->at + r, &m);
        const char *y = vn_utf8_row(b, s->at + r, &n);
        return vn_fail(err, VN_EINCOMPAT,
                       "record %" PRIu64 " is '%.*s' in '%s', '%.*s' in '%s': the streams are "
                       "not of the same input",
                       j->rows + (uint64_t)r, (int)(m < 80 ? m : 80), x, first->name,
                       (int)(n < 80 ? n : 80), y, s->name);
    }
    return VN_OK;
}

/* ---- out ------------------------------------------------------------------------- */

static const char *status_at(const struct stream *s, int64_t row, size_t *n) {
    const struct vn_column *c = s->status < 0 ? NULL : &s->ready.columns[s->status];
    *n = 0;
    return c && !vn_is_null(&c->level[0], row) ? vn_utf8_row(c, row, n) : "";
}

/* The status of a record that has all its vectors: "truncated" or "windowed" if one of them
 * is. */
static int whole_status(struct vn_joiner *j, int64_t r, struct vn_error *err) {
    const char *text = "ok";
    size_t n = 2, m;
    for (int k = 0; k < j->n; k++) {
        const char *own = status_at(&j->in[k], j->in[k].at + r, &m);
        if (m && !(m == 2 && !memcmp(own, "ok", 2)) && n == 2) {
            text = own;
            n = m;
        }
    }
    return vn_builder_add_bytes(&j->columns[j->status], text, n, err);
}

static bool has_vector(const struct stream *s, int64_t r) {
    return !vn_is_null(&s->ready.columns[s->embedding].level[0], s->at + r);
}

/* The reason of the first stream without a vector; which one that is, unless all say the
 * same. */
static int null_status(struct vn_joiner *j, int64_t r, struct vn_error *err) {
    const char *text = NULL;
    char which[32] = "";
    size_t n = 0, m;
    int first = 0;
    bool all = true;
    for (int k = 0; k < j->n; k++) {
        const struct stream *s = &j->in[k];
        const char *own = status_at(s, s->at + r, &m);
        if (has_vector(s, r)) {
            all = false;
            continue;
        }
        if (!m || vn_status_has_result(own, m)) { /* brought no reason */
            own = "empty";
            m = strlen(own);
        }
        if (!text) {
            text = own;
            n = m;
            first = k;
        }
        all = all && m == n && !memcmp(own, text, n);
    }
    if (!all)
        snprintf(which, sizeof which, " (stream %d)", first + 1);
    j->text.len = 0;
    int rc = vn_buf_append(&j->text, text, n, err);
    if (rc == VN_OK)
        rc = vn_buf_puts(&j->text, which, err);
    if (rc == VN_OK)
        rc = vn_builder_add_bytes(&j->columns[j->status], j->text.data, j->text.len, err);
    return rc;
}

/* The vectors of row r of what comes next, from the shelves; are there all of them? */
static int take_vectors(struct vn_joiner *j, int64_t r, float *to, bool *whole,
                        struct vn_error *err) {
    int rc = VN_OK;
    for (int k = 0; k < j->n && rc == VN_OK; to += j->in[k++].width) {
        const struct stream *s = &j->in[k];
        const uint64_t *place = s->ready.columns[s->embedding].level[0].values;
        if (has_vector(s, r))
            rc = vn_shelf_take(s->shelf, place[s->at + r], to, err);
        else
            *whole = false;
    }
    return rc;
}

/* Rows [0, n) of what comes next: the vectors, and the status that goes with them. */
static int join_vectors(struct vn_joiner *j, int64_t n, struct vn_column *c,
                        struct vn_error *err) {
    const size_t bytes = (size_t)n * (size_t)j->width * sizeof(float);
    int64_t nulls = 0;
    int rc = vn_buf_resize(&j->vectors, bytes, err);
    j->validity.len = 0;
    if (rc == VN_OK)
        rc = vn_buf_zeros(&j->validity, vn_bits_bytes(n), err);
    float *to = (float *)(void *)j->vectors.data;
    for (int64_t r = 0; r < n && rc == VN_OK; r++, to += j->width) {
        bool whole = true;
        rc = take_vectors(j, r, to, &whole, err);
        if (rc != VN_OK)
            break;
        if (whole) {
            vn_bit_set(j->validity.data, r);
        } else {
            nulls++;
            memset(to, 0, (size_t)j->width * sizeof *to);
        }
        rc = whole ? whole_status(j, r, err) : null_status(j, r, err);
    }
    vn_column_vectors(c, n, (int32_t)j->width, j->vectors.data, j->validity.data, nulls);
    j->nulls += (uint64_t)nulls;
    return rc;
}

/* Rows that all streams have; 0 when one of them must be read first. */
static int64_t rows_ready(const struct vn_joiner *j) {
    int64_t n = PART_BYTES / (j->width * (int64_t)sizeof(float));
    n = n < 1 ? 1 : n > PART_ROWS ? PART_ROWS : n;
    for (int k = 0; k < j->n; k++) {
        const int64_t left = j->in[k].ready.n_rows - j->in[k].at;
        n = left < n ? left : n;
    }
    return n;
}

/* None may have ended while another goes on. */
static int check_ends(const struct vn_joiner *j, struct vn_error *err) {
    const struct stream *ended = NULL, *more = NULL;
    for (int k = 0; k < j->n; k++) {
        const struct stream *s = &j->in[k];
        if (s->at < s->ready.n_rows)
            more = s;
        else if (s->ended)
            ended = s;
    }
    if (ended && more)
        return vn_fail(err, VN_EDATA, "'%s' ends after %" PRIu64 " records, '%s' has more",
                       ended->name, j->rows, more->name);
    return VN_OK;
}

int vn_joiner_next(struct vn_joiner *j, struct vn_batch *out, struct vn_error *err) {
    const int64_t n = rows_ready(j);
    if (!n)
        return check_ends(j, err);
    int rc = vn_batch_set_columns(out, j->schema.n_fields, err);
    for (int i = 0; i < j->schema.n_fields; i++)
        vn_builder_clear(&j->columns[i]);
    for (int k = 1; k < j->n; k++)
        for (int64_t r = 0; r < n && rc == VN_OK; r++)
            rc = check_row(j, k, r, err);
    for (int i = 0; i < j->schema.n_fields && rc == VN_OK; i++) {
        const struct stream *s = &j->in[j->source[i].stream];
        if (i != j->embedding && i != j->status)
            rc = vn_builder_append(&j->columns[i], &s->ready.columns[j->source[i].column],
                                   s->at, n, err);
    }
    if (rc == VN_OK)
        rc = join_vectors(j, n, &out->columns[j->embedding], err);
    for (int i = 0; i < j->schema.n_fields && rc == VN_OK; i++)
        if (i != j->embedding)
            vn_builder_view(&j->columns[i], &out->columns[i]);
    out->n_rows = n;
    j->rows += (uint64_t)n;
    for (int k = 0; k < j->n && rc == VN_OK; k++) {
        j->in[k].at += n;
        rc = refill(&j->in[k], err);
    }
    return rc == VN_OK ? 1 : rc;
}
