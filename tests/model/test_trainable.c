/* Training all weights: the gradient of every tensor by central differences, documents that do not see each other,
 * initial weights, a folder that loads again. */
#include "arch/families.h"
#include "model/trainable.h"

#include "base/rng.h"
#include "model/pass.h"
#include "support/arrays.h"
#include "support/compare.h"
#include "support/fixture.h"
#include "support/gradcheck.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef QA_F64
#define EXACT 1e-12 /* observed 3e-15 */
#else
#define EXACT 2e-5 /* observed 2e-6 */
#endif

enum { DOCUMENTS = 3, ROWS = 5 + 1 + 7, STATES = ROWS };

static const int32_t first[5] = {1, 7, 3, 20, 7};
static const int32_t second[1] = {9};
static const int32_t third[7] = {1, 5, 13, 7, 4, 21, 2};
static const qa_tokens documents[DOCUMENTS] = {{first, 5}, {second, 1}, {third, 7}};

/* A model to train, its pass, and a fixed random upstream gradient on the logits of every row (row 3 twice). */
typedef struct training {
    qa_context *context;
    qa_trainable *trainable;
    qa_pass *pass;
    size_t states[STATES];
    size_t V, d;
    qa_real *upstream; /* [STATES x V] */
} training;

static training open_training(const tiny_model_options *options) {
    training t = {0};
    qa_error err = {0};
    char *dir = qa_tempdir_make();
    tiny_model_write(dir, options);
    qa_expect_ok(qa_context_create(&t.context, 2, (qa_logger){0}, &err), &err);
    qa_expect_ok(qa_trainable_load(&t.trainable, t.context, dir, &err), &err);
    qa_tempdir_remove(dir);
    const qa_pass_limits limits = {.max_rows = ROWS, .max_states = STATES, .max_documents = DOCUMENTS, .weights = true};
    qa_expect_ok(qa_pass_create(&t.pass, t.trainable->model, NULL, limits, &err), &err);
    t.V = t.trainable->model->config.vocab_size;
    t.d = t.trainable->model->config.hidden_size;
    for (size_t i = 0; i < STATES; i++) {
        t.states[i] = i == 4 ? 3 : i;
    }
    t.upstream = malloc(STATES * t.V * sizeof *t.upstream);
    qa_rng rng = qa_rng_seed(5, 0);
    for (size_t i = 0; i < STATES * t.V; i++) {
        t.upstream[i] = (qa_real)qa_rng_normal(&rng);
    }
    return t;
}

static void close_training(training *t) {
    free(t->upstream);
    qa_pass_free(t->pass);
    qa_trainable_free(t->trainable);
    qa_context_free(t->context);
}

static double loss(void *context) {
    training *t = context;
    qa_error err = {0};
    qa_real *logits = NULL;
    qa_real *none = NULL;
    double sum = 0;
    qa_expect_ok(qa_pass_forward(t->pass, &(qa_packed){.documents = documents, .n_documents = DOCUMENTS}, t->states,
                                 STATES, 0, &err),
                 &err);
    qa_pass_head(t->pass, 0, STATES, &logits, &none);
    ck_assert_ptr_null(none);
    for (size_t i = 0; i < STATES * t->V; i++) {
        sum += (double)t->upstream[i] * (double)logits[i];
    }
    return sum;
}

/* The gradient of the loss, in chunks of 4 states, added to t->trainable->gradient. */
static void backward(training *t) {
    (void)loss(t);
    qa_real *dstates = malloc(STATES * t->d * sizeof *dstates);
    for (size_t begin = 0; begin < STATES; begin += 4) {
        const size_t count = STATES - begin < 4 ? STATES - begin : 4;
        qa_pass_head_backward(t->pass, &t->trainable->gradients, dstates + begin * t->d, t->upstream + begin * t->V,
                              begin, count);
    }
    qa_pass_backward_weights(t->pass, &t->trainable->gradients, dstates);
    free(dstates);
}

static void check_gradients(const tiny_model_options *options) {
    training t = open_training(options);
    qa_trainable *trainable = t.trainable;
    backward(&t);
    for (size_t i = 0; i < trainable->n_tensors; i++) {
        const qa_parameter_tensor *tensor = &trainable->tensors[i];
        QA_ASSERT_GRADIENT(tensor->name, trainable->parameters + tensor->offset, tensor->count,
                           trainable->gradient + tensor->offset, loss, &t, 1e-5, 1e-7, 60, 3 + i);
    }
    close_training(&t);
}

START_TEST(every_weight_has_its_gradient) {
    tiny_model_options options = tiny_model_defaults();
    check_gradients(&options);
    options.tied = true;
    options.qkv_bias = true;
    options.kv_heads = 1;
    options.head_dim = 6;
    options.rope = TINY_ROPE_LLAMA3;
    check_gradients(&options);
}
END_TEST

