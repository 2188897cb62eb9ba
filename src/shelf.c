#include "shelf.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"

#define SLAB ((size_t)1 << 20) /* bytes that memory grows by, or one row */
#define IN_FILE ((uint64_t)1 << 63)

/* Places of one kind, numbered from 0. */
struct places {
    uint64_t n;         /* that were ever used */
    struct vn_buf free; /* uint64 each: of these, the ones that are free again */
};

struct vn_shelf {
    size_t row_bytes, slab_rows;
    uint64_t most; /* rows in memory */
    struct places memory, file;
    uint8_t **slabs; /* [n_slabs] of slab_rows rows */
    size_t n_slabs;
    int fd; /* -1: none yet */
};

int vn_shelf_new(size_t row_bytes, int64_t memory, struct vn_shelf **out,
                 struct vn_error *err) {
    struct vn_shelf *s = *out = vn_calloc(1, sizeof *s, err);
    if (!s)
        return VN_EFAIL;
    s->row_bytes = row_bytes;
    s->slab_rows = row_bytes < SLAB ? SLAB / row_bytes : 1;
    s->most = (uint64_t)memory / row_bytes;
    s->fd = -1;
    return VN_OK;
}

void vn_shelf_free(struct vn_shelf *s) {
    if (!s)
        return;
    for (size_t i = 0; i < s->n_slabs; i++)
        free(s->slabs[i]);
    free(s->slabs);
    vn_buf_release(&s->memory.free);
    vn_buf_release(&s->file.free);
    if (s->fd >= 0)
        close(s->fd);
    free(s);
}

int64_t vn_shelf_spilled(const struct vn_shelf *s) {
    return (int64_t)(s->file.n * s->row_bytes);
}

static uint64_t next_place(struct places *p) {
    uint64_t place;
    if (!p->free.len)
        return p->n++;
    p->free.len -= sizeof place;
    memcpy(&place, p->free.data + p->free.len, sizeof place);
    return place;
}

static uint8_t *in_memory(const struct vn_shelf *s, uint64_t place) {
    return s->slabs[place / s->slab_rows] + place % s->slab_rows * s->row_bytes;
}

/* The slab of the next place that was never used, if it is not there. */
static int grow(struct vn_shelf *s, struct vn_error *err) {
    if (s->memory.n < (uint64_t)s->n_slabs * s->slab_rows)
        return VN_OK;
    uint8_t **slabs = realloc(s->slabs, (s->n_slabs + 1) * sizeof *slabs);
    if (slabs)
        s->slabs = slabs;
    if (!slabs || !(slabs[s->n_slabs] = malloc(s->slab_rows * s->row_bytes)))
        return vn_fail(err, VN_EFAIL, "cannot allocate memory for rows that wait");
    s->n_slabs++;
    return VN_OK;
}

int vn_shelf_put(struct vn_shelf *s, const void *row, uint64_t *place,
                 struct vn_error *err) {
    int rc = VN_OK;
    if (s->memory.free.len || s->memory.n < s->most) {
        if (!s->memory.free.len)
            rc = grow(s, err);
        if (rc == VN_OK)
            memcpy(in_memory(s, *place = next_place(&s->memory)), row, s->row_bytes);
        return rc;
    }
    if (s->fd < 0 && (s->fd = vn_temp_open(err)) < 0)
        return s->fd;
    const uint64_t at = next_place(&s->file);
    *place = at | IN_FILE;
    return vn_temp_write(s->fd, row, s->row_bytes, at * s->row_bytes, err);
}

int vn_shelf_take(struct vn_shelf *s, uint64_t place, void *row, struct vn_error *err) {
    const uint64_t at = place & ~IN_FILE;
    if (at == place) {
        memcpy(row, in_memory(s, at), s->row_bytes);
        return vn_buf_append(&s->memory.free, &at, sizeof at, err);
    }
    int rc = vn_temp_read(s->fd, row, s->row_bytes, at * s->row_bytes, err);
    return rc == VN_OK ? vn_buf_append(&s->file.free, &at, sizeof at, err) : rc;
}
