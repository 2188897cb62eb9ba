/* The whole forward pass against what reference code gave: every head size of ESM-2, every
 * layer, masked input, one and two residues; DNABERT-S. tests/ref/README.md says how the
 * goldens were made. */
#include "check.h"

#include "fixture.h"

struct golden {
    struct vn_tensors *file;
    struct vn_model *model;
    uint16_t *tokens;
    int32_t *cu;
    int64_t n_seq, n_tok;
};

static int32_t int_at(const struct vn_tensor *t, int64_t i) {
    int32_t v;
    memcpy(&v, (const char *)t->data + 4 * i, 4);
    return v;
}

static void golden_close(struct golden *g) {
    vn_tensors_close(g->file);
    vn_model_close(g->model);
    free(g->tokens);
    free(g->cu);
}

static int golden_open(const char *like, struct golden *g) {
    struct vn_error err = {0};
    char path[1024], arguments[200];
    memset(g, 0, sizeof *g);
    snprintf(path, sizeof path, "%s/golden/%s.safetensors", getenv("T"), like);
    if (vn_tensors_open_file(path, &g->file, &err) < 0) {
        check_fail(__FILE__, __LINE__, err.msg);
        return -1;
    }
    const struct vn_tensor *m = vn_tensors_find(g->file, "model");
    const struct vn_tensor *t = vn_tensors_find(g->file, "tokens");
    const struct vn_tensor *c = vn_tensors_find(g->file, "cu_seqlens");
    snprintf(arguments, sizeof arguments, "--layers %d --width %d --heads %d --seed %d",
             int_at(m, 0), int_at(m, 1), int_at(m, 2), int_at(m, 3));
    if (!strncmp(like, "dnabert", 7))
        snprintf(arguments + strlen(arguments), sizeof arguments - strlen(arguments),
                 " --dnabert --ffn %d --merges %d", int_at(m, 4), int_at(m, 5));
    g->model = fixture_model(arguments);
    g->n_tok = t->shape[0];
    g->n_seq = c->shape[0] - 1;
    g->tokens = calloc((size_t)g->n_tok, sizeof *g->tokens);
    g->cu = calloc((size_t)g->n_seq + 1, sizeof *g->cu);
    for (int64_t i = 0; i < g->n_tok; i++)
        g->tokens[i] = (uint16_t)int_at(t, i);
    for (int64_t i = 0; i <= g->n_seq; i++)
        g->cu[i] = int_at(c, i);
    return g->model ? 0 : -1;
}

/* Largest values seen over a whole model, for the message. */
struct worst {
    double tensor, residue, cosine;
};

static void compare(const struct golden *g, const float *x, const float *want,
                    struct worst *w) {
    const int64_t d = g->model->config.d_model;
    double all = relative_l2(x, want, g->n_tok * d);
    w->tensor = all > w->tensor || all != all ? all : w->tensor;
    for (int64_t t = 0; t < g->n_tok; t++) {
        double one = relative_l2(x + t * d, want + t * d, d);
        w->residue = one > w->residue || one != one ? one : w->residue;
    }
    for (int64_t b = 0; b < g->n_seq; b++) {
        float mine[512], theirs[512];
        int64_t from = g->cu[b], n = g->cu[b + 1] - from;
        vn_pool_rows(VN_POOL_MEAN, x + from * d, n, d, mine);
        vn_pool_rows(VN_POOL_MEAN, want + from * d, n, d, theirs);
        double c = cosine(mine, theirs, d);
        w->cosine = c < w->cosine || c != c ? c : w->cosine;
    }
}

static void run_layers(const struct golden *g, const char *device, enum vn_dtype act,
                       struct worst *w) {
    *w = (struct worst){0, 0, 1};
    for (int layer = 0; layer <= g->model->config.n_layers; layer++) {
        struct vn_engine_options opts = {.layer = layer, .pool = VN_POOL_NONE};
        struct vn_job job = {.tokens = g->tokens, .cu_seqlens = g->cu, .n_seq = g->n_seq};
        struct vn_engine *e = fixture_engine(g->model, device, act, &opts);
        struct vn_error err = {0};
        char name[32];
        snprintf(name, sizeof name, "layer.%d", layer);
        const struct vn_tensor *want = vn_tensors_find(g->file, name);
        CHECK(e && want);
        if (!e || !want)
            return;
        float *floats = malloc(want->bytes);
        memcpy(floats, want->data, want->bytes);
        CHECK_INT(fixture_run(e, &job, &err), 1);
        CHECK_INT(job.out.len, want->bytes);
        if (job.out.len == want->bytes)
            compare(g, (const float *)(const void *)job.out.data, floats, w);
        free(floats);
        fixture_job_release(&job);
        vn_engine_close(e);
    }
}

/* Is what the precision promises kept? */
static void gate(const char *like, const char *device, enum vn_dtype act) {
    struct golden g;
    struct worst w;
    if (golden_open(like, &g) == 0) {
        run_layers(&g, device, act, &w);
        printf("# %s on %s, type %d: tensor %.2e, worst residue %.2e, pooled cosine 1 - %.1e\n",
               like, device, (int)act, w.tensor, w.residue, 1 - w.cosine);
        /* a gate multiplies the roundings of its two sides, which eight bits show */
        const double more = act == VN_BF16 && g.model->config.family == VN_DNABERT ? 2 : 1;
        CHECK(w.tensor <= (act == VN_F32 ? 2e-6 : 1e-2 * more));
        CHECK(w.residue <= (act == VN_F32 ? 1e-5 : act == VN_F16 ? 1e-2 : 2e-2 * more));
        CHECK(w.cosine >= (more > 1 ? 0.9995 : 0.9999));
    }
    golden_close(&g);
}

