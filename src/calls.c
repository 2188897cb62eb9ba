#include "calls.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "num.h"
#include "order.h"
#include "stream.h"

#define ROWS 256 /* of a stream, at a time: vectors may be wide */

struct vn_calls {
    struct vn_calls_facts facts;
    char **classes; /* [facts.n_classes] */
    float *scores;  /* [facts.n_classes] of the row */
    int *score;     /* [facts.n_classes] columns */
    int id, label, status; /* columns, or -1 */
    /* a table */
    struct vn_source *source;
    struct vn_table table;
    size_t n_columns;
    bool escaped, is_bool, again; /* again: the first line is a row */
    /* a stream */
    struct vn_reader *reader;
    struct vn_order *order;
    struct vn_batch in, ready;
    int embedding, length, start, end; /* columns, or -1 */
    int64_t at;                        /* row of ready */
    bool ended;
};

/* ---- what both have ---------------------------------------------------------------- */

static int add_class(struct vn_calls *c, const char *name, size_t n, int column,
                     struct vn_error *err) {
    const int k = c->facts.n_classes;
    for (int i = 0; i < k; i++)
        if (strlen(c->classes[i]) == n && !memcmp(c->classes[i], name, n))
            return vn_fail(err, VN_EDATA, "two columns have scores of the class '%.*s'",
                           (int)n, name);
    c->classes[k] = strndup(name, n);
    if (!c->classes[k])
        return vn_fail(err, VN_EFAIL, "cannot allocate the name of a class");
    c->score[k] = column;
    c->facts.n_classes++;
    return VN_OK;
}

static int room_for_classes(struct vn_calls *c, size_t n, struct vn_error *err) {
    c->classes = vn_calloc(n, sizeof *c->classes, err);
    c->scores = vn_calloc(n, sizeof *c->scores, err);
    c->score = vn_calloc(n, sizeof *c->score, err);
    c->facts.classes = c->classes;
    return c->classes && c->scores && c->score ? VN_OK : VN_EFAIL;
}

const struct vn_calls_facts *vn_calls_facts(const struct vn_calls *c) {
    return &c->facts;
}

int vn_calls_class(const struct vn_calls_facts *s, const char *name) {
    for (int k = 0; k < s->n_classes; k++)
        if (!strcmp(s->classes[k], name))
            return k;
    return -1;
}

const char *vn_calls_name(const struct vn_calls *c) {
    return c->reader ? vn_reader_name(c->reader) : c->source->name;
}

void vn_calls_close(struct vn_calls *c) {
    if (!c)
        return;
    for (int i = 0; i < c->facts.n_classes; i++)
        free(c->classes[i]);
    free(c->classes);
    free(c->scores);
    free(c->score);
    vn_table_release(&c->table);
    vn_source_close(c->source);
    vn_order_free(c->order);
    vn_reader_close(c->reader);
    vn_batch_release(&c->in);
    vn_batch_release(&c->ready);
    free(c);
}

/* ---- tables ------------------------------------------------------------------------ */

static bool is_word(const struct vn_word *w, const char *text) {
    return w->n == strlen(text) && !memcmp(w->text, text, w->n);
}

/* Do the first columns have these names? Others may follow. */
static bool begins_with(const struct vn_word *f, size_t n, const char *const names[]) {
    size_t i = 0;
    for (; names[i]; i++)
        if (i >= n || !is_word(&f[i], names[i]))
            return false;
    return true;
}

static int our_column(struct vn_calls *c, const struct vn_word *w, int i,
                      struct vn_error *err) {
    static const char prefix[] = VN_SCORE_PREFIX;
    int *column = is_word(w, "label") ? &c->label : is_word(w, "status") ? &c->status : NULL;
    if (column && *column >= 0)
        return vn_fail(err, VN_EDATA, "two columns are called '%.*s'", (int)w->n, w->text);
    if (column)
        *column = i;
    if (w->n < sizeof prefix || memcmp(w->text, prefix, sizeof prefix - 1))
        return VN_OK;
    return add_class(c, w->text + sizeof prefix - 1, w->n - sizeof prefix + 1, i, err);
}

