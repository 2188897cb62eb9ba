#include "pairs.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "idmap.h"

struct vn_pairs {
    struct vn_calls *calls[2];
    int n_classes[2];
    bool by_record, ended[2];
    int turn; /* whose row is read next */
    uint64_t n;
    struct vn_call row[2];
    /* by id */
    struct vn_idmap *waiting[2];
    struct vn_buf packed, scores; /* of a row that begins to wait; of one that has waited */
};

int vn_pairs_new(struct vn_calls *a, struct vn_calls *b, struct vn_pairs **out,
                 struct vn_error *err) {
    struct vn_pairs *p = *out = vn_calloc(1, sizeof *p, err);
    int rc = p ? VN_OK : VN_EFAIL;
    if (rc != VN_OK)
        return rc;
    p->calls[0] = a;
    p->calls[1] = b;
    for (int s = 0; s < 2 && rc == VN_OK; s++) {
        p->n_classes[s] = vn_calls_facts(p->calls[s])->n_classes;
        rc = vn_idmap_new(&p->waiting[s], err);
    }
    p->by_record = vn_calls_facts(a)->is_stream && vn_calls_facts(b)->is_stream;
    if (rc != VN_OK) {
        vn_pairs_free(p);
        *out = NULL;
    }
    return rc;
}

void vn_pairs_free(struct vn_pairs *p) {
    if (!p)
        return;
    for (int s = 0; s < 2; s++)
        vn_idmap_free(p->waiting[s]);
    vn_buf_release(&p->packed);
    vn_buf_release(&p->scores);
    free(p);
}

/* ---- by the number of the record --------------------------------------------------- */

static int next_record(struct vn_pairs *p, const struct vn_call *out[2],
                       struct vn_error *err) {
    for (int s = 0; s < 2; s++) {
        int rc = p->ended[s] ? 0 : vn_calls_next(p->calls[s], &p->row[s], err);
        if (rc < 0)
            return rc;
        p->ended[s] = rc == 0;
        out[s] = rc ? &p->row[s] : NULL;
    }
    if (!out[0] && !out[1])
        return 0;
    const struct vn_word *a = &p->row[0].id, *b = &p->row[1].id;
    if (out[0] && out[1] && (a->n != b->n || (a->n && memcmp(a->text, b->text, a->n))))
        return vn_fail(err, VN_EINCOMPAT,
                       "record %" PRIu64 " is '%.*s' in '%s', '%.*s' in '%s'", p->n, (int)a->n,
                       a->text, vn_calls_name(p->calls[0]), (int)b->n, b->text,
                       vn_calls_name(p->calls[1]));
    p->n++;
    return 1;
}

/* ---- by id --------------------------------------------------------------------------- */

/* How a row waits: this, the scores, the label, the status. Rows of tables and scores have
 * no vector and no length. */
struct packed {
    int32_t n_label, n_status; /* -1: none */
};

static int put_word(struct vn_buf *b, const struct vn_word *w, struct vn_error *err) {
    return w->text ? vn_buf_append(b, w->text, w->n, err) : VN_OK;
}

static int begin_waiting(struct vn_pairs *p, int s, struct vn_error *err) {
    const struct vn_call *row = &p->row[s];
    const struct packed head = {row->label.text ? (int32_t)row->label.n : -1,
                                row->status.text ? (int32_t)row->status.n : -1};
    p->packed.len = 0;
    int rc = vn_buf_append(&p->packed, &head, sizeof head, err);
    if (rc == VN_OK)
        rc = vn_buf_append(&p->packed, row->scores,
                           (size_t)p->n_classes[s] * sizeof *row->scores, err);
    if (rc == VN_OK)
        rc = put_word(&p->packed, &row->label, err);
    if (rc == VN_OK)
        rc = put_word(&p->packed, &row->status, err);
    if (rc != VN_OK)
        return rc;
    return vn_idmap_put(p->waiting[s], row->id.text, row->id.n, p->packed.data, p->packed.len,
                        err);
}

static int end_waiting(struct vn_pairs *p, int s, struct vn_word id, const void *value,
                       struct vn_error *err) {
    const size_t scores = (size_t)p->n_classes[s] * sizeof(float);
    const uint8_t *at = value;
    struct packed head;
    struct vn_call *row = &p->row[s];
    memcpy(&head, at, sizeof head);
    at += sizeof head;
    p->scores.len = 0;
    int rc = vn_buf_append(&p->scores, at, scores, err);
    at += scores;
    memset(row, 0, sizeof *row);
    row->length = -1;
    row->id = id;
    row->scores = (const float *)(const void *)p->scores.data;
    if (head.n_label >= 0)
        row->label = (struct vn_word){(char *)at, (size_t)head.n_label};
    at += head.n_label > 0 ? head.n_label : 0;
    if (head.n_status >= 0)
        row->status = (struct vn_word){(char *)at, (size_t)head.n_status};
    return rc;
}

/* Once both have ended: what is left of one, in its order. */
static int next_left(struct vn_pairs *p, int s, struct vn_error *err) {
    const void *key;
    size_t n_key, n;
    const void *value = vn_idmap_take_oldest(p->waiting[s], &key, &n_key, &n);
    if (!value)
        return 0;
    const struct vn_word id = {(char *)key, n_key};
    int rc = end_waiting(p, s, id, value, err);
    return rc == VN_OK ? 1 : rc;
}

/* Reads a row of side s: 1 when its counterpart had come before, 0 when it begins to wait,
 * or the set has ended. */
static int read_side(struct vn_pairs *p, int s, struct vn_error *err) {
    int rc = vn_calls_next(p->calls[s], &p->row[s], err);
    p->ended[s] = rc == 0;
    if (rc <= 0)
        return rc;
    const struct vn_word id = p->row[s].id;
    size_t n;
    const void *value = vn_idmap_take(p->waiting[!s], id.text, id.n, &n);
    if (!value)
        return begin_waiting(p, s, err);
    rc = end_waiting(p, !s, id, value, err);
    return rc == VN_OK ? 1 : rc;
}

static int next_id(struct vn_pairs *p, const struct vn_call *out[2], struct vn_error *err) {
    out[0] = &p->row[0];
    out[1] = &p->row[1];
    while (!p->ended[0] || !p->ended[1]) {
        const int s = p->ended[p->turn] ? !p->turn : p->turn;
        p->turn = !s;
        int rc = read_side(p, s, err);
        if (rc != 0)
            return rc;
    }
    for (int s = 0; s < 2; s++) {
        int rc = next_left(p, s, err);
        out[!s] = NULL;
        if (rc != 0)
            return rc;
        out[!s] = &p->row[!s];
    }
    return 0;
}

int vn_pairs_next(struct vn_pairs *p, const struct vn_call **a, const struct vn_call **b,
                  struct vn_error *err) {
    const struct vn_call *out[2] = {NULL, NULL};
    int rc = p->by_record ? next_record(p, out, err) : next_id(p, out, err);
    *a = out[0];
    *b = out[1];
    return rc;
}
