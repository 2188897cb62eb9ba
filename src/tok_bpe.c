/* tok_bpe.c - byte pair encoding by ranks.
 *
 * Where every piece is made by one merge, of parts made before it, what a merge makes can only
 * be part of later merges. So the list of merges is gone through once: all places of a pair
 * wait in a list of its rank, and new pairs go to lists further on. Two merges of one rank are
 * in each other's way only in a run of one piece (a a a), which is merged from its left end.
 *
 * A long sequence is cut into windows. Pieces in a row are the encoding of their letters if
 * and only if every two neighbours are the encoding of theirs: a merge across a boundary would
 * happen for the two alone as well, since until the first such merge the two pieces are built
 * from their own letters only. So a window's last pieces, which letters behind it may change,
 * are dropped, the next window begins where the last one kept ends, and the seam is checked. */
#include "tok.h"

#include <stdlib.h>
#include <string.h>

#include "num.h"

#define WINDOW 4096
#define DROP (2 * VN_BPE_MAX_PIECE) /* letters at most that a window gives back */

struct pair {
    uint32_t key; /* left | right << 16 */
    uint32_t rank;
};

/* A place in the list of a rank. */
struct node {
    int32_t at, next;
};

struct vn_bpe {
    uint16_t letter[128];
    uint16_t unk, cls, sep;
    int n_vocab, n_merges;
    struct vn_bpe_merge *merges;
    uint16_t *length; /* [n_vocab] letters of a piece; 0: no piece */
    int longest;
    struct pair *pairs; /* hash table, rank UINT32_MAX where free */
    uint32_t mask;
    int shift;
    int32_t *head;   /* [n_merges] first node of a rank's list, 0: none */
    uint64_t *ready; /* bits of ranks whose list is not empty */
    int64_t window;
    /* of one window; symbols lie between two that are in no pair */
    struct vn_buf symbols, next, previous, nodes;
    int32_t n_nodes;
};

/* ---- making ---------------------------------------------------------------------- */

static uint32_t slot_of(const struct vn_bpe *b, uint32_t key) {
    return (key * 0x9e3779b1u) >> b->shift;
}

static int add_pair(struct vn_bpe *b, const struct vn_bpe_merge *m, uint32_t rank,
                    struct vn_error *err) {
    uint32_t key = m->left | (uint32_t)m->right << 16, i = slot_of(b, key);
    for (; b->pairs[i].rank != UINT32_MAX; i = (i + 1) & b->mask)
        if (b->pairs[i].key == key)
            return vn_fail(err, VN_EDATA, "merge %u is the same as merge %u", rank,
                           b->pairs[i].rank);
    b->pairs[i] = (struct pair){key, rank};
    return VN_OK;
}

static int add_merge(struct vn_bpe *b, uint32_t rank, struct vn_error *err) {
    const struct vn_bpe_merge *m = &b->merges[rank];
    if (m->left >= b->n_vocab || m->right >= b->n_vocab || m->result >= b->n_vocab)
        return vn_fail(err, VN_EDATA, "merge %u has an id that is not below %d", rank,
                       b->n_vocab);
    if (!b->length[m->left] || !b->length[m->right])
        return vn_fail(err, VN_EDATA, "merge %u needs a piece that no merge before it makes",
                       rank);
    if (b->length[m->result])
        return vn_fail(err, VN_EDATA, "merge %u makes a piece that is there before it", rank);
    int length = b->length[m->left] + b->length[m->right];
    if (length > VN_BPE_MAX_PIECE)
        return vn_fail(err, VN_EDATA,
                       "merge %u makes a piece of %d letters, expected at most %d", rank,
                       length, VN_BPE_MAX_PIECE);
    b->length[m->result] = (uint16_t)length;
    b->longest = length > b->longest ? length : b->longest;
    return add_pair(b, m, rank, err);
}

