/* Chunks: the published values, and what holds for every length. Frames: against a search
 * that spells everything out, letter by letter, for every length around the stripes that
 * the fast one works in. */
#include <malloc.h>

#include "check.h"
#include "orf.h"

static int64_t n_allocations;
void *aligned_alloc(size_t alignment, size_t size) {
    n_allocations++;
    return memalign(alignment, size);
}

static uint64_t state = 1;
static uint32_t rnd(void) { /* splitmix64 */
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)(z >> 32);
}

/* ---- chunks ---------------------------------------------------------------------- */

static void published_values(void) {
    static const struct {
        int64_t length, at[8];
    } want[] = {{500, {0, 500}},
                {501, {0, 500, 250, 501}},
                {750, {0, 500, 374, 750}},
                {999, {0, 500, 499, 999}},
                {1001, {0, 500, 333, 833, 666, 1001}},
                {1200, {0, 500, 399, 899, 798, 1200}}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        struct vn_chunks c;
        int64_t start, end, n = 0;
        while (n < 4 && want[i].at[2 * n + 1])
            n++;
        vn_chunks_init(&c, want[i].length, 500);
        CHECK_INT(c.count, n);
        for (int64_t k = 0; k < n; k++) {
            vn_chunks_at(&c, k, &start, &end);
            CHECK_INT(start, want[i].at[2 * k]);
            CHECK_INT(end, want[i].at[2 * k + 1]);
        }
    }
}

/* As few chunks as can be, none longer than C, from the first letter to the last, without
 * a gap; overlaps differ by at most one, the longer ones first; a chunk that is shorter than
 * C is the last one. Returns whether it is. */
static bool check_chunks(int64_t length, int64_t size) {
    struct vn_chunks c;
    int64_t start, end, last_end = 0, last_start = -1, overlap = 0;
    vn_chunks_init(&c, length, size);
    CHECK_INT(c.count, (length + size - 1) / size);
    for (int64_t k = 0; k < c.count; k++) {
        vn_chunks_at(&c, k, &start, &end);
        CHECK(start > last_start && end > start && end - start <= size && end <= length);
        CHECK(k ? start <= last_end : start == 0);
        CHECK(end - start == size || k == c.count - 1);
        if (k > 1)
            CHECK(last_end - start == overlap || last_end - start == overlap - 1);
        if (k > 0)
            overlap = last_end - start;
        last_start = start;
        last_end = end;
    }
    CHECK_INT(last_end, length);
    return last_end - last_start < size;
}

static void every_length(void) {
    static const int64_t sizes[] = {1, 2, 7, 150, 300, 500, 1000};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (int64_t length = 1; length <= 5000; length++)
            (void)check_chunks(length, sizes[s]);
}

static void published_counts(void) {
    int64_t n500 = 0, n300 = 0;
    for (int64_t length = 501; length <= 20000; length++)
        n500 += check_chunks(length, 500);
    for (int64_t length = 301; length <= 20000; length++)
        n300 += check_chunks(length, 300);
    CHECK_INT(n500, 10737);
    CHECK_INT(n300, 5411);
}

static void one_chunk(void) {
    struct vn_chunks c;
    int64_t start = -1, end = -1;
    vn_chunks_init(&c, 0, 500);
    vn_chunks_at(&c, 0, &start, &end);
    CHECK(c.count == 1 && start == 0 && end == 0);
    vn_chunks_init(&c, 0, 0);
    vn_chunks_at(&c, 0, &start, &end);
    CHECK(c.count == 1 && start == 0 && end == 0);
    vn_chunks_init(&c, INT64_C(5000000000), 0);
    vn_chunks_at(&c, 0, &start, &end);
    CHECK(c.count == 1 && start == 0 && end == INT64_C(5000000000));
}

/* ---- frames ---------------------------------------------------------------------- */

static char amino_acid(const char *codon) { /* of upper case; 0: no codon */
    static const char order[] = "TCAG";
    static const char code[] = "FFLLSSSSYY**CC*WLLLLPPPPHHQQRRRR"
                               "IIIMTTTTNNKKSSRRVVVVAAAADDEEGGGG";
    int k = 0;
    for (int i = 0; i < 3; i++) {
        const char *at = codon[i] ? strchr(order, codon[i]) : NULL;
        if (!at)
            return 0;
        k = 4 * k + (int)(at - order);
    }
    return code[k];
}

struct expected {
    int frame; /* 0: there is none */
    char protein[800];
    char strand[2400]; /* from the frame's first letter on */
    bool stop;
};

static void spell_out(const char *seq, size_t n, int sign, size_t from, struct expected *e) {
    size_t len = 0;
    e->stop = false;
    for (size_t i = 0; i < n; i++) {
        static const char pairs[] = "ATTACGGC";
        char c = sign > 0 ? seq[i] : seq[n - 1 - i];
        c = c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
        c = c == 'U' ? 'T' : c;
        for (int k = 0; sign < 0 && k < 8; k += 2)
            if (pairs[k] == c) {
                c = pairs[k + 1];
                break;
            }
        if (i >= from)
            e->strand[i - from] = c;
    }
    e->strand[n > from ? n - from : 0] = 0;
    for (size_t i = 0; n >= from && i + 3 <= n - from; i += 3) {
        char aa = amino_acid(e->strand + i);
        e->stop |= aa == '*';
        if (aa)
            e->protein[len++] = aa;
    }
    e->protein[len] = 0;
    e->frame = e->stop || !len ? 0 : sign * ((int)from + 1);
}

