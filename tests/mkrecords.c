/* mkrecords [KEY=VALUE...] <TABLE - writes a records stream on standard output, for tests:
 * a line of the table, separated by tabs, is a row, as vn-orf makes them:
 *
 *   id protein nucleotide source chunk frame start end status
 *
 * A field "." of protein, nucleotide or status is null.
 *
 *     batch=64     rows a batch
 *     first=0      number of the first record
 *     skip=NAME    leaves that column out (of protein, nucleotide, status)
 *     kind=WORD    the stream's kind, instead of records */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream.h"

enum { ID, RECORD, PROTEIN, NUCLEOTIDE, SOURCE, CHUNK, FRAME, START, END, STATUS, N };
static const struct {
    const char *name;
    enum vn_type type;
} columns[N] = {{"id", VN_UTF8},         {"record", VN_UINT64}, {"protein", VN_UTF8},
                {"nucleotide", VN_UTF8}, {"source", VN_UINT64}, {"chunk", VN_INT32},
                {"frame", VN_INT8},      {"start", VN_INT64},   {"end", VN_INT64},
                {"status", VN_UTF8}};

static int n_args;
static char **args;
static const char *text(const char *key, const char *otherwise) {
    size_t n = strlen(key);
    for (int i = 1; i < n_args; i++)
        if (!strncmp(args[i], key, n) && args[i][n] == '=')
            return args[i] + n + 1;
    return otherwise;
}

static struct vn_error err;
static void must(int rc) {
    if (rc < 0) {
        fprintf(stderr, "mkrecords: %s\n", err.msg);
        exit(-rc);
    }
}

static struct vn_schema schema;
static struct vn_builder builders[N]; /* [schema.n_fields] */
static struct vn_writer *writer;
static int64_t rows;

static void send(void) {
    struct vn_batch b;
    vn_batch_init(&b);
    must(vn_batch_set_columns(&b, schema.n_fields, &err));
    for (int i = 0; i < schema.n_fields; i++)
        vn_builder_view(&builders[i], &b.columns[i]);
    b.n_rows = rows;
    must(vn_writer_put(writer, &b, &err));
    for (int i = 0; i < schema.n_fields; i++)
        vn_builder_clear(&builders[i]);
    vn_batch_release(&b);
    rows = 0;
}

static void add(int column, const char *field) {
    const int at = vn_schema_find(&schema, columns[column].name);
    if (at < 0)
        return;
    const int64_t number = strtoll(field, NULL, 10); /* little-endian: the low bytes */
    if (columns[column].type != VN_UTF8)
        must(vn_builder_add_value(&builders[at], &number, &err));
    else if (column != ID && !strcmp(field, "."))
        must(vn_builder_add_null(&builders[at], &err));
    else
        must(vn_builder_add_bytes(&builders[at], field, strlen(field), &err));
}

int main(int argc, char **argv) {
    static char line[1 << 20];
    n_args = argc, args = argv;
    const int64_t batch = atoll(text("batch", "64"));
    int64_t record = atoll(text("first", "0"));
    vn_schema_init(&schema, vn_kind_of(text("kind", "records")));
    for (int i = 0; i < N; i++)
        if (strcmp(columns[i].name, text("skip", "")))
            must(vn_schema_add(&schema, columns[i].name, &columns[i].type, NULL, 1,
                               i == PROTEIN || i == NUCLEOTIDE || i == STATUS, &err));
    for (int i = 0; i < schema.n_fields; i++)
        vn_builder_init(&builders[i], &schema.fields[i]);
    struct vn_sink *sink;
    must(vn_sink_open(NULL, &sink, &err));
    must(vn_writer_open(sink, &schema, &writer, &err));
    while (fgets(line, sizeof line, stdin)) {
        char *at = line, number[24];
        line[strcspn(line, "\n")] = 0;
        snprintf(number, sizeof number, "%lld", (long long)record++);
        for (int i = 0; i < N; i++)
            add(i, i == RECORD ? number : at ? strsep(&at, "\t") : "");
        if (++rows == batch)
            send();
    }
    if (rows)
        send();
    must(vn_writer_close(writer, &err));
    for (int i = 0; i < schema.n_fields; i++)
        vn_builder_release(&builders[i]);
    vn_schema_release(&schema);
    return 0;
}
