/* The engine: slices, outcomes, the ring of jobs, and that a record's bytes depend on
 * nothing but the record. */
#include "check.h"

#include <fcntl.h>
#include <unistd.h>

#include "fixture.h"
#include "num.h"
#include "profile.h"

#define D 32
#define W 22 /* the token of tryptophane, which only some records have */

/* 8 records: 7, 0, 40, 3, 12, 0, 25 and 9 tokens; records 2 and 6 have a W. */
static uint16_t tokens[96];
static int32_t cu[9];

static void fill(void) {
    static const int lengths[] = {7, 0, 40, 3, 12, 0, 25, 9};
    uint32_t state = 1;
    for (int i = 0; i < 8; i++) {
        cu[i + 1] = cu[i] + lengths[i];
        for (int32_t t = cu[i]; t < cu[i + 1]; t++) {
            state = state * 1664525u + 1013904223u;
            tokens[t] = (uint16_t)(4 + (state >> 16) % 18);
        }
        if (lengths[i]) {
            tokens[cu[i]] = 0;
            tokens[cu[i + 1] - 1] = 2;
        }
    }
    tokens[cu[2] + 5] = tokens[cu[6] + 1] = W;
    tokens[cu[4] + 3] = 32; /* a mask */
}

static struct vn_job whole_job(void) {
    return (struct vn_job){.tokens = tokens, .cu_seqlens = cu, .n_seq = 8};
}

static const float *row(const struct vn_job *job, int64_t i) {
    return (const float *)(const void *)job->out.data + i * D;
}

static int outcome(const struct vn_job *job, int64_t i) {
    return job->outcome.data[i];
}

/* Token rows of every record, each run alone: what all else is compared with. */
static float *alone(const struct vn_model *m) {
    struct vn_engine_options opts = {.layer = m->config.n_layers};
    struct vn_engine *e = fixture_engine(m, "cpu", VN_F32, &opts);
    float *all = calloc((size_t)cu[8] * D, sizeof *all);
    for (int i = 0; e && i < 8; i++) {
        struct vn_error err = {0};
        struct vn_job job = {.tokens = tokens, .cu_seqlens = cu + i, .n_seq = 1};
        CHECK_INT(fixture_run(e, &job, &err), 1);
        if (job.out.len)
            memcpy(all + cu[i] * D, job.out.data, job.out.len);
        fixture_job_release(&job);
    }
    vn_engine_close(e);
    return all;
}

static int same(const float *a, const float *b, int64_t n) {
    return memcmp(a, b, (size_t)n * sizeof *a) == 0;
}

/* ---- slices ---------------------------------------------------------------------- */

static void slicing_changes_nothing(void) {
    struct vn_model *m = fixture_model("--seed 3");
    float *want = alone(m);
    for (int64_t max = 40; max <= 96; max += 8) {
        struct vn_engine_options opts = {.layer = 2, .max_tokens = max};
        struct vn_engine *e = fixture_engine(m, "cpu", VN_F32, &opts);
        struct vn_job job = whole_job();
        struct vn_error err = {0};
        CHECK_INT(vn_engine_plan(e)->max_tokens, max);
        CHECK_INT(fixture_run(e, &job, &err), 1);
        CHECK_INT(job.out.len, (size_t)cu[8] * D * sizeof(float));
        CHECK(same(row(&job, 0), want, cu[8] * D));
        for (int i = 0; i < 8; i++)
            CHECK_INT(outcome(&job, i), cu[i] == cu[i + 1] ? VN_REC_EMPTY : VN_REC_OK);
        fixture_job_release(&job);
        vn_engine_close(e);
    }
    free(want);
    vn_model_close(m);
}

static void too_long_is_an_outcome(void) {
    struct vn_model *m = fixture_model("--seed 3");
    float *want = alone(m);
    static const float zeros[40 * D];
    for (int max = 11; max <= 13; max++) { /* one record has 12 tokens */
        struct vn_engine_options opts = {.layer = 2, .max_tokens = max};
        struct vn_engine *e = fixture_engine(m, "cpu", VN_F32, &opts);
        struct vn_job job = whole_job();
        struct vn_error err = {0};
        CHECK_INT(fixture_run(e, &job, &err), 1);
        for (int i = 0; i < 8; i++) {
            int n = cu[i + 1] - cu[i];
            CHECK_INT(outcome(&job, i), n == 0    ? VN_REC_EMPTY
                                        : n > max ? VN_REC_TOO_LONG
                                                  : VN_REC_OK);
            CHECK(same(row(&job, cu[i]), n > max ? zeros : want + cu[i] * D, n * D));
        }
        fixture_job_release(&job);
        vn_engine_close(e);
    }
    free(want);
    vn_model_close(m);
}

