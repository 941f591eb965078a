/* Forms 1 and 2: "chosen" and "rejected" are messages: the answers behind a "prompt" of messages, or whole dialogues;
 * and single responses, as "messages" of which the last one is the response, or as a "prompt" of messages and its
 * "completion", or its list of answers. */
#include "base/try.h"
#include "data/form.h"
#include "text/utf8.h"

#include <string.h>

/* Messages are a list of objects, or one object. */
static bool are_messages(const json_t *value) { return json_is_array(value) || json_is_object(value); }

/* "prompt"; beside whole dialogues an empty one counts as absent. */
static json_t *prompt_of(const json_t *row) {
    json_t *prompt = qa_pairs_member(row, "prompt");
    const json_t *chosen = qa_pairs_member(row, "chosen");
    const char *role = json_string_value(json_object_get(json_array_get(chosen, 0), "role"));
    const bool whole = role != NULL && strcmp(role, "assistant") != 0;
    return prompt != NULL && whole && qa_column_is_empty(prompt) ? NULL : prompt;
}

/* Sides that are no strings both: they are meant as messages. */
static bool sides_are_messages(const json_t *row) {
    return !json_is_string(qa_pairs_member(row, "chosen")) || !json_is_string(qa_pairs_member(row, "rejected"));
}

static bool is_prompted(const json_t *row) { return sides_are_messages(row) && are_messages(prompt_of(row)); }
static bool is_dialogues(const json_t *row) { return sides_are_messages(row) && !are_messages(prompt_of(row)); }

/* A prompt string beside messages may be what the dialogues hold already, which is found out when they are read. */
static qa_status check_sides(const json_t *row, qa_error *err) {
    const json_t *prompt = prompt_of(row);
    const json_t *chosen = qa_pairs_member(row, "chosen"), *rejected = qa_pairs_member(row, "rejected");
    QA_FAIL_IF(!are_messages(chosen) || !are_messages(rejected), err, QA_ERR_FORMAT,
               "\"chosen\" and \"rejected\" must both be strings or both be lists of messages; found %s and %s",
               qa_column_kind(chosen), qa_column_kind(rejected));
    return prompt == NULL || are_messages(prompt) || json_is_string(prompt)
               ? QA_OK
               : qa_columns_unlike(prompt, "lists of messages", err);
}

/* Messages that cannot be written are left out with their example (*left_out). */
static qa_status push_messages(qa_pairs_loader *loader, qa_dialogue *dialogue, const json_t *messages, const char *name,
                               bool *left_out, qa_error *err) {
    qa_error reason = {.code = QA_OK};
    if (*left_out) {
        return QA_OK;
    }
    const qa_status status = qa_dialogue_push_json(dialogue, messages, name, &loader->columns, &reason);
    *left_out = status == QA_ERR_UNSUPPORTED;
    if (*left_out) {
        return qa_pairs_skip(loader, QA_SKIP_NOT_WRITTEN, reason.message, err);
    }
    return status == QA_OK ? QA_OK : qa_fail(err, status, "%s", reason.message);
}

/* With an explicit prompt, a side holds the answer alone. */
static qa_status check_answer_first(const json_t *side, const char *name, qa_error *err) {
    const json_t *first = json_is_object(side) ? side : json_array_get(side, 0);
    const json_t *role = json_object_get(first, "role");
    QA_FAIL_IF(json_is_string(role) && strcmp(json_string_value(role), "assistant") != 0, err, QA_ERR_FORMAT,
               "\"%s\"[0] has the role \"%.40s\": beside a \"prompt\", \"%s\" holds the assistant's answer alone; "
               "leave \"prompt\" out where it holds the whole dialogue",
               name, json_string_value(role), name);
    return QA_OK;
}

/* Bytes that may stand around a turn's content where a prompt's turns are written into one string: marks of any kind.
 */
enum { MOST_AROUND_TURN = 48 };

/* Whether text[bytes] is the contents of the messages in a row, and little else. */
static bool writes_turns(const char *text, size_t bytes, const qa_message *messages, size_t n) {
    size_t at = 0, around = 0;
    for (size_t i = 0; i < n; i++) {
        const char *content = messages[i].content;
        size_t length = messages[i].content_bytes;
        qa_strip(&content, &length);
        const size_t begun = at;
        while (at + length <= bytes && at - begun <= MOST_AROUND_TURN && memcmp(text + at, content, length) != 0) {
            at++;
        }
        if (at + length > bytes || at - begun > MOST_AROUND_TURN) {
            return false;
        }
        at += length;
        around = bytes - at;
    }
    return around <= MOST_AROUND_TURN;
}

/* Whether the string is what the dialogue holds before its answer: a message of the user, or all turns (without the
 * system's, too) in one string. White space around it does not count. */
