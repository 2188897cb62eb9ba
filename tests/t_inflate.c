/* The decompressing source against zlib's and zstd's own encoders: every prefix, every
 * flipped byte, every way to put members and frames together. */
#include <zlib.h>
#include <zstd.h>

#include "check.h"
#include "drip.h"
#include "inflate.h"

static const char text[] =
    ">one first\nMKTAYIAKQR\nQISFVKSHFS\n>two\nACDEFGHIKLMNPQRSTVWY\n";
#define TEXT_LEN (sizeof text - 1)

/* ---- encoders -------------------------------------------------------------------- */

static void add(struct vn_buf *b, const void *p, size_t n) {
    if (vn_buf_append(b, p, n, NULL) != VN_OK)
        abort();
}

/* One gzip member; as a bgzf block when bgzf is set. Returns its size. */
static int level = 6;
static size_t add_gzip(struct vn_buf *b, const void *p, size_t n, bool bgzf) {
    uint8_t out[70000], extra[6] = {'B', 'C', 2, 0, 0, 0};
    z_stream z = {0};
    gz_header h = {.os = 255};
    if (deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        abort();
    if (bgzf) {
        h.extra = extra;
        h.extra_len = 6;
        deflateSetHeader(&z, &h);
    }
    z.next_in = (Bytef *)p;
    z.avail_in = (uInt)n;
    z.next_out = out;
    z.avail_out = sizeof out;
    if (deflate(&z, Z_FINISH) != Z_STREAM_END)
        abort();
    size_t size = z.total_out;
    deflateEnd(&z);
    if (bgzf) { /* the size becomes known last */
        out[16] = (uint8_t)(size - 1);
        out[17] = (uint8_t)((size - 1) >> 8);
    }
    add(b, out, size);
    return size;
}

static void add_zstd_frame(struct vn_buf *b, const void *p, size_t n, int checksum) {
    uint8_t out[70000];
    ZSTD_CCtx *c = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, checksum);
    size_t size = ZSTD_compress2(c, out, sizeof out, p, n);
    ZSTD_freeCCtx(c);
    if (ZSTD_isError(size))
        abort();
    add(b, out, size);
}

static void add_zstd(struct vn_buf *b, const void *p, size_t n) {
    add_zstd_frame(b, p, n, 1);
}

static void add_skippable(struct vn_buf *b) {
    add(b, "\x5a\x2a\x4d\x18\3\0\0\0abc", 11);
}

/* ---- decoding -------------------------------------------------------------------- */

/* Decompresses; the status, and the text in out. Reads come in `step` bytes, are asked
 * for in `ask` bytes. */
static int unpack(const struct vn_buf *b, size_t n, size_t step, size_t ask,
                  struct vn_buf *out, struct vn_error *err) {
    static const uint8_t nothing[1];
    struct vn_source *s;
    out->len = 0;
    *err = (struct vn_error){0};
    int rc = vn_source_decompress(drip(n ? b->data : nothing, n, step), &s, err);
    if (rc != VN_OK)
        return rc;
    uint8_t chunk[4096];
    int64_t got;
    while ((got = s->read(s, chunk, ask, err)) > 0)
        add(out, chunk, (size_t)got);
    if (got == 0)
        CHECK_INT(s->read(s, chunk, ask, err), 0); /* the end stays the end */
    vn_source_close(s);
    return (int)got;
}

static void expect(const struct vn_buf *b, const void *want, size_t n) {
    static const size_t sizes[] = {1, 2, 7, 4096};
    struct vn_buf out = {0};
    struct vn_error err;
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            CHECK_INT(unpack(b, b->len, sizes[i], sizes[j], &out, &err), VN_OK);
            CHECK_STR(err.msg, "");
            CHECK(out.len == n && (!n || !memcmp(out.data, want, n)));
        }
    vn_buf_release(&out);
}

