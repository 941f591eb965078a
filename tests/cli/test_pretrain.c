/* qadapter pretrain: what it says and leaves, Ctrl-C and resuming, and input that cannot be used. */
#include "support/cli.h"
#include "support/tempdir.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

Suite *cli_pretrain_suite(void);

static const char documents[] =
    "{\"text\": \"One, two, three, four.\"}\n{\"text\": \"Five, six, seven.\"}\n"
    "{\"messages\": [{\"role\": \"user\", \"content\": \"And then?\"}, {\"role\": \"assistant\", \"content\": "
    "\"Eight.\"}]}\n"
    "{\"ids\": [5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]}\n{\"text\": \"Nine, ten, eleven.\"}\n{\"ids\": [7]}\n";

/* The tiny model's shape and tokenizer, and a corpus. */
typedef struct world {
    qa_cli_world base;
    char *config, *corpus, *out;
} world;

static world make_world(void) {
    world w = {.base = qa_cli_world_make(false)};
    w.config = qa_tempdir_join(w.base.model, "config.json");
    w.corpus = qa_tempdir_write_text(w.base.dir, "corpus.jsonl", documents);
    w.out = qa_tempdir_join(w.base.dir, "out");
    return w;
}

static void free_world(world *w) {
    free(w->config);
    free(w->corpus);
    free(w->out);
    qa_cli_world_free(&w->base);
}

static bool exists(const char *dir, const char *name) {
    char *path = qa_tempdir_join(dir, name);
    const bool there = access(path, F_OK) == 0;
    free(path);
    return there;
}

static void expect_same_file(const char *a_dir, const char *b_dir, const char *name) {
    size_t a_bytes = 0, b_bytes = 0;
    char *a_path = qa_tempdir_join(a_dir, name), *b_path = qa_tempdir_join(b_dir, name);
    char *a = qa_tempdir_read(a_path, &a_bytes), *b = qa_tempdir_read(b_path, &b_bytes);
    ck_assert_msg(a_bytes == b_bytes && memcmp(a, b, a_bytes) == 0, "%s and %s differ", a_path, b_path);
    free(a);
    free(b);
    free(a_path);
    free(b_path);
}

#define PRETRAIN(w, ...)                                                                                               \
    QA_CLI("pretrain", "--config", (w).config, "--tokenizer", (w).base.model, "--corpus", (w).corpus, "--out",         \
           (w).out, __VA_ARGS__)

START_TEST(it_says_what_it_does_and_leaves_a_model) {
    world w = make_world();
    qa_cli_result result = PRETRAIN(w, "--eval-corpus", w.corpus, "--eval-every", "4", "--max-steps", "6", "--dtype",
                                    "bf16", "--batch-tokens", "40", "--learn", "responses", "--max-length", "35");
    static const char *const said[] = {"chat template plain (the tokenizer's folder has none)",
                                       "corpus.jsonl: 5 documents, ",
                                       "corpus.jsonl: 1 document cut at 35 tokens",
                                       "warning: ",
                                       "1 document without a token to learn left out",
                                       "parameters",
                                       "6 steps of about ",
                                       "memory: weights ",
                                       "step 1/6 ",
                                       "evaluation at step 4: loss ",
                                       "step 6/6 ",
                                       "evaluation at step 6: loss "};
    const char *at = result.err;
    for (size_t i = 0; i < sizeof said / sizeof said[0]; i++) {
        const char *found = strstr(at, said[i]);
        ck_assert_msg(found != NULL, "\"%s\" is not where it should be in:\n%s", said[i], result.err);
        at = found;
    }
    char expected[2048];
    (void)snprintf(expected, sizeof expected, "next:\n  qadapter info --model %s\n", w.out);
    qa_cli_check(&result, 0, expected, NULL);
    qa_cli_check(&result, 0, ", evaluation loss ", NULL);
    qa_cli_free(&result);
    /* the model is one, for every command */
    qa_cli_expect(QA_CLI("info", "--model", w.out), 0, "BF16", NULL);
    qa_cli_expect(QA_CLI("generate", "--model", w.out, "--prompt", "One", "-n", "3"), 0, NULL, NULL);
    qa_cli_expect(QA_CLI("train", "--model", w.out, "--data", w.base.pairs, "--out", w.base.adapter, "--steps", "1"), 0,
                  "adapter: ", NULL);
    /* a text gets no template, so none is named */
    char *text = qa_tempdir_write_text(w.base.dir, "text.jsonl", "{\"text\": \"It rains.\"}\n");
    result = QA_CLI("pretrain", "--config", w.config, "--tokenizer", w.base.model, "--corpus", text, "--out", w.out,
                    "--overwrite", "--max-steps", "1");
    qa_cli_check(&result, 0, NULL, "text.jsonl: 1 document, ");
    ck_assert_msg(strstr(result.err, "chat template") == NULL, "%s", result.err);
    qa_cli_free(&result);
    free(text);
    free_world(&w);
}
END_TEST

