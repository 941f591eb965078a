/* generate --in: a file of prompts, answered many at a time (qa_generate_batch), in order, into another file. */
#include "cli/generate.h"

#include "base/memory.h"
#include "base/try.h"
#include "cli/format.h"
#include "cli/line_sink.h"
#include "data/prompts.h"
#include "io/json.h"

#include <stdlib.h>
#include <string.h>

/* ---- writing ---- */

typedef struct answer_writer {
    generation *with;
    const qa_prompts *prompts;
    cli_line_sink *sink;
    size_t answers, total, tokens;
    double log_ratio, kl; /* sums over answers */
    qa_answer_text text;  /* scratch */
    qa_json_writer line;  /* scratch */
    qa_status status;     /* of the answer that stopped it */
    qa_error err;
} answer_writer;

static qa_status write_answer(answer_writer *it, const qa_answer *said, qa_error *err) {
    const qa_prompt *prompt = &it->prompts->items[said->prompt];
    qa_json_writer *line = &it->line;
    const generation *with = it->with;
    QA_TRY(qa_answer_text_begin(&it->text, with->run->tokenizer, &with->end, with->stops,
                                prompt->dialogue ? with->n_stops : with->n_given_stops, prompt->ids.data, prompt->ids.n,
                                err));
    QA_TRY(qa_answer_text_take_all(&it->text, said->ids, said->n, err));
    qa_json_restart(line, err);
    qa_json_open_object(line, NULL, QA_JSON_LINE);
    if (prompt->dialogue) {
        qa_json_open_array(line, "messages", QA_JSON_LINE);
        qa_json_put_raw(line, NULL, prompt->head.data + 1);
        qa_json_put_message(line, "assistant", it->text.text.data, it->text.text.n);
        qa_json_close(line);
    } else {
        qa_json_put_raw(line, "prompt", prompt->head.data);
        qa_json_put_text(line, "completion", it->text.text.data, it->text.text.n);
    }
    if (!it->text.stopped && !said->ended) {
        qa_json_put_bool(line, "terminal", false);
    }
    qa_json_close(line);
    qa_json_end_line(line);
    QA_TRY(line->status);
    QA_TRY(cli_line_sink_write(it->sink, &line->text, err));
    it->answers++;
    it->tokens += said->n;
    it->log_ratio += said->log_ratio;
    it->kl += said->kl;
    return cli_interrupted()
               ? qa_fail(err, QA_ERR_INTERRUPTED, "interrupted after %zu of %zu answers", it->answers, it->total)
               : QA_OK;
}

static bool on_file_answer(void *user, const qa_answer *said) {
    answer_writer *it = user;
    it->status = write_answer(it, said, &it->err);
    cli_progress_count(&it->with->run->progress, "answers", it->answers, it->total);
    return it->status == QA_OK;
}

static void say_result(const answer_writer *it, qa_policy policy, double seconds) {
    cli_run *run = it->with->run;
    const double n = (double)it->answers;
    if (it->prompts->repeated > 0) {
        cli_say(run, "%zu repeated prompt%s left out", it->prompts->repeated, cli_plural(it->prompts->repeated));
    }
    cli_say(run, "%zu answer%s to %zu prompt%s, %zu token%s, %.1f tokens/s", it->answers, cli_plural(it->answers),
            it->prompts->n, cli_plural(it->prompts->n), it->tokens, cli_plural(it->tokens),
            seconds > 0.0 ? (double)it->tokens / seconds : 0.0);
    if (policy == QA_POLICY_CUSTOM && run->adapter != NULL) {
        cli_say(run, "per answer: log pi - log pi1 %.4g nats, KL(pi || pi1) summed over its states %.4g nats",
                it->log_ratio / n, it->kl / n);
    }
}

