/* Tables: the text of every type of column, and what is escaped. */
#include "export.h"

#include <math.h>

#include "check.h"

static struct vn_error err;
static struct vn_schema schema;
static struct vn_builder builder;
static struct vn_buf out;

/* The table of one batch. */
static const char *table_of(const struct vn_schema *s, const struct vn_batch *b) {
    struct vn_sink *sink;
    struct vn_export *x;
    out.len = 0;
    CHECK_INT(vn_sink_memory(&out, &sink, &err), VN_OK);
    CHECK_INT(vn_export_tsv(s, sink, &x, &err), VN_OK);
    CHECK_INT(x->put(x, b, &err), VN_OK);
    CHECK_INT(x->close(x, true, &err), VN_OK);
    CHECK_INT(vn_buf_append(&out, "", 1, &err), VN_OK);
    return (const char *)out.data;
}

/* Text of the rows of one column of the given type, into which add() has put some. */
static const char *text_of(const enum vn_type *types, const int32_t *sizes, int depth,
                           void (*add)(void)) {
    struct vn_batch b;
    vn_builder_release(&builder);
    vn_schema_release(&schema);
    vn_schema_init(&schema, VN_KIND_OTHER);
    CHECK_INT(vn_schema_add(&schema, "x", types, sizes, depth, true, &err), VN_OK);
    vn_builder_init(&builder, &schema.fields[0]);
    add();
    vn_batch_init(&b);
    CHECK_INT(vn_batch_set_columns(&b, 1, &err), VN_OK);
    b.n_rows = builder.level[0].length;
    vn_builder_view(&builder, &b.columns[0]);
    const char *text = table_of(&schema, &b);
    vn_batch_release(&b);
    CHECK(!strncmp(text, "x\n", 2));
    return text + 2;
}

static const void *value, *value2;
static void add_values(void) {
    CHECK_INT(vn_builder_add_value(&builder, value, &err), VN_OK);
    CHECK_INT(vn_builder_add_null(&builder, &err), VN_OK);
    CHECK_INT(vn_builder_add_value(&builder, value2, &err), VN_OK);
}
#define CHECK_NUMBER(number_type, c_type, a, b, wanted) \
    do { \
        const enum vn_type t_ = number_type; \
        const c_type a_ = (a), b_ = (b); \
        value = &a_, value2 = &b_; \
        CHECK_STR(text_of(&t_, NULL, 1, add_values), wanted); \
    } while (0)

static void numbers(void) {
    CHECK_NUMBER(VN_INT8, int8_t, -128, 127, "-128\n.\n127\n");
    CHECK_NUMBER(VN_INT16, int16_t, -32768, 32767, "-32768\n.\n32767\n");
    CHECK_NUMBER(VN_INT32, int32_t, INT32_MIN, 7, "-2147483648\n.\n7\n");
    CHECK_NUMBER(VN_INT64, int64_t, INT64_MIN, 7, "-9223372036854775808\n.\n7\n");
    CHECK_NUMBER(VN_UINT8, uint8_t, 255, 0, "255\n.\n0\n");
    CHECK_NUMBER(VN_UINT16, uint16_t, 65535, 0, "65535\n.\n0\n");
    CHECK_NUMBER(VN_UINT32, uint32_t, UINT32_MAX, 0, "4294967295\n.\n0\n");
    CHECK_NUMBER(VN_UINT64, uint64_t, UINT64_MAX, 0, "18446744073709551615\n.\n0\n");
    CHECK_NUMBER(VN_FLOAT16, uint16_t, 0x3c00, 0x3555, "1\n.\n0.33325195\n");
    CHECK_NUMBER(VN_FLOAT32, float, 0.1f, -1e-8f, "0.1\n.\n-1e-08\n");
    CHECK_NUMBER(VN_FLOAT32, float, 16777216.0f, 0.12100612f, "16777216\n.\n0.12100612\n");
    CHECK_NUMBER(VN_FLOAT64, double, 0.1, 1.0 / 3, "0.1\n.\n0.3333333333333333\n");
    CHECK_NUMBER(VN_FLOAT64, double, NAN, -INFINITY, "nan\n.\n-inf\n");
}

