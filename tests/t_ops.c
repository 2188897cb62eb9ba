/* t_ops.c - every operation of every backend but attention (t_attn.c) against the reference;
 * several at once are in t_rows.c: subjects.h says how it is run. */
#include "subjects.h"

/* ---- accuracy -------------------------------------------------------------------- */

static void embed(void) {
    const int64_t widths[] = {1, 24, 320, 333}, vocab = 33;
    for (int l = 0; l < N_LAYOUTS; l++) {
        for (int w = 0; w < 8; w++) {
            int64_t n = layout_tokens(&layouts[l]), d = widths[w % 4];
            int mask = w < 4 ? -1 : 32;
            float *table = rnd_array(vocab * d, 1);
            uint16_t *tokens = need((size_t)n, sizeof *tokens);
            float *want = need((size_t)(n * d), 4), *is = need((size_t)(n * d), 4);
            for (int64_t t = 0; t < n; t++) /* masks, but never all of a sequence */
                tokens[t] = (uint16_t)(t % 5 == 3 ? 32 : t % 32);
            if (n == 1)
                tokens[0] = 5;
            run_embed(reference, &layouts[l], tokens, table, vocab, d, mask, want);
            FOR_EACH(i) {
                bool ok = run_embed(open_now[i], &layouts[l], tokens, table, vocab, d,
                                    mask, is);
                compare(i, layout_name(&layouts[l]), ok, is, want, n, d, 1e-7);
            }
            free(table), free(tokens), free(want), free(is);
        }
    }
    verdicts("embed");
}

static void norm(void) {
    const int64_t rows[] = {0, 1, 31, 33, 170}, widths[] = {1, 20, 24, 320, 480, 1283};
    for (int k = 0; k < 30; k++) {
        int64_t n = rows[k / 6], d = widths[k % 6];
        float *x = rnd_array(n * d, 3), *gamma = rnd_array(d, 2), *beta = rnd_array(d, 1);
        float *want = need((size_t)(n * d), 4), *is = need((size_t)(n * d), 4);
        float *want_also = need((size_t)(n * d), 4), *is_also = need((size_t)(n * d), 4);
        for (int64_t j = 0; j < n * d; j++)
            x[j] += 2; /* a mean that is not zero */
        for (int kind = 0; kind < (esm2_only() ? 3 : 6); kind++) { /* the same with also */
            enum vn_dtype type = kind % 3 == 2 ? act : VN_F32;
            const char *where = kind % 3 == 1 ? "in place" : "out of place";
            bool two = kind >= 3;
            run_norm(reference, x, gamma, beta, n, d, type, false, want,
                     two ? want_also : NULL);
            FOR_EACH(i) {
                bool ok = run_norm(open_now[i], x, gamma, beta, n, d, type, kind % 3 == 1,
                                   is, two ? is_also : NULL);
                compare(i, where, ok, is, want, n, d,
                        type == act ? by_type(5e-7, 1e-3, 1e-4)
                                    : by_type(5e-7, 5e-7, 5e-7));
                if (two)
                    compare(i, "also", ok, is_also, want_also, n, d,
                            by_type(5e-7, 1e-3, 1e-4));
            }
        }
        free(x), free(gamma), free(beta), free(want), free(is);
        free(want_also), free(is_also);
    }
    verdicts("norm");
}

