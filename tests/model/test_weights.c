/* The model loader: every tensor accounted for, shards, dtypes, NaN in weights, sizes that config.json invents. */
#include "model/weights.h"

#include "io/file.h"
#include "io/safetensors.h"
#include "model/pass.h"
#include "support/compare.h"
#include "support/fixture.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What to change while a model file is written again. */
typedef struct edit {
    const char *drop;     /* leave this tensor out */
    const char *misshape; /* write this one as a vector */
    const char *poison;   /* put a NaN into this one */
    const char *extra;    /* add a tensor of this name */
    const char *only;     /* leave all others out */
    const char *also;     /* write the embedding under this name, too */
    qa_dtype dtype;
} edit;

static void copy_tensors(const char *from, const char *to, edit e, const char *first_half_only) {
    qa_error err = {0};
    qa_safetensors *file = NULL;
    qa_safetensors_writer *writer = NULL;
    double *buffers[64] = {0};
    size_t n = 0;
    qa_expect_ok(qa_safetensors_open(&file, from, &err), &err);
    qa_expect_ok(qa_safetensors_writer_create(&writer, &err), &err);
    for (size_t i = 0; i < qa_safetensors_count(file); i++) {
        const qa_tensor *t = qa_safetensors_at(file, i);
        bool in_first = strncmp(t->name, "model.layers.0.", 15) == 0;
        if ((e.drop != NULL && strcmp(t->name, e.drop) == 0) || (e.only != NULL && strcmp(t->name, e.only) != 0) ||
            (first_half_only != NULL && in_first != (first_half_only[0] == '1'))) {
            continue;
        }
        double *values = malloc(t->count * sizeof *values);
        buffers[n++] = values;
        qa_expect_ok(qa_tensor_read_double(file, t, false, values, &err), &err);
        if (e.poison != NULL && strcmp(t->name, e.poison) == 0) {
            values[3] = NAN;
        }
        bool vector = e.misshape != NULL && strcmp(t->name, e.misshape) == 0;
        qa_expect_ok(qa_safetensors_writer_add_double(writer, t->name, e.dtype, vector ? 1 : t->n_dims,
                                                      vector ? &t->count : t->shape, values, &err),
                     &err);
    }
    for (size_t i = 0, at = 0; e.also != NULL && i < qa_safetensors_count(file); i++) {
        const qa_tensor *t = qa_safetensors_at(file, i);
        at = strcmp(t->name, "model.embed_tokens.weight") == 0 ? i + 1 : at;
        if (at == i + 1) {
            qa_expect_ok(
                qa_safetensors_writer_add_double(writer, e.also, e.dtype, t->n_dims, t->shape, buffers[i], &err), &err);
        }
    }
    const size_t one = 1;
    const double value = 1;
    if (e.extra != NULL) {
        qa_expect_ok(qa_safetensors_writer_add_double(writer, e.extra, QA_DTYPE_F32, 1, &one, &value, &err), &err);
    }
    qa_expect_ok(qa_safetensors_writer_save(writer, to, &err), &err);
    qa_safetensors_writer_free(writer);
    qa_safetensors_close(file);
    for (size_t i = 0; i < n; i++) {
        free(buffers[i]);
    }
}

static qa_status load_edited(const tiny_model_options *options, edit e, qa_error *err) {
    char *dir = qa_tempdir_make();
    char *path = qa_tempdir_join(dir, "model.safetensors");
    qa_context *context = NULL;
    qa_model *model = NULL;
    tiny_model_write(dir, options);
    copy_tensors(path, path, e, NULL);
    qa_expect_ok(qa_context_create(&context, 1, (qa_logger){0}, err), err);
    qa_status status = qa_model_load(&model, context, dir, err);
    ck_assert((status == QA_OK) == (model != NULL));
    qa_model_free(model);
    qa_context_free(context);
    free(path);
    qa_tempdir_remove(dir);
    return status;
}

