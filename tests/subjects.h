/* subjects.h - every backend that is here beside the reference, and what the programs that
 * compare the two share: verdicts, limits, layouts, and the command line:
 *
 *   t_NAME                  checks: accuracy, guard bands, exactness, batch invariance
 *   t_NAME cuda             the checks of the GPU alone
 *   t_NAME small            those of them that are quick under a sanitizer
 *   t_NAME MODE WORD        of these, or of all with MODE test, what has WORD in "OP PRECISION"
 *   t_NAME perf [BACKEND]   speed of each operation on the shapes of real models
 *   t_NAME support          which backends and precisions are here */
#ifndef VN_TEST_SUBJECTS_H
#define VN_TEST_SUBJECTS_H

#include <time.h>

#include "ops.h"

/* ---- backends: a new one is one more row ----------------------------------------- */

struct subject {
    const char *name;
    const char *device; /* for vn_backend_open, or NULL: parts of the cpu, chosen by */
    int kernels;        /* index of vn_cpu_kernels_at */
    bool dnnl;
    int threads;
};

/* What all are opened for: the three precisions, and standard attention in half. */
static enum vn_dtype act;
static enum vn_attention attention;

static const struct subject subjects[] = {
    {"cpu", "cpu", 0, true, 2},       {"cpu-1-thread", "cpu", 0, true, 1},
    {"cpu-own-0", NULL, 0, false, 2}, {"cpu-own-1", NULL, 1, false, 2},
    {"cpu-own-2", NULL, 2, false, 2}, {"cuda", "cuda", 0, false, 1}, /* the last */
};
#define N_SUBJECTS ((int)(sizeof subjects / sizeof *subjects))

static int open_subject(const struct subject *s, struct vn_backend **out,
                        struct vn_error *err) {
    const struct vn_backend_options o = {.device = s->device, .act = act,
                                         .threads = s->threads, .attention = attention};
    *out = NULL;
    if (attention == VN_ATTN_STANDARD && !s->device)
        return vn_fail(err, VN_ENODEVICE, "standard attention is the same on all kernels");
    if (s->device)
        return vn_backend_open(&o, out, err);
    if (!vn_cpu_kernels_at(s->kernels))
        return vn_fail(err, VN_ENODEVICE, "this processor has fewer kinds of kernels");
    return vn_cpu_open_with(&o, vn_cpu_kernels_at(s->kernels), s->dnnl, out, err);
}

static struct vn_backend *reference, *open_now[N_SUBJECTS];
static char why[N_SUBJECTS][256]; /* why a subject is not open */

/* What standard attention has not got: ALiBi, gates, products without bias. */
static bool esm2_only(void) {
    return attention == VN_ATTN_STANDARD;
}
static bool gpu_alone, small; /* small: fewer shapes, the GPU alone */

static const char *act_name(void) {
    return attention == VN_ATTN_STANDARD ? "standard"
           : act == VN_F32               ? "f32"
           : act == VN_BF16              ? "bf16"
                                         : "f16";
}

/* ---- which are here -------------------------------------------------------------- */

static int opening, opened[N_SUBJECTS]; /* statuses */
static void opens(void) {
    if (opened[opening] == VN_ENODEVICE)
        SKIP(why[opening]);
    /* no cpu computes in half precision but the standard, and it must say so */
    bool half_on_cpu = act == VN_F16 && attention != VN_ATTN_STANDARD &&
                       strcmp(subjects[opening].name, "cuda") != 0;
    CHECK_INT(opened[opening], half_on_cpu ? VN_EINCOMPAT : VN_OK);
}

/* ---- verdicts: one line per operation, precision and backend --------------------- */

static int failures[N_SUBJECTS];

static void complain(int i, const char *what, const char *where, double is,
                     double limit) {
    if (failures[i]++ < 5)
        printf("# %s %s: %s is %.3g, limit %.3g (%s)\n", subjects[i].name, act_name(),
               what, is, limit, where);
}

