/* safetensors.h - tensors of *.safetensors files, mapped read-only.
 *
 * A set is one file, or the shards that model.safetensors.index.json names. Nothing is
 * copied: tensor data point into the mapping and live as long as the set. The header is
 * checked as the reference implementation does (at most 100,000,000 bytes, begins with '{',
 * ranges in bounds, in order, no overlap, no hole, up to the end of the file, size = shape
 * x type with overflow checks), and duplicate names are refused. VN_EDATA names the tensor. */
#ifndef VN_SAFETENSORS_H
#define VN_SAFETENSORS_H

#include "dtype.h"
#include "mem.h"

#define VN_MAX_DIMS 8

struct vn_tensor {
    const char *name;
    enum vn_dtype type;
    int n_dims;
    int64_t shape[VN_MAX_DIMS];
    const void *data; /* row-major; 8-byte aligned at best: read with memcpy or as bytes */
    size_t bytes;
};

struct vn_tensors;

/* Opens model.safetensors, or the index and its shards, of a directory. */
int vn_tensors_open_dir(const char *dir, struct vn_tensors **out, struct vn_error *err)
    VN_NODISCARD;
int vn_tensors_open_file(const char *path, struct vn_tensors **out, struct vn_error *err)
    VN_NODISCARD;

/* NULL when there is none of that name. */
const struct vn_tensor *vn_tensors_find(const struct vn_tensors *t, const char *name);
int64_t vn_tensors_count(const struct vn_tensors *t);
const struct vn_tensor *vn_tensors_at(const struct vn_tensors *t, int64_t i);

/* Begins to read the files ahead and to compute what vn_tensors_sha256 gives, in the
 * background. Nothing depends on it but time. */
int vn_tensors_prepare(struct vn_tensors *t, struct vn_error *err) VN_NODISCARD;

/* SHA-256, lower case hex, of the file; of several shards the SHA-256 of the lines
 * "<hex>  <file name>\n" in name order (what sha256sum prints). Reads everything, which
 * takes seconds for gigabytes, unless the files have not changed since that was done
 * (digest.h); kept from the first call on. */
int vn_tensors_sha256(struct vn_tensors *t, char out[65], struct vn_error *err) VN_NODISCARD;

/* The same, and reads everything. */
int vn_tensors_rehash(struct vn_tensors *t, char out[65], struct vn_error *err) VN_NODISCARD;

/* Whether the digest that was given was known without reading. */
bool vn_tensors_sha256_cached(const struct vn_tensors *t);

void vn_tensors_close(struct vn_tensors *t); /* NULL is legal */

/* Element i of a float tensor of any float type, as float. */
float vn_tensor_at(const struct vn_tensor *t, int64_t i);

/* Writes a file: tensors in the given order (names, shapes, types, data), metadata
 * {"format":"pt"}. Appears under its name when complete. */
int vn_safetensors_write(const char *path, const struct vn_tensor *tensors, int64_t n,
                         struct vn_error *err) VN_NODISCARD;

/* The same with the data given piece by piece, for what does not fit into memory: create
 * writes the header (`data` of the tensors is not looked at), put appends data, close
 * checks that all announced bytes came. Every create needs a close or an abort. */
struct vn_safetensors_writer;
int vn_safetensors_create(const char *path, const struct vn_tensor *tensors, int64_t n,
                          struct vn_safetensors_writer **out, struct vn_error *err)
    VN_NODISCARD;
int vn_safetensors_put(struct vn_safetensors_writer *w, const void *data, size_t bytes,
                       struct vn_error *err) VN_NODISCARD;
int vn_safetensors_close(struct vn_safetensors_writer *w, struct vn_error *err) VN_NODISCARD;
void vn_safetensors_abort(struct vn_safetensors_writer *w); /* NULL is legal */

/* "F32" */
const char *vn_dtype_name(enum vn_dtype t);

#endif
