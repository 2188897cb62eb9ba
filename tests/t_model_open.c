/* Opening models: names, layouts, configuration, and every refusal by name. */
#include <math.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "model.h"
#include "num.h"

static void make(const char *options) {
    char command[4096];
    snprintf(command, sizeof command, "rm -rf m && %s/tests/mkmodel %s m", getenv("B"),
             options);
    if (system(command) != 0)
        CHECK(!"mkmodel failed");
}

static char *slurp(const char *path) {
    static char text[1 << 20];
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    text[n] = 0;
    if (f)
        fclose(f);
    return text;
}

static void spit(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
}

static struct vn_model *open_model(const char *name) {
    struct vn_model *m;
    struct vn_error err;
    if (vn_model_open(name, &m, &err) != VN_OK)
        printf("# %s\n", err.msg);
    CHECK(m);
    return m;
}

/* The message with which "m" is refused; status must be VN_EDATA. */
static const char *refusal(void) {
    static struct vn_error err;
    struct vn_model *m;
    err.msg[0] = 0;
    CHECK_INT(vn_model_open("m", &m, &err), VN_EDATA);
    vn_model_close(m);
    return err.msg;
}

static void check_message(const char *found, const char *wanted) {
    if (!strstr(found, wanted))
        printf("# '%s' lacks '%s'\n", found, wanted);
    CHECK(strstr(found, wanted));
}

static void layouts(void) {
    static const struct {
        const char *options;
        bool stored;
    } cases[] = {
        {"--layers 3 --width 48 --heads 2 --ffn 100", true},
        {"--layers 3 --width 48 --heads 2 --ffn 100 --no-prefix", true},
        {"--layers 3 --width 48 --heads 2 --ffn 100 --shard 4 --type bf16", true},
        {"--layers 3 --width 48 --heads 2 --ffn 100 --no-inv-freq", false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        make(cases[i].options);
        struct vn_model *m = open_model("./m/");
        if (!m)
            continue;
        const struct vn_model_config *c = &m->config;
        CHECK_STR(m->name, "m");
        CHECK(c->n_layers == 3 && c->d_model == 48 && c->n_heads == 2 &&
              c->d_head == 24 && c->d_ffn == 100 && c->n_vocab == 33 &&
              c->mask_token == 32 && c->pad_token == 1);
        CHECK(c->token_dropout && c->norm_eps == 1e-5f);
        CHECK_INT(m->inv_freq_stored, cases[i].stored);
        for (int k = 0; k < 12; k++)
            CHECK(fabs(m->inv_freq[k] - pow(10000, -k / 12.0)) <
                  (cases[i].stored ? 0.005 : 1e-7) * m->inv_freq[k] + 1e-7);
        /* 33 D, 12 D^2 + ... as the layout says: D = 48, F = 100 */
        int64_t layer = 4 * (48 * 48 + 48) + 2 * 48 * 100 + 100 + 48 + 4 * 48;
        CHECK_INT(m->parameters, 33 * 48 + 2 * 48 + 3 * layer);
        CHECK(m->esm2[2].fc2_w->shape[1] == 100 &&
              strstr(m->esm2[2].fc2_w->name, "encoder.layer.2.output.dense.weight"));
        CHECK(strstr(m->esm2[1].norm1_w->name, "1.attention.LayerNorm.weight"));
        CHECK(strlen(vn_model_sha256(m, false, NULL)) == 64);
        vn_model_close(m);
    }
}

static void found_by_name(void) {
    struct vn_error err;
    struct vn_model *m;
    make("");
    CHECK(system("mkdir -p shelf/a shelf/b && cp -r m shelf/b/esm2_t2_UR50D && "
                 "mkdir shelf/a/esm2_t2_UR50D") == 0);
    unsetenv("VN_MODELS");
    CHECK_INT(vn_model_open("esm2_t2", &m, &err), VN_ENOINPUT);
    check_message(err.msg, "$VN_MODELS is not set");
    setenv("VN_MODELS", "", 1);
    CHECK_INT(vn_model_open("esm2_t2", &m, &err), VN_ENOINPUT);
    check_message(err.msg, "$VN_MODELS is empty");
    setenv("VN_MODELS", "nowhere::shelf/a:shelf/b", 1);
    m = open_model("esm2_t2_UR50D"); /* a has the directory, but nothing in it */
    CHECK(m && !strcmp(m->dir, "shelf/b/esm2_t2_UR50D"));
    vn_model_close(m);
    m = open_model("esm2_t2");
    CHECK(m && !strcmp(m->name, "esm2_t2_UR50D"));
    vn_model_close(m);
    CHECK_INT(vn_model_open("esm2_t3", &m, &err), VN_ENOINPUT);
    check_message(err.msg, "nowhere::shelf/a:shelf/b");
    CHECK_INT(vn_model_open("", &m, &err), VN_ENOINPUT);
    CHECK_INT(vn_model_open("/esm2_t2", &m, &err), VN_ENOINPUT);
    unsetenv("VN_MODELS");
    if (chdir("m") == 0) {
        m = open_model(".");
        CHECK(m && !strcmp(m->name, "m"));
        vn_model_close(m);
        CHECK(chdir("..") == 0);
    }
}

struct edit {
    const char *old, *new, *message; /* `message`: with which it is refused */
};

/* Replaces `old`, which must be there, in m/config.json. */
static void edit_config(const char *old, const char *new) {
    char changed[8192];
    const char *text = slurp("m/config.json"), *at = strstr(text, old);
    CHECK(at);
    if (!at)
        return;
    snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, new,
             at + strlen(old));
    spit("m/config.json", changed);
}

