/* vn-pack - sequences to batches of tokens. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "bpe_json.h"
#include "fastx.h"
#include "line.h"
#include "model.h"
#include "packer.h"
#include "packrows.h"
#include "stream.h"
#include "timer.h"
#include "tok.h"
#include "tool.h"
#include "windows.h"

#define MAX_WINDOW (1 << 23) /* vn-view waits for twice that */
#define WINDOW_TOKENS ((int64_t)64 << 20)
#define READ_AHEAD 3 /* batches of a records stream: one is read, one packed, one waits */
#define MAX_RECORD_TOKENS ((int64_t)1 << 28) /* one batch carries twice as many */

static const char notes[] =
    "Input: FASTA or FASTQ, plain, gzip, bgzf or zstd, or a records stream, told apart by\n"
    "their first bytes; several files are read in order as one. Letters of either case,\n"
    "'*', '-', '.' and \"<mask>\" are residues; blanks and blank lines are skipped; lines\n"
    "end in LF or CR LF. Anything else, and input that is cut, is an error (65) that names\n"
    "file, record, line and byte.\n"
    "\n"
    "Output: a stream with the columns id, record, tokens and status, one row for each\n"
    "record. Status: ok; empty (no residues); truncated (--long truncate: the first\n"
    "--max-length residues); windowed (--long window: windows of so many residues that\n"
    "overlap by a quarter); too long (--long refuse: no tokens). A record longer than\n"
    "--max-tokens is kept whole, in a batch of its own. The letter J, and '*', are not\n"
    "in ESM-2's vocabulary: they become <unk>, and are counted. DNABERT-S's has A, C, G and\n"
    "T alone: every other letter, lower case too, becomes one [UNK]. The alphabet of codons\n"
    "has the 64 of A, C, G and T or U: others become <unk>, one or two letters at the end\n"
    "none; limits of length are in codons then. Of a records stream one\n"
    "column becomes tokens, the sequences of the other kind stay behind, everything else\n"
    "is carried along; a row whose status is a reason has no tokens and keeps it.";

enum long_mode { KEEP, WINDOW, TRUNCATE, REFUSE };
static const char *const long_modes[] = {"keep", "window", "truncate", "refuse", NULL};
/* What a token stands for, by the name of its vocabulary; no model: the first two alone. */
enum words { RESIDUES, CODONS, PIECES };
static const char *const vocabularies[] = {"esm2", "codon", NULL};
static const char *const units[] = {"residues", "codons", "nucleotides"};

struct pack {
    struct vn_tool tool;
    /* options */
    const char *model, *vocab, *column;
    int64_t max_tokens, window, max_length;
    int64_t max_latency; /* ms; 0: none */
    enum long_mode long_mode;
    /* the work */
    char *model_name;
    const char *vocabulary; /* what the provenance calls it */
    enum words words;
    struct vn_bpe *bpe;  /* of PIECES */
    char tokenizer[65];  /* digest of bpe */
    struct vn_packrows *out; /* NULL before the first input is open */
    struct vn_packer *packer;
    struct vn_writer *writer;
    struct vn_timer *timer; /* NULL: records wait for as long as it takes */
    struct vn_buf tokens, windows;
    struct vn_batch batch; /* to be sent */
    struct vn_source *source; /* what is read from */
    struct vn_reader *stream; /* a records stream that is being read, and its batches */
    struct vn_batch rows[READ_AHEAD];
    uint64_t sources;
    /* what was seen */
    uint64_t records;
    int64_t residues, text_bytes, unknown;
    int64_t n_status[VN_PACK_STATUSES];
};

