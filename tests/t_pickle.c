/* The pickle reader: values of all protocols, and every way to be refused. */
#include <unistd.h>

#include "check.h"
#include "pickle.h"

static bool allowed(const char *name) {
    return !strcmp(name, "good.Class") || !strcmp(name, "collections.OrderedDict");
}

static struct vn_error err;

/* A string literal with its NUL bytes, without the last one. */
#define P(s) (const uint8_t *)(s), sizeof(s) - 1

static struct vn_pickle *load(const uint8_t *p, size_t n) {
    struct vn_pickle *t;
    err.msg[0] = 0;
    int rc = vn_pickle_read(p, n, allowed, &t, &err);
    CHECK(rc == VN_OK ? t != NULL : rc == VN_EDATA && !t);
    return t;
}

static void refuses(const uint8_t *p, size_t n, const char *message) {
    struct vn_pickle *t = load(p, n);
    if (t || !strstr(err.msg, message))
        printf("# '%s' lacks '%s'\n", err.msg, message);
    CHECK(!t && strstr(err.msg, message));
    vn_pickle_free(t);
}

/* {"a": [1, -2, 2.5, None, True, False], "b": (b"x", "y"), "c": good.Class(3) with state}
 * as protocols 0, 2 and 4 write it. */
static void check_values(const uint8_t *p, size_t n) {
    struct vn_pickle *t = load(p, n);
    if (!t) {
        printf("# %s\n", err.msg);
        CHECK(!"refused");
        return;
    }
    const struct vn_py *a = vn_py_get(t->root, "a"), *b = vn_py_get(t->root, "b"),
                       *c = vn_py_get(t->root, "c");
    CHECK_INT(t->used, n);
    CHECK(a && a->type == VN_PY_LIST && a->n == 6);
    CHECK(a->items[0]->type == VN_PY_INT && a->items[0]->i == 1 && a->items[1]->i == -2);
    CHECK(a->items[2]->type == VN_PY_FLOAT && a->items[2]->f == 2.5);
    CHECK(a->items[3]->type == VN_PY_NONE);
    CHECK(a->items[4]->type == VN_PY_BOOL && a->items[4]->i == 1 && a->items[5]->i == 0);
    CHECK(b && b->type == VN_PY_TUPLE && b->n == 2 && !strcmp(b->items[1]->text, "y"));
    CHECK(vn_py_is(c, "good.Class") && vn_py_is(c, "*.Class") && !vn_py_is(c, "*.class"));
    CHECK(c && c->args->n == 1 && c->args->items[0]->i == 3);
    CHECK(c && vn_py_get(c->state, "k") && vn_py_get(c->state, "k")->i == 300);
    CHECK(!vn_py_get(t->root, "d") && !vn_py_get(a, "a") && !vn_py_get(NULL, "a"));
    vn_pickle_free(t);
}

static void protocols(void) {
    check_values(
        P("(dp0\nS'a'\np1\n(lp2\nI1\naI-2\naF2.5\naNaI01\naI00\nasVb\n(S\"x\"\nVy\ntp3\n"
          "sS'c'\ncgood\nClass\n(I3\ntR(dS'k'\nL300L\nsbs."));
    check_values(P(
        "\x80\x02}q\x00(X\x01\0\0\0aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x04\0\0\0\0\0\0N"
        "\x88\x89"
        "eX\x01\0\0\0b(U\x01xX\x01\0\0\0ytX\x01\0\0\0c"
        "cgood\nClass\nK\x03\x85\x81}X\x01\0\0\0kM\x2c\x01sbu."));
    check_values(P("\x80\x04\x95\x49\0\0\0\0\0\0\0}\x94(\x8c\x01"
                   "a](\x8a\x01\x01\x8a\x01\xfeG@\x04\0\0\0\0\0\0N\x88\x89"
                   "e\x8c\x01"
                   "bC\x01x\x8c\x01y\x86\x8c\x01"
                   "c\x8c\x04good\x8c\x05"
                   "Class\x93K\x03\x85\x81}\x8c\x01k\x8b\x02\0\0\0\x2c\x01sbu."));
}

