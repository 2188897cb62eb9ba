/* mktokens - writes a tokens stream from its arguments, also such as vn-pack never writes.
 *
 *   mktokens [--vocabulary V] [--kind K] [--status] [--wide] [--null] [--taken] [--rows]
 *            [--seed N] RECORD...
 *   mktokens [--vocabulary V] [--tokenizer DIGEST] --load w52|w168|uni|dna TOKENS BATCH
 *
 * A RECORD is "0,20,5,2" (token ids), "N" (N random tokens between <cls> and <eos>, N >= 3),
 * "-" (no tokens) or "/" (begins a new batch); ":WORD" at its end is its status. Columns: id,
 * record, tokens, status (with --status), sample (int32, to be carried along). --wide writes
 * uint32 tokens, --null makes the first row of tokens null, --taken adds a column
 * "embedding", --rows gives embeddings of width 1 instead of tokens, --kind, --vocabulary
 * and --tokenizer say what the stream claims to be (tokens, esm2, no tokenizer's digest; no
 * vocabulary for "none"). --load writes
 * records of about TOKENS tokens in all, in batches of about BATCH: w52 has 50 to 52 of them a
 * record (reads of 150 bp), w168 150 to 168, uni as in UniProt, log-normal, 32 to 1024, and dna
 * 30 to 110, as DNABERT-S has of chunks of 300 bp. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stream.h"

#define MAX_COLUMNS 6

static struct vn_error err;
static uint32_t state = 1;
static bool wide, null_row, with_status, taken, as_rows;

static void check(int rc) {
    if (rc < 0) {
        fprintf(stderr, "mktokens: %s\n", err.msg);
        exit(-rc);
    }
}

static uint32_t draw(uint32_t n) {
    state = state * 1664525u + 1013904223u;
    return (state >> 16) % n;
}

/* The tokens of a record; returns how many. */
static int64_t parse(const char *text, uint32_t *out) {
    int64_t n = 0;
    if (*text == '-')
        return 0;
    if (!strchr(text, ',')) {
        n = atoi(text);
        out[0] = 0;
        for (int64_t i = 1; i < n - 1; i++)
            out[i] = 4 + draw(20);
        out[n - 1] = 2;
        return n;
    }
    for (const char *p = text; p; p = strchr(p, ',')) {
        p += *p == ',';
        out[n++] = (uint32_t)strtoul(p, NULL, 10);
    }
    return n;
}

/* Appends a list of fixed size lists of one float: the tokens as numbers. */
static int add_rows(struct vn_builder *c, const uint32_t *tokens, int64_t n) {
    static float values[1 << 20];
    const int32_t offsets[2] = {0, (int32_t)n};
    struct vn_column one = {{{.length = 1, .offsets = offsets},
                             {.length = n},
                             {.length = n, .values = values}}};
    for (int64_t i = 0; i < n; i++)
        values[i] = (float)tokens[i];
    return vn_builder_append(c, &one, 0, 1, &err);
}

static void add_record(struct vn_builder *c, const char *arg, uint64_t record) {
    static uint32_t tokens[1 << 20];
    static uint16_t narrow[1 << 20];
    char id[32], text[4096];
    const char *colon = strchr(arg, ':');
    int32_t sample = (int32_t)record * 10;
    snprintf(text, sizeof text, "%.*s", colon ? (int)(colon - arg) : 4095, arg);
    int64_t n = parse(text, tokens);
    for (int64_t i = 0; i < n; i++)
        narrow[i] = (uint16_t)tokens[i];
    int len = snprintf(id, sizeof id, "r%llu", (unsigned long long)record);
    check(vn_builder_add_bytes(&c[0], id, (size_t)len, &err));
    check(vn_builder_add_value(&c[1], &record, &err));
    if (as_rows)
        check(add_rows(&c[2], tokens, n));
    else if (null_row && record == 0)
        check(vn_builder_add_null(&c[2], &err));
    else
        check(vn_builder_add_list(&c[2], wide ? (const void *)tokens : narrow, n, &err));
    check(vn_builder_add_value(&c[3], &sample, &err));
    const char *status = colon ? colon + 1 : "ok";
    if (with_status)
        check(vn_builder_add_bytes(&c[4], status, strlen(status), &err));
    if (taken)
        check(vn_builder_add_value(&c[4 + with_status], &sample, &err));
}

static void put(struct vn_writer *w, struct vn_builder *c, int n_columns) {
    struct vn_batch b;
    vn_batch_init(&b);
    check(vn_batch_set_columns(&b, n_columns, &err));
    for (int i = 0; i < n_columns; i++)
        vn_builder_view(&c[i], &b.columns[i]);
    b.n_rows = c[0].level[0].length;
    check(vn_writer_put(w, &b, &err));
    vn_batch_release(&b);
    for (int i = 0; i < n_columns; i++)
        vn_builder_clear(&c[i]);
}

