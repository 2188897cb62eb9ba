/* cpu_dnnl.c - matrix products through oneDNN, but for small ones in f32.
 *
 * One primitive per matrix multiplies a block of VN_CPU_ROWS rows, single-threaded, with
 * bias, GELU or residual fused; the team hands out blocks. oneDNN keeps its own order of
 * summation, but as the primitive is made once for a fixed block, that order is the same
 * for every row of every batch. Weights are laid out once as the primitive likes them. */
#include "cpu.h"
#include "cpu_dnnl.h"

#if VN_HAVE_ONEDNN

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_FROM ((size_t)4 << 20) /* bytes */
#define OWN_UP_TO (160 << 10)       /* elements of a matrix */
#define STACK_ROWS 32               /* of an item */

struct vn_cpu_dnnl {
    dnnl_engine_t engine;
    dnnl_stream_t *streams;   /* [n_workers] */
    void (*set_threads)(int); /* OpenMP's, for the calling thread; NULL: not OpenMP */
};

/* Arguments of a primitive, one set per worker since blocks run side by side. */
enum { SRC, DST, SCRATCHPAD, WEIGHTS, BIAS, N_ARGS };

struct vn_matrix {
    struct vn_cpu_matrix base; /* first */
    dnnl_primitive_t primitive;
    dnnl_memory_t weights, bias;
    int n_workers;
    dnnl_exec_arg_t (*args)[N_ARGS]; /* [n_workers] */
    struct vn_buf weights_data, bias_data;
    size_t scratchpad; /* bytes */
};

static int fail(struct vn_error *err, dnnl_status_t status, const char *what) {
    int rc = status == dnnl_out_of_memory   ? VN_EFAIL
             : status == dnnl_unimplemented ? VN_EINCOMPAT
                                            : VN_EINTERNAL;
    return vn_fail(err, rc, "oneDNN cannot %s: status %d", what, (int)status);
}

/* ---- linear ---------------------------------------------------------------------- */

/* The residual stream is; what is gated afterwards is not rounded on the way. */
static bool result_is_f32(enum vn_epilogue e) {
    return e == VN_EPI_RESIDUAL || e == VN_EPI_GLU;
}

/* Rows filled up with zeros, as the primitive takes whole blocks. */
static void *fill_up(uint8_t *to, const void *x, int64_t rows, size_t row) {
    memcpy(to, x, (size_t)rows * row);
    memset(to + (size_t)rows * row, 0, (size_t)(VN_CPU_ROWS - rows) * row);
    return to;
}

static int multiply(const struct vn_cpu *c, const struct vn_matrix *m,
                    const struct vn_cpu_block *k) {
    const enum vn_epilogue e = m->base.epilogue;
    const enum vn_dtype act = c->ref.base.act;
    const bool tail = k->rows < VN_CPU_ROWS, glu = e == VN_EPI_GLU;
    const size_t y_row = (size_t)m->base.n_out * vn_dtype_size(result_is_f32(e) ? VN_F32 : act);
    uint8_t *py = k->room + m->scratchpad, *px = py + VN_CPU_ROWS * y_row;
    void *x = (void *)(uintptr_t)k->x, *y = glu ? py : k->y; /* x is only read */
    dnnl_exec_arg_t *args = m->args[k->worker];
    if (c->dnnl->set_threads)
        c->dnnl->set_threads(1);
    if (tail)
        x = fill_up(px, x, k->rows, (size_t)m->base.n_in * vn_dtype_size(act));
    if (tail && !glu)
        y = fill_up(py, y, e == VN_EPI_RESIDUAL ? k->rows : 0, y_row);
    dnnl_status_t s = dnnl_memory_set_data_handle(args[SRC].memory, x);
    if (s == dnnl_success)
        s = dnnl_memory_set_data_handle(args[DST].memory, y);
    if (s == dnnl_success)
        s = dnnl_memory_set_data_handle(args[SCRATCHPAD].memory, k->room);
    if (s == dnnl_success)
        s = dnnl_primitive_execute(m->primitive, c->dnnl->streams[k->worker], N_ARGS, args);
    if (s == dnnl_success && glu)
        c->k->glu((const float *)(const void *)py, k->y, act, k->rows, m->base.n_out / 2);
    else if (s == dnnl_success && tail)
        memcpy(k->y, py, (size_t)k->rows * y_row);
    return (int)s;
}

