/* See plain_line.h. */
#include "base/plain_line.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

size_t qa_character_at(const char *text, size_t bytes, uint32_t *character) {
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *s = (const unsigned char *)text;
    const size_t n = s[0] < 0x80 ? 1 : (s[0] >> 5) == 6 ? 2 : (s[0] >> 4) == 14 ? 3 : (s[0] >> 3) == 30 ? 4 : 0;
    if (n == 0 || n > bytes) {
        return 0;
    }
    uint32_t c = n == 1 ? s[0] : s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] >> 6) != 2) {
            return 0;
        }
        c = c << 6 | (s[i] & 0x3fu);
    }
    *character = c;
    return c < smallest[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

static bool acts_on_a_terminal(uint32_t c) {
    return c < 0x20 || (c >= 0x7f && c < 0xa0) || c == 0x61c || c == 0x200e || c == 0x200f ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0xfeff;
}

/* What stands for the character (or byte) at text; *used: bytes of text. */
static size_t shown(char out[16], const char *text, size_t *used) {
    uint32_t c = 0;
    size_t n = qa_character_at(text, 4, &c); /* the NUL at the end is no part of a character */
    *used = n == 0 ? 1 : n;
    if (n > 0 && !acts_on_a_terminal(c)) {
        memcpy(out, text, n);
        return n;
    }
    int written = n == 0      ? snprintf(out, 16, "\\x%02x", (unsigned char)text[0])
                  : c == '\n' ? snprintf(out, 16, "\\n")
                  : c == '\t' ? snprintf(out, 16, "\\t")
                  : c == '\r' ? snprintf(out, 16, "\\r")
                  : c < 0x80  ? snprintf(out, 16, "\\x%02x", (unsigned)c)
                              : snprintf(out, 16, "\\u%04x", (unsigned)c);
    return written < 0 ? 0 : (size_t)written;
}

size_t qa_plain_line(char *line, size_t capacity, const char *text) {
    size_t n = 0;
    while (*text != '\0') {
        char piece[16];
        size_t used = 0;
        size_t bytes = shown(piece, text, &used);
        if (n + bytes >= capacity) {
            break;
        }
        memcpy(line + n, piece, bytes);
        n += bytes;
        text += used;
    }
    line[n] = '\0';
    return n;
}

size_t qa_whole_characters(const char *text, size_t bytes, size_t limit) {
    if (bytes <= limit) {
        return bytes;
    }
    size_t n = limit;
    while (n > 0 && limit - n < 3 && ((unsigned char)text[n] >> 6) == 2) {
        n--;
    }
    return ((unsigned char)text[n] >> 6) == 2 ? limit : n;
}
