#include "schema.h"

#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

#define PROGRAM_KEY "vn.pg."
#define MAX_PROGRAMS 1000 /* numbers from there on are other metadata */

/* ---- names of kinds and types ---------------------------------------------------- */

static const char *const kind_names[] = {"other",      "records", "tokens",
                                         "embeddings", "vectors", "scores"};

static const struct {
    const char *name;
    size_t width, offset_width;
    bool list;
} types[] = {
    [VN_BOOL] = {"bool", 0, 0, false},
    [VN_INT8] = {"int8", 1, 0, false},
    [VN_INT16] = {"int16", 2, 0, false},
    [VN_INT32] = {"int32", 4, 0, false},
    [VN_INT64] = {"int64", 8, 0, false},
    [VN_UINT8] = {"uint8", 1, 0, false},
    [VN_UINT16] = {"uint16", 2, 0, false},
    [VN_UINT32] = {"uint32", 4, 0, false},
    [VN_UINT64] = {"uint64", 8, 0, false},
    [VN_FLOAT16] = {"float16", 2, 0, false},
    [VN_FLOAT32] = {"float32", 4, 0, false},
    [VN_FLOAT64] = {"float64", 8, 0, false},
    [VN_UTF8] = {"utf8", 0, 4, false},
    [VN_BINARY] = {"binary", 0, 4, false},
    [VN_LARGE_UTF8] = {"large_utf8", 0, 8, false},
    [VN_LARGE_BINARY] = {"large_binary", 0, 8, false},
    [VN_FIXED_BINARY] = {"fixed_size_binary", 0, 0, false},
    [VN_LIST] = {"list", 0, 4, true},
    [VN_LARGE_LIST] = {"large_list", 0, 8, true},
    [VN_FIXED_LIST] = {"fixed_size_list", 0, 0, true},
};

const char *vn_kind_name(enum vn_kind k) {
    return kind_names[k];
}

enum vn_kind vn_kind_of(const char *name) {
    for (int k = VN_KIND_RECORDS; k <= VN_KIND_SCORES; k++)
        if (!strcmp(name, kind_names[k]))
            return k;
    return VN_KIND_OTHER;
}

const char *vn_type_name(enum vn_type t) {
    return types[t].name;
}

size_t vn_type_width(enum vn_type t) {
    return types[t].width;
}

bool vn_type_is_list(enum vn_type t) {
    return types[t].list;
}

size_t vn_type_offset_width(enum vn_type t) {
    return types[t].offset_width;
}

bool vn_field_same_type(const struct vn_field *a, const struct vn_field *b) {
    bool same = a->depth == b->depth;
    for (int l = 0; same && l < a->depth; l++)
        same = a->level[l].type == b->level[l].type && a->level[l].size == b->level[l].size;
    return same;
}

const char *vn_field_type_text(const struct vn_field *f, char *text, size_t size) {
    size_t n = 0;
    text[0] = 0;
    for (int l = 0; l < f->depth && n < size; l++)
        n += (size_t)snprintf(text + n, size - n, "%s%s", l ? "<" : "",
                              vn_type_name(f->level[l].type));
    for (int l = f->depth - 1; l >= 0 && n < size; l--) {
        if (l < f->depth - 1)
            n += (size_t)snprintf(text + n, size - n, ">");
        if (f->level[l].size && n < size)
            n += (size_t)snprintf(text + n, size - n, "[%d]", (int)f->level[l].size);
    }
    return text;
}

/* ---- life ------------------------------------------------------------------------ */

void vn_schema_init(struct vn_schema *s, enum vn_kind kind) {
    memset(s, 0, sizeof *s);
    s->kind = kind;
}

static void field_release(struct vn_field *f) {
    for (int l = 0; l < f->depth; l++)
        free(f->level[l].name);
}

