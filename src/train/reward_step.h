/* One pair through a reward model: both scores, the Bradley-Terry loss (rl/bradley_terry.h), and its gradient with
 * respect to every weight. The prompt is run once for both answers (model/pass.h), but where the model's rotary
 * frequencies depend on the length of a sequence. */
#ifndef QA_TRAIN_REWARD_STEP_H
#define QA_TRAIN_REWARD_STEP_H

#include "model/trainable.h"
#include "qadapter/data.h"
#include "qadapter/objective.h"
#include "train/pair_step.h"

typedef struct qa_reward_step qa_reward_step;

/* Room for pairs within the limits, of which max_prompt, max_response, max_rows, backward and recompute are read. The
 * model is borrowed, and has a classification head of objective->reward_outputs outputs. */
QA_MUST_CHECK qa_status qa_reward_step_create(qa_reward_step **step, qa_model *model, const qa_objective *objective,
                                              qa_pair_limits limits, qa_error *err);
void qa_reward_step_free(qa_reward_step *step); /* NULL is allowed */

/* Bytes of a step of a model with such a head, the pass included. */
QA_MUST_CHECK qa_status qa_reward_step_bytes(const qa_model *model, qa_pair_limits limits, size_t *bytes,
                                             qa_error *err);

/* What was found of a pair. */
typedef struct qa_reward_scores {
    double loss;             /* its share of the loss over `pairs` pairs */
    double chosen, rejected; /* the output that is read: the last one */
    double right;            /* 1: chosen above rejected; 0.5: equal but for rounding; else 0 */
} qa_reward_scores;

/* With gradients, those of the pair's share of the loss are added to them. A score that is no number is QA_ERR_NAN that
 * says which. */
QA_MUST_CHECK qa_status qa_reward_step_run(qa_reward_step *step, const qa_pair *pair, double pairs,
                                           const qa_weight_gradients *gradients, qa_reward_scores *found,
                                           qa_error *err);

/* 1, 0.5 or 0, as qa_reward_scores has it: ties are scores that differ by no more than rounding makes of equal ones. */
double qa_score_is_above(double chosen, double rejected);

#endif
