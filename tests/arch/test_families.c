/* The families: their tables of tensors and lists of operations belong together; what a config.json without a key means
 * is what transformers 5.24 means by it (numbers of its config classes); what is written is read again as it was. */
#include "arch/config.h"
#include "arch/families.h"
#include "arch/tensors.h"
#include "io/file.h"
#include "support/compare.h"
#include "support/fixture.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OF_HEADS(heads)                                                                                                \
    "\"hidden_size\": 320, \"intermediate_size\": 96, \"num_hidden_layers\": 8, \"num_attention_heads\": " heads       \
    ", \"vocab_size\": 50"
#define FORTY OF_HEADS("40")
#define THIRTY_TWO OF_HEADS("32")

/* A config.json that names an architecture and its dimensions only. Layers: w has a window, n no RoPE. */
static const struct default_row {
    const char *architecture, *members;
    size_t key_value_heads, head_dim, max_position_embeddings;
    double eps, theta, local_theta;
    size_t rotary_dim;
    bool tied;
    qa_activation activation;
    size_t window;
    const char *windows, *no_rope;
} default_rows[] = {
    {"LlamaForCausalLM", FORTY, 40, 8, 2048, 1e-06, 10000, 0, 8, false, QA_SILU, 0, "........", "........"},
    {"MistralForCausalLM", FORTY, 8, 8, 131072, 1e-06, 10000, 0, 8, false, QA_SILU, 4096, "wwwwwwww", "........"},
    {"Qwen2ForCausalLM", THIRTY_TWO, 32, 10, 32768, 1e-06, 10000, 0, 10, false, QA_SILU, 0, "........", "........"},
    {"Qwen3ForCausalLM", THIRTY_TWO, 32, 128, 32768, 1e-06, 10000, 0, 128, false, QA_SILU, 0, "........", "........"},
    {"GemmaForCausalLM", THIRTY_TWO, 16, 256, 8192, 1e-06, 10000, 0, 256, true, QA_GELU_TANH, 0, "........",
     "........"},
    {"Gemma2ForCausalLM", FORTY, 4, 256, 8192, 1e-06, 10000, 0, 256, true, QA_GELU_TANH, 4096, "w.w.w.w.", "........"},
    {"Gemma3ForCausalLM", FORTY, 4, 256, 131072, 1e-06, 1e+06, 10000, 256, true, QA_GELU_TANH, 4096, "wwwww.ww",
     "........"},
    {"SmolLM3ForCausalLM", FORTY, 4, 8, 32768, 1e-06, 2e+06, 0, 8, true, QA_SILU, 0, "........", "...n...n"},
    {"GraniteForCausalLM", FORTY, 40, 8, 2048, 1e-06, 10000, 0, 8, false, QA_SILU, 0, "........", "........"},
    {"GraniteMoeHybridForCausalLM",
     "\"hidden_size\": 320, \"num_hidden_layers\": 8, \"num_attention_heads\": 40, \"vocab_size\": 50, "
     "\"shared_intermediate_size\": 96, \"num_local_experts\": 0, \"layer_types\": [\"attention\", \"attention\", "
     "\"attention\", \"attention\", \"attention\", \"attention\", \"attention\", \"attention\"], \"mamba_n_heads\": "
     "20, \"mamba_d_head\": 32",
     40, 8, 2048, 1e-06, 10000, 0, 8, false, QA_SILU, 0, "........", "nnnnnnnn"},
    {"Phi3ForCausalLM", FORTY, 40, 8, 4096, 1e-05, 10000, 0, 8, false, QA_SILU, 0, "........", "........"},
    {"OlmoForCausalLM", FORTY, 40, 8, 2048, 1e-05, 10000, 0, 8, false, QA_SILU, 0, "........", "........"},
    {"Olmo2ForCausalLM", FORTY, 40, 8, 2048, 1e-05, 10000, 0, 8, false, QA_SILU, 0, "........", "........"},
    {"Olmo3ForCausalLM", FORTY, 40, 8, 2048, 1e-05, 500000, 500000, 8, false, QA_SILU, 4096, "www.www.", "........"},
    {"Ernie4_5ForCausalLM", FORTY, 2, 128, 131072, 1e-05, 500000, 0, 128, true, QA_SILU, 0, "........", "........"},
    {"HunYuanDenseV1ForCausalLM", FORTY, 40, 8, 2048, 1e-05, 10000, 0, 8, false, QA_SILU, 0, "........", "........"},
    {"ExaoneForCausalLM",
     "\"hidden_size\": 320, \"intermediate_size\": 96, \"num_attention_heads\": 40, \"vocab_size\": 50, "
     "\"num_layers\": 8",
     8, 8, 4096, 1e-05, 500000, 0, 8, false, QA_SILU, 0, "........", "........"},
    {"Exaone4ForCausalLM", THIRTY_TWO, 32, 10, 2048, 1e-05, 10000, 0, 10, false, QA_SILU, 4096, "www.www.", "...n...n"},
    {"StableLmForCausalLM", THIRTY_TWO, 32, 10, 4096, 1e-05, 10000, 0, 2, false, QA_SILU, 0, "........", "........"},
    {"Starcoder2ForCausalLM", FORTY, 2, 8, 4096, 1e-05, 10000, 0, 8, true, QA_GELU_TANH, 0, "........", "........"},
    {"GPT2LMHeadModel", "\"n_embd\": 320, \"n_layer\": 8, \"n_head\": 40, \"vocab_size\": 50", 40, 8, 1024, 1e-05, 0, 0,
     8, true, QA_GELU_TANH, 0, "........", "nnnnnnnn"},
    {"GPTNeoXForCausalLM", FORTY, 40, 8, 2048, 1e-05, 10000, 0, 2, false, QA_GELU, 0, "........", "........"},
    {"CohereForCausalLM", FORTY, 40, 8, 8192, 1e-05, 500000, 0, 8, true, QA_SILU, 0, "........", "........"},
    {"NemotronForCausalLM", FORTY, 40, 8, 4096, 1e-05, 10000, 0, 4, false, QA_RELU2, 0, "........", "........"},
    {"HeliumForCausalLM", FORTY, 20, 128, 4096, 1e-08, 100000, 0, 128, false, QA_SILU, 0, "........", "........"},
    {"GlmForCausalLM", FORTY, 2, 128, 131072, 1.5625e-07, 10000, 0, 64, false, QA_SILU, 0, "........", "........"},
    {"Glm4ForCausalLM", FORTY, 2, 128, 131072, 1.5625e-07, 10000, 0, 64, false, QA_SILU, 0, "........", "........"},
    {"InternLM3ForCausalLM", FORTY, 2, 128, 32768, 1e-05, 10000, 0, 128, false, QA_SILU, 0, "........", "........"},
};