static void expect_text(const struct vn_buf *b) {
    expect(b, text, TEXT_LEN);
}

/* Fails with VN_EDATA and a message that names the file, `what` and a byte. */
static void expect_bad(const struct vn_buf *b, size_t n, const char *what, int64_t byte) {
    struct vn_buf out = {0};
    struct vn_error err;
    char at[64];
    snprintf(at, sizeof at, "byte %lld", (long long)byte);
    for (size_t step = 1; step < 9000; step = step * 9 + 1) {
        CHECK_INT(unpack(b, n, step, 100, &out, &err), VN_EDATA);
        if (!strstr(err.msg, "'x.fa'") || !strstr(err.msg, what) ||
            (byte >= 0 && !strstr(err.msg, at)))
            CHECK_STR(err.msg, what);
    }
    vn_buf_release(&out);
}

/* ---- tests ----------------------------------------------------------------------- */

static void plain_text_passes(void) {
    struct vn_buf b = {0};
    expect(&b, "", 0);
    for (size_t n = 1; n <= TEXT_LEN; n++) {
        b.len = 0;
        add(&b, text, n);
        expect(&b, text, n);
    }
    vn_buf_release(&b);
}

static void gzip_members(void) {
    struct vn_buf b = {0};
    add_gzip(&b, text, TEXT_LEN, false);
    expect_text(&b);
    b.len = 0;
    add_gzip(&b, text, 20, false);
    add_gzip(&b, "", 0, false);
    add_gzip(&b, text + 20, TEXT_LEN - 20, false);
    expect_text(&b);
    CHECK(vn_buf_zeros(&b, 1024, NULL) == VN_OK); /* as tapes and block devices pad */
    expect_text(&b);
    vn_buf_release(&b);
}

static void ten_thousand_empty_members(void) {
    struct vn_buf b = {0}, out = {0};
    struct vn_error err;
    for (int i = 0; i < 10000; i++)
        add_gzip(&b, "", 0, false);
    add_gzip(&b, text, TEXT_LEN, false);
    CHECK_INT(unpack(&b, b.len, 4096, 4096, &out, &err), VN_OK);
    CHECK(out.len == TEXT_LEN && !memcmp(out.data, text, TEXT_LEN));
    vn_buf_release(&b);
    vn_buf_release(&out);
}

static void bgzf_blocks(void) {
    struct vn_buf b = {0};
    add_gzip(&b, text, 20, true);
    size_t first = b.len;
    add_gzip(&b, text + 20, TEXT_LEN - 20, true);
    expect_bad(&b, b.len, "empty block that ends a bgzf file is missing", (int64_t)b.len);
    expect_bad(&b, first, "empty block that ends a bgzf file is missing", (int64_t)first);
    CHECK_INT(add_gzip(&b, "", 0, true), 28);
    expect_text(&b);
    b.len = 0; /* an empty block is not yet the block that ends the file */
    add_gzip(&b, text, TEXT_LEN, true);
    level = 0;
    CHECK(add_gzip(&b, "", 0, true) != 28);
    level = 6;
    expect_bad(&b, b.len, "empty block that ends a bgzf file is missing", (int64_t)b.len);
    b.len = 0; /* cat a.bgz b.bgz leaves an end block in the middle */
    add_gzip(&b, text, 20, true);
    add_gzip(&b, "", 0, true);
    add_gzip(&b, text + 20, TEXT_LEN - 20, true);
    add_gzip(&b, "", 0, true);
    expect_text(&b);
    b.len = 0; /* cat a.bgz b.gz */
    add_gzip(&b, text, 20, true);
    add_gzip(&b, "", 0, true);
    add_gzip(&b, text + 20, TEXT_LEN - 20, false);
    expect_text(&b);
    b.len = 0;
    first = add_gzip(&b, text, TEXT_LEN, true);
    add_gzip(&b, "", 0, true);
    b.data[16]++;
    expect_bad(&b, b.len, "not as long as it states", (int64_t)first);
    vn_buf_release(&b);
}

