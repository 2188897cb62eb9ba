/* flatbuf.h - the little of FlatBuffers that Arrow's metadata needs.
 *
 * Writing goes upwards: a table first, then what it refers to, since references point
 * forward. Reading checks everything before it is used: a reader never trusts an offset, a
 * vtable, a count or a string. Positions are bytes from the start of the buffer; 0 is the
 * root reference, so it also stands for "absent". */
#ifndef VN_FLATBUF_H
#define VN_FLATBUF_H

#include <stdbool.h>

#include "mem.h"

/* ---- writing --------------------------------------------------------------------- */

/* After a failure the rest does nothing and rc says why: check it once, at the end. */
struct vn_fb_out {
    struct vn_buf *buf; /* appended to */
    size_t base;        /* where the flatbuffer starts in it: a multiple of 8 */
    int rc;
    struct vn_error *err;
};

void vn_fb_begin(struct vn_fb_out *o, struct vn_buf *buf, struct vn_error *err);
/* A table with n slots of widths[i] bytes (1, 2, 4, 8; 0: the slot is absent), zeroed. */
size_t vn_fb_table(struct vn_fb_out *o, const uint8_t *widths, int n);
void vn_fb_set(struct vn_fb_out *o, size_t table, int slot, int64_t value, size_t width);
/* Makes a slot, or the reference at position `at`, point to what comes at `target`. */
void vn_fb_refer(struct vn_fb_out *o, size_t table, int slot, size_t target);
void vn_fb_refer_at(struct vn_fb_out *o, size_t at, size_t target);
size_t vn_fb_string(struct vn_fb_out *o, const char *s);
/* A vector of n zeroed elements, aligned to `align`; its elements begin 4 bytes on. */
size_t vn_fb_vector(struct vn_fb_out *o, size_t n, size_t width, size_t align);
uint8_t *vn_fb_at(struct vn_fb_out *o, size_t at); /* NULL after a failure */

/* ---- reading --------------------------------------------------------------------- */

/* `bad` names the first fault; what is read after it is absent. */
struct vn_fb_in {
    const uint8_t *data;
    size_t n;
    const char *bad;
};

struct vn_fb_table {
    size_t pos;    /* 0: absent */
    size_t vtable; /* position */
    size_t slots, size;
};

struct vn_fb_table vn_fb_root(struct vn_fb_in *in);
int64_t vn_fb_int(struct vn_fb_in *in, const struct vn_fb_table *t, int slot, size_t width,
                  int64_t absent); /* sign-extended */
struct vn_fb_table vn_fb_sub(struct vn_fb_in *in, const struct vn_fb_table *t, int slot);
/* Position of the first element and their number in *n; 0 and 0 when absent. */
size_t vn_fb_elements(struct vn_fb_in *in, const struct vn_fb_table *t, int slot,
                      size_t width, size_t align, size_t *n);
/* The table that element i of a vector of tables refers to. */
struct vn_fb_table vn_fb_element(struct vn_fb_in *in, size_t elements, size_t i);
/* Position of the text, which is UTF-8 without NUL and terminated; 0 when absent. */
size_t vn_fb_text(struct vn_fb_in *in, const struct vn_fb_table *t, int slot, size_t *n);
bool vn_fb_present(struct vn_fb_in *in, const struct vn_fb_table *t, int slot);

#endif
