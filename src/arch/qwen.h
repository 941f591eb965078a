/* What Qwen2 and Qwen3 share: a window from layer max_window_layers on, if use_sliding_window says so. */
#ifndef QA_ARCH_QWEN_H
#define QA_ARCH_QWEN_H

#include "arch/config_internal.h"

QA_MUST_CHECK qa_status qa_qwen_read_windows(qa_config *config, const json_t *root, qa_error *err);
void qa_qwen_write_windows(json_t *root, const qa_config *config);

#endif
