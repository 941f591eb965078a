/* See dialogue.h. Nothing is copied: messages point into the JSON value that holds the text. */
#include "data/dialogue.h"

#include "base/memory.h"
#include "base/try.h"

#include <stdlib.h>
#include <string.h>

qa_status qa_dialogue_push(qa_dialogue *dialogue, qa_message message, qa_error *err) {
    QA_TRY(QA_GROW(dialogue->messages, dialogue->capacity, dialogue->n + 1, err, "a dialogue of %zu messages",
                   dialogue->n + 1));
    dialogue->messages[dialogue->n++] = message;
    return QA_OK;
}

qa_status qa_dialogue_set_exchange(qa_dialogue *dialogue, const json_t *query, const json_t *response, qa_error *err) {
    qa_message user = {.role = "user", .content = json_string_value(query), .content_bytes = json_string_length(query)};
    qa_message answer = {
        .role = "assistant", .content = json_string_value(response), .content_bytes = json_string_length(response)};
    dialogue->n = 0;
    QA_TRY(qa_dialogue_push(dialogue, user, err));
    return qa_dialogue_push(dialogue, answer, err);
}

bool qa_dialogue_same(const qa_dialogue *a, const qa_dialogue *b, size_t n) {
    if (a->n < n || b->n < n) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const qa_message *x = &a->messages[i];
        const qa_message *y = &b->messages[i];
        if (strcmp(x->role, y->role) != 0 || x->content_bytes != y->content_bytes ||
            memcmp(x->content, y->content, x->content_bytes) != 0) {
            return false;
        }
    }
    return true;
}

/* ---- JSON messages ---- */

/* What is wrong with a value that is no message. */
static const char *no_message(const json_t *message) {
    const json_t *content = json_object_get(message, "content");
    if (!json_is_object(message)) {
        return json_is_string(message) ? "it is no object but a string" : "it is no object";
    }
    if (json_object_get(message, "from") != NULL && json_object_get(message, "value") != NULL) {
        return "it has \"from\" and \"value\" (ShareGPT's form): rename them, and the roles to user and assistant";
    }
    if (!json_is_string(json_object_get(message, "role"))) {
        return "its \"role\" is missing or no string";
    }
    return content == NULL           ? "its \"content\" is missing"
           : json_is_null(content)   ? "its \"content\" is null"
           : json_is_array(content)  ? "its \"content\" is a list of parts; give their text as one string"
           : json_is_object(content) ? "its \"content\" is an object"
                                     : "its \"content\" is a number or a truth value";
}

qa_status qa_dialogue_push_json(qa_dialogue *dialogue, const json_t *messages, const char *name, qa_columns *columns,
                                qa_error *err) {
    const bool one = json_is_object(messages);
    for (size_t i = 0; i < (one ? 1 : json_array_size(messages)); i++) {
        const json_t *message = one ? messages : json_array_get(messages, i);
        const json_t *role = json_object_get(message, "role");
        const json_t *content = json_object_get(message, "content");
        if (json_is_object(message)) { /* first: where a message is a tool call, its content is often null */
            QA_TRY(qa_columns_check_message(columns, message, name, i, err));
        }
        QA_FAIL_IF(!json_is_object(message) || !json_is_string(role) || !json_is_string(content), err, QA_ERR_FORMAT,
                   "\"%s\"[%zu] must be a message: {\"role\": string, \"content\": string}; %s", name, i,
                   no_message(message));
        const char *role_name = json_string_value(role);
        QA_FAIL_IF(strlen(role_name) != json_string_length(role) ||
                       (strcmp(role_name, "system") != 0 && strcmp(role_name, "user") != 0 &&
                        strcmp(role_name, "assistant") != 0),
                   err, QA_ERR_FORMAT, "\"%s\"[%zu] has the role \"%.40s\"; it must be system, user or assistant", name,
                   i, role_name);
        qa_message turn = {
            .role = role_name, .content = json_string_value(content), .content_bytes = json_string_length(content)};
        QA_TRY(qa_dialogue_push(dialogue, turn, err));
    }
    return QA_OK;
}

/* ---- HH-RLHF: turns begin "\n\nHuman: " and "\n\nAssistant: " ---- */

static const char HUMAN[] = "\n\nHuman:", ASSISTANT[] = "\n\nAssistant:";

