#include <string.h>

#include "tok.h"

/* 1 more than the base's number, A C G T (U) = 0 1 2 3, in either case; of other letters,
 * and what stands for letters, OTHER; 0: no letter. */
enum { OTHER = 5 };
static const uint8_t bases[256] = {
    ['A'] = 1,     ['B'] = OTHER, ['C'] = 2,     ['D' ... 'F'] = OTHER, ['G'] = 3,
    ['H' ... 'S'] = OTHER,        ['T' ... 'U'] = 4,                    ['V' ... 'Z'] = OTHER,
    ['a'] = 1,     ['b'] = OTHER, ['c'] = 2,     ['d' ... 'f'] = OTHER, ['g'] = 3,
    ['h' ... 's'] = OTHER,        ['t' ... 'u'] = 4,                    ['v' ... 'z'] = OTHER,
    ['*'] = OTHER, ['-'] = OTHER, ['.'] = OTHER};

/* The number of the first of n bytes that is no letter. */
static int64_t refuse(const char *seq, size_t n, struct vn_error *err) {
    size_t at = 0;
    while (at < n - 1 && bases[(uint8_t)seq[at]])
        at++;
    return vn_fail(err, VN_EDATA, "byte 0x%02x at offset %zu is no nucleotide",
                   (unsigned)(uint8_t)seq[at], at);
}

int64_t vn_tok_codon(const char *seq, size_t n, size_t max_codons, struct vn_buf *out,
                     int64_t *n_unknown, struct vn_error *err) {
    const size_t codons = n / 3 < max_codons ? n / 3 : max_codons;
    size_t room;
    int64_t unknown = 0;
    bool letters = true;
    if (codons == 0)
        return 0;
    if (!vn_add(codons, 2, &room) || !vn_mul(room, sizeof(uint16_t), &room) ||
        !vn_add(out->len, room, &room))
        return vn_fail(err, VN_EDATA, "sequence of %zu letters is too long", n);
    int rc = vn_buf_reserve(out, room, err);
    if (rc != VN_OK)
        return rc;
    uint16_t *tokens = (uint16_t *)(out->data + out->len), *to = tokens;
    *to++ = VN_CODON_CLS;
    for (size_t i = 0; i < codons; i++) {
        const uint8_t *s = (const uint8_t *)seq + 3 * i;
        const int a = bases[s[0]], b = bases[s[1]], c = bases[s[2]];
        const bool known = a < OTHER && b < OTHER && c < OTHER;
        letters &= a && b && c;
        unknown += !known;
        *to++ = known ? (uint16_t)(VN_CODON_FIRST + 16 * (a - 1) + 4 * (b - 1) + c - 1)
                      : VN_CODON_UNK;
    }
    *to++ = VN_CODON_EOS;
    for (size_t i = 3 * codons; codons == n / 3 && i < n; i++)
        letters &= bases[(uint8_t)seq[i]] != 0;
    if (!letters)
        return refuse(seq, n, err);
    out->len += (size_t)(to - tokens) * sizeof *to;
    *n_unknown += unknown;
    return to - tokens;
}

int vn_tok_codon_vocabulary(struct vn_buf *out, struct vn_error *err) {
    static const char base[] = "ACGT";
    out->len = 0;
    int rc = vn_buf_puts(out, "<cls>\n<pad>\n<eos>\n<unk>\n", err);
    for (int i = 0; rc == VN_OK && i < 64; i++)
        rc = vn_buf_printf(out, err, "%c%c%c\n", base[i >> 4], base[i >> 2 & 3], base[i & 3]);
    return rc == VN_OK ? vn_buf_puts(out, "<mask>\n", err) : rc;
}
