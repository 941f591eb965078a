/* qadapter pretrain: loads the corpora, tells what it is about to do and what that takes, trains. */
#include "cli/common.h"

#include "base/buffer.h"
#include "base/try.h"
#include "cli/format.h"
#include "cli/training.h"
#include "arch/config.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

typedef struct course {
    cli_course steps;
    qa_pretrain_metrics last, evaluation;
} course;

/* ---- while it runs ---- */

static void show_step(course *it, const qa_pretrain_metrics *metrics) {
    char eta[CLI_NUMBER_BYTES];
    cli_run *run = it->steps.run;
    cli_course_eta(&it->steps, metrics->step, metrics->total_steps, eta, sizeof eta);
    cli_progress_draw(&run->progress, "step %zu/%zu  loss %.4f  %.0f tokens/s  ETA %s", metrics->step,
                      metrics->total_steps, metrics->loss, metrics->tokens_per_second, eta);
    if (cli_course_line_due(&it->steps, metrics->step, metrics->total_steps)) {
        cli_say(run, "step %zu/%zu  epoch %.2f  loss %.4f  lr %.3g  grad %.3g  %.0f tokens/s  ETA %s", metrics->step,
                metrics->total_steps, metrics->epoch, metrics->loss, metrics->learning_rate, metrics->grad_norm,
                metrics->tokens_per_second, eta);
    }
}

static bool on_metrics(void *user, const qa_pretrain_metrics *metrics) {
    course *it = user;
    if (metrics->is_evaluation) {
        cli_say(it->steps.run, "evaluation at step %zu: loss %.4f  perplexity %.4g", metrics->step, metrics->loss,
                metrics->perplexity);
        it->evaluation = *metrics;
    } else {
        cli_course_step(&it->steps, metrics->step);
        it->last = *metrics;
        show_step(it, metrics);
    }
    return !cli_interrupted();
}

/* ---- before it runs ---- */

