/* mlp.h - a head at work: the CPU's kernels over blocks of rows, a block a thread.
 *
 * A block of VN_CPU_ROWS rows goes through all layers by itself, f32 throughout, each sum
 * once over the inputs in order; the last block is filled up with zero rows. So a row's
 * result depends neither on how many rows there are, nor on the others, nor on threads. */
#ifndef VN_MLP_H
#define VN_MLP_H

#include "head.h"

struct vn_mlp;

/* The head must outlive it. */
int vn_mlp_new(const struct vn_head *head, int threads, struct vn_mlp **out,
               struct vn_error *err) VN_NODISCARD;

/* Probabilities [n, C] of vectors x [n, width[0]], f32: softmax of the last layer. */
void vn_mlp_apply(struct vn_mlp *m, const float *x, int64_t n, float *probabilities);

void vn_mlp_free(struct vn_mlp *m); /* NULL is legal */

#endif
