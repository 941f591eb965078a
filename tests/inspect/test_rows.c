/* The rows of an answer: against the scorer, against the plain reference (src/reference), and their JSON read back. */
#include "inspect/rows.h"

#include "golden/run.h"
#include "reference/equations.h"
#include "support/tempdir.h"
#include "support/tiny_tokenizer.h"
#include "support/training.h"

#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Largest error, relative to the larger of 1 and the number, observed: below 4e-15 in f64, 2e-6 in f32. */
#ifdef QA_F64
static const double tolerance = 1e-12;
#else
static const double tolerance = 2e-5;
#endif

enum { V = 29, N_PROMPT = 7, N_ANSWER = 6, N_REJECTED = 4, N_BEST = 5, STATES = N_ANSWER + 1 };

static const int32_t prompt_ids[N_PROMPT] = {1, 7, 12, 5, 9, 21, 4};
static const int32_t answer_ids[N_ANSWER] = {3, 8, 8, 26, 11, 2};
static const int32_t rejected_ids[N_REJECTED] = {14, 6, 3, 28};

static void expect_close(double found, double expected, const char *what, size_t row) {
    const bool both_nan = isnan(found) && isnan(expected);
    ck_assert_msg(both_nan || fabs(found - expected) <= tolerance * fmax(1.0, fabs(expected)),
                  "%s of row %zu: expected %.17g, found %.17g", what, row, expected, found);
}

static qa_pair example(bool terminal, size_t label_start) {
    return (qa_pair){.prompt = prompt_ids,
                     .chosen = answer_ids,
                     .rejected = rejected_ids,
                     .prompt_len = N_PROMPT,
                     .chosen_len = N_ANSWER,
                     .rejected_len = N_REJECTED,
                     .chosen_terminal = terminal,
                     .rejected_terminal = terminal,
                     .label_start = label_start};
}

static qa_inspector *new_inspector(qa_fixture *fixture, bool adapted, const qa_objective *objective, bool full) {
    qa_inspector *inspector = NULL;
    qa_error err = {0};
    const qa_inspection_limits limits = {
        .max_prompt = N_PROMPT, .max_response = N_ANSWER, .n_best = N_BEST, .full = full};
    qa_expect_ok(
        qa_inspector_create(&inspector, fixture->model, adapted ? fixture->adapter : NULL, objective, limits, &err),
        &err);
    return inspector;
}

/* ---- what stands in a test's table: objective, method ---- */

enum { N_OBJECTIVES = 7 };

static qa_objective objective_number(size_t i) {
    static const qa_method methods[] = {QA_METHOD_SFT, QA_METHOD_REPLAY, QA_METHOD_DPO};
    if (i >= 4) {
        return qa_objective_for_method(methods[i - 4]);
    }
    qa_objective objective =
        qa_training_objective(i < 2 ? QA_THEORY : QA_PUBLISHED, i % 2 == 0 ? QA_Q_LOGITS : QA_Q_RESIDUAL);
    objective.length_normalisation = i == 1;
    return objective;
}

/* ---- against the scorer ---- */

/* Every counted row equals the scorer's transition, in order. */
static void expect_side(const qa_inspection *found, const qa_side_score *score, size_t n) {
    size_t t = 0;
    ck_assert_uint_eq(found->n, n);
    for (size_t k = 0; k <= found->n; k++) {
        const qa_answer_row *row = &found->rows[k];
        expect_close(row->v, score->full_v[k], "V", k);
        if (!row->counted) {
            ck_assert(isnan(row->reward) && isnan(row->v_next));
            ck_assert_double_eq(row->weight, 0.0);
            continue;
        }
        ck_assert_uint_lt(t, score->n);
        expect_close(row->log_pi1, score->log_pi1[t], "log pi1", k);
        expect_close(row->q, score->q[t], "Q", k);
        expect_close(row->v, score->v[t], "V", k);
        expect_close(row->reward, score->reward[t], "reward", k);
        expect_close(row->log_pi, score->log_pi[t], "log pi", k);
        expect_close(row->kl, score->kl[t], "KL", k);
        t++;
    }
    ck_assert_uint_eq(t, score->n);
    expect_close(found->ret, score->ret, "the return", 0);
    double ret = 0.0, log_ratio = 0.0, kl = 0.0;
    for (size_t k = 0; k <= n; k++) {
        ret += found->rows[k].counted ? found->rows[k].weight * found->rows[k].reward : 0.0;
        log_ratio += k < n ? found->rows[k].log_pi - found->rows[k].log_pi1 : 0.0;
        kl += k < n ? found->rows[k].kl : 0.0;
    }
    expect_close(found->ret, ret, "the return", 1);
    expect_close(found->log_ratio, log_ratio, "the log ratio", 0);
    expect_close(found->kl, kl, "the KL", 0);
}

