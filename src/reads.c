#include "reads.h"

#include <stdlib.h>
#include <string.h>

#include "bam.h"
#include "inflate.h"

#define HEAD 4 /* bytes that tell what a file is */

/* ---- FASTA and FASTQ ------------------------------------------------------------- */

struct text_reads {
    struct vn_reads base;
    struct vn_fastx *in;
};

static int text_next(struct vn_reads *r, struct vn_record *rec, struct vn_error *err) {
    return vn_fastx_next(((struct text_reads *)r)->in, rec, err);
}

static int64_t text_bytes(struct vn_reads *r) {
    return vn_fastx_bytes(((struct text_reads *)r)->in);
}

static void text_close(struct vn_reads *r) {
    vn_fastx_close(((struct text_reads *)r)->in);
    free(r);
}

static int open_text(struct vn_source *source, struct vn_reads **out, struct vn_error *err) {
    struct text_reads *t = vn_calloc(1, sizeof *t, err);
    if (!t) {
        vn_source_close(source);
        return VN_EFAIL;
    }
    int rc = vn_fastx_open_plain(source, &t->in, err);
    if (rc != VN_OK) {
        free(t);
        return rc;
    }
    t->base = (struct vn_reads){text_next, text_bytes, text_close, vn_fastx_name(t->in)};
    *out = &t->base;
    return VN_OK;
}

/* ---- any ------------------------------------------------------------------------- */

static bool is_alignments(const uint8_t *head, size_t n) {
    static const char begins[][HEAD + 1] = {"BAM\1",  "CRAM",   "@HD\t", "@SQ\t",
                                            "@RG\t", "@PG\t", "@CO\t"};
    for (size_t i = 0; n == HEAD && i < sizeof begins / sizeof *begins; i++)
        if (!memcmp(head, begins[i], HEAD))
            return true;
    return false;
}

static int open_alignments(struct vn_source *source, bool at_once, struct vn_reads **out,
                           struct vn_error *err) {
#if VN_HAVE_HTSLIB
    return vn_bam_open(source, at_once, out, err);
#else
    (void)at_once, (void)out;
    int rc = vn_fail(err, VN_EINCOMPAT,
                     "cannot read '%s': it holds alignments, and vn was built without htslib",
                     source->name);
    vn_source_close(source);
    return rc;
#endif
}

int vn_reads_open(struct vn_source *source, bool at_once, struct vn_reads **out,
                  struct vn_error *err) {
    struct vn_source *plain;
    uint8_t head[HEAD];
    size_t n = 0;
    *out = NULL;
    int rc = vn_source_decompress(source, &plain, err);
    if (rc != VN_OK)
        return rc;
    rc = vn_source_peek(&plain, head, HEAD, &n, err);
    if (rc != VN_OK) {
        vn_source_close(plain);
        return rc;
    }
    return is_alignments(head, n) ? open_alignments(plain, at_once, out, err)
                                  : open_text(plain, out, err);
}
