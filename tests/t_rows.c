/* t_rows.c - operations one after another over the same rows (`rows` of backend.h), on every
 * backend: subjects.h says how it is run. */
#include "subjects.h"

/* ---- the same as one at a time --------------------------------------------------- */

/* What one stage passes to the next may stay unwritten, and the last stage writes where the
 * inner rows lie. The numbers are those of one operation after another. */
static void rows_case(int i, int64_t d, int64_t f, bool gated, bool at_once, int64_t n,
                      const float *x0, const float *rest, struct vn_matrix *const m[4],
                      float *x_out, float *wide_out) {
    struct vn_backend *b = open_now[i];
    struct vn_error err;
    const int64_t w = 3 * d > f ? 3 * d : f;
    struct dbuf x = dnew(b, x0, (size_t)(n * d) * 4), g = dnew(b, rest, (size_t)d * 4);
    struct dbuf in = dnew_act(b, rest, act, n * d), narrow = dnew_act(b, rest, act, n * d);
    struct dbuf wide = dnew_act(b, rest, act, n * w), gate = dnew_act(b, rest, act, 2 * n * f);
    const struct vn_norm_args norm = {.x = dptr(&x), .gamma = dptr(&g), .beta = dptr(&g),
                                      .y = dptr(&narrow), .y_type = act, .n_tok = n, .d = d,
                                      .eps = 1e-5f};
    const struct vn_row_stage s[] = {
        {.linear = {dptr(&in), m[0], dptr(&x), n, VN_EPI_RESIDUAL, NULL}},
        {.is_norm = true, .passed = true, .norm = norm},
        {.passed = true,
         .linear = {dptr(&narrow), m[1], dptr(&wide), n, gated ? VN_EPI_GLU : VN_EPI_GELU,
                    dptr(&gate)}},
        {.linear = {dptr(&wide), m[2], dptr(&x), n, VN_EPI_RESIDUAL, NULL}},
        {.is_norm = true, .passed = true, .norm = norm},
        {.linear = {dptr(&narrow), m[3], dptr(&wide), n, VN_EPI_BIAS, NULL}}};
    for (int k = 0; k < 6 && !at_once; k++)
        must(s[k].is_norm ? b->ops.norm(b, &s[k].norm, &err)
                          : b->ops.linear(b, &s[k].linear, &err), &err);
    if (at_once)
        must(b->ops.rows(b, s, 6, &err), &err);
    bool clean = dend(b, g, NULL) & dend(b, in, NULL) & dend(b, narrow, NULL) &
                 dend(b, gate, NULL) & dend(b, x, x_out) & dend_act(b, wide, act, wide_out);
    if (!clean)
        complain(i, "guard bands touched", "rows", 1, 0);
}

static void rows(void) {
    /* Matrices that run together; in two, and where they are gated in three, the last of
     * which begins with what was passed on; one by one. And rows that are no whole block. */
    const int64_t sizes[][2] = {{64, 128}, {160, 400}, {320, 1280}}, n = 64 * 9 + 37;
    for (int k = 0; k < 6; k++) {
        const int64_t d = sizes[k / 2][0], f = sizes[k / 2][1], w = 3 * d > f ? 3 * d : f;
        const bool gated = k % 2;
        struct weights of[4] = {
            make_weights(d, d, 1, VN_F32, VN_EPI_RESIDUAL),
            make_weights(gated ? 2 * f : f, d, 1, VN_F32, gated ? VN_EPI_GLU : VN_EPI_GELU),
            make_weights(d, f, 1, VN_F32, VN_EPI_RESIDUAL),
            make_weights(3 * d, d, 3, VN_F32, VN_EPI_BIAS)};
        float *x = rnd_array(n * d, 1), *rest = rnd_array(2 * n * w, 1), *xs[2], *ws[2];
        for (int i = 0; i < 2; i++) {
            xs[i] = need((size_t)(n * d), 4);
            ws[i] = need((size_t)(n * w), 4);
        }
        FOR_EACH(i) {
            struct vn_matrix *m[4];
            if (!open_now[i]->ops.rows || open_now[i]->ops.together)
                continue; /* the others have sums of their own: linear_and_norm */
            for (int j = 0; j < 4; j++)
                m[j] = make_matrix(open_now[i], &of[j]);
            for (int at_once = 0; at_once < 2; at_once++)
                rows_case(i, d, f, gated, at_once, n, x, rest, m, xs[at_once], ws[at_once]);
            equal(i, "stages at once are others", "x", xs[0], xs[1], (size_t)(n * d) * 4);
            equal(i, "stages at once are others", "qkv", ws[0], ws[1],
                  (size_t)(n * 3 * d) * 4);
            for (int j = 0; j < 4; j++)
                open_now[i]->ops.matrix_free(open_now[i], m[j]);
        }
        for (int i = 0; i < 2; i++)
            free(xs[i]), free(ws[i]);
        for (int j = 0; j < 4; j++)
            free_weights(&of[j]);
        free(x), free(rest);
    }
    verdicts("rows");
}

