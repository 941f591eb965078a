/* EXAONE 3.0 and 3.5: Llama's layer under other names of keys and tensors. transformers computes it as a Llama, whose
 * names of modules an adapter has. */
#include "arch/layer_parts.h"

#define EXAONE_MAP(path_, published_, target_, out_, in_, into_residual_)                                              \
    {                                                                                                                  \
        .name = path_ ".weight", .published = published_ ".weight", .role = QA_ROLE_MAP, .target = (target_),          \
        .rows = (out_), .columns = (in_), .into_residual = (into_residual_)                                            \
    }

static const qa_tensor_row exaone_rows[] = {
    {.name = "model.embed_tokens.weight",
     .published = "transformer.wte.weight",
     .role = QA_ROLE_EMBEDDING,
     .rows = QA_WIDTH_V,
     .columns = QA_WIDTH_D},
    {.name = "model.norm.weight",
     .published = "transformer.ln_f.weight",
     .role = QA_ROLE_FINAL_NORM,
     .rows = QA_WIDTH_D},
    QA_HEAD_ROW("lm_head.weight"),
    {.name = "input_layernorm.weight",
     .published = "ln_1.weight",
     .role = QA_ROLE_NORM,
     .norm = QA_NORM_INPUT,
     .rows = QA_WIDTH_D},
    {.name = "post_attention_layernorm.weight",
     .published = "ln_2.weight",
     .role = QA_ROLE_NORM,
     .norm = QA_NORM_POST,
     .rows = QA_WIDTH_D},
    EXAONE_MAP("self_attn.q_proj", "attn.attention.q_proj", QA_TARGET_Q, QA_WIDTH_Q, QA_WIDTH_D, false),
    EXAONE_MAP("self_attn.k_proj", "attn.attention.k_proj", QA_TARGET_K, QA_WIDTH_KV, QA_WIDTH_D, false),
    EXAONE_MAP("self_attn.v_proj", "attn.attention.v_proj", QA_TARGET_V, QA_WIDTH_KV, QA_WIDTH_D, false),
    EXAONE_MAP("self_attn.o_proj", "attn.attention.out_proj", QA_TARGET_O, QA_WIDTH_D, QA_WIDTH_Q, true),
    EXAONE_MAP("mlp.gate_proj", "mlp.c_fc_0", QA_TARGET_GATE, QA_WIDTH_F, QA_WIDTH_D, false),
    EXAONE_MAP("mlp.up_proj", "mlp.c_fc_1", QA_TARGET_UP, QA_WIDTH_F, QA_WIDTH_D, false),
    EXAONE_MAP("mlp.down_proj", "mlp.c_proj", QA_TARGET_DOWN, QA_WIDTH_D, QA_WIDTH_F, true),
};

static const qa_tensor_table exaone_tensors = {.layers = "model.layers.",
                                               .published_layers = "transformer.h.",
                                               .rows = exaone_rows,
                                               .n = sizeof exaone_rows / sizeof *exaone_rows};

extern const qa_family qa_family_exaone;
const qa_family qa_family_exaone = {
    .architecture = "ExaoneForCausalLM",
    .model_type = "exaone",
    .models = "EXAONE 3.0 and 3.5: 2.4B, 7.8B, 32B",
    .tensors = &exaone_tensors,
    .layer = &qa_llama_layer,
    .names = (const qa_key_name[]){{"num_hidden_layers", "num_layers", true},
                                   {"rms_norm_eps", "layer_norm_epsilon", true},
                                   {"hidden_act", "activation_function", true},
                                   {NULL, NULL, false}},
    .default_key_value_heads = 8,
    .default_max_position_embeddings = 4096,
    .default_norm_eps = 1e-5,
    .default_rope_theta = 5e5,
};
