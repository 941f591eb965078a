/* See guard.h. */
#include "serve/guard.h"

#include <string.h>
#include <strings.h>

/* Bytes of the name in a Host header, without the port. */
static size_t host_name_bytes(const char *host) {
    const char *close = host[0] == '[' ? strchr(host, ']') : NULL;
    return close != NULL ? (size_t)(close - host) + 1 : strcspn(host, ":");
}

static bool is_port(const char *text) {
    return text[0] == '\0' || (text[0] == ':' && text[1 + strspn(text + 1, "0123456789")] == '\0');
}

bool qa_host_is_loopback(const char *host) {
    if (host == NULL) {
        return true;
    }
    const size_t n = host_name_bytes(host);
    const bool numbers = strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == n;
    const bool named = (n == 9 && strncasecmp(host, "localhost", n) == 0) || (n == 5 && strncmp(host, "[::1]", n) == 0);
    return (numbers || named) && is_port(host + n);
}

bool qa_origin_is_same(const char *origin, const char *host) {
    const char *name = origin == NULL ? NULL : strstr(origin, "://");
    return origin == NULL || (name != NULL && host != NULL && strcasecmp(name + 3, host) == 0);
}

/* Of both texts' bytes, without stopping at the first that differ. */
static bool same_secret(const char *text, const char *secret) {
    const size_t n = strlen(text), m = strlen(secret);
    unsigned differ = n == m ? 0 : 1;
    for (size_t i = 0; i < n; i++) {
        differ |= (unsigned char)text[i] ^ (unsigned)(unsigned char)(m == 0 ? 0 : secret[i % m]);
    }
    return differ == 0;
}

bool qa_key_is_known(const char *authorization, const char *const *keys, size_t n) {
    static const char scheme[] = "Bearer ";
    bool known = false;
    if (authorization == NULL || strncasecmp(authorization, scheme, strlen(scheme)) != 0) {
        return false;
    }
    const char *key = authorization + strlen(scheme);
    key += strspn(key, " ");
    for (size_t i = 0; i < n; i++) {
        known = same_secret(key, keys[i]) || known;
    }
    return known;
}
