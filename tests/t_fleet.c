/* Several engines, which share jobs: the same results in the same order as one, whatever
 * their number and speed, and an end of it when one fails. */
#include <pthread.h>
#include <unistd.h>

#include "check.h"
#include "fixture.h"
#include "fleet.h"

enum { JOBS = 40, D = 32, MOST = 700 };

static uint16_t tokens[JOBS * MOST];
static int32_t cu[4 * JOBS + 1]; /* job k: sequences [4k, 4k + 4) */
static const struct vn_engine_options pooled = {.layer = 2, .pool = VN_POOL_MEAN};
static const struct vn_engine_options token_rows = {.layer = 2};

static void fill(void) {
    uint32_t state = 7;
    for (int i = 0; i < 4 * JOBS; i++) {
        state = state * 1664525u + 1013904223u;
        int n = i % 9 == 4 ? 0 : 3 + (int)(state >> 16) % (i % 13 == 0 ? MOST / 4 : 20);
        cu[i + 1] = cu[i] + n;
    }
    for (int i = 0; i < cu[4 * JOBS]; i++)
        tokens[i] = (uint16_t)(4 + i * 7 % 20);
}

/* ---- backends of a temper -------------------------------------------------------- */

/* The operations of a backend are its own to change: these count, dawdle and fail. */
static struct odd {
    struct vn_backend *b;
    struct vn_backend_ops was;
    int embeds, waits;
    int fail_embed, fail_wait; /* the call that fails, from 1 */
    int delay;                 /* microseconds of embed */
} odds[8];
static int n_odds;
static bool warm; /* loading waits as well: calls count, and fail, only after it */

static struct odd *odd_of(const struct vn_backend *b) {
    for (int i = 0; i < n_odds; i++)
        if (odds[i].b == b)
            return &odds[i];
    abort();
}

static int odd_embed(struct vn_backend *b, const struct vn_seqs *s,
                     const struct vn_embed_args *a, struct vn_error *err) {
    struct odd *o = odd_of(b);
    if (++o->embeds == o->fail_embed && warm)
        return vn_fail(err, VN_EFAIL, "embed %d", o->embeds);
    usleep((useconds_t)o->delay);
    return o->was.embed(b, s, a, err);
}

static int odd_wait(struct vn_backend *b, int slot, struct vn_error *err) {
    struct odd *o = odd_of(b);
    if (++o->waits == o->fail_wait && warm)
        return vn_fail(err, VN_EFAIL, "wait %d", o->waits);
    return o->was.wait(b, slot, err);
}

static int odd_alloc(struct vn_backend *b, size_t bytes, void **out, struct vn_error *err) {
    (void)b;
    *out = NULL;
    return vn_fail(err, VN_EBUSY, "no %zu bytes", bytes);
}

/* Opens n backends, whose temper is that of odds[0..n). `queues`: they say that they do. */
static int open_backends(struct vn_backend *out[], int n, bool queues) {
    const struct vn_backend_options o = {.device = "reference", .act = VN_F32, .threads = 1};
    struct vn_error err = {0};
    n_odds = n;
    warm = false;
    for (int i = 0; i < n; i++) {
        CHECK_INT(vn_backend_open(&o, &out[i], &err), VN_OK);
        odds[i].b = out[i];
        odds[i].was = out[i]->ops;
        out[i]->ops.embed = odd_embed;
        out[i]->ops.wait = odd_wait;
        out[i]->queues = queues;
    }
    return n;
}

static struct vn_fleet *open_fleet(const struct vn_model *m, int n, bool queues,
                                   const struct vn_engine_options *opts) {
    struct vn_backend *b[8];
    struct vn_error err = {0};
    struct vn_fleet *f = NULL;
    int rc = vn_fleet_open(m, b, open_backends(b, n, queues), opts, &f, &err);
    CHECK_INT(rc, VN_OK);
    CHECK_INT(vn_fleet_wait(f, &err), VN_OK);
    for (int i = 0; i < n; i++)
        odds[i].embeds = odds[i].waits = 0;
    warm = true;
    return f;
}

/* ---- two ends -------------------------------------------------------------------- */

static bool submit(struct vn_fleet *f, int k) {
    return vn_fleet_submit(f, tokens, cu + 4 * k, 4, cu + 4 * k) == 1;
}

static void *submit_all(void *fleet) {
    struct vn_fleet *f = fleet;
    for (int k = 0; k < JOBS && submit(f, k); k++)
        ;
    vn_fleet_finish(f);
    return NULL;
}