static bool asks(const qa_dialogue *dialogue, const json_t *prompt) {
    const char *asked = json_string_value(prompt);
    size_t asked_bytes = json_string_length(prompt);
    qa_strip(&asked, &asked_bytes);
    for (size_t i = 0; i + 1 < dialogue->n; i++) {
        const char *content = dialogue->messages[i].content;
        size_t bytes = dialogue->messages[i].content_bytes;
        qa_strip(&content, &bytes);
        if (strcmp(dialogue->messages[i].role, "user") == 0 && asked_bytes == bytes &&
            memcmp(asked, content, bytes) == 0) {
            return true;
        }
    }
    const size_t first = dialogue->n > 1 && strcmp(dialogue->messages[0].role, "system") == 0 ? 1 : 0;
    return dialogue->n > 2 && (writes_turns(asked, asked_bytes, dialogue->messages, dialogue->n - 1) ||
                               writes_turns(asked, asked_bytes, dialogue->messages + first, dialogue->n - 1 - first));
}

/* Answers alone, and the prompt under a name that nothing reads. */
static qa_status check_prompt_name(const qa_pairs_loader *loader, const json_t *row, qa_error *err) {
    const char *name = loader->left.n == 1 && loader->right.n == 1 ? qa_columns_messages(row) : NULL;
    return name == NULL ? QA_OK
                        : qa_fail(err, QA_ERR_FORMAT,
                                  "\"chosen\" and \"rejected\" are answers alone and \"prompt\" is missing; \"%s\" "
                                  "holds messages: rename it",
                                  name);
}

static qa_status add_message_pair(qa_pairs_loader *loader, const json_t *row, qa_error *err) {
    const json_t *prompt = prompt_of(row);
    const json_t *chosen = qa_pairs_member(row, "chosen");
    const json_t *rejected = qa_pairs_member(row, "rejected");
    const bool explicit = prompt != NULL && !json_is_string(prompt);
    bool left_out = false;
    loader->left.n = loader->right.n = 0;
    if (explicit) {
        QA_TRY(check_answer_first(chosen, "chosen", err));
        QA_TRY(check_answer_first(rejected, "rejected", err));
        QA_TRY(push_messages(loader, &loader->left, prompt, "prompt", &left_out, err));
        QA_TRY(push_messages(loader, &loader->right, prompt, "prompt", &left_out, err));
    }
    const size_t n_prompt = explicit ? loader->left.n : QA_PROMPT_IMPLICIT;
    QA_TRY(push_messages(loader, &loader->left, chosen, "chosen", &left_out, err));
    QA_TRY(push_messages(loader, &loader->right, rejected, "rejected", &left_out, err));
    if (left_out) {
        return QA_OK;
    }
    QA_TRY(explicit ? QA_OK : check_prompt_name(loader, row, err));
    QA_TRY(qa_pairs_check_strict(loader, err));
    if (json_is_string(prompt) && !(asks(&loader->left, prompt) && asks(&loader->right, prompt))) {
        return qa_columns_unlike(prompt, "lists of messages", err);
    }
    return qa_pairs_add_dialogues(loader, n_prompt, true, err);
}

static bool is_response(const json_t *row) {
    const bool text =
        json_is_string(qa_pairs_member(row, "prompt")) && json_is_string(qa_pairs_member(row, "completion"));
    return json_is_array(qa_pairs_member(row, "messages")) && !text;
}

static qa_status add_response(qa_pairs_loader *loader, const json_t *row, qa_error *err) {
    bool terminal = true, left_out = false;
    QA_TRY(qa_pairs_flag(row, "terminal", &terminal, err));
    loader->left.n = 0;
    QA_TRY(push_messages(loader, &loader->left, qa_pairs_member(row, "messages"), "messages", &left_out, err));
    QA_TRY(left_out ? QA_OK : qa_pairs_check_strict(loader, err));
    return left_out ? QA_OK : qa_pairs_add_dialogues(loader, QA_PROMPT_IMPLICIT, terminal, err);
}

/* ---- a prompt of messages and answers to it, each one message or the string that it says ---- */

static bool is_answer_messages(const json_t *row) {
    return are_messages(qa_pairs_member(row, "prompt")) &&
           (qa_answer_list(row) != NULL || qa_pairs_member(row, "completion") != NULL);
}

static qa_status push_answer(qa_pairs_loader *loader, const json_t *answer, const char *name, bool *left_out,
                             qa_error *err) {
    const qa_message said = {
        .role = "assistant", .content = json_string_value(answer), .content_bytes = json_string_length(answer)};
    if (json_is_string(answer)) {
        return qa_dialogue_push(&loader->left, said, err);
    }
    QA_FAIL_IF(!json_is_object(answer) && json_array_size(answer) != 1, err, QA_ERR_FORMAT,
               "\"%s\" must be one message of the assistant, or a string; found %s%s", name, qa_column_kind(answer),
               json_array_size(answer) > 1 ? " of several" : "");
    QA_TRY(check_answer_first(answer, name, err));
    return push_messages(loader, &loader->left, answer, name, left_out, err);
}

