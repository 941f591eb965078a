/* The transcript: every answer of a run as one JSON line, in a file that appears when it is complete. */
#include "base/buffer.h"
#include "base/checked.h"
#include "base/try.h"
#include "io/file.h"
#include "suite/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qa_transcript {
    qa_atomic_file *file;
    qa_text line;
};

static void free_handle(qa_transcript *transcript) {
    qa_text_free(&transcript->line);
    free(transcript);
}

qa_status qa_transcript_open(qa_transcript **out, const char *path, qa_error *err) {
    *out = NULL;
    if (path == NULL) {
        return QA_OK;
    }
    qa_transcript *transcript = qa_alloc_array(1, sizeof *transcript);
    if (transcript == NULL) {
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for a transcript");
    }
    const qa_status status = qa_atomic_open(&transcript->file, path, err);
    if (status != QA_OK) {
        free_handle(transcript);
        return status;
    }
    *out = transcript;
    return QA_OK;
}

static qa_status add_key(qa_text *line, const char *key, qa_error *err) {
    QA_TRY(qa_text_append_z(line, line->n == 0 ? "{\"" : ", \"", err));
    QA_TRY(qa_text_append_z(line, key, err));
    return qa_text_append_z(line, "\": ", err);
}

static qa_status add_string(qa_text *line, const char *key, const char *value, qa_error *err) {
    if (value == NULL) {
        return QA_OK;
    }
    QA_TRY(add_key(line, key, err));
    return qa_json_append_string(line, value, strlen(value), err);
}

static qa_status add_count(qa_text *line, const char *key, size_t value, qa_error *err) {
    char digits[32];
    QA_TRY(add_key(line, key, err));
    (void)snprintf(digits, sizeof digits, "%zu", value);
    return qa_text_append_z(line, digits, err);
}

static qa_status add_number(qa_text *line, const char *key, double value, qa_error *err) {
    QA_TRY(add_key(line, key, err));
    return qa_json_append_number(line, value, false, err);
}

static qa_status add_flag(qa_text *line, const char *key, bool value, qa_error *err) {
    QA_TRY(add_key(line, key, err));
    return qa_text_append_z(line, value ? "true" : "false", err);
}

static qa_status add_message(qa_text *line, const char *before, const char *role, const char *content, size_t bytes,
                             qa_error *err) {
    QA_TRY(qa_text_append_z(line, before, err));
    QA_TRY(qa_text_append_z(line, "{\"role\": ", err));
    QA_TRY(qa_json_append_string(line, role, strlen(role), err));
    QA_TRY(qa_text_append_z(line, ", \"content\": ", err));
    QA_TRY(qa_json_append_string(line, bytes == 0 ? "" : content, bytes, err));
    return qa_text_append_z(line, "}", err);
}

/* The conversation with the answer behind it. */
static qa_status add_messages(qa_text *line, const qa_dialogue *dialogue, const qa_text *response, qa_error *err) {
    QA_TRY(add_key(line, "messages", err));
    for (size_t i = 0; i < dialogue->n; i++) {
        const qa_message *message = &dialogue->messages[i];
        QA_TRY(add_message(line, i == 0 ? "[" : ", ", message->role, message->content, message->content_bytes, err));
    }
    QA_TRY(add_message(line, ", ", "assistant", response->data, response->n, err));
    return qa_text_append_z(line, "]", err);
}

qa_status qa_transcript_add(qa_transcript *transcript, const char *part, const char *name, const qa_suite_item *item,
                            const qa_answer *answer, const qa_text *response, const char *verdict, bool right,
                            qa_error *err) {
    if (transcript == NULL) {
        return QA_OK;
    }
    qa_text *line = &transcript->line;
    line->n = 0;
    QA_TRY(add_string(line, part, name, err));
    QA_TRY(add_string(line, "kind", item->kind, err));
    QA_TRY(add_count(line, "line", item->line, err));
    QA_TRY(add_count(line, "sample", answer->sample, err));
    QA_TRY(add_messages(line, &item->dialogue, response, err));
    if (verdict != NULL) {
        QA_TRY(add_string(line, "class", verdict, err));
    } else {
        QA_TRY(add_string(line, "answer", item->answer, err));
        QA_TRY(add_flag(line, "right", right, err));
    }
    QA_TRY(add_count(line, "tokens", answer->n, err));
    QA_TRY(add_flag(line, "ended", answer->ended, err));
    QA_TRY(add_number(line, "log_ratio", answer->log_ratio, err));
    QA_TRY(add_number(line, "kl", answer->kl, err));
    QA_TRY(qa_text_append_z(line, "}\n", err));
    return qa_atomic_write(transcript->file, line->data, line->n, err);
}

qa_status qa_transcript_commit(qa_transcript *transcript, qa_error *err) {
    if (transcript == NULL) {
        return QA_OK;
    }
    const qa_status status = qa_atomic_commit(transcript->file, err);
    free_handle(transcript);
    return status;
}

void qa_transcript_abort(qa_transcript *transcript) {
    if (transcript != NULL) {
        qa_atomic_abort(transcript->file);
        free_handle(transcript);
    }
}
