/* Heads: against the formula in double, independence of rows, and what is refused. */
#include <math.h>
#include <sys/stat.h>

#include "check.h"
#include "mlp.h"

static uint64_t seed = 88172645463325252u;

static float uniform(void) { /* -1 .. 1 */
    seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
    return (float)((double)(seed >> 11) / 4503599627370496.0 - 1.0);
}

static void write_text(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
}

/* A head with random weights in directory d. */
static void make_head(const char *config, const int *width, int n_layers) {
    struct vn_tensor t[8];
    static char names[8][40];
    struct vn_error err;
    mkdir("d", 0777);
    write_text("d/config.json", config);
    for (int i = 0; i < 2 * n_layers; i++) {
        bool bias = i % 2;
        int in = width[i / 2], out = width[i / 2 + 1];
        size_t n = (size_t)out * (size_t)(bias ? 1 : in);
        float *v = malloc(n * sizeof *v);
        for (size_t k = 0; k < n; k++)
            v[k] = uniform() * (bias ? 0.5f : 2 / sqrtf((float)in));
        snprintf(names[i], sizeof names[i], "layers.%d.%s", i / 2,
                 bias ? "bias" : "weight");
        t[i] = (struct vn_tensor){.name = names[i],
                                  .type = VN_F32,
                                  .n_dims = bias ? 1 : 2,
                                  .shape = {out, in},
                                  .data = v,
                                  .bytes = 4 * n};
    }
    CHECK_INT(vn_safetensors_write("d/model.safetensors", t, 2 * n_layers, &err), VN_OK);
    for (int i = 0; i < 2 * n_layers; i++)
        free((void *)t[i].data);
}

static void formula(const struct vn_head *h, const float *x, double *p) {
    static double a[2][1000];
    double *in = a[0], *out = a[1], sum = 0, max = -1e300;
    const int C = h->width[h->n_layers];
    for (int i = 0; i < h->width[0]; i++)
        in[i] = x[i];
    for (int l = 0; l < h->n_layers; l++) {
        for (int o = 0; o < h->width[l + 1]; o++) {
            double s = h->bias[l][o];
            for (int k = 0; k < h->width[l]; k++)
                s += (double)h->weight[l][o * h->width[l] + k] * in[k];
            if (l + 1 < h->n_layers)
                s = h->gelu ? 0.5 * s * (1 + erf(s / sqrt(2))) : s > 0 ? s : 0;
            out[o] = s;
        }
        double *swap = in;
        in = out, out = swap;
    }
    for (int c = 0; c < C; c++)
        max = in[c] > max ? in[c] : max;
    for (int c = 0; c < C; c++)
        sum += p[c] = exp(in[c] - max);
    for (int c = 0; c < C; c++)
        p[c] /= sum;
}

static struct vn_head *open_head(void) {
    struct vn_head *h;
    struct vn_error err;
    if (vn_head_open("d", &h, &err) != VN_OK)
        printf("# %s\n", err.msg);
    CHECK(h);
    return h;
}

static void check_rows(const struct vn_head *h, int n) {
    const int D = h->width[0], C = h->width[h->n_layers];
    float *x = malloc(sizeof *x * (size_t)(n * D)),
          *p = malloc(sizeof *p * (size_t)(n * C));
    struct vn_mlp *mlp;
    struct vn_error err;
    double want[8], worst = 0;
    for (int i = 0; i < n * D; i++)
        x[i] = uniform() * 3;
    CHECK_INT(vn_mlp_new(h, 2, &mlp, &err), VN_OK);
    vn_mlp_apply(mlp, 0, x, n, p);
    for (int r = 0; r < n; r++) {
        float alone[8];
        formula(h, x + r * D, want);
        for (int c = 0; c < C; c++)
            worst = fmax(worst, fabs(p[r * C + c] - want[c]));
        vn_mlp_apply(mlp, r % 2, x + r * D, 1, alone);
        CHECK(!memcmp(alone, p + r * C, sizeof(float) * (size_t)C)); /* byte for byte */
    }
    if (worst > 1e-5)
        printf("# worst difference %g\n", worst);
    CHECK(worst <= 1e-5);
    vn_mlp_free(mlp);
    free(x);
    free(p);
}

