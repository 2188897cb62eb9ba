#include "ptfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "num.h"
#include "ptzip.h"

#define MAX_PICKLE ((uint64_t)16 << 20)

/* Protocol 2 and the 80-bit magic number of the older format, then 1001. */
static const char legacy_magic[] =
    "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
    "\x80\x02M\xe9\x03.";
#define LEGACY_MAGIC (sizeof legacy_magic - 1)

struct storage {
    const char *key;
    enum vn_dtype type;
    size_t width;   /* bytes an element */
    size_t n;       /* elements */
    uint64_t where; /* zip: number of the entry; else offset in the map */
};

struct vn_ptfile {
    char *path;
    struct vn_ptzip *zip; /* NULL for the older format */
    const uint8_t *map;   /* NULL for zip */
    size_t size;          /* of the file */
    struct vn_pickle *pickle;
    struct storage *storages; /* sorted by key */
    size_t n_storages;
    struct vn_buf cache; /* zip: the storage read last */
    const struct storage *cached;
};

/* ---- classes --------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum vn_dtype type;
    size_t width;
} storage_classes[] = {
    {"torch.FloatStorage", VN_F32, 4},     {"torch.HalfStorage", VN_F16, 2},
    {"torch.BFloat16Storage", VN_BF16, 2}, {"torch.DoubleStorage", VN_F64, 8},
    {"torch.LongStorage", VN_I64, 8},      {"torch.IntStorage", VN_I32, 4},
    {"torch.ByteStorage", VN_U8, 1},       {"torch.ShortStorage", VN_OTHER, 2},
    {"torch.CharStorage", VN_OTHER, 1},    {"torch.BoolStorage", VN_OTHER, 1}};
#define N_CLASSES (sizeof storage_classes / sizeof *storage_classes)

/* What published checkpoints are made of. None of it is ever called: the list keeps out
 * what could not be understood. */
static bool allowed(const char *name) {
    static const char *const known[] = {"torch._utils._rebuild_tensor_v2",
                                        "torch._utils._rebuild_parameter",
                                        "torch.Size",
                                        "collections.OrderedDict",
                                        "__builtin__.set",
                                        "builtins.set",
                                        "argparse.Namespace",
                                        "torch.nn.modules.linear.Linear",
                                        "torch.nn.modules.batchnorm.BatchNorm1d",
                                        "torch.nn.modules.activation.ReLU",
                                        "torch.nn.modules.activation.GELU",
                                        "torch.nn.modules.dropout.Dropout",
                                        "torch.nn.modules.container.Sequential",
                                        "torch.nn.modules.container.ModuleList",
                                        "torch.nn.modules.container.ModuleDict"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(name, known[i]))
            return true;
    for (size_t i = 0; i < N_CLASSES; i++)
        if (!strcmp(name, storage_classes[i].name))
            return true;
    return !strcmp(strrchr(name, '.'), ".MLPClassifier"); /* of whatever script */
}

/* ---- storages -------------------------------------------------------------------- */

static int by_key(const void *a, const void *b) {
    return strcmp(((const struct storage *)a)->key, ((const struct storage *)b)->key);
}

static const struct storage *find_storage(const struct vn_ptfile *f, const char *key) {
    struct storage k = {.key = key};
    return bsearch(&k, f->storages, f->n_storages, sizeof k, by_key);
}

/* ('storage', class, key, location, elements[, None]) */
static int read_storage(const struct vn_py *id, struct storage *s, struct vn_error *err) {
    const bool shaped =
        (id->n == 5 || (id->n == 6 && id->items[5]->type == VN_PY_NONE)) &&
        !strcmp(id->items[0]->text, "storage") && id->items[1]->type == VN_PY_GLOBAL &&
        id->items[2]->type == VN_PY_STRING && id->items[4]->type == VN_PY_INT &&
        id->items[4]->i >= 0;
    if (!shaped)
        return vn_fail(err, VN_EDATA, "pickle names no storage at byte %zu", id->at);
    s->key = id->items[2]->text;
    s->n = (size_t)id->items[4]->i;
    for (size_t i = 0; i < N_CLASSES; i++)
        if (!strcmp(id->items[1]->text, storage_classes[i].name)) {
            s->type = storage_classes[i].type;
            s->width = storage_classes[i].width;
            return VN_OK;
        }
    return vn_fail(err, VN_EDATA,
                   "'%.100s' at byte %zu of the pickle is no storage class",
                   id->items[1]->text, id->at);
}

