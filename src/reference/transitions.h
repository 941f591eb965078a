/* Which tokens of a pair are actions, whose value each reward subtracts, and what the sums and means divide by.
 *
 * A row is one side of a pair: prompt and response, and the padding token that stands behind them in a batch. A state
 * is a prefix of it, and its name here is the position of the prefix' last token. */
#ifndef QA_REFERENCE_TRANSITIONS_H
#define QA_REFERENCE_TRANSITIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QA_REF_CHOSEN, QA_REF_REJECTED, QA_REF_SIDES };
#define QA_REF_NO_STATE ((size_t)-1) /* its value is 0 */

/* The objective as derived ("theory"), or as the authors published it. */
typedef struct qa_ref_objective {
    bool published;
    bool residual;             /* Qhat = z - z1; else Qhat = z */
    bool length_normalisation; /* theory: a return is divided by the number of its transitions */
    double alpha_tilde, alpha_0, gamma, beta;
} qa_ref_objective;

/* reward = Qhat(state, action) - gamma Vhat(value), which enters the return with weight c_t. */
typedef struct qa_ref_transition {
    size_t state, value;
    int32_t action;
    double weight;
} qa_ref_transition;

typedef struct qa_ref_row {
    int32_t *ids;                   /* [length + 1]; the last one is padding */
    size_t length, response_start;  /* tokens; position of the first that counts as response */
    bool terminal;                  /* the response ended, and was not cut off */
    size_t padded;                  /* tokens of the longest row of its micro-batch */
    size_t first, last;             /* states that are needed */
    qa_ref_transition *transitions; /* [n], with room for length + 1 */
    size_t n;
    double pairs, counted; /* what this row's terms of (M10)'s two means are divided by */
} qa_ref_row;

/* Lists the row's transitions and sets first and last; weights are not there yet. */
void qa_ref_list_transitions(qa_ref_row *row, const qa_ref_objective *objective);

/* (M9) the weights c_t: gamma^t (over their number, with length normalisation), or 1 / (padded length - 1). */
void qa_ref_weigh_transitions(qa_ref_row *row, const qa_ref_objective *objective);

/* (M10) what the means are taken over, of rows[pairs x QA_REF_SIDES]: theory: all pairs, all counted transitions;
 * published: the mean over micro-batches of their own means. */
void qa_ref_set_divisors(qa_ref_row *rows, size_t pairs, size_t micro_batch, const qa_ref_objective *objective);

#endif
