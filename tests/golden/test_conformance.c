/* Vectors of equations, of losses and of rollouts (weights/conformance) through the project's own functions, within the
 * vectors' tolerance in either precision; and no known mistake is. */
#include "methods/method.h"
#include "nn/softmax.h"
#include "rl/bradley_terry.h"
#include "rl/dpo.h"
#include "rl/equations.h"
#include "rl/ipo.h"
#include "rl/kto.h"
#include "rl/mixture.h"
#include "rl/ppo.h"
#include "support/expect.h"
#include "support/vectors.h"

#include <stdlib.h>

/* ---- residual Q-learning ---- */

static void m5_m7(void) {
    const size_t V = dim("q", 0);
    const qa_real *q = in_reals("q"), *log_pi1 = in_reals("log_pi1");
    const double alpha_0 = in1("alpha_0"), alpha_tilde = in1("alpha_tilde");
    const double v = qa_m5_value(q, log_pi1, V, alpha_0, alpha_tilde);
    double *log_pi = doubles(V);
    qa_real *pi = reals(V);
    for (size_t a = 0; a < V; a++) {
        log_pi[a] = qa_m7_log_policy((double)q[a], (double)log_pi1[a], v, alpha_0, alpha_tilde);
    }
    ck_assert_double_eq(qa_m7_policy(pi, q, log_pi1, V, alpha_0, alpha_tilde), v);
    if (has_output("v")) {
        out1("v", v);
        out_reals("grad_q", pi, V);
    } else {
        out("log_pi", log_pi, V);
        out_reals("pi", pi, V);
    }
}

static void m6_m8(void) {
    const bool forth = is_equation("m6");
    const char *from = forth ? "reward" : "q";
    const size_t S = dim(from, 0), A = dim(from, 1);
    const double *x = in(from), *next = in("next"), *v = in("v"), gamma = in1("gamma");
    double *y = doubles(S * A);
    for (size_t i = 0; i < S * A; i++) {
        double mean = 0.0;
        for (size_t s = 0; s < S; s++) {
            mean += next[i * S + s] * v[s];
        }
        y[i] = forth ? qa_m6_residual_q(x[i], gamma, mean) : qa_m8_reward(x[i], gamma, mean);
    }
    out(forth ? "q" : "reward", y, S * A);
}

static void m9_label(void) {
    const size_t n = dim("z", 0);
    const double *z = in("z"), eps = in1("label_noise");
    double *log_p = doubles(n), *slope = doubles(n);
    for (size_t i = 0; i < n; i++) {
        log_p[i] = qa_m9_log_label(z[i], eps);
        slope[i] = qa_m9_label_slope(z[i], eps);
    }
    out("log_label", log_p, n);
    out("grad_z", slope, n);
}

static void m12(void) {
    const size_t T = dim("log_pi1", 0), V = dim("log_pi1", 1), K = dim("weights", 0);
    const double *log_pi1 = in("log_pi1"), *log_pi = in("log_pi"), *weights = in("weights");
    double *x = doubles(T * V), *log_z = doubles(T), sum = 0.0;
    for (size_t s = 0; s < T; s++) {
        for (size_t i = s * V; i < (s + 1) * V; i++) {
            x[i] = log_pi1[i];
            for (size_t k = 0; k < K; k++) {
                x[i] += qa_m12_term(weights[k], log_pi[k * T * V + i], log_pi1[i]);
            }
        }
        log_z[s] = qa_m12_normalise(x + s * V, V);
        sum += log_z[s];
    }
    out("log_mix", x, T * V);
    out("log_z", log_z, T);
    out1("log_weight", sum);
}

static const char *const side_names[QA_SIDES] = {"chosen", "rejected"};

static const char *named(const char *format, size_t which) {
    static char names[8][64];
    static size_t at;
    char *name = names[at++ % 8];
    const char *percent = strchr(format, '%');
    (void)snprintf(name, 64, "%.*s%s%s", (int)(percent - format), format, side_names[which], percent + 1);
    return name;
}

typedef struct row_side {
    qa_side_step step;
    qa_transition *transitions;
    qa_real *pi; /* [states x V] */
    size_t at;   /* of the first state in an array [N, L] */
} row_side;

