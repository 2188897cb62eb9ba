#include "maps.h"

#include <stdlib.h>
#include <string.h>

void *vn_maps_alloc(size_t bytes) {
    const size_t size = (bytes + VN_ALIGN - 1) & ~(size_t)(VN_ALIGN - 1);
    void *p = aligned_alloc(VN_ALIGN, size);
    return p ? memset(p, 0, size) : NULL;
}

int vn_maps_open(struct vn_cuda *c, struct vn_error *err) {
    cudaDriverEntryPointQueryResult found;
    void *encode = NULL;
    c->maps = (struct vn_maps *)vn_maps_alloc(sizeof *c->maps);
    if (!c->maps)
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu bytes", sizeof *c->maps);
    cudaError_t e = cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &encode, 12000,
                                                     cudaEnableDefault, &found);
    if (!e && (!encode || found != cudaDriverEntryPointSuccess))
        e = cudaErrorSymbolNotFound;
    memcpy(&c->maps->encode, &encode, sizeof encode);
    return e ? vn_cuda_failed(e, "cannot describe matrices", err) : VN_OK;
}

void vn_maps_close(struct vn_cuda *c) {
    free(c->maps);
    c->maps = NULL;
}

CUresult vn_map(const struct vn_cuda *c, CUtensorMap *map, const void *at, int n,
                const cuuint64_t *dims, const cuuint64_t *strides, const cuuint32_t *box) {
    const cuuint32_t ones[5] = {1, 1, 1, 1, 1};
    return c->maps->encode(map,
                           c->base.act == VN_F16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                                 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
                           (cuuint32_t)n, (void *)at, dims, strides, box, ones,
                           CU_TENSOR_MAP_INTERLEAVE_NONE,
                           box[0] == 64 ? CU_TENSOR_MAP_SWIZZLE_128B
                                        : CU_TENSOR_MAP_SWIZZLE_64B,
                           CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                           CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
}

CUresult vn_map_matrix(const struct vn_cuda *c, CUtensorMap *map, const void *at, int64_t rows,
                       int64_t columns, int box_rows, int box_columns) {
    const cuuint64_t dims[2] = {(cuuint64_t)columns, (cuuint64_t)rows};
    const cuuint64_t strides[1] = {(cuuint64_t)columns * 2};
    const cuuint32_t box[2] = {(cuuint32_t)box_columns, (cuuint32_t)box_rows};
    return vn_map(c, map, at, 2, dims, strides, box);
}

CUresult vn_map_again(const struct vn_cuda *c, struct vn_kept_map *m, const void *at,
                      int64_t rows, int64_t columns, int box_rows, int box_columns) {
    if (at == m->at && rows == m->rows && columns == m->columns)
        return CUDA_SUCCESS;
    CUresult r = vn_map_matrix(c, &m->map, at, rows, columns, box_rows, box_columns);
    m->at = r ? NULL : at;
    m->rows = rows;
    m->columns = columns;
    return r;
}
