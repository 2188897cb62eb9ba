#include "fastx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "inflate.h"
#include "text.h"

#define IN_SIZE ((size_t)256 << 10)
#define MAX_SEQ (((size_t)1 << 31) - 16) /* letters of a record: counted in int32 */
#define MAX_ID ((size_t)16 << 20)        /* bytes of an id */
#define MASK "<mask>"
#define MASK_LEN 6

enum format { UNKNOWN, FASTA, FASTQ };

struct vn_fastx {
    struct vn_source *source;
    enum format format;
    uint8_t *in;      /* [IN_SIZE] */
    size_t pos, end;  /* what is left of in[] */
    size_t scanned;   /* no line ends in in[pos..scanned) */
    int64_t in_start; /* byte of the text that in[0] is */
    bool eof;
    bool in_line;       /* the last piece did not end its line */
    bool no_lf;         /* the last piece ended its line by the end of the text */
    uint64_t n_records; /* begun, the current one included */
    uint64_t line;      /* number of the current line, from 1 */
    struct vn_buf id, clean_id, seq;
};

/* What a byte means in a sequence line. */
enum { OTHER, LETTER, BLANK };
static const uint8_t meaning[256] = {
    ['A' ... 'Z'] = LETTER, ['a' ... 'z'] = LETTER, ['*'] = LETTER, ['-'] = LETTER,
    ['.'] = LETTER,         [' '] = BLANK,          ['\t'] = BLANK};

/* ---- messages -------------------------------------------------------------------- */

/* Puts file, record, line and byte around the message that vn_fail left. */
static int located(const struct vn_fastx *f, int64_t byte, struct vn_error *err) {
    if (!err)
        return VN_EDATA;
    vn_prefix(err, "bad sequence file '%s'", f->source->name);
    size_t n = strlen(err->msg);
    snprintf(err->msg + n, sizeof err->msg - n, " (record %llu, line %llu, byte %lld)",
             (unsigned long long)f->n_records, (unsigned long long)f->line,
             (long long)byte);
    return VN_EDATA;
}

static int bad_byte(const struct vn_fastx *f, const uint8_t *p, const char *expected,
                    struct vn_error *err) {
    const char *more = *p == '\r' ? ": line ends must be LF or CR LF" : "";
    if (*p > ' ' && *p < 127)
        vn_fail(err, VN_EDATA, "expected %s, found '%c'%s", expected, *p, more);
    else
        vn_fail(err, VN_EDATA, "expected %s, found byte 0x%02x%s", expected, *p, more);
    return located(f, f->in_start + (p - f->in), err);
}

static int64_t here(const struct vn_fastx *f) {
    return f->in_start + (int64_t)f->pos;
}

static int cut_inside(const struct vn_fastx *f, const char *where, struct vn_error *err) {
    vn_fail(err, VN_EDATA, "truncated: the text ends %s", where);
    return located(f, here(f), err);
}

/* ---- lines ----------------------------------------------------------------------- */

/* Reads more text behind what is left, which moves to the front of the buffer. */
static int refill(struct vn_fastx *f, struct vn_error *err) {
    if (f->pos) {
        memmove(f->in, f->in + f->pos, f->end - f->pos);
        f->in_start += (int64_t)f->pos;
        f->end -= f->pos;
        f->scanned -= f->pos;
        f->pos = 0;
    }
    int64_t n = f->source->read(f->source, f->in + f->end, IN_SIZE - f->end, err);
    if (n < 0)
        return (int)n;
    f->eof = n == 0;
    f->end += (size_t)n;
    return VN_OK;
}

/* Sets c to the first byte of what follows, -1 at the end. */
static int peek(struct vn_fastx *f, int *c, struct vn_error *err) {
    while (f->pos == f->end && !f->eof) {
        int rc = refill(f, err);
        if (rc != VN_OK)
            return rc;
    }
    *c = f->pos < f->end ? f->in[f->pos] : -1;
    return VN_OK;
}

/* Where a line that does not fit the buffer may be cut: not inside "<mask>", not between
 * CR and LF. */
static size_t safe_cut(const uint8_t *p, size_t n) {
    for (size_t i = n - MASK_LEN; i < n; i++)
        if (p[i] == '<' || p[i] == '\r')
            return i;
    return n;
}

