/* qadapter eval --suite: questions, sampled answers and ordinary text, with the held-out pairs of a preference. */
#include "cli/eval.h"

#include "base/memory.h"
#include "base/try.h"
#include "io/file.h"

#include <stdlib.h>
#include <string.h>

/* ---- which suite ---- */

/* A definition or a file of questions, or a folder with a definition. */
static bool holds_suite(const char *path) {
    return qa_path_is_dir(path) ? qa_holds(path, "suite.json") : qa_path_exists(path);
}

/* The suite that --suite names: the path itself, the folder suite in it, or the one of a bundled model. */
static qa_status find_suite(cli_run *run, qa_suite **suite, qa_error *err) {
    const char *name = eval_args_of(run)->suite;
    char *inside = qa_path_join(name, "suite");
    char *bundle = qa_path_join("weights", name);
    char *bundled = bundle == NULL ? NULL : qa_path_join(bundle, "suite");
    qa_status status = QA_OK;
    if (inside == NULL || bundled == NULL) {
        status = QA_NO_MEMORY(err, "a path");
    } else if (holds_suite(name)) {
        status = qa_suite_load(suite, name, err);
    } else if (holds_suite(inside)) {
        status = qa_suite_load(suite, inside, err);
    } else if (holds_suite(bundled)) {
        status = qa_suite_load(suite, bundled, err);
    } else {
        status = qa_fail(err, QA_ERR_IO,
                         "no suite \"%s\": neither the file %s nor %s/suite.json, %s/suite.json or %s/suite.json is "
                         "there (the last ones for names of bundled models)",
                         name, name, name, inside, bundled);
    }
    free(inside);
    free(bundle);
    free(bundled);
    return status;
}

static qa_status check_preference(cli_run *run, const qa_suite *suite, qa_error *err) {
    const char *name = eval_args_of(run)->preference;
    const char *names = qa_suite_preference_names(suite);
    if (name == NULL || qa_suite_has_preference(suite, name)) {
        return QA_OK;
    }
    return names[0] == '\0'
               ? cli_bad_usage(run, err, "--preference: the suite %s has no preferences", qa_suite_name(suite))
               : cli_bad_usage(run, err, "--preference: expected one of %s, found \"%s\"", names, name);
}

/* ---- running ---- */

typedef struct suite_watch {
    cli_run *run;
    const char *what; /* the part that runs, borrowed from the suite */
} suite_watch;

static bool on_suite_progress(void *user, const char *what, size_t done, size_t total) {
    suite_watch *watch = user;
    if (watch->what == NULL || strcmp(watch->what, what) != 0) {
        watch->what = what;
        cli_progress_clear(&watch->run->progress);
        cli_progress_begin(&watch->run->progress, !watch->run->args->quiet);
        cli_detail(watch->run, "%s: %zu answers or texts", what, total);
    }
    cli_progress_count(&watch->run->progress, what, done, total);
    return !cli_interrupted();
}

static bool on_pairs_progress(void *user, size_t done, size_t total) {
    cli_run *run = user;
    cli_progress_count(&run->progress, "pairs", done, total);
    return !cli_interrupted();
}

static qa_status run_suite(cli_run *run, const qa_suite *suite, const qa_objective *objective, qa_suite_result *result,
                           qa_error *err) {
    const eval_args *args = eval_args_of(run);
    bool assumed = false;
    suite_watch watch = {.run = run};
    qa_suite_options options = {.objective = objective,
                                .preference = args->preference,
                                .limit = args->limit,
                                .samples = args->samples,
                                .batch = args->batch,
                                .measured = args->kl,
                                .seed = args->seed,
                                .transcript = args->transcript,
                                .progress = on_suite_progress,
                                .user = &watch};
    QA_TRY(cli_resolve_chat(run, &options.renderer, &assumed, err));
    if (assumed) {
        cli_say(run, "%s has no chat template: using plain (--chat-template names another)", args->shared.model);
    }
    const qa_adapter *adapter = run->adapter;
    if (!args->kl &&
        args->transcript == NULL) { /* whose lines have both policies' numbers, or say that they have not */
        QA_TRY(cli_merge_plain(run, objective, &adapter, err));
    }
    cli_progress_begin(&run->progress, !args->shared.quiet);
    QA_TRY(qa_suite_run(suite, run->model, adapter, run->tokenizer, &options, result, err));
    cli_progress_clear(&run->progress);
    cli_warn_all(run, &result->warnings);
    return QA_OK;
}