static qa_status add_answers_in(qa_pairs_loader *loader, const json_t *row, const json_t *answers, qa_error *err) {
    bool terminal = true;
    QA_TRY(qa_pairs_flag(row, "terminal", &terminal, err));
    for (size_t i = 0; i < (answers == NULL ? 1 : json_array_size(answers)); i++) {
        const json_t *answer = answers == NULL ? qa_pairs_member(row, "completion") : json_array_get(answers, i);
        bool left_out = false;
        loader->left.n = 0;
        loader->answer = i;
        QA_TRY(push_messages(loader, &loader->left, qa_pairs_member(row, "prompt"), "prompt", &left_out, err));
        const size_t n_prompt = loader->left.n;
        QA_TRY(left_out ? QA_OK
                        : push_answer(loader, answer, answers == NULL ? "completion" : "answers", &left_out, err));
        QA_TRY(left_out ? QA_OK : qa_pairs_check_strict(loader, err));
        QA_TRY(left_out ? QA_OK : qa_pairs_add_dialogues(loader, n_prompt, terminal, err));
    }
    return QA_OK;
}

static qa_status add_answer_messages(qa_pairs_loader *loader, const json_t *row, qa_error *err) {
    const json_t *answers = qa_answer_list(row);
    QA_TRY(answers == NULL ? QA_OK : qa_answer_list_check(row, err));
    qa_pairs_encode_once(loader, answers != NULL);
    const qa_status status = add_answers_in(loader, row, answers, err);
    qa_pairs_encode_once(loader, false);
    loader->answer = 0;
    return status;
}

/* Whoever has the list of answers says so under one of these. */
static const char *const answer_lists[] = {"responses", "completions", "candidates"};
enum { N_ANSWER_LISTS = sizeof answer_lists / sizeof *answer_lists };
const char *const qa_answer_list_keys[] = {"prompt",     "responses", "completions", "candidates",
                                           "completion", "terminal",  "label",       NULL};

const json_t *qa_answer_list(const json_t *row) {
    const json_t *found = NULL;
    for (size_t i = 0; i < N_ANSWER_LISTS && found == NULL; i++) {
        const json_t *list = qa_pairs_member(row, answer_lists[i]);
        found = json_is_array(list) ? list : NULL;
    }
    return found;
}

qa_status qa_answer_list_check(const json_t *row, qa_error *err) {
    size_t there = qa_pairs_member(row, "completion") != NULL ? 1 : 0;
    for (size_t i = 0; i < N_ANSWER_LISTS; i++) {
        there += qa_pairs_member(row, answer_lists[i]) != NULL ? 1 : 0;
    }
    QA_FAIL_IF(there > 1, err, QA_ERR_FORMAT,
               "of \"responses\", \"completions\", \"candidates\" and \"completion\" a line has one; found %zu", there);
    QA_FAIL_IF(json_array_size(qa_answer_list(row)) == 0, err, QA_ERR_FORMAT, "the list of answers is empty");
    return QA_OK;
}

const qa_form qa_form_answer_messages = {.name = "answers to prompts",
                                         .needs = "\"prompt\" and a list \"responses\", \"completions\" or "
                                                  "\"candidates\"",
                                         .keys = qa_answer_list_keys,
                                         .needed = 1,
                                         .kind = QA_PAIRS_DIALOGUES,
                                         .responses = true,
                                         .is = is_answer_messages,
                                         .add = add_answer_messages};

const qa_form qa_form_prompted_messages = {.name = "conversations with a prompt",
                                           .needs = "\"chosen\" and \"rejected\"",
                                           .keys = (const char *const[]){"chosen", "rejected", "prompt", NULL},
                                           .needed = 2,
                                           .kind = QA_PAIRS_DIALOGUES,
                                           .is = is_prompted,
                                           .check = check_sides,
                                           .add = add_message_pair};

const qa_form qa_form_messages = {.name = "conversations",
                                  .keys = (const char *const[]){"chosen", "rejected", "prompt", NULL},
                                  .needed = 2,
                                  .kind = QA_PAIRS_DIALOGUES,
                                  .is = is_dialogues,
                                  .check = check_sides,
                                  .add = add_message_pair};

const qa_form qa_form_response_messages = {.name = "single responses",
                                           .needs = "\"messages\", a list whose last message is the assistant's",
                                           .keys = (const char *const[]){"messages", "terminal", "label", NULL},
                                           .needed = 1,
                                           .kind = QA_PAIRS_DIALOGUES,
                                           .responses = true,
                                           .is = is_response,
                                           .add = add_response};