/* The tokens of a random record of a load; 0 for an unknown one. */
static int load_length(const char *load) {
    if (!strcmp(load, "w52"))
        return 50 + (int)draw(3);
    if (!strcmp(load, "w168"))
        return 150 + (int)draw(19);
    if (!strcmp(load, "dna"))
        return 30 + (int)draw(81);
    if (strcmp(load, "uni") != 0)
        return 0;
    double u = (draw(65536) + 1) / 65536.0, v = draw(65536) / 65536.0;
    double g = sqrt(-2 * log(u)) * cos(2 * acos(-1) * v);
    int n = (int)exp(0.65 * g + log(280)) + 2;
    return n < 32 ? 32 : n > 1024 ? 1024 : n;
}

static void add_load(struct vn_writer *w, struct vn_builder *c, int n_columns,
                     const char *load, int64_t tokens, int64_t batch) {
    uint64_t record = 0;
    char text[32];
    int64_t n = 0, in_batch = 0;
    for (; n < tokens; record++) {
        int len = load_length(load);
        if (!len)
            exit(2);
        if (in_batch && in_batch + len > batch) {
            put(w, c, n_columns);
            in_batch = 0;
        }
        snprintf(text, sizeof text, "%d", len);
        add_record(c, text, record);
        in_batch += len;
        n += len;
    }
}

int main(int argc, char **argv) {
    const char *vocabulary = "esm2", *kind = "tokens";
    const char *load = NULL, *tokenizer = NULL;
    char members[300];
    int n_members;
    int i = 1;
    for (; i < argc && !strncmp(argv[i], "--", 2); i++) {
        const char *o = argv[i] + 2;
        if (!strcmp(o, "vocabulary"))
            vocabulary = argv[++i];
        else if (!strcmp(o, "tokenizer"))
            tokenizer = argv[++i];
        else if (!strcmp(o, "kind"))
            kind = argv[++i];
        else if (!strcmp(o, "seed"))
            state = (uint32_t)atoi(argv[++i]);
        else if (!strcmp(o, "load"))
            load = argv[++i];
        else if (!strcmp(o, "status"))
            with_status = true;
        else if (!strcmp(o, "wide"))
            wide = true;
        else if (!strcmp(o, "null"))
            null_row = true;
        else if (!strcmp(o, "rows"))
            as_rows = true;
        else if (!strcmp(o, "taken"))
            taken = true;
        else
            return 2;
    }
    const enum vn_type list[] = {VN_LIST, wide ? VN_UINT32 : VN_UINT16};
    const enum vn_type rows[] = {VN_LIST, VN_FIXED_LIST, VN_FLOAT32};
    const int32_t sizes[] = {0, 1, 0};
    struct vn_builder c[MAX_COLUMNS];
    struct vn_schema s;
    struct vn_sink *sink;
    struct vn_writer *w;
    uint64_t record = 0;
    vn_schema_init(&s, vn_kind_of(kind));
    check(vn_schema_add_flat(&s, "id", VN_UTF8, &err));
    check(vn_schema_add_flat(&s, "record", VN_UINT64, &err));
    if (as_rows)
        check(vn_schema_add(&s, "embedding", rows, sizes, 3, false, &err));
    else
        check(vn_schema_add(&s, "tokens", list, NULL, 2, null_row, &err));
    check(vn_schema_add_flat(&s, "sample", VN_INT32, &err));
    if (with_status)
        check(vn_schema_add_flat(&s, "status", VN_UTF8, &err));
    if (taken)
        check(vn_schema_add_flat(&s, "embedding", VN_INT32, &err));
    n_members = snprintf(members, sizeof members,
                         "\"program\":\"mktokens\",\"vocabulary\":\"%s\"", vocabulary);
    if (tokenizer)
        snprintf(members + n_members, sizeof members - (size_t)n_members,
                 ",\"tokenizer\":\"%s\"", tokenizer);
    if (strcmp(vocabulary, "none") != 0)
        check(vn_schema_add_program(&s, members, &err));
    for (int k = 0; k < s.n_fields; k++)
        vn_builder_init(&c[k], &s.fields[k]);
    check(vn_sink_open(NULL, &sink, &err));
    check(vn_writer_open(sink, &s, &w, &err));
    if (load && argc - i == 2) {
        add_load(w, c, s.n_fields, load, atoll(argv[i]), atoll(argv[i + 1]));
        i = argc;
    }
    for (; i < argc; i++) {
        if (!strcmp(argv[i], "/"))
            put(w, c, s.n_fields);
        else
            add_record(c, argv[i], record++);
    }
    put(w, c, s.n_fields);
    check(vn_writer_close(w, &err));
    for (int k = 0; k < s.n_fields; k++)
        vn_builder_release(&c[k]);
    vn_schema_release(&s);
    return 0;
}
