/* See run_folder.h. */
#define _DEFAULT_SOURCE 1 /* flock is not in POSIX */
#include "train/run_folder.h"

#include "base/memory.h"
#include "base/try.h"
#include "io/file.h"
#include "io/held_folder.h"
#include "io/json.h"
#include "methods/method.h"
#include "model/adapter_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static const char config_name[] = "training_config.json";
static const char metrics_name[] = "metrics.jsonl";

const qa_run_files qa_adapter_run_files = {.what = "an adapter",
                                           .finished = "adapter_model.safetensors",
                                           .shared = {"adapter_config.json", QA_REFERENCE_FOLDER, QA_VALUE_HEAD_FILE}};
#define MODEL_FILES                                                                                                    \
    .finished = "model.safetensors",                                                                                   \
    .shared = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json",                     \
               "chat_template.jinja"},                                                                                 \
    .only_own = true
const qa_run_files qa_model_run_files = {.what = "a model", MODEL_FILES};
const qa_run_files qa_full_run_files = {.what = "all weights of a base model", MODEL_FILES};

/* What an entry of the folder is to us. */
typedef enum entry_kind {
    FOREIGN,
    RUN_FILE,   /* only a run writes it */
    FINISHED,   /* the trained weights */
    SHARED,     /* goes with them, does not make a run */
    CHECKPOINT, /* checkpoint-STEP */
    LEFTOVER    /* of a killed run: a temporary folder or file */
} entry_kind;

/* "123" -> 123; false for anything else. */
static bool parse_step(const char *digits, size_t *step) {
    size_t value = 0;
    if (*digits == '\0' || (*digits == '0' && digits[1] != '\0')) {
        return false;
    }
    for (; *digits != '\0'; digits++) {
        if (*digits < '0' || *digits > '9' || !qa_mul_size(value, 10, &value) ||
            !qa_add_size(value, (size_t)(*digits - '0'), &value)) {
            return false;
        }
    }
    *step = value;
    return true;
}

static bool starts_with(const char *text, const char *prefix) { return strncmp(text, prefix, strlen(prefix)) == 0; }

static bool is_checkpoint(const char *name, size_t *step) {
    return starts_with(name, QA_CHECKPOINT_PREFIX) && parse_step(name + strlen(QA_CHECKPOINT_PREFIX), step);
}

/* Is it the temporary of an atomic write of `name` (".NAME.tmp-...")? */
static bool is_temporary_of(const char *entry, const char *name) {
    const size_t length = strlen(name);
    return entry[0] == '.' && strncmp(entry + 1, name, length) == 0 && starts_with(entry + 1 + length, ".tmp-");
}

static bool is_shared(const qa_run_files *files, const char *name, bool temporary) {
    for (size_t i = 0; i < QA_RUN_SHARED && files->shared[i] != NULL; i++) {
        if (temporary ? is_temporary_of(name, files->shared[i]) : strcmp(name, files->shared[i]) == 0) {
            return true;
        }
    }
    return false;
}

static entry_kind classify(const qa_run_files *files, const char *name, size_t *step) {
    if (is_checkpoint(name, step)) {
        return CHECKPOINT;
    }
    if (strcmp(name, config_name) == 0 || strcmp(name, metrics_name) == 0) {
        return RUN_FILE;
    }
    if (strcmp(name, files->finished) == 0) {
        return FINISHED;
    }
    if (is_shared(files, name, false)) {
        return SHARED;
    }
    if (starts_with(name, QA_CHECKPOINT_TMP_PREFIX) || strcmp(name, QA_BASE_CACHE_NAME) == 0 ||
        is_temporary_of(name, config_name) || is_temporary_of(name, files->finished) || is_shared(files, name, true)) {
        return LEFTOVER;
    }
    return FOREIGN;
}

bool qa_run_folder_replaces(const qa_run_files *files, const char *name) {
    size_t step = 0;
    return classify(files, name, &step) != FOREIGN;
}

/* The same of an entry of dir: somebody else's folder may be called as that of a reference adapter. */
static entry_kind classify_in(const qa_run_files *files, const char *dir, const char *name, size_t *step) {
    const entry_kind kind = classify(files, name, step);
    if (kind != SHARED || strcmp(name, QA_REFERENCE_FOLDER) != 0) {
        return kind;
    }
    char *path = qa_path_join(dir, name);
    const bool foreign = path != NULL && !qa_holds(path, "adapter_config.json");
    free(path);
    return foreign ? FOREIGN : kind;
}

