/* fuzz.h - what fuzz targets share: a condition that must hold, and a hash of outcomes. */
#ifndef VN_FUZZ_H
#define VN_FUZZ_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define REQUIRE(cond)                                                                       \
    do {                                                                                    \
        if (!(cond)) {                                                                      \
            fprintf(stderr, "%s: line %d: %s\n", __FILE__, __LINE__, #cond);                \
            abort();                                                                        \
        }                                                                                   \
    } while (0)

static inline uint64_t mix(uint64_t h, const void *p, size_t n) { /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        h = (h ^ ((const uint8_t *)p)[i]) * 0x100000001b3u;
    return (h ^ n) * 0x100000001b3u;
}

#endif
