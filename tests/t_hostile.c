/* Messages made to do harm (forge.h): lengths, metadata, totals; and every byte of all
 * metadata of a stream set to something else. */
#include "flatbuf.h"
#include "forge.h"
#include "sign.h"

/* ---- totals ---------------------------------------------------------------------- */

/* A batch without rows, in the first place of its stream. */
static void no_rows(struct forge *f, const char *totals) {
    static const int32_t zero;
    memset(f, 0, sizeof *f);
    f->totals = totals;
    for (int i = 0; i < 4; i++) { /* id, record, tokens, item */
        node(f, 0, 0);
        put_packed(f, NULL, 0);
        if (i % 2 == 0)
            put_packed(f, &zero, 4);
        if (i != 2)
            put_packed(f, NULL, 0);
    }
}

static void totals(void) {
    static const char *const wrong[] = {"0 0 1", "0 1 0",  "1 0 0", "",
                                        "0 0",   "0 0 0 ", "00 0 0"};
    struct forge f;
    struct vn_buf out = {0};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        no_rows(&f, wrong[i]);
        refuse_forged(&f, "totals", "vn.totals is");
    }
    no_rows(&f, NULL);
    refuse_forged(&f, "no totals", "vn.totals is 'missing'");
    good_start(&f), good_end(&f), f.totals = "1 2 3";
    refuse_forged(&f, "totals on rows", "a batch with rows carries totals");
    no_rows(&f, "0 0 0"); /* the true ones: a whole stream with the end marker */
    finish(&f, &out);
    gen_must(vn_buf_append(&out, "\xff\xff\xff\xff\0\0\0\0", 8, &err), &err);
    CHECK_INT(read_all(&out, false), VN_OK);
    vn_buf_release(&out);
}

/* ---- framing --------------------------------------------------------------------- */

static void lengths(void) {
    static const uint32_t bad[] = {(uint32_t)-8, 1, INT32_MAX, UINT32_MAX, VN_MAX_METADATA + 8,
                                   INT32_MAX - 7, 7, 0x80000000u};
    struct vn_buf b = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        b.len = 0;
        gen_memory(&b, VN_KIND_TOKENS, 2, 5);
        vn_store32(b.data + 4, bad[i]);
        refuse(&b, false, "first length", "metadata of");
        refuse(&b, true, "first length", "metadata of");
    }
    vn_store32(b.data + 4, 0);
    refuse(&b, false, "no schema", "the stream ends before its schema");
    vn_store32(b.data + 4, VN_MAX_METADATA);
    refuse(&b, false, "length beyond the input", "the stream is truncated");
    vn_buf_release(&b);
}

