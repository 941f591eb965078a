/* The fingerprint of a model: the same for the same values however they are stored and loaded, another one for every
 * weight and every number of the config that counts, and a value that never changes: it stands in files. */
#include "base/sha256.h"
#include "io/safetensors.h"
#include "model/trainable.h"
#include "support/compare.h"
#include "support/fixture.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_STORED = 64 };

static char *dir;
static char *weights; /* dir/model.safetensors */
static tiny_model_options options;
static qa_error err;

static void setup(void) {
    dir = qa_tempdir_make();
    weights = qa_tempdir_join(dir, "model.safetensors");
    options = tiny_model_defaults();
    tiny_model_write(dir, &options);
}

static void teardown(void) {
    free(weights);
    qa_tempdir_remove(dir);
}

typedef struct digits {
    char hex[QA_SHA256_HEX_BYTES];
} digits;

static digits loaded(qa_weights_dtype dtype, size_t threads) {
    digits found;
    qa_context *context = NULL;
    qa_model *model = NULL;
    qa_expect_ok(qa_context_create(&context, threads, (qa_logger){0}, &err), &err);
    qa_expect_ok(qa_model_load_as(&model, context, dir, dtype, &err), &err);
    (void)snprintf(found.hex, sizeof found.hex, "%s", qa_model_fingerprint(model));
    ck_assert_uint_eq(strlen(found.hex), 64);
    ck_assert_str_eq(qa_model_fingerprint(model), found.hex);
    qa_model_free(model);
    qa_context_free(context);
    return found;
}

static digits of_folder(void) { return loaded(QA_WEIGHTS_REAL, 1); }

static bool same(digits a, digits b) { return strcmp(a.hex, b.hex) == 0; }

/* How a file is written again. */
typedef struct rewriting {
    qa_dtype dtype;
    bool coarse;         /* values are rounded to six binary digits first: every dtype holds them */
    const char *changed; /* a tensor whose last element moves to the next float */
    const char *swapped; /* one whose first two elements change places */
    int part;            /* 1: layer 0 only, 2: the rest, 0: everything */
} rewriting;

static void edit(double *values, size_t count, const char *name, rewriting how) {
    for (size_t i = 0; how.coarse && i < count; i++) {
        int exponent = 0;
        const double fraction = frexp(values[i], &exponent);
        values[i] =
            exponent < -13 ? 0 : ldexp(round(fraction * 64), exponent - 6); /* F16 has normal numbers from 2^-14 */
    }
    if (how.changed != NULL && strcmp(how.changed, name) == 0) {
        values[count - 1] = (double)nextafterf((float)values[count - 1], INFINITY);
    }
    if (how.swapped != NULL && strcmp(how.swapped, name) == 0) {
        const double first = values[0];
        ck_assert(first != values[1]);
        values[0] = values[1];
        values[1] = first;
    }
}

static void rewrite(const char *to, rewriting how) {
    qa_safetensors *file = NULL;
    qa_safetensors_writer *writer = NULL;
    double *values[MAX_STORED] = {0};
    qa_expect_ok(qa_safetensors_open(&file, weights, &err), &err);
    qa_expect_ok(qa_safetensors_writer_create(&writer, &err), &err);
    const size_t n = qa_safetensors_count(file);
    ck_assert_uint_le(n, MAX_STORED);
    for (size_t i = 0; i < n; i++) {
        const qa_tensor *tensor = qa_safetensors_at(file, i);
        const bool first_layer = strncmp(tensor->name, "model.layers.0.", 15) == 0;
        if (how.part != 0 && first_layer != (how.part == 1)) {
            continue;
        }
        values[i] = malloc(tensor->count * sizeof *values[i]);
        qa_expect_ok(qa_tensor_read_double(file, tensor, false, values[i], &err), &err);
        edit(values[i], tensor->count, tensor->name, how);
        qa_expect_ok(qa_safetensors_writer_add_double(writer, tensor->name, how.dtype, tensor->n_dims, tensor->shape,
                                                      values[i], &err),
                     &err);
    }
    qa_expect_ok(qa_safetensors_writer_save(writer, to, &err), &err);
    qa_safetensors_writer_free(writer);
    qa_safetensors_close(file);
    for (size_t i = 0; i < n; i++) {
        free(values[i]);
    }
}

