/* The equations one at a time: values worked out by hand, identities between them, and extreme inputs. */
#include "base/rng.h"
#include "rl/equations.h"

#include <check.h>
#include <float.h>
#include <stdbool.h>
#include <stdlib.h>

/* Observed over these tests, relative to max(1, |expected|): 6e-8 in f32, 7e-15 in f64. */
#ifdef QA_F64
static const double tolerance = 1e-13;
#else
static const double tolerance = 1e-6;
#endif

static void expect_near(double found, double expected, double tol, const char *what) {
    double scale = fabs(expected) > 1.0 ? fabs(expected) : 1.0;
    ck_assert_msg(fabs(found - expected) <= tol * scale, "%s: expected %.17g, found %.17g", what, expected, found);
}

/* q: uniform in +-spread; log_pi1: the log-softmax of such a row. */
static void random_row(qa_rng *rng, qa_real *q, qa_real *log_pi1, size_t V, double spread) {
    double sum = 0.0;
    for (size_t a = 0; a < V; a++) {
        q[a] = (qa_real)(spread * (2.0 * qa_rng_uniform(rng) - 1.0));
        log_pi1[a] = (qa_real)(spread * (2.0 * qa_rng_uniform(rng) - 1.0));
        sum += exp((double)log_pi1[a]);
    }
    for (size_t a = 0; a < V; a++) {
        log_pi1[a] -= (qa_real)log(sum);
    }
}

/* Two actions, alpha_0 = 1, alpha_tilde = 2, pi1 = (1/4, 3/4), Qhat = (2 log 3 + log 4, log(4/3)):
 *   Qhat + log pi1 = (2 log 3, 0),  over 2: (log 3, 0),  sum of exponentials 3 + 1 = 4
 *   Vhat = 2 log 4,  pitilde = (3/4, 1/4). */
START_TEST(two_actions_by_hand) {
    const qa_real log_pi1[2] = {(qa_real)log(0.25), (qa_real)log(0.75)};
    const qa_real q[2] = {(qa_real)(2.0 * log(3.0) + log(4.0)), (qa_real)log(4.0 / 3.0)};
    qa_real pi[2];
    expect_near(qa_m5_value(q, log_pi1, 2, 1.0, 2.0), 2.0 * log(4.0), tolerance, "M5");
    expect_near(qa_m7_policy(pi, q, log_pi1, 2, 1.0, 2.0), 2.0 * log(4.0), tolerance, "value of M7's pass");
    expect_near((double)pi[0], 0.75, tolerance, "pi(0)");
    expect_near((double)pi[1], 0.25, tolerance, "pi(1)");
    expect_near(qa_m7_log_policy((double)q[0], (double)log_pi1[0], 2.0 * log(4.0), 1.0, 2.0), log(0.75), tolerance,
                "log pi(0)");
    expect_near(qa_m7_log_policy((double)q[1], (double)log_pi1[1], 2.0 * log(4.0), 1.0, 2.0), log(0.25), tolerance,
                "log pi(1)");
}
END_TEST

/* Three actions, alpha_0 = 1/2, alpha_tilde = 1/2, pi1 = (1/2, 1/4, 1/4), Qhat = (0, (log 6)/2, 0):
 *   (Qhat + log(pi1)/2) / (1/2) = (log 1/2, log 6 + log 1/4, log 1/4),  exponentials 1/2, 3/2, 1/4: sum 9/4
 *   Vhat = log(9/4) / 2,  pitilde = (2/9, 6/9, 1/9). */
START_TEST(three_actions_by_hand) {
    const qa_real log_pi1[3] = {(qa_real)log(0.5), (qa_real)log(0.25), (qa_real)log(0.25)};
    const qa_real q[3] = {0, (qa_real)(0.5 * log(6.0)), 0};
    qa_real pi[3];
    expect_near(qa_m5_value(q, log_pi1, 3, 0.5, 0.5), 0.5 * log(2.25), tolerance, "M5");
    expect_near(qa_m7_policy(pi, q, log_pi1, 3, 0.5, 0.5), 0.5 * log(2.25), tolerance, "value of M7's pass");
    for (int a = 0; a < 3; a++) {
        expect_near((double)pi[a], (const double[]){2.0 / 9.0, 6.0 / 9.0, 1.0 / 9.0}[a], tolerance, "pi");
    }
}
END_TEST

