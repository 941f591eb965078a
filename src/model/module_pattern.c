/* See module_pattern.h. */
#include "model/module_pattern.h"

#include "base/memory.h"
#include "base/try.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

enum { PATTERN_BYTES = 8192, HEAP_LIMIT_KIBIBYTES = 16 * 1024 };

struct qa_module_pattern {
    qa_module_rule rule;
    char *plain; /* an expression without operators but the dot, which stands for any one character; else NULL */
    size_t n;
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
};

bool qa_module_name_matches(const char *name, const char *path) {
    const size_t n = strlen(name), m = strlen(path);
    return n <= m && strcmp(path + (m - n), name) == 0 && (n == m || path[m - n - 1] == '.');
}

/* ---- what Python and PCRE2 read alike ---- */

typedef struct reader {
    const char *text;
    size_t n, at;
} reader;

static qa_status differs(const reader *r, const char *what, qa_error *err) {
    return qa_fail(err, QA_ERR_UNSUPPORTED,
                   "the expression \"%.120s\" has %s at byte %zu, which is not supported here; list the modules' names",
                   r->text, what, r->at);
}

static bool module_pattern_is_digit(char c) { return c >= '0' && c <= '9'; }

/* A backslash and what stands behind it. in_class: inside [...]. */
static qa_status read_escape(reader *r, bool in_class, qa_error *err) {
    const char c = r->at + 1 < r->n ? r->text[r->at + 1] : '\0';
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || module_pattern_is_digit(c);
    if (c == '\0' || (letter && strchr(in_class ? "dDwWsS" : "dDwWsSbBAZ", c) == NULL)) {
        return differs(r, "an escape", err);
    }
    r->at += 2;
    return QA_OK;
}

static qa_status read_class(reader *r, qa_error *err) {
    const size_t begin = r->at++;
    r->at += r->at < r->n && r->text[r->at] == '^' ? 1 : 0;
    r->at += r->at < r->n && r->text[r->at] == ']' ? 1 : 0; /* the first one is a character */
    while (r->at < r->n && r->text[r->at] != ']') {
        if (r->text[r->at] == '[') { /* [:alpha:] is a class of PCRE2's alone */
            return differs(r, "\"[\" inside a character class", err);
        }
        if (r->text[r->at] == '\\') {
            QA_TRY(read_escape(r, true, err));
        } else {
            r->at++;
        }
    }
    if (r->at == r->n) {
        r->at = begin;
        return differs(r, "a character class without an end", err);
    }
    r->at++;
    return QA_OK;
}

/* "(", "(?:", "(?=", "(?!", "(?<=", "(?<!" and "(?P<name>". Behind "<" PCRE2 takes whatever Python takes. */
static qa_status read_group(reader *r, qa_error *err) {
    const char *rest = r->text + r->at;
    const size_t left = r->n - r->at;
    size_t skip = 1;
    if (left > 1 && rest[1] == '*') {
        return differs(r, "a verb", err);
    }
    if (left > 1 && rest[1] == '?') {
        const bool named = left > 3 && rest[2] == 'P' && rest[3] == '<';
        const bool behind = left > 3 && rest[2] == '<' && (rest[3] == '=' || rest[3] == '!');
        if (!named && !behind && (left < 3 || strchr(":=!", rest[2]) == NULL || rest[2] == '\0')) {
            return differs(r,
                           "a group of another kind than (...), (?:...), (?=...), (?!...), (?<=...), (?<!...) and "
                           "(?P<name>...)",
                           err);
        }
        skip = named || behind ? 4 : 3;
        while (named && skip < left && rest[skip - 1] != '>') {
            skip++;
        }
    }
    r->at += skip;
    return QA_OK;
}

/* {n}, {n,} and {n,m}; another brace is a character to one reader and an operator to the other. */
static qa_status read_braces(reader *r, qa_error *err) {
    size_t at = r->at + 1;
    const size_t first = at;
    while (at < r->n && module_pattern_is_digit(r->text[at])) {
        at++;
    }
    bool good = at > first;
    if (good && at < r->n && r->text[at] == ',') {
        at++;
        while (at < r->n && module_pattern_is_digit(r->text[at])) {
            at++;
        }
    }
    good = good && at < r->n && r->text[at] == '}';
    if (!good) {
        return differs(r, "a brace that is no {n}, {n,} or {n,m}", err);
    }
    r->at = at + 1;
    return QA_OK;
}

static bool at_quantifier(const reader *r) {
    return r->at < r->n && r->text[r->at] != '\0' && strchr("*+?{", r->text[r->at]) != NULL;
}

/* A quantifier, lazy perhaps; a second one behind it is an error to Python. */
static qa_status read_quantifier(reader *r, qa_error *err) {
    if (r->text[r->at] == '{') {
        QA_TRY(read_braces(r, err));
    } else {
        r->at++;
    }
    r->at += r->at < r->n && r->text[r->at] == '?' ? 1 : 0;
    return at_quantifier(r) ? differs(r, "a repeat of a repeat", err) : QA_OK;
}

/* "(?i)", which Python takes at the very beginning alone. */
static const char any_case[] = "(?i)";

