/* Statistics by hand, and the map that matches ids against a plain list. */
#include <math.h>

#include "agreement.h"
#include "check.h"
#include "idmap.h"
#include "stats.h"

static struct vn_error err;

#define N(a) (sizeof(a) / sizeof *(a))
#define CHECK_NEAR(a, b) check_near(__LINE__, #a, (a), (b))
static void check_near(int line, const char *what, double a, double b) {
    if (!(fabs(a - b) <= 1e-12 * (1 + fabs(b)))) {
        printf("# %s is %.17g, expected %.17g\n", what, a, b);
        check_fail(__FILE__, line, what);
    }
}

static double spearman(const float *a, const float *b, size_t n) {
    double rho = 77;
    CHECK_INT(vn_spearman(a, b, n, &rho, &err), VN_OK);
    return rho;
}

static double auroc(const float *scores, const uint8_t *positive, size_t n) {
    double area = 77;
    CHECK_INT(vn_auroc(scores, positive, n, &area, &err), VN_OK);
    return area;
}

static void pearson(void) {
    const float a[] = {1, 2, 3, 4}, b[] = {2, 4, 6, 8}, c[] = {4, 3, 2, 1}, d[] = {1, 3, 2, 4};
    CHECK(vn_pearson(a, b, 4) == 1);
    CHECK(vn_pearson(a, a, 4) == 1);
    CHECK(vn_pearson(a, c, 4) == -1);
    CHECK_NEAR(vn_pearson(a, d, 4), 0.8); /* 4 / 5 */
}

static void correlation_is_not_defined(void) {
    const float a[] = {1, 2, 3}, same[] = {0.1f, 0.1f, 0.1f};
    float many[1001];
    for (size_t i = 0; i < N(many); i++)
        many[i] = 0.1f;
    CHECK(isnan(vn_pearson(a, same, 3)));
    CHECK(isnan(vn_pearson(same, a, 3)));
    CHECK(isnan(vn_pearson(many, many, N(many))));
    CHECK(isnan(vn_pearson(a, a, 1)));
    CHECK(isnan(vn_pearson(NULL, NULL, 0)));
    CHECK(isnan(spearman(a, same, 3)));
    CHECK(isnan(spearman(many, many, N(many))));
    CHECK(isnan(spearman(a, a, 1)));
    CHECK(isnan(spearman(NULL, NULL, 0)));
}

static void correlation_of_extremes(void) {
    const float big[] = {-3e38f, 0, 3e38f, 1e38f}, small[] = {1e-45f, 3e-45f, 2e-42f, 0};
    CHECK_NEAR(vn_pearson(big, big, 4), 1);
    CHECK_NEAR(vn_pearson(small, small, 4), 1);
    CHECK(fabs(vn_pearson(big, small, 4)) < 1);
    CHECK_NEAR(spearman(big, small, 4), 0.4); /* ranks 1 2 4 3 and 2 3 4 1: d = 1 1 0 2 */
}

static void ranks_share(void) {
    const float v[] = {5, 1, 5, 3, 5, 1, -0.0f, 0.0f};
    const double expected[] = {7, 3.5, 7, 5, 7, 3.5, 1.5, 1.5};
    double ranks[N(v)];
    CHECK_INT(vn_ranks(v, N(v), ranks, &err), VN_OK);
    for (size_t i = 0; i < N(v); i++)
        CHECK_NEAR(ranks[i], expected[i]);
    CHECK_INT(vn_ranks(NULL, 0, NULL, &err), VN_OK);
}

static void spearman_by_hand(void) {
    const float a[] = {1, 2, 3, 4, 5}, up[] = {1, 10, 100, 1e4f, 1e9f}, b[] = {2, 1, 4, 3, 5};
    const float tied[] = {1, 1, 2, 2, 3};
    CHECK(spearman(a, up, 5) == 1);
    CHECK_NEAR(spearman(a, b, 5), 0.8); /* 1 - 6 * 4 / (5 * 24) */
    /* ranks 1.5 1.5 3.5 3.5 5: sums of squares 10 and 9, of products 9 */
    CHECK_NEAR(spearman(a, tied, 5), 9 / sqrt(90));
}

static void auroc_by_hand(void) {
    const float s[] = {0.1f, 0.4f, 0.35f, 0.8f}, same[] = {1, 1, 1, 1};
    const uint8_t y[] = {0, 0, 1, 1}, none[] = {0, 0, 0, 0}, all[] = {1, 1, 1, 1};
    const uint8_t reversed[] = {1, 1, 0, 0};
    CHECK_NEAR(auroc(s, y, 4), 0.75);
    CHECK_NEAR(auroc(s, reversed, 4), 0.25);
    CHECK_NEAR(auroc(same, y, 4), 0.5);
    CHECK(isnan(auroc(s, none, 4)));
    CHECK(isnan(auroc(s, all, 4)));
    CHECK(isnan(auroc(NULL, NULL, 0)));
}

