/* What the Granite families share: four multipliers. MiniCPM's layer is Granite's, too. */
#ifndef QA_ARCH_GRANITE_H
#define QA_ARCH_GRANITE_H

#include "arch/config_internal.h"

QA_MUST_CHECK qa_status qa_granite_read_multipliers(qa_config *config, const json_t *root, qa_error *err);
void qa_granite_write_multipliers(json_t *root, const qa_config *config);

extern const qa_operation_list qa_granite_layer;

#endif
