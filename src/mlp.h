/* mlp.h - a head at work: the CPU's kernels over blocks of rows.
 *
 * A block of VN_CPU_ROWS rows goes through all layers by itself, f32 throughout, each sum
 * once over the inputs in order; the last block is filled up with zero rows. So a row's
 * result depends neither on how many rows there are, nor on the others, nor on threads.
 * Several threads may work at a time, each as a worker of its own. */
#ifndef VN_MLP_H
#define VN_MLP_H

#include "head.h"

struct vn_mlp;

/* The head must outlive it. workers >= 1. */
int vn_mlp_new(const struct vn_head *head, int workers, struct vn_mlp **out,
               struct vn_error *err) VN_NODISCARD;

/* Probabilities [n, C] of vectors x [n, width[0]], f32: softmax of the last layer. No two
 * threads are the same worker, in [0, workers), at a time. */
void vn_mlp_apply(const struct vn_mlp *m, int worker, const float *x, int64_t n,
                  float *probabilities);

void vn_mlp_free(struct vn_mlp *m); /* NULL is legal */

#endif
