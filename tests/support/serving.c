/* See serving.h. */
#include "support/serving.h"

#include "support/cli.h"
#include "support/tempdir.h"

#include <arpa/inet.h>
#include <check.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <sys/prctl.h>
#endif

enum { READY_MILLISECONDS = 60000, MOMENT = 10, MAX_ARGS = 32 };

static void sleep_moment(void) {
    const struct timespec moment = {.tv_nsec = MOMENT * 1000000L};
    (void)nanosleep(&moment, NULL);
}

static void run_serving(const char *log, const char *const *args) {
    const char *argv[MAX_ARGS + 4] = {getenv("QA_BIN"), "serve", "--port", "0"};
    const int out = open(log, O_WRONLY | O_CREAT, 0600);
    for (size_t i = 0; args[i] != NULL && i + 5 < sizeof argv / sizeof argv[0]; i++) {
        argv[4 + i] = args[i];
    }
    if (argv[0] == NULL || out < 0 || dup2(out, STDERR_FILENO) < 0 || dup2(out, STDOUT_FILENO) < 0) {
        _exit(126);
    }
#if defined(__linux__)
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves no server behind */
#endif
    (void)execv(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

char *qa_serving_log(const qa_serving *serving) {
    char *path = qa_tempdir_join(serving->dir, "log");
    char *log = access(path, R_OK) == 0 ? qa_tempdir_read(path, NULL) : calloc(1, 1);
    free(path);
    return log;
}

qa_serving qa_serving_start(const char *const *args) {
    qa_serving serving = {.dir = qa_tempdir_make()};
    char *path = qa_tempdir_join(serving.dir, "log");
    serving.pid = fork();
    ck_assert_int_ge(serving.pid, 0);
    if (serving.pid == 0) {
        run_serving(path, args);
    }
    free(path);
    for (int waited = 0; serving.port == 0; waited += MOMENT) {
        char *log = qa_serving_log(&serving);
        const char *url = strstr(log, "http://");
        const char *colon = url == NULL || strchr(url, '\n') == NULL ? NULL : strchr(url + 7, ':');
        serving.port = colon == NULL ? 0 : (unsigned)strtoul(colon + 1, NULL, 10);
        ck_assert_msg(waited < READY_MILLISECONDS && waitpid(serving.pid, NULL, WNOHANG) == 0, "it did not start: %s",
                      log);
        free(log);
        sleep_moment();
    }
    return serving;
}

int qa_serving_stop(qa_serving *serving, int signal) {
    int status = 0;
    ck_assert_int_eq(kill(serving->pid, signal), 0);
    ck_assert_int_eq(waitpid(serving->pid, &status, 0), serving->pid);
    qa_tempdir_remove(serving->dir);
    return WIFSIGNALED(status) ? QA_CLI_SIGNALLED + WTERMSIG(status) : WEXITSTATUS(status);
}

size_t qa_serving_resident(const qa_serving *serving) {
    char path[64], line[256];
    size_t kilobytes = 0;
    (void)snprintf(path, sizeof path, "/proc/%ld/status", (long)serving->pid);
    FILE *file = fopen(path, "r");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        kilobytes = strncmp(line, "VmRSS:", 6) == 0 ? (size_t)strtoul(line + 6, NULL, 10) : kilobytes;
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return kilobytes * 1024;
}

/* ---- HTTP ---- */

static void send_all(int connection, const char *data, size_t bytes) {
    for (size_t sent = 0; sent < bytes;) {
        const ssize_t n = send(connection, data + sent, bytes - sent, MSG_NOSIGNAL);
        if (n <= 0) {
            return; /* it does not want more; what it says will be read */
        }
        sent += (size_t)n;
    }
}

int qa_http_begin(const qa_serving *serving, const char *method, const char *path, const char *headers,
                  const char *body, size_t bytes) {
    char head[2048];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)serving->port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int connection = socket(AF_INET, SOCK_STREAM, 0);
    ck_assert_int_ge(connection, 0);
    ck_assert_int_eq(connect(connection, (const struct sockaddr *)&to, sizeof to), 0);
    const bool has_host = headers != NULL && strstr(headers, "Host:") != NULL;
    int n = snprintf(head, sizeof head, "%s %s HTTP/1.1\r\n%sConnection: close\r\n%s", method, path,
                     has_host ? "" : "Host: localhost\r\n", headers == NULL ? "" : headers);
    if (body != NULL) {
        n += snprintf(head + n, sizeof head - (size_t)n, "Content-Length: %zu\r\n", bytes);
    }
    n += snprintf(head + n, sizeof head - (size_t)n, "\r\n");
    send_all(connection, head, (size_t)n);
    send_all(connection, body == NULL ? "" : body, body == NULL ? 0 : bytes);
    return connection;
}

/* Joins the chunks of a body in place. */
static size_t join_chunks(char *body) {
    char *to = body, *at = body;
    for (;;) {
        char *end = NULL;
        const size_t n = (size_t)strtoul(at, &end, 16);
        if (n == 0 || strncmp(end, "\r\n", 2) != 0) {
            break;
        }
        memmove(to, end + 2, n);
        to += n;
        at = end + 2 + n + 2;
    }
    *to = '\0';
    return (size_t)(to - body);
}

qa_http qa_http_finish(int connection) {
    qa_http answer = {0};
    size_t n = 0, capacity = 0;
    ssize_t came = 0;
    do {
        if (capacity - n < 4096) {
            capacity = 2 * capacity + 8192;
            answer.text = realloc(answer.text, capacity);
            ck_assert_ptr_nonnull(answer.text);
        }
        came = recv(connection, answer.text + n, capacity - n - 1, 0);
        n += came > 0 ? (size_t)came : 0;
    } while (came > 0);
    (void)close(connection);
    answer.text[n] = '\0';
    char *body = strstr(answer.text, "\r\n\r\n");
    if (body != NULL && strncmp(answer.text, "HTTP/1.1 ", 9) == 0) {
        answer.status = (int)strtol(answer.text + 9, NULL, 10);
        *body = '\0';
        answer.body = body + 4;
        answer.bytes =
            strstr(answer.text, "chunked") != NULL ? join_chunks(answer.body) : n - (size_t)(answer.body - answer.text);
    }
    return answer;
}

void qa_http_free(qa_http *answer) {
    free(answer->text);
    *answer = (qa_http){0};
}

qa_http qa_http_ask(const qa_serving *serving, const char *method, const char *path, const char *headers,
                    const char *body) {
    return qa_http_finish(qa_http_begin(serving, method, path, headers, body, body == NULL ? 0 : strlen(body)));
}

json_t *qa_http_json(const qa_serving *serving, const char *path, const char *body, int status) {
    json_error_t error;
    qa_http answer = qa_http_ask(serving, body == NULL ? "GET" : "POST", path, NULL, body);
    ck_assert_msg(answer.status == status, "%s %s: %d %s", path, body == NULL ? "" : body, answer.status,
                  answer.status == 0 ? "" : answer.body);
    json_t *root = json_loadb(answer.body, answer.bytes, JSON_ALLOW_NUL, &error);
    ck_assert_msg(root != NULL, "%s: %s", answer.body, error.text);
    qa_http_free(&answer);
    return root;
}
