/* LoRA's targets by a family's own names. GPT-2 has q, k and v in one map, no gate, and two maps of one name. */
#include "arch/families.h"
#include "arch/tensors.h"
#include "base/warnings.h"
#include "model/adapter_plan.h"
#include "model/lora_options.h"
#include "model/target_names.h"
#include "support/compare.h"
#include "support/fixture.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { GPT2 = 1 };

static const qa_family *family_of(int which) {
    return qa_family_by_architecture(which == GPT2 ? "GPT2LMHeadModel" : "LlamaForCausalLM");
}

/* ---- options ---- */

static const struct naming {
    const char *list;
    int family;
    const char *maps, *names, *message; /* letters as below; NULL message: accepted */
} namings[] = {
    {"q_proj, v_proj", 0, "QV", "q_proj,v_proj", NULL},
    {"all-linear", 0, "QKVOGUD", "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj", NULL},
    {"self_attn.q_proj,mlp.up_proj", 0, "QU", "q_proj,up_proj", NULL},
    {"qkv_proj", 0, "", "", "LlamaForCausalLM has no linear map qkv_proj; its maps are q_proj, k_proj, v_proj"},
    {"attn.q_proj", 0, "", "", "\"attn.q_proj\" is no linear map; expected q_proj, k_proj, v_proj, o_proj"},
    {"c_attn", 0, "", "", "\"c_attn\" is no linear map of LlamaForCausalLM; expected q_proj, k_proj, v_proj, o_proj"},
    {"q_proj,dense", 0, "", "", "\"dense\" is no linear map of LlamaForCausalLM"},
    {"w_proj", 0, "", "", "\"w_proj\" is no linear map; expected q_proj"},
    {" ,", 0, "", "", "no linear map is named"},
    {"c_attn, mlp.c_proj", GPT2, "AD", "c_attn,mlp.c_proj", NULL},
    {"c_proj", GPT2, "OD", "c_proj", NULL},
    {"mlp.down_proj", GPT2, "", "", "\"mlp.down_proj\" is no linear map of GPT2LMHeadModel"},
    {"all", GPT2, "OUDA", "c_attn,c_proj,c_fc", NULL},
    {"q_proj,v_proj", GPT2, "", "", "GPT2LMHeadModel has no linear map q_proj; its maps are c_attn, c_proj, c_fc"},
    {"o_proj", GPT2, "", "", "GPT2LMHeadModel has no linear map o_proj"},
    {"all-linear", GPT2, "OUDA", "c_attn,c_proj,c_fc", NULL},
};

static bool has_letter(const bool targets[QA_TARGETS], const char *maps) {
    for (qa_target t = QA_TARGET_Q; t < QA_TARGETS; t++) {
        if (targets[t] != (strchr(maps, "QKVOGUDAB"[t]) != NULL)) {
            return false;
        }
    }
    return true;
}

START_TEST(options_by_name) {
    const struct naming *it = &namings[_i];
    const qa_option *row = NULL;
    qa_lora_options lora = qa_lora_defaults();
    qa_error err = {0};
    char text[QA_OPTION_TEXT_BYTES];
    for (size_t i = 0; i < qa_lora_table.n; i++) {
        row = strcmp(qa_lora_table.rows[i].name, "lora-target") == 0 ? &qa_lora_table.rows[i] : row;
    }
    const qa_family *family = family_of(it->family);
    qa_status status = qa_option_set(row, &lora, it->list, &err);
    status = status == QA_OK ? qa_lora_options_fit(&lora, family, &err) : status;
    if (it->message != NULL) {
        qa_expect_error(status, QA_ERR_ARGUMENT, &err, it->message);
        return;
    }
    qa_expect_ok(status, &err);
    ck_assert_msg(has_letter(lora.targets, it->maps), "%s", it->list);
    qa_lora_targets_text(&lora, text, sizeof text);
    ck_assert_str_eq(text, it->names);
    qa_lora_options again = lora; /* what is fitted stays so */
    qa_expect_ok(qa_lora_options_fit(&again, family, &err), &err);
    ck_assert(has_letter(again.targets, it->maps));
    ck_assert_str_eq(again.target_modules, lora.target_modules);
}
END_TEST

