/* reads.h - sequences from a file of any kind that we know: FASTA, FASTQ, SAM, BAM, CRAM.
 *
 * Told apart by their first bytes behind gzip, bgzf or zstd. Kinds of input put their own
 * reader behind the same struct, as sources do. */
#ifndef VN_READS_H
#define VN_READS_H

#include "fastx.h"

struct vn_reads {
    /* 1 and a record, valid until the next call; 0 at the end, negative on malformed input. */
    int (*next)(struct vn_reads *r, struct vn_record *rec, struct vn_error *err);
    /* Bytes read, of what decompression gave: to be asked after the last next(). */
    int64_t (*bytes)(struct vn_reads *r);
    void (*close)(struct vn_reads *r); /* frees r and what it owns */
    const char *name;                  /* of the source, for messages */
};

/* Takes over the source (also on failure). at_once: for a source that is still being written;
 * a read of SAM and BAM is given out when its last byte has come, as is always one of FASTQ;
 * otherwise when 64 KiB more have, which is cheaper. VN_EINCOMPAT for alignments where vn was
 * built without htslib. */
int vn_reads_open(struct vn_source *source, bool at_once, struct vn_reads **out,
                  struct vn_error *err) VN_NODISCARD;

#endif
