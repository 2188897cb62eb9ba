/* cpu.h - what the files of the CPU backends share; nobody else includes it.
 *
 * Two backends: the reference (cpu_ref.c), plain loops in double, the specification; and
 * the fast one (cpu.c), whose table starts as the reference's and is overlaid. */
#ifndef VN_CPU_H
#define VN_CPU_H

#include "backend.h"
#include "mem.h"
#include "num.h"

/* The reference backend, and the beginning of the fast one. */
struct vn_cpu_ref {
    struct vn_backend base;
    struct vn_buf scratch; /* of attn: grown at need, then kept */
};

/* Fills the table with the reference's operations. VN_EINCOMPAT for an unknown act. */
int vn_cpu_ref_init(struct vn_cpu_ref *c, enum vn_dtype act, struct vn_error *err)
    VN_NODISCARD;

/* Element i of an array of VN_F32, VN_BF16 or VN_F16. */
static inline float vn_cpu_load(const void *p, enum vn_dtype type, int64_t i) {
    switch (type) {
    case VN_BF16: return vn_bf16_to_f32(((const uint16_t *)p)[i]);
    case VN_F16: return vn_f16_to_f32(((const uint16_t *)p)[i]);
    default: return ((const float *)p)[i];
    }
}
static inline void vn_cpu_store(void *p, enum vn_dtype type, int64_t i, float v) {
    switch (type) {
    case VN_BF16: ((uint16_t *)p)[i] = vn_f32_to_bf16(v); break;
    case VN_F16: ((uint16_t *)p)[i] = vn_f32_to_f16(v); break;
    default: ((float *)p)[i] = v; break;
    }
}

static inline float vn_cpu_round(enum vn_dtype type, float v) {
    switch (type) {
    case VN_BF16: return vn_bf16_to_f32(vn_f32_to_bf16(v));
    case VN_F16: return vn_f16_to_f32(vn_f32_to_f16(v));
    default: return v;
    }
}

/* Row r of the stacked weights, as f32 values rounded to `act`: what every CPU backend
 * multiplies with. And bias r, f32, not rounded. */
void vn_cpu_weight_row(const struct vn_matrix_spec *s, enum vn_dtype act, int64_t r,
                       float *row);
float vn_cpu_bias(const struct vn_matrix_spec *s, int64_t r);

/* What all embed entries scale sequence b by: see struct vn_embed_args. */
double vn_cpu_embed_scale(const struct vn_seqs *s, const struct vn_embed_args *a, int64_t b);

#endif
