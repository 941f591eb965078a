/* Proximal policy optimisation (rl/ppo.h has its equations). On pairs, such a policy is measured as sft's is. */
#include "rl/ppo.h"
#include "methods/method.h"

#include <math.h>

static void ppo_advantages(qa_rollout *answers, size_t n, double coefficient, const qa_rollout_options *options) {
    size_t tokens = 0;
    for (size_t i = 0; i < n; i++) {
        qa_rollout *answer = &answers[i];
        qa_p2_rewards(answer->reward, answer->penalty, answer->n, coefficient, answer->score);
        qa_p3_advantages(answer->advantage, answer->ret, answer->reward, answer->value, answer->n, options->gae_gamma,
                         options->gae_lambda);
        tokens += answer->n;
    }
    if (options->whiten_advantages) {
        qa_p4_whiten(answers[0].advantage, tokens);
    }
}

static void ppo_loss(const qa_rollout *answer, const double *log_pi, const double *value, double parts,
                     const qa_rollout_options *options, qa_rollout_sums *sums, double *g, double *g_value) {
    for (size_t t = 0; t < answer->n; t++) {
        const double change = log_pi[t] - answer->log_old[t], ratio = exp(change), advantage = answer->advantage[t];
        const double old = answer->value[t], ret = answer->ret[t];
        g[t] = qa_p5_policy_gradient(ratio, advantage, options->clip_range) / parts;
        g_value[t] = options->value_weight * qa_p6_value_gradient(value[t], old, ret, options->value_clip) / parts;
        sums->policy_loss += qa_p5_policy_loss(ratio, advantage, options->clip_range) / parts;
        sums->value_loss += qa_p6_value_loss(value[t], old, ret, options->value_clip) / parts;
        sums->parts += 1.0;
        sums->ratio += ratio;
        sums->clipped += qa_p5_is_clipped(ratio, advantage, options->clip_range) ? 1.0 : 0.0;
        sums->value_clipped += qa_p6_is_clipped(value[t], old, ret, options->value_clip) ? 1.0 : 0.0;
        sums->tokens += 1.0;
        sums->approx_kl += 0.5 * change * change;
    }
}

/* Of the published runs. */
static const char *const ppo_defaults[] = {QA_ROLLOUT_DEFAULTS, NULL};
static const qa_rollout_rule ppo_rule = {.values = true, .advantages = ppo_advantages, .loss = ppo_loss};

const qa_method_row qa_method_ppo = {.name = "ppo",
                                     .objective = {QA_LIKELIHOOD_OBJECTIVE, .method = QA_METHOD_PPO},
                                     .data = QA_DATA_PROMPTS,
                                     .one_sided = true,
                                     .rollouts = &ppo_rule,
                                     .defaults = ppo_defaults,
                                     QA_SFT_MEASURES};