/* The next piece of the current line: all of it but for lines longer than the buffer; the
 * line end is left out. 1 (f->in_line says if the line goes on), 0 at the end of the
 * text, negative on a failure to read. A line starts here if f->in_line was false before.
 */
static int next_piece(struct vn_fastx *f, const uint8_t **p, size_t *n,
                      struct vn_error *err) {
    bool starts = !f->in_line;
    for (;;) {
        uint8_t *line = f->in + f->pos, *lf = NULL;
        if (f->scanned < f->end)
            lf = memchr(f->in + f->scanned, '\n', f->end - f->scanned);
        size_t have = f->end - f->pos, used = have;
        *n = have;
        if (lf) {
            *n = (size_t)(lf - line);
            used = *n + 1;
            if (*n && line[*n - 1] == '\r')
                --*n;
        } else if (!f->eof && have < IN_SIZE) {
            f->scanned = f->end;
            int rc = refill(f, err);
            if (rc != VN_OK)
                return rc;
            continue;
        } else if (f->eof && !have && starts) {
            return 0;
        } else if (!f->eof) {
            *n = used = safe_cut(line, have);
        }
        *p = line;
        f->in_line = !lf && !f->eof;
        f->no_lf = !lf && f->eof;
        f->line += starts;
        f->pos += used;
        f->scanned = f->pos;
        return 1;
    }
}

/* ---- ids ------------------------------------------------------------------------- */

static int clean_id(struct vn_fastx *f, struct vn_record *rec, struct vn_error *err) {
    const uint8_t *p = f->id.data;
    size_t n = f->id.len;
    uint8_t high = 0;
    for (size_t i = 0; i < n; i++)
        high |= p[i];
    rec->id = n ? (const char *)p : "";
    rec->id_len = n;
    if (high < 0x80)
        return VN_OK;
    f->clean_id.len = 0;
    for (size_t i = 0; i < n;) {
        int len = vn_utf8_length(p + i, n - i);
        int rc = len > 0 ? vn_buf_append(&f->clean_id, p + i, (size_t)len, err)
                         : vn_buf_append(&f->clean_id, "\xef\xbf\xbd", 3, err);
        if (rc != VN_OK)
            return rc;
        i += (size_t)abs(len);
    }
    rec->id = (const char *)f->clean_id.data;
    rec->id_len = f->clean_id.len;
    return VN_OK;
}

/* Reads the rest of a header line, behind its '>' or '@', and keeps the first word. */
static int read_header(struct vn_fastx *f, struct vn_error *err) {
    bool word = true;
    f->id.len = 0;
    f->line++;
    f->in_line = true; /* the line has begun: with its first byte */
    f->pos++;
    f->scanned = f->pos;
    while (f->in_line) {
        const uint8_t *p;
        size_t n, len = 0;
        int rc = next_piece(f, &p, &n, err);
        if (rc < 0)
            return rc;
        const uint8_t *wrong = memchr(p, 0, n);
        if (!wrong)
            wrong = memchr(p, '\r', n);
        if (wrong)
            return bad_byte(f, wrong, "a header", err);
        while (word && len < n && p[len] > ' ')
            len++;
        word = word && len == n;
        rc = vn_buf_append(&f->id, p, len, err);
        if (rc != VN_OK)
            return rc;
        if (f->id.len > MAX_ID) {
            vn_fail(err, VN_EDATA, "id is longer than %zu bytes", MAX_ID);
            return located(f, here(f), err);
        }
    }
    return VN_OK;
}

/* ---- sequences ------------------------------------------------------------------- */

/* Number of leading letters of p[0..n). */
static size_t count_letters(const uint8_t *p, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        if (!(meaning[p[i]] & meaning[p[i + 1]] & meaning[p[i + 2]] & meaning[p[i + 3]] &
              meaning[p[i + 4]] & meaning[p[i + 5]] & meaning[p[i + 6]] &
              meaning[p[i + 7]] & LETTER))
            break;
    while (i < n && meaning[p[i]] == LETTER)
        i++;
    return i;
}

/* Appends the letters of a piece to the sequence. FASTQ has neither blanks nor "<mask>":
 * its qualities could not be told to belong to what. */