static int our_table(struct vn_calls *c, const struct vn_word *f, size_t n,
                     struct vn_error *err) {
    int rc = VN_OK;
    c->facts.form = "table";
    c->escaped = true;
    for (size_t i = 1; i < n && rc == VN_OK; i++)
        rc = our_column(c, &f[i], (int)i, err);
    if (rc == VN_OK && c->label < 0)
        rc = vn_fail(err, VN_EINCOMPAT, "is no table of calls: it has no column 'label'");
    return rc == VN_OK ? rc : vn_prefix(err, "'%s'", c->source->name);
}

static int virnucpro_table(struct vn_calls *c, const char *form, int first_score,
                           struct vn_error *err) {
    c->facts.form = form;
    c->label = 1;
    int rc = first_score ? add_class(c, "others", 6, first_score, err) : VN_OK;
    return rc == VN_OK && first_score ? add_class(c, "virus", 5, first_score + 1, err) : rc;
}

static int read_header(struct vn_calls *c, bool plain, struct vn_error *err) {
    static const char *const ours[] = {"id", NULL},
        *const frames[] = {"Sequence_ID", "Prediction", "score1", "score2", NULL},
        *const chunks[] = {"Modified_ID", "Is_Virus", NULL},
        *const scored[] = {"Modified_ID", "Is_Virus", "max_score_0", "max_score_1", NULL};
    struct vn_word *f;
    size_t n;
    int rc = vn_table_next(&c->table, &f, &n, err);
    if (rc == 0)
        return vn_fail(err, VN_EDATA, "'%s' is empty, expected a stream or a table of calls",
                       c->source->name);
    if (rc > 0)
        rc = room_for_classes(c, n + 2, err);
    if (rc < 0)
        return rc;
    c->id = 0;
    c->n_columns = n;
    if (begins_with(f, n, ours)) {
        rc = our_table(c, f, n, err);
    } else if (begins_with(f, n, frames)) {
        rc = virnucpro_table(c, "VirNucPro frames", 2, err);
    } else if (begins_with(f, n, chunks)) {
        rc = virnucpro_table(c, "VirNucPro chunks", begins_with(f, n, scored) ? 2 : 0, err);
        c->is_bool = true;
    } else if (plain && n >= 2) {
        c->facts.form = "list";
        c->label = 1;
        c->again = true;
    } else {
        rc = vn_fail(err, VN_EDATA,
                     "'%s' is neither a stream nor a table of calls: expected 'id', "
                     "'Sequence_ID' or 'Modified_ID' first, found '%.*s'",
                     c->source->name, (int)(f[0].n < 40 ? f[0].n : 40), f[0].text);
    }
    c->facts.has_status = c->status >= 0;
    return rc;
}

/* Undoes what vn-classify does to odd characters, in place. A backslash before anything
 * else is one. */
static void unescape(struct vn_word *w) {
    static const char letters[] = "tnr\\", bytes[] = "\t\n\r\\", hex[] = "0123456789abcdef";
    char *out = memchr(w->text, '\\', w->n), *const end = w->text + w->n;
    if (!out)
        return;
    for (const char *p = out; p < end; p++, out++) {
        const char *known = *p == '\\' && p + 1 < end ? strchr(letters, p[1]) : NULL;
        *out = *p;
        if (known && p[1]) {
            *out = bytes[known - letters];
            p++;
        } else if (*p == '\\' && end - p > 3 && p[1] == 'x' && p[2] && strchr(hex, p[2]) &&
                   p[3] && strchr(hex, p[3])) {
            *out = (char)((strchr(hex, p[2]) - hex) * 16 + (strchr(hex, p[3]) - hex));
            p += 3;
        }
    }
    w->n = (size_t)(out - w->text);
}

/* No value, a decimal number, nan, inf: nothing else that strtof would take. Fields end
 * with a character that is part of none. */
