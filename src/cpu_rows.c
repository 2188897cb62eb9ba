/* cpu_rows.c - norms and matrix products of the fast CPU backend, alone or one after another.
 *
 * An item of the team is a block of VN_CPU_ROWS rows. Where the matrices of all stages fit
 * into a cache together, a block goes through all stages before the next begins: what one
 * stage passes to the next stays in scratch memory of the worker, near it, and the workers
 * meet once instead of once for each stage. Larger matrices are better used for all blocks
 * in turn; then only norms go with the product behind them. A block is computed by the same
 * code either way, so that the results are the same to the bit. */
#include "cpu.h"

/* Bytes of matrices that run together: they are to stay in a core's second cache, of 1 MiB
 * and more on what has AVX-512, beside a block's rows. */
#define TOGETHER ((size_t)640 << 10)

struct job {
    struct vn_cpu *c;
    const struct vn_row_stage *stages;
    int n;
    int64_t n_tok;
    size_t room, passed; /* bytes of scratch memory: of a product, of rows passed on */
    int failed;          /* atomic: a status of oneDNN */
};

static const struct vn_cpu_matrix *matrix_of(const struct vn_row_stage *s) {
    return (const struct vn_cpu_matrix *)(const void *)s->linear.w;
}

/* Bytes of a row of what a stage writes. */
static size_t y_row(const struct vn_cpu *c, const struct vn_row_stage *s) {
    size_t size = vn_dtype_size(c->ref.base.act);
    if (s->is_norm)
        return (size_t)s->norm.d * vn_dtype_size(s->norm.y_type);
    size_t n = (size_t)matrix_of(s)->n_out;
    switch (s->linear.epilogue) {
    case VN_EPI_RESIDUAL: return n * sizeof(float);
    case VN_EPI_GLU: return n / 2 * size;
    default: return n * size;
    }
}

/* The same shifted to row t0, y elsewhere if `to` says so. */
static void norm_block(const struct job *j, const struct vn_norm_args *all, int64_t t0,
                       int64_t rows, void *to) {
    enum vn_dtype act = j->c->ref.base.act;
    size_t at = (size_t)(t0 * all->d);
    struct vn_norm_args a = *all;
    a.x += at;
    a.y = to ? to : (uint8_t *)a.y + at * vn_dtype_size(a.y_type);
    a.also = a.also ? (uint8_t *)a.also + at * vn_dtype_size(act) : NULL;
    j->c->k->norm(&a, act, 0, rows);
}

/* `from`: the rows that the stage before has passed, or NULL; `to`: where to pass y. */
static void linear_block(struct job *j, const struct vn_row_stage *s, int worker, int64_t t0,
                         int64_t rows, const void *from, void *to) {
    const struct vn_cpu *c = j->c;
    const struct vn_cpu_matrix *m = matrix_of(s);
    size_t x_row = (size_t)m->n_in * vn_dtype_size(c->ref.base.act);
    const struct vn_cpu_block k = {
        .x = from ? from : (const uint8_t *)s->linear.x + (size_t)t0 * x_row,
        .y = to ? to : (uint8_t *)s->linear.y + (size_t)t0 * y_row(c, s),
        .rows = rows,
        .worker = worker,
        .room = c->work[worker].data};
    int status = m->multiply(c, s->linear.w, &k);
    if (status)
        __atomic_store_n(&j->failed, status, __ATOMIC_RELAXED);
}

static void rows_item(void *ctx, int worker, int64_t item) {
    struct job *j = ctx;
    int64_t t0 = item * VN_CPU_ROWS, rows = j->n_tok - t0;
    uint8_t *passed = j->c->work[worker].data + j->room, *from = NULL;
    rows = rows < VN_CPU_ROWS ? rows : VN_CPU_ROWS;
    for (int i = 0; i < j->n; i++) {
        const struct vn_row_stage *s = &j->stages[i];
        uint8_t *to = s->passed && i + 1 < j->n ? passed + (i & 1 ? j->passed : 0) : NULL;
        if (s->is_norm)
            norm_block(j, &s->norm, t0, rows, to);
        else
            linear_block(j, s, worker, t0, rows, from, to);
        from = to;
    }
}

