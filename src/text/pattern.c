/* See pattern.h. Matching; the rewriting of expressions is in pattern_translate.c. */
#include "text/pattern.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "text/counted_match.h"
#include "text/pattern_translate.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

struct qa_pattern {
    pcre2_code *code; /* NULL for a literal */
    qa_text source;   /* the literal, or the expression as the file has it */
};

/* Of one starting place; what all of them together may take is the call's budget. */
enum { MATCH_STEPS = 20000000, HEAP_KIBIBYTES = 512 * 1024, MAX_PATTERN_BYTES = 4096 };

/* Expressions that nearly all tokenizers have, and that take time in proportion to the text: they run uncounted, which
 * is twice as fast. */
static const char *const KNOWN_LINEAR[] = {
    /* GPT-2, ByteLevel */
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+",
    /* Llama 3 */
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
    "\\s+(?!\\S)|\\s+",
    /* Qwen2, Qwen3 */
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
    "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?"
    "!\\S)|\\s+",
};

static bool is_known(const char *regex, size_t n) {
    for (size_t i = 0; i < sizeof KNOWN_LINEAR / sizeof KNOWN_LINEAR[0]; i++) {
        if (strlen(KNOWN_LINEAR[i]) == n && memcmp(KNOWN_LINEAR[i], regex, n) == 0) {
            return true;
        }
    }
    return false;
}

void qa_pattern_free(qa_pattern *pattern) {
    if (pattern != NULL) {
        pcre2_code_free(pattern->code);
        qa_text_free(&pattern->source);
        free(pattern);
    }
}

static qa_status create(qa_pattern **pattern, const char *source, size_t n, qa_error *err) {
    QA_FAIL_IF(n > MAX_PATTERN_BYTES, err, QA_ERR_LIMIT, "a pattern of %zu bytes is too long; at most %d are allowed",
               n, MAX_PATTERN_BYTES);
    QA_TRY(QA_NEW(*pattern, 1, err, "a pattern"));
    qa_status status = qa_text_append(&(*pattern)->source, source, n, err);
    if (status != QA_OK) {
        qa_pattern_free(*pattern);
        *pattern = NULL;
    }
    return status;
}

qa_status qa_pattern_literal(qa_pattern **pattern, const char *literal, size_t n, qa_error *err) {
    *pattern = NULL;
    QA_FAIL_IF(n == 0, err, QA_ERR_UNSUPPORTED, "an empty string is not supported as a pattern");
    return create(pattern, literal, n, err);
}

static qa_status compile_pattern(pcre2_code **code, const qa_text *expression, const char *source, size_t source_n,
                                 qa_error *err) {
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (context == NULL || pcre2_set_newline(context, PCRE2_NEWLINE_LF) != 0) {
        pcre2_compile_context_free(context);
        return QA_NO_MEMORY(err, "a regular expression");
    }
    /* Ruby's ^ and $ match at every line; only a line feed ends a line. */
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C | PCRE2_NO_UTF_CHECK |
                       (is_known(source, source_n) ? 0 : QA_COUNTED);
    int failure = 0;
    PCRE2_SIZE place = 0;
    *code = pcre2_compile((PCRE2_SPTR)expression->data, expression->n, options, &failure, &place, context);
    pcre2_compile_context_free(context);
    if (*code == NULL) {
        char reason[160];
        if (pcre2_get_error_message(failure, (PCRE2_UCHAR *)reason, sizeof reason) < 0) {
            reason[0] = '\0';
        }
        return qa_fail(err, QA_ERR_UNSUPPORTED, "the regular expression \"%s\" cannot be used: %s",
                       QA_SHOWN_LONG(source, source_n), reason);
    }
    qa_counted_prepare(*code);
    return QA_OK;
}

qa_status qa_pattern_regex(qa_pattern **pattern, const char *regex, size_t n, qa_error *err) {
    qa_text expression = {0};
    qa_status status = QA_OK;
    *pattern = NULL;
    QA_GOTO(out, create(pattern, regex, n, err));
    QA_GOTO(out, qa_text_append(&expression, "", 0, err));
    QA_GOTO(out, qa_pattern_translate(regex, n, &expression, err));
    QA_GOTO(out, compile_pattern(&(*pattern)->code, &expression, regex, n, err));
out:
    if (status != QA_OK) {
        qa_pattern_free(*pattern);
        *pattern = NULL;
    }
    qa_text_free(&expression);
    return status;
}

long qa_pattern_single(const qa_pattern *pattern) {
    size_t at = 0;
    if (pattern->code != NULL) {
        return -1;
    }
    uint32_t code = qa_utf8_next(pattern->source.data, &at);
    return at == pattern->source.n ? (long)code : -1;
}

qa_status qa_spans_push(qa_spans *spans, size_t start, size_t end, bool match, qa_error *err) {
    QA_TRY(QA_GROW(spans->data, spans->capacity, spans->n + 1, err, "%zu pieces of text", spans->n + 1));
    spans->data[spans->n++] = (qa_stretch){.start = start, .end = end, .match = match};
    return QA_OK;
}

