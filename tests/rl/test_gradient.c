/* (M11) against central differences of (M10), the whole loss: three pairs over a table of Q-values, the transitions
 * of either objective, values, rewards, returns, preference term and regulariser. The two sides of a pair share the
 * row of state 0, the prompt. */
#include "base/rng.h"
#include "rl/equations.h"
#include "rl/transitions.h"

#include <check.h>
#include <stdbool.h>
#include <string.h>

enum { V = 5, PAIRS = 3, MAX_STATES = 8, MAX_ROWS = 32, PAD = 2 };

/* Observed over all cases (relative to max(1, |gradient|)): 8e-11 in f64, 2e-6 in f32. */
#ifdef QA_F64
static const double step = 1e-5, tolerance = 1e-9;
#else
static const double step = 1e-2, tolerance = 2e-5;
#endif

/* Unequal lengths; responses of one token; ended and cut off; the longest row is pair 1's dispreferred one. */
static const int32_t ids[PAIRS][2][MAX_STATES] = {{{0, 3, 1, 4, 4, 0, 2}, {0, 3, 1, 1, 3}},
                                                  {{4, 0, 2}, {4, 0, 1, 1, 0, 3, 4, 2}},
                                                  {{1, 1, 3, 0, 4, 3, 3}, {1, 1, 3, 0, 1}}};
static const size_t prompt_length[PAIRS] = {3, 2, 4}, length[PAIRS][2] = {{7, 5}, {3, 8}, {7, 5}};
static const bool terminal[PAIRS][2] = {{true, false}, {true, true}, {false, false}};
enum { PADDED_LENGTH = 8 };

typedef struct batch {
    qa_objective objective;
    qa_side side[PAIRS][2];     /* preferred, dispreferred */
    size_t first_row[PAIRS][2]; /* of state 1; state 0 is in shared_row */
    size_t shared_row[PAIRS];
    size_t rows;
    qa_real q[MAX_ROWS][V], log_pi1[MAX_ROWS][V];
} batch;

/* What the loss computes on the way, kept for the gradient. */
typedef struct pass {
    qa_transition transitions[PAIRS][2][MAX_STATES];
    size_t n[PAIRS][2];
    double weight[PAIRS][2][MAX_STATES], reward[PAIRS][2][MAX_STATES];
    double z[PAIRS], counted;
} pass;

static size_t row_of(const batch *b, int pair, int side, size_t state) {
    return state == 0 ? b->shared_row[pair] : b->first_row[pair][side] + state - 1;
}

static void make_batch(batch *b, qa_objective objective, uint64_t seed) {
    qa_rng rng = qa_rng_seed(seed, 0);
    memset(b, 0, sizeof *b);
    b->objective = objective;
    for (int p = 0; p < PAIRS; p++) {
        b->shared_row[p] = b->rows++;
        for (int s = 0; s < 2; s++) {
            b->side[p][s] = (qa_side){ids[p][s], length[p][s], prompt_length[p], terminal[p][s]};
            b->first_row[p][s] = b->rows;
            b->rows += qa_side_states(&b->side[p][s]) - 1;
        }
    }
    ck_assert_uint_le(b->rows, MAX_ROWS);
    for (size_t i = 0; i < b->rows; i++) {
        double sum = 0.0;
        for (int a = 0; a < V; a++) {
            b->q[i][a] = (qa_real)qa_rng_normal(&rng);
            b->log_pi1[i][a] = (qa_real)qa_rng_normal(&rng);
            sum += exp((double)b->log_pi1[i][a]);
        }
        for (int a = 0; a < V; a++) {
            b->log_pi1[i][a] -= (qa_real)log(sum);
        }
    }
}

