/* Digests of files and what is kept of them: right whatever happened to the file or to the
 * cache, held against sha256sum. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cache.h"
#include "check.h"
#include "digest.h"
#include "mem.h"
#include "model.h"

#define LARGE (VN_DIGEST_SMALL + 12345)

static void put(const char *path, size_t n, unsigned seed) {
    FILE *f = fopen(path, "r+");
    f = f ? f : fopen(path, "w");
    for (size_t i = 0; i < n; i += 64) {
        char line[65];
        snprintf(line, sizeof line, "%063u\n", seed = seed * 1664525 + 1013904223);
        fwrite(line, 1, n - i < 64 ? n - i : 64, f);
    }
    fclose(f);
}

static void sha256sum(const char *path, char out[65]) {
    char command[256];
    snprintf(command, sizeof command, "sha256sum <%s", path);
    FILE *f = popen(command, "r");
    if (!f || !fgets(out, 65, f))
        out[0] = 0;
    if (f)
        pclose(f);
}

/* The digest of a file, mapped as safetensors.c does it; whether it was cached. */
static bool digest(const char *path, bool use_cache, char hex[65]) {
    struct vn_digest_file f = {.path = path};
    struct vn_digest *d;
    struct vn_error err;
    struct vn_buf all = {0};
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0 && fstat(fd, &f.identity) == 0);
    f.size = (size_t)f.identity.st_size;
    CHECK_INT(vn_buf_resize(&all, f.size, &err), VN_OK);
    CHECK_INT(read(fd, all.data, f.size), f.size);
    close(fd);
    f.data = all.data;
    CHECK_INT(vn_digest_begin(&f, 1, use_cache, &d, &err), VN_OK);
    vn_digest_end(d);
    vn_buf_release(&all);
    memcpy(hex, f.hex, 65);
    return f.cached;
}

/* Whether it is what sha256sum says, and whether the cache knew it. */
static void expect(int line, const char *path, bool cached) {
    char hex[65], wanted[65];
    bool was = digest(path, true, hex);
    sha256sum(path, wanted);
    if (strcmp(hex, wanted) || was != cached)
        printf("# line %d:\n", line);
    CHECK_STR(hex, wanted);
    CHECK_INT(was, cached);
}
#define EXPECT(path, cached) expect(__LINE__, path, cached)

static void entry_name(const char *path, char name[64]) {
    struct stat st;
    CHECK(stat(path, &st) == 0);
    snprintf(name, 64, "sha256-%llx-%llx", (unsigned long long)st.st_dev,
             (unsigned long long)st.st_ino);
}

static void entry_path(const char *path, char out[256]) {
    char name[64];
    entry_name(path, name);
    snprintf(out, 256, "%s/vn/%s", getenv("XDG_CACHE_HOME"), name);
}

static bool exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

static void use_cache(const char *place) {
    char here[4096], path[8192];
    CHECK(getcwd(here, sizeof here) != NULL);
    snprintf(path, sizeof path, "%s/%s", here, place);
    setenv("XDG_CACHE_HOME", path, 1);
}

/* What was written just now may be written again unseen. */
static void racy(void) {
    char entry[256];
    EXPECT("a", false);
    EXPECT("a", false);
    entry_path("a", entry);
    CHECK(!exists(entry));
}

static void kept(void) {
    EXPECT("a", false);
    EXPECT("a", true);
    EXPECT("a", true);
    EXPECT("small", false);
    EXPECT("small", false);
}

static void changed(void) {
    struct stat st;
    CHECK(stat("a", &st) == 0);
    put("a", LARGE, 77); /* in place, the same size, and the time set back */
    struct timespec times[2] = {st.st_atim, st.st_mtim};
    CHECK(utimensat(AT_FDCWD, "a", times, 0) == 0);
    EXPECT("a", false);
    EXPECT("a", false);
    EXPECT("b", false);
    EXPECT("b", true);
    CHECK(utimensat(AT_FDCWD, "b", NULL, 0) == 0); /* touched */
    EXPECT("b", false);
    CHECK(rename("c", "b") == 0); /* another file of that name */
    EXPECT("b", false);
}

/* No byte of an entry may differ. */
static void damaged(void) {
    char entry[256], good[1024], bad[1024];
    EXPECT("d", false);
    entry_path("d", entry);
    FILE *f = fopen(entry, "r");
    CHECK(f != NULL);
    if (!f)
        return;
    size_t n = fread(good, 1, sizeof good, f);
    fclose(f);
    CHECK(n > 100 && n < sizeof good);
    for (size_t i = 0; i <= n; i += i < 8 || i + 8 > n ? 1 : 7) {
        memcpy(bad, good, n);
        bad[i] = (char)(bad[i] ^ 1); /* i = n: a byte too many */
        f = fopen(entry, "w");
        fwrite(bad, 1, i == n ? n + 1 : n, f);
        fclose(f);
        EXPECT("d", false);
        EXPECT("d", true);
        CHECK(truncate(entry, (off_t)i) == 0 || i == n);
        EXPECT("d", i == n);
    }
}

/* An entry that says something else, and is well formed. */
static void plant(const char *path, const char *hex) {
    char name[64], entry[1024];
    entry_name(path, name);
    int64_t n = vn_cache_read(name, entry, sizeof entry);
    CHECK(n > 65);
    if (n <= 65)
        return;
    memcpy(entry + n - 65, hex, 64);
    vn_cache_write(name, entry, (size_t)n);
}

static const char other[] = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