static void write_config(const char *extra) {
    char text[1024];
    (void)snprintf(text, sizeof text,
                   "{\"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": 16, \"intermediate_size\": 24, "
                   "\"num_hidden_layers\": 2, \"vocab_size\": 29%s}",
                   extra);
    free(qa_tempdir_write_text(dir, "config.json", text));
}

#define HEADS ", \"num_attention_heads\": 4, \"num_key_value_heads\": 2"
#define EPS ", \"rms_norm_eps\": 1e-05"
#define CONTEXT ", \"max_position_embeddings\": 64"

/* Computed from the definition by another program (NumPy and hashlib). */
START_TEST(the_value_that_stands_in_files) {
    const char *expected = "7cdae93bbcaab4ddc41e7cb2c63d19031c438dc303f3966d472d0c82ea1a33ce";
    ck_assert_str_eq(of_folder().hex, expected);
    options.rope = TINY_ROPE_LLAMA3;
    options.tied = true;
    options.qkv_bias = true;
    options.vocab_size = 700; /* more than one block of an embedding, and a part of one */
    tiny_model_write(dir, &options);
    ck_assert_str_eq(of_folder().hex, "5df863b3dcccfd052ad171fa2780655a7892b18f740ec84c14403b7f87ce3c89");
}
END_TEST

START_TEST(storage_does_not_count) {
    const digits expected = of_folder();
    for (size_t threads = 1; threads <= 3; threads += 2) {
        ck_assert(same(loaded(QA_WEIGHTS_REAL, threads), expected));
        ck_assert(same(loaded(QA_WEIGHTS_STORED, threads), expected));
        ck_assert(same(loaded(QA_WEIGHTS_BF16, threads), expected)); /* rounded in memory, not in the file */
    }
    rewrite(weights, (rewriting){.dtype = QA_DTYPE_F64});
    ck_assert(same(loaded(QA_WEIGHTS_REAL, 1), expected));
    ck_assert(same(loaded(QA_WEIGHTS_BF16, 1), expected));
    rewrite(weights, (rewriting){.dtype = QA_DTYPE_F32, .coarse = true});
    const digits coarse = of_folder();
    ck_assert(!same(coarse, expected));
    for (int dtype = QA_DTYPE_F16; dtype <= QA_DTYPE_BF16; dtype++) {
        rewrite(weights, (rewriting){.dtype = (qa_dtype)dtype});
        ck_assert(same(loaded(QA_WEIGHTS_REAL, 1), coarse));
        ck_assert(same(loaded(QA_WEIGHTS_STORED, 1), coarse));
        ck_assert(same(loaded(QA_WEIGHTS_BF16, 1), coarse));
    }
}
END_TEST

START_TEST(shards_do_not_count) {
    const digits expected = of_folder();
    char *parts[2] = {qa_tempdir_join(dir, "a.safetensors"), qa_tempdir_join(dir, "b.safetensors")};
    rewrite(parts[0], (rewriting){.dtype = QA_DTYPE_F32, .part = 1});
    rewrite(parts[1], (rewriting){.dtype = QA_DTYPE_F32, .part = 2});
    ck_assert_int_eq(remove(weights), 0);
    free(qa_tempdir_write_text(dir, "model.safetensors.index.json",
                               "{\"weight_map\": {\"model.layers.0.input_layernorm.weight\": \"a.safetensors\", "
                               "\"model.norm.weight\": \"b.safetensors\"}}"));
    ck_assert(same(of_folder(), expected));
    free(parts[0]);
    free(parts[1]);
}
END_TEST

START_TEST(every_weight_counts) {
    const digits before = of_folder();
    static const char *const names[] = {"model.embed_tokens.weight",
                                        "model.norm.weight",
                                        "lm_head.weight",
                                        "model.layers.0.input_layernorm.weight",
                                        "model.layers.1.post_attention_layernorm.weight",
                                        "model.layers.1.self_attn.q_proj.weight",
                                        "model.layers.0.self_attn.k_proj.weight",
                                        "model.layers.0.self_attn.v_proj.weight",
                                        "model.layers.1.self_attn.o_proj.weight",
                                        "model.layers.0.mlp.gate_proj.weight",
                                        "model.layers.1.mlp.up_proj.weight",
                                        "model.layers.1.mlp.down_proj.weight"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        rewrite(weights, (rewriting){.dtype = QA_DTYPE_F32, .changed = names[i]});
        const digits changed = of_folder();
        ck_assert_msg(!same(changed, before), "%s changed and was not seen", names[i]);
        ck_assert(same(loaded(QA_WEIGHTS_BF16, 2), changed));
        tiny_model_write(dir, &options);
        rewrite(weights, (rewriting){.dtype = QA_DTYPE_F32, .swapped = names[i]});
        ck_assert_msg(!same(of_folder(), before), "two elements of %s changed places and it was not seen", names[i]);
        tiny_model_write(dir, &options);
    }
    ck_assert(same(of_folder(), before));
}
END_TEST