static void check_options(struct pack *p, const char *max_tokens, const char *window,
                          const char *max_length, const char *long_mode,
                          const char *max_latency) {
    const struct vn_tool *t = &p->tool;
    if (!p->model == !p->vocab)
        vn_tool_usage(t, p->model
                             ? "-m and --vocab exclude each other"
                             : "name the model with -m, or its vocabulary with --vocab");
    if (p->vocab)
        p->words = (enum words)vn_tool_choice(t, "vocab", p->vocab, vocabularies);
    p->max_tokens = vn_tool_int(t, "max-tokens", max_tokens, 1, 1 << 27);
    p->window = vn_tool_int(t, "window", window, 1, MAX_WINDOW);
    if (max_latency)
        p->max_latency = vn_tool_int(t, "max-latency", max_latency, 1, VN_MAX_LATENCY);
    p->max_length = vn_tool_int(t, "max-length", max_length, 0, MAX_RECORD_TOKENS - 2);
    p->long_mode = (enum long_mode)vn_tool_choice(t, "long", long_mode, long_modes);
    if (p->long_mode != KEEP && !p->max_length)
        vn_tool_usage(t, "--long %s needs --max-length", long_mode);
}

/* The tokenizer.json of the model's directory. */
static int load_tokenizer(struct pack *p, struct vn_error *err) {
    struct vn_buf path = {0};
    char *dir = vn_model_find(p->model, "config.json", err);
    int rc = dir ? vn_buf_printf(&path, err, "%s/tokenizer.json", dir) : VN_ENOINPUT;
    if (rc == VN_OK)
        rc = vn_bpe_load((const char *)path.data, &p->bpe, p->tokenizer, err);
    vn_buf_release(&path);
    free(dir);
    return rc;
}

static int check_model(struct pack *p, struct vn_error *err) {
    struct vn_model_config config = {.vocabulary = vocabularies[p->words]};
    int rc = vn_tool_refuse_terminal(&p->tool, false, true, err);
    if (rc == VN_OK && p->model)
        rc = vn_model_describe(p->model, &config, &p->model_name, err);
    p->vocabulary = config.vocabulary;
    p->words = !strcmp(p->vocabulary, "codon") ? CODONS
               : config.family == VN_DNABERT   ? PIECES
                                               : RESIDUES;
    if (rc == VN_OK && p->words != RESIDUES && p->long_mode == WINDOW)
        rc = vn_fail(err, VN_EUSAGE, "--long window is for proteins: cut nucleotides into "
                     "chunks with vn-orf");
    return rc == VN_OK && p->words == PIECES ? load_tokenizer(p, err) : rc;
}

/* ---- the schema ------------------------------------------------------------------ */

/* Our entry in the provenance: what the tokens are, and for which model. */
static int add_program(const struct pack *p, struct vn_schema *schema,
                       struct vn_error *err) {
    struct vn_buf members = {0};
    int rc = vn_tool_provenance(&p->tool, &members, err);
    if (rc == VN_OK)
        rc = vn_member_text(&members, "vocabulary", p->vocabulary, err);
    if (rc == VN_OK && p->bpe)
        rc = vn_member_text(&members, "tokenizer", p->tokenizer, err);
    if (rc == VN_OK && p->max_length)
        rc = vn_buf_printf(&members, err, ",\"max_length\":%" PRId64 ",\"long\":\"%s\"",
                           p->max_length, long_modes[p->long_mode]);
    if (rc == VN_OK && p->long_mode == WINDOW)
        rc = vn_buf_printf(&members, err, ",\"window\":%" PRId64,
                           p->max_length + VN_WINDOW_SPECIALS);
    if (rc == VN_OK && p->model_name)
        rc = vn_member_text(&members, "tokens_for", p->model_name, err);
    if (rc == VN_OK)
        rc = vn_schema_add_program(schema, (const char *)members.data, err);
    vn_buf_release(&members);
    return rc;
}

/* Tokens that may wait in the window: 64 batches fill each other's gaps, more would only
 * wait; of large batches less, but 4. */
static int64_t window_tokens(int64_t batch) {
    const int64_t most = 4 * batch > WINDOW_TOKENS ? 4 * batch : WINDOW_TOKENS;
    return 64 * batch < most ? 64 * batch : most;
}