static int add_letters(struct vn_fastx *f, const uint8_t *p, size_t n,
                       struct vn_error *err) {
    static const char expected[] = "a letter, '*', '-' or '.'";
    static const char in_line[] = "a header to start a line";
    int rc = vn_buf_reserve(&f->seq, f->seq.len + n, err);
    if (rc != VN_OK)
        return rc;
    for (size_t i = 0; i < n;) {
        size_t run = count_letters(p + i, n - i);
        if (run)
            memcpy(f->seq.data + f->seq.len, p + i, run);
        f->seq.len += run;
        i += run;
        if (i == n)
            break;
        bool fasta = f->format == FASTA;
        if (fasta && meaning[p[i]] == BLANK) {
            i++;
        } else if (fasta && n - i >= MASK_LEN && !memcmp(p + i, MASK, MASK_LEN)) {
            memcpy(f->seq.data + f->seq.len, MASK, MASK_LEN);
            f->seq.len += MASK_LEN;
            i += MASK_LEN;
        } else {
            return bad_byte(f, p + i, p[i] == '>' ? in_line : expected, err);
        }
    }
    if (f->seq.len > MAX_SEQ) {
        vn_fail(err, VN_EDATA, "sequence is longer than %zu letters", MAX_SEQ);
        return located(f, here(f), err);
    }
    return VN_OK;
}

static int read_fasta(struct vn_fastx *f, struct vn_error *err) {
    for (;;) {
        const uint8_t *p;
        size_t n;
        int c, rc = peek(f, &c, err);
        if (rc != VN_OK || (c == '>' && !f->in_line))
            return rc;
        rc = next_piece(f, &p, &n, err);
        if (rc > 0)
            rc = add_letters(f, p, n, err);
        else
            return rc;
        if (rc != VN_OK)
            return rc;
    }
}

/* The '+' line: nothing behind it, or the id once more (and anything behind that). */
static int read_plus(struct vn_fastx *f, struct vn_error *err) {
    static const char third_line[] = "'+' at the start of the third line of a FASTQ record "
                                     "(its sequence is one line)";
    int64_t start = here(f);
    int c, rc = peek(f, &c, err);
    if (rc != VN_OK)
        return rc;
    if (c < 0)
        return cut_inside(f, "before the '+' line of a FASTQ record", err);
    if (c != '+') {
        f->line++;
        return bad_byte(f, f->in + f->pos, third_line, err);
    }
    struct vn_buf id = f->id;
    f->id = f->clean_id; /* read_header writes to f->id: let it have the spare buffer */
    rc = read_header(f, err);
    f->clean_id = f->id;
    f->id = id;
    const struct vn_buf *again = &f->clean_id;
    if (rc != VN_OK || !again->len ||
        (again->len == id.len && !memcmp(again->data, id.data, id.len)))
        return rc;
    vn_fail(err, VN_EDATA, "the '+' line names '%.*s', expected '%.*s' or nothing",
            again->len > 100 ? 100 : (int)again->len, (const char *)again->data,
            id.len > 100 ? 100 : (int)id.len, id.len ? (const char *)id.data : "");
    return located(f, start, err);
}

static int read_quality(struct vn_fastx *f, struct vn_error *err) {
    int64_t start = here(f);
    size_t total = 0;
    bool cut = f->no_lf; /* behind '+': the line of qualities did not even begin */
    do {
        const uint8_t *p;
        size_t n;
        int rc = next_piece(f, &p, &n, err);
        if (rc < 0)
            return rc;
        if (rc == 0) /* an empty last line without line end: the quality of no letters */
            break;
        for (size_t i = 0; i < n; i++)
            if (p[i] < '!' || p[i] > '~')
                return bad_byte(f, p + i, "a quality from '!' to '~'", err);
        total += n;
    } while (f->in_line);
    if (total == f->seq.len && !cut)
        return VN_OK;
    if (f->pos == f->end && f->eof && total <= f->seq.len)
        return cut_inside(f, "before or inside the qualities of a FASTQ record", err);
    vn_fail(err, VN_EDATA, "expected %zu qualities, one for each letter, found %zu",
            f->seq.len, total);
    return located(f, start, err);
}

static int read_fastq(struct vn_fastx *f, struct vn_error *err) {
    do {
        const uint8_t *p;
        size_t n;
        int rc = next_piece(f, &p, &n, err);
        if (rc == 0)
            return cut_inside(f, "before the sequence of a FASTQ record", err);
        if (rc > 0)
            rc = add_letters(f, p, n, err);
        if (rc != VN_OK)
            return rc;
    } while (f->in_line);
    int rc = read_plus(f, err);
    return rc == VN_OK ? read_quality(f, err) : rc;
}

