/* The adapter: initialisation, PEFT files there and back, what does not fit is refused by name. */
#include "model/adapter.h"

#include "io/safetensors.h"
#include "support/compare.h"
#include "support/fixture.h"
#include "support/tempdir.h"

#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

START_TEST(initialisation) {
    tiny_model_options options = tiny_model_defaults();
    qa_lora_options lora = qa_fixture_lora();
    qa_fixture f = qa_fixture_open(&options, NULL, 1);
    qa_adapter *a = NULL;
    qa_adapter *same = NULL;
    qa_adapter *other = NULL;
    qa_error err = {0};
    qa_expect_ok(qa_adapter_create(&a, f.model, &lora, 3, &err), &err);
    qa_expect_ok(qa_adapter_create(&same, f.model, &lora, 3, &err), &err);
    qa_expect_ok(qa_adapter_create(&other, f.model, &lora, 4, &err), &err);
    /* rank 3; q 16>16, k 16>8, v 16>8, o 16>16, gate and up 16>24, down 24>16; 2 layers */
    ck_assert_uint_eq(qa_adapter_parameters(a), 2 * 3 * (32 + 24 + 24 + 32 + 40 + 40 + 40));
    ck_assert_mem_eq(a->parameters, same->parameters, a->count * sizeof(qa_real));
    ck_assert_mem_ne(a->parameters, other->parameters, a->count * sizeof(qa_real));
    for (size_t i = 0; i < a->n_tensors; i++) {
        const qa_adapter_tensor *t = &a->tensors[i];
        double bound = 1.0 / sqrt((double)t->columns);
        double largest = 0;
        for (size_t j = 0; j < t->rows * t->columns; j++) {
            largest = fmax(largest, fabs((double)a->parameters[t->offset + j]));
        }
        ck_assert_msg(i % 2 == 1 ? largest == 0 : largest <= bound && largest > 0.7 * bound, "%s: largest %g, bound %g",
                      t->name, largest, bound);
        ck_assert_ptr_eq(qa_adapter_tensor_at(a, t->offset), t);
    }
    ck_assert(fabs(a->scale - 5.0 / 3.0) < 1e-12);
    qa_adapter_free(a);
    qa_adapter_free(same);
    qa_adapter_free(other);
    lora.use_rslora = true;
    qa_expect_ok(qa_adapter_create(&a, f.model, &lora, 3, &err), &err);
    ck_assert(fabs(a->scale - 5.0 / sqrt(3.0)) < 1e-12);
    qa_adapter_free(a);
    qa_fixture_close(&f);
}
END_TEST

START_TEST(options_are_checked) {
    tiny_model_options options = tiny_model_defaults();
    qa_fixture f = qa_fixture_open(&options, NULL, 1);
    qa_adapter *a = NULL;
    qa_error err = {0};
    qa_lora_options lora = qa_fixture_lora();
    lora.rank = 0;
    qa_expect_error(qa_adapter_create(&a, f.model, &lora, 3, &err), QA_ERR_ARGUMENT, &err, "rank is 0");
    lora = qa_fixture_lora();
    lora.alpha = NAN;
    qa_expect_error(qa_adapter_create(&a, f.model, &lora, 3, &err), QA_ERR_ARGUMENT, &err, "lora_alpha");
    for (int i = 0; i < 3; i++) {
        lora.alpha = (const double[]){1e308, 0, 1e-9}[i];
        qa_expect_error(qa_adapter_create(&a, f.model, &lora, 3, &err), QA_ERR_ARGUMENT, &err,
                        "expected 1e-06 to 1e+06");
    }
    lora = qa_fixture_lora();
    lora.dropout = 1;
    qa_expect_error(qa_adapter_create(&a, f.model, &lora, 3, &err), QA_ERR_ARGUMENT, &err, "lora_dropout = 1");
    qa_fixture_close(&f);
}
END_TEST

START_TEST(target_names) {
    bool targets[QA_TARGETS] = {false};
    qa_error err = {0};
    qa_expect_ok(qa_targets_parse(targets, "q_proj,v_proj", &err), &err);
    ck_assert(targets[QA_TARGET_Q] && targets[QA_TARGET_V] && !targets[QA_TARGET_K] && !targets[QA_TARGET_DOWN]);
    qa_expect_ok(qa_targets_parse(targets, "down_proj, o_proj", &err), &err);
    ck_assert(targets[QA_TARGET_DOWN] && targets[QA_TARGET_O] && !targets[QA_TARGET_Q]);
    qa_expect_ok(qa_targets_parse(targets, "all-linear", &err), &err);
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
        ck_assert(targets[t]);
    }
    qa_expect_error(qa_targets_parse(targets, "q_proj,w_proj", &err), QA_ERR_ARGUMENT, &err, "\"w_proj\"");
    qa_expect_error(qa_targets_parse(targets, " ,", &err), QA_ERR_ARGUMENT, &err, "no linear map");
}
END_TEST