/* Each edit of m/config.json alone. */
static void refuse_edits(const struct edit *edits, size_t n) {
    char good[4096];
    snprintf(good, sizeof good, "%s", slurp("m/config.json"));
    for (size_t i = 0; i < n; i++) {
        edit_config(edits[i].old, edits[i].new);
        check_message(refusal(), edits[i].message);
        spit("m/config.json", good);
    }
}

static void configs(void) {
    static const struct edit cases[] = {
        {"\"model_type\": \"esm\"", "\"model_type\": \"gpt2\"",
         "\"gpt2\", expected \"esm\""},
        {"\"model_type\": \"esm\"", "\"model_type\": \"bert\"",
         "'alibi_starting_size' is missing"},
        {"\"rotary\"", "\"absolute\"", "'position_embedding_type' is \"absolute\""},
        {"\"position_embedding_type\"", "\"x\"", "'position_embedding_type' is missing"},
        {"\"emb_layer_norm_before\": false", "\"emb_layer_norm_before\": true",
         "'emb_layer_norm_before' is true, expected false"},
        {"\"is_folding_model\": false", "\"is_folding_model\": true",
         "'is_folding_model'"},
        {"\"is_folding_model\": false", "\"is_decoder\": true", "'is_decoder'"},
        {"\"is_folding_model\": false", "\"add_cross_attention\": true",
         "'add_cross_attention'"},
        {"\"is_folding_model\": false", "\"is_folding_model\": 0",
         "expected true or false"},
        {"\"is_folding_model\": false", "\"rope_theta\": 20000.0",
         "'rope_theta' is 20000"},
        {"\"gelu\"", "\"relu\"", "'hidden_act' is \"relu\""},
        {"\"hidden_size\": 32", "\"hidden_size\": 33", "33 is not a multiple"},
        {"\"hidden_size\": 32", "\"hidden_size\": \"32\"", "'hidden_size' is \"32\""},
        {"\"hidden_size\": 32", "\"hidden_size\": 32.0", "'hidden_size' is 32"},
        {"\"hidden_size\": 32", "\"hidden_size\": 64",
         "has shape [33, 32], expected [33, 64]"},
        {"\"num_attention_heads\": 2", "\"num_attention_heads\": 4",
         "attention_heads is 8"},
        {"\"num_attention_heads\": 2", "\"num_attention_heads\": 0", "from 1 to"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3",
         "'esm.encoder.layer.2.attention.LayerNorm.weight' is missing"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": -1", "from 1 to"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1",
         "'esm.encoder.layer.1.attention.self.query.weight' is of layer 1, counted from 0, "
         "num_hidden_layers is 1"},
        {"\"intermediate_size\": 128", "\"intermediate_size\": 127",
         "'esm.encoder.layer.0.intermediate.dense.weight' has shape [128, 32], expected "
         "[127, 32]"},
        {"\"vocab_size\": 33", "\"vocab_size\": 32", "'vocab_size' is 32"},
        {"\"vocab_size\": 33", "\"vocab_size\": 34", "expected [34, 32]"},
        {"\"mask_token_id\": 32", "\"mask_token_id\": 33", "mask_token_id 33"},
        {"\"pad_token_id\": 1", "\"pad_token_id\": null", "'pad_token_id' is null"},
        {"\"layer_norm_eps\": 1e-05", "\"layer_norm_eps\": -1", "'layer_norm_eps' is -1"},
        {"\"layer_norm_eps\": 1e-05", "\"layer_norm_eps\": true",
         "'layer_norm_eps' is true"},
        {"\"token_dropout\": true", "\"token_dropout\": 1", "'token_dropout' is 1"},
        {"\"token_dropout\": true", "\"vocab_size\": 33, \"token_dropout\": true",
         "duplicate"},
        {"{\n", "[\n", "not valid JSON"}};
    make("");
    refuse_edits(cases, sizeof cases / sizeof *cases);
    vn_model_close(open_model("m"));
    /* what newer writers add, and what may be left out */
    edit_config("\"hidden_act\": \"gelu\"", "\"rope_theta\": 10000.0");
    vn_model_close(open_model("m"));
}

