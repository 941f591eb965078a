/* Inside the reader of config.json: its parts. */
#ifndef QA_ARCH_CONFIG_INTERNAL_H
#define QA_ARCH_CONFIG_INTERNAL_H

#include "arch/config.h"

#include <jansson.h>

/* A number from low to high; absent or null leaves what is there unless it is required. */
QA_MUST_CHECK qa_status qa_config_get_within(const json_t *object, const char *key, bool required, double low,
                                             double high, double *value, qa_error *err);

/* Reads a key that is true or false; absent or null: as it was. */
QA_MUST_CHECK qa_status qa_config_read_flag(const json_t *root, const char *key, bool *flag, qa_error *err);

/* A multiplier, absent or null: as it was. It may be anything but 0, infinite or beyond reason. */
QA_MUST_CHECK qa_status qa_config_read_multiplier(const json_t *root, const char *key, double *value, qa_error *err);

/* The name under which the file has a key: the family's own where that is there. */
const char *qa_config_key(const qa_family *family, const json_t *root, const char *key);

/* rope_theta, rope_scaling, rope_parameters. After max_position_embeddings, which some types fall back on, and after
 * the layers' flags. */
QA_MUST_CHECK qa_status qa_config_read_rope(qa_config *config, const json_t *root, const qa_logger *logger,
                                            qa_error *err);

/* sliding_window; null: no layer has one; absent: `otherwise`, 0 being none. */
QA_MUST_CHECK qa_status qa_config_read_window(qa_config *config, const json_t *root, size_t otherwise, qa_error *err);

/* Which layers have it: those that layer_types says, and without layer_types those from `first` on but for every
 * `every`th (0: all of them). */
QA_MUST_CHECK qa_status qa_config_read_layer_types(qa_config *config, const json_t *root, size_t first, size_t every,
                                                   qa_error *err);
void qa_config_window_layers(qa_config *config, size_t first, size_t every);

/* No layer with a window and no width of one go together. */
void qa_config_settle_windows(qa_config *config);

/* Sets sliding_window (null: none) and, with layer_types, which layers have it. */
void qa_config_write_window(json_t *root, const qa_config *config, bool layer_types);

/* Both keys of a family for which transformers makes a mask of a window even where no layer has one: `width` stands in
 * for a width that nothing uses. */
void qa_config_write_window_or(json_t *root, const qa_config *config, size_t width);

/* Sets the keys of the rotary embedding. */
void qa_config_write_rope(json_t *root, const qa_config *config);

/* What the forward pass would need and this one does not compute is an error; keys that the family does not have and
 * that are not known to say nothing about the arithmetic are one warning. */
QA_MUST_CHECK qa_status qa_config_check_keys(const qa_config *config, const json_t *root, const qa_logger *logger,
                                             qa_error *err);

/* A number as an integer where it is whole. */
json_t *qa_config_whole_or_real(double x);

#endif
