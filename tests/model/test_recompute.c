/* Layers run again for backward: gradients to the bit those of a pass that kept every layer's rows and ran its streams
 * apart, after each kind of forward, against central differences, for one stream and all weights; NaNs named; and the
 * numbers that docs/design.md says are kept of a token and layer. */
#include "base/rng.h"
#include "model/pass.h"
#include "model/trainable.h"
#include "support/arrays.h"
#include "support/compare.h"
#include "support/fixture.h"
#include "support/gradcheck.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <string.h>

/* The same input, with its streams apart, and without the base stream. */
static qa_packed apart(qa_packed in) {
    in.apart = true;
    return in;
}

static qa_packed alone(qa_packed in, const qa_real *base, size_t first) {
    in.base = base;
    in.first = first;
    return in;
}

enum { MAX_ROWS = 160, VOCABULARY = 61 };

/* Lengths of prompt, chosen and rejected response: few rows (the matvec's 8 and less), rows around its limit, around
 * BLAS' tiles and those of attention, and one response alone. */
static const size_t lengths[][3] = {{1, 1, 1},    {3, 3, 2},    {3, 3, 3},  {5, 4, 7},
                                    {31, 40, 26}, {50, 64, 46}, {17, 80, 0}};
enum { N_LENGTHS = sizeof lengths / sizeof *lengths };

typedef struct input {
    int32_t ids[MAX_ROWS];
    qa_packed packed;
    size_t rows;
    size_t states[MAX_ROWS]; /* all rows, the last first */
} input;

static void make_input(input *in, const size_t length[3], uint64_t seed) {
    qa_rng rng = qa_rng_seed(seed, 4);
    in->rows = length[0] + length[1] + length[2];
    for (size_t i = 0; i < in->rows; i++) {
        in->ids[i] = (int32_t)qa_rng_below(&rng, VOCABULARY);
        in->states[i] = in->rows - 1 - i;
    }
    in->packed = (qa_packed){
        .trunk = {in->ids, length[0]},
        .branches = {{in->ids + length[0], length[1]}, {in->ids + length[0] + length[1], length[2]}},
        .n_branches = length[2] == 0 ? 1 : 2,
    };
}

static tiny_model_options model_of(size_t hidden, size_t intermediate, size_t head_dim, size_t layers) {
    tiny_model_options options = tiny_model_defaults();
    options.hidden_size = hidden;
    options.intermediate_size = intermediate;
    options.head_dim = head_dim;
    options.layers = layers;
    options.vocab_size = VOCABULARY;
    options.max_positions = MAX_ROWS;
    return options;
}

static qa_pass *open_pass(const qa_fixture *f, bool recompute) {
    qa_pass *pass = NULL;
    qa_error err = {0};
    const qa_pass_limits limits = {
        .max_rows = MAX_ROWS, .max_states = MAX_ROWS, .backward = true, .recompute = recompute};
    qa_expect_ok(qa_pass_create(&pass, f->model, f->adapter, limits, &err), &err);
    return pass;
}

/* ---- the same gradient ---- */

/* The last forward's residual stream and gradient, as copies, for a fixed dL/d(states). */
typedef struct left {
    qa_real *hidden, *gradient;
} left;

static left backward(qa_bag *bag, qa_pass *pass, const qa_fixture *f, const input *in) {
    const size_t d = f->model->config.hidden_size, layers = f->model->config.num_hidden_layers;
    left out = {qa_bag_zeros(bag, layers * in->rows * d), qa_bag_zeros(bag, f->adapter->count)};
    qa_bag upstream = qa_bag_open(9);
    qa_pass_backward(pass, out.gradient, qa_bag_random(&upstream, in->rows * d));
    for (size_t l = 0; l < layers; l++) {
        memcpy(out.hidden + l * in->rows * d, qa_pass_hidden(pass, l), in->rows * d * sizeof *out.hidden);
    }
    qa_bag_close(&upstream);
    return out;
}