static void quantiles(void) {
    float v[] = {4, 1, 3, 2}, one[] = {7};
    vn_sort_floats(v, 4);
    CHECK_NEAR(vn_quantile(v, 4, 0), 1);
    CHECK_NEAR(vn_quantile(v, 4, 0.5), 2.5);
    CHECK_NEAR(vn_quantile(v, 4, 0.9), 3.7);
    CHECK_NEAR(vn_quantile(v, 4, 1), 4);
    CHECK_NEAR(vn_quantile(one, 1, 0.999), 7);
    CHECK(isnan(vn_quantile(NULL, 0, 0.5)));
    vn_sort_floats(NULL, 0);
}

static void score_differences(void) {
    struct vn_score_pairs s = {.n = 0};
    double d;
    const struct {
        float a, b;
        double difference;
    } rows[] = {{0.5f, 0.25f, 0.25},        {0.5f, 0.5009765625f, 0.0009765625},
                {0.5f, 0.5078125f, 0.0078125},
                {NAN, NAN, 0},              {NAN, 1, INFINITY},
                {INFINITY, INFINITY, 0},    {INFINITY, -INFINITY, INFINITY},
                {1, INFINITY, INFINITY},    {INFINITY, NAN, INFINITY}};
    for (size_t i = 0; i < N(rows); i++) {
        CHECK_INT(vn_score_pairs_add(&s, rows[i].a, rows[i].b, &d, &err), VN_OK);
        CHECK(d == rows[i].difference);
    }
    CHECK_INT(s.n, 3);
    CHECK_INT(s.none, 4);
    CHECK_INT(s.one_sided, 2);
    CHECK_INT(s.within_3, 1);
    CHECK_INT(s.within_2, 2);
    CHECK(s.max == 0.25);
    CHECK(s.sum == 0.0009765625 + 0.0078125 - 0.25);
    vn_score_pairs_release(&s);
}

static void vector_distances(void) {
    struct vn_vector_pairs v = {.width = 2};
    const float a[] = {3, 4}, b[] = {4, 3}, twice[] = {6, 8}, zero[] = {0, 0};
    const float bad[] = {NAN, 1}, big[] = {INFINITY, 0};
    double d;
    CHECK_INT(vn_vector_pairs_add(&v, a, b, 100, &d, &err), VN_OK);
    CHECK_NEAR(d, sqrt(2) / 5);
    CHECK_NEAR(v.all.min_cosine, 24.0 / 25);
    CHECK_INT(vn_vector_pairs_add(&v, a, twice, 127, &d, &err), VN_OK);
    CHECK_NEAR(d, 1);
    CHECK_NEAR(v.all.sum_cosine, 1 + 24.0 / 25);
    CHECK(v.max_abs == 4);
    CHECK_INT(vn_vector_pairs_add(&v, zero, zero, 128, &d, &err), VN_OK);
    CHECK(d == 0);
    CHECK_INT(vn_vector_pairs_add(&v, zero, a, 128, &d, &err), VN_OK);
    CHECK(isinf(d));
    CHECK_INT(vn_vector_pairs_add(&v, bad, bad, 128, &d, &err), VN_OK);
    CHECK(d == 0);
    CHECK_INT(vn_vector_pairs_add(&v, bad, a, 128, &d, &err), VN_OK);
    CHECK(isinf(d));
    CHECK_INT(vn_vector_pairs_add(&v, big, big, 128, &d, &err), VN_OK);
    CHECK(d == 0);
    CHECK_INT(v.undefined, 5);
    CHECK_INT(v.by_length[6].n, 2);
    CHECK_INT(v.by_length[7].n, 0);
    CHECK_INT(vn_vector_pairs_add(&v, a, a, INT64_MAX, &d, &err), VN_OK);
    CHECK_INT(vn_vector_pairs_add(&v, a, a, 0, &d, &err), VN_OK);
    CHECK_INT(vn_vector_pairs_add(&v, a, a, -1, &d, &err), VN_OK);
    CHECK_INT(v.by_length[62].n, 1);
    CHECK_INT(v.by_length[0].n, 1);
    CHECK_INT(v.all.n, 5);
    vn_vector_pairs_release(&v);
}

/* ---- the map ------------------------------------------------------------------------- */

#define KEYS 40
#define DEPTH 4096

static uint64_t state = 1;
static uint32_t some(uint32_t n) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33) % n;
}

/* A queue for each key, and the numbers of all in the order in which they came. */
static int queue[KEYS][DEPTH], head[KEYS], tail[KEYS];

