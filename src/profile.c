#include "profile.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Stamps come in pairs. Pair 0 is not used: copy_stamp 0 means none. One more stays free, so
 * that the end of the last operation read is there until the next one is. */
#define PAIRS (VN_STAMPS / 2 - 1)
#define MAX_KINDS 40
#define MAX_COPIES 256 /* of which it is not known yet what ran beside them */
#define MAX_BUSY 8192  /* operations that a copy may have run beside */

struct kind {
    const char *op;
    char name[40];
    int64_t n_out, n_in; /* of a product, else 0 */
    uint64_t calls;
    double seconds, flop, bytes;
};

/* An operation that has been queued. */
struct record {
    int kind;
    bool copy, beside; /* beside: the own time of the copy before it */
    bool first;        /* of a job */
    double flop, bytes;
};

struct interval {
    double from, to; /* seconds since the first operation */
};

struct matrix {
    const struct vn_matrix *m;
    int64_t n_out, n_in;
};

struct profile {
    struct vn_backend base; /* first: a struct vn_backend * points here */
    struct vn_backend *inner;
    bool on, timing, new_job;
    struct kind kinds[MAX_KINDS];
    int n_kinds;
    struct record records[PAIRS]; /* a ring: [read, queued) are waited for */
    uint64_t queued, read, marked[VN_SLOTS];
    struct vn_buf matrices; /* struct matrix */
    size_t last_matrix;
    int end;   /* the stamp at the end of the last operation read; 0: none yet */
    double at; /* its time */
    struct interval busy[MAX_BUSY], copies[MAX_COPIES]; /* rings */
    uint64_t n_busy, n_copies, settled;
    struct vn_profile_totals totals;
};

static struct profile *self(struct vn_backend *b) {
    return (struct profile *)b;
}

static struct vn_backend *inner(struct vn_backend *b) {
    return self(b)->inner;
}

/* ---- queueing -------------------------------------------------------------------- */

static int stamp_of(uint64_t record) {
    return 2 + 2 * (int)(record % PAIRS);
}

static int stamp(struct profile *p, int i, struct vn_error *err) {
    return p->inner->ops.stamp(p->inner, i, err);
}

/* A copy may need two pairs. */
static int begin(struct profile *p, struct vn_error *err) {
    p->timing = p->on && p->queued - p->read + 2 < PAIRS;
    p->totals.untimed += p->on && !p->timing;
    return p->timing ? stamp(p, stamp_of(p->queued), err) : VN_OK;
}

/* The kind of an operation and a shape; the last one takes what no place is left for. */
static int kind_of(struct profile *p, const char *op, int64_t n_out, int64_t n_in) {
    int i = 0;
    for (; i < p->n_kinds; i++) {
        const struct kind *k = &p->kinds[i];
        if (k->n_out == n_out && k->n_in == n_in && !strcmp(k->op, op))
            return i;
    }
    if (i == MAX_KINDS)
        return i - 1;
    struct kind *k = &p->kinds[p->n_kinds++];
    *k = (struct kind){.op = op, .n_out = n_out, .n_in = n_in};
    if (i == MAX_KINDS - 1)
        snprintf(k->name, sizeof k->name, "others");
    else if (n_out)
        snprintf(k->name, sizeof k->name, "%s %lldx%lld", op, (long long)n_out,
                 (long long)n_in);
    else
        snprintf(k->name, sizeof k->name, "%s", op);
    return i;
}

static void record(struct profile *p, struct record r) {
    r.first = p->new_job;
    p->new_job = false;
    p->records[p->queued++ % PAIRS] = r;
}

/* Behind an operation that `begin` stood before. */
static int end(struct profile *p, struct record r, struct vn_error *err) {
    int rc = stamp(p, stamp_of(p->queued) + 1, err);
    if (rc == VN_OK)
        record(p, r);
    return rc;
}

