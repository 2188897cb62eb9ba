#include "pickle.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "num.h"
#include "pickle_machine.h"

#define MAX_MEMO ((size_t)4 << 20)

/* ---- values ---------------------------------------------------------------------- */

static int push_int(struct vn_pm *m, enum vn_py_type type, int64_t i) {
    struct vn_py *v = vn_pm_new_node(m, type);
    if (v)
        v->i = i;
    return vn_pm_push(m, v);
}

static int push_float(struct vn_pm *m, double f) {
    struct vn_py *v = vn_pm_new_node(m, VN_PY_FLOAT);
    if (v)
        v->f = f;
    return vn_pm_push(m, v);
}

static int push_text(struct vn_pm *m, enum vn_py_type type, const void *p, size_t n) {
    struct vn_py *v = p ? vn_pm_new_node(m, type) : NULL;
    char *s = v ? vn_pm_take(m, n + 1) : NULL;
    if (!s)
        return m->err->status;
    memcpy(s, p, n);
    v->text = s;
    v->n = n;
    return vn_pm_push(m, v);
}

static int push_counted(struct vn_pm *m, enum vn_py_type type, int width) {
    uint64_t n = vn_pm_length(m, width);
    return push_text(m, type, vn_pm_bytes(m, n), (size_t)n);
}

/* LONG1, LONG4: two's complement, little-endian, n bytes. */
static int push_long(struct vn_pm *m, int width) {
    uint64_t n = vn_pm_length(m, width), v = 0;
    const uint8_t *p = vn_pm_bytes(m, n);
    if (!p)
        return VN_EDATA;
    if (n > 8)
        return vn_pm_damaged(m, "an integer has more than 64 bits");
    for (uint64_t i = 0; i < n; i++)
        v |= (uint64_t)p[i] << 8 * i;
    if (n && n < 8 && p[n - 1] & 0x80)
        v |= UINT64_MAX << 8 * n;
    return push_int(m, VN_PY_INT, (int64_t)v);
}

/* INT and LONG of protocol 0: decimal text; INT writes the booleans as 00 and 01. */
static int push_int_line(struct vn_pm *m, bool is_long) {
    char *s = vn_pm_line(m), *end;
    if (!s)
        return VN_EDATA;
    size_t n = strlen(s);
    if (!is_long && (!strcmp(s, "00") || !strcmp(s, "01")))
        return push_int(m, VN_PY_BOOL, s[1] == '1');
    if (is_long && n && s[n - 1] == 'L')
        s[--n] = 0;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (!n || *end || errno || isspace((unsigned char)*s))
        return vn_pm_damaged(m, "a line is not a 64-bit integer");
    return push_int(m, VN_PY_INT, v);
}

static int push_float_line(struct vn_pm *m) {
    char *s = vn_pm_line(m), *end;
    if (!s)
        return VN_EDATA;
    double f = strtod(s, &end);
    if (!*s || *end || isspace((unsigned char)*s))
        return vn_pm_damaged(m, "a line is not a number");
    return push_float(m, f);
}

static int push_binfloat(struct vn_pm *m) {
    const uint8_t *p = vn_pm_bytes(m, 8);
    if (!p)
        return VN_EDATA;
    uint64_t u = 0; /* big-endian */
    double f;
    for (int i = 0; i < 8; i++)
        u = u << 8 | p[i];
    memcpy(&f, &u, 8);
    return push_float(m, f);
}

/* STRING ('quoted') and UNICODE (plain) of protocol 0; names need no escapes. */
static int push_string_line(struct vn_pm *m, bool quoted) {
    char *s = vn_pm_line(m);
    if (!s)
        return VN_EDATA;
    size_t n = strlen(s);
    if (strchr(s, '\\'))
        return vn_pm_damaged(m, "escapes in strings of protocol 0 are not supported");
    if (quoted && (n < 2 || (*s != '\'' && *s != '"') || s[n - 1] != *s))
        return vn_pm_damaged(m, "a string has no quotes");
    return push_text(m, VN_PY_STRING, s + quoted, n - 2 * quoted);
}

