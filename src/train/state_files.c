/* See state_files.h. */
#include "train/state_files.h"

#include "base/memory.h"
#include "base/rng.h"
#include "base/try.h"
#include "io/dtype.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "train/run_folder.h"
#include "train/training_config.h"

#include <stdio.h>
#include <string.h>

static const char state_name[] = "run_state.json";
static const char tensors_name[] = "run_state.safetensors";
/* Their names before: the first is that of another program's file, which has other content. */
static const char old_state_name[] = "trainer_state.json";
static const char old_tensors_name[] = "trainer_state.safetensors";
static const char config_name[] = "training_config.json";

/* A word that changes with any bit of any of the numbers. */
static uint64_t checksum_reals(uint64_t sum, const qa_real *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint64_t bits = 0;
        memcpy(&bits, &x[i], sizeof x[i]);
        sum = qa_hash(sum, bits);
    }
    return sum;
}

static uint64_t state_checksum(const qa_real *parameters, const qa_real *m, const qa_real *v, size_t count) {
    return checksum_reals(checksum_reals(checksum_reals(count, parameters, count), m, count), v, count);
}

/* ---- writing ---- */

static qa_status add_reals(qa_safetensors_writer *writer, const char *name, const qa_real *x, size_t count,
                           qa_error *err) {
    const size_t shape[1] = {count};
    return qa_safetensors_writer_add_real(writer, name, QA_DTYPE_REAL, 1, shape, x, err);
}

static qa_status write_tensors(const qa_run_state *s, const int64_t *order, const char *path, qa_error *err) {
    qa_safetensors_writer *writer = NULL;
    const size_t shape[1] = {s->items};
    qa_status status = QA_OK;
    QA_GOTO(end, qa_safetensors_writer_create(&writer, err));
    QA_GOTO(end, add_reals(writer, "parameters", s->parameters, s->count, err));
    QA_GOTO(end, add_reals(writer, "exp_avg", s->m, s->count, err));
    QA_GOTO(end, add_reals(writer, "exp_avg_sq", s->v, s->count, err));
    QA_GOTO(end, qa_safetensors_writer_add_int64(writer, "data_order", 1, shape, order, err));
    QA_GOTO(end, qa_safetensors_writer_save(writer, path, err));
end:
    qa_safetensors_writer_free(writer);
    return status;
}

static qa_status save_state_tensors(const qa_run_state *s, const char *path, qa_error *err) {
    int64_t *order = NULL;
    QA_TRY(QA_NEW(order, s->items, err, "the order of %zu %s", s->items, s->unit));
    for (size_t i = 0; i < s->items; i++) {
        order[i] = (int64_t)s->order[i];
    }
    const qa_status status = write_tensors(s, order, path, err);
    free(order);
    return status;
}

/* "pairs_done_in_epoch" */
enum { KEY_BYTES = 64 };
static void done_key(char key[KEY_BYTES], const qa_run_state *s) {
    (void)snprintf(key, KEY_BYTES, "%s_done_in_epoch", s->unit);
}

static const char best_key[] = "best_evaluation";
static const char own_key[] = "method_state"; /* what the task adds */

/* NULL, which no member comes of: evaluations are not compared, or there was none. */
static json_t *best_json(const qa_run_state *s) {
    return !s->watches || !s->best.found
               ? NULL
               : json_pack("{s:I, s:f, s:f, s:I}", "step", (json_int_t)s->best.step, "value", s->best.value, "to_beat",
                           s->best.to_beat, "evaluations_since", (json_int_t)s->best.since);
}

static qa_status read_best(qa_best *best, const json_t *root, const char *path, qa_error *err) {
    json_t *object = NULL;
    *best = (qa_best){0};
    QA_TRY(qa_json_get_object(root, best_key, false, path, &object, err));
    if (object == NULL) {
        return QA_OK;
    }
    QA_TRY(qa_json_get_size(object, "step", true, path, &best->step, err));
    QA_TRY(qa_json_get_double(object, "value", true, path, &best->value, err));
    QA_TRY(qa_json_get_double(object, "to_beat", true, path, &best->to_beat, err));
    QA_TRY(qa_json_get_size(object, "evaluations_since", true, path, &best->since, err));
    best->found = true;
    return QA_OK;
}

