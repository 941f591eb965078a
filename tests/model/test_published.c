/* Files whose tensors have other names (GPT-2 without "transformer.", EXAONE 3.5, GPT-NeoX' head) or are turned, and
 * carry buffers: the same model, however it is loaded. */
#include "arch/families.h"
#include "arch/tensors.h"
#include "io/safetensors.h"
#include "model/trainable.h"
#include "support/compare.h"
#include "support/fixture.h"
#include "support/tempdir.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_TENSORS = 64 };

static const char *const architectures[] = {"GPT2LMHeadModel", "ExaoneForCausalLM", "GPTNeoXForCausalLM"};

static char said[1024];

static void keep_said(void *user, qa_log_level level, const char *line) {
    (void)user;
    (void)level;
    const size_t used = strlen(said);
    (void)snprintf(said + used, sizeof said - used, "%s\n", line);
}

/* A fresh model of the family, saved as the library does. */
static void save_fresh(const char *architecture, const char *dir) {
    qa_error err = {0};
    qa_context *context = NULL;
    qa_trainable *trainable = NULL;
    qa_config config = {.family = qa_family_by_architecture(architecture),
                        .hidden_size = 16,
                        .intermediate_size = 24,
                        .num_hidden_layers = 2,
                        .num_attention_heads = 4,
                        .num_key_value_heads = 4,
                        .head_dim = 4,
                        .vocab_size = 29,
                        .max_position_embeddings = 32,
                        .bos_id = -1};
    qa_config_set_plain(&config);
    config.qkv_bias = config.o_bias = config.mlp_bias = strcmp(architecture, "ExaoneForCausalLM") != 0;
    qa_expect_ok(qa_context_create(&context, 1, (qa_logger){0}, &err), &err);
    qa_expect_ok(qa_trainable_create(&trainable, context, &config, dir, 0.5, 7, &err), &err);
    qa_expect_ok(qa_trainable_save(trainable, dir, QA_DTYPE_F32, &err), &err);
    qa_trainable_free(trainable);
    qa_context_free(context);
}

typedef struct fingerprint_text {
    char hex[65];
} fingerprint_text;

static fingerprint_text fingerprint_of(const char *dir, qa_weights_dtype dtype) {
    qa_error err = {0};
    qa_context *context = NULL;
    qa_model *model = NULL;
    fingerprint_text text;
    said[0] = '\0';
    qa_expect_ok(qa_context_create(&context, 1, (qa_logger){.write = keep_said}, &err), &err);
    qa_expect_ok(qa_model_load_as(&model, context, dir, dtype, &err), &err);
    (void)snprintf(text.hex, sizeof text.hex, "%s", qa_model_fingerprint(model));
    qa_model_free(model);
    qa_context_free(context);
    return text;
}

/* The folder's weights written again in the dtype, under their published names, with a buffer; `both`: one tensor under
 * both names. */
