#include "orf.h"

#include <stdlib.h>
#include <string.h>

#define STRIPE 96 /* letters between two looks at what is still open: a multiple of 3 */

const char *const vn_orf_status_text[VN_ORF_N_STATUS] = {
    [VN_ORF_OK] = "ok",
    [VN_ORF_EMPTY] = "empty",
    [VN_ORF_NO_CODON] = "no codon",
    [VN_ORF_TOO_SHORT] = "too short",
    [VN_ORF_CLOSED] = "no open frame",
    [VN_ORF_TOO_LONG] = "too long",
    [VN_ORF_FOREIGN] = "not nucleotides"};

/* ---- chunks ---------------------------------------------------------------------- */

void vn_chunks_init(struct vn_chunks *c, int64_t length, int64_t size) {
    *c = (struct vn_chunks){.length = length, .size = size, .count = 1};
    if (size == 0 || length <= size) {
        c->size = length;
        return;
    }
    c->count = (length - 1) / size + 1;
    int64_t twice = c->count * size - length;
    c->lower = twice / c->count;
    c->more = c->lower + twice % c->count;
}

void vn_chunks_at(const struct vn_chunks *c, int64_t k, int64_t *start, int64_t *end) {
    *start = k * (c->size - c->lower) - (k < c->more ? k : c->more);
    *end = *start + c->size < c->length ? *start + c->size : c->length;
}

/* ---- frames ---------------------------------------------------------------------- */

struct vn_orf {
    struct vn_codons codons;
    char upper[256], complement[256]; /* of a letter: in upper case, T for U; and that one's */
    size_t min_aa;
    const char *seq;
    size_t n;
    unsigned open;      /* frames without a stop: bit f forward, bit 3 + f reverse */
    int next;           /* number of the bit to look at */
    bool found, short_found;
    bool have[2];       /* has this strand been written? */
    char *strand[2];    /* [n] upper case: forward, reverse complement */
    char *protein;      /* [n / 3] */
    struct vn_buf room; /* where these three are */
};

