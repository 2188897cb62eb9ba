/* consensus.h - from scores of frames to a call per chunk, or per source.
 *
 * Rows of a scores stream in the order of the input, with the columns that vn-orf made:
 * source, chunk, frame, start, end. The rule is VirNucPro's: of each class the highest score
 * over all frames counts, wherever it was reached; the class whose highest score is the
 * highest is called, of equals the last (so a tie is virus). With a threshold: the second
 * of two classes from that score up. A source is called over all of its frames.
 *
 *   by chunk   id record label score_... status source chunk start end frame frames
 *   by source  id record label score_... status start end chunks called intervals
 *
 * id: without what vn-orf put behind it, "F1", and "_chunk_1". record: of the chunk, the
 * source, from 0. start, end: from the first to the last letter of its rows. frame: the one
 * that the label's score comes from; frames: how many have scores. called: of the chunks,
 * those whose own call is the label; intervals: where these are, "0-500,900-1400", joined
 * where they touch. status: "ok"; "partial" if frames have no scores beside others that
 * do; without any, the status of the first row. */
#ifndef VN_CONSENSUS_H
#define VN_CONSENSUS_H

#include "batch.h"

struct vn_consensus;

struct vn_consensus_options {
    bool by_source;  /* else by chunk */
    float threshold; /* NaN: none */
};

/* For rows of this schema, which must outlive the object. VN_EINCOMPAT when a column is
 * missing, or a threshold meets other than two classes. */
int vn_consensus_new(const struct vn_schema *scores, const struct vn_consensus_options *o,
                     struct vn_consensus **out, struct vn_error *err) VN_NODISCARD;

const struct vn_schema *vn_consensus_schema(const struct vn_consensus *c);

/* Takes rows in. VN_EDATA when sources or chunks do not follow one another from 0 and 1:
 * rows of one are missing, or mixed with others. */
int vn_consensus_put(struct vn_consensus *c, const struct vn_batch *b,
                     struct vn_error *err) VN_NODISCARD;

/* After the last row. */
int vn_consensus_end(struct vn_consensus *c, struct vn_error *err) VN_NODISCARD;

/* The rows that are complete, until the next put or end. */
int vn_consensus_rows(struct vn_consensus *c, struct vn_batch *out,
                      struct vn_error *err) VN_NODISCARD;

void vn_consensus_free(struct vn_consensus *c); /* NULL is legal */

#endif
