/* Calls: ties, the threshold, rows without vectors, scores that are no numbers, counts. */
#include "scorer.h"

#include <math.h>

#include "check.h"

/* score_b - score_a grows with x[0] - x[1]; equal inputs give a tie. */
static float weight[] = {0, 1, 1, 0}, bias[] = {0, 0};
static int width[] = {2, 2};
static char label_a[] = "a", label_b[] = "b", head_name[] = "quo\"ted", head_dir[] = "x";
static char *labels[] = {label_a, label_b, NULL};
static float *weights[] = {weight}, *biases[] = {bias};
static const struct vn_head head = {.name = head_name, .dir = head_dir, .sha256 = "00",
                                    .n_layers = 1, .width = width, .weight = weights,
                                    .bias = biases, .labels = labels};

static struct vn_error err;
static struct vn_schema schema;
static struct vn_builder columns[4];
static struct vn_scorer scorer;
static struct vn_batch scored; /* the last part */
static struct vn_buf scores;   /* its */
static int64_t last_part;
static int n_parts;

/* Vectors with ids r0, r1 ...; NAN in the first place: no vector. */
static void score(const float (*x)[2], const char *const *status, int n,
                  float threshold) {
    static const enum vn_type vector[] = {VN_FIXED_LIST, VN_FLOAT32}, utf8 = VN_UTF8;
    const int32_t sizes[] = {2, 0};
    struct vn_batch in;
    vn_schema_init(&schema, VN_KIND_VECTORS);
    CHECK_INT(vn_schema_add_flat(&schema, "record", VN_UINT64, &err), 0);
    CHECK_INT(vn_schema_add(&schema, "embedding", vector, sizes, 2, true, &err), 0);
    CHECK_INT(vn_schema_add(&schema, "status", &utf8, NULL, 1, true, &err), 0);
    CHECK_INT(vn_schema_add_flat(&schema, "id", VN_UTF8, &err), 0);
    for (int i = 0; i < 4; i++)
        vn_builder_init(&columns[i], &schema.fields[i]);
    for (int i = 0; i < n; i++) {
        const uint64_t record = (uint64_t)i;
        CHECK_INT(vn_builder_add_value(&columns[0], &record, &err), 0);
        CHECK_INT(isnan(x[i][0]) ? vn_builder_add_null(&columns[1], &err)
                                 : vn_builder_add_list(&columns[1], x[i], 2, &err), 0);
        CHECK_INT(status && status[i]
                      ? vn_builder_add_bytes(&columns[2], status[i], strlen(status[i]), &err)
                      : vn_builder_add_null(&columns[2], &err), 0);
        CHECK_INT(vn_builder_add_bytes(&columns[3], "r", 1, &err), 0);
    }
    vn_batch_init(&in);
    CHECK_INT(vn_batch_set_columns(&in, 4, &err), 0);
    in.n_rows = n;
    for (int i = 0; i < 4; i++)
        vn_builder_view(&columns[i], &in.columns[i]);
    int rc = vn_scorer_init(&scorer, &head, &schema, threshold, 2,
                            "\"program\":\"t\"", &err);
    CHECK_INT(rc, 0);
    int64_t row = 0;
    for (n_parts = 0; row < n; n_parts++, row += last_part) {
        CHECK_INT(vn_scorer_compute(&scorer, n_parts % 2, &in, row, &scores, &err), 0);
        last_part = vn_scorer_rows(&scorer, &in, row, &scores, &scored, &err);
        CHECK_INT(last_part, scored.n_rows);
        CHECK(last_part > 0);
    }
    CHECK_INT(row, n);
    vn_batch_release(&in);
}

static void done(void) {
    vn_batch_release(&scored);
    vn_buf_release(&scores);
    vn_scorer_release(&scorer);
    for (int i = 0; i < 4; i++)
        vn_builder_release(&columns[i]);
    vn_schema_release(&schema);
}

/* Label or status of a row as a string. */
static const char *cell(const char *column, int64_t row) {
    static char text[2][64];
    static int turn;
    char *t = text[turn++ & 1];
    const struct vn_column *c = &scored.columns[vn_schema_find(&scorer.schema, column)];
    size_t n;
    if (vn_is_null(&c->level[0], row))
        return ".";
    const char *s = vn_utf8_row(c, row, &n);
    memcpy(t, s, n);
    t[n] = 0;
    return t;
}
static const float *number(const char *column) {
    return scored.columns[vn_schema_find(&scorer.schema, column)].level[0].values;
}

