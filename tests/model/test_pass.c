/* The packed pass: packed equals separate, adapter off or B = 0 equals base, gradients of every LoRA tensor by
 * central differences, masked positions get zero gradient, any number of threads, NaNs named. */
#include "model/pass.h"

#include "base/rng.h"
#include "nn/linear.h"
#include "support/arrays.h"
#include "support/compare.h"
#include "support/fixture.h"
#include "support/gradcheck.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef QA_F64
#define EXACT 1e-12 /* observed 4e-15 */
#else
#define EXACT 2e-5 /* observed 2e-6 */
#endif

enum { PROMPT = 5, CHOSEN = 4, REJECTED = 7, ROWS = PROMPT + CHOSEN + REJECTED, MAX_ROWS = 24, MAX_STATES = 24 };

static const int32_t prompt[PROMPT] = {1, 7, 3, 20, 11};
static const int32_t chosen[CHOSEN] = {5, 6, 28, 2};
static const int32_t rejected[REJECTED] = {9, 5, 13, 14, 4, 21, 2};

static qa_packed pair(void) {
    return (qa_packed){
        .trunk = {prompt, PROMPT}, .branches = {{chosen, CHOSEN}, {rejected, REJECTED}}, .n_branches = 2};
}

static qa_pass *open_pass(const qa_fixture *f, bool with_adapter, bool backward) {
    qa_pass *pass = NULL;
    qa_error err = {0};
    qa_pass_limits limits = {.max_rows = MAX_ROWS, .max_states = MAX_STATES, .backward = backward};
    qa_expect_ok(qa_pass_create(&pass, f->model, with_adapter ? f->adapter : NULL, limits, &err), &err);
    return pass;
}

/* Logits of all rows of a packed input, [rows x V] each; the caller frees. */
typedef struct logits {
    qa_real *base, *adapted;
} logits;

static logits run(qa_pass *pass, const qa_fixture *f, qa_packed packed, uint64_t dropout_key) {
    qa_error err = {0};
    size_t rows = packed.trunk.n;
    for (size_t b = 0; b < packed.n_branches; b++) {
        rows += packed.branches[b].n;
    }
    size_t V = f->model->config.vocab_size;
    size_t states[MAX_STATES];
    for (size_t i = 0; i < rows; i++) {
        states[i] = i;
    }
    qa_expect_ok(qa_pass_forward(pass, &packed, states, rows, dropout_key, &err), &err);
    logits out = {malloc(rows * V * sizeof(qa_real)), malloc(rows * V * sizeof(qa_real))};
    qa_real *base = NULL;
    qa_real *adapted = NULL;
    qa_pass_head(pass, 0, rows, &base, &adapted);
    memcpy(out.base, base, rows * V * sizeof *base);
    memcpy(out.adapted, adapted == NULL ? base : adapted, rows * V * sizeof *base);
    return out;
}

static void logits_free(logits l) {
    free(l.base);
    free(l.adapted);
}

static void check_packed_equals_separate(const tiny_model_options *options) {
    qa_lora_options lora = qa_fixture_lora();
    qa_fixture f = qa_fixture_open(options, &lora, 2);
    size_t V = f.model->config.vocab_size;
    qa_pass *pass = open_pass(&f, true, true);
    logits packed = run(pass, &f, pair(), 0);
    const int32_t *responses[2] = {chosen, rejected};
    const size_t lengths[2] = {CHOSEN, REJECTED};
    for (size_t side = 0; side < 2; side++) {
        int32_t whole[MAX_ROWS];
        memcpy(whole, prompt, sizeof prompt);
        memcpy(whole + PROMPT, responses[side], lengths[side] * sizeof(int32_t));
        qa_packed alone = {.trunk = {whole, PROMPT + lengths[side]}};
        qa_pass *separate = open_pass(&f, true, false);
        logits expected = run(separate, &f, alone, 0);
        size_t first = PROMPT + (side == 0 ? 0 : CHOSEN);
        QA_ASSERT_REALS("base trunk", packed.base, expected.base, PROMPT * V, EXACT, 0.0);
        QA_ASSERT_REALS("adapted trunk", packed.adapted, expected.adapted, PROMPT * V, EXACT, 0.0);
        QA_ASSERT_REALS("base branch", packed.base + first * V, expected.base + PROMPT * V, lengths[side] * V, EXACT,
                        0.0);
        QA_ASSERT_REALS("adapted branch", packed.adapted + first * V, expected.adapted + PROMPT * V, lengths[side] * V,
                        EXACT, 0.0);
        logits_free(expected);
        qa_pass_free(separate);
    }
    logits_free(packed);
    qa_pass_free(pass);
    qa_fixture_close(&f);
}