static void publish(const char *dir, const char *architecture, qa_dtype dtype, bool both) {
    qa_error err = {0};
    qa_config config;
    qa_safetensors *file = NULL;
    qa_safetensors_writer *writer = NULL;
    double *values[MOST_TENSORS] = {0};
    const double nothing[4] = {0};
    char *path = qa_tempdir_join(dir, "model.safetensors"), name[QA_TENSOR_NAME_BYTES];
    qa_expect_ok(qa_config_load(&config, dir, NULL, &err), &err);
    qa_expect_ok(qa_safetensors_open(&file, path, &err), &err);
    qa_expect_ok(qa_safetensors_writer_create(&writer, &err), &err);
    ck_assert_uint_le(qa_safetensors_count(file), MOST_TENSORS);
    for (size_t i = 0, l = 0; i < qa_safetensors_count(file); i++) {
        const qa_tensor *tensor = qa_safetensors_at(file, i);
        const qa_tensor_row *row = qa_tensor_by_name(&config, tensor->name, &l);
        ck_assert(qa_tensor_published_name(name, config.family->tensors, row, l));
        values[i] = calloc(tensor->count, sizeof *values[i]);
        qa_expect_ok(qa_tensor_read_double(file, tensor, true, values[i], &err), &err);
        qa_expect_ok(
            qa_safetensors_writer_add_double(writer, name, dtype, tensor->n_dims, tensor->shape, values[i], &err),
            &err);
        if (both && row->role == QA_ROLE_HEAD) {
            qa_expect_ok(qa_safetensors_writer_add_double(writer, tensor->name, dtype, tensor->n_dims, tensor->shape,
                                                          values[i], &err),
                         &err);
        }
    }
    const size_t shape[4] = {1, 1, 2, 2};
    const bool gpt2 = strcmp(architecture, "GPT2LMHeadModel") == 0;
    qa_expect_ok(qa_safetensors_writer_add_double(writer,
                                                  gpt2 ? "h.0.attn.bias" : "transformer.h.0.rotary_emb.inv_freq", dtype,
                                                  4, shape, nothing, &err),
                 &err);
    qa_expect_ok(qa_safetensors_writer_save(writer, path, &err), &err);
    qa_safetensors_writer_free(writer);
    qa_safetensors_close(file);
    for (size_t i = 0; i < MOST_TENSORS; i++) {
        free(values[i]);
    }
    free(path);
}

START_TEST(names_and_turning_do_not_count) {
    const char *architecture = architectures[_i];
    char *dir = qa_tempdir_make();
    save_fresh(architecture, dir);
    const fingerprint_text expected = fingerprint_of(dir, QA_WEIGHTS_REAL);
    ck_assert_str_eq(said, "");
    ck_assert_str_eq(fingerprint_of(dir, QA_WEIGHTS_BF16).hex, expected.hex);
    publish(dir, architecture, QA_DTYPE_F32, false);
    ck_assert_str_eq(fingerprint_of(dir, QA_WEIGHTS_REAL).hex, expected.hex);
    ck_assert_ptr_nonnull(strstr(said, "not read, since no weights: 1 tensor,"));
    ck_assert_str_eq(fingerprint_of(dir, QA_WEIGHTS_BF16).hex, expected.hex);
    qa_tempdir_remove(dir);
}
END_TEST

/* Rounded to BF16 in the files: kept so in memory, or widened, it is one model. */
START_TEST(turned_matrices_in_bf16) {
    const char *architecture = architectures[_i];
    char *dir = qa_tempdir_make();
    save_fresh(architecture, dir);
    publish(dir, architecture, QA_DTYPE_BF16, false);
    const fingerprint_text expected = fingerprint_of(dir, QA_WEIGHTS_REAL);
    ck_assert_str_eq(fingerprint_of(dir, QA_WEIGHTS_STORED).hex, expected.hex);
    ck_assert_str_eq(fingerprint_of(dir, QA_WEIGHTS_BF16).hex, expected.hex);
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(one_tensor_under_both_names) {
    qa_error err = {0};
    qa_context *context = NULL;
    qa_model *model = NULL;
    char *dir = qa_tempdir_make();
    save_fresh("GPTNeoXForCausalLM", dir);
    publish(dir, "GPTNeoXForCausalLM", QA_DTYPE_F32, true);
    qa_expect_ok(qa_context_create(&context, 1, (qa_logger){0}, &err), &err);
    qa_expect_error(qa_model_load(&model, context, dir, &err), QA_ERR_MISMATCH, &err,
                    "\"embed_out.weight\" and \"lm_head.weight\" are both there");
    qa_context_free(context);
    qa_tempdir_remove(dir);
}
END_TEST

Suite *model_published_suite(void);
Suite *model_published_suite(void) {
    const int n = (int)(sizeof architectures / sizeof *architectures);
    Suite *suite = suite_create("model/published");
    TCase *tcase = tcase_create("published");
    tcase_add_loop_test(tcase, names_and_turning_do_not_count, 0, n);
    tcase_add_loop_test(tcase, turned_matrices_in_bf16, 0, n);
    tcase_add_test(tcase, one_tensor_under_both_names);
    suite_add_tcase(suite, tcase);
    return suite;
}