static int push_empty(struct vn_pm *m, enum vn_py_type type) {
    return vn_pm_push(m, vn_pm_new_node(m, type));
}

static int push_items(struct vn_pm *m, enum vn_py_type type, struct vn_py **items,
                      size_t n) {
    struct vn_py *v = vn_pm_new_node(m, type);
    if (v && n) {
        v->items = vn_pm_take(m, n * sizeof *items);
        if (!v->items)
            return VN_EFAIL;
        memcpy(v->items, items, n * sizeof *items);
        v->n = v->cap = n;
    }
    return vn_pm_push(m, v);
}

static int collect(struct vn_pm *m, enum vn_py_type type) {
    struct vn_py **items = NULL;
    size_t n = 0;
    int rc = vn_pm_pop_mark(m, &items, &n);
    if (rc == VN_OK && type == VN_PY_DICT && n % 2)
        rc = vn_pm_damaged(m, "a key has no value");
    return rc == VN_OK ? push_items(m, type, items, n) : rc;
}

static int short_tuple(struct vn_pm *m, size_t n) {
    if (vn_pm_available(m) < n)
        return vn_pm_damaged(m, "the stack is empty");
    m->n_stack -= n;
    return push_items(m, VN_PY_TUPLE, m->stack + m->n_stack, n);
}

/* APPENDS, ADDITEMS, SETITEMS: everything above the mark into what is below it. */
static int extend(struct vn_pm *m, enum vn_py_type type) {
    struct vn_py **items, *v;
    size_t n;
    int rc = vn_pm_pop_mark(m, &items, &n);
    if (rc != VN_OK)
        return rc;
    if (!(v = vn_pm_top(m)))
        return VN_EDATA;
    if (v->type != type && !(type == VN_PY_DICT && v->type == VN_PY_OBJECT))
        return vn_pm_damaged(m, "items are added to what has none");
    if (type == VN_PY_DICT && n % 2)
        return vn_pm_damaged(m, "a key has no value");
    for (size_t i = 0; rc == VN_OK && i < n; i++)
        rc = vn_pm_add_item(m, v, items[i]);
    return rc;
}

/* APPEND, SETITEM: `n` values into what is below them. */
static int extend_one(struct vn_pm *m, enum vn_py_type type, size_t n) {
    if (vn_pm_available(m) < n + 1)
        return vn_pm_damaged(m, "the stack is empty");
    int rc = vn_pm_grow(m, &m->marks, m->n_marks, &m->cap_marks, sizeof *m->marks);
    if (rc != VN_OK)
        return rc;
    m->marks[m->n_marks++] = m->n_stack - n;
    return extend(m, type);
}

/* ---- memo ------------------------------------------------------------------------ */

static int memo_put(struct vn_pm *m, uint64_t i) {
    struct vn_py *v = vn_pm_top(m);
    if (!v)
        return VN_EDATA;
    if (i >= MAX_MEMO)
        return vn_pm_damaged(m, "a memo index is too large");
    if (i >= m->n_memo) {
        size_t want = m->n_memo ? 2 * m->n_memo : 256;
        while (want <= i)
            want *= 2;
        struct vn_py **p = realloc(m->memo, want * sizeof *p);
        if (!p)
            return vn_fail(m->err, VN_EFAIL, "cannot allocate %zu memo slots", want);
        memset(p + m->n_memo, 0, (want - m->n_memo) * sizeof *p);
        m->memo = p;
        m->n_memo = want;
    }
    m->n_memoized += !m->memo[i];
    m->memo[i] = v;
    return VN_OK;
}

static int memo_get(struct vn_pm *m, uint64_t i) {
    if (i >= m->n_memo || !m->memo[i])
        return vn_pm_damaged(m, "a memo index was never set");
    return vn_pm_push(m, m->memo[i]);
}

/* The index of PUT and GET: a decimal line. UINT64_MAX with err set. */
static uint64_t memo_line(struct vn_pm *m) {
    char *s = vn_pm_line(m), *end;
    if (!s)
        return UINT64_MAX;
    unsigned long long v = strtoull(s, &end, 10);
    if (!isdigit((unsigned char)*s) || *end) {
        vn_pm_damaged(m, "a memo index is not a number");
        return UINT64_MAX;
    }
    return v;
}

