/* check.h - what unit programs share. A program is
 *
 *     static void adds(void) { CHECK(1 + 1 == 2); CHECK_INT(add(1, 2), 3); }
 *     int main(void) { TEST(adds); return check_done(); }
 *
 * Each TEST prints "ok NAME", "not ok NAME" or "skip NAME # why" on stdout, which run.sh
 * counts; the exit status is 1 if any failed. */
#ifndef VN_CHECK_H
#define VN_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_failed_here, check_failures, check_count;
static const char *check_skip_why;

#define CHECK(cond) \
    do { \
        if (!(cond)) \
            check_fail(__FILE__, __LINE__, #cond); \
    } while (0)
#define CHECK_INT(a, b) check_int(__FILE__, __LINE__, #a, (long long)(a), (long long)(b))
#define CHECK_STR(a, b) check_str(__FILE__, __LINE__, #a, (a), (b))
#define SKIP(why) \
    do { \
        check_skip_why = (why); \
        return; \
    } while (0)
#define TEST(fn) check_run(#fn, fn)

__attribute__((unused)) static void check_fail(const char *file, int line, const char *what) {
    if (check_failed_here++ < 20)
        printf("# %s:%d: %s\n", file, line, what);
}
__attribute__((unused)) static void check_int(const char *file, int line, const char *what,
                                              long long a, long long b) {
    if (a != b && check_failed_here++ < 20)
        printf("# %s:%d: %s is %lld, expected %lld\n", file, line, what, a, b);
}
__attribute__((unused)) static void check_str(const char *file, int line, const char *what,
                                              const char *a, const char *b) {
    if ((!a || !b || strcmp(a, b)) && check_failed_here++ < 20)
        printf("# %s:%d: %s is '%s', expected '%s'\n", file, line, what, a ? a : "(null)",
               b ? b : "(null)");
}
__attribute__((unused)) static void check_run(const char *name, void (*fn)(void)) {
    check_failed_here = 0;
    check_skip_why = NULL;
    fn();
    check_count++;
    if (check_failed_here) {
        check_failures++;
        printf("not ok %s\n", name);
    } else if (check_skip_why) {
        printf("skip %s # %s\n", name, check_skip_why);
    } else {
        printf("ok %s\n", name);
    }
    fflush(stdout);
}
__attribute__((unused)) static int check_done(void) {
    return check_failures || !check_count;
}

#endif
