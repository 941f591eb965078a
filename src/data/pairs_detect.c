/* Which of the seven forms an example has, or of the three of a single response, told from its keys and their types;
 * and what to say of one that has none. A row that is complete in one form has that form, whatever else it holds: its
 * other keys are columns that nothing reads (columns.h). */
#include "data/pairs.h"

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

/* ---- what is there ---- */

json_t *qa_pairs_member(const json_t *element, const char *key) {
    json_t *found = json_object_get(element, key);
    return json_is_null(found) ? NULL : found;
}

json_t *qa_pairs_prompt(const json_t *element) {
    json_t *prompt = qa_pairs_member(element, "prompt");
    const json_t *chosen = qa_pairs_member(element, "chosen");
    const char *role = json_string_value(json_object_get(json_array_get(chosen, 0), "role"));
    const bool whole = role != NULL && strcmp(role, "assistant") != 0;
    return prompt != NULL && whole && qa_column_is_empty(prompt) ? NULL : prompt;
}

static bool has(const json_t *element, const char *key) { return qa_pairs_member(element, key) != NULL; }

static bool is_string(const json_t *element, const char *key) { return json_is_string(qa_pairs_member(element, key)); }

static const char *kind_of(const json_t *value) {
    switch (json_typeof(value)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return "a string";
    case JSON_INTEGER:
    case JSON_REAL: return "a number";
    case JSON_TRUE:
    case JSON_FALSE: return "true or false";
    case JSON_NULL: return "null";
    }
    return "nothing";
}

/* Messages are a list of objects, or one object. */
static bool is_messages(const json_t *value) { return json_is_array(value) || json_is_object(value); }

/* ---- forms 1 to 4 ---- */

static bool begins_turn(const json_t *text) {
    return strncmp(json_string_value(text), "\n\nHuman:", 8) == 0 ||
           strncmp(json_string_value(text), "\n\nAssistant:", 12) == 0;
}

/* Two strings without a prompt that are no dialogues: the prompt is under another name. */
static qa_status check_dialogue_strings(const json_t *element, const json_t *chosen, const json_t *rejected,
                                        qa_error *err) {
    char found[QA_KEYS_BYTES];
    if (begins_turn(chosen) || begins_turn(rejected)) {
        return QA_OK;
    }
    if (qa_column_holds_messages(chosen)) {
        return qa_fail(err, QA_ERR_FORMAT,
                       "\"chosen\" is a conversation written as JSON into a string: write its messages as a list");
    }
    qa_columns_list(element, true, found);
    return qa_fail(err, QA_ERR_FORMAT,
                   "\"prompt\" is missing%s%s%s, or give whole dialogues in HH-RLHF's notation (\"chosen\" is not an "
                   "HH-RLHF dialogue: it must begin with two newlines and \"Human: \")",
                   found[0] != '\0' ? " (found " : "", found, found[0] != '\0' ? "): rename it" : ": add it");
}

/* Forms 1 to 4: "chosen" and "rejected", and perhaps "prompt", all strings or all messages. A prompt string beside
 * messages may be what the dialogues hold already, which their reader finds out. */
static qa_status detect_sides(const json_t *element, qa_pairs_form *form, qa_error *err) {
    const json_t *prompt = qa_pairs_prompt(element);
    const json_t *chosen = qa_pairs_member(element, "chosen");
    const json_t *rejected = qa_pairs_member(element, "rejected");
    const bool strings = json_is_string(chosen) && json_is_string(rejected);
    if (!strings && !(is_messages(chosen) && is_messages(rejected))) {
        return qa_fail(err, QA_ERR_FORMAT,
                       "\"chosen\" and \"rejected\" must both be strings or both be lists of messages; found %s and %s",
                       kind_of(chosen), kind_of(rejected));
    }
    if (prompt != NULL && (strings ? !json_is_string(prompt) : !is_messages(prompt) && !json_is_string(prompt))) {
        return qa_pairs_unlike(kind_of(prompt), strings, err);
    }
    if (strings) {
        *form = prompt != NULL ? QA_FORM_PROMPTED_TEXT : QA_FORM_HH;
        return prompt != NULL ? QA_OK : check_dialogue_strings(element, chosen, rejected, err);
    }
    *form = is_messages(prompt) ? QA_FORM_PROMPTED_MESSAGES : QA_FORM_MESSAGES;
    return QA_OK;
}

qa_status qa_pairs_unlike(const char *found, bool strings, qa_error *err) {
    return qa_fail(err, QA_ERR_FORMAT,
                   "\"prompt\" is %s but \"chosen\" and \"rejected\" are %s; make them alike, or leave \"prompt\" "
                   "out where \"chosen\" and \"rejected\" are whole dialogues",
                   found, strings ? "strings" : "lists of messages");
}

/* ---- single responses ---- */

