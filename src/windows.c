#include "windows.h"

/* Residues from the beginning of one window to that of the next. */
static int64_t stride(int64_t most) {
    return most - most / 4;
}

int64_t vn_windows_tokens(int64_t residues, int64_t most) {
    const int64_t step = stride(most), more = (residues - most + step - 1) / step;
    return residues + more * (most - step) + (more + 1) * VN_WINDOW_SPECIALS;
}

int vn_windows_cut(const uint16_t *tokens, int64_t n, int64_t most, struct vn_buf *out,
                   struct vn_error *err) {
    const int64_t residues = n - VN_WINDOW_SPECIALS;
    const uint16_t *eos = tokens + n - 1;
    int rc = VN_OK;
    out->len = 0;
    for (int64_t from = 0, to = 0; rc == VN_OK && to < residues; from += stride(most)) {
        to = from + most < residues ? from + most : residues;
        rc = vn_buf_append(out, tokens, sizeof *tokens, err);
        if (rc == VN_OK)
            rc = vn_buf_append(out, tokens + 1 + from, (size_t)(to - from) * sizeof *tokens,
                               err);
        if (rc == VN_OK)
            rc = vn_buf_append(out, eos, sizeof *tokens, err);
    }
    return rc;
}

/* Rows that the rule takes of window k. */
static int64_t weight(enum vn_pooling pool, int64_t n, int64_t window, int64_t k) {
    const int64_t left = n - k * window;
    int64_t from, to;
    vn_pool_range(pool, left < window ? left : window, &from, &to);
    return to - from;
}

static float largest(const float *x, int64_t count, int64_t d) {
    float most = x[0];
    for (int64_t k = 1; k < count; k++)
        most = x[k * d] > most ? x[k * d] : most;
    return most;
}

void vn_windows_merge(enum vn_pooling pool, const float *x, int64_t n, int64_t window,
                      int64_t d, float *out) {
    const int64_t count = vn_windows_count(n, window);
    const int64_t each = weight(pool, n, window, 0), last = weight(pool, n, window, count - 1);
    const double all = (double)((count - 1) * each + last);
    for (int64_t c = 0; c < d; c++) {
        if (count == 1 || pool == VN_POOL_MAX) {
            out[c] = largest(x + c, count, d);
            continue;
        }
        double sum = 0;
        for (int64_t k = 0; k < count; k++)
            sum += (double)(k < count - 1 ? each : last) * (double)x[k * d + c];
        out[c] = (float)(sum / all);
    }
}