/* A row's transitions, and (M5), (M7), (M8), (M9) of them. */
static void run_row(row_side *s, size_t which, size_t row, const qa_objective *o, double *v, double *log_pi) {
    const size_t L = dim("chosen_logits", 1), V = dim("chosen_logits", 2), P = (size_t)in("prompt_length")[row];
    const double *ids_in = in(named("%_ids", which)) + row * L;
    int32_t *ids = calloc(L, sizeof *ids);
    ck_assert_ptr_nonnull(ids);
    for (size_t p = 0; p < L; p++) {
        ids[p] = (int32_t)ids_in[p];
    }
    const qa_side side = {.ids = ids,
                          .length = (size_t)in(named("%_length", which))[row],
                          .label_start = P,
                          .terminal = in(named("%_terminal", which))[row] == 1.0};
    const size_t states = qa_side_states(&side), n = qa_transition_count(&side, o, L);
    s->at = row * L + P - 1;
    qa_real *q = in_reals(named("%_logits", which)) + s->at * V, *z1 = in_reals(named("%_base", which)) + s->at * V;
    qa_real *log_pi1 = reals(states * V);
    s->pi = reals(states * V);
    s->transitions = calloc(n + 1, sizeof *s->transitions);
    ck_assert_ptr_nonnull(s->transitions);
    qa_transitions_layout(s->transitions, &side, o, L, (int32_t)in1("pad_id"));
    s->step = (qa_side_step){.n = n, .states = states, .reward = doubles(n), .weight = doubles(n), .q = doubles(n)};
    for (size_t k = 0; k < states; k++) {
        (void)qa_log_softmax_forward(log_pi1 + k * V, z1 + k * V, V);
        qa_q_from_logits(q + k * V, z1 + k * V, V, o);
        v[s->at + k] = qa_m7_policy(s->pi + k * V, q + k * V, log_pi1 + k * V, V, o->alpha_0, o->alpha_tilde);
    }
    for (size_t k = 0; k < n; k++) {
        const qa_transition *x = &s->transitions[k];
        const size_t i = x->state * V + (size_t)x->action;
        s->step.q[k] = (double)q[i];
        s->step.weight[k] = x->weight;
        log_pi[s->at + x->state] =
            qa_m7_log_policy((double)q[i], (double)log_pi1[i], v[s->at + x->state], o->alpha_0, o->alpha_tilde);
    }
    qa_transitions_rewards(s->step.reward, s->transitions, n, s->step.q, v + s->at, o->gamma);
    s->step.ret = qa_m9_return(s->step.weight, s->step.reward, n);
    free(ids);
}

/* (M11), into gradient[N, L, V]. */
static void back_row(row_side *s, size_t which, double z, const qa_objective *o, const qa_divisors *divisors,
                     qa_real *gradient, size_t V) {
    double *g = doubles(s->step.n), *value_gradient = doubles(s->step.states);
    qa_method_qadapter.gradient(g, &s->step, which, z, o, divisors);
    qa_transitions_value_gradient(value_gradient, s->transitions, s->step.n, g, o->gamma);
    for (size_t k = 0; k < s->step.states; k++) {
        qa_m11_add_value_term(gradient + (s->at + k) * V, s->pi + k * V, value_gradient[k], V);
    }
    for (size_t k = 0; k < s->step.n; k++) {
        gradient[(s->at + s->transitions[k].state) * V + (size_t)s->transitions[k].action] += (qa_real)g[k];
    }
}

static void pair(void) {
    const size_t N = dim("chosen_logits", 0), L = dim("chosen_logits", 1), V = dim("chosen_logits", 2);
    qa_objective o = {.alpha_tilde = in1("alpha_tilde"), .alpha_0 = in1("alpha_0"), .gamma = in1("gamma")};
    qa_error err = {0};
    expect_ok(qa_objective_kind_by_name(&o.kind, json_string_value(input("objective")), &err), &err);
    expect_ok(qa_q_parametrisation_by_name(&o.q_parametrisation, json_string_value(input("parametrisation")), &err),
              &err);
    o.beta = in1("beta"), o.label_noise = in1("label_noise"), o.length_normalisation = in_flag("length_normalisation");
    row_side rows[QA_SIDES][4] = {0};
    qa_divisors divisors = {.pairs = (double)N, .padded_length = L};
    double *z = doubles(N), pref = 0.0, reg = 0.0;
    for (size_t which = 0; which < QA_SIDES; which++) {
        double *v = doubles(N * L), *log_pi = doubles(N * L), *reward = doubles(N * L), *ret = doubles(N);
        for (size_t row = 0; row < N; row++) {
            row_side *s = &rows[which][row];
            run_row(s, which, row, &o, v, log_pi);
            ret[row] = s->step.ret;
            divisors.counted += (double)s->step.n;
            z[row] += which == QA_CHOSEN ? s->step.ret : -s->step.ret;
            for (size_t k = 0; k < s->step.n; k++) {
                reward[s->at + s->transitions[k].state] = s->step.reward[k];
            }
        }
        out(named("%_return", which), ret, N);
        out(named("%_v", which), v, N * L);
        out(named("%_reward", which), reward, N * L);
        out(named("%_log_pi", which), log_pi, N * L);
    }
    for (size_t row = 0; row < N; row++) {
        const qa_side_step *const sides[] = {&rows[QA_CHOSEN][row].step, &rows[QA_REJECTED][row].step};
        const qa_pair_loss loss = qa_method_qadapter.loss(sides, z[row], &o, &divisors);
        pref += loss.pref;
        reg += loss.reg;
    }
    for (size_t which = 0; which < QA_SIDES; which++) {
        qa_real *gradient = reals(N * L * V);
        for (size_t row = 0; row < N; row++) {
            back_row(&rows[which][row], which, z[row], &o, &divisors, gradient, V);
            free(rows[which][row].transitions);
        }
        out_reals(named("grad_%_logits", which), gradient, N * L * V);
    }
    out("z", z, N);
    out1("loss_pref", pref);
    out1("loss_reg", reg);
    out1("loss", pref + reg);
}

