#include "scorer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

#define PART_SCORES ((int64_t)1 << 18) /* of one part; a single row may have more */
#define THRESHOLD "head_threshold"     /* in the provenance */

enum { LABEL = 2, SCORES = 3 }; /* places: id, record, label, scores, status, carried */

/* ---- the schema ------------------------------------------------------------------ */

/* The columns of scores, in their order: they name the classes. */
static int find_scores(struct vn_scorer *s, const struct vn_schema *in, struct vn_error *err) {
    static const enum vn_type single[] = {VN_FLOAT32}, utf8[] = {VN_UTF8};
    s->scores = vn_calloc((size_t)in->n_fields + 1, sizeof *s->scores, err);
    s->labels = vn_calloc((size_t)in->n_fields + 1, sizeof *s->labels, err);
    if (!s->scores || !s->labels)
        return VN_EFAIL;
    int rc = vn_schema_require_kind(in, VN_KIND_SCORES, err);
    if (rc >= 0)
        rc = vn_schema_require(in, "label", utf8, 1, err);
    for (int i = 0; i < in->n_fields && rc >= 0; i++) {
        const char *name = in->fields[i].level[0].name, *class = vn_score_class(name);
        if (!class)
            continue;
        s->scores[s->n_classes] = i;
        s->labels[s->n_classes++] = class;
        rc = vn_schema_require(in, name, single, 1, err);
    }
    if (rc >= 0 && !s->n_classes)
        rc = vn_fail(err, VN_EINCOMPAT, "a stream of scores without a column of scores");
    return rc;
}

static int find_vectors(struct vn_scorer *s, const struct vn_schema *in,
                        struct vn_error *err) {
    static const enum vn_type vector[] = {VN_FIXED_LIST, VN_FLOAT32};
    s->n_classes = s->head->width[s->head->n_layers];
    s->labels = vn_calloc((size_t)s->n_classes, sizeof *s->labels, err);
    if (!s->labels)
        return VN_EFAIL;
    for (int i = 0; i < s->n_classes; i++)
        s->labels[i] = s->head->labels[i];
    int rc = vn_schema_require_kind(in, VN_KIND_VECTORS, err);
    if (rc >= 0)
        rc = s->embedding = vn_schema_require(in, "embedding", vector, 2, err);
    return rc;
}

/* Sets where the columns of the input are; their types are fixed. */
static int find_columns(struct vn_scorer *s, const struct vn_schema *in,
                        struct vn_error *err) {
    static const enum vn_type utf8[] = {VN_UTF8}, number[] = {VN_UINT64};
    s->embedding = -1;
    int rc = s->head ? find_vectors(s, in, err) : find_scores(s, in, err);
    if (rc >= 0)
        rc = vn_schema_require(in, "id", utf8, 1, err);
    if (rc >= 0)
        rc = vn_schema_require(in, "record", number, 1, err);
    s->status = vn_schema_find(in, "status");
    if (rc >= 0 && s->status >= 0)
        rc = vn_schema_require(in, "status", utf8, 1, err);
    if (rc < 0 || !s->head)
        return rc < 0 ? rc : VN_OK;
    return vn_head_check(s->head, in, in->fields[s->embedding].level[0].size, err);
}

/* The threshold to call by. */
static int choose_threshold(struct vn_scorer *s, const struct vn_schema *in, float asked,
                            struct vn_error *err) {
    char text[64];
    s->threshold = asked >= 0 ? asked : NAN;
    if (!isnan(asked))
        return VN_OK;
    if (s->head) {
        s->threshold = s->head->threshold > 0 ? s->head->threshold : NAN;
        return VN_OK;
    }
    if (!vn_schema_provenance(in, THRESHOLD, text, sizeof text))
        return VN_OK;
    char *end;
    s->threshold = strtof(text, &end);
    if (end == text || *end || !(s->threshold > 0 && s->threshold <= 1) || s->n_classes != 2)
        return vn_fail(err, VN_EINCOMPAT,
                       "the stream of scores says that its head has the threshold '%s' for %d "
                       "classes", text, s->n_classes);
    return VN_OK;
}

/* The program's entry in the provenance, and in it the head's name, hash and threshold. */
static int add_provenance(struct vn_scorer *s, const char *program,
                          struct vn_error *err) {
    struct vn_buf members = {0};
    int rc = vn_buf_puts(&members, program, err);
    if (rc == VN_OK && s->head)
        rc = vn_member_text(&members, "head", s->head->name, err);
    if (rc == VN_OK && s->head)
        rc = vn_member_text(&members, "head_sha256", s->head->sha256, err);
    if (rc == VN_OK && s->head && s->head->threshold > 0) {
        char number[VN_NUMBER_TEXT];
        vn_format_float(number, s->head->threshold);
        rc = vn_buf_printf(&members, err, ",\"" THRESHOLD "\":%s", number);
    }
    if (rc == VN_OK)
        rc = vn_schema_add_program(&s->schema, (const char *)members.data, err);
    vn_buf_release(&members);
    return rc;
}