/* Begins the output when the first input is open; `in` is its schema, NULL for FASTA. */
static int start(struct pack *p, const struct vn_schema *in, struct vn_error *err) {
    const char *column = p->column             ? p->column
                         : p->words == RESIDUES ? "protein"
                                                : "nucleotide";
    int rc = vn_packrows_new(in, in ? column : NULL, &p->out, err);
    if (rc == VN_OK)
        rc = add_program(p, vn_packrows_schema(p->out), err);
    if (rc != VN_OK)
        return rc;
    struct vn_packer_options opts = {p->max_tokens, p->window, window_tokens(p->max_tokens)};
    rc = vn_packer_new(&opts, &p->packer, err);
    struct vn_sink *sink;
    if (rc == VN_OK)
        rc = vn_sink_open(p->tool.output, &sink, err);
    if (rc == VN_OK)
        rc = vn_writer_open(sink, vn_packrows_schema(p->out), &p->writer, err);
    return rc == VN_OK ? vn_writer_parallel(p->writer, p->tool.threads, err) : rc;
}

/* ---- the work -------------------------------------------------------------------- */

static int send_full(struct pack *p, bool flush, struct vn_error *err) {
    struct vn_packed b;
    int rc;
    while ((rc = vn_packer_take(p->packer, flush, &b, err)) > 0) {
        rc = vn_packrows_batch(p->out, &b, &p->batch, err);
        if (rc == VN_OK)
            rc = vn_writer_put(p->writer, &p->batch, err);
        if (rc != VN_OK)
            return rc;
    }
    return rc;
}

/* Waits are where the window may be sent before it is full: from what is read into, and from
 * the packer, stay away between the two. */
static int begin_wait(struct pack *p, struct vn_error *err) {
    const bool collected = p->timer && p->packer && vn_packer_waiting(p->packer);
    return vn_timer_wait(p->timer, collected, err);
}

/* Nothing waits any longer. */
static int send_all(void *arg, struct vn_error *err) {
    struct pack *p = arg;
    int rc = send_full(p, true, err);
    return rc == VN_OK ? vn_writer_sync(p->writer, err) : rc;
}

/* Residues, codons or nucleotides of a sequence. */
static int64_t letters(const struct pack *p, const struct vn_record *r) {
    return p->words == RESIDUES ? vn_tok_esm2_length(r->seq, r->seq_len)
           : p->words == CODONS ? (int64_t)r->seq_len / 3
                                : (int64_t)r->seq_len;
}

/* The tokens of the first `most` of them. */
static int64_t tokenize(struct pack *p, const struct vn_record *r, size_t most,
                        struct vn_error *err) {
    if (p->words == RESIDUES)
        return vn_tok_esm2(r->seq, r->seq_len, most, &p->tokens, &p->unknown, err);
    if (p->words == CODONS)
        return vn_tok_codon(r->seq, r->seq_len, most, &p->tokens, &p->unknown, err);
    return vn_bpe_tokens(p->bpe, r->seq, r->seq_len < most ? r->seq_len : most, &p->tokens,
                         &p->unknown, err);
}

/* What becomes of a record of so many letters. */
static enum vn_pack_status judge(const struct pack *p, int64_t length) {
    const bool is_long = p->max_length && length > p->max_length;
    int64_t tokens = length + 2;
    if (length == 0)
        return VN_PACK_EMPTY;
    if (is_long && p->long_mode == TRUNCATE)
        return VN_PACK_TRUNCATED;
    if (is_long && p->long_mode == WINDOW)
        tokens = vn_windows_tokens(length, p->max_length);
    if ((is_long && p->long_mode == REFUSE) || tokens > MAX_RECORD_TOKENS)
        return VN_PACK_TOO_LONG;
    return is_long && p->long_mode == WINDOW ? VN_PACK_WINDOWED : VN_PACK_OK;
}

