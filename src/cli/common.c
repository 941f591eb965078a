/* See common.h. */
#include "cli/common.h"

#include "base/buffer.h"
#include "base/memory.h"
#include "base/try.h"
#include "base/warnings.h"
#include "cli/format.h"
#include "io/file.h"
#include "io/input.h"
#include "methods/method.h"
#include "text/answer_end.h"
#include "text/utf8.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { DEFAULT_MAX_LENGTH = 512 };

void cli_run_free(cli_run *run) {
    cli_progress_clear(&run->progress);
    qa_adapter_free(run->adapter);
    qa_tokenizer_free(run->tokenizer);
    qa_model_free(run->model);
    qa_context_free(run->context);
}

/* ---- talking ---- */

static void say(cli_run *run, const char *prefix, const char *format, va_list args) QA_PRINTF(3, 0);

static void say(cli_run *run, const char *prefix, const char *format, va_list args) {
    cli_progress_clear(&run->progress);
    fprintf(stderr, "qadapter %s: %s", run->command->name, prefix);
    (void)vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

void cli_warn(cli_run *run, const char *format, ...) {
    va_list args;
    va_start(args, format);
    say(run, "warning: ", format, args);
    va_end(args);
}

void cli_warn_all(cli_run *run, const qa_warnings *warnings) {
    for (size_t i = 0; i < warnings->n; i++) {
        cli_warn(run, "%s", warnings->lines[i]);
    }
}

qa_status cli_read_text(cli_run *run, qa_text *text, const char *path, size_t max_bytes, qa_error *err) {
    static const char MARK[] = "\xef\xbb\xbf", POINTER[] = "version https://git-lfs";
    const char *name = strcmp(path, "-") == 0 ? "standard input" : path;
    size_t bad = 0;
    QA_TRY(qa_read_file(text, path, max_bytes, err));
    const char *foreign = qa_foreign_content(text->data, text->n); /* what text may begin with, too, is text */
    const bool pointer = text->n >= strlen(POINTER) && memcmp(text->data, POINTER, strlen(POINTER)) == 0;
    if (foreign != NULL && (pointer || !qa_utf8_valid(text->data, text->n, &bad))) {
        return qa_fail(err, QA_ERR_FORMAT, "it is %s", foreign);
    }
    if (text->n >= strlen(MARK) && memcmp(text->data, MARK, strlen(MARK)) == 0) {
        cli_warn(run, "%s: the byte-order mark in front of the text is left out", name);
        text->n -= strlen(MARK);
        memmove(text->data, text->data + strlen(MARK), text->n + 1); /* with the zero behind it */
    }
    return QA_OK;
}

void cli_say(cli_run *run, const char *format, ...) {
    if (!run->args->quiet) {
        va_list args;
        va_start(args, format);
        say(run, "", format, args);
        va_end(args);
    }
}

void cli_detail(cli_run *run, const char *format, ...) {
    if (run->args->verbose) {
        va_list args;
        va_start(args, format);
        say(run, "", format, args);
        va_end(args);
    }
}

/* The library's lines; the commands themselves say what everybody should know. */
static void on_log(void *user, qa_log_level level, const char *line) {
    cli_run *run = user;
    if (level == QA_LOG_WARNING) {
        cli_warn(run, "%s", line);
    } else {
        cli_detail(run, "%s", line);
    }
}

qa_status cli_bad_usage(cli_run *run, qa_error *err, const char *format, ...) {
    char message[QA_MESSAGE_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    run->bad_usage = true;
    return qa_fail(err, QA_ERR_ARGUMENT, "%s", message);
}

qa_status cli_usage_if(cli_run *run, qa_status status) {
    run->bad_usage = run->bad_usage || status == QA_ERR_ARGUMENT;
    return status;
}

/* ---- loading ---- */

qa_status cli_open_context(cli_run *run, qa_error *err) {
    if (run->context != NULL) {
        return QA_OK;
    }
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (cores > 0 && run->args->threads > 4 * (size_t)cores) {
        cli_warn(run, "--threads %zu on %ld processors: they wait for each other, fewer are faster", run->args->threads,
                 cores);
    }
    return qa_context_create(&run->context, run->args->threads, (qa_logger){on_log, run}, err);
}

qa_weights_dtype cli_weights_dtype(const cli_args *args, qa_weights_dtype otherwise) {
    if (args->weights_dtype == NULL) {
        return otherwise;
    }
    return strcmp(args->weights_dtype, "auto") == 0   ? QA_WEIGHTS_STORED
           : strcmp(args->weights_dtype, "bf16") == 0 ? QA_WEIGHTS_BF16
                                                      : QA_WEIGHTS_REAL;
}

qa_status cli_load_model_as(cli_run *run, qa_weights_dtype otherwise, qa_error *err) {
    const double begun = cli_now();
    QA_TRY(cli_open_context(run, err));
    QA_TRY(qa_model_load_as(&run->model, run->context, run->args->model, cli_weights_dtype(run->args, otherwise), err));
    cli_detail(run, "loaded %s in %.2f s", run->args->model, cli_now() - begun);
    return QA_OK;
}

qa_status cli_load_model(cli_run *run, qa_error *err) { return cli_load_model_as(run, QA_WEIGHTS_REAL, err); }

qa_status cli_load_tokenizer_of(cli_run *run, const char *dir, qa_error *err) {
    QA_TRY(qa_tokenizer_load(&run->tokenizer, dir, err));
    qa_warnings_log(qa_tokenizer_warnings(run->tokenizer), &(qa_logger){on_log, run});
    return QA_OK;
}

/* The tokenizer's own special tokens against the model's files. */
static void compare_with_model(cli_run *run) {
    const qa_model_info *info = qa_model_get_info(run->model);
    const qa_logger logger = {on_log, run};
    const int32_t eos = qa_tokenizer_eos(run->tokenizer), bos = qa_tokenizer_bos(run->tokenizer);
    if (eos >= 0 && info->n_eos > 0 && !qa_is_one_of(eos, info->eos_ids, info->n_eos)) {
        cli_warn(
            run,
            "%s: the tokenizer's eos_token \"%s\" (%ld) is no eos_token_id of config.json or generation_config.json "
            "(%ld): plain text ends with it, and generation stops on it, too, which transformers' would not",
            run->args->model, qa_tokenizer_token(run->tokenizer, eos), (long)eos, (long)info->eos_ids[0]);
    }
    if (bos >= 0 && info->bos_id >= 0 && bos != info->bos_id) {
        qa_log(&logger, QA_LOG_WARNING,
               "%s: the tokenizer's bos_token \"%s\" is %ld, bos_token_id in config.json or generation_config.json "
               "%ld: text begins as the tokenizer says",
               run->args->model, qa_tokenizer_token(run->tokenizer, bos), (long)bos, (long)info->bos_id);
    }
}

qa_status cli_load_tokenizer(cli_run *run, bool required, qa_error *err) {
    char *path = NULL;
    QA_TRY(qa_join_path(&path, run->args->model, "tokenizer.json", err));
    bool there = false;
    const qa_status status = qa_find_optional(&there, path, err);
    free(path);
    QA_TRY(status);
    if (there || required) {
        QA_TRY(cli_load_tokenizer_of(run, run->args->model, err));
        if (run->model != NULL) {
            compare_with_model(run);
            qa_model_prefer_eos(run->model, qa_tokenizer_eos(run->tokenizer));
        }
    }
    return QA_OK;
}

qa_status cli_load_adapter(cli_run *run, qa_error *err) {
    if (run->args->adapter == NULL) {
        return QA_OK;
    }
    QA_TRY(qa_adapter_load(&run->adapter, run->model, run->args->adapter, err));
    return cli_check_base(run, err);
}

/* ---- objective ---- */

static void override(double *value, double given) {
    if (!isnan(given)) {
        *value = given;
    }
}

/* The options that change single numbers of an objective. */
static qa_status override_objective(const cli_args *args, qa_objective *objective, qa_error *err) {
    if (args->objective != NULL) {
        QA_TRY(qa_objective_kind_by_name(&objective->kind, args->objective, err));
    }
    if (args->q_parametrisation != NULL) {
        QA_TRY(qa_q_parametrisation_by_name(&objective->q_parametrisation, args->q_parametrisation, err));
    }
    override(&objective->alpha_tilde, args->alpha_tilde);
    override(&objective->alpha_0, args->alpha_0);
    override(&objective->gamma, args->gamma);
    override(&objective->beta, args->beta);
    override(&objective->dpo_beta, objective->method == QA_METHOD_DPO ? args->dpo_beta : NAN);
    if (args->length_normalisation != CLI_UNSET) {
        objective->length_normalisation = args->length_normalisation == CLI_ON;
    }
    return QA_OK;
}

/* Where the objective comes from before single options change it. */
typedef struct objective_source {
    bool recorded; /* the adapter's training_config.json, which the run takes */
    bool plain;    /* the adapter has no such file: PEFT's or TRL's, a policy of its own */
} objective_source;

/* Whether single options say the whole of (M7): then nothing has to be assumed of an adapter without a record. */
static bool policy_is_given(const cli_args *args) {
    return args->q_parametrisation != NULL && !isnan(args->alpha_0) && !isnan(args->alpha_tilde);
}

/* --method, else the record's, else a plain adapter's unless the options say what it is; --recipe is the residual
 * Q-function's. */
static qa_status begin_objective(cli_run *run, qa_objective *objective, objective_source *source, qa_error *err) {
    const cli_args *args = run->args;
    qa_objective record = {0};
    qa_method method = QA_METHOD_QADAPTER;
    bool found = false;
    *source = (objective_source){0};
    if (args->method != NULL) {
        QA_TRY(cli_usage_if(run, qa_method_by_name(&method, args->method, err)));
    }
    if (args->adapter != NULL && args->recipe == NULL) {
        QA_TRY(qa_training_config_load(args->adapter, &found, &record, err));
    }
    source->recorded = found && (args->method == NULL || record.method == method);
    source->plain =
        args->adapter != NULL && args->recipe == NULL && args->method == NULL && !found && !policy_is_given(args);
    if (found && !source->recorded) {
        cli_warn(run, "--method %s: %s was trained with method %s", args->method, args->adapter,
                 qa_method_name(record.method));
    }
    if (source->recorded) {
        *objective = record;
    } else if (source->plain || method != QA_METHOD_QADAPTER) {
        *objective = qa_objective_for_method(source->plain ? QA_METHOD_SFT : method);
    } else {
        QA_TRY(qa_objective_from_recipe(objective, args->recipe == NULL ? "theory" : args->recipe, err));
    }
    return QA_OK;
}

static qa_status check_objective(cli_run *run, const qa_objective *objective, const objective_source *source,
                                 qa_error *err) {
    const qa_status status = qa_objective_check(objective, err);
    if (status != QA_OK && source->plain) {
        return cli_bad_usage(
            run, err,
            "%s has no training_config.json, so it is read as a plain LoRA adapter, whose policy is "
            "softmax(adapted logits); an option of residual Q-learning is given: add --recipe theory or "
            "--recipe published",
            run->args->adapter);
    }
    return cli_usage_if(run, status);
}

static qa_status check_reading_options(cli_run *run, qa_error *err);

qa_status cli_resolve_objective(cli_run *run, qa_objective *objective, const char **recipe, qa_error *err) {
    const cli_args *args = run->args;
    objective_source source = {0};
    char line[CLI_LINE_BYTES];
    QA_TRY(check_reading_options(run, err));
    QA_TRY(begin_objective(run, objective, &source, err));
    QA_TRY(override_objective(args, objective, err));
    QA_TRY(check_objective(run, objective, &source, err));
    if (!isnan(args->dpo_beta) && objective->method != QA_METHOD_DPO) {
        return cli_bad_usage(run, err, "--dpo-beta belongs to --method dpo, not to %s",
                             qa_method_name(objective->method));
    }
    qa_objective_text(objective, line, sizeof line);
    if (source.plain) {
        cli_say(run,
                "%s has no training_config.json, so it is read as a plain LoRA adapter, as of --method sft: %s; say "
                "--method dpo --dpo-beta 0.1 or --recipe published where it is another one",
                args->adapter, line);
    } else if (objective->method != QA_METHOD_QADAPTER) {
        cli_say(run, "method %s%s: %s", qa_method_name(objective->method),
                source.recorded ? ", as the adapter was trained" : "", line);
    } else {
        cli_say(run, "recipe %s: %s",
                source.recorded        ? "as the adapter was trained"
                : args->recipe != NULL ? args->recipe
                                       : "theory",
                line);
    }
    if (recipe != NULL) {
        *recipe = args->recipe != NULL ? args->recipe : "theory";
    }
    return QA_OK;
}

/* An option of residual Q-learning given to a method that has no such thing. */
static const char *foreign_option(const cli_args *args) {
    const struct {
        bool given;
        const char *name;
    } options[] = {{args->recipe != NULL, "--recipe"},
                   {args->objective != NULL, "--objective"},
                   {args->q_parametrisation != NULL, "--q-parametrisation"},
                   {!isnan(args->alpha_tilde), "--alpha-tilde"},
                   {!isnan(args->alpha_0), "--alpha-0"},
                   {!isnan(args->gamma), "--gamma"},
                   {!isnan(args->beta), "--beta"},
                   {args->length_normalisation != CLI_UNSET, "--length-normalisation"}};
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (options[i].given) {
            return options[i].name;
        }
    }
    return NULL;
}

/* --method of eval, score and generate, and what it excludes. */
static qa_status check_reading_options(cli_run *run, qa_error *err) {
    const cli_args *args = run->args;
    const char *foreign = foreign_option(args);
    if (args->method == NULL || strcmp(args->method, "qadapter") == 0) {
        return QA_OK;
    }
    if (args->adapter == NULL) {
        return cli_bad_usage(run, err, "--method says how an adapter is read: give --adapter");
    }
    return foreign == NULL
               ? QA_OK
               : cli_bad_usage(run, err, "%s belongs to --method qadapter, not to %s%s", foreign, args->method,
                               strcmp(args->method, "dpo") == 0 && strcmp(foreign, "--beta") == 0
                                   ? ", whose own is called --dpo-beta"
                                   : "");
}

static qa_status check_method_options(cli_run *run, qa_method method, qa_error *err) {
    const cli_args *args = run->args;
    const char *foreign = method == QA_METHOD_QADAPTER ? NULL : foreign_option(args);
    if (foreign != NULL) {
        return cli_bad_usage(
            run, err, "%s belongs to --method qadapter, not to %s%s", foreign, qa_method_name(method),
            method == QA_METHOD_DPO && strcmp(foreign, "--beta") == 0 ? ", whose own is called --dpo-beta" : "");
    }
    if (!isnan(args->dpo_beta) && method != QA_METHOD_DPO) {
        return cli_bad_usage(run, err, "--dpo-beta belongs to --method dpo, not to %s", qa_method_name(method));
    }
    if ((args->replay_data != NULL || !isnan(args->replay_ratio)) && method != QA_METHOD_REPLAY) {
        return cli_bad_usage(run, err, "%s belongs to --method replay, not to %s",
                             args->replay_data != NULL ? "--replay-data" : "--replay-ratio", qa_method_name(method));
    }
    if (method == QA_METHOD_REPLAY && args->replay_data == NULL) {
        return cli_bad_usage(
            run, err,
            "--method replay needs --replay-data, responses of the base model's own: `qadapter generate "
            "--model %s --in PROMPTS --temperature 0 --unique --out FILE` writes them",
            args->model);
    }
    return QA_OK;
}

qa_status cli_resolve_method(cli_run *run, qa_objective *objective, const char **recipe, qa_error *err) {
    qa_method method = QA_METHOD_QADAPTER;
    char line[CLI_LINE_BYTES];
    if (run->args->method != NULL) {
        QA_TRY(cli_usage_if(run, qa_method_by_name(&method, run->args->method, err)));
    }
    QA_TRY(check_method_options(run, method, err));
    if (method == QA_METHOD_QADAPTER) {
        return cli_resolve_objective(run, objective, recipe, err);
    }
    *objective = qa_objective_for_method(method);
    override(&objective->dpo_beta, run->args->dpo_beta);
    *recipe = NULL;
    QA_TRY(cli_usage_if(run, qa_objective_check(objective, err)));
    qa_objective_text(objective, line, sizeof line);
    cli_say(run, "method %s: %s", qa_method_name(method), line);
    return QA_OK;
}

qa_status cli_lora_options(const cli_args *args, qa_lora_options *options, qa_error *err) {
    QA_TRY(qa_train_recipe(args->recipe == NULL ? "theory" : args->recipe, NULL, options, err));
    if (args->lora_rank != 0) {
        options->alpha *= (double)args->lora_rank / (double)options->rank; /* the same scale alpha / rank */
        options->rank = args->lora_rank;
    }
    override(&options->alpha, args->lora_alpha);
    override(&options->dropout, args->lora_dropout);
    options->use_rslora = args->use_rslora;
    return args->lora_targets == NULL ? QA_OK : qa_targets_parse(options->targets, args->lora_targets, err);
}

void cli_targets_text(const bool targets[QA_TARGETS], char *buffer, size_t bytes) {
    size_t used = 0;
    buffer[0] = '\0';
    for (int target = 0; target < QA_TARGETS; target++) {
        if (targets[target] && used < bytes) {
            const int written =
                snprintf(buffer + used, bytes - used, "%s%s", used == 0 ? "" : ",", qa_target_name((qa_target)target));
            used += written < 0 ? 0 : (size_t)written;
        }
    }
}

/* ---- data ---- */

/* What differs from the data that the adapter was trained on, once. */
static void say_data(cli_run *run, const qa_data_record *record, qa_chat_template now) {
    const cli_args *args = run->args;
    if (run->said_data) {
        return;
    }
    run->said_data = true;
    if (record->chat != QA_CHAT_NONE && record->chat != now) {
        if (args->chat_template != NULL) {
            cli_warn(run, "--chat-template %s: %s was trained with the chat template %s, so it meets other prompts now",
                     args->chat_template, args->adapter, qa_chat_template_name(record->chat));
        } else {
            cli_say(run, "chat template %s, as %s was trained", qa_chat_template_name(record->chat), args->adapter);
        }
    }
    if (record->published_data && !args->published_quirks) {
        cli_warn(run,
                 "%s was trained on data with the authors' quirks (--published-data-quirks): where the tokenizer puts "
                 "a token in front of every text, its prompts had one more",
                 args->adapter);
    }
}

/* A template's marks that the tokenizer cuts in pieces: a warning. A named template whose end of turn is among them is
 * an error before anything is trained, but for `tokenize`, which shows what becomes of it. */
static qa_status check_marks(cli_run *run, qa_chat_template which, qa_error *err) {
    if (run->marks_checked || run->tokenizer == NULL || which == QA_CHAT_NONE || which == QA_CHAT_UNKNOWN) {
        return QA_OK;
    }
    qa_text missing = {0};
    bool end_missing = false;
    run->marks_checked = true;
    qa_status status = qa_chat_missing_marks(which, run->tokenizer, &missing, &end_missing, err);
    if (status == QA_OK && end_missing && run->args->chat_template != NULL &&
        strcmp(run->command->name, "tokenize") != 0) {
        status =
            qa_fail(err, QA_ERR_MISMATCH,
                    "the chat template %s needs tokens that the tokenizer does not have: %s; it would cut the end of "
                    "a turn in pieces, and nothing could stop on it. Name the template that the model was trained "
                    "with, or give the data as rendered text",
                    qa_chat_template_name(which), missing.data);
    } else if (status == QA_OK && missing.n > 0) {
        cli_warn(run, "the tokenizer has no single token for %s of the chat template %s and cuts %s in pieces%s",
                 missing.data, qa_chat_template_name(which), strchr(missing.data, ',') == NULL ? "it" : "them",
                 end_missing ? ": nothing can stop on the end of a turn" : "");
    }
    qa_text_free(&missing);
    return status;
}

qa_status cli_detect_template(cli_run *run, const char *dir, qa_chat_template *which, qa_error *err) {
    qa_warnings warnings = {0};
    const qa_status status = qa_chat_template_detect(which, dir, &warnings, err);
    if (!run->said_template) {
        qa_warnings_log(&warnings, &(qa_logger){on_log, run});
    }
    run->said_template = true;
    qa_warnings_free(&warnings);
    return status;
}

static qa_status template_in(cli_run *run, const char *dir, qa_chat_template *which, bool *assumed, qa_error *err) {
    *assumed = false;
    if (run->args->chat_template != NULL) {
        return qa_chat_template_by_name(which, run->args->chat_template, err);
    }
    QA_TRY(cli_detect_template(run, dir, which, err));
    if (*which == QA_CHAT_NONE) {
        *which = QA_CHAT_PLAIN;
        *assumed = true;
    }
    return QA_OK;
}

qa_status cli_resolve_template(cli_run *run, qa_chat_template *which, bool *assumed, qa_error *err) {
    const cli_args *args = run->args;
    qa_data_record record = {0};
    QA_TRY(template_in(run, args->model, which, assumed, err));
    if (args->adapter == NULL) {
        return check_marks(run, *which, err);
    }
    QA_TRY(qa_training_config_data(args->adapter, &record, err));
    say_data(run, &record, *which);
    if (record.chat != QA_CHAT_NONE && args->chat_template == NULL) {
        *assumed = *assumed && *which == record.chat;
        *which = record.chat;
    }
    return check_marks(run, *which, err);
}

qa_status cli_resolve_template_of(cli_run *run, const char *dir, qa_chat_template *which, bool *assumed,
                                  qa_error *err) {
    QA_TRY(template_in(run, dir, which, assumed, err));
    return check_marks(run, *which, err);
}

/* --response-end > the authors', with their other quirks > what the adapter was trained with > the end token. */
static qa_status resolve_response_end(cli_run *run, qa_response_end *which, qa_error *err) {
    const cli_args *args = run->args;
    qa_data_record record = {0};
    if (args->response_end != NULL) {
        return qa_response_end_by_name(which, args->response_end, err);
    }
    if (args->adapter != NULL) {
        QA_TRY(qa_training_config_data(args->adapter, &record, err));
    }
    *which = args->published_quirks ? QA_RESPONSE_END_TEMPLATE : record.response_end;
    return QA_OK;
}

qa_status cli_resolve_micro_batch(cli_run *run, size_t *micro_batch, qa_error *err) {
    const cli_args *args = run->args;
    const bool given = args->micro_batch != CLI_NOT_GIVEN;
    *micro_batch = given ? args->micro_batch : 0;
    return given || args->adapter == NULL ? QA_OK : qa_training_config_micro_batch(args->adapter, micro_batch, err);
}

qa_status cli_resolve_max_length(cli_run *run, size_t *max_length, qa_error *err) {
    const size_t context = qa_model_get_info(run->model)->max_position_embeddings;
    const size_t given = run->args->max_length;
    if (given == 1) {
        return cli_bad_usage(run, err, "--max-length: expected at least 2, a token of prompt and one of response");
    }
    if (given > context) {
        return cli_bad_usage(run, err, "--max-length: expected at most %zu, the model's context, found \"%zu\"",
                             context, given);
    }
    *max_length = given != 0 ? given : context < DEFAULT_MAX_LENGTH ? context : DEFAULT_MAX_LENGTH;
    return QA_OK;
}

/* Which template was applied, if any, and where it lets responses end; "" for ids. */
static void template_text(const qa_pairs *pairs, qa_chat_template which, bool assumed, char *text, size_t bytes) {
    const char *name = qa_chat_template_name(which);
    text[0] = '\0';
    if (qa_pairs_kind_of(pairs) == QA_PAIRS_TEXT) {
        const bool has_one = !assumed && which != QA_CHAT_PLAIN;
        (void)snprintf(text, bytes, "; no chat template is applied to text%s%s%s",
                       has_one ? " (messages get the model's, " : "", has_one ? name : "", has_one ? ")" : "");
    } else if (qa_pairs_kind_of(pairs) == QA_PAIRS_DIALOGUES) {
        const bool more = qa_chat_after_turn(which)[0] != '\0';
        const bool whole = qa_pairs_response_end(pairs) == QA_RESPONSE_END_TEMPLATE;
        (void)snprintf(text, bytes, "; chat template %s%s%s", name, assumed ? " (the model's folder has none)" : "",
                       !more   ? ""
                       : whole ? "; responses end with the newline after the end token (--response-end template)"
                               : "; responses end with the end token (in TRL with the newline after it: --response-end "
                                 "template)");
    }
}

/* noun: "pair" or "response" */
static void say_pairs(cli_run *run, const char *path, const qa_pairs *pairs, const char *noun,
                      const char *template_text) {
    const size_t n = qa_pairs_count(pairs);
    cli_say(run, "%s: %zu %s%s (%s), longest prompt %zu, longest response %zu tokens%s", path, n, noun, cli_plural(n),
            qa_pairs_format(pairs), qa_pairs_longest_prompt(pairs), qa_pairs_longest_response(pairs), template_text);
    cli_warn_all(run, qa_pairs_warnings(pairs));
    const qa_skip_report *report = qa_pairs_report(pairs);
    for (int reason = 0; reason < QA_SKIP_REASONS; reason++) {
        if (report->count[reason] != 0) {
            const char *detail = report->first_detail[reason];
            cli_warn(run, "%s: skipped %zu %s%s: %s (first: %s %zu%s%s)", path, report->count[reason], noun,
                     cli_plural(report->count[reason]), qa_skip_reason_text((qa_skip_reason)reason),
                     report->elements ? "element" : "line", report->first_line[reason], detail[0] != '\0' ? ", " : "",
                     detail);
        }
    }
    if (report->truncated_responses != 0) {
        cli_say(run, "%s: %zu response%s cut at the length limit (kept; their last state is not terminal)", path,
                report->truncated_responses, cli_plural(report->truncated_responses));
    }
}

static qa_status load_pairs(cli_run *run, const char *path, size_t max_length, bool responses, qa_pairs **pairs,
                            qa_error *err) {
    const cli_args *args = run->args;
    const qa_model_info *info = qa_model_get_info(run->model);
    qa_chat_template which = QA_CHAT_PLAIN;
    bool assumed = false;
    qa_response_end response_end = QA_RESPONSE_END_TOKEN;
    QA_TRY(cli_resolve_template(run, &which, &assumed, err));
    QA_TRY(resolve_response_end(run, &response_end, err));
    const qa_pairs_options options = {
        .dsp_domain = args->dsp_domain,
        .chat = which,
        .vocab_size = info->vocab_size,
        .max_length = max_length,
        .eos_ids = info->eos_ids,
        .n_eos = info->n_eos,
        .strict = args->strict,
        .published_data = args->published_quirks,
        .response_end = response_end,
        .max_pairs = responses ? 0 : args->max_pairs,
        .responses = responses,
    };
    const double begun = cli_now();
    QA_TRY(qa_pairs_load(pairs, path, run->tokenizer, &options, err));
    cli_detail(run, "read and tokenised %s in %.2f s", path, cli_now() - begun);
    char text[CLI_LINE_BYTES];
    template_text(*pairs, which, assumed, text, sizeof text);
    say_pairs(run, path, *pairs, responses ? "response" : "pair", text);
    return QA_OK;
}

qa_status cli_load_pairs(cli_run *run, const char *path, size_t max_length, qa_pairs **pairs, qa_error *err) {
    return load_pairs(run, path, max_length, false, pairs, err);
}

qa_status cli_load_responses(cli_run *run, const char *path, size_t max_length, qa_pairs **pairs, qa_error *err) {
    return load_pairs(run, path, max_length, true, pairs, err);
}

void cli_say_memory(cli_run *run, size_t weights, size_t workspace, size_t cache) {
    char weights_text[CLI_NUMBER_BYTES];
    char workspace_text[CLI_NUMBER_BYTES];
    char cache_text[CLI_NUMBER_BYTES];
    cli_format_bytes(weights_text, sizeof weights_text, weights);
    cli_format_bytes(workspace_text, sizeof workspace_text, workspace);
    cli_format_bytes(cache_text, sizeof cache_text, cache);
    cli_say(run, "memory: weights %s, workspace %s%s%s", weights_text, workspace_text, cache > 0 ? ", base cache " : "",
            cache > 0 ? cache_text : "");
#ifdef _SC_PHYS_PAGES
    const long pages = sysconf(_SC_PHYS_PAGES);
    const long page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && page > 0 && (double)weights + (double)workspace + (double)cache > (double)pages * (double)page) {
        cli_warn(run, "that is more than this machine's memory: shorten --max-length%s%s, or expect it to be killed",
                 run->args->recompute ? "" : ", take --recompute", cache > 0 ? ", take --base-cache disk" : "");
    }
#endif
}

/* ---- output ---- */

qa_status cli_append_shell_word(qa_text *text, const char *word, qa_error *err) {
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./=,:+@%";
    if (word[0] != '\0' && word[strspn(word, plain)] == '\0') {
        return qa_text_append_z(text, word, err);
    }
    QA_TRY(qa_text_append_z(text, "'", err));
    for (const char *c = word; *c != '\0'; c++) {
        QA_TRY(*c == '\'' ? qa_text_append_z(text, "'\\''", err) : qa_text_append(text, c, 1, err));
    }
    return qa_text_append_z(text, "'", err);
}

static qa_status stdout_failed(qa_error *err) {
    return qa_fail(err, QA_ERR_IO, "cannot write to standard output: %s", strerror(errno));
}

qa_status cli_put(const char *data, size_t bytes, qa_error *err) {
    return fwrite(data, 1, bytes, stdout) == bytes ? QA_OK : stdout_failed(err);
}

qa_status cli_flush(qa_error *err) { return fflush(stdout) == 0 ? QA_OK : stdout_failed(err); }
