/* See pty.h. */
#define _XOPEN_SOURCE 700 /* pseudo-terminals are in POSIX only with the XSI option */
#include "support/pty.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

enum { WAIT_MILLISECONDS = 30000, MOST_ARGS = 64 };

/* In the child: the terminal becomes its own, and standard input, output and error. */
static void become_program(const char *terminal, const char *const *args) {
    const char *program = getenv("QA_BIN");
    union { /* execv takes no const, and changes nothing */
        const char *const *text;
        char *const *argv;
    } to;
    const char *all[MOST_ARGS] = {program};
    for (size_t i = 0; args[i] != NULL && i + 2 < MOST_ARGS; i++) {
        all[i + 1] = args[i];
    }
    to.text = all;
#ifdef QA_SANITIZE /* libedit never frees the names of functions that are bound to keys */
    (void)setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
#endif
    (void)setsid();
    const int own = open(terminal, O_RDWR); /* of a session's leader without a terminal: its controlling one */
    if (own < 0 || dup2(own, 0) < 0 || dup2(own, 1) < 0 || dup2(own, 2) < 0 || setenv("TERM", "vt100", 1) != 0) {
        _exit(126);
    }
    (void)execv(program, to.argv);
    _exit(127);
}

qa_pty qa_pty_start(const char *const *args) {
    qa_pty pty = {.terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)};
    ck_assert_msg(pty.terminal >= 0 && grantpt(pty.terminal) == 0 && unlockpt(pty.terminal) == 0, "no terminal: %s",
                  strerror(errno));
    ck_assert_ptr_nonnull(getenv("QA_BIN"));
    const char *name = ptsname(pty.terminal);
    ck_assert_ptr_nonnull(name);
    pty.process = fork();
    ck_assert_int_ge(pty.process, 0);
    if (pty.process == 0) {
        become_program(name, args);
    }
    pty.seen = calloc(1, 1);
    pty.capacity = 1;
    return pty;
}

void qa_pty_type(qa_pty *pty, const char *keys) {
    const size_t n = strlen(keys);
    ck_assert_int_eq(write(pty->terminal, keys, n), (ssize_t)n);
}

/* What comes within the time; false: the program's end, or nothing. */
static int take_output(qa_pty *pty, int milliseconds) {
    struct pollfd waiting = {.fd = pty->terminal, .events = POLLIN};
    char chunk[4096];
    if (poll(&waiting, 1, milliseconds) <= 0) {
        return 0;
    }
    const ssize_t got = read(pty->terminal, chunk, sizeof chunk);
    if (got <= 0) {
        return 0; /* EIO: nobody has the other end any more */
    }
    pty->seen = realloc(pty->seen, pty->n + (size_t)got + 1);
    ck_assert_ptr_nonnull(pty->seen);
    for (ssize_t i = 0; i < got; i++) {
        if (chunk[i] != '\0') { /* padding, which a vt100 takes its time with */
            pty->seen[pty->n++] = chunk[i];
        }
    }
    pty->seen[pty->n] = '\0';
    return 1;
}

void qa_pty_wait(qa_pty *pty, const char *text) {
    for (;;) {
        const char *found = strstr(pty->seen + pty->waited, text);
        if (found != NULL) {
            pty->waited = (size_t)(found - pty->seen) + strlen(text);
            return;
        }
        ck_assert_msg(take_output(pty, WAIT_MILLISECONDS), "\"%s\" did not come; what came:\n%s", text, pty->seen);
    }
}

void qa_pty_prompt(qa_pty *pty, const char *prompt) {
    qa_pty_wait(pty, prompt);
#if defined(QA_HAVE_LIBEDIT)
    struct termios mode;
    for (int i = 0; i < 3000;
         i++) { /* libedit prints the prompt first: what is typed before that is the kernel's to edit */
        if (tcgetattr(pty->terminal, &mode) != 0 || (mode.c_lflag & ICANON) == 0) {
            return;
        }
        (void)poll(NULL, 0, 10);
    }
    ck_abort_msg("no line is read behind the prompt");
#endif
}

int qa_pty_end(qa_pty *pty) {
    int status = 0;
    while (take_output(pty, WAIT_MILLISECONDS)) {
    }
    for (int i = 0; i < 300; i++) {
        if (waitpid(pty->process, &status, WNOHANG) == pty->process) {
            pty->process = 0;
            return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
        }
        (void)poll(NULL, 0, 100);
    }
    ck_abort_msg("the program does not end; what came:\n%s", pty->seen);
    return -1;
}

void qa_pty_free(qa_pty *pty) {
    if (pty->process > 0) {
        (void)kill(pty->process, SIGKILL);
        (void)waitpid(pty->process, NULL, 0);
    }
    (void)close(pty->terminal);
    free(pty->seen);
}
