/* See training_config.h. The first four keys are those that the authors' evaluation code reads. */
#include "train/training_config.h"

#include "base/memory.h"
#include "base/sha256.h"
#include "base/try.h"
#include "data/pairs.h"
#include "io/file.h"
#include "io/input.h"
#include "methods/method.h"
#include "model/adapter_folder.h"
#include "model/lora_options.h"
#include "nn/blas.h"
#include "qadapter/status.h"
#include "rl/objective.h"
#include "train/options.h"
#include "train/rollout_options.h"
#include "train/run_folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char file_name[] = "training_config.json";
static const char base_fingerprint_key[] = "base_fingerprint";
static const char start_adapter_key[] = "start_adapter", start_fingerprint_key[] = "start_adapter_fingerprint",
                  reference_key[] = "reference_fingerprint";
static const char tokenizer_key[] = "tokenizer_fingerprint";
static const char chat_key[] = "chat_template", date_key[] = "template_date";
static const char threads_key[] = "threads", version_key[] = "qadapter_version", blas_key[] = "blas";
static const char quirks_key[] = "published_data_quirks";
static const char response_end_key[] = "response_end"; /* which records written before there was a choice lack */

/* ---- what a resumed run must share ---- */

/* Of the methods' own options only those of the one that reads them. */
static void set_method(qa_record *b, const qa_train_options *options) {
    const qa_method_row *method = qa_method_of(&options->objective);
    char fingerprint[QA_HEX_BYTES];
    qa_record_options(b, &qa_objective_table, &options->objective, QA_RECORD_COMPARED);
    qa_record_options(b, &qa_method_table, &options->objective, QA_RECORD_COMPARED);
    if (!method->residual && method->options != NULL) {
        qa_record_options(b, method->options, &options->objective, QA_RECORD_COMPARED);
    }
    for (size_t i = 0; qa_rollout_table_at(method, i) != NULL; i++) {
        qa_record_options(b, qa_rollout_table_at(method, i), options, QA_RECORD_COMPARED);
    }
    if (method->replays) {
        qa_record_options(b, &qa_replay_table, options, QA_RECORD_COMPARED);
        qa_hex64(fingerprint, qa_pairs_fingerprint(options->replay));
        qa_record_set_size(b, "replay_examples", qa_pairs_count(options->replay));
        qa_record_set_string(b, "replay_fingerprint", fingerprint);
    }
}

static void set_lora(qa_record *b, const qa_adapter *adapter) {
    if (adapter == NULL) { /* a reward model */
        return;
    }
    if (adapter->own != NULL) {
        qa_record_set_bool(b, QA_FULL_KEY, true);
        return;
    }
    qa_record_options(b, &qa_lora_table, &adapter->options, QA_RECORD_COMPARED);
    if (!adapter->uniform) { /* adapters from elsewhere: not every layer, or ranks of some maps' own */
        qa_record_set(b, "rank_pattern", qa_adapter_rank_pattern(adapter));
        qa_record_set(b, "alpha_pattern", qa_adapter_alpha_pattern(adapter));
    }
}

/* The adapter that the run starts from, and the one that dpo's log-ratios are against: of runs that have them. */
static void set_start(qa_record *b, const qa_adapter *adapter, const qa_train_options *options) {
    char fingerprint[QA_FINGERPRINT_BYTES];
    if (options->start_adapter != NULL) {
        qa_adapter_fingerprint(adapter, fingerprint);
        qa_record_set_string(b, start_fingerprint_key, fingerprint);
    }
    if (adapter != NULL && adapter->reference != NULL && options->objective.reference == QA_REFERENCE_ADAPTER) {
        qa_adapter_fingerprint(adapter->reference, fingerprint);
        qa_record_set_string(b, reference_key, fingerprint);
    }
}

/* The template that wrote the dialogues, and what it was told besides them. */
static void set_chat(qa_record *b, const json_t *chat) {
    qa_record_set_string(b, chat_key, NULL);
    qa_record_set_members(b, chat);
}

