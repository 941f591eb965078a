/* A socket that listens. */
#ifndef QA_SERVE_LISTEN_H
#define QA_SERVE_LISTEN_H

#include "qadapter/status.h"

#include <stdbool.h>

enum { QA_URL_BYTES = 320 };

typedef struct qa_listener {
    int socket;
    bool loopback, ipv6;
    char url[QA_URL_BYTES]; /* "http://127.0.0.1:8080" */
} qa_listener;

/* host: an address or a name of this machine's; port 0 takes a free one. The caller closes the socket. */
QA_MUST_CHECK qa_status qa_listen(qa_listener *listener, const char *host, unsigned port, qa_error *err);

#endif
