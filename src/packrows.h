/* packrows.h - what a packer gives out, as batches of a tokens stream.
 *
 * From FASTA and FASTQ come the columns id, record, tokens, status. From a records stream
 * come its own columns in their order: the sequences that were tokenized have become
 * "tokens", those of the other kind ("protein", "nucleotide") stay behind, the rest is
 * carried along with its row; "status" is added where there is none. */
#ifndef VN_PACKROWS_H
#define VN_PACKROWS_H

#include "batch.h"
#include "fastx.h"
#include "packer.h"

/* What the packer is given as a record's status. */
enum vn_pack_status {
    VN_PACK_OK,
    VN_PACK_EMPTY,
    VN_PACK_TRUNCATED,
    VN_PACK_WINDOWED,
    VN_PACK_TOO_LONG,
    VN_PACK_AS_IT_CAME, /* the row of the records stream says why it has no sequence */
    VN_PACK_STATUSES
};

struct vn_packrows;

/* For a records stream with these columns whose sequences are in `column`; NULL, NULL for
 * FASTA and FASTQ. VN_EINCOMPAT when a column is missing or of another type. */
int vn_packrows_new(const struct vn_schema *records, const char *column,
                    struct vn_packrows **out, struct vn_error *err) VN_NODISCARD;

/* Schema of what comes out, provenance of the records included: the caller adds its own. */
struct vn_schema *vn_packrows_schema(struct vn_packrows *p);

/* Schema of the records, a copy; NULL for FASTA and FASTQ. */
const struct vn_schema *vn_packrows_input(const struct vn_packrows *p);

/* A row of a records stream as a record, which lives as long as the batch; seq is NULL when
 * it has none. Remembers what is to be carried along. Rows must come in order, numbered
 * from 0: VN_EDATA. */
int vn_packrows_take(struct vn_packrows *p, const struct vn_batch *b, int64_t row,
                     struct vn_record *out, struct vn_error *err) VN_NODISCARD;

/* The batch of these records. Its columns are views, valid until the next call and no
 * longer than `in` is. */
int vn_packrows_batch(struct vn_packrows *p, const struct vn_packed *in,
                      struct vn_batch *out, struct vn_error *err) VN_NODISCARD;

void vn_packrows_free(struct vn_packrows *p); /* NULL is legal */

#endif