/* ---- classes and objects --------------------------------------------------------- */

static int push_global(struct vn_pm *m, const char *module, const char *name) {
    size_t n = strlen(module) + strlen(name) + 2;
    struct vn_py *v = vn_pm_new_node(m, VN_PY_GLOBAL);
    char *s = v ? vn_pm_take(m, n) : NULL;
    if (!s)
        return m->err->status;
    snprintf(s, n, "%s.%s", module, name);
    if (!m->allowed(s))
        return vn_fail(m->err, VN_EDATA,
                       "pickle refers to '%.200s' at byte "
                       "%zu: not allowed, nothing was executed",
                       s, m->op_at);
    v->text = s;
    v->n = n - 1;
    return vn_pm_push(m, v);
}

static int global_lines(struct vn_pm *m) {
    const char *module = vn_pm_line(m), *name = module ? vn_pm_line(m) : NULL;
    return name ? push_global(m, module, name) : VN_EDATA;
}

static int stack_global(struct vn_pm *m) {
    struct vn_py *name = vn_pm_pop(m), *module = name ? vn_pm_pop(m) : NULL;
    if (!module)
        return VN_EDATA;
    if (name->type != VN_PY_STRING || module->type != VN_PY_STRING ||
        strlen(name->text) != name->n || strlen(module->text) != module->n)
        return vn_pm_damaged(m, "a class has no name");
    return push_global(m, module->text, name->text);
}

/* REDUCE and NEWOBJ: a class and a tuple of arguments become an object. */
static int make_object(struct vn_pm *m) {
    struct vn_py *args = vn_pm_pop(m), *cls = args ? vn_pm_pop(m) : NULL;
    if (!cls)
        return VN_EDATA;
    if (cls->type != VN_PY_GLOBAL || args->type != VN_PY_TUPLE)
        return vn_pm_damaged(
            m, "an object is made of something else than a class and a tuple");
    struct vn_py *v = vn_pm_new_node(m, VN_PY_OBJECT);
    if (v) {
        v->cls = cls;
        v->args = args;
    }
    return vn_pm_push(m, v);
}

static int build(struct vn_pm *m) {
    struct vn_py *state = vn_pm_pop(m), *v = state ? vn_pm_top(m) : NULL;
    if (!v)
        return VN_EDATA;
    if (v->type != VN_PY_OBJECT)
        return vn_pm_damaged(m, "a state is given to what is no object");
    v->state = state;
    return VN_OK;
}

/* A persistent id. Old torch files name module classes by ('module', class, file,
 * source): of these only the class counts. */
static int persistent(struct vn_pm *m) {
    struct vn_pickle *t = m->tree;
    struct vn_py *id = vn_pm_pop(m);
    if (!id)
        return VN_EDATA;
    if (id->type != VN_PY_TUPLE || id->n < 2 || id->items[0]->type != VN_PY_STRING)
        return vn_pm_damaged(m, "a persistent id is not a tuple that begins with a word");
    if (!strcmp(id->items[0]->text, "module") && id->items[1]->type == VN_PY_GLOBAL)
        return vn_pm_push(m, id->items[1]);
    int rc = vn_pm_grow(m, &t->persistent, t->n_persistent, &t->cap_persistent,
                        sizeof *t->persistent);
    struct vn_py *v = rc == VN_OK ? vn_pm_new_node(m, VN_PY_PERSISTENT) : NULL;
    if (v) {
        v->args = id;
        t->persistent[t->n_persistent++] = v;
    }
    return vn_pm_push(m, v);
}

/* ---- the loop -------------------------------------------------------------------- */

static int refuse(struct vn_pm *m, int op) {
    static const struct {
        int op;
        const char *name;
    } known[] = {{'i', "INST"},       {'o', "OBJ"},          {'P', "PERSID"},
                 {0x82, "EXT1"},      {0x83, "EXT2"},        {0x84, "EXT4"},
                 {0x92, "NEWOBJ_EX"}, {0x97, "NEXT_BUFFER"}, {0x98, "READONLY_BUFFER"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].op == op)
            return vn_fail(m->err, VN_EDATA,
                           "pickle has opcode %s at byte %zu: "
                           "not allowed, nothing was executed",
                           known[i].name, m->op_at);
    return vn_fail(m->err, VN_EDATA, "pickle has the unknown opcode 0x%02x at byte %zu",
                   op, m->op_at);
}

