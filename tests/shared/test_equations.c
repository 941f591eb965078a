/* The equations against an independent implementation: from the reference cases' own rows of Qhat and log pi1,
 * Vhat (M5), log pitilde (M7), the rewards (M8), the returns (M9) and the loss with its two terms (M10), for both
 * objectives. No model runs here. The rows of a case form one micro-batch. */
#include "base/checked.h"
#include "io/file.h"
#include "io/json.h"
#include "io/safetensors.h"
#include "rl/equations.h"
#include "rl/transitions.h"
#include "shared/shared.h"
#include "support/compare.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Largest error relative to the array's largest value, observed: 4e-15 in f64, 3e-7 in f32. */
#ifdef QA_F64
static const double tolerance = 1e-12;
#else
static const double tolerance = 3e-6;
#endif

static const char *const cases[] = {"theory-stories", "theory-llama3rope", "residual-untied", "published-qwen"};
enum { N_CASES = sizeof cases / sizeof cases[0], MAX_PAIRS = 8, MAX_TOKENS = 256, PAD = 2, NAME_BYTES = 64 };

/* QA_SHARED/oracle/CASE/NAME, freed by the caller. */
static char *case_path(const char *name_of_case, const char *name) {
    char inside[256];
    (void)snprintf(inside, sizeof inside, "oracle/%s/%s", name_of_case, name);
    char *path = qa_path_join(shared_folder(), inside);
    ck_assert_ptr_nonnull(path);
    return path;
}

#define MUST(call) ck_assert_msg((call) == QA_OK, "%s", err.message)

/* ---- reading a case ---- */

typedef struct pair_ids {
    int32_t ids[2][MAX_TOKENS]; /* prompt and response; chosen, rejected */
    qa_side side[2];
} pair_ids;

typedef struct reference {
    qa_objective objective;
    pair_ids pairs[MAX_PAIRS];
    size_t n_pairs;
    size_t padded_length;
    qa_safetensors *expected;
} reference;

static qa_objective read_objective(const char *name_of_case) {
    qa_error err = {0};
    qa_objective o = {0};
    json_t *root = NULL;
    char *path = case_path(name_of_case, "case.json");
    const char *kind = NULL, *q_parametrisation = NULL;
    MUST(qa_json_load(&root, path, &err));
    MUST(qa_json_get_string(root, "objective", true, path, &kind, &err));
    MUST(qa_json_get_string(root, "q_parametrisation", true, path, &q_parametrisation, &err));
    MUST(qa_objective_kind_by_name(&o.kind, kind, &err));
    MUST(qa_q_parametrisation_by_name(&o.q_parametrisation, q_parametrisation, &err));
    MUST(qa_json_get_double(root, "alpha_tilde", true, path, &o.alpha_tilde, &err));
    MUST(qa_json_get_double(root, "alpha_0", true, path, &o.alpha_0, &err));
    MUST(qa_json_get_double(root, "gamma", true, path, &o.gamma, &err));
    MUST(qa_json_get_double(root, "beta", true, path, &o.beta, &err));
    MUST(qa_json_get_bool(root, "length_normalisation", true, path, &o.length_normalisation, &err));
    MUST(qa_objective_check(&o, &err));
    json_decref(root);
    free(path);
    return o;
}

/* Appends the ids of an array at ids[at]; returns the new length. */
static size_t read_ids(const json_t *object, const char *key, int32_t *ids, size_t at) {
    qa_error err = {0};
    json_t *array = NULL;
    MUST(qa_json_get_array(object, key, true, "pairs.jsonl", &array, &err));
    ck_assert_uint_le(at + json_array_size(array), MAX_TOKENS);
    for (size_t i = 0; i < json_array_size(array); i++) {
        ids[at++] = (int32_t)json_integer_value(json_array_get(array, i));
    }
    return at;
}

static void read_pair(pair_ids *pair, const char *line, size_t bytes, size_t number) {
    static const char *const ids_key[2] = {"chosen_ids", "rejected_ids"};
    static const char *const terminal_key[2] = {"chosen_terminal", "rejected_terminal"};
    qa_error err = {0};
    json_t *root = NULL;
    MUST(qa_json_parse(&root, line, bytes, "pairs.jsonl", number, &err));
    for (int s = 0; s < 2; s++) {
        qa_side *side = &pair->side[s];
        side->label_start = read_ids(root, "prompt_ids", pair->ids[s], 0);
        side->length = read_ids(root, ids_key[s], pair->ids[s], side->label_start);
        side->ids = pair->ids[s];
        MUST(qa_json_get_bool(root, terminal_key[s], true, "pairs.jsonl", &side->terminal, &err));
    }
    json_decref(root);
}

