#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "io.h"
#include "par.h"

#define MAX_ARGUMENTS ((size_t)64 << 10) /* bytes of them in the provenance */

static double now(void) {
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

/* ---- messages -------------------------------------------------------------------- */

/* The whole line in one buffer and one write, so that lines of the programs of a pipeline
 * do not mix; control characters replaced, so that a hostile id cannot drive a terminal. */
static void message(const struct vn_tool *t, const char *fmt, va_list ap) {
    char line[1400];
    int head = snprintf(line, sizeof line, "%s: ", t->name);
    vsnprintf(line + head, sizeof line - (size_t)head - 1, fmt, ap);
    size_t n = strlen(line);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)line[i] < 32 || line[i] == 127)
            line[i] = '?';
    line[n++] = '\n';
    for (size_t at = 0; at < n;) {
        ssize_t done = write(STDERR_FILENO, line + at, n - at);
        if (done < 0 && errno != EINTR)
            return;
        at += done > 0 ? (size_t)done : 0;
    }
}

void vn_tool_warn(const struct vn_tool *t, const char *fmt, ...) {
    if (t->quiet)
        return;
    va_list ap;
    va_start(ap, fmt);
    message(t, fmt, ap);
    va_end(ap);
}

void vn_tool_note(const struct vn_tool *t, const char *fmt, ...) {
    if (t->quiet || !t->verbose)
        return;
    va_list ap;
    va_start(ap, fmt);
    message(t, fmt, ap);
    va_end(ap);
}

void vn_tool_error(const struct vn_tool *t, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    message(t, fmt, ap);
    va_end(ap);
}

void vn_tool_usage(const struct vn_tool *t, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    message(t, fmt, ap);
    va_end(ap);
    vn_tool_error(t, "try '%s --help'", t->name);
    exit(-VN_EUSAGE);
}

/* ---- start ----------------------------------------------------------------------- */

/* A closed descriptor 0-2 would be taken by the next file that is opened, and data would
 * land there. Opened the wrong way round on the null device, its use fails with EBADF. */
static void open_standard_fds(void) {
    for (int fd = 0; fd <= 2; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd)
            _exit(-VN_EFAIL);
}

static void on_signal(int sig) {
    vn_sink_unlink_pending();
    signal(sig, SIG_DFL);
    raise(sig);
}

/* SIGXFSZ is ignored, so that a file over its limit fails like a full disk: with 74. */
static void install_signals(void) {
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        struct sigaction old, act = {.sa_handler = on_signal};
        if (sigaction(signals[i], NULL, &old) == 0 && old.sa_handler != SIG_IGN)
            sigaction(signals[i], &act, NULL);
    }
    signal(SIGXFSZ, SIG_IGN);
}

static int exit_status(const struct vn_tool *t, int rc) {
    return rc == VN_EFAIL && t->failure ? t->failure : -rc;
}

static void print_help(const struct vn_tool *t, poptContext con) {
    printf("usage: %s %s\n%s\n", t->name, t->usage, t->summary);
    fflush(stdout);
    /* popt prints its own "Usage:" line first; ask only for the options */
    char *text = NULL;
    size_t size = 0;
    FILE *mem = open_memstream(&text, &size);
    if (!mem)
        exit(exit_status(t, VN_EFAIL));
    poptPrintHelp(con, mem, 0);
    fclose(mem);
    const char *options = strchr(text, '\n');
    fputs(options ? options + 1 : "", stdout);
    free(text);
    if (t->notes)
        printf("\n%s\n", t->notes);
    exit(vn_tool_finish((struct vn_tool *)t, VN_OK, NULL));
}

enum { OPT_HELP = 0x10000, OPT_VERSION, OPT_VERBOSE };

static void parse(struct vn_tool *t, poptContext con) {
    int rc;
    while ((rc = poptGetNextOpt(con)) >= 0) {
        if (rc == OPT_HELP)
            print_help(t, con);
        if (rc == OPT_VERSION) {
            printf("%s %s\n", t->name, VN_VERSION);
            exit(vn_tool_finish(t, VN_OK, NULL));
        }
        if (rc == OPT_VERBOSE)
            t->verbose++;
    }
    if (rc < -1)
        vn_tool_usage(t, "%s: %s", poptBadOption(con, POPT_BADOPTION_NOALIAS),
                      poptStrerror(rc));
}

