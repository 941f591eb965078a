/* See trainer.h. */
#include "train/trainer.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/try.h"
#include "io/file.h"
#include "train/adamw.h"
#include "train/batch.h"
#include "train/schedule.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const size_t NONE = (size_t)-1;

/* ---- memory ---- */

static void take_arrays(qa_trainer *t, qa_arena *arena, bool own_gradient, size_t ranks) {
    if (own_gradient) {
        t->gradient = QA_TAKE(arena, qa_real, t->count);
    }
    t->m = QA_TAKE(arena, qa_real, t->count);
    t->v = QA_TAKE(arena, qa_real, t->count);
    t->partial = QA_TAKE(arena, double, qa_adamw_blocks(t->count));
    t->tree = (qa_gradient_tree){
        .pool = t->pool, .most_leaves = t->leaves, .count = t->count, .buffers = {[0] = t->gradient}};
    qa_gradient_tree_take(&t->tree, arena, ranks);
}

qa_status qa_trainer_bytes(size_t count, bool own_gradient, size_t leaves, size_t ranks, size_t *bytes, qa_error *err) {
    qa_trainer measured = {.count = count, .leaves = leaves};
    qa_arena arena = qa_arena_measure();
    take_arrays(&measured, &arena, own_gradient, ranks);
    return qa_arena_bytes(&arena, bytes, err);
}

qa_status qa_trainer_create(qa_trainer *t, qa_error *err) {
    const bool own_gradient = t->gradient == NULL;
    size_t bytes = 0;
    t->epoch = t->saved = t->saved_by_time = NONE;
    t->warmup = qa_schedule_warmup(t->options.warmup_steps, t->options.warmup_ratio, t->total_steps);
    QA_TRY(qa_trainer_bytes(t->count, own_gradient, t->leaves, qa_cluster_ranks(t->cluster), &bytes, err));
    QA_TRY(qa_arena_create(&t->arena, bytes, err));
    take_arrays(t, &t->arena, own_gradient, qa_cluster_ranks(t->cluster));
    QA_TRY(qa_rank_notes_begin(&t->notes, t->cluster, t->logger, err));
    t->order = qa_alloc_array(t->items, sizeof *t->order);
    return t->order != NULL ? QA_OK : QA_NO_MEMORY(err, "the order of %zu %s", t->items, t->task->unit);
}

bool qa_trainer_writes(const qa_trainer *t) { return qa_cluster_rank(t->cluster) == 0; }

/* ---- checkpoints ---- */

/* The order of the epoch that the step after `step` steps belongs to. */
static void use_order(qa_trainer *t, size_t step) {
    const size_t epoch = step / t->steps_per_epoch;
    if (epoch != t->epoch) {
        qa_epoch_order(t->order, t->items, t->shuffle, t->options.seed, epoch);
        t->epoch = epoch;
        if (t->task->epoch_begins != NULL) {
            t->task->epoch_begins(t->user);
        }
    }
}

/* Whether evaluations are compared. */
static bool watches(const qa_trainer *t) { return t->watch.keep_best || t->watch.patience > 0; }

/* The state after `step` steps. */
static qa_run_state state_after(qa_trainer *t, size_t step) {
    use_order(t, step);
    return (qa_run_state){.parameters = t->parameters,
                          .m = t->m,
                          .v = t->v,
                          .count = t->count,
                          .order = t->order,
                          .items = t->items,
                          .unit = t->task->unit,
                          .step = step,
                          .total_steps = t->total_steps,
                          .epoch = t->epoch,
                          .items_done = t->task->items_done(t->user, step),
                          .evaluated = t->evaluated,
                          .watches = watches(t),
                          .best = t->best,
                          .resume_options = t->resume_options,
                          .logger = t->logger,
                          .config = t->config,
                          .write_model = t->task->write_model,
                          .save_state = t->task->save_state,
                          .load_state = t->task->load_state,
                          .user = t->user};
}

/* Writes checkpoint-DONE; metrics_bytes: the length of metrics.jsonl. */
static qa_status save_state(qa_trainer *t, size_t metrics_bytes, qa_error *err) {
    qa_run_state state = state_after(t, t->done);
    state.metrics_bytes = metrics_bytes;
    return qa_run_state_save(&state, t->options.out_dir, err);
}

