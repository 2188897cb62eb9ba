/* Prints a tokens stream as text, for tests.
 *
 *     tokens [-b] [FILE]
 *
 * One line a row, in the order of the stream: batch, record, id, status, number of
 * tokens, and their text without <cls> and <eos>, cut at 60 characters. With -b one line
 * a batch: rows, tokens. Exit status 1, and a message, if the stream is not whole. */
#include <stdio.h>
#include <string.h>

#include "stream.h"
#include "tok.h"

static void print_row(const struct vn_batch *b, const int *col, int64_t i) {
    size_t n_id, n_status;
    const char *id = vn_utf8_row(&b->columns[col[0]], i, &n_id);
    const char *status = vn_utf8_row(&b->columns[col[3]], i, &n_status);
    const struct vn_array *list = b->columns[col[2]].level;
    const uint16_t *tokens = list[1].values;
    int64_t from, to, width = 0;
    vn_span(&list[0], VN_LIST, i, &from, &to);
    printf("%llu\t%llu\t%.*s\t%.*s\t%lld\t", (unsigned long long)b->number,
           (unsigned long long)((const uint64_t *)b->columns[col[1]].level[0].values)[i],
           (int)n_id, id, (int)n_status, status, (long long)(to - from));
    for (int64_t k = from + 1; k < to - 1 && width < 60; k++)
        width += printf("%s", vn_tok_esm2_text(tokens[k]));
    putchar('\n');
}

int main(int argc, char **argv) {
    bool batches = argc > 1 && !strcmp(argv[1], "-b");
    static const char *const names[] = {"id", "record", "tokens", "status"};
    struct vn_error err = {0};
    struct vn_source *source;
    struct vn_reader *r;
    struct vn_batch b;
    int col[4];
    int rc = vn_source_open(argv[1 + batches], &source, &err);
    if (rc == VN_OK)
        rc = vn_reader_open(source, NULL, &r, &err);
    if (rc == VN_OK)
        rc = vn_schema_require_kind(vn_reader_schema(r), VN_KIND_TOKENS, &err);
    for (int i = 0; rc == VN_OK && i < 4; i++)
        if ((col[i] = vn_schema_find(vn_reader_schema(r), names[i])) < 0)
            rc = vn_fail(&err, VN_EINCOMPAT, "no column '%s'", names[i]);
    if (rc == VN_OK) {
        vn_batch_init(&b);
        while ((rc = vn_reader_next(r, &b, &err)) > 0) {
            if (batches)
                printf("%lld\t%lld\n", (long long)b.n_rows,
                       (long long)b.columns[col[2]].level[1].length);
            for (int64_t i = 0; !batches && i < b.n_rows; i++)
                print_row(&b, col, i);
        }
        vn_batch_release(&b);
        vn_reader_close(r);
    }
    if (rc < 0)
        fprintf(stderr, "tokens: %s\n", err.msg);
    return rc < 0;
}