static json_t *state_json(const qa_run_state *s) {
    char sum[QA_HEX_BYTES];
    char key[KEY_BYTES];
    done_key(key, s);
    qa_hex64(sum, state_checksum(s->parameters, s->m, s->v, s->count));
    json_t *own = s->save_state == NULL ? NULL : s->save_state(s->user);
    if (s->save_state != NULL && own == NULL) {
        return NULL;
    }
    return json_pack("{s:i, s:I, s:I, s:I, s:I, s:b, s:I, s:s, s:s, s:o*, s:o*, s:O}", "format_version",
                     QA_CHECKPOINT_VERSION, "step", (json_int_t)s->step, "total_steps", (json_int_t)s->total_steps,
                     "epoch", (json_int_t)s->epoch, key, (json_int_t)s->items_done, "evaluated", (int)s->evaluated,
                     "metrics_bytes", (json_int_t)s->metrics_bytes, "random",
                     "no stream is open between steps: data order from (seed, epoch), dropout from (seed, step, place "
                     "in the step)",
                     "checksum", sum, best_key, best_json(s), own_key, own, "options", s->resume_options);
}

static qa_status save_json(const json_t *root, const char *dir, const char *name, qa_error *err) {
    char *path = qa_path_join(dir, name);
    const qa_status status =
        root == NULL || path == NULL ? QA_NO_MEMORY(err, "%s", name) : qa_json_save(root, path, err);
    free(path);
    return status;
}

static qa_status write_folder(const qa_run_state *s, const char *dir, qa_error *err) {
    QA_TRY(qa_make_dirs(dir, err));
    QA_TRY(s->write_model(s->user, dir, err));
    QA_TRY(save_json(s->config, dir, config_name, err));
    char *tensors = qa_path_join(dir, tensors_name);
    qa_status status = tensors == NULL ? QA_NO_MEMORY(err, "%s", tensors_name) : save_state_tensors(s, tensors, err);
    free(tensors);
    if (status != QA_OK) {
        return status;
    }
    json_t *state = state_json(s);
    status = save_json(state, dir, state_name, err);
    json_decref(state);
    return status;
}

qa_status qa_run_state_save(const qa_run_state *s, const char *out_dir, qa_error *err) {
    char *temporary = qa_checkpoint_path(out_dir, QA_CHECKPOINT_TMP_PREFIX, s->step);
    char *final = qa_checkpoint_path(out_dir, QA_CHECKPOINT_PREFIX, s->step);
    qa_status status = QA_OK;
    if (temporary == NULL || final == NULL) {
        status = QA_NO_MEMORY(err, "a checkpoint's path");
        goto end;
    }
    QA_GOTO(remove, write_folder(s, temporary, err));
    QA_GOTO(remove, qa_rename(temporary, final, err));
    goto end;
remove:
    qa_error_prefix(err, "checkpoint of step %zu: ", s->step);
    if (qa_remove_tree(temporary, NULL) != QA_OK) {
        /* the next run removes it */
    }
end:
    free(temporary);
    free(final);
    return status;
}

/* ---- reading ---- */

/* What run_state.json says. */
typedef struct stored_state {
    size_t step, total_steps, epoch, items_done, metrics_bytes;
    bool evaluated;
    qa_best best;
    const char *checksum;
} stored_state;

