/* import_job.h - what the files import*.c share: the job of writing one directory.
 *
 * A reader (import_esm.c, import_head.c) adds items, tensors by their final names whose
 * data stay where they are, and texts, the small files; import.c writes them. */
#ifndef VN_IMPORT_JOB_H
#define VN_IMPORT_JOB_H

#include "import.h"
#include "import_dir.h"
#include "json.h"
#include "ptfile.h"

struct vn_import_item {
    struct vn_tensor t; /* name owned; data borrowed, or NULL when `file` has them */
    struct vn_ptfile *file;
    const struct vn_py *value;
};

struct vn_import_job {
    const struct vn_import_options *o;
    const char *source;
    struct vn_import_dir dir; /* at work */
    bool is_head;
    json_t *labels;    /* owned, those of the options, or NULL */
    int64_t n_classes; /* of a head */
    struct vn_import_item *items;
    size_t n_items, cap_items;
    char *config, *vocabulary, *tokenizer; /* texts to write; all but config may be NULL */
    size_t n_read, n_renamed, n_folded;
    struct vn_buf dropped; /* names of the first dropped tensors: ": a, b" */
    size_t n_dropped, n_unlisted; /* those named there, and the others */
    struct vn_ptfile **files; /* owned, open until the job ends */
    size_t n_files;
    struct vn_tensors *tensors; /* owned, of a safetensors source */
    struct vn_buf *made;        /* owned data that the reader computed */
    size_t n_made;
};

/* Tells the caller; a line without newline. */
void vn_import_note(struct vn_import_job *j, const char *fmt, ...) VN_PRINTF(2, 3);

/* Opens a torch file that lives as long as the job. */
int vn_import_file(struct vn_import_job *j, const char *path, struct vn_ptfile **out,
                   struct vn_error *err) VN_NODISCARD;

/* Adds a tensor of a torch file under a final name. */
int vn_import_add(struct vn_import_job *j, const char *name, struct vn_ptfile *f,
                  const struct vn_py *value, struct vn_error *err) VN_NODISCARD;
/* Adds a tensor whose data outlive the job, or are handed over in `made` (then emptied). */
int vn_import_add_tensor(struct vn_import_job *j, const char *name,
                         const struct vn_tensor *t, struct vn_buf *made,
                         struct vn_error *err) VN_NODISCARD;

/* How many entries `state`, a dict of tensors by name, has (vn_py_pairs); `what` names it.
 * VN_EDATA when it is something else, holds something else, or has a name of more than 255
 * bytes: a few bytes of a pickle can repeat a text of megabytes. */
int64_t vn_import_tensors(const struct vn_py *state, const char *what,
                          struct vn_error *err) VN_NODISCARD;

/* Counts a tensor that is left out. */
int vn_import_drop(struct vn_import_job *j, const char *name,
                   struct vn_error *err) VN_NODISCARD;

/* The labels "a,b" as an array; VN_EUSAGE for those that no head can have: empty, twice,
 * not UTF-8, or with a tab or the end of a line. */
int vn_import_labels(const char *text, json_t **out, struct vn_error *err) VN_NODISCARD;

/* The readers. A dict of fair-esm; an open torch file with a module or state dict; a
 * Hugging Face directory. */
int vn_import_fair_esm(struct vn_import_job *j, struct vn_ptfile *f,
                       struct vn_error *err) VN_NODISCARD;
int vn_import_head(struct vn_import_job *j, struct vn_ptfile *f,
                   struct vn_error *err) VN_NODISCARD;
int vn_import_huggingface(struct vn_import_job *j, const char *dir,
                          struct vn_error *err) VN_NODISCARD;

#endif
