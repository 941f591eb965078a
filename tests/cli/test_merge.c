/* qadapter merge: what is merged and what is refused, what is measured on, and that the folder is a model like any. */
#include "io/file.h"
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *cli_merge_suite(void);

#ifdef QA_F64
#define DTYPE "f64"
#define EXACT 1e-11
#else
#define DTYPE "f32"
#define EXACT 1e-4
#endif

/* The world's adapter of the recipe theory, merged; --json. */
static json_t *merge_world(const qa_cli_world *world, const char *out, const char *data) {
    return data == NULL ? QA_CLI_JSON("merge", "--json", "-m", world->model, "--adapter", world->adapter, "-o", out,
                                      "--dtype", DTYPE, "--overwrite")
                        : QA_CLI_JSON("merge", "--json", "-m", world->model, "--adapter", world->adapter, "-o", out,
                                      "--dtype", DTYPE, "--overwrite", "-d", data);
}

static double rounding_of(const json_t *merged, const char *key) {
    return qa_json_number(json_object_get(merged, "rounding"), key);
}

/* Pairs, texts, responses, documents, and what the policy writes itself. */
START_TEST(what_is_measured_on) {
    qa_cli_world world = qa_cli_world_make(true);
    char *out = qa_tempdir_join(world.dir, "merged");
    char *responses =
        qa_tempdir_write_text(world.dir, "responses.jsonl", "{\"prompt\": \"ab\", \"completion\": \"cdef\"}\n");
    char *documents = qa_tempdir_write_text(world.dir, "documents.jsonl", "{\"text\": \"some text\"}\n");
    const struct {
        const char *data;
        size_t responses;
    } rows[] = {{world.pairs, 12}, {world.texts, 8}, {responses, 1}, {documents, 1}, {NULL, 8}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        json_t *merged = merge_world(&world, out, rows[i].data);
        ck_assert_uint_eq((size_t)rounding_of(merged, "responses"), rows[i].responses);
        ck_assert_double_gt(rounding_of(merged, "tokens"), (double)rows[i].responses);
        ck_assert_double_le(rounding_of(merged, "largest_per_token"), EXACT);
        ck_assert_double_le(rounding_of(merged, "mean_per_token"), rounding_of(merged, "largest_per_token"));
        json_decref(merged);
    }
    char *bad = qa_tempdir_write_text(world.dir, "bad.jsonl", "{\"what\": 1}\n");
    qa_cli_expect(QA_CLI("merge", "-m", world.model, "--adapter", world.adapter, "-o", out, "-d", bad, "--overwrite"),
                  1, NULL, "bad.jsonl");
    ck_assert(qa_holds(out, "config.json")); /* the one before */
    free(bad);
    free(documents);
    free(responses);
    free(out);
    qa_cli_world_free(&world);
}
END_TEST

/* score of the merged model gives the composed policy's log-probabilities, and BF16 loses what it is said to lose. */
START_TEST(the_policy_is_the_composed_one) {
    qa_cli_world world = qa_cli_world_make(true);
    char *out = qa_tempdir_join(world.dir, "merged");
    for (int bf16 = 0; bf16 < 2; bf16++) {
        json_t *merged = QA_CLI_JSON("merge", "--json", "-m", world.model, "--adapter", world.adapter, "-o", out,
                                     "--dtype", bf16 == 0 ? DTYPE : "bfloat16", "--overwrite", "-d", world.pairs);
        qa_cli_lines composed = QA_CLI_LINES("score", "-m", world.model, "--adapter", world.adapter, "-d", world.pairs);
        qa_cli_lines alone = QA_CLI_LINES("score", "-m", out, "-d", world.pairs);
        double worst = 0, sum = 0, n = 0;
        ck_assert_uint_eq(composed.n, alone.n);
        for (size_t i = 0; i < alone.n; i++) {
            for (int s = 0; s < 2; s++) {
                const char *name = s == 0 ? "chosen" : "rejected";
                const json_t *a = json_object_get(composed.line[i], name), *b = json_object_get(alone.line[i], name);
                for (size_t t = 0; t < qa_json_length(a, "log_pi"); t++) {
                    const double off = fabs(qa_json_at(a, "log_pi", t) - qa_json_at(b, "log_pi1", t));
                    worst = fmax(worst, off);
                    sum += off;
                    n++;
                }
            }
        }
        ck_assert_double_eq(rounding_of(merged, "tokens"), n);
        ck_assert_double_eq_tol(rounding_of(merged, "largest_per_token"), worst, 2e-6);
        ck_assert_double_eq_tol(rounding_of(merged, "mean_per_token"), sum / n, 2e-6);
        ck_assert_msg(bf16 == 0 ? worst <= EXACT : worst > 10 * EXACT, "%g", worst);
        qa_cli_lines_free(&composed);
        qa_cli_lines_free(&alone);
        json_decref(merged);
    }
    free(out);
    qa_cli_world_free(&world);
}
END_TEST