/* ---- a matrix -------------------------------------------------------------------- */

static void matrix_free(struct vn_matrix *m) {
    for (int i = 0; m->args && i < m->n_workers; i++)
        for (int k = SRC; k <= SCRATCHPAD; k++)
            if (m->args[i][k].memory)
                dnnl_memory_destroy(m->args[i][k].memory);
    if (m->weights)
        dnnl_memory_destroy(m->weights);
    if (m->bias)
        dnnl_memory_destroy(m->bias);
    if (m->primitive)
        dnnl_primitive_destroy(m->primitive);
    vn_buf_release(&m->weights_data);
    vn_buf_release(&m->bias_data);
    free(m->args);
    free(m);
}

/* Attributes: strict precision whatever the environment says, our scratch memory, and the
 * epilogue. */
static dnnl_status_t make_attr(enum vn_epilogue epilogue, dnnl_primitive_attr_t *attr) {
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t s = dnnl_primitive_attr_create(attr);
    if (s != dnnl_success)
        return s;
    s = dnnl_primitive_attr_set_scratchpad_mode(*attr, dnnl_scratchpad_mode_user);
    if (s == dnnl_success)
        s = dnnl_primitive_attr_set_fpmath_mode(*attr, dnnl_fpmath_mode_strict);
    if (s == dnnl_success)
        s = dnnl_post_ops_create(&ops);
    if (s == dnnl_success && epilogue == VN_EPI_GELU)
        s = vn_dnnl_append_gelu(ops);
    if (s == dnnl_success && epilogue == VN_EPI_RESIDUAL)
        s = vn_dnnl_append_sum(ops);
    if (s == dnnl_success)
        s = dnnl_primitive_attr_set_post_ops(*attr, ops);
    if (ops)
        dnnl_post_ops_destroy(ops);
    return s;
}

/* The product of a block, with the weights in whatever layout suits it. */
static dnnl_status_t describe(const struct vn_matrix *m, dnnl_data_type_t act,
                              dnnl_engine_t engine, const_dnnl_primitive_attr_t attr,
                              dnnl_primitive_desc_t *pd) {
    dnnl_memory_desc_t d[4];
    dnnl_data_type_t out = result_is_f32(m->base.epilogue) ? dnnl_f32 : act;
    const dnnl_dims_t dx = {VN_CPU_ROWS, m->base.n_in}, dw = {m->base.n_in, m->base.n_out},
                      db = {1, m->base.n_out}, dy = {VN_CPU_ROWS, m->base.n_out};
    memset(d, 0, sizeof d);
    dnnl_status_t s = vn_dnnl_md_init(&d[0], dx, act, dnnl_ab);
    if (s == dnnl_success)
        s = vn_dnnl_md_init(&d[1], dw, act, dnnl_format_tag_any);
    if (s == dnnl_success)
        s = vn_dnnl_md_init(&d[2], db, dnnl_f32, dnnl_ab);
    if (s == dnnl_success)
        s = vn_dnnl_md_init(&d[3], dy, out, dnnl_ab);
    if (s == dnnl_success)
        s = vn_dnnl_matmul_create(pd, engine, d, attr);
    for (int i = 0; i < 4; i++)
        vn_dnnl_md_release(&d[i]);
    return s;
}

static dnnl_data_type_t type_of(const struct vn_cpu *c) {
    return c->ref.base.act == VN_BF16 ? dnnl_bf16 : dnnl_f32;
}

/* Gigabytes of small pages would be a fault each, and more misses later. */
static void use_huge_pages(const struct vn_buf *b) {
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), skip = -(uintptr_t)b->data % page;
    if (b->cap > HUGE_FROM) /* where there are none nothing is lost */
        (void)madvise(b->data + skip, b->cap - skip, MADV_HUGEPAGE);
}

/* Rows of the parts, one below the other, in the activation type. */
struct stacked {
    const struct vn_cpu *c;
    const struct vn_matrix_spec *s;
    uint8_t *rows;
};

