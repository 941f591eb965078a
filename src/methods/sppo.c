/* Self-play preference optimisation with labels for probabilities (rl/ipo.h has its equations): every response's
 * return, the sum of b (log pi - log pi_ref), is to be 1/2 where it was chosen and -1/2 where it was rejected. */
#include "methods/method.h"
#include "rl/dpo.h"
#include "rl/ipo.h"

static const qa_option sppo_rows[] = {
    {"sppo-beta", QA_NUMBER(qa_objective, sppo_beta), .key = "sppo_beta", .range = QA_RANGE_ABOVE_0, .standard = "0.1",
     .record = QA_RECORD_COMPARED, .group = QA_GROUP_ADAPTER,
     .help = "sppo: a chosen response's log-ratio is to be 1/(2 X), a rejected one's -1/(2 X) (1/eta of the paper, "
             "beta of TRL)"},
    QA_REFERENCE_ROW,
};
static const qa_option_table sppo_table = QA_TABLE(sppo_rows);

static void sppo_rewards(qa_side_step *side, const qa_objective *objective) {
    for (size_t t = 0; t < side->n; t++) {
        side->reward[t] = qa_dpo_reward(objective->sppo_beta, side->log_pi[t], side->log_ref[t]);
    }
}

static double sppo_scale(const qa_side_step *side, const qa_objective *objective) {
    (void)side;
    return objective->sppo_beta;
}

static qa_pair_loss sppo_loss(const qa_side_step *const side[QA_SIDES], double z, const qa_objective *objective,
                              const qa_divisors *divisors) {
    const double b = objective->sppo_beta;
    (void)z;
    return (qa_pair_loss){.pref = qa_sppo_side_loss(b, side[QA_CHOSEN]->ret, 1, divisors->pairs) +
                                  qa_sppo_side_loss(b, side[QA_REJECTED]->ret, -1, divisors->pairs)};
}

static void sppo_gradient(double *g, const qa_side_step *side, size_t which, double z, const qa_objective *objective,
                          const qa_divisors *divisors) {
    const double b = objective->sppo_beta;
    const double dR = qa_sppo_side_slope(b, side->ret, which == QA_CHOSEN ? 1 : -1, divisors->pairs);
    (void)z;
    for (size_t t = 0; t < side->n; t++) {
        g[t] = b * dR;
    }
}

const qa_method_row qa_method_sppo = {.name = "sppo",
                                      .objective = {QA_LIKELIHOOD_OBJECTIVE, .method = QA_METHOD_SPPO},
                                      .loss_label = QA_OWN_LOSS,
                                      .options = &sppo_table,
                                      .layout = qa_transitions_likelihood,
                                      .rewards = sppo_rewards,
                                      .scale = sppo_scale,
                                      .loss = sppo_loss,
                                      .gradient = sppo_gradient};
