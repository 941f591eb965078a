/* What the forms of `eval` measure with: pairs and suites that the options name, and what an adapter makes of them. */
#include "cli/eval.h"

#include "base/memory.h"
#include "base/try.h"
#include "cli/format.h"
#include "cli/mixture.h"
#include "cli/ranks.h"
#include "cli/weights.h"
#include "io/file.h"

#include <stdlib.h>
#include <string.h>

/* ---- pairs ---- */

/* In place of the pairs those of them that were held out when the adapter was trained. */
static qa_status keep_held_out(cli_run *run, const char *path, qa_pairs **pairs, qa_error *err) {
    qa_held_out_record record;
    qa_pairs *held_out = NULL;
    size_t wanted = 0;
    if (run->args->adapter == NULL) {
        return cli_bad_usage(run, err, "--held-out: an adapter says what was held out: give --adapter");
    }
    QA_TRY(qa_training_config_held_out(run->args->adapter, &record, err));
    QA_FAIL_IF(record.val_size == 0.0, err, QA_ERR_ARGUMENT,
               "--held-out: nothing was held out when %s was trained (train --val-size)", run->args->adapter);
    const size_t all = qa_pairs_count(*pairs);
    QA_TRY(qa_train_val_pairs(record.val_size, all, &wanted, err));
    QA_TRY(qa_pairs_split(*pairs, wanted, record.seed, &held_out, err));
    qa_pairs_free(*pairs);
    *pairs = held_out;
    cli_say(run, "%s: the %zu of %zu pairs that were held out when %s was trained", path, qa_pairs_count(held_out), all,
            run->args->adapter);
    if (record.fingerprint != qa_pairs_fingerprint(held_out)) {
        cli_warn(run, "they are not the same: the data is another than it was, or is read with other options "
                      "(--max-pairs, --max-length...), and pairs that were learned may be among them");
    }
    return QA_OK;
}

qa_status cli_eval_load_pairs(cli_run *run, const char *path, size_t max_length, qa_pairs **pairs, qa_error *err) {
    QA_TRY(cli_load_preferences(run, path, max_length, pairs, err));
    return eval_args_of(run)->held_out ? keep_held_out(run, path, pairs, err) : QA_OK;
}

static bool on_progress(void *user, size_t done, size_t total) {
    cli_run *run = user;
    cli_progress_count(&run->progress, "pairs", done, total);
    return !cli_interrupted();
}

qa_status cli_eval_on_pairs(cli_run *run, const qa_pairs *pairs, const qa_objective *objective,
                            const qa_adapter *adapter, size_t micro_batch, double *ranked, qa_evaluation *evaluation,
                            qa_error *err) {
    cli_progress_begin(&run->progress, !run->args->quiet);
    const qa_status status = qa_evaluate_ranked(run->model, adapter, pairs, objective, micro_batch, ranked, on_progress,
                                                run, evaluation, err);
    cli_progress_clear(&run->progress);
    return status;
}

/* ---- which suite ---- */

/* A definition or a file of questions, or a folder with a definition. */
static bool holds_suite(const char *path) {
    return qa_path_is_dir(path) ? qa_holds(path, "suite.json") : qa_path_exists(path);
}