void vn_schema_release(struct vn_schema *s) {
    for (int i = 0; i < s->n_fields; i++)
        field_release(&s->fields[i]);
    for (int i = 0; i < s->n_meta; i++) {
        free(s->meta[i].key);
        free(s->meta[i].value);
    }
    free(s->fields);
    free(s->meta);
    vn_schema_init(s, VN_KIND_OTHER);
}

int vn_schema_copy(struct vn_schema *dst, const struct vn_schema *src,
                   struct vn_error *err) {
    int rc = VN_OK;
    vn_schema_init(dst, src->kind);
    for (int i = 0; i < src->n_fields && rc == VN_OK; i++)
        rc = vn_schema_add_field(dst, &src->fields[i], err);
    for (int i = 0; i < src->n_meta && rc == VN_OK; i++)
        rc = vn_schema_set_meta(dst, src->meta[i].key, src->meta[i].value, err);
    if (rc != VN_OK)
        vn_schema_release(dst);
    return rc;
}

/* Room for one element more in an array that grows by doubling from 8. */
static int grow(void *array, int n, size_t size, struct vn_error *err) {
    void *old, *grown;
    if (n && (n < 8 || (n & (n - 1))))
        return VN_OK;
    memcpy(&old, array, sizeof old);
    grown = realloc(old, (n < 8 ? 8 : 2 * (size_t)n) * size);
    if (!grown)
        return vn_fail(err, VN_EFAIL, "cannot allocate a schema");
    memcpy(array, &grown, sizeof grown);
    return VN_OK;
}

/* ---- columns --------------------------------------------------------------------- */

/* A chain is lists down to one level that is none, with sizes where they belong. */
static bool chain_ok(const struct vn_field *f) {
    if (f->depth < 1 || f->depth > VN_MAX_DEPTH)
        return false;
    for (int l = 0; l < f->depth; l++) {
        const struct vn_level *v = &f->level[l];
        bool sized = v->type == VN_FIXED_LIST || v->type == VN_FIXED_BINARY;
        if (vn_type_is_list(v->type) != (l < f->depth - 1) || sized != (v->size > 0))
            return false;
    }
    return true;
}

int vn_schema_add_field(struct vn_schema *s, const struct vn_field *f,
                        struct vn_error *err) {
    const char *name = f->level[0].name;
    if (!chain_ok(f))
        return vn_fail(err, VN_EINTERNAL, "column '%s' has no proper type", name);
    if (s->n_fields >= VN_MAX_COLUMNS)
        return vn_fail(err, VN_EINCOMPAT, "more than %d columns", VN_MAX_COLUMNS);
    if (vn_schema_find(s, name) >= 0)
        return vn_fail(err, VN_EINCOMPAT, "column '%s' is there twice", name);
    int rc = grow(&s->fields, s->n_fields, sizeof *s->fields, err);
    if (rc != VN_OK)
        return rc;
    struct vn_field *to = &s->fields[s->n_fields];
    *to = *f;
    for (int l = 0; l < f->depth; l++)
        to->level[l].name = NULL;
    for (int l = 0; l < f->depth; l++)
        if (!(to->level[l].name = strdup(f->level[l].name))) {
            field_release(to);
            return vn_fail(err, VN_EFAIL, "cannot allocate a schema");
        }
    s->n_fields++;
    return VN_OK;
}

int vn_schema_add(struct vn_schema *s, const char *name, const enum vn_type *chain,
                  const int32_t *sizes, int depth, bool nullable, struct vn_error *err) {
    static char item[] = "item";
    struct vn_field f = {.depth = depth};
    for (int l = 0; l < depth && l < VN_MAX_DEPTH; l++) {
        f.level[l].type = chain[l];
        f.level[l].size = sizes ? sizes[l] : 0;
        f.level[l].name = l ? item : (char *)name;
    }
    f.level[0].nullable = nullable;
    return vn_schema_add_field(s, &f, err);
}

