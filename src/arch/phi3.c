/* Phi-3, 3.5 and 4-mini: Llama's layer with q, k and v in one map and gate and up in one; a window in every layer if
 * there is any; in the long models longrope, in 4-mini over the first three quarters of a head. */
#include "arch/config_internal.h"
#include "arch/layer_parts.h"
#include "base/try.h"

static const qa_tensor_row phi3_rows[] = {
    QA_WHOLE_MODEL_ROWS,
    QA_NORM_ROW("input_layernorm.weight", QA_NORM_INPUT, QA_WIDTH_D),
    QA_NORM_ROW("post_attention_layernorm.weight", QA_NORM_POST, QA_WIDTH_D),
    QA_MAP_ROW("self_attn.qkv_proj", QA_TARGET_QKV, QA_WIDTH_QKV, QA_WIDTH_D, QA_WHEN_QKV_BIAS, false),
    QA_MAP_ROW("self_attn.o_proj", QA_TARGET_O, QA_WIDTH_D, QA_WIDTH_Q, QA_WHEN_O_BIAS, true),
    QA_MAP_ROWS_GATED_IN_ONE,
};

static const qa_tensor_table phi3_tensors = QA_TABLE_OF("model.layers.", phi3_rows);

static const qa_operation phi3_operations[] = {
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_X, QA_NORM_INPUT),
    QA_MAP_ROWS(QA_ROWS_QKV, QA_ROWS_NORMED, QA_TARGET_QKV),
    QA_SPLIT_ROWS(QA_ROWS_QKV, QA_SPLIT_QKV),
    QA_ROPE_AND_ATTEND(QA_ROWS_Q, QA_ROWS_K, QA_ROWS_V),
    QA_ADD_ATTENTION,
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_MID, QA_NORM_POST),
    QA_GATED_IN_ONE(QA_ROWS_NORMED),
    QA_ADD_MLP,
};

static const qa_operation_list phi3_layer = QA_LIST_OF(phi3_operations);

static qa_status read_phi3(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    QA_TRY(qa_config_read_window(config, root, 0, err));
    qa_config_window_layers(config, 0, 0);
    return QA_OK;
}

static void write_phi3(json_t *root, const qa_config *config) {
    const qa_rope *rope = &config->rope[QA_ROPE_FULL];
    qa_config_write_window(root, config, false);
    if (rope->original_max_position != 0) { /* at the top level, where 4096 would stand in for it */
        (void)json_object_set_new(root, "original_max_position_embeddings",
                                  qa_config_whole_or_real(rope->original_max_position));
    }
}

extern const qa_family qa_family_phi3;
const qa_family qa_family_phi3 = {
    .architecture = "Phi3ForCausalLM",
    .classifier = "Phi3ForSequenceClassification",
    .default_pad = QA_PAD(32000),
    .model_type = "phi3",
    .models = "Phi-3, 3.5 and 4 mini, Phi-3 medium, Phi-4",
    .tensors = &phi3_tensors,
    .layer = &phi3_layer,
    .keys = (const char *const[]){"sliding_window", NULL},
    .default_max_position_embeddings = 4096,
    .default_norm_eps = 1e-5,
    .default_partial_rotary = 1.0,
    .default_original_max_position = 4096,
    .rope_su = true,
    .default_pad_is_large = true,
    .read = read_phi3,
    .write = write_phi3,
};