static char told_of_config[2048];

static void keep_warning(void *user, qa_log_level level, const char *line) {
    (void)user;
    const size_t used = strlen(told_of_config);
    (void)snprintf(told_of_config + used, sizeof told_of_config - used, "%s%s\n",
                   level == QA_LOG_WARNING ? "warning: " : "", line);
}

static qa_status read_members(qa_config *config, const char *architecture, const char *members, qa_error *err) {
    char text[4096];
    char *dir = qa_tempdir_make();
    const qa_logger logger = {.write = keep_warning};
    told_of_config[0] = '\0';
    (void)snprintf(text, sizeof text, "{\"architectures\": [\"%s\"], %s}", architecture, members);
    char *path = qa_tempdir_write_text(dir, "config.json", text);
    const qa_status status = qa_config_load_file(config, path, &logger, err);
    free(path);
    qa_tempdir_remove(dir);
    return status;
}

START_TEST(defaults_are_those_of_transformers) {
    const struct default_row *row = &default_rows[_i];
    qa_config c;
    qa_error err = {0};
    char windows[9] = "", no_rope[9] = "";
    qa_expect_ok(read_members(&c, row->architecture, row->members, &err), &err);
    ck_assert_str_eq(told_of_config, "");
    ck_assert_uint_eq(c.num_key_value_heads, row->key_value_heads);
    ck_assert_uint_eq(c.head_dim, row->head_dim);
    ck_assert_uint_eq(c.max_position_embeddings, row->max_position_embeddings);
    ck_assert_msg(c.norm_eps == row->eps, "%g", c.norm_eps);
    for (size_t l = 0; l < 8; l++) {
        windows[l] = qa_config_window(&c, l) != 0 ? 'w' : '.';
        no_rope[l] = qa_config_rope(&c, l) == NULL ? 'n' : '.';
    }
    if (strcmp(row->architecture, "GPT2LMHeadModel") != 0) { /* nothing is turned there */
        ck_assert_msg(c.rope[QA_ROPE_FULL].theta == row->theta, "%g", c.rope[QA_ROPE_FULL].theta);
        ck_assert_uint_eq(c.rotary_dim, row->rotary_dim);
    }
    ck_assert(row->local_theta == 0 || c.rope[QA_ROPE_SLIDING].theta == row->local_theta);
    ck_assert_int_eq(c.tie_word_embeddings, row->tied);
    ck_assert_int_eq(c.activation, row->activation);
    ck_assert_uint_eq(c.sliding_window, row->window);
    ck_assert_str_eq(windows, row->windows);
    ck_assert_str_eq(no_rope, row->no_rope);
}
END_TEST