/* The stages from s on up to one that passes nothing on, of n, and the bytes of their
 * matrices. */
static int unit(const struct vn_cpu *c, const struct vn_row_stage *s, int n, size_t *bytes) {
    int i = 0;
    do {
        const struct vn_cpu_matrix *m = s[i].is_norm ? NULL : matrix_of(&s[i]);
        *bytes += m ? (size_t)(m->n_out * m->n_in) * vn_dtype_size(c->ref.base.act) : 0;
    } while (s[i++].passed && i < n);
    return i;
}

/* How many of n stages run together: whole units as far as their matrices fit. Of a unit that
 * is too large the first product, with the norms before it, and then, as `cut` says, one at a
 * time, since what is passed on may lie where a later stage writes. */
static int together(const struct vn_cpu *c, const struct vn_row_stage *s, int n, bool cut) {
    size_t bytes = 0;
    int end = 0, next;
    if (cut)
        return 1;
    while (end < n && (next = end + unit(c, s + end, n - end, &bytes)) && bytes <= TOGETHER)
        end = next;
    if (!end)
        for (end = 1; s[end - 1].is_norm; end++)
            ;
    return end;
}

static int run_together(struct vn_cpu *c, const struct vn_row_stage *s, int n,
                        struct vn_error *err) {
    struct job j = {.c = c, .stages = s, .n = n};
    j.n_tok = s->is_norm ? s->norm.n_tok : s->linear.n_tok;
    for (int i = 0; i < n; i++) {
        const struct vn_cpu_matrix *m = s[i].is_norm ? NULL : matrix_of(&s[i]);
        if (m && m->epilogue != s[i].linear.epilogue)
            return vn_fail(err, VN_EINTERNAL, "matrix made for epilogue %d, called with %d",
                           (int)m->epilogue, (int)s[i].linear.epilogue);
        if (m && m->room > j.room)
            j.room = vn_round_up(m->room, VN_ALIGN);
        if (s[i].passed && VN_CPU_ROWS * y_row(c, &s[i]) > j.passed)
            j.passed = vn_round_up(VN_CPU_ROWS * y_row(c, &s[i]), VN_ALIGN);
    }
    int rc = vn_cpu_reserve(c, j.room + 2 * j.passed, err);
    if (rc)
        return rc;
    vn_team_run(c->team, rows_item, &j, (j.n_tok + VN_CPU_ROWS - 1) / VN_CPU_ROWS);
    return j.failed ? vn_fail(err, VN_EINTERNAL, "oneDNN cannot multiply: status %d", j.failed)
                    : VN_OK;
}

static int cpu_rows(struct vn_backend *b, const struct vn_row_stage *stages, int n,
                    struct vn_error *err) {
    struct vn_cpu *c = (struct vn_cpu *)b;
    int rc = VN_OK;
    for (int i = 0, k; i < n && rc == VN_OK; i += k) {
        k = together(c, stages + i, n - i, i > 0 && stages[i - 1].passed);
        rc = run_together(c, stages + i, k, err);
    }
    return rc;
}

static int cpu_norm(struct vn_backend *b, const struct vn_norm_args *a,
                    struct vn_error *err) {
    const struct vn_row_stage s = {.is_norm = true, .norm = *a};
    return run_together((struct vn_cpu *)b, &s, 1, err);
}

static int cpu_linear(struct vn_backend *b, const struct vn_linear_args *a,
                      struct vn_error *err) {
    const struct vn_row_stage s = {.linear = *a};
    return run_together((struct vn_cpu *)b, &s, 1, err);
}

static void cpu_matrix_free(struct vn_backend *b, struct vn_matrix *m) {
    (void)b;
    if (m)
        ((struct vn_cpu_matrix *)(void *)m)->free(m);
}

void vn_cpu_rows_overlay(struct vn_backend_ops *ops) {
    ops->matrix_free = cpu_matrix_free;
    ops->norm = cpu_norm;
    ops->linear = cpu_linear;
    ops->rows = cpu_rows;
}
