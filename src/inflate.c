#include "inflate.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#define IN_SIZE ((size_t)256 << 10)
#define HEAD_SIZE 6      /* bytes that tell every known format apart */
#define EXTRA_SIZE 256   /* of a gzip header's extra field; bgzf writes 6 */
#define BGZF_EOF_SIZE 28 /* the empty block that ends a bgzf file */

struct packed_source {
    struct vn_source base;
    struct vn_source *inner;
    uint8_t *in;      /* [IN_SIZE] compressed bytes; plain text: the head only */
    size_t pos, len;  /* of in[] */
    int64_t in_start; /* byte of the file that in[0] is */
    bool in_eof;

    z_stream z;
    gz_header header;
    uint8_t extra[EXTRA_SIZE];
    bool in_member;     /* between a gzip member's first and last byte */
    bool bgzf;          /* the member has a bgzf block's extra field ... */
    int64_t block_size; /* ... which states this many bytes */
    bool ended_open;    /* the last whole member was a bgzf block but no end block */

    ZSTD_DCtx *zstd;
    bool in_frame; /* between a zstd frame's first and last byte */
};

static int64_t at_byte(const struct packed_source *p) {
    return p->in_start + (int64_t)p->pos;
}

static int truncated(const struct packed_source *p, const char *what,
                     struct vn_error *err) {
    return vn_fail(err, VN_EDATA,
                   "'%s' is truncated: %s (byte %lld of the compressed data)",
                   p->base.name, what, (long long)at_byte(p));
}

static int damaged(const struct packed_source *p, const char *what,
                   struct vn_error *err) {
    return vn_fail(err, VN_EDATA,
                   "'%s' is damaged: %s (near byte %lld of the compressed data)",
                   p->base.name, what, (long long)at_byte(p));
}

/* Reads more compressed bytes once all are used: 1, 0 at the end, or negative. */
static int refill(struct packed_source *p, struct vn_error *err) {
    if (p->pos < p->len)
        return 1;
    if (p->in_eof)
        return 0;
    int64_t n = p->inner->read(p->inner, p->in, IN_SIZE, err);
    if (n < 0)
        return (int)n;
    p->in_start += (int64_t)p->len;
    p->pos = 0;
    p->len = (size_t)n;
    p->in_eof = n == 0;
    return n > 0;
}

/* ---- plain text ------------------------------------------------------------------ */

static int64_t plain_read(struct vn_source *s, void *buf, size_t n,
                          struct vn_error *err) {
    struct packed_source *p = (struct packed_source *)s;
    if (p->pos == p->len)
        return p->inner->read(p->inner, buf, n, err);
    if (n > p->len - p->pos)
        n = p->len - p->pos;
    memcpy(buf, p->in + p->pos, n);
    p->pos += n;
    return (int64_t)n;
}

/* ---- gzip and bgzf --------------------------------------------------------------- */

static int start_member(struct packed_source *p, struct vn_error *err) {
    if (inflateReset(&p->z) != Z_OK)
        return vn_fail(err, VN_EINTERNAL, "cannot reset the gzip decoder");
    memset(&p->header, 0, sizeof p->header);
    p->header.extra = p->extra;
    p->header.extra_max = EXTRA_SIZE;
    inflateGetHeader(&p->z, &p->header);
    p->in_member = true;
    return VN_OK;
}

/* Between members. 1: another member starts; 0: the proper end, padding of zeros
 * included, which is what tapes and block-wise copies leave behind a gzip file. */
static int next_member(struct packed_source *p, struct vn_error *err) {
    int rc = refill(p, err);
    if (rc > 0 && p->in[p->pos] != 0) {
        if (p->in[p->pos] != 0x1f)
            return damaged(p, "what follows is no gzip member", err);
        return start_member(p, err) == VN_OK ? 1 : VN_EINTERNAL;
    }
    while (rc > 0) {
        while (p->pos < p->len && p->in[p->pos] == 0)
            p->pos++;
        if (p->pos < p->len)
            return damaged(p, "what follows is neither a gzip member nor padding", err);
        rc = refill(p, err);
    }
    if (rc == 0 && p->ended_open)
        return truncated(p, "the empty block that ends a bgzf file is missing", err);
    return rc;
}

/* Looks for the bgzf subfield, 'B' 'C' 2 0 and the block's size less one. */
static void look_for_bgzf(struct packed_source *p) {
    size_t n = p->header.extra_len < EXTRA_SIZE ? p->header.extra_len : EXTRA_SIZE;
    const uint8_t *x = p->extra;
    p->bgzf = false;
    for (size_t i = 0; p->header.extra && i + 4 <= n;) {
        size_t size = x[i + 2] | (size_t)x[i + 3] << 8;
        if (x[i] == 'B' && x[i + 1] == 'C' && size == 2 && i + 6 <= n) {
            p->bgzf = true;
            p->block_size = (x[i + 4] | x[i + 5] << 8) + 1;
            return;
        }
        i += 4 + size;
    }
}

static int end_member(struct packed_source *p, struct vn_error *err) {
    look_for_bgzf(p);
    p->in_member = false;
    p->ended_open = p->bgzf && (p->z.total_out != 0 || p->z.total_in != BGZF_EOF_SIZE);
    if (p->bgzf && (int64_t)p->z.total_in != p->block_size)
        return damaged(p, "a bgzf block is not as long as it states", err);
    return VN_OK;
}