static qa_status read_state(stored_state *stored, const qa_run_state *s, const json_t *root, const char *path,
                            qa_error *err) {
    size_t version = 0;
    json_t *options = NULL;
    char key[KEY_BYTES];
    QA_FAIL_IF(!json_is_object(root), err, QA_ERR_FORMAT, "%s: expected a JSON object", path);
    QA_TRY(qa_json_get_size(root, "format_version", true, path, &version, err));
    QA_FAIL_IF(version != QA_CHECKPOINT_VERSION, err, QA_ERR_UNSUPPORTED,
               "%s: format version %zu, this qadapter reads %d", path, version, (int)QA_CHECKPOINT_VERSION);
    done_key(key, s);
    QA_TRY(qa_json_get_object(root, "options", true, path, &options, err));
    QA_TRY(qa_resume_options_check(options, s->resume_options, path, s->logger, err));
    QA_TRY(qa_json_get_size(root, "step", true, path, &stored->step, err));
    QA_TRY(qa_json_get_size(root, "total_steps", true, path, &stored->total_steps, err));
    QA_TRY(qa_json_get_size(root, "epoch", true, path, &stored->epoch, err));
    QA_TRY(qa_json_get_size(root, key, true, path, &stored->items_done, err));
    QA_TRY(qa_json_get_bool(root, "evaluated", true, path, &stored->evaluated, err));
    QA_TRY(qa_json_get_size(root, "metrics_bytes", true, path, &stored->metrics_bytes, err));
    QA_TRY(read_best(&stored->best, root, path, err));
    return qa_json_get_string(root, "checksum", true, path, &stored->checksum, err);
}

/* A run may get longer than it was planned, and is then what its own schedule makes of the steps that are left. */
static qa_status check_planned(const stored_state *stored, const qa_run_state *s, const char *path, qa_error *err) {
    QA_FAIL_IF(s->total_steps < stored->total_steps, err, QA_ERR_MISMATCH,
               "cannot resume: the run is %zu steps long now but was %zu before (%s); a run can be lengthened, not "
               "shortened: give at least as many --epochs or --max-steps, or start anew with --overwrite",
               s->total_steps, stored->total_steps, path);
    return QA_OK;
}

static qa_status check_state(const stored_state *stored, const qa_run_state *s, const char *path, qa_error *err) {
    QA_TRY(check_planned(stored, s, path, err));
    QA_FAIL_IF(stored->step != s->step || s->step > s->total_steps || stored->epoch != s->epoch ||
                   stored->items_done != s->items_done,
               err, QA_ERR_FORMAT,
               "%s: step %zu of %zu, epoch %zu, %zu %s into it; the folder's name and the options make that "
               "step %zu of %zu, epoch %zu, %zu %s",
               path, stored->step, stored->total_steps, stored->epoch, stored->items_done, s->unit, s->step,
               s->total_steps, s->epoch, s->items_done, s->unit);
    QA_FAIL_IF(stored->best.step > s->step, err, QA_ERR_FORMAT, "%s: the best evaluation, after step %zu, is to come",
               path, stored->best.step);
    return QA_OK;
}

static qa_status find_tensor(const qa_tensor **tensor, const qa_safetensors *file, const char *name, size_t count,
                             qa_error *err) {
    *tensor = qa_safetensors_find(file, name);
    QA_FAIL_IF(*tensor == NULL, err, QA_ERR_FORMAT, "%s: no tensor \"%s\"", qa_safetensors_path(file), name);
    return qa_tensor_check_shape(file, *tensor, 1, (const size_t[1]){count}, err);
}

static qa_status read_state_reals(const qa_safetensors *file, const char *name, qa_real *out, size_t count,
                                  qa_error *err) {
    const qa_tensor *tensor = NULL;
    QA_TRY(find_tensor(&tensor, file, name, count, err));
    QA_FAIL_IF(tensor->dtype != QA_DTYPE_REAL, err, QA_ERR_MISMATCH, "%s: \"%s\" is %s, but this build computes in %s",
               qa_safetensors_path(file), name, qa_dtype_name(tensor->dtype), QA_REAL_DTYPE);
    return qa_tensor_read_real(file, tensor, true, out, err);
}

