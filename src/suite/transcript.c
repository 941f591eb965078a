/* The transcript: every answer of a run as one JSON line, in a file that appears when it is complete. */
#include "base/memory.h"
#include "base/try.h"
#include "io/file.h"
#include "io/json_writer.h"
#include "suite/suite.h"

#include <stdlib.h>

struct qa_transcript {
    qa_atomic_file *file;
    qa_json_writer line;
};

static void free_transcript(qa_transcript *transcript) {
    qa_text_free(&transcript->line.text);
    free(transcript);
}

qa_status qa_transcript_open(qa_transcript **out, const char *path, qa_error *err) {
    *out = NULL;
    if (path == NULL) {
        return QA_OK;
    }
    qa_transcript *transcript = NULL;
    QA_TRY(QA_NEW(transcript, 1, err, "a transcript"));
    const qa_status status = qa_atomic_open(&transcript->file, path, err);
    if (status != QA_OK) {
        free_transcript(transcript);
        return status;
    }
    *out = transcript;
    return QA_OK;
}

/* The conversation with the answer behind it. */
static void put_messages(qa_json_writer *line, const qa_dialogue *dialogue, const qa_text *response) {
    qa_json_open_array(line, "messages", QA_JSON_LINE);
    for (size_t i = 0; i < dialogue->n; i++) {
        const qa_message *message = &dialogue->messages[i];
        qa_json_put_message(line, message->role, message->content, message->content_bytes);
    }
    qa_json_put_message(line, "assistant", response->data, response->n);
    qa_json_close(line);
}

/* A member that is left out where there is no text. */
static void put_known(qa_json_writer *line, const char *key, const char *value) {
    if (value != NULL) {
        qa_json_put_string(line, key, value);
    }
}

qa_status qa_transcript_add(qa_transcript *transcript, const char *part, const char *name, const qa_suite_item *item,
                            const qa_answer *answer, const qa_text *response, const char *verdict, bool right,
                            qa_error *err) {
    if (transcript == NULL) {
        return QA_OK;
    }
    qa_json_writer *line = &transcript->line;
    qa_json_restart(line, err);
    qa_json_open_object(line, NULL, QA_JSON_LINE);
    put_known(line, part, name);
    put_known(line, "kind", item->kind);
    qa_json_put_size(line, "line", item->line);
    qa_json_put_size(line, "sample", answer->sample);
    put_messages(line, &item->dialogue, response);
    if (verdict != NULL) {
        qa_json_put_string(line, "class", verdict);
    } else {
        put_known(line, "answer", item->answer);
        qa_json_put_bool(line, "right", right);
    }
    qa_json_put_size(line, "tokens", answer->n);
    qa_json_put_bool(line, "ended", answer->ended);
    qa_json_put_number(line, "log_ratio", answer->log_ratio);
    qa_json_put_number(line, "kl", answer->kl);
    qa_json_close(line);
    qa_json_end_line(line);
    QA_TRY(line->status);
    return qa_atomic_write(transcript->file, line->text.data, line->text.n, err);
}

qa_status qa_transcript_commit(qa_transcript *transcript, qa_error *err) {
    if (transcript == NULL) {
        return QA_OK;
    }
    const qa_status status = qa_atomic_commit(transcript->file, err);
    free_transcript(transcript);
    return status;
}

void qa_transcript_abort(qa_transcript *transcript) {
    if (transcript != NULL) {
        qa_atomic_abort(transcript->file);
        free_transcript(transcript);
    }
}