/* What becomes of the learning rate of a run that is longer than it was planned. */
static void say_longer(const qa_trainer *t, size_t planned) {
    const qa_run_options *o = &t->options;
    const size_t warmup = qa_schedule_warmup(o->warmup_steps, o->warmup_ratio, planned);
    if (planned >= t->total_steps) {
        return;
    }
    if (o->schedule == QA_SCHEDULE_CONSTANT && warmup == t->warmup) {
        qa_log(t->logger, QA_LOG_INFO,
               "longer than planned: %zu steps, not %zu; the rate is constant, as in a run that "
               "was so long from the start",
               t->total_steps, planned);
        return;
    }
    qa_log(
        t->logger, QA_LOG_WARNING,
        "longer than planned: %zu steps, not %zu: from here the learning rate is that of step %zu of %zu (%s, warm-up "
        "%zu), which the first steps did not follow",
        t->total_steps, planned, t->done + 1, t->total_steps, qa_schedule_name(o->schedule), t->warmup);
}

static qa_status load_state(qa_trainer *t, size_t step, size_t *metrics_bytes, qa_error *err) {
    qa_run_state state = state_after(t, step);
    QA_TRY(qa_run_state_load(&state, t->options.out_dir, err));
    t->done = step;
    t->evaluated = state.evaluated;
    say_longer(t, state.planned_steps);
    t->best = watches(t) ? state.best : (qa_best){0};
    if (watches(t) && !t->best.found && t->options.eval_every > 0 && step >= t->options.eval_every) {
        qa_log(t->logger, QA_LOG_WARNING,
               "until step %zu evaluations were not compared: the best one is sought among those that follow", step);
    }
    *metrics_bytes = state.metrics_bytes;
    return QA_OK;
}

/* ---- beginning ---- */

/* training_config.json, and metrics.jsonl with its first `keep` bytes. */
static qa_status open_files(qa_trainer *t, size_t keep, qa_error *err) {
    char *config = NULL, *metrics = NULL;
    qa_status status = QA_OK;
    QA_GOTO(done, qa_join_path(&config, t->options.out_dir, "training_config.json", err));
    QA_GOTO(done, qa_join_path(&metrics, t->options.out_dir, "metrics.jsonl", err));
    QA_GOTO(done, qa_json_save(t->config, config, err));
    QA_GOTO(done, qa_metrics_open(&t->metrics, metrics, keep, err));
done:
    free(metrics);
    free(config);
    return status;
}

/* A checkpoint that cannot be read is never passed over in silence: what to do about it. */
static qa_status load_checkpoint(qa_trainer *t, const qa_run_folder *folder, size_t *keep, qa_error *err) {
    qa_error failure = {0};
    const qa_status status = load_state(t, folder->newest_step, keep, &failure);
    if (status == QA_OK || status == QA_ERR_MISMATCH || status == QA_ERR_MEMORY) {
        return status == QA_OK ? QA_OK : qa_fail(err, status, "%s", failure.message);
    }
    QA_FAIL_IF(folder->has_previous, err, status, "%s; to continue from %s%zu, remove %s/%s%zu", failure.message,
               QA_CHECKPOINT_PREFIX, folder->previous_step, t->options.out_dir, QA_CHECKPOINT_PREFIX,
               folder->newest_step);
    return qa_fail(err, status, "%s; no older checkpoint is there: start anew with --overwrite", failure.message);
}