static void empty_jobs(void) {
    static const int32_t none[] = {0, 0, 0, 0};
    struct vn_model *m = fixture_model("--seed 3");
    for (int pool = VN_POOL_NONE; pool <= VN_POOL_MEAN; pool++) {
        struct vn_engine_options opts = {.layer = 2, .pool = pool};
        struct vn_engine *e = fixture_engine(m, "cpu", VN_F32, &opts);
        struct vn_job job = {.tokens = tokens, .cu_seqlens = none, .n_seq = 3};
        struct vn_error err = {0};
        CHECK_INT(fixture_run(e, &job, &err), 1);
        CHECK_INT(job.out.len, pool ? 3 * D * sizeof(float) : 0);
        for (int i = 0; i < 3; i++) {
            CHECK_INT(outcome(&job, i), VN_REC_EMPTY);
            CHECK(!pool || row(&job, i)[D - 1] == 0);
        }
        job.n_seq = 0;
        CHECK_INT(fixture_run(e, &job, &err), 1);
        CHECK_INT(job.out.len + job.outcome.len, 0);
        fixture_job_release(&job);
        vn_engine_close(e);
    }
    vn_model_close(m);
}

/* The tables of angles grow with the longest record, and nobody notices. */
static void rope_tables_grow(void) {
    enum { N = 1500 };
    static uint16_t long_tokens[N];
    static const int32_t ends[] = {0, 10, N};
    struct vn_model *m = fixture_model("--layers 1");
    struct vn_engine_options opts = {.layer = 1};
    struct vn_job job[2];
    for (int i = 0; i < N; i++)
        long_tokens[i] = (uint16_t)(4 + i * 7 % 20);
    for (int k = 0; k < 2; k++) { /* short then long; long at once */
        struct vn_engine *e = fixture_engine(m, "cpu", VN_F32, &opts);
        struct vn_error err = {0};
        job[k] = (struct vn_job){.tokens = long_tokens, .cu_seqlens = ends, .n_seq = 1};
        if (k == 0)
            CHECK_INT(fixture_run(e, &job[k], &err), 1);
        job[k].cu_seqlens = ends + 1;
        CHECK_INT(fixture_run(e, &job[k], &err), 1);
        vn_engine_close(e);
    }
    CHECK_INT(job[0].out.len, (N - 10) * D * sizeof(float));
    CHECK(same(row(&job[0], 0), row(&job[1], 0), (N - 10) * D));
    fixture_job_release(&job[0]);
    fixture_job_release(&job[1]);
    vn_model_close(m);
}

/* ---- outputs --------------------------------------------------------------------- */

static void pooled_is_the_rows_pooled(void) {
    struct vn_model *m = fixture_model("--seed 3");
    float *rows = alone(m);
    for (int pool = VN_POOL_MEAN; pool <= VN_POOL_MAX; pool++) {
        struct vn_engine_options opts = {.layer = 2, .pool = pool, .max_tokens = 41};
        struct vn_engine *e = fixture_engine(m, "cpu", VN_F32, &opts);
        struct vn_job job = whole_job();
        struct vn_error err = {0};
        CHECK_INT(fixture_run(e, &job, &err), 1);
        CHECK_INT(job.out.len, 8 * D * sizeof(float));
        for (int i = 0; i < 8; i++) {
            float want[D] = {0};
            if (cu[i] < cu[i + 1])
                vn_pool_rows(pool, rows + cu[i] * D, cu[i + 1] - cu[i], D, want);
            CHECK(same(row(&job, i), want, D));
        }
        fixture_job_release(&job);
        vn_engine_close(e);
    }
    free(rows);
    vn_model_close(m);
}

static void half_is_the_rows_rounded(void) {
    struct vn_model *m = fixture_model("--seed 3");
    float *rows = alone(m);
    struct vn_engine_options opts = {.layer = 2, .out_type = VN_F16, .max_tokens = 41};
    struct vn_engine *e = fixture_engine(m, "cpu", VN_F32, &opts);
    struct vn_job job = whole_job();
    struct vn_error err = {0};
    CHECK_INT(fixture_run(e, &job, &err), 1);
    CHECK_INT(job.out.len, (size_t)cu[8] * D * 2);
    for (int64_t i = 0; i < cu[8] * D; i++)
        CHECK_INT(vn_load16(job.out.data + 2 * i), vn_f32_to_f16(rows[i]));
    fixture_job_release(&job);
    vn_engine_close(e);
    free(rows);
    vn_model_close(m);
}

