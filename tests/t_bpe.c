/* Byte pair encoding: against the rule itself, merge by merge; windows against the whole; the
 * published strings where they are; and tokenizer.json of every wrong kind.
 * tests/oracle/test_dnabert.py holds it against Hugging Face's tokenizers. */
#include <unistd.h>

#include "bpe_json.h"
#include "check.h"
#include "json.h"

#define MAX_LETTERS 30000

static uint64_t seed = 1;
static uint32_t rnd(uint32_t n) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((seed >> 33) % n);
}

static void random_sequence(char *seq, int n, const char *letters) {
    for (int i = 0; i < n; i++)
        seq[i] = letters[rnd((uint32_t)strlen(letters))];
    seq[n] = 0;
}

/* ---- the rule -------------------------------------------------------------------- */

#define MAX_MERGES 400
static struct vn_bpe_merge merges[MAX_MERGES];

/* Ids: 0 unknown, 1 and 2 around, 3 to 6 A C G T, from 7 on what merge i - 7 makes. Random
 * merges give the same text more than once, as no training does, but every id is made once. */
static struct vn_bpe_spec random_spec(int n_merges, int64_t window) {
    struct vn_bpe_spec s = {.merges = merges,
                            .n_merges = n_merges,
                            .n_vocab = 7 + n_merges,
                            .cls = 1,
                            .sep = 2,
                            .window = window};
    memset(s.letter, 0xff, sizeof s.letter);
    for (int i = 0; i < 4; i++)
        s.letter[(int)"ACGT"[i]] = (uint16_t)(3 + i);
    static int length[7 + MAX_MERGES];
    for (int i = 0; i < 7; i++)
        length[i] = 1;
    for (int i = 0; i < n_merges;) {
        uint16_t a = (uint16_t)(3 + rnd((uint32_t)i + 4));
        uint16_t b = (uint16_t)(3 + rnd((uint32_t)i + 4));
        bool known = length[a] + length[b] > 40;
        for (int k = 0; k < i && !known; k++)
            known = merges[k].left == a && merges[k].right == b;
        if (known)
            continue;
        length[7 + i] = length[a] + length[b];
        merges[i] = (struct vn_bpe_merge){a, b, (uint16_t)(7 + i)};
        i++;
    }
    return s;
}

/* The pair with the first merge, the leftmost of them, until there is none. */
static int by_the_rule(const struct vn_bpe_spec *s, const char *seq, uint16_t *ids) {
    int n = 0;
    ids[n++] = s->cls;
    for (; *seq; seq++) {
        uint16_t id = s->letter[(int)*seq];
        ids[n++] = id == VN_BPE_NONE ? s->unk : id;
    }
    ids[n++] = s->sep;
    for (;;) {
        int best = s->n_merges, at = 0;
        for (int i = 0; i + 1 < n; i++)
            for (int k = 0; k < best; k++)
                if (merges[k].left == ids[i] && merges[k].right == ids[i + 1]) {
                    best = k;
                    at = i;
                }
        if (best == s->n_merges)
            return n;
        ids[at] = merges[best].result;
        memmove(ids + at + 1, ids + at + 2, (size_t)(n - at - 2) * sizeof *ids);
        n--;
    }
}

static struct vn_bpe *make(const struct vn_bpe_spec *s) {
    struct vn_bpe *b;
    struct vn_error err = {0};
    CHECK_INT(vn_bpe_new(s, &b, &err), VN_OK);
    return b;
}

static void the_rule(void) {
    static const char *const alphabets[] = {"ACGT", "A", "AC", "AAAAAAAC", "ACGTN", "AACn-"};
    static uint16_t want[1000];
    struct vn_buf out = {0};
    struct vn_error err = {0};
    char seq[501];
    for (int round = 0; round < 300; round++) {
        struct vn_bpe_spec s = random_spec((int)rnd(120), 0);
        struct vn_bpe *b = make(&s);
        for (int k = 0; b && k < 6; k++) {
            int64_t unknown = 0, n_unknown = 0;
            random_sequence(seq, 1 + (int)rnd(200), alphabets[k]);
            for (const char *c = seq; *c; c++)
                n_unknown += s.letter[(int)*c] == VN_BPE_NONE;
            int n = by_the_rule(&s, seq, want);
            out.len = 0;
            CHECK_INT(vn_bpe_tokens(b, seq, strlen(seq), &out, &unknown, &err), n);
            CHECK_INT(unknown, n_unknown);
            CHECK(out.len == 2 * (size_t)n && !memcmp(out.data, want, out.len));
        }
        vn_bpe_free(b);
    }
    vn_buf_release(&out);
}

