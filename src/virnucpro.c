#include "virnucpro.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A chunk: its id is at `at` in the text of all ids. */
struct chunk {
    size_t at, n;
    float max[2];
};

struct virnucpro {
    struct vn_export base;
    char *dir;
    bool made; /* the directory is ours */
    struct vn_sink *frames, *highest;
    int id, label, score[2];
    struct vn_buf ids, chunks; /* text; struct chunk */
};

/* ---- numbers --------------------------------------------------------------------- */

int vn_numpy_float(char text[32], float v) {
    char digits[32];
    int precision = 0;
    if (!isfinite(v))
        return snprintf(text, 32, "%s", isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
    do /* the fewest digits that read back equal */
        snprintf(digits, sizeof digits, "%.*e", precision, (double)v);
    while (strtof(digits, NULL) != v && ++precision < 9);
    const double size = fabs((double)v);
    if (v != 0 && (size < 1e-4 || size >= 1e16))
        return snprintf(text, 32, "%s", digits);
    const int exponent = atoi(strchr(digits, 'e') + 1);
    const int decimals = precision - exponent;
    return snprintf(text, 32, "%.*f", decimals > 1 ? decimals : 1, (double)v);
}

/* ---- open ------------------------------------------------------------------------ */

static int open_sink(const struct virnucpro *x, const char *name, struct vn_sink **out,
                     struct vn_error *err) {
    struct vn_buf path = {0};
    int rc = vn_buf_printf(&path, err, "%s/%s", x->dir, name);
    if (rc == VN_OK)
        rc = vn_sink_open((const char *)path.data, out, err);
    vn_buf_release(&path);
    return rc;
}

static int find_columns(struct virnucpro *x, const struct vn_schema *s,
                        struct vn_error *err) {
    static const enum vn_type utf8[] = {VN_UTF8}, single[] = {VN_FLOAT32};
    int n = 0, rc = x->id = vn_schema_require(s, "id", utf8, 1, err);
    if (rc >= 0)
        rc = x->label = vn_schema_require(s, "label", utf8, 1, err);
    for (int i = 0; i < s->n_fields && rc >= 0; i++) {
        const char *name = s->fields[i].level[0].name;
        if (!vn_score_class(name))
            continue;
        rc = vn_schema_require(s, name, single, 1, err);
        if (n < 2)
            x->score[n] = i;
        n++;
    }
    if (rc >= 0 && n != 2)
        return vn_fail(err, VN_EINCOMPAT, "VirNucPro's files have 2 classes, found %d", n);
    return rc < 0 ? rc : VN_OK;
}

static void release(struct virnucpro *x, bool remove) {
    vn_sink_abort(x->frames);
    vn_sink_abort(x->highest);
    if (remove && x->made)
        rmdir(x->dir);
    vn_buf_release(&x->ids);
    vn_buf_release(&x->chunks);
    free(x->dir);
    free(x);
}

/* ---- rows ------------------------------------------------------------------------ */

static int put_text(struct vn_sink *s, const char *text, struct vn_error *err) {
    return vn_sink_puts(s, text, strlen(text), err);
}

/* Bytes of an id without its last two characters, as Python counts them. */
static size_t cut_id(const char *id, size_t n) {
    for (int i = 0; i < 2; i++) {
        while (n && ((unsigned char)id[n - 1] & 0xc0) == 0x80)
            n--;
        n -= n > 0;
    }
    return n;
}

/* Frames of a chunk come one after the other, mostly: they share one entry. */
static int add_frame(struct virnucpro *x, const char *id, size_t n, const float score[2],
                     struct vn_error *err) {
    struct chunk *last = (struct chunk *)(void *)x->chunks.data;
    last = x->chunks.len ? last + x->chunks.len / sizeof *last - 1 : NULL;
    if (!last || last->n != n || memcmp(x->ids.data + last->at, id, n)) {
        const struct chunk c = {x->ids.len, n, {score[0], score[1]}};
        int rc = vn_buf_append(&x->ids, id, n, err);
        return rc == VN_OK ? vn_buf_append(&x->chunks, &c, sizeof c, err) : rc;
    }
    for (int i = 0; i < 2; i++)
        last->max[i] = score[i] > last->max[i] ? score[i] : last->max[i];
    return VN_OK;
}

static int put_row(struct virnucpro *x, const struct vn_batch *b, int64_t row,
                   struct vn_error *err) {
    const struct vn_column *c = b->columns;
    char text[2 * 32 + 4];
    float score[2];
    size_t n, m;
    for (int i = 0; i < 2; i++) {
        if (vn_is_null(&c[x->score[i]].level[0], row) || vn_is_null(&c[x->label].level[0], row))
            return VN_OK;
        score[i] = ((const float *)c[x->score[i]].level[0].values)[row];
    }
    const char *id = vn_utf8_row(&c[x->id], row, &n);
    const char *label = vn_utf8_row(&c[x->label], row, &m);
    int at = 0;
    for (int i = 0; i < 2; i++) {
        text[at++] = '\t';
        at += vn_numpy_float(text + at, score[i]);
    }
    text[at++] = '\n';
    int rc = vn_sink_puts(x->frames, id, n, err);
    if (rc == VN_OK)
        rc = vn_sink_puts(x->frames, "\t", 1, err);
    if (rc == VN_OK)
        rc = vn_sink_puts(x->frames, label, m, err);
    if (rc == VN_OK)
        rc = vn_sink_puts(x->frames, text, (size_t)at, err);
    return rc == VN_OK ? add_frame(x, id, cut_id(id, n), score, err) : rc;
}

static int put(struct vn_export *base, const struct vn_batch *b, struct vn_error *err) {
    int rc = VN_OK;
    for (int64_t row = 0; row < b->n_rows && rc == VN_OK; row++)
        rc = put_row((struct virnucpro *)base, b, row, err);
    return rc;
}

/* ---- the second file ------------------------------------------------------------- */

static int compare(const void *a, const void *b, void *ids) {
    const struct chunk *x = a, *y = b;
    const size_t n = x->n < y->n ? x->n : y->n;
    int order = memcmp((const char *)ids + x->at, (const char *)ids + y->at, n);
    return order ? order : (x->n > y->n) - (x->n < y->n);
}

/* Sorted by id; chunks of one name are one. */
static int put_highest(struct virnucpro *x, struct vn_error *err) {
    struct chunk *c = (struct chunk *)(void *)x->chunks.data;
    const size_t n = x->chunks.len / sizeof *c;
    int rc = VN_OK;
    if (n)
        qsort_r(c, n, sizeof *c, compare, x->ids.data);
    for (size_t i = 0, next; i < n && rc == VN_OK; i = next) {
        float max[2] = {c[i].max[0], c[i].max[1]};
        for (next = i + 1; next < n && !compare(&c[i], &c[next], x->ids.data); next++)
            for (int k = 0; k < 2; k++)
                max[k] = c[next].max[k] > max[k] ? c[next].max[k] : max[k];
        rc = vn_sink_puts(x->highest, (const char *)x->ids.data + c[i].at, c[i].n, err);
        if (rc == VN_OK)
            rc = put_text(x->highest, max[1] >= max[0] ? "\tTrue\n" : "\tFalse\n", err);
    }
    return rc;
}

static int finish(struct vn_export *base, bool whole, struct vn_error *err) {
    struct virnucpro *x = (struct virnucpro *)base;
    int rc = whole ? put_highest(x, err) : VN_EFAIL;
    struct vn_sink **sinks[] = {&x->frames, &x->highest};
    for (int i = 0; i < 2 && rc == VN_OK; i++) {
        rc = vn_sink_close(*sinks[i], err);
        *sinks[i] = NULL;
    }
    release(x, rc != VN_OK);
    return whole ? rc : VN_OK;
}

int vn_export_virnucpro(const struct vn_schema *s, const char *dir, struct vn_export **out,
                        struct vn_error *err) {
    struct virnucpro *x = vn_calloc(1, sizeof *x, err);
    *out = NULL;
    if (!x)
        return VN_EFAIL;
    x->base.put = put;
    x->base.close = finish;
    x->dir = strdup(dir);
    int rc = x->dir ? find_columns(x, s, err) : vn_fail(err, VN_EFAIL, "cannot allocate");
    if (rc == VN_OK) {
        x->made = mkdir(dir, 0777) == 0;
        if (!x->made && errno != EEXIST)
            rc = vn_fail_errno(err, VN_EWRITE, errno, "cannot make the directory '%s'", dir);
    }
    if (rc == VN_OK)
        rc = open_sink(x, "prediction_results.txt", &x->frames, err);
    if (rc == VN_OK)
        rc = open_sink(x, "prediction_results_highestscore.csv", &x->highest, err);
    if (rc == VN_OK)
        rc = put_text(x->frames, "Sequence_ID\tPrediction\tscore1\tscore2\n", err);
    if (rc == VN_OK)
        rc = put_text(x->highest, "Modified_ID\tIs_Virus\n", err);
    if (rc != VN_OK) {
        release(x, true);
        return rc;
    }
    *out = &x->base;
    return VN_OK;
}
