/* What a run loads, and what of it the options leave open. See common.h. */
#include "cli/common.h"

#include "base/buffer.h"
#include "base/context.h"
#include "base/try.h"
#include "base/warnings.h"
#include "cli/format.h"
#include "cli/ranks.h"
#include "io/file.h"
#include "io/input.h"
#include "model/merge.h"
#include "text/answer_end.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void cli_run_free(cli_run *run) {
    cli_progress_clear(&run->progress);
    qa_adapter_free(run->adapter);
    for (size_t i = 0; i < run->mixture.n; i++) {
        qa_adapter_free((qa_adapter *)(uintptr_t)run->parts[i].adapter);
    }
    free(run->parts);
    free(run->weights);
    qa_chat_free(run->chat);
    qa_tokenizer_free(run->tokenizer);
    qa_model_free(run->model);
    qa_context_free(run->context);
    free(run->snapshot);
}

/* ---- loading ---- */

/* --threads; without it ranks of one machine share its processors. 0: all of them. */
static size_t threads_of_rank(cli_run *run) {
    size_t allowed = 0, threads = run->args->threads;
    if (qa_cluster_ranks(run->cluster) == 1) {
        return threads;
    }
    const size_t share = qa_cluster_share_of_processors(run->cluster, &allowed);
    if (allowed < (threads == 0 ? share : threads)) {
        cli_warn(run,
                 "the launcher lets each rank run on %zu of this machine's processors, which are %zu a rank: `mpirun "
                 "--bind-to none` or `srun --cpus-per-task` lets it run on more",
                 allowed, share);
    }
    return threads > 0 ? threads : share < allowed ? share : allowed;
}

qa_status cli_open_context(cli_run *run, qa_error *err) {
    if (run->context != NULL) {
        return QA_OK;
    }
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (cores > 0 && run->args->threads > 4 * (size_t)cores) {
        cli_warn(run, "--threads %zu on %ld processors: they wait for each other, fewer are faster", run->args->threads,
                 cores);
    }
    QA_TRY(qa_context_create(&run->context, threads_of_rank(run), cli_logger(run), err));
    run->context->cluster = run->cluster;
    return QA_OK;
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
    return cli_compare_models(run, err);
}

qa_status cli_load_model(cli_run *run, qa_error *err) { return cli_load_model_as(run, QA_WEIGHTS_REAL, err); }

qa_status cli_load_tokenizer_of(cli_run *run, const char *dir, qa_error *err) {
    QA_TRY(qa_tokenizer_load(&run->tokenizer, dir, err));
    const qa_logger logger = cli_logger(run);
    qa_warnings_log(qa_tokenizer_warnings(run->tokenizer), &logger);
    return QA_OK;
}

/* The tokenizer's own special tokens against the model's files. */
static void compare_with_model(cli_run *run) {
    const qa_model_info *info = qa_model_get_info(run->model);
    const qa_logger logger = cli_logger(run);
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

void cli_use_adapter(cli_run *run, const char *dir) {
    qa_adapter_free(run->adapter);
    run->adapter = NULL;
    ((cli_args *)(uintptr_t)run->args)->adapter = dir;
}

qa_status cli_load_adapter(cli_run *run, qa_error *err) {
    if (run->args->adapter == NULL) {
        return QA_OK;
    }
    qa_error why = {0};
    bool found = false;
    const qa_status status = qa_adapter_load(&run->adapter, run->model, run->args->adapter, err);
    if (status != QA_OK) {
        return cli_explain_unread_adapter(run, status, err);
    }
    if (qa_training_config_reference(run->args->adapter, run->adapter, run->model, &found, &why) != QA_OK) {
        cli_warn(run, "%s; what is measured against it (rewards, margins) cannot be, but for --reference base",
                 why.message);
    }
    return cli_check_base(run, err);
}

qa_status cli_merge_plain(cli_run *run, const qa_objective *objective, const qa_adapter **adapter, qa_error *err) {
    if (run->adapter == NULL || qa_adapter_is_full(run->adapter) || !qa_objective_is_plain(objective)) {
        return QA_OK; /* one that is a whole model runs alone as it is */
    }
    const qa_status status = qa_model_merge(run->model, run->adapter, err);
    if (status == QA_OK) {
        *adapter = NULL;
        cli_detail(run, "the adapter is in the weights for this run: its policy is that of one model");
    }
    return status == QA_ERR_UNSUPPORTED ? QA_OK : status; /* BF16 would round it away: its branches run beside */
}

void cli_say_memory(cli_run *run, size_t weights, size_t workspace, size_t cache, bool recompute) {
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
                 recompute ? "" : ", take --recompute", cache > 0 ? ", take --base-cache disk" : "");
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