static void vocabularies(void) {
    make("");
    char good[200], bad[400];
    snprintf(good, sizeof good, "%s", slurp("m/vocab.txt"));
    snprintf(bad, sizeof bad, "%s\n", good);
    spit("m/vocab.txt", bad);
    vn_model_close(open_model("m"));
    snprintf(bad, sizeof bad, "%s\nJ\n", good);
    spit("m/vocab.txt", bad);
    check_message(refusal(), "not the vocabulary of ESM-2, from which it differs at byte 94");
    snprintf(bad, sizeof bad, "%s", good);
    bad[24] = 'A'; /* L */
    spit("m/vocab.txt", bad);
    check_message(refusal(), "differs at byte 24");
    spit("m/vocab.txt", "");
    check_message(refusal(), "differs at byte 0");
    unlink("m/vocab.txt");
    vn_model_close(open_model("m"));
}

/* model.safetensors rewritten with tensor number `which` changed by `change`. */
static void rewrite(const char *which, void (*change)(struct vn_tensor *t)) {
    struct vn_tensors *t;
    struct vn_error err;
    static struct vn_tensor all[400];
    CHECK_INT(vn_tensors_open_file("good.safetensors", &t, &err), VN_OK);
    int64_t n = vn_tensors_count(t);
    bool found = false;
    for (int64_t i = 0; i < n; i++) {
        all[i] = *vn_tensors_at(t, i);
        if (!strcmp(all[i].name, which)) {
            change(&all[i]);
            found = true;
        }
    }
    CHECK(found);
    CHECK_INT(vn_safetensors_write("m/model.safetensors", all, n, &err), VN_OK);
    vn_tensors_close(t);
}

