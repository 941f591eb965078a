/* What the theory promises of the equations together (docs/derivation.md): policy recovery and the bijection in
 * small tabular problems, telescoping, DPO as a special case, and the limits of the inference dial. */
#include "base/rng.h"
#include "rl/equations.h"
#include "rl/transitions.h"

#include <check.h>
#include <stdbool.h>

/* Observed over all tests here, relative to max(1, |expected|): 2e-14 in f64, 6e-6 in f32 (the value of Qhat = 0 at
 * alpha = 73, where log pi1's rounding is multiplied by it; 9e-7 elsewhere). */
#ifdef QA_F64
static const double tolerance = 1e-10;
#else
static const double tolerance = 2e-5;
#endif

static void expect_near(double found, double expected, double tol, const char *what) {
    double scale = fabs(expected) > 1.0 ? fabs(expected) : 1.0;
    ck_assert_msg(fabs(found - expected) <= tol * scale, "%s: expected %.17g, found %.17g", what, expected, found);
}

/* ---- policy recovery and bijection, tabular ---- */

enum { S = 6, A = 4, SWEEPS = 500 };

/* p[s][a][next]; what is missing to 1 goes to the terminal state, whose value is 0. */
typedef struct mdp {
    double p[S][A][S], gamma;
} mdp;

/* gamma < 1: any state may follow any. gamma = 1: episodic, only later states follow, the last one ends. */
static mdp random_mdp(qa_rng *rng, double gamma) {
    mdp m = {.gamma = gamma};
    for (int s = 0; s < S; s++) {
        for (int a = 0; a < A; a++) {
            double sum = gamma < 1.0 ? 0.0 : 0.2; /* of ending here */
            for (int next = gamma < 1.0 ? 0 : s + 1; next < S; next++) {
                sum += m.p[s][a][next] = qa_rng_uniform(rng);
            }
            for (int next = 0; next < S; next++) {
                m.p[s][a][next] /= sum;
            }
        }
    }
    return m;
}

static double expected_value(const mdp *m, int s, int a, const double v[S]) {
    double sum = 0.0;
    for (int next = 0; next < S; next++) {
        sum += m->p[s][a][next] * v[next];
    }
    return sum;
}

/* (M2) as it stands, in double and without the functions under test: log pi*(a|s) of reward r at alpha. */
static void soft_optimal(const mdp *m, double r[S][A], double alpha, double log_pi[S][A]) {
    double q[S][A] = {{0}}, v[S] = {0};
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        for (int s = 0; s < S; s++) {
            for (int a = 0; a < A; a++) {
                q[s][a] = r[s][a] + m->gamma * expected_value(m, s, a, v);
            }
        }
        for (int s = 0; s < S; s++) {
            double max = q[s][0], sum = 0.0;
            for (int a = 1; a < A; a++) {
                max = fmax(max, q[s][a]);
            }
            for (int a = 0; a < A; a++) {
                sum += exp((q[s][a] - max) / alpha);
            }
            v[s] = max + alpha * log(sum);
        }
    }
    for (int s = 0; s < S; s++) {
        for (int a = 0; a < A; a++) {
            log_pi[s][a] = (q[s][a] - v[s]) / alpha;
        }
    }
}

/* The fixed point of (M5), (M6) for reward r2 over pi1. */
static void residual_fixed_point(const mdp *m, double r2[S][A], qa_real log_pi1[S][A], double alpha_0,
                                 double alpha_tilde, qa_real q[S][A], double v[S]) {
    for (int s = 0; s < S; s++) {
        v[s] = 0.0;
    }
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        for (int s = 0; s < S; s++) {
            for (int a = 0; a < A; a++) {
                q[s][a] = (qa_real)qa_m6_residual_q(r2[s][a], m->gamma, expected_value(m, s, a, v));
            }
        }
        for (int s = 0; s < S; s++) {
            v[s] = qa_m5_value(q[s], log_pi1[s], A, alpha_0, alpha_tilde);
        }
    }
}

/* A random problem and what a test may know of it: pi1 and r2, not r1. */
typedef struct problem {
    mdp m;
    double r2[S][A], log_target[S][A]; /* soft-optimal policy of lambda r1 + r2 at alpha_tilde */
    qa_real log_pi1[S][A];             /* of r1 at alpha1 */
    double alpha_0, alpha_tilde;
} problem;