static void read_case(reference *r, const char *name_of_case) {
    qa_error err = {0};
    qa_text text = {0};
    memset(r, 0, sizeof *r);
    r->objective = read_objective(name_of_case);
    char *path = case_path(name_of_case, "pairs.jsonl");
    MUST(qa_read_file(&text, path, 1 << 20, &err));
    free(path);
    for (const char *line = text.data, *end = text.data + text.n; line < end;) {
        const char *newline = memchr(line, '\n', (size_t)(end - line));
        const size_t bytes = (size_t)((newline != NULL ? newline : end) - line);
        ck_assert_uint_lt(r->n_pairs, MAX_PAIRS);
        read_pair(&r->pairs[r->n_pairs], line, bytes, r->n_pairs + 1);
        r->n_pairs++;
        line += bytes + 1;
    }
    qa_text_free(&text);
    for (size_t p = 0; p < r->n_pairs; p++) {
        for (int s = 0; s < 2; s++) {
            const size_t length = r->pairs[p].side[s].length;
            r->padded_length = length > r->padded_length ? length : r->padded_length;
        }
    }
    path = case_path(name_of_case, "expected.safetensors");
    MUST(qa_safetensors_open(&r->expected, path, &err));
    free(path);
}

static const qa_tensor *find(const reference *r, const char *name) {
    const qa_tensor *tensor = qa_safetensors_find(r->expected, name);
    ck_assert_msg(tensor != NULL, "no tensor %s", name);
    return tensor;
}

/* The tensor pair{p}.{side}.{what}. */
static const qa_tensor *find_of_side(const reference *r, size_t p, int s, const char *what) {
    char name[NAME_BYTES];
    (void)snprintf(name, sizeof name, "pair%zu.%s.%s", p, s == 0 ? "chosen" : "rejected", what);
    return find(r, name);
}

static qa_real *read_rows(const reference *r, const qa_tensor *tensor) {
    qa_error err = {0};
    qa_real *rows = qa_alloc_array(tensor->count, sizeof *rows);
    ck_assert_ptr_nonnull(rows);
    MUST(qa_tensor_read_real(r->expected, tensor, true, rows, &err));
    return rows;
}

static void expect_array(const reference *r, const qa_tensor *tensor, const double *found, size_t n) {
    qa_error err = {0};
    double *expected = qa_alloc_array(n, sizeof *expected);
    ck_assert_ptr_nonnull(expected);
    MUST(qa_tensor_check_shape(r->expected, tensor, 1, &n, &err));
    MUST(qa_tensor_read_double(r->expected, tensor, true, expected, &err));
    QA_ASSERT_DOUBLE(tensor->name, found, expected, n, tolerance, 0.0);
    free(expected);
}

static void expect_scalar(const reference *r, const qa_tensor *tensor, double found) {
    qa_error err = {0};
    double expected = 0.0;
    MUST(qa_tensor_check_shape(r->expected, tensor, 0, NULL, &err));
    MUST(qa_tensor_read_double(r->expected, tensor, true, &expected, &err));
    QA_ASSERT_DOUBLE(tensor->name, &found, &expected, 1, tolerance, 0.0);
}

/* ---- checking one side, then the loss ---- */

typedef struct side_result {
    double reward[MAX_TOKENS]; /* [n] */
    size_t n;
    double R;
} side_result;

static void expect_ids(const reference *r, size_t p, int s) {
    qa_error err = {0};
    int64_t ids[MAX_TOKENS];
    const qa_side *side = &r->pairs[p].side[s];
    const qa_tensor *tensor = find_of_side(r, p, s, "input_ids");
    MUST(qa_tensor_check_shape(r->expected, tensor, 1, &side->length, &err));
    MUST(qa_tensor_read_int64(r->expected, tensor, ids, &err));
    for (size_t i = 0; i < side->length; i++) {
        ck_assert_int_eq(ids[i], side->ids[i]);
    }
}

