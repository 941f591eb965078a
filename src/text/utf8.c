/* See utf8.h. Categories come from utf8proc. */
#include "text/utf8.h"

#include "base/plain_line.h"

#include <string.h>
#include <utf8proc.h>

/* First byte of a character: its length and the range of its second byte (which is what keeps out
 * overlong forms, surrogates and code points above U+10FFFF). */
static bool start(qa_utf8_state *state, unsigned char byte) {
    state->low = 0x80;
    state->high = 0xBF;
    if (byte < 0x80) {
        state->length = 1;
    } else if (byte >= 0xC2 && byte <= 0xDF) {
        state->length = 2;
    } else if (byte >= 0xE0 && byte <= 0xEF) {
        state->length = 3;
        state->low = byte == 0xE0 ? 0xA0 : 0x80;
        state->high = byte == 0xED ? 0x9F : 0xBF;
    } else if (byte >= 0xF0 && byte <= 0xF4) {
        state->length = 4;
        state->low = byte == 0xF0 ? 0x90 : 0x80;
        state->high = byte == 0xF4 ? 0x8F : 0xBF;
    } else {
        return false;
    }
    return true;
}

qa_utf8_step qa_utf8_feed(qa_utf8_state *state, unsigned char byte) {
    if (state->n_held == 0) {
        if (!start(state, byte)) {
            return QA_UTF8_BROKEN;
        }
    } else if (byte < state->low || byte > state->high) {
        return QA_UTF8_BROKEN;
    } else {
        state->low = 0x80;
        state->high = 0xBF;
    }
    state->held[state->n_held++] = byte;
    return state->n_held == state->length ? QA_UTF8_DONE : QA_UTF8_MORE;
}

bool qa_utf8_valid(const char *text, size_t n, size_t *bad) {
    qa_utf8_state state = {.n_held = 0};
    for (size_t i = 0; i < n; i++) {
        switch (qa_utf8_feed(&state, (unsigned char)text[i])) {
        case QA_UTF8_MORE: break;
        case QA_UTF8_DONE: qa_utf8_reset(&state); break;
        case QA_UTF8_BROKEN: *bad = i - state.n_held; return false;
        }
    }
    *bad = n - state.n_held;
    return state.n_held == 0;
}

size_t qa_utf8_encode(uint32_t code, char out[QA_UTF8_MAX]) {
    return (size_t)utf8proc_encode_char((utf8proc_int32_t)code, (utf8proc_uint8_t *)out);
}

bool qa_is_white_space(uint32_t code) {
    return (code >= 0x9 && code <= 0xD) || code == 0x20 || code == 0x85 || code == 0xA0 || code == 0x1680 ||
           (code >= 0x2000 && code <= 0x200A) || code == 0x2028 || code == 0x2029 || code == 0x202F || code == 0x205F ||
           code == 0x3000;
}

bool qa_is_number(uint32_t code) {
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category == UTF8PROC_CATEGORY_ND || category == UTF8PROC_CATEGORY_NL || category == UTF8PROC_CATEGORY_NO;
}

bool qa_is_word(uint32_t code) {
    if ((code >= 0x24B6 && code <= 0x24E9) || (code >= 0x1F130 && code <= 0x1F149) ||
        (code >= 0x1F150 && code <= 0x1F169) || (code >= 0x1F170 && code <= 0x1F189)) {
        return true; /* circled and squared letters: alphabetic symbols */
    }
    switch (utf8proc_category((utf8proc_int32_t)code)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default: return code == 0x200C || code == 0x200D;
    }
}

const char *qa_printable(char *out, size_t size, const char *text, size_t n) {
    size_t used = 0;
    for (size_t at = 0; at < n;) {
        size_t from = at;
        uint32_t code = qa_utf8_next(text, &at);
        if (at > n || used + (at - from) + 1 > size) {
            break;
        }
        memcpy(out + used, text + from, at - from);
        if (code < 0x20 || (code >= 0x7F && code < 0xA0)) {
            out[used] = '?';
            used += 1;
        } else {
            used += at - from;
        }
    }
    out[used] = '\0';
    return out;
}

/* ---- white space ---- */

/* Length of the white-space character that starts at s[n], by Python's str.isspace; 0 if none does. */
static size_t space_at(const char *s, size_t n) {
    uint32_t code = 0;
    const size_t width = n == 0 ? 0 : qa_character_at(s, n, &code);
    return qa_is_white_space(code) || (code >= 0x1c && code <= 0x1f) ? width : 0;
}

size_t qa_space_run(const char *text, size_t bytes, bool back) {
    size_t run = 0;
    for (size_t step = 1; step > 0; run += step) {
        step = back ? 0 : space_at(text + run, bytes - run);
        for (size_t width = 1; back && width <= 3 && width <= bytes - run && step == 0; width++) {
            step = space_at(text + bytes - run - width, width) == width ? width : 0;
        }
    }
    return run;
}

void qa_strip(const char **start, size_t *bytes) {
    const size_t front = qa_space_run(*start, *bytes, false);
    *start += front;
    *bytes -= front;
    *bytes -= qa_space_run(*start, *bytes, true);
}
