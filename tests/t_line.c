/* Several work, one finishes, in order; the first failure, in the order of coming, ends it;
 * what was lent comes back. */
#include "line.h"

#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "check.h"

#define MOST_SLOTS 6
#define TURNS 500

static struct vn_line *line;
static int slots[MOST_SLOTS];  /* what was put: the number of the turn */
static int worked[MOST_SLOTS]; /* what came of it */
static int done[TURNS], n_done, n_told;
static int working, most_working, n_bad; /* atomic; n_bad: what must not be was seen */
static int fail_work, fail_finish;       /* turns, -1: none */
static int n_threads;
static bool meet; /* work waits until as many as there are threads do */

static void nap(long ns) {
    const struct timespec t = {0, ns};
    nanosleep(&t, NULL);
}

static int work(void *ctx, int worker, int slot, struct vn_error *err) {
    const int turn = slots[slot];
    const int now = __atomic_add_fetch(&working, 1, __ATOMIC_SEQ_CST);
    if (ctx != &line || worker < 0 || worker >= (n_threads ? n_threads : 1))
        __atomic_add_fetch(&n_bad, 1, __ATOMIC_SEQ_CST);
    if (now > __atomic_load_n(&most_working, __ATOMIC_SEQ_CST))
        __atomic_store_n(&most_working, now, __ATOMIC_SEQ_CST);
    while (meet && __atomic_load_n(&most_working, __ATOMIC_SEQ_CST) < n_threads)
        nap(100000);
    nap(turn % 7 * 20000L); /* some are slow */
    worked[slot] = 3 * turn;
    __atomic_sub_fetch(&working, 1, __ATOMIC_SEQ_CST);
    return turn == fail_work ? vn_fail(err, VN_EDATA, "work %d", turn) : VN_OK;
}

static int finish(void *ctx, int slot, struct vn_error *err) {
    static int inside;
    if (ctx != &line || __atomic_add_fetch(&inside, 1, __ATOMIC_SEQ_CST) != 1)
        __atomic_add_fetch(&n_bad, 1, __ATOMIC_SEQ_CST);
    done[n_done++] = worked[slot];
    __atomic_sub_fetch(&inside, 1, __ATOMIC_SEQ_CST);
    return slots[slot] == fail_finish ? vn_fail(err, VN_EWRITE, "finish %d", slots[slot])
                                      : VN_OK;
}

static void failed(void *ctx) {
    n_told += ctx == &line;
}

static const struct vn_line_steps all = {work, finish, failed};

static void reset(int threads) {
    n_done = n_told = n_bad = most_working = 0;
    fail_work = fail_finish = -1;
    meet = false;
    n_threads = threads;
}

static void start(int threads, int n_slots, const struct vn_line_steps *steps) {
    struct vn_error err;
    reset(threads);
    CHECK_INT(vn_line_new(threads, n_slots, steps, &line, &line, &err), VN_OK);
}

/* Puts turns until it fails; how many were put. */
static int put(int n, struct vn_error *err) {
    for (int turn = 0; turn < n; turn++) {
        const int slot = vn_line_slot(line, err);
        if (slot < 0)
            return turn;
        slots[slot] = turn;
        if (vn_line_put(line, err) < 0)
            return turn + 1;
    }
    return n;
}

static void in_order(void) {
    static const struct { int threads, slots; } cases[] = {{0, 1}, {0, 3}, {1, 1}, {1, 4},
                                                           {3, 1}, {3, 5}, {4, 6}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct vn_error err;
        start(cases[i].threads, cases[i].slots, &all);
        CHECK_INT(put(TURNS, &err), TURNS);
        CHECK_INT(vn_line_drain(line, &err), VN_OK);
        CHECK_INT(n_done, TURNS);
        for (int t = 0; t < n_done; t++)
            CHECK_INT(done[t], 3 * t);
        CHECK_INT(n_bad, 0);
        CHECK_INT(n_told, 0);
        vn_line_free(line);
    }
}

