/* maps.h - descriptions of matrices for the tensor memory accelerator, of values of the
 * activation type, which has 16 bits: the driver makes them. Compute capability 9.0 alone. */
#ifndef VN_MAPS_H
#define VN_MAPS_H

#include <cuda.h>

#include "cuda_int.h"

typedef CUresult (*vn_encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                                 const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                                 const cuuint32_t *, CUtensorMapInterleave,
                                 CUtensorMapSwizzle, CUtensorMapL2promotion,
                                 CUtensorMapFloatOOBfill);

/* A description that is kept from call to call: a pass of the same model has few addresses.
 * All zero before the first. */
struct vn_kept_map {
    CUtensorMap map;
    const void *at;
    int64_t rows, columns;
};

struct vn_maps {
    vn_encode_fn encode;    /* the driver's */
    struct vn_kept_map qkv; /* attn_hopper.cu's */
};

/* Fills in c->maps; closing takes what was never opened. */
int vn_maps_open(struct vn_cuda *c, struct vn_error *err);
void vn_maps_close(struct vn_cuda *c);

/* Zeros for a struct that has descriptions, aligned as the driver wants them; NULL: no memory.
 * For free. */
void *vn_maps_alloc(size_t bytes);

/* A tensor of n dimensions, the first one dense; strides, in bytes, are those of the others.
 * Boxes are swizzled over their first dimension, of 64 or 32 values. */
CUresult vn_map(const struct vn_cuda *c, CUtensorMap *map, const void *at, int n,
                const cuuint64_t *dims, const cuuint64_t *strides, const cuuint32_t *box);

/* A row-major matrix [rows, columns] that is copied in boxes of box_rows x box_columns. */
CUresult vn_map_matrix(const struct vn_cuda *c, CUtensorMap *map, const void *at, int64_t rows,
                       int64_t columns, int box_rows, int box_columns);

/* The same, unless `m`, which always has these boxes, describes this matrix already. */
CUresult vn_map_again(const struct vn_cuda *c, struct vn_kept_map *m, const void *at,
                      int64_t rows, int64_t columns, int box_rows, int box_columns);

#endif
