/* What an engine says that its copies will come to, against the copies that it makes: of a
 * backend that is asked, all are counted. */
#include "check.h"

#include "fixture.h"

enum { RECORDS = 70 };

/* Since the last mark, as staging memory would be used: pieces at multiples of VN_ALIGN. */
static struct {
    size_t expected_in, expected_out, in, out;
    int asked, jobs;
} seen;
static struct vn_backend_ops inner;

static int expect(struct vn_backend *b, size_t in, size_t out, struct vn_error *err) {
    (void)b, (void)err;
    CHECK(!seen.in && !seen.out); /* before there is work to wait for */
    seen.expected_in = in;
    seen.expected_out = out;
    seen.asked++;
    return VN_OK;
}

static int copy_in(struct vn_backend *b, void *to, const void *from, size_t n,
                   struct vn_error *err) {
    seen.in += vn_round_up(n, VN_ALIGN);
    return inner.copy_in(b, to, from, n, err);
}

static int copy_out(struct vn_backend *b, void *to, const void *from, size_t n,
                    struct vn_error *err) {
    seen.out += vn_round_up(n, VN_ALIGN);
    return inner.copy_out(b, to, from, n, err);
}

static int mark(struct vn_backend *b, int slot, struct vn_error *err) {
    if (seen.out) { /* rotary tables are marked, too, and give nothing back */
        CHECK(seen.in <= seen.expected_in);
        CHECK(seen.out <= seen.expected_out);
        CHECK(seen.expected_out < seen.out + 4 * VN_ALIGN); /* nor much too much */
        seen.jobs++;
    }
    seen.in = seen.out = 0;
    return inner.mark(b, slot, err);
}

static struct vn_engine *counted(const struct vn_model *m,
                                 const struct vn_engine_options *opts) {
    struct vn_backend_options bo = {.device = "cpu", .act = VN_F32, .threads = 1};
    struct vn_error err = {0};
    struct vn_backend *b;
    struct vn_engine *e = NULL;
    if (vn_backend_open(&bo, &b, &err) < 0) {
        check_fail(__FILE__, __LINE__, err.msg);
        return NULL;
    }
    inner = b->ops;
    b->ops.copy_in = copy_in;
    b->ops.copy_out = copy_out;
    b->ops.mark = mark;
    if (vn_engine_open(m, b, opts, &e, &err) < 0)
        check_fail(__FILE__, __LINE__, err.msg);
    memset(&seen, 0, sizeof seen); /* weights are copied before anything is expected */
    b->ops.expect = expect;
    return e;
}

/* 70 records of 0 to 9 tokens, then one of 1500, in slices of a few. */
static void no_job_copies_more_than_it_said(void) {
    static const struct vn_engine_options all[] = {
        {.layer = 2, .max_tokens = 2000},
        {.layer = 2, .max_tokens = 1600, .pool = VN_POOL_MEAN},
        {.layer = 1, .max_tokens = 1600, .out_type = VN_F16}};
    static uint16_t tokens[2000];
    int32_t cu[RECORDS + 2] = {0};
    struct vn_model *m = fixture_model("--seed 3");
    for (int i = 0; i <= RECORDS; i++)
        cu[i + 1] = cu[i] + (i < RECORDS ? i % 10 : 1500);
    for (int t = 0; t < 2000; t++)
        tokens[t] = (uint16_t)(4 + t % 20);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct vn_engine *e = counted(m, &all[i]);
        struct vn_error err = {0};
        for (int n = 1; e && n <= RECORDS + 1; n += 14) {
            struct vn_job job = {.tokens = tokens, .cu_seqlens = cu, .n_seq = n};
            CHECK_INT(fixture_run(e, &job, &err), 1);
            fixture_job_release(&job);
        }
        CHECK_INT(seen.asked, 6);
        CHECK(seen.jobs >= 5); /* the first has but an empty record */
        vn_engine_close(e);
    }
    vn_model_close(m);
}

int main(void) {
    TEST(no_job_copies_more_than_it_said);
    return check_done();
}