/* Where a tensor's data begin in model/model.safetensors. */
static off_t file_offset(const struct vn_model *m, const struct vn_tensor *t) {
    const char *first = t->data;
    uint64_t header = 0;
    int fd = open("model/model.safetensors", O_RDONLY);
    CHECK(fd >= 0 && read(fd, &header, 8) == 8);
    close(fd);
    for (int64_t i = 0; i < vn_tensors_count(m->tensors); i++) {
        const char *p = vn_tensors_at(m->tensors, i)->data;
        first = p < first ? p : first;
    }
    return (off_t)(8 + header) + ((const char *)t->data - first);
}

/* The model with one number of a tensor changed. */
static struct vn_model *patched(const char *arguments, const char *name, int64_t at, float v) {
    struct vn_model *m = fixture_model(arguments);
    const struct vn_tensor *t = vn_tensors_find(m->tensors, name);
    CHECK(t != NULL);
    if (!t)
        return m;
    off_t where = file_offset(m, t) + 4 * at;
    vn_model_close(m);
    int fd = open("model/model.safetensors", O_WRONLY);
    CHECK_INT(pwrite(fd, &v, 4, where), 4);
    close(fd);
    struct vn_error err = {0};
    m = NULL;
    CHECK_INT(vn_model_open("./model", &m, &err), VN_OK);
    return m;
}

static void not_finite_is_an_outcome(void) {
    struct vn_model *m = fixture_model("--seed 3");
    float *want = alone(m);
    static const float zeros[40 * D];
    vn_model_close(m);
    static const float poison[] = {NAN, INFINITY};
    for (int k = 0; k < 2; k++) {
        m = patched("--seed 3", "esm.embeddings.word_embeddings.weight", W * D + 3, poison[k]);
        struct vn_engine_options opts = {.layer = 2};
        struct vn_engine *e = fixture_engine(m, "cpu", VN_F32, &opts);
        struct vn_job job = whole_job();
        struct vn_error err = {0};
        CHECK_INT(fixture_run(e, &job, &err), 1);
        for (int i = 0; i < 8; i++) {
            int n = cu[i + 1] - cu[i], bad = i == 2 || i == 6;
            CHECK_INT(outcome(&job, i), bad      ? VN_REC_NOT_FINITE
                                        : n == 0 ? VN_REC_EMPTY
                                                 : VN_REC_OK);
            CHECK(same(row(&job, cu[i]), bad ? zeros : want + cu[i] * D, n * D));
        }
        fixture_job_release(&job);
        vn_engine_close(e);
        vn_model_close(m);
    }
    free(want);
}

/* 1e6 is a number, but not one that half can hold: wherever it stands. */
static void overflow_of_half_is_an_outcome(void) {
    for (int k = 0; k < 8; k++) {
        struct vn_model *m = patched("--seed 3", "esm.encoder.emb_layer_norm_after.bias",
                                     D - 1 - k / 2, 1e6f);
        struct vn_engine_options opts = {.layer = 2, .out_type = k & 1 ? VN_F16 : VN_F32};
        struct vn_engine *e = fixture_engine(m, "cpu", VN_F32, &opts);
        struct vn_job job = whole_job();
        struct vn_error err = {0};
        CHECK_INT(fixture_run(e, &job, &err), 1);
        CHECK_INT(outcome(&job, 0), k & 1 ? VN_REC_NOT_FINITE : VN_REC_OK);
        CHECK_INT(outcome(&job, 1), VN_REC_EMPTY);
        CHECK(!(k & 1) || vn_load16(job.out.data) == 0);
        fixture_job_release(&job);
        vn_engine_close(e);
        vn_model_close(m);
    }
}

static void outcomes_have_names(void) {
    CHECK_STR(vn_outcome_name(VN_REC_OK), "ok");
    CHECK_STR(vn_outcome_name(VN_REC_EMPTY), "empty");
    CHECK_STR(vn_outcome_name(VN_REC_TOO_LONG), "too long");
    CHECK_STR(vn_outcome_name(VN_REC_NOT_FINITE), "not finite");
}

