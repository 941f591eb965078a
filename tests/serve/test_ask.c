/* Requests: every form of a prompt, every field, and what is refused, with which status and which field named. */
#include "serve/ask.h"

#include "support/served.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

/* Reads the body, which must be taken. */
static void take(qa_ask *ask, bool chat, const char *body) {
    qa_refusal refusal = {0};
    *ask = (qa_ask){0};
    const qa_status status = qa_ask_read(ask, qa_test_served(), chat, body, strlen(body), &refusal);
    ck_assert_msg(status == QA_OK, "%s: %u %s", body, refusal.status, refusal.err.message);
}

/* It must be refused, with the status, the field (NULL: none) and this in the message. */
static void refuse(bool chat, const char *body, unsigned expected, const char *param, const char *part) {
    qa_refusal refusal = {0};
    qa_ask ask = {0};
    ck_assert_msg(qa_ask_read(&ask, qa_test_served(), chat, body, strlen(body), &refusal) != QA_OK, "taken: %s", body);
    ck_assert_msg(refusal.status == expected && strcmp(refusal.param, param == NULL ? "" : param) == 0 &&
                      strstr(refusal.err.message, part) != NULL,
                  "%s: %u, field \"%s\": %s", body, refusal.status, refusal.param, refusal.err.message);
    qa_ask_free(&ask);
}

static void expect_prompt(const qa_ask *ask, size_t i, const int32_t *ids, size_t n) {
    ck_assert_uint_lt(i, ask->prompts.n);
    ck_assert_uint_eq(ask->prompts.items[i].ids.n, n);
    ck_assert_mem_eq(ask->prompts.items[i].ids.data, ids, n * sizeof *ids);
}

static const int32_t BOS = 0, IM_START = 2;
#define BYTE(c) (SERVED_BYTE + (c))

START_TEST(every_form_of_a_prompt) {
    qa_ask ask;
    take(&ask, false, "{\"model\": \"base\", \"prompt\": \"ab\"}");
    expect_prompt(&ask, 0, (const int32_t[]){BOS, BYTE('a'), BYTE('b')}, 3);
    ck_assert_uint_eq(ask.prompts.items[0].n_front, 1);
    ck_assert_uint_eq(ask.max_tokens, 16);
    ck_assert_ptr_null(ask.policy.adapter);
    qa_ask_free(&ask);
    take(&ask, false, "{\"model\": \"base\", \"prompt\": [\"a\", \"b\"], \"n\": 2}");
    ck_assert_uint_eq(ask.prompts.n, 2);
    expect_prompt(&ask, 1, (const int32_t[]){BOS, BYTE('b')}, 2);
    qa_ask_free(&ask);
    take(&ask, false, "{\"model\": \"base\", \"prompt\": [5, 6, 7]}");
    expect_prompt(&ask, 0, (const int32_t[]){5, 6, 7}, 3);
    qa_ask_free(&ask);
    take(&ask, false, "{\"model\": \"base\", \"prompt\": [[5], [6, 7]]}");
    expect_prompt(&ask, 1, (const int32_t[]){6, 7}, 2);
    ck_assert(!ask.prompts.dialogues);
    qa_ask_free(&ask);
    take(&ask, false,
         "{\"model\": \"base\", \"prompt\": [{\"role\": \"user\", \"content\": \"a\", \"type\": \"text\"}]}");
    ck_assert_int_eq(ask.prompts.items[0].ids.data[0], IM_START);
    ck_assert(ask.prompts.dialogues);
    qa_ask_free(&ask);
    take(&ask, false,
         "{\"model\": \"base\", \"prompt\": [[{\"role\": \"user\", \"content\": \"a\"}], "
         "[{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"b\"}]}]]}");
    ck_assert_uint_eq(ask.prompts.n, 2);
    ck_assert_uint_eq(ask.prompts.items[0].ids.n, ask.prompts.items[1].ids.n);
    qa_ask_free(&ask);
}
END_TEST

