#include "embedder.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

/* Output of one part. A single record may give more. */
#define PART_BYTES ((int64_t)64 << 20)

struct vn_embedder {
    struct vn_engine *engine;
    bool pooled;
    int32_t d;
    int64_t row_bytes;       /* of a row of the engine's output */
    const struct vn_schema *schema; /* of the output: column i is column i of the input, */
    int payload;             /* but for the payload, */
    int status;              /* and the status, which may be one more at the end */
    bool status_added;
    struct vn_builder *carried; /* [schema->n_fields]; the payload's stays empty */
    struct vn_job job;
    struct vn_buf offsets;  /* [B + 1] i32 of the lists */
    struct vn_buf validity; /* [B] bits of the vectors */
    uint64_t count[VN_REC_NOT_FINITE + 1];
    const struct vn_batch *in; /* the batch at work, and its first row that has not run */
    int64_t row;
};

/* ---- schema ---------------------------------------------------------------------- */

static int find_columns(struct vn_embedder *e, const struct vn_schema *in,
                        struct vn_error *err) {
    static const enum vn_type tokens[] = {VN_LIST, VN_UINT16}, status[] = {VN_UTF8};
    e->payload = vn_schema_require(in, "tokens", tokens, 2, err);
    if (e->payload < 0)
        return e->payload;
    e->status = vn_schema_find(in, "status");
    e->status_added = e->status < 0;
    if (e->status_added) {
        e->status = in->n_fields;
        return VN_OK;
    }
    int rc = vn_schema_require(in, "status", status, 1, err);
    return rc < 0 ? rc : VN_OK;
}

static int add_payload(const struct vn_embedder *e, struct vn_schema *out, enum vn_dtype type,
                       struct vn_error *err) {
    const enum vn_type rows[] = {VN_LIST, VN_FIXED_LIST,
                                 type == VN_F16 ? VN_FLOAT16 : VN_FLOAT32};
    const int32_t sizes[] = {0, e->d, 0};
    if (e->pooled)
        return vn_schema_add(out, "embedding", rows + 1, sizes + 1, 2, true, err);
    return vn_schema_add(out, "embedding", rows, sizes, 3, false, err);
}

static int fill_schema(const struct vn_embedder *e, const struct vn_schema *in,
                       enum vn_dtype type, struct vn_schema *out, struct vn_error *err) {
    int rc = VN_OK;
    for (int i = 0; i < in->n_meta && rc == VN_OK; i++)
        rc = vn_schema_set_meta(out, in->meta[i].key, in->meta[i].value, err);
    for (int i = 0; i < in->n_fields && rc == VN_OK; i++)
        rc = i == e->payload ? add_payload(e, out, type, err)
                             : vn_schema_add_field(out, &in->fields[i], err);
    if (rc == VN_OK && e->status_added)
        rc = vn_schema_add_flat(out, "status", VN_UTF8, err);
    return rc;
}

int vn_embedder_new(const struct vn_schema *in, struct vn_engine *engine,
                    const struct vn_engine_options *opts, int d, struct vn_schema *out,
                    struct vn_embedder **embedder, struct vn_error *err) {
    const bool pooled = opts->pool != VN_POOL_NONE;
    vn_schema_init(out, pooled ? VN_KIND_VECTORS : VN_KIND_EMBEDDINGS);
    struct vn_embedder *e = vn_calloc(1, sizeof *e, err);
    if (!e)
        return VN_EFAIL;
    e->engine = engine;
    e->pooled = pooled;
    e->d = d;
    e->row_bytes = d * (int64_t)vn_dtype_size(pooled ? VN_F32 : opts->out_type);
    int rc = find_columns(e, in, err);
    if (rc == VN_OK)
        rc = fill_schema(e, in, opts->out_type, out, err);
    if (rc == VN_OK) {
        e->schema = out;
        e->carried = vn_calloc((size_t)out->n_fields, sizeof *e->carried, err);
        rc = e->carried ? VN_OK : VN_EFAIL;
    }
    if (rc < 0) {
        vn_embedder_free(e);
        return rc;
    }
    for (int i = 0; i < out->n_fields; i++)
        vn_builder_init(&e->carried[i], &out->fields[i]);
    *embedder = e;
    return VN_OK;
}

void vn_embedder_free(struct vn_embedder *e) {
    if (!e)
        return;
    for (int i = 0; e->carried && i < e->schema->n_fields; i++)
        vn_builder_release(&e->carried[i]);
    free(e->carried);
    vn_buf_release(&e->job.out);
    vn_buf_release(&e->job.outcome);
    vn_buf_release(&e->offsets);
    vn_buf_release(&e->validity);
    free(e);
}

uint64_t vn_embedder_count(const struct vn_embedder *e, enum vn_outcome outcome) {
    return e->count[outcome];
}

/* ---- columns of a part ----------------------------------------------------------- */

