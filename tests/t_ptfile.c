/* Torch files: every prefix and many flipped bits of both formats, and real files. */
#include <unistd.h>

#include "check.h"
#include "num.h"
#include "ptfile.h"

static struct vn_error err;

static void make(const char *variant) {
    char command[4096];
    snprintf(command, sizeof command, "python3 %s/mktorch.py %s good.pt", getenv("T"),
             variant);
    if (system(command) != 0)
        CHECK(!"mktorch.py failed");
}

static uint8_t *slurp(size_t *n) {
    static uint8_t bytes[1 << 20];
    FILE *f = fopen("good.pt", "rb");
    *n = f ? fread(bytes, 1, sizeof bytes, f) : 0;
    if (f)
        fclose(f);
    return bytes;
}

static void spit(const uint8_t *p, size_t n) {
    FILE *f = fopen("x.pt", "wb");
    fwrite(p, 1, n, f);
    fclose(f);
}

/* Reads every tensor that the tree holds, to some depth; counts the floats. */
static int64_t read_all(struct vn_ptfile *f, const struct vn_py *v, int depth) {
    struct vn_buf b = {0};
    struct vn_tensor t;
    int64_t n = 0;
    if (!v || depth > 8)
        return 0;
    if (vn_ptfile_is_tensor(v)) {
        if (vn_ptfile_tensor(f, v, &t, &err) == VN_OK &&
            vn_ptfile_read(f, v, &b, &err) == VN_OK) {
            CHECK_INT(b.len, t.bytes);
            n = t.type == VN_F32 ? (int64_t)t.bytes / 4 : 0;
        }
        vn_buf_release(&b);
        return n;
    }
    for (size_t i = 0; i < v->n && v->items; i++)
        n += read_all(f, v->items[i], depth + 1);
    return n + read_all(f, v->state, depth + 1);
}

static bool open_and_read(int64_t *floats) {
    struct vn_ptfile *f;
    int rc = vn_ptfile_open("x.pt", &f, &err);
    CHECK(rc == VN_OK || rc == VN_EDATA);
    if (rc != VN_OK)
        return false;
    *floats = read_all(f, vn_ptfile_root(f), 0);
    vn_ptfile_close(f);
    return true;
}

/* No prefix is taken for a file. Flipped bits are refused or read to something of that
 * size (the older format has no checksum: a flipped weight cannot be told, and a flipped
 * memo index shows one tensor in the place of another). */
static void mutilate(const char *variant) {
    size_t n;
    int64_t floats = 0, whole = 0;
    make(variant);
    uint8_t *p = slurp(&n);
    spit(p, n);
    CHECK(open_and_read(&whole));
    CHECK_INT(whole, 6 * 4 + 6 + 4 * 6 + 2 * 6 + 2);
    for (size_t cut = 0; cut < n; cut += cut < 100 || cut + 100 > n ? 1 : 31) {
        spit(p, cut);
        CHECK(!open_and_read(&floats));
    }
    for (size_t bit = 3; bit < 8 * n; bit += 67) {
        p[bit / 8] ^= (uint8_t)(1 << bit % 8);
        spit(p, n);
        floats = 0;
        if (open_and_read(&floats))
            CHECK(floats <= 10 * whole);
        p[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

static void zip(void) {
    mutilate("head");
}
static void zip_deflated(void) {
    mutilate("deflated");
}
static void older(void) {
    mutilate("legacy");
}

static void not_files(void) {
    struct vn_ptfile *f;
    CHECK_INT(vn_ptfile_open("nothing", &f, &err), VN_ENOINPUT);
    CHECK_INT(vn_ptfile_open(".", &f, &err), VN_ENOINPUT);
    CHECK_INT(vn_ptfile_open("/dev/null", &f, &err), VN_ENOINPUT);
}

/* Pooled vectors as VirNucPro leaves them: 4 records, 768 + 2560 wide. */
static void real_files(void) {
    const char *data = getenv("VN_TEST_DATA");
    struct vn_ptfile *f;
    struct vn_buf b = {0};
    struct vn_tensor t = {0};
    char path[4096];
    snprintf(path, sizeof path,
             "%s/virnucpro/reference_vanilla_output/output_1_merged.pt",
             data ? data : "");
    if (access(path, R_OK) != 0)
        SKIP("no virnucpro/reference_vanilla_output in $VN_TEST_DATA");
    CHECK_INT(vn_ptfile_open(path, &f, &err), VN_OK);
    const struct vn_py *ids = vn_py_get(vn_ptfile_root(f), "ids"),
                       *merged = vn_py_get(vn_ptfile_root(f), "data");
    CHECK(ids && ids->n == 4 &&
          !strcmp(ids->items[0]->text, "synthetic_seq_1_chunk_1R1"));
    CHECK(merged && vn_ptfile_tensor(f, merged, &t, &err) == VN_OK);
    CHECK(t.n_dims == 2 && t.shape[0] == 4 && t.shape[1] == 3328 && t.type == VN_F32);
    CHECK_INT(vn_ptfile_read(f, merged, &b, &err), VN_OK);
    float merged_esm[2560]; /* of record 0, behind the 768 of DNABERT-S */
    memcpy(merged_esm, b.data + 4 * 768, sizeof merged_esm);
    vn_ptfile_close(f);
    snprintf(path, sizeof path, "%s/virnucpro/reference_vanilla_output/output_1_ESM.pt",
             data);
    CHECK_INT(vn_ptfile_open(path, &f, &err), VN_OK);
    const struct vn_py *names = vn_py_get(vn_ptfile_root(f), "proteins"),
                       *vectors = vn_py_get(vn_ptfile_root(f), "data");
    CHECK(names && vectors && names->n == vectors->n);
    int seen = 0;
    for (size_t i = 0; names && i < names->n; i++)
        if (!strcmp(names->items[i]->text, "synthetic_seq_1_chunk_1R1")) {
            CHECK_INT(vn_ptfile_read(f, vectors->items[i], &b, &err), VN_OK);
            CHECK(b.len == sizeof merged_esm && !memcmp(b.data, merged_esm, b.len));
            seen++;
        }
    CHECK_INT(seen, 1);
    vn_ptfile_close(f);
    vn_buf_release(&b);
}

int main(void) {
    TEST(zip);
    TEST(zip_deflated);
    TEST(older);
    TEST(not_files);
    TEST(real_files);
    return check_done();
}