int vn_schema_add_flat(struct vn_schema *s, const char *name, enum vn_type type,
                       struct vn_error *err) {
    return vn_schema_add(s, name, &type, NULL, 1, false, err);
}

int vn_schema_find(const struct vn_schema *s, const char *name) {
    for (int i = 0; i < s->n_fields; i++)
        if (!strcmp(s->fields[i].level[0].name, name))
            return i;
    return -1;
}

int vn_schema_require(const struct vn_schema *s, const char *name,
                      const enum vn_type *chain, int depth, struct vn_error *err) {
    int at = vn_schema_find(s, name);
    if (at < 0)
        return vn_fail(err, VN_EINCOMPAT, "a stream of %s without the column '%s'",
                       vn_kind_name(s->kind), name);
    const struct vn_field *f = &s->fields[at];
    bool same = f->depth == depth;
    for (int l = 0; same && l < depth; l++)
        same = f->level[l].type == chain[l];
    if (same)
        return at;
    char found[128], wanted[128] = "";
    size_t n = 0;
    for (int l = 0; l < depth && n < sizeof wanted; l++)
        n += (size_t)snprintf(wanted + n, sizeof wanted - n, "%s%s", l ? "<" : "",
                              vn_type_name(chain[l]));
    for (int l = 1; l < depth && n < sizeof wanted; l++)
        n += (size_t)snprintf(wanted + n, sizeof wanted - n, ">");
    return vn_fail(err, VN_EINCOMPAT, "column '%s' is %s, expected %s", name,
                   vn_field_type_text(f, found, sizeof found), wanted);
}

int vn_schema_require_kind(const struct vn_schema *s, enum vn_kind kind,
                           struct vn_error *err) {
    if (s->kind == kind)
        return VN_OK;
    return vn_fail(err, VN_EINCOMPAT, "a stream of %s, expected %s",
                   s->kind == VN_KIND_OTHER ? "an unknown kind" : vn_kind_name(s->kind),
                   vn_kind_name(kind));
}

const char *vn_score_class(const char *name) {
    const size_t n = sizeof VN_SCORE_PREFIX - 1;
    return !strncmp(name, VN_SCORE_PREFIX, n) && name[n] ? name + n : NULL;
}

static bool field_equal(const struct vn_field *a, const struct vn_field *b) {
    bool same = vn_field_same_type(a, b) && !strcmp(a->level[0].name, b->level[0].name);
    for (int l = 0; same && l < a->depth; l++)
        same = a->level[l].nullable == b->level[l].nullable;
    return same;
}

/* ---- metadata -------------------------------------------------------------------- */

const char *vn_schema_meta(const struct vn_schema *s, const char *key) {
    for (int i = 0; i < s->n_meta; i++)
        if (!strcmp(s->meta[i].key, key))
            return s->meta[i].value;
    return NULL;
}

int vn_schema_set_meta(struct vn_schema *s, const char *key, const char *value,
                       struct vn_error *err) {
    char *copy = strdup(value), *new_key = NULL;
    if (!copy)
        return vn_fail(err, VN_EFAIL, "cannot allocate a schema");
    for (int i = 0; i < s->n_meta; i++)
        if (!strcmp(s->meta[i].key, key)) {
            free(s->meta[i].value);
            s->meta[i].value = copy;
            return VN_OK;
        }
    if (grow(&s->meta, s->n_meta, sizeof *s->meta, err) != VN_OK ||
        !(new_key = strdup(key))) {
        free(copy);
        return vn_fail(err, VN_EFAIL, "cannot allocate a schema");
    }
    s->meta[s->n_meta++] = (struct vn_pair){new_key, copy};
    return VN_OK;
}

/* The number of a program's entry, as we write them; -1: it is none. */
static int program_number(const char *key) {
    const char *p = key + strlen(PROGRAM_KEY);
    int n = 0;
    if (strncmp(key, PROGRAM_KEY, strlen(PROGRAM_KEY)) || !*p || (*p == '0' && p[1]))
        return -1;
    for (; *p >= '0' && *p <= '9' && n < MAX_PROGRAMS; p++)
        n = 10 * n + *p - '0';
    return *p || n >= MAX_PROGRAMS ? -1 : n;
}

