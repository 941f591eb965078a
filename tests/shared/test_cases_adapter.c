/* Adapters in the forms that PEFT and other programs write, beside PEFT's own numbers. */
#include "shared/shared.h"
#include "support/cli.h"
#include "support/cli_json.h"

#include <check.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *shared_cases_adapter_suite(void);

static void in_cases(char *path, size_t bytes, const char *name) {
    (void)snprintf(path, bytes, "%s/cases/%s", shared_folder(), name);
}

static void same_log_pi(const json_t *side, const json_t *expected, const char *what) {
    ck_assert_uint_eq(qa_json_length(side, "log_pi"), json_array_size(expected));
    for (size_t i = 0; i < json_array_size(expected); i++) {
        const double right = json_number_value(json_array_get(expected, i)), found = qa_json_at(side, "log_pi", i);
        ck_assert_msg(found - right <= 3e-5 && right - found <= 3e-5, "%s, token %zu: %.7g, PEFT %.7g", what, i, found,
                      right);
    }
}

static const char *const forms[] = {"all-linear",
                                    "full-names-one-layer",
                                    "paths",
                                    "pattern",
                                    "pattern-one-layer",
                                    "names-not-there",
                                    "layers-to-transform",
                                    "layer-as-a-number",
                                    "exclude-modules",
                                    "rank-pattern",
                                    "alpha-pattern-rslora",
                                    "eva"};

START_TEST(adapter_forms_of_peft) {
    char folder[1024], model[1100], adapter[1100], pairs[1100], path[1100];
    in_cases(folder, sizeof folder, "peers/adapter-forms-of-peft");
    (void)snprintf(model, sizeof model, "%s/model", folder);
    (void)snprintf(adapter, sizeof adapter, "%s/%s", folder, forms[_i]);
    (void)snprintf(pairs, sizeof pairs, "%s/pairs.jsonl", folder);
    (void)snprintf(path, sizeof path, "%s/expected.json", folder);
    json_t *expected = json_load_file(path, 0, NULL);
    const json_t *right = json_object_get(expected, forms[_i]);
    qa_cli_lines lines = QA_CLI_LINES("score", "-q", "--model", model, "--adapter", adapter, "--data", pairs,
                                      "--objective", "theory", "--q-parametrisation", "logits", "--alpha-0", "0");
    ck_assert_uint_eq(lines.n, 1);
    for (int side = 0; side < 2; side++) {
        const char *name = side == 0 ? "chosen" : "rejected";
        same_log_pi(json_object_get(lines.line[0], name), json_object_get(right, name), forms[_i]);
    }
    qa_cli_lines_free(&lines);
    json_decref(expected);
}
END_TEST

/* Both spellings are read, and are the same adapter. */
START_TEST(adapter_names_of_other_writers) {
    char folder[1024], model[1100], adapter[1100], pairs[1100];
    in_cases(folder, sizeof folder, "reports/adapter-names-of-other-writers");
    in_cases(pairs, sizeof pairs, "reports/init-lora-ga/pairs.jsonl");
    (void)snprintf(model, sizeof model, "%s/model", folder);
    char *out[2];
    for (int i = 0; i < 2; i++) {
        (void)snprintf(adapter, sizeof adapter, "%s/%s", folder, i == 0 ? "orig_mod" : "default");
        out[i] = QA_CLI_OUTPUT("score", "-q", "--model", model, "--adapter", adapter, "--data", pairs);
    }
    ck_assert_str_eq(out[0], out[1]);
    free(out[0]);
    free(out[1]);
}
END_TEST

static const struct refused {
    const char *folder, *message; /* message NULL: read */
} refused[] = {{"reports/adapter-as-bin", "adapter_model.bin, which is not read"},
               {"reports/init-lora-ga", "init_lora_weights \"lora_ga\""},
               {"reports/target-modules-with-a-path", NULL}};

START_TEST(adapters_of_reports) {
    char folder[1024], model[1100], adapter[1100];
    in_cases(folder, sizeof folder, refused[_i].folder);
    (void)snprintf(model, sizeof model, "%s/model", folder);
    (void)snprintf(adapter, sizeof adapter, "%s/adapter", folder);
    qa_cli_expect(QA_CLI("info", "--model", model, "--adapter", adapter), refused[_i].message == NULL ? 0 : 1, NULL,
                  refused[_i].message);
}
END_TEST

/* Softmax of the adapted logits, as PEFT has it. */
START_TEST(plain_adapter_without_a_record) {
    char folder[1024], adapter[1100], pairs[1100], path[1100];
    in_cases(folder, sizeof folder, "peers/plain-adapter-without-a-record");
    (void)snprintf(adapter, sizeof adapter, "%s/adapter", folder);
    (void)snprintf(pairs, sizeof pairs, "%s/pairs.jsonl", folder);
    (void)snprintf(path, sizeof path, "%s/expected.json", folder);
    json_t *expected = json_load_file(path, 0, NULL);
    const json_t *right = json_object_iter_value(json_object_iter(expected));
    qa_cli_lines lines = QA_CLI_LINES("score", "--model", "weights/village/model", "--adapter", adapter, "--data",
                                      pairs, "--objective", "theory");
    ck_assert_uint_eq(2 * lines.n, json_array_size(right));
    for (size_t i = 0; i < 2 * lines.n; i++) {
        same_log_pi(json_object_get(lines.line[i / 2], i % 2 == 0 ? "chosen" : "rejected"), json_array_get(right, i),
                    "plain");
    }
    qa_cli_lines_free(&lines);
    json_decref(expected);
}
END_TEST

START_TEST(skipped) { (void)fprintf(stderr, "shared/cases/peers or $QA_BIN not found: these tests are skipped\n"); }
END_TEST

Suite *shared_cases_adapter_suite(void) {
    Suite *suite = suite_create("shared_cases_adapter");
    TCase *tcase = tcase_create("adapter");
    if (shared_can_run("cases/peers/adapter-forms-of-peft/expected.json")) {
        tcase_add_loop_test(tcase, adapter_forms_of_peft, 0, (int)(sizeof forms / sizeof *forms));
        tcase_add_test(tcase, plain_adapter_without_a_record);
        tcase_add_test(tcase, adapter_names_of_other_writers);
        tcase_add_loop_test(tcase, adapters_of_reports, 0, (int)(sizeof refused / sizeof *refused));
    } else {
        tcase_add_test(tcase, skipped);
    }
    suite_add_tcase(suite, tcase);
    return suite;
}