/* One thing that a config says. */
static double embedding_factor(const qa_config *c) { return c->embedding_factor; }
static double attention_scale(const qa_config *c) { return c->attention_scale; }
static double attention_cap(const qa_config *c) { return c->attention_cap; }
static double logit_cap(const qa_config *c) { return c->logit_cap; }
static double logit_factor(const qa_config *c) { return c->logit_factor; }
static double residual_multiplier(const qa_config *c) { return c->residual_multiplier; }
static double clip(const qa_config *c) { return c->clip_qkv; }
static double activation(const qa_config *c) { return c->activation; }
static double norm_eps(const qa_config *c) { return c->norm_eps; }
static double intermediate_size(const qa_config *c) { return (double)c->intermediate_size; }
static double operations(const qa_config *c) { return (double)c->layer->n; }
static double biases(const qa_config *c) { return c->qkv_bias + 2 * c->o_bias + 4 * c->mlp_bias; }
static double head_dim(const qa_config *c) { return (double)c->head_dim; }
static double layer_flags(const qa_config *c) {
    double flags = 0;
    for (size_t l = 8; l-- > 0;) {
        flags = 10 * flags + c->layers[l];
    }
    return flags;
}
static double theta(const qa_config *c) { return c->rope[QA_ROPE_FULL].theta; }
static double local_theta(const qa_config *c) { return c->rope[QA_ROPE_SLIDING].theta; }
static double rope_type(const qa_config *c) { return c->rope[QA_ROPE_FULL].type; }