START_TEST(every_tensor_is_accounted_for) {
    tiny_model_options options = tiny_model_defaults();
    qa_error err = {0};
    edit e = {.dtype = QA_DTYPE_F32};
    qa_expect_ok(load_edited(&options, e, &err), &err);
    e.drop = "model.layers.1.mlp.up_proj.weight";
    qa_expect_error(load_edited(&options, e, &err), QA_ERR_MISMATCH, &err,
                    "tensor \"model.layers.1.mlp.up_proj.weight\" is missing");
    e = (edit){.dtype = QA_DTYPE_F32, .misshape = "model.layers.0.self_attn.k_proj.weight"};
    qa_expect_error(load_edited(&options, e, &err), QA_ERR_MISMATCH, &err, "model.layers.0.self_attn.k_proj.weight");
    e = (edit){.dtype = QA_DTYPE_F32, .extra = "model.layers.2.input_layernorm.weight"};
    qa_expect_error(load_edited(&options, e, &err), QA_ERR_MISMATCH, &err,
                    "\"model.layers.2.input_layernorm.weight\" is surplus");
    e = (edit){.dtype = QA_DTYPE_F32, .extra = "model.layers.0.self_attn.q_proj.bias"};
    qa_expect_error(load_edited(&options, e, &err), QA_ERR_MISMATCH, &err, "is surplus");
    e = (edit){.dtype = QA_DTYPE_F32, .extra = "model.layers.0.self_attn.rotary_emb.inv_freq"};
    qa_expect_ok(load_edited(&options, e, &err), &err); /* old files hold it; it carries nothing */
    e = (edit){.dtype = QA_DTYPE_F32, .poison = "model.layers.1.self_attn.o_proj.weight"};
    qa_expect_error(load_edited(&options, e, &err), QA_ERR_NAN, &err, "model.layers.1.self_attn.o_proj.weight");
}
END_TEST

START_TEST(tied_and_biased) {
    tiny_model_options options = tiny_model_defaults();
    qa_error err = {0};
    edit e = {.dtype = QA_DTYPE_F32, .drop = "lm_head.weight"};
    qa_expect_error(load_edited(&options, e, &err), QA_ERR_MISMATCH, &err, "lm_head.weight");
    options.tied = true;
    options.qkv_bias = true;
    qa_expect_ok(load_edited(&options, (edit){.dtype = QA_DTYPE_F32}, &err), &err);
    e = (edit){.dtype = QA_DTYPE_F32, .drop = "model.layers.0.self_attn.v_proj.bias"};
    qa_expect_error(load_edited(&options, e, &err), QA_ERR_MISMATCH, &err, "v_proj.bias\" is missing");
}
END_TEST

START_TEST(the_preferred_end_comes_first) {
    tiny_model_options options = tiny_model_defaults();
    qa_fixture f = qa_fixture_open(&options, NULL, 1);
    const qa_model_info *info = qa_model_get_info(f.model);
    static const int32_t listed[] = {5, 7, 2, 9};
    memcpy(f.model->config.eos_ids, listed, sizeof listed);
    f.model->config.n_eos = f.model->info.n_eos = 4;
    qa_model_prefer_eos(f.model, 2);
    static const int32_t moved[] = {2, 5, 7, 9};
    ck_assert_mem_eq(info->eos_ids, moved, sizeof moved);
    qa_model_prefer_eos(f.model, 2); /* already there */
    qa_model_prefer_eos(f.model, -1);
    qa_model_prefer_eos(f.model, (int32_t)info->vocab_size);
    ck_assert_mem_eq(info->eos_ids, moved, sizeof moved);
    ck_assert_uint_eq(info->n_eos, 4);
    qa_model_prefer_eos(f.model, 3); /* not in the list */
    static const int32_t added[] = {3, 2, 5, 7, 9};
    ck_assert_mem_eq(info->eos_ids, added, sizeof added);
    ck_assert_uint_eq(info->n_eos, 5);
    f.model->config.n_eos = f.model->info.n_eos = QA_MAX_EOS;
    for (int32_t i = 0; i < QA_MAX_EOS; i++) {
        f.model->config.eos_ids[i] = 4;
    }
    qa_model_prefer_eos(f.model, 3); /* no room */
    ck_assert(info->n_eos == QA_MAX_EOS && info->eos_ids[0] == 4);
    f.model->config.n_eos = f.model->info.n_eos = 0;
    qa_model_prefer_eos(f.model, 3);
    ck_assert(info->n_eos == 1 && info->eos_ids[0] == 3);
    qa_fixture_close(&f);
}
END_TEST

