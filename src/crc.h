/* crc.h - CRC-32C (Castagnoli), the checksum of our streams' metadata and bodies.
 *
 * The usual convention (iSCSI, ext4, gRPC): initial value and final xor are all ones, and
 * crc32c("123456789") is e3069283. Thread-safe. */
#ifndef VN_CRC_H
#define VN_CRC_H

#include <stddef.h>
#include <stdint.h>

/* CRC of the bytes whose CRC so far is `crc` (0 for none), followed by p[0..n). Uses the
 * processor's instruction where there is one: above 15 GB/s for blocks of 4 KiB and up. */
uint32_t vn_crc32c(uint32_t crc, const void *p, size_t n);

/* The same by tables, on any machine: what the first is tested against. */
uint32_t vn_crc32c_portable(uint32_t crc, const void *p, size_t n);

#endif