static qa_status answer_prompts(generation *with, const qa_prompts *file, cli_line_sink *sink, qa_policy policy,
                                qa_error *err) {
    const generate_args *args = generate_args_of(with->run);
    const size_t samples = args->samples;
    const double begun = cli_now();
    answer_writer it = {.with = with, .prompts = file, .sink = sink, .total = file->n * samples};
    qa_batch_options options = {.policy = policy,
                                .objective = &with->objective,
                                .sampling = with->sampling,
                                .end_ids = with->end.ids,
                                .n_end_ids = with->end.n_ids,
                                .max_tokens = args->max_tokens,
                                .samples = samples,
                                .batch = args->batch,
                                .on_answer = on_file_answer,
                                .should_stop = cli_should_stop,
                                .user = &it};
    cli_detail(with->run, "%zu prompt%s, %zu sample%s of each, %zu at a time", file->n, cli_plural(file->n), samples,
               cli_plural(samples), options.batch);
    qa_ids *prompts = NULL;
    QA_TRY(QA_NEW(prompts, file->n, err, "%zu prompts", file->n));
    for (size_t i = 0; i < file->n; i++) {
        prompts[i] = file->items[i].ids; /* borrowed */
    }
    size_t failed = SIZE_MAX;
    options.failed_prompt = &failed;
    qa_status status = qa_generate_batch(with->run->model, with->run->adapter, prompts, file->n, &options, err);
    cli_progress_clear(&with->run->progress);
    if (status == QA_ERR_INTERRUPTED && it.status == QA_OK) {
        status = qa_fail(err, QA_ERR_INTERRUPTED, "interrupted after %zu of %zu answers", it.answers, it.total);
    }
    if (failed < file->n) {
        qa_error_prefix(err, "%s:%zu: ", strcmp(args->in, "-") == 0 ? "standard input" : args->in,
                        file->items[failed].line);
    }
    if (it.status != QA_OK) { /* what stopped it says more */
        *err = it.err;
        status = it.status;
    } else if (status == QA_ERR_MEMORY) {
        qa_error_prefix(err, "%zu answers at once (--batch): ", options.batch);
    }
    if (status == QA_OK) {
        say_result(&it, policy, cli_now() - begun);
    }
    free(prompts);
    qa_answer_text_free(&it.text);
    qa_text_free(&it.line.text);
    return status;
}

qa_status cli_generate_file(generation *it, qa_policy policy, qa_error *err) {
    cli_run *run = it->run;
    const qa_model_info *info = qa_model_get_info(run->model);
    const qa_prompts_options options = {.tokenizer = run->tokenizer,
                                        .chat = it->chat,
                                        .bare = generate_args_of(run)->no_special,
                                        .context = info->context,
                                        .vocab_size = info->vocab_size};
    qa_prompts prompts = {0};
    cli_line_sink sink = {0};
    qa_status status = QA_OK;
    QA_GOTO(done, qa_prompts_load(&prompts, generate_args_of(run)->in, &options, err));
    cli_warn_all(run, &prompts.warnings);
    if (it->chat_assumed && prompts.dialogues > 0) {
        cli_say(run, "%s has no chat template: using plain (--chat-template names another)", run->args->model);
    }
    if (generate_args_of(run)->unique) {
        QA_GOTO(done, qa_prompts_drop_repeated(&prompts, err));
    }
    if (generate_args_of(run)->samples > 1 && it->sampling.temperature == 0.0) {
        cli_warn(run, "with --temperature 0 the %zu answers to a prompt are the same", generate_args_of(run)->samples);
    }
    QA_GOTO(done, cli_line_sink_open(&sink, run->args->out, err));
    cli_catch_interrupts(run->command->name, "stopping");
    cli_progress_begin(&run->progress, !run->args->quiet && !cli_line_sink_is_terminal(&sink));
    status = answer_prompts(it, &prompts, &sink, policy, err);
    status = cli_line_sink_close(&sink, status, err);
done:
    qa_prompts_free(&prompts);
    return status;
}
