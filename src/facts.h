/* facts.h - named figures, written as lines of text or as one JSON object.
 *
 * Figures stand in groups, and groups in groups. As text a figure is a line
 * "group.group.name<TAB>value"; in JSON groups are objects. A number that is not defined (NaN)
 * is "." or null. Nothing is written before vn_facts_write: a report is small, and is kept
 * in memory. The first failure is kept, and later calls do nothing: only vn_facts_write says.
 *
 * A table is a group of rows that all have the same figures: as text a line for each row,
 * "group.name<TAB>value<TAB>value...", below one with the names; in JSON an array of objects.
 *
 * Names are UTF-8. Texts may be anything: what is not UTF-8 becomes U+FFFD, in JSON and as
 * text, where control characters become blanks. */
#ifndef VN_FACTS_H
#define VN_FACTS_H

#include "io.h"

#define VN_FACTS_DEPTH 6

struct vn_facts {
    bool json;
    struct vn_buf out, path; /* path: of the open groups, "a.b." */
    struct vn_buf heads;     /* names of the columns of a table, from its first row */
    struct vn_buf text;      /* a text without what does not belong there */
    size_t row;              /* where in `out` the row begins */
    int depth;
    size_t path_len[VN_FACTS_DEPTH]; /* of the enclosing groups' paths */
    bool is_first[VN_FACTS_DEPTH + 1];
    bool in_row;
    int rc;
    struct vn_error err;
};

void vn_facts_init(struct vn_facts *f, bool json);

void vn_facts_begin(struct vn_facts *f, const char *name); /* a group */
void vn_facts_end(struct vn_facts *f);

void vn_facts_begin_table(struct vn_facts *f, const char *name);
void vn_facts_begin_row(struct vn_facts *f);
void vn_facts_end_row(struct vn_facts *f);
void vn_facts_end_table(struct vn_facts *f);

void vn_facts_text(struct vn_facts *f, const char *name, const char *p, size_t n);
void vn_facts_word(struct vn_facts *f, const char *name, const char *word); /* NULL: none */
void vn_facts_bool(struct vn_facts *f, const char *name, bool v);
void vn_facts_count(struct vn_facts *f, const char *name, uint64_t v);
void vn_facts_number(struct vn_facts *f, const char *name, double v);
/* The shortest text of a float: for a number that is one. */
void vn_facts_float(struct vn_facts *f, const char *name, double v);

/* Writes all of it, and empties the report. The first failure of any call before. */
int vn_facts_write(struct vn_facts *f, struct vn_sink *sink, struct vn_error *err)
    VN_NODISCARD;

void vn_facts_release(struct vn_facts *f);

#endif