static void more_values(void) {
    struct vn_pickle *t = load(P("\x80\x05\x96\x02\0\0\0\0\0\0\0hi."));
    CHECK(t && t->root->type == VN_PY_BYTES && t->root->n == 2);
    vn_pickle_free(t);
    t = load(P("\x80\x04\x8f(K\x01K\x02\x90."));
    CHECK(t && t->root->type == VN_PY_SET && t->root->n == 2);
    vn_pickle_free(t);
    t = load(P("(K\x01K\x02\x91."));
    CHECK(t && t->root->type == VN_PY_SET && t->root->n == 2);
    vn_pickle_free(t);
    /* memo by MEMOIZE counts what was put; a list that holds itself */
    t = load(P("\x80\x04]\x94K\x05\x94h\x00"
               "a0h\x01."));
    CHECK(!t); /* an integer has no items */
    t = load(P("\x80\x04]\x94h\x00"
               "a."));
    CHECK(t && t->root->n == 1 && t->root->items[0] == t->root);
    vn_pickle_free(t);
    /* the second of two equal keys counts, as in a dict */
    t = load(P("}(U\x01xK\x01U\x01xK\x02u."));
    CHECK(t && vn_py_get(t->root, "x")->i == 2);
    vn_pickle_free(t);
    /* an OrderedDict is filled like a dict, and given a state */
    t = load(P("ccollections\nOrderedDict\n)R(U\x01xK\x01u}b."));
    CHECK(t && vn_py_get(t->root, "x")->i == 1 && t->root->state);
    vn_pickle_free(t);
    /* persistent ids are kept; a module's is its class */
    t = load(P("(U\x07storageK\x01tQ."));
    CHECK(t && t->root->type == VN_PY_PERSISTENT && t->n_persistent == 1 &&
          t->root->args->items[1]->i == 1);
    vn_pickle_free(t);
    t = load(P("(U\x06modulecgood\nClass\nU\x01xtQ)\x81."));
    CHECK(t && vn_py_is(t->root, "good.Class") && t->n_persistent == 0);
    vn_pickle_free(t);
    t = load(P("K\x01.trailing"));
    CHECK(t && t->used == 3);
    vn_pickle_free(t);
    t = load(P("(K\x01K\x02"
               "1K\x07K\x08"
               "20."));
    CHECK(!t); /* two values are left */
    t = load(P("(K\x01K\x02"
               "1K\x07K\x08"
               "200."));
    CHECK(t && t->root->i == 7);
    vn_pickle_free(t);
}

/* All the ways that call os.system; the file that it would make must not appear. */
#define DO "touch executed"
static void attacks(void) {
    refuses(P("cos\nsystem\n(S'" DO "'\ntR."), "'os.system' at byte 0: not allowed");
    refuses(P("\x80\x02"
              "cposix\nsystem\nX\x0e\0\0\0" DO "\x85R."),
            "'posix.system' at byte 2");
    refuses(P("\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0e" DO "\x85R."),
            "'os.system' at byte 14");
    refuses(P("(S'" DO "'\nios\nsystem\n."), "opcode INST at byte");
    refuses(P("(cgood\nClass\nS'" DO "'\no."), "opcode OBJ at byte");
    refuses(P("(cos\nsystem\nS'" DO "'\no."), "'os.system' at byte 1");
    refuses(P("\x80\x02\x82\x01(S'" DO "'\ntR."), "opcode EXT1 at byte 2");
    refuses(P("\x80\x02\x83\x01\x00."), "opcode EXT2 at byte 2");
    refuses(P("\x80\x02\x84\x01\x00\x00\x00."), "opcode EXT4 at byte 2");
    refuses(P("cgood\nClass\n)}\x92."), "opcode NEWOBJ_EX at byte");
    refuses(P("c__builtin__\neval\n(S'1'\ntR."), "'__builtin__.eval'");
    refuses(P("cbuiltins\ngetattr\n(S'1'\ntR."), "'builtins.getattr'");
    refuses(P("cgood\nClass.__init__\n."), "'good.Class.__init__'");
    refuses(P("ccollections\nOrderedDict\n}b."), "a state is given to what is no object");
    refuses(P("}cos\nsystem\n."), "'os.system'");
    refuses(P("P1\n."), "opcode PERSID");
    refuses(P("\x97."), "opcode NEXT_BUFFER");
    refuses(P("\x98."), "opcode READONLY_BUFFER");
    refuses(P("\xff."), "unknown opcode 0xff at byte 0");
    CHECK(access("executed", F_OK) != 0);
}