START_TEST(gradients_add_up) {
    tiny_model_options options = tiny_model_defaults();
    options.tied = true;
    training t = open_training(&options);
    const size_t count = t.trainable->count;
    backward(&t);
    qa_real *once = malloc(count * sizeof *once);
    for (size_t i = 0; i < count; i++) {
        once[i] = 2 * t.trainable->gradient[i];
    }
    backward(&t);
    QA_ASSERT_REALS("two backward passes", t.trainable->gradient, once, count, EXACT, 0.0);
    free(once);
    close_training(&t);
}
END_TEST

START_TEST(documents_are_alone) {
    tiny_model_options options = tiny_model_defaults();
    training t = open_training(&options);
    (void)loss(&t);
    qa_real *logits = NULL;
    qa_real *none = NULL;
    qa_pass_head(t.pass, 0, STATES, &logits, &none);
    qa_real *packed = malloc(STATES * t.V * sizeof *packed);
    memcpy(packed, logits, STATES * t.V * sizeof *packed);
    qa_error err = {0};
    size_t row = 0;
    for (size_t i = 0; i < DOCUMENTS; i++) {
        const qa_packed alone = {.trunk = documents[i]};
        const size_t n = documents[i].n;
        size_t rows[STATES];
        for (size_t j = 0; j < n; j++) {
            rows[j] = t.states[row + j] - row;
        }
        qa_expect_ok(qa_pass_forward(t.pass, &alone, rows, n, 0, &err), &err);
        qa_pass_head(t.pass, 0, n, &logits, &none);
        QA_ASSERT_REALS("document", packed + row * t.V, logits, n * t.V, EXACT, 0.0);
        row += n;
    }
    free(packed);
    close_training(&t);
}
END_TEST

START_TEST(limits_are_named) {
    tiny_model_options options = tiny_model_defaults();
    training t = open_training(&options);
    qa_error err = {0};
    const qa_tokens empty[2] = {{first, 5}, {second, 0}};
    ck_assert_int_eq(
        qa_pass_forward(t.pass, &(qa_packed){.documents = documents, .n_documents = 0}, t.states, 1, 0, &err),
        QA_ERR_LIMIT);
    const qa_tokens many[DOCUMENTS + 1] = {{second, 1}, {second, 1}, {second, 1}, {second, 1}};
    ck_assert_int_eq(
        qa_pass_forward(t.pass, &(qa_packed){.documents = many, .n_documents = DOCUMENTS + 1}, t.states, 1, 0, &err),
        QA_ERR_LIMIT);
    ck_assert_int_eq(qa_pass_forward(t.pass, &(qa_packed){.documents = empty, .n_documents = 2}, t.states, 1, 0, &err),
                     QA_ERR_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(err.message, "document 1"));
    const qa_tokens long_ones[3] = {{third, 7}, {third, 7}, {first, 5}};
    ck_assert_int_eq(
        qa_pass_forward(t.pass, &(qa_packed){.documents = long_ones, .n_documents = 3}, t.states, 1, 0, &err),
        QA_ERR_LIMIT);
    close_training(&t);
}
END_TEST

static qa_config village_like(bool tied) {
    qa_config config = {.family = qa_family_by_architecture("LlamaForCausalLM"),
                        .hidden_size = 48,
                        .intermediate_size = 64,
                        .num_hidden_layers = 2,
                        .num_attention_heads = 4,
                        .num_key_value_heads = 2,
                        .head_dim = 12,
                        .vocab_size = 100,
                        .max_position_embeddings = 32,
                        .tie_word_embeddings = tied,
                        .bos_id = -1,
                        .eos_ids = {2, 3},
                        .n_eos = 2};
    qa_config_set_plain(&config);
    config.norm_eps = 1e-5;
    config.tie_word_embeddings = tied;
    return config;
}

