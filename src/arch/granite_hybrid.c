/* Granite 4.0, dense: Granite 3's layer with gate and up in one map, with RoPE or without any positions. Layers of
 * Mamba and of experts are other layers. */
#include "arch/granite.h"
#include "arch/layer_parts.h"
#include "base/try.h"
#include "io/json.h"

#include <string.h>

static const qa_tensor_row granite_hybrid_rows[] = {
    QA_WHOLE_MODEL_ROWS,
    QA_NORM_ROW("input_layernorm.weight", QA_NORM_INPUT, QA_WIDTH_D),
    QA_NORM_ROW("post_attention_layernorm.weight", QA_NORM_POST, QA_WIDTH_D),
    QA_MAP_ROWS_QKVO,
    QA_MAP_ROW("shared_mlp.input_linear", QA_TARGET_GATE_UP, QA_WIDTH_2F, QA_WIDTH_D, QA_WHEN_MLP_BIAS, false),
    QA_MAP_ROW("shared_mlp.output_linear", QA_TARGET_DOWN, QA_WIDTH_D, QA_WIDTH_F, QA_WHEN_MLP_BIAS, true),
};

static const qa_tensor_table granite_hybrid_tensors = QA_TABLE_OF("model.layers.", granite_hybrid_rows);

static const qa_operation granite_hybrid_operations[] = {
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_X, QA_NORM_INPUT),
    QA_MAPS_QKV(QA_ROWS_NORMED),
    QA_ROPE_AND_ATTEND(QA_ROWS_Q, QA_ROWS_K, QA_ROWS_V),
    QA_ADD_ATTENTION_TIMES,
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_MID, QA_NORM_POST),
    QA_GATED_IN_ONE(QA_ROWS_NORMED),
    QA_ADD_MLP_TIMES,
};

static const qa_operation_list granite_hybrid_layer = QA_LIST_OF(granite_hybrid_operations);

/* Every layer is one of attention: without layer_types all are Mamba's. */
static qa_status check_attention_layers(const qa_config *config, const json_t *root, qa_error *err) {
    const char *key = json_object_get(root, "layer_types") != NULL ? "layer_types" : "layers_block_type";
    json_t *types = NULL;
    QA_TRY(qa_json_get_array(root, key, false, "config.json", &types, err));
    for (size_t l = 0; l < config->num_hidden_layers; l++) {
        const char *name = json_string_value(json_array_get(types, l));
        name = name == NULL ? "mamba" : name;
        QA_FAIL_IF(strcmp(name, "attention") != 0 && strcmp(name, "full_attention") != 0, err, QA_ERR_UNSUPPORTED,
                   "config.json: layer %zu is of type \"%.40s\"%s: only attention layers are computed, Mamba's "
                   "are not; take a dense model of the family (granite-4.0-350m, -1b, -micro)",
                   l, name, types == NULL ? " (there is no layer_types)" : "");
    }
    return QA_OK;
}

static qa_status read_granite_hybrid(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    size_t experts = 8;
    const char *positions = "nope";
    QA_TRY(check_attention_layers(config, root, err));
    QA_TRY(qa_json_get_size(root, "num_local_experts", false, "config.json", &experts, err));
    QA_FAIL_IF(experts != 0, err, QA_ERR_UNSUPPORTED,
               "config.json: num_local_experts is %zu: mixtures of experts are not "
               "computed; expected 0",
               experts);
    QA_TRY(qa_json_get_string(root, "position_embedding_type", false, "config.json", &positions, err));
    QA_FAIL_IF(strcmp(positions, "rope") != 0 && strcmp(positions, "nope") != 0, err, QA_ERR_UNSUPPORTED,
               "config.json: position_embedding_type \"%.40s\" is not supported; expected rope or nope", positions);
    for (size_t l = 0; l < config->num_hidden_layers; l++) {
        config->layers[l] |= strcmp(positions, "nope") == 0 ? QA_LAYER_NO_ROPE : 0;
    }
    QA_TRY(qa_config_read_flag(root, "attention_bias", &config->qkv_bias, err));
    config->o_bias = config->qkv_bias;
    return qa_granite_read_multipliers(config, root, err);
}

static void write_granite_hybrid(json_t *root, const qa_config *config) {
    json_t *types = json_array();
    for (size_t l = 0; l < config->num_hidden_layers; l++) {
        (void)json_array_append_new(types, json_string("attention"));
    }
    (void)json_object_set_new(root, "layer_types", types);
    (void)json_object_set_new(root, "num_local_experts", json_integer(0));
    (void)json_object_set_new(root, "num_experts_per_tok", json_integer(0));
    (void)json_object_set_new(root, "position_embedding_type",
                              json_string(qa_config_rope(config, 0) == NULL ? "nope" : "rope"));
    /* transformers checks these, although no layer has them */
    (void)json_object_set_new(root, "mamba_n_heads", json_integer(1));
    (void)json_object_set_new(root, "mamba_expand", json_integer(1));
    (void)json_object_set_new(root, "mamba_d_head", json_integer((json_int_t)config->hidden_size));
    (void)json_object_set_new(root, "attention_bias", json_boolean(config->qkv_bias));
    qa_granite_write_multipliers(root, config);
}

extern const qa_family qa_family_granite_hybrid;
const qa_family qa_family_granite_hybrid = {
    .architecture = "GraniteMoeHybridForCausalLM",
    .model_type = "granitemoehybrid",
    .models = "Granite 4.0 dense: 350M, 1B, micro (no Mamba layers, no experts)",
    .tensors = &granite_hybrid_tensors,
    .layer = &granite_hybrid_layer,
    .keys = (const char *const[]){"attention_bias",         "embedding_multiplier",
                                  "attention_multiplier",   "residual_multiplier",
                                  "logits_scaling",         "layer_types",
                                  "layers_block_type",      "num_local_experts",
                                  "num_experts_per_tok",    "position_embedding_type",
                                  "normalization_function", "init_method",
                                  "mamba_n_heads",          "mamba_n_groups",
                                  "mamba_d_state",          "mamba_d_head",
                                  "mamba_d_conv",           "mamba_expand",
                                  "mamba_chunk_size",       "mamba_conv_bias",
                                  "mamba_proj_bias",        "time_step_limit",
                                  "time_step_min",          "time_step_max",
                                  "time_step_floor",        NULL},
    .names = (const qa_key_name[]){{"intermediate_size", "shared_intermediate_size", false}, {NULL, NULL, false}},
    .default_max_position_embeddings = 2048,
    .read = read_granite_hybrid,
    .write = write_granite_hybrid,
};
