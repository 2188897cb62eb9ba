/* launch.h - launches of clusters. */
#ifndef VN_LAUNCH_H
#define VN_LAUNCH_H

#include "cuda_int.h"

/* `blocks` blocks with `shared` bytes each, in clusters of `cluster`; *attr is a part of what
 * is returned. */
static inline cudaLaunchConfig_t vn_cluster_launch(cudaLaunchAttribute *attr, int blocks,
                                                   int cluster, int threads, int shared,
                                                   cudaStream_t stream) {
    cudaLaunchConfig_t c = {};
    c.gridDim = dim3((unsigned)blocks);
    c.blockDim = dim3((unsigned)threads);
    c.dynamicSmemBytes = (size_t)shared;
    c.stream = stream;
    attr->id = cudaLaunchAttributeClusterDimension;
    attr->val.clusterDim.x = (unsigned)cluster;
    attr->val.clusterDim.y = attr->val.clusterDim.z = 1;
    c.attrs = attr;
    c.numAttrs = 1;
    return c;
}

#endif
