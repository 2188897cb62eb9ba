/* vn-pool - token embeddings in, one vector per record out. */
#include <stdlib.h>
#include <string.h>

#include "num.h"
#include "pool.h"
#include "stream.h"
#include "tool.h"

static const char *const pool_words[] = {"auto", "mean", "mean-all", "cls", "max", NULL};

struct pool {
    struct vn_tool *tool;
    enum vn_pooling rule;
    struct vn_reader *reader;
    struct vn_writer *writer;
    struct vn_schema schema; /* of the output; its columns stand as in the input */
    int payload;
    bool half; /* rows are f16 */
    int32_t d;
    struct vn_batch in, out;
    struct vn_buf vectors;  /* [B, D] f32 */
    struct vn_buf rows;     /* [n, D] f32: a record's half rows, widened */
    struct vn_buf validity; /* [B] bits */
};

/* "auto" is what the model's authors do: for ESM-2 the mean over residues. */
static int choose_rule(struct pool *p, const char *word, struct vn_error *err) {
    static const enum vn_pooling rules[] = {VN_POOL_NONE, VN_POOL_MEAN, VN_POOL_MEAN_ALL,
                                            VN_POOL_CLS, VN_POOL_MAX};
    char vocabulary[64] = "";
    p->rule = rules[vn_tool_choice(p->tool, "pool", word, pool_words)];
    if (p->rule != VN_POOL_NONE)
        return VN_OK;
    vn_schema_provenance(vn_reader_schema(p->reader), "vocabulary", vocabulary,
                         sizeof vocabulary);
    if (strcmp(vocabulary, "esm2") != 0)
        return vn_fail(err, VN_EINCOMPAT,
                       "no pooling rule is known for the vocabulary '%s': give one with --pool",
                       vocabulary);
    p->rule = VN_POOL_MEAN;
    return VN_OK;
}

static int open_input(struct pool *p, struct vn_error *err) {
    static const enum vn_type single[] = {VN_LIST, VN_FIXED_LIST, VN_FLOAT32};
    static const enum vn_type half[] = {VN_LIST, VN_FIXED_LIST, VN_FLOAT16};
    struct vn_source *source;
    int rc = vn_source_open(p->tool->files[0], &source, err);
    if (rc < 0)
        return rc;
    rc = vn_reader_open(source, NULL, &p->reader, err);
    if (rc < 0)
        return rc;
    const struct vn_schema *in = vn_reader_schema(p->reader);
    rc = vn_schema_require_kind(in, VN_KIND_EMBEDDINGS, err);
    if (rc < 0)
        return rc;
    p->payload = vn_schema_require(in, "embedding", half, 3, NULL);
    p->half = p->payload >= 0;
    if (!p->half)
        p->payload = vn_schema_require(in, "embedding", single, 3, err);
    if (p->payload < 0)
        return p->payload;
    p->d = in->fields[p->payload].level[1].size;
    return VN_OK;
}

static int open_output(struct pool *p, struct vn_error *err) {
    static const enum vn_type vector[] = {VN_FIXED_LIST, VN_FLOAT32};
    const int32_t sizes[] = {p->d, 0};
    const struct vn_schema *in = vn_reader_schema(p->reader);
    struct vn_buf members = {0};
    struct vn_sink *sink;
    int rc = VN_OK;
    vn_schema_release(&p->schema);
    vn_schema_init(&p->schema, VN_KIND_VECTORS);
    for (int i = 0; i < in->n_meta && rc == VN_OK; i++)
        rc = vn_schema_set_meta(&p->schema, in->meta[i].key, in->meta[i].value, err);
    for (int i = 0; i < in->n_fields && rc == VN_OK; i++)
        rc = i == p->payload
                 ? vn_schema_add(&p->schema, "embedding", vector, sizes, 2, true, err)
                 : vn_schema_add_field(&p->schema, &in->fields[i], err);
    if (rc < 0)
        return rc;
    char *mine = vn_tool_provenance(p->tool);
    rc = mine ? vn_buf_printf(&members, err, "%s,\"pool\":\"%s\"", mine, vn_pool_name(p->rule))
              : vn_fail(err, VN_EFAIL, "cannot allocate the provenance");
    if (rc == VN_OK)
        rc = vn_schema_add_program(&p->schema, (const char *)members.data, err);
    vn_buf_release(&members);
    free(mine);
    if (rc == VN_OK)
        rc = vn_sink_open(p->tool->output, &sink, err);
    return rc < 0 ? rc : vn_writer_open(sink, &p->schema, &p->writer, err);
}