void qa_match_scratch_free(qa_match_scratch *scratch) {
    pcre2_match_data_free(scratch->data);
    pcre2_match_context_free(scratch->context);
    free(scratch->spans.data);
    memset(scratch, 0, sizeof *scratch);
}

/* ---- searching ---- */

static qa_status prepare(qa_match_scratch *scratch, qa_error *err) {
    if (scratch->data == NULL) {
        scratch->data = pcre2_match_data_create(1, NULL);
    }
    if (scratch->context == NULL) {
        scratch->context = pcre2_match_context_create(NULL);
    }
    if (scratch->data == NULL || scratch->context == NULL) {
        return QA_NO_MEMORY(err, "matching a regular expression");
    }
    (void)pcre2_set_match_limit(scratch->context, MATCH_STEPS);
    (void)pcre2_set_heap_limit(scratch->context, HEAP_KIBIBYTES);
    return QA_OK;
}

/* The first match at or after text[from]; *found tells whether there is one. */
static qa_status search_text(const qa_pattern *pattern, qa_match_scratch *scratch, qa_text_work *work, const char *text,
                             size_t n, size_t from, bool *found, qa_stretch *span, qa_error *err) {
    const int result =
        qa_counted_match(pattern->code, text, n, from, PCRE2_NO_UTF_CHECK, scratch->data, scratch->context, work);
    *found = result >= 0;
    if (result == PCRE2_ERROR_NOMATCH) {
        return QA_OK;
    }
    if (result < 0) {
        const char *shown = QA_SHOWN_LONG(pattern->source.data, pattern->source.n);
        QA_FAIL_IF(result == PCRE2_ERROR_NOMEMORY, err, QA_ERR_MEMORY, "out of memory while matching \"%s\"", shown);
        return qa_fail(
            err, QA_ERR_LIMIT,
            "the regular expression \"%s\" takes too much work at byte %zu of a text of %zu (PCRE2 error %d)", shown,
            from, n, result);
    }
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(scratch->data);
    *span = (qa_stretch){.start = ends[0], .end = ends[1], .match = true};
    QA_FAIL_IF(span->start < from || span->end < span->start || span->end > n, err, QA_ERR_UNSUPPORTED,
               "a regular expression matched backwards");
    return QA_OK;
}

static bool search_literal(const qa_text *literal, const char *text, size_t n, size_t from, qa_stretch *span) {
    while (from < n && n - from >= literal->n) {
        const char *first = memchr(text + from, literal->data[0], n - from - literal->n + 1);
        if (first == NULL) {
            return false;
        }
        size_t start = (size_t)(first - text);
        if (memcmp(first, literal->data, literal->n) == 0) {
            *span = (qa_stretch){.start = start, .end = start + literal->n, .match = true};
            return true;
        }
        from = start + 1;
    }
    return false;
}

qa_status qa_pattern_split(const qa_pattern *pattern, qa_match_scratch *scratch, const char *text, size_t n,
                           qa_error *err) {
    qa_spans *spans = &scratch->spans;
    qa_text_work own = qa_text_work_of(n);
    qa_text_work *work = scratch->work != NULL ? scratch->work : &own;
    spans->n = 0;
    QA_TRY(prepare(scratch, err));
    size_t done = 0; /* everything before is in spans */
    size_t from = 0;
    bool after_match = false;
    while (n > 0 && from <= n) {
        qa_stretch span = {0};
        bool found = false;
        if (pattern->code == NULL) {
            found = search_literal(&pattern->source, text, n, from, &span);
        } else {
            QA_TRY(search_text(pattern, scratch, work, text, n, from, &found, &span, err));
        }
        if (!found) {
            break;
        }
        if (span.start == span.end && after_match && span.start == done) {
            /* An empty match right after a match does not count: go on one character further. */
            if (from == n) {
                break;
            }
            (void)qa_utf8_next(text, &from);
            continue;
        }
        if (span.start > done) {
            QA_TRY(qa_spans_push(spans, done, span.start, false, err));
        }
        QA_TRY(qa_spans_push(spans, span.start, span.end, true, err));
        done = from = span.end;
        after_match = true;
    }
    return done < n ? qa_spans_push(spans, done, n, false, err) : QA_OK;
}

qa_status qa_pattern_replace(const qa_pattern *pattern, qa_match_scratch *scratch, const char *text, size_t n,
                             const char *with, size_t with_n, size_t most, qa_text *out, qa_error *err) {
    QA_TRY(qa_pattern_split(pattern, scratch, text, n, err));
    for (size_t i = 0; i < scratch->spans.n; i++) {
        const qa_stretch *span = &scratch->spans.data[i];
        const size_t bytes = span->match ? with_n : span->end - span->start;
        QA_FAIL_IF(bytes > most, err, QA_ERR_LIMIT,
                   "replacing a pattern by %zu bytes makes a text of %zu bytes too long", with_n, n);
        most -= bytes;
        QA_TRY(qa_text_append(out, span->match ? with : text + span->start, bytes, err));
    }
    return QA_OK;
}
