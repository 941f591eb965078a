/* Supervised fine-tuning: the baseline that takes the chosen responses for demonstrations.
 *
 *     L = -1/N  sum over the response tokens of  log pi(a_t|s_t)
 *
 * with pi = softmax(logits) and N the tokens of the whole step, so that every token weighs the same, whatever the
 * length of its response. Lengths in tokens, log-probabilities in nats. */
#include "methods/method.h"

/* What the policy now prefers to the base model's. */
void qa_sft_rewards(qa_side_step *side, const qa_objective *objective) {
    (void)objective;
    for (size_t t = 0; t < side->n; t++) {
        side->reward[t] = side->log_pi[t] - side->log_pi1[t];
    }
}

double qa_sft_scale(const qa_side_step *side, const qa_objective *objective) {
    (void)side;
    (void)objective;
    return 1.0;
}

/* Nothing for an empty response, also where the whole step has no token. */
qa_pair_loss qa_sft_loss(const qa_side_step *const side[QA_SIDES], double z, const qa_objective *objective,
                         const qa_divisors *divisors) {
    const qa_side_step *chosen = side[QA_CHOSEN];
    double sum = 0.0;
    (void)z;
    (void)objective;
    for (size_t t = 0; t < chosen->n; t++) {
        sum += chosen->log_pi[t];
    }
    return (qa_pair_loss){.pref = chosen->n == 0 ? 0.0 : -sum / divisors->counted};
}

/* dL/d log pi(a_t|s_t) is -1/N for every token of the chosen response. */
void qa_sft_gradient(double *g, const qa_side_step *side, size_t which, double z, const qa_objective *objective,
                     const qa_divisors *divisors) {
    (void)z;
    (void)objective;
    for (size_t t = 0; t < side->n; t++) {
        g[t] = which == QA_CHOSEN ? -1.0 / divisors->counted : 0.0;
    }
}

const qa_method_row qa_method_sft = {
    .name = "sft", .objective = {QA_LIKELIHOOD_OBJECTIVE, .method = QA_METHOD_SFT}, .one_sided = true, QA_SFT_MEASURES};