/* Runs all jobs; `out` collects their results one after the other. How many came back; the
 * failure that ended it is left in err. */
static int run_all(struct vn_fleet *f, struct vn_buf *out, struct vn_error *err) {
    struct vn_job *job;
    pthread_t thread;
    int rc, n = 0;
    out->len = 0;
    CHECK_INT(pthread_create(&thread, NULL, submit_all, f), 0);
    while ((rc = vn_fleet_collect(f, &job, err)) > 0) {
        CHECK(job->user == cu + 4 * n && job->cu_seqlens == cu + 4 * n && job->n_seq == 4);
        n++;
        CHECK_INT(vn_buf_append(out, job->outcome.data, job->outcome.len, NULL), VN_OK);
        CHECK_INT(vn_buf_append(out, job->out.data, job->out.len, NULL), VN_OK);
    }
    if (rc < 0) {
        CHECK(job->user == cu + 4 * n); /* the failure is that of the next in turn */
        vn_fleet_stop(f);
    }
    CHECK_INT(pthread_join(thread, NULL), 0);
    return n;
}

static void expected(const struct vn_model *m, const struct vn_engine_options *opts,
                     struct vn_buf *out) {
    struct vn_engine *e = fixture_engine(m, "reference", VN_F32, opts);
    struct vn_job job = {.tokens = tokens, .n_seq = 4};
    struct vn_error err = {0};
    for (int k = 0; k < JOBS; k++) {
        job.cu_seqlens = cu + 4 * k;
        CHECK_INT(fixture_run(e, &job, &err), 1);
        CHECK_INT(vn_buf_append(out, job.outcome.data, job.outcome.len, NULL), VN_OK);
        CHECK_INT(vn_buf_append(out, job.out.data, job.out.len, NULL), VN_OK);
    }
    fixture_job_release(&job);
    vn_engine_close(e);
}

static bool equal(const struct vn_buf *a, const struct vn_buf *b) {
    return a->len == b->len && !memcmp(a->data, b->data, a->len);
}

/* ---- the tests ------------------------------------------------------------------- */

static void any_number_gives_what_one_gives(void) {
    struct vn_model *m = fixture_model("--seed 3");
    struct vn_buf want = {0}, got = {0};
    struct vn_error err = {0};
    for (int rule = 0; rule < 2; rule++) {
        const struct vn_engine_options *opts = rule ? &pooled : &token_rows;
        want.len = 0;
        expected(m, opts, &want);
        for (int k = 0; k < 8; k++) { /* 1 to 4 engines, queueing and not */
            memset(odds, 0, sizeof odds);
            struct vn_fleet *f = open_fleet(m, 1 + k / 2, k & 1, opts);
            CHECK_INT(vn_fleet_window(f), (1 + k / 2) * (k & 1 ? VN_SLOTS + 1 : 2));
            CHECK_INT(run_all(f, &got, &err), JOBS);
            CHECK(equal(&got, &want));
            vn_fleet_close(f);
        }
    }
    vn_buf_release(&want);
    vn_buf_release(&got);
    vn_model_close(m);
}

/* Whichever it is, and the jobs wait for it to keep their order. */
static void the_slow_one_gets_less(void) {
    struct vn_model *m = fixture_model("--seed 3");
    for (int slow = 0; slow < 3; slow++) {
        struct vn_error err = {0};
        struct vn_job *job;
        memset(odds, 0, sizeof odds);
        odds[slow].delay = 50000;
        struct vn_fleet *f = open_fleet(m, 3, true, &pooled);
        for (int k = 0; k < 2 * JOBS; k++) { /* of one size, a full window of them */
            CHECK(submit(f, 0));
            if (k + 1 >= vn_fleet_window(f))
                CHECK_INT(vn_fleet_collect(f, &job, &err), 1);
        }
        vn_fleet_stop(f);
        for (int i = 0; i < 3; i++)
            CHECK(i == slow || odds[slow].embeds < odds[i].embeds);
        vn_fleet_close(f);
    }
    vn_model_close(m);
}

static void one_that_fails_ends_it(void) {
    struct vn_model *m = fixture_model("--seed 3");
    struct vn_buf got = {0};
    for (int k = 0; k < 24; k++) {
        const int n = 1 + k % 3, bad = k % n;
        struct vn_error err = {0};
        memset(odds, 0, sizeof odds);
        if (k & 4)
            odds[bad].fail_wait = 1 + k / 4;
        else
            odds[bad].fail_embed = 1 + k / 4;
        odds[(bad + 1) % n].delay = 300;
        struct vn_fleet *f = open_fleet(m, n, k & 8, &pooled);
        int done = run_all(f, &got, &err);
        CHECK(done < JOBS);
        CHECK_INT(err.status, VN_EFAIL);
        CHECK(strstr(err.msg, k & 4 ? "wait" : "embed") != NULL);
        vn_fleet_close(f);
    }
    vn_buf_release(&got);
    vn_model_close(m);
}

