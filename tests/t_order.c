/* Rows in any order come out in order; missing and double ones are damage. */
#include "check.h"
#include "gen.h"
#include "order.h"

static struct vn_error err;
static struct vn_schema schema;
static const struct vn_field *id_field, *record_field;

/* A batch with owned memory: written and read back. */
static void batch_of(const uint64_t *records, int64_t n, struct vn_batch *out) {
    struct vn_builder id, record;
    struct vn_batch b = {0};
    struct vn_buf bytes = {0};
    struct vn_sink *sink;
    struct vn_source *src;
    struct vn_writer *w;
    struct vn_reader *r;
    char text[32];
    vn_builder_init(&id, id_field);
    vn_builder_init(&record, record_field);
    for (int64_t i = 0; i < n; i++) {
        int len = snprintf(text, sizeof text, "r%llu", (unsigned long long)records[i]);
        gen_must(vn_builder_add_bytes(&id, text, (size_t)len, &err), &err);
        gen_must(vn_builder_add_value(&record, &records[i], &err), &err);
    }
    gen_must(vn_batch_set_columns(&b, 2, &err), &err);
    vn_builder_view(&id, &b.columns[0]);
    vn_builder_view(&record, &b.columns[1]);
    b.n_rows = n;
    gen_must(vn_sink_memory(&bytes, &sink, &err), &err);
    gen_must(vn_writer_open(sink, &schema, &w, &err), &err);
    gen_must(vn_writer_put(w, &b, &err), &err);
    gen_must(vn_writer_close(w, &err), &err);
    gen_must(vn_source_memory(bytes.data, bytes.len, "test", &src, &err), &err);
    gen_must(vn_reader_open(src, NULL, &r, &err), &err);
    gen_must(vn_reader_next(r, out, &err), &err);
    vn_reader_close(r);
    vn_builder_release(&id);
    vn_builder_release(&record);
    vn_batch_release(&b);
    vn_buf_release(&bytes);
}

/* Gives out what is ready and checks that it is next. */
static void drain(struct vn_order *o, int64_t max_rows, uint64_t *next) {
    struct vn_batch out = {0};
    char text[32];
    size_t len;
    int rc;
    while ((rc = vn_order_next(o, max_rows, &out, &err)) > 0) {
        CHECK(out.n_rows <= max_rows);
        for (int64_t i = 0; i < out.n_rows; i++, ++*next) {
            snprintf(text, sizeof text, "r%llu", (unsigned long long)*next);
            const char *p = vn_utf8_row(&out.columns[0], i, &len);
            CHECK(len == strlen(text) && !memcmp(p, text, len));
            CHECK_INT(((const uint64_t *)out.columns[1].level[0].values)[i], *next);
        }
    }
    CHECK_INT(rc, 0);
    vn_batch_release(&out);
}

/* 5000 records, shuffled inside windows of `window`, in batches of odd sizes. */
static void shuffled(int window, int64_t max_waiting, int64_t max_rows) {
    enum { N = 5000 };
    static uint64_t records[N];
    struct vn_order *o;
    struct vn_batch b = {0};
    uint64_t next = 0;
    for (int i = 0; i < N; i++)
        records[i] = (uint64_t)i;
    for (int at = 0; at < N; at += window)
        for (int i = window - 1; i > 0; i--) {
            int x = at + i, y = at + gen_below(i + 1);
            if (x < N && y < N) {
                uint64_t t = records[x];
                records[x] = records[y];
                records[y] = t;
            }
        }
    gen_must(vn_order_new(&schema, 1, max_waiting, &o, &err), &err);
    for (int at = 0, n; at < N; at += n) {
        n = 1 + gen_below(97);
        n = n > N - at ? N - at : n;
        batch_of(records + at, n, &b);
        if (vn_order_put(o, &b, &err) != VN_OK)
            CHECK_STR(err.msg, "");
        CHECK_INT(b.n_rows, 0);
        if (gen_below(3))
            drain(o, max_rows, &next);
    }
    drain(o, max_rows, &next);
    CHECK_INT(next, N);
    CHECK_INT(vn_order_finish(o, &err), VN_OK);
    vn_batch_release(&b);
    vn_order_free(o);
}