START_TEST(packed_equals_separate) {
    tiny_model_options options = tiny_model_defaults();
    check_packed_equals_separate(&options);
    options.qkv_bias = true;
    options.tied = true;
    options.kv_heads = 1;
    options.head_dim = 6; /* not hidden_size / heads */
    options.rope = TINY_ROPE_LLAMA3;
    check_packed_equals_separate(&options);
    options.kv_heads = 4;
    options.layers = 1;
    options.rope = TINY_ROPE_LINEAR;
    check_packed_equals_separate(&options);
}
END_TEST

START_TEST(base_stream_is_the_model_alone) {
    tiny_model_options options = tiny_model_defaults();
    qa_lora_options lora = qa_fixture_lora();
    qa_fixture f = qa_fixture_open(&options, &lora, 1);
    size_t count = ROWS * f.model->config.vocab_size;
    qa_pass *both = open_pass(&f, true, true);
    qa_pass *alone = open_pass(&f, false, false);
    logits with = run(both, &f, pair(), 0);
    logits without = run(alone, &f, pair(), 0);
    QA_ASSERT_REALS("base", with.base, without.base, count, EXACT, 0.0);
    double difference = 0;
    for (size_t i = 0; i < count; i++) {
        difference = fmax(difference, fabs((double)(with.adapted[i] - with.base[i])));
    }
    ck_assert_msg(difference > 1e-2, "the adapter changes nothing (%g)", difference);
    logits_free(with);
    logits_free(without);

    for (size_t i = 1; i < f.adapter->n_tensors; i += 2) { /* every B = 0 */
        const qa_adapter_tensor *b = &f.adapter->tensors[i];
        memset(f.adapter->parameters + b->offset, 0, b->rows * b->columns * sizeof(qa_real));
    }
    with = run(both, &f, pair(), 0);
    /* The same arithmetic on the same numbers; BLAS may sum the rows of a block in another order than its edge. */
    QA_ASSERT_REALS("B = 0", with.adapted, with.base, count, EXACT, 0.0);
    logits_free(with);
    qa_pass_free(both);
    qa_pass_free(alone);
    qa_fixture_close(&f);
}
END_TEST

/* Dropout acts on the adapter's branch: with it pi1 is bit for bit what it is without. */
START_TEST(dropout_leaves_the_base_stream_alone) {
    tiny_model_options options = tiny_model_defaults();
    qa_lora_options lora = qa_fixture_lora();
    lora.dropout = 0.4;
    qa_fixture f = qa_fixture_open(&options, &lora, 1);
    size_t count = ROWS * f.model->config.vocab_size;
    qa_pass *pass = open_pass(&f, true, true);
    logits off = run(pass, &f, pair(), 0);
    logits on = run(pass, &f, pair(), 77);
    ck_assert_mem_eq(on.base, off.base, count * sizeof(qa_real));
    ck_assert_mem_ne(on.adapted, off.adapted, count * sizeof(qa_real));
    logits_free(on);
    logits_free(off);
    qa_pass_free(pass);
    qa_fixture_close(&f);
}
END_TEST

/* ---- gradients: loss = sum over states of upstream . (input of the head) ---- */

typedef struct loss_context {
    const qa_fixture *fixture;
    qa_pass *pass;
    const size_t *states;
    size_t n_states;
    const qa_real *weights; /* [n_states x V]: upstream gradient of the logits */
    uint64_t dropout_key;
} loss_context;

static double loss_of(void *context) {
    const loss_context *c = context;
    qa_error err = {0};
    qa_packed packed = pair();
    qa_expect_ok(qa_pass_forward(c->pass, &packed, c->states, c->n_states, c->dropout_key, &err), &err);
    qa_real *base = NULL;
    qa_real *adapted = NULL;
    qa_pass_head(c->pass, 0, c->n_states, &base, &adapted);
    return qa_weighted_sum(adapted, c->weights, c->n_states * c->fixture->model->config.vocab_size);
}

