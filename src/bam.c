#include "bam.h"

#include <errno.h>
#include <fcntl.h>
#include <htslib/hfile.h>
#include <htslib/sam.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "num.h"
#include "text.h"

#define STEP ((size_t)256 << 10)
#define BLOCK ((size_t)0xff00) /* bytes in a bgzf block, at most */
#define BLOCK_HEAD 23          /* what is in front of them, and behind */
#define BLOCK_END 8
#define PADDING 4096 /* htslib looks at so much, at most, before it says what a file is */
#define MAGIC 4
#define TAIL 64                /* bytes of the end that are kept: the longest end is 38 */
#define OTHER_ALIGNMENTS 0x900 /* secondary, supplementary: the read comes elsewhere */

struct bam_reads {
    struct vn_reads base;
    struct vn_source *source;
    samFile *file;
    sam_hdr_t *header;
    bam1_t *read;
    struct vn_buf id, seq;
    uint64_t n_reads; /* begun, those left out included */
    uint64_t number;
    /* the feeder: owned by its thread until that is joined */
    pthread_t thread;
    bool running;
    int to; /* where it writes: a pipe to htslib */
    int rc;
    struct vn_error err;
    int64_t bytes;
    bool in_blocks; /* what it writes */
    uint8_t tail[TAIL];
    uint8_t buf[STEP];
    uint8_t block[BLOCK_HEAD + BLOCK + BLOCK_END];
};

/* ---- the feeder ------------------------------------------------------------------ */

static void keep_tail(struct bam_reads *b, const uint8_t *p, size_t n) {
    size_t new = n < TAIL ? n : TAIL;
    memmove(b->tail, b->tail + new, TAIL - new);
    memcpy(b->tail + TAIL - new, p + n - new, new);
}

static int write_all(struct bam_reads *b, const uint8_t *p, size_t n) {
    for (size_t at = 0; at < n;) {
        ssize_t done = write(b->to, p + at, n - at);
        if (done < 0 && errno == EPIPE)
            return VN_EPIPE;
        if (done < 0 && errno != EINTR)
            return vn_fail_errno(&b->err, VN_EFAIL, errno, "cannot pass '%s' on to htslib",
                                 b->source->name);
        at += done > 0 ? (size_t)done : 0;
    }
    return VN_OK;
}

/* n bytes, at most BLOCK, as a bgzf block that holds them as they are. */
static int write_block(struct bam_reads *b, const uint8_t *p, size_t n) {
    static const uint8_t head[BLOCK_HEAD] = {31, 139, 8, 4, 0, 0, 0, 0, 0, 255, 6, 0,
                                             'B', 'C', 2, 0, 0, 0, 1};
    const size_t size = BLOCK_HEAD + n + BLOCK_END;
    uint8_t *to = b->block;
    memcpy(to, head, BLOCK_HEAD);
    vn_store16(to + 16, (uint16_t)(size - 1));
    vn_store16(to + 19, (uint16_t)n);
    vn_store16(to + 21, (uint16_t)~n);
    memcpy(to + BLOCK_HEAD, p, n);
    vn_store32(to + BLOCK_HEAD + n, (uint32_t)crc32(0, p, (uInt)n));
    vn_store32(to + BLOCK_HEAD + n + 4, (uint32_t)n);
    return write_all(b, to, size);
}

/* Of plain SAM and BAM htslib wants 64 KiB before it gives the first read, and of blocks only
 * the one where the read ends: at once is by blocks, each as large as what has come. */
static int pass_on(struct bam_reads *b, size_t n) {
    if (!b->in_blocks)
        return write_all(b, b->buf, n);
    int rc = VN_OK;
    for (size_t at = 0; at < n && rc == VN_OK; at += BLOCK)
        rc = write_block(b, b->buf + at, n - at < BLOCK ? n - at : BLOCK);
    for (int i = 0; b->bytes == MAGIC && i < PADDING && rc == VN_OK;
         i += BLOCK_HEAD + BLOCK_END)
        rc = write_block(b, b->buf, 0);
    return rc;
}

/* All of the source into the pipe. htslib may close its end early: then what is left is read
 * by nobody, which end_of_input() finds. */
