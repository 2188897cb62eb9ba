/* ptvectors - prints the vectors of a .pt file of VirNucPro as text, for tests/real.sh.
 *
 *   ptvectors FILE.pt
 *
 * A line for each vector: its id, a tab, and the elements, shortest form, between commas. The
 * three kinds of file are dicts with "data" and the ids of its rows, in its order, under
 *   "nucleotide"  of DNABERT-S: data is a list of dicts of "label" and "mean_representation",
 *                 a list of numbers
 *   "proteins"    of ESM-2: data is a list of tensors of one dimension
 *   "ids"         of both side by side: data is one tensor of two */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ptfile.h"

static struct vn_error err;
static struct vn_ptfile *file;

static void die(const char *what) {
    fprintf(stderr, "ptvectors: '%s': %s\n", vn_ptfile_path(file), what);
    exit(65);
}
static void must(int rc) {
    if (rc < 0) {
        fprintf(stderr, "ptvectors: %s\n", err.msg);
        exit(-rc);
    }
}

static void begin(const struct vn_py *id) {
    if (id->type != VN_PY_STRING || !id->n || strpbrk(id->text, "\t\n"))
        die("an id that is no word");
    printf("%s\t", id->text);
}
static void element(size_t i, double x) {
    if (!isfinite(x))
        die("a number that is not finite");
    printf("%s%.9g", i ? "," : "", x);
}

static void put_tensor(const struct vn_py *v, const struct vn_py *const *ids, size_t rows,
                       int dims) {
    static struct vn_buf data;
    struct vn_tensor t;
    must(vn_ptfile_tensor(file, v, &t, &err));
    if (t.n_dims != dims || (dims == 2 && t.shape[0] != (int64_t)rows))
        die("a tensor of another shape");
    must(vn_ptfile_read(file, v, &data, &err));
    t.data = data.data;
    size_t width = (size_t)t.shape[dims - 1];
    for (size_t r = 0; r < rows; r++) {
        begin(ids[r]);
        for (size_t i = 0; i < width; i++)
            element(i, vn_tensor_at(&t, (int64_t)(r * width + i)));
        putchar('\n');
    }
}

static void put_numbers(const struct vn_py *v, const struct vn_py *id) {
    const struct vn_py *label = vn_py_get(v, "label");
    const struct vn_py *list = vn_py_get(v, "mean_representation");
    if (!label || label->type != VN_PY_STRING || strcmp(label->text, id->text))
        die("a label that is not the id");
    if (!list || list->type != VN_PY_LIST)
        die("a representation that is no list");
    begin(id);
    for (size_t i = 0; i < list->n; i++) {
        if (list->items[i]->type != VN_PY_FLOAT)
            die("an element that is no number");
        element(i, list->items[i]->f);
    }
    putchar('\n');
}

int main(int argc, char **argv) {
    static const char *const kinds[] = {"nucleotide", "proteins", "ids", NULL};
    if (argc != 2) {
        fputs("usage: ptvectors FILE.pt\n", stderr);
        return 2;
    }
    must(vn_ptfile_open(argv[1], &file, &err));
    const struct vn_py *root = vn_ptfile_root(file), *data = vn_py_get(root, "data");
    const struct vn_py *ids = NULL;
    for (int i = 0; kinds[i] && !ids; i++)
        ids = vn_py_get(root, kinds[i]);
    if (!data || !ids || ids->type != VN_PY_LIST || !ids->n)
        die("no file of VirNucPro's vectors");
    const struct vn_py *const *names = (const struct vn_py *const *)ids->items;
    if (vn_ptfile_is_tensor(data)) {
        put_tensor(data, names, ids->n, 2);
    } else {
        if (data->type != VN_PY_LIST || data->n != ids->n)
            die("as many vectors as ids were expected");
        for (size_t i = 0; i < ids->n; i++)
            if (vn_ptfile_is_tensor(data->items[i]))
                put_tensor(data->items[i], names + i, 1, 1);
            else
                put_numbers(data->items[i], names[i]);
    }
    vn_ptfile_close(file);
    return fflush(stdout) || ferror(stdout) ? 74 : 0;
}
