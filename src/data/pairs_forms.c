/* The seven forms of one example, and the three of a single response: their parts, and what of an example is left out.
 * All examples of a file have the form of its first. */
#include "data/pairs.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "text/chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- forms 1, 2 and 4 ---- */

static void clear_dialogues(qa_pairs_loader *loader) {
    loader->left.n = 0;
    loader->right.n = 0;
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
    if (json_is_string(role) && strcmp(json_string_value(role), "assistant") != 0) {
        return qa_fail(
            err, QA_ERR_FORMAT,
            "\"%s\"[0] has the role \"%.40s\": beside a \"prompt\", \"%s\" holds the assistant's answer alone; "
            "leave \"prompt\" out where it holds the whole dialogue",
            name, json_string_value(role), name);
    }
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
static qa_status check_prompt_name(const qa_pairs_loader *loader, const json_t *element, qa_error *err) {
    const char *name = loader->left.n == 1 && loader->right.n == 1 ? qa_columns_messages(element) : NULL;
    return name == NULL ? QA_OK
                        : qa_fail(err, QA_ERR_FORMAT,
                                  "\"chosen\" and \"rejected\" are answers alone and \"prompt\" is missing; \"%s\" "
                                  "holds messages: rename it",
                                  name);
}

static qa_status add_messages(qa_pairs_loader *loader, const json_t *element, qa_error *err) {
    const json_t *prompt = qa_pairs_prompt(element);
    const json_t *chosen = qa_pairs_member(element, "chosen");
    const json_t *rejected = qa_pairs_member(element, "rejected");
    const bool explicit = prompt != NULL && !json_is_string(prompt);
    bool left_out = false;
    clear_dialogues(loader);
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
    QA_TRY(explicit ? QA_OK : check_prompt_name(loader, element, err));
    QA_TRY(qa_pairs_check_strict(loader, err));
    if (json_is_string(prompt) && !(asks(&loader->left, prompt) && asks(&loader->right, prompt))) {
        return qa_pairs_unlike("a string", false, err);
    }
    return qa_pairs_add_dialogues(loader, n_prompt, err);
}

static qa_status add_hh(qa_pairs_loader *loader, const json_t *element, qa_error *err) {
    const json_t *chosen = qa_pairs_member(element, "chosen");
    const json_t *rejected = qa_pairs_member(element, "rejected");
    bool loose = false;
    clear_dialogues(loader);
    QA_TRY(qa_dialogue_push_hh(&loader->left, json_string_value(chosen), json_string_length(chosen), "chosen", &loose,
                               err));
    QA_TRY(qa_dialogue_push_hh(&loader->right, json_string_value(rejected), json_string_length(rejected), "rejected",
                               &loose, err));
    qa_pairs_note(loader, QA_SEEN_LOOSE_MARK, loose);
    return qa_pairs_add_dialogues(loader, QA_PROMPT_IMPLICIT, err);
}

/* ---- form 5: texts with scores; every text that scores higher than another is preferred to it ---- */

/* Pairs grow with the square of the texts: a small file must not become millions of them. */
enum { MOST_SCORED = 256 };

static qa_status check_scored(const json_t *texts, const json_t *scores, qa_error *err) {
    size_t n = json_array_size(texts);
    if (!json_is_array(texts) || !json_is_array(scores) || n < 2 || n != json_array_size(scores)) {
        return qa_fail(err, QA_ERR_FORMAT,
                       "\"text\" and \"score\" must be lists of the same length, two or more; found %zu and %zu",
                       json_array_size(texts), json_array_size(scores));
    }
    if (n > MOST_SCORED) {
        return qa_fail(err, QA_ERR_LIMIT, "\"text\" holds %zu texts, at most %d make pairs (every two of them do)", n,
                       MOST_SCORED);
    }
    for (size_t i = 0; i < n; i++) {
        if (!json_is_string(json_array_get(texts, i))) {
            return qa_fail(err, QA_ERR_FORMAT, "\"text\"[%zu] must be a string", i);
        }
        if (!json_is_number(json_array_get(scores, i))) {
            return qa_fail(err, QA_ERR_FORMAT, "\"score\"[%zu] must be a number", i);
        }
    }
    return QA_OK;
}

static qa_status push_scored(qa_dialogue *dialogue, const json_t *texts, size_t index, bool *loose, qa_error *err) {
    char name[32];
    (void)snprintf(name, sizeof name, "\"text\"[%zu]", index);
    const json_t *text = json_array_get(texts, index);
    dialogue->n = 0;
    return qa_dialogue_push_marked(dialogue, json_string_value(text), json_string_length(text), name, loose, err);
}

/* Text i preferred to text j; both are taken apart when they are first met. */
static qa_status add_scored_pair(qa_pairs_loader *loader, const json_t *texts, qa_dialogue *dialogues, size_t i,
                                 size_t j, bool *loose, qa_error *err) {
    const qa_dialogue left = loader->left, right = loader->right;
    QA_TRY(dialogues[i].n > 0 ? QA_OK : push_scored(&dialogues[i], texts, i, loose, err));
    QA_TRY(dialogues[j].n > 0 ? QA_OK : push_scored(&dialogues[j], texts, j, loose, err));
    loader->left = dialogues[i];
    loader->right = dialogues[j];
    const qa_status status = qa_pairs_add_dialogues(loader, QA_PROMPT_IMPLICIT, err);
    loader->left = left;
    loader->right = right;
    return status;
}

static qa_status add_scored(qa_pairs_loader *loader, const json_t *element, qa_error *err) {
    const json_t *texts = qa_pairs_member(element, "text");
    const json_t *scores = qa_pairs_member(element, "score");
    QA_TRY(check_scored(texts, scores, err));
    const size_t n = json_array_size(texts);
    bool tied = true, loose = false;
    qa_dialogue *dialogues = NULL;
    QA_TRY(QA_NEW(dialogues, n, err, "%zu texts", n));
    qa_status status = QA_OK;
    qa_pairs_encode_once(loader, true);
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < n && !loader->full && status == QA_OK; j++) {
            if (json_number_value(json_array_get(scores, i)) > json_number_value(json_array_get(scores, j))) {
                tied = false;
                status = add_scored_pair(loader, texts, dialogues, i, j, &loose, err);
            }
        }
    }
    qa_pairs_encode_once(loader, false);
    for (size_t i = 0; i < n; i++) {
        free(dialogues[i].messages);
    }
    free(dialogues);
    QA_TRY(status);
    qa_pairs_note(loader, QA_SEEN_LOOSE_MARK, loose);
    return tied ? qa_pairs_skip(loader, QA_SKIP_SCORES_TIED, NULL, err) : QA_OK;
}

