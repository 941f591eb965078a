/* A reward model: a model with a classification head in place of the language model's, "...ForSequenceClassification"
 * in Hugging Face's terms, which says how good an answer is.
 *
 *     score_k(x) = score.weight[k] . h(x)      h: the last layer after the final norm, at the last token of x
 *
 * The last token is the last one that is not config.json's pad_token_id, as transformers has it. Of several outputs one
 * is read: the published recipe has two, both trained alike, and reads the second. */
#ifndef QA_TRAIN_REWARD_MODEL_H
#define QA_TRAIN_REWARD_MODEL_H

#include "model/pass.h"
#include "model/weights.h"

typedef struct qa_reward_model qa_reward_model;

#define QA_REWARD_LAST_OUTPUT ((size_t)-1)

/* Loads a folder of one of the families that `qadapter info --supported` marks. base: the language model whose answers
 * it is to score; one that it was not made from, or whose tokenizer is another, is QA_ERR_MISMATCH. A folder without
 * a record of its base (another program's) is only warned of where the tokenizers agree. NULL: nothing is compared. */
QA_MUST_CHECK qa_status qa_reward_model_load(qa_reward_model **reward_model, qa_context *context, const char *dir,
                                             const qa_model *base, qa_error *err);

/* The same of a model that is there already, and borrowed: while it is trained. */
QA_MUST_CHECK qa_status qa_reward_model_of(qa_reward_model **reward_model, qa_model *model, qa_error *err);
void qa_reward_model_free(qa_reward_model *reward_model); /* NULL is allowed */

size_t qa_reward_model_outputs(const qa_reward_model *reward_model);
const qa_model *qa_reward_model_model(const qa_reward_model *reward_model); /* its fingerprint, its context */

/* scores[n]: of every sequence, prompt and answer in one, of at least one token, what output number `output` says, from
 * 0; QA_REWARD_LAST_OUTPUT. A score is the same to the bit in the same call; in another company it may differ by
 * rounding. A sequence beyond the model's context or vocabulary, and a score that is no number, are errors that name
 * it. */
QA_MUST_CHECK qa_status qa_reward_model_scores(qa_reward_model *reward_model, const qa_tokens *sequences, size_t n,
                                               size_t output, double *scores, qa_error *err);

/* From here on the ranks of the model's cluster share the passes of such a call, which all of them make. */
void qa_reward_model_share(qa_reward_model *reward_model);

/* The same of n answers to one prompt, each of at least one token. */
QA_MUST_CHECK qa_status qa_reward_model_answers(qa_reward_model *reward_model, qa_tokens prompt,
                                                const qa_tokens *answers, size_t n, size_t output, double *scores,
                                                qa_error *err);

/* ---- for its training ---- */

/* Which of ids[n], n >= 1, is the last token. */
size_t qa_last_token(const qa_config *config, const int32_t *ids, size_t n);

/* score_k of the head's input state[d]. */
double qa_score_of_state(const qa_model *model, const qa_real *state, size_t output);

#endif
