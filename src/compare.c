#include "compare.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agreement.h"
#include "text.h"

#define ACCEPT_ABOVE 0.99
#define VALIDATE_FROM 0.95

/* A difference that is listed: four texts one behind the other. */
struct shown {
    size_t at, n[4]; /* in the text: id, what, a, b */
};

struct vn_compare {
    const struct vn_calls_facts *facts[2];
    const char *name[2];
    struct vn_compare_options o;
    uint64_t both, only[2], different;
    uint64_t labels, labels_same;         /* records with a label in one set at least */
    uint64_t no_label, one_label[2];      /* of those in both: in neither; only in one */
    uint64_t status_differs;
    uint64_t no_vector, one_vector[2];
    int n_classes, *class[2];             /* [n_classes] columns of a, of b */
    struct vn_score_pairs *scores;        /* [n_classes] */
    struct vn_vector_pairs vectors;
    struct vn_buf shown, text;
    uint64_t n_shown;
};

/* ---- may they be compared? ----------------------------------------------------------- */

/* The positive class first, then the order of a. */
static int match_classes(struct vn_compare *c, struct vn_error *err) {
    const struct vn_calls_facts *a = c->facts[0], *b = c->facts[1];
    const int first = vn_calls_class(a, c->o.positive);
    if (!a->n_classes || !b->n_classes)
        return VN_OK;
    for (int s = 0; s < 2; s++)
        for (int k = 0; k < c->facts[s]->n_classes; k++)
            if (vn_calls_class(c->facts[!s], c->facts[s]->classes[k]) < 0)
                return vn_fail(err, VN_EINCOMPAT,
                               "'%s' has scores of the class '%s', '%s' has not", c->name[s],
                               c->facts[s]->classes[k], c->name[!s]);
    c->class[0] = vn_calloc((size_t)a->n_classes, sizeof *c->class[0], err);
    c->class[1] = vn_calloc((size_t)a->n_classes, sizeof *c->class[1], err);
    c->scores = vn_calloc((size_t)a->n_classes, sizeof *c->scores, err);
    if (!c->class[0] || !c->class[1] || !c->scores)
        return VN_EFAIL;
    c->n_classes = a->n_classes;
    for (int k = 0; k < c->n_classes; k++) {
        const int from = first < 0 || k > first ? k : k == 0 ? first : k - 1;
        c->class[0][k] = from;
        c->class[1][k] = vn_calls_class(b, a->classes[from]);
    }
    return VN_OK;
}

static int match_sets(struct vn_compare *c, struct vn_error *err) {
    const struct vn_calls_facts *a = c->facts[0], *b = c->facts[1];
    if (a->is_vectors != b->is_vectors)
        return vn_fail(err, VN_EINCOMPAT, "'%s' holds vectors, '%s' calls",
                       c->name[!a->is_vectors], c->name[a->is_vectors]);
    if (a->width != b->width)
        return vn_fail(err, VN_EINCOMPAT, "vectors of width %d in '%s', of width %d in '%s'",
                       a->width, c->name[0], b->width, c->name[1]);
    c->vectors.width = a->width;
    return match_classes(c, err);
}

int vn_compare_new(const struct vn_calls_facts *a, const char *name_a,
                   const struct vn_calls_facts *b, const char *name_b,
                   const struct vn_compare_options *o, struct vn_compare **out,
                   struct vn_error *err) {
    struct vn_compare *c = *out = vn_calloc(1, sizeof *c, err);
    if (!c)
        return VN_EFAIL;
    c->facts[0] = a;
    c->facts[1] = b;
    c->name[0] = name_a;
    c->name[1] = name_b;
    c->o = *o;
    int rc = match_sets(c, err);
    if (rc != VN_OK) {
        vn_compare_free(c);
        *out = NULL;
    }
    return rc;
}

void vn_compare_free(struct vn_compare *c) {
    if (!c)
        return;
    for (int k = 0; k < c->n_classes; k++)
        vn_score_pairs_release(&c->scores[k]);
    vn_vector_pairs_release(&c->vectors);
    vn_buf_release(&c->shown);
    vn_buf_release(&c->text);
    free(c->scores);
    free(c->class[0]);
    free(c->class[1]);
    free(c);
}

/* ---- one record ---------------------------------------------------------------------- */

/* The first difference of a record, for the list. */
struct difference {
    const char *what; /* NULL: none */
    struct vn_word name, a, b;
    char number[2][VN_NUMBER_TEXT];
};

static struct vn_word word(const char *text) {
    return (struct vn_word){(char *)text, strlen(text)};
}

static struct vn_word or_dot(struct vn_word w) {
    return w.text ? w : word(".");
}

