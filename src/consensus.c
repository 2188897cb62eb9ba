#include "consensus.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

/* Columns of the input. */
enum { ID, RECORD, STATUS, SOURCE, CHUNK, FRAME, START, END, N_IN };
static const struct {
    const char *name;
    enum vn_type type;
} in_columns[N_IN] = {{"id", VN_UTF8},      {"record", VN_UINT64}, {"status", VN_UTF8},
                      {"source", VN_UINT64}, {"chunk", VN_INT32},   {"frame", VN_INT8},
                      {"start", VN_INT64},   {"end", VN_INT64}};

struct interval {
    int64_t start, end;
};

/* What is known of a chunk, or of a source, so far. */
struct group {
    struct vn_buf id, status; /* text */
    float *max;               /* [n_classes]; -1: no scores yet */
    int8_t *frame;            /* [n_classes] where max comes from */
    int64_t start, end, rows;
    int32_t scored, lost;     /* frames with scores; frames without */
};

struct vn_consensus {
    struct vn_consensus_options o;
    struct vn_schema schema;
    int column[N_IN];
    int n_classes;
    int *scores;           /* [n_classes] columns of the input */
    const char **labels;   /* [n_classes] */
    struct vn_builder *made; /* [schema.n_fields] */
    int64_t n_made;
    uint64_t record;       /* of the next row that comes out */
    bool begun;
    uint64_t source;
    int32_t chunk;
    struct group of_chunk, of_source;
    int32_t *called;       /* [n_classes] chunks of the source with that call */
    struct vn_buf *where;  /* [n_classes] struct interval: of these chunks */
    struct vn_buf text;
};

/* ---- schema ---------------------------------------------------------------------- */

static int find_columns(struct vn_consensus *c, const struct vn_schema *in,
                        struct vn_error *err) {
    int rc = VN_OK;
    for (int i = 0; i < N_IN && rc >= 0; i++)
        rc = c->column[i] = vn_schema_require(in, in_columns[i].name, &in_columns[i].type, 1,
                                              err);
    if (rc < 0)
        return rc;
    c->scores = vn_calloc((size_t)in->n_fields, sizeof *c->scores, err);
    c->labels = vn_calloc((size_t)in->n_fields, sizeof *c->labels, err);
    if (!c->scores || !c->labels)
        return VN_EFAIL;
    for (int i = 0; i < in->n_fields; i++) {
        const char *class = vn_score_class(in->fields[i].level[0].name);
        if (class) {
            c->scores[c->n_classes] = i;
            c->labels[c->n_classes++] = class;
        }
    }
    if (!isnan(c->o.threshold) && c->n_classes != 2)
        return vn_fail(err, VN_EINCOMPAT, "a threshold needs 2 classes, found %d",
                       c->n_classes);
    return VN_OK;
}

static int add(struct vn_consensus *c, const char *name, enum vn_type type, bool nullable,
               struct vn_error *err) {
    return vn_schema_add(&c->schema, name, &type, NULL, 1, nullable, err);
}

static int make_schema(struct vn_consensus *c, const struct vn_schema *in,
                       struct vn_error *err) {
    static const struct {
        const char *name;
        enum vn_type type;
        bool nullable;
    } chunk[] = {{"source", VN_UINT64, false}, {"chunk", VN_INT32, false},
                 {"start", VN_INT64, false},   {"end", VN_INT64, false},
                 {"frame", VN_INT8, true},     {"frames", VN_INT32, false}},
      source[] = {{"start", VN_INT64, false},
                  {"end", VN_INT64, false},
                  {"chunks", VN_INT32, false},
                  {"called", VN_INT32, false},
                  {"intervals", VN_UTF8, true}};
    vn_schema_init(&c->schema, VN_KIND_SCORES);
    int rc = VN_OK;
    for (int i = 0; i < in->n_meta && rc == VN_OK; i++)
        rc = vn_schema_set_meta(&c->schema, in->meta[i].key, in->meta[i].value, err);
    if (rc == VN_OK)
        rc = add(c, "id", VN_UTF8, false, err);
    if (rc == VN_OK)
        rc = add(c, "record", VN_UINT64, false, err);
    if (rc == VN_OK)
        rc = add(c, "label", VN_UTF8, true, err);
    for (int i = 0; i < c->n_classes && rc == VN_OK; i++)
        rc = add(c, in->fields[c->scores[i]].level[0].name, VN_FLOAT32, true, err);
    if (rc == VN_OK)
        rc = add(c, "status", VN_UTF8, false, err);
    for (size_t i = 0; i < sizeof chunk / sizeof *chunk && rc == VN_OK && !c->o.by_source; i++)
        rc = add(c, chunk[i].name, chunk[i].type, chunk[i].nullable, err);
    for (size_t i = 0; i < sizeof source / sizeof *source && rc == VN_OK && c->o.by_source; i++)
        rc = add(c, source[i].name, source[i].type, source[i].nullable, err);
    return rc;
}