static size_t key_of(char key[32], uint32_t k) {
    return k ? (size_t)sprintf(key, "%.*s%u", (int)(k % 7), "key-key", k) : 0; /* and "" */
}

static void take_both(struct vn_idmap *m, uint32_t k) {
    char key[32];
    const size_t n_key = key_of(key, k);
    size_t n = 77;
    const uint8_t *got = vn_idmap_take(m, key, n_key, &n);
    if (head[k] == tail[k]) {
        CHECK(!got);
        return;
    }
    const int number = queue[k][head[k]++];
    CHECK_INT(n, sizeof(int) + (size_t)(number % 300));
    CHECK(got && !memcmp(got, &number, sizeof number));
}

static int oldest(uint32_t *k) {
    int least = -1;
    for (uint32_t i = 0; i < KEYS; i++)
        if (head[i] < tail[i] && (least < 0 || queue[i][head[i]] < least)) {
            least = queue[i][head[i]];
            *k = i;
        }
    return least;
}

static void map_is_queues(void) {
    struct vn_idmap *m;
    char key[32];
    static uint8_t value[304];
    size_t n, n_key, live = 0;
    const void *got_key;
    CHECK_INT(vn_idmap_new(&m, &err), VN_OK);
    for (int number = 0; number < 60000; number++) {
        const uint32_t k = some(KEYS), filling = number / 10000 % 2 ? 4 : 7;
        if (some(10) < filling && tail[k] < DEPTH) {
            memcpy(value, &number, sizeof number);
            CHECK_INT(vn_idmap_put(m, key, key_of(key, k), value,
                                   sizeof number + (size_t)(number % 300), &err), VN_OK);
            queue[k][tail[k]++] = number;
            live++;
        } else {
            live -= head[k] < tail[k];
            take_both(m, k);
        }
        CHECK_INT(vn_idmap_size(m), live);
    }
    CHECK(live > 100);
    for (uint32_t k = 0; oldest(&k) >= 0; head[k]++) {
        const uint8_t *got = vn_idmap_take_oldest(m, &got_key, &n_key, &n);
        CHECK(got && !memcmp(got, &queue[k][head[k]], sizeof(int)));
        CHECK(n_key == key_of(key, k) && !memcmp(got_key, key, n_key));
    }
    CHECK(!vn_idmap_take_oldest(m, &got_key, &n_key, &n));
    vn_idmap_free(m);
}

static bool takes(struct vn_idmap *m, const char *key, size_t n_key, int expected) {
    size_t n;
    const void *seen = vn_idmap_get(m, key, n_key, &n);
    const void *got = seen ? vn_idmap_take(m, key, n_key, &n) : NULL;
    return got && got == seen && n == sizeof expected && !memcmp(got, &expected, n);
}

/* More keys than buckets, each twice. */
static void map_of_many_keys(void) {
    struct vn_idmap *m;
    char key[32];
    size_t n;
    bool all = true;
    CHECK_INT(vn_idmap_new(&m, &err), VN_OK);
    for (int i = 0; i < 200000; i++) {
        const size_t n_key = (size_t)sprintf(key, "read_%d", i % 100000);
        all = all && vn_idmap_put(m, key, n_key, &i, sizeof i, &err) == VN_OK;
    }
    for (int i = 99999; i >= 0; i--) {
        const size_t n_key = (size_t)sprintf(key, "read_%d", i);
        all = all && takes(m, key, n_key, i) && takes(m, key, n_key, i + 100000) &&
              !vn_idmap_get(m, key, n_key, &n);
    }
    CHECK(all);
    CHECK_INT(vn_idmap_size(m), 0);
    vn_idmap_free(m);
}

/* A million values of one key: what comes behind them must not look at them all. */
static void map_of_one_key(void) {
    struct vn_idmap *m;
    size_t n;
    bool all = true;
    CHECK_INT(vn_idmap_new(&m, &err), VN_OK);
    for (int i = 0; i < 1000000; i++)
        all = all && vn_idmap_put(m, "", 0, &i, sizeof i, &err) == VN_OK;
    for (int i = 0; i < 1000000; i++) {
        const void *got = vn_idmap_take(m, "", 0, &n);
        all = all && got && !memcmp(got, &i, sizeof i);
    }
    CHECK(all);
    vn_idmap_free(m);
}

int main(void) {
    TEST(pearson);
    TEST(correlation_is_not_defined);
    TEST(correlation_of_extremes);
    TEST(ranks_share);
    TEST(spearman_by_hand);
    TEST(auroc_by_hand);
    TEST(quantiles);
    TEST(score_differences);
    TEST(vector_distances);
    TEST(map_is_queues);
    TEST(map_of_many_keys);
    TEST(map_of_one_key);
    return check_done();
}
