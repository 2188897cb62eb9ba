/* CRC-32C against the published values and a bit-by-bit computation; UTF-8; numbers. */
#include <math.h>

#include "check.h"
#include "crc.h"
#include "num.h"
#include "text.h"

static uint32_t by_bits(uint32_t crc, const uint8_t *p, size_t n) {
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

static void published(void) { /* RFC 3720, appendix B.4 */
    uint8_t b[32];
    memset(b, 0, sizeof b);
    CHECK_INT(vn_crc32c(0, b, 32), 0x8a9136aa);
    memset(b, 0xff, sizeof b);
    CHECK_INT(vn_crc32c(0, b, 32), 0x62a8ab43);
    for (int i = 0; i < 32; i++)
        b[i] = (uint8_t)i;
    CHECK_INT(vn_crc32c(0, b, 32), 0x46dd794e);
    for (int i = 0; i < 32; i++)
        b[i] = (uint8_t)(31 - i);
    CHECK_INT(vn_crc32c(0, b, 32), 0x113fdb5c);
    CHECK_INT(vn_crc32c(0, "123456789", 9), 0xe3069283);
    CHECK_INT(vn_crc32c(0, "", 0), 0);
}

static void lengths(void) {
    static uint8_t b[20000];
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < sizeof b; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        b[i] = (uint8_t)x;
    }
    for (size_t n = 0; n < sizeof b; n += n < 100 ? 1 : n / 5)
        for (size_t at = 0; at < 9 && at + n <= sizeof b; at++) {
            uint32_t want = by_bits(7, b + at, n);
            CHECK_INT(vn_crc32c(7, b + at, n), want);
            CHECK_INT(vn_crc32c_portable(7, b + at, n), want);
            uint32_t part = vn_crc32c(7, b + at, n / 3);
            CHECK_INT(vn_crc32c(part, b + at + n / 3, n - n / 3), want);
        }
}

static bool valid(const char *s) {
    return vn_utf8_valid(s, strlen(s));
}
static void utf8(void) {
    CHECK(valid(""));
    CHECK(valid("plain text that is longer than eight bytes"));
    CHECK(valid("\xc2\x80 \xdf\xbf \xe0\xa0\x80 \xed\x9f\xbf \xee\x80\x80 \xef\xbf\xbf"));
    CHECK(valid("\xf0\x90\x80\x80 \xf4\x8f\xbf\xbf"));
    CHECK(!valid("\x80"));
    CHECK(!valid("12345678\xbf"));
    CHECK(!valid("\xc0\x80") && !valid("\xc1\xbf"));     /* overlong */
    CHECK(!valid("\xe0\x9f\xbf") && !valid("\xf0\x8f\xbf\xbf"));
    CHECK(!valid("\xed\xa0\x80"));                       /* surrogate */
    CHECK(!valid("\xf4\x90\x80\x80") && !valid("\xf5\x80\x80\x80"));
    CHECK(!valid("\xc2") && !valid("\xe0\xa0") && !valid("\xf0\x90\x80")); /* cut */
    CHECK(!valid("\xc2" "a") && !valid("\xe1\x80" "a") && !valid("\xf1\x80\x80" "a"));
}

static void text_is(float v, const char *want) {
    char text[VN_NUMBER_TEXT];
    CHECK_INT(vn_format_float(text, v), strlen(want));
    CHECK_STR(text, want);
}
static void floats(void) {
    text_is(0.0f, "0");
    text_is(-0.0f, "-0");
    text_is(0.5f, "0.5");
    text_is(0.1f, "0.1");
    text_is(1e-5f, "1e-05");
    text_is(0x1.bp-6f, "0.026367188"); /* ties: the even one */
    text_is(-0x1.06p-2f, "-0.25585938");
    text_is(0x1.13p+0f, "1.0742188");
    text_is(16777216.0f, "16777216");
    text_is(0.333333343f, "0.33333334");
    text_is(3.40282347e38f, "3.4028235e+38");
    text_is(1.17549435e-38f, "1.1754944e-38");
    text_is(1.40129846e-45f, "1e-45");
    text_is(INFINITY, "inf");
    text_is(-INFINITY, "-inf");
    text_is(NAN, "nan");
    uint32_t bits = 1;
    for (int i = 0; i < 20000; i++) {
        char text[VN_NUMBER_TEXT], shorter[400];
        bits = bits * 1664525u + 1013904223u;
        float v = vn_bits_f32(bits);
        if (!isfinite(v))
            continue;
        vn_format_float(text, v);
        CHECK(vn_f32_bits(strtof(text, NULL)) == bits);
        int digits = 0; /* one digit less does not do */
        for (const char *p = text; *p && *p != 'e'; p++)
            digits += *p >= '0' && *p <= '9' && (digits || *p != '0');
        snprintf(shorter, sizeof shorter, "%.*g", digits > 1 ? digits - 1 : 1, (double)v);
        CHECK(digits <= 6 || strtof(shorter, NULL) != v);
    }
}
/* What is fast is what the C library says, with the fewest digits that read back equal: also
 * next to numbers of few digits, where the next power of ten begins, and at ties. */
static void floats_like_printf(void) {
    for (int exponent = -14; exponent <= 6; exponent++)
        for (int digits = 1; digits < 1000; digits += digits < 30 || digits > 980 ? 1 : 37)
            for (int off = -3; off <= 3; off++) {
                char text[VN_NUMBER_TEXT], want[VN_NUMBER_TEXT];
                const float middle = (float)(digits * pow(10, exponent));
                const float v = vn_bits_f32(vn_f32_bits(middle) + (uint32_t)off);
                int n = 6;
                do
                    snprintf(want, sizeof want, "%.*g", n, (double)v);
                while (strtof(want, NULL) != v && n++ < 9);
                CHECK_INT(vn_format_float(text, v), strlen(want));
                CHECK_STR(text, want);
            }
}
static void integers(void) {
    static const int64_t some[] = {0, 1, -1, 9, 10, -10, 99, 100, INT64_MAX, INT64_MIN};
    char text[VN_NUMBER_TEXT], want[VN_NUMBER_TEXT];
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        snprintf(want, sizeof want, "%lld", (long long)some[i]);
        CHECK_INT(vn_format_int(text, some[i]), strlen(want));
        CHECK_STR(text, want);
        snprintf(want, sizeof want, "%llu", (unsigned long long)some[i]);
        CHECK_INT(vn_format_uint(text, (uint64_t)some[i]), strlen(want));
        CHECK_STR(text, want);
    }
}
static void doubles(void) {
    char text[VN_NUMBER_TEXT];
    vn_format_double(text, 0.1);
    CHECK_STR(text, "0.1");
    vn_format_double(text, 1.0 / 3);
    CHECK_STR(text, "0.3333333333333333");
    vn_format_double(text, 4.9406564584124654e-324);
    CHECK_STR(text, "5e-324");
    vn_format_double(text, -INFINITY);
    CHECK_STR(text, "-inf");
}

int main(void) {
    TEST(published);
    TEST(lengths);
    TEST(utf8);
    TEST(floats);
    TEST(floats_like_printf);
    TEST(integers);
    TEST(doubles);
    return check_done();
}