/* A second preference on the policy that the first one made: the record names the merged model. */
START_TEST(preferences_in_sequence) {
    qa_cli_world world = qa_cli_world_make(true);
    char *out = qa_tempdir_join(world.dir, "merged"), *second = qa_tempdir_join(world.dir, "second");
    json_t *merged = merge_world(&world, out, world.pairs);
    const char *fingerprint = qa_json_text(json_object_get(merged, "merged"), "fingerprint");
    qa_cli_expect(QA_CLI("train", "-m", out, "-d", world.pairs, "-o", second, "--steps", "2", "--micro-batch", "2"), 0,
                  "adapter: ", NULL);
    char *path = qa_tempdir_join(second, "training_config.json"), *record = qa_tempdir_read(path, NULL);
    ck_assert_ptr_nonnull(strstr(record, fingerprint));
    qa_cli_expect(QA_CLI("eval", "-m", out, "--adapter", second, "-d", world.pairs), 0, "accuracy", NULL);
    qa_cli_expect(QA_CLI("eval", "-m", world.model, "--adapter", second, "-d", world.pairs), 1, NULL,
                  "is another model");
    /* and merged in its turn */
    char *third = qa_tempdir_join(world.dir, "third");
    qa_cli_expect(QA_CLI("merge", "-m", out, "--adapter", second, "-o", third), 0, "fingerprint", NULL);
    free(third);
    free(record);
    free(path);
    json_decref(merged);
    free(second);
    free(out);
    qa_cli_world_free(&world);
}
END_TEST

START_TEST(what_is_refused) {
    qa_cli_world world = qa_cli_world_make(true);
    char *out = qa_tempdir_join(world.dir, "merged"), *published = qa_tempdir_join(world.dir, "published");
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", world.pairs, "-o", published, "--steps", "1",
                         "--micro-batch", "2", "--recipe", "published"),
                  0, "adapter: ", NULL);
    qa_cli_expect(QA_CLI("merge", "-m", world.model, "--adapter", published, "-o", out), 1, NULL,
                  "cannot be merged: its policy is softmax((Q + 0.01 log pi1) / 1) with Q = the adapted logits");
    qa_cli_expect(QA_CLI("merge", "-m", world.model, "--adapter", published, "-o", out), 1, NULL, "qadapter serve");
    /* a dial that makes it another policy, or a plain one */
    qa_cli_expect(QA_CLI("merge", "-m", world.model, "--adapter", world.adapter, "-o", out, "--alpha-0", "2"), 1, NULL,
                  "cannot be merged");
    ck_assert(access(out, F_OK) != 0);
    qa_cli_expect(QA_CLI("merge", "-m", world.model, "--adapter", published, "-o", out, "--alpha-0", "0"), 0, "F32",
                  NULL);
    qa_cli_expect(QA_CLI("merge", "-m", world.model, "--adapter", world.adapter, "-o", out), 1, NULL, "--overwrite");
    qa_cli_expect(QA_CLI("merge", "-m", world.model, "--adapter", world.adapter, "-o", world.model, "--overwrite"), 2,
                  NULL, "is the folder of --model");
    qa_cli_expect(QA_CLI("merge", "-m", out, "--adapter", world.adapter, "-o", out, "--overwrite", "--any-base"), 2,
                  NULL, "is the folder of --model");
    qa_cli_expect(QA_CLI("merge", "-m", world.model, "--adapter", world.adapter), 2, NULL, "--out");
    /* a plain adapter of PEFT: no record of its training */
    char *record = qa_tempdir_join(published, "training_config.json");
    ck_assert_int_eq(unlink(record), 0);
    qa_cli_expect(QA_CLI("merge", "-m", world.model, "--adapter", published, "-o", out, "--overwrite"), 0, "F32",
                  "read as a plain LoRA adapter");
    free(record);
    free(published);
    free(out);
    qa_cli_world_free(&world);
}
END_TEST

