/* The Hugging Face folder that pre-training leaves: the model, and its tokenizer's files. */
#ifndef QA_TRAIN_MODEL_FOLDER_H
#define QA_TRAIN_MODEL_FOLDER_H

#include "io/dtype.h"
#include "io/json.h"
#include "model/trainable.h"

#include <stdint.h>

/* All that say how a text is encoded; NULL at the end. */
extern const char *const qa_tokenizer_file_names[];

/* Into dir, which is there: the tokenizer's files (tokenizer_dir NULL: none), with the chat template that wrote the
 * data (qa_chat_record; NULL: none did), config.json, generation_config.json and model.safetensors. */
QA_MUST_CHECK qa_status qa_model_folder_save(const qa_trainable *trainable, const char *tokenizer_dir,
                                             const json_t *chat, const char *dir, qa_dtype dtype, qa_error *err);

/* Reads the config and takes special ids that it does not name from the tokenizer (NULL: none). Ids outside the
 * vocabulary are errors. */
QA_MUST_CHECK qa_status qa_model_folder_config(qa_config *config, const char *path, const char *tokenizer_dir,
                                               const qa_logger *logger, qa_error *err);

/* Fails when overwriting out_dir would remove what the run is to be made from: the config or the tokenizer (NULL: none)
 * lies in it. */
QA_MUST_CHECK qa_status qa_model_folder_check_overwrite(const char *out_dir, const char *config_path,
                                                        const char *tokenizer_dir, qa_error *err);

#endif
