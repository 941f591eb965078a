/* The options of a LoRA adapter, one row each (base/option.h); they lie in a qa_lora_options. */
#ifndef QA_MODEL_LORA_OPTIONS_H
#define QA_MODEL_LORA_OPTIONS_H

#include "base/option.h"
#include "qadapter/model.h"

extern const qa_option_table qa_lora_table;

/* "q_proj,v_proj" */
void qa_targets_text(const bool targets[QA_TARGETS], char *text, size_t bytes);

#endif