static int64_t gzip_read(struct vn_source *s, void *buf, size_t n, struct vn_error *err) {
    struct packed_source *p = (struct packed_source *)s;
    n = n < UINT_MAX ? n : UINT_MAX;
    for (;;) {
        int rc = p->in_member ? refill(p, err) : next_member(p, err);
        if (rc < 0 || (rc == 0 && !p->in_member))
            return rc;
        if (rc == 0)
            return truncated(p, "it ends inside a gzip member", err);
        p->z.next_in = p->in + p->pos;
        p->z.avail_in = (uInt)(p->len - p->pos);
        p->z.next_out = buf;
        p->z.avail_out = (uInt)n;
        int z = inflate(&p->z, Z_NO_FLUSH);
        p->pos = p->len - p->z.avail_in;
        if (z == Z_MEM_ERROR)
            return vn_fail(err, VN_EFAIL, "cannot allocate the gzip decoder's window");
        if (z != Z_OK && z != Z_STREAM_END && z != Z_BUF_ERROR)
            return damaged(p, p->z.msg ? p->z.msg : "it cannot be decoded", err);
        if (z == Z_STREAM_END && (rc = end_member(p, err)) != VN_OK)
            return rc;
        if (n > p->z.avail_out)
            return (int64_t)(n - p->z.avail_out);
    }
}

/* ---- zstd ------------------------------------------------------------------------ */

static int64_t zstd_read(struct vn_source *s, void *buf, size_t n, struct vn_error *err) {
    struct packed_source *p = (struct packed_source *)s;
    ZSTD_outBuffer out = {buf, n, 0};
    for (;;) {
        /* the decoder keeps back a frame's last byte until all output has found room */
        int rc = refill(p, err);
        if (rc < 0 || (rc == 0 && !p->in_frame))
            return rc;
        if (rc == 0)
            return truncated(p, "it ends inside a zstd frame", err);
        ZSTD_inBuffer in = {p->in, p->len, p->pos};
        size_t rest = ZSTD_decompressStream(p->zstd, &out, &in);
        p->pos = in.pos;
        if (ZSTD_isError(rest))
            return damaged(p, ZSTD_getErrorName(rest), err);
        p->in_frame = rest != 0;
        if (out.pos)
            return (int64_t)out.pos;
    }
}

/* ---- opening --------------------------------------------------------------------- */

static void packed_close(struct vn_source *s) {
    struct packed_source *p = (struct packed_source *)s;
    if (s->read == gzip_read)
        inflateEnd(&p->z);
    ZSTD_freeDCtx(p->zstd);
    vn_source_close(p->inner);
    free(p->in);
    free(s->name);
    free(s);
}

static int open_gzip(struct packed_source *p, struct vn_error *err) {
    if (inflateInit2(&p->z, 15 + 16) != Z_OK)
        return vn_fail(err, VN_EFAIL, "cannot allocate a gzip decoder");
    p->base.read = gzip_read;
    return VN_OK;
}

static int open_zstd(struct packed_source *p, struct vn_error *err) {
    p->zstd = ZSTD_createDCtx();
    if (!p->zstd)
        return vn_fail(err, VN_EFAIL, "cannot allocate a zstd decoder");
    p->base.read = zstd_read;
    return VN_OK;
}

/* Chooses the decoder by the first bytes, and refuses by name what has none. */
static int choose(struct packed_source *p, struct vn_error *err) {
    static const struct {
        const char *magic, *name;
        size_t n;
    } refused[] = {{"\xfd"
                    "7zXZ",
                    "xz", 5},
                   {"BZh", "bzip2", 3},
                   {"\x04\"M\x18", "lz4", 4},
                   {"PK\3\4", "zip", 4},
                   {"\x1f\x9d", "compress", 2}};
    const uint8_t *h = p->in;
    if (p->len >= 2 && h[0] == 0x1f && h[1] == 0x8b)
        return open_gzip(p, err);
    if (p->len >= 4 && !memcmp(h, "\x28\xb5\x2f\xfd", 4))
        return open_zstd(p, err);
    if (p->len >= 4 && h[0] >> 4 == 5 && !memcmp(h + 1, "\x2a\x4d\x18", 3))
        return open_zstd(p, err); /* a skippable frame comes first */
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (p->len >= refused[i].n && !memcmp(h, refused[i].magic, refused[i].n))
            return vn_fail(err, VN_EDATA,
                           "cannot read '%s': %s-compressed: decompress first",
                           p->base.name, refused[i].name);
    p->base.read = plain_read;
    return VN_OK;
}

int vn_source_decompress(struct vn_source *inner, struct vn_source **out,
                         struct vn_error *err) {
    *out = NULL;
    struct packed_source *p = vn_calloc(1, sizeof *p, err);
    if (!p) {
        vn_source_close(inner);
        return VN_EFAIL;
    }
    p->inner = inner;
    p->base.close = packed_close;
    p->base.name = strdup(inner->name);
    p->in = malloc(IN_SIZE);
    int rc = p->base.name && p->in
                 ? VN_OK
                 : vn_fail(err, VN_EFAIL, "cannot allocate a decompressor");
    if (rc == VN_OK) {
        int64_t n = vn_read_full(inner, p->in, HEAD_SIZE, err);
        p->len = n > 0 ? (size_t)n : 0;
        rc = n < 0 ? (int)n : choose(p, err);
    }
    if (rc != VN_OK) {
        packed_close(&p->base);
        return rc;
    }
    *out = &p->base;
    return VN_OK;
}