/* The first number behind all entries: there may be gaps before. */
static int next_program(const struct vn_schema *s) {
    int next = 0;
    for (int i = 0; i < s->n_meta; i++) {
        int n = program_number(s->meta[i].key);
        next = n >= next ? n + 1 : next;
    }
    return next;
}

static const char *program_entry(const struct vn_schema *s, int n) {
    char key[32];
    snprintf(key, sizeof key, PROGRAM_KEY "%d", n);
    return vn_schema_meta(s, key);
}

int vn_member_text(struct vn_buf *members, const char *name, const char *value,
                   struct vn_error *err) {
    const size_t n = strlen(value);
    if (!vn_utf8_valid(value, n))
        return vn_fail(err, VN_EDATA, "the %s '%s' is not UTF-8", name, value);
    int rc = vn_buf_printf(members, err, ",\"%s\":", name);
    return rc == VN_OK ? vn_json_text(members, value, n, err) : rc;
}

int vn_schema_add_program(struct vn_schema *s, const char *members, struct vn_error *err) {
    char key[32];
    struct vn_buf text = {0};
    int n = next_program(s);
    if (n == MAX_PROGRAMS)
        return vn_fail(err, VN_EINCOMPAT, "provenance of more than %d programs", MAX_PROGRAMS);
    snprintf(key, sizeof key, PROGRAM_KEY "%d", n);
    int rc = vn_buf_printf(&text, err, "{%s}", members);
    if (rc == VN_OK)
        rc = vn_schema_set_meta(s, key, (const char *)text.data, err);
    vn_buf_release(&text);
    return rc;
}

/* A JSON value as text: strings bare, everything else as JSON. */
static bool value_text(const json_t *v, char *out, size_t size) {
    const char *bare = json_string_value(v);
    char *dump = bare ? NULL : json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    bool ok = bare || dump;
    if (ok && size)
        snprintf(out, size, "%s", bare ? bare : dump);
    free(dump);
    return ok;
}

/* Of the programs of one input, or, for ANY, of all. */
enum { ANY = -1 };

static bool find_member(const struct vn_schema *s, int input, const char *member, char *out,
                        size_t size) {
    bool found = false;
    for (int n = next_program(s) - 1; n >= 0 && !found; n--) {
        const char *entry = program_entry(s, n);
        json_t *root = entry ? json_loads(entry, 0, NULL) : NULL;
        const json_t *v = json_object_get(root, member);
        const json_t *of = json_object_get(root, "input");
        if (input == ANY || (json_is_integer(of) && json_integer_value(of) == input))
            found = v && value_text(v, out, size);
        json_decref(root);
    }
    return found;
}

bool vn_schema_provenance(const struct vn_schema *s, const char *member, char *out,
                          size_t size) {
    return find_member(s, ANY, member, out, size);
}

bool vn_schema_input_provenance(const struct vn_schema *s, int input, const char *member,
                                char *out, size_t size) {
    return find_member(s, vn_schema_inputs(s) == 1 ? ANY : input, member, out, size);
}

int vn_schema_inputs(const struct vn_schema *s) {
    for (int n = next_program(s) - 1; n >= 0; n--) {
        const char *entry = program_entry(s, n);
        json_t *root = entry ? json_loads(entry, 0, NULL) : NULL;
        const size_t widths = json_array_size(json_object_get(root, "widths"));
        json_decref(root);
        if (widths)
            return widths > VN_MAX_METADATA ? 1 : (int)widths;
    }
    return 1;
}