/* Calls visit for every entry of the folder; removing entries meanwhile is allowed. */
static qa_status for_each_entry(const char *dir, qa_status (*visit)(void *user, const char *name, qa_error *err),
                                void *user, qa_error *err) {
    DIR *stream = qa_list_folder(dir);
    QA_FAIL_IF(stream == NULL, err, QA_ERR_IO, "cannot read the folder %s: %s", dir, strerror(errno));
    qa_status status = QA_OK;
    for (struct dirent *entry = readdir(stream); status == QA_OK && entry != NULL; entry = readdir(stream)) {
        status = visit(user, entry->d_name, err);
    }
    (void)closedir(stream);
    return status;
}

static qa_status remove_entry(const char *dir, const char *name, qa_error *err) {
    char *path = NULL;
    QA_TRY(qa_join_path(&path, dir, name, err));
    const qa_status status = qa_remove_tree(path, err);
    free(path);
    return status;
}

/* ---- locking ---- */

qa_status qa_run_folder_lock(int *lock, const char *dir, bool resume, qa_error *err) {
    *lock = -1;
    if (!resume) {
        QA_TRY(qa_make_dirs(dir, err));
    }
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return resume && errno == ENOENT
                   ? QA_OK /* that no run is there will be said */
                   : qa_fail(err, QA_ERR_IO, "cannot read the folder %s: %s", dir, strerror(errno));
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
        (void)close(fd);
        return qa_fail(err, QA_ERR_EXISTS, "%s: another run is writing into this folder; wait for its end", dir);
    }
    *lock = fd;
    return QA_OK;
}

/* ---- surveying ---- */

static const qa_run_files *other_kind(const qa_run_files *files) {
    return files == &qa_adapter_run_files ? &qa_model_run_files : &qa_adapter_run_files;
}

typedef struct survey {
    const qa_run_files *files;
    bool run_file, finished, checkpoint, second;
    bool others;           /* the trained weights of the other kind of run */
    size_t newest, before; /* checkpoints' steps */
} survey;

static qa_status survey_entry(void *user, const char *name, qa_error *err) {
    survey *found = user;
    size_t step = 0;
    (void)err;
    switch (classify(found->files, name, &step)) {
    case RUN_FILE: found->run_file = true; break;
    case FINISHED: found->finished = true; break;
    case CHECKPOINT:
        if (!found->checkpoint || step > found->newest) {
            found->second = found->checkpoint;
            found->before = found->newest;
            found->newest = step;
        } else if (!found->second || step > found->before) {
            found->second = true;
            found->before = step;
        }
        found->checkpoint = true;
        break;
    case FOREIGN: found->others |= strcmp(name, other_kind(found->files)->finished) == 0; break;
    default: break;
    }
    return QA_OK;
}

typedef struct removal {
    const qa_run_files *files;
    const char *dir;
    bool all; /* the whole run, or what was left half-written */
} removal;

static qa_status remove_if_ours(void *user, const char *name, qa_error *err) {
    const removal *what = user;
    size_t step = 0;
    const entry_kind kind = classify_in(what->files, what->dir, name, &step);
    const bool wanted = kind == LEFTOVER || (what->all && kind != FOREIGN);
    return !wanted              ? QA_OK
           : kind == CHECKPOINT ? qa_run_folder_remove_checkpoint(what->dir, step, err)
                                : remove_entry(what->dir, name, err);
}

static qa_status check_resume(const survey *found, const char *dir, qa_error *err) {
    QA_FAIL_IF(!found->checkpoint && found->finished, err, QA_ERR_EXISTS,
               "%s holds %s but no checkpoint to resume from; --overwrite trains anew", dir, found->files->what);
    QA_FAIL_IF(!found->checkpoint && !found->run_file, err, QA_ERR_ARGUMENT,
               "%s holds no run to resume: start it without --resume", dir);
    return QA_OK;
}

/* Which run the record in dir is of; NULL: nothing that can be read. */
static const qa_run_files *kind_by_record(const char *dir) {
    char *path = qa_path_join(dir, config_name);
    json_t *root = NULL;
    const qa_run_files *kind = NULL;
    if (path != NULL && qa_path_exists(path) && qa_json_load(&root, path, NULL) == QA_OK && json_is_object(root)) {
        const char *method = json_string_value(json_object_get(root, "method"));
        qa_objective objective = {0};
        const bool reward = method != NULL && qa_method_by_name(&objective.method, method, NULL) == QA_OK &&
                            qa_method_of(&objective)->scores_sequences;
        kind = reward || (method != NULL && strcmp(method, "pretrain") == 0) ? &qa_model_run_files
               : json_is_true(json_object_get(root, QA_FULL_KEY))            ? &qa_full_run_files
                                                                             : &qa_adapter_run_files;
    }
    json_decref(root);
    free(path);
    return kind;
}

