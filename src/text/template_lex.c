/* See template_lex.h. The rules are those of Jinja2's lexer: which newlines and blanks around a tag fall away, and
 * which of the marks "-" and "+" changes that. */
#include "text/template_lex.h"

#include "base/c_locale.h"
#include "text/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_BRACKETS = 100 };

typedef struct template_lexer {
    qa_parse *parse;
    const char *text;
    size_t n, at;
    uint32_t line;
    bool line_starting; /* the last tag ended with a newline */
    char open[MOST_BRACKETS];
    size_t n_open;
    qa_template_token *tokens;
    size_t n_tokens, capacity;
} template_lexer;

_Noreturn void qa_parse_fail(qa_parse *parse, qa_status status, size_t line, const char *format, ...) {
    char message[QA_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    parse->status = qa_fail(parse->err, status, "%s, line %zu: %s", parse->name, line, message);
    longjmp(parse->heap->escape, 1);
}

bool qa_template_is_space(uint32_t code) { return qa_is_white_space(code) || (code >= 0x1C && code <= 0x1F); }

qa_tv qa_template_string(qa_parse *parse, const char *data, size_t n) {
    qa_tv_string *string = QA_HEAP_NEW(parse->heap, qa_tv_string, 1);
    *string = (qa_tv_string){.data = data, .n = n};
    string->chars = qa_tv_chars(string); /* counted now: several threads may read it */
    return (qa_tv){.kind = QA_TV_STRING, .as.string = string};
}

/* ---- the text ---- */

/* CRLF and CR become LF, and one newline at the end falls away. */
static void normalise_newlines(template_lexer *lexer, const char *text, size_t bytes) {
    char *copy = qa_heap_bytes(lexer->parse->heap, bytes);
    size_t n = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (text[i] == '\r' && i + 1 < bytes && text[i + 1] == '\n') {
            continue;
        }
        copy[n++] = text[i] == '\r' ? '\n' : text[i];
    }
    lexer->text = copy;
    lexer->n = n > 0 && copy[n - 1] == '\n' ? n - 1 : n;
}

static char peek_at(const template_lexer *lexer, size_t ahead) {
    return lexer->at + ahead < lexer->n ? lexer->text[lexer->at + ahead] : '\0';
}

static bool stands_at(const template_lexer *lexer, size_t at, const char *what) {
    const size_t n = strlen(what);
    return n <= lexer->n - at && memcmp(lexer->text + at, what, n) == 0;
}

/* Behind the white space that begins at `at`. */
static size_t behind_space(const template_lexer *lexer, size_t at) {
    while (at < lexer->n) {
        size_t next = at;
        if (!qa_template_is_space(qa_utf8_next(lexer->text, &next))) {
            break;
        }
        at = next;
    }
    return at;
}

static qa_template_token *emit_token(template_lexer *lexer, int type, size_t from, size_t to) {
    lexer->tokens = qa_heap_grow(lexer->parse->heap, lexer->tokens, lexer->n_tokens, &lexer->capacity,
                                 lexer->n_tokens + 1, sizeof(qa_template_token));
    qa_template_token *token = &lexer->tokens[lexer->n_tokens++];
    *token = (qa_template_token){.type = type, .line = lexer->line, .text = lexer->text + from, .bytes = to - from};
    return token;
}

/* Moves to `to`, counting lines. */
static void advance(template_lexer *lexer, size_t to) {
    for (size_t i = lexer->at; i < to; i++) {
        lexer->line += lexer->text[i] == '\n';
    }
    lexer->line_starting = to > lexer->at && lexer->text[to - 1] == '\n';
    lexer->at = to;
}

/* ---- text between tags ---- */

/* The end of the data text[from, to) in front of a tag with this mark. */
static size_t stripped_end(const template_lexer *lexer, size_t from, size_t to, char mark, bool variable) {
    size_t end = to;
    while (end > from) { /* to the front of the white space */
        size_t next = qa_utf8_before(lexer->text, end);
        size_t at = next;
        if (!qa_template_is_space(qa_utf8_next(lexer->text, &at)) || (mark != '-' && lexer->text[next] == '\n')) {
            break;
        }
        end = next;
    }
    if (mark == '-') {
        return end;
    }
    const bool own_line = end > from ? lexer->text[end - 1] == '\n' : lexer->line_starting;
    return mark != '+' && !variable && own_line ? end : to;
}