static qa_status check_arguments(cli_run *run, qa_error *err) {
    const cli_args *args = run->args;
    if (args->overwrite && args->resume) {
        return cli_bad_usage(run, err, "--overwrite and --resume contradict each other");
    }
    if (args->out[0] == '\0') {
        return cli_bad_usage(run, err, "--out: expected a folder, found \"\"");
    }
    if (args->eval_every != 0 && args->eval_corpus == NULL) {
        return cli_bad_usage(run, err, "--eval-every needs --eval-corpus");
    }
    if (args->eval_corpus != NULL && strcmp(args->corpus, "-") == 0 && strcmp(args->eval_corpus, "-") == 0) {
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

static const char *dtype_of(const char *choice) {
    return strcmp(choice, "bf16") == 0 ? "BF16" : strcmp(choice, "f16") == 0 ? "F16" : "F32";
}

static qa_status fill_options(cli_run *run, size_t max_length, qa_pretrain_options *options, qa_error *err) {
    const cli_args *args = run->args;
    *options = (qa_pretrain_options){.out_dir = args->out,
                                     .config_path = args->config,
                                     .tokenizer_dir = args->tokenizer,
                                     .dtype = dtype_of(args->dtype),
                                     .seed = args->seed,
                                     .deviation = args->deviation,
                                     .learning_rate = args->learning_rate,
                                     .min_learning_rate_ratio = args->min_learning_rate_ratio,
                                     .warmup_steps = args->warmup_steps,
                                     .warmup_ratio = args->warmup_ratio,
                                     .epochs = args->epochs,
                                     .max_steps = args->max_steps,
                                     .batch_tokens = args->batch_tokens,
                                     .micro_batch_tokens = args->micro_batch_tokens,
                                     .max_length = max_length,
                                     .max_grad_norm = args->max_grad_norm,
                                     .weight_decay = args->weight_decay,
                                     .adam_beta1 = args->adam_beta1,
                                     .adam_beta2 = args->adam_beta2,
                                     .adam_epsilon = args->adam_epsilon,
                                     .eval_every = args->eval_every,
                                     .save_every = args->save_every,
                                     .save_total_limit = args->save_total_limit,
                                     .save_minutes = args->save_minutes,
                                     .overwrite = args->overwrite,
                                     .resume = args->resume,
                                     .recompute = args->recompute,
                                     .data_path = args->corpus,
                                     .eval_data_path = args->eval_corpus,
                                     .dump_gradients = args->dump_gradients,
                                     .on_metrics = on_metrics,
                                     .should_stop = cli_should_stop};
    return qa_schedule_by_name(&options->schedule, args->schedule, err);
}

/* How the corpora are read. */
typedef struct reading {
    qa_chat_template chat;
    bool chat_assumed; /* the tokenizer's folder has no template */
    size_t max_length, vocab_size;
} reading;

static qa_status load_corpus(cli_run *run, const char *path, const reading *how, qa_corpus **corpus, qa_error *err) {
    const qa_learn learn = strcmp(run->args->learn, "responses") == 0 ? QA_LEARN_RESPONSES : QA_LEARN_ALL;
    const double begun = cli_now();
    QA_TRY(qa_corpus_load(corpus, path, run->tokenizer, how->chat, learn, how->max_length, how->vocab_size, err));
    cli_detail(run, "read and tokenised %s in %.2f s", path, cli_now() - begun);
    char tokens[CLI_NUMBER_BYTES], learned[CLI_NUMBER_BYTES];
    cli_format_count(tokens, sizeof tokens, qa_corpus_tokens(*corpus));
    cli_format_count(learned, sizeof learned, qa_corpus_learned(*corpus));
    if (qa_corpus_conversations(*corpus) > 0) { /* to text and ids none is applied */
        cli_say(run, "chat template %s%s", qa_chat_template_name(how->chat),
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
static qa_status announce(cli_run *run, const qa_corpus *corpus, const qa_corpus *evaluation,
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
    cli_say_memory(run, plan.weight_bytes, plan.workspace_bytes, 0);
    return QA_OK;
}

/* ---- the command ---- */

/* The result: where the model is, and what to do with it. */
static qa_status print_result(const cli_run *run, const course *it, qa_error *err) {
    char time[CLI_NUMBER_BYTES];
    qa_text text = {0};
    cli_format_duration(time, sizeof time, cli_now() - run->progress.begun);
    printf("model: %s (", run->args->out);
    if (it->last.step == 0) { /* resumed behind the last step */
        printf("no step was left");
    } else {
        printf("%zu step%s, loss %.4f", it->last.step, cli_plural(it->last.step), it->last.loss);
    }
    if (it->evaluation.is_evaluation) {
        printf(", evaluation loss %.4f", it->evaluation.loss);
    }
    qa_status status = cli_append_shell_word(&text, run->args->out, err);
    if (status == QA_OK) {
        printf(", %s)\nnext:\n  qadapter info --model %s\n", time, text.data);
        status = cli_flush(err);
    }
    qa_text_free(&text);
    return status;
}

static qa_status pretrain(cli_run *run, const qa_corpus *corpus, const qa_corpus *evaluation,
                          qa_pretrain_options *options, qa_error *err) {
    course it = {.steps = {.run = run}};
    options->user = &it;
    (void)signal(SIGPIPE, SIG_IGN); /* a log that nobody reads any more must not end the training */
    cli_catch_interrupts(run->command->name, CLI_STOP_TRAINING);
    cli_progress_begin(&run->progress, !run->args->quiet);
    const qa_status status = qa_pretrain(run->context, corpus, evaluation, options, err);
    cli_progress_clear(&run->progress);
    if (status == QA_ERR_INTERRUPTED) {
        qa_error ignored = {0};
        (void)cli_say_how_to_resume(run, &ignored);
    }
    QA_TRY(status);
    return print_result(run, &it, err);
}

static qa_status load_inputs(cli_run *run, reading *how, qa_error *err) {
    const cli_args *args = run->args;
    qa_config config;
    QA_TRY(cli_open_context(run, err));
    QA_TRY(qa_config_load_file(&config, args->config, NULL, err));
    QA_TRY(resolve_max_length(run, &config, &how->max_length, err));
    how->vocab_size = config.vocab_size;
    how->chat = QA_CHAT_PLAIN;
    if (args->tokenizer != NULL) {
        QA_TRY(cli_load_tokenizer_of(run, args->tokenizer, err));
        QA_TRY(cli_resolve_template_of(run, args->tokenizer, &how->chat, &how->chat_assumed, err));
    }
    return QA_OK;
}

qa_status cli_cmd_pretrain(cli_run *run, qa_error *err) {
    const cli_args *args = run->args;
    qa_pretrain_options options;
    qa_corpus *corpus = NULL, *evaluation = NULL;
    reading how;
    qa_status status = QA_OK;
    QA_TRY(check_arguments(run, err));
    QA_TRY(load_inputs(run, &how, err));
    QA_TRY(fill_options(run, how.max_length, &options, err));
    cli_warn_of_warmup(run, options.warmup_steps, options.warmup_ratio);
    QA_GOTO(done, load_corpus(run, args->corpus, &how, &corpus, err));
    if (args->eval_corpus != NULL) {
        QA_GOTO(done, load_corpus(run, args->eval_corpus, &how, &evaluation, err));
    }
    QA_GOTO(done, announce(run, corpus, evaluation, &options, err));
    QA_GOTO(done, pretrain(run, corpus, evaluation, &options, err));
done:
    qa_corpus_free(evaluation);
    qa_corpus_free(corpus);
    return status;
}
