/* generate --in: a file of prompts, answered many at a time (qa_generate_batch), in order, into another file. */
#include "cli/answer_json.h"
#include "cli/generate.h"

#include "base/memory.h"
#include "base/try.h"
#include "cli/format.h"
#include "cli/line_sink.h"
#include "cli/mixture.h"
#include "cli/ranks.h"
#include "data/prompts.h"
#include "io/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing ---- */

typedef struct line_writer {
    generation_run *with;
    const qa_prompts *prompts;
    cli_line_sink *sink;
    bool measured; /* generation_measures */
    size_t answers, total, tokens;
    const qa_mixture *mixture; /* that answers; NULL: none */
    cli_best_of *best;         /* that chooses; NULL: every answer is written */
    double log_ratio, kl;      /* sums over answers; NaN where they are not measured */
    double effective;          /* sum over answers of the effective samples of their particles */
    qa_answer_text text;       /* scratch */
    qa_json_writer line;       /* scratch */
    qa_status status;          /* of the answer that stopped it */
    qa_error err;
} line_writer;

static qa_status write_answer(line_writer *writer, const qa_answer *said, qa_error *err) {
    const qa_prompt *prompt = &writer->prompts->items[said->prompt];
    qa_json_writer *line = &writer->line;
    const generation_run *with = writer->with;
    QA_TRY(qa_answer_text_begin(&writer->text, with->run->tokenizer, &with->end, with->stops,
                                prompt->dialogue ? with->n_stops : with->n_given_stops, prompt->ids.data, prompt->ids.n,
                                err));
    QA_TRY(qa_answer_text_take_all(&writer->text, said->ids, said->n, err));
    qa_json_restart(line, err);
    qa_json_open_object(line, NULL, QA_JSON_LINE);
    if (prompt->dialogue) {
        qa_json_open_array(line, "messages", QA_JSON_LINE);
        qa_json_put_raw(line, NULL, prompt->head.data + 1);
        qa_json_put_message(line, "assistant", writer->text.text.data, writer->text.text.n);
        qa_json_close(line);
    } else {
        qa_json_put_raw(line, "prompt", prompt->head.data);
        qa_json_put_text(line, "completion", writer->text.text.data, writer->text.text.n);
    }
    const bool stopped = writer->text.stopped || said->ended;
    if (!stopped) {
        qa_json_put_bool(line, "terminal", false);
    }
    if (with->run->args->json) {
        const cli_answer_values values = {.ids = said->ids,
                                          .values = said->values,
                                          .n = said->n,
                                          .prompt_tokens = prompt->ids.n,
                                          .stopped = stopped,
                                          .measured = writer->measured,
                                          .run = writer->mixture == NULL ? NULL : with->run,
                                          .weighed = writer->best == NULL ? said : NULL,
                                          .best = writer->best};
        cli_put_answer_values(line, with->run->tokenizer, &values);
    }
    qa_json_close(line);
    qa_json_end_line(line);
    QA_TRY(line->status);
    QA_TRY(cli_line_sink_write(writer->sink, &line->text, err));
    writer->answers++;
    writer->tokens += said->n;
    writer->log_ratio += said->log_ratio;
    writer->kl += said->kl;
    writer->effective += said->effective_samples;
    return cli_interrupted() ? qa_fail(err, QA_ERR_INTERRUPTED, "interrupted after %zu of %zu answers", writer->answers,
                                       writer->total)
                             : QA_OK;
}

static bool on_file_answer(void *user, const qa_answer *said) {
    line_writer *writer = user;
    writer->status = writer->best == NULL ? QA_OK : cli_best_of_add(writer->best, said, &said, &writer->err);
    if (writer->status == QA_OK && said != NULL) {
        writer->status = write_answer(writer, said, &writer->err);
    }
    return writer->status == QA_OK;
}