/* The suite that --suite names: the path itself, the folder suite in it, or the one of a bundled model. */
static qa_status load_named_suite(cli_run *run, qa_suite **suite, qa_error *err) {
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

static bool is_preference(const void *suite, const char *name) { return qa_suite_has_preference(suite, name); }

/* One more of the sum. */
static qa_status add_term(cli_run *run, eval_suite *found, const char *name, double weight, qa_error *err) {
    const char *names = qa_suite_preference_names(found->suite);
    char before[CLI_NUMBER_BYTES] = "";
    if (names[0] == '\0') {
        return cli_bad_usage(run, err, "--preference: the suite %s has no preferences", qa_suite_name(found->suite));
    }
    if (!qa_suite_has_preference(found->suite, name)) {
        return cli_bad_usage(run, err, "--preference: expected one of %s, found \"%s\"", names, name);
    }
    for (size_t i = 0; i < found->n_sum; i++) {
        if (strcmp(found->sum[i].preference, name) == 0) {
            return cli_bad_usage(run, err, "--preference %s is there twice: give it once, as %s:2", name, name);
        }
    }
    if (weight != 1.0) {
        (void)snprintf(before, sizeof before, "%g ", weight);
    }
    QA_TRY(qa_text_append_z(&found->sum_text, found->n_sum == 0 ? "" : " + ", err));
    QA_TRY(qa_text_append_z(&found->sum_text, before, err));
    found->sum[found->n_sum++] = (qa_suite_term){name, weight};
    return qa_text_append_z(&found->sum_text, name, err);
}

static qa_status take_preferences(cli_run *run, eval_suite *found, qa_error *err) {
    qa_option_list *list = &((eval_args *)(uintptr_t)run->args)->preferences;
    double *weights = NULL;
    qa_status status = QA_OK;
    QA_TRY(cli_take_weights(run, "preference", list, &weights, is_preference, found->suite, err));
    QA_GOTO(done, QA_NEW(found->sum, list->n, err, "%zu preferences", list->n));
    for (size_t i = 0; i < list->n; i++) {
        QA_GOTO(done, add_term(run, found, list->items[i], weights == NULL ? 1.0 : weights[i], err));
    }
done:
    free(weights);
    return status;
}

void cli_eval_suite_free(eval_suite *found) {
    qa_suite_free(found->suite);
    free(found->sum);
    qa_text_free(&found->sum_text);
    *found = (eval_suite){0};
}

qa_status cli_eval_find_suite(cli_run *run, eval_suite *found, qa_error *err) {
    const char *transcript = eval_args_of(run)->transcript;
    if (transcript != NULL && strcmp(transcript, "-") == 0) {
        return cli_bad_usage(run, err, "--transcript: expected a file, found \"-\": standard output has the report");
    }
    QA_TRY(load_named_suite(run, &found->suite, err));
    cli_warn_all(run, qa_suite_warnings(found->suite));
    return take_preferences(run, found, err);
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

qa_status cli_eval_on_suite(cli_run *run, const eval_suite *found, const qa_objective *objective,
                            const qa_adapter *adapter, bool merges, qa_suite_result *result, qa_error *err) {
    const eval_args *args = eval_args_of(run);
    bool assumed = false;
    suite_watch watch = {.run = run};
    qa_suite_options options = {.objective = objective,
                                .sum = found->sum,
                                .n_sum = found->n_sum,
                                .mixture = cli_mixture(run),
                                .particles = args->particles,
                                .limit = args->limit,
                                .samples = args->samples,
                                .batch = args->batch,
                                .measured = args->kl,
                                .seed = args->seed,
                                .transcript = cli_of_rank_0(run, args->transcript),
                                .progress = on_suite_progress,
                                .user = &watch};
    QA_TRY(cli_mixture(run) == NULL ? cli_resolve_chat(run, &options.renderer, &assumed, err)
                                    : cli_agree_on_chat(run, &run->args->adapters, &options.renderer, &assumed, err));
    if (assumed) {
        cli_say(run, "%s has no chat template: using plain (--chat-template names another)", args->shared.model);
    }
    if (merges && !args->kl &&
        args->transcript == NULL) { /* whose lines have both policies' numbers, or say that they have not */
        QA_TRY(cli_merge_plain(run, objective, &adapter, err));
    }
    cli_progress_begin(&run->progress, !args->shared.quiet);
    QA_TRY(qa_suite_run(found->suite, run->model, adapter, run->tokenizer, &options, result, err));
    cli_progress_clear(&run->progress);
    cli_warn_all(run, &result->warnings);
    return QA_OK;
}

/* The held-out pairs: --data, else those that the suite names for a preference; of a sum of several, and of a
 * mixture, there are none. */
const char *cli_eval_suite_pairs(cli_run *run, const eval_suite *found) {
    const char *data = eval_args_of(run)->shared.data;
    if (data != NULL || found->n_sum != 1 || cli_mixture(run) != NULL) {
        return data;
    }
    const char *name = found->sum[0].preference, *path = qa_suite_preference_pairs(found->suite, name);
    if (path == NULL || !qa_path_exists(path)) {
        cli_warn(run, "no held-out pairs for %s%s%s: their accuracy is left out (--data names a file)", name,
                 path == NULL ? "" : ", since there is no file ", path == NULL ? "" : path);
        return NULL;
    }
    return path;
}
