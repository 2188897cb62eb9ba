#include "net.h"

#include <string.h>

const struct vn_net_ops *vn_net_of(enum vn_family family) {
    return family == VN_DNABERT ? &vn_net_dnabert : &vn_net_esm2;
}

int vn_net_upload_f32(struct vn_backend *b, const float *host, size_t n, float **out,
                      struct vn_error *err) {
    void *device = NULL;
    int rc = b->ops.alloc(b, n * sizeof *host, &device, err);
    if (rc < 0)
        return rc;
    *out = device;
    rc = b->ops.copy_in(b, device, host, n * sizeof *host, err);
    /* the host memory may be used again for the next tensor */
    if (rc == VN_OK)
        rc = b->ops.mark(b, 0, err);
    return rc < 0 ? rc : b->ops.wait(b, 0, err);
}

int vn_net_upload(struct vn_backend *b, const struct vn_tensor *t, struct vn_buf *stage,
                  float **out, struct vn_error *err) {
    size_t n = 1, bytes;
    for (int i = 0; i < t->n_dims; i++)
        n *= (size_t)t->shape[i]; /* cannot overflow: safetensors.c checked the file */
    if (!vn_mul(n, sizeof(float), &bytes))
        return vn_fail(err, VN_EFAIL, "cannot allocate %zu x 4 bytes", n);
    int rc = vn_buf_resize(stage, bytes, err);
    if (rc < 0)
        return rc;
    float *host = (float *)(void *)stage->data;
    if (t->type == VN_F32) /* as it is: files and machines are little-endian */
        memcpy(host, t->data, bytes);
    for (size_t i = 0; i < n && t->type != VN_F32; i++)
        host[i] = vn_tensor_at(t, (int64_t)i);
    return vn_net_upload_f32(b, host, n, out, err);
}

int vn_net_norm_upload(struct vn_backend *b, const struct vn_tensor *gamma,
                       const struct vn_tensor *beta, struct vn_buf *stage,
                       struct vn_net_norm *out, struct vn_error *err) {
    int rc = vn_net_upload(b, gamma, stage, &out->gamma, err);
    return rc < 0 ? rc : vn_net_upload(b, beta, stage, &out->beta, err);
}

/* A tensor's data where its elements are aligned: in the mapping, or copied behind what is
 * in `stage`, which has room. Only files with an odd header need the copy. */
static const void *aligned(const struct vn_tensor *t, struct vn_buf *stage) {
    if ((uintptr_t)t->data % vn_dtype_size(t->type) == 0)
        return t->data;
    uint8_t *copy = stage->data + stage->len;
    memcpy(copy, t->data, t->bytes);
    stage->len += vn_round_up(t->bytes, VN_ALIGN);
    return copy;
}

int vn_net_matrix(struct vn_backend *b, const struct vn_net_part *parts, int n_parts,
                  enum vn_epilogue epilogue, struct vn_buf *stage, struct vn_matrix **out,
                  struct vn_error *err) {
    const struct vn_tensor *first = parts[0].w;
    struct vn_matrix_spec spec = {.type = first->type,
                                  .n_parts = n_parts,
                                  .n_out = n_parts * first->shape[0],
                                  .n_in = first->shape[1],
                                  .epilogue = epilogue};
    size_t room = 0;
    for (int i = 0; i < n_parts; i++) {
        const struct vn_tensor *both[2] = {parts[i].w, parts[i].b};
        for (int k = 0; k < 2 && both[k]; k++) {
            if (both[k]->type != first->type)
                return vn_fail(err, VN_EDATA,
                               "tensor '%s' has another element type than '%s'",
                               both[k]->name, first->name);
            if ((uintptr_t)both[k]->data % vn_dtype_size(first->type))
                room += vn_round_up(both[k]->bytes, VN_ALIGN); /* of a file: no overflow */
        }
    }
    int rc = vn_buf_reserve(stage, room, err);
    if (rc < 0)
        return rc;
    stage->len = 0;
    spec.stays = room == 0; /* the model outlives the net; what is staged does not */
    for (int i = 0; i < n_parts; i++) {
        spec.weight[i] = aligned(parts[i].w, stage);
        spec.bias[i] = parts[i].b ? aligned(parts[i].b, stage) : NULL;
    }
    return b->ops.matrix_new(b, &spec, out, err);
}

int vn_net_rows(struct vn_backend *b, const struct vn_row_stage *stages, int n,
                struct vn_error *err) {
    int rc = VN_OK;
    if (b->ops.rows)
        return b->ops.rows(b, stages, n, err);
    for (int i = 0; i < n && rc == VN_OK; i++)
        rc = stages[i].is_norm ? b->ops.norm(b, &stages[i].norm, err)
                               : b->ops.linear(b, &stages[i].linear, err);
    return rc;
}

/* The entries of the table need not take NULL: what was never made is skipped. */
void vn_net_release(struct vn_backend *b, float *p) {
    if (p)
        b->ops.release(b, p);
}

void vn_net_norm_release(struct vn_backend *b, struct vn_net_norm *n) {
    vn_net_release(b, n->gamma);
    vn_net_release(b, n->beta);
}

void vn_net_matrix_free(struct vn_backend *b, struct vn_matrix *m) {
    if (m)
        b->ops.matrix_free(b, m);
}