/* ---- form 6: one query, a response per domain; the chosen domain is preferred to each other ---- */

static qa_status check_domains(const qa_pairs_loader *loader, const json_t *query, json_t *responses, qa_error *err) {
    if (!json_is_string(query) || !json_is_object(responses)) {
        return qa_fail(err, QA_ERR_FORMAT, "\"query\" must be a string and \"responses\" an object of strings");
    }
    char domains[QA_KEYS_BYTES];
    qa_columns_list(responses, false, domains);
    const char *wanted = loader->options->dsp_domain;
    if (wanted == NULL) {
        return qa_fail(err, QA_ERR_ARGUMENT,
                       "this file has one response per domain: name the preferred one with --dsp-domain (%s)", domains);
    }
    const char *key = NULL;
    json_t *value = NULL;
    json_object_foreach(responses, key, value) {
        if (!json_is_string(value)) {
            return qa_fail(err, QA_ERR_FORMAT, "\"responses\".\"%.60s\" must be a string", key);
        }
    }
    if (json_object_get(responses, wanted) == NULL) {
        return qa_fail(err, QA_ERR_FORMAT, "\"responses\" has no domain \"%.60s\"; it has: %s", wanted, domains);
    }
    if (json_object_size(responses) < 2) {
        return qa_fail(err, QA_ERR_FORMAT, "\"responses\" holds only \"%.60s\": there is nothing to prefer it to",
                       wanted);
    }
    return QA_OK;
}

static qa_status set_exchange(qa_dialogue *dialogue, const json_t *query, const json_t *response, qa_error *err) {
    qa_message user = {.role = "user", .content = json_string_value(query), .content_bytes = json_string_length(query)};
    qa_message answer = {
        .role = "assistant", .content = json_string_value(response), .content_bytes = json_string_length(response)};
    dialogue->n = 0;
    QA_TRY(qa_dialogue_push(dialogue, user, err));
    return qa_dialogue_push(dialogue, answer, err);
}

