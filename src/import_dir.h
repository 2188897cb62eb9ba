/* import_dir.h - a directory whose files come all together, or not at all.
 *
 * They are made in DIR.PID.tmp. At the end that is renamed to DIR or, where there is a DIR
 * already, its files change places with those of the same names, and what else is in DIR
 * stays. A process that is killed by SIGINT, SIGTERM or SIGHUP removes what it has made
 * (vn_sink_unlink_pending); the change of places is not interrupted by them. */
#ifndef VN_IMPORT_DIR_H
#define VN_IMPORT_DIR_H

#include <stdbool.h>

#include "err.h"

enum {
    VN_IMPORT_CONFIG,
    VN_IMPORT_VOCABULARY,
    VN_IMPORT_TOKENIZER,
    VN_IMPORT_WEIGHTS,
    VN_IMPORT_FILES
};

struct vn_import_dir {
    char *path; /* at work; NULL when it is gone, or is to stay */
    char *file[VN_IMPORT_FILES];  /* where to write; a file may be left out */
    char *old[VN_IMPORT_FILES];   /* where those of DIR wait until all are in place */
    char *final[VN_IMPORT_FILES]; /* in DIR */
    int pending[VN_IMPORT_FILES + 1];
};

/* May `dir` be written? *exists says whether it is there. VN_EUSAGE when it is no
 * directory, when it is there without `force`, and when it holds files but no config.json:
 * there is no model in it to replace. VN_EWRITE when it cannot be looked at. */
int vn_import_dir_check(const char *dir, bool force, bool *exists,
                        struct vn_error *err) VN_NODISCARD;

/* Makes DIR.PID.tmp. VN_EWRITE. Closed by vn_import_dir_close also after failure. */
int vn_import_dir_make(struct vn_import_dir *d, const char *dir,
                       struct vn_error *err) VN_NODISCARD;

/* Gives the directory its name or, with `replace`, its files their places in the existing
 * one, from which those not made anew are taken away. VN_EWRITE: `dir` is as it was, unless
 * the message says otherwise: where files cannot be put back, it names where they are. */
int vn_import_dir_commit(struct vn_import_dir *d, const char *dir, bool replace,
                         struct vn_error *err) VN_NODISCARD;

/* Removes what is left and frees the names; the struct is the caller's, all zero is legal. */
void vn_import_dir_close(struct vn_import_dir *d);

#endif
