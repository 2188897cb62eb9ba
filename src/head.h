/* head.h - classifier heads: MLPs over vectors.
 *
 * A directory with model.safetensors, tensors "layers.<i>.weight" [out, in] and
 * "layers.<i>.bias" [out], i = 0 .. n-1, and config.json:
 *
 *   {"model_type": "vn-head", "activation": "relu" | "gelu",
 *    "labels": ["others", "virus"],               outputs of the last layer, in order
 *    "inputs": [{"model": "esm2_t36_3B_UR50D", "sha256": "...", "layer": 36,
 *                "pool": "mean", "width": 2560}], side by side, in this order
 *    "threshold": 0.5,                            optional: see below
 *    "chunk": 500, "shortest": 150,               optional facts: letters in a chunk, in
 *    "trained_on": "..."}                         the shortest sequence
 *
 * y = softmax(W_n act(... act(W_0 x + b_0) ...) + b_n). In "inputs" every member but "width"
 * may be absent; those that are there must agree with the stream's provenance; "chunk" must
 * agree where the stream says how vn-orf cut it. Heads of several inputs take the vectors
 * that vn-join puts side by side.
 *
 * "threshold", of two classes: the second is called from this score up, in a consensus from
 * this highest score up, where no other threshold is asked for. It is for heads that were
 * trained so: a read is what its most telling frame is. Other heads call the class of the
 * highest score, which for a read with several frames is another rule. */
#ifndef VN_HEAD_H
#define VN_HEAD_H

#include <stdbool.h>

#include "safetensors.h"
#include "schema.h"

/* The head that ships, with the model that its config.json names, and is used where none is
 * named. */
#define VN_SHIPPED_HEAD "vn-virus-head"

struct vn_head {
    char *name, *dir;
    char sha256[65];
    int n_layers;
    int *width;    /* [n_layers + 1]: input, hidden ..., classes */
    float **weight; /* [n_layers] each [width[i + 1], width[i]] f32 */
    float **bias;   /* [n_layers] each [width[i + 1]] */
    bool gelu;      /* erf GELU between layers; else ReLU */
    char **labels;  /* [width[n_layers]] */
    float threshold; /* above 0; 0: none */
    void *config;   /* json_t of config.json */
};

int vn_head_open(const char *name, struct vn_head **out, struct vn_error *err) VN_NODISCARD;
void vn_head_close(struct vn_head *h); /* NULL is legal */

/* VN_EINCOMPAT, expected and found, unless vectors of width d with this provenance are
 * what the head was trained on. */
int vn_head_check(const struct vn_head *h, const struct vn_schema *s, int32_t d,
                  struct vn_error *err) VN_NODISCARD;

#endif
