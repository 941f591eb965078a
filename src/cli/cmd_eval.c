/* qadapter eval: a table, or JSON with every field of qa_evaluation; with --suite see cmd_eval_suite.c. */
#include "cli/eval.h"

#include "base/memory.h"
#include "base/try.h"
#include "methods/method.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- options ---- */

#define ROW(kind, field) QA_##kind(eval_args, field), .group = QA_GROUP_INPUT

/* Those that only a suite knows but for --suite itself. */
static const qa_option eval_rows[] = {
    {"preference", ROW(LIST, preferences), .placeholder = "NAME[:WEIGHT]", .note = "none",
     .help =
         "one of the suite's preferences: its reward, its optimum and its held-out pairs are part of the report; of "
         "several, each named by a --preference of its own, reward and optimum are those of the sum of their "
         "rewards, each times its weight (1)"},
    {"samples", ROW(SIZE, samples), .aliases = "n-samples", .range = QA_RANGE_FROM_1, .standard = "4",
     .help = "with --suite: sampled answers to every open request"},
    {"particles", ROW(SIZE, particles), .range = QA_RANGE_FROM_1, .standard = "1",
     .help = "of a mixture: sample so many answers for each of --samples and choose one by its weight; the more, the "
             "closer to the optimum for the sum of the rewards"},
    {"limit", ROW(SIZE, limit), .range = QA_RANGE_FROM_1, .note = "all",
     .help = "with --suite: only the first N lines of each of its files"},
    {"batch", ROW(SIZE, batch), .range = QA_RANGE_FROM_1, .standard = "32",
     .help = "with --suite: answers that are generated at once"},
    {"seed", ROW(SEED, seed), .letter = 's', .standard = "0",
     .help = "with --suite: of the sampling; the same seed gives the same answers"},
    {"kl", ROW(FLAG, kl),
     .help = "with --suite: measure how far the answers are from the base model for a plain adapter, too (theory with "
             "both alphas 1, sft, replay, dpo), which else runs alone; of any other adapter it is always measured"},
    {"transcript", QA_STRING(eval_args, transcript), .placeholder = "FILE", .group = QA_GROUP_OUTPUT, .note = "none",
     .path = QA_PATH_WRITTEN,
     .help = "with --suite: every answer and its grade as JSON Lines; the file appears when it is complete"},
};
static const qa_option suite_rows[] = {
    {"suite", ROW(STRING, suite), .placeholder = "NAME", .note = "none: pairs alone", .path = QA_PATH_READ,
     .help = "questions with answers, and requests whose answers are sampled: a folder with suite.json, a suite.json, "
             "a JSON Lines file of questions, or a name, for weights/NAME/suite (docs/formats.md)"},
};
static const qa_option held_out_rows[] = {
    {"held-out", QA_FLAG(eval_args, held_out), .group = QA_GROUP_DATA,
     .help = "of --data only the pairs that train --val-size held out when the adapter was trained"},
};
static const qa_option_table eval_table = QA_TABLE(eval_rows), suite_table = QA_TABLE(suite_rows),
                             held_out_table = QA_TABLE(held_out_rows);
static const qa_option eval_adapter_words = {.group = QA_GROUP_GENERAL,
                                             .note = "none: the model alone",
                                             .help = "folder of the adapter, as PEFT lays it out; several, each named "
                                                     "by an --adapter of its own, are compared in one table; with "
                                                     "weights, --adapter A:0.5 --adapter B:0.5, they are one policy, a "
                                                     "mixture (--suite)"};
static const cli_table eval_tables[] = {{&cli_model_table, 0, "model", NULL},
                                        {&cli_adapters_table, 0, NULL, &eval_adapter_words},
                                        {&cli_model_table, 0, "dtype any-base", NULL},
                                        {&suite_table, 0, NULL, NULL},
                                        {&eval_table, 0, NULL, NULL},
                                        CLI_READ_PAIRS,
                                        {&held_out_table, 0, NULL, NULL},
                                        {&cli_reward_table, offsetof(eval_args, reward), NULL, NULL},
                                        {&cli_output_table, 0, "json", NULL}};

/* Ranking well and writing well are two things: a response with a token of e^-12 is not sampled once in 100,000 times.
 */
static const double OUT_OF_REACH = -12.0; /* nats */

/* A fresh adapter, or one that changes every pair's two responses alike. */
static const double NO_MARGIN = 1e-4; /* nats; what rounding makes of equal returns */

static void say_nothing_ranked(cli_run *run, const qa_evaluation *evaluation) {
    const double least = evaluation->margin_percentile[0], most = evaluation->margin_percentile[4];
    if (run->adapter != NULL && evaluation->accuracy == 0.5 && least >= -NO_MARGIN && most <= NO_MARGIN) {
        cli_warn(run, "no pair is ranked: all margins are 0 but for rounding, as with an adapter that learned nothing, "
                      "or with pairs whose responses are the same");
    }
}

static void say_out_of_reach(cli_run *run, const qa_evaluation *evaluation) {
    if (run->adapter == NULL || evaluation->accuracy < 0.75 || evaluation->hardest_custom_chosen > OUT_OF_REACH) {
        return;
    }
    cli_warn(
        run,
        "the pairs are ranked right, but half of the chosen responses hold a token that the customised policy gives "
        "at most e^%.4g (the base model e^%.4g): what is preferred will hardly be seen in what is generated. The base "
        "model does not write such answers; preferences reach what it does write, sft teaches it more",
        evaluation->hardest_custom_chosen, evaluation->hardest_pi1_chosen);
}

