/* Oniguruma's Ruby syntax -> PCRE2.
 *
 * Both read most expressions alike. What differs and can be written otherwise is rewritten:
 *   \s \S  White_Space (PCRE2's also has U+180E)      \d \D  decimal digits of all scripts
 *   \w \W  letters, marks, digits, connectors         \h \H  hexadecimal digits (PCRE2: white space)
 *   \b \B  by that \w                                 \v     U+000B only
 *   \uHHHH                                            {,n}   from 0 to n
 *   \p{Script}  by Script, not Script_Extensions
 * What differs and cannot is refused by name: sets in sets and &&, POSIX brackets, options in the
 * middle of a group, {n}? and {n,m}+, names, conditions, recursion, verbs and the other escapes. */
#include "text/pattern_translate.h"

#include "base/buffer.h"
#include "base/try.h"
#include "text/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

/* The 25 White_Space code points and the others, as the inside of a set. */
#define WHITE                                                                                                          \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define NOT_WHITE                                                                                                      \
    "\\x{0}-\\x{8}\\x{e}-\\x{1f}\\x{21}-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}\\x{200b}-\\x{2027}" \
    "\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}\\x{3001}-\\x{10ffff}"
/* Alphabetic, marks, decimal digits, connectors; the ranges are the alphabetic symbols. */
#define WORD                                                                                                           \
    "\\p{L}\\p{M}\\p{Nl}\\p{Nd}\\p{Pc}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}\\x{1f150}-\\x{1f169}\\x{1f170}-"        \
    "\\x{1f189}"

typedef struct translation {
    const char *in;
    size_t n, at;
    qa_text *out;
    qa_error *err;
} translation;

static qa_status refuse_pattern(const translation *t, size_t at, const char *what) {
    return qa_fail(t->err, QA_ERR_UNSUPPORTED,
                   "the regular expression \"%s\" uses %s at byte %zu, which is not supported",
                   QA_SHOWN_LONG(t->in, t->n), what, at);
}

static qa_status emit(translation *t, const char *text) { return qa_text_append_z(t->out, text, t->err); }

/* Copies n bytes of the expression. */
static qa_status copy(translation *t, size_t n) {
    QA_TRY(qa_text_append(t->out, t->in + t->at, n, t->err));
    t->at += n;
    return QA_OK;
}

static char peek(const translation *t, size_t ahead) { return t->at + ahead < t->n ? t->in[t->at + ahead] : '\0'; }

static bool starts(const translation *t, const char *with) {
    size_t n = strlen(with);
    return t->n - t->at >= n && memcmp(t->in + t->at, with, n) == 0;
}

