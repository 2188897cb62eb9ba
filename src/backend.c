#include "backend.h"

#include <stdio.h>
#include <string.h>

static int open_cpu(const struct vn_backend_options *o, struct vn_backend **out,
                    struct vn_error *err) {
    struct vn_backend_options mine = *o;
    if (o->auto_act)
        mine.act = o->attention == VN_ATTN_STANDARD ? VN_F16 : VN_F32;
    return strcmp(o->device, "reference") != 0 ? vn_cpu_open(&mine, out, err)
                                               : vn_cpu_reference_open(&mine, out, err);
}

#if VN_HAVE_CUDA

static int open_cuda(const struct vn_backend_options *o, int index,
                     struct vn_backend **out, struct vn_error *err) {
    struct vn_backend_options mine = *o;
    if (o->auto_act)
        mine.act = VN_F16;
    return vn_cuda_open(&mine, index, out, err);
}

/* The first GPU if there is one, else the CPU, with the reason left in err; a GPU that is
 * there and fails is an error. */
static int open_auto(const struct vn_backend_options *o, struct vn_backend **out,
                     struct vn_error *err) {
    int rc = open_cuda(o, 0, out, err);
    return rc == VN_ENODEVICE ? open_cpu(o, out, err) : rc;
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
    return open_cpu(o, out, err);
}

#endif

/* "cuda" and "cuda:N[,M...]", numbers of one to three digits: how many there are, and the
 * first VN_MAX_DEVICES of them; 0 for anything else. */
static int cuda_indices(const char *s, int index[VN_MAX_DEVICES]) {
    int n = 0;
    index[0] = 0;
    if (!strcmp(s, "cuda"))
        return 1;
    if (strncmp(s, "cuda:", 5) != 0)
        return 0;
    for (s += 4; *s; n++) {
        int v = 0;
        size_t digits = strspn(s + 1, "0123456789");
        if ((n && *s != ',') || digits < 1 || digits > 3)
            return 0;
        for (s++; digits--; s++)
            v = v * 10 + (*s - '0');
        if (n < VN_MAX_DEVICES)
            index[n] = v;
    }
    return n;
}

int vn_backend_open(const struct vn_backend_options *o, struct vn_backend **out,
                    struct vn_error *err) {
    *out = NULL;
    if (o->attention == VN_ATTN_STANDARD && !o->auto_act && o->act != VN_F16)
        return vn_fail(err, VN_EINCOMPAT, "standard attention is that of fp16: not in %s",
                       o->act == VN_BF16 ? "bf16" : "fp32");
    if (!strcmp(o->device, "auto"))
        return open_auto(o, out, err);
    if (!strcmp(o->device, "cpu") || !strcmp(o->device, "reference"))
        return open_cpu(o, out, err);
    int index[VN_MAX_DEVICES];
    if (cuda_indices(o->device, index) == 1)
        return open_cuda(o, index[0], out, err);
    return vn_fail(err, VN_EUSAGE,
                   "--device '%s': expected auto, cpu, cuda, cuda:N[,M...] or reference",
                   o->device);
}

static int check_list(const char *device, const int *index, int n, struct vn_error *err) {
    if (n > VN_MAX_DEVICES)
        return vn_fail(err, VN_EUSAGE, "--device '%s': %d devices, expected at most %d",
                       device, n, VN_MAX_DEVICES);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < i; k++)
            if (index[i] == index[k])
                return vn_fail(err, VN_EUSAGE, "--device '%s': %d is there twice", device,
                               index[i]);
    return VN_OK;
}

int vn_backends_open(const struct vn_backend_options *o,
                     struct vn_backend *out[VN_MAX_DEVICES], int *n, struct vn_error *err) {
    int index[VN_MAX_DEVICES], wanted = cuda_indices(o->device, index);
    *n = 0;
    int rc = check_list(o->device, index, wanted, err);
    for (int i = 0; i < (wanted > 1 ? wanted : 1) && rc == VN_OK; i++) {
        char name[16];
        struct vn_backend_options one = *o;
        snprintf(name, sizeof name, "cuda:%d", wanted > 1 ? index[i] : 0);
        if (wanted > 1)
            one.device = name;
        rc = vn_backend_open(&one, &out[i], err);
        *n += rc == VN_OK;
        if (rc == VN_OK && out[i]->attention != out[0]->attention)
            rc = vn_fail(err, VN_EINCOMPAT,
                         "--device '%s': some can do standard attention only: ask for it",
                         o->device);
    }
    for (; rc < 0 && *n; (*n)--)
        out[*n - 1]->ops.close(out[*n - 1]);
    return rc;
}
