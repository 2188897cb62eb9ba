/* Windows of long records: where they are, and how their vectors are put together. */
#include "check.h"
#include "windows.h"

enum { CLS = 0, EOS = 2, FIRST = 100 }; /* residue i is the token FIRST + i */

/* Cuts a record of R residues at M and looks at what is said of the result. */
static void check_cut(int64_t r, int64_t m) {
    static uint16_t whole[1000];
    static struct vn_buf out;
    uint8_t seen[1000] = {0}, far[1000] = {0}; /* and that far from the ends of a window */
    const int64_t overlap = m / 4, window = m + VN_WINDOW_SPECIALS;
    int64_t last = -1, n = 0, k = 0;
    whole[0] = CLS;
    for (int64_t i = 0; i < r; i++)
        whole[1 + i] = (uint16_t)(FIRST + i);
    whole[1 + r] = EOS;
    CHECK_INT(vn_windows_cut(whole, r + 2, m, &out, NULL), VN_OK);
    const uint16_t *t = (const uint16_t *)(const void *)out.data;
    n = (int64_t)(out.len / sizeof *t);
    CHECK_INT(n, vn_windows_tokens(r, m));
    for (int64_t at = 0; at < n; at += window, k++) {
        const int64_t end = at + window < n ? at + window : n, size = end - at - 2;
        CHECK_INT(t[at], CLS);
        CHECK_INT(t[end - 1], EOS);
        CHECK_INT(t[at + 1] - FIRST, k * (m - overlap));
        CHECK(size > overlap && last < r - 1); /* each brings something new */
        for (int64_t i = 0; i < size; i++) {
            const int64_t residue = t[at + 1 + i] - FIRST;
            CHECK_INT(residue, t[at + 1] - FIRST + i);
            seen[residue] = 1;
            if ((i >= overlap / 2 || residue == i) &&
                (size - 1 - i >= overlap / 2 || residue + size - i == r))
                far[residue] = 1;
            last = residue;
        }
    }
    CHECK_INT(k, vn_windows_count(n, window));
    CHECK_INT(last, r - 1);
    for (int64_t i = 0; i < r; i++)
        CHECK(seen[i] && far[i]);
}

static void windows_cover_a_record(void) {
    for (int64_t m = 1; m <= 40; m++)
        for (int64_t r = m + 1; r <= 5 * m + 3; r++)
            check_cut(r, m);
    check_cut(998, 997);
    check_cut(998, 300);
}

static void rows_that_are_whole(void) {
    CHECK_INT(vn_windows_count(0, 12), 1);
    CHECK_INT(vn_windows_count(1, 12), 1);
    CHECK_INT(vn_windows_count(12, 12), 1);
    CHECK_INT(vn_windows_count(13, 12), 2);
    CHECK_INT(vn_windows_count(24, 12), 2);
    CHECK_INT(vn_windows_count(25, 12), 3);
}

/* Windows of 12, 12 and 5 tokens: 10, 10 and 3 residues. */
static void vectors_are_weighted(void) {
    const float x[] = {1, -8, 3, 16, 5, 0.5f};
    float out[2];
    vn_windows_merge(VN_POOL_MEAN, x, 29, 12, 2, out);
    CHECK(out[0] == (float)((10 * 1. + 10 * 3. + 3 * 5.) / 23));
    CHECK(out[1] == (float)((10 * -8. + 10 * 16. + 3 * .5) / 23));
    vn_windows_merge(VN_POOL_MEAN_ALL, x, 29, 12, 2, out);
    CHECK(out[0] == (float)((12 * 1. + 12 * 3. + 5 * 5.) / 29));
    vn_windows_merge(VN_POOL_CLS, x, 29, 12, 2, out);
    CHECK(out[0] == 3 && out[1] == (float)(8.5 / 3));
    vn_windows_merge(VN_POOL_MAX, x, 29, 12, 2, out);
    CHECK(out[0] == 5 && out[1] == 16);
}

/* In the place of the first window, and before it; a record that is whole only moves. */
static void vectors_in_place(void) {
    float x[] = {9, 9, 1, -8, 3, 16};
    vn_windows_merge(VN_POOL_MAX, x + 2, 24, 12, 2, x);
    CHECK(x[0] == 3 && x[1] == 16);
    vn_windows_merge(VN_POOL_MAX, x + 2, 24, 12, 2, x + 2);
    CHECK(x[2] == 3 && x[3] == 16);
    vn_windows_merge(VN_POOL_MEAN, x + 4, 12, 12, 2, x);
    CHECK(x[0] == 3 && x[1] == 16);
}

int main(void) {
    TEST(windows_cover_a_record);
    TEST(rows_that_are_whole);
    TEST(vectors_are_weighted);
    TEST(vectors_in_place);
    return check_done();
}