/* A record without a sequence (NULL) is a row of a records stream that says why. */
static int add_record(struct pack *p, const struct vn_record *r, struct vn_error *err) {
    int64_t length = r->seq ? letters(p, r) : 0, n = 0;
    const enum vn_pack_status status = r->seq ? judge(p, length) : VN_PACK_AS_IT_CAME;
    const struct vn_buf *tokens = &p->tokens;
    int rc = VN_OK;
    p->tokens.len = 0;
    if (status == VN_PACK_OK || status == VN_PACK_TRUNCATED || status == VN_PACK_WINDOWED)
        n = tokenize(p, r, status == VN_PACK_TRUNCATED ? (size_t)p->max_length : SIZE_MAX,
                     err);
    if (n < 0)
        return (int)n;
    if (status == VN_PACK_WINDOWED) {
        rc = vn_windows_cut((const uint16_t *)p->tokens.data, n, p->max_length, &p->windows,
                            err);
        tokens = &p->windows;
        n = (int64_t)(tokens->len / sizeof(uint16_t));
    }
    p->residues += length;
    p->n_status[status]++;
    if (rc == VN_OK)
        rc = vn_packer_add(p->packer, p->records++, r->id, r->id_len,
                           (const uint16_t *)tokens->data, n, (uint8_t)status, err);
    if (rc == VN_OK && vn_packer_full(p->packer))
        rc = send_full(p, false, err);
    return rc;
}

static int next_record(struct pack *p, struct vn_fastx *in, struct vn_record *r,
                       struct vn_error *err) {
    int rc = begin_wait(p, err);
    return rc == VN_OK ? vn_timer_go_on(p->timer, vn_fastx_next(in, r, err), err) : rc;
}

static int pack_fastx(struct pack *p, struct vn_fastx *in, struct vn_error *err) {
    struct vn_record r;
    uint64_t before = p->records;
    int rc = VN_OK;
    if (p->column)
        rc = vn_fail(err, VN_EINCOMPAT,
                     "'%s' is no stream: it does not have the column '%s'",
                     vn_fastx_name(in), p->column);
    if (rc == VN_OK && p->out && vn_packrows_input(p->out))
        rc = vn_fail(err, VN_EINCOMPAT, "'%s' is no stream, the files before it are",
                     vn_fastx_name(in));
    if (rc == VN_OK && !p->writer)
        rc = start(p, NULL, err);
    while (rc == VN_OK && (rc = next_record(p, in, &r, err)) > 0)
        if ((rc = add_record(p, &r, err)) == VN_EDATA)
            vn_prefix(err, "bad sequence file '%s': record %" PRIu64 " at byte %" PRId64,
                      vn_fastx_name(in), r.number + 1, r.byte);
    if (rc == VN_OK && p->records == before)
        vn_tool_note(&p->tool, "'%s' has no records", vn_fastx_name(in));
    p->text_bytes += vn_fastx_bytes(in);
    return rc;
}

/* ---- records streams ------------------------------------------------------------- */

static int pack_rows(void *arg, int slot, struct vn_error *err) {
    struct pack *p = arg;
    const struct vn_batch *b = &p->rows[slot];
    int rc = VN_OK;
    for (int64_t i = 0; rc == VN_OK && i < b->n_rows; i++) {
        struct vn_record r;
        rc = vn_packrows_take(p->out, b, i, &r, err);
        if (rc == VN_OK && (rc = add_record(p, &r, err)) == VN_EDATA)
            vn_prefix(err, "record %" PRIu64, r.number);
    }
    return rc == VN_EDATA ? vn_prefix(err, "'%s'", vn_reader_name(p->stream)) : rc;
}

static void stop_reading(void *arg) {
    vn_source_interrupt(((struct pack *)arg)->source);
}

static int read_rows(void *arg, int slot, struct vn_error *err) {
    struct pack *p = arg;
    int rc = begin_wait(p, err);
    if (rc == VN_OK)
        rc = vn_timer_go_on(p->timer, vn_reader_next(p->stream, &p->rows[slot], err), err);
    return rc;
}

/* Packs on a thread what is read meanwhile; with a timer, which must know when nothing is
 * packed, one after the other. */
static int pack_all_rows(struct pack *p, struct vn_error *err) {
    static const struct vn_line_steps steps = {NULL, pack_rows, stop_reading};
    const int threads = p->timer ? 0 : vn_line_threads(p->tool.threads, 1);
    int rc = vn_source_interruptible(p->source, err);
    return rc == VN_OK ? vn_line_run(threads, READ_AHEAD, &steps, read_rows, p, err) : rc;
}

