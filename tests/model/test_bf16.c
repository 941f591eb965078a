/* A model whose matrices stay in BF16: the weights of the file to the bit, half the memory; forward, backward and
 * decoding agree with the same weights in the build's precision; rounding; what does not fit BF16 is refused. */
#include "io/dtype.h"
#include "io/safetensors.h"
#include "model/decode.h"
#include "model/pass.h"
#include "support/arrays.h"
#include "support/compare.h"
#include "support/expect.h"
#include "support/fixture.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#ifdef QA_F64
#define SAME 1e-12 /* observed 2e-15 */
#else
#define SAME 3e-5 /* observed 1e-6 */
#endif

enum { MAX_TENSORS = 64 };

/* Writes the file again in another dtype; largest != 0: the first element of the head becomes that. */
static void rewrite(const char *dir, qa_dtype dtype, double largest) {
    qa_error err = {0};
    qa_safetensors *file = NULL;
    qa_safetensors_writer *writer = NULL;
    double *values[MAX_TENSORS] = {0};
    char *path = qa_tempdir_join(dir, "model.safetensors");
    qa_expect_ok(qa_safetensors_open(&file, path, &err), &err);
    qa_expect_ok(qa_safetensors_writer_create(&writer, &err), &err);
    const size_t n = qa_safetensors_count(file);
    ck_assert_uint_le(n, MAX_TENSORS);
    for (size_t i = 0; i < n; i++) {
        const qa_tensor *t = qa_safetensors_at(file, i);
        values[i] = malloc(t->count * sizeof *values[i]);
        qa_expect_ok(qa_tensor_read_double(file, t, false, values[i], &err), &err);
        if (largest != 0.0 && strcmp(t->name, "lm_head.weight") == 0) {
            values[i][0] = largest;
        }
        qa_expect_ok(qa_safetensors_writer_add_double(writer, t->name, dtype, t->n_dims, t->shape, values[i], &err),
                     &err);
    }
    qa_expect_ok(qa_safetensors_writer_save(writer, path, &err), &err);
    qa_safetensors_writer_free(writer);
    qa_safetensors_close(file);
    for (size_t i = 0; i < n; i++) {
        free(values[i]);
    }
    free(path);
}

/* The fixture's folder with weights that BF16 holds exactly, loaded with the given --dtype, and a random adapter. */
static qa_fixture open_as(const tiny_model_options *options, qa_dtype stored, qa_weights_dtype dtype, size_t threads) {
    qa_lora_options lora = qa_fixture_lora();
    qa_fixture f = qa_fixture_open(options, &lora, threads);
    qa_error err = {0};
    qa_adapter *adapter = f.adapter;
    qa_model *before = f.model;
    rewrite(f.dir, QA_DTYPE_BF16, 0.0);
    rewrite(f.dir, stored, 0.0);
    qa_expect_ok(qa_model_load_as(&f.model, f.context, f.dir, dtype, &err), &err);
    qa_expect_ok(qa_adapter_create(&f.adapter, f.model, &lora, 11, &err), &err);
    memcpy(f.adapter->parameters, adapter->parameters, adapter->count * sizeof *adapter->parameters);
    qa_adapter_free(adapter);
    qa_model_free(before);
    return f;
}

static tiny_model_options wide_model(void) {
    tiny_model_options options = tiny_model_defaults();
    options.hidden_size = 40; /* no multiple of a kernel's step, and more than one */
    options.intermediate_size = 72;
    options.qkv_bias = true;
    options.vocab_size = 101;
    return options;
}

static bool is_bf16(qa_weight w) { return w.real == NULL && w.bf16 != NULL; }