/* done of `all` that are sampled, of which `total` are written. */
static void tell_answers_done(void *user, size_t done, size_t all) {
    line_writer *writer = user;
    cli_progress_count(&writer->with->run->progress, "answers", done / (all / writer->total), writer->total);
}

static qa_status value_of_answers(void *user, const qa_answer *answers, size_t n, double *values, qa_error *err) {
    const line_writer *writer = user;
    (void)n;
    return cli_best_of_value(writer->best, &writer->prompts->items[answers[0].prompt].ids, answers, values, err);
}

static void say_result(const line_writer *writer, qa_policy policy, double seconds) {
    cli_run *run = writer->with->run;
    const double n = (double)writer->answers;
    if (writer->prompts->repeated > 0) {
        cli_say(run, "%zu repeated prompt%s left out", writer->prompts->repeated,
                cli_plural(writer->prompts->repeated));
    }
    cli_say(run, "%zu answer%s to %zu prompt%s, %zu token%s, %.1f tokens/s", writer->answers,
            cli_plural(writer->answers), writer->prompts->n, cli_plural(writer->prompts->n), writer->tokens,
            cli_plural(writer->tokens), seconds > 0.0 ? (double)writer->tokens / seconds : 0.0);
    if (generate_args_of(run)->particles > 1) {
        cli_say(run, "each was chosen of %zu by its weight: worth %.3g samples of the exact distribution on average",
                generate_args_of(run)->particles, writer->effective / n);
    }
    if (writer->best != NULL) {
        cli_best_of_say(run, writer->best);
    }
    if (policy == QA_POLICY_CUSTOM && generation_is_customised(writer->with) && isfinite(writer->kl)) {
        cli_say(run, "per answer: log pi - log pi1 %.4g nats, KL(pi || pi1) summed over its states %.4g nats",
                writer->log_ratio / n, writer->kl / n);
    }
}

static qa_status open_best_of(generation_run *with, const qa_prompts *file, cli_best_of **best, qa_error *err) {
    const generate_args *args = generate_args_of(with->run);
    const size_t context = qa_model_get_info(with->run->model)->context;
    const size_t most = args->max_tokens < context ? args->max_tokens : context;
    size_t longest = 1;
    for (size_t i = 0; i < file->n; i++) {
        longest = file->items[i].ids.n > longest ? file->items[i].ids.n : longest;
    }
    return cli_best_of_open(best, with->run, &args->best_of, &with->objective, longest, most, err);
}

