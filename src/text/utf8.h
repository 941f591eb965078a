/* UTF-8 and the few character classes that tokenizers ask about. */
#ifndef QA_TEXT_UTF8_H
#define QA_TEXT_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { QA_UTF8_MAX = 4 }; /* bytes of the longest character */

/* U+FFFD, which stands for broken bytes. */
#define QA_REPLACEMENT "\xEF\xBF\xBD"
enum { QA_REPLACEMENT_BYTES = 3 };

/* A decoder that takes one byte at a time. Zero-initialise. */
typedef struct qa_utf8_state {
    unsigned char held[QA_UTF8_MAX]; /* the bytes of the character so far */
    size_t n_held;
    size_t length;           /* bytes of the whole character, from its first byte */
    unsigned char low, high; /* what the next byte may be */
} qa_utf8_state;

typedef enum qa_utf8_step {
    QA_UTF8_MORE,  /* the character is not complete */
    QA_UTF8_DONE,  /* held[n_held] is a character; call qa_utf8_reset before the next byte */
    QA_UTF8_BROKEN /* the byte cannot follow: held[n_held] is a broken part (when n_held is 0: the byte itself).
                      Reset, and give the byte again unless it was the broken part itself. */
} qa_utf8_step;

/* Broken parts are maximal, as Unicode recommends (chapter 3, "U+FFFD substitution of maximal subparts"). */
qa_utf8_step qa_utf8_feed(qa_utf8_state *state, unsigned char byte);
static inline void qa_utf8_reset(qa_utf8_state *state) { state->n_held = 0; }

/* Whether text[n] is valid UTF-8 (no surrogates, no overlong forms); otherwise *bad gets the offset of
 * the first byte that is not part of a character. */
bool qa_utf8_valid(const char *text, size_t n, size_t *bad);

/* The character at text[*at]; *at moves behind it. The text must be valid UTF-8. */
static inline uint32_t qa_utf8_next(const char *text, size_t *at) {
    const unsigned char *p = (const unsigned char *)text + *at;
    if (p[0] < 0x80) {
        *at += 1;
        return p[0];
    }
    if (p[0] < 0xE0) {
        *at += 2;
        return (uint32_t)((p[0] & 0x1F) << 6 | (p[1] & 0x3F));
    }
    if (p[0] < 0xF0) {
        *at += 3;
        return (uint32_t)((p[0] & 0x0F) << 12 | (p[1] & 0x3F) << 6 | (p[2] & 0x3F));
    }
    *at += 4;
    return (uint32_t)((p[0] & 0x07) << 18 | (p[1] & 0x3F) << 12 | (p[2] & 0x3F) << 6 | (p[3] & 0x3F));
}

/* The start of the character that ends before text[at], at > 0. Valid UTF-8 only. */
static inline size_t qa_utf8_before(const char *text, size_t at) {
    do {
        at--;
    } while (at > 0 && ((unsigned char)text[at] & 0xC0) == 0x80);
    return at;
}

/* Writes a code point (a valid one); returns its bytes. */
size_t qa_utf8_encode(uint32_t code, char out[QA_UTF8_MAX]);

/* White_Space: 25 code points, among them NEL and NBSP, not U+200B, U+180E or U+FEFF. */
bool qa_is_white_space(uint32_t code);
/* Bytes of the white space, by Python's str.isspace, that text[bytes] begins or (back) ends with. text is UTF-8. */
size_t qa_space_run(const char *text, size_t bytes, bool back);
/* Python's str.strip: moves *start and *bytes past white space at both ends. */
void qa_strip(const char **start, size_t *bytes);
/* General category Nd, Nl or No. */
bool qa_is_number(uint32_t code);
/* What \w means in Unicode regular expressions (UTS 18): letters, marks, decimal digits, letter
 * numbers, connecting punctuation, other alphabetic characters, and the two joiners. */
bool qa_is_word(uint32_t code);

/* Copies text[n] into out for an error message: at most size - 1 bytes, control characters as '?',
 * whole characters only, zero-terminated. Returns out. */
const char *qa_printable(char *out, size_t size, const char *text, size_t n);

/* text[n] for the arguments of a message, a name or a long expression; it lives as long as the block around it. */
#define QA_SHOWN(text, n) qa_printable((char[80]){0}, 80, (text), (n))
#define QA_SHOWN_LONG(text, n) qa_printable((char[160]){0}, 160, (text), (n))

#endif