/* (M5) at every state, and (M7) for every response token. */
static void check_value_and_policy(const reference *r, size_t p, int s, const qa_real *q, const qa_real *log_pi1,
                                   size_t V, double *v) {
    const qa_objective *o = &r->objective;
    const qa_side *side = &r->pairs[p].side[s];
    const size_t states = qa_side_states(side);
    double log_pi[MAX_TOKENS];
    qa_real *pi = qa_alloc_array(V, sizeof *pi);
    ck_assert_ptr_nonnull(pi);
    for (size_t k = 0; k < states; k++) {
        v[k] = qa_m5_value(q + k * V, log_pi1 + k * V, V, o->alpha_0, o->alpha_tilde);
        ck_assert_double_eq(qa_m7_policy(pi, q + k * V, log_pi1 + k * V, V, o->alpha_0, o->alpha_tilde), v[k]);
        if (k + 1 < states) {
            const size_t a = (size_t)side->ids[side->label_start + k];
            log_pi[k] =
                qa_m7_log_policy((double)q[k * V + a], (double)log_pi1[k * V + a], v[k], o->alpha_0, o->alpha_tilde);
            ck_assert_double_eq_tol((double)pi[a], exp(log_pi[k]), tolerance);
        }
    }
    free(pi);
    expect_array(r, find_of_side(r, p, s, "v"), v, states);
    expect_array(r, find_of_side(r, p, s, "log_pi"), log_pi, states - 1);
}

static void check_side(const reference *r, size_t p, int s, side_result *result) {
    qa_error err = {0};
    const qa_side *side = &r->pairs[p].side[s];
    const qa_tensor *q_tensor = find_of_side(r, p, s, "q"), *log_pi1_tensor = find_of_side(r, p, s, "log_pi1");
    const size_t states = qa_side_states(side), V = q_tensor->shape[1];
    qa_transition transitions[MAX_TOKENS];
    double v[MAX_TOKENS], q_action[MAX_TOKENS], weight[MAX_TOKENS];
    expect_ids(r, p, s);
    MUST(qa_tensor_check_shape(r->expected, q_tensor, 2, (size_t[]){states, V}, &err));
    MUST(qa_tensor_check_shape(r->expected, log_pi1_tensor, 2, (size_t[]){states, V}, &err));
    qa_real *q = read_rows(r, q_tensor), *log_pi1 = read_rows(r, log_pi1_tensor);
    check_value_and_policy(r, p, s, q, log_pi1, V, v);

    result->n = qa_transition_count(side, &r->objective, r->padded_length);
    qa_transitions_layout(transitions, side, &r->objective, r->padded_length, PAD);
    for (size_t t = 0; t < result->n; t++) {
        q_action[t] = (double)q[transitions[t].state * V + (size_t)transitions[t].action];
        weight[t] = transitions[t].weight;
    }
    qa_transitions_rewards(result->reward, transitions, result->n, q_action, v, r->objective.gamma);
    result->R = qa_m9_return(weight, result->reward, result->n);
    expect_array(r, find_of_side(r, p, s, "reward"), result->reward, result->n);
    expect_scalar(r, find_of_side(r, p, s, "return"), result->R);
    free(q);
    free(log_pi1);
}

START_TEST(reference_case) {
    reference r;
    side_result sides[MAX_PAIRS][2];
    double preference = 0.0, regulariser = 0.0, counted = 0.0;
    read_case(&r, cases[_i]);
    ck_assert_uint_gt(r.n_pairs, 0);
    for (size_t p = 0; p < r.n_pairs; p++) {
        check_side(&r, p, 0, &sides[p][0]);
        check_side(&r, p, 1, &sides[p][1]);
        preference += qa_m10_preference_loss(sides[p][0].R - sides[p][1].R, 0.0, (double)r.n_pairs);
        counted += (double)(sides[p][0].n + sides[p][1].n);
    }
    for (size_t p = 0; p < r.n_pairs; p++) {
        for (int s = 0; s < 2; s++) {
            regulariser += qa_m10_regulariser(sides[p][s].reward, sides[p][s].n, r.objective.beta, counted);
        }
    }
    expect_scalar(&r, find(&r, "loss.pref"), preference);
    expect_scalar(&r, find(&r, "loss.reg"), regulariser);
    expect_scalar(&r, find(&r, "loss"), preference + regulariser);
    qa_safetensors_close(r.expected);
}
END_TEST

START_TEST(skipped) { ck_assert(!qa_path_exists(shared_folder())); }
END_TEST

Suite *shared_equations_suite(void);

Suite *shared_equations_suite(void) {
    Suite *suite = suite_create("shared_equations");
    TCase *tests = tcase_create("equations");
    if (qa_path_exists(shared_folder())) {
        tcase_add_loop_test(tests, reference_case, 0, N_CASES);
    } else {
        (void)printf("skipped: shared_equations, no reference cases at %s (QA_SHARED)\n", shared_folder());
        tcase_add_test(tests, skipped);
    }
    suite_add_tcase(suite, tests);
    return suite;
}