/* The folder's record, or else that of its newest checkpoint, must be of this kind of run. */
static qa_status check_run_kind(const survey *found, const char *dir, qa_error *err) {
    const qa_run_files *kind = kind_by_record(dir);
    if (kind == NULL && found->checkpoint) {
        char *checkpoint = qa_checkpoint_path(dir, QA_CHECKPOINT_PREFIX, found->newest);
        kind = checkpoint == NULL ? NULL : kind_by_record(checkpoint);
        free(checkpoint);
    }
    QA_FAIL_IF(kind == NULL && found->run_file && found->others && !found->finished, err, QA_ERR_EXISTS,
               "%s holds a run whose %s is missing or cannot be read, and %s, so it is not one that trains %s; "
               "choose another folder",
               dir, config_name, other_kind(found->files)->finished, found->files->what);
    return kind == NULL || kind == found->files
               ? QA_OK
               : qa_fail(err, QA_ERR_EXISTS, "%s holds a run that trains %s, not %s (%s); choose another folder", dir,
                         kind->what, found->files->what, config_name);
}

/* ---- an overwritten run, until the new one has something in its place ---- */

typedef struct move_file {
    const qa_run_files *files; /* only these; NULL: all */
    const char *from, *to;
    size_t moved;
} move_file;

static qa_status move_entry(void *user, const char *name, qa_error *err) {
    move_file *move = user;
    size_t step = 0;
    const entry_kind kind = move->files == NULL ? SHARED : classify_in(move->files, move->from, name, &step);
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || kind == FOREIGN || kind == LEFTOVER) {
        return QA_OK;
    }
    char *from = qa_path_join(move->from, name), *to = qa_path_join(move->to, name);
    const qa_status status = from == NULL || to == NULL ? QA_NO_MEMORY(err, "a path") : qa_rename(from, to, err);
    move->moved += status == QA_OK ? 1 : 0;
    free(to);
    free(from);
    return status;
}

/* The two hidden folders' paths. */
typedef struct aside {
    char *replaced, *moving;
} aside;

static qa_status aside_open(aside *a, const char *dir, qa_error *err) {
    *a = (aside){qa_path_join(dir, QA_REPLACED_RUN_NAME), qa_path_join(dir, QA_MOVING_RUN_NAME)};
    return a->replaced != NULL && a->moving != NULL ? QA_OK : QA_NO_MEMORY(err, "a path in %s", dir);
}

static void aside_close(aside *a) {
    free(a->replaced);
    free(a->moving);
}

/* Half moved is told from wholly moved by the folder's name, which changes in one go. */
static qa_status set_aside(const qa_run_files *files, const char *dir, bool *any, qa_error *err) {
    aside a;
    qa_status status = aside_open(&a, dir, err);
    move_file move = {.files = files, .from = dir, .to = a.moving};
    if (status == QA_OK) {
        status = qa_make_dirs(a.moving, err);
    }
    if (status == QA_OK) {
        status = for_each_entry(dir, move_entry, &move, err);
    }
    *any = move.moved > 0;
    if (status == QA_OK) {
        status = *any ? qa_rename(a.moving, a.replaced, err) : qa_remove_tree(a.moving, err);
    }
    aside_close(&a);
    return status;
}

qa_status qa_run_folder_forget_replaced(const char *dir, qa_error *err) {
    aside a;
    qa_status status = aside_open(&a, dir, err);
    if (status == QA_OK) {
        status = qa_remove_tree(a.replaced, err);
    }
    aside_close(&a);
    return status;
}

static qa_status bring_back(const aside *a, const qa_run_files *files, const char *dir, qa_error *err) {
    survey found = {.files = files};
    if (qa_path_exists(a->replaced)) {
        QA_TRY(for_each_entry(dir, survey_entry, &found, err));
        if (found.checkpoint || found.finished) {
            return qa_remove_tree(a->replaced, err); /* the new run has something in its place */
        }
        removal what = {.files = files, .dir = dir, .all = true};
        QA_TRY(for_each_entry(dir, remove_if_ours, &what, err));
        QA_TRY(qa_rename(a->replaced, a->moving, err));
    }
    if (!qa_path_exists(a->moving)) {
        return QA_OK;
    }
    move_file move = {.from = a->moving, .to = dir};
    QA_TRY(for_each_entry(a->moving, move_entry, &move, err));
    return qa_remove_tree(a->moving, err);
}

qa_status qa_run_folder_bring_back(const qa_run_files *files, const char *dir, qa_error *err) {
    aside a;
    qa_status status = aside_open(&a, dir, err);
    if (status == QA_OK) {
        status = bring_back(&a, files, dir, err);
    }
    aside_close(&a);
    return status;
}

