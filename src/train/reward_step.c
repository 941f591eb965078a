/* See reward_step.h. The head is K rows of d numbers for two states: plain loops, sums in double. */
#include "train/reward_step.h"

#include "base/memory.h"
#include "base/try.h"
#include "rl/bradley_terry.h"
#include "train/reward_model.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct qa_reward_step {
    qa_model *model;
    qa_pass *pass;
    size_t outputs;
    double centering;
    bool by_length;           /* rotary frequencies depend on it: the two answers are sequences of their own */
    int32_t *ids;             /* [rows] of those sequences; NULL: not needed */
    double *scores, *dscores; /* [QA_SIDES x outputs] */
    qa_real *dstates;         /* [QA_SIDES x d] */
};

/* ---- memory ---- */

/* One state a side; sequences of their own hold the prompt twice. */
static qa_pass_limits reward_limits(const qa_model *model, const qa_pair_limits *limits) {
    const bool by_length = qa_config_rope_depends_on_length(&model->config);
    const size_t together = limits->max_prompt + QA_SIDES * limits->max_response;
    const size_t rows = limits->max_rows == 0 ? together : limits->max_rows;
    return (qa_pass_limits){.max_rows = rows + (by_length ? limits->max_prompt : 0),
                            .max_states = QA_SIDES,
                            .max_documents = by_length ? QA_SIDES : 0,
                            .backward = limits->backward,
                            .weights = limits->backward,
                            .recompute = limits->recompute};
}

qa_status qa_reward_step_bytes(const qa_model *model, qa_pair_limits limits, size_t *bytes, qa_error *err) {
    return qa_pass_bytes(model, NULL, reward_limits(model, &limits), bytes, err);
}

qa_status qa_reward_step_create(qa_reward_step **out, qa_model *model, const qa_objective *objective,
                                qa_pair_limits limits, qa_error *err) {
    *out = NULL;
    QA_FAIL_IF(model->config.labels != objective->reward_outputs, err, QA_ERR_MISMATCH,
               "%s: its classification head has %zu outputs, not %zu", model->dir, model->config.labels,
               objective->reward_outputs);
    const qa_pass_limits of_pass = reward_limits(model, &limits);
    const size_t scores = QA_SIDES * model->config.labels;
    qa_reward_step *step = NULL;
    qa_status status = QA_OK;
    QA_TRY(QA_NEW(step, 1, err, "the training workspace"));
    step->model = model;
    step->outputs = model->config.labels;
    step->centering = objective->reward_centering;
    step->by_length = of_pass.max_documents > 0;
    QA_GOTO(failed, qa_pass_create(&step->pass, model, NULL, of_pass, err));
    QA_GOTO(failed, QA_NEW(step->scores, scores, err, "the scores of a pair"));
    QA_GOTO(failed, QA_NEW(step->dscores, scores, err, "the scores of a pair"));
    QA_GOTO(failed, QA_NEW(step->dstates, QA_SIDES * model->config.hidden_size, err, "the states of a pair"));
    QA_GOTO(failed, step->by_length ? QA_NEW(step->ids, of_pass.max_rows, err, "the tokens of a pair") : QA_OK);
    *out = step;
    return QA_OK;
failed:
    qa_reward_step_free(step);
    return status;
}

void qa_reward_step_free(qa_reward_step *step) {
    if (step != NULL) {
        qa_pass_free(step->pass);
        free(step->scores);
        free(step->dscores);
        free(step->dstates);
        free(step->ids);
        free(step);
    }
}

/* ---- forward ---- */

/* Prompt and answer one after the other, for both answers. */
static void copy_sequences(const qa_reward_step *step, const qa_pair *pair, qa_tokens documents[QA_SIDES]) {
    const int32_t *const answers[QA_SIDES] = {pair->chosen, pair->rejected};
    const size_t lengths[QA_SIDES] = {pair->chosen_len, pair->rejected_len};
    int32_t *ids = step->ids;
    for (size_t side = 0; side < QA_SIDES; side++) {
        memcpy(ids, pair->prompt, pair->prompt_len * sizeof *ids);
        memcpy(ids + pair->prompt_len, answers[side], lengths[side] * sizeof *ids);
        documents[side] = (qa_tokens){.ids = ids, .n = pair->prompt_len + lengths[side]};
        ids += documents[side].n;
    }
}

