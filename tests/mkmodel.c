/* mkmodel - writes a seeded random ESM-2 or DNABERT-S model, or a head, for tests.
 *
 *   mkmodel [--layers L] [--width D] [--heads H] [--ffn F] [--seed S]
 *           [--type f32|f16|bf16] [--shard N] [--no-prefix] [--no-inv-freq] DIR
 *   mkmodel --dnabert [--layers L] [--width D] [--heads H] [--ffn F] [--merges M] [--seed S]
 *           [--type f32|f16|bf16] [--no-prefix] DIR
 *   mkmodel --head [--input D] [--hidden H[,H...]] [--classes A,B,...] [--seed S]
 *           [--inputs JSON] DIR
 *
 * Every value is mean + deviation * g, with g from the tensor's own generator: splitmix64
 * started at seed ^ FNV-1a(name of the tensor without "esm.", "bert."); of each 64-bit output
 * the four 16-bit parts are summed, and g = (sum - 131070) / 37837.2 has mean 0, variance 1
 * and |g| < 3.5. Only integer sums and one rounding: the same bytes on every machine. The
 * deviations (1.3 / sqrt(fan in) for matrices, 0.2 for biases, gamma 1 +- 0.2, beta +-
 * 0.1) keep all blocks at work, so that an error in any of them shows in the output. */
#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "num.h"
#include "safetensors.h"

#define MAX_TENSORS 2000
#define MAX_PIECES 5000
#define MAX_PIECE 32 /* letters */

static struct options {
    int layers, width, heads, ffn, shard, input, merges;
    uint64_t seed;
    enum vn_dtype type;
    bool head, dnabert, no_prefix, no_inv_freq;
    const char *hidden, *classes, *inputs, *dir;
} opt = {.layers = 2,
         .width = 32,
         .heads = 2,
         .type = VN_F32,
         .seed = 1,
         .shard = 1,
         .merges = 55,
         .input = 32,
         .hidden = "16",
         .classes = "others,virus"};

static struct vn_tensor tensors[MAX_TENSORS];
static int n_tensors;

static void die(const char *what) {
    fprintf(stderr, "mkmodel: %s\n", what);
    exit(2);
}

static void *need(void *p) {
    if (!p)
        die("no memory");
    return p;
}

/* ---- values ---------------------------------------------------------------------- */