static int protocol(struct vn_pm *m) {
    uint64_t v = vn_pm_length(m, 1);
    return v <= 5            ? VN_OK
           : v == UINT64_MAX ? VN_EDATA
                             : vn_pm_damaged(m, "unknown protocol");
}

/* FRAME announces how many bytes follow; they must be there. */
static int frame(struct vn_pm *m) {
    uint64_t n = vn_pm_length(m, 8);
    if (n == UINT64_MAX)
        return VN_EDATA;
    return n <= m->n - m->at ? VN_OK
                             : vn_pm_damaged(m, "a frame is longer than the data");
}

static int pop_marked(struct vn_pm *m) {
    struct vn_py **items;
    size_t n;
    return vn_pm_pop_mark(m, &items, &n);
}

static int get_or_put(struct vn_pm *m, uint64_t i, int (*fn)(struct vn_pm *, uint64_t)) {
    return i == UINT64_MAX ? VN_EDATA : fn(m, i);
}

/* One opcode but STOP. A table of the format: it is as long as the format is wide. */
static int step(struct vn_pm *m, int op) {
    const uint8_t *p;
    switch (op) {
    case 0x80: return protocol(m);
    case 0x95: return frame(m);
    case '(': return vn_pm_mark(m);
    case '0': return vn_pm_pop(m) ? VN_OK : VN_EDATA;
    case '1': return pop_marked(m);
    case '2': return vn_pm_push(m, vn_pm_top(m));
    case 'N': return push_empty(m, VN_PY_NONE);
    case 0x88: return push_int(m, VN_PY_BOOL, 1);
    case 0x89: return push_int(m, VN_PY_BOOL, 0);
    case 'I': return push_int_line(m, false);
    case 'L': return push_int_line(m, true);
    case 'J':
        p = vn_pm_bytes(m, 4);
        return p ? push_int(m, VN_PY_INT, (int32_t)vn_load32(p)) : VN_EDATA;
    case 'M':
        p = vn_pm_bytes(m, 2);
        return p ? push_int(m, VN_PY_INT, vn_load16(p)) : VN_EDATA;
    case 'K': p = vn_pm_bytes(m, 1); return p ? push_int(m, VN_PY_INT, *p) : VN_EDATA;
    case 0x8a: return push_long(m, 1);
    case 0x8b: return push_long(m, 4);
    case 'F': return push_float_line(m);
    case 'G': return push_binfloat(m);
    case 'S': return push_string_line(m, true);
    case 'V': return push_string_line(m, false);
    case 'T': return push_counted(m, VN_PY_STRING, 4);
    case 'U': return push_counted(m, VN_PY_STRING, 1);
    case 'X': return push_counted(m, VN_PY_STRING, 4);
    case 0x8c: return push_counted(m, VN_PY_STRING, 1);
    case 0x8d: return push_counted(m, VN_PY_STRING, 8);
    case 'B': return push_counted(m, VN_PY_BYTES, 4);
    case 'C': return push_counted(m, VN_PY_BYTES, 1);
    case 0x8e: return push_counted(m, VN_PY_BYTES, 8);
    case 0x96: return push_counted(m, VN_PY_BYTES, 8);
    case ')': return push_empty(m, VN_PY_TUPLE);
    case 0x85: return short_tuple(m, 1);
    case 0x86: return short_tuple(m, 2);
    case 0x87: return short_tuple(m, 3);
    case 't': return collect(m, VN_PY_TUPLE);
    case ']': return push_empty(m, VN_PY_LIST);
    case 'l': return collect(m, VN_PY_LIST);
    case 'a': return extend_one(m, VN_PY_LIST, 1);
    case 'e': return extend(m, VN_PY_LIST);
    case '}': return push_empty(m, VN_PY_DICT);
    case 'd': return collect(m, VN_PY_DICT);
    case 's': return extend_one(m, VN_PY_DICT, 2);
    case 'u': return extend(m, VN_PY_DICT);
    case 0x8f: return push_empty(m, VN_PY_SET);
    case 0x90: return extend(m, VN_PY_SET);
    case 0x91: return collect(m, VN_PY_SET);
    case 'c': return global_lines(m);
    case 0x93: return stack_global(m);
    case 'R':
    case 0x81: return make_object(m);
    case 'b': return build(m);
    case 'Q': return persistent(m);
    case 'p': return get_or_put(m, memo_line(m), memo_put);
    case 'q': return get_or_put(m, vn_pm_length(m, 1), memo_put);
    case 'r': return get_or_put(m, vn_pm_length(m, 4), memo_put);
    case 0x94: return memo_put(m, m->n_memoized);
    case 'g': return get_or_put(m, memo_line(m), memo_get);
    case 'h': return get_or_put(m, vn_pm_length(m, 1), memo_get);
    case 'j': return get_or_put(m, vn_pm_length(m, 4), memo_get);
    default: return refuse(m, op);
    }
}

