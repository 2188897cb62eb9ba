/* fastx.h - strict FASTA and FASTQ reader.
 *
 * Input is plain text, gzip (any number of members), bgzf or zstd (any number of frames),
 * told apart by magic number, never by file name. Whatever is malformed or cut is VN_EDATA
 * with the file, the record's number (from 1) and the byte of the (uncompressed) text.
 * vn-pack(1) lists what is accepted and what is not. Memory: one record. */
#ifndef VN_FASTX_H
#define VN_FASTX_H

#include "io.h"

struct vn_fastx;

/* One record. Pointers are the reader's, valid until the next call. */
struct vn_record {
    const char *id; /* first word of the header; valid UTF-8, no NUL; not terminated */
    size_t id_len;
    const char *seq; /* letters as they stand, blanks and line ends removed */
    size_t seq_len;
    uint64_t number; /* of the record in its file, from 0 */
    int64_t byte;    /* where its header starts in the text */
};

/* Takes over the source (also on failure), puts the decompressor on it that it needs. */
int vn_fastx_open(struct vn_source *source, struct vn_fastx **out, struct vn_error *err)
    VN_NODISCARD;

/* The same for a source that is plain text already. */
int vn_fastx_open_plain(struct vn_source *source, struct vn_fastx **out,
                        struct vn_error *err) VN_NODISCARD;

/* 1 and a record, 0 at the end, negative on malformed input. */
int vn_fastx_next(struct vn_fastx *f, struct vn_record *rec, struct vn_error *err)
    VN_NODISCARD;

/* Bytes of (uncompressed) text read so far. */
int64_t vn_fastx_bytes(const struct vn_fastx *f);

const char *vn_fastx_name(const struct vn_fastx *f);
void vn_fastx_close(struct vn_fastx *f); /* NULL is legal */

#endif
