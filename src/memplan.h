/* memplan.h - what the work on a model takes of a device's memory, beside the weights.
 *
 * Arithmetic only: it is done before anything is allocated, so that what cannot fit is
 * refused with the numbers. The engine's arena is laid out here. */
#ifndef VN_MEMPLAN_H
#define VN_MEMPLAN_H

#include "backend.h"
#include "model.h"

/* Output that one job may give: what travels to the host at a time. Several are in flight, so
 * memory is a multiple of it; but a slice never spans two jobs, so jobs of token rows have to
 * be large. */
#define VN_MEMPLAN_POOLED_BYTES ((int64_t)16 << 20)
#define VN_MEMPLAN_ROWS_BYTES ((int64_t)88 << 20)

struct vn_memplan_options {
    enum vn_pooling pool;
    enum vn_dtype out_type; /* of token rows */
    int64_t max_tokens;     /* of one record */
};

struct vn_memplan {
    int64_t max_tokens;
    int64_t slice_tokens, slice_records; /* run at once, but for a longer record alone */
    int64_t job_bytes; /* of output, at most, unless a single record gives more */
    bool full_jobs;    /* those are the token rows of whole waves, or of half a one: smaller
                        * jobs would fill the device less well */

    /* The arena of one slice: where each part begins, and the size of all. */
    size_t tokens;   /* [max_tokens] u16 */
    size_t cu;       /* [slice_records + 1] i32 */
    size_t bad;      /* [slice_records] u8 */
    size_t cos, sin; /* [max_tokens, K / 2] f32, where the model has inv_freq */
    size_t output;   /* pooled: [slice_records, D] f32; else [max_tokens, D] f16, or none */
    size_t scratch;  /* [max_tokens] of what the forward pass wants */
    size_t arena;

    size_t staging;  /* what a backend that queues takes for results on their way */
    size_t product;  /* what standard attention takes there for a product not yet added */
    size_t total;    /* arena, staging and product */
};

/* Plans for a model of this configuration on a backend, of which only act, attention,
 * slice_tokens, slice_bytes, wave and queues are used. `rope`: it has inv_freq. VN_EFAIL when
 * a size overflows. */
int vn_memplan_make(const struct vn_model_config *c, bool rope, const struct vn_backend *b,
                    const struct vn_memplan_options *opts, struct vn_memplan *out,
                    struct vn_error *err) VN_NODISCARD;

/* The largest max_tokens whose plan takes at most `bytes`; 0 if there is none. */
int64_t vn_memplan_fit(const struct vn_model_config *c, bool rope, const struct vn_backend *b,
                       const struct vn_memplan_options *opts, size_t bytes);

#endif
