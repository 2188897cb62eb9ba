/* bam.h - reads of SAM, BAM and CRAM, by htslib: not there when built without it.
 *
 * htslib takes input that is cut for its end; here the end is looked at as well: VN_EDATA
 * unless SAM ends with a line, CRAM with its end container, and BAM where bgzf says so (which
 * inflate.h sees to). Each read comes once, as samtools fasta gives it: secondary and
 * supplementary alignments are left out, reads that were aligned to the reverse strand are
 * turned back, and the names of pairs end in /1 and /2. */
#ifndef VN_BAM_H
#define VN_BAM_H

#include "reads.h"

/* Takes over the source (also on failure): the decompressed file. A thread of its own reads
 * from it until the end, a failure, or close. */
int vn_bam_open(struct vn_source *source, bool at_once, struct vn_reads **out,
                struct vn_error *err) VN_NODISCARD;

#endif
