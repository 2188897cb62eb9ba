#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "crc.h"
#include "decoder.h"
#include "num.h"
#include "stream.h"

#define FIRST_STEP ((size_t)64 << 10) /* allocated before the first byte has come */
#define CRC_STEP ((size_t)256 << 10)  /* small enough to be in the cache when summed */

struct vn_reader {
    struct vn_source *source;
    bool lax;
    int64_t max_body;
    struct vn_schema schema;
    struct vn_zbody *z;
    struct vn_buf meta, body;
    int payload, record, source_column; /* columns, or -1 */
    uint64_t at, message;         /* byte in the input; where the last message began */
    struct vn_totals all, before; /* of all streams; of those before this one */
    uint64_t records_before;      /* in other files */
    uint64_t sources, sources_before; /* so far; before this stream, other files included */
    bool totals_seen, ended;
    int failed; /* status of the failure that ended reading, or VN_OK */
};

/* ---- bytes ----------------------------------------------------------------------- */

static int truncated(struct vn_reader *r, struct vn_error *err) {
    return vn_fail(err, VN_EDATA, "the stream is truncated: the input ends at byte %" PRIu64,
                   r->at);
}

/* Reads n bytes into buf, which grows only as they arrive; sums them if crc is not NULL. */
static int read_bytes(struct vn_reader *r, struct vn_buf *buf, size_t n, uint32_t *crc,
                      struct vn_error *err) {
    buf->len = 0;
    while (buf->len < n) {
        size_t room = buf->cap > buf->len ? buf->cap - buf->len : buf->len;
        size_t step = n - buf->len;
        room = room < FIRST_STEP ? FIRST_STEP : room;
        step = step > room ? room : step;
        step = step > CRC_STEP ? CRC_STEP : step;
        int rc = vn_buf_reserve(buf, buf->len + step, err);
        if (rc != VN_OK)
            return rc;
        int64_t got = vn_read_full(r->source, buf->data + buf->len, step, err);
        if (got < 0)
            return (int)got;
        r->at += (uint64_t)got;
        if ((size_t)got < step)
            return truncated(r, err);
        if (crc)
            *crc = vn_crc32c(*crc, buf->data + buf->len, step);
        buf->len += step;
    }
    return VN_OK;
}

/* ---- messages -------------------------------------------------------------------- */

static int not_a_stream(const uint8_t *head, struct vn_error *err) {
    if (!memcmp(head, "ARROW1", 6))
        return vn_fail(err, VN_EINCOMPAT, "is an Arrow file, not an Arrow stream");
    return vn_fail(err, VN_EDATA, "is not an Arrow stream");
}

/* Reads the next message's metadata and what it says: 1; 0 at an end marker; END_OF_INPUT
 * where the input ends between two messages. */
enum { END_OF_INPUT = 2 };

static int next_message(struct vn_reader *r, struct vn_arrow_message *m,
                        struct vn_error *err) {
    uint8_t head[VN_ARROW_PREFIX];
    r->message = r->at;
    int64_t got = vn_read_full(r->source, head, sizeof head, err);
    if (got < 0)
        return (int)got;
    r->at += (uint64_t)got;
    if (got == 0)
        return END_OF_INPUT;
    if (got < (int64_t)sizeof head)
        return truncated(r, err);
    uint32_t n = vn_load32(head + 4);
    if (vn_load32(head) != VN_ARROW_CONTINUATION)
        return r->message ? vn_fail(err, VN_EDATA, "no message begins here")
                          : not_a_stream(head, err);
    if (n == 0)
        return 0;
    if (n > VN_MAX_METADATA || n % 8)
        return vn_fail(err, VN_EDATA, "metadata of %lld bytes", (long long)(int32_t)n);
    int rc = read_bytes(r, &r->meta, n, NULL, err);
    if (rc == VN_OK)
        rc = vn_arrow_parse(r->meta.data, r->meta.len, m, err);
    if (rc == VN_OK && !m->version_5 && !r->lax)
        return vn_fail(err, VN_EINCOMPAT, "Arrow metadata of version V4, expected V5");
    return rc == VN_OK ? 1 : rc;
}

static int read_schema(struct vn_reader *r, const struct vn_arrow_message *m,
                       struct vn_schema *out, struct vn_error *err) {
    if (m->type != VN_ARROW_SCHEMA)
        return vn_fail(err, VN_EDATA, "a record batch without a schema before it");
    if (!m->marks.crc && !r->lax)
        return vn_fail(err, VN_EINCOMPAT,
                       "an Arrow stream without vn's checksums: vn-view --lax reads it");
    return vn_arrow_read_schema(m, r->lax, out, err);
}

/* ---- open ------------------------------------------------------------------------ */

