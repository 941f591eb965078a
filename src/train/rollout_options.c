/* The options of the methods that learn from answers of their own, one row each. The defaults are the published runs'
 * of ppo (docs/published-code.md); those of rloo that differ are in its method's row. */
#include "train/rollout_options.h"

#include "base/try.h"

#define ROW(kind, ...)                                                                                                 \
    QA_##kind(qa_train_options, __VA_ARGS__), .group = QA_GROUP_ROLLOUTS, .record = QA_RECORD_COMPARED

static const char *const kl_controls[] = {[QA_KL_ADAPTIVE] = "adaptive", [QA_KL_FIXED] = "fixed", NULL};
static const char *const kl_estimators[] = {
    [QA_KL_K1] = "k1", [QA_KL_ABS] = "abs", [QA_KL_MSE] = "mse", [QA_KL_FULL] = "full", NULL};

static const qa_option rollout_rows[] = {
    {"reward-model", QA_STRING(qa_train_options, reward_model), .placeholder = "DIR", .group = QA_GROUP_ROLLOUTS,
     .record = QA_RECORD_KEPT, .path = QA_PATH_READ, .aliases = "reward-model-path",
     .help = "what scores answers: the folder of a reward model (--method reward trains one)"},
    {"reward-output", ROW(SIZE, reward_output), .range = QA_RANGE_FROM_0, .note = "the last: of two the second",
     .help = "which of the reward model's outputs is the score, from 1"},
    {"answers-per-step", ROW(SIZE, rollout.answers), .range = QA_RANGE_FROM_1, .standard = "128", .aliases = "rollouts",
     .help = "answers that a step writes and learns from; also called --batch-size"},
    {"samples-per-prompt", ROW(SIZE, rollout.samples), .range = QA_RANGE_FROM_1, .standard = "1", .note = "%; rloo 4",
     .aliases = "num-generations rloo-k", .help = "of them to each prompt"},
    {"max-new-tokens", ROW(SIZE, rollout.max_new_tokens), .range = QA_RANGE_FROM_1, .standard = "128",
     .aliases = "response-length max-completion-length", .help = "tokens of an answer at most"},
    {"rollout-epochs", ROW(SIZE, rollout.epochs), .range = QA_RANGE_FROM_1, .standard = "4", .note = "%; rloo 1",
     .aliases = "ppo-epochs num-ppo-epochs num-iterations", .help = "passes over a step's answers"},
    {"mini-batches", ROW(SIZE, rollout.mini_batches), .range = QA_RANGE_FROM_1, .standard = "1",
     .aliases = "num-mini-batches", .help = "parts of the answers in such a pass, each with an update of its own"},
    {"kl-coefficient", ROW(NUMBER, rollout.kl_coefficient), .range = QA_RANGE_FROM_0, .standard = "0.2",
     .note = "%; rloo 0.05", .aliases = "init-kl-coef kl-coef",
     .help = "weight c of the penalty for leaving the base model, or its first value: the optimum is pi1 exp(r / c)"},
    {"kl-control", ROW(CHOICE, rollout.kl_control, kl_controls), .standard = "adaptive", .note = "%; rloo fixed",
     .help = "adaptive: the coefficient follows the divergence to --kl-target"},
    {"kl-target", ROW(NUMBER, rollout.kl_target), .range = QA_RANGE_ABOVE_0, .standard = "6",
     .help = "of an adaptive coefficient: nats an answer"},
    {"kl-horizon", ROW(NUMBER, rollout.kl_horizon), .range = QA_RANGE_ABOVE_0, .standard = "10000",
     .help = "of an adaptive coefficient: it changes by 0.2 of answers / horizon a step at most"},
    {"kl-estimator", ROW(CHOICE, rollout.kl_estimator, kl_estimators), .standard = "k1", .aliases = "kl-penalty",
     .help =
         "what the penalty takes for the divergence at a token: the log-ratio, its absolute value, half its square, "
         "or the divergence over the whole vocabulary"},
    {"missing-end-penalty", ROW(NUMBER, rollout.missing_end_penalty), .range = QA_RANGE_FROM_0, .standard = "0",
     .aliases = "missing-eos-penalty", .help = "taken off the score of an answer that --max-new-tokens cuts off"},
    {"clip-range", ROW(NUMBER, rollout.clip_range), .range = QA_RANGE_ABOVE_0, .standard = "0.2",
     .aliases = "cliprange epsilon", .help = "the ratio of probabilities is clipped to 1 -/+ this"},
    {"ratio-threshold", ROW(NUMBER, rollout.ratio_threshold), .range = QA_RANGE_FROM_0, .standard = "10",
     .help = "a mini-batch whose mean ratio is above it has a gradient of zeros; 0: none has"},
    {"max-kl", ROW(NUMBER, rollout.max_kl), .range = QA_RANGE_FROM_0, .standard = "300",
     .help = "the run has diverged, and ends, at more nats an answer; 0: at none"},
    {"max-ratio", ROW(NUMBER, rollout.max_ratio), .range = QA_RANGE_FROM_0, .standard = "1000",
     .help = "the same at a mini-batch's mean ratio above it"},
    {"answers-at-once", ROW(SIZE, rollout.at_once), .range = QA_RANGE_FROM_1, .standard = "64",
     .aliases = "rollout-batch", .help = "answers that are written at the same time"},
    {"pass-tokens", ROW(SIZE, rollout.pass_tokens), .range = QA_RANGE_FROM_1, .standard = "1024",
     .help = "tokens that run through the model at once when answers are learned"},
};
const qa_option_table qa_rollout_table = QA_TABLE(rollout_rows);

