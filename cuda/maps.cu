#include "maps.h"

#include <string.h>

cudaError_t vn_maps_encoder(vn_encode_fn *out) {
    cudaDriverEntryPointQueryResult found;
    void *encode = NULL;
    cudaError_t e = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, 12000,
                                                     cudaEnableDefault, &found);
    if (!e && (!encode || found != cudaDriverEntryPointSuccess))
        e = cudaErrorSymbolNotFound;
    memcpy(out, &encode, sizeof encode);
    return e;
}

CUresult vn_map(vn_encode_fn encode, enum vn_dtype act, CUtensorMap *map, const void *at,
                int n, const cuuint64_t *dims, const cuuint64_t *strides,
                const cuuint32_t *box) {
    const cuuint32_t ones[5] = {1, 1, 1, 1, 1};
    return encode(map,
                  act == VN_F16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                  (cuuint32_t)n, (void *)at, dims, strides, box, ones,
                  CU_TENSOR_MAP_INTERLEAVE_NONE,
                  box[0] == 64 ? CU_TENSOR_MAP_SWIZZLE_128B : CU_TENSOR_MAP_SWIZZLE_64B,
                  CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

CUresult vn_map_matrix(vn_encode_fn encode, enum vn_dtype act, CUtensorMap *map,
                       const void *at, int64_t rows, int64_t columns, int box_rows,
                       int box_columns) {
    const cuuint64_t dims[2] = {(cuuint64_t)columns, (cuuint64_t)rows};
    const cuuint64_t strides[1] = {(cuuint64_t)columns * 2};
    const cuuint32_t box[2] = {(cuuint32_t)box_columns, (cuuint32_t)box_rows};
    return vn_map(encode, act, map, at, 2, dims, strides, box);
}
