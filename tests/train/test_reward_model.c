/* Reward models as folders: what is saved is loaded with the same scores, whose last token is read, and what is
 * refused: another base, another vocabulary, a language model, an adapter, a wrong head. */
#include "train/reward_model.h"

#include "io/file.h"
#include "model/trainable.h"
#include "support/fixture.h"
#include "support/tempdir.h"
#include "support/tiny_model.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VOCAB = 29, PAD = 4 };

typedef struct reward_setting {
    char *dir, *base_dir;
    qa_context *context;
    qa_model *base;
    qa_trainable *trainable;
} reward_setting;

/* A base model, and a classifier with fresh outputs that was made from it, in a folder of its own. */
static reward_setting open_reward(size_t labels, bool tied) {
    reward_setting s = {.dir = qa_tempdir_make(), .base_dir = qa_tempdir_make()};
    qa_error err = {0};
    tiny_model_options model = tiny_model_defaults();
    model.tied = tied;
    tiny_model_write(s.base_dir, &model);
    qa_expect_ok(qa_context_create(&s.context, 2, (qa_logger){0}, &err), &err);
    qa_expect_ok(qa_model_load(&s.base, s.context, s.base_dir, &err), &err);
    qa_expect_ok(qa_trainable_copy(&s.trainable, s.base, labels, 5, &err), &err);
    s.trainable->model->config.pad_id = PAD;
    qa_expect_ok(qa_trainable_save(s.trainable, s.dir, QA_DTYPE_F32, &err), &err);
    return s;
}

static void close_reward(reward_setting *s) {
    qa_trainable_free(s->trainable);
    qa_model_free(s->base);
    qa_context_free(s->context);
    qa_tempdir_remove(s->dir);
    qa_tempdir_remove(s->base_dir);
}

static const int32_t first[] = {3, 7, 9, 11}, second[] = {3, 7, 12}, padded[] = {3, 7, 12, PAD, PAD}, pads[] = {PAD, 5};
static const qa_tokens sequences[] = {{first, 4}, {second, 3}, {padded, 5}, {pads, 1}, {pads, 2}};
enum { N_SEQUENCES = 5 };

static void scores_of(qa_reward_model *reward_model, size_t output, double scores[N_SEQUENCES]) {
    qa_error err = {0};
    qa_expect_ok(qa_reward_model_scores(reward_model, sequences, N_SEQUENCES, output, scores, &err), &err);
}

START_TEST(a_saved_reward_model_scores_as_it_did) {
    reward_setting s = open_reward(2, _i == 1);
    qa_reward_model *saved = NULL, *there = NULL;
    qa_error err = {0};
    double now[N_SEQUENCES], before[N_SEQUENCES], other[N_SEQUENCES];
    qa_expect_ok(qa_reward_model_load(&saved, s.context, s.dir, NULL, &err), &err);
    qa_expect_ok(qa_reward_model_of(&there, s.trainable->model, &err), &err);
    ck_assert_uint_eq(qa_reward_model_outputs(saved), 2);
    scores_of(saved, QA_REWARD_LAST_OUTPUT, now);
    scores_of(there, 1, before);
    scores_of(saved, 0, other);
    for (size_t i = 0; i < N_SEQUENCES; i++) {
        ck_assert_double_eq_tol(now[i], before[i], 1e-6); /* files are F32 */
        ck_assert_double_ge(fabs(now[i] - other[i]), 1e-6);
    }
    ck_assert_double_eq_tol(now[1], now[2], 1e-6); /* pad tokens at the end are not read */
    ck_assert_double_ge(fabs(now[0] - now[1]), 1e-6);
    qa_reward_model_free(saved);
    qa_reward_model_free(there);
    close_reward(&s);
}
END_TEST

/* The head reads what the language model's head reads: the states of the frozen model, by hand. */
START_TEST(a_score_is_the_heads_row_times_the_last_state) {
    reward_setting s = open_reward(1, false);
    qa_reward_model *reward_model = NULL;
    qa_pass *pass = NULL;
    qa_error err = {0};
    double scores[N_SEQUENCES], expected = 0.0;
    const size_t row = 3, d = s.base->config.hidden_size;
    qa_expect_ok(qa_reward_model_of(&reward_model, s.trainable->model, &err), &err);
    qa_expect_ok(qa_pass_create(&pass, s.base, NULL, (qa_pass_limits){.max_rows = 4, .max_states = 1}, &err), &err);
    qa_expect_ok(qa_pass_forward(pass, &(qa_packed){.trunk = sequences[0]}, &row, 1, 0, &err), &err);
    for (size_t i = 0; i < d; i++) {
        expected += (double)(s.trainable->model->score.real[i] * qa_pass_states(pass)[i]);
    }
    scores_of(reward_model, QA_REWARD_LAST_OUTPUT, scores);
    ck_assert_double_eq_tol(scores[0], expected, 1e-6);
    qa_pass_free(pass);
    qa_reward_model_free(reward_model);
    close_reward(&s);
}
END_TEST

