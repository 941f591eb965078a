/* qadapter train --method ppo|rloo, end to end with a reward model of the program's own making: what it says and
 * leaves, what the other commands make of it, resuming, and wrong usage. */
#include "io/file.h"
#include "support/cli.h"
#include "support/cli_json.h"
#include "support/compare.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct rollout_world {
    qa_cli_world world;
    char *reward, *prompts;
} rollout_world;

static rollout_world make_rollout_world(void) {
    rollout_world w = {.world = qa_cli_world_make(false)};
    w.reward = qa_tempdir_join(w.world.dir, "reward");
    w.prompts = qa_tempdir_write_text(w.world.dir, "prompts.jsonl",
                                      "{\"prompt\": \"Once\"}\n{\"prompt\": \"The cat\"}\n{\"prompt\": \"A\"}\n"
                                      "{\"prompt\": \"All of this is far too long a prompt\"}\n");
    qa_cli_expect(QA_CLI("train", "-m", w.world.model, "-d", w.world.pairs, "-o", w.reward, "--method", "reward",
                         "--max-steps", "2", "--warmup-steps", "0"),
                  0, "reward model: ", NULL);
    return w;
}

static void free_rollout_world(rollout_world *w) {
    free(w->reward);
    free(w->prompts);
    qa_cli_world_free(&w->world);
}

#define TRAIN(w, data, method, ...)                                                                                    \
    QA_CLI("train", "-m", (w)->world.model, "-d", (data), "-o", (w)->world.adapter, "--method", (method),              \
           "--reward-model", (w)->reward, "--max-new-tokens", "6", "--batch-size", "4", __VA_ARGS__)

START_TEST(runs) {
    static const char *const methods[] = {"ppo", "rloo"};
    rollout_world w = make_rollout_world();
    const bool values = _i == 0;
    qa_cli_result result = TRAIN(&w, w.prompts, methods[_i], "--max-steps", "2", "--lr", "0.01", "--max-length", "20");
    qa_cli_check(&result, 0, "adapter: ", "prompts.jsonl: 3 prompts (text prompts), the longest 7 tokens");
    qa_cli_check(&result, 0, NULL, "left out 1 prompt of 20 tokens or more (first: line 4)");
    qa_cli_check(&result, 0, NULL, "rank 8, alpha 16, dropout 0.05 on q_proj,v_proj");
    qa_cli_check(&result, 0, NULL,
                 values ? "KL coefficient 0.2 at first, adaptive: target 6 nats an answer, horizon 10000"
                        : "KL coefficient 0.05, fixed");
    qa_cli_check(&result, 0, NULL,
                 values ? "has 3 prompts, so a step has 3 answers, not 4" : "4 answers to each of 1 prompts");
    qa_cli_check(&result, 0, NULL, "learning rate 0.01 constant");
    qa_cli_check(&result, 0, NULL, "step 2/2  score ");
    ck_assert_ptr_null(strstr(result.out, "qadapter eval"));
    qa_cli_free(&result);
    char *head = qa_tempdir_join(w.world.adapter, "value_head.safetensors");
    ck_assert_int_eq(qa_path_exists(head), values);
    free(head);
    json_t *e = QA_CLI_JSON("eval", "--json", "-m", w.world.model, "--adapter", w.world.adapter, "-d", w.world.pairs);
    ck_assert_str_eq(qa_json_text(e, "method"), methods[_i]);
    json_decref(e);
    qa_cli_expect(
        QA_CLI("generate", "-m", w.world.model, "--adapter", w.world.adapter, "--prompt", "Once", "--max-tokens", "3"),
        0, NULL, NULL);
    free_rollout_world(&w);
}
END_TEST

/* Preference data stands for its prompts; the values go on where training goes on from an adapter that has some. */
START_TEST(from_pairs_and_from_an_adapter) {
    rollout_world w = make_rollout_world();
    char *next = qa_tempdir_join(w.world.dir, "next");
    qa_cli_expect(TRAIN(&w, w.world.pairs, "ppo", "--max-steps", "1", "--mini-batches", "2"), 0,
                  "adapter: ", "pairs.jsonl: 6 prompts (token ids)");
    qa_cli_expect(QA_CLI("train", "-m", w.world.model, "-d", w.world.texts, "-o", next, "--method", "ppo", "--verbose",
                         "--reward-model", w.reward, "--max-new-tokens", "4", "--answers-per-step", "2", "--max-steps",
                         "1", "--adapter", w.world.adapter, "--kl-control", "fixed", "--kl-coefficient", "1"),
                  0, "adapter: ", "the value head goes on from that of");
    free(next);
    free_rollout_world(&w);
}
END_TEST

