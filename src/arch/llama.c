/* Llama: biases on all maps of attention or of the MLP, by flags; no window, whatever the file says. */
#include "arch/config_internal.h"
#include "arch/family.h"
#include "base/try.h"

static const qa_tensor_row TENSORS[] = {
    QA_EMBEDDING_ROW("model.embed_tokens.weight"),
    QA_FINAL_NORM_ROW("model.norm.weight"),
    QA_HEAD_ROW("lm_head.weight"),
    QA_NORM_ROW("input_layernorm.weight", QA_NORM_INPUT, QA_WIDTH_D),
    QA_NORM_ROW("post_attention_layernorm.weight", QA_NORM_POST, QA_WIDTH_D),
    QA_MAP_ROW("self_attn.q_proj", QA_TARGET_Q, QA_WIDTH_Q, QA_WIDTH_D, QA_WHEN_QKV_BIAS, false),
    QA_MAP_ROW("self_attn.k_proj", QA_TARGET_K, QA_WIDTH_KV, QA_WIDTH_D, QA_WHEN_QKV_BIAS, false),
    QA_MAP_ROW("self_attn.v_proj", QA_TARGET_V, QA_WIDTH_KV, QA_WIDTH_D, QA_WHEN_QKV_BIAS, false),
    QA_MAP_ROW("self_attn.o_proj", QA_TARGET_O, QA_WIDTH_D, QA_WIDTH_Q, QA_WHEN_O_BIAS, true),
    QA_MAP_ROW("mlp.gate_proj", QA_TARGET_GATE, QA_WIDTH_F, QA_WIDTH_D, QA_WHEN_MLP_BIAS, false),
    QA_MAP_ROW("mlp.up_proj", QA_TARGET_UP, QA_WIDTH_F, QA_WIDTH_D, QA_WHEN_MLP_BIAS, false),
    QA_MAP_ROW("mlp.down_proj", QA_TARGET_DOWN, QA_WIDTH_D, QA_WIDTH_F, QA_WHEN_MLP_BIAS, true),
};

const qa_tensor_table qa_llama_tensors = {"model.layers.", TENSORS, sizeof TENSORS / sizeof *TENSORS, false};

static const qa_operation LAYER[] = {
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_X, QA_NORM_INPUT),
    QA_MAP_ROWS(QA_ROWS_Q, QA_ROWS_NORMED, QA_TARGET_Q),
    QA_MAP_ROWS(QA_ROWS_K, QA_ROWS_NORMED, QA_TARGET_K),
    QA_MAP_ROWS(QA_ROWS_V, QA_ROWS_NORMED, QA_TARGET_V),
    QA_ROPE_ROWS(QA_ROWS_Q),
    QA_ROPE_ROWS(QA_ROWS_K),
    QA_ATTEND(QA_ROWS_ATTENTION, QA_ROWS_Q, QA_ROWS_K, QA_ROWS_V),
    QA_MAP_ROWS(QA_ROWS_MID, QA_ROWS_ATTENTION, QA_TARGET_O),
    QA_ADD_ROWS(QA_ROWS_MID, QA_ROWS_X, QA_ROWS_MID),
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_MID, QA_NORM_POST),
    QA_MAP_ROWS(QA_ROWS_GATE, QA_ROWS_NORMED, QA_TARGET_GATE),
    QA_MAP_ROWS(QA_ROWS_UP, QA_ROWS_NORMED, QA_TARGET_UP),
    QA_GATE_ROWS(QA_ROWS_ACTIVATED, QA_ROWS_GATE, QA_ROWS_UP),
    QA_MAP_ROWS(QA_ROWS_OUT, QA_ROWS_ACTIVATED, QA_TARGET_DOWN),
    QA_ADD_ROWS(QA_ROWS_OUT, QA_ROWS_MID, QA_ROWS_OUT),
};

const qa_operation_list qa_llama_layer = {LAYER, sizeof LAYER / sizeof *LAYER};

static qa_status read_llama(qa_config *config, const json_t *root, qa_error *err) {
    QA_TRY(qa_config_read_flag(root, "attention_bias", &config->qkv_bias, err));
    config->o_bias = config->qkv_bias;
    return qa_config_read_flag(root, "mlp_bias", &config->mlp_bias, err);
}

static void write_llama(json_t *root, const qa_config *config) {
    (void)root;
    (void)config; /* the flags of the biases are written for every family */
}

extern const qa_family qa_family_llama;
const qa_family qa_family_llama = {
    .architecture = "LlamaForCausalLM",
    .model_type = "llama",
    .tensors = &qa_llama_tensors,
    .layer = &qa_llama_layer,
    .keys = (const char *const[]){"attention_bias", "mlp_bias", NULL},
    .default_max_position_embeddings = 2048,
    .read = read_llama,
    .write = write_llama,
};
