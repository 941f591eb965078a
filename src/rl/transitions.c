/* The table that tells the objectives apart: which transitions a side has, and whose value each
 * reward subtracts. Positions count tokens of the side from 0, states count prefixes from the one that ends
 * just before label_start. With P = label_start and L = length, for a response of L - P tokens:
 *
 *            token        ... P-1 |  P   P+1  ...  L-1
 *            state              0    1    2   ...  L-P        (state k = the tokens up to position P-1+k)
 *
 *   theory     t = 0..L-P-1:  state t,    action ids[P+t], value of state t+1 (0 after the ending token)
 *   published  p = P..:       state p-P+1, action ids[p+1], value of the same state;
 *              so the first response token is nobody's action, and a row shorter than the longest one ends
 *              with an action that is a padding token.
 *   likelihood t = 0..L-P-1:  state t,    action ids[P+t], value of the same state t
 *              (sft, replay, dpo): at alpha_tilde = 1, alpha_0 = 0, Qhat = logits the difference of the two is
 *              log pi(a_t|s_t), of which those methods' losses are made.
 * Plain twin: reference/transitions.c: qa_ref_list_transitions, qa_ref_weigh_transitions. */
#include "rl/transitions.h"

#include "rl/equations.h"

size_t qa_side_states(const qa_side *side) { return side->length - side->label_start + 1; }

/* One past the last position whose prefix is a counted state under a padded objective: the side's length, unless the
 * side is the longest row, whose last position has no token after it to act as action. */
static size_t padded_end(const qa_side *side, size_t padded_length) {
    const size_t actions = padded_length - 1;
    return side->length < actions ? side->length : actions;
}

/* Every response token is an action; c_t = gamma^t, over the number of transitions with length normalisation. A
 * response that was cut off is not over: its last reward subtracts the value of the whole sequence. */
static void layout_theory(qa_transition *transitions, const qa_side *side, const qa_objective *objective,
                          size_t padded_length, int32_t pad_id) {
    (void)padded_length;
    (void)pad_id;
    const size_t n = side->length - side->label_start;
    const double divisor = objective->length_normalisation ? (double)n : 1.0;
    double discount = 1.0;
    for (size_t t = 0; t < n; t++) {
        bool ends = side->terminal && t + 1 == n;
        transitions[t] = (qa_transition){.state = t,
                                         .action = side->ids[side->label_start + t],
                                         .value_state = ends ? QA_TERMINAL_STATE : t + 1,
                                         .weight = discount / divisor};
        discount *= objective->gamma;
    }
}

/* The mask of the authors' code looks at the token that a state ends with, not at the action, and the value is that
 * of the state itself; the return is divided by the row's padded number of transitions. No state is terminal. */
static void layout_published(qa_transition *transitions, const qa_side *side, const qa_objective *objective,
                             size_t padded_length, int32_t pad_id) {
    (void)objective;
    const size_t end = padded_end(side, padded_length);
    for (size_t p = side->label_start; p < end; p++) {
        size_t state = p - side->label_start + 1;
        transitions[p - side->label_start] = (qa_transition){.state = state,
                                                             .action = p + 1 < side->length ? side->ids[p + 1] : pad_id,
                                                             .value_state = state,
                                                             .weight = 1.0 / (double)(padded_length - 1)};
    }
}

const qa_objective_row qa_objective_rows[] = {
    [QA_THEORY] = {false, layout_theory},
    [QA_PUBLISHED] = {true, layout_published},
};

const char *const qa_objective_names[] = {
    [QA_THEORY] = "theory",
    [QA_PUBLISHED] = "published",
    NULL,
};

size_t qa_transition_count(const qa_side *side, const qa_objective *objective, size_t padded_length) {
    const size_t end = qa_objective_rows[objective->kind].padded ? padded_end(side, padded_length) : side->length;
    return end > side->label_start ? end - side->label_start : 0;
}

void qa_transitions_layout(qa_transition *transitions, const qa_side *side, const qa_objective *objective,
                           size_t padded_length, int32_t pad_id) {
    qa_objective_rows[objective->kind].layout(transitions, side, objective, padded_length, pad_id);
}

/* Where the response ends makes no difference. */
void qa_transitions_likelihood(qa_transition *transitions, const qa_side *side, const qa_objective *objective,
                               size_t padded_length, int32_t pad_id) {
    (void)objective;
    (void)padded_length;
    (void)pad_id;
    for (size_t t = 0; t < side->length - side->label_start; t++) {
        transitions[t] =
            (qa_transition){.state = t, .action = side->ids[side->label_start + t], .value_state = t, .weight = 1.0};
    }
}

void qa_transitions_rewards(double *reward, const qa_transition *transitions, size_t n, const double *q_action,
                            const double *v, double gamma) {
    for (size_t t = 0; t < n; t++) {
        size_t s = transitions[t].value_state;
        reward[t] = qa_m8_reward(q_action[t], gamma, s == QA_TERMINAL_STATE ? 0.0 : v[s]);
    }
}

/* r_t = Qhat(s_t,a_t) - gamma Vhat(value_state) gives dr_t/dVhat = -gamma; a terminal value is a constant. */
void qa_transitions_value_gradient(double *value_gradient, const qa_transition *transitions, size_t n, const double *g,
                                   double gamma) {
    for (size_t t = 0; t < n; t++) {
        size_t s = transitions[t].value_state;
        if (s != QA_TERMINAL_STATE) {
            value_gradient[s] -= gamma * g[t];
        }
    }
}