/* One action: Vhat = Qhat + alpha_0 log pi1 with pi1 = 1 is Qhat itself, the policy is certain. */
START_TEST(one_action) {
    const qa_real q[1] = {(qa_real)-7.5}, log_pi1[1] = {0};
    qa_real pi[1];
    ck_assert_double_eq(qa_m5_value(q, log_pi1, 1, 3.0, 0.25), -7.5);
    ck_assert_double_eq(qa_m7_policy(pi, q, log_pi1, 1, 3.0, 0.25), -7.5);
    ck_assert_double_eq((double)pi[0], 1.0);
    ck_assert_double_eq(qa_m7_log_policy(-7.5, 0.0, -7.5, 3.0, 0.25), 0.0);
}
END_TEST

/* Over random rows: sum pitilde = 1; (M5) alone and with (M7) agree to the bit; alpha_t log pitilde(a) =
 * Qhat(a) + alpha_0 log pi1(a) - Vhat for the row form and the single one; Vhat >= every logit. */
START_TEST(value_and_policy_agree) {
    enum { V = 257 };
    qa_rng rng = qa_rng_seed(1, 0);
    const double alphas[] = {0.1, 1.0, 4.0};
    for (int trial = 0; trial < 60; trial++) {
        qa_real q[V], log_pi1[V], pi[V];
        random_row(&rng, q, log_pi1, V, 5.0);
        const double alpha_0 = trial % 4 == 0 ? 0.0 : alphas[trial % 3], alpha_tilde = alphas[(trial / 3) % 3];
        const double v = qa_m7_policy(pi, q, log_pi1, V, alpha_0, alpha_tilde);
        ck_assert_double_eq(v, qa_m5_value(q, log_pi1, V, alpha_0, alpha_tilde));
        double sum = 0.0;
        for (int a = 0; a < V; a++) {
            const double x = (double)q[a] + alpha_0 * (double)log_pi1[a];
            ck_assert_double_ge(v, x);
            expect_near(alpha_tilde * qa_m7_log_policy((double)q[a], (double)log_pi1[a], v, alpha_0, alpha_tilde),
                        x - v, 1e-13, "alpha_t log pi");
            expect_near((double)pi[a], exp((x - v) / alpha_tilde), tolerance, "pi");
            sum += (double)pi[a];
        }
        expect_near(sum, 1.0, tolerance, "sum of pi");
    }
}
END_TEST

START_TEST(policy_may_overwrite_its_inputs) {
    enum { V = 33 };
    qa_rng rng = qa_rng_seed(2, 0);
    qa_real q[V], log_pi1[V], pi[V];
    random_row(&rng, q, log_pi1, V, 3.0);
    const double v = qa_m7_policy(pi, q, log_pi1, V, 0.7, 1.3);
    qa_real in_q[V], in_log_pi1[V];
    for (int a = 0; a < V; a++) {
        in_q[a] = q[a];
        in_log_pi1[a] = log_pi1[a];
    }
    ck_assert_double_eq(qa_m7_policy(in_q, in_q, log_pi1, V, 0.7, 1.3), v);
    ck_assert_double_eq(qa_m7_policy(in_log_pi1, q, in_log_pi1, V, 0.7, 1.3), v);
    for (int a = 0; a < V; a++) {
        ck_assert_double_eq((double)in_q[a], (double)pi[a]);
        ck_assert_double_eq((double)in_log_pi1[a], (double)pi[a]);
    }
}
END_TEST

/* Qhat + c moves Vhat by c and leaves the policy: checked at the sizes where a naive exp overflows or vanishes. At
 * +-1e4 a float holds Qhat to 5e-4, so the row is made of multiples of 1/64, exact at either place
 * (observed: values differ by 5e-13, policies not at all). */
