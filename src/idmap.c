#include "idmap.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_BUCKETS 1024
#define LEAST_GARBAGE ((size_t)1 << 20) /* bytes that are not worth a clean-up */

/* Links are indices into entries, 0 for none: entry 0 is not used. */
struct entry {
    uint64_t hash;
    size_t at; /* in the text: the key, the value behind it */
    uint32_t n_key, n_value;
    uint32_t chain;        /* the next key in the bucket; of a free entry, the next free one */
    uint32_t same, last;   /* next value of the key; of its first one: the last */
    uint32_t older, newer; /* of all */
};

struct vn_idmap {
    struct vn_buf entries, text, spare; /* spare: what text is cleaned up into */
    uint32_t *buckets; /* [n_buckets], a power of two */
    size_t n_buckets, n_keys, n_values, live; /* live: bytes of text in use */
    uint32_t free, oldest, newest;
};

static struct entry *entry(const struct vn_idmap *m, uint32_t i) {
    return (struct entry *)(void *)m->entries.data + i;
}

/* FNV-1a; its low bits depend on the low bits of the bytes only, hence the end. */
static uint64_t hash_of(const void *key, size_t n) {
    const uint8_t *p = key;
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ p[i]) * 0x100000001b3u;
    return h ^ h >> 29;
}

int vn_idmap_new(struct vn_idmap **out, struct vn_error *err) {
    struct vn_idmap *m = *out = vn_calloc(1, sizeof *m, err);
    if (!m)
        return VN_EFAIL;
    m->n_buckets = FIRST_BUCKETS;
    m->buckets = vn_calloc(m->n_buckets, sizeof *m->buckets, err);
    int rc = m->buckets ? vn_buf_zeros(&m->entries, sizeof(struct entry), err) : VN_EFAIL;
    if (rc != VN_OK) {
        vn_idmap_free(m);
        *out = NULL;
    }
    return rc;
}

void vn_idmap_free(struct vn_idmap *m) {
    if (!m)
        return;
    vn_buf_release(&m->entries);
    vn_buf_release(&m->text);
    vn_buf_release(&m->spare);
    free(m->buckets);
    free(m);
}

size_t vn_idmap_size(const struct vn_idmap *m) {
    return m->n_values;
}

/* ---- finding --------------------------------------------------------------------- */

/* The link that leads to the first value of the key, or to nothing. */
static uint32_t *find(const struct vn_idmap *m, const void *key, size_t n, uint64_t hash) {
    uint32_t *link = &m->buckets[hash & (m->n_buckets - 1)];
    while (*link) {
        struct entry *e = entry(m, *link);
        if (e->hash == hash && e->n_key == n &&
            (n == 0 || !memcmp(m->text.data + e->at, key, n)))
            break;
        link = &e->chain;
    }
    return link;
}

void *vn_idmap_get(struct vn_idmap *m, const void *key, size_t n_key, size_t *n) {
    const uint32_t at = *find(m, key, n_key, hash_of(key, n_key));
    if (!at)
        return NULL;
    *n = entry(m, at)->n_value;
    return m->text.data + entry(m, at)->at + entry(m, at)->n_key;
}

/* ---- adding ---------------------------------------------------------------------- */

static int more_buckets(struct vn_idmap *m, struct vn_error *err) {
    const size_t n = m->n_buckets * 2;
    uint32_t *buckets = vn_calloc(n, sizeof *buckets, err);
    if (!buckets)
        return VN_EFAIL;
    for (size_t i = 0; i < m->n_buckets; i++) {
        for (uint32_t at = m->buckets[i], next; at; at = next) {
            struct entry *e = entry(m, at);
            uint32_t *bucket = &buckets[e->hash & (n - 1)];
            next = e->chain;
            e->chain = *bucket;
            *bucket = at;
        }
    }
    free(m->buckets);
    m->buckets = buckets;
    m->n_buckets = n;
    return VN_OK;
}

