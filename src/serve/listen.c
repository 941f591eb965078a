/* See listen.h. */
#include "serve/listen.h"

#include "base/try.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BACKLOG = 128 };

static bool address_is_loopback(const struct sockaddr *address) {
    if (address->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, address, sizeof in);
        return (ntohl(in.sin_addr.s_addr) >> 24U) == 127;
    }
    struct sockaddr_in6 in6;
    memcpy(&in6, address, sizeof in6);
    return address->sa_family == AF_INET6 && memcmp(&in6.sin6_addr, &in6addr_loopback, sizeof in6addr_loopback) == 0;
}

static qa_status open_socket(const struct addrinfo *found, const char *host, unsigned port, int *out, qa_error *err) {
    const int one = 1;
    const int at = socket(found->ai_family, SOCK_STREAM, 0);
    if (at >= 0 && setsockopt(at, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0 &&
        bind(at, found->ai_addr, found->ai_addrlen) == 0 && listen(at, BACKLOG) == 0) {
        *out = at;
        return QA_OK;
    }
    const int reason = errno;
    if (at >= 0) {
        (void)close(at);
    }
    return qa_fail(err, QA_ERR_IO, "cannot listen on %s, port %u: %s%s", host, port, strerror(reason),
                   reason == EADDRINUSE ? " (--port names another, --port 0 takes a free one)"
                   : reason == EACCES   ? " (ports below 1024 are the system's)"
                                        : "");
}

qa_status qa_listen(qa_listener *listener, const char *host, unsigned port, qa_error *err) {
    const struct addrinfo hints = {.ai_flags = AI_PASSIVE | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    struct sockaddr_storage bound;
    socklen_t bytes = sizeof bound;
    char service[16], number[16], name[256];
    (void)snprintf(service, sizeof service, "%u", port);
    const int failed = getaddrinfo(host, service, &hints, &found);
    QA_FAIL_IF(failed != 0, err, QA_ERR_ARGUMENT, "--host %s: %s", host, gai_strerror(failed));
    listener->loopback = address_is_loopback(found->ai_addr);
    listener->ipv6 = found->ai_family == AF_INET6;
    const qa_status status = open_socket(found, host, port, &listener->socket, err);
    freeaddrinfo(found);
    QA_TRY(status);
    if (getsockname(listener->socket, (struct sockaddr *)&bound, &bytes) != 0 ||
        getnameinfo((struct sockaddr *)&bound, bytes, name, sizeof name, number, sizeof number,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0) {
        (void)close(listener->socket);
        return qa_fail(err, QA_ERR_IO, "cannot find out the port: %s", strerror(errno));
    }
    (void)snprintf(listener->url, sizeof listener->url, listener->ipv6 ? "http://[%s]:%s" : "http://%s:%s", name,
                   number);
    return QA_OK;
}