static int fill(struct vn_bpe *b, const struct vn_bpe_spec *s, struct vn_error *err) {
    int rc = VN_OK;
    for (int c = 0; c < 128; c++) {
        if (b->letter[c] == VN_BPE_NONE)
            continue;
        if (b->letter[c] >= b->n_vocab)
            return vn_fail(err, VN_EDATA, "letter '%c' has id %d, expected less than %d", c,
                           b->letter[c], b->n_vocab);
        b->length[b->letter[c]] = 1;
    }
    for (uint32_t i = 0; i <= b->mask; i++)
        b->pairs[i].rank = UINT32_MAX;
    if (s->n_merges)
        memcpy(b->merges, s->merges, (size_t)s->n_merges * sizeof *s->merges);
    for (int i = 0; rc == VN_OK && i < s->n_merges; i++)
        rc = add_merge(b, (uint32_t)i, err);
    return rc;
}

int vn_bpe_new(const struct vn_bpe_spec *s, struct vn_bpe **out, struct vn_error *err) {
    *out = NULL;
    if (s->n_vocab < 1 || s->n_vocab > VN_BPE_NONE || s->n_merges < 0 ||
        s->n_merges > s->n_vocab)
        return vn_fail(err, VN_EDATA, "%d pieces and %d merges, expected 1 to %d pieces and no "
                       "more merges", s->n_vocab, s->n_merges, VN_BPE_NONE);
    struct vn_bpe *b = vn_calloc(1, sizeof *b, err);
    if (!b)
        return VN_EFAIL;
    memcpy(b->letter, s->letter, sizeof b->letter);
    b->unk = s->unk;
    b->cls = s->cls;
    b->sep = s->sep;
    b->n_vocab = s->n_vocab;
    b->n_merges = s->n_merges;
    b->longest = 1;
    b->window = s->window ? s->window : WINDOW;
    int bits = 4; /* a table that is a quarter full finds at once what is not there */
    while ((1 << bits) < 4 * s->n_merges)
        bits++;
    b->mask = (1u << bits) - 1;
    b->shift = 32 - bits;
    b->merges = vn_calloc((size_t)s->n_merges, sizeof *b->merges, err);
    b->length = vn_calloc((size_t)s->n_vocab, sizeof *b->length, err);
    b->pairs = vn_calloc((size_t)b->mask + 1, sizeof *b->pairs, err);
    b->head = vn_calloc((size_t)s->n_merges, sizeof *b->head, err);
    b->ready = vn_calloc((size_t)s->n_merges / 64 + 1, sizeof *b->ready, err);
    int rc = b->merges && b->length && b->pairs && b->head && b->ready ? fill(b, s, err)
                                                                       : VN_EFAIL;
    if (rc != VN_OK) {
        vn_bpe_free(b);
        return rc;
    }
    *out = b;
    return VN_OK;
}

void vn_bpe_free(struct vn_bpe *b) {
    if (!b)
        return;
    vn_buf_release(&b->symbols);
    vn_buf_release(&b->next);
    vn_buf_release(&b->previous);
    vn_buf_release(&b->nodes);
    free(b->merges);
    free(b->length);
    free(b->pairs);
    free(b->head);
    free(b->ready);
    free(b);
}

int vn_bpe_vocab(const struct vn_bpe *b) {
    return b->n_vocab;
}

/* ---- one window ------------------------------------------------------------------ */

/* Symbols 0 and n + 1 are ends. A symbol that became part of the one before it is
 * VN_BPE_NONE, as the ends are: in no pair. */
struct window {
    uint16_t *symbol;         /* [n + 2] */
    int32_t *next, *previous; /* [n + 2] */
    struct node *nodes;       /* [3 n] */
};

static int make_room(struct vn_bpe *b, size_t n, struct window *w, struct vn_error *err) {
    int rc = vn_buf_reserve(&b->symbols, (n + 2) * sizeof *w->symbol, err);
    if (rc == VN_OK)
        rc = vn_buf_reserve(&b->next, (n + 2) * sizeof *w->next, err);
    if (rc == VN_OK)
        rc = vn_buf_reserve(&b->previous, (n + 2) * sizeof *w->previous, err);
    if (rc == VN_OK) /* one for each pair at first, two for each merge; 0 is none */
        rc = vn_buf_reserve(&b->nodes, (3 * n + 1) * sizeof *w->nodes, err);
    *w = (struct window){(uint16_t *)(void *)b->symbols.data, (int32_t *)(void *)b->next.data,
                         (int32_t *)(void *)b->previous.data,
                         (struct node *)(void *)b->nodes.data};
    return rc;
}

