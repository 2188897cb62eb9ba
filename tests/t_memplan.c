/* What an engine takes of memory: plans by arithmetic alone, slices that end where their
 * vectors are full, and what does not fit is refused before anything runs. */
#include "check.h"

#include "fixture.h"

#define D 32

static void arenas_that_cannot_be_are_refused(void) {
    struct vn_model *m = fixture_model("--seed 3");
    struct vn_backend_options bo = {.device = "cpu", .act = VN_F32, .threads = 1};
    static const int64_t sizes[] = {INT64_MAX / 2, (int64_t)1 << 50};
    for (int i = 0; i < 2; i++) { /* a product that overflows, and one that is only large */
        struct vn_engine_options opts = {.layer = 2, .max_tokens = sizes[i]};
        struct vn_error err = {0};
        struct vn_backend *b;
        struct vn_engine *e;
        CHECK_INT(vn_backend_open(&bo, &b, &err), VN_OK);
        CHECK_INT(vn_engine_open(m, b, &opts, &e, &err), VN_EFAIL);
    }
    vn_model_close(m);
}

/* ESM-2 3B on an H200, by arithmetic alone: the budget that the design names. */
static void plans_of_3b(void) {
    const struct vn_model_config c = {.family = VN_ESM2, .n_layers = 36, .d_model = 2560,
                                      .n_heads = 40, .d_head = 64, .d_ffn = 10240,
                                      .n_vocab = 33};
    const struct vn_backend b = {.act = VN_F16, .slice_tokens = 132 * 1024, .queues = true};
    const size_t d = 2560, weights = 36 * (12 * d * d * 2 + (9 + 4) * d * 4) + 35 * d * 4;
    struct vn_memplan_options o = {.pool = VN_POOL_MEAN, .out_type = VN_F32};
    struct vn_memplan p;
    struct vn_error err = {0};
    o.max_tokens = 16384;
    CHECK_INT(vn_memplan_make(&c, true, &b, &o, &p, &err), VN_OK);
    CHECK(weights > (size_t)5600000000 && weights + p.total < (size_t)7 << 30);
    CHECK_INT(p.slice_tokens, 16384);
    CHECK_INT(p.slice_records, 1024);
    CHECK(p.arena > 16384 * (4 + 2 + 8) * d && p.arena < 16384 * (4 + 2 + 8) * d + (24u << 20));
    o.max_tokens = 1 << 20;
    CHECK_INT(vn_memplan_make(&c, true, &b, &o, &p, &err), VN_OK);
    CHECK_INT(p.slice_tokens, 132 * 1024);
    CHECK_INT(p.slice_records, 132 * 64);
    struct vn_backend fills = b; /* doubled until there is so much scratch, no further */
    fills.slice_bytes = (size_t)132 * 1024 * (4 + 2 + 8) * d + 1;
    CHECK_INT(vn_memplan_make(&c, true, &fills, &o, &p, &err), VN_OK);
    CHECK_INT(p.slice_tokens, 2 * 132 * 1024);
    fills.slice_bytes--;
    CHECK_INT(vn_memplan_make(&c, true, &fills, &o, &p, &err), VN_OK);
    CHECK_INT(p.slice_tokens, 132 * 1024);
    fills.slice_bytes = SIZE_MAX;
    CHECK_INT(vn_memplan_make(&c, true, &fills, &o, &p, &err), VN_OK);
    CHECK_INT(p.slice_tokens, o.max_tokens);
    for (size_t bytes = 0; bytes < (size_t)64 << 30; bytes += bytes / 3 + (100u << 20)) {
        for (int pool = 0; pool < 2; pool++) { /* the most that fits: one more does not */
            o.pool = pool ? VN_POOL_MEAN : VN_POOL_NONE;
            o.out_type = pool ? VN_F32 : VN_F16;
            int64_t fit = o.max_tokens = vn_memplan_fit(&c, true, &b, &o, bytes);
            CHECK(!fit || (vn_memplan_make(&c, true, &b, &o, &p, &err) == VN_OK &&
                           p.total <= bytes));
            o.max_tokens = fit + 1;
            CHECK(vn_memplan_make(&c, true, &b, &o, &p, &err) == VN_OK && p.total > bytes);
        }
    }
}

/* Token rows leave in jobs of whole waves of 132 multiprocessors, or of half a one. */
static void jobs_of_whole_waves(void) {
    static const struct {
        int64_t d, wave, tokens; /* tokens 0: as many as there may be bytes */
        enum vn_dtype type;
    } cases[] = {{2560, 132 * 128, 132 * 128, VN_F16}, {2560, 132 * 128, 66 * 128, VN_F32},
                 {1280, 132 * 128, 264 * 128, VN_F16}, {5120, 132 * 128, 0, VN_F32},
                 {2560, 0, 0, VN_F16}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct vn_model_config c = {.family = VN_ESM2, .n_layers = 2, .n_heads = 1,
                                          .d_model = (int)cases[i].d, .d_head = 64,
                                          .d_ffn = 128, .n_vocab = 33};
        const struct vn_backend b = {.act = VN_F16, .slice_tokens = 1 << 17, .queues = true,
                                     .wave = cases[i].wave};
        const struct vn_memplan_options o = {.out_type = cases[i].type, .max_tokens = 1024};
        const int64_t row = cases[i].d * (int64_t)vn_dtype_size(cases[i].type);
        struct vn_memplan p;
        struct vn_error err = {0};
        CHECK_INT(vn_memplan_make(&c, true, &b, &o, &p, &err), VN_OK);
        CHECK_INT(p.job_bytes, cases[i].tokens ? cases[i].tokens * row : VN_MEMPLAN_ROWS_BYTES);
        CHECK_INT(p.full_jobs, cases[i].tokens > 0);
        CHECK(p.job_bytes <= VN_MEMPLAN_ROWS_BYTES);
    }
}

