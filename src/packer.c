#include "packer.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

struct entry {
    uint64_t record;
    size_t id_at;     /* byte in arena ids */
    size_t tokens_at; /* token in arena tokens */
    int32_t id_len;
    int32_t n_tokens;
    uint8_t status;
    bool taken;
};

/* A window is filled, then sealed: batches are taken from it until what is left does not
 * fill one. While it is sealed, `order` holds its records by falling length, and next[k]
 * the first position >= k whose record is still there (path-compressed, n at the end). */
struct vn_packer {
    struct vn_packer_options opts;
    bool sealed;
    struct vn_buf ids, tokens;   /* of the window's records, in order of arrival */
    struct vn_buf entries;       /* struct entry [n] */
    int64_t n, n_old;            /* records; those that waited since the last window */
    int64_t n_left, tokens_left; /* of the window, not yet taken */
    size_t id_bytes_left;
    uint64_t sent_tokens, sent_budget;
    struct vn_buf order, spare, next; /* uint64_t, uint64_t, int32_t [n + 1] */
    struct vn_buf out_record, out_id, out_id_len, out_status, out_tokens, out_cu;
};

#define ENTRIES(p) ((struct entry *)(p)->entries.data)

int vn_packer_new(const struct vn_packer_options *opts, struct vn_packer **out,
                  struct vn_error *err) {
    *out = NULL;
    if (opts->max_tokens < 1 || opts->max_tokens > INT32_MAX / 4 || opts->window < 1 ||
        opts->window > INT32_MAX / 4 || opts->window_tokens < 1)
        return vn_fail(
            err, VN_EUSAGE,
            "packer: bad limits: %lld tokens, window of %lld records, %lld tokens",
            (long long)opts->max_tokens, (long long)opts->window,
            (long long)opts->window_tokens);
    *out = vn_calloc(1, sizeof **out, err);
    if (!*out)
        return VN_EFAIL;
    (*out)->opts = *opts;
    return VN_OK;
}

/* ---- filling the window ---------------------------------------------------------- */

int vn_packer_add(struct vn_packer *p, uint64_t record, const char *id, size_t id_len,
                  const uint16_t *tokens, int64_t n_tokens, uint8_t status,
                  struct vn_error *err) {
    if (p->sealed || n_tokens < 0 || n_tokens > INT32_MAX / 4 || id_len > INT32_MAX / 4)
        return vn_fail(err, VN_EINTERNAL,
                       p->sealed ? "record added to a full window"
                                 : "record too long for the window");
    struct entry e = {.record = record,
                      .id_at = p->ids.len,
                      .tokens_at = p->tokens.len / sizeof *tokens,
                      .id_len = (int32_t)id_len,
                      .n_tokens = (int32_t)n_tokens,
                      .status = status};
    int rc = vn_buf_append(&p->ids, id, id_len, err);
    if (rc == VN_OK)
        rc = vn_buf_append(&p->tokens, tokens, (size_t)n_tokens * sizeof *tokens, err);
    if (rc == VN_OK)
        rc = vn_buf_append(&p->entries, &e, sizeof e, err);
    if (rc != VN_OK)
        return rc;
    p->n++;
    p->n_left++;
    p->tokens_left += n_tokens;
    p->id_bytes_left += id_len;
    return VN_OK;
}

/* Ids weigh as much as tokens do: a window of records with endless ids is bounded, too.
 */
static bool holds(const struct vn_packer *p, int64_t divisor) {
    return p->n_left >= (p->opts.window + divisor - 1) / divisor ||
           p->tokens_left >= p->opts.window_tokens / divisor ||
           (int64_t)(p->id_bytes_left / 2) >= p->opts.window_tokens / divisor;
}

int64_t vn_packer_waiting(const struct vn_packer *p) {
    return p->n_left;
}

bool vn_packer_full(const struct vn_packer *p) {
    return p->sealed || holds(p, 1);
}

/* ---- sealing --------------------------------------------------------------------- */

/* Sorts keys by their upper 32 bits, stable: least significant byte first, bytes that are
 * the same in all keys left out. Returns the buffer, keys or spare, with the result. */