/* Windows so short that many are not enough give what one window gives. */
static void windows(void) {
    static const char *const alphabets[] = {"ACGT", "A", "AC", "AAAAAAAC"};
    static char seq[MAX_LETTERS + 1];
    struct vn_buf whole = {0}, cut = {0};
    struct vn_error err = {0};
    for (int round = 0; round < 80; round++) {
        struct vn_bpe_spec s = random_spec(350, MAX_LETTERS);
        struct vn_bpe *one = make(&s);
        s.window = 1 + rnd(round % 2 ? 60 : 500);
        struct vn_bpe *many = make(&s);
        int64_t unknown = 0;
        random_sequence(seq, 1 + (int)rnd(round < 4 ? MAX_LETTERS : 3000),
                        alphabets[round % 4]);
        whole.len = cut.len = 0;
        int64_t n = vn_bpe_tokens(one, seq, strlen(seq), &whole, &unknown, &err);
        CHECK(n > 2);
        CHECK_INT(vn_bpe_tokens(many, seq, strlen(seq), &cut, &unknown, &err), n);
        CHECK(whole.len == cut.len && !memcmp(whole.data, cut.data, cut.len));
        vn_bpe_free(one);
        vn_bpe_free(many);
    }
    vn_buf_release(&whole);
    vn_buf_release(&cut);
}

/* ---- records --------------------------------------------------------------------- */

static void records(void) {
    struct vn_bpe_spec s = random_spec(0, 0);
    struct vn_bpe *b = make(&s);
    struct vn_buf out = {0};
    struct vn_error err = {0};
    int64_t unknown = 0;
    static const uint16_t want[] = {1, 3, 4, 0, 0, 5, 0, 2};
    CHECK_INT(vn_bpe_tokens(b, "", 0, &out, &unknown, &err), 0);
    CHECK_INT(out.len, 0);
    CHECK_INT(vn_bpe_tokens(b, "A CNa\tG*", 8, &out, &unknown, &err), 8);
    CHECK(!memcmp(out.data, want, sizeof want));
    CHECK_INT(unknown, 3);
    CHECK_INT(vn_bpe_tokens(b, "AC", 2, &out, &unknown, &err), 4); /* appends */
    CHECK_INT(out.len, 24);
    CHECK_INT(vn_bpe_tokens(b, "<mask>", 6, &out, &unknown, &err), 8);
    CHECK_INT(vn_bpe_tokens(b, "ACG1", 4, &out, &unknown, &err), VN_EDATA);
    CHECK_STR(err.msg, "byte 0x31 at offset 3 is no letter");
    CHECK_INT(vn_bpe_tokens(b, "A\xc3", 2, &out, &unknown, &err), VN_EDATA);
    CHECK_INT(vn_bpe_vocab(b), 7);
    vn_bpe_free(b);
    vn_bpe_free(NULL);
    vn_buf_release(&out);
}

static void refused_merges(void) {
    static const struct {
        struct vn_bpe_merge second;
        const char *message;
    } cases[] = {{{3, 9, 8}, "merge 1 needs a piece that no merge before it makes"},
                 {{3, 1, 8}, "merge 1 needs a piece that no merge before it makes"},
                 {{4, 4, 7}, "merge 1 makes a piece that is there before it"},
                 {{4, 4, 3}, "merge 1 makes a piece that is there before it"},
                 {{3, 3, 8}, "merge 1 is the same as merge 0"},
                 {{3, 3, 10}, "merge 1 has an id that is not below 10"}};
    struct vn_error err;
    struct vn_bpe *b;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct vn_bpe_spec s = random_spec(0, 0);
        merges[0] = (struct vn_bpe_merge){3, 3, 7};
        merges[1] = cases[i].second;
        s.n_merges = 2;
        s.n_vocab = 10;
        CHECK_INT(vn_bpe_new(&s, &b, &err), VN_EDATA);
        CHECK_STR(err.msg, cases[i].message);
    }
    struct vn_bpe_spec s = random_spec(0, 0);
    for (int i = 0; i < 12; i++) /* A, AA, AAAA, ... */
        merges[i] = (struct vn_bpe_merge){i ? (uint16_t)(6 + i) : 3, i ? (uint16_t)(6 + i) : 3,
                                          (uint16_t)(7 + i)};
    s.n_merges = 12;
    s.n_vocab = 19;
    CHECK_INT(vn_bpe_new(&s, &b, &err), VN_EDATA);
    CHECK_STR(err.msg, "merge 10 makes a piece of 2048 letters, expected at most 1024");
    s.n_vocab = 5;
    CHECK_INT(vn_bpe_new(&s, &b, &err), VN_EDATA);
}