/* Names of the family's own, as a program gives them. */
START_TEST(names_of_the_models_own) {
    static const struct {
        const char *list, *maps, *names;
    } cases[] = {{"c_attn", "A", "c_attn"},
                 {"c_proj", "OD", "c_proj"},
                 {"mlp.c_proj", "D", "mlp.c_proj"},
                 {"attn.c_proj,c_fc", "OU", "attn.c_proj,c_fc"},
                 {"attn.c_proj,mlp.c_proj", "OD", "c_proj"}};
    qa_error err = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        qa_lora_options lora = {.rank = 2, .alpha = 4};
        strcpy(lora.target_modules, cases[i].list);
        qa_expect_ok(qa_lora_options_fit(&lora, family_of(GPT2), &err), &err);
        ck_assert_msg(has_letter(lora.targets, cases[i].maps), "%s", cases[i].list);
        ck_assert_str_eq(lora.target_modules, cases[i].names);
        lora.targets[QA_TARGET_O] = !lora.targets[QA_TARGET_O];
        qa_expect_error(qa_lora_options_fit(&lora, family_of(GPT2), &err), QA_ERR_ARGUMENT, &err, "targets says other");
    }
    qa_lora_options lora = {.rank = 2, .alpha = 4, .target_modules = "c_attn,proj"};
    qa_expect_error(qa_lora_options_fit(&lora, family_of(GPT2), &err), QA_ERR_ARGUMENT, &err,
                    "\"proj\" is no linear map of GPT2LMHeadModel; expected c_attn, c_proj, c_fc");
    lora = (qa_lora_options){.rank = 2, .alpha = 4, .targets = {[QA_TARGET_O] = true}}; /* o_proj, which it lacks */
    qa_expect_error(qa_lora_options_fit(&lora, family_of(GPT2), &err), QA_ERR_ARGUMENT, &err, "no linear map o_proj");
}
END_TEST

/* A program that leaves out one map of all still has the others. */
START_TEST(all_but_one) {
    qa_error err = {0};
    qa_lora_options lora = qa_lora_defaults();
    lora.targets[QA_TARGET_K] = false;
    qa_expect_ok(qa_lora_options_fit(&lora, family_of(0), &err), &err);
    ck_assert(has_letter(lora.targets, "QVOGUD"));
    lora = qa_lora_defaults();
    lora.targets[QA_TARGET_Q] = lora.targets[QA_TARGET_K] = lora.targets[QA_TARGET_V] =
        false; /* but QKV is asked for */
    qa_expect_error(qa_lora_options_fit(&lora, family_of(0), &err), QA_ERR_ARGUMENT, &err, "no linear map qkv_proj");
}
END_TEST

/* ---- adapter_config.json ---- */

#define ADAPTER(members) "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 6, " members "}"

static const struct plan_case {
    const char *config, *maps[2], *names; /* NULL: refused */
    const char *message;                  /* the refusal, or the only warning; NULL: none */
} plans[] = {
    {ADAPTER("\"fan_in_fan_out\": true, \"target_modules\": [\"c_attn\"]"), {"A", "A"}, "c_attn", NULL},
    {ADAPTER("\"fan_in_fan_out\": true, \"target_modules\": [\"c_proj\"]"), {"OD", "OD"}, "c_proj", NULL},
    {ADAPTER("\"fan_in_fan_out\": true, \"target_modules\": [\"mlp.c_proj\", \"c_fc\"]"),
     {"UD", "UD"},
     "c_fc,mlp.c_proj",
     NULL},
    {ADAPTER("\"target_modules\": \"ALL-linear\", \"exclude_modules\": [\"attn\", \"attn.c_proj\"]"),
     {"UDA", "UDA"},
     "c_attn,c_fc,mlp.c_proj",
     NULL},
    {ADAPTER("\"target_modules\": \"transformer\\\\.h\\\\.1\\\\.mlp\\\\.c_.*\""), {"", "UD"}, "c_fc,mlp.c_proj", NULL},
    {ADAPTER("\"target_modules\": [\"transformer.h.0.attn.c_attn\"]"), {"A", ""}, "c_attn", NULL},
    {ADAPTER("\"target_modules\": [\"c_attn\"], \"layers_to_transform\": 1, \"layers_pattern\": \"h\""),
     {"", "A"},
     "c_attn",
     NULL},
    {ADAPTER("\"target_modules\": [\"c_attn\"], \"layers_to_transform\": [], \"layers_pattern\": [\"transformer.h\"]"),
     {"A", "A"},
     "c_attn",
     NULL},
    {ADAPTER("\"target_modules\": [\"c_attn\"], \"fan_in_fan_out\": false"),
     {"A", "A"},
     "c_attn",
     "fan_in_fan_out is false, but the linear maps of GPT2LMHeadModel are Conv1D: read as true"},
    {ADAPTER("\"target_modules\": [\"c_attn\"], \"rank_pattern\": {\"c_fc\": 3, \"c_attn\": 2, \"attn.c_attn\": 5}"),
     {"A", "A"},
     "c_attn",
     "rank_pattern: 2 of its 3 keys, \"c_fc\" the first, decide for no adapted map"},
    {ADAPTER("\"target_modules\": [\"c_attn\"], \"alpha_pattern\": {\"q_proj\": 3}"),
     {"A", "A"},
     "c_attn",
     "alpha_pattern: 1 of its 1 keys, \"q_proj\" the first"},
    {ADAPTER("\"target_modules\": [\"q_proj\"]"), {"", ""}, NULL, "a linear map (c_attn, c_proj, c_fc)"},
    {ADAPTER("\"target_modules\": [\"c_attn\", \"wte\"]"), {"", ""}, NULL, "target_modules adapts transformer.wte"},
    {ADAPTER("\"target_modules\": [\"c_attn\", \"ln_1\"]"), {"", ""}, NULL, "adapts transformer.h.0.ln_1, which"},
    {ADAPTER("\"target_modules\": \".*\\\\.1\\\\.mlp.*\""), {"", ""}, NULL, "adapts transformer.h.1.mlp, which"},
    {ADAPTER("\"target_modules\": \".*(c_attn|h)\""), {"", ""}, NULL, "adapts transformer.h, which"},
    {ADAPTER("\"target_modules\": \".*c_attn\", \"layers_to_transform\": []"),
     {"", ""},
     NULL,
     "layers_to_transform needs a list"},
    {ADAPTER("\"target_modules\": [\"c_attn\"], \"layers_pattern\": \"h\""),
     {"", ""},
     NULL,
     "layers_pattern is set, but not layers_to_transform"},
    {ADAPTER("\"target_modules\": [\"c_attn\"], \"modules_to_save\": [\"wte\"]"),
     {"", ""},
     NULL,
     "modules_to_save is set"},
    {ADAPTER("\"target_modules\": [\"c_attn\"], \"lora_bias\": true"), {"", ""}, NULL, "lora_bias is set"},
    {ADAPTER("\"target_modules\": [\"c_attn\"], \"bias\": \"lora_only\""), {"", ""}, NULL, "bias is set"},
};