static void zstd_frames(void) {
    struct vn_buf b = {0};
    add_zstd(&b, text, TEXT_LEN);
    expect_text(&b);
    b.len = 0;
    add_skippable(&b);
    add_zstd(&b, text, 20);
    add_zstd(&b, "", 0);
    add_skippable(&b);
    add_zstd(&b, text + 20, TEXT_LEN - 20);
    add_skippable(&b);
    expect_text(&b);
    vn_buf_release(&b);
}

/* A prefix that ends where a member or a frame ends is whole: it is the text so far. The
 * first bytes are too short to be told from text, which the FASTA reader refuses. */
static void every_prefix(struct vn_buf *b, size_t magic, const size_t *whole,
                         int n_whole) {
    struct vn_buf out = {0};
    struct vn_error err;
    for (size_t n = magic; n < b->len; n++) {
        bool ok = false;
        for (int i = 0; i < n_whole; i++)
            ok |= n == whole[i];
        if (ok)
            CHECK_INT(unpack(b, n, 4096, 4096, &out, &err), VN_OK);
        else
            expect_bad(b, n, "is truncated", (int64_t)n);
    }
    vn_buf_release(&out);
}

static void every_prefix_fails(void) {
    struct vn_buf b = {0};
    size_t whole;
    whole = add_gzip(&b, text, 20, false);
    add_gzip(&b, text + 20, TEXT_LEN - 20, false);
    every_prefix(&b, 2, &whole, 1);
    b.len = 0;
    add_gzip(&b, text, 20, true);
    add_gzip(&b, text + 20, TEXT_LEN - 20, true);
    add_gzip(&b, "", 0, true);
    every_prefix(&b, 2, NULL, 0);
    b.len = 0;
    add_zstd(&b, text, 20);
    whole = b.len;
    add_zstd(&b, text + 20, TEXT_LEN - 20);
    every_prefix(&b, 4, &whole, 1);
    vn_buf_release(&b);
}

/* Both formats carry checksums: a flipped bit is an error or (in a header's time stamp,
 * in an unused flag) leaves the text as it was. */
static void flipped_bits(void) {
    struct vn_buf out = {0};
    struct vn_error err;
    int refused = 0, harmless = 0;
    for (int kind = 0; kind < 3; kind++) {
        struct vn_buf b = {0};
        if (kind == 2)
            add_zstd(&b, text, TEXT_LEN);
        else
            add_gzip(&b, text, TEXT_LEN, kind == 1);
        if (kind == 1)
            add_gzip(&b, "", 0, true);
        for (size_t i = 4; i < b.len; i++)
            for (int bit = 0; bit < 8; bit++) {
                b.data[i] ^= (uint8_t)(1 << bit);
                int rc = unpack(&b, b.len, 4096, 4096, &out, &err);
                refused += rc == VN_EDATA;
                harmless += rc == VN_OK;
                if (rc == VN_OK)
                    CHECK(out.len == TEXT_LEN && !memcmp(out.data, text, TEXT_LEN));
                else
                    CHECK_INT(rc, VN_EDATA);
                b.data[i] ^= (uint8_t)(1 << bit);
            }
        vn_buf_release(&b);
    }
    CHECK(refused > 1000);
    CHECK(harmless < 300); /* headers hold about 12 bytes that nothing depends on */
    vn_buf_release(&out);
}

static void garbage_behind(void) {
    struct vn_buf b = {0};
    size_t n = add_gzip(&b, text, TEXT_LEN, false);
    add(&b, "x", 1);
    expect_bad(&b, b.len, "is no gzip member", (int64_t)n);
    b.len = n;
    add(&b, "\0\0\0x\0", 5);
    expect_bad(&b, b.len, "padding", (int64_t)n + 3);
    b.len = n;
    add(&b, "\x1f\x8c", 2);
    expect_bad(&b, b.len, "incorrect header check", -1);
    b.len = n;
    add_zstd(&b, text, TEXT_LEN);
    expect_bad(&b, b.len, "is no gzip member", (int64_t)n);
    b.len = 0;
    add_zstd(&b, text, TEXT_LEN);
    add(&b, "garbage", 7);
    expect_bad(&b, b.len, "is damaged", -1);
    vn_buf_release(&b);
}

