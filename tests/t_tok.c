/* The ESM-2 tokenizer, against the alphabet as fair-esm lists it (tests/oracle/test_tok.py
 * holds it against fair-esm itself). */
#include "tokenizer.h"

/* fair-esm's order: 4 specials, the standard tokens, then <null_1> (the padding to a
 * multiple of 8) and <mask>. */
static const char letters[] = "LAGVSERTIDPKQNFYMHWCXBUZO.-";

static void every_letter(void) {
    struct vn_buf out = {0};
    struct vn_error err = {0};
    for (int c = 1; c < 256; c++) {
        char seq[2] = {(char)c, 0};
        char upper = (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
        const char *at = strchr(letters, upper);
        bool unk = c == '*' || upper == 'J';
        int64_t u, n = tok(vn_tok_esm2, seq, 100, &out, &u, &err);
        if (!at && !unk) {
            CHECK_INT(n, VN_EDATA);
            CHECK_INT(out.len, 0);
            CHECK_INT(u, 0);
            continue;
        }
        const uint16_t *t = (const uint16_t *)out.data;
        CHECK_INT(n, 3);
        CHECK_INT(t[0], VN_ESM2_CLS);
        CHECK_INT(t[1], unk ? VN_ESM2_UNK : 4 + (at - letters));
        CHECK_INT(t[2], VN_ESM2_EOS);
        CHECK_INT(u, unk);
        if (!unk) {
            char text[2] = {upper, 0};
            CHECK_STR(vn_tok_esm2_text(t[1]), text);
        }
    }
    vn_buf_release(&out);
}

static void known_ids(void) {
    /* the first sequence of fair-esm's README, and of huggingface's own test */
    EXPECT(vn_tok_esm2, "MKTVRQ", 100, 0, 0, 20, 15, 11, 7, 10, 16, 2);
    EXPECT(vn_tok_esm2, "GSDPKLAWIQV", 100, 0, 0, 6, 8, 13, 14, 15, 4, 5, 22, 12, 16, 7, 2);
    EXPECT(vn_tok_esm2, "K<mask>a*<mask>j", 100, 2, 0, 15, 32, 5, 3, 32, 3, 2);
    EXPECT(vn_tok_esm2, "", 100, 0);
}

static void max_residues(void) {
    EXPECT(vn_tok_esm2, "MKT", 3, 0, 0, 20, 15, 11, 2);
    EXPECT(vn_tok_esm2, "MKT", 2, 0, 0, 20, 15, 2);
    EXPECT(vn_tok_esm2, "M<mask>T*", 2, 0, 0, 20, 32, 2);
    EXPECT(vn_tok_esm2, "M<mask>T*", 3, 0, 0, 20, 32, 11, 2);
    EXPECT(vn_tok_esm2, "MKT", 0, 0, 0, 2);
}

static void broken_masks(void) {
    static const struct {
        const char *seq;
        int at;
    } bad[] = {{"MK<", 2},     {"<mask", 0},  {"<MASK>", 0}, {"M<mask>>", 7},
               {"M<cls>", 1},  {"M K", 1},    {"MK\n", 2},   {"M1", 1}};
    struct vn_buf out = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct vn_error err = {0};
        char at[40];
        int64_t u;
        snprintf(at, sizeof at, "at offset %d is no residue", bad[i].at);
        CHECK_INT(tok(vn_tok_esm2, bad[i].seq, 100, &out, &u, &err), VN_EDATA);
        CHECK(strstr(err.msg, at));
        CHECK_INT(out.len, 0);
    }
    vn_buf_release(&out);
}

static void appends(void) {
    struct vn_buf out = {0};
    struct vn_error err = {0};
    int64_t u = 5;
    CHECK_INT(vn_tok_esm2("L*", 2, 10, &out, &u, &err), 4);
    CHECK_INT(vn_tok_esm2("A", 1, 10, &out, &u, &err), 3);
    static const uint16_t want[] = {0, 4, 3, 2, 0, 5, 2};
    CHECK_INT(out.len, sizeof want);
    CHECK(!memcmp(out.data, want, sizeof want));
    CHECK_INT(u, 6);
    vn_buf_release(&out);
}

static void lengths(void) {
    static const struct {
        const char *seq;
        int n;
    } all[] = {{"", 0},        {"MKT", 3},      {"<mask>", 1},  {"M<mask><mask>K", 4},
               {"<mask", 5},   {"<<mask>", 2},  {"<", 1}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        CHECK_INT(vn_tok_esm2_length(all[i].seq, strlen(all[i].seq)), all[i].n);
}

static void texts(void) {
    CHECK_STR(vn_tok_esm2_text(VN_ESM2_CLS), "<cls>");
    CHECK_STR(vn_tok_esm2_text(VN_ESM2_PAD), "<pad>");
    CHECK_STR(vn_tok_esm2_text(VN_ESM2_EOS), "<eos>");
    CHECK_STR(vn_tok_esm2_text(VN_ESM2_UNK), "<unk>");
    CHECK_STR(vn_tok_esm2_text(31), "<null_1>");
    CHECK_STR(vn_tok_esm2_text(VN_ESM2_MASK), "<mask>");
    CHECK(!vn_tok_esm2_text(-1));
    CHECK(!vn_tok_esm2_text(VN_ESM2_VOCAB));
}

int main(void) {
    TEST(every_letter);
    TEST(known_ids);
    TEST(max_residues);
    TEST(broken_masks);
    TEST(appends);
    TEST(lengths);
    TEST(texts);
    return check_done();
}