static bool equal(const struct vn_word *a, const struct vn_word *b) {
    return !a->text == !b->text && a->n == b->n && (!a->n || !memcmp(a->text, b->text, a->n));
}

static void note(struct difference *d, const char *what, struct vn_word a, struct vn_word b) {
    if (!d->what)
        *d = (struct difference){.what = what, .a = or_dot(a), .b = or_dot(b)};
}

static void compare_labels(struct vn_compare *c, const struct vn_call *a,
                           const struct vn_call *b, struct difference *d) {
    const bool same = equal(&a->label, &b->label);
    c->labels += a->label.text || b->label.text;
    c->labels_same += a->label.text && same;
    c->no_label += !a->label.text && !b->label.text;
    c->one_label[0] += a->label.text && !b->label.text;
    c->one_label[1] += !a->label.text && b->label.text;
    if (!same)
        note(d, "label", a->label, b->label);
}

static void compare_statuses(struct vn_compare *c, const struct vn_call *a,
                             const struct vn_call *b, struct difference *d) {
    if (!c->facts[0]->has_status || !c->facts[1]->has_status || equal(&a->status, &b->status))
        return;
    c->status_differs++;
    note(d, "status", a->status, b->status);
}

static int compare_scores(struct vn_compare *c, const struct vn_call *a,
                          const struct vn_call *b, struct difference *d,
                          struct vn_error *err) {
    for (int k = 0; k < c->n_classes; k++) {
        const float x = a->scores[c->class[0][k]], y = b->scores[c->class[1][k]];
        double distance;
        int rc = vn_score_pairs_add(&c->scores[k], x, y, &distance, err);
        if (rc != VN_OK)
            return rc;
        if (distance <= c->o.tolerance || d->what)
            continue;
        d->what = "score";
        d->name = word(c->facts[0]->classes[c->class[0][k]]);
        d->a = (struct vn_word){d->number[0], (size_t)vn_format_float(d->number[0], x)};
        d->b = (struct vn_word){d->number[1], (size_t)vn_format_float(d->number[1], y)};
    }
    return VN_OK;
}

static int compare_vectors(struct vn_compare *c, const struct vn_call *a,
                           const struct vn_call *b, struct difference *d,
                           struct vn_error *err) {
    double distance;
    c->no_vector += !a->vector && !b->vector;
    c->one_vector[0] += a->vector && !b->vector;
    c->one_vector[1] += !a->vector && b->vector;
    if (!a->vector != !b->vector)
        note(d, "vector", word(a->vector ? "there" : "."), word(b->vector ? "there" : "."));
    if (!a->vector || !b->vector)
        return VN_OK;
    int rc = vn_vector_pairs_add(&c->vectors, a->vector, b->vector, a->length, &distance, err);
    if (rc != VN_OK || distance <= c->o.tolerance || d->what)
        return rc;
    d->what = "relative_l2";
    d->a = word("0"); /* what a is away from itself */
    d->b = (struct vn_word){d->number[1],
                            (size_t)vn_format_float(d->number[1], (float)distance)};
    return VN_OK;
}

static int show(struct vn_compare *c, const struct vn_word *id, const struct difference *d,
                struct vn_error *err) {
    struct shown s = {.at = c->text.len};
    if (c->n_shown >= (uint64_t)c->o.show)
        return VN_OK;
    c->n_shown++;
    int rc = vn_buf_append(&c->text, id->text, s.n[0] = id->n, err);
    if (rc == VN_OK)
        rc = vn_buf_puts(&c->text, d->what, err);
    if (rc == VN_OK && d->name.n)
        rc = vn_buf_puts(&c->text, "_", err);
    if (rc == VN_OK)
        rc = vn_buf_append(&c->text, d->name.text, d->name.n, err);
    s.n[1] = strlen(d->what) + (d->name.n ? d->name.n + 1 : 0);
    if (rc == VN_OK)
        rc = vn_buf_append(&c->text, d->a.text, s.n[2] = d->a.n, err);
    if (rc == VN_OK)
        rc = vn_buf_append(&c->text, d->b.text, s.n[3] = d->b.n, err);
    return rc == VN_OK ? vn_buf_append(&c->shown, &s, sizeof s, err) : rc;
}

static void count_lonely(struct vn_compare *c, const struct vn_call *a,
                         const struct vn_call *b, struct difference *d) {
    const struct vn_call *row = a ? a : b;
    c->only[a ? 0 : 1]++;
    c->labels += row->label.text != NULL;
    note(d, "record", word(a ? "there" : "."), word(b ? "there" : "."));
}