START_TEST(of_the_config_what_the_forward_pass_uses) {
    const digits expected = of_folder();
    write_config(HEADS EPS CONTEXT);
    ck_assert(same(of_folder(), expected));
    write_config(HEADS EPS ", \"max_position_embeddings\": 32, \"bos_token_id\": 5, \"eos_token_id\": 7");
    ck_assert(same(of_folder(), expected));
    write_config(HEADS EPS CONTEXT ", \"rope_theta\": 10001");
    const digits theta = of_folder();
    ck_assert(!same(theta, expected));
    write_config(HEADS CONTEXT ", \"rms_norm_eps\": 2e-05");
    const digits eps = of_folder();
    ck_assert(!same(eps, expected) && !same(eps, theta));
    write_config(EPS CONTEXT ", \"num_attention_heads\": 2, \"num_key_value_heads\": 1");
    ck_assert(!same(of_folder(), expected)); /* the tensors have the same shapes */
    write_config(HEADS EPS CONTEXT ", \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2.0}");
    const digits linear = of_folder();
    ck_assert(!same(linear, expected));
    write_config(HEADS EPS CONTEXT ", \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2.5}");
    ck_assert(!same(of_folder(), linear));
}
END_TEST

/* Settings of the families: each changes the fingerprint, and no two alike; a window that no sequence reaches does not.
 */
typedef void (*config_change)(qa_config *config);

#define CHANGE(name, statement)                                                                                        \
    static void name(qa_config *c) { statement; }
CHANGE(change_nothing, (void)c)
CHANGE(set_rotary_dim, c->rotary_dim = 2)
CHANGE(set_interleaved, c->rope_interleaved = true)
CHANGE(set_layer_norm, c->layer_norm = true)
CHANGE(set_norm_offset, c->norm_offset = 1)
CHANGE(set_activation, c->activation = QA_GELU)
CHANGE(set_other_activation, c->activation = QA_GELU_TANH)
CHANGE(set_embedding_factor, c->embedding_factor = 4)
CHANGE(set_attention_scale, c->attention_scale = 0.25)
CHANGE(set_attention_cap, c->attention_cap = 50)
CHANGE(set_logit_cap, c->logit_cap = 50)
CHANGE(set_logit_factor, c->logit_factor = 0.5)
CHANGE(set_residual_multiplier, c->residual_multiplier = 0.5)
CHANGE(set_clip, c->clip_qkv = 8)
CHANGE(set_window, (c->sliding_window = 8, c->layers[0] = QA_LAYER_WINDOW))
CHANGE(set_other_window, (c->sliding_window = 9, c->layers[0] = QA_LAYER_WINDOW))
CHANGE(set_window_of_another_layer, (c->sliding_window = 8, c->layers[1] = QA_LAYER_WINDOW))
CHANGE(set_no_rope, c->layers[1] = QA_LAYER_NO_ROPE)
CHANGE(set_local_rope, c->layers[1] = QA_LAYER_LOCAL_ROPE)
CHANGE(set_other_local_rope, (c->layers[1] = QA_LAYER_LOCAL_ROPE, c->rope[QA_ROPE_SLIDING].theta = 5))
CHANGE(set_dynamic, (c->rope[0].type = QA_ROPE_DYNAMIC, c->rope[0].factor = 2))
CHANGE(set_alpha, (c->rope[0].type = QA_ROPE_DYNAMIC, c->rope[0].factor = 2, c->rope[0].alpha = 9))
CHANGE(set_yarn, (c->rope[0].type = QA_ROPE_YARN, c->rope[0].factor = 2))
CHANGE(set_yarn_factor, (c->rope[0].type = QA_ROPE_YARN, c->rope[0].factor = 2, c->rope[0].attention_factor = 2))
CHANGE(set_yarn_beta, (c->rope[0].type = QA_ROPE_YARN, c->rope[0].factor = 2, c->rope[0].beta_slow = 2))
CHANGE(set_yarn_truncate, (c->rope[0].type = QA_ROPE_YARN, c->rope[0].factor = 2, c->rope[0].truncate = true))
CHANGE(set_longrope, (c->rope[0].type = QA_ROPE_LONGROPE, c->rope[0].short_factor[0] = 2))
CHANGE(set_other_longrope, (c->rope[0].type = QA_ROPE_LONGROPE, c->rope[0].short_factor[1] = 2))
CHANGE(set_long_factor, (c->rope[0].type = QA_ROPE_LONGROPE, c->rope[0].long_factor[1] = 2))

