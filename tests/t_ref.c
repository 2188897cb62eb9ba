/* t_ref.c - the reference itself, against formulas written again from their definitions:
 * whole matrices in double, complex rotation, integrals, masks counted by hand. */
#include <complex.h>

#include "ops.h"

static struct vn_backend *ref;

static void open_ref(enum vn_dtype act) {
    struct vn_error err;
    const struct vn_backend_options o = {.device = "reference", .act = act, .threads = 1};
    must(vn_backend_open(&o, &ref, &err), &err);
}
static void close_ref(void) {
    ref->ops.close(ref);
}

static void near(const char *what, double is, double want, double limit) {
    if (!(fabs(is - want) <= limit * (1 + fabs(want)))) {
        printf("# %s: %.9g, expected %.9g\n", what, is, want);
        check_fail(__FILE__, __LINE__, what);
    }
}

/* ---- pooling --------------------------------------------------------------------- */

static void pool_range(void) {
    static const struct {
        enum vn_pooling pool;
        int64_t n, from, to;
    } cases[] = {
        {VN_POOL_MEAN, 1, 0, 1},     {VN_POOL_MEAN, 2, 0, 2}, {VN_POOL_MEAN, 3, 1, 2},
        {VN_POOL_MEAN, 170, 1, 169}, {VN_POOL_MAX, 2, 0, 2},  {VN_POOL_MAX, 10, 1, 9},
        {VN_POOL_MEAN_ALL, 9, 0, 9}, {VN_POOL_CLS, 9, 0, 1},  {VN_POOL_CLS, 1, 0, 1},
        {VN_POOL_NONE, 9, 0, 9},     {VN_POOL_MEAN, 0, 0, 0}, {VN_POOL_CLS, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t from = -1, to = -1;
        vn_pool_range(cases[i].pool, cases[i].n, &from, &to);
        CHECK_INT(from, cases[i].from);
        CHECK_INT(to, cases[i].to);
    }
}

static void pool_names(void) {
    enum vn_pooling p = VN_POOL_CLS;
    for (int i = VN_POOL_NONE; i <= VN_POOL_MAX; i++) {
        CHECK(vn_pool_of(vn_pool_name((enum vn_pooling)i), &p));
        CHECK_INT(p, i);
    }
    CHECK(!vn_pool_of("auto", &p) && !vn_pool_of("", &p) && !vn_pool_of("mean-", &p));
    CHECK_INT(p, VN_POOL_MAX);
    CHECK_STR(vn_pool_name(VN_POOL_NONE), "none");
    CHECK_STR(vn_pool_name(VN_POOL_MEAN), "mean");
    CHECK_STR(vn_pool_name(VN_POOL_MEAN_ALL), "mean-all");
    CHECK_STR(vn_pool_name(VN_POOL_CLS), "cls");
    CHECK_STR(vn_pool_name(VN_POOL_MAX), "max");
}

/* Values whose sum depends on the order: the blocks of the contract, by hand. */
static void pool_order(void) {
    const int64_t n = 101, d = 70;
    float *x = rnd_array(n * d, 1), *out = need((size_t)d, 4);
    for (int64_t i = 0; i < n * d; i += 7)
        x[i] *= 1e6f;
    vn_pool_rows(VN_POOL_MEAN, x, n, d, out);
    int differ = 0;
    for (int64_t j = 0; j < d; j++) {
        volatile float sum = 0, plain = 0;
        for (int64_t b = 1; b < n - 1; b += 32) {
            volatile float block = 0;
            for (int64_t r = b; r < b + 32 && r < n - 1; r++) {
                block = block + x[r * d + j];
                plain = plain + x[r * d + j];
            }
            sum = sum + block;
        }
        CHECK(out[j] == sum / 99.0f);
        differ += plain != sum;
    }
    CHECK(differ > 0); /* else the test says nothing */
    free(x), free(out);
}

static void pool_kinds(void) {
    const float x[] = {9, -9, 1, 4, 2, -5, 3, 6, -7, 70}; /* [5, 2] */
    float out[2];
    vn_pool_rows(VN_POOL_MEAN, x, 5, 2, out);
    CHECK(out[0] == 2 && out[1] == 5.0f / 3);
    vn_pool_rows(VN_POOL_MEAN_ALL, x, 5, 2, out);
    CHECK(out[0] == 8.0f / 5 && out[1] == 66.0f / 5);
    vn_pool_rows(VN_POOL_CLS, x, 5, 2, out);
    CHECK(out[0] == 9 && out[1] == -9);
    vn_pool_rows(VN_POOL_MAX, x, 5, 2, out);
    CHECK(out[0] == 3 && out[1] == 6);
    vn_pool_rows(VN_POOL_MAX, x + 1, 2, 2, out);
    CHECK(out[0] == 4 && out[1] == 2);
}

static void pool_empty(void) {
    const struct layout l = {3, {0, 1, 0}};
    const float x[] = {4, 5};
    float out[6];
    open_ref(VN_F32);
    CHECK(run_pool(ref, &l, x, 2, VN_POOL_MEAN, out));
    CHECK(out[0] == 0 && out[1] == 0 && out[2] == 4 && out[3] == 5 && out[4] == 0 &&
          out[5] == 0);
    close_ref();
}

/* ---- embedding ------------------------------------------------------------------- */

static void token_dropout(void) {
    /* sequence 0: no mask; 1: empty; 2: one mask of four; 3: two of three */
    const struct layout l = {4, {3, 0, 4, 3}};
    const uint16_t tokens[] = {0, 1, 2, 0, 4, 1, 2, 4, 3, 4};
    const float table[] = {1, 2, 3, 5, -8},
                scale[] = {0.88f, 0, 0.88f / 0.75f, 0.88f * 3};
    float out[10];
    open_ref(VN_F32);
    CHECK(run_embed(ref, &l, tokens, table, 5, 1, 4, out));
    for (int t = 0; t < 10; t++) {
        int s = t < 3 ? 0 : t < 7 ? 2 : 3;
        near("masked embedding", out[t], tokens[t] == 4 ? 0 : table[tokens[t]] * scale[s],
             2e-7);
    }
    CHECK(run_embed(ref, &l, tokens, table, 5, 1, -1, out));
    for (int t = 0; t < 10; t++)
        CHECK(out[t] == table[tokens[t]]);
    close_ref();
}

/* ---- norm: after it, mean 0 and variance var / (var + eps) ----------------------- */

static void layer_norm(void) {
    const int64_t d = 48;
    float *x = rnd_array(d, 0.01f), y[48], one[48], zero[48] = {0};
    double mean = 0, var = 0, m = 0, v = 0;
    for (int64_t j = 0; j < d; j++) {
        one[j] = 1;
        x[j] += 100;
        mean += x[j] / (double)d;
    }
    for (int64_t j = 0; j < d; j++)
        var += pow(x[j] - mean, 2) / (double)d;
    open_ref(VN_F32);
    CHECK(run_norm(ref, x, one, zero, 1, d, VN_F32, false, y, NULL));
    for (int64_t j = 0; j < d; j++) {
        m += y[j] / (double)d;
        v += (double)y[j] * y[j] / (double)d;
    }
    near("mean", m, 0, 1e-7);
    near("variance", v, var / (var + 1e-5), 1e-6);
    for (int64_t j = 0; j < d; j++) /* gamma and beta in their places */
        one[j] = 2, zero[j] = (float)j;
    float z[48];
    CHECK(run_norm(ref, x, one, zero, 1, d, VN_F32, true, z, NULL));
    for (int64_t j = 0; j < d; j++)
        near("scaled", z[j], 2.0 * y[j] + (double)j, 1e-6);
    close_ref();
    free(x);
}

/* ---- linear ---------------------------------------------------------------------- */

/* W = 1, b = 0: the epilogues alone. */
static void gelu(void) {
    open_ref(VN_F32);
    float one = 1, zero = 0;
    struct weights w = {&one, &zero, 1, 1, 1, VN_F32, VN_EPI_GELU};
    struct vn_matrix *m = make_matrix(ref, &w);
    const double known[][2] = {{0, 0},
                               {1, 0.8413447460685429},
                               {-1, -0.15865525393145707},
                               {3, 2.9959503059051194},
                               {-6, -5.9195146e-09}};
    for (int i = 0; i < 5; i++) {
        float x = (float)known[i][0], y = 0;
        CHECK(run_linear(ref, m, &w, &x, 1, &y));
        near("gelu", y, known[i][1], 1e-7);
    }
    for (float x = -7; x < 7; x += 0.37f) { /* x Phi(x), Phi by its integral */
        double phi = 0.5, h = x / 2000.0;
        for (int i = 0; i < 2000; i++)
            phi += h * exp(-0.5 * pow((i + 0.5) * h, 2)) / sqrt(2 * M_PI);
        float y = 0;
        CHECK(run_linear(ref, m, &w, &x, 1, &y));
        near("gelu", y, x * phi, 1e-6);
    }
    ref->ops.matrix_free(ref, m);
    close_ref();
}

/* Powers of two: sums and places are exact. y = x W' + b, three stacked parts. */
static void product(void) {
    for (int e = 0; e < 3; e += 2) {
        float weight[6][4], bias[6], x[2][4], y[2][6];
        for (int o = 0; o < 6; o++) {
            bias[o] = (float)(o + 1);
            for (int i = 0; i < 4; i++)
                weight[o][i] = (float)(1 << o) * (i == 3 ? -1 : 1);
        }
        for (int t = 0; t < 2; t++) {
            for (int i = 0; i < 4; i++)
                x[t][i] = (float)(1 + i + 10 * t);
            for (int o = 0; o < 6; o++)
                y[t][o] = 1000;
        }
        open_ref(VN_F32);
        struct weights w = {&weight[0][0], bias, 6, 4, 3, VN_F16, (enum vn_epilogue)e};
        struct vn_matrix *m = make_matrix(ref, &w);
        CHECK(run_linear(ref, m, &w, &x[0][0], 2, &y[0][0]));
        for (int t = 0; t < 2; t++)
            for (int o = 0; o < 6; o++)
                CHECK(y[t][o] == (1 << o) * (2 + 20 * t) + o + 1 + (e == 2 ? 1000 : 0));
        ref->ops.matrix_free(ref, m);
        close_ref();
    }
}

/* 1 + 2^-9 is not a bfloat16: the weight is rounded, the bias is not. */
static void weights_are_rounded(void) {
    const float odd = 1 + 1.0f / 512;
    float weight = odd, bias = 0, x = 1, y = 0;
    struct weights w = {&weight, &bias, 1, 1, 1, VN_F32, VN_EPI_RESIDUAL};
    open_ref(VN_BF16);
    struct vn_matrix *m = make_matrix(ref, &w);
    CHECK(run_linear(ref, m, &w, &x, 1, &y));
    CHECK(y == 1);
    ref->ops.matrix_free(ref, m);
    weight = 0, bias = odd, y = 0;
    m = make_matrix(ref, &w);
    CHECK(run_linear(ref, m, &w, &x, 1, &y));
    CHECK(y == odd);
    ref->ops.matrix_free(ref, m);
    close_ref();
}

/* ---- attention: the whole matrix, rotation as a complex product ------------------ */

static void brute_force(const float *qkv, int64_t n, int heads, int k, float theta,
                        float *out) {
    int half = k / 2;
    double complex *q = need((size_t)(n * half), sizeof *q),
                   *kk = need((size_t)(n * half), sizeof *kk);
    double *p = need((size_t)(n * n), sizeof *p);
    for (int h = 0; h < heads; h++) {
#define AT(t, which, c) qkv[(((t)*3 + (which)) * heads + h) * k + (c)]
        for (int64_t t = 0; t < n; t++) {
            for (int i = 0; i < half; i++) {
                double angle = theta != 0 ? (double)t * pow(theta, -2.0 * i / k) : 0;
                double complex turn = cexp(I * angle);
                q[t * half + i] = (AT(t, 0, i) + I * AT(t, 0, i + half)) * turn;
                kk[t * half + i] = (AT(t, 1, i) + I * AT(t, 1, i + half)) * turn;
            }
        }
        for (int64_t a = 0; a < n; a++) {
            double sum = 0;
            for (int64_t b = 0; b < n; b++) {
                double dot = 0;
                for (int i = 0; i < half; i++)
                    dot += creal(q[a * half + i] * conj(kk[b * half + i]));
                p[a * n + b] = exp(dot / sqrt(k));
                sum += p[a * n + b];
            }
            for (int c = 0; c < k; c++) {
                double y = 0;
                for (int64_t b = 0; b < n; b++)
                    y += p[a * n + b] / sum * AT(b, 2, c);
                out[(a * heads + h) * k + c] = (float)y;
            }
        }
#undef AT
    }
    free(q), free(kk), free(p);
}

static void attention(void) {
    const struct layout l = {5, {0, 7, 33, 1, 0}};
    const int sizes[] = {16, 24, 64}, heads = 3;
    open_ref(VN_F32);
    for (int s = 0; s < 6; s++) {
        int k = sizes[s % 3];
        float theta = s < 3 ? 10000 : 0;
        int64_t n = layout_tokens(&l), d = heads * k;
        float *qkv = rnd_array(n * 3 * d, 2), *is = need((size_t)(n * d), 4);
        float *want = need((size_t)(n * d), 4);
        CHECK(run_attn(ref, &l, qkv, heads, k, theta, is));
        for (int64_t b = 0, t = 0; b < l.n_seq; t += l.len[b++])
            brute_force(qkv + t * 3 * d, l.len[b], heads, k, theta, want + t * d);
        for (int64_t i = 0; i < n * d; i++)
            near("attention", is[i], want[i], 1e-6);
        free(qkv), free(is), free(want);
    }
    close_ref();
}

/* ---- the rest -------------------------------------------------------------------- */

static void flags(void) {
    const struct layout l = {4, {2, 0, 1, 1}};
    const float x[] = {0, 1, -3.4e38f, NAN, 1e-45f, 5, -INFINITY, 2};
    uint8_t bad[4] = {9, 9, 9, 9};
    open_ref(VN_F32);
    CHECK(run_finite(ref, &l, x, 2, bad));
    CHECK(bad[0] == 1 && bad[1] == 0 && bad[2] == 0 && bad[3] == 1);
    close_ref();
}

static void storage(void) {
    const float x[] = {1, -2, 65519, 65520, 1.0009765625f, 6e-8f};
    const uint16_t half[] = {0x3c00, 0xc000, 0x7bff, 0x7c00, 0x3c01, 0x0001};
    const uint16_t brain[] = {0x3f80, 0xc000, 0x4780, 0x4780, 0x3f80, 0x3381};
    uint16_t is[6];
    open_ref(VN_F32);
    CHECK(run_convert(ref, x, 6, VN_F16, is));
    CHECK(!memcmp(is, half, sizeof is));
    CHECK(run_convert(ref, x, 6, VN_BF16, is));
    CHECK(!memcmp(is, brain, sizeof is));
    close_ref();
}

/* ---- choosing a device ----------------------------------------------------------- */

static void devices(void) {
    static const struct {
        const char *device;
        enum vn_dtype act;
        int status;
    } cases[] = {
        {"auto", VN_F32, VN_OK},
        {"cpu", VN_BF16, VN_OK},
        {"reference", VN_F16, VN_OK},
        {"reference", VN_I32, VN_EINCOMPAT},
        {"cpu", VN_F16, VN_EINCOMPAT},
        {"gpu", VN_F32, VN_EUSAGE},
        {"", VN_F32, VN_EUSAGE},
        {"cuda:", VN_F32, VN_EUSAGE},
        {"cuda:x", VN_F32, VN_EUSAGE},
        {"cuda:1x", VN_F32, VN_EUSAGE},
        {"cuda:1000", VN_F32, VN_EUSAGE},
        {"cuda1", VN_F32, VN_EUSAGE},
        {"cuda:999", VN_F32, VN_ENODEVICE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct vn_backend_options o = {
            .device = cases[i].device, .act = cases[i].act, .threads = 1};
        struct vn_backend *b = NULL;
        struct vn_error err = {0};
        int rc = vn_backend_open(&o, &b, &err);
        if (rc != cases[i].status)
            printf("# device '%s': %s\n", cases[i].device, err.msg);
        CHECK_INT(rc, cases[i].status);
        CHECK((b != NULL) == (rc == VN_OK));
        if (b) {
            CHECK(b->act == cases[i].act && b->device[0] && b->ops.name[0]);
            b->ops.close(b);
        }
    }
}

/* Standard attention is that of fp16, on every CPU, and of ESM-2. */
static void standard(void) {
    static const struct {
        const char *device;
        enum vn_dtype act;
        int status;
    } cases[] = {
        {"cpu", VN_F16, VN_OK},
        {"reference", VN_F16, VN_OK},
        {"cpu", VN_F32, VN_EINCOMPAT},
        {"reference", VN_BF16, VN_EINCOMPAT},
        {"cuda", VN_BF16, VN_EINCOMPAT},
    };
    const uint16_t weight[4] = {0}, bias[4] = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct vn_backend_options o = {.device = cases[i].device,
                                             .act = cases[i].act,
                                             .threads = 1,
                                             .attention = VN_ATTN_STANDARD};
        struct vn_matrix_spec spec = {.weight = {weight},
                                      .bias = {bias},
                                      .type = VN_F16,
                                      .n_parts = 1,
                                      .n_out = 2,
                                      .n_in = 2,
                                      .epilogue = VN_EPI_GLU};
        struct vn_backend *b = NULL;
        struct vn_matrix *m;
        struct vn_error err = {0};
        CHECK_INT(vn_backend_open(&o, &b, &err), cases[i].status);
        if (!b)
            continue;
        CHECK(b->attention == VN_ATTN_STANDARD && b->act == VN_F16);
        CHECK_INT(b->ops.matrix_new(b, &spec, &m, &err), VN_EINCOMPAT);
        spec.epilogue = VN_EPI_BIAS;
        spec.bias[0] = NULL;
        CHECK_INT(b->ops.matrix_new(b, &spec, &m, &err), VN_EINCOMPAT);
        b->ops.close(b);
    }
}

static void slots(void) {
    struct vn_error err;
    void *p = &p;
    open_ref(VN_F32);
    CHECK_INT(ref->ops.mark(ref, VN_SLOTS - 1, &err), VN_OK);
    CHECK_INT(ref->ops.wait(ref, VN_SLOTS - 1, &err), VN_OK);
    CHECK_INT(ref->ops.mark(ref, VN_SLOTS, &err), VN_EINTERNAL);
    CHECK_INT(ref->ops.mark(ref, -1, &err), VN_EINTERNAL);
    CHECK_INT(ref->ops.alloc(ref, SIZE_MAX - 10, &p, &err), VN_EFAIL);
    CHECK(!p);
    CHECK_INT(ref->ops.alloc(ref, 0, &p, &err), VN_OK);
    CHECK(p && (uintptr_t)p % VN_ALIGN == 0);
    ref->ops.release(ref, p);
    close_ref();
}

int main(void) {
    TEST(pool_range);
    TEST(pool_names);
    TEST(pool_order);
    TEST(pool_kinds);
    TEST(pool_empty);
    TEST(token_dropout);
    TEST(layer_norm);
    TEST(gelu);
    TEST(product);
    TEST(weights_are_rounded);
    TEST(attention);
    TEST(flags);
    TEST(storage);
    TEST(devices);
    TEST(standard);
    TEST(slots);
    return check_done();
}