static int add_new(struct vn_scorer *s, const struct vn_schema *in, const char *name,
                   enum vn_type type, struct vn_error *err) {
    if (s->head && vn_schema_find(in, name) >= 0)
        return vn_fail(err, VN_EINCOMPAT, "the stream has a column '%s' already", name);
    return vn_schema_add(&s->schema, name, &type, NULL, 1, true, err);
}

/* id, record, label, score_..., status. */
static int add_own_columns(struct vn_scorer *s, const struct vn_schema *in,
                           struct vn_error *err) {
    struct vn_buf name = {0};
    const struct vn_field *id = &in->fields[vn_schema_find(in, "id")];
    const struct vn_field *record = &in->fields[vn_schema_find(in, "record")];
    int rc = vn_schema_add_field(&s->schema, id, err);
    if (rc == VN_OK)
        rc = vn_schema_add_field(&s->schema, record, err);
    if (rc == VN_OK)
        rc = add_new(s, in, "label", VN_UTF8, err);
    for (int i = 0; i < s->n_classes && rc == VN_OK; i++) {
        name.len = 0;
        rc = vn_buf_printf(&name, err, VN_SCORE_PREFIX "%s", s->labels[i]);
        if (rc == VN_OK)
            rc = add_new(s, in, (const char *)name.data, VN_FLOAT32, err);
    }
    vn_buf_release(&name);
    return rc == VN_OK ? vn_schema_add_flat(&s->schema, "status", VN_UTF8, err) : rc;
}

static int make_schema(struct vn_scorer *s, const struct vn_schema *in,
                       const char *program, struct vn_error *err) {
    int id = vn_schema_find(in, "id"), record = vn_schema_find(in, "record"), rc = VN_OK;
    vn_schema_init(&s->schema, VN_KIND_SCORES);
    for (int i = 0; i < in->n_meta && rc == VN_OK; i++)
        rc = vn_schema_set_meta(&s->schema, in->meta[i].key, in->meta[i].value, err);
    if (rc == VN_OK)
        rc = add_provenance(s, program, err);
    if (rc == VN_OK)
        rc = add_own_columns(s, in, err);
    if (rc != VN_OK)
        return rc;
    const size_t most = (size_t)s->schema.n_fields + (size_t)in->n_fields;
    s->source = vn_calloc(most, sizeof *s->source, err);
    if (!s->source)
        return VN_EFAIL;
    for (int i = 0; i < s->schema.n_fields; i++)
        s->source[i] = i == 0 ? id : i == 1 ? record : -1;
    for (int i = 0; i < in->n_fields && rc == VN_OK; i++) {
        if (i == id || i == record || i == s->embedding || i == s->status ||
            (!s->head && vn_schema_find(&s->schema, in->fields[i].level[0].name) >= 0))
            continue;
        s->source[s->schema.n_fields] = i;
        rc = vn_schema_add_field(&s->schema, &in->fields[i], err);
    }
    return rc;
}

int vn_scorer_init(struct vn_scorer *s, const struct vn_head *head,
                   const struct vn_schema *in, float threshold, int workers,
                   const char *program, struct vn_error *err) {
    *s = (struct vn_scorer){.head = head};
    int rc = find_columns(s, in, err);
    if (rc == VN_OK)
        rc = choose_threshold(s, in, threshold, err);
    if (rc == VN_OK)
        rc = make_schema(s, in, program, err);
    if (rc == VN_OK && head)
        rc = vn_mlp_new(head, workers, &s->mlp, err);
    if (rc != VN_OK)
        return rc;
    s->made = vn_calloc((size_t)s->schema.n_fields, sizeof *s->made, err);
    s->per_label = vn_calloc((size_t)s->n_classes + 1, sizeof *s->per_label, err);
    if (!s->made || !s->per_label)
        return VN_EFAIL;
    for (int i = 0; i < s->schema.n_fields; i++)
        vn_builder_init(&s->made[i], &s->schema.fields[i]);
    for (int i = 0; i <= s->n_classes; i++)
        snprintf(s->per_label[i].text, sizeof s->per_label[i].text, "%s",
                 i < s->n_classes ? s->labels[i] : "no call");
    snprintf(s->per_status[VN_MAX_STATUSES].text, sizeof s->per_status[0].text, "others");
    return VN_OK;
}

void vn_scorer_release(struct vn_scorer *s) {
    for (int i = 0; s->made && i < s->schema.n_fields; i++)
        vn_builder_release(&s->made[i]);
    free(s->made);
    free(s->source);
    free(s->scores);
    free(s->labels);
    free(s->per_label);
    vn_mlp_free(s->mlp);
    vn_schema_release(&s->schema);
}

/* ---- scoring --------------------------------------------------------------------- */

/* The class that the scores p stand for, or n_classes for none: of equal scores the first
 * class wins. The threshold is compared as the float that a table prints. */
static int call(const struct vn_scorer *s, const float *p) {
    int best = 0;
    for (int i = 0; i < s->n_classes; i++)
        if (!isfinite(p[i]))
            return s->n_classes;
    if (!isnan(s->threshold))
        return p[1] >= s->threshold;
    for (int i = 1; i < s->n_classes; i++)
        best = p[i] > p[best] ? i : best;
    return best;
}