static void read_again(void) {
    char hex[65], wanted[65];
    EXPECT("d", true);
    plant("d", other);
    CHECK(digest("d", true, hex));
    CHECK_STR(hex, other); /* so it is the entry that is believed */
    CHECK(!digest("d", false, hex));
    sha256sum("d", wanted);
    CHECK_STR(hex, wanted);
    EXPECT("d", true); /* and put right by that */
    plant("d", "00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff");
    EXPECT("d", false);
}

static void of_another_file(void) {
    char d[64], e[64], entry[1024];
    EXPECT("e", false);
    entry_name("d", d);
    entry_name("e", e);
    int64_t n = vn_cache_read(d, entry, sizeof entry);
    CHECK(n > 0);
    vn_cache_write(e, entry, (size_t)(n > 0 ? n : 0));
    EXPECT("e", false);
    EXPECT("e", true);
}

static void in_the_way(void) {
    char entry[256];
    entry_path("d", entry);
    CHECK(unlink(entry) == 0 && mkfifo(entry, 0600) == 0);
    EXPECT("d", false); /* does not wait for a writer, and replaces it */
    EXPECT("d", true);
    CHECK(rename(entry, "elsewhere") == 0);
    char target[4200], here[4096];
    snprintf(target, sizeof target, "%s/elsewhere", getcwd(here, sizeof here));
    CHECK(symlink(target, entry) == 0);
    EXPECT("d", false);
    CHECK(unlink(entry) == 0 && mkdir(entry, 0700) == 0);
    EXPECT("d", false);
    EXPECT("d", false);
    CHECK(rmdir(entry) == 0);
}

static void no_place(void) {
    setenv("XDG_CACHE_HOME", "/dev/null/x", 1);
    EXPECT("d", false);
    EXPECT("d", false);
    unsetenv("XDG_CACHE_HOME");
    unsetenv("HOME");
    EXPECT("d", false);
    EXPECT("d", false);
    setenv("XDG_CACHE_HOME", "relative", 1);
    setenv("HOME", "", 1);
    EXPECT("d", false);
    CHECK(!exists("relative"));
    char here[4096];
    setenv("HOME", getcwd(here, sizeof here), 1);
    EXPECT("d", false);
    EXPECT("d", true);
    CHECK(exists(".cache/vn"));
    struct stat st;
    CHECK(stat(".cache/vn", &st) == 0 && (st.st_mode & 0777) == 0700);
    use_cache("cache");
}

static void several(void) {
    static const char *const names[] = {"d", "small", "e", "d"};
    struct vn_digest_file files[4];
    struct vn_buf all[4] = {{0}};
    struct vn_digest *d;
    struct vn_error err;
    char wanted[65];
    memset(files, 0, sizeof files);
    for (int i = 0; i < 4; i++) {
        int fd = open(names[i], O_RDONLY);
        CHECK(fd >= 0 && fstat(fd, &files[i].identity) == 0);
        files[i].path = names[i];
        files[i].size = (size_t)files[i].identity.st_size;
        CHECK_INT(vn_buf_resize(&all[i], files[i].size, &err), VN_OK);
        CHECK_INT(read(fd, all[i].data, files[i].size), files[i].size);
        close(fd);
        files[i].data = all[i].data;
    }
    for (int round = 0; round < 20; round++) { /* stopped wherever it is */
        CHECK_INT(vn_digest_begin(files, 4, false, &d, &err), VN_OK);
        vn_digest_cancel(d);
    }
    CHECK_INT(vn_digest_begin(files, 4, false, &d, &err), VN_OK);
    vn_digest_end(d);
    for (int i = 0; i < 4; i++) {
        sha256sum(names[i], wanted);
        CHECK_STR(files[i].hex, wanted);
        vn_buf_release(&all[i]);
    }
    vn_digest_cancel(NULL);
}

/* The digest of a model may come from the cache; that of `vn-model verify` does not. */
static void of_a_model(void) {
    struct vn_model *m;
    struct vn_error err;
    char wanted[65];
    if (vn_model_open("model", &m, &err) != VN_OK) {
        CHECK_STR(err.msg, "");
        return;
    }
    sha256sum("model/model.safetensors", wanted);
    CHECK_STR(vn_model_sha256(m, false, &err), wanted);
    CHECK(!vn_tensors_sha256_cached(m->tensors));
    vn_model_close(m);
    plant("model/model.safetensors", other);
    CHECK_INT(vn_model_open("model", &m, &err), VN_OK);
    CHECK_STR(vn_model_sha256(m, false, &err), other);
    CHECK(vn_tensors_sha256_cached(m->tensors));
    CHECK(system("vn-model info model | grep -q 00112233") == 0);
    CHECK(system("vn-model verify model >verified") == 0);
    CHECK(system("grep -q 00112233 verified") != 0);
    CHECK_STR(vn_model_sha256(m, true, &err), wanted);
    CHECK_STR(vn_model_sha256(m, false, &err), wanted);
    vn_model_close(m);
    CHECK_INT(vn_model_open("model", &m, &err), VN_OK);
    vn_model_close(m); /* nobody asked */
}

int main(void) {
    use_cache("cache");
    static const char *const names[] = {"b", "c", "d", "e"};
    put("a", LARGE, 1);
    put("small", VN_DIGEST_SMALL - 1, 3);
    for (unsigned i = 0; i < 4; i++)
        put(names[i], LARGE + i, 10 + i);
    bool model = system("\"$B\"/tests/mkmodel --layers 3 --width 320 --heads 20 model") == 0;
    TEST(racy);
    sleep(4);
    TEST(kept);
    TEST(changed);
    TEST(damaged);
    TEST(read_again);
    TEST(of_another_file);
    TEST(in_the_way);
    TEST(no_place);
    TEST(several);
    CHECK(model);
    TEST(of_a_model);
    return check_done();
}