/* Puts the pair of symbols at `at` and behind it on the list of its rank, if it has one. */
static inline void look(struct vn_bpe *b, const struct window *w, int32_t at, uint16_t left,
                        uint16_t right) {
    const uint32_t key = left | (uint32_t)right << 16;
    uint32_t i = slot_of(b, key);
    while (b->pairs[i].key != key || b->pairs[i].rank == UINT32_MAX) {
        if (b->pairs[i].rank == UINT32_MAX)
            return;
        i = (i + 1) & b->mask;
    }
    const uint32_t rank = b->pairs[i].rank;
    w->nodes[++b->n_nodes] = (struct node){at, b->head[rank]};
    b->head[rank] = b->n_nodes;
    b->ready[rank / 64] |= UINT64_C(1) << rank % 64;
}

/* Merges the symbol at `at` with the one behind it. */
static inline void merge_at(struct vn_bpe *b, const struct window *w, int32_t at,
                            uint16_t result) {
    const int32_t gone = w->next[at], after = w->next[gone], before = w->previous[at];
    w->symbol[at] = result;
    w->symbol[gone] = VN_BPE_NONE;
    w->next[at] = after;
    w->previous[after] = at;
    if (w->symbol[before] != VN_BPE_NONE)
        look(b, w, before, w->symbol[before], result);
    if (w->symbol[after] != VN_BPE_NONE)
        look(b, w, at, result, w->symbol[after]);
}

/* All places of a rank. What stands there may have become something else since. */
static void merge_all(struct vn_bpe *b, const struct window *w, uint32_t rank) {
    const struct vn_bpe_merge m = b->merges[rank];
    for (int32_t i = b->head[rank]; i; i = w->nodes[i].next) {
        int32_t at = w->nodes[i].at;
        if (w->symbol[at] != m.left || w->symbol[w->next[at]] != m.right)
            continue;
        if (m.left != m.right) {
            merge_at(b, w, at, m.result);
            continue;
        }
        while (w->symbol[w->previous[at]] == m.left)
            at = w->previous[at];
        for (; w->symbol[at] == m.left && w->symbol[w->next[at]] == m.left; at = w->next[at])
            merge_at(b, w, at, m.result);
    }
    b->head[rank] = 0;
}

/* Encodes n letters, all of which have pieces; room for n ids at `ids`. The number of
 * pieces. */
static int64_t encode(struct vn_bpe *b, const char *seq, size_t n, uint16_t *ids,
                      struct vn_error *err) {
    struct window w;
    int rc = make_room(b, n, &w, err);
    if (rc != VN_OK)
        return rc;
    b->n_nodes = 0;
    w.symbol[0] = w.symbol[n + 1] = VN_BPE_NONE;
    for (size_t i = 0; i < n + 2; i++) {
        w.next[i] = (int32_t)i + 1;
        w.previous[i] = (int32_t)i - 1;
    }
    for (size_t i = 1; i <= n; i++)
        w.symbol[i] = b->letter[(uint8_t)seq[i - 1]];
    for (size_t i = 1; i < n; i++)
        look(b, &w, (int32_t)i, w.symbol[i], w.symbol[i + 1]);
    for (uint32_t k = 0; k <= (uint32_t)b->n_merges / 64; k++) {
        while (b->ready[k]) {
            uint32_t bit = (uint32_t)__builtin_ctzll(b->ready[k]);
            b->ready[k] &= b->ready[k] - 1;
            merge_all(b, &w, 64 * k + bit);
        }
    }
    int64_t found = 0;
    for (int32_t i = 1; i <= (int32_t)n; i = w.next[i])
        ids[found++] = w.symbol[i];
    return found;
}

