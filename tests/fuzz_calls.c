/* Fuzz target: the tables that vn-compare reads, and the matching of their rows.
 *
 * Whatever the bytes are, the outcome is rows, VN_EDATA or VN_EINCOMPAT, with a message; it
 * is the same however the source cuts them; and a table that is read is the same as itself.
 *
 * Built by the Makefile it is a plain program: fuzz_calls [-m ROUNDS] FILE... runs the target
 * over the files, and over ROUNDS mutations of each. For libFuzzer: see fuzz_fastx.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compare.h"
#include "drip.h"
#include "fuzz.h"
#include "pairs.h"

struct outcome {
    int rc;
    uint64_t hash, rows;
    struct vn_error err;
};

static void outcome_of(const uint8_t *data, size_t n, size_t step, bool plain,
                       struct outcome *o) {
    const struct vn_calls_options options = {.plain = plain, .max_waiting = 1000};
    struct vn_calls *c;
    struct vn_call row;
    memset(o, 0, sizeof *o);
    o->rc = vn_calls_open(drip(data, n, step), &options, &c, &o->err);
    if (o->rc != VN_OK)
        return;
    const struct vn_calls_facts *facts = vn_calls_facts(c);
    while ((o->rc = vn_calls_next(c, &row, &o->err)) > 0) {
        REQUIRE(row.id.text && !row.vector && (facts->has_status || !row.status.text));
        o->hash = mix(mix(o->hash, row.id.text, row.id.n), row.label.text, row.label.n);
        o->hash = mix(o->hash, row.status.text, row.status.n);
        o->hash = mix(o->hash, row.scores, (size_t)facts->n_classes * sizeof *row.scores);
        o->rows++;
    }
    vn_calls_close(c);
}

/* Matches a sound table with itself. */
static void compare_with_itself(const uint8_t *data, size_t n, uint64_t rows) {
    const struct vn_calls_options options = {.plain = true, .max_waiting = 1000};
    const struct vn_compare_options how = {.show = 3, .positive = "virus"};
    struct vn_calls *c[2];
    struct vn_pairs *pairs;
    struct vn_compare *result;
    struct vn_facts facts;
    struct vn_error err;
    const struct vn_call *a, *b;
    uint64_t different;
    int rc;
    for (int s = 0; s < 2; s++)
        REQUIRE(vn_calls_open(drip(data, n, 100), &options, &c[s], &err) == VN_OK);
    REQUIRE(vn_compare_new(vn_calls_facts(c[0]), "a", vn_calls_facts(c[1]), "b", &how, &result,
                           &err) == VN_OK);
    REQUIRE(vn_pairs_new(c[0], c[1], &pairs, &err) == VN_OK);
    while ((rc = vn_pairs_next(pairs, &a, &b, &err)) > 0)
        REQUIRE(a && b && vn_compare_put(result, a, b, &err) == VN_OK);
    REQUIRE(rc == 0 && vn_compare_records(result, &different) == rows && !different);
    vn_facts_init(&facts, rows % 2);
    REQUIRE(vn_compare_report(result, NULL, &facts, &err) == VN_OK && facts.rc == VN_OK);
    vn_facts_release(&facts);
    vn_compare_free(result);
    vn_pairs_free(pairs);
    vn_calls_close(c[0]);
    vn_calls_close(c[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct outcome whole, cut;
    if (n && data[0] == 0xff) /* a stream: other targets */
        return 0;
    for (int plain = 0; plain < 2; plain++) {
        outcome_of(data, n, SIZE_MAX, plain, &whole);
        REQUIRE(whole.rc == 0 || whole.rc == VN_EDATA || whole.rc == VN_EINCOMPAT);
        REQUIRE(whole.rc == 0 || whole.err.msg[0]);
        for (size_t step = 1; step < 64; step = step * 3 + 1) {
            outcome_of(data, n, step, plain, &cut);
            REQUIRE(cut.rc == whole.rc && cut.rows == whole.rows && cut.hash == whole.hash);
            REQUIRE(!strcmp(cut.err.msg, whole.err.msg));
        }
    }
    if (whole.rc == 0)
        compare_with_itself(data, n, whole.rows);
    return 0;
}

#ifndef VN_LIBFUZZER
#include "mutate.h"

static size_t change(uint8_t *p, size_t n, size_t cap) {
    static const char tricky[] = "\t\n\r\\.xn-+eE\0 \xff\xc3\xa9iI\"5";
    return mutate_text(p, n, cap, tricky, sizeof tricky - 1);
}

int main(int argc, char **argv) {
    return mutate_files(argc, argv, change);
}
#endif
