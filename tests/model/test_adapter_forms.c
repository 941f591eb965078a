/* The forms of adapter_config.json and of tensors' names that PEFT and others write. Which maps, ranks and scales each
 * means was read off PEFT 0.21 (inject_adapter on a Llama of two layers). */
#include "io/file.h"
#include "io/safetensors.h"
#include "model/adapter_plan.h"
#include "model/module_pattern.h"
#include "support/compare.h"
#include "support/fixture.h"
#include "support/tempdir.h"

#include <check.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADAPTER(members) "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 6, " members "}"

/* Letters of the maps of layer 0 and of layer 1: Q K V O G(ate) U(p) D(own). */
static const struct form {
    const char *config, *maps[2];
} forms[] = {
    {ADAPTER("\"target_modules\": [\"q_proj\", \"W_pack\", \"v_proj\"]"), {"QV", "QV"}},
    {ADAPTER("\"target_modules\": [\"self_attn.q_proj\"]"), {"Q", "Q"}},
    {ADAPTER("\"target_modules\": [\"model.layers.1.mlp.up_proj\", \"layers.0.self_attn.o_proj\"]"), {"O", "U"}},
    {ADAPTER("\"target_modules\": [\"proj\", \"_proj\", \"down_proj\"]"), {"D", "D"}},
    {ADAPTER("\"target_modules\": \"all-linear\""), {"QKVOGUD", "QKVOGUD"}},
    {ADAPTER("\"target_modules\": \"all-linear\", \"exclude_modules\": [\"mlp.up_proj\", "
             "\"model.layers.1.self_attn.k_proj\"]"),
     {"QKVOGD", "QVOGD"}},
    {ADAPTER("\"target_modules\": \".*\\\\.(q|v)_proj\""), {"QV", "QV"}},
    {ADAPTER("\"target_modules\": \"q_proj|.*k_proj\""), {"K", "K"}}, /* the whole path, or nothing */
    {ADAPTER("\"target_modules\": \"model\\\\.layers\\\\.[01]\\\\.mlp\\\\.(?!gate).*\""), {"UD", "UD"}},
    {ADAPTER("\"target_modules\": "
             "\"(?:.*?(?:text).*?(?:q_proj).*?)|(?:\\\\bmodel\\\\.layers\\\\.[\\\\d]{1,}\\\\.(?:self_attn|"
             "mlp)\\\\.(?:(?:q_proj|down_proj)))\""),
     {"QD", "QD"}},
    {ADAPTER("\"target_modules\": [\"q_proj\", \"up_proj\"], \"exclude_modules\": \".*\\\\.0\\\\..*q_proj\""),
     {"U", "QU"}},
    {ADAPTER("\"target_modules\": [\"q_proj\"], \"layers_to_transform\": [1, 7]"), {"", "Q"}},
    {ADAPTER("\"target_modules\": [\"q_proj\"], \"layers_to_transform\": 0, \"layers_pattern\": \"layers\""),
     {"Q", ""}},
    {ADAPTER("\"target_modules\": [\"q_proj\"], \"layers_to_transform\": []"), {"Q", "Q"}},
    {ADAPTER("\"target_modules\": [\"model.layers.0.mlp.gate_proj\", \"q_proj\"], \"layers_to_transform\": [1]"),
     {"G", "Q"}}, /* a whole path is not asked for its layer */
    {ADAPTER(
         "\"target_modules\": [\"v_proj\"], \"init_lora_weights\": \"Gaussian\", \"megatron_core\": \"megatron.core\", "
         "\"loftq_config\": {}, \"qalora_group_size\": 16, \"eva_config\": {\"rho\": 2.0}, \"use_dora\": false, "
         "\"auto_mapping\": {\"unsloth_fixed\": true}, \"task_type\": null, \"kasa_config\": null"),
     {"V", "V"}},
};