START_TEST(initial_weights) {
    qa_context *context = NULL;
    qa_trainable *one = NULL, *same = NULL, *other = NULL;
    qa_error err = {0};
    const qa_config config = village_like(true);
    qa_expect_ok(qa_context_create(&context, 1, (qa_logger){0}, &err), &err);
    qa_expect_ok(qa_trainable_create(&one, context, &config, "new", 0.02, 1, &err), &err);
    qa_expect_ok(qa_trainable_create(&same, context, &config, "new", 0.02, 1, &err), &err);
    qa_expect_ok(qa_trainable_create(&other, context, &config, "new", 0.02, 2, &err), &err);
    ck_assert_uint_eq(one->count, qa_model_get_info(one->model)->parameters);
    ck_assert_int_eq(memcmp(one->parameters, same->parameters, one->count * sizeof(qa_real)), 0);
    ck_assert_int_ne(memcmp(one->parameters, other->parameters, one->count * sizeof(qa_real)), 0);
    ck_assert_ptr_eq(one->model->head.real, one->model->embedding.real);
    bool matrices_first = true;
    for (size_t i = 0; i < one->n_tensors; i++) {
        const qa_parameter_tensor *tensor = &one->tensors[i];
        ck_assert_ptr_eq(qa_trainable_tensor_at(one, tensor->offset), tensor);
        ck_assert_ptr_eq(qa_trainable_tensor_at(one, tensor->offset + tensor->count - 1), tensor);
        matrices_first &= (tensor->columns > 0) == (tensor->offset < one->decayed);
        if (tensor->columns == 0) {
            ck_assert_double_eq((double)one->parameters[tensor->offset], 1.0);
            continue;
        }
        double square = 0;
        for (size_t j = 0; j < tensor->count; j++) {
            square += (double)one->parameters[tensor->offset + j] * (double)one->parameters[tensor->offset + j];
        }
        const bool into_residual =
            strstr(tensor->name, ".o_proj.") != NULL || strstr(tensor->name, ".down_proj.") != NULL;
        ck_assert_msg(tensor->into_residual == into_residual, "%s", tensor->name);
        const double expected = into_residual ? 0.01 : 0.02; /* 0.02 / sqrt(2 * 2 layers) */
        const double found = sqrt(square / (double)tensor->count);
        ck_assert_msg(fabs(found / expected - 1) < 0.1, "%s: deviation %g, expected %g", tensor->name, found, expected);
    }
    ck_assert(matrices_first);
    qa_trainable_free(one);
    qa_trainable_free(same);
    ck_assert_int_eq(qa_trainable_create(&same, context, &config, "new", 0, 1, &err), QA_ERR_ARGUMENT);
    qa_trainable_free(other);
    qa_context_free(context);
}
END_TEST

static void check_saved(qa_dtype dtype, bool tied, double tolerance) {
    qa_context *context = NULL;
    qa_trainable *made = NULL, *loaded = NULL;
    qa_error err = {0};
    const qa_config config = village_like(tied);
    char *dir = qa_tempdir_make();
    qa_expect_ok(qa_context_create(&context, 1, (qa_logger){0}, &err), &err);
    qa_expect_ok(qa_trainable_create(&made, context, &config, "new", 0.02, 1, &err), &err);
    qa_expect_ok(qa_trainable_save(made, dir, dtype, &err), &err);
    qa_expect_ok(qa_trainable_load(&loaded, context, dir, &err), &err);
    ck_assert_uint_eq(loaded->count, made->count);
    QA_ASSERT_REALS("weights", loaded->parameters, made->parameters, made->count, tolerance, 0.0);
    const qa_config *read = &loaded->model->config;
    ck_assert_uint_eq(read->n_eos, 2);
    ck_assert_int_eq(read->eos_ids[1], 3);
    ck_assert_int_eq(read->bos_id, -1);
    ck_assert_uint_eq(read->head_dim, 12);
    ck_assert_double_eq(read->norm_eps, 1e-5);
    ck_assert(read->tie_word_embeddings == tied);
    qa_trainable_free(made);
    qa_trainable_free(loaded);
    qa_context_free(context);
    qa_tempdir_remove(dir);
}

START_TEST(saved_and_loaded) {
    check_saved(QA_DTYPE_F32, true, 1e-7);
    check_saved(QA_DTYPE_BF16, false, 0x1p-8);
}
END_TEST

/* A finite weight that the dtype of the file rounds to infinity. */
START_TEST(weights_beyond_the_files_dtype) {
    tiny_model_options options = tiny_model_defaults();
    training t = open_training(&options);
    char *dir = qa_tempdir_make();
    qa_error err = {0};
    t.trainable->parameters[3] = (qa_real)65519;
    qa_expect_ok(qa_trainable_save(t.trainable, dir, QA_DTYPE_F16, &err), &err);
    t.trainable->parameters[3] = (qa_real)70000;
    qa_expect_error(qa_trainable_save(t.trainable, dir, QA_DTYPE_F16, &err), QA_ERR_NAN, &err,
                    "tensor \"model.embed_tokens.weight\": element 3 is 70000, which F16 cannot hold");
    qa_expect_ok(qa_trainable_save(t.trainable, dir, QA_DTYPE_BF16, &err), &err);
    qa_expect_ok(qa_trainable_save(t.trainable, dir, QA_DTYPE_F32, &err), &err);
    qa_tempdir_remove(dir);
    close_training(&t);
}
END_TEST

Suite *model_trainable_suite(void);

Suite *model_trainable_suite(void) {
    Suite *suite = suite_create("model/trainable");
    TCase *tcase = tcase_create("trainable");
    tcase_add_test(tcase, every_weight_has_its_gradient);
    tcase_add_test(tcase, gradients_add_up);
    tcase_add_test(tcase, documents_are_alone);
    tcase_add_test(tcase, limits_are_named);
    tcase_add_test(tcase, initial_weights);
    tcase_add_test(tcase, saved_and_loaded);
    tcase_add_test(tcase, weights_beyond_the_files_dtype);
    suite_add_tcase(suite, tcase);
    return suite;
}
