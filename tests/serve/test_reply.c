/* Answers: what tokens become, as JSON and as events, without an engine. */
#include "serve/reply_json.h"
#include "serve/tokenizer_routes.h"

#include "support/expect.h"
#include "support/served.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

typedef struct asked {
    qa_ask ask;
    qa_reply reply;
} asked;

static asked *begin_asked(bool chat, const char *body) {
    asked *it = calloc(1, sizeof *it);
    qa_refusal refusal = {0};
    qa_error err = {0};
    ck_assert_ptr_nonnull(it);
    const qa_status status = qa_ask_read(&it->ask, qa_test_served(), chat, body, strlen(body), &refusal);
    ck_assert_msg(status == QA_OK, "%s: %s", body, refusal.err.message);
    expect_ok(qa_reply_begin(&it->reply, qa_test_served(), &it->ask, 0xab, 17, &err), &err);
    return it;
}

static void end_asked(asked *it) {
    qa_reply_free(&it->reply);
    qa_ask_free(&it->ask);
    free(it);
}

/* Gives one token; best[n] are the likeliest there. Whether another one is wanted. */
static bool give(asked *it, size_t choice, qa_engine_token token, const qa_likely_token *best, size_t n) {
    bool more = false;
    qa_error err = {0};
    token.best = best;
    token.n_best = n;
    expect_ok(qa_reply_take(&it->reply, &it->reply.choices[choice], &token, &more, &err), &err);
    return more;
}

static bool give_text(asked *it, size_t choice, const char *text) {
    bool more = true;
    for (; *text != '\0' && more; text++) {
        more = give(it, choice, (qa_engine_token){.id = SERVED_BYTE + (unsigned char)*text, .log_pi = -1}, NULL, 0);
    }
    return more;
}

static json_t *whole(asked *it) {
    qa_json_writer out = {0};
    json_t *root = NULL;
    qa_error err = {0};
    ck_assert(qa_reply_is_complete(&it->reply));
    qa_json_restart(&out, &err);
    qa_reply_put(&it->reply, &out);
    expect_ok(out.status, &err);
    expect_ok(qa_json_parse(&root, out.text.data, out.text.n, "the answer", 0, &err), &err);
    qa_text_free(&out.text);
    return root;
}

static const json_t *choice_of(const json_t *root, size_t i) {
    return json_array_get(json_object_get(root, "choices"), i);
}

static const char *text_of(const json_t *object, const char *key) {
    return json_string_value(json_object_get(object, key));
}

/* lm-eval's loglikelihood: one entry per prompt token, the first null, and exactly one more, an end token included; the
 * largest of the object is the very same number where the token is the best. */
START_TEST(echo_with_one_token_has_an_entry_a_token_and_one_more) {
    asked *it =
        begin_asked(false, "{\"model\": \"base\", \"prompt\": [[101, 102]], \"max_tokens\": 1, \"logprobs\": 1, "
                           "\"echo\": true, \"temperature\": 0, \"seed\": 1234}");
    const double value = -0.1234567890123456789;
    const qa_likely_token same[] = {{102, value}}, other[] = {{7, -0.25}};
    (void)give(it, 0, (qa_engine_token){.id = 101, .of_prompt = true, .first = true}, NULL, 0);
    (void)give(it, 0, (qa_engine_token){.id = 102, .of_prompt = true, .log_pi = value}, same, 1);
    (void)give(it, 0, (qa_engine_token){.id = 3, .log_pi = -INFINITY}, other, 1); /* <|im_end|> */
    qa_reply_end(&it->reply, &it->reply.choices[0], QA_END_TOKEN, NULL);
    json_t *root = whole(it);
    const json_t *choice = choice_of(root, 0), *logprobs = json_object_get(choice, "logprobs");
    const json_t *values = json_object_get(logprobs, "token_logprobs"),
                 *tops = json_object_get(logprobs, "top_logprobs");
    ck_assert_uint_eq(json_array_size(values), 3);
    ck_assert_uint_eq(json_array_size(tops), 3);
    ck_assert_uint_eq(json_array_size(json_object_get(logprobs, "tokens")), 3);
    ck_assert_uint_eq(json_array_size(json_object_get(logprobs, "text_offset")), 3);
    ck_assert(json_is_null(json_array_get(values, 0)) && json_is_null(json_array_get(tops, 0)));
    ck_assert(json_real_value(json_array_get(values, 1)) == value);
    ck_assert(json_real_value(json_object_get(json_array_get(tops, 1), "b")) == value);
    ck_assert_uint_eq(json_object_size(json_array_get(tops, 1)), 1);
    ck_assert_uint_eq(json_object_size(json_array_get(tops, 2)), 2); /* the best, and the token itself */
    ck_assert(json_number_value(json_array_get(values, 2)) <= -1e9); /* -inf is a number */
    ck_assert_str_eq(text_of(choice, "text"), "ab");
    ck_assert_str_eq(text_of(choice, "finish_reason"), "stop");
    ck_assert_str_eq(json_string_value(json_array_get(json_object_get(logprobs, "tokens"), 2)), "<|im_end|>");
    json_decref(root);
    end_asked(it);
}
END_TEST

