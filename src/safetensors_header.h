/* safetensors_header.h - what the header of one *.safetensors file says; only for
 * safetensors.c.
 *
 * It is checked as safetensors.h promises. A file is 8 bytes of length, that much JSON, and
 * the data. */
#ifndef VN_SAFETENSORS_HEADER_H
#define VN_SAFETENSORS_HEADER_H

#include "safetensors.h"

struct vn_tensor_list {
    struct vn_tensor *at; /* [n], malloc'ed, as are the names */
    int64_t n;
};

/* Adds the tensors of the file that these `size` bytes (8 at least) are, in their order; the
 * data point into them. `path` is for messages. VN_EDATA; what was added until then stays. */
int vn_safetensors_header(const uint8_t *file, size_t size, const char *path,
                          struct vn_tensor_list *list, struct vn_error *err) VN_NODISCARD;

void vn_tensor_list_release(struct vn_tensor_list *list);

#endif
