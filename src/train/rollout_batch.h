/* The answers of one step: written by the policy as it is, scored, and what is found of them. */
#ifndef QA_TRAIN_ROLLOUT_BATCH_H
#define QA_TRAIN_ROLLOUT_BATCH_H

#include "base/arena.h"
#include "qadapter/infer.h"
#include "qadapter/train.h"
#include "train/reward_model.h"
#include "train/rollout_step.h"

/* Zero-initialise; free with qa_rollout_batch_free. */
typedef struct qa_rollout_batch {
    size_t n, most;             /* answers, and how many there may be */
    size_t tokens, most_tokens; /* of all answers */
    qa_ids ids;                 /* every prompt with its answer */
    qa_rollout_place *places;   /* [most] */
    qa_rollout *answers;        /* [most], whose arrays lie in those below */
    bool *ended;                /* [most] an end token was sampled */
    double *scores;             /* [most] as they were given */
    qa_ids *sequences;          /* [most] prompt and answer, borrowed from ids */
    size_t *starts;             /* [most] the answer's first token in its sequence */
    qa_tokens *scored;          /* [most] the same for the reward model */
    qa_rollout_tokens found;    /* [most_tokens] each */
    double *penalty, *reward, *advantage, *ret;
    qa_arena arena;
} qa_rollout_batch;

QA_MUST_CHECK qa_status qa_rollout_batch_create(qa_rollout_batch *batch, size_t most, size_t most_tokens,
                                                qa_error *err);
void qa_rollout_batch_free(qa_rollout_batch *batch);

/* Who writes, and to what. */
typedef struct qa_rollout_asking {
    qa_model *model;
    const qa_adapter *adapter;
    const qa_ids *prompts; /* [n_prompts] */
    size_t n_prompts;
    const qa_train_options *options; /* objective, rollout, end_ids, should_stop */
    uint64_t seed;                   /* of this step's samples */
} qa_rollout_asking;

/* Writes the step's answers, options->rollout.samples to every prompt, at temperature 1. */
QA_MUST_CHECK qa_status qa_rollout_batch_write(qa_rollout_batch *batch, const qa_rollout_asking *asking, qa_error *err);

/* Scores them, by options->score or the reward model. A score that is no number is QA_ERR_NAN. */
QA_MUST_CHECK qa_status qa_rollout_batch_score(qa_rollout_batch *batch, const qa_train_options *options,
                                               qa_reward_model *reward_model, qa_error *err);

/* The penalties of the tokens, of what was found of them. */
void qa_rollout_batch_penalise(qa_rollout_batch *batch, qa_kl_estimator which);

/* Means over the answers and their tokens: score, kl, kl_exact, entropy, length, ended, empty. */
void qa_rollout_batch_measure(const qa_rollout_batch *batch, qa_rollout_metrics *metrics);

#endif
