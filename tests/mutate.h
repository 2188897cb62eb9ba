/* mutate.h - what fuzz targets do when they are plain programs: run over the files that are
 * named, and over mutations of each. */
#ifndef VN_MUTATE_H
#define VN_MUTATE_H

#include <string.h>

#include "fuzz.h"

static uint64_t mutate_state = 1;
static uint32_t mutate_number(void) {
    mutate_state = mutate_state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(mutate_state >> 33);
}

/* Of text: puts in what parsers trip over, cuts, and doubles. Returns the new length. */
static inline size_t mutate_text(uint8_t *p, size_t n, size_t cap, const char *tricky,
                                 size_t n_tricky) {
    for (uint32_t k = mutate_number() % 6 + 1; k && n; k--) {
        size_t at = mutate_number() % n, len = mutate_number() % 8 + 1;
        if (len > n - at)
            len = n - at;
        switch (mutate_number() % 5) {
        case 0: p[at] ^= (uint8_t)(1 << mutate_number() % 8); break;
        case 1: p[at] = (uint8_t)tricky[mutate_number() % n_tricky]; break;
        case 2: /* cut out */
            memmove(p + at, p + at + len, n - at - len);
            n -= len;
            break;
        case 3: /* double */
            if (n + len <= cap) {
                memmove(p + at + len, p + at, n - at);
                n += len;
            }
            break;
        default: /* end here */
            if (mutate_number() % 4 == 0)
                n = at;
        }
    }
    return n;
}

/* The arguments are [-m ROUNDS] FILE...; the exit status. `change` makes a mutation of n
 * bytes, which has room for `cap`, and returns its length. */
static int mutate_files(int argc, char **argv,
                        size_t (*change)(uint8_t *p, size_t n, size_t cap)) {
    long rounds = argc > 2 && !strcmp(argv[1], "-m") ? strtol(argv[2], NULL, 10) : 0;
    static uint8_t data[1 << 16], copy[1 << 17];
    int n_files = 0;
    for (int i = rounds ? 3 : 1; i < argc; i++, n_files++) {
        FILE *f = fopen(argv[i], "rb");
        if (!f) {
            perror(argv[i]);
            return 1;
        }
        size_t n = fread(data, 1, sizeof data, f);
        fclose(f);
        LLVMFuzzerTestOneInput(data, n);
        for (long r = 0; r < rounds; r++) {
            memcpy(copy, data, n);
            LLVMFuzzerTestOneInput(copy, change(copy, n, sizeof copy));
        }
    }
    printf("%d files, %ld mutations of each: no complaint\n", n_files, rounds);
    return n_files == 0;
}

#endif
