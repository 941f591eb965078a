/* The server over sockets: the program on a free port, a tiny model with an adapter, plain HTTP. */
#include "qadapter.h"

#include "support/cli.h"
#include "support/cli_json.h"
#include "support/expect.h"
#include "support/serving.h"
#include "support/tempdir.h"

#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#if defined(QA_HAVE_LIBMICROHTTPD)

static qa_cli_world world;

static void make_world(void) { world = qa_cli_world_make(true); }
static void free_world(void) { qa_cli_world_free(&world); }

static qa_serving start_server(const char *a, const char *b, const char *c, const char *d) {
    return QA_SERVING("--model", world.model, "--adapter", world.adapter, "--threads", "1", a, b, c, d);
}

static void stop_server(qa_serving *serving) { ck_assert_int_eq(qa_serving_stop(serving, SIGTERM), 0); }

static const json_t *choice_at(const json_t *root, size_t i) {
    const json_t *choice = json_array_get(json_object_get(root, "choices"), i);
    ck_assert_ptr_nonnull(choice);
    return choice;
}

static const char *text_at(const json_t *root, size_t i) {
    return json_string_value(json_object_get(choice_at(root, i), "text"));
}

/* ---- values ---- */

/* Observed: 4e-15 in double, 2e-6 in single precision. */
#define TOLERANCE (strcmp(qa_precision(), "f64") == 0 ? 1e-10 : 1e-4)

/* The library's own log-probabilities of ids[n], token by token. */
static void expected_values(qa_policy policy, double alpha_0, double alpha_tilde, const int32_t *ids, size_t n,
                            double *value, double *best) {
    qa_context *context = NULL;
    qa_model *model = NULL;
    qa_adapter *adapter = NULL;
    qa_generator *generator = NULL;
    qa_objective objective;
    qa_error err = {0};
    const qa_sampling sampling = qa_sampling_defaults();
    expect_ok(qa_context_create(&context, 1, (qa_logger){0}, &err), &err);
    expect_ok(qa_model_load(&model, context, world.model, &err), &err);
    expect_ok(qa_adapter_load(&adapter, model, world.adapter, &err), &err);
    expect_ok(qa_objective_from_recipe(&objective, "theory", &err), &err);
    objective.alpha_0 = alpha_0;
    objective.alpha_tilde = alpha_tilde;
    expect_ok(qa_generator_create(&generator, model, adapter, policy, &objective, &sampling, n, &err), &err);
    const size_t V = qa_model_get_info(model)->vocab_size;
    double *log_policy = calloc(V, sizeof *log_policy);
    ck_assert_ptr_nonnull(log_policy);
    for (size_t i = 0; i + 1 < n; i++) {
        expect_ok(qa_generator_feed(generator, ids + i, 1, &err), &err);
        expect_ok(qa_generator_log_policy(generator, log_policy, &err), &err);
        value[i + 1] = log_policy[ids[i + 1]];
        best[i + 1] = log_policy[0];
        for (size_t k = 1; k < V; k++) {
            best[i + 1] = log_policy[k] > best[i + 1] ? log_policy[k] : best[i + 1];
        }
    }
    free(log_policy);
    qa_generator_free(generator);
    qa_adapter_free(adapter);
    qa_model_free(model);
    qa_context_free(context);
}

static double largest_of(const json_t *object) {
    const char *key = NULL;
    json_t *value = NULL;
    double largest = -1e300;
    json_object_foreach((json_t *)(uintptr_t)object, key, value) {
        const double x = json_number_value(value);
        largest = x > largest ? x : largest;
    }
    return largest;
}

