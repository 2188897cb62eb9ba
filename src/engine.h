/* engine.h - a model on a device, fed with batches.
 *
 * The engine owns the weights on the device and one arena, sized at start for `max_tokens`
 * tokens. Incoming batches of any size are cut by records to what fits (and to what runs
 * best); a single record longer than max_tokens gets a status. Jobs are the unit of
 * ownership: the caller fills one, submits it, and gets it back from collect, in the order
 * of submission; at most VN_SLOTS are in flight. Nothing is allocated per job once warm. */
#ifndef VN_ENGINE_H
#define VN_ENGINE_H

#include "backend.h"
#include "model.h"
#include "memplan.h"

#define VN_ENGINE_MAX_TOKENS 65536 /* of one record, unless asked otherwise */

struct vn_engine;

struct vn_engine_options {
    int layer;              /* hidden state to give, 0..n_layers: then the model's last */
    enum vn_pooling pool;   /* VN_POOL_NONE: token rows */
    enum vn_dtype out_type; /* VN_F32 or VN_F16; pooled vectors are always VN_F32 */
    int64_t max_tokens;     /* of one record, and of the arena; 0: VN_ENGINE_MAX_TOKENS */
};

/* What became of a record. */
enum vn_outcome {
    VN_REC_OK,
    VN_REC_EMPTY,      /* no tokens */
    VN_REC_TOO_LONG,   /* longer than the arena */
    VN_REC_NOT_FINITE  /* the model gave NaN or infinity */
};
const char *vn_outcome_name(enum vn_outcome o); /* "ok", "empty", "too long", "not finite" */

struct vn_job {
    /* in; must stay until collect */
    const uint16_t *tokens;    /* [T] from token 0 on */
    const int32_t *cu_seqlens; /* [B + 1] into tokens; the first need not be 0: the job is
                                * tokens [cu_seqlens[0], cu_seqlens[B]) */
    int64_t n_seq;
    /* out; grown by the engine, the job's own */
    struct vn_buf out;     /* pooled: [B, D] f32; else [T, D] of out_type; zeros where not ok */
    struct vn_buf outcome; /* [B] uint8_t, enum vn_outcome */
    void *user;
};

/* Uploads the weights and takes what the plan says (memplan.h). The model must outlive the
 * engine; the backend is taken over (also on failure). VN_EBUSY when the device has not that
 * much memory free, with the numbers and what would fit. */
int vn_engine_open(const struct vn_model *model, struct vn_backend *backend,
                   const struct vn_engine_options *opts, struct vn_engine **out,
                   struct vn_error *err) VN_NODISCARD;

/* VN_EDATA for a token id outside the vocabulary, with the sequence's index. */
int vn_engine_submit(struct vn_engine *e, struct vn_job *job, struct vn_error *err)
    VN_NODISCARD;

/* The oldest job submitted: 1, or 0 when none is in flight. */
int vn_engine_collect(struct vn_engine *e, struct vn_job **job, struct vn_error *err)
    VN_NODISCARD;

/* Jobs to have in flight: VN_SLOTS; 1 on a backend that has run a job when submit returns,
 * where to hold it back would only delay who waits for it. */
int vn_engine_depth(const struct vn_engine *e);

const struct vn_memplan *vn_engine_plan(const struct vn_engine *e); /* the engine's */
void vn_engine_close(struct vn_engine *e); /* NULL is legal */

#endif