START_TEST(what_is_kept) {
    static const struct {
        qa_dtype stored;
        qa_weights_dtype dtype;
        bool bf16;
    } cases[] = {{QA_DTYPE_BF16, QA_WEIGHTS_STORED, true}, {QA_DTYPE_F32, QA_WEIGHTS_STORED, false},
                 {QA_DTYPE_F16, QA_WEIGHTS_STORED, false}, {QA_DTYPE_BF16, QA_WEIGHTS_REAL, false},
                 {QA_DTYPE_F32, QA_WEIGHTS_BF16, true},    {QA_DTYPE_F64, QA_WEIGHTS_BF16, true}};
    const tiny_model_options options = wide_model();
    qa_fixture plain = open_as(&options, QA_DTYPE_F32, QA_WEIGHTS_REAL, 1);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qa_fixture f = open_as(&options, cases[i].stored, cases[i].dtype, 1);
        const qa_model_info *info = qa_model_get_info(f.model), *full = qa_model_get_info(plain.model);
        ck_assert_str_eq(info->stored_dtype, qa_dtype_name(cases[i].stored));
        ck_assert_str_eq(info->memory_dtype, cases[i].bf16 ? "BF16" : QA_REAL_DTYPE);
        ck_assert_uint_eq(info->parameters, full->parameters);
        ck_assert(is_bf16(f.model->embedding) == cases[i].bf16 && is_bf16(f.model->head) == cases[i].bf16);
        for (qa_target t = QA_TARGET_Q; t <= QA_TARGET_DOWN; t++) {
            const qa_linear *linear = &f.model->layers[1].linear[t], *other = &plain.model->layers[1].linear[t];
            qa_real row[128];
            ck_assert(is_bf16(linear->weight) == cases[i].bf16);
            for (size_t o = 0; cases[i].stored != QA_DTYPE_F16 && o < linear->out; o++) {
                qa_weight_row(row, linear->weight, o, linear->in);
                ck_assert_mem_eq(row, other->weight.real + o * linear->in, linear->in * sizeof *row);
            }
        }
        if (cases[i].bf16) { /* what is no matrix, and what pads the pieces, is a few hundredths */
            ck_assert_uint_lt(info->weight_bytes, full->weight_bytes * sizeof(uint16_t) / sizeof(qa_real) * 5 / 4);
        }
        qa_fixture_close(&f);
    }
    qa_fixture_close(&plain);
}
END_TEST

/* Logits of every row, and the gradient of the adapter for a fixed dL/d(head's input). */
typedef struct found {
    qa_real *base, *adapted, *gradient, *states;
    size_t rows, V, d;
} found;

enum { PROMPT = 9, RESPONSE = 14, ROWS = PROMPT + 2 * RESPONSE };

static found run(const qa_fixture *f, qa_bag *bag) {
    const size_t V = f->model->config.vocab_size, d = f->model->config.hidden_size;
    int32_t ids[ROWS];
    size_t states[ROWS];
    qa_error err = {0};
    qa_pass *pass = NULL;
    qa_real *base = NULL, *adapted = NULL;
    found out = {.rows = ROWS, .V = V, .d = d};
    for (size_t i = 0; i < ROWS; i++) {
        ids[i] = (int32_t)((i * 13 + 5) % V);
        states[i] = i;
    }
    const qa_packed pair = {.trunk = {ids, PROMPT},
                            .branches = {{ids + PROMPT, RESPONSE}, {ids + PROMPT + RESPONSE, RESPONSE}},
                            .n_branches = 2};
    const qa_pass_limits limits = {.max_rows = ROWS, .max_states = ROWS, .backward = true};
    qa_expect_ok(qa_pass_create(&pass, f->model, f->adapter, limits, &err), &err);
    qa_expect_ok(qa_pass_forward(pass, &pair, states, ROWS, 0, &err), &err);
    qa_pass_head(pass, 0, ROWS, &base, &adapted);
    out.base = qa_bag_copy(bag, base, ROWS * V);
    out.adapted = qa_bag_copy(bag, adapted, ROWS * V);
    out.states = qa_bag_zeros(bag, ROWS * d);
    out.gradient = qa_bag_zeros(bag, f->adapter->count);
    qa_pass_head_transpose(pass, out.states, adapted, ROWS);
    for (size_t i = 0; i < ROWS; i++) {
        qa_pass_add_head_row(pass, out.states + i * d, (qa_real)0.25, ids[i]);
    }
    qa_pass_backward(pass, out.gradient, out.states);
    qa_pass_free(pass);
    return out;
}