static char *record_of(const world *w) {
    size_t bytes = 0;
    char *path = qa_tempdir_join(w->out, "training_config.json");
    char *text = qa_tempdir_read(path, &bytes);
    free(path);
    return text;
}

/* The template of the corpus's conversations, what it was told, and its day, with which a resumed run goes on. */
START_TEST(the_template_of_conversations_is_recorded) {
    world w = make_world();
    char *own = qa_tempdir_write_text(w.base.dir, "own.jinja",
                                      "{{ strftime_now('%d') }}{% for m in messages %}{{ mode }}{{ m.content }}"
                                      "<|im_end|>{% endfor %}{% if add_generation_prompt %}{{ mode }}{% endif %}");
    qa_cli_expect(
        PRETRAIN(w, "--max-steps", "1", "--chat-template", own, "--template-arg", "mode=x", "--date", "2024-02-03"), 0,
        "model: ", NULL);
    char *record = record_of(&w);
    static const char *const parts[] = {"\"chat_template\": \"own\"",
                                        "\"chat_template_text\": \"{{ strftime_now('%d') }}", "\"mode\": \"x\"",
                                        "\"template_date\": \"2024-02-03\""};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        ck_assert_msg(strstr(record, parts[i]) != NULL, "no %s in %s", parts[i], record);
    }
    free(record);
    qa_cli_expect(PRETRAIN(w, "--max-steps", "1", "--chat-template", own, "--template-arg", "mode=x", "--resume"), 0,
                  "no step was left", NULL);
    char *text = qa_tempdir_write_text(w.base.dir, "text.jsonl", "{\"text\": \"It rains.\"}\n");
    qa_cli_expect(QA_CLI("pretrain", "--config", w.config, "--tokenizer", w.base.model, "--corpus", text, "--out",
                         w.out, "--overwrite", "--max-steps", "1"),
                  0, NULL, NULL);
    record = record_of(&w);
    ck_assert_msg(strstr(record, "chat_template") == NULL, "%s", record); /* to text none is applied */
    free(record);
    free(text);
    free(own);
    free_world(&w);
}
END_TEST

START_TEST(ids_need_no_tokenizer) {
    world w = make_world();
    char *ids = qa_tempdir_write_text(w.base.dir, "ids.jsonl", "{\"ids\": [5, 6, 7, 8]}\n{\"ids\": [9, 10, 11]}\n");
    qa_cli_expect(QA_CLI("pretrain", "--config", w.config, "--corpus", ids, "--out", w.out, "--max-steps", "2"), 0,
                  "model: ", "warning: the corpus has 5 tokens to run, less than one step's 8192");
    ck_assert(exists(w.out, "model.safetensors") && !exists(w.out, "tokenizer.json"));
    const qa_cli_how how = {.input = "{\"ids\": [5, 6]}\n"};
    qa_cli_expect(QA_CLI_HOW(&how, "pretrain", "--config", w.config, "--corpus", "-", "--out", w.out, "--max-steps",
                             "1", "--overwrite"),
                  0, "model: ", "-: 1 document, 2 tokens (1 learned)");
    qa_cli_expect(QA_CLI("pretrain", "--config", w.config, "--corpus", w.corpus, "--out", w.out, "--overwrite"), 1,
                  NULL, "corpus.jsonl:1: the document is text, which needs a tokenizer");
    free(ids);
    free_world(&w);
}
END_TEST

