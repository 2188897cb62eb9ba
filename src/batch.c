#include "batch.h"

#include <stdlib.h>
#include <string.h>

bool vn_status_has_result(const char *text, size_t n) {
    return (n == 2 && !memcmp(text, "ok", 2)) || (n == 9 && !memcmp(text, "truncated", 9));
}

void vn_batch_init(struct vn_batch *b) {
    memset(b, 0, sizeof *b);
}

void vn_batch_release(struct vn_batch *b) {
    for (int i = 0; i < b->n_storage; i++)
        vn_buf_release(&b->storage[i]);
    free(b->storage);
    free(b->columns);
    vn_batch_init(b);
}

int vn_batch_set_columns(struct vn_batch *b, int n, struct vn_error *err) {
    if (n > b->columns_cap) {
        struct vn_column *c = vn_calloc((size_t)n, sizeof *c, err);
        if (!c)
            return VN_EFAIL;
        free(b->columns);
        b->columns = c;
        b->columns_cap = n;
    }
    if (n)
        memset(b->columns, 0, (size_t)n * sizeof *b->columns);
    b->n_columns = n;
    return VN_OK;
}

void vn_column_vectors(struct vn_column *c, int64_t n, int32_t d, const void *values,
                       const uint8_t *validity, int64_t null_count) {
    memset(c, 0, sizeof *c);
    c->level[0].length = n;
    c->level[0].null_count = null_count;
    c->level[0].validity = null_count ? validity : NULL;
    c->level[1].length = n * d;
    c->level[1].values = values;
}