/* What has no shape: rc is the operation's own. */
static int done(struct vn_backend *b, int rc, const char *op, double flop, double bytes,
                struct vn_error *err) {
    struct profile *p = self(b);
    if (rc < 0 || !p->timing)
        return rc;
    return end(p, (struct record){.kind = kind_of(p, op, 0, 0), .flop = flop, .bytes = bytes},
               err);
}

/* ---- reading --------------------------------------------------------------------- */

static double shared(struct interval a, struct interval b) {
    double from = a.from > b.from ? a.from : b.from, to = a.to < b.to ? a.to : b.to;
    return to > from ? to - from : 0;
}

/* What ran beside the oldest copy, as far as it is remembered. */
static void settle_copy(struct profile *p) {
    struct interval c = p->copies[p->settled++ % MAX_COPIES];
    uint64_t oldest = p->n_busy > MAX_BUSY ? p->n_busy - MAX_BUSY : 0;
    for (uint64_t i = p->n_busy; i > oldest; i--) {
        struct interval b = p->busy[(i - 1) % MAX_BUSY];
        if (b.to < c.from)
            break;
        p->totals.beside += shared(b, c);
    }
}

/* The own time of the copy whose end in the queue was read last. */
static int read_copy(struct profile *p, int s, struct vn_error *err) {
    double from, took;
    int rc = p->inner->ops.between(p->inner, p->end, s, &from, err);
    if (rc == VN_OK)
        rc = p->inner->ops.between(p->inner, s, s + 1, &took, err);
    if (rc < 0)
        return rc;
    if (p->n_copies - p->settled == MAX_COPIES)
        settle_copy(p);
    p->copies[p->n_copies++ % MAX_COPIES] =
        (struct interval){p->at + from, p->at + from + took};
    p->totals.copying += took;
    return VN_OK;
}

static int read_record(struct profile *p, const struct record *r, int s, struct vn_error *err) {
    double idle = 0, took;
    int rc = VN_OK;
    if (r->beside)
        return read_copy(p, s, err);
    if (p->end)
        rc = p->inner->ops.between(p->inner, p->end, s, &idle, err);
    if (rc == VN_OK)
        rc = p->inner->ops.between(p->inner, s, s + 1, &took, err);
    if (rc < 0)
        return rc;
    struct kind *k = &p->kinds[r->kind];
    k->calls++;
    k->seconds += took;
    k->flop += r->flop;
    k->bytes += r->bytes;
    *(r->first ? &p->totals.idle_between : &p->totals.idle_inside) += idle;
    if (!r->copy)
        p->busy[p->n_busy++ % MAX_BUSY] = (struct interval){p->at + idle, p->at + idle + took};
    p->at += idle + took;
    p->end = s + 1;
    return VN_OK;
}

/* Reads the times of all records before `to`. A copy in the queue has no other time. */
static int read_to(struct profile *p, uint64_t to, struct vn_error *err) {
    int rc = VN_OK;
    for (; p->read < to && rc == VN_OK; p->read++) {
        const struct record *r = &p->records[p->read % PAIRS];
        bool alone =
            r->copy && !(p->read + 1 < p->queued && p->records[(p->read + 1) % PAIRS].beside);
        double before = r->copy ? p->kinds[r->kind].seconds : 0;
        rc = read_record(p, r, stamp_of(p->read), err);
        if (alone)
            p->totals.copying += p->kinds[r->kind].seconds - before;
        while (p->settled < p->n_copies && p->copies[p->settled % MAX_COPIES].to < p->at)
            settle_copy(p);
    }
    return rc;
}

/* ---- forwarded ------------------------------------------------------------------- */

