/* Graders: whether a response is right. All of them compare texts; none of them runs anything. */
#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "qadapter/suite.h"
#include "suite/regex.h"
#include "text/utf8.h"

#include <stdlib.h>
#include <string.h>

struct qa_grader {
    qa_grader_kind kind;
    qa_text answer;  /* exact: without white space at its ends */
    uint32_t letter; /* choice */
    qa_regex *regex; /* regex */
};

static const char *const names[] = {[QA_GRADER_EXACT] = "exact",
                                    [QA_GRADER_CONTAINS] = "contains",
                                    [QA_GRADER_CHOICE] = "choice",
                                    [QA_GRADER_REGEX] = "regex"};

static qa_status kind_by_name(qa_grader_kind *kind, const char *name, qa_error *err) {
    for (int i = QA_GRADER_EXACT; i <= QA_GRADER_REGEX; i++) {
        if (strcmp(names[i], name) == 0) {
            *kind = (qa_grader_kind)i;
            return QA_OK;
        }
    }
    return qa_fail(err, QA_ERR_FORMAT, "\"grader\" is \"%.40s\"; it must be exact, contains, choice or regex", name);
}

static bool grader_is_letter(uint32_t code) { return code >= 'A' && code <= 'Z'; }

/* Checks the answer against its kind and takes it over. */
static qa_status take_graded_answer(qa_grader *grader, const char *answer, size_t n, qa_error *err) {
    size_t bad = 0;
    QA_FAIL_IF(!qa_utf8_valid(answer, n, &bad), err, QA_ERR_FORMAT, "\"answer\" is not UTF-8 at byte %zu", bad);
    if (grader->kind == QA_GRADER_EXACT || grader->kind == QA_GRADER_CHOICE) {
        qa_strip(&answer, &n);
    }
    QA_TRY(qa_text_append(&grader->answer, answer, n, err));
    if (grader->kind == QA_GRADER_CHOICE) {
        grader->letter = n == 1 ? (unsigned char)answer[0] : 0;
        QA_FAIL_IF(!grader_is_letter(grader->letter), err, QA_ERR_FORMAT,
                   "\"answer\" must be one letter A to Z for the grader choice, found %zu "
                   "bytes that are not",
                   n);
    } else if (grader->kind != QA_GRADER_EXACT && n == 0) {
        return qa_fail(err, QA_ERR_FORMAT, "\"answer\" is empty: the grader %s would accept every response",
                       names[grader->kind]);
    }
    return grader->kind == QA_GRADER_REGEX ? qa_regex_create(&grader->regex, answer, n, err) : QA_OK;
}

qa_status qa_grader_create(qa_grader **out, const char *kind, const char *answer, qa_error *err) {
    qa_grader_kind which = QA_GRADER_EXACT;
    *out = NULL;
    QA_TRY(kind_by_name(&which, kind, err));
    qa_grader *grader = NULL;
    QA_TRY(QA_NEW(grader, 1, err, "a grader"));
    grader->kind = which;
    const qa_status status = take_graded_answer(grader, answer, strlen(answer), err);
    if (status != QA_OK) {
        qa_grader_free(grader);
        return status;
    }
    *out = grader;
    return QA_OK;
}

void qa_grader_free(qa_grader *grader) {
    if (grader != NULL) {
        qa_regex_free(grader->regex);
        qa_text_free(&grader->answer);
        free(grader);
    }
}

static bool contains(const char *text, size_t n, const char *part, size_t part_n) {
    for (size_t at = 0; at + part_n <= n; at++) {
        const char *first = memchr(text + at, part[0], n - part_n + 1 - at);
        if (first == NULL) {
            return false;
        }
        at = (size_t)(first - text);
        if (memcmp(first, part, part_n) == 0) {
            return true;
        }
    }
    return false;
}

/* The last capital letter A..Z of text[n] (valid UTF-8) with no word character on either side; 0: none. */
static uint32_t last_letter(const char *text, size_t n) {
    uint32_t found = 0;
    bool after_word = false;
    for (size_t at = 0; at < n;) {
        const uint32_t code = qa_utf8_next(text, &at);
        size_t peek = at;
        if (grader_is_letter(code) && !after_word && (at == n || !qa_is_word(qa_utf8_next(text, &peek)))) {
            found = code;
        }
        after_word = qa_is_word(code);
    }
    return found;
}

bool qa_grader_accepts(const qa_grader *grader, const char *response, size_t bytes) {
    size_t bad = 0;
    if (bytes == 0) {
        response = "";
    }
    if (!qa_utf8_valid(response, bytes, &bad)) {
        return false;
    }
    switch (grader->kind) {
    case QA_GRADER_EXACT:
        qa_strip(&response, &bytes);
        return bytes == grader->answer.n && memcmp(response, grader->answer.data, bytes) == 0;
    case QA_GRADER_CONTAINS: return contains(response, bytes, grader->answer.data, grader->answer.n);
    case QA_GRADER_CHOICE: return last_letter(response, bytes) == grader->letter;
    case QA_GRADER_REGEX: return qa_regex_matches(grader->regex, response, bytes);
    }
    return false;
}

bool qa_grader_gave_up(const qa_grader *grader) {
    return grader->kind == QA_GRADER_REGEX && qa_regex_gave_up(grader->regex);
}
