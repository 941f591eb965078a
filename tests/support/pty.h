/* The program at a terminal of its own: a test types, and waits for what comes. */
#ifndef QA_TESTS_PTY_H
#define QA_TESTS_PTY_H

#include <stddef.h>
#include <sys/types.h>

typedef struct qa_pty {
    int terminal; /* the test's end */
    pid_t process;
    char *seen; /* [n] all that came, zero-terminated */
    size_t n, capacity;
    size_t waited; /* bytes of it that earlier waits are done with */
} qa_pty;

/* $QA_BIN at a new terminal of 80 columns; args: NULL-terminated, without the program's name. */
qa_pty qa_pty_start(const char *const *args);
#define QA_PTY(...) qa_pty_start((const char *const[]){__VA_ARGS__, NULL})
void qa_pty_type(qa_pty *pty, const char *keys);
/* Waits until the text has come behind what was waited for before. More than 30 seconds, or the program's end before
 * that, fails the running test. */
void qa_pty_wait(qa_pty *pty, const char *text);
/* The same for a prompt, until lines are read there: with libedit key by key. */
void qa_pty_prompt(qa_pty *pty, const char *prompt);
/* Waits for the end: the exit status, or 1000 and a signal's number. What came stays until qa_pty_free. */
int qa_pty_end(qa_pty *pty);
void qa_pty_free(qa_pty *pty);

#endif