static int p_available(struct vn_backend *b, size_t *bytes, struct vn_error *err) {
    return inner(b)->ops.available(inner(b), bytes, err);
}
static int p_alloc(struct vn_backend *b, size_t bytes, void **out, struct vn_error *err) {
    return inner(b)->ops.alloc(inner(b), bytes, out, err);
}
static void p_release(struct vn_backend *b, void *p) {
    inner(b)->ops.release(inner(b), p);
}
static int p_stamp(struct vn_backend *b, int i, struct vn_error *err) {
    return inner(b)->ops.stamp(inner(b), i, err);
}
static int p_between(struct vn_backend *b, int i, int j, double *seconds,
                     struct vn_error *err) {
    return inner(b)->ops.between(inner(b), i, j, seconds, err);
}
static int p_mark(struct vn_backend *b, int slot, struct vn_error *err) {
    int rc = inner(b)->ops.mark(inner(b), slot, err);
    if (rc == VN_OK) {
        self(b)->marked[slot] = self(b)->queued;
        self(b)->new_job = true;
    }
    return rc;
}
static int p_expect(struct vn_backend *b, size_t in, size_t out, struct vn_error *err) {
    return inner(b)->ops.expect ? inner(b)->ops.expect(inner(b), in, out, err) : VN_OK;
}
static int p_wait(struct vn_backend *b, int slot, struct vn_error *err) {
    int rc = inner(b)->ops.wait(inner(b), slot, err);
    return rc < 0 ? rc : read_to(self(b), self(b)->marked[slot], err);
}
static int p_matrix_new(struct vn_backend *b, const struct vn_matrix_spec *spec,
                        struct vn_matrix **out, struct vn_error *err) {
    int rc = inner(b)->ops.matrix_new(inner(b), spec, out, err);
    if (rc < 0)
        return rc;
    const struct matrix m = {*out, spec->n_out, spec->n_in};
    rc = vn_buf_append(&self(b)->matrices, &m, sizeof m, err);
    if (rc < 0) {
        inner(b)->ops.matrix_free(inner(b), *out);
        *out = NULL;
    }
    return rc;
}
static void p_matrix_free(struct vn_backend *b, struct vn_matrix *m) {
    struct matrix *all = (struct matrix *)(void *)self(b)->matrices.data;
    for (size_t i = 0; i < self(b)->matrices.len / sizeof *all; i++)
        if (all[i].m == m)
            all[i].m = NULL; /* another may get this address */
    inner(b)->ops.matrix_free(inner(b), m);
}
static void p_close(struct vn_backend *b) {
    inner(b)->ops.close(inner(b));
    vn_buf_release(&self(b)->matrices);
    free(b);
}

/* ---- forwarded and timed --------------------------------------------------------- */

static int copy_begin(struct profile *p, double *total, size_t bytes, struct vn_error *err) {
    int rc = begin(p, err);
    p->inner->copy_stamp = p->timing ? stamp_of(p->queued + 1) : 0;
    if (p->on)
        *total += (double)bytes;
    return rc;
}

/* A copy that has its own time has cleared copy_stamp. */
static int copy_end(struct profile *p, const char *op, size_t bytes, struct vn_error *err) {
    const bool beside = !p->inner->copy_stamp;
    p->inner->copy_stamp = 0;
    if (!p->timing)
        return VN_OK;
    int rc = end(
        p, (struct record){.kind = kind_of(p, op, 0, 0), .copy = true, .bytes = (double)bytes},
        err);
    if (rc == VN_OK && beside)
        record(p, (struct record){.copy = true, .beside = true});
    return rc;
}

static int p_copy_in(struct vn_backend *b, void *device, const void *host, size_t bytes,
                     struct vn_error *err) {
    int rc = copy_begin(self(b), &self(b)->totals.copy_in_bytes, bytes, err);
    if (rc == VN_OK)
        rc = inner(b)->ops.copy_in(inner(b), device, host, bytes, err);
    return rc < 0 ? rc : copy_end(self(b), "copy in", bytes, err);
}
static int p_copy_out(struct vn_backend *b, void *host, const void *device, size_t bytes,
                      struct vn_error *err) {
    int rc = copy_begin(self(b), &self(b)->totals.copy_out_bytes, bytes, err);
    if (rc == VN_OK)
        rc = inner(b)->ops.copy_out(inner(b), host, device, bytes, err);
    return rc < 0 ? rc : copy_end(self(b), "copy out", bytes, err);
}

