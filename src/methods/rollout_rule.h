/* What a method makes of answers that the policy wrote itself (rl/ppo.h, rl/rloo.h). */
#ifndef QA_METHODS_ROLLOUT_RULE_H
#define QA_METHODS_ROLLOUT_RULE_H

#include "qadapter/objective.h"

#include <stdbool.h>
#include <stddef.h>

/* One answer to one prompt: what was found of it when it had been written, and what is learned of it. The arrays of the
 * answers of a step stand one behind the other. */
typedef struct qa_rollout {
    size_t n;              /* tokens, the end token included */
    double score;          /* the reward model's, less what an answer without an end loses */
    const double *log_old; /* [n] log pi(a_t|s_t) of the policy that wrote it */
    const double *penalty; /* [n] (P1) */
    const double *value;   /* [n] v_t; of a method with values */
    double *reward;        /* [n] scratch */
    double *advantage;     /* [n] A_t; the same for all tokens where the answer is one action */
    double *ret;           /* [n] G_t; of a method with values */
} qa_rollout;

/* Sums over a mini-batch. */
typedef struct qa_rollout_sums {
    double policy_loss, value_loss; /* shares, already divided */
    double parts; /* tokens, or answers where those are the actions: what the next three are sums over */
    double ratio, clipped, value_clipped;
    double tokens, approx_kl; /* 1/2 (log pi - log pi_old)^2 over the tokens */
} qa_rollout_sums;

typedef struct qa_rollout_rule {
    bool values;        /* a value head learns with the policy */
    bool whole_answers; /* an answer is one action: losses are means over answers, not over tokens */
    /* The advantages (and returns) of all n answers of a step, `samples` of each prompt one behind the other. */
    void (*advantages)(qa_rollout *answers, size_t n, double coefficient, const qa_rollout_options *options);
    /* Adds the answer's share of the loss to sums, and assigns its derivatives with respect to log pi(a_t|s_t) and
     * V(s_t) to g[n] and g_value[n] (the latter of a method with values; value is else NULL). log_pi, value: [n], of
     * the policy as it is now. parts: of the whole mini-batch. */
    void (*loss)(const qa_rollout *answer, const double *log_pi, const double *value, double parts,
                 const qa_rollout_options *options, qa_rollout_sums *sums, double *g, double *g_value);
} qa_rollout_rule;

#endif