/* The table of storages from the persistent ids; an id may occur many times. */
static int list_storages(struct vn_ptfile *f, struct vn_error *err) {
    const struct vn_pickle *p = f->pickle;
    f->storages = vn_calloc(p->n_persistent, sizeof *f->storages, err);
    if (!f->storages)
        return VN_EFAIL;
    for (size_t i = 0; i < p->n_persistent; i++) {
        int rc = read_storage(p->persistent[i]->args, &f->storages[i], err);
        if (rc != VN_OK)
            return rc;
    }
    qsort(f->storages, p->n_persistent, sizeof *f->storages, by_key);
    for (size_t i = 0; i < p->n_persistent; i++) {
        const struct storage *last =
            f->n_storages ? &f->storages[f->n_storages - 1] : NULL;
        const struct storage *s = &f->storages[i];
        if (!last || strcmp(last->key, s->key))
            f->storages[f->n_storages++] = *s;
        else if (last->type != s->type || last->width != s->width || last->n != s->n)
            return vn_fail(err, VN_EDATA, "storage '%.100s' has two types or sizes",
                           s->key);
    }
    return VN_OK;
}

/* ---- the zip file ---------------------------------------------------------------- */

static int place_in_zip(struct vn_ptfile *f, struct vn_error *err) {
    int rc = VN_OK;
    for (size_t i = 0; rc == VN_OK && i < f->n_storages; i++) {
        struct storage *s = &f->storages[i];
        uint64_t size = 0;
        size_t wanted;
        rc = vn_ptzip_find(f->zip, s->key, &s->where, &size, err);
        if (rc == VN_OK && (!vn_mul(s->n, s->width, &wanted) || wanted != size))
            rc = vn_fail(err, VN_EDATA,
                         "storage '%.100s' has %llu bytes, expected %zu x %zu", s->key,
                         (unsigned long long)size, s->n, s->width);
    }
    return rc;
}

static int open_zip(struct vn_ptfile *f, struct vn_error *err) {
    int rc = vn_ptzip_open(f->path, f->size, &f->zip, err);
    if (rc == VN_OK)
        rc = vn_ptzip_pickle(f->zip, MAX_PICKLE, &f->cache, err);
    if (rc == VN_OK)
        rc = vn_pickle_read(f->cache.data, f->cache.len, allowed, &f->pickle, err);
    if (rc == VN_OK && f->pickle->used != f->cache.len)
        rc = vn_fail(err, VN_EDATA, "has %zu bytes behind the pickle's end",
                     f->cache.len - f->pickle->used);
    if (rc == VN_OK)
        rc = list_storages(f, err);
    return rc == VN_OK ? place_in_zip(f, err) : rc;
}

/* ---- the older format ------------------------------------------------------------ */

/* Reads the pickle at *at and moves behind it. */
static int next_pickle(struct vn_ptfile *f, size_t *at, struct vn_pickle **out,
                       struct vn_error *err) {
    size_t n = f->size - *at < MAX_PICKLE ? f->size - *at : MAX_PICKLE;
    int rc = vn_pickle_read(f->map + *at, n, allowed, out, err);
    if (rc != VN_OK)
        return vn_prefix(err, "in the pickle at byte %zu", *at);
    *at += (*out)->used;
    return rc;
}

/* Storages lie behind the list of their keys, each as 8 bytes of count and the elements. */
static int place_in_map(struct vn_ptfile *f, const struct vn_py *keys, size_t at,
                        struct vn_error *err) {
    if (keys->type != VN_PY_LIST || keys->n != f->n_storages)
        return vn_fail(err, VN_EDATA, "does not list its %zu storages", f->n_storages);
    for (size_t i = 0; i < keys->n; i++) {
        size_t bytes;
        struct storage *s = keys->items[i]->type == VN_PY_STRING
                                ? (struct storage *)find_storage(f, keys->items[i]->text)
                                : NULL;
        if (!s || s->where)
            return vn_fail(err, VN_EDATA, "lists an unknown storage, or one twice");
        if (f->size - at < 8 || vn_load64(f->map + at) != s->n ||
            !vn_mul(s->n, s->width, &bytes) || f->size - at - 8 < bytes)
            return vn_fail(err, VN_EDATA,
                           "storage '%.100s' is cut or has not %zu elements", s->key,
                           s->n);
        s->where = at + 8;
        at += 8 + bytes;
    }
    if (at != f->size)
        return vn_fail(err, VN_EDATA, "has %zu bytes behind the last storage",
                       f->size - at);
    return VN_OK;
}

