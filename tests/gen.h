/* gen.h - seeded schemas and batches for tests: every type, nulls, empty rows. */
#ifndef VN_TEST_GEN_H
#define VN_TEST_GEN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream.h"

static uint64_t gen_state = 1;

/* xorshift64*: the same numbers on every machine */
static inline uint64_t gen_next(void) {
    gen_state ^= gen_state >> 12;
    gen_state ^= gen_state << 25;
    gen_state ^= gen_state >> 27;
    return gen_state * 2685821657736338717u;
}
static inline int gen_below(int n) {
    return (int)(gen_next() >> 33) % n;
}

static inline void gen_must(int rc, const struct vn_error *err) {
    if (rc < 0) {
        printf("# gen: %s\n", err->msg);
        exit(1);
    }
}

static inline void gen_chain(struct vn_schema *s, const char *name, enum vn_type a,
                             enum vn_type b, enum vn_type c, int32_t size_a, int32_t size_b,
                             int depth, bool nullable) {
    struct vn_error err;
    enum vn_type chain[3] = {a, b, c};
    int32_t sizes[3] = {size_a, size_b, 0};
    gen_must(vn_schema_add(s, name, chain, sizes, depth, nullable, &err), &err);
}

/* The columns of vn-stream(5) for each kind; VN_KIND_OTHER: one column of every type. */
static inline void gen_schema(struct vn_schema *s, enum vn_kind kind) {
    struct vn_error err;
    char name[16];
    vn_schema_init(s, kind);
    if (kind == VN_KIND_OTHER) {
        s->kind = VN_KIND_SCORES; /* a kind has to be said */
        gen_must(vn_schema_add_flat(s, "id", VN_UTF8, &err), &err);
        gen_must(vn_schema_add_flat(s, "record", VN_UINT64, &err), &err);
        gen_must(vn_schema_add_flat(s, "label", VN_UTF8, &err), &err);
        for (int t = VN_BOOL; t <= VN_FIXED_BINARY; t++) {
            snprintf(name, sizeof name, "c%d", t);
            gen_chain(s, name, t, 0, 0, t == VN_FIXED_BINARY ? 3 : 0, 0, 1, t % 2);
        }
        gen_chain(s, "list", VN_LIST, VN_INT32, 0, 0, 0, 2, true);
        gen_chain(s, "large", VN_LARGE_LIST, VN_FLOAT64, 0, 0, 0, 2, false);
        gen_chain(s, "fixed", VN_FIXED_LIST, VN_UINT8, 0, 5, 0, 2, true);
        gen_chain(s, "deep", VN_LIST, VN_FIXED_LIST, VN_FLOAT16, 0, 3, 3, true);
        gen_chain(s, "texts", VN_LIST, VN_UTF8, 0, 0, 0, 2, false);
        gen_chain(s, "flags", VN_FIXED_LIST, VN_BOOL, 0, 3, 0, 2, false);
    } else {
        gen_must(vn_schema_add_flat(s, "id", VN_UTF8, &err), &err);
        gen_must(vn_schema_add_flat(s, "record", VN_UINT64, &err), &err);
    }
    switch (kind) {
    case VN_KIND_RECORDS:
        gen_must(vn_schema_add_flat(s, "protein", VN_UTF8, &err), &err);
        gen_must(vn_schema_add_flat(s, "source", VN_UINT64, &err), &err);
        gen_must(vn_schema_add_flat(s, "chunk", VN_INT32, &err), &err);
        gen_must(vn_schema_add_flat(s, "frame", VN_INT8, &err), &err);
        gen_must(vn_schema_add_flat(s, "start", VN_INT64, &err), &err);
        gen_must(vn_schema_add_flat(s, "status", VN_UTF8, &err), &err);
        break;
    case VN_KIND_TOKENS: gen_chain(s, "tokens", VN_LIST, VN_UINT16, 0, 0, 0, 2, 0); break;
    case VN_KIND_EMBEDDINGS:
        gen_chain(s, "embedding", VN_LIST, VN_FIXED_LIST, VN_FLOAT16, 0, 8, 3, false);
        break;
    case VN_KIND_VECTORS:
        gen_chain(s, "embedding", VN_FIXED_LIST, VN_FLOAT32, 0, 8, 0, 2, true);
        break;
    case VN_KIND_SCORES:
        gen_must(vn_schema_add_flat(s, "label", VN_UTF8, &err), &err);
        gen_must(vn_schema_add_flat(s, "score_virus", VN_FLOAT32, &err), &err);
        gen_must(vn_schema_add_flat(s, "status", VN_UTF8, &err), &err);
        break;
    default: break;
    }
    gen_must(vn_schema_add_program(s, "\"program\":\"gen\",\"version\":\"1\",\"seed\":7",
                                   &err), &err);
}

