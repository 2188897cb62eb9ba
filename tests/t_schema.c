/* Schemas: columns, metadata, provenance, and what may be concatenated. */
#include "check.h"
#include "schema.h"

static struct vn_error err;

static void must(int rc) {
    CHECK_INT(rc, VN_OK);
    if (rc != VN_OK)
        printf("# %s\n", err.msg);
}

static const enum vn_type matrix[] = {VN_FIXED_LIST, VN_FLOAT32};
static const enum vn_type tokens[] = {VN_LIST, VN_UINT16};
static const enum vn_type deep[] = {VN_LIST, VN_FIXED_LIST, VN_FLOAT16};

static void columns(void) {
    struct vn_schema s;
    char text[64];
    vn_schema_init(&s, VN_KIND_VECTORS);
    must(vn_schema_add_flat(&s, "id", VN_UTF8, &err));
    must(vn_schema_add(&s, "embedding", matrix, (int32_t[]){320, 0}, 2, true, &err));
    must(vn_schema_add(&s, "deep", deep, (int32_t[]){0, 8, 0}, 3, false, &err));
    CHECK_INT(vn_schema_find(&s, "id"), 0);
    CHECK_INT(vn_schema_find(&s, "deep"), 2);
    CHECK_INT(vn_schema_find(&s, "absent"), -1);
    CHECK(s.fields[1].level[0].nullable && !s.fields[1].level[1].nullable);
    CHECK_STR(s.fields[1].level[1].name, "item");
    CHECK_STR(vn_field_type_text(&s.fields[0], text, sizeof text), "utf8");
    CHECK_STR(vn_field_type_text(&s.fields[1], text, sizeof text),
              "fixed_size_list<float32>[320]");
    CHECK_STR(vn_field_type_text(&s.fields[2], text, sizeof text),
              "list<fixed_size_list<float16>[8]>");
    CHECK_STR(vn_field_type_text(&s.fields[2], text, 10), "list<fixe");
    vn_schema_release(&s);
}

static void require(void) {
    struct vn_schema s;
    vn_schema_init(&s, VN_KIND_TOKENS);
    must(vn_schema_add_flat(&s, "id", VN_UTF8, &err));
    must(vn_schema_add(&s, "tokens", tokens, NULL, 2, false, &err));
    CHECK_INT(vn_schema_require(&s, "tokens", tokens, 2, &err), 1);
    CHECK_INT(vn_schema_require(&s, "tokens", matrix, 2, &err), VN_EINCOMPAT);
    CHECK_STR(err.msg,
              "column 'tokens' is list<uint16>, expected fixed_size_list<float32>");
    CHECK_INT(vn_schema_require(&s, "embedding", matrix, 2, &err), VN_EINCOMPAT);
    CHECK_STR(err.msg, "a stream of tokens without the column 'embedding'");
    CHECK_INT(vn_schema_require_kind(&s, VN_KIND_TOKENS, &err), VN_OK);
    CHECK_INT(vn_schema_require_kind(&s, VN_KIND_VECTORS, &err), VN_EINCOMPAT);
    CHECK_STR(err.msg, "a stream of tokens, expected vectors");
    vn_schema_release(&s);
}

static void refused(void) {
    struct vn_schema s;
    char name[16];
    vn_schema_init(&s, VN_KIND_RECORDS);
    must(vn_schema_add_flat(&s, "c", VN_UTF8, &err));
    CHECK_INT(vn_schema_add_flat(&s, "c", VN_INT8, &err), VN_EINCOMPAT);
    CHECK_STR(err.msg, "column 'c' is there twice");
    /* a list of nothing, values with a child, a fixed list without size, no level at all */
    CHECK_INT(vn_schema_add_flat(&s, "x", VN_LIST, &err), VN_EINTERNAL);
    CHECK_INT(vn_schema_add(&s, "x", (enum vn_type[]){VN_INT8, VN_INT8}, NULL, 2, false, &err),
              VN_EINTERNAL);
    CHECK_INT(vn_schema_add(&s, "x", matrix, NULL, 2, false, &err), VN_EINTERNAL);
    CHECK_INT(vn_schema_add(&s, "x", matrix, (int32_t[]){-1, 0}, 2, false, &err), VN_EINTERNAL);
    CHECK_INT(vn_schema_add(&s, "x", matrix, (int32_t[]){3, 3}, 2, false, &err), VN_EINTERNAL);
    CHECK_INT(vn_schema_add(&s, "x", tokens, NULL, 0, false, &err), VN_EINTERNAL);
    const enum vn_type five[] = {VN_LIST, VN_LIST, VN_LIST, VN_LIST, VN_INT8};
    must(vn_schema_add(&s, "four", five + 1, NULL, 4, false, &err));
    CHECK_INT(vn_schema_add(&s, "five", five, NULL, 5, false, &err), VN_EINTERNAL);
    for (int i = s.n_fields; i < VN_MAX_COLUMNS; i++) {
        snprintf(name, sizeof name, "c%d", i);
        must(vn_schema_add_flat(&s, name, VN_INT8, &err));
    }
    CHECK_INT(vn_schema_add_flat(&s, "one more", VN_INT8, &err), VN_EINCOMPAT);
    CHECK_INT(s.n_fields, VN_MAX_COLUMNS);
    vn_schema_release(&s);
}

