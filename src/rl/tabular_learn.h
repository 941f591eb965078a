/* (M10) minimised over a table: the method's learning problem with nothing left to approximate.
 *
 * The responses of a token MDP, preferences between them, and one row of V numbers for every prefix in the place of a
 * language model's logits. Transitions, rewards, returns, loss and gradient come from the functions that train
 * a language model (transitions.h, equations.h). */
#ifndef QA_RL_TABULAR_LEARN_H
#define QA_RL_TABULAR_LEARN_H

#include "qadapter/objective.h"
#include "rl/lbfgs.h"
#include "rl/token_mdp.h"

/* ---- preferences ---- */

/* One response over another, as often as weight says. */
typedef struct qa_preference {
    size_t preferred, dispreferred;
    double weight;
} qa_preference;

/* Owned; free with qa_preferences_free. */
typedef struct qa_preferences {
    qa_preference *items; /* [n], no two alike */
    size_t n;
    double total; /* sum of the weights: the number of pairs */
} qa_preferences;

/* `pairs` pairs of different responses, both drawn from log_prob[responses], labelled by (M9) with the returns
 * ret[responses]; each label is turned round with probability flip. The first k pairs of a longer sample are those of a
 * shorter one with the same rng. QA_ERR_ARGUMENT when there are no two different responses to draw. */
QA_MUST_CHECK qa_status qa_preferences_sample(qa_preferences *out, const qa_token_mdp *mdp, const double *log_prob,
                                              const double *ret, size_t pairs, double flip, qa_rng *rng, qa_error *err);

/* Their limit: every ordered pair, weighted by its probability; total is 1. */
QA_MUST_CHECK qa_status qa_preferences_exact(qa_preferences *out, const qa_token_mdp *mdp, const double *log_prob,
                                             const double *ret, double flip, qa_error *err);

void qa_preferences_free(qa_preferences *preferences);

/* ---- the table ---- */

typedef struct qa_table qa_table;

/* A table for the mdp, which it borrows. z1: [rows x V], copied: what the frozen model's logits are for a language
 * model; log pi1 is its log-softmax. `published` pads to the row of the longest possible response, H tokens after a
 * prompt of one, with the end token. */
QA_MUST_CHECK qa_status qa_table_create(qa_table **out, const qa_token_mdp *mdp, const qa_objective *objective,
                                        const qa_real *z1, qa_error *err);
void qa_table_free(qa_table *table); /* NULL is allowed */

/* Numbers to learn, theta: [rows x V] under `published`, [inner x V] under `theory`, whose terminal rows nothing
 * reads. */
size_t qa_table_size(const qa_table *table);

/* theta where a fresh adapter starts: z1. */
void qa_table_start(const qa_table *table, double *theta);

/* Qhat of theta, theta or theta - z1 as the parametrisation says: q[qa_table_size]. */
void qa_table_q(const qa_table *table, const double *theta, qa_real *q);

/* (M10) of the preferences, or ipo's loss where that is the objective's method (of problems with both temperatures and
 * gamma 1), and (M11) into gradient[qa_table_size]. */
double qa_table_loss(qa_table *table, const qa_preferences *preferences, const double *theta, double *gradient);

/* R(y) of every response at the last theta that qa_table_loss saw, [responses]. */
const double *qa_table_returns(const qa_table *table);

/* From now on every reward subtracts the value of its own state, over the same transitions: what is left of `published`
 * without its mask and its padding. For the proof that at gamma = 1 this changes no preference. */
void qa_table_value_at_same_state(qa_table *table);

/* Minimises from theta (see qa_table_start) to a gradient norm of `tolerance`; theta becomes the result. Preferences
 * that some table fits perfectly have no finite minimiser without the regulariser: then the loss falls towards
 * its bound until the gradient is small enough or the iterations are used up, as found->stop says. */
QA_MUST_CHECK qa_status qa_table_fit(qa_table *table, const qa_preferences *preferences, double *theta,
                                     double tolerance, size_t max_iterations, qa_minimum *found, qa_error *err);

/* log pitilde(y) of every response at theta, log_prob[responses]: (M7) over the prefixes. */
QA_MUST_CHECK qa_status qa_table_log_prob(const qa_table *table, const double *theta, double *log_prob, qa_error *err);

#endif