START_TEST(which_maps) {
    const tiny_model_options options = tiny_model_defaults();
    qa_fixture f = qa_fixture_open(&options, NULL, 1);
    qa_fixture_adapt(&f, forms[_i].config);
    for (size_t l = 0; l < 2; l++) {
        for (qa_target t = QA_TARGET_Q; t <= QA_TARGET_DOWN; t++) {
            const qa_branch_place *place = qa_adapter_place(f.adapter, l, t);
            const bool expected = strchr(forms[_i].maps[l], "QKVOGUD"[t]) != NULL;
            ck_assert_msg(place->present == expected, "layer %zu, %s: %d", l, qa_target_name(t), place->present);
            ck_assert(!expected || (place->rank == 2 && fabs(place->scale - 3) < 1e-15));
        }
    }
    qa_fixture_close(&f);
}
END_TEST

/* The first key that matches counts, in the order of the file; rslora takes the root of the map's own rank. */
START_TEST(ranks_and_alphas) {
    const tiny_model_options options = tiny_model_defaults();
    qa_fixture f = qa_fixture_open(&options, NULL, 1);
    qa_fixture_adapt(&f, ADAPTER("\"target_modules\": \"all-linear\", \"use_rslora\": true, \"rank_pattern\": "
                                 "{\"layers.1.self_attn.q_proj\": 5, \"q_proj\": 3, \"_proj\": 7, \".*up_proj\": 4}, "
                                 "\"alpha_pattern\": {\"mlp\\\\.(up|down)_proj\": 8, \"up_proj\": 9, \"^v_proj\": 1}"));
    const qa_branch_place *q0 = qa_adapter_place(f.adapter, 0, QA_TARGET_Q);
    const qa_branch_place *q1 = qa_adapter_place(f.adapter, 1, QA_TARGET_Q);
    const qa_branch_place *v = qa_adapter_place(f.adapter, 1, QA_TARGET_V);
    const qa_branch_place *up = qa_adapter_place(f.adapter, 1, QA_TARGET_UP);
    const qa_branch_place *down = qa_adapter_place(f.adapter, 0, QA_TARGET_DOWN);
    ck_assert_uint_eq(q0->rank, 3);
    ck_assert_uint_eq(q1->rank, 5);
    ck_assert_uint_eq(v->rank, 2);
    ck_assert_uint_eq(up->rank, 4);
    ck_assert_uint_eq(down->rank, 2);
    ck_assert_double_eq_tol(q0->scale, 6 / sqrt(3), 1e-15);
    ck_assert_double_eq_tol(q1->scale, 6 / sqrt(5), 1e-15);
    ck_assert_double_eq_tol(v->scale, 6 / sqrt(2), 1e-15);
    ck_assert_double_eq_tol(up->scale, 8 / sqrt(4), 1e-15);
    ck_assert_double_eq_tol(down->scale, 8 / sqrt(2), 1e-15);
    ck_assert_uint_eq(f.adapter->widest.rank, 5);
    ck_assert(!f.adapter->uniform);
    qa_fixture_close(&f);
}
END_TEST

static const char uneven[] = ADAPTER("\"target_modules\": [\"q_proj\", \"down_proj\", \"model.layers.0.mlp.up_proj\"], "
                                     "\"layers_to_transform\": [1], \"rank_pattern\": {\"down_proj\": 4}, "
                                     "\"alpha_pattern\": {\"1.self_attn.q_proj\": 2.5}");

/* Saved and loaded again it is the same adapter, and saved a third time the same bytes. */
START_TEST(an_uneven_adapter_there_and_back) {
    const tiny_model_options options = tiny_model_defaults();
    qa_fixture f = qa_fixture_open(&options, NULL, 1);
    qa_error err = {0};
    qa_adapter *loaded = NULL;
    char *dir = qa_tempdir_make(), *again = qa_tempdir_make();
    qa_fixture_adapt(&f, uneven);
    for (size_t i = 0; i < f.adapter->count; i++) {
        f.adapter->parameters[i] = (qa_real)(float)f.adapter->parameters[i];
    }
    qa_expect_ok(qa_adapter_save(f.adapter, dir, "m", &err), &err);
    qa_expect_ok(qa_adapter_load(&loaded, f.model, dir, &err), &err);
    ck_assert_uint_eq(loaded->count, f.adapter->count);
    ck_assert_uint_eq(loaded->n_tensors, 6);
    ck_assert_mem_eq(loaded->parameters, f.adapter->parameters, loaded->count * sizeof(qa_real));
    for (size_t i = 0; i < 2 * QA_TARGETS; i++) {
        const qa_branch_place *a = &loaded->places[i], *b = &f.adapter->places[i];
        ck_assert(a->present == b->present &&
                  (!a->present || (a->rank == b->rank && fabs(a->scale - b->scale) < 1e-15)));
    }
    qa_expect_ok(qa_adapter_save(loaded, again, "m", &err), &err);
    char *paths[2] = {qa_tempdir_join(dir, "adapter_config.json"), qa_tempdir_join(again, "adapter_config.json")};
    char *texts[2] = {qa_tempdir_read(paths[0], NULL), qa_tempdir_read(paths[1], NULL)};
    ck_assert_str_eq(texts[0], texts[1]);
    for (size_t i = 0; i < 2; i++) {
        free(paths[i]);
        free(texts[i]);
    }
    qa_adapter_free(loaded);
    qa_tempdir_remove(dir);
    qa_tempdir_remove(again);
    qa_fixture_close(&f);
}
END_TEST

