/* err.h - how a function says what went wrong.
 *
 * A function that can fail returns an enum vn_status and takes, last, a caller-owned
 * struct vn_error. The deepest function writes the sentence; callers may put context in
 * front. The library never prints and never exits: programs do, through tool.h.
 *
 * Grammar of a sentence: lower case, no full stop, what failed first, the subject in single
 * quotes, then expected and found, then where (file, record, byte). Nothing is allocated on
 * the error path; a message that is too long is cut. Thread-safe: no shared state.
 *
 * Compiles as C11 and as C++17. */
#ifndef VN_ERR_H
#define VN_ERR_H

#include "vn.h"

#ifdef __cplusplus
extern "C" {
#endif

struct vn_error {
    int status;     /* enum vn_status of the last failure */
    char msg[1024]; /* always terminated */
};

/* Records the failure and returns `status`, so that `return vn_fail(...)` reads well.
 * `err` may be NULL. */
int vn_fail(struct vn_error *err, int status, const char *fmt, ...) VN_PRINTF(3, 4);

/* Like vn_fail, and appends ": " and the text of the errno value `errnum`. */
int vn_fail_errno(struct vn_error *err, int status, int errnum, const char *fmt, ...)
    VN_PRINTF(4, 5);

/* Puts "<context>: " in front of the message that is there; returns err->status, VN_EFAIL if
 * `err` is NULL: who must return what had failed keeps it. */
int vn_prefix(struct vn_error *err, const char *fmt, ...) VN_PRINTF(2, 3);

#ifdef __cplusplus
}
#endif
#endif