static int run(struct vn_pm *m) {
    for (;;) {
        m->op_at = m->at;
        const uint8_t *op = vn_pm_bytes(m, 1);
        if (!op)
            return VN_EDATA;
        if (*op == '.')
            break;
        int rc = step(m, *op);
        if (rc != VN_OK)
            return rc;
    }
    if (m->n_stack != 1 || m->n_marks)
        return vn_pm_damaged(m, "it stops with other than one value on the stack");
    m->tree->root = m->stack[0];
    m->tree->used = m->at;
    return VN_OK;
}

int vn_pickle_read(const uint8_t *p, size_t n, bool (*allowed)(const char *name),
                   struct vn_pickle **out, struct vn_error *err) {
    struct vn_error local = {0}; /* helpers that return NULL leave their status here */
    struct vn_pm m = {.p = p, .n = n, .allowed = allowed, .err = err ? err : &local};
    *out = NULL;
    m.tree = vn_calloc(1, sizeof *m.tree, err);
    if (!m.tree)
        return VN_EFAIL;
    int rc = run(&m);
    free(m.stack);
    free(m.marks);
    free(m.memo);
    if (rc == VN_OK)
        *out = m.tree;
    else
        vn_pickle_free(m.tree);
    return rc;
}

void vn_pickle_free(struct vn_pickle *p) {
    if (!p)
        return;
    while (p->blocks) {
        struct vn_pickle_block *next = p->blocks->next;
        free(p->blocks);
        p->blocks = next;
    }
    free(p->persistent);
    free(p);
}

/* ---- looking --------------------------------------------------------------------- */

size_t vn_py_pairs(const struct vn_py *v) {
    return v && (v->type == VN_PY_DICT || v->type == VN_PY_OBJECT) ? v->n / 2 : 0;
}

const struct vn_py *vn_py_get(const struct vn_py *v, const char *key) {
    for (size_t i = vn_py_pairs(v); i-- > 0;)
        if (v->items[2 * i]->type == VN_PY_STRING && !strcmp(v->items[2 * i]->text, key))
            return v->items[2 * i + 1];
    return NULL;
}

bool vn_py_is(const struct vn_py *v, const char *cls) {
    if (!v || v->type != VN_PY_OBJECT)
        return false;
    if (*cls != '*')
        return !strcmp(v->cls->text, cls);
    const char *dot = strrchr(v->cls->text, '.');
    return !strcmp(dot, cls + 1);
}

const char *vn_py_describe(const struct vn_py *v, char *text, size_t size) {
    static const char *const names[] = {
        "None",    "a boolean", "an integer",     "a number", "a string",
        "bytes",   "a tuple",   "a list",         "a set",    "a dict",
        "a class", "an object", "a persistent id"};
    if (v && v->type == VN_PY_OBJECT)
        snprintf(text, size, "an object of class '%.100s'", v->cls->text);
    else
        snprintf(text, size, "%s", v ? names[v->type] : "nothing");
    return text;
}