static int open_legacy(struct vn_ptfile *f, struct vn_error *err) {
    size_t at = LEGACY_MAGIC;
    struct vn_pickle *info = NULL, *keys = NULL;
    int rc = next_pickle(f, &at, &info, err);
    const struct vn_py *little =
        rc == VN_OK ? vn_py_get(info->root, "little_endian") : NULL;
    if (rc == VN_OK && (!little || little->type != VN_PY_BOOL || !little->i))
        rc = vn_fail(err, VN_EDATA, "does not say that it is little-endian");
    if (rc == VN_OK)
        rc = next_pickle(f, &at, &f->pickle, err);
    if (rc == VN_OK)
        rc = next_pickle(f, &at, &keys, err);
    if (rc == VN_OK)
        rc = list_storages(f, err);
    if (rc == VN_OK)
        rc = place_in_map(f, keys->root, at, err);
    vn_pickle_free(info);
    vn_pickle_free(keys);
    return rc;
}

/* ---- open and close -------------------------------------------------------------- */

static int map_whole(struct vn_ptfile *f, int fd, struct vn_error *err) {
    void *p = mmap(NULL, f->size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED)
        return vn_fail_errno(err, VN_ENOINPUT, errno, "cannot be mapped");
    f->map = p;
    return VN_OK;
}

static int open_file(struct vn_ptfile *f, struct vn_error *err) {
    struct stat st;
    char head[LEGACY_MAGIC] = "";
    int fd = open(f->path, O_RDONLY | O_CLOEXEC), rc = VN_OK;
    if (fd < 0 || fstat(fd, &st) != 0)
        rc = vn_fail_errno(err, VN_ENOINPUT, errno, "cannot be opened");
    else if (!S_ISREG(st.st_mode))
        rc = vn_fail(err, VN_ENOINPUT, "is not a regular file");
    if (rc == VN_OK) {
        f->size = (size_t)st.st_size;
        ssize_t n = pread(fd, head, sizeof head, 0);
        if (n >= 4 && !memcmp(head, "PK\3\4", 4))
            rc = open_zip(f, err);
        else if (n == (ssize_t)LEGACY_MAGIC && !memcmp(head, legacy_magic, LEGACY_MAGIC))
            rc = (rc = map_whole(f, fd, err)) == VN_OK ? open_legacy(f, err) : rc;
        else
            rc = vn_fail(err, VN_EDATA, "is not a file of torch.save");
    }
    if (fd >= 0)
        close(fd);
    return rc == VN_OK ? rc : vn_prefix(err, "'%s'", f->path);
}

int vn_ptfile_open(const char *path, struct vn_ptfile **out, struct vn_error *err) {
    struct vn_ptfile *f = vn_calloc(1, sizeof *f, err);
    struct vn_error local;
    *out = NULL;
    if (!f)
        return VN_EFAIL;
    f->path = strdup(path);
    int rc = f->path ? open_file(f, err ? err : &local)
                     : vn_fail(err, VN_EFAIL, "cannot allocate a name");
    if (rc == VN_OK)
        *out = f;
    else
        vn_ptfile_close(f);
    return rc;
}

void vn_ptfile_close(struct vn_ptfile *f) {
    if (!f)
        return;
    vn_ptzip_close(f->zip);
    if (f->map)
        munmap((void *)f->map, f->size);
    vn_pickle_free(f->pickle);
    vn_buf_release(&f->cache);
    free(f->storages);
    free(f->path);
    free(f);
}

const struct vn_py *vn_ptfile_root(const struct vn_ptfile *f) {
    return f->pickle->root;
}

const char *vn_ptfile_path(const struct vn_ptfile *f) {
    return f->path;
}

/* ---- tensors --------------------------------------------------------------------- */

/* A tensor as a view: elements of `s` from `offset`, `stride` apart. */
struct view {
    const struct storage *s;
    size_t offset, n;
    int n_dims;
    int64_t shape[VN_MAX_DIMS], stride[VN_MAX_DIMS];
};

bool vn_ptfile_is_tensor(const struct vn_py *v) {
    return vn_py_is(v, "torch._utils._rebuild_tensor_v2") ||
           vn_py_is(v, "torch._utils._rebuild_parameter");
}

static bool is_sizes(const struct vn_py *v, const struct vn_py *like) {
    if (v->type != VN_PY_TUPLE || v->n > VN_MAX_DIMS || v->n != like->n)
        return false;
    for (size_t i = 0; i < v->n; i++)
        if (v->items[i]->type != VN_PY_INT || v->items[i]->i < 0)
            return false;
    return true;
}

/* The last element must be inside the storage, and no element may be there twice over:
 * strides of 0 would make terabytes of one number. */