static void compare_with_scorer(qa_fixture *fixture, bool adapted, const qa_objective *objective, bool terminal,
                                size_t label_start) {
    qa_error err = {0};
    qa_scorer *scorer = NULL;
    qa_pair_score score;
    const qa_inspection *found = NULL;
    const qa_pair pair = example(terminal, label_start);
    const size_t padded = N_PROMPT + N_ANSWER + (label_start == N_PROMPT ? 0 : 3),
                 first = objective->kind == QA_THEORY ? N_PROMPT : label_start;
    qa_inspector *inspector = new_inspector(fixture, adapted, objective, false);
    qa_expect_ok(qa_scorer_create(&scorer, fixture->model, adapted ? fixture->adapter : NULL, objective, N_PROMPT,
                                  N_ANSWER, true, &err),
                 &err);
    qa_expect_ok(qa_scorer_score(scorer, &pair, padded, &score, &err), &err);
    qa_expect_ok(qa_inspect_side(inspector, &pair, true, padded, &found, &err), &err);
    expect_side(found, &score.chosen, N_PROMPT - first + N_ANSWER);
    ck_assert_ptr_null(found->rows[0].full_q);
    qa_expect_ok(qa_inspect_side(inspector, &pair, false, padded, &found, &err), &err);
    expect_side(found, &score.rejected, N_PROMPT - first + N_REJECTED);
    if (padded == N_PROMPT + N_ANSWER) { /* the chosen one is the longest: as if it were alone */
        qa_expect_ok(qa_inspect(inspector, prompt_ids, N_PROMPT, answer_ids, N_ANSWER, terminal, &found, &err), &err);
        expect_side(found, &score.chosen, N_ANSWER);
        ck_assert(found->terminal == terminal);
    }
    qa_scorer_free(scorer);
    qa_inspector_free(inspector);
}

START_TEST(equals_the_scorer) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture fixture = qa_fixture_open(&model, &lora, 2);
    const qa_objective objective = objective_number((size_t)_i);
    for (int i = 0; i < 8; i++) {
        compare_with_scorer(&fixture, (i & 1) != 0, &objective, (i & 2) != 0, (i & 4) != 0 ? N_PROMPT : N_PROMPT - 2);
    }
    qa_fixture_close(&fixture);
}
END_TEST

/* ---- against the plain reference ---- */

/* What the reference finds at all states of the answer; of the base model alone when parameters is NULL. */
typedef struct plain {
    qa_ref_side side;
    double z1[STATES * V], z[STATES * V], log_pi1[STATES * V], q[STATES * V], v[STATES], pi[STATES * V];
} plain;

static plain *run_reference(const qa_fixture *fixture, bool adapted, const qa_ref_objective *objective) {
    qa_error err = {0};
    qa_golden_setup setup = {0};
    qa_ref_net *net = NULL;
    plain *p = calloc(1, sizeof *p);
    int32_t ids[N_PROMPT + N_ANSWER];
    ck_assert_ptr_nonnull(p);
    memcpy(ids, prompt_ids, sizeof prompt_ids);
    memcpy(ids + N_PROMPT, answer_ids, sizeof answer_ids);
    qa_expect_ok(qa_golden_setup_model(&setup, fixture->model, fixture->adapter, &err), &err);
    qa_expect_ok(qa_ref_net_create(&net, &setup.model, N_PROMPT + N_ANSWER, &err), &err);
    p->side = (qa_ref_side){.z1 = p->z1, .z = p->z, .log_pi1 = p->log_pi1, .q = p->q, .v = p->v, .pi = p->pi};
    qa_ref_net_forward(net, ids, N_PROMPT + N_ANSWER, NULL);
    qa_ref_net_logits(net, N_PROMPT - 1, STATES, p->z1);
    qa_ref_net_forward(net, ids, N_PROMPT + N_ANSWER, adapted ? setup.parameters : NULL);
    qa_ref_net_logits(net, N_PROMPT - 1, STATES, p->z);
    for (size_t k = 0; k < STATES; k++) {
        qa_ref_log_softmax(p->log_pi1 + k * V, p->z1 + k * V, V);
    }
    qa_ref_residual_q(&p->side, STATES, V, objective);
    qa_ref_values(&p->side, STATES, V, objective);
    qa_ref_net_free(net);
    qa_golden_setup_free(&setup);
    return p;
}

