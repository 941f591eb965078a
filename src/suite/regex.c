/* See regex.h. */
#include "suite/regex.h"

#include "base/memory.h"
#include "base/try.h"
#include "text/counted_match.h"
#include "text/utf8.h"

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

struct qa_regex {
    pcre2_code *code;
    atomic_bool gave_up;
};

enum { HEAP_KIBIBYTES = 64 * 1024, MAX_REGEX_BYTES = 4096 };

qa_status qa_regex_create(qa_regex **regex, const char *expression, size_t n, qa_error *err) {
    int failure = 0;
    PCRE2_SIZE offset = 0;
    *regex = NULL;
    QA_FAIL_IF(n > MAX_REGEX_BYTES, err, QA_ERR_LIMIT,
               "a regular expression of %zu bytes is too long; at most %d are allowed", n, MAX_REGEX_BYTES);
    QA_TRY(QA_NEW(*regex, 1, err, "a regular expression"));
    (*regex)->code =
        pcre2_compile((PCRE2_SPTR)expression, n, PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C | QA_COUNTED, &failure,
                      &offset, NULL);
    if ((*regex)->code == NULL) {
        char reason[160] = "";
        if (pcre2_get_error_message(failure, (PCRE2_UCHAR *)reason, sizeof reason) < 0) {
            reason[0] = '\0';
        }
        free(*regex);
        *regex = NULL;
        return qa_fail(err, QA_ERR_FORMAT, "the regular expression \"%s\" does not compile: %s, at byte %zu",
                       qa_utf8_valid(expression, n, &(size_t){0}) ? QA_SHOWN_LONG(expression, n) : "(not UTF-8)",
                       reason, (size_t)offset);
    }
    qa_counted_prepare((*regex)->code);
    return QA_OK;
}

void qa_regex_free(qa_regex *regex) {
    if (regex != NULL) {
        pcre2_code_free(regex->code);
        free(regex);
    }
}

bool qa_regex_gave_up(const qa_regex *regex) { return atomic_load(&regex->gave_up); }

bool qa_regex_matches(const qa_regex *regex, const char *text, size_t n) {
    bool found = false;
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    if (data != NULL && context != NULL) {
        qa_text_work work = qa_text_work_of(n);
        (void)pcre2_set_heap_limit(context, HEAP_KIBIBYTES);
        const int result = qa_counted_match(regex->code, text, n, 0, 0, data, context, &work);
        found = result >= 0;
        if (result == PCRE2_ERROR_CALLOUT || result == PCRE2_ERROR_MATCHLIMIT || result == PCRE2_ERROR_HEAPLIMIT) {
            atomic_store(&((qa_regex *)(uintptr_t)regex)->gave_up, true); /* the one thing that changes in it */
        }
    }
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
    return found;
}