/* Half characters read alike, U+FFFD: the larger value stands. */
START_TEST(two_ids_of_one_text_do_not_hide_the_larger) {
    asked *it = begin_asked(false, "{\"model\": \"base\", \"prompt\": [101], \"max_tokens\": 1, \"logprobs\": 3}");
    const qa_likely_token best[] = {{SERVED_BYTE + 0xe2, -0.5}, {SERVED_BYTE + 0xe3, -0.75}, {102, -1.5}};
    (void)give(it, 0, (qa_engine_token){.id = SERVED_BYTE + 0xe3, .log_pi = -0.75}, best, 3);
    qa_reply_end(&it->reply, &it->reply.choices[0], QA_END_LENGTH, NULL);
    json_t *root = whole(it);
    const json_t *top =
        json_array_get(json_object_get(json_object_get(choice_of(root, 0), "logprobs"), "top_logprobs"), 0);
    ck_assert_uint_eq(json_object_size(top), 2);
    ck_assert(json_real_value(json_object_get(top, "\xef\xbf\xbd")) == -0.5);
    ck_assert_str_eq(text_of(choice_of(root, 0), "finish_reason"), "length");
    json_decref(root);
    end_asked(it);
}
END_TEST

START_TEST(a_stop_text_ends_the_answer_and_is_not_in_it) {
    asked *it = begin_asked(false, "{\"model\": \"base\", \"prompt\": [101], \"stop\": [\"\\n\", \"Q:\"], \"n\": 2}");
    ck_assert(!give_text(it, 0, "one Q:"));
    ck_assert(give_text(it, 1, "two Q"));
    qa_reply_end(&it->reply, &it->reply.choices[0], QA_END_CALLER, NULL);
    ck_assert(!qa_reply_is_complete(&it->reply));
    qa_reply_end(&it->reply, &it->reply.choices[1], QA_END_LENGTH, NULL);
    json_t *root = whole(it);
    ck_assert_str_eq(text_of(choice_of(root, 0), "text"), "one ");
    ck_assert_str_eq(text_of(choice_of(root, 0), "finish_reason"), "stop");
    ck_assert_str_eq(text_of(choice_of(root, 1), "text"), "two Q");
    ck_assert_str_eq(text_of(choice_of(root, 1), "finish_reason"), "length");
    ck_assert_int_eq((int)json_integer_value(json_object_get(json_object_get(root, "usage"), "completion_tokens")), 11);
    ck_assert_int_eq((int)json_integer_value(json_object_get(json_object_get(root, "usage"), "prompt_tokens")), 1);
    json_decref(root);
    end_asked(it);
}
END_TEST

