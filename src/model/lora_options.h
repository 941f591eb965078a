/* The options of a LoRA adapter, one row each (base/option.h); they lie in a qa_lora_options. */
#ifndef QA_MODEL_LORA_OPTIONS_H
#define QA_MODEL_LORA_OPTIONS_H

#include "arch/config.h"
#include "base/option.h"
#include "qadapter/model.h"

extern const qa_option_table qa_lora_table;

/* "q_proj,v_proj" */
void qa_targets_text(const bool targets[QA_TARGETS], char *text, size_t bytes);

/* Takes away the targets that the family lacks and something else of it stands for; QA_ERR_ARGUMENT lists the family's
 * where nothing does. */
QA_MUST_CHECK qa_status qa_lora_options_fit(qa_lora_options *options, const qa_family *family, qa_error *err);

/* Ranges of the LoRA options. */
QA_MUST_CHECK qa_status qa_lora_options_check(const qa_lora_options *options, qa_error *err);
/* Those of one map's rank and alpha. */
QA_MUST_CHECK qa_status qa_lora_range_check(size_t rank, double alpha, qa_error *err);

#endif
