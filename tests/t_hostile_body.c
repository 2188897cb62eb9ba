/* Record batches made to do harm (forge.h): counts, buffers, offsets, texts, zstd frames,
 * bitmaps, and sizes whose product wraps. */
#include <zstd.h>

#include "forge.h"

static void forging_works(void) { /* what is not damaged gets past the batch */
    struct forge f;
    good_start(&f);
    good_end(&f);
    refuse_forged(&f, "sound batch", "batch 1 at byte");
}

/* ---- bodies ---------------------------------------------------------------------- */

static void counts(void) {
    struct forge f;
    good_start(&f), good_end(&f), f.n_nodes--;
    refuse_forged(&f, "node missing", "3 nodes are too few");
    good_start(&f), good_end(&f), node(&f, 0, 0);
    refuse_forged(&f, "node too many", "5 nodes and 9 buffers, expected 4 and 9");
    good_start(&f), good_end(&f), f.n_buffers--;
    refuse_forged(&f, "buffer missing", "8 buffers are too few");
    good_start(&f), good_end(&f), put_packed(&f, "x", 1);
    refuse_forged(&f, "buffer too many", "4 nodes and 10 buffers, expected 4 and 9");
    good_start(&f), good_end(&f), f.rows = 3;
    refuse_forged(&f, "rows", "column 'id': 2 rows, expected 3");
    good_start(&f), good_end(&f), f.rows = -1;
    refuse_forged(&f, "negative rows", "a batch of -1 rows");
    good_start(&f), good_end(&f), f.rows = INT64_MAX;
    refuse_forged(&f, "rows", "a batch of 9223372036854775807 rows");
    good_start(&f), good_end(&f), f.nodes[3].length = 4;
    refuse_forged(&f, "child rows", "column 'tokens': 4 rows, expected 3");
    good_start(&f), good_end(&f), f.nodes[0].null_count = 3;
    refuse_forged(&f, "nulls", "3 nulls in 2 rows");
    good_start(&f), good_end(&f), f.nodes[0].null_count = -1;
    refuse_forged(&f, "negative nulls", "-1 nulls in 2 rows");
    good_start(&f), good_end(&f), f.nodes[0].null_count = 1;
    refuse_forged(&f, "nulls in a column without", "1 nulls where none may be");
}

static void buffers(void) {
    struct forge f;
    good_start(&f), good_end(&f), f.buffers[1].offset = INT64_MAX - 63;
    refuse_forged(&f, "offset", "leaves the body");
    good_start(&f), good_end(&f), f.buffers[1].offset = -64;
    refuse_forged(&f, "negative offset", "leaves the body");
    good_start(&f), good_end(&f), f.buffers[1].length = INT64_MAX;
    refuse_forged(&f, "length", "leaves the body");
    good_start(&f), good_end(&f), f.buffers[1].length = -1;
    refuse_forged(&f, "negative length", "leaves the body");
    good_start(&f), good_end(&f), f.buffers[2] = f.buffers[1];
    refuse_forged(&f, "overlap", "buffer 2 overlaps the one before");
    good_start(&f), good_end(&f), f.buffers[1].offset += 8;
    refuse_forged(&f, "unaligned", "buffer 1 at 8 is not aligned");
    good_start(&f), good_end(&f), f.body.data[f.buffers[1].length + 3] = 1;
    refuse_forged(&f, "padding", "the padding before buffer 2 is not zero");
    good_start(&f), good_end(&f);
    gen_must(vn_buf_append(&f.body, "\1", 1, &err), &err);
    refuse_forged(&f, "padding at the end", "the padding after the last buffer is not zero");
    good_start(&f), good_end(&f);
    gen_must(vn_buf_zeros(&f.body, 128, &err), &err);
    refuse_forged(&f, "padding too long", "the padding after the last buffer is not zero");
}

/* The column "tokens" with offsets of one's own. */
static void with_offsets(const int32_t *o, size_t n, const char *name, const char *message) {
    struct forge f;
    good_start(&f);
    node(&f, 2, 0);
    put_packed(&f, NULL, 0);
    put_packed(&f, o, 4 * n);
    node(&f, 3, 0);
    put_packed(&f, NULL, 0);
    put_packed(&f, (const uint16_t[]){1, 2, 3}, 6);
    refuse_forged(&f, name, message);
}

static void offsets(void) {
    with_offsets((const int32_t[]){0, 3, 2}, 3, "falling", "the offsets decrease");
    with_offsets((const int32_t[]){-1, 2, 3}, 3, "negative", "do not begin at 0");
    with_offsets((const int32_t[]){1, 2, 3}, 3, "not from 0", "do not begin at 0");
    with_offsets((const int32_t[]){0, 2, 4}, 3, "beyond", "3 rows, expected 4");
    with_offsets((const int32_t[]){0, 2, INT32_MAX}, 3, "far", "the offsets end at 2147483647");
    with_offsets((const int32_t[]){0, INT32_MIN, 3}, 3, "wrapped", "the offsets decrease");
    with_offsets((const int32_t[]){0, 3}, 2, "too few", "holds 8 bytes, expected 12");
    with_offsets((const int32_t[]){0, 0, 0, 0}, 4, "too many", "holds 16 bytes, expected 12");
    with_offsets(NULL, 0, "none", "the offsets are missing");
}