START_TEST(shifts_of_a_huge_row) {
    enum { V = 64 };
    const double shifts[] = {1e4, -1e4};
    const double temperatures[] = {1e-3, 1.0, 1e3};
    qa_real q[V], moved[V], log_pi1[V], pi[V], pi_moved[V];
    for (int a = 0; a < V; a++) {
        q[a] = (qa_real)(((a * 37) % V) / 64.0);
        log_pi1[a] = (qa_real)-log((double)V);
    }
    for (int s = 0; s < 2; s++) {
        for (int k = 0; k < 3; k++) {
            for (int a = 0; a < V; a++) {
                moved[a] = (qa_real)((double)q[a] + shifts[s]);
            }
            const double v = qa_m7_policy(pi, q, log_pi1, V, 0.5, temperatures[k]);
            const double v_moved = qa_m7_policy(pi_moved, moved, log_pi1, V, 0.5, temperatures[k]);
            ck_assert(isfinite(v_moved));
            expect_near(v_moved - shifts[s], v, 1e-11, "shifted value");
            for (int a = 0; a < V; a++) {
                expect_near((double)pi_moved[a], (double)pi[a], 1e-6, "shifted policy");
            }
        }
    }
}
END_TEST

/* Logits +-1e4 in one row at alpha_t = 1e-3: the arguments reach -2e7, all but the largest vanish. */
START_TEST(extreme_spread) {
    const qa_real q[3] = {(qa_real)1e4, (qa_real)-1e4, 0}, log_pi1[3] = {(qa_real)-1e4, 0, (qa_real)-20};
    qa_real pi[3];
    ck_assert_double_eq(qa_m7_policy(pi, q, log_pi1, 3, 0.0, 1e-3), 1e4);
    ck_assert_double_eq((double)pi[0], 1.0);
    ck_assert_double_eq((double)pi[1], 0.0);
    ck_assert_double_eq((double)pi[2], 0.0);
    /* with alpha_0 = 1 the logits are 0, -1e4, -20: Vhat = 1e-3 log(1 + exp(-2e4) + exp(-1e7)) = 0 */
    ck_assert_double_eq(qa_m7_policy(pi, q, log_pi1, 3, 1.0, 1e-3), 0.0);
    ck_assert_double_eq((double)pi[0], 1.0);
    ck_assert_double_eq(qa_m7_log_policy(-1e4, 0.0, 0.0, 1.0, 1e-3), -1e7); /* pi underflows, its logarithm does not */
    /* the largest finite numbers: the difference of two of them must not become NaN */
    const qa_real most = (qa_real)(sizeof(qa_real) == sizeof(float) ? (double)FLT_MAX : DBL_MAX / 4.0);
    const qa_real ends[2] = {most, -most}, even[2] = {(qa_real)-0.5, (qa_real)-0.5};
    ck_assert_double_eq(qa_m7_policy(pi, ends, even, 2, 1.0, 1.0), (double)most);
    ck_assert_double_eq((double)pi[0], 1.0);
    ck_assert_double_eq((double)pi[1], 0.0);
}
END_TEST

/* Actions that pi1 rules out. */
START_TEST(impossible_actions) {
    const qa_real inf = (qa_real)INFINITY;
    const qa_real q[3] = {1, 50, 1}, log_pi1[3] = {(qa_real)log(0.5), -inf, (qa_real)log(0.5)};
    qa_real pi[3];
    /* alpha_0 = 1: action 1 has weight 0;  Vhat = log(2 * e/2) = 1 */
    expect_near(qa_m5_value(q, log_pi1, 3, 1.0, 1.0), 1.0, tolerance, "value");
    expect_near(qa_m7_policy(pi, q, log_pi1, 3, 1.0, 1.0), 1.0, tolerance, "value of M7's pass");
    expect_near((double)pi[0], 0.5, tolerance, "pi(0)");
    ck_assert_double_eq((double)pi[1], 0.0);
    ck_assert_double_eq(qa_m7_log_policy(50.0, -INFINITY, 1.0, 1.0, 1.0), -INFINITY);
    /* alpha_0 = 0: pi1 is absent, and 0 * -inf is not computed;  Vhat = 50 + log(1 + 2 exp(-49)) = 50 */
    expect_near(qa_m5_value(q, log_pi1, 3, 0.0, 1.0), 50.0, tolerance, "value without pi1");
    expect_near(qa_m5_value(q, NULL, 3, 0.0, 1.0), 50.0, tolerance, "value with NULL for pi1");
    expect_near(qa_m7_policy(pi, q, NULL, 3, 0.0, 1.0), 50.0, tolerance, "value of M7's pass without pi1");
    expect_near((double)pi[1], 1.0, tolerance, "pi(1)");
    expect_near(qa_m7_log_policy(50.0, -INFINITY, 50.0, 0.0, 1.0), 0.0, tolerance, "log pi without pi1");
    /* nothing is possible: the empty sum, and no policy */
    const qa_real none[3] = {-inf, -inf, -inf};
    ck_assert_double_eq(qa_m5_value(q, none, 3, 1.0, 1.0), -INFINITY);
    ck_assert_double_eq(qa_m7_policy(pi, q, none, 3, 1.0, 1.0), -INFINITY);
    ck_assert(isnan(pi[0]) && isnan(pi[1]) && isnan(pi[2]));
}
END_TEST

