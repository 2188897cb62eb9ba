/* orf.h - chunks of a sequence, and the frames of a chunk that no stop codon closes.
 *
 * The rules are VirNucPro's. Chunks: as few as cover the sequence, of one size, their overlap
 * spread over them. Frames: all six; one is open when its whole translation has no stop,
 * whatever it begins with. A codon with any letter but A C G T translates to nothing, so
 * that the protein closes up over it. Not VirNucPro's: U is T, as samtools and minimap2 read
 * it, and a sequence with a letter that no nucleotide has is none. */
#ifndef VN_ORF_H
#define VN_ORF_H

#include "codon.h"
#include "mem.h"

/* ---- chunks ---------------------------------------------------------------------- */

#define VN_MAX_CHUNK ((int64_t)1 << 29) /* letters: its row fits a batch of VN_MAX_BODY */

/* How a sequence is cut. For length L and size C: n = ceil(L / C) chunks; R = n C - L letters
 * are seen twice; every chunk but the first begins floor(R / n) letters early, and the
 * first floor(R / n) + R mod n of those (or all, if there are fewer) one more. So no chunk
 * is longer than C, nothing is left out, and the last one may be shorter than C. */
struct vn_chunks {
    int64_t length, size;
    int64_t count;        /* at least 1: the chunk of an empty sequence is empty */
    int64_t lower, more;  /* letters that each begins early; how many begin one earlier */
};

/* size 0: the whole sequence is one chunk. */
void vn_chunks_init(struct vn_chunks *c, int64_t length, int64_t size);

/* Letters [*start, *end) of the sequence are chunk k, 0 <= k < count. */
void vn_chunks_at(const struct vn_chunks *c, int64_t k, int64_t *start, int64_t *end);

/* ---- frames ---------------------------------------------------------------------- */

enum vn_orf_status {
    VN_ORF_OK,
    VN_ORF_EMPTY,     /* the chunk has no letters */
    VN_ORF_NO_CODON,  /* not one codon of A C G T in any frame */
    VN_ORF_TOO_SHORT, /* there are open frames, all with fewer residues than asked for */
    VN_ORF_CLOSED,    /* every frame with codons has a stop */
    VN_ORF_TOO_LONG,  /* more than VN_MAX_CHUNK letters: was not translated */
    VN_ORF_FOREIGN,   /* the sequence is none of nucleotides: so is a caller's verdict */
    VN_ORF_N_STATUS
};
extern const char *const vn_orf_status_text[VN_ORF_N_STATUS];

/* Has a sequence one of the letters E F I J L O P Q Z, upper or lower case? IUPAC has no
 * nucleotide for them, and of a protein they are one letter of three. X is neither: some
 * programs mask with it. */
bool vn_orf_foreign(const char *seq, size_t n);

/* An open frame. Pointers are the finder's, valid until its next call; not terminated. */
struct vn_orf_frame {
    int frame;              /* 1 2 3 forward, -1 -2 -3 on the reverse complement */
    const char *protein;    /* upper case */
    size_t protein_len;     /* at least 1 */
    const char *nucleotide; /* upper case, T for U, in the direction of reading */
    size_t nucleotide_len;  /* 3 protein_len + 1, or less by 1 at the end of the strand */
    size_t start, end;      /* these letters in the chunk, on the forward strand */
};

struct vn_orf;

/* min_aa >= 1: residues that a protein has at least. VN_EUSAGE for an unknown code. */
int vn_orf_new(int code, int64_t min_aa, struct vn_orf **out, struct vn_error *err)
    VN_NODISCARD;

/* Looks for the open frames of a chunk of n letters, which must stay until the next call.
 * Once warm, allocates nothing for a chunk that is no longer than one before. */
int vn_orf_scan(struct vn_orf *o, const char *seq, size_t n, struct vn_error *err)
    VN_NODISCARD;

/* 1 and the next frame, in the order 1 2 3 -1 -2 -3; 0 when there is none left. */
int vn_orf_next(struct vn_orf *o, struct vn_orf_frame *f);

/* After vn_orf_next has returned 0: VN_ORF_OK if there were frames, else why not. */
enum vn_orf_status vn_orf_status(const struct vn_orf *o);

void vn_orf_free(struct vn_orf *o); /* NULL is legal */

#endif
