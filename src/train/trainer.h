/* The trainer, whatever is trained and on what: preference pairs, rollouts, documents.
 *
 *     until all steps are done
 *         when due: evaluation, then checkpoint (which so knows of it); the best evaluation has one, if it is kept, and
 *         when there was no better one for some time the run ends
 *         the gradient of a step, clipped; AdamW; a line of metrics.jsonl
 *
 * It owns the output folder, the order of the data, the optimiser, the checkpoints and where a run continues. What a
 * step's gradient is, what is evaluated and what is written as a model is the task's, five functions or so.
 *
 * Everything a step does is a function of the data, the options, the seed and the step's number; what a step leaves
 * behind is the parameters, AdamW's moments and the metrics. So a checkpoint is these three and a number. */
#ifndef QA_TRAIN_TRAINER_H
#define QA_TRAIN_TRAINER_H

#include "base/arena.h"
#include "base/pool.h"
#include "base/real.h"
#include "cluster/cluster.h"
#include "io/held_folder.h"
#include "io/json.h"
#include "model/trainable.h"
#include "qadapter/train.h"
#include "train/gradient_tree.h"
#include "train/metrics.h"
#include "train/run_folder.h"
#include "train/run_ranks.h"
#include "train/state_files.h"

#include <stdbool.h>
#include <stddef.h>

/* The options of a run that are the same whatever is trained. */
typedef struct qa_run_options {
    const char *out_dir;
    bool overwrite, resume;
    size_t eval_every, save_every, save_total_limit;
    double save_minutes; /* between two checkpoints at the most; 0: any number */
    uint64_t seed;
    qa_schedule schedule;
    size_t warmup_steps;
    double learning_rate, warmup_ratio, max_grad_norm, weight_decay, adam_beta1, adam_beta2, adam_epsilon;
} qa_run_options;

/* From a qa_train_options or a qa_pretrain_options, whose fields have the same names. */
#define QA_RUN_OPTIONS(o)                                                                                              \
    {                                                                                                                  \
        .out_dir = (o)->out_dir, .overwrite = (o)->overwrite, .resume = (o)->resume, .eval_every = (o)->eval_every,    \
        .save_every = (o)->save_every, .save_total_limit = (o)->save_total_limit, .save_minutes = (o)->save_minutes,   \
        .seed = (o)->seed, .schedule = (o)->schedule, .warmup_steps = (o)->warmup_steps,                               \
        .learning_rate = (o)->learning_rate, .warmup_ratio = (o)->warmup_ratio, .max_grad_norm = (o)->max_grad_norm,   \
        .weight_decay = (o)->weight_decay, .adam_beta1 = (o)->adam_beta1, .adam_beta2 = (o)->adam_beta2,               \
        .adam_epsilon = (o)->adam_epsilon                                                                              \
    }

/* What a run makes of its evaluations. */
typedef struct qa_watch {
    bool keep_best;   /* the adapter is that of the best one, whose checkpoint stays */
    size_t patience;  /* evaluations without an improvement that end the run; 0: none do */
    double min_delta; /* the least that counts as one */
    bool smaller;     /* is better */
} qa_watch;

/* What every line of metrics.jsonl has, of a step or (is_evaluation) of an evaluation after `step` steps. */
typedef struct qa_step_metrics {
    bool is_evaluation;
    size_t step, total_steps;
    double grad_norm, learning_rate; /* 0 of an evaluation; of several updates the largest norm */
    size_t tokens;
    double tokens_per_second;
    double seconds; /* since training began (this process) */
    size_t ranks;
    double waited_seconds; /* of a step that several ranks share: by a rank in the mean, for the others */
} qa_step_metrics;

/* Into a qa_metrics or a qa_pretrain_metrics, whose fields have the same names. */
#define QA_METRICS_OF_STEP(m, s)                                                                                       \
    ((m)->is_evaluation = (s)->is_evaluation, (m)->step = (s)->step, (m)->total_steps = (s)->total_steps,              \
     (m)->grad_norm = (s)->grad_norm, (m)->learning_rate = (s)->learning_rate, (m)->tokens = (s)->tokens,              \
     (m)->tokens_per_second = (s)->tokens_per_second, (m)->seconds = (s)->seconds, (m)->ranks = (s)->ranks,            \
     (m)->waited_seconds = (s)->waited_seconds)

/* Where an element of the parameters stands. */
typedef struct qa_parameter_location {
    const char *tensor;
    size_t row, column;
} qa_parameter_location;

/* Of a model whose weights all learn. */
qa_parameter_location qa_weight_location(const qa_trainable *trainable, size_t i);

/* What a run is of. All but write_model, which is rank 0's, are called on every rank. Every function gets the trainer's
 * `user`. */
typedef struct qa_training_task {
    const qa_run_files *files; /* that a finished run leaves */
    const char *unit;          /* what the data is made of: "pairs" */
    /* Makes trainer->gradient that of step number trainer->done (from 0) of the epoch whose order is trainer->order,
     * from zeros, or by trainer->tree; *tokens: what it ran. Its messages say which step. QA_ERR_INTERRUPTED, here or
     * from an evaluation: it was left undone, and the caller wants to end. */
    qa_status (*gradient)(void *user, size_t *tokens, qa_error *err);
    qa_status (*evaluate)(void *user, size_t *tokens, qa_error *err);
    double (*measure)(const void *user); /* what the last one is compared by; NULL: they are not */
    /* The line of metrics.jsonl of what the last of the two found; and then the caller's own look at it, false: it
     * wants to end. */
    qa_status (*line)(void *user, const qa_step_metrics *metrics, qa_text *line, qa_error *err);
    bool (*goes_on)(void *user);
    qa_status (*write_model)(const void *user, const char *dir, qa_error *err); /* of a checkpoint */
    size_t (*items_done)(const void *user, size_t step);         /* pairs of its epoch that are done before that step */
    qa_parameter_location (*locate)(const void *user, size_t i); /* of parameters[i] */
    void (*epoch_begins)(void *user);                            /* trainer->order is another one; NULL: nobody asks */
    /* What else a step leaves behind, as a member of run_state.json, and back; NULL: nothing. */
    json_t *(*save_state)(const void *user); /* the caller owns it; NULL: no memory */
    qa_status (*load_state)(void *user, const json_t *state, const char *path, qa_error *err);
    bool (*give_back)(void *user); /* gives back what it can of the disk; false, or NULL: nothing */
} qa_training_task;

