/* A customisation problem with nothing hidden: a token MDP, both rewards, the pre-trained policy that is optimal for
 * r1, and the optimum for lambda r1 + r2 that learning from preferences about r2 alone is meant to reach. */
#ifndef QA_RL_CUSTOMISATION_H
#define QA_RL_CUSTOMISATION_H

#include "base/arena.h"
#include "base/option.h"
#include "rl/token_mdp.h"

typedef struct qa_customisation_options {
    size_t V, H;
    double gamma;               /* in (0, 1] */
    double lambda;              /* >= 0 */
    double alpha1, alpha_tilde; /* > 0 */
    uint64_t seed;
} qa_customisation_options;

/* V = 4, H = 3, gamma = lambda = alpha1 = alpha_tilde = 1, seed 1. */
qa_customisation_options qa_customisation_defaults(void);
extern const qa_option_table qa_customisation_table; /* one row an option (base/option.h) */

/* Owns its arrays; everything in them is exact. Free with qa_customisation_free. */
typedef struct qa_customisation {
    qa_customisation_options options;
    qa_token_mdp mdp;
    double *r1, *r2;     /* [inner x V], independent standard normal numbers */
    double *ret1, *ret2; /* [responses] their discounted sums, (M9) */
    qa_real *z1;         /* [rows x V] log pi1 = (M2) of r1 at alpha1; uniform in the rows of complete responses */
    double *log_prob1;   /* [responses] log pi1(y) */
    qa_real *q;          /* [inner x V] the true Qhat, (M6) */
    double *log_optimum; /* [responses] log pi*(y), (M7) of it */
    qa_arena arena;      /* that they are in */
} qa_customisation;

QA_MUST_CHECK qa_status qa_customisation_create(qa_customisation *out, const qa_customisation_options *options,
                                                qa_error *err);
void qa_customisation_free(qa_customisation *problem);

/* log pitilde(y) of (M7) for any q[inner x V] at any alpha_0: what the dial does. */
QA_MUST_CHECK qa_status qa_customisation_dial(const qa_customisation *problem, const qa_real *q, double alpha_0,
                                              double *log_prob, qa_error *err);

/* The same with Qhat solved anew for that alpha_0: the optimum for lambda = alpha_0 / alpha1. */
QA_MUST_CHECK qa_status qa_customisation_resolve(const qa_customisation *problem, double alpha_0, double *log_prob,
                                                 qa_error *err);

#endif