START_TEST(forward_and_backward_agree) {
    tiny_model_options options = wide_model();
    for (int tied = 0; tied < 2; tied++) {
        options.tied = tied == 1;
        qa_bag bag = qa_bag_open(1);
        qa_fixture real = open_as(&options, QA_DTYPE_BF16, QA_WEIGHTS_REAL, 2);
        const found expected = run(&real, &bag);
        for (size_t threads = 1; threads <= 3; threads++) {
            qa_fixture f = open_as(&options, QA_DTYPE_BF16, QA_WEIGHTS_STORED, threads);
            const found got = run(&f, &bag);
            QA_ASSERT_REALS("base logits", got.base, expected.base, ROWS * got.V, SAME, 0.0);
            QA_ASSERT_REALS("adapted logits", got.adapted, expected.adapted, ROWS * got.V, SAME, 0.0);
            QA_ASSERT_REALS("dL/dh", got.states, expected.states, ROWS * got.d, SAME, 0.0);
            QA_ASSERT_REALS("gradient", got.gradient, expected.gradient, f.adapter->count, SAME, 0.0);
            qa_fixture_close(&f);
        }
        qa_fixture_close(&real);
        qa_bag_close(&bag);
    }
}
END_TEST

static void decode(const qa_fixture *f, qa_real *logits) {
    static const int32_t ids[] = {1, 7, 12, 5, 9, 21, 4, 3, 8, 8, 26, 11, 2};
    const size_t n = sizeof ids / sizeof *ids, V = f->model->config.vocab_size;
    qa_error err = {0};
    qa_kv_decoder *decoder = NULL;
    qa_real *base = NULL, *adapted = NULL;
    qa_expect_ok(qa_kv_decoder_create(&decoder, f->model, f->adapter, QA_KV_BOTH, 32, &err), &err);
    qa_expect_ok(qa_kv_decoder_forward(decoder, ids, n - 1, &base, &adapted, &err), &err);
    qa_expect_ok(qa_kv_decoder_forward(decoder, ids + n - 1, 1, &base, &adapted, &err), &err);
    memcpy(logits, base, V * sizeof *base);
    memcpy(logits + V, adapted, V * sizeof *adapted);
    qa_kv_decoder_free(decoder);
}

START_TEST(decoding_agrees) {
    const tiny_model_options options = wide_model();
    qa_bag bag = qa_bag_open(2);
    qa_fixture real = open_as(&options, QA_DTYPE_BF16, QA_WEIGHTS_REAL, 2);
    const size_t V = real.model->config.vocab_size;
    qa_real *expected = qa_bag_zeros(&bag, 2 * V), *got = qa_bag_zeros(&bag, 2 * V);
    decode(&real, expected);
    for (size_t threads = 1; threads <= 3; threads++) {
        qa_fixture f = open_as(&options, QA_DTYPE_BF16, QA_WEIGHTS_STORED, threads);
        decode(&f, got);
        QA_ASSERT_REALS("logits", got, expected, 2 * V, SAME, 0.0);
        qa_fixture_close(&f);
    }
    qa_fixture_close(&real);
    qa_bag_close(&bag);
}
END_TEST

START_TEST(what_does_not_fit_is_refused) {
    const tiny_model_options options = wide_model();
    qa_fixture f = qa_fixture_open(&options, NULL, 1);
    qa_error err = {0};
    qa_model *model = NULL;
    rewrite(f.dir, QA_DTYPE_F32, 3.4e38); /* a finite float, which rounds to infinity */
    qa_expect_ok(qa_model_load_as(&model, f.context, f.dir, QA_WEIGHTS_STORED, &err), &err);
    qa_model_free(model);
    qa_expect_error(qa_model_load_as(&model, f.context, f.dir, QA_WEIGHTS_BF16, &err), QA_ERR_NAN, &err,
                    "\"lm_head.weight\" [101, 40]: element 0 of 4040 is inf");
    ck_assert_ptr_null(model);
    rewrite(f.dir, QA_DTYPE_BF16, NAN);
    qa_expect_error(qa_model_load_as(&model, f.context, f.dir, QA_WEIGHTS_STORED, &err), QA_ERR_NAN, &err,
                    "\"lm_head.weight\" [101, 40]: element 0 of 4040 is nan");
    qa_fixture_close(&f);
}
END_TEST

Suite *model_bf16_suite(void);
Suite *model_bf16_suite(void) {
    Suite *suite = suite_create("model/bf16");
    TCase *tcase = tcase_create("bf16");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, what_is_kept);
    tcase_add_test(tcase, forward_and_backward_agree);
    tcase_add_test(tcase, decoding_agrees);
    tcase_add_test(tcase, what_does_not_fit_is_refused);
    suite_add_tcase(suite, tcase);
    return suite;
}