static void the_highest_score_wins_and_a_tie_is_the_first(void) {
    const float x[][2] = {{1, 0}, {0, 1}, {3, 3}, {0.25f, 0.25f}};
    score(x, NULL, 4, NAN);
    CHECK_STR(cell("label", 0), "b");
    CHECK_STR(cell("label", 1), "a");
    CHECK_STR(cell("label", 2), "a");
    CHECK_STR(cell("label", 3), "a");
    CHECK(number("score_a")[2] == 0.5f && number("score_b")[2] == 0.5f);
    CHECK(fabsf(number("score_b")[0] - 0.7310586f) < 1e-6f);
    CHECK_INT(scorer.per_label[0].rows, 3);
    CHECK_INT(scorer.per_label[1].rows, 1);
    CHECK_INT(scorer.per_label[2].rows, 0);
    done();
}

static void the_threshold_belongs_to_the_second_class(void) {
    const float x[][2] = {{1, 0}, {0, 1}, {3, 3}};
    score(x, NULL, 3, 0.5f);
    CHECK_STR(cell("label", 0), "b");
    CHECK_STR(cell("label", 1), "a");
    CHECK_STR(cell("label", 2), "b");
    done();
    score(x, NULL, 3, 0.75f);
    CHECK_STR(cell("label", 0), "a");
    done();
}

static void no_vector_no_call(void) {
    const float x[][2] = {{NAN, 0}, {NAN, 0}, {NAN, 0}, {NAN, 0}, {NAN, 0},
                          {1, 0},   {1, 0},   {1, 0}};
    const char *const status[] = {NULL, "ok", "too long", "", "truncated", "odd", "ok",
                                  "truncated"};
    const char *const wanted[] = {"empty", "empty", "too long", "empty", "empty", "odd", "ok",
                                  "truncated"};
    score(x, status, 8, NAN);
    for (int i = 0; i < 8; i++) {
        CHECK_STR(cell("label", i), i < 5 ? "." : "b");
        CHECK_STR(cell("status", i), wanted[i]);
    }
    CHECK_INT(scored.columns[3].level[0].null_count, 5);
    CHECK_INT(scorer.n_statuses, 5);
    CHECK_INT(scorer.per_status[0].rows, 4);
    CHECK_INT(scorer.per_label[2].rows, 5);
    done();
}

static void not_finite(void) {
    const float x[][2] = {{0, NAN}, {INFINITY, 0}, {1, 0}, {0, NAN}};
    const char *const status[] = {"ok", "bent", NULL, "truncated"};
    score(x, status, 4, 0.0f);
    CHECK_STR(cell("status", 3), "not finite");
    CHECK_STR(cell("label", 0), ".");
    CHECK_STR(cell("status", 0), "not finite");
    CHECK_STR(cell("label", 1), ".");
    CHECK_STR(cell("status", 1), "bent");
    CHECK_STR(cell("label", 2), "b");
    done();
}

static void many_statuses_are_summed_up(void) {
    static float x[40][2];
    static char words[40][8];
    const char *status[40];
    for (int i = 0; i < 40; i++) {
        snprintf(words[i], sizeof words[i], "s%d", i % 20);
        status[i] = words[i];
    }
    score((const float(*)[2])x, status, 40, NAN);
    CHECK_INT(scorer.n_statuses, VN_MAX_STATUSES);
    CHECK_INT(scorer.per_status[0].rows, 2);
    CHECK_INT(scorer.per_status[VN_MAX_STATUSES].rows, 8);
    CHECK_STR(scorer.per_status[VN_MAX_STATUSES].text, "others");
    done();
}

static void a_large_batch_leaves_in_parts(void) {
    enum { ROWS = (1 << 17) + 3 }; /* 2^18 scores at once */
    float(*x)[2] = calloc(ROWS, sizeof *x);
    for (int i = 0; x && i < ROWS; i++)
        x[i][i & 1] = 1;
    score((const float(*)[2])x, NULL, ROWS, NAN);
    CHECK_INT(n_parts, 2);
    CHECK_INT(last_part, 3);
    CHECK_STR(cell("label", 0), "b"); /* rows are counted on, vectors too */
    CHECK_STR(cell("label", 1), "a");
    CHECK_INT(((const uint64_t *)scored.columns[1].level[0].values)[2], ROWS - 1);
    CHECK_INT(scorer.per_label[0].rows, ROWS / 2);
    done();
    free(x);
}

static void provenance_quotes_the_name(void) {
    const float x[][2] = {{1, 0}};
    char name[32] = "";
    score(x, NULL, 1, NAN);
    CHECK(vn_schema_provenance(&scorer.schema, "head", name, sizeof name));
    CHECK_STR(name, "quo\"ted");
    done();
}

int main(void) {
    TEST(the_highest_score_wins_and_a_tie_is_the_first);
    TEST(the_threshold_belongs_to_the_second_class);
    TEST(no_vector_no_call);
    TEST(not_finite);
    TEST(many_statuses_are_summed_up);
    TEST(a_large_batch_leaves_in_parts);
    TEST(provenance_quotes_the_name);
    return check_done();
}