/* Best first; one that has nothing better before it, and everything else of the row behind. */
static void expect_best(const qa_candidate *best, const double *score, const plain *p, size_t k, const char *what) {
    bool taken[V] = {false};
    for (size_t i = 0; i < N_BEST; i++) {
        size_t expected = 0;
        for (size_t a = 1; a < V; a++) {
            expected = taken[expected] || (!taken[a] && score[a] > score[expected]) ? a : expected;
        }
        taken[expected] = true;
        ck_assert_msg(best[i].id == (int32_t)expected, "%s, state %zu, place %zu: expected %zu, found %d", what, k, i,
                      expected, (int)best[i].id);
        expect_close(best[i].q, p->q[k * V + expected], "Q of a candidate", k);
        expect_close(best[i].log_pi1, p->log_pi1[k * V + expected], "log pi1 of a candidate", k);
        expect_close(best[i].log_pi, log(p->pi[k * V + expected]), "log pi of a candidate", k);
    }
}

static void expect_state(const qa_answer_row *row, const plain *p, size_t k) {
    const double *log_pi1 = p->log_pi1 + k * V, *pi = p->pi + k * V;
    double kl = 0.0;
    for (size_t a = 0; a < V; a++) {
        kl += pi[a] * (log(pi[a]) - log_pi1[a]);
        expect_close((double)row->full_q[a], p->q[k * V + a], "full Q", k);
        expect_close((double)row->full_log_pi1[a], log_pi1[a], "full log pi1", k);
    }
    expect_close(row->v, p->v[k], "V", k);
    expect_close(row->kl, kl, "KL", k);
    expect_best(row->base, log_pi1, p, k, "under pi1");
    expect_best(row->custom, pi, p, k, "under pitilde");
    if (k < N_ANSWER) {
        ck_assert_int_eq(row->id, answer_ids[k]);
        expect_close(row->q, p->q[k * V + (size_t)row->id], "Q", k);
        expect_close(row->log_pi1, log_pi1[row->id], "log pi1", k);
        expect_close(row->log_pi, log(pi[row->id]), "log pi", k);
    }
}

/* (M8) and (M9) of both objectives, written out. */
static void expect_rewards(const qa_inspection *found, const plain *p, const qa_objective *objective, bool terminal) {
    const bool published = objective->kind == QA_PUBLISHED;
    double ret = 0.0;
    for (size_t t = 0; t < N_ANSWER; t++) {
        const qa_answer_row *row = &found->rows[t];
        const double v_next = published ? p->v[t] : terminal && t + 1 == N_ANSWER ? 0.0 : p->v[t + 1];
        const double reward = p->q[t * V + (size_t)answer_ids[t]] - objective->gamma * v_next;
        const double weight = published
                                  ? 1.0 / (N_PROMPT + N_ANSWER - 1)
                                  : pow(objective->gamma, (double)t) / (objective->length_normalisation ? N_ANSWER : 1);
        ck_assert(row->counted == !(published && t == 0));
        if (row->counted) {
            expect_close(row->v_next, v_next, "V next", t);
            expect_close(row->reward, reward, "reward", t);
            expect_close(row->weight, weight, "weight", t);
            ret += weight * reward;
        }
    }
    ck_assert(!found->rows[N_ANSWER].counted);
    ck_assert_int_eq(found->rows[N_ANSWER].id, -1);
    expect_close(found->ret, ret, "the return", 0);
}