static const struct setting_row {
    const char *architecture, *members;
    double (*value)(const qa_config *config);
    double expected;
} setting_rows[] = {
    {"GemmaForCausalLM", THIRTY_TWO ", \"hidden_act\": \"gelu\"", activation, QA_GELU_TANH},
    {"GemmaForCausalLM", THIRTY_TWO ", \"hidden_activation\": \"silu\"", activation, QA_GELU_TANH},
    {"GPTNeoXForCausalLM", FORTY ", \"hidden_act\": \"gelu_fast\"", activation, QA_GELU_TANH}, /* 20B */
    {"GPT2LMHeadModel",
     "\"n_embd\": 320, \"n_layer\": 8, \"n_head\": 40, \"vocab_size\": 50, \"activation_function\": \"relu\"",
     activation, QA_RELU},
    {"Gemma2ForCausalLM", FORTY ", \"hidden_act\": \"silu\"", activation, QA_GELU_TANH},
    {"Gemma2ForCausalLM", FORTY ", \"hidden_activation\": \"silu\"", activation, QA_SILU},
    {"Gemma2ForCausalLM", FORTY, attention_cap, 50},
    {"Gemma2ForCausalLM", FORTY, logit_cap, 30},
    {"Gemma2ForCausalLM", FORTY ", \"attn_logit_softcapping\": null", attention_cap, 0},
    {"Gemma2ForCausalLM", FORTY, attention_scale, 1.0 / 16},
    {"Gemma2ForCausalLM", FORTY ", \"query_pre_attn_scalar\": 64", attention_scale, 1.0 / 8},
    {"Gemma3ForCausalLM", FORTY ", \"attn_logit_softcapping\": 50, \"final_logit_softcapping\": 7", attention_cap, 0},
    {"Gemma3ForCausalLM", FORTY ", \"attn_logit_softcapping\": 50, \"final_logit_softcapping\": 7", logit_cap, 7},
    {"Gemma3ForCausalLM", FORTY ", \"sliding_window_pattern\": 2", layer_flags, 3030303},
    {"Gemma3ForCausalLM", FORTY ", \"_sliding_window_pattern\": 2", layer_flags, 33033333},
    {"Gemma3ForCausalLM", FORTY ", \"rope_theta\": 5e5, \"rope_local_base_freq\": 300", local_theta, 300},
    {"Gemma3ForCausalLM", FORTY ", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 8}", rope_type,
     QA_ROPE_DEFAULT},
    {"Gemma3ForCausalLM", FORTY ", \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 8}", rope_type,
     QA_ROPE_LINEAR},
    {"Olmo3ForCausalLM", FORTY ", \"rope_theta\": 7e5", theta, 7e5},
    {"Olmo3ForCausalLM", FORTY ", \"rope_theta\": 7e5", local_theta, 5e5},
    {"Qwen2ForCausalLM", THIRTY_TWO ", \"use_sliding_window\": true, \"sliding_window\": 8, \"max_window_layers\": 6",
     layer_flags, 11000000},
    {"Qwen3ForCausalLM", THIRTY_TWO ", \"attention_bias\": true", biases, 3},
    {"Qwen2ForCausalLM", THIRTY_TWO, biases, 1},
    {"LlamaForCausalLM", FORTY ", \"attention_bias\": true, \"mlp_bias\": true", biases, 7},
    {"GlmForCausalLM", FORTY, biases, 1},
    {"StableLmForCausalLM", THIRTY_TWO ", \"use_qkv_bias\": true", biases, 1},
    {"Starcoder2ForCausalLM", FORTY, biases, 7},
    {"GPTNeoXForCausalLM", FORTY ", \"attention_bias\": false", biases, 4},
    {"InternLM3ForCausalLM", FORTY ", \"qkv_bias\": true, \"bias\": true", biases, 7},
    {"HeliumForCausalLM", FORTY ", \"attention_bias\": true", biases, 1},
    {"GraniteForCausalLM", FORTY, attention_scale, 1},
    {"GraniteForCausalLM", FORTY ", \"embedding_multiplier\": 12", embedding_factor, 12},
    {"GraniteForCausalLM", FORTY ", \"logits_scaling\": 8", logit_factor, 1.0 / 8},
    {"GraniteForCausalLM", FORTY ", \"residual_multiplier\": 0.25", residual_multiplier, 0.25},
    {"MiniCPMForCausalLM", FORTY ", \"scale_depth\": 4, \"num_key_value_heads\": 8", residual_multiplier,
     1.4142135623730951},
    {"MiniCPMForCausalLM", FORTY ", \"scale_emb\": 12, \"dim_model_base\": 80", logit_factor, 0.25},
    {"CohereForCausalLM", FORTY, logit_factor, 0.0625},
    {"OlmoForCausalLM", FORTY ", \"rms_norm_eps\": 0.1", norm_eps, 1e-5},
    {"OlmoForCausalLM", FORTY ", \"clip_qkv\": 8", clip, 8},
    {"OlmoForCausalLM", FORTY ", \"clip_qkv\": 8", operations, 18},
    {"StableLmForCausalLM", THIRTY_TWO ", \"layer_norm_eps\": 0.25, \"rms_norm_eps\": 0.5", norm_eps, 0.25},
    {"GPT2LMHeadModel", "\"n_embd\": 320, \"n_layer\": 8, \"n_head\": 40, \"vocab_size\": 50, \"n_inner\": null",
     intermediate_size, 1280},
    {"GPT2LMHeadModel", "\"hidden_size\": 320, \"n_layer\": 8, \"n_head\": 40, \"vocab_size\": 50, \"n_inner\": 7",
     intermediate_size, 7},
    {"SmolLM3ForCausalLM", FORTY ", \"no_rope_layers\": [1, 0, 1, 1, 1, 1, 1, 1]", layer_flags, 40},
    {"SmolLM3ForCausalLM", FORTY ", \"use_sliding_window\": true, \"sliding_window\": 8", layer_flags, 50005000},
    {"SmolLM3ForCausalLM",
     FORTY ", \"use_sliding_window\": false, \"sliding_window\": 8, \"layer_types\": [\"sliding_attention\", "
           "\"full_attention\", \"full_attention\", \"full_attention\", \"full_attention\", \"full_attention\", "
           "\"full_attention\", \"full_attention\"]",
     layer_flags, 40004001},
    {"Exaone4ForCausalLM", THIRTY_TWO ", \"sliding_window\": null", layer_flags, 0},
    {"Ernie4_5ForCausalLM", FORTY ", \"head_dim\": null", head_dim, 8},
};

