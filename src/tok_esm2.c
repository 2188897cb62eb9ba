#include "tok.h"

#include <string.h>

#define MASK "<mask>"
#define MASK_LEN 6

enum { BAD = 0xffff };

/* Ids of single letters; every letter that has none, and '*', is <unk>. */
#define LETTER_IDS(X) \
    X('L', 4) X('A', 5) X('G', 6) X('V', 7) X('S', 8) X('E', 9) X('R', 10) X('T', 11) \
    X('I', 12) X('D', 13) X('P', 14) X('K', 15) X('Q', 16) X('N', 17) X('F', 18) \
    X('Y', 19) X('M', 20) X('H', 21) X('W', 22) X('C', 23) X('X', 24) X('B', 25) \
    X('U', 26) X('Z', 27) X('O', 28) X('J', VN_ESM2_UNK)
#define BOTH_CASES(letter, id) [letter] = id, [letter + 'a' - 'A'] = id,

static const uint16_t ids[256] = {
    [0 ... ')'] = BAD,       ['+' ... ','] = BAD,       ['/' ... '@'] = BAD,
    ['[' ... '`'] = BAD,     ['{' ... 255] = BAD,       LETTER_IDS(BOTH_CASES)
    ['*'] = VN_ESM2_UNK,     ['.'] = 29,                ['-'] = 30};

int64_t vn_tok_esm2(const char *seq, size_t n, size_t max_residues, struct vn_buf *out,
                    int64_t *n_unknown, struct vn_error *err) {
    size_t room, done = 0;
    int64_t unknown = 0;
    if (n == 0)
        return 0;
    if (!vn_add(n < max_residues ? n : max_residues, 2, &room) ||
        !vn_mul(room, sizeof(uint16_t), &room) || !vn_add(out->len, room, &room))
        return vn_fail(err, VN_EDATA, "sequence of %zu letters is too long", n);
    int rc = vn_buf_reserve(out, room, err);
    if (rc != VN_OK)
        return rc;
    uint16_t *tokens = (uint16_t *)(out->data + out->len), *to = tokens;
    *to++ = VN_ESM2_CLS;
    for (size_t i = 0; i < n && done < max_residues; done++) {
        uint16_t id = ids[(uint8_t)seq[i]];
        size_t used = 1;
        if (id == BAD) {
            if (n - i < MASK_LEN || memcmp(seq + i, MASK, MASK_LEN))
                return vn_fail(err, VN_EDATA, "byte 0x%02x at offset %zu is no residue",
                               (unsigned)(uint8_t)seq[i], i);
            id = VN_ESM2_MASK;
            used = MASK_LEN;
        }
        unknown += id == VN_ESM2_UNK;
        *to++ = id;
        i += used;
    }
    *to++ = VN_ESM2_EOS;
    out->len += (size_t)(to - tokens) * sizeof *to;
    *n_unknown += unknown;
    return to - tokens;
}

int64_t vn_tok_esm2_length(const char *seq, size_t n) {
    int64_t length = (int64_t)n;
    const char *p = seq, *end = seq + n;
    while (p < end && (p = memchr(p, '<', (size_t)(end - p))) != NULL) {
        bool mask = end - p >= MASK_LEN && !memcmp(p, MASK, MASK_LEN);
        length -= mask ? MASK_LEN - 1 : 0;
        p += mask ? MASK_LEN : 1;
    }
    return length;
}

const char *vn_tok_esm2_text(int id) {
    static const char *const texts[VN_ESM2_VOCAB] = {
        "<cls>", "<pad>", "<eos>", "<unk>", "L", "A", "G", "V", "S", "E", "R",
        "T",     "I",     "D",     "P",     "K", "Q", "N", "F", "Y", "M", "H",
        "W",     "C",     "X",     "B",     "U", "Z", "O", ".", "-", "<null_1>",
        "<mask>"};
    return id >= 0 && id < VN_ESM2_VOCAB ? texts[id] : NULL;
}

int vn_tok_esm2_vocabulary(struct vn_buf *out, struct vn_error *err) {
    int rc = VN_OK;
    out->len = 0;
    for (int id = 0; rc == VN_OK && id < VN_ESM2_VOCAB; id++)
        rc = vn_buf_printf(out, err, "%s\n", vn_tok_esm2_text(id));
    return rc;
}
