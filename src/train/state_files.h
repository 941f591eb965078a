/* The state of a run between two steps, as the files that every checkpoint is made of.
 *
 * out/checkpoint-STEP/ holds the model (what it is is the caller's), training_config.json, run_state.safetensors
 * (parameters and both moments of AdamW in the build's precision, and the data order of the current epoch) and
 * run_state.json (where the run is, what must agree to continue it, and a checksum over the numbers). The folder
 * appears under its name when it is complete. */
#ifndef QA_TRAIN_STATE_FILES_H
#define QA_TRAIN_STATE_FILES_H

#include "base/real.h"
#include "io/json.h"
#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>

enum { QA_CHECKPOINT_VERSION = 1 };

/* The evaluations of a run so far, where they are compared. */
typedef struct qa_best {
    bool found;     /* there was one; else the rest is 0 */
    size_t step;    /* of the best one, the first of equal ones */
    double value;   /* what it was compared by */
    double to_beat; /* what an evaluation must be better than by min_delta, or it counts in `since` */
    size_t since;   /* evaluations that did not, one after the other */
} qa_best;

/* Everything is borrowed. */
typedef struct qa_run_state {
    qa_real *parameters, *m, *v; /* [count]; the moments of AdamW */
    size_t count;
    const size_t *order; /* [items] of the epoch that the next step is in */
    size_t items;
    const char *unit;         /* what an item is: "pairs" */
    size_t step, total_steps; /* read: the run may have been planned shorter, never longer */
    size_t planned_steps;     /* read: total_steps when it was written */
    size_t epoch, items_done; /* where the next step begins: epoch from 0, items of it that are done */
    bool evaluated;           /* the evaluation due after this step is done */
    size_t metrics_bytes;     /* length of metrics.jsonl */
    bool watches;             /* evaluations are compared: `best` is part of the state */
    qa_best best;
    const json_t *resume_options; /* train/training_config.h */
    const qa_logger *logger;      /* for what differs and may; NULL: silent */
    const json_t *config;         /* content of training_config.json */
    /* Writes the model into the folder. */
    qa_status (*write_model)(const void *user, const char *dir, qa_error *err);
    /* A member of the state that is the caller's, written and read back; NULL: none. */
    json_t *(*save_state)(const void *user);
    qa_status (*load_state)(void *user, const json_t *state, const char *path, qa_error *err);
    void *user;
} qa_run_state;

/* Writes out_dir/checkpoint-STEP. On failure nothing of that name appears. */
QA_MUST_CHECK qa_status qa_run_state_save(const qa_run_state *state, const char *out_dir, qa_error *err);

/* Reads out_dir/checkpoint-STEP (state->step) into a state of which all but evaluated, metrics_bytes and best is set:
 * step, epoch, items_done and order must be the stored ones. Fills parameters, m, v, evaluated, metrics_bytes and best
 * (not found, where the run did not compare its evaluations), all or nothing but for m and v. A different option, data
 * set or precision is QA_ERR_MISMATCH and names it; a damaged file QA_ERR_FORMAT. */
QA_MUST_CHECK qa_status qa_run_state_load(qa_run_state *state, const char *out_dir, qa_error *err);

#endif
