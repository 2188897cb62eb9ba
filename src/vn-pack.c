/* vn-pack - sequences to batches of tokens. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "fastx.h"
#include "json.h"
#include "model.h"
#include "packer.h"
#include "stream.h"
#include "tok.h"
#include "tool.h"

#define MAX_WINDOW (1 << 23) /* vn-view waits for twice that */
#define MAX_RECORD_TOKENS ((int64_t)1 << 28) /* one batch carries twice as many */

static const char notes[] =
    "Input: FASTA or FASTQ, plain, gzip, bgzf or zstd, told apart by their first bytes;\n"
    "several files are read in order as one. Letters of either case, '*', '-', '.' and\n"
    "\"<mask>\" are residues; blanks and blank lines are skipped; lines end in LF or\n"
    "CR LF. Anything else, and input that is cut, is an error (65) that names file,\n"
    "record, line and byte.\n"
    "\n"
    "Output: a stream with the columns id, record, tokens and status, one row for each\n"
    "record. Status: ok; empty (no residues); truncated (--long truncate: the first\n"
    "--max-length residues); too long (--long refuse: no tokens). A record longer than\n"
    "--max-tokens is kept whole, in a batch of its own. The letter J, and '*', are not\n"
    "in the vocabulary: they become <unk>, and are counted.";

enum long_mode { KEEP, TRUNCATE, REFUSE };
enum status { OK, EMPTY, TRUNCATED, TOO_LONG, N_STATUS };
static const char *const status_text[N_STATUS] = {"ok", "empty", "truncated", "too long"};

enum { COL_ID, COL_RECORD, COL_TOKENS, COL_STATUS, N_COLUMNS };

struct pack {
    struct vn_tool tool;
    /* options */
    const char *model, *vocab;
    int64_t max_tokens, window, max_length;
    enum long_mode long_mode;
    /* the work */
    char *model_name;
    struct vn_schema schema;
    struct vn_packer *packer;
    struct vn_writer *writer;
    struct vn_buf tokens;
    struct vn_builder ids, statuses;
    struct vn_batch batch;
    /* what was seen */
    uint64_t records;
    int64_t residues, text_bytes, unknown;
    int64_t n_status[N_STATUS];
};

static void check_options(struct pack *p, const char *max_tokens, const char *window,
                          const char *max_length, const char *long_mode) {
    static const char *const vocabs[] = {"esm2", NULL};
    static const char *const modes[] = {"keep", "truncate", "refuse", NULL};
    const struct vn_tool *t = &p->tool;
    if (!p->model == !p->vocab)
        vn_tool_usage(t, p->model
                             ? "-m and --vocab exclude each other"
                             : "name the model with -m, or its vocabulary with --vocab");
    if (p->vocab)
        (void)vn_tool_choice(t, "vocab", p->vocab, vocabs);
    p->max_tokens = vn_tool_int(t, "max-tokens", max_tokens, 1, 1 << 27);
    p->window = vn_tool_int(t, "window", window, 1, MAX_WINDOW);
    p->max_length = vn_tool_int(t, "max-length", max_length, 0, MAX_RECORD_TOKENS - 2);
    p->long_mode = (enum long_mode)vn_tool_choice(t, "long", long_mode, modes);
    if (p->long_mode != KEEP && !p->max_length)
        vn_tool_usage(t, "--long %s needs --max-length", long_mode);
}

/* ---- the schema ------------------------------------------------------------------ */

/* Our entry in the provenance: what the tokens are, and for which model. */
static int add_program(struct pack *p, struct vn_error *err) {
    static const char *const modes[] = {"keep", "truncate", "refuse"};
    struct vn_buf text = {0};
    char *members = vn_tool_provenance(&p->tool);
    int rc = members ? vn_buf_puts(&text, members, err)
                     : vn_fail(err, VN_EFAIL, "cannot allocate the provenance");
    if (rc == VN_OK)
        rc = vn_buf_puts(&text, ",\"vocabulary\":\"esm2\"", err);
    if (rc == VN_OK && p->max_length)
        rc = vn_buf_printf(&text, err, ",\"max_length\":%" PRId64 ",\"long\":\"%s\"",
                           p->max_length, modes[p->long_mode]);
    if (rc == VN_OK && p->model_name) {
        json_t *name = json_string(p->model_name);
        char *quoted = json_dumps(name, JSON_ENCODE_ANY);
        rc = quoted ? vn_buf_printf(&text, err, ",\"tokens_for\":%s", quoted)
                    : vn_fail(err, VN_EDATA, "the model's name '%s' is not UTF-8",
                              p->model_name);
        free(quoted);
        json_decref(name);
    }
    if (rc == VN_OK)
        rc = vn_buf_append(&text, "", 1, err);
    if (rc == VN_OK)
        rc = vn_schema_add_program(&p->schema, (const char *)text.data, err);
    vn_buf_release(&text);
    free(members);
    return rc;
}