static const qa_config *two_layers(void) {
    static qa_config config;
    config = (qa_config){.family = family_of(GPT2),
                         .hidden_size = 8,
                         .intermediate_size = 12,
                         .num_hidden_layers = 2,
                         .num_attention_heads = 2,
                         .num_key_value_heads = 2,
                         .head_dim = 4,
                         .vocab_size = 16};
    return &config;
}

START_TEST(plans_by_name) {
    const struct plan_case *it = &plans[_i];
    json_t *root = json_loads(it->config, 0, NULL);
    qa_branch_plan *plan = NULL;
    qa_lora_options options;
    qa_warnings warnings = {0};
    qa_error err = {0};
    char text[QA_OPTION_TEXT_BYTES];
    const qa_status status = qa_adapter_plan_read(&plan, &options, root, two_layers(), &warnings, &err);
    json_decref(root);
    if (it->names == NULL) {
        ck_assert_msg(status != QA_OK, "%s", it->config);
        ck_assert_msg(strstr(err.message, it->message) != NULL, "%s", err.message);
        return;
    }
    qa_expect_ok(status, &err);
    for (size_t i = 0; i < 2 * QA_TARGETS; i++) {
        const bool expected = strchr(it->maps[i / QA_TARGETS], "QKVOGUDAB"[i % QA_TARGETS]) != NULL;
        ck_assert_msg(plan[i].present == expected, "%s: map %zu", it->config, i);
    }
    qa_lora_targets_text(&options, text, sizeof text);
    ck_assert_str_eq(text, it->names);
    ck_assert_uint_eq(warnings.n, it->message == NULL ? 0 : 1);
    ck_assert_msg(it->message == NULL || strstr(warnings.lines[0], it->message) != NULL, "%s", warnings.lines[0]);
    free(plan);
    qa_warnings_free(&warnings);
}
END_TEST

/* PEFT makes suffixes of a list of 20 names before it looks at the layers: whether a whole path still counts is not
 * said here, but refused. */
START_TEST(long_lists_beside_layers) {
    json_t *list = json_array(), *root = json_loads(ADAPTER("\"layers_to_transform\": [1]"), 0, NULL);
    qa_branch_plan *plan = NULL;
    qa_lora_options options;
    qa_error err = {0};
    ck_assert_int_eq(json_array_append_new(list, json_string("transformer.h.0.attn.c_attn")), 0);
    for (size_t i = 1; i < 19; i++) {
        ck_assert_int_eq(json_array_append_new(list, json_string("c_fc")), 0);
    }
    ck_assert_int_eq(json_object_set_new(root, "target_modules", list), 0);
    qa_expect_ok(qa_adapter_plan_read(&plan, &options, root, two_layers(), NULL, &err), &err);
    ck_assert(plan[QA_TARGET_QKV].present && plan[QA_TARGETS + QA_TARGET_UP].present);
    free(plan);
    ck_assert_int_eq(json_array_append_new(list, json_string("c_fc")), 0);
    qa_expect_error(qa_adapter_plan_read(&plan, &options, root, two_layers(), NULL, &err), QA_ERR_UNSUPPORTED, &err,
                    "shortens lists from 20 names on");
    json_decref(root);
}
END_TEST

Suite *model_targets_suite(void);
Suite *model_targets_suite(void) {
    Suite *suite = suite_create("model/targets");
    TCase *tcase = tcase_create("targets");
    tcase_add_loop_test(tcase, options_by_name, 0, sizeof namings / sizeof *namings);
    tcase_add_test(tcase, names_of_the_models_own);
    tcase_add_test(tcase, all_but_one);
    tcase_add_loop_test(tcase, plans_by_name, 0, sizeof plans / sizeof *plans);
    tcase_add_test(tcase, long_lists_beside_layers);
    suite_add_tcase(suite, tcase);
    return suite;
}
