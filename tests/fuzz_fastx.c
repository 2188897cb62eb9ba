/* Fuzz target: the sequence reader and the tokenizer behind it.
 *
 * Whatever the bytes are, the outcome is records or VN_EDATA; it is the same however the
 * source cuts them; and every sequence that the reader accepts can be tokenized, to as many
 * residues as vn_tok_esm2_length says.
 *
 * Built by the Makefile it is a plain program: fuzz_fastx [-m ROUNDS] FILE... runs the
 * target over the files, and over ROUNDS mutations of each. For libFuzzer:
 *     clang -DVN_LIBFUZZER -fsanitize=fuzzer,address -Isrc -Itests tests/fuzz_fastx.c ... */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "drip.h"
#include "fastx.h"
#include "fuzz.h"
#include "tok.h"

struct outcome {
    int rc;
    uint64_t hash;
    struct vn_error err;
};

static void outcome_of(const uint8_t *data, size_t n, size_t step, struct outcome *o) {
    struct vn_fastx *f;
    struct vn_record r;
    struct vn_buf tokens = {0};
    memset(o, 0, sizeof *o);
    o->rc = vn_fastx_open(drip(data, n, step), &f, &o->err);
    if (o->rc != VN_OK)
        return;
    while ((o->rc = vn_fastx_next(f, &r, &o->err)) > 0) {
        struct vn_error err = {0};
        int64_t unknown = 0, length = vn_tok_esm2_length(r.seq, r.seq_len);
        tokens.len = 0;
        int64_t k = vn_tok_esm2(r.seq, r.seq_len, SIZE_MAX, &tokens, &unknown, &err);
        REQUIRE(k == (r.seq_len ? length + 2 : 0) && unknown <= length);
        REQUIRE(!memchr(r.id, 0, r.id_len));
        o->hash = mix(mix(o->hash, r.id, r.id_len), r.seq, r.seq_len);
        o->hash = mix(o->hash, &r.byte, sizeof r.byte);
    }
    vn_buf_release(&tokens);
    vn_fastx_close(f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n) {
    struct outcome whole, cut;
    /* what a decoder yields before it meets the damage depends on how it is fed */
    bool packed = n && (data[0] == 0x1f || data[0] == 0x28 || data[0] >> 4 == 5);
    outcome_of(data, n, SIZE_MAX, &whole);
    REQUIRE(whole.rc == 0 || (whole.rc == VN_EDATA && whole.err.msg[0]));
    for (size_t step = 1; step < 64; step = step * 3 + 1) {
        outcome_of(data, n, step, &cut);
        REQUIRE(cut.rc == whole.rc);
        REQUIRE(cut.hash == whole.hash || (packed && whole.rc));
        REQUIRE(!strcmp(cut.err.msg, whole.err.msg) || packed);
    }
    return 0;
}

#ifndef VN_LIBFUZZER
#include "mutate.h"

static size_t change(uint8_t *p, size_t n, size_t cap) {
    static const char tricky[] = ">@+\n\r<mask> \t\0I~-*5\xff\xc3\x1f\x8b";
    return mutate_text(p, n, cap, tricky, sizeof tricky - 1);
}

int main(int argc, char **argv) {
    return mutate_files(argc, argv, change);
}
#endif
