/* See source.h. */
#include "io/source.h"

#include "base/memory.h"
#include "base/try.h"
#include "io/gunzip.h"
#include "io/input.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct qa_source {
    char *name;
    int descriptor;
    bool borrowed;     /* standard input */
    bool begun, ended; /* something was read; there is no more */
    qa_gunzip *gunzip; /* NULL: the bytes as they are */
    size_t begin, end; /* of what was read and not taken */
    unsigned char buffer[QA_SOURCE_BYTES];
};

qa_status qa_source_open(qa_source **out, const char *path, qa_error *err) {
    const bool standard_input = strcmp(path, "-") == 0;
    qa_source *source = NULL;
    *out = NULL;
    QA_TRY(QA_NEW(source, 1, err, "reading %s", path));
    source->descriptor = STDIN_FILENO;
    source->borrowed = true;
    qa_status status = QA_COPY(source->name, standard_input ? "standard input" : path, err, "reading %s", path);
    if (status == QA_OK && !standard_input) {
        status = qa_open_data(&source->descriptor, path, err);
        source->borrowed = status != QA_OK;
    }
    if (status != QA_OK) {
        qa_source_close(source);
        return status;
    }
    *out = source;
    return QA_OK;
}

void qa_source_close(qa_source *source) {
    if (source != NULL) {
        qa_gunzip_close(source->gunzip);
        if (!source->borrowed) {
            (void)close(source->descriptor);
        }
        free(source->name);
        free(source);
    }
}

const char *qa_source_name(const qa_source *source) { return source->name; }

static qa_status fill(qa_source *source, qa_error *err) {
    unsigned char *to = source->buffer + source->end;
    const size_t room = sizeof source->buffer - source->end;
    size_t got = 0;
    QA_TRY(source->gunzip != NULL ? qa_gunzip_read(source->gunzip, to, room, &got, err)
                                  : qa_read_some(source->descriptor, source->name, to, room, &got, err));
    source->end += got;
    source->ended = got == 0;
    return QA_OK;
}

/* What the file's first bytes say: all that was read goes to the unpacker. */
static qa_status begin_reading(qa_source *source, qa_error *err) {
    while (source->end < 2 && !source->ended) {
        QA_TRY(fill(source, err));
    }
    source->begun = true;
    if (qa_is_gzip(source->buffer, source->end)) {
        QA_TRY(qa_gunzip_open(&source->gunzip, source->buffer, source->end, source->descriptor, source->name, err));
        source->end = 0;
    }
    return QA_OK;
}

qa_status qa_source_look(qa_source *source, size_t least, const char **data, size_t *n, qa_error *err) {
    QA_TRY(source->begun ? QA_OK : begin_reading(source, err));
    if (source->end - source->begin < least && source->begin > 0) {
        source->end -= source->begin;
        memmove(source->buffer, source->buffer + source->begin, source->end);
        source->begin = 0;
    }
    while (source->end - source->begin < least && !source->ended) {
        QA_TRY(fill(source, err));
    }
    *data = (const char *)source->buffer + source->begin;
    *n = source->end - source->begin;
    return QA_OK;
}

void qa_source_take(qa_source *source, size_t n) { source->begin += n; }

qa_status qa_source_rest(qa_source *source, qa_text *text, size_t max_bytes, qa_error *err) {
    const char *data = NULL;
    size_t n = 0;
    for (;;) {
        QA_TRY(qa_source_look(source, 1, &data, &n, err));
        if (n == 0) {
            return QA_OK;
        }
        QA_FAIL_IF(text->n > max_bytes || n > max_bytes - text->n, err, QA_ERR_LIMIT,
                   "%s is larger than %zu bytes, the most that is read", source->name, max_bytes);
        QA_TRY(qa_text_append(text, data, n, err));
        qa_source_take(source, n);
    }
}