/* ---- expressions ---- */

static const struct expression {
    const char *text;
    qa_module_rule rule;
    int matches; /* on model.layers.10.mlp.up_proj; -1: refused */
} expressions[] = {
    {".*", QA_MODULE_WHOLE, 1},
    {"up_proj", QA_MODULE_WHOLE, 0},
    {"up_proj", QA_MODULE_END, 1},
    {"p_proj", QA_MODULE_END, 0},
    {"mlp.up.proj", QA_MODULE_END, 1},
    {"layers.1.mlp.up_proj", QA_MODULE_END, 0},
    {"model.layers.10", QA_MODULE_WHOLE, 0},
    {"model.layers.\\d+.mlp.\\w+", QA_MODULE_WHOLE, 1},
    {"model.layers.(?P<layer>1|10).*", QA_MODULE_WHOLE, 1},
    {"^model.*up_proj$", QA_MODULE_WHOLE, 1},
    {"(a|up)_proj", QA_MODULE_END, 1},
    {"[]m]odel.*?", QA_MODULE_WHOLE, 1},
    {"(?=model).{5,40}", QA_MODULE_WHOLE, 1},
    {"(?!model).*", QA_MODULE_WHOLE, 0},
    {"(?i).*UP_PROJ", QA_MODULE_WHOLE, 1},
    {"(?i)", QA_MODULE_WHOLE, 0},
    {"(?i)*", QA_MODULE_WHOLE, -1},
    {"(?i)up_proj", QA_MODULE_END, -1},
    {".*(?i)UP_PROJ", QA_MODULE_WHOLE, -1},
    {"(?s).*", QA_MODULE_WHOLE, -1},
    {"(?<=mlp.)up_proj", QA_MODULE_END, 1},
    {".*(?<!mlp)\\.up_proj", QA_MODULE_WHOLE, 0},
    {".*(?<!attn)\\.up_proj", QA_MODULE_WHOLE, 1},
    {"(?<n>m).*", QA_MODULE_WHOLE, -1},
    {"(*ACCEPT)", QA_MODULE_WHOLE, -1},
    {"(?R)?.*", QA_MODULE_WHOLE, -1},
    {"\\Qmodel\\E.*", QA_MODULE_WHOLE, -1},
    {".*\\1", QA_MODULE_WHOLE, -1},
    {".{,40}", QA_MODULE_WHOLE, -1},
    {".{2}{20}", QA_MODULE_WHOLE, -1},
    {"[[:alpha:].0-9_]+", QA_MODULE_WHOLE, -1},
    {".*(up", QA_MODULE_WHOLE, -1},
    {"a)|(.*", QA_MODULE_END, -1},
    {"[a", QA_MODULE_WHOLE, -1},
    {"\xc3\xa4|.*", QA_MODULE_WHOLE, -1},
    {".*.*.*.*.*.*.*.*[xz]", QA_MODULE_WHOLE, -1},
};