static void linear(void) {
    static const struct {
        int64_t n_tok, n_out, n_in;
        int n_parts;
        enum vn_dtype type;
    } cases[] = {
        {0, 32, 32, 1, VN_F32},     {1, 96, 32, 3, VN_F32},
        {31, 37, 19, 1, VN_F16},    {33, 20, 80, 1, VN_BF16},
        {65, 320, 320, 1, VN_F32},  {170, 960, 320, 3, VN_F32},
        {64, 1280, 320, 1, VN_F16}, {129, 320, 1280, 1, VN_F32},
        {3, 1, 1, 1, VN_F32},       {100, 640, 2560, 1, VN_F32},
        /* tiles of 160, 192 and 256 columns, two at a time, and an odd end of the sum */
        {257, 768, 328, 3, VN_F16}, {130, 1440, 480, 1, VN_F32},
        {300, 1920, 480, 1, VN_F16},
        /* the same within `small` */
        {130, 256, 328, 1, VN_F32},
    };
    for (int k = 0; k < (int)(sizeof cases / sizeof *cases) * 8; k++) {
        int64_t n = cases[k / 8].n_tok, n_out = cases[k / 8].n_out,
                n_in = cases[k / 8].n_in;
        enum vn_epilogue e = (enum vn_epilogue)(k % 4);
        if (esm2_only() && (k % 8 >= 4 || e == VN_EPI_GLU))
            continue;
        if (small && n_out * n_in > 320 * 320)
            continue;
        struct weights w = make_weights(e == VN_EPI_GLU ? 2 * n_out : n_out, n_in,
                                        cases[k / 8].n_parts, cases[k / 8].type, e);
        if (k % 8 >= 4)
            free(w.bias), w.bias = NULL;
        float *x = rnd_array(n * n_in, 1), *y = rnd_array(n * n_out, 1);
        float *want = need((size_t)(n * n_out), 4), *is = need((size_t)(n * n_out), 4);
        struct vn_matrix *m = make_matrix(reference, &w);
        memcpy(want, y, (size_t)(n * n_out) * 4);
        run_linear(reference, m, &w, x, n, want);
        reference->ops.matrix_free(reference, m);
        FOR_EACH(i) {
            char where[96];
            snprintf(where, sizeof where, "%lld x %lld x %lld, epilogue %d%s", (long long)n,
                     (long long)n_out, (long long)n_in, (int)e, w.bias ? "" : ", no bias");
            m = make_matrix(open_now[i], &w);
            memcpy(is, y, (size_t)(n * n_out) * 4);
            bool ok = run_linear(open_now[i], m, &w, x, n, is);
            compare(i, where, ok, is, want, n, n_out,
                    e == VN_EPI_RESIDUAL ? by_type(1e-6, 1e-5, 1e-5)
                    : e == VN_EPI_GLU    ? by_type(2e-6, 2e-3, 2e-4) * more_on_gpu(i, 5)
                                         : by_type(1e-6, 1e-3, 1e-4) * more_on_gpu(i, 5));
            open_now[i]->ops.matrix_free(open_now[i], m);
        }
        free(x), free(y), free(want), free(is), free_weights(&w);
    }
    verdicts("linear");
}

/* ---- exactness: same bits as the reference --------------------------------------- */

static void pool(void) {
    const int64_t widths[] = {1, 24, 320, 333};
    for (int k = 0; k < N_LAYOUTS * 16; k++) {
        const struct layout *l = &layouts[k / 16];
        int64_t n = layout_tokens(l), d = widths[k % 4];
        enum vn_pooling p = (enum vn_pooling)(VN_POOL_MEAN + k / 4 % 4);
        float *x = rnd_array(n * d, 1);
        float *want = need((size_t)(l->n_seq * d), 4),
              *is = need((size_t)(l->n_seq * d), 4);
        run_pool(reference, l, x, d, p, want);
        FOR_EACH(i) {
            if (!run_pool(open_now[i], l, x, d, p, is))
                complain(i, "guard bands touched", layout_name(l), 1, 0);
            equal(i, vn_pool_name(p), layout_name(l), is, want,
                  (size_t)(l->n_seq * d) * 4);
        }
        free(x), free(want), free(is);
    }
    verdicts("pool");
}

static void not_finite(void) {
    const struct layout *l = &layouts[N_LAYOUTS - 1];
    const float odd[] = {INFINITY, -INFINITY, NAN, 3.4e38f, 1e-45f};
    int64_t n = layout_tokens(l), d = 37;
    for (int k = 0; k < 40; k++) {
        float *x = rnd_array(n * d, 1);
        uint8_t want[MAX_SEQ], is[MAX_SEQ];
        /* the first and the last value of a sequence, and some in between */
        int64_t at = k < 5    ? 0
                     : k < 10 ? n * d - 1
                     : k < 15 ? 17 * d
                     : k < 20 ? 17 * d - 1
                              : (int64_t)(k * 7919) % (n * d);
        x[at] = odd[k % 5];
        run_finite(reference, l, x, d, want);
        FOR_EACH(i) {
            if (!run_finite(open_now[i], l, x, d, is))
                complain(i, "guard bands touched", "finite", 1, 0);
            equal(i, "flags differ", "finite", is, want, (size_t)l->n_seq);
        }
        free(x);
    }
    verdicts("finite");
}