/* Written, read, written again: the same bytes; and in memory the same numbers, with either rule for the scale. */
START_TEST(peft_round_trip) {
    tiny_model_options options = tiny_model_defaults();
    qa_lora_options lora = qa_fixture_lora();
    lora.dropout = 0.125;
    lora.use_rslora = _i == 1;
    lora.targets[QA_TARGET_K] = false;
    qa_fixture f = qa_fixture_open(&options, &lora, 1);
    qa_error err = {0};
    char *dirs[2] = {qa_tempdir_make(), qa_tempdir_make()};
    qa_adapter *loaded = NULL;
    for (size_t i = 0; i < f.adapter->count; i++) { /* what a file in F32 can hold */
        f.adapter->parameters[i] = (qa_real)(float)f.adapter->parameters[i];
    }
    qa_expect_ok(qa_adapter_save(f.adapter, dirs[0], "some/model", &err), &err);
    qa_expect_ok(qa_adapter_load(&loaded, f.model, dirs[0], &err), &err);
    ck_assert_uint_eq(loaded->count, f.adapter->count);
    ck_assert_mem_eq(loaded->parameters, f.adapter->parameters, loaded->count * sizeof(qa_real));
    ck_assert(loaded->options.rank == 3 && loaded->options.alpha == 5 && loaded->options.dropout == 0.125);
    ck_assert(loaded->options.use_rslora == lora.use_rslora);
    ck_assert(fabs(loaded->scale - 5.0 / (_i == 1 ? sqrt(3.0) : 3.0)) < 1e-12);
    ck_assert(loaded->options.targets[QA_TARGET_Q] && !loaded->options.targets[QA_TARGET_K]);
    qa_expect_ok(qa_adapter_save(loaded, dirs[1], "some/model", &err), &err);
    static const char *const names[2] = {"adapter_config.json", "adapter_model.safetensors"};
    for (size_t i = 0; i < 2; i++) {
        size_t bytes[2];
        char *paths[2] = {qa_tempdir_join(dirs[0], names[i]), qa_tempdir_join(dirs[1], names[i])};
        char *texts[2] = {qa_tempdir_read(paths[0], &bytes[0]), qa_tempdir_read(paths[1], &bytes[1])};
        ck_assert_uint_eq(bytes[0], bytes[1]);
        ck_assert_mem_eq(texts[0], texts[1], bytes[0]);
        for (size_t j = 0; j < 2; j++) {
            free(paths[j]);
            free(texts[j]);
        }
    }
    qa_adapter_free(loaded);
    qa_tempdir_remove(dirs[0]);
    qa_tempdir_remove(dirs[1]);
    qa_fixture_close(&f);
}
END_TEST

/* docs/formats.md: these keys and no others, as PEFT spells them. */
START_TEST(the_config_has_the_keys_of_peft) {
    static const struct {
        const char *key, *value; /* as JSON */
    } members[] = {
        {"peft_type", "\"LORA\""}, {"task_type", "\"CAUSAL_LM\""}, {"base_model_name_or_path", "\"some/model\""},
        {"revision", "null"},      {"inference_mode", "true"},     {"r", "3"},
        {"lora_alpha", "5"},       {"lora_dropout", "0.125"},      {"target_modules", "[\"q_proj\",\"down_proj\"]"},
        {"bias", "\"none\""},      {"fan_in_fan_out", "false"},    {"use_rslora", "true"},
        {"use_dora", "false"},     {"modules_to_save", "null"},    {"init_lora_weights", "true"},
        {"rank_pattern", "{}"},    {"alpha_pattern", "{}"},        {"layers_to_transform", "null"},
        {"layers_pattern", "null"}};
    enum { MEMBERS = sizeof members / sizeof *members };
    const tiny_model_options options = tiny_model_defaults();
    const qa_lora_options lora = {.rank = 3,
                                  .alpha = 5,
                                  .dropout = 0.125,
                                  .use_rslora = true,
                                  .targets = {[QA_TARGET_Q] = true, [QA_TARGET_DOWN] = true}};
    qa_fixture f = qa_fixture_open(&options, &lora, 1);
    qa_error err = {0};
    char *dir = qa_tempdir_make();
    qa_expect_ok(qa_adapter_save(f.adapter, dir, "some/model", &err), &err);
    char *path = qa_tempdir_join(dir, "adapter_config.json");
    json_t *root = json_load_file(path, 0, NULL);
    ck_assert_uint_eq(json_object_size(root), MEMBERS);
    for (size_t i = 0; i < MEMBERS; i++) {
        char *value = json_dumps(json_object_get(root, members[i].key), JSON_ENCODE_ANY | JSON_COMPACT);
        ck_assert_msg(value != NULL && strcmp(value, members[i].value) == 0, "%s is %s", members[i].key,
                      value == NULL ? "missing" : value);
        free(value);
    }
    json_decref(root);
    free(path);
    qa_tempdir_remove(dir);
    qa_fixture_close(&f);
}
END_TEST

