/* Plans come back as they were kept, for their own key, and only whole. */
#include <unistd.h>

#include "cache.h"
#include "check.h"
#include "plans.h"

static struct vn_plan kept[VN_MAX_PLANS], got[VN_MAX_PLANS];
static const char key[] = "NVIDIA H200, 132 multiprocessors, driver 13000, cuBLASLt 130100";

static void fill(void) {
    uint64_t x = 1;
    for (int i = 0; i < VN_MAX_PLANS; i++) {
        kept[i] = (struct vn_plan){.n_out = i ? 7680 + i : INT64_MAX, .n_in = 2560,
                                   .type = i % 3, .variant = i ? i % 2 : -2147483647};
        for (int k = 0; k < 8; k++)
            kept[i].algorithm[k] = i ? x = x * 6364136223846793005u + 1 : UINT64_MAX;
    }
}

static void expect(const char *k, int n) {
    memset(got, 0xa5, sizeof got);
    CHECK_INT(vn_plans_read(k, got), n);
    for (int i = 0; i < n; i++)
        CHECK(got[i].n_out == kept[i].n_out && got[i].n_in == kept[i].n_in &&
              got[i].type == kept[i].type && got[i].variant == kept[i].variant &&
              !memcmp(got[i].algorithm, kept[i].algorithm, sizeof kept[i].algorithm));
}

static void come_back(void) {
    expect(key, 0);
    static const int counts[] = {0, 1, 4, VN_MAX_PLANS, 2};
    for (int i = 0; i < 5; i++) {
        vn_plans_write(key, kept, counts[i]);
        expect(key, counts[i]);
    }
    vn_plans_write(key, kept, VN_MAX_PLANS + 1);
    expect(key, 2);
}

/* Gives each entry the name of another: there are two. */
static void swap_entries(void) {
    CHECK(system("cd cache/vn && set -- plans-* && [ $# = 2 ] && mv $1 t && mv $2 $1 && "
                 "mv t $2") == 0);
}

static void for_their_key(void) {
    expect("another", 0);
    expect("", 0);
    vn_plans_write("two\nlines", kept, 1);
    expect("two\nlines", 0);
    char alike[sizeof key]; /* as long as the key: only its text tells them apart */
    memcpy(alike, key, sizeof key);
    alike[7] = 'h';
    vn_plans_write(alike, kept, 3);
    expect(alike, 3);
    expect(key, 2);
    swap_entries();
    expect(alike, 0);
    expect(key, 0);
    swap_entries();
    expect(key, 2);
}

static void of_any_length(void) {
    char longest[600];
    memset(longest, 'k', sizeof longest);
    longest[511] = 0;
    vn_plans_write(longest, kept, VN_MAX_PLANS);
    expect(longest, VN_MAX_PLANS);
    longest[511] = 'k';
    longest[512] = 0;
    vn_plans_write(longest, kept, 1);
    expect(longest, 0);
}

/* Well formed as an entry, but no plans. */
static void only_whole(void) {
    static const char head[] = "vn plans 1\n";
    static const char *const lines[] = {
        "1 2 3 4 0 1 2 3 4 5 6 7\n", /* the only good one */
        "1 2 3 4 0 1 2 3 4 5 6 7",   "1 2 3 4 0 1 2 3 4 5 6\n", "1 2 3 4 0 1 2 3 4 5 6 7 8\n",
        "\n",                        "x\n",                     "1 2 3 4 0 1 2 3 4 5 6 7g\n",
        "1 2 3 4 0 1 2 3 4 5 6 7\n1 2\n"};
    char name[32], text[1024];
    vn_plans_write(key, kept, 1);
    FILE *f = popen("cd cache/vn && grep -l \"NVIDIA H200\" plans-*", "r");
    CHECK(f && fscanf(f, "%31s", name) == 1);
    if (f)
        pclose(f);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        int n = snprintf(text, sizeof text, "%s%s\n%s", head, key, lines[i]);
        vn_cache_write(name, text, (size_t)n);
        CHECK_INT(vn_plans_read(key, got), i == 0);
    }
    int n = snprintf(text, sizeof text, "%s%s\n%.200s", head, key, lines[0]);
    text[n - 3] = 0; /* a 0 among them ends nothing early */
    vn_cache_write(name, text, (size_t)n);
    CHECK_INT(vn_plans_read(key, got), 0);
}

int main(void) {
    char here[4000], path[4096];
    if (!getcwd(here, sizeof here))
        return 1;
    snprintf(path, sizeof path, "%s/cache", here);
    setenv("XDG_CACHE_HOME", path, 1);
    fill();
    TEST(come_back);
    TEST(for_their_key);
    TEST(of_any_length);
    TEST(only_whole);
    return check_done();
}