START_TEST(settings_are_read) {
    const struct setting_row *row = &setting_rows[_i];
    qa_config c;
    qa_error err = {0};
    qa_expect_ok(read_members(&c, row->architecture, row->members, &err), &err);
    const double found = row->value(&c);
    ck_assert_msg(fabs(found - row->expected) <= 1e-15 * fabs(row->expected), "found %.17g, expected %.17g", found,
                  row->expected);
}
END_TEST

/* What is read, written and read again is the same to the last bit. */
START_TEST(a_config_is_written_as_it_was_read) {
    const int defaults = (int)(sizeof default_rows / sizeof *default_rows);
    const char *architecture = _i < defaults ? default_rows[_i].architecture : setting_rows[_i - defaults].architecture;
    const char *members = _i < defaults ? default_rows[_i].members : setting_rows[_i - defaults].members;
    qa_config c, again;
    qa_error err = {0};
    char *dir = qa_tempdir_make();
    qa_expect_ok(read_members(&c, architecture, members, &err), &err);
    qa_expect_ok(qa_config_save(&c, dir, QA_DTYPE_F32, &err), &err);
    told_of_config[0] = '\0';
    qa_expect_ok(qa_config_load(&again, dir, &(qa_logger){.write = keep_warning}, &err), &err);
    ck_assert_str_eq(told_of_config, "");
    ck_assert_msg(fabs(again.attention_scale / c.attention_scale - 1) < 1e-15, "%.17g", again.attention_scale);
    ck_assert_msg(fabs(again.residual_multiplier / c.residual_multiplier - 1) < 1e-15, "%.17g",
                  again.residual_multiplier);
    again.attention_scale = c.attention_scale;
    again.residual_multiplier = c.residual_multiplier;
    ck_assert_int_eq(memcmp(&c, &again, sizeof c), 0);
    qa_tempdir_remove(dir);
}
END_TEST

/* Layers that are not computed, and settings that nobody can mean. */
static const struct refused_row {
    const char *architecture, *members, *message;
} refused_rows[] = {
    {"GraniteMoeHybridForCausalLM", FORTY ", \"shared_intermediate_size\": 96, \"num_local_experts\": 0",
     "layer 0 is of type \"mamba\" (there is no layer_types)"},
    {"GraniteMoeHybridForCausalLM",
     FORTY ", \"shared_intermediate_size\": 96, \"num_local_experts\": 0, \"layer_types\": [\"attention\", \"mamba\"]",
     "layer 1 is of type \"mamba\": only attention layers are computed"},
    {"GraniteMoeHybridForCausalLM",
     FORTY ", \"shared_intermediate_size\": 96, \"layer_types\": [\"attention\", \"attention\", \"attention\", "
           "\"attention\", \"attention\", \"attention\", \"attention\", \"full_attention\"]",
     "num_local_experts is 8: mixtures of experts"},
    {"CohereForCausalLM", FORTY ", \"use_qk_norm\": true", "use_qk_norm is true"},
    {"StableLmForCausalLM", THIRTY_TWO ", \"qk_layernorm\": true", "qk_layernorm is true"},
    {"StableLmForCausalLM", THIRTY_TWO ", \"use_parallel_residual\": true", "use_parallel_residual is true"},
    {"StableLmForCausalLM", THIRTY_TWO ", \"head_dim\": 16", "32 heads 16 wide do not make the hidden size of 320"},
    {"InternLM3ForCausalLM", FORTY ", \"qkv_bias\": true", "qkv_bias and bias differ"},
    {"GPT2LMHeadModel", "\"n_embd\": 320, \"hidden_size\": 64, \"n_layer\": 8, \"n_head\": 40, \"vocab_size\": 50",
     "hidden_size and n_embd are one setting and differ"},
    {"GPT2LMHeadModel",
     "\"n_embd\": 320, \"n_layer\": 8, \"n_head\": 40, \"vocab_size\": 50, \"scale_attn_by_inverse_layer_idx\": true",
     "scale_attn_by_inverse_layer_idx"},
    {"Gemma3ForCausalLM", FORTY ", \"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 8}",
     "\"rope_type\" is not understood"},
    {"Gemma3ForCausalLM", FORTY ", \"use_bidirectional_attention\": true", "use_bidirectional_attention is true"},
    {"Gemma3ForCausalLM", FORTY ", \"sliding_window_pattern\": 0", "sliding_window_pattern is 0"},
    {"SmolLM3ForCausalLM", FORTY ", \"no_rope_layers\": [1, 0]", "no_rope_layers names 2 layers"},
    {"SmolLM3ForCausalLM", FORTY ", \"no_rope_layers\": [1, 0, 1, \"x\", 1, 1, 1, 1]", "entry 3 is neither 0 nor 1"},
    {"Phi3ForCausalLM", FORTY ", \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 8}",
     "rope type \"linear\" is not supported; expected default or longrope"},
    {"Phi3ForCausalLM", FORTY ", \"rope_scaling\": {\"type\": \"su\", \"short_factor\": [1], \"long_factor\": [1]}",
     "short_factor has 1 numbers, expected 4"},
    {"Phi3ForCausalLM",
     FORTY ", \"rope_scaling\": {\"type\": \"su\", \"short_factor\": [1, 1, 1, 0], \"long_factor\": [1, 1, 1, 1]}",
     "entry 3 of short_factor is not a number from"},
    {"GlmForCausalLM", FORTY ", \"partial_rotary_factor\": 0.0078", "turns 0 of the 128 dimensions"},
    {"GlmForCausalLM", FORTY ", \"partial_rotary_factor\": 1.5", "turns 192 of the 128 dimensions"},
    {"LlamaForCausalLM",
     FORTY ", \"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 2, \"beta_fast\": 1, "
           "\"beta_slow\": 2}",
     "beta_fast 1 is below beta_slow 2"},
    {"GraniteForCausalLM", FORTY ", \"logits_scaling\": 0", "logits_scaling is 0"},
    {"Qwen3MoeForCausalLM", FORTY, "\"Qwen3MoeForCausalLM\" is not supported"},
    {"Gemma3ForConditionalGeneration", FORTY, "it takes more than text"},
};