static void check_frames(struct vn_orf *o, const char *seq, size_t n, size_t min_aa) {
    struct vn_orf_frame f;
    static struct expected e;
    bool found = false, too_short = false, closed = false;
    CHECK_INT(vn_orf_scan(o, seq, n, NULL), VN_OK);
    for (int k = 0; k < 6; k++) {
        size_t from = (size_t)k % 3;
        spell_out(seq, n, k < 3 ? 1 : -1, from, &e);
        closed |= e.stop;
        if (!e.frame)
            continue;
        size_t p = strlen(e.protein), all = strlen(e.strand);
        size_t letters = 3 * p + 1 < all ? 3 * p + 1 : all;
        if (p < min_aa) {
            too_short = true;
            continue;
        }
        found = true;
        CHECK_INT(vn_orf_next(o, &f), 1);
        CHECK_INT(f.frame, e.frame);
        CHECK(f.protein_len == p && !memcmp(f.protein, e.protein, p));
        CHECK(f.nucleotide_len == letters && !memcmp(f.nucleotide, e.strand, letters));
        CHECK_INT(f.end - f.start, letters);
        CHECK_INT(f.start, k < 3 ? from : n - from - letters);
    }
    CHECK_INT(vn_orf_next(o, &f), 0);
    enum vn_orf_status want = found       ? VN_ORF_OK
                              : n == 0    ? VN_ORF_EMPTY
                              : too_short ? VN_ORF_TOO_SHORT
                              : closed    ? VN_ORF_CLOSED
                                          : VN_ORF_NO_CODON;
    CHECK_INT(vn_orf_status(o), want);
}

static void random_frames(void) {
    static const char *const alphabets[] = {"ACGT", "acgT", "ACGTACGTACGTACGN", "CCGC",
                                            "AGCC", "NNNACGTN", "TTAATTAC", "ACGUu.-*n"};
    static char seq[2400];
    for (size_t min_aa = 1; min_aa <= 40; min_aa += 13) {
        struct vn_orf *o;
        CHECK_INT(vn_orf_new(VN_STANDARD_CODE, (int64_t)min_aa, &o, NULL), VN_OK);
        for (int round = 0; round < 8; round++)
            for (size_t n = 0; n < 420; n++) {
                const char *letters = alphabets[(n + (size_t)round) % 8];
                for (size_t i = 0; i < n; i++)
                    seq[i] = letters[rnd() % strlen(letters)];
                check_frames(o, seq, n, min_aa);
            }
        vn_orf_free(o);
    }
}

/* One stop codon, at every place of a chunk: it closes just the frame that it is in. */
static void every_place_of_a_stop(void) {
    static char seq[320];
    struct vn_orf *o;
    CHECK_INT(vn_orf_new(VN_STANDARD_CODE, 1, &o, NULL), VN_OK);
    for (size_t n = 282; n < 300; n++)
        for (size_t at = 0; at + 3 <= n; at++)
            for (int reverse = 0; reverse < 2; reverse++) {
                memset(seq, 'C', n);
                memcpy(seq + at, reverse ? "TCA" : "TGA", 3);
                check_frames(o, seq, n, 1);
            }
    vn_orf_free(o);
}

static void warm_allocates_nothing(void) {
    static char seq[1000];
    struct vn_orf *o;
    struct vn_orf_frame f;
    int frames = 0;
    memset(seq, 'C', sizeof seq);
    CHECK_INT(vn_orf_new(VN_STANDARD_CODE, 1, &o, NULL), VN_OK);
    CHECK_INT(vn_orf_scan(o, seq, sizeof seq, NULL), VN_OK);
    n_allocations = 0;
    for (size_t n = sizeof seq; n > 0; n--) {
        CHECK_INT(vn_orf_scan(o, seq, n, NULL), VN_OK);
        while (vn_orf_next(o, &f))
            frames++;
    }
    CHECK(frames > 5000);
    CHECK_INT(n_allocations, 0);
    vn_orf_free(o);
}

static void too_long(void) {
    struct vn_orf *o;
    struct vn_orf_frame f;
    CHECK_INT(vn_orf_new(VN_STANDARD_CODE, 1, &o, NULL), VN_OK);
    /* not a letter of it may be looked at */
    CHECK_INT(vn_orf_scan(o, "ACG", (size_t)VN_MAX_CHUNK + 1, NULL), VN_OK);
    CHECK_INT(vn_orf_next(o, &f), 0);
    CHECK_INT(vn_orf_status(o), VN_ORF_TOO_LONG);
    vn_orf_free(o);
}

static void foreign_letters(void) { /* at every place, and no others */
    static char seq[200];
    for (int c = 0; c < 256; c++) {
        const bool want = c && strchr("EFIJLOPQZefijlopqz", c);
        for (size_t n = 1; n < sizeof seq; n += c % 2 ? 1 : 7)
            for (size_t at = n % 5; at < n; at += 5) {
                memset(seq, "ACGTUNRYSWKMBDHVX-.*acgtunryswkmbdhvx"[n % 37], sizeof seq);
                CHECK(!vn_orf_foreign(seq, n));
                seq[at] = (char)c;
                CHECK(vn_orf_foreign(seq, n) == want);
                CHECK(!vn_orf_foreign(seq, at));
            }
    }
    CHECK(!vn_orf_foreign("", 0));
}

static void refuses_an_unknown_code(void) {
    struct vn_orf *o = (struct vn_orf *)&state;
    struct vn_error err;
    CHECK_INT(vn_orf_new(7, 1, &o, &err), VN_EUSAGE);
    CHECK(!o && strstr(err.msg, "7"));
}

int main(void) {
    TEST(published_values);
    TEST(every_length);
    TEST(published_counts);
    TEST(one_chunk);
    TEST(random_frames);
    TEST(every_place_of_a_stop);
    TEST(warm_allocates_nothing);
    TEST(too_long);
    TEST(foreign_letters);
    TEST(refuses_an_unknown_code);
    return check_done();
}
