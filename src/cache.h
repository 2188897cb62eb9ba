/* cache.h - small files that spare a later run work that gives the same every time.
 *
 * They lie in $XDG_CACHE_HOME/vn, or in $HOME/.cache/vn where that is not set (or not an
 * absolute path, as the XDG base directory specification has it). A cache is never needed:
 * where there is no such directory, it cannot be written, or an entry is missing, damaged,
 * no ordinary file or another user's, the work is done again, and nobody is told. Entries
 * appear whole under their name and carry their CRC-32C. Thread-safe.
 *
 * Compiles as C11 and as C++17. */
#ifndef VN_CACHE_H
#define VN_CACHE_H

#include "vn.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VN_CACHE_MAX ((size_t)1 << 20) /* bytes of an entry */

/* Reads the entry `name` (a file name) and terminates it with a 0 that does not count; its
 * bytes, or -1 where there is none that can be believed or it has `cap` bytes or more. */
int64_t vn_cache_read(const char *name, char *out, size_t cap);

/* Writes or replaces the entry, as far as that is possible. */
void vn_cache_write(const char *name, const char *data, size_t n);

#ifdef __cplusplus
}
#endif
#endif
