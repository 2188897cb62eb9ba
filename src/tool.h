/* tool.h - what every main shares: options, messages, exit status.
 *
 * Only programs include this; only here may anything print to stderr or exit. A program is
 *
 *     int main(int argc, char **argv) {
 *         struct vn_tool tool = {.name = "vn-x", .usage = "[OPTION...] [FILE]", ...};
 *         const char *max = "4096";
 *         struct poptOption options[] = {
 *             {"max-tokens", 0, POPT_ARG_STRING, &max, 0, "tokens per batch", "N"},
 *             POPT_TABLEEND};
 *         vn_tool_begin(&tool, argc, argv, options);
 *         max_tokens = vn_tool_int(&tool, "max-tokens", max, 1, INT32_MAX);
 *         ...
 *         return vn_tool_finish(&tool, rc, &err);
 *     }
 *
 * The option table is the help. Numbers are POPT_ARG_STRING with their default in the
 * variable (shown by POPT_ARGFLAG_SHOW_DEFAULT, which begin() sets), and go through
 * vn_tool_int or vn_tool_float: popt's own would take 010 for 8 and nan for a number.
 * Strings that popt hands out live until the process ends. */
#ifndef VN_TOOL_H
#define VN_TOOL_H

#include <popt.h>
#include <stdbool.h>

#include "mem.h"

struct vn_tool {
    const char *name;    /* "vn-pack" */
    const char *usage;   /* what follows the name: "[OPTION...] [FILE...]" */
    const char *summary; /* one sentence for --help */
    const char *notes;   /* more lines for --help, or NULL */
    int max_files;       /* positional arguments accepted; -1 for any number */
    bool has_output;     /* offers -o and --force */
    int failure;         /* exit status for VN_EFAIL where 1 says something else; 0: 1 */

    /* set by vn_tool_begin */
    const char **files;  /* positional arguments, NULL-terminated; {NULL} when none */
    int n_files;
    const char *output;  /* -o FILE, or NULL for standard output */
    int verbose;         /* -v, repeatable */
    int quiet;           /* -q */
    int force;           /* -f: binary to a terminal */
    int threads;         /* -t, default vn_cpu_count() */
    int no_provenance;   /* --no-provenance */
    int argc;            /* the command line as given */
    char **argv;

    /* used by tool.c */
    const char *threads_arg;
    double started;      /* seconds, monotonic */
};

/* Opens fds 0-2 on the null device if they are closed, installs signal handlers, parses.
 * Answers --help and --version itself (stdout, exit 0). On a wrong command line prints one
 * or two lines on stderr and exits 2. */
void vn_tool_begin(struct vn_tool *t, int argc, char **argv, struct poptOption *options);

/* Whole string, base 10, optional suffix k, M or G (powers of 1000; Ki, Mi, Gi of 1024),
 * lo..hi; exits 2 otherwise, naming the option. */
int64_t vn_tool_int(const struct vn_tool *t, const char *option, const char *text,
                    int64_t lo, int64_t hi);

/* Whole string, decimal point whatever the locale, finite, lo..hi; exits 2 otherwise. */
double vn_tool_float(const struct vn_tool *t, const char *option, const char *text,
                     double lo, double hi);

/* Index of text in the NULL-terminated list of words; exits 2 otherwise, listing them. */
int vn_tool_choice(const struct vn_tool *t, const char *option, const char *text,
                   const char *const words[]);

/* Exits 2 with "vn-x: <message>" and a hint at --help. */
void vn_tool_usage(const struct vn_tool *t, const char *fmt, ...)
    VN_PRINTF(2, 3) __attribute__((noreturn));

/* One line on stderr, "vn-x: ...", in one write, control characters replaced; the first
 * unless -q, the second only with -v, the third always. */
void vn_tool_warn(const struct vn_tool *t, const char *fmt, ...) VN_PRINTF(2, 3);
void vn_tool_note(const struct vn_tool *t, const char *fmt, ...) VN_PRINTF(2, 3);
void vn_tool_error(const struct vn_tool *t, const char *fmt, ...) VN_PRINTF(2, 3);

/* VN_EUSAGE when binary output would go to a terminal (without --force), or when input
 * would be read from one: call before opening streams. */
int vn_tool_refuse_terminal(const struct vn_tool *t, bool binary_in, bool binary_out,
                            struct vn_error *err) VN_NODISCARD;

/* Seconds since vn_tool_begin, and the peak resident memory: for the summary of -v, which
 * ends in every program with "peak N MiB". */
double vn_tool_seconds(const struct vn_tool *t);
double vn_tool_peak_mib(void);

/* Appends the provenance entry of this program as JSON members without braces:
 * "program":"vn-x","version":"0.1.0"[,"arguments":[...]]. The arguments are left out under
 * --no-provenance. More members may follow, see vn_schema_add_program. */
int vn_tool_provenance(const struct vn_tool *t, struct vn_buf *out, struct vn_error *err)
    VN_NODISCARD;

/* Reports rc < 0 with err's message, flushes and checks stdout, returns the exit status:
 * 0, or -rc. VN_EPIPE ends quietly. rc >= 0 is success. */
int vn_tool_finish(struct vn_tool *t, int rc, const struct vn_error *err) VN_NODISCARD;

#endif
