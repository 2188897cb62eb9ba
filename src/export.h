/* export.h - streams turned into other formats, batch by batch, for vn-view.
 *
 * An export takes over the sink, also when it cannot be opened. The schema must outlive it.
 *
 *   tsv          one header line, one line a row; lists a,b,c and a,b;c,d; "." for null;
 *                tab, newline, return and backslash as \t \n \r \\; binary as hexadecimal
 *   json         one object a line; floats that JSON has no word for are null
 *   npy          the matrix column as float32 [rows, width]; rows without a vector are NaN
 *   safetensors  "embedding" F32 [rows, width], "record" I64 [rows], "valid" BOOL [rows]
 *   arrow        Arrow's IPC file format, for random access; small batches are joined
 *
 * The matrix formats take the column "embedding" or the only one that is a fixed size list
 * of floats, and keep their rows in a temporary file until the number of rows is known.
 * They want the rows in the order of the input: record i is row i. */
#ifndef VN_EXPORT_H
#define VN_EXPORT_H

#include "batch.h"
#include "io.h"

struct vn_export {
    /* Of text, all rows are with the kernel when it returns: nobody waits for a block to be
     * full. */
    int (*put)(struct vn_export *x, const struct vn_batch *b, struct vn_error *err);
    /* Ends the output and closes the sink, or, if not `whole`, drops both; frees x. */
    int (*close)(struct vn_export *x, bool whole, struct vn_error *err);
};

int vn_export_tsv(const struct vn_schema *s, struct vn_sink *sink, struct vn_export **out,
                  struct vn_error *err) VN_NODISCARD;
int vn_export_json(const struct vn_schema *s, struct vn_sink *sink, struct vn_export **out,
                   struct vn_error *err) VN_NODISCARD;
int vn_export_npy(const struct vn_schema *s, struct vn_sink *sink, struct vn_export **out,
                  struct vn_error *err) VN_NODISCARD;
int vn_export_safetensors(const struct vn_schema *s, struct vn_sink *sink,
                          struct vn_export **out, struct vn_error *err) VN_NODISCARD;
int vn_export_arrow(const struct vn_schema *s, struct vn_sink *sink, struct vn_export **out,
                    struct vn_error *err) VN_NODISCARD;

#endif
