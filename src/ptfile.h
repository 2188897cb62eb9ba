/* ptfile.h - what torch.save writes: a zip file (torch 1.6 and later) or the older
 * sequence of pickles with raw storages behind them.
 *
 * The pickle is read with an allow-list (pickle.h); tensors are described by
 * torch._utils._rebuild_tensor_v2 and are views into storages, checked against the
 * storage's size. A file that is damaged or says more than this is VN_EDATA. Tensor data
 * are read when asked for: memory is one storage and what the caller holds. */
#ifndef VN_PTFILE_H
#define VN_PTFILE_H

#include "mem.h"
#include "pickle.h"
#include "safetensors.h"

struct vn_ptfile;

/* VN_ENOINPUT when it cannot be read. */
int vn_ptfile_open(const char *path, struct vn_ptfile **out,
                   struct vn_error *err) VN_NODISCARD;
void vn_ptfile_close(struct vn_ptfile *f); /* NULL is legal */

const char *vn_ptfile_path(const struct vn_ptfile *f);

/* The object that was saved. Lives as long as the file. */
const struct vn_py *vn_ptfile_root(const struct vn_ptfile *f);

bool vn_ptfile_is_tensor(const struct vn_py *v);

/* Type, shape and size of a tensor; `name` and `data` become NULL. */
int vn_ptfile_tensor(const struct vn_ptfile *f, const struct vn_py *v,
                     struct vn_tensor *t, struct vn_error *err) VN_NODISCARD;

/* Its elements, row-major, replacing what is in `out`. */
int vn_ptfile_read(struct vn_ptfile *f, const struct vn_py *v, struct vn_buf *out,
                   struct vn_error *err) VN_NODISCARD;

#endif
