/* carry.h - what a filter leaves as it is: the other columns, taken along with their rows.
 *
 * A filter replaces its payload column, column i of its output is column i of its input
 * otherwise, and what it adds stands at the end. */
#ifndef VN_CARRY_H
#define VN_CARRY_H

#include "batch.h"

struct vn_carry {
    int payload;                /* column that is replaced */
    int n_columns;              /* of the output */
    struct vn_builder *columns; /* [n_columns], empty where nothing is carried */
};

/* The type chain of the column that stands where the payload stood, named "embedding". */
struct vn_carry_payload {
    const enum vn_type *types;
    const int32_t *sizes;
    int depth;
    bool nullable;
};

/* Fills `out` (initialised, empty) with in's metadata and columns, but for the payload. */
int vn_carry_schema(const struct vn_schema *in, int payload,
                    const struct vn_carry_payload *instead, struct vn_schema *out,
                    struct vn_error *err) VN_NODISCARD;

/* For batches of the schema `out` when it is complete, which must outlive *c. */
int vn_carry_new(struct vn_carry *c, int payload, const struct vn_schema *out,
                 struct vn_error *err) VN_NODISCARD;

/* Makes `out` rows [from, from + n) of `in`: the columns that both have but for the payload
 * and `but` (-1 for none); those are left empty for the caller to fill in. They are views
 * of `in` where n is all of it, else of *c until the next call. */
int vn_carry_rows(struct vn_carry *c, const struct vn_batch *in, int64_t from, int64_t n,
                  int but, struct vn_batch *out, struct vn_error *err) VN_NODISCARD;

void vn_carry_release(struct vn_carry *c); /* all zero is legal */

#endif
