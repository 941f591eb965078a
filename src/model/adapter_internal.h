/* What adapter_layout.c, adapter_full.c and adapter_files.c share. */
#ifndef QA_MODEL_ADAPTER_INTERNAL_H
#define QA_MODEL_ADAPTER_INTERNAL_H

#include "model/adapter.h"
#include "model/adapter_plan.h"

/* An adapter of the plan [layers x QA_TARGETS], or without one of the options' layout in every layer; all parameters
 * zero. */
QA_MUST_CHECK qa_status qa_adapter_allocate(qa_adapter **adapter, const qa_model *model, const qa_lora_options *options,
                                            const qa_branch_plan *plan, qa_error *err);

/* A model's folder that a run with all weights left, of the base `model`. */
QA_MUST_CHECK qa_status qa_adapter_load_full(qa_adapter **adapter, const qa_model *model, const char *dir,
                                             qa_error *err);

#endif
