/* SHA-256 against the vectors of FIPS 180-4 and against every way of cutting the input.
 */
#include "check.h"
#include "sha256.h"

static void (*const inits[2])(struct vn_sha256 *) = {vn_sha256_init,
                                                     vn_sha256_init_portable};

static void digest(int which, const void *p, size_t n, size_t step, char out[65]) {
    struct vn_sha256 s;
    inits[which](&s);
    for (size_t at = 0; at < n; at += step)
        vn_sha256_update(&s, (const char *)p + at, n - at < step ? n - at : step);
    vn_sha256_final(&s, out);
}

static void vectors(void) {
    static const struct {
        const char *text, *hex;
    } known[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnop"
         "qklmn"
         "opqrlmnopqrsmnopqrstnopqrstu",
         "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"}};
    char out[65];
    for (int which = 0; which < 2; which++)
        for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
            digest(which, known[i].text, strlen(known[i].text), 1000, out);
            CHECK_STR(out, known[i].hex);
        }
}

static void million(void) {
    char *a = malloc(1000000), out[65];
    memset(a, 'a', 1000000);
    for (int which = 0; which < 2; which++) {
        digest(which, a, 1000000, 999, out);
        CHECK_STR(out,
                  "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }
    free(a);
}

/* All lengths around two blocks, all step widths: both implementations, whole and cut. */
static void pieces(void) {
    uint8_t data[200];
    char whole[65], cut[65];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (uint8_t)(i * 37 + (i >> 3));
    for (size_t n = 0; n <= sizeof data; n++) {
        digest(1, data, n, 1000, whole);
        for (size_t step = 1; step <= 130; step += 7)
            for (int which = 0; which < 2; which++) {
                digest(which, data, n, step, cut);
                CHECK_STR(cut, whole);
            }
    }
}

static void instructions(void) {
    if (!vn_sha256_accelerated())
        SKIP("this processor has no SHA instructions");
    struct vn_sha256 a, b;
    vn_sha256_init(&a);
    vn_sha256_init_portable(&b);
    CHECK(a.blocks != b.blocks);
}

int main(void) {
    TEST(vectors);
    TEST(million);
    TEST(pieces);
    TEST(instructions);
    return check_done();
}
