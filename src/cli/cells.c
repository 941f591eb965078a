/* See cells.h. */
#define _XOPEN_SOURCE 700 /* wcwidth is in POSIX only with the XSI option */
#include "cli/cells.h"

#include "base/plain_line.h"
#include "base/try.h"
#include "cli/progress.h"

#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#define ELLIPSIS "\xe2\x80\xa6"
#define OPEN_BOX "\xe2\x90\xa3" /* U+2423 */

/* Spaces that look like others or like nothing, and what has no width. */
static bool is_invisible(uint32_t c) {
    return c == 0xa0 || c == 0xad || c == 0x1680 || (c >= 0x2000 && c <= 0x200d) || c == 0x202f || c == 0x205f ||
           c == 0x2060 || c == 0x3000;
}

qa_status cli_append_visible(qa_text *to, const char *text, size_t n, qa_error *err) {
    for (size_t i = 0, bytes = 0; i < n; i += bytes) {
        uint32_t c = 0;
        char one[8] = "", line[32];
        bytes = qa_character_at(text + i, n - i, &c);
        memcpy(one, text + i, bytes == 0 ? 1 : bytes);
        bytes = bytes == 0 ? 1 : bytes;
        if (one[0] == ' ') {
            (void)snprintf(line, sizeof line, "%s", OPEN_BOX);
        } else if (one[0] == '\0') {
            (void)snprintf(line, sizeof line, "\\x00");
        } else if (is_invisible(c)) {
            (void)snprintf(line, sizeof line, "\\u%04x", (unsigned)c);
        } else {
            (void)qa_plain_line(line, sizeof line, one);
        }
        QA_TRY(qa_text_append_z(to, line, err));
    }
    return QA_OK;
}

/* ---- columns ---- */

/* wcwidth asks the thread's locale, which is C's in this program: it is another one between these two. */
static locale_t enter_utf8(locale_t *own) {
    *own = newlocale(LC_CTYPE_MASK, "C.UTF-8", (locale_t)0);
    return *own == (locale_t)0 ? (locale_t)0 : uselocale(*own);
}

static void leave_utf8(locale_t before, locale_t own) {
    if (own != (locale_t)0) {
        (void)uselocale(before);
        freelocale(own);
    }
}

/* The character at text[n] and its columns; its bytes. */
static size_t next_cell(const char *text, size_t n, size_t *columns) {
    uint32_t c = 0;
    const size_t bytes = qa_character_at(text, n, &c);
    const int width = c < 0x80 ? 1 : wcwidth((wchar_t)c);
    *columns = width < 0 ? 1 : (size_t)width;
    return bytes == 0 ? 1 : bytes;
}

size_t cli_columns(const char *text, size_t n) {
    locale_t own = (locale_t)0;
    const locale_t before = enter_utf8(&own);
    size_t columns = 0;
    for (size_t i = 0, one = 0; i < n; columns += one) {
        i += next_cell(text + i, n - i, &one);
    }
    leave_utf8(before, own);
    return columns;
}

/* The longest beginning of text[n] that takes at most so many columns, *used. */
static size_t fitting(const char *text, size_t n, size_t columns, size_t *used) {
    locale_t own = (locale_t)0;
    const locale_t before = enter_utf8(&own);
    size_t at = 0;
    *used = 0;
    while (at < n) {
        size_t one = 0;
        const size_t bytes = next_cell(text + at, n - at, &one);
        if (*used + one > columns) {
            break;
        }
        at += bytes;
        *used += one;
    }
    leave_utf8(before, own);
    return at;
}

qa_status cli_append_cell(qa_text *to, const char *text, size_t n, size_t columns, bool tail, qa_error *err) {
    size_t used = cli_columns(text, n);
    if (used > columns && columns > 0 && tail) {
        size_t skipped = 0; /* columns that go, one for the ellipsis */
        size_t from = fitting(text, n, used - columns + 1, &skipped);
        if (skipped < used - columns + 1) { /* a wide one on the border goes, too */
            size_t one = 0;
            from += next_cell(text + from, n - from, &one);
        }
        used = cli_columns(text + from, n - from) + 1;
        QA_TRY(qa_text_append_z(to, ELLIPSIS, err));
        QA_TRY(qa_text_append(to, text + from, n - from, err));
    } else if (used > columns && columns > 0) {
        const size_t kept = fitting(text, n, columns - 1, &used);
        QA_TRY(qa_text_append(to, text, kept, err));
        QA_TRY(qa_text_append_z(to, ELLIPSIS, err));
        used++;
    } else {
        QA_TRY(qa_text_append(to, text, n, err));
    }
    for (; used < columns; used++) {
        QA_TRY(qa_text_append(to, " ", 1, err));
    }
    return QA_OK;
}

qa_status cli_append_wrapped(qa_text *to, const char *text, size_t columns, qa_error *err) {
    size_t used = 0;
    for (const char *word = text; *word != '\0';) {
        const size_t bytes = strcspn(word, " "), wide = cli_columns(word, bytes);
        if (used > 0) {
            const bool fits = used + 1 + wide <= columns;
            QA_TRY(qa_text_append(to, fits ? " " : "\n", 1, err));
            used = fits ? used + 1 : 0;
        }
        QA_TRY(qa_text_append(to, word, bytes, err));
        used += wide;
        word += bytes + (word[bytes] == ' ' ? 1 : 0);
    }
    return qa_text_append(to, "\n", 1, err);
}

size_t cli_output_width(void) {
    struct winsize size;
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : cli_terminal_width();
}

bool cli_wants_colour(void) {
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(STDOUT_FILENO) == 1 && (no == NULL || no[0] == '\0') && (term == NULL || strcmp(term, "dumb") != 0);
}
