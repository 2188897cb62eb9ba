#include "text.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "num.h"

static int special(char *text, double v) {
    return snprintf(text, VN_NUMBER_TEXT, "%s",
                    isnan(v) ? "nan" : v > 0 ? "inf" : "-inf");
}

/* ---- integers -------------------------------------------------------------------- */

int vn_format_uint(char text[VN_NUMBER_TEXT], uint64_t v) {
    char digits[VN_NUMBER_TEXT];
    size_t at = sizeof digits;
    digits[--at] = 0;
    do
        digits[--at] = (char)('0' + v % 10);
    while (v /= 10);
    memcpy(text, digits + at, sizeof digits - at);
    return (int)(sizeof digits - at) - 1;
}

int vn_format_int(char text[VN_NUMBER_TEXT], int64_t v) {
    if (v >= 0)
        return vn_format_uint(text, (uint64_t)v);
    *text = '-';
    char rest[VN_NUMBER_TEXT];
    const int n = vn_format_uint(rest, 0 - (uint64_t)v);
    memcpy(text + 1, rest, (size_t)n + 1);
    return n + 1;
}

/* ---- floats, in double ----------------------------------------------------------- */

/* All of them are exact in double. */
static const double power_of_ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,
                                      1e7,  1e8,  1e9,  1e10, 1e11, 1e12, 1e13,
                                      1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20};
#define LEAST 1e-12 /* of what is tried: 9 of its digits are an integer times 10^-20 */
#define MOST 1e5    /* below it 6 digits and more are an integer times 10^-1 and less */

/* a = scaled / 10^k, rounded to an integer; false where rounding errors may decide. */
static bool round_digits(double a, int k, uint32_t *n) {
    const double scaled = a * power_of_ten[k];
    const uint32_t whole = (uint32_t)scaled; /* scaled < 10^9: off by 1e-7 at most */
    const double rest = scaled - whole;
    *n = whole + (rest > 0.5);
    return fabs(rest - 0.5) > 1e-5;
}

/* Is n / 10^k read as this float: 1, 0, or -1 where a second rounding may decide. */
static int reads_back(uint32_t n, int k, float v) {
    const double q = n / power_of_ten[k]; /* rounded once: off by half a unit at most */
    uint64_t bits;
    memcpy(&bits, &q, sizeof bits);
    const uint64_t half = 1u << 28, below = bits & (2 * half - 1); /* of a float's unit */
    if (below >= half - 1 && below <= half + 1)
        return -1;
    return (float)q == v;
}

/* The digits n, the first of which stands for 10^exponent, as %g puts them. */
static int put_digits(char *text, bool minus, uint32_t n, int exponent) {
    char digits[VN_NUMBER_TEXT], *to = text;
    while (n % 10 == 0)
        n /= 10;
    const int len = vn_format_uint(digits, n);
    const int whole = exponent < 0 ? 1 : exponent + 1; /* of them, before the point */
    if (minus)
        *to++ = '-';
    if (exponent < 0 && exponent >= -4) {
        memcpy(to, "0.000", (size_t)(1 - exponent));
        to += 1 - exponent;
        memcpy(to, digits, (size_t)len);
        to += len;
    } else {
        for (int i = 0; i < len || i < whole; i++) {
            if (i == whole)
                *to++ = '.';
            *to++ = i < len ? digits[i] : '0';
        }
    }
    if (exponent < -4) {
        memcpy(to, "e-", 2);
        to[2] = (char)('0' - exponent / 10);
        to[3] = (char)('0' - exponent % 10);
        to += 4;
    }
    *to = 0;
    return (int)(to - text);
}

/* What vn_format_float does, ten times as fast; 0 where that cannot be said without exact
 * arithmetic: very large and small numbers, and one of ten thousand of the others. */
static int format_quickly(char *text, float v) {
    const double a = fabs((double)v);
    int exponent = 4, k;
    uint32_t n = 0;
    if (!(a >= LEAST && a < MOST))
        return 0;
    while (exponent >= 0 ? a < power_of_ten[exponent] : a * power_of_ten[-exponent] < 1)
        exponent--;
    for (int digits = FLT_DIG; digits <= 9; digits++) {
        k = digits - 1 - exponent;
        if (!round_digits(a, k, &n))
            return 0;
        const int same = digits == 9 ? 1 : reads_back(n, k, fabsf(v));
        if (same < 0)
            return 0;
        if (same)
            break;
    }
    if (n >= power_of_ten[k + exponent + 1]) /* 9.99...: rounded up to the next power */
        exponent++;
    return put_digits(text, signbit(v), n, exponent);
}

/* ---- floats ---------------------------------------------------------------------- */

/* Digits that read back equal do so with one more as well, so halving finds the fewest.
 * Below FLT_DIG digits nothing is gained, %g drops zeros: except for subnormal numbers. */
int vn_format_float(char text[VN_NUMBER_TEXT], float v) {
    if (!isfinite(v))
        return special(text, (double)v);
    const int quickly = format_quickly(text, v);
    if (quickly)
        return quickly;
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

/* ---- UTF-8 ----------------------------------------------------------------------- */

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