/* A NaN anywhere in the row comes out, wherever it stands and whatever the others are. */
START_TEST(nan_is_never_hidden) {
    for (int at = 0; at < 3; at++) {
        for (int which = 0; which < 2; which++) {
            for (int others = 0; others < 2; others++) { /* finite, or -inf */
                qa_real q[3] = {1, 2, 3}, log_pi1[3] = {-1, -1, -1}, pi[3] = {0, 0, 0};
                for (int a = 0; a < 3 && others == 1; a++) {
                    log_pi1[a] = (qa_real)-INFINITY;
                }
                (which == 0 ? q : log_pi1)[at] = (qa_real)NAN;
                ck_assert(isnan(qa_m5_value(q, log_pi1, 3, 1.0, 1.0)));
                ck_assert(isnan(qa_m7_policy(pi, q, log_pi1, 3, 1.0, 1.0)));
                ck_assert(isnan(pi[0]) && isnan(pi[1]) && isnan(pi[2]));
            }
        }
    }
    const qa_real infinite[2] = {(qa_real)INFINITY, 0}, even[2] = {-1, -1};
    ck_assert(isnan(qa_m5_value(infinite, even, 2, 1.0, 1.0)));
    ck_assert(isnan(qa_m7_log_policy(NAN, -1.0, 0.0, 1.0, 1.0)));
    ck_assert(isnan(qa_m7_log_policy(1.0, NAN, 0.0, 1.0, 1.0)));
    ck_assert(isnan(qa_m7_log_policy(1.0, -1.0, NAN, 1.0, 1.0)));
    ck_assert(isnan(qa_m6_residual_q(NAN, 1.0, 0.0)));
    ck_assert(isnan(qa_m8_reward(1.0, 1.0, NAN)));
    ck_assert(isnan(qa_m9_return((double[]){1.0, 1.0}, (double[]){0.0, NAN}, 2)));
    ck_assert(isnan(qa_m9_log_preference(NAN)));
    ck_assert(isnan(qa_m10_preference_loss(NAN, 0.0, 1.0)));
    ck_assert(isnan(qa_m10_regulariser((double[]){NAN}, 1, 0.1, 1.0)));
    double g[1];
    qa_m11_reward_gradient(g, (double[]){1.0}, (double[]){0.0}, 1, qa_m10_return_gradient(NAN, 0.0, 1, 1.0), 0.1, 1.0);
    ck_assert(isnan(g[0]));
}
END_TEST

/* (M6) and (M8) undo each other; a terminal state contributes nothing. */
START_TEST(reward_and_q_are_inverse) {
    ck_assert_double_eq(qa_m6_residual_q(2.0, 0.5, 3.0), 3.5);
    ck_assert_double_eq(qa_m8_reward(3.5, 0.5, 3.0), 2.0);
    ck_assert_double_eq(qa_m8_reward(3.5, 0.5, 0.0), 3.5);
    qa_rng rng = qa_rng_seed(3, 0);
    for (int trial = 0; trial < 200; trial++) {
        const double x = 20.0 * qa_rng_normal(&rng), v = 20.0 * qa_rng_normal(&rng), gamma = qa_rng_uniform(&rng);
        expect_near(qa_m8_reward(qa_m6_residual_q(x, gamma, v), gamma, v), x, 1e-13, "M8 of M6");
        expect_near(qa_m6_residual_q(qa_m8_reward(x, gamma, v), gamma, v), x, 1e-13, "M6 of M8");
    }
}
END_TEST