static void one_that_cannot_open_is_named(void) {
    struct vn_model *m = fixture_model("--seed 3");
    for (int n = 1; n <= 3; n += 2) {
        struct vn_backend *b[8];
        struct vn_fleet *f = NULL;
        struct vn_error err = {0};
        memset(odds, 0, sizeof odds);
        open_backends(b, n, false);
        b[n / 2]->ops.alloc = odd_alloc;
        CHECK_INT(vn_fleet_open(m, b, n, &pooled, &f, &err), VN_OK);
        CHECK_INT(vn_fleet_wait(f, &err), VN_EBUSY);
        CHECK(strstr(err.msg, "no ") != NULL);
        vn_fleet_close(f);
        CHECK((strstr(err.msg, "device 2 of 3") != NULL) == (n == 3));
    }
    vn_model_close(m);
}

/* Data that a job should not have are that job's fault, and the next one is fine. */
static void bad_data_are_of_one_job(void) {
    static const uint16_t wrong[] = {0, 99, 2};
    static const int32_t ends[] = {0, 3};
    struct vn_model *m = fixture_model("--seed 3");
    struct vn_error err = {0};
    struct vn_job *job;
    memset(odds, 0, sizeof odds);
    struct vn_fleet *f = open_fleet(m, 1, true, &pooled);
    CHECK(submit(f, 0));
    CHECK_INT(vn_fleet_submit(f, wrong, ends, 1, NULL), 1);
    CHECK(submit(f, 1));
    vn_fleet_finish(f);
    CHECK_INT(vn_fleet_collect(f, &job, &err), 1);
    CHECK(job->user == cu);
    CHECK_INT(vn_fleet_collect(f, &job, &err), VN_EDATA);
    CHECK(job->tokens == wrong && strstr(err.msg, "token 99") != NULL);
    CHECK_INT(vn_fleet_collect(f, &job, &err), 1);
    CHECK(job->user == cu + 4);
    CHECK_INT(vn_fleet_collect(f, &job, &err), 0);
    CHECK_INT(vn_fleet_collect(f, &job, &err), 0);
    vn_fleet_close(f);
    vn_model_close(m);
}

/* What has run is there although nothing else comes. */
static void nothing_is_held_back(void) {
    struct vn_model *m = fixture_model("--seed 3");
    struct vn_error err = {0};
    struct vn_job *job;
    for (int queues = 0; queues < 2; queues++) {
        memset(odds, 0, sizeof odds);
        struct vn_fleet *f = open_fleet(m, 2, queues, &pooled);
        for (int k = 0; k < JOBS; k++) {
            CHECK(submit(f, k));
            CHECK_INT(vn_fleet_collect(f, &job, &err), 1);
            CHECK(job->user == cu + 4 * k);
        }
        vn_fleet_close(f);
    }
    vn_model_close(m);
}

static void *collect_one(void *fleet) {
    struct vn_job *job;
    return vn_fleet_collect(fleet, &job, NULL) == 0 ? fleet : NULL;
}

/* Whoever waits is woken: a collector without jobs, a submitter without room. */
static void stopping_wakes_both_ends(void) {
    struct vn_model *m = fixture_model("--seed 3");
    pthread_t thread;
    void *result;
    for (int end = 0; end < 2; end++) {
        memset(odds, 0, sizeof odds);
        odds[0].delay = 2000;
        struct vn_fleet *f = open_fleet(m, 1, true, &pooled);
        CHECK_INT(pthread_create(&thread, NULL, end ? submit_all : collect_one, f), 0);
        usleep(20000);
        vn_fleet_stop(f);
        CHECK_INT(pthread_join(thread, &result), 0);
        CHECK(end || result == f);
        CHECK(!submit(f, 0));
        vn_fleet_close(f);
    }
    vn_model_close(m);
}

int main(void) {
    fill();
    TEST(any_number_gives_what_one_gives);
    TEST(the_slow_one_gets_less);
    TEST(one_that_fails_ends_it);
    TEST(one_that_cannot_open_is_named);
    TEST(bad_data_are_of_one_job);
    TEST(nothing_is_held_back);
    TEST(stopping_wakes_both_ends);
    return check_done();
}