/* serve.md: a text that brings <s> gets no second one. */
START_TEST(a_text_that_brings_its_beginning_gets_no_second_one) {
    qa_ask ask;
    take(&ask, false, "{\"model\": \"base\", \"prompt\": \"<s>a\"}");
    expect_prompt(&ask, 0, (const int32_t[]){BOS, BYTE('a')}, 2);
    ck_assert_uint_eq(ask.prompts.items[0].n_front, 0);
    qa_ask_free(&ask);
    take(&ask, false, "{\"model\": \"base\", \"prompt\": \"a\", \"add_special_tokens\": false}");
    expect_prompt(&ask, 0, (const int32_t[]){BYTE('a')}, 1);
    qa_ask_free(&ask);
}
END_TEST

START_TEST(the_name_of_the_model_chooses_the_policy) {
    qa_ask ask;
    take(&ask, false, "{\"model\": \"formal:alpha-0=0.5,alpha_tilde=2\", \"prompt\": [5]}");
    ck_assert_ptr_eq(ask.policy.adapter, qa_test_served()->adapters[0].adapter);
    ck_assert_ptr_eq(ask.policy.objective, &ask.objective);
    ck_assert(ask.objective.alpha_0 == 0.5 && ask.objective.alpha_tilde == 2.0);
    qa_ask_free(&ask);
    take(&ask, false, "{\"model\": \"plain\", \"prompt\": [5]}");
    ck_assert_ptr_eq(ask.policy.adapter, qa_test_served()->adapters[1].adapter);
    qa_ask_free(&ask);
    take(&ask, false, "{\"model\": \"mix:plain=0.5,formal=-2\", \"prompt\": [5]}");
    ck_assert_ptr_eq(ask.policy.mixture, &ask.mixed.mixture);
    ck_assert_ptr_null(ask.policy.adapter);
    ck_assert_uint_eq(ask.policy.mixture->n, 2);
    ck_assert_ptr_eq(ask.mixed.parts[0].adapter, qa_test_served()->adapters[1].adapter);
    ck_assert(ask.mixed.parts[0].weight == 0.5 && ask.mixed.parts[1].weight == -2.0);
    qa_ask_free(&ask);
    static const struct {
        const char *name, *part;
        unsigned status;
    } bad[] = {{"mix:", "mix:NAME=0.5", 400},
               {"mix:formal", "mix:NAME=0.5", 400},
               {"mix:formal=1,", "mix:NAME=0.5", 400},
               {"mix:nobody=1", "found \"nobody=1\"", 404},
               {"mix:base=1", "adapters and their weights", 404},
               {"mix:formal=nan", "the weight of formal: expected a number", 400},
               {"mix:formal=", "the weight of formal: expected a number", 400},
               {"mix:formal=1,formal=2", "are one adapter", 400},
               {"mix", "there are: base", 404},
               {"gpt-4", "there are: base, formal, plain", 404},
               {"", "there are: base", 404},
               {"custom", "there are: base", 404},
               {"base:alpha-0=1", "no dials", 400},
               {"formal:", "NAME=NUMBER", 400},
               {"formal:alpha-0", "NAME=NUMBER", 400},
               {"formal:alpha-0=", "expected", 400},
               {"formal:alpha-0=x", "expected", 400},
               {"formal:alpha-0=nan", "expected", 400},
               {"formal:alpha-0=-1", "expected", 400},
               {"formal:alpha-tilde=0", "expected", 400},
               {"formal:alpha-0=1e308", "at most 1e+06", 400},
               {"formal:alpha-tilde=1e-300", "at least 1e-06", 400},
               {"formal:alpha-0=1,alpha-0=2", "twice", 400},
               {"formal:alpha-0=1,", "NAME=NUMBER", 400},
               {"formal:gamma=1", "no dial \"gamma\"", 400},
               {"formal:beta=1", "no dial", 400},
               {"plain:alpha-0=1", "method dpo", 400}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char body[256];
        (void)snprintf(body, sizeof body, "{\"model\": \"%s\", \"prompt\": [5]}", bad[i].name);
        refuse(false, body, bad[i].status, "model", bad[i].part);
    }
}
END_TEST