START_TEST(expressions_of_python) {
    const struct expression *it = &expressions[_i];
    qa_module_pattern *pattern = NULL;
    qa_error err = {0};
    bool matches = false;
    qa_status status = qa_module_pattern_create(&pattern, it->text, strlen(it->text), it->rule, 10000, &err);
    if (status == QA_OK) {
        status = qa_module_pattern_matches(pattern, "model.layers.10.mlp.up_proj", &matches, &err);
    }
    ck_assert_msg((status == QA_OK) == (it->matches >= 0), "%s: %s", it->text, err.message);
    ck_assert_msg(it->matches < 0 || matches == (it->matches == 1), "%s: %d", it->text, matches);
    qa_module_pattern_free(pattern);
}
END_TEST

/* ---- names of other writers ---- */

enum { MAX_TENSORS = 8 };

/* Writes the adapter's tensors again, each under what spell() makes of its name. */
static void respell(const char *dir, void (*spell)(char *out, size_t bytes, const char *name, size_t i)) {
    char *path = qa_tempdir_join(dir, "adapter_model.safetensors");
    char names[MAX_TENSORS][256];
    qa_safetensors *file = NULL;
    qa_safetensors_writer *writer = NULL;
    qa_error err = {0};
    double wide[MAX_TENSORS][256];
    qa_expect_ok(qa_safetensors_open(&file, path, &err), &err);
    qa_expect_ok(qa_safetensors_writer_create(&writer, &err), &err);
    const size_t n = qa_safetensors_count(file);
    ck_assert_uint_le(n, MAX_TENSORS);
    for (size_t i = 0; i < n; i++) {
        const qa_tensor *tensor = qa_safetensors_at(file, i);
        ck_assert_uint_le(tensor->count, 256);
        qa_expect_ok(qa_tensor_read_double(file, tensor, true, wide[i], &err), &err);
        spell(names[i], sizeof names[i], tensor->name, i);
        qa_expect_ok(qa_safetensors_writer_add_double(writer, names[i], QA_DTYPE_F32, 2, tensor->shape, wide[i], &err),
                     &err);
    }
    qa_expect_ok(qa_safetensors_writer_save(writer, path, &err), &err);
    qa_safetensors_writer_free(writer);
    qa_safetensors_close(file);
    free(path);
}

static const char *behind(const char *name) { return name + strlen("base_model.model."); }

static void compiled(char *out, size_t bytes, const char *name, size_t i) {
    (void)snprintf(out, bytes, i % 2 == 0 ? "_orig_mod.%s" : "base_model.model._orig_mod.%s",
                   i % 2 == 0 ? name : behind(name));
}

static void with_a_name(char *out, size_t bytes, const char *name, size_t i) {
    (void)i;
    (void)snprintf(out, bytes, "%.*s.default.weight", (int)(strlen(name) - strlen(".weight")), name);
}

static void doubled(char *out, size_t bytes, const char *name, size_t i) {
    (void)i;
    (void)snprintf(out, bytes, "module.base_model.model.%s", name);
}

static void bare(char *out, size_t bytes, const char *name, size_t i) {
    (void)i;
    (void)snprintf(out, bytes, "%s", behind(name));
}

static void two_adapters(char *out, size_t bytes, const char *name, size_t i) {
    (void)snprintf(out, bytes, "%.*s.%s.weight", (int)(strlen(name) - strlen(".weight")), name, i == 1 ? "b" : "a");
}

static void twice(char *out, size_t bytes, const char *name, size_t i) {
    if (i < 2) { /* both the first A of layer 0 */
        (void)snprintf(out, bytes, "%sbase_model.model.model.layers.0.self_attn.q_proj.lora_A.weight",
                       i == 0 ? "" : "module.");
    } else {
        (void)snprintf(out, bytes, "%s", name);
    }
}

static void other(char *out, size_t bytes, const char *name, size_t i) {
    (void)name;
    (void)snprintf(out, bytes, "transformer.h.%zu.attn.lora_a", i);
}

static const struct spelling {
    void (*spell)(char *out, size_t bytes, const char *name, size_t i);
    const char *message; /* NULL: read */
} spellings[] = {{compiled, NULL},
                 {with_a_name, NULL},
                 {doubled, NULL},
                 {bare, NULL},
                 {two_adapters, "holds two adapters, \"a\" and \"b\""},
                 {twice, "are two of the same meaning"},
                 {other, "the file's first one is \"transformer.h.0.attn.lora_a\""}};