static int64_t most_records; /* of one slice, so far */
static int (*real_pool)(struct vn_backend *, const struct vn_seqs *,
                        const struct vn_pool_args *, struct vn_error *);
static int counting_pool(struct vn_backend *b, const struct vn_seqs *s,
                         const struct vn_pool_args *a, struct vn_error *err) {
    most_records = s->n_seq > most_records ? s->n_seq : most_records;
    return real_pool(b, s, a, err);
}

static bool same_rows(const struct vn_job *job, int a, int b) {
    const size_t bytes = D * sizeof(float);
    return !memcmp(job->out.data + (size_t)a * bytes, job->out.data + (size_t)b * bytes, bytes);
}

/* Many short records: the slice ends where its vectors are full. */
static void many_records_are_split(void) {
    enum { N = 5000 };
    static uint16_t ones[N];
    static int32_t ends[N + 1];
    struct vn_model *m = fixture_model("--seed 3");
    struct vn_backend_options bo = {.device = "cpu", .act = VN_F32, .threads = 1};
    struct vn_engine_options opts = {.layer = 2, .pool = VN_POOL_MEAN_ALL};
    struct vn_job job = {.tokens = ones, .cu_seqlens = ends, .n_seq = N};
    struct vn_error err = {0};
    struct vn_backend *b;
    struct vn_engine *e;
    CHECK_INT(vn_backend_open(&bo, &b, &err), VN_OK);
    real_pool = b->ops.pool;
    b->ops.pool = counting_pool;
    CHECK_INT(vn_engine_open(m, b, &opts, &e, &err), VN_OK);
    for (int i = 0; i < N; i++) {
        ones[i] = (uint16_t)(4 + i % 20);
        ends[i + 1] = i + 1;
    }
    CHECK(vn_engine_plan(e)->slice_records < vn_engine_plan(e)->slice_tokens);
    CHECK_INT(fixture_run(e, &job, &err), 1);
    for (int i = 20; i < N; i++)
        CHECK(same_rows(&job, i, i - 20));
    CHECK(!same_rows(&job, 0, 1));
    CHECK_INT(most_records, vn_engine_plan(e)->slice_records);
    fixture_job_release(&job);
    vn_engine_close(e);
    vn_model_close(m);
}

static size_t left; /* what a device says that it has: less with every question */
static int little(struct vn_backend *b, size_t *bytes, struct vn_error *err) {
    (void)b;
    (void)err;
    *bytes = left;
    left -= (size_t)1 << 20;
    return VN_OK;
}

static void what_does_not_fit_is_refused(void) {
    struct vn_model *m = fixture_model("--seed 3");
    struct vn_backend_options bo = {.device = "cpu", .act = VN_F32, .threads = 1};
    struct vn_engine_options opts = {.layer = 2, .pool = VN_POOL_MEAN, .max_tokens = 50000};
    struct vn_error err = {0};
    struct vn_backend *b;
    struct vn_engine *e;
    int fit = 0;
    for (int k = 0; k < 3; k++) { /* as asked; what would fit; nothing fits */
        CHECK_INT(vn_backend_open(&bo, &b, &err), VN_OK);
        b->ops.available = little;
        left = k < 2 ? (size_t)20 << 20 : ((size_t)1 << 20) + 1000;
        int rc = vn_engine_open(m, b, &opts, &e, &err);
        CHECK_INT(rc, k == 1 ? VN_OK : VN_EBUSY);
        const char *at = strstr(err.msg, "--max-tokens ");
        if (k == 0) {
            CHECK(strstr(err.msg, "50000 tokens take") && strstr(err.msg, "20 MiB are free"));
            CHECK(at && sscanf(at, "--max-tokens %d would fit", &fit) == 1);
            opts.max_tokens = fit;
        } else if (k == 1 && rc == VN_OK) {
            CHECK_INT(vn_engine_plan(e)->max_tokens, fit);
            vn_engine_close(e);
        } else {
            CHECK(strstr(err.msg, "not even one of a single token") != NULL);
        }
    }
    vn_model_close(m);
}

int main(void) {
    TEST(arenas_that_cannot_be_are_refused);
    TEST(plans_of_3b);
    TEST(jobs_of_whole_waves);
    TEST(many_records_are_split);
    TEST(what_does_not_fit_is_refused);
    return check_done();
}