static void take_arguments(struct vn_tool *t, poptContext con) {
    static const char *none[] = {NULL};
    const char **files = poptGetArgs(con);
    t->files = files ? files : none;
    while (t->files[t->n_files])
        t->n_files++;
    if (t->output && !*t->output)
        vn_tool_usage(t, "--output '': expected the name of a file");
    if (t->max_files >= 0 && t->n_files > t->max_files)
        vn_tool_usage(t, "unexpected argument '%s'", t->files[t->max_files]);
    t->threads = t->threads_arg ? (int)vn_tool_int(t, "threads", t->threads_arg, 1, 1024)
                                : vn_cpu_count();
}

void vn_tool_begin(struct vn_tool *t, int argc, char **argv, struct poptOption *options) {
    t->started = now();
    t->argc = argc;
    t->argv = argv;
    open_standard_fds();
    install_signals();
    for (struct poptOption *o = options; o->longName || o->arg; o++)
        if ((o->argInfo & POPT_ARG_MASK) == POPT_ARG_STRING && *(char **)o->arg)
            o->argInfo |= POPT_ARGFLAG_SHOW_DEFAULT;
    struct poptOption output[] = {
        {"output", 'o', POPT_ARG_STRING, &t->output, 0,
         "write to FILE, which appears when it is complete", "FILE"},
        {"force", 'f', POPT_ARG_NONE, &t->force, 0, "write binary to a terminal", NULL},
        {"no-provenance", 0, POPT_ARG_NONE, &t->no_provenance, 0,
         "leave out of the output what differs from run to run", NULL},
        POPT_TABLEEND};
    struct poptOption common[] = {
        {"threads", 't', POPT_ARG_STRING, &t->threads_arg, 0,
         "threads (default: the processors this process may use)", "N"},
        {NULL, '@', POPT_ARG_STRING | POPT_ARGFLAG_DOC_HIDDEN, &t->threads_arg, 0, NULL,
         NULL},
        {"verbose", 'v', POPT_ARG_NONE, NULL, OPT_VERBOSE, "say what is done, and a summary",
         NULL},
        {"quiet", 'q', POPT_ARG_NONE, &t->quiet, 0, "errors only", NULL},
        {"help", 'h', POPT_ARG_NONE, NULL, OPT_HELP, "this text", NULL},
        {"version", 0, POPT_ARG_NONE, NULL, OPT_VERSION, "version", NULL},
        POPT_TABLEEND};
    struct poptOption empty[] = {POPT_TABLEEND};
    struct poptOption table[] = {
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, options, 0, "Options:", NULL},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, t->has_output ? output : empty, 0,
         t->has_output ? "Output:" : NULL, NULL},
        {NULL, 0, POPT_ARG_INCLUDE_TABLE, common, 0, "Common:", NULL},
        POPT_TABLEEND};
    /* the context is kept: positional arguments and option strings live in it */
    static poptContext con;
    con = poptGetContext(t->name, argc, (const char **)argv, table, 0);
    if (!con) {
        vn_tool_error(t, "cannot allocate memory for the options");
        exit(exit_status(t, VN_EFAIL));
    }
    parse(t, con);
    take_arguments(t, con);
}

/* ---- option values --------------------------------------------------------------- */

static int64_t suffix_factor(const char *s) {
    static const struct {
        const char *suffix;
        int64_t factor;
    } known[] = {{"", 1},          {"k", 1000},        {"K", 1000},       {"M", 1000000},
                 {"G", 1000000000}, {"Ki", 1024},       {"Mi", 1024 * 1024},
                 {"Gi", 1024 * 1024 * 1024}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(s, known[i].suffix))
            return known[i].factor;
    return 0;
}

int64_t vn_tool_int(const struct vn_tool *t, const char *option, const char *text,
                    int64_t lo, int64_t hi) {
    const char *p = text;
    bool negative = *p == '-', ok = true;
    int64_t v = 0;
    p += negative;
    ok = *p >= '0' && *p <= '9';
    for (; ok && *p >= '0' && *p <= '9'; p++)
        ok = !__builtin_mul_overflow(v, 10, &v) && !__builtin_add_overflow(v, *p - '0', &v);
    int64_t factor = suffix_factor(p);
    ok = ok && factor && !__builtin_mul_overflow(v, factor, &v);
    v = negative ? -v : v;
    if (!ok || v < lo || v > hi)
        vn_tool_usage(t, "--%s '%s': expected a whole number from %lld to %lld", option, text,
                      (long long)lo, (long long)hi);
    return v;
}

