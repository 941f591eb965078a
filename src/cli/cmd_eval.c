/* qadapter eval: a table, or JSON with every field of qa_evaluation; with --suite see cmd_eval_suite.c. */
#include "cli/eval.h"

#include "base/try.h"
#include "methods/method.h"

#include <stdio.h>

static bool on_progress(void *user, size_t done, size_t total) {
    cli_run *run = user;
    cli_progress_count(&run->progress, "pairs", done, total);
    return !cli_interrupted();
}

void cli_report_evaluation(cli_report *report, const qa_evaluation *it, const qa_objective *objective) {
    static const char *const percentiles[5][2] = {{"margin_p05", "margin, 5th percentile"},
                                                  {"margin_p25", "margin, 25th percentile"},
                                                  {"margin_p50", "margin, median"},
                                                  {"margin_p75", "margin, 75th percentile"},
                                                  {"margin_p95", "margin, 95th percentile"}};
    cli_report_text(report, "method", "method", qa_method_name(objective->method));
    cli_report_count(report, "pairs", "pairs", it->pairs, "");
    cli_report_real(report, "accuracy", "accuracy (ties count half)", it->accuracy, "");
    cli_report_real(report, "margin_mean", "margin R(chosen) - R(rejected), mean", it->margin_mean, "");
    for (int i = 0; i < 5; i++) {
        cli_report_real(report, percentiles[i][0], percentiles[i][1], it->margin_percentile[i], "");
    }
    cli_report_real(report, "loss", "loss", it->loss, "");
    cli_report_real(report, "pref_loss", qa_method_of(objective)->loss_label, it->pref_loss, "");
    cli_report_real(report, "chi2_loss", "  regulariser", it->chi2_loss, "");
    cli_report_real(report, "q_mean", "Q, mean over transitions", it->q_mean, "");
    cli_report_real(report, "value_mean", "V, mean", it->value_mean, "");
    cli_report_real(report, "reward_mean", "implied reward, mean", it->reward_mean, "");
    cli_report_real(report, "kl_per_token", "KL(custom || base) per token", it->kl_per_token, "nats");
    cli_report_real(report, "nll_pi1_chosen", "NLL of chosen, base", it->nll_pi1_chosen, "nats/token");
    cli_report_real(report, "nll_custom_chosen", "NLL of chosen, custom", it->nll_custom_chosen, "nats/token");
    cli_report_real(report, "nll_pi1_rejected", "NLL of rejected, base", it->nll_pi1_rejected, "nats/token");
    cli_report_real(report, "nll_custom_rejected", "NLL of rejected, custom", it->nll_custom_rejected, "nats/token");
    cli_report_real(report, "hardest_pi1_chosen", "chosen's least likely token, base, median", it->hardest_pi1_chosen,
                    "nats");
    cli_report_real(report, "hardest_custom_chosen", "chosen's least likely token, custom, median",
                    it->hardest_custom_chosen, "nats");
    cli_report_count(report, "tokens", "tokens", it->tokens, "");
    cli_report_real(report, "seconds", "time", it->seconds, "s");
    cli_report_real(report, "tokens_per_second", "speed", it->seconds > 0.0 ? (double)it->tokens / it->seconds : 0.0,
                    "tokens/s");
}

/* Ranking well and writing well are two things: a response with a token of e^-12 is not sampled once in 100,000 times.
 */
static const double OUT_OF_REACH = -12.0; /* nats */

/* A fresh adapter, or one that changes every pair's two responses alike. */
static const double NO_MARGIN = 1e-4; /* nats; what rounding makes of equal returns */

static void say_nothing_ranked(cli_run *run, const qa_evaluation *it) {
    const double least = it->margin_percentile[0], most = it->margin_percentile[4];
    if (run->adapter != NULL && it->accuracy == 0.5 && least >= -NO_MARGIN && most <= NO_MARGIN) {
        cli_warn(run, "no pair is ranked: all margins are 0 but for rounding, as with an adapter that learned nothing, "
                      "or with pairs whose responses are the same");
    }
}

static void say_out_of_reach(cli_run *run, const qa_evaluation *it) {
    if (run->adapter == NULL || it->accuracy < 0.75 || it->hardest_custom_chosen > OUT_OF_REACH) {
        return;
    }
    cli_warn(
        run,
        "the pairs are ranked right, but half of the chosen responses hold a token that the customised policy gives "
        "at most e^%.4g (the base model e^%.4g): what is preferred will hardly be seen in what is generated. The base "
        "model does not write such answers; preferences reach what it does write, sft teaches it more",
        it->hardest_custom_chosen, it->hardest_pi1_chosen);
}

static qa_status eval_pairs(cli_run *run, qa_error *err) {
    qa_objective objective;
    qa_pairs *pairs = NULL;
    qa_evaluation evaluation = {0};
    cli_report report = {0};
    size_t max_length = 0;
    size_t micro_batch = 0;
    qa_status status = QA_OK;
    QA_TRY(cli_resolve_objective(run, &objective, NULL, err));
    QA_TRY(cli_resolve_micro_batch(run, &micro_batch, err));
    QA_TRY(cli_load_model(run, err));
    QA_TRY(cli_resolve_max_length(run, &max_length, err));
    QA_TRY(cli_load_adapter(run, err));
    QA_TRY(cli_load_tokenizer(run, false, err));
    QA_GOTO(done, cli_load_pairs(run, run->args->data, max_length, &pairs, err));
    cli_catch_interrupts(run->command->name, "stopping");
    cli_progress_begin(&run->progress, !run->args->quiet);
    QA_GOTO(done,
            qa_evaluate(run->model, run->adapter, pairs, &objective, micro_batch, on_progress, run, &evaluation, err));
    cli_progress_clear(&run->progress);
    cli_report_evaluation(&report, &evaluation, &objective);
    QA_GOTO(done, cli_report_print(&report, stdout, run->args->json, err));
    say_nothing_ranked(run, &evaluation);
    say_out_of_reach(run, &evaluation);
done:
    cli_report_free(&report);
    qa_pairs_free(pairs);
    return status;
}

/* Options that only a suite knows. */
static const char *suite_option(const cli_args *args) {
    return args->preference != NULL   ? "--preference"
           : args->transcript != NULL ? "--transcript"
           : args->limit != 0         ? "--limit"
           : args->samples != 0       ? "--samples"
           : args->batch != 0         ? "--batch"
                                      : NULL;
}

qa_status cli_cmd_eval(cli_run *run, qa_error *err) {
    if (run->args->suite != NULL) {
        return cli_eval_suite(run, err);
    }
    if (suite_option(run->args) != NULL) {
        return cli_bad_usage(run, err, "%s needs --suite", suite_option(run->args));
    }
    if (run->args->data == NULL) {
        return cli_bad_usage(run, err, "missing --data FILE: preference pairs, or --suite: questions with answers");
    }
    return eval_pairs(run, err);
}