static int group_new(struct group *g, int n_classes, struct vn_error *err) {
    g->max = vn_calloc((size_t)n_classes, sizeof *g->max, err);
    g->frame = vn_calloc((size_t)n_classes, sizeof *g->frame, err);
    return g->max && g->frame ? VN_OK : VN_EFAIL;
}

static void group_free(struct group *g) {
    vn_buf_release(&g->id);
    vn_buf_release(&g->status);
    free(g->max);
    free(g->frame);
}

static int init(struct vn_consensus *c, const struct vn_schema *in, struct vn_error *err) {
    int rc = find_columns(c, in, err);
    if (rc == VN_OK)
        rc = make_schema(c, in, err);
    if (rc == VN_OK)
        rc = group_new(&c->of_chunk, c->n_classes, err);
    if (rc == VN_OK)
        rc = group_new(&c->of_source, c->n_classes, err);
    if (rc != VN_OK)
        return rc;
    c->called = vn_calloc((size_t)c->n_classes, sizeof *c->called, err);
    c->where = vn_calloc((size_t)c->n_classes, sizeof *c->where, err);
    c->made = vn_calloc((size_t)c->schema.n_fields, sizeof *c->made, err);
    if (!c->called || !c->where || !c->made)
        return VN_EFAIL;
    for (int i = 0; i < c->schema.n_fields; i++)
        vn_builder_init(&c->made[i], &c->schema.fields[i]);
    return VN_OK;
}

int vn_consensus_new(const struct vn_schema *scores, const struct vn_consensus_options *o,
                     struct vn_consensus **out, struct vn_error *err) {
    struct vn_consensus *c = *out = vn_calloc(1, sizeof *c, err);
    if (!c)
        return VN_EFAIL;
    c->o = *o;
    int rc = init(c, scores, err);
    if (rc != VN_OK) {
        vn_consensus_free(c);
        *out = NULL;
    }
    return rc;
}

void vn_consensus_free(struct vn_consensus *c) {
    if (!c)
        return;
    for (int i = 0; c->made && i < c->schema.n_fields; i++)
        vn_builder_release(&c->made[i]);
    for (int i = 0; c->where && i < c->n_classes; i++)
        vn_buf_release(&c->where[i]);
    group_free(&c->of_chunk);
    group_free(&c->of_source);
    vn_schema_release(&c->schema);
    vn_buf_release(&c->text);
    free(c->made);
    free(c->where);
    free(c->called);
    free(c->scores);
    free(c->labels);
    free(c);
}

const struct vn_schema *vn_consensus_schema(const struct vn_consensus *c) {
    return &c->schema;
}

/* ---- groups ---------------------------------------------------------------------- */

static void group_clear(struct group *g, int n_classes) {
    for (int i = 0; i < n_classes; i++) {
        g->max[i] = -1;
        g->frame[i] = 0;
    }
    g->id.len = g->status.len = 0;
    g->rows = 0;
    g->scored = g->lost = 0;
}

/* Notes what the first row of a group says. */
static int group_begin(struct group *g, const char *id, size_t id_len, const char *status,
                       size_t status_len, int64_t start, int64_t end, struct vn_error *err) {
    g->start = start;
    g->end = end;
    int rc = vn_buf_append(&g->id, id, id_len, err);
    return rc == VN_OK ? vn_buf_append(&g->status, status, status_len, err) : rc;
}

/* The class that the highest scores stand for: of equals the last. */
static int call(const struct vn_consensus *c, const struct group *g) {
    int best = 0;
    if (!isnan(c->o.threshold))
        return g->max[1] >= c->o.threshold;
    for (int i = 1; i < c->n_classes; i++)
        best = g->max[i] >= g->max[best] ? i : best;
    return best;
}

/* ---- rows that are complete ------------------------------------------------------ */

/* id record label score_... status */
static int add_call(struct vn_consensus *c, const struct group *g, int label,
                    struct vn_error *err) {
    struct vn_builder *b = c->made;
    const bool called = g->scored > 0;
    const char *status = g->lost ? "partial" : "ok";
    int rc = vn_builder_add_bytes(b++, g->id.data, g->id.len, err);
    if (rc == VN_OK)
        rc = vn_builder_add_value(b++, &c->record, err);
    if (rc == VN_OK)
        rc = called ? vn_builder_add_bytes(b, c->labels[label], strlen(c->labels[label]), err)
                    : vn_builder_add_null(b, err);
    b++;
    for (int i = 0; i < c->n_classes && rc == VN_OK; i++, b++)
        rc = called ? vn_builder_add_value(b, &g->max[i], err) : vn_builder_add_null(b, err);
    if (rc == VN_OK)
        rc = called ? vn_builder_add_bytes(b, status, strlen(status), err)
                    : vn_builder_add_bytes(b, g->status.data, g->status.len, err);
    c->record++;
    c->n_made++;
    return rc;
}