static int make_schema(struct pack *p, struct vn_error *err) {
    static const enum vn_type list[] = {VN_LIST, VN_UINT16};
    vn_schema_init(&p->schema, VN_KIND_TOKENS);
    int rc = vn_schema_add_flat(&p->schema, "id", VN_UTF8, err);
    if (rc == VN_OK)
        rc = vn_schema_add_flat(&p->schema, "record", VN_UINT64, err);
    if (rc == VN_OK)
        rc = vn_schema_add(&p->schema, "tokens", list, NULL, 2, false, err);
    if (rc == VN_OK)
        rc = vn_schema_add_flat(&p->schema, "status", VN_UTF8, err);
    return rc == VN_OK ? add_program(p, err) : rc;
}

static int start(struct pack *p, struct vn_error *err) {
    struct vn_model_config config;
    int rc = vn_tool_refuse_terminal(&p->tool, false, true, err);
    if (rc == VN_OK && p->model)
        rc = vn_model_describe(p->model, &config, &p->model_name, err);
    if (rc == VN_OK)
        rc = make_schema(p, err);
    if (rc != VN_OK)
        return rc;
    /* 64 batches in the window fill each other's gaps; more would only wait */
    int64_t tokens = 64 * p->max_tokens;
    if (tokens > 64 << 20)
        tokens = 4 * p->max_tokens > 64 << 20 ? 4 * p->max_tokens : 64 << 20;
    struct vn_packer_options opts = {p->max_tokens, p->window, tokens};
    vn_builder_init(&p->ids, &p->schema.fields[COL_ID]);
    vn_builder_init(&p->statuses, &p->schema.fields[COL_STATUS]);
    rc = vn_batch_set_columns(&p->batch, N_COLUMNS, err);
    if (rc == VN_OK)
        rc = vn_packer_new(&opts, &p->packer, err);
    struct vn_sink *sink;
    if (rc == VN_OK)
        rc = vn_sink_open(p->tool.output, &sink, err);
    return rc == VN_OK ? vn_writer_open(sink, &p->schema, &p->writer, err) : rc;
}

/* ---- the work -------------------------------------------------------------------- */

static int send(struct pack *p, const struct vn_packed *b, struct vn_error *err) {
    int rc = VN_OK;
    vn_builder_clear(&p->ids);
    vn_builder_clear(&p->statuses);
    for (int64_t i = 0; rc == VN_OK && i < b->n; i++) {
        const char *text = status_text[b->status[i]];
        rc = vn_builder_add_bytes(&p->ids, b->id[i], (size_t)b->id_len[i], err);
        if (rc == VN_OK)
            rc = vn_builder_add_bytes(&p->statuses, text, strlen(text), err);
    }
    if (rc != VN_OK)
        return rc;
    struct vn_column *c = p->batch.columns;
    vn_builder_view(&p->ids, &c[COL_ID]);
    vn_builder_view(&p->statuses, &c[COL_STATUS]);
    c[COL_RECORD].level[0] = (struct vn_array){.length = b->n, .values = b->record};
    c[COL_TOKENS].level[0] = (struct vn_array){.length = b->n, .offsets = b->cu_seqlens};
    c[COL_TOKENS].level[1] =
        (struct vn_array){.length = b->cu_seqlens[b->n], .values = b->tokens};
    p->batch.n_rows = b->n;
    return vn_writer_put(p->writer, &p->batch, err);
}

static int send_full(struct pack *p, bool flush, struct vn_error *err) {
    struct vn_packed b;
    int rc;
    while ((rc = vn_packer_take(p->packer, flush, &b, err)) > 0)
        if ((rc = send(p, &b, err)) != VN_OK)
            return rc;
    return rc;
}

static int add_record(struct pack *p, const struct vn_record *r, struct vn_error *err) {
    int64_t length = vn_tok_esm2_length(r->seq, r->seq_len), n = 0;
    size_t most = SIZE_MAX;
    bool is_long = p->max_length && length > p->max_length;
    enum status status = OK;
    if (length == 0) {
        status = EMPTY;
    } else if (is_long && p->long_mode == TRUNCATE) {
        status = TRUNCATED;
        most = (size_t)p->max_length;
    } else if ((is_long && p->long_mode == REFUSE) || length > MAX_RECORD_TOKENS - 2) {
        status = TOO_LONG;
    }
    p->tokens.len = 0;
    if (status == OK || status == TRUNCATED)
        n = vn_tok_esm2(r->seq, r->seq_len, most, &p->tokens, &p->unknown, err);
    if (n < 0)
        return (int)n;
    p->residues += length;
    p->n_status[status]++;
    int rc = vn_packer_add(p->packer, p->records++, r->id, r->id_len,
                           (const uint16_t *)p->tokens.data, n, (uint8_t)status, err);
    if (rc == VN_OK && vn_packer_full(p->packer))
        rc = send_full(p, false, err);
    return rc;
}

