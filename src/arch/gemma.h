/* What the Gemma families share: norms that multiply by 1 + w, an embedding times sqrt(hidden_size). */
#ifndef QA_ARCH_GEMMA_H
#define QA_ARCH_GEMMA_H

#include "arch/config_internal.h"

/* attention_bias, and the factor on the embedding. */
QA_MUST_CHECK qa_status qa_gemma_read(qa_config *config, const json_t *root, qa_error *err);

/* query_pre_attn_scalar (256 by default), attn_logit_softcapping if the family has it, final_logit_softcapping; their
 * defaults are what is in the config. */
QA_MUST_CHECK qa_status qa_gemma_read_caps(qa_config *config, const json_t *root, bool attention, qa_error *err);
void qa_gemma_write_caps(json_t *root, const qa_config *config);

#endif