static uint64_t *sort_keys(uint64_t *keys, uint64_t *spare, int64_t n) {
    for (int shift = 32; shift < 64; shift += 8) {
        size_t start[256] = {0}, sum = 0;
        for (int64_t i = 0; i < n; i++)
            start[keys[i] >> shift & 255]++;
        if (n == 0 || start[keys[0] >> shift & 255] == (size_t)n)
            continue;
        for (int b = 0; b < 256; b++) {
            size_t count = start[b];
            start[b] = sum;
            sum += count;
        }
        for (int64_t i = 0; i < n; i++)
            spare[start[keys[i] >> shift & 255]++] = keys[i];
        uint64_t *t = keys;
        keys = spare;
        spare = t;
    }
    return keys;
}

/* A key: INT32_MAX less the length, so that long ones come first, then the entry's index.
 */
static int32_t key_length(uint64_t key) {
    return INT32_MAX - (int32_t)(key >> 32);
}

static int seal(struct vn_packer *p, struct vn_error *err) {
    size_t n = (size_t)p->n;
    int rc = vn_buf_resize(&p->order, n * sizeof(uint64_t), err);
    if (rc == VN_OK)
        rc = vn_buf_resize(&p->spare, n * sizeof(uint64_t), err);
    if (rc == VN_OK)
        rc = vn_buf_resize(&p->next, (n + 1) * sizeof(int32_t), err);
    if (rc != VN_OK)
        return rc;
    uint64_t *keys = (uint64_t *)p->order.data;
    for (size_t i = 0; i < n; i++)
        keys[i] = (uint64_t)(INT32_MAX - ENTRIES(p)[i].n_tokens) << 32 | i;
    if (sort_keys(keys, (uint64_t *)p->spare.data, p->n) != keys) {
        struct vn_buf t = p->order;
        p->order = p->spare;
        p->spare = t;
    }
    int32_t *next = (int32_t *)p->next.data;
    for (size_t k = 0; k <= n; k++)
        next[k] = (int32_t)k;
    p->sealed = true;
    return VN_OK;
}

/* ---- taking batches -------------------------------------------------------------- */

/* First position from k on whose record has not been taken; p->n if there is none. */
static int32_t find(struct vn_packer *p, int32_t k) {
    int32_t *next = (int32_t *)p->next.data, root = k;
    const uint64_t *order = (const uint64_t *)p->order.data;
    for (;;) {
        while (next[root] != root)
            root = next[root];
        if (root == p->n || !ENTRIES(p)[(uint32_t)order[root]].taken)
            break;
        next[root] = root + 1;
    }
    while (next[k] != root && k != root) {
        int32_t t = next[k];
        next[k] = root;
        k = t;
    }
    return root;
}

