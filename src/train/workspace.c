/* See workspace.h; also what train.h tells about the memory that training takes. */
#include "train/workspace.h"

#include "base/checked.h"
#include "base/try.h"
#include "train/adamw.h"

static void take(qa_optimiser_arrays *arrays, qa_arena *arena, size_t count) {
    arrays->gradient = QA_TAKE(arena, qa_real, count);
    arrays->m = QA_TAKE(arena, qa_real, count);
    arrays->v = QA_TAKE(arena, qa_real, count);
    arrays->partial = QA_TAKE(arena, double, qa_adamw_blocks(count));
}

static qa_status optimiser_bytes(size_t count, size_t *bytes, qa_error *err) {
    qa_optimiser_arrays measured = {0};
    qa_arena arena = qa_arena_measure();
    take(&measured, &arena, count);
    return qa_arena_bytes(&arena, bytes, err);
}

qa_status qa_optimiser_arrays_create(qa_optimiser_arrays *arrays, size_t count, qa_error *err) {
    size_t bytes = 0;
    QA_TRY(optimiser_bytes(count, &bytes, err));
    QA_TRY(qa_arena_create(&arrays->arena, bytes, err));
    take(arrays, &arrays->arena, count);
    return qa_arena_bytes(&arrays->arena, &bytes, err);
}

void qa_optimiser_arrays_free(qa_optimiser_arrays *arrays) { qa_arena_free(&arrays->arena); }

static qa_status memory_bytes(const qa_model *model, const qa_lora_options *lora, qa_pair_limits limits, size_t *bytes,
                              qa_error *err) {
    size_t of_pair = 0, of_optimiser = 0;
    limits.backward = true;
    QA_TRY(qa_pair_step_bytes(model, lora, limits, &of_pair, err));
    QA_TRY(optimiser_bytes(qa_adapter_count(&model->config, lora), &of_optimiser, err));
    if (!qa_add_size(of_pair, of_optimiser, bytes)) {
        return qa_fail(err, QA_ERR_LIMIT, "the training workspace does not fit the address space");
    }
    return QA_OK;
}

qa_status qa_train_memory(const qa_model *model, const qa_lora_options *lora, size_t max_prompt, size_t max_response,
                          bool recompute, size_t *bytes, qa_error *err) {
    const qa_pair_limits limits = {.max_prompt = max_prompt, .max_response = max_response, .recompute = recompute};
    return memory_bytes(model, lora, limits, bytes, err);
}

qa_pair_limits qa_train_limits(const qa_pairs *train, const qa_pairs *evaluation, const qa_pairs *replay,
                               bool recompute) {
    qa_pair_limits limits = {.backward = true, .recompute = recompute};
    qa_pair_limits_include(&limits, train);
    qa_pair_limits_include(&limits, evaluation);
    qa_pair_limits_include(&limits, replay);
    return limits;
}

qa_status qa_train_memory_for(const qa_model *model, const qa_lora_options *lora, const qa_pairs *train,
                              const qa_pairs *evaluation, const qa_pairs *replay, bool recompute, size_t *bytes,
                              qa_error *err) {
    return memory_bytes(model, lora, qa_train_limits(train, evaluation, replay, recompute), bytes, err);
}