static qa_status check_syntax(const char *text, size_t n, qa_module_rule rule, bool *plain, qa_error *err) {
    const bool flag = rule == QA_MODULE_WHOLE && strncmp(text, any_case, strlen(any_case)) == 0;
    reader r = {.text = text, .n = n, .at = flag ? strlen(any_case) : 0};
    size_t depth = 0;
    *plain = !flag;
    while (r.at < n) {
        const char c = text[r.at];
        if ((unsigned char)c < 0x20 || (unsigned char)c > 0x7e || c == '}') {
            return differs(&r, c == '}' ? "\"}\"" : "a character that no module's name has", err);
        }
        *plain = *plain && strchr("\\[](){}*+?|^$", c) == NULL;
        switch (c) {
        case '\\': QA_TRY(read_escape(&r, false, err)); break;
        case '[': QA_TRY(read_class(&r, err)); break;
        case '(':
            depth++;
            QA_TRY(read_group(&r, err));
            if (at_quantifier(&r)) {
                return differs(&r, "a repeat of nothing", err);
            }
            break;
        case ')':
            if (depth-- == 0) {
                return differs(&r, "\")\" without \"(\"", err);
            }
            r.at++;
            break;
        case '*':
        case '+':
        case '?':
        case '{': QA_TRY(read_quantifier(&r, err)); break;
        default: r.at++;
        }
    }
    return depth == 0 ? QA_OK : differs(&r, "\"(\" without \")\"", err);
}

/* ---- matching ---- */

static qa_status compile_module_pattern(qa_module_pattern *pattern, const char *expression, size_t n, qa_error *err) {
    static const char before[] = "(?:.*\\.)?(?:", after[] = ")";
    int failure = 0;
    PCRE2_SIZE place = 0;
    char *text = malloc(n + sizeof before + sizeof after);
    if (text == NULL) {
        return QA_NO_MEMORY(err, "an expression");
    }
    const size_t lead = pattern->rule == QA_MODULE_END ? sizeof before - 1 : 0;
    memcpy(text, before, lead);
    memcpy(text + lead, expression, n);
    memcpy(text + lead + n, after, lead == 0 ? 0 : 1);
    /* the whole path, as re.fullmatch and "$" have it: no path holds an end of line */
    pattern->code = pcre2_compile((PCRE2_SPTR)text, lead + n + (lead == 0 ? 0 : 1),
                                  PCRE2_ANCHORED | PCRE2_ENDANCHORED | PCRE2_NEVER_BACKSLASH_C, &failure, &place, NULL);
    free(text);
    if (pattern->code == NULL) {
        char reason[160] = "";
        if (pcre2_get_error_message(failure, (PCRE2_UCHAR *)reason, sizeof reason) < 0) {
            reason[0] = '\0';
        }
        return qa_fail(err, QA_ERR_FORMAT, "the expression \"%.120s\" does not compile: %s, at byte %zu", expression,
                       reason, place < lead ? 0 : (size_t)place - lead);
    }
    pattern->data = pcre2_match_data_create(1, NULL);
    pattern->context = pcre2_match_context_create(NULL);
    return pattern->data != NULL && pattern->context != NULL ? QA_OK : QA_NO_MEMORY(err, "an expression");
}

static qa_status keep_plain(qa_module_pattern *pattern, const char *expression, size_t n, qa_error *err) {
    pattern->plain = malloc(n + 1);
    if (pattern->plain == NULL) {
        return QA_NO_MEMORY(err, "a module's name");
    }
    memcpy(pattern->plain, expression, n);
    pattern->plain[n] = '\0';
    pattern->n = n;
    return QA_OK;
}

qa_status qa_module_pattern_create(qa_module_pattern **out, const char *expression, size_t n, qa_module_rule rule,
                                   uint32_t steps, qa_error *err) {
    bool plain = false;
    *out = NULL;
    QA_FAIL_IF(n > PATTERN_BYTES, err, QA_ERR_LIMIT, "an expression of %zu bytes, expected at most %d", n,
               (int)PATTERN_BYTES);
    QA_TRY(check_syntax(expression, n, rule, &plain, err));
    qa_module_pattern *pattern = NULL;
    QA_TRY(QA_NEW(pattern, 1, err, "an expression"));
    pattern->rule = rule;
    const qa_status status =
        plain ? keep_plain(pattern, expression, n, err) : compile_module_pattern(pattern, expression, n, err);
    if (status != QA_OK) {
        qa_module_pattern_free(pattern);
        return status;
    }
    if (!plain) {
        (void)pcre2_set_match_limit(pattern->context, steps);
        (void)pcre2_set_heap_limit(pattern->context, HEAP_LIMIT_KIBIBYTES);
    }
    *out = pattern;
    return QA_OK;
}

void qa_module_pattern_free(qa_module_pattern *pattern) {
    if (pattern != NULL) {
        pcre2_match_context_free(pattern->context);
        pcre2_match_data_free(pattern->data);
        pcre2_code_free(pattern->code);
        free(pattern->plain);
        free(pattern);
    }
}

static bool plain_matches(const qa_module_pattern *pattern, const char *path) {
    const size_t m = strlen(path);
    if (pattern->n > m || (pattern->n < m && (pattern->rule == QA_MODULE_WHOLE || path[m - pattern->n - 1] != '.'))) {
        return false;
    }
    for (size_t i = 0; i < pattern->n; i++) {
        if (pattern->plain[i] != '.' && pattern->plain[i] != path[m - pattern->n + i]) {
            return false;
        }
    }
    return true;
}

qa_status qa_module_pattern_matches(const qa_module_pattern *pattern, const char *path, bool *matches, qa_error *err) {
    if (pattern->plain != NULL) {
        *matches = plain_matches(pattern, path);
        return QA_OK;
    }
    const int found =
        pcre2_match(pattern->code, (PCRE2_SPTR)path, strlen(path), 0, PCRE2_NO_JIT, pattern->data, pattern->context);
    QA_FAIL_IF(found < 0 && found != PCRE2_ERROR_NOMATCH, err, QA_ERR_LIMIT,
               "the expression takes too many steps on \"%s\"", path);
    *matches = found >= 0;
    return QA_OK;
}
