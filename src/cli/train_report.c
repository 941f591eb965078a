/* What `train` says of its steps and evaluations, how they ended the run, and what it left (see train_report.h). */
#include "cli/train_report.h"

#include "base/buffer.h"
#include "base/try.h"
#include "cli/format.h"
#include "cli/train_rollouts.h"
#include "methods/method.h"
#include "model/weights.h"
#include "train/options.h"

#include <math.h>
#include <stdio.h>

/* ---- while it runs ---- */

enum { WIDE = 78 }; /* columns */

/* "  margin +0.123  acc 0.75" of a step, nothing where only the chosen responses are run; short: the accuracy alone. */
static void preference_text(char *buffer, size_t bytes, const qa_metrics *metrics, bool brief) {
    buffer[0] = '\0';
    if (isnan(metrics->accuracy)) {
        return;
    }
    if (brief) {
        (void)snprintf(buffer, bytes, "  acc %.2f", metrics->accuracy);
    } else {
        (void)snprintf(buffer, bytes, "  margin %+.3f  acc %.2f", metrics->margin, metrics->accuracy);
    }
}

static void show_rollout_step(train_progress *progress, const qa_metrics *metrics) {
    char eta[CLI_NUMBER_BYTES], text[CLI_LINE_BYTES];
    cli_steps_eta(&progress->steps, metrics->step, metrics->total_steps, eta, sizeof eta);
    cli_rollout_text(text, sizeof text, metrics, cli_terminal_width() <= WIDE);
    cli_progress_draw(&progress->steps.run->progress, "step %zu/%zu  %s  ETA %s", metrics->step, metrics->total_steps,
                      text, eta);
    if (cli_steps_line_due(&progress->steps, metrics->step, metrics->total_steps)) {
        cli_rollout_text(text, sizeof text, metrics, false);
        cli_say(progress->steps.run, "step %zu/%zu  %s  loss %.4f  grad %.3g  %.0f tokens/s  ETA %s", metrics->step,
                metrics->total_steps, text, metrics->loss, metrics->grad_norm, metrics->tokens_per_second, eta);
    }
}

static void show_train_step(train_progress *progress, const qa_metrics *metrics) {
    char eta[CLI_NUMBER_BYTES];
    char preference[2 * CLI_NUMBER_BYTES];
    if (metrics->rollouts != NULL) {
        show_rollout_step(progress, metrics);
        return;
    }
    preference_text(preference, sizeof preference, metrics, cli_terminal_width() <= WIDE);
    cli_steps_eta(&progress->steps, metrics->step, metrics->total_steps, eta, sizeof eta);
    if (cli_terminal_width() > WIDE) {
        cli_progress_draw(&progress->steps.run->progress, "step %zu/%zu  loss %.4f%s  %.0f tokens/s  ETA %s",
                          metrics->step, metrics->total_steps, metrics->loss, preference, metrics->tokens_per_second,
                          eta);
    } else {
        cli_progress_draw(&progress->steps.run->progress, "%zu/%zu  loss %.3f%s  ETA %s", metrics->step,
                          metrics->total_steps, metrics->loss, preference, eta);
    }
    if (cli_steps_line_due(&progress->steps, metrics->step, metrics->total_steps)) {
        preference_text(preference, sizeof preference, metrics, false);
        cli_say(progress->steps.run, "step %zu/%zu  epoch %.2f  loss %.4f%s  lr %.3g  grad %.3g  %.0f tokens/s  ETA %s",
                metrics->step, metrics->total_steps, metrics->epoch, metrics->loss, preference, metrics->learning_rate,
                metrics->grad_norm, metrics->tokens_per_second, eta);
    }
}