static int finish_chunk(struct vn_consensus *c, struct vn_error *err) {
    const struct group *g = &c->of_chunk;
    const int label = call(c, g);
    if (g->scored)
        c->called[label]++;
    if (!c->o.by_source) {
        struct vn_builder *b = c->made + 4 + c->n_classes;
        const void *values[] = {&c->source, &c->chunk, &g->start, &g->end};
        int rc = add_call(c, g, label, err);
        for (int i = 0; i < 4 && rc == VN_OK; i++)
            rc = vn_builder_add_value(b++, values[i], err);
        if (rc == VN_OK)
            rc = g->scored ? vn_builder_add_value(b, &g->frame[label], err)
                           : vn_builder_add_null(b, err);
        return rc == VN_OK ? vn_builder_add_value(b + 1, &g->scored, err) : rc;
    }
    if (!g->scored)
        return VN_OK;
    struct vn_buf *where = &c->where[label];
    struct interval *last = (struct interval *)(void *)where->data +
                            where->len / sizeof *last;
    if (where->len && g->start <= last[-1].end) {
        last[-1].end = g->end > last[-1].end ? g->end : last[-1].end;
        return VN_OK;
    }
    return vn_buf_append(where, &(struct interval){g->start, g->end}, sizeof *last, err);
}

static int put_interval(struct vn_buf *to, bool comma, const struct interval *i,
                        struct vn_error *err) {
    char text[2 * VN_NUMBER_TEXT + 2], *at = text;
    if (comma)
        *at++ = ',';
    at += vn_format_int(at, i->start);
    *at++ = '-';
    at += vn_format_int(at, i->end);
    return vn_buf_append(to, text, (size_t)(at - text), err);
}

static int write_intervals(struct vn_consensus *c, const struct vn_buf *where,
                           struct vn_error *err) {
    const struct interval *at = (const struct interval *)(const void *)where->data;
    int rc = VN_OK;
    c->text.len = 0;
    for (size_t i = 0; i < where->len / sizeof *at && rc == VN_OK; i++)
        rc = put_interval(&c->text, i > 0, &at[i], err);
    return rc;
}

static int finish_source(struct vn_consensus *c, struct vn_error *err) {
    const struct group *g = &c->of_source;
    const int label = call(c, g);
    int rc = finish_chunk(c, err);
    if (!c->o.by_source || rc != VN_OK)
        return rc;
    struct vn_builder *b = c->made + 4 + c->n_classes;
    const int32_t called = g->scored ? c->called[label] : 0;
    const void *values[] = {&g->start, &g->end, &c->chunk, &called};
    rc = add_call(c, g, label, err);
    for (int i = 0; i < 4 && rc == VN_OK; i++)
        rc = vn_builder_add_value(b++, values[i], err);
    if (rc == VN_OK && !g->scored)
        return vn_builder_add_null(b, err);
    if (rc == VN_OK)
        rc = write_intervals(c, &c->where[label], err);
    return rc == VN_OK ? vn_builder_add_bytes(b, c->text.data, c->text.len, err) : rc;
}

/* ---- rows that come in ----------------------------------------------------------- */

/* Where the row belongs: ends the groups before it and begins its own. */
static int turn_to(struct vn_consensus *c, uint64_t source, int32_t chunk,
                   struct vn_error *err) {
    int rc = VN_OK;
    const bool same = c->begun && source == c->source;
    if (same && chunk == c->chunk)
        return VN_OK;
    if (chunk != (same ? c->chunk + 1 : 1))
        return vn_fail(err, VN_EDATA,
                       "chunk %" PRId32 " of source %" PRIu64 " comes where chunk %" PRId32
                       " was expected",
                       chunk, source, same ? c->chunk + 1 : 1);
    if (!same && source != (c->begun ? c->source + 1 : 0))
        return vn_fail(err, VN_EDATA,
                       "source %" PRIu64 " comes where source %" PRIu64 " was expected", source,
                       c->begun ? c->source + 1 : 0);
    if (c->begun)
        rc = same ? finish_chunk(c, err) : finish_source(c, err);
    group_clear(&c->of_chunk, c->n_classes);
    if (!same) {
        group_clear(&c->of_source, c->n_classes);
        for (int i = 0; i < c->n_classes; i++) {
            c->called[i] = 0;
            c->where[i].len = 0;
        }
    }
    c->begun = true;
    c->source = source;
    c->chunk = chunk;
    return rc;
}

