/* scorer.h - from batches of vectors to batches of scores: a head's calls, row by row.
 *
 * Without a head a stream of scores takes the place of the vectors: its scores stand, the
 * labels are called anew.
 *
 * The scores schema is id, record, label (null: no call), score_CLASS per class (null:
 * none), status, and then every other column of the vectors stream but the embedding. A row
 * without a vector gets no call, one whose scores are not finite none either; its status is
 * the reason that it brought, and "empty" or "not finite" where it brought none, or one that
 * promised a result (batch.h). Else the status is what the row brought, or "ok". */
#ifndef VN_SCORER_H
#define VN_SCORER_H

#include "batch.h"
#include "mlp.h"

#define VN_MAX_STATUSES 16 /* told apart by the counts; the rest are summed up */

struct vn_tally {
    char text[64]; /* the label or status, cut to fit */
    uint64_t rows;
};

struct vn_scorer {
    const struct vn_head *head; /* NULL: scores come in */
    struct vn_mlp *mlp;
    int n_classes;
    const char **labels;     /* [n_classes] of the head, or in the names of the columns */
    float threshold;         /* of the second of two classes; NaN: the highest score */
    struct vn_schema schema; /* of the scores */
    int embedding, status;   /* columns of the input; -1: not there */
    int *scores;             /* [n_classes] columns of the input without a head */
    int *source;             /* [n_fields] column of the input, or -1: made here */
    struct vn_builder *made; /* [n_fields] */
    struct vn_tally *per_label; /* [n_classes + 1]; the last one: "no call" */
    struct vn_tally per_status[VN_MAX_STATUSES + 1]; /* the last one: all others */
    int n_statuses;
};

/* VN_EINCOMPAT unless vectors of this schema are what the head was trained on; without a
 * head, unless they are scores. `threshold` NaN: the one of the head that makes, or made,
 * the scores, if it has one; below 0: not even that. Head and schema must outlive the
 * scorer. `program` are the members that vn_tool_provenance writes: the head's name, hash
 * and threshold join them in the scores' provenance. workers >= 1. All zero is a scorer that
 * may be released. */
int vn_scorer_init(struct vn_scorer *s, const struct vn_head *head,
                   const struct vn_schema *in, float threshold, int workers,
                   const char *program, struct vn_error *err) VN_NODISCARD;

/* Replaces what is in `scores` by those of rows of `in` from `row` on, as many as a part of
 * bounded size takes: nearly always all. Any thread, but no two as the same worker, in
 * [0, workers), at a time. VN_EDATA for nulls inside vectors. */
int vn_scorer_compute(const struct vn_scorer *s, int worker, const struct vn_batch *in,
                      int64_t row, struct vn_buf *scores, struct vn_error *err) VN_NODISCARD;

/* Makes the rows of `in` from `row` on that have scores into rows of `out`, an initialised
 * batch, which owns them; memory that it holds from earlier is used again. Their number. */
int64_t vn_scorer_rows(struct vn_scorer *s, const struct vn_batch *in, int64_t row,
                       const struct vn_buf *scores, struct vn_batch *out,
                       struct vn_error *err) VN_NODISCARD;

void vn_scorer_release(struct vn_scorer *s);

#endif
