/* vn-orf - sequences to chunks and their open reading frames. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "orf.h"
#include "reads.h"
#include "stream.h"
#include "timer.h"
#include "tool.h"

#define BATCH_ROWS 8192
#define BATCH_BYTES ((int64_t)4 << 20) /* of text; a single row may have more */
#define CHUNK_LINE 60                  /* letters on a line of a chunk */
#define SUFFIX 40                      /* bytes that hold "_chunk_9223372036854775807F1" */

static const char notes[] =
    "Input: FASTA or FASTQ of nucleotides, plain, gzip, bgzf or zstd; SAM, BAM or CRAM if\n"
    "built with htslib; told apart by their first bytes. Several files are read in order as\n"
    "one. Either case; U is T. A codon with any letter but A C G T translates to nothing.\n"
    "Damaged input is an error (65).\n"
    "\n"
    "Output: a stream with the columns id, record, protein, nucleotide, source, chunk,\n"
    "frame, start, end and status: a row for each frame of a chunk that has no stop codon.\n"
    "A chunk without such a frame is a row without protein, its frame 0 and its status no\n"
    "open frame, empty, no codon, too short (--min-aa) or too long; of a protein it is not\n"
    "nucleotides. FASTA has the open frames only.";

enum target { STREAM, PROTEIN, NUCLEOTIDE, CHUNK };
static const char *const targets[] = {"stream", "protein", "nucleotide", "chunk", NULL};

enum { ID, RECORD, PROT, NUCL, SOURCE, CHUNK_NO, FRAME, START, END, STATUS, N_COLUMNS };
static const struct {
    const char *name;
    enum vn_type type;
} columns[N_COLUMNS] = {
    [ID] = {"id", VN_UTF8},           [RECORD] = {"record", VN_UINT64},
    [PROT] = {"protein", VN_UTF8},    [NUCL] = {"nucleotide", VN_UTF8},
    [SOURCE] = {"source", VN_UINT64}, [CHUNK_NO] = {"chunk", VN_INT32},
    [FRAME] = {"frame", VN_INT8},     [START] = {"start", VN_INT64},
    [END] = {"end", VN_INT64},        [STATUS] = {"status", VN_UTF8}};

struct orf {
    struct vn_tool tool;
    /* options */
    enum target to;
    int code;
    int64_t chunk, min_aa;
    int64_t max_latency; /* ms; 0: none */
    /* the work */
    struct vn_schema schema;
    struct vn_orf *finder;
    struct vn_builder builder[N_COLUMNS];
    struct vn_batch batch;
    int64_t batch_bytes;
    bool unsent;              /* rows, or FASTA */
    struct vn_timer *timer;   /* NULL: they wait for as long as it takes */
    struct vn_writer *writer; /* to a stream, or */
    struct vn_sink *sink;     /* to FASTA */
    struct vn_buf id;
    /* what was seen */
    uint64_t records, rows, frames, foreign;
    int64_t letters, text_bytes;
    int64_t n_chunks[VN_ORF_N_STATUS];
};

static void check_options(struct orf *o, const char *chunk, const char *to,
                          const char *code, const char *min_aa, const char *max_latency) {
    const struct vn_tool *t = &o->tool;
    o->chunk = vn_tool_int(t, "chunk", chunk, 0, VN_MAX_CHUNK);
    o->to = (enum target)vn_tool_choice(t, "to", to, targets);
    o->code = (int)vn_tool_int(t, "code", code, 1, VN_LAST_CODE);
    if (!vn_codons_known(o->code))
        vn_tool_usage(t, "--code '%s': expected 1 to 6, 9 to 16 or 21 to 33", code);
    o->min_aa = vn_tool_int(t, "min-aa", min_aa, 1, VN_MAX_CHUNK);
    if (max_latency)
        o->max_latency = vn_tool_int(t, "max-latency", max_latency, 1, VN_MAX_LATENCY);
}

/* ---- the start ------------------------------------------------------------------- */

static int make_schema(struct orf *o, struct vn_error *err) {
    struct vn_buf members = {0};
    int rc = vn_tool_provenance(&o->tool, &members, err);
    vn_schema_init(&o->schema, VN_KIND_RECORDS);
    for (int i = 0; rc == VN_OK && i < N_COLUMNS; i++)
        rc = vn_schema_add_flat(&o->schema, columns[i].name, columns[i].type, err);
    if (rc == VN_OK)
        rc = vn_buf_printf(&members, err,
                           ",\"chunk\":%" PRId64 ",\"code\":%d,\"min_aa\":%" PRId64, o->chunk,
                           o->code, o->min_aa);
    if (rc == VN_OK)
        rc = vn_schema_add_program(&o->schema, (const char *)members.data, err);
    vn_buf_release(&members);
    return rc;
}

