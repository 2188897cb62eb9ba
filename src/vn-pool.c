/* vn-pool - token embeddings in, one vector per record out. */
#include <stdlib.h>
#include <string.h>

#include "pooler.h"
#include "stream.h"
#include "tool.h"

struct pool {
    struct vn_tool *tool;
    enum vn_pooling rule; /* VN_POOL_NONE: the model's */
    struct vn_reader *reader;
    struct vn_pooler *pooler;
    struct vn_writer *writer;
    struct vn_schema schema; /* of the output */
    struct vn_batch in, out;
};

static void check_options(struct pool *p, const char *word) {
    if (!strcmp(word, "auto"))
        return;
    if (!vn_pool_of(word, &p->rule) || p->rule == VN_POOL_NONE)
        vn_tool_usage(p->tool, "--pool '%s': expected auto, mean, mean-all, cls or max", word);
}

static int open_input(struct pool *p, struct vn_error *err) {
    struct vn_source *source;
    int rc = vn_source_open(p->tool->files[0], &source, err);
    if (rc < 0)
        return rc;
    rc = vn_reader_open(source, NULL, &p->reader, err);
    if (rc < 0)
        return rc;
    rc = vn_schema_require_kind(vn_reader_schema(p->reader), VN_KIND_EMBEDDINGS, err);
    return rc < 0 ? vn_prefix(err, "cannot use '%s'", vn_reader_name(p->reader)) : rc;
}

/* "auto" is what the model's authors do. */
static int choose_rule(struct pool *p, struct vn_error *err) {
    char vocabulary[64] = "";
    if (p->rule != VN_POOL_NONE)
        return VN_OK;
    vn_schema_provenance(vn_reader_schema(p->reader), "vocabulary", vocabulary,
                         sizeof vocabulary);
    if (!vn_pool_of_vocabulary(vocabulary, &p->rule))
        return vn_fail(err, VN_EINCOMPAT,
                       "no pooling rule is known for the vocabulary '%s': give one with --pool",
                       vocabulary);
    return VN_OK;
}

static int add_provenance(struct pool *p, struct vn_error *err) {
    struct vn_buf members = {0};
    int rc = vn_tool_provenance(p->tool, &members, err);
    if (rc == VN_OK)
        rc = vn_member_text(&members, "pool", vn_pool_name(p->rule), err);
    if (rc == VN_OK)
        rc = vn_schema_add_program(&p->schema, (const char *)members.data, err);
    vn_buf_release(&members);
    return rc;
}

static int open_output(struct pool *p, struct vn_error *err) {
    struct vn_sink *sink;
    vn_schema_release(&p->schema);
    int rc = vn_pooler_new(vn_reader_schema(p->reader), p->rule, &p->schema, &p->pooler, err);
    if (rc == VN_OK)
        rc = add_provenance(p, err);
    if (rc == VN_OK)
        rc = vn_sink_open(p->tool->output, &sink, err);
    if (rc == VN_OK)
        rc = vn_writer_open(sink, &p->schema, &p->writer, err);
    return rc;
}

static int run_batch(struct pool *p, struct vn_error *err) {
    int rc = vn_pooler_put(p->pooler, &p->in, err);
    while (rc >= 0 && (rc = vn_pooler_next(p->pooler, &p->out, err)) > 0)
        rc = vn_writer_put(p->writer, &p->out, err);
    if (rc == VN_EDATA)
        vn_prefix(err, "'%s': batch %llu", vn_reader_name(p->reader),
                  (unsigned long long)p->in.number);
    return rc;
}

static int run(struct pool *p, struct vn_error *err) {
    int rc = vn_tool_refuse_terminal(p->tool, true, true, err);
    if (rc == VN_OK)
        rc = open_input(p, err);
    if (rc == VN_OK)
        rc = choose_rule(p, err);
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
    vn_tool_note(p->tool, "%llu records, %llu tokens, %.2f s, %.0f tokens/s, peak %.0f MiB",
                 (unsigned long long)t.records, (unsigned long long)t.tokens, seconds,
                 (double)t.tokens / seconds, vn_tool_peak_mib());
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
    check_options(&p, word);
    int rc = run(&p, &err);
    vn_writer_abort(p.writer);
    vn_pooler_free(p.pooler);
    vn_schema_release(&p.schema);
    vn_batch_release(&p.in);
    vn_batch_release(&p.out);
    vn_reader_close(p.reader);
    return vn_tool_finish(&tool, rc, &err);
}