#define CONFIG(members) "{\"peft_type\": \"LORA\", \"task_type\": \"CAUSAL_LM\", \"lora_alpha\": 6, " members "}"

static const struct refusal {
    const char *config, *part;
    qa_status status;
} refusals[] = {
    {"{\"peft_type\": \"IA3\"}", "IA3", QA_ERR_UNSUPPORTED},
    {CONFIG("\"target_modules\": [\"q_proj\"]"), "\"r\"", QA_ERR_FORMAT},
    {CONFIG("\"r\": 2"), "target_modules", QA_ERR_FORMAT},
    {CONFIG("\"r\": 2, \"target_modules\": [\"q_proj\", 3]"), "target_modules[1]", QA_ERR_FORMAT},
    {CONFIG("\"r\": 2, \"target_modules\": [\"lm_head\"]"), "lm_head", QA_ERR_UNSUPPORTED},
    {CONFIG("\"r\": 2, \"target_modules\": \".*proj\""), "k_proj.lora_A.weight\" is missing", QA_ERR_MISMATCH},
    {CONFIG("\"r\": 2, \"target_modules\": \"(?s).*proj\""), "a group of another kind", QA_ERR_UNSUPPORTED},
    {CONFIG("\"r\": 2, \"target_modules\": [\"W_pack\"]"), "leave none of the model's 2 layers", QA_ERR_MISMATCH},
    {CONFIG("\"r\": 2, \"target_modules\": [\"q_proj\"], \"use_dora\": true"), "use_dora", QA_ERR_UNSUPPORTED},
    {CONFIG("\"r\": 2, \"target_modules\": [\"q_proj\"], \"bias\": \"all\""), "bias", QA_ERR_UNSUPPORTED},
    {CONFIG("\"r\": 2, \"target_modules\": [\"q_proj\"], \"init_lora_weights\": \"pissa_niter_4\""),
     "init_lora_weights \"pissa_niter_4\" is none of", QA_ERR_UNSUPPORTED},
    {CONFIG("\"r\": 2, \"target_modules\": [\"q_proj\"], \"init_lora_weights\": \"OLoRA\""), "\"OLoRA\" is none of",
     QA_ERR_UNSUPPORTED},
    {CONFIG("\"r\": 2, \"target_modules\": [\"q_proj\"], \"init_lora_weights\": \"lora_ga\", \"lora_ga_config\": "
            "{\"a\": 1}"),
     "\"lora_ga\" is none of", QA_ERR_UNSUPPORTED},
    {CONFIG("\"r\": 2, \"target_modules\": [\"q_proj\"], \"kasa_config\": {\"a\": 1}"), "kasa_config is set",
     QA_ERR_UNSUPPORTED},
    {CONFIG("\"r\": 2, \"target_modules\": [\"q_proj\"], \"of_next_year\": 3"), "of_next_year is set",
     QA_ERR_UNSUPPORTED},
    {CONFIG("\"r\": 2, \"target_modules\": [\"q_proj\"], \"layer_replication\": [[0, 2]]"), "layer_replication",
     QA_ERR_UNSUPPORTED},
    {CONFIG("\"r\": 2, \"target_modules\": [\"q_proj\"], \"rank_pattern\": {\"q_proj\": 4}"), "has shape [2, 16]",
     QA_ERR_MISMATCH},
    {CONFIG("\"r\": 2, \"target_modules\": [\"q_proj\"], \"rank_pattern\": {\"q_proj\": 0}"), "rank_pattern",
     QA_ERR_FORMAT},
    {CONFIG("\"r\": 2, \"target_modules\": [\"q_proj\"], \"rank_pattern\": {\"\\\\x71_proj\": 2}"), "an escape",
     QA_ERR_UNSUPPORTED},
    {CONFIG("\"r\": 2, \"target_modules\": [\"q_proj\"], \"alpha_pattern\": {\"q_proj\": 1e308}"),
     "adapter_config.json: model.layers.0.self_attn.q_proj: lora_alpha is 1e+308", QA_ERR_ARGUMENT},
    {CONFIG("\"r\": 2, \"target_modules\": \"all-linear\", \"layers_to_transform\": 0"),
     "layers_to_transform needs a list", QA_ERR_FORMAT},
    {CONFIG("\"r\": 2, \"target_modules\": [\"q_proj\"], \"modules_to_save\": [\"lm_head\"]"), "modules_to_save",
     QA_ERR_UNSUPPORTED},
    {CONFIG("\"r\": 0, \"target_modules\": [\"q_proj\"]"),
     "adapter_config.json: model.layers.0.self_attn.q_proj: LoRA rank is 0", QA_ERR_ARGUMENT},
    {CONFIG("\"r\": 2, \"target_modules\": [\"q_proj\"]"), "is surplus", QA_ERR_MISMATCH},
    {CONFIG("\"r\": 2, \"target_modules\": [\"q_proj\", \"v_proj\", \"k_proj\"]"), "k_proj.lora_A.weight\" is missing",
     QA_ERR_MISMATCH},
    {CONFIG("\"r\": 4, \"target_modules\": [\"q_proj\", \"v_proj\"]"), "q_proj.lora_A.weight", QA_ERR_MISMATCH},
};

