/* Gemma 3, text: Gemma 2's layer with a norm over each head of q and k in place of the cap on scores, a window in all
 * but every sixth layer, and a theta of its own in the layers that have one. */
#include "arch/gemma.h"
#include "arch/layer_parts.h"
#include "base/try.h"
#include "io/json.h"

enum { DEFAULT_WINDOW = 4096, FULL_LAYER_EVERY = 6 };

static const qa_tensor_row gemma3_rows[] = {
    QA_WHOLE_MODEL_ROWS,
    QA_NORM_ROW("input_layernorm.weight", QA_NORM_INPUT, QA_WIDTH_D),
    QA_NORM_ROW("post_attention_layernorm.weight", QA_NORM_POST, QA_WIDTH_D),
    QA_NORM_ROW("pre_feedforward_layernorm.weight", QA_NORM_BEFORE_MLP, QA_WIDTH_D),
    QA_NORM_ROW("post_feedforward_layernorm.weight", QA_NORM_BEHIND_MLP, QA_WIDTH_D),
    QA_NORM_ROW("self_attn.q_norm.weight", QA_NORM_Q, QA_WIDTH_HEAD),
    QA_NORM_ROW("self_attn.k_norm.weight", QA_NORM_K, QA_WIDTH_HEAD),
    QA_MAP_ROWS_QKVO,
    QA_MAP_ROWS_GATED,
};

static const qa_tensor_table gemma3_tensors = QA_TABLE_OF("model.layers.", gemma3_rows);

static const qa_operation gemma3_operations[] = {
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_X, QA_NORM_INPUT),
    QA_MAPS_QKV(QA_ROWS_NORMED),
    QA_NORM_HEADS_QK,
    QA_ROPE_AND_ATTEND(QA_ROWS_Q2, QA_ROWS_K2, QA_ROWS_V),
    QA_ADD_ATTENTION_NORMED(QA_NORM_POST),
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_MID, QA_NORM_BEFORE_MLP),
    QA_GATED(QA_ROWS_NORMED),
    QA_ADD_MLP_NORMED(QA_NORM_BEHIND_MLP),
};

static const qa_operation_list gemma3_layer = QA_LIST_OF(gemma3_operations);

static qa_status read_gemma3(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    size_t every = FULL_LAYER_EVERY;
    config->logit_cap = 0;
    QA_TRY(qa_gemma_read(config, root, err));
    QA_TRY(qa_gemma_read_caps(config, root, false, err));
    QA_TRY(qa_config_read_window(config, root, DEFAULT_WINDOW, err));
    QA_TRY(qa_json_get_size(root, "sliding_window_pattern", false, "config.json", &every, err));
    QA_FAIL_IF(every == 0, err, QA_ERR_FORMAT, "config.json: sliding_window_pattern is 0, expected at least 1");
    return qa_config_read_layer_types(config, root, 0, every, err);
}

static void write_gemma3(json_t *root, const qa_config *config) {
    qa_gemma_write_caps(root, config);
    qa_config_write_window_or(root, config, DEFAULT_WINDOW);
}

extern const qa_family qa_family_gemma3;
const qa_family qa_family_gemma3 = {
    .architecture = "Gemma3ForCausalLM",
    .classifier = "Gemma3TextForSequenceClassification",
    .default_pad = QA_PAD(0),
    .model_type = "gemma3_text",
    .models = "Gemma 3, text: 270M, 1B",
    .tensors = &gemma3_tensors,
    .layer = &gemma3_layer,
    .keys = (const char *const[]){"attention_bias", "query_pre_attn_scalar", "final_logit_softcapping",
                                  "sliding_window", "layer_types", "sliding_window_pattern", "_sliding_window_pattern",
                                  "rope_local_base_freq", NULL},
    .names = (const qa_key_name[]){{"hidden_act", "hidden_activation", false}, {NULL, NULL, false}},
    .default_key_value_heads = 4,
    .default_head_dim = 256,
    .default_max_position_embeddings = 131072,
    .default_rope_theta = 1e6,
    .default_local_theta = 1e4,
    .local_theta_key = "rope_local_base_freq",
    .default_activation = "gelu_pytorch_tanh",
    .tied = true,
    .rope_by_kind = true,
    .norm_offset = 1.0,
    .read = read_gemma3,
    .write = write_gemma3,
};
