/* Direct preference optimisation (rl/dpo.h has its equations): L = mean over pairs of -log sigmoid(z), with z the
 * difference of b (log pi - log pi_ref) summed over the two responses; with labels of which some were turned round, of
 * -log of their probability (rl/equations.h: qa_m9_log_label). */
#include "rl/dpo.h"
#include "methods/method.h"
#include "rl/objective.h"

static const qa_option dpo_rows[] = {
    {"dpo-beta", QA_NUMBER(qa_objective, dpo_beta), .key = "dpo_beta", .range = QA_RANGE_ABOVE_0, .standard = "0.1",
     .record = QA_RECORD_COMPARED, .group = QA_GROUP_ADAPTER,
     .help = "dpo: weight of the log-ratio to the reference (what TRL calls beta)"},
    QA_REFERENCE_ROW,
    QA_LABEL_NOISE_ROW,
};
static const qa_option_table dpo_table = QA_TABLE(dpo_rows);

static void dpo_rewards(qa_side_step *side, const qa_objective *objective) {
    for (size_t t = 0; t < side->n; t++) {
        side->reward[t] = qa_dpo_reward(objective->dpo_beta, side->log_pi[t], side->log_ref[t]);
    }
}

static double dpo_scale(const qa_side_step *side, const qa_objective *objective) {
    (void)side;
    return objective->dpo_beta;
}

static qa_pair_loss dpo_loss(const qa_side_step *const side[QA_SIDES], double z, const qa_objective *objective,
                             const qa_divisors *divisors) {
    (void)side;
    return (qa_pair_loss){.pref = qa_dpo_loss(z, objective->label_noise, divisors->pairs)};
}

static void dpo_gradient(double *g, const qa_side_step *side, size_t which, double z, const qa_objective *objective,
                         const qa_divisors *divisors) {
    const int sign = which == QA_CHOSEN ? 1 : -1;
    for (size_t t = 0; t < side->n; t++) {
        g[t] = qa_dpo_token_gradient(objective->dpo_beta, z, objective->label_noise, sign, divisors->pairs);
    }
}

const qa_method_row qa_method_dpo = {.name = "dpo",
                                     .objective = {QA_LIKELIHOOD_OBJECTIVE, .method = QA_METHOD_DPO},
                                     .loss_label = QA_OWN_LOSS,
                                     .options = &dpo_table,
                                     .layout = qa_transitions_likelihood,
                                     .rewards = dpo_rewards,
                                     .scale = dpo_scale,
                                     .loss = dpo_loss,
                                     .gradient = dpo_gradient};
