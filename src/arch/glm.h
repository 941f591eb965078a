/* The keys that GLM-4 and GLM-4-0414 have in common. */
#ifndef QA_ARCH_GLM_H
#define QA_ARCH_GLM_H

#include "arch/config_internal.h"

QA_MUST_CHECK qa_status qa_glm_read(qa_config *config, const json_t *root, const qa_logger *logger, qa_error *err);
void qa_glm_write(json_t *root, const qa_config *config);

#endif