/* Reads "data: " lines: joins the deltas' contents of choice 0, counts events; *last is the last finish_reason. */
static char *joined(const qa_text *events, size_t *n, char last[16], bool *done) {
    char *text = calloc(1, events->n + 1);
    const char *at = events->data;
    ck_assert_ptr_nonnull(text);
    *n = 0;
    *done = false;
    last[0] = '\0';
    while (at != NULL && (size_t)(at - events->data) < events->n) {
        const char *end = strstr(at, "\n\n");
        ck_assert_ptr_nonnull(end);
        ck_assert_int_eq(strncmp(at, "data: ", 6), 0);
        *done = strncmp(at, "data: [DONE]", 12) == 0;
        json_t *root = json_loadb(at + 6, (size_t)(end - at) - 6, 0, NULL);
        ck_assert(*done || root != NULL);
        const json_t *choice = choice_of(root, 0), *delta = json_object_get(choice, "delta");
        const char *content = text_of(delta != NULL ? delta : choice, delta != NULL ? "content" : "text");
        strcat(text, content == NULL ? "" : content);
        if (text_of(choice, "finish_reason") != NULL) {
            (void)strncpy(last, text_of(choice, "finish_reason"), 15);
        }
        json_decref(root);
        *n += *done ? 0 : 1;
        at = end + 2;
    }
    return text;
}

/* A character of several tokens is given out whole, a text that may be a stop not before it is none. */
START_TEST(events_of_a_chat) {
    asked *it =
        begin_asked(true, "{\"model\": \"formal\", \"messages\": [{\"role\": \"user\", \"content\": \"a\"}], "
                          "\"stream\": true, \"stream_options\": {\"include_usage\": true}, \"stop\": \"XYZ\"}");
    qa_text events = {0};
    qa_error err = {0};
    size_t n = 0;
    char last[16];
    bool done = false;
    expect_ok(qa_reply_put_events(&it->reply, &events, &err), &err);
    ck_assert_ptr_nonnull(strstr(events.data, "\"role\":\"assistant\""));
    const size_t before = events.n;
    (void)give_text(it, 0, "\xc3");
    expect_ok(qa_reply_put_events(&it->reply, &events, &err), &err);
    ck_assert_uint_eq(events.n, before); /* half of it is nothing */
    (void)give_text(it, 0, "\xbc XY");
    expect_ok(qa_reply_put_events(&it->reply, &events, &err), &err);
    ck_assert_ptr_null(strstr(events.data, "XY"));
    (void)give_text(it, 0, "!");
    qa_reply_end(&it->reply, &it->reply.choices[0], QA_END_TOKEN, NULL);
    expect_ok(qa_reply_put_events(&it->reply, &events, &err), &err);
    ck_assert(it->reply.over);
    char *text = joined(&events, &n, last, &done);
    ck_assert_str_eq(text, "\xc3\xbc XY!");
    ck_assert_str_eq(last, "stop");
    ck_assert(done);
    ck_assert_ptr_nonnull(strstr(events.data, "\"usage\":{\"prompt_tokens\":"));
    ck_assert_ptr_nonnull(strstr(events.data, "\"object\":\"chat.completion.chunk\""));
    free(text);
    qa_text_free(&events);
    end_asked(it);
}
END_TEST

START_TEST(events_of_completions_begin_with_what_is_echoed) {
    asked *it = begin_asked(false, "{\"model\": \"base\", \"prompt\": \"\xc3\xbc!\", \"stream\": true, \"echo\": true, "
                                   "\"return_token_ids\": true}");
    qa_text events = {0};
    qa_error err = {0};
    size_t n = 0;
    char last[16];
    bool done = false;
    (void)give_text(it, 0, "ab");
    qa_reply_end(&it->reply, &it->reply.choices[0], QA_END_LENGTH, NULL);
    expect_ok(qa_reply_put_events(&it->reply, &events, &err), &err);
    char *text = joined(&events, &n, last, &done);
    ck_assert_str_eq(text, "\xc3\xbc!ab"); /* without the <s> that the tokenizer put in front */
    ck_assert_str_eq(last, "length");
    ck_assert_ptr_nonnull(strstr(events.data, "\"token_ids\":[101,102]"));
    free(text);
    qa_text_free(&events);
    end_asked(it);
}
END_TEST

