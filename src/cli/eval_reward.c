/* eval --reward-model: how a reward model ranks pairs; and accuracy by subset, of whatever ranked them. */
#include "cli/eval.h"

#include "base/memory.h"
#include "base/try.h"
#include "data/pairs.h"
#include "methods/method.h"
#include "train/evaluate.h"
#include "train/reward_step.h"
#include "train/shared_step.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- subsets ---- */

static void report_subset(cli_report *report, const qa_subset *subset) {
    char json[192], shown[128];
    const double accuracy = subset->right / (double)subset->pairs;
    (void)snprintf(json, sizeof json, "{\"pairs\": %zu, \"accuracy\": %.17g, \"ties\": %zu}", subset->pairs, accuracy,
                   subset->ties);
    (void)snprintf(shown, sizeof shown, "%.4f  of %zu pairs%s", accuracy, subset->pairs,
                   subset->ties > 0 ? ", with ties" : "");
    cli_report_json(report, subset->name, subset->name, json, shown);
}

qa_status cli_report_subsets(cli_report *report, qa_subsets *found, const qa_pairs *pairs, const double *ranked,
                             qa_error *err) {
    bool known = false;
    QA_TRY(qa_subsets_find(found, pairs, ranked, err));
    if (found->n == 0) {
        return QA_OK;
    }
    cli_report_section(report, "subsets", "accuracy by subset (ties count half)");
    for (size_t i = 0; i < found->n; i++) {
        report_subset(report, &found->subsets[i]);
    }
    cli_report_section(report, "sections", "sections, as RewardBench weighs its subsets");
    for (size_t i = 0; i < QA_SECTIONS; i++) {
        const qa_section *section = &found->sections[i];
        char json[64], shown[64];
        (void)snprintf(json, sizeof json, "%.17g", section->accuracy);
        (void)snprintf(shown, sizeof shown, "%.4f  from %zu of %zu subsets", section->accuracy, section->there,
                       section->whole);
        known = known || section->there > 0;
        if (section->there > 0) {
            cli_report_json(report, section->name, section->name, json, shown);
        }
    }
    cli_report_real(report, "mean", "mean over the subsets, each alike", found->mean, "");
    if (known) {
        cli_report_real(report, "score", "RewardBench's score (of all its sections; prior sets count half)",
                        found->score, "");
    }
    return QA_OK;
}

/* ---- a reward model ---- */

/* What it makes of a set. */
typedef struct reward_evaluation {
    cli_run *run;
    qa_reward_model *reward_model;
    const qa_pairs *pairs;
    size_t *costs;           /* [pairs] tokens */
    double (*scores)[2];     /* [pairs] of the chosen answer, of the rejected one */
    double *margin, *ranked; /* [pairs] */
    double loss, right, chosen, rejected;
} reward_evaluation;

static qa_status rank_pair(void *user, size_t i, qa_real *gradient, void *scores, qa_error *err) {
    const reward_evaluation *e = user;
    const qa_pair *pair = qa_pairs_at(e->pairs, i);
    const qa_tokens answers[2] = {{pair->chosen, pair->chosen_len}, {pair->rejected, pair->rejected_len}};
    const size_t n = qa_pairs_count(e->pairs), output = cli_reward_output(&eval_args_of(e->run)->reward);
    (void)gradient;
    QA_FAIL_IF(cli_interrupted(), err, QA_ERR_INTERRUPTED, "stopped after %zu of %zu pairs", i, n);
    QA_TRY(qa_prefixed(qa_reward_model_answers(e->reward_model, (qa_tokens){pair->prompt, pair->prompt_len}, answers, 2,
                                               output, scores, err),
                       err, "pair at line %zu of %s: ", pair->line, e->run->args->data));
    cli_progress_count(&e->run->progress, "pairs", i + 1, n);
    return QA_OK;
}

static qa_status rank_pairs(reward_evaluation *e, qa_error *err) {
    const size_t n = qa_pairs_count(e->pairs);
    for (size_t i = 0; i < n; i++) {
        const qa_pair *pair = qa_pairs_at(e->pairs, i);
        e->costs[i] = 2 * pair->prompt_len + pair->chosen_len + pair->rejected_len;
    }
    const qa_shared_items items = {.n = n,
                                   .costs = e->costs,
                                   .run = rank_pair,
                                   .user = e,
                                   .records = e->scores,
                                   .record_bytes = sizeof *e->scores};
    QA_TRY(qa_shared_run(e->run->cluster, NULL, &items, err));
    for (size_t i = 0; i < n; i++) {
        const double *scores = e->scores[i];
        e->margin[i] = scores[0] - scores[1];
        e->ranked[i] = qa_score_is_above(scores[0], scores[1]);
        e->right += e->ranked[i] / (double)n;
        e->chosen += scores[0] / (double)n;
        e->rejected += scores[1] / (double)n;
        e->loss += (fmax(-e->margin[i], 0.0) + log1p(exp(-fabs(e->margin[i])))) / (double)n;
    }
    return QA_OK;
}

static int ascending_margins(const void *left, const void *right) {
    const double a = *(const double *)left, b = *(const double *)right;
    return a < b ? -1 : a > b ? 1 : 0;
}

