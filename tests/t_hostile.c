/* Streams made to do harm: each is refused, without a crash and without much memory.
 *
 * Checksums are made right again after the damage, since an attacker can compute them. Every
 * stream is also given to vn-view as a file: it must end with 65 or 76 and stay below
 * 64 MiB. */
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zstd.h>

#include "arrow.h"
#include "check.h"
#include "crc.h"
#include "flatbuf.h"
#include "gen.h"
#include "sign.h"
#include "num.h"
#include "zbody.h"

#define MEMORY_KIB (64 << 10)
#define GIB ((int64_t)1 << 30)

static struct vn_error err;
static struct vn_schema schema; /* id utf8, record uint64, tokens list<uint16> */
static struct vn_zbody *z;

/* ---- reading --------------------------------------------------------------------- */

static int read_all(const struct vn_buf *b, bool lax) {
    struct vn_reader_options o = {.lax = lax};
    struct vn_source *src;
    struct vn_reader *r;
    struct vn_batch batch = {0};
    err.msg[0] = 0;
    gen_must(vn_source_memory(b->data, b->len, "test", &src, &err), &err);
    int rc = vn_reader_open(src, &o, &r, &err);
    if (rc != VN_OK)
        return rc;
    while ((rc = vn_reader_next(r, &batch, &err)) > 0)
        ;
    vn_batch_release(&batch);
    vn_reader_close(r);
    return rc;
}

/* Exit status of vn-view, and its largest resident memory in KiB. */
static int view(const struct vn_buf *b, bool lax, long *kib) {
    FILE *f = fopen("hostile.arrows", "wb");
    int status = 0;
    struct rusage use;
    if (!f || fwrite(b->data, 1, b->len, f) != b->len || fclose(f))
        return -1;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
            _exit(1);
        execlp("vn-view", "vn-view", "hostile.arrows", lax ? "--lax" : NULL, NULL);
        _exit(127);
    }
    if (wait4(child, &status, 0, &use) != child)
        return -1;
    *kib = use.ru_maxrss;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void refuse(const struct vn_buf *b, bool lax, const char *name, const char *message) {
    long kib = 0;
    int rc = read_all(b, lax);
    if (rc != VN_EDATA && rc != VN_EINCOMPAT) {
        printf("# %s: %d\n", name, rc);
        CHECK(0);
    }
    if (!strstr(err.msg, message)) {
        printf("# %s: '%s' has no '%s'\n", name, err.msg, message);
        CHECK(0);
    }
    int status = view(b, lax, &kib);
    if (status != -rc) {
        printf("# %s: vn-view ends with %d, expected %d\n", name, status, -rc);
        CHECK(0);
    }
#if !defined(__SANITIZE_ADDRESS__) /* whose own memory is larger */
    if (kib > MEMORY_KIB) {
        printf("# %s: vn-view takes %ld KiB\n", name, kib);
        CHECK(0);
    }
#endif
}

/* ---- making streams -------------------------------------------------------------- */

/* A batch of one's own: nodes and buffers as one likes, true checksums around them. */
struct forge {
    struct vn_arrow_node nodes[16];
    struct vn_arrow_buffer buffers[16];
    size_t n_nodes, n_buffers;
    struct vn_buf body;
    int64_t rows, body_length; /* body_length: what is said, if not 0 */
    const char *totals;        /* or NULL */
};

static void node(struct forge *f, int64_t length, int64_t nulls) {
    f->nodes[f->n_nodes++] = (struct vn_arrow_node){length, nulls};
}

/* Bytes as they are, at the next multiple of 64. */
static void put_bytes(struct forge *f, const void *p, size_t n) {
    size_t start = vn_round_up(f->body.len, VN_ALIGN);
    gen_must(vn_buf_zeros(&f->body, start - f->body.len, &err), &err);
    gen_must(vn_buf_append(&f->body, p, n, &err), &err);
    f->buffers[f->n_buffers++] = (struct vn_arrow_buffer){(int64_t)start, (int64_t)n};
}

static void put_packed(struct forge *f, const void *p, size_t n) {
    struct vn_buf frame = {0};
    if (n)
        gen_must(vn_zbody_pack(z, VN_ZBODY_REST, p, n, &frame, &err), &err);
    put_bytes(f, frame.data, frame.len);
    vn_buf_release(&frame);
}

/* The two rows "ab", "c" and their numbers. */
static void good_start(struct forge *f) {
    memset(f, 0, sizeof *f);
    f->rows = 2;
    node(f, 2, 0);
    put_packed(f, NULL, 0);
    put_packed(f, (const int32_t[]){0, 2, 3}, 12);
    put_packed(f, "abc", 3);
    node(f, 2, 0);
    put_packed(f, NULL, 0);
    put_packed(f, (const uint64_t[]){0, 1}, 16);
}

/* ... and their tokens, 1 2 and 3. */
static void good_end(struct forge *f) {
    node(f, 2, 0);
    put_packed(f, NULL, 0);
    put_packed(f, (const int32_t[]){0, 2, 3}, 12);
    node(f, 3, 0);
    put_packed(f, NULL, 0);
    put_packed(f, (const uint16_t[]){1, 2, 3}, 6);
}

/* Schema and batch, no totals: a reader that gets past the batch calls it truncated. */
static void finish(struct forge *f, struct vn_buf *out) {
    char rows[24], crc[9];
    out->len = 0;
    gen_must(vn_buf_zeros(&f->body, vn_round_up(f->body.len, VN_ALIGN) - f->body.len, &err),
             &err);
    snprintf(rows, sizeof rows, "%lld", (long long)f->rows);
    snprintf(crc, sizeof crc, "%08x", (unsigned)vn_crc32c(0, f->body.data, f->body.len));
    struct vn_arrow_outgoing o = {
        .rows = f->rows,
        .body = f->body_length ? f->body_length : (int64_t)f->body.len,
        .nodes = f->nodes, .buffers = f->buffers,
        .n_nodes = f->n_nodes, .n_buffers = f->n_buffers,
        .marks = {NULL, "0", rows, crc, f->totals}};
    gen_must(vn_arrow_write_schema(&schema, out, &err), &err);
    gen_must(vn_arrow_write_batch(&o, out, &err), &err);
    gen_must(vn_buf_append(out, f->body.data, f->body.len, &err), &err);
    vn_buf_release(&f->body);
}

static void refuse_forged(struct forge *f, const char *name, const char *message) {
    struct vn_buf out = {0};
    finish(f, &out);
    refuse(&out, false, name, message);
    vn_buf_release(&out);
}

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
    static const char *const wrong[] = {"0 0 1", "0 1 0", "1 0 0", "", "0 0", "0 0 0 ", "00 0 0"};
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
    gen_schema(&schema, VN_KIND_TOKENS);
    gen_must(vn_zbody_new(&z, &err), &err);
    TEST(forging_works);
    TEST(counts);
    TEST(buffers);
    TEST(offsets);
    TEST(texts);
    TEST(frames);
    TEST(bomb);
    TEST(bitmaps);
    TEST(unpacked_size);
    TEST(totals);
    TEST(lengths);
    TEST(bodies);
    TEST(field_trees);
    TEST(huge_lists);
    TEST(rows_of_nothing);
    TEST(custom_metadata);
    TEST(signed_damage);
    vn_zbody_free(z);
    vn_schema_release(&schema);
    return check_done();
}