static void renamed(struct vn_tensor *t) {
    t->name = "elsewhere";
}
static void transposed(struct vn_tensor *t) {
    int64_t x = t->shape[0];
    t->shape[0] = t->shape[1];
    t->shape[1] = x;
}
static void flattened(struct vn_tensor *t) {
    t->shape[0] *= t->shape[1];
    t->n_dims = 1;
}
static void integers(struct vn_tensor *t) {
    t->type = VN_I32;
}
static void gamma_name(struct vn_tensor *t) {
    t->name = "esm.encoder.layer.0.LayerNorm.gamma";
}
static void layer_after_last(struct vn_tensor *t) {
    t->name = "encoder.layer.2.strange";
}
static void layer_of_many_digits(struct vn_tensor *t) {
    t->name = "esm.encoder.layer.18446744073709551616.x";
}
static void no_layer(struct vn_tensor *t) {
    t->name = "esm.encoder.layer.9x.weight";
}
static float other_frequencies[8] = {1,     0.3f,   0.1f,   0.03f,
                                     0.01f, 0.003f, 0.001f, 0.0003f};
static void frequencies(struct vn_tensor *t) {
    t->data = other_frequencies;
}

static void tensors(void) {
    static const struct {
        const char *name;
        void (*change)(struct vn_tensor *);
        const char *message;
    } cases[] = {
        {"esm.embeddings.word_embeddings.weight", renamed,
         "'embeddings.word_embeddings.weight' is missing"},
        {"esm.encoder.emb_layer_norm_after.bias", renamed, "is missing"},
        {"esm.encoder.layer.1.output.dense.bias", renamed, "is missing"},
        {"esm.encoder.layer.1.output.dense.weight", transposed,
         "'esm.encoder.layer.1.output.dense.weight' has shape [128, 32], expected [32, "
         "128]"},
        {"esm.encoder.layer.0.attention.self.key.weight", flattened,
         "has shape [1024], expected [32, 32]"},
        {"esm.encoder.layer.0.attention.self.key.bias", integers, "not of type F32"},
        {"esm.encoder.layer.1.attention.self.rotary_embeddings.inv_freq", frequencies,
         "differs from that of another layer"},
        {"lm_head.bias", layer_after_last, "'encoder.layer.2.strange' is of layer 2,"},
        {"lm_head.bias", layer_of_many_digits, "is of layer 18446744073709551616,"}};
    make("");
    CHECK(rename("m/model.safetensors", "good.safetensors") == 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rewrite(cases[i].name, cases[i].change);
        check_message(refusal(), cases[i].message);
        check_message(refusal(), "model 'm'");
    }
    rewrite("lm_head.bias", no_layer);
    vn_model_close(open_model("m"));
    /* gamma and beta for weight and bias of a norm; both must be there */
    rewrite("esm.encoder.layer.0.LayerNorm.weight", gamma_name);
    check_message(refusal(), "'esm.encoder.layer.0.LayerNorm.beta' is missing");
    other_frequencies[3] = NAN;
    rewrite("esm.encoder.layer.0.attention.self.rotary_embeddings.inv_freq", frequencies);
    check_message(refusal(), "not finite");
    unlink("m/model.safetensors");
    struct vn_model *m;
    struct vn_error err;
    CHECK_INT(vn_model_open("m", &m, &err), VN_ENOINPUT);
}

/* ---- DNABERT-S ------------------------------------------------------------------- */

