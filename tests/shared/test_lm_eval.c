/* Every request that lm-evaluation-harness was recorded to send, sent to the server: answers of the shape that it
 * reads, with the texts and, to rounding, the log-probabilities of the server on transformers that answered it then. */
#include "shared/shared.h"
#include "support/cli_json.h"
#include "support/serving.h"

#include <check.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

Suite *shared_lm_eval_suite(void);

#if defined(QA_HAVE_LIBMICROHTTPD)

/* lm-eval's own rule: everything but the last entry behind the context is the continuation's. */
static void check_loglikelihood(const json_t *choice, size_t n_prompt) {
    const json_t *logprobs = json_object_get(choice, "logprobs");
    const json_t *values = json_object_get(logprobs, "token_logprobs"),
                 *tops = json_object_get(logprobs, "top_logprobs");
    ck_assert_uint_eq(json_array_size(values), n_prompt + 1);
    ck_assert_uint_eq(json_array_size(tops), n_prompt + 1);
    ck_assert(json_is_null(json_array_get(values, 0)) && json_is_null(json_array_get(tops, 0)));
    for (size_t i = 1; i <= n_prompt; i++) {
        const double own = json_number_value(json_array_get(values, i));
        double largest = -HUGE_VAL;
        const char *key = NULL;
        json_t *value = NULL;
        json_object_foreach(json_array_get(tops, i), key, value) { largest = fmax(largest, json_number_value(value)); }
        ck_assert_msg(own <= largest && own < 0.0, "entry %zu: %g, the largest %g", i, own, largest);
    }
}

/* The recorded answer's tokens and values. */
static void compare_loglikelihood(const json_t *choice, const json_t *recorded) {
    const json_t *found = json_object_get(json_object_get(choice, "logprobs"), "token_logprobs");
    const json_t *expected = json_object_get(json_object_get(recorded, "logprobs"), "token_logprobs");
    ck_assert_uint_eq(json_array_size(found), json_array_size(expected));
    for (size_t i = 1; i < json_array_size(expected); i++) {
        const double x = json_number_value(json_array_get(found, i)),
                     y = json_number_value(json_array_get(expected, i));
        ck_assert_msg(fabs(x - y) <= 2e-4, "token %zu: %.9g, recorded %.9g", i, x, y); /* 2e-5 observed */
    }
    const json_t *tokens = json_object_get(json_object_get(choice, "logprobs"), "tokens");
    ck_assert_int_eq(json_equal(tokens, json_object_get(json_object_get(recorded, "logprobs"), "tokens")), 1);
}

static const char *answer_text(const json_t *choice) {
    const json_t *message = json_object_get(choice, "message");
    return json_string_value(json_object_get(message != NULL ? message : choice, message != NULL ? "content" : "text"));
}

static size_t answers_to(const json_t *prompt) {
    const json_t *first = json_array_get(prompt, 0);
    return json_is_array(first) || (json_is_array(prompt) && json_is_string(first)) ? json_array_size(prompt) : 1;
}

static void check_completions(const json_t *body, const json_t *answer, const json_t *recorded) {
    const json_t *prompt = json_object_get(body, "prompt"), *choices = json_object_get(answer, "choices");
    const json_t *before = json_object_get(recorded, "choices");
    ck_assert_uint_eq(json_array_size(choices), prompt == NULL ? 1 : answers_to(prompt));
    for (size_t i = 0; i < json_array_size(choices); i++) {
        const json_t *choice = json_array_get(choices, i), *was = json_array_get(before, i);
        ck_assert_int_eq((int)json_integer_value(json_object_get(choice, "index")), (int)i);
        if (json_is_true(json_object_get(body, "echo"))) {
            if (json_is_array(json_array_get(prompt, i))) {
                check_loglikelihood(choice, json_array_size(json_array_get(prompt, i)));
            }
            if (was != NULL) {
                compare_loglikelihood(choice, was);
            }
        } else if (was != NULL) {
            ck_assert_str_eq(answer_text(choice), answer_text(was));
        }
    }
}

/* One line. The model's name is the client's, who is told so with 404; here it is the base model's. Messages as a
 * prompt are refused by some of the recorded servers, and answered by others and here. */
static void replay(const qa_serving *serving, json_t *line) {
    json_t *body = json_object_get(line, "body");
    const json_t *recorded = json_object_get(line, "answer");
    const char *path = qa_json_text(line, "path");
    if (json_object_get(body, "model") != NULL) {
        (void)json_object_set_new(body, "model", json_string("base"));
    }
    char *text = json_is_object(body) ? json_dumps(body, 0) : NULL;
    json_t *answer = qa_http_json(serving, path, text, 200);
    if (strstr(path, "completions") != NULL) {
        check_completions(body, answer, recorded);
    } else if (json_integer_value(json_object_get(line, "status")) == 200) {
        const char *key = NULL;
        json_t *value = NULL;
        json_object_foreach((json_t *)(uintptr_t)recorded, key, value) {
            ck_assert_msg(json_equal(value, json_object_get(answer, key)) == 1, "%s: %s", path, key);
        }
    }
    json_decref(answer);
    free(text);
}

START_TEST(skipped) {
    (void)fprintf(stderr, "shared/cases/peers/lm-eval-contract or $QA_BIN not found: this test is skipped\n");
}
END_TEST

START_TEST(recorded_requests) {
    char path[1024], line[65536];
    size_t n = 0;
    qa_serving serving = QA_SERVING("--model", "weights/village/model", "--parallel", "4");
    (void)snprintf(path, sizeof path, "%s/cases/peers/lm-eval-contract/transcript.jsonl", shared_folder());
    FILE *file = fopen(path, "r");
    ck_assert_ptr_nonnull(file);
    while (fgets(line, sizeof line, file) != NULL) {
        json_t *root = json_loads(line, 0, NULL);
        ck_assert_ptr_nonnull(root);
        replay(&serving, root);
        n++;
        json_decref(root);
    }
    (void)fclose(file);
    ck_assert_uint_eq(n, 37);
    ck_assert_int_eq(qa_serving_stop(&serving, SIGTERM), 0);
}
END_TEST

#endif

Suite *shared_lm_eval_suite(void) {
    Suite *suite = suite_create("shared/lm_eval");
#if defined(QA_HAVE_LIBMICROHTTPD)
    TCase *tcase = tcase_create("lm_eval");
    tcase_set_timeout(tcase, 120);
    if (shared_can_run("cases/peers/lm-eval-contract/transcript.jsonl")) {
        tcase_add_test(tcase, recorded_requests);
    } else {
        tcase_add_test(tcase, skipped);
    }
    suite_add_tcase(suite, tcase);
#endif
    return suite;
}