static void emit_data(template_lexer *lexer, size_t to, char mark, bool variable) {
    const size_t end = stripped_end(lexer, lexer->at, to, mark, variable);
    if (end > lexer->at) {
        (void)emit_token(lexer, QA_TOKEN_DATA, lexer->at, end);
    }
}

static char mark_at(const template_lexer *lexer, size_t at) {
    return at < lexer->n && (lexer->text[at] == '-' || lexer->text[at] == '+') ? lexer->text[at] : '\0';
}

/* If a tag ends at `at`, where it ends: "-%}" takes the white space behind it, "%}" one newline, "+%}" nothing;
 * variables know no "+" and keep their newline. 0: it does not end here. */
static size_t tag_end(const template_lexer *lexer, size_t at, const char *end, bool variable) {
    const char mark = mark_at(lexer, at);
    const size_t behind = at + (mark != '\0') + 2;
    if (!stands_at(lexer, at + (mark != '\0'), end) || (mark == '+' && variable)) {
        return 0;
    }
    return mark == '-' ? behind_space(lexer, behind)
                       : behind + (mark == '\0' && !variable && behind < lexer->n && lexer->text[behind] == '\n');
}

static void skip_comment(template_lexer *lexer) {
    const uint32_t line = lexer->line;
    if (lexer->at + 2 + (mark_at(lexer, lexer->at + 2) != '\0') == lexer->n) {
        lexer->at = lexer->n; /* Jinja2 takes one that begins where the template ends */
        return;
    }
    for (size_t at = lexer->at + 2 + (mark_at(lexer, lexer->at + 2) != '\0'); at < lexer->n; at++) {
        const size_t end = tag_end(lexer, at, "#}", false);
        if (end > 0) {
            advance(lexer, end);
            return;
        }
    }
    qa_parse_fail(lexer->parse, QA_ERR_FORMAT, line, "a comment {# has no end #}");
}

/* Where the word ends, with white space around it, behind a "{%" that stands at `at`; 0: another word. */
static size_t behind_word(const template_lexer *lexer, size_t at, const char *word) {
    at = behind_space(lexer, at + 2 + (mark_at(lexer, at + 2) != '\0'));
    return stands_at(lexer, at, word) ? behind_space(lexer, at + strlen(word)) : 0;
}

/* {% raw %}: everything up to {% endraw %} is text. False when no such tag stands here. */
static bool lex_raw(template_lexer *lexer) {
    const size_t behind = behind_word(lexer, lexer->at, "raw");
    const bool minus = behind > 0 && stands_at(lexer, behind, "-%}");
    const uint32_t line = lexer->line;
    if (!minus && (behind == 0 || !stands_at(lexer, behind, "%}"))) {
        return false;
    }
    advance(lexer, minus ? behind_space(lexer, behind + 3) : behind + 2);
    for (size_t at = lexer->at; at < lexer->n; at++) {
        const size_t word = stands_at(lexer, at, "{%") ? behind_word(lexer, at, "endraw") : 0;
        const size_t end = word == 0 ? 0 : tag_end(lexer, word, "%}", false);
        if (end > 0) {
            emit_data(lexer, at, mark_at(lexer, at + 2), false);
            advance(lexer, end);
            return true;
        }
    }
    if (lexer->at == lexer->n) {
        return true; /* as for comments */
    }
    qa_parse_fail(lexer->parse, QA_ERR_FORMAT, line, "a raw block has no {%% endraw %%}");
}

/* ---- inside tags ---- */

static bool is_digit_of(char c, unsigned base) {
    const unsigned digit = c >= '0' && c <= '9'   ? (unsigned)(c - '0')
                           : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10
                           : c >= 'A' && c <= 'F' ? (unsigned)(c - 'A') + 10
                                                  : 99;
    return digit < base;
}