static bool read_score(const struct vn_word *w, float *out) {
    char *end = NULL;
    *out = NAN;
    if (w->n == 0 || is_word(w, ".") || is_word(w, "nan") || is_word(w, "NaN"))
        return true;
    if (is_word(w, "inf") || is_word(w, "-inf")) {
        *out = *w->text == '-' ? -INFINITY : INFINITY;
        return true;
    }
    for (size_t i = 0; i < w->n; i++)
        if (!w->text[i] || !strchr("0123456789.+-eE", w->text[i]))
            return false;
    *out = strtof(w->text, &end);
    return end == w->text + w->n;
}

static int read_label(const struct vn_calls *c, struct vn_word *w, struct vn_error *err) {
    static char virus[] = "virus", others[] = "others";
    if (c->is_bool) {
        if (!is_word(w, "True") && !is_word(w, "False"))
            return vn_fail(err, VN_EDATA, "Is_Virus is '%.*s', expected True or False",
                           (int)w->n, w->text);
        *w = is_word(w, "True") ? (struct vn_word){virus, 5} : (struct vn_word){others, 6};
    } else if (w->n == 0 || is_word(w, ".")) {
        *w = (struct vn_word){NULL, 0};
    } else if (c->escaped) {
        unescape(w);
    }
    return VN_OK;
}

static int take_fields(struct vn_calls *c, struct vn_word *f, size_t n, struct vn_call *row,
                       struct vn_error *err) {
    if (n != c->n_columns)
        return vn_fail(err, VN_EDATA, "%zu columns, expected %zu", n, c->n_columns);
    if (c->escaped)
        unescape(&f[c->id]);
    row->id = f[c->id];
    row->label = f[c->label];
    int rc = read_label(c, &row->label, err);
    if (c->status >= 0 && !is_word(&f[c->status], "."))
        row->status = f[c->status];
    for (int k = 0; k < c->facts.n_classes && rc == VN_OK; k++) {
        const struct vn_word *w = &f[c->score[k]];
        if (!read_score(w, &c->scores[k]))
            rc = vn_fail(err, VN_EDATA, "the score of '%s' is '%.*s', expected a number",
                         c->classes[k], (int)(w->n < 40 ? w->n : 40), w->text);
    }
    row->scores = c->scores;
    return rc;
}

static int next_line(struct vn_calls *c, struct vn_call *row, struct vn_error *err) {
    struct vn_word *f = (struct vn_word *)(void *)c->table.fields.data;
    size_t n = c->n_columns;
    int rc = c->again ? 1 : vn_table_next(&c->table, &f, &n, err);
    c->again = false;
    if (rc <= 0)
        return rc;
    rc = take_fields(c, f, n, row, err);
    return rc == VN_OK ? 1 : vn_prefix(err, "'%s', line %" PRIu64, c->source->name,
                                       c->table.line);
}

/* ---- streams ----------------------------------------------------------------------- */

static int find_column(const struct vn_schema *s, const char *name, const enum vn_type *types,
                       int depth) {
    const int at = vn_schema_find(s, name);
    if (at < 0 || s->fields[at].depth != depth)
        return -1;
    for (int i = 0; i < depth; i++)
        if (s->fields[at].level[i].type != types[i])
            return -1;
    return at;
}

static bool is_whole_number(const struct vn_schema *s, int column) {
    const struct vn_field *f = column >= 0 ? &s->fields[column] : NULL;
    return f && f->depth == 1 && f->level[0].type >= VN_INT8 && f->level[0].type <= VN_UINT64;
}

/* A row's length: a column that counts it, or where its piece of sequence begins and ends. */
static void find_length(struct vn_calls *c, const struct vn_schema *s) {
    static const char *const names[] = {"residues", "tokens", NULL};
    const enum vn_type i64 = VN_INT64;
    for (int i = 0; names[i] && c->length < 0; i++)
        if (is_whole_number(s, vn_schema_find(s, names[i]))) {
            c->length = vn_schema_find(s, names[i]);
            c->facts.length = names[i];
        }
    c->start = find_column(s, "start", &i64, 1);
    c->end = find_column(s, "end", &i64, 1);
    if (c->length < 0 && c->start >= 0 && c->end >= 0)
        c->facts.length = "letters";
}