START_TEST(dtypes_and_parameters) {
    tiny_model_options options = tiny_model_defaults();
    char *dir = qa_tempdir_make();
    char *path = qa_tempdir_join(dir, "model.safetensors");
    qa_context *context = NULL;
    qa_model *models[2] = {NULL, NULL};
    qa_error err = {0};
    tiny_model_write(dir, &options);
    qa_expect_ok(qa_context_create(&context, 1, (qa_logger){0}, &err), &err);
    qa_expect_ok(qa_model_load(&models[0], context, dir, &err), &err);
    copy_tensors(path, path, (edit){.dtype = QA_DTYPE_BF16}, NULL);
    qa_expect_ok(qa_model_load(&models[1], context, dir, &err), &err);
    const qa_model_info *info = qa_model_get_info(models[1]);
    ck_assert_str_eq(info->stored_dtype, "BF16");
    ck_assert_str_eq(qa_model_get_info(models[0])->stored_dtype, "F32");
    /* d = 16, f = 24, V = 29, 4 x 4 query and 2 x 4 key width, 2 layers, untied */
    size_t layer = 2 * 16 + 16 * 16 + 2 * 8 * 16 + 16 * 16 + 3 * 16 * 24;
    ck_assert_uint_eq(info->parameters, 2 * 29 * 16 + 16 + 2 * layer);
    QA_ASSERT_REALS("embedding", models[1]->embedding.real, models[0]->embedding.real, 29 * 16, 1.0 / 256, 0.0);
    qa_model_free(models[0]);
    qa_model_free(models[1]);
    qa_context_free(context);
    free(path);
    qa_tempdir_remove(dir);
}
END_TEST

/* The same model as two shards and an index. */
START_TEST(shards) {
    tiny_model_options options = tiny_model_defaults();
    char *dir = qa_tempdir_make();
    char *path = qa_tempdir_join(dir, "model.safetensors");
    char *first = qa_tempdir_join(dir, "model-00001-of-00002.safetensors");
    char *second = qa_tempdir_join(dir, "model-00002-of-00002.safetensors");
    qa_context *context = NULL;
    qa_model *model = NULL;
    qa_error err = {0};
    tiny_model_write(dir, &options);
    copy_tensors(path, first, (edit){.dtype = QA_DTYPE_F32}, "1");
    copy_tensors(path, second, (edit){.dtype = QA_DTYPE_F32}, "2");
    ck_assert_int_eq(remove(path), 0);
    qa_expect_ok(qa_context_create(&context, 1, (qa_logger){0}, &err), &err);
    qa_expect_error(qa_model_load(&model, context, dir, &err), QA_ERR_IO, &err, "neither model.safetensors nor");
    const char *index = "{\"metadata\": {}, \"weight_map\": {"
                        "\"model.layers.0.input_layernorm.weight\": \"model-00001-of-00002.safetensors\", "
                        "\"model.norm.weight\": \"model-00002-of-00002.safetensors\"}}";
    free(qa_tempdir_write_text(dir, "model.safetensors.index.json", index));
    qa_expect_ok(qa_model_load(&model, context, dir, &err), &err);
    qa_model_free(model);
    free(qa_tempdir_write_text(dir, "model.safetensors.index.json",
                               "{\"weight_map\": {\"a\": \"../../../etc/passwd\"}}"));
    qa_expect_error(qa_model_load(&model, context, dir, &err), QA_ERR_FORMAT, &err, "not a plain file name");
    free(qa_tempdir_write_text(dir, "model.safetensors.index.json",
                               "{\"weight_map\": {\"nowhere\": \"model-00001-of-00002.safetensors\"}}"));
    qa_expect_error(qa_model_load(&model, context, dir, &err), QA_ERR_MISMATCH, &err, "should be in");
    qa_context_free(context);
    free(path);
    free(first);
    free(second);
    qa_tempdir_remove(dir);
}
END_TEST

static char warned[1024];

static void keep_warning(void *user, qa_log_level level, const char *line) {
    (void)user;
    if (level == QA_LOG_WARNING) {
        (void)snprintf(warned, sizeof warned, "%s", line);
    }
}

/* The first logits of a folder's model. */
static void first_logits(const char *dir, qa_real *logits, size_t V) {
    qa_context *context = NULL;
    qa_model *model = NULL;
    qa_pass *pass = NULL;
    qa_error err = {0};
    const int32_t ids[3] = {5, 7, 11};
    const qa_tokens document = {ids, 3};
    const size_t state = 2;
    qa_real *base = NULL, *adapted = NULL;
    warned[0] = '\0';
    qa_expect_ok(qa_context_create(&context, 1, (qa_logger){.write = keep_warning}, &err), &err);
    qa_expect_ok(qa_model_load(&model, context, dir, &err), &err);
    const qa_pass_limits limits = {.max_rows = 3, .max_states = 1, .max_documents = 1};
    qa_expect_ok(qa_pass_create(&pass, model, NULL, limits, &err), &err);
    qa_expect_ok(qa_pass_forward(pass, &(qa_packed){.documents = &document, .n_documents = 1}, &state, 1, 0, &err),
                 &err);
    qa_pass_head(pass, 0, 1, &base, &adapted);
    memcpy(logits, base, V * sizeof *logits);
    qa_pass_free(pass);
    qa_model_free(model);
    qa_context_free(context);
}

