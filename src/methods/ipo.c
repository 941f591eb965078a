/* Identity preference optimisation (rl/ipo.h has its equations): L = mean over pairs of ((z - 1/2) / tau)^2, with z the
 * difference of tau (log pi - log pi_ref) over the two responses: summed, as published, or averaged over a response's
 * tokens, as TRL has it, whose beta is tau. */
#include "rl/ipo.h"
#include "methods/method.h"
#include "rl/dpo.h"

static const char *const length_names[] = {[QA_IPO_SUM] = "sum", [QA_IPO_MEAN] = "mean", NULL};

static const qa_option ipo_rows[] = {
    {"ipo-tau", QA_NUMBER(qa_objective, ipo_tau), .key = "ipo_tau", .range = QA_RANGE_ABOVE_0, .standard = "0.1",
     .record = QA_RECORD_COMPARED, .group = QA_GROUP_ADAPTER,
     .help = "ipo: the log-ratios of a pair are to differ by 1/(2 X) (tau of the paper, beta of TRL)"},
    {"ipo-length", QA_CHOICE(qa_objective, ipo_length, length_names), .key = "ipo_length", .standard = "sum",
     .record = QA_RECORD_COMPARED, .group = QA_GROUP_ADAPTER,
     .help = "ipo: a response's log-ratio is the sum over its tokens, as published, or their mean, as in TRL"},
    QA_REFERENCE_ROW,
};
static const qa_option_table ipo_table = QA_TABLE(ipo_rows);

/* Tokens that a response's sum is divided by. */
static double divisor(const qa_side_step *side, const qa_objective *objective) {
    return objective->ipo_length == QA_IPO_MEAN && side != NULL && side->n > 0 ? (double)side->n : 1.0;
}

static double ipo_scale(const qa_side_step *side, const qa_objective *objective) {
    return objective->ipo_tau / divisor(side, objective);
}

static void ipo_rewards(qa_side_step *side, const qa_objective *objective) {
    for (size_t t = 0; t < side->n; t++) {
        side->reward[t] = qa_dpo_reward(ipo_scale(side, objective), side->log_pi[t], side->log_ref[t]);
    }
}

static qa_pair_loss ipo_loss(const qa_side_step *const side[QA_SIDES], double z, const qa_objective *objective,
                             const qa_divisors *divisors) {
    (void)side;
    return (qa_pair_loss){.pref = qa_ipo_loss(objective->ipo_tau, z, divisors->pairs)};
}

static void ipo_gradient(double *g, const qa_side_step *side, size_t which, double z, const qa_objective *objective,
                         const qa_divisors *divisors) {
    const double dz = qa_ipo_slope(objective->ipo_tau, z, divisors->pairs) * ipo_scale(side, objective);
    for (size_t t = 0; t < side->n; t++) {
        g[t] = which == QA_CHOSEN ? dz : -dz;
    }
}

const qa_method_row qa_method_ipo = {.name = "ipo",
                                     .objective = {QA_LIKELIHOOD_OBJECTIVE, .method = QA_METHOD_IPO},
                                     .loss_label = QA_OWN_LOSS,
                                     .options = &ipo_table,
                                     .layout = qa_transitions_likelihood,
                                     .rewards = ipo_rewards,
                                     .scale = ipo_scale,
                                     .loss = ipo_loss,
                                     .gradient = ipo_gradient};
