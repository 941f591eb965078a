/* GPT-2: learned positions, LayerNorm, q, k and v in one map, an MLP without a gate, biases everywhere. Its files hold
 * matrices as in x out, and the published ones leave out "transformer." before the names. */
#include "arch/config_internal.h"
#include "arch/layer_parts.h"
#include "base/try.h"

#define GPT2_MAP(path_, target_, out_, in_, into_residual_)                                                            \
    {.name = path_ ".weight",                                                                                          \
     .role = QA_ROLE_MAP,                                                                                              \
     .target = (target_),                                                                                              \
     .rows = (out_),                                                                                                   \
     .columns = (in_),                                                                                                 \
     .into_residual = (into_residual_)},                                                                               \
    {                                                                                                                  \
        .name = path_ ".bias", .role = QA_ROLE_BIAS, .target = (target_), .rows = (out_)                               \
    }
#define GPT2_ROW(name_, ...)                                                                                           \
    { .name = "transformer." name_, .published = name_, __VA_ARGS__ }

static const qa_tensor_row gpt2_rows[] = {
    GPT2_ROW("wte.weight", .role = QA_ROLE_EMBEDDING, .rows = QA_WIDTH_V, .columns = QA_WIDTH_D),
    GPT2_ROW("wpe.weight", .role = QA_ROLE_POSITION, .rows = QA_WIDTH_POSITIONS, .columns = QA_WIDTH_D),
    GPT2_ROW("ln_f.weight", .role = QA_ROLE_FINAL_NORM, .rows = QA_WIDTH_D),
    GPT2_ROW("ln_f.bias", .role = QA_ROLE_FINAL_NORM_BIAS, .rows = QA_WIDTH_D),
    QA_HEAD_ROW("lm_head.weight"),
    QA_NORM_ROWS_OF("ln_1", QA_NORM_INPUT),
    QA_NORM_ROWS_OF("ln_2", QA_NORM_POST),
    GPT2_MAP("attn.c_attn", QA_TARGET_QKV, QA_WIDTH_QKV, QA_WIDTH_D, false),
    GPT2_MAP("attn.c_proj", QA_TARGET_O, QA_WIDTH_D, QA_WIDTH_Q, true),
    GPT2_MAP("mlp.c_fc", QA_TARGET_UP, QA_WIDTH_F, QA_WIDTH_D, false),
    GPT2_MAP("mlp.c_proj", QA_TARGET_DOWN, QA_WIDTH_D, QA_WIDTH_F, true),
};

static const qa_tensor_table gpt2_tensors = {.layers = "transformer.h.",
                                             .published_layers = "h.",
                                             .rows = gpt2_rows,
                                             .n = sizeof gpt2_rows / sizeof *gpt2_rows,
                                             .transposed = true,
                                             .ignored = (const char *const[]){".attn.bias", ".attn.masked_bias", NULL}};

static const qa_operation gpt2_operations[] = {
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_X, QA_NORM_INPUT),
    QA_MAP_ROWS(QA_ROWS_QKV, QA_ROWS_NORMED, QA_TARGET_QKV),
    QA_SPLIT_ROWS(QA_ROWS_QKV, QA_SPLIT_QKV),
    QA_ATTEND(QA_ROWS_ATTENTION, QA_ROWS_Q, QA_ROWS_K, QA_ROWS_V),
    QA_ADD_ATTENTION,
    QA_NORM_ROWS(QA_ROWS_NORMED, QA_ROWS_MID, QA_NORM_POST),
    QA_UNGATED(QA_ROWS_NORMED),
    QA_ADD_MLP,
};

static const qa_operation_list gpt2_layer = QA_LIST_OF(gpt2_operations);

static qa_status read_gpt2(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    bool scaled = true, by_layer = false;
    QA_TRY(qa_config_read_flag(root, "scale_attn_weights", &scaled, err));
    QA_TRY(qa_config_read_flag(root, "scale_attn_by_inverse_layer_idx", &by_layer, err));
    QA_FAIL_IF(by_layer, err, QA_ERR_UNSUPPORTED,
               "config.json: scale_attn_by_inverse_layer_idx is true, which is not "
               "computed");
    config->attention_scale = scaled ? config->attention_scale : 1;
    config->qkv_bias = config->o_bias = config->mlp_bias = true;
    for (size_t l = 0; l < config->num_hidden_layers; l++) {
        config->layers[l] |= QA_LAYER_NO_ROPE;
    }
    return QA_OK;
}

static void write_gpt2(json_t *root, const qa_config *config) {
    (void)json_object_set_new(root, "scale_attn_weights", json_boolean(config->attention_scale != 1));
}

extern const qa_family qa_family_gpt2;
const qa_family qa_family_gpt2 = {
    .architecture = "GPT2LMHeadModel",
    .classifier = "GPT2ForSequenceClassification",
    .model_type = "gpt2",
    .models = "GPT-2, DistilGPT2, and what was made from them",
    .tensors = &gpt2_tensors,
    .layer = &gpt2_layer,
    .keys = (const char *const[]){"scale_attn_weights", "scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn",
                                  "n_ctx", NULL},
    .names = (const qa_key_name[]){{"hidden_size", "n_embd", true},
                                   {"num_hidden_layers", "n_layer", true},
                                   {"num_attention_heads", "n_head", true},
                                   {"max_position_embeddings", "n_positions", true},
                                   {"intermediate_size", "n_inner", false},
                                   {"rms_norm_eps", "layer_norm_epsilon", false},
                                   {"hidden_act", "activation_function", false},
                                   {NULL, NULL, false}},
    .default_max_position_embeddings = 1024,
    .default_intermediate = 4,
    .default_norm_eps = 1e-5,
    .default_activation = "gelu_new",
    .tied = true,
    .fixed_head_dim = true,
    .equal_heads = true,
    .layer_norm = true,
    .no_rope = true,
    .read = read_gpt2,
    .write = write_gpt2,
};