static int pack_stream(struct pack *p, struct vn_reader *in, struct vn_error *err) {
    int rc = VN_OK;
    if (!p->writer)
        rc = start(p, vn_reader_schema(in), err);
    else if (vn_packrows_input(p->out))
        rc = vn_schema_same(vn_packrows_input(p->out), vn_reader_schema(in), err);
    else
        rc = vn_fail(err, VN_EINCOMPAT, "is a stream, the files before it are not");
    if (rc != VN_OK && rc != VN_EWRITE)
        vn_prefix(err, "'%s'", vn_reader_name(in));
    p->stream = in;
    if (rc == VN_OK)
        rc = pack_all_rows(p, err);
    p->sources = vn_reader_sources(in);
    p->text_bytes += (int64_t)vn_reader_bytes(in);
    return rc;
}

/* ---- files ----------------------------------------------------------------------- */

/* Opens the source as what it begins like: one of stream and text. */
static int open_as(struct pack *p, struct vn_source *source, struct vn_reader **stream,
                   struct vn_fastx **text, struct vn_error *err) {
    const struct vn_reader_options opts = {.records = p->records, .sources = p->sources};
    uint8_t head[4];
    size_t n = 0;
    int rc = vn_source_peek(&source, head, sizeof head, &n, err);
    if (rc != VN_OK) {
        vn_source_close(source);
        return rc;
    }
    /* How every Arrow stream begins; no text does. Where a stream is asked for, nothing at all
     * is one that was cut, and not a text without records. */
    return !memcmp(head, "\xff\xff\xff\xff", n) && (n == sizeof head || p->column)
               ? vn_reader_open(source, &opts, stream, err)
               : vn_fastx_open(source, text, err);
}

static int open_input(struct pack *p, const char *path, struct vn_reader **stream,
                      struct vn_fastx **text, struct vn_error *err) {
    struct vn_source *source = NULL;
    int rc = vn_source_open(path, &source, err);
    p->source = source;
    if (rc == VN_OK)
        rc = vn_timer_source(p->timer, source, err);
    if (rc == VN_OK)
        rc = begin_wait(p, err);
    if (rc == VN_OK)
        return vn_timer_go_on(p->timer, open_as(p, source, stream, text, err), err);
    vn_source_close(source);
    return rc;
}

static int pack_file(struct pack *p, const char *path, struct vn_error *err) {
    struct vn_reader *stream = NULL;
    struct vn_fastx *text = NULL;
    int rc = open_input(p, path, &stream, &text, err);
    if (rc == VN_OK)
        rc = stream ? pack_stream(p, stream, err) : pack_fastx(p, text, err);
    vn_reader_close(stream);
    vn_fastx_close(text);
    return rc;
}

/* ---- the end --------------------------------------------------------------------- */

static void summarize(const struct pack *p, const struct vn_totals *totals) {
    const struct vn_tool *t = &p->tool;
    uint64_t sent, budget;
    double seconds = vn_tool_seconds(t);
    if (p->unknown)
        vn_tool_warn(t, "%s that have no token, sent as %s: %" PRId64,
                     p->words == CODONS ? "codons" : "letters",
                     p->words == PIECES ? "[UNK]" : "<unk>", p->unknown);
    if (p->n_status[VN_PACK_TRUNCATED])
        vn_tool_warn(t, "records cut to %" PRId64 " %s: %" PRId64, p->max_length,
                     units[p->words], p->n_status[VN_PACK_TRUNCATED]);
    if (p->n_status[VN_PACK_WINDOWED])
        vn_tool_warn(t, "records in windows of %" PRId64 " residues: %" PRId64, p->max_length,
                     p->n_status[VN_PACK_WINDOWED]);
    if (p->n_status[VN_PACK_TOO_LONG])
        vn_tool_warn(t, "records too long, sent without tokens: %" PRId64,
                     p->n_status[VN_PACK_TOO_LONG]);
    vn_packer_fill(p->packer, &sent, &budget);
    char others[64] = "";
    if (vn_packrows_input(p->out))
        snprintf(others, sizeof others, ", %" PRId64 " without a sequence",
                 p->n_status[VN_PACK_AS_IT_CAME]);
    vn_tool_note(
        t,
        "%" PRIu64 " records, %" PRId64 " %s, %" PRIu64 " tokens, %" PRIu64
        " batches filled to %.2f %%; %" PRId64 " unknown %s, %" PRId64 " windowed, %" PRId64
        " truncated, %" PRId64 " too long, %" PRId64 " empty%s; %.2f s, %.0f MB/s, "
        "peak %.0f MiB",
        totals->records, p->residues, units[p->words], totals->tokens, totals->batches,
        budget ? 100.0 * (double)sent / (double)budget : 100.0, p->unknown,
        p->words == CODONS ? "codons" : "letters", p->n_status[VN_PACK_WINDOWED],
        p->n_status[VN_PACK_TRUNCATED], p->n_status[VN_PACK_TOO_LONG],
        p->n_status[VN_PACK_EMPTY], others, seconds, (double)p->text_bytes / 1e6 / seconds,
        vn_tool_peak_mib());
}

