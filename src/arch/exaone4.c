/* EXAONE 4: OLMo 2's order of norms, with a norm over each head of q and k; with a window, which all but every fourth
 * layer has, the layers without one have no RoPE. */
#include "arch/config_internal.h"
#include "arch/layer_parts.h"
#include "base/try.h"
#include "io/json.h"

enum { DEFAULT_WINDOW = 4096, FULL_LAYER_EVERY = 4 };

static const qa_tensor_row exaone4_rows[] = {
    QA_WHOLE_MODEL_ROWS,
    QA_NORM_ROW("post_attention_layernorm.weight", QA_NORM_POST, QA_WIDTH_D),
    QA_NORM_ROW("post_feedforward_layernorm.weight", QA_NORM_BEHIND_MLP, QA_WIDTH_D),
    QA_NORM_ROW("self_attn.q_norm.weight", QA_NORM_Q, QA_WIDTH_HEAD),
    QA_NORM_ROW("self_attn.k_norm.weight", QA_NORM_K, QA_WIDTH_HEAD),
    QA_MAP_ROWS_QKVO,
    QA_MAP_ROWS_GATED,
};

static const qa_tensor_table exaone4_tensors = QA_TABLE_OF("model.layers.", exaone4_rows);

static const qa_operation exaone4_operations[] = {
    QA_MAPS_QKV(QA_ROWS_X),
    QA_NORM_HEADS_QK,
    QA_ROPE_AND_ATTEND(QA_ROWS_Q2, QA_ROWS_K2, QA_ROWS_V),
    QA_ADD_ATTENTION_NORMED(QA_NORM_POST),
    QA_GATED(QA_ROWS_MID),
    QA_ADD_MLP_NORMED(QA_NORM_BEHIND_MLP),
};

static const qa_operation_list exaone4_layer = QA_LIST_OF(exaone4_operations);

static qa_status read_exaone4(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    size_t every = FULL_LAYER_EVERY;
    QA_TRY(qa_config_read_window(config, root, DEFAULT_WINDOW, err));
    const bool named = json_is_array(json_object_get(root, "layer_types")) || config->sliding_window == 0;
    if (!named) { /* a pattern may be "LLLG", too, beside layer_types */
        QA_TRY(qa_json_get_size(root, "sliding_window_pattern", false, "config.json", &every, err));
    }
    QA_FAIL_IF(every == 0, err, QA_ERR_FORMAT, "config.json: sliding_window_pattern is 0, expected at least 1");
    QA_TRY(qa_config_read_layer_types(config, root, 0, every, err));
    for (size_t l = 0; config->sliding_window != 0 && l < config->num_hidden_layers; l++) {
        config->layers[l] |= (config->layers[l] & QA_LAYER_WINDOW) == 0 ? QA_LAYER_NO_ROPE : 0;
    }
    return QA_OK;
}

static void write_exaone4(json_t *root, const qa_config *config) {
    qa_config_write_window(root, config, true);
    if (config->sliding_window == 0 &&
        qa_config_rope(config, 0) == NULL) { /* a width that no layer has turns RoPE off */
        (void)json_object_set_new(root, "sliding_window", json_integer(DEFAULT_WINDOW));
    }
}

extern const qa_family qa_family_exaone4;
const qa_family qa_family_exaone4 = {
    .architecture = "Exaone4ForCausalLM",
    .classifier = "Exaone4ForSequenceClassification",
    .model_type = "exaone4",
    .models = "EXAONE 4.0: 1.2B, 32B",
    .tensors = &exaone4_tensors,
    .layer = &exaone4_layer,
    .keys = (const char *const[]){"sliding_window", "sliding_window_pattern", "layer_types", NULL},
    .default_key_value_heads = 32,
    .default_max_position_embeddings = 2048,
    .default_norm_eps = 1e-5,
    .read = read_exaone4,
    .write = write_exaone4,
};
