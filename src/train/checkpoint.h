/* Checkpoints: all that a run needs to continue as if it had never stopped.
 *
 * out/checkpoint-STEP/ holds a PEFT adapter (adapter_config.json, adapter_model.safetensors) beside the state's files
 * (state_files.h). */
#ifndef QA_TRAIN_CHECKPOINT_H
#define QA_TRAIN_CHECKPOINT_H

#include "io/json.h"
#include "model/adapter.h"
#include "train/batch.h"
#include "train/state_files.h"

/* The state of a run between two steps; everything is borrowed. */
typedef struct qa_checkpoint {
    const qa_adapter *adapter; /* parameters[count] */
    qa_real *m, *v;            /* [count] moments of AdamW */
    const qa_plan *plan;
    const size_t *order;     /* [plan->pairs] of the epoch that the next step is in */
    const char *base_model;  /* for adapter_config.json */
    const qa_logger *logger; /* may be NULL */
    const json_t *agreement; /* train/training_config.h */
    const json_t *config;    /* content of training_config.json */
    bool shuffle;
    uint64_t seed;
    size_t step;          /* steps done */
    bool evaluated;       /* the evaluation due after this step is done */
    size_t metrics_bytes; /* length of metrics.jsonl */
} qa_checkpoint;

/* Writes out_dir/checkpoint-STEP. On failure nothing of that name appears. */
QA_MUST_CHECK qa_status qa_checkpoint_save(const qa_checkpoint *checkpoint, const char *out_dir, qa_error *err);

/* Reads out_dir/checkpoint-STEP into a checkpoint whose adapter, arrays, plan and agreement are set: fills
 * adapter->parameters, m, v, step, evaluated, metrics_bytes, all or nothing but for m and v. `order` is scratch here:
 * it receives the order of the epoch, which must be the stored one. A different option, data set or precision is
 * QA_ERR_MISMATCH and names it; a damaged file QA_ERR_FORMAT. */
QA_MUST_CHECK qa_status qa_checkpoint_load(qa_checkpoint *checkpoint, qa_adapter *adapter, size_t *order,
                                           const char *out_dir, size_t step, qa_error *err);

/* The epoch (from 0) that the step after `step` steps belongs to, and how many of its pairs are done. */
void qa_checkpoint_position(const qa_plan *plan, size_t step, size_t *epoch, size_t *pairs_done);

#endif
