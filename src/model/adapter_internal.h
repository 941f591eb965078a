/* What adapter.c and adapter_files.c share. */
#ifndef QA_MODEL_ADAPTER_INTERNAL_H
#define QA_MODEL_ADAPTER_INTERNAL_H

#include "model/adapter.h"
#include "model/adapter_plan.h"

/* An adapter of the plan [layers x QA_TARGETS], or without one of the options' layout in every layer; all parameters
 * zero. */
QA_MUST_CHECK qa_status qa_adapter_allocate(qa_adapter **adapter, const qa_model *model, const qa_lora_options *options,
                                            const qa_branch_plan *plan, qa_error *err);

#endif
