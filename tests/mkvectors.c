/* mkvectors - writes a vectors stream on standard output, for tests: seeded, of any size,
 * its rows permuted inside windows as packing permutes them.
 *
 *   mkvectors KEY=VALUE...
 *     n=100 d=8 batch=64 window=64 seed=1
 *     null=K       every K-th record has no vector (record K-1, 2K-1 ...)
 *     status=1     a column "status": "ok", or "too long" or null where there is no vector
 *     carry=1      columns "source" uint64 = 10 x record, and "note" utf8, null for every
 *                  third record, with a tab and a backslash in it for every fifth
 *     note=TEXT    what "note" holds instead
 *     bad=R        the vector of record R is NaN
 *     drop=R       leaves record R out; again=R: sends record R twice
 *     add=NAME     an empty utf8 column of that name
 *     kind=WORD    the stream's kind, instead of vectors
 *     pg=MEMBERS   JSON members of a provenance entry
 *
 * Element j of record r's vector is a hash of seed, r and j in [-1, 1). */
#include "rowmaker.h"

#include <math.h>

static uint64_t hash(uint64_t x) {
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdu;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53u;
    return x ^ x >> 33;
}

static int64_t dim, every_null, bad;
static uint64_t seed;
static bool with_status, with_carry;

static float element(uint64_t record, uint64_t j) {
    uint64_t bits = hash(seed + record * 4096 + j) >> 40;
    return (int64_t)record == bad ? NAN : (float)bits / 8388608.0f - 1;
}

static void add_row(uint64_t record) {
    char line[64];
    float vector[4096];
    int at = 3;
    bool none = every_null && (record + 1) % (uint64_t)every_null == 0;
    snprintf(line, sizeof line, "read%llu", (unsigned long long)record);
    must(vn_builder_add_bytes(&builders[0], line, strlen(line), &err));
    must(vn_builder_add_value(&builders[1], &record, &err));
    for (int64_t j = 0; j < dim; j++)
        vector[j] = element(record, (uint64_t)j);
    must(none ? vn_builder_add_null(&builders[2], &err)
              : vn_builder_add_list(&builders[2], vector, dim, &err));
    if (with_status) {
        const char *s = none ? "too long" : "ok";
        must(none && record % 2
                 ? vn_builder_add_null(&builders[at], &err)
                 : vn_builder_add_bytes(&builders[at], s, strlen(s), &err));
        at++;
    }
    if (with_carry) {
        uint64_t source = 10 * record;
        if (text("note", NULL))
            snprintf(line, sizeof line, "%s", text("note", NULL));
        else
            snprintf(line, sizeof line, record % 5 ? "note %llu" : "a\tb\\%llu",
                 (unsigned long long)record);
        must(vn_builder_add_value(&builders[at++], &source, &err));
        must(record % 3 == 2
                 ? vn_builder_add_null(&builders[at], &err)
                 : vn_builder_add_bytes(&builders[at], line, strlen(line), &err));
        at++;
    }
    for (; at < schema.n_fields; at++)
        must(vn_builder_add_bytes(&builders[at], "", 0, &err));
}

static void make_schema(void) {
    static const enum vn_type vector[] = {VN_FIXED_LIST, VN_FLOAT32}, utf8 = VN_UTF8;
    const int32_t sizes[] = {(int32_t)dim, 0};
    vn_schema_init(&schema, vn_kind_of(text("kind", "vectors")));
    must(vn_schema_add_flat(&schema, "id", VN_UTF8, &err));
    must(vn_schema_add_flat(&schema, "record", VN_UINT64, &err));
    must(vn_schema_add(&schema, "embedding", vector, sizes, 2, true, &err));
    if (with_status)
        must(vn_schema_add(&schema, "status", &utf8, NULL, 1, true, &err));
    if (with_carry) {
        must(vn_schema_add_flat(&schema, "source", VN_UINT64, &err));
        must(vn_schema_add(&schema, "note", &utf8, NULL, 1, true, &err));
    }
    if (text("add", NULL))
        must(vn_schema_add_flat(&schema, text("add", NULL), VN_UTF8, &err));
    if (text("pg", NULL))
        must(vn_schema_add_program(&schema, text("pg", NULL), &err));
}

int main(int argc, char **argv) {
    n_args = argc, args = argv;
    dim = integer("d", 8), every_null = integer("null", 0), bad = integer("bad", -1);
    seed = (uint64_t)integer("seed", 1);
    with_status = integer("status", 0), with_carry = integer("carry", 0);
    int64_t n = integer("n", 100), window = integer("window", 64);
    int64_t drop = integer("drop", -1), again = integer("again", -1);
    if (dim < 1 || dim > 4096 || integer("batch", 64) < 1 || window < 1)
        return 2;
    make_schema();
    begin();
    uint64_t *order = calloc((size_t)window, sizeof *order), state = seed;
    if (!order)
        return 1;
    for (int64_t from = 0; from < n; from += window) {
        int64_t here = n - from < window ? n - from : window;
        for (int64_t i = 0; i < here; i++) { /* Fisher and Yates, from the inside */
            int64_t j = (int64_t)(hash(++state) % (uint64_t)(i + 1));
            order[i] = order[j];
            order[j] = (uint64_t)(from + i);
        }
        for (int64_t i = 0; i < here; i++)
            for (int k = 0; k < 1 + ((int64_t)order[i] == again); k++) {
                if ((int64_t)order[i] == drop)
                    continue;
                add_row(order[i]);
                row_done();
            }
    }
    end();
    free(order);
    return 0;
}