/* Text of values that were taken is dropped once it is more than all that is left. */
static int clean_up(struct vn_idmap *m, struct vn_error *err) {
    const size_t garbage = m->text.len - m->live;
    if (m->live == 0)
        m->text.len = 0;
    if (m->live == 0 || garbage < LEAST_GARBAGE || garbage < m->live)
        return VN_OK;
    m->spare.len = 0;
    int rc = vn_buf_reserve(&m->spare, m->live, err);
    for (uint32_t i = m->oldest; i && rc == VN_OK; i = entry(m, i)->newer) {
        struct entry *e = entry(m, i);
        const size_t at = m->spare.len;
        rc = vn_buf_append(&m->spare, m->text.data + e->at, (size_t)e->n_key + e->n_value,
                           err);
        e->at = at;
    }
    const struct vn_buf old = m->text;
    m->text = m->spare;
    m->spare = old;
    return rc;
}

static int new_entry(struct vn_idmap *m, uint32_t *out, struct vn_error *err) {
    if (m->free) {
        *out = m->free;
        m->free = entry(m, *out)->chain;
        return VN_OK;
    }
    const size_t n = m->entries.len / sizeof(struct entry);
    if (n > UINT32_MAX)
        return vn_fail(err, VN_EFAIL, "more than %zu ids wait for their counterparts", n);
    *out = (uint32_t)n;
    return vn_buf_zeros(&m->entries, sizeof(struct entry), err);
}

int vn_idmap_put(struct vn_idmap *m, const void *key, size_t n_key, const void *value,
                 size_t n_value, struct vn_error *err) {
    const uint64_t hash = hash_of(key, n_key);
    uint32_t at = 0;
    int rc = m->n_keys < m->n_buckets ? VN_OK : more_buckets(m, err);
    if (rc == VN_OK)
        rc = clean_up(m, err);
    const size_t text = m->text.len;
    if (rc == VN_OK)
        rc = vn_buf_append(&m->text, key, n_key, err);
    if (rc == VN_OK)
        rc = vn_buf_append(&m->text, value, n_value, err);
    if (rc == VN_OK)
        rc = new_entry(m, &at, err);
    if (rc != VN_OK)
        return rc;
    struct entry *e = entry(m, at);
    *e = (struct entry){.hash = hash, .at = text, .n_key = (uint32_t)n_key,
                        .n_value = (uint32_t)n_value, .last = at, .older = m->newest};
    if (m->newest)
        entry(m, m->newest)->newer = at;
    else
        m->oldest = at;
    m->newest = at;
    uint32_t *first = find(m, key, n_key, hash);
    if (*first) {
        entry(m, entry(m, *first)->last)->same = at;
        entry(m, *first)->last = at;
    } else {
        *first = at;
        m->n_keys++;
    }
    m->n_values++;
    m->live += n_key + n_value;
    return VN_OK;
}

/* ---- removing -------------------------------------------------------------------- */

/* Takes out the first value of a key, that the link leads to. */
static const void *take(struct vn_idmap *m, uint32_t *link, size_t *n) {
    const uint32_t at = *link;
    struct entry *e = entry(m, at);
    if (e->same) {
        struct entry *next = entry(m, e->same);
        next->chain = e->chain;
        next->last = e->last;
        *link = e->same;
    } else {
        *link = e->chain;
        m->n_keys--;
    }
    if (e->older)
        entry(m, e->older)->newer = e->newer;
    else
        m->oldest = e->newer;
    if (e->newer)
        entry(m, e->newer)->older = e->older;
    else
        m->newest = e->older;
    e->chain = m->free;
    m->free = at;
    m->n_values--;
    m->live -= (size_t)e->n_key + e->n_value;
    *n = e->n_value;
    return m->text.data + e->at + e->n_key;
}

const void *vn_idmap_take(struct vn_idmap *m, const void *key, size_t n_key, size_t *n) {
    uint32_t *link = find(m, key, n_key, hash_of(key, n_key));
    return *link ? take(m, link, n) : NULL;
}

const void *vn_idmap_take_oldest(struct vn_idmap *m, const void **key, size_t *n_key,
                                 size_t *n) {
    if (!m->oldest) /* the oldest of all is the oldest of its key */
        return NULL;
    const struct entry *e = entry(m, m->oldest);
    *key = m->text.data + e->at;
    *n_key = e->n_key;
    return take(m, find(m, *key, *n_key, e->hash), n);
}
