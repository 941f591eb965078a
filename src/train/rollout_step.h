/* Answers that the policy wrote, through the model: what it and the base model gave their tokens, and the gradient of
 * what is learned of them. Many answers run at once, each behind its prompt as a sequence of its own, in one workspace.
 */
#ifndef QA_TRAIN_ROLLOUT_STEP_H
#define QA_TRAIN_ROLLOUT_STEP_H

#include "methods/method.h"
#include "model/adapter.h"
#include "model/weights.h"
#include "train/gradient_tree.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where an answer's ids are, and its place in the arrays of a step's tokens. */
typedef struct qa_rollout_place {
    const int32_t *ids; /* [n_prompt + n] */
    size_t n_prompt, n; /* each >= 1 */
    size_t first_token; /* of all answers' tokens */
} qa_rollout_place;

/* Arrays over the tokens of all answers of a step. */
typedef struct qa_rollout_tokens {
    double *log_old, *log_ref; /* log pi and log pi1 of the token */
    double *full, *entropy;    /* KL(pi || pi1) and the entropy of pi at its state, nats */
    double *value;             /* V of its state, with a head */
} qa_rollout_tokens;

typedef struct qa_rollout_limits {
    size_t longest;     /* tokens of a prompt and its answer */
    size_t pass_tokens; /* that run at once, if the longest is not longer */
    bool values, backward, recompute;
} qa_rollout_limits;

typedef struct qa_rollout_step qa_rollout_step;

QA_MUST_CHECK qa_status qa_rollout_step_bytes(const qa_model *model, const qa_lora_options *lora,
                                              qa_rollout_limits limits, size_t *bytes, qa_error *err);
/* Model and adapter are borrowed; head: w[d] and b of the values (train/value_head.h), NULL without. */
QA_MUST_CHECK qa_status qa_rollout_step_create(qa_rollout_step **step, qa_model *model, const qa_adapter *adapter,
                                               const qa_real *head, qa_rollout_limits limits, qa_error *err);
void qa_rollout_step_free(qa_rollout_step *step); /* NULL is allowed */

/* Asked before every pass while it is set; true: QA_ERR_INTERRUPTED. */
void qa_rollout_step_watch(qa_rollout_step *step, bool (*should_stop)(void *user), void *user);

/* Fills the tokens' arrays for all n answers, which the ranks of the model's cluster share, as in learning. A number
 * that is none is QA_ERR_NAN naming the answer and the token. */
QA_MUST_CHECK qa_status qa_rollout_step_look(qa_rollout_step *step, const qa_rollout_place *places, size_t n,
                                             const qa_rollout_tokens *tokens, qa_error *err);

/* How a mini-batch is learned. */
typedef struct qa_rollout_lesson {
    const qa_rollout_place *places; /* of all answers */
    const qa_rollout *answers;
    const size_t *order; /* [n] those of the mini-batch */
    size_t n;
    const qa_rollout_rule *rule;
    const qa_rollout_options *options;
    uint64_t key; /* of the dropout masks; 0: none */
    bool lora_dropout;
} qa_rollout_lesson;

/* Adds the loss of the mini-batch to sums; the tree's sum becomes its gradient, [adapter->count] and behind that [d +
 * 1] with a head. A leaf is what runs at once. */
QA_MUST_CHECK qa_status qa_rollout_step_learn(qa_rollout_step *step, const qa_rollout_lesson *lesson,
                                              qa_gradient_tree *tree, qa_rollout_sums *sums, qa_error *err);

#endif
