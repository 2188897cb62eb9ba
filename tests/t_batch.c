/* Builders: rows in, columns out; nulls at every bit; memory that stays. */
#include "batch.h"
#include "bits.h"
#include "check.h"
#include "gen.h"

static struct vn_error err;

static void must(int rc) {
    CHECK_INT(rc, VN_OK);
    if (rc != VN_OK)
        printf("# %s\n", err.msg);
}

static void field_of(struct vn_schema *s, enum vn_type a, enum vn_type b, enum vn_type c,
                     int depth, int32_t size_a, int32_t size_b, bool nullable) {
    const enum vn_type chain[] = {a, b, c};
    const int32_t sizes[] = {size_a, size_b, 0};
    vn_schema_init(s, VN_KIND_RECORDS);
    must(vn_schema_add(s, "c", chain, sizes, depth, nullable, &err));
}

static void texts(void) {
    struct vn_schema s;
    struct vn_builder b, twice;
    struct vn_column c;
    size_t n;
    field_of(&s, VN_UTF8, 0, 0, 1, 0, 0, true);
    vn_builder_init(&b, &s.fields[0]);
    vn_builder_view(&b, &c);
    CHECK_INT(c.level[0].length, 0);
    CHECK_INT(((const int32_t *)c.level[0].offsets)[0], 0);
    CHECK(c.level[0].values != NULL);
    must(vn_builder_add_bytes(&b, "ab", 2, &err));
    must(vn_builder_add_bytes(&b, "", 0, &err));
    vn_builder_view(&b, &c);
    CHECK(c.level[0].validity == NULL); /* no null yet */
    must(vn_builder_add_null(&b, &err));
    must(vn_builder_add_bytes(&b, "cde", 3, &err));
    vn_builder_view(&b, &c);
    CHECK_INT(c.level[0].length, 4);
    CHECK_INT(c.level[0].null_count, 1);
    CHECK(!vn_is_null(&c.level[0], 0) && !vn_is_null(&c.level[0], 1));
    CHECK(vn_is_null(&c.level[0], 2) && !vn_is_null(&c.level[0], 3));
    CHECK(!memcmp(vn_utf8_row(&c, 3, &n), "cde", 3) && n == 3);
    CHECK(vn_utf8_row(&c, 1, &n) && n == 0);

    vn_builder_init(&twice, &s.fields[0]);
    must(vn_builder_append(&twice, &c, 2, 2, &err));
    must(vn_builder_append(&twice, &c, 0, 0, &err));
    must(vn_builder_append(&twice, &c, 0, 4, &err));
    vn_builder_view(&twice, &c);
    CHECK_INT(c.level[0].length, 6);
    CHECK_INT(c.level[0].null_count, 2);
    CHECK(vn_is_null(&c.level[0], 0) && vn_is_null(&c.level[0], 4));
    CHECK(!memcmp(vn_utf8_row(&c, 1, &n), "cde", 3) && n == 3);
    CHECK(!memcmp(vn_utf8_row(&c, 2, &n), "ab", 2) && n == 2);

    const uint8_t *values = twice.level[0].values.data;
    vn_builder_clear(&twice); /* keeps the memory */
    must(vn_builder_add_bytes(&twice, "zz", 2, &err));
    vn_builder_view(&twice, &c);
    CHECK(c.level[0].values == values);
    CHECK_INT(c.level[0].length, 1);
    CHECK(c.level[0].validity == NULL);
    vn_builder_release(&b);
    vn_builder_release(&twice);
    vn_schema_release(&s);
}

