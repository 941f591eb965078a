/* serve_load: so many clients that ask a server at once, each its next question as soon as it has an answer, and a
 * count of what came back (tools/serve-load starts the server and compares).
 *
 *     serve_load --port 8080 --model custom --prompts prompts.jsonl --clients 8 --seconds 60 --max-tokens 64 \
 *                --first 0 --answers answers.jsonl
 *
 * A prompt is a line {"messages": [...]}; the lines are gone through in order, and again. Prints one line: requests,
 * lost, tokens, seconds. The answers go into a file, a line each, with the numbers of their prompts. */
#include "base/clock.h"
#include "base/memory.h"
#include "base/try.h"
#include "io/json_lines.h"
#include "support/arguments.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct load_arguments {
    size_t port, clients, max_tokens, first;
    double seconds;
    const char *model, *prompts, *answers;
} load_arguments;

#define AT(member) offsetof(load_arguments, member)
static const argument table[] = {
    ARGUMENT("--port", ARGUMENT_SIZE, AT(port), "N", "of the server on this machine", .required = true, .least = 1),
    ARGUMENT("--model", ARGUMENT_TEXT, AT(model), "NAME", "who is asked", .required = true),
    ARGUMENT("--prompts", ARGUMENT_TEXT, AT(prompts), "FILE", "JSON Lines with messages", .required = true),
    ARGUMENT("--clients", ARGUMENT_SIZE, AT(clients), "N", "that ask at once", .required = true, .least = 1),
    ARGUMENT("--seconds", ARGUMENT_NUMBER, AT(seconds), "X", "after which no new question is asked", .required = true),
    ARGUMENT("--max-tokens", ARGUMENT_SIZE, AT(max_tokens), "N", "of an answer", .required = true, .least = 1),
    ARGUMENT("--first", ARGUMENT_SIZE, AT(first), "N", "the prompt to begin with, from 0"),
    ARGUMENT("--answers", ARGUMENT_TEXT, AT(answers), "FILE", "where the answers go", .required = true),
    {0}};

enum { MAX_ANSWER = 1 << 20, REQUEST_BYTES = 1 << 16 };

/* What the clients share. */
typedef struct load {
    load_arguments arguments;
    char **bodies; /* [n] */
    size_t n, capacity;
    pthread_mutex_t lock;
    size_t next, requests, lost, tokens;
    double until;
    FILE *answers;
} load;

static qa_status add_body(void *user, const json_t *line, qa_error *err) {
    load *it = user;
    json_t *body =
        json_pack("{s:s, s:O?, s:i, s:f}", "model", it->arguments.model, "messages", json_object_get(line, "messages"),
                  "max_tokens", (int)it->arguments.max_tokens, "temperature", 0.0);
    char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    json_decref(body);
    QA_FAIL_IF(text == NULL, err, QA_ERR_FORMAT, "expected {\"messages\": [...]}");
    QA_TRY(QA_GROW(it->bodies, it->capacity, it->n + 1, err, "prompts"));
    it->bodies[it->n++] = text;
    return QA_OK;
}

static int connect_to(size_t port) {
    const int one = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int connection = socket(AF_INET, SOCK_STREAM, 0);
    (void)setsockopt(connection, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(connection, (const struct sockaddr *)&to, sizeof to) != 0) {
        (void)close(connection);
        return -1;
    }
    return connection;
}

/* Asks over a connection that stays open; the body of the answer, zero-terminated in buffer, NULL when it was lost. */
static char *ask(int connection, const char *body, char buffer[MAX_ANSWER]) {
    char request[REQUEST_BYTES];
    const int n = snprintf(request, sizeof request,
                           "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
                           strlen(body), body);
    size_t got = 0, whole = MAX_ANSWER - 1;
    char *start = NULL;
    if (n < 0 || (size_t)n >= sizeof request || send(connection, request, (size_t)n, MSG_NOSIGNAL) != n) {
        return NULL;
    }
    while (got < whole) {
        const ssize_t came = recv(connection, buffer + got, whole - got, 0);
        if (came <= 0) {
            return NULL;
        }
        got += (size_t)came;
        buffer[got] = '\0';
        if (start == NULL && (start = strstr(buffer, "\r\n\r\n")) != NULL) {
            const char *length = strstr(buffer, "Content-Length: ");
            start += 4;
            whole = length == NULL ? 0 : (size_t)(start - buffer) + strtoul(length + 16, NULL, 10);
        }
    }
    return start != NULL && strncmp(buffer, "HTTP/1.1 200", 12) == 0 ? start : NULL;
}

