/* The HTTP server: routes, limits, keys, streams, over libmicrohttpd, a thread a connection; what is computed is
 * computed by jobs.h. Without libmicrohttpd nothing starts. */
#ifndef QA_SERVE_SERVER_H
#define QA_SERVE_SERVER_H

#include "serve/served.h"

typedef struct qa_server qa_server;

/* Everything is borrowed until the server has stopped. */
typedef struct qa_server_options {
    const qa_served *served;
    qa_engine *engine;
    const char *host;        /* an address or a name of this machine's */
    unsigned port;           /* 0: a free one */
    const char *const *keys; /* [n_keys], one of which a request must bring; none: anybody may ask */
    size_t n_keys;
    size_t max_body;  /* bytes */
    size_t max_queue; /* requests that wait or run at once */
    double timeout;   /* seconds from a request to the end of its answer */
} qa_server_options;

/* QA_ERR_UNSUPPORTED where the program was built without libmicrohttpd; the message says what to install. */
QA_MUST_CHECK qa_status qa_server_available(qa_error *err);

QA_MUST_CHECK qa_status qa_server_start(qa_server **server, const qa_server_options *options, qa_error *err);
const char *qa_server_url(const qa_server *server); /* "http://127.0.0.1:8080"; borrowed */
bool qa_server_is_local(const qa_server *server);   /* nobody from another machine reaches it */
/* No new connections, and new requests are refused with 503; what runs goes on. */
void qa_server_drain(qa_server *server);
/* After qa_server_drain, asked again and again by one thread: whether every answer has been sent. A client that does
 * not come to the end of its question, or takes nothing more of an answer that is complete, is waited for a few seconds
 * only. */
bool qa_server_is_idle(qa_server *server);
/* Gives up what still runs. NULL is allowed. */
void qa_server_stop(qa_server *server);

#endif
