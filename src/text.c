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

int vn_utf8_length(const uint8_t *p, size_t n) {
    uint8_t lo = 0x80, hi = 0xbf;
    int more = 0;
    if (*p < 0x80)
        return 1;
    if (*p >= 0xc2 && *p <= 0xdf)
        more = 1;
    else if (*p >= 0xe0 && *p <= 0xef)
        more = 2;
    else if (*p >= 0xf0 && *p <= 0xf4)
        more = 3;
    else
        return -1;
    if (*p == 0xe0) /* overlong forms, surrogates, beyond U+10FFFF */
        lo = 0xa0;
    else if (*p == 0xed)
        hi = 0x9f;
    else if (*p == 0xf0)
        lo = 0x90;
    else if (*p == 0xf4)
        hi = 0x8f;
    for (int i = 1; i <= more; i++, lo = 0x80, hi = 0xbf)
        if ((size_t)i >= n || p[i] < lo || p[i] > hi)
            return -i;
    return more + 1;
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
            int step = vn_utf8_length(p + at, n - at);
            if (step < 0)
                return false;
            at += (size_t)step;
        }
    }
    return true;
}

int vn_json_text(struct vn_buf *out, const char *p, size_t n, struct vn_error *err) {
    int rc = vn_buf_puts(out, "\"", err);
    for (size_t i = 0; i < n && rc == VN_OK; i++) {
        unsigned char c = (unsigned char)p[i];
        if (c == '"' || c == '\\')
            rc = vn_buf_printf(out, err, "\\%c", c);
        else if (c < 0x20 || c == 0x7f)
            rc = vn_buf_printf(out, err, "\\u%04x", c);
        else
            rc = vn_buf_append(out, &p[i], 1, err);
    }
    return rc == VN_OK ? vn_buf_puts(out, "\"", err) : rc;
}