/* Ctrl-C: a checkpoint, exit status 130, and the command to resume, which ends with the bytes of an uninterrupted run.
 */
START_TEST(an_interrupted_run_resumes_where_it_stopped) {
    world w = make_world();
    char *cut = qa_tempdir_join(w.base.dir, "cut run");
    qa_cli_expect(PRETRAIN(w, "--max-steps", "200"), 0, NULL, NULL);
    const qa_cli_how how = {.signal = _i == 0 ? SIGINT : SIGTERM, .signal_after = "step 3/200"};
    qa_cli_result result = QA_CLI_HOW(&how, "pretrain", "--config", w.config, "--tokenizer", w.base.model, "--corpus",
                                      w.corpus, "--out", cut, "--overwrite", "--max-steps", "200", "--log-every", "1");
    qa_cli_check(&result, 128 + how.signal, NULL, "--max-steps 200 --log-every 1 --resume\n");
    ck_assert_msg(strstr(result.err, "step 200/200") == NULL, "it was not interrupted");
    ck_assert(!exists(cut, "model.safetensors"));
    qa_cli_free(&result);
    qa_cli_expect(QA_CLI("pretrain", "--config", w.config, "--tokenizer", w.base.model, "--corpus", w.corpus, "--out",
                         cut, "--max-steps", "200", "--resume"),
                  0, NULL, "continuing after step ");
    expect_same_file(w.out, cut, "model.safetensors");
    expect_same_file(w.out, cut, "tokenizer.json");
    qa_cli_expect(PRETRAIN(w, "--max-steps", "200"), 1, NULL, "--overwrite replaces it, --resume continues it");
    qa_cli_expect(PRETRAIN(w, "--max-steps", "100", "--resume"), 1, NULL,
                  "the run is 100 steps long now but was 200 before");
    qa_cli_expect(PRETRAIN(w, "--max-steps", "200", "--resume"), 0, "(no step was left, ", NULL);
    free(cut);
    free_world(&w);
}
END_TEST

/* A disk that fills up: the message names the file, nothing half-written stays, and there is nothing to load. */
START_TEST(a_full_disk) {
    world w = make_world();
    const qa_cli_how how = {.file_limit = 16384}; /* config and metrics fit, weights do not */
    qa_cli_result result = QA_CLI_HOW(&how, "pretrain", "--config", w.config, "--tokenizer", w.base.model, "--corpus",
                                      w.corpus, "--out", w.out, "--max-steps", "2");
    qa_cli_check(&result, 1, NULL, "checkpoint of step 2: ");
    ck_assert_msg(strstr(result.err, ".safetensors: ") != NULL, "%s", result.err);
    qa_cli_free(&result);
    ck_assert(!exists(w.out, "checkpoint-2") && !exists(w.out, ".tmp-checkpoint-2") &&
              !exists(w.out, "model.safetensors"));
    qa_cli_expect(PRETRAIN(w, "--max-steps", "2", "--resume"), 0, NULL, "starting from the beginning");
    ck_assert(exists(w.out, "model.safetensors"));
    free_world(&w);
}
END_TEST

START_TEST(a_run_that_diverges) {
    world w = make_world();
    qa_cli_expect(PRETRAIN(w, "--max-steps", "20", "--learning-rate", "1e300", "--lr-scheduler-type", "constant",
                           "--warmup-steps", "2", "--save-every", "1", "--save-total-limit", "0"),
                  1, NULL, "step ");
    ck_assert(exists(w.out, "checkpoint-1") && !exists(w.out, "model.safetensors"));
    free_world(&w);
}
END_TEST

START_TEST(a_run_that_changed_nothing_says_so) {
    world w = make_world();
    qa_cli_expect(PRETRAIN(w, "-q", "--max-steps", "16", "--batch-tokens", "1000", "--learning-rate", "1e-30"), 0, NULL,
                  "warning: nothing was learned: ");
    free_world(&w);
}
END_TEST

