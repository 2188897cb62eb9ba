/* truth.h - what is known of the records, and how two sets of calls do against it.
 *
 * The truth is a label for each id: all of it is kept, about 60 bytes and the id each. One
 * label is the positive one, everything else is negative; a record is called positive by a
 * set that gives it that label, and not by one that gives it none, or lacks it. */
#ifndef VN_TRUTH_H
#define VN_TRUTH_H

#include "calls.h"
#include "facts.h"

struct vn_truth;

/* Reads all of `calls`. VN_EDATA when an id is both positive and negative in it. `positive`
 * and `class_of` must outlive the object: class_of[s] is the class of set s whose scores
 * rank the records, -1 for none. */
int vn_truth_read(struct vn_calls *calls, const char *positive, const int class_of[2],
                  struct vn_truth **out, struct vn_error *err) VN_NODISCARD;

/* Ids of it that are positive, or not. */
size_t vn_truth_size(const struct vn_truth *t, bool positive);

/* Judges a record; a or b is NULL where a set lacks it. */
int vn_truth_judge(struct vn_truth *t, const struct vn_call *a, const struct vn_call *b,
                   struct vn_error *err) VN_NODISCARD;

/* Figures into the group that is open. */
int vn_truth_report(const struct vn_truth *t, struct vn_facts *f,
                    struct vn_error *err) VN_NODISCARD;

void vn_truth_free(struct vn_truth *t); /* NULL is legal */

#endif