/* ---- losses of policies ---- */

static void sft(void) {
    const size_t N = dim("logits", 0), L = dim("logits", 1), V = dim("logits", 2);
    const double *labels = in("labels");
    qa_real *x = in_reals("logits"), *gradient = reals(N * L * V);
    double tokens = 0.0, loss = 0.0;
    for (size_t i = 0; i < N * L; i++) {
        tokens += labels[i] >= 0.0 ? 1.0 : 0.0;
    }
    for (size_t i = 1; i < N * L; i++) {
        if (labels[i] >= 0.0) { /* never at the first position of a row */
            qa_real *row = x + (i - 1) * V;
            loss += qa_cross_entropy(row, V, (size_t)labels[i], 1.0 / tokens) / tokens;
            memcpy(gradient + (i - 1) * V, row, V * sizeof *row);
        }
    }
    out1("loss", loss);
    out_reals("grad_logits", gradient, N * L * V);
}

static void dpo_logits(void) {
    const size_t N = dim("chosen_logits", 0), L = dim("chosen_logits", 1), V = dim("chosen_logits", 2);
    const double b = in1("beta"), eps = in1("label_noise");
    double *ratio[QA_SIDES], loss = 0.0;
    qa_real *log_pi[QA_SIDES];
    for (size_t which = 0; which < QA_SIDES; which++) {
        const double *labels = in(named("%_labels", which));
        qa_real *reference = in_reals(named("%_reference", which));
        ratio[which] = doubles(N), log_pi[which] = in_reals(named("%_logits", which));
        for (size_t i = 0; i < N * L; i++) {
            (void)qa_log_softmax_forward(log_pi[which] + i * V, log_pi[which] + i * V, V);
            (void)qa_log_softmax_forward(reference + i * V, reference + i * V, V);
        }
        for (size_t i = 1; i < N * L; i++) {
            const size_t at = (i - 1) * V + (labels[i] >= 0.0 ? (size_t)labels[i] : 0);
            const double of = (double)log_pi[which][at], ref = (double)reference[at];
            ratio[which][i / L] += labels[i] >= 0.0 ? qa_dpo_log_ratio(&of, &ref, 1) : 0.0;
        }
        out(named("%_log_ratio", which), ratio[which], N);
    }
    for (size_t which = 0; which < QA_SIDES; which++) {
        const double *labels = in(named("%_labels", which));
        qa_real *gradient = reals(N * L * V);
        for (size_t i = 1; i < N * L; i++) {
            const double z = qa_dpo_logit(b, ratio[QA_CHOSEN][i / L], ratio[QA_REJECTED][i / L]);
            const double slope = qa_dpo_token_gradient(b, z, eps, which == QA_CHOSEN ? 1 : -1, (double)N);
            if (labels[i] >= 0.0) {
                qa_dpo_add_logits_gradient(gradient + (i - 1) * V, log_pi[which] + (i - 1) * V, (size_t)labels[i],
                                           slope, V);
            }
        }
        out_reals(named("grad_%_logits", which), gradient, N * L * V);
    }
    for (size_t row = 0; row < N; row++) {
        loss += qa_dpo_loss(qa_dpo_logit(b, ratio[QA_CHOSEN][row], ratio[QA_REJECTED][row]), eps, (double)N);
    }
    out1("loss", loss);
}