/* Every half and every bfloat16 value, their neighbours and the points half-way. */
static void convert(void) {
    enum { N = 65536 * 6 + 13 };
    float *x = need(N, sizeof *x);
    for (int i = 0; i < 65536; i++) {
        for (int k = 0; k < 3; k++) {
            x[i * 6 + k] = vn_bits_f32(((uint32_t)i << 16) + 0x7fff + (uint32_t)k);
            x[i * 6 + 3 + k] = vn_bits_f32(vn_f32_bits(vn_f16_to_f32((uint16_t)i)) +
                                           (k == 2 ? 0x1000u : (uint32_t)k));
        }
    }
    const enum vn_dtype types[] = {VN_F16, VN_BF16, VN_F32};
    const int64_t counts[] = {0, 1, 31, 33, 16385, N};
    for (int k = 0; k < 18; k++) {
        enum vn_dtype type = types[k / 6];
        int64_t n = counts[k % 6];
        size_t bytes = (size_t)n * vn_dtype_size(type);
        uint16_t *want = need((size_t)n, 4), *is = need((size_t)n, 4);
        run_convert(reference, x, n, type, want);
        FOR_EACH(i) {
            if (!run_convert(open_now[i], x, n, type, is))
                complain(i, "guard bands touched", "convert", 1, 0);
            for (int64_t j = 0; j < n && type == VN_F16; j++) /* any NaN is as good */
                if ((is[j] & 0x7fff) > 0x7c00 && (want[j] & 0x7fff) > 0x7c00)
                    is[j] = want[j];
            equal(i, "bits differ", type == VN_F16 ? "f16" : "other", is, want, bytes);
        }
        free(want), free(is);
    }
    free(x);
    verdicts("convert");
}

/* ---- batch invariance: bit for bit ----------------------------------------------- */

/* Rows alone, at other positions and among others. */
static void linear_invariance(void) {
    const int64_t sizes[][2] = {
        {960, 320}, {320, 1280}, {37, 19}, {1280, 320}, {640, 640}, {512, 384}};
    const int64_t total = 200, at[] = {0, 1, 62, 63, 64, 65, 127, 199};
    for (int k = 0; k < 24; k++) {
        int64_t n_out = sizes[k / 4][0], n_in = sizes[k / 4][1];
        enum vn_epilogue e = (enum vn_epilogue)(k % 4);
        if (esm2_only() && e == VN_EPI_GLU)
            continue;
        struct weights w =
            make_weights(e == VN_EPI_GLU ? 2 * n_out : n_out, n_in, 1, VN_F32, e);
        float *x = rnd_array(total * n_in, 1), *y = rnd_array(total * n_out, 1);
        float *all = need((size_t)(total * n_out), 4),
              *some = need((size_t)(total * n_out), 4);
        FOR_EACH(i) {
            struct vn_matrix *m = make_matrix(open_now[i], &w);
            memcpy(all, y, (size_t)(total * n_out) * 4);
            run_linear(open_now[i], m, &w, x, total, all);
            for (int p = 0; p < 8; p++) {
                for (int64_t n = 1; n <= 67; n += 33) {
                    if (at[p] + n > total)
                        continue;
                    memcpy(some, y + at[p] * n_out, (size_t)(n * n_out) * 4);
                    run_linear(open_now[i], m, &w, x + at[p] * n_in, n, some);
                    equal(i, "rows depend on the batch", "linear", some,
                          all + at[p] * n_out, (size_t)(n * n_out) * 4);
                }
            }
            open_now[i]->ops.matrix_free(open_now[i], m);
        }
        free(x), free(y), free(all), free(some), free_weights(&w);
    }
    verdicts("linear invariance");
}

/* The first n of rows that repeat after PERIOD: those are right, and wherever else one
 * stands it has the same bits. */
