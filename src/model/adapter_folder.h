/* What a folder is that should be an adapter's. */
#ifndef QA_MODEL_ADAPTER_FOLDER_H
#define QA_MODEL_ADAPTER_FOLDER_H

#include "qadapter/status.h"

#include <stdbool.h>

/* In training_config.json: all weights of a copy of the base model were trained, and the folder is that model's. */
#define QA_FULL_KEY "full"

/* QA_ERR_IO, saying what was found and what to do, unless both adapter_config.json and adapter_model.safetensors are
 * there: a model's folder, an adapter in a folder below, tensors in another format, a file. */
QA_MUST_CHECK qa_status qa_adapter_folder_check(const char *dir, qa_error *err);

/* Whether it is such a model's folder. */
QA_MUST_CHECK qa_status qa_adapter_folder_is_full(bool *full, const char *dir, qa_error *err);

#endif
