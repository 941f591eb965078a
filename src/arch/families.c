/* The families: one line each. */
#include "arch/families.h"

#include <stdio.h>
#include <string.h>

extern const qa_family qa_family_llama, qa_family_mistral, qa_family_qwen2;
static const qa_family *const FAMILIES[] = {&qa_family_llama, &qa_family_mistral, &qa_family_qwen2};
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

const qa_family *qa_family_by_model_type(const char *model_type) {
    for (size_t i = 0; i < N_FAMILIES; i++) {
        if (strcmp(FAMILIES[i]->model_type, model_type) == 0) {
            return FAMILIES[i];
        }
    }
    return NULL;
}

void qa_family_names(char *names, size_t bytes) {
    size_t used = 0;
    for (size_t i = 0; i < N_FAMILIES && used < bytes; i++) {
        const char *before = i == 0 ? "" : i + 1 == N_FAMILIES ? " or " : ", ";
        const int n = snprintf(names + used, bytes - used, "%s%s", before, FAMILIES[i]->architecture);
        used += n < 0 ? bytes : (size_t)n;
    }
}