/* What lm-eval reads: token_logprobs[ctxlen:-1], and whether each is the largest of its top_logprobs. */
static void check_values(const qa_serving *serving, const char *model, qa_policy policy, double alpha_0,
                         double alpha_tilde) {
    static const int32_t ids[] = {10, 200, 33, 33, 7, 90, 259, 4, 120, 55, 13};
    enum { N = sizeof ids / sizeof ids[0] };
    double value[N] = {0}, best[N] = {0};
    char body[512];
    expected_values(policy, alpha_0, alpha_tilde, ids, N, value, best);
    (void)snprintf(body, sizeof body,
                   "{\"model\": \"%s\", \"prompt\": [[10, 200], [10, 200, 33, 33, 7, 90, 259, 4, 120, 55, 13]], "
                   "\"max_tokens\": 1, \"temperature\": 0, \"logprobs\": 1, \"echo\": true, \"seed\": 1234}",
                   model);
    json_t *root = qa_http_json(serving, "/v1/completions", body, 200);
    const json_t *logprobs = json_object_get(choice_at(root, 1), "logprobs");
    const json_t *values = json_object_get(logprobs, "token_logprobs"),
                 *tops = json_object_get(logprobs, "top_logprobs");
    ck_assert_uint_eq(json_array_size(values), N + 1);
    ck_assert_uint_eq(json_array_size(tops), N + 1);
    ck_assert(json_is_null(json_array_get(values, 0)) && json_is_null(json_array_get(tops, 0)));
    for (size_t i = 1; i < N; i++) {
        const double x = json_number_value(json_array_get(values, i)), top = largest_of(json_array_get(tops, i));
        expect_near(x, value[i], TOLERANCE, "a token");
        expect_near(top, best[i], TOLERANCE, "the likeliest token");
        ck_assert(x <= top);
    }
    /* the generated token of a greedy answer is the best, by the very same number */
    ck_assert(json_number_value(json_array_get(values, N)) >= largest_of(json_array_get(tops, N)));
    json_decref(root);
}

START_TEST(log_probabilities_are_the_policys) {
    qa_serving serving = start_server("--parallel", "4", NULL, NULL);
    check_values(&serving, "base", QA_POLICY_BASE, 1, 1);
    check_values(&serving, "custom", QA_POLICY_CUSTOM, 1, 1);
    check_values(&serving, "custom:alpha-0=0.5", QA_POLICY_CUSTOM, 0.5, 1);
    check_values(&serving, "custom:alpha-0=2,alpha-tilde=0.5", QA_POLICY_CUSTOM, 2, 0.5);
    check_values(&serving, "mix:custom=1", QA_POLICY_CUSTOM, 1, 1);
    check_values(&serving, "mix:custom=0", QA_POLICY_BASE, 1, 1);
    stop_server(&serving);
}
END_TEST

/* The values that `score` writes of one side of a pair. */
static void check_scored(const qa_serving *serving, const json_t *side) {
    const json_t *ids = json_object_get(side, "input_ids");
    const size_t prompt = (size_t)qa_json_number(side, "prompt_len"), n = json_array_size(ids);
    json_t *body = json_pack("{s:s, s:[O], s:i, s:i, s:b}", "model", "custom", "prompt", ids, "max_tokens", 1,
                             "logprobs", 1, "echo", 1);
    char *text = json_dumps(body, 0);
    json_t *root = qa_http_json(serving, "/v1/completions", text, 200);
    const json_t *values = json_object_get(json_object_get(choice_at(root, 0), "logprobs"), "token_logprobs");
    ck_assert_uint_eq(qa_json_length(side, "log_pi"), n - prompt);
    for (size_t i = prompt; i < n; i++) {
        expect_near(json_number_value(json_array_get(values, i)), qa_json_at(side, "log_pi", i - prompt), TOLERANCE,
                    "log_pi");
    }
    json_decref(root);
    json_decref(body);
    free(text);
}

START_TEST(values_are_those_of_score) {
    qa_serving serving = start_server("--parallel", "3", NULL, NULL);
    qa_cli_lines lines =
        QA_CLI_LINES("score", "-q", "--model", world.model, "--adapter", world.adapter, "--data", world.pairs);
    ck_assert_uint_eq(lines.n, 6);
    for (size_t i = 0; i < lines.n; i++) {
        check_scored(&serving, json_object_get(lines.line[i], "chosen"));
        check_scored(&serving, json_object_get(lines.line[i], "rejected"));
    }
    qa_cli_lines_free(&lines);
    stop_server(&serving);
}
END_TEST

/* ---- one answer, however it is asked for ---- */