enum { PERIOD = 67 };
static void repeated_rows(int i, const struct vn_matrix *m, const struct weights *w,
                          const float *x, int64_t n, const float *want) {
    int64_t d = out_width(w);
    float *is = need((size_t)(n * d), 4);
    char where[96];
    snprintf(where, sizeof where, "%lld x %lld x %lld, epilogue %d", (long long)n,
             (long long)d, (long long)w->n_in, (int)w->epilogue);
    bool ok = run_linear(open_now[i], m, w, x, n, is);
    compare(i, where, ok, is, want, n < PERIOD ? n : PERIOD, d,
            by_type(2e-6, 2e-3, 2e-4) * more_on_gpu(i, 5));
    for (int64_t r = PERIOD; r < n; r++)
        equal(i, "a row depends on where it stands", where, is + r * d,
              is + r % PERIOD * d, (size_t)d * 4);
    free(is);
}

/* Each of a GPU's own products, of some columns of tiles, with few rows and with so many
 * that all of the device works on several tiles in turn. */
static void linear_tiles(void) {
    static const struct {
        int64_t n_out, n_in;
        enum vn_epilogue e;
        int tiles; /* across n_out */
    } cases[] = {
        {384, 320, VN_EPI_BIAS, 2}, {512, 320, VN_EPI_GELU, 2},
        {480, 480, VN_EPI_BIAS, 3}, {320, 480, VN_EPI_GELU, 2},
        {512, 264, VN_EPI_BIAS, 2}, {328, 200, VN_EPI_GELU, 2},
        {192, 328, VN_EPI_GLU, 2},
    };
    const int64_t some[] = {1, 63, 64, 65, 129};
    for (int k = 0; k < (int)(sizeof cases / sizeof *cases); k++) {
        int64_t d = cases[k].n_out, n_in = cases[k].n_in;
        struct weights w = make_weights(cases[k].e == VN_EPI_GLU ? 2 * d : d, n_in, 1, VN_F32,
                                        cases[k].e);
        float *period = rnd_array(PERIOD * n_in, 1), *want = need((size_t)(PERIOD * d), 4);
        struct vn_matrix *m = make_matrix(reference, &w);
        run_linear(reference, m, &w, period, PERIOD, want);
        reference->ops.matrix_free(reference, m);
        FOR_EACH(i) {
            /* 512 rows for each multiprocessor and column of tiles: three warpgroups that
             * take turns have two or three tiles of 64 each */
            int64_t many = open_now[i]->wave * 4 / cases[k].tiles + 237;
            float *x = need((size_t)(many * n_in), 4);
            for (int64_t r = 0; r < many; r++)
                memcpy(x + r * n_in, period + r % PERIOD * n_in, (size_t)n_in * 4);
            m = make_matrix(open_now[i], &w);
            for (int j = 0; j < 5; j++)
                repeated_rows(i, m, &w, x, some[j], want);
            repeated_rows(i, m, &w, x, many, want);
            open_now[i]->ops.matrix_free(open_now[i], m);
            free(x);
        }
        free(period), free(want), free_weights(&w);
    }
    verdicts("linear tiles");
}

static void norm_invariance(void) {
    const int64_t n = 100, d = 333;
    float *x = rnd_array(n * d, 1), *g = rnd_array(d, 1), *b = rnd_array(d, 1);
    float *all = need((size_t)(n * d), 4), *some = need((size_t)(n * d), 4);
    FOR_EACH(i) {
        run_norm(open_now[i], x, g, b, n, d, act, false, all, NULL);
        for (int64_t t = 0; t < n; t++) {
            run_norm(open_now[i], x + t * d, g, b, 1, d, act, false, some, NULL);
            equal(i, "a row depends on the batch", "norm", some, all + t * d,
                  (size_t)d * 4);
        }
    }
    free(x), free(g), free(b), free(all), free(some);
    verdicts("norm invariance");
}

