/* The course of a run, whatever is trained: the output folder, where it continues, and when what is due.
 *
 *     until all steps are done
 *         when due: evaluation, then checkpoint (which so knows of it)
 *         a step, a line of metrics
 *
 * What a step, an evaluation and a checkpoint are is the caller's. */
#ifndef QA_TRAIN_COURSE_H
#define QA_TRAIN_COURSE_H

#include "io/held_folder.h"
#include "io/json.h"
#include "qadapter/buffer.h"
#include "qadapter/status.h"
#include "train/metrics.h"
#include "train/run_folder.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct qa_course {
    /* set by the caller, borrowed */
    const char *out_dir;
    const qa_run_files *files;
    const json_t *config; /* content of training_config.json */
    const qa_logger *logger;
    bool overwrite, resume;
    bool evaluates;                                  /* there is something to evaluate on */
    size_t eval_every, save_every, save_total_limit; /* as in the options */
    double save_seconds;                             /* between two checkpoints at the most; 0: any number */
    size_t total_steps;
    void *user;
    /* Does step number `done` (from 0) and sets done and evaluated; *stop: the caller wants to end. QA_ERR_INTERRUPTED
     * from a step or an evaluation: it was left undone, with no trace, and the caller wants to end. */
    qa_status (*step)(void *user, bool *stop, qa_error *err);
    qa_status (*evaluate)(void *user, bool *stop, qa_error *err);
    qa_status (*save)(void *user, size_t metrics_bytes, qa_error *err); /* writes checkpoint-done */
    /* Loads checkpoint-step: sets done and evaluated, tells the length of metrics.jsonl. */
    qa_status (*load)(void *user, size_t step, size_t *metrics_bytes, qa_error *err);
    /* Gives back what it can of the disk; false when that is nothing. May be NULL. */
    bool (*give_back)(void *user);

    /* its state; qa_course_begin sets it up */
    size_t done;                   /* optimiser steps */
    bool evaluated;                /* the evaluation due after `done` steps is done */
    double start;                  /* seconds, base/clock.h */
    bool replaced;                 /* another run is kept aside until this one has a checkpoint */
    size_t saved;                  /* step of the last checkpoint, or (size_t)-1 */
    double saved_at;               /* when that was tried, seconds */
    size_t by_time;                /* step of the checkpoint that only the clock asked for, or (size_t)-1 */
    bool told_metrics, told_prune; /* what fails again and again is told once */
    qa_metrics_file *metrics;
    int lock;            /* on out_dir; -1: none */
    qa_held_folder held; /* out_dir, once it is locked: what is written goes there and nowhere else */
} qa_course;

/* Makes out_dir ready and loads the checkpoint to continue from, if any. Nothing of a run to be continued is touched
 * before its checkpoint has been accepted. The calling thread holds the folder (io/held_folder.h) until qa_course_end,
 * which it calls, too: whatever becomes of the path, the run writes into the folder that it locked. */
QA_MUST_CHECK qa_status qa_course_begin(qa_course *course, qa_error *err);

/* Appends the line to metrics.jsonl. A failure is a warning and no reason to end the run: what could not be written is
 * kept, and written before the next line. */
void qa_course_metrics(qa_course *course, const qa_text *line);

/* All steps that are left. QA_ERR_INTERRUPTED, after a checkpoint, when a callback said stop. A folder that was moved
 * is a warning at the end, one that was removed ends the run. */
QA_MUST_CHECK qa_status qa_course_run(qa_course *course, qa_error *err);

/* Unlocks the folder, closes the metrics; also after a failed begin. */
void qa_course_end(qa_course *course);

#endif
