/* KL(pitilde || pi1) of one state (see divergence.h).
 *
 * log pitilde is taken from (M7) and not as the logarithm of pi: where Qhat = 0 and alpha_0 = alpha_t the two
 * logarithms then cancel to the rounding of Vhat alone, and an action of probability 1e-30 still has an exact
 * one. */
#include "rl/divergence.h"

#include "rl/equations.h"

enum { KL_BLOCK = 256 };

/* term[i] = pi (log pitilde - log pi1) as if every action were possible; without a choice but for alpha_0, which is the
 * same for all, so that it runs in vectors. */
static inline void kl_terms(double *term, const qa_real *pi, const qa_real *q, const qa_real *log_pi1, double v,
                            size_t count, double alpha_0, double alpha_tilde) {
    for (size_t i = 0; i < count; i++) {
        const double log_p1 = (double)log_pi1[i], x = qa_m5_numerator((double)q[i], log_p1, alpha_0);
        term[i] = (double)pi[i] * ((x - v) / alpha_tilde - log_p1);
    }
}

double qa_kl_to_base(const qa_real *pi, const qa_real *q, const qa_real *log_pi1, double v, size_t V, double alpha_0,
                     double alpha_tilde) {
    double kl = 0.0, term[KL_BLOCK];
    for (size_t first = 0; first < V; first += KL_BLOCK) {
        const size_t count = V - first < KL_BLOCK ? V - first : KL_BLOCK;
        kl_terms(term, pi + first, q + first, log_pi1 + first, v, count, alpha_0, alpha_tilde);
        for (size_t i = 0; i < count; i++) {
            kl += pi[first + i] != 0 ? term[i] : 0.0;
        }
    }
    return kl;
}
