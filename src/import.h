/* import.h - makes a model directory (model.h, head.h) of the files people have.
 *
 *   fair-esm's ESM-2 .pt                  tensors renamed, config.json written
 *   a Hugging Face directory              pytorch_model.bin (or shards), or safetensors
 *   VirNucPro's .pth, or a state dict     linear layers, batch norms folded into them
 *
 * What is written is opened again and checked as a user of it would, before it gets its
 * name. */
#ifndef VN_IMPORT_H
#define VN_IMPORT_H

#include <stdbool.h>

#include "safetensors.h"

struct vn_import_options {
    enum vn_dtype type; /* of the float tensors: VN_F32, VN_F16, VN_OTHER: as they are */
    const char *labels; /* of a head's classes, "a,b"; NULL for "others,virus" */
    int64_t chunk; /* length of the chunks that a head was trained on; 0 leaves it out */
    bool force;    /* replace the model in an existing directory */
    void (*note)(void *ctx, const char *line); /* told what was done; may be NULL */
    void *ctx;
};

/* Writes `dir` from the file or directory `source`. VN_EUSAGE when dir exists and force
 * is not set or nothing in it is to be replaced (vn_import_dir_check), and for labels
 * that no head or not this one can have; the status of what is wrong with the source;
 * VN_EWRITE. On failure nothing is left, and nothing of an existing directory is changed,
 * but in the case of which the message tells: files were moved and cannot be moved back. */
int vn_import(const char *source, const char *dir, const struct vn_import_options *o,
              struct vn_error *err) VN_NODISCARD;

#endif
