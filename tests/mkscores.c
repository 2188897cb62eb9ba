/* mkscores [KEY=VALUE...] <TABLE - writes a scores stream on standard output, for tests: a
 * line of the table, separated by tabs, is a row:
 *
 *   id source chunk frame start end status score...
 *
 * A score "." is null, as is the label of every row.
 *
 *     classes=A,B,...  what the scores are of, at most 8; others,virus by default
 *     batch=64         rows a batch
 *     skip=NAME        leaves that column out
 *     pg=MEMBERS       JSON members of a provenance entry */
#include "rowmaker.h"

enum { ID, SOURCE, CHUNK, FRAME, START, END, STATUS, N_READ, RECORD = N_READ, LABEL, SCORES };
static const struct {
    const char *name;
    enum vn_type type;
} columns[SCORES] = {{"id", VN_UTF8},     {"source", VN_UINT64}, {"chunk", VN_INT32},
                     {"frame", VN_INT8},  {"start", VN_INT64},   {"end", VN_INT64},
                     {"status", VN_UTF8}, {"record", VN_UINT64}, {"label", VN_UTF8}};

static void add(const char *name, enum vn_type type, const char *field) {
    const int at = vn_schema_find(&schema, name);
    if (at < 0)
        return;
    const int64_t number = strtoll(field, NULL, 10); /* little-endian: the low bytes */
    const float score = strtof(field, NULL);
    if (type == VN_FLOAT32 && strcmp(field, "."))
        must(vn_builder_add_value(&builders[at], &score, &err));
    else if (type == VN_FLOAT32 || !strcmp(name, "label"))
        must(vn_builder_add_null(&builders[at], &err));
    else if (type == VN_UTF8)
        must(vn_builder_add_bytes(&builders[at], field, strlen(field), &err));
    else
        must(vn_builder_add_value(&builders[at], &number, &err));
}

int main(int argc, char **argv) {
    static char line[1 << 16], names[8][80];
    int n_classes = 0;
    n_args = argc, args = argv;
    vn_schema_init(&schema, VN_KIND_SCORES);
    for (int i = 0; i < SCORES; i++)
        if (strcmp(columns[i].name, text("skip", "")))
            must(vn_schema_add(&schema, columns[i].name, &columns[i].type, NULL, 1,
                               i == LABEL, &err));
    char *list = strdup(text("classes", "others,virus")), *rest = list;
    for (char *name; n_classes < 8 && (name = strsep(&rest, ",")); n_classes++) {
        const enum vn_type single = VN_FLOAT32;
        snprintf(names[n_classes], sizeof *names, "score_%s", name);
        must(vn_schema_add(&schema, names[n_classes], &single, NULL, 1, true, &err));
    }
    free(list);
    if (text("pg", NULL))
        must(vn_schema_add_program(&schema, text("pg", NULL), &err));
    begin();
    for (int64_t record = 0; fgets(line, sizeof line, stdin); record++) {
        char *at = line, number[24];
        line[strcspn(line, "\n")] = 0;
        for (int i = 0; i < N_READ; i++)
            add(columns[i].name, columns[i].type, at ? strsep(&at, "\t") : "");
        for (int i = 0; i < n_classes; i++)
            add(names[i], VN_FLOAT32, at ? strsep(&at, "\t") : ".");
        snprintf(number, sizeof number, "%lld", (long long)record);
        add("record", VN_UINT64, number);
        add("label", VN_UTF8, "");
        row_done();
    }
    end();
    return 0;
}