START_TEST(names_of_adapters) {
    char names[2][QA_SERVED_NAME_BYTES];
    qa_error err = {0};
    ck_assert_int_eq(qa_served_name(names, (const char *const[]){"runs/a/"}, 1, &err), QA_OK);
    ck_assert_str_eq(names[0], "custom");
    ck_assert_int_eq(qa_served_name(names, (const char *const[]){"runs/a/", "b"}, 2, &err), QA_OK);
    ck_assert_str_eq(names[0], "a");
    ck_assert_str_eq(names[1], "b");
    ck_assert_int_eq(qa_served_name(names, (const char *const[]){"runs/a/", "a"}, 2, &err), QA_ERR_ARGUMENT);
    ck_assert_int_eq(qa_served_name(names, (const char *const[]){"x/base", "a"}, 2, &err), QA_ERR_ARGUMENT);
    ck_assert_int_eq(qa_served_name(names, (const char *const[]){"x/a:b", "a"}, 2, &err), QA_ERR_ARGUMENT);
}
END_TEST

START_TEST(fields) {
    qa_ask ask;
    take(
        &ask, false,
        "{\"model\": \"base\", \"prompt\": [5], \"max_tokens\": 0, \"temperature\": 0, \"top_p\": 0.5, \"top_k\": 3, "
        "\"min_p\": 0.1, \"n\": 3, \"stop\": [\"x\", \"y\", \"<s>\"], \"seed\": 1234, \"logprobs\": 0, \"echo\": true, "
        "\"stream\": true, \"stream_options\": {\"include_usage\": true}, \"user\": \"u\", \"metadata\": {\"a\": 1}, "
        "\"frequency_penalty\": 0.0, \"presence_penalty\": 0, \"logit_bias\": {}, \"best_of\": 1, \"suffix\": null}");
    ck_assert_uint_eq(ask.max_tokens, 0);
    ck_assert(ask.sampling.temperature == 0.0 && ask.sampling.top_p == 0.5 && ask.sampling.min_p == 0.1);
    ck_assert_uint_eq(ask.sampling.top_k, 3);
    ck_assert_uint_eq(ask.sampling.seed, 1234);
    ck_assert(ask.seeded && ask.echo && ask.stream && ask.include_usage && ask.logprobs);
    ck_assert_uint_eq(ask.n, 3);
    ck_assert_uint_eq(ask.n_best, 0);
    ck_assert_uint_eq(ask.n_stops, 3);
    ck_assert(qa_answer_end_has(&ask.end, BOS)); /* a special token that is asked for as a stop ends the answer */
    qa_ask_free(&ask);
    take(
        &ask, true,
        "{\"model\": \"base\", \"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"max_completion_tokens\": 7, "
        "\"logprobs\": true, \"top_logprobs\": 4, \"stop\": \"x\", \"response_format\": {\"type\": \"text\"}}");
    ck_assert_uint_eq(ask.max_tokens, 7);
    ck_assert_uint_eq(ask.n_best, 4);
    qa_ask_free(&ask);
    take(&ask, true,
         "{\"model\": \"base\", \"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"max_tokens\": 2, "
         "\"max_completion_tokens\": null}");
    ck_assert_uint_eq(ask.max_tokens, 2);
    qa_ask_free(&ask);
    take(&ask, true, "{\"model\": \"base\", \"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}");
    ck_assert_uint_eq(ask.max_tokens, SERVED_CONTEXT);
    ck_assert(!ask.seeded && !ask.logprobs);
    qa_ask_free(&ask);
}
END_TEST

