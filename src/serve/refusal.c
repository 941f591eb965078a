/* See refusal.h. */
#include "serve/refusal.h"

#include "base/plain_line.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    unsigned status;
    const char *type;
} refusal_types[] = {{401, "authentication_error"}, {403, "permission_error"}, {500, "server_error"},
                     {503, "overloaded_error"},     {504, "timeout_error"},    {0, "invalid_request_error"}};

static void note_refusal(qa_refusal *refusal, unsigned status, const char *code, const char *param) {
    refusal->status = status;
    refusal->code = code;
    const char *text = param == NULL ? "" : param; /* may be a key of the client's, of any length */
    const size_t whole = qa_whole_characters(text, strlen(text), sizeof refusal->param - 1);
    (void)snprintf(refusal->param, sizeof refusal->param, "%.*s", (int)whole, text);
}

qa_status qa_refuse(qa_refusal *refusal, unsigned status, const char *code, const char *param, const char *format,
                    ...) {
    char message[QA_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    note_refusal(refusal, status, code, param);
    return qa_fail(&refusal->err, QA_ERR_ARGUMENT, "%s", message);
}

qa_status qa_refuse_if_failed(qa_refusal *refusal, qa_status status, const char *param) {
    if (status != QA_OK && refusal->status == 0) {
        const bool accident = status == QA_ERR_NAN || status == QA_ERR_IO || status == QA_ERR_INTERRUPTED;
        note_refusal(refusal, status == QA_ERR_MEMORY ? 503 : accident ? 500 : 400, NULL, param);
    }
    return status;
}

void qa_refusal_put(qa_json_writer *out, const qa_refusal *refusal) {
    size_t i = 0;
    while (refusal_types[i].status != refusal->status && refusal_types[i].status != 0) {
        i++;
    }
    qa_json_open_object(out, NULL, QA_JSON_LINE);
    qa_json_open_object(out, "error", QA_JSON_LINE);
    qa_json_put_string(out, "message", refusal->err.message);
    qa_json_put_string(out, "type", refusal_types[i].type);
    qa_json_put_string(out, "code", refusal->code);
    qa_json_put_string(out, "param", refusal->param[0] == '\0' ? NULL : refusal->param);
    qa_json_close(out);
    qa_json_close(out);
}