static void *feed(void *arg) {
    struct bam_reads *b = arg;
    int64_t n = vn_read_full(b->source, b->buf, MAGIC, &b->err);
    if (n == MAGIC && !memcmp(b->buf, "CRAM", MAGIC))
        b->in_blocks = false;
    while (n > 0) {
        b->bytes += n;
        keep_tail(b, b->buf, (size_t)n);
        n = pass_on(b, (size_t)n);
        if (n == VN_OK)
            n = b->source->read(b->source, b->buf, sizeof b->buf, &b->err);
    }
    b->rc = (int)n;
    close(b->to);
    return NULL;
}

/* With all signals blocked: they are the main thread's, and SIGPIPE nobody's. */
static int start_feeder(struct bam_reads *b, int to, struct vn_error *err) {
    sigset_t all, old;
    b->to = to;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&b->thread, NULL, feed, b);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    b->running = rc == 0;
    if (rc == 0)
        return VN_OK;
    close(to);
    return vn_fail_errno(err, VN_EFAIL, rc, "cannot start a thread to read '%s'",
                         b->source->name);
}

/* Ends the reading on both sides, so that what the feeder knows may be looked at. */
static void stop(struct bam_reads *b) {
    if (b->file)
        sam_close(b->file);
    b->file = NULL;
    if (b->running)
        pthread_join(b->thread, NULL);
    b->running = false;
}

/* ---- opening --------------------------------------------------------------------- */

static int malformed(struct bam_reads *b, const char *what, struct vn_error *err) {
    stop(b);
    if (b->rc < 0 && b->rc != VN_EPIPE) { /* the source had failed, and said why */
        if (err)
            *err = b->err;
        return b->rc;
    }
    return vn_fail(err, VN_EDATA, "bad alignment file '%s': %s (read %llu)", b->source->name,
                   what, (unsigned long long)b->n_reads);
}

static int open_pipe(struct bam_reads *b, struct vn_error *err) {
    int fd[2];
    if (pipe2(fd, O_CLOEXEC) != 0)
        return vn_fail_errno(err, VN_EFAIL, errno, "cannot make a pipe");
    fcntl(fd[1], F_SETPIPE_SZ, (int)STEP); /* if refused, a step waits for htslib: slower */
    hFILE *in = hdopen(fd[0], "r");
    if (!in) {
        close(fd[0]);
        close(fd[1]);
        return vn_fail(err, VN_EFAIL, "cannot open a pipe to htslib");
    }
    int rc = start_feeder(b, fd[1], err);
    if (rc != VN_OK) {
        hclose_abruptly(in);
        return rc;
    }
    b->file = hts_hopen(in, b->source->name, "r");
    if (!b->file) {
        hclose_abruptly(in);
        return malformed(b, "htslib does not know what it is", err);
    }
    b->header = sam_hdr_read(b->file);
    return b->header ? VN_OK : malformed(b, "its header is damaged or cut", err);
}

/* ---- reads ----------------------------------------------------------------------- */

/* The containers that end CRAM 3 and CRAM 2.1. */
static bool ends_as_cram(const uint8_t *end) {
    static const uint8_t v3[38] =
        "\x0f\0\0\0\xff\xff\xff\xff\x0f\xe0\x45\x4f\x46\0\0\0\0\1\0\5\xbd\xd9\x4f\0\1\0\6\6\1"
        "\0\1\0\1\0\xee\x63\1\x4b";
    static const uint8_t v2[30] =
        "\x0b\0\0\0\xff\xff\xff\xff\x0f\xe0\x45\x4f\x46\0\0\0\0\1\0\0\1\0\6\6\1\0\1\0\1";
    return !memcmp(end - sizeof v3, v3, sizeof v3) || !memcmp(end - sizeof v2, v2, sizeof v2);
}

/* htslib has seen the end: is it one? */
static int end_of_input(struct bam_reads *b, struct vn_error *err) {
    enum htsExactFormat format = b->file->format.format;
    const uint8_t *end = b->tail + TAIL;
    stop(b);
    if (b->rc < 0)
        return malformed(b, "there is more behind its end", err);
    if ((format == cram && !ends_as_cram(end)) || (format == sam && end[-1] != '\n'))
        return malformed(b, "truncated: it ends without an end mark", err);
    return 0;
}

