#include "carry.h"

#include <stdlib.h>

int vn_carry_schema(const struct vn_schema *in, int payload,
                    const struct vn_carry_payload *p, struct vn_schema *out,
                    struct vn_error *err) {
    int rc = VN_OK;
    for (int i = 0; i < in->n_meta && rc == VN_OK; i++)
        rc = vn_schema_set_meta(out, in->meta[i].key, in->meta[i].value, err);
    for (int i = 0; i < in->n_fields && rc == VN_OK; i++)
        rc = i == payload ? vn_schema_add(out, "embedding", p->types, p->sizes, p->depth,
                                          p->nullable, err)
                          : vn_schema_add_field(out, &in->fields[i], err);
    return rc;
}

int vn_carry_new(struct vn_carry *c, int payload, const struct vn_schema *out,
                 struct vn_error *err) {
    c->payload = payload;
    c->n_columns = 0;
    c->columns = vn_calloc((size_t)out->n_fields, sizeof *c->columns, err);
    if (!c->columns)
        return VN_EFAIL;
    c->n_columns = out->n_fields;
    for (int i = 0; i < out->n_fields; i++)
        vn_builder_init(&c->columns[i], &out->fields[i]);
    return VN_OK;
}

void vn_carry_release(struct vn_carry *c) {
    for (int i = 0; i < c->n_columns; i++)
        vn_builder_release(&c->columns[i]);
    free(c->columns);
    c->columns = NULL;
    c->n_columns = 0;
}

int vn_carry_rows(struct vn_carry *c, const struct vn_batch *in, int64_t from, int64_t n,
                  int but, struct vn_batch *out, struct vn_error *err) {
    int rc = vn_batch_set_columns(out, c->n_columns, err);
    out->n_rows = n;
    for (int i = 0; i < in->n_columns && rc == VN_OK; i++) {
        struct vn_builder *b = &c->columns[i];
        if (i == c->payload || i == but)
            continue;
        if (n == in->n_rows) {
            out->columns[i] = in->columns[i];
            continue;
        }
        vn_builder_clear(b);
        rc = vn_builder_append(b, &in->columns[i], from, n, err);
        vn_builder_view(b, &out->columns[i]);
    }
    return rc;
}
