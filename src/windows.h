/* windows.h - a record longer than a model is good for, in windows of its residues.
 *
 * Of a row of tokens <cls> r_1 ... r_R <eos> with R > M residues, window k = 0, 1, 2 ... are
 * the residues from k (M - O) on, O = floor(M / 4), at most M of them, with specials of their
 * own. The last is the first that reaches r_R. So every residue but those at the ends of the
 * record is at least O / 2 residues away from the end of some window it is in.
 *
 * In a tokens stream the windows of a record lie one behind the other in its row: all but the
 * last have M + 2 tokens, which the provenance calls "window", so that the number of tokens
 * says where each begins. A row of no more than that is a record as it is. */
#ifndef VN_WINDOWS_H
#define VN_WINDOWS_H

#include "mem.h"
#include "pool.h"

#define VN_WINDOW_SPECIALS 2 /* tokens of a window that are no residues */

/* Tokens of the windows of a record of so many residues, more than `most` >= 1. */
int64_t vn_windows_tokens(int64_t residues, int64_t most);

/* Writes them to out: `tokens` are those of the whole record, n of them. */
int vn_windows_cut(const uint16_t *tokens, int64_t n, int64_t most, struct vn_buf *out,
                   struct vn_error *err) VN_NODISCARD;

/* Sequences in a row of n tokens where windows have `window` of them. */
static inline int64_t vn_windows_count(int64_t n, int64_t window) {
    return n > window ? (n - 1) / window + 1 : 1;
}

/* One vector of D values from those of the windows in a row of n tokens, x [count, D]: their
 * mean, each with the weight of the rows that the rule takes of it (summed in f64), or with
 * VN_POOL_MAX their largest values. out may be x, or lie before it. */
void vn_windows_merge(enum vn_pooling pool, const float *x, int64_t n, int64_t window,
                      int64_t d, float *out);

#endif
