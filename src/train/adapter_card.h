/* What other programs look for beside an adapter: its tokenizer and a model card. */
#ifndef QA_TRAIN_ADAPTER_CARD_H
#define QA_TRAIN_ADAPTER_CARD_H

#include "qadapter/objective.h"

/* Copies the tokenizer's files of model_dir into the finished adapter's folder and writes README.md: what the policy is
 * and how it is loaded. A README.md that is not of this function's making stays; a folder that is a model's own stays
 * as it is. base_model: the name that adapter_config.json has. */
QA_MUST_CHECK qa_status qa_adapter_card_write(const char *dir, const char *model_dir, const char *base_model,
                                              const qa_objective *objective, qa_error *err);

#endif
