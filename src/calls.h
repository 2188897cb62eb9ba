/* calls.h - reads a set of calls, or of vectors, whatever form it has.
 *
 * The form shows in the first bytes and in the first line:
 *
 *   a stream      of scores or of vectors, put into the order of the input
 *   our table     first column "id", then "label", "score_CLASS"..., "status", in any order,
 *                 beside others; "." for no value, \t and the like in texts
 *   VirNucPro     prediction_results.txt: Sequence_ID Prediction score1 score2, the classes
 *                 being "others" and "virus"
 *   VirNucPro     prediction_results_highestscore.csv: Modified_ID Is_Virus, and perhaps
 *                 max_score_0 max_score_1; True is the label "virus", False "others"
 *   a plain list  only where it is asked for: id and label, without a first line that names
 *                 them
 *
 * Tables are parted by tabs. Scores are float32, as all of these programs compute them. */
#ifndef VN_CALLS_H
#define VN_CALLS_H

#include "io.h"
#include "table.h"

struct vn_calls;

struct vn_calls_options {
    bool plain;          /* a list without names of columns will do */
    int64_t max_waiting; /* rows of a stream that may wait for an earlier one */
};

struct vn_calls_facts {
    const char *form;     /* stream, table, VirNucPro frames, VirNucPro chunks, list */
    bool is_stream, is_vectors, has_status;
    int n_classes;        /* 0: there are no scores */
    char *const *classes; /* [n_classes] */
    int32_t width;        /* of the vectors, else 0 */
    const char *length;   /* what a row's length counts: "tokens", "residues", "letters"; or
                             NULL where the stream does not say */
};

struct vn_call {
    struct vn_word id;
    struct vn_word label, status; /* text NULL: none */
    const float *scores;          /* [n_classes], NaN: none */
    const float *vector;          /* [width], or NULL: none */
    int64_t length;               /* or -1 */
};

/* Takes over the source, also on failure. VN_EDATA when it has none of the forms,
 * VN_EINCOMPAT when it is a stream or table of something else. */
int vn_calls_open(struct vn_source *source, const struct vn_calls_options *o,
                  struct vn_calls **out, struct vn_error *err) VN_NODISCARD;

const struct vn_calls_facts *vn_calls_facts(const struct vn_calls *c);
const char *vn_calls_name(const struct vn_calls *c); /* of the source, for messages */

/* The class of that name, or -1. */
int vn_calls_class(const struct vn_calls_facts *s, const char *name);

/* The next row: 1; 0 at the end. It stays the object's, and is valid until the next call.
 * VN_EDATA for a table that is damaged, a stream that is or that lacks a record. */
int vn_calls_next(struct vn_calls *c, struct vn_call *row, struct vn_error *err) VN_NODISCARD;

void vn_calls_close(struct vn_calls *c); /* NULL is legal */

#endif
