/* Gemma 2: norms before and behind both branches, soft caps on scores and logits, a scale of attention of its own, a
 * window in every other layer. */
#include "arch/gemma.h"
#include "arch/layer_parts.h"
#include "base/try.h"

enum { DEFAULT_WINDOW = 4096, FULL_LAYER_EVERY = 2 };

static const qa_tensor_row gemma2_rows[] = {
    QA_WHOLE_MODEL_ROWS,
    QA_NORM_ROW("input_layernorm.weight", QA_NORM_INPUT, QA_WIDTH_D),
    QA_NORM_ROW("post_attention_layernorm.weight", QA_NORM_POST, QA_WIDTH_D),
    QA_NORM_ROW("pre_feedforward_layernorm.weight", QA_NORM_BEFORE_MLP, QA_WIDTH_D),
    QA_NORM_ROW("post_feedforward_layernorm.weight", QA_NORM_BEHIND_MLP, QA_WIDTH_D),
    QA_MAP_ROWS_QKVO,
    QA_MAP_ROWS_GATED,
};

static const qa_tensor_table gemma2_tensors = QA_TABLE_OF("model.layers.", gemma2_rows);

static const qa_operation gemma2_operations[] = {
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_X, QA_NORM_INPUT),
    QA_MAPS_QKV(QA_ROWS_NORMED),
    QA_ROPE_AND_ATTEND(QA_ROWS_Q, QA_ROWS_K, QA_ROWS_V),
    QA_ADD_ATTENTION_NORMED(QA_NORM_POST),
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_MID, QA_NORM_BEFORE_MLP),
    QA_GATED(QA_ROWS_NORMED),
    QA_ADD_MLP_NORMED(QA_NORM_BEHIND_MLP),
};

static const qa_operation_list gemma2_layer = QA_LIST_OF(gemma2_operations);

static qa_status read_gemma2(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    config->attention_cap = 50;
    config->logit_cap = 30;
    QA_TRY(qa_gemma_read(config, root, err));
    QA_TRY(qa_gemma_read_caps(config, root, true, err));
    QA_TRY(qa_config_read_window(config, root, DEFAULT_WINDOW, err));
    return qa_config_read_layer_types(config, root, 0, FULL_LAYER_EVERY, err);
}

static void write_gemma2(json_t *root, const qa_config *config) {
    qa_gemma_write_caps(root, config);
    qa_config_write_window_or(root, config, DEFAULT_WINDOW);
}

extern const qa_family qa_family_gemma2;
const qa_family qa_family_gemma2 = {
    .architecture = "Gemma2ForCausalLM",
    .classifier = "Gemma2ForSequenceClassification",
    .default_pad = QA_PAD(0),
    .model_type = "gemma2",
    .models = "Gemma 2: 2B, 9B, 27B",
    .tensors = &gemma2_tensors,
    .layer = &gemma2_layer,
    .keys = (const char *const[]){"attention_bias", "query_pre_attn_scalar", "attn_logit_softcapping",
                                  "final_logit_softcapping", "sliding_window", "layer_types", NULL},
    .names = (const qa_key_name[]){{"hidden_act", "hidden_activation", false}, {NULL, NULL, false}},
    .default_key_value_heads = 4,
    .default_head_dim = 256,
    .default_max_position_embeddings = 8192,
    .default_activation = "gelu_pytorch_tanh",
    .tied = true,
    .norm_offset = 1.0,
    .read = read_gemma2,
    .write = write_gemma2,
};
