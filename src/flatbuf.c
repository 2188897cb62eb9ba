#include "flatbuf.h"

#include <string.h>

#include "num.h"
#include "text.h"

/* ---- writing --------------------------------------------------------------------- */

/* Appends zeros so that `ahead` bytes further on the position is a multiple of `align`,
 * then n bytes; returns the position of those. */
static size_t space(struct vn_fb_out *o, size_t ahead, size_t align, size_t n) {
    size_t at = o->buf->len - o->base;
    size_t pad = vn_round_up(at + ahead, align) - ahead - at;
    if (o->rc == VN_OK)
        o->rc = vn_buf_zeros(o->buf, pad + n, o->err);
    return at + pad;
}

uint8_t *vn_fb_at(struct vn_fb_out *o, size_t at) {
    return o->rc == VN_OK ? o->buf->data + o->base + at : NULL;
}

void vn_fb_begin(struct vn_fb_out *o, struct vn_buf *buf, struct vn_error *err) {
    *o = (struct vn_fb_out){.buf = buf, .base = buf->len, .rc = VN_OK, .err = err};
    space(o, 0, 8, 4);
}

size_t vn_fb_table(struct vn_fb_out *o, const uint8_t *widths, int n) {
    uint16_t at[16], size = 4;
    for (int i = 0; i < n; i++) {
        if (widths[i])
            size = (uint16_t)vn_round_up(size, widths[i]);
        at[i] = widths[i] ? size : 0;
        size = (uint16_t)(size + widths[i]);
    }
    size_t vtable = space(o, 0, 2, 4 + 2 * (size_t)n);
    size_t table = space(o, 0, 8, size);
    if (o->rc != VN_OK)
        return 0;
    uint8_t *v = vn_fb_at(o, vtable);
    vn_store16(v, (uint16_t)(4 + 2 * n));
    vn_store16(v + 2, size);
    for (int i = 0; i < n; i++)
        vn_store16(v + 4 + 2 * i, at[i]);
    vn_store32(vn_fb_at(o, table), (uint32_t)(table - vtable));
    return table;
}

/* Position of a slot's value, in a table that vn_fb_table made with that slot. */
static size_t slot_at(struct vn_fb_out *o, size_t table, int slot) {
    size_t vtable = table - vn_load32(vn_fb_at(o, table));
    return table + vn_load16(vn_fb_at(o, vtable + 4 + 2 * (size_t)slot));
}

void vn_fb_set(struct vn_fb_out *o, size_t table, int slot, int64_t value, size_t width) {
    if (o->rc == VN_OK)
        memcpy(vn_fb_at(o, slot_at(o, table, slot)), &value, width);
}

void vn_fb_refer_at(struct vn_fb_out *o, size_t at, size_t target) {
    if (o->rc == VN_OK)
        vn_store32(vn_fb_at(o, at), (uint32_t)(target - at));
}

void vn_fb_refer(struct vn_fb_out *o, size_t table, int slot, size_t target) {
    if (o->rc == VN_OK)
        vn_fb_refer_at(o, slot_at(o, table, slot), target);
}

size_t vn_fb_string(struct vn_fb_out *o, const char *s) {
    size_t n = strlen(s), at = space(o, 0, 4, 4 + n + 1);
    if (o->rc == VN_OK) {
        vn_store32(vn_fb_at(o, at), (uint32_t)n);
        memcpy(vn_fb_at(o, at + 4), s, n);
    }
    return at;
}

size_t vn_fb_vector(struct vn_fb_out *o, size_t n, size_t width, size_t align) {
    size_t at = space(o, 4, align < 4 ? 4 : align, 4 + n * width);
    if (o->rc == VN_OK)
        vn_store32(vn_fb_at(o, at), (uint32_t)n);
    return at;
}

/* ---- reading --------------------------------------------------------------------- */

static bool fault(struct vn_fb_in *in, const char *what) {
    if (!in->bad)
        in->bad = what;
    return false;
}

static bool inside(struct vn_fb_in *in, size_t pos, size_t n, size_t align,
                   const char *what) {
    if (in->bad)
        return false;
    if (pos > in->n || n > in->n - pos || pos % align)
        return fault(in, what);
    return true;
}

