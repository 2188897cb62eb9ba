#include "import_dir.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "io.h"
#include "mem.h"

static const char *const names[VN_IMPORT_FILES] = {"config.json", "vocab.txt",
                                                   "tokenizer.json", "model.safetensors"};

/* "dir/<before><name>", malloc'ed */
static char *join(const char *dir, const char *before, const char *name,
                  struct vn_error *err) {
    size_t n = strlen(dir) + strlen(before) + strlen(name) + 2;
    char *path = vn_calloc(n, 1, err);
    if (path)
        snprintf(path, n, "%s/%s%s", dir, before, name);
    return path;
}

static int name_files(struct vn_import_dir *d, const char *dir, struct vn_error *err) {
    for (int i = 0; i < VN_IMPORT_FILES; i++) {
        d->file[i] = join(d->path, "", names[i], err);
        d->old[i] = d->file[i] ? join(d->path, "old-", names[i], err) : NULL;
        d->final[i] = d->old[i] ? join(dir, "", names[i], err) : NULL;
        if (!d->final[i])
            return VN_EFAIL;
    }
    return VN_OK;
}

static void forget(struct vn_import_dir *d) {
    for (int i = 0; i <= VN_IMPORT_FILES; i++) {
        vn_pending_drop(d->pending[i]);
        d->pending[i] = -1;
    }
}

