/* An adapter's adapter_config.json ("c") or adapter_model.safetensors ("w"), the other one being good. */
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"

#include "qadapter/model.h"

#include <stdlib.h>

static const char good_dir[] = "weights/golden/theory-text/adapter";

static qa_model *load_model(void) {
    static qa_context *context;
    qa_model *model = NULL;
    qa_error err = {0};
    const char *dir = qa_fuzz_folder("adapter-model");
    qa_fuzz_copy("weights/golden/theory-text/model", dir);
    if (qa_context_create(&context, 1, (qa_logger){0}, &err) != QA_OK ||
        qa_model_load(&model, context, dir, &err) != QA_OK) {
        abort();
    }
    return model;
}

void qa_fuzz_adapter(const uint8_t *data, size_t bytes) {
    static const char *dir;
    static qa_model *model;
    static char *config, *weights;
    static size_t config_bytes, weights_bytes;
    qa_adapter *adapter = NULL;
    qa_error err = {0};
    if (dir == NULL) {
        dir = qa_fuzz_folder("adapter");
        model = load_model();
        config = qa_fuzz_read(qa_fuzz_path(good_dir, "adapter_config.json"), &config_bytes);
        weights = qa_fuzz_read(qa_fuzz_path(good_dir, "adapter_model.safetensors"), &weights_bytes);
    }
    const int of_weights = bytes > 0 && data[0] == 'w';
    const uint8_t *rest = bytes > 0 ? data + 1 : data;
    const size_t n = bytes - (bytes > 0);
    qa_fuzz_write(dir, "adapter_config.json", of_weights ? (const void *)config : rest, of_weights ? config_bytes : n);
    qa_fuzz_write(dir, "adapter_model.safetensors", of_weights ? (const void *)rest : weights,
                  of_weights ? n : weights_bytes);
    (void)!qa_adapter_load(&adapter, model, dir, &err);
    qa_adapter_free(adapter);
}