/* Behind digits with single underscores between them; `at` itself when there is no digit. */
static size_t behind_digits(const template_lexer *lexer, size_t at, unsigned base) {
    size_t end = at;
    while (at < lexer->n && is_digit_of(lexer->text[at], base)) {
        end = ++at;
        at += at + 1 < lexer->n && lexer->text[at] == '_';
    }
    return end;
}

/* 1.5, 1e3, 1.5e-3: the end, or 0 when none stands here. */
static size_t behind_float(const template_lexer *lexer) {
    const size_t whole = behind_digits(lexer, lexer->at, 10);
    size_t end = 0, exponent = whole;
    if (whole == lexer->at || (lexer->at > 0 && lexer->text[lexer->at - 1] == '.')) {
        return 0;
    }
    if (whole < lexer->n && lexer->text[whole] == '.') {
        const size_t fraction = behind_digits(lexer, whole + 1, 10);
        end = fraction > whole + 1 ? fraction : 0;
        exponent = end > 0 ? end : whole;
    }
    if (exponent < lexer->n && (lexer->text[exponent] == 'e' || lexer->text[exponent] == 'E')) {
        const size_t digits = exponent + 1 + (mark_at(lexer, exponent + 1) != '\0');
        const size_t behind = behind_digits(lexer, digits, 10);
        end = behind > digits ? behind : end;
    }
    return end;
}

/* The number's characters without underscores. */
static void copy_digits(const template_lexer *lexer, size_t from, size_t to, char digits[400]) {
    size_t n = 0;
    if (to - from >= 400) {
        qa_parse_fail(lexer->parse, QA_ERR_UNSUPPORTED, lexer->line, "a number of %zu digits", to - from);
    }
    for (size_t i = from; i < to; i++) {
        if (lexer->text[i] != '_') {
            digits[n++] = lexer->text[i];
        }
    }
    digits[n] = '\0';
}

static void lex_integer(template_lexer *lexer) {
    const char second = (char)(peek_at(lexer, 1) | 0x20);
    unsigned base = peek_at(lexer, 0) != '0' ? 10 : second == 'x' ? 16 : second == 'o' ? 8 : second == 'b' ? 2 : 1;
    size_t from = lexer->at + (base == 16 || base == 8 || base == 2 ? 2 : 0);
    from += from > lexer->at && from < lexer->n && lexer->text[from] == '_';
    size_t end = behind_digits(lexer, from, base);
    if (end == from) { /* "0" and a letter */
        base = 10;
        from = lexer->at;
        end = from + 1;
    }
    char digits[400];
    int64_t value = 0;
    copy_digits(lexer, from, end, digits);
    for (const char *c = digits; *c != '\0'; c++) {
        const int digit = *c <= '9' ? *c - '0' : (*c | 0x20) - 'a' + 10;
        if (__builtin_mul_overflow(value, (int64_t)(base == 1 ? 10 : base), &value) ||
            __builtin_add_overflow(value, digit, &value)) {
            qa_parse_fail(lexer->parse, QA_ERR_UNSUPPORTED, lexer->line, "the integer %s does not fit 64 bits", digits);
        }
    }
    emit_token(lexer, QA_TOKEN_NUMBER, lexer->at, end)->value = qa_tv_int(value);
    advance(lexer, end);
}

static void lex_float(template_lexer *lexer, size_t end) {
    char digits[400];
    copy_digits(lexer, lexer->at, end, digits);
    const qa_c_locale before = qa_c_locale_enter();
    const double value = strtod(digits, NULL);
    qa_c_locale_leave(before);
    emit_token(lexer, QA_TOKEN_NUMBER, lexer->at, end)->value = qa_tv_float(value);
    advance(lexer, end);
}

