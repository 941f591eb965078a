/* See course.h. */
#include "train/course.h"

#include "base/clock.h"
#include "base/try.h"
#include "io/file.h"

#include <stdint.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const size_t NONE = (size_t)-1;

/* ---- beginning ---- */

static qa_status write_config(const qa_course *c, qa_error *err) {
    char *path = qa_path_join(c->out_dir, "training_config.json");
    const qa_status status =
        path == NULL ? qa_fail(err, QA_ERR_MEMORY, "out of memory for a path") : qa_json_save(c->config, path, err);
    free(path);
    return status;
}

static qa_status open_metrics(qa_course *c, size_t keep, qa_error *err) {
    char *path = qa_path_join(c->out_dir, "metrics.jsonl");
    const qa_status status = path == NULL ? qa_fail(err, QA_ERR_MEMORY, "out of memory for a path")
                                          : qa_metrics_open(&c->metrics, path, keep, err);
    free(path);
    return status;
}

/* A checkpoint that cannot be read is never passed over in silence: what to do about it. */
static qa_status load_checkpoint(qa_course *c, const qa_run_folder *folder, size_t *keep, qa_error *err) {
    qa_error failure = {0};
    const qa_status status = c->load(c->user, folder->newest_step, keep, &failure);
    if (status == QA_OK || status == QA_ERR_MISMATCH || status == QA_ERR_MEMORY) {
        return status == QA_OK ? QA_OK : qa_fail(err, status, "%s", failure.message);
    }
    if (folder->has_previous) {
        return qa_fail(err, status, "%s; to continue from %s%zu, remove %s/%s%zu", failure.message,
                       QA_CHECKPOINT_PREFIX, folder->previous_step, c->out_dir, QA_CHECKPOINT_PREFIX,
                       folder->newest_step);
    }
    return qa_fail(err, status, "%s; no older checkpoint is there: start anew with --overwrite", failure.message);
}

/* metrics.jsonl must have the lines that it had when the checkpoint was written. */
static qa_status check_metrics(const qa_course *c, size_t step, size_t keep, qa_error *err) {
    char *path = qa_path_join(c->out_dir, "metrics.jsonl");
    if (path == NULL) {
        return qa_fail(err, QA_ERR_MEMORY, "out of memory for a path");
    }
    struct stat info;
    const qa_place place = qa_place_of(path);
    const bool there = fstatat(place.folder, place.name, &info, 0) == 0;
    qa_status status = QA_OK;
    if (keep > 0 && !there) {
        qa_log(c->logger, QA_LOG_WARNING, "%s is not there: the lines of the steps up to %zu are lost", path, step);
    } else if (there && (uintmax_t)info.st_size < keep) {
        status = qa_fail(err, QA_ERR_MISMATCH,
                         "%s has %jd bytes, but had %zu when %s%zu was written: lines are missing; put the whole file "
                         "back, or move it away to go on without them",
                         path, (intmax_t)info.st_size, keep, QA_CHECKPOINT_PREFIX, step);
    }
    free(path);
    return status;
}

qa_status qa_course_begin(qa_course *c, qa_error *err) {
    qa_run_folder folder = {0};
    size_t keep = 0;
    c->start = qa_seconds();
    c->saved = c->by_time = NONE;
    c->saved_at = c->start;
    c->lock = -1;
    QA_TRY(qa_run_folder_lock(&c->lock, c->out_dir, c->resume, err));
    if (c->lock >= 0) {
        qa_hold_folder(&c->held, c->out_dir, c->lock);
    }
    QA_TRY(qa_run_folder_prepare(&folder, c->files, c->out_dir, c->overwrite, c->resume, err));
    c->replaced = folder.replaced;
    if (folder.has_checkpoint) {
        QA_TRY(load_checkpoint(c, &folder, &keep, err));
        QA_TRY(check_metrics(c, folder.newest_step, keep, err));
        c->saved = folder.newest_step;
        qa_log(c->logger, QA_LOG_INFO, "continuing %s after step %zu of %zu", c->out_dir, c->done, c->total_steps);
    } else if (c->resume) {
        qa_log(c->logger, QA_LOG_WARNING,
               "the run in %s ended before its first checkpoint: starting from the beginning", c->out_dir);
    }
    QA_TRY(write_config(c, err));
    return open_metrics(c, keep, err);
}

