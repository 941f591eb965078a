/* Direct preference optimisation (rl/dpo.h has its equations): L = mean over pairs of -log sigmoid(z), with z the
 * difference of b (log pi - log pi1) summed over the two responses. */
#include "rl/dpo.h"
#include "methods/method.h"

#include <math.h>

static qa_status check_dpo(const qa_objective *o, qa_error *err) {
    return isfinite(o->dpo_beta) && o->dpo_beta > 0.0
               ? QA_OK
               : qa_fail(err, QA_ERR_ARGUMENT, "dpo_beta = %g: must be finite and above 0", o->dpo_beta);
}

static void dpo_rewards(qa_side_step *side, const qa_objective *objective) {
    for (size_t t = 0; t < side->n; t++) {
        side->reward[t] = qa_dpo_reward(objective->dpo_beta, side->log_pi[t], side->log_pi1[t]);
    }
}

static double dpo_scale(const qa_side_step *side, const qa_objective *objective) {
    (void)side;
    return objective->dpo_beta;
}

static qa_pair_loss dpo_loss(const qa_side_step *const side[QA_SIDES], double z, const qa_objective *objective,
                             const qa_divisors *divisors) {
    (void)side;
    (void)objective;
    return (qa_pair_loss){.pref = qa_dpo_loss(z, divisors->pairs)};
}

static void dpo_gradient(double *g, const qa_side_step *side, size_t which, double z, const qa_objective *objective,
                         const qa_divisors *divisors) {
    const int sign = which == QA_CHOSEN ? 1 : -1;
    for (size_t t = 0; t < side->n; t++) {
        g[t] = qa_dpo_token_gradient(objective->dpo_beta, z, sign, divisors->pairs);
    }
}

const qa_method_row qa_method_dpo = {
    .name = "dpo",
    .objective = {QA_LIKELIHOOD_OBJECTIVE, .method = QA_METHOD_DPO, .dpo_beta = 0.1 /* what TRL takes, too */},
    .loss_label = QA_OWN_LOSS,
    .check = check_dpo,
    .layout = qa_transitions_likelihood,
    .rewards = dpo_rewards,
    .scale = dpo_scale,
    .loss = dpo_loss,
    .gradient = dpo_gradient};
