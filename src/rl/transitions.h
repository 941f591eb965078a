/* Which transitions a response has, under either objective.
 *
 * The objectives differ only in this table: which (state, action) pairs are counted, whose value is
 * subtracted from each Q-value, and with which weight c_t a reward enters the return. Everything after
 * it (M8 to M11) is the same code.
 *
 * A side is a sequence of length tokens, prompt first. State k is the prefix that ends at position
 * first_position + k, so that first_position = prompt_len - 1 makes state 0 the prompt itself and state k
 * the prompt with k response tokens; the last state is the whole sequence. */
#ifndef QA_RL_TRANSITIONS_H
#define QA_RL_TRANSITIONS_H

#include "qadapter/objective.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define QA_TERMINAL_STATE ((size_t)-1) /* its value is 0 */

/* One side of a pair as the layout sees it. */
typedef struct qa_side {
    const int32_t *ids; /* [length] prompt and response */
    size_t length;      /* tokens */
    size_t label_start; /* position of the first token that counts as response, 1..length */
    bool terminal;      /* the last token ends the response */
} qa_side;

/* One counted transition: reward = Qhat(state, action) - gamma Vhat(value_state). */
typedef struct qa_transition {
    size_t state;       /* number of s_t among the side's states */
    int32_t action;     /* a_t */
    size_t value_state; /* whose Vhat is subtracted, or QA_TERMINAL_STATE; the state itself for log pi(action|state) */
    double weight;      /* c_t of (M9) */
} qa_transition;

/* States of a side: length - label_start + 1 (from the one before the first response token to the whole
 * sequence). */
size_t qa_side_states(const qa_side *side);

/* What an objective is. layout: see qa_transitions_layout. */
typedef struct qa_objective_row {
    bool padded; /* transitions are those of rows padded to the micro-batch's longest, with the end-of-sequence token:
                    the longest row's last token is nobody's state */
    void (*layout)(qa_transition *transitions, const qa_side *side, const qa_objective *objective, size_t padded_length,
                   int32_t pad_id);
} qa_objective_row;

extern const qa_objective_row qa_objective_rows[]; /* by qa_objective_kind */
extern const char *const qa_objective_names[];     /* the same, NULL at the end */

/* Number of counted transitions; padded_length is the micro-batch's longest row, which else is not read. */
size_t qa_transition_count(const qa_side *side, const qa_objective *objective, size_t padded_length);

/* Writes qa_transition_count() entries. pad_id: the action of published's transition into the padding. */
void qa_transitions_layout(qa_transition *transitions, const qa_side *side, const qa_objective *objective,
                           size_t padded_length, int32_t pad_id);

/* The same for log pi(action|state) in place of a reward: every response token counts, with weight 1, and the value is
 * that of the state itself. Under the objective theory; what else qa_transitions_layout takes is not read. */
void qa_transitions_likelihood(qa_transition *transitions, const qa_side *side, const qa_objective *objective,
                               size_t padded_length, int32_t pad_id);

/* (M8) for every transition: reward[n] from q_action[n] = Qhat(state, action) and v[states]. */
void qa_transitions_rewards(double *reward, const qa_transition *transitions, size_t n, const double *q_action,
                            const double *v, double gamma);

/* (M11) -gamma g'_s for every state: what Vhat(s)'s gradient is worth. Adds to value_gradient[states]. */
void qa_transitions_value_gradient(double *value_gradient, const qa_transition *transitions, size_t n, const double *g,
                                   double gamma);

#endif
