/* OLMo 1: Llama's layer with LayerNorm that has no weights, and q, k and v kept within +-clip_qkv. */
#include "arch/config_internal.h"
#include "arch/layer_parts.h"
#include "base/try.h"

static const double HIGHEST_CLIP = 1e6;

static const qa_tensor_row olmo_rows[] = {
    QA_EMBEDDING_ROW("model.embed_tokens.weight"),
    QA_HEAD_ROW("lm_head.weight"),
    QA_MAP_ROWS_QKVO,
    QA_MAP_ROWS_GATED,
};

static const qa_tensor_table olmo_tensors = QA_TABLE_OF("model.layers.", olmo_rows);

static const qa_operation olmo_clipping_operations[] = {
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_X, QA_NORM_INPUT),
    QA_MAPS_QKV(QA_ROWS_NORMED),
    QA_CLIP_ROWS(QA_ROWS_Q2, QA_ROWS_Q),
    QA_CLIP_ROWS(QA_ROWS_K2, QA_ROWS_K),
    QA_CLIP_ROWS(QA_ROWS_V2, QA_ROWS_V),
    QA_ROPE_AND_ATTEND(QA_ROWS_Q2, QA_ROWS_K2, QA_ROWS_V2),
    QA_ADD_ATTENTION,
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_MID, QA_NORM_POST),
    QA_GATED(QA_ROWS_NORMED),
    QA_ADD_MLP,
};

static const qa_operation_list olmo_clipping_layer = QA_LIST_OF(olmo_clipping_operations);

static qa_status read_olmo(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    QA_TRY(qa_config_get_within(root, "clip_qkv", false, 1e-6, HIGHEST_CLIP, &config->clip_qkv, err));
    config->layer = config->clip_qkv != 0 ? &olmo_clipping_layer : &qa_llama_layer;
    config->norm_eps = 1e-5; /* whatever the file says */
    QA_TRY(qa_config_read_flag(root, "attention_bias", &config->qkv_bias, err));
    config->o_bias = config->qkv_bias;
    return QA_OK;
}

static void write_olmo(json_t *root, const qa_config *config) {
    (void)json_object_set_new(root, "attention_bias", json_boolean(config->qkv_bias));
    (void)json_object_set_new(root, "clip_qkv", config->clip_qkv == 0 ? json_null() : json_real(config->clip_qkv));
    (void)json_object_del(root, "rms_norm_eps"); /* it has no such key */
}

extern const qa_family qa_family_olmo;
const qa_family qa_family_olmo = {
    .architecture = "OlmoForCausalLM",
    .classifier = "OlmoForSequenceClassification",
    .default_pad = QA_PAD(1),
    .model_type = "olmo",
    .models = "OLMo 1: 1B, 7B (the -hf folders)",
    .tensors = &olmo_tensors,
    .layer = &qa_llama_layer,
    .keys = (const char *const[]){"attention_bias", "clip_qkv", NULL},
    .default_max_position_embeddings = 2048,
    .default_norm_eps = 1e-5,
    .layer_norm = true,
    .read = read_olmo,
    .write = write_olmo,
};
