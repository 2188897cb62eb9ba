/* rows - one line per row of a stream of embeddings or vectors, as it comes:
 *
 *   id record status TYPE ROWS HASH      ("null" for a null vector)
 *
 * HASH covers every byte of the row's numbers, so equal lines are equal rows. Which batch a
 * row was in does not show. With --batches the number of rows of every batch instead. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream.h"

static struct vn_error err;

static int64_t check(int64_t rc) {
    if (rc < 0) {
        fprintf(stderr, "rows: %s\n", err.msg);
        exit((int)-rc);
    }
    return rc;
}

static uint64_t hash(const uint8_t *p, size_t n) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

static void print_string(const struct vn_schema *s, const struct vn_batch *b,
                         const char *name, int64_t row) {
    int i = vn_schema_find(s, name);
    size_t n = 0;
    const char *p = i < 0 ? "." : vn_utf8_row(&b->columns[i], row, &n);
    printf("%.*s\t", i < 0 ? 1 : (int)n, p);
}

static void print_payload(const struct vn_schema *s, const struct vn_batch *b, int64_t row) {
    int i = vn_schema_find(s, "embedding");
    if (i < 0)
        exit(3);
    const struct vn_field *f = &s->fields[i];
    const struct vn_column *c = &b->columns[i];
    int64_t from = row, to = row + 1;
    bool lists = f->level[0].type == VN_LIST;
    if (lists)
        vn_span(&c->level[0], VN_LIST, row, &from, &to);
    size_t width = (size_t)f->level[lists].size * vn_type_width(f->level[lists + 1].type);
    const uint8_t *values = c->level[lists + 1].values;
    printf("%s\t%lld\t", vn_type_name(f->level[lists + 1].type), (long long)(to - from));
    if (vn_is_null(&c->level[0], row))
        printf("null\n");
    else
        printf("%016llx\n", (unsigned long long)hash(values + (size_t)from * width,
                                                     (size_t)(to - from) * width));
}

int main(int argc, char **argv) {
    bool batches = argc > 1 && !strcmp(argv[1], "--batches");
    struct vn_source *source;
    struct vn_reader *r;
    struct vn_batch b;
    vn_batch_init(&b);
    check(vn_source_open(argv[1 + batches], &source, &err));
    check(vn_reader_open(source, NULL, &r, &err));
    const struct vn_schema *s = vn_reader_schema(r);
    int record = vn_schema_find(s, "record");
    while (check(vn_reader_next(r, &b, &err)) > 0) {
        if (batches) {
            printf("%lld\n", (long long)b.n_rows);
            continue;
        }
        for (int64_t row = 0; row < b.n_rows; row++) {
            print_string(s, &b, "id", row);
            printf("%llu\t", (unsigned long long)((const uint64_t *)b.columns[record]
                                                      .level[0].values)[row]);
            print_string(s, &b, "status", row);
            print_payload(s, &b, row);
        }
    }
    vn_batch_release(&b);
    vn_reader_close(r);
    return 0;
}