/* The entry with its mark; what is no JSON object cannot be marked. malloc'ed. */
static char *marked(const char *entry, int input, bool joined) {
    json_t *root = json_loads(entry, 0, NULL), *of = json_object_get(root, "input");
    char *text = NULL;
    if (joined && json_is_integer(of))
        json_integer_set(of, json_integer_value(of) + input);
    else if (!joined && json_is_object(root))
        json_object_set_new(root, "input", json_integer(input));
    if (json_is_object(root))
        text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text ? text : strdup(entry);
}

int vn_schema_add_input(struct vn_schema *s, const struct vn_schema *from, int input,
                        struct vn_error *err) {
    const bool joined = vn_schema_inputs(from) > 1;
    for (int i = 0, n = next_program(from), at = next_program(s); i < n; i++) {
        const char *entry = program_entry(from, i);
        char key[32], *text = entry ? marked(entry, input, joined) : NULL;
        if (!entry)
            continue;
        if (at == MAX_PROGRAMS) {
            free(text);
            return vn_fail(err, VN_EINCOMPAT, "provenance of more than %d programs",
                           MAX_PROGRAMS);
        }
        snprintf(key, sizeof key, PROGRAM_KEY "%d", at++);
        int rc = text ? vn_schema_set_meta(s, key, text, err)
                      : vn_fail(err, VN_EFAIL, "cannot allocate a schema");
        free(text);
        if (rc != VN_OK)
            return rc;
    }
    return VN_OK;
}

/* ---- concatenation --------------------------------------------------------------- */

/* An entry without the members that differ from run to run, in one spelling; malloc'ed.
 * What is no JSON object stands for itself. */
static char *lasting_part(const char *entry) {
    json_t *root = json_loads(entry, 0, NULL);
    char *text;
    if (!json_is_object(root)) {
        json_decref(root);
        return strdup(entry);
    }
    json_object_del(root, "arguments");
    json_object_del(root, "device");
    json_object_del(root, "version");
    text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(root);
    return text;
}

static int same_program(int n, const char *a, const char *b, struct vn_error *err) {
    char *x = lasting_part(a ? a : ""), *y = lasting_part(b ? b : "");
    int rc = VN_OK;
    if (!x || !y)
        rc = vn_fail(err, VN_EFAIL, "cannot allocate a schema");
    else if (strcmp(x, y))
        rc = vn_fail(err, VN_EINCOMPAT, "provenance " PROGRAM_KEY "%d differs: '%s' and '%s'",
                     n, x, y);
    free(x);
    free(y);
    return rc;
}

int vn_schema_same(const struct vn_schema *a, const struct vn_schema *b,
                   struct vn_error *err) {
    if (a->kind != b->kind)
        return vn_fail(err, VN_EINCOMPAT, "the kinds differ: %s and %s",
                       vn_kind_name(a->kind), vn_kind_name(b->kind));
    if (a->n_fields != b->n_fields)
        return vn_fail(err, VN_EINCOMPAT, "the numbers of columns differ: %d and %d",
                       a->n_fields, b->n_fields);
    for (int i = 0; i < a->n_fields; i++) {
        const struct vn_field *f = &a->fields[i], *g = &b->fields[i];
        char x[128], y[128];
        if (!field_equal(f, g))
            return vn_fail(err, VN_EINCOMPAT, "column %d differs: '%s' %s%s and '%s' %s%s", i,
                           f->level[0].name, vn_field_type_text(f, x, sizeof x),
                           f->level[0].nullable ? "?" : "", g->level[0].name,
                           vn_field_type_text(g, y, sizeof y),
                           g->level[0].nullable ? "?" : "");
    }
    int n = next_program(a), m = next_program(b), rc = VN_OK;
    if (n != m)
        return vn_fail(err, VN_EINCOMPAT, "the numbers of programs differ: %d and %d", n, m);
    for (int i = 0; i < n && rc == VN_OK; i++)
        rc = same_program(i, program_entry(a, i), program_entry(b, i), err);
    return rc;
}
