/* Prompts as a set of pairs without responses: what a method takes that writes its own. */
#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "data/form.h"
#include "data/prompts.h"
#include "text/chat.h"

#include <stdlib.h>

static const qa_form dialogue_prompts = {.name = "prompts of dialogues", .kind = QA_PAIRS_DIALOGUES};
static const qa_form text_prompts = {.name = "text prompts", .kind = QA_PAIRS_TEXT};

static qa_status push_bare_prompt(qa_pairs *pairs, const qa_prompt *prompt, size_t max_length, qa_error *err) {
    if (prompt->ids.n >= max_length) {
        qa_skip_report *report = &pairs->report;
        if (report->count[QA_SKIP_PROMPT_TOO_LONG]++ == 0) {
            report->first_line[QA_SKIP_PROMPT_TOO_LONG] = prompt->line;
        }
        return QA_OK;
    }
    QA_TRY(QA_GROW(pairs->items, pairs->capacity, pairs->n + 1, err, "%zu prompts", pairs->n + 1));
    pairs->items[pairs->n++] =
        (qa_pair){.prompt_len = prompt->ids.n, .label_start = prompt->ids.n, .line = prompt->line};
    pairs->longest_prompt = prompt->ids.n > pairs->longest_prompt ? prompt->ids.n : pairs->longest_prompt;
    return qa_ids_append(&pairs->ids, prompt->ids.data, prompt->ids.n, err);
}

qa_status qa_pairs_of_prompts(qa_pairs **out, const qa_prompts *prompts, const qa_chat *chat, size_t max_length,
                              size_t most, qa_error *err) {
    qa_pairs *pairs = NULL;
    qa_status status = QA_OK;
    *out = NULL;
    QA_TRY(QA_NEW(pairs, 1, err, "%zu prompts", prompts->n));
    pairs->form = prompts->dialogues > 0 ? &dialogue_prompts : &text_prompts;
    if (chat != NULL) {
        pairs->chat = chat->which;
        pairs->chat_record = json_deep_copy(qa_chat_record(chat));
    }
    for (size_t i = 0; i < prompts->n && (most == 0 || pairs->n < most); i++) {
        QA_GOTO(failed, push_bare_prompt(pairs, &prompts->items[i], max_length, err));
    }
    if (pairs->n == 0) {
        status = qa_fail(err, QA_ERR_LIMIT, "none of %zu prompts is shorter than %zu tokens (max_length)", prompts->n,
                         max_length);
        goto failed;
    }
    qa_pairs_set_pointers(pairs);
    *out = pairs;
    return QA_OK;
failed:
    qa_pairs_free(pairs);
    return status;
}
