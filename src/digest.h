/* digest.h - the SHA-256 of large files, in the background, and never twice.
 *
 * A digest is kept in the cache (cache.h) beside what identifies the file: device, inode,
 * size, and the times of its last modification and change in nanoseconds, as git's index
 * does it. Whoever writes to a file changes its ctime, which no program can set back. A file
 * that changed in the two seconds before it was read is not kept: it might change again
 * within the granularity of its times. Small files are not kept either. Files without a
 * digest are hashed by threads, several side by side, while the caller does other work. */
#ifndef VN_DIGEST_H
#define VN_DIGEST_H

#include <stdbool.h>
#include <sys/stat.h>

#include "err.h"

#define VN_DIGEST_SMALL ((size_t)8 << 20) /* bytes below which nothing is kept */

struct vn_digest_file {
    const char *path; /* to see afterwards whether the file is still the same */
    const void *data; /* [size] mapped; must stay until vn_digest_end */
    size_t size;
    struct stat identity; /* when it was mapped */
    char hex[65];         /* out, lower case; set once vn_digest_end has returned */
    bool cached;          /* out: not read, but known */
};

struct vn_digest;

/* Begins with n >= 1 files, which must stay until vn_digest_end. `use_cache` false: reads
 * them all, and refreshes what is kept. */
int vn_digest_begin(struct vn_digest_file *files, int64_t n, bool use_cache,
                    struct vn_digest **out, struct vn_error *err) VN_NODISCARD;

/* Waits until every file has its digest and frees d. */
void vn_digest_end(struct vn_digest *d);

/* The same without the digests, soon. NULL is legal. */
void vn_digest_cancel(struct vn_digest *d);

#endif