/* metrics.jsonl must have the lines that it had when the checkpoint was written. */
static qa_status check_metrics(const qa_trainer *t, size_t step, size_t keep, qa_error *err) {
    char *path = NULL;
    QA_TRY(qa_join_path(&path, t->options.out_dir, "metrics.jsonl", err));
    struct stat info;
    const qa_dir_entry entry = qa_dir_entry_of(path);
    const bool there = fstatat(entry.folder, entry.name, &info, 0) == 0;
    qa_status status = QA_OK;
    if (keep > 0 && !there) {
        qa_log(t->logger, QA_LOG_WARNING, "%s is not there: the lines of the steps up to %zu are lost", path, step);
    } else if (there && (uintmax_t)info.st_size < keep) {
        status = qa_fail(err, QA_ERR_MISMATCH,
                         "%s has %jd bytes, but had %zu when %s%zu was written: lines are missing; put the whole file "
                         "back, or move it away to go on without them",
                         path, (intmax_t)info.st_size, keep, QA_CHECKPOINT_PREFIX, step);
    }
    free(path);
    return status;
}

/* The folder, and what its checkpoint holds. */
static qa_status begin_in_folder(qa_trainer *t, bool *continues, qa_error *err) {
    qa_run_folder folder = {0};
    size_t keep = 0;
    QA_TRY(qa_run_folder_lock(&t->lock, t->options.out_dir, t->options.resume, err));
    t->locked = t->lock >= 0;
    if (t->locked) {
        qa_hold_folder(&t->held, t->options.out_dir, t->lock);
    }
    QA_TRY(qa_run_folder_prepare(&folder, t->task->files, t->options.out_dir, t->options.overwrite, t->options.resume,
                                 err));
    t->replaced = folder.replaced;
    *continues = folder.has_checkpoint;
    if (folder.has_checkpoint) {
        QA_TRY(load_checkpoint(t, &folder, &keep, err));
        QA_TRY(check_metrics(t, folder.newest_step, keep, err));
        t->saved = folder.newest_step;
        qa_log(t->logger, QA_LOG_INFO, "continuing %s after step %zu of %zu", t->options.out_dir, t->done,
               t->total_steps);
    } else if (t->options.resume) {
        qa_log(t->logger, QA_LOG_WARNING,
               "the run in %s ended before its first checkpoint: starting from the beginning", t->options.out_dir);
    }
    return open_files(t, keep, err);
}

/* What the task adds to a checkpoint, of rank 0. */
static qa_status tell_task_state(qa_trainer *t, qa_error *err) {
    const bool first = qa_trainer_writes(t);
    json_t *own = NULL;
    if (t->task->save_state == NULL) {
        return QA_OK;
    }
    own = first ? t->task->save_state(t->user) : NULL;
    QA_FAIL_IF(first && own == NULL, err, QA_ERR_MEMORY, "out of memory for what rank 0 tells the others");
    qa_status status = qa_ranks_share_json(t->cluster, &own, err);
    if (status == QA_OK && !first) {
        status = t->task->load_state(t->user, own, "what rank 0 told", err);
    }
    json_decref(own);
    return status;
}

/* What rank 0 has loaded. */
static qa_status tell_loaded_state(qa_trainer *t, bool continues, qa_error *err) {
    struct {
        size_t continues, done, evaluated;
        qa_best best;
    } told;
    memset(&told, 0, sizeof told);
    told.continues = continues;
    told.done = t->done;
    told.evaluated = t->evaluated;
    told.best = t->best;
    QA_TRY(qa_cluster_share(t->cluster, &told, sizeof told, err));
    if (told.continues == 0) {
        return QA_OK;
    }
    t->done = t->saved = told.done;
    t->evaluated = told.evaluated != 0;
    t->best = told.best;
    qa_real *const arrays[] = {t->parameters, t->m, t->v};
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        QA_TRY(qa_cluster_share(t->cluster, arrays[i], t->count * sizeof *arrays[i], err));
    }
    return tell_task_state(t, err);
}

qa_status qa_trainer_begin(qa_trainer *t, qa_error *err) {
    bool continues = false;
    t->start = t->saved_at = qa_seconds();
    QA_TRY(qa_ranks_compare(t->cluster, t->config, t->weight_bytes, t->parameters, t->count, err));
    const qa_status status = qa_trainer_writes(t) ? begin_in_folder(t, &continues, err) : QA_OK;
    QA_TRY(qa_cluster_agree(t->cluster, status, err));
    return qa_cluster_ranks(t->cluster) == 1 ? QA_OK : tell_loaded_state(t, continues, err);
}

/* ---- metrics and checkpoints ---- */