static void damage(void) {
    refuses(P(""), "at byte 0: it ends too early");
    refuses(P("."), "other than one value");
    refuses(P("K\x01K\x02."), "other than one value");
    refuses(P("(K\x01."), "other than one value");
    refuses(P("\x80\x06K\x01."), "unknown protocol");
    refuses(P("\x95\x09\0\0\0\0\0\0\0K\x01."), "frame is longer");
    refuses(P("a."), "stack is empty");
    refuses(P("(a."), "stack is empty");
    refuses(P("](K\x01"
              "a."),
            "stack is empty"); /* not below the mark */
    refuses(P("K\x01K\x02"
              "a."),
            "items are added to what has none");
    refuses(P("]K\x01K\x02s."), "items are added to what has none");
    refuses(P("}(K\x01u."), "a key has no value");
    refuses(P("(K\x01"
              "d."),
            "a key has no value");
    refuses(P("u."), "no mark");
    refuses(P("(u."), "stack is empty");
    refuses(P("t."), "no mark");
    refuses(P("1."), "no mark");
    refuses(P("0."), "stack is empty");
    refuses(P("2."), "stack is empty");
    refuses(P("\x85."), "stack is empty");
    refuses(P("K\x01\x87."), "stack is empty");
    refuses(P("h\x00."), "never set");
    refuses(P("K\x01q\x05h\x04."), "never set");
    refuses(P("K\x01r\xff\xff\xff\xff."), "memo index is too large");
    refuses(P("j\xff\xff\xff\xff."), "never set");
    refuses(P("K\x01p-1\n."), "not a number");
    refuses(P("gx\n."), "not a number");
    refuses(P("q\x00."), "stack is empty");
    refuses(P("I12345678901234567890\n."), "not a 64-bit integer");
    refuses(P("I 1\n."), "not a 64-bit integer");
    refuses(P("I\n."), "not a 64-bit integer");
    refuses(P("L1x\n."), "not a 64-bit integer");
    refuses(P("F\n."), "not a number");
    refuses(P("F1.5x\n."), "not a number");
    refuses(P("I1"), "no end");
    refuses(P("Sx\n."), "no quotes");
    refuses(P("S'\n."), "no quotes");
    refuses(P("S'a\\n'\n."), "escapes");
    refuses(P("\x8a\x09\0\0\0\0\0\0\0\0\x01."), "more than 64 bits");
    refuses(P("\x8b\xff\xff\xff\xff."), "ends too early");
    refuses(P("X\xff\xff\xff\xff."), "ends too early");
    refuses(P("\x8d\xff\xff\xff\xff\xff\xff\xff\xff."), "ends too early");
    refuses(P("\x8e\0\0\0\0\0\0\0\x80."), "ends too early");
    refuses(P("K\x01K\x02R."), "something else than a class");
    refuses(P("cgood\nClass\nK\x02\x81."), "something else than a class");
    refuses(P("K\x01K\x01\x93."), "a class has no name");
    refuses(P("U\x03"
              "a\0bU\x01"
              "c\x93."),
            "a class has no name");
    refuses(P("K\x01Q."), "a persistent id is not");
    refuses(P(")Q."), "a persistent id is not");
    refuses(P("cgood"), "no end");
}

/* Every prefix of a good pickle is refused, and every flipped bit is survived. */
static void mutilated(void) {
    static const char good[] =
        "\x80\x02}q\x00(X\x01\0\0\0aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@"
        "\x04\0\0\0\0\0\0N\x88"
        "\x89"
        "eX\x01\0\0\0b(U\x01xX\x01\0\0\0yt\x8c\x01"
        "ccgood\nClass\nK\x03\x85\x81}"
        "X\x01\0\0\0kM\x2c\x01sbX\x01\0\0\0d(U\x07storagecgood\nClass\ntQu.";
    const size_t n = sizeof good - 1;
    uint8_t copy[sizeof good];
    struct vn_pickle *t = load((const uint8_t *)good, n);
    CHECK(t);
    vn_pickle_free(t);
    for (size_t i = 0; i < n; i++)
        CHECK(!load((const uint8_t *)good, i));
    for (size_t bit = 0; bit < 8 * n; bit++) {
        memcpy(copy, good, n);
        copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
        vn_pickle_free(load(copy, n));
    }
}

/* Deep nesting, a doubling graph and a flood of values: bounded memory, no recursion. */
static void bombs(void) {
    const size_t n = (size_t)12 << 20;
    uint8_t *p = malloc(n);
    memset(p, ']', n); /* 12 M lists */
    refuses(p, n, "more than 4194304 values");
    for (size_t i = 0; i < n; i++)
        p[i] = '(';
    refuses(p, n, "ends too early");
    size_t at = 0, depth = 1000000;
    memset(p, ']', depth);
    memset(p + depth, 'a', depth - 1); /* [[[[...]]]] */
    p[2 * depth - 1] = '.';
    struct vn_pickle *t = load(p, 2 * depth);
    CHECK(t && t->root->n == 1);
    vn_pickle_free(t);
    p[at++] = ']';
    for (int i = 0; i < 60; i++) { /* [[x, x], [x, x]] ... 2^60 leaves */
        uint8_t level[] = {'q', 0, '0', ']', '(', 'h', 0, 'h', 0, 'e'};
        memcpy(p + at, level, sizeof level);
        at += sizeof level;
    }
    p[at++] = '.';
    t = load(p, at);
    CHECK(t && t->root->n == 2 && t->root->items[0] == t->root->items[1]);
    vn_pickle_free(t);
    free(p);
}

int main(void) {
    TEST(protocols);
    TEST(more_values);
    TEST(attacks);
    TEST(damage);
    TEST(mutilated);
    TEST(bombs);
    return check_done();
}
