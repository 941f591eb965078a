/* Form 5: "text" holds whole exchanges and "score" a number for each; every text that scores higher than another is
 * preferred to it. */
#include "base/memory.h"
#include "base/try.h"
#include "data/form.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Pairs grow with the square of the texts: a small file must not become millions of them. */
enum { MOST_SCORED = 256 };

static qa_status check_scored(const json_t *texts, const json_t *scores, qa_error *err) {
    size_t n = json_array_size(texts);
    QA_FAIL_IF(!json_is_array(texts) || !json_is_array(scores) || n < 2 || n != json_array_size(scores), err,
               QA_ERR_FORMAT, "\"text\" and \"score\" must be lists of the same length, two or more; found %zu and %zu",
               json_array_size(texts), json_array_size(scores));
    QA_FAIL_IF(n > MOST_SCORED, err, QA_ERR_LIMIT,
               "\"text\" holds %zu texts, at most %d make pairs (every two of them do)", n, MOST_SCORED);
    for (size_t i = 0; i < n; i++) {
        QA_FAIL_IF(!json_is_string(json_array_get(texts, i)), err, QA_ERR_FORMAT, "\"text\"[%zu] must be a string", i);
        QA_FAIL_IF(!json_is_number(json_array_get(scores, i)), err, QA_ERR_FORMAT, "\"score\"[%zu] must be a number",
                   i);
    }
    return QA_OK;
}

static qa_status push_scored(qa_dialogue *dialogue, const json_t *texts, size_t index, bool *loose, qa_error *err) {
    char name[32];
    (void)snprintf(name, sizeof name, "\"text\"[%zu]", index);
    const json_t *text = json_array_get(texts, index);
    dialogue->n = 0;
    return qa_dialogue_push_exchange(dialogue, json_string_value(text), json_string_length(text), name, loose, err);
}

/* Text i preferred to text j; both are taken apart when they are first met. */
static qa_status add_scored_pair(qa_pairs_loader *loader, const json_t *texts, qa_dialogue *dialogues, size_t i,
                                 size_t j, bool *loose, qa_error *err) {
    const qa_dialogue left = loader->left, right = loader->right;
    QA_TRY(dialogues[i].n > 0 ? QA_OK : push_scored(&dialogues[i], texts, i, loose, err));
    QA_TRY(dialogues[j].n > 0 ? QA_OK : push_scored(&dialogues[j], texts, j, loose, err));
    loader->left = dialogues[i];
    loader->right = dialogues[j];
    const qa_status status = qa_pairs_add_dialogues(loader, QA_PROMPT_IMPLICIT, true, err);
    loader->left = left;
    loader->right = right;
    return status;
}

static qa_status add_scored(qa_pairs_loader *loader, const json_t *row, qa_error *err) {
    const json_t *texts = qa_pairs_member(row, "text");
    const json_t *scores = qa_pairs_member(row, "score");
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

const qa_form qa_form_scored = {.name = "DSP texts with scores",
                                .needs = "\"text\" and \"score\"",
                                .keys = (const char *const[]){"text", "score", NULL},
                                .needed = 2,
                                .kind = QA_PAIRS_DIALOGUES,
                                .common = true,
                                .add = add_scored};