/* The stored order must be the one that seed and epoch make. */
static qa_status check_order(const qa_safetensors *file, const size_t *order, int64_t *stored, size_t items,
                             qa_error *err) {
    const qa_tensor *tensor = NULL;
    QA_TRY(find_tensor(&tensor, file, "data_order", items, err));
    QA_TRY(qa_tensor_read_int64(file, tensor, stored, err));
    for (size_t i = 0; i < items; i++) {
        QA_FAIL_IF(stored[i] != (int64_t)order[i], err, QA_ERR_MISMATCH,
                   "%s: data_order[%zu] is %lld, but seed and epoch make it %zu", qa_safetensors_path(file), i,
                   (long long)stored[i], order[i]);
    }
    return QA_OK;
}

static qa_status read_state_tensors(qa_run_state *s, const stored_state *stored, const char *path, qa_error *err) {
    qa_safetensors *file = NULL;
    const size_t count = s->count;
    qa_real *parameters = qa_alloc_array(count, sizeof *parameters);
    int64_t *stored_order = qa_alloc_array(s->items, sizeof *stored_order);
    char sum[QA_HEX_BYTES];
    qa_status status = QA_OK;
    if (parameters == NULL || stored_order == NULL) {
        status = QA_NO_MEMORY(err, "reading %s", path);
        goto end;
    }
    QA_GOTO(end, qa_safetensors_open(&file, path, err));
    QA_GOTO(end, read_state_reals(file, "parameters", parameters, count, err));
    QA_GOTO(end, read_state_reals(file, "exp_avg", s->m, count, err));
    QA_GOTO(end, read_state_reals(file, "exp_avg_sq", s->v, count, err));
    QA_GOTO(end, check_order(file, s->order, stored_order, s->items, err));
    qa_hex64(sum, state_checksum(parameters, s->m, s->v, count));
    if (strcmp(sum, stored->checksum) != 0) {
        status = qa_fail(err, QA_ERR_FORMAT, "%s: its numbers are damaged (checksum %s, expected %s)", path, sum,
                         stored->checksum);
        goto end;
    }
    memcpy(s->parameters, parameters, count * sizeof *parameters);
end:
    qa_safetensors_close(file);
    free(stored_order);
    free(parameters);
    return status;
}

static qa_status load_state_folder(qa_run_state *s, const char *state_path, const char *tensors_path, qa_error *err) {
    json_t *root = NULL;
    stored_state stored = {0};
    qa_status status = QA_OK;
    QA_GOTO(end, qa_json_load(&root, state_path, err));
    QA_GOTO(end, read_state(&stored, s, root, state_path, err));
    QA_GOTO(end, check_state(&stored, s, state_path, err));
    QA_GOTO(end, read_state_tensors(s, &stored, tensors_path, err));
    if (s->load_state != NULL) {
        json_t *own = NULL;
        QA_GOTO(end, qa_json_get_object(root, own_key, true, state_path, &own, err));
        QA_GOTO(end, s->load_state(s->user, own, state_path, err));
    }
    s->evaluated = stored.evaluated;
    s->metrics_bytes = stored.metrics_bytes;
    s->best = stored.best;
    s->planned_steps = stored.total_steps;
end:
    json_decref(root);
    return status;
}

static bool has_old_names(const char *dir) {
    char *now = qa_path_join(dir, state_name);
    char *then = qa_path_join(dir, old_state_name);
    const bool old = now != NULL && then != NULL && !qa_path_exists(now) && qa_path_exists(then);
    free(then);
    free(now);
    return old;
}

qa_status qa_run_state_load(qa_run_state *s, const char *out_dir, qa_error *err) {
    char *dir = qa_checkpoint_path(out_dir, QA_CHECKPOINT_PREFIX, s->step);
    const bool old = dir != NULL && has_old_names(dir);
    char *state_path = dir == NULL ? NULL : qa_path_join(dir, old ? old_state_name : state_name);
    char *tensors_path = dir == NULL ? NULL : qa_path_join(dir, old ? old_tensors_name : tensors_name);
    const qa_status status = state_path == NULL || tensors_path == NULL
                                 ? QA_NO_MEMORY(err, "a checkpoint's path")
                                 : load_state_folder(s, state_path, tensors_path, err);
    free(tensors_path);
    free(state_path);
    free(dir);
    return status;
}