/* A context whose last warning is kept; the message of a model that loads. */
static const char *warning_of(const char *dir) {
    qa_context *context = NULL;
    qa_model *model = NULL;
    qa_error err = {0};
    warned[0] = '\0';
    qa_expect_ok(qa_context_create(&context, 1, (qa_logger){.write = keep_warning}, &err), &err);
    qa_expect_ok(qa_model_load(&model, context, dir, &err), &err);
    qa_model_free(model);
    qa_context_free(context);
    return warned;
}

START_TEST(an_index_that_says_something_else) {
    tiny_model_options options = tiny_model_defaults();
    char *dir = qa_tempdir_make(), *path = qa_tempdir_join(dir, "model.safetensors");
    qa_context *context = NULL;
    qa_model *model = NULL;
    qa_error err = {0};
    tiny_model_write(dir, &options);
    ck_assert_str_eq(warning_of(dir), "");
    free(
        qa_tempdir_write_text(dir, "model.safetensors.index.json", "{\"weight_map\": {\"a\": \"model.safetensors\"}}"));
    ck_assert_str_eq(warning_of(dir), "");
    free(qa_tempdir_write_text(dir, "model.safetensors.index.json", "{\"weight_map\": {\"a\": \"b.safetensors\"}}"));
    ck_assert_ptr_nonnull(strstr(warning_of(dir), "names other files, but model.safetensors is there"));
    char *shard = qa_tempdir_join(dir, "b.safetensors");
    ck_assert_int_eq(rename(path, shard), 0);
    free(qa_tempdir_write_text(dir, "model.safetensors.index.json",
                               "{\"weight_map\": {\"model.norm.weight\": \"b.safetensors\"}}"));
    ck_assert_ptr_nonnull(strstr(warning_of(dir), "of the tensors in its shards are not in weight_map"));
    qa_safetensors *file = NULL; /* all of them listed, and their bytes */
    qa_expect_ok(qa_safetensors_open(&file, shard, &err), &err);
    char text[8192] = "";
    size_t bytes = 0;
    for (size_t i = 0; i < qa_safetensors_count(file); i++) {
        const qa_tensor *tensor = qa_safetensors_at(file, i);
        const size_t used = strlen(text);
        (void)snprintf(text + used, sizeof text - used, "%s\"%s\": \"b.safetensors\"", i == 0 ? "" : ", ",
                       tensor->name);
        bytes += tensor->count * 4;
    }
    qa_safetensors_close(file);
    for (size_t wrong = 0; wrong < 2; wrong++) {
        char whole[9000];
        (void)snprintf(whole, sizeof whole, "{\"metadata\": {\"total_size\": %zu}, \"weight_map\": {%s}}",
                       bytes + wrong, text);
        free(qa_tempdir_write_text(dir, "model.safetensors.index.json", whole));
        const char *said = warning_of(dir);
        ck_assert_msg(wrong == 0 ? said[0] == '\0' : strstr(said, "total_size is") != NULL, "%s", said);
    }
    ck_assert_int_eq(remove(shard), 0);
    qa_expect_ok(qa_context_create(&context, 1, (qa_logger){0}, &err), &err);
    qa_expect_error(qa_model_load(&model, context, dir, &err), QA_ERR_IO, &err, "names a shard that cannot be read");
    qa_expect_error(qa_model_load(&model, context, dir, &err), QA_ERR_IO, &err, "b.safetensors");
    free(qa_tempdir_write_text(dir, "model.safetensors.index.json", "{\"weight_map\": {}}"));
    qa_expect_error(qa_model_load(&model, context, dir, &err), QA_ERR_MISMATCH, &err, "that is there is none");
    qa_context_free(context);
    free(shard);
    free(path);
    qa_tempdir_remove(dir);
}
END_TEST

static void set_tied(const char *dir, const char *value) {
    char text[1024];
    (void)snprintf(text, sizeof text,
                   "{\"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": 16, \"intermediate_size\": 24, "
                   "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"num_key_value_heads\": 2, "
                   "\"vocab_size\": 29, \"rms_norm_eps\": 1e-05, \"tie_word_embeddings\": %s}",
                   value);
    free(qa_tempdir_write_text(dir, "config.json", text));
}