bool cli_show_train_metrics(void *user, const qa_metrics *metrics) {
    train_progress *progress = user;
    if (metrics->is_evaluation) {
        char ranking[2 * CLI_NUMBER_BYTES] = ""; /* of responses whose labels are all alike: there is none */
        char policy[2 * CLI_NUMBER_BYTES] = "";  /* nor this of a reward model */
        if (!isnan(metrics->accuracy)) {
            (void)snprintf(ranking, sizeof ranking, "  margin %+.3f  acc %.3f", metrics->margin, metrics->accuracy);
        }
        if (!isnan(metrics->kl_per_token)) {
            (void)snprintf(policy, sizeof policy, "  reward %.4f  KL %.4f nats/token", metrics->reward_mean,
                           metrics->kl_per_token);
        }
        cli_say(progress->steps.run, "evaluation at step %zu: loss %.4f%s%s", metrics->step, metrics->loss, ranking,
                policy);
    } else {
        cli_steps_step(&progress->steps, metrics->step);
        progress->last = *metrics;
        show_train_step(progress, metrics);
    }
    return !cli_interrupted();
}

/* ---- when it is over ---- */

/* "  qadapter NAME --model M --adapter OUT", or --reward-model OUT */
static qa_status append_command(qa_text *text, const cli_run *run, const char *name, qa_error *err) {
    QA_TRY(qa_text_append_z(text, "  qadapter ", err));
    QA_TRY(qa_text_append_z(text, name, err));
    QA_TRY(qa_text_append_z(text, " --model ", err));
    QA_TRY(cli_append_shell_word(text, run->args->model, err));
    QA_TRY(qa_text_append_z(text, run->adapter == NULL ? " --reward-model " : " --adapter ", err));
    return cli_append_shell_word(text, train_args_of(run)->train.out_dir, err);
}

/* The options that say how the data is read, so that `eval` reads it the same way. */
static qa_status append_data_options(qa_text *text, const cli_run *run, qa_error *err) {
    const cli_args *args = run->args;
    const struct {
        const char *name, *value;
    } given[] = {{" --chat-template ", args->chat_template},
                 {" --columns ", args->columns},
                 {" --dsp-domain ", args->dsp_domain},
                 {" --response-end ", args->response_end},
                 {" --date ", args->date}};
    for (size_t i = 0; i < sizeof given / sizeof given[0]; i++) {
        if (given[i].value != NULL) {
            QA_TRY(qa_text_append_z(text, given[i].name, err));
            QA_TRY(cli_append_shell_word(text, given[i].value, err));
        }
    }
    for (size_t i = 0; i < args->template_args.n; i++) {
        QA_TRY(qa_text_append_z(text, " --template-arg ", err));
        QA_TRY(cli_append_shell_word(text, args->template_args.items[i], err));
    }
    if (cli_given(&run->options, "max-length") != NULL) {
        char option[CLI_NUMBER_BYTES];
        (void)snprintf(option, sizeof option, " --max-length %zu", args->max_length);
        QA_TRY(qa_text_append_z(text, option, err));
    }
    return args->published_quirks ? qa_text_append_z(text, " --published-data-quirks", err) : QA_OK;
}

/* Whether the adapter is for dialogues: it was trained on some, or the model's folder has a chat template. */
static qa_status is_chat(cli_run *run, const qa_pairs *pairs, bool *chat, qa_error *err) {
    const qa_chat *which = NULL;
    bool assumed = false;
    *chat = false;
    if (run->tokenizer == NULL) {
        return QA_OK;
    }
    QA_TRY(cli_resolve_chat(run, &which, &assumed, err));
    const bool own = !assumed && which != NULL && qa_chat_which(which) != QA_CHAT_PLAIN;
    *chat = own || (which != NULL && qa_pairs_kind_of(pairs) == QA_PAIRS_DIALOGUES); /* plain is nobody's own */
    return QA_OK;
}