/* A NaN comes out where it went in, and nowhere else. */
static void nan_stays(void) {
    const int64_t n = 100, d = 320, at = 70;
    for (int e = 0; e < (esm2_only() ? 3 : 4); e++) {
        struct weights w = make_weights(e == VN_EPI_GLU ? 2 * d : d, d, 1, VN_F32,
                                        (enum vn_epilogue)e);
        float *x = rnd_array(n * d, 1), *y = rnd_array(n * d, 1);
        float *clean = need((size_t)(n * d), 4), *dirty = need((size_t)(n * d), 4);
        FOR_EACH(i) {
            struct vn_matrix *m = make_matrix(open_now[i], &w);
            memcpy(clean, y, (size_t)(n * d) * 4);
            memcpy(dirty, y, (size_t)(n * d) * 4);
            run_linear(open_now[i], m, &w, x, n, clean);
            x[at * d + 11] = NAN;
            run_linear(open_now[i], m, &w, x, n, dirty);
            x[at * d + 11] = 0.5f;
            for (int64_t j = 0; j < n * d; j++)
                if (j / d == at ? !isnan(dirty[j]) : dirty[j] != clean[j])
                    complain(i, "NaN lost or spread", "linear", (double)j, (double)at);
            open_now[i]->ops.matrix_free(open_now[i], m);
        }
        free(x), free(y), free(clean), free(dirty), free_weights(&w);
    }
    verdicts("nan stays");
}

/* The two first subjects differ in threads alone; often, so that every worker gets work.
 */
static void threads(void) {
    const struct layout *l = &layouts[N_LAYOUTS - 1];
    const int heads = 20, k = 16, times = 20;
    int64_t n = layout_tokens(l), d = heads * k;
    struct weights w = make_weights(3 * d, d, 3, VN_F32, VN_EPI_BIAS);
    float *x = rnd_array(n * d, 1), *out[2], *qkv = need((size_t)(n * 3 * d), 4);
    for (int i = 0; i < 2; i++)
        out[i] = need((size_t)(n * d), 4);
    for (int rep = 0; rep < times && open_now[0] && open_now[1]; rep++) {
        for (int i = 0; i < 2; i++) {
            struct vn_matrix *m = make_matrix(open_now[i], &w);
            run_linear(open_now[i], m, &w, x, n, qkv);
            run_attn(open_now[i], l, qkv, heads, k, 10000, out[i]);
            open_now[i]->ops.matrix_free(open_now[i], m);
        }
        equal(0, "numbers depend on the threads", "attn of linear", out[0], out[1],
              (size_t)(n * d) * 4);
    }
    free(x), free(qkv), free(out[0]), free(out[1]), free_weights(&w);
    verdicts("threads");
}

/* ---- times ----------------------------------------------------------------------- */

static void stamps(void) {
    FOR_EACH(i) {
        struct vn_backend *b = open_now[i];
        struct vn_error err;
        double first = -1, second = -1, both = -1;
        float *x = rnd_array(1 << 20, 1);
        struct dbuf d = dnew(b, x, (size_t)4 << 20);
        must(b->ops.stamp(b, 1, &err), &err);
        must(b->ops.convert(b, dptr(&d), dptr(&d), VN_F32, 1 << 20, &err), &err);
        must(b->ops.stamp(b, VN_STAMPS - 1, &err), &err);
        must(b->ops.convert(b, dptr(&d), dptr(&d), VN_F32, 1 << 20, &err), &err);
        must(b->ops.stamp(b, 0, &err), &err);
        must(b->ops.mark(b, 0, &err), &err);
        must(b->ops.wait(b, 0, &err), &err);
        must(b->ops.between(b, 1, VN_STAMPS - 1, &first, &err), &err);
        must(b->ops.between(b, VN_STAMPS - 1, 0, &second, &err), &err);
        must(b->ops.between(b, 1, 0, &both, &err), &err);
        if (!(first > 0 && second > 0 && fabs(first + second - both) < 1e-5 && both < 10))
            complain(i, "the sum of two times", "stamps", first + second, both);
        if (b->ops.stamp(b, VN_STAMPS, &err) != VN_EINTERNAL ||
            b->ops.stamp(b, -1, &err) != VN_EINTERNAL ||
            b->ops.between(b, 0, VN_STAMPS, &both, &err) != VN_EINTERNAL)
            complain(i, "a time out of range is taken", "stamps", 1, 0);
        dend(b, d, NULL);
        free(x);
    }
    verdicts("stamps");
}