static bool pattern_translate_is_digit(char c) { return c >= '0' && c <= '9'; }
static bool pattern_translate_is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static bool is_hex(char c) { return pattern_translate_is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

/* \xHH, \x{H...} and \uHHHH; t->at is at the backslash. */
static qa_status code_point(translation *t) {
    size_t from = t->at;
    bool braces = peek(t, 1) == 'x' && peek(t, 2) == '{';
    size_t digits = 0;
    size_t most = braces ? 8 : peek(t, 1) == 'x' ? 2 : 4;
    t->at += braces ? 3 : 2;
    while (digits < most && is_hex(peek(t, digits))) {
        digits++;
    }
    if (digits == 0 || (most == 4 && digits < 4) || (braces && peek(t, digits) != '}')) {
        return refuse_pattern(t, from, "an incomplete code point");
    }
    if (!braces && most == 2 && (digits == 1 || t->in[t->at] > '7')) {
        return refuse_pattern(t, from, "a raw byte"); /* \x80 to \xff stand for bytes, not for characters */
    }
    QA_TRY(emit(t, "\\x{"));
    QA_TRY(copy(t, digits));
    t->at += braces ? 1 : 0;
    return emit(t, "}");
}

/* \p{...} and \P{...}. General categories have one or two letters; longer names are scripts. */
static qa_status property(translation *t) {
    size_t from = t->at;
    bool negated = peek(t, 1) == 'P';
    t->at += 2;
    if (peek(t, 0) != '{') {
        return refuse_pattern(t, from, "a property without braces");
    }
    t->at++;
    if (peek(t, 0) == '^') {
        negated = !negated;
        t->at++;
    }
    size_t letters = 0;
    while (pattern_translate_is_letter(peek(t, letters)) || peek(t, letters) == '_') {
        letters++;
    }
    if (letters == 0 || peek(t, letters) != '}') {
        return refuse_pattern(t, from, "a property that is neither a category nor a script");
    }
    QA_TRY(emit(t, negated ? "\\P{" : "\\p{"));
#if PCRE2_MAJOR > 10 || (PCRE2_MAJOR == 10 && PCRE2_MINOR >= 40)
    if (letters > 2) {
        QA_TRY(emit(t, "sc:"));
    }
#endif
    QA_TRY(copy(t, letters));
    return copy(t, 1);
}

/* What an escape of one letter becomes, outside and inside a set; NULL: not supported there. */
static const struct escape {
    char letter;
    const char *outside, *inside;
    bool many; /* stands for many characters, so cannot be the end of a range */
} ESCAPES[] = {
    {'s', "[" WHITE "]", WHITE, true},
    {'S', "[^" WHITE "]", NOT_WHITE, true},
    {'d', "\\p{Nd}", "\\p{Nd}", true},
    {'D', "\\P{Nd}", "\\P{Nd}", true},
    {'w', "[" WORD "]", WORD, true},
    {'W', "[^" WORD "]", NULL, true},
    {'h', "[0-9A-Fa-f]", "0-9A-Fa-f", true},
    {'H', "[^0-9A-Fa-f]", NULL, true},
    {'b', "(?:(?<=[" WORD "])(?![" WORD "])|(?<![" WORD "])(?=[" WORD "]))", "\\x{8}", false},
    {'B', "(?:(?<=[" WORD "])(?=[" WORD "])|(?<![" WORD "])(?![" WORD "]))", NULL, false},
    {'A', "\\A", NULL, false},
    {'Z', "\\Z", NULL, false},
    {'z', "\\z", NULL, false},
    {'t', "\\t", "\\t", false},
    {'n', "\\n", "\\n", false},
    {'r', "\\r", "\\r", false},
    {'f', "\\f", "\\f", false},
    {'a', "\\a", "\\a", false},
    {'e', "\\e", "\\e", false},
    {'v', "\\x{b}", "\\x{b}", false},
};

/* An escape; t->at is at the backslash. *many tells whether it stands for many characters. */
static qa_status escape(translation *t, bool inside, bool *many) {
    char c = peek(t, 1);
    *many = false;
    if (t->at + 1 >= t->n) {
        return refuse_pattern(t, t->at, "a backslash at its end");
    }
    if (c == 'p' || c == 'P') {
        *many = true;
        return property(t);
    }
    if (c == 'x' || c == 'u') {
        return code_point(t);
    }
    if (!inside && c >= '1' && c <= '9' && !pattern_translate_is_digit(peek(t, 2))) {
        return copy(t, 2); /* what a group matched */
    }
    if (!pattern_translate_is_letter(c) && !pattern_translate_is_digit(c)) {
        QA_TRY(copy(t, 1));
        size_t behind = t->at;
        (void)qa_utf8_next(t->in, &behind);
        return copy(t, behind - t->at); /* punctuation, or any other character, for itself */
    }
    for (size_t i = 0; i < sizeof ESCAPES / sizeof ESCAPES[0]; i++) {
        const char *meaning = inside ? ESCAPES[i].inside : ESCAPES[i].outside;
        if (ESCAPES[i].letter == c && meaning != NULL) {
            *many = ESCAPES[i].many;
            t->at += 2;
            return emit(t, meaning);
        }
    }
    char what[] = "the escape \\?";
    what[sizeof what - 2] = c;
    return refuse_pattern(t, t->at, what);
}

/* Copies one character of the expression, whatever it is. */
static qa_status copy_character(translation *t) {
    size_t behind = t->at;
    (void)qa_utf8_next(t->in, &behind);
    return copy(t, behind - t->at);
}

/* The hyphen of a range and the character behind it. */
static qa_status range_end(translation *t, size_t set_start) {
    bool many = false;
    QA_TRY(copy(t, 1));
    if (peek(t, 0) == '[' || (peek(t, 0) == '&' && peek(t, 1) == '&')) {
        return refuse_pattern(t, t->at, "a set inside a set");
    }
    if (peek(t, 0) != '\\') {
        return t->at < t->n ? copy_character(t) : QA_OK;
    }
    QA_TRY(escape(t, true, &many));
    return many ? refuse_pattern(t, set_start, "a range that ends in a class") : QA_OK;
}

/* A set; t->at is at its bracket. A hyphen is one at the start, at the end and behind a class;
 * otherwise it makes a range of the characters on both sides. */
static qa_status set(translation *t) {
    enum { START, CHARACTER, CLASS, RANGE, HYPHEN } last = START;
    size_t from = t->at;
    QA_TRY(copy(t, peek(t, 1) == '^' ? 2 : 1));
    while (t->at < t->n && (t->in[t->at] != ']' || last == START)) {
        char c = t->in[t->at];
        if (c == '[') {
            return refuse_pattern(t, t->at, "a set inside a set");
        }
        if (c == '&' && peek(t, 1) == '&') {
            return refuse_pattern(t, t->at, "an intersection of sets");
        }
        if (c == ']') {
            return refuse_pattern(t, t->at, "an empty set");
        }
        if (c == '-' && last == CHARACTER && peek(t, 1) != ']') {
            QA_TRY(range_end(t, from));
            last = RANGE;
        } else if (c == '-') {
            if (last != START && last != CLASS && peek(t, 1) != ']') {
                return refuse_pattern(t, t->at, "a hyphen after a range"); /* itself, or the start of another range? */
            }
            QA_TRY(emit(t, "\\-"));
            t->at++;
            last = HYPHEN;
        } else if (c == '\\') {
            bool many = false;
            QA_TRY(escape(t, true, &many));
            last = many ? CLASS : CHARACTER;
        } else {
            QA_TRY(copy_character(t));
            last = CHARACTER;
        }
    }
    if (t->at >= t->n) {
        return refuse_pattern(t, from, "a set without an end");
    }
    return copy(t, 1);
}

/* The start of a group; t->at is at its parenthesis. */
static qa_status group(translation *t) {
    static const char *const KINDS[] = {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?-i:"};
    if (t->at == 0 && starts(t, "(?i)")) {
        return copy(t, 4); /* before everything else it means the same in both */
    }
    if (peek(t, 1) == '*') {
        return refuse_pattern(t, t->at, "a verb");
    }
    if (peek(t, 1) != '?') {
        return copy(t, 1);
    }
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
        if (starts(t, KINDS[i])) {
            return copy(t, strlen(KINDS[i]));
        }
    }
    return refuse_pattern(t, t->at, "a kind of group");
}

/* An opening brace: {n}, {n,}, {n,m} or {,m}, or a brace for itself. */
static qa_status brace(translation *t) {
    size_t from = t->at;
    size_t low = 1;
    while (pattern_translate_is_digit(peek(t, low))) {
        low++;
    }
    bool comma = peek(t, low) == ',';
    size_t end = low + (comma ? 1 : 0);
    while (comma && pattern_translate_is_digit(peek(t, end))) {
        end++;
    }
    if (peek(t, end) != '}' || end == 1 || (low == 1 && end == 2)) {
        t->at++;
        return emit(t, "\\{");
    }
    if (low == 1) { /* {,m} */
        t->at++;
        QA_TRY(emit(t, "{0"));
        QA_TRY(copy(t, end));
    } else {
        QA_TRY(copy(t, end + 1));
    }
    if (peek(t, 0) == '+' || (peek(t, 0) == '?' && !comma)) {
        return refuse_pattern(t, from, "a repetition of a counted repetition"); /* possessive, lazy for PCRE2 */
    }
    return QA_OK;
}

qa_status qa_pattern_translate(const char *regex, size_t n, qa_text *out, qa_error *err) {
    translation t = {.in = regex, .n = n, .out = out, .err = err};
    while (t.at < n) {
        bool many = false;
        switch (regex[t.at]) {
        case '\\': QA_TRY(escape(&t, false, &many)); break;
        case '[': QA_TRY(set(&t)); break;
        case '(': QA_TRY(group(&t)); break;
        case '{': QA_TRY(brace(&t)); break;
        default: QA_TRY(copy(&t, 1)); break;
        }
    }
    return QA_OK;
}
