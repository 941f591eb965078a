/* rollout_cases: random answers with what ppo and rloo make of them, a JSON object a line, for a second opinion
 * (tools/rollout_torch.py): the numbers of the options; of every answer its score and, token by token, log pi of the
 * policy that wrote it, log pi1, its value, and log pi and value as they are now; and what was found: advantages,
 * returns, the two losses, their derivatives with respect to log pi and value as they are now. */
#include "base/rng.h"
#include "io/json.h"
#include "methods/method.h"
#include "rl/ppo.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { CASES = 40, ANSWERS = 8, SAMPLES = 4, MOST = 7, TOKENS = ANSWERS * MOST };

typedef struct rollout_case {
    qa_rollout answers[ANSWERS];
    size_t first[ANSWERS], n; /* of tokens */
    double log_old[TOKENS], log_ref[TOKENS], value[TOKENS], penalty[TOKENS], reward[TOKENS], advantage[TOKENS],
        ret[TOKENS], log_pi[TOKENS], value_now[TOKENS], g[TOKENS], g_value[TOKENS];
    double coefficient;
    qa_rollout_options options;
    qa_rollout_sums sums;
} rollout_case;

static void make_case(rollout_case *c, qa_rng *rng) {
    *c = (rollout_case){.coefficient = 0.05 + qa_rng_uniform(rng)};
    c->options = (qa_rollout_options){.samples = SAMPLES,
                                      .kl_estimator = QA_KL_K1,
                                      .clip_range = 0.1 + 0.2 * qa_rng_uniform(rng),
                                      .gae_gamma = 0.9 + 0.1 * qa_rng_uniform(rng),
                                      .gae_lambda = qa_rng_uniform(rng),
                                      .whiten_advantages = qa_rng_below(rng, 2) == 1,
                                      .value_clip = 0.4 * qa_rng_uniform(rng),
                                      .value_weight = qa_rng_uniform(rng)};
    for (size_t i = 0; i < ANSWERS; i++) {
        const size_t length = 1 + qa_rng_below(rng, MOST), at = c->n;
        for (size_t t = at; t < at + length; t++) {
            c->log_old[t] = -1.5 + 0.5 * qa_rng_normal(rng);
            c->log_ref[t] = c->log_old[t] + 0.5 * qa_rng_normal(rng);
            c->log_pi[t] = c->log_old[t] + 0.2 * qa_rng_normal(rng);
            c->value[t] = qa_rng_normal(rng);
            c->value_now[t] = c->value[t] + 0.3 * qa_rng_normal(rng);
            c->penalty[t] = qa_p1_penalty(c->options.kl_estimator, c->log_old[t], c->log_ref[t], 0.0);
        }
        c->first[i] = at;
        c->answers[i] = (qa_rollout){.n = length,
                                     .score = qa_rng_normal(rng),
                                     .log_old = c->log_old + at,
                                     .penalty = c->penalty + at,
                                     .value = c->value + at,
                                     .reward = c->reward + at,
                                     .advantage = c->advantage + at,
                                     .ret = c->ret + at};
        c->n += length;
    }
}

static void solve_case(rollout_case *c, const qa_rollout_rule *rule) {
    const double parts = rule->whole_answers ? (double)ANSWERS : (double)c->n;
    rule->advantages(c->answers, ANSWERS, c->coefficient, &c->options);
    for (size_t i = 0; i < ANSWERS; i++) {
        const size_t at = c->first[i];
        rule->loss(&c->answers[i], c->log_pi + at, rule->values ? c->value_now + at : NULL, parts, &c->options,
                   &c->sums, c->g + at, rule->values ? c->g_value + at : NULL);
    }
}

static json_t *row_of(const double *x, size_t n) {
    json_t *row = json_array();
    for (size_t i = 0; i < n; i++) {
        (void)json_array_append_new(row, json_real(x[i]));
    }
    return row;
}

static json_t *answer_of(const rollout_case *c, size_t i, bool values) {
    const size_t at = c->first[i], n = c->answers[i].n;
    const struct {
        const char *name;
        const double *x;
        bool of_values;
    } rows[] = {{"log_old", c->log_old, false},    {"log_ref", c->log_ref, false},
                {"log_pi", c->log_pi, false},      {"value", c->value, true},
                {"value_now", c->value_now, true}, {"advantage", c->advantage, false},
                {"return", c->ret, true},          {"g", c->g, false},
                {"g_value", c->g_value, true}};
    json_t *answer = json_pack("{s:f}", "score", c->answers[i].score);
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        if (values || !rows[k].of_values) {
            (void)json_object_set_new(answer, rows[k].name, row_of(rows[k].x + at, n));
        }
    }
    return answer;
}

static bool print_case(const rollout_case *c, const qa_method_row *method) {
    const qa_rollout_options *o = &c->options;
    json_t *answers = json_array();
    for (size_t i = 0; i < ANSWERS; i++) {
        (void)json_array_append_new(answers, answer_of(c, i, method->rollouts->values));
    }
    json_t *line = json_pack("{s:s, s:f, s:i, s:f, s:f, s:f, s:b, s:f, s:f, s:f, s:f, s:o}", "method", method->name,
                             "kl_coefficient", c->coefficient, "samples", SAMPLES, "clip_range", o->clip_range,
                             "gae_gamma", o->gae_gamma, "gae_lambda", o->gae_lambda, "whiten",
                             (int)o->whiten_advantages, "value_clip", o->value_clip, "value_weight", o->value_weight,
                             "policy_loss", c->sums.policy_loss, "value_loss", c->sums.value_loss, "answers", answers);
    char *text = line == NULL ? NULL : json_dumps(line, JSON_REAL_PRECISION(17));
    const bool printed = text != NULL && puts(text) >= 0;
    free(text);
    json_decref(line);
    return printed;
}

int main(void) {
    static rollout_case c;
    qa_rng rng = qa_rng_seed(17, 0);
    bool printed = true;
    for (size_t i = 0; i < CASES && printed; i++) {
        const qa_objective objective = qa_objective_for_method(i % 2 == 0 ? QA_METHOD_PPO : QA_METHOD_RLOO);
        make_case(&c, &rng);
        solve_case(&c, qa_method_of(&objective)->rollouts);
        printed = print_case(&c, qa_method_of(&objective));
    }
    return printed && fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
