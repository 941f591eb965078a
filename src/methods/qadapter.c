/* Residual Q-learning, (M5) to (M11): the reward of a transition is r = Qhat(s,a) - gamma Vhat(value state), and the
 * loss is the preference term and the regulariser of (M10). Its two recipes. */
#include "methods/method.h"
#include "rl/equations.h"

#include <string.h>

/* A recipe is a set of options, each of which the user can still override. */
#define THEORY_OBJECTIVE                                                                                               \
    {                                                                                                                  \
        .kind = QA_THEORY, .q_parametrisation = QA_Q_RESIDUAL, .alpha_tilde = 1.0, .alpha_0 = 1.0, .gamma = 1.0,       \
        .beta = 0.01, .method = QA_METHOD_QADAPTER                                                                     \
    }
#define PUBLISHED_OBJECTIVE                                                                                            \
    {                                                                                                                  \
        .kind = QA_PUBLISHED, .q_parametrisation = QA_Q_LOGITS, .alpha_tilde = 1.0, .alpha_0 = 0.01, .gamma = 1.0,     \
        .beta = 0.1, .method = QA_METHOD_QADAPTER                                                                      \
    }

static const struct {
    const char *name;
    qa_objective objective;
} objective_recipes[] = {{"theory", THEORY_OBJECTIVE}, {"published", PUBLISHED_OBJECTIVE}};

qa_status qa_objective_from_recipe(qa_objective *objective, const char *recipe, qa_error *err) {
    for (size_t i = 0; i < sizeof objective_recipes / sizeof objective_recipes[0]; i++) {
        if (strcmp(objective_recipes[i].name, recipe) == 0) {
            *objective = objective_recipes[i].objective;
            return QA_OK;
        }
    }
    return qa_fail(err, QA_ERR_ARGUMENT, "recipe \"%s\": expected \"theory\" or \"published\"", recipe);
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
    qa_pair_loss loss = {.pref = qa_m10_preference_loss(z, divisors->pairs)};
    for (size_t which = 0; which < QA_SIDES; which++) {
        loss.reg += qa_m10_regulariser(side[which]->reward, side[which]->n, objective->beta, divisors->counted);
    }
    return loss;
}

static void q_gradient(double *g, const qa_side_step *side, size_t which, double z, const qa_objective *objective,
                       const qa_divisors *divisors) {
    qa_m11_reward_gradient(g, side->weight, side->reward, side->n, z, which == QA_CHOSEN ? 1 : -1, divisors->pairs,
                           objective->beta, divisors->counted);
}

const qa_method_row qa_method_qadapter = {.name = "qadapter",
                                          .objective = THEORY_OBJECTIVE,
                                          .residual = true,
                                          .loss_label = "  preference term",
                                          .layout = qa_transitions_layout,
                                          .rewards = q_rewards,
                                          .scale = q_scale,
                                          .loss = q_loss,
                                          .gradient = q_gradient};
