/* `qadapter serve` as a test's child process, and plain HTTP to talk with it. Whatever fails fails the running test. */
#ifndef QA_TESTS_SERVING_H
#define QA_TESTS_SERVING_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

typedef struct qa_serving {
    pid_t pid;
    unsigned port;
    char *dir; /* with its standard error, in "log" */
} qa_serving;

/* args: NULL-terminated, behind "serve --port 0". Waits until it is ready. */
qa_serving qa_serving_start(const char *const *args);
#define QA_SERVING(...) qa_serving_start((const char *const[]){__VA_ARGS__, NULL})
/* Sends the signal and waits; the exit status (1000 and the signal's number if one ended it). */
int qa_serving_stop(qa_serving *serving, int signal);
char *qa_serving_log(const qa_serving *serving);       /* caller frees */
size_t qa_serving_resident(const qa_serving *serving); /* bytes of memory; 0: cannot be told */

typedef struct qa_http {
    int status; /* 0: the connection ended without an answer */
    char *text; /* the whole of it */
    char *body; /* in text; chunks are joined */
    size_t bytes;
} qa_http;

/* Sends a request and leaves the answer to qa_http_finish. headers: lines that end with \r\n, or NULL; body NULL: none,
 * else of so many bytes. */
int qa_http_begin(const qa_serving *serving, const char *method, const char *path, const char *headers,
                  const char *body, size_t bytes);
qa_http qa_http_finish(int connection);
void qa_http_free(qa_http *answer);

qa_http qa_http_ask(const qa_serving *serving, const char *method, const char *path, const char *headers,
                    const char *body);
/* POST (GET where body is NULL), which must be answered with the status; its JSON (a new reference). */
json_t *qa_http_json(const qa_serving *serving, const char *path, const char *body, int status);

#endif
