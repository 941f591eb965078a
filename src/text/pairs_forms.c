/* The seven forms of one example, and the three of a single response, told apart by their keys and types; keys that no
 * form has are other people's and are left alone. All examples of a file have the form of its first. */
#include "text/pairs.h"

#include "base/buffer.h"
#include "base/try.h"

#include <stdio.h>
#include <string.h>

qa_pairs_kind qa_pairs_form_kind(qa_pairs_form form) {
    switch (form) {
    case QA_FORM_NONE:
    case QA_FORM_PROMPTED_MESSAGES:
    case QA_FORM_MESSAGES:
    case QA_FORM_HH:
    case QA_FORM_SCORED:
    case QA_FORM_DOMAINS:
    case QA_FORM_RESPONSE: break;
    case QA_FORM_PROMPTED_TEXT:
    case QA_FORM_RESPONSE_TEXT: return QA_PAIRS_TEXT;
    case QA_FORM_IDS:
    case QA_FORM_RESPONSE_IDS: return QA_PAIRS_IDS;
    }
    return QA_PAIRS_DIALOGUES;
}

const char *qa_pairs_form_name(qa_pairs_form form) {
    switch (form) {
    case QA_FORM_NONE: break;
    case QA_FORM_PROMPTED_MESSAGES: return "conversations with a prompt";
    case QA_FORM_MESSAGES: return "conversations";
    case QA_FORM_PROMPTED_TEXT: return "text with a prompt";
    case QA_FORM_HH: return "HH-RLHF dialogues";
    case QA_FORM_SCORED: return "DSP texts with scores";
    case QA_FORM_DOMAINS: return "DSP queries with responses by domain";
    case QA_FORM_IDS: return "token ids";
    case QA_FORM_RESPONSE: return "single responses";
    case QA_FORM_RESPONSE_TEXT: return "single responses as text";
    case QA_FORM_RESPONSE_IDS: return "single responses as token ids";
    }
    return "nothing";
}

/* ---- which form ---- */

/* A member that is there and not null. */
static json_t *member(const json_t *element, const char *key) {
    json_t *found = json_object_get(element, key);
    return json_is_null(found) ? NULL : found;
}

static const char *kind_of(const json_t *value) {
    return json_is_string(value) ? "a string" : json_is_array(value) ? "a list" : "something else";
}

/* Forms 1 to 4: "chosen" and "rejected", and perhaps "prompt", all strings or all lists. */
static qa_status detect_sides(const json_t *prompt, const json_t *chosen, const json_t *rejected, qa_pairs_form *form,
                              qa_error *err) {
    bool strings = json_is_string(chosen) && json_is_string(rejected);
    bool lists = json_is_array(chosen) && json_is_array(rejected);
    if (!strings && !lists) {
        return qa_fail(err, QA_ERR_FORMAT,
                       "\"chosen\" and \"rejected\" must both be strings or both be lists of messages; found %s and %s",
                       kind_of(chosen), kind_of(rejected));
    }
    if (prompt != NULL && (strings ? !json_is_string(prompt) : !json_is_array(prompt))) {
        return qa_fail(err, QA_ERR_FORMAT,
                       "\"prompt\" is %s but \"chosen\" and \"rejected\" are %s; make them alike, or leave \"prompt\" "
                       "out where \"chosen\" and \"rejected\" are whole dialogues",
                       kind_of(prompt), strings ? "strings" : "lists of messages");
    }
    if (strings) {
        *form = prompt != NULL ? QA_FORM_PROMPTED_TEXT : QA_FORM_HH;
    } else {
        *form = prompt != NULL ? QA_FORM_PROMPTED_MESSAGES : QA_FORM_MESSAGES;
    }
    return QA_OK;
}

/* Single responses. */
static qa_status detect_response(const json_t *element, qa_pairs_form *form, qa_error *err) {
    if (member(element, "prompt_ids") != NULL || member(element, "response_ids") != NULL) {
        *form = QA_FORM_RESPONSE_IDS;
        return QA_OK;
    }
    if (json_is_string(member(element, "prompt")) && json_is_string(member(element, "completion"))) {
        *form = QA_FORM_RESPONSE_TEXT;
        return QA_OK;
    }
    if (!json_is_array(member(element, "messages"))) {
        return qa_fail(err, QA_ERR_FORMAT,
                       "a response needs \"messages\", a list whose last message is the assistant's, or \"prompt\" and "
                       "\"completion\", both strings, or \"prompt_ids\" and \"response_ids\"%s",
                       member(element, "chosen") != NULL ? "; this looks like preference pairs" : "");
    }
    *form = QA_FORM_RESPONSE;
    return QA_OK;
}