START_TEST(equals_the_reference) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture fixture = qa_fixture_open(&model, &lora, 2);
    const qa_objective objective = objective_number((size_t)_i / 2);
    const qa_ref_objective plainly = {.residual = objective.q_parametrisation == QA_Q_RESIDUAL,
                                      .alpha_tilde = objective.alpha_tilde,
                                      .alpha_0 = objective.alpha_0,
                                      .gamma = objective.gamma};
    const bool adapted = _i % 2 == 0;
    qa_inspector *inspector = new_inspector(&fixture, adapted, &objective, true);
    plain *p = run_reference(&fixture, adapted, &plainly);
    for (int terminal = 0; terminal < 2; terminal++) {
        const qa_inspection *found = NULL;
        qa_error err = {0};
        qa_expect_ok(qa_inspect(inspector, prompt_ids, N_PROMPT, answer_ids, N_ANSWER, terminal == 1, &found, &err),
                     &err);
        ck_assert_uint_eq(found->n, N_ANSWER);
        ck_assert_uint_eq(found->n_best, N_BEST);
        ck_assert_uint_eq(found->vocab_size, V);
        for (size_t k = 0; k < STATES; k++) {
            expect_state(&found->rows[k], p, k);
        }
        if (objective.method == QA_METHOD_QADAPTER) {
            expect_rewards(found, p, &objective, terminal == 1);
        }
    }
    free(p);
    qa_inspector_free(inspector);
    qa_fixture_close(&fixture);
}
END_TEST

/* Without adapter and objective Qhat is 0, and pitilde is pi1; asking for more candidates than tokens gives all. */
START_TEST(the_base_model_alone_is_pi1) {
    const tiny_model_options model = tiny_model_defaults();
    qa_fixture fixture = qa_fixture_open(&model, NULL, 1);
    qa_inspector *inspector = NULL;
    const qa_inspection *found = NULL;
    qa_error err = {0};
    const qa_inspection_limits limits = {.max_prompt = N_PROMPT, .max_response = N_ANSWER, .n_best = 1000};
    qa_expect_ok(qa_inspector_create(&inspector, fixture.model, NULL, NULL, limits, &err), &err);
    qa_expect_ok(qa_inspect(inspector, prompt_ids, N_PROMPT, answer_ids, N_ANSWER, true, &found, &err), &err);
    ck_assert_uint_eq(found->n_best, V);
    for (size_t t = 0; t < N_ANSWER; t++) {
        double sum = 0.0;
        ck_assert_double_eq(found->rows[t].q, 0.0);
        expect_close(found->rows[t].log_pi, found->rows[t].log_pi1, "log pi", t);
        expect_close(found->rows[t].kl, 0.0, "KL", t);
        expect_close(found->rows[t].reward, 0.0, "reward", t);
        for (size_t i = 0; i < V; i++) {
            ck_assert(i == 0 || found->rows[t].base[i].log_pi1 <= found->rows[t].base[i - 1].log_pi1);
            sum += exp(found->rows[t].base[i].log_pi1);
        }
        expect_close(sum, 1.0, "the sum of all candidates", t);
    }
    qa_inspector_free(inspector);
    qa_fixture_close(&fixture);
}
END_TEST

/* ---- refusals ---- */