qa_status qa_resume_options_build(json_t **resume_options, const qa_model *model, const qa_adapter *adapter,
                                  const qa_pairs *train, const qa_pairs *evaluation, const qa_train_options *options,
                                  qa_error *err) {
    char fingerprint[QA_HEX_BYTES], of_evaluation[QA_HEX_BYTES], tokenizer[QA_HEX_BYTES];
    *resume_options = NULL;
    QA_TRY(qa_tokenizer_files_hex(tokenizer, model->info.dir, err));
    qa_record b = {.object = json_object()};
    qa_hex64(fingerprint, qa_pairs_fingerprint(train));
    set_method(&b, options);
    set_lora(&b, adapter);
    set_start(&b, adapter, options);
    qa_record_options(&b, &qa_train_table, options, QA_RECORD_COMPARED);
    qa_record_set_string(&b, "precision", QA_REAL_NAME);
    qa_record_set_string(&b, "model_architecture", model->info.architecture);
    qa_record_set_size(&b, "model_parameters", model->info.parameters);
    if (adapter != NULL) {
        qa_record_set_size(&b, "adapter_parameters", adapter->count);
    }
    qa_record_set_string(&b, response_end_key, qa_response_end_name(qa_pairs_response_end(train)));
    if (qa_pairs_columns(train) != NULL) {
        qa_record_set_string(&b, "columns", qa_pairs_columns(train));
    }
    qa_record_set_size(&b, "data_pairs", qa_pairs_count(train));
    qa_record_set_string(&b, "data_fingerprint", fingerprint);
    if (evaluation != NULL) {
        qa_hex64(of_evaluation, qa_pairs_fingerprint(evaluation));
    }
    qa_record_set_string(&b, "eval_fingerprint", evaluation == NULL ? NULL : of_evaluation);
    qa_record_set_string(&b, base_fingerprint_key, qa_model_fingerprint(model));
    qa_record_set_string(&b, tokenizer_key, tokenizer[0] == '\0' ? NULL : tokenizer);
    set_chat(&b, qa_pairs_chat_record(train));
    qa_record_set_bool(&b, quirks_key, qa_pairs_published_data(train));
    qa_record_set_string(&b, blas_key, qa_blas_description());
    return qa_record_finish(&b, resume_options, file_name, err);
}

/* A value in a message: numbers, strings and the names of targets as JSON writes them. */
static void show(char *out, size_t bytes, const json_t *value) {
    char *text = value == NULL ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
    (void)snprintf(out, bytes, "%s", text == NULL ? "nothing" : text);
    free(text);
}

static bool same(const json_t *a, const json_t *b) {
    if (json_is_number(a) && json_is_number(b)) { /* 1 and 1.0 are the same number */
        return json_number_value(a) == json_number_value(b);
    }
    return a != NULL && json_equal(a, b);
}

/* What some keys stand for, and those that records written before them lack. */
static const struct known_key {
    const char *key, *what;
    bool later;  /* it may be missing in an old record */
    bool advice; /* the run can go on where it differs, its last bits may not be the same */
} known_keys[] = {
    {"data_fingerprint", "the training data", false, false},
    {QA_REWARD_FINGERPRINT_KEY, "the reward model", false, false},
    {"replay_fingerprint", "the replay data", false, false},
    {"eval_fingerprint", "the evaluation data", true, false},
    {base_fingerprint_key, "the base model: its weights, or the numbers of config.json that it computes with", true,
     false},
    {tokenizer_key, "the tokenizer's files", true, false},
    {start_fingerprint_key, "the adapter that training starts from", false, false},
    {reference_key, "the adapter that the log-ratios are against", false, false},
    {"bos_token_id", NULL, true, false},
    {"eos_token_ids", NULL, true, false},
    {chat_key, NULL, true, false},
    {"chat_template_text", "the chat template", false, false},
    {quirks_key, NULL, true, false},
    {response_end_key, NULL, true, false},
    {blas_key, "the library of matrix products or its kernel", true, true},
};

static const struct known_key *known_key_of(const char *key) {
    for (size_t i = 0; i < sizeof known_keys / sizeof known_keys[0]; i++) {
        if (strcmp(known_keys[i].key, key) == 0) {
            return &known_keys[i];
        }
    }
    return NULL;
}

/* " (the training data)", or nothing. */
static void show_key(char *out, size_t bytes, const struct known_key *known) {
    out[0] = '\0';
    if (known != NULL && known->what != NULL) {
        (void)snprintf(out, bytes, " (%s)", known->what);
    }
}

