/* arrow.h - Arrow's IPC messages: the metadata in front of every body.
 *
 * Internal to the stream layer; programs include stream.h. A message is FFFFFFFF, the
 * length of the metadata (int32), the metadata (a flatbuffer, padded to 8 bytes) and a body.
 * Our own messages carry, as custom metadata, "vn.crc32c": the CRC-32C of the metadata with
 * that value taken as "00000000". */
#ifndef VN_ARROW_H
#define VN_ARROW_H

#include "batch.h"

#define VN_ARROW_CONTINUATION 0xffffffffu
#define VN_ARROW_PREFIX 8

enum vn_arrow_header {
    VN_ARROW_SCHEMA = 1,
    VN_ARROW_DICTIONARY = 2,
    VN_ARROW_BATCH = 3
};

struct vn_arrow_node {
    int64_t length, null_count;
};

struct vn_arrow_buffer {
    int64_t offset, length; /* in the body; length without padding */
};

/* Custom metadata of a message that the stream knows; NULL when absent. The texts lie in
 * the metadata, terminated. */
struct vn_arrow_marks {
    const char *crc, *batch, *records, *body_crc, *totals;
};

/* A message read: everything points into the metadata, which must stay. */
struct vn_arrow_message {
    const uint8_t *meta;
    size_t n;
    bool version_5; /* or V4, which has the same layout for our types */
    enum vn_arrow_header type;
    int64_t body; /* bytes */
    struct vn_arrow_marks marks;
};

struct vn_arrow_batch {
    int64_t rows;
    size_t n_nodes, n_buffers;
    const uint8_t *nodes, *buffers; /* of 16 bytes each */
    bool compressed;                /* zstd, buffer by buffer */
};

/* VN_EDATA unless the metadata is a sound message; a CRC that is there must be right. */
int vn_arrow_parse(const uint8_t *meta, size_t n, struct vn_arrow_message *out,
                   struct vn_error *err) VN_NODISCARD;

/* The schema of a schema message; `out` is released on failure. What our streams have no
 * place for is VN_EINCOMPAT by its name. Unless lax: vn.format and vn.kind are demanded. */
int vn_arrow_read_schema(const struct vn_arrow_message *m, bool lax, struct vn_schema *out,
                         struct vn_error *err) VN_NODISCARD;
int vn_arrow_read_batch(const struct vn_arrow_message *m, struct vn_arrow_batch *out,
                        struct vn_error *err) VN_NODISCARD;
struct vn_arrow_node vn_arrow_node(const struct vn_arrow_batch *b, size_t i);
struct vn_arrow_buffer vn_arrow_buffer(const struct vn_arrow_batch *b, size_t i);

/* Appends a whole message, prefix and padding included, without its body; its length is
 * a multiple of 8. */
int vn_arrow_write_schema(const struct vn_schema *s, struct vn_buf *out,
                          struct vn_error *err) VN_NODISCARD;

struct vn_arrow_outgoing {
    int64_t rows, body;
    const struct vn_arrow_node *nodes;
    const struct vn_arrow_buffer *buffers;
    size_t n_nodes, n_buffers;
    struct vn_arrow_marks marks; /* but for crc; NULL: left out */
};
int vn_arrow_write_batch(const struct vn_arrow_outgoing *b, struct vn_buf *out,
                         struct vn_error *err) VN_NODISCARD;

/* Footer of Arrow's file format: the schema again and where the record batches are. */
struct vn_arrow_block {
    int64_t offset, body; /* of the message in the file; of its body */
    int32_t meta;         /* prefix, metadata and padding */
};
int vn_arrow_write_footer(const struct vn_schema *s, const struct vn_arrow_block *blocks,
                          size_t n_blocks, struct vn_buf *out, struct vn_error *err)
    VN_NODISCARD;

/* Values of the payload's lists: what vn_totals.tokens counts. The column, or -1. */
int vn_arrow_payload(const struct vn_schema *s);
uint64_t vn_arrow_tokens(const struct vn_schema *s, int payload, const struct vn_batch *b);

#endif