static void names(void) {
    for (int k = VN_KIND_RECORDS; k <= VN_KIND_SCORES; k++)
        CHECK_INT(vn_kind_of(vn_kind_name(k)), k);
    CHECK_INT(vn_kind_of("other"), VN_KIND_OTHER);
    CHECK_INT(vn_kind_of("nonsense"), VN_KIND_OTHER);
    CHECK_STR(vn_type_name(VN_LARGE_UTF8), "large_utf8");
    CHECK_INT(vn_type_width(VN_FLOAT16), 2);
    CHECK_INT(vn_type_width(VN_UTF8), 0);
    CHECK_INT(vn_type_offset_width(VN_LARGE_LIST), 8);
    CHECK_INT(vn_type_offset_width(VN_FIXED_LIST), 0);
    CHECK(vn_type_is_list(VN_FIXED_LIST) && !vn_type_is_list(VN_FIXED_BINARY));
}

static void metadata(void) {
    struct vn_schema s, copy;
    vn_schema_init(&s, VN_KIND_RECORDS);
    CHECK(vn_schema_meta(&s, "a") == NULL);
    must(vn_schema_set_meta(&s, "a", "1", &err));
    must(vn_schema_set_meta(&s, "b", "2", &err));
    must(vn_schema_set_meta(&s, "a", "3", &err));
    CHECK_INT(s.n_meta, 2);
    CHECK_STR(vn_schema_meta(&s, "a"), "3");
    must(vn_schema_add_flat(&s, "id", VN_UTF8, &err));
    must(vn_schema_copy(&copy, &s, &err));
    vn_schema_release(&s);
    CHECK_STR(vn_schema_meta(&copy, "b"), "2");
    CHECK_INT(vn_schema_find(&copy, "id"), 0);
    CHECK_INT(copy.kind, VN_KIND_RECORDS);
    for (int i = 0; i < 40; i++) {
        char key[8];
        snprintf(key, sizeof key, "k%d", i);
        must(vn_schema_set_meta(&copy, key, key, &err));
    }
    CHECK_STR(vn_schema_meta(&copy, "k39"), "k39");
    vn_schema_release(&copy);
}

static void provenance(void) {
    struct vn_schema s;
    char v[64];
    vn_schema_init(&s, VN_KIND_VECTORS);
    CHECK(!vn_schema_provenance(&s, "model", v, sizeof v));
    must(vn_schema_add_program(&s, "\"program\":\"a\",\"model\":\"x\",\"layer\":6", &err));
    must(vn_schema_add_program(&s, "\"program\":\"b\",\"pool\":\"mean\"", &err));
    must(vn_schema_add_program(&s, "not json", &err));
    must(vn_schema_add_program(&s, "\"program\":\"c\",\"layer\":33,\"args\":[1,\"q\"]", &err));
    CHECK_STR(vn_schema_meta(&s, "vn.pg.1"), "{\"program\":\"b\",\"pool\":\"mean\"}");
    CHECK(vn_schema_provenance(&s, "model", v, sizeof v));
    CHECK_STR(v, "x");
    CHECK(vn_schema_provenance(&s, "layer", v, sizeof v)); /* the last one counts */
    CHECK_STR(v, "33");
    CHECK(vn_schema_provenance(&s, "pool", v, sizeof v));
    CHECK_STR(v, "mean");
    CHECK(vn_schema_provenance(&s, "args", v, sizeof v));
    CHECK_STR(v, "[1,\"q\"]");
    CHECK(!vn_schema_provenance(&s, "absent", v, sizeof v));
    vn_schema_release(&s);
}