static void dnabert(void) {
    static const char *const options[] = {
        "--dnabert --layers 3 --width 48 --heads 3 --ffn 100",
        "--dnabert --layers 3 --width 48 --heads 3 --ffn 100 --no-prefix --shard 3 --type f16"};
    for (int i = 0; i < 2; i++) {
        make(options[i]);
        struct vn_model *m = open_model("m");
        if (!m)
            continue;
        const struct vn_model_config *c = &m->config;
        const int64_t layer = 3 * 48 * 49 + 48 * 49 + 200 * 48 + 48 * 101 + 4 * 48;
        CHECK(c->family == VN_DNABERT && c->n_layers == 3 && c->d_model == 48 &&
              c->n_heads == 3 && c->d_head == 16 && c->d_ffn == 100 && c->n_vocab == 64 &&
              c->n_types == 2 && c->norm_eps == 1e-12f && !c->token_dropout);
        CHECK_STR(c->vocabulary, "dnabert-s");
        CHECK_INT(strlen(c->tokenizer), 64);
        CHECK_INT(m->parameters, 64 * 48 + 2 * 48 + 2 * 48 + 3 * layer);
        CHECK(m->dnabert && !m->esm2 && !m->inv_freq && m->type_embeddings->shape[0] == 2);
        CHECK(strstr(m->dnabert[2].gate_w->name, "encoder.layer.2.mlp.gated_layers.weight"));
        /* two heads have 2^-4 and 2^-8, the third the first of four heads' */
        CHECK(m->alibi[0] == 0.0625f && m->alibi[1] == 0.00390625f && m->alibi[2] == 0.25f);
        vn_model_close(m);
    }
    CHECK_STR(vn_family_name(VN_DNABERT), "DNABERT-S");
}

/* The published slopes of 12 heads. */
static void alibi_of_twelve(void) {
    make("--dnabert --width 192 --heads 12 --ffn 64");
    struct vn_model *m = open_model("m");
    for (int i = 0; m && i < 12; i++) {
        double want = i < 8 ? exp2(-1 - i) : exp2(-0.5 - (i - 8));
        CHECK(m->alibi[i] == (float)want);
    }
    vn_model_close(m);
}

static void dnabert_refusals(void) {
    static const struct edit cases[] = {
        {"\"alibi_starting_size\": 512", "\"alibi_starting_size\": null", "is null, expected"},
        {"\"gelu\"", "\"gelu_new\"", "'hidden_act' is \"gelu_new\""},
        {"\"alibi", "\"is_decoder\": true, \"alibi", "'is_decoder' is true"},
        {"\"type_vocab_size\": 2", "\"type_vocab_size\": 0", "'type_vocab_size' is 0"},
        {"\"type_vocab_size\": 2", "\"type_vocab_size\": 3",
         "'bert.embeddings.token_type_embeddings.weight' has shape [2, 32], expected [3, 32]"},
        {"\"intermediate_size\": 128", "\"intermediate_size\": 64",
         "'bert.encoder.layer.0.mlp.gated_layers.weight' has shape [256, 32], "
         "expected [128, 32]"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1",
         "'bert.encoder.layer.1.attention.self.Wqkv.weight' is of layer 1,"},
        {"\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3",
         "'bert.encoder.layer.2.mlp.gated_layers.weight' is missing"},
        {"\"vocab_size\": 64", "\"vocab_size\": 65",
         "tokenizer.json' has 64 pieces, vocab_size of config.json is 65"}};
    make("--dnabert");
    refuse_edits(cases, sizeof cases / sizeof *cases);
    spit("m/tokenizer.json", "{}");
    check_message(refusal(), "'m/tokenizer.json': member 'pre_tokenizer' is missing");
    unlink("m/tokenizer.json"); /* running the model does not need it */
    struct vn_model *m = open_model("m");
    CHECK_STR(m ? m->config.tokenizer : "?", "");
    vn_model_close(m);
}

/* The values are what the documented generator gives: bytes of this file never change. */
static void mkmodel_is_fixed(void) {
    make("--layers 1 --width 16 --heads 1 --seed 7");
    struct vn_model *m = open_model("m");
    CHECK_STR(m ? vn_model_sha256(m, false, NULL) : "",
              "01026d8905eeda6491f5469aa2bafbe9c9f550f32fecb5297733dc200cd53273");
    vn_model_close(m);
}

int main(void) {
    TEST(layouts);
    TEST(found_by_name);
    TEST(configs);
    TEST(vocabularies);
    TEST(tensors);
    TEST(dnabert);
    TEST(alibi_of_twelve);
    TEST(dnabert_refusals);
    TEST(mkmodel_is_fixed);
    return check_done();
}