/* dpo, ipo and sppo, of summed log-probabilities. */
static void pair_losses(void) {
    const size_t N = dim("policy_chosen", 0);
    const double *chosen = in("policy_chosen"), *rejected = in("policy_rejected"), pairs = (double)N;
    const double *ref_chosen = in("reference_chosen"), *ref_rejected = in("reference_rejected");
    double *of_w = doubles(N), *of_l = doubles(N), *zs = doubles(N), loss = 0.0;
    for (size_t i = 0; i < N; i++) {
        const double w = qa_dpo_log_ratio(&chosen[i], &ref_chosen[i], 1);
        const double l = qa_dpo_log_ratio(&rejected[i], &ref_rejected[i], 1);
        if (is_equation("dpo")) {
            const double b = in1("beta"), eps = in1("label_noise"), z = qa_dpo_logit(b, w, l);
            zs[i] = z;
            loss += qa_dpo_loss(z, eps, pairs);
            of_w[i] = qa_dpo_token_gradient(b, z, eps, 1, pairs);
            of_l[i] = qa_dpo_token_gradient(b, z, eps, -1, pairs);
        } else if (is_equation("ipo")) {
            const bool mean = in_is("length", "mean");
            const double tau = in1("tau"), n_w = mean ? in("chosen_tokens")[i] : 1.0;
            const double n_l = mean ? in("rejected_tokens")[i] : 1.0, z = qa_dpo_logit(tau, w / n_w, l / n_l);
            loss += qa_ipo_loss(tau, z, pairs);
            of_w[i] = qa_ipo_slope(tau, z, pairs) * tau / n_w;
            of_l[i] = -qa_ipo_slope(tau, z, pairs) * tau / n_l;
        } else {
            const double b = in1("beta");
            loss += qa_sppo_side_loss(b, b * w, 1, pairs) + qa_sppo_side_loss(b, b * l, -1, pairs);
            of_w[i] = b * qa_sppo_side_slope(b, b * w, 1, pairs);
            of_l[i] = b * qa_sppo_side_slope(b, b * l, -1, pairs);
        }
    }
    out1("loss", loss);
    out("z", zs, N);
    out("grad_policy_chosen", of_w, N);
    out("grad_policy_rejected", of_l, N);
}

static void kto(void) {
    const size_t N = dim("policy", 0);
    const double *policy = in("policy"), *reference = in("reference"), *desirable = in("desirable"), b = in1("beta");
    const double z0 = qa_kto_reference_point(in("mismatched_log_ratio"), dim("mismatched_log_ratio", 0));
    double *gradient = doubles(N), loss = 0.0;
    for (size_t i = 0; i < N; i++) {
        const bool wanted = desirable[i] == 1.0;
        const double weight = in1(wanted ? "desirable_weight" : "undesirable_weight");
        const double u = qa_kto_utility(b, qa_dpo_reward(b, policy[i], reference[i]), z0, wanted);
        loss += qa_kto_loss(u, weight, (double)N);
        gradient[i] = qa_kto_token_gradient(b, u, wanted, weight, (double)N);
    }
    out1("loss", loss);
    out1("reference_point", z0);
    out("grad_policy", gradient, N);
}

static void reward_model(void) {
    const size_t N = dim("chosen", 0), K = dim("chosen", 1);
    const double *chosen = in("chosen"), *rejected = in("rejected"), c = in1("centering");
    double *of_w = doubles(N * K), *of_l = doubles(N * K), loss = 0.0;
    for (size_t i = 0; i < N * K; i += K) {
        loss += qa_bradley_terry_loss(chosen + i, rejected + i, K, c, (double)N);
        qa_bradley_terry_gradient(of_w + i, of_l + i, chosen + i, rejected + i, K, c, (double)N);
    }
    out1("loss", loss);
    out("grad_chosen", of_w, N * K);
    out("grad_rejected", of_l, N * K);
}

/* ---- PPO and RLOO ---- */

static void ppo_advantages(void) {
    const size_t n = dim("value", 0);
    const double *log_old = in("log_old"), *log_ref = in("log_ref"), *value = in("value");
    const qa_kl_estimator which = in_is("estimator", "k1")    ? QA_KL_K1
                                  : in_is("estimator", "abs") ? QA_KL_ABS
                                                              : QA_KL_MSE;
    double *k = doubles(n), *reward = doubles(n), *advantage = doubles(n), *ret = doubles(n), *whitened = doubles(n);
    for (size_t i = 0; i < n; i++) {
        k[i] = qa_p1_penalty(which, log_old[i], log_ref[i], 0.0);
    }
    qa_p2_rewards(reward, k, n, in1("coefficient"), in1("score"));
    qa_p3_advantages(advantage, ret, reward, value, n, in1("gamma"), in1("lambda"));
    memcpy(whitened, advantage, n * sizeof *whitened);
    qa_p4_whiten(whitened, n);
    out("reward", reward, n);
    out("advantage", advantage, n);
    out("ret", ret, n);
    out("whitened", whitened, n);
}

