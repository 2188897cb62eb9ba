/* What --profile makes of the times of a device: held with a device whose clock is ours. */
#include "check.h"

#include <math.h>

#include "mem.h"
#include "profile.h"

/* ---- a device with a clock ------------------------------------------------------- */

static struct device {
    struct vn_backend base;
    double clock, times[VN_STAMPS];
    double copy_from, copy_to; /* when the next copy runs beside the queue, if it does */
    int stamped;
} dev;

static int stamp(struct vn_backend *b, int i, struct vn_error *e) {
    (void)b, (void)e;
    CHECK(i > 0 && i < VN_STAMPS);
    dev.times[i] = dev.clock;
    dev.stamped++;
    return VN_OK;
}
static int between(struct vn_backend *b, int i, int j, double *s, struct vn_error *e) {
    (void)b, (void)e;
    *s = dev.times[j] - dev.times[i];
    return VN_OK;
}
static int mark(struct vn_backend *b, int slot, struct vn_error *e) {
    (void)b, (void)slot, (void)e;
    return VN_OK;
}
static int copy_out(struct vn_backend *b, void *to, const void *from, size_t n,
                    struct vn_error *e) {
    (void)to, (void)from, (void)n, (void)e;
    dev.clock += 1;
    if (b->copy_stamp && dev.copy_to > 0) {
        dev.times[b->copy_stamp] = dev.copy_from;
        dev.times[b->copy_stamp + 1] = dev.copy_to;
        b->copy_stamp = 0;
    }
    return VN_OK;
}
static int norm(struct vn_backend *b, const struct vn_norm_args *a, struct vn_error *e) {
    (void)b, (void)a, (void)e;
    dev.clock += 10;
    return VN_OK;
}
static int linear(struct vn_backend *b, const struct vn_linear_args *a, struct vn_error *e) {
    (void)b, (void)a, (void)e;
    dev.clock += 100;
    return VN_OK;
}
static int matrix_new(struct vn_backend *b, const struct vn_matrix_spec *s,
                      struct vn_matrix **out, struct vn_error *e) {
    (void)b, (void)s, (void)e;
    *out = (struct vn_matrix *)(void *)&dev.stamped; /* any address */
    return VN_OK;
}
/* A product and what follows it take 101. */
static int together(struct vn_backend *b, const struct vn_row_stage *s, int n) {
    (void)b;
    return n > 1 && !s[0].is_norm ? 2 : 1;
}
static int two_rows(struct vn_backend *b, const struct vn_row_stage *s, int n,
                    struct vn_error *e) {
    (void)e;
    CHECK_INT(together(b, s, n), 2);
    CHECK_INT(n, 2);
    dev.clock += 101;
    return VN_OK;
}
static void close_device(struct vn_backend *b) {
    (void)b;
}

static struct vn_error err;
static const struct vn_norm_args args = {.n_tok = 100, .d = 50, .y_type = VN_F16};

static struct vn_backend *open_device(void) {
    struct vn_backend *p = NULL;
    memset(&dev, 0, sizeof dev);
    dev.base.ops.stamp = stamp;
    dev.base.ops.between = between;
    dev.base.ops.mark = dev.base.ops.wait = mark;
    dev.base.ops.copy_out = copy_out;
    dev.base.ops.norm = norm;
    dev.base.ops.linear = linear;
    dev.base.ops.matrix_new = matrix_new;
    dev.base.ops.close = close_device;
    dev.clock = 1000;
    CHECK_INT(vn_profile_open(&dev.base, &p, &err), VN_OK);
    return p;
}

static void end_job(struct vn_backend *p) {
    CHECK_INT(p->ops.mark(p, 0, &err), VN_OK);
    CHECK_INT(p->ops.wait(p, 0, &err), VN_OK);
}

static struct vn_profile_op find(struct vn_backend *p, const char *name) {
    struct vn_profile_op op;
    for (int i = 0; vn_profile_at(p, i, &op); i++)
        if (!strcmp(op.name, name))
            return op;
    return (struct vn_profile_op){0};
}

/* ---- tests ----------------------------------------------------------------------- */

static void nothing_is_stamped_before_the_start(void) {
    struct vn_backend *p = open_device();
    CHECK_INT(p->ops.norm(p, &args, &err), VN_OK);
    end_job(p);
    CHECK_INT(dev.stamped, 0);
    CHECK_INT(find(p, "norm").calls, 0);
    p->ops.close(p);
}

static void idle_time_is_what_lies_between(void) {
    struct vn_profile_totals t;
    struct vn_backend *p = open_device();
    vn_profile_start(p);
    for (int job = 0; job < 3; job++) {
        CHECK_INT(p->ops.norm(p, &args, &err), VN_OK);
        dev.clock += 2;
        CHECK_INT(p->ops.norm(p, &args, &err), VN_OK);
        end_job(p);
        dev.clock += 5;
    }
    vn_profile_totals(p, &t);
    struct vn_profile_op op = find(p, "norm");
    CHECK_INT(op.calls, 6);
    CHECK(op.seconds == 60 && t.seconds == 76);
    CHECK(op.bytes == 6 * 100 * 50 * (4 + 2));
    CHECK(t.idle_inside == 6 && t.idle_between == 10);
    p->ops.close(p);
}

