/* config.json: what is read, what is refused and how, and the RoPE frequencies. */
#include "arch/config.h"

#include "io/json.h"
#include "support/fixture.h"
#include "support/tempdir.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LLAMA                                                                                                          \
    "\"architectures\": [\"LlamaForCausalLM\"], \"hidden_size\": 64, \"intermediate_size\": 96, "                      \
    "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"vocab_size\": 50"

/* What the last load told. */
static char told[2048];

static void tell(void *user, qa_log_level level, const char *line) {
    (void)user;
    const size_t used = strlen(told);
    (void)snprintf(told + used, sizeof told - used, "%s%s\n", level == QA_LOG_WARNING ? "warning: " : "", line);
}

#define SIZES                                                                                                          \
    ", \"hidden_size\": 64, \"intermediate_size\": 96, \"num_hidden_layers\": 2, \"num_attention_heads\": 4, "         \
    "\"vocab_size\": 50, \"max_position_embeddings\": 128"
#define MISTRAL "\"architectures\": [\"MistralForCausalLM\"]" SIZES
#define QWEN2 "\"architectures\": [\"Qwen2ForCausalLM\"]" SIZES

static qa_status load(qa_config *config, const char *members, const char *generation, qa_error *err) {
    char *dir = qa_tempdir_make();
    char text[2048];
    const qa_logger logger = {.write = tell};
    told[0] = '\0';
    (void)snprintf(text, sizeof text, "{%s}", members);
    free(qa_tempdir_write_text(dir, "config.json", text));
    if (generation != NULL) {
        free(qa_tempdir_write_text(dir, "generation_config.json", generation));
    }
    qa_status status = qa_config_load(config, dir, &logger, err);
    if (status != QA_OK && strstr(err->message, dir) == NULL) {
        ck_abort_msg("the message does not name the folder: %s", err->message);
    }
    qa_tempdir_remove(dir);
    return status;
}

START_TEST(defaults_and_values) {
    qa_config c;
    qa_error err = {0};
    qa_expect_ok(load(&c, LLAMA, NULL, &err), &err);
    ck_assert_uint_eq(c.num_key_value_heads, 4);
    ck_assert_uint_eq(c.head_dim, 16);
    ck_assert_int_eq(c.rope[QA_ROPE_FULL].type, QA_ROPE_DEFAULT);
    ck_assert(c.rope[QA_ROPE_FULL].theta == 10000.0);
    ck_assert(!c.tie_word_embeddings && !c.qkv_bias && !c.o_bias && !c.mlp_bias);
    ck_assert_int_eq(c.bos_id, -1);
    ck_assert_uint_eq(c.n_eos, 0);
    qa_expect_ok(load(&c,
                      LLAMA ", \"head_dim\": 10, \"num_key_value_heads\": 2, \"rms_norm_eps\": 1e-5, "
                            "\"tie_word_embeddings\": true, \"attention_bias\": true, \"mlp_bias\": true, "
                            "\"bos_token_id\": 1, \"eos_token_id\": 2, \"rope_scaling\": null",
                      "{\"eos_token_id\": [4, 2]}", &err),
                 &err);
    ck_assert_uint_eq(c.head_dim, 10);
    ck_assert_uint_eq(c.num_key_value_heads, 2);
    ck_assert(c.norm_eps == 1e-5 && c.tie_word_embeddings && c.qkv_bias && c.o_bias && c.mlp_bias);
    ck_assert_int_eq(c.bos_id, 1);
    ck_assert_uint_eq(c.n_eos, 2); /* generation_config.json decides */
    ck_assert_int_eq(c.eos_ids[0], 4);
}
END_TEST