static int set_id(struct bam_reads *b, struct vn_error *err) {
    const char *name = bam_get_qname(b->read);
    int part = b->read->core.flag & (BAM_FREAD1 | BAM_FREAD2);
    const char *suffix = part == BAM_FREAD1 ? "/1" : part == BAM_FREAD2 ? "/2" : "";
    if (!vn_utf8_valid(name, strlen(name)))
        return malformed(b, "a name is not UTF-8", err);
    b->id.len = 0;
    int rc = vn_buf_puts(&b->id, name, err);
    return rc == VN_OK ? vn_buf_puts(&b->id, suffix, err) : rc;
}

/* Four bits a letter: A 1, C 2, G 4, T 8, several of them for a letter of several bases; the
 * complement is the bits in reverse order. */
static int set_sequence(struct bam_reads *b, struct vn_error *err) {
    size_t n = (size_t)b->read->core.l_qseq;
    const uint8_t *packed = bam_get_seq(b->read);
    int rc = vn_buf_resize(&b->seq, n, err);
    if (rc != VN_OK)
        return rc;
    if (b->read->core.flag & BAM_FREVERSE)
        for (size_t i = 0; i < n; i++) {
            unsigned x = bam_seqi(packed, n - 1 - i);
            x = (x & 1) << 3 | (x & 2) << 1 | (x & 4) >> 1 | x >> 3;
            b->seq.data[i] = (uint8_t)seq_nt16_str[x];
        }
    else
        for (size_t i = 0; i < n; i++)
            b->seq.data[i] = (uint8_t)seq_nt16_str[bam_seqi(packed, i)];
    return VN_OK;
}

static int bam_next(struct vn_reads *base, struct vn_record *rec, struct vn_error *err) {
    struct bam_reads *b = (struct bam_reads *)base;
    int got;
    do {
        b->n_reads++;
        got = sam_read1(b->file, b->header, b->read);
    } while (got >= 0 && (b->read->core.flag & OTHER_ALIGNMENTS));
    if (got == -1)
        return end_of_input(b, err);
    if (got < 0 && b->file->format.format == cram)
        return malformed(b, "damaged, cut, or its reference sequence is not to be found", err);
    if (got < 0)
        return malformed(b, "damaged or cut", err);
    int rc = set_id(b, err);
    if (rc == VN_OK)
        rc = set_sequence(b, err);
    if (rc != VN_OK)
        return rc;
    *rec = (struct vn_record){.id = (const char *)b->id.data,
                              .id_len = b->id.len,
                              .seq = b->seq.len ? (const char *)b->seq.data : "",
                              .seq_len = b->seq.len,
                              .number = b->number++};
    return 1;
}

static int64_t bam_bytes(struct vn_reads *base) {
    struct bam_reads *b = (struct bam_reads *)base;
    stop(b); /* they are the feeder's until then */
    return b->bytes;
}

static void bam_close(struct vn_reads *base) {
    struct bam_reads *b = (struct bam_reads *)base;
    stop(b);
    sam_hdr_destroy(b->header);
    bam_destroy1(b->read);
    vn_source_close(b->source);
    vn_buf_release(&b->id);
    vn_buf_release(&b->seq);
    free(b);
}

int vn_bam_open(struct vn_source *source, bool at_once, struct vn_reads **out,
                struct vn_error *err) {
    struct bam_reads *b = vn_calloc(1, sizeof *b, err);
    if (!b) {
        vn_source_close(source);
        return VN_EFAIL;
    }
    hts_set_log_level(HTS_LOG_OFF); /* programs say what went wrong, in their own words */
    b->base = (struct vn_reads){bam_next, bam_bytes, bam_close, source->name};
    b->source = source;
    b->in_blocks = at_once;
    b->read = bam_init1();
    int rc = b->read ? open_pipe(b, err)
                     : vn_fail(err, VN_EFAIL, "cannot allocate a reader of alignments");
    if (rc == VN_OK)
        *out = &b->base;
    else
        bam_close(&b->base);
    return rc;
}