/* Dialogues that were written by another template than the folder has: the merged folder has that one. */
START_TEST(the_template_that_it_was_trained_with) {
    qa_cli_world world = qa_cli_world_make(true);
    char *out = qa_tempdir_join(world.dir, "merged"), *config = qa_tempdir_join(world.model, "tokenizer_config.json");
    char *before = qa_tempdir_read(config, NULL), text[4096];
    ck_assert_int_eq(before[0], '{');
    (void)snprintf(text, sizeof text, "{\"chat_template\": \"{{ messages }}\", %s", before + 1);
    free(qa_tempdir_write_text(world.model, "tokenizer_config.json", text));
    static const char template[] =
        "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}</s>{% endfor %}{% if add_generation_prompt "
        "%}[assistant]{% endif %}";
    char *file = qa_tempdir_write_text(world.dir, "mine.jinja", template);
    char *data = qa_tempdir_write_text(
        world.dir, "dialogues.jsonl",
        "{\"prompt\": [{\"role\": \"user\", \"content\": \"a\"}], \"chosen\": [{\"role\": \"assistant\", \"content\": "
        "\"b\"}], \"rejected\": [{\"role\": \"assistant\", \"content\": \"c\"}]}\n");
    qa_cli_expect(QA_CLI("train", "-m", world.model, "-d", data, "-o", world.adapter, "--overwrite", "--steps", "1",
                         "--chat-template", file),
                  0, "adapter: ", NULL);
    qa_cli_expect(QA_CLI("merge", "-m", world.model, "--adapter", world.adapter, "-o", out), 0, "F32",
                  "chat_template.jinja is the template that");
    char *written = qa_tempdir_join(out, "chat_template.jinja"), *now = qa_tempdir_read(written, NULL);
    ck_assert_str_eq(now, template);
    char *left = qa_tempdir_join(out, "tokenizer_config.json"), *rest = qa_tempdir_read(left, NULL);
    ck_assert_ptr_null(strstr(rest, "chat_template"));
    qa_cli_expect(QA_CLI("info", "-m", out), 0, "its own", NULL);
    free(rest);
    free(left);
    free(now);
    free(written);
    free(data);
    free(file);
    free(before);
    free(config);
    free(out);
    qa_cli_world_free(&world);
}
END_TEST

/* Gemma multiplies its embedding by the root of 48, rounded to the dtype of the weights. */
START_TEST(a_factor_that_is_rounded) {
    qa_cli_world world = qa_cli_world_make(false);
    char *model = qa_tempdir_join(world.dir, "gemma"), *out = qa_tempdir_join(world.dir, "merged");
    char *config = qa_tempdir_write_text(
        world.dir, "config.json",
        "{\"architectures\": [\"GemmaForCausalLM\"], \"model_type\": \"gemma\", \"hidden_size\": 48, "
        "\"intermediate_size\": 20, \"num_hidden_layers\": 1, \"num_attention_heads\": 4, "
        "\"num_key_value_heads\": 2, \"head_dim\": 6, \"vocab_size\": 260, \"max_position_embeddings\": 64, "
        "\"bos_token_id\": 1, \"eos_token_id\": 2}");
    char *documents = qa_tempdir_write_text(world.dir, "documents.jsonl", "{\"ids\": [1, 70, 71, 72, 2]}\n");
    qa_cli_expect(
        QA_CLI("pretrain", "--config", config, "-d", documents, "-o", model, "--steps", "1", "--dtype", "bf16"), 0,
        NULL, NULL);
    qa_cli_expect(QA_CLI("train", "-m", model, "-d", world.pairs, "-o", world.adapter, "--steps", "1"), 0,
                  "adapter: ", NULL);
    qa_cli_expect(QA_CLI("merge", "-m", model, "--adapter", world.adapter, "-o", out), 0, "F32",
                  "6.9375 in the base's files, 6.928203");
    qa_cli_result same =
        QA_CLI("merge", "-m", model, "--adapter", world.adapter, "-o", out, "--overwrite", "--dtype", "bf16");
    qa_cli_check(&same, 0, "BF16", NULL);
    ck_assert_ptr_null(strstr(same.err, "6.9375"));
    qa_cli_free(&same);
    free(documents);
    free(config);
    free(out);
    free(model);
    qa_cli_world_free(&world);
}
END_TEST

Suite *cli_merge_suite(void) {
    Suite *suite = suite_create("cli/merge");
    TCase *tests = tcase_create("merge");
    tcase_set_timeout(tests, 120);
    tcase_add_test(tests, what_is_measured_on);
    tcase_add_test(tests, the_policy_is_the_composed_one);
    tcase_add_test(tests, preferences_in_sequence);
    tcase_add_test(tests, what_is_refused);
    tcase_add_test(tests, a_factor_that_is_rounded);
    tcase_add_test(tests, the_template_that_it_was_trained_with);
    suite_add_tcase(suite, tests);
    return suite;
}
