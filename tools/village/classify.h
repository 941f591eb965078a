/* Which class an answer belongs to, by the patterns that suite.json carries. */
#ifndef VILLAGE_CLASSIFY_H
#define VILLAGE_CLASSIFY_H

#include "village/registers.h"

#include "suite/regex.h"

typedef struct vl_classifier {
    size_t n;
    qa_regex *patterns[VL_MAX_CLASSES];
} vl_classifier;

QA_MUST_CHECK qa_status vl_classifier_open(vl_classifier *classifier, const vl_share *share, qa_error *err);
void vl_classifier_close(vl_classifier *classifier);

/* The first class whose pattern matches; n: none. */
size_t vl_class_of(const vl_classifier *classifier, const char *text, size_t bytes);

/* How many patterns match. */
size_t vl_classes_matching(const vl_classifier *classifier, const char *text, size_t bytes);

#endif