/* The held-out pairs: --data, else those that the suite names for the preference. */
static const char *pairs_path(cli_run *run, const qa_suite *suite) {
    const eval_args *args = eval_args_of(run);
    if (args->shared.data != NULL || args->preference == NULL) {
        return args->shared.data;
    }
    const char *path = qa_suite_preference_pairs(suite, args->preference);
    if (path == NULL || !qa_path_exists(path)) {
        cli_warn(run, "no held-out pairs for %s%s%s: their accuracy is left out (--data names a file)",
                 args->preference, path == NULL ? "" : ", since there is no file ", path == NULL ? "" : path);
        return NULL;
    }
    return path;
}

static qa_status run_pairs(cli_run *run, const char *path, const qa_objective *objective, qa_evaluation *evaluation,
                           qa_error *err) {
    qa_pairs *pairs = NULL;
    size_t max_length = 0;
    size_t micro_batch = 0;
    QA_TRY(cli_resolve_micro_batch(run, &micro_batch, err));
    QA_TRY(cli_resolve_max_length(run, &max_length, err));
    QA_TRY(cli_load_pairs(run, path, max_length, &pairs, err));
    cli_progress_begin(&run->progress, !run->args->quiet);
    const qa_status status =
        qa_evaluate(run->model, run->adapter, pairs, objective, micro_batch, on_pairs_progress, run, evaluation, err);
    cli_progress_clear(&run->progress);
    qa_pairs_free(pairs);
    return status;
}

static qa_status load_suite_run(cli_run *run, const qa_suite *suite, qa_objective *objective, qa_error *err) {
    QA_TRY(check_preference(run, suite, err));
    QA_TRY(cli_resolve_objective(run, objective, NULL, err));
    QA_TRY(cli_load_model(run, err));
    QA_TRY(cli_load_adapter(run, err));
    return cli_load_tokenizer(run, true, err);
}

qa_status cli_eval_suite(cli_run *run, qa_error *err) {
    const eval_args *args = eval_args_of(run);
    qa_suite *suite = NULL;
    qa_objective objective;
    qa_suite_result result = {0};
    qa_evaluation evaluation = {0};
    qa_status status = QA_OK;
    if (args->transcript != NULL && strcmp(args->transcript, "-") == 0) {
        return cli_bad_usage(run, err, "--transcript: expected a file, found \"-\": standard output has the report");
    }
    QA_GOTO(done, find_suite(run, &suite, err));
    cli_warn_all(run, qa_suite_warnings(suite));
    QA_GOTO(done, load_suite_run(run, suite, &objective, err));
    cli_catch_interrupts(run->command->name, "stopping");
    /* the pairs first: they are read and checked before the long part begins */
    const char *pairs = pairs_path(run, suite);
    if (pairs != NULL) {
        QA_GOTO(done, run_pairs(run, pairs, &objective, &evaluation, err));
    }
    QA_GOTO(done, run_suite(run, suite, &objective, &result, err));
    const suite_report report = {.suite = qa_suite_name(suite),
                                 .model = args->shared.model,
                                 .adapter = args->shared.adapter,
                                 .preference = args->preference,
                                 .objective = &objective,
                                 .result = &result,
                                 .held_out = pairs == NULL ? NULL : &evaluation,
                                 .kinds = args->shared.verbose};
    QA_GOTO(done, suite_report_print(&report, args->shared.json, err));
done:
    qa_suite_result_free(&result);
    qa_suite_free(suite);
    return status;
}
