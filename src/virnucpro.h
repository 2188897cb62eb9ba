/* virnucpro.h - calls as VirNucPro's published version writes them, to the letter.
 *
 *   prediction_results.txt               Sequence_ID Prediction score1 score2
 *   prediction_results_highestscore.csv  Modified_ID Is_Virus, sorted by the id
 *
 * Both are separated by tabs. Scores are the shortest decimal of their float32 as numpy
 * prints it ("1e-05", "0.5", "1.0"). A row of the second is what the ids of frames have in
 * common without their last two characters, and True when the highest score2 is at least
 * the highest score1. Rows without scores are left out: the original has none. */
#ifndef VN_VIRNUCPRO_H
#define VN_VIRNUCPRO_H

#include "export.h"

/* For a scores stream of two classes, VN_EINCOMPAT otherwise, in the order of the input.
 * Makes the directory if it is not there; files get their names when they are complete.
 * The ids of all chunks are kept in memory to be sorted. */
int vn_export_virnucpro(const struct vn_schema *s, const char *dir, struct vn_export **out,
                        struct vn_error *err) VN_NODISCARD;

/* v as numpy prints a float32; returns the length. */
int vn_numpy_float(char text[32], float v);

#endif