static void expect_same(const char *what, const left *got, const left *expected, const qa_fixture *f, const input *in) {
    const size_t hidden = f->model->config.num_hidden_layers * in->rows * f->model->config.hidden_size;
    ck_assert_msg(memcmp(got->hidden, expected->hidden, hidden * sizeof(qa_real)) == 0,
                  "%s, %zu rows: the residual streams differ", what, in->rows);
    for (size_t i = 0; i < f->adapter->count; i++) {
        ck_assert_msg(memcmp(&got->gradient[i], &expected->gradient[i], sizeof(qa_real)) == 0,
                      "%s, %zu rows: element %zu of the gradients, of %s, is %.17g and %.17g", what, in->rows, i,
                      qa_adapter_tensor_at(f->adapter, i)->name, (double)got->gradient[i],
                      (double)expected->gradient[i]);
    }
}

#ifdef QA_F64
#define ROUNDING 1e-12 /* of the largest element; observed below 5e-14 */
#else
#define ROUNDING 1e-4 /* observed below 2e-5 */
#endif

/* All forwards of a pass that recomputes, against one that keeps, its streams apart. */
static void check_case(const qa_fixture *f, qa_pass *keeps, qa_pass *again, const size_t length[3], uint64_t key) {
    qa_error err = {0};
    input in, other;
    make_input(&in, length, 1);
    make_input(&other, lengths[3], 2);
    qa_bag bag = qa_bag_open(3);
    const size_t d = f->model->config.hidden_size;
    qa_expect_ok(qa_pass_forward(keeps, (qa_packed[]){apart(in.packed)}, in.states, in.rows, key, &err), &err);
    qa_real *base = qa_bag_zeros(&bag, in.rows * d);
    qa_pass_base_states(keeps, base, 0);
    const left expected = backward(&bag, keeps, f, &in);

    qa_expect_ok(qa_pass_forward(again, &in.packed, in.states, in.rows, key, &err), &err);
    const left plain = backward(&bag, again, f, &in);
    expect_same("streams together", &plain, &expected, f, &in);

    qa_expect_ok(qa_pass_forward(again, &other.packed, other.states, other.rows, 5, &err), &err);
    qa_expect_ok(qa_pass_forward(again, (qa_packed[]){apart(in.packed)}, in.states, in.rows, key, &err), &err);
    const left apart = backward(&bag, again, f, &in);
    expect_same("streams apart", &apart, &expected, f, &in);

    qa_expect_ok(qa_pass_forward(again, &other.packed, other.states, other.rows, 5, &err), &err);
    qa_expect_ok(qa_pass_forward(again, (qa_packed[]){alone(in.packed, base, 0)}, in.states, in.rows, key, &err), &err);
    const left alone = backward(&bag, again, f, &in);
    expect_same("adapted stream alone", &alone, &expected, f, &in);

    qa_expect_ok(qa_pass_forward(keeps, &in.packed, in.states, in.rows, key, &err), &err);
    const left stacked = backward(&bag, keeps, f, &in);
    QA_ASSERT_REALS("stacked streams", plain.gradient, stacked.gradient, f->adapter->count, ROUNDING, 0.0);
    qa_bag_close(&bag);
}

static void check_model(const tiny_model_options *options, const qa_lora_options *lora, size_t threads) {
    qa_fixture f = qa_fixture_open(options, lora, threads);
    qa_pass *keeps = open_pass(&f, false), *again = open_pass(&f, true);
    for (size_t c = 0; c < N_LENGTHS; c++) {
        check_case(&f, keeps, again, lengths[c], lora->dropout > 0.0 ? 31 + c : 0);
    }
    qa_pass_free(again);
    qa_pass_free(keeps);
    qa_fixture_close(&f);
}

/* Small maps, maps whose products are cut for the pool, and a single layer, which is never run again. */
START_TEST(the_gradient_is_the_same) {
    const size_t threads = (size_t)_i;
    qa_lora_options lora = qa_fixture_lora();
    tiny_model_options options = model_of(16, 24, 4, 4);
    check_model(&options, &lora, threads);
    options = model_of(60, 172, 16, 3);
    options.qkv_bias = true;
    options.tied = true;
    lora.dropout = 0.2;
    check_model(&options, &lora, threads);
    options = model_of(192, 513, 48, 2);
    check_model(&options, &lora, threads);
    options = model_of(16, 24, 4, 1);
    check_model(&options, &lora, threads);
}
END_TEST