START_TEST(what_it_refuses) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture fixture = qa_fixture_open(&model, &lora, 1);
    qa_objective objective = objective_number(0);
    qa_inspector *inspector = NULL;
    const qa_inspection *found = NULL;
    const int32_t outside[] = {3, V};
    const qa_inspection_limits limits = {.max_prompt = N_PROMPT, .max_response = N_ANSWER};
    qa_error err = {0};
    qa_expect_error(qa_inspector_create(&inspector, fixture.model, fixture.adapter, NULL, limits, &err),
                    QA_ERR_ARGUMENT, &err, "objective");
    qa_expect_error(qa_inspector_create(&inspector, fixture.model, NULL, NULL, (qa_inspection_limits){0}, &err),
                    QA_ERR_ARGUMENT, &err, "no workspace");
    qa_expect_error(qa_inspector_create(&inspector, fixture.model, NULL, NULL,
                                        (qa_inspection_limits){.max_prompt = SIZE_MAX, .max_response = 4}, &err),
                    QA_ERR_ARGUMENT, &err, "no workspace");
    ck_assert_ptr_null(inspector);
    inspector = new_inspector(&fixture, true, &objective, false);
    qa_expect_error(qa_inspect(inspector, prompt_ids, 0, answer_ids, 2, true, &found, &err), QA_ERR_LIMIT, &err,
                    "to a prompt of 0");
    qa_expect_error(qa_inspect(inspector, prompt_ids, 2, answer_ids, 0, true, &found, &err), QA_ERR_LIMIT, &err,
                    "an answer of 0");
    qa_expect_error(qa_inspect(inspector, prompt_ids, 2, answer_ids, N_ANSWER + 1, true, &found, &err), QA_ERR_LIMIT,
                    &err, "an answer of 7");
    qa_expect_error(qa_inspect(inspector, prompt_ids, 2, outside, 2, true, &found, &err), QA_ERR_ARGUMENT, &err, "29");
    ck_assert_ptr_null(found);
    qa_expect_ok(qa_inspect(inspector, prompt_ids, 2, answer_ids, 1, true, &found, &err), &err);
    ck_assert_uint_eq(found->n, 1);
    qa_inspector_free(inspector);
    qa_inspector_free(NULL);
    qa_fixture_close(&fixture);
}
END_TEST

/* ---- JSON ---- */

static double number_of(const json_t *object, const char *key) {
    const json_t *value = json_object_get(object, key);
    ck_assert_msg(json_is_number(value) || json_is_null(value), "\"%s\" is no number", key);
    return json_is_null(value) ? (double)NAN : json_number_value(value);
}

static void expect_json_row(const json_t *json, const qa_answer_row *row, bool taken) {
    ck_assert_uint_eq(json_object_size(json), taken ? 12 : 4);
    ck_assert_double_eq(number_of(json, "v"), row->v);
    ck_assert_double_eq(number_of(json, "kl"), row->kl);
    ck_assert_uint_eq(json_array_size(json_object_get(json, "base")), N_BEST);
    const json_t *best = json_array_get(json_object_get(json, "custom"), 1);
    ck_assert_int_eq((int)number_of(best, "id"), row->custom[1].id);
    ck_assert_double_eq(number_of(best, "log_pi"), row->custom[1].log_pi);
    ck_assert_double_eq(number_of(best, "log_pi1"), row->custom[1].log_pi1);
    ck_assert_double_eq(number_of(best, "q"), row->custom[1].q);
    if (taken) {
        ck_assert_int_eq((int)number_of(json, "id"), row->id);
        ck_assert_double_eq(number_of(json, "log_pi1"), row->log_pi1);
        ck_assert_double_eq(number_of(json, "q"), row->q);
        ck_assert_double_eq(number_of(json, "log_pi"), row->log_pi);
        ck_assert_double_eq(number_of(json, "weight"), row->weight);
        ck_assert(isnan(row->reward) ? isnan(number_of(json, "reward")) : number_of(json, "reward") == row->reward);
        ck_assert(isnan(row->v_next) ? isnan(number_of(json, "v_next")) : number_of(json, "v_next") == row->v_next);
    }
}