bool qa_trainer_ended_early(const qa_trainer *t) {
    return t->watch.patience > 0 && t->best.since >= t->watch.patience && t->done < t->total_steps;
}

static bool is_over(const qa_trainer *t) { return t->done == t->total_steps || qa_trainer_ended_early(t); }

static bool is_due(const qa_trainer *t, size_t every) {
    return is_over(t) || (every > 0 && t->done > 0 && t->done % every == 0);
}

/* Compares the evaluation after `done` steps with those before it. */
static void compare_evaluation(qa_trainer *t) {
    const double value = t->task->measure(t->user), sign = t->watch.smaller ? -1.0 : 1.0;
    qa_best *best = &t->best;
    const bool first = !best->found;
    if (first || sign * (value - best->value) > 0.0) {
        best->value = value;
        best->step = t->done;
    }
    if (first || sign * (value - best->to_beat) > t->watch.min_delta) {
        best->to_beat = value;
        best->since = 0;
    } else {
        best->since++;
    }
    best->found = true;
}

/* The evaluation after `done` steps is the best one, and the run is to end with what it measured. */
static bool is_kept_best(const qa_trainer *t) {
    return t->watch.keep_best && t->evaluated && t->best.found && t->best.step == t->done;
}

/* After a write that failed: whether it is worth while to try once more. */
static bool gave_back(qa_trainer *t, const char *reason) {
    const bool more = t->task->give_back != NULL && t->task->give_back(t->user);
    if (more) {
        qa_log(t->logger, QA_LOG_WARNING,
               "%s; the base cache gives its room on the disk back for it, and the run goes on without", reason);
    }
    return more;
}

/* A failure is a warning and no reason to end the run: what could not be written is kept, and written before the next
 * line. */
static void append_line(qa_trainer *t, const qa_text *line) {
    qa_error failure = {0};
    if (!qa_trainer_writes(t)) {
        return;
    }
    qa_status status = qa_metrics_append(t->metrics, line, &failure);
    if (status == QA_ERR_IO && gave_back(t, failure.message)) {
        status = qa_metrics_flush(t->metrics, &failure);
    }
    if (status != QA_OK && !t->warned_metrics) {
        qa_log(t->logger, QA_LOG_WARNING, "%s; the run goes on, and lines are kept until they can be written",
               failure.message);
        t->warned_metrics = true;
    }
}

/* Brings metrics.jsonl to the disk, as far as that is possible; its length. */
static size_t sync_metrics(qa_trainer *t) {
    qa_error failure = {0};
    size_t bytes = 0;
    if (qa_metrics_sync(t->metrics, &bytes, &failure) != QA_OK && !t->warned_metrics) {
        qa_log(t->logger, QA_LOG_WARNING, "%s; the run goes on", failure.message);
        t->warned_metrics = true;
    }
    return bytes;
}

static void warn_prune(qa_trainer *t, qa_status status, const qa_error *failure) {
    if (status != QA_OK && !t->warned_prune) {
        qa_log(t->logger, QA_LOG_WARNING, "an old checkpoint stays: %s", failure->message);
        t->warned_prune = true;
    }
}

static qa_status write_checkpoint(qa_trainer *t, qa_error *err) {
    qa_error failure = {0};
    qa_status status = save_state(t, sync_metrics(t), &failure);
    if (status == QA_ERR_IO && gave_back(t, failure.message)) {
        status = save_state(t, sync_metrics(t), &failure);
    }
    t->saved_at = qa_seconds();
    QA_FAIL_IF(status != QA_OK, err, status, "%s", failure.message);
    t->saved = t->done;
    if (t->replaced) {
        warn_prune(t, qa_run_folder_forget_replaced(t->options.out_dir, &failure), &failure);
        t->replaced = false;
    }
    return QA_OK;
}

