/* The list of model families. */
#ifndef QA_ARCH_FAMILIES_H
#define QA_ARCH_FAMILIES_H

#include "arch/family.h"

const qa_family *qa_family_at(size_t i); /* from 0; NULL: beyond the last one */

/* NULL: none of the name. */
const qa_family *qa_family_by_architecture(const char *architecture);
const qa_family *qa_family_by_classifier(const char *classifier); /* "LlamaForSequenceClassification" */
const qa_family *qa_family_by_model_type(const char *model_type);

/* Whether it is a key that the family has beside those of every family, or its name of one. */
bool qa_family_has_key(const qa_family *family, const char *key);

#endif