/* The text of all events of choice 0. */
static char *streamed(const qa_serving *serving, const char *path, const char *body, const char *key) {
    qa_http answer = qa_http_ask(serving, "POST", path, NULL, body);
    char *text = calloc(1, answer.bytes + 1);
    ck_assert_int_eq(answer.status, 200);
    ck_assert_ptr_nonnull(strstr(answer.text, "text/event-stream"));
    ck_assert_ptr_nonnull(text);
    ck_assert(answer.bytes > 14 && strcmp(answer.body + answer.bytes - 14, "data: [DONE]\n\n") == 0);
    for (char *line = strtok(answer.body, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        json_t *root = json_loads(line + 6, 0, NULL);
        const json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
        const json_t *delta = json_object_get(choice, "delta");
        const char *part = json_string_value(json_object_get(delta != NULL ? delta : choice, key));
        strcat(text, part == NULL ? "" : part);
        json_decref(root);
    }
    qa_http_free(&answer);
    return text;
}

START_TEST(a_stream_is_the_answer_in_pieces) {
    qa_serving serving = start_server("--chat-template", "plain", NULL, NULL);
    static const char asked[] = "{\"model\": \"custom\", \"prompt\": \"once\", \"max_tokens\": 60, \"seed\": 3%s}";
    char body[256];
    (void)snprintf(body, sizeof body, asked, "");
    json_t *root = qa_http_json(&serving, "/v1/completions", body, 200);
    json_t *again = qa_http_json(&serving, "/v1/completions", body, 200);
    ck_assert_str_eq(text_at(root, 0), text_at(again, 0)); /* the same seed */
    (void)snprintf(body, sizeof body, asked, ", \"stream\": true");
    char *text = streamed(&serving, "/v1/completions", body, "text");
    ck_assert_str_eq(text, text_at(root, 0));
    free(text);
    json_decref(again);
    json_decref(root);
    static const char chat[] = "{\"model\": \"custom\", \"messages\": [{\"role\": \"user\", \"content\": \"hi\"}], "
                               "\"max_tokens\": 40, \"temperature\": 0%s}";
    (void)snprintf(body, sizeof body, chat, "");
    root = qa_http_json(&serving, "/v1/chat/completions", body, 200);
    (void)snprintf(body, sizeof body, chat, ", \"stream\": true");
    text = streamed(&serving, "/v1/chat/completions", body, "content");
    ck_assert_str_eq(text,
                     json_string_value(json_object_get(json_object_get(choice_at(root, 0), "message"), "content")));
    free(text);
    json_decref(root);
    stop_server(&serving);
}
END_TEST

/* Greedy: the same text as `generate` gives, under either policy. */
START_TEST(an_answer_is_what_generate_gives) {
    qa_serving serving = start_server("--parallel", "2", NULL, NULL);
    for (int custom = 0; custom < 2; custom++) {
        char body[256];
        const char *policy = custom ? "custom" : "base";
        (void)snprintf(body, sizeof body,
                       "{\"model\": \"%s\", \"prompt\": \"once\", \"max_tokens\": 20, \"temperature\": 0}", policy);
        json_t *root = qa_http_json(&serving, "/v1/completions", body, 200);
        char *said = QA_CLI_OUTPUT("generate", "--model", world.model, "--adapter", world.adapter, "--policy", policy,
                                   "--prompt", "once", "--max-tokens", "20", "--temperature", "0", "--quiet");
        const size_t n = strlen(text_at(root, 0));
        ck_assert_msg(strncmp(said, text_at(root, 0), n) == 0 && strlen(said) <= n + 1, "%s: \"%s\" and \"%s\"", policy,
                      said, text_at(root, 0));
        free(said);
        json_decref(root);
    }
    stop_server(&serving);
}
END_TEST

/* ---- many at once ---- */

enum { CLIENTS = 8, ROUNDS = 5 };

typedef struct client {
    const qa_serving *serving;
    char body[256];
    char *alone; /* the answer when nobody else asks */
    bool same;
} client;

static char *ask_text(const qa_serving *serving, const char *body) {
    json_t *root = qa_http_json(serving, "/v1/completions", body, 200);
    char *text = strdup(text_at(root, 0));
    json_decref(root);
    return text;
}

static void *run_client(void *user) {
    client *it = user;
    it->same = true;
    for (int i = 0; i < ROUNDS; i++) {
        char *text = ask_text(it->serving, it->body);
        it->same = it->same && strcmp(text, it->alone) == 0;
        free(text);
    }
    return NULL;
}

START_TEST(eight_clients_with_two_policies_get_their_own_answers) {
    qa_serving serving = start_server("--parallel", "6", NULL, NULL);
    client clients[CLIENTS];
    pthread_t threads[CLIENTS];
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i].serving = &serving;
        (void)snprintf(clients[i].body, sizeof clients[i].body,
                       "{\"model\": \"%s\", \"prompt\": \"client %zu\", \"max_tokens\": 60, \"seed\": %zu}",
                       i % 2 == 0   ? "base"
                       : i % 4 == 1 ? "custom"
                                    : "custom:alpha-0=0.5",
                       i / 4, i);
        clients[i].alone = ask_text(&serving, clients[i].body);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        ck_assert_int_eq(pthread_create(&threads[i], NULL, run_client, &clients[i]), 0);
    }
    for (size_t i = 0; i < CLIENTS; i++) {
        ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        ck_assert_msg(clients[i].same, "client %zu got another answer than alone", i);
        free(clients[i].alone);
    }
    stop_server(&serving);
}
END_TEST