START_TEST(resuming) {
    rollout_world w = make_rollout_world();
    char *whole = qa_tempdir_join(w.world.dir, "whole");
    qa_cli_expect(QA_CLI("train", "-m", w.world.model, "-d", w.prompts, "-o", whole, "--method", "ppo",
                         "--reward-model", w.reward, "--max-new-tokens", "6", "--batch-size", "2", "--max-steps", "4"),
                  0, NULL, NULL);
#define AGAIN(...)                                                                                                     \
    QA_CLI("train", "-m", w.world.model, "-d", w.prompts, "-o", w.world.adapter, "--method", "ppo", "--reward-model",  \
           w.reward, "--max-new-tokens", "6", "--batch-size", "2", __VA_ARGS__)
    qa_cli_expect(AGAIN("--max-steps", "2"), 0, NULL, NULL);
    qa_cli_expect(AGAIN("--max-steps", "4", "--resume", "--kl-target", "7"), 1, NULL,
                  "kl_target is 7.0 now but was 6.0");
    qa_cli_expect(AGAIN("--max-steps", "4", "--resume"), 0, NULL, "continuing after step 2");
    for (size_t i = 0; i < 2; i++) {
        static const char *const names[] = {"adapter_model.safetensors", "value_head.safetensors"};
        char *a = qa_tempdir_join(whole, names[i]), *b = qa_tempdir_join(w.world.adapter, names[i]);
        size_t n = 0, m = 0;
        char *of_a = qa_tempdir_read(a, &n), *of_b = qa_tempdir_read(b, &m);
        ck_assert_msg(n == m && memcmp(of_a, of_b, n) == 0, "%s differs", names[i]);
        free(of_a);
        free(of_b);
        free(a);
        free(b);
    }
    free(whole);
    free_rollout_world(&w);
}
END_TEST

START_TEST(wrong_usage) {
    rollout_world w = make_rollout_world();
    qa_cli_expect(QA_CLI("train", "-m", w.world.model, "-d", w.prompts, "-o", w.world.adapter, "--method", "ppo"), 2,
                  NULL, "--method ppo needs --reward-model");
    qa_cli_expect(TRAIN(&w, w.prompts, "ppo", "--eval-data", w.world.pairs), 2, NULL, "--eval-data is for pairs");
    qa_cli_expect(TRAIN(&w, w.prompts, "rloo", "--micro-batch", "2"), 2, NULL, "--micro-batch is for pairs");
    qa_cli_expect(TRAIN(&w, w.prompts, "rloo", "--value-clip", "1"), 2, NULL,
                  "--value-clip belongs to --method ppo, not to rloo");
    qa_cli_expect(TRAIN(&w, w.prompts, "dpo", "--clip-range", "1"), 2, NULL, "belongs to --method ppo, not to dpo");
    qa_cli_expect(TRAIN(&w, w.prompts, "ppo", "--dpo-beta", "1"), 2, NULL, "--dpo-beta belongs to --method dpo");
    qa_cli_expect(TRAIN(&w, w.prompts, "ppo", "--full"), 1, NULL, "method ppo trains an adapter alone");
    qa_cli_expect(TRAIN(&w, w.prompts, "ppo", "--samples-per-prompt", "3"), 1, NULL, "expected a multiple of");
    qa_cli_expect(TRAIN(&w, w.prompts, "ppo", "--answers-per-step", "16", "--mini-batches", "5"), 1, NULL,
                  "mini_batches = 5: ");
    qa_cli_expect(TRAIN(&w, w.prompts, "ppo", "--reward-output", "3"), 1, NULL, "has 2 outputs");
    qa_cli_expect(TRAIN(&w, w.prompts, "ppo", "--max-length", "20", "--strict"), 1, NULL,
                  "1 prompts are not shorter than 20 tokens (first: 4)");
    char *none = qa_tempdir_write_text(w.world.dir, "none.jsonl", "{\"text\": \"no prompt\"}\n");
    qa_cli_expect(TRAIN(&w, none, "ppo", "--max-steps", "1"), 1, NULL, "expected {\"messages\": [...]}");
    free(none);
    ck_assert(!qa_path_exists(w.world.adapter));
    free_rollout_world(&w);
}
END_TEST

/* Made from another model, or no reward model at all. */
START_TEST(a_reward_model_of_another_base) {
    rollout_world w = make_rollout_world();
    char *other = qa_tempdir_join(w.world.dir, "other");
    qa_cli_expect(QA_CLI("train", "-m", w.world.model, "-d", w.world.pairs, "-o", other, "--method", "sft", "--full",
                         "--max-steps", "1", "--lr", "0.1", "--warmup-ratio", "0"),
                  0, NULL, NULL);
    qa_cli_expect(QA_CLI("train", "-m", other, "-d", w.prompts, "-o", w.world.adapter, "--method", "ppo",
                         "--reward-model", w.reward, "--max-new-tokens", "6", "--batch-size", "2", "--max-steps", "4"),
                  1, NULL, "reward");
    qa_cli_expect(QA_CLI("train", "-m", w.world.model, "-d", w.prompts, "-o", w.world.adapter, "--method", "ppo",
                         "--reward-model", w.world.model, "--max-steps", "4"),
                  1, NULL, "ForCausalLM");
    qa_cli_expect(QA_CLI("train", "-m", w.world.model, "-d", w.prompts, "-o", w.world.adapter, "--method", "ppo",
                         "--reward-model", "/no/such/folder", "--max-steps", "4"),
                  1, NULL, "/no/such/folder");
    ck_assert(!qa_path_exists(w.world.adapter));
    free(other);
    free_rollout_world(&w);
}
END_TEST

Suite *cli_rollout_runs_suite(void);
Suite *cli_rollout_runs_suite(void) {
    Suite *suite = suite_create("cli/rollout_runs");
    TCase *tests = tcase_create("rollout_runs");
    tcase_set_timeout(tests, 180);
    tcase_add_loop_test(tests, runs, 0, 2);
    tcase_add_test(tests, from_pairs_and_from_an_adapter);
    tcase_add_test(tests, resuming);
    tcase_add_test(tests, wrong_usage);
    tcase_add_test(tests, a_reward_model_of_another_base);
    suite_add_tcase(suite, tests);
    return suite;
}
