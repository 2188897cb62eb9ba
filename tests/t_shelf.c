/* Rows come back as they were put, from memory and from the file, whatever the order. */
#include "shelf.h"
#include "check.h"

#define ROW 24
#define N 500

static struct vn_error err;

static void fill(uint8_t *row, int i) {
    for (int k = 0; k < ROW; k++)
        row[k] = (uint8_t)(i * 31 + k * 7 + i / 256);
}

/* Puts N rows, takes every second, puts N / 2 others, takes all: in `rounds` rounds. */
static void to_and_fro(int64_t memory, int rounds, int64_t spilled) {
    static uint64_t place[N];
    uint8_t row[ROW], got[ROW];
    struct vn_shelf *s;
    CHECK_INT(vn_shelf_new(ROW, memory, &s, &err), VN_OK);
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < N; i++) {
            fill(row, i);
            CHECK_INT(vn_shelf_put(s, row, &place[i], &err), VN_OK);
        }
        for (int pass = 0; pass < 2; pass++)
            for (int i = 1; i < N; i += 2) {
                fill(row, pass ? i + N : i);
                CHECK_INT(vn_shelf_take(s, place[i], got, &err), VN_OK);
                CHECK(!memcmp(row, got, ROW));
                fill(row, i + N);
                if (!pass)
                    CHECK_INT(vn_shelf_put(s, row, &place[i], &err), VN_OK);
            }
        for (int i = 0; i < N; i += 2) {
            fill(row, i);
            CHECK_INT(vn_shelf_take(s, place[i], got, &err), VN_OK);
            CHECK(!memcmp(row, got, ROW));
        }
    }
    CHECK_INT(vn_shelf_spilled(s), spilled);
    vn_shelf_free(s);
}

static void in_memory(void) {
    to_and_fro(N * ROW, 3, 0);
}

static void in_the_file(void) {
    to_and_fro(0, 3, N * ROW);
    to_and_fro(ROW - 1, 1, N * ROW);
}

static void in_both(void) {
    to_and_fro(N * ROW - 1, 3, ROW);
    to_and_fro(100 * ROW + 5, 3, (N - 100) * ROW);
}

static void rows_larger_than_a_slab(void) {
    const size_t bytes = ((size_t)1 << 20) + 3;
    uint8_t *row = calloc(1, bytes), *got = calloc(1, bytes);
    uint64_t place[4];
    struct vn_shelf *s;
    CHECK_INT(vn_shelf_new(bytes, 2 * (int64_t)bytes, &s, &err), VN_OK);
    for (int i = 0; i < 4; i++) {
        row[i] = row[bytes - 1] = (uint8_t)(i + 1);
        CHECK_INT(vn_shelf_put(s, row, &place[i], &err), VN_OK);
    }
    CHECK_INT(vn_shelf_spilled(s), 2 * bytes);
    for (int i = 3; i >= 0; i--) {
        CHECK_INT(vn_shelf_take(s, place[i], got, &err), VN_OK);
        CHECK_INT(got[bytes - 1], i + 1);
        CHECK(got[i] == i + 1 && got[i + 1] == 0);
    }
    vn_shelf_free(s);
    free(row);
    free(got);
}

static void no_room(void) { /* for the file */
    uint8_t row[ROW] = {0};
    uint64_t place;
    struct vn_shelf *s;
    setenv("TMPDIR", "nowhere", 1);
    CHECK_INT(vn_shelf_new(ROW, ROW, &s, &err), VN_OK);
    CHECK_INT(vn_shelf_put(s, row, &place, &err), VN_OK);
    CHECK_INT(vn_shelf_put(s, row, &place, &err), VN_EWRITE);
    CHECK_STR(err.msg, "cannot make a temporary file in 'nowhere': No such file or directory");
    vn_shelf_free(s);
    unsetenv("TMPDIR");
}

int main(void) {
    TEST(in_memory);
    TEST(in_the_file);
    TEST(in_both);
    TEST(rows_larger_than_a_slab);
    TEST(no_room);
    vn_shelf_free(NULL);
    return check_done();
}