/* Letters of an id but for the suffix: a word, and then the number behind it. */
static size_t without(const char *id, size_t n, const char *word, uint64_t number) {
    char digits[VN_NUMBER_TEXT];
    const size_t w = strlen(word), d = (size_t)vn_format_uint(digits, number);
    return n >= w + d && !memcmp(id + n - d, digits, d) && !memcmp(id + n - d - w, word, w)
               ? n - d - w
               : n;
}

/* Scores of a row go to its chunk and its source. */
static void take_scores(struct vn_consensus *c, const struct vn_batch *b, int64_t row,
                        int8_t frame) {
    struct group *groups[] = {&c->of_chunk, &c->of_source};
    bool scored = c->n_classes > 0;
    for (int i = 0; i < c->n_classes; i++)
        scored = scored && !vn_is_null(&b->columns[c->scores[i]].level[0], row);
    for (int k = 0; k < 2; k++) {
        struct group *g = groups[k];
        g->scored += scored;
        g->lost += !scored && frame != 0; /* frame 0: the chunk has no open frame */
        for (int i = 0; scored && i < c->n_classes; i++) {
            const float p = ((const float *)b->columns[c->scores[i]].level[0].values)[row];
            if (p > g->max[i]) {
                g->max[i] = p;
                g->frame[i] = frame;
            }
        }
    }
}

static int take_row(struct vn_consensus *c, const struct vn_batch *b, int64_t row,
                    struct vn_error *err) {
    const struct vn_column *in[N_IN];
    for (int i = 0; i < N_IN; i++) {
        in[i] = &b->columns[c->column[i]];
        if (vn_is_null(&in[i]->level[0], row))
            return vn_fail(err, VN_EDATA, "row %" PRId64 " has no %s", row,
                           in_columns[i].name);
    }
    const int8_t frame = ((const int8_t *)in[FRAME]->level[0].values)[row];
    const int32_t chunk = ((const int32_t *)in[CHUNK]->level[0].values)[row];
    const int64_t start = ((const int64_t *)in[START]->level[0].values)[row];
    const int64_t end = ((const int64_t *)in[END]->level[0].values)[row];
    int rc = turn_to(c, ((const uint64_t *)in[SOURCE]->level[0].values)[row], chunk, err);
    if (rc != VN_OK)
        return rc;
    size_t n, n_status;
    const char *id = vn_utf8_row(in[ID], row, &n);
    const char *status = vn_utf8_row(in[STATUS], row, &n_status);
    if (frame)
        n = without(id, n, frame > 0 ? "F" : "R", (uint64_t)abs(frame));
    if (!c->of_chunk.rows)
        rc = group_begin(&c->of_chunk, id, n, status, n_status, start, end, err);
    if (rc == VN_OK && !c->of_source.rows)
        rc = group_begin(&c->of_source, id, without(id, n, "_chunk_", (uint64_t)chunk), status,
                         n_status, start, end, err);
    struct group *groups[] = {&c->of_chunk, &c->of_source};
    for (int k = 0; k < 2; k++) {
        groups[k]->rows++;
        groups[k]->start = start < groups[k]->start ? start : groups[k]->start;
        groups[k]->end = end > groups[k]->end ? end : groups[k]->end;
    }
    take_scores(c, b, row, frame);
    return rc;
}

static void clear(struct vn_consensus *c) {
    for (int i = 0; i < c->schema.n_fields; i++)
        vn_builder_clear(&c->made[i]);
    c->n_made = 0;
}

int vn_consensus_put(struct vn_consensus *c, const struct vn_batch *b,
                     struct vn_error *err) {
    int rc = VN_OK;
    clear(c);
    for (int64_t row = 0; row < b->n_rows && rc == VN_OK; row++)
        rc = take_row(c, b, row, err);
    return rc;
}

int vn_consensus_end(struct vn_consensus *c, struct vn_error *err) {
    clear(c);
    return c->begun ? finish_source(c, err) : VN_OK;
}

int vn_consensus_rows(struct vn_consensus *c, struct vn_batch *out, struct vn_error *err) {
    int rc = vn_batch_set_columns(out, c->schema.n_fields, err);
    for (int i = 0; i < c->schema.n_fields && rc == VN_OK; i++)
        vn_builder_view(&c->made[i], &out->columns[i]);
    out->n_rows = rc == VN_OK ? c->n_made : 0;
    return rc;
}
