/* net.h - a model's forward pass, whatever its family: what the engine runs.
 *
 * A family is a table of four functions over its own struct vn_net, the weights on a
 * device. It touches numbers through backend.h alone. esm2.c and dnabert.c are the families;
 * what they share is below. */
#ifndef VN_NET_H
#define VN_NET_H

#include "backend.h"
#include "mem.h"
#include "model.h"

struct vn_net; /* weights on a device; each family has its own */

/* A packed batch. */
struct vn_net_input {
    const struct vn_seqs *seqs;
    const uint16_t *tokens;           /* [T] on the device */
    const float *rope_cos, *rope_sin; /* [>= max_len, K / 2] on the device; NULL where the
                                       * model has no inv_freq */
};

struct vn_net_ops {
    /* Uploads layers [0, n_layers) and what stands around them. */
    int (*create)(const struct vn_model *m, struct vn_backend *b, int n_layers,
                  struct vn_net **out, struct vn_error *err);

    /* Bytes of device scratch memory per token that forward needs, x included. */
    size_t (*scratch)(const struct vn_model_config *c, enum vn_dtype act);

    /* Queues the pass. `scratch` has n_tok * scratch() bytes, VN_ALIGN-aligned. *x points
     * into it: the hidden state [T, D] f32 after `layer` layers, layer <= n_layers above;
     * with all of the model's layers, what the model gives in the end. */
    int (*forward)(const struct vn_net *net, struct vn_backend *b,
                   const struct vn_net_input *in, int layer, void *scratch, const float **x,
                   struct vn_error *err);

    void (*free)(struct vn_net *net, struct vn_backend *b); /* NULL is legal */
};

/* ESM-2: pre-norm transformer with rotary positions (fair-esm esm/model/esm2.py,
 * esm/modules.py):
 *   x = embed(tokens)
 *   x = x + Wo attn(rope(Wqkv LN1(x) + b)) + bo,   x = x + W2 gelu(W1 LN2(x) + b1) + b2
 * The hidden state after the last layer passes a final LayerNorm; others do not. */
extern const struct vn_net_ops vn_net_esm2;

/* DNABERT-S: post-norm, gated, with symmetric ALiBi instead of positions (MosaicBERT;
 * DNABERT_S evaluate/model_codes/bert_layers.py):
 *   x = LN(word[token] + type[0])
 *   x = LN(x + Wo attn(Wqkv x + b) + bo), score of i, j: q k' / sqrt(K) - slope |i - j|
 *   x = LN(x + Wd (gelu(g[0:F]) * g[F:2F]) + bd), g = Wg x
 * There is no norm after the last layer. VN_EINCOMPAT for standard attention. */
extern const struct vn_net_ops vn_net_dnabert;

const struct vn_net_ops *vn_net_of(enum vn_family family);

/* ---- weights, for the families --------------------------------------------------- */

/* A linear layer: weight [n_out, n_in], bias [n_out] or NULL. */
struct vn_net_part {
    const struct vn_tensor *w, *b;
};

/* A tensor of any float type as f32 on the device. `stage` is host memory of the caller,
 * used again and again. */
int vn_net_upload(struct vn_backend *b, const struct vn_tensor *t, struct vn_buf *stage,
                  float **out, struct vn_error *err) VN_NODISCARD;

/* n values from the host. */
int vn_net_upload_f32(struct vn_backend *b, const float *host, size_t n, float **out,
                      struct vn_error *err) VN_NODISCARD;

/* Stacks n_parts linear layers of shape [n_out / n_parts, n_in] into one matrix. The model
 * whose tensors these are must stay until it is freed. */
int vn_net_matrix(struct vn_backend *b, const struct vn_net_part *parts, int n_parts,
                  enum vn_epilogue epilogue, struct vn_buf *stage, struct vn_matrix **out,
                  struct vn_error *err) VN_NODISCARD;

/* A LayerNorm's scale and shift: [D] f32 each, on the device. */
struct vn_net_norm {
    float *gamma, *beta;
};
int vn_net_norm_upload(struct vn_backend *b, const struct vn_tensor *gamma,
                       const struct vn_tensor *beta, struct vn_buf *stage,
                       struct vn_net_norm *out, struct vn_error *err) VN_NODISCARD;

/* n stages over rows, at once where the backend can, else one after another. */
int vn_net_rows(struct vn_backend *b, const struct vn_row_stage *stages, int n,
                struct vn_error *err) VN_NODISCARD;

/* NULL is legal: what was never made. */
void vn_net_release(struct vn_backend *b, float *p);
void vn_net_norm_release(struct vn_backend *b, struct vn_net_norm *n);
void vn_net_matrix_free(struct vn_backend *b, struct vn_matrix *m);

#endif