/* First position whose record, taken or not, has at most `room` tokens. */
static int32_t first_fitting(const struct vn_packer *p, int64_t room) {
    const uint64_t *order = (const uint64_t *)p->order.data;
    int32_t lo = 0, hi = (int32_t)p->n;
    while (lo < hi) {
        int32_t mid = lo + (hi - lo) / 2;
        if (key_length(order[mid]) <= room)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

/* Appends entry i to the batch in the making. */
static int put(struct vn_packer *p, int64_t i, struct vn_error *err) {
    struct entry *e = &ENTRIES(p)[i];
    const char *id = p->ids.data ? (const char *)p->ids.data + e->id_at : "";
    const uint16_t *tokens = (const uint16_t *)p->tokens.data;
    size_t bytes = (size_t)e->n_tokens * sizeof *tokens;
    int rc = VN_OK;
    if (bytes)
        rc = vn_buf_append(&p->out_tokens, tokens + e->tokens_at, bytes, err);
    int32_t end = (int32_t)(p->out_tokens.len / sizeof *tokens);
    if (rc == VN_OK)
        rc = vn_buf_append(&p->out_record, &e->record, sizeof e->record, err);
    if (rc == VN_OK)
        rc = vn_buf_append(&p->out_id, &id, sizeof id, err);
    if (rc == VN_OK)
        rc = vn_buf_append(&p->out_id_len, &e->id_len, sizeof e->id_len, err);
    if (rc == VN_OK)
        rc = vn_buf_append(&p->out_status, &e->status, 1, err);
    if (rc == VN_OK)
        rc = vn_buf_append(&p->out_cu, &end, sizeof end, err);
    e->taken = true;
    p->n_left--;
    p->tokens_left -= e->n_tokens;
    p->id_bytes_left -= (size_t)e->id_len;
    return rc;
}

/* Those that waited come first, all of them: they are less than a batch. Then always the
 * longest record that fits; the first one even if it does not. */
static int fill_batch(struct vn_packer *p, struct vn_error *err) {
    int32_t zero = 0;
    int64_t budget = p->opts.max_tokens, used = 0, n = 0;
    p->out_tokens.len = p->out_record.len = p->out_id.len = 0;
    p->out_id_len.len = p->out_status.len = p->out_cu.len = 0;
    int rc = vn_buf_append(&p->out_cu, &zero, sizeof zero, err);
    for (; rc == VN_OK && n < p->n_old; n++) {
        used += ENTRIES(p)[n].n_tokens;
        rc = put(p, n, err);
    }
    p->n_old = 0;
    for (int32_t at = 0; rc == VN_OK; n++) {
        const uint64_t *order = (const uint64_t *)p->order.data;
        at = find(p, at);
        if (at < p->n && n && key_length(order[at]) > budget - used)
            at = find(p, first_fitting(p, budget - used));
        if (at == p->n)
            break;
        used += key_length(order[at]);
        rc = put(p, (uint32_t)order[at], err);
    }
    p->sent_tokens += (uint64_t)used;
    p->sent_budget += (uint64_t)(used > budget ? used : budget);
    return rc;
}

/* Moves what was not taken to the front and opens the window again. */
static void carry_over(struct vn_packer *p) {
    struct entry *e = ENTRIES(p);
    uint16_t *tokens = (uint16_t *)p->tokens.data;
    size_t id_at = 0, tokens_at = 0, n = 0;
    for (int64_t i = 0; i < p->n; i++) {
        if (e[i].taken)
            continue;
        struct entry kept = e[i];
        if (kept.id_len)
            memmove(p->ids.data + id_at, p->ids.data + kept.id_at, (size_t)kept.id_len);
        if (kept.n_tokens)
            memmove(tokens + tokens_at, tokens + kept.tokens_at,
                    (size_t)kept.n_tokens * sizeof *tokens);
        kept.id_at = id_at;
        kept.tokens_at = tokens_at;
        id_at += (size_t)kept.id_len;
        tokens_at += (size_t)kept.n_tokens;
        e[n++] = kept;
    }
    p->ids.len = id_at;
    p->tokens.len = tokens_at * sizeof *tokens;
    p->entries.len = n * sizeof *e;
    p->n = p->n_old = (int64_t)n;
    p->sealed = false;
}

int vn_packer_take(struct vn_packer *p, bool flush, struct vn_packed *out,
                   struct vn_error *err) {
    if (!p->sealed) {
        if (!flush && !vn_packer_full(p))
            return 0;
        int rc = seal(p, err);
        if (rc != VN_OK)
            return rc;
    }
    /* less than a batch waits for more, unless it would clog the window */
    bool wait = !flush && p->tokens_left < p->opts.max_tokens && !holds(p, 2);
    if (p->n_left == 0 || wait) {
        carry_over(p);
        return 0;
    }
    int rc = fill_batch(p, err);
    if (rc != VN_OK)
        return rc;
    *out = (struct vn_packed){.record = (const uint64_t *)p->out_record.data,
                              .id = (const char *const *)p->out_id.data,
                              .id_len = (const int32_t *)p->out_id_len.data,
                              .status = p->out_status.data,
                              .tokens = (const uint16_t *)p->out_tokens.data,
                              .cu_seqlens = (const int32_t *)p->out_cu.data,
                              .n = (int64_t)p->out_status.len};
    return 1;
}

void vn_packer_fill(const struct vn_packer *p, uint64_t *tokens, uint64_t *budget) {
    *tokens = p->sent_tokens;
    *budget = p->sent_budget;
}

void vn_packer_free(struct vn_packer *p) {
    if (!p)
        return;
    struct vn_buf *all[] = {&p->ids,        &p->tokens,     &p->entries,    &p->order,
                            &p->spare,      &p->next,       &p->out_record, &p->out_id,
                            &p->out_id_len, &p->out_status, &p->out_tokens, &p->out_cu};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        vn_buf_release(all[i]);
    free(p);
}