/* Says where: a reader's own reports only, a source names itself. */
static int located(struct vn_reader *r, int rc, struct vn_error *err) {
    if (rc == VN_EDATA || rc == VN_EINCOMPAT || rc == VN_EFAIL) {
        if (r->message == 0)
            vn_prefix(err, "cannot read '%s'", r->source->name);
        else
            vn_prefix(err, "cannot read '%s', batch %" PRIu64 " at byte %" PRIu64,
                      r->source->name, r->all.batches, r->message);
    }
    return rc;
}

static int open_stream(struct vn_reader *r, struct vn_error *err) {
    struct vn_arrow_message m;
    int rc = next_message(r, &m, err);
    if (rc == END_OF_INPUT)
        return vn_fail(err, VN_EDATA, "the input is empty, expected an Arrow stream");
    if (rc == 0)
        return vn_fail(err, VN_EDATA, "the stream ends before its schema");
    if (rc == 1)
        rc = read_schema(r, &m, &r->schema, err);
    return rc;
}

/* A column of numbers that count on from stream to stream, or -1. */
static int number_column(const struct vn_reader *r, const char *name) {
    const int at = vn_schema_find(&r->schema, name);
    if (r->schema.kind == VN_KIND_OTHER || /* whose numbers are nobody's to change */
        (at >= 0 && r->schema.fields[at].level[0].type != VN_UINT64))
        return -1;
    return at;
}

int vn_reader_open(struct vn_source *source, const struct vn_reader_options *opts,
                   struct vn_reader **out, struct vn_error *err) {
    struct vn_reader *r = *out = vn_calloc(1, sizeof *r, err);
    if (!r) {
        vn_source_close(source);
        return VN_EFAIL;
    }
    r->source = source;
    r->lax = opts && opts->lax;
    r->max_body = opts && opts->max_body ? opts->max_body : VN_MAX_BODY;
    int rc = vn_zbody_new(&r->z, err);
    if (rc == VN_OK)
        rc = located(r, open_stream(r, err), err);
    if (rc != VN_OK) {
        vn_reader_close(r);
        *out = NULL;
        return rc;
    }
    r->payload = vn_arrow_payload(&r->schema);
    r->record = number_column(r, "record");
    r->source_column = number_column(r, "source");
    r->records_before = opts ? opts->records : 0;
    r->sources = r->sources_before = opts ? opts->sources : 0;
    return VN_OK;
}

void vn_reader_close(struct vn_reader *r) {
    if (!r)
        return;
    vn_source_close(r->source);
    vn_schema_release(&r->schema);
    vn_zbody_free(r->z);
    vn_buf_release(&r->meta);
    vn_buf_release(&r->body);
    free(r);
}

int vn_reader_interruptible(struct vn_reader *r, struct vn_error *err) {
    return vn_source_interruptible(r->source, err);
}

void vn_reader_interrupt(struct vn_reader *r) {
    vn_source_interrupt(r->source);
}

const struct vn_schema *vn_reader_schema(const struct vn_reader *r) {
    return &r->schema;
}

struct vn_totals vn_reader_totals(const struct vn_reader *r) {
    return r->all;
}

uint64_t vn_reader_sources(const struct vn_reader *r) {
    return r->sources;
}

uint64_t vn_reader_bytes(const struct vn_reader *r) {
    return r->at;
}

const char *vn_reader_name(const struct vn_reader *r) {
    return r->source->name;
}

/* ---- batches --------------------------------------------------------------------- */

/* A number that a message must carry as text. Lax: may carry. */
static int check_mark(struct vn_reader *r, const char *name, const char *found,
                      const char *expected, struct vn_error *err) {
    if (!found && r->lax)
        return VN_OK;
    if (!found || strcmp(found, expected))
        return vn_fail(err, VN_EDATA, "%s is '%s', expected '%s'", name,
                       found ? found : "missing", expected);
    return VN_OK;
}

static int check_marks(struct vn_reader *r, const struct vn_arrow_message *m,
                       const struct vn_arrow_batch *b, uint32_t body_crc,
                       struct vn_error *err) {
    char number[24], rows[24], crc[9], totals[72];
    uint64_t batches = r->all.batches - r->before.batches;
    snprintf(number, sizeof number, "%" PRIu64, batches);
    snprintf(rows, sizeof rows, "%" PRId64, b->rows);
    snprintf(crc, sizeof crc, "%08x", (unsigned)body_crc);
    int rc = check_mark(r, "vn.body.crc32c", m->marks.body_crc, crc, err);
    if (rc == VN_OK)
        rc = check_mark(r, "vn.batch", m->marks.batch, number, err);
    if (rc == VN_OK)
        rc = check_mark(r, "vn.records", m->marks.records, rows, err);
    if (rc == VN_OK && b->rows == 0) {
        snprintf(totals, sizeof totals, "%" PRIu64 " %" PRIu64 " %" PRIu64, batches,
                 r->all.records - r->before.records, r->all.tokens - r->before.tokens);
        rc = check_mark(r, "vn.totals", m->marks.totals, totals, err);
    } else if (rc == VN_OK && m->marks.totals) {
        rc = vn_fail(err, VN_EDATA, "a batch with rows carries totals");
    }
    return rc;
}