/* Whatever has a branch: each map alone, with and without dropout, and what `train` takes unasked. */
START_TEST(every_set_of_targets) {
    const tiny_model_options options = model_of(20, 36, 4, 3);
    qa_lora_options lora = qa_fixture_lora();
    memset(lora.targets, 0, sizeof lora.targets);
    if (_i <= QA_TARGET_DOWN) {
        lora.targets[_i] = true;
    } else {
        lora.targets[QA_TARGET_Q] = lora.targets[QA_TARGET_V] = true;
    }
    check_model(&options, &lora, 2);
    lora.dropout = 0.3;
    check_model(&options, &lora, 1);
}
END_TEST

/* ---- against central differences ---- */

typedef struct loss_context {
    const qa_fixture *fixture;
    qa_pass *pass;
    const input *in;
    const qa_real *upstream; /* [rows x V] */
    uint64_t dropout_key;
} loss_context;

static double loss_of(void *context) {
    const loss_context *c = context;
    qa_error err = {0};
    qa_real *base = NULL, *adapted = NULL;
    qa_expect_ok(qa_pass_forward(c->pass, &c->in->packed, c->in->states, c->in->rows, c->dropout_key, &err), &err);
    qa_pass_head(c->pass, 0, c->in->rows, &base, &adapted);
    return qa_weighted_sum(adapted, c->upstream, c->in->rows * c->fixture->model->config.vocab_size);
}

