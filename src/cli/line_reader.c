/* See line_reader.h. */
#include "cli/line_reader.h"

#include "base/memory.h"
#include "base/try.h"
#include "cli/line_history.h"
#include "cli/progress.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if defined(QA_HAVE_LIBEDIT)
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <termios.h>
#endif

struct cli_line_reader {
    cli_line_reader_options options;
    char prompt[4];
    char *line; /* getline's */
    size_t capacity;
    bool dropped, empty; /* Ctrl-C came; nothing was typed before, as far as is known */
#if defined(QA_HAVE_LIBEDIT)
    EditLine *editor; /* NULL: no editing */
    History *history;
#endif
};

static const char QUOTES[] = "\"\"\"";

/* ---- editing ---- */

#if defined(QA_HAVE_LIBEDIT)

static char *prompt_of_reader(EditLine *editor) {
    cli_line_reader *reader = NULL;
    (void)el_get(editor, EL_CLIENTDATA, &reader);
    return reader->prompt;
}

/* Ctrl-C: the line is given up. */
static unsigned char drop_line(EditLine *editor, int key) {
    cli_line_reader *reader = NULL;
    (void)key;
    (void)el_get(editor, EL_CLIENTDATA, &reader);
    const LineInfo *typed = el_line(editor);
    reader->dropped = true;
    reader->empty = typed->lastchar == typed->buffer;
    fputs("^C\n", stderr);
    return CC_NEWLINE;
}

static void remember(void *user, const char *line) {
    cli_line_reader *reader = user;
    HistEvent event;
    (void)history(reader->history, &event, H_ENTER, line);
}

static void give_up_history(cli_line_reader *reader, const qa_error *err) {
    fprintf(stderr, "no history is kept: %s\n", err->message);
    reader->options.history = NULL;
}

/* Characters beyond ASCII need a locale that has them; only what characters are is taken from it. */
static void use_utf8(void) {
    if (setlocale(LC_CTYPE, "") == NULL || strcmp(nl_langinfo(CODESET), "UTF-8") != 0) {
        (void)!setlocale(LC_CTYPE, "C.UTF-8");
    }
}

static qa_status open_editor(cli_line_reader *reader, qa_error *err) {
    HistEvent event;
    qa_error failure = {0};
    use_utf8();
    reader->editor = el_init("qadapter", stdin, stderr, stderr);
    reader->history = reader->editor == NULL ? NULL : history_init();
    QA_FAIL_IF(reader->history == NULL, err, QA_ERR_MEMORY, "out of memory: editing lines");
    (void)history(reader->history, &event, H_SETSIZE, CLI_HISTORY_LINES);
    (void)history(reader->history, &event, H_SETUNIQUE, 1);
    (void)el_set(reader->editor, EL_CLIENTDATA, reader);
    (void)el_set(reader->editor, EL_PROMPT, prompt_of_reader);
    (void)el_set(reader->editor, EL_EDITOR, "emacs");
    (void)el_set(reader->editor, EL_HIST, history, reader->history);
    (void)el_set(reader->editor, EL_SIGNAL, 1);
    (void)el_set(reader->editor, EL_ADDFN, "qadapter-drop", "give up the line", drop_line);
    (void)el_set(reader->editor, EL_BIND, "^C", "qadapter-drop", NULL);
    (void)el_set(reader->editor, EL_BIND, "^R", "em-inc-search-prev", NULL);
    (void)el_set(reader->editor, EL_BIND, "^I", "ed-insert", NULL);
    (void)el_source(reader->editor, NULL); /* ~/.editrc */
    if (reader->options.history != NULL &&
        cli_history_read(reader->options.history, remember, reader, &failure) != QA_OK) {
        give_up_history(reader, &failure);
    }
    return QA_OK;
}

static void close_editor(cli_line_reader *reader) {
    if (reader->history != NULL) {
        history_end(reader->history);
    }
    if (reader->editor != NULL) {
        el_end(reader->editor);
    }
}

/* A line that was typed, for this conversation and the next ones. */
static void keep_line(cli_line_reader *reader, const char *line) {
    qa_error failure = {0};
    if (line[0] == '\0') {
        return;
    }
    remember(reader, line);
    if (reader->options.history != NULL && cli_history_add(reader->options.history, line, &failure) != QA_OK) {
        give_up_history(reader, &failure);
    }
}

static bool edits(const cli_line_reader *reader) { return reader->editor != NULL; }

/* While a line is typed Ctrl-C is a key like any other. */
static const char *read_typed_keys(cli_line_reader *reader, int *n) {
    struct termios before, now;
    const bool known = tcgetattr(STDIN_FILENO, &before) == 0;
    now = before;
    now.c_cc[VINTR] = _POSIX_VDISABLE;
    (void)(known && tcsetattr(STDIN_FILENO, TCSANOW, &now));
    const char *line = el_gets(reader->editor, n);
    (void)(known && tcsetattr(STDIN_FILENO, TCSANOW, &before));
    return line;
}

/* As getline. */
static ssize_t edit_line(cli_line_reader *reader) {
    int n = 0;
    reader->dropped = false;
    const char *line = read_typed_keys(reader, &n);
    if (reader->dropped) {
        return 0;
    }
    if (line == NULL || n <= 0) {
        return -1;
    }
    const size_t bytes = strcspn(line, "\r\n");
    if (reader->capacity < bytes + 1) {
        char *longer = realloc(reader->line, bytes + 1);
        if (longer == NULL) {
            return -1; /* errno says it */
        }
        reader->line = longer;
        reader->capacity = bytes + 1;
    }
    memcpy(reader->line, line, bytes);
    reader->line[bytes] = '\0';
    keep_line(reader, reader->line);
    return (ssize_t)bytes;
}