/* The options of `generate` that show what was learned. */
static qa_status append_prompt(qa_text *text, const cli_run *run, bool chat, qa_error *err) {
    if (run->tokenizer == NULL) {
        return qa_text_append_z(text, run->adapter == NULL ? " --ids '1 2 3'\n" : " --policy both --ids '1 2 3'\n",
                                err);
    }
    QA_TRY(run->adapter == NULL ? QA_OK : qa_text_append_z(text, " --policy both", err));
    if (!chat) {
        return qa_text_append_z(text, " --prompt 'Once upon a time'\n", err);
    }
    QA_TRY(qa_text_append_z(text, " --chat", err));
    if (run->args->chat_template != NULL) {
        QA_TRY(qa_text_append_z(text, " --chat-template ", err));
        QA_TRY(cli_append_shell_word(text, run->args->chat_template, err));
    }
    return qa_text_append_z(text, " --prompt 'Hello'\n", err);
}

/* What was trained, for people. */
static size_t trained_parameters(const cli_run *run, const qa_objective *objective) {
    qa_config classifier = run->model->config; /* whose head stands in the language model's place */
    classifier.labels = objective->reward_outputs;
    return run->adapter == NULL ? qa_config_parameters(&classifier) : qa_adapter_parameters(run->adapter);
}

static qa_status append_evaluation(qa_text *text, const cli_run *run, qa_error *err) {
    const qa_train_options *args = &train_args_of(run)->train;
    QA_TRY(append_command(text, run, "eval", err));
    QA_TRY(qa_text_append_z(text, " --data ", err));
    QA_TRY(cli_append_shell_word(text, args->eval_data_path != NULL ? args->eval_data_path : args->data_path, err));
    QA_TRY(qa_text_append_z(text, args->val_size > 0.0 ? " --held-out" : "", err));
    QA_TRY(append_data_options(text, run, err));
    return qa_text_append_z(text, "\n", err);
}

qa_status cli_print_trained(cli_run *run, const train_progress *progress, const qa_pairs *pairs,
                            const qa_objective *objective, qa_error *err) {
    const qa_train_options *args = &train_args_of(run)->train;
    char parameters[CLI_NUMBER_BYTES];
    char time[CLI_NUMBER_BYTES];
    qa_text text = {0};
    bool chat = false;
    qa_status status = QA_OK;
    QA_TRY(is_chat(run, pairs, &chat, err));
    cli_format_count(parameters, sizeof parameters, trained_parameters(run, objective));
    cli_format_duration(time, sizeof time, cli_now() - run->progress.begun);
    if (qa_method_of(&run->args->objective)->rollouts == NULL) {
        QA_GOTO(done, append_evaluation(&text, run, err));
    }
    QA_GOTO(done, append_command(&text, run, "generate", err));
    QA_GOTO(done, run->adapter == NULL ? qa_text_append_z(&text, " --best-of 8", err) : QA_OK);
    QA_GOTO(done, append_prompt(&text, run, chat, err));
    printf("%s: %s (%s parameters, %zu step%s, %s)\nnext:\n%s",
           run->adapter == NULL               ? "reward model"
           : qa_adapter_is_full(run->adapter) ? "model"
                                              : "adapter",
           args->out_dir, parameters, progress->last.step, cli_plural(progress->last.step), time, text.data);
    status = cli_flush(err);
done:
    qa_text_free(&text);
    return status;
}

void cli_say_train_outcome(cli_run *run, const qa_train_outcome *outcome) {
    const qa_train_options *o = &train_args_of(run)->train;
    const char *metric = qa_watched_name(o->early_stopping_metric);
    if (outcome->ended_early) {
        cli_say(run, "ended after step %zu of %zu: %zu evaluation%s without a better %s", outcome->steps,
                outcome->total_steps, o->early_stopping_patience, cli_plural(o->early_stopping_patience), metric);
    }
    if (outcome->compared) {
        char kept[CLI_NUMBER_BYTES];
        (void)snprintf(kept, sizeof kept, "; its adapter is left (checkpoint-%zu)", outcome->best_step);
        cli_say(run, "best evaluation: after step %zu, %s %.4f%s", outcome->best_step, metric, outcome->best_value,
                o->keep_best ? kept : "; the adapter is that of the last step (--keep-best leaves the best one)");
    }
}