static void texts(void) {
    static const struct {
        int32_t o[3];
        const char *bytes, *message;
    } cases[] = {{{0, 2, 3}, "a\xff" "c", "a text is not UTF-8"},
                 {{0, 1, 3}, "\xc3\xa9z", "the text of row 1 is not UTF-8"},
                 {{0, 2, 4}, "abc", "holds 3 bytes, expected 4"}};
    for (size_t i = 0; i < 3; i++) {
        struct forge f = {.rows = 2};
        node(&f, 2, 0);
        put_packed(&f, NULL, 0);
        put_packed(&f, cases[i].o, 12);
        put_packed(&f, cases[i].bytes, 3);
        refuse_forged(&f, "text", cases[i].message);
    }
}

/* The numbers of the rows, in a frame of one's own. */
static void with_frame(const void *p, size_t n, const char *name, const char *message) {
    struct forge f;
    good_start(&f);
    f.n_buffers--;
    f.body.len = (size_t)f.buffers[f.n_buffers].offset;
    put_bytes(&f, p, n);
    good_end(&f);
    refuse_forged(&f, name, message);
}

/* A frame with some of its promises left out, after its length. */
static size_t frame_without(uint8_t *out, const void *p, size_t n, int size, int checksum) {
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, size);
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, checksum);
    vn_store64(out, n);
    size_t got = ZSTD_compress2(c, out + 8, 1000, p, n);
    ZSTD_freeCCtx(c);
    return got + 8;
}

static void frames(void) {
    static const uint64_t numbers[] = {0, 1};
    uint8_t b[1100] = {0};
    size_t n = frame_without(b, numbers, 16, 0, 1);
    with_frame(b, n, "no size", "does not hold the 16 bytes it should");
    n = frame_without(b, numbers, 16, 1, 0);
    with_frame(b, n, "no checksum", "a zstd frame has no checksum");
    n = frame_without(b, numbers, 16, 1, 1);
    b[n - 1] ^= 1;
    with_frame(b, n, "wrong checksum", "a zstd frame is damaged");
    b[n - 1] ^= 1;
    with_frame(b, n + 1, "a byte more", "1 bytes follow a zstd frame");
    with_frame(b, n - 1, "a byte less", "a zstd frame is damaged");
    with_frame(b, 7, "no length", "a compressed buffer of 7 bytes has no length");
    with_frame(b, 8, "no frame", "says it unpacks to 16");
    with_frame(b, 12, "magic only", "a buffer is not a zstd frame");
    memcpy(b + n, b + 8, n - 8);
    with_frame(b, n + n - 8, "two frames", "bytes follow a zstd frame");
    vn_store64(b, 17);
    with_frame(b, n, "another length", "does not hold the 17 bytes it should");
    vn_store64(b, (uint64_t)1 << 40);
    with_frame(b, 10, "2^40 in 10 bytes", "says it unpacks to 1099511627776");
    with_frame(b, n, "2^40 bytes", "says it unpacks to 1099511627776");
    vn_store64(b, UINT64_MAX);
    with_frame(b, n, "stored raw", "says it unpacks to -1");
    vn_store64(b, UINT64_MAX - 1);
    with_frame(b, n, "negative", "says it unpacks to -2");
    memcpy(b, "\x10\0\0\0\0\0\0\0\x50\x2a\x4d\x18\x04\0\0\0abcd", 20);
    with_frame(b, 20, "skippable", "a buffer is not a zstd frame");
    /* a window of 2^41 bytes: magic, descriptor (4 bytes of size, checksum), window */
    memcpy(b, "\x10\0\0\0\0\0\0\0\x28\xb5\x2f\xfd\x84\xf8\x10\0\0\0\x81\0\0", 21);
    with_frame(b, 1000, "window", "a zstd frame is damaged");
}

/* Blocks that repeat one byte, 128 KiB each: 1 GiB in 32 KiB. */
static void bomb(void) {
    static uint8_t b[40000];
    size_t n = 8 + 4 + 2 + 8, blocks = 8192;
    vn_store64(b, (uint64_t)GIB);
    memcpy(b + 8, "\x28\xb5\x2f\xfd\xc4\x38", 6);
    vn_store64(b + 14, (uint64_t)GIB);
    for (size_t i = 0; i < blocks; i++, n += 4)
        vn_store32(b + n, (1u << 17 << 3) | 2 | (i == blocks - 1));
    n += 4;
    with_frame(b, n, "bomb", "holds 1073741824 bytes, expected 16");
    with_frame(b, 1000, "cut bomb", "says it unpacks to 1073741824");
}