int vn_compare_put(struct vn_compare *c, const struct vn_call *a, const struct vn_call *b,
                   struct vn_error *err) {
    struct difference d = {.what = NULL};
    int rc = VN_OK;
    if (!a || !b) {
        count_lonely(c, a, b, &d);
    } else {
        c->both++;
        compare_labels(c, a, b, &d);
        compare_statuses(c, a, b, &d);
        rc = c->facts[0]->is_vectors ? compare_vectors(c, a, b, &d, err)
                                     : compare_scores(c, a, b, &d, err);
    }
    if (rc != VN_OK || !d.what)
        return rc;
    c->different++;
    return show(c, a ? &a->id : &b->id, &d, err);
}

uint64_t vn_compare_records(const struct vn_compare *c, uint64_t *different) {
    *different = c->different;
    return c->both + c->only[0] + c->only[1];
}

/* ---- report -------------------------------------------------------------------------- */

static void report_shown(const struct vn_compare *c, struct vn_facts *f) {
    static const char *const names[] = {"id", "what", "a", "b"};
    const struct shown *s = (const struct shown *)(const void *)c->shown.data;
    vn_facts_begin_table(f, "difference");
    for (uint64_t i = 0; i < c->n_shown; i++) {
        const char *p = (const char *)c->text.data + s[i].at;
        vn_facts_begin_row(f);
        for (int k = 0; k < 4; p += s[i].n[k++])
            vn_facts_text(f, names[k], p, s[i].n[k]);
        vn_facts_end_row(f);
    }
    vn_facts_end_table(f);
}

static void report_labels(const struct vn_compare *c, struct vn_facts *f) {
    const double agreement = (double)c->labels_same / (double)c->labels; /* 0 / 0: NaN */
    vn_facts_begin(f, "labels");
    vn_facts_count(f, "records", c->labels);
    vn_facts_count(f, "same", c->labels_same);
    vn_facts_number(f, "agreement", agreement);
    vn_facts_count(f, "none", c->no_label);
    vn_facts_count(f, "only_a", c->one_label[0]);
    vn_facts_count(f, "only_b", c->one_label[1]);
    vn_facts_end(f);
    vn_facts_word(f, "verdict", c->labels == 0               ? NULL
                                : agreement > ACCEPT_ABOVE   ? "accept"
                                : agreement >= VALIDATE_FROM ? "validate"
                                                             : "standard");
}

static int report_scores(const struct vn_compare *c, struct vn_facts *f,
                         struct vn_error *err) {
    int rc = VN_OK;
    vn_facts_begin(f, "scores");
    for (int k = 0; k < c->n_classes && rc == VN_OK; k++) {
        vn_facts_begin(f, c->facts[0]->classes[c->class[0][k]]);
        rc = vn_score_pairs_report(&c->scores[k], f, err);
        vn_facts_end(f);
    }
    vn_facts_end(f);
    return rc;
}

static void report_vectors(struct vn_compare *c, struct vn_facts *f) {
    vn_facts_begin(f, "vectors");
    vn_facts_count(f, "none", c->no_vector);
    vn_facts_count(f, "only_a", c->one_vector[0]);
    vn_facts_count(f, "only_b", c->one_vector[1]);
    vn_vector_pairs_report(&c->vectors, c->facts[0]->length, f);
    vn_facts_end(f);
}

static void report_sets(const struct vn_compare *c, struct vn_facts *f) {
    static const char *const names[] = {"a", "b"};
    for (int s = 0; s < 2; s++) {
        vn_facts_begin(f, names[s]);
        vn_facts_word(f, "file", c->name[s]);
        vn_facts_word(f, "form", c->facts[s]->form);
        vn_facts_end(f);
    }
    vn_facts_bool(f, "same", c->different == 0);
    vn_facts_number(f, "tolerance", c->o.tolerance);
    vn_facts_begin(f, "records");
    vn_facts_count(f, "both", c->both);
    vn_facts_count(f, "only_a", c->only[0]);
    vn_facts_count(f, "only_b", c->only[1]);
    vn_facts_count(f, "different", c->different);
    if (c->facts[0]->has_status && c->facts[1]->has_status)
        vn_facts_count(f, "status_differs", c->status_differs);
    vn_facts_end(f);
}

int vn_compare_report(struct vn_compare *c, const struct vn_truth *truth, struct vn_facts *f,
                      struct vn_error *err) {
    int rc = VN_OK;
    report_sets(c, f);
    if (c->facts[0]->is_vectors) {
        report_vectors(c, f);
    } else {
        report_labels(c, f);
        rc = report_scores(c, f, err);
    }
    if (truth && rc == VN_OK) {
        vn_facts_begin(f, "truth");
        rc = vn_truth_report(truth, f, err);
        vn_facts_end(f);
    }
    report_shown(c, f);
    return rc;
}
