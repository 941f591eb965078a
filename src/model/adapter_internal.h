/* What adapter.c and adapter_files.c share. */
#ifndef QA_MODEL_ADAPTER_INTERNAL_H
#define QA_MODEL_ADAPTER_INTERNAL_H

#include "model/adapter.h"
#include "model/adapter_plan.h"

/* Ranges of the LoRA options. */
QA_MUST_CHECK qa_status qa_lora_options_check(const qa_lora_options *options, qa_error *err);
/* Those of one map's rank and alpha. */
QA_MUST_CHECK qa_status qa_lora_range_check(size_t rank, double alpha, qa_error *err);

/* An adapter of the plan [layers x QA_TARGETS], or without one of the options' layout in every layer; all parameters
 * zero. */
QA_MUST_CHECK qa_status qa_adapter_allocate(qa_adapter **adapter, const qa_model *model, const qa_lora_options *options,
                                            const qa_branch_plan *plan, qa_error *err);

#endif
