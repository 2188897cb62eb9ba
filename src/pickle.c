#include "pickle.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "num.h"

#define MAX_NODES ((size_t)4 << 20)
#define MAX_MEMO ((size_t)4 << 20)
#define BLOCK ((size_t)256 << 10)

struct vn_pickle_block {
    struct vn_pickle_block *next;
    size_t used, size;
    _Alignas(16) char data[];
};

/* The machine. Pointers in `stack` and `memo` are to nodes of the tree. */
struct machine {
    const uint8_t *p;
    size_t n, at, op_at; /* op_at: offset of the opcode at work */
    struct vn_pickle *tree;
    struct vn_py **stack, **memo;
    size_t n_stack, cap_stack, n_memo, n_memoized, n_nodes;
    size_t *marks; /* heights of the stack */
    size_t n_marks, cap_marks;
    bool (*allowed)(const char *name);
    struct vn_error *err;
};

static int damaged(struct machine *m, const char *what) {
    return vn_fail(m->err, VN_EDATA, "pickle damaged at byte %zu: %s", m->op_at, what);
}

/* ---- memory ------------------------------------------------------------------------ */

static void *take(struct machine *m, size_t n) {
    struct vn_pickle_block *b = m->tree->blocks;
    n = vn_round_up(n, 16);
    if (!b || b->size - b->used < n) {
        size_t size = n > BLOCK ? n : BLOCK;
        b = vn_calloc(1, sizeof *b + size, m->err);
        if (!b)
            return NULL;
        b->size = size;
        b->next = m->tree->blocks;
        m->tree->blocks = b;
    }
    void *p = b->data + b->used;
    b->used += n;
    return p;
}

static struct vn_py *new_node(struct machine *m, enum vn_py_type type) {
    if (m->n_nodes++ == MAX_NODES) {
        vn_fail(m->err, VN_EDATA, "pickle has more than %zu values", MAX_NODES);
        return NULL;
    }
    struct vn_py *v = take(m, sizeof *v);
    if (v) {
        v->type = type;
        v->at = m->op_at;
    }
    return v;
}

/* Room for one more of `size` bytes in a heap array; the old one stays valid on failure. */
static int grow(struct machine *m, void *array, size_t n, size_t *cap, size_t size) {
    if (n < *cap)
        return VN_OK;
    size_t want = *cap ? 2 * *cap : 64;
    void **p = array, *bigger = realloc(*p, want * size);
    if (!bigger)
        return vn_fail(m->err, VN_EFAIL, "cannot allocate %zu x %zu bytes", want, size);
    *p = bigger;
    *cap = want;
    return VN_OK;
}

/* Items of nodes grow inside the blocks: what they grow out of is freed with the tree. */
static int add_item(struct machine *m, struct vn_py *v, struct vn_py *item) {
    if (v->n == v->cap) {
        size_t want = v->cap ? 2 * v->cap : 4;
        struct vn_py **items = take(m, want * sizeof *items);
        if (!items)
            return VN_EFAIL;
        if (v->n)
            memcpy(items, v->items, v->n * sizeof *items);
        v->items = items;
        v->cap = want;
    }
    v->items[v->n++] = item;
    return VN_OK;
}

/* ---- the stack ---------------------------------------------------------------------- */

static int push(struct machine *m, struct vn_py *v) {
    if (!v)
        return m->err ? m->err->status : VN_EFAIL;
    int rc = grow(m, &m->stack, m->n_stack, &m->cap_stack, sizeof *m->stack);
    if (rc == VN_OK)
        m->stack[m->n_stack++] = v;
    return rc;
}

/* Values above the last mark. */
static size_t available(const struct machine *m) {
    return m->n_stack - (m->n_marks ? m->marks[m->n_marks - 1] : 0);
}

static struct vn_py *pop(struct machine *m) {
    if (!available(m)) {
        damaged(m, "the stack is empty");
        return NULL;
    }
    return m->stack[--m->n_stack];
}