qa_status qa_run_folder_prepare(qa_run_folder *folder, const qa_run_files *files, const char *dir, bool overwrite,
                                bool resume, qa_error *err) {
    memset(folder, 0, sizeof *folder);
    QA_FAIL_IF(overwrite && resume, err, QA_ERR_ARGUMENT, "--overwrite and --resume contradict each other");
    QA_FAIL_IF(resume && !qa_path_is_dir(dir), err, QA_ERR_ARGUMENT, "%s is not there: no run to resume", dir);
    survey found = {.files = files};
    QA_TRY(qa_make_dirs(dir, err));
    QA_TRY(qa_run_folder_bring_back(files, dir, err));
    QA_TRY(for_each_entry(dir, survey_entry, &found, err));
    QA_TRY(check_run_kind(&found, dir, err));
    if (resume) {
        QA_TRY(check_resume(&found, dir, err));
    } else if (!overwrite && (found.run_file || found.finished || found.checkpoint)) {
        return qa_fail(err, QA_ERR_EXISTS, "%s holds another run; --overwrite replaces it, --resume continues it", dir);
    }
    QA_FAIL_IF(overwrite && files->only_own && found.finished && !found.run_file && !found.checkpoint, err,
               QA_ERR_EXISTS, "%s holds %s that no run here made; choose another folder", dir, files->what);
    if (overwrite) {
        QA_TRY(set_aside(files, dir, &folder->replaced, err));
    }
    removal what = {.files = files, .dir = dir, .all = false};
    QA_TRY(for_each_entry(dir, remove_if_ours, &what, err));
    folder->has_checkpoint = resume && found.checkpoint;
    folder->newest_step = found.newest;
    folder->has_previous = found.second;
    folder->previous_step = found.before;
    return QA_OK;
}

/* ---- pruning ---- */

typedef struct prune_folder {
    const char *dir;
    const qa_kept_checkpoints *kept;
    size_t last;   /* the newest of all */
    size_t below;  /* looking at checkpoints of smaller steps only */
    size_t newest; /* of those */
    bool found;
} prune_folder;

/* First it loses its name: a run that is killed half-way leaves something that the next one knows to be rubbish. */
qa_status qa_run_folder_remove_checkpoint(const char *dir, size_t step, qa_error *err) {
    char *path = qa_checkpoint_path(dir, QA_CHECKPOINT_PREFIX, step);
    char *rubbish = qa_checkpoint_path(dir, QA_CHECKPOINT_OLD_PREFIX, step);
    qa_status status = QA_OK;
    if (path == NULL || rubbish == NULL) {
        status = QA_NO_MEMORY(err, "a checkpoint's path");
    } else if (qa_path_exists(path)) {
        status = qa_remove_tree(rubbish, err); /* of an earlier try */
        if (status == QA_OK) {
            status = qa_rename(path, rubbish, err);
        }
        if (status == QA_OK) {
            status = qa_remove_tree(rubbish, err);
        }
    }
    free(rubbish);
    free(path);
    return status;
}

static qa_status find_next(void *user, const char *name, qa_error *err) {
    prune_folder *p = user;
    size_t step = 0;
    (void)err;
    if (is_checkpoint(name, &step) && step < p->below && (!p->found || step > p->newest)) {
        p->newest = step;
        p->found = true;
    }
    return QA_OK;
}

static qa_status remove_older(void *user, const char *name, qa_error *err) {
    const prune_folder *p = user;
    size_t step = 0;
    const bool there = is_checkpoint(name, &step) && step != p->kept->best && step < p->last;
    const bool due = p->kept->every > 0 && step % p->kept->every == 0;
    return there && (step < p->below || !due) ? qa_run_folder_remove_checkpoint(p->dir, step, err) : QA_OK;
}

qa_status qa_run_folder_prune(const char *dir, const qa_kept_checkpoints *kept, qa_error *err) {
    prune_folder p = {.dir = dir, .kept = kept, .below = SIZE_MAX};
    for (size_t i = 0; i < kept->newest || i == 0; i++) {
        p.found = false;
        QA_TRY(for_each_entry(dir, find_next, &p, err));
        p.last = i == 0 ? p.newest : p.last;
        if (!p.found) {
            break;
        }
        p.below = p.newest;
    }
    p.below = kept->newest == 0 || !p.found ? 0 : p.below; /* fewer than that are there */
    return for_each_entry(dir, remove_older, &p, err);
}

char *qa_checkpoint_path(const char *dir, const char *prefix, size_t step) {
    char name[64];
    (void)snprintf(name, sizeof name, "%s%zu", prefix, step);
    return qa_path_join(dir, name);
}
