/* Whether the adapter was trained on the model that is loaded: by the fingerprints in its training_config.json; without
 * one (an adapter from elsewhere) by the name in adapter_config.json, as far as that says anything. And whether the two
 * files say the same of the adapter. */
#include "cli/common.h"

#include "base/memory.h"
#include "base/try.h"
#include "io/file.h"
#include "io/json.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SHOWN_DIGITS = 12 };

static const char *last_part(const char *path, size_t *n) {
    *n = strlen(path);
    while (*n > 1 && path[*n - 1] == '/') {
        --*n;
    }
    size_t first = *n;
    while (first > 0 && path[first - 1] != '/') {
        first--;
    }
    *n -= first;
    return path + first;
}

/* Letters and digits in lower case; whether there is a digit, as in every model's name and in few other folders'. */
static bool squeeze(char *out, size_t bytes, const char *path) {
    size_t n = 0, used = 0;
    bool digit = false;
    const char *part = last_part(path, &n);
    for (size_t i = 0; i < n && used + 1 < bytes; i++) {
        if (isalnum((unsigned char)part[i])) {
            digit = digit || isdigit((unsigned char)part[i]);
            out[used++] = (char)tolower((unsigned char)part[i]);
        }
    }
    out[used] = '\0';
    return digit;
}

/* "meta-llama/Llama-3.2-1B": one slash, and no path of this machine's. */
static bool is_hub_name(const char *name) {
    const char *slash = strchr(name, '/');
    return slash != NULL && slash != name && strchr(slash + 1, '/') == NULL && slash[1] != '\0' && name[0] != '.';
}

/* A folder that is there and is another one, or a model's name that has nothing of the folder's. */
static bool plainly_another(const char *name, const char *model) {
    char one[256], other[256];
    if (qa_path_is_dir(name)) {
        struct stat one_is, other_is;
        return stat(name, &one_is) == 0 && stat(model, &other_is) == 0 &&
               (one_is.st_dev != other_is.st_dev || one_is.st_ino != other_is.st_ino);
    }
    if (!is_hub_name(name)) {
        return false;
    }
    const bool digits = squeeze(one, sizeof one, name) & squeeze(other, sizeof other, model);
    return digits && strstr(one, other) == NULL && strstr(other, one) == NULL;
}

qa_status cli_adapter_base_name(const char *dir, char **name, qa_error *err) {
    json_t *root = NULL;
    qa_base_record record = {0};
    *name = NULL;
    if (!qa_holds(dir, "adapter_config.json")) { /* a whole model's */
        QA_TRY(qa_training_config_base(dir, &record, err));
        return record.name[0] == '\0' ? QA_OK : QA_COPY(*name, record.name, err, "a name");
    }
    char *path = qa_path_join(dir, "adapter_config.json");
    const qa_status status = path == NULL ? QA_NO_MEMORY(err, "a path") : qa_json_load(&root, path, err);
    const char *text = json_string_value(json_object_get(root, "base_model_name_or_path"));
    if (text != NULL) {
        *name = strdup(text);
    }
    json_decref(root);
    free(path);
    return status;
}

static qa_status check_base_name(cli_run *run, qa_error *err) {
    const cli_args *args = run->args;
    char *name = NULL;
    QA_TRY(cli_adapter_base_name(args->adapter, &name, err));
    if (name != NULL && !args->any_base && plainly_another(name, args->model)) {
        cli_warn(
            run,
            "%s says that it was trained on %.200s and has no fingerprint of it: whether %s is that model cannot be "
            "checked (--any-base: no warning)",
            args->adapter, name, args->model);
    }
    free(name);
    return QA_OK;
}

/* The numbers that adapter_config.json and training_config.json both have. An adapter whose maps have ranks of their
 * own (then rank_pattern is in the record, too) has no one rank to compare. */
static void compare_numbers(cli_run *run, const qa_base_record *record) {
    const qa_lora_options *lora = qa_adapter_options(run->adapter);
    if (record->lora_r == 0 || lora->rank != record->lora_r) {
        return; /* tensors of another rank would not have been read */
    }
    if (fabs(lora->alpha - record->lora_alpha) > 1e-6 * fabs(record->lora_alpha) ||
        lora->use_rslora != record->use_rslora) {
        cli_warn(run,
                 "%s: adapter_config.json has lora_alpha %g%s, but training_config.json, the record of its training, "
                 "%g%s; the first is used, which scales what was learned",
                 run->args->adapter, lora->alpha, lora->use_rslora ? " / sqrt(rank)" : "", record->lora_alpha,
                 record->use_rslora ? " / sqrt(rank)" : "");
    }
}

static qa_status check_tokenizer(cli_run *run, const qa_base_record *record, qa_error *err) {
    char now[sizeof record->tokenizer];
    QA_TRY(qa_tokenizer_files_hex(now, run->args->model, err));
    if (record->tokenizer[0] != '\0' && now[0] != '\0' && strcmp(now, record->tokenizer) != 0 && !run->args->any_base) {
        cli_warn(run,
                 "the tokenizer's files in %s are not those that %s was trained with: the same text may be other "
                 "tokens (--any-base: no warning)",
                 run->args->model, run->args->adapter);
    }
    return QA_OK;
}

static qa_status check_fingerprint(cli_run *run, const qa_base_record *record, qa_error *err) {
    const cli_args *args = run->args;
    const char *found = qa_model_fingerprint(run->model);
    if (found == NULL) {
        return QA_NO_MEMORY(err, "the fingerprint of %s", args->model);
    }
    if (strcmp(found, record->fingerprint) == 0) {
        return QA_OK;
    }
    if (args->any_base) {
        cli_warn(run,
                 "--any-base: %s was trained on %s, and %s is another model (other weights, or other numbers that it "
                 "computes with)",
                 args->adapter, record->name, args->model);
        return QA_OK;
    }
    return qa_fail(err, QA_ERR_MISMATCH,
                   "%s was trained on %s (fingerprint %.*s), and %s is another model (%.*s): other weights, or other "
                   "numbers in config.json that it computes with; give the adapter's own, or go on all the same with "
                   "--any-base",
                   args->adapter, record->name, (int)SHOWN_DIGITS, record->fingerprint, args->model, (int)SHOWN_DIGITS,
                   found);
}

qa_status cli_check_base(cli_run *run, qa_error *err) {
    const cli_args *args = run->args;
    qa_base_record record = {0};
    QA_TRY(qa_training_config_base(args->adapter, &record, err));
    compare_numbers(run, &record);
    QA_TRY(check_tokenizer(run, &record, err));
    if (record.fingerprint[0] == '\0') {
        if (record.by_a_run && !args->any_base) {
            cli_warn(run,
                     "%s/training_config.json has no fingerprint of the base model: whether %s is the one that the "
                     "adapter was trained on cannot be checked (--any-base: no warning)",
                     args->adapter, args->model);
            return QA_OK;
        }
        return check_base_name(run, err);
    }
    return check_fingerprint(run, &record, err);
}

/* Tensors that do not fit are those of another model's adapter, where the record says so. */
qa_status cli_explain_unread_adapter(cli_run *run, qa_status status, qa_error *err) {
    qa_base_record record = {0};
    qa_error why = {0};
    if (qa_training_config_base(run->args->adapter, &record, &why) == QA_OK && record.fingerprint[0] != '\0' &&
        !run->args->any_base && check_fingerprint(run, &record, &why) == QA_ERR_MISMATCH) {
        qa_error_prefix(err, "%s was trained on %.200s, and %s is another model: ", run->args->adapter, record.name,
                        run->args->model);
    }
    return status;
}