static const config_change changes[] = {change_nothing,
                                        set_rotary_dim,
                                        set_interleaved,
                                        set_layer_norm,
                                        set_norm_offset,
                                        set_activation,
                                        set_other_activation,
                                        set_embedding_factor,
                                        set_attention_scale,
                                        set_attention_cap,
                                        set_logit_cap,
                                        set_logit_factor,
                                        set_residual_multiplier,
                                        set_clip,
                                        set_window,
                                        set_other_window,
                                        set_window_of_another_layer,
                                        set_no_rope,
                                        set_local_rope,
                                        set_other_local_rope,
                                        set_dynamic,
                                        set_alpha,
                                        set_yarn,
                                        set_yarn_factor,
                                        set_yarn_beta,
                                        set_yarn_truncate,
                                        set_longrope,
                                        set_other_longrope,
                                        set_long_factor};
enum { N_CHANGES = sizeof changes / sizeof *changes };

static digits changed(qa_model *model, config_change change) {
    const qa_config before = model->config;
    digits found;
    change(&model->config);
    (void)snprintf(found.hex, sizeof found.hex, "%s", qa_model_fingerprint(model));
    model->config = before;
    return found;
}

START_TEST(every_setting_counts) {
    qa_context *context = NULL;
    qa_trainable *trainable = NULL; /* whose fingerprint is computed anew each time */
    digits found[N_CHANGES];
    qa_expect_ok(qa_context_create(&context, 1, (qa_logger){0}, &err), &err);
    qa_expect_ok(qa_trainable_load(&trainable, context, dir, &err), &err);
    for (size_t i = 0; i < N_CHANGES; i++) {
        qa_config config = trainable->model->config;
        char hex[QA_SHA256_HEX_BYTES];
        changes[i](&config);
        ck_assert_int_eq(qa_config_later_settings(&config, hex), i > 0); /* what a resumed pre-training compares */
        found[i] = changed(trainable->model, changes[i]);
        for (size_t j = 0; j < i; j++) {
            ck_assert_msg(!same(found[i], found[j]), "changes %zu and %zu give the same", i, j);
        }
    }
    trainable->model->config.sliding_window = trainable->model->config.max_position_embeddings;
    trainable->model->config.layers[0] = QA_LAYER_WINDOW;
    ck_assert_str_eq(qa_model_fingerprint(trainable->model), found[0].hex);
    qa_trainable_free(trainable);
    qa_context_free(context);
}
END_TEST

/* Weights that are being trained are looked at anew. */
START_TEST(training_changes_it) {
    qa_context *context = NULL;
    qa_trainable *trainable = NULL;
    const digits before = of_folder();
    qa_expect_ok(qa_context_create(&context, 1, (qa_logger){0}, &err), &err);
    qa_expect_ok(qa_trainable_load(&trainable, context, dir, &err), &err);
    ck_assert_str_eq(qa_model_fingerprint(trainable->model), before.hex);
    const qa_real kept = trainable->parameters[0];
    trainable->parameters[0] += 1;
    ck_assert_str_ne(qa_model_fingerprint(trainable->model), before.hex);
    trainable->parameters[0] = kept;
    ck_assert_str_eq(qa_model_fingerprint(trainable->model), before.hex);
    qa_trainable_free(trainable);
    qa_context_free(context);
}
END_TEST

Suite *model_fingerprint_suite(void);
Suite *model_fingerprint_suite(void) {
    Suite *suite = suite_create("model/fingerprint");
    TCase *tcase = tcase_create("fingerprint");
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, the_value_that_stands_in_files);
    tcase_add_test(tcase, storage_does_not_count);
    tcase_add_test(tcase, shards_do_not_count);
    tcase_add_test(tcase, every_weight_counts);
    tcase_add_test(tcase, of_the_config_what_the_forward_pass_uses);
    tcase_add_test(tcase, every_setting_counts);
    tcase_add_test(tcase, training_changes_it);
    suite_add_tcase(suite, tcase);
    return suite;
}
