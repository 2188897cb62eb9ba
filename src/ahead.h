/* ahead.h - several pipes read at the same time, so that none of them holds up another.
 *
 * Where one program feeds several pipes (tee), and another reads them (vn-join), whoever
 * reads only the pipe whose turn it is waits for ever once another one is full: its writer
 * waits for that one. So a thread per pipe reads ahead, `memory` bytes at most of all pipes
 * together, though never less than 2 MiB of each, which keep it going; what is more stays in
 * the pipe, and holds its writer back as it should.
 *
 * That may be too little: how far one pipe must be ahead of another depends on what
 * programs in between hold back. When the reader has waited for bytes of one pipe for a
 * second while another is full, that other one may go on by VN_AHEAD_STEP bytes, every
 * second, and keeps this for good; these lie in a temporary file in $TMPDIR. So there is no
 * deadlock, whatever the sizes, and no reading without bounds.
 *
 * A pipe that fails makes every read of the group that has to wait fail with its error.
 * Regular files are read as they are, without a thread. A group and its sources belong to
 * one thread. */
#ifndef VN_AHEAD_H
#define VN_AHEAD_H

#include "io.h"

#define VN_AHEAD_STEP ((int64_t)64 << 20)

struct vn_ahead;

int vn_ahead_new(int64_t memory, struct vn_ahead **out, struct vn_error *err) VN_NODISCARD;

/* Like vn_source_open, but does not wait for the writer of a FIFO. Close all sources before
 * vn_ahead_free. */
int vn_ahead_open(struct vn_ahead *a, const char *path, struct vn_source **out,
                  struct vn_error *err) VN_NODISCARD;

/* The most bytes that lay in temporary files at a time, of all pipes together. */
int64_t vn_ahead_spilled(const struct vn_ahead *a);

void vn_ahead_free(struct vn_ahead *a); /* NULL is legal */

#endif
