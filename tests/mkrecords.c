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
#include "rowmaker.h"

enum { ID, RECORD, PROTEIN, NUCLEOTIDE, SOURCE, CHUNK, FRAME, START, END, STATUS, N };
static const struct {
    const char *name;
    enum vn_type type;
} columns[N] = {{"id", VN_UTF8},         {"record", VN_UINT64}, {"protein", VN_UTF8},
                {"nucleotide", VN_UTF8}, {"source", VN_UINT64}, {"chunk", VN_INT32},
                {"frame", VN_INT8},      {"start", VN_INT64},   {"end", VN_INT64},
                {"status", VN_UTF8}};

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
    int64_t record = integer("first", 0);
    vn_schema_init(&schema, vn_kind_of(text("kind", "records")));
    for (int i = 0; i < N; i++)
        if (strcmp(columns[i].name, text("skip", "")))
            must(vn_schema_add(&schema, columns[i].name, &columns[i].type, NULL, 1,
                               i == PROTEIN || i == NUCLEOTIDE || i == STATUS, &err));
    begin();
    while (fgets(line, sizeof line, stdin)) {
        char *at = line, number[24];
        line[strcspn(line, "\n")] = 0;
        snprintf(number, sizeof number, "%lld", (long long)record++);
        for (int i = 0; i < N; i++)
            add(i, i == RECORD ? number : at ? strsep(&at, "\t") : "");
        row_done();
    }
    end();
    return 0;
}