/* Rows [from, to) of the payload as f32. */
static int widen(struct pool *p, int64_t from, int64_t to, const float **x,
                 struct vn_error *err) {
    const void *values = p->in.columns[p->payload].level[2].values;
    if (!p->half) {
        *x = (const float *)values + from * p->d;
        return VN_OK;
    }
    const uint16_t *h = (const uint16_t *)values + from * p->d;
    size_t n = (size_t)((to - from) * p->d);
    int rc = vn_buf_resize(&p->rows, n * sizeof(float), err);
    if (rc < 0)
        return rc;
    float *rows = (float *)(void *)p->rows.data;
    for (size_t i = 0; i < n; i++)
        rows[i] = vn_f16_to_f32(h[i]);
    *x = rows;
    return VN_OK;
}

/* A record without rows has no vector: null, and its status says why. */
static int run_batch(struct pool *p, struct vn_error *err) {
    const struct vn_array *list = &p->in.columns[p->payload].level[0];
    const size_t width = (size_t)p->d * sizeof(float);
    const int64_t n = p->in.n_rows;
    int64_t nulls = 0;
    p->vectors.len = p->validity.len = 0;
    int rc = vn_buf_zeros(&p->vectors, (size_t)n * width, err);
    if (rc == VN_OK)
        rc = vn_buf_zeros(&p->validity, (size_t)(n + 7) / 8, err);
    for (int64_t i = 0; i < n && rc == VN_OK; i++) {
        int64_t from, to;
        const float *x;
        vn_span(list, VN_LIST, i, &from, &to);
        if (from == to || vn_is_null(list, i)) {
            nulls++;
            continue;
        }
        rc = widen(p, from, to, &x, err);
        if (rc < 0)
            break;
        vn_pool_rows(p->rule, x, to - from, p->d,
                     (float *)(void *)(p->vectors.data + (size_t)i * width));
        p->validity.data[i >> 3] |= (uint8_t)(1 << (i & 7));
    }
    if (rc == VN_OK)
        rc = vn_batch_set_columns(&p->out, p->schema.n_fields, err);
    if (rc < 0)
        return rc;
    p->out.n_rows = n;
    for (int i = 0; i < p->schema.n_fields; i++)
        p->out.columns[i] = p->in.columns[i];
    vn_column_vectors(&p->out.columns[p->payload], n, p->d, p->vectors.data,
                      nulls ? p->validity.data : NULL, nulls);
    return vn_writer_put(p->writer, &p->out, err);
}

static int run(struct pool *p, const char *word, struct vn_error *err) {
    int rc = vn_tool_refuse_terminal(p->tool, true, true, err);
    if (rc == VN_OK)
        rc = open_input(p, err);
    if (rc == VN_OK)
        rc = choose_rule(p, word, err);
    if (rc == VN_OK)
        rc = open_output(p, err);
    while (rc >= 0 && (rc = vn_reader_next(p->reader, &p->in, err)) > 0)
        rc = run_batch(p, err);
    if (rc < 0)
        return rc;
    rc = vn_writer_close(p->writer, err);
    p->writer = NULL;
    if (rc < 0)
        return rc;
    struct vn_totals t = vn_reader_totals(p->reader);
    double seconds = vn_tool_seconds(p->tool);
    vn_tool_note(p->tool, "%llu records, %llu tokens, %.2f s, %.0f tokens/s, peak memory %lld MB",
                 (unsigned long long)t.records, (unsigned long long)t.tokens, seconds,
                 (double)t.tokens / seconds, (long long)(vn_tool_peak_memory() / 1000000));
    return VN_OK;
}

int main(int argc, char **argv) {
    struct vn_tool tool = {
        .name = "vn-pool",
        .usage = "[OPTION...] [FILE]",
        .summary = "Pools token embeddings to one vector per record.",
        .notes = "The vectors are those of vn-embed --pool. A record without token rows keeps "
                 "its row,\nwith a null for its vector.",
        .max_files = 1,
        .has_output = true};
    const char *word = "auto";
    struct poptOption options[] = {
        {"pool", 0, POPT_ARG_STRING, &word, 0,
         "auto (the model's rule), mean (over residues), mean-all, cls, max", "RULE"},
        POPT_TABLEEND};
    struct vn_error err = {0};
    struct pool p = {.tool = &tool};
    vn_tool_begin(&tool, argc, argv, options);
    vn_schema_init(&p.schema, VN_KIND_OTHER);
    vn_tool_choice(&tool, "pool", word, pool_words); /* before anything is read */
    int rc = run(&p, word, &err);
    vn_writer_abort(p.writer);
    vn_schema_release(&p.schema);
    vn_batch_release(&p.in);
    vn_batch_release(&p.out);
    vn_reader_close(p.reader);
    vn_buf_release(&p.vectors);
    vn_buf_release(&p.rows);
    vn_buf_release(&p.validity);
    return vn_tool_finish(&tool, rc, &err);
}