START_TEST(what_is_not_computed_is_refused) {
    const struct refused_row *row = &refused_rows[_i];
    qa_config c;
    qa_error err = {0};
    ck_assert_int_ne(read_members(&c, row->architecture, row->members, &err), QA_OK);
    ck_assert_msg(strstr(err.message, row->message) != NULL, "%s", err.message);
}
END_TEST

/* ---- the lists ---- */

static bool table_has(const qa_tensor_table *table, qa_role role, unsigned which) {
    for (size_t i = 0; i < table->n; i++) {
        const qa_tensor_row *row = &table->rows[i];
        if (row->role == role && which == (role == QA_ROLE_MAP ? (unsigned)row->target : (unsigned)row->norm)) {
            return true;
        }
    }
    return false;
}

static bool list_has(const qa_operation_list *list, qa_operation_kind kind, unsigned which) {
    for (size_t i = 0; i < list->n; i++) {
        if (list->operations[i].kind == kind && list->operations[i].which == which) {
            return true;
        }
    }
    return false;
}

/* Every map and norm of the list has its weights in the table (a family whose norms have none has no norm there), and
 * every weight its operation. */
START_TEST(a_list_and_its_table) {
    for (size_t f = 0; qa_family_at(f) != NULL; f++) {
        const qa_family *family = qa_family_at(f);
        const qa_operation_list *list = family->layer;
        const bool weightless = qa_tensor_of_role(family, QA_ROLE_NORM) == NULL;
        ck_assert_uint_le(list->n, QA_MAX_OPERATIONS);
        for (size_t i = 0; i < list->n; i++) {
            const qa_operation *o = &list->operations[i];
            const bool map = o->kind == QA_OP_MAP, norm = o->kind == QA_OP_NORM && !weightless;
            ck_assert_msg(!map || table_has(family->tensors, QA_ROLE_MAP, o->which), "%s: map %u", family->architecture,
                          o->which);
            ck_assert_msg(!norm || table_has(family->tensors, QA_ROLE_NORM, o->which), "%s: norm %u",
                          family->architecture, o->which);
        }
        for (size_t i = 0; i < family->tensors->n; i++) {
            const qa_tensor_row *row = &family->tensors->rows[i];
            ck_assert_msg(row->role != QA_ROLE_MAP || list_has(list, QA_OP_MAP, row->target), "%s: %s",
                          family->architecture, row->name);
            ck_assert_msg(row->role != QA_ROLE_NORM || list_has(list, QA_OP_NORM, row->norm), "%s: %s",
                          family->architecture, row->name);
            ck_assert_msg(row->into_residual == (row->role == QA_ROLE_MAP &&
                                                 (row->target == QA_TARGET_O || row->target == QA_TARGET_DOWN)),
                          "%s: %s", family->architecture, row->name);
        }
    }
}
END_TEST

