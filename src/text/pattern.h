/* Patterns of tokenizer.json: a literal string, or a regular expression.
 *
 * Expressions are written for Oniguruma (Ruby's syntax over UTF-8) and run by PCRE2. Where the two
 * read the same characters differently, the expression is rewritten (\s is White_Space, \w \d \h \b...) or
 * refused, never run with another meaning; see pattern_translate.c. One known difference remains: a
 * case-insensitive group matches character by character, so (?i:ss) does not match U+00DF. */
#ifndef QA_TEXT_PATTERN_H
#define QA_TEXT_PATTERN_H

#include "qadapter/buffer.h"
#include "qadapter/status.h"
#include "text/text_work.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct qa_pattern qa_pattern; /* immutable, shared by threads */

/* A literal of n > 0 bytes of UTF-8. */
QA_MUST_CHECK qa_status qa_pattern_literal(qa_pattern **pattern, const char *literal, size_t n, qa_error *err);
/* A regular expression of n bytes of UTF-8. QA_ERR_UNSUPPORTED, with the expression and the place in the
 * message, when it does not compile or means something that PCRE2 cannot do. */
QA_MUST_CHECK qa_status qa_pattern_regex(qa_pattern **pattern, const char *regex, size_t n, qa_error *err);
void qa_pattern_free(qa_pattern *pattern); /* NULL is allowed */

/* The literal's one code point, or -1 when the pattern is an expression or a longer literal. */
long qa_pattern_single(const qa_pattern *pattern);

/* A stretch of a text: one match, or what lies between two. */
typedef struct qa_stretch {
    size_t start, end; /* bytes */
    bool match;
} qa_stretch;

/* Growing array of spans. Zero-initialise; free data. */
typedef struct qa_spans {
    qa_stretch *data; /* [n] */
    size_t n, capacity;
} qa_spans;

QA_MUST_CHECK qa_status qa_spans_push(qa_spans *spans, size_t start, size_t end, bool match, qa_error *err);

/* What matching needs besides the pattern; one per call, reused between texts. Zero-initialise. */
typedef struct qa_match_scratch {
    void *data; /* PCRE2's match data and match context */
    void *context;
    qa_spans spans;
    qa_text_work *work; /* borrowed: the call's budget; NULL: every text has one of its own */
} qa_match_scratch;

void qa_match_scratch_free(qa_match_scratch *scratch);

/* Cuts text[n] (valid UTF-8) into matches and the stretches between them, in order and without gaps,
 * into scratch->spans. An empty match is reported unless it follows a match directly. An expression
 * that takes more than the call's budget is QA_ERR_LIMIT. */
QA_MUST_CHECK qa_status qa_pattern_split(const qa_pattern *pattern, qa_match_scratch *scratch, const char *text,
                                         size_t n, qa_error *err);

/* Appends text[n] with every match replaced by with[with_n]. When that makes more than `most` bytes: QA_ERR_LIMIT. */
QA_MUST_CHECK qa_status qa_pattern_replace(const qa_pattern *pattern, qa_match_scratch *scratch, const char *text,
                                           size_t n, const char *with, size_t with_n, size_t most, qa_text *out,
                                           qa_error *err);

#endif
