/* child.c - runs a command under circumstances that a shell cannot make, for tests.
 *
 *   child [OPTION...] -- COMMAND [ARGUMENT...]
 *     --broken-pipe     standard output is a pipe whose reader has gone already
 *     --ignore-sigpipe  SIGPIPE is ignored, as below many parents in Python or Java
 *     --rss FILE        appends the command's peak resident memory, in KiB, to FILE
 *
 * Exit status of the command, 128 + n when signal n ended it. The measure is the child's
 * own: nothing of a large parent is counted, which is why this is not a script. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void die(const char *what) {
    fprintf(stderr, "child: %s: %s\n", what, strerror(errno));
    exit(99);
}

static void break_stdout(void) {
    int p[2];
    if (pipe(p) || dup2(p[1], STDOUT_FILENO) < 0)
        die("pipe");
    close(p[0]);
    close(p[1]);
}

int main(int argc, char **argv) {
    const char *rss = NULL;
    int i = 1, ignore = 0;
    for (; i < argc && strcmp(argv[i], "--"); i++) {
        if (!strcmp(argv[i], "--broken-pipe")) {
            break_stdout();
        } else if (!strcmp(argv[i], "--ignore-sigpipe")) {
            ignore = 1;
        } else if (!strcmp(argv[i], "--rss") && i + 1 < argc) {
            rss = argv[++i];
        } else {
            fprintf(stderr, "child: unknown option '%s'\n", argv[i]);
            return 99;
        }
    }
    if (i + 1 >= argc) {
        fprintf(stderr, "child: no command\n");
        return 99;
    }
    signal(SIGPIPE, ignore ? SIG_IGN : SIG_DFL);
    if (!rss) {
        execvp(argv[i + 1], argv + i + 1);
        die(argv[i + 1]);
    }
    pid_t pid = fork();
    if (pid == 0) {
        execvp(argv[i + 1], argv + i + 1);
        die(argv[i + 1]);
    }
    int status = 0;
    struct rusage usage;
    if (pid < 0 || wait4(pid, &status, 0, &usage) != pid)
        die("wait");
    FILE *f = fopen(rss, "a");
    if (!f || fprintf(f, "%ld\n", usage.ru_maxrss) < 0 || fclose(f))
        die(rss);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}