/* (M5), (M8), (M9) of one side; returns R. */
static double side_return(const batch *b, pass *w, int p, int s) {
    const qa_side *side = &b->side[p][s];
    const qa_objective *o = &b->objective;
    double v[MAX_STATES], q_action[MAX_STATES];
    qa_transition *transitions = w->transitions[p][s];
    const size_t n = w->n[p][s] = qa_transition_count(side, o, PADDED_LENGTH);
    qa_transitions_layout(transitions, side, o, PADDED_LENGTH, PAD);
    for (size_t k = 0; k < qa_side_states(side); k++) {
        const size_t row = row_of(b, p, s, k);
        v[k] = qa_m5_value(b->q[row], b->log_pi1[row], V, o->alpha_0, o->alpha_tilde);
    }
    for (size_t t = 0; t < n; t++) {
        w->weight[p][s][t] = transitions[t].weight;
        q_action[t] = (double)b->q[row_of(b, p, s, transitions[t].state)][transitions[t].action];
    }
    qa_transitions_rewards(w->reward[p][s], transitions, n, q_action, v, o->gamma);
    return qa_m9_return(w->weight[p][s], w->reward[p][s], n);
}

static double batch_loss(const batch *b, pass *w) {
    double loss = 0.0;
    w->counted = 0.0;
    for (int p = 0; p < PAIRS; p++) {
        w->z[p] = side_return(b, w, p, 0) - side_return(b, w, p, 1);
        w->counted += (double)(w->n[p][0] + w->n[p][1]);
        loss += qa_m10_preference_loss(w->z[p], b->objective.label_noise, PAIRS);
    }
    for (int p = 0; p < PAIRS; p++) {
        for (int s = 0; s < 2; s++) {
            loss += qa_m10_regulariser(w->reward[p][s], w->n[p][s], b->objective.beta, w->counted);
        }
    }
    return loss;
}

/* (M11) for every row, after batch_loss. */
static void batch_gradient(const batch *b, const pass *w, qa_real dq[MAX_ROWS][V]) {
    const qa_objective *o = &b->objective;
    memset(dq, 0, sizeof(qa_real[MAX_ROWS][V]));
    for (int p = 0; p < PAIRS; p++) {
        for (int s = 0; s < 2; s++) {
            double g[MAX_STATES], value_gradient[MAX_STATES] = {0};
            const size_t n = w->n[p][s];
            const double dR = qa_m10_return_gradient(w->z[p], o->label_noise, s == 0 ? 1 : -1, PAIRS);
            qa_m11_reward_gradient(g, w->weight[p][s], w->reward[p][s], n, dR, o->beta, w->counted);
            qa_transitions_value_gradient(value_gradient, w->transitions[p][s], n, g, o->gamma);
            for (size_t t = 0; t < n; t++) {
                const qa_transition *transition = &w->transitions[p][s][t];
                dq[row_of(b, p, s, transition->state)][transition->action] += (qa_real)g[t];
            }
            for (size_t k = 0; k < qa_side_states(&b->side[p][s]); k++) {
                const size_t row = row_of(b, p, s, k);
                qa_real pi[V];
                (void)qa_m7_policy(pi, b->q[row], b->log_pi1[row], V, o->alpha_0, o->alpha_tilde);
                qa_m11_add_value_term(dq[row], pi, value_gradient[k], V);
            }
        }
    }
}

static double central_difference(batch *b, qa_real *entry) {
    pass w;
    const qa_real keep = *entry;
    *entry = (qa_real)((double)keep + step);
    const double up = (double)*entry, loss_up = batch_loss(b, &w);
    *entry = (qa_real)((double)keep - step);
    const double down = (double)*entry, loss_down = batch_loss(b, &w);
    *entry = keep;
    return (loss_up - loss_down) / (up - down);
}

static void check_case(qa_objective objective, uint64_t seed) {
    batch b;
    pass w;
    qa_real dq[MAX_ROWS][V];
    make_batch(&b, objective, seed);
    ck_assert(isfinite(batch_loss(&b, &w)));
    batch_gradient(&b, &w, dq);
    for (size_t row = 0; row < b.rows; row++) {
        for (int a = 0; a < V; a++) {
            const double expected = central_difference(&b, &b.q[row][a]), found = (double)dq[row][a];
            const double scale = fabs(expected) > 1.0 ? fabs(expected) : 1.0;
            ck_assert_msg(
                fabs(found - expected) <= tolerance * scale,
                "%s, gamma %g, alpha_0 %g, alpha_tilde %g, beta %g, length normalisation %d: row %zu action %d: "
                "central difference %.12g, M11 %.12g",
                qa_objective_kind_name(objective.kind), objective.gamma, objective.alpha_0, objective.alpha_tilde,
                objective.beta, objective.length_normalisation, row, a, expected, found);
        }
    }
}