/* Where the reference at `pos` points to, or 0. */
static size_t follow(struct vn_fb_in *in, size_t pos) {
    if (!inside(in, pos, 4, 4, "a reference lies outside"))
        return 0;
    uint32_t by = vn_load32(in->data + pos);
    if (by < 4 || by > in->n - pos) {
        fault(in, "a reference points outside");
        return 0;
    }
    return pos + by;
}

static struct vn_fb_table open_table(struct vn_fb_in *in, size_t pos) {
    const struct vn_fb_table none = {0};
    struct vn_fb_table t = {.pos = pos};
    if (!pos || !inside(in, pos, 4, 4, "a table lies outside"))
        return none;
    int64_t vtable = (int64_t)pos - (int32_t)vn_load32(in->data + pos);
    if (vtable < 0 || !inside(in, (size_t)vtable, 4, 2, "a vtable lies outside")) {
        fault(in, "a vtable lies outside");
        return none;
    }
    t.vtable = (size_t)vtable;
    size_t bytes = vn_load16(in->data + t.vtable);
    t.size = vn_load16(in->data + t.vtable + 2);
    if (bytes < 4 || bytes % 2 || t.size < 4) {
        fault(in, "a vtable has a wrong size");
        return none;
    }
    t.slots = (bytes - 4) / 2;
    if (!inside(in, t.vtable, bytes, 2, "a vtable lies outside") ||
        !inside(in, pos, t.size, 4, "a table lies outside"))
        return none;
    return t;
}

/* Position of a slot's value of `width` bytes, or 0 when it is absent. */
static size_t value_at(struct vn_fb_in *in, const struct vn_fb_table *t, int slot,
                       size_t width) {
    if (in->bad || !t->pos || (size_t)slot >= t->slots)
        return 0;
    size_t at = vn_load16(in->data + t->vtable + 4 + 2 * (size_t)slot);
    if (!at)
        return 0;
    if (at < 4 || at > t->size || width > t->size - at || (t->pos + at) % width) {
        fault(in, "a value lies outside its table");
        return 0;
    }
    return t->pos + at;
}

struct vn_fb_table vn_fb_root(struct vn_fb_in *in) {
    return open_table(in, follow(in, 0));
}

bool vn_fb_present(struct vn_fb_in *in, const struct vn_fb_table *t, int slot) {
    return value_at(in, t, slot, 1) != 0;
}

int64_t vn_fb_int(struct vn_fb_in *in, const struct vn_fb_table *t, int slot, size_t width,
                  int64_t absent) {
    size_t at = value_at(in, t, slot, width);
    if (!at)
        return absent;
    const uint8_t *p = in->data + at;
    return width == 1   ? (int8_t)p[0]
           : width == 2 ? (int16_t)vn_load16(p)
           : width == 4 ? (int32_t)vn_load32(p)
                        : (int64_t)vn_load64(p);
}

struct vn_fb_table vn_fb_sub(struct vn_fb_in *in, const struct vn_fb_table *t, int slot) {
    size_t at = value_at(in, t, slot, 4);
    return open_table(in, at ? follow(in, at) : 0);
}

size_t vn_fb_elements(struct vn_fb_in *in, const struct vn_fb_table *t, int slot,
                      size_t width, size_t align, size_t *n) {
    size_t at = value_at(in, t, slot, 4), bytes;
    *n = 0;
    if (!at || !(at = follow(in, at)) || !inside(in, at, 4, 4, "a vector lies outside"))
        return 0;
    size_t count = vn_load32(in->data + at);
    if (!vn_mul(count, width, &bytes) ||
        !inside(in, at + 4, bytes, align, "a vector lies outside")) {
        fault(in, "a vector lies outside");
        return 0;
    }
    *n = count;
    return at + 4;
}

struct vn_fb_table vn_fb_element(struct vn_fb_in *in, size_t elements, size_t i) {
    return open_table(in, follow(in, elements + 4 * i));
}

size_t vn_fb_text(struct vn_fb_in *in, const struct vn_fb_table *t, int slot, size_t *n) {
    size_t at = vn_fb_elements(in, t, slot, 1, 1, n);
    if (!at)
        return 0;
    if (!inside(in, at + *n, 1, 1, "a string is not terminated"))
        return 0;
    if (in->data[at + *n] || memchr(in->data + at, 0, *n) ||
        !vn_utf8_valid(in->data + at, *n)) {
        fault(in, "a string is not terminated UTF-8");
        return 0;
    }
    return at;
}
