/* pickle_machine.h - the stack machine that pickle.c drives: its memory, stack and input.
 *
 * Everything that fails says so in m->err, which is never NULL, and returns its status,
 * NULL or UINT64_MAX. */
#ifndef VN_PICKLE_MACHINE_H
#define VN_PICKLE_MACHINE_H

#include "pickle.h"

struct vn_pickle_block {
    struct vn_pickle_block *next;
    size_t used, size;
    _Alignas(16) char data[];
};

/* The machine. Pointers in `stack` and `memo` are to nodes of the tree. */
struct vn_pm {
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

/* VN_EDATA: "pickle damaged at byte N: what". */
int vn_pm_damaged(struct vn_pm *m, const char *what);

/* Zeroed memory and a node that live as long as the tree. */
void *vn_pm_take(struct vn_pm *m, size_t n);
struct vn_py *vn_pm_new_node(struct vn_pm *m, enum vn_py_type type);

/* Room for one more of `size` bytes in a heap array of n; `array` points to its pointer. */
int vn_pm_grow(struct vn_pm *m, void *array, size_t n, size_t *cap, size_t size);
int vn_pm_add_item(struct vn_pm *m, struct vn_py *v, struct vn_py *item);

/* The stack. Nothing below the last mark can be popped or seen; push(NULL) passes on the
 * failure of what made the NULL. */
int vn_pm_push(struct vn_pm *m, struct vn_py *v);
struct vn_py *vn_pm_pop(struct vn_pm *m);
struct vn_py *vn_pm_top(struct vn_pm *m);
size_t vn_pm_available(const struct vn_pm *m); /* values above the last mark */
int vn_pm_mark(struct vn_pm *m);
/* Removes the last mark and all above it, which stays readable until the next push. */
int vn_pm_pop_mark(struct vn_pm *m, struct vn_py ***items, size_t *n);

/* The input: n bytes, a little-endian length of 1 to 8 bytes, the rest of a line. */
const uint8_t *vn_pm_bytes(struct vn_pm *m, uint64_t n);
uint64_t vn_pm_length(struct vn_pm *m, int width);
char *vn_pm_line(struct vn_pm *m);

#endif
