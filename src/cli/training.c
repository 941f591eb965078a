/* See training.h. */
#include "cli/training.h"

#include "base/buffer.h"
#include "base/try.h"
#include "cli/format.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

enum { SHORT_RUN = 100 }; /* steps */
static const double seconds_between_lines = 10.0;

qa_status cli_check_run(cli_run *run, const char *evaluation, qa_error *err) {
    const char *every = cli_given(&run->options, "eval-every");
    if (cli_is_on(&run->options, "overwrite") && cli_is_on(&run->options, "resume")) {
        return cli_bad_usage(run, err, "--overwrite and --resume contradict each other");
    }
    if (cli_given(&run->options, "out")[0] == '\0') {
        return cli_bad_usage(run, err, "--out: expected a folder, found \"\"");
    }
    const bool data = cli_given(&run->options, evaluation) != NULL;
    const bool held_out = cli_given(&run->options, "val-size") != NULL;
    return every == NULL || strcmp(every, "0") == 0 || data || held_out
               ? QA_OK
               : cli_bad_usage(run, err, "--eval-every needs --%s%s", evaluation,
                               cli_option_named(&run->options, "val-size") == NULL ? "" : " or --val-size");
}

void cli_warn_of_warmup(cli_run *run, size_t warmup_steps, double warmup_ratio) {
    const char *schedule = cli_given(&run->options, "lr-scheduler-type");
    if (schedule == NULL || strcmp(schedule, "constant") != 0 || (warmup_steps == 0 && warmup_ratio == 0.0)) {
        return;
    }
    char warmup[CLI_NUMBER_BYTES];
    if (warmup_steps > 0) {
        (void)snprintf(warmup, sizeof warmup, "%zu steps", warmup_steps);
    } else {
        (void)snprintf(warmup, sizeof warmup, "%g of the steps", warmup_ratio);
    }
    cli_warn(
        run,
        "--lr-scheduler-type constant warms up over %s here; transformers' constant has no warm-up, and its name for "
        "this is constant_with_warmup: say that, or --warmup-steps 0 --warmup-ratio 0",
        warmup);
}

void cli_steps_step(cli_steps *steps, size_t step) {
    if (steps->first_step == 0) {
        steps->first_step = step;
        if (step > 1) {
            cli_say(steps->run, "continuing after step %zu", step - 1);
        }
    }
}

void cli_steps_eta(const cli_steps *steps, size_t step, size_t total_steps, char *buffer, size_t bytes) {
    const double done = (double)(step - steps->first_step + 1);
    const double left = (double)(total_steps - step);
    cli_format_duration(buffer, bytes, (cli_now() - steps->run->progress.begun) / done * left);
}

static bool due(const cli_steps *steps, size_t step, size_t total_steps) {
    const size_t every = steps->run->args->log_every;
    if (step == steps->first_step || step == total_steps) {
        return true;
    }
    if (every != 0) {
        return step % every == 0;
    }
    if (total_steps <= SHORT_RUN || cli_now() - steps->printed_at >= seconds_between_lines) {
        return true;
    }
    return step % (total_steps / SHORT_RUN) == 0;
}

bool cli_steps_line_due(cli_steps *steps, size_t step, size_t total_steps) {
    const cli_run *run = steps->run;
    if ((run->progress.live && run->args->log_every == 0) || !due(steps, step, total_steps)) {
        return false;
    }
    steps->printed_at = cli_now();
    return true;
}

/* Whether a word of the command line is --overwrite under any of its names. */
static bool is_overwrite(const char *word) { return strncmp(word, "--overwrite", strlen("--overwrite")) == 0; }

/* The command that continues this run, as a shell takes it. */
static qa_status say_how_to_resume(cli_run *run, qa_error *err) {
    qa_text text = {0};
    qa_status status = QA_OK;
    for (int i = 0; i < run->argc; i++) {
        if (is_overwrite(run->argv[i])) {
            const bool has_value = i + 1 < run->argc && run->argv[i + 1][0] != '-';
            i += has_value ? 1 : 0;
            continue;
        }
        if (i > 0) {
            QA_GOTO(done, qa_text_append_z(&text, " ", err));
        }
        QA_GOTO(done, cli_append_shell_word(&text, run->argv[i], err));
    }
    if (!cli_is_on(&run->options, "resume")) {
        QA_GOTO(done, qa_text_append_z(&text, " --resume", err));
    }
    cli_warn(run, "interrupted; to resume%s:\n  %s",
             qa_cluster_ranks(run->cluster) > 1 ? ", by the launcher, with as many ranks as there are then" : "",
             text.data);
done:
    qa_text_free(&text);
    return status;
}

void cli_begin_training(cli_run *run) {
    (void)signal(SIGPIPE, SIG_IGN); /* a log that nobody reads any more must not end the training */
    cli_catch_interrupts(run->command->name, "leaving the step or evaluation that runs, writing a checkpoint");
    cli_progress_begin(&run->progress, !run->args->quiet);
}

qa_status cli_end_training(cli_run *run, qa_status status) {
    qa_error ignored = {0};
    cli_progress_clear(&run->progress);
    if (status == QA_ERR_INTERRUPTED) {
        (void)say_how_to_resume(run, &ignored);
    }
    return status;
}
