#include "json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"

int vn_json_parse(const char *text, size_t n, const char *name, json_t **out,
                  struct vn_error *err) {
    json_error_t e;
    *out = json_loadb(text, n, JSON_REJECT_DUPLICATES, &e);
    if (!*out)
        return vn_fail(
            err, json_error_code(&e) == json_error_out_of_memory ? VN_EFAIL : VN_EDATA,
            "'%s' is not valid JSON: %s at byte %d", name, e.text, e.position);
    if (!json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        return vn_fail(err, VN_EDATA, "'%s' is not a JSON object", name);
    }
    return VN_OK;
}

int vn_json_load(const char *path, size_t max, json_t **out, struct vn_error *err) {
    struct vn_buf b = {0};
    *out = NULL;
    int rc = vn_read_file(path, max, &b, err);
    if (rc == VN_OK)
        rc = vn_json_parse((const char *)b.data, b.len, path, out, err);
    vn_buf_release(&b);
    return rc;
}

int vn_json_wrong(const json_t *o, const char *key, const char *expected,
                  struct vn_error *err) {
    char found[96];
    const json_t *v = json_object_get(o, key);
    switch (v ? json_typeof(v) : JSON_NULL) {
    case JSON_OBJECT: snprintf(found, sizeof found, "an object"); break;
    case JSON_ARRAY: snprintf(found, sizeof found, "an array"); break;
    case JSON_STRING:
        snprintf(found, sizeof found, "\"%.80s\"", json_string_value(v));
        break;
    case JSON_INTEGER:
        snprintf(found, sizeof found, "%lld", (long long)json_integer_value(v));
        break;
    case JSON_REAL: snprintf(found, sizeof found, "%.9g", json_real_value(v)); break;
    case JSON_TRUE: snprintf(found, sizeof found, "true"); break;
    case JSON_FALSE: snprintf(found, sizeof found, "false"); break;
    case JSON_NULL: snprintf(found, sizeof found, v ? "null" : "missing"); break;
    }
    return vn_fail(err, VN_EDATA, "member '%s' is %s, expected %s", key, found, expected);
}

int vn_json_int(const json_t *o, const char *key, int64_t lo, int64_t hi, int64_t *out,
                struct vn_error *err) {
    const json_t *v = json_object_get(o, key);
    if (!json_is_integer(v) || json_integer_value(v) < lo || json_integer_value(v) > hi) {
        char expected[96];
        snprintf(expected, sizeof expected, "an integer from %lld to %lld", (long long)lo,
                 (long long)hi);
        return vn_json_wrong(o, key, expected, err);
    }
    *out = json_integer_value(v);
    return VN_OK;
}

int vn_json_number(const json_t *o, const char *key, double lo, double hi, double *out,
                   struct vn_error *err) {
    const json_t *v = json_object_get(o, key);
    double d = json_number_value(v);
    if (!json_is_number(v) || !isfinite(d) || d < lo || d > hi) {
        char expected[96];
        snprintf(expected, sizeof expected, "a number from %g to %g", lo, hi);
        return vn_json_wrong(o, key, expected, err);
    }
    *out = d;
    return VN_OK;
}

int vn_json_string(const json_t *o, const char *key, const char **out,
                   struct vn_error *err) {
    *out = json_string_value(json_object_get(o, key));
    return *out ? VN_OK : vn_json_wrong(o, key, "a string", err);
}

int vn_json_array(const json_t *o, const char *key, json_t **out, struct vn_error *err) {
    *out = json_object_get(o, key);
    return json_is_array(*out) ? VN_OK : vn_json_wrong(o, key, "an array", err);
}

bool vn_json_has(const json_t *o, const char *key) {
    const json_t *v = json_object_get(o, key);
    return v && !json_is_null(v);
}

int vn_json_bool(const json_t *o, const char *key, bool fallback, bool *out,
                 struct vn_error *err) {
    *out = fallback;
    if (!vn_json_has(o, key))
        return VN_OK;
    if (!json_is_boolean(json_object_get(o, key)))
        return vn_json_wrong(o, key, "true or false", err);
    *out = json_is_true(json_object_get(o, key));
    return VN_OK;
}

int vn_json_want_string(const json_t *o, const char *key, const char *wanted,
                        struct vn_error *err) {
    const char *found = json_string_value(json_object_get(o, key));
    char expected[64];
    snprintf(expected, sizeof expected, "\"%s\"", wanted);
    return found && !strcmp(found, wanted) ? VN_OK : vn_json_wrong(o, key, expected, err);
}

int vn_json_want_false(const json_t *o, const char *key, struct vn_error *err) {
    bool set;
    int rc = vn_json_bool(o, key, false, &set, err);
    return rc == VN_OK && set ? vn_json_wrong(o, key, "false", err) : rc;
}
