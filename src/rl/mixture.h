/* (M12): several policies at once, at every token and over whole responses. Pure, on plain numbers; derived in
 * docs/derivation.md.
 *
 * pi_1 (here pi1) is the pre-trained policy, pi_i(.|s) one of the policies that are mixed, w_i its weight, any finite
 * number: 1 counts it once, 0 leaves it out, below 0 turns away from it.
 *
 *     (M12)  log Z(s) = log sum_a exp( x(s,a) ),  x(s,a) = log pi1(a|s) + sum_i w_i ( log pi_i(a|s) - log pi1(a|s) )
 *            log pi_mix(a|s) = x(s,a) - log Z(s)
 *            log W(y) = sum_t log Z(s_t)
 *
 * Of responses of pi_mix, each counted W(y) times, the distribution is pi1(y) prod_i ( pi_i(y) / pi1(y) )^w_i over its
 * sum: of policies that are optimal for rewards r_i, the optimum for their sum. */
#ifndef QA_RL_MIXTURE_H
#define QA_RL_MIXTURE_H

#include <stddef.h>

/* What one policy adds to x(s,a), nats. A weight of 0 adds nothing, also where a policy rules the action out. */
static inline double qa_m12_term(double weight, double log_pi, double log_pi1) {
    return weight == 0.0 ? 0.0 : weight * (log_pi - log_pi1);
}

/* x(s,.)[V] becomes log pi_mix(.|s); returns log Z(s). NaN where an entry is NaN or +inf, or all are -inf. */
double qa_m12_normalise(double *x, size_t V);

/* ---- choosing one of n samples, log_weight[n] being their log W(y) ---- */

/* The mean weight's logarithm: log( 1/n sum_k W_k ), finite for finite weights. */
double qa_m12_log_mean_weight(const double *log_weight, size_t n);

/* How many samples of the distribution itself these are worth: (sum W)^2 / sum W^2, 1 to n. */
double qa_m12_effective_samples(const double *log_weight, size_t n);

/* The sample that a uniform number in [0, 1) chooses, each with a probability in proportion to its weight. */
size_t qa_m12_choose(const double *log_weight, size_t n, double uniform);

#endif