START_TEST(what_does_not_fit) {
    tiny_model_options options = tiny_model_defaults();
    qa_lora_options lora = {.rank = 2, .alpha = 6, .targets = {[QA_TARGET_Q] = true, [QA_TARGET_V] = true}};
    qa_fixture f = qa_fixture_open(&options, &lora, 1);
    qa_error err = {0};
    qa_adapter *loaded = NULL;
    char *dir = qa_tempdir_make();
    qa_expect_ok(qa_adapter_save(f.adapter, dir, "m", &err), &err);
    free(qa_tempdir_write_text(dir, "adapter_config.json", refusals[_i].config));
    qa_expect_error(qa_adapter_load(&loaded, f.model, dir, &err), refusals[_i].status, &err, refusals[_i].part);
    ck_assert_ptr_null(loaded);
    qa_tempdir_remove(dir);
    qa_fixture_close(&f);
}
END_TEST

/* An adapter of a model with another number of layers, or of another width. */
START_TEST(adapter_of_another_model) {
    tiny_model_options options = tiny_model_defaults();
    qa_lora_options lora = qa_fixture_lora();
    qa_fixture f = qa_fixture_open(&options, &lora, 1);
    qa_error err = {0};
    qa_adapter *loaded = NULL;
    char *dir = qa_tempdir_make();
    qa_expect_ok(qa_adapter_save(f.adapter, dir, "m", &err), &err);
    options.layers = 3;
    qa_fixture deeper = qa_fixture_open(&options, NULL, 1);
    qa_expect_error(qa_adapter_load(&loaded, deeper.model, dir, &err), QA_ERR_MISMATCH, &err,
                    "layers.2.self_attn.q_proj.lora_A.weight\" is missing");
    options.layers = 1;
    qa_fixture shallower = qa_fixture_open(&options, NULL, 1);
    qa_expect_error(qa_adapter_load(&loaded, shallower.model, dir, &err), QA_ERR_MISMATCH, &err, "is surplus");
    options.layers = 2;
    options.hidden_size = 24;
    qa_fixture wider = qa_fixture_open(&options, NULL, 1);
    qa_expect_error(qa_adapter_load(&loaded, wider.model, dir, &err), QA_ERR_MISMATCH, &err, "lora_A.weight");
    qa_tempdir_remove(dir);
    qa_fixture_close(&f);
    qa_fixture_close(&deeper);
    qa_fixture_close(&shallower);
    qa_fixture_close(&wider);
}
END_TEST

Suite *model_adapter_suite(void);
Suite *model_adapter_suite(void) {
    Suite *suite = suite_create("model/adapter");
    TCase *tcase = tcase_create("adapter");
    tcase_add_test(tcase, initialisation);
    tcase_add_test(tcase, options_are_checked);
    tcase_add_test(tcase, target_names);
    tcase_add_loop_test(tcase, peft_round_trip, 0, 2);
    tcase_add_test(tcase, the_config_has_the_keys_of_peft);
    tcase_add_loop_test(tcase, what_does_not_fit, 0, (int)(sizeof refusals / sizeof *refusals));
    tcase_add_test(tcase, adapter_of_another_model);
    suite_add_tcase(suite, tcase);
    return suite;
}
