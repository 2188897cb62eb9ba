/* The packer, by brute force: every record comes out once, whole, within two windows of
 * where it went in; batches stay in the budget; they are full. */
#include <malloc.h>
#include <math.h>
#include <stdbool.h>

#include "check.h"
#include "packer.h"

/* All memory of buffers comes from here: counted, to see that a warm packer needs none.
 */
static int64_t n_allocations;
void *aligned_alloc(size_t alignment, size_t size) {
    n_allocations++;
    return memalign(alignment, size);
}

static uint64_t state;
static uint32_t rnd(void) { /* splitmix64 */
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)(z >> 32);
}

/* What record r is made of, so that what comes out can be checked without keeping it. */
static uint16_t token_of(uint64_t r, int64_t i) {
    return (uint16_t)(r * 31 + (uint64_t)i * 7);
}
static int id_of(uint64_t r, char *id) {
    return r % 5 == 0 ? 0
                      : sprintf(id, "r%llu%.*s", (unsigned long long)r, (int)(r % 40),
                                "........................................");
}

struct run {
    const struct vn_packer_options *opts;
    struct vn_packer *p;
    const int32_t *lengths;
    uint8_t *seen;
    int64_t n, emitted, batches;
    int64_t lowest;    /* first record that has not come out */
    int64_t worst;     /* most rows that came out before a smaller number did */
    int64_t underfull; /* batches below the budget by more than 1 % */
};

static void check_batch(struct run *run, const struct vn_packed *b) {
    CHECK(b->n > 0);
    CHECK_INT(b->cu_seqlens[0], 0);
    for (int64_t k = 0; k < b->n; k++) {
        uint64_t r = b->record[k];
        char id[80];
        CHECK(r < (uint64_t)run->n && !run->seen[r]);
        if (r >= (uint64_t)run->n)
            return;
        run->seen[r] = 1;
        int32_t from = b->cu_seqlens[k], len = b->cu_seqlens[k + 1] - from;
        CHECK_INT(len, run->lengths[r]);
        for (int32_t i = 0; i < len; i++)
            if (b->tokens[from + i] != token_of(r, i)) {
                CHECK(b->tokens[from + i] == token_of(r, i));
                break;
            }
        CHECK_INT(b->id_len[k], id_of(r, id));
        CHECK(!memcmp(b->id[k], id, (size_t)b->id_len[k]));
        CHECK_INT(b->status[k], r % 7);
        /* rows before this one that have larger numbers wait for it when order is
         * restored */
        while (run->lowest < run->n && run->seen[run->lowest])
            run->lowest++;
        int64_t waiting = ++run->emitted - run->lowest;
        if (waiting > run->worst)
            run->worst = waiting;
    }
    int64_t total = b->cu_seqlens[b->n];
    CHECK(total <= run->opts->max_tokens || b->n == 1);
    run->underfull += (double)total < 0.99 * (double)run->opts->max_tokens;
    run->batches++;
}

static void take(struct run *run, bool flush) {
    struct vn_packed b;
    struct vn_error err = {0};
    int rc;
    while ((rc = vn_packer_take(run->p, flush, &b, &err)) > 0)
        check_batch(run, &b);
    CHECK_INT(rc, 0);
}

/* Packs records of the given lengths; returns the fill. */
static double pack(const struct vn_packer_options *o, const int32_t *lengths, int64_t n,
                   struct run *run) {
    struct vn_error err = {0};
    struct vn_buf tokens = {0};
    *run = (struct run){.opts = o, .lengths = lengths, .n = n};
    run->seen = calloc((size_t)n + 1, 1);
    CHECK_INT(vn_packer_new(o, &run->p, &err), VN_OK);
    for (int64_t r = 0; r < n; r++) {
        char id[80];
        int id_len = id_of((uint64_t)r, id);
        if (vn_buf_resize(&tokens, (size_t)lengths[r] * 2 + 2, &err) != VN_OK)
            abort();
        for (int32_t i = 0; i < lengths[r]; i++)
            ((uint16_t *)tokens.data)[i] = token_of((uint64_t)r, i);
        CHECK(!vn_packer_full(run->p));
        CHECK_INT(vn_packer_add(run->p, (uint64_t)r, id, (size_t)id_len,
                                (uint16_t *)tokens.data, lengths[r], (uint8_t)(r % 7),
                                &err),
                  VN_OK);
        if (vn_packer_full(run->p))
            take(run, false);
    }
    take(run, true);
    take(run, true); /* the end stays the end */
    CHECK_INT(run->emitted, n);
    CHECK(run->worst < 2 * o->window);
    uint64_t sent, budget;
    vn_packer_fill(run->p, &sent, &budget);
    int64_t total = 0;
    for (int64_t r = 0; r < n; r++)
        total += lengths[r];
    CHECK_INT(sent, total);
    CHECK(budget >= sent);
    vn_packer_free(run->p);
    vn_buf_release(&tokens);
    free(run->seen);
    return budget ? (double)sent / (double)budget : 1;
}

static int32_t *lengths_of(int64_t n, int32_t (*draw)(void)) {
    int32_t *l = malloc((size_t)(n ? n : 1) * sizeof *l);
    for (int64_t i = 0; l && i < n; i++)
        l[i] = draw();
    return l;
}

