/* What becomes of several rewards that were learned apart, on random problems whose responses can be listed: the
 * token-level mixture (M12) of their policies, its exact weights, a choice among samples, and learning one after the
 * other, each against the optimum for the sum of the rewards, worked out response by response. gamma = 1 and
 * alpha_0 = alpha_tilde = 1 throughout; docs/derivation.md, section 14. */
#ifndef QA_RL_COMPOSITION_H
#define QA_RL_COMPOSITION_H

#include "qadapter/status.h"

#include <stddef.h>
#include <stdint.h>

enum { QA_COMPOSITION_PARTICLES = 5, QA_COMPOSITION_MOST = 8 };
extern const size_t qa_composition_particles[QA_COMPOSITION_PARTICLES]; /* 1, 2, 4, 8, 32 */

typedef struct qa_composition_options {
    size_t V, H;
    size_t policies; /* 1..QA_COMPOSITION_MOST, a reward each */
    double scale;    /* of the rewards: standard deviation of one token's */
} qa_composition_options;

/* Divergences from the optimum, nats, over whole responses. */
typedef struct qa_composition {
    double base_kl;                             /* KL(pi1 || optimum) */
    double kl;                                  /* KL(pi_mix || optimum) */
    double variation[QA_COMPOSITION_PARTICLES]; /* total variation, choosing one of so many samples of pi_mix */
    double exact_kl;                            /* of pi_mix weighted by W */
    double any_kl;                              /* the same with weights of the policies drawn from -1 to 2 */
    double sequence_kl;                         /* of learning one after the other */
} qa_composition;

/* The problem of this number. */
QA_MUST_CHECK qa_status qa_prove_composition(qa_composition *out, const qa_composition_options *options, uint64_t seed,
                                             uint64_t problem, qa_error *err);

#endif
