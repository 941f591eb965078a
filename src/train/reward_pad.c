/* See reward_pad.h. */
#include "train/reward_pad.h"

#include "base/memory.h"
#include "base/try.h"
#include "io/file.h"
#include "io/json.h"
#include "qadapter/text.h"

#include <stdlib.h>
#include <string.h>

/* The file of the model's folder; *root NULL: it is not there. */
static qa_status load_beside(json_t **root, const char *dir, const char *name, qa_error *err) {
    char *path = NULL;
    *root = NULL;
    QA_TRY(qa_join_path(&path, dir, name, err));
    const qa_status status = qa_holds(dir, name) ? qa_json_load(root, path, err) : QA_OK;
    free(path);
    return status;
}

/* The id of the tokenizer's pad_token; -1: it has none. */
static qa_status tokenizer_pad(int32_t *pad, const char *dir, qa_error *err) {
    json_t *root = NULL;
    qa_tokenizer *tokenizer = NULL;
    qa_status status = QA_OK;
    *pad = -1;
    QA_TRY(load_beside(&root, dir, "tokenizer_config.json", err));
    const json_t *value = json_object_get(root, "pad_token");
    const char *text = json_string_value(json_is_object(value) ? json_object_get(value, "content") : value);
    if (text != NULL && qa_holds(dir, "tokenizer.json")) {
        QA_GOTO(done, qa_tokenizer_load(&tokenizer, dir, err));
        for (size_t id = 0; *pad < 0 && id < qa_tokenizer_vocab_size(tokenizer); id++) {
            const char *token = qa_tokenizer_token(tokenizer, (int32_t)id);
            *pad = token != NULL && strcmp(token, text) == 0 ? (int32_t)id : -1;
        }
    }
done:
    qa_tokenizer_free(tokenizer);
    json_decref(root);
    return status;
}

static qa_status config_pad(int32_t *pad, const char *dir, qa_error *err) {
    json_t *root = NULL;
    QA_TRY(load_beside(&root, dir, "config.json", err));
    const json_t *value = json_object_get(root, "pad_token_id");
    const json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    *pad = id >= 0 && id <= INT32_MAX ? (int32_t)id : -1;
    json_decref(root);
    return QA_OK;
}

static void mark_ends(bool *ends, const qa_pairs *pairs) {
    for (size_t i = 0; pairs != NULL && i < qa_pairs_count(pairs); i++) {
        const qa_pair *pair = qa_pairs_at(pairs, i);
        ends[pair->chosen[pair->chosen_len - 1]] = true;
        ends[pair->rejected_len == 0 ? pair->chosen[pair->chosen_len - 1] : pair->rejected[pair->rejected_len - 1]] =
            true;
    }
}

qa_status qa_reward_pad(int32_t *pad, const qa_model *model, const qa_pairs *train, const qa_pairs *evaluation,
                        qa_error *err) {
    const qa_config *config = &model->config;
    int32_t candidates[] = {-1, -1, config->bos_id, (int32_t)config->vocab_size - 1};
    enum { N_CANDIDATES = sizeof candidates / sizeof candidates[0] };
    bool *ends = NULL;
    qa_status status = QA_OK;
    *pad = -1;
    QA_TRY(tokenizer_pad(&candidates[0], model->dir, err));
    QA_TRY(config_pad(&candidates[1], model->dir, err));
    QA_TRY(QA_NEW(ends, config->vocab_size, err, "the tokens that end an answer"));
    mark_ends(ends, train);
    mark_ends(ends, evaluation);
    for (size_t i = 0; i < config->n_eos; i++) {
        ends[config->eos_ids[i]] = true;
    }
    while (candidates[N_CANDIDATES - 1] >= 0 && ends[candidates[N_CANDIDATES - 1]]) {
        candidates[N_CANDIDATES - 1]--;
    }
    for (size_t i = 0; *pad < 0 && i < N_CANDIDATES; i++) {
        const bool fits = candidates[i] >= 0 && (size_t)candidates[i] < config->vocab_size && !ends[candidates[i]];
        *pad = fits ? candidates[i] : -1;
    }
    if (*pad < 0) {
        status =
            qa_fail(err, QA_ERR_ARGUMENT, "every token of the vocabulary ends an answer: none is left to pad with");
    } else if (candidates[0] >= 0 && *pad != candidates[0]) {
        qa_log(&model->context->logger, QA_LOG_WARNING,
               "the tokenizer's pad token (%d) ends answers, too, and transformers would not read a score there: the "
               "reward model's pad_token_id is %d instead; pad batches with that one",
               (int)candidates[0], (int)*pad);
    }
    free(ends);
    return status;
}