static qa_status detect_form(const json_t *element, bool responses, qa_pairs_form *form, qa_error *err) {
    if (!json_is_object(element)) {
        return qa_fail(err, QA_ERR_FORMAT, "an example must be a JSON object, found %s", kind_of(element));
    }
    if (responses) {
        return detect_response(element, form, err);
    }
    if (member(element, "prompt_ids") != NULL || member(element, "chosen_ids") != NULL ||
        member(element, "rejected_ids") != NULL) {
        *form = QA_FORM_IDS;
        return QA_OK;
    }
    if (member(element, "query") != NULL && member(element, "responses") != NULL) {
        *form = QA_FORM_DOMAINS;
        return QA_OK;
    }
    if (member(element, "text") != NULL && member(element, "score") != NULL) {
        *form = QA_FORM_SCORED;
        return QA_OK;
    }
    const json_t *chosen = member(element, "chosen");
    const json_t *rejected = member(element, "rejected");
    if (chosen == NULL || rejected == NULL) {
        return qa_fail(err, QA_ERR_FORMAT,
                       "%s missing; an example needs \"chosen\" and \"rejected\", or \"query\" and \"responses\", or "
                       "\"text\" and \"score\", or \"prompt_ids\", \"chosen_ids\" and \"rejected_ids\"",
                       chosen == NULL && rejected == NULL ? "\"chosen\" and \"rejected\" are"
                       : chosen == NULL                   ? "\"chosen\" is"
                                                          : "\"rejected\" is");
    }
    return detect_sides(member(element, "prompt"), chosen, rejected, form, err);
}

/* ---- forms 1, 2 and 4 ---- */

static void clear_dialogues(qa_pairs_loader *loader) {
    loader->left.n = 0;
    loader->right.n = 0;
}

/* With an explicit prompt, a side holds the answer alone. */
static qa_status check_answer_first(const json_t *side, const char *name, qa_error *err) {
    const json_t *role = json_object_get(json_array_get(side, 0), "role");
    if (json_is_string(role) && strcmp(json_string_value(role), "assistant") != 0) {
        return qa_fail(
            err, QA_ERR_FORMAT,
            "\"%s\"[0] has the role \"%.40s\": beside a \"prompt\", \"%s\" holds the assistant's answer alone; "
            "leave \"prompt\" out where it holds the whole dialogue",
            name, json_string_value(role), name);
    }
    return QA_OK;
}

static qa_status add_messages(qa_pairs_loader *loader, const json_t *element, qa_error *err) {
    const json_t *prompt = member(element, "prompt");
    const json_t *chosen = member(element, "chosen");
    const json_t *rejected = member(element, "rejected");
    clear_dialogues(loader);
    if (prompt != NULL) {
        QA_TRY(check_answer_first(chosen, "chosen", err));
        QA_TRY(check_answer_first(rejected, "rejected", err));
        QA_TRY(qa_dialogue_push_json(&loader->left, prompt, "prompt", err));
        QA_TRY(qa_dialogue_push_json(&loader->right, prompt, "prompt", err));
    }
    QA_TRY(qa_dialogue_push_json(&loader->left, chosen, "chosen", err));
    QA_TRY(qa_dialogue_push_json(&loader->right, rejected, "rejected", err));
    return qa_pairs_add_dialogues(loader, err);
}