static int p_embed(struct vn_backend *b, const struct vn_seqs *s, const struct vn_embed_args *a,
                   struct vn_error *err) {
    int rc = begin(self(b), err);
    if (rc == VN_OK)
        rc = inner(b)->ops.embed(inner(b), s, a, err);
    if (self(b)->on)
        self(b)->totals.tokens += (uint64_t)s->n_tok;
    return done(b, rc, "embed", 0, (double)s->n_tok * (double)(8 * a->d + 2), err);
}

static int p_norm(struct vn_backend *b, const struct vn_norm_args *a, struct vn_error *err) {
    size_t also = a->also ? vn_dtype_size(b->act) : 0;
    double bytes = (double)(a->n_tok * a->d) * (double)(4 + vn_dtype_size(a->y_type) + also);
    int rc = begin(self(b), err);
    if (rc == VN_OK)
        rc = inner(b)->ops.norm(inner(b), a, err);
    return done(b, rc, "norm", 0, bytes, err);
}

/* Matrices are used in the order in which they were made, again and again. */
static struct matrix shape_of(struct profile *p, const struct vn_matrix *m) {
    const struct matrix *all = (const struct matrix *)(const void *)p->matrices.data;
    size_t n = p->matrices.len / sizeof *all;
    for (size_t i = 0; i < n; i++) {
        size_t k = (p->last_matrix + 1 + i) % n;
        if (all[k].m == m) {
            p->last_matrix = k;
            return all[k];
        }
    }
    return (struct matrix){0};
}

/* A product's operations and bytes. */
static struct record product(struct profile *p, const char *op,
                             const struct vn_linear_args *a) {
    struct matrix m = shape_of(p, a->w);
    double t = (double)a->n_tok, size = (double)vn_dtype_size(p->base.act);
    double n_out = (double)m.n_out, n_in = (double)m.n_in;
    double stored = a->epilogue == VN_EPI_RESIDUAL ? 8
                    : a->epilogue == VN_EPI_GLU    ? size / 2
                                                   : size;
    return (struct record){.kind = kind_of(p, op, m.n_out, m.n_in),
                           .flop = 2 * t * n_out * n_in,
                           .bytes = size * (t * n_in + n_out * n_in) + t * n_out * stored};
}

static int p_linear(struct vn_backend *b, const struct vn_linear_args *a,
                    struct vn_error *err) {
    struct profile *p = self(b);
    int rc = begin(p, err);
    if (rc == VN_OK)
        rc = p->inner->ops.linear(p->inner, a, err);
    return rc < 0 || !p->timing ? rc : end(p, product(p, "linear", a), err);
}

/* A product and the norm of its y, which stays where it is. */
static int linear_norm(struct profile *p, const struct vn_row_stage s[2],
                       struct vn_error *err) {
    const struct vn_norm_args *a = &s[1].norm;
    int rc = begin(p, err);
    if (rc == VN_OK)
        rc = p->inner->ops.rows(p->inner, s, 2, err);
    if (rc < 0 || !p->timing)
        return rc;
    struct record r = product(p, "linear+norm", &s[0].linear);
    r.bytes += (double)(a->n_tok * a->d) * (double)vn_dtype_size(a->y_type);
    return end(p, r, err);
}

static int p_rows(struct vn_backend *b, const struct vn_row_stage *s, int n,
                  struct vn_error *err) {
    struct profile *p = self(b);
    int rc = VN_OK;
    for (int i = 0, k; i < n && rc == VN_OK; i += k) {
        k = p->inner->ops.together(p->inner, s + i, n - i);
        rc = k == 2          ? linear_norm(p, s + i, err)
             : s[i].is_norm ? p_norm(b, &s[i].norm, err)
                            : p_linear(b, &s[i].linear, err);
    }
    return rc;
}

