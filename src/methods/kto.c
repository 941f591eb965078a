/* Kahneman-Tversky optimisation (rl/kto.h has its equations): single responses, each labelled desirable or not, against
 * a reference point that the responses of a micro-batch share (train/reference_point.h finds it). A pair is evaluated
 * as two of them, the chosen one desirable. */
#include "rl/kto.h"
#include "methods/method.h"
#include "rl/dpo.h"

static const char *const point_names[] = {
    [QA_POINT_NEXT] = "next", [QA_POINT_PREVIOUS] = "previous", [QA_POINT_NONE] = "none", NULL};

static const qa_option kto_rows[] = {
    {"kto-beta", QA_NUMBER(qa_objective, kto_beta), .key = "kto_beta", .range = QA_RANGE_ABOVE_0, .standard = "0.1",
     .record = QA_RECORD_COMPARED, .group = QA_GROUP_ADAPTER,
     .help = "kto: weight of the log-ratio to the reference (what TRL calls beta)"},
    {"desirable-weight", QA_NUMBER(qa_objective, desirable_weight), .key = "desirable_weight",
     .range = QA_RANGE_ABOVE_0, .standard = "1", .record = QA_RECORD_COMPARED, .group = QA_GROUP_ADAPTER,
     .help = "kto: weight of the desirable responses; times their number it should be once to 4/3 times that of the "
             "others"},
    {"undesirable-weight", QA_NUMBER(qa_objective, undesirable_weight), .key = "undesirable_weight",
     .range = QA_RANGE_ABOVE_0, .standard = "1", .record = QA_RECORD_COMPARED, .group = QA_GROUP_ADAPTER,
     .help = "kto: weight of the undesirable responses"},
    {"kto-reference-point", QA_CHOICE(qa_objective, reference_point, point_names), .key = "kto_reference_point",
     .standard = "next", .record = QA_RECORD_COMPARED, .group = QA_GROUP_ADAPTER,
     .help = "kto: where losses end and gains begin: the log-ratio of the micro-batch's prompts with other responses, "
             "each prompt with the next one's (next, as in the paper) or the one's before it (previous, as in TRL), "
             "their mean and at least 0; none: 0 (TRL's apo_zero_unpaired)"},
    QA_REFERENCE_ROW,
};
static const qa_option_table kto_table = QA_TABLE(kto_rows);

static void kto_rewards(qa_side_step *side, const qa_objective *objective) {
    for (size_t t = 0; t < side->n; t++) {
        side->reward[t] = qa_dpo_reward(objective->kto_beta, side->log_pi[t], side->log_ref[t]);
    }
}

static double kto_scale(const qa_side_step *side, const qa_objective *objective) {
    (void)side;
    return objective->kto_beta;
}

static double utility_of(const qa_side_step *side, const qa_objective *objective, const qa_divisors *divisors) {
    return qa_kto_utility(objective->kto_beta, side->ret, divisors->reference_point, side->desirable);
}

static double weight_of(const qa_side_step *side, const qa_objective *objective) {
    return side->desirable ? objective->desirable_weight : objective->undesirable_weight;
}

static qa_pair_loss kto_loss(const qa_side_step *const side[QA_SIDES], double z, const qa_objective *objective,
                             const qa_divisors *divisors) {
    qa_pair_loss loss = {0};
    (void)z;
    for (size_t which = 0; which < QA_SIDES && side[which]->n > 0; which++) {
        loss.pref += qa_kto_loss(utility_of(side[which], objective, divisors), weight_of(side[which], objective),
                                 divisors->responses);
    }
    return loss;
}

static void kto_gradient(double *g, const qa_side_step *side, size_t which, double z, const qa_objective *objective,
                         const qa_divisors *divisors) {
    const double utility = utility_of(side, objective, divisors), weight = weight_of(side, objective);
    (void)which;
    (void)z;
    for (size_t t = 0; t < side->n; t++) {
        g[t] = qa_kto_token_gradient(objective->kto_beta, utility, side->desirable, weight, divisors->responses);
    }
}

const qa_method_row qa_method_kto = {.name = "kto",
                                     .objective = {QA_LIKELIHOOD_OBJECTIVE, .method = QA_METHOD_KTO},
                                     .data = QA_DATA_LABELLED,
                                     .one_sided = true,
                                     .loss_label = QA_OWN_LOSS,
                                     .options = &kto_table,
                                     .layout = qa_transitions_likelihood,
                                     .rewards = kto_rewards,
                                     .scale = kto_scale,
                                     .loss = kto_loss,
                                     .gradient = kto_gradient};
