/* The FASTA/FASTQ reader: what is accepted, with the source cut at every byte; what is
 * refused, with the words, the record, the line and the byte. */
#include <zlib.h>

#include "check.h"
#include "drip.h"
#include "fastx.h"

/* Reads everything and writes it down as "id/letters;" ... into out. */
static int slurp_source(struct vn_source *s, struct vn_buf *out, struct vn_error *err) {
    struct vn_fastx *f;
    struct vn_record r;
    uint64_t n = 0;
    out->len = 0;
    *err = (struct vn_error){0};
    int rc = vn_fastx_open(s, &f, err);
    if (rc != VN_OK)
        return rc;
    while ((rc = vn_fastx_next(f, &r, err)) > 0) {
        CHECK_INT(r.number, n++);
        if (vn_buf_append(out, r.id, r.id_len, err) || vn_buf_puts(out, "/", err) ||
            vn_buf_append(out, r.seq, r.seq_len, err) || vn_buf_puts(out, ";", err))
            abort();
    }
    if (rc == 0)
        CHECK_INT(vn_fastx_next(f, &r, err), 0);
    vn_fastx_close(f);
    return rc;
}

static int slurp(const void *text, size_t n, size_t step, struct vn_buf *out,
                 struct vn_error *err) {
    return slurp_source(drip(text, n, step), out, err);
}

static void reads_n(const char *text, size_t n, const char *want) {
    struct vn_buf out = {0};
    struct vn_error err;
    for (size_t step = 1; step <= n + 1; step++) {
        CHECK_INT(slurp(text, n, step, &out, &err), 0);
        CHECK_STR(err.msg, "");
        if (vn_buf_append(&out, "", 1, NULL) == VN_OK)
            CHECK_STR((const char *)out.data, want);
    }
    vn_buf_release(&out);
}

static void reads(const char *text, const char *want) {
    reads_n(text, strlen(text), want);
}

/* The message must be exactly "bad sequence file 'x.fa': " what " (" where ")". */
static void refuses_n(const char *text, size_t n, const char *what, const char *where) {
    struct vn_buf out = {0};
    struct vn_error err;
    char want[512];
    snprintf(want, sizeof want, "bad sequence file 'x.fa': %s (%s)", what, where);
    for (size_t step = 1; step <= n; step++) {
        CHECK_INT(slurp(text, n, step, &out, &err), VN_EDATA);
        CHECK_INT(err.status, VN_EDATA);
        CHECK_STR(err.msg, want);
    }
    vn_buf_release(&out);
}

static void refuses(const char *text, const char *what, const char *where) {
    refuses_n(text, strlen(text), what, where);
}

/* ---- accepted -------------------------------------------------------------------- */

static void fasta(void) {
    reads("", "");
    reads("\n \n\t\n", "");
    reads(">a\nMKT\n", "a/MKT;");
    reads(">a\nMKT", "a/MKT;");
    reads(">a some words > @ + here\nMKT\nAYI\n>b\nACD\n", "a/MKTAYI;b/ACD;");
    reads(">a\twords\nMKT\n", "a/MKT;");
    reads(">a\x01>b\nMKT\n", "a/MKT;"); /* as NCBI joins titles */
    reads("\n\n  \n>a\nMKT\n\n\nAYI\n\n>b\n\nACD\n\n", "a/MKTAYI;b/ACD;");
    reads(">a\nM K\tT \n  AYI\n", "a/MKTAYI;");
    reads(">a\nmktXBZJUO*-.nN\n", "a/mktXBZJUO*-.nN;");
    reads(">a\nMK<mask>T\n<mask>\n<mask><mask>A\n>b\nAA\n",
          "a/MK<mask>T<mask><mask><mask>A;b/AA;");
}

static void empty_records(void) {
    reads(">a\n>b\nMKT\n>c\n", "a/;b/MKT;c/;");
    reads(">a\n\n>b", "a/;b/;");
    reads(">\nMKT\n> words\nACD\n>", "/MKT;/ACD;/;");
}

