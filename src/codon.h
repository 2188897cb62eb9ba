/* codon.h - the genetic codes, as tables for translation on both strands at once.
 *
 * Codes go by NCBI's numbers (gc.prt, "The Genetic Codes"): 1-6, 9-16, 21-33; what is missing
 * was never given or has been withdrawn. Letters are upper or lower case; only A C G T, and
 * U, which is T, are letters of codons, so that those of several bases make none. */
#ifndef VN_CODON_H
#define VN_CODON_H

#include <stdbool.h>

#include "err.h"

#define VN_STANDARD_CODE 1
#define VN_LAST_CODE 33

/* Number of a letter: T and U 0, C 1, A 2, G 3, any other 4. The complement of x < 4 is
 * x ^ 2. */
extern const uint8_t vn_letter[256];

/* Place of the codon of three such numbers, in the tables. */
#define VN_CODON(a, b, c) ((a) << 6 | (b) << 3 | (c))
#define VN_CODON_MASK 511

enum { VN_STOP_FORWARD = 1, VN_STOP_REVERSE = 2 };

struct vn_codons {
    uint8_t forward[VN_CODON_MASK + 1]; /* amino acid, '*', or 0: this is no codon */
    uint8_t reverse[VN_CODON_MASK + 1]; /* the same of the reverse complement */
    uint8_t stops[VN_CODON_MASK + 1];   /* on which strands it is a stop codon */
};

bool vn_codons_known(int code);

/* VN_EUSAGE when there is no such code. */
int vn_codons_init(struct vn_codons *c, int code, struct vn_error *err) VN_NODISCARD;

#endif
