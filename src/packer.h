/* packer.h - a window of records becomes batches filled to a token budget.
 *
 * Records are taken in input order into a window of bounded records and tokens. When it is
 * full, batches are filled from it, longest record first and then whatever still fits best;
 * what does not fill a batch waits and goes first into the next window. So a record is
 * displaced by less than two windows, which is what vn_order relies on. A record longer
 * than the budget travels alone in a batch of its own. */
#ifndef VN_PACKER_H
#define VN_PACKER_H

#include <stdbool.h>

#include "mem.h"

struct vn_packer;

struct vn_packer_options {
    int64_t max_tokens;    /* budget of a batch, specials included */
    int64_t window;        /* records in the window, at most */
    int64_t window_tokens; /* tokens in the window, at most (a single record may exceed it) */
};

struct vn_packed {
    const uint64_t *record;    /* [n] record numbers */
    const char *const *id;     /* [n] not terminated */
    const int32_t *id_len;     /* [n] */
    const uint8_t *status;     /* [n] the status given to vn_packer_add */
    const uint16_t *tokens;    /* [cu_seqlens[n]] */
    const int32_t *cu_seqlens; /* [n + 1] */
    int64_t n;
};

int vn_packer_new(const struct vn_packer_options *opts, struct vn_packer **out,
                  struct vn_error *err) VN_NODISCARD;

/* Copies a record in. n_tokens 0: a record with nothing to embed. */
int vn_packer_add(struct vn_packer *p, uint64_t record, const char *id, size_t id_len,
                  const uint16_t *tokens, int64_t n_tokens, uint8_t status,
                  struct vn_error *err) VN_NODISCARD;

/* Records in the window: added, and not in a batch that was taken. */
int64_t vn_packer_waiting(const struct vn_packer *p);

/* True when batches should be taken before more is added. */
bool vn_packer_full(const struct vn_packer *p);

/* Takes the next batch: 1, or 0 when more input is needed. With `flush`, at the end of the
 * input or when nothing is to wait any longer, everything comes out. Pointers are valid until
 * the next call. */
int vn_packer_take(struct vn_packer *p, bool flush, struct vn_packed *out,
                   struct vn_error *err) VN_NODISCARD;

/* Tokens sent and the budget of the batches sent: their ratio is the true fill. */
void vn_packer_fill(const struct vn_packer *p, uint64_t *tokens, uint64_t *budget);

void vn_packer_free(struct vn_packer *p); /* NULL is legal */

#endif