/* One member that differs. */
static qa_status say_difference(const char *key, const struct known_key *known, const json_t *old, const json_t *value,
                                const char *where, const qa_logger *logger, qa_error *err) {
    char was[160], is[160], what[160];
    show(was, sizeof was, old);
    show(is, sizeof is, value);
    show_key(what, sizeof what, known);
    if (known != NULL && known->advice) {
        qa_log(logger, QA_LOG_WARNING,
               "%s%s is %s now but was %s before (%s): the run goes on, and may differ in its last bits from one that "
               "was never interrupted",
               key, what, is, was, where);
        return QA_OK;
    }
    return qa_fail(err, QA_ERR_MISMATCH,
                   "cannot resume: %s%s is %s now but was %s in the run to continue (%s); give the same, or start anew "
                   "with --overwrite",
                   key, what, is, was, where);
}

/* How long the run is, which is compared in steps (train/state_files.c): it may get longer. */
static bool is_length(const char *key) { return strcmp(key, "epochs") == 0 || strcmp(key, "max_steps") == 0; }

/* Whether the record lacks the key because it is older than that. What is not said then is the default of that time, or
 * put on the list of what cannot be checked. */
static bool is_unsaid(const char *key, const struct known_key *known, const json_t *old, const json_t *value,
                      char *unchecked, size_t bytes) {
    const char *text = json_string_value(value);
    if (old == NULL && strcmp(key, date_key) == 0) {
        return text != NULL && strcmp(text, qa_chat_pinned_date) == 0;
    }
    if (old != NULL || known == NULL || !known->later) {
        return false;
    }
    if (strcmp(key, response_end_key) == 0) {
        return text != NULL && strcmp(text, qa_response_end_name(QA_RESPONSE_END_TOKEN)) == 0;
    }
    const size_t used = strlen(unchecked);
    (void)snprintf(unchecked + used, bytes - used, "%s%s", used == 0 ? "" : ", ", key);
    return true;
}

/* What the run to continue has and this one lacks: patterns of an adapter, or options of a later version. */
static qa_status check_nothing_else(const json_t *then, const json_t *now, const char *where, qa_error *err) {
    const char *key = NULL;
    json_t *value = NULL;
    json_t *members = json_incref((json_t *)(uintptr_t)then);
    qa_status status = QA_OK;
    json_object_foreach(members, key, value) {
        if (status == QA_OK && json_object_get(now, key) == NULL) {
            char was[160];
            show(was, sizeof was, value);
            status = qa_fail(err, QA_ERR_MISMATCH,
                             "cannot resume: the run to continue (%s) has %s %s, which this run has not; give the "
                             "same, continue it with the version of qadapter that began it, or start anew with "
                             "--overwrite",
                             where, key, was);
        }
    }
    json_decref(members);
    return status;
}

qa_status qa_resume_options_check(const json_t *then, const json_t *now, const char *where, const qa_logger *logger,
                                  qa_error *err) {
    const char *key = NULL;
    json_t *value = NULL;
    json_t *members = json_incref((json_t *)(uintptr_t)now); /* the iterator wants a non-const object */
    char unchecked[256] = "";
    qa_status status = QA_OK;
    json_object_foreach(members, key, value) {
        const json_t *old = json_object_get(then, key);
        const struct known_key *known = known_key_of(key);
        if (status == QA_OK && !same(old, value) && !is_length(key) &&
            !is_unsaid(key, known, old, value, unchecked, sizeof unchecked)) {
            status = say_difference(key, known, old, value, where, logger, err);
        }
    }
    json_decref(members);
    if (status == QA_OK) {
        status = check_nothing_else(then, now, where, err);
    }
    if (status == QA_OK && unchecked[0] != '\0') {
        qa_log(logger, QA_LOG_WARNING,
               "%s was written before these were recorded, and cannot tell whether they are the same: %s", where,
               unchecked);
    }
    return status;
}

/* ---- the file ---- */