static void stack_item(void *ctx, int worker, int64_t item) {
    const struct stacked *k = ctx;
    const struct vn_matrix_spec *s = k->s;
    enum vn_dtype act = k->c->ref.base.act;
    int64_t part_rows = s->n_out / s->n_parts, from = item * STACK_ROWS;
    int64_t to = from + STACK_ROWS < s->n_out ? from + STACK_ROWS : s->n_out;
    float *wide = (float *)(void *)k->c->work[worker].data;
    for (int64_t r = from; r < to; r++) {
        const uint8_t *x = s->weight[r / part_rows];
        x += (size_t)(r % part_rows * s->n_in) * vn_dtype_size(s->type);
        uint8_t *y = k->rows + (size_t)(r * s->n_in) * vn_dtype_size(act);
        if (s->type == act) {
            memcpy(y, x, (size_t)s->n_in * vn_dtype_size(act));
        } else if (act == VN_F32) {
            k->c->k->widen(x, s->type, (float *)(void *)y, s->n_in);
        } else {
            k->c->k->widen(x, s->type, wide, s->n_in);
            k->c->k->convert(wide, y, act, s->n_in);
        }
    }
}

/* The weights as they are in the file where they are in one piece and of the activation
 * type, else stacked in `room`. */
static const void *plain_weights(struct vn_cpu *c, const struct vn_matrix_spec *s,
                                 struct vn_buf *room, struct vn_error *err) {
    size_t bytes;
    if (s->n_parts == 1 && s->type == c->ref.base.act)
        return s->weight[0];
    if (!vn_mul((size_t)s->n_in * vn_dtype_size(c->ref.base.act), (size_t)s->n_out, &bytes)) {
        vn_fail(err, VN_EFAIL, "cannot allocate a matrix of %lld x %lld",
                (long long)s->n_out, (long long)s->n_in);
        return NULL;
    }
    if (vn_buf_resize(room, bytes, err) ||
        vn_cpu_reserve(c, (size_t)s->n_in * sizeof(float), err))
        return NULL;
    use_huge_pages(room);
    struct stacked k = {c, s, room->data};
    vn_team_run(c->team, stack_item, &k, (s->n_out + STACK_ROWS - 1) / STACK_ROWS);
    return room->data;
}

/* Rounds the weights to the activation type and reorders them into the primitive's
 * layout. */
static int load_weights(struct vn_cpu *c, struct vn_matrix *m,
                        const struct vn_matrix_spec *s, const_dnnl_memory_desc_t layout,
                        struct vn_error *err) {
    struct vn_buf room = {0};
    dnnl_memory_desc_t from;
    memset(&from, 0, sizeof from);
    dnnl_memory_t src = NULL;
    dnnl_primitive_desc_t pd = NULL;
    dnnl_primitive_t reorder = NULL;
    const dnnl_dims_t dims = {m->base.n_in, m->base.n_out};
    const void *plain = plain_weights(c, s, &room, err);
    if (!plain) {
        vn_buf_release(&room);
        return VN_EFAIL;
    }
    dnnl_status_t st = vn_dnnl_md_init(&from, dims, type_of(c), dnnl_ba);
    if (st == dnnl_success) /* which is only read */
        st = dnnl_memory_create(&src, vn_dnnl_view(&from), c->dnnl->engine,
                                (void *)(uintptr_t)plain);
    if (st == dnnl_success)
        st = dnnl_reorder_primitive_desc_create(&pd, vn_dnnl_view(&from), c->dnnl->engine,
                                                layout, c->dnnl->engine, NULL);
    if (st == dnnl_success)
        st = dnnl_primitive_create(&reorder, pd);
    if (st == dnnl_success) {
        const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, src}, {DNNL_ARG_TO, m->weights}};
        st = dnnl_primitive_execute(reorder, c->dnnl->streams[0], 2, args);
    }
    if (reorder)
        dnnl_primitive_destroy(reorder);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (src)
        dnnl_memory_destroy(src);
    vn_dnnl_md_release(&from);
    vn_buf_release(&room);
    return st == dnnl_success ? VN_OK : fail(err, st, "lay out weights");
}

