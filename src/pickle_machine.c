#include "pickle_machine.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"

#define MAX_NODES ((size_t)4 << 20)
#define BLOCK ((size_t)256 << 10)

int vn_pm_damaged(struct vn_pm *m, const char *what) {
    return vn_fail(m->err, VN_EDATA, "pickle damaged at byte %zu: %s", m->op_at, what);
}

/* ---- memory ---------------------------------------------------------------------- */

void *vn_pm_take(struct vn_pm *m, size_t n) {
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

struct vn_py *vn_pm_new_node(struct vn_pm *m, enum vn_py_type type) {
    if (m->n_nodes++ == MAX_NODES) {
        vn_fail(m->err, VN_EDATA, "pickle has more than %zu values", MAX_NODES);
        return NULL;
    }
    struct vn_py *v = vn_pm_take(m, sizeof *v);
    if (v) {
        v->type = type;
        v->at = m->op_at;
    }
    return v;
}

int vn_pm_grow(struct vn_pm *m, void *array, size_t n, size_t *cap, size_t size) {
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
int vn_pm_add_item(struct vn_pm *m, struct vn_py *v, struct vn_py *item) {
    if (v->n == v->cap) {
        size_t want = v->cap ? 2 * v->cap : 4;
        struct vn_py **items = vn_pm_take(m, want * sizeof *items);
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

/* ---- the stack ------------------------------------------------------------------- */

int vn_pm_push(struct vn_pm *m, struct vn_py *v) {
    if (!v)
        return m->err->status;
    int rc = vn_pm_grow(m, &m->stack, m->n_stack, &m->cap_stack, sizeof *m->stack);
    if (rc == VN_OK)
        m->stack[m->n_stack++] = v;
    return rc;
}

size_t vn_pm_available(const struct vn_pm *m) {
    return m->n_stack - (m->n_marks ? m->marks[m->n_marks - 1] : 0);
}

struct vn_py *vn_pm_pop(struct vn_pm *m) {
    if (!vn_pm_available(m)) {
        vn_pm_damaged(m, "the stack is empty");
        return NULL;
    }
    return m->stack[--m->n_stack];
}

struct vn_py *vn_pm_top(struct vn_pm *m) {
    if (!vn_pm_available(m)) {
        vn_pm_damaged(m, "the stack is empty");
        return NULL;
    }
    return m->stack[m->n_stack - 1];
}

int vn_pm_mark(struct vn_pm *m) {
    int rc = vn_pm_grow(m, &m->marks, m->n_marks, &m->cap_marks, sizeof *m->marks);
    if (rc == VN_OK)
        m->marks[m->n_marks++] = m->n_stack;
    return rc;
}

int vn_pm_pop_mark(struct vn_pm *m, struct vn_py ***items, size_t *n) {
    if (!m->n_marks)
        return vn_pm_damaged(m, "no mark on the stack");
    *n = vn_pm_available(m);
    m->n_stack = m->marks[--m->n_marks];
    *items = m->stack + m->n_stack;
    return VN_OK;
}

/* ---- input ----------------------------------------------------------------------- */

const uint8_t *vn_pm_bytes(struct vn_pm *m, uint64_t n) {
    if (n > m->n - m->at) {
        vn_pm_damaged(m, "it ends too early");
        return NULL;
    }
    const uint8_t *p = m->p + m->at;
    m->at += (size_t)n;
    return p;
}

uint64_t vn_pm_length(struct vn_pm *m, int width) {
    uint64_t v = 0;
    const uint8_t *p = vn_pm_bytes(m, (uint64_t)width);
    for (int i = 0; p && i < width; i++)
        v |= (uint64_t)p[i] << 8 * i;
    return p ? v : UINT64_MAX;
}

char *vn_pm_line(struct vn_pm *m) {
    const uint8_t *p = m->p + m->at, *end = memchr(p, '\n', m->n - m->at);
    if (!end) {
        vn_pm_damaged(m, "a line has no end");
        return NULL;
    }
    size_t n = (size_t)(end - p);
    char *s = vn_pm_take(m, n + 1);
    if (s) {
        memcpy(s, p, n);
        m->at += n + 1;
    }
    return s;
}