static void deep_lists(void) {
    struct vn_schema s;
    struct vn_builder b, copy;
    struct vn_column c, d;
    const uint16_t v[] = {1, 2, 3, 4, 5, 6};
    field_of(&s, VN_LIST, VN_FIXED_LIST, VN_FLOAT16, 3, 0, 2, true);
    vn_builder_init(&b, &s.fields[0]);
    vn_builder_init(&copy, &s.fields[0]);
    must(vn_builder_add_list(&b, v, 1, &err));
    must(vn_builder_add_list(&b, NULL, 0, &err));
    must(vn_builder_add_null(&b, &err));
    must(vn_builder_add_list(&b, v, 3, &err));
    vn_builder_view(&b, &c);
    CHECK_INT(c.level[0].length, 4);
    CHECK_INT(c.level[1].length, 4);
    CHECK_INT(c.level[2].length, 8);
    CHECK(c.level[0].values == NULL && c.level[1].offsets == NULL);
    must(vn_builder_append(&copy, &c, 3, 1, &err));
    must(vn_builder_append(&copy, &c, 0, 3, &err));
    vn_builder_view(&copy, &d);
    const int32_t *o = d.level[0].offsets;
    CHECK(o[0] == 0 && o[1] == 3 && o[2] == 4 && o[3] == 4 && o[4] == 4);
    const uint16_t want[] = {1, 2, 3, 4, 5, 6, 1, 2};
    CHECK(!memcmp(d.level[2].values, want, sizeof want));
    CHECK(vn_is_null(&d.level[0], 3));
    vn_builder_release(&b);
    vn_builder_release(&copy);
    vn_schema_release(&s);
}

static void fixed_lists(void) {
    struct vn_schema s;
    struct vn_builder b;
    struct vn_column c;
    const float v[] = {1, 2, 3};
    field_of(&s, VN_FIXED_LIST, VN_FLOAT32, 0, 2, 3, 0, true);
    vn_builder_init(&b, &s.fields[0]);
    must(vn_builder_add_null(&b, &err));
    must(vn_builder_add_list(&b, v, 3, &err));
    vn_builder_view(&b, &c);
    const float *p = c.level[1].values;
    CHECK(p[0] == 0 && p[2] == 0 && p[3] == 1 && p[5] == 3); /* zeros below a null */
    CHECK_INT(c.level[0].null_count, 1);
    CHECK_INT(c.level[1].length, 6);
    CHECK_INT(vn_builder_add_list(&b, v, 2, &err), VN_EINTERNAL);
    CHECK_STR(err.msg, "column 'c' takes lists of 3 values, not 2");
    vn_builder_release(&b);
    vn_schema_release(&s);
}

static void bits(void) { /* bools and nulls, appended from and to every bit offset */
    struct vn_schema s;
    struct vn_builder b, copy;
    struct vn_column c, d;
    field_of(&s, VN_BOOL, 0, 0, 1, 0, 0, true);
    vn_builder_init(&b, &s.fields[0]);
    vn_builder_init(&copy, &s.fields[0]);
    for (int i = 0; i < 150; i++) {
        uint8_t yes = i * i % 7 < 3;
        must(i % 11 == 5 ? vn_builder_add_null(&b, &err)
                         : vn_builder_add_value(&b, &yes, &err));
    }
    vn_builder_view(&b, &c);
    for (int from = 0; from < 20; from++)
        for (int n = 0; n < 80; n += n < 20 ? 1 : 7) {
            vn_builder_clear(&copy);
            must(vn_builder_append(&copy, &c, from, n, &err));
            must(vn_builder_append(&copy, &c, from + 3, n, &err));
            vn_builder_view(&copy, &d);
            CHECK_INT(d.level[0].length, 2 * n);
            for (int i = 0; i < 2 * n; i++) {
                int at = i < n ? from + i : from + 3 + i - n;
                CHECK_INT(vn_is_null(&d.level[0], i), at % 11 == 5);
                CHECK_INT(vn_bit(d.level[0].values, i), at % 11 != 5 && at * at % 7 < 3);
            }
        }
    vn_builder_release(&b);
    vn_builder_release(&copy);
    vn_schema_release(&s);
}

static void counts(void) { /* of set bits, from every offset */
    uint8_t bitmap[40];
    for (size_t i = 0; i < sizeof bitmap; i++)
        bitmap[i] = (uint8_t)(i * 37 + 11);
    for (int from = 0; from < 70; from++)
        for (int n = 0; n < 200; n += 3) {
            int want = 0;
            for (int i = from; i < from + n; i++)
                want += vn_bit(bitmap, i);
            CHECK_INT(vn_bits_count(bitmap, from, n), want);
        }
}