static int start(struct orf *o, struct vn_error *err) {
    int rc = vn_tool_refuse_terminal(&o->tool, false, o->to == STREAM, err);
    if (rc == VN_OK)
        rc = vn_orf_new(o->code, o->min_aa, &o->finder, err);
    if (rc == VN_OK && o->to == STREAM)
        rc = make_schema(o, err);
    struct vn_sink *sink;
    if (rc == VN_OK)
        rc = vn_sink_open(o->tool.output, &sink, err);
    if (rc != VN_OK)
        return rc;
    if (o->to != STREAM) {
        o->sink = sink;
        return VN_OK;
    }
    for (int i = 0; i < N_COLUMNS; i++)
        vn_builder_init(&o->builder[i], &o->schema.fields[i]);
    rc = vn_writer_open(sink, &o->schema, &o->writer, err);
    return rc == VN_OK ? vn_writer_parallel(o->writer, o->tool.threads, err) : rc;
}

/* ---- rows of the stream ---------------------------------------------------------- */

static int send(struct orf *o, struct vn_error *err) {
    int rc = vn_builders_give(o->builder, N_COLUMNS, &o->batch, err);
    o->batch_bytes = 0;
    o->unsent = false;
    return rc == VN_OK ? vn_writer_put(o->writer, &o->batch, err) : rc;
}

/* A row of the chunk [start, end) of record r, and of a frame of it if that is not NULL. */
static int add_row(struct orf *o, int32_t chunk, const struct vn_orf_frame *f,
                   int64_t start, int64_t end, enum vn_orf_status status,
                   struct vn_error *err) {
    const char *reason = vn_orf_status_text[status];
    int8_t frame = f ? (int8_t)f->frame : 0;
    uint64_t source = o->records;
    struct {
        const void *p;
        size_t n;
    } cell[N_COLUMNS] = {[ID] = {o->id.data, o->id.len},
                         [RECORD] = {&o->rows, 0},
                         [PROT] = {f ? f->protein : "", f ? f->protein_len : 0},
                         [NUCL] = {f ? f->nucleotide : "", f ? f->nucleotide_len : 0},
                         [SOURCE] = {&source, 0},
                         [CHUNK_NO] = {&chunk, 0},
                         [FRAME] = {&frame, 0},
                         [START] = {&start, 0},
                         [END] = {&end, 0},
                         [STATUS] = {reason, strlen(reason)}};
    int64_t bytes = (int64_t)(cell[ID].n + cell[PROT].n + cell[NUCL].n);
    int rc = VN_OK;
    if (o->batch_bytes && o->batch_bytes + bytes > BATCH_BYTES)
        rc = send(o, err);
    for (int i = 0; rc == VN_OK && i < N_COLUMNS; i++)
        rc = columns[i].type == VN_UTF8
                 ? vn_builder_add_bytes(&o->builder[i], cell[i].p, cell[i].n, err)
                 : vn_builder_add_value(&o->builder[i], cell[i].p, err);
    o->batch_bytes += bytes;
    o->unsent = true;
    o->rows++;
    if (rc == VN_OK && o->builder[0].level[0].length == BATCH_ROWS)
        rc = send(o, err);
    return rc;
}

/* ---- FASTA ----------------------------------------------------------------------- */

/* On lines of `width` letters; 0: on one line. */
static int put_fasta(struct orf *o, const char *seq, size_t n, size_t width,
                     struct vn_error *err) {
    int rc = vn_sink_puts(o->sink, ">", 1, err);
    o->unsent = true;
    if (rc == VN_OK)
        rc = vn_sink_puts(o->sink, (const char *)o->id.data, o->id.len, err);
    if (rc == VN_OK)
        rc = vn_sink_puts(o->sink, "\n", 1, err);
    for (size_t i = 0; rc == VN_OK && i < n;) {
        size_t line = width && width < n - i ? width : n - i;
        rc = vn_sink_puts(o->sink, seq + i, line, err);
        if (rc == VN_OK)
            rc = vn_sink_puts(o->sink, "\n", 1, err);
        i += line;
    }
    return rc;
}

static int put_frame(struct orf *o, const struct vn_orf_frame *f, struct vn_error *err) {
    return o->to == PROTEIN ? put_fasta(o, f->protein, f->protein_len, 0, err)
                            : put_fasta(o, f->nucleotide, f->nucleotide_len, 0, err);
}

/* ---- the work -------------------------------------------------------------------- */

/* Sets the id of a chunk (from 1), or of a frame of it (0: none). */
static int make_id(struct orf *o, const struct vn_record *r, int64_t chunk, int frame,
                   struct vn_error *err) {
    char text[SUFFIX];
    size_t at = sizeof text;
    if (frame) {
        text[--at] = (char)('0' + abs(frame));
        text[--at] = frame < 0 ? 'R' : 'F';
    }
    do
        text[--at] = (char)('0' + chunk % 10);
    while (chunk /= 10);
    at -= strlen("_chunk_");
    memcpy(text + at, "_chunk_", strlen("_chunk_"));
    o->id.len = 0;
    int rc = vn_buf_append(&o->id, r->id, r->id_len, err);
    return rc == VN_OK ? vn_buf_append(&o->id, text + at, sizeof text - at, err) : rc;
}