static const char *const likes[] = {"esm2-8M",       "esm2-35M",
                                    "esm2-150M",     "esm2-650M",
                                    "esm2-3B",       "esm2-15B",
                                    "dnabert-narrow", "dnabert-wide"};
#define N_LIKES (int)(sizeof likes / sizeof *likes)

static void cpu_fp32(void) {
    for (int i = 0; i < N_LIKES; i++)
        gate(likes[i], "cpu", VN_F32);
}
static void reference_fp32(void) {
    for (int i = 0; i < N_LIKES; i++)
        gate(likes[i], "reference", VN_F32);
}
static void cpu_bf16(void) {
    for (int i = 0; i < N_LIKES; i++)
        gate(likes[i], "cpu", VN_BF16);
}
static void reference_bf16(void) {
    for (int i = 0; i < N_LIKES; i++)
        gate(likes[i], "reference", VN_BF16);
}
static void reference_fp16(void) {
    for (int i = 0; i < N_LIKES; i++)
        gate(likes[i], "reference", VN_F16);
}

/* ---- real weights, where they are ------------------------------------------------ */

static struct vn_model *published_8m(void) {
    struct vn_model *m = NULL;
    return getenv("VN_MODELS") && vn_model_open("esm2_t6_8M_UR50D", &m, NULL) == VN_OK ? m
                                                                                       : NULL;
}

static float *run_published(const struct vn_model *m, const uint16_t *tokens, int32_t n,
                            struct vn_job *job) {
    static int32_t cu[2];
    struct vn_engine_options opts = {.layer = m->config.n_layers, .pool = VN_POOL_NONE};
    struct vn_engine *e = fixture_engine(m, "cpu", VN_F32, &opts);
    struct vn_error err = {0};
    cu[1] = n;
    *job = (struct vn_job){.tokens = tokens, .cu_seqlens = cu, .n_seq = 1};
    CHECK(e && fixture_run(e, job, &err) == 1);
    vn_engine_close(e);
    return (float *)(void *)job->out.data;
}

/* From the tests of huggingface/transformers. */
static void published_8m_values(void) {
    static const uint16_t tokens[] = {0, 6, 4, 13, 5, 4, 16, 12, 11, 7, 2};
    static const float want[3][3] = {
        {0.1444f, 0.5413f, 0.3248f}, {0.3034f, 0.0053f, 0.3108f}, {0.3228f, -0.2499f, 0.3415f}};
    struct vn_model *m = published_8m();
    struct vn_job job;
    if (!m)
        SKIP("no esm2_t6_8M_UR50D in $VN_MODELS");
    float *x = run_published(m, tokens, 11, &job);
    for (int i = 0; x && i < 3; i++)
        for (int j = 0; j < 3; j++)
            CHECK(fabsf(x[i * m->config.d_model + j] - want[i][j]) < 2e-4f);
    fixture_job_release(&job);
    vn_model_close(m);
}

/* fair-esm under bf16 autocast (Synthyra/FastPLMs): a gross check. */
static void published_8m_goldens(void) {
    struct vn_model *m = published_8m();
    struct vn_tensors *file = NULL;
    struct vn_error err = {0};
    char path[1024];
    if (!m)
        SKIP("no esm2_t6_8M_UR50D in $VN_MODELS");
    snprintf(path, sizeof path, "%s/esm2-goldens/esm2_8m.safetensors", getenv("VN_TEST_DATA"));
    if (vn_tensors_open_file(path, &file, &err) < 0) {
        vn_model_close(m);
        SKIP("no esm2-goldens in $VN_TEST_DATA");
    }
    const struct vn_tensor *ids = vn_tensors_find(file, "input__input_ids");
    const struct vn_tensor *want = vn_tensors_find(file, "output__last_hidden_state");
    for (int64_t b = 0; b < ids->shape[0]; b++) {
        uint16_t tokens[64];
        struct vn_job job;
        int32_t n = 0;
        const int64_t width = ids->shape[1], d = want->shape[2];
        for (; n < width; n++) {
            int64_t id;
            memcpy(&id, (const char *)ids->data + 8 * (b * width + n), 8);
            if (id == m->config.pad_token)
                break;
            tokens[n] = (uint16_t)id;
        }
        float *x = run_published(m, tokens, n, &job), *theirs = malloc((size_t)(n * d) * 4);
        memcpy(theirs, (const char *)want->data + 4 * b * width * d, (size_t)(n * d) * 4);
        CHECK(relative_l2(x, theirs, n * d) <= 2e-2);
        free(theirs);
        fixture_job_release(&job);
    }
    vn_tensors_close(file);
    vn_model_close(m);
}

int main(void) {
    TEST(reference_fp32);
    TEST(cpu_fp32);
    TEST(reference_bf16);
    TEST(cpu_bf16);
    TEST(reference_fp16);
    TEST(published_8m_values);
    TEST(published_8m_goldens);
    return check_done();
}