static void applies(void) {
    static const struct {
        const char *config;
        int width[5], n_layers;
    } cases[] = {
        {"{\"model_type\":\"vn-head\",\"activation\":\"relu\",\"labels\":[\"a\",\"b\"],"
         "\"inputs\":[{\"width\":333}]}",
         {333, 64, 2},
         2},
        {"{\"model_type\":\"vn-head\",\"activation\":\"gelu\",\"labels\":[\"a\",\"b\","
         "\"c\"],"
         "\"inputs\":[{\"width\":7}]}",
         {7, 19, 31, 3},
         3},
        {"{\"model_type\":\"vn-head\",\"activation\":\"relu\",\"labels\":[\"a\",\"b\"],"
         "\"inputs\":[{\"width\":1}]}",
         {1, 2},
         1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make_head(cases[i].config, cases[i].width, cases[i].n_layers);
        struct vn_head *h = open_head();
        for (int n = 0; h && n <= 130; n += n < 18 ? 1 : 37)
            check_rows(h, n);
        vn_head_close(h);
    }
}

/* Large logits must not overflow; not-a-number must not become a number. */
static void extremes(void) {
    static const int width[] = {4, 2};
    struct vn_mlp *mlp;
    struct vn_error err;
    float p[2];
    make_head(
        "{\"model_type\":\"vn-head\",\"activation\":\"relu\",\"labels\":[\"a\",\"b\"],"
        "\"inputs\":[{\"width\":4}]}",
        width, 1);
    struct vn_head *h = open_head();
    CHECK_INT(vn_mlp_new(h, 1, &mlp, &err), VN_OK);
    vn_mlp_apply(mlp, 0, (float[]){1e30f, -1e30f, 5e29f, 1}, 1, p);
    CHECK(p[0] + p[1] == 1 && (p[0] == 1 || p[1] == 1));
    vn_mlp_apply(mlp, 0, (float[]){NAN, 0, 0, 0}, 1, p);
    CHECK(isnan(p[0]) && isnan(p[1]));
    vn_mlp_free(mlp);
    vn_head_close(h);
}

static void refused_configs(void) {
    static const int width[] = {4, 3, 2};
    static const struct {
        const char *config, *message;
    } cases[] = {
        {"{}", "'model_type' is missing"},
        {"{\"model_type\":\"esm\"}", "expected \"vn-head\""},
        {"{\"model_type\":\"vn-head\",\"activation\":\"tanh\"}", "expected \"relu\" or"},
        {"{\"model_type\":\"vn-head\",\"activation\":\"relu\",\"labels\":[\"a\"]}",
         "has 1 labels, the last layer has 2"},
        {"{\"model_type\":\"vn-head\",\"activation\":\"relu\",\"labels\":[\"a\",\"a\"]}",
         "label 'a' occurs twice"},
        {"{\"model_type\":\"vn-head\",\"activation\":\"relu\",\"labels\":[\"a\",\"\"]}",
         "label 1 is not a word"},
        {"{\"model_type\":\"vn-head\",\"activation\":\"relu\",\"labels\":[\"a\","
         "\"b\\tc\"]}",
         "label 1 is not a word"},
        {"{\"model_type\":\"vn-head\",\"activation\":\"relu\",\"labels\":[\"a\",\"b\"]}",
         "'inputs' is missing"},
        {"{\"model_type\":\"vn-head\",\"activation\":\"relu\",\"labels\":[\"a\",\"b\"],"
         "\"inputs\":[{\"width\":5}]}",
         "the inputs are 5 wide, the first layer takes 4"},
        {"{\"model_type\":\"vn-head\",\"activation\":\"relu\",\"labels\":[\"a\",\"b\"],"
         "\"inputs\":[7]}",
         "input 0: is not an object"},
        {"{\"model_type\":\"vn-head\",\"activation\":\"relu\",\"labels\":[\"a\",\"b\"],"
         "\"inputs\":[{\"width\":4,\"layer\":\"6\"}]}",
         "'layer' is \"6\""},
        {"{\"model_type\":\"vn-head\",\"activation\":\"relu\",\"labels\":[\"a\",\"b\"],"
         "\"inputs\":[{\"width\":4,\"pool\":1}]}",
         "'pool' is 1"}};
    make_head("{}", width, 2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct vn_head *h;
        struct vn_error err = {0};
        write_text("d/config.json", cases[i].config);
        CHECK_INT(vn_head_open("d", &h, &err), VN_EDATA);
        if (!strstr(err.msg, cases[i].message))
            printf("# case %zu: %s\n", i, err.msg);
        CHECK(strstr(err.msg, cases[i].message));
    }
}

static void refused_tensors(void) {
    static float v[12] = {0};
    struct vn_tensor w0 = {"layers.0.weight", VN_F32, 2, {3, 4}, v, 48},
                     b0 = {"layers.0.bias", VN_F32, 1, {3}, v, 12},
                     w1 = {"layers.1.weight", VN_F32, 2, {2, 3}, v, 24},
                     b1 = {"layers.1.bias", VN_F32, 1, {2}, v, 8};
    struct vn_tensor wide = w1, ints = b1, flat = w1, one = w1, single = b1, odd = b1;
    wide.shape[1] = 4, wide.bytes = 32;
    ints.type = VN_I32;
    flat.n_dims = 1, flat.shape[0] = 6;
    one.shape[0] = 1, one.bytes = 12;
    single.shape[0] = 1, single.bytes = 4;
    odd.name = "layers.2.bias";
    const struct {
        struct vn_tensor t[4];
        int n;
        const char *message;
    } cases[] = {{{w0, b0, w1}, 3, "has 3 tensors"},
                 {{w0, b0, w1, odd}, 4, "'layers.1.bias' is missing"},
                 {{w0, b0, wide, b1}, 4, "the layer before has 3"},
                 {{w0, b0, w1, ints}, 4, "not of type F32"},
                 {{w0, b0, flat, b1}, 4, "shapes [out, in] and [out]"},
                 {{w0, b0, w1, single}, 4, "shapes [out, in] and [out]"},
                 {{w0, b0, one, single}, 4, "has 1 class"}};
    struct vn_head *h;
    struct vn_error err;
    mkdir("d", 0777);
    write_text("d/config.json", "{\"model_type\":\"vn-head\"}");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_INT(
            vn_safetensors_write("d/model.safetensors", cases[i].t, cases[i].n, &err), 0);
        CHECK_INT(vn_head_open("d", &h, &err), VN_EDATA);
        if (!strstr(err.msg, cases[i].message))
            printf("# case %zu: %s\n", i, err.msg);
        CHECK(strstr(err.msg, cases[i].message));
    }
    v[5] = INFINITY;
    CHECK_INT(vn_safetensors_write("d/model.safetensors", cases[0].t, 2, &err), 0);
    CHECK_INT(vn_head_open("d", &h, &err), VN_EDATA);
    CHECK(strstr(err.msg, "'layers.0.weight' has a value that is not finite"));
    v[5] = 0;
    write_text("d/config.json", "{\"model_type\":\"esm\"}"); /* is said before all that */
    CHECK_INT(vn_head_open("d", &h, &err), VN_EDATA);
    CHECK_STR(err.msg, "'d/config.json': member 'model_type' is \"esm\", "
                       "expected \"vn-head\"");
    CHECK_INT(vn_head_open("nowhere", &h, &err), VN_ENOINPUT);
}