START_TEST(log_probabilities_of_a_chat) {
    asked *it = begin_asked(true, "{\"model\": \"base\", \"messages\": [{\"role\": \"user\", \"content\": \"a\"}], "
                                  "\"logprobs\": true, \"top_logprobs\": 2}");
    const qa_likely_token best[] = {{101, -0.5}, {SERVED_BYTE + 0xe2, -0.75}};
    (void)give(it, 0, (qa_engine_token){.id = 101, .log_pi = -0.5}, best, 2);
    qa_reply_end(&it->reply, &it->reply.choices[0], QA_END_LENGTH, NULL);
    json_t *root = whole(it);
    const json_t *choice = choice_of(root, 0);
    const json_t *token = json_array_get(json_object_get(json_object_get(choice, "logprobs"), "content"), 0);
    const json_t *tops = json_object_get(token, "top_logprobs");
    ck_assert_str_eq(text_of(json_object_get(choice, "message"), "content"), "a");
    ck_assert_str_eq(text_of(token, "token"), "a");
    ck_assert(json_real_value(json_object_get(token, "logprob")) == -0.5);
    ck_assert_int_eq((int)json_integer_value(json_array_get(json_object_get(token, "bytes"), 0)), 'a');
    ck_assert_uint_eq(json_array_size(tops), 2);
    ck_assert(json_is_null(json_object_get(json_array_get(tops, 1), "bytes"))); /* half a character */
    json_decref(root);
    end_asked(it);
}
END_TEST

/* What fails is an error, as JSON and as the last event; never half an answer that looks whole. */
START_TEST(a_failure_is_an_error) {
    asked *it = begin_asked(true, "{\"model\": \"base\", \"messages\": [{\"role\": \"user\", \"content\": \"a\"}], "
                                  "\"stream\": true}");
    const qa_error nan = {QA_ERR_NAN, "a NaN appeared"};
    qa_text events = {0};
    qa_error err = {0};
    qa_reply_end(&it->reply, &it->reply.choices[0], QA_END_FAILED, &nan);
    ck_assert(qa_reply_is_complete(&it->reply));
    ck_assert_uint_eq(it->reply.failure.status, 500);
    expect_ok(qa_reply_put_events(&it->reply, &events, &err), &err);
    ck_assert_ptr_nonnull(strstr(events.data, "\"error\""));
    ck_assert_ptr_nonnull(strstr(events.data, "a NaN appeared"));
    ck_assert_ptr_null(strstr(events.data, "[DONE]"));
    qa_text_free(&events);
    end_asked(it);
    it = begin_asked(false, "{\"model\": \"base\", \"prompt\": [5]}");
    qa_reply_end(&it->reply, &it->reply.choices[0], QA_END_CANCELLED, NULL);
    ck_assert_uint_eq(it->reply.failure.status, 503);
    end_asked(it);
}
END_TEST

/* ---- the tokenizer ---- */

typedef qa_status (*route)(const qa_served *, const char *, size_t, qa_json_writer *, qa_refusal *);

static void expect_route(route put, const char *body, unsigned status, const char *part) {
    qa_json_writer out = {0};
    qa_refusal refusal = {0};
    qa_error err = {0};
    qa_json_restart(&out, &err);
    const bool good = put(qa_test_served(), body, strlen(body), &out, &refusal) == QA_OK && out.status == QA_OK;
    const char *text = good ? out.text.data : refusal.err.message;
    ck_assert_msg((good ? 200 : refusal.status) == status && strstr(text, part) != NULL, "%s: %u %s", body,
                  good ? 200 : refusal.status, text);
    if (!good) {
        qa_json_restart(&out, &err);
        qa_refusal_put(&out, &refusal);
        ck_assert_msg(out.status == QA_OK, "%s: the refusal is no JSON: %s", body, err.message);
    }
    qa_text_free(&out.text);
}

