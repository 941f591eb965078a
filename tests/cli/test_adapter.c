/* How an adapter is read: by its record, by --method, as a plain one; and that it meets its own base model. */
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"
#include "support/tiny_model.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void record(const qa_cli_world *world, const char *text) {
    free(qa_tempdir_write_text(world->adapter, "training_config.json", text));
}

static json_t *evaluation(const qa_cli_world *world, const char *option, const char *value, const char *more,
                          const char *number) {
    return QA_CLI_JSON("eval", "--json", "-q", "-m", world->model, "--adapter", world->adapter, "-d", world->pairs,
                       option, value, more, number);
}

/* An adapter without a record is a policy of its own; --method and a record of two keys say the same things. */
START_TEST(a_plain_adapter_without_a_record) {
    qa_cli_world world = qa_cli_world_make(true);
    char *path = qa_tempdir_join(world.adapter, "training_config.json");
    ck_assert_int_eq(unlink(path), 0);
    json_t *plain = evaluation(&world, NULL, NULL, NULL, NULL);
    json_t *sft = evaluation(&world, "--method", "sft", NULL, NULL);
    json_t *dpo = evaluation(&world, "--method", "dpo", "--dpo-beta", "0.3");
    json_t *residual = evaluation(&world, "--method", "qadapter", "--recipe", "theory");
    record(&world, "{\"method\": \"dpo\", \"dpo_beta\": 0.3}");
    json_t *recorded = evaluation(&world, NULL, NULL, NULL, NULL);
    ck_assert_str_eq(qa_json_text(plain, "method"), "sft");
    ck_assert_double_eq(qa_json_number(plain, "margin_mean"), qa_json_number(sft, "margin_mean"));
    ck_assert_str_eq(qa_json_text(recorded, "method"), "dpo");
    ck_assert_double_eq(qa_json_number(recorded, "margin_mean"), qa_json_number(dpo, "margin_mean"));
    ck_assert_double_eq_tol(qa_json_number(dpo, "margin_mean"), 0.3 * qa_json_number(plain, "margin_mean"), 1e-6);
    /* the recipe theory's policy is softmax(adapted logits), too */
    ck_assert_str_eq(qa_json_text(residual, "method"), "qadapter");
    ck_assert_double_eq_tol(qa_json_number(residual, "nll_custom_chosen"), qa_json_number(plain, "nll_custom_chosen"),
                            1e-5);
    json_t *all[] = {plain, sft, dpo, residual, recorded};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        json_decref(all[i]);
    }
    free(path);
    qa_cli_world_free(&world);
}
END_TEST