static void other_formats_are_named(void) {
    static const struct {
        const char *head, *name;
    } others[] = {{"\xfd"
                   "7zXZ",
                   "xz-compressed: decompress first"},
                  {"BZh91AY&SY", "bzip2-compressed: decompress first"},
                  {"\x04\"M\x18@", "lz4-compressed"},
                  {"PK\3\4\x14", "zip-compressed"},
                  {"\x1f\x9d\x90>", "compress-compressed"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct vn_buf b = {0};
        add(&b, others[i].head, strlen(others[i].head));
        expect_bad(&b, b.len, others[i].name, -1);
        vn_buf_release(&b);
    }
}

static void read_errors_pass(void) {
    struct vn_buf gz = {0}, zst = {0};
    add_gzip(&gz, text, TEXT_LEN, false);
    add_zstd(&zst, text, TEXT_LEN);
    const struct vn_buf *all[] = {&gz, &zst};
    for (int i = 0; i < 2; i++)
        for (int64_t at = 0; at < (int64_t)all[i]->len; at++) {
            struct vn_error err = {0};
            struct vn_source *s, *in = drip(all[i]->data, all[i]->len, 1);
            uint8_t chunk[64];
            ((struct drip *)in)->fail_at = at;
            int64_t rc = vn_source_decompress(in, &s, &err);
            if (rc == VN_OK) {
                while ((rc = s->read(s, chunk, sizeof chunk, &err)) > 0)
                    ;
                vn_source_close(s);
            }
            CHECK_INT(rc, VN_ENOINPUT);
            CHECK(strstr(err.msg, "cannot read 'x.fa'"));
        }
    vn_buf_release(&gz);
    vn_buf_release(&zst);
}

/* More than any buffer, and output that comes out of little input. */
static void long_runs(void) {
    struct vn_buf want = {0}, gz = {0}, zst = {0}, out = {0};
    struct vn_error err;
    CHECK(vn_buf_resize(&want, 60000, NULL) == VN_OK);
    memset(want.data, 'A', want.len);
    for (int i = 0; i < 20; i++) {
        add_gzip(&gz, want.data, want.len, false);
        add_zstd(&zst, want.data, want.len);
    }
    CHECK_INT(unpack(&gz, gz.len, 4096, 4096, &out, &err), VN_OK);
    CHECK_INT(out.len, 20 * 60000);
    CHECK_INT(unpack(&zst, zst.len, 4096, 4096, &out, &err), VN_OK);
    CHECK_INT(out.len, 20 * 60000);
    zst.len = 0; /* no checksum follows the last block: its output must not be lost */
    add_zstd_frame(&zst, want.data, want.len, 0);
    for (size_t ask = 100; ask <= 4096; ask += 999) {
        CHECK_INT(unpack(&zst, zst.len, 4096, ask, &out, &err), VN_OK);
        CHECK_INT(out.len, 60000);
    }
    vn_buf_release(&want);
    vn_buf_release(&gz);
    vn_buf_release(&zst);
    vn_buf_release(&out);
}

int main(void) {
    TEST(plain_text_passes);
    TEST(gzip_members);
    TEST(ten_thousand_empty_members);
    TEST(bgzf_blocks);
    TEST(zstd_frames);
    TEST(every_prefix_fails);
    TEST(flipped_bits);
    TEST(garbage_behind);
    TEST(other_formats_are_named);
    TEST(read_errors_pass);
    TEST(long_runs);
    return check_done();
}
