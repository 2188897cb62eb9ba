/* schema.h - what a stream carries: its kind, its columns, its provenance.
 *
 * A column is a chain of at most VN_MAX_DEPTH levels: list<fixed_size_list<float16>> is
 * VN_LIST, VN_FIXED_LIST, VN_FLOAT16. Structs, unions, dictionaries and views have no place
 * in our streams; a reader refuses them by name. All strings are owned by the schema. */
#ifndef VN_SCHEMA_H
#define VN_SCHEMA_H

#include <stdbool.h>

#include "mem.h"

enum vn_kind {
    VN_KIND_OTHER, /* a foreign stream, or none stated: only with --lax */
    VN_KIND_RECORDS,
    VN_KIND_TOKENS,
    VN_KIND_EMBEDDINGS,
    VN_KIND_VECTORS,
    VN_KIND_SCORES
};

enum vn_type {
    VN_BOOL, /* one bit a row */
    VN_INT8,
    VN_INT16,
    VN_INT32,
    VN_INT64,
    VN_UINT8,
    VN_UINT16,
    VN_UINT32,
    VN_UINT64,
    VN_FLOAT16,
    VN_FLOAT32,
    VN_FLOAT64,
    VN_UTF8,         /* int32 offsets + bytes */
    VN_BINARY,       /* int32 offsets + bytes */
    VN_LARGE_UTF8,   /* int64 offsets + bytes */
    VN_LARGE_BINARY, /* int64 offsets + bytes */
    VN_FIXED_BINARY, /* `size` bytes a row */
    VN_LIST,         /* int32 offsets into the next level */
    VN_LARGE_LIST,   /* int64 offsets into the next level */
    VN_FIXED_LIST    /* `size` rows of the next level a row */
};

struct vn_level {
    enum vn_type type;
    int32_t size;  /* VN_FIXED_LIST: rows; VN_FIXED_BINARY: bytes; else 0 */
    bool nullable;
    char *name;    /* level 0: the column's name; below: "item" */
};

struct vn_field {
    int depth; /* levels in use, 1..VN_MAX_DEPTH; the last one is not a list */
    struct vn_level level[VN_MAX_DEPTH];
};

struct vn_pair {
    char *key, *value;
};

struct vn_schema {
    enum vn_kind kind; /* mirrors metadata "vn.kind" */
    struct vn_field *fields;
    int n_fields;
    struct vn_pair *meta; /* custom metadata but for vn.crc32c, vn.format, vn.kind */
    int n_meta;
};

void vn_schema_init(struct vn_schema *s, enum vn_kind kind);
void vn_schema_release(struct vn_schema *s);
int vn_schema_copy(struct vn_schema *dst, const struct vn_schema *src,
                   struct vn_error *err) VN_NODISCARD; /* dst: uninitialised */

/* Adds a column at the end, of type chain types[0..depth), with fixed sizes where the
 * chain has fixed types (0 elsewhere; sizes may be NULL when none has). Only level 0 is
 * nullable, when asked. */
int vn_schema_add(struct vn_schema *s, const char *name, const enum vn_type *types,
                  const int32_t *sizes, int depth, bool nullable, struct vn_error *err)
    VN_NODISCARD;
/* The common case: one level. */
int vn_schema_add_flat(struct vn_schema *s, const char *name, enum vn_type type,
                       struct vn_error *err) VN_NODISCARD;
/* Adds a copy of a field of another schema. */
int vn_schema_add_field(struct vn_schema *s, const struct vn_field *f, struct vn_error *err)
    VN_NODISCARD;

int vn_schema_find(const struct vn_schema *s, const char *name); /* index, or -1 */

/* Index of the column `name` if it has just this type chain; VN_EINCOMPAT, with expected
 * and found, if it is missing or has another type. */
int vn_schema_require(const struct vn_schema *s, const char *name, const enum vn_type *types,
                      int depth, struct vn_error *err) VN_NODISCARD;

/* VN_EINCOMPAT unless the stream is of this kind. */
int vn_schema_require_kind(const struct vn_schema *s, enum vn_kind kind,
                           struct vn_error *err) VN_NODISCARD;

/* In a stream of scores the column "score_virus" has those of the class "virus": the class
 * that a column's name stands for, in the name itself, or NULL. */
#define VN_SCORE_PREFIX "score_"
const char *vn_score_class(const char *name);

/* May b follow a in one concatenated stream? Same kind, fields, and in each provenance
 * entry the same members but for "arguments", "device" and "version". VN_EINCOMPAT with
 * the difference named. */
int vn_schema_same(const struct vn_schema *a, const struct vn_schema *b,
                   struct vn_error *err) VN_NODISCARD;

/* Custom metadata: value or NULL; set replaces. */
const char *vn_schema_meta(const struct vn_schema *s, const char *key);
int vn_schema_set_meta(struct vn_schema *s, const char *key, const char *value,
                       struct vn_error *err) VN_NODISCARD;

const char *vn_kind_name(enum vn_kind k);        /* "tokens" */
enum vn_kind vn_kind_of(const char *name);       /* VN_KIND_OTHER when unknown */
const char *vn_type_name(enum vn_type t);        /* "uint16" */
size_t vn_type_width(enum vn_type t);            /* bytes a row; 0 for bool, strings, lists */
bool vn_type_is_list(enum vn_type t);            /* has a next level */
size_t vn_type_offset_width(enum vn_type t);     /* 4, 8, or 0 when there are no offsets */
/* Have two columns one type, all its levels and sizes, whatever they are called? */
bool vn_field_same_type(const struct vn_field *a, const struct vn_field *b);
/* "list<fixed_size_list<float32>[320]>" into text; returns text. */
const char *vn_field_type_text(const struct vn_field *f, char *text, size_t size);

/* ---- provenance: metadata vn.pg.0, vn.pg.1 ..., one JSON object per program ------ */

/* Appends ,"name":"value" to the members of an entry. VN_EDATA when value is not UTF-8. */
int vn_member_text(struct vn_buf *members, const char *name, const char *value,
                   struct vn_error *err) VN_NODISCARD;

/* Appends vn.pg.N = "{" members "}", N one more than the highest so far. Members are what
 * vn_tool_provenance writes, and more behind it, each with a comma before it. */
int vn_schema_add_program(struct vn_schema *s, const char *members, struct vn_error *err)
    VN_NODISCARD;

/* The value of a member, as text, of the last program that has it; into out. True when
 * found. E.g. "model", "sha256", "layer", "pool", "precision", "vocabulary". */
bool vn_schema_provenance(const struct vn_schema *s, const char *member, char *out,
                          size_t size);

/* Vectors that stand side by side in the column "embedding": vn-join's entry has a member
 * "widths", an array of that length; without it there is 1. */
int vn_schema_inputs(const struct vn_schema *s);

/* The same as vn_schema_provenance for one of them, counted from 0: of the programs that
 * vn-join marked as its own. */
bool vn_schema_input_provenance(const struct vn_schema *s, int input, const char *member,
                                char *out, size_t size);

/* Appends the entries of `from`, marked as those of inputs `input` and on, of which it has
 * vn_schema_inputs: members "input", counted from 0. */
int vn_schema_add_input(struct vn_schema *s, const struct vn_schema *from, int input,
                        struct vn_error *err) VN_NODISCARD;

#endif
