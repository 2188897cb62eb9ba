#include "text.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "num.h"

static int special(char *text, double v) {
    return snprintf(text, VN_NUMBER_TEXT, "%s",
                    isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
}

/* Digits that read back equal do so with one more as well, so halving finds the fewest.
 * Below FLT_DIG digits nothing is gained, %g drops zeros: except for subnormal numbers. */
int vn_format_float(char text[VN_NUMBER_TEXT], float v) {
    if (!isfinite(v))
        return special(text, (double)v);
    int lo = v != 0 && fabsf(v) < FLT_MIN ? 1 : FLT_DIG, hi = 9;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        snprintf(text, VN_NUMBER_TEXT, "%.*g", mid, (double)v);
        if (strtof(text, NULL) == v)
            hi = mid;
        else
            lo = mid + 1;
    }
    return snprintf(text, VN_NUMBER_TEXT, "%.*g", lo, (double)v);
}

int vn_format_double(char text[VN_NUMBER_TEXT], double v) {
    if (!isfinite(v))
        return special(text, v);
    int lo = v != 0 && fabs(v) < DBL_MIN ? 1 : DBL_DIG, hi = 17;
    while (lo < hi) {
        int mid = (lo + hi) / 2;
        snprintf(text, VN_NUMBER_TEXT, "%.*g", mid, v);
        if (strtod(text, NULL) == v)
            hi = mid;
        else
            lo = mid + 1;
    }
    return snprintf(text, VN_NUMBER_TEXT, "%.*g", lo, v);
}

/* Bytes of the character at p, or 0 when it is malformed. */
static size_t utf8_step(const uint8_t *p, size_t n) {
    size_t len = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (!len || len > n)
        return 0;
    uint8_t lo = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    uint8_t hi = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < lo || p[1] > hi)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

bool vn_utf8_valid(const void *data, size_t n) {
    const uint8_t *p = data;
    size_t at = 0;
    while (at < n) {
        if (n - at >= 8 && !(vn_load64(p + at) & 0x8080808080808080u)) {
            at += 8;
        } else if (p[at] < 0x80) {
            at++;
        } else {
            size_t step = utf8_step(p + at, n - at);
            if (!step)
                return false;
            at += step;
        }
    }
    return true;
}