/* ---- the steps ---- */

static bool due(const qa_course *c, size_t every) {
    return c->done == c->total_steps || (every > 0 && c->done > 0 && c->done % every == 0);
}

/* After a write that failed: whether it is worth while to try once more. */
static bool gave_back(qa_course *c, const char *reason) {
    const bool more = c->give_back != NULL && c->give_back(c->user);
    if (more) {
        qa_log(c->logger, QA_LOG_WARNING,
               "%s; the base cache gives its room on the disk back for it, and the run goes on without", reason);
    }
    return more;
}

void qa_course_metrics(qa_course *c, const qa_text *line) {
    qa_error failure = {0};
    qa_status status = qa_metrics_append(c->metrics, line, &failure);
    if (status == QA_ERR_IO && gave_back(c, failure.message)) {
        status = qa_metrics_flush(c->metrics, &failure);
    }
    if (status != QA_OK && !c->told_metrics) {
        qa_log(c->logger, QA_LOG_WARNING, "%s; the run goes on, and lines are kept until they can be written",
               failure.message);
        c->told_metrics = true;
    }
}

/* Brings metrics.jsonl to the disk, as far as that is possible; its length. */
static size_t sync_metrics(qa_course *c) {
    qa_error failure = {0};
    size_t bytes = 0;
    if (qa_metrics_sync(c->metrics, &bytes, &failure) != QA_OK && !c->told_metrics) {
        qa_log(c->logger, QA_LOG_WARNING, "%s; the run goes on", failure.message);
        c->told_metrics = true;
    }
    return bytes;
}

static void tell_prune(qa_course *c, qa_status status, const qa_error *failure) {
    if (status != QA_OK && !c->told_prune) {
        qa_log(c->logger, QA_LOG_WARNING, "an old checkpoint stays: %s", failure->message);
        c->told_prune = true;
    }
}

static qa_status write_checkpoint(qa_course *c, qa_error *err) {
    qa_error failure = {0};
    qa_status status = c->save(c->user, sync_metrics(c), &failure);
    if (status == QA_ERR_IO && gave_back(c, failure.message)) {
        status = c->save(c->user, sync_metrics(c), &failure);
    }
    c->saved_at = qa_seconds();
    if (status != QA_OK) {
        return qa_fail(err, status, "%s", failure.message);
    }
    c->saved = c->done;
    if (c->replaced) {
        tell_prune(c, qa_run_folder_forget_replaced(c->out_dir, &failure), &failure);
        c->replaced = false;
    }
    return QA_OK;
}

/* Removes the checkpoints that are not wanted any more; where that fails they stay. */
static void prune(qa_course *c) {
    qa_error failure = {0};
    if (c->by_time != NONE && c->by_time != c->saved) {
        tell_prune(c, qa_run_folder_remove_checkpoint(c->out_dir, c->by_time, &failure), &failure);
        c->by_time = NONE;
    }
    tell_prune(c, qa_run_folder_prune(c->out_dir, c->save_total_limit, &failure), &failure);
}

static qa_status save(qa_course *c, qa_error *err) {
    if (c->saved != c->done) {
        QA_TRY(write_checkpoint(c, err));
    }
    prune(c); /* also when a run before this one was ended between the two */
    return QA_OK;
}

/* A checkpoint because the last one is too long ago: that it cannot be written is no reason to end. */
static void save_by_time(qa_course *c) {
    qa_error failure = {0};
    if (c->save_seconds <= 0.0 || c->done == 0 || c->saved == c->done || qa_seconds() - c->saved_at < c->save_seconds) {
        return;
    }
    if (save(c, &failure) == QA_OK) {
        c->by_time = c->done;
        qa_log(c->logger, QA_LOG_INFO, "checkpoint of step %zu, since %.0f seconds have passed", c->done,
               c->save_seconds);
    } else {
        qa_log(c->logger, QA_LOG_WARNING, "%s; the run goes on", failure.message);
    }
}

/* The last lines. */
static void end_metrics(qa_course *c) {
    qa_error failure = {0};
    if (qa_metrics_flush(c->metrics, &failure) != QA_OK) {
        qa_log(c->logger, QA_LOG_WARNING, "%s; the lines of %zu steps and evaluations are missing in it",
               failure.message, qa_metrics_missing(c->metrics));
    }
}

