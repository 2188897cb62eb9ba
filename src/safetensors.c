#include "safetensors.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "digest.h"
#include "json.h"
#include "num.h"
#include "safetensors_header.h"
#include "sha256.h"

#define MAX_INDEX ((size_t)100000000)
#define WEIGHTS "model.safetensors"
#define INDEX "model.safetensors.index.json"
#define AHEAD ((size_t)32 << 20) /* bytes asked for at once */

struct shard {
    char *path;
    const char *name; /* last component of path */
    uint8_t *map;
    size_t size;
    struct stat identity;
};

struct vn_tensors {
    struct shard *shards;
    int64_t n_shards;
    struct vn_tensor_list all;        /* by shard, then by place in the file */
    const struct vn_tensor **by_name; /* [all.n] */
    char sha256[65]; /* "" until asked for */
    bool cached;     /* that was known */
    struct vn_digest_file *files; /* [n_shards] while `digest` is under way */
    struct vn_digest *digest;
    pthread_t ahead; /* reads the files ahead */
    bool has_ahead, stop_ahead;
};

/* ---- one file -------------------------------------------------------------------- */

static int map_file(struct shard *s, struct vn_error *err) {
    struct stat st = {0};
    int fd = open(s->path, O_RDONLY | O_CLOEXEC), rc = VN_OK;
    if (fd < 0)
        return vn_fail_errno(err, VN_ENOINPUT, errno, "cannot open '%s'", s->path);
    if (fstat(fd, &st) != 0)
        rc = vn_fail_errno(err, VN_ENOINPUT, errno, "cannot read '%s'", s->path);
    else if (!S_ISREG(st.st_mode))
        rc = vn_fail(err, VN_ENOINPUT, "cannot map '%s': not a regular file", s->path);
    else if (st.st_size < 8)
        rc = vn_fail(err, VN_EDATA, "'%s' has %lld bytes, too few for a safetensors file",
                     s->path, (long long)st.st_size);
    if (rc == VN_OK) {
        s->size = (size_t)st.st_size;
        s->map = mmap(NULL, s->size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (s->map == MAP_FAILED) {
            s->map = NULL;
            rc = vn_fail_errno(err, VN_ENOINPUT, errno, "cannot map '%s'", s->path);
        }
    }
    s->identity = st;
    close(fd);
    return rc;
}

/* Opens dir/name (name alone when dir is NULL) as the next shard; there is room for it. */
static int add_shard(struct vn_tensors *t, const char *dir, const char *name,
                     struct vn_error *err) {
    struct shard *s = &t->shards[t->n_shards];
    size_t n = (dir ? strlen(dir) + 1 : 0) + strlen(name) + 1;
    s->path = vn_calloc(n, 1, err);
    if (!s->path)
        return VN_EFAIL;
    t->n_shards++;
    snprintf(s->path, n, "%s%s%s", dir ? dir : "", dir ? "/" : "", name);
    const char *slash = strrchr(s->path, '/');
    s->name = slash ? slash + 1 : s->path;
    int rc = map_file(s, err);
    return rc == VN_OK ? vn_safetensors_header(s->map, s->size, s->path, &t->all, err) : rc;
}

/* ---- sets ------------------------------------------------------------------------ */

static int compare_names(const void *a, const void *b) {
    const struct vn_tensor *const *x = a, *const *y = b;
    return strcmp((*x)->name, (*y)->name);
}

static int index_names(struct vn_tensors *t, struct vn_error *err) {
    t->by_name = vn_calloc((size_t)t->all.n, sizeof *t->by_name, err);
    if (!t->by_name)
        return VN_EFAIL;
    for (int64_t i = 0; i < t->all.n; i++)
        t->by_name[i] = &t->all.at[i];
    qsort(t->by_name, (size_t)t->all.n, sizeof *t->by_name, compare_names);
    for (int64_t i = 1; i < t->all.n; i++)
        if (!strcmp(t->by_name[i - 1]->name, t->by_name[i]->name))
            return vn_fail(err, VN_EDATA, "tensor '%s' is in two shards",
                           t->by_name[i]->name);
    return VN_OK;
}

static bool plain_file_name(const char *s) {
    return *s && !strchr(s, '/') && strcmp(s, ".") && strcmp(s, "..");
}

static int compare_strings(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The file names of a weight map, sorted, each once: *names is the caller's, the strings
 * are the map's. */
static int shard_names(json_t *map, const char ***names, size_t *n,
                       struct vn_error *err) {
    const char *key;
    json_t *value;
    size_t all = 0;
    *n = 0;
    *names = vn_calloc(json_object_size(map), sizeof **names, err);
    if (!*names)
        return VN_EFAIL;
    json_object_foreach(map, key, value) {
        if (!json_is_string(value) || !plain_file_name(json_string_value(value)))
            return vn_fail(err, VN_EDATA, "tensor '%s' is not in a file of the directory",
                           key);
        (*names)[all++] = json_string_value(value);
    }
    qsort(*names, all, sizeof **names, compare_strings);
    for (size_t i = 0; i < all; i++)
        if (!i || strcmp((*names)[i], (*names)[*n - 1]))
            (*names)[(*n)++] = (*names)[i];
    return *n ? VN_OK : vn_fail(err, VN_EDATA, "weight_map names no tensor");
}

/* Every tensor of the map must be in the shard it is said to be in. */
static int check_map(const struct vn_tensors *t, json_t *map, struct vn_error *err) {
    const char *key;
    json_t *value;
    json_object_foreach(map, key, value) {
        const struct vn_tensor *x = vn_tensors_find(t, key);
        const struct shard *in = NULL;
        for (int64_t i = 0; x && i < t->n_shards; i++) {
            const uint8_t *begin = t->shards[i].map;
            if ((const uint8_t *)x->data >= begin &&
                (const uint8_t *)x->data <= begin + t->shards[i].size &&
                !strcmp(t->shards[i].name, json_string_value(value)))
                in = &t->shards[i];
        }
        if (!in)
            return vn_fail(err, VN_EDATA, "tensor '%s' is not in '%s'", key,
                           json_string_value(value));
    }
    return VN_OK;
}

static int open_index(struct vn_tensors *t, const char *dir, const char *path,
                      struct vn_error *err) {
    json_t *index, *map;
    const char **names = NULL;
    size_t n = 0;
    int rc = vn_json_load(path, MAX_INDEX, &index, err);
    if (rc != VN_OK)
        return rc;
    map = json_object_get(index, "weight_map");
    if (!json_is_object(map))
        rc = vn_json_wrong(index, "weight_map", "an object", err);
    if (rc == VN_OK)
        rc = shard_names(map, &names, &n, err);
    if (rc == VN_OK)
        t->shards = vn_calloc(n, sizeof *t->shards, err);
    if (rc == VN_OK && !t->shards)
        rc = VN_EFAIL;
    if (rc != VN_OK)
        vn_prefix(err, "'%s'", path);
    for (size_t i = 0; rc == VN_OK && i < n; i++)
        rc = add_shard(t, dir, names[i], err);
    if (rc == VN_OK)
        rc = index_names(t, err);
    if (rc == VN_OK && (rc = check_map(t, map, err)) != VN_OK)
        vn_prefix(err, "'%s'", path);
    free(names);
    json_decref(index);
    return rc;
}

static int finish_open(int rc, struct vn_tensors *t, struct vn_tensors **out) {
    if (rc != VN_OK) {
        vn_tensors_close(t);
        t = NULL;
    }
    *out = t;
    return rc;
}

int vn_tensors_open_file(const char *path, struct vn_tensors **out,
                         struct vn_error *err) {
    struct vn_tensors *t = vn_calloc(1, sizeof *t, err);
    *out = NULL;
    if (!t)
        return VN_EFAIL;
    t->shards = vn_calloc(1, sizeof *t->shards, err);
    int rc = t->shards ? add_shard(t, NULL, path, err) : VN_EFAIL;
    if (rc == VN_OK)
        rc = index_names(t, err);
    return finish_open(rc, t, out);
}

static int open_shards(const char *dir, const char *index, struct vn_tensors **out,
                       struct vn_error *err) {
    struct vn_tensors *t = vn_calloc(1, sizeof *t, err);
    return finish_open(t ? open_index(t, dir, index, err) : VN_EFAIL, t, out);
}

int vn_tensors_open_dir(const char *dir, struct vn_tensors **out, struct vn_error *err) {
    const size_t n = strlen(dir) + sizeof INDEX + 1;
    int rc;
    *out = NULL;
    char *path = vn_calloc(n, 1, err);
    if (!path)
        return VN_EFAIL;
    snprintf(path, n, "%s/%s", dir, WEIGHTS);
    if (access(path, F_OK) == 0) {
        rc = vn_tensors_open_file(path, out, err);
    } else {
        snprintf(path, n, "%s/%s", dir, INDEX);
        rc = access(path, F_OK) == 0
                 ? open_shards(dir, path, out, err)
                 : vn_fail(err, VN_ENOINPUT, "no %s and no %s in '%s'", WEIGHTS, INDEX, dir);
    }
    free(path);
    return rc;
}

const struct vn_tensor *vn_tensors_find(const struct vn_tensors *t, const char *name) {
    struct vn_tensor key = {.name = name};
    const struct vn_tensor *p = &key;
    const struct vn_tensor **found =
        bsearch(&p, t->by_name, (size_t)t->all.n, sizeof *t->by_name, compare_names);
    return found ? *found : NULL;
}

int64_t vn_tensors_count(const struct vn_tensors *t) {
    return t->all.n;
}

const struct vn_tensor *vn_tensors_at(const struct vn_tensors *t, int64_t i) {
    return &t->all.at[i];
}

float vn_tensor_at(const struct vn_tensor *t, int64_t i) {
    const uint8_t *p = (const uint8_t *)t->data + (size_t)i * vn_dtype_size(t->type);
    double d;
    switch (t->type) {
    case VN_F32: return vn_bits_f32(vn_load32(p));
    case VN_F16: return vn_f16_to_f32(vn_load16(p));
    case VN_BF16: return vn_bf16_to_f32(vn_load16(p));
    case VN_F64: memcpy(&d, p, 8); return (float)d;
    default: return vn_bits_f32(0x7fc00000u); /* not a float tensor: NaN */
    }
}

/* ---- in the background ----------------------------------------------------------- */

static int digest_begin(struct vn_tensors *t, bool use_cache, struct vn_error *err) {
    t->files = vn_calloc((size_t)t->n_shards, sizeof *t->files, err);
    if (!t->files)
        return VN_EFAIL;
    for (int64_t i = 0; i < t->n_shards; i++) {
        const struct shard *s = &t->shards[i];
        t->files[i] = (struct vn_digest_file){.path = s->path,
                                              .data = s->map,
                                              .size = s->size,
                                              .identity = s->identity};
    }
    return vn_digest_begin(t->files, t->n_shards, use_cache, &t->digest, err);
}

static void digest_drop(struct vn_tensors *t) {
    vn_digest_cancel(t->digest);
    free(t->files);
    t->digest = NULL;
    t->files = NULL;
}

/* Waits for the digests of the files and makes that of the set. */
static int digest_end(struct vn_tensors *t, struct vn_error *err) {
    struct vn_sha256 all;
    struct vn_buf line = {0};
    int rc = VN_OK;
    vn_digest_end(t->digest);
    t->digest = NULL;
    t->cached = true;
    vn_sha256_init(&all);
    for (int64_t i = 0; rc == VN_OK && i < t->n_shards; i++) {
        t->cached &= t->files[i].cached;
        line.len = 0;
        rc = vn_buf_printf(&line, err, "%s  %s\n", t->files[i].hex, t->shards[i].name);
        if (rc == VN_OK)
            vn_sha256_update(&all, line.data, line.len);
    }
    if (rc == VN_OK && t->n_shards > 1)
        vn_sha256_final(&all, t->sha256);
    else if (rc == VN_OK)
        memcpy(t->sha256, t->files[0].hex, sizeof t->sha256);
    vn_buf_release(&line);
    digest_drop(t);
    return rc;
}

static void *read_ahead(void *arg) {
    struct vn_tensors *t = arg;
    for (int64_t i = 0; i < t->n_shards; i++)
        for (size_t at = 0; at < t->shards[i].size; at += AHEAD) {
            size_t left = t->shards[i].size - at;
            if (__atomic_load_n(&t->stop_ahead, __ATOMIC_RELAXED))
                return NULL;
            madvise(t->shards[i].map + at, left < AHEAD ? left : AHEAD, MADV_WILLNEED);
        }
    return NULL;
}

static void ahead_stop(struct vn_tensors *t) {
    __atomic_store_n(&t->stop_ahead, true, __ATOMIC_RELAXED);
    if (t->has_ahead)
        pthread_join(t->ahead, NULL);
    t->has_ahead = false;
}

int vn_tensors_prepare(struct vn_tensors *t, struct vn_error *err) {
    if (!t->has_ahead) /* without a thread it is slower, no more */
        t->has_ahead = !pthread_create(&t->ahead, NULL, read_ahead, t);
    return t->digest || t->sha256[0] ? VN_OK : digest_begin(t, true, err);
}

int vn_tensors_sha256(struct vn_tensors *t, char out[65], struct vn_error *err) {
    int rc = VN_OK;
    if (!t->sha256[0]) {
        rc = t->digest ? VN_OK : digest_begin(t, true, err);
        if (rc == VN_OK)
            rc = digest_end(t, err);
    }
    memcpy(out, t->sha256, sizeof t->sha256);
    return rc;
}

int vn_tensors_rehash(struct vn_tensors *t, char out[65], struct vn_error *err) {
    digest_drop(t);
    t->sha256[0] = 0;
    int rc = digest_begin(t, false, err);
    return rc == VN_OK ? vn_tensors_sha256(t, out, err) : rc;
}

bool vn_tensors_sha256_cached(const struct vn_tensors *t) {
    return t->cached;
}

void vn_tensors_close(struct vn_tensors *t) {
    if (!t)
        return;
    ahead_stop(t);
    digest_drop(t);
    for (int64_t i = 0; i < t->n_shards; i++) {
        if (t->shards[i].map)
            munmap(t->shards[i].map, t->shards[i].size);
        free(t->shards[i].path);
    }
    free(t->by_name);
    vn_tensor_list_release(&t->all);
    free(t->shards);
    free(t);
}
