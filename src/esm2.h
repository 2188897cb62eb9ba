/* esm2.h - the forward pass of ESM-2, written against backend.h alone.
 *
 * Pre-norm transformer (fair-esm esm/model/esm2.py, esm/modules.py):
 *   x = embed(tokens)
 *   x = x + Wo attn(rope(Wqkv LN1(x) + b)) + bo,   x = x + W2 gelu(W1 LN2(x) + b1) + b2
 * The hidden state after the last layer passes a final LayerNorm; others do not. */
#ifndef VN_ESM2_H
#define VN_ESM2_H

#include "backend.h"
#include "model.h"

struct vn_esm2; /* weights on a device */

/* Uploads layers [0, n_layers) and what stands around them. */
int vn_esm2_new(const struct vn_model *m, struct vn_backend *b, int n_layers,
                struct vn_esm2 **out, struct vn_error *err) VN_NODISCARD;
void vn_esm2_free(struct vn_esm2 *e, struct vn_backend *b); /* NULL is legal */

/* Bytes of device scratch memory per token that vn_esm2_forward needs, x included. */
size_t vn_esm2_scratch(const struct vn_model_config *c, enum vn_dtype act);

/* Queues the pass over a packed batch. tokens [T] and seqs on the device; scratch of
 * n_tok * vn_esm2_scratch() bytes, VN_ALIGN-aligned. *x points into scratch: the hidden
 * state [T, D] f32 after `layer` layers (layer = n_layers of the model: after the final
 * norm). rope tables [>= max_len, K / 2] on the device. */
int vn_esm2_forward(const struct vn_esm2 *e, struct vn_backend *b, const struct vn_seqs *seqs,
                    const uint16_t *tokens, const float *rope_cos, const float *rope_sin,
                    int layer, void *scratch, const float **x, struct vn_error *err)
    VN_NODISCARD;

#endif