START_TEST(returns_by_hand) {
    const double weight[3] = {1.0, 0.5, 0.25}, reward[3] = {2.0, -4.0, 12.0};
    ck_assert_double_eq(qa_m9_return(weight, reward, 3), 2.0 - 2.0 + 3.0);
    ck_assert_double_eq(qa_m9_return(weight, reward, 0), 0.0);
}
END_TEST

/* sigmoid(log 3) = 3/4, sigmoid(-log 3) = 1/4. */
START_TEST(preference_by_hand) {
    expect_near(qa_m9_log_preference(0.0), -log(2.0), 1e-15, "even");
    expect_near(qa_m9_log_preference(log(3.0)), log(0.75), 1e-15, "three to one");
    expect_near(qa_m9_log_preference(-log(3.0)), log(0.25), 1e-15, "one to three");
    expect_near(qa_m10_preference_loss(log(3.0), 0.0, 4.0), -log(0.75) / 4.0, 1e-15, "share of one pair in four");
}
END_TEST

START_TEST(preference_stays_finite) {
    ck_assert_double_eq(qa_m9_log_preference(1e3), 0.0);
    ck_assert_double_eq(qa_m9_log_preference(-1e3), -1e3);
    ck_assert_double_eq(qa_m9_log_preference(1e308), 0.0);
    ck_assert_double_eq(qa_m9_log_preference(-1e308), -1e308);
    /* log1p keeps what 1 + exp(-40) would lose: log sigmoid(40) = -exp(-40) + O(exp(-80)) */
    ck_assert_double_eq_tol(qa_m9_log_preference(40.0) / -exp(-40.0), 1.0, 1e-12);
    const double z[] = {1e3, -1e3, 1e308, -1e308, 720.0, -720.0};
    for (size_t i = 0; i < sizeof z / sizeof z[0]; i++) {
        double g[1];
        qa_m11_reward_gradient(g, (double[]){1.0}, (double[]){0.5}, 1, qa_m10_return_gradient(z[i], 0.0, 1, 1.0), 0.0,
                               1.0);
        ck_assert_double_eq_tol(g[0], z[i] > 0.0 ? 0.0 : -1.0, 1e-300);
    }
    double g[1];
    qa_m11_reward_gradient(g, (double[]){1.0}, (double[]){0.5}, 1, qa_m10_return_gradient(720.0, 0.0, 1, 1.0), 0.0,
                           1.0);
    ck_assert_double_lt(g[0], 0.0); /* exp(-720) is still a number */
}
END_TEST

/* P(y_w > y_l) + P(y_l > y_w) = 1, and the slope of -log sigmoid is its central difference. */
START_TEST(preference_probabilities) {
    for (double z = -30.0; z <= 30.0; z += 0.37) {
        expect_near(exp(qa_m9_log_preference(z)) + exp(qa_m9_log_preference(-z)), 1.0, 1e-15, "both orders");
        double g[1];
        qa_m11_reward_gradient(g, (double[]){1.0}, (double[]){0.0}, 1, qa_m10_return_gradient(z, 0.0, 1, 1.0), 0.0,
                               1.0);
        const double h = 1e-5;
        const double slope =
            (qa_m10_preference_loss(z + h, 0.0, 1.0) - qa_m10_preference_loss(z - h, 0.0, 1.0)) / (2.0 * h);
        expect_near(g[0], slope, 1e-9, "slope");
    }
}
END_TEST

/* rewards (1, -2, 3): squares sum to 14; beta 1/2 over 7 counted transitions gives 1. */
START_TEST(regulariser_by_hand) {
    const double reward[3] = {1.0, -2.0, 3.0};
    ck_assert_double_eq(qa_m10_regulariser(reward, 3, 0.5, 7.0), 1.0);
    ck_assert_double_eq(qa_m10_regulariser(reward, 3, 0.0, 7.0), 0.0);
    ck_assert_double_eq(qa_m10_regulariser(reward, 0, 0.5, 0.0), 0.0);
}
END_TEST

