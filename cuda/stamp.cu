/* stamp.cu - times: events that are recorded as a stream gets there. Only who asks for
 * times has any; they are made once and recorded again and again. */
#include <stdlib.h>

#include "cuda_int.h"

int vn_cuda_stamp_on(struct vn_cuda *c, cudaStream_t stream, int i, struct vn_error *err) {
    if (i < 0 || i >= VN_STAMPS)
        return vn_fail(err, VN_EINTERNAL, "time %d of %d", i, VN_STAMPS);
    if (!c->stamps)
        c->stamps = (cudaEvent_t *)calloc(VN_STAMPS, sizeof *c->stamps);
    if (!c->stamps)
        return vn_fail(err, VN_EFAIL, "cannot allocate %d events", VN_STAMPS);
    cudaError_t e = c->stamps[i] ? cudaSuccess : cudaEventCreate(&c->stamps[i]);
    if (!e)
        e = cudaEventRecord(c->stamps[i], stream);
    return e ? vn_fail(err, vn_cuda_status(e), "cuda: time %d: %s", i,
                       cudaGetErrorString(e))
             : VN_OK;
}

int vn_cuda_stamp(struct vn_backend *b, int i, struct vn_error *err) {
    struct vn_cuda *c;
    int rc = vn_cuda_enter(b, &c, err);
    return rc ? rc : vn_cuda_stamp_on(c, c->compute, i, err);
}

int vn_cuda_between(struct vn_backend *b, int i, int j, double *seconds,
                    struct vn_error *err) {
    struct vn_cuda *c;
    float ms = 0;
    int rc = vn_cuda_enter(b, &c, err);
    if (rc)
        return rc;
    if (!c->stamps || i < 0 || j < 0 || i >= VN_STAMPS || j >= VN_STAMPS || !c->stamps[i] ||
        !c->stamps[j])
        return vn_fail(err, VN_EINTERNAL, "no time from %d to %d", i, j);
    cudaError_t e = cudaEventElapsedTime(&ms, c->stamps[i], c->stamps[j]);
    if (e)
        return vn_fail(err, vn_cuda_status(e), "cuda: from time %d to %d: %s", i, j,
                       cudaGetErrorString(e));
    *seconds = 1e-3 * (double)ms;
    return VN_OK;
}

void vn_cuda_stamps_release(struct vn_cuda *c) {
    for (int i = 0; c->stamps && i < VN_STAMPS; i++)
        if (c->stamps[i])
            cudaEventDestroy(c->stamps[i]);
    free(c->stamps);
    c->stamps = NULL;
}