static qa_status answer_prompts(generation_run *with, const qa_prompts *file, cli_line_sink *sink, qa_policy policy,
                                qa_error *err) {
    const generate_args *args = generate_args_of(with->run);
    const size_t samples = args->samples;
    const double begun = cli_now();
    line_writer writer = {.with = with,
                          .prompts = file,
                          .sink = sink,
                          .measured = generation_measures(with, policy),
                          .mixture = policy == QA_POLICY_CUSTOM ? cli_mixture(with->run) : NULL,
                          .total = file->n * samples};
    qa_batch_options options = {.policy = policy,
                                .objective = &with->objective,
                                .sampling = with->sampling,
                                .end_ids = with->end.ids,
                                .n_end_ids = with->end.n_ids,
                                .max_tokens = args->max_tokens,
                                .samples = args->best_of.n > 1 ? args->best_of.n : samples,
                                .mixture = writer.mixture,
                                .particles = args->particles,
                                .batch = args->batch,
                                .measured = args->kl,
                                .value = args->best_of.n > 1 ? value_of_answers : NULL,
                                .on_answer = on_file_answer,
                                .progress = tell_answers_done,
                                .should_stop = cli_should_stop,
                                .user = &writer};
    cli_detail(with->run, "%zu prompt%s, %zu sample%s of each, %zu at a time", file->n, cli_plural(file->n), samples,
               cli_plural(samples), options.batch);
    qa_ids *prompts = NULL;
    QA_TRY(QA_NEW(prompts, file->n, err, "%zu prompts", file->n));
    for (size_t i = 0; i < file->n; i++) {
        prompts[i] = file->items[i].ids; /* borrowed */
    }
    size_t failed = SIZE_MAX;
    options.failed_prompt = &failed;
    const qa_adapter *adapter = with->run->adapter;
    qa_status status = QA_OK;
    if (args->best_of.n > 1) {
        status = open_best_of(with, file, &writer.best, err);
    }
    const bool values = args->best_of.n > 1 && args->best_of.reward.dir == NULL; /* the adapter's are asked for */
    if (status == QA_OK && policy == QA_POLICY_CUSTOM && !args->kl && !values) {
        status = cli_merge_plain(with->run, &with->objective, &adapter, err);
    }
    if (adapter == NULL &&
        writer.mixture == NULL) { /* its policy is the model's own now, or there never was one: nothing is beside it */
        writer.kl = (double)NAN;
    }
    if (status == QA_OK) {
        status = qa_generate_batch(with->run->model, adapter, prompts, file->n, &options, err);
    }
    cli_progress_clear(&with->run->progress);
    if (status == QA_ERR_INTERRUPTED && writer.status == QA_OK) {
        status = qa_fail(err, QA_ERR_INTERRUPTED, "interrupted after %zu of %zu answers", writer.answers, writer.total);
    }
    if (failed < file->n) {
        qa_error_prefix(err, "%s:%zu: ", strcmp(args->in, "-") == 0 ? "standard input" : args->in,
                        file->items[failed].line);
    }
    if (writer.status != QA_OK) { /* what stopped it says more */
        *err = writer.err;
        status = writer.status;
    } else if (status == QA_ERR_MEMORY) {
        qa_error_prefix(err, "%zu answers at once (--batch): ", options.batch);
    }
    if (status == QA_OK) {
        say_result(&writer, policy, cli_now() - begun);
    }
    free(prompts);
    cli_best_of_free(writer.best);
    qa_answer_text_free(&writer.text);
    qa_text_free(&writer.line.text);
    return status;
}

qa_status cli_generate_file(generation_run *generation, qa_policy policy, qa_error *err) {
    cli_run *run = generation->run;
    const qa_model_info *info = qa_model_get_info(run->model);
    const qa_prompts_options options = {.first_turn = generate_args_of(run)->first_turn,
                                        .tokenizer = run->tokenizer,
                                        .chat = generation->chat,
                                        .bare = generate_args_of(run)->no_special,
                                        .context = info->context,
                                        .vocab_size = info->vocab_size,
                                        .columns = run->args->columns};
    qa_prompts prompts = {0};
    cli_line_sink sink = {0};
    qa_status status = QA_OK;
    QA_GOTO(done, qa_prompts_load(&prompts, generate_args_of(run)->in, &options, err));
    cli_warn_all(run, &prompts.warnings);
    if (generation->chat_assumed && prompts.dialogues > 0) {
        cli_say(run, "%s has no chat template: using plain (--chat-template names another)", run->args->model);
    }
    if (generate_args_of(run)->unique) {
        QA_GOTO(done, qa_prompts_drop_repeated(&prompts, err));
    }
    if (generate_args_of(run)->samples > 1 && generation->sampling.temperature == 0.0) {
        cli_warn(run, "with --temperature 0 the %zu answers to a prompt are the same", generate_args_of(run)->samples);
    }
    QA_GOTO(done, cli_line_sink_open(&sink, cli_of_rank_0(run, run->args->out), err));
    cli_catch_interrupts(run->command->name, "stopping");
    cli_progress_begin(&run->progress, !run->args->quiet && !cli_line_sink_is_terminal(&sink));
    status = answer_prompts(generation, &prompts, &sink, policy, err);
    status = cli_line_sink_close(&sink, status, err);
done:
    qa_prompts_free(&prompts);
    return status;
}
