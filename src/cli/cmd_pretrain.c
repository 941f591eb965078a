/* qadapter pretrain: loads the corpora, prints what it is about to do and what that takes, trains. */
#include "cli/common.h"

#include "arch/config.h"
#include "base/try.h"
#include "cli/format.h"
#include "cli/training.h"
#include "train/pretrain_options.h"
#include "train/run_folder.h"

#include <stdio.h>
#include <string.h>

/* ---- options ---- */

static const char *const learn_names[] = {[QA_LEARN_ALL] = "all", [QA_LEARN_RESPONSES] = "responses", NULL};

typedef struct pretrain_args {
    cli_args shared;
    qa_pretrain_options pretrain;
    qa_learn learn;
} pretrain_args;

static const pretrain_args *pretrain_args_of(const cli_run *run) { return (const pretrain_args *)run->args; }

/* What the library's rows (train/pretrain_options.c) do not hold. */
#define ROW(kind, ...) QA_##kind(pretrain_args, __VA_ARGS__), .group = QA_GROUP_INPUT

static const qa_option pretrain_own_rows[] = {
    {"learn", ROW(CHOICE, learn, learn_names), .standard = "all",
     .help = "which tokens of a dialogue are learned: all, or what the assistant says; of plain text always all"},
    {"max-length", ROW(SIZE, shared.max_length), .aliases = "cutoff-len max-seq-length", .range = QA_RANGE_FROM_1,
     .note = "the model's context", .help = "tokens of a document; a longer one is cut"},
};
static const qa_option_table pretrain_own_table = QA_TABLE(pretrain_own_rows);
static const qa_option pretrain_chat_words = {.group = QA_GROUP_INPUT};
static const qa_option pretrain_columns_words = {
    .group = QA_GROUP_INPUT,
    .note = "the files have our names",
    .help = "which column of the corpora is which, such as text=content or instruction=question,output=answer"};
static const cli_table pretrain_tables[] = {{&qa_pretrain_table, offsetof(pretrain_args, pretrain), NULL, NULL},
                                            {&pretrain_own_table, 0, NULL, NULL},
                                            {&cli_chat_table, 0, NULL, &pretrain_chat_words},
                                            {&cli_pairs_table, 0, "columns", &pretrain_columns_words},
                                            {&cli_output_table, 0, "log-every", NULL}};

typedef struct pretrain_progress {
    cli_steps steps;
    qa_pretrain_metrics last, evaluation;
} pretrain_progress;

/* ---- while it runs ---- */

static void show_pretrain_step(pretrain_progress *progress, const qa_pretrain_metrics *metrics) {
    char eta[CLI_NUMBER_BYTES];
    cli_run *run = progress->steps.run;
    cli_steps_eta(&progress->steps, metrics->step, metrics->total_steps, eta, sizeof eta);
    cli_progress_draw(&run->progress, "step %zu/%zu  loss %.4f  %.0f tokens/s  ETA %s", metrics->step,
                      metrics->total_steps, metrics->loss, metrics->tokens_per_second, eta);
    if (cli_steps_line_due(&progress->steps, metrics->step, metrics->total_steps)) {
        cli_say(run, "step %zu/%zu  epoch %.2f  loss %.4f  lr %.3g  grad %.3g  %.0f tokens/s  ETA %s", metrics->step,
                metrics->total_steps, metrics->epoch, metrics->loss, metrics->learning_rate, metrics->grad_norm,
                metrics->tokens_per_second, eta);
    }
}

static bool on_pretrain_metrics(void *user, const qa_pretrain_metrics *metrics) {
    pretrain_progress *progress = user;
    if (metrics->is_evaluation) {
        cli_say(progress->steps.run, "evaluation at step %zu: loss %.4f  perplexity %.4g", metrics->step, metrics->loss,
                metrics->perplexity);
        progress->evaluation = *metrics;
    } else {
        cli_steps_step(&progress->steps, metrics->step);
        progress->last = *metrics;
        show_pretrain_step(progress, metrics);
    }
    return !cli_interrupted();
}

/* ---- before it runs ---- */

static qa_status check_corpora(cli_run *run, qa_error *err) {
    const qa_pretrain_options *args = &pretrain_args_of(run)->pretrain;
    QA_TRY(cli_check_run(run, "eval-corpus", err));
    if (args->eval_data_path != NULL && strcmp(args->data_path, "-") == 0 && strcmp(args->eval_data_path, "-") == 0) {
        return cli_bad_usage(run, err, "--corpus and --eval-corpus cannot both be standard input");
    }
    return QA_OK;
}