static qa_status detect_response(const json_t *element, qa_pairs_form *form, qa_error *err) {
    char found[QA_FOUND_BYTES];
    const bool ids = has(element, "prompt_ids") || has(element, "response_ids");
    const bool whole_ids = has(element, "prompt_ids") && has(element, "response_ids");
    const bool text = is_string(element, "prompt") && is_string(element, "completion");
    const bool messages = json_is_array(qa_pairs_member(element, "messages"));
    if (whole_ids || (ids && !text && !messages)) {
        *form = QA_FORM_RESPONSE_IDS;
    } else if (text) {
        *form = QA_FORM_RESPONSE_TEXT;
    } else if (messages) {
        *form = QA_FORM_RESPONSE;
    } else {
        return qa_fail(err, QA_ERR_FORMAT,
                       "a response needs \"messages\", a list whose last message is the assistant's, or \"prompt\" and "
                       "\"completion\", both strings, or \"prompt_ids\" and \"response_ids\"%s%s",
                       has(element, "chosen") ? "; this looks like preference pairs" : "",
                       qa_columns_found(element, found));
    }
    return QA_OK;
}

/* ---- which form ---- */

/* What a row without a form is taken for. */
static const char *looks_like(const json_t *element) {
    if (has(element, "conversations")) {
        return ": this looks like ShareGPT's form; write {\"role\", \"content\"} for its {\"from\", \"value\"} and "
               "name the "
               "two dialogues \"chosen\" and \"rejected\"";
    }
    if (has(element, "label")) {
        return ": this looks like unpaired examples with labels (KTO), which no method here learns from; make pairs of "
               "a "
               "good and a bad answer to the same prompt";
    }
    if (has(element, "messages") || has(element, "completion")) {
        return ": this looks like single responses, which have nothing that they are preferred to (--replay-data and "
               "pretrain --corpus take such files)";
    }
    return "";
}

static qa_status no_form(const json_t *element, qa_error *err) {
    const bool chosen = has(element, "chosen"), rejected = has(element, "rejected");
    const bool null = json_object_get(element, chosen ? "rejected" : "chosen") != NULL;
    char found[QA_FOUND_BYTES];
    return qa_fail(err, QA_ERR_FORMAT,
                   "%s; an example needs \"chosen\" and \"rejected\", or \"query\" and \"responses\", or "
                   "\"text\" and \"score\", or \"prompt_ids\", \"chosen_ids\" and \"rejected_ids\"%s%s",
                   !chosen && !rejected ? "\"chosen\" and \"rejected\" are missing"
                   : null    ? (chosen ? "\"rejected\" is missing (it is null)" : "\"chosen\" is missing (it is null)")
                   : !chosen ? "\"chosen\" is missing"
                             : "\"rejected\" is missing",
                   qa_columns_found(element, found), looks_like(element));
}

/* A query with a response per domain, as far as it was asked for or nothing else is there. */
static bool is_domains(const json_t *element) { return has(element, "query") && has(element, "responses"); }

qa_status qa_pairs_detect(const json_t *element, const qa_pairs_options *options, qa_pairs_form *form, qa_error *err) {
    if (!json_is_object(element)) {
        return qa_fail(err, QA_ERR_FORMAT, "an example must be a JSON object, found %s", kind_of(element));
    }
    if (options->responses) {
        return detect_response(element, form, err);
    }
    const size_t ids = (has(element, "prompt_ids") ? 1u : 0u) + (has(element, "chosen_ids") ? 1u : 0u) +
                       (has(element, "rejected_ids") ? 1u : 0u);
    if (ids == 3) {
        *form = QA_FORM_IDS;
    } else if (is_domains(element) && options->dsp_domain != NULL) {
        *form = QA_FORM_DOMAINS;
    } else if (has(element, "chosen") && has(element, "rejected")) {
        return detect_sides(element, form, err);
    } else if (ids > 0) {
        *form = QA_FORM_IDS; /* whose reader says what is missing */
    } else if (is_domains(element)) {
        *form = QA_FORM_DOMAINS;
    } else if (has(element, "text") && has(element, "score")) {
        *form = QA_FORM_SCORED;
    } else {
        return no_form(element, err);
    }
    return QA_OK;
}

const char *const *qa_pairs_form_keys(qa_pairs_form form) {
    static const char *const SIDES[] = {"prompt", "chosen", "rejected", NULL};
    static const char *const SCORED[] = {"text", "score", NULL};
    static const char *const DOMAINS[] = {"query", "responses", NULL};
    static const char *const IDS[] = {"prompt_ids",        "chosen_ids",  "rejected_ids", "chosen_terminal",
                                      "rejected_terminal", "label_start", "line",         NULL};
    static const char *const RESPONSE[] = {"messages", "terminal", NULL};
    static const char *const RESPONSE_TEXT[] = {"prompt", "completion", "terminal", NULL};
    static const char *const RESPONSE_IDS[] = {"prompt_ids", "response_ids", "terminal", NULL};
    switch (form) {
    case QA_FORM_SCORED: return SCORED;
    case QA_FORM_DOMAINS: return DOMAINS;
    case QA_FORM_IDS: return IDS;
    case QA_FORM_RESPONSE: return RESPONSE;
    case QA_FORM_RESPONSE_TEXT: return RESPONSE_TEXT;
    case QA_FORM_RESPONSE_IDS: return RESPONSE_IDS;
    case QA_FORM_NONE:
    case QA_FORM_PROMPTED_MESSAGES:
    case QA_FORM_MESSAGES:
    case QA_FORM_PROMPTED_TEXT:
    case QA_FORM_HH: break;
    }
    return SIDES;
}
