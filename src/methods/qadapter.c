/* Residual Q-learning, (M5) to (M11): the reward of a transition is r = Qhat(s,a) - gamma Vhat(value state), and the
 * loss is the preference term and the regulariser of (M10). Its options are those of
 * rl/objective.h.
 * Plain twin: reference/equations.c: qa_ref_rewards, qa_ref_preference_loss, qa_ref_reward_gradient. */
#include "base/try.h"
#include "methods/method.h"
#include "rl/equations.h"
#include "rl/objective.h"

qa_status qa_objective_from_recipe(qa_objective *objective, const char *recipe, qa_error *err) {
    unsigned which = 0;
    QA_TRY(qa_choice_find(&which, qa_recipe_names, "recipe", recipe, err));
    *objective = (qa_objective){.method = QA_METHOD_QADAPTER};
    qa_options_recipe(&qa_objective_table, objective, which == 1);
    return QA_OK;
}

static void q_rewards(qa_side_step *side, const qa_objective *objective) {
    qa_transitions_rewards(side->reward, side->transitions, side->n, side->q, side->state_v, objective->gamma);
}

/* c_t of (M9), which does not grow along a side. */
static double q_scale(const qa_side_step *side, const qa_objective *objective) {
    (void)objective;
    return side->n > 0 ? side->weight[0] : 0.0;
}

static qa_pair_loss q_loss(const qa_side_step *const side[QA_SIDES], double z, const qa_objective *objective,
                           const qa_divisors *divisors) {
    qa_pair_loss loss = {.pref = qa_m10_preference_loss(z, objective->label_noise, divisors->pairs)};
    for (size_t which = 0; which < QA_SIDES; which++) {
        loss.reg += qa_m10_regulariser(side[which]->reward, side[which]->n, objective->beta, divisors->counted);
    }
    return loss;
}

static void q_gradient(double *g, const qa_side_step *side, size_t which, double z, const qa_objective *objective,
                       const qa_divisors *divisors) {
    const double dR = qa_m10_return_gradient(z, objective->label_noise, which == QA_CHOSEN ? 1 : -1, divisors->pairs);
    qa_m11_reward_gradient(g, side->weight, side->reward, side->n, dR, objective->beta, divisors->counted);
}

const qa_method_row qa_method_qadapter = {.name = "qadapter",
                                          .objective = {.method = QA_METHOD_QADAPTER},
                                          .options = &qa_objective_table,
                                          .residual = true,
                                          .loss_label = "  preference term",
                                          .layout = qa_transitions_layout,
                                          .rewards = q_rewards,
                                          .scale = q_scale,
                                          .loss = q_loss,
                                          .gradient = q_gradient};
