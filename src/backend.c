#include "backend.h"

#include <string.h>

#if VN_HAVE_CUDA

static int open_cuda(const struct vn_backend_options *o, int index,
                     struct vn_backend **out, struct vn_error *err) {
    return vn_cuda_open(o, index, out, err);
}

/* The first GPU if there is one, else the CPU, with the reason left in err; a GPU that is
 * there and fails is an error. */
static int open_auto(const struct vn_backend_options *o, struct vn_backend **out,
                     struct vn_error *err) {
    int rc = vn_cuda_open(o, 0, out, err);
    return rc == VN_ENODEVICE ? vn_cpu_open(o, out, err) : rc;
}

#else

static int open_cuda(const struct vn_backend_options *o, int index,
                     struct vn_backend **out, struct vn_error *err) {
    (void)index;
    *out = NULL;
    return vn_fail(err, VN_ENODEVICE, "no device '%s': built without CUDA", o->device);
}

static int open_auto(const struct vn_backend_options *o, struct vn_backend **out,
                     struct vn_error *err) {
    return vn_cpu_open(o, out, err);
}

#endif

/* "cuda" and "cuda:N", N of one to three digits; -1 for anything else. */
static int cuda_index(const char *s) {
    if (strncmp(s, "cuda", 4) != 0)
        return -1;
    s += 4;
    if (!*s)
        return 0;
    size_t digits = strspn(s + 1, "0123456789");
    if (*s != ':' || digits < 1 || digits > 3 || s[1 + digits])
        return -1;
    int n = 0;
    for (s++; *s; s++)
        n = n * 10 + (*s - '0');
    return n;
}

int vn_backend_open(const struct vn_backend_options *o, struct vn_backend **out,
                    struct vn_error *err) {
    *out = NULL;
    if (o->attention == VN_ATTN_STANDARD && o->act != VN_F16)
        return vn_fail(err, VN_EINCOMPAT, "standard attention is that of fp16: not in %s",
                       o->act == VN_BF16 ? "bf16" : "fp32");
    if (!strcmp(o->device, "auto"))
        return open_auto(o, out, err);
    if (!strcmp(o->device, "cpu"))
        return vn_cpu_open(o, out, err);
    if (!strcmp(o->device, "reference"))
        return vn_cpu_reference_open(o, out, err);
    int index = cuda_index(o->device);
    if (index >= 0)
        return open_cuda(o, index, out, err);
    return vn_fail(err, VN_EUSAGE,
                   "--device '%s': expected auto, cpu, cuda, cuda:N or reference", o->device);
}