static int verdict_of;
static void verdict(void) {
    CHECK_INT(failures[verdict_of], 0);
}
static void verdicts(const char *op) {
    for (verdict_of = 0; verdict_of < N_SUBJECTS; verdict_of++) {
        char name[96];
        if (!open_now[verdict_of])
            continue;
        snprintf(name, sizeof name, "%s %s %s", op, act_name(),
                 subjects[verdict_of].name);
        check_run(name, verdict);
        failures[verdict_of] = 0;
    }
}
#define FOR_EACH(i) \
    for (int i = 0; i < N_SUBJECTS; i++) \
        if (open_now[i])

/* In standard a value is that half or, where sums in another order fall to the other side,
 * one next to it. Those were less than one in a hundred in f32 against f64, and a rounding
 * too few or too many made a fifth or more of all values others. */
static void mostly_equal(int i, const char *where, const float *is, const float *want,
                         int64_t n) {
    int64_t others = 0;
    for (int64_t j = 0; j < n; j++)
        others += is[j] != want[j];
    if (n >= 500 && others > n / 10)
        complain(i, "share of other values", where, (double)others / (double)n, 0.1);
}

/* Relative L2 over everything, and of the worst of `rows` rows, ten times as much. */
static void compare(int i, const char *where, bool clean, const float *is,
                    const float *want, int64_t rows, int64_t d, double limit) {
    double sq = 0, ref = 0, worst = 0;
    for (int64_t r = 0; r < rows; r++) {
        double row_sq = 0, row_ref = 0;
        for (int64_t j = r * d; j < (r + 1) * d; j++) {
            row_sq += ((double)is[j] - want[j]) * ((double)is[j] - want[j]);
            row_ref += (double)want[j] * want[j];
        }
        sq += row_sq;
        ref += row_ref;
        double e = row_sq == 0 ? 0 : sqrt(row_sq / row_ref);
        worst = e > worst || isnan(e) ? e : worst;
    }
    double e = sq == 0 ? 0 : sqrt(sq / ref);
    if (!clean)
        complain(i, "guard bands touched", where, 1, 0);
    if (!(e <= limit))
        complain(i, "relative L2", where, e, limit);
    if (!(worst <= 10 * limit))
        complain(i, "worst row", where, worst, 10 * limit);
    if (attention == VN_ATTN_STANDARD)
        mostly_equal(i, where, is, want, rows * d);
}
static void equal(int i, const char *what, const char *where, const void *a,
                  const void *b, size_t bytes) {
    if (bytes && memcmp(a, b, bytes) != 0)
        complain(i, what, where, 1, 0);
}
/* In standard a score of attention that falls to the other half weighs most: 1e-4 over all
 * and 8e-3 for the worst row were seen where scores are far apart. */
static double by_type(double f32, double bf16, double f16) {
    if (attention == VN_ATTN_STANDARD)
        return 1e-3;
    return act == VN_F32 ? f32 : act == VN_BF16 ? bf16 : f16;
}

/* A GPU may round more often than the reference on the way to a 16-bit result: the bias
 * and what GELU is applied to; rotated queries and keys, and the weights of attention. */
static inline double more_on_gpu(int i, double times) {
    bool rounds = act != VN_F32 && attention != VN_ATTN_STANDARD;
    return rounds && strcmp(subjects[i].name, "cuda") == 0 ? times : 1;
}

/* ---- shapes ---------------------------------------------------------------------- */

static const struct layout layouts[] = {
    {1, {1}},
    {1, {2}},
    {1, {31}},
    {1, {33}},
    {1, {65}},
    {1, {170}},
    {3, {0, 0, 0}},
    {6, {0, 5, 0, 33, 1, 0}},
    {7, {17, 2, 170, 64, 0, 99, 16}},
};
#define N_LAYOUTS ((int)(sizeof layouts / sizeof *layouts))

static inline const char *layout_name(const struct layout *l) {
    static char s[128];
    size_t at = 0;
    for (int i = 0; i < l->n_seq && at < sizeof s - 12; i++)
        at += (size_t)snprintf(s + at, sizeof s - at, "%s%d", i ? "," : "", l->len[i]);
    return s;
}

