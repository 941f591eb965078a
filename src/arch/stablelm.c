/* StableLM 2: Llama's layer with LayerNorm, and RoPE over the first quarter of a head. */
#include "arch/config_internal.h"
#include "arch/layer_parts.h"
#include "base/try.h"

static const qa_tensor_row stablelm_rows[] = {
    QA_EMBEDDING_ROW("model.embed_tokens.weight"),
    QA_FINAL_NORM_ROWS("model.norm"),
    QA_HEAD_ROW("lm_head.weight"),
    QA_NORM_ROWS_OF("input_layernorm", QA_NORM_INPUT),
    QA_NORM_ROWS_OF("post_attention_layernorm", QA_NORM_POST),
    QA_MAP_ROWS_QKVO,
    QA_MAP_ROWS_GATED,
};

static const qa_tensor_table stablelm_tensors = QA_TABLE_OF("model.layers.", stablelm_rows);

static qa_status read_stablelm(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    bool parallel = false, normed = false;
    QA_TRY(qa_config_read_flag(root, "use_parallel_residual", &parallel, err));
    QA_TRY(qa_config_read_flag(root, "qk_layernorm", &normed, err));
    QA_FAIL_IF(parallel || normed, err, QA_ERR_UNSUPPORTED,
               "config.json: %s is true: such a layer (StableLM 2 12B has it) is not "
               "computed",
               parallel ? "use_parallel_residual" : "qk_layernorm");
    return qa_config_read_flag(root, "use_qkv_bias", &config->qkv_bias, err);
}

static void write_stablelm(json_t *root, const qa_config *config) {
    (void)json_object_set_new(root, "use_qkv_bias", json_boolean(config->qkv_bias));
}

extern const qa_family qa_family_stablelm;
const qa_family qa_family_stablelm = {
    .architecture = "StableLmForCausalLM",
    .classifier = "StableLmForSequenceClassification",
    .model_type = "stablelm",
    .models = "StableLM 2 1.6B, StableLM Zephyr 3B",
    .tensors = &stablelm_tensors,
    .layer = &qa_llama_layer,
    .keys = (const char *const[]){"use_qkv_bias", "use_parallel_residual", "qk_layernorm", NULL},
    .names = (const qa_key_name[]){{"rms_norm_eps", "layer_norm_eps", false}, {NULL, NULL, false}},
    .default_key_value_heads = 32,
    .default_max_position_embeddings = 4096,
    .default_norm_eps = 1e-5,
    .default_partial_rotary = 0.25,
    .fixed_head_dim = true,
    .layer_norm = true,
    .read = read_stablelm,
    .write = write_stablelm,
};