/* ---- tokenizer.json -------------------------------------------------------------- */

static char good[1 << 16];

static void spit(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    fputs(text, f);
    fclose(f);
}

static int load(struct vn_bpe **b, char *digest, struct vn_error *err) {
    err->msg[0] = 0;
    return vn_bpe_load("t.json", b, digest, err);
}

static void make_file(void) {
    char command[2000];
    snprintf(command, sizeof command, "'%s/tests/mkmodel' --dnabert m", getenv("B"));
    CHECK_INT(system(command), 0);
    FILE *f = fopen("m/tokenizer.json", "r");
    good[f ? fread(good, 1, sizeof good - 1, f) : 0] = 0;
    if (f)
        fclose(f);
    CHECK(strlen(good) > 1000);
}

/* The file with one text in place of another. */
static void replaced(const char *old, const char *new) {
    static char bad[1 << 17];
    const char *at = strstr(good, old);
    if (!at)
        printf("# no %s\n", old);
    CHECK(at);
    if (at)
        snprintf(bad, sizeof bad, "%.*s%s%s", (int)(at - good), good, new, at + strlen(old));
    spit("t.json", bad);
}

static void files(void) {
    static const struct {
        const char *old, *new, *message;
    } cases[] = {
        {"\"normalizer\": null", "\"normalizer\": {\"type\": \"Lowercase\"}",
         "'normalizer' is an object, expected null"},
        {"\"Whitespace\"", "\"ByteLevel\"", "'type' is \"ByteLevel\", expected \"Whitespace\""},
        {"\"pre_tokenizer\"", "\"x\"", "'pre_tokenizer' is missing, expected an object"},
        {"\"BPE\"", "\"WordPiece\"", "'type' is \"WordPiece\", expected \"BPE\""},
        {"\"type\": \"BPE\",", "", "'type' is missing, expected \"BPE\""},
        {"\"dropout\": null", "\"dropout\": 0.1", "'dropout' is 0.1"},
        {"\"continuing_subword_prefix\": null", "\"continuing_subword_prefix\": \"##\"",
         "'continuing_subword_prefix' is \"##\""},
        {"\"end_of_word_suffix\": null", "\"end_of_word_suffix\": \"</w>\"",
         "'end_of_word_suffix' is"},
        {"\"fuse_unk\": false", "\"fuse_unk\": true", "'fuse_unk' is true, expected false"},
        {"\"byte_fallback\": false", "\"byte_fallback\": true", "'byte_fallback' is true"},
        {"\"byte_fallback\": false", "\"ignore_merges\": true", "'ignore_merges' is true"},
        {"\"unk_token\": \"[UNK]\"", "\"unk_token\": null", "'unk_token' is null"},
        {"\"unk_token\": \"[UNK]\"", "\"unk_token\": \"N\"", "'N' is not in 'vocab'"},
        {"\"content\": \"[MASK]\"", "\"content\": \"ACGT\"", "added token 4 is 'ACGT'"},
        {"\"added_tokens\": [", "\"added_tokens\": 3, \"x\": [", "'added_tokens' is 3"},
        {"\"TemplateProcessing\"", "\"BertProcessing\"", "'type' is \"BertProcessing\""},
        {"{\"Sequence\": {\"id\": \"A\", \"type_id\": 0}}, ", "", "'post_processor' is not a"},
        {"\"SpecialToken\": {\"id\": \"[CLS]\"", "\"SpecialToken\": {\"id\": \"<s>\"",
         "'<s>' is not in 'vocab'"},
        {"\"vocab\": {", "\"vocab\": [], \"x\": {", "'vocab' is an array"},
        {"\"vocab\": {", "\"vocab\": {}, \"x\": {", "'vocab' has 0 pieces"},
        {"\"C\": 6", "\"C\": 5", "'C' of 'vocab' has no id of its own from 0 to 63"},
        {"\"C\": 6", "\"C\": 64", "'C' of 'vocab' has no id"},
        {"\"C\": 6", "\"C\": -1", "'C' of 'vocab' has no id"},
        {"\"C\": 6", "\"C\": 6.0", "'C' of 'vocab' has no id"},
        {"\"C\": 6", "\"C\": 6, \"C\": 6", "duplicate"},
        {"\"merges\": [", "\"merges\": [\"A\", ", "merge 0 is not two pieces"},
        {"\"merges\": [", "\"merges\": [\"A C G\", ", "merge 0 is not two pieces"},
        {"\"merges\": [", "\"merges\": [\"A \", ", "merge 0 is not two pieces"},
        {"\"merges\": [", "\"merges\": [\" A\", ", "merge 0 is not two pieces"},
        {"\"merges\": [", "\"merges\": [[\"A\", 3], ", "merge 0 is not two pieces"},
        {"\"merges\": [", "\"merges\": [[\"A\"], ", "merge 0 is not two pieces"},
        {"\"merges\": [", "\"merges\": [7, ", "merge 0 is not two pieces"},
        {"\"merges\": [", "\"merges\": [\"A N\", ", "merge 0: 'N' is not in 'vocab'"},
        {"\"merges\": [", "\"merges\": null, \"x\": [", "'merges' is null"}};
    struct vn_error err;
    struct vn_bpe *b;
    char digest[65], other[65];
    make_file();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        replaced(cases[i].old, cases[i].new);
        CHECK_INT(load(&b, NULL, &err), VN_EDATA);
        if (!strstr(err.msg, cases[i].message) || !strstr(err.msg, "'t.json'"))
            printf("# '%s' lacks '%s'\n", err.msg, cases[i].message);
        CHECK(strstr(err.msg, cases[i].message) && strstr(err.msg, "'t.json'"));
    }
    for (size_t n = 0; n + 2 < strlen(good); n += 97) { /* cut */
        static char cut[sizeof good];
        snprintf(cut, sizeof cut, "%.*s", (int)n, good);
        spit("t.json", cut);
        CHECK_INT(load(&b, NULL, &err), VN_EDATA);
    }
    unlink("t.json");
    CHECK_INT(load(&b, NULL, &err), VN_ENOINPUT);
    /* what does not change the tokens does not change the digest */
    spit("t.json", good);
    CHECK_INT(load(&b, digest, &err), VN_OK);
    vn_bpe_free(b);
    replaced("\"max_length\": 9", "\"max_length\": 2000");
    CHECK_INT(load(&b, other, &err), VN_OK);
    vn_bpe_free(b);
    CHECK_STR(other, digest);
    replaced("\"unk_token\": \"[UNK]\"", "\"unk_token\": \"[PAD]\"");
    CHECK_INT(load(&b, other, &err), VN_OK);
    vn_bpe_free(b);
    CHECK(strcmp(other, digest) != 0);
}