START_TEST(architectures) {
    qa_config c;
    qa_error err = {0};
    const char *rest = ", \"hidden_size\": 64, \"intermediate_size\": 96, \"num_hidden_layers\": 2, "
                       "\"num_attention_heads\": 4, \"vocab_size\": 50, \"sliding_window\": 32, "
                       "\"max_position_embeddings\": 128";
    char text[1024];
    (void)snprintf(text, sizeof text, "\"architectures\": [\"Qwen2ForCausalLM\"]%s", rest);
    qa_expect_ok(load(&c, text, NULL, &err), &err); /* its window is off unless use_sliding_window */
    ck_assert(c.qkv_bias && !c.o_bias);
    (void)snprintf(text, sizeof text, "\"architectures\": [\"MixtralForCausalLM\"]%s", rest);
    qa_expect_error(load(&c, text, NULL, &err), QA_ERR_UNSUPPORTED, &err, "MixtralForCausalLM");
}
END_TEST

/* What each malformed member must be refused with. */
static const struct refusal {
    const char *members, *part;
    qa_status status;
} refusals[] = {
    {"\"hidden_size\": 64", "architectures", QA_ERR_FORMAT},
    {"\"architectures\": []", "one name", QA_ERR_FORMAT},
    {"\"architectures\": [\"LlamaForCausalLM\"]", "hidden_size", QA_ERR_FORMAT},
    {LLAMA ", \"num_key_value_heads\": 3", "not a multiple", QA_ERR_FORMAT},
    {LLAMA ", \"num_key_value_heads\": 0", "num_key_value_heads is 0", QA_ERR_FORMAT},
    {LLAMA ", \"head_dim\": 7", "even number", QA_ERR_FORMAT},
    {LLAMA ", \"head_dim\": -8", "head_dim", QA_ERR_FORMAT},
    {LLAMA ", \"head_dim\": 4294967296", "head_dim", QA_ERR_FORMAT},
    {LLAMA ", \"head_dim\": \"8\"", "head_dim", QA_ERR_FORMAT},
    {LLAMA ", \"hidden_act\": \"quick_gelu\"", "quick_gelu", QA_ERR_UNSUPPORTED},
    {LLAMA ", \"rms_norm_eps\": 0", "rms_norm_eps", QA_ERR_FORMAT},
    {LLAMA ", \"rope_theta\": -1", "rope_theta", QA_ERR_FORMAT},
    {LLAMA ", \"rope_scaling\": {\"rope_type\": \"su\", \"factor\": 2}", "\"su\" is not supported", QA_ERR_UNSUPPORTED},
    {LLAMA ", \"rope_scaling\": {\"rope_type\": \"yarn\"}", "factor", QA_ERR_FORMAT},
    {LLAMA ", \"rope_scaling\": {\"type\": \"linear\"}", "factor", QA_ERR_FORMAT},
    {LLAMA ", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 4, "
           "\"high_freq_factor\": 4, \"original_max_position_embeddings\": 64}",
     "high_freq_factor", QA_ERR_FORMAT},
    {LLAMA ", \"rope_scaling\": 3", "rope_scaling", QA_ERR_FORMAT},
    {LLAMA ", \"partial_rotary_factor\": 0.5", "partial_rotary_factor", QA_ERR_UNSUPPORTED},
    {LLAMA ", \"quantization_config\": {\"bits\": 4}", "quantised", QA_ERR_UNSUPPORTED},
    {LLAMA ", \"eos_token_id\": 50", "outside the vocabulary", QA_ERR_FORMAT},
    {LLAMA ", \"eos_token_id\": [1, \"x\"]", "eos_token_id", QA_ERR_FORMAT},
    {LLAMA ", \"eos_token_id\": [1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "lists 17 ids", QA_ERR_FORMAT},
    {LLAMA ", \"vocab_size\": 51", "duplicate", QA_ERR_FORMAT},
    {LLAMA ", \"bos_token_id\": 50", "bos_token_id 50 is outside the vocabulary", QA_ERR_FORMAT},
    {LLAMA ", \"head_dim\": 1073741824", "head_dim is 1073741824", QA_ERR_FORMAT}, /* before its frequencies */
    {LLAMA ", \"rms_norm_eps\": 1e300", "rms_norm_eps is 1e+300", QA_ERR_FORMAT},
    {LLAMA ", \"rms_norm_eps\": 1e-300", "rms_norm_eps is 1e-300", QA_ERR_FORMAT},
    {LLAMA ", \"rope_theta\": 1e-300", "rope_theta is 1e-300", QA_ERR_FORMAT},
    {LLAMA ", \"rope_theta\": 1e300", "rope_theta is 1e+300", QA_ERR_FORMAT},
    {LLAMA ", \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 1e300}", "factor is 1e+300", QA_ERR_FORMAT},
    {LLAMA ", \"quantization\": {\"bits\": 4}", "MLX", QA_ERR_UNSUPPORTED},
    {LLAMA ", \"model_type\": \"mixtral\"", "\"mixtral\", which is another family", QA_ERR_UNSUPPORTED},
    /* what no reader can mean */
    {LLAMA ", \"rope_scaling\": {\"factor\": 8.0}", "\"factor\" but no rope_type", QA_ERR_FORMAT},
    {LLAMA ", \"rope_scaling\": {\"rope_type\": null, \"factor\": 8.0}", "\"factor\" but no rope_type", QA_ERR_FORMAT},
    {LLAMA ", \"rope_parameters\": {\"rope_theta\": 1e4, \"low_freq_factor\": 1}", "but no rope_type", QA_ERR_FORMAT},
    {LLAMA ", \"rope_scaling\": {\"original_max_position_embeddings\": 64}", "but no rope_type", QA_ERR_FORMAT},
    {LLAMA ", \"rope_scaling\": {\"type\": \"linear\", \"rope_type\": \"llama3\", \"factor\": 2}",
     "remove the wrong one", QA_ERR_FORMAT},
    {LLAMA ", \"rope_parameters\": {\"full_attention\": {\"rope_type\": \"default\", \"rope_theta\": 1e6}}",
     "\"full_attention\" holds settings of its own", QA_ERR_UNSUPPORTED},
    {LLAMA ", \"rope_parameters\": {\"rope_type\": \"default\", \"partial_rotary_factor\": 0.5}",
     "partial_rotary_factor 0.5", QA_ERR_UNSUPPORTED},
    {LLAMA ", \"rope_scaling\": {\"rope_type\": \"default\", \"mrope_section\": [1, 2]}", "\"mrope_section\" is not",
     QA_ERR_UNSUPPORTED},
    {QWEN2 ", \"layer_types\": [\"full_attention\"]", "layer_types names 1 layers", QA_ERR_FORMAT},
    {QWEN2 ", \"layer_types\": [\"full_attention\", \"chunked_attention\"]", "chunked_attention", QA_ERR_UNSUPPORTED},
    {LLAMA ", \"is_causal\": false", "is_causal is false", QA_ERR_UNSUPPORTED},
    {LLAMA ", \"compression_config\": {\"bits\": 4}", "\"compression_config\"", QA_ERR_UNSUPPORTED},
    {MISTRAL ", \"sliding_window\": 0", "sliding_window is 0", QA_ERR_FORMAT},
    {MISTRAL ", \"sliding_window\": -1", "sliding_window", QA_ERR_FORMAT},
};

START_TEST(malformed) {
    qa_config c;
    qa_error err = {0};
    qa_expect_error(load(&c, refusals[_i].members, NULL, &err), refusals[_i].status, &err, refusals[_i].part);
}
END_TEST

START_TEST(absent_folder) {
    qa_config c;
    qa_error err = {0};
    qa_expect_error(qa_config_load(&c, "/nonexistent/model", NULL, &err), QA_ERR_IO, &err, "no such folder");
    char *dir = qa_tempdir_make();
    qa_expect_error(qa_config_load(&c, dir, NULL, &err), QA_ERR_IO, &err, "config.json: no such file");
    qa_tempdir_remove(dir);
}
END_TEST

START_TEST(rope_frequencies) {
    qa_config c = {.rotary_dim = 4};
    qa_rope *rope = &c.rope[QA_ROPE_FULL];
    rope->theta = 100.0;
    double f[2], factor = 0;
    qa_rope_frequencies(f, &factor, &c, rope, 0);
    ck_assert(fabs(f[0] - 1.0) < 1e-15 && fabs(f[1] - 0.1) < 1e-15);
    rope->type = QA_ROPE_LINEAR;
    rope->factor = 4;
    qa_rope_frequencies(f, &factor, &c, rope, 0);
    ck_assert(fabs(f[0] - 0.25) < 1e-15 && fabs(f[1] - 0.025) < 1e-15);
    /* Llama 3: the original context is 2 pi * 20, so frequency 1 makes 20 rotations in it, 0.1 makes 2. */
    rope->type = QA_ROPE_LLAMA3;
    rope->factor = 8;
    rope->low_freq_factor = 1;
    rope->high_freq_factor = 5;
    rope->original_max_position = 2.0 * 3.14159265358979323846 * 20.0;
    qa_rope_frequencies(f, &factor, &c, rope, 0);
    ck_assert(fabs(f[0] - 1.0) < 1e-15);                           /* 20 > 5: kept */
    ck_assert(fabs(f[1] - (0.75 * 0.1 / 8 + 0.25 * 0.1)) < 1e-15); /* (2 - 1) / (5 - 1) of the way */
    rope->low_freq_factor = 3;
    qa_rope_frequencies(f, &factor, &c, rope, 0);
    ck_assert(fabs(f[1] - 0.1 / 8) < 1e-15); /* 2 < 3: divided */
}
END_TEST

START_TEST(rope_parameters_of_newer_files) {
    qa_config c;
    qa_error err = {0};
    qa_expect_ok(load(&c,
                      LLAMA ", \"rope_parameters\": {\"rope_theta\": 5e5, \"rope_type\": \"linear\", \"factor\": 2}",
                      NULL, &err),
                 &err);
    ck_assert(c.rope[QA_ROPE_FULL].theta == 5e5 && c.rope[QA_ROPE_FULL].factor == 2 &&
              c.rope[QA_ROPE_FULL].type == QA_ROPE_LINEAR);
}
END_TEST

/* Each as transformers 5.24 reads it: LlamaConfig.from_pretrained(dir).rope_parameters. */
static const struct rope_reading {
    const char *members;
    qa_rope_type type;
    double theta, factor;
    const char *warning; /* NULL: none */
} rope_readings[] = {
    {", \"rope_theta\": 500000.0", QA_ROPE_DEFAULT, 5e5, 0, NULL},
    {", \"rope_theta\": 10000.0, \"rope_scaling\": {\"rope_type\": \"default\", \"rope_theta\": 500000.0}",
     QA_ROPE_DEFAULT, 5e5, 0, "rope_theta is 10000, and 500000 in rope_scaling"},
    {", \"rope_scaling\": {\"rope_theta\": 500000.0}", QA_ROPE_DEFAULT, 5e5, 0, NULL},
    {", \"rope_scaling\": {\"rope_type\": null, \"rope_theta\": 500000.0}", QA_ROPE_DEFAULT, 5e5, 0, NULL},
    {", \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2.0}, "
     "\"rope_parameters\": {\"rope_type\": \"default\", \"rope_theta\": 500000.0}",
     QA_ROPE_LINEAR, 1e4, 2, "rope_scaling and rope_parameters disagree"},
    {", \"rope_theta\": 500000.0, \"rope_scaling\": {\"type\": \"linear\", \"factor\": 2.0}, "
     "\"rope_parameters\": {\"rope_type\": \"linear\", \"factor\": 2, \"rope_theta\": 500000.0}",
     QA_ROPE_LINEAR, 5e5, 2, NULL}, /* the two say the same */
    {", \"rope_scaling\": {}, \"rope_parameters\": {\"type\": \"linear\", \"factor\": 4.0, \"rope_theta\": 1e6}",
     QA_ROPE_LINEAR, 1e6, 4, NULL}, /* an empty one counts as none */
    {", \"rope_scaling\": {\"rope_type\": \"linear\", \"factor\": 2.0, \"beta_fast\": 32}", QA_ROPE_LINEAR, 1e4, 2,
     "\"beta_fast\" means nothing with this rope_type"},
    {", \"rope_scaling\": {\"rope_type\": \"default\", \"factor\": 2.0}", QA_ROPE_DEFAULT, 1e4, 0,
     "\"factor\" means nothing with this rope_type"},
};

START_TEST(rope_settings_in_two_places) {
    const struct rope_reading *r = &rope_readings[_i];
    qa_config c;
    qa_error err = {0};
    char text[1024];
    (void)snprintf(text, sizeof text, "%s%s", LLAMA, r->members);
    qa_expect_ok(load(&c, text, NULL, &err), &err);
    ck_assert_int_eq(c.rope[QA_ROPE_FULL].type, r->type);
    ck_assert_msg(c.rope[QA_ROPE_FULL].theta == r->theta && c.rope[QA_ROPE_FULL].factor == r->factor,
                  "theta %g, factor %g", c.rope[QA_ROPE_FULL].theta, c.rope[QA_ROPE_FULL].factor);
    ck_assert_msg(r->warning == NULL ? told[0] == '\0' : strstr(told, r->warning) != NULL, "told: %s", told);
}
END_TEST

START_TEST(llama3_without_its_original_context) {
    qa_config c;
    qa_error err = {0};
    const char *scaling = ", \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, \"low_freq_factor\": 1, "
                          "\"high_freq_factor\": 4}";
    char text[1024];
    (void)snprintf(text, sizeof text, "%s, \"max_position_embeddings\": 512%s", LLAMA, scaling);
    qa_expect_ok(load(&c, text, NULL, &err), &err);
    ck_assert(c.rope[QA_ROPE_FULL].original_max_position == 512);
    (void)snprintf(text, sizeof text, "%s, \"original_max_position_embeddings\": 64%s", LLAMA, scaling);
    qa_expect_ok(load(&c, text, NULL, &err), &err);
    ck_assert(c.rope[QA_ROPE_FULL].original_max_position == 64); /* at the top level it goes first */
}
END_TEST

/* Which layers have a window, in transformers 5.24: MistralConfig, Qwen2Config, their layer_types. */
static const struct window_reading {
    const char *members;
    size_t window;
} window_readings[] = {
    {MISTRAL ", \"sliding_window\": 8", 8},
    {MISTRAL ", \"sliding_window\": 8, \"use_sliding_window\": false", 8}, /* no key of Mistral's */
    {MISTRAL ", \"sliding_window\": null", 0},
    {MISTRAL, 4096},
    {QWEN2 ", \"sliding_window\": 8", 0},
    {QWEN2 ", \"sliding_window\": 8, \"use_sliding_window\": true, \"max_window_layers\": 2", 0}, /* of two layers */
    {QWEN2 ", \"sliding_window\": 8, \"use_sliding_window\": true, \"max_window_layers\": 1", 8},
    {QWEN2 ", \"sliding_window\": 8, \"use_sliding_window\": true", 0}, /* 28 layers see everything */
    {QWEN2 ", \"sliding_window\": null, \"use_sliding_window\": true, \"max_window_layers\": 0", 0},
    {QWEN2 ", \"use_sliding_window\": true, \"max_window_layers\": 0", 4096},
    {QWEN2 ", \"sliding_window\": 8, \"use_sliding_window\": true, \"max_window_layers\": 0, "
           "\"layer_types\": [\"full_attention\", \"full_attention\"]",
     0},
    {QWEN2 ", \"sliding_window\": 8, \"use_sliding_window\": true, "
           "\"layer_types\": [\"full_attention\", \"sliding_attention\"]",
     8},
    {LLAMA ", \"sliding_window\": 8, \"use_sliding_window\": true", 0}, /* no keys of Llama's */
};

START_TEST(sliding_windows) {
    const struct window_reading *r = &window_readings[_i];
    qa_config c;
    qa_error err = {0};
    qa_expect_ok(load(&c, r->members, NULL, &err), &err);
    ck_assert_uint_eq(c.sliding_window, r->window);
    const size_t most = c.max_position_embeddings; /* a window limits no sequence */
    ck_assert_uint_eq(qa_config_context(&c), most);
    qa_expect_ok(qa_config_check_length(&c, most, &err), &err);
    qa_expect_error(qa_config_check_length(&c, most + 1, &err), QA_ERR_LIMIT, &err, "the model's context of ");
    char *dir = qa_tempdir_make(); /* and it is written as it was read */
    qa_config again;
    qa_expect_ok(qa_config_save(&c, dir, QA_DTYPE_F32, &err), &err);
    qa_expect_ok(qa_config_load(&again, dir, NULL, &err), &err);
    ck_assert_uint_eq(again.sliding_window, r->window);
    qa_tempdir_remove(dir);
}
END_TEST

/* Members, and what is said of them; NULL: nothing. */
static const struct key_reading {
    const char *members, *says;
} key_readings[] = {
    {LLAMA ", \"attn_logit_softcapping\": 50.0", "config.json: \"attn_logit_softcapping\" is no key of Llama"},
    {LLAMA ", \"final_logit_softcapping\": 3.0", "\"final_logit_softcapping\" is no key of LlamaForCausalLM"},
    {LLAMA ", \"my_attention_scale\": 0.3", "warning: config.json: \"my_attention_scale\" is no key"},
    {LLAMA ", \"num_local_experts\": 8", "\"num_local_experts\" is no key"},
    {LLAMA ", \"num_local_experts\": 0", NULL},
    {LLAMA ", \"residual_multiplier\": 0.22", "\"residual_multiplier\" is no key"},
    {LLAMA ", \"residual_multiplier\": 1.0, \"logits_scaling\": 1", NULL},
    {LLAMA ", \"use_qk_norm\": true, \"no_rope_layers\": [1, 0]", "\"use_qk_norm\", \"no_rope_layers\" are no key"},
    {LLAMA ", \"use_qk_norm\": false, \"use_mrope\": false, \"qk_layernorm\": null", NULL},
    {LLAMA ", \"use_rope\": false", "\"use_rope\" is no key"},
    {LLAMA ", \"sliding_window\": 8", "\"sliding_window\" is no key of LlamaForCausalLM"},
    {LLAMA ", \"sliding_window\": null, \"max_window_layers\": 28", NULL},
    {LLAMA ", \"attention_chunk_size\": 8", "\"attention_chunk_size\" is no key"},
    {LLAMA ", \"layer_types\": [\"full_attention\", \"full_attention\"]", NULL},
    {LLAMA ", \"layer_types\": [\"full_attention\", \"sliding_attention\"]", "\"layer_types\" is no key"},
    {MISTRAL ", \"use_sliding_window\": true, \"sliding_window\": null", "\"use_sliding_window\" is no key of Mistral"},
    {MISTRAL ", \"attention_bias\": true", "\"attention_bias\" is no key of Mistral"},
    /* each family's own keys */
    {LLAMA ", \"attention_bias\": true, \"mlp_bias\": true", NULL},
    {MISTRAL ", \"sliding_window\": 8", NULL},
    {QWEN2 ", \"use_sliding_window\": true, \"sliding_window\": 8, \"max_window_layers\": 1, "
           "\"layer_types\": [\"full_attention\", \"sliding_attention\"]",
     NULL},
    {QWEN2 ", \"attention_bias\": false, \"use_sliding_window\": false, \"max_window_layers\": 28", NULL},
    {LLAMA ", \"a1\": 1, \"a2\": 1, \"a3\": 1, \"a4\": 1, \"a5\": 1, \"a6\": 1, \"a7\": 1, \"a8\": 1, \"a9\": 1",
     "\"a8\"... are no key"},
    /* what a folder from the Hub has beside all this */
    {LLAMA ", \"_name_or_path\": \"x\", \"torch_dtype\": \"bfloat16\", \"dtype\": \"bfloat16\", \"use_cache\": true, "
           "\"initializer_range\": 0.02, \"pretraining_tp\": 1, \"transformers_version\": \"4.57.1\", "
           "\"attention_dropout\": 0.0, \"auto_map\": {\"AutoConfig\": \"c.C\"}, \"pad_token_id\": 0, "
           "\"is_llama_config\": true, \"rope_interleaved\": false, \"transformers.js_config\": {\"a\": 1}, "
           "\"unsloth_version\": \"1\", \"is_causal\": true, \"model_type\": \"llama\", \"temperature\": 1.0, "
           "\"id2label\": {\"0\": \"a\"}, \"pruned_heads\": {}, \"is_encoder_decoder\": false",
     NULL},
};

START_TEST(keys_that_are_not_understood) {
    const struct key_reading *r = &key_readings[_i];
    qa_config c;
    qa_error err = {0};
    qa_expect_ok(load(&c, r->members, NULL, &err), &err);
    ck_assert_msg(r->says == NULL ? strstr(told, "warning") == NULL : strstr(told, r->says) != NULL, "found: %s", told);
}
END_TEST

START_TEST(two_families_in_one_file) {
    qa_config c;
    qa_error err = {0};
    qa_expect_ok(load(&c, LLAMA ", \"model_type\": \"mistral\"", NULL, &err), &err);
    ck_assert_ptr_nonnull(strstr(told, "warning: config.json: architectures says LlamaForCausalLM"));
}
END_TEST

/* generation_config.json against config.json: more ids are usual, one less or another one is said. */
START_TEST(special_ids_in_two_files) {
    static const struct {
        const char *ids, *generation, *says;
    } cases[] = {
        {"\"eos_token_id\": 2", "{\"eos_token_id\": [4, 2]}", NULL},
        {"\"eos_token_id\": 2", "{\"eos_token_id\": 2, \"pad_token_id\": 2}", NULL},
        {"\"eos_token_id\": 2", "{\"eos_token_id\": null}", NULL},
        {"\"eos_token_id\": 2", "{\"eos_token_id\": [5]}", "config.json's eos_token_id 2 is none of those of"},
        {"\"eos_token_id\": [2, 5]", "{\"eos_token_id\": 2}", "config.json's eos_token_id 5 is none of those"},
        {"\"bos_token_id\": 1", "{\"bos_token_id\": 7}", "bos_token_id is 1 in config.json and 7 in generation"},
        {"\"bos_token_id\": 1", "{\"bos_token_id\": 1}", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char members[512];
        qa_config c;
        qa_error err = {0};
        (void)snprintf(members, sizeof members, LLAMA ", %s", cases[i].ids);
        qa_expect_ok(load(&c, members, cases[i].generation, &err), &err);
        ck_assert_msg(cases[i].says == NULL ? told[0] == '\0' : strstr(told, cases[i].says) != NULL, "%zu: %s", i,
                      told);
    }
}
END_TEST

/* Keys that are not there have the family's value. */
START_TEST(defaults_of_a_family) {
#define SIXTEEN_HEADS                                                                                                  \
    ", \"hidden_size\": 64, \"intermediate_size\": 96, \"num_hidden_layers\": 2, \"num_attention_heads\": 16, "        \
    "\"vocab_size\": 50"
    qa_config c;
    qa_error err = {0};
    qa_expect_ok(load(&c, "\"architectures\": [\"LlamaForCausalLM\"]" SIXTEEN_HEADS, NULL, &err), &err);
    ck_assert(c.num_key_value_heads == 16 && c.max_position_embeddings == 2048);
    qa_expect_ok(load(&c, "\"architectures\": [\"MistralForCausalLM\"]" SIXTEEN_HEADS, NULL, &err), &err);
    ck_assert(c.num_key_value_heads == 8 && c.max_position_embeddings == 131072);
    qa_expect_ok(load(&c, "\"architectures\": [\"Qwen2ForCausalLM\"]" SIXTEEN_HEADS, NULL, &err), &err);
    ck_assert(c.num_key_value_heads == 16 && c.max_position_embeddings == 32768); /* 32 would not divide the heads */
    qa_expect_ok(load(&c, "\"architectures\": [\"MistralForCausalLM\"], \"num_key_value_heads\": null" SIXTEEN_HEADS,
                      NULL, &err),
                 &err);
    ck_assert_uint_eq(c.num_key_value_heads, 16);
}
END_TEST

/* What is written is read again as it was, whatever the numbers are, and Hugging Face gets no window of its own. */
START_TEST(written_and_read_again) {
    static const double contexts[] = {8192.0, 64.5, 1e9};
    char *dir = qa_tempdir_make();
    char *path = qa_tempdir_join(dir, "config.json");
    for (size_t i = 0; i < sizeof contexts / sizeof *contexts; i++) {
        qa_config c, again;
        qa_error err = {0};
        qa_expect_ok(
            load(&c,
                 "\"architectures\": [\"MistralForCausalLM\"], \"hidden_size\": 64, \"intermediate_size\": 96, "
                 "\"num_hidden_layers\": 2, \"num_attention_heads\": 4, \"vocab_size\": 50, "
                 "\"sliding_window\": null, \"rope_scaling\": {\"rope_type\": \"llama3\", \"factor\": 8, "
                 "\"low_freq_factor\": 1, "
                 "\"high_freq_factor\": 4, \"original_max_position_embeddings\": 64}",
                 NULL, &err),
            &err);
        c.rope[QA_ROPE_FULL].original_max_position = contexts[i];
        qa_expect_ok(qa_config_save(&c, dir, QA_DTYPE_F32, &err), &err);
        qa_expect_ok(qa_config_load(&again, dir, NULL, &err), &err);
        ck_assert_msg(again.rope[QA_ROPE_FULL].original_max_position == contexts[i], "%g",
                      again.rope[QA_ROPE_FULL].original_max_position);
        ck_assert(memcmp(&c, &again, sizeof c) == 0);
        json_t *written = NULL;
        qa_expect_ok(qa_json_load(&written, path, &err), &err);
        ck_assert(json_is_null(json_object_get(written, "sliding_window"))); /* which NULL, an absent one, is not */
        json_decref(written);
    }
    free(path);
    qa_tempdir_remove(dir);
}
END_TEST

Suite *model_config_suite(void);
Suite *model_config_suite(void) {
    Suite *suite = suite_create("model/config");
    TCase *tcase = tcase_create("config");
    tcase_add_test(tcase, defaults_and_values);
    tcase_add_test(tcase, architectures);
    tcase_add_loop_test(tcase, malformed, 0, (int)(sizeof refusals / sizeof *refusals));
    tcase_add_test(tcase, absent_folder);
    tcase_add_test(tcase, rope_frequencies);
    tcase_add_test(tcase, rope_parameters_of_newer_files);
    tcase_add_test(tcase, written_and_read_again);
    tcase_add_loop_test(tcase, rope_settings_in_two_places, 0, (int)(sizeof rope_readings / sizeof *rope_readings));
    tcase_add_test(tcase, llama3_without_its_original_context);
    tcase_add_loop_test(tcase, sliding_windows, 0, (int)(sizeof window_readings / sizeof *window_readings));
    tcase_add_loop_test(tcase, keys_that_are_not_understood, 0, (int)(sizeof key_readings / sizeof *key_readings));
    tcase_add_test(tcase, two_families_in_one_file);
    tcase_add_test(tcase, special_ids_in_two_files);
    tcase_add_test(tcase, defaults_of_a_family);
    suite_add_tcase(suite, tcase);
    return suite;
}