static int check_extent(struct view *w, size_t at, struct vn_error *err) {
    size_t last = w->offset;
    bool ok = true;
    w->n = 1;
    for (int i = 0; i < w->n_dims; i++)
        ok = ok && vn_mul(w->n, (size_t)w->shape[i], &w->n);
    for (int i = 0; ok && w->n && i < w->n_dims; i++) {
        size_t reach;
        ok = vn_mul((size_t)w->shape[i] - 1, (size_t)w->stride[i], &reach) &&
             vn_add(last, reach, &last);
    }
    if (!ok || w->n > w->s->n || (w->n && last >= w->s->n))
        return vn_fail(err, VN_EDATA,
                       "tensor at byte %zu of the pickle lies "
                       "outside its storage of %zu elements",
                       at, w->s->n);
    return VN_OK;
}

/* _rebuild_parameter(tensor, ...) or
 * _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata]) */
static int read_view(const struct vn_ptfile *f, const struct vn_py *v, struct view *w,
                     struct vn_error *err) {
    if (vn_py_is(v, "torch._utils._rebuild_parameter") && v->args->n)
        v = v->args->items[0];
    const struct vn_py *a = v->type == VN_PY_OBJECT ? v->args : NULL;
    if (!vn_py_is(v, "torch._utils._rebuild_tensor_v2") || a->n < 6 ||
        a->items[0]->type != VN_PY_PERSISTENT || a->items[1]->type != VN_PY_INT ||
        a->items[1]->i < 0 || !is_sizes(a->items[2], a->items[2]) ||
        !is_sizes(a->items[3], a->items[2]))
        return vn_fail(err, VN_EDATA,
                       "tensor at byte %zu of the pickle is not described as torch does",
                       v->at);
    w->s = find_storage(f, a->items[0]->args->items[2]->text);
    w->offset = (size_t)a->items[1]->i;
    w->n_dims = (int)a->items[2]->n;
    for (int i = 0; i < w->n_dims; i++) {
        w->shape[i] = a->items[2]->items[i]->i;
        w->stride[i] = a->items[3]->items[i]->i;
    }
    return check_extent(w, v->at, err);
}

int vn_ptfile_tensor(const struct vn_ptfile *f, const struct vn_py *v,
                     struct vn_tensor *t, struct vn_error *err) {
    struct view w;
    int rc = read_view(f, v, &w, err);
    if (rc != VN_OK)
        return rc;
    memset(t, 0, sizeof *t);
    t->type = w.s->type;
    t->n_dims = w.n_dims;
    memcpy(t->shape, w.shape, sizeof w.shape[0] * (size_t)w.n_dims);
    t->bytes = w.n * w.s->width; /* no more than the storage has */
    return VN_OK;
}

static bool contiguous(const struct view *w) {
    int64_t step = 1;
    for (int i = w->n_dims - 1; i >= 0; i--) {
        if (w->shape[i] != 1 && w->stride[i] != step)
            return false;
        step *= w->shape[i];
    }
    return true;
}

/* Element by element in row-major order, with an odometer of indices. */
static void gather(const struct view *w, const uint8_t *from, uint8_t *to) {
    int64_t index[VN_MAX_DIMS] = {0};
    size_t at = w->offset, width = w->s->width;
    for (size_t i = 0; i < w->n; i++) {
        memcpy(to + i * width, from + at * width, width);
        for (int d = w->n_dims - 1; d >= 0; d--) {
            at += (size_t)w->stride[d];
            if (++index[d] < w->shape[d])
                break;
            at -= (size_t)(w->shape[d] * w->stride[d]);
            index[d] = 0;
        }
    }
}

/* The bytes of a storage: in the map, or read into the cache. */
static const uint8_t *storage_bytes(struct vn_ptfile *f, const struct storage *s,
                                    struct vn_error *err) {
    if (f->map)
        return f->map + s->where;
    if (f->cached != s) {
        f->cached = NULL;
        if (vn_ptzip_read(f->zip, s->where, s->n * s->width, &f->cache, err) != VN_OK)
            return NULL;
        f->cached = s;
    }
    return f->cache.data;
}

int vn_ptfile_read(struct vn_ptfile *f, const struct vn_py *v, struct vn_buf *out,
                   struct vn_error *err) {
    struct vn_error local;
    struct view w;
    err = err ? err : &local;
    int rc = read_view(f, v, &w, err);
    if (rc == VN_OK)
        rc = vn_buf_resize(out, w.n * w.s->width, err);
    if (rc != VN_OK || !w.n)
        return rc;
    const uint8_t *from = storage_bytes(f, w.s, err);
    if (!from)
        return err->status;
    if (contiguous(&w))
        memcpy(out->data, from + w.offset * w.s->width, out->len);
    else
        gather(&w, from, out->data);
    return VN_OK;
}
