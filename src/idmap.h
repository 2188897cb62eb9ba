/* idmap.h - values by key, several of one key in the order in which they came.
 *
 * Keys and values are bytes, copied. What ids of tables are matched with: ids may come twice,
 * so that a key is a queue. Memory is that of what is there, about 48 bytes beside key and
 * value; a warm map allocates nothing. */
#ifndef VN_IDMAP_H
#define VN_IDMAP_H

#include "mem.h"

struct vn_idmap;

int vn_idmap_new(struct vn_idmap **out, struct vn_error *err) VN_NODISCARD;

/* Adds a value behind those of the same key. Both are shorter than 4 GiB. */
int vn_idmap_put(struct vn_idmap *m, const void *key, size_t n_key, const void *value,
                 size_t n_value, struct vn_error *err) VN_NODISCARD;

/* The oldest value of a key, NULL if there is none; *n its length. take removes it as well.
 * The bytes stay the map's, and are valid until something is put; what get gives may be
 * written to. */
void *vn_idmap_get(struct vn_idmap *m, const void *key, size_t n_key, size_t *n);
const void *vn_idmap_take(struct vn_idmap *m, const void *key, size_t n_key, size_t *n);

/* Removes the oldest of all: its value, and its key in *key; NULL when nothing is there. */
const void *vn_idmap_take_oldest(struct vn_idmap *m, const void **key, size_t *n_key,
                                 size_t *n);

size_t vn_idmap_size(const struct vn_idmap *m); /* values in it */
void vn_idmap_free(struct vn_idmap *m);         /* NULL is legal */

#endif