/* Row i of c alone, as bytes: what two rows that are the same have in common. */
static void row_bytes(const struct vn_field *f, const struct vn_column *c, int64_t i,
                      struct vn_buf *out) {
    struct vn_builder b;
    vn_builder_init(&b, f);
    must(vn_builder_append(&b, c, i, 1, &err));
    out->len = 0;
    for (int l = 0; l < f->depth; l++) {
        must(vn_buf_append(out, &b.level[l].length, sizeof b.level[l].length, &err));
        must(vn_buf_append(out, &b.level[l].null_count, sizeof b.level[l].null_count, &err));
        must(vn_buf_append(out, b.level[l].offsets.data, b.level[l].offsets.len, &err));
        must(vn_buf_append(out, b.level[l].values.data, b.level[l].values.len, &err));
    }
    vn_builder_release(&b);
}

static void same_rows(void) { /* of every type, each with each */
    enum { ROWS = 40 };
    static struct vn_buf row[ROWS];
    struct vn_schema s;
    struct gen g;
    gen_schema(&s, VN_KIND_OTHER);
    gen_open(&g, &s);
    const struct vn_batch *batch = gen_batch(&g, ROWS, 0);
    for (int f = 0; f < s.n_fields; f++) {
        const struct vn_field *field = &s.fields[f];
        struct vn_builder b;
        struct vn_column copy;
        vn_builder_init(&b, field);
        must(vn_builder_append(&b, &batch->columns[f], 7, 3, &err)); /* other offsets */
        must(vn_builder_append(&b, &batch->columns[f], 0, ROWS, &err));
        vn_builder_view(&b, &copy);
        for (int i = 0; i < ROWS; i++)
            row_bytes(field, &batch->columns[f], i, &row[i]);
        for (int i = 0; i < ROWS; i++)
            for (int k = 0; k < ROWS; k++) {
                bool want = row[i].len == row[k].len &&
                            !memcmp(row[i].data, row[k].data, row[i].len);
                CHECK_INT(vn_row_same(field, &batch->columns[f], i, &copy, 3 + k), want);
            }
        vn_builder_release(&b);
    }
    for (int i = 0; i < ROWS; i++)
        vn_buf_release(&row[i]);
    gen_close(&g);
    vn_schema_release(&s);
}

static void no_nulls_here(void) {
    struct vn_schema s;
    struct vn_builder b;
    field_of(&s, VN_INT32, 0, 0, 1, 0, 0, false);
    vn_builder_init(&b, &s.fields[0]);
    CHECK_INT(vn_builder_add_null(&b, &err), VN_EINTERNAL);
    CHECK_STR(err.msg, "column 'c' may not hold nulls");
    vn_builder_release(&b);
    vn_schema_release(&s);
}

static void batches(void) {
    struct vn_batch a;
    float m[6] = {0};
    const uint8_t valid = 1;
    vn_batch_init(&a);
    must(vn_batch_set_columns(&a, 2, &err));
    vn_column_vectors(&a.columns[0], 2, 3, m, &valid, 1);
    CHECK_INT(a.columns[0].level[1].length, 6);
    CHECK(vn_is_null(&a.columns[0].level[0], 1) && !vn_is_null(&a.columns[0].level[0], 0));
    vn_column_vectors(&a.columns[1], 2, 3, m, &valid, 0);
    CHECK(a.columns[1].level[0].validity == NULL);
    struct vn_column *columns = a.columns;
    must(vn_batch_set_columns(&a, 1, &err)); /* fewer: the memory stays, zeroed */
    CHECK(a.columns == columns && a.columns[0].level[0].length == 0);
    vn_batch_release(&a);
    CHECK(a.columns == NULL && a.n_columns == 0);
    vn_batch_release(&a);
}

int main(void) {
    TEST(texts);
    TEST(deep_lists);
    TEST(fixed_lists);
    TEST(bits);
    TEST(counts);
    TEST(same_rows);
    TEST(no_nulls_here);
    TEST(batches);
    return check_done();
}
