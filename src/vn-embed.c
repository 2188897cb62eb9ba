/* vn-embed - tokens in, the model's hidden states out: token by token, or pooled. */
#include <stdlib.h>
#include <string.h>

#include "embedder.h"
#include "profile.h"
#include "stream.h"
#include "tool.h"

/* What is left of a body for the other columns when a record's rows are the largest. */
#define BODY_MARGIN ((int64_t)16 << 20)

static const char *const dtype_words[] = {"f32", "f16", NULL};
static const char *const precision_words[] = {"auto", "fp32", "bf16", "fp16", NULL};
static const enum vn_dtype precisions[] = {VN_F32, VN_F32, VN_BF16, VN_F16};
static const char *const attention_words[] = {"auto", "flash", "standard", NULL};

struct options {
    const char *model, *device, *precision, *attention, *layer, *pool, *dtype, *max_tokens;
    int profile;
};

struct embed {
    struct vn_tool *tool;
    const struct options *opts;
    struct vn_model *model;
    struct vn_backend *backends[VN_MAX_DEVICES]; /* the fleet's; profiles with --profile */
    int n_devices;
    struct vn_fleet *fleet;
    struct vn_engine_options eo;
    struct vn_buf device;  /* text: the names of all of them */
    const char *precision; /* what was chosen */
    enum vn_attention attention;
    struct vn_reader *reader;
    struct vn_schema schema; /* of the output */
    struct vn_embedder *embedder;
    struct vn_writer *writer;
    struct vn_batch out;
    double loaded;  /* seconds until the model was there, or on its way */
    double hashing; /* of these, waiting for the digest of the weights */
};

/* ---- start ----------------------------------------------------------------------- */

static void check_options(struct embed *e) {
    const struct options *o = e->opts;
    if (!o->model)
        vn_tool_usage(e->tool, "no model: give one with -m");
    if (!strcmp(o->pool, "auto"))
        e->eo.pool = VN_POOL_MEAN; /* until the model is known: not token rows */
    else if (!vn_pool_of(o->pool, &e->eo.pool))
        vn_tool_usage(e->tool, "--pool '%s': expected none, auto, mean, mean-all, cls or max",
                      o->pool);
    e->eo.out_type = vn_tool_choice(e->tool, "dtype", o->dtype, dtype_words) ? VN_F16 : VN_F32;
    if (e->eo.pool != VN_POOL_NONE && e->eo.out_type == VN_F16)
        vn_tool_usage(e->tool, "--dtype f16 is for token rows: pooled vectors are f32");
    e->attention = (enum vn_attention)vn_tool_choice(e->tool, "attention", o->attention,
                                                     attention_words);
    int word = vn_tool_choice(e->tool, "precision", o->precision, precision_words);
    if (e->attention == VN_ATTN_STANDARD && word && precisions[word] != VN_F16)
        vn_tool_usage(e->tool, "--attention standard is that of fp16: not with --precision %s",
                      o->precision);
    e->eo.layer = o->layer ? (int)vn_tool_int(e->tool, "layer", o->layer, 0, 10000) : -1;
    e->eo.max_tokens =
        o->max_tokens ? vn_tool_int(e->tool, "max-tokens", o->max_tokens, 1, INT32_MAX) : 0;
}

/* The rows of a single record must fit in one message of the stream. */
static int limit_tokens(struct embed *e, struct vn_error *err) {
    if (e->eo.pool != VN_POOL_NONE)
        return VN_OK;
    int64_t row = e->model->config.d_model * (int64_t)vn_dtype_size(e->eo.out_type);
    int64_t most = (VN_MAX_BODY - BODY_MARGIN) / row;
    if (e->eo.max_tokens > most)
        return vn_fail(err, VN_EUSAGE,
                       "--max-tokens %lld: the token rows of at most %lld fit in a batch",
                       (long long)e->eo.max_tokens, (long long)most);
    if (!e->eo.max_tokens && most < VN_ENGINE_MAX_TOKENS)
        e->eo.max_tokens = most;
    return VN_OK;
}

/* What was opened, for -v and the provenance. */
static int describe(struct embed *e, struct vn_error *err) {
    const enum vn_dtype act = e->backends[0]->act;
    e->attention = e->backends[0]->attention;
    int rc = VN_OK;
    for (int i = 1; precision_words[i]; i++)
        if (precisions[i] == act)
            e->precision = precision_words[i];
    for (int i = 0; i < e->n_devices && rc == VN_OK; i++)
        rc = vn_buf_printf(&e->device, err, "%s%s", i ? ", " : "", e->backends[i]->device);
    if (rc == VN_OK)
        vn_tool_note(e->tool,
                     "model '%s', layer %d, device '%s', precision %s, attention %s, "
                     "%d threads",
                     e->model->name, e->eo.layer, (const char *)e->device.data, e->precision,
                     attention_words[e->attention], e->tool->threads);
    return rc;
}