static void bodies(void) {
    static const struct {
        int64_t said;
        const char *message;
    } cases[] = {{-8, "a body of -8 bytes"},
                 {-1, "a body of -1 bytes"},
                 {(int64_t)1 << 62, "more than the 1073741824 allowed"},
                 {INT64_MAX, "a body of 9223372036854775807 bytes"},
                 {INT64_MAX - 7, "more than the 1073741824 allowed"},
                 {16 * GIB, "more than the 1073741824 allowed"},
                 {GIB, "the stream is truncated"},
                 {4, "a body of 4 bytes"},
                 {64, "vn.body.crc32c is"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct forge f;
        good_start(&f), good_end(&f), f.body_length = cases[i].said;
        refuse_forged(&f, "body length", cases[i].message);
    }
}

/* ---- metadata -------------------------------------------------------------------- */

/* A message of one's own: fills in the prefix. Read with lax, as it has no checksum. */
static void end_plain(struct vn_fb_out *o, struct vn_buf *b) {
    CHECK_INT(o->rc, VN_OK);
    gen_must(vn_buf_zeros(b, vn_round_up(b->len, 8) - b->len, &err), &err);
    vn_store32(b->data, VN_ARROW_CONTINUATION);
    vn_store32(b->data + 4, (uint32_t)b->len - 8);
}

/* A schema message up to the table of the schema, whose fields are to come. */
static size_t begin_schema(struct vn_fb_out *o, struct vn_buf *b) {
    b->len = 0;
    gen_must(vn_buf_zeros(b, 8, &err), &err);
    vn_fb_begin(o, b, &err);
    size_t m = vn_fb_table(o, (const uint8_t[]){2, 1, 4, 8, 4}, 4);
    vn_fb_refer_at(o, 0, m);
    vn_fb_set(o, m, 0, 4, 2);
    vn_fb_set(o, m, 1, 1, 1);
    size_t s = vn_fb_table(o, (const uint8_t[]){2, 4, 4}, 3);
    vn_fb_refer(o, m, 2, s);
    vn_fb_refer(o, s, 2, vn_fb_vector(o, 0, 4, 4));
    return s;
}

/* A field with its type and its vector of children, of which the place is returned. */
static size_t add_field(struct vn_fb_out *o, size_t at, const char *name, int tag, int size,
                        size_t n_children) {
    size_t f = vn_fb_table(o, (const uint8_t[]){4, 1, 1, 4, 0, 4}, 6);
    vn_fb_refer_at(o, at, f);
    vn_fb_refer(o, f, 0, vn_fb_string(o, name));
    vn_fb_set(o, f, 2, tag, 1);
    size_t t = vn_fb_table(o, (const uint8_t[]){4}, 1);
    vn_fb_set(o, t, 0, size, 4);
    vn_fb_refer(o, f, 3, t);
    size_t children = vn_fb_vector(o, n_children, 4, 4);
    vn_fb_refer(o, f, 5, children);
    return children + 4;
}

static void field_trees(void) {
    struct vn_buf b = {0};
    struct vn_fb_out o;
    static const int sizes[] = {0, -1, INT32_MIN};
    for (size_t i = 0; i < 3; i++) { /* fixed lists of impossible size */
        size_t s = begin_schema(&o, &b), v = vn_fb_vector(&o, 1, 4, 4);
        vn_fb_refer(&o, s, 1, v);
        size_t child = add_field(&o, v + 4, "c", 16, sizes[i], 1);
        add_field(&o, child, "item", 5, 0, 0);
        end_plain(&o, &b);
        refuse(&b, true, "list size", "rows of fixed size");
    }
    /* lists in lists, 10 000 deep */
    size_t s = begin_schema(&o, &b), v = vn_fb_vector(&o, 1, 4, 4), at = v + 4;
    vn_fb_refer(&o, s, 1, v);
    for (int i = 0; i < 10000; i++)
        at = add_field(&o, at, "l", 12, 0, 1);
    add_field(&o, at, "item", 5, 0, 0);
    end_plain(&o, &b);
    refuse(&b, true, "deep", "more than 4 levels");
    /* 2^17 references to one field */
    size_t many = (size_t)1 << 17;
    s = begin_schema(&o, &b), v = vn_fb_vector(&o, many, 4, 4);
    vn_fb_refer(&o, s, 1, v);
    add_field(&o, v + 4, "c", 5, 0, 0);
    for (size_t i = 1; i < many; i++)
        vn_fb_refer_at(&o, v + 4 + 4 * i, v + 4 + vn_load32(vn_fb_at(&o, v + 4)));
    end_plain(&o, &b);
    refuse(&b, true, "fields", "131072 columns, more than the 256 supported");
    /* a name of nearly 1 MiB */
    char *name = calloc(1, 1000001);
    memset(name, 'n', 1000000);
    s = begin_schema(&o, &b), v = vn_fb_vector(&o, 1, 4, 4);
    vn_fb_refer(&o, s, 1, v);
    add_field(&o, v + 4, name, 14, 0, 0);
    end_plain(&o, &b);
    refuse(&b, true, "long name", "cannot read 'test': column 'nnn");
    free(name);
    vn_buf_release(&b);
}

static void custom_metadata(void) { /* 2^16 references to one long pair */
    struct vn_buf b = {0};
    struct vn_fb_out o;
    size_t many = (size_t)1 << 16, s = begin_schema(&o, &b);
    size_t v = vn_fb_vector(&o, many, 4, 4);
    char *text = calloc(1, 600001);
    memset(text, 'k', 600000);
    vn_fb_refer(&o, s, 1, vn_fb_vector(&o, 0, 4, 4));
    vn_fb_refer(&o, s, 2, v);
    size_t pair = vn_fb_table(&o, (const uint8_t[]){4, 4}, 2);
    vn_fb_refer(&o, pair, 0, vn_fb_string(&o, text));
    vn_fb_refer(&o, pair, 1, vn_fb_string(&o, "v"));
    for (size_t i = 0; i < many; i++)
        vn_fb_refer_at(&o, v + 4 + 4 * i, pair);
    end_plain(&o, &b);
    refuse(&b, true, "pairs", "more than 1024 entries of custom metadata");
    free(text);
    vn_buf_release(&b);
}

/* ---- everything at once ---------------------------------------------------------- */

/* All single bytes of all metadata set to telling values, with true checksums: whatever the
 * reader says, it does not fall over; the sanitizers watch. */
static void signed_damage(void) {
    static const uint8_t values[] = {0x00, 0x01, 0x04, 0x7f, 0x80, 0xff};
    struct vn_buf good = {0}, b = {0};
    int refused = 0, read = 0;
    gen_state = 77;
    gen_memory(&good, VN_KIND_EMBEDDINGS, 1, 3);
    for (size_t pos = 0;;) {
        uint32_t n = vn_load32(good.data + pos + 4);
        struct vn_arrow_message m;
        if (!n)
            break;
        gen_must(vn_arrow_parse(good.data + pos + 8, n, &m, &err), &err);
        for (size_t i = 0; i < n; i++)
            for (size_t k = 0; k < sizeof values + 8; k++) {
                b.len = 0;
                gen_must(vn_buf_append(&b, good.data, good.len, &err), &err);
                uint8_t *p = b.data + pos + 8 + i;
                *p = k < 8 ? (uint8_t)(*p ^ 1 << k) : values[k - 8];
                sign_metadata(b.data + pos + 8, n);
                int rc = read_all(&b, false);
                CHECK(rc == VN_OK || rc == VN_EDATA || rc == VN_EINCOMPAT);
                refused += rc != VN_OK;
                read += rc == VN_OK;
                rc = read_all(&b, true);
                CHECK(rc == VN_OK || rc == VN_EDATA || rc == VN_EINCOMPAT);
            }
        pos += 8 + n + (size_t)m.body;
    }
    printf("# %d refused, %d read as another sound stream\n", refused, read);
    CHECK(refused > read);
    vn_buf_release(&good);
    vn_buf_release(&b);
}

int main(void) {
    forge_open();
    TEST(totals);
    TEST(lengths);
    TEST(bodies);
    TEST(field_trees);
    TEST(custom_metadata);
    TEST(signed_damage);
    forge_close();
    return check_done();
}