/* Memory objects of weights, bias and of each worker's arguments, over data set later. */
static dnnl_status_t make_memory(const struct vn_cpu *c, struct vn_matrix *m,
                                 const_dnnl_primitive_desc_t pd) {
    static const int names[N_ARGS] = {DNNL_ARG_SRC, DNNL_ARG_DST, DNNL_ARG_SCRATCHPAD,
                                      DNNL_ARG_WEIGHTS, DNNL_ARG_BIAS};
    static const dnnl_query_t queries[N_ARGS] = {
        dnnl_query_src_md, dnnl_query_dst_md, dnnl_query_scratchpad_md,
        dnnl_query_weights_md, dnnl_query_weights_md};
    dnnl_engine_t e = c->dnnl->engine;
    dnnl_status_t s = dnnl_memory_create(
        &m->weights, dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), e,
        m->weights_data.data);
    if (s == dnnl_success)
        s = dnnl_memory_create(&m->bias,
                               dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 1),
                               e, m->bias_data.data);
    for (int w = 0; w < m->n_workers; w++) {
        for (int k = 0; k < N_ARGS && s == dnnl_success; k++) {
            m->args[w][k].arg = names[k];
            if (k == WEIGHTS || k == BIAS)
                m->args[w][k].memory = k == WEIGHTS ? m->weights : m->bias;
            else
                s = dnnl_memory_create(&m->args[w][k].memory,
                                       dnnl_primitive_desc_query_md(pd, queries[k], 0), e,
                                       DNNL_MEMORY_NONE);
        }
    }
    return s;
}

static int build(struct vn_cpu *c, struct vn_matrix *m, const struct vn_matrix_spec *s,
                 struct vn_error *err) {
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t pd = NULL;
    const_dnnl_memory_desc_t layout;
    int rc;
    dnnl_status_t st = make_attr(m->base.epilogue, &attr);
    if (st == dnnl_success)
        st = describe(m, type_of(c), c->dnnl->engine, attr, &pd);
    if (st == dnnl_success)
        st = dnnl_primitive_create(&m->primitive, pd);
    if (st != dnnl_success) {
        rc = fail(err, st, "make a matrix product");
        goto out;
    }
    layout = dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    m->scratchpad = vn_round_up(dnnl_memory_desc_get_size(dnnl_primitive_desc_query_md(
                                    pd, dnnl_query_scratchpad_md, 0)),
                                VN_ALIGN);
    m->base.room = m->scratchpad + VN_CPU_ROWS * sizeof(float) *
                                      (size_t)(m->base.n_in + m->base.n_out);
    if ((rc = vn_buf_resize(&m->weights_data, dnnl_memory_desc_get_size(layout), err)) ||
        (rc = vn_buf_resize(&m->bias_data, (size_t)m->base.n_out * sizeof(float), err)))
        goto out;
    use_huge_pages(&m->weights_data);
    for (int64_t r = 0; r < m->base.n_out; r++)
        ((float *)(void *)m->bias_data.data)[r] = vn_cpu_bias(s, r);
    st = make_memory(c, m, pd);
    rc = st == dnnl_success ? load_weights(c, m, s, layout, err)
                            : fail(err, st, "describe memory");
out:
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (attr)
        dnnl_primitive_attr_destroy(attr);
    return rc;
}

/* Our own products in f32 come as near to the peak of AVX-512 as oneDNN's, without the half
 * microsecond that calling one takes, and the last rows need not be filled up to a block: on
 * small matrices it shows. Large ones are laid out faster here. */
static bool own_is_faster(const struct vn_cpu *c, const struct vn_matrix_spec *s) {
    return !strcmp(c->k->name, "avx512") && c->ref.base.act == VN_F32 &&
           s->n_out * s->n_in <= OWN_UP_TO;
}

static int dnnl_matrix_new(struct vn_backend *b, const struct vn_matrix_spec *s,
                           struct vn_matrix **out, struct vn_error *err) {
    struct vn_cpu *c = (struct vn_cpu *)b;
    *out = NULL;
    if (own_is_faster(c, s))
        return vn_cpu_matrix_new(b, s, out, err);
    struct vn_matrix *m = vn_calloc(1, sizeof *m, err);
    if (!m)
        return VN_EFAIL;
    m->base = (struct vn_cpu_matrix){.n_out = s->n_out,
                                     .n_in = s->n_in,
                                     .epilogue = s->epilogue,
                                     .multiply = multiply,
                                     .free = matrix_free};
    m->n_workers = c->n_workers;
    m->args = vn_calloc((size_t)c->n_workers, sizeof *m->args, err);
    int rc = m->args ? VN_OK : VN_EFAIL;
    if (c->dnnl->set_threads)
        c->dnnl->set_threads(1); /* the primitive remembers how many it was made under */
    if (rc == VN_OK)
        rc = build(c, m, s, err);
    if (rc) {
        matrix_free(m);
        return rc;
    }
    *out = m;
    return VN_OK;
}

