/* ptzip.h - the zip file that torch.save writes (torch 1.6 and later), as a table of entries.
 *
 * Its entries lie in one folder of any name: data.pkl, the pickle; data/KEY, the bytes of
 * the storage with that key; byteorder. What an entry says of its size is believed only if
 * the bytes in the file can yield it, so that nothing is allocated for a lie. */
#ifndef VN_PTZIP_H
#define VN_PTZIP_H

#include "mem.h"

struct vn_ptzip;

/* Opens a zip file of `size` bytes with just one data.pkl, little-endian. VN_EDATA. */
int vn_ptzip_open(const char *path, uint64_t size, struct vn_ptzip **out,
                  struct vn_error *err) VN_NODISCARD;
void vn_ptzip_close(struct vn_ptzip *z); /* NULL is legal */

/* The pickle, replacing what is in `out`. VN_EDATA also if it has more than `most` bytes. */
int vn_ptzip_pickle(struct vn_ptzip *z, uint64_t most, struct vn_buf *out,
                    struct vn_error *err) VN_NODISCARD;

/* Number and size in bytes of the entry of a storage. VN_EDATA if there is none. */
int vn_ptzip_find(struct vn_ptzip *z, const char *key, uint64_t *entry, uint64_t *size,
                  struct vn_error *err) VN_NODISCARD;

/* The whole entry, of that size, replacing what is in `out`; its CRC is checked. */
int vn_ptzip_read(struct vn_ptzip *z, uint64_t entry, uint64_t size, struct vn_buf *out,
                  struct vn_error *err) VN_NODISCARD;

#endif
