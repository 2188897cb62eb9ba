/* text.h - numbers as text, and text that is UTF-8.
 *
 * No locale is ever asked. Thread-safe. */
#ifndef VN_TEXT_H
#define VN_TEXT_H

#include <stdbool.h>
#include <stddef.h>

#define VN_NUMBER_TEXT 32 /* bytes that hold any number, with its terminator */

/* The shortest decimal that reads back as the same float (or double): "0.5", "1e-05",
 * "-0", "inf", "nan". Returns its length. */
int vn_format_float(char text[VN_NUMBER_TEXT], float v);
int vn_format_double(char text[VN_NUMBER_TEXT], double v);

/* Well-formed UTF-8: no overlong forms, no surrogates, nothing above U+10FFFF. */
bool vn_utf8_valid(const void *p, size_t n);

#endif