static qa_status resolve_max_length(cli_run *run, const qa_config *config, size_t *max_length, qa_error *err) {
    const size_t given = run->args->max_length, context = qa_config_context(config);
    if (given == 1) {
        return cli_bad_usage(run, err, "--max-length: expected at least 2, a token and one to learn");
    }
    if (given > context) {
        return cli_bad_usage(run, err, "--max-length: expected at most %zu, the model's context, found \"%zu\"",
                             context, given);
    }
    *max_length = given != 0 ? given : context;
    return QA_OK;
}

/* How the corpora are read. */
typedef struct corpus_reading {
    const qa_chat *chat; /* NULL: none */
    bool chat_assumed;   /* the tokenizer's folder has no template */
    size_t max_length, vocab_size;
} corpus_reading;

static qa_status load_corpus(cli_run *run, const char *path, const corpus_reading *how, qa_corpus **corpus,
                             qa_error *err) {
    const qa_learn learn = pretrain_args_of(run)->learn;
    const double begun = cli_now();
    QA_TRY(qa_corpus_load_chat(corpus, path, run->tokenizer, how->chat, learn, how->max_length, how->vocab_size, NULL,
                               0, run->args->columns, err));
    cli_detail(run, "read and tokenised %s in %.2f s", path, cli_now() - begun);
    char tokens[CLI_NUMBER_BYTES], learned[CLI_NUMBER_BYTES];
    cli_format_count(tokens, sizeof tokens, qa_corpus_tokens(*corpus));
    cli_format_count(learned, sizeof learned, qa_corpus_learned(*corpus));
    if (qa_corpus_conversations(*corpus) > 0) { /* to text and ids none is applied */
        cli_say(run, "chat template %s%s", qa_chat_name(how->chat),
                how->chat_assumed ? " (the tokenizer's folder has none)" : "");
    }
    const size_t n = qa_corpus_count(*corpus), cut = qa_corpus_cut(*corpus), skipped = qa_corpus_skipped(*corpus);
    cli_say(run, "%s: %zu document%s, %s tokens (%s learned), longest %zu", path, n, cli_plural(n), tokens, learned,
            qa_corpus_longest(*corpus));
    cli_warn_all(run, qa_corpus_warnings(*corpus));
    if (cut != 0) {
        cli_say(run, "%s: %zu document%s cut at %zu tokens", path, cut, cli_plural(cut), how->max_length);
    }
    if (skipped != 0) {
        cli_warn(run, "%s: %zu document%s without a token to learn left out", path, skipped, cli_plural(skipped));
    }
    return QA_OK;
}

/* Steps and memory, before either is spent. */
static qa_status announce_pretraining(cli_run *run, const qa_corpus *corpus, const qa_corpus *evaluation,
                                      const qa_pretrain_options *options, qa_error *err) {
    qa_pretrain_plan plan;
    char parameters[CLI_NUMBER_BYTES];
    QA_TRY(cli_usage_if(run, qa_pretrain_plan_make(&plan, run->context, corpus, evaluation, options, err)));
    cli_format_count(parameters, sizeof parameters, plan.parameters);
    cli_say(run, "model: %s parameters", parameters);
    cli_say(run, "%zu step%s of about %zu tokens, %zu per epoch, learning rate %g %s", plan.total_steps,
            cli_plural(plan.total_steps), plan.rows / plan.steps_per_epoch, plan.steps_per_epoch,
            options->learning_rate, qa_schedule_name(options->schedule));
    cli_say(run, "%zu thread%s, computing in %s", qa_context_threads(run->context),
            cli_plural(qa_context_threads(run->context)), qa_precision());
    cli_say_memory(run, plan.weight_bytes, plan.workspace_bytes, 0, options->recompute);
    return QA_OK;
}

/* ---- the command ---- */