/* A C G T have a complement, every other letter stays as it is. */
static void make_letters(struct vn_orf *o) {
    for (int c = 0; c < 256; c++) {
        const char upper = (char)(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
        o->upper[c] = vn_letter[c] < 4 ? "TCAG"[vn_letter[c]] : upper;
        o->complement[c] = vn_letter[c] < 4 ? "TCAG"[vn_letter[c] ^ 2] : upper;
    }
}

typedef uint8_t letters16 __attribute__((vector_size(16)));

/* 0xff for those that are foreign. In vectors, as this looks at every letter that there is. */
static inline letters16 foreign(letters16 c) {
    c |= 32; /* lower case */
    return (letters16)((c == 'e') | (c == 'f') | (c == 'i') | (c == 'j') | (c == 'l') |
                     (c == 'o') | (c == 'p') | (c == 'q') | (c == 'z'));
}

bool vn_orf_foreign(const char *seq, size_t n) {
    letters16 found = {0}, some;
    for (; n >= sizeof some; seq += sizeof some, n -= sizeof some) {
        memcpy(&some, seq, sizeof some);
        found |= foreign(some);
    }
    some = (letters16){0};
    memcpy(&some, seq, n);
    found |= foreign(some);
    uint64_t halves[2];
    memcpy(halves, &found, sizeof halves);
    return halves[0] || halves[1];
}

int vn_orf_new(int code, int64_t min_aa, struct vn_orf **out, struct vn_error *err) {
    struct vn_orf *o = *out = vn_calloc(1, sizeof *o, err);
    if (!o)
        return VN_EFAIL;
    o->min_aa = min_aa > 1 ? (size_t)min_aa : 1;
    make_letters(o);
    int rc = vn_codons_init(&o->codons, code, err);
    if (rc != VN_OK) {
        vn_orf_free(o);
        *out = NULL;
    }
    return rc;
}

void vn_orf_free(struct vn_orf *o) {
    if (!o)
        return;
    vn_buf_release(&o->room);
    free(o);
}

/* Which of the six frames have no stop. Codon i, i + 1, i + 2 of the forward strand stands
 * at n - 3 - i of the reverse complement. Most chunks have closed all six before half of
 * their length: then the rest need not be looked at. */
static unsigned open_frames(const struct vn_codons *codons, const char *seq, size_t n) {
    const uint8_t *s = (const uint8_t *)seq;
    unsigned closed[3] = {0}, open = 0;
    if (n >= 3) {
        size_t last = n - 3, i = 0;
        unsigned k = (unsigned)vn_letter[s[0]] << 3 | vn_letter[s[1]];
#define CODON(at) \
    (k = (k << 3 | vn_letter[s[(at) + 2]]) & VN_CODON_MASK, codons->stops[k])
        while (last - i >= STRIPE && (closed[0] & closed[1] & closed[2]) != 3)
            for (size_t end = i + STRIPE; i < end; i += 3) {
                closed[0] |= CODON(i);
                closed[1] |= CODON(i + 1);
                closed[2] |= CODON(i + 2);
            }
        if ((closed[0] & closed[1] & closed[2]) != 3)
            for (; i <= last; i++)
                closed[i % 3] |= CODON(i);
#undef CODON
    }
    for (unsigned f = 0; f < 3; f++) {
        if (!(closed[f] & VN_STOP_FORWARD))
            open |= 1u << f;
        if (!(closed[f] & VN_STOP_REVERSE))
            open |= 8u << (n - f) % 3;
    }
    return open;
}

int vn_orf_scan(struct vn_orf *o, const char *seq, size_t n, struct vn_error *err) {
    o->seq = seq;
    o->n = n;
    o->next = 0;
    o->found = o->short_found = o->have[0] = o->have[1] = false;
    o->open = n > VN_MAX_CHUNK ? 0 : open_frames(&o->codons, seq, n);
    size_t aa = n / 3;
    int rc = o->open ? vn_buf_reserve(&o->room, 2 * n + aa, err) : VN_OK;
    if (rc == VN_OK && o->open) {
        o->strand[0] = (char *)o->room.data;
        o->strand[1] = o->strand[0] + n;
        o->protein = o->strand[1] + n;
    }
    return rc;
}

static const char *strand(struct vn_orf *o, bool reverse) {
    char *to = o->strand[reverse];
    const uint8_t *from = (const uint8_t *)o->seq;
    if (o->have[reverse])
        return to;
    if (reverse)
        for (size_t i = 0; i < o->n; i++)
            to[i] = o->complement[from[o->n - 1 - i]];
    else
        for (size_t i = 0; i < o->n; i++)
            to[i] = o->upper[from[i]];
    o->have[reverse] = true;
    return to;
}

/* Translates the codons of s[0..n), one or two letters at the end left out; the number of
 * residues. */
static size_t translate(const struct vn_codons *codons, const char *seq, size_t n,
                        char *protein) {
    const uint8_t *s = (const uint8_t *)seq;
    size_t len = 0;
    for (size_t i = 0; i + 3 <= n; i += 3) {
        int k = VN_CODON(vn_letter[s[i]], vn_letter[s[i + 1]], vn_letter[s[i + 2]]);
        protein[len] = (char)codons->forward[k];
        len += codons->forward[k] != 0;
    }
    return len;
}

int vn_orf_next(struct vn_orf *o, struct vn_orf_frame *f) {
    while (o->next < 6) {
        int bit = o->next++;
        bool reverse = bit >= 3;
        size_t from = (size_t)bit % 3;
        if (!(o->open >> bit & 1) || o->n < from + 3)
            continue;
        const char *s = strand(o, reverse) + from;
        size_t len = translate(&o->codons, s, o->n - from, o->protein);
        if (len < o->min_aa) {
            o->short_found |= len > 0;
            continue;
        }
        size_t letters = 3 * len + 1;
        if (letters > o->n - from)
            letters = o->n - from;
        *f = (struct vn_orf_frame){.frame = reverse ? -1 - (int)from : 1 + (int)from,
                                   .protein = o->protein,
                                   .protein_len = len,
                                   .nucleotide = s,
                                   .nucleotide_len = letters,
                                   .start = reverse ? o->n - from - letters : from};
        f->end = f->start + letters;
        o->found = true;
        return 1;
    }
    return 0;
}

static bool has_codon(const struct vn_orf *o) {
    int run = 0;
    for (size_t i = 0; i < o->n && run < 3; i++)
        run = vn_letter[(uint8_t)o->seq[i]] < 4 ? run + 1 : 0;
    return run >= 3;
}

enum vn_orf_status vn_orf_status(const struct vn_orf *o) {
    if (o->found)
        return VN_ORF_OK;
    if (!o->n)
        return VN_ORF_EMPTY;
    if (o->n > VN_MAX_CHUNK)
        return VN_ORF_TOO_LONG;
    if (o->short_found)
        return VN_ORF_TOO_SHORT;
    return has_codon(o) ? VN_ORF_CLOSED : VN_ORF_NO_CODON;
}
