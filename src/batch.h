/* batch.h - rows in memory: Arrow's layout, and builders that make it.
 *
 * A batch is the unit of ownership: it owns the memory that its columns point to, unless
 * they were set to views (of builders, of a caller's memory). Batches are reused: reading
 * into a batch that has held rows before allocates only when it must grow. */
#ifndef VN_BATCH_H
#define VN_BATCH_H

#include "schema.h"

/* One level of a column. Pointers are VN_ALIGN-aligned when the batch owns them. */
struct vn_array {
    int64_t length;
    int64_t null_count;
    const uint8_t *validity; /* bit i (LSB first) set: row i is present; NULL: all are */
    const void *offsets;     /* [length + 1] int32 or int64; strings and lists, else NULL */
    const void *values;      /* fixed width values or string bytes; NULL for lists */
};

struct vn_column {
    struct vn_array level[VN_MAX_DEPTH];
};

struct vn_batch {
    int64_t n_rows;
    int n_columns;
    struct vn_column *columns; /* [n_columns], in the schema's order */
    uint64_t number;           /* of the batch in its stream, from 0 */
    /* owned memory, managed by the reader */
    struct vn_buf *storage; /* [n_storage] */
    int n_storage;
    int columns_cap;
};

void vn_batch_init(struct vn_batch *b); /* all zero: empty, owns nothing */
void vn_batch_release(struct vn_batch *b);
/* Room for n columns, zeroed; storage is kept. */
int vn_batch_set_columns(struct vn_batch *b, int n, struct vn_error *err) VN_NODISCARD;

/* ---- reading rows ---------------------------------------------------------------- */

static inline bool vn_is_null(const struct vn_array *a, int64_t row) {
    return a->validity && !(a->validity[row >> 3] >> (row & 7) & 1);
}

/* Start and end of a row of strings or lists. */
static inline void vn_span(const struct vn_array *a, enum vn_type t, int64_t row,
                           int64_t *from, int64_t *to) {
    if (t == VN_LARGE_LIST || t == VN_LARGE_UTF8 || t == VN_LARGE_BINARY) {
        *from = ((const int64_t *)a->offsets)[row];
        *to = ((const int64_t *)a->offsets)[row + 1];
    } else {
        *from = ((const int32_t *)a->offsets)[row];
        *to = ((const int32_t *)a->offsets)[row + 1];
    }
}

/* Bytes of a string row of VN_UTF8 or VN_BINARY. */
static inline const char *vn_utf8_row(const struct vn_column *c, int64_t row, size_t *n) {
    const int32_t *o = c->level[0].offsets;
    *n = (size_t)(o[row + 1] - o[row]);
    return (const char *)c->level[0].values + o[row];
}

/* Is row i of a what row k of b is, both columns of the type of f? Null is like null alone;
 * floats are the same when their bits are. */
bool vn_row_same(const struct vn_field *f, const struct vn_column *a, int64_t i,
                 const struct vn_column *b, int64_t k);

/* Bytes of one level's validity, offsets and values; the values of a list are the next
 * level's. */
uint64_t vn_level_bytes(const struct vn_level *v, const struct vn_array *a);

/* Does the text of a column "status" promise a result? "ok", "truncated" and "windowed" do: a
 * reason why there is none comes in their place. Any other text is such a reason, and stays. */
bool vn_status_has_result(const char *text, size_t n);

/* ---- builders: a column that grows row by row ------------------------------------ */

/* Grows one column of the type of `field`, which must outlive it. vn_builder_clear keeps
 * the memory: a warm builder allocates nothing. */
struct vn_builder {
    const struct vn_field *field;
    struct {
        int64_t length, null_count;
        struct vn_buf validity, offsets, values;
    } level[VN_MAX_DEPTH];
};

void vn_builder_init(struct vn_builder *b, const struct vn_field *field);
void vn_builder_clear(struct vn_builder *b);
void vn_builder_release(struct vn_builder *b);

/* Appends rows [from, from + n) of a column of the same type. */
int vn_builder_append(struct vn_builder *b, const struct vn_column *src, int64_t from,
                      int64_t n, struct vn_error *err) VN_NODISCARD;
/* Appends one row: a string (VN_UTF8, VN_BINARY), a fixed width value, or a list (VN_LIST
 * or VN_FIXED_LIST) of n fixed width values. */
int vn_builder_add_bytes(struct vn_builder *b, const void *p, size_t n,
                         struct vn_error *err) VN_NODISCARD;
int vn_builder_add_value(struct vn_builder *b, const void *value, struct vn_error *err)
    VN_NODISCARD;
int vn_builder_add_list(struct vn_builder *b, const void *values, int64_t n,
                        struct vn_error *err) VN_NODISCARD;
/* Appends one null row (zeros underneath). */
int vn_builder_add_null(struct vn_builder *b, struct vn_error *err) VN_NODISCARD;

/* The column as a view, valid until the builder changes. */
void vn_builder_view(const struct vn_builder *b, struct vn_column *out);

/* Makes `out` the batch of these n columns, which it then owns; the builders, empty
 * again, take over the memory that it had: passed to and fro, nothing is allocated or
 * copied. */
int vn_builders_give(struct vn_builder *columns, int n, struct vn_batch *out,
                     struct vn_error *err) VN_NODISCARD;

/* ---- columns over memory of the caller ------------------------------------------- */

/* fixed_size_list<float>[d] x n rows over a matrix; validity may be NULL. */
void vn_column_vectors(struct vn_column *c, int64_t n, int32_t d, const void *values,
                       const uint8_t *validity, int64_t null_count);

#endif