static int pack_file(struct pack *p, const char *path, struct vn_error *err) {
    struct vn_source *source;
    struct vn_fastx *in;
    struct vn_record record;
    uint64_t before = p->records;
    int rc = vn_source_open(path, &source, err);
    if (rc == VN_OK)
        rc = vn_fastx_open(source, &in, err);
    if (rc != VN_OK)
        return rc;
    while ((rc = vn_fastx_next(in, &record, err)) > 0)
        if ((rc = add_record(p, &record, err)) != VN_OK)
            break;
    if (rc == VN_OK && p->records == before)
        vn_tool_note(&p->tool, "'%s' has no records", vn_fastx_name(in));
    p->text_bytes += vn_fastx_bytes(in);
    vn_fastx_close(in);
    return rc;
}

/* ---- the end --------------------------------------------------------------------- */

static void summarize(const struct pack *p, const struct vn_totals *totals) {
    const struct vn_tool *t = &p->tool;
    uint64_t sent, budget;
    double seconds = vn_tool_seconds(t);
    if (p->unknown)
        vn_tool_warn(t, "letters that have no token, sent as <unk>: %" PRId64,
                     p->unknown);
    if (p->n_status[TRUNCATED])
        vn_tool_warn(t, "records cut to %" PRId64 " residues: %" PRId64, p->max_length,
                     p->n_status[TRUNCATED]);
    if (p->n_status[TOO_LONG])
        vn_tool_warn(t, "records too long, sent without tokens: %" PRId64,
                     p->n_status[TOO_LONG]);
    vn_packer_fill(p->packer, &sent, &budget);
    vn_tool_note(
        t,
        "%" PRIu64 " records, %" PRId64 " residues, %" PRIu64 " tokens, %" PRIu64
        " batches filled to %.2f %%; %" PRId64 " unknown letters, %" PRId64
        " truncated, %" PRId64 " too long, %" PRId64 " empty; %.2f s, %.0f MB/s, "
        "peak %.0f MiB",
        totals->records, p->residues, totals->tokens, totals->batches,
        budget ? 100.0 * (double)sent / (double)budget : 100.0, p->unknown,
        p->n_status[TRUNCATED], p->n_status[TOO_LONG], p->n_status[EMPTY], seconds,
        (double)p->text_bytes / 1e6 / seconds, vn_tool_peak_mib());
}

int main(int argc, char **argv) {
    struct pack p = {
        .tool = {.name = "vn-pack",
                 .usage = "-m MODEL | --vocab esm2 [OPTION...] [FILE...]",
                 .summary = "Turn FASTA or FASTQ into packed batches of tokens.",
                 .notes = notes,
                 .max_files = -1,
                 .has_output = true}};
    struct vn_tool *t = &p.tool;
    struct vn_error err = {0};
    const char *max_tokens = "16384", *window = "16384", *max_length = "0";
    const char *mode = "keep";
    struct poptOption options[] = {
        {"model", 'm', POPT_ARG_STRING, &p.model, 0,
         "make tokens for this model: a directory, or a name in $VN_MODELS", "MODEL"},
        {"vocab", 0, POPT_ARG_STRING, &p.vocab, 0, "make tokens of this vocabulary: esm2",
         "NAME"},
        {"max-tokens", 0, POPT_ARG_STRING, &max_tokens, 0,
         "tokens in a batch, <cls> and <eos> included", "N"},
        {"window", 0, POPT_ARG_STRING, &window, 0,
         "records that are sorted by length to fill batches, at most", "N"},
        {"max-length", 0, POPT_ARG_STRING, &max_length, 0,
         "residues beyond which a record is long; 0: none is", "N"},
        {"long", 0, POPT_ARG_STRING, &mode, 0,
         "what to do with long records: keep, truncate or refuse", "HOW"},
        POPT_TABLEEND};
    vn_tool_begin(t, argc, argv, options);
    check_options(&p, max_tokens, window, max_length, mode);

    int rc = start(&p, &err);
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
    vn_packer_free(p.packer);
    vn_builder_release(&p.ids);
    vn_builder_release(&p.statuses);
    vn_batch_release(&p.batch);
    vn_buf_release(&p.tokens);
    vn_schema_release(&p.schema);
    free(p.model_name);
    return vn_tool_finish(t, rc, &err);
}