/* ---- nulls ----------------------------------------------------------------------- */

/* A column of three int32 that may be null, with this bitmap (none of n bytes). */
static void with_bitmap(int64_t nulls, const void *bits, size_t n, const char *message) {
    struct forge f = {.rows = 3};
    struct vn_schema kept = schema;
    vn_schema_init(&schema, VN_KIND_RECORDS);
    gen_chain(&schema, "c", VN_INT32, 0, 0, 0, 0, 1, true);
    node(&f, 3, nulls);
    put_packed(&f, bits, n);
    put_packed(&f, (const int32_t[]){1, 2, 3}, 12);
    refuse_forged(&f, "bitmap", message);
    vn_schema_release(&schema);
    schema = kept;
}

static void bitmaps(void) {
    with_bitmap(1, "\x05", 1, "batch 1 at byte"); /* sound */
    with_bitmap(0, NULL, 0, "batch 1 at byte");
    with_bitmap(0, "\x07", 1, "batch 1 at byte");
    with_bitmap(2, "\x05", 1, "the count of nulls is 2, 1 found");
    with_bitmap(0, "\x05", 1, "the count of nulls is 0, 1 found");
    with_bitmap(1, "\x0d", 1, "the padding of a bitmap is not zero");
    with_bitmap(1, NULL, 0, "1 nulls without a bitmap");
    with_bitmap(1, "\x05\0", 2, "holds 2 bytes, expected 1");
}

static void unpacked_size(void) { /* is bounded as the size sent is, all buffers together */
    struct forge f = {.rows = 2};
    struct vn_buf out = {0};
    static const char text[3000];
    node(&f, 2, 0);
    put_packed(&f, NULL, 0);
    put_packed(&f, (const int32_t[]){0, 1500, 3000}, 12);
    put_packed(&f, text, 3000);
    finish(&f, &out);
    for (int64_t max = 1000; max < 5000; max += 2009) {
        struct vn_reader_options o = {.max_body = max};
        struct vn_source *src;
        struct vn_reader *r;
        struct vn_batch b = {0};
        gen_must(vn_source_memory(out.data, out.len, "test", &src, &err), &err);
        gen_must(vn_reader_open(src, &o, &r, &err), &err);
        CHECK_INT(vn_reader_next(r, &b, &err), VN_EDATA);
        CHECK(!strstr(err.msg, "unpacks to more bytes than allowed") == (max >= 3012));
        vn_batch_release(&b);
        vn_reader_close(r);
    }
    vn_buf_release(&out);
}

/* ---- rows ------------------------------------------------------------------------ */

/* A column of int32 lists x 2^31 - 1: the product of rows and size must not wrap. */
static void huge_lists(void) {
    struct vn_schema s;
    struct vn_buf out = {0};
    gen_chain((vn_schema_init(&s, VN_KIND_VECTORS), &s), "c", VN_FIXED_LIST, VN_FIXED_LIST,
              VN_FLOAT64, INT32_MAX, INT32_MAX, 3, false);
    struct vn_schema kept = schema;
    schema = s;
    for (int64_t rows = 1; rows < GIB; rows = rows * 7 + 1) {
        struct forge f = {.rows = rows};
        node(&f, rows, 0);
        put_packed(&f, NULL, 0);
        node(&f, (int64_t)((uint64_t)rows * INT32_MAX), 0);
        put_packed(&f, NULL, 0);
        node(&f, (int64_t)((uint64_t)rows * INT32_MAX * INT32_MAX), 0);
        put_packed(&f, NULL, 0);
        put_packed(&f, "12345678", 8);
        finish(&f, &out);
        refuse(&out, false, "huge list", "rows, expected");
    }
    schema = kept;
    vn_schema_release(&s);
    vn_buf_release(&out);
}

static void rows_of_nothing(void) { /* no column, and nothing that says how many rows */
    struct vn_schema kept = schema;
    struct vn_buf out = {0};
    vn_schema_init(&schema, VN_KIND_RECORDS);
    for (int64_t rows = 1; rows <= GIB; rows <<= 15) {
        struct forge f = {.rows = rows};
        finish(&f, &out);
        refuse(&out, false, "no columns", "rows without columns");
        refuse(&out, true, "no columns", "rows without columns");
    }
    struct forge none = {.totals = "0 0 0"};
    finish(&none, &out);
    gen_must(vn_buf_append(&out, "\xff\xff\xff\xff\0\0\0\0", 8, &err), &err);
    CHECK_INT(read_all(&out, false), VN_OK);
    schema = kept;
    vn_buf_release(&out);
}

int main(void) {
    forge_open();
    TEST(forging_works);
    TEST(counts);
    TEST(buffers);
    TEST(offsets);
    TEST(texts);
    TEST(frames);
    TEST(bomb);
    TEST(bitmaps);
    TEST(unpacked_size);
    TEST(huge_lists);
    TEST(rows_of_nothing);
    forge_close();
    return check_done();
}
