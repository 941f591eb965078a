/* A safetensors file: opened, every tensor looked up, read as every kind of number. */
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"

#include "io/safetensors.h"

#include <stdlib.h>

enum { MOST_ELEMENTS = 1 << 16 };

static void read_numbers(const qa_safetensors *file, const qa_tensor *tensor) {
    qa_error err = {0};
    void *numbers = malloc(8 * (tensor->count + 1));
    if (numbers == NULL) {
        return;
    }
    (void)!qa_tensor_read_real(file, tensor, true, numbers, &err);
    (void)!qa_tensor_read_double(file, tensor, false, numbers, &err);
    (void)!qa_tensor_read_bf16(file, tensor, true, numbers, &err);
    (void)!qa_tensor_read_int64(file, tensor, numbers, &err);
    free(numbers);
}

void qa_fuzz_safetensors(const uint8_t *data, size_t bytes) {
    static const char *dir;
    qa_safetensors *file = NULL;
    qa_error err = {0};
    dir = dir == NULL ? qa_fuzz_folder("safetensors") : dir;
    qa_fuzz_write(dir, "f.safetensors", data, bytes);
    if (qa_safetensors_open(&file, qa_fuzz_path(dir, "f.safetensors"), &err) != QA_OK) {
        return;
    }
    for (size_t i = 0; i < qa_safetensors_count(file); i++) {
        const qa_tensor *tensor = qa_safetensors_at(file, i);
        if (qa_safetensors_find(file, tensor->name) != tensor) {
            abort(); /* two tensors of one name, or a search that is not one */
        }
        if (tensor->count <= MOST_ELEMENTS) {
            read_numbers(file, tensor);
        }
    }
    (void)qa_safetensors_metadata(file, "format");
    qa_safetensors_close(file);
}