static qa_status add_domains(qa_pairs_loader *loader, const json_t *element, qa_error *err) {
    const json_t *query = qa_pairs_member(element, "query");
    json_t *responses = qa_pairs_member(element, "responses");
    QA_TRY(check_domains(loader, query, responses, err));
    const json_t *preferred = json_object_get(responses, loader->options->dsp_domain);
    const char *domain = NULL;
    json_t *other = NULL;
    json_object_foreach(responses, domain, other) {
        if (other != preferred) {
            QA_TRY(set_exchange(&loader->left, query, preferred, err));
            QA_TRY(set_exchange(&loader->right, query, other, err));
            QA_TRY(qa_pairs_add_dialogues(loader, QA_PROMPT_IMPLICIT, err));
        }
    }
    return QA_OK;
}

/* ---- form 3: text ---- */

/* Whether the response says the prompt once more, or is a whole dialogue in HH-RLHF's notation: then the prompt stands
 * in front of itself. White space at the two's ends does not count. */
static bool repeats(const json_t *prompt, const json_t *response) {
    static const char TURN[] = "\n\nHuman:";
    const char *asked = json_string_value(prompt), *said = json_string_value(response);
    size_t asked_bytes = json_string_length(prompt), bytes = json_string_length(response);
    if (bytes >= strlen(TURN) && memcmp(said, TURN, strlen(TURN)) == 0) {
        return true;
    }
    qa_strip(&asked, &asked_bytes);
    qa_strip(&said, &bytes);
    return asked_bytes > 0 && bytes >= asked_bytes && memcmp(said, asked, asked_bytes) == 0;
}

static qa_status note_repeated(qa_pairs_loader *loader, bool repeated, qa_error *err) {
    if (repeated && loader->options->strict) {
        return qa_fail(err, QA_ERR_FORMAT,
                       "the response repeats the prompt, which stands in front of it already: a response beside a "
                       "prompt is the answer alone (without --strict, a warning)");
    }
    qa_pairs_note(loader, QA_SEEN_REPEATED_PROMPT, repeated);
    return QA_OK;
}

/* Tables keep lists as strings: messages that were never read back are text here. */
static qa_status note_json(qa_pairs_loader *loader, const json_t *prompt, const json_t *response, qa_error *err) {
    const bool json = qa_column_holds_messages(prompt) || qa_column_holds_messages(response);
    if (json && loader->options->strict) {
        return qa_fail(
            err, QA_ERR_FORMAT,
            "a text is a conversation written as JSON: write its messages as a list, not as a string (without "
            "--strict, a warning)");
    }
    qa_pairs_note(loader, QA_SEEN_JSON_TEXT, json);
    return QA_OK;
}

static qa_status add_text(qa_pairs_loader *loader, const json_t *element, qa_error *err) {
    const json_t *prompt = qa_pairs_member(element, "prompt");
    const json_t *chosen = qa_pairs_member(element, "chosen");
    const json_t *rejected = qa_pairs_member(element, "rejected");
    QA_TRY(note_repeated(loader, repeats(prompt, chosen) && repeats(prompt, rejected), err));
    QA_TRY(note_json(loader, prompt, chosen, err));
    return qa_pairs_add_text(loader, prompt, chosen, rejected, err);
}

/* ---- form 7: token ids ---- */

/* Of two ids or more: one alone may be how every text begins. */
static bool repeats_ids(const qa_ids *prompt, const qa_ids *response) {
    return prompt->n > 1 && response->n >= prompt->n &&
           memcmp(prompt->data, response->data, prompt->n * sizeof prompt->data[0]) == 0;
}

/* An integer that no int32 holds is no token's id; -1 stands for it and is skipped as out of range. */
static qa_status read_ids(const json_t *element, const char *key, qa_ids *ids, qa_error *err) {
    const json_t *list = qa_pairs_member(element, key);
    if (!json_is_array(list)) {
        return qa_fail(err, QA_ERR_FORMAT, "\"%s\" must be a list of token ids%s", key,
                       list == NULL ? "; it is missing" : "");
    }
    ids->n = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *id = json_array_get(list, i);
        if (!json_is_integer(id)) {
            return qa_fail(err, QA_ERR_FORMAT, "\"%s\"[%zu] must be an integer", key, i);
        }
        json_int_t value = json_integer_value(id);
        QA_TRY(qa_ids_push(ids, value < 0 || value > INT32_MAX ? -1 : (int32_t)value, err));
    }
    return QA_OK;
}

