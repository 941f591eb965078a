/* Inside the reader of config.json: its parts. */
#ifndef QA_ARCH_CONFIG_INTERNAL_H
#define QA_ARCH_CONFIG_INTERNAL_H

#include "arch/config.h"

#include <jansson.h>

/* A number from low to high; absent or null leaves what is there unless it is required. */
QA_MUST_CHECK qa_status qa_config_get_within(const json_t *object, const char *key, bool required, double low,
                                             double high, double *value, qa_error *err);

/* rope_theta, rope_scaling, rope_parameters. After max_position_embeddings, which Llama 3's scaling falls back on. */
QA_MUST_CHECK qa_status qa_config_read_rope(qa_config *config, const json_t *root, const qa_logger *logger,
                                            qa_error *err);

/* sliding_window: *window 0 if it is null, 4096 if it is absent. */
QA_MUST_CHECK qa_status qa_config_read_window(const json_t *root, size_t *window, qa_error *err);

/* What the forward pass would need and this one does not compute is an error; keys that the family does not have and
 * that are not known to say nothing about the arithmetic are one warning. */
QA_MUST_CHECK qa_status qa_config_check_keys(const qa_config *config, const json_t *root, const qa_logger *logger,
                                             qa_error *err);

/* Reads a key that is true or false; absent: as it was. */
QA_MUST_CHECK qa_status qa_config_read_flag(const json_t *root, const char *key, bool *flag, qa_error *err);

#endif