/* Runs the trunk; the states are the last tokens of the two answers. */
static qa_status run_trunk(qa_reward_step *step, const qa_pair *pair, qa_error *err) {
    qa_tokens documents[QA_SIDES];
    const size_t chosen = pair->prompt_len + pair->chosen_len;
    const size_t rejected = chosen + pair->rejected_len + (step->by_length ? pair->prompt_len : 0);
    const size_t states[QA_SIDES] = {chosen - 1, rejected - 1};
    if (step->by_length) {
        copy_sequences(step, pair, documents);
        const qa_packed packed = {.documents = documents, .n_documents = QA_SIDES};
        return qa_pass_forward(step->pass, &packed, states, QA_SIDES, 0, err);
    }
    const qa_packed packed = {
        .trunk = {pair->prompt, pair->prompt_len},
        .branches = {{pair->chosen, pair->chosen_len}, {pair->rejected, pair->rejected_len}},
        .n_branches = QA_SIDES,
    };
    return qa_pass_forward(step->pass, &packed, states, QA_SIDES, 0, err);
}

#ifdef QA_F64
static const double TIED_SCORES = 1e-12;
#else
static const double TIED_SCORES = 1e-5; /* of scores around 1; observed: 1e-6 between packings of a sequence */
#endif

double qa_score_is_above(double chosen, double rejected) {
    const double tie = TIED_SCORES * fmax(1.0, fmax(fabs(chosen), fabs(rejected)));
    return fabs(chosen - rejected) <= tie ? 0.5 : chosen > rejected ? 1.0 : 0.0;
}

/* scores[side][k] = W[k] . h[side] */
static qa_status find_scores(qa_reward_step *step, qa_error *err) {
    const qa_real *states = qa_pass_states(step->pass);
    for (size_t i = 0; i < QA_SIDES * step->outputs; i++) {
        const size_t side = i / step->outputs;
        step->scores[i] =
            qa_score_of_state(step->model, states + side * step->model->config.hidden_size, i % step->outputs);
        QA_FAIL_IF(!isfinite(step->scores[i]), err, QA_ERR_NAN, "output %zu of the %s answer's score is %g",
                   i % step->outputs + 1, side == QA_CHOSEN ? "chosen" : "rejected", step->scores[i]);
    }
    return QA_OK;
}

/* ---- backward ---- */

/* dW[k] += dscore h, dh = sum over k of dscore W[k]; then through the trunk. */
static void score_backward(qa_reward_step *step, const qa_weight_gradients *gradients) {
    const size_t d = step->model->config.hidden_size;
    const qa_real *states = qa_pass_states(step->pass), *weight = step->model->score.real;
    memset(step->dstates, 0, QA_SIDES * d * sizeof *step->dstates);
    for (size_t i = 0; i < QA_SIDES * step->outputs; i++) {
        const size_t side = i / step->outputs, k = i % step->outputs;
        const qa_real g = (qa_real)step->dscores[i];
        for (size_t j = 0; j < d; j++) {
            gradients->score[k * d + j] += g * states[side * d + j];
            step->dstates[side * d + j] += g * weight[k * d + j];
        }
    }
    qa_pass_backward_weights(step->pass, gradients, step->dstates);
}

qa_status qa_reward_step_run(qa_reward_step *step, const qa_pair *pair, double pairs,
                             const qa_weight_gradients *gradients, qa_reward_scores *found, qa_error *err) {
    const double *chosen = step->scores, *rejected = step->scores + step->outputs;
    const size_t last = step->outputs - 1;
    QA_FAIL_IF(pair->rejected_len == 0, err, QA_ERR_ARGUMENT,
               "a reward model is trained on pairs, this has one answer");
    QA_TRY(run_trunk(step, pair, err));
    QA_TRY(find_scores(step, err));
    *found = (qa_reward_scores){.loss = qa_bradley_terry_loss(chosen, rejected, step->outputs, step->centering, pairs),
                                .chosen = chosen[last],
                                .rejected = rejected[last],
                                .right = qa_score_is_above(chosen[last], rejected[last])};
    QA_FAIL_IF(!isfinite(found->loss), err, QA_ERR_NAN, "the loss is %g", found->loss);
    if (gradients != NULL) {
        qa_bradley_terry_gradient(step->dscores, step->dscores + step->outputs, chosen, rejected, step->outputs,
                                  step->centering, pairs);
        score_backward(step, gradients);
    }
    return QA_OK;
}
