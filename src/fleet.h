/* fleet.h - one model on one or more devices, which share the jobs.
 *
 * Every device has an engine and a thread of its own, so that whoever fills jobs, the
 * devices, and whoever takes results all work at the same time. A job goes to the device
 * with the fewest tokens outstanding; jobs come back in the order of submission, whichever
 * device ran them. Results do not depend on the number of devices.
 *
 * A thread hands what is done over as soon as no other job waits for it, so that a slow
 * input is not slowed down further; on a backend that has run a job when submit returns, at
 * once.
 *
 * One thread submits and one, which may be another, collects. */
#ifndef VN_FLEET_H
#define VN_FLEET_H

#include "engine.h"

struct vn_fleet;

/* Begins to open an engine on each of the n >= 1 backends, all at the same time, and
 * returns: the caller may do something else meanwhile, and calls vn_fleet_wait before all
 * else. The model must outlive the fleet; the backends are taken over (also on failure). */
int vn_fleet_open(const struct vn_model *model, struct vn_backend *const *backends, int n,
                  const struct vn_engine_options *opts, struct vn_fleet **out,
                  struct vn_error *err) VN_NODISCARD;

/* Waits until all engines are open; the first one's failure, after which the fleet can only
 * be closed. */
int vn_fleet_wait(struct vn_fleet *f, struct vn_error *err) VN_NODISCARD;

/* Jobs that may be outstanding: submitted and not collected. */
int vn_fleet_window(const struct vn_fleet *f);

/* An engine, for what can be asked of it while jobs run; not once the fleet was stopped. */
const struct vn_engine *vn_fleet_engine(const struct vn_fleet *f, int i);

/* Hands over the sequences that the arguments describe as those of struct vn_job do, whose
 * memory must stay until the job has been collected. Waits while the window is full: 1, or
 * 0 when the fleet has been stopped and nothing was handed over. */
int vn_fleet_submit(struct vn_fleet *f, const uint16_t *tokens, const int32_t *cu_seqlens,
                    int64_t n_seq, void *user) VN_NODISCARD;

/* No more jobs will be submitted. */
void vn_fleet_finish(struct vn_fleet *f);

/* Waits for the oldest job: 1, or 0 when all jobs have been collected and vn_fleet_finish
 * was called, or the fleet was stopped. Its results are the fleet's, valid until the next
 * call. Negative: the job could not be run, *job says which (its results are undefined); of
 * a device that failed all later jobs fail. */
int vn_fleet_collect(struct vn_fleet *f, struct vn_job **job, struct vn_error *err)
    VN_NODISCARD;

/* Ends early: submit and collect return 0 from now on, also where they wait. The engines are
 * closed; when this returns no device works any more. Any thread. */
void vn_fleet_stop(struct vn_fleet *f);

void vn_fleet_close(struct vn_fleet *f); /* NULL is legal; nobody may use it any more */

#endif