static void release(struct pack *p) {
    vn_timer_free(p->timer);
    vn_packer_free(p->packer);
    vn_packrows_free(p->out);
    for (int i = 0; i < READ_AHEAD; i++)
        vn_batch_release(&p->rows[i]);
    vn_batch_release(&p->batch);
    vn_buf_release(&p->tokens);
    vn_buf_release(&p->windows);
    vn_bpe_free(p->bpe);
    free(p->model_name);
}

int main(int argc, char **argv) {
    struct pack p = {
        .tool = {.name = "vn-pack",
                 .usage = "-m MODEL | --vocab esm2|codon [OPTION...] [FILE...]",
                 .summary = "Turn sequences into packed batches of tokens.",
                 .notes = notes,
                 .max_files = -1,
                 .has_output = true}};
    struct vn_tool *t = &p.tool;
    struct vn_error err = {0};
    const char *max_tokens = "65536", *window = "16384", *max_length = "0";
    const char *mode = "keep", *max_latency = NULL;
    struct poptOption options[] = {
        {"model", 'm', POPT_ARG_STRING, &p.model, 0,
         "make tokens for this model: a directory, or the name of one", "MODEL"},
        {"vocab", 0, POPT_ARG_STRING, &p.vocab, 0,
         "make tokens of this vocabulary: esm2, codon", "NAME"},
        {"column", 0, POPT_ARG_STRING, &p.column, 0,
         "of a records stream: the sequences to take (default: what the model reads, "
         "protein or nucleotide)",
         "NAME"},
        {"max-tokens", 0, POPT_ARG_STRING, &max_tokens, 0,
         "tokens in a batch, <cls> and <eos> included", "N"},
        {"window", 0, POPT_ARG_STRING, &window, 0,
         "records that are sorted by length to fill batches, at most", "N"},
        {"max-latency", 0, POPT_ARG_STRING, &max_latency, 0,
         "milliseconds that a record may wait for others, at most (default: no limit)",
         "MS"},
        {"max-length", 0, POPT_ARG_STRING, &max_length, 0,
         "residues, codons or nucleotides beyond which a record is long; 0: none is", "N"},
        {"long", 0, POPT_ARG_STRING, &mode, 0,
         "what to do with long records: keep, window, truncate or refuse", "HOW"},
        POPT_TABLEEND};
    vn_tool_begin(t, argc, argv, options);
    check_options(&p, max_tokens, window, max_length, mode, max_latency);

    int rc = check_model(&p, &err);
    if (rc == VN_OK && p.max_latency)
        rc = vn_timer_new(p.max_latency, send_all, &p, &p.timer, &err);
    for (int i = 0; rc == VN_OK && (i < t->n_files || i == 0); i++)
        rc = pack_file(&p, t->files[i], &err);
    if (rc == VN_OK)
        rc = send_full(&p, true, &err);
    struct vn_totals totals = {0};
    if (rc == VN_OK) {
        totals = vn_writer_totals(p.writer);
        rc = vn_writer_close(p.writer, &err);
    } else {
        vn_writer_abort(p.writer);
    }
    if (rc == VN_OK)
        summarize(&p, &totals);
    release(&p);
    return vn_tool_finish(t, rc, &err);
}