/* A response whose key is missing is terminal when its last id ends an answer; under QA_RESPONSE_END_TEMPLATE white
 * space may stand behind that. */
static qa_status read_terminal(qa_pairs_loader *loader, const json_t *element, const char *key, const qa_ids *ids,
                               bool *terminal, qa_error *err) {
    const json_t *flag = qa_pairs_member(element, key);
    if (flag != NULL && !json_is_boolean(flag)) {
        return qa_fail(err, QA_ERR_FORMAT, "\"%s\" must be true or false", key);
    }
    size_t ended = 0;
    if (flag != NULL) {
        *terminal = json_is_true(flag);
        return QA_OK;
    }
    QA_TRY(qa_answer_end_of(&loader->end, loader->tokenizer, ids->data, ids->n, &ended, err));
    *terminal = ended > 0 && (ended == ids->n || loader->options->response_end == QA_RESPONSE_END_TEMPLATE);
    qa_pairs_note(loader, QA_SEEN_LATE_END, ended > 0 && !*terminal);
    return QA_OK;
}

static qa_status add_ids(qa_pairs_loader *loader, const json_t *element, qa_error *err) {
    bool chosen_terminal = false;
    bool rejected_terminal = false;
    QA_TRY(read_ids(element, "prompt_ids", &loader->prompt, err));
    QA_TRY(read_ids(element, "chosen_ids", &loader->chosen, err));
    QA_TRY(read_ids(element, "rejected_ids", &loader->rejected, err));
    QA_TRY(read_terminal(loader, element, "chosen_terminal", &loader->chosen, &chosen_terminal, err));
    QA_TRY(read_terminal(loader, element, "rejected_terminal", &loader->rejected, &rejected_terminal, err));
    QA_TRY(note_repeated(
        loader, repeats_ids(&loader->prompt, &loader->chosen) && repeats_ids(&loader->prompt, &loader->rejected), err));
    return qa_pairs_add_ids(loader, chosen_terminal, rejected_terminal, err);
}

/* ---- single responses ---- */

/* Without the key a response ends where it ends. */
static qa_status read_ended(const json_t *element, bool *terminal, qa_error *err) {
    const json_t *flag = qa_pairs_member(element, "terminal");
    *terminal = flag == NULL || json_is_true(flag);
    return flag == NULL || json_is_boolean(flag) ? QA_OK
                                                 : qa_fail(err, QA_ERR_FORMAT, "\"terminal\" must be true or false");
}

static qa_status add_response(qa_pairs_loader *loader, const json_t *element, qa_error *err) {
    bool terminal = true;
    QA_TRY(read_ended(element, &terminal, err));
    clear_dialogues(loader);
    bool left_out = false;
    QA_TRY(push_messages(loader, &loader->left, qa_pairs_member(element, "messages"), "messages", &left_out, err));
    QA_TRY(left_out ? QA_OK : qa_pairs_check_strict(loader, err));
    return left_out ? QA_OK : qa_pairs_add_response(loader, terminal, err);
}

static qa_status add_completion(qa_pairs_loader *loader, const json_t *element, qa_error *err) {
    bool terminal = true;
    QA_TRY(read_ended(element, &terminal, err));
    const json_t *prompt = qa_pairs_member(element, "prompt");
    const json_t *completion = qa_pairs_member(element, "completion");
    QA_TRY(note_repeated(loader, repeats(prompt, completion), err));
    QA_TRY(note_json(loader, prompt, completion, err));
    return qa_pairs_add_completion(loader, prompt, completion, terminal, err);
}

static qa_status add_response_ids(qa_pairs_loader *loader, const json_t *element, qa_error *err) {
    bool terminal = false;
    loader->rejected.n = 0;
    QA_TRY(read_ids(element, "prompt_ids", &loader->prompt, err));
    QA_TRY(read_ids(element, "response_ids", &loader->chosen, err));
    QA_TRY(read_terminal(loader, element, "terminal", &loader->chosen, &terminal, err));
    QA_TRY(note_repeated(loader, repeats_ids(&loader->prompt, &loader->chosen), err));
    return qa_pairs_add_ids(loader, terminal, false, err);
}

