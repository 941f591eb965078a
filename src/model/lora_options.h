/* The options of a LoRA adapter, one row each (base/option.h); they lie in a qa_lora_options. */
#ifndef QA_MODEL_LORA_OPTIONS_H
#define QA_MODEL_LORA_OPTIONS_H

#include "arch/config.h"
#include "base/option.h"
#include "qadapter/model.h"

extern const qa_option_table qa_lora_table;

/* "q_proj,v_proj": names that the options were given, or once they are fitted to a family, that family's. */
void qa_lora_targets_text(const qa_lora_options *lora, char *text, size_t bytes);

/* What the targets mean in a family: targets becomes the maps that it has, target_modules its own names of them, or ""
 * where qa_target_name says them. QA_ERR_ARGUMENT lists the family's maps where it lacks one and no other stands for
 * it. */
QA_MUST_CHECK qa_status qa_lora_options_fit(qa_lora_options *lora, const qa_family *family, qa_error *err);
/* Sets target_modules alone, to the names of targets that the family has. */
void qa_lora_name_targets(qa_lora_options *lora, const qa_family *family);

/* Ranges of the LoRA options. */
QA_MUST_CHECK qa_status qa_lora_options_check(const qa_lora_options *options, qa_error *err);
/* Those of one map's rank and alpha. */
QA_MUST_CHECK qa_status qa_lora_range_check(size_t rank, double alpha, qa_error *err);

#endif
