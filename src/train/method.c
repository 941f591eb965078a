/* One switch per notion; the arithmetic is in rl/. A further method (a reward model, PPO) has its place in each. */
#include "train/method.h"

#include "rl/dpo.h"
#include "rl/equations.h"
#include "rl/sft.h"

bool qa_method_is_one_sided(qa_method method) { return method == QA_METHOD_SFT || method == QA_METHOD_REPLAY; }

/* b of the implied reward of a policy. */
static double implied_beta(const qa_objective *objective) {
    return objective->method == QA_METHOD_DPO ? objective->dpo_beta : 1.0;
}

void qa_method_rewards(qa_side_step *found, const qa_objective *objective) {
    if (objective->method == QA_METHOD_QADAPTER) {
        qa_transitions_rewards(found->reward, found->transitions, found->n, found->q, found->state_v, objective->gamma);
        return;
    }
    for (size_t t = 0; t < found->n; t++) {
        found->reward[t] = qa_dpo_reward(implied_beta(objective), found->log_pi[t], found->log_pi1[t]);
    }
}

double qa_method_scale(const qa_side_step *found, const qa_objective *objective) {
    if (objective->method != QA_METHOD_QADAPTER) {
        return implied_beta(objective);
    }
    return found->n > 0 ? found->weight[0] : 0.0; /* the weights of a side do not grow */
}

double qa_method_loss(const qa_side_step *chosen, double z, const qa_objective *objective,
                      const qa_divisors *divisors) {
    switch (objective->method) {
    case QA_METHOD_QADAPTER: return qa_m10_preference_loss(z, divisors->pairs);
    case QA_METHOD_SFT:
    case QA_METHOD_REPLAY: return qa_sft_loss(chosen->log_pi, chosen->n, divisors->counted);
    case QA_METHOD_DPO: return qa_dpo_loss(z, divisors->pairs);
    }
    return (double)NAN;
}

static void fill(double *g, size_t n, double value) {
    for (size_t t = 0; t < n; t++) {
        g[t] = value;
    }
}

void qa_method_gradient(double *g, const qa_side_step *found, size_t side, double z, const qa_objective *objective,
                        const qa_divisors *divisors) {
    const int sign = side == QA_CHOSEN ? 1 : -1;
    switch (objective->method) {
    case QA_METHOD_QADAPTER:
        qa_m11_reward_gradient(g, found->weight, found->reward, found->n, z, sign, divisors->pairs, objective->beta,
                               divisors->counted);
        return;
    case QA_METHOD_SFT:
    case QA_METHOD_REPLAY:
        fill(g, found->n, side == QA_CHOSEN ? qa_sft_token_gradient(divisors->counted) : 0.0);
        return;
    case QA_METHOD_DPO: fill(g, found->n, qa_dpo_token_gradient(objective->dpo_beta, z, sign, divisors->pairs)); return;
    }
}
