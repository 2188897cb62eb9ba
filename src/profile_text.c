/* What a profile says, as lines of text for people. */
#include "profile.h"

#include <stdio.h>
#include <string.h>

/* A rate in units of 1e12 per second, "." where there is nothing to count. */
static const char *rate(char *text, size_t size, double amount, double seconds) {
    snprintf(text, size, amount > 0 && seconds > 0 ? "%.4g" : ".", amount / seconds / 1e12);
    return text;
}

static int text_row(struct vn_buf *out, const struct vn_profile_op *op, double all,
                    struct vn_error *err) {
    char flops[32], bytes[32], calls[32] = ".";
    if (op->calls)
        snprintf(calls, sizeof calls, "%llu", (unsigned long long)op->calls);
    return vn_buf_printf(out, err, "%-20s %9s %12.3f %7.2f %9s %9s\n", op->name, calls,
                         1e3 * op->seconds, all > 0 ? 100 * op->seconds / all : 0,
                         rate(flops, sizeof flops, op->flop, op->seconds),
                         rate(bytes, sizeof bytes, op->bytes, op->seconds));
}

static int text_totals(struct vn_buf *out, const struct vn_profile_totals *t,
                       const struct vn_profile_op *products, struct vn_error *err) {
    char flops[32];
    double all = t->seconds > 0 ? t->seconds : 1, percent = 100 / all;
    int rc = vn_buf_printf(
        out, err,
        "%llu tokens in %.3f ms, %.0f tokens/s; products: %.2f %% of it at %s TFLOP/s\n"
        "idle: %.2f %% between operations, %.2f %% between jobs\n"
        "copies: %.0f bytes in, %.0f bytes out, %.3f ms, %.1f %% of it beside operations\n",
        (unsigned long long)t->tokens, 1e3 * t->seconds, (double)t->tokens / all,
        percent * products->seconds,
        rate(flops, sizeof flops, products->flop, products->seconds), percent * t->idle_inside,
        percent * t->idle_between, t->copy_in_bytes, t->copy_out_bytes, 1e3 * t->copying,
        t->copying > 0 ? 100 * t->beside / t->copying : 0);
    if (rc == VN_OK && t->untimed)
        rc = vn_buf_printf(out, err, "not timed: %llu operations, too many were waiting\n",
                           (unsigned long long)t->untimed);
    return rc;
}

int vn_profile_text(struct vn_backend *b, struct vn_buf *out, struct vn_error *err) {
    struct vn_profile_totals t;
    struct vn_profile_op op, products = {0};
    vn_profile_totals(b, &t);
    int rc = vn_buf_printf(out, err, "%-20s %9s %12s %7s %9s %9s\n", "operation", "calls", "ms",
                           "share%", "TFLOP/s", "TB/s");
    for (int i = 0; rc == VN_OK && vn_profile_at(b, i, &op); i++) {
        rc = text_row(out, &op, t.seconds, err);
        if (!strncmp(op.name, "linear", 6)) {
            products.seconds += op.seconds;
            products.flop += op.flop;
        }
    }
    op = (struct vn_profile_op){"idle", 0, t.idle_inside + t.idle_between, 0, 0};
    if (rc == VN_OK)
        rc = text_row(out, &op, t.seconds, err);
    return rc < 0 ? rc : text_totals(out, &t, &products, err);
}
