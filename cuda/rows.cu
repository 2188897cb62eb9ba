/* rows.cu - the entry `rows`: one operation after another, but for a product that is added to
 * the residual and the norm of that, which are one where there is a kernel for it. What else
 * is between two operations has no cache to stay in. */
#include "cuda_int.h"

/* Whether the first two of n stages are one operation. */
static bool pair(const struct vn_backend *b, const struct vn_row_stage *s, int n) {
    if (n < 2 || s[0].is_norm || !s[1].is_norm || !vn_cuda_matrix_norm(s[0].linear.w))
        return false;
    const struct vn_norm_args *a = &s[1].norm;
    return s[0].linear.epilogue == VN_EPI_RESIDUAL && a->x == s[0].linear.y &&
           a->d == vn_cuda_matrix_rows(s[0].linear.w) && a->y_type == b->act && !a->also;
}

int vn_cuda_together(struct vn_backend *b, const struct vn_row_stage *stages, int n) {
    return pair(b, stages, n) ? 2 : 1;
}

int vn_cuda_rows(struct vn_backend *b, const struct vn_row_stage *s, int n,
                 struct vn_error *err) {
    int rc = VN_OK;
    for (int i = 0, k; i < n && rc == VN_OK; i += k) {
        k = vn_cuda_together(b, s + i, n - i);
        if (k == 2)
            rc = vn_cuda_linear_norm(b, &s[i].linear, &s[i + 1].norm, err);
        else
            rc = s[i].is_norm ? b->ops.norm(b, &s[i].norm, err)
                              : b->ops.linear(b, &s[i].linear, err);
    }
    return rc;
}