/* ---- clients that go away, servers that end ---- */

static size_t health(const qa_serving *serving, const char *key) {
    json_t *root = qa_http_json(serving, "/health", NULL, 200);
    const size_t n = (size_t)json_integer_value(json_object_get(root, key));
    json_decref(root);
    return n;
}

static void wait_until_requests(const qa_serving *serving, size_t n) {
    const struct timespec moment = {.tv_nsec = 20000000};
    for (int i = 0; health(serving, "requests") != n; i++) {
        ck_assert_int_lt(i, 1000);
        (void)nanosleep(&moment, NULL);
    }
}

/* Long: seconds on any machine. */
#define LONG                                                                                                           \
    "\"prompt\": [\"a\", \"b\", \"c\", \"d\", \"e\", \"f\", \"g\", \"h\"], \"max_tokens\": 120, \"n\": 128, "          \
    "\"ignore_eos\": true"
enum { LONG_TOKENS = 8 * 128 * 120 };

START_TEST(a_client_that_goes_away_frees_its_place) {
    static const char *const bodies[] = {"{\"model\": \"custom\", " LONG "}",
                                         "{\"model\": \"custom\", " LONG ", \"stream\": true}"};
    const char *body = bodies[_i];
    qa_serving serving = start_server("--parallel", "1", "--max-queue", "1");
    const int connection = qa_http_begin(&serving, "POST", "/v1/completions", NULL, body, strlen(body));
    wait_until_requests(&serving, 1);
    /* meanwhile there is no place */
    qa_http refused =
        qa_http_ask(&serving, "POST", "/v1/completions", NULL, "{\"model\": \"base\", \"prompt\": \"a\"}");
    ck_assert_int_eq(refused.status, 503);
    ck_assert_ptr_nonnull(strstr(refused.text, "Retry-After: "));
    ck_assert_ptr_nonnull(strstr(refused.body, "\"error\""));
    qa_http_free(&refused);
    ck_assert_int_eq(close(connection), 0);
    wait_until_requests(&serving, 0);
    ck_assert_uint_lt(health(&serving, "tokens_sampled"), LONG_TOKENS);
    json_decref(qa_http_json(&serving, "/v1/completions", "{\"model\": \"base\", \"prompt\": \"a\"}", 200));
    stop_server(&serving);
}
END_TEST

START_TEST(an_answer_that_takes_too_long_is_given_up) {
    qa_serving serving = start_server("--parallel", "1", "--timeout", "0.2");
    json_t *root = qa_http_json(&serving, "/v1/completions", "{\"model\": \"custom\", " LONG "}", 504);
    ck_assert_str_eq(json_string_value(json_object_get(json_object_get(root, "error"), "code")), "timeout");
    json_decref(root);
    wait_until_requests(&serving, 0);
    stop_server(&serving);
}
END_TEST