static int p_attn(struct vn_backend *b, const struct vn_seqs *s, const struct vn_attn_args *a,
                  struct vn_error *err) {
    double squares = 0, width = (double)(a->n_heads * a->d_head);
    int rc = begin(self(b), err);
    if (rc == VN_OK)
        rc = inner(b)->ops.attn(inner(b), s, a, err);
    for (int64_t i = 0; i < s->n_seq && self(b)->timing; i++) {
        double n = (double)(s->host[i + 1] - s->host[i]);
        squares += n * n;
    }
    double bytes = 4 * (double)s->n_tok * width * (double)vn_dtype_size(b->act);
    return done(b, rc, "attn", 4 * width * squares, bytes, err);
}

static int p_pool(struct vn_backend *b, const struct vn_seqs *s, const struct vn_pool_args *a,
                  struct vn_error *err) {
    int rc = begin(self(b), err);
    if (rc == VN_OK)
        rc = inner(b)->ops.pool(inner(b), s, a, err);
    return done(b, rc, "pool", 0, 4.0 * (double)((s->n_tok + s->n_seq) * a->d), err);
}

static int p_finite(struct vn_backend *b, const struct vn_seqs *s, const float *x, int64_t d,
                    uint8_t *bad, struct vn_error *err) {
    int rc = begin(self(b), err);
    if (rc == VN_OK)
        rc = inner(b)->ops.finite(inner(b), s, x, d, bad, err);
    return done(b, rc, "finite", 0, (double)(4 * s->n_tok * d + s->n_seq), err);
}

static int p_convert(struct vn_backend *b, const float *x, void *y, enum vn_dtype y_type,
                     int64_t n, struct vn_error *err) {
    int rc = begin(self(b), err);
    if (rc == VN_OK)
        rc = inner(b)->ops.convert(inner(b), x, y, y_type, n, err);
    return done(b, rc, "convert", 0, (double)n * (double)(4 + vn_dtype_size(y_type)), err);
}

/* ---- the backend ----------------------------------------------------------------- */

static const struct vn_backend_ops profile_ops = {
    .alloc = p_alloc,
    .available = p_available,
    .release = p_release,
    .copy_in = p_copy_in,
    .copy_out = p_copy_out,
    .expect = p_expect,
    .mark = p_mark,
    .wait = p_wait,
    .stamp = p_stamp,
    .between = p_between,
    .matrix_new = p_matrix_new,
    .matrix_free = p_matrix_free,
    .embed = p_embed,
    .norm = p_norm,
    .linear = p_linear,
    .attn = p_attn,
    .pool = p_pool,
    .finite = p_finite,
    .convert = p_convert,
    .close = p_close,
};

int vn_profile_open(struct vn_backend *b, struct vn_backend **out, struct vn_error *err) {
    struct profile *p = vn_calloc(1, sizeof *p, err);
    if (!p) {
        b->ops.close(b);
        return VN_EFAIL;
    }
    p->base = *b;
    p->base.ops = profile_ops;
    p->base.ops.name = b->ops.name;
    p->base.ops.rows = b->ops.together ? p_rows : NULL;
    p->inner = b;
    *out = &p->base;
    return VN_OK;
}

void vn_profile_start(struct vn_backend *b) {
    self(b)->on = true;
}

/* ---- what it came to ------------------------------------------------------------- */

int vn_profile_at(const struct vn_backend *b, int i, struct vn_profile_op *out) {
    const struct profile *p = (const struct profile *)b;
    if (i >= p->n_kinds)
        return 0;
    const struct kind *k = &p->kinds[i];
    *out = (struct vn_profile_op){k->name, k->calls, k->seconds, k->flop, k->bytes};
    return 1;
}

void vn_profile_totals(struct vn_backend *b, struct vn_profile_totals *out) {
    struct profile *p = self(b);
    while (p->settled < p->n_copies)
        settle_copy(p);
    *out = p->totals;
    out->seconds = p->at;
}
