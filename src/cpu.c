/* cpu.c - the fast CPU backend: the reference's table, overlaid. */
#include "cpu.h"

#include <stdlib.h>
#include <string.h>

int vn_cpu_open(const struct vn_backend_options *o, struct vn_backend **out,
                struct vn_error *err) {
    *out = NULL;
    if (o->act == VN_F16)
        return vn_fail(err, VN_EINCOMPAT, "the cpu computes in fp32 or bf16, not in fp16");
    struct vn_cpu_ref *c = vn_calloc(1, sizeof *c, err);
    if (!c)
        return VN_EFAIL;
    int rc = vn_cpu_ref_init(c, o->act, err);
    if (rc) {
        free(c);
        return rc;
    }
    c->base.ops.name = "cpu";
    strcpy(c->base.device, "cpu");
    *out = &c->base;
    return VN_OK;
}
