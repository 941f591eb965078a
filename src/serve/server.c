/* See server.h. A connection is a thread of libmicrohttpd's, which calls answer_request again and again: with the
 * headers, with pieces of the body, and at the end for the answer; it may wait there. */
#define _GNU_SOURCE /* POLLRDHUP */
#include "serve/server.h"

#include "base/try.h"

#if !defined(QA_HAVE_LIBMICROHTTPD)

qa_status qa_server_available(qa_error *err) {
    return qa_fail(err, QA_ERR_UNSUPPORTED,
                   "this program was built without libmicrohttpd, which the server stands on: install "
                   "libmicrohttpd-dev (Debian, Ubuntu; libmicrohttpd elsewhere) and build again");
}

qa_status qa_server_start(qa_server **server, const qa_server_options *options, qa_error *err) {
    (void)options;
    *server = NULL;
    return qa_server_available(err);
}

const char *qa_server_url(const qa_server *server) {
    (void)server;
    return "";
}

bool qa_server_is_local(const qa_server *server) {
    (void)server;
    return true;
}

void qa_server_drain(qa_server *server) { (void)server; }

bool qa_server_is_idle(qa_server *server) {
    (void)server;
    return true;
}

void qa_server_stop(qa_server *server) { (void)server; }

#else

#include "base/buffer.h"
#include "base/checked.h"
#include "base/clock.h"
#include "base/memory.h"
#include "serve/guard.h"
#include "serve/jobs.h"
#include "serve/listen.h"
#include "serve/page_routes.h"
#include "serve/tokenizer_routes.h"

#include <math.h>
#include <microhttpd.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#if !defined(POLLRDHUP)
#define POLLRDHUP 0 /* POLLHUP says it there */
#endif

enum { IDLE_SECONDS = 60, DRAIN_SECONDS = 5 };

struct qa_server {
    qa_server_options options;
    qa_listener listener;
    struct MHD_Daemon *daemon;
    qa_jobs *jobs;
    qa_text page; /* for "/" */
    atomic_size_t requests;
    bool listening;
    atomic_size_t moved; /* pieces of streams that were taken; what follows is of who drains it */
    size_t moved_then;
    double computed, quiet_since; /* when there was a job last, or something moved; seconds */
};

typedef struct exchange exchange;

typedef struct route {
    const char *method, *path;
    enum MHD_Result (*answer)(exchange *it);
    bool open;  /* without a key */
    bool whole; /* nothing may stand behind the path */
} route;

/* A request on its way in; then, where it streams, its answer on the way out. */
struct exchange {
    qa_server *server;
    struct MHD_Connection *connection;
    const route *route;
    const char *rest; /* of the path behind the route's; borrowed */
    qa_refusal refusal;
    qa_text body;
    size_t dropped; /* bytes of a body that is not read */
    double until;   /* when the answer must be complete, seconds */
    qa_job *job;
    qa_text events;
    size_t sent; /* bytes of them */
    bool over;
};

/* ---- answers ---- */

static enum MHD_Result queue_text(exchange *it, unsigned status, const char *type, qa_text *text) {
    struct MHD_Response *response = MHD_create_response_from_buffer(text->n, text->data, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        qa_text_free(text);
        return MHD_NO;
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    (void)MHD_add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (strncmp(type, "text/html", 9) == 0) {
        (void)MHD_add_response_header(response, "X-Frame-Options", "DENY");
        (void)MHD_add_response_header(response, "Referrer-Policy", "no-referrer");
    }
    if (status == MHD_HTTP_UNAUTHORIZED) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
    }
    if (status == MHD_HTTP_SERVICE_UNAVAILABLE) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_RETRY_AFTER, "1");
    }
    if (status == MHD_HTTP_METHOD_NOT_ALLOWED) {
        (void)MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, it->route->method);
    }
    const enum MHD_Result result = MHD_queue_response(it->connection, status, response);
    MHD_destroy_response(response);
    return result;
}