/* Raw values: floats are small multiples of 1/64, exact in half precision too. */
static inline void gen_values(enum vn_type t, void *out, int64_t n) {
    for (int64_t i = 0; i < n; i++) {
        float f = (float)(gen_below(4001) - 2000) / 64.0f;
        uint64_t u = gen_next();
        double d = (double)f;
        uint16_t h = (uint16_t)(gen_below(0x3c00) | (gen_below(2) << 15));
        switch (t) {
        case VN_FLOAT16: memcpy((char *)out + 2 * i, &h, 2); break;
        case VN_FLOAT32: memcpy((char *)out + 4 * i, &f, 4); break;
        case VN_FLOAT64: memcpy((char *)out + 8 * i, &d, 8); break;
        default: memcpy((char *)out + (size_t)i * vn_type_width(t), &u, vn_type_width(t));
        }
    }
}

static inline void gen_row(struct vn_builder *b, uint64_t record) {
    static const char *const texts[] = {"", "x", "seq 1", "\xc3\xa9t\xc3\xa9", "tab\there",
                                        "a longer text that goes on and on"};
    static uint8_t raw[4096];
    struct vn_error err;
    const struct vn_field *f = b->field;
    const struct vn_level *v = &f->level[0];
    const char *text = texts[gen_below(6)];
    if (v->nullable && gen_below(4) == 0) {
        gen_must(vn_builder_add_null(b, &err), &err);
    } else if (!strcmp(v->name, "record")) {
        gen_must(vn_builder_add_value(b, &record, &err), &err);
    } else if (f->depth > 1 && f->level[1].type == VN_UTF8) {
        /* lists of texts go in through a column of one row */
        int32_t offsets[2] = {0, 2}, inner[3] = {0, (int32_t)strlen(text), 0};
        snprintf((char *)raw, sizeof raw, "%s%s", text, "zz");
        inner[2] = inner[1] + 2;
        struct vn_column c = {0};
        c.level[0] = (struct vn_array){.length = 1, .offsets = offsets};
        c.level[1] = (struct vn_array){.length = 2, .offsets = inner, .values = raw};
        gen_must(vn_builder_append(b, &c, 0, 1, &err), &err);
    } else if (f->depth > 1) {
        int n = v->type == VN_FIXED_LIST ? v->size : gen_below(7);
        const struct vn_level *leaf = &f->level[f->depth - 1];
        int each = f->depth > 2 ? f->level[1].size : 1;
        gen_values(leaf->type == VN_BOOL ? VN_UINT8 : leaf->type, raw, n * each);
        gen_must(vn_builder_add_list(b, raw, n, &err), &err);
    } else if (vn_type_offset_width(v->type)) {
        gen_must(vn_builder_add_bytes(b, text, strlen(text), &err), &err);
    } else {
        enum vn_type t = v->type == VN_BOOL || v->type == VN_FIXED_BINARY ? VN_UINT64 : v->type;
        gen_values(t, raw, 1);
        gen_must(vn_builder_add_value(b, raw, &err), &err);
    }
}

/* Builders of a schema, and a batch that views them. */
struct gen {
    const struct vn_schema *schema;
    struct vn_builder *columns;
    struct vn_batch batch;
};

static inline void gen_open(struct gen *g, const struct vn_schema *s) {
    struct vn_error err;
    g->schema = s;
    g->columns = calloc((size_t)s->n_fields, sizeof *g->columns);
    for (int i = 0; i < s->n_fields; i++)
        vn_builder_init(&g->columns[i], &s->fields[i]);
    vn_batch_init(&g->batch);
    gen_must(vn_batch_set_columns(&g->batch, s->n_fields, &err), &err);
}

static inline const struct vn_batch *gen_batch(struct gen *g, int64_t rows, uint64_t first) {
    for (int i = 0; i < g->schema->n_fields; i++) {
        vn_builder_clear(&g->columns[i]);
        for (int64_t r = 0; r < rows; r++)
            gen_row(&g->columns[i], first + (uint64_t)r);
        vn_builder_view(&g->columns[i], &g->batch.columns[i]);
    }
    g->batch.n_rows = rows;
    return &g->batch;
}

static inline void gen_close(struct gen *g) {
    for (int i = 0; i < g->schema->n_fields; i++)
        vn_builder_release(&g->columns[i]);
    free(g->columns);
    vn_batch_release(&g->batch);
}

/* A whole stream of n batches of `rows` rows, or until `bytes` are passed (0: no matter). */
static inline uint64_t gen_stream(struct vn_sink *sink, enum vn_kind kind, int n,
                                  int64_t rows) {
    struct vn_schema s;
    struct vn_error err;
    struct vn_writer *w;
    struct gen g;
    uint64_t record = 0;
    gen_schema(&s, kind);
    gen_must(vn_writer_open(sink, &s, &w, &err), &err);
    gen_open(&g, &s);
    for (int i = 0; i < n; i++) {
        gen_must(vn_writer_put(w, gen_batch(&g, rows, record), &err), &err);
        record += (uint64_t)rows;
    }
    gen_must(vn_writer_close(w, &err), &err);
    gen_close(&g);
    vn_schema_release(&s);
    return record;
}

static inline void gen_memory(struct vn_buf *out, enum vn_kind kind, int n, int64_t rows) {
    struct vn_sink *sink;
    struct vn_error err;
    gen_must(vn_sink_memory(out, &sink, &err), &err);
    gen_stream(sink, kind, n, rows);
}

#endif