/* dL/d(adapter) through qa_pass_backward; returns a new array. */
static qa_real *gradient_of(const loss_context *c, qa_bag *bag) {
    size_t d = c->fixture->model->config.hidden_size;
    (void)loss_of((void *)(uintptr_t)c);
    qa_real *dstates = qa_bag_zeros(bag, c->n_states * d);
    qa_real *gradient = qa_bag_zeros(bag, c->fixture->adapter->count);
    qa_pass_head_transpose(c->pass, dstates, c->weights, c->n_states);
    qa_pass_backward(c->pass, gradient, dstates);
    return gradient;
}

static void check_gradients(const tiny_model_options *options, qa_lora_options lora, uint64_t dropout_key) {
    static const size_t states[] = {PROMPT - 1, 2, PROMPT, PROMPT + 3, PROMPT + CHOSEN, ROWS - 1, PROMPT - 1};
    qa_fixture f = qa_fixture_open(options, &lora, 2);
    qa_bag bag = qa_bag_open(5);
    size_t n = sizeof states / sizeof *states;
    loss_context c = {.fixture = &f,
                      .pass = open_pass(&f, true, true),
                      .states = states,
                      .n_states = n,
                      .weights = qa_bag_random(&bag, n * f.model->config.vocab_size),
                      .dropout_key = dropout_key};
    qa_real *gradient = gradient_of(&c, &bag);
    for (size_t i = 0; i < f.adapter->n_tensors; i++) {
        const qa_adapter_tensor *t = &f.adapter->tensors[i];
        QA_ASSERT_GRADIENT(t->name, f.adapter->parameters + t->offset, t->rows * t->columns, gradient + t->offset,
                           loss_of, &c, 1e-5, 1e-6, 24, i);
    }
    qa_pass_free(c.pass);
    qa_bag_close(&bag);
    qa_fixture_close(&f);
}

/* In double only: differences of floats through a whole network say little. */
START_TEST(gradients_of_every_lora_tensor) {
#ifdef QA_F64
    tiny_model_options options = tiny_model_defaults();
    qa_lora_options lora = qa_fixture_lora();
    check_gradients(&options, lora, 0);
    lora.dropout = 0.3;
    lora.use_rslora = true;
    check_gradients(&options, lora, 77);
    options.qkv_bias = true;
    options.tied = true;
    options.kv_heads = 1;
    options.head_dim = 6;
    options.layers = 3;
    options.rope = TINY_ROPE_LLAMA3;
    lora.targets[QA_TARGET_Q] = false;
    lora.targets[QA_TARGET_GATE] = false;
    check_gradients(&options, lora, 77);
#else
    (void)check_gradients;
#endif
}
END_TEST

/* A loss at one branch must not see the other branch, nor later rows: exactly the same gradient for any tokens there.
 */
START_TEST(unseen_rows_have_no_influence) {
    tiny_model_options options = tiny_model_defaults();
    qa_lora_options lora = qa_fixture_lora();
    qa_fixture f = qa_fixture_open(&options, &lora, 2);
    qa_bag bag = qa_bag_open(6);
    static const size_t states[] = {PROMPT + 1};
    size_t V = f.model->config.vocab_size;
    size_t d = f.model->config.hidden_size;
    qa_real *weights = qa_bag_random(&bag, V);
    qa_real *gradients[2];
    for (size_t k = 0; k < 2; k++) {
        int32_t other_chosen[CHOSEN] = {chosen[0], chosen[1], k == 0 ? 28 : 3, k == 0 ? 2 : 4};
        int32_t other_rejected[REJECTED] = {9, 5, 13, 14, 4, 21, 2};
        if (k == 1) {
            memset(other_rejected, 0, sizeof other_rejected);
        }
        qa_packed packed = {.trunk = {prompt, PROMPT},
                            .branches = {{other_chosen, CHOSEN}, {other_rejected, REJECTED}},
                            .n_branches = 2};
        qa_pass *pass = open_pass(&f, true, true);
        qa_error err = {0};
        qa_expect_ok(qa_pass_forward(pass, &packed, states, 1, 0, &err), &err);
        qa_real *dstates = qa_bag_zeros(&bag, d);
        gradients[k] = qa_bag_zeros(&bag, f.adapter->count);
        qa_pass_head_transpose(pass, dstates, weights, 1);
        qa_pass_backward(pass, gradients[k], dstates);
        qa_pass_free(pass);
    }
    ck_assert_mem_eq(gradients[0], gradients[1], f.adapter->count * sizeof(qa_real));
    qa_bag_close(&bag);
    qa_fixture_close(&f);
}
END_TEST

