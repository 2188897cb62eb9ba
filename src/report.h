/* report.h - what vn-view says about a stream: its head, its statistics, its soundness. */
#ifndef VN_REPORT_H
#define VN_REPORT_H

#include "stream.h"

/* Kind, columns, provenance and other metadata, one line each, fields parted by tabs. */
int vn_report_header(struct vn_reader *r, struct vn_sink *sink, struct vn_error *err)
    VN_NODISCARD;

/* Reads the rest of the stream; rows, tokens, lengths, bytes, nulls of every column. */
int vn_report_stats(struct vn_reader *r, struct vn_sink *sink, struct vn_error *err)
    VN_NODISCARD;

/* Reads the rest of the stream and demands, beyond what every reader does, the columns of
 * its kind and record numbers that are just 0 to n - 1. Lax: only of streams of a kind. */
int vn_report_check(struct vn_reader *r, bool lax, struct vn_error *err) VN_NODISCARD;

/* Appends a name with its control characters as blanks: one line stays one, and a terminal
 * obeys nobody. */
int vn_report_text(struct vn_buf *out, const char *s, struct vn_error *err) VN_NODISCARD;

#endif