/* ---- speed ----------------------------------------------------------------------- */

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static struct vn_backend *timed;
static void finish(void) {
    struct vn_error err;
    must(timed->ops.mark(timed, 0, &err), &err);
    must(timed->ops.wait(timed, 0, &err), &err);
}

/* Seconds of the fastest of some runs of fn. */
static double fastest(void (*fn)(void *), void *ctx) {
    double best = 1e9, end = seconds() + 0.4;
    fn(ctx);
    finish();
    for (int i = 0; i < 4 || seconds() < end; i++) {
        double t = seconds();
        fn(ctx);
        finish();
        t = seconds() - t;
        best = t < best ? t : best;
    }
    return best;
}

/* ---- the command line -------------------------------------------------------------- */

struct program {
    uint64_t seed; /* of each operation's numbers */
    void (*test)(void);
    void (*perf)(const char *subject, int64_t d); /* of `timed`, for a model so wide */
};

static const struct program *program;
static const char *only; /* what is to be run, or NULL */

/* The numbers of an operation are the same whatever runs before it: limits of tiny cases
 * were set on them. */
static void run_op(const char *op, void (*f)(void)) {
    char name[64];
    snprintf(name, sizeof name, "%s %s", op, act_name());
    seed = program->seed;
    if (!only || strstr(name, only))
        f();
}

static void test(void) {
    for (opening = gpu_alone ? N_SUBJECTS - 1 : 0; opening < N_SUBJECTS; opening++) {
        char name[96];
        if (attention == VN_ATTN_STANDARD && !subjects[opening].device)
            continue;
        snprintf(name, sizeof name, "open %s %s", act_name(), subjects[opening].name);
        check_run(name, opens);
    }
    program->test();
}

static void perf(const char *subject) {
    for (int i = 0; i < N_SUBJECTS; i++) {
        if (!open_now[i] || (subject && strcmp(subject, subjects[i].name) != 0))
            continue;
        timed = open_now[i];
        printf("# %s: %s\n", subjects[i].name, timed->device);
        program->perf(subjects[i].name, 320);
        program->perf(subjects[i].name, 640);
        program->perf(subjects[i].name, 1280);
    }
}

static void support(void) {
    for (int i = 0; i < N_SUBJECTS; i++)
        printf("%-13s %-4s %s\n", subjects[i].name, act_name(),
               open_now[i] ? open_now[i]->device : why[i]);
}

static int run(const struct program *p, int argc, char **argv) {
    const char *mode = argc > 1 ? argv[1] : "test";
    const enum vn_dtype types[] = {VN_F32, VN_BF16, VN_F16, VN_F16};
    program = p;
    small = !strcmp(mode, "small");
    gpu_alone = small || !strcmp(mode, "cuda");
    only = argc > 2 ? argv[2] : NULL;
    for (int k = 0; k < 4; k++) {
        struct vn_error err = {0};
        act = types[k];
        attention = k == 3 ? VN_ATTN_STANDARD : VN_ATTN_FLASH;
        const struct vn_backend_options o = {
            .device = "reference", .act = act, .threads = 1, .attention = attention};
        must(vn_backend_open(&o, &reference, &err), &err);
        for (int i = gpu_alone ? N_SUBJECTS - 1 : 0; i < N_SUBJECTS; i++)
            if ((opened[i] = open_subject(&subjects[i], &open_now[i], &err)))
                snprintf(why[i], sizeof why[i], "%.200s", err.msg);
        if (!strcmp(mode, "perf"))
            perf(argc > 2 ? argv[2] : NULL);
        else if (!strcmp(mode, "support"))
            support();
        else
            test();
        for (int i = 0; i < N_SUBJECTS; i++)
            if (open_now[i])
                open_now[i]->ops.close(open_now[i]);
        reference->ops.close(reference);
    }
    return strcmp(mode, "test") && !gpu_alone ? 0 : check_done();
}

#endif