/* Of a name that is too long for a refusal whole characters are shown. */
START_TEST(refused_names_are_cut_between_characters) {
    for (size_t n = 38; n < 43; n++) {
        char body[256] = "{\"prompt\": \"a\", \"";
        for (size_t i = 0; i < n; i++) {
            strcat(body, "\xc3\xbc");
        }
        strcat(body, "\": 1}");
        expect_route(qa_put_tokenized, body, 400, "no field of this request");
    }
}
END_TEST

START_TEST(tokenizer_routes) {
    qa_json_writer out = {0};
    qa_error err = {0};
    qa_json_restart(&out, &err);
    qa_put_tokenizer_info(qa_test_served(), &out);
    expect_ok(out.status, &err);
    ck_assert_ptr_nonnull(strstr(out.text.data, "\"eos_token\": \"</s>\""));
    ck_assert_ptr_nonnull(strstr(out.text.data, "\"bos_token\": \"<s>\""));
    ck_assert_ptr_nonnull(strstr(out.text.data, "{{ messages }}"));
    qa_text_free(&out.text);
    expect_route(qa_put_tokenized, "{\"prompt\": \"a\", \"add_special_tokens\": false}", 200, "\"tokens\": [101]");
    expect_route(qa_put_tokenized, "{\"prompt\": \"a\"}", 200, "\"tokens\": [0, 101]");
    expect_route(qa_put_tokenized,
                 "{\"prompt\": [{\"role\": \"user\", \"content\": \"a\"}], \"add_special_tokens\": false}", 200,
                 "\"tokens\": [2, ");
    expect_route(qa_put_tokenized, "{\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}", 200,
                 "\"tokens\": [2, ");
    expect_route(qa_put_tokenized, "{\"prompt\": \"a\", \"messages\": null}", 200, "\"tokens\": [0, 101]");
    expect_route(qa_put_tokenized, "{\"prompt\": 5}", 400, "prompt");
    expect_route(qa_put_tokenized, "{}", 400, "prompt");
    expect_route(qa_put_tokenized, "{\"prompt\": \"a\", \"lang\": 1}", 400, "lang");
    expect_route(qa_put_tokenized, "{\"prompt\": \"a\", \"add_special_tokens\": 1}", 400, "add_special_tokens");
    expect_route(qa_put_detokenized, "{\"tokens\": [0, 101, 102]}", 200, "\"prompt\": \"<s>ab\"");
    expect_route(qa_put_detokenized, "{\"tokens\": []}", 200, "\"prompt\": \"\"");
    expect_route(qa_put_detokenized, "{\"tokens\": [260]}", 400, "vocabulary");
    expect_route(qa_put_detokenized, "{\"tokens\": \"a\"}", 400, "tokens");
}
END_TEST

Suite *serve_reply_suite(void);

Suite *serve_reply_suite(void) {
    Suite *suite = suite_create("serve/reply");
    TCase *tcase = tcase_create("reply");
    tcase_add_test(tcase, echo_with_one_token_has_an_entry_a_token_and_one_more);
    tcase_add_test(tcase, two_ids_of_one_text_do_not_hide_the_larger);
    tcase_add_test(tcase, a_stop_text_ends_the_answer_and_is_not_in_it);
    tcase_add_test(tcase, events_of_a_chat);
    tcase_add_test(tcase, events_of_completions_begin_with_what_is_echoed);
    tcase_add_test(tcase, log_probabilities_of_a_chat);
    tcase_add_test(tcase, a_failure_is_an_error);
    tcase_add_test(tcase, tokenizer_routes);
    tcase_add_test(tcase, refused_names_are_cut_between_characters);
    suite_add_tcase(suite, tcase);
    return suite;
}
