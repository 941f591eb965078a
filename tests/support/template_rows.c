/* See template_rows.h. */
#include "support/template_rows.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char VARIABLES[] =
    "{\"messages\": [{\"role\": \"system\", \"content\": \"Be kind.\"}, {\"role\": \"user\", \"content\": \"Hi t"
    "here, Ünïcödé ß ﬁ\"}, {\"role\": \"assistant\", \"content\": \"<think>x</think>\\n\\nHello\\n  world\""
    ", \"tool_calls\": [{\"function\": {\"name\": \"f\", \"arguments\": {\"a\": 1, \"b\": [1, 2.5, null, true"
    ", \"x\\\"y\\\\z\\n\"]}}}]}], \"tools\": null, \"documents\": null, \"n\": 5, \"f\": 2.5, \"neg\": -7, \"s\": "
    "\"hello World\", \"e\": \"\", \"l\": [3, 1, 2], \"d\": {\"b\": 1, \"a\": \"Z\", \"c\": [1, 2], \"items\": \"I\"}"
    ", \"t\": true, \"fa\": false, \"nn\": null, \"mixed\": [\"b\", \"A\", \"c\", \"B\"], \"nested\": [[1, 2], [3"
    ", 4]], \"people\": [{\"name\": \"Bob\", \"age\": 3, \"x\": {\"y\": 1}}, {\"name\": \"alice\", \"age\": 30, \""
    "x\": {\"y\": 0}}, {\"name\": \"Carl\", \"age\": 3}], \"big\": 9007199254740993, \"tab\": \"a\\tb\\nc\", \"u\""
    ": \"日本語テキスト\", \"empty\": [], \"ed\": {}, \"add_generation_prompt\": true, \"bos_token\": \"<s>\"}";

json_t *qa_template_row_variables(void) {
    json_t *variables = json_loads(VARIABLES, 0, NULL);
    ck_assert_ptr_nonnull(variables);
    return variables;
}

static qa_row_outcome render_row(const qa_template_row *row, const json_t *variables, bool print, qa_text *out,
                                 char message[QA_MESSAGE_BYTES]) {
    const qa_template_options options = {
        .date = {.tm_year = 126, .tm_mon = 10, .tm_mday = 30, .tm_wday = 1, .tm_yday = 333}};
    qa_template *parsed = NULL;
    qa_template_result result = {0};
    qa_error err = {0};
    const size_t bytes = strlen(row->source) + 16;
    char *source = malloc(bytes);
    ck_assert_ptr_nonnull(source);
    (void)snprintf(source, bytes, print ? "{{ %s }}" : "%s", row->source);
    const qa_status status = qa_template_parse(&parsed, source, strlen(source), "row", &err);
    free(source);
    (void)snprintf(message, QA_MESSAGE_BYTES, "%s", err.message);
    if (status != QA_OK) {
        return QA_ROW_UNPARSED;
    }
    ck_assert_msg(qa_template_render(parsed, variables, &options, out, &result, &err) == QA_OK, "%s", err.message);
    (void)snprintf(message, QA_MESSAGE_BYTES, "%s", result.message);
    const qa_template_outcome outcome = result.outcome;
    qa_template_result_free(&result);
    qa_template_free(parsed);
    return outcome == QA_TEMPLATE_TEXT ? QA_ROW_TEXT : outcome == QA_TEMPLATE_RAISED ? QA_ROW_RAISED : QA_ROW_ERROR;
}

void qa_check_template_rows(const qa_template_row *rows, size_t n, bool print) {
    json_t *variables = qa_template_row_variables();
    size_t wrong = 0;
    for (size_t i = 0; i < n; i++) {
        char message[QA_MESSAGE_BYTES];
        qa_text out = {0};
        const qa_row_outcome outcome = render_row(&rows[i], variables, print, &out, message);
        const char *text = outcome != QA_ROW_TEXT ? message : out.n > 0 ? out.data : "";
        const bool compared = outcome == QA_ROW_TEXT || outcome == QA_ROW_RAISED;
        if (outcome != rows[i].outcome || (compared && strcmp(text, rows[i].expected) != 0)) {
            (void)fprintf(stderr, "row %zu: %s\n  expected %d [%s]\n  got %d [%s]\n", i, rows[i].source,
                          (int)rows[i].outcome, rows[i].expected, (int)outcome, text);
            wrong++;
        }
        qa_text_free(&out);
    }
    json_decref(variables);
    ck_assert_uint_eq(wrong, 0);
}
