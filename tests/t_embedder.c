/* How large the parts are in which the token rows of a large batch leave: about the same,
 * where any size is as good; full ones and what is left, where the device asks for that. */
#include <stdlib.h>

#include "check.h"
#include "embedder.h"
#include "fixture.h"
#include "memplan.h"

enum { D = 512, LEN = 128, WAVE = 16384, RECORDS = 422 };
#define MOST (VN_MEMPLAN_ROWS_BYTES / (D * (int64_t)sizeof(float))) /* tokens of a job */

static struct vn_model *model;
static const struct vn_engine_options rows = {.layer = 0, .max_tokens = LEN};

/* A batch of so many records of LEN tokens, in ./tokens. */
static void write_tokens(int records) {
    char command[1024];
    const char *build = getenv("B");
    snprintf(command, sizeof command, "yes %d | head -n %d | xargs '%s/tests/mktokens' >tokens",
             LEN, records, build ? build : "build/last");
    CHECK_INT(system(command), 0);
}

/* The fleet is of one backend that has waves of so many tokens. */
static struct vn_fleet *open_fleet(int64_t wave) {
    const struct vn_backend_options o = {.device = "cpu", .act = VN_F32, .threads = 1};
    struct vn_error err = {0};
    struct vn_backend *b;
    struct vn_fleet *f = NULL;
    CHECK_INT(vn_backend_open(&o, &b, &err), VN_OK);
    b->wave = wave;
    CHECK_INT(vn_fleet_open(model, &b, 1, &rows, &f, &err), VN_OK);
    CHECK_INT(vn_fleet_wait(f, &err), VN_OK);
    return f;
}

/* Sets tokens[] to those of each part, [4] at most; the number of parts. */
static int parts_of(int64_t wave, int64_t tokens[4]) {
    struct vn_error err = {0};
    struct vn_source *source;
    struct vn_reader *reader;
    struct vn_embedder *e;
    struct vn_schema schema;
    struct vn_batch out;
    struct vn_fleet *f = open_fleet(wave);
    int n = 0, rc;
    CHECK_INT(vn_source_open("tokens", &source, &err), VN_OK);
    CHECK_INT(vn_reader_open(source, NULL, &reader, &err), VN_OK);
    CHECK_INT(vn_embedder_new(reader, f, &rows, D, &schema, &e, &err), VN_OK);
    const int column = vn_schema_find(&schema, "embedding");
    vn_batch_init(&out);
    while ((rc = vn_embedder_next(e, &out, &err)) > 0 && n < 4)
        tokens[n++] = out.columns[column].level[1].length;
    CHECK_INT(rc, 0);
    vn_embedder_free(e);
    vn_batch_release(&out);
    vn_schema_release(&schema);
    vn_fleet_close(f);
    vn_reader_close(reader);
    return n;
}

/* 1.2 times what a job may give are two halves, and 1.95 times three thirds, as a record may
 * not fit into what is left of one. */
static void parts_are_of_one_size(void) {
    static const int all[] = {RECORDS, 687};
    for (int i = 0; i < 2; i++) {
        int64_t tokens[4] = {0};
        write_tokens(all[i]);
        CHECK_INT(parts_of(0, tokens), 2 + i);
        for (int k = 0; k < 2 + i; k++)
            CHECK(llabs(tokens[k] - (int64_t)all[i] * LEN / (2 + i)) <= 2 * LEN);
    }
}

/* What fits into one job is one. */
static void no_part_without_need(void) {
    int64_t tokens[4] = {0};
    write_tokens(MOST / LEN);
    CHECK_INT(parts_of(0, tokens), 1);
    CHECK_INT(tokens[0], MOST / LEN * LEN);
}

/* A device with waves gets them full: two in a job here, as three have too many rows. */
static void parts_are_full_waves(void) {
    int64_t tokens[4] = {0};
    write_tokens(RECORDS);
    CHECK_INT(parts_of(WAVE, tokens), 2);
    CHECK_INT(tokens[0], 2 * WAVE);
    CHECK_INT(tokens[1], RECORDS * LEN - 2 * WAVE);
}

int main(void) {
    model = fixture_model("--layers 1 --width 512 --heads 8");
    TEST(parts_are_of_one_size);
    TEST(no_part_without_need);
    TEST(parts_are_full_waves);
    vn_model_close(model);
    return check_done();
}