/* The open frames of a chunk; its status. */
static int add_frames(struct orf *o, const struct vn_record *r, int64_t number, int64_t from,
                      int64_t to, enum vn_orf_status *status, struct vn_error *err) {
    struct vn_orf_frame f;
    int rc = vn_orf_scan(o->finder, r->seq + from, (size_t)(to - from), err);
    while (rc == VN_OK && vn_orf_next(o->finder, &f)) {
        o->frames++;
        if (o->to == CHUNK)
            continue;
        rc = make_id(o, r, number, f.frame, err);
        if (rc == VN_OK && o->to == STREAM)
            rc = add_row(o, (int32_t)number, &f, from + (int64_t)f.start,
                         from + (int64_t)f.end, VN_ORF_OK, err);
        else if (rc == VN_OK)
            rc = put_frame(o, &f, err);
    }
    if (rc == VN_OK)
        *status = vn_orf_status(o->finder);
    return rc;
}

static int add_chunk(struct orf *o, const struct vn_record *r, int64_t number,
                     int64_t from, int64_t to, bool foreign, struct vn_error *err) {
    const char *seq = r->seq + from;
    enum vn_orf_status status = VN_ORF_FOREIGN;
    int rc = foreign ? VN_OK : add_frames(o, r, number, from, to, &status, err);
    if (rc != VN_OK)
        return rc;
    o->n_chunks[status]++;
    if (o->to == CHUNK || (o->to == STREAM && status != VN_ORF_OK))
        rc = make_id(o, r, number, 0, err);
    if (rc == VN_OK && o->to == CHUNK)
        rc = put_fasta(o, seq, (size_t)(to - from), CHUNK_LINE, err);
    else if (rc == VN_OK && o->to == STREAM && status != VN_ORF_OK)
        rc = add_row(o, (int32_t)number, NULL, from, to, status, err);
    return rc;
}

static int add_record(struct orf *o, const struct vn_record *r, const char *file,
                      struct vn_error *err) {
    struct vn_chunks chunks;
    int64_t from, to;
    int rc = VN_OK;
    if (r->seq_len && memchr(r->seq, '<', r->seq_len))
        return vn_fail(err, VN_EDATA,
                       "bad sequence file '%s': expected nucleotides, found '<mask>' "
                       "(record %" PRIu64 ", byte %" PRId64 ")",
                       file, r->number + 1, r->byte);
    const bool foreign = vn_orf_foreign(r->seq, r->seq_len);
    vn_chunks_init(&chunks, (int64_t)r->seq_len, o->chunk);
    for (int64_t k = 0; rc == VN_OK && k < chunks.count; k++) {
        vn_chunks_at(&chunks, k, &from, &to);
        rc = add_chunk(o, r, k + 1, from, to, foreign, err);
    }
    o->records++;
    o->foreign += foreign;
    o->letters += (int64_t)r->seq_len;
    return rc;
}

/* ---- input ----------------------------------------------------------------------- */

/* Nothing waits any longer. Called while the input is waited for, and then only. */
static int send_all(void *arg, struct vn_error *err) {
    struct orf *o = arg;
    int rc = o->to == STREAM ? send(o, err) : vn_sink_flush(o->sink, err);
    o->unsent = false;
    return rc == VN_OK && o->to == STREAM ? vn_writer_sync(o->writer, err) : rc;
}

/* The source, to be interrupted, is that of the reads, and no longer there than they are. */
static int open_input(struct orf *o, const char *path, struct vn_source **source,
                      struct vn_reads **in, struct vn_error *err) {
    int rc = vn_source_open(path, source, err);
    if (rc == VN_OK)
        rc = vn_source_interruptible(*source, err);
    if (rc == VN_OK)
        rc = vn_timer_source(o->timer, *source, err);
    if (rc == VN_OK)
        rc = vn_timer_wait(o->timer, o->unsent, err);
    if (rc == VN_OK)
        return vn_timer_go_on(o->timer, vn_reads_open(*source, o->timer, in, err), err);
    vn_source_close(*source);
    return rc;
}

static int next_record(struct orf *o, struct vn_reads *in, struct vn_record *r,
                       struct vn_error *err) {
    int rc = vn_timer_wait(o->timer, o->unsent, err);
    return rc == VN_OK ? vn_timer_go_on(o->timer, in->next(in, r, err), err) : rc;
}

