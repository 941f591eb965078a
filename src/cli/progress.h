/* One line at the bottom of a terminal that is rewritten in place, and the signals that ask the program to stop. */
#ifndef QA_CLI_PROGRESS_H
#define QA_CLI_PROGRESS_H

#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct cli_progress {
    bool live;    /* standard error is a terminal that wants it */
    size_t shown; /* columns of the line that stands there now */
    double drawn; /* when it was last drawn, seconds */
    double begun; /* when cli_progress_begin was called, seconds */
} cli_progress;

/* Seconds on a clock that never goes back. */
double cli_now(void);

void cli_progress_begin(cli_progress *progress, bool enabled);
/* From here on no line is drawn and no signal is told of: another rank speaks for this one. */
void cli_progress_silence(void);
/* Columns of the terminal; asked anew every time, since people resize windows. */
size_t cli_terminal_width(void);

/* Rewrites the line, cut to the terminal's width; nothing when not live. ASCII only. */
void cli_progress_draw(cli_progress *progress, const char *format, ...) QA_PRINTF(2, 3);
/* Removes the line, so that something else can be printed. */
void cli_progress_clear(cli_progress *progress);
/* "done/total what  rate/s  ETA ..." at most ten times a second, and when done == total. */
void cli_progress_count(cli_progress *progress, const char *what, size_t done, size_t total);

/* The exit status of a command that a signal ended is this and the signal's number, as in a shell. */
enum { CLI_EXIT_SIGNAL = 128 };

/* From here on the first SIGINT, SIGTERM, SIGHUP (unless it was ignored: nohup), SIGUSR1, SIGUSR2 or SIGXCPU makes
 * cli_interrupted() true and says at once, on standard error, what will happen: `plan`, "leaving the step ...". A
 * second SIGINT or SIGTERM ends the process. Calling it again forgets an earlier one. */
void cli_catch_interrupts(const char *command, const char *plan);
/* The same for SIGINT alone, and back to a Ctrl-C that ends the process: for the answers of a conversation. */
void cli_catch_ctrl_c(void);
void cli_release_ctrl_c(void);
/* The same while a line is read: Ctrl-C breaks the reading off (EINTR) and makes cli_interrupted() true. */
void cli_catch_ctrl_c_at_prompt(void);
bool cli_interrupted(void);
/* The same as a callback; user is not looked at. */
bool cli_should_stop(void *user);
/* The number of the signal that made it true; 0: none. */
int cli_signal(void);

#endif