#else

static qa_status open_editor(cli_line_reader *reader, qa_error *err) {
    (void)reader;
    (void)err;
    return QA_OK;
}
static void close_editor(cli_line_reader *reader) { (void)reader; }
static bool edits(const cli_line_reader *reader) {
    (void)reader;
    return false;
}
static ssize_t edit_line(cli_line_reader *reader) {
    (void)reader;
    return -1;
}

#endif

/* ---- lines ---- */

qa_status cli_line_reader_open(cli_line_reader **out, const cli_line_reader_options *options, qa_error *err) {
    cli_line_reader *reader = NULL;
    *out = NULL;
    QA_TRY(QA_NEW(reader, 1, err, "reading lines"));
    reader->options = *options;
    const qa_status status = options->terminal && isatty(STDERR_FILENO) == 1 ? open_editor(reader, err) : QA_OK;
    if (status != QA_OK) {
        cli_line_reader_close(reader);
        return status;
    }
    *out = reader;
    return QA_OK;
}

void cli_line_reader_close(cli_line_reader *reader) {
    if (reader != NULL) {
        close_editor(reader);
        free(reader->line);
        free(reader);
    }
}

/* Waits for a line at the terminal; false: Ctrl-C came first. Any thread may be the one that gets the signal, so this
 * one asks five times a second. */
static bool wait_for_line(void) {
    struct pollfd typed = {.fd = STDIN_FILENO, .events = POLLIN};
    while (!cli_interrupted() && poll(&typed, 1, 200) <= 0) {
    }
    return !cli_interrupted();
}

/* A line without editing: Ctrl-C breaks the reading off. */
static ssize_t plain_line(cli_line_reader *reader) {
    reader->dropped = false;
    reader->empty = true;
    if (reader->options.terminal) {
        cli_catch_ctrl_c_at_prompt();
        fputs(reader->prompt, stderr);
        (void)fflush(stderr);
        reader->dropped = !wait_for_line();
    }
    ssize_t n = reader->dropped ? 0 : getline(&reader->line, &reader->capacity, stdin);
    reader->dropped = reader->dropped || (n < 0 && errno == EINTR && cli_interrupted());
    if (reader->dropped) {
        clearerr(stdin);
        fputc('\n', stderr);
    }
    if (reader->options.terminal) {
        cli_release_ctrl_c();
    }
    while (n > 0 && (reader->line[n - 1] == '\n' || reader->line[n - 1] == '\r')) {
        n--;
    }
    return n;
}

/* One line into reader->line[*n]. */
static qa_status read_typed(cli_line_reader *reader, const char *prompt, size_t *n, cli_line_kind *kind,
                            qa_error *err) {
    (void)snprintf(reader->prompt, sizeof reader->prompt, "%s", prompt);
    errno = 0;
    const ssize_t got = edits(reader) ? edit_line(reader) : plain_line(reader);
    *kind = reader->dropped ? (reader->empty ? CLI_LINE_DROPPED : CLI_LINE_CLEARED)
            : got < 0       ? CLI_LINE_END
                            : CLI_LINE_MESSAGE;
    *n = got < 0 ? 0 : (size_t)got;
    QA_FAIL_IF(*kind == CLI_LINE_END && (ferror(stdin) || errno == ENOMEM), err, QA_ERR_IO,
               "cannot read standard input: %s", strerror(errno));
    return QA_OK;
}

static bool ends_with_quotes(const char *line, size_t n) { return n >= 3 && memcmp(line + n - 3, QUOTES, 3) == 0; }

/* The rest of a block whose first line, behind its quotes, is line[n]. A line of quotes alone is no line of the block.
 */
static qa_status read_block(cli_line_reader *reader, qa_text *text, size_t n, cli_line_kind *kind, qa_error *err) {
    const char *line = reader->line + 3;
    n -= 3;
    for (bool opening = true; !ends_with_quotes(line, n); opening = false) {
        QA_TRY(qa_text_append(text, line, n, err));
        QA_TRY(opening && n == 0 ? QA_OK : qa_text_append_z(text, "\n", err));
        QA_TRY(read_typed(reader, ". ", &n, kind, err));
        if (*kind != CLI_LINE_MESSAGE) {
            return QA_OK;
        }
        line = reader->line;
    }
    *kind = CLI_LINE_QUOTED;
    QA_TRY(qa_text_append(text, line, n - 3, err));
    text->n -= n == 3 && text->n > 0 ? 1 : 0;
    return QA_OK;
}

static bool goes_on_below(const char *line, size_t n) {
    size_t backslashes = 0;
    while (backslashes < n && line[n - 1 - backslashes] == '\\') {
        backslashes++;
    }
    return backslashes % 2 == 1;
}

qa_status cli_line_reader_next(cli_line_reader *reader, qa_text *text, cli_line_kind *kind, qa_error *err) {
    size_t n = 0;
    text->n = 0;
    QA_TRY(read_typed(reader, "> ", &n, kind, err));
    if (*kind != CLI_LINE_MESSAGE) {
        return QA_OK;
    }
    if (reader->options.blocks && n >= 3 && memcmp(reader->line, QUOTES, 3) == 0) {
        return read_block(reader, text, n, kind, err);
    }
    while (reader->options.blocks && goes_on_below(reader->line, n)) {
        QA_TRY(qa_text_append(text, reader->line, n - 1, err));
        QA_TRY(qa_text_append_z(text, "\n", err));
        QA_TRY(read_typed(reader, ". ", &n, kind, err));
        if (*kind != CLI_LINE_MESSAGE) {
            return QA_OK;
        }
    }
    return qa_text_append(text, reader->line == NULL ? "" : reader->line, n, err);
}
