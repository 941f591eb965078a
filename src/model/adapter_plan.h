/* Which linear maps an adapter_config.json adapts, and with what rank and alpha: PEFT's rules. */
#ifndef QA_MODEL_ADAPTER_PLAN_H
#define QA_MODEL_ADAPTER_PLAN_H

#include "arch/tensors.h"
#include "io/json.h"
#include "model/adapter.h"

/* One linear map's branch. */
typedef struct qa_branch_plan {
    bool present;
    size_t rank;
    double alpha;
} qa_branch_plan;

/* Reads every key of adapter_config.json. A key that is unknown, or set to what plain LoRA does not have, is
 * QA_ERR_UNSUPPORTED and named. *options: r, lora_alpha and so on as the file has them; targets: those that some layer
 * adapts, by the family's names. The caller frees *plan [layers x QA_TARGETS]. Messages begin with the key, not with
 * the file. */
QA_MUST_CHECK qa_status qa_adapter_plan_read(qa_branch_plan **plan, qa_lora_options *options, const json_t *root,
                                             const qa_config *config, qa_warnings *warnings, qa_error *err);

#endif