/* Removes the checkpoints that are not wanted any more; where that fails they stay. */
static void prune_checkpoints(qa_trainer *t) {
    qa_error failure = {0};
    const qa_kept_checkpoints kept = {.newest = t->options.save_total_limit,
                                      .best = watches(t) && t->best.found ? t->best.step : NONE,
                                      .every = t->watch.keep_best ? t->options.save_every : 1};
    if (t->saved_by_time != NONE && t->saved_by_time != t->saved && t->saved_by_time != kept.best) {
        warn_prune(t, qa_run_folder_remove_checkpoint(t->options.out_dir, t->saved_by_time, &failure), &failure);
        t->saved_by_time = NONE;
    }
    warn_prune(t, qa_run_folder_prune(t->options.out_dir, &kept, &failure), &failure);
}

/* Rank 0 does it, and the others only know of it. */
static qa_status save_and_prune(qa_trainer *t, qa_error *err) {
    if (!qa_trainer_writes(t)) {
        t->saved = t->done;
        return QA_OK;
    }
    if (t->saved != t->done) {
        QA_TRY(write_checkpoint(t, err));
    }
    prune_checkpoints(t); /* also when a run before this one was ended between the two */
    return QA_OK;
}

/* A checkpoint because the last one is too long ago: that it cannot be written is no reason to end. */
static void save_by_time(qa_trainer *t) {
    qa_error failure = {0};
    if (!qa_trainer_writes(t) || t->options.save_minutes <= 0.0 || t->done == 0 || t->saved == t->done ||
        qa_seconds() - t->saved_at < 60.0 * t->options.save_minutes) {
        return;
    }
    if (save_and_prune(t, &failure) == QA_OK) {
        t->saved_by_time = t->done;
        qa_log(t->logger, QA_LOG_INFO, "checkpoint of step %zu, since %.0f seconds have passed", t->done,
               60.0 * t->options.save_minutes);
    } else {
        qa_log(t->logger, QA_LOG_WARNING, "%s; the run goes on", failure.message);
    }
}

/* The last lines. */
static void end_metrics(qa_trainer *t) {
    qa_error failure = {0};
    if (qa_trainer_writes(t) && qa_metrics_flush(t->metrics, &failure) != QA_OK) {
        qa_log(t->logger, QA_LOG_WARNING, "%s; the lines of %zu steps and evaluations are missing in it",
               failure.message, qa_metrics_missing(t->metrics));
    }
}

static bool in_state(const qa_trainer *t, qa_held_state state) {
    return t->locked && qa_held_folder_state(&t->held) == state;
}

/* Where the folder is now (free it), or NULL when it is where it was, or nobody knows. */
static char *moved_to(const qa_trainer *t) { return in_state(t, QA_HELD_MOVED) ? qa_held_folder_path(&t->held) : NULL; }

static void warn_moved(const qa_trainer *t) {
    if (in_state(t, QA_HELD_MOVED)) {
        char *now = moved_to(t);
        qa_log(t->logger, QA_LOG_WARNING,
               "%s was moved while the run wrote into it; all that the run leaves is in the moved folder%s%s",
               t->options.out_dir, now == NULL ? "" : ", ", now == NULL ? "" : now);
        free(now);
    }
}

/* Nothing can be saved any more: better now than after the last step. */
static qa_status check_not_removed(const qa_trainer *t, qa_error *err) {
    return in_state(t, QA_HELD_REMOVED)
               ? qa_fail(err, QA_ERR_IO,
                         "%s was removed while the run wrote into it: the run ends after step %zu of %zu, and nothing "
                         "of it is left",
                         t->options.out_dir, t->done, t->total_steps)
               : QA_OK;
}

static qa_status stopped(qa_trainer *t, qa_error *err) {
    if (t->done == 0) {
        if (qa_trainer_writes(t)) {
            (void)sync_metrics(t);
        }
        return qa_fail(err, QA_ERR_INTERRUPTED, "stopped before the first of %zu steps was done", t->total_steps);
    }
    const qa_status removed = check_not_removed(t, err);
    QA_TRY(qa_cluster_agree(t->cluster, removed == QA_OK ? save_and_prune(t, err) : removed, err));
    char *now = moved_to(t);
    const qa_status status =
        qa_fail(err, QA_ERR_INTERRUPTED, "stopped after step %zu of %zu; --resume continues from %s/%s%zu", t->done,
                t->total_steps, now == NULL ? t->options.out_dir : now, QA_CHECKPOINT_PREFIX, t->done);
    free(now);
    return status;
}