/* Wraps the backends in profiles; those that cannot be are closed. */
static int open_profiles(struct embed *e, struct vn_error *err) {
    int rc = VN_OK;
    for (int i = 0; i < e->n_devices && rc == VN_OK; i++) {
        rc = vn_profile_open(e->backends[i], &e->backends[i], err);
        if (rc < 0) /* it has been taken over */
            e->backends[i] = e->backends[--e->n_devices];
    }
    return rc;
}

static int open_devices(struct embed *e, struct vn_error *err) {
    const struct options *o = e->opts;
    int word = vn_tool_choice(e->tool, "precision", o->precision, precision_words);
    struct vn_backend_options bo = {.device = o->device,
                                    .auto_act = word == 0,
                                    .act = precisions[word],
                                    .threads = e->tool->threads,
                                    .attention = e->attention};
    err->msg[0] = '\0';
    int rc = vn_backends_open(&bo, e->backends, &e->n_devices, err);
    if (rc == VN_OK && err->msg[0])
        vn_tool_note(e->tool, "not on a GPU: %s", err->msg);
    if (rc == VN_OK)
        rc = describe(e, err);
    if (rc == VN_OK && o->profile)
        rc = open_profiles(e, err);
    return rc;
}

static void say_plan(const struct embed *e) {
    const struct vn_memplan *p = vn_engine_plan(vn_fleet_engine(e->fleet, 0));
    vn_tool_note(e->tool,
                 "records of up to %lld tokens, at most %lld tokens or %lld records at once: "
                 "%.0f MiB beside the weights",
                 (long long)p->max_tokens, (long long)p->slice_tokens,
                 (long long)p->slice_records, (double)p->total / 1048576);
}

static int open_fleet(struct embed *e, struct vn_error *err) {
    int rc = vn_model_open(e->opts->model, &e->model, err);
    if (rc < 0)
        return rc;
    if (e->eo.layer < 0)
        e->eo.layer = e->model->config.n_layers;
    if (!strcmp(e->opts->pool, "auto"))
        vn_pool_of_vocabulary(e->model->config.vocabulary, &e->eo.pool);
    rc = limit_tokens(e, err);
    if (rc == VN_OK)
        rc = open_devices(e, err);
    if (rc < 0) {
        for (int i = 0; i < e->n_devices; i++)
            e->backends[i]->ops.close(e->backends[i]);
        return rc;
    }
    return vn_fleet_open(e->model, e->backends, e->n_devices, &e->eo, &e->fleet, err);
}

/* The stream's tokens must be the model's. Where the vocabulary is a file's, the stream has
 * its digest. */
static int check_vocabulary(const struct embed *e, struct vn_error *err) {
    const struct vn_schema *in = vn_reader_schema(e->reader);
    const char *mine = e->model->config.vocabulary;
    const char *tokenizer = e->model->config.tokenizer;
    char vocabulary[64] = "", digest[65] = "";
    vn_schema_provenance(in, "vocabulary", vocabulary, sizeof vocabulary);
    if (strcmp(vocabulary, mine) != 0)
        return vn_fail(err, VN_EINCOMPAT,
                       "the stream's vocabulary is '%s', the model's is '%s'", vocabulary,
                       mine);
    vn_schema_provenance(in, "tokenizer", digest, sizeof digest);
    if (*tokenizer && strcmp(digest, tokenizer) != 0)
        return vn_fail(err, VN_EINCOMPAT,
                       "the stream's tokens are of the tokenizer %.16s..., model '%s' has "
                       "%.16s...", digest, e->model->name, tokenizer);
    return VN_OK;
}

/* Reads the head of the stream, which may be long in coming. */
static int open_input(struct embed *e, struct vn_source *source, struct vn_error *err) {
    int rc = vn_reader_open(source, NULL, &e->reader, err);
    if (rc < 0)
        return rc;
    const struct vn_schema *in = vn_reader_schema(e->reader);
    rc = vn_schema_require_kind(in, VN_KIND_TOKENS, err);
    if (rc < 0)
        return vn_prefix(err, "cannot use '%s'", vn_reader_name(e->reader));
    return check_vocabulary(e, err);
}