/* One member after {"model": "base", "prompt": [5], of completions. */
static const struct {
    const char *member, *param;
} bad_members[] = {
    {"\"max_tokens\": -1", "max_tokens"},
    {"\"max_tokens\": 65", "max_tokens"},
    {"\"max_tokens\": 1.5", "max_tokens"},
    {"\"max_tokens\": \"1\"", "max_tokens"},
    {"\"max_tokens\": true", "max_tokens"},
    {"\"max_tokens\": 99999999999999999", "max_tokens"},
    {"\"n\": 0", "n"},
    {"\"n\": 129", "n"},
    {"\"n\": \"2\"", "n"},
    {"\"logprobs\": -1", "logprobs"},
    {"\"logprobs\": 21", "logprobs"},
    {"\"logprobs\": true", "logprobs"},
    {"\"temperature\": -0.1", "temperature"},
    {"\"temperature\": 2.1", "temperature"},
    {"\"temperature\": \"0\"", "temperature"},
    {"\"top_p\": 1.1", "top_p"},
    {"\"top_k\": 1.5", "top_k"},
    {"\"seed\": \"x\"", "seed"},
    {"\"seed\": 1.5", "seed"},
    {"\"stop\": 5", "stop"},
    {"\"stop\": [5]", "stop"},
    {"\"stop\": \"\"", "stop"},
    {"\"stop\": \"a\\u0000b\"", "stop"},
    {"\"stream\": 1", "stream"},
    {"\"echo\": \"true\"", "echo"},
    {"\"stream_options\": {\"include_usage\": true}", "stream_options"},
    {"\"stream_options\": [], \"stream\": true", "stream_options"},
    {"\"stream_options\": {\"usage\": true}, \"stream\": true", "usage"},
    {"\"logit_bias\": {\"5\": 1}", "logit_bias"},
    {"\"best_of\": 3", "best_of"},
    {"\"suffix\": \"x\"", "suffix"},
    {"\"frequency_penalty\": 0.5", "frequency_penalty"},
    {"\"presence_penalty\": 1", "presence_penalty"},
    {"\"response_format\": {\"type\": \"json_object\"}", "response_format"},
    {"\"tools\": [{}]", "tools"},
    {"\"top_logprobs\": 1", "top_logprobs"},
    {"\"messages\": []", "messages"},
    {"\"guided_json\": {}", "guided_json"},
    {"\"do_sample\": true", "do_sample"},
};

START_TEST(fields_that_are_refused) {
    char body[512];
    (void)snprintf(body, sizeof body, "{\"model\": \"base\", \"prompt\": [5], %s}", bad_members[_i].member);
    refuse(false, body, 400, bad_members[_i].param, bad_members[_i].param);
}
END_TEST

/* What stands for "prompt". */
static const struct {
    const char *prompt, *param, *part;
} bad_prompts[] = {
    {"5", "prompt", "must be"},
    {"null", "prompt", "missing"},
    {"{}", "prompt", "must be"},
    {"[]", "prompt", "no tokens"},
    {"[[]]", "prompt[0]", "no tokens"},
    {"[5, \"a\"]", "prompt", "[1]"},
    {"[\"a\", 5]", "prompt", "another kind"},
    {"[[5], \"a\"]", "prompt", "another kind"},
    {"[[[5]]]", "prompt", "must be"},
    {"[1.5]", "prompt", "must be"},
    {"[5, 260]", "prompt", "260, outside the vocabulary (0 to 259)"},
    {"[[5], [-1]]", "prompt[1]", "-1, outside"},
    {"[99999999999]", "prompt", "outside"},
    {"[{\"role\": \"user\"}]", "prompt", "content"},
    {"[{\"role\": \"tool\", \"content\": \"a\"}]", "prompt", "role"},
    {"[{\"role\": \"user\", \"content\": \"a\", \"name\": \"b\"}]", "prompt", "name"},
    {"[{\"role\": \"user\", \"content\": [{\"type\": \"image_url\"}]}]", "prompt", "content[0]"},
};

START_TEST(prompts_that_are_refused) {
    char body[512];
    (void)snprintf(body, sizeof body, "{\"model\": \"base\", \"prompt\": %s}", bad_prompts[_i].prompt);
    refuse(false, body, 400, bad_prompts[_i].param, bad_prompts[_i].part);
}
END_TEST