static problem random_problem(qa_rng *rng, double gamma) {
    problem x = {.m = random_mdp(rng, gamma)};
    const double lambda = 0.2 + 1.8 * qa_rng_uniform(rng), alpha1 = 0.3 + qa_rng_uniform(rng);
    double r1[S][A], sum[S][A], log_pi1[S][A];
    x.alpha_0 = lambda * alpha1;
    x.alpha_tilde = 0.3 + qa_rng_uniform(rng);
    for (int s = 0; s < S; s++) {
        for (int a = 0; a < A; a++) {
            r1[s][a] = qa_rng_normal(rng);
            x.r2[s][a] = qa_rng_normal(rng);
            sum[s][a] = lambda * r1[s][a] + x.r2[s][a];
        }
    }
    soft_optimal(&x.m, r1, alpha1, log_pi1);
    soft_optimal(&x.m, sum, x.alpha_tilde, x.log_target);
    for (int s = 0; s < S; s++) {
        for (int a = 0; a < A; a++) {
            x.log_pi1[s][a] = (qa_real)log_pi1[s][a];
        }
    }
    return x;
}

/* pi1 and r2 alone give the optimal policy of lambda r1 + r2. */
START_TEST(policy_recovery) {
    qa_rng rng = qa_rng_seed(20, 0);
    for (int trial = 0; trial < 12; trial++) {
        problem x = random_problem(&rng, trial % 2 == 0 ? 0.5 + 0.4 * qa_rng_uniform(&rng) : 1.0);
        qa_real q[S][A];
        double v[S];
        residual_fixed_point(&x.m, x.r2, x.log_pi1, x.alpha_0, x.alpha_tilde, q, v);
        for (int s = 0; s < S; s++) {
            for (int a = 0; a < A; a++) {
                const double log_pi =
                    qa_m7_log_policy((double)q[s][a], (double)x.log_pi1[s][a], v[s], x.alpha_0, x.alpha_tilde);
                expect_near(log_pi, x.log_target[s][a], tolerance, "log pi of lambda r1 + r2");
            }
        }
    }
}
END_TEST

/* (M8) of the fixed point is r2; (M6) of (M8) of any Qhat is that Qhat. */
START_TEST(bijection) {
    qa_rng rng = qa_rng_seed(21, 0);
    for (int trial = 0; trial < 12; trial++) {
        problem x = random_problem(&rng, trial % 2 == 0 ? 0.9 : 1.0);
        qa_real q[S][A], any[S][A];
        double v[S], v_any[S], implied[S][A];
        residual_fixed_point(&x.m, x.r2, x.log_pi1, x.alpha_0, x.alpha_tilde, q, v);
        for (int s = 0; s < S; s++) {
            for (int a = 0; a < A; a++) {
                expect_near(qa_m8_reward((double)q[s][a], x.m.gamma, expected_value(&x.m, s, a, v)), x.r2[s][a],
                            tolerance, "reward of the fixed point");
                any[s][a] = (qa_real)(3.0 * qa_rng_normal(&rng));
            }
            v_any[s] = qa_m5_value(any[s], x.log_pi1[s], A, x.alpha_0, x.alpha_tilde);
        }
        for (int s = 0; s < S; s++) {
            for (int a = 0; a < A; a++) {
                implied[s][a] = qa_m8_reward((double)any[s][a], x.m.gamma, expected_value(&x.m, s, a, v_any));
            }
        }
        residual_fixed_point(&x.m, implied, x.log_pi1, x.alpha_0, x.alpha_tilde, q, v);
        for (int s = 0; s < S; s++) {
            for (int a = 0; a < A; a++) {
                expect_near((double)q[s][a], (double)any[s][a], tolerance, "Qhat of its own reward");
            }
        }
    }
}
END_TEST

/* ---- telescoping and DPO, on responses ---- */

enum { V = 11, N = 7, STATES = N + 1 };

/* One response of n tokens after a prompt of one: the rows of its states, the first of which is the prompt's. */
typedef struct response {
    int32_t ids[N + 1];
    qa_real q[STATES][V], log_pi1[STATES][V];
    double v[STATES];
} response;

static void random_response(qa_rng *rng, response *y, double alpha_0, double alpha_tilde) {
    for (int k = 0; k < STATES; k++) {
        double sum = 0.0;
        y->ids[k] = (int32_t)qa_rng_below(rng, V);
        for (int a = 0; a < V; a++) {
            y->q[k][a] = (qa_real)qa_rng_normal(rng);
            y->log_pi1[k][a] = (qa_real)qa_rng_normal(rng);
            sum += exp((double)y->log_pi1[k][a]);
        }
        for (int a = 0; a < V; a++) {
            y->log_pi1[k][a] -= (qa_real)log(sum);
        }
        y->v[k] = qa_m5_value(y->q[k], y->log_pi1[k], V, alpha_0, alpha_tilde);
    }
}