START_TEST(what_cannot_be_used) {
    world w = make_world();
    char *empty = qa_tempdir_write_text(w.base.dir, "empty.jsonl", "\n");
    char *outside = qa_tempdir_write_text(w.base.dir, "outside.jsonl", "{\"ids\": [5, 6]}\n{\"ids\": [5, 260]}\n");
    char *small = qa_tempdir_write_text(
        w.base.dir, "small.json",
        "{\"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": 8, \"intermediate_size\": 8, "
        "\"num_hidden_layers\": 1, \"num_attention_heads\": 2, \"vocab_size\": 100, \"max_position_embeddings\": 32}");
    qa_cli_expect(QA_CLI("pretrain", "--config", w.config, "--corpus", empty, "--out", w.out), 1, NULL,
                  "empty.jsonl: no documents in the file");
    qa_cli_expect(QA_CLI("pretrain", "--config", w.config, "--corpus", outside, "--out", w.out), 1, NULL,
                  "outside.jsonl:2: \"ids\"[1] is 260, outside the vocabulary of 260");
    qa_cli_expect(
        QA_CLI("pretrain", "--config", small, "--corpus", w.corpus, "--tokenizer", w.base.model, "--out", w.out), 1,
        NULL, "the tokenizer does not fit the model: it has 260 tokens, config.json's vocab_size is 100");
    qa_cli_expect(QA_CLI("pretrain", "--config", w.corpus, "--corpus", w.corpus, "--out", w.out), 1, NULL,
                  "corpus.jsonl");
    qa_cli_expect(PRETRAIN(w, "--max-length", "129"), 2, NULL, "--max-length: expected at most 128");
    qa_cli_expect(PRETRAIN(w, "--max-length", "1"), 2, NULL, "--max-length: expected at least 2");
    qa_cli_expect(PRETRAIN(w, "--eval-every", "2"), 2, NULL, "--eval-every needs --eval-corpus");
    qa_cli_expect(PRETRAIN(w, "--overwrite", "--resume"), 2, NULL, "contradict each other");
    qa_cli_expect(PRETRAIN(w, "--learn", "nothing"), 2, NULL, "--learn");
    qa_cli_expect(PRETRAIN(w, "--dtype", "f64"), 2, NULL, "--dtype");
    qa_cli_expect(PRETRAIN(w, "--batch-tokens", "0"), 2, NULL, "--batch-tokens");
    qa_cli_expect(PRETRAIN(w, "--resume"), 1, NULL, "no run to resume");
    qa_cli_expect(QA_CLI("pretrain", "--corpus", w.corpus, "--out", w.out), 2, NULL, "--config");
    ck_assert_msg(access(w.out, F_OK) != 0, "something was written");
    free(empty);
    free(outside);
    free(small);
    free_world(&w);
}
END_TEST

START_TEST(help_tells_every_option) {
    static const char *const options[] = {
        "--config",         "--corpus",     "--eval-corpus",  "--tokenizer",
        "--learn",          "--dtype",      "--batch-tokens", "--min-learning-rate-ratio",
        "--dump-gradients", "--save-every", "--resume"};
    qa_cli_result result = QA_CLI("pretrain", "--help");
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        qa_cli_check(&result, 0, options[i], NULL);
    }
    qa_cli_check(&result, 0, "(default: 0.002)", NULL); /* its own defaults, not those of train */
    qa_cli_check(&result, 0, "(default: cosine)", NULL);
    qa_cli_free(&result);
}
END_TEST

Suite *cli_pretrain_suite(void) {
    Suite *suite = suite_create("cli_pretrain");
    TCase *tcase = tcase_create("pretrain");
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, it_says_what_it_does_and_leaves_a_model);
    tcase_add_test(tcase, the_template_of_conversations_is_recorded);
    tcase_add_test(tcase, ids_need_no_tokenizer);
    tcase_add_loop_test(tcase, an_interrupted_run_resumes_where_it_stopped, 0, 2);
    tcase_add_test(tcase, a_full_disk);
    tcase_add_test(tcase, a_run_that_diverges);
    tcase_add_test(tcase, a_run_that_changed_nothing_says_so);
    tcase_add_test(tcase, what_cannot_be_used);
    tcase_add_test(tcase, help_tells_every_option);
    suite_add_tcase(suite, tcase);
    return suite;
}
