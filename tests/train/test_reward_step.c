/* One pair through a reward model: the scores of whole sequences, and the gradient of the loss with respect to every
 * weight by central differences, for one and two outputs, for families with other layers, and where the prompt is run
 * twice. */
#include "train/reward_step.h"

#include "model/trainable.h"
#include "support/fixture.h"
#include "support/gradcheck.h"
#include "support/tempdir.h"
#include "train/reward_model.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef QA_F64
#define SAME 1e-12 /* observed 1e-15 */
#else
#define SAME 2e-5 /* observed 1e-6 */
#endif

static const int32_t prompt[] = {5, 9, 3, 20, 7}, chosen[] = {8, 8, 11, 2}, rejected[] = {17, 6, 2};
static const qa_pair the_pair = {.prompt = prompt,
                                 .prompt_len = 5,
                                 .chosen = chosen,
                                 .chosen_len = 4,
                                 .rejected = rejected,
                                 .rejected_len = 3,
                                 .line = 1};

/* Random models: Llama's layer; GPT-2's (LayerNorm, learned positions, transposed files); Gemma 2's (norms behind the
 * branches, caps, factors); RoPE whose frequencies depend on the length. */
static const char *const configs[] = {
    "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": 16, "
    "\"intermediate_size\": 24, "
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"vocab_size\": 29, "
    "\"max_position_embeddings\": 64, \"rms_norm_eps\": 1e-5, \"tie_word_embeddings\": false, \"eos_token_id\": 2}",
    "{\"architectures\": [\"GPT2LMHeadModel\"], \"model_type\": \"gpt2\", \"n_embd\": 16, \"n_layer\": 2, \"n_head\": "
    "4, "
    "\"vocab_size\": 29, \"n_positions\": 64, \"eos_token_id\": 2}",
    "{\"architectures\": [\"Gemma2ForCausalLM\"], \"model_type\": \"gemma2\", \"hidden_size\": 16, "
    "\"intermediate_size\": 24, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "
    "\"head_dim\": 4, \"vocab_size\": 29, \"max_position_embeddings\": 64, \"query_pre_attn_scalar\": 4, "
    "\"sliding_window\": 5, \"eos_token_id\": 2}",
    "{\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"hidden_size\": 16, "
    "\"intermediate_size\": 24, "
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"vocab_size\": 29, "
    "\"max_position_embeddings\": 8, \"rms_norm_eps\": 1e-5, \"tie_word_embeddings\": true, \"eos_token_id\": 2, "
    "\"rope_scaling\": {\"type\": \"dynamic\", \"factor\": 4.0}}"};
enum { CONFIGS = sizeof configs / sizeof configs[0] };

typedef struct reward_case {
    qa_fixture fixture;
    qa_trainable *trainable;
    qa_reward_step *step;
} reward_case;

static reward_case open_case(const char *config, size_t outputs, double centering, bool recompute) {
    reward_case c = {.fixture = qa_fixture_of(config, NULL, 2)};
    const qa_pair_limits limits = {.max_prompt = 5, .max_response = 4, .backward = true, .recompute = recompute};
    qa_objective objective = qa_objective_for_method(QA_METHOD_REWARD);
    qa_error err = {0};
    objective.reward_outputs = outputs;
    objective.reward_centering = centering;
    qa_expect_ok(qa_trainable_copy(&c.trainable, c.fixture.model, outputs, 3, &err), &err);
    qa_real *head = c.trainable->parameters + (c.trainable->model->score.real - c.trainable->parameters);
    for (size_t i = 0; i < outputs * c.trainable->model->config.hidden_size; i++) {
        head[i] *= (qa_real)20; /* scores around 1 */
    }
    qa_expect_ok(qa_reward_step_create(&c.step, c.trainable->model, &objective, limits, &err), &err);
    return c;
}

static void close_case(reward_case *c) {
    qa_reward_step_free(c->step);
    qa_trainable_free(c->trainable);
    qa_fixture_close(&c->fixture);
}

static double loss_of(void *context) {
    const reward_case *c = context;
    qa_reward_scores found;
    qa_error err = {0};
    qa_expect_ok(qa_reward_step_run(c->step, &the_pair, 3.0, NULL, &found, &err), &err);
    return found.loss;
}

