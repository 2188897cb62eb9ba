/* tok.h - letters to token ids. */
#ifndef VN_TOK_H
#define VN_TOK_H

#include <stdbool.h>

#include "mem.h"

/* Ids of ESM-2's 33-token alphabet, as fair-esm's Alphabet("ESM-1b") numbers them. */
enum {
    VN_ESM2_CLS = 0,
    VN_ESM2_PAD = 1,
    VN_ESM2_EOS = 2,
    VN_ESM2_UNK = 3,
    VN_ESM2_MASK = 32,
    VN_ESM2_VOCAB = 33
};

/* Appends <cls> residues <eos> as uint16 to out, and returns the number of tokens; of the
 * residues only the first max_residues. "<mask>" in the sequence is one token. Lower case
 * counts as upper case; letters outside the alphabet, and '*', are <unk>, one each, counted
 * in *n_unknown. An empty sequence appends nothing and returns 0. VN_EDATA, with the offset
 * of the byte, for what is no letter, '*', '-' or '.'. */
int64_t vn_tok_esm2(const char *seq, size_t n, size_t max_residues, struct vn_buf *out,
                    int64_t *n_unknown, struct vn_error *err) VN_NODISCARD;

/* Residues (tokens without specials) that vn_tok_esm2 finds in a sequence. */
int64_t vn_tok_esm2_length(const char *seq, size_t n);

/* The text of a token id ("L", "<mask>"), NULL when out of range. */
const char *vn_tok_esm2_text(int id);

/* Replaces what is in `out` by vocab.txt: the texts of all ids, a line each. */
int vn_tok_esm2_vocabulary(struct vn_buf *out, struct vn_error *err) VN_NODISCARD;

#endif