/* ---- records --------------------------------------------------------------------- */

/* A byte order mark, or the first letter of a record with a NUL beside it. */
static bool is_utf16(const uint8_t *p) {
    return !memcmp(p, "\xff\xfe", 2) || !memcmp(p, "\xfe\xff", 2) ||
           (!p[1] && (p[0] == '>' || p[0] == '@')) ||
           (!p[0] && (p[1] == '>' || p[1] == '@'));
}

/* At the start of the text: skips a byte order mark. */
static int skip_mark(struct vn_fastx *f, struct vn_error *err) {
    while (f->end < 3 && !f->eof) {
        int rc = refill(f, err);
        if (rc != VN_OK)
            return rc;
    }
    if (f->end >= 2 && is_utf16(f->in)) {
        f->n_records = f->line = 1;
        vn_fail(err, VN_EDATA, "the text is UTF-16, expected ASCII or UTF-8");
        return located(f, 0, err);
    }
    if (f->end >= 3 && !memcmp(f->in, "\xef\xbb\xbf", 3))
        f->pos = f->scanned = 3;
    return VN_OK;
}

/* Goes to the next header, over blank lines: 1, or 0 at the end of the text. */
static int find_header(struct vn_fastx *f, struct vn_error *err) {
    static const char *const expected[] = {
        [UNKNOWN] = "'>' or '@' at the start of the first record",
        [FASTQ] = "'@' at the start of a FASTQ record"};
    for (;;) {
        const uint8_t *p;
        size_t n, i = 0;
        int c, rc = peek(f, &c, err);
        if (rc != VN_OK)
            return rc;
        if (!f->in_line && f->format == UNKNOWN && (c == '>' || c == '@'))
            f->format = c == '>' ? FASTA : FASTQ;
        if (!f->in_line && ((f->format == FASTA && c == '>') ||
                            (f->format == FASTQ && c == '@')))
            return 1;
        rc = next_piece(f, &p, &n, err);
        if (rc <= 0)
            return rc;
        while (i < n && meaning[p[i]] == BLANK)
            i++;
        if (i < n) {
            f->n_records++;
            return bad_byte(f, p + i, expected[f->format], err);
        }
    }
}

int vn_fastx_next(struct vn_fastx *f, struct vn_record *rec, struct vn_error *err) {
    int rc = f->line || f->pos ? VN_OK : skip_mark(f, err);
    if (rc == VN_OK)
        rc = find_header(f, err);
    if (rc <= 0)
        return rc;
    rec->number = f->n_records++;
    rec->byte = here(f);
    f->seq.len = 0;
    rc = read_header(f, err);
    if (rc == VN_OK)
        rc = f->format == FASTA ? read_fasta(f, err) : read_fastq(f, err);
    if (rc == VN_OK)
        rc = clean_id(f, rec, err);
    if (rc != VN_OK)
        return rc;
    rec->seq = f->seq.len ? (const char *)f->seq.data : "";
    rec->seq_len = f->seq.len;
    return 1;
}

int vn_fastx_open(struct vn_source *source, struct vn_fastx **out, struct vn_error *err) {
    *out = NULL;
    struct vn_source *plain;
    int rc = vn_source_decompress(source, &plain, err);
    return rc == VN_OK ? vn_fastx_open_plain(plain, out, err) : rc;
}

int vn_fastx_open_plain(struct vn_source *plain, struct vn_fastx **out,
                        struct vn_error *err) {
    *out = NULL;
    struct vn_fastx *f = vn_calloc(1, sizeof *f, err);
    uint8_t *in = malloc(IN_SIZE);
    if (!f || !in) {
        free(f);
        free(in);
        vn_source_close(plain);
        return vn_fail(err, VN_EFAIL, "cannot allocate a sequence reader");
    }
    f->source = plain;
    f->in = in;
    *out = f;
    return VN_OK;
}

int64_t vn_fastx_bytes(const struct vn_fastx *f) {
    return here(f);
}

const char *vn_fastx_name(const struct vn_fastx *f) {
    return f->source->name;
}

void vn_fastx_close(struct vn_fastx *f) {
    if (!f)
        return;
    vn_source_close(f->source);
    vn_buf_release(&f->id);
    vn_buf_release(&f->clean_id);
    vn_buf_release(&f->seq);
    free(f->in);
    free(f);
}
