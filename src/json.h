/* json.h - strict reading of JSON with jansson.
 *
 * Files are capped, duplicate members and trailing text are refused, integers are
 * integers. The getters say "member 'x' is a string, expected an integer from 1 to 9";
 * who knows the file puts its name in front with vn_prefix. */
#ifndef VN_JSON_H
#define VN_JSON_H

#include <jansson.h>
#include <stdbool.h>

#include "err.h"

/* An object from memory; `name` is for messages. VN_EDATA. The result is the caller's:
 * json_decref. */
int vn_json_parse(const char *text, size_t n, const char *name, json_t **out,
                  struct vn_error *err) VN_NODISCARD;

/* The object in a file of at most `max` bytes. VN_ENOINPUT when there is none. */
int vn_json_load(const char *path, size_t max, json_t **out,
                 struct vn_error *err) VN_NODISCARD;

/* A member that must be there. Strings are borrowed from o. VN_EDATA. */
int vn_json_int(const json_t *o, const char *key, int64_t lo, int64_t hi, int64_t *out,
                struct vn_error *err) VN_NODISCARD;
int vn_json_number(const json_t *o, const char *key, double lo, double hi, double *out,
                   struct vn_error *err) VN_NODISCARD;
int vn_json_string(const json_t *o, const char *key, const char **out,
                   struct vn_error *err) VN_NODISCARD;
int vn_json_array(const json_t *o, const char *key, json_t **out,
                  struct vn_error *err) VN_NODISCARD;

/* False where the member is absent or null. */
bool vn_json_has(const json_t *o, const char *key);

/* A member that may be absent or null: *out is `fallback` then. */
int vn_json_bool(const json_t *o, const char *key, bool fallback, bool *out,
                 struct vn_error *err) VN_NODISCARD;

/* A member that must be this string; one that must be false, null or absent. */
int vn_json_want_string(const json_t *o, const char *key, const char *wanted,
                        struct vn_error *err) VN_NODISCARD;
int vn_json_want_false(const json_t *o, const char *key, struct vn_error *err) VN_NODISCARD;

/* VN_EDATA: "member 'key' is <what is there>, expected <expected>". */
int vn_json_wrong(const json_t *o, const char *key, const char *expected,
                  struct vn_error *err);

#endif