/* Nothing in it but itself and its parent: 1, else 0. */
static int is_empty(const char *dir, struct vn_error *err) {
    const struct dirent *e;
    DIR *d = opendir(dir);
    if (!d)
        return vn_fail_errno(err, VN_EWRITE, errno, "cannot look into '%s'", dir);
    do {
        errno = 0;
        e = readdir(d);
    } while (e && (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..")));
    int rc = e ? 0 : 1;
    if (!e && errno)
        rc = vn_fail_errno(err, VN_EWRITE, errno, "cannot look into '%s'", dir);
    closedir(d);
    return rc;
}

int vn_import_dir_check(const char *dir, bool force, bool *exists, struct vn_error *err) {
    struct stat st;
    *exists = stat(dir, &st) == 0;
    if (!*exists && errno == ENOENT)
        return VN_OK;
    if (!*exists)
        return vn_fail_errno(err, errno == ENOTDIR ? VN_EUSAGE : VN_EWRITE, errno,
                             "cannot create '%s'", dir);
    if (!S_ISDIR(st.st_mode))
        return vn_fail(err, VN_EUSAGE, "'%s' exists and is not a directory", dir);
    if (!force)
        return vn_fail(err, VN_EUSAGE,
                       "'%s' exists: use --force to replace the model in it", dir);
    char *config = join(dir, "", names[VN_IMPORT_CONFIG], err);
    int rc = config ? lstat(config, &st) == 0 : VN_EFAIL;
    free(config);
    if (rc == 0)
        rc = is_empty(dir, err);
    if (rc == 0)
        rc = vn_fail(err, VN_EUSAGE,
                     "'%s' holds files but no config.json: no model to replace", dir);
    return rc < 0 ? rc : VN_OK;
}

int vn_import_dir_make(struct vn_import_dir *d, const char *dir, struct vn_error *err) {
    size_t n = strlen(dir) + 32, end = strlen(dir);
    while (end > 1 && dir[end - 1] == '/')
        end--;
    *d = (struct vn_import_dir){.pending = {-1, -1, -1, -1, -1}};
    d->path = vn_calloc(n, 1, err);
    if (!d->path)
        return VN_EFAIL;
    snprintf(d->path, n, "%.*s.%ld.tmp", (int)end, dir, (long)getpid());
    int rc = name_files(d, dir, err);
    if (rc == VN_OK && mkdir(d->path, 0777) != 0)
        rc = vn_fail_errno(err, VN_EWRITE, errno, "cannot create '%s'", d->path);
    if (rc != VN_OK) { /* nothing was made, nothing is to be removed */
        free(d->path);
        d->path = NULL;
        return rc;
    }
    for (int i = 0; i < VN_IMPORT_FILES; i++)
        d->pending[i] = vn_pending_add(d->file[i]);
    d->pending[VN_IMPORT_FILES] = vn_pending_add(d->path);
    return VN_OK;
}

/* Removes the directory at work: only what was put there. */
static bool clean_up(struct vn_import_dir *d) {
    for (int i = 0; i < VN_IMPORT_FILES; i++) {
        unlink(d->file[i]);
        unlink(d->old[i]);
    }
    bool gone = rmdir(d->path) == 0 || errno == ENOENT;
    forget(d);
    free(d->path);
    d->path = NULL;
    return gone;
}

/* Renames a file if it is there; *moved says whether. */
static int move(const char *from, const char *to, bool *moved, struct vn_error *err) {
    struct stat st;
    if (lstat(from, &st) != 0)
        return errno == ENOENT ? VN_OK
                               : vn_fail_errno(err, VN_EWRITE, errno,
                                               "cannot look at '%s'", from);
    if (S_ISDIR(st.st_mode))
        return vn_fail(err, VN_EWRITE, "cannot replace '%s': is a directory", from);
    if (rename(from, to) != 0)
        return vn_fail_errno(err, VN_EWRITE, errno, "cannot rename '%s' to '%s'", from,
                             to);
    *moved = true;
    return VN_OK;
}

/* The old files go to the directory at work, the new ones come; or all go back. */
static int change_places(struct vn_import_dir *d, const char *dir, struct vn_error *err) {
    bool went[VN_IMPORT_FILES] = {0}, came[VN_IMPORT_FILES] = {0};
    int rc = VN_OK;
    for (int i = 0; rc == VN_OK && i < VN_IMPORT_FILES; i++)
        rc = move(d->final[i], d->old[i], &went[i], err);
    for (int i = 0; rc == VN_OK && i < VN_IMPORT_FILES; i++)
        rc = move(d->file[i], d->final[i], &came[i], err);
    if (rc == VN_OK)
        return rc;
    bool back = true;
    for (int i = 0; i < VN_IMPORT_FILES; i++)
        if (came[i] && rename(d->final[i], d->file[i]) != 0)
            back = false;
    for (int i = 0; back && i < VN_IMPORT_FILES; i++)
        if (went[i] && rename(d->old[i], d->final[i]) != 0)
            back = false;
    if (!back) {
        vn_prefix(err, "files of '%s' are now in '%s' and cannot be put back", dir,
                  d->path);
        forget(d);
        free(d->path);
        d->path = NULL;
    }
    return rc;
}

int vn_import_dir_commit(struct vn_import_dir *d, const char *dir, bool replace,
                         struct vn_error *err) {
    int rc = VN_OK;
    if (replace) {
        sigset_t held, before;
        sigemptyset(&held);
        sigaddset(&held, SIGINT);
        sigaddset(&held, SIGTERM);
        sigaddset(&held, SIGHUP);
        pthread_sigmask(SIG_BLOCK, &held, &before);
        rc = change_places(d, dir, err);
        bool gone = rc != VN_OK || clean_up(d);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        return gone ? rc
                    : vn_fail(err, VN_EWRITE,
                              "'%s' is replaced, what was in it cannot be removed", dir);
    }
    if (rename(d->path, dir) != 0)
        return vn_fail_errno(err, VN_EWRITE, errno, "cannot rename '%s' to '%s'", d->path,
                             dir);
    forget(d);
    free(d->path);
    d->path = NULL;
    return rc;
}

void vn_import_dir_close(struct vn_import_dir *d) {
    if (d->path)
        clean_up(d);
    for (int i = 0; i < VN_IMPORT_FILES; i++) {
        free(d->file[i]);
        free(d->old[i]);
        free(d->final[i]);
    }
}