/* Also where tokens come all the time. */
START_TEST(a_stream_that_takes_too_long_ends_with_the_error) {
    qa_serving serving = start_server("--parallel", "8", "--timeout", "0.2");
    qa_http answer =
        qa_http_ask(&serving, "POST", "/v1/completions", NULL, "{\"model\": \"custom\", \"stream\": true, " LONG "}");
    ck_assert_int_eq(answer.status, 200);
    ck_assert_ptr_nonnull(strstr(answer.body, "\"code\": \"timeout\""));
    ck_assert_ptr_null(strstr(answer.body, "[DONE]"));
    qa_http_free(&answer);
    wait_until_requests(&serving, 0);
    stop_server(&serving);
}
END_TEST

/* What it had sent behind its request does not hide that it went away. */
START_TEST(a_client_that_goes_away_behind_its_next_request_frees_its_places) {
    qa_serving serving = start_server("--parallel", "1", NULL, NULL);
    static const char body[] = "{\"model\": \"custom\", " LONG "}", next[] = "GET /health HTTP/1.1\r\n\r\n";
    const int connection = qa_http_begin(&serving, "POST", "/v1/completions", NULL, body, strlen(body));
    wait_until_requests(&serving, 1);
    ck_assert_int_eq(send(connection, next, strlen(next), 0), (ssize_t)strlen(next));
    ck_assert_int_eq(close(connection), 0);
    wait_until_requests(&serving, 0);
    ck_assert_uint_lt(health(&serving, "tokens_sampled"), LONG_TOKENS);
    stop_server(&serving);
}
END_TEST

/* SIGTERM: what runs gets its whole answer, then the exit status is 0. */
START_TEST(what_runs_is_finished_at_the_end) {
    qa_serving serving = start_server("--parallel", "8", NULL, NULL);
    const char *body =
        "{\"model\": \"base\", \"prompt\": \"x\", \"max_tokens\": 100, \"n\": 128, \"ignore_eos\": true}";
    const int connection = qa_http_begin(&serving, "POST", "/v1/completions", NULL, body, strlen(body));
    wait_until_requests(&serving, 1);
    ck_assert_int_eq(kill(serving.pid, SIGTERM), 0);
    qa_http answer = qa_http_finish(connection);
    ck_assert_int_eq(answer.status, 200);
    ck_assert_ptr_nonnull(strstr(answer.body, "\"completion_tokens\":12800"));
    qa_http_free(&answer);
    ck_assert_int_eq(qa_serving_stop(&serving, 0), 0);
}
END_TEST

START_TEST(a_second_signal_ends_it_at_once) {
    qa_serving serving = start_server("--parallel", "1", NULL, NULL);
    const struct timespec half = {.tv_nsec = 500000000};
    const char *body = "{\"model\": \"custom\", " LONG "}";
    const int connection = qa_http_begin(&serving, "POST", "/v1/completions", NULL, body, strlen(body));
    wait_until_requests(&serving, 1);
    ck_assert_int_eq(kill(serving.pid, SIGTERM), 0);
    (void)nanosleep(&half, NULL);
    ck_assert_int_eq(qa_serving_stop(&serving, SIGTERM), 128 + SIGTERM);
    (void)close(connection);
}
END_TEST

/* A client that never comes to the end of its question. */
START_TEST(nobody_holds_up_the_end) {
    qa_serving serving = start_server(NULL, NULL, NULL, NULL);
    const int connection = qa_http_begin(&serving, "POST", "/v1/completions", "Content-Length: 100\r\n", NULL, 0);
    json_decref(qa_http_json(&serving, "/health", NULL, 200));
    ck_assert_int_eq(qa_serving_stop(&serving, SIGTERM), 0);
    (void)close(connection);
}
END_TEST

/* ---- what is refused ---- */

static void expect_refused(const qa_serving *serving, const char *method, const char *path, const char *headers,
                           const char *body, int status, const char *part) {
    qa_http answer = qa_http_ask(serving, method, path, headers, body);
    json_t *root = answer.status == 0 ? NULL : json_loads(answer.body, 0, NULL);
    const json_t *error = json_object_get(root, "error");
    ck_assert_msg(answer.status == status && json_is_string(json_object_get(error, "message")) &&
                      json_is_string(json_object_get(error, "type")) && json_object_get(error, "code") != NULL &&
                      json_object_get(error, "param") != NULL && strstr(answer.text, "Access-Control") == NULL,
                  "%s %s: %d %s", method, path, answer.status, answer.status == 0 ? "" : answer.body);
    ck_assert_msg(strstr(answer.body, part) != NULL, "%s %s: %s", method, path, answer.body);
    json_decref(root);
    qa_http_free(&answer);
}