/* Head and stream: width and every stated fact must agree. */
static void fits(void) {
    static const int width[] = {4, 2};
#define LONG(s) s s s s s s s s s s s s s s s s /* 16 times */
#define NAME256 LONG("0123456789abcdef")
    static const struct {
        const char *inputs, *provenance;
        int32_t d;
        const char *message; /* NULL when they fit */
    } cases[] = {
        {"[{\"width\":4}]", "\"program\":\"x\"", 4, NULL},
        {"[{\"width\":4}]", "\"program\":\"x\"", 5, "width 4, the stream has width 5"},
        {"[{\"width\":4,\"model\":\"m\",\"layer\":6,\"pool\":\"mean\"}]",
         "\"model\":\"m\",\"layer\":6,\"pool\":\"mean\"", 4, NULL},
        {"[{\"width\":4,\"model\":\"m\"}]", "\"model\":\"n\"", 4,
         "model 'm', the stream has "
         "model 'n'"},
        {"[{\"width\":4,\"layer\":6}]", "\"layer\":5", 4, "layer '6'"},
        {"[{\"width\":4,\"pool\":\"mean\"}]", "\"pool\":\"cls\"", 4, "pool 'mean'"},
        {"[{\"width\":4,\"pool\":\"mean\"}]", "\"program\":\"x\"", 4,
         "does not say its pool"},
        {"[{\"width\":4,\"sha256\":\"aa\"}]", "\"sha256\":\"ab\"", 4, "sha256 'aa'"},
        {"[{\"width\":4,\"model\":\"" NAME256 "\"}]", "\"model\":\"" NAME256 "x\"", 4,
         "too long to be compared"},
        {"[{\"width\":2},{\"width\":2}]", "\"program\":\"x\"", 4,
         "2 vectors side by side"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char config[600];
        struct vn_schema s;
        struct vn_error err = {0};
        snprintf(config, sizeof config,
                 "{\"model_type\":\"vn-head\",\"activation\":\"relu\","
                 "\"labels\":[\"a\",\"b\"],\"inputs\":%s}",
                 cases[i].inputs);
        make_head(config, width, 1);
        struct vn_head *h = open_head();
        vn_schema_init(&s, VN_KIND_VECTORS);
        CHECK_INT(vn_schema_add_program(&s, cases[i].provenance, &err), VN_OK);
        int rc = vn_head_check(h, &s, cases[i].d, &err);
        CHECK_INT(rc, cases[i].message ? VN_EINCOMPAT : VN_OK);
        if (cases[i].message && !strstr(err.msg, cases[i].message))
            printf("# case %zu: %s\n", i, err.msg);
        CHECK(!cases[i].message || strstr(err.msg, cases[i].message));
        vn_schema_release(&s);
        vn_head_close(h);
    }
}

int main(void) {
    TEST(applies);
    TEST(extremes);
    TEST(refused_configs);
    TEST(refused_tensors);
    TEST(fits);
    return check_done();
}