/* Token rows of the records that are ok, moved together, and their offsets. */
static int rows_column(struct vn_embedder *e, struct vn_column *c, struct vn_error *err) {
    const struct vn_job *job = &e->job;
    int rc = vn_buf_resize(&e->offsets, (size_t)(job->n_seq + 1) * sizeof(int32_t), err);
    if (rc < 0)
        return rc;
    int32_t *offsets = (int32_t *)(void *)e->offsets.data, n = 0;
    for (int64_t i = 0; i < job->n_seq; i++) {
        int32_t from = job->cu_seqlens[i] - job->cu_seqlens[0];
        int32_t rows = job->cu_seqlens[i + 1] - job->cu_seqlens[i];
        offsets[i] = n;
        if (job->outcome.data[i] != VN_REC_OK)
            continue;
        if (n != from)
            memmove(job->out.data + n * e->row_bytes, job->out.data + from * e->row_bytes,
                    (size_t)(rows * e->row_bytes));
        n += rows;
    }
    offsets[job->n_seq] = n;
    memset(c, 0, sizeof *c);
    c->level[0] = (struct vn_array){.length = job->n_seq, .offsets = offsets};
    c->level[1] = (struct vn_array){.length = n};
    c->level[2] = (struct vn_array){.length = (int64_t)n * e->d, .values = job->out.data};
    return VN_OK;
}

static int vectors_column(struct vn_embedder *e, struct vn_column *c, struct vn_error *err) {
    const struct vn_job *job = &e->job;
    int64_t nulls = 0;
    e->validity.len = 0;
    int rc = vn_buf_zeros(&e->validity, (size_t)(job->n_seq + 7) / 8, err);
    if (rc < 0)
        return rc;
    for (int64_t i = 0; i < job->n_seq; i++) {
        if (job->outcome.data[i] == VN_REC_OK)
            e->validity.data[i >> 3] |= (uint8_t)(1 << (i & 7));
        else
            nulls++;
    }
    vn_column_vectors(c, job->n_seq, e->d, job->out.data, nulls ? e->validity.data : NULL,
                      nulls);
    return VN_OK;
}

/* A status stays as it came, unless there was none, or the model cannot keep its promise. */
static int build_status(struct vn_embedder *e, int64_t from, struct vn_error *err) {
    const struct vn_column *c = e->status_added ? NULL : &e->in->columns[e->status];
    int rc = VN_OK;
    for (int64_t i = 0; i < e->job.n_seq && rc == VN_OK; i++) {
        const enum vn_outcome outcome = e->job.outcome.data[i];
        const char *text = vn_outcome_name(outcome), *old = NULL;
        size_t n = strlen(text), n_old = 0;
        if (c && !vn_is_null(&c->level[0], from + i))
            old = vn_utf8_row(c, from + i, &n_old);
        if (old && (outcome == VN_REC_OK || !vn_status_has_result(old, n_old))) {
            text = old;
            n = n_old;
        }
        rc = vn_builder_add_bytes(&e->carried[e->status], text, n, err);
        e->count[outcome]++;
    }
    return rc;
}

static int build_column(struct vn_embedder *e, int i, int64_t from, struct vn_column *c,
                        struct vn_error *err) {
    if (i == e->payload)
        return e->pooled ? vectors_column(e, c, err) : rows_column(e, c, err);
    struct vn_builder *b = &e->carried[i];
    vn_builder_clear(b);
    int rc = i == e->status
                 ? build_status(e, from, err)
                 : vn_builder_append(b, &e->in->columns[i], from, e->job.n_seq, err);
    vn_builder_view(b, c);
    return rc;
}

/* ---- batches --------------------------------------------------------------------- */

int vn_embedder_put(struct vn_embedder *e, const struct vn_batch *in, struct vn_error *err) {
    const struct vn_column *c = &in->columns[e->payload];
    if (c->level[0].null_count || c->level[1].null_count)
        return vn_fail(err, VN_EDATA, "column 'tokens' has nulls");
    e->in = in;
    e->row = 0;
    return VN_OK;
}

int vn_embedder_next(struct vn_embedder *e, struct vn_batch *out, struct vn_error *err) {
    const struct vn_column *tokens = &e->in->columns[e->payload];
    const int32_t *offsets = tokens->level[0].offsets;
    const int64_t from = e->row, n = e->in->n_rows;
    struct vn_job *collected;
    if (from == n)
        return 0;
    int64_t to = from + 1;
    while (to < n && (e->pooled ? to + 1 - from : offsets[to + 1] - offsets[from]) *
                             e->row_bytes <= PART_BYTES)
        to++;
    e->job.tokens = tokens->level[1].values;
    e->job.cu_seqlens = offsets + from;
    e->job.n_seq = to - from;
    /* On the CPU a job has run when it is submitted: to hold it back would only delay who
     * reads our output. */
    int rc = vn_engine_submit(e->engine, &e->job, err);
    if (rc == VN_EDATA)
        vn_prefix(err, "from row %lld on", (long long)from);
    if (rc == VN_OK)
        rc = vn_engine_collect(e->engine, &collected, err);
    if (rc >= 0)
        rc = vn_batch_set_columns(out, e->schema->n_fields, err);
    for (int i = 0; i < e->schema->n_fields && rc >= 0; i++)
        rc = build_column(e, i, from, &out->columns[i], err);
    out->n_rows = to - from;
    e->row = to;
    return rc < 0 ? rc : 1;
}