/* Up to `most` digits at text[*at] as a number; exact: all of them must be there. */
static uint32_t escape_digits(const template_lexer *lexer, size_t *at, size_t most, unsigned base, bool exact) {
    uint32_t code = 0;
    size_t n = 0;
    for (; n < most && *at < lexer->n && is_digit_of(lexer->text[*at], base); n++, *at += 1) {
        const char c = lexer->text[*at];
        code = code * base + (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
    }
    if (exact && n < most) {
        qa_parse_fail(lexer->parse, QA_ERR_FORMAT, lexer->line, "a string has a truncated escape");
    }
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) {
        qa_parse_fail(lexer->parse, code > 0x10FFFF ? QA_ERR_FORMAT : QA_ERR_UNSUPPORTED, lexer->line,
                      "a string has an escape for U+%04X, which is no character", (unsigned)code);
    }
    return code;
}

/* The escape at text[*at], which is a backslash; writes into out and returns the bytes. */
static size_t unescape(const template_lexer *lexer, size_t *at, char out[16]) {
    static const char LETTERS[] = "\\\\''\"\"a\ab\bf\fn\nr\rt\tv\v";
    const char c = lexer->text[*at + 1];
    *at += 2;
    if (c == '\n') {
        return 0;
    }
    for (size_t i = 0; i + 1 < sizeof LETTERS; i += 2) {
        if (LETTERS[i] == c) {
            out[0] = LETTERS[i + 1];
            return 1;
        }
    }
    if (c == 'x' || c == 'u' || c == 'U') {
        return qa_utf8_encode(escape_digits(lexer, at, c == 'x' ? 2 : c == 'u' ? 4 : 8, 16, true), out);
    }
    if (c >= '0' && c <= '7') {
        *at -= 1;
        return qa_utf8_encode(escape_digits(lexer, at, 3, 8, false), out);
    }
    if (c == 'N') {
        qa_parse_fail(lexer->parse, QA_ERR_UNSUPPORTED, lexer->line, "a string has an escape \\N{...}");
    }
    *at -= 1;
    if ((unsigned char)c < 0x80) {
        out[0] = '\\';
        return 1;
    }
    const uint32_t code = qa_utf8_next(lexer->text, at); /* Jinja2 makes "\\xe9" of a backslash in front of U+00E9 */
    return (size_t)snprintf(out, 16, code < 0x100 ? "\\x%02x" : code < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)code);
}

static void lex_string(template_lexer *lexer) {
    const char quote = peek_at(lexer, 0);
    size_t end = lexer->at + 1;
    while (end < lexer->n && lexer->text[end] != quote) {
        end += lexer->text[end] == '\\' ? 2 : 1;
    }
    if (end >= lexer->n) {
        qa_parse_fail(lexer->parse, QA_ERR_FORMAT, lexer->line, "a string has no end");
    }
    char *value = qa_heap_bytes(lexer->parse->heap, 2 * (end - lexer->at));
    size_t n = 0;
    for (size_t at = lexer->at + 1; at < end;) {
        char out[16];
        if (lexer->text[at] != '\\') {
            value[n++] = lexer->text[at++];
            continue;
        }
        const size_t bytes = unescape(lexer, &at, out);
        memcpy(value + n, out, bytes);
        n += bytes;
    }
    emit_token(lexer, QA_TOKEN_STRING, lexer->at, end + 1)->value = qa_template_string(lexer->parse, value, n);
    advance(lexer, end + 1);
}

static void lex_operator(template_lexer *lexer) {
    static const struct {
        const char *text;
        int type;
    } LONG[] = {{"**", QA_TOKEN_POWER},   {"//", QA_TOKEN_FLOOR},    {"==", QA_TOKEN_EQUAL},
                {"!=", QA_TOKEN_UNEQUAL}, {">=", QA_TOKEN_AT_LEAST}, {"<=", QA_TOKEN_AT_MOST}};
    const char c = peek_at(lexer, 0);
    int type = c != '\0' && strchr("+-/*%~[](){}><=.:|,;", c) != NULL ? c : 0;
    size_t bytes = 1;
    for (size_t i = 0; i < sizeof LONG / sizeof LONG[0]; i++) {
        if (stands_at(lexer, lexer->at, LONG[i].text)) {
            type = LONG[i].type;
            bytes = 2;
        }
    }
    if (type == 0) {
        qa_parse_fail(lexer->parse, QA_ERR_FORMAT, lexer->line, "unexpected character at \"%.*s\"",
                      (int)(lexer->n - lexer->at < 20 ? lexer->n - lexer->at : 20), lexer->text + lexer->at);
    }
    if (type == '(' || type == '[' || type == '{') {
        if (lexer->n_open == MOST_BRACKETS) {
            qa_parse_fail(lexer->parse, QA_ERR_LIMIT, lexer->line, "brackets are nested more than %d deep",
                          MOST_BRACKETS);
        }
        lexer->open[lexer->n_open++] = (char)type;
    } else if (type == ')' || type == ']' || type == '}') {
        const char opened = type == ')' ? '(' : type == ']' ? '[' : '{';
        if (lexer->n_open == 0 || lexer->open[--lexer->n_open] != opened) {
            qa_parse_fail(lexer->parse, QA_ERR_FORMAT, lexer->line, "unexpected '%c'", type);
        }
    }
    (void)emit_token(lexer, type, lexer->at, lexer->at + bytes);
    advance(lexer, lexer->at + bytes);
}