/* ---- jobs ------------------------------------------------------------------------ */

static void jobs_come_back_in_order(void) {
    struct vn_model *m = fixture_model("--seed 3");
    float *want = alone(m);
    struct vn_engine_options opts = {.layer = 2};
    struct vn_engine *e = fixture_engine(m, "cpu", VN_F32, &opts);
    struct vn_job job[VN_SLOTS + 1], *back;
    struct vn_error err = {0};
    CHECK_INT(vn_engine_collect(e, &back, &err), 0);
    for (int i = 0; i <= VN_SLOTS; i++)
        job[i] = (struct vn_job){.tokens = tokens, .cu_seqlens = cu + i, .n_seq = 3};
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < VN_SLOTS; i++)
            CHECK_INT(vn_engine_submit(e, &job[i], &err), VN_OK);
        CHECK_INT(vn_engine_submit(e, &job[VN_SLOTS], &err), VN_EINTERNAL);
        for (int i = 0; i < VN_SLOTS - round; i++) {
            CHECK_INT(vn_engine_collect(e, &back, &err), 1);
            CHECK(back == &job[i]);
            CHECK(same(row(back, 0), want + cu[i] * D, (cu[i + 3] - cu[i]) * D));
        }
        for (int i = VN_SLOTS - round; i < VN_SLOTS; i++)
            CHECK_INT(vn_engine_collect(e, &back, &err), 1);
        CHECK_INT(vn_engine_collect(e, &back, &err), 0);
    }
    for (int i = 0; i <= VN_SLOTS; i++)
        fixture_job_release(&job[i]);
    vn_engine_close(e);
    free(want);
    vn_model_close(m);
}

static void warm_jobs_keep_their_memory(void) {
    struct vn_model *m = fixture_model("--seed 3");
    struct vn_engine_options opts = {.layer = 2};
    struct vn_engine *e = fixture_engine(m, "cpu", VN_F32, &opts);
    struct vn_job job = whole_job();
    struct vn_error err = {0};
    CHECK_INT(fixture_run(e, &job, &err), 1);
    const void *out = job.out.data, *outcomes = job.outcome.data;
    CHECK_INT(fixture_run(e, &job, &err), 1);
    CHECK(job.out.data == out && job.outcome.data == outcomes);
    fixture_job_release(&job);
    vn_engine_close(e);
    vn_model_close(m);
}

static void foreign_tokens_are_refused(void) {
    static const uint16_t wrong[] = {0, 5, 2, 0, 33, 2};
    static const int32_t ends[] = {0, 3, 6};
    struct vn_model *m = fixture_model("--seed 3");
    struct vn_engine_options opts = {.layer = 2};
    struct vn_engine *e = fixture_engine(m, "cpu", VN_F32, &opts);
    struct vn_job job = {.tokens = wrong, .cu_seqlens = ends, .n_seq = 2}, *back;
    struct vn_error err = {0};
    CHECK_INT(vn_engine_submit(e, &job, &err), VN_EDATA);
    CHECK_STR(err.msg, "token 33 at position 1 of sequence 1, expected 0 to 32");
    CHECK_INT(vn_engine_collect(e, &back, &err), 0);
    job.n_seq = 1;
    CHECK_INT(fixture_run(e, &job, &err), 1);
    fixture_job_release(&job);
    vn_engine_close(e);
    vn_model_close(m);
}

static void layers_out_of_range_are_refused(void) {
    struct vn_model *m = fixture_model("--seed 3");
    for (int layer = -1; layer <= 3; layer += 4) {
        struct vn_backend_options bo = {.device = "cpu", .act = VN_F32, .threads = 1};
        struct vn_engine_options opts = {.layer = layer};
        struct vn_error err = {0};
        struct vn_backend *b;
        struct vn_engine *e;
        CHECK_INT(vn_backend_open(&bo, &b, &err), VN_OK);
        CHECK_INT(vn_engine_open(m, b, &opts, &e, &err), VN_EUSAGE);
        CHECK(strstr(err.msg, "has layers 0 to 2") != NULL);
    }
    vn_model_close(m);
}

/* ---- models ---------------------------------------------------------------------- */