typedef struct qa_trainer {
    /* ---- set by the caller, borrowed ---- */
    const qa_training_task *task;
    void *user;
    qa_run_options options;
    qa_pool *pool;
    qa_cluster *cluster; /* the ranks that share the steps; NULL: this process alone */
    const qa_logger *logger;
    const json_t *resume_options; /* what a resumed run must share (train/training_config.h) */
    const json_t *config;         /* content of training_config.json */
    qa_real *parameters;          /* [count] */
    qa_real *gradient;            /* [count]; NULL: the trainer's own, set by qa_trainer_create */
    size_t count, decayed;        /* weight decay is for the first `decayed` */
    size_t leaves;                /* the most that the sum of a step's gradients has (gradient_tree.h); 0: no tree */
    size_t weight_bytes;          /* of the frozen model in memory, which all ranks hold alike */
    size_t items;                 /* of the data */
    bool shuffle;                 /* a new order every epoch, else that of the file */
    bool evaluates;               /* there is something to evaluate on */
    size_t steps_per_epoch, total_steps;
    size_t updates;      /* of the parameters in a step, each by a gradient of its own; 0: one */
    bool has_least_rate; /* the learning rate falls to least_rate, else to 0 */
    double least_rate;
    qa_watch watch; /* of zeros: evaluations are not compared */

    /* ---- its state ---- */
    size_t warmup;                     /* steps */
    size_t done;                       /* optimiser steps */
    size_t update;                     /* of the step under way, from 0 */
    size_t *order;                     /* [items] of epoch `epoch` */
    size_t epoch;                      /* from 0 */
    qa_real *m, *v;                    /* [count] moments of AdamW */
    double *partial;                   /* of the gradient's norm */
    qa_gradient_tree tree;             /* whose sum is `gradient` */
    qa_arena arena;                    /* of gradient, m, v, partial and the tree's buffers */
    bool evaluated;                    /* the evaluation due after `done` steps is done */
    qa_best best;                      /* of the evaluations, where they are compared */
    double start;                      /* seconds, base/clock.h */
    bool replaced;                     /* another run is kept aside until this one has a checkpoint */
    size_t saved;                      /* step of the last checkpoint, or (size_t)-1 */
    double saved_at;                   /* when that was tried, seconds */
    size_t saved_by_time;              /* step of the checkpoint that only the clock asked for, or (size_t)-1 */
    bool warned_metrics, warned_prune; /* what fails again and again is said once */
    qa_rank_notes notes;
    qa_metrics_file *metrics; /* as all that follows, of rank 0 alone */
    bool locked;
    int lock;            /* on out_dir, when `locked` */
    qa_held_folder held; /* out_dir, once it is locked: what is written goes there and nowhere else */
} qa_trainer;

/* Bytes that qa_trainer_create allocates for so many parameters, leaves of a step's sum, and ranks. */
QA_MUST_CHECK qa_status qa_trainer_bytes(size_t count, bool own_gradient, size_t leaves, size_t ranks, size_t *bytes,
                                         qa_error *err);

/* Makes the arrays of a trainer that the caller has filled in; free it in any case. */
QA_MUST_CHECK qa_status qa_trainer_create(qa_trainer *trainer, qa_error *err);

/* Whether this is the rank that writes: rank 0. */
bool qa_trainer_writes(const qa_trainer *trainer);

/* Makes out_dir ready and loads the checkpoint to continue from, if any. Nothing of a run to be continued is touched
 * before its checkpoint has been accepted. The calling thread holds the folder (io/held_folder.h) until
 * qa_trainer_free, which it calls, too: whatever becomes of the path, the run writes into the folder that it locked.
 * Of several ranks only rank 0 touches the folder, the others get from it what the checkpoint holds; ranks that do not
 * fit together are refused before that (run_ranks.h). */
QA_MUST_CHECK qa_status qa_trainer_begin(qa_trainer *trainer, qa_error *err);

/* All steps that are left, or fewer when the evaluations get no better. QA_ERR_INTERRUPTED, after a checkpoint, when
 * the caller wanted to end. A folder that was moved is a warning at the end, one that was removed ends the run. A NaN
 * in a gradient or after an update is QA_ERR_NAN and names step and tensor; nothing is changed by such a gradient. */
QA_MUST_CHECK qa_status qa_trainer_run(qa_trainer *trainer, qa_error *err);

/* Whether the evaluations ended the run before its last step. */
bool qa_trainer_ended_early(const qa_trainer *trainer);
/* After the run, with keep_best: the parameters of the best evaluation, from its checkpoint. */
QA_MUST_CHECK qa_status qa_trainer_use_best(qa_trainer *trainer, qa_error *err);

/* QA_ERR_NAN naming tensor and element when one of values[count] is not finite; what: before it, in the message. */
QA_MUST_CHECK qa_status qa_trainer_check_finite(const qa_trainer *trainer, const char *what, const qa_real *values,
                                                qa_error *err);

/* Unlocks the folder, closes the metrics, frees the arrays; also after a failed begin, or of zeros. */
void qa_trainer_free(qa_trainer *trainer);

#endif