/* Two operations, 1000 to 1010 and 1012 to 1022, behind a copy that ends within them. */
static void a_copy_beside_operations(void) {
    struct vn_profile_totals t;
    struct vn_backend *p = open_device();
    char x[10];
    vn_profile_start(p);
    dev.clock = 999;
    dev.copy_from = 1004;
    dev.copy_to = 1032;
    CHECK_INT(p->ops.copy_out(p, x, x, 10, &err), VN_OK);
    CHECK_INT(p->ops.norm(p, &args, &err), VN_OK);
    dev.clock += 2;
    CHECK_INT(p->ops.norm(p, &args, &err), VN_OK);
    end_job(p);
    dev.clock = 1040;
    dev.copy_to = 0; /* this one in the queue */
    CHECK_INT(p->ops.copy_out(p, x, x, 10, &err), VN_OK);
    end_job(p);
    vn_profile_totals(p, &t);
    CHECK(find(p, "copy out").seconds == 2);
    CHECK(t.copy_out_bytes == 20 && t.copy_in_bytes == 0);
    CHECK(t.copying == 28 + 1);
    CHECK(t.beside == 6 + 10);
    p->ops.close(p);
}

/* Jobs that are not waited for use up the stamps; later ones are timed again. */
static void stamps_run_out(void) {
    struct vn_profile_totals t;
    struct vn_backend *p = open_device();
    enum { N = VN_STAMPS };
    vn_profile_start(p);
    for (int i = 0; i < N; i++)
        CHECK_INT(p->ops.norm(p, &args, &err), VN_OK);
    end_job(p);
    vn_profile_totals(p, &t);
    uint64_t timed = find(p, "norm").calls;
    CHECK(timed > N / 2 - 10 && timed < N / 2);
    CHECK_INT(t.untimed, N - timed);
    CHECK(find(p, "norm").seconds == 10.0 * (double)timed);
    for (int i = 0; i < 3 * N; i++) {
        CHECK_INT(p->ops.norm(p, &args, &err), VN_OK);
        if (i % 100 == 99)
            end_job(p);
    }
    end_job(p);
    CHECK_INT(find(p, "norm").calls, timed + 3 * N);
    CHECK(find(p, "norm").seconds == 10.0 * (double)(timed + 3 * N));
    p->ops.close(p);
}

/* What the device runs as one operation has a line of its own; without `together` there are
 * no rows. */
static void stages_that_are_one(void) {
    struct vn_backend *p = open_device(), *q = NULL;
    struct vn_matrix *m;
    CHECK(!p->ops.rows);
    dev.base.ops.rows = two_rows;
    dev.base.ops.together = together;
    CHECK_INT(vn_profile_open(&dev.base, &q, &err), VN_OK);
    const struct vn_matrix_spec spec = {.n_out = 50, .n_in = 30};
    CHECK_INT(q->ops.matrix_new(q, &spec, &m, &err), VN_OK);
    q->act = VN_F16;
    const struct vn_row_stage product = {
        .linear = {.w = m, .n_tok = 100, .epilogue = VN_EPI_RESIDUAL}};
    const struct vn_row_stage s[] = {
        {.is_norm = true, .norm = args}, product, {.is_norm = true, .norm = args}, product};
    vn_profile_start(q);
    CHECK_INT(q->ops.rows(q, s, 4, &err), VN_OK);
    end_job(q);
    struct vn_profile_op op = find(q, "linear+norm 50x30");
    CHECK(op.calls == 1 && op.seconds == 101 && op.flop == 2.0 * 100 * 50 * 30);
    CHECK(op.bytes == 2 * (100 * 30 + 50 * 30) + 100 * 50 * (8 + 2));
    CHECK(find(q, "linear 50x30").seconds == 100 && find(q, "norm").seconds == 10);
    p->ops.close(p);
    q->ops.close(q);
}

static void the_text_is_a_table(void) {
    struct vn_backend *p = open_device();
    struct vn_buf text = {0};
    vn_profile_start(p);
    CHECK_INT(p->ops.norm(p, &args, &err), VN_OK);
    dev.clock += 10;
    CHECK_INT(p->ops.norm(p, &args, &err), VN_OK);
    end_job(p);
    CHECK_INT(vn_profile_text(p, &text, &err), VN_OK);
    CHECK_INT(vn_buf_append(&text, "", 1, &err), VN_OK);
    CHECK_STR((const char *)text.data,
              "operation                calls           ms  share%   TFLOP/s      TB/s\n"
              "norm                         2    20000.000   66.67         .     3e-09\n"
              "idle                         .    10000.000   33.33         .         .\n"
              "0 tokens in 30000.000 ms, 0 tokens/s; products: 0.00 % of it at . TFLOP/s\n"
              "idle: 33.33 % between operations, 0.00 % between jobs\n"
              "copies: 0 bytes in, 0 bytes out, 0.000 ms, 0.0 % of it beside operations\n");
    vn_buf_release(&text);
    p->ops.close(p);
}

int main(void) {
    TEST(nothing_is_stamped_before_the_start);
    TEST(idle_time_is_what_lies_between);
    TEST(a_copy_beside_operations);
    TEST(stamps_run_out);
    TEST(stages_that_are_one);
    TEST(the_text_is_a_table);
    return check_done();
}