/* One more space in the header, and every tensor begins at an odd address. */
static void misaligned_weights(void) {
    struct vn_model *m = fixture_model("--seed 3");
    float *want = alone(m);
    vn_model_close(m);
    static const char insert[] =
        "set -e; f=model/model.safetensors; python3 - $f <<'E'\n"
        "import sys,struct\n"
        "b=open(sys.argv[1],'rb').read(); n=struct.unpack('<Q',b[:8])[0]\n"
        "open(sys.argv[1],'wb').write(struct.pack('<Q',n+1)+b[8:8+n]+b' '+b[8+n:])\n"
        "E\n";
    CHECK_INT(system(insert), 0);
    struct vn_error err = {0};
    m = NULL;
    CHECK_INT(vn_model_open("./model", &m, &err), VN_OK);
    if (m) {
        CHECK((uintptr_t)m->word_embeddings->data % 4 != 0);
        float *got = alone(m);
        CHECK(same(got, want, cu[8] * D));
        free(got);
    }
    free(want);
    vn_model_close(m);
}

static void mixed_types_are_refused(void) {
    struct vn_model *m = fixture_model("--seed 3");
    struct vn_backend_options bo = {.device = "cpu", .act = VN_F32, .threads = 1};
    struct vn_engine_options opts = {.layer = 2};
    struct vn_error err = {0};
    struct vn_backend *b;
    struct vn_engine *e;
    struct vn_tensor other = *m->esm2[1].fc1_b;
    other.type = VN_F16;
    m->esm2[1].fc1_b = &other;
    CHECK_INT(vn_backend_open(&bo, &b, &err), VN_OK);
    CHECK_INT(vn_engine_open(m, b, &opts, &e, &err), VN_EDATA);
    CHECK(strstr(err.msg, "intermediate.dense.bias") != NULL);
    vn_model_close(m);
}

static void profiles_change_nothing(void) {
    struct vn_model *m = fixture_model("--seed 3");
    float *want = alone(m);
    struct vn_backend_options bo = {.device = "cpu", .act = VN_F32, .threads = 1};
    struct vn_engine_options opts = {.layer = 2};
    struct vn_job job = whole_job();
    struct vn_error err = {0};
    struct vn_backend *b, *timed;
    struct vn_engine *e;
    struct vn_profile_op op;
    struct vn_profile_totals t;
    double sum = 0;
    CHECK_INT(vn_backend_open(&bo, &b, &err), VN_OK);
    CHECK_INT(vn_profile_open(b, &timed, &err), VN_OK);
    CHECK_INT(vn_engine_open(m, timed, &opts, &e, &err), VN_OK);
    CHECK_INT(vn_profile_at(timed, 0, &op), 0); /* the weights are not the pass */
    vn_profile_start(timed);
    for (int round = 0; round < 3; round++) {
        CHECK_INT(fixture_run(e, &job, &err), 1);
        CHECK(same(row(&job, 0), want, cu[8] * D));
    }
    for (int i = 0; vn_profile_at(timed, i, &op); i++) {
        CHECK(op.seconds >= 0);
        if (!strcmp(op.name, "attn"))
            CHECK_INT(op.calls, 3 * 2); /* layers */
        if (!strcmp(op.name, "norm"))
            CHECK_INT(op.calls, 3 * 5);
        if (!strcmp(op.name, "linear 32x32")) {
            CHECK_INT(op.calls, 3 * 2);
            CHECK(op.flop == 3 * 2 * 2.0 * cu[8] * 32 * 32);
        }
        sum += op.seconds;
    }
    vn_profile_totals(timed, &t);
    CHECK_INT(t.tokens, 3 * cu[8]);
    CHECK_INT(t.untimed, 0);
    CHECK(t.idle_inside > 0 && t.idle_between > 0);
    CHECK(fabs(sum + t.idle_inside + t.idle_between - t.seconds) < 1e-9);
    fixture_job_release(&job);
    vn_engine_close(e);
    free(want);
    vn_model_close(m);
}

int main(void) {
    fill();
    TEST(slicing_changes_nothing);
    TEST(too_long_is_an_outcome);
    TEST(empty_jobs);
    TEST(rope_tables_grow);
    TEST(pooled_is_the_rows_pooled);
    TEST(half_is_the_rows_rounded);
    TEST(not_finite_is_an_outcome);
    TEST(overflow_of_half_is_an_outcome);
    TEST(outcomes_have_names);
    TEST(jobs_come_back_in_order);
    TEST(warm_jobs_keep_their_memory);
    TEST(foreign_tokens_are_refused);
    TEST(layers_out_of_range_are_refused);
    TEST(misaligned_weights);
    TEST(mixed_types_are_refused);
    TEST(profiles_change_nothing);
    return check_done();
}