/* ---- a product and the norm of its y ---------------------------------------------- */

/* A product that is added to x and the norm of that, which may be one: x [n, d] and y [n, d],
 * which may lie where the product's rows do. */
struct two {
    const struct vn_matrix *m;
    const float *a, *x, *gamma, *beta;
    int64_t n, d;
    bool in_place, apart; /* apart: the norm is one of what x was */
};
static bool run_two(struct vn_backend *b, const struct two *t, float *x_out, float *y_out) {
    struct vn_error err;
    const int64_t n = t->n * t->d;
    struct dbuf a = dnew_act(b, t->a, act, n), x = dnew(b, t->x, (size_t)n * 4);
    struct dbuf y = dnew(b, NULL, (size_t)n * vn_dtype_size(act));
    struct dbuf was = dnew(b, t->x, (size_t)n * 4);
    struct dbuf g = dnew(b, t->gamma, (size_t)t->d * 4), h = dnew(b, t->beta, (size_t)t->d * 4);
    const struct vn_row_stage s[] = {
        {.linear = {dptr(&a), t->m, dptr(&x), t->n, VN_EPI_RESIDUAL, NULL}},
        {.is_norm = true,
         .norm = {.x = dptr(t->apart ? &was : &x), .gamma = dptr(&g), .beta = dptr(&h),
                  .y = t->in_place ? dptr(&a) : dptr(&y), .y_type = act, .n_tok = t->n,
                  .d = t->d, .eps = 1e-5f}}};
    if (b->ops.rows) {
        must(b->ops.rows(b, s, 2, &err), &err);
    } else {
        must(b->ops.linear(b, &s[0].linear, &err), &err);
        must(b->ops.norm(b, &s[1].norm, &err), &err);
    }
    bool clean = dend(b, g, NULL) & dend(b, h, NULL) & dend(b, was, NULL);
    clean &= dend(b, x, x_out) & dend_act(b, t->in_place ? a : y, act, y_out);
    return clean & dend(b, t->in_place ? y : a, NULL);
}

enum { PERIOD = 67 };

/* Rows of x and y of n that repeat after PERIOD: the first ones are right, and a row has the
 * same bits wherever it stands. */
static void two_repeated(int i, struct two t, int64_t n, const float *x, const float *y) {
    const int64_t d = t.d;
    float *a_all = need((size_t)(n * d), 4), *x_all = need((size_t)(n * d), 4);
    float *x_is = need((size_t)(n * d), 4), *y_is = need((size_t)(n * d), 4);
    char where[96];
    snprintf(where, sizeof where, "%lld x %lld", (long long)n, (long long)d);
    for (int64_t r = 0; r < n; r++) {
        memcpy(a_all + r * d, t.a + r % PERIOD * d, (size_t)d * 4);
        memcpy(x_all + r * d, t.x + r % PERIOD * d, (size_t)d * 4);
    }
    t.a = a_all, t.x = x_all, t.n = n;
    const int64_t first = n < PERIOD ? n : PERIOD;
    for (int k = 0; k < 2; k++) {
        t.in_place = k;
        bool ok = run_two(open_now[i], &t, x_is, y_is);
        compare(i, where, ok, x_is, x, first, d, by_type(1e-6, 1e-5, 1e-5));
        compare(i, where, ok, y_is, y, first, d, by_type(2e-6, 2e-3, 2e-4));
        for (int64_t r = PERIOD; r < n; r++) {
            equal(i, "a row of x depends on where it stands", where, x_is + r * d,
                  x_is + r % PERIOD * d, (size_t)d * 4);
            equal(i, "a row of y depends on where it stands", where, y_is + r * d,
                  y_is + r % PERIOD * d, (size_t)d * 4);
        }
        for (int64_t r = 0; r < first; r += 21) { /* alone */
            struct two one = t;
            float x_one[1024], y_one[1024];
            one.a += r * d, one.x += r * d, one.n = 1;
            run_two(open_now[i], &one, x_one, y_one);
            equal(i, "a row of x depends on others", where, x_one, x_is + r * d, (size_t)d * 4);
            equal(i, "a row of y depends on others", where, y_one, y_is + r * d, (size_t)d * 4);
        }
    }
    free(a_all), free(x_all), free(x_is), free(y_is);
}

/* Rows of very different means and sizes, one of next to nothing, and columns that stand out,
 * as models have them. */