static void ppo_loss(void) {
    const size_t n = dim("log_pi", 0);
    const qa_rollout answer = {
        .n = n, .log_old = in("log_old"), .value = in("value"), .advantage = in("advantage"), .ret = in("ret")};
    const qa_rollout_options options = {
        .clip_range = in1("clip"), .value_clip = in1("value_clip"), .value_weight = in1("value_weight")};
    qa_rollout_sums sums = {0};
    double *g = doubles(n), *g_value = doubles(n);
    qa_method_ppo.rollouts->loss(&answer, in("log_pi"), in("value_now"), (double)n, &options, &sums, g, g_value);
    out1("loss", sums.policy_loss + options.value_weight * sums.value_loss);
    out1("policy_loss", sums.policy_loss);
    out1("value_loss", sums.value_loss);
    out("grad_log_pi", g, n);
    out("grad_value_now", g_value, n);
}

static void ppo_coefficient(void) {
    out1("coefficient_next",
         qa_p7_coefficient(in1("coefficient"), in1("kl"), in1("target"), in1("horizon"), in1("responses")));
}

static void rloo(void) {
    const size_t k = dim("log_pi", 0), n = dim("log_pi", 1);
    const double *log_pi = in("log_pi"), *log_old = in("log_old"), *log_ref = in("log_ref"), *score = in("score");
    const qa_rollout_options options = {.samples = k, .clip_range = in1("clip")};
    double *penalty = doubles(k * n), *ret = doubles(k), *advantage = doubles(k), *ratio = doubles(k),
           *g = doubles(k * n);
    qa_rollout answers[8] = {0};
    qa_rollout_sums sums = {0};
    for (size_t i = 0; i < k * n; i++) {
        penalty[i] = qa_p1_penalty(QA_KL_K1, log_old[i], log_ref[i], 0.0);
    }
    for (size_t i = 0; i < k; i++) {
        answers[i] = (qa_rollout){.n = n,
                                  .score = score[i],
                                  .log_old = log_old + i * n,
                                  .penalty = penalty + i * n,
                                  .reward = doubles(n),
                                  .advantage = doubles(n)};
    }
    qa_method_rloo.rollouts->advantages(answers, k, in1("coefficient"), &options);
    for (size_t i = 0; i < k; i++) {
        const double before = sums.ratio;
        qa_method_rloo.rollouts->loss(&answers[i], log_pi + i * n, NULL, (double)k, &options, &sums, g + i * n, NULL);
        ret[i] = answers[i].reward[0], advantage[i] = answers[i].advantage[0], ratio[i] = sums.ratio - before;
    }
    out1("loss", sums.policy_loss);
    out("ret", ret, k);
    out("advantage", advantage, k);
    out("ratio", ratio, k);
    out("grad_log_pi", g, k * n);
}

static const vector_function equations[] = {
    {"m5", m5_m7},
    {"m6", m6_m8},
    {"m7", m5_m7},
    {"m8", m6_m8},
    {"m9_label", m9_label},
    {"m12", m12},
    {"pair", pair},
    {"sft", sft},
    {"dpo_logits", dpo_logits},
    {"dpo", pair_losses},
    {"ipo", pair_losses},
    {"sppo", pair_losses},
    {"kto", kto},
    {"reward_model", reward_model},
    {"ppo_advantages", ppo_advantages},
    {"ppo_loss", ppo_loss},
    {"ppo_coefficient", ppo_coefficient},
    {"rloo", rloo},
    {NULL, NULL},
};

static const char *const groups[] = {"equations", "losses", "rollouts"};

START_TEST(own_functions_give_every_vector) { run_vectors(groups[_i], equations); }
END_TEST

START_TEST(every_mistake_is_caught) { expect_mistakes(groups[_i]); }
END_TEST

Suite *golden_conformance_suite(void);
Suite *golden_conformance_suite(void) {
    Suite *suite = suite_create("golden/conformance");
    TCase *tcase = tcase_create("vectors");
    const int n = sizeof groups / sizeof groups[0];
    tcase_add_loop_test(tcase, own_functions_give_every_vector, 0, n);
    tcase_add_loop_test(tcase, every_mistake_is_caught, 0, n);
    suite_add_tcase(suite, tcase);
    return suite;
}
