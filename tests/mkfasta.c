/* Writes made-up sequences, the same for the same arguments: what tests and benchmarks
 * feed.
 *
 *     mkfasta KIND RECORDS [SEED]
 *
 * KIND: protein (lengths as in UniProt, lines of 60), reads (FASTQ, 50 to 170 bases),
 * short (proteins of 50 to 170 residues, one line each), ladder (nucleotides: the first
 * record has one, the second two ...), odd (0 to 700 nucleotides: lower case, letters of
 * several bases, few stop codons), genome (one record of RECORDS nucleotides). */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;
static uint64_t rnd(void) { /* splitmix64 */
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* UniProt's amino acids by their frequency in 1/256. */
static char residues[256];
static void make_residues(void) {
    static const char letters[] = "ARNDCQEGHILKMFPSTWYV";
    static const int parts[] = {21, 14, 10, 14, 4,  10, 17, 18, 6, 15,
                                25, 15, 6,  10, 12, 17, 14, 3,  7, 18};
    int n = 0;
    for (int i = 0; i < 20; i++)
        for (int k = 0; k < parts[i] && n < 256; k++)
            residues[n++] = letters[i];
}

static void draw(char *to, size_t n, const char *alphabet, unsigned mask) {
    for (size_t i = 0; i < n; i += 8) {
        uint64_t r = rnd();
        for (size_t k = i; k < n && k < i + 8; k++, r >>= 8)
            to[k] = alphabet[r & mask];
    }
}

static size_t protein_length(void) { /* log-normal, median 290 */
    double u = ((double)(rnd() >> 12) + 0.5) / 4503599627370496.0;
    double v = (double)(rnd() >> 12) / 4503599627370496.0;
    double x = exp(5.67 + 0.75 * sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
    return (size_t)(x < 10 ? 10 : x > 30000 ? 30000 : x);
}

static void nucleotides(const char *kind, long long n) {
    static char seq[30001];
    static const char *const alphabets[] = {"ACGTACGTACGTACGT", "ACGTacgtacgtACGT",
                                            "ACGTACGTACGTNACG", "ACGTUNRYacgtKM-n",
                                            "CCGTCCGTCCGTCCGA", "NNNNNNNNNNNNNNNA"};
    if (!strcmp(kind, "genome")) {
        printf(">genome of %lld letters\n", n);
        for (; n > 0; n -= 80) {
            draw(seq, 80, alphabets[0], 15);
            printf("%.*s\n", n < 80 ? (int)n : 80, seq);
        }
        return;
    }
    for (long long i = 0; i < n; i++) {
        int odd = !strcmp(kind, "odd");
        size_t len = odd ? rnd() % (i % 2 ? 60 : 700) : (size_t)i + 1;
        draw(seq, len, alphabets[odd ? rnd() % 6 : 0], 15);
        printf(">%s.%lld of nucleotides\n%.*s\n", kind, i, (int)len, seq);
    }
}

int main(int argc, char **argv) {
    static char seq[30001], quality[30001];
    if (argc < 3) {
        fputs("usage: mkfasta protein|reads|short|ladder|odd|genome RECORDS [SEED]\n", stderr);
        return 2;
    }
    long long n = strtoll(argv[2], NULL, 10);
    state = argc > 3 ? strtoull(argv[3], NULL, 10) : 1;
    if (!strcmp(argv[1], "ladder") || !strcmp(argv[1], "odd") || !strcmp(argv[1], "genome")) {
        nucleotides(argv[1], n);
        return fflush(stdout) || ferror(stdout);
    }
    make_residues();
    memset(quality, 'I', sizeof quality - 1);
    for (long long i = 0; i < n; i++) {
        int protein = !strcmp(argv[1], "protein");
        size_t len = protein ? protein_length() : 50 + rnd() % 121;
        if (!strcmp(argv[1], "reads")) {
            draw(seq, len, "ACGT", 3);
            printf("@read.%lld\n%.*s\n+\n%.*s\n", i, (int)len, seq, (int)len, quality);
            continue;
        }
        draw(seq, len, residues, 255);
        printf(">tr|A%08llX|A%08llX_TEST made-up protein of %zu residues\n",
               (unsigned long long)i, (unsigned long long)i, len);
        for (size_t at = 0; at < len; at += protein ? 60 : len) {
            size_t line = protein && len - at > 60 ? 60 : len - at;
            fwrite(seq + at, 1, line, stdout);
            putchar('\n');
        }
    }
    return fflush(stdout) || ferror(stdout);
}