static void check_all(qa_objective_kind kind, bool length_normalisation) {
    static const double gammas[] = {0.8, 0.95, 1.0}, betas[] = {0.0, 0.3};
    static const double alphas[][2] = {{1.0, 1.0}, {0.01, 1.0}, {0.5, 0.7}, {0.0, 1.5}}; /* alpha_0, alpha_tilde */
    for (size_t i = 0; i < 3; i++) {
        for (size_t j = 0; j < 2; j++) {
            for (size_t k = 0; k < 4; k++) {
                check_case((qa_objective){.kind = kind,
                                          .alpha_0 = alphas[k][0],
                                          .alpha_tilde = alphas[k][1],
                                          .gamma = gammas[i],
                                          .beta = betas[j],
                                          .label_noise = 0.1 * (double)k,
                                          .length_normalisation = length_normalisation},
                           10 * i + 4 * j + k);
            }
        }
    }
}

START_TEST(theory_gradient) { check_all(QA_THEORY, false); }
END_TEST

START_TEST(theory_gradient_length_normalised) { check_all(QA_THEORY, true); }
END_TEST

START_TEST(published_gradient) { check_all(QA_PUBLISHED, false); }
END_TEST

static double row_norm(const qa_real *row) {
    double sum = 0.0;
    for (int a = 0; a < V; a++) {
        sum += fabs((double)row[a]);
    }
    return sum;
}

/* theory: the prompt's row moves at the first actions only (its value is subtracted by nobody), the state after an
 * ending token not at all, the last state of a response that was cut off through its value.
 * published: the prompt's row not at all, and the state after an ending token moves unless its row is the longest. */
START_TEST(which_rows_move) {
    batch b;
    pass w;
    qa_real dq[MAX_ROWS][V];
    qa_objective objective = {.kind = QA_THEORY, .alpha_0 = 0.5, .alpha_tilde = 1.0, .gamma = 0.9, .beta = 0.1};
    make_batch(&b, objective, 7);
    (void)batch_loss(&b, &w);
    batch_gradient(&b, &w, dq);
    for (int a = 0; a < V; a++) {
        const bool is_first_action = a == ids[0][0][3] || a == ids[0][1][3];
        ck_assert_int_eq(dq[b.shared_row[0]][a] != (qa_real)0, is_first_action);
    }
    ck_assert_double_eq(row_norm(dq[row_of(&b, 0, 0, 4)]), 0.0);
    ck_assert_double_gt(row_norm(dq[row_of(&b, 0, 1, 2)]), 1e-3);
    ck_assert_double_gt(row_norm(dq[row_of(&b, 2, 1, 1)]), 1e-3);

    objective.kind = QA_PUBLISHED;
    make_batch(&b, objective, 7);
    (void)batch_loss(&b, &w);
    batch_gradient(&b, &w, dq);
    for (int p = 0; p < PAIRS; p++) {
        ck_assert_double_eq(row_norm(dq[b.shared_row[p]]), 0.0);
    }
    ck_assert_double_gt(row_norm(dq[row_of(&b, 0, 0, 4)]), 1e-4);
    ck_assert_double_eq(row_norm(dq[row_of(&b, 1, 1, 6)]), 0.0); /* the longest row's last state */
    ck_assert_double_gt(row_norm(dq[row_of(&b, 1, 1, 5)]), 1e-4);
}
END_TEST

Suite *rl_gradient_suite(void);

Suite *rl_gradient_suite(void) {
    Suite *suite = suite_create("rl_gradient");
    TCase *tests = tcase_create("gradient");
    tcase_add_test(tests, theory_gradient);
    tcase_add_test(tests, theory_gradient_length_normalised);
    tcase_add_test(tests, published_gradient);
    tcase_add_test(tests, which_rows_move);
    suite_add_tcase(suite, tests);
    return suite;
}
