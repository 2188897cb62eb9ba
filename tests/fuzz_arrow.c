/* Fuzz target: the reader of streams, strict and lax, and vn-view's text behind it.
 *
 * Whatever the bytes are, the outcome is rows, VN_EDATA or VN_EINCOMPAT; it is the same
 * however the source cuts them; and every row that is accepted can be looked at in full.
 * The bytes are tried as they are and with their checksums made right.
 *
 * Built by the Makefile it is a plain program: fuzz_arrow [-m ROUNDS] FILE... runs the
 * target over the files, and over ROUNDS mutations of each. For libFuzzer:
 *     clang -DVN_LIBFUZZER -fsanitize=fuzzer,address -Isrc -Itests tests/fuzz_arrow.c ... */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drip.h"
#include "export.h"
#include "fuzz.h"
#include "sign.h"
#include "stream.h"

#define MAX_BODY ((int64_t)16 << 20)
struct outcome {
    int rc;
    uint64_t rows, hash;
};

/* The rows as text, into a hash: whatever an accepted batch points to is read. */
static void look(const struct vn_schema *s, const struct vn_batch *b, struct outcome *o) {
    struct vn_buf text = {0};
    struct vn_sink *sink;
    struct vn_export *x;
    struct vn_error err;
    REQUIRE(vn_sink_memory(&text, &sink, &err) == VN_OK);
    REQUIRE(vn_export_json(s, sink, &x, &err) == VN_OK);
    REQUIRE(x->put(x, b, &err) == VN_OK);
    REQUIRE(x->close(x, true, &err) == VN_OK);
    for (size_t i = 0; i < text.len; i++) /* FNV-1a */
        o->hash = (o->hash ^ text.data[i]) * 0x100000001b3u;
    vn_buf_release(&text);
}

static struct outcome outcome_of(const uint8_t *data, size_t n, size_t step, bool lax) {
    const struct vn_reader_options opts = {.lax = lax, .max_body = MAX_BODY};
    struct outcome o = {0};
    struct vn_reader *r;
    struct vn_batch b = {0};
    struct vn_error err = {0};
    o.rc = vn_reader_open(drip(data, n, step), &opts, &r, &err);
    if (o.rc == VN_OK) {
        while ((o.rc = vn_reader_next(r, &b, &err)) > 0)
            if (b.n_rows < 1000) /* a column of nothing may say it has many rows */
                look(vn_reader_schema(r), &b, &o);
        o.rows = vn_reader_totals(r).records;
        vn_batch_release(&b);
        vn_reader_close(r);
    }
    REQUIRE(o.rc == VN_OK || o.rc == VN_EDATA || o.rc == VN_EINCOMPAT);
    REQUIRE(o.rc == VN_OK || err.msg[0]);
    return o;
}

static void try_both(const uint8_t *data, size_t n) {
    for (int lax = 0; lax < 2; lax++) {
        struct outcome whole = outcome_of(data, n, SIZE_MAX, lax);
        struct outcome cut = outcome_of(data, n, 5, lax);
        REQUIRE(whole.rc == cut.rc && whole.rows == cut.rows && whole.hash == cut.hash);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    try_both(data, n);
    uint8_t *copy = malloc(n + 1);
    REQUIRE(copy != NULL);
    memcpy(copy, data, n);
    sign_stream(copy, n);
    try_both(copy, n);
    free(copy);
    return 0;
}

#ifndef VN_LIBFUZZER
#include "mutate.h"

/* Flips bits, puts in telling numbers, copies pieces about, and may cut. */
static size_t change(uint8_t *p, size_t n, size_t cap) {
    (void)cap; /* nothing is added */
    static const int64_t numbers[] = {0, 1, -1, 8, 64, INT32_MAX, INT32_MIN, INT64_MAX,
                                      INT64_MIN, UINT32_MAX, 0x10000, 3};
    for (uint32_t k = mutate_number() % 4 + 1; k && n > 16; k--) {
        size_t at = mutate_number() % (n - 8), from = mutate_number() % (n - 8);
        int64_t v = numbers[mutate_number() % (sizeof numbers / sizeof *numbers)];
        switch (mutate_number() % 5) {
        case 0: p[at] ^= (uint8_t)(1 << mutate_number() % 8); break;
        case 1: p[at] = (uint8_t)mutate_number(); break;
        case 2: memcpy(p + at / 4 * 4, &v, 4); break;
        case 3: memcpy(p + at / 8 * 8, &v, 8); break;
        default: memmove(p + at / 4 * 4, p + from / 4 * 4, 4);
        }
    }
    return mutate_number() % 8 ? n : mutate_number() % (uint32_t)(n + 1);
}

int main(int argc, char **argv) {
    return mutate_files(argc, argv, change);
}
#endif