/* z = log 3: the wrong order has probability 1/4. Two pairs, weights (1, 1/2), rewards (1, -2), beta 1/2, 4 counted:
 *   preferred     -c/8 + r/4 = (-1/8 + 1/4, -1/16 - 1/2)
 *   dispreferred  +c/8 + r/4 = ( 1/8 + 1/4,  1/16 - 1/2) */
START_TEST(reward_gradient_by_hand) {
    const double weight[2] = {1.0, 0.5}, reward[2] = {1.0, -2.0};
    double g[2];
    qa_m11_reward_gradient(g, weight, reward, 2, qa_m10_return_gradient(log(3.0), 0.0, 1, 2.0), 0.5, 4.0);
    expect_near(g[0], 0.125, 1e-15, "preferred, t = 0");
    expect_near(g[1], -0.5625, 1e-15, "preferred, t = 1");
    qa_m11_reward_gradient(g, weight, reward, 2, qa_m10_return_gradient(log(3.0), 0.0, -1, 2.0), 0.5, 4.0);
    expect_near(g[0], 0.375, 1e-15, "dispreferred, t = 0");
    expect_near(g[1], -0.4375, 1e-15, "dispreferred, t = 1");
}
END_TEST

/* dVhat/dQhat(a) = pitilde(a), by central differences of (M5). */
START_TEST(slope_of_the_value_is_the_policy) {
    enum { V = 7 };
#ifdef QA_F64
    const double h = 1e-5, tol = 1e-9; /* observed 1e-11 */
#else
    const double h = 1e-2, tol = 5e-5; /* observed 4e-6 */
#endif
    qa_rng rng = qa_rng_seed(4, 0);
    qa_real q[V], log_pi1[V], pi[V];
    random_row(&rng, q, log_pi1, V, 2.0);
    (void)qa_m7_policy(pi, q, log_pi1, V, 0.6, 0.8);
    for (int a = 0; a < V; a++) {
        const qa_real keep = q[a];
        q[a] = (qa_real)((double)keep + h);
        const double up = (double)q[a], v_up = qa_m5_value(q, log_pi1, V, 0.6, 0.8);
        q[a] = (qa_real)((double)keep - h);
        const double down = (double)q[a], v_down = qa_m5_value(q, log_pi1, V, 0.6, 0.8);
        q[a] = keep;
        expect_near((v_up - v_down) / (up - down), (double)pi[a], tol, "dV/dQ");
    }
}
END_TEST

START_TEST(value_term_is_added) {
    const qa_real pi[3] = {(qa_real)0.5, (qa_real)0.25, (qa_real)0.25};
    qa_real dq[3] = {1, 2, 3};
    qa_m11_add_value_term(dq, pi, -4.0, 3);
    ck_assert_double_eq((double)dq[0], -1.0);
    ck_assert_double_eq((double)dq[1], 1.0);
    ck_assert_double_eq((double)dq[2], 2.0);
}
END_TEST

Suite *rl_equations_suite(void);

Suite *rl_equations_suite(void) {
    Suite *suite = suite_create("rl_equations");
    TCase *tests = tcase_create("equations");
    tcase_add_test(tests, two_actions_by_hand);
    tcase_add_test(tests, three_actions_by_hand);
    tcase_add_test(tests, one_action);
    tcase_add_test(tests, value_and_policy_agree);
    tcase_add_test(tests, policy_may_overwrite_its_inputs);
    tcase_add_test(tests, shifts_of_a_huge_row);
    tcase_add_test(tests, extreme_spread);
    tcase_add_test(tests, impossible_actions);
    tcase_add_test(tests, nan_is_never_hidden);
    tcase_add_test(tests, reward_and_q_are_inverse);
    tcase_add_test(tests, returns_by_hand);
    tcase_add_test(tests, preference_by_hand);
    tcase_add_test(tests, preference_stays_finite);
    tcase_add_test(tests, preference_probabilities);
    tcase_add_test(tests, regulariser_by_hand);
    tcase_add_test(tests, reward_gradient_by_hand);
    tcase_add_test(tests, slope_of_the_value_is_the_policy);
    tcase_add_test(tests, value_term_is_added);
    suite_add_tcase(suite, tests);
    return suite;
}
