/* Round trips of all types, and streams that are cut, flipped, joined and reordered. */
#include "arrow.h"
#include "check.h"
#include "gen.h"
#include "num.h"

static struct vn_error err;

/* ---- help ------------------------------------------------------------------------ */

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

/* ---- round trips ----------------------------------------------------------------- */

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

/* ---- damage ---------------------------------------------------------------------- */

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

/* ---- joined and reordered streams ------------------------------------------------ */

static void join(struct vn_buf *out, const struct vn_buf *a, const struct vn_buf *b) {
    out->len = 0;
    gen_must(vn_buf_append(out, a->data, a->len, &err), &err);
    gen_must(vn_buf_append(out, b->data, b->len, &err), &err);
}

static void concatenation(void) {
    struct vn_buf a = {0}, b = {0}, ab = {0}, abb = {0};
    struct vn_reader *r;
    struct vn_batch batch = {0};
    uint64_t next = 0;
    gen_memory(&a, VN_KIND_TOKENS, 3, 7);
    gen_memory(&b, VN_KIND_TOKENS, 2, 5);
    join(&ab, &a, &b);
    join(&abb, &ab, &b);
    CHECK_INT(drain(ab.data, ab.len, 0, false), 31);
    CHECK_INT(drain(abb.data, abb.len, 3, false), 41);
    open_memory(&abb, &r);
    for (int i = 0; vn_reader_next(r, &batch, &err) > 0; i++) {
        const uint64_t *record = batch.columns[1].level[0].values;
        CHECK_INT(batch.number, i);
        for (int64_t k = 0; k < batch.n_rows; k++)
            CHECK_INT(record[k], next++);
    }
    CHECK_INT(next, 41);
    CHECK_INT(vn_reader_totals(r).batches, 7);
    vn_reader_close(r);
    vn_batch_release(&batch);
    /* cut anywhere but at the joint */
    int wrong = 0;
    for (size_t n = 0; n < ab.len; n++)
        wrong += n == a.len ? drain(ab.data, n, 0, false) != 21
                            : drain(ab.data, n, 0, false) != VN_EDATA;
    CHECK_INT(wrong, 0);
    /* the first without its end marker */
    a.len -= 8;
    join(&ab, &a, &b);
    CHECK_INT(drain(ab.data, ab.len, 0, false), VN_EDATA);
    vn_buf_release(&a);
    vn_buf_release(&b);
    vn_buf_release(&ab);
    vn_buf_release(&abb);
}

static void other_schema(void) {
    struct vn_buf a = {0}, b = {0}, ab = {0};
    gen_memory(&a, VN_KIND_TOKENS, 1, 7);
    gen_memory(&b, VN_KIND_VECTORS, 1, 7);
    join(&ab, &a, &b);
    CHECK_INT(drain(ab.data, ab.len, 0, false), VN_EINCOMPAT);
    CHECK(strstr(err.msg, "another stream follows that does not fit: the kinds differ: "
                          "tokens and vectors") != NULL);
    vn_buf_release(&a);
    vn_buf_release(&b);
    vn_buf_release(&ab);
}

static void after_the_end(void) {
    struct vn_buf out = {0};
    static const uint8_t end[8] = {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0};
    small_stream(&out);
    size_t n = out.len;
    for (size_t i = 1; i < 20; i++) {
        out.len = n;
        gen_must(vn_buf_zeros(&out, i, &err), &err);
        CHECK_INT(drain(out.data, out.len, 0, false), VN_EDATA);
        CHECK_INT(drain(out.data, out.len, 0, true), VN_EDATA);
    }
    out.len = n;
    gen_must(vn_buf_append(&out, end, 8, &err), &err);
    CHECK_INT(drain(out.data, out.len, 0, false), VN_EDATA);
    CHECK(strstr(err.msg, "a second end marker") != NULL);
    vn_buf_release(&out);
}

/* Where the messages of a stream begin, the end marker included. */
static int find_messages(const struct vn_buf *b, size_t *at) {
    int n = 0;
    for (size_t pos = 0;; n++) {
        struct vn_arrow_message m;
        uint32_t len = vn_load32(b->data + pos + 4);
        at[n] = pos;
        if (!len)
            return n;
        gen_must(vn_arrow_parse(b->data + pos + 8, len, &m, &err), &err);
        pos += 8 + len + (size_t)m.body;
    }
}

/* The stream made of these messages of another one; -1 ends the list. */
static int64_t arrange(const struct vn_buf *b, const size_t *at, const int *list,
                       bool lax) {
    struct vn_buf out = {0};
    for (; *list >= 0; list++) {
        size_t end = at[*list] == b->len - 8 ? b->len : at[*list + 1];
        gen_must(vn_buf_append(&out, b->data + at[*list], end - at[*list], &err), &err);
    }
    int64_t rc = drain(out.data, out.len, 0, lax);
    vn_buf_release(&out);
    return rc;
}

