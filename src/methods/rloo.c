/* REINFORCE with a leave-one-out baseline (rl/rloo.h has its equations). On pairs, such a policy is measured as sft's
 * is. */
#include "rl/rloo.h"
#include "methods/method.h"
#include "rl/ppo.h"

static void rloo_advantages(qa_rollout *answers, size_t n, double coefficient, const qa_rollout_options *options) {
    const size_t k = options->samples;
    for (size_t first = 0; first + k <= n; first += k) {
        double mean = 0.0;
        for (size_t i = first; i < first + k; i++) {
            const qa_rollout *answer = &answers[i];
            answer->reward[0] = qa_r1_return(answer->score, answer->penalty, answer->n, coefficient);
            mean += answer->reward[0] / (double)k;
        }
        for (size_t i = first; i < first + k; i++) {
            const double advantage = qa_r2_advantage(answers[i].reward[0], mean, k);
            for (size_t t = 0; t < answers[i].n; t++) {
                answers[i].advantage[t] = advantage;
            }
        }
    }
}

static void rloo_loss(const qa_rollout *answer, const double *log_pi, const double *value, double parts,
                      const qa_rollout_options *options, qa_rollout_sums *sums, double *g, double *g_value) {
    const double ratio = qa_r3_ratio(log_pi, answer->log_old, answer->n), advantage = answer->advantage[0];
    const double slope = qa_p5_policy_gradient(ratio, advantage, options->clip_range) / parts;
    (void)value;
    (void)g_value;
    for (size_t t = 0; t < answer->n; t++) {
        const double change = log_pi[t] - answer->log_old[t];
        g[t] = slope;
        sums->approx_kl += 0.5 * change * change;
    }
    sums->policy_loss += qa_p5_policy_loss(ratio, advantage, options->clip_range) / parts;
    sums->parts += 1.0;
    sums->ratio += ratio;
    sums->clipped += qa_p5_is_clipped(ratio, advantage, options->clip_range) ? 1.0 : 0.0;
    sums->tokens += (double)answer->n;
}

/* The run's numbers are those of ppo's, the method's own TRL's, but for the number of samples. */
static const char *const rloo_defaults[] = {
    QA_ROLLOUT_DEFAULTS, "kl-control", "fixed", "kl-coefficient", "0.05", "samples-per-prompt", "4",
    "rollout-epochs",    "1",          NULL};
static const qa_rollout_rule rloo_rule = {.whole_answers = true, .advantages = rloo_advantages, .loss = rloo_loss};

const qa_method_row qa_method_rloo = {.name = "rloo",
                                      .objective = {QA_LIKELIHOOD_OBJECTIVE, .method = QA_METHOD_RLOO},
                                      .data = QA_DATA_PROMPTS,
                                      .one_sided = true,
                                      .rollouts = &rloo_rule,
                                      .defaults = rloo_defaults,
                                      QA_SFT_MEASURES};