/* ---- the steps ---- */

qa_parameter_location qa_weight_location(const qa_trainable *trainable, size_t i) {
    const qa_parameter_tensor *tensor = qa_trainable_tensor_at(trainable, i);
    const size_t columns = tensor->columns == 0 ? 1 : tensor->columns;
    return (qa_parameter_location){tensor->name, (i - tensor->offset) / columns, (i - tensor->offset) % columns};
}

/* QA_ERR_NAN naming tensor and element when one of values[count] is not finite. */
qa_status qa_trainer_check_finite(const qa_trainer *t, const char *what, const qa_real *values, qa_error *err) {
    const size_t i = qa_first_not_finite(values, t->count);
    if (i == t->count) {
        return QA_OK;
    }
    const qa_parameter_location at = t->task->locate(t->user, i);
    return qa_fail(err, QA_ERR_NAN, "%s%s[%zu, %zu] is %g", what, at.tensor, at.row, at.column, (double)values[i]);
}

static size_t updates_of(const qa_trainer *t) { return t->updates == 0 ? 1 : t->updates; }

/* Clips and applies the gradient; nothing is changed when it is not finite. */
static qa_status apply_gradient(qa_trainer *t, qa_step_metrics *metrics, qa_error *err) {
    const qa_run_options *o = &t->options;
    const double norm = qa_gradient_norm(t->pool, t->gradient, t->count, t->partial);
    metrics->grad_norm = fmax(metrics->grad_norm, norm);
    metrics->learning_rate =
        t->has_least_rate
            ? qa_schedule_rate_above(o->schedule, o->learning_rate, t->least_rate, t->warmup, t->total_steps, t->done)
            : qa_schedule_rate(o->schedule, o->learning_rate, t->warmup, t->total_steps, t->done);
    if (!isfinite(norm)) {
        QA_TRY(qa_trainer_check_finite(t, "gradient of ", t->gradient, err));
        return qa_fail(err, QA_ERR_NAN, "the gradient's norm is %g", norm);
    }
    qa_adamw adamw = {.beta1 = o->adam_beta1,
                      .beta2 = o->adam_beta2,
                      .epsilon = o->adam_epsilon,
                      .weight_decay = o->weight_decay,
                      .learning_rate = metrics->learning_rate,
                      .step = t->done * updates_of(t) + t->update + 1,
                      .clip = qa_clip_factor(norm, o->max_grad_norm)};
    const size_t at = t->decayed;
    qa_adamw_step(t->pool, t->parameters, t->m, t->v, t->gradient, at, &adamw);
    adamw.weight_decay = 0.0;
    if (at < t->count) {
        qa_adamw_step(t->pool, t->parameters + at, t->m + at, t->v + at, t->gradient + at, t->count - at, &adamw);
    }
    return qa_trainer_check_finite(t, "after the update, ", t->parameters, err);
}

/* Writes the line and lets the caller look at it; *stop: it wants to end. */
static qa_status report(qa_trainer *t, qa_step_metrics *metrics, double began, bool *stop, qa_error *err) {
    const double now = qa_seconds();
    qa_text line = {0};
    metrics->step = t->done;
    metrics->total_steps = t->total_steps;
    metrics->tokens_per_second = now > began ? (double)metrics->tokens / (now - began) : 0.0;
    metrics->seconds = now - t->start;
    metrics->ranks = qa_cluster_ranks(t->cluster);
    QA_TRY(qa_rank_notes_round(&t->notes, &metrics->waited_seconds, err));
    const qa_status status = t->task->line(t->user, metrics, &line, err);
    if (status == QA_OK) {
        append_line(t, &line);
        *stop = !t->task->goes_on(t->user);
    }
    qa_text_free(&line);
    QA_TRY(status);
    return qa_cluster_any(t->cluster, stop, err);
}