static int read_file(struct orf *o, const char *path, struct vn_error *err) {
    struct vn_source *source = NULL;
    struct vn_reads *in = NULL;
    struct vn_record record;
    uint64_t before = o->records;
    int rc = open_input(o, path, &source, &in, err);
    while (rc == VN_OK && (rc = next_record(o, in, &record, err)) > 0)
        rc = add_record(o, &record, in->name, err);
    if (rc == VN_OK && o->records == before)
        vn_tool_note(&o->tool, "'%s' has no records", in->name);
    if (in && rc < 0) /* alignments are read by a thread, which may wait for more */
        vn_source_interrupt(source);
    if (in) {
        o->text_bytes += in->bytes(in);
        in->close(in);
    }
    return rc;
}

/* ---- the end --------------------------------------------------------------------- */

static int finish(struct orf *o, int rc, struct vn_error *err) {
    if (rc == VN_OK && o->to == STREAM)
        rc = send(o, err);
    if (rc == VN_OK)
        return o->to == STREAM ? vn_writer_close(o->writer, err)
                               : vn_sink_close(o->sink, err);
    vn_writer_abort(o->writer);
    vn_sink_abort(o->sink);
    return rc;
}

static void summarize(const struct orf *o) {
    const struct vn_tool *t = &o->tool;
    const int64_t *n = o->n_chunks;
    double seconds = vn_tool_seconds(t);
    int64_t all = 0;
    for (int i = 0; i < VN_ORF_N_STATUS; i++)
        all += n[i];
    if (n[VN_ORF_TOO_LONG])
        vn_tool_warn(t, "sequences too long to be one chunk, without frames: %" PRId64,
                     n[VN_ORF_TOO_LONG]);
    if (o->foreign)
        vn_tool_warn(t,
                     "of %" PRIu64 " records %" PRIu64 " are not nucleotides, as they have "
                     "letters of proteins (E F I J L O P Q Z); proteins are for vn-pack",
                     o->records, o->foreign);
    vn_tool_note(t,
                 "%" PRIu64 " records, %" PRId64 " letters, %" PRId64 " chunks, %" PRIu64
                 " open frames; chunks with no open frame: %" PRId64 ", no codon: %" PRId64
                 ", empty: %" PRId64 ", too short: %" PRId64 ", not nucleotides: %" PRId64
                 "; %.2f s, %.0f MB/s, peak %.0f MiB",
                 o->records, o->letters, all, o->frames, n[VN_ORF_CLOSED],
                 n[VN_ORF_NO_CODON], n[VN_ORF_EMPTY], n[VN_ORF_TOO_SHORT],
                 n[VN_ORF_FOREIGN], seconds,
                 (double)o->text_bytes / 1e6 / seconds, vn_tool_peak_mib());
}

int main(int argc, char **argv) {
    struct orf o = {.tool = {.name = "vn-orf",
                             .usage = "[OPTION...] [FILE...]",
                             .summary = "Cut sequences into chunks and translate what is "
                                        "open of their six frames.",
                             .notes = notes,
                             .max_files = -1,
                             .has_output = true}};
    struct vn_tool *t = &o.tool;
    struct vn_error err = {0};
    const char *chunk = "500", *to = "stream", *code = "1", *min_aa = "1";
    const char *max_latency = NULL;
    struct poptOption options[] = {
        {"chunk", 0, POPT_ARG_STRING, &chunk, 0,
         "letters in a chunk; 0: every sequence is one chunk", "N"},
        {"to", 0, POPT_ARG_STRING, &to, 0,
         "what to write: stream, or FASTA: protein, nucleotide or chunk", "WHAT"},
        {"code", 0, POPT_ARG_STRING, &code, 0, "genetic code, by NCBI's number", "N"},
        {"min-aa", 0, POPT_ARG_STRING, &min_aa, 0, "residues of a protein, at least", "N"},
        {"max-latency", 0, POPT_ARG_STRING, &max_latency, 0,
         "milliseconds that a row may wait for others, at most (default: no limit)", "MS"},
        POPT_TABLEEND};
    vn_tool_begin(t, argc, argv, options);
    check_options(&o, chunk, to, code, min_aa, max_latency);

    int rc = start(&o, &err);
    if (rc == VN_OK && o.max_latency)
        rc = vn_timer_new(o.max_latency, send_all, &o, &o.timer, &err);
    for (int i = 0; rc == VN_OK && (i < t->n_files || i == 0); i++)
        rc = read_file(&o, t->files[i], &err);
    vn_timer_free(o.timer);
    rc = finish(&o, rc, &err);
    if (rc == VN_OK)
        summarize(&o);
    for (int i = 0; i < N_COLUMNS; i++)
        vn_builder_release(&o.builder[i]);
    vn_batch_release(&o.batch);
    vn_buf_release(&o.id);
    vn_orf_free(o.finder);
    vn_schema_release(&o.schema);
    return vn_tool_finish(t, rc, &err);
}
