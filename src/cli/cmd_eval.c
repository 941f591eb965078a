/* qadapter eval: a table, or JSON with every field of qa_evaluation; with --suite see cmd_eval_suite.c. */
#include "cli/eval.h"

#include "base/try.h"
#include "methods/method.h"
#include "rl/objective.h"

#include <stdio.h>

/* ---- options ---- */

#define ROW(kind, field) QA_##kind(eval_args, field), .group = QA_GROUP_INPUT

/* Those that only a suite knows but for --suite itself. */
static const qa_option eval_rows[] = {
    {"preference", ROW(STRING, preference), .placeholder = "NAME", .note = "none",
     .help = "one of the suite's preferences: its reward, its optimum and its held-out pairs are part of the report"},
    {"samples", ROW(SIZE, samples), .aliases = "n-samples", .range = QA_RANGE_FROM_1, .standard = "4",
     .help = "with --suite: sampled answers to every open request"},
    {"limit", ROW(SIZE, limit), .range = QA_RANGE_FROM_1, .note = "all",
     .help = "with --suite: only the first N lines of each of its files"},
    {"batch", ROW(SIZE, batch), .range = QA_RANGE_FROM_1, .standard = "32",
     .help = "with --suite: answers that are generated at once"},
    {"seed", ROW(SEED, seed), .letter = 's', .standard = "0",
     .help = "with --suite: of the sampling; the same seed gives the same answers"},
    {"transcript", QA_STRING(eval_args, transcript), .placeholder = "FILE", .group = QA_GROUP_OUTPUT, .note = "none",
     .path = QA_PATH_WRITTEN,
     .help = "with --suite: every answer and its grade as JSON Lines; the file appears when it is complete"},
};
static const qa_option suite_rows[] = {
    {"suite", ROW(STRING, suite), .placeholder = "NAME", .note = "none: pairs alone", .path = QA_PATH_READ,
     .help = "questions with answers, and requests whose answers are sampled: a folder with suite.json, a suite.json, "
             "a JSON Lines file of questions, or a name, for weights/NAME/suite (docs/formats.md)"},
};
static const qa_option_table eval_table = QA_TABLE(eval_rows), suite_table = QA_TABLE(suite_rows);
static const cli_table eval_tables[] = {{&cli_model_table, 0, NULL, NULL},
                                        {&suite_table, 0, NULL, NULL},
                                        {&eval_table, 0, NULL, NULL},
                                        CLI_READ_PAIRS,
                                        {&cli_output_table, 0, "json", NULL}};

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
    say_out_of_reach(run, &evaluation);
done:
    cli_report_free(&report);
    qa_pairs_free(pairs);
    return status;
}

static qa_status run_eval(cli_run *run, qa_error *err) {
    const char *of_suite = cli_given_of(&run->options, &eval_table);
    if (eval_args_of(run)->suite != NULL) {
        return cli_eval_suite(run, err);
    }
    if (of_suite != NULL) {
        return cli_bad_usage(run, err, "--%s needs --suite", of_suite);
    }
    if (run->args->data == NULL) {
        return cli_bad_usage(run, err, "missing --data FILE: preference pairs, or --suite: questions with answers");
    }
    return eval_pairs(run, err);
}

const cli_command cli_eval = {
    .name = "eval",
    .summary = "measure an adapter on preference pairs and on a suite of questions",
    .about = "Scores every pair and tells accuracy, margins, losses, rewards, how far the customised policy is "
             "from the base model, and the negative log-likelihood of both responses under both. Method and "
             "objective are those that the adapter was trained with, unless options say otherwise.\n"
             "With --suite it answers questions and grades them, samples answers to open requests and tells the "
             "shares of their classes, and measures the perplexity of ordinary text. With --preference it also "
             "tells how far these shares are from those of the optimal policy, which follow from the base "
             "model's, and the accuracy on held-out pairs. Without --adapter the model alone is measured.",
    .examples = "qadapter eval --model MODEL --adapter ADAPTER --data eval.jsonl\n"
                "qadapter eval --model weights/village/model --adapter ADAPTER --suite village --preference academy\n"
                "qadapter eval --model MODEL --suite questions.jsonl --transcript answers.jsonl\n"
                "qadapter eval --model MODEL --adapter ADAPTER --data eval.jsonl --json",
    .required = "model",
    .on_the_way = true,
    CLI_TABLES(eval_tables),
    .args_bytes = sizeof(eval_args),
    .run = run_eval,
};