qa_status qa_training_config_build(json_t **config, const json_t *resume_options, const qa_model *model,
                                   const qa_train_options *options, qa_error *err) {
    qa_record b = {.object = json_copy((json_t *)(uintptr_t)resume_options)};
    *config = NULL;
    qa_record_options(&b, &qa_train_table, options, QA_RECORD_KEPT);
    if (options->base_model == NULL) {
        qa_record_set_string(&b, "base_model", model->info.dir);
    }
    if (qa_method_of(&options->objective)->replays) {
        qa_record_options(&b, &qa_replay_table, options, QA_RECORD_KEPT);
    }
    for (size_t i = 0; qa_rollout_table_at(qa_method_of(&options->objective), i) != NULL; i++) {
        qa_record_options(&b, qa_rollout_table_at(qa_method_of(&options->objective), i), options, QA_RECORD_KEPT);
    }
    if (options->start_adapter != NULL) {
        qa_record_set_string(&b, start_adapter_key, options->start_adapter);
    }
    qa_record_set_size(&b, threads_key, qa_context_threads(model->context));
    qa_record_set_string(&b, version_key, QA_VERSION);
    return qa_record_finish(&b, config, file_name, err);
}

/* Folders and files, which may have other names on another machine. */
static const char *const path_keys[] = {"base_model",  "data_path",    "eval_data_path",
                                        "replay_path", "reward_model", start_adapter_key};

static bool is_path_key(const char *key) {
    for (size_t i = 0; i < sizeof path_keys / sizeof path_keys[0]; i++) {
        if (strcmp(key, path_keys[i]) == 0) {
            return true;
        }
    }
    return false;
}

static const char *way_to_agree(const char *key) {
    return strcmp(key, threads_key) == 0 ? "give the same --threads to all ranks"
           : strcmp(key, blas_key) == 0
               ? "OPENBLAS_CORETYPE=NAME in the environment makes all ranks take one kernel that all processors can run"
           : strcmp(key, version_key) == 0 ? "install one version on all machines"
                                           : "start all ranks with the same options and copies of the same files";
}

/* The first member of `members` in which the two differ. */
static qa_status compare_ranks(const json_t *members, const json_t *here, const json_t *of_rank_0, qa_error *err) {
    json_t *walked = json_incref((json_t *)(uintptr_t)members); /* the iterator wants a non-const object */
    const char *key = NULL;
    json_t *value = NULL;
    qa_status status = QA_OK;
    json_object_foreach(walked, key, value) {
        const json_t *own = json_object_get(here, key), *first = json_object_get(of_rank_0, key);
        const struct known_key *known = known_key_of(key);
        const bool agrees = own == NULL ? first == NULL : same(own, first);
        if (status == QA_OK && !agrees && !is_path_key(key)) {
            char is[160], is_there[160], what[160];
            show(is, sizeof is, own);
            show(is_there, sizeof is_there, first);
            show_key(what, sizeof what, known);
            status = qa_fail(err, QA_ERR_MISMATCH, "%s%s is %s here and %s on rank 0; %s", key, what, is, is_there,
                             way_to_agree(key));
        }
    }
    json_decref(walked);
    return status;
}

qa_status qa_training_config_compare(const json_t *here, const json_t *of_rank_0, qa_error *err) {
    QA_TRY(compare_ranks(of_rank_0, here, of_rank_0, err));
    return compare_ranks(here, here, of_rank_0, err);
}

/* No number of the method's own may be missing: none can be guessed. */
static qa_status check_complete(const json_t *root, const char *path, const qa_option_table *own, qa_error *err) {
    char key[QA_OPTION_KEY_BYTES];
    for (size_t i = 0; own != NULL && i < own->n; i++) {
        QA_FAIL_IF(own->rows[i].type == QA_OPTION_NUMBER && own->rows[i].record != QA_RECORD_LATER &&
                       json_object_get(root, qa_option_key(&own->rows[i], key)) == NULL,
                   err, QA_ERR_FORMAT,
                   "%s: \"%s\" is missing: the record of a Q-Adapter holds alpha_tilde, alpha_0, gamma and beta; "
                   "that of another adapter \"method\" (sft, replay, or dpo with \"dpo_beta\"); without the "
                   "file the adapter is a plain one",
                   path, key);
    }
    return QA_OK;
}

