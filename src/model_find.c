#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mem.h"
#include "model.h"

/* Where models lie beside a program, seen from the directory above its own: of what was
 * installed, and of a tree that was built. */
static const char *const beside[] = {"share/vn/models", "examples/models"};
enum { N_BESIDE = sizeof beside / sizeof *beside };

/* Places to look at: root is the directory above the program's own ("" for the one of the
 * system), or NULL where it cannot be told. */
struct places {
    const char *listed; /* $VN_MODELS, or NULL */
    const char *root;
    char buffer[4096];
};

static void find_places(struct places *p) {
    const size_t size = sizeof p->buffer;
    const ssize_t n = readlink("/proc/self/exe", p->buffer, size);
    p->listed = getenv("VN_MODELS");
    p->root = n > 0 && (size_t)n < size ? p->buffer : NULL;
    if (!p->root)
        return;
    p->buffer[n] = 0;
    for (int i = 0; i < 2; i++) { /* the program, and its directory */
        char *slash = strrchr(p->buffer, '/');
        if (slash)
            *slash = 0;
    }
}

/* Is this a name that may be looked up, and not only a path? */
static bool is_name(const char *name) {
    return *name && *name != '/' && *name != '.';
}

/* "dir/name<suffix>", malloc'ed, if `file` is in it, else NULL. */
static char *directory_with(const char *dir, size_t n_dir, const char *name,
                            const char *suffix, const char *file) {
    size_t n = n_dir + strlen(name) + strlen(suffix) + strlen(file) + 3;
    char *path = malloc(n);
    if (!path)
        return NULL;
    snprintf(path, n, "%.*s%s%s%s", (int)n_dir, dir, n_dir ? "/" : "", name, suffix);
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        path[--end] = 0;
    snprintf(path + end, n - end, "/%s", file);
    bool found = access(path, F_OK) == 0;
    path[end] = 0;
    if (!found) {
        free(path);
        path = NULL;
    }
    return path;
}

/* The published names of ESM-2 end in _UR50D, which may be left out. */
static char *named_in(const char *dir, size_t n_dir, const char *name, const char *file) {
    char *found = directory_with(dir, n_dir, name, "", file);
    return found ? found : directory_with(dir, n_dir, name, "_UR50D", file);
}

static char *listed(const struct places *p, const char *name, const char *file) {
    char *found = NULL;
    for (const char *at = p->listed; at && !found;) {
        const size_t n = strcspn(at, ":");
        if (n)
            found = named_in(at, n, name, file);
        at = at[n] ? at + n + 1 : NULL;
    }
    return found;
}

static char *shipped(const struct places *p, const char *name, const char *file) {
    char dir[sizeof p->buffer + 32], *found = NULL;
    for (int i = 0; i < N_BESIDE && p->root && !found; i++) {
        const int n = snprintf(dir, sizeof dir, "%s/%s", p->root, beside[i]);
        found = named_in(dir, (size_t)n, name, file);
    }
    return found;
}

/* $VN_MODELS comes last: it may be long, and a message that is too long is cut. */
static void say_where(const struct places *p, const char *name, const char *file,
                      struct vn_error *err) {
    char program[sizeof err->msg] = "beside the program (/proc is not there)";
    if (p->root)
        snprintf(program, sizeof program, "in %s/%s or %s/%s", p->root, beside[0], p->root,
                 beside[1]);
    vn_fail(err, VN_ENOINPUT,
            "cannot find '%s': no directory of that name with a %s here, %s, and "
            "$VN_MODELS %s%s%s",
            name, file, program,
            !p->listed     ? "is not set"
            : !*p->listed  ? "is empty"
                           : "does not have it (",
            p->listed ? p->listed : "", p->listed && *p->listed ? ")" : "");
}

char *vn_model_find(const char *name, const char *file, struct vn_error *err) {
    struct places p;
    char *found = *name ? directory_with("", 0, name, "", file) : NULL;
    if (!found && !is_name(name)) {
        vn_fail(err, VN_ENOINPUT, "cannot find '%s': no directory with a %s", name, file);
        return NULL;
    }
    if (found)
        return found;
    find_places(&p);
    found = listed(&p, name, file);
    if (!found)
        found = shipped(&p, name, file);
    if (!found)
        say_where(&p, name, file, err);
    return found;
}