static void rearranged(void) { /* schema 0, batches 1 2 3, totals 4, end 5 */
    struct vn_buf b = {0};
    size_t at[8];
    small_stream(&b);
    CHECK_INT(find_messages(&b, at), 5);
    const struct {
        int list[9];
        int64_t strict, lax;
    } cases[] = {{{0, 1, 2, 3, 4, 5, -1}, 21, 21},
                 {{0, 2, 1, 3, 4, 5, -1}, VN_EDATA, VN_EDATA},       /* swapped */
                 {{0, 1, 3, 4, 5, -1}, VN_EDATA, VN_EDATA},          /* dropped */
                 {{0, 1, 2, 4, 5, -1}, VN_EDATA, VN_EDATA},          /* the last dropped */
                 {{0, 2, 3, 4, 5, -1}, VN_EDATA, VN_EDATA},          /* the first dropped */
                 {{0, 1, 2, 2, 3, 4, 5, -1}, VN_EDATA, VN_EDATA},    /* doubled */
                 {{0, 1, 2, 3, 5, -1}, VN_EDATA, 21},                /* no totals */
                 {{0, 1, 2, 3, 4, -1}, VN_EDATA, 21},                /* no end marker */
                 {{0, 1, 2, 3, -1}, VN_EDATA, 21},                   /* neither */
                 {{0, 1, 2, 3, 4, 4, 5, -1}, VN_EDATA, VN_EDATA},    /* totals twice */
                 {{0, 1, 4, 2, 3, 5, -1}, VN_EDATA, VN_EDATA},       /* totals too early */
                 {{0, 0, 1, 2, 3, 4, 5, -1}, VN_EDATA, VN_EDATA},    /* schema twice */
                 {{0, 1, 0, 2, 3, 4, 5, -1}, VN_EDATA, VN_EDATA},    /* schema inside */
                 {{1, 2, 3, 4, 5, -1}, VN_EDATA, VN_EDATA},          /* no schema */
                 {{5, -1}, VN_EDATA, VN_EDATA},                      /* nothing */
                 {{0, 5, -1}, VN_EDATA, 0},                          /* a schema only */
                 {{-1}, VN_EDATA, VN_EDATA}};                        /* an empty input */
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t strict = arrange(&b, at, cases[i].list, false);
        int64_t lax = arrange(&b, at, cases[i].list, true);
        if (strict != cases[i].strict || lax != cases[i].lax) {
            printf("# case %zu: %lld, lax %lld\n", i, (long long)strict, (long long)lax);
            CHECK(0);
        }
    }
    vn_buf_release(&b);
}

static void no_stream(void) {
    static const char fasta[] = ">id\nMKV\n>next\nMMM\n";
    static const char old[] = "\x10\x01\x00\x00\x10\x00\x00\x00";
    CHECK_INT(drain(fasta, sizeof fasta - 1, 0, false), VN_EDATA);
    CHECK_STR(err.msg, "cannot read 'test': is not an Arrow stream");
    CHECK_INT(drain(old, 8, 0, true), VN_EDATA);
    CHECK_INT(drain("ARROW1\0\0........", 16, 0, false), VN_EINCOMPAT);
    CHECK_STR(err.msg, "cannot read 'test': is an Arrow file, not an Arrow stream");
    CHECK_INT(drain("", 0, 0, false), VN_EDATA);
    CHECK_STR(err.msg, "cannot read 'test': the input is empty, expected an Arrow stream");
}

/* A failing reader goes on failing, and a failing sink is reported. */
static void failures(void) {
    struct vn_buf b = {0};
    struct vn_reader *r;
    struct vn_batch batch = {0};
    small_stream(&b);
    b.len -= 9;
    open_memory(&b, &r);
    int rc;
    while ((rc = vn_reader_next(r, &batch, &err)) > 0)
        ;
    CHECK_INT(rc, VN_EDATA);
    CHECK(strstr(err.msg, "the stream is truncated: the input ends at byte") != NULL);
    CHECK_INT(vn_reader_next(r, &batch, &err), VN_EDATA);
    vn_reader_close(r);
    vn_batch_release(&batch);
    vn_buf_release(&b);
}

/* A writer into memory, and what makes batches for it. */
struct sending {
    struct vn_buf out;
    struct vn_schema schema;
    struct gen g;
    struct vn_writer *w;
};
static void send_open(struct sending *x, enum vn_kind kind) {
    struct vn_sink *sink;
    memset(x, 0, sizeof *x);
    gen_schema(&x->schema, kind);
    gen_open(&x->g, &x->schema);
    gen_must(vn_sink_memory(&x->out, &sink, &err), &err);
    gen_must(vn_writer_open(sink, &x->schema, &x->w, &err), &err);
}
static void send_close(struct sending *x) { /* the writer is gone */
    gen_close(&x->g);
    vn_schema_release(&x->schema);
    vn_buf_release(&x->out);
}