static qa_status read_objective(const json_t *root, const char *path, void *objective, qa_error *err) {
    qa_objective read = {.method = QA_METHOD_QADAPTER};
    QA_FAIL_IF(!json_is_object(root), err, QA_ERR_FORMAT, "%s: expected a JSON object", path);
    QA_TRY(qa_options_read(&qa_method_table, root, path, &read, err));
    const qa_method_row *method = qa_method_of(&read);
    read = method->residual ? (qa_objective){.kind = QA_PUBLISHED, .q_parametrisation = QA_Q_LOGITS}
                            : qa_objective_for_method(read.method);
    QA_TRY(check_complete(root, path, method->options, err));
    QA_TRY(qa_options_read(&qa_objective_table, root, path, &read, err));
    if (method->options != NULL) {
        QA_TRY(qa_options_read(method->options, root, path, &read, err));
    }
    QA_TRY(qa_prefixed(qa_objective_check(&read, err), err, "%s: ", path));
    *(qa_objective *)objective = read;
    return QA_OK;
}

/* Has `read` read what the adapter's folder holds into `out`, if there is such a file (*found). */
static qa_status read_record(const char *dir,
                             qa_status (*read)(const json_t *root, const char *path, void *out, qa_error *err),
                             void *out, bool *found, qa_error *err) {
    char *path = NULL;
    json_t *root = NULL;
    qa_status status = QA_OK;
    *found = false;
    QA_FAIL_IF(!qa_path_is_dir(dir), err, QA_ERR_IO,
               "%s: no such folder; expected an adapter's (adapter_config.json, adapter_model.safetensors)", dir);
    QA_TRY(qa_join_path(&path, dir, file_name, err));
    QA_GOTO(done, qa_find_optional(found, path, err));
    if (*found) {
        QA_GOTO(done, qa_json_load(&root, path, err));
        QA_GOTO(done, read(root, path, out, err));
    }
done:
    *found = *found && status == QA_OK;
    json_decref(root);
    free(path);
    return status;
}

qa_status qa_training_config_load(const char *dir, bool *found, qa_objective *objective, qa_error *err) {
    return read_record(dir, read_objective, objective, found, err);
}

static qa_status read_micro_batch(const json_t *root, const char *path, void *micro_batch, qa_error *err) {
    return qa_json_get_size(root, "micro_batch", false, path, micro_batch, err);
}

qa_status qa_training_config_micro_batch(const char *dir, size_t *micro_batch, qa_error *err) {
    bool found = false;
    return read_record(dir, read_micro_batch, micro_batch, &found, err);
}

static qa_status read_held_out(const json_t *root, const char *path, void *out, qa_error *err) {
    qa_train_options options = {0}; /* whose texts are the file's */
    const char *fingerprint = NULL;
    QA_TRY(qa_options_read(&qa_train_table, root, path, &options, err));
    QA_TRY(qa_json_get_string(root, "eval_fingerprint", false, path, &fingerprint, err));
    *(qa_held_out_record *)out =
        (qa_held_out_record){options.val_size, options.seed, fingerprint == NULL ? 0 : strtoull(fingerprint, NULL, 16)};
    return QA_OK;
}

qa_status qa_training_config_held_out(const char *dir, qa_held_out_record *record, qa_error *err) {
    bool found = false;
    *record = (qa_held_out_record){0};
    return read_record(dir, read_held_out, record, &found, err);
}

/* A fingerprint of this many digits behind the prefix; one of another form is none that a run wrote. */
static qa_status read_fingerprint(const json_t *root, const char *path, const char *key, const char *prefix,
                                  size_t digits, char *out, qa_error *err) {
    const char *text = NULL;
    const size_t before = strlen(prefix);
    out[0] = '\0';
    if (json_is_null(json_object_get(root, key)) && key != base_fingerprint_key) {
        return QA_OK;
    }
    QA_TRY(qa_json_get_string(root, key, false, path, &text, err));
    if (text == NULL && json_object_get(root, key) == NULL) {
        return QA_OK;
    }
    QA_FAIL_IF(text == NULL || strncmp(text, prefix, before) != 0 || strlen(text) != before + digits ||
                   strspn(text + before, "0123456789abcdef") != digits,
               err, QA_ERR_FORMAT, "%s: \"%s\" is no fingerprint", path, key);
    memcpy(out, text, before + digits + 1);
    return QA_OK;
}

