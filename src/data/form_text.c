/* Form 3: "prompt", "chosen" and "rejected" are strings, taken as they are; and single responses as a "prompt" and its
 * "completion", or its list of them. */
#include "base/try.h"
#include "data/form.h"
#include "text/utf8.h"

#include <string.h>

static bool is_text(const json_t *row) {
    return json_is_string(qa_pairs_member(row, "chosen")) && json_is_string(qa_pairs_member(row, "rejected"));
}

static qa_status check_text(const json_t *row, qa_error *err) {
    const json_t *prompt = qa_pairs_member(row, "prompt");
    return json_is_string(prompt) ? QA_OK : qa_columns_unlike(prompt, "strings", err);
}

static bool is_response_text(const json_t *row) {
    return json_is_string(qa_pairs_member(row, "prompt")) && json_is_string(qa_pairs_member(row, "completion"));
}

/* Whether the response says the prompt once more, or is a whole dialogue in HH-RLHF's notation: then the prompt stands
 * in front of itself. White space at the two's ends does not count. */
static bool repeats_prompt(const json_t *prompt, const json_t *response) {
    const char *asked = json_string_value(prompt), *said = json_string_value(response);
    size_t asked_bytes = json_string_length(prompt), bytes = json_string_length(response);
    if (qa_begins_with(said, bytes, "\n\nHuman:")) {
        return true;
    }
    qa_strip(&asked, &asked_bytes);
    qa_strip(&said, &bytes);
    return asked_bytes > 0 && bytes >= asked_bytes && memcmp(said, asked, asked_bytes) == 0;
}

/* A single response has no rejected one. */
static qa_status add_strings(qa_pairs_loader *loader, const json_t *prompt, const json_t *chosen,
                             const json_t *rejected, bool terminal, qa_error *err) {
    const bool single = rejected == NULL;
    const bool repeated = repeats_prompt(prompt, chosen) && (single || repeats_prompt(prompt, rejected));
    /* Tables keep lists as strings: messages that were never read back are text here. */
    const bool json = qa_column_holds_messages(prompt) || qa_column_holds_messages(chosen);
    QA_TRY(qa_pairs_note_or_refuse(loader, QA_SEEN_REPEATED_PROMPT, repeated, err));
    QA_TRY(qa_pairs_note_or_refuse(loader, QA_SEEN_JSON_TEXT, json, err));
    return qa_pairs_add_text(loader, prompt, chosen, rejected, terminal, err);
}

static qa_status add_text_row(qa_pairs_loader *loader, const json_t *row, qa_error *err) {
    const bool single = loader->pairs->form->responses;
    bool terminal = true;
    QA_TRY(single ? qa_pairs_flag(row, "terminal", &terminal, err) : QA_OK);
    return add_strings(loader, qa_pairs_member(row, "prompt"), qa_pairs_member(row, single ? "completion" : "chosen"),
                       single ? NULL : qa_pairs_member(row, "rejected"), terminal, err);
}

static bool is_answer_texts(const json_t *row) {
    return json_is_string(qa_pairs_member(row, "prompt")) && qa_answer_list(row) != NULL;
}

static qa_status add_answer_texts(qa_pairs_loader *loader, const json_t *row, qa_error *err) {
    const json_t *answers = qa_answer_list(row);
    QA_TRY(qa_answer_list_check(row, err));
    for (size_t i = 0; i < json_array_size(answers); i++) {
        const json_t *answer = json_array_get(answers, i);
        QA_FAIL_IF(!json_is_string(answer), err, QA_ERR_FORMAT,
                   "answer %zu is %s; beside a \"prompt\" that is text the answers are strings", i,
                   qa_column_kind(answer));
        loader->answer = i;
        QA_TRY(add_strings(loader, qa_pairs_member(row, "prompt"), answer, NULL, true, err));
    }
    loader->answer = 0;
    return QA_OK;
}

const qa_form qa_form_text = {.name = "text with a prompt",
                              .keys = (const char *const[]){"prompt", "chosen", "rejected", NULL},
                              .needed = 3,
                              .kind = QA_PAIRS_TEXT,
                              .is = is_text,
                              .check = check_text,
                              .add = add_text_row};

const qa_form qa_form_response_text = {.name = "single responses as text",
                                       .needs = "\"prompt\" and \"completion\", both strings",
                                       .keys = (const char *const[]){"prompt", "completion", "terminal", "label", NULL},
                                       .needed = 2,
                                       .kind = QA_PAIRS_TEXT,
                                       .responses = true,
                                       .is = is_response_text,
                                       .add = add_text_row};

const qa_form qa_form_answer_texts = {.name = "answers to prompts as text",
                                      .keys = qa_answer_list_keys,
                                      .needed = 1,
                                      .kind = QA_PAIRS_TEXT,
                                      .responses = true,
                                      .is = is_answer_texts,
                                      .add = add_answer_texts};
