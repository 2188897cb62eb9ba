/* fuzz_import - vn_import on damaged torch files.
 *
 *   fuzz_import [-m N] FILE...     N cases of each FILE (default 1000), older format only
 *
 * The older format has no checksums, and its pickles are cut into opcodes here: a case has
 * one to three changes, of which most give a value another type (it is popped, and another
 * pushed), so that what comes out is still a pickle. Each case is imported as a file and as
 * pytorch_model.bin of a directory. Wanted is a documented status, no crash, and nothing
 * left behind. Prints how many cases there were and how many could be imported; leaves the
 * failing one as case.pt. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "import.h"

#define MAX_SIZE 65536
#define MAX_OPS 8192
#define STOPS 5 /* pickles of a file: magic, protocol, platform, object, keys */

static struct seed {
    uint8_t data[MAX_SIZE];
    size_t size, op[MAX_OPS + 1], n_ops, first; /* first: of the third pickle */
} seed, work;
static uint64_t state = 88172645463325252u;

static size_t below(size_t n) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (size_t)(state >> 20) % n;
}

static void die(const char *what, const char *about) {
    fprintf(stderr, "fuzz_import: %s '%s'\n", what, about);
    exit(2);
}

/* Bytes of the opcode at p, as protocol 2 has them; 0 for another. */
static size_t op_size(const uint8_t *p, const uint8_t *end) {
    size_t lines = *p == 'c' ? 2 : 0, at = 1;
    if (*p == 0x80 || strchr("Kqh", *p))
        return 2;
    if (*p == 'M')
        return 3;
    if (strchr("Jrj", *p))
        return 5;
    if (*p == 'G')
        return 9;
    if (*p == 0x8a || *p == 'U')
        return end - p < 2 ? 0 : 2 + (size_t)p[1];
    if (*p == 'X')
        return end - p < 5 ? 0 : 5 + (size_t)p[1] + ((size_t)p[2] << 8);
    for (; lines && p + at < end; at++)
        lines -= p[at] == '\n';
    return lines ? 0 : at;
}

static void cut_into_ops(struct seed *s, const char *path) {
    int stops = 0;
    s->n_ops = s->first = 0;
    for (size_t at = 0; stops < STOPS;) {
        size_t n = at < s->size ? op_size(s->data + at, s->data + s->size) : 0;
        if (!n || s->n_ops == MAX_OPS)
            die("cannot cut into opcodes", path);
        s->op[s->n_ops++] = at;
        stops += s->data[at] == '.';
        at += n;
        if (stops == 2 && !s->first)
            s->first = s->n_ops;
        s->op[s->n_ops] = at;
    }
}

static void splice(struct seed *s, size_t at, size_t drop, const void *p, size_t n) {
    if (s->size - drop + n > MAX_SIZE)
        return;
    memmove(s->data + at + n, s->data + at + drop, s->size - at - drop);
    memcpy(s->data + at, p, n);
    s->size += n - drop;
}

/* Pops the value that an opcode made and pushes another. */
static void retype(struct seed *s, size_t at) {
#define V(text) {text, sizeof text - 1}
    static const struct {
        const char *text;
        size_t n;
    } values[] = {V("0N"), V("0\x88"), V("0K\7"), V("0J\xff\xff\xff\xff"),
                  V("0G@\4\0\0\0\0\0\0"), V("0U\5model"), V("0U\5model"),
                  V("0X\x09\0\0\0some text"), V("0C\4\1\2\3\4"), V("0)"), V("0]"), V("0}"),
                  V("0\x8f"), V("0ccollections\nOrderedDict\n"),
                  V("0ccollections\nOrderedDict\n)R"), V("0(U\7storageK\1tQ"),
                  V("0ctorch.nn.modules.container\nSequential\n)\x81"),
                  V("0ctorch._utils\n_rebuild_parameter\n)R"), V("0K\1\x85"), V("0h")};
    size_t k = below(sizeof values / sizeof *values);
    char text[64];
    memcpy(text, values[k].text, values[k].n);
    size_t n = values[k].n;
    if (text[n - 1] == 'h') /* what was seen before, or will never be */
        text[n++] = (char)below(80);
    splice(s, at, 0, text, n);
}

static void mutate(struct seed *s) {
    static const char simple[] = ".012()]}NRbdeatlsuQ\x81\x85\x86\x87\x88\x89";
    uint8_t copy[300];
    size_t k = s->first + below(s->n_ops - s->first), at = s->op[k];
    size_t from = s->first + below(s->n_ops - s->first);
    size_t n = s->op[k + 1] - at, length = s->op[from + 1] - s->op[from];
    switch (below(8)) {
    case 0: s->data[at + below(n)] ^= (uint8_t)(1 << below(8)); break;
    case 1: splice(s, at, n, "", 0); break;
    case 2: splice(s, at, n, &simple[below(sizeof simple - 1)], 1); break;
    case 3:
        if (length > sizeof copy)
            break;
        memcpy(copy, s->data + s->op[from], length);
        splice(s, at, 0, copy, length);
        break;
    default: /* half of the time a value of many parts */
        for (int tries = 0; k % 2 && tries < 20 && !strchr("usbR", s->data[s->op[k]]); tries++)
            k = s->first + below(s->n_ops - s->first);
        retype(s, s->op[k + 1]);
    }
}

static void write_file(const char *path, const void *p, size_t n) {
    FILE *f = fopen(path, "w");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f) != 0)
        die("cannot write", path);
}

/* Says whether it was imported. */
static bool import(const char *source) {
    static const char *const files[] = {"out/config.json", "out/vocab.txt",
                                        "out/model.safetensors"};
    struct vn_import_options o = {.type = VN_OTHER};
    struct vn_error err = {0};
    int rc = vn_import(source, "out", &o, &err);
    for (size_t i = 0; rc == VN_OK && i < 3; i++)
        unlink(files[i]);
    if (rc == VN_OK)
        rmdir("out");
    if ((rc != VN_OK && rc != VN_EDATA && rc != VN_EUSAGE) || access("out", F_OK) == 0 ||
        (rc != VN_OK && (rc != err.status || !err.msg[0])))
        die("wrong status, or something is left", err.msg);
    return rc == VN_OK;
}

int main(int argc, char **argv) {
    long cases = 1000, n = 0, imported = 0;
    int first = 1;
    if (argc > 2 && !strcmp(argv[1], "-m")) {
        cases = atol(argv[2]);
        first = 3;
    }
    mkdir("dir", 0777);
    write_file("dir/config.json", "{}", 2);
    if (symlink("../case.pt", "dir/pytorch_model.bin") != 0 && errno != EEXIST)
        die("cannot link", "dir/pytorch_model.bin");
    for (int i = first; i < argc; i++) {
        FILE *f = fopen(argv[i], "r");
        seed.size = f ? fread(seed.data, 1, MAX_SIZE, f) : 0;
        if (!f || seed.size == MAX_SIZE)
            die("cannot read, or too large:", argv[i]);
        fclose(f);
        cut_into_ops(&seed, argv[i]);
        for (long k = 0; k < cases; k++) {
            work = seed;
            for (size_t m = k ? 1 + below(3) : 0; m > 0; m--)
                mutate(&work); /* the opcodes of the seed: later changes may hit an operand */
            write_file("case.pt", work.data, work.size);
            bool sound = import("case.pt");
            if (!k && !sound)
                die("cannot be imported:", argv[i]);
            imported += sound;
            n += 1 + !import("dir");
        }
    }
    printf("%ld cases, %ld imported\n", n, imported);
    return n ? 0 : 2;
}