static bool in_state(const qa_course *c, qa_held_state state) {
    return c->lock >= 0 && qa_held_folder_state(&c->held) == state;
}

/* Where the folder is now (free it), or NULL when it is where it was, or nobody knows. */
static char *moved_to(const qa_course *c) { return in_state(c, QA_HELD_MOVED) ? qa_held_folder_path(&c->held) : NULL; }

static void tell_moved(const qa_course *c) {
    if (in_state(c, QA_HELD_MOVED)) {
        char *now = moved_to(c);
        qa_log(c->logger, QA_LOG_WARNING,
               "%s was moved while the run wrote into it; all that the run leaves is in the moved folder%s%s",
               c->out_dir, now == NULL ? "" : ", ", now == NULL ? "" : now);
        free(now);
    }
}

/* Nothing can be saved any more: better now than after the last step. */
static qa_status check_folder(const qa_course *c, qa_error *err) {
    return in_state(c, QA_HELD_REMOVED)
               ? qa_fail(err, QA_ERR_IO,
                         "%s was removed while the run wrote into it: the run ends after step %zu of %zu, and nothing "
                         "of it is left",
                         c->out_dir, c->done, c->total_steps)
               : QA_OK;
}

static qa_status stopped(qa_course *c, qa_error *err) {
    if (c->done == 0) {
        (void)sync_metrics(c);
        return qa_fail(err, QA_ERR_INTERRUPTED, "stopped before the first of %zu steps was done", c->total_steps);
    }
    QA_TRY(check_folder(c, err));
    QA_TRY(save(c, err));
    char *now = moved_to(c);
    const qa_status status =
        qa_fail(err, QA_ERR_INTERRUPTED, "stopped after step %zu of %zu; --resume continues from %s/%s%zu", c->done,
                c->total_steps, now == NULL ? c->out_dir : now, QA_CHECKPOINT_PREFIX, c->done);
    free(now);
    return status;
}

/* Evaluation, checkpoint and step, each if it is due; *stop: the caller wants to end. */
static qa_status advance(qa_course *c, bool *stop, qa_error *err) {
    QA_TRY(check_folder(c, err));
    if (c->evaluates && !c->evaluated && due(c, c->eval_every)) {
        QA_TRY(c->evaluate(c->user, stop, err));
    }
    if (*stop) {
        return QA_OK;
    }
    if (due(c, c->save_every)) {
        QA_TRY(save(c, err));
    } else {
        save_by_time(c);
    }
    return c->done == c->total_steps ? QA_OK : c->step(c->user, stop, err);
}

static qa_status all_steps(qa_course *c, qa_error *err) {
    for (;;) {
        bool stop = false;
        const bool last = c->done == c->total_steps;
        const qa_status status = advance(c, &stop, err);
        if (stop || status == QA_ERR_INTERRUPTED) {
            return stopped(c, err);
        }
        QA_TRY(status);
        if (last) {
            end_metrics(c);
            return QA_OK;
        }
    }
}

qa_status qa_course_run(qa_course *c, qa_error *err) {
    const qa_status status = all_steps(c, err);
    tell_moved(c);
    return status;
}

/* The run ended before it had anything to keep: the one that it was to replace is put back. */
static void undo_replacing(qa_course *c) {
    qa_error failure = {0};
    if (!c->replaced) {
        return;
    }
    if (qa_run_folder_bring_back(c->files, c->out_dir, &failure) == QA_OK) {
        qa_log(c->logger, QA_LOG_WARNING, "%s holds the run of before again: the new one ended without a checkpoint",
               c->out_dir);
    } else {
        qa_log(c->logger, QA_LOG_WARNING, "the run of before is still in %s/%s: %s", c->out_dir, QA_REPLACED_RUN_NAME,
               failure.message);
    }
    c->replaced = false;
}

void qa_course_end(qa_course *c) {
    qa_metrics_close(c->metrics);
    c->metrics = NULL;
    undo_replacing(c);
    if (c->lock >= 0) {
        qa_let_folder_go(&c->held);
        (void)close(c->lock); /* which unlocks */
    }
    c->lock = -1;
}