static void linear_and_norm(void) {
    const int64_t widths[] = {320, 480, 640, 96}, some[] = {0, 1, 63, 64, 65, 1000};
    for (int k = 0; k < 4; k++) {
        const int64_t d = widths[k];
        struct weights w = make_weights(d, d, 1, VN_F32, VN_EPI_RESIDUAL);
        float *a = rnd_array(PERIOD * d, 1), *x = rnd_array(PERIOD * d, 3);
        float *gamma = rnd_array(d, 2), *beta = rnd_array(d, 1);
        float *x_want = need(PERIOD * (size_t)d, 4), *y_want = need(PERIOD * (size_t)d, 4);
        float *x_apart = need(PERIOD * (size_t)d, 4), *y_apart = need(PERIOD * (size_t)d, 4);
        for (int64_t j = 0; j < PERIOD * d; j++)
            x[j] = x[j] * (float)(1 + j / d % 7) + (float)(j / d % 5) +
                   (j % d == 77 ? 40 : j % d > 200 ? 7 : 0);
        memset(a + 21 * d, 0, (size_t)d * 4);
        for (int64_t j = 0; j < d; j++)
            x[21 * d + j] = 2e-3f * rnd() - w.bias[j];
        struct vn_matrix *m = make_matrix(reference, &w);
        struct two t = {m, a, x, gamma, beta, PERIOD, d, false, true}, u = t;
        run_two(reference, &t, x_apart, y_apart);
        t.apart = false;
        run_two(reference, &t, x_want, y_want);
        reference->ops.matrix_free(reference, m);
        FOR_EACH(i) {
            /* 384 rows for each multiprocessor, or 128: each warpgroup has several tiles */
            const int64_t many = open_now[i]->wave * (small ? 1 : 3) + 237;
            float *is = need(PERIOD * (size_t)d, 4), *y_is = need(PERIOD * (size_t)d, 4);
            t.m = u.m = m = make_matrix(open_now[i], &w);
            bool ok = run_two(open_now[i], &u, is, y_is);
            compare(i, "norm of another x", ok, y_is, y_apart, PERIOD, d,
                    by_type(2e-6, 2e-3, 2e-4));
            free(is), free(y_is);
            for (int j = 0; j < 6; j++)
                two_repeated(i, t, some[j], x_want, y_want);
            two_repeated(i, t, many, x_want, y_want);
            open_now[i]->ops.matrix_free(open_now[i], m);
        }
        free(a), free(x), free(gamma), free(beta), free(x_want), free(y_want);
        free(x_apart), free(y_apart), free_weights(&w);
    }
    verdicts("linear and norm");
}

/* ---- speed ----------------------------------------------------------------------- */

static struct vn_row_stage timed_stages[2];
static void time_rows(void *ctx) {
    struct vn_error err;
    must(timed->ops.rows(timed, ctx, 2, &err), &err);
}

static void perf_of(const char *subject, int64_t d) {
    const int64_t n = 65536;
    if (!timed->ops.rows)
        return;
    struct weights w = make_weights(d, d, 1, VN_F32, VN_EPI_RESIDUAL);
    float *x = rnd_array(n * d, 1);
    struct vn_matrix *m = make_matrix(timed, &w);
    struct dbuf a = dnew_act(timed, x, act, n * d), dx = dnew(timed, x, (size_t)(n * d) * 4);
    struct dbuf g = dnew(timed, x, (size_t)d * 4);
    timed_stages[0] = (struct vn_row_stage){
        .linear = {dptr(&a), m, dptr(&dx), n, VN_EPI_RESIDUAL, NULL}};
    timed_stages[1] = (struct vn_row_stage){
        .is_norm = true,
        .norm = {.x = dptr(&dx), .gamma = dptr(&g), .beta = dptr(&g), .y = dptr(&a),
                 .y_type = act, .n_tok = n, .d = d, .eps = 1e-5f}};
    double t = fastest(time_rows, timed_stages);
    double bytes = (double)(n * d) * (double)(8 + 2 * vn_dtype_size(act));
    printf("%-13s %-4s out, norm  %5lld x %5lld          %8.1f GB/s    %9.1f us\n", subject,
           act_name(), (long long)n, (long long)d, bytes / t / 1e9, t * 1e6);
    dend(timed, a, NULL), dend(timed, dx, NULL), dend(timed, g, NULL);
    timed->ops.matrix_free(timed, m);
    free(x), free_weights(&w);
}

static void tests(void) {
    if (esm2_only())
        return;
    if (!gpu_alone)
        run_op("rows", rows);
    run_op("linear and norm", linear_and_norm);
}

int main(int argc, char **argv) {
    static const struct program p = {.seed = 1, .test = tests, .perf = perf_of};
    return run(&p, argc, argv);
}
