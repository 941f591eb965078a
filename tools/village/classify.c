/* See classify.h. */
#include "village/classify.h"

#include <string.h>

qa_status vl_classifier_open(vl_classifier *classifier, const vl_share *share, qa_error *err) {
    *classifier = (vl_classifier){0};
    for (size_t i = 0; i < share->n; i++) {
        const char *pattern = share->classes[i].pattern;
        const qa_status status = qa_regex_create(&classifier->patterns[i], pattern, strlen(pattern), err);
        if (status != QA_OK) {
            vl_classifier_close(classifier);
            return status;
        }
        classifier->n = i + 1;
    }
    return QA_OK;
}

void vl_classifier_close(vl_classifier *classifier) {
    for (size_t i = 0; i < classifier->n; i++) {
        qa_regex_free(classifier->patterns[i]);
    }
    *classifier = (vl_classifier){0};
}

size_t vl_class_of(const vl_classifier *classifier, const char *text, size_t bytes) {
    size_t i = 0;
    while (i < classifier->n && !qa_regex_matches(classifier->patterns[i], text, bytes)) {
        i++;
    }
    return i;
}

size_t vl_classes_matching(const vl_classifier *classifier, const char *text, size_t bytes) {
    size_t matching = 0;
    for (size_t i = 0; i < classifier->n; i++) {
        matching += qa_regex_matches(classifier->patterns[i], text, bytes) ? 1 : 0;
    }
    return matching;
}
