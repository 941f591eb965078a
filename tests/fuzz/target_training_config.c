/* An adapter's training_config.json. */
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"

#include "qadapter/train.h"

void qa_fuzz_training_config(const uint8_t *data, size_t bytes) {
    static const char *dir;
    bool found = false;
    size_t micro_batch = 0;
    qa_objective objective = qa_objective_for_method(QA_METHOD_QADAPTER);
    qa_error err = {0};
    dir = dir == NULL ? qa_fuzz_folder("training-config") : dir;
    qa_fuzz_write(dir, "training_config.json", data, bytes);
    (void)!qa_training_config_load(dir, &found, &objective, &err);
    (void)!qa_training_config_micro_batch(dir, &micro_batch, &err);
}
