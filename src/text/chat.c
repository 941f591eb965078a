/* See chat.h. */
#include "text/chat.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "base/warnings.h"
#include "text/chat_texts.h"
#include "text/text_begin.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

void qa_chat_free(qa_chat *chat) {
    if (chat != NULL) {
        qa_template_free(chat->program);
        json_decref(chat->variables);
        json_decref(chat->record);
        qa_warnings_free(&chat->warnings);
        qa_text_free(&chat->behind);
        qa_text_free(&chat->end_text);
        qa_text_free(&chat->always);
        qa_text_free(&chat->next);
        free(chat);
    }
}

const char *qa_chat_name(const qa_chat *chat) { return chat->name; }
qa_chat_template qa_chat_which(const qa_chat *chat) { return chat->which; }
const qa_warnings *qa_chat_warnings(const qa_chat *chat) { return &chat->warnings; }
const json_t *qa_chat_record(const qa_chat *chat) { return chat->record; }

/* ---- a dialogue through it ---- */

static qa_status no_template(qa_error *err) {
    return qa_fail(err, QA_ERR_UNSUPPORTED,
                   "no chat template is known: name the one that the model was trained with by --chat-template (%s, or "
                   "a file), or give text that is already rendered (\"prompt\", \"chosen\", \"rejected\" as strings)",
                   qa_chat_template_names());
}

static qa_status messages_value(json_t **value, const qa_message *messages, size_t n, qa_error *err) {
    size_t bad = 0;
    json_t *list = *value = json_array();
    for (size_t i = 0; i < n; i++) {
        const qa_message *message = &messages[i];
        QA_FAIL_IF(strcmp(message->role, "system") != 0 && strcmp(message->role, "user") != 0 &&
                       strcmp(message->role, "assistant") != 0,
                   err, QA_ERR_ARGUMENT, "message %zu has the role \"%.40s\"; known are system, user, assistant", i + 1,
                   message->role);
        QA_FAIL_IF(!qa_utf8_valid(message->content, message->content_bytes, &bad), err, QA_ERR_FORMAT,
                   "message %zu is not valid UTF-8 at byte %zu", i + 1, bad);
        json_t *one = json_object();
        if (json_object_set_new(one, "role", json_string(message->role)) != 0 ||
            json_object_set_new(one, "content", json_stringn_nocheck(message->content, message->content_bytes)) != 0 ||
            json_array_append(list, one) != 0) {
            json_decref(one);
            return QA_NO_MEMORY(err, "%zu messages", n);
        }
        json_decref(one);
    }
    return list == NULL ? QA_NO_MEMORY(err, "%zu messages", n) : QA_OK;
}

/* A template's own refusal, and what it stumbles over. */
static qa_status refusal(const qa_chat *chat, const qa_template_result *result, qa_error *err) {
    QA_FAIL_IF(result->outcome == QA_TEMPLATE_RAISED, err, QA_ERR_FORMAT, "the chat template refuses the dialogue: %s",
               result->message);
    QA_FAIL_IF(chat->lacks != NULL && strstr(result->message, "undefined") != NULL, err, QA_ERR_MISMATCH,
               "the chat template writes the tokenizer's %s, but tokenizer_config.json names none (line %zu: %s)",
               chat->lacks, result->line, result->message);
    return qa_fail(err, QA_ERR_FORMAT, "the chat template %s cannot write the dialogue: line %zu: %s", chat->name,
                   result->line, result->message);
}

qa_status qa_chat_write(const qa_chat *chat, const qa_message *messages, size_t n, bool add_generation_prompt,
                        qa_text *text, qa_error *err) {
    json_t *list = NULL;
    qa_template_result result = {0};
    qa_status status = QA_OK;
    if (chat == NULL) {
        return no_template(err);
    }
    QA_FAIL_IF(n == 0, err, QA_ERR_ARGUMENT, "a dialogue without messages cannot be rendered");
    json_t *all = json_copy(chat->variables);
    QA_GOTO(done, messages_value(&list, messages, n, err));
    if (json_object_set(all, "messages", list) != 0 ||
        json_object_set_new(all, "add_generation_prompt", json_boolean(add_generation_prompt)) != 0) {
        QA_GOTO(done, QA_NO_MEMORY(err, "%zu messages", n));
    }
    QA_GOTO(done, qa_text_append(text, "", 0, err));
    QA_GOTO(done, qa_template_render(chat->program, all, &chat->options, text, &result, err));
    status = result.outcome == QA_TEMPLATE_TEXT ? QA_OK : refusal(chat, &result, err);
done:
    qa_template_result_free(&result);
    json_decref(list);
    json_decref(all);
    return status;
}

qa_status qa_chat_encode(const qa_chat *chat, const qa_message *messages, size_t n, qa_text *text, qa_ids *ids,
                         qa_error *err) {
    text->n = 0;
    QA_TRY(qa_chat_write(chat, messages, n, true, text, err));
    return qa_encode_rendered(chat->tokenizer, text->data, text->n, ids, err);
}