static void several_at_a_time(void) {
    struct vn_error err;
    start(3, 3, &all);
    meet = true;
    CHECK_INT(put(3, &err), 3);
    CHECK_INT(vn_line_drain(line, &err), VN_OK);
    CHECK_INT(most_working, 3);
    vn_line_free(line);
}

static void without_work(void) {
    static const struct vn_line_steps steps = {NULL, finish, NULL};
    struct vn_error err;
    start(2, 2, &steps);
    for (int i = 0; i < 2; i++)
        worked[i] = 7;
    CHECK_INT(put(2, &err), 2);
    CHECK_INT(vn_line_drain(line, &err), VN_OK);
    CHECK_INT(n_done, 2);
    vn_line_free(line);
}

static void the_first_failure_counts(void) {
    for (int threads = 0; threads < 4; threads += 3) {
        struct vn_error err = {0};
        start(threads, 5, &all);
        fail_work = 41; /* slower than the next one, whose failure comes too late */
        fail_finish = 42;
        const int n = put(TURNS, &err);
        CHECK(threads ? n > 41 && n <= 41 + 6 : n == 42);
        CHECK_INT(vn_line_drain(line, &err), VN_EDATA);
        CHECK_STR(err.msg, "work 41");
        CHECK_INT(n_done, 41);
        CHECK_INT(vn_line_slot(line, &err), VN_EDATA);
        vn_line_free(line);
        CHECK_INT(n_told, 1);
    }
    struct vn_error err = {0};
    start(2, 4, &all);
    fail_finish = 9;
    fail_work = 10;
    CHECK(put(TURNS, &err) < TURNS);
    CHECK_INT(vn_line_drain(line, &err), VN_EWRITE);
    CHECK_STR(err.msg, "finish 9");
    CHECK_INT(n_done, 10);
    vn_line_free(line);
    CHECK_INT(n_told, 1);
}

static int to_fill, filled; /* turns; below 0: the turn -to_fill cannot be filled */

static int fill(void *ctx, int slot, struct vn_error *err) {
    (void)ctx;
    if (filled == abs(to_fill))
        return to_fill < 0 ? vn_fail(err, VN_EDATA, "fill %d", filled) : 0;
    slots[slot] = filled++;
    return 1;
}

static int run(int threads, int turns, int bad, struct vn_error *err) {
    reset(threads);
    to_fill = turns;
    filled = 0;
    fail_finish = bad;
    return vn_line_run(threads, 5, &all, fill, &line, err);
}

static void the_whole_of_it(void) {
    for (int threads = 0; threads < 4; threads += 3) {
        struct vn_error err = {0};
        CHECK_INT(run(threads, 0, -1, &err), VN_OK);
        CHECK_INT(n_done, 0);
        CHECK_INT(run(threads, 77, -1, &err), VN_OK);
        CHECK_INT(n_done, 77);
        CHECK_INT(run(threads, -77, -1, &err), VN_EDATA); /* after those that were filled */
        CHECK_STR(err.msg, "fill 77");
        CHECK_INT(n_done, 77);
        CHECK_INT(run(threads, -77, 76, &err), VN_EWRITE); /* what came before counts */
        CHECK_STR(err.msg, "finish 76");
        CHECK_INT(run(threads, TURNS, 30, &err), VN_EWRITE);
        CHECK_INT(n_done, 31);
        CHECK(filled <= 31 + 5);
    }
}

/* Who frees a line that has not been drained waits as well. */
static void freed_without_drain(void) {
    for (int i = 0; i < 20; i++) {
        struct vn_error err;
        start(3, 6, &all);
        CHECK_INT(put(6, &err), 6);
        vn_line_free(line);
        CHECK_INT(n_done, 6);
        for (int t = 0; t < n_done; t++)
            CHECK_INT(done[t], 3 * t);
    }
    vn_line_free(NULL);
}

int main(void) {
    TEST(in_order);
    TEST(several_at_a_time);
    TEST(without_work);
    TEST(the_first_failure_counts);
    TEST(the_whole_of_it);
    TEST(freed_without_drain);
    return check_done();
}
