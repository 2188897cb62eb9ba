/* pickle.h - reads a Python pickle (protocols 0 to 5) into a tree of values.
 *
 * A pickle is a program for a stack machine that may import and call anything. This
 * machine calls nothing: an opcode outside the allow-list, or a class that the caller
 * does not allow, is VN_EDATA with its name and byte offset, and a "call" of an allowed
 * class only makes a node that records class, arguments and state.
 *
 * The tree is a graph: a node may be reached in several ways, and even contain itself.
 * Whoever follows it bounds the depth. All nodes live until vn_pickle_free. */
#ifndef VN_PICKLE_H
#define VN_PICKLE_H

#include <stdbool.h>

#include "err.h"

enum vn_py_type {
    VN_PY_NONE,
    VN_PY_BOOL,   /* i */
    VN_PY_INT,    /* i; wider than 64 bits is refused */
    VN_PY_FLOAT,  /* f */
    VN_PY_STRING, /* text, n */
    VN_PY_BYTES,  /* text, n */
    VN_PY_TUPLE,  /* items[n] */
    VN_PY_LIST,   /* items[n] */
    VN_PY_SET,    /* items[n] */
    VN_PY_DICT,   /* items[n]: key, value, key, value ... */
    VN_PY_GLOBAL, /* text: "module.name" */
    VN_PY_OBJECT, /* cls, args, state; items as of a dict where it was filled like one */
    VN_PY_PERSISTENT /* args: the persistent id */
};

struct vn_py {
    enum vn_py_type type;
    size_t at; /* offset of the opcode that made it */
    int64_t i;
    double f;
    const char *text; /* terminated; n bytes, may hold NUL */
    size_t n, cap;
    struct vn_py **items;
    struct vn_py *cls, *args, *state; /* cls: GLOBAL; args: TUPLE; state: NULL or any */
};

struct vn_pickle {
    struct vn_py *root;
    size_t used;               /* bytes up to and with STOP */
    struct vn_py **persistent; /* every PERSISTENT node, in order of appearance */
    size_t n_persistent, cap_persistent;
    struct vn_pickle_block *blocks;
};

/* Reads one pickle from the front of p; `allowed` decides on "module.name". */
int vn_pickle_read(const uint8_t *p, size_t n, bool (*allowed)(const char *name),
                   struct vn_pickle **out, struct vn_error *err) VN_NODISCARD;
void vn_pickle_free(struct vn_pickle *p); /* NULL is legal */

/* Value of a string key of a dict (or of an object filled like one), the last if it was
 * set twice; NULL when v is no dict, or has no such key. */
const struct vn_py *vn_py_get(const struct vn_py *v, const char *key);

/* Entries of a dict, or of an object filled like one: items[2 i] is the key of entry i,
 * items[2 i + 1] its value. 0 for NULL and for all else, whatever its n counts. */
size_t vn_py_pairs(const struct vn_py *v);

/* Is v an object of this class, or (for "*.Name") of a class Name of any module? */
bool vn_py_is(const struct vn_py *v, const char *cls);

/* For messages: "a dict", "an object of class 'x.Y'"; into text, which is returned. */
const char *vn_py_describe(const struct vn_py *v, char *text, size_t size);

#endif