static const qa_option value_rows[] = {
    {"gae-gamma", ROW(NUMBER, rollout.gae_gamma), .range = QA_RANGE_ABOVE_0_TO_1, .standard = "1",
     .help = "ppo: discount of a token's reward"},
    {"gae-lambda", ROW(NUMBER, rollout.gae_lambda), .range = QA_RANGE_0_TO_1, .standard = "0.95", .aliases = "lam",
     .help = "ppo: how far advantages look before they trust the values"},
    {"whiten-advantages", ROW(FLAG, rollout.whiten_advantages), .standard = "true",
     .help = "ppo: to mean 0 and variance 1 over a step's tokens"},
    {"value-clip", ROW(NUMBER, rollout.value_clip), .range = QA_RANGE_FROM_0, .standard = "0.2",
     .aliases = "cliprange-value", .help = "ppo: values are clipped to this around their old ones; 0: never"},
    {"value-weight", ROW(NUMBER, rollout.value_weight), .range = QA_RANGE_FROM_0, .standard = "0.1",
     .aliases = "vf-coef", .help = "ppo: of the values' loss"},
    {"value-dropout", ROW(NUMBER, rollout.value_dropout), .range = QA_RANGE_0_TO_BELOW_1, .standard = "0.1",
     .aliases = "summary-dropout-prob", .help = "ppo: dropout on the input of the value head, in updates"},
};
const qa_option_table qa_value_table = QA_TABLE(value_rows);

const qa_option_table *qa_rollout_table_at(const qa_method_row *method, size_t i) {
    const qa_option_table *tables[] = {&qa_rollout_table, &qa_value_table};
    const size_t n = method->rollouts == NULL ? 0 : method->rollouts->values ? 2 : 1;
    return i < n ? tables[i] : NULL;
}

qa_status qa_rollout_options_check(const qa_train_options *o, qa_error *err) {
    const qa_method_row *method = qa_method_of(&o->objective);
    const qa_rollout_options *r = &o->rollout;
    for (size_t i = 0; qa_rollout_table_at(method, i) != NULL; i++) {
        QA_TRY(qa_options_check(qa_rollout_table_at(method, i), o, err));
    }
    if (method->rollouts == NULL) {
        return QA_OK;
    }
    QA_FAIL_IF(o->score == NULL && o->reward_model == NULL, err, QA_ERR_ARGUMENT,
               "method %s needs a reward model (reward_model), which scores its answers", method->name);
    QA_FAIL_IF(method->rollouts->whole_answers && r->samples < 2, err, QA_ERR_ARGUMENT,
               "samples_per_prompt = %zu: method %s compares the answers to a prompt, and needs at least 2", r->samples,
               method->name);
    QA_FAIL_IF(r->answers % r->samples != 0, err, QA_ERR_ARGUMENT,
               "answers_per_step = %zu: expected a multiple of samples_per_prompt, %zu", r->answers, r->samples);
    QA_FAIL_IF(r->mini_batches > r->answers, err, QA_ERR_ARGUMENT,
               "mini_batches = %zu: expected at most answers_per_step, %zu", r->mini_batches, r->answers);
    return QA_OK;
}