/* Numbers of a stream that follows others go on where those ended. */
static int raise_numbers(struct vn_batch *b, int column, uint64_t by, const char *what,
                         struct vn_error *err) {
    uint64_t *number = (uint64_t *)(void *)b->columns[column].level[0].values;
    for (int64_t i = 0; by && i < b->n_rows; i++)
        if (__builtin_add_overflow(number[i], by, &number[i]))
            return vn_fail(err, VN_EDATA, "%s number of row %lld is out of range", what,
                           (long long)i);
    return VN_OK;
}

static int count_on(struct vn_reader *r, struct vn_batch *b, struct vn_error *err) {
    int rc = VN_OK;
    if (r->record >= 0)
        rc = raise_numbers(b, r->record, r->records_before + r->before.records, "record",
                           err);
    if (rc != VN_OK || r->source_column < 0)
        return rc;
    rc = raise_numbers(b, r->source_column, r->sources_before, "source", err);
    const uint64_t *source = b->columns[r->source_column].level[0].values;
    for (int64_t i = 0; rc == VN_OK && i < b->n_rows; i++)
        if (source[i] >= r->sources) /* the largest number there is leaves no room */
            r->sources = source[i] + (source[i] != UINT64_MAX);
    return rc;
}

static int read_batch(struct vn_reader *r, const struct vn_arrow_message *m,
                      struct vn_batch *b, struct vn_error *err) {
    struct vn_arrow_batch in;
    uint32_t crc = 0;
    if (m->type != VN_ARROW_BATCH)
        return vn_fail(err, VN_EDATA, "a second schema inside the stream");
    if (r->totals_seen)
        return vn_fail(err, VN_EDATA, "a batch follows the totals");
    if (!m->marks.crc && !r->lax)
        return vn_fail(err, VN_EDATA, "the metadata has no checksum");
    if (m->body > r->max_body)
        return vn_fail(err, VN_EDATA, "a body of %lld bytes, more than the %lld allowed",
                       (long long)m->body, (long long)r->max_body);
    int rc = vn_arrow_read_batch(m, &in, err);
    if (rc == VN_OK)
        rc = read_bytes(r, &r->body, (size_t)m->body, &crc, err);
    if (rc == VN_OK)
        rc = check_marks(r, m, &in, crc, err);
    if (rc == VN_OK)
        rc = vn_decode_batch(&r->schema, r->lax, r->max_body, r->z, &in, r->body.data,
                             r->body.len, b, err);
    if (rc == VN_OK)
        rc = count_on(r, b, err);
    if (rc != VN_OK)
        return rc;
    b->number = r->all.batches;
    r->all.batches += b->n_rows > 0;
    r->all.records += (uint64_t)b->n_rows;
    r->all.tokens += vn_arrow_tokens(&r->schema, r->payload, b);
    r->totals_seen = b->n_rows == 0 && !(r->lax && !m->marks.totals);
    return VN_OK;
}

/* After an end marker: the end of the input, or another stream that goes on. */
static int next_stream(struct vn_reader *r, struct vn_error *err) {
    struct vn_arrow_message m;
    struct vn_schema next;
    if (!r->totals_seen && !r->lax)
        return vn_fail(err, VN_EDATA, "the stream ends without its totals");
    int rc = next_message(r, &m, err);
    if (rc == END_OF_INPUT) {
        r->ended = true;
        return VN_OK;
    }
    if (rc == 0)
        return vn_fail(err, VN_EDATA, "a second end marker");
    if (rc == 1)
        rc = read_schema(r, &m, &next, err);
    if (rc != VN_OK)
        return rc < 0 ? vn_prefix(err, "after the end of a stream") : rc;
    rc = vn_schema_same(&r->schema, &next, err);
    vn_schema_release(&next);
    r->before = r->all;
    r->sources_before = r->sources;
    r->totals_seen = false;
    return rc == VN_OK ? rc : vn_prefix(err, "another stream follows that does not fit");
}

static int next_rows(struct vn_reader *r, struct vn_batch *b, struct vn_error *err) {
    while (!r->ended) {
        struct vn_arrow_message m;
        int rc = next_message(r, &m, err);
        if (rc == END_OF_INPUT) {
            if (!r->lax)
                return truncated(r, err);
            r->ended = true;
        } else if (rc == 0) {
            rc = next_stream(r, err);
        } else if (rc == 1) {
            rc = read_batch(r, &m, b, err);
            if (rc == VN_OK && b->n_rows)
                return 1;
        }
        if (rc < 0)
            return rc;
    }
    return 0;
}

int vn_reader_next(struct vn_reader *r, struct vn_batch *b, struct vn_error *err) {
    if (r->failed)
        return vn_fail(err, r->failed, "'%s' has failed before", r->source->name);
    int rc = next_rows(r, b, err);
    if (rc < 0)
        r->failed = located(r, rc, err);
    return rc;
}
