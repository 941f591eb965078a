/* GPT-NeoX and Pythia: LayerNorm, q, k and v in one map head by head, RoPE over a part of a head, an MLP without a
 * gate; both branches read the layer's input, or one reads the other's output. */
#include "arch/config_internal.h"
#include "arch/layer_parts.h"
#include "base/try.h"

static const qa_tensor_row gpt_neox_rows[] = {
    QA_EMBEDDING_ROW("gpt_neox.embed_in.weight"),
    QA_FINAL_NORM_ROWS("gpt_neox.final_layer_norm"),
    {.name = "embed_out.weight",
     .published = "lm_head.weight", /* as transformers 5 has it in memory */
     .role = QA_ROLE_HEAD,
     .rows = QA_WIDTH_V,
     .columns = QA_WIDTH_D,
     .when = QA_WHEN_UNTIED},
    QA_SCORE_ROW,
    QA_NORM_ROWS_OF("input_layernorm", QA_NORM_INPUT),
    QA_NORM_ROWS_OF("post_attention_layernorm", QA_NORM_POST),
    QA_MAP_ROW("attention.query_key_value", QA_TARGET_QKV, QA_WIDTH_QKV, QA_WIDTH_D, QA_WHEN_QKV_BIAS, false),
    QA_MAP_ROW("attention.dense", QA_TARGET_O, QA_WIDTH_D, QA_WIDTH_Q, QA_WHEN_O_BIAS, true),
    QA_MAP_ROW("mlp.dense_h_to_4h", QA_TARGET_UP, QA_WIDTH_F, QA_WIDTH_D, QA_WHEN_MLP_BIAS, false),
    QA_MAP_ROW("mlp.dense_4h_to_h", QA_TARGET_DOWN, QA_WIDTH_D, QA_WIDTH_F, QA_WHEN_MLP_BIAS, true),
};

static const qa_tensor_table gpt_neox_tensors = {
    .layers = "gpt_neox.layers.",
    .published_layers = "gpt_neox.layers.",
    .rows = gpt_neox_rows,
    .n = sizeof gpt_neox_rows / sizeof *gpt_neox_rows,
    .ignored = (const char *const[]){".attention.bias", ".attention.masked_bias", NULL}};

/* clang-format off */
#define NEOX_ATTENTION                                                                                                 \
    QA_MAP_ROWS(QA_ROWS_QKV, QA_ROWS_NORMED, QA_TARGET_QKV),                                                           \
    QA_SPLIT_ROWS(QA_ROWS_QKV, QA_SPLIT_QKV_BY_HEAD),                                                                  \
    QA_ROPE_AND_ATTEND(QA_ROWS_Q, QA_ROWS_K, QA_ROWS_V),                                                               \
    QA_ADD_ATTENTION
/* clang-format on */

static const qa_operation gpt_neox_operations[] = {
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_X, QA_NORM_INPUT),
    QA_NORM_ROWS(QA_ROWS_NORMED2, QA_ROWS_X, QA_NORM_POST),
    NEOX_ATTENTION,
    QA_UNGATED(QA_ROWS_NORMED2),
    QA_ADD_MLP,
};

static const qa_operation gpt_neox_sequential_operations[] = {
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_X, QA_NORM_INPUT),
    NEOX_ATTENTION,
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_MID, QA_NORM_POST),
    QA_UNGATED(QA_ROWS_NORMED),
    QA_ADD_MLP,
};

static const qa_operation_list gpt_neox_layer = QA_LIST_OF(gpt_neox_operations);
static const qa_operation_list gpt_neox_sequential_layer = QA_LIST_OF(gpt_neox_sequential_operations);

static qa_status read_gpt_neox(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    bool parallel = true;
    config->qkv_bias = config->mlp_bias = true;
    QA_TRY(qa_config_read_flag(root, "attention_bias", &config->qkv_bias, err));
    config->o_bias = config->qkv_bias;
    QA_TRY(qa_config_read_flag(root, "use_parallel_residual", &parallel, err));
    config->layer = parallel ? &gpt_neox_layer : &gpt_neox_sequential_layer;
    return QA_OK;
}

static void write_gpt_neox(json_t *root, const qa_config *config) {
    (void)json_object_set_new(root, "attention_bias", json_boolean(config->qkv_bias));
    (void)json_object_set_new(root, "use_parallel_residual", json_boolean(config->layer == &gpt_neox_layer));
}

extern const qa_family qa_family_gpt_neox;
const qa_family qa_family_gpt_neox = {
    .architecture = "GPTNeoXForCausalLM",
    .classifier = "GPTNeoXForSequenceClassification",
    .model_type = "gpt_neox",
    .models = "Pythia, GPT-NeoX-20B, Dolly 2, RedPajama-INCITE",
    .tensors = &gpt_neox_tensors,
    .layer = &gpt_neox_layer,
    .keys = (const char *const[]){"attention_bias", "use_parallel_residual", NULL},
    .names = (const qa_key_name[]){{"rms_norm_eps", "layer_norm_eps", false},
                                   {"rope_theta", "rotary_emb_base", false},
                                   {"partial_rotary_factor", "rotary_pct", false},
                                   {NULL, NULL, false}},
    .default_max_position_embeddings = 2048,
    .default_norm_eps = 1e-5,
    .default_partial_rotary = 0.25,
    .default_activation = "gelu",
    .fixed_head_dim = true,
    .equal_heads = true,
    .layer_norm = true,
    .read = read_gpt_neox,
    .write = write_gpt_neox,
};