static void provenance_with_gaps(void) {
    static const char *const strange[] = {"vn.pg.", "vn.pg.x", "vn.pg.07", "vn.pg.1x",
                                          "vn.pg.-1", "vn.pg.99999999999", "vn.pg.1000"};
    struct vn_schema s;
    char v[64];
    vn_schema_init(&s, VN_KIND_VECTORS);
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++)
        must(vn_schema_set_meta(&s, strange[i], "{\"p\":0}", &err));
    must(vn_schema_set_meta(&s, "vn.pg.3", "{\"p\":3}", &err));
    must(vn_schema_set_meta(&s, "vn.pg.1", "{\"p\":1,\"q\":1}", &err));
    must(vn_schema_add_program(&s, "\"r\":4", &err));
    CHECK_STR(vn_schema_meta(&s, "vn.pg.4"), "{\"r\":4}");
    CHECK(vn_schema_provenance(&s, "p", v, sizeof v));
    CHECK_STR(v, "3");
    CHECK(vn_schema_provenance(&s, "q", v, sizeof v));
    must(vn_schema_set_meta(&s, "vn.pg.999", "{}", &err));
    CHECK_INT(vn_schema_add_program(&s, "\"r\":5", &err), VN_EINCOMPAT);
    vn_schema_release(&s);
}

/* May b, with these members of its only program, follow a? */
static int follows(const char *a, const char *b) {
    struct vn_schema s, t;
    vn_schema_init(&s, VN_KIND_VECTORS);
    vn_schema_init(&t, VN_KIND_VECTORS);
    must(vn_schema_add_program(&s, a, &err));
    must(vn_schema_add_program(&t, b, &err));
    int rc = vn_schema_same(&s, &t, &err);
    vn_schema_release(&s);
    vn_schema_release(&t);
    return rc;
}

static void same(void) {
    struct vn_schema a, b;
    CHECK_INT(follows("\"p\":\"x\",\"q\":1", "\"q\":1,\"p\":\"x\""), VN_OK);
    CHECK_INT(follows("\"p\":1,\"version\":\"1\",\"device\":\"cpu\",\"arguments\":[\"a\"]",
                      "\"p\":1,\"version\":\"2\",\"device\":\"cuda:0\""), VN_OK);
    CHECK_INT(follows("\"p\":1", "\"p\":2"), VN_EINCOMPAT);
    CHECK_STR(err.msg, "provenance vn.pg.0 differs: '{\"p\":1}' and '{\"p\":2}'");
    CHECK_INT(follows("\"p\":1", "\"p\":1,\"more\":0"), VN_EINCOMPAT);
    CHECK_INT(follows("broken", "broken"), VN_OK);
    CHECK_INT(follows("broken", "broken too"), VN_EINCOMPAT);

    vn_schema_init(&a, VN_KIND_VECTORS);
    vn_schema_init(&b, VN_KIND_TOKENS);
    CHECK_INT(vn_schema_same(&a, &b, &err), VN_EINCOMPAT);
    CHECK_STR(err.msg, "the kinds differ: vectors and tokens");
    b.kind = VN_KIND_VECTORS;
    must(vn_schema_set_meta(&b, "note", "other metadata does not matter", &err));
    CHECK_INT(vn_schema_same(&a, &b, &err), VN_OK);
    must(vn_schema_add(&a, "e", matrix, (int32_t[]){8, 0}, 2, true, &err));
    CHECK_INT(vn_schema_same(&a, &b, &err), VN_EINCOMPAT);
    CHECK_STR(err.msg, "the numbers of columns differ: 1 and 0");
    must(vn_schema_add(&b, "e", matrix, (int32_t[]){9, 0}, 2, true, &err));
    CHECK_INT(vn_schema_same(&a, &b, &err), VN_EINCOMPAT);
    CHECK_STR(err.msg, "column 0 differs: 'e' fixed_size_list<float32>[8]? and 'e' "
                       "fixed_size_list<float32>[9]?");
    b.fields[0].level[0].size = 8;
    CHECK_INT(vn_schema_same(&a, &b, &err), VN_OK);
    b.fields[0].level[0].nullable = false;
    CHECK_INT(vn_schema_same(&a, &b, &err), VN_EINCOMPAT);
    b.fields[0].level[0].nullable = true;
    must(vn_schema_add_program(&a, "\"p\":1", &err));
    CHECK_INT(vn_schema_same(&a, &b, &err), VN_EINCOMPAT);
    CHECK_STR(err.msg, "the numbers of programs differ: 1 and 0");
    vn_schema_release(&a);
    vn_schema_release(&b);
}

int main(void) {
    TEST(columns);
    TEST(require);
    TEST(refused);
    TEST(names);
    TEST(metadata);
    TEST(provenance);
    TEST(provenance_with_gaps);
    TEST(same);
    return check_done();
}