/* The gradient of a pair is the sum of the gradients of its two sequences, run separately. */
START_TEST(gradients_through_the_trunk_add_up) {
    tiny_model_options options = tiny_model_defaults();
    qa_lora_options lora = qa_fixture_lora();
    qa_fixture f = qa_fixture_open(&options, &lora, 2);
    qa_bag bag = qa_bag_open(7);
    size_t V = f.model->config.vocab_size;
    size_t d = f.model->config.hidden_size;
    qa_error err = {0};
    static const size_t packed_states[] = {PROMPT - 1, PROMPT + 1, PROMPT - 1, PROMPT + CHOSEN + 5};
    qa_real *weights = qa_bag_random(&bag, 4 * V);
    qa_real *dstates = qa_bag_zeros(&bag, 4 * d);
    qa_real *got = qa_bag_zeros(&bag, f.adapter->count);
    qa_real *expected = qa_bag_zeros(&bag, f.adapter->count);
    qa_pass *pass = open_pass(&f, true, true);
    qa_packed packed = pair();
    qa_expect_ok(qa_pass_forward(pass, &packed, packed_states, 4, 0, &err), &err);
    qa_pass_head_transpose(pass, dstates, weights, 4);
    qa_pass_backward(pass, got, dstates);
    for (size_t side = 0; side < 2; side++) {
        int32_t whole[MAX_ROWS];
        size_t n = side == 0 ? CHOSEN : REJECTED;
        const size_t states[2] = {PROMPT - 1, PROMPT + (side == 0 ? 1 : 5)};
        memcpy(whole, prompt, sizeof prompt);
        memcpy(whole + PROMPT, side == 0 ? chosen : rejected, n * sizeof(int32_t));
        qa_packed alone = {.trunk = {whole, PROMPT + n}};
        qa_expect_ok(qa_pass_forward(pass, &alone, states, 2, 0, &err), &err);
        qa_pass_head_transpose(pass, dstates, weights + 2 * side * V, 2);
        qa_pass_backward(pass, expected, dstates);
    }
    QA_ASSERT_REALS("gradient", got, expected, f.adapter->count, EXACT * 10, 0.0);
    qa_pass_free(pass);
    qa_bag_close(&bag);
    qa_fixture_close(&f);
}
END_TEST

START_TEST(threads_change_only_rounding) {
    tiny_model_options options = tiny_model_defaults();
    qa_lora_options lora = qa_fixture_lora();
    qa_real *gradients[2];
    qa_bag bag = qa_bag_open(8);
    size_t count = 0;
    for (size_t k = 0; k < 2; k++) {
        static const size_t states[] = {PROMPT - 1, ROWS - 1};
        qa_fixture f = qa_fixture_open(&options, &lora, k == 0 ? 1 : 3);
        qa_bag same = qa_bag_open(9);
        loss_context c = {.fixture = &f,
                          .pass = open_pass(&f, true, true),
                          .states = states,
                          .n_states = 2,
                          .weights = qa_bag_random(&same, 2 * f.model->config.vocab_size)};
        count = f.adapter->count;
        qa_real *gradient = gradient_of(&c, &same);
        gradients[k] = qa_bag_copy(&bag, gradient, count);
        qa_pass_free(c.pass);
        qa_bag_close(&same);
        qa_fixture_close(&f);
    }
    QA_ASSERT_REALS("gradient", gradients[0], gradients[1], count, EXACT, 0.0);
    qa_bag_close(&bag);
}
END_TEST

