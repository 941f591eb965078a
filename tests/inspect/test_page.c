/* The page of a server and what it asks for: the content security policy names the digests of the very script and style
 * that stand in it, names of models stay data, and an answer's rows are those of the inspector. (The file of pairs:
 * tests/cli/test_score_page.c; the page in a browser: tools/page_check.) */
#include "inspect/page.h"

#include "base/base64.h"
#include "base/sha256.h"
#include "inspect/rows.h"
#include "support/training.h"

#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

Suite *inspect_page_suite(void);

enum { N_PROMPT = 4, N_ANSWER = 3 };
static const int32_t prompt_ids[N_PROMPT] = {1, 7, 12, 5};
static const int32_t answer_ids[N_ANSWER] = {3, 8, 2};

/* The text between two tags (the caller's). */
static char *between_tags(const char *html, const char *open, const char *close) {
    const char *begin = strstr(html, open);
    ck_assert_ptr_nonnull(begin);
    begin += strlen(open);
    const char *end = strstr(begin, close);
    ck_assert_ptr_nonnull(end);
    char *text = strndup(begin, (size_t)(end - begin));
    ck_assert_ptr_nonnull(text);
    return text;
}

/* The policy lets what stands between the tags run, and the tags stand there once. */
static void expect_allowed(const char *html, const char *source, const char *open, const char *close) {
    char *text = between_tags(html, open, close);
    unsigned char digest[QA_SHA256_BYTES];
    qa_sha256 sha = qa_sha256_begin();
    qa_text allowed = {0};
    qa_error err = {0};
    qa_sha256_add(&sha, text, strlen(text));
    qa_sha256_end(&sha, digest);
    qa_expect_ok(qa_text_append_z(&allowed, source, &err), &err);
    qa_expect_ok(qa_text_append_z(&allowed, " 'sha256-", &err), &err);
    qa_expect_ok(qa_base64_append(&allowed, digest, sizeof digest, &err), &err);
    qa_expect_ok(qa_text_append_z(&allowed, "';", &err), &err);
    ck_assert_ptr_nonnull(strstr(html, allowed.data));
    ck_assert_ptr_null(strstr(strstr(html, open) + 1, open));
    ck_assert_ptr_null(strstr(html, "unsafe-"));
    qa_text_free(&allowed);
    free(text);
}

START_TEST(the_policy_allows_the_pages_own_script_alone) {
    static const char *const names[] = {"custom", "</script><script>alert(1)</script>"};
    const qa_objective objectives[] = {qa_objective_for_method(QA_METHOD_QADAPTER),
                                       qa_objective_for_method(QA_METHOD_DPO)};
    qa_text html = {0};
    qa_error err = {0};
    qa_expect_ok(qa_page_served(&html, names, objectives, 2, &err), &err);
    expect_allowed(html.data, "script-src", "<script>", "</script>");
    expect_allowed(html.data, "style-src", "<style>", "</style>");
    ck_assert_ptr_nonnull(strstr(html.data, "connect-src 'self';"));
    ck_assert_ptr_nonnull(strstr(html.data, "default-src 'none';"));
    ck_assert_ptr_null(strstr(html.data, "alert(1)</script>"));
    ck_assert_ptr_null(strstr(html.data, "innerHTML"));
    char *text = between_tags(html.data, "<script id=\"data\" type=\"application/json\">", "</script>");
    json_t *data = json_loads(text, 0, NULL);
    const json_t *policies = json_object_get(data, "policies");
    ck_assert_uint_eq(json_array_size(policies), 2);
    ck_assert_str_eq(json_string_value(json_object_get(json_array_get(policies, 1), "name")), names[1]);
    ck_assert_str_eq(
        json_string_value(json_object_get(json_object_get(json_array_get(policies, 1), "objective"), "method")), "dpo");
    json_decref(data);
    free(text);
    qa_text_free(&html);
}
END_TEST

/* Theory, published, the base model alone. */
START_TEST(an_answer_is_inspected_as_by_the_inspector) {
    const tiny_model_options model = tiny_model_defaults();
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture fixture = qa_fixture_open(&model, &lora, 1);
    const qa_objective objective = qa_training_objective(_i == 1 ? QA_PUBLISHED : QA_THEORY, QA_Q_LOGITS);
    const qa_objective *given = _i == 2 ? NULL : &objective;
    const qa_adapter *adapter = _i == 2 ? NULL : fixture.adapter;
    const qa_inspection_limits limits = {N_PROMPT, N_ANSWER, 3, false};
    qa_inspector *inspector = NULL;
    const qa_inspection *found = NULL;
    qa_text text = {0};
    qa_error err = {0};
    qa_expect_ok(qa_page_inspect(&text, fixture.model, adapter, given, NULL, prompt_ids, N_PROMPT, answer_ids, N_ANSWER,
                                 true, 3, &err),
                 &err);
    qa_expect_ok(qa_inspector_create(&inspector, fixture.model, adapter, given, limits, &err), &err);
    qa_expect_ok(qa_inspect(inspector, prompt_ids, N_PROMPT, answer_ids, N_ANSWER, true, &found, &err), &err);
    json_t *root = json_loadb(text.data, text.n, 0, NULL);
    ck_assert_ptr_nonnull(root);
    ck_assert_str_eq(json_string_value(json_object_get(json_object_get(root, "objective"), "kind")),
                     _i == 1 ? "published" : "theory");
    ck_assert_uint_eq(json_array_size(json_object_get(json_object_get(root, "prompt"), "ids")), N_PROMPT);
    ck_assert_double_eq(json_number_value(json_object_get(root, "return")), found->ret);
    for (size_t t = 0; t < N_ANSWER; t++) {
        const json_t *token = json_array_get(json_object_get(root, "tokens"), t);
        ck_assert_int_eq((int)json_integer_value(json_object_get(token, "id")), answer_ids[t]);
        ck_assert_double_eq(json_number_value(json_object_get(token, "log_pi")), found->rows[t].log_pi);
        ck_assert_uint_eq(json_array_size(json_object_get(token, "custom")), 3);
    }
    qa_expect_error(qa_page_inspect(&text, fixture.model, adapter, given, NULL, prompt_ids, N_PROMPT, (int32_t[]){29},
                                    1, true, 3, &err),
                    QA_ERR_ARGUMENT, &err, "29");
    json_decref(root);
    qa_text_free(&text);
    qa_inspector_free(inspector);
    qa_fixture_close(&fixture);
}
END_TEST

Suite *inspect_page_suite(void) {
    Suite *suite = suite_create("inspect_page");
    TCase *tcase = tcase_create("all");
    tcase_add_test(tcase, the_policy_allows_the_pages_own_script_alone);
    tcase_add_loop_test(tcase, an_answer_is_inspected_as_by_the_inspector, 0, 3);
    suite_add_tcase(suite, tcase);
    return suite;
}
