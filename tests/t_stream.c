/* Round trips of all types, and streams that are cut, flipped, joined and reordered. */
#include "check.h"
#include "gen.h"
#include "num.h"

static struct vn_error err;

/* ---- help ------------------------------------------------------------------------------ */

/* A source that yields at most `step` bytes at a time. */
struct trickle {
    struct vn_source base;
    const uint8_t *p;
    size_t n, at, step;
};
static int64_t trickle_read(struct vn_source *s, void *buf, size_t n, struct vn_error *e) {
    struct trickle *t = (struct trickle *)s;
    (void)e;
    n = n > t->step ? t->step : n;
    n = n > t->n - t->at ? t->n - t->at : n;
    memcpy(buf, t->p + t->at, n);
    t->at += n;
    return (int64_t)n;
}
static void trickle_close(struct vn_source *s) {
    (void)s;
}

/* Reads to the end: rows, or the status of the failure. */
static int64_t drain(const void *p, size_t n, size_t step, bool lax) {
    static char name[] = "test";
    struct trickle t = {{trickle_read, trickle_close, name}, p, n, 0, step ? step : n + 1};
    struct vn_reader_options o = {.lax = lax};
    struct vn_reader *r;
    struct vn_batch b;
    err.msg[0] = 0;
    int rc = vn_reader_open(&t.base, &o, &r, &err);
    if (rc != VN_OK)
        return rc;
    vn_batch_init(&b);
    while ((rc = vn_reader_next(r, &b, &err)) > 0)
        ;
    int64_t rows = rc < 0 ? rc : (int64_t)vn_reader_totals(r).records;
    vn_batch_release(&b);
    vn_reader_close(r);
    return rows;
}

/* Same rows, looking at what is visible: nothing below a null. */
static bool same_level(const struct vn_field *f, int l, const struct vn_column *x,
                       int64_t i, const struct vn_column *y, int64_t j) {
    const struct vn_level *v = &f->level[l];
    const struct vn_array *a = &x->level[l], *b = &y->level[l];
    if (vn_is_null(a, i) || vn_is_null(b, j))
        return vn_is_null(a, i) == vn_is_null(b, j);
    int64_t from = i * v->size, to = from + v->size, other = j * v->size, end = other + v->size;
    size_t width = v->type == VN_FIXED_BINARY ? (size_t)v->size : vn_type_width(v->type);
    if (vn_type_offset_width(v->type)) {
        vn_span(a, v->type, i, &from, &to);
        vn_span(b, v->type, j, &other, &end);
    }
    if (to - from != end - other)
        return false;
    if (vn_type_is_list(v->type)) {
        for (int64_t k = 0; k < to - from; k++)
            if (!same_level(f, l + 1, x, from + k, y, other + k))
                return false;
        return true;
    }
    if (vn_type_offset_width(v->type))
        return !memcmp((const char *)a->values + from, (const char *)b->values + other,
                       (size_t)(to - from));
    if (v->type == VN_BOOL)
        return (((const uint8_t *)a->values)[i / 8] >> i % 8 & 1) ==
               (((const uint8_t *)b->values)[j / 8] >> j % 8 & 1);
    return !memcmp((const char *)a->values + (size_t)i * width,
                   (const char *)b->values + (size_t)j * width, width);
}

static bool same_rows(const struct vn_schema *s, const struct vn_batch *x,
                      const struct vn_batch *y, int64_t y_from) {
    for (int c = 0; c < s->n_fields; c++)
        for (int64_t i = 0; i < x->n_rows; i++)
            if (!same_level(&s->fields[c], 0, &x->columns[c], i, &y->columns[c], y_from + i))
                return false;
    return true;
}

static void open_memory(const struct vn_buf *b, struct vn_reader **r) {
    struct vn_source *src;
    gen_must(vn_source_memory(b->data, b->len, "test", &src, &err), &err);
    gen_must(vn_reader_open(src, NULL, r, &err), &err);
}

/* ---- round trips ------------------------------------------------------------------------- */