bool qa_begins_with(const char *text, size_t bytes, const char *beginning) {
    const size_t n = strlen(beginning);
    return bytes >= n && memcmp(text, beginning, n) == 0;
}

bool qa_looks_like_hh_mark(const char *text, size_t bytes) {
    return qa_begins_with(text, bytes, HUMAN) || qa_begins_with(text, bytes, ASSISTANT);
}

/* The role of the turn that begins at text, and the length of its mark; NULL when none begins there. A
 * mark ends with a space, but for an empty turn, which the text's end or the next mark may follow at
 * once. "\n\nHuman" in the middle of a sentence is none. */
static const char *turn_mark(const char *text, size_t bytes, size_t *mark_bytes) {
    const bool human = qa_begins_with(text, bytes, HUMAN);
    const size_t n = strlen(human ? HUMAN : ASSISTANT);
    if (!qa_looks_like_hh_mark(text, bytes)) {
        return NULL;
    }
    const bool space = bytes > n && text[n] == ' ';
    *mark_bytes = space ? n + 1 : n;
    return !space && bytes > n && !qa_looks_like_hh_mark(text + n, bytes - n) ? NULL : human ? "user" : "assistant";
}

bool qa_begins_hh_turn(const char *text, size_t bytes) {
    size_t mark = 0;
    return turn_mark(text, bytes, &mark) != NULL;
}

qa_status qa_dialogue_push_hh(qa_dialogue *dialogue, const char *text, size_t bytes, const char *name, bool *loose,
                              qa_error *err) {
    size_t mark = 0;
    const char *role = turn_mark(text, bytes, &mark);
    QA_FAIL_IF(role == NULL, err, QA_ERR_FORMAT,
               "\"%s\" is not an HH-RLHF dialogue: it must begin with two newlines and \"Human: \"%s", name,
               qa_looks_like_hh_mark(text, bytes) ? ", with the space behind the colon" : "");
    size_t at = 0;
    while (role != NULL) {
        qa_message turn = {.role = role, .content = text + at + mark, .content_bytes = 0};
        size_t end = at + mark;
        role = NULL;
        while (end < bytes && (role = turn_mark(text + end, bytes - end, &mark)) == NULL) {
            *loose = *loose || qa_looks_like_hh_mark(text + end, bytes - end);
            end++;
        }
        turn.content_bytes = (size_t)(text + end - turn.content);
        QA_TRY(qa_dialogue_push(dialogue, turn, err));
        at = end;
    }
    return QA_OK;
}

qa_status qa_dialogue_push_exchange(qa_dialogue *dialogue, const char *text, size_t bytes, const char *name,
                                    bool *loose, qa_error *err) {
    static const char QUERY[] = "## Human:\n";
    static const char RESPONSE[] = "\n\n## Assistant:\n";
    if (!qa_begins_with(text, bytes, QUERY)) {
        QA_FAIL_IF(!qa_begins_hh_turn(text, bytes), err, QA_ERR_FORMAT,
                   "%s begins neither with \"## Human:\" and a newline (DSP) nor with two newlines and \"Human: \" "
                   "(HH-RLHF), so prompt and response cannot be told apart",
                   name);
        return qa_dialogue_push_hh(dialogue, text, bytes, name, loose, err);
    }
    size_t begin = strlen(QUERY);
    for (size_t end = begin; end < bytes; end++) {
        if (qa_begins_with(text + end, bytes - end, RESPONSE)) {
            size_t answer = end + strlen(RESPONSE);
            qa_message query = {.role = "user", .content = text + begin, .content_bytes = end - begin};
            qa_message response = {.role = "assistant", .content = text + answer, .content_bytes = bytes - answer};
            for (size_t i = begin; i < bytes; i++) { /* one exchange: a further mark is text */
                *loose = *loose || (i != end && qa_begins_with(text + i, bytes - i, RESPONSE)) ||
                         qa_begins_with(text + i, bytes - i, "\n\n## Human:\n");
            }
            QA_TRY(qa_dialogue_push(dialogue, query, err));
            return qa_dialogue_push(dialogue, response, err);
        }
    }
    return qa_fail(err, QA_ERR_FORMAT, "%s has \"## Human:\" but no line \"## Assistant:\" after an empty one", name);
}
