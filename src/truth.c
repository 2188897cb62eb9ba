#include "truth.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "idmap.h"
#include "stats.h"

/* What is known of an id, and whether a record had it. */
enum { NEGATIVE = 0, POSITIVE = 1, SEEN = 2 };

struct tally {
    uint64_t right[2], wrong[2]; /* records that are positive [1] or not [0] */
    uint64_t unscored;
    struct vn_buf scores, is_positive; /* float, uint8_t: of records with a score */
};

struct vn_truth {
    struct vn_idmap *ids;
    const char *positive;
    int class_of[2];
    size_t size[2], seen; /* ids that are negative, positive; ids that a record had */
    uint64_t judged, unknown;
    uint64_t both_wrong, only_wrong[2];
    struct tally tally[2];
};

static bool is_positive(const struct vn_truth *t, const struct vn_word *label) {
    return label->text && label->n == strlen(t->positive) &&
           !memcmp(label->text, t->positive, label->n);
}

static int learn(struct vn_truth *t, const struct vn_call *row, const char *name,
                 struct vn_error *err) {
    const uint8_t known = is_positive(t, &row->label) ? POSITIVE : NEGATIVE;
    size_t n;
    const uint8_t *before = vn_idmap_get(t->ids, row->id.text, row->id.n, &n);
    if (before && *before != known)
        return vn_fail(err, VN_EDATA, "'%s' has two labels for '%.*s'", name,
                       (int)(row->id.n < 200 ? row->id.n : 200), row->id.text);
    if (before)
        return VN_OK;
    t->size[known]++;
    return vn_idmap_put(t->ids, row->id.text, row->id.n, &known, 1, err);
}

int vn_truth_read(struct vn_calls *calls, const char *positive, const int class_of[2],
                  struct vn_truth **out, struct vn_error *err) {
    struct vn_call row;
    struct vn_truth *t = *out = vn_calloc(1, sizeof *t, err);
    if (!t)
        return VN_EFAIL;
    t->positive = positive;
    t->class_of[0] = class_of[0];
    t->class_of[1] = class_of[1];
    int rc = vn_calls_facts(calls)->is_vectors
                 ? vn_fail(err, VN_EINCOMPAT, "'%s' is a stream of vectors, expected labels",
                           vn_calls_name(calls))
                 : vn_idmap_new(&t->ids, err);
    while (rc == VN_OK && (rc = vn_calls_next(calls, &row, err)) > 0)
        rc = row.label.text ? learn(t, &row, vn_calls_name(calls), err) : VN_OK;
    if (rc != VN_OK) {
        vn_truth_free(t);
        *out = NULL;
    }
    return rc;
}

void vn_truth_free(struct vn_truth *t) {
    if (!t)
        return;
    for (int s = 0; s < 2; s++) {
        vn_buf_release(&t->tally[s].scores);
        vn_buf_release(&t->tally[s].is_positive);
    }
    vn_idmap_free(t->ids);
    free(t);
}

size_t vn_truth_size(const struct vn_truth *t, bool positive) {
    return t->size[positive ? POSITIVE : NEGATIVE];
}

/* ---- judging ----------------------------------------------------------------------- */

static int keep_score(struct tally *y, const struct vn_call *row, int class, uint8_t positive,
                      struct vn_error *err) {
    if (!row || class < 0 || !isfinite(row->scores[class])) {
        y->unscored++;
        return VN_OK;
    }
    int rc = vn_buf_append(&y->scores, &row->scores[class], sizeof(float), err);
    return rc == VN_OK ? vn_buf_append(&y->is_positive, &positive, 1, err) : rc;
}

int vn_truth_judge(struct vn_truth *t, const struct vn_call *a, const struct vn_call *b,
                   struct vn_error *err) {
    const struct vn_call *rows[2] = {a, b};
    const struct vn_word *id = a ? &a->id : &b->id;
    bool right[2];
    size_t n;
    uint8_t *known = vn_idmap_get(t->ids, id->text, id->n, &n);
    if (!known) {
        t->unknown++;
        return VN_OK;
    }
    const uint8_t positive = *known & POSITIVE;
    t->seen += !(*known & SEEN);
    *known |= SEEN;
    t->judged++;
    for (int s = 0; s < 2; s++) {
        struct tally *y = &t->tally[s];
        right[s] = (rows[s] && is_positive(t, &rows[s]->label)) == (positive == POSITIVE);
        y->right[positive] += right[s];
        y->wrong[positive] += !right[s];
        int rc = keep_score(y, rows[s], t->class_of[s], positive, err);
        if (rc != VN_OK)
            return rc;
    }
    t->both_wrong += !right[0] && !right[1];
    t->only_wrong[0] += !right[0] && right[1];
    t->only_wrong[1] += right[0] && !right[1];
    return VN_OK;
}

/* ---- report ------------------------------------------------------------------------ */

static double ratio(uint64_t part, uint64_t rest) {
    return (double)part / ((double)part + (double)rest); /* 0 / 0: not defined, NaN */
}

static int report_set(const struct tally *y, const char *name, struct vn_facts *f,
                      struct vn_error *err) {
    const uint64_t tp = y->right[1], fn = y->wrong[1], tn = y->right[0], fp = y->wrong[0];
    double area;
    int rc = vn_auroc((const float *)(const void *)y->scores.data, y->is_positive.data,
                      y->is_positive.len, &area, err);
    vn_facts_begin(f, name);
    vn_facts_count(f, "tp", tp);
    vn_facts_count(f, "fp", fp);
    vn_facts_count(f, "tn", tn);
    vn_facts_count(f, "fn", fn);
    vn_facts_number(f, "tpr", ratio(tp, fn));
    vn_facts_number(f, "fpr", ratio(fp, tn));
    vn_facts_number(f, "precision", ratio(tp, fp));
    vn_facts_number(f, "f1", ratio(2 * tp, fp + fn));
    vn_facts_number(f, "auroc", rc == VN_OK ? area : (double)NAN);
    vn_facts_count(f, "without_score", y->unscored);
    vn_facts_end(f);
    return rc;
}

int vn_truth_report(const struct vn_truth *t, struct vn_facts *f, struct vn_error *err) {
    vn_facts_word(f, "positive", t->positive);
    vn_facts_count(f, "records", t->judged);
    vn_facts_count(f, "records_not_in_truth", t->unknown);
    vn_facts_count(f, "truth_without_record", t->size[0] + t->size[1] - t->seen);
    int rc = report_set(&t->tally[0], "a", f, err);
    if (rc == VN_OK)
        rc = report_set(&t->tally[1], "b", f, err);
    vn_facts_begin(f, "wrong");
    vn_facts_count(f, "both", t->both_wrong);
    vn_facts_count(f, "only_a", t->only_wrong[0]);
    vn_facts_count(f, "only_b", t->only_wrong[1]);
    vn_facts_end(f);
    return rc;
}
