/* fixture.h - seeded models and engines for unit programs; include after check.h. */
#ifndef VN_FIXTURE_H
#define VN_FIXTURE_H

#include <math.h>

#include "engine.h"
#include "mem.h"

/* Runs tests/mkmodel with these arguments and opens what it wrote into ./model. NULL, and
 * the test has failed, when that cannot be. */
__attribute__((unused)) static struct vn_model *fixture_model(const char *arguments) {
    struct vn_error err = {0};
    struct vn_model *m = NULL;
    char command[1024];
    const char *build = getenv("B");
    snprintf(command, sizeof command, "rm -rf model && '%s/tests/mkmodel' %s model",
             build ? build : "build/last", arguments);
    if (system(command) != 0)
        check_fail(__FILE__, __LINE__, command);
    else if (vn_model_open("./model", &m, &err) < 0)
        check_fail(__FILE__, __LINE__, err.msg);
    return m;
}

/* An engine on a device; NULL, and the test has failed, when that cannot be. */
__attribute__((unused)) static struct vn_engine *
fixture_engine(const struct vn_model *m, const char *device, enum vn_dtype act,
               const struct vn_engine_options *opts) {
    struct vn_backend_options bo = {.device = device, .act = act, .threads = 2};
    struct vn_error err = {0};
    struct vn_backend *b;
    struct vn_engine *e = NULL;
    if (vn_backend_open(&bo, &b, &err) < 0 || vn_engine_open(m, b, opts, &e, &err) < 0)
        check_fail(__FILE__, __LINE__, err.msg);
    return e;
}

/* Submits a job and collects it. */
__attribute__((unused)) static int fixture_run(struct vn_engine *e, struct vn_job *job,
                                               struct vn_error *err) {
    struct vn_job *back = NULL;
    int rc = vn_engine_submit(e, job, err);
    if (rc == VN_OK)
        rc = vn_engine_collect(e, &back, err);
    if (rc == 1 && back != job)
        check_fail(__FILE__, __LINE__, "another job came back");
    return rc;
}

__attribute__((unused)) static void fixture_job_release(struct vn_job *job) {
    vn_buf_release(&job->out);
    vn_buf_release(&job->outcome);
}

/* |a - b| / |b| over n numbers; rows of masks are all zero at layer 0: 0 if both are. */
__attribute__((unused)) static double relative_l2(const float *a, const float *b, int64_t n) {
    double diff = 0, norm = 0;
    for (int64_t i = 0; i < n; i++) {
        diff += ((double)a[i] - b[i]) * ((double)a[i] - b[i]);
        norm += (double)b[i] * b[i];
    }
    return diff == 0 ? 0 : sqrt(diff / norm);
}

__attribute__((unused)) static double cosine(const float *a, const float *b, int64_t n) {
    double ab = 0, aa = 0, bb = 0;
    for (int64_t i = 0; i < n; i++) {
        ab += (double)a[i] * b[i];
        aa += (double)a[i] * a[i];
        bb += (double)b[i] * b[i];
    }
    return ab / sqrt(aa * bb);
}

#endif