static qa_status eval_pairs(cli_run *run, qa_error *err) {
    qa_objective objective;
    qa_pairs *pairs = NULL;
    qa_evaluation evaluation = {0};
    qa_subsets subsets = {0};
    double *ranked = NULL;
    cli_report report = {0};
    size_t max_length = 0, micro_batch = 0;
    qa_status status = QA_OK;
    QA_TRY(cli_load_reader(run, &objective, &max_length, &micro_batch, err));
    QA_GOTO(done, cli_eval_load_pairs(run, run->args->data, max_length, &pairs, err));
    cli_catch_interrupts(run->command->name, "stopping");
    QA_GOTO(done, QA_NEW(ranked, qa_pairs_count(pairs), err, "%zu margins", qa_pairs_count(pairs)));
    QA_GOTO(done, cli_eval_on_pairs(run, pairs, &objective, run->adapter, micro_batch, ranked, &evaluation, err));
    cli_report_evaluation(&report, &evaluation, &objective);
    QA_GOTO(done, qa_pairs_labelled(pairs) ? QA_OK : cli_report_subsets(&report, &subsets, pairs, ranked, err));
    QA_GOTO(done, cli_report_print(&report, stdout, run->args->json, err));
    say_nothing_ranked(run, &evaluation);
    say_out_of_reach(run, &evaluation);
done:
    cli_report_free(&report);
    qa_subsets_free(&subsets);
    free(ranked);
    qa_pairs_free(pairs);
    return status;
}

static qa_status check_mixture(cli_run *run, qa_error *err) {
    const eval_args *args = eval_args_of(run);
    if (run->weights == NULL && args->particles > 1) {
        return cli_bad_usage(run, err, "--particles corrects a mixture: give adapters with weights, --adapter DIR:0.5");
    }
    if (run->weights != NULL && args->suite == NULL) {
        return cli_bad_usage(run, err,
                             "adapters with weights are a mixture, which is measured on a --suite; on pairs "
                             "each adapter is measured on its own");
    }
    if (run->weights != NULL && args->shared.data != NULL) {
        return cli_bad_usage(run, err, "--data: pairs are measured of each adapter on its own, not of a mixture");
    }
    return QA_OK;
}

static qa_status run_eval(cli_run *run, qa_error *err) {
    const char *of_suite = cli_given_of(&run->options, &eval_table);
    const qa_option_list *adapters = &run->args->adapters;
    const bool mixes = run->weights != NULL, suite = eval_args_of(run)->suite != NULL;
    const bool compares = adapters->n > 1 && !mixes;
    cli_use_adapter(run, adapters->n > 0 ? adapters->items[0] : NULL);
    if (compares && eval_args_of(run)->transcript != NULL) {
        return cli_bad_usage(run, err, "--transcript is of one adapter, and %zu are given", adapters->n);
    }
    QA_TRY(check_mixture(run, err));
    if (eval_args_of(run)->held_out && run->args->data == NULL) {
        return cli_bad_usage(run, err, "--held-out needs --data, the file that the adapter was trained on");
    }
    if (!suite && of_suite != NULL) {
        return cli_bad_usage(run, err, "--%s needs --suite", of_suite);
    }
    QA_TRY(cli_check_reward(run, &eval_args_of(run)->reward, err));
    if (eval_args_of(run)->reward.dir != NULL && (suite || run->args->data != NULL)) {
        return cli_eval_reward(run, err);
    }
    if (suite) {
        return compares ? cli_eval_compare(run, err) : cli_eval_suite(run, err);
    }
    if (run->args->data == NULL) {
        return cli_bad_usage(run, err, "missing --data FILE: preference pairs, or --suite: questions with answers");
    }
    return compares ? cli_eval_compare(run, err) : eval_pairs(run, err);
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
             "model's, and the accuracy on held-out pairs. Without --adapter the model alone is measured; several "
             "adapters are compared in one table, the base model first, each read as it was trained; with weights "
             "they are measured as one policy, their mixture, for whose rewards' sum several --preference give the "
             "optimum. "
             "With --reward-model a reward model ranks the pairs. Rows with a \"subset\" make a table of accuracies "
             "by subset, with RewardBench's sections and their weights.",
    .examples = "qadapter eval --model MODEL --adapter ADAPTER --data eval.jsonl\n"
                "qadapter eval --model MODEL --adapter ADAPTER --adapter OTHER --data eval.jsonl\n"
                "qadapter eval --model weights/village/model --adapter ADAPTER --suite village --preference academy\n"
                "qadapter eval --model MODEL --adapter A:1 --adapter B:0.5 --particles 8 --suite village --preference "
                "academy --preference literature:0.5\n"
                "qadapter eval --model MODEL --suite questions.jsonl --transcript answers.jsonl\n"
                "qadapter eval --model MODEL --reward-model REWARD --data eval.jsonl\n"
                "qadapter eval --model MODEL --adapter ADAPTER --data eval.jsonl --json",
    .required = "model",
    .on_the_way = true,
    CLI_TABLES(eval_tables),
    .args_bytes = sizeof(eval_args),
    .run = run_eval,
    .many_ranks = true,
};