/* The return of the first n tokens under `theory`; with value_at_same_state the reward subtracts Vhat(s_t), as in
 * `published`, over the same transitions. */
static double response_return(const response *y, const qa_objective *objective, size_t n, bool terminal,
                              bool value_at_same_state) {
    const qa_side side = {.ids = y->ids, .length = 1 + n, .label_start = 1, .terminal = terminal};
    qa_transition transitions[N];
    double q_action[N], reward[N], weight[N];
    ck_assert_uint_eq(qa_transition_count(&side, objective, 0), n);
    qa_transitions_layout(transitions, &side, objective, 0, 0);
    for (size_t t = 0; t < n; t++) {
        transitions[t].value_state = value_at_same_state ? transitions[t].state : transitions[t].value_state;
        q_action[t] = (double)y->q[transitions[t].state][transitions[t].action];
        weight[t] = transitions[t].weight;
    }
    qa_transitions_rewards(reward, transitions, n, q_action, y->v, objective->gamma);
    return qa_m9_return(weight, reward, n);
}

/* sum_t alpha_tilde log pitilde(a_t|s_t) - alpha_0 log pi1(a_t|s_t) over the first n tokens. */
static double log_ratio(const response *y, const qa_objective *o, size_t n) {
    double sum = 0.0;
    for (size_t t = 0; t < n; t++) {
        const double log_pi1 = (double)y->log_pi1[t][y->ids[t + 1]];
        const double q = (double)y->q[t][y->ids[t + 1]];
        sum +=
            o->alpha_tilde * qa_m7_log_policy(q, log_pi1, y->v[t], o->alpha_0, o->alpha_tilde) - o->alpha_0 * log_pi1;
    }
    return sum;
}

/* gamma = 1:  R = Vhat(s_0) + sum_t [Qhat(s_t,a_t) - Vhat(s_t)] - Vhat(s_n), the last 0 for a response that ended. */
START_TEST(telescoping) {
    qa_rng rng = qa_rng_seed(22, 0);
    const qa_objective o = {.kind = QA_THEORY, .alpha_0 = 0.4, .alpha_tilde = 0.9, .gamma = 1.0};
    for (size_t n = 1; n <= N; n++) {
        response y;
        random_response(&rng, &y, o.alpha_0, o.alpha_tilde);
        const double same = response_return(&y, &o, n, true, true);
        expect_near(response_return(&y, &o, n, true, false), y.v[0] + same, 1e-12, "ended");
        expect_near(response_return(&y, &o, n, false, false), y.v[0] + same - y.v[n], 1e-12, "cut off");
        expect_near(same, log_ratio(&y, &o, n), 1e-12, "log-ratio");
    }
}
END_TEST

/* So two responses to the same prompt have the same preference logit whichever state's value is subtracted, at
 * gamma = 1, and not below. */
START_TEST(placement_of_the_value_does_not_matter_at_gamma_1) {
    qa_rng rng = qa_rng_seed(23, 0);
    qa_objective o = {.kind = QA_THEORY, .alpha_0 = 0.4, .alpha_tilde = 0.9, .gamma = 1.0};
    response w, l;
    random_response(&rng, &w, o.alpha_0, o.alpha_tilde);
    random_response(&rng, &l, o.alpha_0, o.alpha_tilde);
    for (int a = 0; a < V; a++) {
        l.q[0][a] = w.q[0][a];
        l.log_pi1[0][a] = w.log_pi1[0][a];
    }
    l.v[0] = w.v[0];
    const double theory = response_return(&w, &o, 6, true, false) - response_return(&l, &o, 3, true, false);
    const double same = response_return(&w, &o, 6, true, true) - response_return(&l, &o, 3, true, true);
    expect_near(theory, same, 1e-12, "preference logit");
    o.gamma = 0.9;
    const double theory_discounted = response_return(&w, &o, 6, true, false) - response_return(&l, &o, 3, true, false);
    const double same_discounted = response_return(&w, &o, 6, true, true) - response_return(&l, &o, 3, true, true);
    ck_assert_double_gt(fabs(theory_discounted - same_discounted), 1e-2);
}
END_TEST

/* gamma = 1, alpha_tilde = alpha_0 = b, no regulariser: (M10) is DPO's loss of the policy (M7) with its beta = b,
 * computed here from normalised probabilities. */
