#include "rowstore.h"

#include <stdlib.h>
#include <string.h>

/* VN_ROWSTORE_CHUNK rows whose numbers have the same quotient. */
struct chunk {
    struct vn_builder *columns; /* [n_fields] */
    struct vn_column *views;    /* [n_fields] of the builders as they were with n_viewed */
    int64_t n, n_viewed, left;  /* rows; of these, not yet dropped */
};

struct vn_rowstore {
    const struct vn_schema *schema;
    const bool *kept;
    struct chunk **chunks; /* [n_chunks]: those in use, by number, then spare ones */
    size_t n_used, n_chunks;
    uint64_t first; /* number of chunks[0] */
    uint64_t next;  /* number of the next row */
};

int vn_rowstore_new(const struct vn_schema *schema, const bool *kept,
                    struct vn_rowstore **out, struct vn_error *err) {
    *out = vn_calloc(1, sizeof **out, err);
    if (!*out)
        return VN_EFAIL;
    (*out)->schema = schema;
    (*out)->kept = kept;
    return VN_OK;
}

static void free_chunk(struct chunk *k, int n_fields) {
    for (int i = 0; k->columns && i < n_fields; i++)
        vn_builder_release(&k->columns[i]);
    free(k->columns);
    free(k->views);
    free(k);
}

void vn_rowstore_free(struct vn_rowstore *c) {
    if (!c)
        return;
    for (size_t i = 0; i < c->n_chunks; i++)
        free_chunk(c->chunks[i], c->schema->n_fields);
    free(c->chunks);
    free(c);
}

static int new_chunk(struct vn_rowstore *c, struct vn_error *err) {
    const int n = c->schema->n_fields;
    struct chunk **grown = realloc(c->chunks, (c->n_chunks + 1) * sizeof *grown);
    if (!grown)
        return vn_fail(err, VN_EFAIL, "cannot allocate rows to be carried along");
    c->chunks = grown;
    struct chunk *k = vn_calloc(1, sizeof *k, err);
    if (!k)
        return VN_EFAIL;
    k->columns = vn_calloc((size_t)n, sizeof *k->columns, err);
    k->views = vn_calloc((size_t)n, sizeof *k->views, err);
    if (!k->columns || !k->views) {
        free_chunk(k, 0);
        return VN_EFAIL;
    }
    for (int i = 0; i < n; i++)
        vn_builder_init(&k->columns[i], &c->schema->fields[i]);
    c->chunks[c->n_chunks++] = k;
    return VN_OK;
}

int vn_rowstore_put(struct vn_rowstore *c, const struct vn_batch *b, int64_t row,
                    struct vn_error *err) {
    int rc = VN_OK;
    if (!c->n_used || c->chunks[c->n_used - 1]->n == VN_ROWSTORE_CHUNK) {
        if (c->n_used == c->n_chunks)
            rc = new_chunk(c, err);
        if (rc != VN_OK)
            return rc;
        if (!c->n_used)
            c->first = c->next / VN_ROWSTORE_CHUNK;
        c->n_used++;
    }
    struct chunk *k = c->chunks[c->n_used - 1];
    for (int i = 0; rc == VN_OK && i < c->schema->n_fields; i++)
        if (c->kept[i])
            rc = vn_builder_append(&k->columns[i], &b->columns[i], row, 1, err);
    k->n++;
    k->left++;
    c->next++;
    return rc;
}

static struct chunk *find(const struct vn_rowstore *c, uint64_t number) {
    const uint64_t at = number / VN_ROWSTORE_CHUNK - c->first;
    if (number >= c->next || at >= c->n_used)
        return NULL;
    return c->chunks[at];
}

const struct vn_column *vn_rowstore_row(struct vn_rowstore *c, uint64_t number,
                                        int64_t *row) {
    struct chunk *k = find(c, number);
    if (!k)
        return NULL;
    for (int i = 0; k->n_viewed != k->n && i < c->schema->n_fields; i++)
        vn_builder_view(&k->columns[i], &k->views[i]);
    k->n_viewed = k->n;
    *row = (int64_t)(number % VN_ROWSTORE_CHUNK);
    return k->views;
}

/* Chunks are given back from the front only: those behind wait no longer than the rows of
 * a window do. */
void vn_rowstore_drop(struct vn_rowstore *c, uint64_t number) {
    find(c, number)->left--;
    while (c->n_used && c->chunks[0]->n == VN_ROWSTORE_CHUNK && !c->chunks[0]->left) {
        struct chunk *k = c->chunks[0];
        for (int i = 0; i < c->schema->n_fields; i++)
            vn_builder_clear(&k->columns[i]);
        k->n = k->n_viewed = 0;
        memmove(c->chunks, c->chunks + 1, (c->n_chunks - 1) * sizeof *c->chunks);
        c->chunks[c->n_chunks - 1] = k;
        c->n_used--;
        c->first++;
    }
}