START_TEST(refusals) {
    char *keys = qa_tempdir_write_text(world.dir, "keys", "secret\nother\n");
    qa_serving serving = QA_SERVING("--model", world.model, "--adapter", world.adapter, "--threads", "1",
                                    "--api-key-file", keys, "--api-key", "third", "--max-body", "4096");
    static const char with[] = "Authorization: Bearer secret\r\n", body[] = "{\"model\": \"base\", \"prompt\": \"a\"}";
    char *large = calloc(1, 100001);
    ck_assert_ptr_nonnull(large);
    memset(large, 'x', 100000);
    expect_refused(&serving, "POST", "/v1/completions", NULL, body, 401, "key");
    expect_refused(&serving, "POST", "/v1/completions", "Authorization: Bearer \r\n", body, 401, "key");
    expect_refused(&serving, "GET", "/v1/models", "Authorization: Bearer wrong\r\n", NULL, 401, "key");
    expect_refused(&serving, "POST", "/v1/completions", with, large, 413, "4096");
    expect_refused(&serving, "POST", "/v1/completions", with, "{\"model\": \"base\"", 400, "JSON");
    expect_refused(&serving, "POST", "/v1/completions", with, "", 400, "body");
    expect_refused(&serving, "POST", "/v1/completions", with, "{\"model\": \"x\", \"prompt\": \"a\"}", 404,
                   "base, custom");
    expect_refused(&serving, "GET", "/v1/completions", with, NULL, 405, "POST");
    expect_refused(&serving, "OPTIONS", "/v1/completions", with, NULL, 405, "POST");
    expect_refused(&serving, "GET", "/v1/nothing", with, NULL, 404, "/v1/nothing");
    expect_refused(&serving, "GET", "/v1/models/x", with, NULL, 404, "base, custom");
    expect_refused(&serving, "GET", "/health", "Host: example.org\r\n", NULL, 403, "example.org");
    expect_refused(&serving, "POST", "/tokenize", "Origin: http://example.org\r\nAuthorization: Bearer other\r\n",
                   "{\"prompt\": \"a\"}", 403, "origin");
    free(large);
    json_decref(qa_http_json(&serving, "/health", NULL, 200)); /* whether it lives, anybody may ask */
    qa_http good = qa_http_ask(&serving, "POST", "/v1/completions", with, body);
    ck_assert_int_eq(good.status, 200);
    qa_http_free(&good);
    good = qa_http_ask(&serving, "HEAD", "/v1/models/custom", "Authorization: Bearer third\r\n", NULL);
    ck_assert_int_eq(good.status, 200);
    qa_http_free(&good);
    stop_server(&serving);
    free(keys);
}
END_TEST

/* An empty Bearer where no key is set is lm-eval's; a page of the server's own may ask. */
START_TEST(what_is_let_in) {
    qa_serving serving = start_server("--parallel", "2", NULL, NULL);
    char origin[128];
    (void)snprintf(origin, sizeof origin, "Host: localhost:%u\r\nOrigin: http://localhost:%u\r\n", serving.port,
                   serving.port);
    static const char body[] = "{\"model\": \"base\", \"prompt\": \"a\"}";
    const char *const headers[] = {"Authorization: Bearer \r\n", "Authorization: Bearer x\r\n", origin};
    for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++) {
        qa_http answer = qa_http_ask(&serving, "POST", "/v1/completions", headers[i], body);
        ck_assert_int_eq(answer.status, 200);
        qa_http_free(&answer);
    }
    qa_http page = qa_http_ask(&serving, "GET", "/", NULL, NULL);
    ck_assert_int_eq(page.status, 200);
    ck_assert_ptr_nonnull(strstr(page.text, "text/html"));
    ck_assert_ptr_nonnull(strstr(page.text, "nosniff"));
    qa_http_free(&page);
    json_t *root = qa_http_json(
        &serving, "/inspect", "{\"model\": \"custom\", \"prompt\": \"once\", \"answer\": \"up\", \"n_best\": 2}", 200);
    ck_assert_uint_ge(json_array_size(json_object_get(root, "tokens")), 2);
    json_decref(root);
    json_decref(qa_http_json(&serving, "/inspect", "{\"model\": \"custom\", \"prompt\": \"once\"}", 400));
    json_decref(qa_http_json(&serving, "/inspect",
                             "{\"model\": \"mix:custom=2\", \"prompt\": \"once\", \"answer\": \"up\"}", 400));
    json_decref(
        qa_http_json(&serving, "/inspect", "{\"model\": \"custom\", \"prompt\": \"once\", \"answer\": \"\"}", 400));
    stop_server(&serving);
}
END_TEST

