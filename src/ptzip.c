#include "ptzip.h"

#include <stdlib.h>
#include <string.h>
#include <zip.h>

#define MAX_INFLATE 1032 /* deflate cannot expand by more */
#define PICKLE "/data.pkl"

struct vn_ptzip {
    zip_t *zip;
    uint64_t size;      /* of the file */
    const char *folder; /* [n_folder] of the name of the pickle's entry, which is libzip's */
    int n_folder;
    uint64_t pickle;    /* its entry */
    struct vn_buf name; /* of the entry looked for last */
};

/* ---- entries --------------------------------------------------------------------- */

/* Size of an entry whose declared size the bytes in the file can really yield. */
static int entry_size(struct vn_ptzip *z, uint64_t entry, uint64_t *size,
                      struct vn_error *err) {
    zip_stat_t st;
    const zip_uint64_t need = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE |
                              ZIP_STAT_COMP_METHOD | ZIP_STAT_ENCRYPTION_METHOD;
    if (zip_stat_index(z->zip, entry, 0, &st) != 0 || (st.valid & need) != need)
        return vn_fail(err, VN_EDATA, "entry %llu cannot be read",
                       (unsigned long long)entry);
    bool stored = st.comp_method == ZIP_CM_STORE && st.size == st.comp_size;
    bool deflated =
        st.comp_method == ZIP_CM_DEFLATE && st.size / MAX_INFLATE <= st.comp_size;
    if ((!stored && !deflated) || st.encryption_method != ZIP_EM_NONE ||
        st.comp_size > z->size)
        return vn_fail(err, VN_EDATA,
                       "entry '%.200s' has an unsupported method or an impossible size",
                       st.name);
    *size = st.size;
    return VN_OK;
}

int vn_ptzip_read(struct vn_ptzip *z, uint64_t entry, uint64_t size, struct vn_buf *out,
                  struct vn_error *err) {
    int rc = vn_buf_resize(out, size, err);
    zip_file_t *f = rc == VN_OK ? zip_fopen_index(z->zip, entry, 0) : NULL;
    uint64_t at = 0;
    uint8_t past;
    while (f && at < size) {
        zip_int64_t got = zip_fread(f, out->data + at, size - at);
        if (got <= 0)
            break;
        at += (uint64_t)got;
    }
    /* libzip compares the CRC when it comes to the end: one byte more must not be there */
    if (rc == VN_OK && (!f || at < size || zip_fread(f, &past, 1) != 0))
        rc = vn_fail(err, VN_EDATA, "entry '%.200s' is damaged: %s",
                     zip_get_name(z->zip, entry, 0),
                     f ? zip_file_strerror(f) : zip_strerror(z->zip));
    if (f)
        zip_fclose(f);
    return rc;
}

/* The number of the entry of that name in the folder: 1, or 0 when there is none. */
static int locate(struct vn_ptzip *z, const char *within, const char *name, uint64_t *entry,
                  struct vn_error *err) {
    z->name.len = 0;
    int rc = vn_buf_printf(&z->name, err, "%.*s/%s%s", z->n_folder, z->folder, within, name);
    if (rc != VN_OK)
        return rc;
    zip_int64_t at = zip_name_locate(z->zip, (const char *)z->name.data, 0);
    *entry = at < 0 ? 0 : (uint64_t)at;
    return at >= 0;
}

int vn_ptzip_pickle(struct vn_ptzip *z, uint64_t most, struct vn_buf *out,
                    struct vn_error *err) {
    uint64_t size = 0;
    int rc = entry_size(z, z->pickle, &size, err);
    if (rc == VN_OK && size > most)
        rc = vn_fail(err, VN_EDATA, "has a pickle of %llu bytes, at most %llu are read",
                     (unsigned long long)size, (unsigned long long)most);
    return rc == VN_OK ? vn_ptzip_read(z, z->pickle, size, out, err) : rc;
}

int vn_ptzip_find(struct vn_ptzip *z, const char *key, uint64_t *entry, uint64_t *size,
                  struct vn_error *err) {
    int rc = locate(z, "data/", key, entry, err);
    if (rc == 0)
        return vn_fail(err, VN_EDATA, "storage '%.100s' is missing", key);
    return rc > 0 ? entry_size(z, *entry, size, err) : rc;
}

/* ---- open and close -------------------------------------------------------------- */

/* The only entry that ends with "/data.pkl". */
static int find_pickle(struct vn_ptzip *z, struct vn_error *err) {
    const size_t tail = sizeof PICKLE - 1;
    int found = 0;
    for (zip_int64_t i = 0, n = zip_get_num_entries(z->zip, 0); i < n && found < 2; i++) {
        const char *name = zip_get_name(z->zip, (zip_uint64_t)i, 0);
        const size_t length = name ? strlen(name) : 0;
        if (length <= tail || length > 4096 || strcmp(name + length - tail, PICKLE) != 0)
            continue;
        z->folder = name;
        z->n_folder = (int)(length - tail);
        z->pickle = (uint64_t)i;
        found++;
    }
    return found == 1 ? VN_OK
                      : vn_fail(err, VN_EDATA,
                                "is not a torch file: it has no or several data.pkl");
}

static int check_byte_order(struct vn_ptzip *z, struct vn_error *err) {
    static const char little[] = "little";
    const size_t n = sizeof little - 1;
    struct vn_buf text = {0};
    uint64_t entry = 0, size = 0;
    int rc = locate(z, "", "byteorder", &entry, err);
    if (rc <= 0)
        return rc; /* writers before torch 2.1 did not say */
    rc = entry_size(z, entry, &size, err);
    if (rc == VN_OK && size == n)
        rc = vn_ptzip_read(z, entry, size, &text, err);
    if (rc == VN_OK && (size != n || memcmp(text.data, little, n) != 0))
        rc = vn_fail(err, VN_EDATA, "is not little-endian");
    vn_buf_release(&text);
    return rc;
}

int vn_ptzip_open(const char *path, uint64_t size, struct vn_ptzip **out,
                  struct vn_error *err) {
    int code = 0;
    struct vn_ptzip *z = *out = vn_calloc(1, sizeof *z, err);
    if (!z)
        return VN_EFAIL;
    z->size = size;
    /* CHECKCONS: the two headers of an entry agree, and no name is there twice: it could
     * show two readers two different files */
    z->zip = zip_open(path, ZIP_RDONLY | ZIP_CHECKCONS, &code);
    int rc = VN_OK;
    if (!z->zip) {
        zip_error_t e;
        zip_error_init_with_code(&e, code);
        rc = vn_fail(err, VN_EDATA, "is not a sound zip file: %s", zip_error_strerror(&e));
        zip_error_fini(&e);
    }
    if (rc == VN_OK)
        rc = find_pickle(z, err);
    if (rc == VN_OK)
        rc = check_byte_order(z, err);
    if (rc != VN_OK) {
        vn_ptzip_close(z);
        *out = NULL;
    }
    return rc;
}

void vn_ptzip_close(struct vn_ptzip *z) {
    if (!z)
        return;
    if (z->zip)
        zip_discard(z->zip);
    vn_buf_release(&z->name);
    free(z);
}