static void line_ends(void) {
    reads(">a x\r\nMKT\r\nAYI\r\n\r\n>b\r\nACD", "a/MKTAYI;b/ACD;");
    reads(">a\r\nMKT\n>b\nACD\r\n", "a/MKT;b/ACD;");
    reads("\xef\xbb\xbf>a\nMKT\n", "a/MKT;");
    reads("\xef\xbb\xbf", "");
    reads("@r\r\nACGT\r\n+\r\nIIII\r\n", "r/ACGT;");
}

static void fastq(void) {
    reads("@r1 x\nACGT\n+\nIIII\n@r2\nAC\n+r2\n@+\n", "r1/ACGT;r2/AC;");
    reads("@r1 x\nACGT\n+r1 x\nI!~I", "r1/ACGT;");
    reads("\n@r1\nACGTN-.*\n+\n>>>>>>>>\n\n\n@r2\nA\n+\n@\n \n", "r1/ACGTN-.*;r2/A;");
    reads("@r1\n\n+\n\n@r2\nA\n+\nI\n", "r1/;r2/A;");
    reads("@r1\n\n+\n", "r1/;"); /* the last line, empty, has no line end */
}

static void ids_become_utf8(void) {
    reads(">\xc3\xa9t\xc3\xa9\nM\n", "\xc3\xa9t\xc3\xa9/M;");
    reads(">a\xff"
          "b\nM\n",
          "a\xef\xbf\xbd"
          "b/M;");
    reads(">\xe9t\xe9\nM\n", "\xef\xbf\xbdt\xef\xbf\xbd/M;");
    /* one replacement for each longest beginning of a sequence, as Unicode advises:
     * overlong, surrogate, too large, cut */
    reads(">\xc0\x80\nM\n", "\xef\xbf\xbd\xef\xbf\xbd/M;");
    reads(">\xe0\x80\x80\nM\n", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd/M;");
    reads(">\xe1\x80\x80\xe0\xa0\x80\nM\n", "\xe1\x80\x80\xe0\xa0\x80/M;");
    reads(">\xed\xa0\x80\nM\n", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd/M;");
    reads(">\xf4\x90\x80\x80\nM\n",
          "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd/M;");
    reads(">\xe2\x82 x\nM\n", "\xef\xbf\xbd/M;");
    reads(">\xf0\x9f\xa7\xac\xf0\x9f\xa7"
          "d\nM\n",
          "\xf0\x9f\xa7\xac\xef\xbf\xbd"
          "d/M;");
    reads("@\xff\nA\n+\xff\nI\n", "\xef\xbf\xbd/A;");
}

/* ---- refused --------------------------------------------------------------------- */

#define LETTERS "expected a letter, '*', '-' or '.', "

static void bad_fasta(void) {
    refuses("MKT\n>a\nMKT\n",
            "expected '>' or '@' at the start of the first record, found 'M'",
            "record 1, line 1, byte 0");
    refuses("\n \t>a\nMKT\n",
            "expected '>' or '@' at the start of the first record, found '>'",
            "record 1, line 2, byte 3");
    refuses("\x1f",
            "expected '>' or '@' at the start of the first record, found byte 0x1f",
            "record 1, line 1, byte 0");
    refuses(">a\nMKT\n>b\nAC5D\n", LETTERS "found '5'", "record 2, line 4, byte 12");
    refuses(">a\nMK>b\n", "expected a header to start a line, found '>'",
            "record 1, line 2, byte 5");
    refuses(">a\n >b\n", "expected a header to start a line, found '>'",
            "record 1, line 2, byte 4");
    refuses(">a\nMK<mask\n", LETTERS "found '<'", "record 1, line 2, byte 5");
    refuses(">a\nMK<MASK>\n", LETTERS "found '<'", "record 1, line 2, byte 5");
    refuses(">a\n<mask>>\n", "expected a header to start a line, found '>'",
            "record 1, line 2, byte 9");
    refuses(">a\nMK<ma\nsk>\n", LETTERS "found '<'", "record 1, line 2, byte 5");
    refuses(">a\nMK\x01T\n", LETTERS "found byte 0x01", "record 1, line 2, byte 5");
    refuses(">a\nMK\xc3\xa9T\n", LETTERS "found byte 0xc3", "record 1, line 2, byte 5");
    refuses(">a\nMK\fT\n", LETTERS "found byte 0x0c", "record 1, line 2, byte 5");
    refuses("\n>a\nMKT\n@r\nACGT\n+\nIIII\n", LETTERS "found '@'",
            "record 1, line 4, byte 8");
    refuses_n(">a\nMK\0T\n", 8, LETTERS "found byte 0x00", "record 1, line 2, byte 5");
    refuses_n(">a\nMKT\n>b\0c\nMKT\n", 15, "expected a header, found byte 0x00",
              "record 2, line 3, byte 9");
    refuses(";comment\n>a\nMKT\n",
            "expected '>' or '@' at the start of the first record, found ';'",
            "record 1, line 1, byte 0");
}

static void bare_carriage_returns(void) {
    const char *ends = ": line ends must be LF or CR LF";
    char what[200];
    snprintf(what, sizeof what, "expected a header, found byte 0x0d%s", ends);
    refuses(">a\rMKT\r>b\rMKT\r", what, "record 1, line 1, byte 2");
    snprintf(what, sizeof what, LETTERS "found byte 0x0d%s", ends);
    refuses(">a\nMKT\rAYI\n", what, "record 1, line 2, byte 6");
    refuses(">a\nMKT\r\r\n", what, "record 1, line 2, byte 6");
    refuses(">a\nMKT\r", what, "record 1, line 2, byte 6");
}

static void utf16(void) {
    refuses_n("\xff\xfe>\0a\0\n\0", 8, "the text is UTF-16, expected ASCII or UTF-8",
              "record 1, line 1, byte 0");
    refuses_n("\xfe\xff\0>\0a\0\n", 8, "the text is UTF-16, expected ASCII or UTF-8",
              "record 1, line 1, byte 0");
    static const char *const unmarked[] = {">\0a\0\n\0M\0", "\0>\0a\0\n\0M",
                                           "@\0a\0\n\0M\0", "\0@\0a\0\n\0M"};
    for (size_t i = 0; i < sizeof unmarked / sizeof *unmarked; i++)
        refuses_n(unmarked[i], 8, "the text is UTF-16, expected ASCII or UTF-8",
                  "record 1, line 1, byte 0");
    refuses_n("\0A>\n", 4,
              "expected '>' or '@' at the start of the first record, found byte 0x00",
              "record 1, line 1, byte 0");
    refuses_n("> \0a\n", 5, "expected a header, found byte 0x00",
              "record 1, line 1, byte 2");
}

static void bad_fastq(void) {
    const char *third =
        "expected '+' at the start of the third line of a FASTQ record (its "
        "sequence is one line), found ";
    char what[300];
    snprintf(what, sizeof what, "%s'I'", third);
    refuses("@r1\nACGT\nIIII\n", what, "record 1, line 3, byte 9");
    snprintf(what, sizeof what, "%s'A'", third);
    refuses("@r1\nA\n+\nI\n@r2\nACGT\nACGT\n+\nIIIIIIII\n", what,
            "record 2, line 7, byte 19");
    refuses("@r1 x\nACGT\n+r2\nIIII\n",
            "the '+' line names 'r2', expected 'r1' or nothing",
            "record 1, line 3, byte 11");
    refuses("@r1\nACGT\n+\nIII\n@r2\n",
            "expected 4 qualities, one for each letter, found 3",
            "record 1, line 4, byte 11");
    refuses("@r1\nACGT\n+\nIIIII\n@r2\n",
            "expected 4 qualities, one for each letter, found 5",
            "record 1, line 4, byte 11");
    refuses("@r1\nACGT\n+\nII I\n", "expected a quality from '!' to '~', found byte 0x20",
            "record 1, line 4, byte 13");
    refuses("@r1\nACGT\n+\nII\x7fI\n",
            "expected a quality from '!' to '~', found byte 0x7f",
            "record 1, line 4, byte 13");
    refuses("@r1\nAC GT\n+\nIIIII\n", LETTERS "found byte 0x20",
            "record 1, line 2, byte 6");
    refuses("@r1\nA<mask>\n+\nIIIIIII\n", LETTERS "found '<'",
            "record 1, line 2, byte 5");
    refuses("@r1\nACGT\n+\nIIII\n>a\nMKT\n",
            "expected '@' at the start of a FASTQ record, "
            "found '>'",
            "record 2, line 5, byte 16");
}

/* Every prefix of a FASTQ file is an error but where a record ends. */
static void cut_fastq(void) {
    static const char text[] = "@r1 x\nACGT\n+r1\nIIII\n@r2\nAC\n+\nII\n";
    struct vn_buf out = {0};
    struct vn_error err;
    for (size_t n = 0; n < sizeof text; n++) {
        bool whole = n == 0 || n == 19 || n == 20 || n >= sizeof text - 2;
        int rc = slurp(text, n, 3, &out, &err);
        CHECK_INT(rc, whole ? 0 : VN_EDATA);
        /* inside the '+' line the id is cut, which is said as it looks */
        bool plus = n >= 12 && n <= 13;
        if (!whole && !plus)
            CHECK(strstr(err.msg, "truncated: the text ends"));
    }
    vn_buf_release(&out);
    refuses("@r1\nACGT\n+\nII",
            "truncated: the text ends before or inside the qualities of a "
            "FASTQ record",
            "record 1, line 4, byte 13");
    refuses("@r1\n\n+",
            "truncated: the text ends before or inside the qualities of a FASTQ "
            "record",
            "record 1, line 3, byte 6");
    refuses("@r1\nACGT\n",
            "truncated: the text ends before the '+' line of a FASTQ record",
            "record 1, line 2, byte 9");
    refuses("@r1\n", "truncated: the text ends before the sequence of a FASTQ record",
            "record 1, line 1, byte 4");
}

/* ---- large ----------------------------------------------------------------------- */

/* Sequences, ids and qualities around the size of the buffer, as one line, with "<mask>"
 * and CR at every place of its end. */
static void long_lines(void) {
    static const size_t steps[] = {4095, 262144, 1 << 20};
    const size_t size = 262144;
    struct vn_buf text = {0}, out = {0}, want = {0};
    struct vn_error err = {0};
    for (size_t off = 0; off < 16; off++) {
        size_t n = size - 8 + off;
        text.len = want.len = 0;
        CHECK(vn_buf_puts(&text, ">a\n", &err) == VN_OK);
        size_t at = text.len;
        CHECK(vn_buf_resize(&text, at + n, &err) == VN_OK);
        memset(text.data + at, 'M', n);
        CHECK(vn_buf_puts(&text, "<mask>\r\n>b\nAC\r\n", &err) == VN_OK);
        CHECK(vn_buf_puts(&want, "a/", &err) == VN_OK);
        CHECK(vn_buf_append(&want, text.data + at, n + 6, &err) == VN_OK);
        CHECK(vn_buf_puts(&want, ";b/AC;", &err) == VN_OK);
        for (int s = 0; s < 3; s++) {
            CHECK_INT(slurp(text.data, text.len, steps[s], &out, &err), 0);
            CHECK(out.len == want.len && !memcmp(out.data, want.data, want.len));
        }
        text.data[at + n - 1] = '\r'; /* bare, wherever the buffer ends */
        CHECK_INT(slurp(text.data, text.len, 1 << 20, &out, &err), VN_EDATA);
        CHECK(strstr(err.msg, "0x0d"));
    }
    vn_buf_release(&text);
    vn_buf_release(&out);
    vn_buf_release(&want);
}

static void long_fastq_and_id(void) {
    struct vn_buf text = {0}, out = {0};
    struct vn_error err = {0};
    const size_t n = 1 << 20;
    for (int cut = 0; cut < 2; cut++) {
        text.len = 0;
        CHECK(vn_buf_puts(&text, "@", &err) == VN_OK);
        for (int line = 0; line < 4; line++) {
            size_t at = text.len;
            if (line == 2) {
                CHECK(vn_buf_puts(&text, "+\n", &err) == VN_OK);
                continue;
            }
            CHECK(vn_buf_resize(&text, at + n, &err) == VN_OK);
            memset(text.data + at, line == 3 ? 'I' : 'A', n);
            CHECK(vn_buf_puts(&text, "\n", &err) == VN_OK);
        }
        int rc = slurp(text.data, text.len - (cut ? 2 : 0), 1 << 20, &out, &err);
        CHECK_INT(rc, cut ? VN_EDATA : 0);
        CHECK_INT(out.len, cut ? 0 : 2 * n + 2);
    }
    /* an id has a limit, so that a file without line ends is not read to its end */
    text.len = 0;
    CHECK(vn_buf_resize(&text, (17 << 20), &err) == VN_OK);
    memset(text.data, 'A', text.len);
    text.data[0] = '>';
    CHECK_INT(slurp(text.data, text.len, 1 << 20, &out, &err), VN_EDATA);
    CHECK(strstr(err.msg, "id is longer than 16777216 bytes (record 1, line 1, byte "));
    memset(text.data + 10, ' ', text.len - 10); /* a long title is none */
    CHECK_INT(slurp(text.data, text.len, 1 << 20, &out, &err), 0);
    vn_buf_release(&text);
    vn_buf_release(&out);
}

/* Every prefix of a compressed file is an error: also those too short for a magic number.
 */
static void every_compressed_prefix_fails(void) {
    static const char text[] = ">a\nMKTAYIAKQR\n>b\nACD\n";
    uint8_t gz[200];
    z_stream z = {0};
    struct vn_buf out = {0};
    struct vn_error err;
    CHECK_INT(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (Bytef *)text;
    z.avail_in = sizeof text - 1;
    z.next_out = gz;
    z.avail_out = sizeof gz;
    CHECK_INT(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    for (size_t n = 1; n < z.total_out; n++)
        CHECK_INT(slurp(gz, n, 5, &out, &err), VN_EDATA);
    CHECK_INT(slurp(gz, z.total_out, 5, &out, &err), 0);
    CHECK(out.len == 19 && !memcmp(out.data, "a/MKTAYIAKQR;b/ACD;", 19));
    vn_buf_release(&out);
}

static void read_errors_pass(void) {
    static const char text[] = "@r1 x\nACGT\n+r1\nIIII\n@r2\nAC\n+\nII\n";
    struct vn_buf out = {0};
    struct vn_error err;
    for (int64_t at = 0; at < (int64_t)sizeof text - 1; at++) {
        struct vn_source *s = drip(text, sizeof text - 1, 1);
        ((struct drip *)s)->fail_at = at;
        CHECK_INT(slurp_source(s, &out, &err), VN_ENOINPUT);
        CHECK(strstr(err.msg, "cannot read 'x.fa'"));
    }
    vn_buf_release(&out);
}

int main(void) {
    TEST(fasta);
    TEST(empty_records);
    TEST(line_ends);
    TEST(fastq);
    TEST(ids_become_utf8);
    TEST(bad_fasta);
    TEST(bare_carriage_returns);
    TEST(utf16);
    TEST(bad_fastq);
    TEST(cut_fastq);
    TEST(long_lines);
    TEST(long_fastq_and_id);
    TEST(every_compressed_prefix_fails);
    TEST(read_errors_pass);
    return check_done();
}
