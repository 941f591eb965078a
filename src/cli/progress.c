/* See progress.h. */
#include "cli/progress.h"

#include "cli/format.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { LINE_BYTES = 512 };

static bool silenced;                     /* set before signals are caught */
static volatile sig_atomic_t line_stands; /* a progress line is on the terminal: for the signal handler */

double cli_now(void) {
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void cli_progress_begin(cli_progress *progress, bool enabled) {
    *progress = (cli_progress){.live = enabled && !silenced && isatty(STDERR_FILENO) == 1, .begun = cli_now()};
}

void cli_progress_silence(void) { silenced = true; }

size_t cli_terminal_width(void) {
    struct winsize size;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
        return size.ws_col;
    }
    const char *columns = getenv("COLUMNS");
    const long n = columns == NULL ? 0 : strtol(columns, NULL, 10);
    return n > 0 && n < 10000 ? (size_t)n : 80;
}

void cli_progress_draw(cli_progress *progress, const char *format, ...) {
    if (!progress->live) {
        return;
    }
    char line[LINE_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    const size_t width = cli_terminal_width();
    if (strlen(line) >= width) {
        line[width - 1] = '\0'; /* a full line would wrap and could not be rewritten */
    }
    const size_t length = strlen(line);
    const size_t rest = progress->shown > length ? progress->shown - length : 0;
    fprintf(stderr, "\r%s%*s", line, (int)rest, "");
    fflush(stderr);
    progress->shown = length;
    line_stands = length > 0;
    progress->drawn = cli_now();
}

void cli_progress_clear(cli_progress *progress) {
    if (progress->live && progress->shown > 0) {
        fprintf(stderr, "\r%*s\r", (int)progress->shown, "");
        fflush(stderr);
        progress->shown = 0;
        line_stands = false;
    }
}

void cli_progress_count(cli_progress *progress, const char *what, size_t done, size_t total) {
    const double now = cli_now();
    if (!progress->live || (done < total && now - progress->drawn < 0.1)) {
        return;
    }
    const double elapsed = now - progress->begun;
    const double rate = elapsed > 0.0 ? (double)done / elapsed : 0.0;
    char eta[CLI_NUMBER_BYTES];
    cli_format_duration(eta, sizeof eta, rate > 0.0 ? (double)(total - done) / rate : -1.0);
    cli_progress_draw(progress, "%zu/%zu %s  %.1f %s/s  ETA %s", done, total, what, rate, what, eta);
}

/* ---- signals ---- */

/* The only thing in the program that varies on its own. */
static volatile sig_atomic_t interrupted; /* the first signal's number; 0: none yet */
static struct timespec interrupted_at;    /* written before `interrupted`, by the first signal alone */

/* What the handler says; set before it is installed. */
static char handler_prefix[64], handler_plan[160];

/* Those of a person, of a terminal that closes, and of batch systems. */
static const struct {
    int number;
    const char *name;
} caught[] = {{SIGINT, "SIGINT"},   {SIGTERM, "SIGTERM"}, {SIGHUP, "SIGHUP"},
              {SIGUSR1, "SIGUSR1"}, {SIGUSR2, "SIGUSR2"}, {SIGXCPU, "SIGXCPU"}};

static size_t put_in(char *line, size_t used, size_t bytes, const char *text) {
    const size_t length = strlen(text), left = bytes - used;
    memcpy(line + used, text, length < left ? length : left);
    return used + (length < left ? length : left);
}

/* One line in one write: printf is not for signal handlers. */
static void say_signal(const char *what, const char *name, const char *then) {
    char line[LINE_BYTES];
    size_t n = put_in(line, 0, sizeof line, line_stands ? "\n" : "");
    const char *const parts[] = {handler_prefix, what, name, ": ", then, "\n"};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        n = put_in(line, n, sizeof line, parts[i]);
    }
    ssize_t wrote = silenced ? 0 : write(STDERR_FILENO, line, n);
    (void)wrote; /* nobody may be there to read it */
}

/* What sends a signal often sends it twice: timeout(1) to the process and to its group, a terminal that closes from the
 * shell and from the kernel, and SIGXCPU comes every second. Only a later Ctrl-C or SIGTERM is a second request. */
static bool is_second_request(int number) {
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    const double since =
        (double)(now.tv_sec - interrupted_at.tv_sec) + 1e-9 * (double)(now.tv_nsec - interrupted_at.tv_nsec);
    return (number == SIGINT || number == SIGTERM) && since > 0.1;
}

static void on_signal(int number) {
    const int before = errno;
    const char *name = "signal";
    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++) {
        name = caught[i].number == number ? caught[i].name : name;
    }
    if (interrupted == 0) {
        (void)clock_gettime(CLOCK_MONOTONIC, &interrupted_at);
        interrupted = number;
        say_signal("", name, handler_plan);
    } else if (is_second_request(number)) {
        say_signal("second ", name, "ending at once");
        _exit(CLI_EXIT_SIGNAL + number);
    }
    errno = before;
}

static void install_handler(int number, void (*handler)(int), int flags) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = flags;
    (void)sigfillset(&action.sa_mask); /* one signal at a time */
    (void)sigaction(number, &action, NULL);
}

void cli_catch_interrupts(const char *command, const char *plan) {
    interrupted = 0;
    (void)snprintf(handler_prefix, sizeof handler_prefix, "qadapter %s: ", command);
    (void)snprintf(handler_plan, sizeof handler_plan, "%s; a second Ctrl-C or SIGTERM ends the program at once", plan);
    for (size_t i = 0; i < sizeof caught / sizeof caught[0]; i++) {
        struct sigaction inherited;
        const bool known = sigaction(caught[i].number, NULL, &inherited) == 0;
        if (caught[i].number == SIGHUP && known && inherited.sa_handler == SIG_IGN) {
            continue; /* nohup: the terminal may close */
        }
        install_handler(caught[i].number, on_signal, SA_RESTART);
    }
}

static void on_ctrl_c(int number) { interrupted = number; }

void cli_catch_ctrl_c(void) {
    interrupted = 0;
    install_handler(SIGINT, on_ctrl_c, (int)(SA_RESETHAND | SA_RESTART));
}

void cli_release_ctrl_c(void) { install_handler(SIGINT, SIG_DFL, SA_RESTART); }

void cli_catch_ctrl_c_at_prompt(void) {
    interrupted = 0;
    install_handler(SIGINT, on_ctrl_c, 0);
}

bool cli_interrupted(void) { return interrupted != 0; }

bool cli_should_stop(void *user) {
    (void)user;
    return cli_interrupted();
}

int cli_signal(void) { return (int)interrupted; }
