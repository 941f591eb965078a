/* See course.h. */
#include "train/course.h"

#include "base/clock.h"
#include "base/try.h"
#include "io/file.h"

#include <stdlib.h>
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

qa_status qa_course_begin(qa_course *c, qa_error *err) {
    qa_run_folder folder = {0};
    size_t keep = 0;
    c->start = qa_seconds();
    c->saved = NONE;
    c->lock = -1;
    QA_TRY(qa_run_folder_lock(&c->lock, c->out_dir, c->resume, err));
    QA_TRY(qa_run_folder_prepare(&folder, c->files, c->out_dir, c->overwrite, c->resume, err));
    if (folder.has_checkpoint) {
        QA_TRY(c->load(c->user, folder.newest_step, &keep, err));
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

static qa_status save(qa_course *c, qa_error *err) {
    size_t metrics_bytes = 0;
    if (c->saved == c->done) {
        return QA_OK;
    }
    QA_TRY(qa_metrics_sync(c->metrics, &metrics_bytes, err));
    QA_TRY(c->save(c->user, metrics_bytes, err));
    c->saved = c->done;
    return qa_run_folder_prune(c->out_dir, c->save_total_limit, err);
}

static qa_status stopped(qa_course *c, qa_error *err) {
    QA_TRY(save(c, err));
    return qa_fail(err, QA_ERR_INTERRUPTED, "stopped after step %zu of %zu; --resume continues from %s/%s%zu", c->done,
                   c->total_steps, c->out_dir, QA_CHECKPOINT_PREFIX, c->done);
}

qa_status qa_course_run(qa_course *c, qa_error *err) {
    for (;;) {
        bool stop = false;
        if (c->evaluates && !c->evaluated && due(c, c->eval_every)) {
            QA_TRY(c->evaluate(c->user, &stop, err));
        }
        if (!stop && due(c, c->save_every)) {
            QA_TRY(save(c, err));
        }
        if (!stop && c->done == c->total_steps) {
            return QA_OK;
        }
        if (!stop) {
            QA_TRY(c->step(c->user, &stop, err));
        }
        if (stop) {
            return stopped(c, err);
        }
    }
}

void qa_course_end(qa_course *c) {
    qa_metrics_close(c->metrics);
    c->metrics = NULL;
    if (c->lock >= 0) {
        (void)close(c->lock); /* which unlocks */
    }
    c->lock = -1;
}