/* The file with its first `from` replaced. */
static void edit(const char *dir, const char *name, const char *from, const char *to) {
    char *path = qa_tempdir_join(dir, name), *text = qa_tempdir_read(path, NULL);
    char *at = strstr(text, from);
    ck_assert_msg(at != NULL, "%s: no %s", path, from);
    const size_t bytes = strlen(text) + strlen(to) + 1;
    char *edited = malloc(bytes);
    ck_assert_ptr_nonnull(edited);
    (void)snprintf(edited, bytes, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    free(qa_tempdir_write_text(dir, name, edited));
    free(edited);
    free(text);
    free(path);
}

/* The record of a run that says less than it did, or something else than the files beside it. */
START_TEST(a_record_and_what_stands_beside_it) {
    qa_cli_world world = qa_cli_world_make(true);
    char *path = qa_tempdir_join(world.adapter, "training_config.json"), *whole = qa_tempdir_read(path, NULL);
#define EVAL(...) QA_CLI("eval", "-q", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs, __VA_ARGS__)
    edit(world.adapter, "training_config.json", "base_fingerprint", "no_fingerprint");
    qa_cli_expect(EVAL("-q"), 0, NULL, "has no fingerprint of the base model: whether ");
    qa_cli_result quiet = EVAL("--any-base");
    qa_cli_check(&quiet, 0, NULL, NULL);
    ck_assert_str_eq(quiet.err, "");
    qa_cli_free(&quiet);
    record(&world, whole);
    edit(world.adapter, "training_config.json", "\"base_fingerprint\": \"", "\"base_fingerprint\": \"g");
    qa_cli_expect(EVAL("-q"), 1, NULL, "training_config.json: \"base_fingerprint\" is no fingerprint");
    record(&world, whole);
    edit(world.adapter, "adapter_config.json", "\"lora_alpha\": ", "\"lora_alpha\": 1");
    qa_cli_expect(EVAL("-q"), 0, NULL, "but training_config.json, the record of its training, ");
    edit(world.adapter, "adapter_config.json", "\"lora_alpha\": 1", "\"lora_alpha\": ");
    quiet = EVAL("-q");
    qa_cli_check(&quiet, 0, NULL, NULL);
    ck_assert_str_eq(quiet.err, "");
    qa_cli_free(&quiet);
    /* tensors that do not fit, of another model's adapter */
    record(&world, "{\"method\": \"sft\", \"base_fingerprint\": "
                   "\"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\"}");
    edit(world.adapter, "adapter_config.json", "\"r\": ", "\"r\": 1");
    qa_cli_expect(EVAL("-q"), 1, NULL, "is another model: ");
    record(&world, whole);
    qa_cli_expect(EVAL("-q"), 1, NULL, "has shape [");
    edit(world.adapter, "adapter_config.json", "\"r\": 1", "\"r\": ");
    edit(world.model, "tokenizer.json", "{", "{ ");
    qa_cli_expect(EVAL("-q"), 0, NULL, "are not those that ");
    qa_cli_expect(
        QA_CLI("train", "-q", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--steps", "3", "--resume"), 1,
        NULL, "cannot resume: ");
#undef EVAL
    free(whole);
    free(path);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(what_contradicts_is_wrong_usage) {
    qa_cli_world world = qa_cli_world_make(true);
    char *path = qa_tempdir_join(world.adapter, "training_config.json");
#define EVAL(...) QA_CLI("eval", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs, __VA_ARGS__)
    qa_cli_expect(EVAL("--method", "dpo"), 0, NULL, "was trained with method qadapter");
    qa_cli_expect(EVAL("--method", "sft", "--alpha-0", "1"), 2, NULL, "--alpha-0 belongs to --method qadapter");
    qa_cli_expect(EVAL("--method", "dpo", "--recipe", "theory"), 2, NULL, "--recipe belongs to --method qadapter");
    qa_cli_expect(EVAL("--dpo-beta", "0.2"), 2, NULL, "--dpo-beta belongs to --method dpo, not to qadapter");
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "-d", world.pairs, "--method", "sft"), 2, NULL, "give --adapter");
    record(&world, "{\"method\": \"dpo\"}");
    qa_cli_expect(EVAL("-q"), 1, NULL, "\"dpo_beta\" is missing");
    record(&world, "{\"dpo_beta\": 0.3}");
    qa_cli_expect(EVAL("-q"), 1, NULL, "\"alpha_tilde\" is missing: the record of a Q-Adapter holds");
    record(&world, "{\"method\": \"sft\", \"alpha_0\": 0.5}");
    qa_cli_expect(EVAL("-q"), 1, NULL, "its policy is softmax(adapted logits)");
    ck_assert_int_eq(unlink(path), 0);
    qa_cli_expect(EVAL("--alpha-0", "0.5"), 2, NULL, "add --recipe theory or --recipe published");
    qa_cli_expect(EVAL("--recipe", "theory", "--alpha-0", "0.5"), 0, NULL, NULL);
#undef EVAL
    free(path);
    qa_cli_world_free(&world);
}
END_TEST

/* eval, score, generate and info ask whether the model is the one that the adapter was trained on. */
START_TEST(another_base_model_is_refused) {
    qa_cli_world world = qa_cli_world_make(true);
    char *path = qa_tempdir_join(world.model, "model.safetensors");
    size_t bytes = 0;
    char *weights = qa_tempdir_read(path, &bytes);
    qa_cli_expect(QA_CLI("info", "-m", world.model, "--adapter", world.adapter), 0, "softmax(adapted logits)", NULL);
    weights[bytes - 1] = (char)(weights[bytes - 1] ^ 1); /* one weight, hardly */
    free(qa_tempdir_write(world.model, "model.safetensors", weights, bytes));
    const char *const commands[][8] = {{"info", NULL},
                                       {"eval", "-d", world.pairs, NULL},
                                       {"score", "-d", world.pairs, NULL},
                                       {"generate", "--ids", "5", "-n", "2", NULL}};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const char *args[16] = {commands[i][0], "-m", world.model, "--adapter", world.adapter};
        size_t n = 5;
        for (size_t j = 1; commands[i][j] != NULL; j++) {
            args[n++] = commands[i][j];
        }
        qa_cli_expect(qa_cli_run(NULL, args), 1, NULL, "is another model");
        args[n] = "--any-base";
        qa_cli_expect(qa_cli_run(NULL, args), 0, NULL, "warning: --any-base");
    }
    free(weights);
    free(path);
    qa_cli_world_free(&world);
}
END_TEST