START_TEST(dpo_is_a_special_case) {
    qa_rng rng = qa_rng_seed(24, 0);
    const double b = 0.3;
    const qa_objective o = {.kind = QA_THEORY, .alpha_0 = b, .alpha_tilde = b, .gamma = 1.0};
    response y[2];
    const size_t n[2] = {N, 4};
    random_response(&rng, &y[0], b, b);
    random_response(&rng, &y[1], b, b);
    for (int a = 0; a < V; a++) {
        y[1].q[0][a] = y[0].q[0][a];
        y[1].log_pi1[0][a] = y[0].log_pi1[0][a];
    }
    y[1].v[0] = y[0].v[0];
    double ratio[2] = {0.0, 0.0};
    for (int i = 0; i < 2; i++) {
        for (size_t t = 0; t < n[i]; t++) {
            double sum = 0.0, at_action = 0.0;
            for (int a = 0; a < V; a++) {
                const double weight = exp((double)y[i].q[t][a] / b + (double)y[i].log_pi1[t][a]);
                sum += weight;
                at_action = a == y[i].ids[t + 1] ? weight : at_action;
            }
            ratio[i] += log(at_action / sum) - (double)y[i].log_pi1[t][y[i].ids[t + 1]];
        }
    }
    const double z = response_return(&y[0], &o, n[0], true, false) - response_return(&y[1], &o, n[1], true, false);
    expect_near(z, b * (ratio[0] - ratio[1]), tolerance, "preference logit");
    expect_near(qa_m10_preference_loss(z, 0.0, 1.0), log1p(exp(-b * (ratio[0] - ratio[1]))), tolerance, "loss");
}
END_TEST

/* ---- the inference dial ---- */

static double distance(const qa_real pi[V], const qa_real log_pi1[V]) {
    double most = 0.0;
    for (int a = 0; a < V; a++) {
        most = fmax(most, fabs((double)pi[a] - exp((double)log_pi1[a])));
    }
    return most;
}

/* Qhat = 0 is pi1 itself; a bounded Qhat at alpha_tilde = alpha_0 -> infinity tends to it: pitilde/pi1 lies within
 * exp(+-(max Qhat - min Qhat)/alpha); alpha_0 = 0 is the soft-max of Qhat alone. */
START_TEST(inference_dial) {
    qa_rng rng = qa_rng_seed(25, 0);
    response y;
    random_response(&rng, &y, 1.0, 1.0);
    const qa_real zero[V] = {0};
    qa_real pi[V];
    for (double alpha = 0.1; alpha < 100.0; alpha *= 3.0) {
        expect_near(qa_m7_policy(pi, zero, y.log_pi1[0], V, alpha, alpha), 0.0, tolerance, "value of Qhat = 0");
        ck_assert_double_le(distance(pi, y.log_pi1[0]), tolerance);
    }
    double min = INFINITY, max = -INFINITY, sum = 0.0, last = 1.0;
    for (int a = 0; a < V; a++) {
        min = fmin(min, (double)y.q[0][a]);
        max = fmax(max, (double)y.q[0][a]);
        sum += exp((double)y.q[0][a] / 0.7);
    }
    for (double alpha = 1.0; alpha <= 1e4; alpha *= 10.0) {
        (void)qa_m7_policy(pi, y.q[0], y.log_pi1[0], V, alpha, alpha);
        const double d = distance(pi, y.log_pi1[0]);
        ck_assert_double_le(d, exp((max - min) / alpha) - 1.0 + tolerance);
        ck_assert_double_lt(d, last);
        last = d;
    }
    (void)qa_m7_policy(pi, y.q[0], y.log_pi1[0], V, 0.0, 0.7);
    for (int a = 0; a < V; a++) {
        expect_near((double)pi[a], exp((double)y.q[0][a] / 0.7) / sum, tolerance, "soft-max of Qhat");
    }
}
END_TEST

Suite *rl_identities_suite(void);

Suite *rl_identities_suite(void) {
    Suite *suite = suite_create("rl_identities");
    TCase *tests = tcase_create("identities");
    tcase_add_test(tests, policy_recovery);
    tcase_add_test(tests, bijection);
    tcase_add_test(tests, telescoping);
    tcase_add_test(tests, placement_of_the_value_does_not_matter_at_gamma_1);
    tcase_add_test(tests, dpo_is_a_special_case);
    tcase_add_test(tests, inference_dial);
    suite_add_tcase(suite, tests);
    return suite;
}