static qa_status add_hh(qa_pairs_loader *loader, const json_t *element, qa_error *err) {
    const json_t *chosen = member(element, "chosen");
    const json_t *rejected = member(element, "rejected");
    clear_dialogues(loader);
    QA_TRY(qa_dialogue_push_hh(&loader->left, json_string_value(chosen), json_string_length(chosen), "chosen", err));
    QA_TRY(qa_dialogue_push_hh(&loader->right, json_string_value(rejected), json_string_length(rejected), "rejected",
                               err));
    return qa_pairs_add_dialogues(loader, err);
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

static qa_status push_scored(qa_dialogue *dialogue, const json_t *texts, size_t index, qa_error *err) {
    char name[32];
    (void)snprintf(name, sizeof name, "\"text\"[%zu]", index);
    const json_t *text = json_array_get(texts, index);
    dialogue->n = 0;
    return qa_dialogue_push_marked(dialogue, json_string_value(text), json_string_length(text), name, err);
}

static qa_status add_scored(qa_pairs_loader *loader, const json_t *element, qa_error *err) {
    const json_t *texts = member(element, "text");
    const json_t *scores = member(element, "score");
    QA_TRY(check_scored(texts, scores, err));
    bool tied = true;
    for (size_t i = 0; i < json_array_size(texts) && !loader->full; i++) {
        for (size_t j = 0; j < json_array_size(texts) && !loader->full; j++) {
            if (json_number_value(json_array_get(scores, i)) <= json_number_value(json_array_get(scores, j))) {
                continue;
            }
            tied = false;
            QA_TRY(push_scored(&loader->left, texts, i, err));
            QA_TRY(push_scored(&loader->right, texts, j, err));
            QA_TRY(qa_pairs_add_dialogues(loader, err));
        }
    }
    return tied ? qa_pairs_skip(loader, QA_SKIP_SCORES_TIED, NULL, err) : QA_OK;
}

/* ---- form 6: one query, a response per domain; the chosen domain is preferred to each other ---- */

/* The keys of an object as "a, b, c", cut to fit. */
static void list_keys(json_t *object, char *list, size_t size) {
    list[0] = '\0';
    const char *key = NULL;
    json_t *value = NULL;
    size_t used = 0;
    json_object_foreach(object, key, value) {
        int written = snprintf(list + used, size - used, "%s%s", used > 0 ? ", " : "", key);
        if (written < 0 || (size_t)written >= size - used) {
            return;
        }
        used += (size_t)written;
    }
}

static qa_status check_domains(const qa_pairs_loader *loader, const json_t *query, json_t *responses, qa_error *err) {
    if (!json_is_string(query) || !json_is_object(responses)) {
        return qa_fail(err, QA_ERR_FORMAT, "\"query\" must be a string and \"responses\" an object of strings");
    }
    char domains[256];
    list_keys(responses, domains, sizeof domains);
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
    const json_t *query = member(element, "query");
    json_t *responses = member(element, "responses");
    QA_TRY(check_domains(loader, query, responses, err));
    const json_t *preferred = json_object_get(responses, loader->options->dsp_domain);
    const char *domain = NULL;
    json_t *other = NULL;
    json_object_foreach(responses, domain, other) {
        if (other != preferred) {
            QA_TRY(set_exchange(&loader->left, query, preferred, err));
            QA_TRY(set_exchange(&loader->right, query, other, err));
            QA_TRY(qa_pairs_add_dialogues(loader, err));
        }
    }
    return QA_OK;
}

/* ---- form 7: token ids ---- */

/* An integer that no int32 holds is no token's id; -1 stands for it and is skipped as out of range. */
static qa_status read_ids(const json_t *element, const char *key, qa_ids *ids, qa_error *err) {
    const json_t *list = member(element, key);
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
    const json_t *flag = member(element, key);
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
    loader->seen.late_ends += ended > 0 && !*terminal ? 1 : 0;
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
    return qa_pairs_add_ids(loader, chosen_terminal, rejected_terminal, err);
}

/* ---- single responses ---- */

/* Without the key a response ends where it ends. */
static qa_status read_ended(const json_t *element, bool *terminal, qa_error *err) {
    const json_t *flag = member(element, "terminal");
    *terminal = flag == NULL || json_is_true(flag);
    return flag == NULL || json_is_boolean(flag) ? QA_OK
                                                 : qa_fail(err, QA_ERR_FORMAT, "\"terminal\" must be true or false");
}

static qa_status add_response(qa_pairs_loader *loader, const json_t *element, qa_error *err) {
    bool terminal = true;
    QA_TRY(read_ended(element, &terminal, err));
    clear_dialogues(loader);
    QA_TRY(qa_dialogue_push_json(&loader->left, member(element, "messages"), "messages", err));
    return qa_pairs_add_response(loader, terminal, err);
}

static qa_status add_completion(qa_pairs_loader *loader, const json_t *element, qa_error *err) {
    bool terminal = true;
    QA_TRY(read_ended(element, &terminal, err));
    return qa_pairs_add_completion(loader, member(element, "prompt"), member(element, "completion"), terminal, err);
}

static qa_status add_response_ids(qa_pairs_loader *loader, const json_t *element, qa_error *err) {
    bool terminal = false;
    loader->rejected.n = 0;
    QA_TRY(read_ids(element, "prompt_ids", &loader->prompt, err));
    QA_TRY(read_ids(element, "response_ids", &loader->chosen, err));
    QA_TRY(read_terminal(loader, element, "terminal", &loader->chosen, &terminal, err));
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

qa_status qa_pairs_add_element(qa_pairs_loader *loader, const json_t *element, qa_error *err) {
    qa_pairs_form form = QA_FORM_NONE;
    QA_TRY(detect_form(element, loader->options->responses, &form, err));
    if (loader->pairs->form == QA_FORM_NONE) {
        QA_TRY(check_first(loader, form, err));
        loader->pairs->form = form;
    } else if (loader->pairs->form != form) {
        return qa_fail(err, QA_ERR_FORMAT, "found %s in a file that begins with %s", qa_pairs_form_name(form),
                       qa_pairs_form_name(loader->pairs->form));
    }
    switch (form) {
    case QA_FORM_NONE: break;
    case QA_FORM_PROMPTED_MESSAGES:
    case QA_FORM_MESSAGES: return add_messages(loader, element, err);
    case QA_FORM_PROMPTED_TEXT:
        return qa_pairs_add_text(loader, member(element, "prompt"), member(element, "chosen"),
                                 member(element, "rejected"), err);
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
