/* bpe_json.h - a tokenizer.json of Hugging Face's tokenizers, as far as it is byte pair
 * encoding of sequences: [CLS] A [SEP], split at white space, nothing normalized.
 *
 * What the file says of truncation and padding is not looked at. Whatever else would change
 * the tokens of a sequence and is not done here is refused by name. */
#ifndef VN_BPE_JSON_H
#define VN_BPE_JSON_H

#include "tok.h"

/* digest: SHA-256, in hexadecimal, over the pieces by id, the merges and the specials, so that
 * two files are told apart when and only when they may give other tokens; NULL if not wanted.
 * VN_EDATA, VN_ENOINPUT, with the path. */
int vn_bpe_load(const char *path, struct vn_bpe **out, char digest[65],
                struct vn_error *err) VN_NODISCARD;

#endif
