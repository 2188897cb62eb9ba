/* Codons to tokens, by hand (tests/oracle/test_codon.py holds them against transformers). */
#include "tokenizer.h"

static void every_codon(void) {
    struct vn_buf out = {0};
    struct vn_error err = {0};
    for (int i = 0; i < 64; i++)
        for (int rna = 0; rna < 2; rna++)
            for (int lower = 0; lower < 2; lower++) {
                const char *base = rna ? lower ? "acgu" : "ACGU" : lower ? "acgt" : "ACGT";
                char seq[4] = {base[i / 16], base[i / 4 % 4], base[i % 4]};
                int64_t u;
                CHECK_INT(tok(vn_tok_codon, seq, 9, &out, &u, &err), 3);
                CHECK_INT(((const uint16_t *)out.data)[1], 4 + i);
                CHECK_INT(u, 0);
            }
    vn_buf_release(&out);
}

/* In each of the three places of a codon, and among the letters that are left. */
static void every_byte(void) {
    struct vn_buf out = {0};
    for (int c = 1; c < 256; c++)
        for (int at = 0; at < 5; at++) {
            struct vn_error err = {0};
            char seq[] = "ACGTA", want[40];
            seq[at] = (char)c;
            const bool base = strchr("ACGTUacgtu", c);
            const bool letter = (c | 32) >= 'a' && (c | 32) <= 'z' && c < 128;
            int64_t u, n = tok(vn_tok_codon, seq, 9, &out, &u, &err);
            if (letter || strchr("*-.", c)) {
                CHECK_INT(n, 3);
                CHECK_INT(u, at < 3 && !base);
                continue;
            }
            snprintf(want, sizeof want, "byte 0x%02x at offset %d is", (unsigned)c, at);
            CHECK_INT(n, VN_EDATA);
            CHECK(strstr(err.msg, want));
            CHECK_INT(out.len, 0);
        }
    vn_buf_release(&out);
}

static void lengths(void) {
    EXPECT(vn_tok_codon, "", 9, 0);
    EXPECT(vn_tok_codon, "AC", 9, 0);
    EXPECT(vn_tok_codon, "AAC", 9, 0, 0, 5, 2);
    EXPECT(vn_tok_codon, "AACG", 9, 0, 0, 5, 2);
    EXPECT(vn_tok_codon, "AACGTTTTN", 9, 1, 0, 5, 51, 3, 2);
    EXPECT(vn_tok_codon, "AACGTTTTN", 2, 0, 0, 5, 51, 2);
    EXPECT(vn_tok_codon, "AACGTT?", 1, 0, 0, 5, 2); /* not asked for: not looked at */
    EXPECT(vn_tok_codon, "AAC", 0, 0);
}

static void appends(void) {
    struct vn_buf out = {0};
    struct vn_error err = {0};
    int64_t u = 5;
    CHECK_INT(vn_tok_codon("TTTNNN", 6, 10, &out, &u, &err), 4);
    CHECK_INT(vn_tok_codon("AAA", 3, 10, &out, &u, &err), 3);
    static const uint16_t want[] = {0, 67, 3, 2, 0, 4, 2};
    CHECK_INT(out.len, sizeof want);
    CHECK(!memcmp(out.data, want, sizeof want));
    CHECK_INT(u, 6);
    vn_buf_release(&out);
}

static void vocabulary(void) {
    struct vn_buf out = {0};
    struct vn_error err = {0};
    int lines = 0;
    CHECK_INT(vn_buf_puts(&out, "replaced", &err), VN_OK);
    CHECK_INT(vn_tok_codon_vocabulary(&out, &err), VN_OK);
    for (size_t i = 0; i < out.len; i++)
        lines += out.data[i] == '\n';
    CHECK_INT(lines, VN_CODON_VOCAB);
    CHECK(!memcmp(out.data, "<cls>\n<pad>\n<eos>\n<unk>\nAAA\nAAC\n", 32));
    CHECK(!memcmp(out.data + out.len - 11, "TTT\n<mask>\n", 11));
    vn_buf_release(&out);
}

int main(void) {
    TEST(every_codon);
    TEST(every_byte);
    TEST(lengths);
    TEST(appends);
    TEST(vocabulary);
    return check_done();
}