static int32_t draw_read(void) { /* 50..170 letters and two specials */
    return 52 + (int32_t)(rnd() % 121);
}
static int32_t draw_protein(void) { /* log-normal about 290, as UniProt is; cut at 1024 */
    double u = (rnd() + 0.5) / 4294967296.0, v = (rnd() + 0.5) / 4294967296.0;
    double x = exp(5.67 + 0.75 * sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
    return 2 + (int32_t)(x < 10 ? 10 : x > 1024 ? 1024 : x);
}
static int32_t draw_any(void) { /* nothing, small, and beyond the budget */
    uint32_t k = rnd() % 100;
    return k < 20 ? 0 : k < 95 ? (int32_t)(rnd() % 60) + 1 : (int32_t)(rnd() % 900);
}
static int32_t draw_empty(void) {
    return 0;
}
static int32_t draw_half(void) { /* no two fit one batch */
    return 60;
}

static const struct vn_packer_options usual = {16384, 16384, 64 * 16384};

static void fill(int32_t (*draw)(void)) {
    struct run run;
    state = 1;
    const int64_t n = 60000;
    int32_t *l = lengths_of(n, draw);
    double f = pack(&usual, l, n, &run);
    CHECK(f >= 0.99);
    CHECK(run.underfull <= 1); /* the last one */
    printf("# fill %.3f %%, %lld batches, %lld rows waited at most\n", 100 * f,
           (long long)run.batches, (long long)run.worst);
    free(l);
}

static void fill_of_reads(void) {
    fill(draw_read);
}
static void fill_of_proteins(void) {
    fill(draw_protein);
}

static void every_small_shape(void) {
    static int32_t (*const draws[])(void) = {draw_any, draw_empty, draw_half, draw_read};
    state = 2;
    for (int d = 0; d < 4; d++)
        for (int64_t window = 1; window < 60; window = window * 2 + (window > 4))
            for (int64_t n = 0; n < 700; n = n * 3 + 1)
                for (int64_t wt = 1; wt < 100000; wt *= 20) {
                    struct vn_packer_options o = {100, window, wt};
                    struct run run;
                    int32_t *l = lengths_of(n, draws[d]);
                    pack(&o, l, n, &run);
                    free(l);
                }
}

/* Ids count towards what the window holds: 400 ids of 10 KB do not pile up. */
static void endless_ids(void) {
    struct vn_packer_options o = {1000, 10000, 10000};
    struct vn_packer *p;
    struct vn_error err = {0};
    struct vn_packed b;
    static char id[10000];
    uint16_t token = 4;
    int64_t in = 0, out = 0, most = 0;
    memset(id, 'x', sizeof id);
    CHECK_INT(vn_packer_new(&o, &p, &err), VN_OK);
    for (; in < 400; in++) {
        CHECK_INT(vn_packer_add(p, (uint64_t)in, id, sizeof id, &token, 1, 0, &err),
                  VN_OK);
        if (vn_packer_full(p))
            while (vn_packer_take(p, false, &b, &err) > 0)
                out += b.n;
        most = in + 1 - out > most ? in + 1 - out : most;
    }
    CHECK(most <= 2);
    while (vn_packer_take(p, true, &b, &err) > 0)
        out += b.n;
    CHECK_INT(out, in);
    vn_packer_free(p);
}

static void warm_packer_allocates_nothing(void) {
    struct vn_packer *p;
    struct vn_error err = {0};
    struct vn_packed b;
    static const uint16_t tokens[200];
    int64_t cold = 0;
    state = 3;
    CHECK_INT(vn_packer_new(&usual, &p, &err), VN_OK);
    for (uint64_t r = 0; r < 200000; r++) {
        CHECK_INT(vn_packer_add(p, r, "record", 6, tokens, draw_read(), 0, &err), VN_OK);
        if (vn_packer_full(p))
            while (vn_packer_take(p, false, &b, &err) > 0)
                ;
        if (r == 50000)
            cold = n_allocations;
    }
    CHECK(cold > 0);
    CHECK_INT(n_allocations, cold);
    vn_packer_free(p);
}

static void refusals(void) {
    struct vn_packer_options o = {100, 2, 1000};
    struct vn_packer *p;
    struct vn_error err = {0};
    struct vn_packed b;
    uint16_t tokens[60] = {0};
    CHECK_INT(vn_packer_new(&o, &p, &err), VN_OK);
    CHECK_INT(vn_packer_take(p, false, &b, &err), 0);
    for (uint64_t r = 0; r < 2; r++)
        CHECK_INT(vn_packer_add(p, r, "x", 1, tokens, 60, 0, &err), VN_OK);
    CHECK(vn_packer_full(p));
    CHECK_INT(vn_packer_take(p, false, &b, &err), 1);
    CHECK_INT(vn_packer_add(p, 2, "x", 1, tokens, 60, 0, &err), VN_EINTERNAL);
    vn_packer_free(p);
    static const struct vn_packer_options bad[] = {
        {0, 1, 1}, {1, 0, 1}, {1, 1, 0}, {INT64_MAX, 1, 1}, {1, INT64_MAX, 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        CHECK_INT(vn_packer_new(&bad[i], &p, &err), VN_EUSAGE);
        CHECK(!p);
    }
    vn_packer_free(NULL);
}

int main(void) {
    TEST(fill_of_reads);
    TEST(fill_of_proteins);
    TEST(every_small_shape);
    TEST(endless_ids);
    TEST(warm_packer_allocates_nothing);
    TEST(refusals);
    return check_done();
}