double vn_tool_float(const struct vn_tool *t, const char *option, const char *text,
                     double lo, double hi) {
    /* digits, '.', sign and exponent only: no hexadecimal, no nan, no white space; the
     * programs never call setlocale, so strtod reads the C locale */
    char *end = NULL;
    double v = 0;
    bool ok = *text && strspn(text, "0123456789.+-eE") == strlen(text);
    if (ok)
        v = strtod(text, &end);
    if (!ok || *end || !isfinite(v) || v < lo || v > hi)
        vn_tool_usage(t, "--%s '%s': expected a number from %g to %g", option, text, lo, hi);
    return v;
}

int vn_tool_choice(const struct vn_tool *t, const char *option, const char *text,
                   const char *const words[]) {
    char list[256] = "";
    for (int i = 0; words[i]; i++) {
        if (!strcmp(text, words[i]))
            return i;
        size_t n = strlen(list);
        snprintf(list + n, sizeof list - n, "%s%s", i ? ", " : "", words[i]);
    }
    vn_tool_usage(t, "--%s '%s': expected one of %s", option, text, list);
}

/* ---- the rest -------------------------------------------------------------------- */

int vn_tool_refuse_terminal(const struct vn_tool *t, bool binary_in, bool binary_out,
                            struct vn_error *err) {
    bool stdin_used = t->n_files == 0;
    for (int i = 0; i < t->n_files; i++)
        stdin_used |= !strcmp(t->files[i], "-");
    if (stdin_used && isatty(STDIN_FILENO))
        return vn_fail(err, VN_EUSAGE,
                       binary_in ? "standard input is a terminal: pipe a stream in"
                                 : "standard input is a terminal: name a file or pipe one in");
    bool to_stdout = !t->output || !strcmp(t->output, "-");
    if (binary_out && to_stdout && !t->force && isatty(STDOUT_FILENO))
        return vn_fail(err, VN_EUSAGE,
                       "standard output is a terminal: pipe into vn-view, or use --force");
    return VN_OK;
}

double vn_tool_seconds(const struct vn_tool *t) {
    return now() - t->started;
}

double vn_tool_peak_mib(void) {
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (double)u.ru_maxrss / 1024 : 0;
}

/* Bytes above 0x7e one by one, so that any argument is valid JSON. */
static int put_argument(struct vn_buf *out, const char *s, struct vn_error *err) {
    int rc = vn_buf_puts(out, "\"", err);
    for (; *s && rc == VN_OK; s++) {
        const unsigned char c = (unsigned char)*s;
        const bool plain = c >= 0x20 && c < 0x7f;
        rc = vn_buf_printf(out, err, !plain ? "\\u%04x" : c == '"' || c == '\\' ? "\\%c" : "%c",
                           c);
    }
    return rc == VN_OK ? vn_buf_puts(out, "\"", err) : rc;
}

int vn_tool_provenance(const struct vn_tool *t, struct vn_buf *out, struct vn_error *err) {
    const size_t from = out->len;
    int rc = vn_buf_printf(out, err, "\"program\":\"%s\",\"version\":\"%s\"", t->name,
                           VN_VERSION);
    if (t->no_provenance || rc != VN_OK)
        return rc;
    rc = vn_buf_puts(out, ",\"arguments\":[", err);
    for (int i = 1; i < t->argc && rc == VN_OK; i++) {
        if (i > 1)
            rc = vn_buf_puts(out, ",", err);
        /* a thousand file names are no use to anybody, and metadata has an end */
        if (rc == VN_OK && out->len - from + strlen(t->argv[i]) > MAX_ARGUMENTS) {
            rc = vn_buf_printf(out, err, "\"... and %d more\"", t->argc - i);
            break;
        }
        if (rc == VN_OK)
            rc = put_argument(out, t->argv[i], err);
    }
    return rc == VN_OK ? vn_buf_puts(out, "]", err) : rc;
}

int vn_tool_finish(struct vn_tool *t, int rc, const struct vn_error *err) {
    if (rc >= 0 && (fflush(stdout) != 0 || ferror(stdout))) {
        rc = errno == EPIPE ? VN_EPIPE : VN_EWRITE;
        if (rc == VN_EWRITE)
            vn_tool_error(t, "cannot write to 'standard output': %s", strerror(errno));
    } else if (rc < 0 && rc != VN_EPIPE) {
        vn_tool_error(t, "%s", err && err->msg[0] ? err->msg : "failed");
    }
    return rc < 0 ? exit_status(t, rc) : 0;
}