/* tie_word_embeddings says one thing, the file another: the file's head is used, in one file and in a shard. */
START_TEST(a_tied_config_with_another_head) {
    tiny_model_options options = tiny_model_defaults();
    enum { V = 29 };
    qa_real untied[V], tied[V];
    char *dir = qa_tempdir_make();
    tiny_model_write(dir, &options);
    set_tied(dir, "false");
    first_logits(dir, untied, V);
    ck_assert_str_eq(warned, "");
    set_tied(dir, "true");
    first_logits(dir, tied, V);
    ck_assert_mem_eq(tied, untied, sizeof tied);
    ck_assert_ptr_nonnull(strstr(warned, "lm_head.weight is not equal to model.embed_tokens.weight"));
    char *path = qa_tempdir_join(dir, "model.safetensors"), *head = qa_tempdir_join(dir, "head.safetensors");
    char *rest = qa_tempdir_join(dir, "rest.safetensors");
    copy_tensors(path, rest, (edit){.dtype = QA_DTYPE_F32, .drop = "lm_head.weight"}, NULL);
    copy_tensors(path, head, (edit){.dtype = QA_DTYPE_F32, .only = "lm_head.weight"}, NULL);
    ck_assert_int_eq(remove(path), 0);
    free(qa_tempdir_write_text(dir, "model.safetensors.index.json",
                               "{\"weight_map\": {\"lm_head.weight\": \"head.safetensors\", "
                               "\"model.norm.weight\": \"rest.safetensors\"}}"));
    first_logits(dir, tied, V);
    ck_assert_mem_eq(tied, untied, sizeof tied);
    ck_assert_ptr_nonnull(strstr(warned, "lm_head.weight is not equal"));
    free(path);
    free(head);
    free(rest);
    qa_tempdir_remove(dir);
}
END_TEST

/* The shared tensor under its other name, and under both. */
START_TEST(a_tied_model_stored_as_its_head) {
    tiny_model_options options = tiny_model_defaults();
    enum { V = 29 };
    qa_real expected[V], found[V];
    options.tied = true;
    char *dir = qa_tempdir_make();
    char *path = qa_tempdir_join(dir, "model.safetensors");
    tiny_model_write(dir, &options);
    first_logits(dir, expected, V);
    copy_tensors(path, path, (edit){.dtype = QA_DTYPE_F32, .also = "lm_head.weight"}, NULL);
    first_logits(dir, found, V);
    ck_assert_mem_eq(found, expected, sizeof found);
    ck_assert_str_eq(warned, "");
    copy_tensors(path, path, (edit){.dtype = QA_DTYPE_F32, .drop = "model.embed_tokens.weight"}, NULL);
    first_logits(dir, found, V);
    ck_assert_mem_eq(found, expected, sizeof found);
    ck_assert_str_eq(warned, "");
    free(path);
    qa_tempdir_remove(dir);
}
END_TEST

/* A config.json that promises a huge model must be refused by what the files hold, before any allocation. */
START_TEST(invented_sizes) {
    tiny_model_options options = tiny_model_defaults();
    char *dir = qa_tempdir_make();
    qa_context *context = NULL;
    qa_model *model = NULL;
    qa_error err = {0};
    tiny_model_write(dir, &options);
    free(qa_tempdir_write_text(dir, "config.json",
                               "{\"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": 1000000, "
                               "\"intermediate_size\": 1000000, \"num_hidden_layers\": 1000, "
                               "\"num_attention_heads\": 4, \"vocab_size\": 1000000}"));
    qa_expect_ok(qa_context_create(&context, 1, (qa_logger){0}, &err), &err);
    qa_expect_error(qa_model_load(&model, context, dir, &err), QA_ERR_MISMATCH, &err, "model.embed_tokens.weight");
    qa_context_free(context);
    qa_tempdir_remove(dir);
}
END_TEST

Suite *model_weights_suite(void);
Suite *model_weights_suite(void) {
    Suite *suite = suite_create("model/weights");
    TCase *tcase = tcase_create("weights");
    tcase_add_test(tcase, every_tensor_is_accounted_for);
    tcase_add_test(tcase, tied_and_biased);
    tcase_add_test(tcase, the_preferred_end_comes_first);
    tcase_add_test(tcase, dtypes_and_parameters);
    tcase_add_test(tcase, shards);
    tcase_add_test(tcase, an_index_that_says_something_else);
    tcase_add_test(tcase, invented_sizes);
    tcase_add_test(tcase, a_tied_config_with_another_head);
    tcase_add_test(tcase, a_tied_model_stored_as_its_head);
    suite_add_tcase(suite, tcase);
    return suite;
}