static uint64_t splitmix64(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static uint64_t start_of(const char *name) {
    uint64_t h = 0xcbf29ce484222325u;
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 0x100000001b3u;
    return h ^ opt.seed;
}

static double normal(uint64_t *state) {
    uint64_t z = splitmix64(state);
    uint64_t sum = (z & 0xffff) + (z >> 16 & 0xffff) + (z >> 32 & 0xffff) + (z >> 48);
    return ((double)sum - 131070.0) / 37837.2;
}

static void store(uint8_t *p, enum vn_dtype type, double v) {
    if (type == VN_F32)
        vn_store32(p, vn_f32_bits((float)v));
    else
        vn_store16(p,
                   type == VN_F16 ? vn_f32_to_f16((float)v) : vn_f32_to_bf16((float)v));
}

static struct vn_tensor *add(const char *name, enum vn_dtype type, int64_t rows,
                             int64_t cols) {
    if (n_tensors == MAX_TENSORS)
        die("too many tensors");
    struct vn_tensor *t = &tensors[n_tensors++];
    t->name = need(strdup(name));
    t->type = type;
    t->n_dims = cols ? 2 : 1;
    t->shape[0] = rows;
    t->shape[1] = cols;
    t->bytes = (size_t)rows * (size_t)(cols ? cols : 1) * vn_dtype_size(type);
    t->data = need(calloc(t->bytes, 1));
    return t;
}

/* A tensor of name `prefix` + `name` with random values. */
static void random_tensor(const char *prefix, const char *name, int64_t rows,
                          int64_t cols, double mean, double deviation) {
    char full[200];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    struct vn_tensor *t = add(full, opt.type, rows, cols);
    uint64_t state = start_of(name);
    size_t size = vn_dtype_size(t->type);
    for (size_t i = 0; i < t->bytes; i += size)
        store((uint8_t *)t->data + i, t->type, mean + deviation * normal(&state));
}

static void dense(const char *prefix, const char *stem, int64_t out, int64_t in) {
    char name[160];
    snprintf(name, sizeof name, "%s.weight", stem);
    random_tensor(prefix, name, out, in, 0, 1.3 / sqrt((double)in));
    snprintf(name, sizeof name, "%s.bias", stem);
    random_tensor(prefix, name, out, 0, 0, 0.2);
}

static void norm(const char *prefix, const char *stem, int64_t n) {
    char name[160];
    snprintf(name, sizeof name, "%s.weight", stem);
    random_tensor(prefix, name, n, 0, 1, 0.2);
    snprintf(name, sizeof name, "%s.bias", stem);
    random_tensor(prefix, name, n, 0, 0, 0.1);
}

/* ---- the language model ---------------------------------------------------------- */

/* Rounded to half, as in the published checkpoints. */
static void frequencies(const char *prefix, const char *name) {
    char full[200];
    int d = opt.width / opt.heads;
    snprintf(full, sizeof full, "%s%s", prefix, name);
    struct vn_tensor *t = add(full, opt.type, d / 2, 0);
    for (int i = 0; i < d / 2; i++) {
        float f = (float)(1.0 / pow(10000.0, 2.0 * i / d));
        store((uint8_t *)t->data + (size_t)i * vn_dtype_size(t->type), t->type,
              vn_f16_to_f32(vn_f32_to_f16(f)));
    }
}

static void esm2_tensors(void) {
    const char *p = opt.no_prefix ? "" : "esm.";
    const int D = opt.width, F = opt.ffn;
    static const char *const square[] = {"attention.self.query", "attention.self.key",
                                         "attention.self.value",
                                         "attention.output.dense"};
    char name[160];
    random_tensor(p, "embeddings.word_embeddings.weight", 33, D, 0, 1);
    snprintf(name, sizeof name, "%sembeddings.position_ids", p);
    struct vn_tensor *ids = add(name, VN_I64, 1, 1026);
    for (uint64_t i = 0; i < 1026; i++)
        vn_store64((uint8_t *)ids->data + 8 * i, i);
    for (int l = 0; l < opt.layers; l++) {
        for (int i = 0; i < 4; i++) {
            snprintf(name, sizeof name, "encoder.layer.%d.%s", l, square[i]);
            dense(p, name, D, D);
        }
        snprintf(name, sizeof name,
                 "encoder.layer.%d.attention.self.rotary_embeddings.inv_freq", l);
        if (!opt.no_inv_freq)
            frequencies(p, name);
        snprintf(name, sizeof name, "encoder.layer.%d.attention.LayerNorm", l);
        norm(p, name, D);
        snprintf(name, sizeof name, "encoder.layer.%d.intermediate.dense", l);
        dense(p, name, F, D);
        snprintf(name, sizeof name, "encoder.layer.%d.output.dense", l);
        dense(p, name, D, F);
        snprintf(name, sizeof name, "encoder.layer.%d.LayerNorm", l);
        norm(p, name, D);
    }
    norm(p, "encoder.emb_layer_norm_after", D);
    dense(p, "contact_head.regression", 1, opt.layers * opt.heads);
    dense("", "lm_head.dense", D, D);
    norm("", "lm_head.layer_norm", D);
    random_tensor("", "lm_head.bias", 33, 0, 0, 0.2);
}

static void dnabert_tensors(void) {
    const char *p = opt.no_prefix ? "" : "bert.";
    const int D = opt.width, F = opt.ffn;
    char name[160];
    random_tensor(p, "embeddings.word_embeddings.weight", 9 + opt.merges, D, 0, 1);
    random_tensor(p, "embeddings.token_type_embeddings.weight", 2, D, 0, 0.5);
    norm(p, "embeddings.LayerNorm", D);
    for (int l = 0; l < opt.layers; l++) {
        snprintf(name, sizeof name, "encoder.layer.%d.attention.self.Wqkv", l);
        dense(p, name, 3 * D, D);
        snprintf(name, sizeof name, "encoder.layer.%d.attention.output.dense", l);
        dense(p, name, D, D);
        snprintf(name, sizeof name, "encoder.layer.%d.attention.output.LayerNorm", l);
        norm(p, name, D);
        snprintf(name, sizeof name, "encoder.layer.%d.mlp.gated_layers.weight", l);
        random_tensor(p, name, 2 * F, D, 0, 1.3 / sqrt((double)D));
        snprintf(name, sizeof name, "encoder.layer.%d.mlp.wo", l);
        dense(p, name, D, F);
        snprintf(name, sizeof name, "encoder.layer.%d.mlp.layernorm", l);
        norm(p, name, D);
    }
    dense(p, "pooler.dense", D, D);
}

/* ---- files ----------------------------------------------------------------------- */

static FILE *create(const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", opt.dir, name);
    FILE *f = fopen(path, "w");
    if (!f)
        die(strerror(errno)); /* the directory is not there, or cannot be written */
    return f;
}

static void write_weights(const char *name, int first, int n) {
    char path[4096];
    struct vn_error err = {0};
    snprintf(path, sizeof path, "%s/%s", opt.dir, name);
    if (vn_safetensors_write(path, tensors + first, n, &err) != VN_OK)
        die(err.msg);
}

static void write_shards(void) {
    if (opt.shard == 1) {
        write_weights("model.safetensors", 0, n_tensors);
        return;
    }
    FILE *f = create("model.safetensors.index.json");
    fprintf(f, "{\"metadata\": {}, \"weight_map\": {");
    for (int s = 0; s < opt.shard; s++) {
        char name[80];
        int first = n_tensors * s / opt.shard, end = n_tensors * (s + 1) / opt.shard;
        snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", s + 1, opt.shard);
        write_weights(name, first, end - first);
        for (int i = first; i < end; i++)
            fprintf(f, "%s\n\"%s\": \"%s\"", i ? "," : "", tensors[i].name, name);
    }
    fprintf(f, "\n}}\n");
    if (fclose(f))
        die("cannot write");
}

static void write_model(void) {
    static const char vocabulary[] =
        "<cls>\n<pad>\n<eos>\n<unk>"
        "\nL\nA\nG\nV\nS\nE\nR\nT\nI\nD\nP\nK\nQ\nN\nF\nY\nM\nH\nW\n"
        "C\nX\nB\nU\nZ\nO\n.\n-\n<null_1>\n<mask>";
    static const char *const torch_type[] = {"float32", "float16", "bfloat16"};
    FILE *f = create("vocab.txt");
    fputs(vocabulary, f);
    if (fclose(f))
        die("cannot write");
    f = create("config.json");
    fprintf(
        f,
        "{\n  \"_name_or_path\": \"tmp\",\n  \"architectures\": [\"EsmForMaskedLM\"],\n"
        "  \"attention_probs_dropout_prob\": 0.0,\n  \"classifier_dropout\": null,\n"
        "  \"emb_layer_norm_before\": false,\n  \"esmfold_config\": null,\n"
        "  \"hidden_act\": \"gelu\",\n  \"hidden_dropout_prob\": 0.0,\n"
        "  \"hidden_size\": %d,\n  \"initializer_range\": 0.02,\n"
        "  \"intermediate_size\": %d,\n  \"is_folding_model\": false,\n"
        "  \"layer_norm_eps\": 1e-05,\n  \"mask_token_id\": 32,\n"
        "  \"max_position_embeddings\": 1026,\n  \"model_type\": \"esm\",\n"
        "  \"num_attention_heads\": %d,\n  \"num_hidden_layers\": %d,\n"
        "  \"pad_token_id\": 1,\n  \"position_embedding_type\": \"rotary\",\n"
        "  \"token_dropout\": true,\n  \"torch_dtype\": \"%s\",\n"
        "  \"use_cache\": true,\n  \"vocab_list\": null,\n  \"vocab_size\": 33\n}\n",
        opt.width, opt.ffn, opt.heads, opt.layers, torch_type[opt.type]);
    if (fclose(f))
        die("cannot write");
    write_shards();
}

/* A tokenizer of five specials, four letters and random merges, in the published form. */
static void write_tokenizer(void) {
    static char pieces[MAX_PIECES][MAX_PIECE + 1] = {"[UNK]", "[CLS]", "[SEP]", "[PAD]",
                                                     "[MASK]", "A", "C", "G", "T"};
    static int left[MAX_PIECES], right[MAX_PIECES];
    uint64_t state = start_of("tokenizer");
    int n = 9;
    while (n < 9 + opt.merges) { /* longer pieces come later, as in a trained one */
        uint64_t z = splitmix64(&state);
        int i = 5 + (int)(z % (uint64_t)(n - 5)), j = 5 + (int)((z >> 32) % (uint64_t)(n - 5));
        bool known = strlen(pieces[i]) + strlen(pieces[j]) > MAX_PIECE;
        size_t first = strlen(pieces[i]);
        if (!known) {
            memmove(pieces[n], pieces[i], first);
            memmove(pieces[n] + first, pieces[j], strlen(pieces[j]) + 1);
        }
        for (int k = 0; k < n && !known; k++)
            known = !strcmp(pieces[k], pieces[n]);
        if (known)
            continue;
        left[n] = i;
        right[n++] = j;
    }
    FILE *f = create("tokenizer.json");
    fputs("{\"version\": \"1.0\", "
          "\"truncation\": {\"direction\": \"Right\", \"max_length\": 9,\n"
          "\"strategy\": \"LongestFirst\", \"stride\": 0}, "
          "\"padding\": null, \"added_tokens\": [",
          f);
    for (int i = 0; i < 5; i++)
        fprintf(f,
                "%s{\"id\": %d, \"content\": \"%s\", "
                "\"single_word\": false, \"lstrip\": false, "
                "\"rstrip\": false, \"normalized\": false, \"special\": true}",
                i ? ",\n" : "", i, pieces[i]);
    fputs("],\n\"normalizer\": null, \"pre_tokenizer\": {\"type\": \"Whitespace\"},\n"
          "\"post_processor\": {\"type\": \"TemplateProcessing\", \"single\": ["
          "{\"SpecialToken\": {\"id\": \"[CLS]\", \"type_id\": 0}}, "
          "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, "
          "{\"SpecialToken\": {\"id\": \"[SEP]\", \"type_id\": 0}}],\n\"pair\": ["
          "{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, "
          "{\"Sequence\": {\"id\": \"B\", \"type_id\": 1}}],\n\"special_tokens\": {"
          "\"[CLS]\": {\"id\": \"[CLS]\", \"ids\": [1], \"tokens\": [\"[CLS]\"]}, "
          "\"[SEP]\": {\"id\": \"[SEP]\", \"ids\": [2], \"tokens\": [\"[SEP]\"]}}},\n"
          "\"decoder\": null, \"model\": {\"type\": \"BPE\", \"dropout\": null, "
          "\"unk_token\": \"[UNK]\", \"continuing_subword_prefix\": null, "
          "\"end_of_word_suffix\": null, \"fuse_unk\": false, \"byte_fallback\": false,\n"
          "\"vocab\": {",
          f);
    for (int i = 0; i < n; i++)
        fprintf(f, "%s\"%s\": %d", i ? ", " : "", pieces[i], i);
    fputs("},\n\"merges\": [", f);
    for (int i = 9; i < n; i++)
        fprintf(f, "%s\"%s %s\"", i > 9 ? ", " : "", pieces[left[i]], pieces[right[i]]);
    fputs("]}}\n", f);
    if (fclose(f))
        die("cannot write");
}

static void write_dnabert(void) {
    FILE *f = create("config.json");
    fprintf(f,
            "{\n  \"alibi_starting_size\": 512,\n  \"architectures\": [\"BertModel\"],\n"
            "  \"hidden_act\": \"gelu\",\n  \"hidden_size\": %d,\n"
            "  \"intermediate_size\": %d,\n  \"layer_norm_eps\": 1e-12,\n"
            "  \"max_position_embeddings\": 512,\n  \"model_type\": \"bert\",\n"
            "  \"num_attention_heads\": %d,\n  \"num_hidden_layers\": %d,\n"
            "  \"pad_token_id\": 0,\n  \"position_embedding_type\": \"absolute\",\n"
            "  \"type_vocab_size\": 2,\n  \"vocab_size\": %d\n}\n",
            opt.width, opt.ffn, opt.heads, opt.layers, 9 + opt.merges);
    if (fclose(f))
        die("cannot write");
    write_tokenizer();
    write_shards();
}

static void write_head(void) {
    char name[40], *words = need(strdup(opt.hidden)), *save = NULL;
    int in = opt.input, n = 0, classes = 1;
    for (char *w = strtok_r(words, ",", &save); w; w = strtok_r(NULL, ",", &save)) {
        snprintf(name, sizeof name, "layers.%d", n++);
        dense("", name, atoi(w), in);
        in = atoi(w);
    }
    for (const char *p = opt.classes; *p; p++)
        classes += *p == ',';
    snprintf(name, sizeof name, "layers.%d", n);
    dense("", name, classes, in);
    FILE *f = create("config.json");
    fprintf(f, "{\n  \"model_type\": \"vn-head\",\n  \"activation\": \"relu\",\n"
               "  \"labels\": [\"");
    for (const char *p = opt.classes; *p; p++)
        fprintf(f, *p == ',' ? "\", \"" : "%c", *p);
    fprintf(f, "\"],\n  \"inputs\": ");
    if (opt.inputs)
        fputs(opt.inputs, f);
    else
        fprintf(f, "[{\"width\": %d}]", opt.input);
    fprintf(f, "\n}\n");
    if (fclose(f))
        die("cannot write");
    write_weights("model.safetensors", 0, n_tensors);
    free(words);
}

/* ---- options --------------------------------------------------------------------- */

static int number(const char *s, int lo) {
    char *end;
    long v = strtol(s, &end, 10);
    if (!*s || *end || v < lo || v > 1000000)
        die("a number is wrong");
    return (int)v;
}

static void parse(int argc, char **argv) {
    const struct {
        const char *name;
        int *number;
        const char **text;
        bool *flag;
    } known[] = {{"--layers", &opt.layers, NULL, NULL},
                 {"--width", &opt.width, NULL, NULL},
                 {"--heads", &opt.heads, NULL, NULL},
                 {"--ffn", &opt.ffn, NULL, NULL},
                 {"--shard", &opt.shard, NULL, NULL},
                 {"--input", &opt.input, NULL, NULL},
                 {"--merges", &opt.merges, NULL, NULL},
                 {"--dnabert", NULL, NULL, &opt.dnabert},
                 {"--hidden", NULL, &opt.hidden, NULL},
                 {"--classes", NULL, &opt.classes, NULL},
                 {"--inputs", NULL, &opt.inputs, NULL},
                 {"--head", NULL, NULL, &opt.head},
                 {"--no-prefix", NULL, NULL, &opt.no_prefix},
                 {"--no-inv-freq", NULL, NULL, &opt.no_inv_freq}};
    const size_t n = sizeof known / sizeof *known;
    for (int i = 1; i < argc; i++) {
        size_t k = 0;
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        while (k < n && strcmp(argv[i], known[k].name))
            k++;
        if (k < n && known[k].flag)
            *known[k].flag = true;
        else if (k < n && known[k].number)
            *known[k].number = number(value, 1), i++;
        else if (k < n)
            *known[k].text = value, i++;
        else if (!strcmp(argv[i], "--seed"))
            opt.seed = (uint64_t)number(value, 0), i++;
        else if (!strcmp(argv[i], "--type")) {
            if (strcmp(value, "f32") && strcmp(value, "f16") && strcmp(value, "bf16"))
                die("--type f32, f16 or bf16");
            opt.type = !strcmp(value, "f32")   ? VN_F32
                       : !strcmp(value, "f16") ? VN_F16
                                               : VN_BF16;
            i++;
        } else if (argv[i][0] == '-' || opt.dir)
            die("wrong arguments: see the top of mkmodel.c");
        else
            opt.dir = argv[i];
    }
}

int main(int argc, char **argv) {
    parse(argc, argv);
    if (!opt.dir)
        die("name a directory");
    opt.ffn = opt.ffn ? opt.ffn : 4 * opt.width;
    if (9 + opt.merges > MAX_PIECES)
        die("too many merges");
    mkdir(opt.dir, 0777);
    if (opt.head) {
        write_head();
    } else if (opt.dnabert) {
        dnabert_tensors();
        write_dnabert();
    } else {
        esm2_tensors();
        write_model();
    }
    for (int i = 0; i < n_tensors; i++) {
        free((char *)tensors[i].name);
        free((void *)tensors[i].data);
    }
    return 0;
}