/* Read back, every number is the very same. */
START_TEST(json_reads_back) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture fixture = qa_fixture_open(&model, &lora, 1);
    const qa_objective objective = objective_number(_i < 2 ? 0 : 2); /* theory, published */
    const qa_pair pair = example(_i == 1, N_PROMPT);
    qa_inspector *inspector = new_inspector(&fixture, true, &objective, true);
    const qa_inspection *found = NULL;
    qa_json_writer out = {0};
    qa_error err = {0};
    qa_expect_ok(qa_inspect_side(inspector, &pair, true, N_PROMPT + N_ANSWER + (_i == 3 ? 2 : 0), &found, &err), &err);
    qa_json_open_object(&out, NULL, QA_JSON_LINE);
    qa_inspection_put(&out, found, NULL);
    qa_inspection_put_full(&out, found);
    qa_json_close(&out);
    ck_assert_int_eq(out.status, QA_OK);
    json_t *root = json_loadb(out.text.data, out.text.n, 0, NULL);
    const json_t *tokens = json_object_get(root, "tokens"), *full = json_object_get(root, "full");
    ck_assert_uint_eq(json_array_size(tokens), N_ANSWER);
    for (size_t t = 0; t < N_ANSWER; t++) {
        const json_t *token = json_array_get(tokens, t);
        ck_assert_ptr_null(json_object_get(token, "text"));
        json_object_set_new(json_array_get(tokens, t), "text", json_null()); /* to count the same members */
        expect_json_row(token, &found->rows[t], true);
    }
    const json_t *end = json_object_get(root, "end");
    ck_assert((end == NULL) == (_i == 1));
    if (end != NULL) {
        if (_i == 3) {
            ck_assert_int_eq(found->rows[N_ANSWER].id, 2); /* the padding is the end-of-sequence token */
            json_object_set_new(json_object_get(root, "end"), "text", json_null());
        }
        expect_json_row(end, &found->rows[N_ANSWER], _i == 3);
    }
    ck_assert_double_eq(number_of(root, "return"), found->ret);
    ck_assert_double_eq(number_of(root, "log_ratio"), found->log_ratio);
    ck_assert_double_eq(number_of(root, "kl"), found->kl);
    ck_assert(json_is_true(json_object_get(root, "terminal")) == (_i == 1));
    const json_t *last = json_array_get(json_object_get(full, "q"), N_ANSWER);
    ck_assert_uint_eq(json_array_size(last), V);
    ck_assert_double_eq(json_number_value(json_array_get(last, V - 1)), (double)found->rows[N_ANSWER].full_q[V - 1]);
    ck_assert_uint_eq(json_array_size(json_object_get(full, "log_pi1")), STATES);
    json_decref(root);
    qa_text_free(&out.text);
    qa_inspector_free(inspector);
    qa_fixture_close(&fixture);
}
END_TEST

static void expect_token(const qa_tokenizer *tokenizer, int32_t id, const char *expected) {
    qa_text text = {0};
    qa_error err = {0};
    qa_expect_ok(qa_token_text(tokenizer, id, &text, &err), &err);
    ck_assert_str_eq(text.n == 0 ? "" : text.data, expected);
    qa_text_free(&text);
}

START_TEST(a_tokens_text_is_that_within_a_text) {
    for (int kind = TINY_BYTES; kind <= TINY_PIECES; kind++) {
        char *dir = qa_tempdir_make();
        qa_tokenizer *tokenizer = NULL;
        qa_error err = {0};
        tiny_tokenizer_write(dir, &(tiny_tokenizer_options){.kind = (tiny_tokenizer_kind)kind});
        qa_expect_ok(qa_tokenizer_load(&tokenizer, dir, &err), &err);
        const int32_t byte = kind == TINY_BYTES ? 4 : 3;
        expect_token(tokenizer, byte + 'a', "a");
        expect_token(tokenizer, byte + 0xe2, "\xef\xbf\xbd");
        expect_token(tokenizer, kind == TINY_BYTES ? byte + ' ' : TINY_SPACE, " ");
        expect_token(tokenizer, kind == TINY_BYTES ? 1 : 2, "</s>");
        expect_token(tokenizer, 5000, "");
        qa_tokenizer_free(tokenizer);
        qa_tempdir_remove(dir);
    }
}
END_TEST

Suite *inspect_rows_suite(void);
Suite *inspect_rows_suite(void) {
    Suite *suite = suite_create("inspect_rows");
    TCase *tcase = tcase_create("rows");
    tcase_add_loop_test(tcase, equals_the_scorer, 0, N_OBJECTIVES);
    tcase_add_loop_test(tcase, equals_the_reference, 0, 8);
    tcase_add_test(tcase, the_base_model_alone_is_pi1);
    tcase_add_test(tcase, what_it_refuses);
    tcase_add_loop_test(tcase, json_reads_back, 0, 4);
    tcase_add_test(tcase, a_tokens_text_is_that_within_a_text);
    suite_add_tcase(suite, tcase);
    return suite;
}