/* The status of a row that ends like this. */
static const char *status_of(const struct vn_scorer *s, const struct vn_batch *in,
                             int64_t row, bool called, const char *outcome, size_t *n) {
    const struct vn_column *c = s->status < 0 ? NULL : &in->columns[s->status];
    const char *text = c && !vn_is_null(&c->level[0], row) ? vn_utf8_row(c, row, n) : NULL;
    if (text && *n && (called || !vn_status_has_result(text, *n)))
        return text;
    *n = strlen(outcome);
    return outcome;
}

static void tally(struct vn_scorer *s, int label, const char *status, size_t n) {
    size_t most = sizeof s->per_status[0].text - 1;
    int i = 0;
    n = n < most ? n : most;
    while (i < s->n_statuses && (strlen(s->per_status[i].text) != n ||
                                 memcmp(s->per_status[i].text, status, n)))
        i++;
    if (i == s->n_statuses && i < VN_MAX_STATUSES)
        memcpy(s->per_status[s->n_statuses++].text, status, n);
    s->per_status[i < s->n_statuses ? i : VN_MAX_STATUSES].rows++;
    s->per_label[label].rows++;
}

/* Has the row anything to call a class by? */
static bool is_empty(const struct vn_scorer *s, const struct vn_batch *in, int64_t row) {
    return vn_is_null(&in->columns[s->head ? s->embedding : s->scores[0]].level[0], row);
}

/* The scores of the row are p. */
static int score_row(struct vn_scorer *s, const struct vn_batch *in, int64_t row,
                     const float *p, struct vn_error *err) {
    bool empty = is_empty(s, in, row);
    int label = empty ? s->n_classes : call(s, p), rc;
    bool called = label < s->n_classes;
    size_t n = 0;
    const char *status = status_of(s, in, row, called,
                                   empty ? "empty" : called ? "ok" : "not finite", &n);
    if (called)
        rc = vn_builder_add_bytes(&s->made[LABEL], s->labels[label],
                                  strlen(s->labels[label]), err);
    else
        rc = vn_builder_add_null(&s->made[LABEL], err);
    for (int i = 0; i < s->n_classes && rc == VN_OK; i++)
        rc = called ? vn_builder_add_value(&s->made[SCORES + i], &p[i], err)
                    : vn_builder_add_null(&s->made[SCORES + i], err);
    if (rc == VN_OK)
        rc = vn_builder_add_bytes(&s->made[SCORES + s->n_classes], status, n, err);
    tally(s, label, status, n);
    return rc;
}

/* Scores as they came. */
static void copy_scores(const struct vn_scorer *s, const struct vn_batch *in, int64_t from,
                        int64_t n, float *p) {
    const size_t C = (size_t)s->n_classes;
    for (size_t c = 0; c < C; c++) {
        const struct vn_array *a = &in->columns[s->scores[c]].level[0];
        const float *values = a->values;
        for (int64_t i = 0; i < n; i++) /* a null beside numbers is no number */
            p[(size_t)i * C + c] = vn_is_null(a, from + i) ? NAN : values[from + i];
    }
}

int vn_scorer_compute(const struct vn_scorer *s, int worker, const struct vn_batch *in,
                      int64_t row, struct vn_buf *scores, struct vn_error *err) {
    const int64_t most = PART_SCORES > s->n_classes ? PART_SCORES / s->n_classes : 1;
    const int64_t left = in->n_rows - row, n = left < most ? left : most;
    int rc = vn_buf_resize(scores, (size_t)n * (size_t)s->n_classes * sizeof(float), err);
    float *p = (float *)(void *)scores->data;
    if (rc != VN_OK)
        return rc;
    if (!s->head) {
        copy_scores(s, in, row, n, p);
        return VN_OK;
    }
    const struct vn_array *vectors = in->columns[s->embedding].level;
    if (vectors[1].null_count)
        return vn_fail(err, VN_EDATA, "column 'embedding' has nulls inside its rows");
    vn_mlp_apply(s->mlp, worker, (const float *)vectors[1].values + row * s->head->width[0], n,
                 p);
    return VN_OK;
}

int64_t vn_scorer_rows(struct vn_scorer *s, const struct vn_batch *in, int64_t row,
                       const struct vn_buf *scores, struct vn_batch *out,
                       struct vn_error *err) {
    const float *p = (const float *)(const void *)scores->data;
    const int64_t n = (int64_t)(scores->len / ((size_t)s->n_classes * sizeof *p));
    int rc = VN_OK;
    for (int i = 0; i < s->schema.n_fields && rc == VN_OK; i++) {
        vn_builder_clear(&s->made[i]);
        if (s->source[i] >= 0)
            rc = vn_builder_append(&s->made[i], &in->columns[s->source[i]], row, n, err);
    }
    for (int64_t i = 0; i < n && rc == VN_OK; i++)
        rc = score_row(s, in, row + i, p + i * s->n_classes, err);
    if (rc == VN_OK)
        rc = vn_builders_give(s->made, s->schema.n_fields, out, err);
    return rc == VN_OK ? n : rc;
}