static void report_ranking(cli_report *report, const reward_evaluation *e, size_t n, const char *dir) {
    static const char *const names[5][2] = {{"margin_p05", "margin, 5th percentile"},
                                            {"margin_p25", "margin, 25th percentile"},
                                            {"margin_p50", "margin, median"},
                                            {"margin_p75", "margin, 75th percentile"},
                                            {"margin_p95", "margin, 95th percentile"}};
    static const double percentiles[5] = {5.0, 25.0, 50.0, 75.0, 95.0};
    cli_report_text(report, "reward_model", "reward model", dir);
    cli_report_count(report, "pairs", "pairs", n, "");
    cli_report_real(report, "accuracy", "accuracy (ties count half)", e->right, "");
    cli_report_real(report, "margin_mean", "margin score(chosen) - score(rejected), mean", e->chosen - e->rejected, "");
    qsort(e->margin, n, sizeof *e->margin, ascending_margins);
    for (size_t i = 0; i < 5; i++) {
        cli_report_real(report, names[i][0], names[i][1], qa_percentile(e->margin, n, percentiles[i]), "");
    }
    cli_report_real(report, "loss", "loss -log sigmoid(margin)", e->loss, "");
    cli_report_real(report, "reward_chosen", "score of the chosen answers, mean", e->chosen, "");
    cli_report_real(report, "reward_rejected", "score of the rejected answers, mean", e->rejected, "");
}

static qa_status eval_ranking(cli_run *run, qa_reward_model *reward_model, const qa_pairs *pairs, qa_error *err) {
    const size_t n = qa_pairs_count(pairs);
    reward_evaluation e = {.run = run, .reward_model = reward_model, .pairs = pairs};
    cli_report report = {0};
    qa_subsets subsets = {0};
    qa_status status = QA_OK;
    QA_GOTO(done, QA_NEW(e.costs, n, err, "%zu pairs", n));
    QA_GOTO(done, QA_NEW(e.scores, n, err, "%zu pairs", n));
    QA_GOTO(done, QA_NEW(e.margin, n, err, "%zu margins", n));
    QA_GOTO(done, QA_NEW(e.ranked, n, err, "%zu margins", n));
    cli_catch_interrupts(run->command->name, "stopping");
    cli_progress_begin(&run->progress, !run->args->quiet);
    status = rank_pairs(&e, err);
    cli_progress_clear(&run->progress);
    QA_GOTO(done, status);
    report_ranking(&report, &e, n, eval_args_of(run)->reward.dir);
    QA_GOTO(done, cli_report_subsets(&report, &subsets, pairs, e.ranked, err));
    QA_GOTO(done, cli_report_print(&report, stdout, run->args->json, err));
done:
    qa_subsets_free(&subsets);
    cli_report_free(&report);
    free(e.costs);
    free(e.scores);
    free(e.margin);
    free(e.ranked);
    return status;
}

/* An option that says how an adapter is read, and was given; NULL: none. A reward model is read in one way. */
static const char *given_of_adapters(const cli_run *run) {
    static const char *const others[] = {"recipe", "micro-batch"};
    const char *given = cli_given_of(&run->options, &qa_objective_table);
    given = given != NULL ? given : cli_given_of(&run->options, &qa_method_table);
    for (size_t i = 0; given == NULL && qa_method_at(i) != NULL; i++) {
        const qa_option_table *own = qa_method_at(i)->options;
        for (size_t k = 0; given == NULL && own != NULL && k < own->n; k++) {
            given = cli_given(&run->options, own->rows[k].name) == NULL ? NULL : own->rows[k].name;
        }
    }
    for (size_t i = 0; given == NULL && i < sizeof others / sizeof *others; i++) {
        given = cli_given(&run->options, others[i]) == NULL ? NULL : others[i];
    }
    return given;
}

static qa_status check_eval_reward(cli_run *run, qa_error *err) {
    const char *of_adapters = given_of_adapters(run);
    if (run->args->adapter != NULL || eval_args_of(run)->suite != NULL) {
        return cli_bad_usage(run, err, "--reward-model is measured on --data, by itself: not with --%s",
                             eval_args_of(run)->suite != NULL ? "suite" : "adapter");
    }
    return of_adapters == NULL
               ? QA_OK
               : cli_bad_usage(run, err, "--%s says how an adapter is read: not with --reward-model", of_adapters);
}

/* Data is read as that of the reward model's training was, which its record says as an adapter's does. */
qa_status cli_eval_reward(cli_run *run, qa_error *err) {
    const cli_reward_choice *choice = &eval_args_of(run)->reward;
    qa_reward_model *reward_model = NULL;
    qa_pairs *pairs = NULL;
    size_t max_length = 0;
    qa_status status = QA_OK;
    QA_TRY(check_eval_reward(run, err));
    QA_TRY(cli_load_model(run, err));
    QA_TRY(cli_resolve_max_length(run, &max_length, err));
    QA_GOTO(done, cli_load_reward(run, choice, &reward_model, err));
    cli_use_adapter(run, choice->dir);
    QA_GOTO(done, cli_load_tokenizer(run, false, err));
    QA_GOTO(done, cli_eval_load_pairs(run, run->args->data, max_length, &pairs, err));
    QA_GOTO(done, qa_pairs_labelled(pairs)
                      ? qa_fail(err, QA_ERR_ARGUMENT,
                                "%s holds single responses with labels, and a reward model's ranking is measured on "
                                "pairs; `qadapter score --reward-model` scores each response",
                                run->args->data)
                      : QA_OK);
    QA_GOTO(done, eval_ranking(run, reward_model, pairs, err));
done:
    qa_pairs_free(pairs);
    qa_reward_model_free(reward_model);
    return status;
}
