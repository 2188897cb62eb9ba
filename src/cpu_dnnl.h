/* cpu_dnnl.h - oneDNN 2 and oneDNN 3 by one set of names; only for cpu_dnnl.c.
 *
 * Descriptions of memory are structs in oneDNN 2 and objects in oneDNN 3, and operations are
 * described in one step less there. All matrices are of two dimensions. */
#ifndef VN_CPU_DNNL_H
#define VN_CPU_DNNL_H

#if VN_HAVE_ONEDNN

#include <dnnl.h>

#if DNNL_VERSION_MAJOR < 3

typedef const dnnl_memory_desc_t *const_dnnl_memory_desc_t;

static inline const_dnnl_memory_desc_t vn_dnnl_view(const dnnl_memory_desc_t *d) {
    return d;
}

static inline dnnl_status_t vn_dnnl_md_init(dnnl_memory_desc_t *d, const dnnl_dims_t dims,
                                            dnnl_data_type_t type, dnnl_format_tag_t tag) {
    return dnnl_memory_desc_init_by_tag(d, 2, dims, type, tag);
}

static inline void vn_dnnl_md_release(dnnl_memory_desc_t *d) {
    (void)d;
}

static inline dnnl_status_t vn_dnnl_append_sum(dnnl_post_ops_t ops) {
    return dnnl_post_ops_append_sum(ops, 1);
}

static inline dnnl_status_t vn_dnnl_append_gelu(dnnl_post_ops_t ops) {
    return dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_gelu_erf, 0, 0);
}

/* x, weights, bias, y */
static inline dnnl_status_t vn_dnnl_matmul_create(dnnl_primitive_desc_t *pd,
                                                  dnnl_engine_t engine,
                                                  const dnnl_memory_desc_t d[4],
                                                  const_dnnl_primitive_attr_t attr) {
    dnnl_matmul_desc_t desc;
    dnnl_status_t s = dnnl_matmul_desc_init(&desc, &d[0], &d[1], &d[2], &d[3]);
    if (s != dnnl_success)
        return s;
    return dnnl_primitive_desc_create(pd, &desc, attr, engine, NULL);
}

#else

static inline const_dnnl_memory_desc_t vn_dnnl_view(const dnnl_memory_desc_t *d) {
    return *d;
}

static inline dnnl_status_t vn_dnnl_md_init(dnnl_memory_desc_t *d, const dnnl_dims_t dims,
                                            dnnl_data_type_t type, dnnl_format_tag_t tag) {
    return dnnl_memory_desc_create_with_tag(d, 2, dims, type, tag);
}

static inline void vn_dnnl_md_release(dnnl_memory_desc_t *d) {
    if (*d)
        dnnl_memory_desc_destroy(*d);
}

static inline dnnl_status_t vn_dnnl_append_sum(dnnl_post_ops_t ops) {
    return dnnl_post_ops_append_sum(ops, 1, 0, dnnl_data_type_undef);
}

static inline dnnl_status_t vn_dnnl_append_gelu(dnnl_post_ops_t ops) {
    return dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_gelu_erf, 0, 0);
}

static inline dnnl_status_t vn_dnnl_matmul_create(dnnl_primitive_desc_t *pd,
                                                  dnnl_engine_t engine,
                                                  const dnnl_memory_desc_t d[4],
                                                  const_dnnl_primitive_attr_t attr) {
    return dnnl_matmul_primitive_desc_create(pd, engine, d[0], d[1], d[2], d[3], attr);
}

#endif

#endif
#endif
