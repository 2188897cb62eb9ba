/* maps.h - descriptions of matrices for the tensor memory accelerator, of 16-bit values:
 * the driver makes them. */
#ifndef VN_MAPS_H
#define VN_MAPS_H

#include <cuda.h>

#include "cuda_int.h"

typedef CUresult (*vn_encode_fn)(CUtensorMap *, CUtensorMapDataType, cuuint32_t, void *,
                                 const cuuint64_t *, const cuuint64_t *, const cuuint32_t *,
                                 const cuuint32_t *, CUtensorMapInterleave,
                                 CUtensorMapSwizzle, CUtensorMapL2promotion,
                                 CUtensorMapFloatOOBfill);

/* The driver's function that encodes. */
cudaError_t vn_maps_encoder(vn_encode_fn *out);

/* A tensor of n dimensions, the first one dense; strides, in bytes, are those of the others.
 * Boxes are swizzled over their first dimension, of 64 or 32 values. */
CUresult vn_map(vn_encode_fn encode, enum vn_dtype act, CUtensorMap *map, const void *at,
                int n, const cuuint64_t *dims, const cuuint64_t *strides,
                const cuuint32_t *box);

/* A row-major matrix [rows, columns] that is copied in boxes of box_rows x box_columns. */
CUresult vn_map_matrix(vn_encode_fn encode, enum vn_dtype act, CUtensorMap *map,
                       const void *at, int64_t rows, int64_t columns, int box_rows,
                       int box_columns);

#endif