static void round_trip(enum vn_kind kind, int n, int64_t rows) {
    struct vn_buf out = {0};
    struct vn_schema s;
    struct vn_reader *r;
    struct vn_batch b;
    struct gen g;
    uint64_t seed = gen_state;
    gen_memory(&out, kind, n, rows);
    gen_state = seed;
    gen_schema(&s, kind);
    gen_open(&g, &s);
    open_memory(&out, &r);
    CHECK_INT(vn_schema_same(&s, vn_reader_schema(r), &err), VN_OK);
    CHECK_STR(vn_schema_meta(vn_reader_schema(r), "vn.pg.0"), vn_schema_meta(&s, "vn.pg.0"));
    vn_batch_init(&b);
    for (int i = 0; i < n && rows; i++) {
        CHECK_INT(vn_reader_next(r, &b, &err), 1);
        CHECK_INT(b.n_rows, rows);
        CHECK_INT(b.number, i);
        CHECK(same_rows(&s, gen_batch(&g, rows, (uint64_t)(i * rows)), &b, 0));
    }
    CHECK_INT(vn_reader_next(r, &b, &err), 0);
    CHECK_INT(vn_reader_next(r, &b, &err), 0);
    CHECK_INT(vn_reader_totals(r).records, n * rows);
    CHECK_INT(vn_reader_totals(r).batches, rows ? n : 0);
    CHECK_INT(drain(out.data, out.len, 1, false), n * rows);
    CHECK_INT(drain(out.data, out.len, 7, true), n * rows);
    vn_batch_release(&b);
    vn_reader_close(r);
    gen_close(&g);
    vn_schema_release(&s);
    vn_buf_release(&out);
}

static void all_types(void) {
    round_trip(VN_KIND_OTHER, 3, 41);
    round_trip(VN_KIND_OTHER, 1, 1);
    round_trip(VN_KIND_OTHER, 40, 3);
}
static void all_kinds(void) {
    for (int k = VN_KIND_RECORDS; k <= VN_KIND_SCORES; k++)
        round_trip(k, 4, 17);
}
static void empty_streams(void) {
    round_trip(VN_KIND_TOKENS, 0, 0);
    round_trip(VN_KIND_VECTORS, 2, 0);
}

static void slices(void) { /* columns whose offsets do not begin at 0 */
    struct vn_schema s;
    struct gen g;
    struct vn_buf out = {0};
    struct vn_sink *sink;
    struct vn_writer *w;
    struct vn_reader *r;
    struct vn_batch part = {0}, b = {0};
    gen_schema(&s, VN_KIND_EMBEDDINGS);
    gen_open(&g, &s);
    const struct vn_batch *all = gen_batch(&g, 30, 0);
    gen_must(vn_batch_set_columns(&part, s.n_fields, &err), &err);
    part.n_rows = 11;
    for (int c = 0; c < s.n_fields; c++) {
        struct vn_array *a = &part.columns[c].level[0];
        part.columns[c] = all->columns[c];
        a->length = 11;
        if (a->offsets)
            a->offsets = (const int32_t *)a->offsets + 8;
        else
            a->values = (const uint64_t *)a->values + 8;
    }
    gen_must(vn_sink_memory(&out, &sink, &err), &err);
    gen_must(vn_writer_open(sink, &s, &w, &err), &err);
    gen_must(vn_writer_put(w, &part, &err), &err);
    gen_must(vn_writer_close(w, &err), &err);
    open_memory(&out, &r);
    CHECK_INT(vn_reader_next(r, &b, &err), 1);
    CHECK(same_rows(&s, &part, &b, 0));
    CHECK_INT(((const int32_t *)b.columns[2].level[0].offsets)[0], 0);
    vn_batch_release(&part);
    vn_batch_release(&b);
    vn_reader_close(r);
    gen_close(&g);
    vn_schema_release(&s);
    vn_buf_release(&out);
}

/* ---- damage -------------------------------------------------------------------------------- */

static void small_stream(struct vn_buf *out) { /* of about 4 kB */
    gen_state = 42;
    gen_memory(out, VN_KIND_VECTORS, 3, 7);
}

static void prefixes(void) {
    struct vn_buf out = {0};
    small_stream(&out);
    CHECK_INT(drain(out.data, out.len, 0, false), 21);
    int wrong = 0;
    for (size_t n = 0; n < out.len; n++)
        wrong += drain(out.data, n, 0, false) != VN_EDATA;
    CHECK_INT(wrong, 0);
    printf("# %zu prefixes\n", out.len);
    vn_buf_release(&out);
}

static void bit_flips(void) {
    struct vn_buf out = {0};
    int data = 0, incompatible = 0, wrong = 0;
    small_stream(&out);
    for (size_t bit = 0; bit < 8 * out.len; bit++) {
        out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        int64_t rc = drain(out.data, out.len, 0, false);
        data += rc == VN_EDATA;
        incompatible += rc == VN_EINCOMPAT;
        wrong += rc != VN_EDATA && rc != VN_EINCOMPAT;
        if (rc != VN_EDATA && rc != VN_EINCOMPAT)
            printf("# bit %zu gives %lld: %s\n", bit, (long long)rc, err.msg);
        out.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    CHECK_INT(wrong, 0);
    printf("# %zu flips: %d damaged, %d incompatible\n", 8 * out.len, data, incompatible);
    vn_buf_release(&out);
}

int main(void) {
    TEST(all_types);
    TEST(all_kinds);
    TEST(empty_streams);
    TEST(slices);
    TEST(prefixes);
    TEST(bit_flips);
    return check_done();
}