/* Counts an answer and writes it down. */
static void count_answer(load *it, size_t prompt, const char *text) {
    json_t *root = text == NULL ? NULL : json_loads(text, 0, NULL);
    const json_t *choice = json_array_get(json_object_get(root, "choices"), 0);
    const json_t *tokens = json_object_get(json_object_get(root, "usage"), "completion_tokens");
    json_t *line = json_pack("{s:I, s:O?}", "prompt", (json_int_t)prompt, "answer",
                             json_object_get(json_object_get(choice, "message"), "content"));
    (void)pthread_mutex_lock(&it->lock);
    it->requests++;
    it->lost += tokens == NULL || line == NULL ? 1 : 0;
    it->tokens += (size_t)json_integer_value(tokens);
    if (line != NULL) {
        (void)json_dumpf(line, it->answers, JSON_COMPACT);
        (void)fputc('\n', it->answers);
    }
    (void)pthread_mutex_unlock(&it->lock);
    json_decref(line);
    json_decref(root);
}

static void *run_asker(void *user) {
    load *it = user;
    char *buffer = malloc(MAX_ANSWER);
    int connection = connect_to(it->arguments.port);
    while (buffer != NULL && qa_seconds() < it->until) {
        (void)pthread_mutex_lock(&it->lock);
        const size_t prompt = it->next++;
        (void)pthread_mutex_unlock(&it->lock);
        const char *text = connection < 0 ? NULL : ask(connection, it->bodies[prompt % it->n], buffer);
        count_answer(it, prompt % it->n, text);
        if (text == NULL) {
            (void)close(connection);
            connection = connect_to(it->arguments.port);
        }
    }
    (void)close(connection);
    free(buffer);
    return NULL;
}

static qa_status run_load(load *it, qa_error *err) {
    pthread_t *threads = NULL;
    const double begun = qa_seconds();
    QA_TRY(QA_NEW(threads, it->arguments.clients, err, "clients"));
    it->until = begun + it->arguments.seconds;
    it->next = it->arguments.first;
    for (size_t i = 0; i < it->arguments.clients; i++) {
        if (pthread_create(&threads[i], NULL, run_asker, it) != 0) {
            free(threads);
            return qa_fail(err, QA_ERR_IO, "cannot start client %zu", i);
        }
    }
    for (size_t i = 0; i < it->arguments.clients; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    (void)printf("%zu requests, %zu lost, %zu tokens, %.3f seconds\n", it->requests, it->lost, it->tokens,
                 qa_seconds() - begun);
    free(threads);
    return QA_OK;
}

static qa_status load_run(int argc, char **argv, qa_error *err) {
    static load it = {.lock = PTHREAD_MUTEX_INITIALIZER};
    bool help = false;
    qa_json_lines *lines = NULL;
    QA_TRY(arguments_read(&it.arguments, table, 1, argc, argv, &help, err));
    if (help) {
        arguments_print(table);
        return QA_OK;
    }
    QA_TRY(qa_json_lines_open(&lines, it.arguments.prompts, err));
    qa_status status = qa_json_lines_each(lines, add_body, &it, err);
    qa_json_lines_close(lines);
    QA_TRY(status);
    QA_FAIL_IF(it.n == 0, err, QA_ERR_FORMAT, "%s has no prompts", it.arguments.prompts);
    it.answers = fopen(it.arguments.answers, "w");
    QA_FAIL_IF(it.answers == NULL, err, QA_ERR_IO, "cannot write %s", it.arguments.answers);
    status = run_load(&it, err);
    if (fclose(it.answers) != 0 && status == QA_OK) {
        status = qa_fail(err, QA_ERR_IO, "cannot write %s", it.arguments.answers);
    }
    for (size_t i = 0; i < it.n; i++) {
        free(it.bodies[i]);
    }
    free(it.bodies);
    return status;
}

int main(int argc, char **argv) {
    qa_error err = {0};
    return tool_exit("serve_load", load_run(argc, argv, &err), &err);
}
