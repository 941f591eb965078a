/* The list of model families. */
#ifndef QA_ARCH_FAMILIES_H
#define QA_ARCH_FAMILIES_H

#include "arch/family.h"

const qa_family *qa_family_at(size_t i); /* NULL: behind the last */
/* NULL: none of the name. */
const qa_family *qa_family_by_architecture(const char *architecture);
const qa_family *qa_family_by_model_type(const char *model_type);

/* "LlamaForCausalLM, MistralForCausalLM or Qwen2ForCausalLM", for messages. */
void qa_family_names(char *names, size_t bytes);

#endif
