/* Gemma 1: Llama's layer with norms that multiply by 1 + w, a gate of gelu (in its tanh form, whatever hidden_act
 * calls it), and an embedding times sqrt(hidden_size), which is rounded to the dtype that the weights are stored in. */
#include "arch/gemma.h"

#include "arch/family.h"
#include "base/try.h"

#include <math.h>

static const double HIGHEST_CAP = 1e6, HIGHEST_SCALAR = 1e9;

qa_status qa_gemma_read(qa_config *config, const json_t *root, qa_error *err) {
    config->embedding_factor = sqrt((double)config->hidden_size);
    config->embedding_factor_rounds = true;
    QA_TRY(qa_config_read_flag(root, "attention_bias", &config->qkv_bias, err));
    config->o_bias = config->qkv_bias;
    return QA_OK;
}

/* A soft cap; null: none; absent: as it was. */
static qa_status read_cap(const json_t *root, const char *key, double *cap, qa_error *err) {
    const json_t *value = json_object_get(root, key);
    *cap = json_is_null(value) ? 0 : *cap;
    return qa_config_get_within(root, key, false, 1e-3, HIGHEST_CAP, cap, err);
}

qa_status qa_gemma_read_caps(qa_config *config, const json_t *root, bool attention, qa_error *err) {
    double scalar = 256;
    QA_TRY(qa_config_get_within(root, "query_pre_attn_scalar", false, 1e-3, HIGHEST_SCALAR, &scalar, err));
    config->attention_scale = 1.0 / sqrt(scalar);
    if (attention) {
        QA_TRY(read_cap(root, "attn_logit_softcapping", &config->attention_cap, err));
    }
    return read_cap(root, "final_logit_softcapping", &config->logit_cap, err);
}

static json_t *cap_json(double cap) { return cap == 0 ? json_null() : json_real(cap); }

void qa_gemma_write_caps(json_t *root, const qa_config *config) {
    const double scalar = 1.0 / (config->attention_scale * config->attention_scale);
    (void)json_object_set_new(root, "query_pre_attn_scalar", qa_config_whole_or_real(round(scalar)));
    (void)json_object_set_new(root, "attn_logit_softcapping", cap_json(config->attention_cap));
    (void)json_object_set_new(root, "final_logit_softcapping", cap_json(config->logit_cap));
    (void)json_object_set_new(root, "attention_bias", json_boolean(config->qkv_bias));
}

static qa_status read_gemma(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err) {
    (void)logger;
    config->activation = config->activation == QA_GELU ? QA_GELU_TANH : config->activation;
    return qa_gemma_read(config, root, err);
}

static void write_gemma(json_t *root, const qa_config *config) {
    (void)json_object_set_new(root, "attention_bias", json_boolean(config->qkv_bias));
}

extern const qa_family qa_family_gemma;
const qa_family qa_family_gemma = {
    .architecture = "GemmaForCausalLM",
    .classifier = "GemmaForSequenceClassification",
    .default_pad = QA_PAD(0),
    .model_type = "gemma",
    .models = "Gemma 1: 2B, 7B; CodeGemma",
    .tensors = &qa_llama_tensors,
    .layer = &qa_llama_layer,
    .keys = (const char *const[]){"attention_bias", NULL},
    .default_key_value_heads = 16,
    .default_head_dim = 256,
    .default_max_position_embeddings = 8192,
    .default_activation = "gelu_pytorch_tanh",
    .tied = true,
    .norm_offset = 1.0,
    .read = read_gemma,
    .write = write_gemma,
};