static size_t behind_name(const template_lexer *lexer) {
    size_t end = lexer->at;
    while (end < lexer->n) {
        size_t next = end;
        if (!qa_is_word(qa_utf8_next(lexer->text, &next))) {
            break;
        }
        end = next;
    }
    return end;
}

static void lex_in_tag(template_lexer *lexer) {
    const size_t space = behind_space(lexer, lexer->at);
    const char c = peek_at(lexer, 0);
    if (space > lexer->at) {
        advance(lexer, space);
    } else if (c >= '0' && c <= '9') {
        const size_t end = behind_float(lexer);
        if (end > 0) {
            lex_float(lexer, end);
        } else {
            lex_integer(lexer);
        }
    } else if (c == '\'' || c == '"') {
        lex_string(lexer);
    } else if (behind_name(lexer) > lexer->at) {
        const size_t end = behind_name(lexer);
        (void)emit_token(lexer, QA_TOKEN_NAME, lexer->at, end);
        advance(lexer, end);
    } else {
        lex_operator(lexer);
    }
}

/* A tag from its "{{" or "{%" to its end, or to the end of the text. */
static void lex_tag(template_lexer *lexer, bool variable) {
    (void)emit_token(lexer, variable ? QA_TOKEN_VARIABLE_BEGIN : QA_TOKEN_BLOCK_BEGIN, lexer->at, lexer->at + 2);
    advance(lexer, lexer->at + 2 + (mark_at(lexer, lexer->at + 2) != '\0'));
    lexer->n_open = 0;
    while (lexer->at < lexer->n) {
        const size_t end = lexer->n_open > 0 ? 0 : tag_end(lexer, lexer->at, variable ? "}}" : "%}", variable);
        if (end > 0) {
            (void)emit_token(lexer, variable ? QA_TOKEN_VARIABLE_END : QA_TOKEN_BLOCK_END, lexer->at, end);
            advance(lexer, end);
            return;
        }
        lex_in_tag(lexer);
    }
}

const qa_template_token *qa_template_tokens(qa_parse *parse, const char *text, size_t bytes) {
    template_lexer lexer = {.parse = parse, .line = 1, .line_starting = true};
    normalise_newlines(&lexer, text, bytes);
    while (lexer.at < lexer.n) {
        size_t tag = lexer.at;
        while (tag < lexer.n && !(lexer.text[tag] == '{' && tag + 1 < lexer.n &&
                                  strchr("{%#", lexer.text[tag + 1]) != NULL && lexer.text[tag + 1] != '\0')) {
            tag++;
        }
        const bool found = tag < lexer.n, variable = found && lexer.text[tag + 1] == '{';
        emit_data(&lexer, tag, found ? mark_at(&lexer, tag + 2) : '+', variable);
        advance(&lexer, tag);
        if (!found) {
            break;
        }
        if (lexer.text[tag + 1] == '#') {
            skip_comment(&lexer);
        } else if (variable || !lex_raw(&lexer)) {
            lex_tag(&lexer, variable);
        }
    }
    (void)emit_token(&lexer, QA_TOKEN_END, lexer.n, lexer.n);
    return lexer.tokens;
}
