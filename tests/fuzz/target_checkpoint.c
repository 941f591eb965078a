/* A checkpoint's run_state.json ("j") or run_state.safetensors ("s"), the other one being good. */
#include "fuzz/folder.h"
#include "fuzz/fuzz.h"

#include "train/run_folder.h"
#include "train/state_files.h"

#include <stdlib.h>

enum { COUNT = 6, ITEMS = 4, STEP = 3 };

static qa_real numbers[3][COUNT];
static const size_t order[ITEMS] = {2, 0, 3, 1};
static json_t *resume_options;

static qa_status no_model(const void *user, const char *dir, qa_error *err) {
    (void)user;
    (void)dir;
    (void)err;
    return QA_OK;
}

static qa_run_state new_state(void) {
    return (qa_run_state){.parameters = numbers[0],
                          .m = numbers[1],
                          .v = numbers[2],
                          .count = COUNT,
                          .order = order,
                          .items = ITEMS,
                          .unit = "pairs",
                          .step = STEP,
                          .total_steps = 9,
                          .epoch = 1,
                          .items_done = 2,
                          .metrics_bytes = 17,
                          .resume_options = resume_options,
                          .config = resume_options,
                          .write_model = no_model};
}

void qa_fuzz_checkpoint(const uint8_t *data, size_t bytes) {
    static const char *out, *dir;
    static char *json, *tensors;
    static size_t json_bytes, tensors_bytes;
    qa_error err = {0};
    if (out == NULL) {
        out = qa_fuzz_folder("checkpoint");
        resume_options = json_pack("{s:f, s:s}", "beta", 0.01, "objective", "theory");
        const qa_run_state state = new_state();
        dir = qa_checkpoint_path(out, "checkpoint-", STEP);
        if (resume_options == NULL || dir == NULL || qa_run_state_save(&state, out, &err) != QA_OK) {
            abort();
        }
        json = qa_fuzz_read(qa_fuzz_path(dir, "run_state.json"), &json_bytes);
        tensors = qa_fuzz_read(qa_fuzz_path(dir, "run_state.safetensors"), &tensors_bytes);
    }
    const int of_tensors = bytes > 0 && data[0] == 's';
    const uint8_t *rest = bytes > 0 ? data + 1 : data;
    const size_t n = bytes - (bytes > 0);
    qa_fuzz_write(dir, "run_state.json", of_tensors ? (const void *)json : rest, of_tensors ? json_bytes : n);
    qa_fuzz_write(dir, "run_state.safetensors", of_tensors ? (const void *)rest : tensors,
                  of_tensors ? n : tensors_bytes);
    qa_run_state state = new_state();
    (void)!qa_run_state_load(&state, out, &err);
}
