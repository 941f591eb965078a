/* See line_history.h. Lines are appended one by one, so that conversations at the same time share the file. */
#include "cli/line_history.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_BYTES = 16 * CLI_HISTORY_LINES * CLI_HISTORY_LINE_BYTES };

char *cli_history_path(void) {
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    const bool own = state != NULL && state[0] == '/'; /* another one does not count, as XDG says */
    char *folder = own                              ? qa_path_join(state, "qadapter")
                   : home != NULL && home[0] == '/' ? qa_path_join(home, ".local/state/qadapter")
                                                    : NULL;
    char *path = folder == NULL ? NULL : qa_path_join(folder, "history");
    free(folder);
    return path;
}

/* Files of what somebody typed are nobody else's to read. */
static mode_t make_private(void) { return umask(077); }

/* Cuts the file to the lines from `begin` on. */
static qa_status cut_history(const char *path, const qa_text *text, size_t begin, qa_error *err) {
    const mode_t before = make_private();
    const qa_status status = qa_write_file(path, text->data + begin, text->n - begin, err);
    (void)umask(before);
    return status;
}

qa_status cli_history_read(const char *path, void (*take)(void *user, const char *line), void *user, qa_error *err) {
    qa_text text = {0};
    size_t n = 0, kept = 0;
    if (!qa_path_exists(path)) {
        return QA_OK;
    }
    QA_TRY(qa_read_file(&text, path, MOST_BYTES, err));
    for (size_t i = 0; i < text.n; i++) {
        n += text.data[i] == '\n' ? 1 : 0;
    }
    const size_t skipped = n > CLI_HISTORY_LINES ? n - CLI_HISTORY_LINES : 0;
    size_t begin = 0;
    for (size_t at = 0; at < text.n && kept < skipped; at++) {
        if (text.data[at] == '\n') {
            kept++;
            begin = at + 1;
        }
    }
    const qa_status status = n > 2 * CLI_HISTORY_LINES ? cut_history(path, &text, begin, err) : QA_OK;
    for (size_t at = begin; at < text.n;) {
        char *line = text.data + at;
        const size_t length = strcspn(line, "\n");
        if (line[length] != '\n') {
            break; /* half a line: somebody is writing it */
        }
        line[length] = '\0';
        if (length > 0) {
            take(user, line);
        }
        at += length + 1;
    }
    qa_text_free(&text);
    return status;
}

static qa_status make_folder(const char *path, qa_error *err) {
    char *folder = NULL;
    QA_TRY(QA_COPY(folder, path, err, "a path"));
    char *slash = strrchr(folder, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
    const qa_status status = slash == NULL ? QA_OK : qa_make_dirs(folder, err);
    free(folder);
    return status;
}

qa_status cli_history_add(const char *path, const char *line, qa_error *err) {
    const size_t bytes = strlen(line);
    if (bytes == 0 || bytes > CLI_HISTORY_LINE_BYTES || strchr(line, '\n') != NULL) {
        return QA_OK;
    }
    qa_text text = {0};
    QA_TRY(qa_text_append_z(&text, line, err));
    qa_status status = qa_text_append_z(&text, "\n", err);
    const mode_t before = make_private();
    status = status == QA_OK ? make_folder(path, err) : status;
    int file = -1;
    if (status == QA_OK) {
        file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0600);
        const bool written = file >= 0 && fchmod(file, 0600) == 0 && write(file, text.data, text.n) == (ssize_t)text.n;
        status = written ? QA_OK : qa_fail(err, QA_ERR_IO, "cannot write %s: %s", path, strerror(errno));
    }
    if (file >= 0) {
        (void)close(file);
    }
    (void)umask(before);
    qa_text_free(&text);
    return status;
}