static void check_gradients(const char *config, size_t outputs, double centering, bool recompute) {
    reward_case c = open_case(config, outputs, centering, recompute);
    qa_trainable *t = c.trainable;
    qa_reward_scores found;
    qa_error err = {0};
    qa_expect_ok(qa_reward_step_run(c.step, &the_pair, 3.0, &t->gradients, &found, &err), &err);
    for (size_t i = 0; i < t->n_tensors; i++) {
        const qa_parameter_tensor *tensor = &t->tensors[i];
        bool all_zero = true;
        for (size_t j = 0; j < tensor->count; j++) {
            all_zero = all_zero && t->gradient[tensor->offset + j] == 0;
        }
        /* the key's bias moves all scores of a query alike */
        if (all_zero || strstr(tensor->name, "k_proj.bias") != NULL) {
            continue;
        }
        QA_ASSERT_GRADIENT(tensor->name, t->parameters + tensor->offset, tensor->count, t->gradient + tensor->offset,
                           loss_of, &c, 1e-5, 1e-6, tensor->rows == 29 ? 200 : 12, 3 + i);
    }
    close_case(&c);
}

START_TEST(gradients_of_every_weight) { check_gradients(configs[_i], 1 + (size_t)_i % 2, 0.0, false); }
END_TEST

START_TEST(gradients_centred_and_recomputed) {
    check_gradients(configs[0], 2, 0.1, false);
    check_gradients(configs[0], 2, 0.0, true);
}
END_TEST

/* Prompt once for both, or each on its own: the scores of the whole sequences. */
START_TEST(scores_are_those_of_whole_sequences) {
    for (size_t i = 0; i < CONFIGS; i++) {
        reward_case c = open_case(configs[i], 2, 0.0, false);
        int32_t whole[2][9];
        const qa_tokens sequences[2] = {{whole[0], 9}, {whole[1], 8}};
        double scores[2];
        qa_reward_model *reward_model = NULL;
        qa_reward_scores found;
        qa_error err = {0};
        memcpy(whole[0], prompt, sizeof prompt);
        memcpy(whole[1], prompt, sizeof prompt);
        memcpy(whole[0] + 5, chosen, sizeof chosen);
        memcpy(whole[1] + 5, rejected, sizeof rejected);
        qa_expect_ok(qa_reward_model_of(&reward_model, c.trainable->model, &err), &err);
        qa_expect_ok(qa_reward_model_scores(reward_model, sequences, 2, QA_REWARD_LAST_OUTPUT, scores, &err), &err);
        qa_expect_ok(qa_reward_step_run(c.step, &the_pair, 1.0, NULL, &found, &err), &err);
        ck_assert_double_eq_tol(found.chosen, scores[0], SAME);
        ck_assert_double_eq_tol(found.rejected, scores[1], SAME);
        ck_assert_double_ge(fabs(scores[0] - scores[1]), 1e-3);
        qa_reward_model_free(reward_model);
        close_case(&c);
    }
}
END_TEST

START_TEST(ties_are_equal_but_for_rounding) {
    ck_assert_double_eq(qa_score_is_above(1.0, 0.5), 1.0);
    ck_assert_double_eq(qa_score_is_above(0.5, 1.0), 0.0);
    ck_assert_double_eq(qa_score_is_above(100.0, 100.0 + 1e-11), 0.5);
    ck_assert_double_eq(qa_score_is_above(0.0, 1e-3), 0.0);
}
END_TEST

START_TEST(a_single_answer_is_refused) {
    reward_case c = open_case(configs[0], 1, 0.0, false);
    qa_reward_scores found;
    qa_error err = {0};
    qa_pair single = the_pair;
    single.rejected_len = 0;
    qa_expect_error(qa_reward_step_run(c.step, &single, 1.0, NULL, &found, &err), QA_ERR_ARGUMENT, &err,
                    "this has one answer");
    c.trainable->parameters[0] = (qa_real)NAN; /* of the embedding's row 0, which the pair does not have */
    qa_expect_ok(qa_reward_step_run(c.step, &the_pair, 1.0, NULL, &found, &err), &err);
    ((qa_real *)(uintptr_t)c.trainable->model->score.real)[0] = (qa_real)INFINITY;
    qa_expect_error(qa_reward_step_run(c.step, &the_pair, 1.0, NULL, &found, &err), QA_ERR_NAN, &err,
                    "output 1 of the chosen answer's score");
    close_case(&c);
}
END_TEST

Suite *train_reward_step_suite(void);
Suite *train_reward_step_suite(void) {
    Suite *suite = suite_create("train/reward_step");
    TCase *tests = tcase_create("reward_step");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, gradients_of_every_weight, 0, CONFIGS);
    tcase_add_test(tests, gradients_centred_and_recomputed);
    tcase_add_test(tests, scores_are_those_of_whole_sequences);
    tcase_add_test(tests, ties_are_equal_but_for_rounding);
    tcase_add_test(tests, a_single_answer_is_refused);
    suite_add_tcase(suite, tests);
    return suite;
}