/* What this program adds to the provenance, behind what every program says. */
static int add_provenance(struct embed *e, struct vn_error *err) {
    const double began = vn_tool_seconds(e->tool);
    const char *sha256 = vn_model_sha256(e->model, false, err);
    if (!sha256)
        return err->status;
    e->hashing = vn_tool_seconds(e->tool) - began;
    struct vn_buf members = {0};
    int rc = vn_tool_provenance(e->tool, &members, err);
    if (rc == VN_OK)
        rc = vn_member_text(&members, "model", e->model->name, err);
    if (rc == VN_OK)
        rc = vn_buf_printf(&members, err, ",\"sha256\":\"%s\",\"layer\":%d", sha256,
                           e->eo.layer);
    if (rc == VN_OK)
        rc = vn_member_text(&members, "precision", e->precision, err);
    if (rc == VN_OK)
        rc = vn_member_text(&members, "attention", attention_words[e->attention], err);
    if (rc == VN_OK && e->eo.pool != VN_POOL_NONE)
        rc = vn_member_text(&members, "pool", vn_pool_name(e->eo.pool), err);
    if (rc == VN_OK && !e->tool->no_provenance)
        rc = vn_member_text(&members, "device", (const char *)e->device.data, err);
    if (rc == VN_OK)
        rc = vn_schema_add_program(&e->schema, (const char *)members.data, err);
    vn_buf_release(&members);
    return rc;
}

static int open_output(struct embed *e, struct vn_error *err) {
    struct vn_sink *sink;
    vn_schema_release(&e->schema);
    int rc = vn_embedder_new(e->reader, e->fleet, &e->eo, e->model->config.d_model, &e->schema,
                             &e->embedder, err);
    if (rc == VN_OK)
        rc = add_provenance(e, err);
    if (rc == VN_OK)
        rc = vn_sink_open(e->tool->output, &sink, err);
    if (rc == VN_OK)
        rc = vn_writer_open(sink, &e->schema, &e->writer, err);
    return rc;
}

/* ---- the program ----------------------------------------------------------------- */

static int report_profile(const struct embed *e, int device, struct vn_error *err) {
    struct vn_buf text = {0};
    int rc = vn_profile_text(e->backends[device], &text, err);
    char *rest = (char *)text.data;
    if (rc == VN_OK && e->n_devices > 1)
        vn_tool_error(e->tool, "%s:", e->backends[device]->device);
    for (char *line; rc == VN_OK && (line = strsep(&rest, "\n")) && rest;)
        vn_tool_error(e->tool, "%s", line);
    vn_buf_release(&text);
    return rc;
}

/* What loading took, in parts. */
static void note_loading(const struct embed *e) {
    vn_tool_note(e->tool, "sha256 of the weights %s, waited %.2f s for it",
                 vn_tensors_sha256_cached(e->model->tensors) ? "known" : "computed",
                 e->hashing);
    for (int i = 0; i < e->n_devices; i++) {
        const struct vn_loading *l = e->backends[i]->loading;
        if (l)
            vn_tool_note(e->tool,
                         "device %d: started in %.2f s, %.2f GB of weights in %.2f s, "
                         "plans: %d known, %d tried in %.2f s",
                         i, l->start, 1e-9 * (double)l->bytes, l->upload, l->plans_known,
                         l->plans_tried, l->plans);
    }
}

static void summary(const struct embed *e) {
    struct vn_totals t = vn_reader_totals(e->reader);
    double seconds = vn_tool_seconds(e->tool) - e->loaded;
    for (int o = VN_REC_EMPTY; o <= VN_REC_NOT_FINITE; o++) {
        unsigned long long n = vn_embedder_count(e->embedder, o);
        /* an empty record is the input's own; the others are our doing */
        if (n && o == VN_REC_EMPTY)
            vn_tool_note(e->tool, "records without a result, 'empty': %llu", n);
        else if (n)
            vn_tool_warn(e->tool, "records without a result, '%s': %llu",
                         vn_outcome_name(o), n);
    }
    note_loading(e);
    vn_tool_note(e->tool,
                 "%llu records, %llu tokens, %.2f s after %.2f s of loading, %.0f tokens/s, "
                 "peak %.0f MiB",
                 (unsigned long long)t.records, (unsigned long long)t.tokens, seconds,
                 e->loaded, (double)t.tokens / seconds,
                 vn_tool_peak_mib());
}

