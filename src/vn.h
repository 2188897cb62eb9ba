/* vn.h - what every file of vn includes: version, status codes, limits.
 *
 * Index letters used throughout the project, in comments and in code:
 *   B  sequences (records) in a batch      T  tokens in a batch, all sequences together
 *   L  layers        H  attention heads    D  model width (d_model)   K  head size (d_head)
 *   F  inner width of the feed-forward     V  vocabulary size         C  classes of a head
 * Lengths are counted in residues, tokens or bytes; a name or a comment says which.
 *
 * Compiles as C11 and as C++17. */
#ifndef VN_H
#define VN_H

#include <stddef.h>
#include <stdint.h>

#define VN_VERSION "0.1.0"

/* One success convention everywhere: 0 (or a documented count >= 0) is success, a negative
 * value is one of these. Each is the negated exit status that a program ends with, so the
 * table of exit statuses in vn(7) is this enum. */
enum vn_status {
    VN_OK = 0,
    VN_EFAIL = -1,      /* failure that has no better word, host memory included */
    VN_EUSAGE = -2,     /* the command line is wrong */
    VN_EDATA = -65,     /* input damaged or truncated */
    VN_ENOINPUT = -66,  /* input missing or unreadable */
    VN_ENODEVICE = -69, /* no usable device */
    VN_EINTERNAL = -70, /* a promise of ours was broken: please report */
    VN_EWRITE = -74,    /* output could not be written */
    VN_EBUSY = -75,     /* out of device memory, or device busy: try again */
    VN_EINCOMPAT = -76, /* stream, model or head do not fit together */
    VN_EPIPE = -141     /* the reader of our output went away while SIGPIPE was ignored */
};

#if defined(__GNUC__)
#define VN_NODISCARD __attribute__((warn_unused_result))
#define VN_PRINTF(f, a) __attribute__((format(printf, f, a)))
#else
#define VN_NODISCARD
#define VN_PRINTF(f, a)
#endif

/* Limits of the stream and of its readers. A reader refuses what lies beyond them. */
#define VN_MAX_COLUMNS 256              /* columns of a stream */
#define VN_MAX_DEPTH 4                  /* list<fixed_size_list<float>> has depth 3 */
#define VN_MAX_METADATA (1u << 20)      /* bytes of one message's metadata */
#define VN_MAX_BODY ((int64_t)1 << 30)  /* bytes of one message's body, as sent and unpacked */
#define VN_ALIGN 64                     /* alignment of buffers in memory and in bodies */

#endif
