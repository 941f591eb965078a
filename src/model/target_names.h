/* The names of the linear maps: qa_target_name's, and those of a family's own modules. In a list they are separated by
 * commas; a name is the module's or the end of its path behind a dot ("c_proj", "mlp.c_proj"), as in PEFT. */
#ifndef QA_MODEL_TARGET_NAMES_H
#define QA_MODEL_TARGET_NAMES_H

#include "arch/config.h"
#include "qadapter/model.h"

/* The maps that a list names in the family; QA_ERR_ARGUMENT lists the family's. */
QA_MUST_CHECK qa_status qa_targets_by_name(bool targets[QA_TARGETS], const qa_family *family, const char *list,
                                           qa_error *err);

/* QA_ERR_ARGUMENT where no family has one of the names. *own: one of them is none of qa_target_name's. */
QA_MUST_CHECK qa_status qa_targets_check_names(const char *list, bool *own, qa_error *err);

/* Whether the family has the map, and under qa_target_name's name. */
bool qa_target_has_usual_name(const qa_family *family, qa_target target);

/* The family's names of the maps, each once: "c_attn,c_proj", or "mlp.c_proj" where only one of two of a name is
 * meant. */
void qa_targets_names(const bool targets[QA_TARGETS], const qa_family *family, const char *separator, char *text,
                      size_t bytes);
/* All of the family's: "q_proj, k_proj, ...", for messages. */
void qa_targets_all_names(const qa_family *family, char *text, size_t bytes);

#endif