/* ---- nonsense ---- */

/* A request with bytes changed, cut off or put in at random places; the same for the same number. */
static size_t mutate(char *text, size_t bytes, uint64_t *state) {
    for (int changes = 0; changes < 3; changes++) {
        *state = *state * 6364136223846793005U + 1442695040888963407U;
        const size_t at = (size_t)(*state >> 33U) % (bytes + 1);
        static const char strange[] = "\"{}[],:0-9eE.tfn\\u\x00\xff\xc3 \n";
        const char c = strange[(*state >> 20U) % (sizeof strange - 1)];
        if ((*state >> 60U) < 3 && at > 0) {
            bytes = at;
        } else if (at < bytes) {
            text[at] = c;
        }
    }
    return bytes;
}

static void send_nonsense(const qa_serving *serving, size_t n) {
    static const char *const paths[] = {"/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize",
                                        "/inspect"};
    static const char *const seeds[] = {
        "{\"model\": \"custom:alpha-0=0.5\", \"prompt\": [[5, 6], [7]], \"max_tokens\": 1, \"logprobs\": 1, \"echo\": "
        "true}",
        "{\"model\": \"base\", \"messages\": [{\"role\": \"user\", \"content\": \"a\"}], \"max_tokens\": 2, "
        "\"stream\": true}",
        "{\"prompt\": \"a\\u00fc\", \"add_special_tokens\": false}", "{\"tokens\": [5, 6, 259]}",
        "{\"model\": \"custom\", \"prompt\": \"a\", \"answer\": \"b\", \"terminal\": true, \"n_best\": 3}"};
    uint64_t state = 1;
    for (size_t i = 0; i < n; i++) {
        char text[512];
        size_t bytes = strlen(seeds[i % 5]);
        memcpy(text, seeds[i % 5], bytes);
        bytes = mutate(text, bytes, &state);
        qa_http answer = qa_http_finish(qa_http_begin(serving, "POST", paths[i % 5], NULL, text, bytes));
        ck_assert_msg(answer.status == 200 || answer.status == 400 || answer.status == 404, "request %zu: %d %.*s", i,
                      answer.status, (int)bytes, text);
        qa_http_free(&answer);
    }
}

/* QA_NONSENSE in the environment says how many; the whole run is 10000. */
START_TEST(nonsense_leaves_it_up_and_its_memory_flat) {
    qa_serving serving = start_server("--parallel", "2", NULL, NULL);
    const char *asked = getenv("QA_NONSENSE");
    const size_t n = asked == NULL ? 400 : (size_t)strtoul(asked, NULL, 10);
    send_nonsense(&serving, 200);
    const size_t before = qa_serving_resident(&serving);
    send_nonsense(&serving, n);
    const size_t after = qa_serving_resident(&serving);
    if (asked != NULL) {
        (void)fprintf(stderr, "%zu requests: %zu bytes before, %zu after\n", n, before, after);
    }
#if !defined(QA_SANITIZE) /* which keeps what was freed */
    ck_assert_uint_le(after, before + ((size_t)4 << 20));
#endif
    ck_assert_uint_eq(health(&serving, "requests"), 0);
    json_decref(qa_http_json(&serving, "/v1/completions", "{\"model\": \"base\", \"prompt\": \"a\"}", 200));
    stop_server(&serving);
}
END_TEST

/* Every address of the machine: names are not looked at, and without a key it is said who may ask. */
START_TEST(listening_for_everybody) {
    qa_serving serving = start_server("--host", "0.0.0.0", NULL, NULL);
    char *log = qa_serving_log(&serving);
    ck_assert_ptr_nonnull(strstr(log, "whoever reaches this port may ask"));
    free(log);
    qa_http answer = qa_http_ask(&serving, "GET", "/health", "Host: my.machine\r\n", NULL);
    ck_assert_int_eq(answer.status, 200);
    qa_http_free(&answer);
    stop_server(&serving);
}
END_TEST

