/* model_int.h - what the files model*.c share; nobody else includes it.
 *
 * A family of models says in three functions what its config.json, its vocabulary and its
 * tensors look like. */
#ifndef VN_MODEL_INT_H
#define VN_MODEL_INT_H

#include "json.h"
#include "model.h"

struct vn_lookup {
    const struct vn_model *m;
    const char *prefix; /* of the checkpoint's names, "" for none */
    int layer;          /* -1 outside the layers */
    int64_t *elements;  /* of what is found, added up; or NULL */
    struct vn_error *err;
};

struct vn_model_int {
    const char *key;
    int64_t lo, hi;
    int *out;
};
/* The members that are integers, and norm_eps; then heads of a size that backends have. */
int vn_model_numbers(const json_t *o, const struct vn_model_int *numbers, size_t n,
                     struct vn_model_config *c, struct vn_error *err) VN_NODISCARD;

/* "prefix" + "encoder.layer.N." if in a layer + suffix. */
void vn_model_tensor_name(const struct vn_lookup *l, const char *suffix, char *out,
                          size_t size);

/* "esm." in front of the names, if this tensor has it there, else "". */
const char *vn_model_prefix(const struct vn_model *m, const char *prefix,
                            const char *tensor);

/* Looks up a tensor of shape [rows, cols], or [rows] where cols is 0. VN_EDATA. */
int vn_model_bind(const struct vn_lookup *l, const char *suffix, int64_t rows, int64_t cols,
                  const struct vn_tensor **out) VN_NODISCARD;

/* `stem`.weight [rows, cols] ([rows] for a norm, cols 0) and `stem`.bias [rows]. Some
 * writers call those of a norm gamma and beta. */
int vn_model_bind_pair(const struct vn_lookup *l, const char *stem, int64_t rows,
                       int64_t cols, const struct vn_tensor **w,
                       const struct vn_tensor **b) VN_NODISCARD;

/* A layer that config.json does not count would be left out in silence: VN_EDATA. */
int vn_model_check_depth(const struct vn_lookup *l) VN_NODISCARD;

int vn_model_esm2_config(const json_t *o, struct vn_model_config *c,
                         struct vn_error *err) VN_NODISCARD;
int vn_model_esm2_vocabulary(struct vn_model *m, struct vn_error *err) VN_NODISCARD;
int vn_model_esm2_bind(struct vn_model *m, struct vn_error *err) VN_NODISCARD;

int vn_model_dnabert_config(const json_t *o, struct vn_model_config *c,
                            struct vn_error *err) VN_NODISCARD;
int vn_model_dnabert_vocabulary(struct vn_model *m, struct vn_error *err) VN_NODISCARD;
int vn_model_dnabert_bind(struct vn_model *m, struct vn_error *err) VN_NODISCARD;

#endif