/* docs/formats.md has a row for each family, in the order and with the words of `qadapter info --supported`. */
START_TEST(the_documents_list_the_same_families) {
    qa_text text = {0};
    qa_error err = {0};
    char row[512];
    qa_expect_ok(qa_read_file(&text, "docs/formats.md", (size_t)1 << 24, &err), &err);
    const char *at = strstr(text.data, "| `architectures` | models |\n| --- | --- |\n");
    ck_assert_ptr_nonnull(at);
    at = strchr(strchr(at, '\n') + 1, '\n') + 1;
    for (size_t i = 0; qa_family_at(i) != NULL; i++) {
        (void)snprintf(row, sizeof row, "| `%s` | %s |\n", qa_family_at(i)->architecture, qa_family_at(i)->models);
        ck_assert_msg(strncmp(at, row, strlen(row)) == 0, "expected %s", row);
        at += strlen(row);
    }
    ck_assert_int_ne(*at, '|');
    for (qa_rope_type type = QA_ROPE_DEFAULT; type <= QA_ROPE_LONGROPE; type++) {
        (void)snprintf(row, sizeof row, "`%s`", qa_rope_type_name(type));
        ck_assert_msg(strstr(at, row) != NULL, "the documents do not name %s", row);
    }
    qa_text_free(&text);
}
END_TEST

/* The example of docs/adding.md is the file that it shows. */
START_TEST(the_example_of_a_family_is_its_file) {
    qa_text text = {0}, file = {0};
    qa_error err = {0};
    qa_expect_ok(qa_read_file(&text, "docs/adding.md", (size_t)1 << 24, &err), &err);
    qa_expect_ok(qa_read_file(&file, "src/arch/qwen3.c", (size_t)1 << 20, &err), &err);
    const char *at = strstr(text.data, "+++ b/src/arch/qwen3.c\n");
    ck_assert_ptr_nonnull(at);
    at = strchr(at, '\n') + 1;
    for (const char *line = file.data; *line != '\0'; line += strcspn(line, "\n") + 1) {
        const size_t n = strcspn(line, "\n");
        ck_assert_msg(at[0] == '+' && strncmp(at + 1, line, n) == 0 && at[n + 1] == '\n', "expected +%.*s", (int)n,
                      line);
        at += n + 2;
    }
    ck_assert_int_eq(strncmp(at, "```\n", 4), 0);
    qa_text_free(&file);
    qa_text_free(&text);
}
END_TEST

/* A key of another family is told to those who ask for details, one that nobody knows to everybody. */
START_TEST(keys_of_other_families) {
    qa_config c;
    qa_error err = {0};
    qa_expect_ok(read_members(&c, "Gemma3ForCausalLM", FORTY ", \"attn_logit_softcapping\": 50", &err), &err);
    ck_assert_ptr_eq(strstr(told_of_config, "warning"), NULL);
    ck_assert_ptr_nonnull(strstr(told_of_config, "\"attn_logit_softcapping\" is no key of Gemma3ForCausalLM"));
    qa_expect_ok(read_members(&c, "Gemma3ForCausalLM", FORTY ", \"my_softcapping\": 50", &err), &err);
    ck_assert_ptr_nonnull(strstr(told_of_config, "warning: config.json: \"my_softcapping\" is no key of Gemma3"));
    qa_expect_ok(
        read_members(&c, "Gemma3ForCausalLM", FORTY ", \"rope_scaling\": {\"type\": \"linear\", \"factor\": 8}", &err),
        &err);
    ck_assert_ptr_nonnull(
        strstr(told_of_config, "warning: config.json: rope_scaling has a \"type\" and no \"rope_type\""));
}
END_TEST