/* ---- one example ---- */

static qa_status check_first(const qa_pairs_loader *loader, qa_pairs_form form, qa_error *err) {
    if (form != QA_FORM_IDS && form != QA_FORM_RESPONSE_IDS && loader->tokenizer == NULL) {
        return qa_fail(err, QA_ERR_ARGUMENT, "%s need a tokenizer, and none is given", qa_pairs_form_name(form));
    }
    if (form != QA_FORM_DOMAINS && !loader->options->responses && loader->options->dsp_domain != NULL) {
        return qa_fail(err, QA_ERR_ARGUMENT,
                       "--dsp-domain is for files with \"query\" and \"responses\"; this one holds %s",
                       qa_pairs_form_name(form));
    }
    return QA_OK;
}

/* Ratings of the two sides that say something else than which is preferred. */
static qa_status note_ratings(qa_pairs_loader *loader, const json_t *element, qa_error *err) {
    const qa_rating rating = loader->options->responses ? QA_RATING_AGREES : qa_columns_rating(element);
    if (rating != QA_RATING_AGREES && loader->options->strict) {
        return qa_fail(err, QA_ERR_FORMAT, "\"chosen\" is not rated above \"rejected\" (without --strict, a warning)");
    }
    qa_pairs_note(loader, QA_SEEN_RATED_WORSE, rating == QA_RATING_CONTRADICTS);
    qa_pairs_note(loader, QA_SEEN_RATED_EQUAL, rating == QA_RATING_EQUAL);
    return QA_OK;
}

/* With strict an unused column is an error, as everything is that is left out. */
static qa_status check_columns(qa_pairs_loader *loader, const json_t *element, qa_pairs_form form, bool *left_out,
                               qa_error *err) {
    qa_error reason = {.code = QA_OK};
    const qa_status status =
        qa_columns_check_row(&loader->columns, element, qa_pairs_form_keys(form), qa_pairs_form_kind(form), &reason);
    *left_out = status != QA_OK;
    return *left_out ? qa_pairs_skip(loader, QA_SKIP_NOT_WRITTEN, reason.message, err)
                     : qa_pairs_check_strict(loader, err);
}

qa_status qa_pairs_check_strict(const qa_pairs_loader *loader, qa_error *err) {
    return !loader->options->strict || loader->columns.n == 0
               ? QA_OK
               : qa_fail(err, QA_ERR_FORMAT,
                         "%s: a key that holds something and is not used (without --strict, a warning)",
                         loader->columns.names[0]);
}

qa_status qa_pairs_add_element(qa_pairs_loader *loader, const json_t *element, qa_error *err) {
    qa_pairs_form form = QA_FORM_NONE;
    bool left_out = false;
    QA_TRY(qa_pairs_detect(element, loader->options, &form, err));
    if (loader->pairs->form == QA_FORM_NONE) {
        QA_TRY(check_first(loader, form, err));
        loader->pairs->form = form;
    } else if (loader->pairs->form != form) {
        return qa_fail(err, QA_ERR_FORMAT, "found %s in a file that begins with %s", qa_pairs_form_name(form),
                       qa_pairs_form_name(loader->pairs->form));
    }
    QA_TRY(check_columns(loader, element, form, &left_out, err));
    if (left_out) {
        return QA_OK;
    }
    QA_TRY(note_ratings(loader, element, err));
    switch (form) {
    case QA_FORM_NONE: break;
    case QA_FORM_PROMPTED_MESSAGES:
    case QA_FORM_MESSAGES: return add_messages(loader, element, err);
    case QA_FORM_PROMPTED_TEXT: return add_text(loader, element, err);
    case QA_FORM_HH: return add_hh(loader, element, err);
    case QA_FORM_SCORED: return add_scored(loader, element, err);
    case QA_FORM_DOMAINS: return add_domains(loader, element, err);
    case QA_FORM_IDS: return add_ids(loader, element, err);
    case QA_FORM_RESPONSE: return add_response(loader, element, err);
    case QA_FORM_RESPONSE_TEXT: return add_completion(loader, element, err);
    case QA_FORM_RESPONSE_IDS: return add_response_ids(loader, element, err);
    }
    return QA_OK;
}