static void refuse_reward(const reward_setting *s, const char *dir, const qa_model *base, qa_status status,
                          const char *message) {
    qa_reward_model *reward_model = NULL;
    qa_error err = {0};
    ck_assert_int_eq(qa_reward_model_load(&reward_model, s->context, dir, base, &err), status);
    ck_assert_ptr_null(reward_model);
    ck_assert_msg(strstr(err.message, message) != NULL, "%s", err.message);
}

START_TEST(what_is_no_reward_model_is_refused) {
    reward_setting s = open_reward(2, false);
    qa_model *model = NULL;
    qa_error err = {0};
    refuse_reward(&s, s.base_dir, NULL, QA_ERR_UNSUPPORTED,
                  "LlamaForCausalLM is a language model, and no reward model");
    refuse_reward(&s, "/nowhere", NULL, QA_ERR_IO, "no such folder");
    ck_assert_int_eq(qa_model_load(&model, s.context, s.dir, &err), QA_ERR_UNSUPPORTED);
    ck_assert_msg(strstr(err.message, "is a classifier") != NULL, "%s", err.message);
    char *path = qa_tempdir_join(s.dir, "config.json");
    qa_text config = {0};
    qa_expect_ok(qa_read_file(&config, path, 1 << 20, &err), &err);
    char *labels = strstr(config.data, "\"num_labels\": 2");
    ck_assert_ptr_nonnull(labels);
    labels[strlen("\"num_labels\": ")] = '3';
    free(qa_tempdir_write_text(s.dir, "config.json", config.data));
    refuse_reward(&s, s.dir, NULL, QA_ERR_MISMATCH, "num_labels is 3, but id2label names 2");
    qa_text_free(&config);
    free(path);
    close_reward(&s);
}
END_TEST

START_TEST(a_reward_model_of_another_base_is_refused) {
    reward_setting s = open_reward(2, false), other = open_reward(1, true);
    char record[512];
    (void)snprintf(record, sizeof record,
                   "{\"method\": \"reward\", \"base_fingerprint\": \"%s\", \"base_model\": \"B\"}",
                   qa_model_fingerprint(s.base));
    free(qa_tempdir_write_text(s.dir, "training_config.json", record));
    qa_reward_model *reward_model = NULL;
    qa_error err = {0};
    qa_expect_ok(qa_reward_model_load(&reward_model, s.context, s.dir, s.base, &err), &err);
    qa_reward_model_free(reward_model);
    refuse_reward(&s, s.dir, other.base, QA_ERR_MISMATCH,
                  "is the reward model of another base model: it was made from B");
    close_reward(&s);
    close_reward(&other);
}
END_TEST

START_TEST(scores_that_are_no_numbers_are_named) {
    reward_setting s = open_reward(2, false);
    qa_reward_model *reward_model = NULL;
    qa_error err = {0};
    double scores[N_SEQUENCES];
    qa_expect_ok(qa_reward_model_of(&reward_model, s.trainable->model, &err), &err);
    ((qa_real *)(uintptr_t)s.trainable->model->score.real)[s.base->config.hidden_size] = (qa_real)NAN;
    ck_assert_int_eq(qa_reward_model_scores(reward_model, sequences, 2, 1, scores, &err), QA_ERR_NAN);
    ck_assert_msg(strstr(err.message, "the score of sequence 1 is") != NULL, "%s", err.message);
    ck_assert_int_eq(qa_reward_model_scores(reward_model, sequences, 2, 2, scores, &err), QA_ERR_ARGUMENT);
    const qa_tokens empty = {first, 0};
    ck_assert_int_eq(qa_reward_model_scores(reward_model, &empty, 1, 0, scores, &err), QA_ERR_ARGUMENT);
    qa_reward_model_free(reward_model);
    close_reward(&s);
}
END_TEST

Suite *train_reward_model_suite(void);
Suite *train_reward_model_suite(void) {
    Suite *suite = suite_create("train/reward_model");
    TCase *tests = tcase_create("reward_model");
    tcase_add_loop_test(tests, a_saved_reward_model_scores_as_it_did, 0, 2);
    tcase_add_test(tests, a_score_is_the_heads_row_times_the_last_state);
    tcase_add_test(tests, what_is_no_reward_model_is_refused);
    tcase_add_test(tests, a_reward_model_of_another_base_is_refused);
    tcase_add_test(tests, scores_that_are_no_numbers_are_named);
    suite_add_tcase(suite, tests);
    return suite;
}
