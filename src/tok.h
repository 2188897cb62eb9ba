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

/* ---- codons ---------------------------------------------------------------------- */

/* Ids of the alphabet of codons: AAA AAC AAG AAT ACA ... TTT from VN_CODON_FIRST on, where
 * ESM-2's has residues. */
enum {
    VN_CODON_CLS = 0,
    VN_CODON_PAD = 1,
    VN_CODON_EOS = 2,
    VN_CODON_UNK = 3,
    VN_CODON_FIRST = 4,
    VN_CODON_MASK = 68,
    VN_CODON_VOCAB = 69
};

/* Appends <cls> codons <eos> as uint16 to out, and returns the number of tokens; of the
 * codons, three letters each from the first on, only the first max_codons. One or two letters
 * that are left make none. U counts as T, lower case as upper case; a codon with any other
 * letter, '*', '-' or '.' is one <unk>, counted in *n_unknown. A sequence without a codon
 * appends nothing and returns 0. VN_EDATA, with the offset of the byte, for what is none of
 * those, among the letters that were asked for. */
int64_t vn_tok_codon(const char *seq, size_t n, size_t max_codons, struct vn_buf *out,
                     int64_t *n_unknown, struct vn_error *err) VN_NODISCARD;

/* Replaces what is in `out` by vocab.txt: the texts of all ids, a line each. */
int vn_tok_codon_vocabulary(struct vn_buf *out, struct vn_error *err) VN_NODISCARD;

/* ---- byte pair encoding ---------------------------------------------------------- */
/* What Hugging Face's tokenizers do with a BPE model, pieces of ASCII letters and the
 * pre-tokenizer Whitespace: while any two neighbours are in the list of merges, the pair that
 * is first in the list is merged, the leftmost of equal ones first. A letter that is no piece
 * is one unknown token, and nothing is merged across it. */

#define VN_BPE_NONE 0xffff
#define VN_BPE_MAX_PIECE 1024 /* letters */

struct vn_bpe;

struct vn_bpe_merge {
    uint16_t left, right, result;
};

struct vn_bpe_spec {
    uint16_t letter[128];              /* id of each ASCII letter, or VN_BPE_NONE */
    const struct vn_bpe_merge *merges; /* [n_merges], copied */
    int n_merges, n_vocab;             /* ids are below n_vocab */
    uint16_t unk, cls, sep;
    int64_t window; /* letters looked at together; 0: as many as suit the caches */
};

/* VN_EDATA for merges that no training makes, and that this algorithm relies on not being
 * there: one whose parts are made by none before it, one that makes what another has made. */
int vn_bpe_new(const struct vn_bpe_spec *spec, struct vn_bpe **out, struct vn_error *err)
    VN_NODISCARD;
void vn_bpe_free(struct vn_bpe *b); /* NULL is legal */

int vn_bpe_vocab(const struct vn_bpe *b); /* ids */

/* Appends [CLS] pieces [SEP] as uint16 to out, and returns the number of tokens. Letters that
 * have no piece ('N', lower case) are counted in *n_unknown; nothing is merged across white
 * space, which is no token. An empty sequence appends nothing and returns 0. VN_EDATA, with
 * the offset of the byte, for what is no letter, '*', '-' or '.', nor "<mask>" letter by
 * letter. Not from two threads at once. */
int64_t vn_bpe_tokens(struct vn_bpe *b, const char *seq, size_t n, struct vn_buf *out,
                      int64_t *n_unknown, struct vn_error *err) VN_NODISCARD;

#endif
