/* counts: how many answers of a file are of each class that a preference tells apart. */
#include "village/classify.h"
#include "village/commands.h"
#include "village/samples.h"

#include "base/try.h"

#include <stdio.h>
#include <string.h>

qa_status vl_print_counts(const vl_preference *preference, const char *path, qa_error *err) {
    const vl_share *share = &vl_shares[preference->share];
    size_t counts[VL_MAX_CLASSES + 1] = {0};
    vl_classifier classifier = {0};
    vl_samples samples = {0};
    qa_status status = QA_OK;
    QA_GOTO(done, vl_classifier_open(&classifier, share, err));
    QA_GOTO(done, vl_samples_read(&samples, path, err));
    for (size_t i = 0; i < samples.n; i++) {
        counts[vl_class_of(&classifier, samples.data[i].answer, strlen(samples.data[i].answer))]++;
    }
    for (size_t i = 0; i <= share->n; i++) {
        const char *name = i < share->n ? share->classes[i].name : "none";
        printf("%s\t%zu%s\n", name, counts[i], strcmp(name, preference->wanted) == 0 ? "\twanted" : "");
    }
done:
    vl_samples_free(&samples);
    vl_classifier_close(&classifier);
    return status;
}
