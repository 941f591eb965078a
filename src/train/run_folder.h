/* The output folder of a run: what may be in it, and its checkpoints.
 *
 *     training_config.json   metrics.jsonl   checkpoint-STEP/   and the files of what was trained
 *
 * A checkpoint is written as .tmp-checkpoint-STEP and renamed when complete. */
#ifndef QA_TRAIN_RUN_FOLDER_H
#define QA_TRAIN_RUN_FOLDER_H

#include "qadapter/status.h"

#include <stdbool.h>
#include <stddef.h>

#define QA_CHECKPOINT_PREFIX "checkpoint-"
#define QA_CHECKPOINT_TMP_PREFIX ".tmp-checkpoint-"
#define QA_CHECKPOINT_OLD_PREFIX ".tmp-checkpoint-old-" /* while it is removed */
#define QA_REFERENCE_FOLDER "reference" /* the adapter that dpo's log-ratios are against, where that is one */
#define QA_VALUE_HEAD_FILE "value_head.safetensors" /* of ppo */
/* An overwritten run, until the one in its place has a checkpoint; and while its files are moved there or back. */
#define QA_REPLACED_RUN_NAME ".tmp-replaced-run"
#define QA_MOVING_RUN_NAME ".tmp-moving-run"
#define QA_BASE_CACHE_NAME                                                                                             \
    ".tmp-base-cache" /* there only for the moment between making it and taking its name away                          \
                       */

/* The files that a finished run leaves. */
enum { QA_RUN_SHARED = 6 };
typedef struct qa_run_files {
    const char *what;                  /* "an adapter" */
    const char *finished;              /* its weights: there when a run has ended */
    const char *shared[QA_RUN_SHARED]; /* files that go with them but do not make a run; NULL at the end */
    bool only_own; /* weights that lie there without any trace of a run are never replaced, even with overwrite */
} qa_run_files;

extern const qa_run_files qa_adapter_run_files; /* adapter_model.safetensors, adapter_config.json */
extern const qa_run_files qa_model_run_files;   /* of pre-training: model.safetensors, config.json, ... */
extern const qa_run_files qa_full_run_files;    /* the same files, of a base model's copy trained on preferences */

/* What a run finds when it starts. */
typedef struct qa_run_folder {
    bool has_checkpoint;
    size_t newest_step; /* of the newest checkpoint */
    bool replaced;      /* another run was moved aside */
    bool has_previous;
    size_t previous_step; /* of the one before it */
} qa_run_folder;

/* Makes the folder and locks it for as long as *lock is open (close it; -1: none), so that two runs never write into
 * one folder: QA_ERR_EXISTS while another process or run holds it. For resume a folder that is not there is not made
 * and gives -1; where the file system has no locks the folder is open all the same. */
QA_MUST_CHECK qa_status qa_run_folder_lock(int *lock, const char *dir, bool resume, qa_error *err);

/* Whether a run with these files may remove or replace an entry of that name in its folder. */
bool qa_run_folder_replaces(const qa_run_files *files, const char *name);

/* Makes the folder, removes what a killed run left half-written, and applies the rules:
 *   - it holds another run: QA_ERR_EXISTS, unless overwrite (the run's files are moved aside, nothing else) or resume;
 *   - it holds a run of another kind (an adapter's in place of a model's, by its record): QA_ERR_EXISTS always;
 *   - resume without any run there, or of a finished run whose checkpoints are gone: an error that says so;
 *   - resume of a run that ended before its first checkpoint: has_checkpoint is false, start from the beginning. */
QA_MUST_CHECK qa_status qa_run_folder_prepare(qa_run_folder *folder, const qa_run_files *files, const char *dir,
                                              bool overwrite, bool resume, qa_error *err);

/* What overwriting moved aside: removed for good, once the new run has something in its place; or put back when it
 * ended before that. A run that was killed before it had a checkpoint is undone so by the next qa_run_folder_prepare.
 */
QA_MUST_CHECK qa_status qa_run_folder_forget_replaced(const char *dir, qa_error *err);
QA_MUST_CHECK qa_status qa_run_folder_bring_back(const qa_run_files *files, const char *dir, qa_error *err);

/* Which checkpoints stay, beside the newest one. */
typedef struct qa_kept_checkpoints {
    size_t newest; /* so many of the newest; 0: all */
    size_t best;   /* the step of one that stays in any case; (size_t)-1: none */
    size_t every;  /* those of other steps than its multiples go: what another best one had; 0: all. 1: none of them */
} qa_kept_checkpoints;

/* Removes the others. */
QA_MUST_CHECK qa_status qa_run_folder_prune(const char *dir, const qa_kept_checkpoints *kept, qa_error *err);

/* Removes one checkpoint; fine when it is not there. */
QA_MUST_CHECK qa_status qa_run_folder_remove_checkpoint(const char *dir, size_t step, qa_error *err);

/* dir/PREFIXstep as a new string (free); NULL when out of memory. */
char *qa_checkpoint_path(const char *dir, const char *prefix, size_t step);

#endif