static qa_status do_step(qa_trainer *t, bool *stop, qa_error *err) {
    const double began = qa_seconds();
    qa_step_metrics metrics = {0};
    use_order(t, t->done);
    for (t->update = 0; t->update < updates_of(t); t->update++) {
        if (t->leaves == 0) {
            memset(t->gradient, 0, t->count * sizeof *t->gradient);
        }
        QA_TRY(t->task->gradient(t->user, &metrics.tokens, err));
        QA_TRY(qa_prefixed(apply_gradient(t, &metrics, err), err, "step %zu: ", t->done + 1));
    }
    t->done++;
    t->evaluated = false;
    return report(t, &metrics, began, stop, err);
}

static qa_status evaluate_now(qa_trainer *t, bool *stop, qa_error *err) {
    const double began = qa_seconds();
    qa_step_metrics metrics = {.is_evaluation = true};
    QA_TRY(qa_prefixed(t->task->evaluate(t->user, &metrics.tokens, err), err, "evaluation after step %zu: ", t->done));
    t->evaluated = true;
    if (watches(t)) {
        compare_evaluation(t);
    }
    return report(t, &metrics, began, stop, err);
}

/* Evaluation, checkpoint and step, each if it is due; *stop: the caller wants to end. */
static qa_status do_what_is_due(qa_trainer *t, bool *stop, qa_error *err) {
    QA_TRY(check_not_removed(t, err));
    if (t->evaluates && !t->evaluated && is_due(t, t->options.eval_every)) {
        QA_TRY(evaluate_now(t, stop, err));
    }
    if (*stop) {
        return QA_OK;
    }
    if (is_due(t, t->options.save_every) || is_kept_best(t)) {
        QA_TRY(qa_cluster_agree(t->cluster, save_and_prune(t, err), err));
    } else {
        save_by_time(t);
    }
    return is_over(t) ? QA_OK : do_step(t, stop, err);
}

static qa_status all_steps(qa_trainer *t, qa_error *err) {
    for (;;) {
        bool stop = false;
        const size_t before = t->done;
        const qa_status status = do_what_is_due(t, &stop, err);
        if ((stop && status == QA_OK) || status == QA_ERR_INTERRUPTED) {
            return stopped(t, err);
        }
        QA_TRY(status);
        if (t->done == before) {
            end_metrics(t);
            return QA_OK;
        }
    }
}

qa_status qa_trainer_run(qa_trainer *t, qa_error *err) {
    const qa_status status = all_steps(t, err);
    if (status == QA_OK || status == QA_ERR_INTERRUPTED) {
        qa_rank_notes_say(&t->notes, qa_seconds() - t->start);
    }
    warn_moved(t);
    return status;
}

qa_status qa_trainer_use_best(qa_trainer *t, qa_error *err) {
    if (t->best.step == t->done) {
        return QA_OK;
    }
    if (qa_trainer_writes(t)) {
        qa_run_state state = state_after(t, t->best.step);
        QA_TRY(qa_prefixed(qa_run_state_load(&state, t->options.out_dir, err), err, "the best evaluation's adapter: "));
    }
    return qa_cluster_share(t->cluster, t->parameters, t->count * sizeof *t->parameters, err);
}

/* The run ended before it had anything to keep: the one that it was to replace is put back. */
static void undo_replacing(qa_trainer *t) {
    qa_error failure = {0};
    if (!t->replaced) {
        return;
    }
    if (qa_run_folder_bring_back(t->task->files, t->options.out_dir, &failure) == QA_OK) {
        qa_log(t->logger, QA_LOG_WARNING, "%s holds the run of before again: the new one ended without a checkpoint",
               t->options.out_dir);
    } else {
        qa_log(t->logger, QA_LOG_WARNING, "the run of before is still in %s/%s: %s", t->options.out_dir,
               QA_REPLACED_RUN_NAME, failure.message);
    }
    t->replaced = false;
}

void qa_trainer_free(qa_trainer *t) {
    qa_metrics_close(t->metrics);
    undo_replacing(t);
    if (t->locked) {
        qa_let_folder_go(&t->held);
        (void)close(t->lock); /* which unlocks */
    }
    qa_rank_notes_free(&t->notes);
    qa_arena_free(&t->arena);
    free(t->order);
}
