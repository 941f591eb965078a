/* Hunyuan, dense: Llama's layer with a norm over each head of q and k behind RoPE; its "dynamic" scaling with alpha is
 * another theta at every length. */
#include "arch/config_internal.h"
#include "arch/layer_parts.h"
#include "base/try.h"

static const qa_tensor_row hunyuan_rows[] = {
    QA_WHOLE_MODEL_ROWS,
    QA_NORM_ROW("input_layernorm.weight", QA_NORM_INPUT, QA_WIDTH_D),
    QA_NORM_ROW("post_attention_layernorm.weight", QA_NORM_POST, QA_WIDTH_D),
    QA_NORM_ROW("self_attn.query_layernorm.weight", QA_NORM_Q, QA_WIDTH_HEAD),
    QA_NORM_ROW("self_attn.key_layernorm.weight", QA_NORM_K, QA_WIDTH_HEAD),
    QA_MAP_ROWS_QKVO,
    QA_MAP_ROWS_GATED,
};

static const qa_tensor_table hunyuan_tensors = QA_TABLE_OF("model.layers.", hunyuan_rows);

static const qa_operation hunyuan_operations[] = {
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_X, QA_NORM_INPUT),
    QA_MAPS_QKV(QA_ROWS_NORMED),
    QA_ROPE_ROWS(QA_ROWS_Q),
    QA_ROPE_ROWS(QA_ROWS_K),
    QA_NORM_HEADS_QK,
    QA_ATTEND(QA_ROWS_ATTENTION, QA_ROWS_Q2, QA_ROWS_K2, QA_ROWS_V),
    QA_ADD_ATTENTION,
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_MID, QA_NORM_POST),
    QA_GATED(QA_ROWS_NORMED),
    QA_ADD_MLP,
};

static const qa_operation_list hunyuan_layer = QA_LIST_OF(hunyuan_operations);

static qa_status read_hunyuan(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    QA_TRY(qa_config_read_flag(root, "attention_bias", &config->qkv_bias, err));
    config->o_bias = config->qkv_bias;
    return QA_OK;
}

static void write_hunyuan(json_t *root, const qa_config *config) {
    (void)json_object_set_new(root, "attention_bias", json_boolean(config->qkv_bias));
}

extern const qa_family qa_family_hunyuan;
const qa_family qa_family_hunyuan = {
    .architecture = "HunYuanDenseV1ForCausalLM",
    .classifier = "HunYuanDenseV1ForSequenceClassification",
    .default_pad = QA_PAD(0),
    .model_type = "hunyuan_v1_dense",
    .models = "Hunyuan dense: 0.5B, 1.8B, 4B, 7B",
    .tensors = &hunyuan_tensors,
    .layer = &hunyuan_layer,
    /* but for the first those of the published files that transformers does not read either */
    .keys = (const char *const[]){"attention_bias",
                                  "attention_head_dim",
                                  "use_qk_norm",
                                  "use_cla",
                                  "cla_share_factor",
                                  "use_rotary_pos_emb",
                                  "norm_type",
                                  "num_experts",
                                  "org_vocab_size",
                                  "eod_token_id",
                                  "pad_id",
                                  "add_classification_head",
                                  "class_num",
                                  "pool_type",
                                  "dense_list",
                                  "im_start_id",
                                  "im_end_id",
                                  "im_newline_id",
                                  "mask_init_id",
                                  "text_start_id",
                                  "text_end_id",
                                  "mlp_bias",
                                  NULL},
    .default_max_position_embeddings = 2048,
    .default_norm_eps = 1e-5,
    .rope_alpha = true,
    .read = read_hunyuan,
    .write = write_hunyuan,
};
