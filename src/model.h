/* model.h - a language model in a directory: config.json + model.safetensors (or shards).
 *
 * The directory is as Hugging Face publishes it; the tensor names there are ours, with or
 * without the prefix "esm." or "bert." that the masked-LM checkpoints have. Every
 * tensor that the forward pass needs is looked up once, here, with its shape checked against
 * the one layout that config.json implies: VN_EDATA names the tensor, expected and found. */
#ifndef VN_MODEL_H
#define VN_MODEL_H

#include <stdbool.h>

#include "safetensors.h"

enum vn_family { VN_ESM2, VN_DNABERT };

struct vn_model_config {
    enum vn_family family;
    const char *vocabulary; /* of the tokens: "esm2", "codon" or "dnabert-s"; static */
    int n_layers, d_model, n_heads, d_head, d_ffn, n_vocab;
    float norm_eps;
    bool token_dropout; /* scale embeddings by 1 - 0.15 * 0.8 at inference */
    int mask_token, pad_token; /* -1: none that matters */
    int n_types;               /* DNABERT-S: rows of type_embeddings */
    char tokenizer[65];        /* DNABERT-S: vn_bpe_load's digest; "" without the file */
};

/* Tensors of one encoder layer. Weights are [out, in], as torch.nn.Linear stores them. */
struct vn_esm2_layer {
    const struct vn_tensor *norm1_w, *norm1_b;               /* [D] before attention */
    const struct vn_tensor *q_w, *q_b, *k_w, *k_b, *v_w, *v_b; /* [D, D], [D] */
    const struct vn_tensor *out_w, *out_b;                   /* [D, D], [D] */
    const struct vn_tensor *norm2_w, *norm2_b;               /* [D] before the FFN */
    const struct vn_tensor *fc1_w, *fc1_b;                   /* [F, D], [F] */
    const struct vn_tensor *fc2_w, *fc2_b;                   /* [D, F], [D] */
};

/* DNABERT-S (MosaicBERT): post-norm, gated. */
struct vn_dnabert_layer {
    const struct vn_tensor *qkv_w, *qkv_b;     /* [3D, D], [3D]: q, k, v */
    const struct vn_tensor *out_w, *out_b;     /* [D, D], [D] */
    const struct vn_tensor *norm1_w, *norm1_b; /* [D] after attention */
    const struct vn_tensor *gate_w;            /* [2F, D]: what is gated, then its factor */
    const struct vn_tensor *down_w, *down_b;   /* [D, F], [D] */
    const struct vn_tensor *norm2_w, *norm2_b; /* [D] after the FFN */
};

struct vn_model {
    char *name;      /* last component of the directory: "esm2_t6_8M_UR50D" */
    char *dir;
    struct vn_model_config config;
    struct vn_tensors *tensors;
    char sha256[65]; /* for vn_model_sha256 */
    const struct vn_tensor *word_embeddings; /* [V, D] */
    const struct vn_tensor *norm_w, *norm_b; /* [D] ESM-2: after the last layer; DNABERT-S: of
                                              * the embeddings */
    int64_t parameters;    /* in the tensors that the forward pass uses */
    /* ESM-2; NULL for others */
    struct vn_esm2_layer *esm2; /* [n_layers] */
    float *inv_freq;       /* [d_head / 2] RoPE frequencies */
    bool inv_freq_stored;  /* from the checkpoint, else 10000^(-2i/d_head) */
    /* DNABERT-S; NULL for others */
    struct vn_dnabert_layer *dnabert;        /* [n_layers] */
    const struct vn_tensor *type_embeddings; /* [n_types, D] */
    float *alibi;                            /* [n_heads] slopes */
};

/* `name` is a directory, or a name to look up, see vn_model_find. */
int vn_model_open(const char *name, struct vn_model **out, struct vn_error *err) VN_NODISCARD;
void vn_model_close(struct vn_model *m); /* NULL is legal */

/* SHA-256 of the weights, see vn_tensors_sha256; NULL with err set. vn_model_open begins to
 * compute it beside reading the weights ahead: who asks late does not wait. `read_all`: not
 * from the cache. The text is the model's, until the next call. */
const char *vn_model_sha256(struct vn_model *m, bool read_all, struct vn_error *err);

/* The model's name (malloc'ed) and configuration, with its vocabulary checked, without a
 * look at the weights: for programs that need none. */
int vn_model_describe(const char *name, struct vn_model_config *config, char **model_name,
                      struct vn_error *err) VN_NODISCARD;

/* The directory that a name stands for, malloc'ed, or NULL with err set: VN_ENOINPUT names
 * the places searched. `file` is what must be in it ("config.json"). A directory of that
 * path comes first; a name that begins with neither "/" nor "." is looked up in the
 * directories of $VN_MODELS (separated by ':'), then beside the running program: in
 * ../share/vn/models from its directory, where make install puts what ships, and in
 * ../examples/models, where a clone has it. "esm2_t6_8M" also finds the published name
 * "esm2_t6_8M_UR50D". Also used for heads. */
char *vn_model_find(const char *name, const char *file, struct vn_error *err) VN_NODISCARD;

/* The last component of a directory's path ("." is resolved), malloc'ed, or NULL with err
 * set. */
char *vn_model_name(const char *dir, struct vn_error *err) VN_NODISCARD;

const char *vn_family_name(enum vn_family family); /* "ESM-2" */

#endif