/* ---- windows --------------------------------------------------------------------- */

/* Whether the pieces `left`, which ends at seq, and `right`, which begins there, are the
 * encoding of their letters: 1 or 0. */
static int joins(struct vn_bpe *b, const char *seq, uint16_t left, uint16_t right,
                 struct vn_error *err) {
    uint16_t ids[2 * VN_BPE_MAX_PIECE];
    const size_t before = b->length[left], letters = before + b->length[right];
    int64_t n = encode(b, seq - before, letters, ids, err);
    return n < 0 ? (int)n : n == 2 && ids[0] == left;
}

/* How many of the n pieces of a window stay whatever comes behind it, most likely: those that
 * end four of the longest pieces before its end; at least one. */
static int64_t keep(const struct vn_bpe *b, const uint16_t *ids, int64_t n, size_t *letters) {
    const size_t most = 4 * (size_t)b->longest < DROP ? 4 * (size_t)b->longest : DROP;
    size_t given = 0;
    while (n > 1 && given < most) {
        given += b->length[ids[--n]];
        *letters -= b->length[ids[n]];
    }
    return n;
}

/* Encodes n letters, all of which have pieces; room for n ids. */
static int64_t encode_word(struct vn_bpe *b, const char *seq, size_t n, uint16_t *ids,
                           struct vn_error *err) {
    size_t at = 0, window = (size_t)b->window;
    int64_t done = 0;
    while (at < n) {
        size_t letters = n - at < window ? n - at : window;
        int64_t found = encode(b, seq + at, letters, ids + done, err);
        if (found < 0)
            return found;
        int fits = done ? joins(b, seq + at, ids[done - 1], ids[done], err) : 1;
        if (fits < 0)
            return fits;
        if (!fits) { /* the window before was too short to know its own pieces */
            at = 0;
            done = 0;
            window *= 2;
            continue;
        }
        if (at + letters < n)
            found = keep(b, ids + done, found, &letters);
        at += letters;
        done += found;
    }
    return done;
}

/* ---- records --------------------------------------------------------------------- */

static bool is_residue(uint8_t c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '*' || c == '-' ||
           c == '.' || c == '<' || c == '>';
}

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Letters from seq on that have pieces. */
static size_t word_length(const struct vn_bpe *b, const char *seq, size_t n) {
    size_t i = 0;
    while (i < n && (uint8_t)seq[i] < 128 && b->letter[(uint8_t)seq[i]] != VN_BPE_NONE)
        i++;
    return i;
}

int64_t vn_bpe_tokens(struct vn_bpe *b, const char *seq, size_t n, struct vn_buf *out,
                      int64_t *n_unknown, struct vn_error *err) {
    size_t room;
    int64_t done = 1;
    if (n == 0)
        return 0;
    if (n > INT32_MAX / 4 || !vn_mul(n + 2, sizeof(uint16_t), &room) ||
        !vn_add(out->len, room, &room))
        return vn_fail(err, VN_EDATA, "sequence of %zu letters is too long", n);
    int rc = vn_buf_reserve(out, room, err);
    if (rc != VN_OK)
        return rc;
    uint16_t *ids = (uint16_t *)(void *)(out->data + out->len);
    ids[0] = b->cls;
    for (size_t i = 0; i < n;) {
        size_t word = word_length(b, seq + i, n - i);
        int64_t found = word ? encode_word(b, seq + i, word, ids + done, err) : 0;
        if (found < 0)
            return found;
        done += found;
        i += word;
        for (; i < n && word_length(b, seq + i, 1) == 0; i++) {
            if (is_blank(seq[i]))
                continue;
            if (!is_residue((uint8_t)seq[i]))
                return vn_fail(err, VN_EDATA, "byte 0x%02x at offset %zu is no letter",
                               (unsigned)(uint8_t)seq[i], i);
            ids[done++] = b->unk;
            ++*n_unknown;
        }
    }
    ids[done++] = b->sep;
    out->len += (size_t)done * sizeof *ids;
    return done;
}
