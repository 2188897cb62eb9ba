/* The genetic codes: as NCBI lists what each has other than the standard code, which is
 * written out here amino acid by amino acid; and both strands by spelling codons out. */
#include "check.h"
#include "codon.h"

static const char *const standard[] = {
    "A GCA GCC GCG GCT",         "C TGC TGT", "D GAC GAT",         "E GAA GAG",
    "F TTC TTT",                 "G GGA GGC GGG GGT", "H CAC CAT", "I ATA ATC ATT",
    "K AAA AAG",                 "L CTA CTC CTG CTT TTA TTG", "M ATG", "N AAC AAT",
    "P CCA CCC CCG CCT",         "Q CAA CAG", "R AGA AGG CGA CGC CGG CGT",
    "S AGC AGT TCA TCC TCG TCT", "T ACA ACC ACG ACT", "V GTA GTC GTG GTT", "W TGG",
    "Y TAC TAT",                 "* TAA TAG TGA"};

static const struct {
    int code;
    const char *differs; /* codon and amino acid */
} codes[] = {{1, ""},
             {2, "AGA* AGG* ATAM TGAW"},
             {3, "ATAM CTTT CTCT CTAT CTGT TGAW"},
             {4, "TGAW"},
             {5, "AGAS AGGS ATAM TGAW"},
             {6, "TAAQ TAGQ"},
             {9, "AAAN AGAS AGGS TGAW"},
             {10, "TGAC"},
             {11, ""},
             {12, "CTGS"},
             {13, "AGAG AGGG ATAM TGAW"},
             {14, "AAAN AGAS AGGS TAAY TGAW"},
             {15, "TAGQ"},
             {16, "TAGL"},
             {21, "TGAW ATAM AGAS AGGS AAAN"},
             {22, "TCA* TAGL"},
             {23, "TTA*"},
             {24, "AGAS AGGK TGAW"},
             {25, "TGAG"},
             {26, "CTGA"},
             {27, "TAGQ TAAQ TGAW"},
             {28, "TAAQ TAGQ TGAW"},
             {29, "TAAY TAGY"},
             {30, "TAAE TAGE"},
             {31, "TGAW TAGE TAAE"},
             {32, "TAGW"},
             {33, "TAAY TGAW AGAS AGGK"}};

static char expected(size_t code, const char *codon) {
    for (const char *d = codes[code].differs; *d; d += d[4] ? 5 : 4)
        if (!strncmp(d, codon, 3))
            return d[3];
    for (size_t i = 0; i < sizeof standard / sizeof *standard; i++)
        if (strstr(standard[i] + 1, codon))
            return standard[i][0];
    return 0;
}

static int place(const char *codon) {
    const uint8_t *p = (const uint8_t *)codon;
    return VN_CODON(vn_letter[p[0]], vn_letter[p[1]], vn_letter[p[2]]);
}

static char opposite(char c) {
    return c == 'A' ? 'T' : c == 'T' ? 'A' : c == 'C' ? 'G' : 'C';
}

static void every_code(void) {
    static const char letters[] = "ACGT";
    for (size_t c = 0; c < sizeof codes / sizeof *codes; c++) {
        struct vn_codons t;
        CHECK_INT(vn_codons_init(&t, codes[c].code, NULL), VN_OK);
        for (int i = 0; i < 64; i++) {
            char codon[4] = {letters[i >> 4], letters[i >> 2 & 3], letters[i & 3], 0};
            char back[4] = {opposite(codon[2]), opposite(codon[1]), opposite(codon[0]), 0};
            char there = expected(c, codon), behind = expected(c, back);
            int k = place(codon);
            CHECK_INT(t.forward[k], there);
            CHECK_INT(t.reverse[k], behind);
            CHECK_INT(t.stops[k], (there == '*' ? VN_STOP_FORWARD : 0) |
                                      (behind == '*' ? VN_STOP_REVERSE : 0));
        }
    }
}

static void other_letters_make_no_codon(void) {
    struct vn_codons t;
    CHECK_INT(vn_codons_init(&t, VN_STANDARD_CODE, NULL), VN_OK);
    for (int k = 0; k <= VN_CODON_MASK; k++)
        if ((k & 4) || (k >> 3 & 4) || (k >> 6 & 4))
            CHECK(!t.forward[k] && !t.reverse[k] && !t.stops[k]);
}

static void letters(void) {
    static const char order[] = "TtCcAaGg";
    for (int c = 0; c < 256; c++) {
        const char *at = c ? strchr(order, c == 'U' || c == 'u' ? 't' : c) : NULL;
        CHECK_INT(vn_letter[c], at ? (at - order) / 2 : 4);
    }
    CHECK_INT(vn_letter['A'], vn_letter['T'] ^ 2);
    CHECK_INT(vn_letter['C'], vn_letter['G'] ^ 2);
}

static void unknown_codes(void) {
    static const int none[] = {-1, 0, 7, 8, 17, 18, 19, 20, 34, 1000000};
    struct vn_codons t;
    struct vn_error err;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        CHECK(!vn_codons_known(none[i]));
        CHECK_INT(vn_codons_init(&t, none[i], &err), VN_EUSAGE);
    }
    CHECK_STR(err.msg, "there is no genetic code 1000000");
    int known = 0;
    for (int c = -5; c < 100; c++)
        known += vn_codons_known(c);
    CHECK_INT(known, sizeof codes / sizeof *codes);
}

int main(void) {
    TEST(every_code);
    TEST(other_letters_make_no_codon);
    TEST(letters);
    TEST(unknown_codes);
    return check_done();
}
