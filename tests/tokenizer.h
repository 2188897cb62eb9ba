/* tokenizer.h - what tests of tokenizers share: a sequence, and the tokens wanted of it.
 * Every tokenizer of tok.h that needs no model has the same form. */
#ifndef VN_TOKENIZER_H
#define VN_TOKENIZER_H

#include "check.h"
#include "tok.h"

typedef int64_t tokenizer(const char *seq, size_t n, size_t max, struct vn_buf *out,
                          int64_t *n_unknown, struct vn_error *err);

static int64_t tok(tokenizer *fn, const char *seq, size_t max, struct vn_buf *out,
                   int64_t *unknown, struct vn_error *err) {
    out->len = 0;
    *unknown = 0;
    return fn(seq, strlen(seq), max, out, unknown, err);
}

static void expect(tokenizer *fn, const char *seq, size_t max, const uint16_t *want, int64_t n,
                   int64_t unknown) {
    struct vn_buf out = {0};
    struct vn_error err = {0};
    int64_t u;
    CHECK_INT(tok(fn, seq, max, &out, &u, &err), n);
    CHECK_INT(out.len, 2 * n);
    CHECK(!n || !memcmp(out.data, want, (size_t)n * 2));
    CHECK_INT(u, unknown);
    vn_buf_release(&out);
}

/* EXPECT(fn, seq, max, unknown, token...) */
#define EXPECT(fn, seq, max, unknown, ...) \
    do { \
        static const uint16_t want_[] = {__VA_ARGS__}; \
        expect(fn, seq, max, want_, sizeof want_ / 2, unknown); \
    } while (0)

#endif