/* The result: where the model is, and what to do with it. */
static qa_status print_model(const cli_run *run, const pretrain_progress *progress, qa_error *err) {
    char time[CLI_NUMBER_BYTES];
    qa_text text = {0};
    cli_format_duration(time, sizeof time, cli_now() - run->progress.begun);
    printf("model: %s (", pretrain_args_of(run)->pretrain.out_dir);
    if (progress->last.step == 0) { /* resumed behind the last step */
        printf("no step was left");
    } else {
        printf("%zu step%s, loss %.4f", progress->last.step, cli_plural(progress->last.step), progress->last.loss);
    }
    if (progress->evaluation.is_evaluation) {
        printf(", evaluation loss %.4f", progress->evaluation.loss);
    }
    qa_status status = cli_append_shell_word(&text, pretrain_args_of(run)->pretrain.out_dir, err);
    if (status == QA_OK) {
        printf(", %s)\nnext:\n  qadapter info --model %s\n", time, text.data);
        status = cli_flush(err);
    }
    qa_text_free(&text);
    return status;
}

static qa_status pretrain(cli_run *run, const qa_corpus *corpus, const qa_corpus *evaluation,
                          qa_pretrain_options *options, qa_error *err) {
    pretrain_progress progress = {.steps = {.run = run}};
    options->user = &progress;
    cli_begin_training(run);
    QA_TRY(cli_end_training(run, qa_pretrain(run->context, corpus, evaluation, options, err)));
    return print_model(run, &progress, err);
}

static qa_status load_inputs(cli_run *run, corpus_reading *how, qa_error *err) {
    const qa_pretrain_options *args = &pretrain_args_of(run)->pretrain;
    qa_config config;
    QA_TRY(cli_open_context(run, err));
    QA_TRY(qa_config_load_file(&config, args->config_path, NULL, err));
    QA_TRY(resolve_max_length(run, &config, &how->max_length, err));
    how->vocab_size = config.vocab_size;
    how->chat = NULL;
    how->chat_assumed = false;
    if (args->tokenizer_dir != NULL) {
        QA_TRY(cli_load_tokenizer_of(run, args->tokenizer_dir, err));
        if (args->resume) {
            cli_take_date(run, args->out_dir);
        }
        QA_TRY(cli_resolve_chat_of(run, args->tokenizer_dir, &how->chat, &how->chat_assumed, err));
    }
    return QA_OK;
}

static qa_status run_pretrain(cli_run *run, qa_error *err) {
    const qa_pretrain_options *args = &pretrain_args_of(run)->pretrain;
    qa_pretrain_options options = *args;
    qa_corpus *corpus = NULL, *evaluation = NULL;
    corpus_reading how;
    qa_status status = QA_OK;
    QA_TRY(check_corpora(run, err));
    QA_TRY(load_inputs(run, &how, err));
    options.max_length = how.max_length;
    options.on_metrics = on_pretrain_metrics;
    options.should_stop = cli_should_stop;
    cli_warn_of_warmup(run, options.warmup_steps, options.warmup_ratio);
    QA_GOTO(done, load_corpus(run, args->data_path, &how, &corpus, err));
    if (args->eval_data_path != NULL) {
        QA_GOTO(done, load_corpus(run, args->eval_data_path, &how, &evaluation, err));
    }
    QA_GOTO(done, announce_pretraining(run, corpus, evaluation, &options, err));
    QA_GOTO(done, pretrain(run, corpus, evaluation, &options, err));
done:
    qa_corpus_free(evaluation);
    qa_corpus_free(corpus);
    return status;
}

static bool replaces_in_model(const char *name) { return qa_run_folder_replaces(&qa_model_run_files, name); }

const cli_command cli_pretrain = {
    .name = "pretrain",
    .summary = "train a small model from nothing",
    .about = "Next-token training of all weights of a small model from random ones, on documents packed into "
             "steps so that none attends to another. Leaves a Hugging Face folder, with training_config.json, "
             "metrics.jsonl and checkpoints beside it. Signals are taken as by `train`: Ctrl-C leaves the step, "
             "writes a checkpoint and tells how to resume.",
    .examples = "qadapter pretrain --config config.json --tokenizer TOKENIZER --corpus train.jsonl --eval-corpus "
                "validation.jsonl --out MODEL --dtype bf16\n"
                "qadapter pretrain --config config.json --tokenizer TOKENIZER --corpus train.jsonl --out MODEL "
                "--epochs 2 --save-every 200 --resume",
    .required = "config corpus out",
    .replaces = replaces_in_model,
    CLI_TABLES(pretrain_tables),
    .args_bytes = sizeof(pretrain_args),
    .run = run_pretrain,
};
