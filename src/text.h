/* text.h - numbers as text, and text that is UTF-8.
 *
 * No locale is ever asked. Thread-safe. */
#ifndef VN_TEXT_H
#define VN_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mem.h"

#define VN_NUMBER_TEXT 32 /* bytes that hold any number, with its terminator */

/* The shortest decimal that reads back as the same float (or double): "0.5", "1e-05",
 * "-0", "inf", "nan"; and integers. Returns its length. */
int vn_format_float(char text[VN_NUMBER_TEXT], float v);
int vn_format_double(char text[VN_NUMBER_TEXT], double v);
int vn_format_int(char text[VN_NUMBER_TEXT], int64_t v);
int vn_format_uint(char text[VN_NUMBER_TEXT], uint64_t v);

/* Bytes of the UTF-8 character at p, n >= 1 of them being there. Negative when it is not
 * well-formed: less than nothing by the bytes of the longest beginning of one that goes on
 * wrongly, at least 1, which the Unicode standard replaces by one U+FFFD. */
int vn_utf8_length(const uint8_t *p, size_t n);

/* Well-formed UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF. */
bool vn_utf8_valid(const void *p, size_t n);

/* Appends a text, which must be UTF-8, as a JSON string, quotes included. */
int vn_json_text(struct vn_buf *out, const char *p, size_t n, struct vn_error *err)
    VN_NODISCARD;

#endif