static void add_strings(void) {
    static const char *const s[] = {"plain", "", "a\tb\nc\rd\\e", "\x01\x7f", "\xc3\xa9"};
    for (size_t i = 0; i < sizeof s / sizeof *s; i++)
        CHECK_INT(vn_builder_add_bytes(&builder, s[i], strlen(s[i]), &err), VN_OK);
    CHECK_INT(vn_builder_add_null(&builder, &err), VN_OK);
}
static void strings(void) {
    const enum vn_type utf8 = VN_UTF8, large = VN_LARGE_UTF8, binary = VN_BINARY;
    const char *wanted = "plain\n\na\\tb\\nc\\rd\\\\e\n\\x01\\x7f\n\xc3\xa9\n.\n";
    CHECK_STR(text_of(&utf8, NULL, 1, add_strings), wanted);
    CHECK_STR(text_of(&large, NULL, 1, add_strings), wanted);
    CHECK_STR(text_of(&binary, NULL, 1, add_strings),
              "706c61696e\n\n6109620a630d645c65\n017f\nc3a9\n.\n");
}

static void add_lists(void) {
    const uint16_t v[] = {1, 2, 65535};
    CHECK_INT(vn_builder_add_list(&builder, v, 3, &err), VN_OK);
    CHECK_INT(vn_builder_add_null(&builder, &err), VN_OK);
    CHECK_INT(vn_builder_add_list(&builder, v, 3, &err), VN_OK);
}
static void add_empty_list(void) {
    CHECK_INT(vn_builder_add_list(&builder, "", 0, &err), VN_OK);
    add_lists();
}
static void lists(void) {
    const enum vn_type list[] = {VN_LIST, VN_UINT16}, fixed[] = {VN_FIXED_LIST, VN_UINT16};
    const int32_t three[] = {3, 0};
    CHECK_STR(text_of(list, NULL, 2, add_empty_list), "\n1,2,65535\n.\n1,2,65535\n");
    CHECK_STR(text_of(fixed, three, 2, add_lists), "1,2,65535\n.\n1,2,65535\n");
}

/* Columns as views over plain memory: types that no builder makes. */
static void other_types(void) {
    static const uint8_t bits[] = {0x05}, bytes[] = {0xde, 0xad, 0x00, 0x10};
    static const int32_t offsets[] = {0, 2, 2};
    static const float rows[] = {1, 2.5f, -3, 4};
    const enum vn_type flag = VN_BOOL, fixed = VN_FIXED_BINARY,
                       nested[] = {VN_LIST, VN_FIXED_LIST, VN_FLOAT32};
    const int32_t two[] = {2, 0}, inner[] = {0, 2, 0};
    struct vn_schema s;
    struct vn_batch b;
    vn_schema_init(&s, VN_KIND_OTHER);
    vn_batch_init(&b);
    CHECK_INT(vn_schema_add(&s, "f", &flag, NULL, 1, false, &err), VN_OK);
    CHECK_INT(vn_schema_add(&s, "b\t", &fixed, two, 1, false, &err), VN_OK);
    CHECK_INT(vn_schema_add(&s, "n", nested, inner, 3, false, &err), VN_OK);
    CHECK_INT(vn_batch_set_columns(&b, 3, &err), VN_OK);
    b.n_rows = 2;
    b.columns[0].level[0] = (struct vn_array){.length = 2, .values = bits};
    b.columns[1].level[0] = (struct vn_array){.length = 2, .values = bytes};
    b.columns[2].level[0] = (struct vn_array){.length = 2, .offsets = offsets};
    b.columns[2].level[1] = (struct vn_array){.length = 2};
    b.columns[2].level[2] = (struct vn_array){.length = 4, .values = rows};
    CHECK_STR(table_of(&s, &b), "f\tb\\t\tn\ntrue\tdead\t1,2.5;-3,4\nfalse\t0010\t\n");
    vn_batch_release(&b);
    vn_schema_release(&s);
}

int main(void) {
    TEST(numbers);
    TEST(strings);
    TEST(lists);
    TEST(other_types);
    vn_builder_release(&builder);
    vn_schema_release(&schema);
    vn_buf_release(&out);
    return check_done();
}
