/* bench_flow [LAYERS WIDTH HEADS [TOKENS [BATCHES]]] - what vn-embed costs the host: a tokens
 * stream through embedder, fleet and writer into a pipe, on a device whose operations do
 * nothing. Prints the processor time that each thread spends on a record, pooled vectors
 * first, then token rows in half precision: the slowest of them is what no device can pass. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "embedder.h"
#include "fixture.h"

#define BATCH_TOKENS 65536
#define SLICE_TOKENS (132 * 1024) /* of an H200 */

static struct vn_error err;
static double feeder, runner; /* seconds of these threads so far */

static void must(int rc) {
    if (rc < 0) {
        fprintf(stderr, "bench_flow: %s\n", err.msg);
        exit(-rc);
    }
}

static double of_thread(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- a device that does nothing -------------------------------------------------- */

static int null_embed(struct vn_backend *b, const struct vn_seqs *s,
                      const struct vn_embed_args *a, struct vn_error *e) {
    (void)b, (void)s, (void)a, (void)e;
    return VN_OK;
}
static int null_norm(struct vn_backend *b, const struct vn_norm_args *a, struct vn_error *e) {
    (void)b, (void)a, (void)e;
    return VN_OK;
}
static int null_linear(struct vn_backend *b, const struct vn_linear_args *a,
                       struct vn_error *e) {
    (void)b, (void)a, (void)e;
    return VN_OK;
}
static int null_attn(struct vn_backend *b, const struct vn_seqs *s,
                     const struct vn_attn_args *a, struct vn_error *e) {
    (void)b, (void)s, (void)a, (void)e;
    return VN_OK;
}
static int null_finite(struct vn_backend *b, const struct vn_seqs *s, const float *x,
                       int64_t d, uint8_t *bad, struct vn_error *e) {
    (void)b, (void)x, (void)d, (void)e;
    memset(bad, 0, (size_t)s->n_seq);
    return VN_OK;
}

/* Random bits of numbers in [1, 2), as nothing that compresses; made once. */
static void scramble(void *p, size_t n, uint16_t keep, uint16_t set) {
    static uint64_t x = 88172645463325252u;
    static const void *done[2];
    uint16_t *v = p;
    if (done[0] == p || done[1] == p)
        return;
    done[keep == 0x007f] = p;
    for (size_t i = 0; i < n; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        v[i] = keep == 0x007f && !(i & 1) ? (uint16_t)x : (uint16_t)((x & keep) | set);
    }
}
static int null_pool(struct vn_backend *b, const struct vn_seqs *s,
                     const struct vn_pool_args *a, struct vn_error *e) {
    (void)b, (void)e;
    scramble(a->out, (size_t)(s->n_seq * a->d) * 2, 0x007f, 0x3f80);
    return VN_OK;
}
static int null_convert(struct vn_backend *b, const float *x, void *y, enum vn_dtype type,
                        int64_t n, struct vn_error *e) {
    (void)b, (void)x, (void)type, (void)e;
    scramble(y, (size_t)n, 0x03ff, 0x3c00);
    return VN_OK;
}

static int (*real_wait)(struct vn_backend *, int, struct vn_error *);
static int null_wait(struct vn_backend *b, int slot, struct vn_error *e) {
    runner = of_thread(); /* what is done after the last one is left out */
    return real_wait(b, slot, e);
}

static struct vn_backend *null_device(void) {
    const struct vn_backend_options o = {.device = "reference", .act = VN_F32, .threads = 1};
    struct vn_backend *b;
    must(vn_backend_open(&o, &b, &err));
    real_wait = b->ops.wait;
    b->ops.wait = null_wait;
    b->ops.embed = null_embed;
    b->ops.norm = null_norm;
    b->ops.linear = null_linear;
    b->ops.attn = null_attn;
    b->ops.finite = null_finite;
    b->ops.pool = null_pool;
    b->ops.convert = null_convert;
    b->queues = true;
    b->slice_tokens = SLICE_TOKENS;
    return b;
}

/* ---- two ends -------------------------------------------------------------------- */

/* A source over memory that looks at the clock. */
static int64_t (*real_read)(struct vn_source *, void *, size_t, struct vn_error *);
static int64_t timed_read(struct vn_source *s, void *buf, size_t n, struct vn_error *e) {
    feeder = of_thread();
    return real_read(s, buf, n, e);
}

static int64_t make_input(int batches, int tokens, struct vn_buf *out) {
    const enum vn_type list[] = {VN_LIST, VN_UINT16};
    struct vn_schema s;
    struct vn_builder c[4];
    struct vn_batch b = {0};
    struct vn_sink *sink;
    struct vn_writer *w;
    uint16_t *record = calloc((size_t)tokens, sizeof *record);
    uint64_t n = 0, x = 88172645463325252u;
    vn_schema_init(&s, VN_KIND_TOKENS);
    must(vn_schema_add_flat(&s, "id", VN_UTF8, &err));
    must(vn_schema_add_flat(&s, "record", VN_UINT64, &err));
    must(vn_schema_add(&s, "tokens", list, NULL, 2, false, &err));
    must(vn_schema_add_flat(&s, "status", VN_UTF8, &err));
    must(vn_sink_memory(out, &sink, &err));
    must(vn_writer_open(sink, &s, &w, &err));
    for (int i = 0; i < 4; i++)
        vn_builder_init(&c[i], &s.fields[i]);
    for (int k = 0; k < batches; k++) {
        for (int i = 0; i < BATCH_TOKENS / tokens; i++, n++) {
            char id[32];
            int len = snprintf(id, sizeof id, "protein_%llu", (unsigned long long)n);
            for (int t = 0; t < tokens; t++) {
                x ^= x << 13, x ^= x >> 7, x ^= x << 17;
                record[t] = (uint16_t)(4 + x % 20);
            }
            must(vn_builder_add_bytes(&c[0], id, (size_t)len, &err));
            must(vn_builder_add_value(&c[1], &n, &err));
            must(vn_builder_add_list(&c[2], record, tokens, &err));
            must(vn_builder_add_bytes(&c[3], "ok", 2, &err));
        }
        must(vn_builders_give(c, 4, &b, &err));
        must(vn_writer_put(w, &b, &err));
    }
    must(vn_writer_close(w, &err));
    for (int i = 0; i < 4; i++)
        vn_builder_release(&c[i]);
    vn_batch_release(&b);
    vn_schema_release(&s);
    free(record);
    return (int64_t)n;
}

/* Standard output becomes a pipe to a process that throws everything away. */
static pid_t drain(void) {
    static char buf[1 << 20];
    int fd[2];
    if (pipe(fd) != 0)
        exit(1);
    pid_t pid = fork();
    if (pid == 0) {
        close(fd[1]);
        while (read(fd[0], buf, sizeof buf) > 0)
            ;
        _exit(0);
    }
    close(fd[0]);
    if (fd[1] != STDOUT_FILENO) { /* which is closed after the first run */
        dup2(fd[1], STDOUT_FILENO);
        close(fd[1]);
    }
    return pid;
}

static void run(const struct vn_model *m, const struct vn_buf *input, int64_t records,
                int tokens, const struct vn_engine_options *opts) {
    struct vn_backend *b = null_device();
    struct vn_fleet *f;
    struct vn_source *source;
    struct vn_sink *sink;
    struct vn_reader *r;
    struct vn_embedder *e;
    struct vn_writer *w;
    struct vn_schema s;
    struct vn_batch out = {0};
    int rc;
    pid_t pid = drain();
    must(vn_fleet_open(m, &b, 1, opts, &f, &err));
    must(vn_fleet_wait(f, &err));
    double loaded = runner;
    must(vn_source_memory(input->data, input->len, "memory", &source, &err));
    real_read = source->read;
    source->read = timed_read;
    must(vn_reader_open(source, NULL, &r, &err));
    must(vn_embedder_new(r, f, opts, m->config.d_model, &s, &e, &err));
    must(vn_sink_open(NULL, &sink, &err));
    must(vn_writer_open(sink, &s, &w, &err));
    double started = of_thread();
    while ((rc = vn_embedder_next(e, &out, &err)) > 0)
        must(vn_writer_put(w, &out, &err));
    must(rc);
    double writer = of_thread() - started;
    must(vn_writer_close(w, &err)); /* closes standard output */
    waitpid(pid, NULL, 0);
    const double n = (double)records, us[] = {1e6 * feeder / n, 1e6 * (runner - loaded) / n,
                                              1e6 * writer / n};
    double worst = us[0] > us[1] ? us[0] : us[1];
    worst = us[2] > worst ? us[2] : worst;
    fprintf(stderr, "%-24s reading %.2f, running %.2f, writing %.2f us a record: "
                    "at most %.1fM tokens/s\n",
            opts->pool ? "vectors" : "token rows, f16", us[0], us[1], us[2], tokens / worst);
    vn_embedder_free(e);
    vn_fleet_close(f);
    vn_schema_release(&s);
    vn_batch_release(&out);
    vn_reader_close(r);
}

int main(int argc, char **argv) {
    const char *layers = argc > 3 ? argv[1] : "6", *width = argc > 3 ? argv[2] : "320";
    const char *heads = argc > 3 ? argv[3] : "20";
    const int tokens = argc > 4 ? atoi(argv[4]) : 52, batches = argc > 5 ? atoi(argv[5]) : 300;
    struct vn_buf input = {0};
    char arguments[200];
    snprintf(arguments, sizeof arguments, "--layers %s --width %s --heads %s", layers, width,
             heads);
    struct vn_model *m = fixture_model(arguments);
    if (!m || tokens < 1 || tokens > BATCH_TOKENS)
        return 1;
    const struct vn_engine_options vectors = {.layer = m->config.n_layers,
                                              .pool = VN_POOL_MEAN};
    const struct vn_engine_options rows = {.layer = m->config.n_layers, .out_type = VN_F16};
    int64_t records = make_input(batches, tokens, &input);
    fprintf(stderr, "%lld records of %d tokens, width %s, through a device that does nothing\n",
            (long long)records, tokens, width);
    run(m, &input, records, tokens, &vectors);
    input.len = 0;
    records = make_input(batches / 10 + 1, tokens, &input);
    run(m, &input, records, tokens, &rows);
    vn_buf_release(&input);
    vn_model_close(m);
    return 0;
}