/* ---- the command line ---- */

START_TEST(command_line) {
    qa_cli_expect(QA_CLI("serve", "--model", world.model, "--port", "65536"), 2, NULL, "--port");
    qa_cli_expect(QA_CLI("serve", "--model", world.model, "--timeout", "1e300"), 2, NULL, "--timeout");
    qa_cli_expect(QA_CLI("serve", "--model", world.model, "--ctx-size", "1000"), 2, NULL, "--ctx-size");
    qa_cli_expect(QA_CLI("serve", "--model", world.model, "--adapter", world.adapter, "--adapter", world.adapter), 2,
                  NULL, "both be the model \"adapter\"");
    qa_cli_expect(QA_CLI("serve", "--model", world.model, "--host", "no.such.host.invalid", "--port", "0"), 1, NULL,
                  "no.such.host.invalid");
    char *empty = qa_tempdir_write_text(world.dir, "empty", "\n \n");
    qa_cli_expect(QA_CLI("serve", "--model", world.model, "--api-key-file", empty), 1, NULL, "no key");
    free(empty);
    qa_serving serving = start_server(NULL, NULL, NULL, NULL);
    char port[16];
    (void)snprintf(port, sizeof port, "%u", serving.port);
    qa_cli_expect(QA_CLI("serve", "--model", world.model, "--port", port), 1, NULL, "--port 0 takes a free one");
    char *log = qa_serving_log(&serving);
    ck_assert_ptr_nonnull(strstr(log, "serves base, custom"));
    free(log);
    stop_server(&serving);
}
END_TEST

Suite *serve_server_suite(void);

Suite *serve_server_suite(void) {
    Suite *suite = suite_create("serve/server");
    TCase *tcase = tcase_create("server");
    tcase_add_unchecked_fixture(tcase, make_world, free_world);
    tcase_set_timeout(tcase, 600);
    tcase_add_test(tcase, log_probabilities_are_the_policys);
    tcase_add_test(tcase, values_are_those_of_score);
    tcase_add_test(tcase, a_stream_is_the_answer_in_pieces);
    tcase_add_test(tcase, an_answer_is_what_generate_gives);
    tcase_add_test(tcase, eight_clients_with_two_policies_get_their_own_answers);
    tcase_add_loop_test(tcase, a_client_that_goes_away_frees_its_place, 0, 2);
    tcase_add_test(tcase, an_answer_that_takes_too_long_is_given_up);
    tcase_add_test(tcase, a_stream_that_takes_too_long_ends_with_the_error);
    tcase_add_test(tcase, a_client_that_goes_away_behind_its_next_request_frees_its_places);
    tcase_add_test(tcase, what_runs_is_finished_at_the_end);
    tcase_add_test(tcase, a_second_signal_ends_it_at_once);
    tcase_add_test(tcase, nobody_holds_up_the_end);
    tcase_add_test(tcase, refusals);
    tcase_add_test(tcase, what_is_let_in);
    tcase_add_test(tcase, nonsense_leaves_it_up_and_its_memory_flat);
    tcase_add_test(tcase, listening_for_everybody);
    tcase_add_test(tcase, command_line);
    suite_add_tcase(suite, tcase);
    return suite;
}

#else

START_TEST(without_libmicrohttpd_the_command_says_what_to_install) {
    qa_cli_world world = qa_cli_world_make(false);
    qa_cli_expect(QA_CLI("serve", "--model", world.model), 1, NULL, "install libmicrohttpd-dev");
    qa_cli_world_free(&world);
}
END_TEST

Suite *serve_server_suite(void);

Suite *serve_server_suite(void) {
    Suite *suite = suite_create("serve/server");
    TCase *tcase = tcase_create("server");
    (void)fprintf(stderr, "serve/server: tests of the server are skipped: built without libmicrohttpd\n");
    tcase_add_test(tcase, without_libmicrohttpd_the_command_says_what_to_install);
    suite_add_tcase(suite, tcase);
    return suite;
}

#endif