/* What was written, or the refusal; out is used up. */
static enum MHD_Result queue_json(exchange *it, qa_status status, qa_json_writer *out) {
    qa_refusal *refusal = &it->refusal;
    if (status == QA_OK && out->status != QA_OK) {
        status = qa_refuse_if_failed(refusal, out->status, NULL);
    }
    if (status != QA_OK) {
        if (refusal->status == 0) {
            (void)!qa_refuse_if_failed(refusal, status, NULL);
        }
        qa_json_restart(out, NULL);
        qa_refusal_put(out, refusal);
    }
    qa_json_end_line(out);
    if (out->status != QA_OK) { /* not even for that there is memory */
        qa_text_free(&out->text);
        return MHD_NO;
    }
    return queue_text(it, status == QA_OK ? MHD_HTTP_OK : refusal->status, "application/json", &out->text);
}

/* ---- answers of jobs ---- */

/* Whether the other side closed the connection: then nobody reads an answer. Bytes that it sent before and that nobody
 * has read (its next request) do not hide it. */
static bool is_client_gone(const exchange *it) {
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(it->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    struct pollfd look = {.fd = info == NULL ? -1 : info->connect_fd, .events = POLLRDHUP};
    return poll(&look, 1, 0) > 0 && (look.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0;
}

/* Waits for news of the job, at most until its time is over, also where there is news all the time. False: the client
 * is gone. */
static bool wait_for_job(exchange *it) {
    static const double LOOK = 0.1; /* seconds after which the client is looked for */
    for (;;) {
        const bool news = qa_job_wait(it->job, LOOK);
        if (qa_seconds() > it->until) { /* nothing if it is complete */
            qa_job_give_up(it->job, 504, "timeout", "the answer took longer than the server's --timeout");
        }
        if (news) {
            return true;
        }
        if (is_client_gone(it)) {
            qa_job_give_up(it->job, 503, "cancelled", "the client is gone");
            return false;
        }
    }
}

/* Called for as long as the answer streams. */
static ssize_t read_events(void *user, uint64_t position, char *buffer, size_t bytes) {
    exchange *it = user;
    qa_error err = {0};
    (void)position;
    atomic_fetch_add(&it->server->moved, 1);
    while (it->sent == it->events.n) {
        it->sent = it->events.n = 0;
        if (it->over) {
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
        if (!wait_for_job(it) || qa_job_events(it->job, &it->events, &it->over, &err) != QA_OK) {
            return MHD_CONTENT_READER_END_WITH_ERROR;
        }
    }
    const size_t left = it->events.n - it->sent, n = left < bytes ? left : bytes;
    memcpy(buffer, it->events.data + it->sent, n);
    it->sent += n;
    return (ssize_t)n;
}

static enum MHD_Result queue_events(exchange *it) {
    enum { BLOCK = 16384 };
    struct MHD_Response *response = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK, read_events, it, NULL);
    if (response == NULL) {
        return MHD_NO;
    }
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, "text/event-stream; charset=utf-8");
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    (void)MHD_add_response_header(response, "X-Accel-Buffering", "no");
    const enum MHD_Result result = MHD_queue_response(it->connection, MHD_HTTP_OK, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer_job(exchange *it, bool chat) {
    qa_json_writer out = {0};
    /* Nothing comes or goes while it is computed: that is no idle connection. */
    (void)MHD_set_connection_option(it->connection, MHD_CONNECTION_OPTION_TIMEOUT, 0U);
    it->until = qa_seconds() + it->server->options.timeout;
    const qa_status status = qa_jobs_add(it->server->jobs, chat, it->body.data, it->body.n, &it->job, &it->refusal);
    qa_text_free(&it->body);
    if (status != QA_OK) {
        return queue_json(it, status, &out);
    }
    if (qa_job_ask(it->job)->stream) {
        (void)MHD_set_connection_option(it->connection, MHD_CONNECTION_OPTION_TIMEOUT,
                                        (unsigned)it->server->options.timeout + IDLE_SECONDS);
        return queue_events(it);
    }
    if (!wait_for_job(it)) {
        return MHD_NO;
    }
    (void)MHD_set_connection_option(it->connection, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned)IDLE_SECONDS);
    return queue_json(it, qa_job_answer(it->job, &out, &it->refusal), &out);
}

/* ---- routes ---- */

static enum MHD_Result answer_completions(exchange *it) { return answer_job(it, false); }
static enum MHD_Result answer_chat(exchange *it) { return answer_job(it, true); }

static enum MHD_Result answer_models(exchange *it) {
    qa_json_writer out = {0};
    const char *name = it->rest[0] == '/' ? it->rest + 1 : NULL;
    return queue_json(it, qa_served_put_models(it->server->options.served, name, &out, &it->refusal), &out);
}

static enum MHD_Result answer_health(exchange *it) {
    qa_json_writer out = {0};
    const qa_jobs_state state = qa_jobs_look(it->server->jobs);
    if (state.draining) {
        return queue_json(it, qa_refuse(&it->refusal, 503, "shutting_down", NULL, "the server is shutting down"), &out);
    }
    qa_json_open_object(&out, NULL, QA_JSON_LINE);
    qa_json_put_string(&out, "status", "ok");
    qa_json_put_size(&out, "requests", state.jobs);
    qa_json_put_size(&out, "prompt_tokens_run", state.counts.prompt_run);
    qa_json_put_size(&out, "prompt_tokens_shared", state.counts.prompt_copied);
    qa_json_put_size(&out, "tokens_sampled", state.counts.sampled);
    qa_json_close(&out);
    return queue_json(it, QA_OK, &out);
}

static enum MHD_Result answer_tokenizer_info(exchange *it) {
    qa_json_writer out = {0};
    qa_put_tokenizer_info(it->server->options.served, &out);
    return queue_json(it, QA_OK, &out);
}

static enum MHD_Result answer_tokenize(exchange *it) {
    qa_json_writer out = {0};
    const qa_served *served = it->server->options.served;
    return queue_json(it, qa_put_tokenized(served, it->body.data, it->body.n, &out, &it->refusal), &out);
}

static enum MHD_Result answer_detokenize(exchange *it) {
    qa_json_writer out = {0};
    const qa_served *served = it->server->options.served;
    return queue_json(it, qa_put_detokenized(served, it->body.data, it->body.n, &out, &it->refusal), &out);
}

static enum MHD_Result answer_page(exchange *it) {
    qa_text copy = {0};
    qa_error err = {0};
    return qa_text_append(&copy, it->server->page.data, it->server->page.n, &err) == QA_OK
               ? queue_text(it, MHD_HTTP_OK, "text/html; charset=utf-8", &copy)
               : MHD_NO;
}

static enum MHD_Result answer_inspect(exchange *it) {
    qa_json_writer out = {0};
    const qa_served *served = it->server->options.served;
    return queue_json(
        it, qa_put_inspected(it->server->jobs, served, it->body.data, it->body.n, &out.text, &it->refusal), &out);
}

static const route routes[] = {{"POST", "/v1/completions", answer_completions, false, true},
                               {"POST", "/v1/chat/completions", answer_chat, false, true},
                               {"GET", "/v1/models", answer_models, false, false},
                               {"GET", "/health", answer_health, true, true},
                               {"GET", "/tokenizer_info", answer_tokenizer_info, false, true},
                               {"POST", "/tokenize", answer_tokenize, false, true},
                               {"POST", "/detokenize", answer_detokenize, false, true},
                               {"POST", "/inspect", answer_inspect, false, true},
                               {"GET", "/", answer_page, true, true}};

static qa_status find_route(exchange *it, const char *method, const char *path) {
    const char *asked = strcmp(method, MHD_HTTP_METHOD_HEAD) == 0 ? MHD_HTTP_METHOD_GET : method;
    const route *found = NULL;
    for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
        const size_t n = strlen(routes[i].path);
        if (strncmp(path, routes[i].path, n) == 0 && (path[n] == '\0' || (!routes[i].whole && path[n] == '/'))) {
            found = &routes[i];
            it->rest = path + n;
        }
    }
    if (found == NULL) {
        return qa_refuse(&it->refusal, 404, NULL, NULL,
                         "there is no %.100s; there are /v1/completions, /v1/chat/completions, /v1/models, /health, "
                         "/tokenizer_info, /tokenize, /detokenize, /inspect and /",
                         path);
    }
    it->route = found;
    return strcmp(asked, found->method) == 0
               ? QA_OK
               : qa_refuse(&it->refusal, 405, NULL, NULL, "%s takes %s", found->path, found->method);
}

/* ---- requests ---- */

/* Who asks, and for what: before the body comes. */
static qa_status check_head(exchange *it, const char *method, const char *path) {
    const qa_server *server = it->server;
    const char *host = MHD_lookup_connection_value(it->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST);
    const char *origin = MHD_lookup_connection_value(it->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_ORIGIN);
    const char *key = MHD_lookup_connection_value(it->connection, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION);
    if (server->listener.loopback && !qa_host_is_loopback(host)) {
        return qa_refuse(&it->refusal, 403, NULL, NULL,
                         "the server listens on this machine only, and \"%.100s\" is another name", host);
    }
    if (!qa_origin_is_same(origin, host)) {
        return qa_refuse(&it->refusal, 403, NULL, NULL, "pages of another origin (%.100s) may not ask", origin);
    }
    QA_TRY(find_route(it, method, path));
    if (!it->route->open && server->options.n_keys > 0 &&
        !qa_key_is_known(key, server->options.keys, server->options.n_keys)) {
        return qa_refuse(&it->refusal, 401, "invalid_api_key", NULL,
                         "this server asks for a key: \"Authorization: Bearer KEY\"");
    }
    return QA_OK;
}

/* A piece of the body. What is refused, or too long, is passed over, so that the client comes to read why; not for
 * ever. */
static enum MHD_Result take_body(exchange *it, const char *data, size_t *bytes) {
    const size_t most = it->server->options.max_body, n = *bytes;
    *bytes = 0;
    if (it->refusal.status == 0 && n > most - it->body.n) {
        (void)qa_refuse(&it->refusal, 413, NULL, NULL, "the body is longer than %zu bytes (--max-body)", most);
    }
    if (it->refusal.status == 0) {
        (void)!qa_refuse_if_failed(&it->refusal, qa_text_append(&it->body, data, n, &it->refusal.err), NULL);
    }
    if (it->refusal.status != 0) {
        qa_text_free(&it->body);
        it->dropped += n;
    }
    return it->dropped > qa_larger(8 * most, (size_t)1 << 20) ? MHD_NO : MHD_YES;
}

static enum MHD_Result begin_exchange(qa_server *server, struct MHD_Connection *connection, const char *method,
                                      const char *path, void **user) {
    exchange *it = calloc(1, sizeof *it);
    if (it == NULL) {
        return MHD_NO;
    }
    *user = it;
    it->server = server;
    it->connection = connection;
    atomic_fetch_add(&server->requests, 1);
    (void)!check_head(it, method, path);
    return MHD_YES;
}

static enum MHD_Result answer_request(void *user, struct MHD_Connection *connection, const char *path,
                                      const char *method, const char *version, const char *data, size_t *bytes,
                                      void **state) {
    exchange *it = *state;
    (void)version;
    if (it == NULL) {
        return begin_exchange(user, connection, method, path, state);
    }
    if (*bytes > 0) {
        return take_body(it, data, bytes);
    }
    if (it->refusal.status != 0) {
        qa_json_writer out = {0};
        return queue_json(it, QA_ERR_ARGUMENT, &out);
    }
    return it->route->answer(it);
}

static void end_exchange(void *user, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode code) {
    qa_server *server = user;
    exchange *it = *state;
    (void)code;
    if (it != NULL) {
        (void)MHD_set_connection_option(connection, MHD_CONNECTION_OPTION_TIMEOUT, (unsigned)IDLE_SECONDS);
        qa_job_release(it->job);
        qa_text_free(&it->body);
        qa_text_free(&it->events);
        free(it);
        *state = NULL;
        atomic_fetch_sub(&server->requests, 1);
    }
}

/* ---- the server ---- */

qa_status qa_server_available(qa_error *err) {
    (void)err;
    return QA_OK;
}

static void say_nothing(void *user, const char *format, va_list args) {
    (void)user;
    (void)format;
    (void)args;
}

static qa_status start_daemon(qa_server *server, qa_error *err) {
    enum { STACK_BYTES = 1 << 20, SPARE = 64 };
    const unsigned connections = (unsigned)(server->options.max_queue + SPARE);
    const unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_THREAD_PER_CONNECTION | MHD_USE_POLL |
                           MHD_USE_ITC | MHD_USE_ERROR_LOG | (server->listener.ipv6 ? MHD_USE_IPv6 : 0U);
    server->daemon =
        MHD_start_daemon(flags, 0, NULL, NULL, answer_request, server, MHD_OPTION_EXTERNAL_LOGGER, say_nothing, NULL,
                         MHD_OPTION_LISTEN_SOCKET, server->listener.socket, MHD_OPTION_NOTIFY_COMPLETED, end_exchange,
                         server, MHD_OPTION_CONNECTION_LIMIT, connections, MHD_OPTION_CONNECTION_TIMEOUT,
                         (unsigned)IDLE_SECONDS, MHD_OPTION_THREAD_STACK_SIZE, (size_t)STACK_BYTES, MHD_OPTION_END);
    QA_FAIL_IF(server->daemon == NULL, err, QA_ERR_IO, "cannot start the server on %s", server->listener.url);
    server->listening = true;
    return QA_OK;
}

qa_status qa_server_start(qa_server **out, const qa_server_options *options, qa_error *err) {
    qa_server *server = NULL;
    qa_status status = QA_OK;
    *out = NULL;
    QA_TRY(QA_NEW(server, 1, err, "a server"));
    server->options = *options;
    server->listener.socket = -1;
    QA_GOTO(failed, qa_page_of(options->served, &server->page, err));
    QA_GOTO(failed, qa_listen(&server->listener, options->host, options->port, err));
    QA_GOTO(failed, qa_jobs_start(&server->jobs, options->served, options->engine, options->max_queue, err));
    QA_GOTO(failed, start_daemon(server, err));
    *out = server;
    return QA_OK;
failed:
    qa_server_stop(server);
    return status;
}

const char *qa_server_url(const qa_server *server) { return server->listener.url; }

bool qa_server_is_local(const qa_server *server) { return server->listener.loopback; }

void qa_server_drain(qa_server *server) {
    qa_jobs_drain(server->jobs);
    server->computed = server->quiet_since = qa_seconds();
    if (server->listening) {
        const MHD_socket socket = MHD_quiesce_daemon(server->daemon);
        server->listening = false;
        server->listener.socket = -1;
        if (socket != MHD_INVALID_SOCKET) {
            (void)close(socket);
        }
    }
}

bool qa_server_is_idle(qa_server *server) {
    const double now = qa_seconds();
    const size_t moved = atomic_load(&server->moved);
    server->computed = qa_jobs_look(server->jobs).jobs > 0 ? now : server->computed;
    server->quiet_since = moved != server->moved_then ? now : fmax(server->quiet_since, server->computed);
    server->moved_then = moved;
    return atomic_load(&server->requests) == 0 || now - server->quiet_since > DRAIN_SECONDS ||
           now - server->computed > IDLE_SECONDS;
}

void qa_server_stop(qa_server *server) {
    if (server == NULL) {
        return;
    }
    if (server->daemon != NULL) {
        server->listener.socket = server->listening ? -1 : server->listener.socket; /* the daemon closes it */
        qa_jobs_give_up_all(server->jobs);
        MHD_stop_daemon(server->daemon);
    }
    if (server->listener.socket >= 0) {
        (void)close(server->listener.socket);
    }
    qa_jobs_stop(server->jobs);
    qa_text_free(&server->page);
    free(server);
}

#endif