/* ---- opening --------------------------------------------------------------------- */

void vn_cpu_dnnl_close(struct vn_cpu *c) {
    struct vn_cpu_dnnl *d = c->dnnl;
    if (!d)
        return;
    for (int i = 0; d->streams && i < c->n_workers; i++)
        if (d->streams[i])
            dnnl_stream_destroy(d->streams[i]);
    if (d->engine)
        dnnl_engine_destroy(d->engine);
    free(d->streams);
    free(d);
    c->dnnl = NULL;
}

/* oneDNN brings its own threads; every worker of the team must do its block alone. */
static int find_set_threads(struct vn_cpu_dnnl *d, struct vn_error *err) {
#if DNNL_CPU_THREADING_RUNTIME == DNNL_RUNTIME_OMP
    void *f = dlsym(RTLD_DEFAULT, "omp_set_num_threads");
    if (!f)
        return vn_fail(err, VN_EINTERNAL, "oneDNN's OpenMP has no omp_set_num_threads");
    memcpy(&d->set_threads, &f, sizeof f);
#else
    (void)d;
    (void)err;
#endif
    return VN_OK;
}

/* Whether there is a fast product of this precision: a generic one is slow. */
static int probe(struct vn_cpu *c, struct vn_error *err) {
    struct vn_matrix m = {.base = {.n_out = 64, .n_in = 64, .epilogue = VN_EPI_BIAS}};
    dnnl_primitive_desc_t pd = NULL;
    const char *impl = "";
    dnnl_status_t s = describe(&m, type_of(c), c->dnnl->engine, NULL, &pd);
    if (s == dnnl_success)
        s = dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &impl);
    bool slow = s == dnnl_unimplemented || !strncmp(impl, "ref", 3);
    if (pd)
        dnnl_primitive_desc_destroy(pd);
    if (slow)
        return vn_fail(err, VN_ENODEVICE, "oneDNN has no fast %s product here",
                       c->ref.base.act == VN_BF16 ? "bf16" : "fp32");
    return s == dnnl_success ? VN_OK : fail(err, s, "describe a matrix product");
}

static int open_engine(struct vn_cpu *c, struct vn_error *err) {
    struct vn_cpu_dnnl *d = c->dnnl;
    int rc = find_set_threads(d, err);
    if (rc)
        return rc;
    d->streams = vn_calloc((size_t)c->n_workers, sizeof *d->streams, err);
    if (!d->streams)
        return VN_EFAIL;
    dnnl_status_t s = dnnl_engine_create(&d->engine, dnnl_cpu, 0);
    for (int i = 0; s == dnnl_success && i < c->n_workers; i++)
        s = dnnl_stream_create(&d->streams[i], d->engine, dnnl_stream_default_flags);
    return s == dnnl_success ? probe(c, err) : fail(err, s, "open the cpu");
}

int vn_cpu_dnnl_overlay(struct vn_cpu *c, char name[32], struct vn_error *err) {
    dnnl_set_verbose(0); /* it would write to stdout, which is ours */
    c->dnnl = vn_calloc(1, sizeof *c->dnnl, err);
    if (!c->dnnl)
        return VN_EFAIL;
    int rc = open_engine(c, err);
    if (rc) {
        vn_cpu_dnnl_close(c);
        return rc;
    }
    const dnnl_version_t *v = dnnl_version();
    snprintf(name, 32, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
    c->ref.base.ops.matrix_new = dnnl_matrix_new;
    return VN_OK;
}

#else

int vn_cpu_dnnl_overlay(struct vn_cpu *c, char name[32], struct vn_error *err) {
    (void)c;
    (void)name;
    return vn_fail(err, VN_ENODEVICE, "built without oneDNN");
}

void vn_cpu_dnnl_close(struct vn_cpu *c) {
    (void)c;
}

#endif
