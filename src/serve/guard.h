/* Who may ask: the headers Host, Origin and Authorization. Pure. */
#ifndef QA_SERVE_GUARD_H
#define QA_SERVE_GUARD_H

#include <stdbool.h>
#include <stddef.h>

/* Whether a Host header, with or without a port, names this machine: localhost, 127.x.x.x, [::1]. A page of elsewhere
 * whose name was pointed to a loopback address (DNS rebinding) brings its own name. NULL (HTTP/1.0): true. */
bool qa_host_is_loopback(const char *host);

/* Whether a browser's Origin is the server that it asks: scheme://HOST. NULL, a program that is none: true. */
bool qa_origin_is_same(const char *origin, const char *host);

/* Whether an Authorization header is "Bearer KEY" with one of keys[n]; takes the same time for every wrong key. */
bool qa_key_is_known(const char *authorization, const char *const *keys, size_t n);

#endif