START_TEST(adapter_names_of_other_writers) {
    const tiny_model_options options = tiny_model_defaults();
    const qa_lora_options lora = {.rank = 2, .alpha = 6, .targets = {[QA_TARGET_Q] = true}};
    qa_fixture f = qa_fixture_open(&options, &lora, 1);
    qa_error err = {0};
    qa_adapter *loaded = NULL;
    char *dir = qa_tempdir_make();
    qa_expect_ok(qa_adapter_save(f.adapter, dir, "m", &err), &err);
    respell(dir, spellings[_i].spell);
    const qa_status status = qa_adapter_load(&loaded, f.model, dir, &err);
    if (spellings[_i].message == NULL) {
        qa_expect_ok(status, &err);
        for (size_t i = 0; i < loaded->count; i++) {
            ck_assert_double_eq((double)loaded->parameters[i], (double)(float)f.adapter->parameters[i]);
        }
    } else {
        ck_assert_int_ne((int)status, QA_OK);
        ck_assert_msg(strstr(err.message, spellings[_i].message) != NULL, "%s", err.message);
    }
    qa_adapter_free(loaded);
    qa_tempdir_remove(dir);
    qa_fixture_close(&f);
}
END_TEST

/* ---- folders ---- */

/* A folder that is no adapter's says what it is, and where one is. */
START_TEST(folders_that_are_no_adapter) {
    const tiny_model_options options = tiny_model_defaults();
    qa_fixture f = qa_fixture_open(&options, NULL, 1);
    qa_error err = {0};
    qa_adapter *loaded = NULL;
    char *dir = qa_tempdir_make();
    qa_expect_error(qa_adapter_load(&loaded, f.model, f.dir, &err), QA_ERR_IO, &err, "is a model's folder");
    qa_expect_error(qa_adapter_load(&loaded, f.model, "some/adapter", &err), QA_ERR_IO, &err, "no such folder");
    qa_expect_error(qa_adapter_load(&loaded, f.model, dir, &err), QA_ERR_IO, &err, "holds no adapter_config.json");
    char *config = qa_tempdir_write_text(dir, "adapter_config.json", "{}");
    qa_expect_error(qa_adapter_load(&loaded, f.model, config, &err), QA_ERR_IO, &err, "is a file");
    qa_expect_error(qa_adapter_load(&loaded, f.model, dir, &err), QA_ERR_IO, &err, "but no adapter_model.safetensors");
    free(qa_tempdir_write_text(dir, "adapter_model.bin", "PK"));
    qa_expect_error(qa_adapter_load(&loaded, f.model, dir, &err), QA_ERR_IO, &err,
                    "adapter_model.bin, which is not read");
    ck_assert_int_eq(remove(config), 0);
    static const char *const below[] = {"checkpoint-9", "checkpoint-20", "default"};
    for (size_t i = 0; i < 3; i++) {
        char *folder = qa_tempdir_join(dir, below[i]), part[64];
        qa_expect_ok(qa_make_dirs(folder, &err), &err);
        free(qa_tempdir_write_text(folder, "adapter_config.json", "{}"));
        (void)snprintf(part, sizeof part, "/%s does: give that one", below[i]);
        qa_expect_error(qa_adapter_load(&loaded, f.model, dir, &err), QA_ERR_IO, &err, part);
        free(folder);
    }
    free(config);
    qa_tempdir_remove(dir);
    qa_fixture_close(&f);
}
END_TEST

Suite *model_adapter_forms_suite(void);
Suite *model_adapter_forms_suite(void) {
    Suite *suite = suite_create("model/adapter_forms");
    TCase *tcase = tcase_create("adapter_forms");
    tcase_add_loop_test(tcase, which_maps, 0, (int)(sizeof forms / sizeof *forms));
    tcase_add_test(tcase, ranks_and_alphas);
    tcase_add_test(tcase, an_uneven_adapter_there_and_back);
    tcase_add_loop_test(tcase, expressions_of_python, 0, (int)(sizeof expressions / sizeof *expressions));
    tcase_add_loop_test(tcase, adapter_names_of_other_writers, 0, (int)(sizeof spellings / sizeof *spellings));
    tcase_add_test(tcase, folders_that_are_no_adapter);
    suite_add_tcase(suite, tcase);
    return suite;
}