static int find_vectors(struct vn_calls *c, const struct vn_schema *s, struct vn_error *err) {
    static const enum vn_type vector[] = {VN_FIXED_LIST, VN_FLOAT32};
    c->facts.is_vectors = true;
    c->embedding = vn_schema_require(s, "embedding", vector, 2, err);
    if (c->embedding < 0)
        return c->embedding;
    c->facts.width = s->fields[c->embedding].level[0].size;
    find_length(c, s);
    return VN_OK;
}

static int find_scores(struct vn_calls *c, const struct vn_schema *s, struct vn_error *err) {
    const enum vn_type utf8 = VN_UTF8, f32 = VN_FLOAT32;
    int rc = c->label = vn_schema_require(s, "label", &utf8, 1, err);
    for (int i = 0; i < s->n_fields && rc >= 0; i++) {
        const char *name = s->fields[i].level[0].name, *class = vn_score_class(name);
        if (class && find_column(s, name, &f32, 1) == i)
            rc = add_class(c, class, strlen(class), i, err);
    }
    return rc < 0 ? rc : VN_OK;
}

static int open_stream(struct vn_calls *c, struct vn_source *source, int64_t max_waiting,
                       struct vn_error *err) {
    const enum vn_type utf8 = VN_UTF8, u64 = VN_UINT64;
    int rc = vn_reader_open(source, NULL, &c->reader, err);
    if (rc != VN_OK)
        return rc;
    const struct vn_schema *s = vn_reader_schema(c->reader);
    const int record = vn_schema_require(s, "record", &u64, 1, err);
    c->facts.form = "stream";
    c->facts.is_stream = true;
    c->id = vn_schema_require(s, "id", &utf8, 1, err);
    rc = c->id < 0 ? c->id : record < 0 ? record : VN_OK;
    if (rc == VN_OK)
        rc = room_for_classes(c, (size_t)s->n_fields, err);
    if (rc == VN_OK && s->kind == VN_KIND_VECTORS)
        rc = find_vectors(c, s, err);
    else if (rc == VN_OK && s->kind == VN_KIND_SCORES)
        rc = find_scores(c, s, err);
    else if (rc == VN_OK)
        rc = vn_fail(err, VN_EINCOMPAT, "a stream of %s, expected scores or vectors",
                     vn_kind_name(s->kind));
    c->status = find_column(s, "status", &utf8, 1);
    c->facts.has_status = c->status >= 0;
    if (rc != VN_OK)
        return vn_prefix(err, "'%s'", vn_reader_name(c->reader));
    return vn_order_new(s, record, max_waiting, &c->order, err);
}

static int64_t whole_number(enum vn_type t, const struct vn_column *column, int64_t row) {
    const uint8_t *p = (const uint8_t *)column->level[0].values +
                       (size_t)row * vn_type_width(t);
    switch (t) {
    case VN_INT8: return (int8_t)*p;
    case VN_UINT8: return *p;
    case VN_INT16: return (int16_t)vn_load16(p);
    case VN_UINT16: return vn_load16(p);
    case VN_INT32: return (int32_t)vn_load32(p);
    case VN_UINT32: return vn_load32(p);
    default: return (int64_t)vn_load64(p);
    }
}

static int64_t length_of(const struct vn_calls *c, int64_t row) {
    const struct vn_column *columns = c->ready.columns;
    const struct vn_schema *s = vn_reader_schema(c->reader);
    if (c->length >= 0)
        return vn_is_null(&columns[c->length].level[0], row)
                   ? -1
                   : whole_number(s->fields[c->length].level[0].type, &columns[c->length], row);
    if (!c->facts.length || vn_is_null(&columns[c->start].level[0], row) ||
        vn_is_null(&columns[c->end].level[0], row))
        return -1;
    const int64_t start = whole_number(VN_INT64, &columns[c->start], row);
    int64_t length = whole_number(VN_INT64, &columns[c->end], row);
    return __builtin_sub_overflow(length, start, &length) ? -1 : length;
}

