/* bench_stream [WIDTH [ROWS [SECONDS]]] - how fast vectors go through a pipe: one process
 * writes seeded random float32 vectors, another reads and checks them. Prints GB/s of
 * float payload, and of the checksum alone. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "crc.h"
#include "stream.h"

static struct vn_error err;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void must(int rc) {
    if (rc < 0) {
        fprintf(stderr, "bench_stream: %s\n", err.msg);
        exit(-rc);
    }
}

/* Floats of full mantissas, as embeddings have them: nothing to compress. */
static float *random_floats(size_t n) {
    float *p = aligned_alloc(VN_ALIGN, vn_round_up(n * sizeof *p, VN_ALIGN));
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; p && i < n; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        p[i] = (float)((double)(int64_t)x / 9223372036854775808.0);
    }
    return p;
}

static void write_stream(int32_t width, int64_t rows, double seconds) {
    const enum vn_type chain[] = {VN_FIXED_LIST, VN_FLOAT32};
    const int32_t sizes[] = {width, 0};
    struct vn_schema s;
    struct vn_builder id, record;
    struct vn_batch b = {0};
    struct vn_sink *sink;
    struct vn_writer *w;
    float *values = random_floats((size_t)rows * (size_t)width);
    if (!values)
        exit(1);
    vn_schema_init(&s, VN_KIND_VECTORS);
    must(vn_schema_add_flat(&s, "id", VN_UTF8, &err));
    must(vn_schema_add_flat(&s, "record", VN_UINT64, &err));
    must(vn_schema_add(&s, "embedding", chain, sizes, 2, true, &err));
    must(vn_sink_open(NULL, &sink, &err));
    must(vn_writer_open(sink, &s, &w, &err));
    vn_builder_init(&id, &s.fields[0]);
    vn_builder_init(&record, &s.fields[1]);
    for (uint64_t i = 0; i < (uint64_t)rows; i++) {
        must(vn_builder_add_bytes(&id, "sequence_12345678", 17, &err));
        must(vn_builder_add_value(&record, &i, &err));
    }
    must(vn_batch_set_columns(&b, 3, &err));
    vn_builder_view(&id, &b.columns[0]);
    vn_builder_view(&record, &b.columns[1]);
    vn_column_vectors(&b.columns[2], rows, width, values, NULL, 0);
    b.n_rows = rows;
    for (double start = now(); now() - start < seconds;)
        must(vn_writer_put(w, &b, &err));
    must(vn_writer_close(w, &err));
}

int main(int argc, char **argv) {
    int32_t width = argc > 1 ? atoi(argv[1]) : 1280;
    int64_t rows = argc > 2 ? atoll(argv[2]) : 1024;
    double seconds = argc > 3 ? atof(argv[3]) : 2;
    int ends[2];
    if (pipe(ends) != 0)
        return 1;
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], STDOUT_FILENO);
        close(ends[0]);
        close(ends[1]);
        write_stream(width, rows, seconds);
        return 0;
    }
    dup2(ends[0], STDIN_FILENO);
    close(ends[0]);
    close(ends[1]);
    struct vn_source *source;
    struct vn_reader *r;
    struct vn_batch b = {0};
    must(vn_source_open(NULL, &source, &err));
    must(vn_reader_open(source, NULL, &r, &err));
    double start = now();
    int rc, status;
    while ((rc = vn_reader_next(r, &b, &err)) > 0)
        ;
    must(rc);
    double taken = now() - start;
    struct vn_totals t = vn_reader_totals(r);
    double bytes = (double)t.records * width * 4;
    waitpid(child, &status, 0);
    printf("%d x %lld float32: %.2f GB in %.2f s: %.2f GB/s\n", width, (long long)rows,
           bytes / 1e9, taken, bytes / 1e9 / taken);
    size_t n = (size_t)1 << 18;
    void *block = random_floats(n / 4);
    uint32_t crc = 0;
    start = now();
    for (int i = 0; i < 4000; i++)
        crc = vn_crc32c(crc, block, n);
    printf("crc32c: %.1f GB/s (%08x)\n", 4000.0 * (double)n / 1e9 / (now() - start),
           (unsigned)crc);
    free(block);
    vn_batch_release(&b);
    vn_reader_close(r);
    return status != 0;
}