static void check_differences(const tiny_model_options *options, const qa_lora_options *lora, uint64_t dropout_key) {
    qa_fixture f = qa_fixture_open(options, lora, 2);
    qa_bag bag = qa_bag_open(5);
    input in;
    make_input(&in, lengths[3], 6);
    const size_t d = f.model->config.hidden_size;
    loss_context c = {&f, open_pass(&f, true), &in, qa_bag_random(&bag, in.rows * f.model->config.vocab_size),
                      dropout_key};
    (void)loss_of(&c);
    qa_real *dstates = qa_bag_zeros(&bag, in.rows * d), *gradient = qa_bag_zeros(&bag, f.adapter->count);
    qa_pass_head_transpose(c.pass, dstates, c.upstream, in.rows);
    qa_pass_backward(c.pass, gradient, dstates);
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
START_TEST(against_central_differences) {
    tiny_model_options options = model_of(16, 24, 4, 3);
    qa_lora_options lora = qa_fixture_lora();
    (void)check_differences;
#ifdef QA_F64
    check_differences(&options, &lora, 0);
    lora.dropout = 0.3;
    options.qkv_bias = true;
    options.kv_heads = 1;
    check_differences(&options, &lora, 77);
#else
    (void)options;
    (void)lora;
#endif
}
END_TEST

/* ---- all weights, one stream: the same bits without any condition ---- */

enum { DOCUMENTS = 3, DOCUMENT_ROWS = 5 + 1 + 70 };

/* The gradient of all weights for a fixed dL/d(states). */
static qa_real *weights_gradient(qa_bag *bag, qa_trainable *trainable, bool recompute) {
    const qa_pass_limits limits = {.max_rows = MAX_ROWS,
                                   .max_states = MAX_ROWS,
                                   .max_documents = DOCUMENTS,
                                   .weights = true,
                                   .recompute = recompute};
    qa_pass *pass = NULL;
    qa_error err = {0};
    input in;
    make_input(&in, (const size_t[3]){5, 1, 70}, 8);
    const qa_tokens documents[DOCUMENTS] = {in.packed.trunk, in.packed.branches[0], in.packed.branches[1]};
    qa_bag upstream = qa_bag_open(9);
    qa_expect_ok(qa_pass_create(&pass, trainable->model, NULL, limits, &err), &err);
    qa_expect_ok(qa_pass_forward(pass, &(qa_packed){.documents = documents, .n_documents = DOCUMENTS}, in.states,
                                 in.rows, 0, &err),
                 &err);
    memset(trainable->gradient, 0, trainable->count * sizeof(qa_real));
    qa_pass_backward_weights(pass, &trainable->gradients,
                             qa_bag_random(&upstream, in.rows * trainable->model->config.hidden_size));
    qa_pass_free(pass);
    qa_bag_close(&upstream);
    return qa_bag_copy(bag, trainable->gradient, trainable->count);
}

START_TEST(all_weights) {
    const size_t threads = (size_t)_i;
    tiny_model_options options = model_of(60, 172, 16, 3);
    options.qkv_bias = true;
    qa_context *context = NULL;
    qa_trainable *trainable = NULL;
    qa_error err = {0};
    char *dir = qa_tempdir_make();
    qa_bag bag = qa_bag_open(2);
    tiny_model_write(dir, &options);
    qa_expect_ok(qa_context_create(&context, threads, (qa_logger){0}, &err), &err);
    qa_expect_ok(qa_trainable_load(&trainable, context, dir, &err), &err);
    const qa_real *kept = weights_gradient(&bag, trainable, false), *again = weights_gradient(&bag, trainable, true);
    ck_assert_mem_eq(again, kept, trainable->count * sizeof(qa_real));
    for (size_t i = 0; i < trainable->n_tensors; i++) { /* something was found of every tensor that is asked here */
        const qa_parameter_tensor *t = &trainable->tensors[i];
        double sum = 0.0;
        for (size_t j = 0; j < t->count; j++) {
            sum += fabs((double)kept[t->offset + j]);
        }
        ck_assert((sum > 0.0) == (strcmp(t->name, "lm_head.weight") != 0)); /* the head's is qa_pass_head_backward's */
    }
    qa_bag_close(&bag);
    qa_trainable_free(trainable);
    qa_context_free(context);
    qa_tempdir_remove(dir);
}
END_TEST

/* ---- memory ---- */

/* docs/design.md, "Activations, kept or made again": reals that stay of a row of a layer until its backward. */
static size_t reals_kept(const qa_config *config, const qa_lora_options *lora, bool recompute) {
    const size_t d = config->hidden_size, f = config->intermediate_size, h = config->head_dim;
    const size_t H = config->num_attention_heads, G = config->num_key_value_heads;
    size_t branches = 0;
    for (size_t t = 0; lora != NULL && t < QA_TARGETS; t++) {
        branches += lora->targets[t] ? 1 : 0;
    }
    const size_t made_again = d + 2 * f + 2 * H * h + 2 * G * h + 2 + branches * (lora == NULL ? 0 : lora->rank);
    return d + (recompute ? 0 : made_again);
}

static size_t bytes_of(const qa_fixture *f, const qa_lora_options *lora, qa_pass_limits limits) {
    qa_error err = {0};
    size_t bytes = 0;
    qa_expect_ok(qa_pass_bytes(f->model, lora, limits, &bytes, &err), &err);
    return bytes;
}

/* What one layer more takes, and what is saved in all layers but one. Rows in multiples of 16 leave no gaps between the
 * arrays, each of which begins at a multiple of 64 bytes. */
static void check_memory(qa_pass_limits limits, const qa_lora_options *lora) {
    tiny_model_options options = model_of(20, 36, 4, 4);
    qa_fixture less = qa_fixture_open(&options, NULL, 2);
    options.layers = 5;
    qa_fixture more = qa_fixture_open(&options, NULL, 2);
    size_t bytes[2] = {0};
    for (int recompute = 0; recompute < 2; recompute++) {
        limits.recompute = recompute == 1;
        bytes[recompute] = bytes_of(&more, lora, limits);
        ck_assert_uint_eq(bytes[recompute] - bytes_of(&less, lora, limits),
                          limits.max_rows * reals_kept(&more.model->config, lora, limits.recompute) * sizeof(qa_real));
    }
    const size_t saved = reals_kept(&more.model->config, lora, false) - reals_kept(&more.model->config, lora, true);
    ck_assert_uint_eq(bytes[0] - bytes[1], 4 * limits.max_rows * saved * sizeof(qa_real));
    qa_fixture_close(&more);
    qa_fixture_close(&less);
}

START_TEST(memory_is_as_documented) {
    qa_lora_options lora = qa_fixture_lora();
    qa_pass_limits limits = {.max_rows = 48, .max_states = 16, .backward = true};
    check_memory(limits, &lora);
    lora.targets[QA_TARGET_DOWN] = lora.targets[QA_TARGET_K] = false;
    lora.rank = 8;
    lora.dropout = 0.1;
    check_memory(limits, &lora);
    limits = (qa_pass_limits){.max_rows = 48, .max_states = 16, .max_documents = 3, .weights = true};
    check_memory(limits, NULL);
}
END_TEST

/* All logits of a pass without backward, [2 x rows x V]. */
static qa_real *logits(qa_bag *bag, const qa_fixture *f, qa_pass_limits limits, const input *in) {
    const size_t V = f->model->config.vocab_size;
    qa_real *out = qa_bag_zeros(bag, 2 * in->rows * V), *base = NULL, *adapted = NULL;
    qa_pass *pass = NULL;
    qa_error err = {0};
    qa_expect_ok(qa_pass_create(&pass, f->model, f->adapter, limits, &err), &err);
    qa_expect_ok(qa_pass_forward(pass, &in->packed, in->states, in->rows, 0, &err), &err);
    qa_pass_head(pass, 0, in->rows, &base, &adapted);
    memcpy(out, base, in->rows * V * sizeof *out);
    memcpy(out + in->rows * V, adapted, in->rows * V * sizeof *out);
    qa_pass_free(pass);
    return out;
}

/* Then the option means nothing: no byte less, and streams that share their products. */
START_TEST(without_backward_there_is_nothing_to_save) {
    const tiny_model_options options = model_of(60, 172, 16, 3);
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture f = qa_fixture_open(&options, &lora, 1);
    const qa_pass_limits limits = {.max_rows = 48, .max_states = 48};
    qa_pass_limits asked = limits;
    asked.recompute = true;
    ck_assert_uint_eq(bytes_of(&f, &lora, asked), bytes_of(&f, &lora, limits));
    for (size_t c = 0; c < 4; c++) {
        qa_bag bag = qa_bag_open(c);
        input in;
        make_input(&in, lengths[c], c);
        const qa_real *plain = logits(&bag, &f, limits, &in), *other = logits(&bag, &f, asked, &in);
        ck_assert_mem_eq(other, plain, 2 * in.rows * VOCABULARY * sizeof *plain);
        qa_bag_close(&bag);
    }
    qa_fixture_close(&f);
}
END_TEST

/* ---- mistakes ---- */

START_TEST(nan_is_seen_and_named) {
    const tiny_model_options options = model_of(16, 24, 4, 3);
    const qa_lora_options lora = qa_fixture_lora();
    qa_fixture f = qa_fixture_open(&options, &lora, 1);
    qa_pass *pass = open_pass(&f, true);
    qa_error err = {0};
    input in;
    make_input(&in, lengths[3], 1);
    const size_t down = qa_adapter_place(f.adapter, 0, QA_TARGET_DOWN)->b;
    const size_t value = qa_adapter_place(f.adapter, 1, QA_TARGET_V)->b;
    const qa_real kept = f.adapter->parameters[down];
    f.adapter->parameters[down] = (qa_real)NAN;
    qa_expect_error(qa_pass_forward(pass, &in.packed, in.states, in.rows, 0, &err), QA_ERR_NAN, &err,
                    "adapted stream, entering layer 1");
    f.adapter->parameters[down] = kept;
    f.adapter->parameters[value] = (qa_real)INFINITY;
    qa_expect_error(qa_pass_forward(pass, &in.packed, in.states, in.rows, 0, &err), QA_ERR_NAN, &err,
                    "adapted stream, after the attention of layer 1");
    qa_pass_free(pass);
    qa_fixture_close(&f);
}
END_TEST

Suite *model_recompute_suite(void);
Suite *model_recompute_suite(void) {
    Suite *suite = suite_create("model/recompute");
    TCase *tcase = tcase_create("recompute");
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(tcase, the_gradient_is_the_same, 1, 4);
    tcase_add_loop_test(tcase, every_set_of_targets, 0, QA_TARGET_DOWN + 2);
    tcase_add_test(tcase, against_central_differences);
    tcase_add_loop_test(tcase, all_weights, 1, 4);
    tcase_add_test(tcase, memory_is_as_documented);
    tcase_add_test(tcase, without_backward_there_is_nothing_to_save);
    tcase_add_test(tcase, nan_is_seen_and_named);
    suite_add_tcase(suite, tcase);
    return suite;
}