/* ---- the published strings ------------------------------------------------------- */

static void published(void) {
    char path[2048];
    const char *data = getenv("VN_TEST_DATA");
    struct vn_error err = {0};
    struct vn_bpe *b;
    struct vn_buf out = {0};
    json_t *all, *one;
    size_t i;
    snprintf(path, sizeof path, "%s/dnabert-s/tokenizer.json", data ? data : "");
    if (access(path, R_OK) != 0)
        SKIP("no dnabert-s in $VN_TEST_DATA");
    CHECK_INT(vn_bpe_load(path, &b, NULL, &err), VN_OK);
    snprintf(path, sizeof path, "%s/dnabert-s/token_ids.json", data);
    all = json_load_file(path, 0, NULL);
    CHECK_INT(json_array_size(all), 28);
    json_array_foreach(all, i, one) {
        const char *seq = json_string_value(json_object_get(one, "seq"));
        const json_t *ids = json_object_get(one, "ids");
        int64_t unknown = 0;
        out.len = 0;
        int64_t n = vn_bpe_tokens(b, seq, strlen(seq), &out, &unknown, &err);
        if (*seq) /* an empty record has no tokens here, not [CLS] [SEP] */
            CHECK_INT(n, json_array_size(ids));
        for (int64_t k = 0; k < n; k++)
            CHECK_INT(((uint16_t *)(void *)out.data)[k],
                      json_integer_value(json_array_get(ids, (size_t)k)));
    }
    json_decref(all);
    vn_bpe_free(b);
    vn_buf_release(&out);
}

int main(void) {
    TEST(the_rule);
    TEST(windows);
    TEST(records);
    TEST(refused_merges);
    TEST(files);
    TEST(published);
    return check_done();
}
