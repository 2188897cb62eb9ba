/* forge.h - streams made to do harm, and what has to become of them: each is refused, without
 * a crash and without much memory.
 *
 * Checksums are made right again after the damage, since an attacker can compute them. Every
 * stream is also given to vn-view as a file: it must end with 65 or 76 and stay below
 * 64 MiB. A program calls forge_open, its tests, forge_close (inline: not all use all). */
#ifndef VN_TEST_FORGE_H
#define VN_TEST_FORGE_H

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arrow.h"
#include "check.h"
#include "crc.h"
#include "gen.h"
#include "num.h"
#include "zbody.h"

#define MEMORY_KIB (64 << 10)
#define GIB ((int64_t)1 << 30)

static struct vn_error err;
/* Of what is forged: id utf8, record uint64, tokens list<uint16>, if a test changes nothing. */
static struct vn_schema schema;
static struct vn_zbody *z;

static inline void forge_open(void) {
    gen_schema(&schema, VN_KIND_TOKENS);
    gen_must(vn_zbody_new(&z, &err), &err);
}

static inline void forge_close(void) {
    vn_zbody_free(z);
    vn_schema_release(&schema);
}

/* ---- reading --------------------------------------------------------------------- */

static inline int read_all(const struct vn_buf *b, bool lax) {
    struct vn_reader_options o = {.lax = lax};
    struct vn_source *src;
    struct vn_reader *r;
    struct vn_batch batch = {0};
    err.msg[0] = 0;
    gen_must(vn_source_memory(b->data, b->len, "test", &src, &err), &err);
    int rc = vn_reader_open(src, &o, &r, &err);
    if (rc != VN_OK)
        return rc;
    while ((rc = vn_reader_next(r, &batch, &err)) > 0)
        ;
    vn_batch_release(&batch);
    vn_reader_close(r);
    return rc;
}

/* Exit status of vn-view, and its largest resident memory in KiB. */
static inline int view(const struct vn_buf *b, bool lax, long *kib) {
    FILE *f = fopen("hostile.arrows", "wb");
    int status = 0;
    struct rusage use;
    if (!f || fwrite(b->data, 1, b->len, f) != b->len || fclose(f))
        return -1;
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
            _exit(1);
        execlp("vn-view", "vn-view", "hostile.arrows", lax ? "--lax" : NULL, NULL);
        _exit(127);
    }
    if (wait4(child, &status, 0, &use) != child)
        return -1;
    *kib = use.ru_maxrss;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static inline void refuse(const struct vn_buf *b, bool lax, const char *name,
                          const char *message) {
    long kib = 0;
    int rc = read_all(b, lax);
    if (rc != VN_EDATA && rc != VN_EINCOMPAT) {
        printf("# %s: %d\n", name, rc);
        CHECK(0);
    }
    if (!strstr(err.msg, message)) {
        printf("# %s: '%s' has no '%s'\n", name, err.msg, message);
        CHECK(0);
    }
    int status = view(b, lax, &kib);
    if (status != -rc) {
        printf("# %s: vn-view ends with %d, expected %d\n", name, status, -rc);
        CHECK(0);
    }
#if !defined(__SANITIZE_ADDRESS__) /* whose own memory is larger */
    if (kib > MEMORY_KIB) {
        printf("# %s: vn-view takes %ld KiB\n", name, kib);
        CHECK(0);
    }
#endif
}

/* ---- making streams -------------------------------------------------------------- */

/* A batch of one's own: nodes and buffers as one likes, true checksums around them. */
struct forge {
    struct vn_arrow_node nodes[16];
    struct vn_arrow_buffer buffers[16];
    size_t n_nodes, n_buffers;
    struct vn_buf body;
    int64_t rows, body_length; /* body_length: what is said, if not 0 */
    const char *totals;        /* or NULL */
};

static inline void node(struct forge *f, int64_t length, int64_t nulls) {
    f->nodes[f->n_nodes++] = (struct vn_arrow_node){length, nulls};
}

/* Bytes as they are, at the next multiple of 64. */
static inline void put_bytes(struct forge *f, const void *p, size_t n) {
    size_t start = vn_round_up(f->body.len, VN_ALIGN);
    gen_must(vn_buf_zeros(&f->body, start - f->body.len, &err), &err);
    gen_must(vn_buf_append(&f->body, p, n, &err), &err);
    f->buffers[f->n_buffers++] = (struct vn_arrow_buffer){(int64_t)start, (int64_t)n};
}

static inline void put_packed(struct forge *f, const void *p, size_t n) {
    struct vn_buf frame = {0};
    if (n)
        gen_must(vn_zbody_pack(z, VN_ZBODY_REST, p, n, &frame, &err), &err);
    put_bytes(f, frame.data, frame.len);
    vn_buf_release(&frame);
}

/* The two rows "ab", "c" and their numbers. */
static inline void good_start(struct forge *f) {
    memset(f, 0, sizeof *f);
    f->rows = 2;
    node(f, 2, 0);
    put_packed(f, NULL, 0);
    put_packed(f, (const int32_t[]){0, 2, 3}, 12);
    put_packed(f, "abc", 3);
    node(f, 2, 0);
    put_packed(f, NULL, 0);
    put_packed(f, (const uint64_t[]){0, 1}, 16);
}

/* ... and their tokens, 1 2 and 3. */
static inline void good_end(struct forge *f) {
    node(f, 2, 0);
    put_packed(f, NULL, 0);
    put_packed(f, (const int32_t[]){0, 2, 3}, 12);
    node(f, 3, 0);
    put_packed(f, NULL, 0);
    put_packed(f, (const uint16_t[]){1, 2, 3}, 6);
}

/* Schema and batch, no totals: a reader that gets past the batch calls it truncated. */
static inline void finish(struct forge *f, struct vn_buf *out) {
    char rows[24], crc[9];
    out->len = 0;
    gen_must(vn_buf_zeros(&f->body, vn_round_up(f->body.len, VN_ALIGN) - f->body.len, &err),
             &err);
    snprintf(rows, sizeof rows, "%lld", (long long)f->rows);
    snprintf(crc, sizeof crc, "%08x", (unsigned)vn_crc32c(0, f->body.data, f->body.len));
    struct vn_arrow_outgoing o = {
        .rows = f->rows,
        .body = f->body_length ? f->body_length : (int64_t)f->body.len,
        .nodes = f->nodes, .buffers = f->buffers,
        .n_nodes = f->n_nodes, .n_buffers = f->n_buffers,
        .marks = {NULL, "0", rows, crc, f->totals}};
    gen_must(vn_arrow_write_schema(&schema, out, &err), &err);
    gen_must(vn_arrow_write_batch(&o, out, &err), &err);
    gen_must(vn_buf_append(out, f->body.data, f->body.len, &err), &err);
    vn_buf_release(&f->body);
}

static inline void refuse_forged(struct forge *f, const char *name, const char *message) {
    struct vn_buf out = {0};
    finish(f, &out);
    refuse(&out, false, name, message);
    vn_buf_release(&out);
}

#endif