/* Two classes of transformers read a Mistral with layer_types in two ways. */
START_TEST(a_mistral_with_layer_types) {
    static const struct {
        const char *members;
        bool warned;
    } rows[] = {{FORTY ", \"layer_types\": [\"sliding_attention\", \"full_attention\"]", true},
                {FORTY ", \"layer_types\": [\"sliding_attention\", \"sliding_attention\"]", false},
                {FORTY ", \"sliding_window\": null, \"layer_types\": [\"full_attention\"]", false},
                {FORTY ", \"sliding_window\": null, \"layer_types\": [\"sliding_attention\"]", true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        qa_config c;
        qa_error err = {0};
        qa_expect_ok(read_members(&c, "MistralForCausalLM", rows[i].members, &err), &err);
        ck_assert_int_eq(strstr(told_of_config, "warning: config.json: layer_types is not used") != NULL,
                         rows[i].warned);
    }
}
END_TEST

/* transformers refuses a config.json without a width in these families, whatever the layers are. */
START_TEST(a_width_is_written_that_no_layer_has) {
    static const char *const families[] = {"Gemma2ForCausalLM", "Gemma3ForCausalLM", "Olmo3ForCausalLM"};
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        char *dir = qa_tempdir_make(), *path = qa_path_join(dir, "config.json");
        qa_config c;
        qa_text text = {0};
        qa_error err = {0};
        qa_expect_ok(read_members(&c, families[i],
                                  "\"hidden_size\": 320, \"intermediate_size\": 96, \"num_hidden_layers\": 2, "
                                  "\"num_attention_heads\": 40, \"vocab_size\": 50, \"sliding_window\": 8, "
                                  "\"layer_types\": [\"full_attention\", \"full_attention\"]",
                                  &err),
                     &err);
        qa_expect_ok(qa_config_save(&c, dir, QA_DTYPE_F32, &err), &err);
        qa_expect_ok(qa_read_file(&text, path, (size_t)1 << 20, &err), &err);
        ck_assert_msg(strstr(text.data, "\"sliding_window\": 4096") != NULL, "%s", text.data);
        qa_expect_ok(qa_config_load_file(&c, path, NULL, &err), &err);
        ck_assert_uint_eq(c.sliding_window, 0);
        qa_text_free(&text);
        free(path);
        qa_tempdir_remove(dir);
    }
}
END_TEST

/* The factor on Gemma's embedding, by the dtype of the weights. */
START_TEST(the_embedding_factor_is_rounded) {
    static const struct {
        size_t hidden;
        qa_dtype dtype;
        double factor;
    } rows[] = {{48, QA_DTYPE_BF16, 6.9375}, {40, QA_DTYPE_BF16, 6.3125},   {56, QA_DTYPE_BF16, 7.46875},
                {64, QA_DTYPE_BF16, 8},      {48, QA_DTYPE_F16, 6.9296875}, {48, QA_DTYPE_F32, 6.928203105926514}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        qa_config c;
        qa_error err = {0};
        char members[256];
        (void)snprintf(members, sizeof members,
                       "\"hidden_size\": %zu, \"intermediate_size\": 96, \"num_hidden_layers\": 1, "
                       "\"num_attention_heads\": 8, \"num_key_value_heads\": 4, \"vocab_size\": 50",
                       rows[i].hidden);
        qa_expect_ok(read_members(&c, "Gemma2ForCausalLM", members, &err), &err);
        qa_config_set_stored_dtype(&c, rows[i].dtype);
        ck_assert_msg(c.embedding_factor == rows[i].factor, "%.17g", c.embedding_factor);
        qa_config_set_stored_dtype(&c, QA_DTYPE_BF16); /* once */
        ck_assert(c.embedding_factor == rows[i].factor);
    }
}
END_TEST

Suite *arch_families_suite(void);
Suite *arch_families_suite(void) {
    const int defaults = (int)(sizeof default_rows / sizeof *default_rows);
    const int settings = (int)(sizeof setting_rows / sizeof *setting_rows);
    Suite *suite = suite_create("arch/families");
    TCase *tcase = tcase_create("families");
    tcase_add_loop_test(tcase, defaults_are_those_of_transformers, 0, defaults);
    tcase_add_loop_test(tcase, settings_are_read, 0, settings);
    tcase_add_loop_test(tcase, a_config_is_written_as_it_was_read, 0, defaults + settings);
    tcase_add_loop_test(tcase, what_is_not_computed_is_refused, 0, (int)(sizeof refused_rows / sizeof *refused_rows));
    tcase_add_test(tcase, a_list_and_its_table);
    tcase_add_test(tcase, the_documents_list_the_same_families);
    tcase_add_test(tcase, the_example_of_a_family_is_its_file);
    tcase_add_test(tcase, keys_of_other_families);
    tcase_add_test(tcase, a_width_is_written_that_no_layer_has);
    tcase_add_test(tcase, the_embedding_factor_is_rounded);
    tcase_add_test(tcase, a_mistral_with_layer_types);
    suite_add_tcase(suite, tcase);
    return suite;
}
