/* io.h - bytes in and bytes out.
 *
 * A source yields bytes; decompressors (inflate.h) and tests put their own reader behind the
 * same struct. A sink is a file descriptor, written by the batch or through a small text
 * buffer. Both loop over short counts, EINTR and EAGAIN; neither touches SIGPIPE.
 *
 * A sink opened on a path writes to a temporary name in the same directory and takes its
 * final name only in vn_sink_close: what has the final name is complete. A process that is
 * killed by SIGINT, SIGTERM or SIGHUP removes the temporary file (vn_sink_unlink_pending,
 * installed by tool.c). */
#ifndef VN_IO_H
#define VN_IO_H

#include <stdbool.h>
#include <sys/uio.h>

#include "mem.h"

/* ---- sources --------------------------------------------------------------------- */

struct vn_source {
    /* Reads 1..n bytes into buf and returns how many, 0 at the end (and again after it),
     * or a negative status with err set. Called with n > 0 only; callers loop. */
    int64_t (*read)(struct vn_source *s, void *buf, size_t n, struct vn_error *err);
    void (*close)(struct vn_source *s); /* frees s and what it owns */
    char *name; /* for messages: the path, or "standard input"; owned by the source */
};

/* Opens a file, or standard input for NULL and "-". VN_ENOINPUT when that cannot be. The writer
 * of a FIFO is waited for by the first read, which may be interrupted, and not here. */
int vn_source_open(const char *path, struct vn_source **out, struct vn_error *err)
    VN_NODISCARD;

/* A source over memory that stays the caller's and must outlive it. */
int vn_source_memory(const void *data, size_t n, const char *name, struct vn_source **out,
                     struct vn_error *err) VN_NODISCARD;

/* Reads until n bytes are there or the input ends; returns how many (less than n only at
 * the end), or a negative status. */
int64_t vn_read_full(struct vn_source *s, void *buf, size_t n, struct vn_error *err)
    VN_NODISCARD;

/* Looks at the first bytes of a source that nothing was read from: copies at most n <=
 * VN_PEEK of them to head, their number to *got, and puts a source in place of *s that
 * gives them again. *s stays the caller's, on failure too. */
#define VN_PEEK 16
int vn_source_peek(struct vn_source **s, void *head, size_t n, size_t *got,
                   struct vn_error *err) VN_NODISCARD;

/* Replaces what is in `out` by a whole file of at most `max` bytes. VN_ENOINPUT; VN_EDATA
 * for a larger one. */
int vn_read_file(const char *path, size_t max, struct vn_buf *out,
                 struct vn_error *err) VN_NODISCARD;

/* NULL is legal. */
void vn_source_close(struct vn_source *s);

/* For a source that one thread reads while another may have to end that: from
 * vn_source_interrupt on every read fails with VN_EINTERNAL, one that is waiting for bytes
 * at that moment too. Sources of memory never wait and are left as they are. */
int vn_source_interruptible(struct vn_source *s, struct vn_error *err) VN_NODISCARD;
void vn_source_interrupt(struct vn_source *s);

/* ---- sinks ----------------------------------------------------------------------- */

struct vn_sink;

/* Opens a file to be replaced, or standard output for NULL and "-". On a pipe the kernel
 * buffer is raised to 1 MiB where that is allowed. VN_EWRITE when that cannot be. */
int vn_sink_open(const char *path, struct vn_sink **out, struct vn_error *err) VN_NODISCARD;

/* Collects everything in `buf`, which stays the caller's and is appended to. For tests. */
int vn_sink_memory(struct vn_buf *buf, struct vn_sink **out, struct vn_error *err)
    VN_NODISCARD;

/* Writes all of the n vectors (n <= 1024), after what the text buffer holds; the array is
 * used up. VN_EWRITE or VN_EPIPE on failure. */
int vn_sink_writev(struct vn_sink *s, struct iovec *iov, int n, struct vn_error *err)
    VN_NODISCARD;
int vn_sink_write(struct vn_sink *s, const void *p, size_t n, struct vn_error *err)
    VN_NODISCARD;

/* Buffered text: sent when 64 KiB are there, at vn_sink_flush and at close. */
int vn_sink_puts(struct vn_sink *s, const char *text, size_t n, struct vn_error *err)
    VN_NODISCARD;
int vn_sink_flush(struct vn_sink *s, struct vn_error *err) VN_NODISCARD;

/* Flushes, closes, gives a file its final name, frees the sink: also after failure. The
 * result must be checked: a full disk may show here first. */
int vn_sink_close(struct vn_sink *s, struct vn_error *err) VN_NODISCARD;

/* Drops buffered text, removes an unfinished file, frees the sink. NULL is legal. */
void vn_sink_abort(struct vn_sink *s);

const char *vn_sink_name(const struct vn_sink *s);

/* ---- temporary files ------------------------------------------------------------- */

/* A file in $TMPDIR (/tmp where that is not set) that has no name, so that nothing can be
 * left behind: its descriptor, which the caller closes, or VN_EWRITE. */
int vn_temp_open(struct vn_error *err) VN_NODISCARD;

/* All of the n bytes from `at` on. VN_EWRITE; VN_EFAIL where they cannot be read back. */
int vn_temp_write(int fd, const void *p, size_t n, uint64_t at, struct vn_error *err)
    VN_NODISCARD;
int vn_temp_read(int fd, void *p, size_t n, uint64_t at, struct vn_error *err) VN_NODISCARD;

/* ---- signals --------------------------------------------------------------------- */

/* Has a killed process remove another path, too: a file, or a directory if it is empty
 * without the files. The text stays the caller's, who keeps it until vn_pending_drop. -1
 * when 16 are there already: that one will stay behind. */
int vn_pending_add(char *path);
void vn_pending_drop(int slot); /* -1 is legal */

/* Removes the temporary files of all open sinks, and what was added. Async-signal-safe. */
void vn_sink_unlink_pending(void);

#endif