START_TEST(bad_input_is_named) {
    tiny_model_options options = tiny_model_defaults();
    qa_lora_options lora = qa_fixture_lora();
    qa_fixture f = qa_fixture_open(&options, &lora, 1);
    qa_pass *pass = open_pass(&f, true, true);
    qa_error err = {0};
    static const size_t first[] = {0};
    static const size_t outside[] = {ROWS};
    qa_packed packed = pair();
    qa_expect_error(qa_pass_forward(pass, &packed, outside, 1, 0, &err), QA_ERR_ARGUMENT, &err, "row 16 of 16");
    int32_t bad[CHOSEN] = {5, 29, 6, 2};
    packed.branches[0].ids = bad;
    qa_expect_error(qa_pass_forward(pass, &packed, first, 1, 0, &err), QA_ERR_ARGUMENT, &err,
                    "first response: token 1 has id 29, outside the vocabulary of 29");
    bad[1] = -1;
    qa_expect_error(qa_pass_forward(pass, &packed, first, 1, 0, &err), QA_ERR_ARGUMENT, &err, "id -1");
    packed = pair();
    packed.trunk.n = 0;
    qa_expect_error(qa_pass_forward(pass, &packed, first, 1, 0, &err), QA_ERR_ARGUMENT, &err, "at least one token");
    int32_t many[MAX_ROWS + 1] = {0};
    qa_packed lengthy = {.trunk = {many, MAX_ROWS + 1}};
    qa_expect_error(qa_pass_forward(pass, &lengthy, first, 1, 0, &err), QA_ERR_LIMIT, &err, "more rows than");
    qa_pass_free(pass);
    f.model->config.max_position_embeddings = 10;
    pass = open_pass(&f, true, true);
    packed = pair();
    qa_expect_error(qa_pass_forward(pass, &packed, first, 1, 0, &err), QA_ERR_LIMIT, &err,
                    "second response: 12 tokens exceed the model's context of 10");
    qa_pass_free(pass);
    qa_fixture_close(&f);
}
END_TEST

START_TEST(nan_is_seen_and_named) {
    tiny_model_options options = tiny_model_defaults();
    qa_lora_options lora = qa_fixture_lora();
    qa_fixture f = qa_fixture_open(&options, &lora, 1);
    qa_pass *pass = open_pass(&f, true, true);
    qa_error err = {0};
    static const size_t states[] = {PROMPT - 1};
    qa_packed packed = pair();
    const qa_branch_place *down = qa_adapter_place(f.adapter, 0, QA_TARGET_DOWN);
    const qa_branch_place *value = qa_adapter_place(f.adapter, 1, QA_TARGET_V);
    qa_real kept = f.adapter->parameters[down->b];
    f.adapter->parameters[down->b] = (qa_real)NAN;
    qa_expect_error(qa_pass_forward(pass, &packed, states, 1, 0, &err), QA_ERR_NAN, &err,
                    "adapted stream, entering layer 1");
    f.adapter->parameters[down->b] = kept;
    f.adapter->parameters[value->b] = (qa_real)INFINITY;
    qa_expect_error(qa_pass_forward(pass, &packed, states, 1, 0, &err), QA_ERR_NAN, &err,
                    "adapted stream, after the attention of layer 1");
    qa_pass_free(pass);
    qa_fixture_close(&f);
}
END_TEST

START_TEST(workspace_is_as_planned) {
    tiny_model_options options = tiny_model_defaults();
    qa_lora_options lora = qa_fixture_lora();
    qa_fixture f = qa_fixture_open(&options, &lora, 2);
    qa_error err = {0};
    size_t small = 0;
    size_t large = 0;
    qa_pass_limits limits = {.max_rows = 8, .max_states = 8, .backward = true};
    qa_expect_ok(qa_pass_bytes(f.model, &lora, limits, &small, &err), &err);
    limits.max_rows = 16;
    qa_expect_ok(qa_pass_bytes(f.model, &lora, limits, &large, &err), &err);
    ck_assert_uint_gt(small, 0);
    ck_assert_uint_gt(large, small);
    limits.max_rows = (size_t)1 << 30;
    qa_expect_error(qa_pass_bytes(f.model, &lora, limits, &large, &err), QA_ERR_LIMIT, &err, "not possible");
    qa_fixture_close(&f);
}
END_TEST

Suite *model_pass_suite(void);
Suite *model_pass_suite(void) {
    Suite *suite = suite_create("model/pass");
    TCase *tcase = tcase_create("pass");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, packed_equals_separate);
    tcase_add_test(tcase, base_stream_is_the_model_alone);
    tcase_add_test(tcase, dropout_leaves_the_base_stream_alone);
    tcase_add_test(tcase, gradients_of_every_lora_tensor);
    tcase_add_test(tcase, unseen_rows_have_no_influence);
    tcase_add_test(tcase, gradients_through_the_trunk_add_up);
    tcase_add_test(tcase, threads_change_only_rounding);
    tcase_add_test(tcase, bad_input_is_named);
    tcase_add_test(tcase, nan_is_seen_and_named);
    tcase_add_test(tcase, workspace_is_as_planned);
    suite_add_tcase(suite, tcase);
    return suite;
}
