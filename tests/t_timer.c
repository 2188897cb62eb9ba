/* What was collected is sent when it is due, whatever the program waits for; never while the
 * program does not wait. Times are only ever waited for from below: a slow machine is slow,
 * not wrong. */
#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "timer.h"

static struct vn_timer *timer;
static int calls, waits;   /* the first under the timer's protection; the program waits */
static pthread_t caller;
static bool while_working; /* it was called when it must not be */
static int fail_with;

static int due(void *arg, struct vn_error *err) {
    CHECK(arg == &calls);
    calls++;
    caller = pthread_self();
    while_working |= !waits;
    return fail_with ? vn_fail(err, fail_with, "cannot send") : VN_OK;
}

static void start(int64_t ms) {
    calls = fail_with = 0;
    while_working = false;
    CHECK_INT(vn_timer_new(ms, due, &calls, &timer, NULL), VN_OK);
}

static void nap(int ms) {
    const struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

/* One wait of that many milliseconds. */
static int wait_for(int ms, bool collected) {
    struct vn_error err = {0};
    waits = 1; /* before the lock is let go, and as long as it is */
    int rc = vn_timer_wait(timer, collected, &err);
    if (rc == VN_OK) {
        nap(ms);
        rc = vn_timer_go_on(timer, rc, &err);
    }
    waits = 0;
    if (rc != VN_OK)
        CHECK_STR(err.msg, "cannot send");
    return rc;
}

static void no_timer(void) {
    CHECK_INT(vn_timer_source(NULL, NULL, NULL), VN_OK);
    CHECK_INT(vn_timer_wait(NULL, true, NULL), VN_OK);
    CHECK_INT(vn_timer_go_on(NULL, 7, NULL), 7);
    vn_timer_free(NULL);
}

static void fires_while_waiting(void) {
    start(1);
    for (int i = 0; i < 2000 && !calls; i++)
        CHECK_INT(wait_for(5, true), VN_OK);
    CHECK(calls);
    CHECK(!while_working);
    vn_timer_free(timer);
}

/* In a single wait, however long, it is called once: there is nothing more to send. */
static void fires_once_a_wait(void) {
    start(1);
    CHECK_INT(wait_for(300, true), VN_OK);
    CHECK(calls <= 1);
    vn_timer_free(timer);
}

static void nothing_collected(void) {
    start(1);
    for (int i = 0; i < 20; i++)
        CHECK_INT(wait_for(5, false), VN_OK);
    CHECK_INT(calls, 0);
    vn_timer_free(timer);
}

/* What was sent by other means in time is not due any more. */
static void taken_back(void) {
    start(60000);
    CHECK_INT(wait_for(1, true), VN_OK);
    CHECK_INT(wait_for(1, false), VN_OK);
    CHECK_INT(calls, 0);
    vn_timer_free(timer);
}

/* The time counts from the first record, not from the last. */
static void counts_from_the_first(void) {
    start(500);
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < 20000 && !calls; i++)
        CHECK_INT(wait_for(1, true), VN_OK);
    CHECK(calls);
    clock_gettime(CLOCK_MONOTONIC, &to);
    double s = (double)(to.tv_sec - from.tv_sec);
    s += 1e-9 * (double)(to.tv_nsec - from.tv_nsec);
    CHECK(s >= 0.5);
    vn_timer_free(timer);
}

/* What has become due while the program worked is sent before it waits, by itself: where it
 * hardly ever waits the thread may never have its turn. */
static void fires_before_a_wait(void) {
    start(20);
    CHECK_INT(wait_for(0, true), VN_OK);
    nap(60); /* the thread may have called it in the first wait, if that took so long */
    const int before = calls;
    CHECK_INT(wait_for(0, true), VN_OK);
    CHECK(before || (calls && pthread_equal(caller, pthread_self())));
    vn_timer_free(timer);
}

static void never_while_working(void) {
    start(1);
    waits = 1;
    CHECK_INT(vn_timer_wait(timer, true, NULL), VN_OK);
    CHECK_INT(vn_timer_go_on(timer, VN_EDATA, NULL), VN_EDATA);
    waits = 0;
    const int before = calls;
    nap(50);
    CHECK_INT(calls, before);
    CHECK(!while_working);
    vn_timer_free(timer);
}

static void failure_is_told(void) {
    int rc = VN_OK;
    start(1);
    fail_with = VN_EWRITE;
    for (int i = 0; i < 2000 && rc == VN_OK; i++)
        rc = wait_for(5, true);
    CHECK_INT(rc, VN_EWRITE);
    CHECK_INT(calls, 1);
    vn_timer_free(timer);
}

/* A read that would wait for ever ends, for the reason that there is. */
static void failure_ends_a_read(void) {
    struct vn_source *s;
    struct vn_error err = {0};
    char byte;
    int p[2], in = dup(STDIN_FILENO);
    CHECK(pipe(p) == 0 && dup2(p[0], STDIN_FILENO) == STDIN_FILENO);
    CHECK_INT(vn_source_open(NULL, &s, &err), VN_OK);
    start(1);
    fail_with = VN_EWRITE;
    CHECK_INT(vn_timer_source(timer, s, &err), VN_OK);
    waits = 1;
    CHECK_INT(vn_timer_wait(timer, true, &err), VN_OK);
    int64_t rc = s->read(s, &byte, 1, &err);
    CHECK_INT(rc, VN_EINTERNAL);
    CHECK_INT(vn_timer_go_on(timer, (int)rc, &err), VN_EWRITE);
    CHECK_STR(err.msg, "cannot send");
    waits = 0;
    CHECK_INT(vn_timer_source(timer, NULL, &err), VN_OK);
    vn_source_close(s);
    vn_timer_free(timer);
    dup2(in, STDIN_FILENO);
    close(p[0]), close(p[1]), close(in);
}

int main(void) {
    TEST(no_timer);
    TEST(fires_while_waiting);
    TEST(fires_once_a_wait);
    TEST(nothing_collected);
    TEST(taken_back);
    TEST(counts_from_the_first);
    TEST(fires_before_a_wait);
    TEST(never_while_working);
    TEST(failure_is_told);
    TEST(failure_ends_a_read);
    return check_done();
}
