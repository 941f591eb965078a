/* See regex.h. */
#include "suite/regex.h"

#include "base/checked.h"
#include "text/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>

struct qa_regex {
    pcre2_code *code;
};

/* Steps of backtracking from one starting place: an honest expression needs a few per character, one that doubles its
 * work with every character is stopped within a fraction of a second. */
enum { MATCH_STEPS = 300000, HEAP_KIBIBYTES = 64 * 1024 };

qa_status qa_regex_create(qa_regex **regex, const char *expression, size_t n, qa_error *err) {
    int failure = 0;
    PCRE2_SIZE place = 0;
    *regex = qa_alloc_array(1, sizeof **regex);
    if (*regex == NULL) {
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for a regular expression");
    }
    (*regex)->code = pcre2_compile((PCRE2_SPTR)expression, n, PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &failure,
                                   &place, NULL);
    if ((*regex)->code == NULL) {
        char reason[160] = "";
        char shown[160];
        if (pcre2_get_error_message(failure, (PCRE2_UCHAR *)reason, sizeof reason) < 0) {
            reason[0] = '\0';
        }
        free(*regex);
        *regex = NULL;
        return qa_fail(err, QA_ERR_FORMAT, "the regular expression \"%s\" does not compile: %s, at byte %zu",
                       qa_utf8_valid(expression, n, &(size_t){0}) ? qa_printable(shown, sizeof shown, expression, n)
                                                                  : "(not UTF-8)",
                       reason, (size_t)place);
    }
    /* Where there is no just-in-time compiler, matching is interpreted. */
    (void)pcre2_jit_compile((*regex)->code, PCRE2_JIT_COMPLETE);
    return QA_OK;
}

void qa_regex_free(qa_regex *regex) {
    if (regex != NULL) {
        pcre2_code_free(regex->code);
        free(regex);
    }
}

bool qa_regex_matches(const qa_regex *regex, const char *text, size_t n) {
    bool found = false;
    pcre2_match_data *data = pcre2_match_data_create(1, NULL);
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    if (data != NULL && context != NULL) {
        (void)pcre2_set_match_limit(context, MATCH_STEPS);
        (void)pcre2_set_heap_limit(context, HEAP_KIBIBYTES);
        PCRE2_SPTR subject = (PCRE2_SPTR)(n == 0 ? "" : text);
        int result = pcre2_match(regex->code, subject, n, 0, 0, data, context);
        if (result == PCRE2_ERROR_JIT_STACKLIMIT) { /* the interpreter keeps its state on the heap */
            result = pcre2_match(regex->code, subject, n, 0, PCRE2_NO_JIT, data, context);
        }
        found = result >= 0;
    }
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
    return found;
}