static void text_of(const struct vn_calls *c, int column, int64_t row, struct vn_word *out) {
    if (column >= 0 && !vn_is_null(&c->ready.columns[column].level[0], row))
        out->text = (char *)vn_utf8_row(&c->ready.columns[column], row, &out->n);
}

static void take_row(struct vn_calls *c, int64_t row, struct vn_call *out) {
    text_of(c, c->id, row, &out->id);
    text_of(c, c->label, row, &out->label);
    text_of(c, c->status, row, &out->status);
    for (int k = 0; k < c->facts.n_classes; k++) {
        const struct vn_array *a = &c->ready.columns[c->score[k]].level[0];
        c->scores[k] = vn_is_null(a, row) ? NAN : ((const float *)a->values)[row];
    }
    out->scores = c->scores;
    if (!c->facts.is_vectors)
        return;
    const struct vn_column *v = &c->ready.columns[c->embedding];
    if (!vn_is_null(&v->level[0], row))
        out->vector = (const float *)v->level[1].values + row * c->facts.width;
    out->length = length_of(c, row);
}

/* Reads a batch, or finds that all have come. */
static int read_batch(struct vn_calls *c, struct vn_error *err) {
    int rc = vn_reader_next(c->reader, &c->in, err);
    if (rc < 0)
        return rc;
    c->ended = rc == 0;
    if (c->ended)
        rc = vn_order_finish(c->order, err);
    else if (c->facts.is_vectors && c->in.columns[c->embedding].level[1].null_count)
        rc = vn_fail(err, VN_EDATA, "batch %" PRIu64 " has nulls inside vectors", c->in.number);
    else
        rc = vn_order_put(c->order, &c->in, err);
    return rc == VN_OK ? rc : vn_prefix(err, "'%s'", vn_reader_name(c->reader));
}

/* The next rows whose turn has come: 1, or 0 at the end. */
static int more_rows(struct vn_calls *c, struct vn_error *err) {
    int rc;
    c->at = 0;
    while ((rc = vn_order_next(c->order, ROWS, &c->ready, err)) == 0 && !c->ended)
        if ((rc = read_batch(c, err)) != VN_OK)
            break;
    return rc;
}

static int next_row(struct vn_calls *c, struct vn_call *row, struct vn_error *err) {
    if (c->at >= c->ready.n_rows) {
        c->ready.n_rows = 0;
        int rc = more_rows(c, err);
        if (rc <= 0)
            return rc;
    }
    take_row(c, c->at++, row);
    return 1;
}

/* ---- either ------------------------------------------------------------------------ */

int vn_calls_next(struct vn_calls *c, struct vn_call *row, struct vn_error *err) {
    memset(row, 0, sizeof *row);
    row->length = -1;
    return c->reader ? next_row(c, row, err) : next_line(c, row, err);
}

int vn_calls_open(struct vn_source *source, const struct vn_calls_options *o,
                  struct vn_calls **out, struct vn_error *err) {
    uint8_t first = 0;
    size_t n = 0;
    struct vn_calls *c = *out = vn_calloc(1, sizeof *c, err);
    if (!c) {
        vn_source_close(source);
        return VN_EFAIL;
    }
    c->id = c->label = c->status = c->embedding = c->length = c->start = c->end = -1;
    int rc = vn_source_peek(&source, &first, 1, &n, err);
    if (rc == VN_OK && n && first == 0xff) { /* no text begins with it */
        rc = open_stream(c, source, o->max_waiting, err);
    } else {
        c->source = source;
        vn_table_init(&c->table, source);
        if (rc == VN_OK)
            rc = read_header(c, o->plain, err);
    }
    if (rc != VN_OK) {
        vn_calls_close(c);
        *out = NULL;
    }
    return rc;
}