static qa_status read_base(const json_t *root, const char *path, void *out, qa_error *err) {
    qa_base_record *record = out;
    const char *name = NULL;
    QA_TRY(read_fingerprint(root, path, base_fingerprint_key, "", QA_SHA256_HEX_BYTES - 1, record->fingerprint, err));
    QA_TRY(read_fingerprint(root, path, tokenizer_key, "0x", QA_HEX_BYTES - 3, record->tokenizer, err));
    QA_TRY(qa_json_get_string(root, "base_model", false, path, &name, err));
    QA_TRY(qa_json_get_size(root, "lora_r", false, path, &record->lora_r, err));
    QA_TRY(qa_json_get_double(root, "lora_alpha", false, path, &record->lora_alpha, err));
    QA_TRY(qa_json_get_bool(root, "use_rslora", false, path, &record->use_rslora, err));
    (void)snprintf(record->name, sizeof record->name, "%s", name == NULL ? "" : name);
    record->by_a_run = json_object_get(root, "qadapter_version") != NULL;
    return QA_OK;
}

qa_status qa_training_config_base(const char *dir, qa_base_record *record, qa_error *err) {
    bool found = false;
    *record = (qa_base_record){0};
    return read_record(dir, read_base, record, &found, err);
}

static qa_status read_reference(const json_t *root, const char *path, void *out, qa_error *err) {
    return read_fingerprint(root, path, reference_key, "", QA_FINGERPRINT_BYTES - 1, out, err);
}

qa_status qa_training_config_reference(const char *dir, qa_adapter *adapter, const qa_model *model, bool *found,
                                       qa_error *err) {
    char wanted[QA_FINGERPRINT_BYTES] = "", is[QA_FINGERPRINT_BYTES];
    char *path = NULL;
    qa_adapter *reference = NULL;
    QA_TRY(read_record(dir, read_reference, wanted, found, err));
    *found = *found && wanted[0] != '\0';
    if (!*found) {
        return QA_OK;
    }
    QA_TRY(qa_join_path(&path, dir, QA_REFERENCE_FOLDER, err));
    const qa_status status = qa_prefixed(qa_adapter_load(&reference, model, path, err), err,
                                         "the adapter that %s's log-ratios are against: ", dir);
    free(path);
    QA_TRY(status);
    qa_adapter_fingerprint(reference, is);
    if (strcmp(is, wanted) != 0) {
        qa_adapter_free(reference);
        return qa_fail(err, QA_ERR_MISMATCH,
                       "%s/%s is not the adapter that the run's log-ratios were against: its fingerprint is %.12s, "
                       "%s says %.12s",
                       dir, QA_REFERENCE_FOLDER, is, file_name, wanted);
    }
    qa_adapter_set_reference(adapter, reference);
    return QA_OK;
}

static qa_status read_data(const json_t *root, const char *path, void *out, qa_error *err) {
    qa_data_record *record = out;
    const char *chat = NULL, *response_end = NULL;
    QA_TRY(qa_json_get_string(root, chat_key, false, path, &chat, err));
    QA_TRY(qa_json_get_string(root, response_end_key, false, path, &response_end, err));
    QA_TRY(qa_json_get_bool(root, quirks_key, false, path, &record->published_data, err));
    const bool own = qa_chat_recorded_text(root) != NULL;
    record->chat = own ? QA_CHAT_UNKNOWN : record->chat;
    qa_status status = chat == NULL || own ? QA_OK : qa_chat_template_by_name(&record->chat, chat, err);
    if (status == QA_OK && response_end != NULL) {
        status = qa_response_end_by_name(&record->response_end, response_end, err);
    }
    if (status != QA_OK) {
        qa_error_prefix(err, "%s: ", path);
    }
    return status;
}

static qa_status keep_record(const json_t *root, const char *path, void *out, qa_error *err) {
    (void)path;
    (void)err;
    *(json_t **)out = json_incref((json_t *)(uintptr_t)root);
    return QA_OK;
}

qa_status qa_training_config_chat(const char *dir, json_t **record, qa_error *err) {
    bool found = false;
    *record = NULL;
    return read_record(dir, keep_record, record, &found, err);
}

qa_status qa_training_config_data(const char *dir, qa_data_record *record, qa_error *err) {
    bool found = false;
    *record = (qa_data_record){.chat = QA_CHAT_NONE, .response_end = QA_RESPONSE_END_TOKEN};
    return read_record(dir, read_data, record, &found, err);
}