START_TEST(a_prompt_that_is_too_long_names_the_length_and_what_to_give_lm_eval) {
    char text[256], body[512];
    qa_ask ask;
    memset(text, 'a', sizeof text);
    (void)snprintf(body, sizeof body, "{\"model\": \"base\", \"prompt\": [[5], %c%.*s%c]}", '"', 3, text, '"');
    refuse(false, body, 400, "prompt", "another kind");
    (void)snprintf(body, sizeof body, "{\"model\": \"base\", \"prompt\": [\"a\", \"%.*s\"]}", SERVED_CONTEXT - 1, text);
    refuse(false, body, 400, "prompt[1]", "64 tokens, and the context holds 64 with at least one for the answer");
    refuse(false, body, 400, "prompt[1]", "max_length=64");
    refuse(false, body, 400, "prompt[1]", "--ctx-size");
    (void)snprintf(body, sizeof body, "{\"model\": \"base\", \"prompt\": \"%.*s\", \"max_tokens\": 0, \"echo\": true}",
                   SERVED_CONTEXT - 1, text);
    take(&ask, false, body);
    qa_ask_free(&ask);
    (void)snprintf(body, sizeof body, "{\"model\": \"base\", \"prompt\": \"%.*s\", \"max_tokens\": 64}",
                   SERVED_CONTEXT - 2, text);
    take(&ask, false, body); /* the answer ends with the context */
    qa_ask_free(&ask);
}
END_TEST

START_TEST(bodies_that_are_no_request) {
    refuse(false, "", 400, NULL, "the body");
    refuse(false, "{", 400, NULL, "the body");
    refuse(false, "[]", 400, NULL, "must be a JSON object");
    refuse(false, "5", 400, NULL, "must be a JSON object");
    refuse(false, "{\"model\": \"base\", \"prompt\": [5]} x", 400, NULL, "the body");
    refuse(false, "{\"model\": \"base\", \"model\": \"base\", \"prompt\": [5]}", 400, NULL, "duplicate");
    refuse(false, "{\"model\": \"base\", \"prompt\": \"\xff\"}", 400, NULL, "the body");
    refuse(false, "{\"prompt\": [5]}", 400, "model", "missing");
    refuse(false, "{\"model\": 5, \"prompt\": [5]}", 400, "model", "string");
    refuse(false, "{\"model\": \"base\"}", 400, "prompt", "missing");
    refuse(true, "{\"model\": \"base\"}", 400, "messages", "missing");
    refuse(true, "{\"model\": \"base\", \"messages\": []}", 400, "messages", "one message");
    refuse(true, "{\"model\": \"base\", \"messages\": \"a\"}", 400, "messages", "array");
    refuse(true, "{\"model\": \"base\", \"prompt\": \"a\"}", 400, "prompt", "POST /v1/completions");
    refuse(true, "{\"model\": \"base\", \"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"top_logprobs\": 2}",
           400, "top_logprobs", "needs");
    refuse(true, "{\"model\": \"base\", \"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"logprobs\": 2}",
           400, "logprobs", "true or false");
    refuse(true,
           "{\"model\": \"base\", \"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"max_tokens\": 2, "
           "\"max_completion_tokens\": 3}",
           400, "max_tokens", "same");
}
END_TEST

Suite *serve_ask_suite(void);

Suite *serve_ask_suite(void) {
    Suite *suite = suite_create("serve/ask");
    TCase *tcase = tcase_create("ask");
    tcase_add_test(tcase, every_form_of_a_prompt);
    tcase_add_test(tcase, a_text_that_brings_its_beginning_gets_no_second_one);
    tcase_add_test(tcase, the_name_of_the_model_chooses_the_policy);
    tcase_add_test(tcase, names_of_adapters);
    tcase_add_test(tcase, fields);
    tcase_add_loop_test(tcase, fields_that_are_refused, 0, sizeof bad_members / sizeof bad_members[0]);
    tcase_add_loop_test(tcase, prompts_that_are_refused, 0, sizeof bad_prompts / sizeof bad_prompts[0]);
    tcase_add_test(tcase, a_prompt_that_is_too_long_names_the_length_and_what_to_give_lm_eval);
    tcase_add_test(tcase, bodies_that_are_no_request);
    suite_add_tcase(suite, tcase);
    return suite;
}