static struct vn_py *top(struct machine *m) {
    if (!available(m)) {
        damaged(m, "the stack is empty");
        return NULL;
    }
    return m->stack[m->n_stack - 1];
}

static int mark(struct machine *m) {
    int rc = grow(m, &m->marks, m->n_marks, &m->cap_marks, sizeof *m->marks);
    if (rc == VN_OK)
        m->marks[m->n_marks++] = m->n_stack;
    return rc;
}

/* Removes the last mark and everything above it; the values stay readable at *items. */
static int pop_mark(struct machine *m, struct vn_py ***items, size_t *n) {
    if (!m->n_marks)
        return damaged(m, "no mark on the stack");
    *n = available(m);
    m->n_stack = m->marks[--m->n_marks];
    *items = m->stack + m->n_stack;
    return VN_OK;
}

/* ---- input --------------------------------------------------------------------------- */

static const uint8_t *bytes(struct machine *m, uint64_t n) {
    if (n > m->n - m->at) {
        damaged(m, "it ends too early");
        return NULL;
    }
    const uint8_t *p = m->p + m->at;
    m->at += (size_t)n;
    return p;
}

/* A little-endian length of 1, 2, 4 or 8 bytes; UINT64_MAX with err set at the end. */
static uint64_t length(struct machine *m, int width) {
    uint64_t v = 0;
    const uint8_t *p = bytes(m, (uint64_t)width);
    for (int i = 0; p && i < width; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return p ? v : UINT64_MAX;
}

/* The rest of a line, without its newline, as a terminated copy. */
static char *line(struct machine *m) {
    const uint8_t *p = m->p + m->at, *end = memchr(p, '\n', m->n - m->at);
    if (!end) {
        damaged(m, "a line has no end");
        return NULL;
    }
    size_t n = (size_t)(end - p);
    char *s = take(m, n + 1);
    if (s) {
        memcpy(s, p, n);
        m->at += n + 1;
    }
    return s;
}

/* ---- values -------------------------------------------------------------------------- */

static int push_int(struct machine *m, enum vn_py_type type, int64_t i) {
    struct vn_py *v = new_node(m, type);
    if (v)
        v->i = i;
    return push(m, v);
}

static int push_float(struct machine *m, double f) {
    struct vn_py *v = new_node(m, VN_PY_FLOAT);
    if (v)
        v->f = f;
    return push(m, v);
}

static int push_text(struct machine *m, enum vn_py_type type, const void *p, size_t n) {
    struct vn_py *v = p ? new_node(m, type) : NULL;
    char *s = v ? take(m, n + 1) : NULL;
    if (!s)
        return m->err ? m->err->status : VN_EFAIL;
    memcpy(s, p, n);
    v->text = s;
    v->n = n;
    return push(m, v);
}

static int push_counted(struct machine *m, enum vn_py_type type, int width) {
    uint64_t n = length(m, width);
    return push_text(m, type, bytes(m, n), (size_t)n);
}

/* LONG1, LONG4: two's complement, little-endian, n bytes. */
static int push_long(struct machine *m, int width) {
    uint64_t n = length(m, width), v = 0;
    const uint8_t *p = bytes(m, n);
    if (!p)
        return VN_EDATA;
    if (n > 8)
        return damaged(m, "an integer has more than 64 bits");
    for (uint64_t i = 0; i < n; i++)
        v |= (uint64_t)p[i] << 8 * i;
    if (n && n < 8 && p[n - 1] & 0x80)
        v |= UINT64_MAX << 8 * n;
    return push_int(m, VN_PY_INT, (int64_t)v);
}

/* INT and LONG of protocol 0: decimal text; INT writes the booleans as 00 and 01. */
static int push_int_line(struct machine *m, bool is_long) {
    char *s = line(m), *end;
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
        return damaged(m, "a line is not a 64-bit integer");
    return push_int(m, VN_PY_INT, v);
}

static int push_float_line(struct machine *m) {
    char *s = line(m), *end;
    if (!s)
        return VN_EDATA;
    double f = strtod(s, &end);
    if (!*s || *end || isspace((unsigned char)*s))
        return damaged(m, "a line is not a number");
    return push_float(m, f);
}

static int push_binfloat(struct machine *m) {
    const uint8_t *p = bytes(m, 8);
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
static int push_string_line(struct machine *m, bool quoted) {
    char *s = line(m);
    if (!s)
        return VN_EDATA;
    size_t n = strlen(s);
    if (strchr(s, '\\'))
        return damaged(m, "escapes in strings of protocol 0 are not supported");
    if (quoted && (n < 2 || (*s != '\'' && *s != '"') || s[n - 1] != *s))
        return damaged(m, "a string has no quotes");
    return push_text(m, VN_PY_STRING, s + quoted, n - 2 * quoted);
}

static int push_empty(struct machine *m, enum vn_py_type type) {
    return push(m, new_node(m, type));
}

static int push_items(struct machine *m, enum vn_py_type type, struct vn_py **items,
                      size_t n) {
    struct vn_py *v = new_node(m, type);
    if (v && n) {
        v->items = take(m, n * sizeof *items);
        if (!v->items)
            return VN_EFAIL;
        memcpy(v->items, items, n * sizeof *items);
        v->n = v->cap = n;
    }
    return push(m, v);
}

static int collect(struct machine *m, enum vn_py_type type) {
    struct vn_py **items = NULL;
    size_t n = 0;
    int rc = pop_mark(m, &items, &n);
    if (rc == VN_OK && type == VN_PY_DICT && n % 2)
        rc = damaged(m, "a key has no value");
    return rc == VN_OK ? push_items(m, type, items, n) : rc;
}

static int short_tuple(struct machine *m, size_t n) {
    if (available(m) < n)
        return damaged(m, "the stack is empty");
    m->n_stack -= n;
    return push_items(m, VN_PY_TUPLE, m->stack + m->n_stack, n);
}

/* APPENDS, ADDITEMS, SETITEMS: everything above the mark into what is below it. */
static int extend(struct machine *m, enum vn_py_type type) {
    struct vn_py **items, *v;
    size_t n;
    int rc = pop_mark(m, &items, &n);
    if (rc != VN_OK)
        return rc;
    if (!(v = top(m)))
        return VN_EDATA;
    if (v->type != type && !(type == VN_PY_DICT && v->type == VN_PY_OBJECT))
        return damaged(m, "items are added to what has none");
    if (type == VN_PY_DICT && n % 2)
        return damaged(m, "a key has no value");
    for (size_t i = 0; rc == VN_OK && i < n; i++)
        rc = add_item(m, v, items[i]);
    return rc;
}

/* APPEND, SETITEM: `n` values into what is below them. */
static int extend_one(struct machine *m, enum vn_py_type type, size_t n) {
    if (available(m) < n + 1)
        return damaged(m, "the stack is empty");
    int rc = grow(m, &m->marks, m->n_marks, &m->cap_marks, sizeof *m->marks);
    if (rc != VN_OK)
        return rc;
    m->marks[m->n_marks++] = m->n_stack - n;
    return extend(m, type);
}

/* ---- memo ---------------------------------------------------------------------------- */

static int memo_put(struct machine *m, uint64_t i) {
    struct vn_py *v = top(m);
    if (!v)
        return VN_EDATA;
    if (i >= MAX_MEMO)
        return damaged(m, "a memo index is too large");
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

static int memo_get(struct machine *m, uint64_t i) {
    if (i >= m->n_memo || !m->memo[i])
        return damaged(m, "a memo index was never set");
    return push(m, m->memo[i]);
}

/* The index of PUT and GET: a decimal line. UINT64_MAX with err set. */
static uint64_t memo_line(struct machine *m) {
    char *s = line(m), *end;
    if (!s)
        return UINT64_MAX;
    unsigned long long v = strtoull(s, &end, 10);
    if (!isdigit((unsigned char)*s) || *end) {
        damaged(m, "a memo index is not a number");
        return UINT64_MAX;
    }
    return v;
}

/* ---- classes and objects --------------------------------------------------------------- */

static int push_global(struct machine *m, const char *module, const char *name) {
    size_t n = strlen(module) + strlen(name) + 2;
    struct vn_py *v = new_node(m, VN_PY_GLOBAL);
    char *s = v ? take(m, n) : NULL;
    if (!s)
        return m->err ? m->err->status : VN_EFAIL;
    snprintf(s, n, "%s.%s", module, name);
    if (!m->allowed(s))
        return vn_fail(m->err, VN_EDATA, "pickle refers to '%.200s' at byte %zu: not allowed, "
                       "nothing was executed", s, m->op_at);
    v->text = s;
    v->n = n - 1;
    return push(m, v);
}

static int global_lines(struct machine *m) {
    const char *module = line(m), *name = module ? line(m) : NULL;
    return name ? push_global(m, module, name) : VN_EDATA;
}

static int stack_global(struct machine *m) {
    struct vn_py *name = pop(m), *module = name ? pop(m) : NULL;
    if (!module)
        return VN_EDATA;
    if (name->type != VN_PY_STRING || module->type != VN_PY_STRING ||
        strlen(name->text) != name->n || strlen(module->text) != module->n)
        return damaged(m, "a class has no name");
    return push_global(m, module->text, name->text);
}

/* REDUCE and NEWOBJ: a class and a tuple of arguments become an object. */
static int make_object(struct machine *m) {
    struct vn_py *args = pop(m), *cls = args ? pop(m) : NULL;
    if (!cls)
        return VN_EDATA;
    if (cls->type != VN_PY_GLOBAL || args->type != VN_PY_TUPLE)
        return damaged(m, "an object is made of something else than a class and a tuple");
    struct vn_py *v = new_node(m, VN_PY_OBJECT);
    if (v) {
        v->cls = cls;
        v->args = args;
    }
    return push(m, v);
}

static int build(struct machine *m) {
    struct vn_py *state = pop(m), *v = state ? top(m) : NULL;
    if (!v)
        return VN_EDATA;
    if (v->type != VN_PY_OBJECT)
        return damaged(m, "a state is given to what is no object");
    v->state = state;
    return VN_OK;
}

/* A persistent id. Old torch files name module classes by ('module', class, file, source):
 * of these only the class counts. */
static int persistent(struct machine *m) {
    struct vn_pickle *t = m->tree;
    struct vn_py *id = pop(m);
    if (!id)
        return VN_EDATA;
    if (id->type != VN_PY_TUPLE || id->n < 2 || id->items[0]->type != VN_PY_STRING)
        return damaged(m, "a persistent id is not a tuple that begins with a word");
    if (!strcmp(id->items[0]->text, "module") && id->items[1]->type == VN_PY_GLOBAL)
        return push(m, id->items[1]);
    int rc = grow(m, &t->persistent, t->n_persistent, &t->cap_persistent,
                  sizeof *t->persistent);
    struct vn_py *v = rc == VN_OK ? new_node(m, VN_PY_PERSISTENT) : NULL;
    if (v) {
        v->args = id;
        t->persistent[t->n_persistent++] = v;
    }
    return push(m, v);
}

/* ---- the loop ------------------------------------------------------------------------- */

static int refuse(struct machine *m, int op) {
    static const struct {
        int op;
        const char *name;
    } known[] = {{'i', "INST"},           {'o', "OBJ"},         {'P', "PERSID"},
                 {0x82, "EXT1"},          {0x83, "EXT2"},       {0x84, "EXT4"},
                 {0x92, "NEWOBJ_EX"},     {0x97, "NEXT_BUFFER"}, {0x98, "READONLY_BUFFER"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i].op == op)
            return vn_fail(m->err, VN_EDATA, "pickle has opcode %s at byte %zu: not allowed, "
                           "nothing was executed", known[i].name, m->op_at);
    return vn_fail(m->err, VN_EDATA, "pickle has the unknown opcode 0x%02x at byte %zu", op,
                   m->op_at);
}

static int protocol(struct machine *m) {
    uint64_t v = length(m, 1);
    return v <= 5 ? VN_OK : v == UINT64_MAX ? VN_EDATA : damaged(m, "unknown protocol");
}

/* FRAME announces how many bytes follow; they must be there. */
static int frame(struct machine *m) {
    uint64_t n = length(m, 8);
    if (n == UINT64_MAX)
        return VN_EDATA;
    return n <= m->n - m->at ? VN_OK : damaged(m, "a frame is longer than the data");
}

static int pop_marked(struct machine *m) {
    struct vn_py **items;
    size_t n;
    return pop_mark(m, &items, &n);
}

static int get_or_put(struct machine *m, uint64_t i, int (*fn)(struct machine *, uint64_t)) {
    return i == UINT64_MAX ? VN_EDATA : fn(m, i);
}

/* One opcode but STOP. A table of the format: it is as long as the format is wide. */
static int step(struct machine *m, int op) {
    const uint8_t *p;
    switch (op) {
    case 0x80: return protocol(m);
    case 0x95: return frame(m);
    case '(': return mark(m);
    case '0': return pop(m) ? VN_OK : VN_EDATA;
    case '1': return pop_marked(m);
    case '2': return push(m, top(m));
    case 'N': return push_empty(m, VN_PY_NONE);
    case 0x88: return push_int(m, VN_PY_BOOL, 1);
    case 0x89: return push_int(m, VN_PY_BOOL, 0);
    case 'I': return push_int_line(m, false);
    case 'L': return push_int_line(m, true);
    case 'J':
        p = bytes(m, 4);
        return p ? push_int(m, VN_PY_INT, (int32_t)vn_load32(p)) : VN_EDATA;
    case 'M':
        p = bytes(m, 2);
        return p ? push_int(m, VN_PY_INT, vn_load16(p)) : VN_EDATA;
    case 'K':
        p = bytes(m, 1);
        return p ? push_int(m, VN_PY_INT, *p) : VN_EDATA;
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
    case 'q': return get_or_put(m, length(m, 1), memo_put);
    case 'r': return get_or_put(m, length(m, 4), memo_put);
    case 0x94: return memo_put(m, m->n_memoized);
    case 'g': return get_or_put(m, memo_line(m), memo_get);
    case 'h': return get_or_put(m, length(m, 1), memo_get);
    case 'j': return get_or_put(m, length(m, 4), memo_get);
    default: return refuse(m, op);
    }
}

static int run(struct machine *m) {
    for (;;) {
        m->op_at = m->at;
        const uint8_t *op = bytes(m, 1);
        if (!op)
            return VN_EDATA;
        if (*op == '.')
            break;
        int rc = step(m, *op);
        if (rc != VN_OK)
            return rc;
    }
    if (m->n_stack != 1 || m->n_marks)
        return damaged(m, "it stops with other than one value on the stack");
    m->tree->root = m->stack[0];
    m->tree->used = m->at;
    return VN_OK;
}

int vn_pickle_read(const uint8_t *p, size_t n, bool (*allowed)(const char *name),
                   struct vn_pickle **out, struct vn_error *err) {
    struct vn_error local = {0}; /* helpers that return NULL leave their status here */
    struct machine m = {.p = p, .n = n, .allowed = allowed, .err = err ? err : &local};
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

/* ---- looking ------------------------------------------------------------------------- */

const struct vn_py *vn_py_get(const struct vn_py *v, const char *key) {
    if (!v || (v->type != VN_PY_DICT && v->type != VN_PY_OBJECT))
        return NULL;
    for (size_t i = v->n; i >= 2; i -= 2)
        if (v->items[i - 2]->type == VN_PY_STRING && !strcmp(v->items[i - 2]->text, key))
            return v->items[i - 1];
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
        "None", "a boolean", "an integer", "a number", "a string", "bytes", "a tuple",
        "a list", "a set", "a dict", "a class", "an object", "a persistent id"};
    if (v && v->type == VN_PY_OBJECT)
        snprintf(text, size, "an object of class '%.100s'", v->cls->text);
    else
        snprintf(text, size, "%s", v ? names[v->type] : "nothing");
    return text;
}