/* Without a fingerprint the name in adapter_config.json is all there is. */
START_TEST(the_name_of_another_base_model_is_a_warning) {
    qa_cli_world world = qa_cli_world_make(true);
    char *other = qa_tempdir_join(world.dir, "other");
    char *config = qa_tempdir_join(world.adapter, "adapter_config.json"), *text = qa_tempdir_read(config, NULL);
    char *at = strstr(text, world.model);
    ck_assert_ptr_nonnull(at);
    char *named = malloc(strlen(text) + strlen(world.dir) + 16);
    ck_assert_ptr_nonnull(named);
    record(&world, "{\"method\": \"sft\"}");
    qa_cli_result result = QA_CLI("info", "-m", world.model, "--adapter", world.adapter);
    ck_assert_msg(result.status == 0 && strstr(result.err, "warning") == NULL, "%s", result.err);
    qa_cli_free(&result);
    (void)sprintf(named, "%.*s%s%s", (int)(at - text), text, world.dir, at + strlen(world.model));
    free(qa_tempdir_write_text(world.adapter, "adapter_config.json", named)); /* a folder that is there */
    qa_cli_expect(QA_CLI("info", "-m", world.model, "--adapter", world.adapter), 0, NULL,
                  "has no fingerprint of it: whether");
    free(named);
    free(text);
    free(config);
    free(other);
    qa_cli_world_free(&world);
}
END_TEST

/* The folder is whole: a tokenizer, and a card that says what the policy is. */
START_TEST(the_folder_has_a_tokenizer_and_a_card) {
    qa_cli_world world = qa_cli_world_make(true);
    char *card = qa_tempdir_join(world.adapter, "README.md"), *text = qa_tempdir_read(card, NULL);
    char *paths[2] = {qa_tempdir_join(world.model, "tokenizer.json"), qa_tempdir_join(world.adapter, "tokenizer.json")};
    char *tokenizers[2] = {qa_tempdir_read(paths[0], NULL), qa_tempdir_read(paths[1], NULL)};
    ck_assert_str_eq(tokenizers[0], tokenizers[1]);
    ck_assert_msg(strncmp(text, "---\nlibrary_name: peft\n", 23) == 0, "%s", text);
    ck_assert_msg(strstr(text, "it is a plain LoRA adapter") != NULL, "%s", text);
    free(text);
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--steps", "1", "--recipe",
                         "published", "--overwrite"),
                  0, NULL, NULL);
    text = qa_tempdir_read(card, NULL);
    ck_assert_msg(strstr(text, "Loaded as a plain LoRA adapter it is not the customised model") != NULL, "%s", text);
    ck_assert_msg(strstr(text, "alpha_0 0.01") != NULL, "%s", text);
    free(text);
    free(qa_tempdir_write_text(world.adapter, "README.md", "somebody's own\n"));
    qa_cli_expect(
        QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", world.adapter, "--steps", "1", "--overwrite"), 0,
        NULL, NULL);
    text = qa_tempdir_read(card, NULL);
    ck_assert_str_eq(text, "somebody's own\n");
    for (size_t i = 0; i < 2; i++) {
        free(paths[i]);
        free(tokenizers[i]);
    }
    free(text);
    free(card);
    qa_cli_world_free(&world);
}
END_TEST

Suite *cli_adapter_suite(void);
Suite *cli_adapter_suite(void) {
    Suite *suite = suite_create("cli_adapter");
    TCase *tcase = tcase_create("adapter");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, a_plain_adapter_without_a_record);
    tcase_add_test(tcase, a_record_and_what_stands_beside_it);
    tcase_add_test(tcase, what_contradicts_is_wrong_usage);
    tcase_add_test(tcase, the_folder_has_a_tokenizer_and_a_card);
    tcase_add_test(tcase, another_base_model_is_refused);
    tcase_add_test(tcase, the_name_of_another_base_model_is_a_warning);
    suite_add_tcase(suite, tcase);
    return suite;
}