static void wrong_batches(void) { /* that a writer refuses */
    struct sending x;
    send_open(&x, VN_KIND_SCORES);
    CHECK_INT(x.out.len, 0); /* nothing is sent before the first batch */
    gen_batch(&x.g, 4, 0);
    x.g.batch.n_columns--;
    CHECK_INT(vn_writer_put(x.w, &x.g.batch, &err), VN_EINTERNAL);
    x.g.batch.n_columns++;
    x.g.batch.columns[1].level[0].length--;
    CHECK_INT(vn_writer_put(x.w, &x.g.batch, &err), VN_EINTERNAL);
    CHECK(strstr(err.msg, "column 'record' has 3 rows of 4") != NULL);
    x.g.batch.columns[1].level[0].length++;
    x.g.batch.columns[1].level[0].validity = (const uint8_t *)"\x05";
    CHECK_INT(vn_writer_put(x.w, &x.g.batch, &err), VN_EINTERNAL);
    CHECK(strstr(err.msg, "column 'record' may not hold nulls") != NULL);
    x.g.batch.columns[1].level[0].validity = NULL;
    CHECK_INT(vn_writer_put(x.w, &x.g.batch, &err), VN_OK);
    vn_writer_abort(x.w); /* no end marker: what was sent is no whole stream */
    CHECK_INT(drain(x.out.data, x.out.len, 0, false), VN_EDATA);
    vn_writer_abort(NULL);
    vn_reader_close(NULL);
    send_close(&x);
}

/* Threads change no byte, and what a writer refuses they refuse, if later. */
static void threads(void) {
    struct vn_buf want = {0};
    for (int n = 1; n < 9; n += 1 + (n > 2)) {
        struct sending x;
        gen_state = 7;
        send_open(&x, VN_KIND_EMBEDDINGS);
        gen_must(vn_writer_parallel(x.w, n, &err), &err);
        for (int i = 0; i < 40; i++)
            CHECK_INT(vn_writer_put(x.w, gen_batch(&x.g, i * 7 % 30, 0), &err), VN_OK);
        CHECK_INT(vn_writer_sync(x.w, &err), VN_OK);
        const struct vn_totals t = vn_writer_totals(x.w);
        CHECK_INT(t.batches, 38); /* two have no rows */
        CHECK_INT(vn_writer_close(x.w, &err), VN_OK);
        CHECK_INT(drain(x.out.data, x.out.len, 0, false), (int64_t)t.records);
        if (!want.len)
            gen_must(vn_buf_append(&want, x.out.data, x.out.len, &err), &err);
        CHECK(x.out.len == want.len && !memcmp(x.out.data, want.data, want.len));
        send_close(&x);
    }
    vn_buf_release(&want);
}

static void threads_and_a_wrong_batch(void) {
    for (int wrong = 0; wrong < 2; wrong++) {
        struct sending x;
        send_open(&x, VN_KIND_SCORES);
        gen_must(vn_writer_parallel(x.w, 3, &err), &err);
        CHECK_INT(vn_writer_put(x.w, gen_batch(&x.g, 5, 0), &err), VN_OK);
        gen_batch(&x.g, 4, 5);
        x.g.batch.n_columns -= wrong;
        x.g.batch.columns[1].level[0].length -= !wrong;
        CHECK_INT(vn_writer_put(x.w, &x.g.batch, &err), VN_OK);
        CHECK_INT(vn_writer_sync(x.w, &err), VN_EINTERNAL);
        CHECK(strstr(err.msg, "cannot write batch 1 to") != NULL);
        CHECK_INT(vn_writer_put(x.w, gen_batch(&x.g, 5, 9), &err), VN_EINTERNAL);
        CHECK_INT(vn_writer_close(x.w, &err), VN_EINTERNAL);
        CHECK_INT(drain(x.out.data, x.out.len, 0, false), VN_EDATA); /* behind batch 0 */
        CHECK(x.out.len > 100);
        send_close(&x);
    }
}

/* Batches of one size do not allocate once the first has gone through. */
static void warm(void) {
    struct vn_buf out = {0};
    struct vn_reader *r;
    struct vn_batch b = {0};
    const void *columns = NULL, *values = NULL;
    gen_memory(&out, VN_KIND_VECTORS, 6, 64);
    open_memory(&out, &r);
    for (int i = 0; vn_reader_next(r, &b, &err) > 0; i++) {
        if (i)
            CHECK(columns == b.columns && values == b.columns[2].level[1].values);
        columns = b.columns;
        values = b.columns[2].level[1].values;
        CHECK((uintptr_t)values % VN_ALIGN == 0);
    }
    vn_batch_release(&b);
    vn_reader_close(r);
    vn_buf_release(&out);
}

int main(void) {
    TEST(all_types);
    TEST(all_kinds);
    TEST(empty_streams);
    TEST(slices);
    TEST(warm);
    TEST(prefixes);
    TEST(bit_flips);
    TEST(concatenation);
    TEST(other_schema);
    TEST(after_the_end);
    TEST(rearranged);
    TEST(no_stream);
    TEST(failures);
    TEST(wrong_batches);
    TEST(threads);
    TEST(threads_and_a_wrong_batch);
    return check_done();
}