/* The weights are loaded while who writes our input gets ready, too. */
static int open_both(struct embed *e, struct vn_error *err) {
    struct vn_source *source;
    int rc = vn_source_open(e->tool->files[0], &source, err);
    if (rc < 0)
        return rc;
    rc = open_fleet(e, err);
    if (rc < 0)
        vn_source_close(source);
    else
        rc = open_input(e, source, err);
    if (rc == VN_OK)
        rc = vn_fleet_wait(e->fleet, err);
    if (rc == VN_OK)
        say_plan(e);
    return rc;
}

static int run(struct embed *e, struct vn_error *err) {
    int rc = vn_tool_refuse_terminal(e->tool, true, true, err);
    if (rc == VN_OK)
        rc = open_both(e, err);
    if (rc == VN_OK)
        rc = open_output(e, err);
    e->loaded = vn_tool_seconds(e->tool);
    for (int i = 0; i < e->n_devices && rc == VN_OK && e->opts->profile; i++)
        vn_profile_start(e->backends[i]);
    while (rc >= 0 && (rc = vn_embedder_next(e->embedder, &e->out, err)) > 0)
        rc = vn_writer_put(e->writer, &e->out, err);
    if (rc < 0)
        return rc;
    rc = vn_writer_close(e->writer, err);
    e->writer = NULL;
    if (rc == VN_OK)
        summary(e);
    for (int i = 0; i < e->n_devices && rc == VN_OK && e->opts->profile; i++)
        rc = report_profile(e, i, err);
    return rc;
}

static void release(struct embed *e) {
    vn_writer_abort(e->writer);
    vn_embedder_free(e->embedder);
    vn_fleet_close(e->fleet);
    vn_model_close(e->model);
    vn_schema_release(&e->schema);
    vn_batch_release(&e->out);
    vn_buf_release(&e->device);
    vn_reader_close(e->reader);
}

int main(int argc, char **argv) {
    struct vn_tool tool = {
        .name = "vn-embed",
        .usage = "-m MODEL [OPTION...] [FILE]",
        .summary = "Runs a language model over a tokens stream and writes its embeddings.",
        .notes = "A record that cannot be embedded keeps its row: an empty list, or null with\n"
                 "--pool, and the reason in the column 'status'. Digests of weights and plans\n"
                 "of products are kept in $XDG_CACHE_HOME/vn, or $HOME/.cache/vn.",
        .max_files = 1,
        .has_output = true};
    struct options o = {.device = "auto",
                        .precision = "auto",
                        .attention = "auto",
                        .pool = "none",
                        .dtype = "f32"};
    struct poptOption options[] = {
        {"model", 'm', POPT_ARG_STRING, &o.model, 0,
         "directory of the model, or its name", "MODEL"},
        {"device", 0, POPT_ARG_STRING, &o.device, 0,
         "auto, cpu, cuda, cuda:N[,M...] or reference", "DEVICE"},
        {"precision", 0, POPT_ARG_STRING, &o.precision, 0,
         "of the matrix products: fp32, bf16, fp16 or auto (fp16 on a GPU, fp32 on the CPU)",
         "WORD"},
        {"attention", 0, POPT_ARG_STRING, &o.attention, 0,
         "auto, flash, or standard: rounding as fair-esm in half does", "WORD"},
        {"layer", 0, POPT_ARG_STRING, &o.layer, 0,
         "hidden state to give, 0 to the model's layers (default: the last)", "N"},
        {"pool", 0, POPT_ARG_STRING, &o.pool, 0,
         "none (token rows), auto (the model's rule), mean (over residues), mean-all, cls, "
         "max",
         "RULE"},
        {"dtype", 0, POPT_ARG_STRING, &o.dtype, 0, "of token rows: f32 or f16", "TYPE"},
        {"max-tokens", 0, POPT_ARG_STRING, &o.max_tokens, 0,
         "of one record; a longer one gets the status 'too long' (default: 65536)", "N"},
        {"profile", 0, POPT_ARG_NONE, &o.profile, 0,
         "say at the end what each operation took", NULL},
        POPT_TABLEEND};
    struct vn_error err = {0};
    struct embed e = {.tool = &tool, .opts = &o};
    vn_tool_begin(&tool, argc, argv, options);
    vn_schema_init(&e.schema, VN_KIND_OTHER);
    check_options(&e);
    int rc = run(&e, &err);
    release(&e);
    return vn_tool_finish(&tool, rc, &err);
}
