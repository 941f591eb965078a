/* The families: one line each. */
#include "arch/families.h"

#include <string.h>

extern const qa_family qa_family_llama, qa_family_mistral, qa_family_qwen2, qa_family_qwen3, qa_family_gemma,
    qa_family_gemma2, qa_family_gemma3, qa_family_smollm3, qa_family_granite, qa_family_granite_hybrid, qa_family_phi3,
    qa_family_olmo, qa_family_olmo2, qa_family_olmo3, qa_family_ernie4_5, qa_family_hunyuan, qa_family_exaone,
    qa_family_exaone4, qa_family_stablelm, qa_family_starcoder2, qa_family_gpt2, qa_family_gpt_neox, qa_family_cohere,
    qa_family_nemotron, qa_family_helium, qa_family_glm, qa_family_glm4, qa_family_internlm3, qa_family_minicpm;
static const qa_family *const FAMILIES[] = {
    &qa_family_llama,   &qa_family_mistral,  &qa_family_qwen2,     &qa_family_qwen3,    &qa_family_gemma,
    &qa_family_gemma2,  &qa_family_gemma3,   &qa_family_smollm3,   &qa_family_granite,  &qa_family_granite_hybrid,
    &qa_family_phi3,    &qa_family_olmo,     &qa_family_olmo2,     &qa_family_olmo3,    &qa_family_ernie4_5,
    &qa_family_hunyuan, &qa_family_exaone,   &qa_family_exaone4,   &qa_family_stablelm, &qa_family_starcoder2,
    &qa_family_gpt2,    &qa_family_gpt_neox, &qa_family_cohere,    &qa_family_nemotron, &qa_family_helium,
    &qa_family_glm,     &qa_family_glm4,     &qa_family_internlm3, &qa_family_minicpm,
};
enum { N_FAMILIES = sizeof FAMILIES / sizeof *FAMILIES };

const qa_family *qa_family_at(size_t i) { return i < N_FAMILIES ? FAMILIES[i] : NULL; }

const qa_family *qa_family_by_architecture(const char *architecture) {
    for (size_t i = 0; i < N_FAMILIES; i++) {
        if (strcmp(FAMILIES[i]->architecture, architecture) == 0) {
            return FAMILIES[i];
        }
    }
    return NULL;
}

const qa_family *qa_family_by_classifier(const char *classifier) {
    for (size_t i = 0; i < N_FAMILIES; i++) {
        if (FAMILIES[i]->classifier != NULL && strcmp(FAMILIES[i]->classifier, classifier) == 0) {
            return FAMILIES[i];
        }
    }
    return NULL;
}

const qa_family *qa_family_by_model_type(const char *model_type) {
    for (size_t i = 0; i < N_FAMILIES; i++) {
        if (strcmp(FAMILIES[i]->model_type, model_type) == 0) {
            return FAMILIES[i];
        }
    }
    return NULL;
}

bool qa_family_has_key(const qa_family *family, const char *key) {
    for (const char *const *own = family->keys; own != NULL && *own != NULL; own++) {
        if (strcmp(*own, key) == 0) {
            return true;
        }
    }
    for (const qa_key_name *name = family->names; name != NULL && name->key != NULL; name++) {
        if (strcmp(name->own, key) == 0) {
            return true;
        }
    }
    return false;
}
