/* mkbomb - writes a small stream that stands for much, or that hides nulls, for tests.
 *
 *   mkbomb tokens|embeddings|vectors|none KEY=VALUE...
 *     n=1000    rows: of empty lists (tokens, embeddings), of zeros (vectors), of no columns
 *               at all (none)
 *     d=8       width of embeddings and vectors
 *     null=L    level L of the payload holds one null: every row has one value then
 *
 * All of it is sound, so far as a reader can know: zeros take next to nothing when packed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream.h"

static struct vn_error err;

static void must(int rc) {
    if (rc < 0) {
        fprintf(stderr, "mkbomb: %s\n", err.msg);
        exit(-rc);
    }
}

static void *zeros(size_t n) {
    void *p = calloc(n, 1);
    if (!p)
        exit(1);
    return p;
}

static int64_t number(int n, char **args, const char *key, int64_t otherwise) {
    size_t len = strlen(key);
    for (int i = 2; i < n; i++)
        if (!strncmp(args[i], key, len) && args[i][len] == '=')
            return strtoll(args[i] + len + 1, NULL, 10);
    return otherwise;
}

static void add_columns(struct vn_schema *s, int32_t d, int null) {
    static const enum vn_type chains[][3] = {[VN_KIND_TOKENS] = {VN_LIST, VN_UINT16},
                                             [VN_KIND_EMBEDDINGS] = {VN_LIST, VN_FIXED_LIST,
                                                                     VN_FLOAT32},
                                             [VN_KIND_VECTORS] = {VN_FIXED_LIST, VN_FLOAT32}};
    static const char *const names[] = {"tokens", "embedding", "embedding"};
    struct vn_schema plain;
    const int32_t sizes[3] = {s->kind == VN_KIND_VECTORS ? d : 0,
                              s->kind == VN_KIND_EMBEDDINGS ? d : 0, 0};
    vn_schema_init(&plain, s->kind);
    must(vn_schema_add(&plain, names[s->kind - VN_KIND_TOKENS], chains[s->kind], sizes,
                       s->kind == VN_KIND_EMBEDDINGS ? 3 : 2, false, &err));
    if (null >= 0)
        plain.fields[0].level[null].nullable = true;
    must(vn_schema_add_flat(s, "id", VN_UTF8, &err));
    must(vn_schema_add_flat(s, "record", VN_UINT64, &err));
    must(vn_schema_add_field(s, &plain.fields[0], &err));
    vn_schema_release(&plain);
}

static void fill(struct vn_batch *b, const struct vn_field *f, int32_t d, int null) {
    const int64_t n = b->n_rows;
    int64_t rows = n;
    uint64_t *record = zeros((size_t)n * sizeof *record);
    for (int64_t i = 0; i < n; i++)
        record[i] = (uint64_t)i;
    b->columns[0].level[0] = (struct vn_array){
        .length = n, .offsets = zeros(((size_t)n + 1) * 4), .values = zeros(8)};
    b->columns[1].level[0] = (struct vn_array){.length = n, .values = record};
    for (int l = 0; l < f->depth; l++) {
        struct vn_array *a = &b->columns[2].level[l];
        a->length = rows;
        if (l == null) {
            uint8_t *bits = zeros((size_t)rows / 8 + 1);
            memset(bits, 0xff, (size_t)rows / 8 + 1);
            bits[0] = 0xfe;
            a->null_count = 1;
            a->validity = bits;
        }
        if (f->level[l].type == VN_LIST) {
            int32_t *offsets = zeros(((size_t)n + 1) * sizeof *offsets);
            for (int64_t i = 0; null >= 0 && i <= n; i++)
                offsets[i] = (int32_t)i;
            a->offsets = offsets;
            rows = null >= 0 ? n : 0;
        } else if (f->level[l].type == VN_FIXED_LIST) {
            rows *= d;
        } else {
            a->values = zeros((size_t)rows * vn_type_width(f->level[l].type) + 8);
        }
    }
}

int main(int argc, char **argv) {
    struct vn_schema s;
    struct vn_batch b = {0};
    struct vn_sink *sink;
    struct vn_writer *w;
    if (argc < 2)
        return 2;
    const bool columns = strcmp(argv[1], "none") != 0;
    const int32_t d = (int32_t)number(argc, argv, "d", 8);
    const int null = (int)number(argc, argv, "null", -1);
    vn_schema_init(&s, columns ? vn_kind_of(argv[1]) : VN_KIND_RECORDS);
    if (columns)
        add_columns(&s, d, null);
    must(vn_schema_add_program(&s, "\"program\":\"mkbomb\",\"vocabulary\":\"esm2\"", &err));
    must(vn_sink_open(NULL, &sink, &err));
    must(vn_writer_open(sink, &s, &w, &err));
    must(vn_batch_set_columns(&b, s.n_fields, &err));
    b.n_rows = number(argc, argv, "n", 1000);
    if (columns)
        fill(&b, &s.fields[2], d, null);
    must(vn_writer_put(w, &b, &err));
    must(vn_writer_close(w, &err));
    for (int i = 0; i < b.n_columns; i++) {
        for (int l = 0; l < VN_MAX_DEPTH; l++) {
            free((void *)(uintptr_t)b.columns[i].level[l].validity);
            free((void *)(uintptr_t)b.columns[i].level[l].offsets);
        }
        free((void *)(uintptr_t)b.columns[i].level[i == 2 ? s.fields[2].depth - 1 : 0].values);
    }
    vn_batch_release(&b);
    vn_schema_release(&s);
    return 0;
}
