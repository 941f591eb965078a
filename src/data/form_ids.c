/* Form 7: "prompt_ids", "chosen_ids" and "rejected_ids" are tokens; and single responses as "prompt_ids" and
 * "response_ids". */
#include "base/buffer.h"
#include "base/try.h"
#include "data/form.h"

#include <string.h>

/* An integer that no int32 holds is no token's id; -1 stands for it and is skipped as out of range. */
static qa_status read_ids(const json_t *row, const char *key, qa_ids *ids, qa_error *err) {
    const json_t *list = qa_pairs_member(row, key);
    QA_FAIL_IF(!json_is_array(list), err, QA_ERR_FORMAT, "\"%s\" must be a list of token ids%s", key,
               list == NULL ? "; it is missing" : "");
    ids->n = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *id = json_array_get(list, i);
        QA_FAIL_IF(!json_is_integer(id), err, QA_ERR_FORMAT, "\"%s\"[%zu] must be an integer", key, i);
        json_int_t value = json_integer_value(id);
        QA_TRY(qa_ids_push(ids, value < 0 || value > INT32_MAX ? -1 : (int32_t)value, err));
    }
    return QA_OK;
}

/* A response whose key is missing is terminal when its last id ends an answer; under QA_RESPONSE_END_TEMPLATE white
 * space may stand behind that. */
static qa_status find_terminal(qa_pairs_loader *loader, const json_t *row, const char *key, const qa_ids *ids,
                               bool *terminal, qa_error *err) {
    size_t ended = 0;
    if (qa_pairs_member(row, key) != NULL) {
        return qa_pairs_flag(row, key, terminal, err);
    }
    QA_TRY(qa_answer_end_of(&loader->end, loader->tokenizer, ids->data, ids->n, &ended, err));
    *terminal = ended > 0 && (ended == ids->n || loader->options->response_end == QA_RESPONSE_END_TEMPLATE);
    qa_pairs_note(loader, QA_SEEN_LATE_END, ended > 0 && !*terminal);
    return QA_OK;
}

/* Of two ids or more: one alone may be how every text begins. */
static bool repeats_ids(const qa_ids *prompt, const qa_ids *response) {
    return prompt->n > 1 && response->n >= prompt->n &&
           memcmp(prompt->data, response->data, prompt->n * sizeof prompt->data[0]) == 0;
}

static qa_status add_id_row(qa_pairs_loader *loader, const json_t *row, qa_error *err) {
    const bool single = loader->pairs->form->responses;
    const qa_ids *prompt = &loader->prompt;
    bool chosen_terminal = false, rejected_terminal = false;
    loader->rejected.n = 0;
    QA_TRY(read_ids(row, "prompt_ids", &loader->prompt, err));
    QA_TRY(read_ids(row, single ? "response_ids" : "chosen_ids", &loader->chosen, err));
    QA_TRY(single ? QA_OK : read_ids(row, "rejected_ids", &loader->rejected, err));
    QA_TRY(find_terminal(loader, row, single ? "terminal" : "chosen_terminal", &loader->chosen, &chosen_terminal, err));
    QA_TRY(single ? QA_OK
                  : find_terminal(loader, row, "rejected_terminal", &loader->rejected, &rejected_terminal, err));
    const bool repeated = repeats_ids(prompt, &loader->chosen) && (single || repeats_ids(prompt, &loader->rejected));
    QA_TRY(qa_pairs_note_or_refuse(loader, QA_SEEN_REPEATED_PROMPT, repeated, err));
    return qa_pairs_add_ids(loader, chosen_terminal, rejected_terminal, err);
}

const qa_form qa_form_ids = {.name = "token ids",
                             .needs = "\"prompt_ids\", \"chosen_ids\" and \"rejected_ids\"",
                             .keys =
                                 (const char *const[]){"prompt_ids", "chosen_ids", "rejected_ids", "chosen_terminal",
                                                       "rejected_terminal", "label_start", "line", NULL},
                             .needed = 3,
                             .kind = QA_PAIRS_IDS,
                             .add = add_id_row};

const qa_form qa_form_response_ids = {
    .name = "single responses as token ids",
    .needs = "\"prompt_ids\" and \"response_ids\"",
    .keys = (const char *const[]){"prompt_ids", "response_ids", "terminal", "label", NULL},
    .needed = 2,
    .kind = QA_PAIRS_IDS,
    .responses = true,
    .add = add_id_row};