/* ---- speed ----------------------------------------------------------------------- */

static void time_linear(void *ctx) {
    struct vn_error err;
    must(timed->ops.linear(timed, ctx, &err), &err);
}
static void time_norm(void *ctx) {
    struct vn_error err;
    must(timed->ops.norm(timed, ctx, &err), &err);
}

static void perf_linear(const char *subject, const char *what, int64_t n, int64_t n_out,
                        int64_t n_in, enum vn_epilogue e) {
    struct weights w = make_weights(n_out, n_in, 1, VN_F32, e);
    float *x = rnd_array(n * n_in, 1);
    struct vn_matrix *m = make_matrix(timed, &w);
    struct dbuf dx = dnew_act(timed, x, act, n * n_in);
    float *zero = need((size_t)(n * n_out), sizeof *zero);
    struct dbuf dy = dnew(timed, zero, (size_t)(n * n_out) * 4);
    struct dbuf wide = dnew(timed, NULL, e == VN_EPI_GLU ? (size_t)(n * n_out) * 4 : 0);
    struct vn_linear_args a = {.x = dptr(&dx),
                               .w = m,
                               .y = dptr(&dy),
                               .n_tok = n,
                               .epilogue = e,
                               .wide = dptr(&wide)};
    double t = fastest(time_linear, &a), flop = 2.0 * (double)n * (double)(n_out * n_in);
    printf("%-13s %-4s %-9s %5lld x %5lld x %5lld  %8.1f GFLOP/s %9.1f us\n", subject,
           act_name(), what, (long long)n, (long long)n_out, (long long)n_in,
           flop / t / 1e9, t * 1e6);
    dend(timed, dx, NULL);
    dend(timed, dy, NULL);
    timed->ops.matrix_free(timed, m);
    free(x), free(zero), free_weights(&w);
}

static void perf_norm(const char *subject, int64_t n, int64_t d) {
    float *x = rnd_array(n * d, 1);
    struct dbuf dx = dnew(timed, x, (size_t)(n * d) * 4);
    struct dbuf dy = dnew(timed, NULL, (size_t)(n * d) * 4);
    struct vn_norm_args a = {.x = dptr(&dx),
                             .gamma = dptr(&dx),
                             .beta = dptr(&dx),
                             .y = dptr(&dy),
                             .y_type = act,
                             .n_tok = n,
                             .d = d,
                             .eps = 1e-5f};
    double t = fastest(time_norm, &a);
    double bytes = (double)(n * d) * (double)(4 + vn_dtype_size(act));
    printf("%-13s %-4s norm      %5lld x %5lld          %8.1f GB/s    %9.1f us\n",
           subject, act_name(), (long long)n, (long long)d, bytes / t / 1e9, t * 1e6);
    dend(timed, dx, NULL);
    dend(timed, dy, NULL);
    free(x);
}

static void perf_of(const char *subject, int64_t d) {
    const int64_t n = 2048;
    perf_linear(subject, "qkv", n, 3 * d, d, VN_EPI_BIAS);
    perf_linear(subject, "out", n, d, d, VN_EPI_RESIDUAL);
    perf_linear(subject, "ffn1", n, 4 * d, d, VN_EPI_GELU);
    perf_linear(subject, "ffn2", n, d, 4 * d, VN_EPI_RESIDUAL);
    perf_norm(subject, n, d);
}

static void tests(void) {
    run_op("embed", embed);
    run_op("norm", norm);
    run_op("linear", linear);
    run_op("pool", pool);
    run_op("finite", not_finite);
    if (act == VN_F32)
        run_op("convert", convert);
    if (act != VN_F32 && !esm2_only())
        run_op("linear tiles", linear_tiles);
    if (!small)
        run_op("linear invariance", linear_invariance);
    run_op("norm invariance", norm_invariance);
    run_op("nan stays", nan_stays);
    if (!gpu_alone)
        run_op("threads", threads);
    run_op("stamps", stamps);
}

int main(int argc, char **argv) {
    static const struct program p = {.seed = 1, .test = tests, .perf = perf_of};
    return run(&p, argc, argv);
}