static void windows(void) {
    shuffled(1, 1, 1000);
    shuffled(64, 64, 7);
    shuffled(3000, 3000, 1 << 20);
    shuffled(5000, 5000, 100);
}

/* Puts batches of the given records (each ended by UINT64_MAX); the last status. */
static int put_all(const uint64_t *records, int64_t max_waiting) {
    struct vn_order *o;
    struct vn_batch b = {0};
    int rc = VN_OK;
    gen_must(vn_order_new(&schema, 1, max_waiting, &o, &err), &err);
    while (rc == VN_OK && *records != UINT64_MAX) {
        int64_t n = 0;
        while (records[n] != UINT64_MAX)
            n++;
        batch_of(records, n, &b);
        rc = vn_order_put(o, &b, &err);
        records += n + 1;
    }
    if (rc == VN_OK)
        rc = vn_order_finish(o, &err);
    vn_batch_release(&b);
    vn_order_free(o);
    return rc;
}

#define END UINT64_MAX
static void damage(void) {
    CHECK_INT(put_all((uint64_t[]){END, END}, 10), VN_OK);
    CHECK_INT(put_all((uint64_t[]){2, 0, END, 1, END, END}, 10), VN_OK);
    CHECK_INT(put_all((uint64_t[]){2, 0, END, END}, 10), VN_EDATA);
    CHECK_STR(err.msg, "record 1 is missing, 1 rows wait for it");
    CHECK_INT(put_all((uint64_t[]){0, 1, 1, END, END}, 10), VN_EDATA);
    CHECK_STR(err.msg, "record 1 comes twice");
    CHECK_INT(put_all((uint64_t[]){0, 2, END, 2, END, END}, 10), VN_EDATA);
    CHECK_INT(put_all((uint64_t[]){UINT64_MAX - 1, END, END}, 10), VN_EDATA);
    CHECK_INT(put_all((uint64_t[]){1, 2, 3, 4, END, END}, 3), VN_EDATA);
    CHECK_STR(err.msg, "record 0 is missing and more than 3 rows wait for it: it is lost, or "
                         "vn-pack's --window was more than half of that");
    CHECK_INT(put_all((uint64_t[]){0, 1, 2, 3, 4, 5, 6, END, END}, 1), VN_OK);
}

static void given_out_twice(void) {
    struct vn_order *o;
    struct vn_batch b = {0};
    uint64_t next = 0;
    gen_must(vn_order_new(&schema, 1, 10, &o, &err), &err);
    batch_of((uint64_t[]){0, 1}, 2, &b);
    CHECK_INT(vn_order_put(o, &b, &err), VN_OK);
    drain(o, 10, &next);
    batch_of((uint64_t[]){1}, 1, &b);
    CHECK_INT(vn_order_put(o, &b, &err), VN_EDATA);
    vn_batch_release(&b);
    vn_order_free(o);
}

static void wrong_column(void) {
    struct vn_order *o;
    CHECK_INT(vn_order_new(&schema, 0, 10, &o, &err), VN_EINCOMPAT);
    CHECK_STR(err.msg, "column 'id' is utf8, expected uint64");
}

int main(void) {
    vn_schema_init(&schema, VN_KIND_RECORDS);
    gen_must(vn_schema_add_flat(&schema, "id", VN_UTF8, &err), &err);
    gen_must(vn_schema_add_flat(&schema, "record", VN_UINT64, &err), &err);
    id_field = &schema.fields[0];
    record_field = &schema.fields[1];
    TEST(windows);
    TEST(damage);
    TEST(given_out_twice);
    TEST(wrong_column);
    vn_schema_release(&schema);
    return check_done();
}
